//! A query's look at one block: each of its events is shown, decoded as far as it is wanted, and judged.
//!
//! It is plain work without waiting, so that any thread can do it. Nothing is allocated for an event but its results.

use super::{EventView, ShowEvent};
use crate::{
    engine::{EventRef, Slice},
    ensql::{Execution, ExecutionError, Fields, Finish, Input, Metadata, Outcome, Plan, Value},
    model::{Mimetype, Time},
};

/// How many fields of an event find room where no memory is asked for.
const FIELDS_FEW: usize = 8;

/// What goes to the thread that looks at a block, and comes back.
#[derive(Debug)]
pub(super) struct Running {
    execution: Execution,
    fields: Fields,
    /// Whether something of the events' data is wanted.
    is_data_wanted: bool,
    show: ShowEvent,
}

/// What was found in a slice.
pub(super) struct Looked {
    pub(super) slice: Slice,
    /// For each event of the slice whether it was chosen; what is behind the last one was not.
    pub(super) chosen: Vec<bool>,
    /// Rows, and where each ends.
    pub(super) json: Vec<u8>,
    pub(super) ends: Vec<usize>,
}

impl Running {
    pub(super) fn new(plan: Plan, now: Time, show: ShowEvent) -> Running {
        let fields = Fields::new(plan.fields());
        Running { fields, is_data_wanted: !plan.fields().is_empty(), execution: plan.start(now), show }
    }

    /// Whether the query has all that it wants.
    pub(super) fn is_finished(&self) -> bool {
        self.execution.is_finished()
    }

    pub(super) fn undecodable(&self) -> u64 {
        self.execution.undecodable()
    }

    pub(super) fn finish(self) -> Result<Finish, ExecutionError> {
        self.execution.finish()
    }

    /// Looks at every event of a slice, until the query has enough.
    pub(super) fn look(mut self: Box<Self>, slice: Slice) -> (Box<Running>, Result<Looked, ExecutionError>) {
        let (mut chosen, mut json, mut ends) = (Vec::new(), Vec::new(), Vec::new());
        for (at, event) in slice.events().enumerate() {
            if self.execution.is_finished() {
                break;
            }
            let mut judged = Ok(false);
            let show = self.show;
            if !show(event.record, &mut |view| judged = self.judge(&event, view, &mut json, &mut ends)) {
                self.execution.add_undecodable();
            }
            match judged {
                Ok(false) => {}
                Ok(true) => {
                    chosen.resize(at, false);
                    chosen.push(true);
                }
                Err(error) => return (self, Err(error)),
            }
        }
        (self, Ok(Looked { slice, chosen, json, ends }))
    }

    /// Judges an event by its rows; says whether it is to be given whole.
    fn judge(
        &mut self,
        event: &EventRef<'_>,
        view: &EventView<'_>,
        json: &mut Vec<u8>,
        ends: &mut Vec<usize>,
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
        let has_one_row = !matches!(view.mimetype, Mimetype::JSON_LINES | Mimetype::CSV);
        if !self.is_data_wanted && (has_one_row || self.execution.plan().is_whole()) {
            return push(&mut self.execution, &input, &[], json, ends);
        }
        let wanted = self.execution.plan().fields().len();
        let (mut few, mut many) = ([const { Value::Null }; FIELDS_FEW], Vec::new());
        let values = if wanted <= FIELDS_FEW {
            &mut few[..wanted]
        } else {
            many.resize(wanted, Value::Null);
            &mut many[..]
        };
        let mut rows = self.fields.rows(view.mimetype, view.data);
        while let Some(read) = rows.next(values) {
            if read.is_err() && self.is_data_wanted {
                self.execution.add_undecodable();
            } else if push(&mut self.execution, &input, values, json, ends)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

/// Has one row judged; says whether its event is to be given whole.
fn push<'a>(
    execution: &mut Execution,
    input: &Input<'a>,
    values: &[Value<'a>],
    json: &mut Vec<u8>,
    ends: &mut Vec<usize>,
) -> Result<bool, ExecutionError> {
    let outcome = execution.push(input, values, json)?;
    if outcome == Outcome::Row {
        ends.push(json.len());
    }
    Ok(outcome == Outcome::Whole)
}

/// Where an event's metadata is looked up.
struct Entries<'a>(&'a dyn Fn(&str) -> Option<&'a str>);

impl Metadata for Entries<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0(name)
    }
}
