//! Reading input on a thread of its own, and turning it into drafts of events, a batch at a time.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    path::{Path, PathBuf},
};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    document,
    format::{self, InputFormat},
    format_name,
    lines::{Content, Line, LineReader},
    wrapping::{self, Wrapping},
};
use crate::{
    cli::{
        archive,
        error::{CliError, Result},
        record,
    },
    client::{Draft, Sealer},
    ensql::CSV_HEADER_NAME,
    model::{Mimetype, Schema, limits::EVENT_BYTES_MAX},
    sys::{Clock, files::FileReader},
};

/// How many batches may wait to be sent. Together with the stream's window this bounds the memory.
const BATCHES_MAX: usize = 2;

/// How many values of a JSON document make a batch.
const VALUES_PER_BATCH: usize = 256;

/// What is to be read.
#[derive(Debug)]
pub(super) enum Input {
    Message(String),
    Stdin,
    File { path: PathBuf, reader: FileReader },
}

impl Input {
    /// Opens all inputs, so that a wrong name is found before anything is published.
    pub(super) fn list(files: &[PathBuf], messages: &[String]) -> Result<Vec<Input>> {
        if !messages.is_empty() {
            return Ok(messages.iter().cloned().map(Input::Message).collect());
        }
        if files.is_empty() {
            return Ok(vec![Input::Stdin]);
        }
        let open = |path: &PathBuf| {
            if path.as_os_str() == "-" {
                return Ok(Input::Stdin);
            }
            match FileReader::open(path) {
                Ok(reader) => Ok(Input::File { path: path.clone(), reader }),
                Err(error) if error.is_not_found() => {
                    Err(CliError::not_found(format!("there is no file {}", path.display())))
                }
                Err(error) => Err(CliError::chain(&error)),
            }
        };
        files.iter().map(open).collect()
    }

    pub(super) fn name(&self) -> String {
        match self {
            Input::Message(_) => "the message".to_owned(),
            Input::Stdin => "standard input".to_owned(),
            Input::File { path, .. } => path.display().to_string(),
        }
    }

    /// How long it is, when that is known.
    pub(super) fn bytes(&self) -> Option<u64> {
        match self {
            Input::Message(message) => Some(message.len() as u64),
            Input::Stdin => None,
            Input::File { reader, .. } => Some(reader.len()).filter(|bytes| *bytes > 0),
        }
    }
}

/// How input becomes events.
#[derive(Debug, Clone)]
pub(super) struct Recipe {
    pub(super) format: Option<InputFormat>,
    pub(super) mimetype: Option<Mimetype>,
    pub(super) schema: Option<Schema>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) key: Option<Bytes>,
    /// Whether the first row of CSV names the columns.
    pub(super) header: bool,
    /// Whether records are taken for what they describe.
    pub(super) records: bool,
    /// What encrypts the events.
    pub(super) sealer: Option<Sealer>,
}

impl Recipe {
    /// What events of this media type have in common, encoded once.
    fn wrapping(&self, mimetype: Mimetype) -> Wrapping {
        let key = self.key.clone().unwrap_or_default();
        Wrapping::new(self.sealer.as_ref(), mimetype, self.schema.as_ref(), self.metadata.clone(), key)
    }
}

/// Where an event came from: an input, and a line of it from 1 (a value, in JSON; nothing, for a whole file).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Origin {
    pub(super) input: usize,
    pub(super) line: u64,
}

/// How many bits of a tag hold the line.
const LINE_BITS: u32 = 44;

impl Origin {
    pub(super) fn tag(self) -> u64 {
        (self.input as u64) << LINE_BITS | self.line
    }

    pub(super) fn of_tag(tag: u64) -> Origin {
        let input = usize::try_from(tag >> LINE_BITS).expect("twenty bits fit");
        Origin { input, line: tag & ((1 << LINE_BITS) - 1) }
    }
}

/// What was read together.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) drafts: Vec<Draft>,
    /// What can't be an event, and why.
    pub(super) refused: Vec<(Origin, String)>,
    /// Empty lines that were left out.
    pub(super) empty: u64,
    /// How much input this took.
    pub(super) bytes: u64,
    /// Why reading ended early.
    pub(super) failure: Option<CliError>,
}

impl Batch {
    /// Takes an event up, or why it is none.
    fn add(&mut self, origin: Origin, draft: std::result::Result<Draft, String>) {
        match draft {
            Ok(draft) => self.drafts.push(draft),
            Err(why) => self.refused.push((origin, why)),
        }
    }
}

/// Reads the inputs one after the other. The thread ends with them, or when nobody takes the batches any more.
pub(super) fn spawn(inputs: Vec<Input>, recipe: Recipe, clock: Clock) -> mpsc::Receiver<Batch> {
    let (sender, receiver) = mpsc::channel(BATCHES_MAX);
    let read = move || {
        for (index, input) in inputs.into_iter().enumerate() {
            let mut reader = Reader::new(index, &input, recipe.clone(), clock.clone(), sender.clone());
            let ended = match input {
                Input::Message(message) => reader.read(io::Cursor::new(message)),
                Input::Stdin => reader.read(io::stdin().lock()),
                Input::File { reader: file, .. } => reader.read(file),
            };
            if ended.is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("input".to_owned()).spawn(read).expect("the process can have a second thread");
    receiver
}

/// Nobody takes what is read any more, or reading failed and that was said.
#[derive(Debug)]
struct Stopped;

struct Reader {
    input: usize,
    name: String,
    format: InputFormat,
    mimetype: Mimetype,
    recipe: Recipe,
    wrapping: Wrapping,
    clock: Clock,
    sender: mpsc::Sender<Batch>,
}

impl Reader {
    fn new(index: usize, input: &Input, recipe: Recipe, clock: Clock, sender: mpsc::Sender<Batch>) -> Reader {
        let path = match input {
            Input::File { path, .. } => Some(path.as_path()),
            Input::Message(_) | Input::Stdin => None,
        };
        // A message is one event, however many lines it has.
        let whole = matches!(input, Input::Message(_)) && matches!(recipe.format, None | Some(InputFormat::Lines));
        let said = recipe.format.or_else(|| path.and_then(InputFormat::of_file));
        let format = if whole { InputFormat::Raw } else { said.unwrap_or(InputFormat::Lines) };
        let guessed = || match path.filter(|_| format == InputFormat::Raw) {
            Some(path) => format::mimetype_of_file(path).unwrap_or(Mimetype::OCTET_STREAM),
            None if whole => Mimetype::TEXT_PLAIN,
            None => format.mimetype(),
        };
        let mimetype = recipe.mimetype.unwrap_or_else(guessed);
        let wrapping = recipe.wrapping(mimetype);
        Reader { input: index, name: input.name(), format, mimetype, wrapping, recipe, clock, sender }
    }

    fn read(&mut self, source: impl Read) -> std::result::Result<(), Stopped> {
        match self.format {
            InputFormat::Raw => self.read_whole(source),
            InputFormat::Json => self.read_values(source),
            InputFormat::Lines | InputFormat::Jsonl => self.read_lines(LineReader::lines(source)),
            InputFormat::Csv => self.read_lines(LineReader::rows(source)),
        }
    }

    fn send(&self, batch: Batch) -> std::result::Result<(), Stopped> {
        self.sender.blocking_send(batch).map_err(|_| Stopped)
    }

    fn fail(&self, what: impl std::fmt::Display) -> Stopped {
        let failure = Some(CliError::failed(format!("{}: {what}", self.name)));
        // Whether anybody still listens makes no difference here.
        drop(self.send(Batch { failure, ..Batch::default() }));
        Stopped
    }

    fn read_lines<R: Read>(&mut self, mut reader: LineReader<R>) -> std::result::Result<(), Stopped> {
        let mut lines = Vec::new();
        let mut header = self.format == InputFormat::Csv && self.recipe.header;
        let mut known = 0;
        loop {
            match reader.read(&mut lines) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => return Err(self.fail(error)),
            }
            let created = self.clock.now();
            let mut batch = Batch { bytes: reader.bytes_read() - known, ..Batch::default() };
            known = reader.bytes_read();
            for line in lines.drain(..) {
                if header && let Content::Bytes(row) = &line.content {
                    header = false;
                    let row = row.strip_suffix(b"\r").unwrap_or(row);
                    let text = String::from_utf8_lossy(row).into_owned();
                    self.recipe.metadata.entry(CSV_HEADER_NAME.to_owned()).or_insert(text);
                    self.wrapping = self.recipe.wrapping(self.mimetype);
                    continue;
                }
                self.add_line(line, created, &mut batch);
            }
            self.send(batch)?;
        }
    }

    fn add_line(&self, line: Line, created: crate::model::Time, batch: &mut Batch) {
        let origin = Origin { input: self.input, line: line.number };
        let mut data = match line.content {
            Content::Bytes(data) => data,
            Content::TooLong(bytes) => {
                batch.refused.push((origin, too_large(bytes)));
                return;
            }
        };
        if self.format == InputFormat::Csv && data.ends_with(b"\r") {
            data.truncate(data.len() - 1);
        }
        if data.is_empty() {
            batch.empty += 1;
            return;
        }
        // What an archive says of itself is no event.
        if self.recipe.records && data.starts_with(archive::MARK) {
            return;
        }
        if self.recipe.records && data.starts_with(record::MARK) {
            match record::read(data.strip_suffix(b"\r").unwrap_or(&data)) {
                Ok(record) => batch.add(origin, wrapping::draft_of_record(&self.recipe, record, origin)),
                Err(what) => {
                    let what =
                        format!("it starts like a record and is none ({what}); --no-records publishes it as it is");
                    batch.refused.push((origin, what));
                }
            }
            return;
        }
        if self.format == InputFormat::Jsonl
            && let Err(error) = serde_json::from_slice::<&serde_json::value::RawValue>(&data)
        {
            batch.refused.push((origin, format!("not JSON: {error}; --format lines takes every line")));
            return;
        }
        batch.add(origin, self.wrapping.draft(data, Some(created), origin));
    }

    fn read_values(&self, source: impl Read) -> std::result::Result<(), Stopped> {
        let mut batch = Batch::default();
        let mut number = 0;
        let mut stopped = false;
        let read = document::read_values(source, |value| {
            number += 1;
            let origin = Origin { input: self.input, line: number };
            let data = Bytes::from(value.get().to_owned());
            batch.bytes += data.len() as u64;
            batch.add(origin, self.wrapping.draft(data, Some(self.clock.now()), origin));
            let full = batch.drafts.len() >= VALUES_PER_BATCH || batch.bytes >= EVENT_BYTES_MAX as u64;
            stopped = full && self.send(std::mem::take(&mut batch)).is_err();
            !stopped
        });
        if stopped {
            return Err(Stopped);
        }
        self.send(batch)?;
        let of = format_name(self.format);
        read.map_err(|what| self.fail(format!("value {} is not {of}: {what}", number + 1)))
    }

    fn read_whole(&self, mut source: impl Read) -> std::result::Result<(), Stopped> {
        let mut data = Vec::new();
        let limit = EVENT_BYTES_MAX as u64;
        let read = source.by_ref().take(limit + 1).read_to_end(&mut data);
        let mut bytes = data.len() as u64;
        read.map_err(|error| self.fail(error))?;
        let origin = Origin { input: self.input, line: 0 };
        let mut batch = Batch { bytes, ..Batch::default() };
        if bytes > limit {
            // How large it is can only be told at its end.
            bytes += io::copy(&mut source, &mut io::sink()).map_err(|error| self.fail(error))?;
            batch.refused.push((origin, too_large(bytes)));
        } else if data.is_empty() {
            batch.refused.push((origin, "it is empty, and an event needs data".to_owned()));
        } else {
            batch.add(origin, self.wrapping.draft(data.into(), Some(self.clock.now()), origin));
        }
        self.send(batch)
    }
}

fn too_large(bytes: u64) -> String {
    format!("the event has {bytes} bytes, and {EVENT_BYTES_MAX} is the limit")
}

/// The name of a file without the directories before it, for messages that name many of its lines.
pub(super) fn short_name(name: &str) -> &str {
    Path::new(name).file_name().and_then(|name| name.to_str()).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ManualClock;

    fn recipe(format: InputFormat) -> Recipe {
        Recipe {
            format: Some(format),
            mimetype: None,
            schema: None,
            metadata: BTreeMap::new(),
            key: None,
            header: true,
            records: true,
            sealer: None,
        }
    }

    /// Data, line and what was refused.
    fn read(format: InputFormat, text: &str) -> (Vec<(String, u64)>, Vec<u64>, u64) {
        let (sender, mut receiver) = mpsc::channel(100);
        let clock = Clock::manual(ManualClock::default());
        let mut reader = Reader::new(3, &Input::Stdin, recipe(format), clock, sender);
        let ended = reader.read(text.as_bytes());
        drop(reader);
        let (mut drafts, mut refused, mut empty) = (Vec::new(), Vec::new(), 0);
        while let Ok(batch) = receiver.try_recv() {
            for draft in batch.drafts {
                let origin = Origin::of_tag(draft.tag);
                assert_eq!(origin.input, 3);
                drafts.push((String::from_utf8(draft.data.to_vec()).unwrap(), origin.line));
            }
            refused.extend(batch.refused.iter().map(|(origin, _)| origin.line));
            refused.extend(batch.failure.map(|_| 0));
            empty += batch.empty;
        }
        assert!(ended.is_ok() || refused.contains(&0));
        (drafts, refused, empty)
    }

    fn owned(expected: &[(&str, u64)]) -> Vec<(String, u64)> {
        expected.iter().map(|(data, line)| ((*data).to_owned(), *line)).collect()
    }

    #[test]
    fn lines_keep_their_bytes() {
        let (drafts, refused, empty) = read(InputFormat::Lines, " a\r\n\nb");
        assert_eq!(drafts, owned(&[(" a\r", 1), ("b", 3)]));
        assert_eq!((refused, empty), (vec![], 1));
    }

    #[test]
    fn json_lines_have_to_be_json() {
        let (drafts, refused, _) = read(InputFormat::Jsonl, "{\"a\": 1}\nnope\n[2] \n");
        assert_eq!(drafts, owned(&[("{\"a\": 1}", 1), ("[2] ", 3)]));
        assert_eq!(refused, [2]);
    }

    #[test]
    fn a_record_becomes_what_it_describes() {
        let record = r#"{"ensign":1,"mimetype":"text/plain","encoding":"base64","data":"aGk="}"#;
        let broken = r#"{"ensign":1,"mimetype":"text/plain"}"#;
        let lines = format!("{record}\n{broken}\n{{\"ensign\": 1}}\n");
        let (drafts, refused, _) = read(InputFormat::Jsonl, &lines);
        assert_eq!(drafts, owned(&[("hi", 1), ("{\"ensign\": 1}", 3)]));
        assert_eq!(refused, [2]);
    }

    #[test]
    fn rows_without_their_head() {
        let (drafts, refused, empty) = read(InputFormat::Csv, "a,b\r\n1,2\r\n\r\n\"x\r\ny\",3\r\n");
        assert_eq!(drafts, owned(&[("1,2", 2), ("\"x\r\ny\",3", 4)]));
        assert_eq!((refused, empty), (vec![], 1));
    }

    #[test]
    fn documents() {
        let (drafts, refused, _) = read(InputFormat::Json, "[{\"a\": 1}, 2");
        assert_eq!(drafts, owned(&[("{\"a\": 1}", 1), ("2", 2)]));
        assert_eq!(refused, [0], "the array is not closed");
        let (drafts, _, _) = read(InputFormat::Raw, "a\nb\n");
        assert_eq!(drafts, owned(&[("a\nb\n", 0)]));
    }
}
