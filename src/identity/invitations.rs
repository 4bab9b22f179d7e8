//! Inviting somebody to an organization, and accepting that.
//!
//! Invariants: an invitation is for one address, and good once; accepting it changes nothing for who is a member already;
//! only an owner invites an owner.

use super::{
    AccountError, Identity, Mail, Organization, Registered, Tokens, User,
    email::{Email, folded},
    links::{FoundLink, NewLink, Purpose},
    live::MemberId,
    login::signed_in,
    members::Membership,
    record::place,
    registration::{NewAccount, check_text},
};
use crate::{
    model::{Principal, Role, Secret, Time, UserId},
    store::{RecordError, Transaction},
};

/// An invitation that was made.
#[derive(Debug, Clone)]
pub struct Invitation {
    pub email: String,
    /// Who is invited, if the address has a user.
    pub user: Option<User>,
    pub organization: Organization,
    pub role: Role,
    pub created_by: UserId,
    pub created: Time,
    pub expires: Time,
}

/// What an invitation says to who has its token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationPreview {
    pub email: String,
    pub organization: String,
    pub inviter: String,
    pub role: Role,
    /// Whether the address has a user, who signs in to accept; otherwise one registers.
    pub user_exists: bool,
}

impl Identity {
    /// Invites an address to the caller's organization. An invitation that it has already ends.
    pub async fn invite(&self, caller: &Principal, email: &str, role: Role) -> Result<Invitation, AccountError> {
        let inviter = caller.subject.user().ok_or(AccountError::OwnersOnly)?;
        let actor = self.member(inviter, caller.organization).await?.ok_or(AccountError::OwnersOnly)?;
        if role == Role::Owner && actor.role != Role::Owner {
            return Err(AccountError::OwnersOnly);
        }
        let email = Email::parse(email)?;
        let organization = self.organization(caller.organization).await?;
        let invited = self.user_of_email(email.as_str()).await?.map(|(id, record, _)| record.into_user(id));
        if let Some(user) = &invited
            && self.membership((user.id, organization.id)).await?.is_some()
        {
            return Err(AccountError::Exists { what: "member" });
        }
        let link = NewLink {
            purpose: Purpose::Invitation,
            email: email.as_str().to_owned(),
            user: None,
            organization: Some(organization.id),
            role: Some(role),
            created_by: Some(inviter),
        };
        let (token, record) = loop {
            let (token, record, transaction) = self.add_link(Transaction::new(), link.clone()).await?;
            match self.inner.records.commit(transaction).await {
                Ok(_) => break (token, record),
                // The one that was sent at the same time ends, as one that was sent before does.
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        };
        self.post(Mail {
            purpose: Purpose::Invitation,
            to: email.as_str().to_owned(),
            name: invited.as_ref().map(|user| user.name.clone()).unwrap_or_default(),
            organization: Some(organization.name.clone()),
            inviter: Some(actor.user.name),
            token,
            expires: record.expires(),
        });
        let (created, expires) = (Time::from_nanos(record.created_ns), record.expires());
        Ok(Invitation { email: record.email, user: invited, organization, role, created_by: inviter, created, expires })
    }

    /// What an invitation says, without using it.
    pub async fn preview_invitation(&self, token: &str) -> Result<InvitationPreview, AccountError> {
        let (link, role) = self.invitation(token).await?;
        let organization = link.record.organization().ok_or(AccountError::UnknownToken)?;
        let inviter = match link.record.created_by {
            Some(user) => self.user(UserId(user.0)).await?,
            None => None,
        };
        Ok(InvitationPreview {
            user_exists: self.user_of_email(&link.record.email).await?.is_some(),
            organization: self.organization(organization).await?.name,
            inviter: inviter.map(|user| user.name).unwrap_or_default(),
            role,
            email: link.record.email,
        })
    }

    /// Makes the caller a member of the organization of an invitation to the caller's address, and signs them in to it. A
    /// token for one project is not good for that.
    pub async fn accept_invitation(&self, caller: &Principal, token: &str) -> Result<Tokens, AccountError> {
        let user = signed_in(caller).ok_or(AccountError::InvalidCredentials)?;
        let (record, _) = self.user_record(user).await?.ok_or(AccountError::InvalidCredentials)?;
        if record.verified_ns.is_none() {
            return Err(AccountError::Unverified);
        }
        let member = self.join(user, &record.email, token).await?;
        self.sign_in(member, &record.password_hash).await
    }

    /// Signs a user in with an invitation to their address, which is accepted by it.
    pub async fn login_invited(&self, email: &str, password: &Secret, token: &str) -> Result<Tokens, AccountError> {
        let (user, record) = self.check_login(email, password).await?;
        let member = self.join(user, &record.email, token).await?;
        self.sign_in(member, &record.password_hash).await
    }

    /// Makes a user with nothing but an invitation, whatever registrations this server takes. Who has the token of mail to
    /// an address has shown to be reached there.
    pub async fn register_invited(&self, new: NewAccount, token: &str) -> Result<Registered, AccountError> {
        let (link, role) = self.invitation(token).await?;
        let email = Email::parse(&new.email)?;
        check_text("name", &new.name)?;
        if folded(&link.record.email) != email.folded() {
            return Err(AccountError::UnknownToken);
        }
        let id = link.record.organization().ok_or(AccountError::UnknownToken)?;
        let organization = self.organization(id).await?;
        let hash = self.inner.hasher.hash(new.password).await?;
        let _turn = self.inner.members.lock().await;
        let (user, all) = self.add_user(link.spend(Transaction::new()), (&email, new.name.trim()), hash, true);
        let member = (user.id, id);
        let (standing, all) = self.add_member(all, member, role);
        let all = all.put(place::FIRST_USER, user.id.to_string());
        self.inner.records.commit(all).await.map_err(|error| match error {
            RecordError::Conflict { key } if &*key == link.place.as_bytes() => AccountError::UnknownToken,
            RecordError::Conflict { .. } => AccountError::Exists { what: "user or organization" },
            error => error.into(),
        })?;
        self.inner.live.set_member(member, standing);
        Ok(Registered { user, organization, role })
    }

    /// Uses an invitation for the user of an address.
    async fn join(&self, user: UserId, email: &str, token: &str) -> Result<MemberId, AccountError> {
        let _turn = self.inner.members.lock().await;
        let (link, role) = self.invitation(token).await?;
        if folded(&link.record.email) != folded(email) {
            return Err(AccountError::UnknownToken);
        }
        let organization = link.record.organization().ok_or(AccountError::UnknownToken)?;
        let (_, revision) = self.user_record(user).await?.ok_or(AccountError::InvalidCredentials)?;
        let member = (user, organization);
        let spent = link.spend(Transaction::new()).check(place::user(user), Some(revision));
        let existing: Option<Membership> = self.membership(member).await?;
        if existing.is_some() {
            self.inner.records.commit(spent).await.map_err(AccountError::spent)?;
            return Ok(member);
        }
        let (standing, transaction) = self.add_member(spent, member, role);
        self.inner.records.commit(transaction).await.map_err(AccountError::spent)?;
        self.inner.live.set_member(member, standing);
        tracing::info!(%user, %organization, %role, "member joined");
        Ok(member)
    }

    /// An invitation that is good now, with the role that it gives. Whoever made it has to be a member still who may give
    /// that role.
    async fn invitation(&self, token: &str) -> Result<(FoundLink, Role), AccountError> {
        let link = self.good_link(token, Purpose::Invitation).await?;
        let role = link.record.role.and_then(Role::from_number).ok_or(AccountError::UnknownToken)?;
        let (Some(organization), Some(inviter)) = (link.record.organization(), link.record.created_by) else {
            return Err(AccountError::UnknownToken);
        };
        let inviter = self.membership((UserId(inviter.0), organization)).await?.ok_or(AccountError::UnknownToken)?;
        let may = if role == Role::Owner { inviter.role == Role::Owner } else { inviter.role <= Role::Admin };
        if may { Ok((link, role)) } else { Err(AccountError::UnknownToken) }
    }
}
