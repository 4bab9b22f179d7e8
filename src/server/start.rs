//! Starting and stopping a node.

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    encryption::DataKeys,
    grpc,
    lifecycle::{Lifecycle, Phase},
    listen,
    mail::{MailError, MailOptions, Mailer},
    node::Node,
    observe,
    rest::{self, RestOptions},
    root_key::{self, RootKeyError, RootKeyKeeper, RootKeyOptions, RootKeySource},
    route::Routes,
    tls::{Certificates, Gate, TlsOptions},
};
use crate::{
    api,
    broker::{Broker, EventForm, Lags, OpenBrokerError},
    engine::{Engine, OpenError, RootKey},
    identity::{Identity, IdentityError, IdentityOptions, Registration},
    model::Durability,
    store::{
        Store,
        local::{self, CloseError, LocalOptions, LocalStore, RecoveryReport},
    },
    sys::{Clock, Disk, Entropy},
    telemetry::Metrics,
};

/// How long open streams may take to end once they have been told.
const DRAIN: Duration = Duration::from_secs(5);

/// Whom the tokens of a server are meant for, unless it is configured otherwise.
const AUDIENCE: &str = "ensign";

/// How old a key that signs tokens gets, unless it is configured otherwise.
pub const TOKEN_KEY_AGE: Duration = Duration::from_hours(90 * 24);

/// Where events and records are kept.
#[derive(Debug, Clone)]
pub enum Storage {
    /// In a directory, which is made when it is not there. An ack means as much as is said here.
    Directory(PathBuf, Durability),
    /// In memory: nothing survives.
    Memory,
    /// On a disk of the caller's, which may be one that fails.
    Disk(Disk, LocalOptions),
}

/// What a server is started with.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// The address to listen on; with port 0 the system chooses one.
    pub addr: SocketAddr,
    pub storage: Storage,
    /// The URL under which clients know the server, which its tokens name; `None`: localhost and the port.
    pub public_url: Option<String>,
    /// What streams are told the server is called; may be empty.
    pub server_id: String,
    /// Where the root key comes from.
    pub root_key: RootKeyOptions,
    pub rest: RestOptions,
    /// How old a key that signs tokens gets before another one signs.
    pub token_key_age: Duration,
    /// Who may register an organization.
    pub registration: Registration,
    /// How mail is sent; without this, its tokens are in the log, and kept until they are used.
    pub mail: Option<MailOptions>,
    /// How the server speaks TLS; without this it speaks plaintext alone.
    pub tls: Option<TlsOptions>,
}

impl ServerOptions {
    /// A server without a name whose other settings are the defaults.
    pub fn new(addr: SocketAddr, storage: Storage) -> ServerOptions {
        ServerOptions {
            addr,
            storage,
            public_url: None,
            server_id: String::new(),
            root_key: RootKeyOptions::in_directory(),
            rest: RestOptions::default(),
            token_key_age: TOKEN_KEY_AGE,
            registration: Registration::Open,
            mail: None,
            tls: None,
        }
    }
}

/// A server could not be started. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    #[error("could not listen on {addr}")]
    Listen {
        addr: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("could not use the data directory {}", path.display())]
    DataDirectory {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Store(#[from] local::OpenError),
    #[error(transparent)]
    RootKey(#[from] RootKeyError),
    #[error(transparent)]
    Engine(#[from] OpenError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("mail cannot be sent")]
    Mail(#[from] MailError),
    #[error(transparent)]
    Broker(#[from] OpenBrokerError),
}

/// A running server. It serves until it is stopped.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    pub(super) node: Node,
    lifecycle: Lifecycle,
    local: LocalStore,
    recovered: RecoveryReport,
    gate: Option<Gate>,
    mailer: Option<Mailer>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Opens everything and begins to serve: when this returns, clients are answered. Needs a Tokio runtime.
    ///
    /// # Errors
    ///
    /// When the address is taken, when another process holds the data directory, when what is in it is damaged or was
    /// written under another root key.
    pub async fn start(options: ServerOptions, clock: Clock, entropy: Entropy) -> Result<Server, StartError> {
        let listen_failed = |source| StartError::Listen { addr: options.addr, source };
        let listener = listen::bind(options.addr).await.map_err(listen_failed)?;
        let addr = listener.local_addr().map_err(listen_failed)?;
        let (disk, local_options) = match &options.storage {
            Storage::Directory(path, durability) => {
                let disk = Disk::real(path);
                let disk = disk.map_err(|source| StartError::DataDirectory { path: path.clone(), source })?;
                (disk, LocalOptions { durability: *durability, ..LocalOptions::default() })
            }
            Storage::Memory => {
                (Disk::memory(), LocalOptions { durability: Durability::Memory, ..LocalOptions::default() })
            }
            Storage::Disk(disk, options) => (disk.clone(), *options),
        };
        let (store, local, recovered) = LocalStore::open(&disk, &clock, &entropy, local_options)?;
        log_recovery(&recovered);
        let durability = local_options.durability;
        if durability == Durability::Os {
            tracing::warn!("events are acked before they are on the disk: a loss of power can take the last of them");
        }
        let root_key = root_key::open(&disk, &store.records, &options.root_key, (&clock, &entropy)).await?;
        let keyring = options.root_key.keyring.clone();
        let keeper = RootKeyKeeper::new(&disk, &store.records, keyring, (&clock, &entropy));
        let issuer = options.public_url.clone().unwrap_or_else(|| {
            let scheme = if options.tls.is_some() { "https" } else { "http" };
            format!("{scheme}://localhost:{}", addr.port())
        });
        let gate = options.tls.map(Gate::new);
        let mailer = options.mail.as_ref().map(|mail| Mailer::start(mail, &clock)).transpose()?;
        let identity = IdentityOptions {
            registration: options.registration,
            mail: mailer.as_ref().map(|mailer| mailer.outbox.clone()),
            signing_key_age: options.token_key_age,
            ..IdentityOptions::new(issuer, AUDIENCE, root_key.clone())
        };
        let (node, lifecycle) =
            open_node(store, (root_key, keeper), identity, options.server_id, clock, entropy).await?;

        observe::register(&node);
        node.metrics.durability(durability);
        node.broker.compact_in_background();
        let routes = Routes {
            grpc: grpc::service(grpc::State {
                broker: node.broker.clone(),
                identity: node.identity.clone(),
                metrics: node.metrics.clone(),
                lifecycle: lifecycle.clone(),
                clock: node.clock.clone(),
                healthy: node.healthy(),
                durability,
            }),
            rest: rest::router(rest::RestState::new(&node, lifecycle.clone(), durability, options.rest)),
            node: node.clone(),
        };
        let accepting = tokio::spawn(listen::accept(listener, gate.clone(), routes));
        Ok(Server { addr, node, lifecycle, local, recovered, gate, mailer, accepting })
    }

    /// The address that the server listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Organizations, projects and keys of the server.
    pub fn identity(&self) -> &Identity {
        &self.node.identity
    }

    /// Topics and streams of the server.
    pub fn broker(&self) -> &Broker {
        &self.node.broker
    }

    /// Where the root key comes from.
    ///
    /// # Errors
    ///
    /// When the records can't be read.
    pub async fn root_key_source(&self) -> Result<RootKeySource, RootKeyError> {
        Ok(self.node.data_keys.keeper.source().await?.0)
    }

    /// What opening the store found and did.
    pub fn recovered(&self) -> &RecoveryReport {
        &self.recovered
    }

    /// Where another TLS identity is set; none when the server speaks plaintext alone.
    pub fn certificates(&self) -> Option<Certificates> {
        self.gate.as_ref().map(Gate::certificates)
    }

    /// Stops in order: no more connections, streams are told, what was accepted is committed, the store is closed.
    /// Streams that do not end in time are cut.
    ///
    /// # Errors
    ///
    /// When the store could not write any more, or could not note that it was closed in order. What was acked is there.
    pub async fn stop(self) -> Result<(), CloseError> {
        self.lifecycle.enter(Phase::Stopping);
        self.node.draining.cancel();
        self.accepting.await.unwrap_or(());
        self.node.tasks.close();
        let drained = tokio::select! {
            () = self.node.tasks.wait() => true,
            () = self.node.clock.sleep(DRAIN) => false,
        };
        if !drained {
            tracing::warn!(open = self.node.tasks.len(), "connections cut that did not end in time");
        }
        self.node.broker.close().await;
        self.node.engine.close().await;
        self.node.identity.flush().await;
        if let Some(mailer) = self.mailer {
            tokio::select! {
                () = mailer.finish() => {}
                () = self.node.clock.sleep(DRAIN) => tracing::warn!("mail given up that was being sent"),
            }
        }
        self.local.close().await
    }
}

/// Says what a reopening had to put right.
fn log_recovery(recovered: &RecoveryReport) {
    if let Some(cut) = &recovered.cut {
        tracing::warn!(
            ?cut,
            "cut off the torn end of the journal: what was being written when the broker last died, and never acked"
        );
    }
    for file in &recovered.removed {
        tracing::info!(file, "removed what was left of a compaction");
    }
    for file in &recovered.unknown {
        tracing::warn!(file, "a file in the journal belongs to nothing");
    }
}

/// What the broker must know of events' bytes.
const FORM: EventForm = EventForm { key: api::record_key, annotate: api::annotate_record };

async fn open_node(
    store: Store,
    (root_key, keeper): (RootKey, RootKeyKeeper),
    identity: IdentityOptions,
    server_id: String,
    clock: Clock,
    entropy: Entropy,
) -> Result<(Node, Lifecycle), StartError> {
    let records = store.records.clone();
    let engine = Engine::open(store, root_key, clock.clone(), entropy.clone()).await?;
    let identity = Identity::open(records.clone(), clock.clone(), entropy.clone(), identity).await?;
    let broker = Broker::open(records, engine.clone(), clock.clone(), entropy, FORM).await?;
    let lifecycle = Lifecycle::start(clock.clone(), Phase::Serving);
    let data_keys = DataKeys { engine: engine.clone(), broker: broker.clone(), keeper };
    let node = Node {
        engine,
        broker,
        data_keys,
        identity,
        metrics: Arc::new(Metrics::new()),
        clock,
        lags: Lags::default(),
        server_id,
        tasks: TaskTracker::new(),
        draining: CancellationToken::new(),
    };
    Ok((node, lifecycle))
}
