//! What tests need and nobody else may do: members of any role, without an invitation.

use super::{Identity, Tokens, email::Email, members::Membership};
use crate::{
    model::{OrganizationId, Role},
    store::Transaction,
    sys::new_ulid,
};

impl Identity {
    /// Makes a member of a role, and signs that member in.
    pub(crate) async fn sign_in_as(&self, organization: OrganizationId, role: Role) -> Tokens {
        let name = new_ulid(&self.inner.clock, &self.inner.entropy).to_string();
        let email = Email::parse(&format!("{name}@example.com")).unwrap();
        let (user, transaction) = self.add_user(Transaction::new(), (&email, &name), String::new(), true);
        let member = (user.id, organization);
        let (standing, transaction) = self.add_member(transaction, member, role);
        self.inner.records.commit(transaction).await.unwrap();
        self.inner.live.set_member(member, standing);
        let membership: Option<Membership> = self.membership(member).await.unwrap();
        assert_eq!(membership.map(|membership| membership.role), Some(role));
        let (bearer, _) = self.member_bearer(member).await.unwrap().unwrap();
        self.issue(&bearer, None, self.inner.clock.now())
    }
}
