//! The ceiling: what gRPC itself carries, with the usual codec at its best. `Bytes` fields, acks made by mapping the stream of
//! requests, large frames and windows, a current-thread runtime on either side.

use std::{
    future::{Ready, ready},
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::SocketAddr,
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use bytes::Bytes;
use ensign::{
    api::ensign::{
        Ack, Event, EventWrapper, PublisherReply, PublisherRequest, StreamReady, publisher_reply::Embed as Reply,
        publisher_request::Embed as Request,
    },
    sys::Clock,
};
use futures_util::{Stream, StreamExt as _, stream::Map};
use hyper_util::rt::TokioIo;
use prost::Message as _;
use tonic::{
    Status, Streaming,
    body::Body,
    server::{Grpc, StreamingService},
    transport::Endpoint,
};
use tonic_prost::ProstCodec;

use crate::{ECHO_SERVER, Error, Payload, go};

const PATH: &str = "/ensign.v1beta1.Ensign/Publish";

/// The id of the only topic.
const TOPIC_ID: [u8; 16] = [7; 16];

/// How many events are under way: as many as `ensign bench publish` has.
const WINDOW: usize = 16_384;

/// The settings with which the stock codec is fastest.
const FRAME_BYTES: u32 = 128 * 1024;
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// A runtime on this thread alone.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, Error> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// Echoes until standard input is closed. Writes its address first.
pub(crate) fn serve() -> Result<(), Error> {
    let runtime = runtime()?;
    let (over, ended) = tokio::sync::oneshot::channel();
    std::thread::Builder::new().spawn(|| {
        // Whoever started this program is gone then, or done.
        std::io::stdin().read_to_end(&mut Vec::new()).ok();
        over.send(()).ok();
    })?;
    runtime.block_on(async {
        tokio::select! {
            served = accept() => served,
            _ = ended => Ok(()),
        }
    })
}

async fn accept() -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    writeln!(std::io::stdout(), "{}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let mut builder = hyper::server::conn::http2::Builder::new(hyper_util::rt::TokioExecutor::new());
        builder
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES);
        let service = hyper::service::service_fn(|request: http::Request<hyper::body::Incoming>| async {
            let mut grpc = Grpc::new(ProstCodec::<PublisherReply, PublisherRequest>::default());
            Ok::<_, std::convert::Infallible>(grpc.streaming(Echo, request.map(Body::new)).await)
        });
        tokio::spawn(builder.serve_connection(TokioIo::new(stream), service));
    }
}

struct Echo;

type Acks = Map<Streaming<PublisherRequest>, fn(Result<PublisherRequest, Status>) -> Result<PublisherReply, Status>>;

impl StreamingService<PublisherRequest> for Echo {
    type Response = PublisherReply;
    type ResponseStream = Acks;
    type Future = Ready<Result<tonic::Response<Acks>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<PublisherRequest>>) -> Self::Future {
        ready(Ok(tonic::Response::new(request.into_inner().map(answer))))
    }
}

fn answer(request: Result<PublisherRequest, Status>) -> Result<PublisherReply, Status> {
    let reply = match request?.embed {
        Some(Request::Event(event)) => {
            let committed = Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 123_456_789 });
            Reply::Ack(Ack { id: event.local_id, committed })
        }
        Some(Request::OpenStream(_)) => {
            let topics = [(go::TOPIC.to_owned(), Bytes::from_static(&TOPIC_ID))].into();
            Reply::Ready(StreamReady { topics, ..StreamReady::default() })
        }
        None => return Err(Status::invalid_argument("neither an event nor the opening of a stream")),
    };
    Ok(PublisherReply { embed: Some(reply) })
}

/// What the two halves of the client share.
#[derive(Debug, Default)]
struct Flight {
    sent: u64,
    acked: u64,
    over: bool,
    waker: Option<Waker>,
}

/// The events, as many as may be under way.
#[derive(Debug)]
struct Requests {
    flight: Arc<Mutex<Flight>>,
    wrappers: Vec<EventWrapper>,
    local_ids: Vec<Bytes>,
    next: usize,
}

impl Stream for Requests {
    type Item = PublisherRequest;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<PublisherRequest>> {
        let this = &mut *self;
        let mut flight = this.flight.lock().unwrap_or_else(PoisonError::into_inner);
        if flight.over {
            return Poll::Ready(None);
        }
        if flight.sent - flight.acked >= WINDOW as u64 {
            flight.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        flight.sent += 1;
        drop(flight);
        this.next += 1;
        let local_id = this.local_ids[this.next % WINDOW].clone();
        let wrapper = EventWrapper { local_id, ..this.wrappers[this.next % this.wrappers.len()].clone() };
        Poll::Ready(Some(PublisherRequest { embed: Some(Request::Event(wrapper)) }))
    }
}

/// The echo in a process of its own.
#[derive(Debug)]
pub(crate) struct EchoServer {
    process: Child,
    address: String,
}

impl EchoServer {
    pub(crate) fn start() -> Result<EchoServer, Error> {
        let program = std::env::current_exe()?;
        let mut command = Command::new(program);
        let mut process = command.arg(ECHO_SERVER).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut address = String::new();
        BufReader::new(process.stdout.take().ok_or("the echo says nothing")?).read_line(&mut address)?;
        Ok(EchoServer { process, address: address.trim().to_owned() })
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn stop(mut self) -> Result<(), Error> {
        // It ends with its input, which also happens when this process is no more.
        drop(self.process.stdin.take());
        self.process.wait()?;
        Ok(())
    }
}

/// Sends events to the echo for some time. Gives acks a second.
pub(crate) fn measure(payload: &Payload, time: Duration, clock: &Clock) -> Result<f64, Error> {
    let server = EchoServer::start()?;
    let rate = runtime()?.block_on(send(server.address(), payload, time, clock))?;
    server.stop()?;
    Ok(rate)
}

async fn send(address: &str, payload: &Payload, time: Duration, clock: &Clock) -> Result<f64, Error> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .connect()
        .await?;
    let wrappers = payload.events.iter().map(|data| {
        let event = Event { data: data.clone(), mimetype: 50, ..Event::default() };
        EventWrapper {
            topic_id: Bytes::from_static(&TOPIC_ID),
            event: event.encode_to_vec().into(),
            ..EventWrapper::default()
        }
    });
    let local_ids = (0..WINDOW as u128).map(|number| Bytes::copy_from_slice(&number.to_be_bytes()));
    let flight = Arc::new(Mutex::new(Flight::default()));
    let requests =
        Requests { flight: flight.clone(), wrappers: wrappers.collect(), local_ids: local_ids.collect(), next: 0 };
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await?;
    let codec = ProstCodec::<PublisherRequest, PublisherReply>::default();
    let path = http::uri::PathAndQuery::from_static(PATH);
    let mut acks = client.streaming(tonic::Request::new(requests), path, codec).await?.into_inner();
    let started = clock.elapsed();
    let mut acked = 0_u64;
    while let Some(reply) = acks.message().await? {
        if !matches!(reply.embed, Some(Reply::Ack(_))) {
            return Err("not an ack".into());
        }
        acked += 1;
        // Both sides are looked at now and then only: that costs the ceiling nothing.
        if acked.is_multiple_of(256) {
            let mut flight = flight.lock().unwrap_or_else(PoisonError::into_inner);
            flight.acked = acked;
            flight.over = clock.elapsed().saturating_sub(started) >= time;
            let waker = flight.waker.take();
            drop(flight);
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
    #[expect(clippy::cast_precision_loss, reason = "there are some millions")]
    Ok(acked as f64 / clock.elapsed().saturating_sub(started).as_secs_f64())
}
