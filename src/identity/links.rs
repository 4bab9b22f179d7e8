//! Links: what is sent to somebody, who shows by presenting its token to have received it.
//!
//! Invariants: a token has 256 random bits and is kept as its SHA-256 alone, except for mail that nothing sends, whose
//! token is kept sealed under the root key as long as it is of use; it is good once, for one purpose and a limited time;
//! for one purpose and person there is one token, the newest.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    AccountError, Identity, IdentityError,
    record::{Id, decode, encode, place},
    sealed,
};
use crate::{
    model::{OrganizationId, Role, Secret, Time, UserId},
    store::{Revision, Transaction},
};

const TOKEN_BYTES: usize = 32;

/// The length of a token in text form.
const TOKEN_CHARACTERS: usize = 43;

const WEEK: Duration = Duration::from_hours(7 * 24);
const QUARTER: Duration = Duration::from_mins(15);

/// What a link is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Shows that mail to an address reaches its user.
    Verification,
    /// Sets another password.
    PasswordReset,
    /// Makes somebody a member of an organization.
    Invitation,
    /// Confirms that a member is to be removed. Given to who asked for it, never mailed.
    Removal,
}

impl Purpose {
    fn lifetime(self) -> Duration {
        match self {
            Purpose::Verification | Purpose::Invitation => WEEK,
            Purpose::PasswordReset | Purpose::Removal => QUARTER,
        }
    }
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LinkRecord {
    pub(super) purpose: Purpose,
    pub(super) email: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) organization: Option<Id>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<u8>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created_by: Option<Id>,
    pub(super) created_ns: i64,
    pub(super) expires_ns: i64,
    /// The token of mail that nothing sends, sealed under the root key with the record's place, in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<String>,
}

/// Whom a link is for, and what it does.
#[derive(Debug, Clone)]
pub(super) struct NewLink {
    pub(super) purpose: Purpose,
    pub(super) email: String,
    pub(super) user: Option<UserId>,
    pub(super) organization: Option<OrganizationId>,
    pub(super) role: Option<Role>,
    pub(super) created_by: Option<UserId>,
}

/// A link that was found by its token.
pub(super) struct FoundLink {
    pub(super) record: LinkRecord,
    pub(super) place: String,
    revision: Revision,
}

impl LinkRecord {
    pub(super) fn expires(&self) -> Time {
        Time::from_nanos(self.expires_ns)
    }

    pub(super) fn organization(&self) -> Option<OrganizationId> {
        self.organization.map(|id| OrganizationId(id.0))
    }

    pub(super) fn user(&self) -> Option<UserId> {
        self.user.map(|id| UserId(id.0))
    }

    /// Where it is noted which link for this purpose and person there is.
    fn slot(&self) -> String {
        let id = |id: Option<Id>| id.map(|id| id.0.to_string()).unwrap_or_default();
        match self.purpose {
            Purpose::Verification => place::link_slot("verification", &id(self.user)),
            Purpose::PasswordReset => place::link_slot("reset", &id(self.user)),
            Purpose::Invitation => {
                let whom = format!("{}/{}", id(self.organization), super::email::folded(&self.email));
                place::link_slot("invitation", &whom)
            }
            Purpose::Removal => place::link_slot("removal", &format!("{}/{}", id(self.organization), id(self.user))),
        }
    }
}

impl Identity {
    /// Adds a new link to a transaction, in place of the one that there was for the same purpose and person. Gives its
    /// token, which cannot be had again. When the commit fails with [`crate::engine::is_resealing`], a new one has to be made.
    pub(super) async fn add_link(
        &self,
        transaction: Transaction,
        new: NewLink,
    ) -> Result<(Secret, LinkRecord, Transaction), IdentityError> {
        let bytes = zeroize::Zeroizing::new(self.inner.entropy.bytes::<TOKEN_BYTES>());
        let token = Secret::new(URL_SAFE_NO_PAD.encode(bytes.as_slice()));
        let now = self.inner.clock.now();
        let lifetime = i64::try_from(new.purpose.lifetime().as_nanos()).unwrap_or(i64::MAX);
        let place = place_of(&token);
        let is_kept = self.inner.mail.is_none() && new.purpose != Purpose::Removal;
        let mut record = LinkRecord {
            purpose: new.purpose,
            email: new.email,
            user: new.user.map(|id| Id(id.0)),
            organization: new.organization.map(|id| Id(id.0)),
            role: new.role.map(|role| role as u8),
            created_by: new.created_by.map(|id| Id(id.0)),
            created_ns: now.nanos(),
            expires_ns: now.plus_nanos(lifetime).nanos(),
            sealed: None,
        };
        let mut transaction = self.without_link(transaction, &record).await?;
        if is_kept {
            transaction = transaction.and(sealed::under(&self.inner.records, &self.inner.root).await?);
            record.sealed = Some(sealed::seal(&self.inner.root, &self.inner.entropy, &place, token.expose()));
        }
        let transaction = transaction.put(place.clone(), encode(&record)).put(record.slot(), place);
        Ok((token, record, transaction))
    }

    /// Adds to a transaction that the link for a purpose and person ends, if there is one. Its slot is checked, and left
    /// to be written by the caller.
    async fn without_link(&self, transaction: Transaction, record: &LinkRecord) -> Result<Transaction, IdentityError> {
        let slot = record.slot();
        Ok(match self.inner.records.get(slot.clone()).await? {
            Some(old) => transaction.check(slot, Some(old.revision)).delete(old.value),
            None => transaction.check(slot, None),
        })
    }

    /// Adds to a transaction that every link of a user ends.
    pub(super) async fn without_links_of(
        &self,
        mut transaction: Transaction,
        user: UserId,
    ) -> Result<Transaction, IdentityError> {
        for name in ["verification", "reset"] {
            let slot = place::link_slot(name, &user.to_string());
            if let Some(old) = self.inner.records.get(slot.clone()).await? {
                transaction = transaction.check(slot.clone(), Some(old.revision)).delete(old.value).delete(slot);
            }
        }
        Ok(transaction)
    }

    /// The link of a token, if there is one for this purpose. It may have expired.
    pub(super) async fn find_link(&self, token: &str, purpose: Purpose) -> Result<FoundLink, AccountError> {
        if token.len() != TOKEN_CHARACTERS {
            return Err(AccountError::UnknownToken);
        }
        let place = place_of(&Secret::new(token));
        let found = self.inner.records.get(place.clone()).await?.ok_or(AccountError::UnknownToken)?;
        let record: LinkRecord = decode(place.as_bytes(), &found.value)?;
        if record.purpose != purpose {
            return Err(AccountError::UnknownToken);
        }
        Ok(FoundLink { record, place, revision: found.revision })
    }

    /// The link of a token, if it is good now.
    pub(super) async fn good_link(&self, token: &str, purpose: Purpose) -> Result<FoundLink, AccountError> {
        let link = self.find_link(token, purpose).await?;
        if self.inner.clock.now() >= link.record.expires() {
            return Err(AccountError::ExpiredToken);
        }
        Ok(link)
    }

    /// Removes the links that expired long enough ago for nobody to ask for them any more.
    pub(super) async fn sweep_links(&self) -> Result<(), IdentityError> {
        let week = i64::try_from(WEEK.as_nanos()).unwrap_or(i64::MAX);
        let before = self.inner.clock.now().plus_nanos(-week);
        for (key, found) in super::service::scan_all(&self.inner.records, place::LINKS).await? {
            let record: LinkRecord = decode(&key, &found.value)?;
            if record.expires() < before {
                let link =
                    FoundLink { record, place: String::from_utf8_lossy(&key).into_owned(), revision: found.revision };
                self.inner.records.commit(link.spend(Transaction::new())).await?;
            }
        }
        Ok(())
    }
}

impl FoundLink {
    /// Adds to a transaction that the link has been used for something that it may be presented for again, to no effect.
    pub(super) fn keep(&self, transaction: Transaction) -> Transaction {
        let record = LinkRecord { sealed: None, ..self.record.clone() };
        transaction.check(self.place.clone(), Some(self.revision)).put(self.place.clone(), encode(&record))
    }

    /// Adds to a transaction that the link has been used, which it can be once.
    pub(super) fn spend(&self, transaction: Transaction) -> Transaction {
        transaction.check(self.place.clone(), Some(self.revision)).delete(self.place.clone()).delete(self.record.slot())
    }
}

/// Where the link of a token lies: under the token's SHA-256, which tells nothing of a token of 256 random bits.
fn place_of(token: &Secret) -> String {
    let digest = Sha256::digest(token.expose());
    place::link(&URL_SAFE_NO_PAD.encode(digest))
}
