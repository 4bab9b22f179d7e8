//! `ensign info`: what a project holds, and what its server makes of it.

use serde_json::{Value, json};

use super::{Context, error::Result, human, output::Detail};
use crate::client::{ProjectInfo, StorageInfo};

/// Show what the project holds, and the server's storage
///
/// Topics, events and bytes are the project's. Storage is the whole server's: live bytes are those of topics that are there, dead ones
/// those of destroyed topics, and both are of segments that the server has finished; compaction drops what is dead, and joins
/// small blocks. A server that does not show its metrics here has no storage to show.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign info
  $ ensign info -o json --jq .storage.small_block_bytes")]
pub(super) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let endpoint = context.target()?.address.value.to_string();
        let found = context.block_on(async |context| {
            let client = context.connect().await?;
            let project = client.claims().await?.project;
            let topics = client.topics().await?;
            let archived = topics.iter().filter(|topic| topic.state_name() == "archived").count() as u64;
            let info = client.info(&[]).await?;
            Ok(Found {
                endpoint,
                project,
                topics: topics.len() as u64,
                archived,
                info,
                storage: client.storage().await,
            })
        })?;
        context.output.detail(found.detail())
    }
}

struct Found {
    endpoint: String,
    project: String,
    topics: u64,
    archived: u64,
    info: ProjectInfo,
    /// The server's, if it shows it.
    storage: Option<StorageInfo>,
}

impl Found {
    fn detail(&self) -> Detail {
        let topics = match self.archived {
            0 => human::count(self.topics),
            archived => format!("{}, {} archived", human::count(self.topics), human::count(archived)),
        };
        let mut fields = vec![
            ("endpoint", self.endpoint.clone()),
            ("project", self.project.clone()),
            ("topics", topics),
            ("events", human::count(self.info.events)),
            ("bytes", human::bytes(self.info.bytes)),
        ];
        if let Some(storage) = &self.storage {
            let segments = human::counted(storage.segments, "segment");
            fields.extend([
                ("storage", format!("{segments}, {}", human::bytes(storage.bytes))),
                ("live", human::bytes(storage.live_bytes)),
                ("small blocks", human::bytes(storage.small_block_bytes)),
                ("dead", human::bytes(storage.dead_bytes)),
            ]);
        }
        Detail { fields, value: self.value() }
    }

    fn value(&self) -> Value {
        json!({
            "endpoint": self.endpoint,
            "project_id": self.project,
            "topics": self.topics,
            "archived_topics": self.archived,
            "events": self.info.events,
            "duplicates": self.info.duplicates,
            "bytes": self.info.bytes,
            "storage": self.storage.as_ref().map(|storage| json!({
                "segments": storage.segments,
                "bytes": storage.bytes,
                "live_bytes": storage.live_bytes,
                "dead_bytes": storage.dead_bytes,
                "small_block_bytes": storage.small_block_bytes,
            })),
        })
    }
}
