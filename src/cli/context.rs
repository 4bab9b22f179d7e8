//! What every command has at hand: settings, output, a clock, a runtime.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use super::{
    error::{CliError, Result},
    output::Output,
    prompt,
    target::Target,
};
use crate::{
    client::Client,
    config::Environment,
    credentials::{self, Credentials, Passphrase, ProfileError, Purpose, SecretError},
    model::Secret,
    sys::Clock,
};

#[derive(Debug)]
pub(super) struct Context {
    pub(super) environment: Environment,
    pub(super) globals: Globals,
    pub(super) output: Output,
    pub(super) clock: Clock,
}

/// What the global flags say, or else their variables.
#[derive(Debug, Clone, Default)]
pub(super) struct Globals {
    pub(super) profile: Option<Said>,
    pub(super) endpoint: Option<Said>,
    pub(super) project: Option<Said>,
    pub(super) ca_file: Option<Said>,
    pub(super) client_cert: Option<Said>,
    pub(super) client_key: Option<Said>,
    pub(super) no_input: bool,
}

/// The value of a global flag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) text: String,
    /// Whether it stood on the command line itself, and not in the flag's variable.
    pub(super) typed: bool,
}

impl Said {
    /// What was said; a variable that is set to nothing says nothing.
    pub(super) fn new(text: Option<String>, typed: bool) -> Option<Said> {
        text.filter(|text| !text.is_empty()).map(|text| Said { text, typed })
    }
}

impl Context {
    /// Whether a person is there who can be asked.
    pub(super) fn may_prompt(&self) -> bool {
        !self.globals.no_input && io::stdin().is_terminal()
    }

    /// The profiles and secrets of this user.
    pub(super) fn credentials(&self) -> Result<Credentials> {
        let dir = match self.environment.get("ENSIGN_CONFIG_DIR") {
            Some(dir) => PathBuf::from(dir),
            None => credentials::default_dir()?,
        };
        Ok(Credentials::at(dir, self.passphrase()))
    }

    /// Where the vault's passphrase would come from.
    fn passphrase(&self) -> Passphrase {
        if let Some(text) = self.environment.get("ENSIGN_VAULT_PASSPHRASE") {
            return Passphrase::Given(Secret::new(text));
        }
        if let Some(path) = self.environment.get("ENSIGN_VAULT_PASSPHRASE_FILE") {
            return Passphrase::File(PathBuf::from(path));
        }
        if !self.may_prompt() {
            return Passphrase::Unavailable;
        }
        Passphrase::ask(|purpose| match purpose {
            Purpose::Open => prompt::secret("passphrase of the vault"),
            Purpose::Create => prompt::new_secret("a passphrase for the new vault"),
        })
    }

    /// Which server, as whom.
    pub(super) fn target(&self) -> Result<Target> {
        Target::settle(&self.globals, &self.environment, &self.credentials()?)
    }

    /// Signs in to the server.
    pub(super) async fn connect(&self) -> Result<Client> {
        let target = self.target()?;
        let secret = target.credentials(&self.environment, &self.credentials()?)?;
        let client = Client::connect(target.endpoint()?, secret, self.clock.clone()).await?;
        target.check_project(&client.claims().await?)?;
        Ok(client)
    }

    /// Runs a command's asynchronous part, on this thread.
    pub(super) fn block_on<T>(&mut self, run: impl AsyncFnOnce(&mut Context) -> Result<T>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::failed(format!("can't start: {error}")))?;
        runtime.block_on(run(self))
    }
}

impl From<ProfileError> for CliError {
    fn from(error: ProfileError) -> CliError {
        let hint = error.hint();
        let chained = CliError::chain(&error);
        let chained = match error {
            ProfileError::NotFound { .. } | ProfileError::NoPrevious => CliError::not_found(chained.message),
            ProfileError::BadName { .. } => CliError::usage(chained.message),
            _ => chained,
        };
        CliError { hint, ..chained }
    }
}

impl From<SecretError> for CliError {
    fn from(error: SecretError) -> CliError {
        let hint = error.hint();
        let chained = CliError::chain(&error);
        let chained = match error {
            SecretError::NotStored
            | SecretError::Missing { .. }
            | SecretError::NoPassphrase
            | SecretError::WrongPassphrase { .. }
            | SecretError::KeyringLocked { .. }
            | SecretError::NoVariable { .. } => CliError::not_allowed(chained.message),
            SecretError::TopicKeyUnknown { .. } => CliError::not_found(chained.message),
            _ => chained,
        };
        CliError { hint, ..chained }
    }
}
