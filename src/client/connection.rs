//! A client: one HTTP/2 connection to a server, which is made anew whenever it is needed, and a session.

use std::{future::Future, sync::Arc, time::Duration};

use tonic::{
    Code, Request, Response, Status,
    transport::{Channel, Endpoint as Transport},
};

use super::{
    Claims, ClientError, Credentials, Endpoint,
    session::{Grant, Session, Token},
};
use crate::{
    api::ensign::ensign_client::EnsignClient,
    model::limits::MESSAGE_BYTES_MAX,
    sys::{Clock, Entropy},
};

pub(super) const USER_AGENT: &str = concat!("ensign-cli/", env!("CARGO_PKG_VERSION"));

/// HTTP/2 windows and frames that let one stream carry hundreds of megabytes a second.
const STREAM_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;
const FRAME_BYTES: u32 = 128 * 1024;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How long an answer over plain HTTP may take.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);

/// Finds out about a peer that has vanished. TCP's own probes rather than HTTP/2 pings, which some servers punish.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A connection to a server. Cheap to clone; clones share the connection and the session.
#[derive(Debug, Clone)]
pub struct Client {
    endpoint: Endpoint,
    channel: Channel,
    session: Option<Arc<Session>>,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
}

/// Chooses the implementation of cryptography for TLS, once for the process.
pub(super) fn install_crypto() {
    // It is an error that one has been chosen before, and that is just as well.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A connection that is made when it is first used, and made anew after it broke.
fn channel(endpoint: &Endpoint) -> Result<Channel, ClientError> {
    let tls = |error: tonic::transport::Error| ClientError::Tls { reason: super::error::root_cause(&error) };
    let mut transport = Transport::from_shared(endpoint.url())
        .and_then(|transport| transport.user_agent(USER_AGENT))
        .map_err(tls)?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .tcp_keepalive(Some(KEEPALIVE))
        .tcp_keepalive_interval(Some(KEEPALIVE / 3))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES);
    if !endpoint.is_insecure() {
        install_crypto();
        let trust = endpoint.trust();
        let configured = transport.clone().tls_config(trust.grpc(true));
        transport = match configured {
            // A machine without authorities of its own is no reason not to trust the one that was given.
            Err(_) if trust.has_authority() => transport.tls_config(trust.grpc(false)),
            configured => configured,
        }
        .map_err(tls)?;
    }
    Ok(transport.connect_lazy())
}

/// A client for plain HTTP requests to a URL of the server or its authentication service.
pub(super) fn http_client(endpoint: &Endpoint, url: &str) -> Result<reqwest::Client, ClientError> {
    install_crypto();
    let mut builder = reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .timeout(HTTP_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none());
    if endpoint.address().is_loopback() {
        builder = builder.no_proxy();
    }
    let built = if url.starts_with("http://") {
        // The machine's root certificates are not read in vain.
        builder.tls_certs_only([]).build()
    } else {
        endpoint.trust().rest(builder).and_then(reqwest::ClientBuilder::build)
    };
    built.map_err(|error| ClientError::Tls { reason: super::error::root_cause(&error) })
}

impl Client {
    /// Signs in, and says so if that is refused. The connection itself is made by the first call.
    pub async fn connect(endpoint: Endpoint, credentials: Credentials, clock: Clock) -> Result<Client, ClientError> {
        let client = Client::new(endpoint, Some(credentials), clock)?;
        client.claims().await?;
        Ok(client)
    }

    /// A client that connects and signs in when it is first used. Without credentials, the calls that need none work.
    /// Must be called on a Tokio runtime.
    pub fn new(endpoint: Endpoint, credentials: Option<Credentials>, clock: Clock) -> Result<Client, ClientError> {
        let channel = channel(&endpoint)?;
        let grant = credentials.map(Grant::Key);
        let session = grant.map(|grant| Arc::new(Session::new(endpoint.clone(), grant, clock.clone())));
        Ok(Client { endpoint, channel, session, clock, entropy: Entropy::real() })
    }

    /// A client that acts by a session that there is already.
    pub(super) fn of_session(session: Session) -> Result<Client, ClientError> {
        let (endpoint, clock) = (session.rest.endpoint().clone(), session.rest.clock.clone());
        let channel = channel(&endpoint)?;
        Ok(Client { endpoint, channel, session: Some(Arc::new(session)), clock, entropy: Entropy::real() })
    }

    /// A client of the same session with a connection of its own, for load that one connection can't carry.
    pub fn with_own_connection(&self) -> Result<Client, ClientError> {
        Ok(Client { channel: channel(&self.endpoint)?, ..self.clone() })
    }

    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What the access token says about its bearer; signs in if that has not happened yet.
    pub async fn claims(&self) -> Result<Claims, ClientError> {
        Ok(self.token().await?.claims.clone())
    }

    pub(super) async fn token(&self) -> Result<Arc<Token>, ClientError> {
        self.session()?.token().await
    }

    fn session(&self) -> Result<&Session, ClientError> {
        let missing = || ClientError::NoCredentials { address: self.endpoint.address().to_string() };
        self.session.as_deref().ok_or_else(missing)
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(super) fn protocol_error(&self, what: impl Into<String>) -> ClientError {
        ClientError::Protocol { address: self.endpoint.address().to_string(), what: what.into() }
    }

    /// Makes a call with a token; once more, signed in anew, when the server doesn't know the token (any more).
    pub(super) async fn with_token<T, F>(&self, call: impl Fn(Arc<Token>) -> F) -> Result<T, ClientError>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let token = self.token().await?;
        let mut result = call(token.clone()).await;
        if result.as_ref().is_err_and(|status| status.code() == Code::Unauthenticated) {
            let token = self.session()?.replace(&token).await?;
            result = call(token).await;
        }
        result.map_err(|status| ClientError::from_status(&self.endpoint, &status))
    }

    /// Makes a unary call.
    pub(super) async fn unary<Q, R, F>(
        &self,
        request: Q,
        call: impl Fn(EnsignClient<Channel>, Request<Q>) -> F,
    ) -> Result<R, ClientError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let once = async |token: Arc<Token>| {
            let mut request = Request::new(request.clone());
            let header = token.header();
            let value = header.to_str().expect("a header made from text");
            let value = value.parse().expect("what is fit for HTTP is fit for gRPC");
            request.metadata_mut().insert("authorization", value);
            call(self.stub(), request).await.map(Response::into_inner)
        };
        self.with_token(once).await
    }

    pub(super) fn stub(&self) -> EnsignClient<Channel> {
        EnsignClient::new(self.channel()).max_decoding_message_size(MESSAGE_BYTES_MAX)
    }
}
