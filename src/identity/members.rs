//! Users and their memberships: how they are found, and what a transaction needs to make or change them.

use super::{
    AccountError, Identity, IdentityError,
    email::{Email, folded},
    live::{MemberId, Standing},
    record::{Id, decode, encode, place},
    registration::check_text,
    service::{id_behind, scan_all},
    token::{Bearer, Whom},
    user_record::{Member, MembershipRecord, User, UserRecord},
};
use crate::{
    model::{OrganizationId, Role, Time, Ulid, UserId},
    store::{RecordError, Revision, Transaction},
    sys::new_ulid,
};

/// A membership as it is stored, with where it comes from.
pub(super) struct Membership {
    pub(super) role: Role,
    pub(super) record: MembershipRecord,
    pub(super) revision: Revision,
}

impl Identity {
    /// A user by identifier.
    pub async fn user(&self, id: UserId) -> Result<Option<User>, IdentityError> {
        Ok(self.user_record(id).await?.map(|(record, _)| record.into_user(id)))
    }

    /// A member of an organization; none for a user of other organizations alone.
    pub async fn member(&self, id: UserId, organization: OrganizationId) -> Result<Option<Member>, IdentityError> {
        let Some(membership) = self.membership((id, organization)).await? else { return Ok(None) };
        let Some((record, _)) = self.user_record(id).await? else { return Ok(None) };
        Ok(Some(self.member_of(record.into_user(id), organization, &membership)))
    }

    /// An organization's members, from old users to new ones.
    pub async fn members(&self, organization: OrganizationId) -> Result<Vec<Member>, IdentityError> {
        let prefix = place::members_of(organization);
        let mut members = Vec::new();
        for (key, _) in scan_all(&self.inner.records, &prefix).await? {
            // One who was removed since the scan is left out.
            members.extend(self.member(UserId(id_behind(&prefix, &key)?), organization).await?);
        }
        Ok(members)
    }

    /// Calls a member of an organization something else.
    pub async fn rename_user(
        &self,
        id: UserId,
        organization: OrganizationId,
        name: &str,
    ) -> Result<Member, AccountError> {
        check_text("name", name)?;
        let not_found = AccountError::NotFound { what: "user" };
        loop {
            let membership = self.membership((id, organization)).await?.ok_or_else(|| not_found.clone())?;
            let (mut record, revision) = self.user_record(id).await?.ok_or_else(|| not_found.clone())?;
            name.trim().clone_into(&mut record.name);
            record.modified_ns = Some(self.inner.clock.now().nanos());
            let place = place::user(id);
            let transaction = Transaction::new().check(place.clone(), Some(revision)).put(place, encode(&record));
            match self.inner.records.commit(transaction).await {
                Ok(_) => return Ok(self.member_of(record.into_user(id), organization, &membership)),
                // Something else of the user was changed at the same time.
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// The organizations that a user is a member of, from old to new.
    pub(super) async fn organizations_of(&self, user: UserId) -> Result<Vec<OrganizationId>, IdentityError> {
        let prefix = place::organizations_of(user);
        let found = scan_all(&self.inner.records, &prefix).await?;
        found.into_iter().map(|(key, _)| Ok(OrganizationId(id_behind(&prefix, &key)?))).collect()
    }

    pub(super) async fn user_record(&self, id: UserId) -> Result<Option<(UserRecord, Revision)>, IdentityError> {
        let place = place::user(id);
        match self.inner.records.get(place.clone()).await? {
            Some(found) => Ok(Some((decode(place.as_bytes(), &found.value)?, found.revision))),
            None => Ok(None),
        }
    }

    /// The user of an address, whether or not the text is one.
    pub(super) async fn user_of_email(
        &self,
        email: &str,
    ) -> Result<Option<(UserId, UserRecord, Revision)>, IdentityError> {
        let place = place::email(&folded(email));
        let Some(index) = self.inner.records.get(place.clone()).await? else { return Ok(None) };
        let text = std::str::from_utf8(&index.value).ok();
        let damaged = || IdentityError::Damaged { key: place, what: "it does not name a user".to_owned() };
        let id = UserId(text.and_then(|text| Ulid::parse(text).ok()).ok_or_else(damaged)?);
        Ok(self.user_record(id).await?.map(|(record, revision)| (id, record, revision)))
    }

    pub(super) async fn membership(&self, member: MemberId) -> Result<Option<Membership>, IdentityError> {
        let place = place::member(member);
        let Some(found) = self.inner.records.get(place.clone()).await? else { return Ok(None) };
        let record: MembershipRecord = decode(place.as_bytes(), &found.value)?;
        Ok(Some(Membership { role: record.role(&place)?, record, revision: found.revision }))
    }

    pub(super) fn member_of(&self, user: User, organization: OrganizationId, membership: &Membership) -> Member {
        let last_login = self.inner.live.member_login((user.id, organization));
        let joined = Time::from_nanos(membership.record.joined_ns);
        Member { user, organization, role: membership.role, joined, last_login }
    }

    /// What tokens say of a member, and which of them are good.
    pub(super) async fn member_bearer(&self, member: MemberId) -> Result<Option<(Bearer, Standing)>, IdentityError> {
        let Some(membership) = self.membership(member).await? else { return Ok(None) };
        let Some((user, _)) = self.user_record(member.0).await? else { return Ok(None) };
        let standing = membership.record.standing();
        let bearer = Bearer {
            whom: Whom::User { id: member.0, name: user.name, email: user.email, standing },
            organization: member.1,
            project: None,
            permissions: membership.role.permissions(),
        };
        Ok(Some((bearer, standing)))
    }

    /// Adds a new user to a transaction, which fails on the place of the address when it has a user.
    pub(super) fn add_user(
        &self,
        transaction: Transaction,
        (email, name): (&Email, &str),
        password_hash: String,
        is_verified: bool,
    ) -> (User, Transaction) {
        let id = UserId(new_ulid(&self.inner.clock, &self.inner.entropy));
        let now = self.inner.clock.now().nanos();
        let record = UserRecord {
            email: email.as_str().to_owned(),
            name: name.to_owned(),
            password_hash,
            verified_ns: is_verified.then_some(now),
            created_ns: now,
            modified_ns: None,
        };
        let by_email = place::email(&email.folded());
        let transaction = transaction
            .check(place::user(id), None)
            .check(by_email.clone(), None)
            .put(place::user(id), encode(&record))
            .put(by_email, id.to_string());
        (record.into_user(id), transaction)
    }

    /// Adds a new member to a transaction. Once that is stored, the standing has to be made known.
    pub(super) fn add_member(&self, transaction: Transaction, member: MemberId, role: Role) -> (Standing, Transaction) {
        let record = MembershipRecord {
            role: role as u8,
            epoch: self.new_epoch(),
            session: self.new_epoch(),
            joined_ns: self.inner.clock.now().nanos(),
        };
        let place = place::member(member);
        let transaction = transaction
            .check(place.clone(), None)
            .put(place, encode(&record))
            .put(format!("{}{}", place::organizations_of(member.0), member.1), Vec::new());
        (record.standing(), transaction)
    }

    pub(super) fn new_epoch(&self) -> Id {
        Id(new_ulid(&self.inner.clock, &self.inner.entropy))
    }
}
