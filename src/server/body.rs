//! The body of a streaming reply: chunks of whole gRPC frames, then the status as trailers.
//!
//! A body never fails: an error in the body would reset the stream, and the status would be lost with it.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, header::CONTENT_TYPE};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use tokio::sync::mpsc;
use tonic::Status;

use super::call::Call;

/// The body of every reply of the server.
pub(super) type ReplyBody = UnsyncBoxBody<Bytes, BoxError>;

/// What a body of another library may end with.
pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How many chunks may wait for the connection to take them. With two, the next one is made while one is sent.
const CHUNKS_MAX: usize = 2;

/// The writing end of a streaming reply.
#[derive(Debug)]
pub(super) struct ReplySender {
    chunks: ChunkSender,
    call: Call,
}

/// Sends chunks of a reply beside its writing end; they lie between the others.
#[derive(Debug, Clone)]
pub(super) struct ChunkSender(mpsc::Sender<Frame<Bytes>>);

/// The client went away: nothing that is sent now reaches it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disconnected;

struct ReplyChunks(mpsc::Receiver<Frame<Bytes>>);

impl Body for ReplyChunks {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|frame| frame.map(Ok))
    }
}

/// A reply that is written while it is read, with its writing end.
pub(super) fn streaming_reply(call: Call) -> (ReplySender, Response<ReplyBody>) {
    let (sender, receiver) = mpsc::channel(CHUNKS_MAX);
    let mut response = Response::new(boxed(ReplyChunks(receiver)));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    (ReplySender { chunks: ChunkSender(sender), call }, response)
}

/// A reply that is nothing but a status.
pub(super) fn status_reply(status: &Status) -> Response<ReplyBody> {
    status.clone().into_http::<http_body_util::Empty<Bytes>>().map(boxed)
}

/// Any library's body as the server's.
pub(super) fn boxed<B>(body: B) -> ReplyBody
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    body.map_err(Into::into).boxed_unsync()
}

impl ChunkSender {
    /// Sends whole gRPC frames. Waits while the client reads more slowly than this is called.
    pub(super) async fn send(&self, chunk: Vec<u8>) -> Result<(), Disconnected> {
        self.0.send(Frame::data(chunk.into())).await.map_err(|_| Disconnected)
    }
}

impl ReplySender {
    /// Sends whole gRPC frames. Waits while the client reads more slowly than this is called.
    pub(super) async fn send(&self, chunk: Vec<u8>) -> Result<(), Disconnected> {
        self.chunks.send(chunk).await
    }

    /// For somebody else who has something to send.
    pub(super) fn chunks(&self) -> ChunkSender {
        self.chunks.clone()
    }

    /// Ends the reply.
    pub(super) async fn finish(mut self, status: &Status) {
        let mut trailers = HeaderMap::new();
        if status.add_header(&mut trailers).is_err() {
            trailers.insert("grpc-status", HeaderValue::from_static("13"));
        }
        // A client that is gone does not need to know how it ended.
        drop(self.chunks.0.send(Frame::trailers(trailers)).await);
        self.call.ends(status.code());
    }

    /// Resolves when the client went away.
    pub(super) async fn closed(&self) {
        self.chunks.0.closed().await;
    }
}
