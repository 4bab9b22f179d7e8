//! `ensign project`: what topics and keys belong to.

use clap_complete::ArgValueCandidates;
use serde_json::{Value, json};

use super::{
    Context, complete,
    error::{CliError, Result},
    find::{Named, find},
    human,
    output::{Detail, Listing},
    prompt,
};
use crate::{
    client::{Account, NewProject, Project, Tenant},
    model::Ulid,
};

/// Manage projects
///
/// A project has topics and API keys. These commands need an account: `ensign login --email ADDRESS`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Show(ShowArgs),
    Use(UseArgs),
    Rename(RenameArgs),
    Remove(RemoveArgs),
}

/// Create a project
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign project create flights
  $ ensign project create flights --tenant europe --description 'Positions of aircraft' --use")]
struct CreateArgs {
    /// The name
    #[arg(value_name = "NAME")]
    name: String,

    /// The tenant, by name or id; without it, the oldest one
    #[arg(long, value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: Option<String>,

    /// What it is for
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,

    /// Make it the profile's project
    #[arg(long = "use")]
    is_used: bool,
}

/// List the projects of the organization
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign project list
  $ ensign project list --jq '.[].name'")]
struct ListArgs {}

/// Show a project
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign project show
  $ ensign project show flights -o yaml")]
struct ShowArgs {
    /// The project, by name or id; without it, the profile's
    #[arg(value_name = "PROJECT", add = ArgValueCandidates::new(complete::projects))]
    project: Option<String>,
}

/// Make a project the profile's
///
/// Commands for topics act on it from then on: with the profile's key if that is the project's, else with the account,
/// which may do everything but publish and read events.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign project use flights
  $ ensign project use flights && ensign topic list")]
struct UseArgs {
    /// The project, by name or id
    #[arg(value_name = "PROJECT", add = ArgValueCandidates::new(complete::projects))]
    project: String,
}

/// Give a project another name
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign project rename flights positions
  $ ensign project rename flights flights --description 'Positions of aircraft'")]
struct RenameArgs {
    /// The project, by name or id
    #[arg(value_name = "PROJECT", add = ArgValueCandidates::new(complete::projects))]
    project: String,

    /// The new name
    #[arg(value_name = "NEW-NAME")]
    name: String,

    /// Describe it anew, too
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// Remove a project for good, with its topics, events and keys
///
/// Asks for its name on a terminal. There is no way back.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign project remove trial
  $ ensign project remove trial --yes")]
struct RemoveArgs {
    /// The project, by name or id
    #[arg(value_name = "PROJECT", add = ArgValueCandidates::new(complete::projects))]
    project: String,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

impl Named for Project {
    const KIND: &'static str = "project";
    const LIST: &'static str = "ensign project list";

    fn id(&self) -> &str {
        &self.id
    }

    fn names(&self) -> Vec<&str> {
        vec![&self.name]
    }
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| match self.command {
            Command::Create(args) => create(context, args).await,
            Command::List(_) => list(context).await,
            Command::Show(args) => show(context, args.project.as_deref()).await,
            Command::Use(args) => choose(context, &args.project).await,
            Command::Rename(args) => rename(context, &args).await,
            Command::Remove(args) => remove(context, &args).await,
        })
    }
}

/// The project to act on: the one that is wanted, by name or id, or else the organization's only one.
pub(super) async fn chosen(account: &Account, wanted: Option<&str>) -> Result<String> {
    if let Some(wanted) = wanted {
        if Ulid::parse_lenient(wanted).is_ok() {
            return Ok(wanted.to_ascii_uppercase());
        }
        return Ok(find(account.projects().await?, wanted)?.id);
    }
    match account.projects().await?.as_slice() {
        [project] => Ok(project.id.clone()),
        [] => {
            Err(CliError::not_found("the organization has no projects").hint("`ensign project create NAME` makes one"))
        }
        [_, ..] => Err(CliError::usage("the organization has several projects, and none is chosen")
            .hint("choose one with `ensign project use NAME`, or with --project NAME")),
    }
}

/// The project of a command that is about one: what `--project` or the profile says, or else the only one.
pub(super) async fn current(context: &Context, account: &Account, wanted: Option<&str>) -> Result<Project> {
    let said = context.target()?.project.map(|project| project.value);
    let wanted = wanted.map(str::to_owned).or(said);
    let id = match &wanted {
        Some(wanted) => wanted.clone(),
        None => chosen(account, None).await?,
    };
    find(account.projects().await?, &id)
}

async fn create(context: &mut Context, args: CreateArgs) -> Result<()> {
    let name = args.name.trim().to_owned();
    if name.is_empty() {
        return Err(CliError::usage("a project's name can't be empty"));
    }
    let account = context.account().await?;
    let tenant_id = match &args.tenant {
        Some(wanted) => find(account.tenants().await?, wanted)?.id,
        None => String::new(),
    };
    let about = |error| CliError::from(error).about(format!("project {name}"));
    let new = NewProject { tenant_id, name: name.clone(), description: args.description };
    let project = account.create_project(&new).await.map_err(about)?;
    context.output.note(&format!("created project {}", project.name));
    if args.is_used {
        remember(context, &account, &project).await?;
    }
    let tenants = account.tenants().await?;
    context.output.result(detail(&project, &tenants))
}

async fn list(context: &mut Context) -> Result<()> {
    let account = context.account().await?;
    let used = context.target()?.project.map(|project| project.value).unwrap_or_default();
    let (projects, tenants) = (account.projects().await?, account.tenants().await?);
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for project in &projects {
        let is_used = project.id.eq_ignore_ascii_case(&used);
        rows.push(vec![
            if is_used { "*" } else { "" }.to_owned(),
            project.name.clone(),
            tenant_name(project, &tenants),
            human::count(project.active_topics),
            human::bytes(project.data_storage.value),
            human::or_dash(project.created),
            project.id.clone(),
        ]);
        let mut value = value(project, &tenants);
        value["used"] = json!(is_used);
        values.push(value);
    }
    let columns = &["used", "name", "tenant", "topics", "size", "created", "id"];
    let when_empty = "there are no projects; `ensign project create NAME` makes one";
    context.output.list(Listing { columns, rows, values, when_empty })
}

async fn show(context: &mut Context, wanted: Option<&str>) -> Result<()> {
    let account = context.account().await?;
    let project = current(context, &account, wanted).await?;
    let tenants = account.tenants().await?;
    let keys = account.keys(Some(&project.id)).await?.len();
    let mut shown = detail(&project, &tenants);
    shown.fields.push(("keys", human::count(keys as u64)));
    shown.value["keys"] = json!(keys);
    context.output.detail(shown)
}

async fn choose(context: &mut Context, wanted: &str) -> Result<()> {
    let account = context.account().await?;
    let project = find(account.projects().await?, wanted)?;
    remember(context, &account, &project).await?;
    let tenants = account.tenants().await?;
    context.output.result(detail(&project, &tenants))
}

async fn remember(context: &Context, account: &Account, project: &Project) -> Result<()> {
    let organization = account.claims().await?.organization;
    let profile = context.update_profile(|profile| {
        profile.project = Some(project.id.clone());
        profile.organization = Some(organization);
    })?;
    context.output.note(&format!("profile {profile} uses project {}", project.name));
    Ok(())
}

async fn rename(context: &mut Context, args: &RenameArgs) -> Result<()> {
    let name = args.name.trim();
    if name.is_empty() {
        return Err(CliError::usage("a project's name can't be empty"));
    }
    let account = context.account().await?;
    let project = find(account.projects().await?, &args.project)?;
    let about = |error| CliError::from(error).about(format!("project {}", project.name));
    let changed = account.update_project(&project.id, Some(name), args.description.as_deref()).await.map_err(about)?;
    context.output.note(&format!("project {} is now called {}", project.name, changed.name));
    let tenants = account.tenants().await?;
    context.output.result(detail(&changed, &tenants))
}

async fn remove(context: &mut Context, args: &RemoveArgs) -> Result<()> {
    let account = context.account().await?;
    let project = find(account.projects().await?, &args.project)?;
    let tenants = account.tenants().await?;
    prompt::confirm_by_name(context, args.yes, "project", &project.name)?;
    let about = |error| CliError::from(error).about(format!("project {}", project.name));
    let token = account.prepare_project_removal(&project.id).await.map_err(about)?;
    account.remove_project(&project.id, &token).await.map_err(about)?;
    context.output.note(&format!("removed project {}", project.name));
    forget(context, &project.id)?;
    context.output.result(detail(&project, &tenants))
}

/// A profile's project that is not there any more is no project.
fn forget(context: &Context, id: &str) -> Result<()> {
    if context.target()?.profile_of_account().is_none() {
        return Ok(());
    }
    let drop_it = |profile: &mut crate::credentials::Profile| {
        profile.project.take_if(|project| project.eq_ignore_ascii_case(id));
    };
    context.update_profile(drop_it).map(drop)
}

fn tenant_name(project: &Project, tenants: &[Tenant]) -> String {
    human::or_dash(tenants.iter().find(|tenant| tenant.id == project.tenant_id).map(|tenant| &tenant.name))
}

fn detail(project: &Project, tenants: &[Tenant]) -> Detail {
    let fields = vec![
        ("name", project.name.clone()),
        ("id", project.id.clone()),
        ("tenant", tenant_name(project, tenants)),
        ("description", human::or_dash(Some(&project.description).filter(|text| !text.is_empty()))),
        ("status", human::or_dash(Some(project.status.to_lowercase()).filter(|text| !text.is_empty()))),
        ("owner", human::or_dash(project.owner.as_ref().map(|owner| &owner.email))),
        ("topics", human::count(project.active_topics)),
        ("size", human::bytes(project.data_storage.value)),
        ("created", human::or_dash(project.created)),
        ("modified", human::or_dash(project.modified)),
    ];
    Detail { fields, value: value(project, tenants) }
}

fn value(project: &Project, tenants: &[Tenant]) -> Value {
    json!({
        "id": project.id,
        "name": project.name,
        "tenant_id": project.tenant_id,
        "tenant": tenants.iter().find(|tenant| tenant.id == project.tenant_id).map(|tenant| &tenant.name),
        "description": project.description,
        "status": project.status.to_lowercase(),
        "owner": project.owner.as_ref().map(|owner| &owner.email),
        "topics": project.active_topics,
        "bytes": project.data_storage.value,
        "created": project.created.map(|time| time.to_string()),
        "modified": project.modified.map(|time| time.to_string()),
    })
}
