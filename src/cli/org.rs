//! `ensign org`: the organizations that an account is a member of.

use clap_complete::ArgValueCandidates;
use serde_json::{Value, json};

use super::{
    Context, complete,
    error::{CliError, Result},
    find::{Named, find},
    human,
    output::{Detail, Listing},
};
use crate::client::{Account, Organization};

/// Manage organizations
///
/// These commands need an account: `ensign login --email ADDRESS`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
    Switch(SwitchArgs),
    Rename(RenameArgs),
}

/// List your organizations
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign org list
  $ ensign org list --jq '.[] | select(.current) | .name'")]
struct ListArgs {}

/// Show an organization
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign org show
  $ ensign org show acme -o yaml")]
struct ShowArgs {
    /// The organization, by name, workspace or id; without it, the one that you act in
    #[arg(value_name = "ORG", add = ArgValueCandidates::new(complete::organizations))]
    organization: Option<String>,
}

/// Act in another organization
///
/// The profile remembers it. If the organization has one project, that becomes the profile's project.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign org switch acme
  $ ensign org switch acme && ensign project list")]
struct SwitchArgs {
    /// The organization, by name, workspace or id
    #[arg(value_name = "ORG", add = ArgValueCandidates::new(complete::organizations))]
    organization: String,
}

/// Give the organization that you act in another name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign org rename 'Acme Air Lines'
  $ ensign org rename 'Acme Air Lines' --workspace acme-air")]
struct RenameArgs {
    /// The new name
    #[arg(value_name = "NAME")]
    name: String,

    /// Give its workspace another name, too
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,
}

impl Named for Organization {
    const KIND: &'static str = "organization";
    const LIST: &'static str = "ensign org list";

    fn id(&self) -> &str {
        &self.id
    }

    fn names(&self) -> Vec<&str> {
        vec![&self.name, &self.domain]
    }
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| match self.command {
            Command::List(_) => list(context).await,
            Command::Show(args) => show(context, args.organization.as_deref()).await,
            Command::Switch(args) => switch(context, &args.organization).await,
            Command::Rename(args) => rename(context, args).await,
        })
    }
}

async fn list(context: &mut Context) -> Result<()> {
    let account = context.account().await?;
    let current = account.claims().await?.organization;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for organization in account.organizations().await? {
        let is_current = organization.id == current;
        rows.push(vec![
            if is_current { "*" } else { "" }.to_owned(),
            organization.name.clone(),
            organization.domain.clone(),
            human::count(organization.projects),
            human::or_dash(organization.last_login),
            organization.id.clone(),
        ]);
        values.push(value(&organization, is_current));
    }
    let columns = &["current", "name", "workspace", "projects", "last login", "id"];
    context.output.list(Listing { columns, rows, values, when_empty: "you are a member of no organization" })
}

async fn show(context: &mut Context, wanted: Option<&str>) -> Result<()> {
    let account = context.account().await?;
    let current = account.claims().await?.organization;
    let organization = find(account.organizations().await?, wanted.unwrap_or(&current))?;
    let is_current = organization.id == current;
    context.output.detail(detail(&organization, is_current))
}

async fn switch(context: &mut Context, wanted: &str) -> Result<()> {
    let account = context.account().await?;
    let organization = find(account.organizations().await?, wanted)?;
    let account = enter(account, &organization).await?;
    let projects = account.projects().await?;
    let only = match projects.as_slice() {
        [project] => Some(project),
        _ => None,
    };
    let profile = context.update_profile(|profile| {
        if profile.organization.as_ref() != Some(&organization.id) {
            profile.project = only.map(|project| project.id.clone());
        }
        profile.organization = Some(organization.id.clone());
    })?;
    let next = match only {
        Some(project) => format!("in project {}", project.name),
        None => format!("{}; `ensign project use` chooses one", human::counted(projects.len() as u64, "project")),
    };
    context.output.note(&format!("profile {profile} acts in organization {}, {next}", organization.label()));
    context.output.result(detail(&organization, true))
}

/// Signs in to an organization, unless the account is in it.
async fn enter(account: Account, organization: &Organization) -> Result<Account> {
    if account.claims().await?.organization == organization.id {
        return Ok(account);
    }
    Ok(account.switch(&organization.id).await?)
}

async fn rename(context: &mut Context, args: RenameArgs) -> Result<()> {
    let name = args.name.trim();
    if name.is_empty() {
        return Err(CliError::usage("an organization's name can't be empty"));
    }
    let account = context.account().await?;
    let current = account.claims().await?.organization;
    let before = find(account.organizations().await?, &current)?;
    let domain = args.workspace.unwrap_or_else(|| before.domain.clone());
    let wanted = Organization { name: name.to_owned(), domain, ..before.clone() };
    let about = |error| CliError::from(error).about(format!("organization {}", before.label()));
    let after = account.update_organization(&wanted).await.map_err(about)?;
    let (old, new) = (before.label(), after.label());
    context.output.note(&format!("organization {old} is now called {new}, its workspace {}", after.domain));
    context.output.result(detail(&after, true))
}

fn detail(organization: &Organization, is_current: bool) -> Detail {
    let fields = vec![
        ("name", organization.name.clone()),
        ("workspace", organization.domain.clone()),
        ("id", organization.id.clone()),
        ("current", if is_current { "yes" } else { "no" }.to_owned()),
        ("projects", human::count(organization.projects)),
        ("last login", human::or_dash(organization.last_login)),
        ("created", human::or_dash(organization.created)),
    ];
    Detail { fields, value: value(organization, is_current) }
}

fn value(organization: &Organization, is_current: bool) -> Value {
    json!({
        "id": organization.id,
        "name": organization.name,
        "workspace": organization.domain,
        "current": is_current,
        "projects": organization.projects,
        "last_login": organization.last_login.map(|time| time.to_string()),
        "created": organization.created.map(|time| time.to_string()),
    })
}
