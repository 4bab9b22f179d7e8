//! The gRPC API apart from its publish and subscribe streams: the methods of one request and one reply, health and
//! reflection.
//!
//! Invariants: the caller is known before anything of the message is read, except for Status, health and reflection,
//! which are anybody's. A message that cannot be decoded is the client's fault and never ours. A panic ends its call
//! and no other. What is refused is refused in the Ensign API's words.
//!
//! What it does not do: publish, subscribe, listen, or decide what a caller may do, which is the broker's.

mod health;
mod method;
mod reflection;

use std::{
    convert::Infallible,
    fmt,
    future::ready,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use http::{Request, Response};
use tonic::{
    Code, Status,
    body::Body,
    codec::{Codec, CompressionEncoding},
    metadata::MetadataValue,
    server::Grpc,
};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_prost::ProstCodec;
use tower::{Service, service_fn};

use self::{method::Method, reflection::Reflection};
use super::{
    auth,
    call::Call,
    lifecycle::{Lifecycle, Phase},
};
use crate::{
    api::{DURABILITY_HEADER, RawCodec},
    broker::Broker,
    identity::Identity,
    model::{Durability, limits::SDK_MESSAGE_BYTES_MAX},
    sys::Clock,
    telemetry::Metrics,
};

/// The path of the one method here that streams.
const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// What the methods need.
pub(super) struct State {
    pub(super) broker: Broker,
    pub(super) identity: Identity,
    pub(super) metrics: Arc<Metrics>,
    pub(super) lifecycle: Lifecycle,
    pub(super) clock: Clock,
    /// Whether events can be stored.
    pub(super) healthy: Arc<dyn Fn() -> bool + Send + Sync>,
    /// What an ack means.
    pub(super) durability: Durability,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("lifecycle", &self.lifecycle).finish_non_exhaustive()
    }
}

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct GrpcService {
    state: Arc<State>,
    reflection: Reflection,
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// The service that answers every gRPC request but those of the publish and subscribe streams.
pub(super) fn service(state: State) -> GrpcService {
    GrpcService { state: Arc::new(state), reflection: Reflection::new() }
}

impl<B> Service<Request<B>> for GrpcService
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<tonic::codegen::StdError>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answer {
        let service = self.clone();
        let request = request.map(Body::new);
        Box::pin(async move { Ok(service.answer(request).await) })
    }
}

impl GrpcService {
    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let mut call = Call::begin(&self.state.metrics, &self.state.clock, path);
        if path == WATCH {
            return self.watch(call, request).await;
        }
        let answered = AssertUnwindSafe(self.dispatch(request)).catch_unwind().await;
        let response = answered.unwrap_or_else(|_| Status::internal("an unhandled exception occurred").into_http());
        call.ends(Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()));
        response
    }

    async fn dispatch(self, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        let method = Method::at(path);
        let maintenance = self.state.lifecycle.phase() == Phase::Maintenance;
        if maintenance && !method.is_some_and(Method::is_public) {
            return Status::unavailable("the Ensign server is currently in maintenance mode").into_http();
        }
        match method {
            Some(method) => self.unary(method, request).await,
            None if Reflection::is_at(path) => self.reflection.answer(request).await,
            None => unknown(path).into_http(),
        }
    }

    async fn unary(self, method: Method, request: Request<Body>) -> Response<Body> {
        let caller = if method.is_public() {
            None
        } else {
            match auth::principal(request.headers(), &self.state.identity) {
                Ok(principal) => Some(principal),
                Err(status) => return status.into_http(),
            }
        };
        let was_read = AtomicBool::new(false);
        let answering = service_fn(|request: tonic::Request<Bytes>| {
            was_read.store(true, Ordering::Relaxed);
            let (state, caller) = (&self.state, &caller);
            async move {
                let message = request.into_inner();
                let answer = match caller {
                    Some(principal) => method::answer(state, method, principal, message).await,
                    None => method::answer_anybody(state, method, message),
                };
                let mut response = tonic::Response::new(answer?);
                if method == Method::Status {
                    let durability = MetadataValue::from_static(state.durability.name());
                    response.metadata_mut().insert(DURABILITY_HEADER, durability);
                }
                Ok(response)
            }
        });
        let response = compressing(RawCodec).unary(answering, request).await;
        if was_read.load(Ordering::Relaxed) { response } else { unreadable(response) }
    }

    async fn watch(self, call: Call, request: Request<Body>) -> Response<Body> {
        let state = self.state;
        let mut call = Some(call);
        let watching = service_fn(move |request: tonic::Request<HealthCheckRequest>| {
            let told = health::watch(state.clone(), request.get_ref());
            ready(Ok::<_, Status>(tonic::Response::new(counted(told, call.take()))))
        });
        let codec = ProstCodec::<HealthCheckResponse, HealthCheckRequest>::default();
        let response = compressing(codec).server_streaming(watching, request).await;
        if response.headers().contains_key(Status::GRPC_STATUS) { unreadable(response) } else { response }
    }
}

/// Counts what a stream sends, and its call as ended when it ends.
fn counted<T: Send>(messages: impl Stream<Item = T> + Send, call: Option<Call>) -> impl Stream<Item = T> + Send {
    stream::unfold((Box::pin(messages), call), |(mut messages, mut call)| async {
        let message = messages.next().await;
        match (&message, &mut call) {
            (Some(_), Some(call)) => call.rpc().into_iter().for_each(|rpc| rpc.sent(1)),
            (None, Some(call)) => call.ends(Code::Ok),
            (_, None) => {}
        }
        Some((message?, (messages, call)))
    })
}

/// Messages may be compressed in both directions.
fn compressing<C: Codec>(codec: C) -> Grpc<C> {
    [CompressionEncoding::Gzip, CompressionEncoding::Zstd]
        .into_iter()
        .fold(Grpc::new(codec).max_decoding_message_size(SDK_MESSAGE_BYTES_MAX), |grpc, encoding| {
            grpc.accept_compressed(encoding).send_compressed(encoding)
        })
}

/// The reply to a request whose message could not be read. What is too large is a matter of resources, and what does
/// not decompress or has no message the client's fault.
fn unreadable(response: Response<Body>) -> Response<Body> {
    let Some(status) = Status::from_header_map(response.headers()) else {
        return response;
    };
    match status.code() {
        Code::OutOfRange => Status::resource_exhausted(status.message()).into_http(),
        Code::Internal => Status::invalid_argument(status.message()).into_http(),
        _ => response,
    }
}

/// What nobody answers.
fn unknown(path: &str) -> Status {
    let (service, method) = path.trim_start_matches('/').rsplit_once('/').unwrap_or((path, ""));
    if ["ensign.v1beta1.Ensign", "grpc.health.v1.Health"].contains(&service) {
        Status::unimplemented(format!("unknown method {method} for service {service}"))
    } else {
        Status::unimplemented(format!("unknown service {service}"))
    }
}

#[cfg(test)]
mod tests;
