//! Bidirectional calls at the level of gRPC's frames: many messages out of one chunk, without a copy where one chunk
//! holds them whole.

use std::{future::poll_fn, pin::Pin};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body::Body as _;
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::ServiceExt as _;

use super::{outbox::Tether, session::Token};
use crate::api::{Frame, FrameError, FrameReader};

/// How many events a server left out of a call that asked for it, and how many it could not decode.
const SKIPPED_TRAILER: &str = "x-ensign-skipped-events";
const UNDECODABLE_TRAILER: &str = "x-ensign-undecodable-events";

/// Opens a call, with further headers.
pub(super) async fn open(
    channel: Channel,
    path: &'static str,
    token: &Token,
    asks: &HeaderMap,
    body: Body,
) -> Result<MessageReader, Status> {
    let mut request = http::Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("te"), HeaderValue::from_static("trailers"));
    headers.insert(header::AUTHORIZATION, token.header());
    headers.extend(asks.clone());
    let response = channel.oneshot(request).await.map_err(|error| Status::from_error(Box::new(error)))?;
    let (parts, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        // A call that fails at once has its status among the headers, and no trailers.
        return match status.code() {
            Code::Ok => Ok(MessageReader { body: None, ..MessageReader::new(body) }),
            _ => Err(status),
        };
    }
    if !parts.status.is_success() {
        return Err(Status::unavailable(format!("HTTP status {}", parts.status)));
    }
    Ok(MessageReader::new(body))
}

/// How a call ended, or that it goes on.
#[derive(Debug)]
pub(super) enum Read {
    /// More of the response came: whole messages, or parts of them.
    More,
    /// The server ended the call, and all is well.
    Ended,
}

/// Reads the messages of a response.
pub(super) struct MessageReader {
    body: Option<Pin<Box<Body>>>,
    frames: FrameReader,
    skipped: u64,
    undecodable: u64,
    /// Ends the request with the reading, where it is to.
    _tether: Option<Tether>,
}

impl std::fmt::Debug for MessageReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MessageReader").finish_non_exhaustive()
    }
}

impl MessageReader {
    fn new(body: Body) -> MessageReader {
        MessageReader {
            body: Some(Box::pin(body)),
            frames: FrameReader::default(),
            skipped: 0,
            undecodable: 0,
            _tether: None,
        }
    }

    /// Lets the request end when nobody reads the answers any more.
    pub(super) fn tethered(self, tether: Tether) -> MessageReader {
        MessageReader { _tether: Some(tether), ..self }
    }

    /// The next message that has arrived. All are taken out before more is read.
    #[inline]
    pub(super) fn message(&mut self) -> Result<Option<Frame<'_>>, Status> {
        match self.frames.next_frame() {
            Ok(Some(Frame { compressed: true, .. })) => {
                Err(Status::internal("the server compressed a message, which it was not asked to"))
            }
            Ok(frame) => Ok(frame),
            Err(error) => Err(frame_error(&error)),
        }
    }

    /// The first message of a response.
    pub(super) async fn first(&mut self) -> Result<Bytes, Status> {
        loop {
            if let Some(frame) = self.message()? {
                return Ok(frame.part(frame.body));
            }
            if matches!(self.read().await?, Read::Ended) {
                return Err(Status::unavailable("the server ended the stream before it was ready"));
            }
        }
    }

    /// Waits for more of the response.
    ///
    /// Can be dropped between two chunks without a loss. An error is the server's status, or the transport's failure:
    /// after it, or after the end, nothing more comes.
    pub(super) async fn read(&mut self) -> Result<Read, Status> {
        let Some(body) = self.body.as_mut() else {
            return Ok(Read::Ended);
        };
        let frame = match poll_fn(|context| body.as_mut().poll_frame(context)).await {
            Some(Ok(frame)) => frame,
            Some(Err(status)) => {
                self.body = None;
                return Err(status);
            }
            None => {
                self.body = None;
                return Err(Status::unavailable("the connection was closed in the middle of a stream"));
            }
        };
        match frame.into_data() {
            Ok(chunk) => {
                self.frames.feed(chunk);
                Ok(Read::More)
            }
            Err(frame) => {
                self.body = None;
                let trailers: HeaderMap = frame.into_trailers().unwrap_or_default();
                let count = |name| trailers.get(name).and_then(|value| value.to_str().ok()?.parse().ok()).unwrap_or(0);
                (self.skipped, self.undecodable) = (count(SKIPPED_TRAILER), count(UNDECODABLE_TRAILER));
                self.end(&trailers)
            }
        }
    }

    /// How many events the server said at the end of the stream to have left out.
    pub(super) fn skipped(&self) -> u64 {
        self.skipped
    }

    /// How many events the server said at the end of the stream that it could not decode.
    pub(super) fn undecodable(&self) -> u64 {
        self.undecodable
    }

    fn end(&self, trailers: &HeaderMap) -> Result<Read, Status> {
        match Status::from_header_map(trailers) {
            Some(status) if status.code() == Code::Ok && self.frames.finish().is_ok() => Ok(Read::Ended),
            Some(status) if status.code() == Code::Ok => Err(Status::internal("the stream ended within a message")),
            Some(status) => Err(status),
            None => Err(Status::unavailable("the stream ended without a status")),
        }
    }
}

#[cold]
fn frame_error(error: &FrameError) -> Status {
    match error {
        FrameError::TooLarge { .. } => Status::resource_exhausted(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::VecDeque,
        convert::Infallible,
        task::{Context, Poll},
    };

    use super::*;

    /// A response whose parts are all there.
    struct Arrived(VecDeque<http_body::Frame<Bytes>>);

    impl http_body::Body for Arrived {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(Ok))
        }
    }

    fn trailers(status: &Status) -> http_body::Frame<Bytes> {
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).unwrap();
        http_body::Frame::trailers(trailers)
    }

    /// The messages of a response, and how it ended.
    async fn read(chunks: &[&'static [u8]], end: Option<&Status>) -> (Vec<Bytes>, Result<(), Status>) {
        let data = chunks.iter().map(|chunk| http_body::Frame::data(Bytes::from_static(chunk)));
        let body = Arrived(data.chain(end.map(trailers)).collect());
        let mut reader = MessageReader::new(Body::new(body));
        let mut messages = Vec::new();
        loop {
            match reader.message() {
                Ok(Some(frame)) => messages.push(frame.part(frame.body)),
                Ok(None) => match reader.read().await {
                    Ok(Read::More) => {}
                    Ok(Read::Ended) => return (messages, Ok(())),
                    Err(status) => return (messages, Err(status)),
                },
                Err(status) => return (messages, Err(status)),
            }
        }
    }

    #[tokio::test]
    async fn messages_come_whole_and_the_status_decides_how_they_end() {
        let ok = Status::ok("");
        let cut: [&[u8]; 4] = [&[0, 0, 0], &[0, 2, 7], &[8, 0, 0, 0, 0, 0], &[0, 0, 0, 0, 1, 9]];
        let (messages, end) = read(&cut, Some(&ok)).await;
        assert_eq!(messages, [&[7, 8][..], &[], &[9]]);
        end.unwrap();

        let (messages, end) = read(&cut[..2], Some(&ok)).await;
        assert_eq!((messages.len(), end.unwrap_err().code()), (0, Code::Internal));
        let (messages, end) = read(&cut, Some(&Status::not_found("gone"))).await;
        assert_eq!((messages.len(), end.unwrap_err().code()), (3, Code::NotFound));
        // Without trailers the server did not end the stream, whatever was received.
        let (messages, end) = read(&cut, None).await;
        assert_eq!((messages.len(), end.unwrap_err().code()), (3, Code::Unavailable));
    }

    #[tokio::test]
    async fn what_no_server_may_send_is_refused() {
        for (bytes, code) in [
            (&[1, 0, 0, 0, 1, 7][..], Code::Internal),
            (&[9, 0, 0, 0, 1, 7], Code::Internal),
            (&[0, 0xff, 0xff, 0xff, 0xff], Code::ResourceExhausted),
        ] {
            let (messages, end) = read(&[bytes], Some(&Status::ok(""))).await;
            assert_eq!((messages.len(), end.unwrap_err().code()), (0, code), "{bytes:?}");
        }
    }
}
