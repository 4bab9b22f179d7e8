//! What is done by hand against what prost does.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*};
use prost::Message;

use super::{ensign::*, *};
use crate::model::{self, NackCode, Offset, Rlid, Time, TopicId, Ulid, limits};

pub(super) fn bytes_of(length: std::ops::Range<usize>) -> impl proptest::strategy::Strategy<Value = Bytes> {
    vec(any::<u8>(), length).prop_map(Bytes::from)
}

prop_compose! {
    pub(super) fn timestamps()(seconds in any::<i64>(), nanos in 0..1_000_000_000_i32) -> prost_types::Timestamp {
        prost_types::Timestamp { seconds, nanos }
    }
}

prop_compose! {
    pub(super) fn events()(
        data in bytes_of(0..40),
        metadata in proptest::collection::btree_map(".{0,4}", ".{0,4}", 0..4),
        mimetype in any::<i32>(),
        name in proptest::option::of(".{0,6}"),
        version in any::<(u32, u32, u32)>(),
        created in proptest::option::of(timestamps()),
    ) -> Event {
        let (major_version, minor_version, patch_version) = version;
        let r#type = name.map(|name| Type { name, major_version, minor_version, patch_version });
        Event { data, metadata, mimetype, r#type, created }
    }
}

prop_compose! {
    pub(super) fn wrappers()(
        ids in (bytes_of(0..17), bytes_of(0..17), bytes_of(0..17), bytes_of(0..17)),
        numbers in any::<(u64, u64, i32, u64, bool)>(),
        key in bytes_of(0..5),
        event in bytes_of(0..200),
        sealing in proptest::option::of((any::<i32>(), bytes_of(0..9), ".{0,5}")),
        compression in proptest::option::of(any::<(i32, i64)>()),
        publisher in proptest::option::of(".{0,5}"),
        committed in proptest::option::of(timestamps()),
    ) -> EventWrapper {
        EventWrapper {
            id: ids.0,
            topic_id: ids.1,
            local_id: ids.2,
            duplicate_id: ids.3,
            offset: numbers.0,
            epoch: numbers.1,
            region: numbers.2,
            shard: numbers.3,
            is_duplicate: numbers.4,
            key,
            event,
            encryption: sealing.map(|(number, secret, public_key_id)| Encryption {
                sealing_algorithm: number,
                hmac_secret: secret,
                public_key_id,
                ..Encryption::default()
            }),
            compression: compression.map(|(algorithm, level)| Compression { algorithm, level }),
            publisher: publisher.map(|ipaddr| Publisher { ipaddr, ..Publisher::default() }),
            committed,
        }
    }
}

/// Fields that this version doesn't know, of every wire type.
pub(super) fn unknown_fields() -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    let fields: [&[u8]; 6] = [
        b"",
        &[0xf0, 0x01, 0x96, 0x01],
        &[0xf2, 0x01, 3, 1, 2, 3],
        &[0xf5, 0x01, 1, 2, 3, 4],
        &[0xf1, 0x01, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0xf3, 0x01, 0x08, 0x01, 0xf4, 0x01],
    ];
    proptest::sample::select(fields.map(<[u8]>::to_vec).to_vec())
}

/// What a decoder of the wrapper sees of a record.
fn kept_part(wrapper: &EventWrapper) -> EventWrapper {
    EventWrapper {
        region: wrapper.region,
        key: wrapper.key.clone(),
        shard: wrapper.shard,
        event: wrapper.event.clone(),
        encryption: wrapper.encryption.clone(),
        compression: wrapper.compression,
        ..EventWrapper::default()
    }
}

/// Changes, cuts off or adds bytes of a message, so that it is often just about valid.
pub(super) fn damaged(message: Vec<u8>) -> impl proptest::strategy::Strategy<Value = Vec<u8>> {
    let length = message.len();
    (Just(message), vec((0..=length, any::<u8>(), 0..3_u8), 0..3)).prop_map(|(mut message, damage)| {
        for (at, byte, kind) in damage {
            let at = at.min(message.len());
            match kind {
                0 if at < message.len() => message[at] = byte,
                1 => message.truncate(at),
                _ => message.insert(at, byte),
            }
        }
        message
    })
}

fn request(wrapper: &[u8]) -> Vec<u8> {
    let mut message = vec![0x0a];
    prost::encoding::encode_varint(wrapper.len() as u64, &mut message);
    message.extend_from_slice(wrapper);
    message
}

fn parsed_event(message: &[u8]) -> IncomingEvent<'_> {
    match parse_publisher_request(message) {
        Ok(PublisherMessage::Event(event)) => event,
        other => panic!("not an event: {other:?}"),
    }
}

fn record_of(event: &IncomingEvent<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let length = event.write_record(&mut out);
    assert_eq!(length, event.record_bytes());
    let mut rest = &out[..];
    assert_eq!(prost::encoding::decode_varint(&mut rest).unwrap(), length as u64);
    assert_eq!(rest.len(), length);
    rest.to_vec()
}

const COMMITTED: Time = Time::from_nanos(1_790_000_000_123_456_789);

fn envelope(publisher: &[u8]) -> Envelope<'_> {
    Envelope {
        id: Rlid::from_parts(1_790_000_000_123, 7),
        topic: TopicId(Ulid::from_bytes([9; 16])),
        offset: Offset::new(300),
        epoch: 1,
        committed: COMMITTED,
        publisher,
    }
}

/// The only message in a body.
fn message_of(body: &[u8]) -> Vec<u8> {
    let mut reader = FrameReader::default();
    reader.feed(Bytes::copy_from_slice(body));
    let message = reader.next_frame().unwrap().expect("a message").body.to_vec();
    assert_eq!(reader.next_frame().unwrap(), None);
    reader.finish().unwrap();
    message
}

#[test]
fn a_request_is_an_opening_an_event_or_nothing() {
    let open = OpenStream { client_id: "me".to_owned(), topics: vec!["t".to_owned()] };
    let message = PublisherRequest { embed: Some(publisher_request::Embed::OpenStream(open.clone())) }.encode_to_vec();
    assert!(matches!(parse_publisher_request(&message), Ok(PublisherMessage::Open(found)) if found == open));
    assert!(matches!(parse_publisher_request(&[]), Ok(PublisherMessage::Empty)));
    assert!(matches!(parse_publisher_request(&[0x18, 0x01]), Ok(PublisherMessage::Empty)));
    assert!(parse_publisher_request(&[0x0a, 0x05, 0x01]).is_err());
    assert!(parse_publisher_request(&[0x12, 0x03, 0x0a, 0x01, 0xff]).is_err());

    let event =
        request(&EventWrapper { local_id: Bytes::from_static(b"x"), ..EventWrapper::default() }.encode_to_vec());
    assert_eq!(parsed_event(&[message.clone(), event.clone()].concat()).local_id(), b"x");
    assert!(matches!(parse_publisher_request(&[event, message].concat()), Ok(PublisherMessage::Open(_))));
}

#[test]
fn an_event_in_parts_is_merged() {
    let first =
        EventWrapper { topic_id: Bytes::from_static(b"t1"), key: Bytes::from_static(b"k"), ..Default::default() };
    let second = EventWrapper { topic_id: Bytes::from_static(b"t2"), ..Default::default() };
    let message = [request(&first.encode_to_vec()), request(&second.encode_to_vec())].concat();
    let event = parsed_event(&message);
    assert_eq!(event.topic_id(), b"t2");
    assert_eq!(EventWrapper::decode(&record_of(&event)[..]).unwrap().key, b"k"[..]);
}

#[test]
fn an_event_without_bytes_is_refused_and_one_without_data_is_not() {
    assert_eq!(inspect_event(b""), Err(EventError::Empty));
    let event = Event { mimetype: 50, ..Event::default() }.encode_to_vec();
    let facts = inspect_event(&event).unwrap();
    assert_eq!((facts.mimetype, facts.schema()), (50, model::Schema::unspecified()));
    assert!(matches!(inspect_event(b"plain text"), Err(EventError::Undecodable(_))));
    assert!(matches!(inspect_event(&[0x1a, 0x03, 0x0a, 0x01, 0xff]), Err(EventError::Undecodable(_))));
}

#[test]
fn a_type_in_parts_is_merged() {
    let part = |schema: Type| Event { r#type: Some(schema), ..Event::default() }.encode_to_vec();
    let name = part(Type { name: "order".to_owned(), ..Type::default() });
    let version = part(Type { major_version: 2, ..Type::default() });
    let facts = [name, version].concat();
    assert_eq!(inspect_event(&facts).unwrap().schema().to_string(), "order v2.0.0");
}

/// What the broker adds must not keep an event from a reader whose publisher could send it.
#[test]
fn near_the_limit_of_the_sdks_as_little_as_possible_is_left_out() {
    let publisher = encode_publisher("01GTSMQ3V8ASAPNCFEN378T8RD", "127.0.0.1:50000", "", "grpc");
    let envelope = envelope(&publisher);
    let mut left_out = std::collections::BTreeSet::new();
    for record_bytes in limits::SDK_MESSAGE_BYTES_MAX - 200..limits::SDK_MESSAGE_BYTES_MAX + 20 {
        let mut record = vec![0x4a];
        prost::encoding::encode_varint((record_bytes - 5) as u64, &mut record);
        record.resize(record_bytes, 0);
        let mut out = Vec::new();
        write_subscribe_reply(&mut out, &record, &envelope);
        let message = message_of(&out);
        let Some(subscribe_reply::Embed::Event(wrapper)) = SubscribeReply::decode(&message[..]).unwrap().embed else {
            panic!("not an event");
        };
        assert_eq!(wrapper.encoded_len(), wrapper_bytes(record_bytes, &envelope));
        assert_eq!(wrapper.id, envelope.id.as_bytes()[..]);
        assert_eq!(wrapper.topic_id, envelope.topic.as_bytes()[..]);
        let missing =
            [wrapper.publisher.is_none(), wrapper.epoch == 0, wrapper.committed.is_none(), wrapper.offset == 0];
        assert!(missing.is_sorted_by(|a, b| a >= b), "{missing:?}");
        // What it took to get here: the key and the length around the wrapper, the topic, and a local id of 16 bytes.
        let arrived = 5 + record_bytes + 18 + 19;
        if arrived <= limits::SDK_MESSAGE_BYTES_MAX {
            assert!(message.len() <= limits::SDK_MESSAGE_BYTES_MAX, "{record_bytes}");
        }
        left_out.insert(missing);
    }
    assert_eq!(left_out.len(), 5);
}

#[test]
fn acks_and_nacks_are_replies() {
    let mut out = Vec::new();
    write_acks(&mut out, [&b"one"[..], b"", b"three"], COMMITTED);
    write_nack(&mut out, b"four", NackCode::TopicUnknown, None);
    write_nack(&mut out, b"", NackCode::Unknown, Some("because"));
    let mut reader = FrameReader::default();
    reader.feed(out.into());
    let ack = |id: &'static [u8]| publisher_reply::Embed::Ack(Ack { id: id.into(), committed: Some(COMMITTED.into()) });
    let nack = |id: &'static [u8], code: nack::Code, error: &str| {
        publisher_reply::Embed::Nack(Nack { id: id.into(), code: code.into(), error: error.to_owned() })
    };
    for expected in [
        ack(b"one"),
        ack(b""),
        ack(b"three"),
        nack(b"four", nack::Code::TopicUnknown, "topic unknown or unhandled"),
        nack(b"", nack::Code::Unknown, "because"),
    ] {
        let message = PublisherReply { embed: Some(expected) };
        let frame = reader.next_frame().unwrap().unwrap();
        assert_eq!(PublisherReply::decode(frame.body).unwrap(), message);
        // Byte for byte, so that empty fields are left out as they should be.
        assert_eq!(frame.body, message.encode_to_vec());
    }
    assert_eq!(reader.next_frame(), Ok(None));
}

#[test]
fn a_frame_is_judged_before_it_is_buffered() {
    let head = |flag: u8, length: usize| [&[flag][..], &u32::try_from(length).unwrap().to_be_bytes()].concat();
    let limit = limits::MESSAGE_BYTES_MAX;
    let too_large = Err(FrameError::TooLarge { length: limit + 1, limit });
    for pieces in [vec![head(0, limit + 1)], head(0, limit + 1).into_iter().map(|byte| vec![byte]).collect()] {
        let mut reader = FrameReader::default();
        let mut found = Ok(None);
        for piece in pieces {
            reader.feed(piece.into());
            found = reader.next_frame();
        }
        assert_eq!(found, too_large);
        reader.feed(Bytes::from_static(b"more"));
        assert_eq!(reader.next_frame(), too_large);
    }
    let mut reader = FrameReader::default();
    reader.feed(head(0, limit).into());
    assert_eq!(reader.next_frame(), Ok(None));
    assert_eq!(reader.finish(), Err(FrameError::Truncated));
    let mut reader = FrameReader::default();
    reader.feed(head(2, 0).into());
    assert_eq!(reader.next_frame(), Err(FrameError::InvalidFlag { flag: 2 }));
}

#[test]
fn a_whole_message_is_not_copied() {
    let body = Bytes::from_static(b"\0\0\0\0\x02ab\x01\0\0\0\x01c");
    let mut reader = FrameReader::default();
    reader.feed(body.clone());
    let first = reader.next_frame().unwrap().unwrap();
    assert_eq!(first.body.as_ptr(), body[5..].as_ptr());
    assert_eq!((first.compressed, first.body), (false, &b"ab"[..]));
    assert_eq!(first.part(&first.body[1..]).as_ptr(), body[6..].as_ptr());
    let second = reader.next_frame().unwrap().unwrap();
    assert_eq!((second.compressed, second.body), (true, &b"c"[..]));
    reader.finish().unwrap();
}

fn stored_topic() -> model::Topic {
    model::Topic {
        id: TopicId(Ulid::from_bytes([1; 16])),
        project: model::ProjectId(Ulid::from_bytes([2; 16])),
        name: model::TopicName::parse("orders").unwrap(),
        state: model::TopicState::Ready,
        readonly: true,
        deduplication: model::Deduplication {
            strategy: model::Strategy::UniqueKey,
            offset: model::OffsetPolicy::Latest,
            keys: vec!["id".to_owned()],
            fields: vec![],
            overwrite_duplicate: true,
        },
        sharding: model::Sharding::Unknown,
        created: COMMITTED,
        modified: COMMITTED,
        extra: vec![],
    }
}

#[test]
fn a_topic_gives_back_what_its_creator_sent_along() {
    let sent = ensign::Topic {
        name: "orders".to_owned(),
        readonly: true,
        offset: 42,
        shards: 3,
        status: 4,
        types: vec![Type { name: "order".to_owned(), ..Type::default() }],
        placements: vec![Placement { epoch: 9, ..Placement::default() }],
        created: Some(prost_types::Timestamp { seconds: 1, nanos: 1 }),
        ..ensign::Topic::default()
    };
    let unknown = [0x8a, 0x08, 2, b'h', b'i'];
    let (decoded, extra) = split_topic(&[&sent.encode_to_vec()[..], &unknown].concat()).unwrap();
    assert_eq!(decoded, sent);

    let topic = model::Topic { extra, ..stored_topic() };
    let encoded = encode_topic(&topic);
    let found = ensign::Topic::decode(&encoded[..]).unwrap();
    assert_eq!((found.offset, found.shards, found.status), (42, 3, 1));
    assert_eq!((&found.types, &found.placements), (&sent.types, &sent.placements));
    assert_eq!(found.created, Some(COMMITTED.into()));
    assert_eq!(found.name, "orders");
    assert!(found.readonly);
    assert_eq!(found.id, [1; 16][..]);
    assert_eq!(found.project_id, [2; 16][..]);
    assert_eq!(model::Deduplication::try_from(found.deduplication.clone().unwrap()), Ok(topic.deduplication.clone()));
    assert!(encoded.ends_with(&unknown));

    let page = encode_topics_page([&topic, &stored_topic()], "next");
    let page = TopicsPage::decode(&page[..]).unwrap();
    assert_eq!(page.topics.len(), 2);
    assert_eq!(page.topics[0], found);
    assert_eq!(page.next_page_token, "next");
    assert!(split_topic(&[0x0a, 0x09]).is_err());
}

#[test]
fn unknown_policies_are_refused() {
    let policy = |strategy, offset| {
        model::Deduplication::try_from(ensign::Deduplication { strategy, offset, ..ensign::Deduplication::default() })
    };
    assert!(policy(0, 0).is_ok());
    assert_eq!(policy(7, 0), Err(UnknownPolicy::Strategy { number: 7 }));
    assert_eq!(policy(1, 3), Err(UnknownPolicy::Offset { number: 3 }));
}

#[test]
fn times_far_away_become_the_nearest() {
    let go_zero = prost_types::Timestamp { seconds: -62_135_596_800, nanos: 0 };
    assert_eq!(Time::from(go_zero), Time::from_nanos(i64::MIN));
    let before = Time::from_nanos(-1);
    assert_eq!(prost_types::Timestamp::from(before), prost_types::Timestamp { seconds: -1, nanos: 999_999_999 });
    assert_eq!(Time::from(prost_types::Timestamp::from(before)), before);
}

proptest! {
    #[test]
    fn a_record_and_its_envelope_are_the_wrapper(
        wrapper in wrappers(),
        (before, between, after) in (unknown_fields(), unknown_fields(), unknown_fields()),
        nanos in any::<i64>(),
        offset in 1..u64::MAX,
        publisher in proptest::option::of(".{0,9}"),
    ) {
        // Two halves of a wrapper with unknown fields around them: the kept fields are not side by side then.
        let kept = kept_part(&wrapper);
        let set = EventWrapper {
            region: 0,
            key: Bytes::new(),
            shard: 0,
            event: Bytes::new(),
            encryption: None,
            compression: None,
            ..wrapper.clone()
        };
        let encoded = [&before, &kept.encode_to_vec(), &between, &set.encode_to_vec(), &after].map(Vec::as_slice).concat();
        let message = request(&encoded);
        let event = parsed_event(&message);
        prop_assert_eq!(event.topic_id(), &wrapper.topic_id[..]);
        prop_assert_eq!(event.local_id(), &wrapper.local_id[..]);
        prop_assert_eq!(event.event(), &wrapper.event[..]);

        let record = record_of(&event);
        let expected = [&before, &kept.encode_to_vec(), &between, &after].map(Vec::as_slice).concat();
        prop_assert_eq!(&record, &expected);

        let publisher = publisher.map(|name| encode_publisher(&name, "", "", "")).unwrap_or_default();
        let committed = Time::from_nanos(nanos);
        let envelope = Envelope { offset: Offset::new(offset), committed, ..envelope(&publisher) };
        let delivered = EventWrapper {
            id: Bytes::copy_from_slice(envelope.id.as_bytes()),
            topic_id: Bytes::copy_from_slice(envelope.topic.as_bytes()),
            offset,
            epoch: 1,
            publisher: (!publisher.is_empty()).then(|| Publisher::decode(&publisher[..]).unwrap()),
            committed: Some(committed.into()),
            ..kept
        };
        let mut out = Vec::new();
        write_subscribe_reply(&mut out, &record, &envelope);
        let reply = SubscribeReply::decode(&message_of(&out)[..]).unwrap();
        prop_assert_eq!(reply.embed, Some(subscribe_reply::Embed::Event(delivered.clone())));
        out.clear();
        write_wrapper_frame(&mut out, &record, &envelope);
        prop_assert_eq!(EventWrapper::decode(&message_of(&out)[..]).unwrap(), delivered);
        prop_assert_eq!(out.len(), FRAME_HEAD_BYTES + wrapper_bytes(record.len(), &envelope));
    }

    #[test]
    fn requests_are_judged_as_by_prost(
        message in (wrappers(), unknown_fields())
            .prop_map(|(wrapper, unknown)| request(&[&wrapper.encode_to_vec()[..], &unknown].concat()))
            .prop_flat_map(damaged),
    ) {
        let decoded = PublisherRequest::decode(&message[..]);
        let parsed = parse_publisher_request(&message);
        prop_assert_eq!(parsed.is_ok(), decoded.is_ok(), "{:?} {:?}", parsed, decoded);
        match (parsed, decoded.map(|request| request.embed)) {
            (Ok(PublisherMessage::Event(event)), Ok(Some(publisher_request::Embed::Event(wrapper)))) => {
                prop_assert_eq!(event.topic_id(), &wrapper.topic_id[..]);
                prop_assert_eq!(event.local_id(), &wrapper.local_id[..]);
                prop_assert_eq!(event.event(), &wrapper.event[..]);
                prop_assert_eq!(EventWrapper::decode(&record_of(&event)[..]).unwrap(), kept_part(&wrapper));
            }
            (Ok(PublisherMessage::Open(open)), Ok(Some(publisher_request::Embed::OpenStream(expected)))) => {
                prop_assert_eq!(open, expected);
            }
            (Ok(PublisherMessage::Empty), Ok(None)) | (Err(_), Err(_)) => {}
            (parsed, decoded) => prop_assert!(false, "{parsed:?} {decoded:?}"),
        }
    }

    #[test]
    fn events_are_judged_as_by_prost(
        event in (events(), unknown_fields())
            .prop_map(|(event, unknown)| [&event.encode_to_vec()[..], &unknown].concat())
            .prop_flat_map(damaged),
    ) {
        match (inspect_event(&event), Event::decode(&event[..])) {
            (Ok(facts), Ok(decoded)) => {
                prop_assert_eq!(facts.mimetype, decoded.mimetype);
                let schema = Type::decode(&facts.schema[..]).unwrap();
                prop_assert_eq!(schema, decoded.r#type.unwrap_or_default());
            }
            (Err(EventError::Empty), _) => prop_assert!(event.is_empty()),
            (Err(EventError::Undecodable(found)), Err(expected)) => prop_assert_eq!(found, expected),
            (found, expected) => prop_assert!(false, "{found:?} {expected:?}"),
        }
    }

    #[test]
    fn an_event_as_encoders_write_it_is_not_decoded(event in events()) {
        let encoded = event.encode_to_vec();
        if !encoded.is_empty() {
            let facts = inspect_event(&encoded).unwrap();
            prop_assert!(matches!(facts.schema, std::borrow::Cow::Borrowed(_)));
            prop_assert_eq!(facts.schema.to_vec(), event.r#type.map(|schema| schema.encode_to_vec()).unwrap_or_default());
        }
    }

    #[test]
    fn any_cut_of_a_body_gives_the_same_messages(
        messages in vec((any::<bool>(), vec(any::<u8>(), 0..30)), 0..8),
        cuts in vec(any::<prop::sample::Index>(), 0..12),
        at_once in any::<bool>(),
    ) {
        let mut body = Vec::new();
        for (compressed, message) in &messages {
            body.push(u8::from(*compressed));
            body.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
            body.extend_from_slice(message);
        }
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.extend([0, body.len()]);
        cuts.sort_unstable();

        let mut reader = FrameReader::default();
        let mut found = Vec::new();
        for piece in cuts.windows(2) {
            reader.feed(Bytes::copy_from_slice(&body[piece[0]..piece[1]]));
            // Whoever does not take the messages out piece by piece gets them all the same.
            while !at_once && let Some(frame) = reader.next_frame().unwrap() {
                found.push((frame.compressed, frame.body.to_vec()));
            }
        }
        while let Some(frame) = reader.next_frame().unwrap() {
            found.push((frame.compressed, frame.body.to_vec()));
        }
        reader.finish().unwrap();
        prop_assert_eq!(&found, &messages);

        if let Some(cut) = body.len().checked_sub(1) {
            let mut reader = FrameReader::default();
            reader.feed(Bytes::copy_from_slice(&body[..cut]));
            while reader.next_frame().unwrap().is_some() {}
            prop_assert_eq!(reader.finish(), Err(FrameError::Truncated));
        }
    }
}
