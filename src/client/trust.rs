//! Whom a client trusts, what it shows of itself, and what is wrong when a server and a client can't agree on TLS.
//!
//! A client trusts the machine's authorities, and one more if it is given. There is no way to trust everybody.

use std::{error::Error, fmt, io, sync::Arc};

use rustls::{
    CertificateError,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

use crate::model::Secret;

/// What a client knows about certificates besides what its machine does. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    authority: Option<Arc<[u8]>>,
    identity: Option<ClientIdentity>,
}

/// A client's own certificate and the key to it.
#[derive(Debug, Clone)]
struct ClientIdentity {
    certificate: Arc<[u8]>,
    key: Secret,
}

/// What was given is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    #[error("it has no certificate in it; it has to be PEM")]
    NoCertificate,
    #[error("it has no private key in it; it has to be PEM, and not encrypted")]
    NoKey,
}

/// Why a server and a client can't agree on TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsProblem {
    /// Nobody who is trusted vouches for the server.
    UnknownAuthority,
    /// The server is vouched for under other names.
    OtherName {
        names: Vec<String>,
    },
    Ended,
    NotYet,
    /// The server's certificate is bad in some other way.
    Certificate(String),
    /// The server asks for a certificate, and there is none.
    ClientCertificateNeeded,
    /// The server does not accept the certificate that it was shown.
    ClientCertificateRefused,
    ServerSpeaksPlaintext,
    ServerSpeaksTls,
}

impl fmt::Display for TlsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TlsProblem::UnknownAuthority => {
                f.write_str("its certificate is from an authority that is not trusted here")
            }
            TlsProblem::OtherName { names } if names.is_empty() => f.write_str("its certificate is for another name"),
            TlsProblem::OtherName { names } => write!(f, "its certificate is for {}", names.join(", ")),
            TlsProblem::Ended => f.write_str("its certificate has ended"),
            TlsProblem::NotYet => f.write_str("its certificate does not hold yet, if the clock here is right"),
            TlsProblem::Certificate(what) => write!(f, "its certificate is no good: {what}"),
            TlsProblem::ClientCertificateNeeded => f.write_str("it asks for a client certificate"),
            TlsProblem::ClientCertificateRefused => f.write_str("it does not accept the client certificate"),
            TlsProblem::ServerSpeaksPlaintext => f.write_str("it speaks plaintext there, and not TLS"),
            TlsProblem::ServerSpeaksTls => f.write_str("it speaks TLS only, and not plaintext"),
        }
    }
}

impl Trust {
    /// Trusts one more authority, in PEM.
    ///
    /// # Errors
    ///
    /// When there is no certificate in it.
    pub fn with_authority(self, pem: &[u8]) -> Result<Trust, TrustError> {
        check_certificates(pem)?;
        Ok(Trust { authority: Some(pem.into()), ..self })
    }

    /// Shows this certificate to servers that ask for one; both are PEM.
    ///
    /// # Errors
    ///
    /// When the one is no certificate, or the other no key.
    pub fn with_identity(self, certificate: &[u8], key: Secret) -> Result<Trust, TrustError> {
        check_certificates(certificate)?;
        PrivateKeyDer::from_pem_slice(key.expose()).map_err(|_| TrustError::NoKey)?;
        Ok(Trust { identity: Some(ClientIdentity { certificate: certificate.into(), key }), ..self })
    }

    /// For gRPC. Without `machine` the machine's authorities are not trusted: there may be none.
    pub(super) fn grpc(&self, machine: bool) -> ClientTlsConfig {
        let mut config = ClientTlsConfig::new();
        if machine {
            config = config.with_enabled_roots();
        }
        if let Some(authority) = &self.authority {
            config = config.ca_certificate(Certificate::from_pem(authority));
        }
        if let Some(identity) = &self.identity {
            config = config.identity(Identity::from_pem(&identity.certificate, identity.key.expose()));
        }
        config
    }

    pub(super) fn has_authority(&self) -> bool {
        self.authority.is_some()
    }

    /// For REST.
    pub(super) fn rest(&self, mut builder: reqwest::ClientBuilder) -> reqwest::Result<reqwest::ClientBuilder> {
        if let Some(authority) = &self.authority {
            builder = builder.tls_certs_merge(reqwest::Certificate::from_pem_bundle(authority)?);
        }
        if let Some(identity) = &self.identity {
            let both = Secret::new([&identity.certificate[..], b"\n", identity.key.expose()].concat());
            builder = builder.identity(reqwest::Identity::from_pem(both.expose())?);
        }
        Ok(builder)
    }
}

fn check_certificates(pem: &[u8]) -> Result<(), TrustError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    if found.is_ok_and(|found| !found.is_empty()) { Ok(()) } else { Err(TrustError::NoCertificate) }
}

/// Finds in an error and its causes what is wrong with TLS; nothing, when it is something else.
pub(super) fn tls_problem(error: &(dyn Error + 'static)) -> Option<TlsProblem> {
    let mut next = Some(error);
    while let Some(error) = next {
        // What an I/O error wraps is not among its causes.
        let wrapped = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let wrapped = wrapped.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(problem) = wrapped.or_else(|| error.downcast_ref()).and_then(of_tls).or_else(|| of_text(error)) {
            return Some(problem);
        }
        next = error.source();
    }
    None
}

fn of_tls(error: &rustls::Error) -> Option<TlsProblem> {
    match error {
        rustls::Error::InvalidCertificate(error) => Some(of_certificate(error)),
        rustls::Error::InvalidMessage(_) => Some(TlsProblem::ServerSpeaksPlaintext),
        _ => None,
    }
}

fn of_certificate(error: &CertificateError) -> TlsProblem {
    match error {
        // The signature is bad when another authority of the same name is trusted.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsProblem::UnknownAuthority,
        CertificateError::NotValidForName => TlsProblem::OtherName { names: Vec::new() },
        CertificateError::NotValidForNameContext { presented, .. } => {
            TlsProblem::OtherName { names: presented.iter().map(|name| plain_name(name)).collect() }
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => TlsProblem::Ended,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsProblem::NotYet,
        other => TlsProblem::Certificate(other.to_string()),
    }
}

/// A name without the kind that is written around it: `DnsName("localhost")`.
fn plain_name(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(name).trim_matches('"').to_owned()
}

/// What HTTP/2 tells of an error is text alone.
fn of_text(error: &(dyn Error + 'static)) -> Option<TlsProblem> {
    let text = error.to_string();
    if text.contains("received fatal alert: CertificateRequired") {
        return Some(TlsProblem::ClientCertificateNeeded);
    }
    let refusals = ["BadCertificate", "UnknownCA", "CertificateUnknown", "CertificateExpired", "DecryptError"];
    if refusals.iter().any(|alert| text.contains(&format!("received fatal alert: {alert}"))) {
        return Some(TlsProblem::ClientCertificateRefused);
    }
    text.contains("security properties do not meet minimum requirements").then_some(TlsProblem::ServerSpeaksTls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_found_where_they_are_wrapped() {
        let check = |error: rustls::Error, expected: Option<TlsProblem>| {
            assert_eq!(tls_problem(&error), expected);
            assert_eq!(tls_problem(&io::Error::other(error)), expected);
        };
        let invalid = rustls::Error::InvalidCertificate;
        check(invalid(CertificateError::UnknownIssuer), Some(TlsProblem::UnknownAuthority));
        check(invalid(CertificateError::Expired), Some(TlsProblem::Ended));
        check(invalid(CertificateError::NotValidYet), Some(TlsProblem::NotYet));
        let alert = rustls::Error::AlertReceived;
        check(alert(rustls::AlertDescription::CertificateRequired), Some(TlsProblem::ClientCertificateNeeded));
        check(alert(rustls::AlertDescription::UnknownCA), Some(TlsProblem::ClientCertificateRefused));
        check(rustls::Error::HandshakeNotComplete, None);
        assert_eq!(tls_problem(&io::Error::other("connection refused")), None);
        let goaway = io::Error::other("x: security properties do not meet minimum requirements (b\"\")");
        assert_eq!(tls_problem(&goaway), Some(TlsProblem::ServerSpeaksTls));
        assert_eq!(plain_name("DnsName(\"localhost\")"), "localhost");
        assert_eq!(plain_name("IpAddress(127.0.0.1)"), "127.0.0.1");
    }

    #[test]
    fn what_is_no_certificate_is_refused() {
        assert_eq!(Trust::default().with_authority(b"x").unwrap_err(), TrustError::NoCertificate);
        let garbage = b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n";
        assert_eq!(Trust::default().with_authority(garbage).unwrap_err(), TrustError::NoCertificate);
    }
}
