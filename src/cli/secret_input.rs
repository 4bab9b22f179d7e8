//! Where commands take passwords and tokens from: a file, a variable, the terminal, standard input; never the command
//! line, which other users of the machine can read.

use std::{
    io::{IsTerminal as _, Read as _},
    path::Path,
};

use super::{
    Context,
    error::{CliError, Result},
    prompt,
};
use crate::{model::Secret, sys::files::read_file};

/// A secret is far shorter.
const BYTES_MAX: u64 = 64 * 1024;

/// A secret that a command needs, and who may give it.
#[derive(Debug)]
pub(super) struct SecretInput<'a> {
    /// What a person is asked for.
    pub(super) what: &'a str,
    /// The flag that names a file, and what it says.
    pub(super) flag: &'static str,
    pub(super) file: Option<&'a Path>,
    /// The variable that holds it.
    pub(super) variable: Option<&'static str>,
    /// Whether it is a new one, which a person types twice.
    pub(super) is_new: bool,
}

impl SecretInput<'_> {
    /// Takes the secret from the first of its sources that there is. From standard input it takes one line, so that a
    /// command can take two secrets from there.
    pub(super) fn read(&self, context: &Context) -> Result<Secret> {
        let (what, flag) = (self.what, self.flag);
        let found = if let Some(path) = self.file {
            trimmed(&read_file(path, BYTES_MAX).map_err(|error| CliError::chain(&error))?)
        } else if let Some(text) = self.variable.and_then(|name| context.environment.get(name)) {
            Secret::new(text)
        } else if context.may_prompt() {
            let asked = if self.is_new { prompt::new_secret(what) } else { prompt::secret(what) };
            asked.map_err(|error| CliError::failed(format!("can't ask for {what}: {error}")))?
        } else if std::io::stdin().is_terminal() {
            return Err(CliError::usage(format!("{what} is missing, and --no-input forbids to ask for it"))
                .hint(format!("add {flag} FILE, or pass it on standard input")));
        } else {
            line(what)?
        };
        if found.is_empty() {
            return Err(CliError::usage(format!("{what} is missing"))
                .hint(format!("pass it on standard input, or with {flag} FILE")));
        }
        Ok(found)
    }
}

/// One line of standard input, byte by byte of its buffer, so that the next line stays there.
fn line(what: &str) -> Result<Secret> {
    let mut bytes = Vec::new();
    for byte in std::io::stdin().lock().bytes().take(usize::try_from(BYTES_MAX).unwrap_or(usize::MAX)) {
        match byte.map_err(|error| CliError::failed(format!("can't read {what} from standard input: {error}")))? {
            b'\n' => break,
            byte => bytes.push(byte),
        }
    }
    Ok(trimmed(&bytes))
}

/// Without the end of line that editors and `echo` add.
pub(super) fn trimmed(bytes: &[u8]) -> Secret {
    Secret::new(bytes.trim_ascii())
}

/// The token of a mail: the token itself, or the link that it is in.
pub(super) fn token_of(secret: &Secret) -> Secret {
    let Some(text) = secret.expose_str() else { return secret.clone() };
    let behind = text.rsplit_once("token=").map_or(text, |(_, token)| token);
    let token = behind.split(['&', '#', '?']).next().unwrap_or_default();
    let token = token.trim_end_matches('/');
    Secret::new(token.rsplit_once('/').map_or(token, |(_, last)| last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_of_lines_are_no_part_of_a_secret() {
        assert_eq!(trimmed(b"hush\r\n").expose(), b"hush");
    }

    #[test]
    fn tokens_are_found_in_links() {
        let check = |text: &str| assert_eq!(token_of(&Secret::new(text)).expose(), b"Abc_-9", "{text}");
        check("Abc_-9");
        check("https://ensign.example.com/verify?token=Abc_-9");
        check("https://ensign.example.com/verify?token=Abc_-9&org=x");
        check("http://localhost:5356/invites/Abc_-9/");
    }
}
