//! What somebody chose in the profile of a development server: the next start of the server leaves it as it is.

use super::keeper::is_ours;
use crate::{
    cli::error::{CliError, Result},
    credentials::{Credentials, Profile},
    model::{OrganizationId, ProjectId, Ulid},
    server::Server,
};

/// What somebody chose in the profile while the server ran before, and what is still there.
#[derive(Debug, Default)]
pub(super) struct Chosen(Profile);

impl Chosen {
    /// Looks for it. A server that keeps nothing has none of it, and neither has one in a new directory.
    pub(super) async fn find(credentials: &Credentials, name: &str, server: &Server, auth_url: &str) -> Result<Chosen> {
        let profiles = credentials.profiles()?;
        let Ok(before) = profiles.get(name) else { return Ok(Chosen::default()) };
        let identity = server.identity();
        let organization = match before.organization.as_deref().and_then(|id| Ulid::parse(id).ok()) {
            Some(id) => identity.organization(OrganizationId(id)).await.ok(),
            None => None,
        };
        let project = match before.project.as_deref().and_then(|id| Ulid::parse(id).ok()) {
            Some(id) => identity.project(ProjectId(id)).await.ok(),
            None => None,
        };
        let mut chosen = Profile { auth_url: auth_url.to_owned(), ..Profile::default() };
        if let Some(organization) = organization {
            chosen.organization = Some(organization.id.to_string());
            if before.auth_url == auth_url && before.password.as_ref().is_some_and(|place| !is_ours(place)) {
                (chosen.email, chosen.password) = (before.email.clone(), before.password.clone());
            }
        }
        if let Some(project) = project {
            chosen.project = Some(project.id.to_string());
            let keys = identity.keys(project.id).await.map_err(|error| CliError::chain(&error))?;
            let is_known = keys.iter().any(|key| Some(&key.client_id) == before.client_id.as_ref());
            if is_known && before.auth_url == auth_url && before.secret.as_ref().is_some_and(|place| !is_ours(place)) {
                (chosen.client_id, chosen.secret) = (before.client_id.clone(), before.secret.clone());
            }
        }
        Ok(Chosen(chosen))
    }

    /// Puts it in the place of what the server would choose.
    pub(super) fn put_into(self, profile: Profile) -> Profile {
        let Chosen(chosen) = self;
        let (email, password) =
            if chosen.password.is_some() { (chosen.email, chosen.password) } else { (profile.email, profile.password) };
        let (client_id, secret) = if chosen.secret.is_some() {
            (chosen.client_id, chosen.secret)
        } else {
            (profile.client_id, profile.secret)
        };
        let organization = chosen.organization.or(profile.organization);
        let project = chosen.project.or(profile.project);
        Profile { organization, project, client_id, secret, email, password, ..profile }
    }
}
