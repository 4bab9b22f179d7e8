//! What the broker must know of an event's bytes, which are opaque to it otherwise.

/// Functions over records, handed in by whoever knows the wire. They take any bytes.
#[derive(Debug, Clone, Copy)]
pub struct EventForm {
    /// The key of a record's event; `None` when it has none.
    pub key: fn(&[u8]) -> Option<&[u8]>,
    /// The same record with these names and values among its event's metadata, in which they replace what has the same
    /// name; `None` when that is impossible.
    pub annotate: Annotate,
}

type Annotate = fn(&[u8], &[(String, String)]) -> Option<Vec<u8>>;

impl EventForm {
    /// Nothing is known of events: none has a key, and none can be put away with the reason.
    pub const OPAQUE: EventForm = EventForm { key: |_| None, annotate: |_, _| None };
}
