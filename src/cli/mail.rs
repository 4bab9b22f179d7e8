//! `ensign mail`: what a server without a mail server would have mailed.

use serde_json::json;

use super::{
    Context,
    error::{CliError, Result},
    human,
    output::{Detail, Listing},
};
use crate::{client::Mail, model::Secret};

/// Show mail that the server did not send
///
/// A server without a mail server keeps its mail as long as it is of use. Who may add members sees invitations; the owner
/// of an organization sees what its members would have got; the owner of the organization that the server made by itself
/// sees everything. These commands need an account: `ensign login --email ADDRESS`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    List(ListArgs),
    Show(ShowArgs),
}

/// List the mail, without its tokens
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign mail list
  $ ensign mail list --jq '.[].to'")]
struct ListArgs {}

/// Show the token of the newest mail to an address
///
/// The token lets its bearer do what the mail is for: be careful whom you give it to.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign mail show ann@example.com | ensign register --verify
  $ ensign mail show bob@example.com --purpose invitation > invitation.txt")]
struct ShowArgs {
    /// Whom it is to
    #[arg(value_name = "ADDRESS")]
    address: String,

    /// What it is for
    #[arg(long, value_name = "PURPOSE")]
    purpose: Option<Purpose>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Purpose {
    /// To show that an address is one's own
    Verification,
    /// To replace a password
    PasswordReset,
    /// To join an organization
    Invitation,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Purpose::Verification => "verification",
            Purpose::PasswordReset => "password reset",
            Purpose::Invitation => INVITATION,
        }
    }
}

const INVITATION: &str = "invitation";

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let mail = context.block_on(async |context| Ok(context.account().await?.mail().await?))?;
        match self.command {
            Command::List(_) => list(context, &mail),
            Command::Show(args) => show(context, &mail, &args),
        }
    }
}

fn list(context: &mut Context, mail: &[Mail]) -> Result<()> {
    let row = |mail: &Mail| {
        vec![mail.to.clone(), mail.purpose.clone(), human::or_dash(mail.created), human::or_dash(mail.expires)]
    };
    let value = |mail: &Mail| {
        json!({
            "to": mail.to,
            "purpose": mail.purpose,
            "created": mail.created.map(|time| time.to_string()),
            "expires": mail.expires.map(|time| time.to_string()),
        })
    };
    context.output.list(Listing {
        columns: &["to", "purpose", "created", "expires"],
        rows: mail.iter().map(row).collect(),
        values: mail.iter().map(value).collect(),
        when_empty: "there is no mail that was not sent",
    })
}

fn show(context: &mut Context, mail: &[Mail], args: &ShowArgs) -> Result<()> {
    let purpose = args.purpose.map(Purpose::name);
    let Some(found) = newest(mail, &args.address, purpose) else {
        return Err(CliError::not_found(format!("there is no mail to {} that was not sent", args.address))
            .hint("`ensign mail list` shows what there is; with a mail server, it was sent"));
    };
    let token = found.token.expose_str().unwrap_or_default();
    if context.output.is_for_people() {
        return context.output.text(format!("{token}\n").as_bytes());
    }
    let fields = vec![
        ("to", found.to.clone()),
        ("purpose", found.purpose.clone()),
        ("expires", human::or_dash(found.expires)),
        ("token", token.to_owned()),
    ];
    let expires = found.expires.map(|time| time.to_string());
    let value = json!({ "to": found.to, "purpose": found.purpose, "expires": expires, "token": token });
    context.output.detail(Detail { fields, value })
}

fn newest<'a>(mail: &'a [Mail], address: &str, purpose: Option<&str>) -> Option<&'a Mail> {
    let is_meant =
        |mail: &&Mail| mail.to.eq_ignore_ascii_case(address) && purpose.is_none_or(|purpose| mail.purpose == purpose);
    mail.iter().filter(is_meant).max_by_key(|mail| mail.created)
}

/// The token of the newest invitation to an address, if it was not sent.
pub(super) fn invitation(mail: &[Mail], address: &str) -> Option<Secret> {
    newest(mail, address, Some(INVITATION)).map(|mail| mail.token.clone())
}
