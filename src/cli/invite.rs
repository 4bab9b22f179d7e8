//! `ensign invite`: what an invitation says, and accepting it.

use std::path::PathBuf;

use serde_json::json;

use super::{
    Context,
    error::{CliError, Result},
    human, login, mail,
    output::Detail,
    prompt,
    secret_input::{SecretInput, token_of},
    storage::{Storage, kept},
};
use crate::{
    client::{Account, AccountCredentials, ClientError, Invitation, InvitationPreview, NewAccount, Registration},
    credentials::Stored,
    model::Secret,
};

/// Look at and accept invitations to organizations
///
/// The token of an invitation, or its whole link, is asked for on a terminal, or comes from a file or a line of standard
/// input. `ensign member invite` makes invitations.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Show(ShowArgs),
    Accept(AcceptArgs),
}

/// Show what an invitation says
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign invite show
  $ ensign invite show --token-file invitation.txt -o json")]
struct ShowArgs {
    /// Read the token from this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Accept an invitation
///
/// Who has an account on the server signs in with its password; who has none makes one, for which a name and a new
/// password are needed. Then the profile remembers the account in the organization.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign invite accept
  $ ensign invite accept --token-file invitation.txt --password-file password.txt --name 'Bob Ray'")]
struct AcceptArgs {
    /// Read the token from this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Read the password from this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Your name, for a new account
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Agree to the terms of use and the privacy policy of whoever runs the server, for a new account
    #[arg(long)]
    accept_terms: bool,

    /// Where to keep the password
    #[arg(long, value_name = "PLACE", default_value = "best")]
    storage: Storage,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let registration = Registration::at(context.target_of_new_profile()?.endpoint()?, context.clock.clone());
        match self.command {
            Command::Show(args) => {
                let token = token(context, args.token_file.as_deref())?;
                let preview = context.block_on(async |_| Ok(registration.invitation(&token).await?))?;
                context.output.detail(shown(&preview))
            }
            Command::Accept(args) => args.run(context, &registration),
        }
    }
}

fn token(context: &Context, file: Option<&std::path::Path>) -> Result<Secret> {
    let what = "the token, or the link, of the invitation";
    let input = SecretInput { what, flag: "--token-file", file, variable: None, is_new: false };
    Ok(token_of(&input.read(context)?))
}

fn shown(preview: &InvitationPreview) -> Detail {
    let account = if preview.user_exists { "there is one with this address" } else { "a new one is needed" };
    let fields = vec![
        ("organization", preview.organization.clone()),
        ("role", preview.role.clone()),
        ("invited by", preview.inviter.clone()),
        ("email", preview.email.clone()),
        ("account", account.to_owned()),
    ];
    let value = json!({
        "organization": preview.organization,
        "role": preview.role,
        "inviter": preview.inviter,
        "email": preview.email,
        "user_exists": preview.user_exists,
    });
    Detail { fields, value }
}

impl AcceptArgs {
    fn run(self, context: &mut Context, registration: &Registration) -> Result<()> {
        let token = token(context, self.token_file.as_deref())?;
        let preview = context.block_on(async |_| Ok(registration.invitation(&token).await?))?;
        let is_new = !preview.user_exists;
        let registrant = if is_new { Some(self.registrant(context, &preview)?) } else { None };
        let what = if is_new {
            format!("a password for {}", preview.email)
        } else {
            format!("the password of {}", preview.email)
        };
        let (file, variable) = (self.password_file.as_deref(), Some("ENSIGN_PASSWORD"));
        let password = SecretInput { what: &what, flag: "--password-file", file, variable, is_new }.read(context)?;
        let (claims, project) = context.block_on(async |context| {
            let credentials =
                AccountCredentials { email: preview.email.clone(), password: password.clone(), organization: None };
            let account = match registrant {
                Some(name) => {
                    let account = new_account(&preview, name, &password, &token);
                    registration.register(&account).await?;
                    Account::sign_in(context.target_of_new_profile()?.endpoint()?, credentials, context.clock.clone())
                        .await?
                }
                None => registration.sign_in_invited(credentials, &token).await.map_err(refused)?,
            };
            Ok((account.claims().await?, only_project(&account).await?))
        })?;
        self.remember(context, &preview, (&claims.organization, project), &password).map_err(|error| {
            let InvitationPreview { email, organization, role, .. } = &preview;
            let hint = error.hint.clone().map_or_else(String::new, |hint| format!("{hint}; "));
            let message =
                format!("{email} is {role} of {organization} now, but no profile could be made: {}", error.message);
            CliError { message, ..error }.hint(format!("{hint}then sign in with `ensign login --email {email}`"))
        })
    }

    /// The name of somebody who makes an account, and agrees to what that takes.
    fn registrant(&self, context: &Context, preview: &InvitationPreview) -> Result<String> {
        let name = match &self.name {
            Some(name) => name.trim().to_owned(),
            None if context.may_prompt() => prompt::text("your name", false)?,
            None => {
                return Err(CliError::usage(format!(
                    "{} has no account yet, and a new one needs --name NAME",
                    preview.email
                )));
            }
        };
        let question = "do you agree to the terms of use and the privacy policy of whoever runs the server?";
        if self.accept_terms || (context.may_prompt() && prompt::agree(question)?) {
            return Ok(name);
        }
        Err(CliError::usage(
            "a new account takes your agreement to the terms of use and the privacy policy of whoever runs the server",
        )
        .hint("ask them for these if you don't know them, and add --accept-terms"))
    }

    fn remember(
        &self,
        context: &mut Context,
        preview: &InvitationPreview,
        (organization, project): (&str, Option<String>),
        password: &Secret,
    ) -> Result<()> {
        let target = context.target_of_new_profile()?;
        let endpoint = target.endpoint()?;
        let wanted = self.storage.wanted();
        let stored: Stored =
            context.credentials()?.store_secret(&preview.email, endpoint.auth_url(), password, wanted)?;
        let name = login::profile_of_account(context, &endpoint)?;
        login::remember(context, &name, (&target, &endpoint), |profile| {
            profile.organization = Some(organization.to_owned());
            profile.project = project;
            profile.email = Some(preview.email.clone());
            profile.password = Some(stored.place.clone());
        })?;
        let kept = kept("the password", &stored);
        let InvitationPreview { email, organization: label, role, .. } = preview;
        context.output.note(&format!("{email} is {role} of {label} now, and signed in as profile {name}; {kept}"));
        let value = json!({ "profile": name, "email": email, "organization_id": organization, "organization": label, "role": role });
        let fields = vec![
            ("profile", name),
            ("email", email.clone()),
            ("organization_id", organization.to_owned()),
            ("organization", label.clone()),
            ("role", role.clone()),
        ];
        context.output.result(Detail { fields, value })
    }
}

/// Who was invited makes no organization.
fn new_account(preview: &InvitationPreview, name: String, password: &Secret, token: &Secret) -> NewAccount {
    NewAccount {
        name,
        email: preview.email.clone(),
        password: password.clone(),
        organization: String::new(),
        domain: String::new(),
        accepts_terms: true,
        accepts_privacy_policy: true,
        invitation: Some(token.clone()),
    }
}

fn refused(error: ClientError) -> CliError {
    let is_password = error.status() == Some(403);
    let error = CliError::from(error);
    if is_password {
        return error.hint("check the password; `ensign password forgot` replaces one that was forgotten");
    }
    error
}

async fn only_project(account: &Account) -> Result<Option<String>> {
    let mut projects = account.projects().await?;
    Ok(if projects.len() == 1 { projects.pop().map(|project| project.id) } else { None })
}

/// Makes an invitation; prints its token when the server mails nothing.
pub(super) async fn send(context: &mut Context, email: &str, role: &str) -> Result<()> {
    let account = context.account().await?;
    let about = |error| CliError::from(error).about(email);
    let Invitation { email, role, organization, expires } = account.invite(email, role).await.map_err(about)?;
    let unsent = mail::invitation(&account.mail().await?, &email);
    let token = unsent.as_ref().and_then(Secret::expose_str);
    let until = human::or_dash(expires);
    if context.output.is_for_people() {
        let how = match token {
            Some(_) => "nothing was mailed, so hand them this token for `ensign invite accept`:",
            None => "a mail is on its way",
        };
        context.output.note(&format!("invited {email} to {organization} as {role}, until {until}; {how}"));
        return match token {
            Some(token) => context.output.text(format!("{token}\n").as_bytes()),
            None => Ok(()),
        };
    }
    let fields = vec![
        ("email", email.clone()),
        ("role", role.clone()),
        ("organization", organization.clone()),
        ("expires", until),
        ("token", token.unwrap_or_default().to_owned()),
    ];
    let expires = expires.map(|time| time.to_string());
    let value = json!({
        "email": email,
        "role": role,
        "organization": organization,
        "expires": expires,
        "token": token,
    });
    context.output.detail(Detail { fields, value })
}
