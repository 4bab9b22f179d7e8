//! Where a server is: its gRPC address, and the URL of its authentication service.

use std::{fmt, str::FromStr};

use super::Trust;

/// The port of a server when an address names none.
const PORT: u16 = 5356;

/// A host and a port as they were written, with what a scheme in front of them said about TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    host: String,
    port: u16,
    insecure: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address; write one like localhost:5356")]
pub struct ParseAddressError {
    text: String,
}

impl FromStr for Address {
    type Err = ParseAddressError;

    /// Reads `host:port`, `host`, `[::1]:5356`, and the same after `http://` (plaintext) or `https://` (TLS).
    fn from_str(text: &str) -> Result<Address, ParseAddressError> {
        let error = || ParseAddressError { text: text.to_owned() };
        let (insecure, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Some(true), rest),
            Some(("https", rest)) => (Some(false), rest),
            Some(_) => return Err(error()),
            None => (None, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = if let Some(inner) = rest.strip_prefix('[') {
            let (host, after) = inner.split_once(']').ok_or_else(error)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| error())?;
            match after.strip_prefix(':') {
                Some(port) => (format!("[{host}]"), Some(port)),
                None if after.is_empty() => (format!("[{host}]"), None),
                None => return Err(error()),
            }
        } else {
            match rest.split_once(':') {
                Some((host, port)) => (host.to_owned(), Some(port)),
                None => (rest.to_owned(), None),
            }
        };
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
        if host.is_empty() || !host.bytes().all(allowed) {
            return Err(error());
        }
        let port = match port {
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(error)?,
            None => PORT,
        };
        Ok(Address { host, port, insecure })
    }
}

impl Address {
    /// What a scheme in front of the address says about plaintext; none without a scheme.
    pub fn says_insecure(&self) -> Option<bool> {
        self.insecure
    }

    /// Whether this is this machine: there, plaintext is the default.
    pub fn is_loopback(&self) -> bool {
        let bare = self.host.trim_start_matches('[').trim_end_matches(']');
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

/// `host:port`, as the SDKs take it.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Everything that is needed to reach a server.
#[derive(Debug, Clone)]
pub struct Endpoint {
    address: Address,
    auth_url: String,
    insecure: bool,
    trust: Trust,
}

impl Endpoint {
    /// Fills in what was not said: plaintext on this machine and TLS elsewhere, and an authentication service on the
    /// server's own port.
    pub fn new(address: Address, auth_url: Option<String>, insecure: Option<bool>) -> Endpoint {
        let insecure = insecure.or(address.insecure).unwrap_or_else(|| address.is_loopback());
        let auth_url = auth_url.unwrap_or_else(|| {
            let scheme = if insecure { "http" } else { "https" };
            format!("{scheme}://{address}")
        });
        let auth_url = auth_url.trim_end_matches('/').to_owned();
        Endpoint { address, auth_url, insecure, trust: Trust::default() }
    }

    /// The same, with what is known about certificates besides what the machine knows.
    #[must_use]
    pub fn trusting(self, trust: Trust) -> Endpoint {
        Endpoint { trust, ..self }
    }

    pub(super) fn trust(&self) -> &Trust {
        &self.trust
    }

    /// Whether something is sent in plaintext over a network: to the server, or to its authentication service.
    pub fn is_exposed(&self) -> bool {
        let service = self.auth_url.strip_prefix("http://").map(|rest| rest.split('/').next().unwrap_or(rest));
        let is_remote = |host: &str| host.parse::<Address>().map_or(true, |address| !address.is_loopback());
        (self.insecure && !self.address.is_loopback()) || service.is_some_and(is_remote)
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// The base of the authentication service's paths, without a slash at its end.
    pub fn auth_url(&self) -> &str {
        &self.auth_url
    }

    /// Whether the connection is in plaintext.
    pub fn is_insecure(&self) -> bool {
        self.insecure
    }

    /// The address as a URL.
    pub(super) fn url(&self) -> String {
        let scheme = if self.insecure { "http" } else { "https" };
        format!("{scheme}://{}", self.address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, shown: Option<&str>) {
        assert_eq!(text.parse::<Address>().ok().map(|address| address.to_string()).as_deref(), shown, "{text:?}");
    }

    #[test]
    fn addresses() {
        check("localhost:5356", Some("localhost:5356"));
        check("localhost", Some("localhost:5356"));
        check("https://ensign.example.com:443/", Some("ensign.example.com:443"));
        check("[::1]:80", Some("[::1]:80"));
        check("[::1]", Some("[::1]:5356"));
        for bad in ["", ":5356", "a:b", "a:0", "a:70000", "ftp://a", "a b:1", "[::1", "[x]:1", "a:1/path", "a:1:2"] {
            check(bad, None);
        }
    }

    #[test]
    fn defaults_follow_the_address() {
        let endpoint = |text: &str| Endpoint::new(text.parse().unwrap(), None, None);
        assert_eq!(endpoint("localhost:5356").auth_url(), "http://localhost:5356");
        assert!(endpoint("127.0.0.1:5356").is_insecure());
        assert!(!endpoint("https://localhost:5356").is_insecure());
        assert_eq!(endpoint("ensign.example.com:443").auth_url(), "https://ensign.example.com:443");
        assert!(endpoint("http://ensign.example.com").is_insecure());
        let given = Endpoint::new("a:1".parse().unwrap(), Some("https://auth.example.com/".to_owned()), Some(true));
        assert_eq!((given.auth_url(), given.is_insecure()), ("https://auth.example.com", true));
    }

    #[test]
    fn plaintext_is_exposed_on_a_network() {
        let check = |address: &str, auth_url: Option<&str>, expected: bool| {
            let endpoint = Endpoint::new(address.parse().unwrap(), auth_url.map(str::to_owned), None);
            assert_eq!(endpoint.is_exposed(), expected, "{address} {auth_url:?}");
        };
        check("localhost:1", None, false);
        check("[::1]:1", None, false);
        check("ensign.example.com", None, false);
        check("http://ensign.example.com", None, true);
        check("localhost:1", Some("http://auth.example.com/x"), true);
        check("ensign.example.com", Some("http://127.0.0.1:1/x"), false);
        check("localhost:1", Some("http://127.0.0.1@example.com"), true);
    }
}
