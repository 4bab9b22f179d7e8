//! What subscriptions with a condition, columns, a type or a limit give, over a store in memory.

use std::time::Duration;

use futures_util::FutureExt as _;
use proptest::prelude::*;

use super::{
    query::tests::{Bench, PROJECT, show},
    *,
};
use crate::model::{Code, Mimetype};

/// The type is the event's first letter, with the version 1.0.0; `[` begins JSON lines without brackets around them.
fn show_types(record: &[u8], see: &mut dyn FnMut(&EventView<'_>)) -> bool {
    let (first, data) = record.split_at(1);
    let view = EventView {
        key: b"",
        data,
        mimetype: if first == b"[" { Mimetype::JSON_LINES } else { Mimetype::JSON },
        created: None,
        type_name: std::str::from_utf8(first).unwrap(),
        type_version: (1, 0, 0),
        metadata: &|_| None,
    };
    see(&view);
    true
}

async fn subscribe(bench: &Bench, text: &str, show: ShowEvent) -> Result<Subscription, BrokerError> {
    let query = SubscriptionQuery { text: text.to_owned(), parameters: Vec::new(), show };
    let request = SubscribeRequest { query: Some(query), skip_unreadable: true, ..Default::default() };
    bench.broker.subscribe(PROJECT, &request, &Lags::default()).await
}

/// What is given, each with its offset.
fn given(next: &Next) -> Vec<(u64, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match next {
        Next::Matches(matches) => {
            let events = matches.events().map(|event| (event.offset.get(), text(event.record)));
            let rows = matches.rows().map(|(event, row)| (event.offset.get(), text(row)));
            let found: Vec<_> = events.chain(rows).collect();
            assert!(!found.is_empty(), "nothing is not given");
            found
        }
        Next::Passed => Vec::new(),
        other => panic!("{other:?}"),
    }
}

/// Everything up to the end of a subscription that has one.
async fn drain(subscription: &mut Subscription) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    loop {
        match subscription.next().await.unwrap() {
            Next::Finished => return found,
            next => found.extend(given(&next)),
        }
    }
}

async fn all(bench: &Bench, text: &str) -> Vec<String> {
    let mut subscription = subscribe(bench, text, show).await.unwrap();
    drain(&mut subscription).await.into_iter().map(|(_, text)| text).collect()
}

/// What comes without waiting for anything but others' turns.
async fn at_once(subscription: &mut Subscription) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    for _ in 0..20 {
        if let Some(next) = subscription.next().now_or_never() {
            found.extend(given(&next.unwrap()));
        }
        tokio::task::yield_now().await;
    }
    found
}

const BLOCKS: [&[&str]; 3] = [
    &[r#"{"n":1,"s":"a"}"#, r#"{"n":2,"s":"b"}"#],
    &[r#"{"n":3,"s":"a"}"#, "nonsense", r#"{"n":5}"#],
    &[r#"{"n":6,"s":"c"}"#],
];

#[tokio::test]
async fn conditions_columns_and_limits() {
    let bench = Bench::new(&BLOCKS).await;
    let check = async |rest: &str, expected: &[&str]| {
        assert_eq!(all(&bench, rest).await, expected, "{rest}");
    };
    let events = BLOCKS.concat();
    check("SELECT * FROM t BEFORE 'now' WHERE s = 'a'", &[events[0], events[2]]).await;
    check("SELECT * FROM t OFFSET 1 BEFORE 6 WHERE n > 0", &[events[1], events[2], events[4]]).await;
    check("SELECT * FROM t BEFORE 'now' WHERE n > 100", &[]).await;
    check(
        "SELECT n, upper(s) AS name FROM t OFFSET 4 BEFORE 'now'",
        &[r#"{"n":5,"name":null}"#, r#"{"n":6,"name":"C"}"#],
    )
    .await;
    check("SELECT _offset AS o FROM t BEFORE 3", &[r#"{"o":1}"#, r#"{"o":2}"#]).await;
    check("SELECT * FROM t OFFSET 0 WHERE n > 1 LIMIT 2", &[events[1], events[2]]).await;
    check("SELECT * FROM t OFFSET 0 LIMIT 4", &events[..4]).await;
    check("SELECT * FROM t LIMIT 0", &[]).await;
}

#[tokio::test]
async fn rows_are_of_their_events() {
    let bench =
        Bench::new(&[&["a{\"n\":1}", "[{\"n\":2}\n{\"n\":3}\nx\n{\"n\":4}", "b{\"n\":5}"], &["b{\"n\":6}"]]).await;
    let check = async |text: &str, expected: &[(u64, &str)], undecodable| {
        let mut subscription = subscribe(&bench, text, show_types).await.unwrap();
        let expected: Vec<_> = expected.iter().map(|(offset, row)| (*offset, (*row).to_owned())).collect();
        assert_eq!(drain(&mut subscription).await, expected, "{text}");
        assert_eq!(subscription.undecodable(), Some(undecodable), "{text}");
    };
    let rows = [(2, r#"{"n":2}"#), (2, r#"{"n":3}"#), (2, r#"{"n":4}"#), (3, r#"{"n":5}"#)];
    check("SELECT n FROM t BEFORE 4 WHERE n > 1", &rows, 1).await;
    check("SELECT n FROM t OFFSET 0 WHERE n > 1 LIMIT 2", &rows[..2], 0).await;
    check("SELECT n FROM t.b BEFORE 'now'", &[(3, r#"{"n":5}"#), (4, r#"{"n":6}"#)], 0).await;
    check("SELECT * FROM t.b.1 BEFORE 'now' WHERE n = 6", &[(4, "b{\"n\":6}")], 0).await;
    check("SELECT * FROM t.b.2 BEFORE 'now'", &[], 0).await;
    check("SELECT * FROM t.a BEFORE 'now'", &[(1, "a{\"n\":1}")], 0).await;
}

#[tokio::test]
async fn what_comes_is_looked_at_as_it_comes() {
    let bench = Bench::new(&BLOCKS).await;
    let mut matching = subscribe(&bench, "SELECT n FROM t WHERE s = 'x'", show).await.unwrap();
    assert_eq!(at_once(&mut matching).await, []);
    bench.append(&[r#"{"n":7,"s":"x"}"#, r#"{"n":8,"s":"y"}"#]).await;
    assert!(matching.is_ready());
    assert_eq!(at_once(&mut matching).await, [(7, r#"{"n":7}"#.to_owned())]);
    bench.append(&[r#"{"n":9,"s":"y"}"#]).await;
    assert_eq!(at_once(&mut matching).await, []);
    assert!(!matching.is_ready());
    // It ends with what passes, whether that matches or not.
    let mut ending = subscribe(&bench, "SELECT n FROM t AFTER 'now' BEFORE 11 WHERE s = 'x'", show).await;
    assert!(ending.is_err(), "offset 11 might never come");
    ending = subscribe(&bench, "SELECT n FROM t OFFSET 8 BEFORE 10 WHERE s = 'x'", show).await;
    assert_eq!(drain(&mut ending.unwrap()).await, []);
}

/// Now is the moment at which a block is looked at.
#[tokio::test]
async fn now_goes_on() {
    let bench = Bench::new(&[]).await;
    let text = "SELECT n FROM t WHERE now() - _committed < INTERVAL '2 seconds'";
    let mut fresh = subscribe(&bench, text, show).await.unwrap();
    // Time goes on by a second behind each block.
    bench.append(&[r#"{"n":1}"#]).await;
    assert_eq!(at_once(&mut fresh).await, [(1, r#"{"n":1}"#.to_owned())]);
    bench.append(&[r#"{"n":2}"#]).await;
    bench.clock.advance(Duration::from_mins(1));
    assert_eq!(at_once(&mut fresh).await, []);
    bench.append(&[r#"{"n":3}"#]).await;
    assert_eq!(at_once(&mut fresh).await, [(3, r#"{"n":3}"#.to_owned())]);
}

#[tokio::test]
async fn what_no_subscription_can_have_is_refused() {
    let bench = Bench::new(&BLOCKS).await;
    let refused = async |text: &str| {
        let error = subscribe(&bench, text, show).await.map(drop).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{text}");
        error.to_string()
    };
    let ordered = refused("SELECT * FROM t WHERE n > 1 ORDER BY n").await;
    assert!(ordered.contains("ORDER BY is not possible in the query of a subscription, which never ends"), "{ordered}");
    assert!(refused("SELECT count(*) FROM t").await.contains("an aggregate is not possible"));
    assert_eq!(refused("SELECT * FROM u WHERE n = 1").await, "unknown topic in query");
    assert_eq!(refused("SELECT * FROM t WHERE n = :n").await, "no value is given for the parameter :n");
    assert!(refused("SELECT * FROM t WHERE").await.ends_with("invalid where clause"));
}

#[tokio::test]
async fn what_is_too_large_ends_it() {
    let lines = format!("[{}", "{}\n".repeat(100));
    let bench = Bench::new(&[&[&lines]]).await;
    let text = format!("SELECT '{}' AS x FROM t BEFORE 'now'", "x".repeat(1_000_000));
    let error = subscribe(&bench, &text, show_types).await.unwrap().next().await.unwrap_err();
    assert_eq!(error.code(), Code::ResourceExhausted, "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A filtered replay gives what a query gives of the same events; also when its call is given up at every place where it
    /// waits, with blocks of any length.
    #[test]
    fn a_replay_gives_what_a_query_gives(
        blocks in prop::collection::vec(prop::collection::vec((0..20_u32, any::<bool>()), 1..6), 0..8),
        what in prop::sample::select(&["*", "n", "n, pad IS NULL AS short, _offset"]),
        condition in prop::sample::select(&["n > 9", "n % 3 = 0 AND pad IS NULL", "_offset BETWEEN 3 AND 9", "true", "x = 1"]),
        from in 0..10_usize,
        limit in prop::option::of(0..9_u64),
        gives_up in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let pad = "x".repeat(40_000);
            let event = |(number, long): (u32, bool)| match number {
                7 => "nonsense".to_owned(),
                number if long => format!(r#"{{"n":{number},"pad":"{pad}"}}"#),
                number => format!(r#"{{"n":{number}}}"#),
            };
            let bench = Bench::new(&[]).await;
            let mut count = 0;
            for block in blocks {
                let events: Vec<String> = block.into_iter().map(event).collect();
                count += events.len();
                bench.append(&events.iter().map(String::as_str).collect::<Vec<_>>()).await;
            }
            let limit = limit.map_or(String::new(), |limit| format!(" LIMIT {limit}"));
            let text = format!(
                "SELECT {what} FROM t OFFSET {} BEFORE 'now' WHERE {condition}{limit}",
                from.min(count)
            );
            let mut subscription = subscribe(&bench, &text, show).await.unwrap();
            let mut found = Vec::new();
            loop {
                let next = if gives_up { subscription.next().now_or_never() } else { Some(subscription.next().await) };
                match next.transpose().unwrap() {
                    Some(Next::Finished) => break,
                    Some(next) => found.extend(given(&next).into_iter().map(|(_, text)| text)),
                    None => tokio::task::yield_now().await,
                }
            }
            prop_assert_eq!(found, bench.query(&text).await.unwrap(), "{}", text);
            Ok(())
        })?;
    }
}
