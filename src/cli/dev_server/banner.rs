//! What a development server says when it is ready.

use std::{fmt::Write as _, path::Path, time::Duration};

use super::access::Access;
use crate::{cli::human, server::Server};

/// What a server holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Holds {
    topics: u64,
    bytes: u64,
}

impl Holds {
    pub(super) async fn of(server: &Server, access: &Access) -> Holds {
        let none: [&[u8]; 0] = [];
        match server.broker().info(&access.principal(), &none).await {
            Ok(info) => Holds {
                topics: info.topics.len() as u64,
                bytes: info.topics.iter().map(|topic| topic.tally.data_bytes).sum(),
            },
            // A topic that can't be read must not keep the others from being served; reading it will say what is wrong.
            Err(error) => {
                tracing::warn!(%error, "the topics could not be counted");
                Holds::default()
            }
        }
    }
}

pub(super) fn text(
    access: &Access,
    data_dir: Option<&Path>,
    profile: Option<&str>,
    holds: &Holds,
    elapsed: Duration,
) -> String {
    let mut lines = Vec::new();
    let endpoint = &access.endpoint;
    lines.push(("endpoint", format!("{endpoint:<22}  gRPC, REST and metrics on one port")));
    lines.push((
        "data",
        match data_dir {
            Some(dir) => {
                let held = if holds.topics == 0 {
                    "empty".to_owned()
                } else {
                    format!("{}, {}", human::counted(holds.topics, "topic"), human::bytes(holds.bytes))
                };
                format!("{:<22}  {held}, survives restarts", short(dir))
            }
            None => format!("{:<22}  gone when the server stops", "in memory"),
        },
    ));
    lines.push(("acks", if data_dir.is_some() { "after fsync" } else { "at once, nothing is kept" }.to_owned()));
    lines.push((
        "profile",
        match profile {
            Some(name) => {
                format!(
                    "{:<22}  signed in as a Full Access key; ensign env prints it for an SDK",
                    format!("{name} (selected)")
                )
            }
            None => "none, as you wanted".to_owned(),
        },
    ));
    let mut text = format!("ensign {} · dev server\n\n", env!("CARGO_PKG_VERSION"));
    for (name, value) in lines {
        writeln!(text, "  {name:<9}  {value}").expect("text takes everything");
    }
    text.push_str("\n  try        ensign publish hello -m 'world'   ·   ensign tail hello --from start\n");
    writeln!(text, "\nready in {}, ctrl-c to stop", human::duration(elapsed)).expect("text takes everything");
    text
}

/// A path with the home directory as `~`.
fn short(path: &Path) -> String {
    let home = directories::UserDirs::new().map(|dirs| dirs.home_dir().to_owned());
    match home.as_deref().and_then(|home| path.strip_prefix(home).ok()) {
        Some(rest) => format!("~/{}", rest.display()),
        None => path.display().to_string(),
    }
}
