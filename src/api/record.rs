//! The way of an event in: from a publisher's message to the record that is stored, without decoding what is in it.
//!
//! A *record* is what is stored of an `EventWrapper`: its fields as they came and in the order they came, without those
//! that the broker sets or strips. `event`, `region`, `key`, `shard`, `encryption`, `compression` and everything that
//! this version does not know are kept; `id`, `topic_id`, `offset`, `epoch`, `publisher`, `is_duplicate`,
//! `duplicate_id`, `committed` and `local_id` are not. Since concatenated fields are one message, a record followed by
//! the fields that the broker sets is the wrapper that a subscriber gets. In a block a record stands behind its length,
//! a varint.

use std::{borrow::Cow, ops::Range};

use prost::Message;

use super::{
    ensign::{Compression, Encryption, OpenStream, Publisher, PublisherRequest, publisher_request::Embed},
    protobuf::{Field, FieldReader, WireError, plain_field, put_varint, sole_member},
};

/// Field `event` of a `PublisherRequest`, as a key.
const REQUEST_EVENT: u8 = 0x0a;

/// What a publisher sent.
#[derive(Debug)]
pub enum PublisherMessage<'a> {
    Open(OpenStream),
    Event(IncomingEvent<'a>),
    /// Neither of them.
    Empty,
}

/// An event that a publisher sent. Its parts are slices of the message.
#[derive(Debug, Clone)]
pub struct IncomingEvent<'a> {
    wrapper: Cow<'a, [u8]>,
    topic_id: Range<usize>,
    local_id: Range<usize>,
    event: Range<usize>,
    /// From the first to the last field that is kept.
    kept: Range<usize>,
    /// How much of that is kept.
    record_bytes: usize,
}

/// Reads an encoded `PublisherRequest`. Of several members of its oneof the last one counts, and of one that occurs
/// several times the parts are merged, as protobuf has it.
///
/// # Errors
///
/// When the message is not a valid one; the same messages are refused that a decoder of the whole message refuses.
pub fn parse_publisher_request(message: &[u8]) -> Result<PublisherMessage<'_>, WireError> {
    if let Some(wrapper) = sole_member(message, REQUEST_EVENT) {
        return IncomingEvent::parse(Cow::Borrowed(wrapper)).map(PublisherMessage::Event);
    }
    let request = PublisherRequest::decode(message).map_err(WireError::Undecodable)?;
    match request.embed {
        None => Ok(PublisherMessage::Empty),
        Some(Embed::OpenStream(open)) => Ok(PublisherMessage::Open(open)),
        Some(Embed::Event(_)) => IncomingEvent::parse(Cow::Owned(merged_event(message)?)).map(PublisherMessage::Event),
    }
}

/// The event of a request that holds it in several parts or among other fields.
fn merged_event(message: &[u8]) -> Result<Vec<u8>, WireError> {
    let mut wrapper = Vec::new();
    for field in FieldReader::new(message) {
        let field = field?;
        match field.number {
            1 => wrapper.extend_from_slice(field.delimited()?),
            2 => wrapper.clear(),
            _ => {}
        }
    }
    Ok(wrapper)
}

impl<'a> IncomingEvent<'a> {
    /// Reads an encoded `EventWrapper`.
    ///
    /// # Errors
    ///
    /// When it is not a valid one.
    fn parse(wrapper: Cow<'a, [u8]>) -> Result<IncomingEvent<'a>, WireError> {
        let mut parts = Parts::default();
        let (mut rest, mut start) = (&wrapper[..], 0);
        while let Some((number, value)) = plain_field(&mut rest) {
            let end = wrapper.len() - rest.len();
            parts.add(&Field { number, value, place: start..end })?;
            start = end;
        }
        for field in FieldReader::nested(&wrapper[start..], 1) {
            let Field { number, value, place } = field?;
            parts.add(&Field { number, value, place: start + place.start..start + place.end })?;
        }
        let Parts { topic_id, local_id, event, kept, record_bytes } = parts;
        Ok(IncomingEvent { wrapper, topic_id, local_id, event, kept, record_bytes })
    }

    /// The topic, as the publisher named it.
    pub fn topic_id(&self) -> &[u8] {
        &self.wrapper[self.topic_id.clone()]
    }

    /// The publisher's own name for the event.
    pub fn local_id(&self) -> &[u8] {
        &self.wrapper[self.local_id.clone()]
    }

    /// The encoded `Event`; empty when there is none.
    pub fn event(&self) -> &[u8] {
        &self.wrapper[self.event.clone()]
    }

    /// The length of the record.
    pub fn record_bytes(&self) -> usize {
        self.record_bytes
    }

    /// Appends the record behind its length, and returns the record's length.
    #[inline]
    pub fn write_record(&self, out: &mut Vec<u8>) -> usize {
        put_varint(out, self.record_bytes as u64);
        if self.kept.len() == self.record_bytes {
            out.extend_from_slice(&self.wrapper[self.kept.clone()]);
        } else {
            for field in FieldReader::nested(&self.wrapper, 1).flatten().filter(|field| is_kept(field.number)) {
                out.extend_from_slice(&self.wrapper[field.place]);
            }
        }
        self.record_bytes
    }
}

/// Where the parts of a wrapper lie, as far as it was walked.
#[derive(Debug, Default)]
struct Parts {
    topic_id: Range<usize>,
    local_id: Range<usize>,
    event: Range<usize>,
    kept: Range<usize>,
    record_bytes: usize,
}

impl Parts {
    #[inline]
    fn add(&mut self, field: &Field<'_>) -> Result<(), WireError> {
        match field.number {
            2 => self.topic_id = content(&field.place, field.delimited()?),
            9 => self.event = content(&field.place, field.delimited()?),
            16 => self.local_id = content(&field.place, field.delimited()?),
            1 | 7 | 13 => field.delimited().map(|_| ())?,
            3 | 4 | 5 | 8 | 12 => field.varint().map(|_| ())?,
            6 => check::<Publisher>(6, field.delimited()?)?,
            10 => check::<Encryption>(10, field.delimited()?)?,
            11 => check::<Compression>(11, field.delimited()?)?,
            15 => check::<prost_types::Timestamp>(15, field.delimited()?)?,
            _ => {}
        }
        if is_kept(field.number) {
            if self.record_bytes == 0 {
                self.kept.start = field.place.start;
            }
            self.kept.end = field.place.end;
            self.record_bytes += field.place.len();
        }
        Ok(())
    }
}

/// Whether a field of a wrapper belongs to the record.
const fn is_kept(number: u32) -> bool {
    !matches!(number, 1 | 2 | 3 | 4 | 6 | 12 | 13 | 15 | 16)
}

/// Where the content of a field lies that ends at the field's end.
fn content(place: &Range<usize>, bytes: &[u8]) -> Range<usize> {
    place.end - bytes.len()..place.end
}

/// Makes sure that a nested message, which hardly any publisher sends, is one.
fn check<M: Message + Default>(number: u32, bytes: &[u8]) -> Result<(), WireError> {
    M::decode(bytes).map(|_| ()).map_err(|source| WireError::InvalidField { number, source })
}
