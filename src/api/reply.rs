//! The way of an event out: whole gRPC frames, written from records and envelopes without decoding or allocating.

use prost::Message;

use super::{
    ensign::{Nack, Publisher, PublisherReply, publisher_reply::Embed},
    frame::{FRAME_HEAD_BYTES, put_frame_head},
    protobuf::{delimited_bytes, put_delimited, put_timestamp, put_varint, timestamp_bytes, varint_bytes},
};
use crate::model::{NackCode, Offset, Rlid, Time, TopicId, limits};

/// Keys of the fields of an `EventWrapper` that the broker sets, and of the replies around it.
const ID: u8 = 0x0a;
const TOPIC_ID: u8 = 0x12;
const OFFSET: u8 = 0x18;
const EPOCH: u8 = 0x20;
const PUBLISHER: u8 = 0x32;
const COMMITTED: u8 = 0x7a;
const REPLY_EVENT: u8 = 0x0a;
const REPLY_ACK: u8 = 0x0a;
const ACK_ID: u8 = 0x0a;
const ACK_COMMITTED: u8 = 0x12;

/// Keys of the fields of an `Event`, and of the wrapper's field that it is in.
const EVENT: u8 = 0x4a;
const EVENT_DATA: u8 = 0x12;
const EVENT_CREATED: u8 = 0x7a;

/// What all rows of answers say of themselves: the media type of JSON, and the type `EnSQL v1.0.0`.
const ROW_FIELDS: [u8; 13] = *b"\x20\x32\x2a\x09\x0a\x05EnSQL\x10\x01";

const ID_BYTES: usize = 2 + 10;
const TOPIC_ID_BYTES: usize = 2 + 16;

/// What the broker says about an event: the fields of its wrapper that are not in its record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Envelope<'a> {
    pub id: Rlid,
    pub topic: TopicId,
    pub offset: Offset,
    pub epoch: u64,
    pub committed: Time,
    /// An encoded `Publisher`, see [`encode_publisher`].
    pub publisher: &'a [u8],
}

/// How much of the envelope is delivered, and how long the wrapper is with it.
#[derive(Debug, Clone, Copy)]
struct Extent {
    /// How many of the fields that a reader can do without are left out, in this order: publisher, epoch, commit time,
    /// offset.
    left_out: usize,
    bytes: usize,
}

impl Envelope<'_> {
    /// Everything is delivered unless that makes the message too long for a published SDK, though the event came in one
    /// that isn't: then as little is left out as is enough.
    #[inline]
    fn extent(&self, record_bytes: usize) -> Extent {
        let optional = [
            if self.publisher.is_empty() { 0 } else { 1 + delimited_bytes(self.publisher.len()) },
            1 + varint_bytes(self.epoch),
            1 + delimited_bytes(timestamp_bytes(self.committed)),
            1 + varint_bytes(self.offset.get()),
        ];
        let least = record_bytes + ID_BYTES + TOPIC_ID_BYTES;
        let mut extent = Extent { left_out: 0, bytes: least + optional.iter().sum::<usize>() };
        if !is_too_long(least) {
            while is_too_long(extent.bytes) {
                extent.bytes -= optional[extent.left_out];
                extent.left_out += 1;
            }
        }
        extent
    }
}

/// Whether a published SDK refuses the reply around a wrapper of this length.
#[inline]
fn is_too_long(wrapper_bytes: usize) -> bool {
    reply_bytes(wrapper_bytes) > limits::SDK_MESSAGE_BYTES_MAX
}

/// The length of a `SubscribeReply` around a wrapper of this length.
#[inline]
fn reply_bytes(wrapper_bytes: usize) -> usize {
    1 + delimited_bytes(wrapper_bytes)
}

/// The length of an event's wrapper as it is delivered, which is what statistics count.
pub fn wrapper_bytes(record_bytes: usize, envelope: &Envelope<'_>) -> usize {
    envelope.extent(record_bytes).bytes
}

/// Appends the frame of a `SubscribeReply` with an event.
#[inline]
pub fn write_subscribe_reply(out: &mut Vec<u8>, record: &[u8], envelope: &Envelope<'_>) {
    let extent = envelope.extent(record.len());
    let message_bytes = reply_bytes(extent.bytes);
    out.reserve(FRAME_HEAD_BYTES + message_bytes);
    put_frame_head(out, message_bytes);
    out.push(REPLY_EVENT);
    put_varint(out, extent.bytes as u64);
    write_wrapper(out, record, envelope, extent);
}

/// Appends the frame of a bare `EventWrapper`, which is what a query answers with.
#[inline]
pub fn write_wrapper_frame(out: &mut Vec<u8>, record: &[u8], envelope: &Envelope<'_>) {
    let extent = envelope.extent(record.len());
    out.reserve(FRAME_HEAD_BYTES + extent.bytes);
    put_frame_head(out, extent.bytes);
    write_wrapper(out, record, envelope, extent);
}

/// Appends a record with a row of a query's answer, which is JSON.
pub fn write_row_record(out: &mut Vec<u8>, row: &[u8], created: Time) {
    let event_bytes = row_event_bytes(row, created);
    out.reserve(1 + delimited_bytes(event_bytes));
    out.push(EVENT);
    put_varint(out, event_bytes as u64);
    put_delimited(out, EVENT_DATA, row);
    out.extend_from_slice(&ROW_FIELDS);
    put_timestamp(out, EVENT_CREATED, created);
}

/// The length of the `Event` of a row.
fn row_event_bytes(row: &[u8], created: Time) -> usize {
    1 + delimited_bytes(row.len()) + ROW_FIELDS.len() + 1 + delimited_bytes(timestamp_bytes(created))
}

/// Appends the frame of an `EventWrapper` with a row of a query's answer, which is JSON.
pub fn write_row_frame(out: &mut Vec<u8>, row: &[u8], id: Rlid, topic: TopicId, created: Time) {
    let wrapper_bytes = ID_BYTES
        + TOPIC_ID_BYTES
        + 1
        + delimited_bytes(row_event_bytes(row, created))
        + 1
        + delimited_bytes(timestamp_bytes(created));
    out.reserve(FRAME_HEAD_BYTES + wrapper_bytes);
    put_frame_head(out, wrapper_bytes);
    put_delimited(out, ID, id.as_bytes());
    put_delimited(out, TOPIC_ID, topic.as_bytes());
    write_row_record(out, row, created);
    put_timestamp(out, COMMITTED, created);
}

#[inline]
fn write_wrapper(out: &mut Vec<u8>, record: &[u8], envelope: &Envelope<'_>, extent: Extent) {
    out.extend_from_slice(record);
    put_delimited(out, ID, envelope.id.as_bytes());
    put_delimited(out, TOPIC_ID, envelope.topic.as_bytes());
    if extent.left_out < 4 {
        out.push(OFFSET);
        put_varint(out, envelope.offset.get());
    }
    if extent.left_out < 2 {
        out.push(EPOCH);
        put_varint(out, envelope.epoch);
    }
    if extent.left_out < 1 && !envelope.publisher.is_empty() {
        put_delimited(out, PUBLISHER, envelope.publisher);
    }
    if extent.left_out < 3 {
        put_timestamp(out, COMMITTED, envelope.committed);
    }
}

/// Appends a frame for each of the events that were committed together: a `PublisherReply` with an ack.
pub fn write_acks<'a>(out: &mut Vec<u8>, local_ids: impl IntoIterator<Item = &'a [u8]>, committed: Time) {
    let mut suffix = Vec::new();
    put_timestamp(&mut suffix, ACK_COMMITTED, committed);
    // What stands before an id depends on its length alone, and one publisher's ids mostly are of one length.
    let mut prefix = Vec::new();
    let mut prefix_is_for = None;
    for local_id in local_ids {
        if prefix_is_for != Some(local_id.len()) {
            prefix.clear();
            put_ack_prefix(&mut prefix, local_id.len(), suffix.len());
            prefix_is_for = Some(local_id.len());
        }
        out.reserve(prefix.len() + local_id.len() + suffix.len());
        out.extend_from_slice(&prefix);
        out.extend_from_slice(local_id);
        out.extend_from_slice(&suffix);
    }
}

/// Writes the part of an ack's frame that lies before the local id.
fn put_ack_prefix(out: &mut Vec<u8>, id_bytes: usize, suffix_bytes: usize) {
    // A field without content is not written.
    let field_bytes = if id_bytes == 0 { 0 } else { 1 + delimited_bytes(id_bytes) };
    let ack_bytes = field_bytes + suffix_bytes;
    put_frame_head(out, 1 + delimited_bytes(ack_bytes));
    out.push(REPLY_ACK);
    put_varint(out, ack_bytes as u64);
    if id_bytes > 0 {
        out.push(ACK_ID);
        put_varint(out, id_bytes as u64);
    }
}

/// Appends the frame of a `PublisherReply` with a nack. Without a text it is the one that belongs to the code.
pub fn write_nack(out: &mut Vec<u8>, local_id: &[u8], code: NackCode, error: Option<&str>) {
    let nack = Nack {
        id: bytes::Bytes::copy_from_slice(local_id),
        code: code.number(),
        error: error.unwrap_or(code.text()).to_owned(),
    };
    write_message(out, &PublisherReply { embed: Some(Embed::Nack(nack)) });
}

/// Appends the frame of any message.
pub fn write_message(out: &mut Vec<u8>, message: &impl Message) {
    put_frame_head(out, message.encoded_len());
    message.encode(out).expect("a vector grows as needed");
}

/// Any message as a whole frame.
pub fn frame(message: &impl Message) -> Vec<u8> {
    let mut frame = Vec::new();
    write_message(&mut frame, message);
    frame
}

/// Encodes who published, once for all of a stream's events.
pub fn encode_publisher(publisher_id: &str, ipaddr: &str, client_id: &str, user_agent: &str) -> Vec<u8> {
    Publisher {
        publisher_id: publisher_id.to_owned(),
        ipaddr: ipaddr.to_owned(),
        client_id: client_id.to_owned(),
        user_agent: user_agent.to_owned(),
    }
    .encode_to_vec()
}
