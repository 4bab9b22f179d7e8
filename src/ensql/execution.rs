//! A query that runs: events go in, one after the other, and results come out.
//!
//! What has to be held back (groups, an order, what DISTINCT has seen) is counted in bytes, and a query that needs more than
//! [`MEMORY_BYTES_MAX`] ends with an error.

use std::{
    collections::{BinaryHeap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    EventType, ExecutionError, Input, Plan, Value,
    aggregate::{Accumulator, Aggregate},
    evaluate::Row,
    expression::Expression,
    key,
    plan::{Column, Groups, Order},
    value::write_json_text,
};
use crate::model::{Offset, Time};

/// Memory that a query's groups, order and DISTINCT may take.
pub const MEMORY_BYTES_MAX: usize = 64 << 20;

/// Bytes of a row. It becomes an event, and this leaves room for what an event has besides its data.
const RESULT_BYTES_MAX: usize = 5_000_000;

/// Bytes that a kept row or group takes besides its values, about.
const ROW_BYTES: usize = 96;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It does not match.
    Skip,
    /// The event matches, and is to be given as it is stored.
    Whole,
    /// A JSON object was written.
    Row,
    /// It matches, and counts in what is given at the end.
    Kept,
}

/// A query that runs.
#[derive(Debug)]
pub struct Execution {
    plan: Plan,
    now: Time,
    /// The beginnings of JSON members: names with their quotes and a colon.
    names: Vec<Vec<u8>>,
    /// How many results were given.
    given: u64,
    undecodable: u64,
    memory: usize,
    memory_max: usize,
    seen: Seen,
    sorted: Sorted,
    grouped: Grouped,
    scratch: Vec<u8>,
    stopped: Arc<AtomicBool>,
}

/// What is left to give when all events have been pushed.
#[derive(Debug)]
pub enum Finish {
    /// Everything has been given already.
    Nothing,
    Rows(Rows),
    /// Events to be given as they are stored, in this order.
    Events(Vec<Offset>),
}

/// Rows that were held back.
#[derive(Debug)]
pub struct Rows {
    rows: std::vec::IntoIter<Box<[u8]>>,
}

impl Rows {
    /// Appends the next row, a JSON object; false when there are no more.
    pub fn next(&mut self, out: &mut Vec<u8>) -> bool {
        self.rows.next().inspect(|row| out.extend_from_slice(row)).is_some()
    }
}

/// Results in an order, at most as many as the query wants.
#[derive(Debug, Default)]
struct Sorted {
    entries: BinaryHeap<Entry>,
    /// Makes those equal in the order come in the order of their arrival.
    arrived: u64,
}

/// The greatest is the one to be given last.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    key: Box<[u8]>,
    arrived: u64,
    result: Kept,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    Row(Box<[u8]>),
    Event(u64),
}

#[derive(Debug, Default)]
struct Grouped {
    slots: HashMap<Box<[u8]>, usize>,
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    values: Vec<Value<'static>>,
    accumulators: Vec<Accumulator>,
}

impl Execution {
    pub(super) fn new(plan: Plan, now: Time) -> Execution {
        let names = plan.columns.iter().flatten().enumerate().map(|(number, column)| {
            let mut name = vec![if number == 0 { b'{' } else { b',' }];
            write_json_text(&column.name, &mut name);
            name.push(b':');
            name
        });
        Execution {
            names: names.collect(),
            plan,
            now,
            given: 0,
            undecodable: 0,
            memory: 0,
            memory_max: MEMORY_BYTES_MAX,
            seen: Seen::default(),
            sorted: Sorted::default(),
            grouped: Grouped::default(),
            scratch: Vec::new(),
            stopped: Arc::default(),
        }
    }

    /// Whoever sets this ends the work, within a row: nobody waits for what it would give.
    pub fn stopped(&self) -> Arc<AtomicBool> {
        self.stopped.clone()
    }

    /// Takes an event, or one row of it. `fields` are the values of [`Plan::fields`]. Once a row of an event has matched, and the
    /// results are whole events, no more rows of it may be pushed.
    ///
    /// # Errors
    ///
    /// When the query needs too much memory, or a row is too large. It can't go on then.
    pub fn push<'a>(
        &mut self,
        input: &Input<'a>,
        fields: &[Value<'a>],
        out: &mut Vec<u8>,
    ) -> Result<Outcome, ExecutionError> {
        if self.is_finished() {
            return Ok(Outcome::Skip);
        }
        let plan = &self.plan;
        let row = Row { input: Some(input), fields, now: self.now, ..Row::default() };
        if !plan.takes(input, &row) {
            return Ok(Outcome::Skip);
        }
        if let Some(groups) = &plan.groups {
            let room =
                Room { held: "groups", limit: self.memory_max, left: self.memory_max.saturating_sub(self.memory) };
            self.memory += self.grouped.push(groups, &row, &mut self.scratch, room)?;
            return Ok(Outcome::Kept);
        }
        let Some(columns) = &plan.columns else {
            if plan.order_by.is_empty() {
                self.given += 1;
                return Ok(Outcome::Whole);
            }
            write_order(&plan.order_by, &row, &mut self.scratch, self.memory_max)?;
            let event = Kept::Event(input.offset.get());
            self.memory = self.sorted.push(&self.scratch, event, plan.limit, self.memory);
            self.check("order")?;
            return Ok(Outcome::Kept);
        };
        if plan.distinct {
            let room = Room {
                held: "distinct rows",
                limit: self.memory_max,
                left: self.memory_max.saturating_sub(self.memory),
            };
            let values = columns.iter().map(|column| &column.expression);
            let Some(grown) = self.seen.push(values, &row, &mut self.scratch, room)? else { return Ok(Outcome::Skip) };
            self.memory += grown;
        }
        if plan.order_by.is_empty() {
            write_row(columns, &self.names, &row, out)?;
            self.given += 1;
            return Ok(Outcome::Row);
        }
        write_order(&plan.order_by, &row, &mut self.scratch, self.memory_max)?;
        if self.sorted.takes(&self.scratch, plan.limit) {
            let mut written = Vec::new();
            write_row(columns, &self.names, &row, &mut written)?;
            let kept = Kept::Row(written.into_boxed_slice());
            self.memory = self.sorted.push(&self.scratch, kept, plan.limit, self.memory);
            self.check("order")?;
        }
        Ok(Outcome::Kept)
    }

    fn check(&self, held: &'static str) -> Result<(), ExecutionError> {
        if self.memory > self.memory_max {
            return Err(ExecutionError::MemoryExceeded { held, limit: self.memory_max });
        }
        Ok(())
    }

    /// Counts an event, or a row of it, whose data is not what its media type says.
    pub fn add_undecodable(&mut self) {
        self.undecodable += 1;
    }

    pub fn undecodable(&self) -> u64 {
        self.undecodable
    }

    /// Whether all results have been given that the query wants, so that no more events need be read.
    pub fn is_finished(&self) -> bool {
        let is_enough = match self.plan.limit {
            Some(0) => true,
            Some(limit) => self.given >= limit,
            None => false,
        };
        is_enough || self.is_stopped()
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Goes on with events of this type alone, and at this time. For whoever reads several topics, and for a long time.
    pub fn go_on(&mut self, event_type: Option<&EventType>, now: Time) {
        self.plan.event_type = event_type.cloned();
        self.now = now;
    }

    /// Ends the query.
    ///
    /// # Errors
    ///
    /// When what it gives needs too much memory, or a row is too large.
    pub fn finish(mut self) -> Result<Finish, ExecutionError> {
        if let Some(groups) = self.plan.groups.take() {
            return self.finish_groups(&groups);
        }
        if self.plan.order_by.is_empty() {
            return Ok(Finish::Nothing);
        }
        let entries = self.sorted.entries.into_sorted_vec();
        if self.plan.is_whole() {
            let offsets = entries.into_iter().filter_map(|entry| match entry.result {
                Kept::Event(offset) => Some(Offset::new(offset)),
                Kept::Row(_) => None,
            });
            return Ok(Finish::Events(offsets.collect()));
        }
        Ok(Finish::Rows(rows(entries)))
    }

    fn finish_groups(mut self, groups: &Groups) -> Result<Finish, ExecutionError> {
        let mut grouped = std::mem::take(&mut self.grouped);
        grouped.slots.clear();
        if groups.keys.is_empty() && grouped.groups.is_empty() {
            // Without GROUP BY everything is one group, even when that is nothing.
            let accumulators = groups.aggregates.iter().map(Accumulator::new).collect();
            grouped.groups.push(Group { values: Vec::new(), accumulators });
        }
        let columns = self.plan.columns.take().unwrap_or_default();
        let mut unordered = Vec::new();
        for group in grouped.groups {
            if self.is_stopped() || self.plan.order_by.is_empty() && self.is_finished() {
                break;
            }
            let aggregates = group.results(&groups.aggregates);
            let row = Row { groups: &group.values, aggregates: &aggregates, now: self.now, ..Row::default() };
            if groups.having.as_ref().is_some_and(|having| having.truth(&row) != Some(true)) {
                continue;
            }
            // Groups and their rows may be there at the same time.
            let limit = self.memory_max;
            let left = limit.saturating_mul(2).saturating_sub(self.memory);
            if self.plan.distinct {
                let values = columns.iter().map(|column| &column.expression);
                let room = Room { held: "distinct rows", limit, left };
                let Some(grown) = self.seen.push(values, &row, &mut self.scratch, room)? else { continue };
                self.memory += grown;
            }
            let mut written = Vec::new();
            write_row(&columns, &self.names, &row, &mut written)?;
            let written = written.into_boxed_slice();
            if self.plan.order_by.is_empty() {
                self.memory += written.len() + ROW_BYTES;
                self.given += 1;
                unordered.push(written);
            } else {
                write_order(&self.plan.order_by, &row, &mut self.scratch, limit)?;
                self.memory = self.sorted.push(&self.scratch, Kept::Row(written), self.plan.limit, self.memory);
            }
            if self.memory > self.memory_max.saturating_mul(2) {
                return Err(ExecutionError::MemoryExceeded { held: "groups", limit: self.memory_max });
            }
        }
        if self.plan.order_by.is_empty() {
            return Ok(Finish::Rows(Rows { rows: unordered.into_iter() }));
        }
        Ok(Finish::Rows(rows(self.sorted.entries.into_sorted_vec())))
    }

    /// A query that may keep less.
    #[cfg(test)]
    pub(super) fn with_memory(mut self, bytes: usize) -> Execution {
        self.memory_max = bytes;
        self
    }
}

fn rows(entries: Vec<Entry>) -> Rows {
    let rows = entries.into_iter().filter_map(|entry| match entry.result {
        Kept::Row(row) => Some(row),
        Kept::Event(_) => None,
    });
    Rows { rows: rows.collect::<Vec<_>>().into_iter() }
}

/// Appends a row as a JSON object.
fn write_row(columns: &[Column], names: &[Vec<u8>], row: &Row<'_>, out: &mut Vec<u8>) -> Result<(), ExecutionError> {
    let start = out.len();
    for (column, name) in columns.iter().zip(names) {
        out.extend_from_slice(name);
        column.expression.value(row).write_json(out);
        // Looked at between the columns, so that one event in many columns is not written in all of them.
        if out.len() - start > RESULT_BYTES_MAX {
            out.truncate(start);
            return Err(ExecutionError::RowTooLarge { limit: RESULT_BYTES_MAX });
        }
    }
    out.push(b'}');
    Ok(())
}

/// Writes what a result is ordered by, in at most so many bytes and one value.
fn write_order(order_by: &[Order], row: &Row<'_>, out: &mut Vec<u8>, limit: usize) -> Result<(), ExecutionError> {
    out.clear();
    let room = Room { held: "order", limit, left: limit };
    for order in order_by {
        key::write_ordered(&order.expression.value(row), order.descending, order.nulls_first, out);
        room.take(out.len())?;
    }
    Ok(())
}

/// Memory that is left for something.
#[derive(Clone, Copy)]
struct Room {
    held: &'static str,
    /// What there was in all.
    limit: usize,
    left: usize,
}

impl Room {
    /// Looked at after each value that is made, so that what is too much is not made of all of them.
    fn take(self, bytes: usize) -> Result<usize, ExecutionError> {
        if bytes > self.left {
            return Err(ExecutionError::MemoryExceeded { held: self.held, limit: self.limit });
        }
        Ok(bytes)
    }
}

/// What DISTINCT has seen.
#[derive(Debug, Default)]
struct Seen(HashSet<Box<[u8]>>);

impl Seen {
    /// Notes a row, and gives the bytes by which all has grown; nothing when there was one like it.
    fn push<'e>(
        &mut self,
        values: impl Iterator<Item = &'e Expression>,
        row: &Row<'_>,
        scratch: &mut Vec<u8>,
        room: Room,
    ) -> Result<Option<usize>, ExecutionError> {
        write_key(values, row, scratch, room)?;
        if self.0.contains(scratch.as_slice()) {
            return Ok(None);
        }
        let grown = room.take(scratch.len() + ROW_BYTES)?;
        self.0.insert(scratch.as_slice().into());
        Ok(Some(grown))
    }
}

/// Writes what tells a row from others, in at most as many bytes as there may be in all and one value.
fn write_key<'e>(
    values: impl Iterator<Item = &'e Expression>,
    row: &Row<'_>,
    out: &mut Vec<u8>,
    room: Room,
) -> Result<(), ExecutionError> {
    out.clear();
    let whole = Room { left: room.limit, ..room };
    for value in values {
        key::write(&value.value(row), out);
        whole.take(out.len())?;
    }
    Ok(())
}

impl Sorted {
    /// Whether a result with this key would be among those that are given, as far as is known.
    fn takes(&self, key: &[u8], limit: Option<u64>) -> bool {
        let is_full = limit.is_some_and(|limit| self.entries.len() as u64 >= limit);
        !is_full || self.entries.peek().is_some_and(|last| key < last.key.as_ref())
    }

    /// Keeps a result, if it is among those that are given, and gives the bytes of memory that are used then.
    fn push(&mut self, key: &[u8], result: Kept, limit: Option<u64>, memory: usize) -> usize {
        if !self.takes(key, limit) {
            return memory;
        }
        self.arrived += 1;
        let entry = Entry { key: key.into(), arrived: self.arrived, result };
        let mut memory = memory + entry.bytes();
        self.entries.push(entry);
        if limit.is_some_and(|limit| self.entries.len() as u64 > limit)
            && let Some(last) = self.entries.pop()
        {
            memory = memory.saturating_sub(last.bytes());
        }
        memory
    }
}

impl Entry {
    fn bytes(&self) -> usize {
        let result = match &self.result {
            Kept::Row(row) => row.len(),
            Kept::Event(_) => 0,
        };
        ROW_BYTES + self.key.len() + result
    }
}

impl Grouped {
    /// Counts a row in its group, and gives the bytes by which all has grown.
    fn push(
        &mut self,
        groups: &Groups,
        row: &Row<'_>,
        scratch: &mut Vec<u8>,
        room: Room,
    ) -> Result<usize, ExecutionError> {
        write_key(groups.keys.iter(), row, scratch, room)?;
        let mut grown = 0;
        let slot = if let Some(slot) = self.slots.get(scratch.as_slice()) {
            *slot
        } else {
            // The key and the values, which are about as long.
            room.take(2 * scratch.len())?;
            let values: Vec<Value<'static>> = groups.keys.iter().map(|key| key.value(row).into_owned()).collect();
            let accumulators: Vec<Accumulator> = groups.aggregates.iter().map(Accumulator::new).collect();
            grown += ROW_BYTES + scratch.len() + size_of_val(values.as_slice()) + size_of_val(accumulators.as_slice());
            grown += values.iter().map(Value::heap_bytes).sum::<usize>();
            self.groups.push(Group { values, accumulators });
            self.slots.insert(scratch.as_slice().into(), self.groups.len() - 1);
            self.groups.len() - 1
        };
        let accumulators = self.groups[slot].accumulators.iter_mut();
        for (accumulator, aggregate) in accumulators.zip(&groups.aggregates) {
            grown += accumulator.add(aggregate, row, scratch);
            room.take(grown)?;
        }
        room.take(grown)
    }
}

impl Group {
    fn results(&self, aggregates: &[Aggregate]) -> Vec<Value<'static>> {
        self.accumulators.iter().zip(aggregates).map(|(accumulator, aggregate)| accumulator.result(aggregate)).collect()
    }
}
