//! Events on their way in and out: encoded once, straight into a stream's frames, and decoded into slices of them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use prost::{
    Message as _,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len},
};

use super::frames::{HEAD_BYTES, put_head};
use crate::{
    api::ensign as wire,
    model::{Mimetype, Offset, Rlid, Schema, Time, TopicId},
};

/// The numbers of the wire's fields that are written by hand below.
mod field {
    pub(super) const REQUEST_EVENT: u32 = 1;
    pub(super) const WRAPPER_TOPIC_ID: u32 = 2;
    pub(super) const WRAPPER_KEY: u32 = 7;
    pub(super) const WRAPPER_EVENT: u32 = 9;
    pub(super) const WRAPPER_LOCAL_ID: u32 = 16;
    pub(super) const EVENT_DATA: u32 = 2;
    pub(super) const EVENT_CREATED: u32 = 15;
}

/// What many events have in common, encoded once: everything but their data and the time they were made.
#[derive(Debug, Clone)]
pub struct Envelope {
    fields: Bytes,
    key: Bytes,
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
        Envelope { fields: event.encode_to_vec().into(), key }
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
    /// The size of the encoded event, which is what the limit is about.
    pub fn event_bytes(&self) -> usize {
        let data = if self.data.is_empty() { 0 } else { bytes_len(field::EVENT_DATA, self.data.len()) };
        let created = self.timestamp().map_or(0, |time| bytes_len(field::EVENT_CREATED, time.encoded_len()));
        data + self.envelope.fields.len() + created
    }

    fn timestamp(&self) -> Option<prost_types::Timestamp> {
        self.created.map(|time| prost_types::Timestamp { seconds: time.seconds(), nanos: time.subsecond_nanos() })
    }

    /// Appends the publish request with this event, framed. The same bytes as the generated types would give, without
    /// an allocation and a copy for each level of nesting.
    pub(super) fn put(&self, topic: &TopicId, local_id: &[u8; 16], buffer: &mut BytesMut) {
        let (event, key) = (self.event_bytes(), &self.envelope.key);
        let key_bytes = if key.is_empty() { 0 } else { bytes_len(field::WRAPPER_KEY, key.len()) };
        let event_bytes = if event == 0 { 0 } else { bytes_len(field::WRAPPER_EVENT, event) };
        let wrapper = bytes_len(field::WRAPPER_TOPIC_ID, 16)
            + key_bytes
            + event_bytes
            + bytes_len(field::WRAPPER_LOCAL_ID, local_id.len());
        let request = bytes_len(field::REQUEST_EVENT, wrapper);
        buffer.reserve(HEAD_BYTES + request);
        put_head(buffer, request);
        put_length(field::REQUEST_EVENT, wrapper, buffer);
        put_bytes(field::WRAPPER_TOPIC_ID, topic.as_bytes(), buffer);
        if !key.is_empty() {
            put_bytes(field::WRAPPER_KEY, key, buffer);
        }
        if event > 0 {
            put_length(field::WRAPPER_EVENT, event, buffer);
            if !self.data.is_empty() {
                put_bytes(field::EVENT_DATA, &self.data, buffer);
            }
            buffer.put_slice(&self.envelope.fields);
            if let Some(time) = self.timestamp() {
                put_length(field::EVENT_CREATED, time.encoded_len(), buffer);
                time.encode(buffer).expect("the buffer grows");
            }
        }
        put_bytes(field::WRAPPER_LOCAL_ID, local_id, buffer);
    }
}

/// The length of a length-delimited field with its key.
fn bytes_len(tag: u32, length: usize) -> usize {
    key_len(tag) + encoded_len_varint(length as u64) + length
}

fn put_length(tag: u32, length: usize, buffer: &mut BytesMut) {
    encode_key(tag, WireType::LengthDelimited, buffer);
    encode_varint(length as u64, buffer);
}

fn put_bytes(tag: u32, bytes: &[u8], buffer: &mut BytesMut) {
    put_length(tag, bytes.len(), buffer);
    buffer.put_slice(bytes);
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
    /// Who published it; not sent when the event is so large that there is no room for it.
    pub publisher: Option<Publisher>,
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
        Ok(Event {
            topic: TopicId(topic),
            offset: Offset::new(wrapper.offset),
            id,
            committed: wrapper.committed.map(|time| Time::from_parts(time.seconds, time.nanos)),
            created: event.created.map(|time| Time::from_parts(time.seconds, time.nanos)),
            mimetype: Mimetype(event.mimetype),
            schema: event.r#type.map(|schema| Schema {
                name: schema.name,
                major: schema.major_version,
                minor: schema.minor_version,
                patch: schema.patch_version,
            }),
            metadata: event.metadata,
            key: wrapper.key,
            data: event.data,
            publisher: wrapper.publisher.map(|publisher| Publisher {
                id: publisher.publisher_id,
                client_id: publisher.client_id,
                address: publisher.ipaddr,
                user_agent: publisher.user_agent,
            }),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Ulid;

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
        ) {
            let schema = Schema { name: "order".to_owned(), major: 1, minor: 0, patch: 300 };
            let schema = named.then_some(schema);
            let envelope =
                Envelope::new(Mimetype(mimetype), schema.as_ref(), metadata.clone(), Bytes::from(key.clone()));
            let draft = Draft {
                data: Bytes::from(data.clone()),
                envelope: Arc::new(envelope),
                created: nanos.map(Time::from_nanos),
                tag: 7,
            };
            let topic = TopicId(Ulid::from_bytes([9; 16]));
            let mut buffer = BytesMut::new();
            draft.put(&topic, &[5; 16], &mut buffer);
            prop_assert_eq!(usize::from(buffer[0]), 0);
            let length = u32::from_be_bytes(buffer[1..HEAD_BYTES].try_into().unwrap());
            prop_assert_eq!(usize::try_from(length).unwrap(), buffer.len() - HEAD_BYTES);
            let request = wire::PublisherRequest::decode(&buffer[HEAD_BYTES..]).unwrap();
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
        }
    }
}
