//! The profile of a development server: written when it starts, and taken back when nothing of the server stays.

use std::path::{Path, PathBuf};

use super::chosen::Chosen;
use crate::{
    cli::{
        error::{CliError, Result},
        node::{Access, KEY_FILE, Owner, PASSWORD_FILE},
    },
    credentials::{Credentials, Profile, Reference, SecretPlace, write_credential_file},
    sys::files::{create_private_dir, remove_file},
};

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
    files: [PathBuf; 2],
    replaced: Option<Profile>,
    selected: Option<String>,
}

impl Keeper {
    /// Writes the server's profile and selects it.
    pub(super) fn remember(
        credentials: &Credentials,
        name: &str,
        (access, owner): (&Access, Option<&Owner>),
        data_dir: Option<&Path>,
        chosen: Chosen,
    ) -> Result<Keeper> {
        let (key_file, password_file) = if let Some(dir) = data_dir {
            (dir.join(KEY_FILE), dir.join(PASSWORD_FILE))
        } else {
            let file = |end: &str| credentials.dir().join(format!("ephemeral-{name}.{end}"));
            (file("json"), file("password"))
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
            owner.map(|owner| owner.write(&password_file)).transpose()?;
        }
        let reference = |file: &Path| SecretPlace::Reference(Reference::File(file.to_owned()));
        let profile = chosen.put_into(Profile {
            endpoint: access.endpoint.clone(),
            auth_url: access.auth_url(),
            insecure: access.ca_file.is_none(),
            ca_file: access.ca_file.clone(),
            project: Some(access.project.to_string()),
            client_id: Some(access.key.client_id.clone()),
            secret: Some(reference(&key_file)),
            email: owner.map(|owner| owner.email.clone()),
            password: owner.map(|_| reference(&password_file)),
            ..Profile::default()
        });
        let selected = before.selected().map(|(name, _)| name.to_owned());
        let replaced = credentials.update(|profiles| {
            let replaced = profiles.insert(name, profile.clone())?;
            profiles.select(name)?;
            Ok(replaced)
        })?;
        let undo = data_dir.is_none().then_some(Undo { files: [key_file, password_file], replaced, selected });
        Ok(Keeper { name: name.to_owned(), profile, undo })
    }

    /// Leaves the profile of a server that can be started again. That of one that keeps nothing goes, unless somebody
    /// changed it meanwhile, and what was there before comes back.
    pub(super) fn finish(self, credentials: &Credentials) -> Result<()> {
        let Some(undo) = self.undo else {
            return Ok(());
        };
        let files = undo.files.clone();
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
        for file in &files {
            remove_file(file).map_err(|error| CliError::chain(&error))?;
        }
        Ok(())
    }
}

/// Whether a profile was made by a development server, so that the next one may replace it: its key or its account is
/// the server's, or it was signed out of.
fn is_of_dev_server(profile: &Profile) -> bool {
    let places = [profile.secret.as_ref(), profile.password.as_ref()];
    let mut known = places.into_iter().flatten().peekable();
    (profile.insecure || profile.ca_file.is_some()) && (known.peek().is_none() || known.any(is_ours))
}

/// Whether a secret is in a file that a development server made.
pub(super) fn is_ours(place: &SecretPlace) -> bool {
    let SecretPlace::Reference(Reference::File(path)) = place else { return false };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name == KEY_FILE || name == PASSWORD_FILE || name.starts_with("ephemeral-")
}
