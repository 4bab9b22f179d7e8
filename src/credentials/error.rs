//! What can go wrong, each with what helps.

use std::{error::Error, sync::Arc};

use super::ParseReferenceError;
use crate::{
    model::TopicKeyId,
    sys::files::{FileError, PathDisplay},
};

type Cause = Arc<dyn Error + Send + Sync>;

/// Why profiles could not be read or changed. What is on the disk stays as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileError {
    #[error(transparent)]
    File {
        #[from]
        source: FileError,
    },
    /// The file is there and is not what it should be: not text, not YAML, or with an unknown key.
    #[error("the profile file {path} cannot be understood: {what}")]
    Garbled { path: PathDisplay, what: String },
    #[error("the profile file {path} has version {version}, which a newer ensign wrote")]
    TooNew { path: PathDisplay, version: u32 },
    #[error("there is no profile {name:?}")]
    NotFound { name: String },
    #[error("there is a profile {name:?} already")]
    Exists { name: String },
    #[error("{name:?} cannot be a profile's name")]
    BadName { name: String },
    #[error("no profile was selected before this one")]
    NoPrevious,
    #[error("this machine's user has no home directory to keep profiles in")]
    NoHome,
    #[error("the secret of the profile could not be removed")]
    Secret {
        #[source]
        source: SecretError,
    },
}

impl ProfileError {
    /// What helps, in one line.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            ProfileError::File { .. } => return None,
            ProfileError::Garbled { path, .. } => {
                format!("nothing was changed; correct {path}, or move it away and sign in again with `ensign login`")
            }
            ProfileError::TooNew { .. } => "use the newer ensign, or another ENSIGN_CONFIG_DIR".to_owned(),
            ProfileError::NotFound { .. } => "`ensign profile list` shows what there is".to_owned(),
            ProfileError::Exists { .. } => "choose another name, or remove it with `ensign profile remove`".to_owned(),
            ProfileError::BadName { .. } => {
                "use letters, digits, `.`, `-` and `_`, and begin with a letter or digit".to_owned()
            }
            ProfileError::NoPrevious => "choose one by name: `ensign profile use NAME`".to_owned(),
            ProfileError::NoHome => "set ENSIGN_CONFIG_DIR".to_owned(),
            ProfileError::Secret { source } => return source.hint(),
        })
    }
}

/// Why a secret could not be stored, found or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// This machine has no keyring, or this session cannot reach it.
    #[error("this machine has no keyring that ensign can use")]
    NoKeyring {
        #[source]
        source: Cause,
    },
    /// The keyring is there and closed, and it was not opened; or it has no default collection, which Secret Service
    /// reports alike.
    #[error("the keyring is locked or not set up, and was not unlocked")]
    KeyringLocked {
        #[source]
        source: Cause,
    },
    #[error("the keyring did not answer")]
    KeyringSilent,
    #[error("the keyring failed")]
    KeyringFailed {
        #[source]
        source: Cause,
    },
    /// The place that the profile names does not have its secret.
    #[error("{place} has no secret for {account}")]
    Missing { place: &'static str, account: String },
    #[error("the profile names no secret")]
    NotStored,
    #[error("the vault needs its passphrase")]
    NoPassphrase,
    #[error("the passphrase could not be read")]
    PassphraseUnread {
        #[source]
        source: Cause,
    },
    #[error("a passphrase must not be empty")]
    EmptyPassphrase,
    #[error("wrong passphrase for the vault {path}")]
    WrongPassphrase { path: PathDisplay },
    #[error("the vault {path} is damaged: {what}")]
    VaultDamaged { path: PathDisplay, what: String },
    #[error("the vault {path} has version {version}, which a newer ensign wrote")]
    VaultTooNew { path: PathDisplay, version: u32 },
    #[error("the file of unencrypted secrets {path} is damaged: {what}")]
    FileDamaged { path: PathDisplay, what: String },
    #[error("{path} holds secrets and can be read by others (its mode is {mode:03o})")]
    Exposed { path: PathDisplay, mode: u32 },
    #[error(transparent)]
    File {
        #[from]
        source: FileError,
    },
    #[error(transparent)]
    Reference {
        #[from]
        source: ParseReferenceError,
    },
    #[error("the environment variable {name} is not set")]
    NoVariable { name: String },
    #[error("the command {command:?} could not be run")]
    CommandNotRun {
        command: String,
        #[source]
        source: Cause,
    },
    #[error("the command {command:?} failed: {what}")]
    CommandFailed { command: String, what: String },
    #[error("{path} is not a credential file: it needs the texts ClientID and ClientSecret")]
    NotCredentials { path: PathDisplay },
    #[error("{reference} gives an empty secret")]
    Empty { reference: String },
    #[error("{reference} gives something that is not text")]
    NotText { reference: String },
    #[error("the list of topic keys {path} is damaged: {what}")]
    TopicKeyListDamaged { path: PathDisplay, what: String },
    #[error("there is no topic key {id} here")]
    TopicKeyUnknown { id: TopicKeyId },
    #[error("there is another topic key {id} here already")]
    TopicKeyConflict { id: TopicKeyId },
    #[error("what {place} has for topic key {id} is no key")]
    TopicKeyDamaged { id: TopicKeyId, place: &'static str },
    #[error("topic key {id} does not have 32 bytes")]
    TopicKeyLength { id: TopicKeyId },
}

impl SecretError {
    /// What helps, in one line.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            SecretError::NoKeyring { .. } => {
                "store the secret in the encrypted vault instead, with `--storage vault`, \
                 or set ENSIGN_CLIENT_ID and ENSIGN_CLIENT_SECRET and store nothing"
                    .to_owned()
            }
            SecretError::KeyringLocked { .. } => {
                "unlock the keyring of your desktop session and try again, or name another place with `--storage`; \
                 nothing was lost"
                    .to_owned()
            }
            SecretError::KeyringSilent => "look for a window that asks to unlock the keyring".to_owned(),
            SecretError::Missing { .. } | SecretError::NotStored => "sign in again with `ensign login`".to_owned(),
            SecretError::NoPassphrase => "set ENSIGN_VAULT_PASSPHRASE, or run this on a terminal".to_owned(),
            SecretError::WrongPassphrase { .. } => "nothing was changed; try again".to_owned(),
            SecretError::VaultDamaged { path, .. } | SecretError::FileDamaged { path, .. } => {
                format!("nothing was changed; restore {path} from a copy, or move it away and sign in again")
            }
            SecretError::VaultTooNew { .. } => "use the newer ensign, or another ENSIGN_CONFIG_DIR".to_owned(),
            SecretError::Exposed { path, .. } => format!("chmod 600 {path}"),
            SecretError::NoVariable { name } => format!("export {name}=…"),
            SecretError::TopicKeyListDamaged { path, .. } => format!("nothing was changed; correct {path}"),
            SecretError::TopicKeyUnknown { .. } => "`ensign encryption topic-key list` shows what there is".to_owned(),
            SecretError::TopicKeyConflict { .. } => {
                "nothing was changed; one of the two was not made by ensign, or was changed".to_owned()
            }
            SecretError::TopicKeyDamaged { .. } => {
                "import the key again from where it was exported to, once it is removed here".to_owned()
            }
            SecretError::KeyringFailed { .. }
            | SecretError::PassphraseUnread { .. }
            | SecretError::EmptyPassphrase
            | SecretError::File { .. }
            | SecretError::Reference { .. }
            | SecretError::CommandNotRun { .. }
            | SecretError::CommandFailed { .. }
            | SecretError::NotCredentials { .. }
            | SecretError::Empty { .. }
            | SecretError::NotText { .. }
            | SecretError::TopicKeyLength { .. } => return None,
        })
    }
}
