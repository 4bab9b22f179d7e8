//! The topic keys that publishing and reading need, and what is said when they are not there.

use std::collections::BTreeMap;

use super::{
    Context,
    error::{CliError, Result},
};
use crate::{
    client::{OpenError, OpenFailure, Opener, Sealer},
    credentials::{KnownTopicKey, ParseTopicKeysError},
    model::{TopicId, TopicKey, TopicKeyId},
    sys::Entropy,
};

/// How many events a key may have encrypted until a new one is recommended.
const EVENTS_RECOMMENDED: u64 = TopicKey::EVENTS_MAX / 2;

/// What can be known before the server was asked: that there is any key for a topic.
pub(super) fn require(context: &Context, topic: &str) -> Result<()> {
    let known = context.credentials()?.topic_keys()?;
    if known.iter().any(|key| key.is_for(topic)) { Ok(()) } else { Err(none_for(topic)) }
}

/// What encrypts the events of a topic: its newest key.
pub(super) fn sealer(context: &Context, name: &str, topic: TopicId) -> Result<Sealer> {
    let credentials = context.credentials()?;
    let known = credentials.topic_keys()?;
    let newest = known.iter().filter(|key| key.is_for(name) && key.topic == topic).max_by_key(|key| key.id);
    let newest = newest.ok_or_else(|| {
        CliError::not_found(format!("the topic keys here are for another topic called {name}, and not for {topic}"))
            .hint(format!("make one with `ensign encryption topic-key new {name}`"))
    })?;
    if newest.events >= TopicKey::EVENTS_MAX {
        let message = format!("topic key {} has encrypted as many events as it may", newest.id);
        return Err(CliError::failed(message).hint(format!("`ensign encryption topic-key new {name}` makes the next")));
    }
    let key = credentials.topic_key_secrets(&[newest])?.pop().ok_or_else(|| lost(newest))?;
    Ok(Sealer::new(&key, newest.events, Entropy::real()))
}

/// Remembers how many events were encrypted, so that a key is not used too often.
pub(super) fn count(context: &Context, name: &str, sealer: &Sealer, before: u64) {
    let counted = context
        .credentials()
        .and_then(|credentials| Ok(credentials.count_topic_key_events(sealer.id(), sealer.sealed() - before)?));
    match counted {
        Ok(events) if events >= EVENTS_RECOMMENDED => context.output.note(&format!(
            "topic key {} has encrypted {events} events of at most {}; `ensign encryption topic-key new {name}` makes the next",
            sealer.id(),
            TopicKey::EVENTS_MAX,
        )),
        Ok(_) => {}
        // What was published is published; only the count is not right.
        Err(error) => context.output.note(&format!("the use of the topic key was not counted: {}", error.message)),
    }
}

/// What decrypts the events of a topic that is called so: all keys for it.
pub(super) fn opener(context: &Context, name: &str) -> Result<Opener> {
    let credentials = context.credentials()?;
    let known = credentials.topic_keys()?;
    let wanted: Vec<&KnownTopicKey> = known.iter().filter(|key| key.is_for(name)).collect();
    Ok(Opener::new(&credentials.topic_key_secrets(&wanted)?))
}

pub(super) fn none_for(topic: &str) -> CliError {
    CliError::not_found(format!("there is no topic key for topic {topic} here"))
        .hint(format!("make one with `ensign encryption topic-key new {topic}`, or import the one that others use"))
}

/// A key whose secret is not where it was put.
pub(super) fn lost(key: &KnownTopicKey) -> CliError {
    let place = String::from(key.place.clone());
    CliError::not_found(format!("the {place} has no secret for topic key {}", key.id)).hint(IMPORT)
}

const IMPORT: &str = "import it with `ensign encryption topic-key import FILE` from whoever has it";

/// An event that can't be decrypted, in a topic that is called so.
pub(super) fn not_opened(key_topics: &KeyTopics, error: &OpenError, topic: &str) -> CliError {
    let message = error.failure.to_string();
    let unhinted = match &error.failure {
        OpenFailure::MissingKey { id } => match key_topics.get(id) {
            Some(other) => {
                CliError::failed(format!("the event is encrypted with key {id}, which is for topic {other}"))
                    .hint(format!("if it was published again on purpose, add --encrypted-for {other}"))
            }
            None => CliError::not_found(message).hint(IMPORT),
        },
        OpenFailure::NotEncrypted => CliError::failed(message).hint("--allow-unencrypted shows it as it is"),
        OpenFailure::OtherTopic { topic, .. } => {
            CliError::failed(message).hint(format!("if it was published again on purpose, add --encrypted-for {topic}"))
        }
        _ => CliError::failed(message),
    };
    unhinted.about(format!("topic {topic}, offset {}", error.offset))
}

/// The names of the topics that keys are for.
pub(super) type KeyTopics = BTreeMap<TopicKeyId, String>;

/// The names of the topics that the keys here are for.
pub(super) fn key_topics(context: &Context) -> Result<KeyTopics> {
    let known = context.credentials()?.topic_keys()?;
    Ok(known.into_iter().map(|key| (key.id, key.topic_name)).collect())
}

impl From<ParseTopicKeysError> for CliError {
    fn from(error: ParseTopicKeysError) -> CliError {
        CliError::failed(error.to_string())
            .hint("nothing was imported; `ensign encryption topic-key export` writes such files")
    }
}
