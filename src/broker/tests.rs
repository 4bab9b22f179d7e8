//! The broker over a store in memory: the order of the checks, the texts, what is kept, pages, deletion.

use std::sync::Arc;

use proptest::prelude::*;
use tokio::sync::watch;

use super::*;
use crate::{
    engine::{Engine, RootKey},
    model::{
        Code, Deduplication, KeyId, NackCode, OffsetPolicy, OrganizationId, Permission, Permissions, Principal,
        ProjectId, Secret, Sharding, Strategy, Subject, Time, Topic, TopicId, TopicState, Ulid,
    },
    store::Store,
    sys::{Clock, Entropy, ManualClock},
};

pub(super) const OWN: ProjectId = ProjectId(Ulid::from_bytes([1; 16]));
const FOREIGN: ProjectId = ProjectId(Ulid::from_bytes([2; 16]));

pub(super) struct Bench {
    store: Store,
    pub(super) clock: ManualClock,
    pub(super) broker: Broker,
}

impl Bench {
    pub(super) async fn new() -> Bench {
        let (store, clock) = (Store::memory(), ManualClock::default());
        clock.set(Time::from_millis(1_700_000_000_000));
        let broker = open(&store, &clock).await;
        Bench { store, clock, broker }
    }

    pub(super) fn clock_time(&self) -> Time {
        Clock::manual(self.clock.clone()).now()
    }

    /// Stops and starts over the same store.
    pub(super) async fn reopen(&mut self) {
        self.broker.close().await;
        self.broker = open(&self.store, &self.clock).await;
    }

    pub(super) async fn create(&self, name: &str) -> Arc<Topic> {
        self.broker.create_topic(&full(OWN), named(name)).await.unwrap()
    }

    pub(super) async fn destroy(&self, topic: &Topic) -> Result<TopicState, BrokerError> {
        self.broker.remove_topic(&full(OWN), &topic.id.to_string(), 2).await.map(|(_, state)| state)
    }

    async fn archive(&self, topic: &Topic) -> Result<TopicState, BrokerError> {
        self.broker.remove_topic(&full(OWN), &topic.id.to_string(), 1).await.map(|(_, state)| state)
    }

    async fn policy(&self, topic: &Topic, policy: PolicyRequest, sharding: i32) -> Result<TopicState, BrokerError> {
        let id = topic.id.to_string();
        self.broker.set_policy(&full(OWN), &id, policy, sharding).await.map(|(_, state)| state)
    }

    fn stored(&self, topic: &Topic) -> Arc<Topic> {
        self.broker.retrieve_topic(&full(OWN), topic.id.as_bytes()).unwrap()
    }

    /// Waits until nothing is left of a topic that has been destroyed.
    pub(super) async fn gone(&self, topic: &Topic) {
        let mut changes = self.broker.directory().changes(OWN);
        while self.broker.directory().get(OWN, topic.id).is_some() {
            changes.changed().await.unwrap();
        }
    }
}

async fn open(store: &Store, clock: &ManualClock) -> Broker {
    let (clock, entropy) = (Clock::manual(clock.clone()), Entropy::real());
    let root = RootKey::new(&Secret::new([7; 32])).unwrap();
    let engine = Engine::open(store.clone(), root, clock.clone(), entropy.clone()).await.unwrap();
    Broker::open(store.records.clone(), engine, clock, entropy, EventForm::OPAQUE).await.unwrap()
}

fn caller(project: Option<ProjectId>, permissions: &[Permission]) -> Principal {
    Principal {
        subject: Subject::Key(KeyId(Ulid::from_bytes([9; 16]))),
        organization: OrganizationId::default(),
        project,
        permissions: permissions.iter().copied().collect(),
    }
}

fn full(project: ProjectId) -> Principal {
    Principal { permissions: Permissions::full_key(), ..caller(Some(project), &[]) }
}

fn named(name: &str) -> NewTopic {
    NewTopic { name: name.to_owned(), ..NewTopic::default() }
}

fn strategy(strategy: Strategy) -> PolicyRequest {
    PolicyRequest { strategy: strategy.number(), ..PolicyRequest::default() }
}

fn keyed(keys: &[&str]) -> PolicyRequest {
    PolicyRequest { keys: keys.iter().map(ToString::to_string).collect(), ..strategy(Strategy::UniqueKey) }
}

#[track_caller]
fn refused<T>(result: Result<T, BrokerError>, code: Code, text: &str) {
    let error = result.err().expect("the request is refused");
    assert_eq!((error.code(), error.to_string().as_str()), (code, text));
}

const UNAUTHORIZED: &str = "not authorized to perform this action";

#[tokio::test]
async fn create_fills_in_what_is_missing() {
    let bench = Bench::new().await;
    let wanted = NewTopic { readonly: true, extra: vec![40, 7], ..named("flights") };
    let topic = bench.broker.create_topic(&full(OWN), wanted).await.unwrap();
    assert_eq!((topic.project, topic.name.as_str()), (OWN, "flights"));
    assert_eq!((topic.state, topic.readonly, &*topic.extra), (TopicState::Ready, true, [40, 7].as_slice()));
    assert_eq!(topic.deduplication, Deduplication::default());
    assert_eq!((topic.created, topic.modified), (Time::from_millis(1_700_000_000_000), topic.created));
    assert_eq!(topic.id.0.millis(), 1_700_000_000_000);
    assert_eq!(bench.stored(&topic), topic);
    let given = NewTopic { id: vec![5; 16], project: OWN.as_bytes().to_vec(), ..named("given") };
    assert_eq!(bench.broker.create_topic(&full(OWN), given).await.unwrap().id.as_bytes(), &[5; 16]);
}

#[tokio::test]
async fn create_checks_in_order() {
    let bench = Bench::new().await;
    bench.create("taken").await;
    let check = async |principal: &Principal, wanted: NewTopic, code, text| {
        refused(bench.broker.create_topic(principal, wanted).await, code, text);
    };
    let bad = || NewTopic {
        id: vec![1],
        project: vec![1],
        deduplication: PolicyRequest { strategy: 99, ..PolicyRequest::default() },
        ..NewTopic::default()
    };
    let reader = caller(Some(OWN), &[Permission::TopicsRead]);
    check(&reader, bad(), Code::PermissionDenied, UNAUTHORIZED).await;
    let homeless = caller(None, &[Permission::TopicsCreate]);
    let without_project = NewTopic { project: Vec::new(), ..bad() };
    check(&homeless, without_project, Code::InvalidArgument, "missing project id field").await;
    check(&full(OWN), bad(), Code::InvalidArgument, "invalid project id field").await;
    let foreign = NewTopic { project: FOREIGN.as_bytes().to_vec(), ..bad() };
    check(&full(OWN), foreign, Code::PermissionDenied, UNAUTHORIZED).await;
    let bad = NewTopic { project: Vec::new(), ..bad() };
    check(&full(OWN), bad.clone(), Code::InvalidArgument, "unknown deduplication strategy 99").await;
    let bad = NewTopic { deduplication: keyed(&["a", ""]), ..bad };
    check(&full(OWN), bad.clone(), Code::InvalidArgument, "no keys specified for key based hashing").await;
    let bad = NewTopic { deduplication: keyed(&[]), ..bad };
    check(&full(OWN), bad.clone(), Code::InvalidArgument, "cannot parse id field").await;
    let zero = NewTopic { id: vec![0; 16], ..bad.clone() };
    check(&full(OWN), zero, Code::InvalidArgument, "cannot parse id field").await;
    let bad = NewTopic { id: Vec::new(), ..bad };
    check(&full(OWN), bad.clone(), Code::InvalidArgument, "missing name field").await;
    let long = NewTopic { name: "!".repeat(513), ..bad.clone() };
    check(&full(OWN), long, Code::InvalidArgument, "topic name is too long").await;
    check(&full(OWN), named(" a"), Code::InvalidArgument, "topic name is invalid").await;
    let large = NewTopic { extra: vec![0; 256 * 1024], ..named("taken") };
    check(&full(OWN), large, Code::InvalidArgument, "topic is too large").await;
    check(&full(OWN), named("taken"), Code::AlreadyExists, "topic name already exists in project").await;
}

#[tokio::test]
async fn an_id_is_taken_in_every_project() {
    let bench = Bench::new().await;
    let given = |name: &str| NewTopic { id: vec![5; 16], ..named(name) };
    bench.broker.create_topic(&full(OWN), given("first")).await.unwrap();
    for project in [OWN, FOREIGN] {
        let second = bench.broker.create_topic(&full(project), given("second")).await;
        refused(second, Code::AlreadyExists, "topic id has already been used");
    }
    // A refused topic leaves nothing behind.
    let third = NewTopic { id: vec![6; 16], ..named("second") };
    bench.broker.create_topic(&full(OWN), third).await.unwrap();
}

#[tokio::test]
async fn a_policy_without_keys_can_be_created_but_not_set() {
    let bench = Bench::new().await;
    let wanted = NewTopic { deduplication: keyed(&[]), ..named("keyless") };
    let topic = bench.broker.create_topic(&full(OWN), wanted).await.unwrap();
    assert_eq!(topic.deduplication.strategy, Strategy::UniqueKey);
    assert_eq!(bench.policy(&topic, keyed(&[]), 0).await.unwrap(), TopicState::Ready);
    let fieldless = bench.policy(&topic, strategy(Strategy::UniqueField), 0).await;
    refused(fieldless, Code::InvalidArgument, "no fields specified for field based hashing");
}

#[tokio::test]
async fn of_many_who_want_a_name_one_gets_it() {
    let bench = Bench::new().await;
    let wishes: Vec<_> = (0..20)
        .map(|_| {
            let broker = bench.broker.clone();
            tokio::spawn(async move { broker.create_topic(&full(OWN), named("wanted")).await })
        })
        .collect();
    let mut made = 0;
    for wish in wishes {
        match wish.await.unwrap() {
            Ok(_) => made += 1,
            Err(error) => assert!(matches!(error, BrokerError::NameTaken), "{error}"),
        }
    }
    assert_eq!(made, 1);
    // The same name in another project is another topic.
    bench.broker.create_topic(&full(FOREIGN), named("wanted")).await.unwrap();
}

#[tokio::test]
async fn retrieve_checks_in_order() {
    let bench = Bench::new().await;
    let topic = bench.create("plain").await;
    let check = |principal: &Principal, id: &[u8], code, text| {
        refused(bench.broker.retrieve_topic(principal, id), code, text);
    };
    let publisher = caller(Some(OWN), &[Permission::Publisher]);
    check(&publisher, &[], Code::PermissionDenied, UNAUTHORIZED);
    check(&full(OWN), &[], Code::InvalidArgument, "missing topic id field");
    check(&full(OWN), &[1; 17], Code::InvalidArgument, "invalid topic id field");
    check(&full(OWN), &[0; 16], Code::NotFound, "topic not found");
    check(&full(FOREIGN), topic.id.as_bytes(), Code::NotFound, "topic not found");
    check(&caller(None, &[Permission::TopicsRead]), topic.id.as_bytes(), Code::NotFound, "topic not found");
}

#[tokio::test]
async fn lists_check_in_order() {
    let bench = Bench::new().await;
    let page = PageRequest { size: 1, token: "?".to_owned() };
    let nobody = caller(Some(OWN), &[Permission::MetricsRead]);
    refused(bench.broker.list_topics(&nobody, &page), Code::PermissionDenied, UNAUTHORIZED);
    refused(bench.broker.topic_names(&nobody, &page), Code::PermissionDenied, UNAUTHORIZED);
    for project in [None, Some(ProjectId::default())] {
        let homeless = caller(project, &[Permission::TopicsRead]);
        refused(bench.broker.list_topics(&homeless, &page), Code::PermissionDenied, UNAUTHORIZED);
        assert_eq!(bench.broker.topic_names(&homeless, &page).unwrap().items.len(), 0);
    }
    refused(bench.broker.list_topics(&full(OWN), &page), Code::InvalidArgument, "invalid next page token");
    let subscriber = caller(Some(OWN), &[Permission::Subscriber]);
    refused(bench.broker.topic_names(&subscriber, &page), Code::InvalidArgument, "invalid next page token");
}

#[tokio::test]
async fn a_list_goes_on_behind_a_topic_that_is_gone() {
    let bench = Bench::new().await;
    let mut topics = Vec::new();
    for number in 0..4 {
        bench.clock.advance(std::time::Duration::from_millis(1));
        topics.push(bench.create(&format!("t{number}")).await);
    }
    let first = bench.broker.list_topics(&full(OWN), &PageRequest { size: 2, token: String::new() }).unwrap();
    assert_eq!(first.items, topics[..2]);
    bench.destroy(&topics[1]).await.unwrap();
    bench.gone(&topics[1]).await;
    let rest = bench.broker.list_topics(&full(OWN), &PageRequest { size: 5, token: first.next_token }).unwrap();
    assert_eq!((rest.items.as_slice(), rest.next_token.as_str()), (&topics[2..], ""));
}

#[tokio::test]
async fn a_page_of_large_topics_ends_early() {
    let bench = Bench::new().await;
    for number in 0..20 {
        let large = NewTopic { extra: vec![0; 250 * 1024], ..named(&format!("t{number}")) };
        bench.broker.create_topic(&full(OWN), large).await.unwrap();
    }
    let mut page = PageRequest::default();
    let mut sizes = Vec::new();
    loop {
        let found = bench.broker.list_topics(&full(OWN), &page).unwrap();
        sizes.push(found.items.len());
        page.token = found.next_token;
        if page.token.is_empty() {
            break;
        }
    }
    assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().all(|size| *size < 10)), (20, true), "{sizes:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn pages_of_any_size_give_every_topic_once(
        ids in prop::collection::btree_set(any::<[u8; 16]>(), 0..30),
        sizes in prop::collection::vec(1_u32..10, 1..5),
    ) {
        let ids: Vec<TopicId> =
            ids.into_iter().map(|id| TopicId(Ulid::from_bytes(id))).filter(|id| !id.0.is_zero()).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new().await;
            for (number, id) in ids.iter().enumerate() {
                let wanted = NewTopic { id: id.as_bytes().to_vec(), ..named(&format!("t{number}")) };
                bench.broker.create_topic(&full(OWN), wanted).await.unwrap();
            }
            let (mut listed, mut hashes, mut hashed_ids) = (Vec::new(), Vec::new(), Vec::new());
            let mut page = PageRequest::default();
            for size in sizes.iter().cycle() {
                page.size = *size;
                let found = bench.broker.list_topics(&full(OWN), &page).unwrap();
                prop_assert!(found.items.len() <= *size as usize);
                listed.extend(found.items.iter().map(|topic| topic.id));
                page.token = found.next_token;
                if page.token.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(&listed, &ids);
            for size in sizes.iter().cycle() {
                page.size = *size;
                let found = bench.broker.topic_names(&full(OWN), &page).unwrap();
                hashes.extend(found.items.iter().map(|entry| entry.hash()));
                hashed_ids.extend(found.items.iter().map(|entry| entry.id()));
                page.token = found.next_token;
                if page.token.is_empty() {
                    break;
                }
            }
            prop_assert!(hashes.is_sorted());
            hashed_ids.sort();
            prop_assert_eq!(&hashed_ids, &ids);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn existence_checks_in_order() {
    let bench = Bench::new().await;
    let (one, two) = (bench.create("one").await, bench.create("two").await);
    let ask = |principal: &Principal, project: &str, name: &str, id: &str| {
        bench.broker.topic_exists(principal, project, name, id)
    };
    let invalid = Code::InvalidArgument;
    let reader = full(OWN);
    refused(ask(&caller(Some(OWN), &[]), "x", "", ""), Code::PermissionDenied, UNAUTHORIZED);
    refused(ask(&caller(None, &[Permission::Publisher]), "", "", ""), invalid, "missing project id field");
    refused(ask(&reader, "x", "", ""), invalid, "invalid project id field");
    refused(ask(&reader, &FOREIGN.to_string(), "", ""), Code::PermissionDenied, UNAUTHORIZED);
    refused(ask(&reader, "", "", ""), invalid, "must specify either or both topic name and id");
    for bad in ["x", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", &"0".repeat(26), " "] {
        refused(ask(&reader, "", "one", bad), invalid, "invalid topic id field");
    }

    let id = one.id.to_string();
    let check = |name: &str, id: &str, exists, query: String| {
        assert_eq!(ask(&reader, &OWN.to_string().to_lowercase(), name, id).unwrap(), Existence { query, exists });
    };
    check("one", "", true, "name=\"one\"".to_owned());
    check("One", "", false, "name=\"One\"".to_owned());
    check("a b", "", false, "name=\"a b\"".to_owned());
    check("", &id.to_lowercase(), true, format!("topic=\"{}\"", id.to_lowercase()));
    check("two", &id, true, format!("name=\"two\" and topic=\"{id}\""));
    check("three", &id, false, format!("name=\"three\" and topic=\"{id}\""));
    let unknown = "0".to_owned() + &"U".repeat(25);
    check("two", &two.id.to_string(), true, format!("name=\"two\" and topic=\"{}\"", two.id));
    check("", &unknown, false, format!("topic=\"{unknown}\""));
    let foreign = bench.broker.topic_exists(&full(FOREIGN), "", "one", "").unwrap();
    assert!(!foreign.exists);
}

#[tokio::test]
async fn removal_checks_in_order() {
    let bench = Bench::new().await;
    let topic = bench.create("plain").await;
    let id = topic.id.to_string();
    let check = async |principal: &Principal, id: &str, operation, code, text| {
        refused(bench.broker.remove_topic(principal, id, operation).await, code, text);
    };
    let nobody = caller(None, &[]);
    for operation in [0, 3, -1] {
        check(&nobody, "", operation, Code::InvalidArgument, "invalid operation field").await;
    }
    let editor = caller(Some(OWN), &[Permission::TopicsEdit]);
    let destroyer = caller(Some(OWN), &[Permission::TopicsDestroy]);
    check(&destroyer, "", 1, Code::PermissionDenied, UNAUTHORIZED).await;
    check(&editor, "", 2, Code::PermissionDenied, UNAUTHORIZED).await;
    for (principal, operation) in [(&editor, 1), (&destroyer, 2)] {
        check(principal, "  ", operation, Code::InvalidArgument, "missing id field").await;
        check(principal, "plain", operation, Code::InvalidArgument, "invalid id field").await;
        check(principal, &format!(" {id} "), operation, Code::InvalidArgument, "invalid id field").await;
        let unknown = "0".to_owned() + &"U".repeat(25);
        check(principal, &unknown, operation, Code::NotFound, "topic not found").await;
        let foreign = Principal { project: Some(FOREIGN), ..principal.clone() };
        check(&foreign, &id, operation, Code::NotFound, "topic not found").await;
    }
}

#[tokio::test]
async fn an_archived_topic_is_marked_and_stays() {
    let mut bench = Bench::new().await;
    let topic = bench.create("old").await;
    let entry = bench.broker.directory().get(OWN, topic.id).unwrap();
    assert_eq!(entry.availability(), Availability::Open);
    bench.clock.advance(std::time::Duration::from_secs(1));
    assert_eq!(bench.archive(&topic).await.unwrap(), TopicState::Readonly);
    assert_eq!(entry.availability(), Availability::Archived);
    assert_eq!(bench.archive(&topic).await.unwrap(), TopicState::Readonly);
    let archived = bench.stored(&topic);
    assert_eq!((archived.state, archived.readonly, archived.created), (TopicState::Ready, true, topic.created));
    assert!(archived.modified > topic.modified);
    let again = bench.policy(&topic, strategy(Strategy::Strict), 0).await;
    refused(again, Code::FailedPrecondition, "cannot change policies of an archived topic");
    bench.reopen().await;
    assert_eq!(bench.stored(&topic), archived);
    let taken = bench.broker.create_topic(&full(OWN), named("old")).await;
    refused(taken, Code::AlreadyExists, "topic name already exists in project");
    assert_eq!(bench.destroy(&topic).await.unwrap(), TopicState::Deleting);
}

#[tokio::test]
async fn a_destroyed_topic_is_seen_at_once_and_then_gone() {
    let mut bench = Bench::new().await;
    let (topic, other) = (bench.create("short-lived").await, bench.create("other").await);
    let (name, id) = (topic.name.as_str(), topic.id.to_string());
    let entry = bench.broker.directory().resolve(OWN, name).unwrap();
    assert_eq!(bench.destroy(&topic).await.unwrap(), TopicState::Deleting);
    assert_eq!(entry.availability(), Availability::Deleting);
    assert!(bench.broker.directory().resolve(OWN, name).is_none());
    assert!(!bench.broker.topic_exists(&full(OWN), "", "", &id).unwrap().exists);
    let namesake = bench.create(name).await;
    assert_ne!(namesake.id, topic.id);
    bench.gone(&topic).await;
    refused(bench.destroy(&topic).await, Code::NotFound, "topic not found");
    let check = |bench: &Bench| {
        let mut left: Vec<_> = bench.broker.directory().topics(OWN).iter().map(|entry| entry.id()).collect();
        left.sort();
        let mut expected = [other.id, namesake.id];
        expected.sort();
        assert_eq!(left, expected);
        assert_eq!(bench.broker.directory().resolve(OWN, name).unwrap().id(), namesake.id);
    };
    check(&bench);
    bench.reopen().await;
    check(&bench);
}

#[tokio::test]
async fn the_id_of_a_destroyed_topic_is_never_used_again() {
    let mut bench = Bench::new().await;
    let topic = bench.create("first").await;
    bench.destroy(&topic).await.unwrap();
    bench.gone(&topic).await;
    for project in [OWN, FOREIGN] {
        let again = NewTopic { id: topic.id.as_bytes().to_vec(), ..named("second") };
        let refusal = bench.broker.create_topic(&full(project), again).await;
        refused(refusal, Code::AlreadyExists, "topic id has already been used");
        bench.reopen().await;
    }
}

#[tokio::test]
async fn more_topics_than_are_read_at_a_time_are_all_loaded() {
    let mut bench = Bench::new().await;
    for number in 0..1_001 {
        bench.create(&format!("t{number}")).await;
    }
    bench.reopen().await;
    assert_eq!(bench.broker.directory().topics(OWN).len(), 1_001);
    assert!(bench.broker.directory().resolve(OWN, "t1000").is_some());
}

#[tokio::test]
async fn an_interrupted_deletion_is_finished_at_the_next_start() {
    let mut bench = Bench::new().await;
    let topic = bench.create("unlucky").await;
    bench.broker.close().await;
    // What the first step leaves behind.
    let records = &bench.store.records;
    let key = record::topic_key(topic.id);
    let deleting = Topic { state: TopicState::Deleting, ..(*topic).clone() };
    let transaction = crate::store::Transaction::new()
        .put(key.clone(), record::encode(&deleting))
        .delete(record::name_key(OWN, topic.name.hash()));
    let transaction = bench.broker.engine.prepare_destroy(topic.id, transaction);
    records.commit(transaction).await.unwrap();
    bench.broker = open(&bench.store, &bench.clock).await;
    assert!(bench.broker.directory().resolve(OWN, "unlucky").is_none());
    bench.gone(&topic).await;
    assert_eq!(bench.store.records.get(key).await.unwrap(), None);
    bench.create("unlucky").await;
}

#[tokio::test]
async fn a_topic_that_is_being_deleted_cannot_be_changed() {
    let bench = Bench::new().await;
    let topic = bench.create("leaving").await;
    let entry = bench.broker.directory().get(OWN, topic.id).unwrap();
    let (_, revision) = entry.versioned();
    entry.replace(Topic { state: TopicState::Deleting, ..(*topic).clone() }, revision);
    let (code, text) = (Code::FailedPrecondition, "cannot archive or destroy a topic that is in the DELETING state");
    refused(bench.archive(&topic).await, code, text);
    refused(bench.destroy(&topic).await, code, text);
    let policy = bench.policy(&topic, strategy(Strategy::Strict), 0).await;
    refused(policy, code, "cannot change a topic that is in the DELETING state");
}

#[tokio::test]
async fn policies_check_in_order() {
    let bench = Bench::new().await;
    let topic = bench.create("plain").await;
    let id = topic.id.to_string();
    let check = async |principal: &Principal, id: &str, policy: PolicyRequest, sharding, code, text| {
        refused(bench.broker.set_policy(principal, id, policy, sharding).await, code, text);
    };
    let (own, invalid) = (full(OWN), Code::InvalidArgument);
    let strict = || strategy(Strategy::Strict);
    let nothing = PolicyRequest::default;
    let creator = caller(Some(OWN), &[Permission::TopicsCreate]);
    check(&creator, "", nothing(), 0, Code::PermissionDenied, UNAUTHORIZED).await;
    check(&own, " ", nothing(), 0, invalid, "missing id field").await;
    check(&own, "short", nothing(), 0, invalid, "no policies defined to set on topic").await;
    check(&own, "short", strict(), 0, invalid, "invalid id field").await;
    check(&own, &"0".repeat(26), strict(), 0, Code::NotFound, "topic not found").await;
    check(&full(FOREIGN), &id, strict(), 0, Code::NotFound, "topic not found").await;
    check(&own, &id, strict(), 99, invalid, "unknown sharding strategy 99").await;
    let strange = PolicyRequest { strategy: 99, ..nothing() };
    check(&own, &id, strange, 0, invalid, "unknown deduplication strategy 99").await;
    let strange = PolicyRequest { offset: 3, ..strict() };
    check(&own, &id, strange, 0, invalid, "unknown deduplication offset position 3").await;
    check(&own, &id, keyed(&[]), 0, invalid, "no keys specified for key based hashing").await;
    check(&own, &id, keyed(&[""]), 0, invalid, "no keys specified for key based hashing").await;
    assert_eq!(bench.stored(&topic), topic);
}

#[tokio::test]
async fn policies_change_what_they_name() {
    let mut bench = Bench::new().await;
    let topic = bench.create("plain").await;
    let set = async |bench: &Bench, policy: PolicyRequest, sharding| {
        let state = bench.policy(&topic, policy, sharding).await.unwrap();
        assert_eq!(bench.stored(&topic).state, TopicState::Ready);
        state
    };
    let policy = |bench: &Bench| bench.stored(&topic).deduplication.clone();
    assert_eq!(set(&bench, strategy(Strategy::None), 0).await, TopicState::Ready);
    assert_eq!(bench.stored(&topic), topic);
    let keys = PolicyRequest { fields: vec!["f".to_owned()], ..keyed(&["b", "a", "b"]) };
    assert_eq!(set(&bench, keys, 0).await, TopicState::Pending);
    assert_eq!((policy(&bench).keys, policy(&bench).fields), (vec!["a".to_owned(), "b".to_owned()], vec![]));
    assert_eq!(set(&bench, keyed(&["b", "a"]), 0).await, TopicState::Ready);
    let overwriting = PolicyRequest { overwrite_duplicate: true, ..keyed(&["a", "b"]) };
    assert_eq!(set(&bench, overwriting, 0).await, TopicState::Pending);
    assert!(policy(&bench).overwrite_duplicate);
    let latest = PolicyRequest { offset: 2, ..strategy(Strategy::Datagram) };
    assert_eq!(set(&bench, latest, 4).await, TopicState::Pending);
    assert_eq!(set(&bench, PolicyRequest::default(), 2).await, TopicState::Ready);
    let expected =
        Deduplication { strategy: Strategy::Datagram, offset: OffsetPolicy::Latest, ..Deduplication::default() };
    bench.reopen().await;
    assert_eq!((policy(&bench), bench.stored(&topic).sharding), (expected, Sharding::ConsistentKeyHash));
}

#[tokio::test]
async fn info_checks_in_order_and_filters() {
    let bench = Bench::new().await;
    let (one, two) = (bench.create("one").await, bench.create("two").await);
    bench.archive(&two).await.unwrap();
    let none: [&[u8]; 0] = [];
    for permission in [Permission::TopicsRead, Permission::MetricsRead] {
        let half = caller(Some(OWN), &[permission]);
        refused(bench.broker.info(&half, &[b"x"]).await, Code::PermissionDenied, UNAUTHORIZED);
    }
    let homeless = caller(None, &[Permission::TopicsRead, Permission::MetricsRead]);
    refused(bench.broker.info(&homeless, &[b"x"]).await, Code::PermissionDenied, UNAUTHORIZED);
    let text = "could not parse topic id in info request filter";
    for bad in [&one.id.as_bytes()[..15], b""] {
        let filter = [one.id.as_bytes().as_slice(), bad];
        refused(bench.broker.info(&full(OWN), &filter).await, Code::InvalidArgument, text);
    }
    let ids = async |filter: &[&[u8]]| {
        let info = bench.broker.info(&full(OWN), filter).await.unwrap();
        assert_eq!(info.project, OWN);
        info.topics.iter().map(|topic| topic.entry.id()).collect::<Vec<_>>()
    };
    let mut both = vec![one.id, two.id];
    both.sort();
    assert_eq!(ids(&none).await, both);
    assert_eq!(ids(&[two.id.as_bytes(), two.id.as_bytes(), OWN.as_bytes()]).await, [two.id]);
    assert_eq!(ids(&[OWN.as_bytes()]).await, []);
}

#[tokio::test]
async fn queries_are_refused_in_order() {
    let bench = Bench::new().await;
    let request = |text: &str| QueryRequest {
        text: text.to_owned(),
        parameters: Vec::new(),
        skip_unreadable: false,
        show: |_, _| false,
    };
    let publisher = caller(Some(OWN), &[Permission::Publisher]);
    let reader = caller(Some(OWN), &[Permission::TopicsRead]);
    let homeless = caller(None, &[Permission::Subscriber]);
    refused(bench.broker.check_querier(&publisher), Code::PermissionDenied, UNAUTHORIZED);
    refused(bench.broker.check_querier(&homeless), Code::PermissionDenied, UNAUTHORIZED);
    assert_eq!(bench.broker.check_querier(&reader).ok(), Some(OWN));
    assert_eq!(bench.broker.check_querier(&caller(Some(OWN), &[Permission::Subscriber])).ok(), Some(OWN));
    let query = async |text: &str| bench.broker.query(OWN, &request(text)).await.map(drop);
    refused(query("").await, Code::InvalidArgument, "invalid query");
    refused(query("SELECT * FROM t").await, Code::InvalidArgument, "unknown topic in query");

    let explain = async |principal: &Principal, text: &str| bench.broker.explain(principal, &request(text)).await;
    refused(explain(&reader, "").await, Code::PermissionDenied, UNAUTHORIZED);
    refused(explain(&homeless, "").await, Code::PermissionDenied, UNAUTHORIZED);
    refused(explain(&full(OWN), "").await, Code::InvalidArgument, "invalid query");
    refused(explain(&full(OWN), "SELECT * FROM t").await, Code::InvalidArgument, "unknown topic in query");
}

#[tokio::test]
async fn a_topic_is_resolved_by_name_id_and_hash() {
    let bench = Bench::new().await;
    let topic = bench.create("testing.topics.topica").await;
    let directory = bench.broker.directory();
    let resolve = |project, text: &str| directory.resolve(project, text).map(|entry| entry.id());
    let id = topic.id.to_string();
    for text in ["testing.topics.topica", &id, &id.to_lowercase(), "IdTcxHgZmlLM8oBj_YytLw"] {
        assert_eq!(resolve(OWN, text), Some(topic.id), "{text}");
        assert_eq!(resolve(FOREIGN, text), None, "{text}");
    }
    for text in ["", "testing.topics.topicb", "IdTcxHgZmlLM8oBj_YytLw==", "F7x4fhbO4EhHVNDmBjMRIQ"] {
        assert_eq!(resolve(OWN, text), None, "{text}");
    }
    // A name that is the hash of another's goes to the topic of the name.
    let namesake = bench.create("IdTcxHgZmlLM8oBj_YytLw").await;
    assert_eq!(resolve(OWN, "IdTcxHgZmlLM8oBj_YytLw"), Some(namesake.id));
}

#[tokio::test]
async fn streams_learn_of_topics_that_come_and_go() {
    let bench = Bench::new().await;
    let changed = |changes: &mut watch::Receiver<u64>| {
        let changed = changes.has_changed().unwrap();
        changes.mark_unchanged();
        changed
    };
    let mut changes = bench.broker.directory().changes(OWN);
    let mut foreign = bench.broker.directory().changes(FOREIGN);
    let topic = bench.create("one").await;
    assert!(changed(&mut changes));
    bench.archive(&topic).await.unwrap();
    assert!(!changed(&mut changes));
    bench.destroy(&topic).await.unwrap();
    assert!(changed(&mut changes));
    assert!(!changed(&mut foreign));
}

#[tokio::test]
async fn a_stream_is_told_apart_what_was_destroyed_and_what_never_was() {
    let bench = Bench::new().await;
    let (lasting, destroyed) = (bench.create("lasting").await, bench.create("destroyed").await);
    let open = |wanted: &[String]| {
        let mut session = bench.broker.publisher(&full(OWN)).unwrap();
        session.start(wanted, bytes::Bytes::new(), 0).unwrap();
        session
    };
    let (mut all, mut limited) = (open(&[]), open(&["lasting".to_owned()]));
    bench.destroy(&destroyed).await.unwrap();
    bench.gone(&destroyed).await;
    let mut late = open(&[]);
    let later = bench.create("later").await;

    let code = async |session: &mut PublishSession, topic: &Topic| {
        session.slot(topic.id.as_bytes()).await.err().map(|refusal| refusal.code)
    };
    assert_eq!(code(&mut all, &destroyed).await, Some(NackCode::TopicDeleted));
    assert_eq!(code(&mut limited, &destroyed).await, Some(NackCode::TopicUnknown));
    assert_eq!(code(&mut late, &destroyed).await, Some(NackCode::TopicUnknown));
    assert_eq!(code(&mut all, &later).await, None);
    assert_eq!(code(&mut limited, &later).await, Some(NackCode::TopicUnknown));
    assert_eq!(code(&mut limited, &lasting).await, None);
}

#[tokio::test]
async fn a_closed_broker_changes_nothing() {
    let bench = Bench::new().await;
    bench.broker.close().await;
    bench.broker.close().await;
    let late = bench.broker.create_topic(&full(OWN), named("late")).await;
    refused(late, Code::Unavailable, "the broker is shutting down");
}
