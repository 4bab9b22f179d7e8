//! `ensign profile`: the servers that are remembered.

use clap_complete::ArgValueCandidates;
use serde_json::json;

use super::{
    Context, complete,
    error::{CliError, Result},
    human,
    output::{Detail, Listing},
};
use crate::credentials::Profile;

/// Manage the servers that are remembered
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Use(UseArgs),
    Show(ShowArgs),
    Rename(RenameArgs),
    Remove(RemoveArgs),
}

/// List the profiles
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign profile list
  $ ensign profile list -o json --jq '.[].name'")]
struct ListArgs {}

/// Select a profile
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign profile use staging
  $ ensign profile use -")]
struct UseArgs {
    /// The profile; - is the one that was selected before
    #[arg(value_name = "NAME", allow_hyphen_values = true, add = ArgValueCandidates::new(complete::profiles))]
    name: String,
}

/// Show a profile
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign profile show
  $ ensign profile show staging -o yaml")]
struct ShowArgs {
    /// The profile; without it, the selected one
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::profiles))]
    name: Option<String>,
}

/// Give a profile another name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign profile rename localhost dev
  $ ensign profile rename dev dev.old")]
struct RenameArgs {
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::profiles))]
    name: String,
    #[arg(value_name = "NEW-NAME")]
    new_name: String,
}

/// Remove a profile, its secret and its password
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign profile remove staging
  $ ensign profile remove dev -q")]
struct RemoveArgs {
    #[arg(value_name = "NAME", add = ArgValueCandidates::new(complete::profiles))]
    name: String,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        match self.command {
            Command::List(_) => list(context),
            Command::Use(args) => select(context, &args.name),
            Command::Show(args) => show(context, args.name),
            Command::Rename(args) => {
                let credentials = context.credentials()?;
                credentials.update(|profiles| profiles.rename(&args.name, &args.new_name))?;
                context.output.note(&format!("profile {} is now called {}", args.name, args.new_name));
                Ok(())
            }
            Command::Remove(args) => {
                context.credentials()?.remove_profile(&args.name)?;
                context.output.note(&format!("removed profile {}", args.name));
                Ok(())
            }
        }
    }
}

fn list(context: &mut Context) -> Result<()> {
    let profiles = context.credentials()?.profiles()?;
    let selected = profiles.selected().map(|(name, _)| name);
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for (name, profile) in profiles.iter() {
        let mark = if Some(name) == selected { "*" } else { "" };
        rows.push(vec![
            mark.to_owned(),
            name.to_owned(),
            profile.endpoint.clone(),
            human::or_dash(profile.project.as_ref()),
            human::or_dash(profile.secret.clone().map(String::from)),
            human::or_dash(profile.email.as_ref()),
        ]);
        values.push(value(name, profile, Some(name) == selected));
    }
    let columns = &["selected", "name", "endpoint", "project", "secret", "account"];
    let when_empty = "there are no profiles; `ensign dev-server` and `ensign login` make one";
    context.output.list(Listing { columns, rows, values, when_empty })
}

fn select(context: &mut Context, name: &str) -> Result<()> {
    let selected = context.credentials()?.update(|profiles| match name {
        "-" => profiles.select_previous().map(str::to_owned),
        name => profiles.select(name).map(|()| name.to_owned()),
    })?;
    context.output.note(&format!("profile {selected} is selected"));
    Ok(())
}

fn show(context: &mut Context, name: Option<String>) -> Result<()> {
    let profiles = context.credentials()?.profiles()?;
    let selected = profiles.selected().map(|(name, _)| name.to_owned());
    let Some(name) = name.or_else(|| selected.clone()) else {
        return Err(CliError::not_found("no profile is selected").hint("`ensign profile list` shows what there is"));
    };
    let profile = profiles.get(&name)?;
    let fields = vec![
        ("name", name.clone()),
        ("endpoint", profile.endpoint.clone()),
        ("auth url", profile.auth_url.clone()),
        ("plaintext", if profile.insecure { "yes" } else { "no" }.to_owned()),
        ("authority", human::or_dash(profile.ca_file.as_ref().map(|path| path.display()))),
        ("client certificate", human::or_dash(profile.client_cert.as_ref().map(|path| path.display()))),
        ("organization", human::or_dash(profile.organization.as_ref())),
        ("project", human::or_dash(profile.project.as_ref())),
        ("client id", human::or_dash(profile.client_id.as_ref())),
        ("secret", human::or_dash(profile.secret.clone().map(String::from))),
        ("email", human::or_dash(profile.email.as_ref())),
        ("password", human::or_dash(profile.password.clone().map(String::from))),
    ];
    let value = value(&name, profile, selected.as_deref() == Some(&name));
    context.output.detail(Detail { fields, value })
}

fn value(name: &str, profile: &Profile, selected: bool) -> serde_json::Value {
    json!({
        "name": name,
        "selected": selected,
        "endpoint": profile.endpoint,
        "auth_url": profile.auth_url,
        "insecure": profile.insecure,
        "ca_file": profile.ca_file,
        "client_cert": profile.client_cert,
        "organization_id": profile.organization,
        "project_id": profile.project,
        "client_id": profile.client_id,
        "secret": profile.secret.clone().map(String::from),
        "email": profile.email,
        "password": profile.password.clone().map(String::from),
    })
}
