//! A value and where it came from.

use std::fmt;

/// Where a value came from, in the order of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag of the command line, by its name with the dashes.
    Flag(&'static str),
    /// An environment variable, by its name.
    Environment(&'static str),
    /// A profile, by its name.
    Profile(String),
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag(name) => write!(f, "flag {name}"),
            Source::Environment(name) => write!(f, "environment {name}"),
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
            (None, Source::Flag("--endpoint")),
            (Some(1), Source::Environment("ENSIGN_ENDPOINT")),
            (Some(2), Source::Default),
        ]);
        assert_eq!(settled, Some(Setting::new(1, Source::Environment("ENSIGN_ENDPOINT"))));
        assert_eq!(Source::Profile("dev".to_owned()).to_string(), "profile dev");
    }
}
