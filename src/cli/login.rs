//! `ensign login`: signs in with an API key and remembers it.

use std::{
    io::{IsTerminal as _, Read as _},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    Context,
    error::{CliError, Result},
    output::Detail,
    prompt,
    storage::{Storage, kept},
    target::Target,
    trust::TrustFiles,
};
use crate::{
    client::{self, Address, Claims, Client, Endpoint},
    config::{Setting, Source},
    credentials::{Profile, SecretPlace, Stored, Why, read_credential_file},
    model::Secret,
    sys::files::read_file,
};

/// A secret is far shorter.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Sign in to a server with an API key
///
/// The secret is asked for on a terminal and read from standard input otherwise; or it comes from a file, which holds
/// the secret alone, or is a credential file of the SDKs ({"ClientID": …, "ClientSecret": …}). It is verified with the
/// server before anything is stored.
///
/// Secrets go to the keyring of the operating system; where there is none, to an encrypted vault, whose passphrase is
/// asked for or comes from ENSIGN_VAULT_PASSPHRASE or ENSIGN_VAULT_PASSPHRASE_FILE. A plain file is used only with
/// --storage file. The output says which it was.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign login --client-id DbIxBEtIUgNIClnFMDmvoZeMrLxUTJVa
  $ ensign login --endpoint ensign.example.com:443 --profile prod --secret-file client.json")]
pub(super) struct Args {
    /// The client id of the API key
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,

    /// Read the secret from this file
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,

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
    #[arg(long, value_name = "REFERENCE", conflicts_with_all = ["secret_file", "storage"])]
    secret_reference: Option<String>,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let target = self.target(context)?;
        let endpoint = target.endpoint()?;
        let reference = self.secret_reference.as_deref().map(str::parse::<SecretPlace>).transpose();
        let reference = reference.map_err(|error| CliError::usage(error.to_string()))?;
        let key = match &reference {
            Some(SecretPlace::Reference(reference)) => {
                client::Credentials { client_id: self.known_id()?, client_secret: reference.resolve()? }
            }
            Some(_) => return Err(CliError::usage("--secret-reference takes env://, file://, cmd:// or op://")),
            None => self.key(context)?,
        };

        let verified = context.block_on({
            let (endpoint, key) = (endpoint.clone(), key.clone());
            async |context| {
                let client = Client::connect(endpoint, key, context.clock.clone()).await?;
                // The authentication service and the server may be two; the key has to be good for both.
                client.status().await?;
                Ok(client.claims().await?)
            }
        });
        let claims = verified.map_err(|error: CliError| CliError { hint: login_hint(&error), ..error })?;

        let credentials = context.credentials()?;
        let stored = if let Some(place) = reference {
            Stored { place, path: None, why: Why::Wanted }
        } else {
            let wanted = self.storage.wanted();
            credentials.store_secret(&key.client_id, endpoint.auth_url(), &key.client_secret, wanted)?
        };
        let name = match &context.globals.profile {
            Some(said) => said.text.clone(),
            None => default_name(endpoint.address()),
        };
        let profile = Profile {
            endpoint: endpoint.address().to_string(),
            auth_url: endpoint.auth_url().to_owned(),
            insecure: endpoint.is_insecure(),
            insecure_remote: endpoint.is_exposed(),
            ca_file: TrustFiles::absolute(target.trust.ca_file.as_ref())?,
            client_cert: TrustFiles::absolute(target.trust.client_cert.as_ref())?,
            client_key: TrustFiles::absolute(target.trust.client_key.as_ref())?,
            project: Some(claims.project.clone()).filter(|project| !project.is_empty()),
            client_id: Some(key.client_id.clone()),
            secret: Some(stored.place.clone()),
            email: None,
            password: None,
        };
        credentials.update(|profiles| {
            profiles.insert(&name, profile)?;
            profiles.select(&name)
        })?;
        report(context, &endpoint, &name, &claims, &stored)
    }

    /// The server: what the flags say, or else that of the profile that is signed in anew.
    fn target(&self, context: &Context) -> Result<Target> {
        let mut globals = context.globals.clone();
        let profiles = context.credentials()?.profiles()?;
        // A profile that is to be made can't be looked up.
        globals.profile = globals.profile.filter(|said| profiles.get(&said.text).is_ok());
        let mut target = Target::settle(&globals, &context.environment, &context.credentials()?)?;
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

    fn known_id(&self) -> Result<String> {
        self.client_id.clone().ok_or_else(|| CliError::usage("login needs --client-id ID"))
    }

    fn key(&self, context: &Context) -> Result<client::Credentials> {
        if let Some(path) = &self.secret_file {
            return self.key_of_file(path);
        }
        let client_id = self.known_id()?;
        let client_secret = if context.may_prompt() {
            let asked = prompt::secret(&format!("client secret of {client_id}"));
            asked.map_err(|error| CliError::failed(format!("can't ask for the secret: {error}")))?
        } else if std::io::stdin().is_terminal() {
            return Err(CliError::usage("login needs the secret, and --no-input forbids to ask for it")
                .hint("add --secret-file FILE, or pass the secret on standard input"));
        } else {
            read_stdin()?
        };
        if client_secret.is_empty() {
            return Err(
                CliError::usage("the secret is empty").hint("pass it on standard input, or with --secret-file FILE")
            );
        }
        Ok(client::Credentials { client_id, client_secret })
    }

    fn key_of_file(&self, path: &Path) -> Result<client::Credentials> {
        if let Ok(Some(found)) = read_credential_file(path) {
            let client_id = self.client_id.clone().unwrap_or(found.client_id);
            return Ok(client::Credentials { client_id, client_secret: found.client_secret });
        }
        let bytes = read_file(path, SECRET_BYTES_MAX).map_err(|error| CliError::chain(&error))?;
        Ok(client::Credentials { client_id: self.known_id()?, client_secret: trimmed(&bytes) })
    }
}

fn read_stdin() -> Result<Secret> {
    let mut bytes = Vec::new();
    let read = std::io::stdin().lock().take(SECRET_BYTES_MAX).read_to_end(&mut bytes);
    read.map_err(|error| CliError::failed(format!("can't read the secret from standard input: {error}")))?;
    Ok(trimmed(&bytes))
}

/// Without the end of line that editors and `echo` add.
fn trimmed(bytes: &[u8]) -> Secret {
    Secret::new(bytes.trim_ascii())
}

/// A profile is called as the server is, without the port and what names may not have.
fn default_name(address: &Address) -> String {
    let text = address.to_string();
    let host = text.rsplit_once(':').map_or(text.as_str(), |(host, _)| host);
    let simple = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
    let name: String = host.chars().map(|letter| if simple(letter) { letter } else { '-' }).collect();
    name.trim_matches(|letter: char| !letter.is_ascii_alphanumeric()).to_owned()
}

fn login_hint(error: &CliError) -> Option<String> {
    match error.kind {
        super::error::Kind::NotAllowed => Some("check the client id and the secret; nothing was stored".to_owned()),
        _ => error.hint.clone(),
    }
}

fn report(context: &mut Context, endpoint: &Endpoint, name: &str, claims: &Claims, stored: &Stored) -> Result<()> {
    let place = String::from(stored.place.clone());
    let kept = kept("the secret", stored);
    context.output.note(&format!("signed in to {} as profile {name}; {kept}", endpoint.address()));
    if context.output.format().is_none() && context.output.jq().is_none() {
        return Ok(());
    }
    let value = json!({
        "profile": name,
        "endpoint": endpoint.address().to_string(),
        "auth_url": endpoint.auth_url(),
        "organization_id": claims.organization,
        "project_id": claims.project,
        "secret": place,
    });
    let fields = vec![
        ("profile", name.to_owned()),
        ("endpoint", endpoint.address().to_string()),
        ("auth_url", endpoint.auth_url().to_owned()),
        ("organization_id", claims.organization.clone()),
        ("project_id", claims.project.clone()),
        ("secret", place),
    ];
    context.output.detail(Detail { fields, value })
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

    #[test]
    fn ends_of_lines_are_no_part_of_a_secret() {
        assert_eq!(trimmed(b"hush\r\n").expose(), b"hush");
    }
}
