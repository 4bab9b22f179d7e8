//! What the database says of the journal and of itself.

use std::collections::HashMap;

use redb::ReadableTable;

use super::{VerifiedStore, meta_damage};
use crate::{
    journal::KnownJournal,
    model::TopicId,
    store::{
        Revision,
        local::{
            catalogue::{self, Catalogue, Segments},
            database::{Meta, RECORDS, STATE},
            error::OpenError,
            recorder::{REVISION, decode},
            rows::{self, SegmentState, TopicRow},
        },
    },
};

/// What the database says.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) journal: KnownJournal,
    /// Without those that were replaced.
    pub(super) segments: Segments,
    pub(super) topics: HashMap<TopicId, TopicRow>,
}

impl Known {
    pub(super) fn load(meta: &Meta, found: &mut VerifiedStore) -> Result<Known, OpenError> {
        let Catalogue { journal, topics, segments } = catalogue::load(meta)?;
        let read = meta.read(|transaction| {
            let revision = transaction.open_table(STATE)?.get(REVISION)?;
            let last = revision.and_then(|row| rows::decode_revision(row.value())).unwrap_or(0);
            for row in transaction.open_table(RECORDS)?.iter()? {
                let (key, value) = row?;
                found.records += 1;
                if decode(value.value()).is_ok_and(|record| record.revision <= Revision(last)) {
                    continue;
                }
                let key = key.value().escape_ascii();
                found.damage.push(meta_damage(format!("the record {key} makes no sense")));
            }
            Ok(())
        });
        read.map_err(OpenError::records("read"))?;
        let segments = segments.into_iter().filter(|(_, row)| row.state != SegmentState::Replaced).collect();
        Ok(Known { journal, segments, topics: topics.into_iter().collect() })
    }

    pub(super) fn is_forgotten(&self, topic: TopicId) -> bool {
        self.topics.get(&topic) == Some(&TopicRow::Forgotten)
    }
}
