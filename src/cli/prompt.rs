//! Asking the person at the terminal.

use std::io;

use dialoguer::{Input, Password, theme::SimpleTheme};

use super::{
    Context,
    error::{CliError, Result},
};
use crate::model::Secret;

/// Asks for a secret without showing it.
pub(super) fn secret(what: &str) -> io::Result<Secret> {
    let text = Password::with_theme(&SimpleTheme).with_prompt(what).interact();
    text.map(Secret::new).map_err(io_error)
}

/// Asks for a new secret, twice.
pub(super) fn new_secret(what: &str) -> io::Result<Secret> {
    let prompt =
        Password::with_theme(&SimpleTheme).with_prompt(what).with_confirmation("once more", "these are not the same");
    prompt.interact().map(Secret::new).map_err(io_error)
}

/// Has the name of what is to be destroyed typed in, unless `yes` says that this is not needed.
pub(super) fn confirm_by_name(context: &Context, yes: bool, what: &str, name: &str) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !context.may_prompt() {
        return Err(
            CliError::usage(format!("destroying {what} {name} needs a confirmation")).hint("add --yes if you are sure")
        );
    }
    let question = format!("this destroys {what} {name} for good; type its name to go on");
    let typed: String = Input::with_theme(&SimpleTheme)
        .with_prompt(question)
        .allow_empty(true)
        .interact_text()
        .map_err(|error| CliError::failed(error.to_string()))?;
    if typed.trim() == name {
        return Ok(());
    }
    Err(CliError::failed(format!("{typed:?} is not {name:?}; nothing was destroyed")))
}

fn io_error(error: dialoguer::Error) -> io::Error {
    let dialoguer::Error::IO(error) = error;
    error
}
