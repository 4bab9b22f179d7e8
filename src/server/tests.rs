//! The event streams over a real connection, through tonic's own client: a peer that knows nothing of how they are
//! served.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use prost::Message;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
};
use tokio_stream_receiver::ReceiverStream;
use tonic::{Code, Request, Status, Streaming, metadata::MetadataValue, transport::Channel};

use super::*;
use crate::{
    api::ensign::{
        CloseStream, Event, EventWrapper, OpenStream, PublisherReply, PublisherRequest, Query, SubscribeReply,
        SubscribeRequest, Subscription, Topic, TopicMod, ensign_client::EnsignClient, publisher_reply::Embed as Reply,
        publisher_request::Embed as Sent, subscribe_reply::Embed as Got, subscribe_request::Embed as Asked, topic_mod,
    },
    model::{Permission, Permissions, Role, limits},
    store::local::LocalOptions,
    sys::{Clock, Disk, Entropy},
};

/// A stream of what is sent into a channel; the sender's end is the client's half-close.
pub(super) mod tokio_stream_receiver {
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::sync::mpsc;

    pub(in crate::server) struct ReceiverStream<T>(pub(in crate::server) mpsc::Receiver<T>);

    impl<T> futures_util::Stream for ReceiverStream<T> {
        type Item = T;

        fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
            self.0.poll_recv(context)
        }
    }
}

pub(super) struct Peer {
    pub(super) server: Server,
    pub(super) channel: Channel,
    pub(super) client: EnsignClient<Channel>,
    token: MetadataValue<tonic::metadata::Ascii>,
}

pub(super) struct Publishing {
    requests: mpsc::Sender<PublisherRequest>,
    replies: Streaming<PublisherReply>,
}

struct Subscribed {
    requests: mpsc::Sender<SubscribeRequest>,
    replies: Streaming<SubscribeReply>,
}

impl Peer {
    pub(super) async fn new() -> Peer {
        Peer::with(Storage::Memory).await
    }

    async fn with(storage: Storage) -> Peer {
        let options = ServerOptions {
            server_id: "test".to_owned(),
            ..ServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), storage)
        };
        let server = Server::start(options, Clock::real(), Entropy::real()).await.unwrap();
        let issued = server.identity().ensure_default().await.unwrap().issued.unwrap();
        let tokens = server.identity().authenticate(&issued.key.client_id, &issued.secret).await.unwrap();
        let token = format!("Bearer {}", tokens.access.expose_str().unwrap()).parse().unwrap();
        let channel = Channel::from_shared(format!("http://{}", server.addr())).unwrap().connect().await.unwrap();
        let client = EnsignClient::new(channel.clone()).max_decoding_message_size(2 * limits::MESSAGE_BYTES_MAX);
        Peer { server, channel, client, token }
    }

    pub(super) fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }

    pub(super) async fn topic(&mut self, name: &str) -> Bytes {
        let request = self.authorized(Topic { name: name.to_owned(), ..Topic::default() });
        self.client.create_topic(request).await.unwrap().into_inner().id
    }

    pub(super) async fn publisher(&mut self) -> Result<Publishing, Status> {
        let (requests, receiver) = mpsc::channel(100);
        let open = OpenStream { client_id: "me".to_owned(), topics: Vec::new() };
        requests.send(PublisherRequest { embed: Some(Sent::OpenStream(open)) }).await.unwrap();
        let request = self.authorized(ReceiverStream(receiver));
        let mut replies = self.client.publish(request).await?.into_inner();
        match replies.message().await?.unwrap().embed {
            Some(Reply::Ready(ready)) => assert_eq!((&*ready.client_id, &*ready.server_id), ("me", "test")),
            other => panic!("not ready: {other:?}"),
        }
        Ok(Publishing { requests, replies })
    }

    async fn subscriber(&mut self, topics: &[&str], query: Option<&str>) -> Result<Subscribed, Status> {
        let (requests, receiver) = mpsc::channel(10);
        let topics = topics.iter().map(ToString::to_string).collect();
        let query = query.map(|query| Query { query: query.to_owned(), ..Query::default() });
        let subscription = Subscription { topics, query, ..Subscription::default() };
        requests.send(SubscribeRequest { embed: Some(Asked::Subscription(subscription)) }).await.unwrap();
        let request = self.authorized(ReceiverStream(receiver));
        let mut replies = self.client.subscribe(request).await?.into_inner();
        match replies.message().await?.unwrap().embed {
            Some(Got::Ready(_)) => Ok(Subscribed { requests, replies }),
            other => panic!("not ready: {other:?}"),
        }
    }
}

impl Publishing {
    pub(super) async fn send(&self, topic: &Bytes, event: impl Into<Bytes>, local_id: &str) {
        let wrapper = EventWrapper {
            topic_id: topic.clone(),
            event: event.into(),
            local_id: Bytes::copy_from_slice(local_id.as_bytes()),
            id: Bytes::from_static(b"a client's"),
            is_duplicate: true,
            key: Bytes::from_static(b"k"),
            ..EventWrapper::default()
        };
        self.requests.send(PublisherRequest { embed: Some(Sent::Event(wrapper)) }).await.unwrap();
    }

    /// The local id of the next event that is answered, with the code of its nack if it was refused.
    pub(super) async fn answer(&mut self) -> (String, Option<i32>) {
        let text = |id: Bytes| String::from_utf8(id.to_vec()).unwrap();
        match self.replies.message().await.unwrap().unwrap().embed {
            Some(Reply::Ack(ack)) => (text(ack.id), None),
            Some(Reply::Nack(nack)) => (text(nack.id), Some(nack.code)),
            other => panic!("not an answer: {other:?}"),
        }
    }

    /// Closes this side, and gives what the server counted and the status.
    async fn close(self) -> (CloseStream, Result<(), Status>) {
        let Publishing { requests, mut replies } = self;
        drop(requests);
        let close = match replies.message().await.unwrap().unwrap().embed {
            Some(Reply::CloseStream(close)) => close,
            other => panic!("not closed: {other:?}"),
        };
        (close, replies.message().await.map(|more| assert!(more.is_none())))
    }
}

impl Subscribed {
    async fn next(&mut self) -> EventWrapper {
        match self.replies.message().await.unwrap().unwrap().embed {
            Some(Got::Event(event)) => event,
            other => panic!("not an event: {other:?}"),
        }
    }
}

pub(super) fn event(text: &str) -> Vec<u8> {
    Event { data: Bytes::copy_from_slice(text.as_bytes()), mimetype: 1, ..Event::default() }.encode_to_vec()
}

pub(super) fn text(wrapper: &EventWrapper) -> String {
    String::from_utf8(Event::decode(wrapper.event.clone()).unwrap().data.to_vec()).unwrap()
}

/// Events that come one at a time are joined behind the publisher's back, while others read them.
#[tokio::test]
async fn small_commits_are_joined_while_the_server_runs() {
    let disk = Disk::memory();
    let mut peer =
        Peer::with(Storage::Disk(disk.clone(), LocalOptions { segment_bytes: 20_000, ..LocalOptions::default() }))
            .await;
    let (topic, other) = (peer.topic("trickle").await, peer.topic("other").await);
    let mut behind = peer.subscriber(&["trickle"], None).await.unwrap();
    let mut publisher = peer.publisher().await.unwrap();
    let mut published = 0;
    let stats = |peer: &Peer| peer.server.node.engine.store_stats();
    // The subscriber has a part, and gets the rest from what took its place.
    while stats(&peer).segments_replaced < 12 {
        publisher.send(if published % 10 == 9 { &other } else { &topic }, event(&published.to_string()), "x").await;
        assert_eq!(publisher.answer().await.1, None);
        published += 1;
    }
    let kept: Vec<i32> = (0..published).filter(|number| number % 10 != 9).collect();
    let mut again = peer.subscriber(&["trickle"], Some("SELECT * FROM trickle OFFSET 0")).await.unwrap();
    for (number, offset) in kept.iter().zip(1..) {
        let (first, second) = (behind.next().await, again.next().await);
        assert_eq!((text(&first), first.offset), (number.to_string(), offset));
        assert_eq!(first, second);
    }
    let text = peer.server.node.metrics.text();
    for name in ["compaction_segments_replaced_total", "compaction_written_bytes_total", "journal_live_bytes"] {
        let value = text.lines().find_map(|line| line.strip_prefix(&format!("ensign_{name} ")));
        assert!(value.is_some_and(|value| value != "0"), "{name} in\n{text}");
    }
    drop((behind, again, publisher));
    peer.server.stop().await.unwrap();
}

/// A server once made a new key where the old one was missing, and then said that the key does not fit: whoever put the old
/// one back had to know that the new one may be overwritten.
#[tokio::test]
async fn a_missing_root_key_is_named_and_never_replaced() {
    let disk = Disk::memory();
    let options =
        ServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), Storage::Disk(disk.clone(), LocalOptions::default()));
    let server = Server::start(options.clone(), Clock::real(), Entropy::real()).await.unwrap();
    server.stop().await.unwrap();
    disk.rename("root.key", "elsewhere").unwrap();
    let refused = Server::start(options.clone(), Clock::real(), Entropy::real()).await;
    assert!(matches!(refused, Err(StartError::RootKey(RootKeyError::Missing { .. }))), "{refused:?}");
    disk.rename("elsewhere", "root.key").unwrap();
    Server::start(options, Clock::real(), Entropy::real()).await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn an_event_reaches_its_subscriber_with_what_the_broker_sets() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let mut subscriber = peer.subscriber(&["flights"], None).await.unwrap();
    let mut publisher = peer.publisher().await.unwrap();
    for name in ["a", "b"] {
        publisher.send(&topic, event(name), name).await;
    }
    assert_eq!(publisher.answer().await, ("a".to_owned(), None));
    assert_eq!(publisher.answer().await, ("b".to_owned(), None));
    let (first, second) = (subscriber.next().await, subscriber.next().await);
    assert_eq!((text(&first), text(&second)), ("a".to_owned(), "b".to_owned()));
    assert_eq!((first.offset, second.offset, first.epoch), (1, 2, 1));
    assert_eq!((first.id.len(), first.topic_id.clone()), (10, topic));
    assert!(first.id < second.id && first.committed.is_some());
    assert!(first.local_id.is_empty() && !first.is_duplicate);
    assert_eq!(first.key, "k");
    assert_eq!(first.publisher.unwrap().client_id, "me");

    let (close, status) = publisher.close().await;
    assert_eq!((close.events, close.topics, close.acks, close.nacks), (2, 1, 2, 0));
    assert!(status.is_ok());

    // A subscriber that closes its side gets an orderly end.
    drop(subscriber.requests);
    assert!(matches!(subscriber.replies.message().await.unwrap().unwrap().embed, Some(Got::CloseStream(_))));
    assert!(subscriber.replies.message().await.unwrap().is_none());
    peer.server.stop().await.unwrap();
}

#[tokio::test]
async fn what_cannot_be_stored_is_nacked_in_order_and_the_stream_lives() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let archived = peer.topic("old").await;
    let destroyed = peer.topic("gone").await;
    let mut publisher = peer.publisher().await.unwrap();
    publisher.send(&destroyed, event("x"), "before").await;
    assert_eq!(publisher.answer().await, ("before".to_owned(), None));
    for (id, operation) in [(&archived, topic_mod::Operation::Archive), (&destroyed, topic_mod::Operation::Destroy)] {
        let id = crate::model::Ulid::from_slice(id).unwrap().to_string();
        let request = peer.authorized(TopicMod { id, operation: operation.into() });
        peer.client.delete_topic(request).await.unwrap();
    }
    let later = peer.topic("later").await;
    publisher.send(&topic, event("x"), "good").await;
    publisher.send(&Bytes::new(), event("x"), "no topic").await;
    publisher.send(&Bytes::from_static(b"short"), event("x"), "bad topic").await;
    publisher.send(&Bytes::from_static(&[1; 16]), event("x"), "unknown topic").await;
    publisher.send(&archived, event("x"), "archived").await;
    publisher.send(&destroyed, event("x"), "destroyed").await;
    publisher.send(&topic, Bytes::new(), "empty").await;
    publisher.send(&topic, Bytes::from_static(b"\xff\xff"), "junk").await;
    publisher.send(&topic, vec![0; limits::EVENT_BYTES_MAX + 1], "large").await;
    publisher.send(&later, event("x"), "later").await;
    let expected = [
        ("good", None),
        ("no topic", Some(2)),
        ("bad topic", Some(2)),
        ("unknown topic", Some(2)),
        ("archived", Some(3)),
        ("destroyed", Some(4)),
        ("empty", Some(0)),
        ("junk", Some(0)),
        ("large", Some(1)),
        ("later", None),
    ];
    for (local_id, code) in expected {
        assert_eq!(publisher.answer().await, (local_id.to_owned(), code));
    }
    let (close, _) = publisher.close().await;
    assert_eq!((close.events, close.topics, close.acks, close.nacks), (3, 3, 3, 8));
}

#[tokio::test]
async fn the_largest_event_is_stored_and_delivered() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let mut subscriber = peer.subscriber(&[], None).await.unwrap();
    let mut publisher = peer.publisher().await.unwrap();
    let overhead = event(&"x".repeat(5_000_000)).len() - 5_000_000;
    let largest = event(&"x".repeat(limits::EVENT_BYTES_MAX - overhead));
    assert_eq!(largest.len(), limits::EVENT_BYTES_MAX);
    publisher.send(&topic, largest.clone(), "largest").await;
    assert_eq!(publisher.answer().await, ("largest".to_owned(), None));
    assert_eq!(subscriber.next().await.event, largest);
}

#[tokio::test]
async fn a_subscription_starts_and_stops_where_its_query_says() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let mut publisher = peer.publisher().await.unwrap();
    for number in 0..100 {
        publisher.send(&topic, event(&number.to_string()), "x").await;
        publisher.answer().await;
    }
    let mut all = peer.subscriber(&[], Some("SELECT * FROM flights OFFSET 0")).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..100 {
        let event = all.next().await;
        assert_eq!(text(&event), number.to_string());
        ids.push(crate::model::Rlid::from_slice(&event.id).unwrap());
    }
    let mut late = peer.subscriber(&["flights"], Some("SELECT * FROM flights OFFSET 97")).await.unwrap();
    assert_eq!(text(&late.next().await), "97");
    let query = format!("SELECT * FROM flights AFTER '{}' BEFORE '{}'", ids[9], ids[12]);
    let mut range = peer.subscriber(&[], Some(&query)).await.unwrap();
    assert_eq!((text(&range.next().await), text(&range.next().await)), ("10".to_owned(), "11".to_owned()));
    assert!(matches!(range.replies.message().await.unwrap().unwrap().embed, Some(Got::CloseStream(_))));
    assert!(range.replies.message().await.unwrap().is_none());

    for (query, code) in [
        ("SELECT * FROM flights OFFSET 101", Code::InvalidArgument),
        ("SELECT * FROM nowhere", Code::InvalidArgument),
        ("SELECT count(*) FROM flights", Code::InvalidArgument),
        ("nonsense", Code::InvalidArgument),
    ] {
        let refused = peer.subscriber(&[], Some(query)).await;
        assert_eq!(refused.err().map(|status| status.code()), Some(code), "{query}");
    }
}

#[tokio::test]
async fn topics_that_come_and_go_reach_open_subscriptions() {
    let mut peer = Peer::new().await;
    let first = peer.topic("first").await;
    let mut all = peer.subscriber(&[], None).await.unwrap();
    let mut one = peer.subscriber(&["first"], None).await.unwrap();
    let second = peer.topic("second").await;
    let publisher = peer.publisher().await.unwrap();
    publisher.send(&second, event("new"), "x").await;
    assert_eq!(all.next().await.topic_id, second);
    let id = crate::model::Ulid::from_slice(&first).unwrap().to_string();
    let request = peer.authorized(TopicMod { id, operation: topic_mod::Operation::Destroy.into() });
    peer.client.delete_topic(request).await.unwrap();
    assert!(matches!(one.replies.message().await.unwrap().unwrap().embed, Some(Got::CloseStream(_))));
    assert_eq!(one.replies.message().await.unwrap_err().code(), Code::NotFound);
    publisher.send(&second, event("more"), "x").await;
    assert_eq!(text(&all.next().await), "more");
}

#[tokio::test]
async fn a_stopping_server_tells_its_streams() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let mut subscriber = peer.subscriber(&[], None).await.unwrap();
    let mut publisher = peer.publisher().await.unwrap();
    publisher.send(&topic, event("x"), "x").await;
    publisher.answer().await;
    subscriber.next().await;
    peer.server.stop().await.unwrap();
    assert!(matches!(publisher.replies.message().await.unwrap().unwrap().embed, Some(Reply::CloseStream(_))));
    assert_eq!(publisher.replies.message().await.unwrap_err().code(), Code::Unavailable);
    assert!(matches!(subscriber.replies.message().await.unwrap().unwrap().embed, Some(Got::CloseStream(_))));
    assert_eq!(subscriber.replies.message().await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_revoked_key_loses_its_open_streams() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let mut subscriber = peer.subscriber(&[], None).await.unwrap();
    let mut publisher = peer.publisher().await.unwrap();
    publisher.send(&topic, event("x"), "x").await;
    publisher.answer().await;
    subscriber.next().await;
    let identity = peer.server.identity().clone();
    let project = identity.ensure_default().await.unwrap().project;
    let key = identity.keys(project.id).await.unwrap().remove(0);
    identity.revoke_key(key.id).await.unwrap();
    assert!(matches!(publisher.replies.message().await.unwrap().unwrap().embed, Some(Reply::CloseStream(_))));
    assert_eq!(publisher.replies.message().await.unwrap_err().code(), Code::Unauthenticated);
    assert!(matches!(subscriber.replies.message().await.unwrap().unwrap().embed, Some(Got::CloseStream(_))));
    assert_eq!(subscriber.replies.message().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(peer.subscriber(&[], None).await.err().unwrap().code(), Code::Unauthenticated);
}

/// The same as its owner does it, over REST and on the same port.
#[tokio::test]
async fn a_key_that_its_owner_revokes_loses_its_open_streams() {
    let mut peer = Peer::new().await;
    peer.topic("flights").await;
    let mut subscriber = peer.subscriber(&[], None).await.unwrap();
    let identity = peer.server.identity().clone();
    let made = identity.ensure_default().await.unwrap();
    let key = identity.keys(made.project.id).await.unwrap().remove(0);
    let owner = identity.sign_in_as(made.organization.id, Role::Owner).await;
    let token = owner.access.expose_str().unwrap();
    let request = format!(
        "DELETE /v1/apikeys/{} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {token}\r\nconnection: close\r\n\r\n",
        key.id
    );
    let mut connection = tokio::net::TcpStream::connect(peer.server.addr()).await.unwrap();
    connection.write_all(request.as_bytes()).await.unwrap();
    let mut reply = String::new();
    connection.read_to_string(&mut reply).await.unwrap();
    assert!(reply.starts_with("HTTP/1.1 204 "), "{reply}");
    assert!(matches!(subscriber.replies.message().await.unwrap().unwrap().embed, Some(Got::CloseStream(_))));
    assert_eq!(subscriber.replies.message().await.unwrap_err().code(), Code::Unauthenticated);
    assert_eq!(peer.subscriber(&[], None).await.err().unwrap().code(), Code::Unauthenticated);
}

#[tokio::test]
async fn the_metrics_show_streams_and_lag() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let project = peer.server.identity().ensure_default().await.unwrap().project.id;
    let request = crate::broker::SubscribeRequest::default();
    let mut behind = peer.server.broker().subscribe(project, &request, &peer.server.node.lags).await.unwrap();
    let mut publisher = peer.publisher().await.unwrap();
    for local_id in ["a", "b"] {
        publisher.send(&topic, event("x"), local_id).await;
        publisher.answer().await;
    }
    let metrics = peer.server.node.metrics.clone();
    let shows = |line: &str| {
        let text = metrics.text();
        assert!(text.lines().any(|shown| shown == line), "{line} in\n{text}");
    };
    shows("ensign_events{node=\"unk\",region=\"unk\"} 2");
    shows("ensign_online_publishers 1");
    shows("ensign_subscriber_lag_events 2");
    while behind.is_ready() {
        behind.next().await.unwrap();
    }
    shows("ensign_subscriber_lag_events 0");
    publisher.send(&topic, event("x"), "c").await;
    publisher.answer().await;
    shows("ensign_subscriber_lag_events 1");
    drop(behind);
    shows("ensign_subscriber_lag_events 0");
    assert!(!metrics.text().contains("ensign_resident_memory_bytes 0\n"));
}

#[tokio::test]
async fn a_slow_subscriber_gets_everything() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let mut subscriber = peer.subscriber(&["flights"], None).await.unwrap();
    let mut publisher = peer.publisher().await.unwrap();
    let payload = "x".repeat(10_000);
    for number in 0..2_000 {
        publisher.send(&topic, event(&format!("{number} {payload}")), "x").await;
        publisher.answer().await;
    }
    for number in 0..2_000 {
        assert!(text(&subscriber.next().await).starts_with(&format!("{number} ")));
    }
}

/// A client that goes away in the middle has published what it had sent: there are clients that always end this way.
#[tokio::test]
async fn what_was_received_before_a_cancel_is_stored() {
    let mut peer = Peer::new().await;
    let topic = peer.topic("flights").await;
    let mut subscriber = peer.subscriber(&["flights"], None).await.unwrap();
    let publisher = peer.publisher().await.unwrap();
    for number in 0..50 {
        publisher.send(&topic, event(&number.to_string()), "x").await;
    }
    // The requests have to leave the client before it drops the stream; what it drops itself was never sent.
    tokio::time::timeout(Duration::from_mins(1), async {
        while publisher.requests.capacity() < 100 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert_eq!(text(&subscriber.next().await), "0");
    drop(publisher);
    for number in 1..50 {
        assert_eq!(text(&subscriber.next().await), number.to_string());
    }
}

#[tokio::test]
async fn strangers_and_broken_streams_are_refused() {
    let mut peer = Peer::new().await;
    let refused = peer.publisher().await;
    assert_eq!(
        refused.err().map(|status| (status.code(), status.message().to_owned())),
        Some((Code::FailedPrecondition, "no topics available".to_owned()))
    );
    let topic = peer.topic("flights").await;

    let (_requests, receiver) = mpsc::channel::<PublisherRequest>(1);
    let stranger = peer.client.publish(ReceiverStream(receiver)).await.unwrap_err();
    assert_eq!((stranger.code(), stranger.message()), (Code::Unauthenticated, "missing credentials"));

    let publisher = peer.publisher().await.unwrap();
    publisher.send(&topic, event("x"), "x").await;
    publisher.requests.send(PublisherRequest { embed: None }).await.unwrap();
    let mut replies = publisher.replies;
    assert!(matches!(replies.message().await.unwrap().unwrap().embed, Some(Reply::Ack(_))));
    assert!(matches!(replies.message().await.unwrap().unwrap().embed, Some(Reply::CloseStream(_))));
    assert_eq!(replies.message().await.unwrap_err().code(), Code::FailedPrecondition);

    let (requests, receiver) = mpsc::channel(10);
    requests.send(SubscribeRequest { embed: None }).await.unwrap();
    let request = peer.authorized(ReceiverStream(receiver));
    let mut replies = peer.client.subscribe(request).await.unwrap().into_inner();
    assert_eq!(replies.message().await.unwrap_err().code(), Code::FailedPrecondition);
}

/// Both streams × every permission that a key can have alone.
#[tokio::test]
async fn every_stream_asks_for_its_permission() {
    let mut peer = Peer::new().await;
    peer.topic("t").await;
    let project = peer.server.identity().ensure_default().await.unwrap().project.id;
    for permission in Permissions::full_key().iter() {
        let permissions = [permission].into_iter().collect();
        let new = crate::identity::NewKey { name: "narrow".to_owned(), project, permissions, created_by: None };
        let issued = peer.server.identity().create_key(new).await.unwrap();
        let tokens = peer.server.identity().authenticate(&issued.key.client_id, &issued.secret).await.unwrap();
        peer.token = format!("Bearer {}", tokens.access.expose_str().unwrap()).parse().unwrap();
        let refusal = |status: Status| status.code();
        let published = peer.publisher().await.map(drop).map_err(refusal);
        let subscribed = peer.subscriber(&["t"], None).await.map(drop).map_err(refusal);
        let only = |allowed| if permission == allowed { Ok(()) } else { Err(Code::PermissionDenied) };
        let expected = (only(Permission::Publisher), only(Permission::Subscriber));
        assert_eq!((published, subscribed), expected, "{permission}");
    }
}
