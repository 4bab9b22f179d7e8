//! Users and memberships: signing in, what ends whose tokens, and who may change whom.

use std::time::Duration;

use super::{email::Email, tests::*, *};
use crate::{
    model::{OrganizationId, Permissions, Principal, Role, Secret, Subject, Time, UserId},
    store::{Store, Transaction},
    sys::ManualClock,
};

const PASSWORD: &str = "correct horse battery staple";

impl World {
    /// A verified user in an organization.
    pub(super) async fn joined(&self, email: &str, organization: OrganizationId, role: Role) -> UserId {
        let inner = &self.identity.inner;
        let hash = inner.hasher.hash(Secret::new(PASSWORD)).await.unwrap();
        let email = Email::parse(email).unwrap();
        let (user, transaction) = self.identity.add_user(Transaction::new(), (&email, "Ann"), hash, true);
        let (standing, transaction) = self.identity.add_member(transaction, (user.id, organization), role);
        inner.records.commit(transaction).await.unwrap();
        inner.live.set_member((user.id, organization), standing);
        user.id
    }

    pub(super) async fn login(&self, email: &str) -> Tokens {
        self.identity.login(email, &Secret::new(PASSWORD), None).await.unwrap()
    }

    /// Who the bearer of an access token is.
    pub(super) fn caller(&self, tokens: &Tokens) -> Principal {
        self.verify(&tokens.access).unwrap()
    }

    fn local(&self) -> OrganizationId {
        self.issued.key.organization
    }
}

#[tokio::test]
async fn the_owner_of_the_first_start_signs_in() {
    let world = world().await;
    let (email, password) = world.owner();
    assert_eq!((email.as_str(), password.expose().len()), ("dev@localhost", 32));
    let tokens = world.identity.login(" Dev@LOCALHOST ", &password, None).await.unwrap();
    assert_eq!(tokens.last_login, None);
    let principal = world.caller(&tokens);
    assert_eq!((principal.organization, principal.project), (world.local(), None));
    assert_eq!(principal.permissions, Role::Owner.permissions());
    assert!(matches!(principal.subject, Subject::User { .. }));

    let again = world.identity.login(&email, &password, Some(world.local())).await.unwrap();
    assert_eq!(again.last_login, Some(Time::from_nanos(NOW * 1_000_000_000 + 250_000_000)));
    world.identity.flush().await;
    let reopened = open(&world.records, &world.time).await;
    assert_eq!(reopened.verify(tokens.access.expose_str().unwrap()), Ok(principal.clone()));
    let user = principal.subject.user().unwrap();
    let member = reopened.member(user, world.local()).await.unwrap().unwrap();
    assert_eq!((member.role, member.last_login), (Role::Owner, again.last_login));
}

#[tokio::test]
async fn the_claims_of_a_user() {
    let world = world().await;
    let (email, password) = world.owner();
    let tokens = world.identity.login(&email, &password, None).await.unwrap();
    let (access, refresh) = (part(&tokens.access, 1), part(&tokens.refresh, 1));
    let names = |claims: &serde_json::Value| claims.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(names(&access), "jti sub aud iss iat nbf exp name email org permissions epoch");
    assert_eq!(names(&refresh), "jti sub aud iss iat nbf exp org epoch");
    assert_eq!((&access["name"], &access["email"]), (&"dev".into(), &"dev@localhost".into()));
    assert_eq!(access["permissions"].as_array().unwrap().len(), 18);
    assert_ne!(access["epoch"], refresh["epoch"]);
}

#[tokio::test]
async fn wrong_credentials_of_users_are_refused_alike() {
    let world = world().await;
    let (email, password) = world.owner();
    let foreign = world.identity.create_organization("Other").await.unwrap().id;
    let refused = async |email: &str, password: &Secret, organization| {
        world.identity.login(email, password, organization).await.expect_err("it must be refused").to_string()
    };
    for (email, password, organization) in [
        (email.as_str(), Secret::new("wrong"), None),
        (&email, Secret::new(""), None),
        ("nobody@localhost", password.clone(), None),
        ("", password.clone(), None),
        ("a/../b", password.clone(), None),
        (&email, password.clone(), Some(foreign)),
        (&email, password.clone(), Some(OrganizationId::default())),
    ] {
        assert_eq!(refused(email, &password, organization).await, "invalid credentials", "{email}");
    }
}

#[tokio::test]
async fn records_of_a_time_without_users_get_an_owner() {
    let world = world().await;
    // What the version before users wrote.
    let place = "identity/bootstrap";
    let found = world.records.get(place).await.unwrap().unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&found.value).unwrap();
    let old = record["record"].as_object_mut().unwrap().remove("owner").unwrap();
    let user = crate::model::Ulid::parse(old.as_str().unwrap()).unwrap();
    let organization = world.local();
    let named = format!("identity/organization/{organization}");
    let bare = serde_json::json!({"version": 1, "record": {"name": "Local", "created_ns": 7}});
    let transaction = Transaction::new()
        .put(place, record.to_string())
        .put(named, bare.to_string())
        .delete("identity/domain/local")
        .delete("identity/email/dev@localhost")
        .delete(format!("identity/user/{user}"))
        .delete(format!("identity/member/{organization}/{user}"));
    world.records.commit(transaction).await.unwrap();

    let reopened = open(&world.records, &world.time).await;
    let made = reopened.ensure_default().await.unwrap();
    assert_eq!((made.organization.id, made.organization.domain.as_str()), (organization, ""));
    assert!(made.issued.is_none());
    let owner = reopened.ensure_default_owner(organization).await.unwrap().unwrap();
    reopened.login("dev@localhost", &owner.password.unwrap(), None).await.unwrap();
    let again = reopened.ensure_default_owner(organization).await.unwrap().unwrap();
    assert_eq!((again.user.id, again.password.is_none()), (owner.user.id, true));
    assert_eq!(reopened.organization(organization).await.unwrap().domain, "local");
}

/// An old token ends when the role changes, and one that is issued within the same second, and with a clock that was set
/// back, is good.
#[tokio::test]
async fn a_changed_role_ends_old_tokens() {
    let world = world().await;
    let owner = world.caller(&world.owner_login().await);
    let ann = world.joined("ann@example.com", world.local(), Role::Admin).await;
    let before = world.login("ann@example.com").await;
    let told = tokio::spawn({
        let (identity, principal) = (world.identity.clone(), world.caller(&before));
        async move { identity.revoked(&principal).await }
    });
    tokio::task::yield_now().await;
    assert!(!told.is_finished());

    let member = world.identity.set_role(&owner, ann, Role::Observer).await.unwrap();
    assert_eq!(member.role, Role::Observer);
    assert_eq!(world.verify(&before.access), Err(TokenError::Revoked));
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("what waits is told").unwrap();
    let after = world.login("ann@example.com").await;
    assert_eq!(world.caller(&after).permissions, Role::Observer.permissions());
    assert!(world.verify(&world.owner_login().await.access).is_ok(), "the others' are good");

    world.identity.set_role(&owner, ann, Role::Member).await.unwrap();
    world.time.set(Time::from_parts(NOW - 3600, 0));
    let later = world.login("ann@example.com").await;
    assert_eq!(world.caller(&later).permissions, Role::Member.permissions());
    assert!(world.verify(&after.access).is_err());
    // What was stored says so as well.
    let reopened = open(&world.records, &world.time).await;
    assert!(reopened.verify(later.access.expose_str().unwrap()).is_ok());
    world.time.set(Time::from_parts(NOW + 60, 0));
    assert_eq!(reopened.verify(after.access.expose_str().unwrap()), Err(TokenError::Revoked));
}

#[tokio::test]
async fn refreshing_gives_the_permissions_of_now() {
    let world = world().await;
    let owner = world.caller(&world.owner_login().await);
    let ann = world.joined("ann@example.com", world.local(), Role::Admin).await;
    let first = world.login("ann@example.com").await;
    world.identity.set_role(&owner, ann, Role::Observer).await.unwrap();
    world.time.set(Time::from_parts(NOW + 2700, 0));
    let second = world.identity.refresh(&first.refresh, None).await.unwrap();
    assert_eq!(second.last_login, Some(Time::from_parts(NOW, 0)));
    assert_eq!(world.caller(&second).permissions, Role::Observer.permissions());
    let claims = part(&second.access, 1);
    assert_eq!((&claims["name"], &claims["email"]), (&"Ann".into(), &"ann@example.com".into()));
    // A refresh token's epoch is none that an access token could have, and the other way round.
    let dressed = world.altered(&first.refresh, |claims| {
        claims["aud"] = serde_json::json!(["http://localhost:5356"]);
        claims["permissions"] = serde_json::json!(["organizations:edit"]);
    });
    assert_eq!(world.verify(&dressed), Err(TokenError::Revoked));

    world.identity.remove_member(&owner, ann).await.unwrap();
    assert!(matches!(world.identity.refresh(&first.refresh, None).await, Err(AuthError::Refused { .. })));
    assert!(matches!(world.identity.refresh(&second.refresh, None).await, Err(AuthError::Refused { .. })));
}

#[tokio::test]
async fn a_new_password_ends_every_session() {
    let world = world().await;
    let (email, old) = world.owner();
    let tokens = world.identity.login(&email, &old, None).await.unwrap();
    let user = world.caller(&tokens).subject.user().unwrap();
    let new = world.identity.renew_password(user).await.unwrap();
    assert_eq!(world.verify(&tokens.access), Err(TokenError::Revoked));
    world.time.set(Time::from_parts(NOW + 2700, 0));
    assert!(matches!(world.identity.refresh(&tokens.refresh, None).await, Err(AuthError::Refused { .. })));
    assert!(world.identity.login(&email, &old, None).await.is_err());
    world.identity.login(&email, &new, None).await.unwrap();
}

#[tokio::test]
async fn a_removed_member_is_out_at_once_and_may_come_back() {
    let world = world().await;
    let owner = world.caller(&world.owner_login().await);
    let ann = world.joined("ann@example.com", world.local(), Role::Member).await;
    let old = world.login("ann@example.com").await;
    let new = NewKey {
        name: "hers".to_owned(),
        project: world.issued.key.project,
        permissions: Permissions::full_key(),
        created_by: Some(ann),
    };
    let hers = world.identity.create_key(new).await.unwrap();
    let signed_in = world.identity.authenticate(&hers.key.client_id, &hers.secret).await.unwrap();

    let asked = world.identity.remove_member(&owner, ann).await.unwrap();
    let Removal::Asked { keys, token } = asked else { panic!("{asked:?}") };
    assert_eq!(keys.iter().map(|key| key.name.as_str()).collect::<Vec<_>>(), ["hers"]);
    assert!(world.verify(&old.access).is_ok(), "nothing has happened yet");
    world.identity.confirm_removal(&owner, ann, token.expose_str().unwrap()).await.unwrap();
    assert_eq!(world.verify(&old.access), Err(TokenError::Revoked));
    assert_eq!(world.verify(&signed_in.access), Err(TokenError::Revoked), "the key went with its maker");
    assert!(world.verify(&world.sign_in().await.access).is_ok(), "another key did not");
    assert!(world.identity.user(ann).await.unwrap().is_none(), "it was the last organization");
    assert!(world.identity.login("ann@example.com", &Secret::new(PASSWORD), None).await.is_err());

    world.joined("ann@example.com", world.local(), Role::Member).await;
    world.login("ann@example.com").await;
    assert!(world.verify(&old.access).is_err(), "what ended stays ended");
}

#[tokio::test]
async fn who_may_change_whom() {
    let world = world().await;
    let organization = world.local();
    let owner = world.caller(&world.owner_login().await);
    let own = owner.subject.user().unwrap();
    let ann = world.joined("ann@example.com", organization, Role::Admin).await;
    let bob = world.joined("bob@example.com", organization, Role::Member).await;
    let admin = world.caller(&world.login("ann@example.com").await);
    let refused = async |caller: &Principal, user, role| {
        world.identity.set_role(caller, user, role).await.expect_err("it must be refused").to_string()
    };
    let owners_only = AccountError::OwnersOnly.to_string();
    assert_eq!(refused(&admin, ann, Role::Owner).await, owners_only, "not even themselves");
    assert_eq!(refused(&admin, bob, Role::Owner).await, owners_only);
    assert_eq!(refused(&admin, own, Role::Observer).await, owners_only);
    assert_eq!(refused(&owner, own, Role::Admin).await, AccountError::LastOwner.to_string());
    assert_eq!(refused(&owner, bob, Role::Member).await, AccountError::SameRole.to_string());
    assert!(matches!(world.identity.remove_member(&admin, own).await, Err(AccountError::OwnersOnly)));
    assert!(matches!(world.identity.remove_member(&owner, own).await, Err(AccountError::LastOwner)));

    let foreign = world.identity.create_organization("Other").await.unwrap().id;
    let stranger = world.joined("eve@example.com", foreign, Role::Owner).await;
    assert_eq!(refused(&owner, stranger, Role::Observer).await, "there is no such user in the organization");
    let removed = world.identity.remove_member(&owner, stranger).await;
    assert!(matches!(removed, Err(AccountError::NotFound { .. })));
    let key = world.verify(&world.sign_in().await.access).unwrap();
    assert!(matches!(world.identity.set_role(&key, bob, Role::Admin).await, Err(AccountError::OwnersOnly)));

    world.identity.set_role(&admin, bob, Role::Observer).await.unwrap();
    world.identity.set_role(&owner, ann, Role::Owner).await.unwrap();
    assert!(matches!(world.identity.remove_member(&owner, own).await, Ok(Removal::Done)));
}

/// Of two owners that leave at the same time, one stays.
#[tokio::test]
async fn two_owners_cannot_both_leave() {
    let world = world().await;
    let organization = world.local();
    let owner = world.caller(&world.owner_login().await);
    let ann = world.joined("ann@example.com", organization, Role::Owner).await;
    let other = world.caller(&world.login("ann@example.com").await);
    let (first, second) = tokio::join!(
        world.identity.remove_member(&owner, owner.subject.user().unwrap()),
        world.identity.set_role(&other, ann, Role::Member),
    );
    assert!(first.is_ok() != second.is_ok(), "{first:?} {second:?}");
    let owners = world.identity.members(organization).await.unwrap();
    assert_eq!(owners.iter().filter(|member| member.role == Role::Owner).count(), 1);
}

#[tokio::test]
async fn the_organization_used_last_is_the_default() {
    let world = world().await;
    world.time.advance(Duration::from_millis(1));
    let foreign = world.identity.create_organization("Other").await.unwrap().id;
    let ann = world.joined("ann@example.com", world.local(), Role::Member).await;
    let (standing, transaction) = world.identity.add_member(Transaction::new(), (ann, foreign), Role::Owner);
    world.records.commit(transaction).await.unwrap();
    world.identity.inner.live.set_member((ann, foreign), standing);

    let first = world.caller(&world.login("ann@example.com").await);
    assert_eq!(first.organization, world.local(), "the oldest, when none was used");
    world.time.advance(Duration::from_secs(1));
    let switched = world.caller(&world.identity.switch(&first, foreign).await.unwrap());
    assert_eq!((switched.organization, switched.permissions), (foreign, Role::Owner.permissions()));
    assert_eq!(world.caller(&world.login("ann@example.com").await).organization, foreign);
    let nowhere = OrganizationId::default();
    assert!(matches!(world.identity.switch(&first, nowhere).await, Err(AccountError::InvalidCredentials)));
    let key = world.verify(&world.sign_in().await.access).unwrap();
    assert!(matches!(world.identity.switch(&key, foreign).await, Err(AccountError::InvalidCredentials)));
}

#[tokio::test]
async fn somebody_elses_address_is_not_taken_for_the_owner() {
    let (records, time) = (Store::memory().records, ManualClock::default());
    let identity = open(&records, &time).await;
    let other = identity.create_organization("Other").await.unwrap().id;
    let email = Email::parse("dev@localhost").unwrap();
    let (user, transaction) = identity.add_user(Transaction::new(), (&email, "Eve"), "-".to_owned(), true);
    let (_, transaction) = identity.add_member(transaction, (user.id, other), Role::Owner);
    records.commit(transaction).await.unwrap();
    for _ in 0..2 {
        let made = identity.ensure_default().await.unwrap();
        assert!(identity.ensure_default_owner(made.organization.id).await.unwrap().is_none());
        assert_eq!(identity.members(made.organization.id).await.unwrap(), []);
    }
}

/// A token for one project is for little, and for minutes; whoever has got hold of one gets no further with it.
#[tokio::test]
async fn a_token_for_one_project_gives_no_other() {
    let world = world().await;
    let (project, owner) = (world.issued.key.project, world.caller(&world.owner_login().await));
    let ann = world.joined("ann@example.com", world.local(), Role::Admin).await;
    let caller = world.caller(&world.login("ann@example.com").await);
    let access = world.identity.project_access(&caller, project).await.unwrap();
    let narrow = world.verify(&access).unwrap();
    assert!(world.identity.project_access(&narrow, project).await.is_err());
    let other = world.identity.create_organization("Other").await.unwrap().id;
    let inner = &world.identity.inner;
    let (standing, transaction) = world.identity.add_member(Transaction::new(), (ann, other), Role::Owner);
    inner.records.commit(transaction).await.unwrap();
    inner.live.set_member((ann, other), standing);
    assert!(matches!(world.identity.switch(&narrow, other).await, Err(AccountError::InvalidCredentials)));
    assert!(matches!(world.identity.accept_invitation(&narrow, "x").await, Err(AccountError::InvalidCredentials)));
    world.identity.switch(&caller, other).await.unwrap();

    // Nor does what was permitted before the role changed.
    world.identity.set_role(&owner, ann, Role::Observer).await.unwrap();
    assert!(world.identity.project_access(&caller, project).await.is_err());
}

/// The key would outlive its maker's membership, which ends those that are there.
#[tokio::test]
async fn a_key_is_not_made_for_who_is_removed_meanwhile() {
    let world = world().await;
    let owner = world.caller(&world.owner_login().await);
    let ann = world.joined("ann@example.com", world.local(), Role::Admin).await;
    let new = NewKey {
        name: "hers".to_owned(),
        project: world.issued.key.project,
        permissions: Permissions::full_key(),
        created_by: Some(ann),
    };
    let making = world.identity.create_key_of(world.local(), new.clone(), KeyOrigin::default());
    let (made, removed) = tokio::join!(making, world.identity.remove_member(&owner, ann));
    assert!(matches!(removed, Ok(Removal::Done)), "{removed:?}");
    assert!(matches!(made, Err(ResourceError::Changed)), "{made:?}");
    let again = world.identity.create_key_of(world.local(), new, KeyOrigin::default()).await;
    assert!(matches!(again, Err(ResourceError::NotFound { .. })), "{again:?}");
    assert_eq!(world.identity.keys(world.issued.key.project).await.unwrap().len(), 1);
}
