//! Queries of topics with a few blocks: what is chosen, what is read for it, and what is refused.

use std::cell::Cell;

use bytes::Bytes;

use super::{block::LONG_BYTES, *};
use crate::{
    broker::{EventForm, NewTopic},
    engine::{Batch, Engine, RootKey, TypeCount},
    model::{Code, OrganizationId, Permissions, Secret, Subject},
    store::Store,
    sys::{Clock, Entropy, ManualClock},
};

pub(in crate::broker) const PROJECT: ProjectId = ProjectId(crate::model::Ulid::from_bytes([1; 16]));

std::thread_local! {
    /// How many records have been looked at by a test, on its own thread.
    static LOOKED_AT: Cell<usize> = const { Cell::new(0) };
}

pub(in crate::broker) struct Bench {
    pub(in crate::broker) broker: Broker,
    engine: Engine,
    pub(in crate::broker) clock: ManualClock,
    topic: TopicId,
}

impl Bench {
    /// A topic with a block for each of these lists of JSON, a second apart.
    pub(in crate::broker) async fn new(blocks: &[&[&str]]) -> Bench {
        let (store, clock) = (Store::memory(), ManualClock::default());
        clock.set(Time::from_millis(1_700_000_000_000));
        let (manual, entropy) = (Clock::manual(clock.clone()), Entropy::real());
        let root = RootKey::new(&Secret::new([7; 32])).unwrap();
        let engine = Engine::open(store.clone(), root, manual.clone(), entropy.clone()).await.unwrap();
        let broker =
            Broker::open(store.records.clone(), engine.clone(), manual, entropy, EventForm::OPAQUE).await.unwrap();
        let principal = Principal {
            subject: Subject::Key(crate::model::KeyId(PROJECT.0)),
            organization: OrganizationId::default(),
            project: Some(PROJECT),
            permissions: Permissions::full_key(),
        };
        let named = NewTopic { name: "t".to_owned(), ..NewTopic::default() };
        let topic = broker.create_topic(&principal, named).await.unwrap().id;
        let bench = Bench { broker, engine, clock, topic };
        for block in blocks {
            bench.append(block).await;
        }
        bench
    }

    pub(in crate::broker) async fn append(&self, events: &[&str]) {
        let mut records = Vec::new();
        for event in events {
            let mut length = event.len();
            while length >= 0x80 {
                records.push(0x80 | u8::try_from(length & 0x7f).unwrap());
                length >>= 7;
            }
            records.push(u8::try_from(length).unwrap());
            records.extend_from_slice(event.as_bytes());
        }
        let count = u32::try_from(events.len()).unwrap();
        let types = TypeCount { schema: Bytes::new(), mimetype: 50, events: count.into(), data_bytes: 1 };
        let batch = Batch { records, count, publisher: Bytes::new(), types: vec![types] };
        let stream = self.engine.topic(self.topic, PROJECT).await.unwrap();
        let permit = self.engine.admit(1).await;
        stream.append(batch, permit).await.await.unwrap().unwrap();
        self.clock.advance(std::time::Duration::from_secs(1));
    }

    fn request(text: &str) -> QueryRequest {
        QueryRequest { text: text.to_owned(), parameters: Vec::new(), skip_unreadable: false, show }
    }

    pub(in crate::broker) async fn query(&self, text: &str) -> Result<Vec<String>, BrokerError> {
        rest(&mut self.broker.query(PROJECT, &Bench::request(text)).await?).await
    }
}

/// What is in these records is JSON, or lines of JSON, and nothing else.
pub(in crate::broker) fn show(record: &[u8], see: &mut dyn FnMut(&EventView<'_>)) -> bool {
    LOOKED_AT.set(LOOKED_AT.get() + 1);
    see(&EventView {
        key: b"",
        data: record,
        mimetype: if record.contains(&b'\n') { Mimetype::JSON_LINES } else { Mimetype::JSON },
        created: None,
        type_name: "",
        type_version: (0, 0, 0),
        metadata: &|name| (name == "lane").then_some("fast"),
    });
    true
}

/// The rest of an answer: events as they are, and rows.
async fn rest(query: &mut Query) -> Result<Vec<String>, BrokerError> {
    let mut found = Vec::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    while let Some(part) = query.next().await? {
        match part {
            Found::Events(selection) => found.extend(selection.events().map(|event| text(event.record))),
            Found::Rows(rows) => found.extend(rows.iter().map(|(_, row)| text(row))),
        }
    }
    assert!(query.next().await?.is_none(), "the end is the end");
    Ok(found)
}

const BLOCKS: [&[&str]; 3] = [
    &[r#"{"n":1,"s":"a"}"#, r#"{"n":2,"s":"b"}"#],
    &[r#"{"n":3,"s":"a"}"#, "nonsense", r#"{"n":5}"#],
    &[r#"{"n":6,"s":"c"}"#],
];

#[tokio::test]
async fn events_rows_groups_and_orders() {
    let bench = Bench::new(&BLOCKS).await;
    let check = async |text: &str, expected: &[&str]| {
        assert_eq!(bench.query(text).await.unwrap(), expected, "{text}");
    };
    let all: Vec<_> = BLOCKS.concat();
    check("SELECT * FROM t", &all).await;
    check("SELECT * FROM t WHERE s = 'a'", &[all[0], all[2]]).await;
    check("SELECT * FROM t WHERE n >= 2 LIMIT 2", &all[1..3]).await;
    check("SELECT * FROM t LIMIT 0", &[]).await;
    check("SELECT n, s AS name FROM t WHERE n > 4", &[r#"{"n":5,"name":null}"#, r#"{"n":6,"name":"c"}"#]).await;
    check("SELECT _offset FROM t LIMIT 1", &[r#"{"_offset":1}"#]).await;
    check("SELECT _meta.lane FROM t LIMIT 1", &[r#"{"_meta.lane":"fast"}"#]).await;
    check("SELECT count(*) AS c FROM t", &[r#"{"c":6}"#]).await;
    check("SELECT s, sum(n) AS n FROM t WHERE s = 'a' GROUP BY s", &[r#"{"s":"a","n":4}"#]).await;
    check("SELECT n FROM t WHERE n > 0 ORDER BY n DESC LIMIT 2", &[r#"{"n":6}"#, r#"{"n":5}"#]).await;
    check("SELECT * FROM t WHERE n > 0 ORDER BY n DESC LIMIT 2", &[all[5], all[4]]).await;
}

#[tokio::test]
async fn the_index_says_where_to_begin_and_to_end() {
    let bench = Bench::new(&BLOCKS).await;
    let offsets = async |rest: &str| -> Vec<u64> {
        let rows = bench.query(&format!("SELECT _offset FROM t {rest}")).await.unwrap();
        rows.iter().map(|row| row.trim_matches(|letter: char| !letter.is_ascii_digit()).parse().unwrap()).collect()
    };
    let ids = bench.query("SELECT _id FROM t").await.unwrap();
    let id = |at: usize| ids[at].split('"').nth(3).unwrap().to_owned();
    assert_eq!(offsets("OFFSET 4").await, [5, 6]);
    assert_eq!(offsets("OFFSET 4 LIMIT 1").await, [5]);
    assert_eq!(offsets("OFFSET 6").await, [0; 0]);
    assert_eq!(offsets("OFFSET 700").await, [0; 0]);
    assert_eq!(offsets(&format!("OFFSET '{}'", id(3))).await, [4, 5, 6]);
    assert_eq!(offsets(&format!("AFTER '{}' BEFORE '{}'", id(1), id(4))).await, [3, 4]);
    let time = |seconds: i64| Time::from_millis(1_700_000_000_000).plus_nanos(seconds * 1_000_000_000);
    assert_eq!(offsets(&format!("AFTER '{}'", time(0))).await, [3, 4, 5, 6]);
    assert_eq!(offsets(&format!("BEFORE '{}'", time(1))).await, [1, 2]);
    assert_eq!(offsets(&format!("BEFORE '{}'", time(100))).await, [1, 2, 3, 4, 5, 6]);
    assert_eq!(offsets(&format!("AFTER '{}'", time(100))).await, [0; 0]);
}

#[tokio::test]
async fn a_query_sees_what_was_there_when_it_began() {
    let bench = Bench::new(&BLOCKS).await;
    let mut query = bench.broker.query(PROJECT, &Bench::request("SELECT n FROM t OFFSET 5")).await.unwrap();
    bench.append(&[r#"{"n":7}"#]).await;
    assert_eq!(rest(&mut query).await.unwrap(), [r#"{"n":6}"#]);
    assert_eq!(bench.query("SELECT n FROM t OFFSET 6").await.unwrap(), [r#"{"n":7}"#]);
}

#[tokio::test]
async fn what_can_not_be_decoded_is_counted() {
    let bench = Bench::new(&BLOCKS).await;
    let mut query = bench.broker.query(PROJECT, &Bench::request("SELECT * FROM t WHERE n > 0")).await.unwrap();
    assert_eq!(rest(&mut query).await.unwrap().len(), 5);
    assert_eq!(query.undecodable(), 1);
    let blind = QueryRequest { show: |_, _| false, ..Bench::request("SELECT * FROM t") };
    let mut query = bench.broker.query(PROJECT, &blind).await.unwrap();
    assert_eq!((rest(&mut query).await.unwrap().len(), query.undecodable()), (0, 6));
}

#[tokio::test]
async fn rows_have_names_of_their_own() {
    let bench = Bench::new(&BLOCKS).await;
    let mut query = bench.broker.query(PROJECT, &Bench::request("SELECT n FROM t")).await.unwrap();
    let mut ids = Vec::new();
    while let Some(Found::Rows(rows)) = query.next().await.unwrap() {
        ids.extend(rows.iter().map(|(id, _)| id));
    }
    assert_eq!(ids.len(), 5);
    assert!(ids.is_sorted_by(|one, next| one < next), "{ids:?}");
}

#[tokio::test]
async fn unreadable_events_end_a_query_or_are_left_out() {
    let bench = Bench::new(&BLOCKS[..1]).await;
    bench.engine.rotate_key(PROJECT, false).await.unwrap();
    bench.append(BLOCKS[2]).await;
    bench.engine.suspend_key(PROJECT, 1).await.unwrap();
    let refused = bench.query("SELECT * FROM t").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let skipping = QueryRequest { skip_unreadable: true, ..Bench::request("SELECT * FROM t") };
    let mut query = bench.broker.query(PROJECT, &skipping).await.unwrap();
    assert_eq!((rest(&mut query).await.unwrap(), query.skipped()), (vec![BLOCKS[2][0].to_owned()], 2));
    // What lies behind is found by the index all the same.
    assert_eq!(bench.query("SELECT * FROM t OFFSET 2").await.unwrap(), [BLOCKS[2][0]]);
}

#[tokio::test]
async fn no_more_is_read_than_the_limit_needs() {
    let blocks: Vec<&[&str]> = vec![&[r#"{"n":1}"#; 100]; 100];
    let bench = Bench::new(&blocks).await;
    assert_eq!(bench.query("SELECT n FROM t OFFSET 150 LIMIT 3").await.unwrap().len(), 3);
    assert_eq!(LOOKED_AT.get(), 3);
    assert_eq!(bench.query("SELECT n FROM t LIMIT 0").await.unwrap().len(), 0);
    assert_eq!(LOOKED_AT.get(), 3);
}

/// Each of its lines may match, and the first one that does says where it stands.
#[tokio::test]
async fn an_event_of_several_rows_is_given_once() {
    let lines = ["{\"a\":3}\n{\"a\":1}\n{\"a\":4}", "{\"a\":2}\n{\"a\":9}\n", "{\"a\":0}\n{\"a\":0}"];
    let bench = Bench::new(&[&lines]).await;
    let check = async |text: &str, expected: &[&str]| {
        assert_eq!(bench.query(text).await.unwrap(), expected, "{text}");
    };
    check("SELECT * FROM t WHERE a > 1", &lines[..2]).await;
    check("SELECT * FROM t WHERE a > 1 ORDER BY a", &[lines[1], lines[0]]).await;
    check("SELECT * FROM t WHERE a > 1 ORDER BY a LIMIT 1", &[lines[1]]).await;
    check("SELECT a FROM t WHERE a > 1 ORDER BY a", &[r#"{"a":2}"#, r#"{"a":3}"#, r#"{"a":4}"#, r#"{"a":9}"#]).await;
}

/// Whoever no longer waits for a query ends it in the middle of a block, on whatever thread that is.
#[tokio::test]
async fn a_query_that_was_dropped_looks_at_nothing_more() {
    let bench = Bench::new(&[&[r#"{"n":1}"#; 10]]).await;
    let mut query = bench.broker.query(PROJECT, &Bench::request("SELECT n FROM t")).await.unwrap();
    let Stage::Reading(running) = std::mem::replace(&mut query.stage, Stage::Done) else { panic!("it has begun") };
    let slice = query.read().await.unwrap().unwrap();
    let (running, looked) = running.look(slice.clone());
    assert_eq!(looked.unwrap().rows.ends.len(), 10);
    drop(query);
    let (_, looked) = running.look(slice);
    assert_eq!((looked.unwrap().rows.ends.len(), LOOKED_AT.get()), (0, 10));
}

/// What makes texts may take long for a few bytes of data.
#[tokio::test]
async fn what_takes_long_is_looked_at_elsewhere() {
    let bench = Bench::new(&[&[r#"{"n":1,"s":"b"}"#]]).await;
    for (condition, is_there) in [("n = 1", false), ("s LIKE 'b%'", false), ("replace(s, 'b', 'aa') = 'aa'", true)] {
        let before = LOOKED_AT.get();
        assert_eq!(bench.query(&format!("SELECT n FROM t WHERE {condition}")).await.unwrap(), [r#"{"n":1}"#]);
        // It counts on this thread alone.
        assert_eq!(LOOKED_AT.get() == before, is_there, "{condition}");
    }
}

#[tokio::test]
async fn long_blocks_are_looked_at_elsewhere() {
    let long = format!(r#"{{"n":1,"s":"{}"}}"#, "x".repeat(2 * LONG_BYTES));
    let bench = Bench::new(&[&[&long, &long], &[r#"{"n":2}"#]]).await;
    let expected = [r#"{"n":1}"#, r#"{"n":1}"#, r#"{"n":2}"#];
    assert_eq!(bench.query("SELECT n FROM t").await.unwrap(), expected);
}

#[tokio::test]
async fn a_query_of_too_much_memory_ends() {
    let texts: Vec<String> = (0..20_000).map(|at| format!(r#"{{"k":"{at}{}"}}"#, "x".repeat(5_000))).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let blocks: Vec<&[&str]> = texts.chunks(500).collect();
    let bench = Bench::new(&blocks).await;
    let refused = bench.query("SELECT k, count(*) FROM t GROUP BY k").await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused}");
    assert!(refused.to_string().contains("groups need more than 64 MiB"), "{refused}");
}

#[tokio::test]
async fn what_is_no_query_of_a_topic_is_refused() {
    let bench = Bench::new(&[]).await;
    let refused = async |text: &str| bench.query(text).await.unwrap_err().to_string();
    assert_eq!(refused("").await, "invalid query");
    assert_eq!(refused("  ").await, "empty query is invalid");
    assert_eq!(refused("SELECT * FROM u").await, "unknown topic in query");
    assert_eq!(refused("SELECT * FROM t LIMIT").await, "syntax error at position 21 near \"\": invalid limit");
    let other = ProjectId(crate::model::Ulid::from_bytes([2; 16]));
    let foreign = bench.broker.query(other, &Bench::request("SELECT * FROM t")).await;
    assert_eq!(foreign.unwrap_err().to_string(), "unknown topic in query");
    assert_eq!(bench.query("SELECT * FROM t").await.unwrap(), Vec::<String>::new());
    assert_eq!(bench.query("SELECT count(*) AS c FROM t").await.unwrap(), [r#"{"c":0}"#]);
    assert_eq!(bench.query(&format!("SELECT * FROM '{}'", bench.topic)).await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_plan_says_what_is_read() {
    let bench = Bench::new(&BLOCKS).await;
    let principal = Principal {
        subject: Subject::Key(crate::model::KeyId(PROJECT.0)),
        organization: OrganizationId::default(),
        project: Some(PROJECT),
        permissions: Permissions::full_key(),
    };
    let text = "SELECT n AS number FROM t WHERE s = 'a' OFFSET 3 LIMIT 7";
    let explained = bench.broker.explain(&principal, &Bench::request(text)).await.unwrap();
    assert_eq!(explained.entry.name().to_string(), "t");
    assert_eq!(explained.plan.columns, ["number"]);
    assert_eq!((explained.plan.filter.as_deref(), explained.plan.limit), (Some("s = 'a'"), Some(7)));
    assert_eq!((explained.reads.from, explained.reads.end), (Offset::new(4), Offset::new(7)));
    assert_eq!((explained.reads.events, explained.reads.blocks), (3, 2));
}
