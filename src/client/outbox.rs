//! What is to be sent on a stream: chunks of framed messages, and the request body that the transport takes them from.
//!
//! The chunks outlive the stream: when it breaks, what the transport had not taken yet goes to the next one. What it
//! had taken may have reached the server.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http_body::Frame;

/// Framed messages of events with consecutive numbers, up to and without `end`.
#[derive(Debug)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    pub(super) end: u64,
}

/// A queue of chunks. It needs no bound of its own: what is put in was admitted by bytes before.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<Chunk>,
    /// Framed messages behind the chunks that are sent together, however many there are when the transport takes them.
    gathered: Vec<u8>,
    /// Events below this number were given to a transport.
    taken: u64,
    /// Which of the bodies made so far may take chunks: only the newest.
    current: u64,
    /// Whether the newest body may: its stream is ready.
    released: bool,
    /// Whether bodies end when the chunks do.
    finished: bool,
    /// Up to which body they end so because nobody reads the answers any more.
    unread: u64,
    waker: Option<Waker>,
}

impl Outbox {
    pub(super) fn push(&self, chunk: Chunk) {
        let mut state = self.state();
        state.chunks.push_back(chunk);
        state.wake();
    }

    /// Adds framed messages to what is sent together as soon as the transport takes more.
    pub(super) fn gather(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        write(&mut state.gathered);
        state.wake();
    }

    /// Half-closes the stream once all chunks are sent.
    pub(super) fn finish(&self) {
        let mut state = self.state();
        state.finished = true;
        state.wake();
    }

    pub(super) fn is_finished(&self) -> bool {
        self.state().finished
    }

    /// Makes the body of a new stream, which starts with `opening` and gives chunks once it is released. Earlier bodies
    /// end.
    pub(super) fn body(&self, opening: Bytes) -> OutboxBody {
        let mut state = self.state();
        state.current += 1;
        state.released = false;
        state.wake();
        OutboxBody { outbox: self.clone(), number: state.current, opening: Some(opening) }
    }

    /// Ties the newest body to whoever reads the answers: it ends when the tether is dropped. What was said until then is sent
    /// before, if the stream is ready. Without that end the transport would keep a stream open that nobody reads.
    pub(super) fn tether(&self) -> Tether {
        let number = self.state().current;
        Tether { outbox: self.clone(), number }
    }

    /// Lets the newest body give chunks: the server is ready for them.
    pub(super) fn release(&self) {
        let mut state = self.state();
        state.released = true;
        state.wake();
    }

    /// Ends the body of a stream that broke. Returns the number up to which events may have been sent, and whether no
    /// more are to come.
    pub(super) fn abandon(&self) -> (u64, bool) {
        let mut state = self.state();
        state.current += 1;
        state.wake();
        (state.taken, state.finished)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Ends a body when it is dropped.
#[derive(Debug)]
pub(super) struct Tether {
    outbox: Outbox,
    number: u64,
}

impl Drop for Tether {
    fn drop(&mut self) {
        let mut state = self.outbox.state();
        state.unread = state.unread.max(self.number);
        state.wake();
    }
}

/// The request body of one stream.
#[derive(Debug)]
pub(super) struct OutboxBody {
    outbox: Outbox,
    number: u64,
    opening: Option<Bytes>,
}

impl http_body::Body for OutboxBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(opening) = self.opening.take() {
            return Poll::Ready(Some(Ok(Frame::data(opening))));
        }
        let mut state = self.outbox.state();
        if state.current != self.number {
            return Poll::Ready(None);
        }
        if state.released {
            if let Some(chunk) = state.chunks.pop_front() {
                state.taken = chunk.end;
                return Poll::Ready(Some(Ok(Frame::data(chunk.bytes))));
            }
            if !state.gathered.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut state.gathered).into()))));
            }
            if state.finished {
                return Poll::Ready(None);
            }
        }
        if state.unread >= self.number {
            return Poll::Ready(None);
        }
        state.waker = Some(context.waker().clone());
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::FutureExt as _;

    use super::*;

    /// The next chunk; none: nothing is there now, or the end.
    fn next(body: &mut OutboxBody) -> Option<Bytes> {
        let frame = poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut *body), context)).now_or_never();
        frame?.map(|frame| frame.unwrap().into_data().unwrap())
    }

    #[test]
    fn what_was_not_taken_goes_to_the_next_stream() {
        let outbox = Outbox::default();
        let mut first = outbox.body(Bytes::from_static(b"open"));
        outbox.push(Chunk { bytes: Bytes::from_static(b"a"), end: 3 });
        outbox.push(Chunk { bytes: Bytes::from_static(b"b"), end: 5 });
        assert_eq!(next(&mut first).as_deref(), Some(&b"open"[..]));
        assert_eq!(next(&mut first), None, "the server is not ready");
        outbox.release();
        assert_eq!(next(&mut first).as_deref(), Some(&b"a"[..]));
        assert_eq!(outbox.abandon(), (3, false));
        assert_eq!(next(&mut first), None);
        let mut second = outbox.body(Bytes::from_static(b"open"));
        assert_eq!(next(&mut second).as_deref(), Some(&b"open"[..]));
        outbox.release();
        assert_eq!(next(&mut second).as_deref(), Some(&b"b"[..]));
        outbox.finish();
        assert_eq!(outbox.abandon(), (5, true));
    }

    /// Whether a body has ended.
    fn is_over(body: &mut OutboxBody) -> bool {
        let frame = poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut *body), context)).now_or_never();
        matches!(frame, Some(None))
    }

    #[test]
    fn a_body_ends_with_who_reads_the_answers() {
        let outbox = Outbox::default();
        let mut unready = outbox.body(Bytes::from_static(b"open"));
        let tether = outbox.tether();
        assert_eq!(next(&mut unready).as_deref(), Some(&b"open"[..]));
        assert!(!is_over(&mut unready));
        drop(tether);
        assert!(is_over(&mut unready), "nobody waits for the server to be ready");
        let mut body = outbox.body(Bytes::from_static(b"open"));
        let tether = outbox.tether();
        assert_eq!(next(&mut body).as_deref(), Some(&b"open"[..]));
        outbox.release();
        assert!(!is_over(&mut body), "it is not the one before");
        outbox.gather(|buffer| buffer.extend(b"last words"));
        drop(tether);
        assert_eq!(next(&mut body).as_deref(), Some(&b"last words"[..]));
        assert!(is_over(&mut body));
    }

    #[test]
    fn what_is_gathered_is_taken_together() {
        let outbox = Outbox::default();
        let mut body = outbox.body(Bytes::from_static(b"open"));
        assert_eq!(next(&mut body).as_deref(), Some(&b"open"[..]));
        outbox.gather(|buffer| buffer.extend(b"a"));
        outbox.gather(|buffer| buffer.extend(b"b"));
        assert_eq!(next(&mut body), None, "the server is not ready");
        outbox.release();
        assert_eq!(next(&mut body).as_deref(), Some(&b"ab"[..]));
        outbox.gather(|buffer| buffer.extend(b"c"));
        outbox.finish();
        assert_eq!(next(&mut body).as_deref(), Some(&b"c"[..]));
        let end = poll_fn(|context| http_body::Body::poll_frame(Pin::new(&mut body), context)).now_or_never();
        assert!(matches!(end, Some(None)));
    }
}
