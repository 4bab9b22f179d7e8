//! Where groups start, and what members may ask for.

use super::*;
use crate::broker::subscription_tests::blind;

async fn published() -> Bench {
    let bench = Bench::new().await;
    bench.publish("t", &["a", "b", "c"]).await;
    bench
}

#[tokio::test]
async fn a_group_starts_where_its_first_member_wants() {
    let bench = published().await;
    let mut nowhere = bench.join(group("end", DeliverySemantic::AtMostOnce)).await;
    let mut wanted = group("query", DeliverySemantic::AtMostOnce);
    wanted.subscribe.query = Some(blind("SELECT * FROM t OFFSET 1"));
    let mut query = bench.join(wanted.clone()).await;
    assert_eq!(texts(&query.take(2).await), ["b", "c"]);
    let mut named = group("named", DeliverySemantic::AtMostOnce);
    for (offset, expected) in [(0, "a"), (1, "a"), (3, "c")] {
        named.group = GroupKey::of(b"", &format!("named{offset}")).unwrap();
        named.topic_offsets = HashMap::from([("t".to_owned(), offset)]);
        assert_eq!(bench.join(named.clone()).await.next().await[0], expected);
    }
    bench.publish("t", &["d"]).await;
    assert_eq!(nowhere.next().await, ["d"]);
    // A group that has a position goes on there, whatever is asked for.
    drop(nowhere);
    wanted.group = GroupKey::of(b"", "end").unwrap();
    let mut again = bench.join(wanted).await;
    bench.publish("t", &["e"]).await;
    assert_eq!(again.next().await, ["e"]);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() {
    let bench = published().await;
    let check = async |change: fn(&mut JoinRequest), code, text: &str| {
        let mut wanted = at_least_once();
        change(&mut wanted);
        refused(bench.try_join(wanted).await, code, text);
    };
    let invalid = Code::InvalidArgument;
    let named = "the name of a consumer group has at most 256 bytes of printable text";
    check(|wanted| wanted.name = "n".repeat(257), invalid, named).await;
    check(|wanted| wanted.name = "a\nb".to_owned(), invalid, named).await;
    let timeout = "the delivery timeout of a consumer group must be more than 0 and at most 24 hours";
    check(|wanted| wanted.settings.timeout = Some(Duration::ZERO), invalid, timeout).await;
    check(|wanted| wanted.settings.timeout = Some(Duration::from_secs(86_401)), invalid, timeout).await;
    let window = "the window of a consumer group must be from 16 to 1000000 events, and not 15";
    check(|wanted| wanted.settings.window = Some(15), invalid, window).await;
    let offsets = |wanted: &mut JoinRequest| wanted.topic_offsets = HashMap::from([("u".to_owned(), 1)]);
    check(offsets, invalid, "unknown topic \"u\" in topic offsets").await;
    let beyond = |wanted: &mut JoinRequest| wanted.topic_offsets = HashMap::from([("t".to_owned(), 9)]);
    check(beyond, invalid, "offset 9 lies behind the end of the topic, which is 4").await;
    let unknown = |wanted: &mut JoinRequest| wanted.subscribe.topics = vec!["u".to_owned()];
    check(unknown, Code::FailedPrecondition, "no topics available").await;
    let ending = |wanted: &mut JoinRequest| wanted.subscribe.query = Some(blind("SELECT * FROM t BEFORE 2026-01-01"));
    let mut wanted = at_least_once();
    ending(&mut wanted);
    let text = bench.try_join(wanted).await.err().unwrap();
    assert_eq!(text.code(), invalid, "{text}");
    let filtering = "a consumer group's query says where to read only: SELECT * FROM topics, with OFFSET or AFTER";
    let condition = |wanted: &mut JoinRequest| wanted.subscribe.query = Some(blind("SELECT * FROM t WHERE a = 1"));
    check(condition, invalid, filtering).await;
    let typed = |wanted: &mut JoinRequest| wanted.subscribe.query = Some(blind("SELECT * FROM t.order.1"));
    check(typed, invalid, filtering).await;
    let ordered = |wanted: &mut JoinRequest| wanted.subscribe.query = Some(blind("SELECT * FROM t ORDER BY a"));
    check(ordered, invalid, filtering).await;
    let publisher = able([Permission::Publisher].into_iter().collect());
    let joined = bench.broker.join(&publisher, OWN, &at_least_once()).await.map(drop);
    refused(joined, Code::PermissionDenied, "not authorized to perform this action");
}

#[tokio::test]
async fn settings_change_when_nobody_relies_on_them() {
    let bench = published().await;
    let first = bench.join(at_least_once()).await;
    let mut wanted = at_least_once();
    wanted.settings = GroupSettings::default();
    // Who asks for nothing takes what there is.
    let second = bench.join(wanted.clone()).await;
    wanted.settings.timeout = Some(Duration::from_secs(5));
    let text =
        "the consumer group has other settings, and other members are connected: delivery timeout is 20s, not 5s";
    refused(bench.try_join(wanted.clone()).await, Code::FailedPrecondition, text);
    let text = "the consumer group has other settings, and other members are connected: delivery is at-least-once, not exactly-once";
    refused(bench.try_join(exactly_once()).await, Code::FailedPrecondition, text);
    drop((first, second));
    while !bench.show().await.members.is_empty() {
        tokio::task::yield_now().await;
    }
    drop(bench.join(wanted).await);
    let bench = bench.crash().await;
    let terms = bench.show().await.terms;
    assert_eq!((terms.delivery, terms.timeout), (DeliverySemantic::AtLeastOnce, Duration::from_secs(5)));
}

#[tokio::test]
async fn a_group_of_all_topics_follows_those_that_are_created() {
    let bench = Bench::new().await;
    let mut wanted = at_least_once();
    wanted.subscribe.topics = Vec::new();
    let mut member = bench.join(wanted).await;
    bench.create("u").await;
    bench.publish("u", &["a"]).await;
    assert_eq!(member.next().await, ["a"]);
}

#[tokio::test]
async fn a_topic_that_is_destroyed_is_forgotten() {
    let bench = Bench::new().await;
    let topic = bench.create("u").await;
    let mut wanted = at_least_once();
    wanted.subscribe.topics = vec!["t".to_owned(), "u".to_owned()];
    let mut both = bench.join(wanted).await;
    let mut gone = group("other", DeliverySemantic::AtLeastOnce);
    gone.subscribe.topics = vec!["u".to_owned()];
    let mut one = bench.join(gone).await;
    bench.publish("u", &["a"]).await;
    bench.broker.remove_topic(&caller(), &topic.id.to_string(), 2).await.unwrap();
    while !matches!(one.0.next().await.unwrap(), Next::Gone) {}
    bench.publish("t", &["b"]).await;
    while both.next().await != ["b"] {}
    let mut changes = bench.broker.directory().changes(OWN);
    while bench.broker.directory().get(OWN, topic.id).is_some() {
        changes.changed().await.unwrap();
    }
    let bench = bench.crash().await;
    let topics: Vec<String> = bench.show().await.topics.into_iter().map(|topic| topic.name).collect();
    assert_eq!(topics, ["t"]);
    let prefix = record::PROGRESS_PREFIX;
    assert_eq!(bench.broker.groups.records.scan(prefix, None, 10).await.unwrap().len(), 1);
}
