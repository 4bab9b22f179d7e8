//! Versions of the project's data key: shown, rotated, suspended, resumed, revoked.

use serde_json::json;

use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        human,
        output::{Detail, Listing},
        prompt,
    },
    client::{ClientError, EncryptionStatus, KeyVersionStatus, RewriteStatus},
};

/// Show the versions of the project's data key
///
/// What is under each version, whether it may be read, and how far a rewriting is. A version without events can be revoked without
/// losing anything.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption status
  $ ensign encryption status -o json --jq '.versions[] | select(.events == 0) | .version'")]
pub(super) struct StatusArgs {}

/// Encrypt new events under a new version
///
/// At once, for all topics of the project. What is stored stays under the version that it is under; with --rewrite it is encrypted
/// anew, slowly and in the background, and goes on after a restart. What is under a suspended version stays there.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption rotate
  $ ensign encryption rotate --rewrite && ensign encryption status")]
pub(super) struct RotateArgs {
    /// Encrypt what is stored anew, too
    #[arg(long)]
    rewrite: bool,
}

/// Close what is under a version to all readers
///
/// Also to those that are reading now. A reader that comes to these events gets an error with topic and offsets, or leaves them out
/// (`ensign tail --skip-unreadable`). Publishing goes on, under the newest version, which can't be suspended.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption suspend 3
  $ ensign encryption rotate && ensign encryption suspend 3")]
pub(super) struct SuspendArgs {
    /// The version
    #[arg(value_name = "VERSION")]
    version: u32,
}

/// Open what is under a suspended version again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption resume 3
  $ ensign encryption resume 3 -o json --jq '.versions[].state'")]
pub(super) struct ResumeArgs {
    /// The version
    #[arg(value_name = "VERSION")]
    version: u32,
}

/// Destroy a version, and everything under it, for good
///
/// Asks for the version on a terminal. Nobody can read these events any more; there is no way back. Where the server keeps the root
/// key itself (in a keyring, or in the data directory), it makes a new one in the same moment, so that copies of the data directory from
/// before can't be read with the key of today. Where the root key is given, or made of a passphrase, they can, until it is changed
/// with `ensign encryption root-key`; `ensign encryption status` says so until then.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption revoke 3
  $ ensign encryption rotate --rewrite && ensign encryption revoke 3 --yes")]
pub(super) struct RevokeArgs {
    /// The version
    #[arg(value_name = "VERSION")]
    version: u32,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

impl StatusArgs {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| {
            let status = context.connect().await?.encryption().await?;
            show(context, &status)
        })
    }
}

impl RotateArgs {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| {
            let status = context.connect().await?.rotate_key(self.rewrite).await?;
            if let Some(newest) = status.versions.last() {
                context.output.note(&format!("new events are encrypted under version {}", newest.version));
            }
            if self.rewrite {
                context.output.note("what is stored is encrypted anew in the background; `ensign encryption status` shows how far it is");
            }
            machine_readable(context, &status)
        })
    }
}

impl SuspendArgs {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| {
            let changed = context.connect().await?.suspend_key(self.version).await;
            let status = changed.map_err(|error| refused(error, self.version))?;
            context.output.note(&format!("nobody can read what is under version {} until it is resumed", self.version));
            machine_readable(context, &status)
        })
    }
}

impl ResumeArgs {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| {
            let changed = context.connect().await?.resume_key(self.version).await;
            let status = changed.map_err(|error| refused(error, self.version))?;
            context.output.note(&format!("what is under version {} can be read", self.version));
            machine_readable(context, &status)
        })
    }
}

impl RevokeArgs {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| {
            prompt::confirm_by_name(context, self.yes, "data key version", &self.version.to_string())?;
            let changed = context.connect().await?.revoke_key(self.version).await;
            let status = changed.map_err(|error| refused(error, self.version))?;
            context.output.note(&format!("version {} is destroyed, and what was under it is lost", self.version));
            note_copies(context, &status);
            machine_readable(context, &status)
        })
    }
}

fn refused(error: ClientError, version: u32) -> CliError {
    let (status, is_newest) = (error.status(), error.to_string().contains("is the newest"));
    let error = CliError::from(error);
    match status {
        Some(404) => CliError::not_found(format!("there is no data key version {version}"))
            .hint("`ensign encryption status` lists them"),
        Some(409) if is_newest => error.hint("`ensign encryption rotate` starts another one for new events"),
        _ => error,
    }
}

fn note_copies(context: &Context, status: &EncryptionStatus) {
    if status.copies_readable {
        context.output.note(
            "copies of the data directory from before can still be read with the root key of today; \
             stop the server and change it with `ensign encryption root-key`",
        );
    }
}

/// Prints the state for programs that asked for it.
fn machine_readable(context: &mut Context, status: &EncryptionStatus) -> Result<()> {
    if context.output.format().is_none() && context.output.jq().is_none() {
        return Ok(());
    }
    context.output.detail(Detail { fields: fields(status), value: json!(status) })
}

fn show(context: &mut Context, status: &EncryptionStatus) -> Result<()> {
    context.output.detail(Detail { fields: fields(status), value: json!(status) })?;
    if !context.output.is_for_people() {
        return Ok(());
    }
    context.output.text(b"\n")?;
    let row = |version: &KeyVersionStatus| {
        let state = if version.newest { format!("{}, newest", version.state) } else { version.state.clone() };
        let created = human::or_dash(version.created());
        let size = human::bytes(version.bytes);
        vec![version.version.to_string(), state, created, human::count(version.events), size]
    };
    context.output.list(Listing {
        columns: &["version", "state", "created", "events", "size"],
        rows: status.versions.iter().map(row).collect(),
        values: Vec::new(),
        when_empty: "",
    })?;
    note_copies(context, status);
    Ok(())
}

fn fields(status: &EncryptionStatus) -> Vec<(&'static str, String)> {
    let mut fields = vec![
        ("project", status.project_id.clone()),
        ("root key", status.root_key_source.clone()),
        ("versions", status.versions.len().to_string()),
    ];
    if let Some(rewrite) = &status.rewrite {
        fields.push(("rewriting", progress(rewrite)));
    }
    fields
}

fn progress(rewrite: &RewriteStatus) -> String {
    if rewrite.is_finished() {
        return format!("to version {}, finished {}", rewrite.below, rewrite.finished);
    }
    let (events, bytes) = (human::counted(rewrite.events_left, "event"), human::bytes(rewrite.bytes_left));
    format!("to version {}, {events} with {bytes} left", rewrite.below)
}
