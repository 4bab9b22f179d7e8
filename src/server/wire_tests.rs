//! The Publish stream below any gRPC library: a client that cuts its body where it likes, breaks it off, says nothing
//! more, or sends far more than is taken.

use std::{
    convert::Infallible,
    io::Write,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt;
use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status, body::Body, transport::Channel};
use tower::ServiceExt;

use super::{node::PUBLISH, *};
use crate::{
    api::{
        self, FrameReader,
        ensign::{
            Event, EventWrapper, OpenStream, PublisherReply, PublisherRequest, Topic, ensign_client::EnsignClient,
            publisher_reply::Embed as Reply, publisher_request::Embed as Sent,
        },
    },
    model::limits::{INFLIGHT_BYTES_MAX, MESSAGE_BYTES_MAX},
    sys::{Clock, Entropy},
};

/// A request's body: each piece goes out as an HTTP/2 frame of its own. It ends when the sender is dropped.
struct Pieces {
    pieces: mpsc::Receiver<Bytes>,
    taken: Arc<AtomicUsize>,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        self.pieces.poll_recv(context).map(|piece| {
            let piece = piece?;
            self.taken.fetch_add(piece.len(), Ordering::Relaxed);
            Some(Ok(http_body::Frame::data(piece)))
        })
    }
}

struct Peer {
    server: Server,
    channel: Channel,
    token: String,
    topic: Bytes,
}

/// An open call.
struct Call {
    pieces: Option<mpsc::Sender<Bytes>>,
    /// How many bytes the connection has taken.
    taken: Arc<AtomicUsize>,
    headers: HeaderMap,
    body: Body,
    frames: FrameReader,
}

impl Peer {
    async fn new() -> Peer {
        let options = ServerOptions {
            server_id: "test".to_owned(),
            ..ServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), Storage::Memory)
        };
        let server = Server::start(options, Clock::real(), Entropy::real()).await.unwrap();
        let issued = server.identity().ensure_default().await.unwrap().issued.unwrap();
        let tokens = server.identity().authenticate(&issued.key.client_id, &issued.secret).await.unwrap();
        let token = format!("Bearer {}", tokens.access.expose_str().unwrap());
        let channel = Channel::from_shared(format!("http://{}", server.addr())).unwrap().connect().await.unwrap();
        let mut request = tonic::Request::new(Topic { name: "flights".to_owned(), ..Topic::default() });
        request.metadata_mut().insert("authorization", token.parse().unwrap());
        let topic = EnsignClient::new(channel.clone()).create_topic(request).await.unwrap().into_inner().id;
        Peer { server, channel, token, topic }
    }

    async fn publish(&self, headers: &[(&'static str, &str)]) -> Call {
        let (pieces, receiver) = mpsc::channel(1);
        let taken = Arc::new(AtomicUsize::new(0));
        let mut request = http::Request::post(PUBLISH)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", &self.token);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Body::new(Pieces { pieces: receiver, taken: taken.clone() });
        let response = self.channel.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        Call { pieces: Some(pieces), taken, headers: parts.headers, body, frames: FrameReader::default() }
    }

    /// The frame of an event.
    fn event(&self, data: &[u8]) -> Vec<u8> {
        let event = Event { data: Bytes::copy_from_slice(data), mimetype: 1, ..Event::default() };
        let local_id = Bytes::copy_from_slice(&data[..data.len().min(8)]);
        let event = event.encode_to_vec().into();
        let wrapper = EventWrapper { topic_id: self.topic.clone(), event, local_id, ..EventWrapper::default() };
        api::frame(&PublisherRequest { embed: Some(Sent::Event(wrapper)) })
    }
}

/// The frame of a stream's first message.
fn opening() -> Vec<u8> {
    let open = OpenStream { client_id: "me".to_owned(), topics: Vec::new() };
    api::frame(&PublisherRequest { embed: Some(Sent::OpenStream(open)) })
}

impl Call {
    async fn send(&self, piece: impl Into<Bytes>) {
        // Of a call that is over nothing is taken any more.
        self.pieces.as_ref().unwrap().send(piece.into()).await.unwrap_or(());
    }

    /// The next reply, or the status at the end.
    async fn reply(&mut self) -> Result<Reply, Status> {
        loop {
            if let Some(frame) = self.frames.next_frame().unwrap() {
                return Ok(PublisherReply::decode(frame.body).unwrap().embed.unwrap());
            }
            let Some(frame) = self.body.frame().await else {
                return Err(Status::from_header_map(&self.headers).expect("a status without trailers"));
            };
            match frame.unwrap().into_data() {
                Ok(data) => self.frames.feed(data),
                Err(frame) => return Err(Status::from_header_map(frame.trailers_ref().unwrap()).unwrap()),
            }
        }
    }

    async fn ready(&mut self) {
        assert!(matches!(self.reply().await, Ok(Reply::Ready(_))));
    }

    async fn acked(&mut self, local_id: &[u8]) {
        match self.reply().await {
            Ok(Reply::Ack(ack)) => assert_eq!(ack.id, local_id),
            other => panic!("not acked: {other:?}"),
        }
    }

    /// Waits for the end: how many events the server says that it acked, if it says so, and the status.
    async fn end(mut self) -> (Option<u64>, Status) {
        let mut acks = None;
        loop {
            match self.reply().await {
                Ok(Reply::CloseStream(close)) => acks = Some(close.acks),
                Ok(_) => {}
                Err(status) => return (acks, status),
            }
        }
    }
}

#[tokio::test]
async fn a_body_may_be_cut_anywhere() {
    let peer = Peer::new().await;
    let mut body = opening();
    for number in 0..40_u8 {
        body.extend(peer.event(&[number; 20]));
    }
    for length in [1, 3, 64] {
        let mut call = peer.publish(&[]).await;
        for piece in body.chunks(length) {
            call.send(piece.to_vec()).await;
        }
        call.ready().await;
        for number in 0..40_u8 {
            call.acked(&[number; 8]).await;
        }
        call.pieces = None;
        let (acks, status) = call.end().await;
        assert_eq!((acks, status.code()), (Some(40), Code::Ok));
    }
}

/// What came whole before is stored and acked; half a message is not the end that the client meant.
#[tokio::test]
async fn an_end_within_a_message_is_an_error() {
    let peer = Peer::new().await;
    let event = peer.event(b"12345678");
    for length in [1, 4, 5, event.len() - 1] {
        let mut call = peer.publish(&[]).await;
        call.send([&opening()[..], &event, &event[..length]].concat()).await;
        call.pieces = None;
        call.ready().await;
        call.acked(b"12345678").await;
        let (acks, status) = call.end().await;
        assert_eq!((acks, status.code()), (Some(1), Code::Internal), "{length}");
    }
}

/// The HTTP/2 library ends connections on which many small frames wait to be read; clients that send one for each event
/// are no attack, also while the disk is slow and as many wait as the window lets through.
#[tokio::test]
async fn a_frame_for_each_event_is_no_attack() {
    let peer = Peer::new().await;
    let mut call = peer.publish(&[]).await;
    call.send(opening()).await;
    call.ready().await;
    let event = Bytes::from(peer.event(b"x"));
    let pieces = call.pieces.take().unwrap();
    let all = peer.server.node.engine.admit(INFLIGHT_BYTES_MAX).await;
    let mut events = 0;
    // Nothing is admitted, so that the window fills, and then nothing more is taken.
    while tokio::time::timeout(Duration::from_millis(500), pieces.send(event.clone()))
        .await
        .is_ok_and(|sent| sent.is_ok())
    {
        events += 1;
    }
    drop((all, pieces));
    let (acks, status) = call.end().await;
    assert_eq!((acks, status.code()), (Some(events), Code::Ok), "{status:?}");
}

#[tokio::test]
async fn what_a_stream_says_of_itself_counts() {
    let peer = Peer::new().await;
    let event = peer.event(b"12345678");
    let mut compressed = vec![1];
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(&event[api::FRAME_HEAD_BYTES..]).unwrap();
    let content = encoder.finish().unwrap();
    compressed.extend(u32::try_from(content.len()).unwrap().to_be_bytes());
    compressed.extend(content);
    let mut too_large = vec![0];
    too_large.extend(u32::try_from(MESSAGE_BYTES_MAX + 1).unwrap().to_be_bytes());

    for (headers, message, expected) in [
        (&[("grpc-encoding", "gzip")][..], &compressed, (Some(1), Code::Ok)),
        (&[], &compressed, (Some(0), Code::Internal)),
        (&[("grpc-encoding", "brotli")], &event, (None, Code::Unimplemented)),
        // The head alone decides: nothing of such a message is waited for.
        (&[], &too_large, (Some(0), Code::ResourceExhausted)),
        (&[("grpc-timeout", "soon")], &event, (None, Code::InvalidArgument)),
    ] {
        let mut call = peer.publish(headers).await;
        call.send([&opening()[..], message].concat()).await;
        if expected.1 != Code::ResourceExhausted {
            call.pieces = None;
        }
        let (acks, status) = call.end().await;
        assert_eq!((acks, status.code()), expected, "{headers:?}");
    }
    // A client that says for how long it will listen, and then nothing more.
    let call = peer.publish(&[("grpc-timeout", "100m")]).await;
    call.send(opening()).await;
    assert_eq!(call.end().await.1.code(), Code::DeadlineExceeded);
}

/// Events that are not admitted are not read either: what waits for the disk stays with the client.
#[tokio::test]
async fn nothing_is_read_ahead_of_what_is_admitted() {
    const EVENTS: usize = 32;
    const EVENT_BYTES: usize = 1024 * 1024;
    let peer = Peer::new().await;
    let all = peer.server.node.engine.admit(INFLIGHT_BYTES_MAX).await;
    let mut call = peer.publish(&[]).await;
    call.send(opening()).await;
    call.ready().await;
    let event = Bytes::from(peer.event(&vec![7; EVENT_BYTES]));
    let pieces = call.pieces.take().unwrap();
    let taken = call.taken.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..EVENTS {
            pieces.send(event.clone()).await.unwrap();
        }
    });
    // However long this takes: a server that waits takes no more than its window and what its client holds.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sending.is_finished() && taken.load(Ordering::Relaxed) < EVENTS * EVENT_BYTES / 2);
    drop(all);
    for _ in 0..EVENTS {
        call.acked(&[7; 8]).await;
    }
    sending.await.unwrap();
    assert_eq!(call.end().await.1.code(), Code::Ok);
}
