//! The way of an event to a broker: a framed publish request, written from its parts without a message in between.

use super::{
    frame::{FRAME_HEAD_BYTES, put_frame_head},
    protobuf::{delimited_bytes, put_delimited, put_timestamp, put_varint, timestamp_bytes},
};
use crate::model::{Time, TopicId};

/// Keys of the fields of a `PublisherRequest`, an `EventWrapper` and an `Event`.
const REQUEST_EVENT: u8 = 0x0a;
const TOPIC_ID: u8 = 0x12;
const KEY: u8 = 0x3a;
const EVENT: u8 = 0x4a;
const ENCRYPTION: u8 = 0x52;
/// A number above fifteen takes a key of two bytes.
const LOCAL_ID: [u8; 2] = [0x82, 0x01];
const DATA: u8 = 0x12;
const CREATED: u8 = 0x7a;

/// An event as its publisher sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutgoingEvent<'a> {
    pub data: &'a [u8],
    /// The other fields of the `Event` but its time of creation, encoded.
    pub fields: &'a [u8],
    pub created: Option<Time>,
    pub key: &'a [u8],
    /// How the data is encrypted: the content of that field of the wrapper, encoded; empty when it is not.
    pub encryption: &'a [u8],
}

impl OutgoingEvent<'_> {
    /// The length of the encoded `Event`.
    #[inline]
    pub fn event_bytes(&self) -> usize {
        let created = self.created.map_or(0, |time| 1 + delimited_bytes(timestamp_bytes(time)));
        field_bytes(self.data) + self.fields.len() + created
    }

    /// Appends the frame of the `PublisherRequest`. The same bytes as an encoder would write, but without an allocation
    /// and a copy for each level of nesting.
    #[inline]
    pub fn write_request(&self, out: &mut Vec<u8>, topic: &TopicId, local_id: &[u8]) {
        let event_bytes = self.event_bytes();
        let wrapper_bytes = 1
            + delimited_bytes(topic.as_bytes().len())
            + field_bytes(self.key)
            + if event_bytes == 0 { 0 } else { 1 + delimited_bytes(event_bytes) }
            + field_bytes(self.encryption)
            + LOCAL_ID.len()
            + delimited_bytes(local_id.len());
        let request_bytes = 1 + delimited_bytes(wrapper_bytes);
        out.reserve(FRAME_HEAD_BYTES + request_bytes);
        put_frame_head(out, request_bytes);
        out.push(REQUEST_EVENT);
        put_varint(out, wrapper_bytes as u64);
        put_delimited(out, TOPIC_ID, topic.as_bytes());
        put_field(out, KEY, self.key);
        if event_bytes > 0 {
            out.push(EVENT);
            put_varint(out, event_bytes as u64);
            put_field(out, DATA, self.data);
            out.extend_from_slice(self.fields);
            if let Some(time) = self.created {
                put_timestamp(out, CREATED, time);
            }
        }
        put_field(out, ENCRYPTION, self.encryption);
        out.extend_from_slice(&LOCAL_ID);
        put_varint(out, local_id.len() as u64);
        out.extend_from_slice(local_id);
    }
}

/// The length of a field of bytes; one without content is not written.
#[inline]
fn field_bytes(content: &[u8]) -> usize {
    if content.is_empty() { 0 } else { 1 + delimited_bytes(content.len()) }
}

#[inline]
fn put_field(out: &mut Vec<u8>, key: u8, content: &[u8]) {
    if !content.is_empty() {
        put_delimited(out, key, content);
    }
}
