//! `ensign key`: API keys, which programs sign in with.

mod create;
mod handover;

use clap_complete::ArgValueCandidates;
use serde_json::{Value, json};

use super::{
    Context, complete,
    error::{CliError, Result},
    find::{Named, find},
    human,
    output::{Detail, Listing},
    project, prompt,
};
use crate::client::{Key, KeyDetail, Project};

/// Manage API keys
///
/// A key belongs to one project and has permissions of its own. These commands need an account:
/// `ensign login --email ADDRESS`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Create(create::Args),
    List(ListArgs),
    Show(ShowArgs),
    Revoke(RevokeArgs),
    Permissions(PermissionsArgs),
}

/// List the API keys of the project
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign key list
  $ ensign key list --all --jq '.[] | select(.status == \"unused\") | .name'")]
struct ListArgs {
    /// List the keys of all projects of the organization
    #[arg(long)]
    all: bool,
}

/// Show an API key, without its secret
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign key show ingest
  $ ensign key show ingest --jq '.permissions[]'")]
struct ShowArgs {
    /// The key, by name, client id or id
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::keys))]
    key: String,
}

/// Revoke an API key for good
///
/// Asks for its name on a terminal. What the key has open ends, and its tokens are refused at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign key revoke ingest
  $ ensign key revoke DbIxBEtIUgNIClnFMDmvoZeMrLxUTJVa --yes")]
struct RevokeArgs {
    /// The key, by name, client id or id
    #[arg(value_name = "KEY", add = ArgValueCandidates::new(complete::keys))]
    key: String,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

/// List the permissions that you can give to keys
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign key permissions
  $ ensign key permissions --jq '.[].name'")]
struct PermissionsArgs {}

impl Named for Key {
    const KIND: &'static str = "key";
    const LIST: &'static str = "ensign key list --all";

    fn id(&self) -> &str {
        &self.id
    }

    fn names(&self) -> Vec<&str> {
        vec![&self.name, &self.client_id]
    }
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| match self.command {
            Command::Create(args) => args.run(context).await,
            Command::List(args) => list(context, args.all).await,
            Command::Show(args) => show(context, &args.key).await,
            Command::Revoke(args) => revoke(context, &args).await,
            Command::Permissions(_) => permissions(context).await,
        })
    }
}

async fn list(context: &mut Context, all: bool) -> Result<()> {
    let account = context.account().await?;
    let (keys, projects) = if all {
        (account.keys(None).await?, account.projects().await?)
    } else {
        let project = project::current(context, &account, None).await?;
        (account.keys(Some(&project.id)).await?, vec![project])
    };
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for key in keys {
        let project = projects.iter().find(|project| project.id == key.project_id);
        rows.push(vec![
            key.name.clone(),
            human::or_dash(project.map(|project| &project.name)),
            if key.partial { "some" } else { "all" }.to_owned(),
            key.status.to_lowercase(),
            human::or_dash(key.last_used),
            key.client_id.clone(),
            key.id.clone(),
        ]);
        values.push(json!({
            "id": key.id,
            "name": key.name,
            "client_id": key.client_id,
            "project_id": key.project_id,
            "project": project.map(|project| &project.name),
            "partial": key.partial,
            "status": key.status.to_lowercase(),
            "last_used": key.last_used.map(|time| time.to_string()),
            "created": key.created.map(|time| time.to_string()),
        }));
    }
    let columns = &["name", "project", "permissions", "status", "last used", "client id", "id"];
    let when_empty = "there are no keys; `ensign key create NAME` makes one";
    context.output.list(Listing { columns, rows, values, when_empty })
}

async fn show(context: &mut Context, wanted: &str) -> Result<()> {
    let account = context.account().await?;
    let found = find(account.keys(None).await?, wanted)?;
    let key = account.key(&found.id).await?;
    let projects = account.projects().await?;
    let project = projects.iter().find(|project| project.id == key.project_id);
    let mut shown = detail(&key, project);
    shown.fields.push(("status", found.status.to_lowercase()));
    shown.fields.push(("last used", human::or_dash(key.last_used)));
    shown.value["status"] = json!(found.status.to_lowercase());
    shown.value["last_used"] = json!(key.last_used.map(|time| time.to_string()));
    context.output.detail(shown)
}

async fn revoke(context: &mut Context, args: &RevokeArgs) -> Result<()> {
    let account = context.account().await?;
    let key = find(account.keys(None).await?, &args.key)?;
    let label = if key.name.is_empty() { &key.client_id } else { &key.name };
    prompt::confirm_removal(context, args.yes, "key", label)?;
    let about = |error| CliError::from(error).about(format!("key {label}"));
    account.revoke_key(&key.id).await.map_err(about)?;
    context.output.note(&format!("revoked key {label}"));
    let fields = vec![
        ("name", key.name.clone()),
        ("client_id", key.client_id.clone()),
        ("id", key.id.clone()),
        ("status", "revoked".to_owned()),
    ];
    let value = json!({ "id": key.id, "name": key.name, "client_id": key.client_id, "status": "revoked" });
    context.output.result(Detail { fields, value })
}

async fn permissions(context: &mut Context) -> Result<()> {
    let account = context.account().await?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for name in account.key_permissions().await? {
        let meaning = meaning(&name);
        values.push(json!({ "name": name, "meaning": meaning }));
        rows.push(vec![name, human::or_dash(meaning)]);
    }
    let when_empty = "your role can give no permissions to keys";
    context.output.list(Listing { columns: &["name", "meaning"], rows, values, when_empty })
}

/// What a permission lets a key do.
fn meaning(permission: &str) -> Option<&'static str> {
    Some(match permission {
        "topics:create" => "create topics",
        "topics:edit" => "archive topics and change their policies",
        "topics:destroy" => "destroy topics",
        "topics:read" => "list topics, and look at them",
        "metrics:read" => "see how much topics and the project hold",
        "publisher" => "publish events",
        "subscriber" => "read events",
        _ => return None,
    })
}

/// A key, without its secret.
fn detail(key: &KeyDetail, project: Option<&Project>) -> Detail {
    let name = project.map(|project| project.name.clone());
    let fields = vec![
        ("name", key.name.clone()),
        ("client id", key.client_id.clone()),
        ("project", name.clone().unwrap_or_else(|| key.project_id.clone())),
        ("permissions", key.permissions.join(" ")),
        ("created", human::or_dash(key.created)),
        ("id", key.id.clone()),
    ];
    let value: Value = json!({
        "id": key.id,
        "name": key.name,
        "client_id": key.client_id,
        "project_id": key.project_id,
        "project": name,
        "permissions": key.permissions,
        "created": key.created.map(|time| time.to_string()),
    });
    Detail { fields, value }
}
