//! gRPC's framing: a flag and a length before each message, in a body that arrives in pieces cut anywhere.

use bytes::Bytes;

use crate::model::limits::MESSAGE_BYTES_MAX;

/// The flag and the length before each message.
pub const FRAME_HEAD_BYTES: usize = 5;

/// A buffer for cut messages that grew beyond this is given back.
const KEPT_BUFFER_BYTES: usize = 64 * 1024;

/// A message of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The body is compressed in the way the stream's headers say.
    pub compressed: bool,
    pub body: &'a [u8],
    /// What the body is a part of, if it came in one piece.
    piece: Option<&'a Bytes>,
}

impl Frame<'_> {
    /// A part of the body that outlives the frame. It is copied only if the body came in several pieces.
    #[inline]
    pub fn part(&self, part: &[u8]) -> Bytes {
        match self.piece {
            _ if part.is_empty() => Bytes::new(),
            Some(piece) => piece.slice_ref(part),
            None => Bytes::copy_from_slice(part),
        }
    }
}

/// What ends a stream: what follows can't be told apart any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("the message has {length} bytes, and the limit is {limit}")]
    TooLarge { length: usize, limit: usize },
    #[error("the message begins with the invalid flag {flag}")]
    InvalidFlag { flag: u8 },
    #[error("the stream ends in the middle of a message")]
    Truncated,
}

/// Takes a stream's body piece by piece and gives its messages whole. A message that lies in one piece is not copied.
///
/// No more than one message is ever buffered, and its length is judged before any of it is.
#[derive(Debug, Default)]
pub struct FrameReader {
    chunk: Bytes,
    at: usize,
    /// The beginning of a message whose rest is still to come, its head included.
    cut: Vec<u8>,
    /// The message in `cut` was given out.
    given: bool,
}

impl FrameReader {
    /// Adds the next piece of the body. Messages of an earlier piece are taken out first, with
    /// [`FrameReader::next_frame`].
    pub fn feed(&mut self, chunk: Bytes) {
        if self.at == self.chunk.len() {
            self.chunk = chunk;
        } else {
            let mut joined = self.chunk[self.at..].to_vec();
            joined.extend_from_slice(&chunk);
            self.chunk = joined.into();
        }
        self.at = 0;
    }

    /// The next whole message; `None` when more of the body is needed.
    ///
    /// # Errors
    ///
    /// When what comes next is no message, or too large a one. It stays so.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        if self.given {
            self.given = false;
            self.cut.clear();
            self.cut.shrink_to(KEPT_BUFFER_BYTES);
        }
        if self.cut.is_empty() {
            let rest = &self.chunk[self.at..];
            if let Some((compressed, length)) = frame_head(rest)?
                && rest.len() >= FRAME_HEAD_BYTES + length
            {
                let start = self.at + FRAME_HEAD_BYTES;
                self.at = start + length;
                let (piece, body) = (Some(&self.chunk), &self.chunk[start..self.at]);
                return Ok(Some(Frame { compressed, body, piece }));
            }
        }
        self.take(FRAME_HEAD_BYTES);
        let Some((compressed, length)) = frame_head(&self.cut)? else { return Ok(None) };
        self.take(FRAME_HEAD_BYTES + length);
        if self.cut.len() < FRAME_HEAD_BYTES + length {
            return Ok(None);
        }
        self.given = true;
        Ok(Some(Frame { compressed, body: &self.cut[FRAME_HEAD_BYTES..], piece: None }))
    }

    /// Whether the end of the body may come now.
    ///
    /// # Errors
    ///
    /// When a message has begun and not ended.
    pub fn finish(&self) -> Result<(), FrameError> {
        let complete = self.at == self.chunk.len() && (self.given || self.cut.is_empty());
        complete.then_some(()).ok_or(FrameError::Truncated)
    }

    /// Moves bytes from the piece to the cut message until that has so many, or the piece has no more.
    fn take(&mut self, length: usize) {
        let rest = &self.chunk[self.at..];
        let missing = length.saturating_sub(self.cut.len()).min(rest.len());
        self.cut.extend_from_slice(&rest[..missing]);
        self.at += missing;
    }
}

/// The flag and the length at the beginning of a frame, once they are there.
#[inline]
fn frame_head(bytes: &[u8]) -> Result<Option<(bool, usize)>, FrameError> {
    let Some(&[flag, a, b, c, d]) = bytes.first_chunk() else { return Ok(None) };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if flag > 1 {
        return Err(FrameError::InvalidFlag { flag });
    }
    if length > MESSAGE_BYTES_MAX {
        return Err(FrameError::TooLarge { length, limit: MESSAGE_BYTES_MAX });
    }
    Ok(Some((flag == 1, length)))
}

/// Writes what stands before an uncompressed message of this length.
#[inline]
pub(super) fn put_frame_head(out: &mut Vec<u8>, message_bytes: usize) {
    let length = u32::try_from(message_bytes).expect("a message is far shorter than 4 GiB");
    let [a, b, c, d] = length.to_be_bytes();
    out.extend_from_slice(&[0, a, b, c, d]);
}
