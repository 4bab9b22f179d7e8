//! `ensign logout`: forgets a secret and a password.

use super::{
    Context,
    error::{CliError, Result},
};
use crate::credentials::Profile;

/// Forget the secret and the password of the profile
///
/// Removes them from where they are kept. The profile stays, with its server, and `ensign login` fills it again. The key
/// itself stays valid on the server, and so does the account.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign logout
  $ ensign logout --profile staging")]
pub(super) struct Args {}

impl Args {
    #[expect(clippy::unused_self, reason = "every command is run the same way")]
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let credentials = context.credentials()?;
        let profiles = credentials.profiles()?;
        let (name, profile) = match &context.globals.profile {
            Some(said) => (said.text.clone(), profiles.get(&said.text)?.clone()),
            None => match profiles.selected() {
                Some((name, profile)) => (name.to_owned(), profile.clone()),
                None => {
                    return Err(CliError::not_allowed("no profile is selected")
                        .hint("`ensign profile list` shows what there is"));
                }
            },
        };
        if profile.secret.is_none() && profile.password.is_none() {
            context.output.note(&format!("profile {name} is signed out already"));
            return Ok(());
        }
        // What another profile uses, too, stays.
        let is_shared = |same: &dyn Fn(&Profile) -> bool| {
            profiles
                .iter()
                .any(|(other, candidate)| other != name && candidate.auth_url == profile.auth_url && same(candidate))
        };
        if !is_shared(&|other| (&other.client_id, &other.secret) == (&profile.client_id, &profile.secret)) {
            credentials.forget_secret(&profile)?;
        }
        if !is_shared(&|other| (&other.email, &other.password) == (&profile.email, &profile.password)) {
            credentials.forget_password(&profile)?;
        }
        credentials.update(|profiles| {
            let mut emptied = profiles.get(&name)?.clone();
            emptied.secret = None;
            emptied.client_id = None;
            emptied.password = None;
            emptied.email = None;
            emptied.organization = None;
            profiles.insert(&name, emptied).map(drop)
        })?;
        context.output.note(&format!("signed out of {} (profile {name})", profile.endpoint));
        Ok(())
    }
}
