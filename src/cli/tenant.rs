//! `ensign tenant`: what keeps projects apart, such as development and production.

use clap::ValueEnum;
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
use crate::client::Tenant;

/// Manage tenants, the groups of projects
///
/// A tenant is an environment, such as development or production, and has projects. These commands need an account:
/// `ensign login --email ADDRESS`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(CreateArgs),
    List(ListArgs),
    Remove(RemoveArgs),
}

/// What a tenant is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Development,
    Staging,
    Production,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Development => "Development",
            Kind::Staging => "Staging",
            Kind::Production => "Production",
        }
    }
}

/// Create a tenant
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign tenant create europe --environment production
  $ ensign tenant create trials")]
struct CreateArgs {
    /// The name
    #[arg(value_name = "NAME")]
    name: String,

    /// What it is for
    #[arg(long, value_name = "KIND", default_value = "development", ignore_case = true)]
    environment: Kind,
}

/// List the tenants of the organization
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign tenant list
  $ ensign tenant list --jq '.[].name'")]
struct ListArgs {}

/// Remove a tenant that has no projects
///
/// Asks for its name on a terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign tenant remove trials
  $ ensign tenant remove trials --yes")]
struct RemoveArgs {
    /// The tenant, by name or id
    #[arg(value_name = "TENANT", add = ArgValueCandidates::new(complete::tenants))]
    tenant: String,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

impl Named for Tenant {
    const KIND: &'static str = "tenant";
    const LIST: &'static str = "ensign tenant list";

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
            Command::Create(args) => create(context, &args).await,
            Command::List(_) => list(context).await,
            Command::Remove(args) => remove(context, &args).await,
        })
    }
}

async fn create(context: &mut Context, args: &CreateArgs) -> Result<()> {
    let name = args.name.trim();
    if name.is_empty() {
        return Err(CliError::usage("a tenant's name can't be empty"));
    }
    let account = context.account().await?;
    let about = |error| CliError::from(error).about(format!("tenant {name}"));
    let tenant = account.create_tenant(name, args.environment.name()).await.map_err(about)?;
    context.output.note(&format!("created tenant {}", tenant.name));
    context.output.result(detail(&tenant))
}

async fn list(context: &mut Context) -> Result<()> {
    let account = context.account().await?;
    let projects = account.projects().await?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for tenant in account.tenants().await? {
        let projects = projects.iter().filter(|project| project.tenant_id == tenant.id).count();
        rows.push(vec![
            tenant.name.clone(),
            tenant.environment_type.to_lowercase(),
            human::count(projects as u64),
            human::or_dash(tenant.created),
            tenant.id.clone(),
        ]);
        let mut value = value(&tenant);
        value["projects"] = json!(projects);
        values.push(value);
    }
    let columns = &["name", "environment", "projects", "created", "id"];
    let when_empty = "there are no tenants; `ensign tenant create NAME` makes one";
    context.output.list(Listing { columns, rows, values, when_empty })
}

async fn remove(context: &mut Context, args: &RemoveArgs) -> Result<()> {
    let account = context.account().await?;
    let tenant = find(account.tenants().await?, &args.tenant)?;
    prompt::confirm_removal(context, args.yes, "tenant", &tenant.name)?;
    let about = |error| CliError::from(error).about(format!("tenant {}", tenant.name));
    account.remove_tenant(&tenant.id).await.map_err(about)?;
    context.output.note(&format!("removed tenant {}", tenant.name));
    context.output.result(detail(&tenant))
}

fn detail(tenant: &Tenant) -> Detail {
    let fields = vec![
        ("name", tenant.name.clone()),
        ("environment", tenant.environment_type.to_lowercase()),
        ("created", human::or_dash(tenant.created)),
        ("id", tenant.id.clone()),
    ];
    Detail { fields, value: value(tenant) }
}

fn value(tenant: &Tenant) -> Value {
    json!({
        "id": tenant.id,
        "name": tenant.name,
        "environment": tenant.environment_type.to_lowercase(),
        "created": tenant.created.map(|time| time.to_string()),
    })
}
