//! `ensign key create`: makes a key, and sees to it that its secret gets where it is wanted.

use std::path::PathBuf;

use clap_complete::ArgValueCandidates;
use serde_json::json;

use super::{detail, handover::Handover};
use crate::{
    cli::{
        Context, complete,
        error::{CliError, Result},
        project,
        storage::Storage,
    },
    client::{Account, KeyDetail, NewKey, Project},
    model::Secret,
};

/// Create an API key
///
/// The secret is shown once, and nobody can ask for it later. It can go straight to a file for its owner alone, to a
/// credential file of the SDKs, or to a profile; then it is not shown. If that fails, the key is revoked again.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign key create ingest --permissions publisher --sdk-file client.json
  $ ensign key create laptop --use
  $ ensign key create ci --permissions topics:read,subscriber -o json")]
pub(super) struct Args {
    /// The name
    #[arg(value_name = "NAME")]
    name: String,

    /// What it may do: full, or a list of names from `ensign key permissions`
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "full",
        add = ArgValueCandidates::new(complete::permissions))]
    permissions: Vec<String>,

    /// Write the secret alone to this file, which must not be there yet
    #[arg(long, value_name = "FILE", group = "handover")]
    secret_file: Option<PathBuf>,

    /// Write the client id and the secret to this file, as the SDKs read them; it must not be there yet
    #[arg(long, value_name = "FILE", group = "handover")]
    sdk_file: Option<PathBuf>,

    /// Use the key in this profile from now on, and its project
    #[arg(long = "use", groups = ["handover", "remembered"])]
    is_used: bool,

    /// Remember the key in another profile, which is made if it is not there
    #[arg(long, value_name = "NAME", groups = ["handover", "remembered"], add = ArgValueCandidates::new(complete::profiles))]
    to_profile: Option<String>,

    /// Where a profile is to keep the secret
    #[arg(long, value_name = "PLACE", default_value = "best", requires = "remembered")]
    storage: Storage,
}

impl Args {
    pub(super) async fn run(self, context: &mut Context) -> Result<()> {
        let name = self.name.trim().to_owned();
        if name.is_empty() {
            return Err(CliError::usage("a key's name can't be empty"));
        }
        let handover = self.handover(context)?;
        let account = context.account().await?;
        let project = project::current(context, &account, None).await?;
        let permissions = self.permissions(&account).await?;
        let about = |error| CliError::from(error).about(format!("key {name}"));
        let new = NewKey { name: name.clone(), project_id: project.id.clone(), permissions };
        let key = account.create_key(&new).await.map_err(about)?;
        let Some(secret) = key.client_secret.clone() else {
            return Err(CliError::failed(format!("key {name}: the server did not say its secret")));
        };
        match handover {
            None => show(context, &key, &project, &secret),
            Some(handover) => {
                let place = match handover.take(context, &key, &secret) {
                    Ok(place) => place,
                    Err(error) => return Err(revoked(&account, &key, error).await),
                };
                context.output.note(&format!("created key {name} of project {}; {place}", project.name));
                context.output.result(detail(&key, Some(&project)))
            }
        }
    }

    /// Where the secret is to go, if it can: what is known to fail makes no key.
    fn handover(&self, context: &Context) -> Result<Option<Handover>> {
        let wanted = self.storage.wanted();
        let handover = match (&self.secret_file, &self.sdk_file, &self.to_profile) {
            (Some(path), _, _) => Handover::SecretFile(path.clone()),
            (_, Some(path), _) => Handover::SdkFile(path.clone()),
            (_, _, Some(name)) => Handover::Profile { name: name.clone(), wanted },
            _ if self.is_used => {
                let target = context.target()?;
                let name = target.profile_of_account().ok_or_else(|| {
                    CliError::usage("there is no profile that could use the key")
                        .hint("sign in with `ensign login --email ADDRESS`, or name a profile with --to-profile NAME")
                })?;
                Handover::Profile { name: name.to_owned(), wanted }
            }
            _ => return Ok(None),
        };
        handover.check(context)?;
        Ok(Some(handover))
    }

    /// The permissions by their names; `full` is all that the account can give.
    async fn permissions(&self, account: &Account) -> Result<Vec<String>> {
        let known = account.key_permissions().await?;
        let mut permissions = Vec::new();
        for name in &self.permissions {
            match name.trim() {
                "full" => permissions.extend(known.iter().cloned()),
                name if known.iter().any(|known| known == name) => permissions.push(name.to_owned()),
                name => {
                    return Err(CliError::usage(format!("{name:?} is no permission that you can give to a key"))
                        .hint("`ensign key permissions` lists them; full is all of them"));
                }
            }
        }
        permissions.sort_unstable();
        permissions.dedup();
        Ok(permissions)
    }
}

/// Shows the secret, this once.
fn show(context: &mut Context, key: &KeyDetail, project: &Project, secret: &Secret) -> Result<()> {
    let text = secret.expose_str().unwrap_or_default();
    let mut shown = detail(key, Some(project));
    shown.fields.insert(2, ("client secret", text.to_owned()));
    shown.value["client_secret"] = json!(text);
    context.output.note(&format!("created key {}; its secret is shown this once", key.name));
    context.output.detail(shown)
}

/// Takes back a key whose secret is lost.
async fn revoked(account: &Account, key: &KeyDetail, error: CliError) -> CliError {
    let what = match account.revoke_key(&key.id).await {
        Ok(()) => "the key was revoked again".to_owned(),
        Err(failed) => format!("and the key could not be revoked again ({failed}): `ensign key revoke {}`", key.id),
    };
    CliError { message: format!("{}; {what}", error.message), ..error }
}
