//! `ensign encryption`: what events are encrypted with.

mod topic_key;

use super::{Context, args::Uses, error::Result};

/// Manage what events are encrypted with
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    TopicKey(topic_key::Args),
}

impl Args {
    pub(super) fn uses(&self) -> Uses {
        match &self.command {
            Command::TopicKey(args) => args.uses(),
        }
    }

    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        match self.command {
            Command::TopicKey(args) => args.run(context),
        }
    }
}
