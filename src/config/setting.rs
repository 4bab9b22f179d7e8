//! A value and where it came from.

use std::{borrow::Cow, fmt};

/// Where a value came from, in the order of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line, by its name with the dashes.
    Flag(Cow<'static, str>),
    /// An environment variable, by its name.
    Environment(Cow<'static, str>),
    /// A configuration file, by its path.
    File(String),
    /// A profile, by its name.
    Profile(String),
    Default,
}

impl Source {
    pub fn flag(name: &'static str) -> Source {
        Source::Flag(Cow::Borrowed(name))
    }

    pub fn environment(name: &'static str) -> Source {
        Source::Environment(Cow::Borrowed(name))
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) => write!(f, "flag {name}"),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::File(path) => write!(f, "file {path}"),
            Source::Profile(name) => write!(f, "profile {name}"),
            Source::Default => f.write_str("default"),
        }
    }
}

/// A settled value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    pub value: T,
    pub source: Source,
}

impl<T> Setting<T> {
    pub fn new(value: T, source: Source) -> Setting<T> {
        Setting { value, source }
    }

    /// The first of the candidates that has a value; they are given in the order of precedence.
    pub fn first(candidates: impl IntoIterator<Item = (Option<T>, Source)>) -> Option<Setting<T>> {
        candidates.into_iter().find_map(|(value, source)| Some(Setting { value: value?, source }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_value_wins() {
        let settled = Setting::first([
            (None, Source::flag("--endpoint")),
            (Some(1), Source::environment("ENSIGN_ENDPOINT")),
            (Some(2), Source::Default),
        ]);
        assert_eq!(settled, Some(Setting::new(1, Source::environment("ENSIGN_ENDPOINT"))));
        assert_eq!(Source::Profile("dev".to_owned()).to_string(), "profile dev");
    }
}
