//! A Subscribe stream: how it is opened, and what its messages hold.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message as _;

use super::{
    Client, ClientError, Event,
    event::Publishers,
    frames::{self, MessageReader},
    outbox::Outbox,
    session::Token,
};
use crate::api::{
    self, Frame, GroupReceipt, SubscriberMessage,
    ensign::{StreamReady, SubscribeReply, SubscribeRequest, Subscription, subscribe_reply, subscribe_request},
};

const PATH: &str = "/ensign.v1beta1.Ensign/Subscribe";

/// Asks the server to leave out what is under suspended and revoked data keys.
pub(super) const SKIP_HEADER: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-ensign-skip-unreadable"), HeaderValue::from_static("true"));

/// Opens a stream, with further headers, and waits until the server is ready. The request stays open, and takes what is put into
/// the outbox, until that ends it: a half-closed subscription ends.
pub(super) async fn open(
    client: &Client,
    subscription: Subscription,
    asks: &HeaderMap,
    outbox: &Outbox,
) -> Result<(MessageReader, StreamReady), ClientError> {
    let embed = subscribe_request::Embed::Subscription(subscription);
    let opening = Bytes::from(api::frame(&SubscribeRequest { embed: Some(embed) }));
    let once = async |token: Arc<Token>| {
        let body = tonic::body::Body::new(outbox.body(opening.clone()));
        let tether = outbox.tether();
        let mut reader = frames::open(client.channel(), PATH, &token, asks, body).await?.tethered(tether);
        let first = reader.first().await?;
        Ok((reader, first))
    };
    let (reader, first) = client.with_token(once).await?;
    match SubscribeReply::decode(first).ok().and_then(|reply| reply.embed) {
        Some(subscribe_reply::Embed::Ready(ready)) => {
            outbox.release();
            Ok((reader, ready))
        }
        _ => Err(client.protocol_error("a subscription that does not start with ready")),
    }
}

/// What a message of an open stream holds.
#[derive(Debug)]
pub(super) enum Arrived {
    Event(Event),
    /// What became of acks.
    Receipt(GroupReceipt),
    /// The end of the stream follows, and says how.
    Closing,
}

/// Reads a message.
#[inline]
pub(super) fn read(client: &Client, frame: &Frame<'_>, publishers: &mut Publishers) -> Result<Arrived, ClientError> {
    let event = match api::parse_subscribe_reply(frame.body) {
        Ok(SubscriberMessage::Event(delivered)) => Event::read(&delivered, frame, publishers),
        Ok(SubscriberMessage::Other(reply)) => match reply.embed {
            Some(subscribe_reply::Embed::Event(wrapper)) => Event::from_wire(wrapper),
            Some(subscribe_reply::Embed::CloseStream(_)) => return Ok(Arrived::Closing),
            Some(subscribe_reply::Embed::Ready(_)) => Err("an unexpected subscribe reply".to_owned()),
            None => match api::parse_receipt(frame.body) {
                Ok(Some(receipt)) => return Ok(Arrived::Receipt(receipt)),
                Ok(None) | Err(_) => Err("an unexpected subscribe reply".to_owned()),
            },
        },
        Err(_) => Err("a subscribe reply that can't be decoded".to_owned()),
    };
    event.map(Arrived::Event).map_err(|what| client.protocol_error(what))
}
