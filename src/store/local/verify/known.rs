//! What the database says of the journal and of itself.

use std::collections::{BTreeMap, HashMap};

use redb::ReadableTable;

use super::{VerifiedStore, meta_damage};
use crate::{
    journal::KnownJournal,
    model::TopicId,
    store::{
        Revision,
        local::{
            catalogue::{self, Catalogue},
            database::{Meta, RECORDS, SEGMENTS, STATE},
            error::OpenError,
            recorder::{REVISION, decode},
            rows::{self, SegmentRow, TopicRow},
        },
    },
};

/// What the database says.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) journal: KnownJournal,
    pub(super) segments: BTreeMap<u64, SegmentRow>,
    pub(super) topics: HashMap<TopicId, TopicRow>,
}

impl Known {
    pub(super) fn load(meta: &Meta, found: &mut VerifiedStore) -> Result<Known, OpenError> {
        let Catalogue { journal, topics } = catalogue::load(meta)?;
        let read = meta.read(|transaction| {
            let revision = transaction.open_table(STATE)?.get(REVISION)?;
            let last = revision.and_then(|row| rows::decode_revision(row.value())).unwrap_or(0);
            let mut segments = BTreeMap::new();
            for row in transaction.open_table(SEGMENTS)?.iter()? {
                let (key, value) = row?;
                let number = key.value().try_into().map(u64::from_be_bytes).unwrap_or_default();
                match rows::decode_segment_row(value.value()) {
                    Some(row) => drop(segments.insert(number, row)),
                    None => found.damage.push(meta_damage(format!("the row of segment {number} makes no sense"))),
                }
            }
            for row in transaction.open_table(RECORDS)?.iter()? {
                let (key, value) = row?;
                found.records += 1;
                if decode(value.value()).is_ok_and(|record| record.revision <= Revision(last)) {
                    continue;
                }
                let key = key.value().escape_ascii();
                found.damage.push(meta_damage(format!("the record {key} makes no sense")));
            }
            Ok(segments)
        });
        let segments = read.map_err(OpenError::records("read"))?;
        Ok(Known { journal, segments, topics: topics.into_iter().collect() })
    }

    pub(super) fn is_forgotten(&self, topic: TopicId) -> bool {
        self.topics.get(&topic) == Some(&TopicRow::Forgotten)
    }
}
