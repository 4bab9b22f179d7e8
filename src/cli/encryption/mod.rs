//! `ensign encryption`: what events are encrypted with.

mod data_keys;
mod root_key;
mod topic_key;

use super::{Context, args::Uses, error::Result};

/// Manage what events are encrypted with
///
/// What a server stores is encrypted under its project's data key, which has versions; the server's root key wraps all data keys. A
/// topic key is one that only clients have.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Status(data_keys::StatusArgs),
    Rotate(data_keys::RotateArgs),
    Suspend(data_keys::SuspendArgs),
    Resume(data_keys::ResumeArgs),
    Revoke(data_keys::RevokeArgs),
    RootKey(root_key::Args),
    TopicKey(topic_key::Args),
}

impl Args {
    pub(super) fn uses(&self) -> Uses {
        match &self.command {
            Command::Status(_) | Command::Rotate(_) | Command::Suspend(_) | Command::Resume(_) | Command::Revoke(_) => {
                Uses { profile: true, server: true, output: true }
            }
            Command::RootKey(_) => Uses { profile: false, server: false, output: true },
            Command::TopicKey(args) => args.uses(),
        }
    }

    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        match self.command {
            Command::Status(args) => args.run(context),
            Command::Rotate(args) => args.run(context),
            Command::Suspend(args) => args.run(context),
            Command::Resume(args) => args.run(context),
            Command::Revoke(args) => args.run(context),
            Command::RootKey(args) => args.run(context),
            Command::TopicKey(args) => args.run(context),
        }
    }
}
