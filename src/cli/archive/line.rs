//! The lines of an archive that are not events: what it holds, where a topic has gaps and ends, and what the lines so far add
//! up to. docs/format.md describes each.
//!
//! A line has one form: what does not read back as the very bytes is damaged. All of them start like records, so that whoever
//! reads records and knows no archives refuses them.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::{
    client::TopicDefinition,
    model::{Deduplication, OffsetPolicy, Strategy, TopicId, Ulid},
};

/// The version of the form.
pub(super) const VERSION: u32 = 1;

/// What the lines of an archive start with that are no events.
pub(in crate::cli) const MARK: &[u8] = b"{\"ensign\":1,\"archive\":\"";

/// What stands in place of a line's opening brace.
const HEAD: &[u8] = b"{\"ensign\":1,";

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "archive", rename_all = "snake_case")]
pub(super) enum Line {
    Begin(Begin),
    Topic(Topic),
    Gap(Gap),
    TopicEnd(TopicEnd),
    Checkpoint(Checkpoint),
    End(End),
}

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) version: u32,
    /// The version of the program that wrote it.
    pub(super) program: String,
    /// The version of the server that the events were read from.
    pub(super) server: String,
    pub(super) created: String,
    /// How many lines of topics follow.
    pub(super) topics: u64,
    pub(super) selection: Selection,
}

/// What was asked for, as it was typed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Selection {
    /// None for all topics of the project.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) topics: Option<Vec<String>>,
    pub(super) from: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) until: Option<String>,
    pub(super) skip_unreadable: bool,
}

/// A topic, and which of its events the archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Topic {
    pub(super) name: String,
    pub(super) id: String,
    pub(super) archived: bool,
    pub(super) deduplication: Policy,
    /// Further fields of the topic that its creator sent, encoded as a `Topic` of the protocol, in base 64.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) rest: String,
    /// The offset of the first event, and that of the last one, which is one less when there are none.
    pub(super) first: u64,
    pub(super) last: u64,
}

/// A deduplication policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Policy {
    strategy: StrategyName,
    keep: Keep,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    keys: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    fields: Vec<String>,
    overwrite: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StrategyName {
    Unknown,
    None,
    Strict,
    Datagram,
    KeyGrouped,
    UniqueKey,
    UniqueField,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Keep {
    Unknown,
    Earliest,
    Latest,
}

/// Events that could not be read when the archive was made: they are not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Gap {
    pub(super) topic: String,
    pub(super) first: u64,
    pub(super) last: u64,
}

/// Behind the last event of a topic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct TopicEnd {
    pub(super) topic: String,
    pub(super) events: u64,
    /// How many events were in gaps.
    pub(super) skipped: u64,
}

/// Behind a chunk of lines: what they add up to, from the first line of the archive on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// The topic that comes next or goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) topic: Option<String>,
    /// The offset of its next event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<u64>,
    pub(super) events: u64,
    /// SHA-256 of all lines before this one, in hexadecimal.
    pub(super) sha256: String,
}

/// The last line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    pub(super) topics: u64,
    pub(super) events: u64,
    pub(super) skipped: u64,
    /// SHA-256 of all lines before this one, in hexadecimal.
    pub(super) sha256: String,
}

impl Line {
    /// Appends the line, with its end.
    pub(super) fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(HEAD);
        let rest = serde_json::to_vec(self).expect("texts and numbers can be written to memory");
        bytes.extend_from_slice(&rest[1..]);
        bytes.push(b'\n');
    }

    /// Reads a line without its end; says what is wrong with it.
    pub(super) fn read(bytes: &[u8]) -> Result<Line, String> {
        let line: Line = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let mut canonical = Vec::with_capacity(bytes.len() + 1);
        line.put(&mut canonical);
        if matches!(&line, Line::Begin(begin) if begin.version != VERSION)
            || canonical.strip_suffix(b"\n") == Some(bytes)
        {
            return Ok(line);
        }
        Err("it is not as it was written".to_owned())
    }
}

impl Topic {
    pub(super) fn new(definition: &TopicDefinition, first: u64, last: u64) -> Topic {
        let TopicDefinition { id, name, readonly, deduplication, rest } = definition;
        Topic {
            name: name.clone(),
            id: id.to_string(),
            archived: *readonly,
            deduplication: Policy::of(deduplication),
            rest: STANDARD.encode(rest),
            first,
            last,
        }
    }

    /// The topic as it can be made again; or what is wrong with it.
    pub(super) fn definition(&self) -> Result<TopicDefinition, String> {
        let id = Ulid::parse(&self.id).map_err(|error| error.to_string())?;
        let rest = STANDARD.decode(&self.rest).map_err(|error| error.to_string())?;
        Ok(TopicDefinition {
            id: TopicId(id),
            name: self.name.clone(),
            readonly: self.archived,
            deduplication: self.deduplication.read(),
            rest: rest.into(),
        })
    }
}

/// The strategies by their names.
const STRATEGIES: [(StrategyName, Strategy); 7] = [
    (StrategyName::Unknown, Strategy::Unknown),
    (StrategyName::None, Strategy::None),
    (StrategyName::Strict, Strategy::Strict),
    (StrategyName::Datagram, Strategy::Datagram),
    (StrategyName::KeyGrouped, Strategy::KeyGrouped),
    (StrategyName::UniqueKey, Strategy::UniqueKey),
    (StrategyName::UniqueField, Strategy::UniqueField),
];

/// Which of several duplicates keeps its content, by name.
const KEEPS: [(Keep, OffsetPolicy); 3] = [
    (Keep::Unknown, OffsetPolicy::Unknown),
    (Keep::Earliest, OffsetPolicy::Earliest),
    (Keep::Latest, OffsetPolicy::Latest),
];

impl Policy {
    fn of(policy: &Deduplication) -> Policy {
        let strategy = STRATEGIES.iter().find(|(_, strategy)| *strategy == policy.strategy);
        let keep = KEEPS.iter().find(|(_, keep)| *keep == policy.offset);
        Policy {
            strategy: strategy.expect("each strategy has a name").0,
            keep: keep.expect("each policy has a name").0,
            keys: policy.keys.clone(),
            fields: policy.fields.clone(),
            overwrite: policy.overwrite_duplicate,
        }
    }

    fn read(&self) -> Deduplication {
        let strategy = STRATEGIES.iter().find(|(name, _)| *name == self.strategy);
        let keep = KEEPS.iter().find(|(name, _)| *name == self.keep);
        Deduplication {
            strategy: strategy.expect("each name has a strategy").1,
            offset: keep.expect("each name has a policy").1,
            keys: self.keys.clone(),
            fields: self.fields.clone(),
            overwrite_duplicate: self.overwrite,
        }
    }
}
