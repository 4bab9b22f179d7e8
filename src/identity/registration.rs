//! Registering, and showing that an address is one's own.

use super::{
    AccountError, Identity, IdentityError, Mail, Organization, Tokens, User,
    email::Email,
    links::{NewLink, Purpose},
    record::{encode, place},
    service::Registration,
};
use crate::{
    engine::is_resealing,
    model::{OrganizationId, ProjectId, Role, Secret, UserId},
    store::{RecordError, Transaction},
};

/// The longest name of anything, in bytes.
const NAME_BYTES_MAX: usize = 1024;

/// Who registers. The password has been found strong enough.
#[derive(Debug, Clone)]
pub struct NewAccount {
    pub email: String,
    pub password: Secret,
    pub name: String,
}

/// The organization that is made with a new account. A workspace without a name gets one of random letters.
#[derive(Debug, Clone, Default)]
pub struct NewOrganization {
    pub name: String,
    pub domain: String,
    /// A project to make with this identifier.
    pub project: Option<ProjectId>,
}

/// What a registration made.
#[derive(Debug, Clone)]
pub struct Registered {
    pub user: User,
    pub organization: Organization,
    pub role: Role,
}

/// What became of a verification.
#[derive(Debug)]
pub enum Verified {
    SignedIn(Tokens),
    /// The address had been verified before.
    Already,
}

impl Identity {
    /// Makes a user and an organization of which they are the owner, in one transaction, and mails what the address is
    /// verified with. Of several at once for one address or workspace, one succeeds.
    pub async fn register(&self, new: NewAccount, wanted: NewOrganization) -> Result<Registered, AccountError> {
        self.check_registration().await?;
        let email = Email::parse(&new.email)?;
        let domain = workspace(&wanted.domain)?;
        for (field, text) in [("name", &new.name), ("organization", &wanted.name)] {
            check_text(field, text)?;
        }
        let hash = self.inner.hasher.hash(new.password).await?;
        let names = (new.name.trim(), wanted.name.trim());
        loop {
            match self.commit_registration(&email, names, &domain, (&hash, wanted.project)).await {
                Err(AccountError::Failed { source: IdentityError::Records { source } }) if is_resealing(&source) => {}
                registered => return registered,
            }
        }
    }

    async fn commit_registration(
        &self,
        email: &Email,
        (name, organization_name): (&str, &str),
        domain: &str,
        (hash, project): (&str, Option<ProjectId>),
    ) -> Result<Registered, AccountError> {
        let domain = if domain.is_empty() { self.random_domain() } else { domain.to_owned() };
        let (organization, mut all) = self.new_organization(organization_name, &domain);
        if let Some(project) = project {
            all = self.add_first_project(all, organization.id, project);
        }
        let (user, all) = self.add_user(all, (email, name), hash.to_owned(), false);
        let member = (user.id, organization.id);
        let (standing, all) = self.add_member(all, member, Role::Owner);
        let link = NewLink {
            purpose: Purpose::Verification,
            email: user.email.clone(),
            user: Some(user.id),
            organization: None,
            role: None,
            created_by: None,
        };
        let (token, record, mut all) = self.add_link(all, link).await?;
        if self.inner.registration == Registration::First {
            all = all.check(place::FIRST_USER, None);
        }
        let all = all.put(place::FIRST_USER, user.id.to_string());
        self.inner.records.commit(all).await.map_err(|error| match error {
            RecordError::Conflict { key } if &*key == place::FIRST_USER.as_bytes() => AccountError::RegistrationClosed,
            RecordError::Conflict { .. } if !is_resealing(&error) => {
                AccountError::Exists { what: "user or organization" }
            }
            error => error.into(),
        })?;
        self.inner.live.set_member(member, standing);
        self.post(Mail {
            purpose: Purpose::Verification,
            to: user.email.clone(),
            name: user.name.clone(),
            organization: None,
            inviter: None,
            token,
            expires: record.expires(),
        });
        Ok(Registered { user, organization, role: Role::Owner })
    }

    /// Refuses who may not register an organization on this server.
    async fn check_registration(&self) -> Result<(), AccountError> {
        let is_open = match self.inner.registration {
            Registration::Open => true,
            Registration::First => self.inner.records.get(place::FIRST_USER).await?.is_none(),
            Registration::Closed => false,
        };
        if is_open { Ok(()) } else { Err(AccountError::RegistrationClosed) }
    }

    /// Verifies the address that a token was mailed to, and signs its user in, to the organization that is given or to
    /// the one that they used last. An expired token is replaced by a new one, which is mailed.
    ///
    /// The token stays until its time ends, so that a second click on the link is told that all is well, and nothing else.
    pub async fn verify_email(
        &self,
        token: &str,
        organization: Option<OrganizationId>,
    ) -> Result<Verified, AccountError> {
        let link = self.find_link(token, Purpose::Verification).await?;
        let user = link.record.user().ok_or(AccountError::UnknownToken)?;
        let (mut record, revision) = self.user_record(user).await?.ok_or(AccountError::UnknownToken)?;
        if record.verified_ns.is_some() {
            return Ok(Verified::Already);
        }
        if self.inner.clock.now() >= link.record.expires() {
            self.send_verification(user).await?;
            return Err(AccountError::ExpiredToken);
        }
        let organization = match organization {
            Some(organization) if self.membership((user, organization)).await?.is_none() => {
                return Err(AccountError::InvalidCredentials);
            }
            Some(organization) => organization,
            None => self.latest_organization(user).await?.ok_or(AccountError::UnknownToken)?,
        };
        record.verified_ns = Some(self.inner.clock.now().nanos());
        // Of two clicks at the same time one signs in.
        let transaction = link.keep(Transaction::new());
        let transaction = transaction.check(place::user(user), Some(revision)).put(place::user(user), encode(&record));
        self.inner.records.commit(transaction).await.map_err(AccountError::spent)?;
        tracing::info!(%user, "address verified");
        Ok(Verified::SignedIn(self.welcome((user, organization)).await?))
    }

    /// Mails a user who has yet to verify the address a new token for it; the one before ends.
    pub(super) async fn send_verification(&self, user: UserId) -> Result<(), AccountError> {
        let Some((record, _)) = self.user_record(user).await? else { return Ok(()) };
        if record.verified_ns.is_some() {
            return Ok(());
        }
        self.send_link(user, record.email, record.name, Purpose::Verification).await
    }

    /// Mails a user a token for something that only the user may do.
    pub(super) async fn send_link(
        &self,
        user: UserId,
        email: String,
        name: String,
        purpose: Purpose,
    ) -> Result<(), AccountError> {
        let link = NewLink {
            purpose,
            email: email.clone(),
            user: Some(user),
            organization: None,
            role: None,
            created_by: None,
        };
        let (token, record) = loop {
            let (token, record, transaction) = self.add_link(Transaction::new(), link.clone()).await?;
            match self.inner.records.commit(transaction).await {
                Ok(_) => break (token, record),
                Err(error) if is_resealing(&error) => {}
                // Another one was sent at the same time.
                Err(RecordError::Conflict { .. }) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        };
        let expires = record.expires();
        self.post(Mail { purpose, to: email, name, organization: None, inviter: None, token, expires });
        Ok(())
    }
}

impl AccountError {
    /// What an error of a transaction means that uses a link.
    pub(super) fn spent(error: RecordError) -> AccountError {
        match error {
            RecordError::Conflict { .. } => AccountError::UnknownToken,
            error => error.into(),
        }
    }
}

/// The name of a workspace in the form in which names compare.
pub(super) fn workspace(name: &str) -> Result<String, AccountError> {
    check_text("domain", name)?;
    Ok(name.trim().to_lowercase())
}

pub(super) fn check_text(field: &'static str, text: &str) -> Result<(), AccountError> {
    if text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
        return Err(AccountError::Invalid { field });
    }
    Ok(())
}
