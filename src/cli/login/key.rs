//! Signing in with an API key.

use std::{
    io::{IsTerminal as _, Read as _},
    path::Path,
};

use serde_json::json;

use super::{Args, explained, profile_name, remember};
use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        output::Detail,
        prompt,
        secret_input::trimmed,
        storage::kept,
    },
    client::{self, Claims, Client, Endpoint},
    credentials::{SecretPlace, Stored, read_credential_file},
    model::Secret,
    sys::files::read_file,
};

/// A secret is far shorter.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

impl Args {
    pub(super) fn key_login(self, context: &mut Context) -> Result<()> {
        let target = self.target(context)?;
        let endpoint = target.endpoint()?;
        let key = match self.reference()? {
            Some(SecretPlace::Reference(reference)) => {
                client::Credentials { client_id: self.known_id()?, client_secret: reference.resolve()? }
            }
            _ => self.key(context)?,
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
        let claims =
            verified.map_err(|error| explained(error, "check the client id and the secret; nothing was stored"))?;

        let stored = self.store(context, &key.client_id, endpoint.auth_url(), &key.client_secret)?;
        let name = profile_name(context, endpoint.address());
        remember(context, &name, (&target, &endpoint), |profile| {
            profile.project = Some(claims.project.clone()).filter(|project| !project.is_empty());
            profile.client_id = Some(key.client_id.clone());
            profile.secret = Some(stored.place.clone());
        })?;
        report(context, &endpoint, &name, &claims, &stored)
    }

    fn known_id(&self) -> Result<String> {
        self.client_id.clone().ok_or_else(|| CliError::usage("login needs --client-id ID or --email ADDRESS"))
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

fn report(context: &mut Context, endpoint: &Endpoint, name: &str, claims: &Claims, stored: &Stored) -> Result<()> {
    let kept = kept("the secret", stored);
    context.output.note(&format!("signed in to {} as profile {name}; {kept}", endpoint.address()));
    let place = String::from(stored.place.clone());
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
    context.output.result(Detail { fields, value })
}
