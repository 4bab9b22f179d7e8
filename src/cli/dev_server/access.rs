//! What is needed to use a development server: its key, its profile, its ready file.

use std::path::{Path, PathBuf};

use serde_json::json;

use crate::{
    cli::error::{CliError, Result},
    credentials::{
        ClientCredentials, Credentials, Profile, Reference, SecretPlace, read_credential_file, write_credential_file,
    },
    identity::{IdentityError, NewKey},
    model::{Durability, OrganizationId, Permissions, Principal, ProjectId},
    server::Server,
    sys::files::{create_private_dir, remove_file, write_private_file},
};

/// The file of the key in the data directory, as the SDKs read it.
const KEY_FILE: &str = "client.json";

/// Where a server is and who may use it.
#[derive(Debug)]
pub(super) struct Access {
    /// `host:port`, as the SDKs take it.
    pub(super) endpoint: String,
    pub(super) organization: OrganizationId,
    pub(super) project: ProjectId,
    pub(super) key: ClientCredentials,
}

impl Access {
    /// Makes what is missing: organization, project and key at the first start, the key also when its file is gone.
    pub(super) async fn prepare(server: &Server, data_dir: Option<&Path>) -> Result<Access> {
        let failed = |error: IdentityError| CliError::chain(&error);
        let identity = server.identity();
        let made = identity.ensure_default().await.map_err(failed)?;
        let path = data_dir.map(|dir| dir.join(KEY_FILE));
        let kept = match &path {
            Some(path) => read_credential_file(path)?,
            None => None,
        };
        // Whether the secret is right, too, would cost a password hash at every start; only a hand could have changed
        // it.
        let known = match kept {
            Some(key) => {
                let keys = identity.keys(made.project.id).await.map_err(failed)?;
                keys.iter().any(|known| known.client_id == key.client_id).then_some(key)
            }
            None => None,
        };
        let key = match (known, made.issued) {
            (Some(key), None) => key,
            (_, issued) => {
                let issued = if let Some(issued) = issued {
                    issued
                } else {
                    let permissions = Permissions::full_key();
                    let new = NewKey { name: "dev".to_owned(), project: made.project.id, permissions };
                    identity.create_key(new).await.map_err(failed)?
                };
                let key = ClientCredentials { client_id: issued.key.client_id, client_secret: issued.secret };
                if let Some(path) = &path {
                    write_credential_file(path, &key)?;
                }
                key
            }
        };
        let addr = server.addr();
        let host = if addr.ip().is_loopback() || addr.ip().is_unspecified() {
            "localhost".to_owned()
        } else {
            addr.ip().to_string()
        };
        let endpoint = format!("{host}:{}", addr.port());
        Ok(Access { endpoint, organization: made.organization.id, project: made.project.id, key })
    }

    pub(super) fn auth_url(&self) -> String {
        format!("http://{}", self.endpoint)
    }

    pub(super) fn secret(&self) -> &str {
        self.key.client_secret.expose_str().expect("secrets of keys are letters and digits")
    }

    /// Who the key is, for questions that the server is asked from within.
    pub(super) fn principal(&self) -> Principal {
        Principal {
            subject: self.organization.0,
            organization: self.organization,
            project: Some(self.project),
            permissions: Permissions::full_key(),
        }
    }

    /// Writes the ready file as a whole, for its owner alone.
    pub(super) fn write_ready_file(
        &self,
        path: &Path,
        (data_dir, durability): (Option<&Path>, Durability),
        profile: Option<&str>,
    ) -> Result<()> {
        let document = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "endpoint": self.endpoint,
            "auth_url": self.auth_url(),
            "console_url": null,
            "tls": null,
            "durability": durability.name(),
            "data_dir": data_dir.map(|dir| dir.display().to_string()),
            "organization_id": self.organization.to_string(),
            "project_id": self.project.to_string(),
            "profile": profile,
            "client_id": self.key.client_id,
            "client_secret": self.secret(),
        });
        write_private_file(path, format!("{document:#}\n").as_bytes()).map_err(|error| CliError::chain(&error))
    }
}

/// The profile of a running server, and what was there before it.
#[derive(Debug)]
pub(super) struct Keeper {
    name: String,
    profile: Profile,
    /// Set for a server that keeps nothing: what has to be undone.
    undo: Option<Undo>,
}

#[derive(Debug)]
struct Undo {
    key_file: PathBuf,
    replaced: Option<Profile>,
    selected: Option<String>,
}

impl Keeper {
    /// Writes the server's profile and selects it.
    pub(super) fn remember(
        credentials: &Credentials,
        name: &str,
        access: &Access,
        data_dir: Option<&Path>,
    ) -> Result<Keeper> {
        let key_file = match data_dir {
            Some(dir) => dir.join(KEY_FILE),
            None => credentials.dir().join(format!("ephemeral-{name}.json")),
        };
        let before = credentials.profiles()?;
        if let Ok(existing) = before.get(name)
            && !is_of_dev_server(existing)
        {
            return Err(CliError::failed(format!("profile {name} is about {}", existing.endpoint)).hint(format!(
                "rename it with `ensign profile rename {name} OTHER`, or start the server with --name OTHER"
            )));
        }
        if data_dir.is_none() {
            create_private_dir(credentials.dir()).map_err(|error| CliError::chain(&error))?;
            write_credential_file(&key_file, &access.key)?;
        }
        let profile = Profile {
            endpoint: access.endpoint.clone(),
            auth_url: access.auth_url(),
            insecure: true,
            project: Some(access.project.to_string()),
            client_id: Some(access.key.client_id.clone()),
            secret: Some(SecretPlace::Reference(Reference::File(key_file.clone()))),
        };
        let selected = before.selected().map(|(name, _)| name.to_owned());
        let replaced = credentials.update(|profiles| {
            let replaced = profiles.insert(name, profile.clone())?;
            profiles.select(name)?;
            Ok(replaced)
        })?;
        let undo = data_dir.is_none().then_some(Undo { key_file, replaced, selected });
        Ok(Keeper { name: name.to_owned(), profile, undo })
    }

    /// Leaves the profile of a server that can be started again. That of one that keeps nothing goes, unless somebody
    /// changed it meanwhile, and what was there before comes back.
    pub(super) fn finish(self, credentials: &Credentials) -> Result<()> {
        let Some(undo) = self.undo else {
            return Ok(());
        };
        let key_file = undo.key_file.clone();
        credentials.update(|profiles| {
            if profiles.get(&self.name).ok() != Some(&self.profile) {
                return Ok(());
            }
            let was_selected = profiles.selected().is_some_and(|(name, _)| name == self.name);
            profiles.remove(&self.name)?;
            if let Some(replaced) = undo.replaced {
                profiles.insert(&self.name, replaced)?;
            }
            match undo.selected {
                Some(selected) if was_selected && profiles.get(&selected).is_ok() => profiles.select(&selected),
                _ => Ok(()),
            }
        })?;
        remove_file(&key_file).map_err(|error| CliError::chain(&error))?;
        Ok(())
    }
}

/// Whether a profile was made by a development server, so that the next one may replace it.
fn is_of_dev_server(profile: &Profile) -> bool {
    let ours = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name == KEY_FILE || name.starts_with("ephemeral-")
    };
    profile.insecure
        && match &profile.secret {
            Some(SecretPlace::Reference(Reference::File(path))) => ours(path),
            // It was signed out of.
            None => true,
            Some(_) => false,
        }
}
