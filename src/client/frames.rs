//! Bidirectional calls at the level of gRPC's frames: many messages out of one chunk, without a copy where one chunk
//! holds them whole.

use std::{future::poll_fn, pin::Pin};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use http_body::Body as _;
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::ServiceExt as _;

use super::session::Token;
use crate::model::limits::MESSAGE_BYTES_MAX;

/// What stands before each message: a byte that says whether it is compressed, and its length.
pub(super) const HEAD_BYTES: usize = 5;

/// Opens a bidirectional call.
pub(super) async fn open(
    channel: Channel,
    path: &'static str,
    token: &Token,
    body: Body,
) -> Result<FrameReader, Status> {
    let mut request = http::Request::new(body);
    *request.method_mut() = Method::POST;
    *request.uri_mut() = http::Uri::from_static(path);
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(HeaderName::from_static("te"), HeaderValue::from_static("trailers"));
    headers.insert(header::AUTHORIZATION, token.header());
    let response = channel.oneshot(request).await.map_err(|error| Status::from_error(Box::new(error)))?;
    let (parts, body) = response.into_parts();
    if let Some(status) = Status::from_header_map(&parts.headers) {
        // A call that fails at once has its status among the headers, and no trailers.
        return match status.code() {
            Code::Ok => Ok(FrameReader { body: None, ..FrameReader::new(body) }),
            _ => Err(status),
        };
    }
    if !parts.status.is_success() {
        return Err(Status::unavailable(format!("HTTP status {}", parts.status)));
    }
    Ok(FrameReader::new(body))
}

/// Puts gRPC's head before a message.
pub(super) fn frame(message: &impl prost::Message) -> Bytes {
    let length = message.encoded_len();
    let mut bytes = BytesMut::with_capacity(HEAD_BYTES + length);
    put_head(&mut bytes, length);
    message.encode(&mut bytes).expect("there is room for the message");
    bytes.freeze()
}

/// Writes gRPC's head for an uncompressed message of this many bytes.
pub(super) fn put_head(bytes: &mut BytesMut, length: usize) {
    bytes.extend_from_slice(&[0]);
    bytes.extend_from_slice(&u32::try_from(length).expect("messages are far smaller").to_be_bytes());
}

/// How a call ended, or that it goes on.
#[derive(Debug)]
pub(super) enum Read {
    /// Messages were added.
    Messages,
    /// The server ended the call, and all is well.
    Ended,
}

/// Reads the messages of a response.
pub(super) struct FrameReader {
    body: Option<Pin<Box<Body>>>,
    split: Splitter,
}

impl std::fmt::Debug for FrameReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrameReader").finish_non_exhaustive()
    }
}

impl FrameReader {
    fn new(body: Body) -> FrameReader {
        FrameReader { body: Some(Box::pin(body)), split: Splitter::default() }
    }

    /// Waits for messages and adds all that came at once.
    ///
    /// Can be dropped between two chunks without a loss. An error is the server's status, or the transport's failure:
    /// after it, or after the end, nothing more comes.
    pub(super) async fn read(&mut self, messages: &mut Vec<Bytes>) -> Result<Read, Status> {
        let before = messages.len();
        while messages.len() == before {
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
                Ok(chunk) => self.split.push(chunk, messages)?,
                Err(frame) => {
                    self.body = None;
                    let trailers: HeaderMap = frame.into_trailers().unwrap_or_default();
                    return self.end(&trailers);
                }
            }
        }
        Ok(Read::Messages)
    }

    fn end(&self, trailers: &HeaderMap) -> Result<Read, Status> {
        match Status::from_header_map(trailers) {
            Some(status) if status.code() == Code::Ok && self.split.is_empty() => Ok(Read::Ended),
            Some(status) if status.code() == Code::Ok => Err(Status::internal("the stream ended within a message")),
            Some(status) => Err(status),
            None => Err(Status::unavailable("the stream ended without a status")),
        }
    }
}

/// Cuts chunks, which may end anywhere, into messages.
#[derive(Debug, Default)]
struct Splitter {
    /// The beginning of a message, its head included, whose rest has not come yet.
    partial: BytesMut,
}

impl Splitter {
    fn is_empty(&self) -> bool {
        self.partial.is_empty()
    }

    fn push(&mut self, mut chunk: Bytes, messages: &mut Vec<Bytes>) -> Result<(), Status> {
        while !self.partial.is_empty() && !chunk.is_empty() {
            let wanted = if self.partial.len() < HEAD_BYTES { HEAD_BYTES } else { frame_bytes(&self.partial)? };
            let missing = wanted - self.partial.len();
            let taken = chunk.split_to(missing.min(chunk.len()));
            self.partial.extend_from_slice(&taken);
            if self.partial.len() >= HEAD_BYTES && self.partial.len() == frame_bytes(&self.partial)? {
                messages.push(self.partial.split().freeze().slice(HEAD_BYTES..));
            }
        }
        while chunk.len() >= HEAD_BYTES {
            let length = frame_bytes(&chunk)?;
            if chunk.len() < length {
                self.partial.reserve(length);
                break;
            }
            messages.push(chunk.split_to(length).slice(HEAD_BYTES..));
        }
        self.partial.extend_from_slice(&chunk);
        Ok(())
    }
}

/// The length of the message that starts here, with its head.
fn frame_bytes(bytes: &[u8]) -> Result<usize, Status> {
    if bytes[0] != 0 {
        return Err(Status::internal("the server compressed a message, which it was not asked to"));
    }
    let length = u32::from_be_bytes([bytes[1], bytes[2], bytes[3], bytes[4]]);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > MESSAGE_BYTES_MAX {
        return Err(Status::resource_exhausted(format!(
            "the server sent a message of {length} bytes, and {MESSAGE_BYTES_MAX} is the limit"
        )));
    }
    Ok(HEAD_BYTES + length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn framed(messages: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = BytesMut::new();
        for message in messages {
            put_head(&mut bytes, message.len());
            bytes.extend_from_slice(message);
        }
        bytes.to_vec()
    }

    proptest! {
        #[test]
        fn chunks_may_be_cut_anywhere(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
            cuts in prop::collection::vec(1_usize..50, 1..40),
        ) {
            let bytes = Bytes::from(framed(&messages));
            let mut splitter = Splitter::default();
            let mut read = Vec::new();
            let (mut rest, mut turn) = (bytes, 0);
            while !rest.is_empty() {
                let cut = cuts[turn % cuts.len()].min(rest.len());
                splitter.push(rest.split_to(cut), &mut read).unwrap();
                turn += 1;
            }
            prop_assert!(splitter.is_empty());
            prop_assert_eq!(read, messages);
        }
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        let mut messages = Vec::new();
        let compressed = Bytes::from_static(&[1, 0, 0, 0, 1, 7]);
        assert!(Splitter::default().push(compressed, &mut messages).is_err());
        let endless = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
        assert!(Splitter::default().push(endless, &mut messages).is_err());
    }
}
