//! `ensign password`: replaces a password that was forgotten.

use std::path::PathBuf;

use super::{
    Context,
    error::{CliError, Result},
    prompt,
    secret_input::{SecretInput, token_of},
};
use crate::client::Registration;

/// Replace the password of an account
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    Forgot(ForgotArgs),
    Reset(ResetArgs),
}

/// Have a mail sent with which a password can be replaced
///
/// A server that has no mail server writes its mails to its log. Whether an address has an account is not said.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign password forgot --email ann@example.com
  $ ensign password forgot --email ann@example.com && ensign password reset")]
struct ForgotArgs {
    /// The e-mail address of the account; without it, that of the profile
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
}

/// Replace a password with the token of a mail
///
/// The token, or the whole link, and the new password are asked for, or come from files. Without a terminal, each is
/// a line of standard input; the password can be in ENSIGN_PASSWORD.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  $ ensign password reset
  $ ensign password reset --token-file token.txt --password-file password.txt")]
struct ResetArgs {
    /// Read the token from this file
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,

    /// Read the new password from this file
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Args {
    pub(super) fn run(self, context: &mut Context) -> Result<()> {
        let target = context.target()?;
        let registration = Registration::at(target.endpoint()?, context.clock.clone());
        match self.command {
            Command::Forgot(args) => {
                let known = args.email.or_else(|| target.email.map(|email| email.value));
                let email = match known {
                    Some(email) => email,
                    None if context.may_prompt() => prompt::text("e-mail address", false)?,
                    None => return Err(CliError::usage("whose password was forgotten? say it with --email ADDRESS")),
                };
                context.block_on(async |_| Ok(registration.forgot_password(&email).await?))?;
                context.output.note(&format!(
                    "if {email} has an account, a mail is on its way, or in the log of a server that mails nothing; \
                     `ensign password reset` takes its token"
                ));
            }
            Command::Reset(args) => reset(context, &registration, &args)?,
        }
        Ok(())
    }
}

fn reset(context: &mut Context, registration: &Registration, args: &ResetArgs) -> Result<()> {
    let what = "the token, or the link, of the mail";
    let file = args.token_file.as_deref();
    let token = SecretInput { what, flag: "--token-file", file, variable: None, is_new: false }.read(context)?;
    let (file, variable) = (args.password_file.as_deref(), Some("ENSIGN_PASSWORD"));
    let what = "the new password";
    let password = SecretInput { what, flag: "--password-file", file, variable, is_new: true }.read(context)?;
    context.block_on(async |_| Ok(registration.reset_password(&token_of(&token), &password).await?))?;
    context.output.note(
        "the password is replaced, and whatever was signed in with the old one is not any more; sign in with \
         `ensign login --email ADDRESS`",
    );
    Ok(())
}
