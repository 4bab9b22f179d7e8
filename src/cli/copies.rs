//! Events that were read, as ones to be published: with everything but what the server gives them.

use std::sync::Arc;

use bytes::Bytes;

use super::record::Record;
use crate::client::{Draft, Envelope, Event};

/// Makes events to publish of records. What consecutive ones have in common is encoded once.
#[derive(Debug, Default)]
pub(super) struct Copies {
    /// The record before, without its data, and its envelope.
    last: Option<(Record, Arc<Envelope>)>,
}

impl Copies {
    pub(super) fn draft(&mut self, record: &Record, tag: u64) -> Draft {
        let envelope = match &self.last {
            Some((last, envelope)) if have_one_envelope(last, record) => envelope.clone(),
            _ => {
                let envelope = Arc::new(record.envelope());
                self.last = Some((Record { data: Bytes::new(), ..record.clone() }, envelope.clone()));
                envelope
            }
        };
        Draft { data: record.data.clone(), envelope, created: record.created, tag }
    }
}

impl Record {
    /// What it says of its data.
    pub(super) fn envelope(&self) -> Envelope {
        let Record { mimetype, schema, metadata, key, encryption, .. } = self;
        let envelope = Envelope::new(*mimetype, schema.as_ref(), metadata.clone(), key.clone());
        encryption.iter().fold(envelope, Envelope::encrypted)
    }
}

impl From<Event> for Record {
    fn from(event: Event) -> Record {
        let Event { data, mimetype, schema, metadata, key, created, encryption, .. } = event;
        Record { data, mimetype, schema, metadata, key, created, encryption: encryption.map(Arc::unwrap_or_clone) }
    }
}

fn have_one_envelope(one: &Record, other: &Record) -> bool {
    one.mimetype == other.mimetype
        && one.schema == other.schema
        && one.metadata == other.metadata
        && one.key == other.key
        && one.encryption == other.encryption
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::{
        client::Encryption,
        model::{Mimetype, Offset, Rlid, Time, TopicId, Ulid},
    };

    fn event(number: u8, parts: (bool, bool, bool, bool, bool)) -> Event {
        let (typed, described, keyed, sealed, created) = parts;
        let encryption =
            Encryption { public_key_id: "k".to_owned(), encryption_algorithm: 110, ..Encryption::default() };
        Event {
            topic: TopicId(Ulid::from_bytes([1; 16])),
            offset: Offset::new(u64::from(number) + 1),
            id: Rlid::from_parts(1_700_000_000_000, number.into()),
            committed: Some(Time::from_parts(1_700_000_000, 0)),
            created: created.then_some(Time::from_parts(7, number.into())),
            mimetype: if typed { Mimetype::JSON } else { Mimetype::TEXT_PLAIN },
            schema: typed.then(|| "order@1.2.3".parse().unwrap()),
            metadata: BTreeMap::from_iter(described.then(|| ("m".to_owned(), "v".to_owned()))),
            key: Bytes::from_static(if keyed { b"key" } else { b"" }),
            data: Bytes::from(vec![number]),
            encryption: sealed.then(|| Arc::new(encryption)),
            publisher: None,
        }
    }

    proptest! {
        /// Whatever came before it, an event is copied as it would be alone.
        #[test]
        fn nothing_is_taken_from_the_event_before(all in prop::collection::vec(any::<(bool, bool, bool, bool, bool)>(), 0..8)) {
            let mut copies = Copies::default();
            for (parts, number) in all.into_iter().zip(0..) {
                let event = event(number, parts);
                let draft = copies.draft(&Record::from(event.clone()), event.offset.get());
                prop_assert_eq!((&draft.data, draft.created, draft.tag), (&event.data, event.created, event.offset.get()));
                let alone = Record::from(event).envelope();
                prop_assert_eq!(format!("{:?}", draft.envelope), format!("{:?}", Arc::new(alone)));
            }
        }
    }
}
