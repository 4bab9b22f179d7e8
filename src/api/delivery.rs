//! The way of an event to a reader, and of an answer to a publisher: messages looked at where they lie, without decoding them.
//!
//! What anybody else's server may write differently, in several parts or with unknown groups, is left to the decoder.

use prost::Message;

use super::{
    ensign::{PublisherReply, SubscribeReply},
    protobuf::{Value, WireError, int32, plain_field, sole_member},
};
use crate::model::{Mimetype, Time};

/// The first field of both replies: an ack, and an event.
const FIRST: u8 = 0x0a;

/// What a server says to a publisher.
#[derive(Debug, Clone, PartialEq)]
pub enum PublisherAnswer<'a> {
    /// The event with this local id is stored.
    Ack(&'a [u8]),
    Other(PublisherReply),
}

/// Reads an encoded `PublisherReply`.
///
/// # Errors
///
/// When it is not a valid one.
#[inline]
pub fn parse_publisher_reply(message: &[u8]) -> Result<PublisherAnswer<'_>, WireError> {
    match sole_member(message, FIRST).and_then(plain_ack) {
        Some(id) => Ok(PublisherAnswer::Ack(id)),
        None => PublisherReply::decode(message).map(PublisherAnswer::Other).map_err(WireError::Undecodable),
    }
}

/// The local id of an ack that has nothing unusual about it.
#[inline]
fn plain_ack(ack: &[u8]) -> Option<&[u8]> {
    let (mut id, mut dated) = (&ack[..0], false);
    let mut rest = ack;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (1, Value::Delimited(bytes)) => id = bytes,
            (2, Value::Delimited(timestamp)) if !dated => {
                plain_timestamp(timestamp)?;
                dated = true;
            }
            _ => return None,
        }
    }
    Some(id)
}

/// What a server says to a subscriber.
#[derive(Debug, Clone, PartialEq)]
pub enum SubscriberMessage<'a> {
    Event(DeliveredEvent<'a>),
    Other(Box<SubscribeReply>),
}

/// An event as it is delivered: the parts of its wrapper, where they lie in the message.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeliveredEvent<'a> {
    pub id: &'a [u8],
    pub topic_id: &'a [u8],
    pub offset: u64,
    pub committed: Option<Time>,
    /// The encoded `Publisher`; `None` when there is none.
    pub publisher: Option<&'a [u8]>,
    pub key: &'a [u8],
    /// The encoded `Event`.
    pub event: &'a [u8],
}

/// Reads an encoded `SubscribeReply`. What an event says about compression, encryption and duplicates is not looked at.
///
/// # Errors
///
/// When it is not a valid one. The content of the event and of its publisher is not judged.
#[inline]
pub fn parse_subscribe_reply(message: &[u8]) -> Result<SubscriberMessage<'_>, WireError> {
    if let Some(event) = sole_member(message, FIRST).and_then(plain_event) {
        return Ok(SubscriberMessage::Event(event));
    }
    let reply = SubscribeReply::decode(message).map_err(WireError::Undecodable)?;
    Ok(SubscriberMessage::Other(Box::new(reply)))
}

#[inline]
fn plain_event(wrapper: &[u8]) -> Option<DeliveredEvent<'_>> {
    let mut event = DeliveredEvent::default();
    let mut rest = wrapper;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (1, Value::Delimited(bytes)) => event.id = bytes,
            (2, Value::Delimited(bytes)) => event.topic_id = bytes,
            (3, Value::Varint(number)) => event.offset = number,
            (6, Value::Delimited(bytes)) if event.publisher.is_none() => event.publisher = Some(bytes),
            (7, Value::Delimited(bytes)) => event.key = bytes,
            (9, Value::Delimited(bytes)) => event.event = bytes,
            (15, Value::Delimited(timestamp)) if event.committed.is_none() => {
                event.committed = Some(plain_timestamp(timestamp)?);
            }
            (4 | 5 | 8 | 12, Value::Varint(_)) | (13 | 16, Value::Delimited(_)) => {}
            _ => return None,
        }
    }
    Some(event)
}

/// The encoded type of the rows of a query's answer: `EnSQL v1.0.0`.
const ROW_TYPE: &[u8] = b"\x0a\x05EnSQL\x10\x01";

/// The row that an `EventWrapper` of a query's answer holds, which is JSON; `None` when it holds a stored event. A row has no
/// offset, and nothing that describes it but its type.
#[inline]
pub fn answered_row(wrapper: &[u8]) -> Option<&[u8]> {
    let delivered = plain_event(wrapper).filter(|delivered| delivered.offset == 0)?;
    let (mut row, mut is_row) = (&wrapper[..0], false);
    let mut rest = delivered.event;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (2, Value::Delimited(bytes)) => row = bytes,
            (4, Value::Varint(number)) if int32(number) == Mimetype::JSON.0 => {}
            (5, Value::Delimited(schema)) => is_row = schema == ROW_TYPE,
            (15, Value::Delimited(_)) => {}
            _ => return None,
        }
    }
    is_row.then_some(row)
}

/// What an `Event` says without being decoded.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventParts<'a> {
    pub data: &'a [u8],
    pub mimetype: i32,
    pub created: Option<Time>,
    /// Whether it has a type or metadata, for which it has to be decoded.
    pub is_described: bool,
}

/// Looks at an encoded `Event`; `None` when only a decoder can tell what it means, or that it means nothing.
#[inline]
pub fn event_parts(event: &[u8]) -> Option<EventParts<'_>> {
    let mut parts = EventParts::default();
    let mut rest = event;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (2, Value::Delimited(bytes)) => parts.data = bytes,
            (3 | 5, Value::Delimited(_)) => parts.is_described = true,
            (4, Value::Varint(number)) => parts.mimetype = int32(number),
            (15, Value::Delimited(timestamp)) if parts.created.is_none() => {
                parts.created = Some(plain_timestamp(timestamp)?);
            }
            _ => return None,
        }
    }
    Some(parts)
}

#[inline]
pub(super) fn plain_timestamp(timestamp: &[u8]) -> Option<Time> {
    let (mut seconds, mut nanos) = (0, 0);
    let mut rest = timestamp;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (1, Value::Varint(number)) => seconds = number.cast_signed(),
            (2, Value::Varint(number)) => nanos = int32(number),
            _ => return None,
        }
    }
    Some(Time::from_parts(seconds, nanos))
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::api::{
        ensign::{Ack, Event, Nack, Publisher, publisher_reply, subscribe_reply},
        tests::{bytes_of, damaged, events, timestamps, unknown_fields, wrappers},
    };

    fn time(timestamp: Option<prost_types::Timestamp>) -> Option<Time> {
        timestamp.map(|time| Time::from_parts(time.seconds, time.nanos))
    }

    fn subscribe_replies() -> impl Strategy<Value = Vec<u8>> {
        (wrappers(), unknown_fields(), any::<bool>()).prop_map(|(wrapper, unknown, within)| {
            let mut wrapper = wrapper.encode_to_vec();
            if within {
                wrapper.extend_from_slice(&unknown);
            }
            let mut reply = vec![FIRST];
            prost::encoding::encode_varint(wrapper.len() as u64, &mut reply);
            reply.extend(wrapper);
            if !within {
                reply.extend(unknown);
            }
            reply
        })
    }

    fn publisher_replies() -> impl Strategy<Value = Vec<u8>> {
        let ack = (bytes_of(0..20), prop::option::of(timestamps()))
            .prop_map(|(id, committed)| publisher_reply::Embed::Ack(Ack { id, committed }));
        let nack = (bytes_of(0..20), 0..9_i32, ".{0,5}")
            .prop_map(|(id, code, error)| publisher_reply::Embed::Nack(Nack { id, code, error }));
        (prop_oneof![ack, nack], unknown_fields())
            .prop_map(|(embed, unknown)| [PublisherReply { embed: Some(embed) }.encode_to_vec(), unknown].concat())
    }

    /// Whatever a message is, it means here what the decoder says, or is refused as it does.
    fn check_subscribe_reply(message: &[u8]) -> Result<(), TestCaseError> {
        let decoded = SubscribeReply::decode(message);
        let read = match parse_subscribe_reply(message) {
            Ok(SubscriberMessage::Event(read)) => read,
            Ok(SubscriberMessage::Other(reply)) => {
                prop_assert_eq!(Ok(*reply), decoded);
                return Ok(());
            }
            Err(_) => {
                prop_assert!(decoded.is_err());
                return Ok(());
            }
        };
        let publisher = read.publisher.map(Publisher::decode).transpose();
        let Ok(SubscribeReply { embed }) = decoded else {
            prop_assert!(publisher.is_err(), "it was taken, and nothing in it is wrong that is not looked at");
            return Ok(());
        };
        let Some(subscribe_reply::Embed::Event(wrapper)) = embed else { panic!("not an event: {embed:?}") };
        prop_assert_eq!((read.id, read.topic_id, read.offset), (&*wrapper.id, &*wrapper.topic_id, wrapper.offset));
        prop_assert_eq!((read.key, read.event), (&*wrapper.key, &*wrapper.event));
        prop_assert_eq!(read.committed, time(wrapper.committed));
        prop_assert_eq!(publisher, Ok(wrapper.publisher));
        Ok(())
    }

    fn check_publisher_reply(message: &[u8]) -> Result<(), TestCaseError> {
        let decoded = PublisherReply::decode(message);
        match parse_publisher_reply(message) {
            Ok(PublisherAnswer::Ack(id)) => match decoded.unwrap().embed {
                Some(publisher_reply::Embed::Ack(ack)) => prop_assert_eq!(id, &ack.id[..]),
                other => prop_assert!(false, "not an ack: {other:?}"),
            },
            Ok(PublisherAnswer::Other(reply)) => prop_assert_eq!(Ok(reply), decoded),
            Err(_) => prop_assert!(decoded.is_err()),
        }
        Ok(())
    }

    fn check_event(message: &[u8]) -> Result<(), TestCaseError> {
        let Some(parts) = event_parts(message) else { return Ok(()) };
        match Event::decode(message) {
            Ok(event) => {
                prop_assert_eq!((parts.data, parts.mimetype), (&event.data[..], event.mimetype));
                prop_assert_eq!(parts.created, time(event.created));
                prop_assert!(parts.is_described || event.metadata.is_empty() && event.r#type.is_none());
            }
            // What describes an event is not looked at; whoever wants it decodes the event.
            Err(_) => prop_assert!(parts.is_described),
        }
        Ok(())
    }

    #[test]
    fn the_usual_messages_are_not_left_to_the_decoder() {
        let committed = Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 123_456_789 });
        let event = Event { data: Bytes::from_static(b"x"), mimetype: 50, created: committed, ..Event::default() };
        assert!(event_parts(&event.encode_to_vec()).is_some_and(|parts| !parts.is_described));
        let id = Bytes::from_static(b"0123456789abcdef");
        let ack = PublisherReply { embed: Some(publisher_reply::Embed::Ack(Ack { id: id.clone(), committed })) };
        assert_eq!(parse_publisher_reply(&ack.encode_to_vec()), Ok(PublisherAnswer::Ack(&id)));
        let envelope = crate::api::Envelope {
            id: crate::model::Rlid::from_parts(1_790_000_000_123, 7),
            topic: crate::model::TopicId::default(),
            offset: crate::model::Offset::new(300_000),
            epoch: 1,
            committed: Time::from_nanos(1_790_000_000_123_456_789),
            publisher: &crate::api::encode_publisher("me", "127.0.0.1:1", "client", "agent"),
        };
        let mut frame = Vec::new();
        crate::api::write_subscribe_reply(&mut frame, &[0x3a, 1, b'k', 0x4a, 0], &envelope);
        let read = parse_subscribe_reply(&frame[crate::api::FRAME_HEAD_BYTES..]);
        assert!(matches!(read, Ok(SubscriberMessage::Event(event)) if event.offset == 300_000 && event.key == b"k"));
    }

    #[test]
    fn rows_of_answers_are_told_from_events() {
        let created = crate::model::Time::from_nanos(1_790_000_000_123_456_789);
        let (id, topic) = (crate::model::Rlid::from_parts(1, 7), crate::model::TopicId::default());
        let mut frame = Vec::new();
        crate::api::write_row_frame(&mut frame, br#"{"a":1}"#, id, topic, created);
        assert_eq!(answered_row(&frame[crate::api::FRAME_HEAD_BYTES..]), Some(&br#"{"a":1}"#[..]));
        // An event of that type that somebody has published has an offset.
        let wrapper = crate::api::ensign::EventWrapper::decode(&frame[crate::api::FRAME_HEAD_BYTES..]).unwrap();
        let stored = crate::api::ensign::EventWrapper { offset: 3, ..wrapper.clone() };
        assert_eq!(answered_row(&stored.encode_to_vec()), None);
        let mut event = Event::decode(wrapper.event.clone()).unwrap();
        event.r#type.as_mut().unwrap().name = "order".to_owned();
        let typed = crate::api::ensign::EventWrapper { event: event.encode_to_vec().into(), ..wrapper };
        assert_eq!(answered_row(&typed.encode_to_vec()), None);
    }

    proptest! {
        #[test]
        fn deliveries_mean_what_the_decoder_says(message in subscribe_replies().prop_flat_map(damaged)) {
            check_subscribe_reply(&message)?;
        }

        #[test]
        fn answers_mean_what_the_decoder_says(message in publisher_replies().prop_flat_map(damaged)) {
            check_publisher_reply(&message)?;
        }

        #[test]
        fn events_mean_what_the_decoder_says(
            message in (events(), unknown_fields())
                .prop_map(|(event, unknown)| [event.encode_to_vec(), unknown].concat())
                .prop_flat_map(damaged),
        ) {
            check_event(&message)?;
        }

        /// Small numbers, so that many of them are keys and lengths that fit.
        #[test]
        fn arbitrary_bytes_mean_what_the_decoder_says(message in prop::collection::vec(0_u8..40, 0..30)) {
            check_subscribe_reply(&message)?;
            check_publisher_reply(&message)?;
            check_event(&message)?;
        }
    }
}
