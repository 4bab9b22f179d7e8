//! `--decrypt`: the events of a topic are decrypted with the topic keys that are here, the same for every command that shows events.

use clap_complete::ArgValueCandidates;

use super::{
    Context, complete,
    error::Result,
    topic_keys::{self, KeyTopics},
};
use crate::client::{Event, OpenFailure, Opener};

#[derive(Debug, Clone, clap::Args)]
pub(super) struct Decryption {
    /// Decrypt the data of events with the topic keys that are here
    #[arg(long)]
    decrypt: bool,

    /// Show also events that are not encrypted
    #[arg(long, requires = "decrypt")]
    allow_unencrypted: bool,

    /// Decrypt what was encrypted for this topic and published again
    #[arg(long, value_name = "TOPIC", requires = "decrypt", add = ArgValueCandidates::new(complete::topics_with_keys))]
    encrypted_for: Option<String>,
}

/// Decrypts the events of one topic.
#[derive(Debug)]
pub(super) struct Decryptor {
    topic: String,
    opener: Opener,
    /// What the keys that are here are for, to say so of one that does not fit.
    key_topics: KeyTopics,
    allow_unencrypted: bool,
}

impl Decryption {
    pub(super) fn is_wanted(&self) -> bool {
        self.decrypt
    }

    /// What decrypts the events of a topic that is called so; nothing when they are to be shown as they are.
    pub(super) fn decryptor(&self, context: &Context, topic: &str) -> Result<Option<Decryptor>> {
        if !self.decrypt {
            return Ok(None);
        }
        let opener = match &self.encrypted_for {
            Some(other) => topic_keys::opener(context, other)?.anywhere(),
            None => topic_keys::opener(context, topic)?,
        };
        let (topic, key_topics) = (topic.to_owned(), topic_keys::key_topics(context)?);
        Ok(Some(Decryptor { topic, opener, key_topics, allow_unencrypted: self.allow_unencrypted }))
    }
}

impl Decryptor {
    /// Decrypts an event of the topic.
    pub(super) fn open(&self, event: &mut Event) -> Result<()> {
        match self.opener.open(event) {
            Err(error) if error.failure == OpenFailure::NotEncrypted && self.allow_unencrypted => Ok(()),
            opened => opened.map_err(|error| topic_keys::not_opened(&self.key_topics, &error, &self.topic)),
        }
    }
}
