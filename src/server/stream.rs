//! The request side of a streaming call: messages out of the HTTP body, and the ways in which a stream ends.

use std::{borrow::Cow, fmt, pin::Pin, time::Duration};

use http::HeaderMap;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::compression::Encoding;
use crate::{
    api::{FrameError, FrameReader, WireError},
    sys::Clock,
};

/// Why no more messages come, or none are taken.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// The client closed its side, or went away.
    Finished,
    /// The client broke a rule, or its deadline has passed.
    Refused(Status),
    /// The server is shutting down.
    Draining,
}

impl StreamEnd {
    pub(super) fn undecodable(error: &WireError) -> StreamEnd {
        StreamEnd::Refused(Status::invalid_argument(format!("message cannot be decoded: {error}")))
    }

    /// What the client is told. A server that goes away says so with an error, because there are clients that take an
    /// orderly end for final and do not come back.
    pub(super) fn status(&self) -> Status {
        match self {
            StreamEnd::Finished => Status::ok(""),
            StreamEnd::Refused(status) => status.clone(),
            StreamEnd::Draining => Status::unavailable("the broker is shutting down"),
        }
    }
}

/// Resolves when the caller has lost its right to call. Not to be polled again afterwards.
pub(super) struct Revoked(pub(super) Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Revoked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Revoked")
    }
}

/// Reads the messages of a request.
#[derive(Debug)]
pub(super) struct MessageReader {
    body: Incoming,
    frames: FrameReader,
    encoding: Encoding,
    /// When the call is over, on the clock's scale of elapsed time.
    deadline: Option<Duration>,
    revoked: Revoked,
    clock: Clock,
}

impl MessageReader {
    /// # Errors
    ///
    /// When the request is not gRPC, or is encoded in a way that is not known.
    pub(super) fn new(
        headers: &HeaderMap,
        body: Incoming,
        clock: Clock,
        revoked: Revoked,
    ) -> Result<MessageReader, Status> {
        let encoding = Encoding::of(headers)?;
        let deadline = timeout(headers)?.map(|timeout| clock.elapsed() + timeout);
        Ok(MessageReader { body, frames: FrameReader::default(), encoding, deadline, revoked, clock })
    }

    /// Waits for more of the request; false when the client has closed its side or is gone. Waits no longer than the
    /// client's deadline, its right to call, and the server's life. Cancel-safe. Messages of what came before are taken
    /// out first.
    pub(super) async fn more(&mut self, draining: &CancellationToken) -> Result<bool, StreamEnd> {
        loop {
            // A chunk that has arrived is preferred to the end of the server: it may hold events, and they are stored.
            let chunk = tokio::select! {
                biased;
                () = &mut self.revoked.0 => {
                    return Err(StreamEnd::Refused(Status::unauthenticated("invalid credentials")));
                }
                chunk = self.body.frame() => chunk,
                () = draining.cancelled() => return Err(StreamEnd::Draining),
                () = remaining(self.deadline, &self.clock) => return Err(StreamEnd::Refused(overdue())),
            };
            match chunk {
                // Trailers of a request mean nothing to gRPC.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.frames.feed(data);
                        return Ok(true);
                    }
                }
                // The client is gone; what it sent in the middle of a message can't be completed any more.
                Some(Err(_)) => return Ok(false),
                None => return self.frames.finish().map(|()| false).map_err(|error| frame_error(&error)),
            }
        }
    }

    /// Waits until a call has to end whose request has nothing more to say. Cancel-safe.
    pub(super) async fn end(&mut self, draining: &CancellationToken) -> StreamEnd {
        loop {
            match self.more(draining).await {
                // It was not asked for, and is not kept.
                Ok(true) => self.frames = FrameReader::default(),
                Ok(false) => break,
                Err(end) => return end,
            }
        }
        tokio::select! {
            () = &mut self.revoked.0 => StreamEnd::Refused(Status::unauthenticated("invalid credentials")),
            () = draining.cancelled() => StreamEnd::Draining,
            () = remaining(self.deadline, &self.clock) => StreamEnd::Refused(overdue()),
        }
    }

    /// The next message that has arrived.
    pub(super) fn message(&mut self) -> Result<Option<Cow<'_, [u8]>>, StreamEnd> {
        let encoding = self.encoding;
        let Some(frame) = self.frames.next_frame().map_err(|error| frame_error(&error))? else {
            return Ok(None);
        };
        if frame.compressed {
            return encoding.decompress(frame.body).map(|body| Some(Cow::Owned(body))).map_err(StreamEnd::Refused);
        }
        Ok(Some(Cow::Borrowed(frame.body)))
    }

    /// The first message of a stream; nothing when the client left before it said anything.
    pub(super) async fn first(&mut self, draining: &CancellationToken) -> Result<Option<Vec<u8>>, StreamEnd> {
        loop {
            if let Some(message) = self.message()? {
                return Ok(Some(message.into_owned()));
            }
            if !self.more(draining).await? {
                return Ok(None);
            }
        }
    }
}

/// Resolves when a deadline has passed, if there is one.
async fn remaining(deadline: Option<Duration>, clock: &Clock) {
    match deadline {
        Some(deadline) => clock.sleep(deadline.saturating_sub(clock.elapsed())).await,
        None => std::future::pending().await,
    }
}

fn overdue() -> Status {
    Status::deadline_exceeded("the call's deadline has passed")
}

fn frame_error(error: &FrameError) -> StreamEnd {
    StreamEnd::Refused(match error {
        FrameError::TooLarge { .. } => Status::resource_exhausted(error.to_string()),
        _ => Status::internal(error.to_string()),
    })
}

/// The `grpc-timeout` header: at most eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let parse = || {
        let (digits, unit) = value.to_str().ok()?.split_at_checked(value.len().checked_sub(1)?)?;
        let number = (digits.len() <= 8).then(|| digits.parse::<u64>().ok())??;
        Some(match unit {
            "H" => Duration::from_secs(number * 3_600),
            "M" => Duration::from_secs(number * 60),
            "S" => Duration::from_secs(number),
            "m" => Duration::from_millis(number),
            "u" => Duration::from_micros(number),
            "n" => Duration::from_nanos(number),
            _ => return None,
        })
    };
    parse().map(Some).ok_or_else(|| Status::invalid_argument("the grpc-timeout header cannot be read"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: Option<Duration>) {
        let headers = HeaderMap::from_iter([(http::HeaderName::from_static("grpc-timeout"), value.parse().unwrap())]);
        assert_eq!(timeout(&headers).ok().flatten(), expected, "{value}");
    }

    #[test]
    fn timeouts() {
        check("5S", Some(Duration::from_secs(5)));
        check("250m", Some(Duration::from_millis(250)));
        check("99999999u", Some(Duration::from_micros(99_999_999)));
        check("2H", Some(Duration::from_hours(2)));
        for bad in ["", "S", "5", "5x", "-5S", "999999999S"] {
            check(bad, None);
        }
    }
}
