//! What is looked at, and what is changed, in the record of an event that is stored.

use super::protobuf::{FieldReader, Value, delimited_bytes, plain_field, put_delimited, put_varint};

/// Numbers of the fields of an `EventWrapper`.
const KEY_NUMBER: u32 = 7;
const EVENT_NUMBER: u32 = 9;

/// Keys of the fields of an `EventWrapper`, an `Event`, and an entry of its metadata.
const EVENT: u8 = 0x4a;
const METADATA: u8 = 0x1a;
const NAME: u8 = 0x0a;
const VALUE: u8 = 0x12;

/// The key of a record's event; `None` when it has none.
pub fn record_key(record: &[u8]) -> Option<&[u8]> {
    let mut key = &record[..0];
    let (mut rest, mut walked) = (record, 0);
    while let Some((number, value)) = plain_field(&mut rest) {
        if let (KEY_NUMBER, Value::Delimited(bytes)) = (number, value) {
            key = bytes;
        }
        walked = record.len() - rest.len();
    }
    for field in FieldReader::nested(&record[walked..], 1) {
        let field = field.ok()?;
        if field.number == KEY_NUMBER {
            key = field.delimited().ok()?;
        }
    }
    (!key.is_empty()).then_some(key)
}

/// The record with entries added to the metadata of its event; an entry takes the place of one with its name. `None` when
/// the record has no event, or is none.
///
/// Nothing in the event is decoded: of the entries of a map with one name the last counts, so entries behind all the rest are
/// added to it, whatever this version knows of the event.
pub fn annotate_record(record: &[u8], entries: &[(String, String)]) -> Option<Vec<u8>> {
    let mut found = None;
    for field in FieldReader::nested(record, 1) {
        let field = field.ok()?;
        if field.number == EVENT_NUMBER {
            found = Some((field.delimited().ok()?, field.place));
        }
    }
    let (event, place) = found?;
    let entry_bytes = |(name, value): &(String, String)| 2 + delimited_bytes(name.len()) + delimited_bytes(value.len());
    let added: usize = entries.iter().map(|entry| 1 + delimited_bytes(entry_bytes(entry))).sum();
    let event_bytes = event.len() + added;
    let mut annotated = Vec::with_capacity(record.len() - place.len() + 1 + delimited_bytes(event_bytes));
    annotated.extend_from_slice(&record[..place.start]);
    annotated.push(EVENT);
    put_varint(&mut annotated, event_bytes as u64);
    annotated.extend_from_slice(event);
    for entry in entries {
        annotated.push(METADATA);
        put_varint(&mut annotated, entry_bytes(entry) as u64);
        put_delimited(&mut annotated, NAME, entry.0.as_bytes());
        put_delimited(&mut annotated, VALUE, entry.1.as_bytes());
    }
    annotated.extend_from_slice(&record[place.end..]);
    Some(annotated)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::api::{
        ensign::{Event, EventWrapper},
        tests::{damaged, events, unknown_fields, wrappers},
    };

    /// A record as it may be stored, with an event that can be decoded, and fields that this version does not know.
    fn records() -> impl Strategy<Value = Vec<u8>> {
        (wrappers(), events(), unknown_fields(), unknown_fields(), any::<bool>()).prop_map(
            |(wrapper, event, in_event, behind, twice)| {
                let event = [event.encode_to_vec(), in_event].concat();
                let record = EventWrapper { event: event.into(), ..wrapper }.encode_to_vec();
                let again = if twice { record.clone() } else { Vec::new() };
                [record, behind, again].concat()
            },
        )
    }

    fn check_key(record: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(wrapper) = EventWrapper::decode(record) {
            prop_assert_eq!(record_key(record).unwrap_or_default(), &wrapper.key[..]);
        }
        Ok(())
    }

    #[test]
    fn what_is_no_record_is_not_annotated() {
        assert_eq!(annotate_record(&[], &[]), None);
        assert_eq!(annotate_record(&[0x3a, 1, b'k'], &[]), None);
        assert_eq!(annotate_record(&[0x4a, 5], &[]), None);
        assert_eq!(annotate_record(&[0x48, 5], &[]), None);
        assert_eq!(record_key(&[0x3a, 1, b'k', 0x4a, 5]), None);
        assert_eq!(record_key(&[0x3a, 1, b'k', 0x4a, 0]), Some(&b"k"[..]));
        assert_eq!(record_key(&[0x3a, 0]), None);
    }

    proptest! {
        #[test]
        fn the_key_is_what_the_decoder_says(record in records().prop_flat_map(damaged)) {
            check_key(&record)?;
        }

        /// Small numbers, so that many of them are keys and lengths that fit.
        #[test]
        fn the_key_in_arbitrary_bytes_is_what_the_decoder_says(record in prop::collection::vec(0_u8..80, 0..30)) {
            check_key(&record)?;
        }

        /// An annotated record is the same to a decoder but for the entries.
        #[test]
        fn an_annotated_record_has_the_entries_and_all_the_rest(
            record in records(),
            entries in prop::collection::vec((".{0,4}", ".{0,200}"), 0..4),
        ) {
            let before = EventWrapper::decode(&record[..]).unwrap();
            let after = EventWrapper::decode(&annotate_record(&record, &entries).unwrap()[..]).unwrap();
            let mut expected = Event::decode(before.event.clone()).unwrap();
            expected.metadata.extend(entries);
            prop_assert_eq!(Event::decode(after.event.clone()), Ok(expected));
            prop_assert!(after.event.starts_with(&before.event));
            prop_assert_eq!(EventWrapper { event: before.event.clone(), ..after }, before);
        }
    }
}
