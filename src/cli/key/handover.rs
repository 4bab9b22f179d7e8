//! Where the secret of a new key goes instead of being shown.

use std::path::PathBuf;

use crate::{
    cli::{
        Context,
        error::{CliError, Result},
        storage::kept,
    },
    client::KeyDetail,
    credentials::{ClientCredentials, Profile, Wanted, write_credential_file},
    model::Secret,
    sys::files::{exists, write_private_file},
};

/// A place for a secret.
#[derive(Debug)]
pub(super) enum Handover {
    /// The secret alone.
    SecretFile(PathBuf),
    /// What the SDKs read.
    SdkFile(PathBuf),
    Profile {
        name: String,
        wanted: Wanted,
    },
}

impl Handover {
    /// Finds out as far as possible whether the place can take a secret.
    pub(super) fn check(&self, context: &Context) -> Result<()> {
        match self {
            Handover::SecretFile(path) | Handover::SdkFile(path) => {
                if exists(path) {
                    return Err(CliError::failed(format!("{} is there already", path.display()))
                        .hint("name a new file; the secret in the old one may be in use"));
                }
                let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
                if let Some(dir) = dir.filter(|dir| !exists(dir)) {
                    return Err(CliError::not_found(format!("there is no directory {}", dir.display())));
                }
                Ok(())
            }
            Handover::Profile { name, .. } => {
                let endpoint = context.target()?.endpoint()?;
                match context.credentials()?.profiles()?.get(name) {
                    Ok(profile) if profile.auth_url != endpoint.auth_url() => {
                        Err(CliError::failed(format!("profile {name} is about {}", profile.endpoint))
                            .hint("name another profile; one that is not there yet is made"))
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Puts the secret there; says where it is.
    pub(super) fn take(&self, context: &Context, key: &KeyDetail, secret: &Secret) -> Result<String> {
        match self {
            Handover::SecretFile(path) => {
                let text = [secret.expose(), b"\n"].concat();
                write_private_file(path, &text).map_err(|error| CliError::chain(&error))?;
                Ok(format!("its secret is in {}", path.display()))
            }
            Handover::SdkFile(path) => {
                let credentials = ClientCredentials { client_id: key.client_id.clone(), client_secret: secret.clone() };
                write_credential_file(path, &credentials)?;
                Ok(format!("its client id and secret are in {}", path.display()))
            }
            Handover::Profile { name, wanted } => to_profile(context, name, *wanted, (key, secret)),
        }
    }
}

fn to_profile(context: &Context, name: &str, wanted: Wanted, (key, secret): (&KeyDetail, &Secret)) -> Result<String> {
    let target = context.target()?;
    let endpoint = target.endpoint()?;
    let credentials = context.credentials()?;
    let mut profile = credentials.profiles()?.get(name).cloned().unwrap_or_default();
    target.put_into(&mut profile, &endpoint)?;
    let stored = credentials.store_secret(&key.client_id, endpoint.auth_url(), secret, wanted)?;
    let (before, is_shared) = credentials.update(|profiles| {
        let before = profiles.get(name).cloned().ok();
        profile.project = Some(key.project_id.clone());
        profile.client_id = Some(key.client_id.clone());
        profile.secret = Some(stored.place.clone());
        profiles.insert(name, profile)?;
        let same = |other: &Profile| {
            before
                .as_ref()
                .is_some_and(|before| (&before.client_id, &before.secret) == (&other.client_id, &other.secret))
        };
        let is_shared = profiles.iter().any(|(_, other)| same(other));
        Ok((before, is_shared))
    })?;
    if let Some(before) = before.filter(|_| !is_shared) {
        // The key that was there before has no profile any more.
        credentials.forget_secret(&before)?;
    }
    Ok(format!("profile {name} uses it; {}", kept("the secret", &stored)))
}
