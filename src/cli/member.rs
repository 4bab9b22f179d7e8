//! `ensign member`: who belongs to the organization, and as what.

use clap::ValueEnum;
use clap_complete::ArgValueCandidates;
use serde_json::{Value, json};

use super::{
    Context, complete,
    error::{CliError, Result},
    find::{Named, find},
    human, invite,
    output::{Detail, Listing},
    prompt,
};
use crate::client::{Account, Member, Removal};

/// Manage the members of the organization
///
/// These commands need an account: `ensign login --email ADDRESS`. Owners may do everything; admins everything but what
/// concerns the organization itself and its owners; members manage projects, topics and keys; observers look.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Invite(InviteArgs),
    Role(RoleArgs),
    Remove(RemoveArgs),
}

/// What a member may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Role {
    Owner,
    Admin,
    Member,
    Observer,
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Owner => "Owner",
            Role::Admin => "Admin",
            Role::Member => "Member",
            Role::Observer => "Observer",
        }
    }
}

/// List the members of the organization
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign member list
  $ ensign member list --jq '.[] | select(.role == \"Owner\") | .email'")]
struct ListArgs {}

/// Invite somebody to the organization
///
/// The invitation is mailed. A server that has no mail server mails nothing; then the token is printed, for you to hand
/// over: who has it can accept the invitation for that address.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign member invite bob@example.com
  $ ensign member invite eve@example.com --role observer -o json --jq .token")]
struct InviteArgs {
    /// The e-mail address
    #[arg(value_name = "ADDRESS")]
    email: String,

    /// What they may do
    #[arg(long, value_name = "ROLE", default_value = "member", ignore_case = true)]
    role: Role,
}

/// Give a member another role
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign member role bob@example.com admin
  $ ensign member role 01JD8ZKQ5V7M3F0T9Y6XW2BHCN observer")]
struct RoleArgs {
    /// The member, by e-mail address, name or id
    #[arg(value_name = "MEMBER", add = ArgValueCandidates::new(complete::members))]
    member: String,

    /// The new role
    #[arg(value_name = "ROLE", ignore_case = true)]
    role: Role,
}

/// Remove a member from the organization
///
/// Asks for the address on a terminal. Who made API keys is removed only once you have seen which ones, and have agreed
/// again: the keys are revoked.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign member remove bob@example.com
  $ ensign member remove bob@example.com --yes")]
struct RemoveArgs {
    /// The member, by e-mail address, name or id
    #[arg(value_name = "MEMBER", add = ArgValueCandidates::new(complete::members))]
    member: String,

    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

impl Named for Member {
    const KIND: &'static str = "member";
    const LIST: &'static str = "ensign member list";

    fn id(&self) -> &str {
        &self.id
    }

    fn names(&self) -> Vec<&str> {
        vec![&self.email, &self.name]
    }
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        context.block_on(async |context| match self.command {
            Command::List(_) => list(context).await,
            Command::Invite(args) => invite::send(context, &args.email, args.role.name()).await,
            Command::Role(args) => role(context, &args).await,
            Command::Remove(args) => remove(context, &args).await,
        })
    }
}

async fn list(context: &mut Context) -> Result<()> {
    let account = context.account().await?;
    let mut rows = Vec::new();
    let mut values = Vec::new();
    for member in account.members().await? {
        rows.push(vec![
            member.name.clone(),
            member.email.clone(),
            member.role.clone(),
            human::or_dash(member.last_login),
            member.id.clone(),
        ]);
        values.push(value(&member));
    }
    let columns = &["name", "email", "role", "last login", "id"];
    context.output.list(Listing { columns, rows, values, when_empty: "the organization has no members" })
}

async fn role(context: &mut Context, args: &RoleArgs) -> Result<()> {
    let account = context.account().await?;
    let member = find(account.members().await?, &args.member)?;
    let about = |error| CliError::from(error).about(format!("member {}", member.email));
    let changed = account.set_role(&member.id, args.role.name()).await.map_err(about)?;
    context.output.note(&format!("{} is {} now", member.email, changed.role));
    context.output.result(detail(&changed))
}

async fn remove(context: &mut Context, args: &RemoveArgs) -> Result<()> {
    let account = context.account().await?;
    let member = find(account.members().await?, &args.member)?;
    prompt::confirm_removal(context, args.yes, "member", &member.email)?;
    let about = |error| CliError::from(error).about(format!("member {}", member.email));
    match account.remove_member(&member.id).await.map_err(about)? {
        Removal::Done => context.output.note(&format!("removed member {}", member.email)),
        Removal::Unconfirmed { keys, token } => {
            confirm_keys(args.yes, &member, &keys)?;
            account.confirm_removal(&member.id, &token).await.map_err(about)?;
            context.output.note(&format!("removed member {}, and revoked {}", member.email, listed(&keys)));
        }
    }
    context.output.result(detail(&member))
}

/// Has it agreed to that keys end with the member who made them.
fn confirm_keys(yes: bool, member: &Member, keys: &[String]) -> Result<()> {
    if yes {
        return Ok(());
    }
    if prompt::agree(&format!("{} made {}, which will be revoked; go on?", member.email, listed(keys)))? {
        return Ok(());
    }
    Err(CliError::failed(format!("member {} was not removed", member.email)))
}

fn listed(keys: &[String]) -> String {
    let noun = if keys.len() == 1 { "the API key" } else { "the API keys" };
    format!("{noun} {}", keys.join(", "))
}

/// Who is signed in, as a member.
pub(super) async fn oneself(account: &Account) -> Result<Member> {
    let id = account.claims().await?.subject;
    Ok(account.member(&id).await?)
}

fn detail(member: &Member) -> Detail {
    let fields = vec![
        ("name", member.name.clone()),
        ("email", member.email.clone()),
        ("role", member.role.clone()),
        ("last login", human::or_dash(member.last_login)),
        ("id", member.id.clone()),
    ];
    Detail { fields, value: value(member) }
}

fn value(member: &Member) -> Value {
    json!({
        "id": member.id,
        "name": member.name,
        "email": member.email,
        "role": member.role,
        "last_login": member.last_login.map(|time| time.to_string()),
    })
}
