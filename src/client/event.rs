//! Events on their way in and out: encoded once, straight into a stream's frames, and decoded into slices of them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use prost::Message as _;

use super::Encryption;
use crate::{
    api::{self, DeliveredEvent, EventParts, Frame, OutgoingEvent, ensign as wire},
    model::{Mimetype, Offset, Rlid, Schema, Time, TopicId},
};

/// What many events have in common, encoded once: everything but their data and the time they were made.
#[derive(Debug, Clone)]
pub struct Envelope {
    fields: Bytes,
    key: Bytes,
    /// How the data is encrypted, encoded; empty when it is not.
    encryption: Bytes,
}

impl Envelope {
    pub fn new(
        mimetype: Mimetype,
        schema: Option<&Schema>,
        metadata: BTreeMap<String, String>,
        key: Bytes,
    ) -> Envelope {
        let schema = schema.map(|schema| wire::Type {
            name: schema.name.clone(),
            major_version: schema.major,
            minor_version: schema.minor,
            patch_version: schema.patch,
        });
        let event = wire::Event { data: Bytes::new(), metadata, mimetype: mimetype.0, r#type: schema, created: None };
        Envelope { fields: event.encode_to_vec().into(), key, encryption: Bytes::new() }
    }

    /// Says of the data that it is encrypted already, as it is of an event that was read and is published again. What
    /// the envelope holds besides must be what it was: a reader who has the key finds out otherwise.
    #[must_use]
    pub fn encrypted(self, encryption: &Encryption) -> Envelope {
        Envelope { encryption: encryption.encoded(), ..self }
    }
}

/// An event that is to be published.
#[derive(Debug, Clone)]
pub struct Draft {
    pub data: Bytes,
    pub envelope: Arc<Envelope>,
    pub created: Option<Time>,
    /// A number of the caller's, by which refusals name the event. It does not go to the server.
    pub tag: u64,
}

impl Draft {
    /// What an event takes on the wire beyond its data, about.
    pub(super) const OVERHEAD_BYTES: usize = 64;

    /// The size of the encoded event, which is what the limit is about.
    pub fn event_bytes(&self) -> usize {
        self.outgoing().event_bytes()
    }

    /// The event as it is sent.
    #[inline]
    pub(super) fn outgoing(&self) -> OutgoingEvent<'_> {
        let Envelope { fields, key, encryption } = &*self.envelope;
        OutgoingEvent { data: &self.data, fields, created: self.created, key, encryption }
    }
}

/// An event that was read from a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub topic: TopicId,
    pub offset: Offset,
    pub id: Rlid,
    pub committed: Option<Time>,
    pub created: Option<Time>,
    pub mimetype: Mimetype,
    pub schema: Option<Schema>,
    pub metadata: BTreeMap<String, String>,
    pub key: Bytes,
    pub data: Bytes,
    /// How the data is encrypted, when its publisher says so.
    pub encryption: Option<Arc<Encryption>>,
    /// Who published it; not sent when the event is so large that there is no room for it.
    pub publisher: Option<Arc<Publisher>>,
}

/// Who published an event, as the server saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publisher {
    pub id: String,
    pub client_id: String,
    pub address: String,
    pub user_agent: String,
}

impl Event {
    /// Takes a wrapper apart; says what is wrong with one that is no event.
    pub(super) fn from_wire(wrapper: wire::EventWrapper) -> Result<Event, String> {
        let id = Rlid::from_slice(&wrapper.id).map_err(|_| format!("an event id of {} bytes", wrapper.id.len()))?;
        let topic = crate::model::Ulid::from_slice(&wrapper.topic_id);
        let topic = topic.map_err(|_| format!("event {id} with a topic id of {} bytes", wrapper.topic_id.len()))?;
        let event = wire::Event::decode(wrapper.event)
            .map_err(|_| format!("event {id} (offset {}) that can't be decoded", wrapper.offset))?;
        let mut read = Event {
            topic: TopicId(topic),
            offset: Offset::new(wrapper.offset),
            id,
            committed: wrapper.committed.map(|time| Time::from_parts(time.seconds, time.nanos)),
            created: None,
            mimetype: Mimetype::default(),
            schema: None,
            metadata: BTreeMap::new(),
            key: wrapper.key,
            data: Bytes::new(),
            encryption: wrapper.encryption.map(|encryption| Arc::new(encryption.into())),
            publisher: wrapper.publisher.map(|publisher| Arc::new(publisher.into())),
        };
        read.set(event);
        Ok(read)
    }

    /// Makes an event of what was delivered in a frame; says what is wrong with it when it is none.
    #[inline]
    pub(super) fn read(
        delivered: &DeliveredEvent<'_>,
        frame: &Frame<'_>,
        publishers: &mut Publishers,
    ) -> Result<Event, String> {
        let DeliveredEvent { id, topic_id, offset, committed, publisher, key, event } = *delivered;
        let id = Rlid::from_slice(id).map_err(|_| format!("an event id of {} bytes", id.len()))?;
        let topic = crate::model::Ulid::from_slice(topic_id);
        let topic = topic.map_err(|_| format!("event {id} with a topic id of {} bytes", topic_id.len()))?;
        let undecodable = || format!("event {id} (offset {offset}) that can't be decoded");
        let (parts, described) = match api::event_parts(event) {
            Some(parts) if !parts.is_described => (parts, None),
            _ => {
                let event = wire::Event::decode(frame.part(event)).map_err(|_| undecodable())?;
                (EventParts::default(), Some(event))
            }
        };
        let mut read = Event {
            topic: TopicId(topic),
            offset: Offset::new(offset),
            id,
            committed,
            created: parts.created,
            mimetype: Mimetype(parts.mimetype),
            schema: None,
            metadata: BTreeMap::new(),
            key: frame.part(key),
            data: frame.part(parts.data),
            // One that says so is left to the decoder.
            encryption: None,
            publisher: publishers.read(publisher).map_err(|_| undecodable())?,
        };
        if let Some(event) = described {
            read.set(event);
        }
        Ok(read)
    }

    /// Whether the data is ciphertext, as its publisher says.
    pub fn is_encrypted(&self) -> bool {
        self.encryption.as_ref().is_some_and(|encryption| encryption.is_encrypted())
    }

    /// Takes over what its publisher encoded.
    fn set(&mut self, event: wire::Event) {
        self.created = event.created.map(|time| Time::from_parts(time.seconds, time.nanos));
        self.mimetype = Mimetype(event.mimetype);
        self.schema = event.r#type.map(|schema| Schema {
            name: schema.name,
            major: schema.major_version,
            minor: schema.minor_version,
            patch: schema.patch_version,
        });
        self.metadata = event.metadata;
        self.data = event.data;
    }
}

impl From<wire::Publisher> for Publisher {
    fn from(publisher: wire::Publisher) -> Publisher {
        Publisher {
            id: publisher.publisher_id,
            client_id: publisher.client_id,
            address: publisher.ipaddr,
            user_agent: publisher.user_agent,
        }
    }
}

/// How many publishers are remembered.
const PUBLISHERS_MAX: usize = 32;

/// Remembers the last publishers: that of the event before is mostly that of the next one, too, and where several take turns
/// it is one of a few. Their texts are made once.
#[derive(Debug, Default)]
pub(super) struct Publishers {
    known: Vec<(Vec<u8>, Arc<Publisher>)>,
    /// Where the one that was read last stands.
    last: usize,
}

impl Publishers {
    #[inline]
    fn read(&mut self, encoded: Option<&[u8]>) -> Result<Option<Arc<Publisher>>, prost::DecodeError> {
        let Some(encoded) = encoded else { return Ok(None) };
        if self.known.get(self.last).is_none_or(|(known, _)| known != encoded) {
            self.last = match self.known.iter().position(|(known, _)| known == encoded) {
                Some(at) => at,
                None => self.learn(encoded)?,
            };
        }
        Ok(self.known.get(self.last).map(|(_, publisher)| publisher.clone()))
    }

    /// Takes a new one up, in the place of an old one when there are too many; says where it stands.
    fn learn(&mut self, encoded: &[u8]) -> Result<usize, prost::DecodeError> {
        let publisher: Publisher = wire::Publisher::decode(encoded)?.into();
        let new = (encoded.to_vec(), Arc::new(publisher));
        if self.known.len() < PUBLISHERS_MAX {
            self.known.push(new);
            return Ok(self.known.len() - 1);
        }
        let at = (self.last + 1) % PUBLISHERS_MAX;
        self.known[at] = new;
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{api::FRAME_HEAD_BYTES, model::Ulid};

    proptest! {
        /// What is written by hand is what the generated types read, and of the length that was announced.
        #[test]
        fn a_request_reads_back(
            data in prop::collection::vec(any::<u8>(), 0..300),
            key in prop::collection::vec(any::<u8>(), 0..3),
            metadata in prop::collection::btree_map("[a-z]{0,3}", "[a-z]{0,200}", 0..3),
            mimetype in 0..60_i32,
            nanos in prop::option::of(any::<i64>()),
            named in any::<bool>(),
            encrypted in prop::option::of((".{0,40}", 0..600_i32, prop::collection::vec(any::<u8>(), 0..40))),
        ) {
            let schema = Schema { name: "order".to_owned(), major: 1, minor: 0, patch: 300 };
            let schema = named.then_some(schema);
            let envelope =
                Envelope::new(Mimetype(mimetype), schema.as_ref(), metadata.clone(), Bytes::from(key.clone()));
            let encryption = encrypted.map(|(public_key_id, encryption_algorithm, signature)| Encryption {
                public_key_id,
                encryption_algorithm,
                signature: signature.into(),
                ..Encryption::default()
            });
            let envelope = match &encryption {
                Some(encryption) => envelope.encrypted(encryption),
                None => envelope,
            };
            let draft = Draft {
                data: Bytes::from(data.clone()),
                envelope: Arc::new(envelope),
                created: nanos.map(Time::from_nanos),
                tag: 7,
            };
            let topic = TopicId(Ulid::from_bytes([9; 16]));
            let mut buffer = Vec::new();
            draft.outgoing().write_request(&mut buffer, &topic, &[5; 16]);
            prop_assert_eq!(usize::from(buffer[0]), 0);
            let length = u32::from_be_bytes(buffer[1..FRAME_HEAD_BYTES].try_into().unwrap());
            prop_assert_eq!(usize::try_from(length).unwrap(), buffer.len() - FRAME_HEAD_BYTES);
            let request = wire::PublisherRequest::decode(&buffer[FRAME_HEAD_BYTES..]).unwrap();
            let Some(wire::publisher_request::Embed::Event(mut wrapper)) = request.embed else {
                panic!("not an event");
            };
            prop_assert_eq!(wrapper.event.len(), draft.event_bytes());
            prop_assert_eq!(&wrapper.local_id[..], &[5; 16]);
            wrapper.id = Bytes::from_static(&[1; 10]);
            let event = Event::from_wire(wrapper).unwrap();
            prop_assert_eq!(event.topic, topic);
            prop_assert_eq!(&event.data[..], &data[..]);
            prop_assert_eq!(&event.key[..], &key[..]);
            prop_assert_eq!(event.metadata, metadata);
            prop_assert_eq!(event.mimetype, Mimetype(mimetype));
            prop_assert_eq!(event.schema, schema);
            prop_assert_eq!(event.created, nanos.map(Time::from_nanos));
            let nothing = Encryption::default();
            prop_assert_eq!(event.encryption.as_deref(), encryption.as_ref().filter(|said| **said != nothing));
        }
    }

    /// Sixteen publishers that took turns once had their texts made again for each event.
    #[test]
    fn publishers_that_take_turns_are_made_once() {
        let mut publishers = Publishers::default();
        let name = |number: usize| format!("publisher {number}");
        let mut read = |number: usize| {
            let encoded = wire::Publisher { publisher_id: name(number), ..Default::default() }.encode_to_vec();
            publishers.read(Some(&encoded)).unwrap().unwrap()
        };
        let first: Vec<_> = (0..PUBLISHERS_MAX).map(&mut read).collect();
        for (number, known) in first.iter().enumerate().rev() {
            assert!(Arc::ptr_eq(known, &read(number)));
            assert_eq!(known.id, name(number));
        }
        // More of them than are remembered are told apart all the same.
        for number in (0..3 * PUBLISHERS_MAX).chain(0..PUBLISHERS_MAX) {
            assert_eq!(read(number).id, name(number));
        }
        assert_eq!(publishers.known.len(), PUBLISHERS_MAX);
        assert_eq!(publishers.read(None), Ok(None));
        publishers.read(Some(&[0xff])).unwrap_err();
    }
}
