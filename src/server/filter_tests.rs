//! Subscriptions with a condition, columns or a limit over a real connection, through tonic's own client.

use prost::Message;
use tokio::sync::mpsc;
use tonic::{Code, Status, Streaming};

use super::{
    query_tests::{Peer, data, given, json},
    tests::tokio_stream_receiver::ReceiverStream,
};
use crate::api::ensign::{
    CloseStream, Event, EventWrapper, Parameter, Query, SubscribeReply, SubscribeRequest, Subscription, Type,
    parameter::Value, subscribe_reply::Embed as Got, subscribe_request::Embed as Asked,
};

struct Subscribed {
    /// The request stays open with it.
    _requests: mpsc::Sender<SubscribeRequest>,
    replies: Streaming<SubscribeReply>,
}

async fn subscribe(peer: &mut Peer, text: &str, params: Vec<Parameter>) -> Result<Subscribed, Status> {
    let (requests, receiver) = mpsc::channel(10);
    let query = Some(Query { query: text.to_owned(), params, ..Query::default() });
    let subscription = Subscription { query, ..Subscription::default() };
    requests.send(SubscribeRequest { embed: Some(Asked::Subscription(subscription)) }).await.unwrap();
    let request = peer.authorized(ReceiverStream(receiver));
    let mut replies = peer.client.subscribe(request).await?.into_inner();
    match replies.message().await?.unwrap().embed {
        Some(Got::Ready(ready)) => assert!(ready.topics.contains_key("flights")),
        other => panic!("not ready: {other:?}"),
    }
    Ok(Subscribed { _requests: requests, replies })
}

impl Subscribed {
    async fn next(&mut self) -> EventWrapper {
        match self.replies.message().await.unwrap().unwrap().embed {
            Some(Got::Event(event)) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    /// All events up to the end, what the server counted, and the number of those that can't be decoded.
    async fn rest(mut self) -> (Vec<EventWrapper>, CloseStream, String) {
        let mut events = Vec::new();
        let close = loop {
            match self.replies.message().await.unwrap().unwrap().embed {
                Some(Got::Event(event)) => events.push(event),
                Some(Got::CloseStream(close)) => break close,
                other => panic!("{other:?}"),
            }
        };
        assert!(self.replies.message().await.unwrap().is_none());
        let trailers = self.replies.trailers().await.unwrap().unwrap();
        let undecodable = trailers.get("x-ensign-undecodable-events").unwrap().to_str().unwrap().to_owned();
        (events, close, undecodable)
    }
}

fn numbers(range: std::ops::Range<u32>) -> Vec<Event> {
    range.map(|at| json(&format!(r#"{{"n":{at}}}"#))).collect()
}

#[tokio::test]
async fn events_that_match_come_as_they_are() {
    let mut peer = Peer::new().await;
    peer.publish(numbers(0..500)).await;
    peer.publish(vec![json("nonsense")]).await;
    let text = "SELECT * FROM flights.flight.1 BEFORE 'now' WHERE n % 100 = :rest AND _meta.lane = 'fast'";
    let (events, close, undecodable) =
        subscribe(&mut peer, text, vec![given("rest", Value::I(7))]).await.unwrap().rest().await;
    assert_eq!((events.len(), close.events, undecodable.as_str()), (5, 5, "1"));
    let (all, ..) =
        subscribe(&mut peer, "SELECT * FROM flights BEFORE 501 LIMIT 1000", Vec::new()).await.unwrap().rest().await;
    assert_eq!(events, all.into_iter().skip(7).step_by(100).collect::<Vec<_>>());
    let (none, close, _) =
        subscribe(&mut peer, "SELECT * FROM flights BEFORE 'now' WHERE n < 0", Vec::new()).await.unwrap().rest().await;
    assert_eq!((none.len(), close.events), (0, 0));
}

#[tokio::test]
async fn rows_say_which_event_they_are_of() {
    let mut peer = Peer::new().await;
    peer.publish(numbers(0..50)).await;
    let text = "SELECT n * 2 AS twice, _offset AS o FROM flights OFFSET 10 BEFORE 'now'";
    let (rows, ..) = subscribe(&mut peer, text, Vec::new()).await.unwrap().rest().await;
    let (events, ..) =
        subscribe(&mut peer, "SELECT * FROM flights OFFSET 10 LIMIT 40", Vec::new()).await.unwrap().rest().await;
    assert_eq!((rows.len(), events.len()), (40, 40));
    for ((row, event), n) in rows.iter().zip(&events).zip(10..) {
        assert_eq!(data(row), format!(r#"{{"twice":{},"o":{}}}"#, 2 * n, n + 1));
        let read = Event::decode(&*row.event).unwrap();
        let schema = Type { name: "EnSQL".to_owned(), major_version: 1, ..Type::default() };
        assert_eq!((read.mimetype, read.r#type, read.created), (50, Some(schema), event.committed));
        let stored = EventWrapper { event: row.event.clone(), key: row.key.clone(), ..event.clone() };
        assert_eq!(*row, stored, "the envelope is the event's");
    }
}

#[tokio::test]
async fn what_matches_is_sent_while_other_events_come() {
    let mut peer = Peer::new().await;
    let mut matching = subscribe(&mut peer, "SELECT * FROM flights WHERE n = 3 LIMIT 2", Vec::new()).await.unwrap();
    for _ in 0..2 {
        peer.publish(numbers(0..10)).await;
        peer.publish(numbers(10..20)).await;
        assert_eq!(data(&matching.next().await), r#"{"n":3}"#);
    }
    let (more, close, _) = matching.rest().await;
    assert_eq!((more.len(), close.events), (0, 2));
}

#[tokio::test]
async fn what_can_not_be_served_is_refused() {
    let mut peer = Peer::new().await;
    for (text, expected) in [
        ("SELECT * FROM flights WHERE n > 1 ORDER BY n", "ORDER BY is not possible in the query of a subscription"),
        ("SELECT * FROM flights WHERE n = :n", "no value is given for the parameter :n"),
        ("SELECT * FROM flights WHERE n =", "invalid where clause"),
    ] {
        let status = subscribe(&mut peer, text, Vec::new()).await.map(drop).unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{text}");
        assert!(status.message().contains(expected), "{status}");
    }
}
