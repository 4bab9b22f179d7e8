//! What holds for every route there is: who gets through to it, and what becomes of input that is none.

use std::{
    fmt::{self, Write},
    sync::{Arc, Mutex},
};

use axum::http::Method;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;
use serde_json::json;
use tracing::{Event, Metadata, Subscriber, field::Visit, span};

use super::tests::{Reply, World, world};
use crate::{
    identity::NewKey,
    model::{Needs, Permissions, Role},
};

const DENIED: &str = "user does not have permission to perform this operation";
const UNKNOWN: &str = "this endpoint requires authentication";

/// A method and a path without parameters, with what it needs and whether it reads a body.
struct Asked {
    method: Method,
    path: String,
    needs: Needs,
    has_body: bool,
}

/// All routes, each with something in the place of its parameters.
fn routes(parameter: &str) -> Vec<Asked> {
    let asked = |route: super::route::Route| Asked {
        path: route
            .path
            .split('/')
            .map(|part| if part.starts_with('{') { parameter } else { part })
            .collect::<Vec<_>>()
            .join("/"),
        has_body: route.body.is_some(),
        needs: route.needs,
        method: route.method,
    };
    super::table().into_iter().map(asked).collect()
}

async fn ask(world: &World, route: &Asked, token: Option<&str>, body: impl Into<axum::body::Body>) -> Reply {
    let bearer = format!("Bearer {}", token.unwrap_or_default());
    let headers: &[(&str, &str)] = if token.is_some() { &[("authorization", bearer.as_str())] } else { &[] };
    world.ask(route.method.as_str(), &route.path, headers, body).await
}

/// The token of somebody who may use a route: an owner if that is enough, or else an API key.
async fn token(world: &World, route: &Asked) -> String {
    let tokens = if route.needs.are_met_by(Role::Owner.permissions()) {
        world.identity.sign_in_as(world.key.key.organization, Role::Owner).await
    } else {
        world.identity.authenticate(&world.key.key.client_id, &world.key.secret).await.unwrap()
    };
    tokens.access.expose_str().unwrap().to_owned()
}

/// What an error says; nothing of an answer that is none.
fn error(reply: &Reply) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(&reply.body).ok()?;
    body["error"].as_str().map(str::to_owned)
}

/// Every route × every kind of caller: the gate asks for what the table says, and for nothing else.
#[tokio::test]
async fn every_route_lets_in_who_may_and_nobody_else() {
    let world = world().await;
    let organization = world.key.key.organization;
    let text = |secret: &crate::model::Secret| secret.expose_str().unwrap().to_owned();
    let mut callers = Vec::new();
    for role in Role::ALL {
        let tokens = world.identity.sign_in_as(organization, role).await;
        callers.push((role.name(), text(&tokens.access), role.permissions()));
    }
    let signed_in = world.identity.authenticate(&world.key.key.client_id, &world.key.secret).await.unwrap();
    callers.push(("full key", text(&signed_in.access), Permissions::full_key()));
    let owner = world.identity.verify(&callers[0].1).unwrap();
    let access = text(&world.identity.project_access(&owner, world.key.key.project).await.unwrap());
    let permissions = world.identity.verify(&access).unwrap().permissions;
    callers.push(("project access", access, permissions));

    let mut walked = 0;
    for route in routes("01ARYZ6S41041061050R3GG28A") {
        let what = format!("{} {}", route.method, route.path);
        let stranger = ask(&world, &route, None, "{}").await;
        let is_public = route.needs == Needs::Nothing;
        assert_eq!(error(&stranger).as_deref() == Some(UNKNOWN), !is_public, "{what} for a stranger");
        for (name, token, permissions) in &callers {
            let reply = ask(&world, &route, Some(token), "{}").await;
            let may = route.needs.are_met_by(*permissions);
            assert_eq!(error(&reply).as_deref() == Some(DENIED), !may, "{what} for {name}: {}", reply.status);
            assert!(may || reply.status.as_u16() == 403, "{what} for {name}");
            assert_ne!(error(&reply).as_deref(), Some(UNKNOWN), "{what} for {name}");
            assert!(reply.status.as_u16() < 500, "{what} for {name}: {}", reply.status);
            walked += 1;
        }
    }
    assert_eq!(walked, super::table().len() * 6);
}

/// Every route with an identifier × what belongs to another organization: it is as if it were not there.
#[tokio::test]
async fn nothing_of_another_organization_is_there() {
    let world = world().await;
    let foreign = world.identity.create_organization("Foreign").await.unwrap().id;
    let member = world.identity.sign_in_as(foreign, Role::Member).await;
    let member = world.identity.verify(member.access.expose_str().unwrap()).unwrap().subject.id();
    let project = world.identity.create_project(foreign, "theirs").await.unwrap().id;
    let new = NewKey { name: "k".to_owned(), project, permissions: Permissions::full_key(), created_by: None };
    let key = world.identity.create_key(new).await.unwrap().key.id;
    let tenant = world.identity.tenants(foreign).await.unwrap()[0].id;
    for id in [key.to_string(), project.to_string(), tenant.to_string(), member.to_string(), foreign.to_string()] {
        for route in routes(&id).into_iter().filter(|route| route.path.contains(&id)) {
            let body = json!({
                "id": id, "user_id": id, "name": "mine", "domain": "mine", "role": "Member", "token": "x",
            });
            let token = token(&world, &route).await;
            let reply = ask(&world, &route, Some(&token), body.to_string()).await;
            let status = reply.status.as_u16();
            assert!(status == 404 || status == 400, "{} {}: {status}", route.method, route.path);
        }
    }
    assert_eq!(world.identity.organization(foreign).await.unwrap().name, "Foreign");
    assert_eq!(world.identity.project(project).await.unwrap().name, "theirs");
    assert!(world.identity.key(key).await.unwrap().revoked.is_none());
}

/// Bodies that are nothing: each is refused in the same form as everything else that is refused.
#[tokio::test]
async fn bodies_that_are_none_are_refused_by_every_route() {
    let world = world().await;
    let deep = [b"{\"name\":".repeat(20_000), b"[".repeat(20_000)].concat();
    let wrong = json!({
        "id": 5, "name": [], "email": {}, "token": 7, "client_id": 1, "refresh_token": [], "project_id": 1, "org_id": {},
        "role": {}, "password": [],
    });
    let bodies: [(&str, Vec<u8>, Option<u16>); 8] = [
        ("nothing", Vec::new(), None),
        ("null", b"null".to_vec(), None),
        ("a list", b"[]".to_vec(), None),
        ("half of an object", b"{\"name\":\"".to_vec(), None),
        ("bytes that are no text", b"{\"name\":\"\xff\xfe\"}".to_vec(), None),
        ("brackets", deep, None),
        ("wrong types", wrong.to_string().into_bytes(), None),
        ("too much", vec![b' '; 65_537], Some(413)),
    ];
    for route in routes("01ARYZ6S41041061050R3GG28A") {
        let token = token(&world, &route).await;
        for (what, body, expected) in &bodies {
            let reply = ask(&world, &route, Some(&token), body.clone()).await;
            let status = reply.status.as_u16();
            let about = format!("{} {} with {what}: {status}", route.method, route.path);
            assert!(status < 500, "{about}");
            if route.has_body {
                assert!((400..500).contains(&status), "{about}");
                assert_eq!(reply.json()["success"], json!(false), "{about}");
                assert!(expected.is_none_or(|expected| expected == status || status == 404), "{about}");
            }
        }
    }
}

/// Tokens that somebody else made, or that are for something else.
#[tokio::test]
async fn forged_and_stale_tokens_open_no_route() {
    let world = world().await;
    let tokens = world.identity.sign_in_as(world.key.key.organization, Role::Owner).await;
    let good = tokens.access.expose_str().unwrap();
    let parts: Vec<&str> = good.split('.').collect();
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let read =
        |part: &str| serde_json::from_slice::<serde_json::Value>(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let (mut kid, mut claims) = (read(parts[0]), read(parts[1]));
    kid["kid"] = json!("01ARYZ6S41041061050R3GG28A");
    claims["aud"] = json!(["somebody"]);
    let none = part(json!({"alg": "none", "typ": "JWT", "kid": read(parts[0])["kid"]}));
    let forged = [
        format!("{none}.{}.", parts[1]),
        format!("{none}.{}.{}", parts[1], parts[2]),
        format!("{}.{}.{}", part(json!({"alg": "HS256", "kid": read(parts[0])["kid"]})), parts[1], parts[2]),
        format!("{}.{}.{}", part(kid), parts[1], parts[2]),
        format!("{}.{}.{}", parts[0], part(claims), parts[2]),
        format!("{}.{}", parts[0], parts[1]),
        good[..good.len() - 4].to_owned(),
        "x".repeat(20_000),
        tokens.refresh.expose_str().unwrap().to_owned(),
    ];
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    for route in routes("01ARYZ6S41041061050R3GG28A").iter().filter(|route| route.needs != Needs::Nothing) {
        for token in &forged {
            ask(&world, route, Some(token), "{}").await.is_error(401, UNKNOWN);
        }
        for header in ["", "Bearer", "Bearer a b", "Basic eDp4", "bearer\u{e9}"] {
            let reply = world.ask(route.method.as_str(), &route.path, &[("authorization", header)], "{}").await;
            reply.is_error(401, UNKNOWN);
        }
    }
    // A refresh token is none for access when its time has come, and an access token none when its time is over.
    world.time.advance(std::time::Duration::from_mins(50));
    for (token, good_for) in [(tokens.refresh.expose_str().unwrap(), "refreshing"), (good, "now")] {
        let reply = world.ask("GET", "/v1/apikeys", &[("authorization", &format!("Bearer {token}"))], "").await;
        assert_eq!(reply.status.as_u16(), if good_for == "now" { 200 } else { 401 });
    }
    world.time.advance(std::time::Duration::from_mins(10));
    let reply = world.ask("GET", "/v1/apikeys", &[("authorization", &format!("Bearer {good}"))], "").await;
    reply.is_error(401, UNKNOWN);
    drop(guard);
    let log = log.text();
    assert!(log.contains("token refused"), "the log was not listened to");
    for token in forged.iter().map(String::as_str).chain([good]) {
        assert!(!log.contains(token), "a token is in the log");
    }
}

/// Secrets in requests that are refused are not in the log.
#[tokio::test]
async fn no_secret_is_in_the_log() {
    const SECRET: &str = "Tr0ub4dor-and-3-more-horses";
    let world = world().await;
    let log = Log::default();
    let guard = tracing::subscriber::set_default(log.clone());
    for route in routes(SECRET) {
        for body in [
            json!({"client_id": "a".repeat(32), "client_secret": SECRET}),
            json!({"refresh_token": SECRET, "token": SECRET, "password": SECRET, "pwcheck": SECRET, "email": "a@b.example"}),
            json!({"email": "a@b.example", "password": SECRET, "client_secret": 5, "token": [SECRET]}),
        ] {
            ask(&world, &route, Some(SECRET), body.to_string()).await;
        }
    }
    drop(guard);
    assert!(!log.text().contains(SECRET));
    let metrics = String::from_utf8(world.get("/metrics").await.body).unwrap();
    assert!(!metrics.contains(SECRET));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever comes, every route answers, and no answer is a failure of ours.
    #[test]
    fn anything_at_all_is_answered(
        body in proptest::collection::vec(any::<u8>(), 0..200),
        fields in proptest::collection::vec(("[a-z_]{1,12}", "\\PC{0,20}"), 0..5),
        header in "[ -~]{0,60}",
        parameter in "[A-Za-z0-9%._~-]{1,30}",
        query in "[a-z_]{1,10}=[A-Za-z0-9%+-]{0,10}",
        is_object: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world().await;
            let tokens = world.identity.sign_in_as(world.key.key.organization, Role::Owner).await;
            let bearer = format!("Bearer {}", tokens.access.expose_str().unwrap());
            let object = json!(fields.into_iter().collect::<std::collections::BTreeMap<_, _>>()).to_string();
            let body = if is_object { object.into_bytes() } else { body };
            for route in routes(&parameter) {
                let path = format!("{}?{query}", route.path);
                for authorization in [&bearer, &header] {
                    let headers = [("authorization", authorization.as_str()), ("content-type", header.as_str())];
                    let reply = world.ask(route.method.as_str(), &path, &headers, body.clone()).await;
                    assert!(reply.status.as_u16() < 500, "{} {path}: {}", route.method, reply.status);
                    if reply.status.is_client_error() {
                        assert_eq!(reply.json()["success"], json!(false));
                    }
                }
            }
        });
    }
}

/// Everything that is logged, as text.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<String>>);

impl Log {
    fn text(&self) -> String {
        self.0.lock().unwrap().clone()
    }
}

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        writeln!(self.0, "{field}={value:?}").unwrap();
    }
}

impl Subscriber for Log {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &span::Attributes<'_>) -> span::Id {
        span.record(&mut Fields(&mut self.0.lock().unwrap()));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        values.record(&mut Fields(&mut self.0.lock().unwrap()));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        event.record(&mut Fields(&mut self.0.lock().unwrap()));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
