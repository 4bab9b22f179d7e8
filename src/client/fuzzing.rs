//! What fuzzers feed with arbitrary bytes: what a server delivers, as a subscriber takes it.

use bytes::Bytes;
use prost::Message;

use super::event::{Event, Publishers};
use crate::api::{
    FRAME_HEAD_BYTES, FrameReader, SubscriberMessage,
    ensign::{SubscribeReply, subscribe_reply::Embed},
    parse_subscribe_reply,
};

/// A delivered event is what the generated messages make of it, or refused by both.
pub fn fuzz_delivery(data: &[u8]) {
    let mut reader = FrameReader::default();
    let Ok(length) = u32::try_from(data.len()) else { return };
    reader.feed(Bytes::from([&[0][..], &length.to_be_bytes(), data].concat()));
    let Ok(Some(frame)) = reader.next_frame() else {
        assert!(data.len() > crate::model::limits::MESSAGE_BYTES_MAX - FRAME_HEAD_BYTES);
        return;
    };
    let Ok(SubscriberMessage::Event(delivered)) = parse_subscribe_reply(frame.body) else { return };
    let read = Event::read(&delivered, &frame, &mut Publishers::default());
    match SubscribeReply::decode(data).map(|reply| reply.embed) {
        Ok(Some(Embed::Event(wrapper))) => assert_eq!(read.ok(), Event::from_wire(wrapper).ok()),
        Ok(other) => panic!("{other:?} was taken for an event"),
        Err(error) => assert!(read.is_err(), "{error}: {read:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        api::ensign::{self, EventWrapper},
        model::fuzzing::run_bounded,
    };

    #[test]
    fn deliveries() {
        let event = ensign::Event {
            data: Bytes::from_static(b"data"),
            mimetype: 50,
            created: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 7 }),
            ..ensign::Event::default()
        };
        let described = ensign::Event {
            metadata: [("a".to_owned(), "b".to_owned())].into(),
            r#type: Some(ensign::Type { name: "T".to_owned(), ..ensign::Type::default() }),
            ..event.clone()
        };
        let seeds = [event, described].map(|event| {
            let publisher = ensign::Publisher { client_id: "me".to_owned(), ..ensign::Publisher::default() };
            let wrapper = EventWrapper {
                id: Bytes::from_static(&[1; 10]),
                topic_id: Bytes::from_static(&[2; 16]),
                offset: 5,
                key: Bytes::from_static(b"key"),
                event: event.encode_to_vec().into(),
                publisher: Some(publisher),
                committed: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 9 }),
                ..EventWrapper::default()
            };
            SubscribeReply { embed: Some(Embed::Event(wrapper)) }.encode_to_vec()
        });
        run_bounded("a delivery", &[&seeds[0], &seeds[1]], fuzz_delivery);
    }
}
