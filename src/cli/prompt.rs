//! Asking the person at the terminal.

use std::io;

use dialoguer::{Confirm, Input, Password, theme::SimpleTheme};

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

/// Asks for a text, which may be empty if that is said.
pub(super) fn text(what: &str, may_be_empty: bool) -> Result<String> {
    let asked = Input::<String>::with_theme(&SimpleTheme).with_prompt(what).allow_empty(may_be_empty).interact_text();
    asked.map(|text| text.trim().to_owned()).map_err(|error| CliError::failed(error.to_string()))
}

/// Asks a question that is answered with yes or no; no, unless it is yes.
pub(super) fn agree(question: &str) -> Result<bool> {
    let asked = Confirm::with_theme(&SimpleTheme).with_prompt(question).default(false).interact();
    asked.map_err(|error| CliError::failed(error.to_string()))
}

/// Has the name of what is to be destroyed typed in, unless `yes` says that this is not needed.
pub(super) fn confirm_by_name(context: &Context, yes: bool, what: &str, name: &str) -> Result<()> {
    confirm(context, yes, (what, name), ["destroying", "this destroys", "nothing was destroyed"])
}

/// The same for what is removed without anything else being lost.
pub(super) fn confirm_removal(context: &Context, yes: bool, what: &str, name: &str) -> Result<()> {
    confirm(context, yes, (what, name), ["removing", "this removes", "nothing was removed"])
}

fn confirm(context: &Context, yes: bool, (what, name): (&str, &str), [doing, does, not_done]: [&str; 3]) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !context.may_prompt() {
        return Err(
            CliError::usage(format!("{doing} {what} {name} needs a confirmation")).hint("add --yes if you are sure")
        );
    }
    let typed = text(&format!("{does} {what} {name} for good; type its name to go on"), true)?;
    if typed == name {
        return Ok(());
    }
    Err(CliError::failed(format!("{typed:?} is not {name:?}; {not_done}")))
}

fn io_error(error: dialoguer::Error) -> io::Error {
    let dialoguer::Error::IO(error) = error;
    error
}
