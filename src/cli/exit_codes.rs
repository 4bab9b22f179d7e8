//! `ensign help exit-codes`.

use std::fmt::Write as _;

use super::{
    Context,
    error::{EXIT_CODES, Result},
};

/// List the exit codes
#[derive(Debug, clap::Args)]
#[command(help_template = "{about}{after-help}\n", after_help = table())]
pub(super) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.output.text(format!("{}\n", table()).as_bytes())
    }
}

fn table() -> String {
    let mut text = String::new();
    for (code, meaning) in EXIT_CODES {
        write!(text, "{}{code:>5}  {meaning}", if text.is_empty() { "" } else { "\n" }).expect("text takes everything");
    }
    text
}
