//! `ensign encryption root-key`: another root key, or another place for it.

use std::path::PathBuf;

use serde_json::json;

use crate::{
    cli::{
        Context, data_dir,
        error::{CliError, Result},
        node::{Place, RootKeyArgs, explain_root_key, key_in_file, passphrase_in_file},
        output::Detail,
        prompt,
    },
    engine::RootKey,
    model::Secret,
    server::{ChangeRootKeyError, NewRootKey, change_root_key},
    sys::{
        Entropy,
        files::{exists, write_private_file},
    },
};

/// The variable of a new passphrase.
const PASSPHRASE_VARIABLE: &str = "ENSIGN_NEW_ROOT_KEY_PASSPHRASE";

/// Change the root key of a data directory
///
/// Makes a new key, or takes the one that is given, and encrypts all data keys and signing keys under it, at once: an interruption
/// at any moment leaves the old key or the new one. Events are not touched. No server may use the directory meanwhile. Where the old
/// key is, the usual options say.
///
/// Copies of the directory from before need the old key; so after a revocation this makes them useless.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign encryption root-key /var/lib/ensign --to keyring
  $ ensign encryption root-key /var/lib/ensign --to passphrase
  $ ensign encryption root-key /var/lib/ensign --root-key-file old.key --to-file new.key")]
pub(super) struct Args {
    /// The data directory
    #[arg(value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,

    /// Where the new root key is kept
    #[arg(long, value_name = "SOURCE", required_unless_present_any = ["to_file", "to_passphrase_file"])]
    to: Option<Place>,

    /// Take the new root key from this file at every start from now on; it is made when it is not there
    #[arg(long, value_name = "FILE", conflicts_with = "to")]
    to_file: Option<PathBuf>,

    /// Make the new root key of the passphrase in this file (or in the variable `ENSIGN_NEW_ROOT_KEY_PASSPHRASE`)
    #[arg(long, value_name = "FILE", conflicts_with = "to_file")]
    to_passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    from: RootKeyArgs,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let dir = self.dir.clone();
        let about = |error: CliError| error.about(dir.display());
        let disk = data_dir::open(&dir).map_err(about)?;
        let from = self.from.options(context, None, true)?;
        let to = self.target(context)?;
        let new = to.source();
        let changed = context.block_on(async |context| {
            let outside = (&context.clock.clone(), &Entropy::real());
            change_root_key(&disk, outside, &from, to).await.map_err(|error| refused(&error))
        });
        let old = changed.map_err(about)?;
        if let Some(path) = &self.to_file {
            let path = path.display();
            context.output.note(&format!("the root key is the one in {path} now; without it nothing can be read"));
        }
        let fields = vec![
            ("directory", dir.display().to_string()),
            ("root key before", old.to_string()),
            ("root key now", new.to_string()),
        ];
        let value = json!({ "directory": dir.display().to_string(), "from": old.name(), "to": new.name() });
        context.output.detail(Detail { fields, value })
    }

    fn target(&self, context: &Context) -> Result<NewRootKey> {
        if let Some(path) = &self.to_file {
            if !exists(path) {
                let root = RootKey::generate(&Entropy::real());
                write_private_file(path, root.secret().expose()).map_err(|error| CliError::chain(&error))?;
                context.output.note(&format!("made a key in {}", path.display()));
            }
            return key_in_file(path).map(NewRootKey::Given);
        }
        if self.to_passphrase_file.is_some() && !matches!(self.to, None | Some(Place::Passphrase)) {
            return Err(CliError::usage("--to-passphrase-file is for a root key that is made of a passphrase")
                .hint("leave either it or --to away"));
        }
        match self.to {
            Some(Place::Keyring) => Ok(NewRootKey::Keyring),
            Some(Place::Directory) => Ok(NewRootKey::Directory),
            Some(Place::Passphrase) | None => self.passphrase(context).map(NewRootKey::Passphrase),
        }
    }

    fn passphrase(&self, context: &Context) -> Result<Secret> {
        let passphrase = match (&self.to_passphrase_file, context.environment.get(PASSPHRASE_VARIABLE)) {
            (Some(path), _) => passphrase_in_file(path).map_err(CliError::failed)?,
            (None, Some(text)) => Secret::new(text),
            (None, None) if context.may_prompt() => prompt::new_secret("a passphrase for the new root key")
                .map_err(|error| CliError::failed(error.to_string()))?,
            (None, None) => {
                return Err(CliError::usage("the new root key needs a passphrase")
                    .hint(format!("give it with --to-passphrase-file, or in {PASSPHRASE_VARIABLE}")));
            }
        };
        if passphrase.is_empty() { Err(CliError::usage("the new passphrase is empty")) } else { Ok(passphrase) }
    }
}

fn refused(error: &ChangeRootKeyError) -> CliError {
    match error {
        ChangeRootKeyError::Store(error) => data_dir::refused(error, "stop the server that uses it"),
        ChangeRootKeyError::RootKey(error) => explain_root_key(error),
        other => CliError::chain(other),
    }
}
