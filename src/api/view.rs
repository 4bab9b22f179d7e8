//! What a stored event says of itself, as a query looks at it: slices of its record, nothing allocated.
//!
//! Invariant: what is seen is what the decoder would say. A record whose event is not as encoders write it is decoded, and
//! encoded once more for the time that it is looked at.

use prost::Message;

use super::{
    delivery::plain_timestamp,
    ensign::Event,
    protobuf::{FieldReader, Value, int32, plain_field},
};
use crate::model::Time;

/// Numbers of the fields of an `EventWrapper`.
const KEY_NUMBER: u32 = 7;
const EVENT_NUMBER: u32 = 9;

/// A stored event.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EventView<'a> {
    /// Empty when it has none.
    pub key: &'a [u8],
    pub data: &'a [u8],
    pub mimetype: i32,
    pub created: Option<Time>,
    /// The name of its type; empty when it has none.
    pub type_name: &'a str,
    /// Major, minor, patch.
    pub type_version: (u32, u32, u32),
    /// The encoded event, in which the metadata is looked up.
    event: &'a [u8],
}

impl<'a> EventView<'a> {
    /// The value of an entry of the metadata; of several with one name the last one's.
    pub fn metadata(&self, name: &str) -> Option<&'a str> {
        let mut found = None;
        let mut rest = self.event;
        while let Some((number, value)) = plain_field(&mut rest) {
            if let (3, Value::Delimited(entry)) = (number, value)
                && let Some((key, value)) = entry_of(entry)
                && key == name.as_bytes()
            {
                found = Some(value);
            }
        }
        found.and_then(|value| std::str::from_utf8(value).ok())
    }
}

/// Looks at a stored event; `None` when the record has no event, or one that can't be decoded.
pub fn view_record<T>(record: &[u8], see: impl FnOnce(&EventView<'_>) -> T) -> Option<T> {
    let (key, event) = key_and_event(record)?;
    if let Some(view) = plain_view(key, event) {
        return Some(see(&view));
    }
    let encoded = Event::decode(event).ok()?.encode_to_vec();
    plain_view(key, &encoded).map(|view| see(&view))
}

/// The parts of a wrapper that matter; of a field that comes twice the last counts.
fn key_and_event(record: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut key, mut event) = (&record[..0], None);
    let (mut rest, mut walked) = (record, 0);
    while let Some((number, value)) = plain_field(&mut rest) {
        match (number, value) {
            (KEY_NUMBER, Value::Delimited(bytes)) => key = bytes,
            (EVENT_NUMBER, Value::Delimited(bytes)) => event = Some(bytes),
            _ => {}
        }
        walked = record.len() - rest.len();
    }
    for field in FieldReader::nested(&record[walked..], 1) {
        let field = field.ok()?;
        match field.number {
            KEY_NUMBER => key = field.delimited().ok()?,
            EVENT_NUMBER => event = Some(field.delimited().ok()?),
            _ => {}
        }
    }
    event.map(|event| (key, event))
}

/// The parts of an event as encoders write it.
#[inline]
fn plain_view<'a>(key: &'a [u8], event: &'a [u8]) -> Option<EventView<'a>> {
    let mut view = EventView { key, event, ..EventView::default() };
    let (mut typed, mut rest) = (false, event);
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (2, Value::Delimited(bytes)) => view.data = bytes,
            (3, Value::Delimited(entry)) => drop(entry_of(entry)?),
            (4, Value::Varint(number)) => view.mimetype = int32(number),
            (5, Value::Delimited(schema)) if !typed => {
                plain_type(schema, &mut view)?;
                typed = true;
            }
            (15, Value::Delimited(timestamp)) if view.created.is_none() => {
                view.created = Some(plain_timestamp(timestamp)?);
            }
            _ => return None,
        }
    }
    Some(view)
}

#[inline]
fn plain_type<'a>(schema: &'a [u8], view: &mut EventView<'a>) -> Option<()> {
    let mut rest = schema;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (1, Value::Delimited(name)) => view.type_name = std::str::from_utf8(name).ok()?,
            (2, Value::Varint(number)) => view.type_version.0 = uint32(number),
            (3, Value::Varint(number)) => view.type_version.1 = uint32(number),
            (4, Value::Varint(number)) => view.type_version.2 = uint32(number),
            _ => return None,
        }
    }
    Some(())
}

/// The name and the value of an entry of the metadata.
#[inline]
fn entry_of(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut name, mut value) = (&entry[..0], &entry[..0]);
    let mut rest = entry;
    while !rest.is_empty() {
        match plain_field(&mut rest)? {
            (1, Value::Delimited(text)) => name = text,
            (2, Value::Delimited(text)) => value = text,
            _ => return None,
        }
    }
    Some((name, value))
}

/// A `uint32` as its varint means it: the lower half counts.
fn uint32(number: u64) -> u32 {
    int32(number).cast_unsigned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::{
        ensign::EventWrapper,
        tests::{damaged, events, unknown_fields, wrappers},
    };

    fn records() -> impl Strategy<Value = Vec<u8>> {
        (wrappers(), events(), unknown_fields(), unknown_fields(), any::<bool>()).prop_map(
            |(mut wrapper, event, in_event, behind, twice)| {
                let encoded = event.encode_to_vec();
                wrapper.event = [&in_event[..], &encoded, if twice { &encoded } else { &[] }].concat().into();
                [wrapper.encode_to_vec(), behind].concat()
            },
        )
    }

    /// What is seen is what the decoder says; what it can't decode is not seen, or has nothing wrong that is looked at.
    fn check(record: &[u8]) -> Result<(), TestCaseError> {
        let decoded = EventWrapper::decode(record)
            .ok()
            .and_then(|wrapper| Some((wrapper.key, Event::decode(&*wrapper.event).ok()?)));
        let Some((key, event)) = decoded else { return Ok(()) };
        view_record(record, |view| {
            let schema = event.r#type.clone().unwrap_or_default();
            prop_assert_eq!((view.key, view.data, view.mimetype), (&key[..], &event.data[..], event.mimetype));
            prop_assert_eq!(view.created, event.created.map(|time| Time::from_parts(time.seconds, time.nanos)));
            prop_assert_eq!(view.type_name, schema.name);
            prop_assert_eq!(view.type_version, (schema.major_version, schema.minor_version, schema.patch_version));
            for (name, value) in &event.metadata {
                prop_assert_eq!(view.metadata(name), Some(value.as_str()));
            }
            prop_assert_eq!(view.metadata("no such name"), None);
            Ok(())
        })
        .unwrap_or(Ok(()))
    }

    #[test]
    fn an_event_as_encoders_write_it_is_seen() {
        let mut wrapper = EventWrapper { key: "k".into(), ..EventWrapper::default() };
        assert_eq!(view_record(&wrapper.encode_to_vec(), |_| ()), None);
        wrapper.event = Event { data: "x".into(), mimetype: 50, ..Event::default() }.encode_to_vec().into();
        let seen = view_record(&wrapper.encode_to_vec(), |view| (view.key.to_vec(), view.data.to_vec(), view.mimetype));
        assert_eq!(seen, Some((b"k".to_vec(), b"x".to_vec(), 50)));
    }

    proptest! {
        #[test]
        fn what_is_seen_is_what_the_decoder_says(record in records()) {
            prop_assert!(view_record(&record, |_| ()).is_some());
            check(&record)?;
        }

        #[test]
        fn damaged_records_are_judged_alike(record in records().prop_flat_map(damaged)) {
            check(&record)?;
        }
    }
}
