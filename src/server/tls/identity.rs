//! What a server shows to its clients: a chain of certificates and the key to it, read from PEM.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{VerifierBuilderError, WebPkiClientVerifier},
};

use super::validity::Validity;
use crate::{
    model::{Secret, Time},
    sys::files::{self, Access, FileError, PathDisplay, read_file},
};

/// The largest PEM file that is read.
const BYTES_MAX: u64 = 1024 * 1024;

/// The permissions of somebody who is neither the file's owner nor in its group.
const OTHERS: u32 = 0o007;

const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// What is wrong with certificates or a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{what} has no certificate in it; it has to be PEM")]
    NoCertificate { what: String },
    #[error("{what} has no private key in it; it has to be PEM, and not encrypted")]
    NoKey { what: String },
    #[error("everybody on the machine may use the private key in {path}, whose permissions are {mode:o}")]
    OpenKey { path: PathDisplay, mode: u32 },
    #[error("the certificate in {what} ended on {ended}")]
    Ended { what: String, ended: Time },
    #[error("the certificate in {what} does not hold before {begins}")]
    NotYet { what: String, begins: Time },
    #[error("the certificate in {what} can't be used")]
    Unusable {
        what: String,
        #[source]
        source: rustls::Error,
    },
    #[error("the certificates in {what} can't verify clients")]
    ClientRoots {
        what: String,
        #[source]
        source: VerifierBuilderError,
    },
}

/// The files of an identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The server's certificate, and those between it and the authority.
    pub certificate: PathBuf,
    pub key: PathBuf,
    /// The authorities of clients, which have to show a certificate if this is given.
    pub client_authorities: Option<PathBuf>,
}

/// A chain of certificates with its key, ready to be shown. Cheap to clone.
#[derive(Clone)]
pub struct TlsIdentity {
    config: Arc<ServerConfig>,
    ends: Time,
    asks_clients: bool,
}

/// Shows neither certificates nor the key.
impl fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsIdentity").field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl TlsFiles {
    /// Reads the files and sees that they belong together and hold at this time.
    ///
    /// # Errors
    ///
    /// What is wrong with them, and with which. A key that everybody may read is refused; one that its group may read is
    /// logged.
    pub fn load(&self, now: Time) -> Result<TlsIdentity, TlsError> {
        let chain = read_file(&self.certificate, BYTES_MAX)?;
        match files::access(&self.key)? {
            Access::Shared { mode } if mode & OTHERS != 0 => {
                return Err(TlsError::OpenKey { path: self.key.clone().into(), mode });
            }
            Access::Shared { mode } => {
                let mode = format!("{mode:o}");
                tracing::warn!(path = %self.key.display(), mode, "the group of the TLS key's file may use it, too");
            }
            Access::Private => {}
        }
        let key = Secret::new(read_file(&self.key, BYTES_MAX)?);
        let roots =
            self.client_authorities.as_deref().map(|path| Ok::<_, TlsError>((path, read_file(path, BYTES_MAX)?)));
        let roots = roots.transpose()?;
        let source = Source { chain: &shown(&self.certificate), key: &shown(&self.key) };
        let roots = roots.as_ref().map(|(path, pem)| (shown(path), pem.as_slice()));
        source.identity(&chain, &key, roots.as_ref().map(|(what, pem)| (what.as_str(), *pem)), now)
    }
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

impl TlsIdentity {
    /// Reads a chain, its key, and the authorities of clients, if they have to show a certificate, all in PEM.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn from_pem(
        chain: &[u8],
        key: &Secret,
        client_authorities: Option<&[u8]>,
        now: Time,
    ) -> Result<TlsIdentity, TlsError> {
        let source = Source { chain: "the certificate", key: "the key" };
        source.identity(chain, key, client_authorities.map(|pem| ("the authorities of clients", pem)), now)
    }

    /// When the certificate stops to hold.
    pub fn ends(&self) -> Time {
        self.ends
    }

    pub(super) fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.config.clone()
    }
}

/// Where things are from, for messages.
struct Source<'a> {
    chain: &'a str,
    key: &'a str,
}

impl Source<'_> {
    fn identity(
        &self,
        chain: &[u8],
        key: &Secret,
        client_authorities: Option<(&str, &[u8])>,
        now: Time,
    ) -> Result<TlsIdentity, TlsError> {
        let what = || self.chain.to_owned();
        let chain = certificates(self.chain, chain)?;
        let key =
            PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| TlsError::NoKey { what: self.key.to_owned() })?;
        let first = chain.first().and_then(|first| Validity::of(first));
        let validity = first.ok_or_else(|| TlsError::NoCertificate { what: what() })?;
        if now > validity.ends {
            return Err(TlsError::Ended { what: what(), ended: validity.ends });
        }
        if now < validity.begins {
            return Err(TlsError::NotYet { what: what(), begins: validity.begins });
        }
        let unusable = |source| TlsError::Unusable { what: what(), source };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let builder = builder.map_err(unusable)?;
        let builder = match client_authorities {
            None => builder.with_no_client_auth(),
            Some((what, pem)) => {
                let mut roots = RootCertStore::empty();
                for root in certificates(what, pem)? {
                    roots.add(root).map_err(|source| TlsError::Unusable { what: what.to_owned(), source })?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                let refused = |source| TlsError::ClientRoots { what: what.to_owned(), source };
                builder.with_client_cert_verifier(verifier.map_err(refused)?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(unusable)?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(TlsIdentity { config: Arc::new(config), ends: validity.ends, asks_clients: client_authorities.is_some() })
    }
}

fn certificates(what: &str, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(TlsError::NoCertificate { what: what.to_owned() }),
    }
}
