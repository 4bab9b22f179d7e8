//! The bytes of an archive as its lines have them: frames of zstd one after the other, or lines that were decompressed before.

use std::io::{self, BufRead};

use zstd::stream::raw::{Decoder, InBuffer, Operation as _, OutBuffer};

/// What a frame of zstd starts with.
const MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// How much is decompressed in one go.
const PIECE_BYTES: usize = 256 * 1024;

/// Why the bytes of a source can't be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum FrameError {
    #[error("it can't be read: {0}")]
    Io(io::Error),
    #[error("what is compressed is damaged: {0}")]
    Compression(io::Error),
}

pub(super) struct Frames<R> {
    source: R,
    /// None for lines as they are, which is found out with the first byte.
    decoder: Option<Decoder<'static>>,
    started: bool,
    /// Whether a frame has begun and not ended.
    within: bool,
    /// How many bytes of the source were taken.
    position: u64,
}

impl<R: BufRead> Frames<R> {
    pub(super) fn new(source: R) -> Frames<R> {
        Frames { source, decoder: None, started: false, within: false, position: 0 }
    }

    /// Appends what comes next. Nothing more is there when nothing is appended, or, within a frame, it was cut off.
    pub(super) fn read(&mut self, bytes: &mut Vec<u8>) -> Result<usize, FrameError> {
        let before = bytes.len();
        bytes.resize(before + PIECE_BYTES, 0);
        let count = self.fill(&mut bytes[before..]);
        bytes.truncate(before + count.as_ref().unwrap_or(&0));
        count
    }

    fn fill(&mut self, piece: &mut [u8]) -> Result<usize, FrameError> {
        loop {
            let input = fill_buf(&mut self.source)?;
            if !self.started && !input.is_empty() {
                self.started = true;
                if input[0] == MAGIC[0] {
                    self.decoder = Some(Decoder::new().map_err(FrameError::Compression)?);
                }
            }
            if input.is_empty() {
                return Ok(0);
            }
            let Some(decoder) = &mut self.decoder else {
                let count = input.len().min(piece.len());
                piece[..count].copy_from_slice(&input[..count]);
                self.source.consume(count);
                self.position += count as u64;
                return Ok(count);
            };
            let mut input = InBuffer::around(input);
            let mut output = OutBuffer::around(&mut *piece);
            let left = decoder.run(&mut input, &mut output).map_err(FrameError::Compression)?;
            let (taken, given) = (input.pos(), output.pos());
            self.within = left > 0;
            self.source.consume(taken);
            self.position += taken as u64;
            if given > 0 {
                return Ok(given);
            }
        }
    }

    /// Whether there is nothing more.
    pub(super) fn is_at_end(&mut self) -> Result<bool, FrameError> {
        Ok(fill_buf(&mut self.source)?.is_empty())
    }

    /// Whether a frame has begun and not ended.
    pub(super) fn is_within_frame(&self) -> bool {
        self.within
    }

    pub(super) fn is_compressed(&self) -> bool {
        self.decoder.is_some()
    }

    /// How many bytes of the source were taken.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

fn fill_buf<R: BufRead>(source: &mut R) -> Result<&[u8], FrameError> {
    loop {
        match source.fill_buf() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FrameError::Io(error)),
            Ok(_) => break,
        }
    }
    // It is there already: nothing was consumed.
    source.fill_buf().map_err(FrameError::Io)
}
