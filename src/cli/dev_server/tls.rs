//! TLS of a development server: an authority of this machine's own, the certificate that it makes, and where clients find it.

use std::path::{Path, PathBuf};

use clap::builder::FalseyValueParser;
use tokio::task::JoinHandle;

use crate::{
    cli::{
        Context,
        error::{CliError, Result},
    },
    server::{AuthorityError, LocalAuthority, LocalName, Server, TlsOptions},
    sys::{
        self, Clock,
        files::{create_private_dir, remove_file},
    },
};

/// The authority's directory in the data directory.
const DIR: &str = "tls";

/// Whether and how the server speaks TLS.
#[derive(Debug, clap::Args)]
pub(super) struct LocalTlsArgs {
    /// Speak TLS, too, with a certificate authority that is made for this machine and kept
    #[arg(long, env = "ENSIGN_TLS", hide_env = true, value_parser = FalseyValueParser::new())]
    tls: bool,

    /// A further host name or address of this machine, to be in the certificate
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Vec<LocalName>,

    /// Write the authority's certificate, which clients have to trust, into this file, too
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca_file: Option<PathBuf>,

    /// Refuse plaintext; without this, the port takes both
    #[arg(long, requires = "tls")]
    tls_only: bool,
}

/// The authority of a server that speaks TLS.
#[derive(Debug)]
pub(super) struct LocalTls {
    authority: LocalAuthority,
    names: Vec<LocalName>,
    only: bool,
    /// Where clients find the authority's certificate.
    pub(super) ca_file: PathBuf,
    /// Whether it was made now: who trusted another one has to trust this one.
    pub(super) is_new: bool,
    /// Set when the certificate goes with the server.
    temporary: Option<PathBuf>,
}

impl LocalTlsArgs {
    /// Finds or makes the authority; none when TLS is not asked for.
    pub(super) fn prepare(&self, context: &Context, data_dir: Option<&Path>) -> Result<Option<LocalTls>> {
        if !self.tls {
            return Ok(None);
        }
        let failed = |error: AuthorityError| CliError::chain(&error);
        let now = context.clock.now();
        let own: Vec<LocalName> = sys::host_name().and_then(|name| name.parse().ok()).into_iter().collect();
        let mut names = self.tls_name.clone();
        names.extend(own.iter().cloned());
        let (authority, is_new, kept) = if let Some(dir) = data_dir {
            let dir = dir.join(DIR);
            let (authority, is_new) = LocalAuthority::keep(&dir, &self.tls_name, &own, now).map_err(failed)?;
            (authority, is_new, Some(dir.join(LocalAuthority::certificate_file())))
        } else {
            (LocalAuthority::create(&names, now).map_err(failed)?, true, None)
        };
        let asked = self.tls_ca_file.as_ref().map(std::path::absolute).transpose();
        let asked = asked.map_err(|error| CliError::failed(format!("--tls-ca-file: {error}")))?;
        if let Some(path) = &asked {
            authority.write_certificate(path).map_err(failed)?;
        }
        let mut temporary = None;
        let ca_file = if let Some(path) = kept.or(asked) {
            path
        } else {
            let path = runtime_dir(context)?.join(format!("ca-{}.pem", std::process::id()));
            authority.write_certificate(&path).map_err(failed)?;
            temporary.insert(path).clone()
        };
        Ok(Some(LocalTls { authority, names, only: self.tls_only, ca_file, is_new, temporary }))
    }
}

/// A directory that goes with the user's session, or else that of the profiles.
fn runtime_dir(context: &Context) -> Result<PathBuf> {
    let places = directories::ProjectDirs::from("", "", "ensign");
    let dir = match places.as_ref().and_then(directories::ProjectDirs::runtime_dir) {
        Some(dir) => dir.to_owned(),
        None => context.credentials()?.dir().to_owned(),
    };
    create_private_dir(&dir).map_err(|error| CliError::chain(&error))?;
    Ok(dir)
}

impl LocalTls {
    /// How the server speaks TLS, with a certificate that is made now.
    pub(super) fn options(&self, clock: &Clock) -> Result<TlsOptions> {
        let identity = self.authority.identity(&self.names, clock.now()).map_err(|error| CliError::chain(&error))?;
        Ok(TlsOptions { identity, only: self.only })
    }

    /// Has the server show a new certificate long before the old one ends, for as long as the task is not aborted.
    pub(super) fn renew(self, server: &Server, clock: Clock) -> JoinHandle<()> {
        let certificates = server.certificates();
        tokio::spawn(async move {
            loop {
                clock.sleep(LocalAuthority::renewal()).await;
                match (self.authority.identity(&self.names, clock.now()), &certificates) {
                    (Ok(identity), Some(certificates)) => certificates.replace(identity),
                    (Err(error), _) => tracing::error!(%error, "the certificate could not be renewed"),
                    (Ok(_), None) => return,
                }
            }
        })
    }

    /// The file that has to go with the server, if there is one.
    pub(super) fn temporary(&self) -> Option<PathBuf> {
        self.temporary.clone()
    }
}

/// Removes what goes with the server.
pub(super) fn clean_up(temporary: Option<&Path>) -> Result<()> {
    let removed = temporary.map(remove_file).transpose();
    removed.map(drop).map_err(|error| CliError::chain(&error))
}
