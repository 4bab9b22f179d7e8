//! How REST is served, as far as somebody may want it otherwise.

use std::{fmt, net::IpAddr, num::NonZeroU32, str::FromStr};

/// The origin that may call from a browser unless it is configured otherwise: a web application under development.
pub const DEFAULT_ORIGIN: &str = "http://localhost:3000";

/// How REST is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestOptions {
    /// The origins, besides the server's own, whose pages may call it from a browser.
    pub origins: Vec<String>,
    /// How many requests a client may make, and how many failed sign-ins an account takes; `None`: any number.
    pub rate_limit: Option<RateLimit>,
    /// Whom the server believes when it says for whom a request is. Nobody else's word counts.
    pub trusted_proxies: Vec<Network>,
}

/// Everybody may make requests, as many as one likes, from the pages of [`DEFAULT_ORIGIN`] too.
impl Default for RestOptions {
    fn default() -> RestOptions {
        RestOptions { origins: vec![DEFAULT_ORIGIN.to_owned()], rate_limit: None, trusted_proxies: Vec::new() }
    }
}

/// How many requests one address may make: a bucket of tokens that fills up again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateLimit {
    pub per_second: NonZeroU32,
    /// How many requests may come at once.
    pub burst: NonZeroU32,
}

/// Ten requests a second, and thirty at once.
impl Default for RateLimit {
    fn default() -> RateLimit {
        let number = |number| NonZeroU32::new(number).expect("it is not zero");
        RateLimit { per_second: number(10), burst: number(30) }
    }
}

/// Addresses that begin alike: one, or those of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// The text is no address or network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an address or a network; write one like 10.0.0.7 or 10.0.0.0/8")]
pub struct ParseNetworkError {
    text: String,
}

impl Network {
    /// Whether an address is one of these.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                network.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ParseNetworkError;

    fn from_str(text: &str) -> Result<Network, ParseNetworkError> {
        let error = || ParseNetworkError { text: text.to_owned() };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| error())?)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| error())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        if bits > all {
            return Err(error());
        }
        Ok(Network { address, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        let check = |network: &str, address: &str, expected: bool| {
            let network: Network = network.parse().unwrap();
            assert_eq!(network.contains(address.parse().unwrap()), expected, "{network} {address}");
        };
        check("10.0.0.7", "10.0.0.7", true);
        check("10.0.0.7", "10.0.0.8", false);
        check("10.0.0.0/8", "10.255.1.2", true);
        check("10.0.0.0/8", "11.0.0.0", false);
        check("10.0.0.0/8", "::ffff:10.1.2.3", true);
        check("0.0.0.0/0", "192.0.2.1", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::1", "::1", true);
        for bad in ["", "10.0.0", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/x", "localhost", "10.0.0.1/8/8"] {
            assert!(bad.parse::<Network>().is_err(), "{bad:?}");
        }
    }
}
