//! References: where a secret is that somebody else looks after.

use std::{fmt, path::PathBuf, process::Command, str::FromStr, sync::Arc};

use super::{SecretError, passphrase::without_line_break, sdk_file};
use crate::{model::Secret, sys::files::read_file};

/// The largest file a reference may name, in bytes.
pub(super) const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where a secret is, without being it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// `env://NAME`: an environment variable.
    Variable(String),
    /// `file://PATH`: a file that holds the secret, or a credential file of the SDKs.
    File(PathBuf),
    /// `cmd://COMMAND`: what a shell command prints.
    Command(String),
    /// `op://VAULT/ITEM/FIELD`: what 1Password's `op read` prints.
    OnePassword(String),
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a reference; write env://NAME, file:///PATH, cmd://COMMAND or op://VAULT/ITEM/FIELD")]
pub struct ParseReferenceError {
    text: String,
}

impl Reference {
    /// Follows the reference.
    pub fn resolve(&self) -> Result<Secret, SecretError> {
        let secret = match self {
            Reference::Variable(name) => variable(name)?,
            Reference::File(path) => {
                let bytes = read_file(path, FILE_BYTES_MAX)?;
                match sdk_file::parse(&bytes) {
                    Some(credentials) => credentials.client_secret,
                    None => without_line_break(bytes),
                }
            }
            Reference::Command(command) => output(command, Command::new("sh").arg("-c").arg(command))?,
            Reference::OnePassword(path) => {
                let text = format!("op read op://{path}");
                output(&text, Command::new("op").arg("read").arg(format!("op://{path}")))?
            }
        };
        match secret.expose_str() {
            Some("") => Err(SecretError::Empty { reference: self.to_string() }),
            Some(_) => Ok(secret),
            None => Err(SecretError::NotText { reference: self.to_string() }),
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the variable is named by the user; it is no setting of ours")]
fn variable(name: &str) -> Result<Secret, SecretError> {
    use std::os::unix::ffi::OsStringExt;

    match std::env::var_os(name) {
        Some(value) => Ok(Secret::new(value.into_vec())),
        None => Err(SecretError::NoVariable { name: name.to_owned() }),
    }
}

/// What a command prints; its standard error goes where ours goes, so that it can ask its user something.
fn output(text: &str, command: &mut Command) -> Result<Secret, SecretError> {
    let failed = |error| SecretError::CommandNotRun { command: text.to_owned(), source: Arc::new(error) };
    let output = command.stderr(std::process::Stdio::inherit()).output().map_err(failed)?;
    if !output.status.success() {
        return Err(SecretError::CommandFailed { command: text.to_owned(), what: output.status.to_string() });
    }
    Ok(without_line_break(output.stdout))
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Reference, ParseReferenceError> {
        let error = || ParseReferenceError { text: text.to_owned() };
        let (scheme, rest) = text.split_once("://").ok_or_else(error)?;
        if rest.is_empty() {
            return Err(error());
        }
        match scheme {
            "env" => Ok(Reference::Variable(rest.to_owned())),
            "file" => Ok(Reference::File(PathBuf::from(rest))),
            "cmd" => Ok(Reference::Command(rest.to_owned())),
            "op" => Ok(Reference::OnePassword(rest.to_owned())),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reference::Variable(name) => write!(f, "env://{name}"),
            Reference::File(path) => write!(f, "file://{}", path.display()),
            Reference::Command(command) => write!(f, "cmd://{command}"),
            Reference::OnePassword(path) => write!(f, "op://{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Secret, SecretError> {
        text.parse::<Reference>().unwrap().resolve()
    }

    #[test]
    fn texts_read_back() {
        for text in ["env://NAME", "file:///a/b", "file://relative", "cmd://pass show a | head -1", "op://v/i/f"] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), text);
        }
        for text in ["env://", "http://a", "keyring", ""] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }

    #[test]
    fn files_commands_and_variables() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        let write = |text: &str| crate::sys::files::write_private_file(&path, text.as_bytes()).unwrap();
        let reference = format!("file://{}", path.display());
        assert!(matches!(resolve(&reference), Err(SecretError::File { source }) if source.is_not_found()));
        write("hush\n");
        assert_eq!(resolve(&reference).unwrap().expose(), b"hush");
        write(r#"{"ClientID": "id", "ClientSecret": "hush-hush"}"#);
        assert_eq!(resolve(&reference).unwrap().expose(), b"hush-hush");
        write("\n");
        assert!(matches!(resolve(&reference), Err(SecretError::Empty { .. })));

        assert_eq!(resolve("cmd://printf '%s\\n' hush").unwrap().expose(), b"hush");
        assert!(matches!(resolve("cmd://exit 3"), Err(SecretError::CommandFailed { .. })));
        assert!(matches!(resolve("cmd://printf '\\377'"), Err(SecretError::NotText { .. })));
        let unset = "env://ENSIGN_TEST_NEVER_SET";
        assert!(matches!(resolve(unset), Err(SecretError::NoVariable { .. })));
        assert!(!resolve("env://PATH").unwrap().is_empty());
    }
}
