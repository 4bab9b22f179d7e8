//! What a query is given of an event: its envelope, and which fields of its data are wanted.

use std::collections::BTreeMap;

use crate::model::{Mimetype, Offset, Rlid, Time};

/// One step of the way to a value within an event's data.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Step {
    /// The field of an object.
    Key(String),
    /// The element of an array, counted from zero.
    Index(usize),
}

/// Where a value is within an event's data: `a.b[0].c`. The first step is a [`Step::Key`].
pub type Path = Vec<Step>;

/// Where an event's metadata is looked up.
pub trait Metadata {
    fn get(&self, name: &str) -> Option<&str>;
}

/// No metadata.
impl Metadata for () {
    fn get(&self, _name: &str) -> Option<&str> {
        None
    }
}

impl Metadata for BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<&str> {
        BTreeMap::get(self, name).map(String::as_str)
    }
}

/// An event's envelope.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub offset: Offset,
    pub id: Rlid,
    pub committed: Time,
    pub created: Option<Time>,
    pub type_name: &'a str,
    /// Major, minor, patch.
    pub type_version: (u32, u32, u32),
    pub mimetype: Mimetype,
    /// Empty when the event has none.
    pub key: &'a [u8],
    /// Bytes of the event's data.
    pub size: u64,
    pub metadata: &'a (dyn Metadata + 'a),
}

impl std::fmt::Debug for Input<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Input").field("offset", &self.offset).field("id", &self.id).finish_non_exhaustive()
    }
}
