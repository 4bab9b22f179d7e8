//! A certificate authority of one machine, for development: made once, kept, and good for local names alone.
//!
//! Its certificate says for which host names it may speak, so that whoever trusts it does not trust it with any other. (It
//! may speak for every address: not all clients understand that it might not.) It makes certificates for servers, and no
//! further authorities. A server's certificate is made anew at every start, and its key is never written.

use std::{fmt, net::IpAddr, path::Path, str::FromStr, time::Duration};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, NameConstraints, SanType, date_time_ymd,
};

use super::{TlsError, TlsIdentity, validity::Validity};
use crate::{
    model::{Secret, Time},
    sys::files::{FileError, PathDisplay, create_private_dir, read_file, write_file, write_private_file},
};

/// The file of the authority with its key.
const FILE: &str = "authority.pem";

/// The file of the certificate alone, for clients.
const CERTIFICATE_FILE: &str = "ca.pem";

const BYTES_MAX: u64 = 1024 * 1024;

/// What stands in front of the names in the authority's file.
const NAMES: &str = "Names: ";

/// How long an authority holds, and how long before its end the next one is made.
const AUTHORITY_HOLDS: Duration = Duration::from_hours(24 * 3650);
const AUTHORITY_SPARE: Duration = Duration::from_hours(24 * 365);

/// How long a server's certificate holds.
const SERVER_HOLDS: Duration = Duration::from_hours(24 * 60);

/// Clocks of clients differ.
const BACKDATED: Duration = Duration::from_hours(24);

const LOCALHOST: &str = "localhost";

/// A name that a server has: a host name, or an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LocalName {
    Host(String),
    Address(IpAddr),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither a host name nor an address")]
pub struct ParseNameError {
    text: String,
}

/// The authority could not be made, kept or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    #[error(transparent)]
    File(#[from] FileError),
    #[error("{path} is no certificate authority with its key; remove it, and another one is made")]
    Garbled { path: PathDisplay },
    #[error("a certificate could not be made")]
    Make {
        #[from]
        source: rcgen::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An authority with its key.
#[derive(Debug)]
pub struct LocalAuthority {
    certificate: String,
    key: Secret,
    names: Vec<LocalName>,
    validity: Validity,
}

impl LocalAuthority {
    /// Makes an authority that may speak for this machine's own names and for these.
    pub fn create(names: &[LocalName], now: Time) -> Result<LocalAuthority, AuthorityError> {
        let key = KeyPair::generate()?;
        let mut params = authority_params();
        hold(&mut params, now, -seconds(BACKDATED), seconds(AUTHORITY_HOLDS));
        let mut permitted = vec![GeneralSubtree::DnsName(LOCALHOST.to_owned())];
        permitted.extend(names.iter().filter_map(|name| match name {
            LocalName::Host(host) => Some(GeneralSubtree::DnsName(host.clone())),
            // gRPC's own TLS takes no certificate for an address from an authority that is constrained to addresses.
            LocalName::Address(_) => None,
        }));
        params.name_constraints =
            Some(NameConstraints { permitted_subtrees: permitted, excluded_subtrees: Vec::new() });
        let certificate = params.self_signed(&key)?;
        let validity = Validity::of(certificate.der()).ok_or(rcgen::Error::CouldNotParseCertificate)?;
        let key = Secret::new(key.serialize_pem());
        Ok(LocalAuthority { certificate: certificate.pem(), key, names: names.to_vec(), validity })
    }

    /// The authority that is kept in a directory. It is made when there is none, when its end is near, or when it may not
    /// speak for one of the names that are asked for; of the names that would only be nice to have, those that it may not
    /// speak for are left out. Also gives whether it was made.
    pub fn keep(
        dir: &Path,
        asked: &[LocalName],
        nice: &[LocalName],
        now: Time,
    ) -> Result<(LocalAuthority, bool), AuthorityError> {
        create_private_dir(dir)?;
        let path = dir.join(FILE);
        let kept = match read_file(&path, BYTES_MAX) {
            Ok(bytes) => {
                let garbled = || AuthorityError::Garbled { path: path.clone().into() };
                Some(LocalAuthority::from_text(&Secret::new(bytes)).ok_or_else(garbled)?)
            }
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        let good = kept.filter(|kept| {
            let lasts = kept.validity.ends > after(now, seconds(AUTHORITY_SPARE));
            lasts && asked.iter().all(|name| kept.may_name(name))
        });
        let made = good.is_none();
        let authority = if let Some(good) = good {
            good
        } else {
            let names: Vec<LocalName> = asked.iter().chain(nice).cloned().collect();
            let authority = LocalAuthority::create(&names, now)?;
            write_private_file(&path, authority.to_text().expose())?;
            authority
        };
        authority.write_certificate(&dir.join(CERTIFICATE_FILE))?;
        Ok((authority, made))
    }

    /// Writes the certificate where clients find it; one that is there already and the same stays.
    pub fn write_certificate(&self, path: &Path) -> Result<(), AuthorityError> {
        let same = read_file(path, BYTES_MAX).is_ok_and(|bytes| bytes == self.certificate.as_bytes());
        if !same {
            write_file(path, self.certificate.as_bytes())?;
        }
        Ok(())
    }

    /// The name of the certificate's file in the authority's directory.
    pub fn certificate_file() -> &'static str {
        CERTIFICATE_FILE
    }

    /// What clients have to trust, in PEM.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// A new certificate with a new key, for this machine and for those of the names that the authority may speak for.
    pub fn identity(&self, names: &[LocalName], now: Time) -> Result<TlsIdentity, AuthorityError> {
        let text = self.key.expose_str().expect("a key in PEM is text");
        let issuer = Issuer::new(authority_params(), KeyPair::from_pem(text)?);
        let own = [LOCALHOST.to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
        let mut params = CertificateParams::new(own)?;
        for name in names.iter().filter(|name| self.may_name(name)) {
            let name = match name {
                LocalName::Host(host) => SanType::DnsName(host.as_str().try_into()?),
                LocalName::Address(ip) => SanType::IpAddress(*ip),
            };
            if !params.subject_alt_names.contains(&name) {
                params.subject_alt_names.push(name);
            }
        }
        params.distinguished_name.push(DnType::CommonName, LOCALHOST);
        hold(&mut params, now, -seconds(BACKDATED), seconds(SERVER_HOLDS));
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &issuer)?;
        let secret = Secret::new(key.serialize_pem());
        Ok(TlsIdentity::from_pem(certificate.pem().as_bytes(), &secret, None, now)?)
    }

    /// How long a server may wait until it asks for its next certificate.
    pub fn renewal() -> Duration {
        SERVER_HOLDS / 2
    }

    fn may_name(&self, name: &LocalName) -> bool {
        let own = match name {
            LocalName::Host(host) => host == LOCALHOST,
            LocalName::Address(_) => true,
        };
        own || self.names.contains(name)
    }

    fn to_text(&self) -> Secret {
        let names: Vec<String> = self.names.iter().map(ToString::to_string).collect();
        let mut text = format!("{NAMES}{}\n{}", names.join(" "), self.certificate).into_bytes();
        text.extend(self.key.expose());
        Secret::new(text)
    }

    fn from_text(text: &Secret) -> Option<LocalAuthority> {
        use rustls::pki_types::{CertificateDer, pem::PemObject as _};

        let text = text.expose_str()?;
        let (first, pem) = text.split_once('\n')?;
        let names = first.strip_prefix(NAMES)?.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        let (certificate, key) = pem.split_at(pem.find("-----BEGIN PRIVATE KEY")?);
        KeyPair::from_pem(key).ok()?;
        let validity = Validity::of(&CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?)?;
        Some(LocalAuthority { certificate: certificate.to_owned(), key: Secret::new(key), names, validity })
    }
}

/// What all authorities have in common; certificates name their issuer by it.
fn authority_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::OrganizationName, "Ensign");
    params.distinguished_name.push(DnType::CommonName, "Ensign development authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn after(now: Time, seconds: i64) -> Time {
    Time::from_parts(now.seconds().saturating_add(seconds), 0)
}

/// Sets from when to when a certificate holds, in seconds from now.
fn hold(params: &mut CertificateParams, now: Time, from: i64, until: i64) {
    let since_epoch = |seconds| Duration::from_secs(u64::try_from(after(now, seconds).seconds()).unwrap_or(0));
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + since_epoch(from);
    params.not_after = epoch + since_epoch(until);
}

impl fmt::Display for LocalName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LocalName::Host(host) => f.write_str(host),
            LocalName::Address(ip) => ip.fmt(f),
        }
    }
}

impl FromStr for LocalName {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<LocalName, ParseNameError> {
        if let Ok(ip) = text.parse() {
            return Ok(LocalName::Address(ip));
        }
        let label = |label: &str| {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
            !label.is_empty() && label.len() <= 63 && label.bytes().all(allowed) && !label.starts_with('-')
        };
        // What consists of digits and points would be taken for an address by some.
        let is_host = text.len() <= 253 && text.split('.').all(label) && text.bytes().any(|b| b.is_ascii_alphabetic());
        if !is_host {
            return Err(ParseNameError { text: text.to_owned() });
        }
        Ok(LocalName::Host(text.to_ascii_lowercase()))
    }
}
