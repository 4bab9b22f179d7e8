//! What the broker refuses, in the words of the Ensign API.

use crate::{
    engine::{FetchError, OpenError},
    ensql::{ExecutionError, QueryError},
    model::{Code, NameError, Offset, PolicyError, TopicState},
    store::RecordError,
};

/// Which part of a request is missing or malformed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    #[error("missing project id field")]
    MissingProject,
    #[error("invalid project id field")]
    InvalidProject,
    #[error("missing topic id field")]
    MissingTopic,
    #[error("invalid topic id field")]
    InvalidTopic,
    #[error("missing id field")]
    MissingId,
    #[error("invalid id field")]
    InvalidId,
    /// The identifier that a client wants for a new topic.
    #[error("cannot parse id field")]
    UnusableId,
    #[error(transparent)]
    Name(#[from] NameError),
    #[error("topic is too large")]
    TopicTooLarge,
    #[error("invalid operation field")]
    InvalidOperation,
    #[error("no policies defined to set on topic")]
    MissingPolicies,
    #[error("unknown deduplication strategy {0}")]
    UnknownStrategy(i32),
    #[error("unknown deduplication offset position {0}")]
    UnknownOffsetPosition(i32),
    #[error("unknown sharding strategy {0}")]
    UnknownSharding(i32),
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("must specify either or both topic name and id")]
    MissingNameAndId,
    #[error("invalid next page token")]
    PageToken,
    #[error("could not parse topic id in info request filter")]
    InfoFilter,
    #[error("invalid query")]
    EmptyQuery,
    #[error(transparent)]
    Statement(QueryError),
    #[error("a query reads one topic")]
    SeveralTopics,
    #[error("unknown topic in query")]
    UnknownTopicInQuery,
    #[error("a topic is named twice in the query")]
    TopicTwiceInQuery,
    #[error("offset {offset} lies behind the end of the topic, which is {end}")]
    BeyondEnd { offset: Offset, end: Offset },
    #[error("the name of a consumer group has at most 256 bytes of printable text")]
    GroupName,
    #[error("missing consumer group")]
    MissingGroup,
    #[error("a consumer group's query says where to read only: SELECT * FROM topics, with OFFSET or AFTER")]
    GroupRange,
    #[error("a consumer group has no end: BEFORE cannot be used in its query")]
    GroupEnd,
    #[error("the delivery timeout of a consumer group must be more than 0 and at most 24 hours")]
    GroupTimeout,
    #[error("the window of a consumer group must be from 16 to 1000000 events, and not {0}")]
    GroupWindow(u32),
    #[error("invalid dead-letter topic: {0}")]
    DeadLetterTopic(#[source] NameError),
    #[error("unknown topic {0:?} in topic offsets")]
    UnknownTopicInOffsets(String),
}

/// Which request could not be carried out because of something that is not the caller's doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FailedRequest {
    #[error("could not process create topic request")]
    Create,
    #[error("could not process delete topic request")]
    Delete,
    #[error("could not process set topic policy request")]
    Policy,
    #[error("unable to process project info request")]
    Info,
    #[error("could not process consumer group request")]
    Group,
    #[error("could not open subscriber stream")]
    Subscribe,
    #[error("could not execute query")]
    Query,
}

/// What underlies an internal failure.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Cause {
    #[error(transparent)]
    Records(#[from] RecordError),
    #[error(transparent)]
    Keys(#[from] OpenError),
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Why a request was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerError {
    /// A permission is missing, or the token's project is not the one that is asked about.
    #[error("not authorized to perform this action")]
    NotAuthorized,
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// There is no such topic in the caller's project.
    #[error("topic not found")]
    NotFound,
    /// A stream reaches none: the project has no topics, or none that the client asks for.
    #[error("no topics available")]
    NoTopics,
    /// What is stored cannot be given: it is damaged, its key is gone, or suspended. The text says what and where.
    #[error(transparent)]
    Unreadable(FetchError),
    #[error("topic name already exists in project")]
    NameTaken,
    /// A topic has this identifier, or had it before it was destroyed.
    #[error("topic id has already been used")]
    IdTaken,
    #[error("cannot change policies of an archived topic")]
    Archived,
    #[error("cannot archive or destroy a topic that is in the {} state", .0.name())]
    NotRemovable(TopicState),
    #[error("cannot change a topic that is in the {} state", .0.name())]
    NotChangeable(TopicState),
    /// Somebody else, outside of this process, changed the topic at the same time.
    #[error("the topic has been changed meanwhile, please try again")]
    Changed,
    #[error("no space left to store topics")]
    NoSpace,
    #[error("consumer group not found")]
    GroupNotFound,
    #[error("the consumer group was removed")]
    GroupRemoved,
    /// Members that are connected rely on the settings that there are.
    #[error("the consumer group has other settings, and other members are connected: {setting} is {has}, not {wanted}")]
    GroupSettings { setting: &'static str, has: String, wanted: String },
    #[error("members of the consumer group are connected; they are disconnected when the removal is forced")]
    GroupInUse,
    #[error("the project has too many consumer groups: {0} at most")]
    TooManyGroups(usize),
    #[error("the consumer group has too many members: {0} at most")]
    TooManyMembers(usize),
    /// The records failed; what a group does from now on could not be remembered.
    #[error("the progress of consumer groups cannot be kept any more; restart the broker to recover")]
    GroupStopped,
    #[error("the broker is shutting down")]
    Closed,
    /// A query has to end before it has its answer.
    #[error(transparent)]
    Execution(ExecutionError),
    #[error("{request}")]
    Failed {
        request: FailedRequest,
        #[source]
        source: Cause,
    },
}

impl BrokerError {
    /// An error of the store or of the engine, met while carrying out `request`.
    pub(super) fn failed(request: FailedRequest, cause: impl Into<Cause>) -> BrokerError {
        match cause.into() {
            Cause::Fetch(error @ FetchError::Closed { .. }) => BrokerError::Unreadable(error),
            Cause::Records(RecordError::Conflict { .. }) => BrokerError::Changed,
            Cause::Records(RecordError::NoSpace { .. }) => BrokerError::NoSpace,
            Cause::Records(RecordError::Closed) => BrokerError::Closed,
            source => BrokerError::Failed { request, source },
        }
    }

    /// An error that a stream of events met.
    pub(super) fn stream(cause: impl Into<Cause>) -> BrokerError {
        match cause.into() {
            Cause::Fetch(
                error @ (FetchError::Damaged { .. }
                | FetchError::MissingKey { .. }
                | FetchError::Closed { .. }
                | FetchError::Store(_)),
            ) => BrokerError::Unreadable(error),
            other => BrokerError::failed(FailedRequest::Subscribe, other),
        }
    }

    pub fn code(&self) -> Code {
        match self {
            BrokerError::NotAuthorized => Code::PermissionDenied,
            BrokerError::Invalid(_) => Code::InvalidArgument,
            BrokerError::NotFound | BrokerError::GroupNotFound => Code::NotFound,
            BrokerError::NameTaken | BrokerError::IdTaken => Code::AlreadyExists,
            BrokerError::NoTopics
            | BrokerError::Archived
            | BrokerError::NotRemovable(_)
            | BrokerError::NotChangeable(_)
            | BrokerError::GroupSettings { .. }
            | BrokerError::GroupInUse
            // It is as somebody wanted it, and no damage.
            | BrokerError::Unreadable(FetchError::Closed { .. }) => Code::FailedPrecondition,
            BrokerError::Unreadable(_) => Code::DataLoss,
            BrokerError::Changed | BrokerError::GroupRemoved => Code::Aborted,
            BrokerError::NoSpace
            | BrokerError::Execution(_)
            | BrokerError::TooManyGroups(_)
            | BrokerError::TooManyMembers(_) => Code::ResourceExhausted,
            BrokerError::Closed => Code::Unavailable,
            BrokerError::GroupStopped | BrokerError::Failed { .. } => Code::Internal,
        }
    }
}

/// The broker could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenBrokerError {
    #[error("could not read the topics")]
    Records(#[from] RecordError),
    #[error("the {what} record {key:?} is damaged")]
    Damaged { what: &'static str, key: bytes::Bytes },
    #[error("the {what} record {key:?} was written by a newer version")]
    TooNew { what: &'static str, key: bytes::Bytes },
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn what_the_store_says_is_told_apart() {
        let check = |cause: RecordError, code, text: &str| {
            let error = BrokerError::failed(FailedRequest::Policy, cause);
            assert_eq!((error.code(), error.to_string().as_str()), (code, text));
        };
        let key = bytes::Bytes::from_static(b"topic/x");
        check(RecordError::Conflict { key }, Code::Aborted, "the topic has been changed meanwhile, please try again");
        let source = Arc::new(std::io::Error::other("full"));
        check(RecordError::NoSpace { source }, Code::ResourceExhausted, "no space left to store topics");
        check(RecordError::Closed, Code::Unavailable, "the broker is shutting down");
        let failed = RecordError::Failed { action: "commit", message: "io".to_owned() };
        check(failed, Code::Internal, "could not process set topic policy request");
    }
}
