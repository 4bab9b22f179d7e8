//! The options of a server's REST side, which every command that runs one has.

use std::{num::NonZeroU32, str::FromStr, time::Duration};

use crate::server::{DEFAULT_ORIGIN, Network, RateLimit, RestOptions};

/// How REST is served.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "REST options")]
pub(in crate::cli) struct RestArgs {
    /// A web page's origin from which browsers may call this server; can be given more than once
    #[arg(
        long,
        env = "ENSIGN_ALLOW_ORIGIN",
        hide_env = true,
        value_name = "ORIGIN",
        value_delimiter = ',',
        default_value = DEFAULT_ORIGIN
    )]
    allow_origin: Vec<Origin>,

    /// How many REST requests a second one address may make, or `off`
    #[arg(long, env = "ENSIGN_RATE_LIMIT", hide_env = true, value_name = "NUMBER")]
    rate_limit: Option<Rate>,

    /// How many REST requests one address may make at once
    #[arg(long, env = "ENSIGN_RATE_BURST", hide_env = true, value_name = "NUMBER", default_value = "30")]
    rate_burst: NonZeroU32,

    /// After how many days tokens are signed with a new key; what the old one signed stays good until it ends
    #[arg(
        long,
        env = "ENSIGN_TOKEN_KEY_AGE",
        hide_env = true,
        value_name = "DAYS",
        default_value = "90",
        value_parser = clap::value_parser!(u32).range(1..=3650)
    )]
    token_key_age: u32,

    /// A proxy or network of proxies that is believed when it says whose request it passes on; can be given more than once
    #[arg(long, env = "ENSIGN_TRUSTED_PROXY", hide_env = true, value_name = "ADDRESS", value_delimiter = ',')]
    trusted_proxy: Vec<Network>,
}

/// Whether requests are counted when nobody says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Unless {
    /// They are limited, unless they may not be.
    Limited,
    /// They are not limited, unless they are to be.
    Unlimited,
}

/// Requests a second, or any number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rate {
    PerSecond(NonZeroU32),
    Off,
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        match text {
            "off" => Ok(Rate::Off),
            text => text.parse().map(Rate::PerSecond).map_err(|_| "write a number above zero, or off".to_owned()),
        }
    }
}

/// A scheme, a host and a port, as browsers send it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Origin(String);

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Origin, String> {
        let host = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or_default();
        let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', '*', ' ']) && host.is_ascii();
        if !is_host || host.chars().any(|letter| letter.is_ascii_uppercase()) {
            return Err("write it as browsers do, in lower case and without a path: https://app.example.com".to_owned());
        }
        Ok(Origin(text.to_owned()))
    }
}

impl RestArgs {
    pub(in crate::cli) fn token_key_age(&self) -> Duration {
        Duration::from_hours(24 * u64::from(self.token_key_age))
    }

    pub(in crate::cli) fn options(&self, unless: Unless) -> RestOptions {
        let per_second = match (self.rate_limit, unless) {
            (Some(Rate::PerSecond(number)), _) => Some(number),
            (Some(Rate::Off), _) | (None, Unless::Unlimited) => None,
            (None, Unless::Limited) => Some(RateLimit::default().per_second),
        };
        RestOptions {
            origins: self.allow_origin.iter().map(|origin| origin.0.clone()).collect(),
            rate_limit: per_second.map(|per_second| RateLimit { per_second, burst: self.rate_burst }),
            trusted_proxies: self.trusted_proxy.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        rest: RestArgs,
    }

    fn options(arguments: &[&str], unless: Unless) -> Option<RestOptions> {
        let arguments = std::iter::once("test").chain(arguments.iter().copied());
        Command::try_parse_from(arguments).ok().map(|command| command.rest.options(unless))
    }

    #[test]
    fn who_may_ask_how_often() {
        let limit = |arguments, unless| {
            let options: RestOptions = options(arguments, unless).unwrap();
            options.rate_limit.map(|limit| (limit.per_second.get(), limit.burst.get()))
        };
        assert_eq!(limit(&[], Unless::Unlimited), None);
        assert_eq!(limit(&[], Unless::Limited), Some((10, 30)));
        assert_eq!(limit(&["--rate-limit", "off"], Unless::Limited), None);
        assert_eq!(limit(&["--rate-limit", "5", "--rate-burst", "7"], Unless::Unlimited), Some((5, 7)));
        assert!(options(&["--rate-limit", "0"], Unless::Limited).is_none());
        assert!(options(&["--trusted-proxy", "10.0.0"], Unless::Limited).is_none());
        let trusted = options(&["--trusted-proxy", "10.0.0.0/8,::1"], Unless::Limited).unwrap().trusted_proxies;
        assert_eq!(trusted.iter().map(Network::to_string).collect::<Vec<_>>(), ["10.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn the_age_of_token_keys() {
        let age = |arguments: &[&str]| {
            let arguments = std::iter::once("test").chain(arguments.iter().copied());
            Command::try_parse_from(arguments).ok().map(|command| command.rest.token_key_age())
        };
        assert_eq!(age(&[]), Some(crate::server::TOKEN_KEY_AGE));
        assert_eq!(age(&["--token-key-age", "1"]), Some(Duration::from_hours(24)));
        assert_eq!((age(&["--token-key-age", "0"]), age(&["--token-key-age", "x"])), (None, None));
    }

    #[test]
    fn origins() {
        let origins = |arguments: &[&str]| options(arguments, Unless::Limited).map(|options| options.origins);
        assert_eq!(origins(&[]), Some(vec![DEFAULT_ORIGIN.to_owned()]));
        let two = ["--allow-origin", "https://a.example,http://b.example:8080"];
        assert_eq!(origins(&two), Some(vec!["https://a.example".to_owned(), "http://b.example:8080".to_owned()]));
        for bad in ["*", "a.example", "https://", "https://a.example/", "https://A.example", "ftp://a.example"] {
            assert_eq!(origins(&["--allow-origin", bad]), None, "{bad}");
        }
    }
}
