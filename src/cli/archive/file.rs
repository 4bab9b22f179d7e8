//! The file that an archive is written to, over as many runs as it takes: `FILE.partial`, until it is whole.

use std::{
    io::{self, BufReader, Write},
    path::{Path, PathBuf},
};

use super::{
    READ_BYTES,
    course::Course,
    line::End,
    reader::{ArchiveReader, Part},
};
use crate::{
    cli::{
        error::{CliError, Result},
        output::bare_stdout,
    },
    sys::{
        PartialFile,
        files::{self, FileReader},
    },
};

/// Where an archive goes.
#[derive(Debug)]
pub(super) enum Sink {
    File(PartialFile),
    Stdout(io::Stdout),
}

/// How far an interrupted archive has come.
#[derive(Debug)]
pub(super) struct Resumption {
    pub(super) course: Course,
    /// How many bytes of the file are whole.
    pub(super) bytes: u64,
    /// Its end, when nothing is missing.
    pub(super) end: Option<End>,
    /// The record of the last event.
    pub(super) last: Vec<u8>,
}

impl Sink {
    /// Opens the file, which must not be there yet unless it may be replaced; or standard output.
    pub(super) fn open(path: &Path, overwrite: bool, start_over: bool) -> Result<Sink> {
        if path.as_os_str() == "-" {
            return Ok(Sink::Stdout(bare_stdout()));
        }
        if files::exists(path) && !overwrite {
            return Err(CliError::failed(format!("there is a file {} already", path.display()))
                .hint("--overwrite replaces it once the new one is whole"));
        }
        let mut file = PartialFile::open(path).map_err(|error| CliError::chain(&error))?;
        if start_over {
            file.cut(0).map_err(|error| CliError::chain(&error))?;
        }
        Ok(Sink::File(file))
    }

    /// Where what is written is until it is whole.
    pub(super) fn partial_path(&self) -> Option<PathBuf> {
        match self {
            Sink::File(file) => Some(file.path().to_owned()),
            Sink::Stdout(_) => None,
        }
    }

    /// Finds how far an earlier run has come, and cuts off what it did not complete; none when nothing is left to go on with.
    pub(super) fn resumption(&mut self) -> Result<Option<Resumption>> {
        let Sink::File(file) = self else { return Ok(None) };
        let reader = file.reader().map_err(|error| CliError::chain(&error))?;
        let found = Resumption::read(reader);
        let bytes = found.as_ref().map_or(0, |resumption| resumption.bytes);
        file.cut(bytes).map_err(|error| CliError::chain(&error))?;
        Ok(found)
    }

    /// Makes what was written durable, and gives it its name.
    pub(super) fn finish(self) -> Result<()> {
        match self {
            Sink::File(file) => file.finish().map_err(|error| CliError::chain(&error)),
            Sink::Stdout(_) => Ok(()),
        }
    }

    /// Gives up what nothing was written to yet.
    pub(super) fn abandon(self) -> Result<()> {
        match self {
            Sink::File(file) => file.abandon().map_err(|error| CliError::chain(&error)),
            Sink::Stdout(_) => Ok(()),
        }
    }
}

impl Write for Sink {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Sink::File(file) => file.write(buffer),
            Sink::Stdout(stdout) => stdout.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Sink::File(file) => file.flush(),
            Sink::Stdout(stdout) => stdout.flush(),
        }
    }
}

impl Resumption {
    /// Reads as many chunks as are whole, and end with their frames. An archive whose topics are not all settled is none.
    pub(super) fn read(file: FileReader) -> Option<Resumption> {
        let mut reader = ArchiveReader::new(BufReader::with_capacity(READ_BYTES, file));
        let mut found = None;
        let mut last = Vec::new();
        // Where it is damaged or cut off, it is gone on with.
        while let Ok(Some(chunk)) = reader.next_chunk() {
            let event = chunk.parts.iter().rev().find_map(|part| match part {
                Part::Event(event) => Some(event),
                Part::TopicEnd(_) | Part::End(_) => None,
            });
            if let Some(event) = event {
                last = chunk.record(event).to_vec();
            }
            let Some(bytes) = chunk.whole else { continue };
            if reader.course().is_planned() {
                let end = match chunk.parts.last() {
                    Some(Part::End(end)) => Some(End::clone(end)),
                    _ => None,
                };
                found = Some(Resumption { course: reader.course().clone(), bytes, end, last: last.clone() });
            }
        }
        found
    }
}
