//! The service as a client meets it: who is let in, in which order things are looked at, what is given back.

use std::sync::atomic::AtomicBool;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use tonic::{
    codec::CompressionEncoding,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
};
use tonic_health::pb::{health_check_response::ServingStatus, health_client::HealthClient};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

use super::*;
use crate::{
    api::ensign::{self, ensign_client::EnsignClient},
    broker::EventForm,
    engine::{Batch, Engine, RootKey, TypeCount},
    identity::{IdentityOptions, NewKey},
    model::{API_VERSION, Permission, Permissions, ProjectId, Secret, Time, TopicId, Ulid},
    store::Store,
    sys::{Entropy, ManualClock},
};

const NOW_S: i64 = 1_795_000_000;

struct World {
    service: GrpcService,
    lifecycle: Lifecycle,
    metrics: Arc<Metrics>,
    healthy: Arc<AtomicBool>,
    engine: Engine,
    identity: Identity,
    project: ProjectId,
    /// An access token with all permissions of a key, and the refresh token that came with it.
    token: String,
    refresh_token: String,
}

/// Adds an access token to a call.
#[derive(Debug, Clone)]
struct Bearer(String);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        let value = MetadataValue::try_from(format!("Bearer {}", self.0)).unwrap();
        request.metadata_mut().insert("authorization", value);
        Ok(request)
    }
}

impl World {
    async fn new() -> World {
        let time = ManualClock::default();
        time.set(Time::from_millis(NOW_S * 1_000));
        let (store, clock, entropy) = (Store::memory(), Clock::manual(time), Entropy::real());
        let root = RootKey::new(&Secret::new([7; 32])).unwrap();
        let engine = Engine::open(store.clone(), root.clone(), clock.clone(), entropy.clone()).await.unwrap();
        let records = store.records;
        let broker = Broker::open(records.clone(), engine.clone(), clock.clone(), entropy.clone(), EventForm::OPAQUE)
            .await
            .unwrap();
        let options = IdentityOptions::new("http://localhost:5356", "http://localhost:5356", root);
        let identity = Identity::open(records, clock.clone(), entropy, options).await.unwrap();
        let lifecycle = Lifecycle::start(clock.clone(), Phase::Serving);
        let (metrics, healthy) = (Arc::new(Metrics::new()), Arc::new(AtomicBool::new(true)));
        let service = service(State {
            broker,
            identity: identity.clone(),
            metrics: metrics.clone(),
            lifecycle: lifecycle.clone(),
            clock,
            durability: Durability::Os,
            healthy: {
                let healthy = healthy.clone();
                Arc::new(move || healthy.load(Ordering::SeqCst))
            },
        });
        let started = identity.ensure_default().await.unwrap();
        let issued = started.issued.unwrap();
        let tokens = identity.authenticate(&issued.key.client_id, &issued.secret).await.unwrap();
        World {
            service,
            lifecycle,
            metrics,
            healthy,
            engine,
            identity,
            project: started.project.id,
            token: tokens.access.expose_str().unwrap().to_owned(),
            refresh_token: tokens.refresh.expose_str().unwrap().to_owned(),
        }
    }

    fn client(&self) -> EnsignClient<InterceptedService<GrpcService, Bearer>> {
        EnsignClient::with_interceptor(self.service.clone(), Bearer(self.token.clone()))
    }

    /// The access token of a key that may do this alone.
    async fn token_for(&self, permission: Permission) -> String {
        let permissions: Permissions = [permission].into_iter().collect();
        let new = NewKey { name: "narrow".to_owned(), project: self.project, permissions, created_by: None };
        let issued = self.identity.create_key(new).await.unwrap();
        let tokens = self.identity.authenticate(&issued.key.client_id, &issued.secret).await.unwrap();
        tokens.access.expose_str().unwrap().to_owned()
    }

    async fn create(&self, topic: ensign::Topic) -> ensign::Topic {
        self.client().create_topic(topic).await.unwrap().into_inner()
    }

    /// Sends bytes as they are, framed or not, and gives the status.
    async fn raw(&self, path: &str, headers: &[(&str, String)], body: Vec<u8>) -> Status {
        let mut request = Request::builder().method("POST").uri(path).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let body = http_body_util::Full::new(Bytes::from(body));
        let response = self.service.clone().call(request.body(body).unwrap()).await.unwrap();
        if let Some(status) = Status::from_header_map(response.headers()) {
            return status;
        }
        let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap();
        Status::from_header_map(body.trailers().unwrap()).unwrap()
    }

    fn bearer(&self) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", self.token))
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

fn named(name: &str) -> ensign::Topic {
    ensign::Topic { name: name.to_owned(), ..ensign::Topic::default() }
}

fn id_text(topic: &ensign::Topic) -> String {
    Ulid::from_slice(&topic.id).unwrap().to_string()
}

#[track_caller]
fn check(status: &Status, code: Code, text: &str) {
    assert_eq!((status.code(), status.message()), (code, text));
}

const LIST: &str = "/ensign.v1beta1.Ensign/ListTopics";
const EXISTS: &str = "/ensign.v1beta1.Ensign/TopicExists";

#[tokio::test]
async fn strangers_are_refused_before_anything_is_read() {
    let world = World::new().await;
    let garbage = framed(b"\xff\xff");
    for path in [
        "ListTopics",
        "CreateTopic",
        "RetrieveTopic",
        "DeleteTopic",
        "SetTopicPolicy",
        "TopicNames",
        "TopicExists",
        "Info",
        "Explain",
    ] {
        let path = format!("/ensign.v1beta1.Ensign/{path}");
        let refused = world.raw(&path, &[], garbage.clone()).await;
        check(&refused, Code::Unauthenticated, "missing credentials");
        let token = ("authorization", "Bearer x".to_owned());
        let refused = world.raw(&path, &[token], garbage.clone()).await;
        check(&refused, Code::Unauthenticated, "invalid credentials");
        let known = world.raw(&path, &[world.bearer()], garbage.clone()).await;
        assert_eq!(known.code(), Code::InvalidArgument, "{path}: {known:?}");
    }
}

#[tokio::test]
async fn the_first_token_that_verifies_counts() {
    let world = World::new().await;
    let (good, refresh) = (format!("Bearer {}", world.token), format!("Bearer {}", world.refresh_token));
    let ask = async |values: &[&str]| {
        let headers: Vec<_> = values.iter().map(|value| ("authorization", (*value).to_owned())).collect();
        world.raw(LIST, &headers, framed(b"")).await.code()
    };
    assert_eq!(ask(&[&good]).await, Code::Ok);
    assert_eq!(ask(&["Basic eA==", "Bearer x", &good]).await, Code::Ok);
    assert_eq!(ask(&[&good, "Bearer x"]).await, Code::Ok);
    let bare = world.token.clone();
    for bad in [&bare, &good.replace("Bearer", "bearer"), &good.replace(' ', "  "), &refresh, "Bearer ", ""] {
        assert_eq!(ask(&[bad]).await, Code::Unauthenticated, "{}", bad.len());
    }
    assert_eq!(ask(&[]).await, Code::Unauthenticated);
}

#[tokio::test]
async fn anybody_may_ask_for_the_status() {
    let world = World::new().await;
    let mut client = EnsignClient::new(world.service.clone());
    let reply = client.status(ensign::HealthCheck { attempts: 9, ..Default::default() }).await.unwrap();
    assert_eq!(reply.metadata().get(DURABILITY_HEADER).unwrap(), "os");
    let state = reply.into_inner();
    assert_eq!(state.status(), ensign::service_state::Status::Healthy);
    assert_eq!(state.version, API_VERSION);
    assert!(state.uptime.is_some());
    assert_eq!(state.not_before.unwrap().seconds, NOW_S + 60);
    assert_eq!(state.not_after.unwrap().seconds, NOW_S + 3600);
    world.healthy.store(false, Ordering::SeqCst);
    let state = client.status(ensign::HealthCheck::default()).await.unwrap().into_inner();
    assert_eq!(state.status(), ensign::service_state::Status::Unhealthy);
}

#[tokio::test]
async fn maintenance_refuses_all_but_status_and_health() {
    let world = World::new().await;
    world.lifecycle.enter(Phase::Maintenance);
    let text = "the Ensign server is currently in maintenance mode";
    let reflection = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    for path in [LIST, "/ensign.v1beta1.Ensign/Nothing", reflection] {
        check(&world.raw(path, &[], framed(b"\xff")).await, Code::Unavailable, text);
    }
    let state = EnsignClient::new(world.service.clone()).status(ensign::HealthCheck::default()).await.unwrap();
    assert_eq!(state.into_inner().status(), ensign::service_state::Status::Maintenance);
    let mut health = HealthClient::new(world.service.clone());
    let reply = health.check(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(reply.status(), ServingStatus::NotServing);
}

#[tokio::test]
async fn health_is_told_and_watched() {
    let world = World::new().await;
    let mut health = HealthClient::new(world.service.clone());
    let request = |service: &str| HealthCheckRequest { service: service.to_owned() };
    for (service, expected) in [
        ("", ServingStatus::Serving),
        ("default", ServingStatus::Serving),
        ("ensign.v1beta1.Ensign", ServingStatus::Unknown),
        ("x", ServingStatus::Unknown),
    ] {
        assert_eq!(health.check(request(service)).await.unwrap().into_inner().status(), expected, "{service:?}");
    }
    let mut watch = health.watch(request("")).await.unwrap().into_inner();
    let mut unknown = health.watch(request("x")).await.unwrap().into_inner();
    let mut next = async || watch.message().await.unwrap().map(|reply| reply.status());
    assert_eq!(next().await, Some(ServingStatus::Serving));
    world.healthy.store(false, Ordering::SeqCst);
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    world.healthy.store(true, Ordering::SeqCst);
    assert_eq!(next().await, Some(ServingStatus::Serving));
    world.lifecycle.enter(Phase::Stopping);
    assert_eq!(next().await, Some(ServingStatus::NotServing));
    assert_eq!(next().await, None);
    assert_eq!(unknown.message().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
    assert!(unknown.message().await.unwrap().is_none());
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let world = World::new().await;
    let mut client = ServerReflectionClient::new(world.service.clone());
    let message_request = Some(MessageRequest::ListServices(String::new()));
    let request = ServerReflectionRequest { host: String::new(), message_request };
    let mut replies = client.server_reflection_info(stream::iter([request])).await.unwrap().into_inner();
    let reply = replies.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = reply else { panic!("{reply:?}") };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(names.contains(&"ensign.v1beta1.Ensign") && names.contains(&"grpc.health.v1.Health"), "{names:?}");
}

#[tokio::test]
async fn what_nobody_serves_is_unimplemented() {
    let world = World::new().await;
    let unknown = world.raw("/ensign.v1beta1.Ensign/Nothing", &[], Vec::new()).await;
    check(&unknown, Code::Unimplemented, "unknown method Nothing for service ensign.v1beta1.Ensign");
    let unknown = world.raw("/ensign.v9.Ensign/Status", &[], Vec::new()).await;
    check(&unknown, Code::Unimplemented, "unknown service ensign.v9.Ensign");
}

/// The plan itself has no room in the reply.
#[tokio::test]
async fn a_query_is_explained_when_it_could_be_run() {
    let world = World::new().await;
    world.create(named("t")).await;
    let explain = async |text: &str| {
        let query = ensign::Query { query: text.to_owned(), ..Default::default() };
        world.client().explain(query).await.map(tonic::Response::into_inner)
    };
    assert_eq!(explain("SELECT a FROM t WHERE b > 1").await.unwrap(), ensign::QueryExplanation::default());
    for (text, error) in [
        ("", "invalid query"),
        ("SELECT * FROM other", "unknown topic in query"),
        ("DELETE FROM t", "syntax error at position 0 near \"DELETE\": invalid query type"),
        ("SELECT * FROM t WHERE a = :x", "no value is given for the parameter :x"),
    ] {
        check(&explain(text).await.unwrap_err(), Code::InvalidArgument, error);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_the_clients_fault() {
    let world = World::new().await;
    let ask = async |headers: &[(&str, String)], body: Vec<u8>| {
        let headers = [&[world.bearer()], headers].concat();
        world.raw(EXISTS, &headers, body).await.code()
    };
    assert_eq!(ask(&[], framed(b"\x1a\x7f")).await, Code::InvalidArgument);
    assert_eq!(ask(&[], framed(b"\x1a\x02\xff\xfe")).await, Code::InvalidArgument);
    assert_eq!(ask(&[], framed(b"\x1a\x01a\xfa\x3f\x01x")).await, Code::Ok);
    assert_eq!(ask(&[], Vec::new()).await, Code::InvalidArgument);
    let brotli = ("grpc-encoding", "br".to_owned());
    assert_eq!(ask(&[brotli], framed(b"\x1a\x01a")).await, Code::Unimplemented);
    let gzip = ("grpc-encoding", "gzip".to_owned());
    let mut junk = framed(b"junk");
    junk[0] = 1;
    assert_eq!(ask(&[gzip], junk).await, Code::InvalidArgument);
    let name = "x".repeat(SDK_MESSAGE_BYTES_MAX - 5);
    let fits = ensign::TopicName { name: name.clone(), ..Default::default() }.encode_to_vec();
    assert_eq!(fits.len(), SDK_MESSAGE_BYTES_MAX);
    assert_eq!(ask(&[], framed(&fits)).await, Code::Ok);
    let too_large = ensign::TopicName { name: name + "x", ..Default::default() }.encode_to_vec();
    assert_eq!(ask(&[], framed(&too_large)).await, Code::ResourceExhausted);
}

#[tokio::test]
async fn messages_are_compressed_both_ways() {
    let world = World::new().await;
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = world.client().send_compressed(encoding).accept_compressed(encoding);
        let name = "x".repeat(1_000);
        let request = ensign::TopicName { name: name.clone(), ..Default::default() };
        let reply = client.topic_exists(request).await.unwrap();
        let told = reply.metadata().get("grpc-encoding").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(told.as_deref(), Some(if encoding == CompressionEncoding::Gzip { "gzip" } else { "zstd" }));
        assert_eq!(reply.into_inner().query, format!("name=\"{name}\""));
    }
}

#[tokio::test]
async fn a_topic_comes_back_as_it_was_made() {
    let world = World::new().await;
    let sent = ensign::Topic {
        readonly: true,
        offset: 7,
        shards: 3,
        status: 3,
        types: vec![ensign::Type { name: "Given".to_owned(), major_version: 1, ..Default::default() }],
        placements: vec![ensign::Placement { epoch: 4, ..Default::default() }],
        created: Some(prost_types::Timestamp { seconds: 1, nanos: 0 }),
        deduplication: Some(ensign::Deduplication { strategy: 2, ..Default::default() }),
        ..named("rich")
    };
    let made = world.create(sent.clone()).await;
    assert_eq!((made.id.len(), &*made.project_id), (16, world.project.as_bytes().as_slice()));
    let now = Some(prost_types::Timestamp { seconds: NOW_S, nanos: 0 });
    let expected = ensign::Topic {
        id: made.id.clone(),
        project_id: made.project_id.clone(),
        status: 1,
        deduplication: Some(ensign::Deduplication { strategy: 2, offset: 1, ..Default::default() }),
        created: now,
        modified: now,
        ..sent
    };
    assert_eq!(made, expected);
    let wanted = ensign::Topic { id: made.id.clone(), ..Default::default() };
    assert_eq!(world.client().retrieve_topic(wanted).await.unwrap().into_inner(), made);
    let page = world.client().list_topics(ensign::PageInfo::default()).await.unwrap().into_inner();
    assert_eq!(page, ensign::TopicsPage { topics: vec![made.clone()], next_page_token: String::new() });
    let names = world.client().topic_names(ensign::PageInfo::default()).await.unwrap().into_inner().topic_names;
    let expected = ensign::TopicName {
        topic_id: id_text(&made),
        project_id: world.project.to_string(),
        name: URL_SAFE_NO_PAD.encode(crate::model::murmur3_128(b"rich")),
    };
    assert_eq!(names, [expected]);
}

#[tokio::test]
async fn unknown_fields_of_a_topic_are_kept() {
    let world = World::new().await;
    let message = [named("future").encode_to_vec().as_slice(), b"\xfa\x3f\x01x"].concat();
    let created = world.raw("/ensign.v1beta1.Ensign/CreateTopic", &[world.bearer()], framed(&message)).await;
    assert_eq!(created.code(), Code::Ok);
    let topic = world.service.state.broker.directory().resolve(world.project, "future").unwrap().topic();
    assert_eq!(topic.extra, b"\xfa\x3f\x01x");
}

#[tokio::test]
async fn pages_are_walked_by_token() {
    let world = World::new().await;
    for number in 0..5 {
        world.create(named(&format!("t{number}"))).await;
    }
    let (mut info, mut ids) = (ensign::PageInfo { page_size: 2, ..Default::default() }, Vec::new());
    loop {
        let page = world.client().list_topics(info.clone()).await.unwrap().into_inner();
        ids.extend(page.topics.into_iter().map(|topic| topic.id));
        info.next_page_token = page.next_page_token;
        if info.next_page_token.is_empty() {
            break;
        }
    }
    assert_eq!((ids.len(), ids.is_sorted()), (5, true));
    info.next_page_token = "garbage".to_owned();
    let refused = world.client().topic_names(info).await.unwrap_err();
    check(&refused, Code::InvalidArgument, "invalid next page token");
}

#[tokio::test]
async fn policies_archive_and_destroy_answer_with_states() {
    let world = World::new().await;
    let topic = world.create(named("short-lived")).await;
    let mut client = world.client();
    let id = id_text(&topic);
    let deduplication_policy = Some(ensign::Deduplication { strategy: 2, ..Default::default() });
    let policy = ensign::TopicPolicy { id: id.to_lowercase(), deduplication_policy, ..Default::default() };
    let status = client.set_topic_policy(policy.clone()).await.unwrap().into_inner();
    assert_eq!((status.id.as_str(), status.state()), (id.as_str(), ensign::TopicState::Pending));
    let status = client.set_topic_policy(policy).await.unwrap().into_inner();
    assert_eq!(status.state(), ensign::TopicState::Ready);
    // What the SDKs send to change how a topic is sharded.
    let sharding = ensign::TopicPolicy { id: id.clone(), sharding_strategy: 2, ..Default::default() };
    let status = client.set_topic_policy(sharding).await.unwrap().into_inner();
    assert_eq!(status.state(), ensign::TopicState::Ready);
    for (operation, state) in [(1, ensign::TopicState::Readonly), (2, ensign::TopicState::Deleting)] {
        let wanted = ensign::TopicMod { id: id.to_lowercase(), operation };
        let status = client.delete_topic(wanted).await.unwrap().into_inner();
        assert_eq!((status.id.as_str(), status.state()), (id.as_str(), state));
    }
    let exists = ensign::TopicName { name: "short-lived".to_owned(), ..Default::default() };
    assert!(!client.topic_exists(exists).await.unwrap().into_inner().exists);
}

#[tokio::test]
async fn info_counts_what_was_committed() {
    let world = World::new().await;
    let (first, empty) = (world.create(named("first")).await, world.create(named("empty")).await);
    let id = TopicId(Ulid::from_slice(&first.id).unwrap());
    let typed = |name: &str| ensign::Type { name: name.to_owned(), ..Default::default() }.encode_to_vec();
    let count =
        |schema: Vec<u8>, events, data_bytes| TypeCount { schema: schema.into(), mimetype: 50, events, data_bytes };
    let types = vec![count(vec![], 1, 10), count(typed("A"), 1, 20), count(typed("Unspecified"), 1, 40)];
    let batch = Batch { records: vec![0, 0, 0], count: 3, publisher: Bytes::new(), types };
    let stream = world.engine.topic(id, world.project).await.unwrap();
    let permit = world.engine.admit(3).await;
    stream.append(batch, permit).await.await.unwrap().unwrap();

    let info = world.client().info(ensign::InfoRequest::default()).await.unwrap().into_inner();
    assert_eq!((&*info.project_id, info.num_topics, info.num_readonly_topics), (&*first.project_id, 2, 0));
    assert_eq!((info.events, info.duplicates, info.data_size_bytes), (3, 0, 70));
    let of = |id: &Bytes| info.topics.iter().find(|topic| topic.topic_id == id).unwrap();
    let nothing =
        ensign::TopicInfo { topic_id: empty.id.clone(), project_id: empty.project_id.clone(), ..Default::default() };
    assert_eq!(*of(&empty.id), nothing);
    let counted = of(&first.id);
    assert_eq!((counted.events, counted.event_offset_id.len()), (3, 10));
    assert_eq!(counted.modified.unwrap().seconds, NOW_S);
    let types: Vec<_> = counted
        .types
        .iter()
        .map(|info| (info.r#type.clone().unwrap().name, info.events, info.data_size_bytes))
        .collect();
    assert_eq!(types, [("Unspecified".to_owned(), 2, 50), ("A".to_owned(), 1, 20)]);
}

/// Every method × every permission that a key can have alone. What several permissions allow together is tried with all.
#[tokio::test]
async fn every_method_asks_for_its_permission() {
    let world = World::new().await;
    let topic = world.create(named("t")).await;
    let change = |operation: ensign::topic_mod::Operation| {
        ensign::TopicMod { id: id_text(&topic), operation: operation.into() }.encode_to_vec()
    };
    let name = ensign::TopicName { name: "t".to_owned(), ..ensign::TopicName::default() };
    let methods: [(&str, Vec<u8>, &[&str]); 11] = [
        ("ListTopics", Vec::new(), &["topics:read"]),
        ("RetrieveTopic", topic.encode_to_vec(), &["topics:read"]),
        ("CreateTopic", Vec::new(), &["topics:create"]),
        ("SetTopicPolicy", Vec::new(), &["topics:edit"]),
        ("TopicNames", Vec::new(), &["topics:read", "publisher", "subscriber"]),
        ("TopicExists", name.encode_to_vec(), &["topics:read", "publisher", "subscriber"]),
        ("Info", Vec::new(), &[]),
        ("Explain", Vec::new(), &["subscriber"]),
        ("Status", Vec::new(), &["-"]),
        // These two change the topic, so they come last.
        ("DeleteTopic", change(ensign::topic_mod::Operation::Archive), &["topics:edit"]),
        ("DeleteTopic", change(ensign::topic_mod::Operation::Destroy), &["topics:destroy"]),
    ];
    let mut callers = Vec::new();
    for permission in Permissions::full_key().iter() {
        callers.push((permission, ("authorization", format!("Bearer {}", world.token_for(permission).await))));
    }
    for (method, body, allowed) in methods {
        let path = format!("/ensign.v1beta1.Ensign/{method}");
        for (permission, bearer) in &callers {
            let status = world.raw(&path, std::slice::from_ref(bearer), framed(&body)).await;
            let is_refused = status.code() == Code::PermissionDenied;
            let may = allowed.contains(&permission.name()) || allowed == ["-"];
            assert_eq!(is_refused, !may, "{method} with {permission}: {status}");
        }
        let status = world.raw(&path, &[world.bearer()], framed(&body)).await;
        assert_ne!(status.code(), Code::PermissionDenied, "{method} with all: {status}");
    }
}

#[tokio::test]
async fn calls_are_counted_by_status() {
    let world = World::new().await;
    let handled = |method: &str, kind: &str, code: &str, count: u64| {
        let service = if kind == "stream" { "grpc.health.v1.Health" } else { "ensign.v1beta1.Ensign" };
        let line = format!(
            "grpc_server_handled_total{{type=\"{kind}\",service=\"{service}\",method=\"{method}\",code=\"{code}\"}} {count}"
        );
        let text = world.metrics.text();
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    };
    world.client().list_topics(ensign::PageInfo::default()).await.unwrap();
    world.raw(LIST, &[], Vec::new()).await;
    world.raw(LIST, &[world.bearer()], framed(b"\xff")).await;
    handled("ListTopics", "unary", "OK", 1);
    handled("ListTopics", "unary", "Unauthenticated", 1);
    handled("ListTopics", "unary", "InvalidArgument", 1);
    let mut health = HealthClient::new(world.service.clone());
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    handled("Watch", "stream", "Canceled", 0);
    drop(watch);
    handled("Watch", "stream", "Canceled", 1);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    world.lifecycle.enter(Phase::Stopping);
    while watch.message().await.unwrap().is_some() {}
    handled("Watch", "stream", "OK", 1);
}

#[tokio::test]
async fn a_panic_ends_its_call_alone() {
    let mut world = World::new().await;
    let state = Arc::get_mut(&mut world.service.state).unwrap();
    state.healthy = Arc::new(|| panic!("the cat stepped on the keyboard"));
    let mut client = EnsignClient::new(world.service.clone());
    let failed = client.status(ensign::HealthCheck::default()).await.unwrap_err();
    check(&failed, Code::Internal, "an unhandled exception occurred");
    world.client().list_topics(ensign::PageInfo::default()).await.unwrap();
}
