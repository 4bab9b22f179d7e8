//! What the broker has to know of an event's content: that it can be decoded, and which type it has.

use std::borrow::Cow;

use prost::Message;

use super::{
    ensign::{Event, Type},
    protobuf::{Value, int32, plain_field},
};
use crate::model::Schema;

/// What is said by an event that can be decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFacts<'a> {
    /// The number of its media type, whether it is a known one or not.
    pub mimetype: i32,
    /// The encoded `Type`; empty when there is none.
    pub schema: Cow<'a, [u8]>,
}

/// Why an event can't be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Protobuf takes no bytes for an event without content, but the readers of events don't.
    #[error("the event is empty")]
    Empty,
    #[error("the event can't be decoded")]
    Undecodable(#[source] prost::DecodeError),
}

impl EventFacts<'_> {
    /// The decoded type; an event that has none, or the zero one, counts under `Unspecified`.
    pub fn schema(&self) -> Schema {
        schema(&self.schema)
    }
}

/// The schema that an encoded `Type` stands for; `Unspecified` when it is missing, or says nothing.
pub fn schema(encoded: &[u8]) -> Schema {
    match Type::decode(encoded).map(Schema::from) {
        Ok(schema) if !schema.is_unspecified() => schema,
        _ => Schema::unspecified(),
    }
}

/// Makes sure that the bytes decode as an `Event`, and finds what the statistics are kept by. Nothing is allocated for
/// an event as encoders write it.
///
/// # Errors
///
/// When they don't, or are no bytes at all.
pub fn inspect_event(event: &[u8]) -> Result<EventFacts<'_>, EventError> {
    if event.is_empty() {
        return Err(EventError::Empty);
    }
    match plain_facts(event) {
        Some(facts) => Ok(facts),
        None => decoded_facts(event),
    }
}

/// The facts of an event without anything unusual about it. Whatever is unusual or invalid is left to the decoder.
#[inline]
fn plain_facts(event: &[u8]) -> Option<EventFacts<'_>> {
    let (mut mimetype, mut schema): (i32, Option<&[u8]>) = (0, None);
    let mut rest = event;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (2, Value::Delimited(_)) => {}
            (3, Value::Delimited(entry)) => plain_fields(entry, is_entry_field)?,
            (4, Value::Varint(number)) => mimetype = int32(number),
            (5, Value::Delimited(encoded)) if schema.is_none() => {
                plain_fields(encoded, is_type_field)?;
                schema = Some(encoded);
            }
            (15, Value::Delimited(timestamp)) => plain_fields(timestamp, is_timestamp_field)?,
            (2..=5 | 15, _) => return None,
            _ => {}
        }
    }
    Some(EventFacts { mimetype, schema: Cow::Borrowed(schema.unwrap_or_default()) })
}

fn decoded_facts(event: &[u8]) -> Result<EventFacts<'_>, EventError> {
    let event = Event::decode(event).map_err(EventError::Undecodable)?;
    let schema = event.r#type.map(|schema| schema.encode_to_vec()).unwrap_or_default();
    Ok(EventFacts { mimetype: event.mimetype, schema: Cow::Owned(schema) })
}

/// Walks a nested message; `None` when one of its fields is not as it should be.
fn plain_fields(message: &[u8], is_plain: impl Fn(u32, Value<'_>) -> bool) -> Option<()> {
    let mut rest = message;
    while !rest.is_empty() {
        let (number, value) = plain_field(&mut rest)?;
        if !is_plain(number, value) {
            return None;
        }
    }
    Some(())
}

fn is_entry_field(number: u32, value: Value<'_>) -> bool {
    match value {
        Value::Delimited(text) => number > 2 || std::str::from_utf8(text).is_ok(),
        Value::Group => false,
        _ => number > 2,
    }
}

fn is_type_field(number: u32, value: Value<'_>) -> bool {
    match value {
        Value::Delimited(text) => number > 4 || number == 1 && std::str::from_utf8(text).is_ok(),
        Value::Varint(_) => number != 1,
        Value::Fixed32 | Value::Fixed64 => number > 4,
        Value::Group => false,
    }
}

fn is_timestamp_field(number: u32, value: Value<'_>) -> bool {
    match value {
        Value::Varint(_) => true,
        Value::Group => false,
        _ => number > 2,
    }
}
