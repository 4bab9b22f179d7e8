//! A query's look at one block: each of its events is shown, decoded as far as it is wanted, and judged.
//!
//! It is plain work without waiting, so that any thread can do it. Nothing is allocated for an event but its results.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use super::{EventView, ShowEvent};
use crate::{
    engine::{EventRef, Slice},
    ensql::{
        EventType, Execution, ExecutionError, Fields, Finish, Input, MEMORY_BYTES_MAX, Metadata, Outcome, Plan, Value,
    },
    model::{Mimetype, Time},
};

/// From how many bytes of events on a block is looked at by another thread. Handing it over takes as long as looking at a
/// few kilobytes.
pub(super) const LONG_BYTES: usize = 64 * 1024;

/// How many fields of an event find room where no memory is asked for.
const FIELDS_FEW: usize = 8;

/// What goes to the thread that looks at a block, and comes back.
#[derive(Debug)]
pub(in crate::broker) struct Running {
    execution: Execution,
    fields: Fields,
    /// Whether something of the events' data is wanted.
    is_data_wanted: bool,
    show: ShowEvent,
}

/// Ends the work of a query when it is dropped, wherever that is done.
#[derive(Debug)]
pub(in crate::broker) struct Stopper(Arc<AtomicBool>);

impl Drop for Stopper {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was found in a slice.
#[derive(Debug)]
pub(in crate::broker) struct Looked {
    pub(in crate::broker) slice: Slice,
    /// For each event of the slice whether it was chosen; what is behind the last one was not.
    pub(in crate::broker) chosen: Vec<bool>,
    pub(in crate::broker) rows: FoundRows,
}

/// Rows that were found, one behind the other.
#[derive(Debug, Default)]
pub(in crate::broker) struct FoundRows {
    pub(in crate::broker) json: Vec<u8>,
    /// Where each ends.
    pub(in crate::broker) ends: Vec<usize>,
    /// Which event of the slice each is of.
    pub(in crate::broker) events: Vec<usize>,
}

impl Running {
    pub(in crate::broker) fn new(plan: Plan, now: Time, show: ShowEvent) -> Running {
        let fields = Fields::new(plan.fields());
        Running { fields, is_data_wanted: !plan.fields().is_empty(), execution: plan.start(now), show }
    }

    /// To be held by whoever waits for what is found.
    pub(in crate::broker) fn stopper(&self) -> Stopper {
        Stopper(self.execution.stopped())
    }

    /// Whether it may take long to look at a slice, so that it has to be done elsewhere.
    pub(in crate::broker) fn takes_long(&self, slice: &Slice) -> bool {
        slice.record_bytes() >= LONG_BYTES || !self.execution.plan().is_light()
    }

    /// Whether the query has all that it wants.
    pub(in crate::broker) fn is_finished(&self) -> bool {
        self.execution.is_finished()
    }

    pub(in crate::broker) fn undecodable(&self) -> u64 {
        self.execution.undecodable()
    }

    pub(super) fn finish(self) -> Result<Finish, ExecutionError> {
        self.execution.finish()
    }

    /// Wants events of this type from now on, and takes this for now.
    pub(in crate::broker) fn go_on(&mut self, event_type: Option<&EventType>, now: Time) {
        self.execution.go_on(event_type, now);
    }

    /// Looks at every event of a slice, until the query has enough.
    pub(in crate::broker) fn look(mut self: Box<Self>, slice: Slice) -> (Box<Running>, Result<Looked, ExecutionError>) {
        let (mut chosen, mut rows) = (Vec::new(), FoundRows::default());
        for (at, event) in slice.events().enumerate() {
            if self.execution.is_finished() {
                break;
            }
            let mut judged = Ok(false);
            let show = self.show;
            if !show(event.record, &mut |view| judged = self.judge(&event, view, &mut rows)) {
                self.execution.add_undecodable();
            }
            rows.events.resize(rows.ends.len(), at);
            match judged {
                Ok(false) => {}
                Ok(true) => {
                    chosen.resize(at, false);
                    chosen.push(true);
                }
                Err(error) => return (self, Err(error)),
            }
        }
        (self, Ok(Looked { slice, chosen, rows }))
    }

    /// Judges an event by its rows; says whether it is to be given whole.
    fn judge(
        &mut self,
        event: &EventRef<'_>,
        view: &EventView<'_>,
        found: &mut FoundRows,
    ) -> Result<bool, ExecutionError> {
        let metadata = Entries(view.metadata);
        let input = Input {
            offset: event.offset,
            id: event.rlid,
            committed: event.committed(),
            created: view.created,
            type_name: view.type_name,
            type_version: view.type_version,
            mimetype: view.mimetype,
            key: view.key,
            size: view.data.len() as u64,
            metadata: &metadata,
        };
        if !self.execution.plan().wants_type(&input) {
            return Ok(false);
        }
        let has_one_row = !matches!(view.mimetype, Mimetype::JSON_LINES | Mimetype::CSV);
        if !self.is_data_wanted && (has_one_row || self.execution.plan().is_whole()) {
            return Ok(push(&mut self.execution, &input, &[], found)? == Outcome::Whole);
        }
        let wanted = self.execution.plan().fields().len();
        let (mut few, mut many) = ([const { Value::Null }; FIELDS_FEW], Vec::new());
        let values = if wanted <= FIELDS_FEW {
            &mut few[..wanted]
        } else {
            many.resize(wanted, Value::Null);
            &mut many[..]
        };
        let mut rows = self.fields.rows(view.mimetype, view.data, &metadata);
        while !self.execution.is_finished()
            && let Some(read) = rows.next(values)
        {
            if read.is_err() && self.is_data_wanted {
                self.execution.add_undecodable();
                continue;
            }
            match push(&mut self.execution, &input, values, found)? {
                Outcome::Whole => return Ok(true),
                // The event is kept; its other rows add nothing to it.
                Outcome::Kept if self.execution.plan().is_whole() => return Ok(false),
                _ => {}
            }
        }
        Ok(false)
    }
}

/// Has one row judged.
fn push<'a>(
    execution: &mut Execution,
    input: &Input<'a>,
    values: &[Value<'a>],
    found: &mut FoundRows,
) -> Result<Outcome, ExecutionError> {
    let outcome = execution.push(input, values, &mut found.json)?;
    if outcome == Outcome::Row {
        found.ends.push(found.json.len());
        if found.json.len() > MEMORY_BYTES_MAX {
            return Err(ExecutionError::MemoryExceeded { held: "rows of one block", limit: MEMORY_BYTES_MAX });
        }
    }
    Ok(outcome)
}

/// Where an event's metadata is looked up.
struct Entries<'a>(&'a dyn Fn(&str) -> Option<&'a str>);

impl Metadata for Entries<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0(name)
    }
}
