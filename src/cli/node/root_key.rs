//! Where the root key of a data directory comes from.

use std::{path::PathBuf, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        prompt,
    },
    config::Environment,
    credentials::SystemKeyring,
    engine::{KEY_BYTES, RootKey},
    model::Secret,
    server::{AskPassphrase, KeepSecrets, KeySafe, RootKeyError, RootKeyOptions, RootKeySource},
    sys::files::{Access, access, exists, read_file},
};

/// The variable of the key itself. There is no flag for it: whoever lists processes would see it.
pub(in crate::cli) const KEY_VARIABLE: &str = "ENSIGN_ROOT_KEY";

/// The variable of the passphrase itself.
const PASSPHRASE_VARIABLE: &str = "ENSIGN_ROOT_KEY_PASSPHRASE";

/// More than any file of a key or a passphrase has.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// Where the root key comes from. A data directory remembers what it was made with.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_field_names, reason = "they are the names of the flags")]
pub(in crate::cli) struct RootKeyArgs {
    /// Where the root key is kept; a data directory that was used before remembers it
    #[arg(long, env = "ENSIGN_ROOT_KEY_SOURCE", hide_env = true, value_name = "SOURCE")]
    root_key_source: Option<Place>,

    /// Take the root key from this file: 32 bytes, or their hex or base64 (or from the variable `ENSIGN_ROOT_KEY`)
    #[arg(long, env = "ENSIGN_ROOT_KEY_FILE", hide_env = true, value_name = "FILE")]
    root_key_file: Option<PathBuf>,

    /// Make the root key of the passphrase in this file (or in the variable `ENSIGN_ROOT_KEY_PASSPHRASE`)
    #[arg(long, env = "ENSIGN_ROOT_KEY_PASSPHRASE_FILE", hide_env = true, value_name = "FILE")]
    root_key_passphrase_file: Option<PathBuf>,
}

/// The places where a root key can be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(in crate::cli) enum Place {
    /// In the keyring of the operating system
    Keyring,
    /// Nowhere: it is made of a passphrase
    Passphrase,
    /// In a file in the data directory, beside what it protects
    Directory,
}

impl From<Place> for RootKeySource {
    fn from(place: Place) -> RootKeySource {
        match place {
            Place::Keyring => RootKeySource::Keyring,
            Place::Passphrase => RootKeySource::Passphrase,
            Place::Directory => RootKeySource::Directory,
        }
    }
}

impl RootKeyArgs {
    /// What is offered for a directory; `default` is for one that remembers nothing.
    pub(in crate::cli) fn options(
        &self,
        context: &Context,
        default: Option<RootKeySource>,
        allow_directory: bool,
    ) -> Result<RootKeyOptions> {
        let given = self.given(&context.environment)?;
        let passphrase = self.passphrase(context);
        let wanted = match self.root_key_source {
            Some(place) => Some(place.into()),
            None if self.says_passphrase(&context.environment) => Some(RootKeySource::Passphrase),
            None => None,
        };
        if given.is_some() && wanted.is_some() {
            return Err(CliError::usage("the root key is given, and another source for it is named").hint(format!(
                "leave one of --root-key-file, {KEY_VARIABLE} and the other settings of the root key away"
            )));
        }
        Ok(RootKeyOptions { given, wanted, default, passphrase, keyring: Some(keyring()), allow_directory })
    }

    fn given(&self, environment: &Environment) -> Result<Option<RootKey>> {
        let variable = environment.get(KEY_VARIABLE);
        match (&self.root_key_file, variable) {
            (Some(_), Some(_)) => {
                Err(CliError::usage(format!("there are two root keys: --root-key-file and {KEY_VARIABLE}")))
            }
            (Some(path), None) => key_in_file(path).map(Some),
            (None, Some(text)) => {
                let key = parse(text.as_bytes());
                key.map(Some).ok_or_else(|| CliError::usage(format!("{KEY_VARIABLE} is no key")).hint(WHAT_A_KEY_IS))
            }
            (None, None) => Ok(None),
        }
    }

    fn says_passphrase(&self, environment: &Environment) -> bool {
        self.root_key_passphrase_file.is_some() || environment.get(PASSPHRASE_VARIABLE).is_some()
    }

    fn passphrase(&self, context: &Context) -> Option<AskPassphrase> {
        if let Some(text) = context.environment.get(PASSPHRASE_VARIABLE) {
            let secret = Secret::new(text);
            return Some(AskPassphrase::new(move |_| Ok(secret.clone())));
        }
        if let Some(path) = self.root_key_passphrase_file.clone() {
            return Some(AskPassphrase::new(move |_| passphrase_in_file(&path)));
        }
        context.may_prompt().then(|| {
            AskPassphrase::new(|is_new| {
                let asked = if is_new {
                    prompt::new_secret("a passphrase for the root key")
                } else {
                    prompt::secret("passphrase of the root key")
                };
                asked.map_err(|error| error.to_string())
            })
        })
    }
}

const WHAT_A_KEY_IS: &str = "a root key has 32 bytes; as text they are 64 hex digits, or base64";

/// The key in a file, which is for its owner alone.
pub(in crate::cli) fn key_in_file(path: &std::path::Path) -> Result<RootKey> {
    let failed = |error: &dyn std::error::Error| CliError::chain(error);
    if !exists(path) {
        return Err(CliError::failed(format!("there is no root key in {}: the file is missing", path.display())).hint(
            format!(
                "restore it where something was stored under it; for a new data directory, \
                 `(umask 077; openssl rand -hex 32 > {})` makes one",
                path.display()
            ),
        ));
    }
    if let Access::Shared { mode } = access(path).map_err(|error| failed(&error))? {
        let message = format!("{} can be read by others: its mode is {mode:o}", path.display());
        return Err(
            CliError::failed(message).hint(format!("`chmod 600 {}` makes it its owner's alone", path.display()))
        );
    }
    let content = read_file(path, FILE_BYTES_MAX).map_err(|error| failed(&error))?;
    parse(&content).ok_or_else(|| CliError::failed(format!("{} is no key", path.display())).hint(WHAT_A_KEY_IS))
}

pub(in crate::cli) fn passphrase_in_file(path: &std::path::Path) -> std::result::Result<Secret, String> {
    if let Access::Shared { mode } = access(path).map_err(|error| error.to_string())? {
        let path = path.display();
        return Err(format!(
            "{path} can be read by others: its mode is {mode:o}; `chmod 600 {path}` makes it its owner's alone"
        ));
    }
    let content = read_file(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    Ok(Secret::new(content.trim_ascii_end().to_vec()))
}

/// Reads a key: its bytes, or their text.
fn parse(content: &[u8]) -> Option<RootKey> {
    if content.len() == KEY_BYTES {
        return RootKey::new(&Secret::new(content.to_vec()));
    }
    let text = content.trim_ascii();
    let bytes = if text.len() == 2 * KEY_BYTES {
        let digits = text.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
        digits.collect::<Option<Vec<u8>>>()?
    } else {
        STANDARD.decode(text).ok()?
    };
    RootKey::new(&Secret::new(bytes))
}

/// The operating system's keyring.
fn keyring() -> KeySafe {
    KeySafe::new(Keyring(Arc::new(SystemKeyring::system())))
}

#[derive(Debug)]
struct Keyring(Arc<SystemKeyring>);

impl KeepSecrets for Keyring {
    fn get(&self, account: &str) -> std::result::Result<Option<Secret>, String> {
        self.0.get(account).map_err(|error| CliError::chain(&error).message)
    }

    fn put(&self, account: &str, secret: &Secret) -> std::result::Result<(), String> {
        self.0.put(account, secret).map_err(|error| CliError::chain(&error).message)
    }

    fn remove(&self, account: &str) -> std::result::Result<(), String> {
        self.0.remove(account).map(drop).map_err(|error| CliError::chain(&error).message)
    }
}

/// Why the root key could not be had, with the way out.
pub(in crate::cli) fn explain_root_key(error: &RootKeyError) -> CliError {
    let chained = CliError::chain(error);
    match error {
        RootKeyError::OtherSource { remembered, .. } => {
            let how = match remembered {
                RootKeySource::Given => format!("give it with --root-key-file, or in {KEY_VARIABLE}"),
                RootKeySource::Keyring => "leave it to the keyring".to_owned(),
                RootKeySource::Passphrase => format!("give it with --root-key-passphrase-file, or in {PASSPHRASE_VARIABLE}"),
                RootKeySource::Directory => "leave it to the directory".to_owned(),
            };
            chained.hint(format!("{how}; `ensign encryption root-key` moves it to another place"))
        }
        RootKeyError::NoSource => chained.hint(format!(
            "give it with --root-key-file or in {KEY_VARIABLE}, or say --root-key-source keyring or passphrase"
        )),
        RootKeyError::NotGiven => chained.hint(format!("give it with --root-key-file, or in {KEY_VARIABLE}")),
        RootKeyError::DirectoryRefused => chained.hint(
            "`ensign encryption root-key` moves it elsewhere; --insecure-root-key-file takes it from there all the same",
        ),
        RootKeyError::Mismatch => chained.hint(
            "give the key or the passphrase that was set last; a copy of the directory takes the one of its time",
        ),
        RootKeyError::NoPassphrase => {
            chained.hint(format!("give it with --root-key-passphrase-file, or in {PASSPHRASE_VARIABLE}"))
        }
        _ => chained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_as_bytes_and_as_text() {
        let expected: Vec<u8> = (0..32).collect();
        let check = |content: &[u8]| assert_eq!(parse(content).unwrap().secret().expose(), expected);
        check(&expected);
        check(b"000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F\n");
        check(format!("{}\n", STANDARD.encode(&expected)).as_bytes());
        for bad in
            [&b""[..], b"secret", &expected[..31], b"zz0102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"]
        {
            assert!(parse(bad).is_none(), "{bad:?}");
        }
    }
}
