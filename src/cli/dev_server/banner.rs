//! What a development server says when it is ready.

use std::{fmt::Write as _, path::Path, time::Duration};

use crate::{
    cli::{human, node::Access},
    model::Durability,
    server::{RootKeySource, Server},
};

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
    (access, is_new): (&Access, bool),
    (data_dir, durability, root_key): (Option<&Path>, Durability, RootKeySource),
    profile: Option<&str>,
    holds: &Holds,
    elapsed: Duration,
) -> String {
    let held = match (data_dir, holds.topics) {
        (None, _) => "gone when the server stops".to_owned(),
        (Some(_), 0) => "empty, survives restarts".to_owned(),
        (Some(_), topics) => {
            format!("{}, {}, survives restarts", human::counted(topics, "topic"), human::bytes(holds.bytes))
        }
    };
    let (acks, remark) = match durability {
        Durability::Fsync => ("after fsync", ""),
        Durability::Os => ("before fsync", "WARNING: a loss of power can take acked events"),
        Durability::Memory => ("at once", ""),
    };
    let (kept, whose) = match root_key {
        _ if data_dir.is_none() => ("in memory", ""),
        RootKeySource::Directory => ("in the directory", "who can read all of it can read the events"),
        RootKeySource::Keyring => ("in the keyring", ""),
        RootKeySource::Passphrase => ("of a passphrase", ""),
        RootKeySource::Given => ("given", ""),
    };
    let signed_in = "signed in as a Full Access key; ensign env prints it for an SDK".to_owned();
    let mut lines = vec![("endpoint", access.endpoint.clone(), "gRPC, REST and metrics on one port".to_owned())];
    if let Some(ca_file) = &access.ca_file {
        let made = if is_new { ", made now" } else { "" };
        lines.push(("tls", short(ca_file), format!("the authority to trust{made}; ensign env tells SDKs")));
    }
    lines.extend([
        ("data", data_dir.map_or_else(|| "in memory".to_owned(), short), held),
        ("acks", acks.to_owned(), remark.to_owned()),
        ("root key", kept.to_owned(), whose.to_owned()),
        match profile {
            Some(name) => ("profile", format!("{name} (selected)"), signed_in),
            None => ("profile", "none".to_owned(), "as you wanted".to_owned()),
        },
    ]);
    let width = lines.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0).max(20);
    let mut text = format!("ensign {} · dev server\n\n", env!("CARGO_PKG_VERSION"));
    for (name, value, remark) in lines {
        let line = format!("  {name:<9}  {value:width$}   {remark}");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if let Some(ca_file) = &access.ca_file {
        let path = ca_file.display();
        let trust = format!("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH={path}");
        write!(text, "\n  trust      export {trust} SSL_CERT_FILE={path}\n").expect("text takes everything");
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        credentials::ClientCredentials,
        model::{OrganizationId, ProjectId, Secret},
    };

    #[test]
    fn columns_are_aligned_and_the_secret_is_not_shown() {
        let key = ClientCredentials { client_id: "id".to_owned(), client_secret: Secret::new("hush") };
        let access = Access {
            endpoint: "localhost:5356".to_owned(),
            ca_file: None,
            organization: OrganizationId::default(),
            project: ProjectId::default(),
            key,
        };
        let holds = Holds { topics: 3, bytes: 12_400_000 };
        let dir = Path::new("/data");
        let shown = |durability| {
            text(
                (&access, false),
                (Some(dir), durability, RootKeySource::Directory),
                Some("dev"),
                &holds,
                Duration::from_millis(41),
            )
        };
        let version = env!("CARGO_PKG_VERSION");
        let expected = format!(
            "ensign {version} · dev server\n\n\
             \x20 endpoint   localhost:5356         gRPC, REST and metrics on one port\n\
             \x20 data       /data                  3 topics, 12.4 MB, survives restarts\n\
             \x20 acks       after fsync\n\
             \x20 root key   in the directory       who can read all of it can read the events\n\
             \x20 profile    dev (selected)         signed in as a Full Access key; ensign env prints it for an SDK\n\n\
             \x20 try        ensign publish hello -m 'world'   ·   ensign tail hello --from start\n\n\
             ready in 41 ms, ctrl-c to stop\n"
        );
        assert_eq!(shown(Durability::Fsync), expected);
        let acks = "  acks       before fsync           WARNING: a loss of power can take acked events\n";
        assert!(shown(Durability::Os).contains(acks), "{}", shown(Durability::Os));

        let access = Access { ca_file: Some("/data/tls/ca.pem".into()), ..access };
        let secure = text(
            (&access, true),
            (Some(dir), Durability::Fsync, RootKeySource::Directory),
            None,
            &Holds::default(),
            Duration::from_millis(41),
        );
        let tls = "  tls        /data/tls/ca.pem       the authority to trust, made now; ensign env tells SDKs\n";
        assert!(secure.contains(tls), "{secure}");
        let trust =
            "  trust      export GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=/data/tls/ca.pem SSL_CERT_FILE=/data/tls/ca.pem\n";
        assert!(secure.contains(trust), "{secure}");
    }
}
