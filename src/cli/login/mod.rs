//! `ensign login`: signs in with an API key or an account, and remembers it.

mod account;
mod key;

use std::path::PathBuf;

use super::{
    Context,
    error::{CliError, Kind, Result},
    storage::Storage,
    target::Target,
};
use crate::{
    client::{Address, Endpoint},
    config::{Setting, Source},
    credentials::{Profile, SecretPlace, Stored, Why},
    model::Secret,
};

/// Sign in to a server with an API key or an account
///
/// An API key publishes, subscribes and manages the topics of one project. An account, with an e-mail address and a
/// password, manages organizations, members, projects and keys. A profile can have both.
///
/// The secret or the password is asked for on a terminal and read from standard input otherwise; or it comes from a
/// file, which holds it alone. For a key, the file can be a credential file of the SDKs ({"ClientID": …,
/// "ClientSecret": …}); the password can be in ENSIGN_PASSWORD. It is verified with the server before anything is stored.
///
/// Secrets go to the keyring of the operating system; where there is none, to an encrypted vault, whose passphrase is
/// asked for or comes from ENSIGN_VAULT_PASSPHRASE or ENSIGN_VAULT_PASSPHRASE_FILE. A plain file is used only with
/// --storage file. The output says which it was.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign login --client-id DbIxBEtIUgNIClnFMDmvoZeMrLxUTJVa
  $ ensign login --endpoint ensign.example.com:443 --profile prod --secret-file client.json
  $ ensign login --email ann@example.com --org acme")]
pub(super) struct Args {
    /// The client id of the API key
    #[arg(long, value_name = "ID", conflicts_with = "email")]
    client_id: Option<String>,

    /// Read the key's secret from this file
    #[arg(long, value_name = "FILE", conflicts_with = "email")]
    secret_file: Option<PathBuf>,

    /// The e-mail address of the account
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,

    /// Read the account's password from this file
    #[arg(long, value_name = "FILE", requires = "email")]
    password_file: Option<PathBuf>,

    /// The organization to act in, by name, workspace or id; without it, the one that was signed in to last
    #[arg(long, value_name = "ORG", requires = "email")]
    org: Option<String>,

    /// The authentication service, when it is not on the server's own port
    #[arg(long, value_name = "URL")]
    auth_url: Option<String>,

    /// Use plaintext; the default is plaintext for this machine and TLS elsewhere
    #[arg(long)]
    insecure: bool,

    /// Use plaintext over a network, too, where it can be read on its way; needs --insecure as well
    #[arg(long, requires = "insecure")]
    insecure_remote: bool,

    /// Where to keep the secret
    #[arg(long, value_name = "PLACE", default_value = "best")]
    storage: Storage,

    /// Remember where the secret is instead of the secret: env://NAME, file://PATH, cmd://COMMAND or op://ITEM
    #[arg(long, value_name = "REFERENCE", conflicts_with_all = ["secret_file", "password_file", "storage"])]
    secret_reference: Option<String>,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        if self.email.is_some() { self.account_login(context) } else { self.key_login(context) }
    }

    /// The server: what the flags say, or else that of the profile that is signed in anew.
    fn target(&self, context: &Context) -> Result<Target> {
        let mut target = context.target_of_new_profile()?;
        if self.insecure && !target.insecure.value {
            target.insecure = Setting::new(true, Source::flag("--insecure"));
            let derived = Endpoint::new(target.address.value.clone(), None, Some(true));
            target.auth_url = Setting::new(derived.auth_url().to_owned(), Source::Default);
        }
        if let Some(auth_url) = &self.auth_url {
            target.auth_url = Setting::new(auth_url.clone(), Source::flag("--auth-url"));
        }
        target.trust.insecure_remote |= self.insecure_remote;
        Ok(target)
    }

    /// Where the secret stays that was only referred to.
    fn reference(&self) -> Result<Option<SecretPlace>> {
        let reference = self.secret_reference.as_deref().map(str::parse::<SecretPlace>).transpose();
        match reference.map_err(|error| CliError::usage(error.to_string()))? {
            Some(SecretPlace::Keyring | SecretPlace::Vault | SecretPlace::File) => {
                Err(CliError::usage("--secret-reference takes env://, file://, cmd:// or op://"))
            }
            reference => Ok(reference),
        }
    }

    /// Keeps the secret, unless it is somewhere already.
    fn store(&self, context: &Context, name: &str, auth_url: &str, secret: &Secret) -> Result<Stored> {
        match self.reference()? {
            Some(place) => Ok(Stored { place, path: None, why: Why::Wanted }),
            None => Ok(context.credentials()?.store_secret(name, auth_url, secret, self.storage.wanted())?),
        }
    }
}

/// The name of the profile that a login to this server is remembered in.
fn profile_name(context: &Context, address: &Address) -> String {
    match &context.globals.profile {
        Some(said) => said.text.clone(),
        None => default_name(address),
    }
}

/// The name of the profile that an account is remembered in: the selected one, if that is about this server and has no
/// account yet.
pub(super) fn profile_of_account(context: &Context, endpoint: &Endpoint) -> Result<String> {
    let profiles = context.credentials()?.profiles()?;
    let selected = profiles.selected().filter(|_| context.globals.profile.is_none());
    let fitting = selected.filter(|(_, profile)| profile.auth_url == endpoint.auth_url() && profile.email.is_none());
    Ok(fitting.map_or_else(|| profile_name(context, endpoint.address()), |(name, _)| name.to_owned()))
}

/// Writes a profile and selects it. What it had of the same server stays, unless it is changed.
pub(super) fn remember(
    context: &Context,
    name: &str,
    (target, endpoint): (&Target, &Endpoint),
    change: impl FnOnce(&mut Profile),
) -> Result<()> {
    let credentials = context.credentials()?;
    let mut profile = credentials.profiles()?.get(name).cloned().unwrap_or_default();
    target.put_into(&mut profile, endpoint)?;
    change(&mut profile);
    credentials.update(|profiles| {
        profiles.insert(name, profile)?;
        profiles.select(name)
    })?;
    Ok(())
}

/// A profile is called as the server is, without the port and what names may not have.
fn default_name(address: &Address) -> String {
    let text = address.to_string();
    let host = text.rsplit_once(':').map_or(text.as_str(), |(host, _)| host);
    let simple = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    let name: String = host.chars().map(|letter| if simple(letter) { letter } else { '-' }).collect();
    name.trim_matches(|letter: char| !letter.is_ascii_alphanumeric()).to_owned()
}

/// An error of signing in, with what to look at when the server refused.
fn explained(error: CliError, refused: &str) -> CliError {
    match error.kind {
        Kind::NotAllowed => error.hint(refused),
        _ => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_profiles() {
        let name = |text: &str| default_name(&text.parse().unwrap());
        assert_eq!(name("ensign.example.com:443"), "ensign.example.com");
        assert_eq!(name("localhost"), "localhost");
        assert_eq!(name("[::1]:80"), "1");
    }
}
