//! `ensign query` on a terminal: an interactive shell that runs one statement after the other.
//!
//! `editor` is the line at the prompt, `pending` cuts what is typed into statements, `meta` reads the commands that begin with a
//! backslash, and `commands` does what they say; `completion` and `highlight` help with typing, from the names that `names` has asked for.
//!
//! Invariants: an error is shown, and the shell goes on; only leaving it, or a terminal that is gone, ends it. What was typed can be
//! brought back, also when it was not run. A statement runs with what was set at that moment, over the one connection, which is made
//! anew when it broke.
//!
//! What it does not do: keep what a query found, run scripts, or change anything on the server.

mod commands;
mod completion;
mod editor;
mod help;
mod highlight;
mod meta;
mod names;
mod pending;
mod sample;

use std::sync::Arc;

use editor::{Keyboard, Typed};
use meta::Meta;
use names::Names;
use pending::Pending;

use super::run::Runner;
use crate::{
    cli::{
        Context,
        error::{CliError, Kind, Result},
        output::{Format, Output, error_text},
    },
    client::Query,
};

/// More than a server takes, so that it is the server that says how much it takes.
const PENDING_BYTES_MAX: usize = 4 << 20;

/// The shell between two lines.
struct Shell<'c> {
    output: &'c mut Output,
    runner: Runner,
    names: Arc<Names>,
    /// What is asked with every statement.
    query: Query,
    pending: Pending,
    /// The lines of statements since the last time that nothing was pending.
    entry: String,
    shows_time: bool,
    is_colored: bool,
}

/// Whether the shell goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Line,
    Leave,
}

/// Runs statements from the terminal until somebody leaves. They are asked with the parameters of `query`, and as it is.
pub(super) async fn run(context: &mut Context, query: Query) -> Result<()> {
    let client = context.connect().await?;
    let project = client.claims().await?.project;
    let endpoint = client.endpoint().address().to_string();
    let names = Arc::new(Names::new(client.clone(), context.clock.clone(), query.skip_unreadable));
    let output = &mut context.output;
    if output.format().is_none() && output.jq().is_none() {
        // Said once, so that it stays the same when results go to a file.
        output.set_format(Format::Table)?;
    }
    let is_colored = output.is_colored();
    let (mut keyboard, problem) = Keyboard::open(names.clone(), is_colored)?;
    let mut shell = Shell {
        output,
        runner: Runner::new(client, context.clock.clone()),
        names,
        query,
        pending: Pending::default(),
        entry: String::new(),
        shows_time: false,
        is_colored,
    };
    shell.tell_parameters();
    shell.say(&format!("ensign {} · {endpoint} · project {project} · \\? for help", env!("CARGO_PKG_VERSION")));
    if let Some(problem) = problem {
        shell.show(&problem);
    }
    shell.converse(&mut keyboard).await
}

/// An error about a topic that is not there, with what helps here.
fn in_shell(error: CliError) -> CliError {
    if error.kind == Kind::NotFound { error.hint("\\d lists the topics") } else { error }
}

impl Shell<'_> {
    async fn converse(&mut self, keyboard: &mut Keyboard) -> Result<()> {
        loop {
            let prompt = self.pending.awaited().prompt();
            match keyboard.read(&prompt, self.pending.text()).await? {
                Typed::Line(text) => {
                    if self.take(&text, keyboard).await? == Next::Leave {
                        return Ok(());
                    }
                }
                // The arrow keys bring back what was not run.
                Typed::Interrupt => self.forget(keyboard),
                Typed::End => {
                    self.forget(keyboard);
                    return Ok(());
                }
            }
        }
    }

    /// Takes what was typed or pasted, which may be several lines.
    async fn take(&mut self, text: &str, keyboard: &mut Keyboard) -> Result<Next> {
        for line in text.split('\n') {
            let done = self.take_line(line, keyboard).await;
            match done {
                Ok(Next::Line) => {}
                Ok(Next::Leave) => return Ok(Next::Leave),
                Err(error) if error.kind == Kind::ClosedPipe => return Err(error),
                Err(error) if error.kind == Kind::Interrupted => {
                    self.say("\ncancelled");
                    // What was pasted behind it is not meant either.
                    self.forget(keyboard);
                    return Ok(Next::Line);
                }
                Err(error) => self.show(&error),
            }
        }
        Ok(Next::Line)
    }

    async fn take_line(&mut self, line: &str, keyboard: &mut Keyboard) -> Result<Next> {
        let begins = self.pending.is_empty();
        let word = meta::plain_word(line);
        if meta::is_command(line, begins) && self.pending.awaited().takes_commands() {
            self.remember(line, keyboard);
            return commands::execute(self, meta::parse(line)?).await;
        }
        if begins && let Some(meta) = word {
            self.remember(line, keyboard);
            return commands::execute(self, meta).await;
        }
        if word == Some(Meta::Quit) {
            self.say("this became part of the statement; \\q leaves, and ctrl-c forgets the statement");
        }
        if self.pending.text().len() + line.len() > PENDING_BYTES_MAX {
            self.pending.clear();
            self.entry.clear();
            return Err(CliError::usage(format!("a statement of more than {PENDING_BYTES_MAX} bytes is forgotten")));
        }
        self.pending.push(line);
        self.entry.push_str(line);
        self.entry.push('\n');
        let mut statements = Vec::new();
        if begins || line.contains(';') {
            statements.extend(std::iter::from_fn(|| self.pending.next_statement()));
        }
        if self.pending.is_empty() {
            self.remember_entry(keyboard);
        }
        for statement in statements {
            match self.ask(statement).await {
                Err(error) if !matches!(error.kind, Kind::ClosedPipe | Kind::Interrupted) => self.show(&error),
                asked => asked?,
            }
        }
        Ok(Next::Line)
    }

    /// Runs a statement.
    async fn ask(&mut self, text: String) -> Result<()> {
        let query = Query { text, ..self.query.clone() };
        let summary = self.runner.run(&query, self.output).await.map_err(in_shell)?;
        for note in &summary.notes {
            self.say(note);
        }
        self.say(&summary.line(self.shows_time));
        Ok(())
    }

    /// Remembers the statements that were typed since nothing was pending.
    fn remember_entry(&mut self, keyboard: &mut Keyboard) {
        let entry = std::mem::take(&mut self.entry);
        self.remember(&entry, keyboard);
    }

    fn remember(&self, text: &str, keyboard: &mut Keyboard) {
        if let Err(error) = keyboard.remember(text) {
            self.show(&error);
        }
    }

    /// Forgets the statement that was begun. It can still be brought back.
    fn forget(&mut self, keyboard: &mut Keyboard) {
        self.pending.clear();
        self.remember_entry(keyboard);
    }

    fn show(&self, error: &CliError) {
        error_text(&error.render(false, self.is_colored));
    }

    /// Tells the person something that is no result.
    fn say(&self, text: &str) {
        if !self.output.is_quiet() {
            error_text(&format!("{text}\n"));
        }
    }

    /// Tells completion which parameters there are.
    fn tell_parameters(&self) {
        self.names.set_parameters(self.query.parameters.iter().map(|parameter| parameter.name.clone()).collect());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_that_is_not_there_is_looked_for_in_the_shell() {
        let error =
            in_shell(CliError::not_found("there is no topic nope").hint("`ensign topic list` shows what there is"));
        assert_eq!(error.hint.as_deref(), Some("\\d lists the topics"));
        assert_eq!(in_shell(CliError::usage("no")).hint, None);
    }
}
