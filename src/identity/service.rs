//! The handle, what stands behind it, and how it is opened.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};

use super::{
    IdentityError, Mail,
    cache::Generations,
    errands::{self, ERRANDS_WAITING_MAX, Errand},
    hasher::Hasher,
    live::{Known, Live, MemberId},
    record::{ProjectRecord, UseRecord, decode, encode, place},
    signing::SigningKeys,
    token::TokenRules,
    user_record::{MembershipRecord, member_behind},
};
use crate::{
    engine::RootKey,
    model::{KeyId, Principal, ProjectId, Time, Ulid},
    store::{Record, Records, Transaction},
    sys::{Clock, Entropy},
};

/// How many verified tokens, and verified secrets, one generation of the caches remembers.
const REMEMBERED_MAX: usize = 4096;

/// How many uses of keys may wait to be stored.
const USES_WAITING_MAX: usize = 1024;

/// How many records one scan brings.
const SCAN: usize = 1000;

/// Whom tokens come from and are for, and how long they live.
#[derive(Debug, Clone)]
pub struct IdentityOptions {
    /// The address under which this server is known, such as `http://localhost:5356`.
    pub issuer: String,
    /// Whom the tokens are meant for.
    pub audience: String,
    /// How long an access token lives.
    pub access: Duration,
    /// How long a refresh token lives, counted from when it was issued.
    pub refresh: Duration,
    /// How long before the access token's end its refresh token becomes valid.
    pub overlap: Duration,
    /// How old a token signing key gets before another one signs.
    pub signing_key_age: Duration,
    /// What the token signing key is sealed under.
    pub root: RootKey,
    /// Who may register an organization.
    pub registration: Registration,
    /// Where mail goes; nowhere: its tokens are in the log, and kept until they are used.
    pub mail: Option<mpsc::Sender<Mail>>,
}

/// Who may register an organization. Who was invited to one may join it anyway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registration {
    #[default]
    Open,
    /// The first user alone.
    First,
    Closed,
}

impl IdentityOptions {
    /// An hour for access, two for refresh, 15 minutes of overlap; anybody may register, and nothing sends mail.
    pub fn new(issuer: impl Into<String>, audience: impl Into<String>, root: RootKey) -> IdentityOptions {
        IdentityOptions {
            issuer: issuer.into(),
            audience: audience.into(),
            access: Duration::from_hours(1),
            refresh: Duration::from_hours(2),
            overlap: Duration::from_mins(15),
            signing_key_age: Duration::from_hours(90 * 24),
            root,
            registration: Registration::Open,
            mail: None,
        }
    }
}

/// Organizations, projects, keys and tokens. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Identity {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) records: Records,
    pub(super) clock: Clock,
    pub(super) entropy: Entropy,
    /// What page tokens, and tokens of mail that nothing sends, are sealed under.
    pub(super) root: RootKey,
    pub(super) registration: Registration,
    pub(super) mail: Option<mpsc::Sender<Mail>>,
    pub(super) rules: TokenRules,
    signing: Mutex<Arc<SigningKeys>>,
    /// Held while a signing key is made.
    pub(super) rotating: tokio::sync::Mutex<()>,
    pub(super) signing_key_age: Duration,
    pub(super) live: Live,
    /// Held from reading a membership to making its change known, so that changes become known in the order in which
    /// they were stored.
    pub(super) members: tokio::sync::Mutex<()>,
    pub(super) hasher: Hasher,
    pub(super) uses: mpsc::Sender<Use>,
    pub(super) errands: mpsc::Sender<Errand>,
    /// Access tokens that have been verified, by their SHA-256.
    pub(super) tokens: Mutex<Generations<[u8; 32], Verified>>,
    /// Client ids with the salted SHA-256 of the secret that was verified for them.
    pub(super) secrets: Mutex<Generations<String, [u8; 32]>>,
    pub(super) salt: [u8; 32],
}

/// What a verified token said.
#[derive(Debug, Clone)]
pub(super) struct Verified {
    pub(super) principal: Principal,
    pub(super) exp: i64,
}

/// A message to the task that stores when keys were used and members signed in.
#[derive(Debug)]
pub(super) enum Use {
    Key(KeyId, Time),
    Member(MemberId, Time),
    Flush(oneshot::Sender<()>),
}

impl Identity {
    /// Opens what the records hold; makes the token signing key when there is none. Needs a runtime, for the task that
    /// stores when keys were used and members signed in; the task ends with the last clone.
    pub async fn open(
        records: Records,
        clock: Clock,
        entropy: Entropy,
        options: IdentityOptions,
    ) -> Result<Identity, IdentityError> {
        let signing = SigningKeys::open(&records, &options.root, &clock, &entropy).await?;
        let live = Live::new(known(&records).await?);
        let (uses, waiting) = mpsc::channel(USES_WAITING_MAX);
        tokio::spawn(store_uses(records.clone(), waiting));
        let (errands, asked) = mpsc::channel(ERRANDS_WAITING_MAX);
        let rules = TokenRules {
            refresh_audience: format!("{}/v1/refresh", origin(&options.issuer)),
            issuer: options.issuer,
            audience: options.audience,
            access: options.access,
            refresh: options.refresh,
            overlap: options.overlap,
        };
        let inner = Inner {
            rules,
            signing: Mutex::new(Arc::new(signing)),
            rotating: tokio::sync::Mutex::new(()),
            signing_key_age: options.signing_key_age,
            live,
            members: tokio::sync::Mutex::new(()),
            hasher: Hasher::start(entropy.clone()),
            uses,
            errands,
            tokens: Mutex::new(Generations::new(REMEMBERED_MAX)),
            secrets: Mutex::new(Generations::new(REMEMBERED_MAX)),
            salt: entropy.bytes(),
            root: options.root,
            registration: options.registration,
            mail: options.mail,
            records,
            clock,
            entropy,
        };
        let identity = Identity { inner: Arc::new(inner) };
        identity.sweep_links().await?;
        tokio::spawn(errands::run(Arc::downgrade(&identity.inner), asked));
        Ok(identity)
    }

    /// The public keys that tokens verify against, as a JSON Web Key Set.
    pub fn jwks(&self) -> Value {
        self.signing().jwks()
    }

    /// The keys that tokens are signed and verified with now.
    pub(super) fn signing(&self) -> Arc<SigningKeys> {
        locked(&self.inner.signing).clone()
    }

    pub(super) fn set_signing(&self, keys: SigningKeys) {
        *locked(&self.inner.signing) = Arc::new(keys);
    }

    /// The issuer's scheme, host and port, without its path.
    pub fn issuer_origin(&self) -> &str {
        origin(&self.inner.rules.issuer)
    }

    /// Resolves once every sign-in so far has been stored, and what was asked for in the background has been done, or was
    /// given up with a warning.
    pub async fn flush(&self) {
        self.finish_errands().await;
        let (done, flushed) = oneshot::channel();
        if self.inner.uses.send(Use::Flush(done)).await.is_ok() {
            // The task drops the sender without a word only when the runtime is being shut down.
            flushed.await.ok();
        }
    }
}

/// Takes a lock that guards nothing but a map: a thread that panicked cannot have left it half changed.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Every record under a prefix.
pub(super) async fn scan_all(records: &Records, prefix: &str) -> Result<Vec<(Bytes, Record)>, IdentityError> {
    let mut all: Vec<(Bytes, Record)> = Vec::new();
    loop {
        let after = all.last().map(|(key, _)| key.clone());
        let page = records.scan(prefix.to_owned(), after, SCAN).await?;
        let last = page.len() < SCAN;
        all.extend(page);
        if last {
            return Ok(all);
        }
    }
}

/// The identifier that ends a record's key, behind a prefix.
pub(super) fn id_behind(prefix: &str, key: &[u8]) -> Result<Ulid, IdentityError> {
    let text = std::str::from_utf8(key).ok().and_then(|key| key.strip_prefix(prefix));
    text.and_then(|text| Ulid::parse(text).ok()).ok_or_else(|| IdentityError::Damaged {
        key: String::from_utf8_lossy(key).into_owned(),
        what: "its key does not end in an identifier".to_owned(),
    })
}

/// The keys and the memberships that the records hold.
async fn known(records: &Records) -> Result<Known, IdentityError> {
    let mut known = Known::default();
    for (key, _) in scan_all(records, place::KEYS).await? {
        known.keys.insert(KeyId(id_behind(place::KEYS, &key)?), None);
    }
    for (key, record) in scan_all(records, place::PROJECTS).await? {
        let project: ProjectRecord = decode(&key, &record.value)?;
        if project.removing {
            known.closed.insert(ProjectId(id_behind(place::PROJECTS, &key)?));
        }
    }
    for (key, _) in scan_all(records, place::GONE_PROJECTS).await? {
        known.closed.insert(ProjectId(id_behind(place::GONE_PROJECTS, &key)?));
    }
    for (key, record) in scan_all(records, place::USES).await? {
        let used: UseRecord = decode(&key, &record.value)?;
        if let Some(last) = known.keys.get_mut(&KeyId(id_behind(place::USES, &key)?)) {
            *last = Some(Time::from_nanos(used.used_ns));
        }
    }
    for (key, record) in scan_all(records, place::MEMBERS).await? {
        let membership: MembershipRecord = decode(&key, &record.value)?;
        known.members.insert(member_behind(place::MEMBERS, &key)?, (membership.standing(), None));
    }
    for (key, record) in scan_all(records, place::LOGINS).await? {
        let used: UseRecord = decode(&key, &record.value)?;
        if let Some((_, last)) = known.members.get_mut(&member_behind(place::LOGINS, &key)?) {
            *last = Some(Time::from_nanos(used.used_ns));
        }
    }
    Ok(known)
}

/// Stores when keys were used and members signed in: what came while one write was under way is one write again. A use
/// that cannot be stored is only worth a warning, because nothing depends on it.
async fn store_uses(records: Records, mut waiting: mpsc::Receiver<Use>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, USES_WAITING_MAX).await > 0 {
        let mut latest = HashMap::new();
        let mut flushes = Vec::new();
        for entry in batch.drain(..) {
            match entry {
                Use::Key(id, time) => drop(latest.insert(place::key_used(id), time)),
                Use::Member(id, time) => drop(latest.insert(place::member_login(id), time)),
                Use::Flush(done) => flushes.push(done),
            }
        }
        let transaction = latest.into_iter().fold(Transaction::new(), |transaction, (place, time)| {
            transaction.put(place, encode(&UseRecord { used_ns: time.nanos() }))
        });
        if !transaction.changes.is_empty()
            && let Err(error) = records.commit(transaction).await
        {
            tracing::warn!(%error, "could not store when keys and members last signed in");
        }
        for done in flushes {
            // Whoever asked may have stopped waiting.
            done.send(()).ok();
        }
    }
}

/// `http://host:port` of an address with whatever behind it.
fn origin(address: &str) -> &str {
    let host = address.find("://").map_or(0, |scheme| scheme + 3);
    let end = address[host..].find(['/', '?', '#']).map_or(address.len(), |path| host + path);
    &address[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins() {
        for address in ["http://localhost:5356", "http://localhost:5356/", "http://localhost:5356/a/b?c#d"] {
            assert_eq!(origin(address), "http://localhost:5356");
        }
    }
}
