//! `ensign compact`: a data directory that nobody uses, written once more in less room.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::{
    Context, data_dir,
    error::{CliError, Result},
    human,
    node::{RootKeyArgs, explain_root_key},
    output::{Detail, Output},
    progress::ProgressLine,
};
use crate::{
    journal::CutTail,
    server::{CompactDirectoryError, CompactedDirectory, StartError, compact_directory},
    store::Stats,
    sys::Entropy,
};

/// Compact a data directory
///
/// Joins small blocks, as events leave them that were published one at a time, and gives back the room of destroyed topics.
/// Events, offsets, identifiers and commit times stay what they are. A server does this by itself, slowly and in the background;
/// this does it at once and completely, and no server may use the directory meanwhile. It can be interrupted at any time. Exits
/// with 6 when something is damaged: that is left as it is.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign compact ~/.local/share/ensign/dev
  $ ensign compact /var/lib/ensign -o json --jq .bytes

It needs room for what it writes, at most about as much as eight segments of 64 MiB.")]
pub(super) struct Args {
    /// The data directory
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,

    #[command(flatten)]
    root_key: RootKeyArgs,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let dir = self.dir;
        let about = |error: CliError| error.about(dir.display());
        let disk = data_dir::open(&dir).map_err(about)?;
        let root_key = self.root_key.options(context, None, true)?;
        let progress = ProgressLine::new(&context.output, None);
        let compacted = context.block_on(async |context| {
            let watch = |stats: &Stats| show(&progress, stats);
            let outside = (&context.clock, &Entropy::real());
            compact_directory(&disk, &root_key, outside, watch).await.map_err(|error| refused(&error))
        });
        progress.clear();
        let compacted = compacted.map_err(about)?;
        note_recovery(&context.output, &compacted);
        context.output.detail(detail(&dir, &compacted))?;
        match compacted.stats.compactions_failed {
            0 => Ok(()),
            count => {
                let segments = human::counted(count, "segment");
                let message = format!("{segments} could not be read completely, and stayed as they were");
                Err(about(CliError::check_failed(message))
                    .hint(format!("`ensign verify {}` says what is damaged", dir.display())))
            }
        }
    }
}

fn refused(error: &CompactDirectoryError) -> CliError {
    match error {
        CompactDirectoryError::Open(StartError::Store(error)) => {
            data_dir::refused(error, "stop the server that uses it; a server compacts by itself, in the background")
        }
        CompactDirectoryError::Open(StartError::RootKey(error)) => explain_root_key(error),
        other => CliError::chain(other),
    }
}

fn show(progress: &ProgressLine, stats: &Stats) {
    progress.show(stats.bytes_to_compact, || {
        let segments = human::counted(stats.segments_replaced, "segment");
        format!("{} read, {segments} replaced", human::bytes(stats.bytes_to_compact))
    });
}

fn note_recovery(output: &Output, compacted: &CompactedDirectory) {
    if let Some(CutTail { file, position, bytes }) = &compacted.recovered.cut {
        output.note(&format!("cut off the torn end of {file}: {bytes} bytes from byte {position} on, never acked"));
    }
}

fn detail(dir: &Path, compacted: &CompactedDirectory) -> Detail {
    let stats = &compacted.stats;
    let replaced = match stats.segments_replaced {
        0 => "nothing to gain".to_owned(),
        count => {
            let (read, written) = (human::bytes(stats.bytes_to_compact), human::bytes(stats.bytes_compacted));
            format!("{}, {read} read and {written} written", human::counted(count, "segment"))
        }
    };
    let fields = vec![
        ("directory", dir.display().to_string()),
        ("replaced", replaced),
        (
            "journal",
            format!("{}, {}", human::counted(stats.sealed_segments, "segment"), human::bytes(stats.sealed_bytes)),
        ),
        ("small blocks", human::bytes(stats.small_bytes)),
        ("dead", human::bytes(stats.dead_bytes)),
    ];
    let value = json!({
        "directory": dir.display().to_string(),
        "segments": stats.sealed_segments,
        "bytes": stats.sealed_bytes,
        "live_bytes": stats.live_bytes,
        "dead_bytes": stats.dead_bytes,
        "small_block_bytes": stats.small_bytes,
        "segments_replaced": stats.segments_replaced,
        "bytes_read": stats.bytes_to_compact,
        "bytes_written": stats.bytes_compacted,
        "segments_left": stats.compactions_failed,
        "torn_tail": data_dir::torn_tail(compacted.recovered.cut.as_ref()),
    });
    Detail { fields, value }
}
