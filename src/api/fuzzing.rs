//! What fuzzers feed with arbitrary bytes: messages of publishers, subscribers and servers, and the bodies that they come in. Everything
//! is judged as the generated messages judge it.

use bytes::Bytes;
use prost::Message;

use super::{
    EventError, FrameError, FrameReader, PublisherAnswer, PublisherMessage, SubscriberMessage, SubscriberRequest,
    ensign, inspect_event, parse_publisher_reply, parse_publisher_request, parse_receipt, parse_subscribe_reply,
    parse_subscribe_request, write_receipts,
};

/// A request of a publisher; the record that is stored of an event has all of its wrapper but what the broker sets.
pub fn fuzz_publisher_request(data: &[u8]) {
    use ensign::publisher_request::Embed;
    let decoded = ensign::PublisherRequest::decode(data).map(|request| request.embed);
    match (parse_publisher_request(data), decoded) {
        (Ok(PublisherMessage::Event(event)), Ok(Some(Embed::Event(wrapper)))) => {
            assert_eq!(event.topic_id(), &wrapper.topic_id[..]);
            assert_eq!(event.local_id(), &wrapper.local_id[..]);
            assert_eq!(event.event(), &wrapper.event[..]);
            let mut stored = Vec::new();
            assert_eq!(event.write_record(&mut stored), event.record_bytes());
            let record = ensign::EventWrapper::decode(&stored[stored.len() - event.record_bytes()..]);
            let kept = ensign::EventWrapper {
                region: wrapper.region,
                key: wrapper.key,
                shard: wrapper.shard,
                event: wrapper.event,
                encryption: wrapper.encryption,
                compression: wrapper.compression,
                ..ensign::EventWrapper::default()
            };
            assert_eq!(record, Ok(kept));
        }
        (Ok(PublisherMessage::Open(open)), Ok(Some(Embed::OpenStream(expected)))) => assert_eq!(open, expected),
        (Ok(PublisherMessage::Empty), Ok(None)) | (Err(_), Err(_)) => {}
        (parsed, decoded) => panic!("{parsed:?} {decoded:?}"),
    }
}

/// What an event says of itself.
pub fn fuzz_event(data: &[u8]) {
    match (inspect_event(data), ensign::Event::decode(data)) {
        (Ok(facts), Ok(decoded)) => {
            assert_eq!(facts.mimetype, decoded.mimetype);
            let schema = ensign::Type::decode(&facts.schema[..]).expect("the event was decoded with it");
            assert_eq!(schema, decoded.r#type.unwrap_or_default());
        }
        (Err(EventError::Empty), _) => assert!(data.is_empty()),
        (Err(EventError::Undecodable(_)), Err(_)) => {}
        (found, expected) => panic!("{found:?} {expected:?}"),
    }
}

/// The frames of a body, and whether each is compressed; and how the body ended.
type Frames = (Vec<(bool, Vec<u8>)>, Result<(), FrameError>);

/// Everything that a body has, fed in pieces of so many bytes.
fn frames_of(data: &[u8], piece: usize) -> Frames {
    let (mut reader, mut frames) = (FrameReader::default(), Vec::new());
    for piece in data.chunks(piece) {
        reader.feed(Bytes::copy_from_slice(piece));
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => {
                    assert_eq!(frame.part(frame.body), frame.body);
                    frames.push((frame.compressed, frame.body.to_vec()));
                }
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, reader.finish())
}

/// A body of frames means the same however it is cut. Its first byte says how large the pieces are.
pub fn fuzz_frames(data: &[u8]) {
    let Some((&piece, body)) = data.split_first() else { return };
    let (frames, ended) = frames_of(body, body.len().max(1));
    assert_eq!(frames_of(body, usize::from(piece) + 1), (frames.clone(), ended));
    if ended.is_ok() {
        let bytes: usize = frames.iter().map(|(_, frame)| super::FRAME_HEAD_BYTES + frame.len()).sum();
        assert_eq!(bytes, body.len());
    }
}

/// An ack, or whatever else a server says to a publisher.
pub fn fuzz_publisher_reply(data: &[u8]) {
    use ensign::publisher_reply::Embed;
    match (parse_publisher_reply(data), ensign::PublisherReply::decode(data)) {
        (Ok(PublisherAnswer::Ack(id)), Ok(decoded)) => match decoded.embed {
            Some(Embed::Ack(ack)) => assert_eq!(id, &ack.id[..]),
            other => panic!("{other:?} was taken for an ack"),
        },
        (Ok(PublisherAnswer::Other(reply)), Ok(decoded)) => assert_eq!(reply, decoded),
        (Err(_), Err(_)) => {}
        (parsed, decoded) => panic!("{parsed:?} {decoded:?}"),
    }
}

/// An event, or whatever else a server says to a subscriber. The content of an event is judged later than the decoder does it, so
/// what it refuses may pass here.
pub fn fuzz_subscribe_reply(data: &[u8]) {
    use ensign::subscribe_reply::Embed;
    let Ok(decoded) = ensign::SubscribeReply::decode(data) else {
        assert!(!matches!(parse_subscribe_reply(data), Ok(SubscriberMessage::Other(_))));
        return;
    };
    match parse_subscribe_reply(data).expect("it can be decoded") {
        SubscriberMessage::Event(event) => {
            let Some(Embed::Event(wrapper)) = decoded.embed else { panic!("{decoded:?} was taken for an event") };
            assert_eq!(
                (event.id, event.topic_id, event.offset),
                (&wrapper.id[..], &wrapper.topic_id[..], wrapper.offset)
            );
            assert_eq!((event.key, event.event), (&wrapper.key[..], &wrapper.event[..]));
            assert_eq!(event.committed.is_some(), wrapper.committed.is_some());
            assert_eq!(event.publisher.is_some(), wrapper.publisher.is_some());
        }
        SubscriberMessage::Other(reply) => assert_eq!(*reply, decoded),
    }
}

/// An ack or a nack, or whatever else a subscriber says.
pub fn fuzz_subscribe_request(data: &[u8]) {
    use ensign::subscribe_request::Embed;
    match (parse_subscribe_request(data), ensign::SubscribeRequest::decode(data)) {
        (Ok(SubscriberRequest::Ack(id)), Ok(decoded)) => match decoded.embed {
            Some(Embed::Ack(ack)) => assert_eq!(id, &ack.id[..]),
            other => panic!("{other:?} was taken for an ack"),
        },
        (Ok(SubscriberRequest::Nack(id, code)), Ok(decoded)) => match decoded.embed {
            Some(Embed::Nack(nack)) => assert_eq!((id, code), (&nack.id[..], nack.code)),
            other => panic!("{other:?} was taken for a nack"),
        },
        (Ok(SubscriberRequest::Other(request)), Ok(decoded)) => assert_eq!(*request, decoded),
        (Err(_), Err(_)) => {}
        (parsed, decoded) => panic!("{parsed:?} {decoded:?}"),
    }
}

/// What a server says of acks reads back as it was read.
pub fn fuzz_receipt(data: &[u8]) {
    let Ok(Some(receipt)) = parse_receipt(data) else { return };
    let mut frames = Vec::new();
    write_receipts(&mut frames, &receipt.acked, &receipt.refused);
    let (messages, ended) = frames_of(&frames, frames.len().max(1));
    assert_eq!(ended, Ok(()));
    let mut again = super::GroupReceipt::default();
    for (_, message) in messages {
        let part = parse_receipt(&message).expect("it was just written").expect("it was written as a receipt");
        again.acked.extend(part.acked);
        again.refused.extend(part.refused);
    }
    assert_eq!(again, receipt);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::fuzzing::run_bounded;

    fn event() -> Vec<u8> {
        let schema = ensign::Type { name: "Flight".to_owned(), major_version: 1, minor_version: 2, patch_version: 3 };
        ensign::Event {
            data: Bytes::from_static(b"{\"id\": 7}"),
            metadata: BTreeMap::from([("source".to_owned(), "radar".to_owned())]),
            mimetype: 50,
            r#type: Some(schema),
            created: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 5 }),
        }
        .encode_to_vec()
    }

    fn wrapper() -> ensign::EventWrapper {
        ensign::EventWrapper {
            id: Bytes::from_static(&[1; 10]),
            topic_id: Bytes::from_static(&[2; 16]),
            offset: 300,
            epoch: 4,
            publisher: Some(ensign::Publisher { publisher_id: "me".to_owned(), ..ensign::Publisher::default() }),
            key: Bytes::from_static(b"key"),
            event: event().into(),
            committed: Some(prost_types::Timestamp { seconds: 1_790_000_000, nanos: 5 }),
            local_id: Bytes::from_static(&[3; 16]),
            ..ensign::EventWrapper::default()
        }
    }

    #[test]
    fn publisher_requests() {
        use ensign::publisher_request::Embed;
        let event = ensign::PublisherRequest { embed: Some(Embed::Event(wrapper())) }.encode_to_vec();
        let open = ensign::OpenStream { client_id: "me".to_owned(), topics: vec!["t".to_owned()] };
        let open = ensign::PublisherRequest { embed: Some(Embed::OpenStream(open)) }.encode_to_vec();
        run_bounded("a publisher's request", &[&event, &open, &[&event[..], &event].concat()], fuzz_publisher_request);
    }

    #[test]
    fn events() {
        run_bounded("an event", &[&event(), &[], &[&event()[..], &event()].concat()], fuzz_event);
    }

    #[test]
    fn frames() {
        let body = [&[3][..], &[0, 0, 0, 0, 4], b"data", &[1, 0, 0, 0, 0], &[0, 0, 0, 1, 0], &[7; 256]].concat();
        run_bounded("a body of frames", &[&body, &[0, 2, 0, 0, 0, 1, 1], &[9, 0, 0xff, 0xff, 0xff, 0xff]], fuzz_frames);
    }

    #[test]
    fn publisher_replies() {
        use ensign::publisher_reply::Embed;
        let ack = ensign::Ack { id: Bytes::from_static(&[3; 16]), committed: wrapper().committed };
        let ack = ensign::PublisherReply { embed: Some(Embed::Ack(ack)) }.encode_to_vec();
        let nack = ensign::Nack { id: Bytes::from_static(&[3; 16]), code: 2, error: "no such topic".to_owned() };
        let nack = ensign::PublisherReply { embed: Some(Embed::Nack(nack)) }.encode_to_vec();
        run_bounded("a reply to a publisher", &[&ack, &nack, &[&ack[..], &nack].concat()], fuzz_publisher_reply);
    }

    #[test]
    fn subscribe_replies() {
        use ensign::subscribe_reply::Embed;
        let event = ensign::SubscribeReply { embed: Some(Embed::Event(wrapper())) }.encode_to_vec();
        run_bounded("a delivery", &[&event, &[], &[&event[..], &event].concat()], fuzz_subscribe_reply);
    }

    #[test]
    fn subscribe_requests() {
        use ensign::subscribe_request::Embed;
        let ack = ensign::Ack { id: Bytes::from_static(&[3; 10]), committed: wrapper().committed };
        let ack = ensign::SubscribeRequest { embed: Some(Embed::Ack(ack)) }.encode_to_vec();
        let nack = ensign::Nack { id: Bytes::from_static(&[3; 10]), code: 104, error: "later".to_owned() };
        let nack = ensign::SubscribeRequest { embed: Some(Embed::Nack(nack)) }.encode_to_vec();
        let both = [&ack[..], &nack].concat();
        run_bounded("a subscriber's request", &[&ack, &nack, &both], fuzz_subscribe_request);
    }

    #[test]
    fn receipts() {
        let id = crate::model::Rlid::from_parts(1_790_000_000_123, 7);
        let mut frames = Vec::new();
        write_receipts(&mut frames, &[id, id.plus(1)], &[id.plus(2)]);
        let (messages, _) = frames_of(&frames, frames.len());
        let joined = [&messages[0].1[..], &messages[1].1].concat();
        run_bounded("a receipt", &[&messages[0].1, &joined], fuzz_receipt);
    }
}
