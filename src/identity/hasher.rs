//! Argon2id on a thread of its own: a hash takes 64 MiB and tens of milliseconds, which no task of the runtime may
//! take. What judges passwords runs there too.
//!
//! Invariant: some seconds after the last hash its memory belongs to the system again. An allocator that keeps freed memory for
//! a while looks at what it has kept when something else is freed, and in an idle server nothing is.

use std::{
    hint::black_box,
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, CustomizedPasswordHasher, Params, PasswordVerifier, Version, password_hash::phc::PasswordHash,
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use tokio::sync::oneshot;

use super::{IdentityError, passwords::is_strong};
use crate::{model::Secret, sys::Entropy};

const MEMORY_KIB: u32 = 65_536;
const PASSES: u32 = 1;
const LANES: u32 = 2;
const SALT_BYTES: usize = 16;
const HASH_BYTES: usize = 32;

/// How many secrets may wait; what comes on top is refused, because its caller would have given up before its turn.
const WAITING_MAX: usize = 512;

/// How long after the last hash freed memory is given back. An allocator keeps it for about a second, in case it is needed again.
const QUIET: Duration = Duration::from_millis(1_500);

/// What is allocated and freed for that, in bytes: large enough to be no part of anything that an allocator keeps for small things.
const NUDGE_BYTES: usize = 4 * 1024 * 1024;

/// Makes and checks the hashes under which secrets are kept: PHC strings of Argon2id. The thread ends with the last
/// clone.
#[derive(Debug, Clone)]
pub(super) struct Hasher {
    jobs: mpsc::SyncSender<Job>,
    entropy: Entropy,
    /// Verified in place of the hash of a key that does not exist.
    decoy: String,
}

enum Job {
    Hash { secret: Secret, salt: [u8; SALT_BYTES], reply: oneshot::Sender<String> },
    Verify { secret: Secret, hash: String, reply: oneshot::Sender<bool> },
    Judge { secret: Secret, known: Vec<String>, reply: oneshot::Sender<bool> },
}

impl Hasher {
    pub(super) fn start(entropy: Entropy) -> Hasher {
        let (jobs, waiting) = mpsc::sync_channel(WAITING_MAX);
        let work = move || work(&waiting);
        thread::Builder::new().name("ensign-argon2".to_owned()).spawn(work).expect("a thread can be started");
        let decoy = format!(
            "$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${}${}",
            STANDARD_NO_PAD.encode(entropy.bytes::<SALT_BYTES>()),
            STANDARD_NO_PAD.encode(entropy.bytes::<HASH_BYTES>()),
        );
        Hasher { jobs, entropy, decoy }
    }

    pub(super) async fn hash(&self, secret: Secret) -> Result<String, IdentityError> {
        let (reply, hashed) = oneshot::channel();
        self.submit(Job::Hash { secret, salt: self.entropy.bytes(), reply })?;
        hashed.await.map_err(|_| IdentityError::Closed)
    }

    /// Whether the secret is the hashed one. Without a hash the answer is no, after the same work.
    pub(super) async fn verify(&self, secret: Secret, hash: Option<String>) -> Result<bool, IdentityError> {
        let (reply, verified) = oneshot::channel();
        let known = hash.is_some();
        self.submit(Job::Verify { secret, hash: hash.unwrap_or_else(|| self.decoy.clone()), reply })?;
        let matches = verified.await.map_err(|_| IdentityError::Closed)?;
        Ok(known && matches)
    }

    /// Whether a password is strong enough, of a user of whom these words are known.
    pub(super) async fn judge(&self, secret: Secret, known: Vec<String>) -> Result<bool, IdentityError> {
        let (reply, judged) = oneshot::channel();
        self.submit(Job::Judge { secret, known, reply })?;
        judged.await.map_err(|_| IdentityError::Closed)
    }

    fn submit(&self, job: Job) -> Result<(), IdentityError> {
        self.jobs.try_send(job).map_err(|error| match error {
            mpsc::TrySendError::Full(_) => IdentityError::Busy,
            mpsc::TrySendError::Disconnected(_) => IdentityError::Closed,
        })
    }
}

/// Does jobs until the last hasher is gone.
fn work(waiting: &mpsc::Receiver<Job>) {
    while let Ok(mut job) = waiting.recv() {
        loop {
            run(job);
            job = match waiting.recv_timeout(QUIET) {
                Ok(next) => next,
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
        // Never touched, so it takes no memory by itself.
        drop(black_box(Vec::<u8>::with_capacity(black_box(NUDGE_BYTES))));
    }
}

/// Does one job, unless whoever asked for it has gone meanwhile. A send that fails means just that.
fn run(job: Job) {
    match job {
        Job::Hash { secret, salt, reply } if !reply.is_closed() => {
            reply.send(hash_now(&secret, &salt)).ok();
        }
        Job::Verify { secret, hash, reply } if !reply.is_closed() => {
            reply.send(verify_now(&secret, &hash)).ok();
        }
        Job::Judge { secret, known, reply } if !reply.is_closed() => {
            reply.send(is_strong(&secret, &known)).ok();
        }
        Job::Hash { .. } | Job::Verify { .. } | Job::Judge { .. } => {}
    }
}

fn hash_now(secret: &Secret, salt: &[u8; SALT_BYTES]) -> String {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, Some(HASH_BYTES)).expect("the parameters are within bounds");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
    let hash: PasswordHash = argon2
        .hash_password_customized(secret.expose(), salt, None, None, params)
        .expect("salt and secret have allowed lengths");
    hash.to_string()
}

/// Compares in constant time, with the parameters that the hash names.
fn verify_now(secret: &Secret, hash: &str) -> bool {
    match PasswordHash::new(hash) {
        Ok(hash) => Argon2::default().verify_password(secret.expose(), &hash).is_ok(),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_secret_verifies_against_its_hash_alone() {
        let hasher = Hasher::start(Entropy::real());
        let hash = hasher.hash(Secret::new("correct")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=65536,t=1,p=2$"), "{hash}");
        let (salt, output) = hash["$argon2id$v=19$m=65536,t=1,p=2$".len()..].split_once('$').unwrap();
        assert_eq!(STANDARD_NO_PAD.decode(salt).unwrap().len(), SALT_BYTES);
        assert_eq!(STANDARD_NO_PAD.decode(output).unwrap().len(), HASH_BYTES);

        assert!(hasher.verify(Secret::new("correct"), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify(Secret::new("wrong"), Some(hash)).await.unwrap());
        assert!(!hasher.verify(Secret::new("correct"), Some("garbage".to_owned())).await.unwrap());
    }

    /// The decoy has to be a hash that is worked on, not one that is refused for its form.
    #[tokio::test]
    async fn the_decoy_is_a_whole_hash_that_nothing_matches() {
        let hasher = Hasher::start(Entropy::real());
        let decoy = PasswordHash::new(&hasher.decoy).unwrap();
        let params = Params::try_from(&decoy).unwrap();
        assert_eq!((params.m_cost(), params.t_cost(), params.p_cost()), (MEMORY_KIB, PASSES, LANES));
        assert_eq!(decoy.hash.unwrap().as_bytes().len(), HASH_BYTES);
        assert!(!hasher.verify(Secret::new("anything"), None).await.unwrap());
    }
}
