//! What is sealed opens again as it was, and nothing else does.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;

use super::{Draft, Encryption, Event, OpenFailure, Opener, Overused, Sealer};
use crate::{
    api::{FRAME_HEAD_BYTES, ensign as wire},
    model::{Mimetype, Schema, Secret, Time, TopicId, TopicKey, TopicKeyId, Ulid},
    sys::Entropy,
};

const TOPIC: TopicId = TopicId(Ulid::from_bytes([9; 16]));

fn key(number: u8, version: u32) -> TopicKey {
    let id = TopicKeyId { ulid: Ulid::from_bytes([number; 16]), version };
    TopicKey::new(id, TOPIC, Secret::new([number + 100; 32])).unwrap()
}

fn sealer(key: &TopicKey) -> Sealer {
    Sealer::new(key, 0, Entropy::seeded(7))
}

/// What a reader gets of a draft that was sent, with what the server adds.
fn delivered(draft: &Draft) -> Event {
    let mut frame = Vec::new();
    draft.outgoing().write_request(&mut frame, &TOPIC, &[5; 16]);
    let request = wire::PublisherRequest::decode(&frame[FRAME_HEAD_BYTES..]).unwrap();
    let Some(wire::publisher_request::Embed::Event(wrapper)) = request.embed else { panic!("not an event") };
    let wrapper = wire::EventWrapper { id: Bytes::from_static(&[1; 10]), offset: 3, ..wrapper };
    Event::from_wire(wrapper).unwrap()
}

fn simple(data: &[u8]) -> Draft {
    let metadata = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
    let schema = Schema { name: "order".to_owned(), major: 1, minor: 2, patch: 3 };
    let envelope = sealer(&key(1, 1)).envelope(Mimetype::JSON, Some(&schema), metadata, Bytes::from_static(b"k"));
    envelope.draft(data, Some(Time::from_nanos(5)), 0).unwrap()
}

#[track_caller]
fn refused(event: &Event, failure: &OpenFailure) {
    let keys = [key(1, 1), key(2, 2)];
    let mut tried = event.clone();
    let error = Opener::new(&keys).open(&mut tried).unwrap_err();
    assert_eq!((&error.failure, error.topic, error.offset.get()), (failure, event.topic, 3));
    assert_eq!(&tried, event, "it stays as it was");
}

proptest! {
    /// Whatever an event is, it opens as what it was; whichever bit of it is changed on the way, it does not.
    #[test]
    fn what_is_sealed_opens_and_any_flipped_bit_is_refused(
        data in prop::collection::vec(any::<u8>(), 0..100),
        event_key in prop::collection::vec(any::<u8>(), 0..3),
        metadata in prop::collection::btree_map(".{0,3}", ".{0,9}", 0..3),
        mimetype in 0..60_i32,
        nanos in prop::option::of(any::<i64>()),
        name in prop::option::of(".{0,5}"),
        flips in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let schema = name.map(|name| Schema { name, major: 1, minor: 0, patch: 300 });
        let (old, new) = (key(1, 1), key(2, 2));
        let envelope = sealer(&new).envelope(Mimetype(mimetype), schema.as_ref(), metadata.clone(), event_key.into());
        let draft = envelope.draft(&data, nanos.map(Time::from_nanos), 0).unwrap();
        let sealed = delivered(&draft);
        prop_assert_eq!(sealed.data.len(), data.len() + 28);
        if data.len() > 3 {
            prop_assert!(!sealed.data.windows(data.len()).any(|part| part == data));
        }
        let opener = Opener::new([&old, &new]);
        let mut opened = sealed.clone();
        opener.open(&mut opened).unwrap();
        prop_assert_eq!(&opened.data[..], &data[..]);
        prop_assert_eq!(&opened, &Event { data: opened.data.clone(), encryption: None, ..sealed.clone() });

        for flip in flips {
            let bit = flip.index(sealed.data.len() * 8);
            let mut bytes = sealed.data.to_vec();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let changed = Event { data: bytes.into(), ..sealed.clone() };
            let failure = opener.open(&mut changed.clone()).unwrap_err().failure;
            prop_assert_eq!(failure, OpenFailure::Refused { id: new.id() });
            let cut = Event { data: sealed.data.slice(..bit / 8), ..sealed.clone() };
            prop_assert!(opener.open(&mut cut.clone()).is_err());
        }
    }
}

/// All that stays readable is authenticated: what the server could change to mislead a reader.
#[test]
fn nothing_that_stays_readable_can_be_changed() {
    let event = delivered(&simple(b"{}"));
    let changes: [&dyn Fn(&mut Event); 10] = [
        &|event| event.mimetype = Mimetype::TEXT_PLAIN,
        &|event| event.schema = None,
        &|event| event.schema.as_mut().unwrap().name.push('s'),
        &|event| event.schema.as_mut().unwrap().patch += 1,
        &|event| event.metadata.clear(),
        &|event| drop(event.metadata.insert("a".to_owned(), "c".to_owned())),
        &|event| event.key = Bytes::new(),
        &|event| event.created = None,
        &|event| event.created = Some(Time::from_nanos(6)),
        &|event| {
            // What is moved between two parts is another event, too.
            event.key = Bytes::new();
            event.schema.as_mut().unwrap().name.push('k');
        },
    ];
    for change in changes {
        let mut changed = event.clone();
        change(&mut changed);
        refused(&changed, &OpenFailure::Refused { id: key(1, 1).id() });
    }
}

#[test]
fn an_event_stays_in_its_topic_unless_that_is_wanted() {
    let elsewhere = TopicId(Ulid::from_bytes([8; 16]));
    let moved = Event { topic: elsewhere, ..delivered(&simple(b"{}")) };
    refused(&moved, &OpenFailure::OtherTopic { id: key(1, 1).id(), topic: TOPIC });
    let mut opened = moved.clone();
    Opener::new(&[key(1, 1)]).anywhere().open(&mut opened).unwrap();
    assert_eq!((&opened.data[..], opened.topic), (&b"{}"[..], elsewhere));
    // Somebody who calls the key one of the other topic changes nothing about what was sealed.
    let other = TopicKey::new(key(1, 1).id(), elsewhere, key(1, 1).secret().clone()).unwrap();
    let error = Opener::new(&[other]).open(&mut moved.clone()).unwrap_err();
    assert_eq!(error.failure, OpenFailure::Refused { id: key(1, 1).id() });
    assert_eq!(error.to_string().split_once(": ").unwrap().0, format!("topic {elsewhere}, offset 3"));
}

#[test]
fn what_names_another_key_or_way_is_refused() {
    let event = delivered(&simple(b"{}"));
    let with = |change: &dyn Fn(&mut Encryption)| {
        let mut encryption = event.encryption.as_deref().unwrap().clone();
        change(&mut encryption);
        Event { encryption: Some(Arc::new(encryption)), ..event.clone() }
    };
    refused(&Event { encryption: None, ..event.clone() }, &OpenFailure::NotEncrypted);
    refused(&with(&|encryption| *encryption = Encryption::default()), &OpenFailure::NotEncrypted);
    refused(&with(&|encryption| encryption.encryption_algorithm = 0), &OpenFailure::UnknownAlgorithm { number: 0 });
    refused(&with(&|encryption| encryption.encryption_algorithm = 130), &OpenFailure::UnknownAlgorithm { number: 130 });
    let other_ways: [&dyn Fn(&mut Encryption); 6] = [
        &|encryption| encryption.public_key_id = "rsa-1".to_owned(),
        &|encryption| encryption.sealing_algorithm = 510,
        &|encryption| encryption.signature_algorithm = 310,
        &|encryption| encryption.encryption_key = Bytes::from_static(b"x"),
        &|encryption| encryption.hmac_secret = Bytes::from_static(b"x"),
        &|encryption| encryption.signature = Bytes::from_static(b"x"),
    ];
    for change in other_ways {
        refused(&with(change), &OpenFailure::NoTopicKey);
    }
    let named = |id: TopicKeyId| with(&move |encryption| encryption.public_key_id = id.to_string());
    refused(&named(key(2, 2).id()), &OpenFailure::Refused { id: key(2, 2).id() });
    refused(&named(key(1, 2).id()), &OpenFailure::MissingKey { id: key(1, 2).id() });
    // A key of the right name with other bytes.
    let impostor = TopicKey::new(key(1, 1).id(), TOPIC, Secret::new([3; 32])).unwrap();
    let error = Opener::new(&[impostor]).open(&mut event.clone()).unwrap_err();
    assert_eq!(error.failure, OpenFailure::Refused { id: key(1, 1).id() });
    for length in [0, 12, 27] {
        refused(&Event { data: event.data.slice(..length), ..event.clone() }, &OpenFailure::TooShort { bytes: length });
    }
}

#[test]
fn nonces_are_fresh_and_a_key_wears_out() {
    let sealer = Sealer::new(&key(1, 1), TopicKey::EVENTS_MAX - 2, Entropy::seeded(1));
    let envelope = sealer.envelope(Mimetype::JSON, None, BTreeMap::new(), Bytes::new());
    let nonce = |draft: Draft| draft.data.slice(..12);
    let first = nonce(envelope.draft(b"same", None, 0).unwrap());
    let second = nonce(envelope.draft(b"same", None, 0).unwrap());
    assert_ne!(first, second);
    for _ in 0..2 {
        assert_eq!(envelope.draft(b"same", None, 0).unwrap_err(), Overused { id: key(1, 1).id() });
        assert_eq!(sealer.sealed(), TopicKey::EVENTS_MAX);
    }
    assert!(!format!("{envelope:?} {sealer:?} {:?}", Opener::new(&[key(1, 1)])).contains("101, 101, 101"));
}
