//! The process's environment variables, as a value.

use std::collections::BTreeMap;

/// Environment variables that are text and not empty.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

/// Shows the names alone: a variable may hold a secret.
impl std::fmt::Debug for Environment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.variables.keys()).finish()
    }
}

impl Environment {
    /// What the process was started with.
    pub fn current() -> Environment {
        let text = |value: std::ffi::OsString| value.into_string().ok();
        std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?))).collect()
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// A variable as a switch: `1`, `y`, `t`, `yes`, `true` and `on` in any case mean yes, everything else means no.
    pub fn switch(&self, name: &str) -> Option<bool> {
        let value = self.get(name)?.to_ascii_lowercase();
        Some(matches!(value.as_str(), "1" | "y" | "t" | "yes" | "true" | "on"))
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(variables: T) -> Environment {
        Environment { variables: variables.into_iter().filter(|(_, value)| !value.is_empty()).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_means_unset_and_switches_are_words() {
        let pairs = [("A", "x"), ("B", ""), ("C", "Yes"), ("D", "0")];
        let environment: Environment = pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        assert_eq!(environment.get("A"), Some("x"));
        assert_eq!(environment.get("B"), None);
        assert_eq!(environment.switch("C"), Some(true));
        assert_eq!(environment.switch("D"), Some(false));
        assert_eq!(environment.switch("E"), None);
        assert!(!format!("{environment:?}").contains("Yes"));
    }
}
