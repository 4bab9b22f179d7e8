//! Signing in with an address and a password, and from one organization into another.

use super::{AccountError, Identity, IdentityError, Tokens, live::MemberId, service::Use, user_record::UserRecord};
use crate::model::{OrganizationId, Principal, Secret, UserId};

impl Identity {
    /// Signs a user in to an organization of theirs; without one given, to the one that they signed in to last.
    ///
    /// An unknown address takes as long as a wrong password. Whether an address has been verified is told to none but
    /// those who know the password.
    pub async fn login(
        &self,
        email: &str,
        password: &Secret,
        organization: Option<OrganizationId>,
    ) -> Result<Tokens, AccountError> {
        let (id, record) = self.check_login(email, password).await?;
        let organization = match organization {
            Some(organization) => organization,
            None => self.latest_organization(id).await?.ok_or(AccountError::InvalidCredentials)?,
        };
        self.sign_in((id, organization), &record.password_hash).await
    }

    /// Signs a user who is signed in to one organization in to another. A token for one project is not good for that.
    pub async fn switch(&self, caller: &Principal, organization: OrganizationId) -> Result<Tokens, AccountError> {
        let user = signed_in(caller).ok_or(AccountError::InvalidCredentials)?;
        let (record, _) = self.user_record(user).await?.ok_or(AccountError::InvalidCredentials)?;
        if !self.inner.live.holds(caller) {
            return Err(AccountError::InvalidCredentials);
        }
        self.sign_in((user, organization), &record.password_hash).await
    }

    /// The user of an address and a password.
    pub(super) async fn check_login(
        &self,
        email: &str,
        password: &Secret,
    ) -> Result<(UserId, UserRecord), AccountError> {
        let found = self.user_of_email(email).await?;
        let hash = found.as_ref().map(|(_, record, _)| record.password_hash.clone());
        if !self.inner.hasher.verify(password.clone(), hash).await? {
            return Err(AccountError::InvalidCredentials);
        }
        let (id, record, _) = found.ok_or(AccountError::InvalidCredentials)?;
        if record.verified_ns.is_none() {
            return Err(AccountError::Unverified);
        }
        Ok((id, record))
    }

    /// Issues tokens to a member who has shown to be the user with this password, unless the password or the membership
    /// has been replaced meanwhile.
    pub(super) async fn sign_in(&self, member: MemberId, password_hash: &str) -> Result<Tokens, AccountError> {
        let _turn = self.inner.members.lock().await;
        let user = self.user_record(member.0).await?;
        if user.is_none_or(|(record, _)| record.password_hash != password_hash) {
            return Err(AccountError::InvalidCredentials);
        }
        let (bearer, standing) = self.member_bearer(member).await?.ok_or(AccountError::InvalidCredentials)?;
        let now = self.inner.clock.now();
        let used = self.inner.live.use_member(member, standing, now);
        let last_login = used.map_err(|_| AccountError::InvalidCredentials)?;
        // If the uses already wait in masses, this one may go unrecorded; the sign-in itself must not wait for it.
        self.inner.uses.try_send(Use::Member(member, now)).ok();
        Ok(self.issue(&bearer, last_login, now))
    }

    /// Issues tokens to a member who has shown to be the user without signing in.
    pub(super) async fn welcome(&self, member: MemberId) -> Result<Tokens, AccountError> {
        let _turn = self.inner.members.lock().await;
        let (bearer, _) = self.member_bearer(member).await?.ok_or(AccountError::InvalidCredentials)?;
        Ok(self.issue(&bearer, None, self.inner.clock.now()))
    }

    /// The organization that a user signed in to last; the oldest one for who never did.
    pub(super) async fn latest_organization(&self, user: UserId) -> Result<Option<OrganizationId>, IdentityError> {
        let organizations = self.organizations_of(user).await?;
        // Of several that compare equal, the last is taken; so they come from new to old.
        let latest = organizations.into_iter().rev().max_by_key(|id| self.inner.live.member_login((user, *id)));
        Ok(latest)
    }
}

/// The user who signed in; none for the bearer of a token that permits less, and not for as long.
pub(super) fn signed_in(caller: &Principal) -> Option<UserId> {
    caller.subject.user().filter(|_| caller.project.is_none())
}
