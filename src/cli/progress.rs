//! Progress on standard error while something takes long: a line that changes on a terminal, a new line now and then
//! elsewhere, nothing when quiet.

use std::{cell::Cell, time::Duration};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{Output, error_text};
use crate::sys::Clock;

/// How long a job takes before anything is said about it.
const PATIENCE: Duration = Duration::from_millis(500);

/// How far apart the lines are where they can't change.
const APART: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct ProgressLine {
    form: Form,
    clock: Clock,
    last: Cell<Duration>,
}

#[derive(Debug)]
enum Form {
    None,
    Plain,
    Bar(ProgressBar),
}

impl ProgressLine {
    /// A line for a job that reads this many bytes, when that is known.
    pub(super) fn new(output: &Output, total_bytes: Option<u64>) -> ProgressLine {
        let form = if output.is_quiet() {
            Form::None
        } else if output.shows_progress() {
            let bar = match total_bytes {
                Some(total) => ProgressBar::new(total).with_style(style("{bar:24} {percent:>3}%  {msg}, {eta} left")),
                None => ProgressBar::no_length().with_style(style("{spinner} {msg}")),
            };
            bar.set_draw_target(ProgressDrawTarget::stderr());
            Form::Bar(bar)
        } else {
            Form::Plain
        };
        ProgressLine { form, clock: Clock::real(), last: Cell::new(Duration::ZERO) }
    }

    /// Shows how far the job is.
    pub(super) fn show(&self, done_bytes: u64, text: impl FnOnce() -> String) {
        let now = self.clock.elapsed();
        match &self.form {
            Form::Bar(bar) if now >= PATIENCE => {
                bar.set_message(text());
                bar.set_position(done_bytes);
            }
            Form::Plain if now.saturating_sub(self.last.get()) >= APART => {
                self.last.set(now);
                error_text(&format!("{}\n", text()));
            }
            Form::None | Form::Bar(_) | Form::Plain => {}
        }
    }

    /// Takes the line away.
    pub(super) fn clear(&self) {
        if let Form::Bar(bar) = &self.form {
            bar.finish_and_clear();
        }
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the template is fixed").progress_chars("━╸ ")
}
