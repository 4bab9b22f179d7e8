//! Whom a command trusts, and what it shows of itself: files of certificates, and where each was named.

use std::path::{Path, PathBuf};

use super::error::{CliError, Result};
use crate::{
    client::{Endpoint, Trust},
    config::{Setting, Source},
    model::Secret,
    sys::files::{self, Access, read_file},
};

/// The largest PEM file that is read.
const BYTES_MAX: u64 = 1024 * 1024;

/// The permissions of somebody who is neither the file's owner nor in its group.
const OTHERS: u32 = 0o007;

/// The files, as far as somebody named them, and whether plaintext may go over a network.
#[derive(Debug, Clone, Default)]
pub(super) struct TrustFiles {
    pub(super) ca_file: Option<Setting<PathBuf>>,
    pub(super) client_cert: Option<Setting<PathBuf>>,
    pub(super) client_key: Option<Setting<PathBuf>>,
    pub(super) insecure_remote: bool,
}

impl TrustFiles {
    /// Reads the files.
    pub(super) fn load(&self) -> Result<Trust> {
        let mut trust = Trust::default();
        if let Some(ca_file) = &self.ca_file {
            let pem = read(ca_file)?;
            trust = trust.with_authority(&pem).map_err(|error| about(ca_file, &error.to_string()))?;
        }
        match (&self.client_cert, &self.client_key) {
            (Some(certificate), Some(key)) => {
                if let Ok(Access::Shared { mode }) = files::access(&key.value)
                    && mode & OTHERS != 0
                {
                    let open =
                        format!("everybody on the machine may use the private key: its permissions are {mode:o}");
                    return Err(about(key, &open).hint(format!("chmod 600 {}", key.value.display())));
                }
                let (pem, secret) = (read(certificate)?, Secret::new(read(key)?));
                let both = trust.with_identity(&pem, secret);
                both.map_err(|error| match error {
                    crate::client::TrustError::NoKey => about(key, &error.to_string()),
                    _ => about(certificate, &error.to_string()),
                })
            }
            (None, None) => Ok(trust),
            (Some(_), None) => {
                Err(CliError::usage("the client certificate needs its key").hint("add --client-key FILE"))
            }
            (None, Some(_)) => {
                Err(CliError::usage("the client key needs its certificate").hint("add --client-cert FILE"))
            }
        }
    }

    /// The path of a file from the root on, as a profile remembers it.
    pub(super) fn absolute(file: Option<&Setting<PathBuf>>) -> Result<Option<PathBuf>> {
        let absolute = file.map(|file| std::path::absolute(&file.value)).transpose();
        absolute.map_err(|error| CliError::failed(format!("the file of a certificate: {error}")))
    }

    /// That the connection is not plaintext, when an authority was named for this call.
    pub(super) fn asks_for_tls(&self) -> (Option<bool>, Source) {
        match &self.ca_file {
            Some(Setting { source, .. }) if !matches!(source, Source::Profile(_)) => (Some(false), source.clone()),
            _ => (None, Source::Default),
        }
    }

    /// Refuses plaintext over a network, unless it was asked for twice; then it is said what that means.
    pub(super) fn check_exposure(&self, endpoint: &Endpoint) -> Result<Option<String>> {
        if !endpoint.is_exposed() {
            return Ok(None);
        }
        let address = endpoint.address();
        let shown = if endpoint.is_insecure() { address.to_string() } else { endpoint.auth_url().to_owned() };
        let what = format!("plaintext to {shown}: whoever is on the way can read the secret and the events");
        if self.insecure_remote {
            return Ok(Some(what));
        }
        Err(CliError::not_allowed(what).hint(format!(
            "use TLS (https://{address}); if it has to be, say it a second time, with ENSIGN_INSECURE_REMOTE=true or \
             `ensign login --insecure --insecure-remote`"
        )))
    }
}

fn read(file: &Setting<PathBuf>) -> Result<Vec<u8>> {
    read_file(&file.value, BYTES_MAX).map_err(|error| {
        let chained = CliError::chain(&error);
        chained.about(&file.source)
    })
}

fn about(file: &Setting<PathBuf>, what: &str) -> CliError {
    CliError::failed(format!("{}: {what}", shown(&file.value))).about(&file.source)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;

    fn named(path: &Path) -> Setting<PathBuf> {
        Setting::new(path.to_owned(), Source::flag("--x"))
    }

    #[test]
    fn what_is_wrong_is_said_of_the_file_and_its_source() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.pem");
        std::fs::write(&path, "nothing").unwrap();
        let check = |files: &TrustFiles, expected: &str| {
            let message = files.load().unwrap_err().message.replace(&format!("{}/", dir.path().display()), "");
            assert_eq!(message, expected);
        };
        let authority = TrustFiles { ca_file: Some(named(&path)), ..TrustFiles::default() };
        check(&authority, "flag --x: a.pem: it has no certificate in it; it has to be PEM");
        let missing = TrustFiles { ca_file: Some(named(&dir.path().join("b.pem"))), ..TrustFiles::default() };
        check(&missing, "flag --x: could not read b.pem: No such file or directory (os error 2)");
        let half = TrustFiles { client_cert: Some(named(&path)), ..TrustFiles::default() };
        check(&half, "the client certificate needs its key");
        let half = TrustFiles { client_key: Some(named(&path)), ..TrustFiles::default() };
        check(&half, "the client key needs its certificate");
    }

    #[test]
    fn plaintext_over_a_network_is_asked_for_twice() {
        let endpoint = |text: &str| Endpoint::new(text.parse().unwrap(), None, None);
        let once = TrustFiles::default();
        assert_eq!(once.check_exposure(&endpoint("localhost")).unwrap(), None);
        assert_eq!(once.check_exposure(&endpoint("a.example")).unwrap(), None);
        let refused = once.check_exposure(&endpoint("http://a.example")).unwrap_err();
        assert_eq!(refused.kind, crate::cli::error::Kind::NotAllowed);
        let twice = TrustFiles { insecure_remote: true, ..TrustFiles::default() };
        assert!(twice.check_exposure(&endpoint("http://a.example")).unwrap().unwrap().contains("a.example:5356"));
    }
}
