//! Writing an archive: lines, gathered in chunks, each of which is closed by a checkpoint and becomes a frame of zstd.
//!
//! What is written depends on what the archive holds alone and not on how the events came, so an archive that was interrupted
//! and gone on with has the bytes of one that was not.

use std::{
    io::{self, Write},
    sync::Arc,
};

use zstd::{bulk::Compressor, zstd_safe::CParameter};

use super::{
    course::{Course, Wrong},
    line::{Begin, End, Gap, Line, Topic},
};
use crate::{
    cli::record,
    client::{Event, PublisherInfo},
};

/// How many bytes of lines a chunk has at the least, but for the last one.
pub(super) const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// How hard zstd tries: its own default.
const LEVEL: i32 = 3;

#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server sent something else than what was asked for.
    #[error("the server sent {0}")]
    Unexpected(Wrong),
}

pub(super) struct ArchiveWriter<W> {
    sink: W,
    compressor: Compressor<'static>,
    course: Course,
    /// The lines that are not written yet.
    chunk: Vec<u8>,
    chunk_bytes: usize,
    frame: Vec<u8>,
    /// How many bytes are written.
    written: u64,
    /// Who published the last event, and how its record says so: mostly that is who published the next one.
    publisher: Option<(Arc<PublisherInfo>, String)>,
}

impl<W: Write> ArchiveWriter<W> {
    /// Starts an archive with everything that is to be in it settled.
    pub(super) fn new(sink: W, begin: Begin, topics: Vec<Topic>) -> Result<ArchiveWriter<W>, WriteError> {
        let mut writer = ArchiveWriter::resume(sink, Course::default(), 0)?;
        writer.begin(begin, topics)?;
        Ok(writer)
    }

    /// Goes on behind whole chunks of so many bytes, which came this far.
    pub(super) fn resume(sink: W, course: Course, written: u64) -> Result<ArchiveWriter<W>, WriteError> {
        let mut compressor = Compressor::new(LEVEL)?;
        compressor.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(ArchiveWriter {
            sink,
            compressor,
            course,
            chunk: Vec::new(),
            chunk_bytes: CHUNK_BYTES,
            frame: Vec::new(),
            written,
            publisher: None,
        })
    }

    fn begin(&mut self, begin: Begin, topics: Vec<Topic>) -> Result<(), WriteError> {
        Line::Begin(begin.clone()).put(&mut self.chunk);
        self.course.begin(begin).map_err(WriteError::Unexpected)?;
        for topic in topics {
            Line::Topic(topic.clone()).put(&mut self.chunk);
            self.course.topic(topic).map_err(WriteError::Unexpected)?;
            self.close_if_full()?;
        }
        if self.chunk.is_empty() { Ok(()) } else { self.checkpoint() }
    }

    pub(super) fn event(&mut self, event: &Event) -> Result<(), WriteError> {
        self.course.event(event.offset.get()).map_err(WriteError::Unexpected)?;
        let publisher = match &event.publisher {
            None => "",
            Some(publisher) => {
                let known = self.publisher.take().filter(|(known, _)| Arc::ptr_eq(known, publisher));
                let known = known.unwrap_or_else(|| (publisher.clone(), record::publisher(publisher)));
                &self.publisher.insert(known).1
            }
        };
        self.chunk.extend_from_slice(self.course.start());
        record::put_rest(event, publisher, &mut self.chunk);
        self.chunk.push(b'\n');
        self.close_if_full()
    }

    pub(super) fn gap(&mut self, gap: Gap) -> Result<(), WriteError> {
        self.course.gap(&gap).map_err(WriteError::Unexpected)?;
        Line::Gap(gap).put(&mut self.chunk);
        self.close_if_full()
    }

    pub(super) fn end_topic(&mut self) -> Result<(), WriteError> {
        let end = self.course.end_topic().map_err(WriteError::Unexpected)?;
        Line::TopicEnd(end).put(&mut self.chunk);
        self.close_if_full()
    }

    /// Writes the end; gives where everything went, what the end says, and how many bytes were written.
    pub(super) fn finish(mut self) -> Result<(W, End, u64), WriteError> {
        self.course.add(&self.chunk);
        let end = self.course.end().map_err(WriteError::Unexpected)?;
        Line::End(end.clone()).put(&mut self.chunk);
        self.write_frame()?;
        self.sink.flush()?;
        Ok((self.sink, end, self.written))
    }

    /// Closes chunks sooner.
    #[cfg(test)]
    pub(super) fn with_chunks_of(self, chunk_bytes: usize) -> ArchiveWriter<W> {
        ArchiveWriter { chunk_bytes, ..self }
    }

    pub(super) fn course(&self) -> &Course {
        &self.course
    }

    /// How many bytes are written.
    pub(super) fn written(&self) -> u64 {
        self.written
    }

    fn close_if_full(&mut self) -> Result<(), WriteError> {
        if self.chunk.len() >= self.chunk_bytes { self.checkpoint() } else { Ok(()) }
    }

    fn checkpoint(&mut self) -> Result<(), WriteError> {
        self.course.add(&self.chunk);
        let lines = self.chunk.len();
        Line::Checkpoint(self.course.checkpoint()).put(&mut self.chunk);
        self.course.add(&self.chunk[lines..]);
        self.write_frame()?;
        Ok(())
    }

    fn write_frame(&mut self) -> io::Result<()> {
        self.frame.clear();
        self.frame.reserve(zstd::zstd_safe::compress_bound(self.chunk.len()));
        self.compressor.compress_to_buffer(&self.chunk, &mut self.frame)?;
        self.sink.write_all(&self.frame)?;
        self.written += self.frame.len() as u64;
        self.chunk.clear();
        Ok(())
    }
}
