//! `ensign verify`: a data directory that nobody uses, checked byte by byte.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{
    Context, data_dir,
    error::{CliError, Result},
    human,
    node::{RootKeyArgs, explain_root_key},
    output::{Detail, Listing},
};
use crate::{
    broker,
    engine::{BlockVerifier, OpenError},
    journal::{CutTail, Damage, DamagedEvents},
    server::{RootKeyOptions, open_root_key},
    store::local::{self, OfflineStore, VerifiedStore},
    sys::Disk,
};

/// Check every byte of a data directory
///
/// Reads all segments, the index and footer of each, the records, and what the catalogue says of the segments, and
/// decrypts and decodes every block. Nothing is changed, and no server may use the directory meanwhile. Exits with 6 when something
/// is damaged, and when blocks could not be decrypted because the root key can't be had or does not fit, unless --without-key says that
/// this is as it should be.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign verify ~/.local/share/ensign/dev
  $ ensign verify /var/lib/ensign -o json --jq '.damage[].file'

A torn tail is no damage: a crash leaves one behind the last event that was acked, and the next start cuts it off.")]
pub(super) struct Args {
    /// The data directory
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,

    /// Check only what can be checked without the root key: every byte against its checksum, and no event
    #[arg(long)]
    without_key: bool,

    #[command(flatten)]
    root_key: RootKeyArgs,
}

const IN_USE: &str = "stop the server that uses it, or verify a copy";

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let dir = self.dir;
        let about = |error: CliError| error.about(dir.display());
        let disk = data_dir::open(&dir).map_err(about)?;
        let store = OfflineStore::open(&disk).map_err(|error| about(data_dir::refused(&error, IN_USE)))?;
        let root_key = if self.without_key { None } else { Some(self.root_key.options(context, None, true)?) };
        let payloads = context.block_on(async |_| Payloads::open(&disk, &store, root_key.as_ref()).await)?;
        let report = Report::make(&store, payloads).map_err(|error| about(CliError::chain(&error)))?;
        context.output.detail(report.detail(&dir))?;
        if report.found.damage.is_empty() {
            return report.judge_payloads().map_err(about);
        }
        if context.output.is_for_people() {
            context.output.text(b"\n")?;
            context.output.list(report.listing())?;
        }
        let count = report.found.damage.len();
        let message = format!("{count} {} damaged", if count == 1 { "place is" } else { "places are" });
        Err(about(CliError::check_failed(message))
            .hint("a copy of the directory keeps what can still be read; see docs/format.md"))
    }
}

/// How far the payloads can be looked into.
enum Payloads {
    Readable(BlockVerifier),
    /// Only their checksums were compared, as it was asked for.
    Unasked,
    /// Only their checksums can be compared, for this reason.
    Opaque(CliError),
}

impl Payloads {
    async fn open(disk: &Disk, store: &OfflineStore, root_key: Option<&RootKeyOptions>) -> Result<Payloads> {
        let Some(root_key) = root_key else { return Ok(Payloads::Unasked) };
        let Some(records) = store.records() else {
            let message = "the keys are in meta.redb, which can't be opened";
            return Ok(Payloads::Opaque(CliError::check_failed(message)));
        };
        let root = match open_root_key(disk, &records, root_key).await {
            Ok(root) => root,
            Err(error) => return Ok(Payloads::Opaque(explain_root_key(&error))),
        };
        let topics = match broker::list_topics(&records).await {
            Ok(topics) => topics,
            Err(error) => return Ok(Payloads::Opaque(CliError::chain(&error))),
        };
        match BlockVerifier::open(root, records, &topics).await {
            Ok(verifier) => Ok(Payloads::Readable(verifier)),
            Err(error @ (OpenError::RootKeyMismatch | OpenError::DamagedRecord { .. })) => {
                Ok(Payloads::Opaque(CliError::chain(&error)))
            }
            Err(error) => Err(CliError::chain(&error)),
        }
    }
}

/// What there is to say.
struct Report {
    found: VerifiedStore,
    payloads: Payloads,
}

impl Report {
    fn make(store: &OfflineStore, mut payloads: Payloads) -> std::result::Result<Report, local::OpenError> {
        let found = store.verify(&mut |block| match &mut payloads {
            Payloads::Readable(verifier) => verifier.check(block),
            Payloads::Unasked | Payloads::Opaque(_) => Ok(()),
        })?;
        Ok(Report { found, payloads })
    }

    fn detail(&self, dir: &Path) -> Detail {
        let found = &self.found;
        let mut fields = vec![
            ("directory", dir.display().to_string()),
            ("journal", format!("{} segments, {}", found.segments, human::bytes(found.bytes))),
            ("blocks", format!("{} with {} events in {} topics", found.blocks, found.events, found.topics)),
            ("records", found.records.to_string()),
            ("payloads", self.describe_payloads()),
        ];
        if found.dead_blocks > 0 {
            fields.push(("dead", format!("{} blocks of destroyed topics", found.dead_blocks)));
        }
        if let Some(CutTail { file, position, bytes }) = &found.torn {
            let text = format!("{bytes} bytes of {file} from byte {position} on, which the next start cuts off");
            fields.push(("torn tail", text));
        }
        if !found.leftovers.is_empty() {
            let text = format!("{}, which the next start removes", found.leftovers.join(", "));
            fields.push(("left over", text));
        }
        if !found.unknown.is_empty() {
            fields.push(("unknown", format!("nothing refers to {}", found.unknown.join(", "))));
        }
        let damage = match found.damage.len() {
            0 => "none".to_owned(),
            count => count.to_string(),
        };
        fields.push(("damage", damage));
        Detail { fields, value: self.value(dir) }
    }

    /// Nothing that was read is damaged; but was everything read that was to be?
    fn judge_payloads(&self) -> Result<()> {
        let Payloads::Opaque(reason) = &self.payloads else { return Ok(()) };
        let blocks = human::counted(self.found.blocks, "block");
        let error = CliError::check_failed(format!("the events in {blocks} were not checked: {}", reason.message));
        let hint = "--without-key leaves them out; what they take on the disk fits its checksums";
        Err(error.hint(reason.hint.clone().unwrap_or_else(|| hint.to_owned())))
    }

    fn describe_payloads(&self) -> String {
        let verifier = match &self.payloads {
            Payloads::Readable(verifier) => verifier,
            Payloads::Unasked => return "checksums only".to_owned(),
            Payloads::Opaque(reason) => return format!("checksums only: {}", reason.message),
        };
        let mut text = format!("{} decrypted", verifier.readable);
        if verifier.destroyed > 0 {
            write!(text, "; {} have no key any more", verifier.destroyed).expect("text takes everything");
        }
        if verifier.suspended > 0 {
            write!(text, "; {} are under a suspended data key", verifier.suspended).expect("text takes everything");
        }
        if verifier.revoked > 0 {
            write!(text, "; {} are under a revoked data key", verifier.revoked).expect("text takes everything");
        }
        text
    }

    fn value(&self, dir: &Path) -> Value {
        let found = &self.found;
        let (verifier, reason) = match &self.payloads {
            Payloads::Readable(verifier) => (Some(verifier), None),
            Payloads::Unasked => (None, Some("it was not asked for")),
            Payloads::Opaque(reason) => (None, Some(reason.message.as_str())),
        };
        json!({
            "directory": dir.display().to_string(),
            "intact": found.damage.is_empty(),
            "segments": found.segments,
            "bytes": found.bytes,
            "blocks": found.blocks,
            "events": found.events,
            "topics": found.topics,
            "records": found.records,
            "dead_blocks": found.dead_blocks,
            "decrypted_blocks": verifier.map_or(0, |verifier| verifier.readable),
            "suspended_blocks": verifier.map_or(0, |verifier| verifier.suspended),
            "revoked_blocks": verifier.map_or(0, |verifier| verifier.revoked),
            "not_decrypted_because": reason,
            "torn_tail": data_dir::torn_tail(found.torn.as_ref()),
            "leftover_segments": found.leftovers,
            "unknown_segments": found.unknown,
            "damage": found.damage.iter().map(damage_value).collect::<Vec<_>>(),
        })
    }

    fn listing(&self) -> Listing {
        let rows = self.found.damage.iter().map(|damage| {
            let position = damage.position.map(|position| position.to_string()).unwrap_or_default();
            let events = damage.events.map(|events| {
                let DamagedEvents { topic, first, last } = events;
                format!("{topic} {first} to {last}")
            });
            vec![damage.file.clone(), position, events.unwrap_or_default(), damage.what.clone()]
        });
        Listing {
            columns: &["file", "byte", "events", "what"],
            rows: rows.collect(),
            values: self.found.damage.iter().map(damage_value).collect(),
            when_empty: "nothing is damaged",
        }
    }
}

fn damage_value(damage: &Damage) -> Value {
    json!({
        "file": damage.file,
        "position": damage.position,
        "topic": damage.events.map(|events| events.topic.to_string()),
        "first_offset": damage.events.map(|events| events.first.get()),
        "last_offset": damage.events.map(|events| events.last.get()),
        "what": damage.what,
    })
}
