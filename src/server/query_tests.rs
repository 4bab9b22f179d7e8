//! The EnSQL stream over a real connection, through tonic's own client.

use std::{collections::HashSet, net::SocketAddr};

use bytes::Bytes;
use prost::Message;
use tonic::{Code, Request, Status, metadata::MetadataValue, transport::Channel};

use super::*;
use crate::{
    api::ensign::{
        Event, EventWrapper, OpenStream, Parameter, PublisherRequest, Query, Topic, Type, ensign_client::EnsignClient,
        parameter::Value, publisher_reply::Embed as Reply, publisher_request::Embed as Sent,
    },
    identity::NewKey,
    model::{Permission, Permissions, ProjectId, Rlid, limits},
    sys::{Clock, Entropy},
};

pub(super) struct Peer {
    pub(super) server: Server,
    pub(super) client: EnsignClient<Channel>,
    token: MetadataValue<tonic::metadata::Ascii>,
    project: ProjectId,
    pub(super) topic: Bytes,
}

/// A query's answer.
#[derive(Debug)]
struct Answer {
    events: Vec<EventWrapper>,
    status: Result<(), Status>,
    trailers: Option<tonic::metadata::MetadataMap>,
}

impl Peer {
    pub(super) async fn new() -> Peer {
        let options = ServerOptions {
            server_id: "test".to_owned(),
            ..ServerOptions::new(SocketAddr::from(([127, 0, 0, 1], 0)), Storage::Memory)
        };
        let server = Server::start(options, Clock::real(), Entropy::real()).await.unwrap();
        let default = server.identity().ensure_default().await.unwrap();
        let issued = default.issued.unwrap();
        let tokens = server.identity().authenticate(&issued.key.client_id, &issued.secret).await.unwrap();
        let token = bearer(tokens.access.expose_str().unwrap());
        let channel = Channel::from_shared(format!("http://{}", server.addr())).unwrap().connect().await.unwrap();
        let client = EnsignClient::new(channel).max_decoding_message_size(2 * limits::MESSAGE_BYTES_MAX);
        let mut peer = Peer { server, client, token, project: default.project.id, topic: Bytes::new() };
        let request = peer.authorized(Topic { name: "flights".to_owned(), ..Topic::default() });
        peer.topic = peer.client.create_topic(request).await.unwrap().into_inner().id;
        peer
    }

    pub(super) fn authorized<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.token.clone());
        request
    }

    /// Publishes events, and waits until all are acked.
    pub(super) async fn publish(&mut self, events: Vec<Event>) {
        let open = OpenStream { client_id: "me".to_owned(), topics: Vec::new() };
        let count = events.len();
        let topic_id = self.topic.clone();
        let wrappers = events.into_iter().enumerate().map(move |(at, event)| EventWrapper {
            topic_id: topic_id.clone(),
            event: event.encode_to_vec().into(),
            local_id: at.to_be_bytes().to_vec().into(),
            key: Bytes::from_static(b"k"),
            ..EventWrapper::default()
        });
        let opened = std::iter::once(Sent::OpenStream(open));
        let requests: Vec<_> =
            opened.chain(wrappers.map(Sent::Event)).map(|embed| PublisherRequest { embed: Some(embed) }).collect();
        let request = self.authorized(futures_util::stream::iter(requests));
        let mut replies = self.client.publish(request).await.unwrap().into_inner();
        let mut acks = 0;
        while let Some(reply) = replies.message().await.unwrap() {
            acks += usize::from(matches!(reply.embed, Some(Reply::Ack(_))));
        }
        assert_eq!(acks, count);
    }

    async fn ask(&mut self, request: Request<Query>) -> Answer {
        let mut events = Vec::new();
        let mut stream = match self.client.en_sql(request).await {
            Ok(stream) => stream.into_inner(),
            Err(status) => return Answer { events, status: Err(status), trailers: None },
        };
        let status = loop {
            match stream.message().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break Ok(()),
                Err(status) => break Err(status),
            }
        };
        Answer { events, status, trailers: stream.trailers().await.ok().flatten() }
    }

    async fn query(&mut self, text: &str, params: Vec<Parameter>) -> Answer {
        let query = Query { query: text.to_owned(), params, include_duplicates: true };
        let request = self.authorized(query);
        self.ask(request).await
    }

    /// The data of what a query gives.
    async fn data(&mut self, text: &str, params: Vec<Parameter>) -> Vec<String> {
        let answer = self.query(text, params).await;
        answer.status.unwrap();
        answer.events.iter().map(data).collect()
    }
}

fn bearer(token: &str) -> MetadataValue<tonic::metadata::Ascii> {
    format!("Bearer {token}").parse().unwrap()
}

pub(super) fn data(wrapper: &EventWrapper) -> String {
    String::from_utf8(Event::decode(&*wrapper.event).unwrap().data.to_vec()).unwrap()
}

pub(super) fn json(text: &str) -> Event {
    let schema = Type { name: "flight".to_owned(), major_version: 1, ..Type::default() };
    let metadata = [("lane".to_owned(), "fast".to_owned())].into();
    Event { data: text.to_owned().into(), mimetype: 50, r#type: Some(schema), metadata, ..Event::default() }
}

pub(super) fn given(name: &str, value: Value) -> Parameter {
    Parameter { name: name.to_owned(), value: Some(value) }
}

#[tokio::test]
async fn whole_events_are_what_a_subscriber_gets() {
    let mut peer = Peer::new().await;
    peer.publish((0..500).map(|at| json(&format!(r#"{{"n":{at}}}"#))).collect()).await;
    let answer = peer.query("SELECT * FROM flights", Vec::new()).await;
    answer.status.unwrap();
    assert_eq!(answer.events.len(), 500);
    for (at, event) in (0_u64..).zip(&answer.events) {
        assert_eq!((event.id.len(), event.offset, &event.topic_id), (10, at + 1, &peer.topic));
        assert!(event.committed.is_some() && event.publisher.is_some() && event.key == "k");
        assert!(event.local_id.is_empty() && !event.is_duplicate);
        assert_eq!(data(event), format!(r#"{{"n":{at}}}"#));
    }
    assert_eq!(peer.data("SELECT * FROM flights WHERE n > 497 AND _meta.lane = 'fast'", Vec::new()).await.len(), 2);
    assert_eq!(peer.data("SELECT * FROM flights.flight.1 WHERE n < 3", Vec::new()).await.len(), 3);
    assert_eq!(peer.data("SELECT * FROM flights.other", Vec::new()).await.len(), 0);
    assert_eq!(peer.data("SELECT * FROM flights LIMIT 0", Vec::new()).await.len(), 0);
}

#[tokio::test]
async fn rows_are_events_that_the_sdks_can_decode() {
    let mut peer = Peer::new().await;
    peer.publish((0..100).map(|at| json(&format!(r#"{{"n":{at},"name":"f{at}"}}"#))).collect()).await;
    let answer = peer.query("SELECT name AS flight, n * 2 AS twice FROM flights WHERE n >= 90", Vec::new()).await;
    answer.status.unwrap();
    let mut ids = HashSet::new();
    for (at, wrapper) in (90..).zip(&answer.events) {
        assert!(ids.insert(Rlid::from_slice(&wrapper.id).unwrap()));
        assert_eq!(wrapper.topic_id, peer.topic);
        let event = Event::decode(&*wrapper.event).unwrap();
        assert_eq!(data(wrapper), format!(r#"{{"flight":"f{at}","twice":{}}}"#, at * 2));
        let schema = Type { name: "EnSQL".to_owned(), major_version: 1, ..Type::default() };
        assert_eq!((event.mimetype, event.r#type), (50, Some(schema)));
        assert!(event.created.is_some() && wrapper.committed == event.created);
    }
    assert_eq!(ids.len(), 10);
    let counted = peer.data("SELECT count(*) AS c, max(n) AS m FROM flights", Vec::new()).await;
    assert_eq!(counted, [r#"{"c":100,"m":99}"#]);
}

#[tokio::test]
async fn parameters_of_all_kinds() {
    let mut peer = Peer::new().await;
    let bytes = Event { data: Bytes::from_static(b"\xff\x00"), ..Event::default() };
    let (one, two) = (json(r#"{"n":1,"d":1.5,"b":true,"s":"x"}"#), json(r#"{"n":2,"d":2.5,"b":false,"s":"y"}"#));
    peer.publish(vec![one, two, bytes.clone()]).await;
    let mut check = async |condition: &str, params: Vec<Parameter>| {
        let text = format!("SELECT n FROM flights WHERE {condition}");
        assert_eq!(peer.data(&text, params).await, [r#"{"n":2}"#], "{condition}");
    };
    check("n = :x", vec![given("x", Value::I(2))]).await;
    check("d > @x", vec![given("x", Value::D(1.75))]).await;
    check("b = :x", vec![given("other", Value::I(1)), given("x", Value::B(false))]).await;
    check("s = ? AND n = ?", vec![given("", Value::S("y".to_owned())), given("", Value::I(2))]).await;
    check("_key = :x AND n = 2", vec![given("x", Value::S("k".to_owned()))]).await;
    let found = peer.data("SELECT _offset FROM flights WHERE data = :x", vec![given("x", Value::Y(bytes.data))]).await;
    assert_eq!(found, [r#"{"_offset":3}"#]);
    let answer = peer.query("SELECT n FROM flights WHERE n = :y", vec![given("x", Value::I(2))]).await;
    let status = answer.status.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "no value is given for the parameter :y"));
}

#[tokio::test]
async fn what_can_not_be_decoded_is_told_at_the_end() {
    let mut peer = Peer::new().await;
    peer.publish(vec![json("nonsense"), json(r#"{"n":1}"#), json("")]).await;
    let answer = peer.query("SELECT n FROM flights WHERE n = 1", Vec::new()).await;
    assert_eq!((answer.events.len(), answer.status.is_ok()), (1, true));
    let trailers = answer.trailers.unwrap();
    assert_eq!(trailers.get("x-ensign-undecodable-events").unwrap(), "2");
    assert!(trailers.get("x-ensign-skipped-events").is_none());
}

#[tokio::test]
async fn queries_are_refused_in_order() {
    let mut peer = Peer::new().await;
    for (text, message) in [
        ("", "invalid query"),
        ("   ", "empty query is invalid"),
        ("SELECT * FROM nowhere", "unknown topic in query"),
        ("SELECT * FROM flights OFFSET -1", "syntax error at position 29 near \"-1\": could not parse offset"),
    ] {
        let status = peer.query(text, Vec::new()).await.status.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, message), "{text}");
    }
    let stranger = Request::new(Query { query: "SELECT * FROM flights".to_owned(), ..Query::default() });
    assert_eq!(peer.ask(stranger).await.status.unwrap_err().code(), Code::Unauthenticated);
    for permission in Permissions::full_key().iter() {
        let new = NewKey {
            name: "narrow".to_owned(),
            project: peer.project,
            permissions: [permission].into_iter().collect(),
            created_by: None,
        };
        let issued = peer.server.identity().create_key(new).await.unwrap();
        let tokens = peer.server.identity().authenticate(&issued.key.client_id, &issued.secret).await.unwrap();
        let query = Query { query: "SELECT * FROM flights".to_owned(), ..Query::default() };
        let mut request = Request::new(query);
        request.metadata_mut().insert("authorization", bearer(tokens.access.expose_str().unwrap()));
        let code = peer.ask(request).await.status.err().map(|status| status.code());
        let may = matches!(permission, Permission::Subscriber | Permission::TopicsRead);
        assert_eq!(code, (!may).then_some(Code::PermissionDenied), "{permission}");
    }
}

/// An answer that is larger than what the connection takes while nobody reads it.
async fn stuck(peer: &mut Peer) -> tonic::Streaming<EventWrapper> {
    let long = format!(r#"{{"s":"{}"}}"#, "x".repeat(100_000));
    peer.publish(vec![json(&long); 200]).await;
    let request = peer.authorized(Query { query: "SELECT * FROM flights".to_owned(), ..Query::default() });
    peer.client.en_sql(request).await.unwrap().into_inner()
}

/// How a stream ends for a client that reads on.
async fn end(mut stream: tonic::Streaming<EventWrapper>) -> Option<Code> {
    loop {
        match stream.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return None,
            Err(status) => return Some(status.code()),
        }
    }
}

#[tokio::test]
async fn a_stopping_server_ends_its_queries() {
    let mut peer = Peer::new().await;
    // Room for all of the answer from the beginning, so that the client has no more to grant while it reads: a connection
    // that is closed before that was read is reset, and then nobody learns how the answer ended.
    let channel = Channel::from_shared(format!("http://{}", peer.server.addr())).unwrap();
    let channel = channel.initial_stream_window_size(1 << 30).initial_connection_window_size(1 << 30);
    peer.client = EnsignClient::new(channel.connect().await.unwrap());
    let stream = stuck(&mut peer).await;
    let (ended, stopped) = tokio::join!(end(stream), peer.server.stop());
    stopped.unwrap();
    assert_eq!(ended, Some(Code::Unavailable));
}

#[tokio::test]
async fn a_revoked_key_loses_its_queries() {
    let mut peer = Peer::new().await;
    let stream = stuck(&mut peer).await;
    let identity = peer.server.identity().clone();
    let key = identity.keys(peer.project).await.unwrap().remove(0);
    identity.revoke_key(key.id).await.unwrap();
    assert_eq!(end(stream).await, Some(Code::Unauthenticated));
}

#[tokio::test]
async fn a_deadline_ends_a_query() {
    let mut peer = Peer::new().await;
    drop(stuck(&mut peer).await);
    let mut request = peer.authorized(Query { query: "SELECT * FROM flights".to_owned(), ..Query::default() });
    // Below what tonic's client watches over itself, the header says it to the server alone.
    request.metadata_mut().insert("grpc-timeout", "1n".parse().unwrap());
    let status = peer.ask(request).await.status.unwrap_err();
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
}
