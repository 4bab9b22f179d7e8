//! Registering, verifying, resetting and inviting.

use std::time::Duration;

use tokio::sync::mpsc;

use super::{tests::*, *};
use crate::{
    engine::{Engine, KeyChangeError, RootChange, RootKey, is_resealing},
    model::{OrganizationId, ProjectId, Role, Secret, Time, Ulid},
    store::{Records, Store, Transaction},
    sys::{Clock, Entropy, ManualClock},
};

const PASSWORD: &str = "correct horse battery staple";

fn account(email: &str) -> NewAccount {
    NewAccount { email: email.to_owned(), password: Secret::new(PASSWORD), name: "Ann".to_owned() }
}

fn named(domain: &str) -> NewOrganization {
    NewOrganization { name: "Acme".to_owned(), domain: domain.to_owned(), project: None }
}

/// A server that mails, and its mail.
async fn mailing(
    records: &Records,
    time: &ManualClock,
    registration: Registration,
) -> (Identity, mpsc::Receiver<Mail>) {
    let (outbox, sent) = mpsc::channel(16);
    let options = IdentityOptions {
        registration,
        mail: Some(outbox),
        ..IdentityOptions::new("http://localhost:5356", "http://localhost:5356", root(1))
    };
    let clock = Clock::manual(time.clone());
    (Identity::open(records.clone(), clock, Entropy::real(), options).await.unwrap(), sent)
}

async fn post() -> (Identity, mpsc::Receiver<Mail>, ManualClock, Records) {
    let (records, time) = (Store::memory().records, ManualClock::default());
    time.set(Time::from_parts(NOW, 0));
    let (identity, sent) = mailing(&records, &time, Registration::Open).await;
    (identity, sent, time, records)
}

fn text(token: &Secret) -> &str {
    token.expose_str().unwrap()
}

#[track_caller]
fn is<T: std::fmt::Debug>(result: Result<T, AccountError>, expected: &str) {
    let error = result.expect_err("it must be refused");
    assert!(format!("{error:?}").starts_with(expected), "{error:?}");
}

#[tokio::test]
async fn who_registers_owns_an_organization_and_signs_in_once_verified() {
    let (identity, mut sent, time, records) = post().await;
    let project = ProjectId(Ulid::from_bytes([7; 16]));
    let wanted = NewOrganization { project: Some(project), ..named("  ACME-Works ") };
    let made = identity.register(account(" Ann@Example.com "), wanted).await.unwrap();
    assert_eq!((made.user.email.as_str(), made.user.name.as_str()), ("Ann@Example.com", "Ann"));
    assert_eq!((made.organization.domain.as_str(), made.role), ("acme-works", Role::Owner));
    assert_eq!(identity.project(project).await.unwrap().organization, made.organization.id);

    let login = async || identity.login("ann@example.com", &Secret::new(PASSWORD), None).await;
    is(login().await, "Unverified");
    is(identity.login("ann@example.com", &Secret::new("wrong"), None).await, "InvalidCredentials");
    let mail = sent.recv().await.unwrap();
    assert_eq!(
        (mail.purpose, mail.to.as_str(), mail.token.expose().len()),
        (Purpose::Verification, "Ann@Example.com", 43)
    );
    is(identity.reset_password(text(&mail.token), Secret::new(PASSWORD)).await, "UnknownToken");
    is(identity.preview_invitation(text(&mail.token)).await, "UnknownToken");
    let verified = identity.verify_email(text(&mail.token), None).await.unwrap();
    assert!(matches!(verified, Verified::SignedIn(_)));
    assert!(matches!(identity.verify_email(text(&mail.token), None).await, Ok(Verified::Already)));
    let principal = identity.verify(text(&login().await.unwrap().access)).unwrap();
    assert_eq!((principal.organization, principal.permissions), (made.organization.id, Role::Owner.permissions()));
    // The token itself is kept nowhere, and the password neither.
    for (_, record) in records.scan("", None, 1000).await.unwrap() {
        let value = String::from_utf8_lossy(&record.value);
        assert!(!value.contains(text(&mail.token)) && !value.contains(PASSWORD), "{value}");
    }
    time.advance(Duration::from_hours(24 * 30));
    drop(identity);
    let (reopened, _) = mailing(&records, &time, Registration::Open).await;
    is(reopened.verify_email(text(&mail.token), None).await, "UnknownToken");
}

#[tokio::test]
async fn addresses_workspaces_and_projects_are_taken_once() {
    let (identity, _sent, _, records) = post().await;
    let project = ProjectId(Ulid::from_bytes([7; 16]));
    let taken = NewOrganization { project: Some(project), ..named("acme") };
    identity.register(account("ann@example.com"), taken.clone()).await.unwrap();
    let before = records.scan("", None, 1000).await.unwrap().len();
    is(identity.register(account("ANN@example.com"), named("other")).await, "Exists");
    is(identity.register(account("bob@example.com"), named(" Acme ")).await, "Exists");
    let linked = NewOrganization { domain: "fresh".to_owned(), ..taken };
    is(identity.register(account("bob@example.com"), linked).await, "Exists");
    is(identity.register(account("nonsense"), named("x")).await, "Invalid");
    is(identity.register(account("bob@example.com"), named("a\nb")).await, "Invalid");
    assert_eq!(records.scan("", None, 1000).await.unwrap().len(), before, "nothing was made");
    let made = identity.register(account("bob@example.com"), named("")).await.unwrap();
    assert!(made.organization.domain.len() == 8 && made.organization.domain.bytes().all(|b| b.is_ascii_lowercase()));
}

#[tokio::test]
async fn of_two_registrations_for_one_address_one_wins() {
    let (identity, _sent, _, _) = post().await;
    let (one, other) = tokio::join!(
        identity.register(account("ann@example.com"), named("one")),
        identity.register(account("Ann@example.com"), named("other")),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    let organizations = identity.organizations().await.unwrap();
    assert_eq!(organizations.len(), 1, "the loser left nothing behind");
}

#[tokio::test]
async fn who_may_register() {
    let (records, time) = (Store::memory().records, ManualClock::default());
    time.set(Time::from_parts(NOW, 0));
    let (closed, _) = mailing(&records, &time, Registration::Closed).await;
    is(closed.register(account("ann@example.com"), named("a")).await, "RegistrationClosed");
    let (first, mut sent) = mailing(&records, &time, Registration::First).await;
    let (one, other) = tokio::join!(
        first.register(account("ann@example.com"), named("a")),
        first.register(account("bob@example.com"), named("b")),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    is(first.register(account("eve@example.com"), named("c")).await, "RegistrationClosed");
    let mail = sent.recv().await.unwrap();
    let Ok(Verified::SignedIn(tokens)) = first.verify_email(text(&mail.token), None).await else { panic!() };
    // An invitation is enough, whatever the server takes.
    let owner = first.verify(text(&tokens.access)).unwrap();
    first.invite(&owner, "eve@example.com", Role::Member).await.unwrap();
    let token = sent.recv().await.unwrap().token;
    is(first.register_invited(account("mallory@example.com"), text(&token)).await, "UnknownToken");
    let joined = first.register_invited(account("Eve@example.com"), text(&token)).await.unwrap();
    assert_eq!((joined.organization.id, joined.role), (owner.organization, Role::Member));
    is(first.register_invited(account("eve@example.com"), text(&token)).await, "UnknownToken");
    first.login("eve@example.com", &Secret::new(PASSWORD), None).await.unwrap();
}

#[tokio::test]
async fn an_expired_verification_is_replaced() {
    let (identity, mut sent, time, _) = post().await;
    identity.register(account("ann@example.com"), named("a")).await.unwrap();
    let first = sent.recv().await.unwrap();
    time.set(first.expires);
    is(identity.verify_email(text(&first.token), None).await, "ExpiredToken");
    let second = sent.recv().await.unwrap();
    is(identity.verify_email(text(&first.token), None).await, "UnknownToken");
    identity.resend_verification("nobody@example.com");
    identity.resend_verification(" ANN@example.com ");
    identity.flush().await;
    let third = sent.recv().await.unwrap();
    is(identity.verify_email(text(&second.token), None).await, "UnknownToken");
    is(identity.verify_email(text(&third.token), Some(OrganizationId::default())).await, "InvalidCredentials");
    assert!(matches!(identity.verify_email(text(&third.token), None).await, Ok(Verified::SignedIn(_))));
    identity.resend_verification("ann@example.com");
    identity.flush().await;
    assert!(sent.try_recv().is_err(), "who is verified gets no mail");
    is(identity.verify_email("unknown", None).await, "UnknownToken");
    is(identity.verify_email(&"a".repeat(43), None).await, "UnknownToken");
}

/// A reset token is good once, for a quarter of an hour, and for nothing else.
#[tokio::test]
async fn a_reset_token_is_good_once() {
    let (identity, mut sent, time, _) = post().await;
    identity.register(account("ann@example.com"), named("a")).await.unwrap();
    let verification = sent.recv().await.unwrap();
    let Ok(Verified::SignedIn(old)) = identity.verify_email(text(&verification.token), None).await else { panic!() };
    let forget = async || {
        identity.forgot_password("nobody@example.com");
        identity.forgot_password("Ann@Example.com");
        identity.flush().await;
    };
    forget().await;
    let first = sent.recv().await.unwrap();
    assert_eq!(first.purpose, Purpose::PasswordReset);
    time.set(first.expires);
    is(identity.reset_password(text(&first.token), Secret::new("new")).await, "ExpiredToken");
    forget().await;
    let second = sent.recv().await.unwrap();
    is(identity.reset_password(text(&first.token), Secret::new("new")).await, "UnknownToken");
    is(identity.verify_email(text(&second.token), None).await, "UnknownToken");
    let new = Secret::new("another good passphrase");
    let (one, other) = tokio::join!(
        identity.reset_password(text(&second.token), new.clone()),
        identity.reset_password(text(&second.token), new.clone()),
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    is(identity.reset_password(text(&second.token), new.clone()).await, "UnknownToken");
    assert_eq!(identity.verify(text(&old.access)), Err(TokenError::Revoked));
    is(identity.login("ann@example.com", &Secret::new(PASSWORD), None).await, "InvalidCredentials");
    identity.login("ann@example.com", &new, None).await.unwrap();
}

#[tokio::test]
async fn an_invitation_is_for_one_address_and_good_once() {
    let (identity, mut sent, time, _) = post().await;
    let mut users = Vec::new();
    for name in ["ann", "bob"] {
        identity.register(account(&format!("{name}@example.com")), named(name)).await.unwrap();
        let mail = sent.recv().await.unwrap();
        let Ok(Verified::SignedIn(tokens)) = identity.verify_email(text(&mail.token), None).await else { panic!() };
        users.push(identity.verify(text(&tokens.access)).unwrap());
    }
    let (ann, bob) = (&users[0], &users[1]);
    is(identity.invite(ann, "ann@example.com", Role::Admin).await, "Exists");
    is(identity.invite(ann, "nonsense", Role::Admin).await, "Invalid");
    identity.invite(ann, "bob@example.com", Role::Observer).await.unwrap();
    let replaced = sent.recv().await.unwrap().token;
    let invitation = identity.invite(ann, "BOB@example.com", Role::Member).await.unwrap();
    assert_eq!(invitation.user.unwrap().id, bob.subject.user().unwrap());
    let mail = sent.recv().await.unwrap();
    assert_eq!((mail.organization.as_deref(), mail.inviter.as_deref()), (Some("Acme"), Some("Ann")));
    let token = text(&mail.token);
    is(identity.preview_invitation(text(&replaced)).await, "UnknownToken");
    let preview = identity.preview_invitation(token).await.unwrap();
    assert_eq!((preview.role, preview.user_exists, preview.email.as_str()), (Role::Member, true, "BOB@example.com"));
    is(identity.accept_invitation(ann, token).await, "UnknownToken");
    let login = async |password| identity.login_invited("bob@example.com", &Secret::new(password), token).await;
    is(login("wrong").await, "InvalidCredentials");
    let tokens = identity.accept_invitation(bob, token).await.unwrap();
    let joined = identity.verify(text(&tokens.access)).unwrap();
    assert_eq!((joined.organization, joined.permissions), (ann.organization, Role::Member.permissions()));
    is(identity.accept_invitation(bob, token).await, "UnknownToken");
    is(login(PASSWORD).await, "UnknownToken");
    is(identity.preview_invitation(token).await, "UnknownToken");

    identity.invite(ann, "eve@example.com", Role::Admin).await.unwrap();
    let late = sent.recv().await.unwrap();
    time.set(late.expires);
    is(identity.preview_invitation(text(&late.token)).await, "ExpiredToken");
    is(identity.register_invited(account("eve@example.com"), text(&late.token)).await, "ExpiredToken");
}

/// An admin cannot make an owner by way of an invitation, and an invitation ends with what allowed its maker to make it.
#[tokio::test]
async fn an_invitation_gives_what_its_maker_may_give() {
    let world = world().await;
    let owner = world.caller(&world.owner_login().await);
    let ann = world.joined("ann@example.com", owner.organization, Role::Admin).await;
    let admin = world.caller(&world.login("ann@example.com").await);
    is(world.identity.invite(&admin, "eve@example.com", Role::Owner).await, "OwnersOnly");
    world.identity.invite(&owner, "own@example.com", Role::Owner).await.unwrap();
    world.identity.invite(&admin, "eve@example.com", Role::Admin).await.unwrap();
    let kept = world.identity.kept_mail(&owner).await.unwrap();
    let token = |to: &str| kept.iter().find(|mail| mail.to == to).unwrap().token.clone();
    assert!(world.identity.preview_invitation(text(&token("eve@example.com"))).await.is_ok());
    world.identity.set_role(&owner, ann, Role::Member).await.unwrap();
    is(world.identity.preview_invitation(text(&token("eve@example.com"))).await, "UnknownToken");
    world.identity.preview_invitation(text(&token("own@example.com"))).await.unwrap();
}

/// Tokens that are not mailed are shown to who could act for their receivers anyway, as long as they are of use.
#[tokio::test]
async fn who_sees_the_mail_that_nothing_sent() {
    let world = world().await;
    let operator = world.caller(&world.owner_login().await);
    let made = world.identity.register(account("eve@example.com"), named("evil")).await.unwrap();
    let seen = async |caller| {
        let mail = world.identity.kept_mail(caller).await.unwrap();
        mail.into_iter().map(|mail| (mail.purpose, mail.to)).collect::<Vec<_>>()
    };
    let verification = (Purpose::Verification, "eve@example.com".to_owned());
    assert_eq!(seen(&operator).await, [verification]);
    let token = world.identity.kept_mail(&operator).await.unwrap().remove(0).token;
    for (_, record) in world.records.scan("", None, 1000).await.unwrap() {
        assert!(!String::from_utf8_lossy(&record.value).contains(text(&token)));
    }
    let Ok(Verified::SignedIn(tokens)) = world.identity.verify_email(text(&token), None).await else { panic!() };
    assert_eq!(seen(&operator).await, [], "it has been used");
    let eve = world.caller(&tokens);
    assert_eq!(eve.organization, made.organization.id);

    // A member of two organizations: neither's owner may set their password.
    let ann = world.joined("ann@example.com", eve.organization, Role::Member).await;
    world.identity.invite(&operator, "bob@example.com", Role::Member).await.unwrap();
    for forgotten in ["dev@localhost", "ann@example.com"] {
        world.identity.forgot_password(forgotten);
    }
    world.identity.flush().await;
    let (reset, invitation) = (Purpose::PasswordReset, Purpose::Invitation);
    let mail = |purpose, to: &str| (purpose, to.to_owned());
    assert_eq!(seen(&eve).await, [mail(reset, "ann@example.com")]);
    assert_eq!(seen(&operator).await.len(), 3);
    world.identity.invite(&operator, "ann@example.com", Role::Member).await.unwrap();
    let all = world.identity.kept_mail(&operator).await.unwrap();
    let own = all.iter().find(|kept| (kept.purpose, kept.to.as_str()) == (invitation, "ann@example.com")).unwrap();
    world.identity.login_invited("ann@example.com", &Secret::new(PASSWORD), text(&own.token)).await.unwrap();
    assert_eq!(seen(&eve).await, [], "she is in another organization as well");

    world.identity.set_role(&operator, ann, Role::Admin).await.unwrap();
    let organization = Some(operator.organization);
    let admin = world.identity.login("ann@example.com", &Secret::new(PASSWORD), organization).await.unwrap();
    let admin = world.caller(&admin);
    assert_eq!(seen(&admin).await, [mail(invitation, "bob@example.com")], "no admin sets a password");
    world.time.advance(Duration::from_hours(24 * 8));
    assert_eq!(seen(&operator).await, [], "everything has expired");
}

#[tokio::test]
async fn a_removal_is_confirmed_for_the_member_that_it_was_asked_for() {
    let world = world().await;
    let owner = world.caller(&world.owner_login().await);
    let (ann, bob) = (
        world.joined("ann@example.com", owner.organization, Role::Member).await,
        world.joined("bob@example.com", owner.organization, Role::Admin).await,
    );
    let new = NewKey {
        name: "hers".to_owned(),
        project: world.issued.key.project,
        permissions: crate::model::Permissions::full_key(),
        created_by: Some(ann),
    };
    world.identity.create_key(new).await.unwrap();
    let Ok(Removal::Asked { token, .. }) = world.identity.remove_member(&owner, ann).await else { panic!() };
    let admin = world.caller(&world.login("bob@example.com").await);
    is(world.identity.confirm_removal(&owner, bob, text(&token)).await, "UnknownToken");
    is(world.identity.confirm_removal(&admin, ann, text(&token)).await, "UnknownToken");
    is(world.identity.confirm_removal(&owner, ann, "unknown").await, "UnknownToken");
    assert!(world.identity.kept_mail(&owner).await.unwrap().is_empty(), "it is no mail");
    world.identity.confirm_removal(&owner, ann, text(&token)).await.unwrap();
    is(world.identity.confirm_removal(&owner, ann, text(&token)).await, "UnknownToken");
    assert!(world.identity.user(ann).await.unwrap().is_none());
}

#[tokio::test]
async fn everything_sealed_opens_with_the_new_root_key_alone() {
    let world = world().await;
    let operator = world.caller(&world.owner_login().await);
    world.identity.register(account("eve@example.com"), named("evil")).await.unwrap();
    let before = world.identity.kept_mail(&operator).await.unwrap();
    let tokens = world.owner_login().await;
    let transaction = reseal(&world.records, &root(1), &root(2), &Entropy::real()).await.unwrap();
    assert_eq!(transaction.changes.len(), 2);
    world.records.commit(transaction).await.unwrap();
    let open = async |seed| {
        let options = IdentityOptions::new("http://localhost:5356/ignored", "http://localhost:5356", root(seed));
        Identity::open(world.records.clone(), Clock::manual(world.time.clone()), Entropy::real(), options).await
    };
    assert!(matches!(open(1).await, Err(IdentityError::SigningKeySealed { .. })));
    let reopened = open(2).await.unwrap();
    let principal = reopened.verify(text(&tokens.access)).unwrap();
    let after = reopened.kept_mail(&principal).await.unwrap();
    assert_eq!(after[0].token.expose(), before[0].token.expose());
    let wrong = reseal(&world.records, &root(1), &root(3), &Entropy::real()).await;
    assert!(matches!(wrong, Err(IdentityError::Sealed { .. })));
}

/// What was sealed under the root key from before would be lost with it.
#[tokio::test]
async fn what_is_sealed_during_a_change_of_the_root_key_conflicts_with_it() {
    let world = world().await;
    let records = &world.records;
    let root_key = root(1);
    let engine = Engine::open(
        Store { records: records.clone(), ..Store::memory() },
        root_key.clone(),
        Clock::manual(world.time.clone()),
        Entropy::real(),
    )
    .await
    .unwrap();
    let clock = Clock::manual(world.time.clone());
    let options = IdentityOptions::new("http://localhost:5356/ignored", "http://localhost:5356", root_key.clone());
    let identity = Identity::open(records.clone(), clock, Entropy::real(), options).await.unwrap();
    let operator = identity.verify(text(&world.owner_login().await.access)).unwrap();
    let sealing = async |email: &str| {
        let link = links::NewLink {
            purpose: Purpose::Invitation,
            email: email.to_owned(),
            user: None,
            organization: Some(operator.organization),
            role: Some(Role::Member),
            created_by: operator.subject.user(),
        };
        identity.add_link(Transaction::new(), link).await.unwrap().2
    };
    let change = async |from: &RootKey, to: u64| RootChange {
        to: root(to),
        also: reseal(records, from, &root(to), &Entropy::real()).await.unwrap(),
    };

    // Sealed before the change, and stored after it.
    let late = sealing("late@example.com").await;
    engine.change_root_key(&change(&root_key, 2).await).await.unwrap();
    assert!(is_resealing(&records.commit(late).await.unwrap_err()));

    // Sealed and stored while the change is being prepared.
    let prepared = change(&root_key, 3).await;
    identity.invite(&operator, "early@example.com", Role::Member).await.unwrap();
    assert!(matches!(engine.change_root_key(&prepared).await, Err(KeyChangeError::Changed)));
    let prepared = change(&root_key, 3).await;
    identity.rotate_signing_key().await.unwrap();
    assert!(matches!(engine.change_root_key(&prepared).await, Err(KeyChangeError::Changed)));
    engine.change_root_key(&change(&root_key, 3).await).await.unwrap();

    // Whoever has it open goes on: with the signing keys, with the mail, and with new ones of both.
    let tokens = identity.sign_in_as(operator.organization, Role::Admin).await;
    assert!(identity.verify(text(&tokens.access)).is_ok());
    assert_eq!(identity.kept_mail(&operator).await.unwrap().len(), 1);
    identity.rotate_signing_key().await.unwrap();
    identity.register(account("eve@example.com"), named("evil")).await.unwrap();
    assert_eq!(identity.kept_mail(&operator).await.unwrap().len(), 2);
    engine.close().await;
}

#[tokio::test]
async fn organizations_change_their_names() {
    let world = world().await;
    let owner = world.caller(&world.owner_login().await);
    let own = owner.organization;
    let foreign = world.identity.create_organization("Other").await.unwrap();
    is(world.identity.update_organization(own, "x", &foreign.domain).await, "Exists");
    world.time.advance(Duration::from_secs(1));
    let changed = world.identity.update_organization(own, " New ", " New-Name ").await.unwrap();
    assert_eq!((changed.name.as_str(), changed.domain.as_str()), ("New", "new-name"));
    assert!(changed.modified > changed.created);
    assert_eq!(world.identity.workspace(own, " NEW-name").await.unwrap(), Workspace::Own(changed.clone()));
    assert_eq!(world.identity.workspace(own, &foreign.domain).await.unwrap(), Workspace::Taken);
    assert_eq!(world.identity.workspace(own, "local").await.unwrap(), Workspace::Free, "the old name is free again");
    let again = world.identity.update_organization(own, "Newer", "new-name").await.unwrap();
    assert_eq!(again.domain, "new-name");
    let seen = world.identity.organizations_of_user(owner.subject.user().unwrap()).await.unwrap();
    assert_eq!((seen.len(), seen[0].projects, seen[0].last_login.is_some()), (1, 1, true));
}
