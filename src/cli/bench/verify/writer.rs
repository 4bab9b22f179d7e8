//! Publishers whose events say who sent them, in which order, and what they have to look like.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::Notify;

use crate::{
    client::{AckListener, Client, Draft, Envelope, Publisher, PublisherOptions},
    model::{Mimetype, TopicId},
    sys::Entropy,
};

/// How many events are handed over at a time, at most.
const BATCH_MAX: u64 = 64;

/// How many bytes a writer has under way, so that a kill catches events everywhere on their way and not in one queue.
const INFLIGHT_BYTES_MAX: usize = 512 * 1024;

/// The size of most events, and of one in so many.
const BYTES_MAX: u64 = 600;
const LARGE_BYTES_MAX: u64 = 100_000;
const LARGE_ONE_IN: u64 = 200;

/// The bytes of an event: whose it is, its number among the writer's events, and as many others as its place decides.
pub(super) fn content(seed: u64, writer: u64, number: u64) -> Bytes {
    let place = seed ^ writer.rotate_left(48) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let chance = Entropy::seeded(place);
    let max = if chance.number().is_multiple_of(LARGE_ONE_IN) { LARGE_BYTES_MAX } else { BYTES_MAX };
    let length = usize::try_from(chance.number() % max).expect("events are small");
    let mut bytes = [writer.to_be_bytes(), number.to_be_bytes()].concat();
    bytes.resize(bytes.len() + length, 0);
    chance.fill(&mut bytes[16..]);
    bytes.into()
}

/// Whose event this is, and its number; nothing when it is not one of ours.
pub(super) fn origin(bytes: &[u8]) -> Option<(u64, u64)> {
    let (writer, rest) = bytes.split_first_chunk()?;
    let number = rest.first_chunk()?;
    Some((u64::from_be_bytes(*writer), u64::from_be_bytes(*number)))
}

/// A publisher over all rounds. Its numbers go on from round to round; none is sent twice.
#[derive(Debug)]
pub(super) struct Writer {
    number: u64,
    seed: u64,
    /// The number of the next event.
    next: u64,
    /// The numbers of the events that were acked and not yet taken.
    acked: Arc<Mutex<Vec<u64>>>,
}

impl Writer {
    pub(super) fn new(number: usize, seed: u64) -> Writer {
        Writer { number: number as u64, seed, next: 0, acked: Arc::default() }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// How many events it has sent.
    pub(super) fn sent(&self) -> u64 {
        self.next
    }

    /// The numbers of the events that were acked since they were taken last.
    pub(super) fn take_acked(&self) -> Vec<u64> {
        std::mem::take(&mut *self.acked.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Publishes until the stream breaks. Tells when it is open, and when events are acked.
    pub(super) async fn publish(self, client: Client, name: String, topic: TopicId, signs: Arc<Signs>) -> Stopped {
        let (acked, told) = (self.acked.clone(), signs.clone());
        let listen = move |tags: &[u64]| {
            acked.lock().unwrap_or_else(PoisonError::into_inner).extend(tags);
            told.acked.notify_one();
        };
        let options = PublisherOptions {
            topics: vec![name],
            inflight_bytes_max: INFLIGHT_BYTES_MAX,
            retry_for: Duration::ZERO,
            listener: Some(AckListener::new(listen)),
        };
        let publisher = match Publisher::open(&client, options).await {
            Ok(publisher) => publisher,
            Err(error) => return Stopped { writer: self, topic, reason: error.to_string(), refusal: None },
        };
        signs.opened.notify_one();
        self.send(publisher, topic).await
    }

    async fn send(mut self, mut publisher: Publisher, topic: TopicId) -> Stopped {
        let envelope = Envelope::new(Mimetype::OCTET_STREAM, None, BTreeMap::new(), Bytes::new());
        let envelope = Arc::new(envelope);
        loop {
            let count = 1 + Entropy::seeded(self.seed ^ self.next).number() % BATCH_MAX;
            let drafts: Vec<Draft> = (self.next..self.next + count)
                .map(|number| Draft {
                    data: content(self.seed, self.number, number),
                    envelope: envelope.clone(),
                    created: None,
                    tag: number,
                })
                .collect();
            // Whether they were sent or not, these numbers are never used again.
            self.next += count;
            if let Err(error) = publisher.send(topic, &drafts).await {
                let refusal = publisher.abort().refusals.into_iter().next().map(|refusal| refusal.message);
                return Stopped { writer: self, topic, reason: error.to_string(), refusal };
            }
        }
    }
}

/// How far the writers of a round are.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// A stream is open.
    pub(super) opened: Notify,
    /// Events were acked.
    pub(super) acked: Notify,
}

/// A writer whose stream broke.
#[derive(Debug)]
pub(super) struct Stopped {
    pub(super) writer: Writer,
    pub(super) topic: TopicId,
    /// Why the stream broke.
    pub(super) reason: String,
    /// What the server said of the first event that it refused.
    pub(super) refusal: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_says_whose_it_is() {
        let event = content(1, 2, 3);
        assert_eq!(origin(&event), Some((2, 3)));
        assert_eq!(event, content(1, 2, 3));
        assert_ne!(event, content(2, 2, 3));
        assert_eq!(origin(&event[..15]), None);
    }
}
