//! Mail: what is to be sent, and what becomes of it where nothing sends mail.

use std::fmt;

use super::{
    Identity, IdentityError,
    links::{LinkRecord, Purpose},
    record::{decode, place},
    sealed,
    service::scan_all,
};
use crate::model::{OrganizationId, Permission, Principal, Role, Secret, Time};

/// A message with a token to somebody. What it looks like is up to whoever sends it.
#[derive(Debug, Clone)]
pub struct Mail {
    pub purpose: Purpose,
    pub to: String,
    /// How the receiver is called, if that is known.
    pub name: String,
    /// The organization that somebody is invited to.
    pub organization: Option<String>,
    /// Who invites.
    pub inviter: Option<String>,
    pub token: Secret,
    pub expires: Time,
}

/// Mail that nothing sent.
#[derive(Debug, Clone)]
pub struct KeptMail {
    pub purpose: Purpose,
    pub to: String,
    pub token: Secret,
    pub created: Time,
    pub expires: Time,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Purpose::Verification => "verification",
            Purpose::PasswordReset => "password reset",
            Purpose::Invitation => "invitation",
            Purpose::Removal => "removal",
        })
    }
}

impl Identity {
    /// Hands mail over to whoever sends it. Where nothing does, the token is in the log, so that whoever runs the server
    /// can pass it on: the one place where a token is in a log.
    pub(super) fn post(&self, mail: Mail) {
        let Some(outbox) = &self.inner.mail else {
            let token = mail.token.expose_str().unwrap_or_default();
            tracing::warn!(to = %mail.to, purpose = %mail.purpose, token, "no mail is sent from here: pass the token on");
            return;
        };
        if let Err(error) = outbox.try_send(mail) {
            let mail = error.into_inner();
            tracing::warn!(to = %mail.to, purpose = %mail.purpose, "mail given up: too much waits to be sent");
        }
    }

    /// The mail that nothing sent and that is of use still, as far as the caller may act for its receivers, from old to
    /// new.
    ///
    /// Who may add members sees the invitations to the organization. What verifies an address or sets another password
    /// lets its bearer be that user, so it is for an owner alone, of the only organization that the user is in. The
    /// owners of the organization that the server made by itself run the server, and read its log: they see everything.
    pub async fn kept_mail(&self, caller: &Principal) -> Result<Vec<KeptMail>, IdentityError> {
        let own = caller.organization;
        let role = match caller.subject.user() {
            Some(user) => self.membership((user, own)).await?.map(|membership| membership.role),
            None => None,
        };
        let is_owner = role == Some(Role::Owner);
        let is_operator = is_owner && self.is_first_organization(own).await?;
        let now = self.inner.clock.now();
        let mut kept = Vec::new();
        for (key, found) in scan_all(&self.inner.records, place::LINKS).await? {
            let record: LinkRecord = decode(&key, &found.value)?;
            let Some(sealed) = record.sealed.as_ref().filter(|_| now < record.expires()) else { continue };
            if !is_operator && !self.is_readable(&record, caller, is_owner).await? {
                continue;
            }
            let context = String::from_utf8_lossy(&key);
            let token = sealed::open(&self.inner.root, &context, sealed);
            let token = token.ok_or_else(|| IdentityError::Sealed { context: context.clone().into_owned() })?;
            kept.push(KeptMail {
                purpose: record.purpose,
                expires: record.expires(),
                created: Time::from_nanos(record.created_ns),
                to: record.email,
                token: Secret::new(token.to_vec()),
            });
        }
        kept.sort_by_key(|mail| mail.created);
        Ok(kept)
    }

    async fn is_readable(
        &self,
        record: &LinkRecord,
        caller: &Principal,
        is_owner: bool,
    ) -> Result<bool, IdentityError> {
        if record.purpose == Purpose::Invitation {
            return Ok(record.organization() == Some(caller.organization)
                && caller.permissions.contains(Permission::CollaboratorsAdd));
        }
        match record.user() {
            Some(user) if is_owner => Ok(self.organizations_of(user).await? == [caller.organization]),
            _ => Ok(false),
        }
    }

    /// Whether the server made an organization by itself.
    async fn is_first_organization(&self, organization: OrganizationId) -> Result<bool, IdentityError> {
        use super::record::BootstrapRecord;
        match self.inner.records.get(place::BOOTSTRAP).await? {
            Some(found) => {
                let record: BootstrapRecord = decode(place::BOOTSTRAP.as_bytes(), &found.value)?;
                Ok(record.organization.0 == organization.0)
            }
            None => Ok(false),
        }
    }
}
