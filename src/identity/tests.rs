//! The service as a whole: organizations, keys and tokens over records in memory.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use super::*;
use crate::{
    engine::RootKey,
    model::{KeyId, Permission, Permissions, Secret, Subject, Time},
    store::{Records, Store},
    sys::{Clock, Entropy, ManualClock},
};

pub(super) fn root(seed: u64) -> RootKey {
    RootKey::generate(&Entropy::seeded(seed))
}

pub(super) const NOW: i64 = 1_795_000_000;

pub(super) struct World {
    pub(super) identity: Identity,
    pub(super) records: Records,
    pub(super) time: ManualClock,
    pub(super) issued: IssuedKey,
    owner: BootstrapOwner,
}

pub(super) async fn open(records: &Records, time: &ManualClock) -> Identity {
    let options = IdentityOptions::new("http://localhost:5356/ignored", "http://localhost:5356", root(1));
    let opened = Identity::open(records.clone(), Clock::manual(time.clone()), Entropy::real(), options);
    opened.await.unwrap()
}

pub(super) async fn world() -> World {
    let (records, time) = (Store::memory().records, ManualClock::default());
    time.set(Time::from_nanos(NOW * 1_000_000_000 + 250_000_000));
    let identity = open(&records, &time).await;
    let made = identity.ensure_default().await.unwrap();
    let owner = identity.ensure_default_owner(made.organization.id).await.unwrap().unwrap();
    World { identity, records, time, issued: made.issued.unwrap(), owner }
}

impl World {
    pub(super) async fn sign_in(&self) -> Tokens {
        self.identity.authenticate(&self.issued.key.client_id, &self.issued.secret).await.unwrap()
    }

    /// The address and the password of the organization's owner.
    pub(super) fn owner(&self) -> (String, Secret) {
        (self.owner.user.email.clone(), self.owner.password.clone().unwrap())
    }

    pub(super) async fn owner_login(&self) -> Tokens {
        let (email, password) = self.owner();
        self.identity.login(&email, &password, None).await.unwrap()
    }

    pub(super) fn verify(&self, token: &Secret) -> Result<crate::model::Principal, TokenError> {
        self.identity.verify(token.expose_str().unwrap())
    }

    /// A token with other claims, signed with the right key.
    pub(super) fn altered(&self, token: &Secret, change: impl FnOnce(&mut Value)) -> Secret {
        let mut claims = part(token, 1);
        change(&mut claims);
        self.signed(&claims, self.identity.signing().newest().id.clone().into())
    }

    fn signed(&self, claims: &Value, kid: Option<String>) -> Secret {
        let header = Header { kid, ..Header::new(Algorithm::EdDSA) };
        let signing = self.identity.signing();
        let key = &signing.newest().encoding;
        Secret::new(jsonwebtoken::encode(&header, claims, key).unwrap())
    }
}

pub(super) fn part(token: &Secret, index: usize) -> Value {
    let part = token.expose_str().unwrap().split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn an_issued_key_has_the_documented_form() {
    let World { issued, .. } = world().await;
    let secret = issued.secret.expose_str().unwrap();
    assert_eq!(issued.key.client_id.len(), 32);
    assert!(issued.key.client_id.bytes().all(|byte| byte.is_ascii_alphabetic()));
    assert_eq!(secret.len(), 64);
    assert!(secret.bytes().all(|byte| byte.is_ascii_alphanumeric()));
    assert_eq!(issued.key.permissions, Permissions::full_key());
}

#[tokio::test]
async fn the_secret_is_in_no_record() {
    let World { records, issued, .. } = world().await;
    let secret = issued.secret.expose_str().unwrap();
    let all = records.scan("", None, 1000).await.unwrap();
    assert!(all.len() >= 6);
    for (_, record) in all {
        assert!(!String::from_utf8_lossy(&record.value).contains(secret));
    }
}

#[tokio::test]
async fn the_claims_of_a_pair() {
    let world = world().await;
    let tokens = world.sign_in().await;
    let kid = world.identity.signing().newest().id.clone();
    assert_eq!(part(&tokens.access, 0), json!({"typ": "JWT", "alg": "EdDSA", "kid": kid}));
    let access = part(&tokens.access, 1);
    let key = &world.issued.key;
    let expected = json!({
        "jti": access["jti"],
        "sub": key.id.to_string(),
        "aud": ["http://localhost:5356"],
        "iss": "http://localhost:5356/ignored",
        "iat": NOW,
        "nbf": NOW,
        "exp": NOW + 3600,
        "org": key.organization.to_string(),
        "project": key.project.to_string(),
        "permissions": [
            "topics:create", "topics:edit", "topics:destroy", "topics:read", "metrics:read", "publisher", "subscriber",
        ],
        "account": "sandbox",
    });
    assert_eq!(access, expected);
    let id = access["jti"].as_str().unwrap();
    assert_eq!((id.len(), id.to_lowercase().as_str()), (26, id));
    let refresh = part(&tokens.refresh, 1);
    let expected = json!({
        "jti": access["jti"],
        "sub": key.id.to_string(),
        "aud": ["http://localhost:5356", "http://localhost:5356/v1/refresh"],
        "iss": "http://localhost:5356/ignored",
        "iat": NOW,
        "nbf": NOW + 2700,
        "exp": NOW + 7200,
        "org": key.organization.to_string(),
        "project": key.project.to_string(),
    });
    assert_eq!(refresh, expected);
}

#[tokio::test]
async fn an_access_token_verifies_until_it_ends() {
    let world = world().await;
    let token = world.sign_in().await.access;
    for _ in 0..2 {
        let principal = world.verify(&token).unwrap();
        assert_eq!(principal.subject, Subject::Key(world.issued.key.id));
        assert_eq!(principal.project, Some(world.issued.key.project));
        assert_eq!(principal.organization, world.issued.key.organization);
        assert_eq!(principal.permissions, Permissions::full_key());
    }
    world.time.set(Time::from_parts(NOW + 3599, 999_999_999));
    assert!(world.verify(&token).is_ok());
    world.time.set(Time::from_parts(NOW + 3600, 0));
    assert!(matches!(world.verify(&token), Err(TokenError::Expired { .. })));
    // The same without the token being remembered.
    let reopened = open(&world.records, &world.time).await;
    assert!(matches!(reopened.verify(token.expose_str().unwrap()), Err(TokenError::Expired { .. })));
}

#[tokio::test]
async fn wrong_credentials_are_refused_alike() {
    let World { identity, issued, .. } = world().await;
    let (id, secret) = (issued.key.client_id.as_str(), &issued.secret);
    let other_case: String =
        id.chars().map(|c| if c.is_lowercase() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect();
    let key_id = issued.key.id.to_string();
    let refused = [
        (id, Secret::new("a".repeat(64))),
        (id, Secret::new("")),
        (other_case.as_str(), secret.clone()),
        (key_id.as_str(), secret.clone()),
        ("", secret.clone()),
        ("../key/../../etc", secret.clone()),
    ];
    for (id, secret) in refused {
        assert!(matches!(identity.authenticate(id, &secret).await, Err(AuthError::InvalidCredentials)));
    }
    identity.authenticate(id, secret).await.unwrap();
    // Also once the right secret is remembered.
    assert!(matches!(identity.authenticate(id, &Secret::new("x")).await, Err(AuthError::InvalidCredentials)));
    identity.authenticate(id, secret).await.unwrap();
}

#[tokio::test]
async fn tokens_that_are_not_ours_are_refused() {
    let world = world().await;
    let Tokens { access, refresh, .. } = world.sign_in().await;
    let kid = world.identity.signing().newest().id.clone();
    let claims = part(&access, 1);
    let check = |what: &str, token: &Secret, expected: &str| {
        let refused = world.verify(token).expect_err(what);
        assert!(format!("{refused:?}").starts_with(expected), "{what}: {refused:?}");
    };
    check("a refresh token before its time", &refresh, "NotYetValid");
    let ripe = world.altered(&refresh, |claims| claims["nbf"] = json!(NOW - 1));
    check("a ripe refresh token", &ripe, "NotAnAccessToken");
    let dressed = world.altered(&ripe, |claims| claims["permissions"] = json!(["publisher"]));
    check("a refresh token with permissions", &dressed, "NotAnAccessToken");
    let endless = world.altered(&access, |claims| drop(claims.as_object_mut().unwrap().remove("exp")));
    check("no end", &endless, "Malformed");
    check("fraction", &world.altered(&access, |claims| claims["exp"] = json!(9.5e9)), "Malformed");
    check(
        "no start",
        &world.altered(&access, |claims| drop(claims.as_object_mut().unwrap().remove("nbf"))),
        "Malformed",
    );
    check("expired", &world.altered(&access, |claims| claims["exp"] = json!(NOW)), "Expired");
    check("premature", &world.altered(&access, |claims| claims["nbf"] = json!(NOW + 600)), "NotYetValid");
    check("from the future", &world.altered(&access, |claims| claims["iat"] = json!(NOW + 600)), "NotYetValid");
    check("issuer", &world.altered(&access, |claims| claims["iss"] = json!("http://evil.example")), "WrongIssuer");
    check(
        "audience",
        &world.altered(&access, |claims| claims["aud"] = json!(["http://evil.example"])),
        "WrongAudience",
    );
    check("subject", &world.altered(&access, |claims| claims["sub"] = json!("garbage")), "Malformed");
    check("stranger", &world.altered(&access, |claims| claims["sub"] = json!("01ARYZ6S41041061050R3GG28A")), "Revoked");
    check("no key id", &world.signed(&claims, None), "UnknownKey");
    check("other key id", &world.signed(&claims, Some("01ARYZ6S41041061050R3GG28A".to_owned())), "UnknownKey");
    check("garbage", &Secret::new("garbage"), "Malformed");
    check("nothing", &Secret::new(""), "Malformed");

    let body = access.expose_str().unwrap().split('.').nth(1).unwrap();
    let unsigned = URL_SAFE_NO_PAD.encode(json!({"alg": "none", "typ": "JWT", "kid": kid}).to_string());
    check("alg none", &Secret::new(format!("{unsigned}.{body}.")), "Malformed");
    let header = Header { kid: Some(kid.clone()), ..Header::new(Algorithm::HS256) };
    let symmetric = jsonwebtoken::encode(&header, &claims, &EncodingKey::from_secret(kid.as_bytes())).unwrap();
    check("symmetric", &Secret::new(symmetric), "Malformed");
    let text = access.expose_str().unwrap();
    let replaced = if text.ends_with("AAAAAA") { "BBBBBB" } else { "AAAAAA" };
    check("tampered", &Secret::new(format!("{}{replaced}", &text[..text.len() - 6])), "");
    assert!(world.verify(&access).is_ok());
}

#[tokio::test]
async fn a_refresh_token_gives_a_new_pair_once_it_is_ripe() {
    let world = world().await;
    let first = world.sign_in().await;
    let refresh = async |token: &Secret, organization| world.identity.refresh(token, organization).await;
    let refused = |result: Result<Tokens, AuthError>| match result {
        Err(AuthError::Refused { source }) => source,
        other => panic!("not refused: {other:?}"),
    };
    assert!(matches!(refused(refresh(&first.refresh, None).await), TokenError::NotYetValid { .. }));
    assert_eq!(refused(refresh(&first.access, None).await), TokenError::NotARefreshToken);

    world.time.set(Time::from_parts(NOW + 2700, 0));
    let key = &world.issued.key;
    let second = refresh(&first.refresh, Some(key.organization)).await.unwrap();
    assert_eq!(second.last_login, Some(Time::from_parts(NOW, 0)));
    assert_eq!(world.verify(&second.access).unwrap().permissions, Permissions::full_key());
    assert_eq!(part(&second.access, 1)["iat"], json!(NOW + 2700));
    assert!(refresh(&first.refresh, None).await.is_ok());

    let foreign = world.identity.create_organization("Other").await.unwrap().id;
    assert_eq!(refused(refresh(&first.refresh, Some(foreign)).await), TokenError::WrongOrganization);
    let no_refresh = world.altered(&first.refresh, |claims| claims["aud"] = json!(["http://localhost:5356"]));
    assert_eq!(refused(refresh(&no_refresh, None).await), TokenError::NotARefreshToken);
    let only_refresh =
        world.altered(&first.refresh, |claims| claims["aud"] = json!(["http://localhost:5356/v1/refresh"]));
    assert_eq!(refused(refresh(&only_refresh, None).await), TokenError::WrongAudience);

    world.time.set(Time::from_parts(NOW + 7200, 0));
    assert!(matches!(refused(refresh(&first.refresh, None).await), TokenError::Expired { .. }));
    world.time.set(Time::from_parts(NOW + 7199, 0));
    world.identity.revoke_key(key.id).await.unwrap();
    assert_eq!(refused(refresh(&first.refresh, None).await), TokenError::Revoked);
}

#[tokio::test]
async fn a_revoked_key_is_out_at_once() {
    let world = world().await;
    let token = world.sign_in().await.access;
    let principal = world.verify(&token).unwrap();
    let told = tokio::spawn({
        let (identity, principal) = (world.identity.clone(), principal.clone());
        async move { identity.revoked(&principal).await }
    });
    tokio::task::yield_now().await;
    assert!(!told.is_finished());

    let key = world.identity.revoke_key(world.issued.key.id).await.unwrap();
    assert!(key.revoked.is_some());
    assert_eq!(world.verify(&token), Err(TokenError::Revoked));
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("what waits is told").unwrap();
    let again = world.identity.authenticate(&world.issued.key.client_id, &world.issued.secret).await;
    assert!(matches!(again, Err(AuthError::InvalidCredentials)));
    assert_eq!(world.identity.keys(key.project).await.unwrap(), []);
    assert_eq!(world.identity.key(key.id).await.unwrap().revoked, key.revoked);
    assert!(matches!(world.identity.revoke_key(key.id).await, Err(IdentityError::NotFound { .. })));

    let reopened = open(&world.records, &world.time).await;
    assert_eq!(reopened.verify(token.expose_str().unwrap()), Err(TokenError::Revoked));
}

#[tokio::test]
async fn keys_tokens_and_uses_outlive_a_restart() {
    let world = world().await;
    let first = world.sign_in().await;
    assert_eq!(first.last_login, None);
    let signed_in = Time::from_nanos(NOW * 1_000_000_000 + 250_000_000);
    world.identity.flush().await;

    let reopened = open(&world.records, &world.time).await;
    assert_eq!(reopened.jwks(), world.identity.jwks());
    assert!(reopened.verify(first.access.expose_str().unwrap()).is_ok());
    assert!(reopened.ensure_default().await.unwrap().issued.is_none());
    let key = reopened.key(world.issued.key.id).await.unwrap();
    assert_eq!(key.last_used, Some(signed_in));
    world.time.advance(Duration::from_secs(5));
    let second = reopened.authenticate(&key.client_id, &world.issued.secret).await.unwrap();
    assert_eq!(second.last_login, Some(signed_in));
}

#[tokio::test]
async fn the_signing_key_opens_with_its_root_key_alone() {
    let world = world().await;
    let options = IdentityOptions::new("http://localhost:5356", "http://localhost:5356", root(2));
    let clock = Clock::manual(world.time.clone());
    let opened = Identity::open(world.records.clone(), clock, Entropy::real(), options).await;
    assert!(matches!(opened, Err(IdentityError::SigningKeySealed { .. })));
}

#[tokio::test]
async fn the_key_set_verifies_the_tokens() {
    let world = world().await;
    let token = world.sign_in().await.access;
    let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(world.identity.jwks()).unwrap();
    let key = set.find(part(&token, 0)["kid"].as_str().unwrap()).unwrap();
    let mut validation = jsonwebtoken::Validation::new(Algorithm::EdDSA);
    validation.validate_exp = false;
    validation.validate_aud = false;
    let decoding = jsonwebtoken::DecodingKey::from_jwk(key).unwrap();
    jsonwebtoken::decode::<Value>(token.expose_str().unwrap(), &decoding, &validation).unwrap();
}

#[tokio::test]
async fn organizations_projects_and_keys_are_listed() {
    let World { identity, issued, .. } = world().await;
    let organization = identity.create_organization(" Acme ").await.unwrap();
    assert_eq!(organization.name, "Acme");
    let names: Vec<_> = identity.organizations().await.unwrap().into_iter().map(|found| found.name).collect();
    assert!(names.len() == 2 && names.contains(&"Acme".to_owned()) && names.contains(&"Local".to_owned()));

    let project = identity.create_project(organization.id, "flights").await.unwrap();
    assert_eq!(identity.projects(organization.id).await.unwrap(), std::slice::from_ref(&project));
    let permissions = [Permission::Subscriber, Permission::TopicsRead].into_iter().collect();
    let new = NewKey { name: "reader".to_owned(), project: project.id, permissions, created_by: None };
    let reader = identity.create_key(new.clone()).await.unwrap();
    assert_eq!(reader.key.organization, organization.id);
    assert_eq!(identity.keys(project.id).await.unwrap(), std::slice::from_ref(&reader.key));
    assert_eq!(identity.keys(issued.key.project).await.unwrap(), [issued.key]);
    let tokens = identity.authenticate(&reader.key.client_id, &reader.secret).await.unwrap();
    assert_eq!(identity.verify(tokens.access.expose_str().unwrap()).unwrap().permissions, permissions);

    let refused = async |new: NewKey| identity.create_key(new).await.expect_err("not a key");
    let editor = [Permission::ProjectsEdit].into_iter().collect();
    assert!(matches!(refused(NewKey { permissions: editor, ..new.clone() }).await, IdentityError::NotForKeys { .. }));
    let none = Permissions::NONE;
    assert!(matches!(refused(NewKey { permissions: none, ..new.clone() }).await, IdentityError::NoPermissions));
    assert!(matches!(refused(NewKey { name: " ".to_owned(), ..new.clone() }).await, IdentityError::MissingName { .. }));
    let nowhere = crate::model::ProjectId::default();
    assert!(matches!(refused(NewKey { project: nowhere, ..new }).await, IdentityError::NotFound { .. }));
    assert!(matches!(identity.key(KeyId::default()).await, Err(IdentityError::NotFound { .. })));
}

#[tokio::test]
async fn two_first_starts_at_once_make_one_default() {
    let (records, time) = (Store::memory().records, ManualClock::default());
    let (one, other) = (open(&records, &time).await, open(&records, &time).await);
    assert_eq!(one.jwks(), other.jwks());
    let (first, second) = tokio::join!(one.ensure_default(), other.ensure_default());
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.project, second.project);
    assert_eq!([&first, &second].iter().filter(|bootstrap| bootstrap.issued.is_some()).count(), 1);
    assert_eq!(one.keys(first.project.id).await.unwrap().len(), 1);
}
