//! What owners and admins do with the members of their organization.
//!
//! Invariants: an organization keeps an owner; only an owner makes, changes or removes one; nobody reaches a member of
//! another organization. A member's keys end with the membership.

use super::{
    AccountError, ApiKey, Identity, IdentityError, Member,
    links::{FoundLink, NewLink, Purpose},
    members::Membership,
    record::{encode, place},
};
use crate::{
    model::{OrganizationId, Principal, Role, Secret, UserId},
    store::{RecordError, Transaction},
};

/// What became of a request to remove a member.
#[derive(Debug, Clone)]
pub enum Removal {
    Done,
    /// The member made these API keys, which end with the membership, so it has to be confirmed with this token.
    Asked {
        keys: Vec<ApiKey>,
        token: Secret,
    },
}

impl Identity {
    /// Changes the role of a member of the caller's organization. The member's access tokens end.
    pub async fn set_role(&self, caller: &Principal, user: UserId, role: Role) -> Result<Member, AccountError> {
        let _turn = self.inner.members.lock().await;
        let member = (user, caller.organization);
        let (mut membership, actor) = self.subject_and_actor(caller, user).await?;
        if (role == Role::Owner || membership.role == Role::Owner) && actor != Role::Owner {
            return Err(AccountError::OwnersOnly);
        }
        if membership.role == role {
            return Err(AccountError::SameRole);
        }
        let mut transaction = Transaction::new();
        if membership.role == Role::Owner {
            transaction = self.with_other_owner(transaction, user, caller.organization).await?;
        }
        membership.role = role;
        membership.record.role = role as u8;
        membership.record.epoch = self.new_epoch();
        let place = place::member(member);
        let transaction =
            transaction.check(place.clone(), Some(membership.revision)).put(place, encode(&membership.record));
        self.inner.records.commit(transaction).await?;
        self.inner.live.set_member(member, membership.record.standing());
        let found = self.user(user).await?.ok_or(AccountError::NotFound { what: "user" })?;
        Ok(self.member_of(found, caller.organization, &membership))
    }

    /// Removes a member of the caller's organization who made no API keys there. For one who did, gives the token with
    /// which the caller confirms it.
    pub async fn remove_member(&self, caller: &Principal, user: UserId) -> Result<Removal, AccountError> {
        self.remove(caller, user, None).await
    }

    /// Removes a member of the caller's organization, together with the API keys that the member made there, with the
    /// token that the caller was given for removing this member.
    pub async fn confirm_removal(&self, caller: &Principal, user: UserId, token: &str) -> Result<(), AccountError> {
        let link = self.good_link(token, Purpose::Removal).await.map_err(|error| match error {
            AccountError::ExpiredToken => AccountError::UnknownToken,
            error => error,
        })?;
        let record = &link.record;
        let asked = record.created_by.map(|id| UserId(id.0));
        let is_this = record.user() == Some(user)
            && record.organization() == Some(caller.organization)
            && asked.is_some()
            && asked == caller.subject.user();
        if !is_this {
            return Err(AccountError::UnknownToken);
        }
        self.remove(caller, user, Some(link)).await.map(drop)
    }

    /// Removes a member, and deletes a user who is left in no organization.
    async fn remove(
        &self,
        caller: &Principal,
        user: UserId,
        confirmed: Option<FoundLink>,
    ) -> Result<Removal, AccountError> {
        let _turn = self.inner.members.lock().await;
        let (membership, actor) = self.subject_and_actor(caller, user).await?;
        let mut transaction = Transaction::new();
        if membership.role == Role::Owner {
            if actor != Role::Owner {
                return Err(AccountError::OwnersOnly);
            }
            transaction = self.with_other_owner(transaction, user, caller.organization).await?;
        }
        let keys = self.keys_made_by(user, caller.organization).await?;
        match confirmed {
            Some(link) => transaction = link.spend(transaction),
            None if keys.is_empty() => {}
            None => return self.ask_removal(caller, user, keys).await,
        }
        for key in &keys {
            transaction = self.end_key(key.id, transaction).await?.1;
        }
        let member = (user, caller.organization);
        let place = place::member(member);
        transaction = transaction
            .check(place.clone(), Some(membership.revision))
            .delete(place)
            .delete(place::member_login(member))
            .delete(format!("{}{}", place::organizations_of(user), caller.organization));
        if self.organizations_of(user).await?.len() == 1 {
            transaction = self.without_user(transaction, user).await?;
        }
        self.inner.records.commit(transaction).await?;
        self.inner.live.remove_member(member);
        for key in &keys {
            self.forget_key(key);
        }
        tracing::info!(%user, organization = %caller.organization, "member removed");
        Ok(Removal::Done)
    }

    async fn ask_removal(&self, caller: &Principal, user: UserId, keys: Vec<ApiKey>) -> Result<Removal, AccountError> {
        let link = NewLink {
            purpose: Purpose::Removal,
            email: String::new(),
            user: Some(user),
            organization: Some(caller.organization),
            role: None,
            created_by: caller.subject.user(),
        };
        let token = loop {
            let (token, _, transaction) = self.add_link(Transaction::new(), link.clone()).await?;
            match self.inner.records.commit(transaction).await {
                Ok(_) => break token,
                // The token that was asked for at the same time ends.
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        };
        Ok(Removal::Asked { keys, token })
    }

    /// The membership that a caller wants to change, and the caller's own role.
    async fn subject_and_actor(&self, caller: &Principal, user: UserId) -> Result<(Membership, Role), AccountError> {
        let actor = caller.subject.user().ok_or(AccountError::OwnersOnly)?;
        let actor = self.membership((actor, caller.organization)).await?.ok_or(AccountError::OwnersOnly)?;
        let subject = self.membership((user, caller.organization)).await?;
        Ok((subject.ok_or(AccountError::NotFound { what: "user" })?, actor.role))
    }

    /// Adds to a transaction that somebody else is an owner, still.
    async fn with_other_owner(
        &self,
        transaction: Transaction,
        user: UserId,
        organization: OrganizationId,
    ) -> Result<Transaction, AccountError> {
        for member in self.members(organization).await? {
            let other = (member.user.id, organization);
            if member.role == Role::Owner
                && member.user.id != user
                && let Some(membership) = self.membership(other).await?
            {
                return Ok(transaction.check(place::member(other), Some(membership.revision)));
            }
        }
        Err(AccountError::LastOwner)
    }

    /// Adds the end of a user to a transaction.
    async fn without_user(&self, transaction: Transaction, user: UserId) -> Result<Transaction, IdentityError> {
        let Some((record, revision)) = self.user_record(user).await? else { return Ok(transaction) };
        let transaction = self.without_links_of(transaction, user).await?;
        Ok(transaction
            .check(place::user(user), Some(revision))
            .delete(place::user(user))
            .delete(place::email(&super::email::folded(&record.email))))
    }

    /// The live keys of an organization that a user asked for.
    async fn keys_made_by(&self, user: UserId, organization: OrganizationId) -> Result<Vec<ApiKey>, IdentityError> {
        let mut made = Vec::new();
        for project in self.projects(organization).await? {
            let keys = self.keys(project.id).await?;
            made.extend(keys.into_iter().filter(|key| key.created_by == Some(user)));
        }
        Ok(made)
    }
}
