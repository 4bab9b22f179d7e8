//! What a server that nobody has configured starts with.

use super::{
    Identity, IdentityError, KeyOrigin,
    email::Email,
    keys::{ALPHANUMERIC, IssuedKey, NewKey, SECRET_CHARACTERS, random_text},
    record::{BootstrapRecord, Id, Organization, OrganizationRecord, Project, decode, encode, place},
    user_record::User,
};
use crate::{
    model::{OrganizationId, Permissions, ProjectId, Role, Secret, UserId},
    store::{RecordError, Revision, Transaction},
};

/// The name of the organization, and of its workspace in lower case.
const ORGANIZATION: &str = "Local";

/// The address of its owner. No mail is ever sent to it.
const OWNER: &str = "dev@localhost";

/// What the first start made.
#[derive(Debug, Clone)]
pub struct Bootstrap {
    pub organization: Organization,
    pub project: Project,
    /// A key with all permissions; only when this call made it, because its secret cannot be had again.
    pub issued: Option<IssuedKey>,
}

/// The owner of the organization of the first start.
#[derive(Debug, Clone)]
pub struct BootstrapOwner {
    pub user: User,
    /// Only when this call made the user, because the password cannot be had again.
    pub password: Option<Secret>,
}

impl Identity {
    /// Makes the organization "Local", its project "dev" and a key with all permissions, all at once, the first time it
    /// is called on these records; afterwards gives what was made then, without the key.
    pub async fn ensure_default(&self) -> Result<Bootstrap, IdentityError> {
        loop {
            if let Some(found) = self.inner.records.get(place::BOOTSTRAP).await? {
                let record: BootstrapRecord = decode(place::BOOTSTRAP.as_bytes(), &found.value)?;
                let organization = self.organization(OrganizationId(record.organization.0)).await?;
                let project = self.project(ProjectId(record.project.0)).await?;
                return Ok(Bootstrap { organization, project, issued: None });
            }
            let (organization, first) = self.new_organization(ORGANIZATION, &self.default_domain().await?);
            let (project, second) = self.new_project(organization.id, "dev")?;
            let new = NewKey {
                name: "dev".to_owned(),
                project: project.id,
                permissions: Permissions::full_key(),
                created_by: None,
            };
            let (issued, third) = self.new_key(organization.id, new, KeyOrigin::default()).await?;
            let record =
                BootstrapRecord { organization: Id(organization.id.0), project: Id(project.id.0), owner: None };
            let mut all = Transaction::new().check(place::BOOTSTRAP, None).put(place::BOOTSTRAP, encode(&record));
            for part in [first, second, third] {
                all.checks.extend(part.checks);
                all.changes.extend(part.changes);
            }
            match self.inner.records.commit(all).await {
                Ok(_) => {
                    self.inner.live.add_key(issued.key.id);
                    return Ok(Bootstrap { organization, project, issued: Some(issued) });
                }
                // Another call was faster; what it made is what there is.
                Err(RecordError::Conflict { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Makes the owner of the organization of the first start, and gives a workspace that has no name yet one, the first
    /// time it is called on these records. Gives nobody when the owner has been removed since, or when somebody else has
    /// the address.
    pub async fn ensure_default_owner(
        &self,
        organization: OrganizationId,
    ) -> Result<Option<BootstrapOwner>, IdentityError> {
        loop {
            let (record, revision) =
                self.read::<BootstrapRecord>("first organization", &organization, place::BOOTSTRAP.to_owned()).await?;
            if let Some(owner) = record.owner {
                let member = self.member(UserId(owner.0), organization).await?;
                return Ok(member.map(|member| BootstrapOwner { user: member.user, password: None }));
            }
            if self.user_of_email(OWNER).await?.is_some() {
                return Ok(None);
            }
            match self.add_default_owner(organization, record, revision).await {
                Err(IdentityError::Records { source: RecordError::Conflict { .. } }) => {}
                done => return done.map(Some),
            }
        }
    }

    /// A new random password of a user whose old one is lost. What was signed in with the old one ends.
    pub async fn renew_password(&self, user: UserId) -> Result<Secret, IdentityError> {
        let password = self.random_password();
        let hash = self.inner.hasher.hash(password.clone()).await?;
        self.replace_password(user, hash, Transaction::new()).await?;
        Ok(password)
    }

    async fn add_default_owner(
        &self,
        id: OrganizationId,
        record: BootstrapRecord,
        revision: Revision,
    ) -> Result<BootstrapOwner, IdentityError> {
        let place = place::organization(id);
        let (mut organization, organization_revision) =
            self.read::<OrganizationRecord>("organization", &id, place.clone()).await?;
        let mut all = Transaction::new();
        if organization.domain.is_empty() {
            organization.domain = self.default_domain().await?;
            let by_domain = place::domain(&organization.domain);
            all = all
                .check(place.clone(), Some(organization_revision))
                .check(by_domain.clone(), None)
                .put(place, encode(&organization))
                .put(by_domain, id.to_string());
        }
        let password = self.random_password();
        let hash = self.inner.hasher.hash(password.clone()).await?;
        let email = Email::parse(OWNER).expect("it is an address");
        let (user, all) = self.add_user(all, (&email, "dev"), hash, true);
        let member = (user.id, id);
        let (standing, all) = self.add_member(all, member, Role::Owner);
        let record = BootstrapRecord { owner: Some(Id(user.id.0)), ..record };
        let all = all
            .check(place::BOOTSTRAP, Some(revision))
            .put(place::BOOTSTRAP, encode(&record))
            .put(place::FIRST_USER, user.id.to_string());
        self.inner.records.commit(all).await?;
        self.inner.live.set_member(member, standing);
        Ok(BootstrapOwner { user, password: Some(password) })
    }

    /// The organization's name in lower case, unless another workspace has that name.
    async fn default_domain(&self) -> Result<String, IdentityError> {
        let domain = ORGANIZATION.to_lowercase();
        let taken = self.inner.records.get(place::domain(&domain)).await?.is_some();
        Ok(if taken { self.random_domain() } else { domain })
    }

    fn random_password(&self) -> Secret {
        Secret::new(random_text(&self.inner.entropy, ALPHANUMERIC, SECRET_CHARACTERS / 2))
    }
}
