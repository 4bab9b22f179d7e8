//! What a subscriber asks for that is a member of a consumer group: the group in its first message, and what the message has
//! no field for, in headers that no other client knows.

use std::str::FromStr;

use http::HeaderMap;
use tonic::Status;

use super::error::broker_status;
use crate::{
    api::ensign::ConsumerGroup,
    broker::{BrokerError, GroupSettings, InvalidRequest},
    model::{DeliverySemantic, GroupKey, ProjectId, Ulid},
};

const ORDERED_HEADER: &str = "x-ensign-group-ordered-by-key";
const DELIVERIES_HEADER: &str = "x-ensign-group-max-deliveries";
const DEAD_LETTER_HEADER: &str = "x-ensign-group-dead-letter";
const WINDOW_HEADER: &str = "x-ensign-group-window";

/// Asks to be told what became of acks.
const RECEIPTS_HEADER: &str = "x-ensign-group-receipts";

/// What the headers of a request say of its group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GroupHeaders {
    ordered_by_key: Option<bool>,
    max_deliveries: Option<u32>,
    dead_letter: Option<String>,
    window: Option<u32>,
    /// Whether the member wants to know what became of its acks.
    pub(super) receipts: bool,
}

impl GroupHeaders {
    /// # Errors
    ///
    /// When a header can't be read.
    pub(super) fn of(headers: &HeaderMap) -> Result<GroupHeaders, Status> {
        Ok(GroupHeaders {
            ordered_by_key: value(headers, ORDERED_HEADER, "true or false")?,
            max_deliveries: value(headers, DELIVERIES_HEADER, "a number")?,
            dead_letter: value(headers, DEAD_LETTER_HEADER, "the name of a topic")?,
            window: value(headers, WINDOW_HEADER, "a number")?,
            receipts: value(headers, RECEIPTS_HEADER, "true or false")?.unwrap_or(false),
        })
    }

    /// # Errors
    ///
    /// When there is something in them, which would have no effect on a subscriber without a group.
    pub(super) fn require_none(&self) -> Result<(), Status> {
        if *self == GroupHeaders::default() {
            return Ok(());
        }
        Err(Status::invalid_argument("headers about a consumer group need a subscription with one"))
    }
}

/// What a header says; nothing when it is not there.
fn value<T: FromStr>(headers: &HeaderMap, name: &str, what: &str) -> Result<Option<T>, Status> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let read = value.to_str().ok().and_then(|text| text.parse().ok());
    read.map(Some).ok_or_else(|| Status::invalid_argument(format!("header {name} must be {what}")))
}

/// Which group it is, and how its member wants it to work.
///
/// # Errors
///
/// When the group has neither an identifier nor a name, belongs to another project than the caller, or a setting is none.
pub(super) fn asked_group(
    group: &ConsumerGroup,
    headers: &GroupHeaders,
    project: ProjectId,
) -> Result<(GroupKey, GroupSettings), Status> {
    let key = GroupKey::of(&group.id, &group.name).map_err(|error| Status::invalid_argument(error.to_string()))?;
    match &*group.project_id {
        [] => {}
        bytes => match Ulid::from_slice(bytes) {
            Ok(id) if ProjectId(id) == project => {}
            Ok(_) => return Err(broker_status(&BrokerError::NotAuthorized)),
            Err(_) => return Err(invalid(InvalidRequest::InvalidProject)),
        },
    }
    let delivery = match group.delivery {
        0 => None,
        number => Some(
            DeliverySemantic::from_number(number)
                .ok_or_else(|| Status::invalid_argument(format!("unknown delivery semantic {number}")))?,
        ),
    };
    let timeout = match group.delivery_timeout {
        None => None,
        Some(timeout) => Some(timeout.try_into().map_err(|_| invalid(InvalidRequest::GroupTimeout))?),
    };
    let GroupHeaders { ordered_by_key, max_deliveries, dead_letter, window, receipts: _ } = headers.clone();
    Ok((key, GroupSettings { delivery, timeout, ordered_by_key, max_deliveries, dead_letter, window }))
}

fn invalid(request: InvalidRequest) -> Status {
    broker_status(&request.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use tonic::Code;

    use super::*;

    const PROJECT: ProjectId = ProjectId(Ulid::from_bytes([7; 16]));

    fn headers(pairs: &[(&'static str, &str)]) -> Result<GroupHeaders, Status> {
        let pairs = pairs.iter().map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()));
        GroupHeaders::of(&pairs.collect())
    }

    fn named() -> ConsumerGroup {
        ConsumerGroup { name: "workers".to_owned(), ..ConsumerGroup::default() }
    }

    fn refused(group: &ConsumerGroup) -> (Code, String) {
        let status = asked_group(group, &GroupHeaders::default(), PROJECT).unwrap_err();
        (status.code(), status.message().to_owned())
    }

    #[test]
    fn what_is_not_said_is_left_to_the_group() {
        let (key, settings) = asked_group(&named(), &GroupHeaders::default(), PROJECT).unwrap();
        assert_eq!((key, settings), (GroupKey::of(b"", "workers").unwrap(), GroupSettings::default()));
    }

    #[test]
    fn settings_come_from_the_message_and_from_headers() {
        let said = headers(&[
            ("x-ensign-group-ordered-by-key", "true"),
            ("x-ensign-group-max-deliveries", "5"),
            ("x-ensign-group-dead-letter", "graveyard"),
            ("x-ensign-group-window", "64"),
            ("x-ensign-group-receipts", "true"),
        ])
        .unwrap();
        let group = ConsumerGroup {
            id: Bytes::from_static(b"0123456789abcdef"),
            project_id: Bytes::copy_from_slice(PROJECT.as_bytes()),
            delivery: 3,
            delivery_timeout: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
            ..named()
        };
        let expected = GroupSettings {
            delivery: Some(DeliverySemantic::ExactlyOnce),
            timeout: Some(Duration::from_millis(1_500)),
            ordered_by_key: Some(true),
            max_deliveries: Some(5),
            dead_letter: Some("graveyard".to_owned()),
            window: Some(64),
        };
        assert!(said.receipts);
        let key = GroupKey::from_bytes(*b"0123456789abcdef");
        assert_eq!(asked_group(&group, &said, PROJECT).unwrap(), (key, expected));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let text = "consumer group requires either id or name".to_owned();
        assert_eq!(refused(&ConsumerGroup::default()), (Code::InvalidArgument, text));
        let text = "unknown delivery semantic 4".to_owned();
        assert_eq!(refused(&ConsumerGroup { delivery: 4, ..named() }), (Code::InvalidArgument, text));
        let negative = Some(prost_types::Duration { seconds: -1, nanos: 0 });
        let refusal = refused(&ConsumerGroup { delivery_timeout: negative, ..named() });
        assert_eq!(refusal, (Code::InvalidArgument, InvalidRequest::GroupTimeout.to_string()));
        let foreign = ConsumerGroup { project_id: Bytes::from_static(&[8; 16]), ..named() };
        assert_eq!(refused(&foreign).0, Code::PermissionDenied);
        let garbled = ConsumerGroup { project_id: Bytes::from_static(b"x"), ..named() };
        assert_eq!(refused(&garbled), (Code::InvalidArgument, "invalid project id field".to_owned()));
    }

    #[test]
    fn headers_that_say_nothing_are_refused_by_name() {
        let check = |name: &'static str, value: &str| {
            let status = headers(&[(name, value)]).unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument);
            assert!(status.message().contains(name), "{status:?}");
        };
        check("x-ensign-group-ordered-by-key", "yes");
        check("x-ensign-group-max-deliveries", "-1");
        check("x-ensign-group-window", "");
        check("x-ensign-group-receipts", "1");
        assert_eq!(headers(&[]).unwrap(), GroupHeaders::default());
        headers(&[]).unwrap().require_none().unwrap();
        let alone = headers(&[("x-ensign-group-window", "64")]).unwrap().require_none().unwrap_err();
        assert_eq!(alone.code(), Code::InvalidArgument);
    }
}
