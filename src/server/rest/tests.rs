//! The routes as a client meets them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    Router,
    body::Body,
    http::{HeaderMap, Request, StatusCode},
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::{DEFAULT_ORIGIN, RateLimit, RestState, attempts::Attempts, limit::Limiter, route::Route, router};
use crate::{
    broker::{Broker, EventForm},
    engine::{Engine, RootKey},
    identity::{Identity, IdentityOptions, IssuedKey},
    model::{Durability, Needs, Permission, Secret, Time},
    server::{
        encryption::DataKeys,
        lifecycle::{Lifecycle, Phase},
        root_key::RootKeyKeeper,
    },
    store::Store,
    sys::{Clock, Disk, Entropy, ManualClock},
    telemetry::Metrics,
};

const JSON: &str = "application/json; charset=utf-8";

pub(super) struct World {
    pub(super) state: RestState,
    pub(super) router: Router,
    pub(super) lifecycle: Lifecycle,
    pub(super) identity: Identity,
    pub(super) time: ManualClock,
    pub(super) healthy: Arc<AtomicBool>,
    pub(super) key: IssuedKey,
    /// Of the owner of the key's organization, dev@localhost.
    pub(super) owner_password: Secret,
}

pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

pub(super) async fn world() -> World {
    let time = ManualClock::default();
    time.set(Time::from_millis(1_795_000_000_500));
    let clock = Clock::manual(time.clone());
    let root = RootKey::generate(&Entropy::real());
    let options = IdentityOptions::new("http://localhost:5356/path", "http://localhost:5356", root.clone());
    let store = Store::memory();
    let records = store.records.clone();
    let engine = Engine::open(store.clone(), root, clock.clone(), Entropy::real()).await.unwrap();
    let broker =
        Broker::open(records.clone(), engine.clone(), clock.clone(), Entropy::real(), EventForm::OPAQUE).await.unwrap();
    let keeper = RootKeyKeeper::new(&Disk::memory(), &records, None, (&clock, &Entropy::real()));
    let data_keys = DataKeys { engine, broker: broker.clone(), keeper };
    let identity = Identity::open(records, clock.clone(), Entropy::real(), options).await.unwrap();
    let lifecycle = Lifecycle::start(clock.clone(), Phase::Serving);
    let healthy = Arc::new(AtomicBool::new(true));
    let state = RestState {
        identity: identity.clone(),
        broker,
        data_keys,
        metrics: Arc::new(Metrics::new()),
        lifecycle: lifecycle.clone(),
        healthy: {
            let healthy = healthy.clone();
            Arc::new(move || healthy.load(Ordering::SeqCst))
        },
        durability: Durability::Os,
        clock: clock.clone(),
        origins: [DEFAULT_ORIGIN.to_owned()].into(),
        limiter: None,
        attempts: None,
    };
    let key = identity.ensure_default().await.unwrap().issued.unwrap();
    let owner = identity.ensure_default_owner(key.key.organization).await.unwrap().unwrap();
    let owner_password = owner.password.unwrap();
    World { router: router(state.clone()), state, lifecycle, identity, time, healthy, key, owner_password }
}

impl World {
    pub(super) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let reply = self.router.clone().oneshot(request.body(body.into()).unwrap()).await.unwrap();
        let (parts, body) = reply.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Reply { status: parts.status, headers: parts.headers, body }
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, &[], Body::empty()).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Reply {
        self.ask("POST", path, &[], body.to_string()).await
    }

    pub(super) fn credentials(&self) -> Value {
        json!({"client_id": self.key.key.client_id, "client_secret": self.key.secret.expose_str()})
    }
}

impl Reply {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    pub(super) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), Some(JSON));
        serde_json::from_slice(&self.body).unwrap()
    }

    #[track_caller]
    pub(super) fn is_error(&self, status: u16, message: &str) {
        assert_eq!(self.status.as_u16(), status);
        assert_eq!(self.json(), json!({"success": false, "error": message}));
    }
}

#[tokio::test]
async fn status_and_routes() {
    let world = world().await;
    world.time.advance(std::time::Duration::from_millis(90_500));
    let status = world.get("/v1/status?x=1").await;
    assert_eq!(status.status, StatusCode::OK);
    assert_eq!(status.json(), json!({"status": "ok", "uptime": "1m30.5s", "version": "0.12.9", "durability": "os"}));

    for (method, path, allow) in [
        ("PUT", "/v1/status", "GET"),
        ("HEAD", "/v1/status", "GET"),
        ("OPTIONS", "/v1/status", "GET"),
        ("GET", "/v1/authenticate", "POST"),
        ("POST", "/.well-known/jwks.json", "GET"),
        ("DELETE", "/metrics", "GET"),
    ] {
        let reply = world.ask(method, path, &[], "").await;
        assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, Some(allow)), "{method} {path}");
        if method != "HEAD" {
            reply.is_error(405, "method not allowed");
        }
    }
    for path in ["/", "/nope", "/v1/nope", "/V1/status", "/v1//status", "/v1/nope/", "/v1/authenticate/"] {
        world.get(path).await.is_error(404, "resource not found");
    }
}

#[tokio::test]
async fn a_slash_too_many_redirects() {
    let world = world().await;
    let reply = world.get("/v1/status/?a=1&b=2").await;
    assert_eq!(reply.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(reply.header("location"), Some("/v1/status?a=1&b=2"));
    assert_eq!(reply.header("content-type"), Some("text/html; charset=utf-8"));
    let page = String::from_utf8(reply.body).unwrap();
    assert_eq!(page, "<a href=\"/v1/status?a=1&amp;b=2\">Moved Permanently</a>.\n\n");

    let reply = world.post("/v1/authenticate/", &json!({})).await;
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
    assert_eq!((reply.header("location"), reply.header("content-type")), (Some("/v1/authenticate"), None));
    assert!(reply.body.is_empty());
}

#[tokio::test]
async fn authenticate_gives_a_pair() {
    let world = world().await;
    let first = world.post("/v1/authenticate", &world.credentials()).await;
    assert_eq!(first.status, StatusCode::OK);
    let first = first.json();
    let names: Vec<_> = first.as_object().unwrap().keys().collect();
    assert_eq!(names, ["access_token", "refresh_token"]);
    world.identity.verify(first["access_token"].as_str().unwrap()).unwrap();

    let second = world.post("/v1/authenticate", &world.credentials()).await.json();
    assert_eq!(second["last_login"], json!("2026-11-18T11:06:40.5Z"));
}

#[tokio::test]
async fn authenticate_is_lenient_where_clients_need_it() {
    let world = world().await;
    let (id, secret) = (&world.key.key.client_id, world.key.secret.expose_str().unwrap());
    let plain = world.credentials().to_string();
    let bodies = [
        plain.clone(),
        format!("{plain} trailing"),
        json!({"CLIENT_ID": id, "Client_Secret": secret}).to_string(),
        json!({"client_id": id, "client_secret": secret, "scope": "x", "nested": {"a": [1]}}).to_string(),
    ];
    for body in bodies {
        assert_eq!(world.ask("POST", "/v1/authenticate", &[], body).await.status, StatusCode::OK);
    }
    for headers in [
        ("content-type", "application/x-www-form-urlencoded"),
        ("content-type", "text/plain"),
        ("authorization", "Bearer garbage"),
        ("authorization", "garbage"),
    ] {
        let reply = world.ask("POST", "/v1/authenticate", &[headers], plain.clone()).await;
        assert_eq!(reply.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn authenticate_refuses() {
    let world = world().await;
    let (id, secret) = (&world.key.key.client_id, world.key.secret.expose_str().unwrap());
    let ask = async |body: &str| world.ask("POST", "/v1/authenticate", &[], body.to_owned()).await;
    let form = format!("client_id={id}&client_secret={secret}");
    let bom = format!("\u{feff}{}", world.credentials());
    for body in ["{bad", "", "null", "[]", r#"{"client_id":5,"client_secret":true}"#, &form, &bom] {
        ask(body).await.is_error(400, "could not parse request");
    }
    for body in [json!({}), json!({"client_id": id}), json!({"client_id": "", "client_secret": secret})] {
        ask(&body.to_string()).await.is_error(400, "missing credentials");
    }
    let query = format!("/v1/authenticate?{form}");
    world.post(&query, &json!({})).await.is_error(400, "missing credentials");
    for (id, secret) in [(id.as_str(), "wrong"), (&"a".repeat(32), secret), (&world.key.key.id.to_string(), secret)] {
        let body = json!({"client_id": id, "client_secret": secret});
        ask(&body.to_string()).await.is_error(403, "invalid credentials");
    }
    world.identity.revoke_key(world.key.key.id).await.unwrap();
    ask(&world.credentials().to_string()).await.is_error(403, "invalid credentials");
}

#[tokio::test]
async fn a_body_has_a_limit() {
    let world = world().await;
    let mut body = world.credentials();
    let padding = |length: usize| json!("x".repeat(length));
    body["pad"] = padding(65_536 - body.to_string().len() - r#","pad":"""#.len());
    assert_eq!(body.to_string().len(), 65_536);
    assert_eq!(world.post("/v1/authenticate", &body).await.status, StatusCode::OK);
    body["pad"] = padding(65_536);
    world.post("/v1/authenticate", &body).await.is_error(413, "request body is too large");
    let announced = [("content-length", "65537")];
    let reply = world.ask("POST", "/v1/refresh", &announced, Body::empty()).await;
    reply.is_error(413, "request body is too large");
}

#[tokio::test]
async fn refresh() {
    const REFUSED: &str = "Logged out of your account - please log back in!";
    let world = world().await;
    let pair = world.post("/v1/authenticate", &world.credentials()).await.json();
    let ask = async |body: &Value| world.post("/v1/refresh", body).await;
    let token = &pair["refresh_token"];
    for body in [json!(null), json!([]), json!({}), json!({"refresh_token": token, "org_id": "garbage"})] {
        ask(&body).await.is_error(400, REFUSED);
    }
    for refused in [json!("garbage"), pair["access_token"].clone(), token.clone()] {
        ask(&json!({"refresh_token": refused})).await.is_error(403, REFUSED);
    }

    world.time.advance(std::time::Duration::from_mins(45));
    for body in [
        json!({"refresh_token": token}),
        json!({"refresh_token": token, "org_id": null}),
        json!({"refresh_token": token, "org_id": "00000000000000000000000000"}),
        json!({"refresh_token": token, "org_id": world.key.key.organization.to_string()}),
    ] {
        let reply = ask(&body).await;
        assert_eq!(reply.status, StatusCode::OK);
        let reply = reply.json();
        assert_eq!(reply["last_login"], json!("2026-11-18T11:06:40Z"));
        world.identity.verify(reply["access_token"].as_str().unwrap()).unwrap();
    }
    let foreign = json!({"refresh_token": token, "org_id": "01ARYZ6S41041061050R3GG28A"});
    ask(&foreign).await.is_error(403, REFUSED);
}

#[tokio::test]
async fn well_known_documents() {
    let world = world().await;
    let jwks = world.get("/.well-known/jwks.json").await;
    assert_eq!(jwks.header("cache-control"), None);
    let jwks = jwks.json();
    let key = jwks["keys"][0].as_object().unwrap();
    let names: Vec<_> = key.keys().map(String::as_str).collect();
    assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x"]);
    assert_eq!((key["alg"].as_str(), key["kty"].as_str()), (Some("EdDSA"), Some("OKP")));

    let openid = world.get("/.well-known/openid-configuration").await.json();
    assert_eq!(openid["issuer"], json!("http://localhost:5356/"));
    assert_eq!(openid["jwks_uri"], json!("http://localhost:5356/.well-known/jwks.json"));
    assert_eq!(openid.as_object().unwrap().len(), 18);
}

#[tokio::test]
async fn probes_and_metrics() {
    let world = world().await;
    for path in ["/livez", "/healthz", "/readyz"] {
        let reply = world.get(path).await;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, Some("text/plain")));
        assert_eq!(reply.body, b"ok");
    }
    let metrics = world.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(String::from_utf8(metrics.body).unwrap().contains("ensign_events{"));
    world.healthy.store(false, Ordering::SeqCst);
    for path in ["/readyz", "/healthz"] {
        let reply = world.get(path).await;
        assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(reply.body.ends_with(b"restart to recover"), "{path}");
    }
    assert_eq!(world.get("/livez").await.status, StatusCode::OK);
    let status = world.get("/v1/status").await;
    assert_eq!((status.status, &status.json()["status"]), (StatusCode::OK, &json!("unhealthy")));
}

#[tokio::test]
async fn nothing_but_probes_is_served_in_maintenance_or_while_stopping() {
    let world = world().await;
    for (phase, name, ready) in [(Phase::Maintenance, "maintenance", 200), (Phase::Stopping, "stopping", 503)] {
        world.lifecycle.enter(phase);
        for path in ["/v1/status", "/v1/authenticate", "/nope", "/metrics", "/.well-known/jwks.json", "/v1/status/"] {
            let reply = world.get(path).await;
            assert_eq!(reply.status, StatusCode::SERVICE_UNAVAILABLE);
            let expected = json!({"status": name, "uptime": "0s", "version": "0.12.9", "durability": "os"});
            assert_eq!(reply.json(), expected);
        }
        assert_eq!(world.get("/livez").await.status, StatusCode::OK);
        assert_eq!(world.get("/readyz").await.status.as_u16(), ready);
    }
    world.lifecycle.enter(Phase::Serving);
    assert_eq!(world.lifecycle.phase(), Phase::Stopping);
}

#[tokio::test]
async fn pages_of_other_origins() {
    let world = world().await;
    let ask = async |method: &str, path: &str, origin: &str| {
        world.ask(method, path, &[("origin", origin), ("host", "localhost:5356")], "").await
    };
    let foreign = ask("GET", "/v1/status", "http://evil.example").await;
    assert_eq!((foreign.status.as_u16(), foreign.body.len()), (403, 0));
    assert_eq!(ask("OPTIONS", "/v1/authenticate", "http://evil.example").await.status, StatusCode::FORBIDDEN);
    assert_eq!(ask("GET", "/livez", "http://evil.example").await.status, StatusCode::OK);

    let own = ask("GET", "/v1/status", "http://localhost:5356").await;
    assert_eq!((own.status.as_u16(), own.header("access-control-allow-origin")), (200, None));

    for path in ["/v1/status", "/nope"] {
        let allowed = ask("GET", path, DEFAULT_ORIGIN).await;
        assert_eq!(allowed.header("access-control-allow-origin"), Some(DEFAULT_ORIGIN));
        assert_eq!(allowed.header("access-control-allow-credentials"), Some("true"));
        assert_eq!(allowed.header("vary"), Some("Origin"));
        let preflight = ask("OPTIONS", path, DEFAULT_ORIGIN).await;
        assert_eq!((preflight.status.as_u16(), preflight.header("content-type")), (204, None));
        assert_eq!(preflight.header("access-control-max-age"), Some("43200"));
    }
}

/// Rows whose handlers say who is calling, to try the gate by itself.
async fn gated() -> (World, Router) {
    const EDIT: Needs = Needs::All(&[Permission::TopicsRead, Permission::ProjectsEdit]);
    const TOPICS: Needs = Needs::All(&[Permission::TopicsRead, Permission::TopicsEdit]);
    let world = world().await;
    let name = |caller: super::caller::Caller| async move { caller.0.subject.to_string() };
    let anybody = |request: Request<Body>| async move {
        request.extensions().get::<super::caller::Caller>().is_some().to_string()
    };
    let table = vec![
        Route::get("/free", Needs::Nothing, "", anybody),
        Route::get("/free/caller", Needs::Nothing, "", name),
        Route::get("/known", Needs::SignedIn, "", name),
        Route::post("/known", EDIT, "", name),
        Route::put("/known/{id}", TOPICS, "", name),
    ];
    let state = world.state.clone();
    let router = super::route::router(table, &state).with_state(state);
    (world, router)
}

#[tokio::test]
async fn the_gate_asks_for_all_that_a_route_needs() {
    let (mut world, router) = gated().await;
    world.router = router;
    let signed_in = world.identity.authenticate(&world.key.key.client_id, &world.key.secret).await.unwrap();
    let bearer = format!("Bearer {}", signed_in.access.expose_str().unwrap());
    let cookie = format!("access_token={}", signed_in.access.expose_str().unwrap());
    let refresh = format!("Bearer {}", signed_in.refresh.expose_str().unwrap());
    let name = world.key.key.id.to_string();

    for header in [("authorization", bearer.as_str()), ("cookie", cookie.as_str())] {
        let reply = world.ask("GET", "/known", &[header], "").await;
        assert_eq!((reply.status.as_u16(), reply.body), (200, name.clone().into_bytes()));
        let reply = world.ask("PUT", "/known/x", &[header], "").await;
        assert_eq!((reply.status.as_u16(), reply.body), (200, name.clone().into_bytes()));
        let reply = world.ask("POST", "/known", &[header], "").await;
        reply.is_error(403, "user does not have permission to perform this operation");
        // A token does no harm where none is asked for, and is not looked at.
        let reply = world.ask("GET", "/free", &[header], "").await;
        assert_eq!((reply.status.as_u16(), reply.body.as_slice()), (200, &b"false"[..]));
        let reply = world.ask("GET", "/free/caller", &[header], "").await;
        reply.is_error(401, "this endpoint requires authentication");
    }
    for headers in [
        &[][..],
        &[("authorization", "Bearer garbage")],
        &[("authorization", "")],
        &[("authorization", refresh.as_str())],
        &[("cookie", "access_token=garbage")],
        &[("authorization", "garbage"), ("cookie", cookie.as_str())],
    ] {
        for (method, path) in [("GET", "/known"), ("POST", "/known"), ("PUT", "/known/x")] {
            let reply = world.ask(method, path, headers, "").await;
            reply.is_error(401, "this endpoint requires authentication");
        }
    }
    // A method that is not there is told so to anybody.
    let reply = world.ask("DELETE", "/known", &[], "").await;
    assert_eq!((reply.status.as_u16(), reply.header("allow")), (405, Some("GET, POST")));
    world.identity.revoke_key(world.key.key.id).await.unwrap();
    let reply = world.ask("GET", "/known", &[("authorization", &bearer)], "").await;
    reply.is_error(401, "this endpoint requires authentication");
}

#[tokio::test]
async fn a_slash_behind_a_parameter_redirects() {
    let (mut world, router) = gated().await;
    world.router = router;
    let reply = world.ask("PUT", "/known/x/", &[], "").await;
    assert_eq!((reply.status.as_u16(), reply.header("location")), (307, Some("/known/x")));
    world.get("/known/x/").await.is_error(404, "resource not found");
}

/// A world where everybody may make three requests at once, and one a second.
async fn limited(trusted: &[&str]) -> World {
    let mut world = world().await;
    let number = |number| std::num::NonZeroU32::new(number).unwrap();
    let limit = RateLimit { per_second: number(1), burst: number(3) };
    let trusted = trusted.iter().map(|network| network.parse().unwrap()).collect();
    let clock = Clock::manual(world.time.clone());
    world.state.limiter = Some(Arc::new(Limiter::new(limit, trusted, clock.clone())));
    world.state.attempts = Some(Arc::new(Attempts::new(clock)));
    world.router = router(world.state.clone());
    world
}

#[tokio::test]
async fn who_asks_too_often_has_to_wait() {
    let world = limited(&[]).await;
    let left = |reply: &Reply| {
        let header = |name: &str| reply.header(name).map(|text| text.parse::<u32>().unwrap());
        [header("x-ratelimit-limit"), header("x-ratelimit-remaining"), header("x-ratelimit-reset")]
    };
    assert_eq!(left(&world.get("/v1/status").await), [Some(3), Some(2), Some(1)]);
    assert_eq!(left(&world.get("/nope").await), [Some(3), Some(1), Some(1)]);
    let foreign = world.ask("GET", "/v1/status", &[("origin", "http://evil.example")], "").await;
    assert_eq!((foreign.status.as_u16(), left(&foreign)), (403, [Some(3), Some(0), Some(1)]));
    let refused = world.get("/v1/status").await;
    assert_eq!((left(&refused), refused.header("retry-after")), ([Some(3), Some(0), Some(1)], Some("1")));
    refused.is_error(429, "rate limit reached: too many requests");
    for _ in 0..10 {
        let probe = world.get("/livez").await;
        assert_eq!((probe.status.as_u16(), left(&probe)), (200, [None; 3]));
    }
    world.time.advance(std::time::Duration::from_secs(1));
    assert_eq!(world.get("/v1/status").await.status, StatusCode::OK);
    assert_eq!(world.get("/v1/status").await.status, StatusCode::TOO_MANY_REQUESTS);
}

/// Whoever could name another address at every request would never be limited.
#[tokio::test]
async fn forwarded_addresses_of_strangers_do_not_count() {
    let world = limited(&["10.0.0.0/8"]).await;
    for name in ["x-forwarded-for", "x-real-ip"] {
        for last in 0..5 {
            world.ask("GET", "/v1/status", &[(name, &format!("192.0.2.{last}"))], "").await;
        }
    }
    assert_eq!(world.get("/v1/status").await.status, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn an_account_that_is_guessed_at_has_to_wait() {
    let world = limited(&[]).await;
    let mut wrong = world.credentials();
    wrong["client_secret"] = json!("wrong");
    let mut statuses = Vec::new();
    for _ in 0..11 {
        world.time.advance(std::time::Duration::from_millis(400));
        // Each from an address of its own, as far as the other limit is concerned.
        let number = |number| std::num::NonZeroU32::new(number).unwrap();
        let limit = RateLimit { per_second: number(100), burst: number(100) };
        let mut state = world.state.clone();
        state.limiter = Some(Arc::new(Limiter::new(limit, Vec::new(), Clock::manual(world.time.clone()))));
        let request = Request::builder().method("POST").uri("/v1/authenticate").body(Body::from(wrong.to_string()));
        statuses.push(router(state).oneshot(request.unwrap()).await.unwrap().status().as_u16());
    }
    assert_eq!(statuses, [403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 429]);
    world.post("/v1/authenticate", &world.credentials()).await.is_error(429, "rate limit reached: too many requests");
    world.time.advance(std::time::Duration::from_secs(6));
    assert_eq!(world.post("/v1/authenticate", &world.credentials()).await.status, StatusCode::OK);
}

/// Each of them was let in before the first had failed.
#[tokio::test]
async fn guesses_at_the_same_time_learn_no_more_than_others() {
    let mut world = limited(&[]).await;
    // As if each came from an address of its own.
    world.state.limiter = None;
    world.router = router(world.state.clone());
    let wrong = |number: usize| json!({"email": "dev@localhost", "password": format!("wrong {number}")});
    let right = json!({"email": "DEV@localhost", "password": world.owner_password.expose_str().unwrap()});
    let guesses: Vec<Value> = (0..10).map(wrong).chain([right, wrong(10)]).collect();
    let replies = futures_util::future::join_all(guesses.iter().map(|guess| world.post("/v1/login", guess))).await;
    let statuses: Vec<u16> = replies.iter().map(|reply| reply.status.as_u16()).collect();
    assert_eq!(statuses, [403, 403, 403, 403, 403, 403, 403, 403, 403, 403, 429, 429]);
    let metrics = String::from_utf8(world.get("/metrics").await.body).unwrap();
    let failed = "user_metrics_failed_logins{service=\"ensign\",type=\"human\",cause=\"credentials\"} 11\n";
    assert!(metrics.contains(failed), "{metrics}");
}

#[tokio::test]
async fn requests_are_counted_by_their_routes() {
    let world = world().await;
    for path in ["/v1/status", "/v1/status?token=secret", "/nope/secret", "/v1/authenticate", "/livez"] {
        world.get(path).await;
    }
    let metrics = String::from_utf8(world.get("/metrics").await.body).unwrap();
    let count = |code: u16, path: &str| {
        let labels = format!("http_stats_requests_handled{{service=\"ensign\",code=\"{code}\",path=\"{path}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&labels).map(str::to_owned))
    };
    assert_eq!(count(200, "/v1/status").as_deref(), Some("2"));
    assert_eq!(count(404, "unknown").as_deref(), Some("1"));
    assert_eq!(count(405, "/v1/authenticate").as_deref(), Some("1"));
    assert_eq!(count(200, "/livez"), None);
    assert!(!metrics.contains("secret"));
}

/// The document and the table are the same operations, each with what it asks of its caller.
#[tokio::test]
async fn the_document_is_the_table() {
    let world = world().await;
    let document = world.get("/openapi.json").await.json();
    let mut described = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            described.push((path.clone(), method.to_uppercase(), operation.clone()));
        }
    }
    let table = super::table();
    assert_eq!(described.len(), table.len());
    let mut names = std::collections::BTreeSet::new();
    for route in &table {
        let found = described.iter().find(|(path, method, _)| path == route.path && *method == route.method.as_str());
        let (_, _, operation) = found.unwrap_or_else(|| panic!("{} {} is not described", route.method, route.path));
        assert!(names.insert(operation["operationId"].as_str().unwrap()));
        assert!(!operation["summary"].as_str().unwrap().is_empty(), "{}", route.path);
        let scopes = |permissions: &[Permission]| json!(permissions.iter().map(|one| one.name()).collect::<Vec<_>>());
        let expected = match route.needs {
            Needs::Nothing => json!(null),
            Needs::SignedIn => json!([{"bearer": []}, {"cookie": []}]),
            Needs::All(all) => json!([{"bearer": scopes(all)}, {"cookie": scopes(all)}]),
            Needs::Any(any) => {
                let with = |scheme: &str| any.iter().map(|one| json!({ scheme: scopes(&[*one]) })).collect::<Vec<_>>();
                json!([with("bearer"), with("cookie")].concat())
            }
        };
        assert_eq!(operation["security"], expected, "{} {}", route.method, route.path);
        assert!(!route.replies.is_empty(), "{} {} says nothing of its answer", route.method, route.path);
        assert_eq!(operation["requestBody"].is_object(), route.body.is_some());
    }
    // What is referred to is there.
    let text = document.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
