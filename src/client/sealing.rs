//! Encryption between clients: the data of an event is sealed under a topic key before it is sent, and opened by whoever
//! has the key. The server and everything on the way sees ciphertext.
//!
//! What is sealed is the event's data, with AES-256-GCM: the data becomes a random nonce of 96 bits, the ciphertext, and
//! the tag. The event's [`Encryption`] names the algorithm and, as its public key id, the topic key. Everything else stays readable,
//! because servers and other clients work with it: type, media type, metadata, key and time of creation. None of it can
//! be changed unnoticed, nor can the event be moved to another topic: all of it is authenticated, with the topic's id and the
//! key's name.
//!
//! Invariants: a nonce is fresh for each event. A key seals [`TopicKey::EVENTS_MAX`] events at most. An event that can't
//! be opened stays as it was and is an error; its ciphertext is never given out as data.
//!
//! What it does not do: keep keys, hide how large events are and when they were sent, or find out that events are
//! missing, repeated or in another order within their topic.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use aes_gcm::{Aes256Gcm, KeyInit as _, Tag, aead::AeadInOut as _};
use bytes::Bytes;

use super::{Draft, Encryption, Envelope, Event};
use crate::{
    model::{Mimetype, Offset, Schema, Time, TopicId, TopicKey, TopicKeyId},
    sys::Entropy,
};

const NONCE_BYTES: usize = 12;
const TAG_BYTES: usize = 16;

/// What the authenticated context of every event starts with. A change of its form is another text.
const DOMAIN: &[u8] = b"ensign event sealed under a topic key, 1";

/// Seals events under one topic key.
#[derive(Clone)]
pub struct Sealer(Arc<Sealing>);

struct Sealing {
    id: TopicKeyId,
    topic: TopicId,
    cipher: Aes256Gcm,
    entropy: Entropy,
    sealed: AtomicU64,
}

/// The key has sealed as many events as it may.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic key {id} has encrypted {} events, and must not encrypt more", TopicKey::EVENTS_MAX)]
pub struct Overused {
    pub id: TopicKeyId,
}

impl Sealer {
    /// A sealer under a key that has sealed `sealed` events before, as far as that is known.
    pub fn new(key: &TopicKey, sealed: u64, entropy: Entropy) -> Sealer {
        let sealed = AtomicU64::new(sealed);
        Sealer(Arc::new(Sealing { id: key.id(), topic: key.topic(), cipher: cipher(key), entropy, sealed }))
    }

    pub fn id(&self) -> TopicKeyId {
        self.0.id
    }

    /// The topic that the events have to be sent to.
    pub fn topic(&self) -> TopicId {
        self.0.topic
    }

    /// How many events were sealed under the key, those of before included.
    pub fn sealed(&self) -> u64 {
        self.0.sealed.load(Ordering::Relaxed)
    }

    /// What many events have in common; see [`Envelope::new`].
    pub fn envelope(
        &self,
        mimetype: Mimetype,
        schema: Option<&Schema>,
        metadata: BTreeMap<String, String>,
        key: Bytes,
    ) -> SealedEnvelope {
        let context = context(self.0.topic, self.0.id, mimetype, schema, &metadata, &key);
        let envelope = Envelope::new(mimetype, schema, metadata, key).encrypted(&encryption(self.0.id));
        SealedEnvelope { sealer: self.clone(), envelope: Arc::new(envelope), context }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Sealer").field(&self.0.id).finish()
    }
}

/// What events that are sealed have in common.
#[derive(Debug, Clone)]
pub struct SealedEnvelope {
    sealer: Sealer,
    envelope: Arc<Envelope>,
    context: Vec<u8>,
}

impl SealedEnvelope {
    /// Seals an event, which has to be sent to the key's topic.
    ///
    /// # Errors
    ///
    /// When the key has sealed too many events already.
    pub fn draft(&self, data: &[u8], created: Option<Time>, tag: u64) -> Result<Draft, Overused> {
        let Sealing { id, cipher, entropy, sealed, .. } = &*self.sealer.0;
        let within = |count: u64| (count < TopicKey::EVENTS_MAX).then_some(count + 1);
        sealed.try_update(Ordering::Relaxed, Ordering::Relaxed, within).map_err(|_| Overused { id: *id })?;
        let nonce: [u8; NONCE_BYTES] = entropy.bytes();
        let mut bytes = Vec::with_capacity(NONCE_BYTES + data.len() + TAG_BYTES);
        bytes.extend_from_slice(&nonce);
        bytes.extend_from_slice(data);
        let context = with_created(&self.context, created);
        let tag_bytes = cipher
            .encrypt_inout_detached(&nonce.into(), &context, (&mut bytes[NONCE_BYTES..]).into())
            .expect("an event is far smaller than what the cipher can take");
        bytes.extend_from_slice(&tag_bytes);
        Ok(Draft { data: bytes.into(), envelope: self.envelope.clone(), created, tag })
    }
}

/// Why an event could not be opened, and which one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("topic {topic}, offset {offset}: {failure}")]
pub struct OpenError {
    pub topic: TopicId,
    pub offset: Offset,
    pub failure: OpenFailure,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenFailure {
    #[error("the event is not encrypted")]
    NotEncrypted,
    #[error("the event is encrypted with algorithm {number}, which is not AES-256-GCM (110)")]
    UnknownAlgorithm { number: i32 },
    /// Its [`Encryption`] is none of a topic key.
    #[error("the event is encrypted in another way than with a topic key")]
    NoTopicKey,
    #[error("the event is encrypted with key {id}, which is not here")]
    MissingKey { id: TopicKeyId },
    #[error("the event is encrypted with key {id}, which is for topic {topic}")]
    OtherTopic { id: TopicKeyId, topic: TopicId },
    #[error("the event has {bytes} bytes of data, which is less than anything encrypted has")]
    TooShort { bytes: usize },
    #[error("key {id} does not open the event: it was changed after it was encrypted, or the key is not the right one")]
    Refused { id: TopicKeyId },
}

/// Opens events that were sealed under one of several keys.
#[derive(Default)]
pub struct Opener {
    keys: HashMap<TopicKeyId, (TopicId, Aes256Gcm)>,
    anywhere: bool,
}

impl Opener {
    pub fn new<'a>(keys: impl IntoIterator<Item = &'a TopicKey>) -> Opener {
        let keys = keys.into_iter().map(|key| (key.id(), (key.topic(), cipher(key)))).collect();
        Opener { keys, anywhere: false }
    }

    /// Opens also what was published again, still sealed, in another topic than the one it was sealed for. Whether it
    /// belongs there then is nothing that the keys vouch for.
    #[must_use]
    pub fn anywhere(self) -> Opener {
        Opener { anywhere: true, ..self }
    }

    /// Puts the data of an event in the place of its ciphertext. The event then says nothing of an encryption any more.
    ///
    /// # Errors
    ///
    /// When it was not sealed under one of the keys, or changed since. The event stays as it was.
    pub fn open(&self, event: &mut Event) -> Result<(), OpenError> {
        match self.data_of(event) {
            Ok(data) => {
                event.data = data;
                event.encryption = None;
                Ok(())
            }
            Err(failure) => Err(OpenError { topic: event.topic, offset: event.offset, failure }),
        }
    }

    fn data_of(&self, event: &Event) -> Result<Bytes, OpenFailure> {
        let id = key_of(event)?;
        let (topic, cipher) = self.keys.get(&id).ok_or(OpenFailure::MissingKey { id })?;
        if *topic != event.topic && !self.anywhere {
            return Err(OpenFailure::OtherTopic { id, topic: *topic });
        }
        let short = || OpenFailure::TooShort { bytes: event.data.len() };
        let (nonce, rest) = event.data.split_first_chunk::<NONCE_BYTES>().ok_or_else(short)?;
        let (sealed, tag) = rest.split_last_chunk::<TAG_BYTES>().ok_or_else(short)?;
        let common = context(*topic, id, event.mimetype, event.schema.as_ref(), &event.metadata, &event.key);
        let mut plain = sealed.to_vec();
        cipher
            .decrypt_inout_detached(
                &(*nonce).into(),
                &with_created(&common, event.created),
                plain.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenFailure::Refused { id })?;
        Ok(plain.into())
    }
}

impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener").field("keys", &self.keys.keys()).field("anywhere", &self.anywhere).finish()
    }
}

/// The key that an event names, if it is sealed as it is here and in no other way.
fn key_of(event: &Event) -> Result<TopicKeyId, OpenFailure> {
    let said = event.encryption.as_deref().filter(|said| **said != Encryption::default());
    let said = said.ok_or(OpenFailure::NotEncrypted)?;
    if said.encryption_algorithm != Encryption::AES256_GCM {
        return Err(OpenFailure::UnknownAlgorithm { number: said.encryption_algorithm });
    }
    let id = said.public_key_id.parse().map_err(|_| OpenFailure::NoTopicKey)?;
    if *said == encryption(id) { Ok(id) } else { Err(OpenFailure::NoTopicKey) }
}

/// What an event says that is sealed under a topic key.
fn encryption(id: TopicKeyId) -> Encryption {
    Encryption { public_key_id: id.to_string(), encryption_algorithm: Encryption::AES256_GCM, ..Encryption::default() }
}

fn cipher(key: &TopicKey) -> Aes256Gcm {
    let secret: &[u8; TopicKey::BYTES] = key.secret().expose().try_into().expect("a key has its length");
    Aes256Gcm::new(secret.into())
}

/// What is authenticated of an event besides its data, but for its time of creation. Every part has a fixed length or
/// stands behind its length, so that no two events have the same context.
fn context(
    topic: TopicId,
    id: TopicKeyId,
    mimetype: Mimetype,
    schema: Option<&Schema>,
    metadata: &BTreeMap<String, String>,
    key: &[u8],
) -> Vec<u8> {
    let mut bytes = DOMAIN.to_vec();
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(id.ulid.as_bytes());
    bytes.extend(id.version.to_le_bytes());
    bytes.extend(mimetype.0.to_le_bytes());
    bytes.push(u8::from(schema.is_some()));
    if let Some(Schema { name, major, minor, patch }) = schema {
        put(&mut bytes, name.as_bytes());
        for number in [major, minor, patch] {
            bytes.extend(number.to_le_bytes());
        }
    }
    put(&mut bytes, key);
    bytes.extend((metadata.len() as u64).to_le_bytes());
    for (name, value) in metadata {
        put(&mut bytes, name.as_bytes());
        put(&mut bytes, value.as_bytes());
    }
    bytes
}

fn with_created(context: &[u8], created: Option<Time>) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(context.len() + 9);
    bytes.extend_from_slice(context);
    bytes.push(u8::from(created.is_some()));
    bytes.extend(created.map_or(0, Time::nanos).to_le_bytes());
    bytes
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend((part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part);
}
