//! `ensign register`: makes an account, with an organization, on a server.

use std::path::PathBuf;

use serde_json::json;

use super::{
    Context,
    error::{CliError, Result},
    output::Detail,
    prompt,
    secret_input::{SecretInput, token_of},
};
use crate::client::{NewAccount, Registered, Registration};

/// Create an account on a server that allows it
///
/// Makes a user and an organization that the user owns. What is not said is asked for on a terminal. The password comes
/// from there, from a file, from ENSIGN_PASSWORD, or from standard input.
///
/// The address has to be verified before the first sign-in: --verify takes the token, or the whole link, of the mail,
/// from a file, the terminal or standard input. A server that has no mail server writes its mails to its log.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign register --email ann@example.com --name 'Ann Lee' --organization Acme
  $ ensign register --verify
  $ ensign register --resend --email ann@example.com")]
pub(super) struct Args {
    /// The e-mail address to sign in with
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,

    /// Your name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// The name of the organization
    #[arg(long, value_name = "NAME")]
    organization: Option<String>,

    /// The short name of the organization's workspace; without it, the server makes one up
    #[arg(long, value_name = "WORKSPACE")]
    workspace: Option<String>,

    /// Read the password from this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,

    /// Agree to the terms of use and the privacy policy of whoever runs the server
    #[arg(long)]
    accept_terms: bool,

    /// Verify an address with the token that was mailed to it
    #[arg(long, conflicts_with_all = ["email", "name", "organization", "workspace", "password_file", "accept_terms"])]
    verify: bool,

    /// Read the token from this file
    #[arg(long, value_name = "FILE", requires = "verify")]
    token_file: Option<PathBuf>,

    /// Have the mail for verifying the address sent again
    #[arg(long, requires = "email",
        conflicts_with_all = ["verify", "name", "organization", "workspace", "password_file", "accept_terms"])]
    resend: bool,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let endpoint = context.target()?.endpoint()?;
        let address = endpoint.address().to_string();
        let registration = Registration::at(endpoint, context.clock.clone());
        if self.verify {
            return self.verify(context, &registration);
        }
        if self.resend {
            let email = self.email.unwrap_or_default();
            context.block_on(async |_| Ok(registration.resend(&email).await?))?;
            context.output.note(&format!(
                "if {email} waits to be verified, another mail is on its way, or in the log of a server that mails nothing"
            ));
            return Ok(());
        }
        let account = self.new_account(context, &address)?;
        let registered = context.block_on(async |_| {
            registration.register(&account).await.map_err(|error| {
                let status = error.status();
                let error = CliError::from(error);
                match status {
                    Some(409) => error.hint("sign in with `ensign login --email ADDRESS`, or choose another workspace"),
                    Some(403) => error.hint(
                        "`ensign invite accept` makes an account with an invitation; whoever runs the server chooses with \
                         `ensign serve --registration` who may register",
                    ),
                    _ => error,
                }
            })
        })?;
        report(context, &address, &registered)
    }

    fn verify(self, context: &mut Context, registration: &Registration) -> Result<()> {
        let what = "the token, or the link, of the mail";
        let file = self.token_file.as_deref();
        let input = SecretInput { what, flag: "--token-file", file, variable: None, is_new: false };
        let token = token_of(&input.read(context)?);
        context.block_on(async |_| Ok(registration.verify(&token).await?))?;
        context.output.note("the address is verified; sign in with `ensign login --email ADDRESS`");
        Ok(())
    }

    /// What the flags say, and what a person is asked for.
    fn new_account(self, context: &Context, address: &str) -> Result<NewAccount> {
        let ask = |said: Option<String>, what: &str, flag: &str, may_be_empty: bool| match said {
            Some(text) => Ok(text.trim().to_owned()),
            None if context.may_prompt() => prompt::text(what, may_be_empty),
            None if may_be_empty => Ok(String::new()),
            None => Err(CliError::usage(format!("registering needs {flag}"))),
        };
        let email = ask(self.email, "e-mail address", "--email ADDRESS", false)?;
        let name = ask(self.name, "your name", "--name NAME", false)?;
        let organization = ask(self.organization, "name of your organization", "--organization NAME", false)?;
        let domain = ask(self.workspace, "short name of its workspace (or nothing)", "--workspace WORKSPACE", true)?;
        let accepts = self.accept_terms
            || (context.may_prompt()
                && prompt::agree(&format!(
                    "do you agree to the terms of use and the privacy policy of whoever runs {address}?"
                ))?);
        if !accepts {
            return Err(CliError::usage(format!(
                "{address} registers only who agrees to the terms of use and the privacy policy of whoever runs it"
            ))
            .hint("ask them for these if you don't know them, and add --accept-terms"));
        }
        let what = format!("a password for {email}");
        let file = self.password_file.as_deref();
        let variable = Some("ENSIGN_PASSWORD");
        let input = SecretInput { what: &what, flag: "--password-file", file, variable, is_new: true };
        let password = input.read(context)?;
        Ok(NewAccount {
            name,
            email,
            password,
            organization,
            domain,
            accepts_terms: true,
            accepts_privacy_policy: true,
            invitation: None,
        })
    }
}

fn report(context: &mut Context, address: &str, registered: &Registered) -> Result<()> {
    let Registered { email, organization, domain, .. } = registered;
    context.output.note(&format!(
        "registered {email} at {address}, the owner of organization {organization} (workspace {domain})\n\
         next: `ensign register --verify` with the link that was mailed, or that is in the log of a server that mails \
         nothing; then `ensign login --email {email}`"
    ));
    let value = json!({
        "user_id": registered.user_id,
        "organization_id": registered.organization_id,
        "email": email,
        "organization": organization,
        "workspace": domain,
        "role": registered.role,
    });
    let fields = vec![
        ("user_id", registered.user_id.clone()),
        ("organization_id", registered.organization_id.clone()),
        ("email", email.clone()),
        ("organization", organization.clone()),
        ("workspace", domain.clone()),
        ("role", registered.role.clone()),
    ];
    context.output.result(Detail { fields, value })
}
