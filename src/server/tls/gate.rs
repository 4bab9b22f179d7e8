//! From an accepted socket to an open connection: TLS or plaintext, or neither.

use std::{
    fmt, io,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rustls::ServerConfig;
use tokio::{net::TcpStream, sync::Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{TlsIdentity, TlsOptions, Wire, refusal};
use crate::sys::Clock;

/// The first byte of a TLS connection: a record of the handshake. No HTTP begins with it.
const HANDSHAKE: u8 = 0x16;

/// How long a client may take until its connection is open.
const OPENING: Duration = Duration::from_secs(10);

/// How many connections negotiate at once; the others wait, within their own time.
const HANDSHAKES_MAX: usize = 512;

/// Opens connections. Cheap to clone.
#[derive(Clone)]
pub(in crate::server) struct Gate(Arc<Inner>);

struct Inner {
    current: RwLock<TlsIdentity>,
    only: bool,
    handshakes: Semaphore,
}

/// The identity of a running server, to be replaced. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificates(Gate);

impl Certificates {
    /// Shows this identity to clients that connect from now on.
    pub fn replace(&self, identity: TlsIdentity) {
        *self.0.0.current.write().unwrap_or_else(PoisonError::into_inner) = identity;
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("only", &self.0.only).finish_non_exhaustive()
    }
}

impl Gate {
    pub(in crate::server) fn new(options: TlsOptions) -> Gate {
        let TlsOptions { identity, only } = options;
        Gate(Arc::new(Inner {
            only: only || identity.asks_clients(),
            current: RwLock::new(identity),
            handshakes: Semaphore::new(HANDSHAKES_MAX),
        }))
    }

    pub(in crate::server) fn certificates(&self) -> Certificates {
        Certificates(self.clone())
    }

    /// The connection, when there is one: a client may also leave, fail, be refused, or take too long.
    pub(in crate::server) async fn open(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        clock: &Clock,
        draining: &CancellationToken,
    ) -> Option<Wire> {
        let opened = tokio::select! {
            biased;
            () = draining.cancelled() => return None,
            opened = self.negotiate(stream) => opened,
            () = clock.sleep(OPENING) => {
                tracing::debug!(%peer, "connection closed that did not open in time");
                return None;
            }
        };
        match opened {
            Ok(wire) => wire,
            Err(error) => {
                tracing::debug!(%peer, %error, "connection failed to open");
                None
            }
        }
    }

    async fn negotiate(&self, stream: TcpStream) -> io::Result<Option<Wire>> {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Ok(None);
        }
        if first[0] != HANDSHAKE {
            if !self.0.only {
                return Ok(Some(Wire::Plain(stream)));
            }
            refusal::refuse(stream).await?;
            return Ok(None);
        }
        let _turn = self.0.handshakes.acquire().await.expect("the semaphore is never closed");
        let stream = TlsAcceptor::from(self.current()).accept(stream).await?;
        Ok(Some(Wire::Tls(Box::new(stream))))
    }

    fn current(&self) -> Arc<ServerConfig> {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).config()
    }
}
