//! The line at the prompt: editing, history, completion and colors are `rustyline`'s; what is completed and colored is ours.
//!
//! A line is read on a thread of its own, so that connections live on meanwhile and completion can ask the server.
//!
//! Invariants: the history file is for its owner alone, and holds what was typed at this prompt and nothing else; what begins with a
//! space is not remembered. A history that can't be read is not written over. On a terminal that can't place a cursor
//! (`TERM=dumb`), lines are read as they come, without a single escape sequence.

use std::{borrow::Cow, io::Write as _, path::PathBuf, sync::Arc, thread};

use futures_util::FutureExt as _;
use rustyline::{
    CompletionType, Config, Context, Editor, Helper,
    completion::{Completer, Pair},
    config::ColorMode,
    error::ReadlineError,
    highlight::{CmdKind, Highlighter},
    hint::Hinter,
    history::FileHistory,
    validate::Validator,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::oneshot,
};

use super::{completion, highlight, names::Names};
use crate::{
    cli::{
        error::{CliError, Result},
        output::bare_stdout,
    },
    sys::files::{FileReader, create_private_dir, exists},
};

/// Statements that are remembered, and how long they may be.
const HISTORY_MAX: usize = 1_000;
const ENTRY_BYTES_MAX: usize = 16 * 1024;

/// No history file of ours is larger.
const HISTORY_BYTES_MAX: u64 = 2 * (HISTORY_MAX * ENTRY_BYTES_MAX) as u64;

/// What came from the keyboard.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C: what was typed is not meant.
    Interrupt,
    /// Ctrl-D, or the end of the terminal.
    End,
}

type LineEditor = Editor<Assistant, FileHistory>;

/// A line that is being read, with which the editor comes back.
type Reading = oneshot::Receiver<(LineEditor, rustyline::Result<String>)>;

/// Reads lines from the terminal.
pub(super) struct Keyboard {
    /// Not here while a line is being read.
    editor: Option<LineEditor>,
    reading: Option<Reading>,
    /// Ctrl-C, where the editor does not take the key itself.
    interrupts: Signal,
    /// Nothing when nothing is to be remembered.
    history: Option<PathBuf>,
}

impl Keyboard {
    /// Takes the terminal. What is wrong with the history is said, and keeps nobody from asking.
    pub(super) fn open(names: Arc<Names>, colored: bool) -> Result<(Keyboard, Option<CliError>)> {
        let failed = |error: ReadlineError| CliError::failed(format!("can't use the terminal: {error}"));
        let interrupts = signal(SignalKind::interrupt()).map_err(|error| failed(error.into()))?;
        let config = Config::builder()
            .max_history_size(HISTORY_MAX)
            .and_then(|config| config.history_ignore_dups(true))
            .map_err(failed)?
            .history_ignore_space(true)
            .completion_type(CompletionType::List)
            .color_mode(if colored { ColorMode::Forced } else { ColorMode::Disabled })
            .build();
        let mut editor = LineEditor::with_config(config).map_err(failed)?;
        editor.set_helper(Some(Assistant { names, before: String::new() }));
        let (history, problem) = match load_history(&mut editor) {
            Ok(path) => (Some(path), None),
            Err(error) => (None, Some(error)),
        };
        Ok((Keyboard { editor: Some(editor), reading: None, interrupts, history }, problem))
    }

    /// Reads a line behind the lines before it, which are not finished.
    pub(super) async fn read(&mut self, prompt: &str, before: &str) -> Result<Typed> {
        let failed = |what: String| CliError::failed(format!("can't read from the terminal: {what}"));
        let reading = match (self.reading.take(), self.editor.take()) {
            (Some(reading), _) => {
                // The line is still being read that ctrl-c was meant for; only the prompt was lost.
                let mut stdout = bare_stdout();
                write!(stdout, "\n{prompt}")
                    .and_then(|()| stdout.flush())
                    .map_err(|error| failed(error.to_string()))?;
                reading
            }
            (None, Some(mut editor)) => {
                // Those that a query was to end by are over.
                while self.interrupts.recv().now_or_never().flatten().is_some() {}
                if let Some(assistant) = editor.helper_mut() {
                    before.clone_into(&mut assistant.before);
                }
                let prompt = prompt.to_owned();
                let (sender, reading) = oneshot::channel();
                let read = move || {
                    let line = editor.readline(&prompt);
                    // Nobody waits for it when the shell has ended.
                    drop(sender.send((editor, line)));
                };
                let thread = thread::Builder::new().name("keyboard".to_owned()).spawn(read);
                thread.map_err(|error| failed(error.to_string()))?;
                reading
            }
            (None, None) => return Err(failed("the thread that reads has ended".to_owned())),
        };
        let reading = self.reading.insert(reading);
        let (editor, line) = tokio::select! {
            read = reading => read.map_err(|error| failed(error.to_string()))?,
            _ = self.interrupts.recv() => return Ok(Typed::Interrupt),
        };
        self.reading = None;
        self.editor = Some(editor);
        match line {
            Ok(line) => Ok(Typed::Line(line)),
            Err(ReadlineError::Interrupted) => Ok(Typed::Interrupt),
            Err(ReadlineError::Eof) => Ok(Typed::End),
            Err(error) => Err(failed(error.to_string())),
        }
    }

    /// Remembers what was typed, so that the arrow keys bring it back.
    pub(super) fn remember(&mut self, text: &str) -> Result<()> {
        let (text, Some(editor)) = (text.trim_end(), self.editor.as_mut()) else { return Ok(()) };
        if text.len() > ENTRY_BYTES_MAX {
            return Ok(());
        }
        let added = editor.add_history_entry(text).unwrap_or(false);
        let Some(path) = self.history.as_ref().filter(|_| added) else { return Ok(()) };
        if let Err(error) = editor.append_history(path) {
            let error = CliError::failed(format!("can't write the history in {}: {error}", path.display()));
            // Once is enough to be told.
            self.history = None;
            return Err(error);
        }
        Ok(())
    }
}

/// Reads the history of this user; gives where it is.
fn load_history(editor: &mut LineEditor) -> Result<PathBuf> {
    let places = directories::ProjectDirs::from("", "", "ensign")
        .ok_or_else(|| CliError::failed("there is no home directory to keep a history in"))?;
    let dir = places.state_dir().unwrap_or_else(|| places.data_local_dir());
    create_private_dir(dir).map_err(|error| CliError::chain(&error))?;
    let path = dir.join("query_history");
    if !exists(&path) {
        return Ok(path);
    }
    let file = FileReader::open(&path).map_err(|error| CliError::chain(&error))?;
    let unreadable = |what: String| CliError::failed(format!("can't use the history in {}: {what}", path.display()));
    if file.len() > HISTORY_BYTES_MAX {
        return Err(unreadable(format!("it is longer than {HISTORY_BYTES_MAX} bytes")));
    }
    editor.load_history(&path).map_err(|error| unreadable(error.to_string()))?;
    Ok(path)
}

/// What helps at the prompt.
struct Assistant {
    names: Arc<Names>,
    /// The lines before the one that is being typed.
    before: String,
}

impl Helper for Assistant {}

impl Validator for Assistant {}

impl Hinter for Assistant {
    type Hint = String;
}

impl Completer for Assistant {
    type Candidate = Pair;

    fn complete(&self, line: &str, cursor: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, found) = completion::offers(&self.before, line, cursor, &*self.names);
        Ok((start, found.into_iter().map(|offer| Pair { display: offer.shown, replacement: offer.text }).collect()))
    }
}

impl Highlighter for Assistant {
    fn highlight<'l>(&self, line: &'l str, _: usize) -> Cow<'l, str> {
        highlight::colored(&self.before, line).map_or(Cow::Borrowed(line), Cow::Owned)
    }

    fn highlight_char(&self, _: &str, _: usize, kind: CmdKind) -> bool {
        kind != CmdKind::MoveCursor
    }
}
