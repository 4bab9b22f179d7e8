//! `ensign verify`: a data directory that nobody uses, checked byte by byte.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{
    Context, data_dir,
    error::{CliError, Result},
    human,
    output::{Detail, Listing},
};
use crate::{
    broker,
    engine::{BlockVerifier, OpenError},
    journal::{CutTail, Damage, DamagedEvents},
    server::load_root_key,
    store::local::{self, OfflineStore, VerifiedStore},
    sys::Disk,
};

/// Check every byte of a data directory
///
/// Reads all segments, the index and footer of each, the records, and what the catalogue says of the segments, and,
/// with the root key in the directory, decrypts and decodes every block. Nothing is changed, and no server may use the
/// directory meanwhile. Exits with 6 when something is damaged.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign verify ~/.local/share/ensign/dev
  $ ensign verify /var/lib/ensign -o json --jq '.damage[].file'

A torn tail is no damage: a crash leaves one behind the last event that was acked, and the next start cuts it off.")]
pub(super) struct Args {
    /// The data directory
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
}

const IN_USE: &str = "stop the server that uses it, or verify a copy";

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let dir = self.dir;
        let about = |error: CliError| error.about(dir.display());
        let disk = data_dir::open(&dir).map_err(about)?;
        let store = OfflineStore::open(&disk).map_err(|error| about(data_dir::refused(&error, IN_USE)))?;
        let payloads = context.block_on(async |_| Payloads::open(&disk, &store).await)?;
        let report = Report::make(&store, payloads).map_err(|error| about(CliError::chain(&error)))?;
        context.output.detail(report.detail(&dir))?;
        if report.found.damage.is_empty() {
            return Ok(());
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
    /// Only their checksums can be compared, for this reason.
    Opaque(String),
}

impl Payloads {
    async fn open(disk: &Disk, store: &OfflineStore) -> Result<Payloads> {
        let Some(records) = store.records() else {
            return Ok(Payloads::Opaque("the keys are in meta.redb, which can't be opened".to_owned()));
        };
        let root = match load_root_key(disk) {
            Ok(Some(root)) => root,
            Ok(None) => return Ok(Payloads::Opaque("there is no root key in the directory".to_owned())),
            Err(error) => return Ok(Payloads::Opaque(CliError::chain(&error).message)),
        };
        let topics = match broker::list_topics(&records).await {
            Ok(topics) => topics,
            Err(error) => return Ok(Payloads::Opaque(CliError::chain(&error).message)),
        };
        match BlockVerifier::open(root, records, &topics).await {
            Ok(verifier) => Ok(Payloads::Readable(verifier)),
            Err(error @ (OpenError::RootKeyMismatch | OpenError::DamagedRecord { .. })) => {
                Ok(Payloads::Opaque(error.to_string()))
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
            Payloads::Opaque(_) => Ok(()),
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

    fn describe_payloads(&self) -> String {
        match &self.payloads {
            Payloads::Readable(verifier) if verifier.destroyed > 0 => {
                format!("{} decrypted; {} have no key any more", verifier.readable, verifier.destroyed)
            }
            Payloads::Readable(verifier) => format!("{} decrypted", verifier.readable),
            Payloads::Opaque(reason) => format!("checksums only: {reason}"),
        }
    }

    fn value(&self, dir: &Path) -> Value {
        let found = &self.found;
        let (decrypted, reason) = match &self.payloads {
            Payloads::Readable(verifier) => (verifier.readable, None),
            Payloads::Opaque(reason) => (0, Some(reason)),
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
            "decrypted_blocks": decrypted,
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
