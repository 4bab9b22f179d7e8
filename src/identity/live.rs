//! Who may act now, in memory, so that a token can be checked without the store: the API keys that are live, and the
//! memberships that there are.

use std::{
    collections::{HashMap, HashSet},
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::model::{KeyId, OrganizationId, Principal, ProjectId, Subject, Time, Ulid, UserId};

/// A user in an organization.
pub(super) type MemberId = (UserId, OrganizationId);

/// Which tokens of a membership are good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Standing {
    /// What access tokens name; another one with every change of the role.
    pub(super) epoch: Ulid,
    /// What refresh tokens name; another one with every change of the password.
    pub(super) session: Ulid,
}

/// Keys and memberships, and when each last signed in. A lookup, so a map behind a lock that is held for a line or two.
#[derive(Debug)]
pub(super) struct Live {
    known: Mutex<Known>,
    /// Counts what ended; who waits for an end looks again whenever it changes.
    ends: watch::Sender<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Known {
    pub(super) keys: HashMap<KeyId, Option<Time>>,
    pub(super) members: HashMap<MemberId, (Standing, Option<Time>)>,
    /// The projects that are being removed, and those that were: no token is good for them.
    pub(super) closed: HashSet<ProjectId>,
}

/// The key has been revoked, the member removed, or neither ever was.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotLive;

impl Live {
    pub(super) fn new(known: Known) -> Live {
        Live { known: Mutex::new(known), ends: watch::Sender::new(0) }
    }

    /// Whether a token that says this of its bearer is good.
    pub(super) fn holds(&self, principal: &Principal) -> bool {
        if principal.project.is_some_and(|project| self.lock().closed.contains(&project)) {
            return false;
        }
        match principal.subject {
            Subject::Key(key) => self.has_key(key),
            Subject::User { id, epoch } => {
                self.standing((id, principal.organization)).is_some_and(|standing| standing.epoch == epoch)
            }
        }
    }

    /// Resolves when a token that says this of its bearer is not good, at once if it is not now.
    pub(super) async fn ended(&self, principal: &Principal) {
        let mut ends = self.ends.subscribe();
        while self.holds(principal) {
            // The sender lives as long as `self`, so that this cannot fail while we wait.
            if ends.changed().await.is_err() {
                return;
            }
        }
    }

    pub(super) fn add_key(&self, key: KeyId) {
        self.lock().keys.insert(key, None);
    }

    pub(super) fn has_key(&self, key: KeyId) -> bool {
        self.lock().keys.contains_key(&key)
    }

    pub(super) fn key_used(&self, key: KeyId) -> Option<Time> {
        self.lock().keys.get(&key).copied().flatten()
    }

    /// Notes a use; gives the one before, or the error when there is no such key.
    pub(super) fn use_key(&self, key: KeyId, now: Time) -> Result<Option<Time>, NotLive> {
        self.lock().keys.get_mut(&key).map(|last| last.replace(now)).ok_or(NotLive)
    }

    pub(super) fn revoke_key(&self, key: KeyId) {
        self.lock().keys.remove(&key);
        self.tell();
    }

    /// Makes a membership known, or what has changed of it: what was issued under another standing ends.
    pub(super) fn set_member(&self, member: MemberId, standing: Standing) {
        let mut known = self.lock();
        let last_login = known.members.get(&member).and_then(|(_, last)| *last);
        known.members.insert(member, (standing, last_login));
        drop(known);
        self.tell();
    }

    pub(super) fn remove_member(&self, member: MemberId) {
        self.lock().members.remove(&member);
        self.tell();
    }

    pub(super) fn standing(&self, member: MemberId) -> Option<Standing> {
        self.lock().members.get(&member).map(|(standing, _)| *standing)
    }

    pub(super) fn member_login(&self, member: MemberId) -> Option<Time> {
        self.lock().members.get(&member).and_then(|(_, last)| *last)
    }

    /// Notes a sign-in of a member whose standing is this one still; gives the one before.
    pub(super) fn use_member(&self, member: MemberId, standing: Standing, now: Time) -> Result<Option<Time>, NotLive> {
        match self.lock().members.get_mut(&member) {
            Some((current, last)) if *current == standing => Ok(last.replace(now)),
            _ => Err(NotLive),
        }
    }

    /// Ends all tokens for a project.
    pub(super) fn close_project(&self, project: ProjectId) {
        self.lock().closed.insert(project);
        self.tell();
    }

    fn tell(&self) {
        self.ends.send_modify(|count| *count += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
