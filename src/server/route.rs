//! Which part of the server answers a request: the event streams, the other gRPC methods, or REST.

use std::{convert::Infallible, net::SocketAddr};

use axum::Router;
use http::{Request, Response, header::CONTENT_TYPE};
use hyper::body::Incoming;
use tower::{Service, ServiceExt};

use super::{
    body::{ReplyBody, boxed},
    grpc::GrpcService,
    node::{ENSQL, Node, PUBLISH, SUBSCRIBE},
    publish, query,
    rest::Peer,
    subscribe,
};

/// All that the server answers with. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    pub(super) node: Node,
    pub(super) grpc: GrpcService,
    pub(super) rest: Router,
}

impl Routes {
    pub(super) async fn answer(
        mut self,
        peer: SocketAddr,
        mut request: Request<Incoming>,
    ) -> Result<Response<ReplyBody>, Infallible> {
        let content_type = request.headers().get(CONTENT_TYPE).map(http::HeaderValue::as_bytes);
        if !content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
            request.extensions_mut().insert(Peer(peer.ip()));
            return self.rest.oneshot(request.map(axum::body::Body::new)).await.map(|reply| reply.map(boxed));
        }
        match request.uri().path() {
            PUBLISH => Ok(publish::serve(&self.node, peer, request)),
            SUBSCRIBE => Ok(subscribe::serve(&self.node, peer, request)),
            ENSQL => Ok(query::serve(&self.node, request)),
            _ => self.grpc.call(request.map(tonic::body::Body::new)).await.map(|reply| reply.map(boxed)),
        }
    }
}
