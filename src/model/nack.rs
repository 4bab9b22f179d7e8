//! Why an event was refused: the wire's codes and their texts.

/// A code of the wire's `Nack`. The numbers are the wire's and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum NackCode {
    Unknown = 0,
    MaxEventSizeExceeded = 1,
    TopicUnknown = 2,
    TopicArchived = 3,
    TopicDeleted = 4,
    PermissionDenied = 5,
    ConsensusFailure = 6,
    ShardingFailure = 7,
    Redirect = 8,
    Internal = 9,
    Unprocessed = 100,
    Timeout = 101,
    UnhandledMimetype = 102,
    UnknownType = 103,
    DeliverAgainAny = 104,
    DeliverAgainNotMe = 105,
}

impl NackCode {
    pub const ALL: [NackCode; 16] = [
        NackCode::Unknown,
        NackCode::MaxEventSizeExceeded,
        NackCode::TopicUnknown,
        NackCode::TopicArchived,
        NackCode::TopicDeleted,
        NackCode::PermissionDenied,
        NackCode::ConsensusFailure,
        NackCode::ShardingFailure,
        NackCode::Redirect,
        NackCode::Internal,
        NackCode::Unprocessed,
        NackCode::Timeout,
        NackCode::UnhandledMimetype,
        NackCode::UnknownType,
        NackCode::DeliverAgainAny,
        NackCode::DeliverAgainNotMe,
    ];

    pub const fn number(self) -> i32 {
        self as i32
    }

    /// The code with this number; what a newer peer may send and this version has no name for is `Unknown`.
    pub fn from_number(number: i32) -> NackCode {
        NackCode::ALL.into_iter().find(|code| code.number() == number).unwrap_or(NackCode::Unknown)
    }

    /// What the wire calls the code.
    pub const fn name(self) -> &'static str {
        match self {
            NackCode::Unknown => "UNKNOWN",
            NackCode::MaxEventSizeExceeded => "MAX_EVENT_SIZE_EXCEEDED",
            NackCode::TopicUnknown => "TOPIC_UNKNOWN",
            NackCode::TopicArchived => "TOPIC_ARCHIVED",
            NackCode::TopicDeleted => "TOPIC_DELETED",
            NackCode::PermissionDenied => "PERMISSION_DENIED",
            NackCode::ConsensusFailure => "CONSENSUS_FAILURE",
            NackCode::ShardingFailure => "SHARDING_FAILURE",
            NackCode::Redirect => "REDIRECT",
            NackCode::Internal => "INTERNAL",
            NackCode::Unprocessed => "UNPROCESSED",
            NackCode::Timeout => "TIMEOUT",
            NackCode::UnhandledMimetype => "UNHANDLED_MIMETYPE",
            NackCode::UnknownType => "UNKNOWN_TYPE",
            NackCode::DeliverAgainAny => "DELIVER_AGAIN_ANY",
            NackCode::DeliverAgainNotMe => "DELIVER_AGAIN_NOT_ME",
        }
    }

    /// The text that goes with the code when there is nothing more precise to say.
    pub const fn text(self) -> &'static str {
        match self {
            NackCode::Unknown => "unknown error",
            NackCode::MaxEventSizeExceeded => "maximum event size has been exceeded",
            NackCode::TopicUnknown => "topic unknown or unhandled",
            NackCode::TopicArchived => "cannot publish to an archived topic",
            NackCode::TopicDeleted => "topic is currently being deleted",
            NackCode::PermissionDenied => "not authorized to perform this action",
            NackCode::ConsensusFailure => "could not commit event, please try again",
            NackCode::ShardingFailure => "wrong node for event sharding policy, please try again",
            NackCode::Redirect => "redirect to correct node",
            NackCode::Internal => "internal error, please wait and try again",
            NackCode::Unprocessed => "client did not process event",
            NackCode::Timeout => "client deadline exceeded",
            NackCode::UnhandledMimetype => "unhandled mimetype",
            NackCode::UnknownType => "unhandled schema",
            NackCode::DeliverAgainAny => "deliver again to any subscriber",
            NackCode::DeliverAgainNotMe => "deliver again to any subscriber but me",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back() {
        for code in NackCode::ALL {
            assert_eq!(NackCode::from_number(code.number()), code);
        }
        assert_eq!(NackCode::from_number(99), NackCode::Unknown);
    }
}
