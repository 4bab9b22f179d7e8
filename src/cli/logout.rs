//! `ensign logout`: forgets a secret.

use super::{
    Context,
    error::{CliError, Result},
};

/// Forget the secret of the profile
///
/// Removes it from where it is kept. The profile stays, with its server, and `ensign login` fills it again. The key
/// itself stays valid on the server.
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
        if profile.secret.is_none() {
            context.output.note(&format!("profile {name} is signed out already"));
            return Ok(());
        }
        let shared = profiles.iter().any(|(other, candidate)| {
            other != name
                && candidate.client_id == profile.client_id
                && candidate.auth_url == profile.auth_url
                && candidate.secret == profile.secret
        });
        if !shared {
            credentials.forget_secret(&profile)?;
        }
        credentials.update(|profiles| {
            let mut emptied = profiles.get(&name)?.clone();
            emptied.secret = None;
            emptied.client_id = None;
            profiles.insert(&name, emptied).map(drop)
        })?;
        context.output.note(&format!("signed out of {} (profile {name})", profile.endpoint));
        Ok(())
    }
}
