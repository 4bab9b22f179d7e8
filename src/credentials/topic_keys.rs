//! The topic keys of this user: a list of which there are, in the clear, and each one's secret where secrets are kept.
//!
//! The list is a file beside the profiles. It is needed because a keyring can't be asked what it has, and so that the
//! names of keys can be shown without a passphrase.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{Credentials, SecretError, SecretPlace, Stored, Wanted};
use crate::{
    model::{Secret, TopicId, TopicKey, TopicKeyId, Ulid},
    sys::files::{FileLock, create_private_dir, read_file, write_private_file},
};

/// The version that the list is written with.
const VERSION: u32 = 1;

/// The largest list, in bytes.
const BYTES_MAX: u64 = 4 * 1024 * 1024;

const HEADER: &str = "# Written by `ensign`; comments are not kept. There are no secrets in here.\n";

/// A topic key that is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownTopicKey {
    pub id: TopicKeyId,
    /// The topic's name when the key was made.
    pub topic_name: String,
    pub topic: TopicId,
    /// How many events were encrypted with it from here, as far as was counted.
    pub events: u64,
    pub place: SecretPlace,
}

impl KnownTopicKey {
    /// Whether it is for the topic that somebody calls by this name or id.
    pub fn is_for(&self, name_or_id: &str) -> bool {
        self.topic_name == name_or_id || Ulid::parse(name_or_id).is_ok_and(|id| TopicId(id) == self.topic)
    }

    /// What its secret is filed under.
    fn account(&self) -> String {
        format!("topic-key:{}", self.id)
    }
}

/// What came of a key that was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Imported {
    Stored(Stored),
    /// The same key was here already.
    Known,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    keys: BTreeMap<String, Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    topic: String,
    topic_id: String,
    #[serde(default)]
    events: u64,
    secret: SecretPlace,
}

#[derive(Deserialize)]
struct Head {
    version: u32,
}

impl Credentials {
    /// All topic keys that are known here, those of a topic in the order in which they were made.
    pub fn topic_keys(&self) -> Result<Vec<KnownTopicKey>, SecretError> {
        load(&self.topic_key_file())
    }

    /// Makes the next key of a topic, of 32 secret bytes.
    pub fn create_topic_key(
        &self,
        topic_name: &str,
        topic: TopicId,
        ulid: Ulid,
        secret: Secret,
        wanted: Wanted,
    ) -> Result<(TopicKeyId, Stored), SecretError> {
        self.change_topic_keys(|keys| {
            let newest = keys.iter().filter(|key| key.topic == topic).map(|key| key.id.version).max();
            let id = TopicKeyId { ulid, version: newest.unwrap_or(0).saturating_add(1) };
            let key = TopicKey::new(id, topic, secret).ok_or(SecretError::TopicKeyLength { id })?;
            Ok((id, self.keep_topic_key(keys, topic_name, &key, wanted)?))
        })
    }

    /// Takes a key over that was made elsewhere. One whose secret got lost is completed.
    pub fn import_topic_key(&self, topic_name: &str, key: &TopicKey, wanted: Wanted) -> Result<Imported, SecretError> {
        self.change_topic_keys(|keys| {
            let Some(known) = keys.iter().find(|known| known.id == key.id()) else {
                return self.keep_topic_key(keys, topic_name, key, wanted).map(Imported::Stored);
            };
            match self.topic_key_secrets(&[known])?.pop() {
                None => self.keep_topic_key(keys, topic_name, key, wanted).map(Imported::Stored),
                Some(same)
                    if same.secret().expose() == key.secret().expose()
                        && (same.topic(), known.topic_name.as_str()) == (key.topic(), topic_name) =>
                {
                    Ok(Imported::Known)
                }
                Some(_) => Err(SecretError::TopicKeyConflict { id: key.id() }),
            }
        })
    }

    /// The secrets of keys, but of those whose secret is not where it should be.
    pub fn topic_key_secrets(&self, keys: &[&KnownTopicKey]) -> Result<Vec<TopicKey>, SecretError> {
        let mut found = Vec::new();
        for place in [SecretPlace::Keyring, SecretPlace::Vault, SecretPlace::File] {
            let here: Vec<&KnownTopicKey> = keys.iter().copied().filter(|key| key.place == place).collect();
            if here.is_empty() {
                continue;
            }
            let accounts: Vec<String> = here.iter().map(|key| key.account()).collect();
            let accounts: Vec<&str> = accounts.iter().map(String::as_str).collect();
            for (known, text) in here.iter().zip(self.find(&place, &accounts)?) {
                let Some(text) = text else { continue };
                let damaged = || SecretError::TopicKeyDamaged { id: known.id, place: place.described() };
                let bytes = Zeroizing::new(STANDARD.decode(text.expose()).map_err(|_| damaged())?);
                found.push(TopicKey::new(known.id, known.topic, Secret::new(bytes.as_slice())).ok_or_else(damaged)?);
            }
        }
        Ok(found)
    }

    /// Destroys a key. What was encrypted with it can't be read from here any more.
    pub fn remove_topic_key(&self, id: TopicKeyId) -> Result<KnownTopicKey, SecretError> {
        self.change_topic_keys(|keys| {
            let at = keys.iter().position(|key| key.id == id).ok_or(SecretError::TopicKeyUnknown { id })?;
            self.discard(&keys[at].place, &keys[at].account())?;
            Ok(keys.remove(at))
        })
    }

    /// Remembers that a key encrypted so many more events.
    pub fn count_topic_key_events(&self, id: TopicKeyId, events: u64) -> Result<u64, SecretError> {
        self.change_topic_keys(|keys| {
            let key = keys.iter_mut().find(|key| key.id == id).ok_or(SecretError::TopicKeyUnknown { id })?;
            key.events = key.events.saturating_add(events);
            Ok(key.events)
        })
    }

    fn keep_topic_key(
        &self,
        keys: &mut Vec<KnownTopicKey>,
        topic_name: &str,
        key: &TopicKey,
        wanted: Wanted,
    ) -> Result<Stored, SecretError> {
        let text = Secret::new(STANDARD.encode(key.secret().expose()));
        let place = SecretPlace::Keyring;
        let (id, topic, topic_name) = (key.id(), key.topic(), topic_name.to_owned());
        let events = keys.iter().find(|key| key.id == id).map_or(0, |key| key.events);
        let mut known = KnownTopicKey { id, topic_name, topic, events, place };
        // The secret comes first: a key that is in the list and nowhere else would be taken for one that got lost.
        let stored = self.put(&known.account(), &text, wanted)?;
        known.place = stored.place.clone();
        keys.retain(|key| key.id != id);
        keys.push(known);
        Ok(stored)
    }

    /// Reads the list, has it changed, and writes it if no error came. No other process changes it meanwhile.
    fn change_topic_keys<T>(
        &self,
        change: impl FnOnce(&mut Vec<KnownTopicKey>) -> Result<T, SecretError>,
    ) -> Result<T, SecretError> {
        create_private_dir(self.dir())?;
        let _lock = FileLock::acquire(&self.dir().join("topic-keys.lock"))?;
        let before = self.topic_keys()?;
        let mut keys = before.clone();
        let result = change(&mut keys)?;
        if keys != before {
            write_private_file(&self.topic_key_file(), to_text(keys).as_bytes())?;
        }
        Ok(result)
    }

    fn topic_key_file(&self) -> PathBuf {
        self.dir().join("topic-keys.yaml")
    }
}

fn load(path: &Path) -> Result<Vec<KnownTopicKey>, SecretError> {
    match read_file(path, BYTES_MAX) {
        Ok(bytes) => parse(&bytes, path),
        Err(error) if error.is_not_found() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Reads what the file at `path` has.
pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Vec<KnownTopicKey>, SecretError> {
    let damaged = |what: String| SecretError::TopicKeyListDamaged { path: path.to_owned().into(), what };
    let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
    let head: Head = serde_yaml::from_str(text).map_err(|error| damaged(error.to_string()))?;
    if head.version != VERSION {
        return Err(damaged(format!("it has version {}, which another ensign wrote", head.version)));
    }
    let document: Document = serde_yaml::from_str(text).map_err(|error| damaged(error.to_string()))?;
    let known = |(id, entry): (String, Entry)| {
        if matches!(entry.secret, SecretPlace::Reference(_)) {
            return Err(damaged(format!("{id}: a topic key is kept in a keyring, the vault or a file")));
        }
        Ok(KnownTopicKey {
            id: id.parse().map_err(|error: crate::model::ParseTopicKeyIdError| damaged(error.to_string()))?,
            topic: TopicId(Ulid::parse(&entry.topic_id).map_err(|error| damaged(format!("{id}: {error}")))?),
            topic_name: entry.topic,
            events: entry.events,
            place: entry.secret,
        })
    };
    let mut keys = document.keys.into_iter().map(known).collect::<Result<Vec<_>, _>>()?;
    keys.sort_by(|a, b| (&a.topic_name, a.topic, a.id).cmp(&(&b.topic_name, b.topic, b.id)));
    Ok(keys)
}

/// What the file has.
pub(super) fn to_text(keys: Vec<KnownTopicKey>) -> String {
    let entry = |key: KnownTopicKey| {
        let KnownTopicKey { id, topic_name, topic, events, place } = key;
        (id.to_string(), Entry { topic: topic_name, topic_id: topic.to_string(), events, secret: place })
    };
    let document = Document { version: VERSION, keys: keys.into_iter().map(entry).collect() };
    let text = serde_yaml::to_string(&document).expect("texts and numbers can be written as YAML");
    format!("{HEADER}{text}")
}
