//! What every command has at hand: settings, output, a clock, a runtime.

use std::{
    io::{self, IsTerminal as _},
    path::PathBuf,
};

use super::{
    error::{CliError, Kind, Result},
    output::Output,
    prompt,
    target::Target,
};
use crate::{
    client::{Account, Client, ClientError},
    config::Environment,
    credentials::{self, Credentials, Passphrase, Profile, ProfileError, Purpose, SecretError},
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

    /// The same for commands that make the profile: one that is not there yet can't be looked up.
    pub(super) fn target_of_new_profile(&self) -> Result<Target> {
        let mut globals = self.globals.clone();
        let credentials = self.credentials()?;
        let profiles = credentials.profiles()?;
        globals.profile = globals.profile.filter(|said| profiles.get(&said.text).is_ok());
        Target::settle(&globals, &self.environment, &credentials)
    }

    /// Signs in to the server: with the key, or else with the account.
    pub(super) async fn connect(&self) -> Result<Client> {
        Ok(self.enter(&self.target()?).await?.0)
    }

    /// Signs in to the server to publish or subscribe, which takes a key: accounts may not, whatever their role.
    pub(super) async fn connect_with_key(&self, permission: &str) -> Result<Client> {
        let target = self.target()?;
        let (client, bearer) = self.enter(&target).await?;
        let Bearer::Account { project } = bearer else { return Ok(client) };
        let email = target.email.map_or_else(String::new, |email| email.value);
        let deed = if permission == "publisher" { "publishing" } else { "reading events" };
        Err(CliError::not_allowed(format!("{deed} takes an API key; {email} is signed in to project {project}")).hint(
            format!("`ensign key create NAME --project {project} --permissions full --use` makes one for this profile"),
        ))
    }

    /// Signs in to the server with the key, and only with that.
    pub(super) async fn connect_as_key(&self) -> Result<Client> {
        let target = self.target()?;
        let key = target.credentials(&self.environment, &self.credentials()?)?;
        let client = Client::connect(target.endpoint()?, key, self.clock.clone()).await?;
        if !target.has_account() {
            target.check_project(&client.claims().await?)?;
        }
        Ok(client)
    }

    /// Signs in to a project. A key is for one project; when another one is asked for, the account goes there.
    async fn enter(&self, target: &Target) -> Result<(Client, Bearer)> {
        if !target.has_key() && target.has_account() {
            return self.enter_with_account(target).await;
        }
        let key = target.credentials(&self.environment, &self.credentials()?)?;
        let client = Client::connect(target.endpoint()?, key, self.clock.clone()).await?;
        match target.check_project(&client.claims().await?) {
            Err(mismatch) if target.has_account() => self.enter_with_account(target).await.map_err(|error| {
                // A project that the account does not know is no reason to speak of the account.
                if matches!(error.kind, Kind::Failed | Kind::NotFound) { mismatch } else { error }
            }),
            checked => checked.map(|()| (client, Bearer::Key)),
        }
    }

    async fn enter_with_account(&self, target: &Target) -> Result<(Client, Bearer)> {
        let account = self.account_of(target).await?;
        let wanted = target.project.as_ref().map(|project| project.value.as_str());
        let project = super::project::chosen(&account, wanted).await?;
        let client = account.project_client(&project)?;
        client.claims().await?;
        Ok((client, Bearer::Account { project }))
    }

    /// Signs in with the account.
    pub(super) async fn account(&self) -> Result<Account> {
        self.account_of(&self.target()?).await
    }

    async fn account_of(&self, target: &Target) -> Result<Account> {
        let account = target.account(&self.environment, &self.credentials()?)?;
        let email = account.email.clone();
        Account::sign_in(target.endpoint()?, account, self.clock.clone()).await.map_err(|error| {
            let is_refused = matches!(error, ClientError::LoginRefused { .. });
            let error = CliError::from(error);
            if is_refused { error.hint(format!("sign in again with `ensign login --email {email}`")) } else { error }
        })
    }

    /// Changes the profile that the account is in.
    pub(super) fn update_profile(&self, change: impl FnOnce(&mut Profile)) -> Result<String> {
        let target = self.target()?;
        let Some(name) = target.profile_of_account() else {
            return Err(CliError::usage("ENSIGN_EMAIL says who you are, and there is no profile to remember this in")
                .hint("sign in with `ensign login --email ADDRESS`, which makes one"));
        };
        self.credentials()?.update(|profiles| {
            let mut profile = profiles.get(name)?.clone();
            change(&mut profile);
            profiles.insert(name, profile).map(drop)
        })?;
        Ok(name.to_owned())
    }

    /// Runs a command's asynchronous part, on this thread.
    pub(super) fn block_on<T>(&mut self, run: impl AsyncFnOnce(&mut Context) -> Result<T>) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| CliError::failed(format!("can't start: {error}")))?;
        runtime.block_on(run(self))
    }
}

/// What a client was signed in with.
#[derive(Debug)]
enum Bearer {
    Key,
    Account { project: String },
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
