//! Groups of options: where data is kept, where and under which address the server is reached.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

use super::Problems;
use crate::{
    cli::error::{CliError, Result},
    client::Address,
    model::Durability,
};

/// The port of a server that nobody configured.
pub(in crate::cli) const PORT: u16 = 5356;

/// Where events are kept, and what an acknowledgement means.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct StorageArgs {
    /// Where to keep events; `dev-server` has a directory of its name in the user's data directory
    #[arg(long, env = "ENSIGN_DATA_DIR", hide_env = true, value_name = "DIR")]
    pub(in crate::cli) data_dir: Option<PathBuf>,

    /// What an acknowledged event survives: a loss of power, or only the end of the process
    #[arg(long, env = "ENSIGN_DURABILITY", hide_env = true, value_name = "MODE", default_value = "fsync")]
    durability: Promise,
}

/// How long a server with a data directory waits before it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Promise {
    /// Until the disk has the event: it survives a loss of power
    Fsync,
    /// Until the operating system has it: it survives the end of the process
    Os,
}

impl StorageArgs {
    /// The directory that was named, from the root on: what refers to it may be read from another directory.
    pub(in crate::cli) fn named_dir(&self) -> Result<Option<PathBuf>> {
        let absolute = self.data_dir.as_ref().map(std::path::absolute).transpose();
        absolute.map_err(|error| CliError::failed(format!("--data-dir: {error}")))
    }

    pub(in crate::cli) fn durability(&self) -> Durability {
        match self.durability {
            Promise::Fsync => Durability::Fsync,
            Promise::Os => Durability::Os,
        }
    }
}

/// Where the server listens, and what clients call it.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct ListenArgs {
    /// The address to listen on; port 0 is any free one
    #[arg(long, env = "ENSIGN_ADDR", hide_env = true, value_name = "HOST:PORT")]
    pub(in crate::cli) addr: Option<String>,

    /// The URL under which clients know the server, which its tokens and links name; the default is localhost and the port
    #[arg(long, env = "ENSIGN_PUBLIC_URL", hide_env = true, value_name = "URL")]
    public_url: Option<String>,

    /// Write a file as soon as the server is ready, with everything that a program needs to use it
    #[arg(long, env = "ENSIGN_READY_FILE", hide_env = true, value_name = "FILE")]
    pub(in crate::cli) ready_file: Option<PathBuf>,
}

impl ListenArgs {
    /// The address to listen on, when one is given.
    pub(in crate::cli) fn address(&self) -> Result<Option<SocketAddr>> {
        self.addr.as_deref().map(parse_address).transpose()
    }

    /// The public URL, without a slash at its end.
    pub(in crate::cli) fn public_url(&self) -> Result<Option<String>> {
        self.public_url.as_deref().map(parse_public_url).transpose()
    }

    pub(in crate::cli) fn ready_file(&self) -> Option<&Path> {
        self.ready_file.as_deref()
    }

    /// Says what is wrong with the values.
    pub(in crate::cli) fn check(&self, problems: &mut Problems) {
        problems.note("--addr", self.address());
        problems.note("--public-url", self.public_url());
    }
}

fn parse_address(text: &str) -> Result<SocketAddr> {
    let local = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let numeric = match text.strip_prefix("localhost") {
        Some("") => format!("{local}:{PORT}"),
        Some(port) => format!("{local}{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        CliError::usage(format!("{text:?} is not an address to listen on"))
            .hint("write one like 127.0.0.1:5356, or 127.0.0.1:0 for any free port")
    })
}

/// A scheme, a host and perhaps a port: the paths below belong to the server.
fn parse_public_url(text: &str) -> Result<String> {
    let url = text.trim_end_matches('/');
    let is_url = url.starts_with("http://") || url.starts_with("https://");
    if !is_url || url.parse::<Address>().is_err() {
        return Err(CliError::usage(format!("{text:?} is not the URL of a server"))
            .hint("write one like https://ensign.example.com, without a path"));
    }
    Ok(url.to_owned())
}

/// `host:port` as a client on this machine, or beside it, writes the address that a server listens on.
pub(in crate::cli) fn host_and_port(addr: SocketAddr) -> String {
    if addr.ip().is_loopback() || addr.ip().is_unspecified() {
        return format!("localhost:{}", addr.port());
    }
    addr.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_to_listen_on() {
        let shown = |text: &str| parse_address(text).map(|addr| addr.to_string()).ok();
        assert_eq!(shown("localhost").as_deref(), Some("127.0.0.1:5356"));
        assert_eq!(shown("localhost:0").as_deref(), Some("127.0.0.1:0"));
        assert_eq!(shown("[::]:80").as_deref(), Some("[::]:80"));
        for bad in ["", "nowhere", "1.2.3.4", "ensign.example.com:443", "localhostage:1"] {
            assert_eq!(shown(bad), None, "{bad}");
        }
    }

    #[test]
    fn public_urls() {
        let check = |text: &str, expected: Option<&str>| {
            assert_eq!(parse_public_url(text).ok().as_deref(), expected, "{text}");
        };
        check("https://ensign.example.com/", Some("https://ensign.example.com"));
        check("http://localhost:5356", Some("http://localhost:5356"));
        for bad in ["", "ensign.example.com", "https://", "https://a/b", "ftp://a", "https://a?b", "https://u:p@a"] {
            check(bad, None);
        }
    }

    #[test]
    fn hosts_as_clients_write_them() {
        let shown = |text: &str| host_and_port(text.parse().unwrap());
        assert_eq!(shown("0.0.0.0:1"), "localhost:1");
        assert_eq!(shown("[::1]:1"), "localhost:1");
        assert_eq!(shown("192.0.2.1:1"), "192.0.2.1:1");
        assert_eq!(shown("[2001:db8::1]:1"), "[2001:db8::1]:1");
    }
}
