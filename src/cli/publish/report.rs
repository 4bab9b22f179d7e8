//! What became of the events: progress while they are on their way, and the account at the end.

use std::{fmt::Write as _, time::Duration};

use serde_json::json;

use super::input::{Batch, Input, Origin, short_name};
use crate::{
    cli::{
        Context,
        destination::{self, Fate},
        error::Result,
        human,
        output::{Detail, Format, error_text},
        progress::ProgressLine,
    },
    client::{Draft, Outcome, Progress, Refusal, Unacknowledged},
    sys::Clock,
};

/// How many refused events are named one by one.
const NAMED_MAX: usize = 10;

/// Events above this size are beyond what the published SDKs read unless they are told to.
const SDK_EVENT_BYTES: usize = 4_190_000;

#[derive(Debug)]
pub(super) struct Report {
    topic: String,
    inputs: Vec<String>,
    input_bytes: Option<u64>,
    clock: Clock,
    started: Duration,
    elapsed: Duration,
    read_bytes: u64,
    empty: u64,
    large: u64,
    refused: u64,
    /// The first of the refused events, and why.
    reasons: Vec<(Origin, String)>,
    unacknowledged: Vec<Unacknowledged>,
    progress: Progress,
}

impl Report {
    pub(super) fn new(topic: &str, inputs: &[Input], clock: Clock) -> Report {
        Report {
            topic: topic.to_owned(),
            inputs: inputs.iter().map(Input::name).collect(),
            input_bytes: inputs.iter().map(Input::bytes).sum(),
            started: clock.elapsed(),
            elapsed: Duration::ZERO,
            clock,
            read_bytes: 0,
            empty: 0,
            large: 0,
            refused: 0,
            reasons: Vec::new(),
            unacknowledged: Vec::new(),
            progress: Progress::default(),
        }
    }

    /// How much there is to read, when that is known.
    pub(super) fn input_bytes(&self) -> Option<u64> {
        self.input_bytes
    }

    /// Notes what was read; gives what is to be sent.
    pub(super) fn add(&mut self, batch: Batch) -> Result<Vec<Draft>> {
        self.read_bytes += batch.bytes;
        self.empty += batch.empty;
        for (origin, reason) in batch.refused {
            self.refuse(origin, reason);
        }
        let large = batch.drafts.iter().filter(|draft| draft.event_bytes() > SDK_EVENT_BYTES).count();
        self.large += large as u64;
        match batch.failure {
            Some(failure) => Err(failure),
            None => Ok(batch.drafts),
        }
    }

    fn refuse(&mut self, origin: Origin, reason: String) {
        self.refused += 1;
        if self.reasons.len() < NAMED_MAX {
            self.reasons.push((origin, reason));
        }
    }

    pub(super) fn show(&self, line: &ProgressLine, progress: &Progress) {
        let elapsed = self.clock.elapsed().saturating_sub(self.started);
        line.show(self.read_bytes, || {
            let mut text = format!(
                "{} acked, {}, {}/s",
                human::counted(progress.acked, "event"),
                human::bytes(progress.acked_bytes),
                human::rate(progress.acked, elapsed),
            );
            if progress.refused + self.refused > 0 {
                let refused = human::count(progress.refused + self.refused);
                write!(text, ", {refused} refused").expect("text takes everything");
            }
            text
        });
    }

    /// Takes the stream's account over.
    pub(super) fn close(&mut self, outcome: Outcome) {
        self.elapsed = self.clock.elapsed().saturating_sub(self.started);
        let known = outcome.refusals.len() as u64;
        for Refusal { tag, message, .. } in outcome.refusals {
            self.refuse(Origin::of_tag(tag), message);
        }
        self.refused += outcome.progress.refused - known;
        self.unacknowledged = outcome.unacknowledged;
        self.progress = outcome.progress;
    }

    /// Says what happened: to people on standard error, and to programs that asked for it on standard output.
    pub(super) fn print(&self, context: &mut Context) -> Result<()> {
        if context.output.format() != Some(&Format::Json) {
            self.explain(context);
        }
        if context.output.format().is_some() || context.output.jq().is_some() {
            context.output.detail(self.detail())?;
            context.output.flush()?;
        }
        Ok(())
    }

    fn explain(&self, context: &Context) {
        for (origin, reason) in &self.reasons {
            error_text(&format!("{}: {reason}\n", self.place(*origin)));
        }
        let unnamed = self.refused - self.reasons.len() as u64;
        if unnamed > 0 {
            error_text(&format!("… and {} more\n", human::count(unnamed)));
        }
        for lost in &self.unacknowledged {
            error_text(&format!("{}: sent and not acknowledged, may be stored or not\n", self.range(lost)));
        }
        let note = |text: &str| context.output.note(text);
        if self.empty > 0 {
            note(&format!("skipped {}", human::counted(self.empty, "empty line")));
        }
        if self.large > 0 {
            note(&format!(
                "{} larger than {SDK_EVENT_BYTES} bytes: SDKs read such events only with \
                 grpc.max_receive_message_length raised above 4 MiB",
                human::counted(self.large, "event"),
            ));
        }
        let progress = &self.progress;
        let mut text = format!(
            "published {} ({}) to {} in {}",
            human::counted(progress.acked, "event"),
            human::bytes(progress.acked_bytes),
            self.topic,
            human::duration(self.elapsed),
        );
        if progress.acked > 1 {
            write!(text, ", {} events/s", human::rate(progress.acked, self.elapsed)).expect("text takes everything");
        }
        note(&text);
    }

    /// The first and the last line of events whose fate is not known.
    fn range(&self, lost: &Unacknowledged) -> String {
        let (first, last) = (Origin::of_tag(lost.first_tag), Origin::of_tag(lost.last_tag));
        if first == last { self.place(first) } else { format!("{} to {}", self.place(first), self.place(last)) }
    }

    fn detail(&self) -> Detail {
        let progress = &self.progress;
        let millis = u64::try_from(self.elapsed.as_millis()).unwrap_or(u64::MAX);
        let value = json!({
            "topic": self.topic,
            "published": progress.acked,
            "bytes": progress.acked_bytes,
            "refused": self.refused,
            "unacknowledged": progress.unacknowledged,
            "skipped": self.empty,
            "elapsed_ms": millis,
            "refusals": self.reasons.iter().map(|(origin, reason)| {
                json!({ "input": self.inputs.get(origin.input), "line": line(*origin), "reason": reason })
            }).collect::<Vec<_>>(),
            "unknown": self.unacknowledged.iter().map(|lost| {
                let (first, last) = (Origin::of_tag(lost.first_tag), Origin::of_tag(lost.last_tag));
                json!({ "input": self.inputs.get(first.input), "first_line": line(first), "last_line": line(last) })
            }).collect::<Vec<_>>(),
        });
        let fields = vec![
            ("topic", self.topic.clone()),
            ("published", progress.acked.to_string()),
            ("bytes", progress.acked_bytes.to_string()),
            ("refused", self.refused.to_string()),
            ("unacknowledged", progress.unacknowledged.to_string()),
            ("skipped", self.empty.to_string()),
            ("elapsed_ms", millis.to_string()),
        ];
        Detail { fields, value }
    }

    /// Whether all that was read is stored.
    pub(super) fn verdict(&self) -> Result<()> {
        let Progress { acked, unacknowledged, .. } = self.progress;
        destination::verdict(&self.topic, Fate { acked, refused: self.refused, unacknowledged })
    }

    /// Which line of which input, as far as there are several.
    fn place(&self, origin: Origin) -> String {
        let name = self.inputs.get(origin.input).map_or("input", |name| short_name(name));
        match (self.inputs.len(), origin.line) {
            (_, 0) => name.to_owned(),
            (1, line) => format!("line {line}"),
            (_, line) => format!("{name}:{line}"),
        }
    }
}

/// The line, where there are lines.
fn line(origin: Origin) -> Option<u64> {
    Some(origin.line).filter(|line| *line > 0)
}
