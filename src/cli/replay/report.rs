//! What became of the events that were replayed: progress on the way, the account at the end, and the command that goes on.

use std::{
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use super::Args;
use crate::{
    cli::{
        Context,
        error::Result,
        human,
        output::{Detail, Format, error_text},
        progress::ProgressLine,
    },
    client::{AckListener, Event, Outcome, Progress},
    model::{Offset, Position, Time},
    sys::Clock,
};

/// How many refused events are named one by one.
const NAMED_MAX: usize = 10;

/// What is known of a replay.
#[derive(Debug)]
pub(super) struct Report {
    topic: String,
    to: String,
    clock: Clock,
    started: Duration,
    /// The time of day when it began, which is where the range ends that is open.
    began: Time,
    /// The offset of the last event that is acked.
    acked: Arc<AtomicU64>,
    read: u64,
    encrypted: u64,
}

impl Report {
    pub(super) fn new(args: &Args, clock: &Clock) -> Report {
        Report {
            topic: args.topic.clone(),
            to: args.to.clone(),
            clock: clock.clone(),
            started: clock.elapsed(),
            began: clock.now(),
            acked: Arc::default(),
            read: 0,
            encrypted: 0,
        }
    }

    /// Tells the report of acks.
    pub(super) fn listener(&self) -> AckListener {
        let acked = self.acked.clone();
        AckListener::new(move |tags| {
            if let Some(last) = tags.last() {
                acked.fetch_max(*last, Ordering::Relaxed);
            }
        })
    }

    pub(super) fn add(&mut self, event: &Event) {
        self.read += 1;
        self.encrypted += u64::from(event.is_encrypted());
    }

    pub(super) fn show(&self, line: &ProgressLine, progress: &Progress, next: Option<Duration>) {
        line.show(0, || {
            let elapsed = self.clock.elapsed().saturating_sub(self.started);
            let mut text = format!(
                "{} replayed, {}, {}/s",
                human::counted(progress.acked, "event"),
                human::bytes(progress.acked_bytes),
                human::rate(progress.acked, elapsed),
            );
            if let Some(next) = next.filter(|next| *next >= Duration::from_secs(1)) {
                write!(text, ", the next in {}", human::duration(next)).expect("text takes everything");
            }
            text
        });
    }

    /// Says what happened: to people on standard error, and to programs that asked for it on standard output. What is not
    /// done yet gets the command that does it.
    pub(super) fn finish(self, context: &mut Context, args: &Args, outcome: &Outcome, is_done: bool) -> Result<()> {
        let elapsed = self.clock.elapsed().saturating_sub(self.started);
        if context.output.format() != Some(&Format::Json) {
            self.explain(context, outcome, elapsed);
            if !is_done {
                context.output.note(&format!("`{}` goes on", self.command_to_go_on(args, outcome)));
            }
        }
        if context.output.format().is_some() || context.output.jq().is_some() {
            context.output.detail(self.detail(outcome, elapsed))?;
            context.output.flush()?;
        }
        Ok(())
    }

    fn explain(&self, context: &Context, outcome: &Outcome, elapsed: Duration) {
        let progress = &outcome.progress;
        for refusal in outcome.refusals.iter().take(NAMED_MAX) {
            error_text(&format!("offset {}: {}\n", refusal.tag, refusal.message));
        }
        let unnamed = progress.refused.saturating_sub(NAMED_MAX as u64);
        if unnamed > 0 {
            error_text(&format!("… and {} more\n", human::count(unnamed)));
        }
        for lost in &outcome.unacknowledged {
            let place = if lost.first_tag == lost.last_tag {
                format!("offset {}", lost.first_tag)
            } else {
                format!("offsets {} to {}", lost.first_tag, lost.last_tag)
            };
            error_text(&format!("{place}: sent and not acknowledged, may be stored or not\n"));
        }
        let Report { topic, to, .. } = self;
        context.output.note(&format!(
            "replayed {} ({}) from {topic} to {to} in {}",
            human::counted(progress.acked, "event"),
            human::bytes(progress.acked_bytes),
            human::duration(elapsed),
        ));
        if self.encrypted > 0 && topic != to {
            let events = human::counted(self.encrypted, "event");
            context.output.note(&format!(
                "{events} encrypted for {topic}; `ensign tail {to} --decrypt --encrypted-for {topic}` reads them"
            ));
        }
    }

    /// The same replay from behind the last event that is acked, and up to where this one would have gone.
    fn command_to_go_on(&self, args: &Args, outcome: &Outcome) -> String {
        let Args { topic, to, range, speed, .. } = args;
        let from = match self.acked.load(Ordering::Relaxed) {
            0 => self.fixed(range.from),
            last => Position::Offset(Offset::new(last + 1)),
        };
        let until = self.fixed(range.until.unwrap_or(Position::End));
        let mut command = format!("ensign replay {topic} --to {to} --from {from} --until {until} --speed {speed}");
        if let Some(limit) = range.limit {
            let left = limit.saturating_sub(outcome.progress.acked + outcome.progress.refused);
            write!(command, " -n {left}").expect("text takes everything");
        }
        if args.skip_unreadable {
            command.push_str(" --skip-unreadable");
        }
        command
    }

    /// A position that means the same later on.
    fn fixed(&self, position: Position) -> Position {
        match position {
            Position::End => Position::Time(self.began),
            Position::Ago(nanos) => Position::Time(self.began.plus_nanos(-nanos)),
            other => other,
        }
    }

    fn detail(&self, outcome: &Outcome, elapsed: Duration) -> Detail {
        let progress = &outcome.progress;
        let millis = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let last = Some(self.acked.load(Ordering::Relaxed)).filter(|last| *last > 0);
        let value = json!({
            "topic": self.topic,
            "to": self.to,
            "published": progress.acked,
            "bytes": progress.acked_bytes,
            "refused": progress.refused,
            "unacknowledged": progress.unacknowledged,
            "last_offset": last,
            "elapsed_ms": millis,
            "refusals": outcome.refusals.iter().take(NAMED_MAX).map(|refusal| {
                json!({ "offset": refusal.tag, "reason": refusal.message })
            }).collect::<Vec<_>>(),
            "unknown": outcome.unacknowledged.iter().map(|lost| {
                json!({ "first_offset": lost.first_tag, "last_offset": lost.last_tag })
            }).collect::<Vec<_>>(),
        });
        let fields = vec![
            ("topic", self.topic.clone()),
            ("to", self.to.clone()),
            ("published", progress.acked.to_string()),
            ("bytes", progress.acked_bytes.to_string()),
            ("refused", progress.refused.to_string()),
            ("unacknowledged", progress.unacknowledged.to_string()),
            ("last_offset", human::or_dash(last)),
            ("elapsed_ms", millis.to_string()),
        ];
        Detail { fields, value }
    }
}
