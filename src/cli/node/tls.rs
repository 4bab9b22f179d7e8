//! Options for TLS with certificates that somebody else made, and reading them again when they have changed.

use std::path::PathBuf;

use clap::{ArgAction, builder::BoolishValueParser};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Problems;
use crate::{
    cli::error::{CliError, Result},
    model::Time,
    server::{Certificates, TlsFiles, TlsOptions},
    sys::Clock,
};

/// The certificate that the server shows, and what it asks of its clients.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_field_names, reason = "the fields are called as the flags are")]
pub(in crate::cli) struct TlsArgs {
    /// A PEM file with the server's certificate, and with those between it and its authority; read again on SIGHUP
    #[arg(long, env = "ENSIGN_TLS_CERT", hide_env = true, value_name = "FILE")]
    tls_cert: Option<PathBuf>,

    /// A PEM file with the key of the certificate, which others than its owner and its group can't read
    #[arg(long, env = "ENSIGN_TLS_KEY", hide_env = true, value_name = "FILE")]
    tls_key: Option<PathBuf>,

    /// Take clients alone that show a certificate of one of the authorities in this PEM file
    #[arg(long, env = "ENSIGN_TLS_CLIENT_CA", hide_env = true, value_name = "FILE")]
    tls_client_ca: Option<PathBuf>,

    /// Refuse plaintext; with false, the port takes both, or plaintext alone when there is no certificate
    #[arg(long, env = "ENSIGN_TLS_ONLY", hide_env = true, value_name = "BOOL", default_value = "true",
        default_missing_value = "true", num_args = 0..=1, require_equals = true, action = ArgAction::Set,
        value_parser = BoolishValueParser::new())]
    tls_only: bool,
}

impl TlsArgs {
    /// The files and what they hold now; none when the server is to speak plaintext.
    pub(in crate::cli) fn settle(&self, now: Time, problems: &mut Problems) -> Option<(TlsFiles, TlsOptions)> {
        let (certificate, key) = match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
            (Some(_), None) => {
                problems.add("--tls-key: the certificate needs its key");
                return None;
            }
            (None, Some(_)) => {
                problems.add("--tls-cert: the key needs its certificate");
                return None;
            }
            (None, None) => {
                if self.tls_only {
                    problems.add(
                        "--tls-cert: TLS needs a certificate and --tls-key; to serve plaintext, say --tls-only=false",
                    );
                } else if self.tls_client_ca.is_some() {
                    problems.add("--tls-client-ca: clients can't show certificates without TLS");
                }
                return None;
            }
        };
        if self.tls_client_ca.is_some() && !self.tls_only {
            problems.add("--tls-client-ca: plaintext would go around it; leave --tls-only as it is");
        }
        let files = TlsFiles { certificate, key, client_authorities: self.tls_client_ca.clone() };
        let loaded = files.load(now).map_err(|error| CliError::chain(&error));
        let identity = problems.note("--tls-cert", loaded)?;
        Some((files, TlsOptions { identity, only: self.tls_only }))
    }
}

/// Reads certificates again on SIGHUP.
#[derive(Debug)]
pub(in crate::cli) struct Reloader {
    hangup: Signal,
    files: Option<TlsFiles>,
    clock: Clock,
}

impl Reloader {
    /// From now on SIGHUP does not end the process any more, also when there is nothing to read again.
    pub(in crate::cli) fn listen(files: Option<TlsFiles>, clock: Clock) -> Result<Reloader> {
        let hangup = signal(SignalKind::hangup())
            .map_err(|error| CliError::failed(format!("can't listen to signals: {error}")))?;
        Ok(Reloader { hangup, files, clock })
    }

    /// Reads whenever it is asked to. Files that can't be used are logged, and what was shown before is shown on.
    pub(in crate::cli) async fn run(&mut self, certificates: Option<Certificates>) {
        while self.hangup.recv().await.is_some() {
            let (Some(files), Some(certificates)) = (&self.files, &certificates) else {
                tracing::info!("there are no certificates to read again");
                continue;
            };
            match files.load(self.clock.now()) {
                Ok(identity) => {
                    tracing::info!(ends = %identity.ends(), "certificate read again");
                    certificates.replace(identity);
                }
                Err(error) => {
                    let error = CliError::chain(&error).message;
                    tracing::error!(%error, "certificate not read again; the one that is shown stays");
                }
            }
        }
    }
}
