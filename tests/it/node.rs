//! A server in this process, on a disk of the test's, and a client of it.

use std::{collections::BTreeMap, net::SocketAddr, ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use ensign::{
    client::{
        Address, Client, ClientError, Credentials, Delivery, Draft, Endpoint, Envelope, Event, Outcome, Publisher,
        PublisherOptions, Subscriber, SubscriberOptions, Wanted,
    },
    identity::NewKey,
    model::{Mimetype, Permissions, Position},
    server::{Server, ServerOptions, StartError, Storage},
    store::local::LocalOptions,
    sys::{Clock, Disk, Entropy},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tonic::transport::Channel;
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

/// What every event of these tests is published to.
pub(crate) const TOPIC: &str = "orders";

/// Small, so that a few events fill several.
const SEGMENT_BYTES: u64 = 4_096;

/// The key that a server's first start made.
pub(crate) type Key = Option<Credentials>;

pub(crate) struct Node {
    pub(crate) server: Server,
    pub(crate) client: Client,
}

/// The data of the event with a number.
pub(crate) fn data(number: u64) -> Bytes {
    let text = format!("event {number}, {}", "*".repeat(usize::try_from(number * 37 % 150).unwrap()));
    Bytes::from(text)
}

impl Node {
    /// Starts a server; the first one makes the key, and one on a directory that has keys makes another one.
    pub(crate) async fn start(disk: &Disk, key: &mut Key) -> Result<Node, StartError> {
        let options = ServerOptions {
            server_id: "test".to_owned(),
            ..ServerOptions::new(
                SocketAddr::from(([127, 0, 0, 1], 0)),
                Storage::Disk(disk.clone(), LocalOptions { segment_bytes: SEGMENT_BYTES, ..LocalOptions::default() }),
            )
        };
        let server = Server::start(options, Clock::real(), Entropy::real()).await?;
        if key.is_none() {
            let identity = server.identity();
            let made = identity.ensure_default().await.unwrap();
            let issued = if let Some(issued) = made.issued {
                issued
            } else {
                let (name, project, permissions) = ("another".to_owned(), made.project.id, Permissions::full_key());
                identity.create_key(NewKey { name, project, permissions, created_by: None }).await.unwrap()
            };
            *key = Some(Credentials { client_id: issued.key.client_id, client_secret: issued.secret });
        }
        let address: Address = format!("http://{}", server.addr()).parse().unwrap();
        let endpoint = Endpoint::new(address, None, None);
        let client = Client::new(endpoint, key.clone(), Clock::real()).unwrap();
        Ok(Node { server, client })
    }

    /// A publisher of the topic, which is made when it is not there.
    pub(crate) async fn publisher(&self) -> Result<Publisher, ClientError> {
        if self.client.find_topic(TOPIC).await?.is_none() {
            self.client.create_topic(TOPIC).await?;
        }
        let options = PublisherOptions { retry_for: Duration::ZERO, ..PublisherOptions::default() };
        Publisher::open(&self.client, options).await
    }

    /// Publishes the event with this number, and waits for its answer.
    pub(crate) async fn send(&self, publisher: &mut Publisher, number: u64) -> Result<(), ClientError> {
        let topic = publisher.topics()[TOPIC];
        publisher.send(topic, &[draft(number)]).await?;
        publisher.flush().await
    }

    /// Publishes the events with these numbers, each one alone, until one is not acked.
    pub(crate) async fn publish(&self, numbers: Range<u64>) -> Result<Outcome, ClientError> {
        let mut publisher = self.publisher().await?;
        for number in numbers {
            if self.send(&mut publisher, number).await.is_err() || publisher.progress().refused > 0 {
                break;
            }
        }
        Ok(publisher.close().await)
    }

    /// What `grpc.health.v1` says.
    pub(crate) async fn is_serving(&self) -> bool {
        let channel = Channel::from_shared(format!("http://{}", self.server.addr())).unwrap().connect().await.unwrap();
        let reply = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
        reply.into_inner().status() == ServingStatus::Serving
    }

    /// What a command of the binary prints that talks to this server, and its exit code.
    pub(crate) async fn ensign(&self, command: &str) -> (String, Option<i32>) {
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_ensign"))
            .args([command, "--endpoint", &self.server.addr().to_string()])
            .env_clear()
            .env("HOME", env!("CARGO_TARGET_TMPDIR"))
            .output();
        let output = output.await.unwrap();
        (String::from_utf8(output.stdout).unwrap(), output.status.code())
    }

    /// The code and the body of a GET.
    pub(crate) async fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.server.addr()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).await.unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), body.to_owned())
    }

    /// Reads the topic from an event on, as far as it goes, and says what ended it too early, if anything did.
    pub(crate) async fn read(&self, from: Position) -> (Vec<Event>, Option<ClientError>) {
        let options = SubscriberOptions {
            topics: vec![TOPIC.to_owned()],
            from,
            until: Some(Position::End),
            retry_for: Some(Duration::ZERO),
            skip_unreadable: false,
            wanted: Wanted::default(),
        };
        let mut events = Vec::new();
        let mut subscriber = match Subscriber::open(&self.client, options).await {
            Ok(subscriber) => subscriber,
            Err(error) => return (events, Some(error)),
        };
        loop {
            match subscriber.next().await {
                Ok(Delivery::Events(more)) => events.extend(more),
                Ok(
                    Delivery::Interrupted { .. }
                    | Delivery::Skipped { .. }
                    | Delivery::SkippedMore { .. }
                    | Delivery::Lost { .. },
                ) => {}
                Ok(Delivery::Ended) => return (events, None),
                Err(error) => return (events, Some(error)),
            }
        }
    }
}

/// The event with a number.
fn draft(number: u64) -> Draft {
    let envelope = Arc::new(Envelope::new(Mimetype::TEXT_PLAIN, None, BTreeMap::default(), Bytes::new()));
    Draft { data: data(number), envelope, created: None, tag: number }
}
