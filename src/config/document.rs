//! A configuration file: settings by name, as text that whoever knows the setting reads.

use serde_yaml::Value;

/// What a configuration file says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    settings: Vec<(String, Vec<String>)>,
}

/// The text is no configuration file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DocumentError {
    #[error("it is not YAML: {reason}")]
    NotYaml { reason: String },
    #[error("it has to be a list of settings with their values, like `addr: 0.0.0.0:5356`")]
    NotSettings,
    #[error("a name in it is not text: {name}")]
    NameNotText { name: String },
    #[error("{name} has a value that is neither text, a number, yes or no, nor a list of those")]
    Unreadable { name: String },
    #[error("{name} is said twice")]
    Twice { name: String },
}

impl Document {
    /// Reads YAML. A mapping within the mapping is a group: `tls: {cert: a}` is the same as `tls-cert: a`. Underscores in
    /// names are dashes; what has no value is not said.
    ///
    /// # Errors
    ///
    /// All that is wrong with the text; settings themselves are not known here.
    pub fn parse(text: &str) -> Result<Document, Vec<DocumentError>> {
        let value: Value =
            serde_yaml::from_str(text).map_err(|error| vec![DocumentError::NotYaml { reason: error.to_string() }])?;
        let mut document = Document::default();
        let mut errors = Vec::new();
        match value {
            Value::Null => {}
            Value::Mapping(_) => document.take("", &value, &mut errors),
            _ => errors.push(DocumentError::NotSettings),
        }
        if errors.is_empty() { Ok(document) } else { Err(errors) }
    }

    /// The settings in the order of the file. A list has several values, everything else one.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.settings.iter().map(|(name, values)| (name.as_str(), values.as_slice()))
    }

    pub fn names(&self, name: &str) -> bool {
        self.settings.iter().any(|(known, _)| known == name)
    }

    fn take(&mut self, name: &str, value: &Value, errors: &mut Vec<DocumentError>) {
        match value {
            Value::Null => {}
            Value::Mapping(group) => {
                for (key, value) in group {
                    match key.as_str() {
                        Some(key) => self.take(&join(name, key), value, errors),
                        None => errors.push(DocumentError::NameNotText { name: format!("{key:?}") }),
                    }
                }
            }
            Value::Sequence(list) => match list.iter().map(scalar).collect::<Option<Vec<_>>>() {
                Some(values) => self.put(name, values, errors),
                None => errors.push(DocumentError::Unreadable { name: name.to_owned() }),
            },
            value => match scalar(value) {
                Some(text) => self.put(name, vec![text], errors),
                None => errors.push(DocumentError::Unreadable { name: name.to_owned() }),
            },
        }
    }

    fn put(&mut self, name: &str, values: Vec<String>, errors: &mut Vec<DocumentError>) {
        if self.names(name) {
            errors.push(DocumentError::Twice { name: name.to_owned() });
            return;
        }
        self.settings.push((name.to_owned(), values));
    }
}

fn join(group: &str, name: &str) -> String {
    let name = name.replace('_', "-");
    if group.is_empty() { name } else { format!("{group}-{name}") }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(switch) => Some(switch.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &[&str])]) {
        let document = Document::parse(text).unwrap();
        let found: Vec<(&str, Vec<&str>)> =
            document.settings().map(|(name, values)| (name, values.iter().map(String::as_str).collect())).collect();
        let expected: Vec<(&str, Vec<&str>)> = expected.iter().map(|(name, values)| (*name, values.to_vec())).collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn groups_and_lists() {
        check("", &[]);
        check("# nothing\n", &[]);
        check("addr: 0.0.0.0:5356\nworkers: 4\n", &[("addr", &["0.0.0.0:5356"]), ("workers", &["4"])]);
        check("tls:\n  cert: a.pem\n  only: false\n", &[("tls-cert", &["a.pem"]), ("tls-only", &["false"])]);
        check("data_dir: /x\nready-file:\nname: ''\n", &[("data-dir", &["/x"]), ("name", &[""])]);
        check("tls-name: [a, b]\nempty: []\n", &[("tls-name", &["a", "b"]), ("empty", &[])]);
        check("{\"addr\": \"x\"}", &[("addr", &["x"])]);
    }

    #[test]
    fn everything_that_is_wrong_is_said() {
        let errors = |text: &str| Document::parse(text).unwrap_err();
        assert_eq!(errors("- a\n"), [DocumentError::NotSettings]);
        assert!(matches!(errors("a: [")[..], [DocumentError::NotYaml { .. }]));
        let text = "tls: {cert: a}\ntls-cert: b\n1: x\nlist: [[a], b]\n";
        let said: Vec<String> = errors(text).iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 3, "{said:?}");
        assert_eq!(said[0], "tls-cert is said twice");
        assert!(said[1].starts_with("a name in it is not text"), "{said:?}");
        assert!(said[2].starts_with("list has a value"), "{said:?}");
    }
}
