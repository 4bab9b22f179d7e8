//! List, show, seek, remove.

use super::*;
use crate::broker::{Lags, PageRequest};

#[tokio::test]
async fn a_group_is_shown_by_name_and_by_key() {
    let bench = Bench::new().await;
    let mut member = bench.join(at_least_once()).await;
    bench.publish("t", &["a", "b", "c"]).await;
    let events = member.take(3).await;
    member.ack(&events[1..2]).await;
    bench.clock.advance(Duration::from_secs(3));
    let info = bench.show().await;
    assert_eq!((info.name.as_str(), info.key), ("g", GroupKey::of(b"", "g").unwrap()));
    assert_eq!(bench.broker.show_group(&caller(), &info.key.to_string()).await.unwrap(), info);
    let shown = &info.members[0];
    assert_eq!(
        (shown.client_id.as_str(), shown.address.as_str(), shown.leased, shown.delivered),
        ("tester", "127.0.0.1:1", 2, 3)
    );
    let topic = &info.topics[0];
    assert_eq!((topic.name.as_str(), topic.position.get(), topic.end.get()), ("t", 1, 4));
    assert_eq!((topic.lag_events, topic.lag_ns, topic.leased), (2, 3_000_000_000, 2));
    let missing = bench.broker.show_group(&caller(), "h").await;
    refused(missing, Code::NotFound, "consumer group not found");
    assert_eq!(Lags::default().events(), 0);
}

#[tokio::test]
async fn groups_are_listed_in_pages() {
    let bench = Bench::new().await;
    for number in 0..5 {
        drop(bench.join(group(&format!("g{number}"), DeliverySemantic::ExactlyOnce)).await);
    }
    bench.publish("t", &["a", "b"]).await;
    let mut page = PageRequest { size: 2, token: String::new() };
    let mut found = Vec::new();
    loop {
        let listed = bench.broker.list_groups(&caller(), &page).unwrap();
        found.extend(listed.items);
        page.token = listed.next_token;
        if page.token.is_empty() {
            break;
        }
    }
    let mut names: Vec<&str> = found.iter().map(|group| group.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["g0", "g1", "g2", "g3", "g4"]);
    assert!(found.iter().all(|group| (group.topics, group.lag_events) == (1, 2)));
    let nobody = able([Permission::Publisher].into_iter().collect());
    let listed = bench.broker.list_groups(&nobody, &page);
    refused(listed, Code::PermissionDenied, "not authorized to perform this action");
}

#[tokio::test]
async fn seek_moves_a_group_under_its_members() {
    let bench = Bench::new().await;
    let mut member = bench.join(exactly_once()).await;
    bench.publish("t", &["a", "b", "c"]).await;
    let held = member.take(3).await;
    member.ack(&held[..1]).await;
    let moved = bench.broker.seek_group(&caller(), "g", Some("t"), Position::Start).await.unwrap();
    assert_eq!((moved.topics[0].position.get(), moved.topics[0].leased), (1, 0));
    assert_eq!(member.ack(&held[1..2]).await.refused, [held[1].0]);
    assert_eq!(texts(&member.take(3).await), ["a", "b", "c"]);
    let behind = bench.broker.seek_group(&caller(), "g", None, Position::Offset(crate::model::Offset::new(9))).await;
    refused(behind, Code::InvalidArgument, "offset 9 lies behind the end of the topic, which is 4");
    bench.broker.seek_group(&caller(), "g", None, Position::End).await.unwrap();
    let bench = bench.crash().await;
    let mut member = bench.join(exactly_once()).await;
    bench.publish("t", &["d"]).await;
    assert_eq!(member.next().await, ["d"]);
    let unknown = bench.broker.seek_group(&caller(), "g", Some("u"), Position::End).await;
    refused(unknown, Code::NotFound, "topic not found");
}

#[tokio::test]
async fn a_group_that_is_removed_never_comes_back() {
    let bench = Bench::new().await;
    let mut member = bench.join(at_least_once()).await;
    bench.publish("t", &["a"]).await;
    let events = member.take(1).await;
    member.ack(&events).await;
    let text = "members of the consumer group are connected; they are disconnected when the removal is forced";
    refused(bench.broker.remove_group(&caller(), "g", false).await, Code::FailedPrecondition, text);
    bench.broker.remove_group(&caller(), "g", true).await.unwrap();
    refused(member.0.next().await, Code::Aborted, "the consumer group was removed");
    bench.clock.advance(Duration::from_secs(1));
    let missing = bench.broker.remove_group(&caller(), "g", true).await;
    refused(missing, Code::NotFound, "consumer group not found");
    // Another one with the same name knows nothing of it, also while members of the first are still there.
    let mut wanted = exactly_once();
    wanted.topic_offsets = HashMap::from([("t".to_owned(), 1)]);
    let mut again = bench.join(wanted).await;
    assert_eq!(again.next().await, ["a"]);
    bench.broker.remove_group(&caller(), "g", true).await.unwrap();
    drop((member, again));
    let bench = bench.crash().await;
    assert_eq!(bench.broker.list_groups(&caller(), &PageRequest::default()).unwrap().items, []);
    assert_eq!(bench.broker.groups.records.scan("progress/", None, 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_project_loses_its_groups_with_its_topics() {
    let bench = Bench::new().await;
    let mut member = bench.join(at_least_once()).await;
    bench.broker.destroy_topics(OWN).await.unwrap();
    assert!(matches!(member.0.next().await, Ok(Next::Gone) | Err(BrokerError::GroupRemoved)));
    assert_eq!(bench.broker.list_groups(&caller(), &PageRequest::default()).unwrap().items, []);
}

#[tokio::test]
async fn a_thousand_groups_on_one_topic_each_get_everything() {
    let bench = Bench::new().await;
    let mut members = Vec::new();
    for number in 0..1_000 {
        members.push(bench.join(group(&format!("g{number}"), DeliverySemantic::AtLeastOnce)).await);
    }
    bench.publish("t", &["a"]).await;
    for member in &mut members {
        let events = member.events().await;
        assert_eq!(texts(&events), ["a"]);
        member.ack(&events).await;
    }
    drop(members);
    let bench = bench.restart().await;
    let lags = bench.broker.group_lags();
    assert_eq!((lags.len(), lags.iter().map(|lag| lag.events).sum::<u64>()), (1_000, 0));
}
