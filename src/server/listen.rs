//! Connections: one listener for gRPC and REST, HTTP/2 and HTTP/1.1, with TLS and without.

use std::{io, net::SocketAddr, pin::pin, time::Duration};

use hyper::service::service_fn;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
};
use tokio::net::{TcpListener, TcpStream};

use super::{
    node::Node,
    route::Routes,
    tls::{Gate, Wire},
};

/// How many bytes a client may send on one stream before they are read.
///
/// Some clients send a frame for each event. When many small frames wait to be read, as they do while the disk is slow, the
/// HTTP/2 library takes the client for hostile and ends the connection: what the frames lack to 256 bytes may be half of
/// the connection's window in sum. So a stream's window is far smaller than that, and even the smallest events fit.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;

/// The same for all streams of a connection together.
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// The largest HTTP/2 frame: with the default of 16 KiB, large events cost a system call for each frame.
pub(super) const FRAME_BYTES_MAX: u32 = 128 * 1024;

/// How much a stream may have waiting to be sent.
const SEND_BUFFER_BYTES: usize = 512 * 1024;

const STREAMS_PER_CONNECTION_MAX: u32 = 4096;

/// A connection that says nothing is asked whether it is still there; some clients vanish without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// How long the listener rests when the system has no more connections to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until the node drains.
pub(super) async fn accept(listener: TcpListener, gate: Option<Gate>, routes: Routes) {
    let node = routes.node.clone();
    loop {
        let accepted = tokio::select! {
            () = node.draining.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                node.tasks.spawn(open(stream, peer, gate.clone(), routes.clone()));
            }
            Err(error) => {
                tracing::warn!(%error, "connection not accepted");
                node.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Finds out what a connection is, and serves it.
async fn open(stream: TcpStream, peer: SocketAddr, gate: Option<Gate>, routes: Routes) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "connection closed early");
        return;
    }
    let wire = match gate {
        None => Some(Wire::Plain(stream)),
        // In a box, so that what negotiating takes is not kept for as long as the connection lives.
        Some(gate) => Box::pin(gate.open(stream, peer, &routes.node.clock, &routes.node.draining)).await,
    };
    if let Some(wire) = wire {
        serve(wire, peer, routes).await;
    }
}

/// Serves one connection until it closes. When the node drains, no new calls are taken, and those under way end.
async fn serve(wire: Wire, peer: SocketAddr, routes: Routes) {
    let node: Node = routes.node.clone();
    let service = service_fn(move |request| routes.clone().answer(peer, request));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new());
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(wire), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = node.draining.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, error = %error, "connection ended with an error");
    }
}

/// Opens the listener.
pub(super) async fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(addr).await
}
