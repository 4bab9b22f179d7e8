//! What is written is what is read, and whatever is changed is refused.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    file::Resumption,
    line::{Begin, Gap, Selection, Topic, VERSION},
    reader::{ArchiveReader, Part, ReadError},
    writer::{ArchiveWriter, WriteError},
};
use crate::{
    cli::record,
    client::{Event, PublisherInfo, TopicDefinition},
    model::{Deduplication, Mimetype, Offset, Rlid, Strategy, Time, TopicId, Ulid},
};

fn begin(topics: u64) -> Begin {
    Begin {
        version: VERSION,
        program: "ensign 0.0.0".to_owned(),
        server: "0.0.0".to_owned(),
        created: "2026-11-21T09:30:00Z".to_owned(),
        topics,
        selection: Selection { topics: None, from: "start".to_owned(), until: None, skip_unreadable: false },
    }
}

fn topic(name: &str, first: u64, last: u64) -> Topic {
    let definition = TopicDefinition {
        id: TopicId(Ulid::from_bytes([7; 16])),
        name: name.to_owned(),
        readonly: false,
        deduplication: Deduplication {
            strategy: Strategy::UniqueKey,
            keys: vec!["a".to_owned()],
            ..Deduplication::default()
        },
        rest: Bytes::from_static(b"rest"),
    };
    Topic::new(&definition, first, last)
}

fn event(offset: u64, data: Vec<u8>) -> Event {
    let publisher = PublisherInfo {
        id: format!("publisher {}", offset / 5),
        client_id: String::new(),
        address: "127.0.0.1".to_owned(),
        user_agent: "test".to_owned(),
    };
    Event {
        topic: TopicId(Ulid::from_bytes([7; 16])),
        offset: Offset::new(offset),
        id: Rlid::from_parts(1_700_000_000_000, 5),
        committed: Some(Time::from_nanos(1_700_000_000_000_000_001)),
        created: Some(Time::EPOCH),
        mimetype: Mimetype::TEXT_PLAIN,
        schema: None,
        metadata: BTreeMap::from([("a".to_owned(), offset.to_string())]),
        key: Bytes::new(),
        data: data.into(),
        encryption: None,
        publisher: (!offset.is_multiple_of(7)).then(|| Arc::new(publisher)),
    }
}

type Written = ArchiveWriter<Vec<u8>>;

fn writer(topics: &[Topic], chunk_bytes: usize) -> Written {
    let writer = ArchiveWriter::new(Vec::new(), begin(topics.len() as u64), topics.to_vec()).unwrap();
    writer.with_chunks_of(chunk_bytes)
}

/// Writes all events of all topics, from where the writer is.
fn write(writer: &mut Written) {
    let course = writer.course().clone();
    let mut next = course.next();
    for topic in &course.topics()[course.at()..] {
        for offset in next.max(topic.first)..=topic.last {
            writer.event(&event(offset, format!("event {offset}").into_bytes())).unwrap();
        }
        next = 0;
        writer.end_topic().unwrap();
    }
}

/// An archive of three topics, the second of which is empty.
pub(super) fn sample(events: u64, chunk_bytes: usize) -> Vec<u8> {
    let topics = [topic("a", 1, events), topic("b", 5, 4), topic("c", 3, 2 + events)];
    let mut writer = writer(&topics, chunk_bytes);
    write(&mut writer);
    writer.finish().unwrap().0
}

fn decompressed(bytes: &[u8]) -> Vec<u8> {
    zstd::stream::decode_all(bytes).unwrap()
}

/// The records, or why there are none.
fn read(bytes: &[u8]) -> Result<Vec<String>, ReadError> {
    let mut reader = ArchiveReader::new(bytes);
    let mut records = Vec::new();
    while let Some(chunk) = reader.next_chunk()? {
        records.extend(chunk.parts.iter().filter_map(|part| match part {
            Part::Event(event) => Some(String::from_utf8(chunk.record(event).to_vec()).unwrap()),
            Part::TopicEnd(_) | Part::End(_) => None,
        }));
    }
    Ok(records)
}

fn refused(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn the_lines_of_an_archive() {
    let mut writer = writer(&[topic("a", 1, 3)], 1);
    writer.event(&event(1, b"x".to_vec())).unwrap();
    writer.gap(Gap { topic: "a".to_owned(), first: 2, last: 3 }).unwrap();
    writer.end_topic().unwrap();
    let (bytes, end, written) = writer.finish().unwrap();
    assert_eq!((end.topics, end.events, end.skipped, written), (1, 1, 2, bytes.len() as u64));
    let text = String::from_utf8(decompressed(&bytes)).unwrap();
    let shown: Vec<String> = text
        .lines()
        .map(|line| match line.split_once("\"sha256\":") {
            Some((before, _)) => format!("{before}…"),
            None => line.to_owned(),
        })
        .collect();
    let id = TopicId(Ulid::from_bytes([7; 16]));
    let record = concat!(
        r#"{"ensign":1,"topic":"a","offset":1,"id":"065wzsb800000005","#,
        r#""publisher":{"address":"127.0.0.1","id":"publisher 0","user_agent":"test"},"#,
        r#""committed":"2023-11-14T22:13:20.000000001Z","created":"1970-01-01T00:00:00Z","mimetype":"text/plain","#,
        r#""metadata":{"a":"1"},"encoding":"text","data":"x"}"#,
    );
    let topic = format!(
        concat!(
            r#"{{"ensign":1,"archive":"topic","name":"a","id":"{}","archived":false,"#,
            r#""deduplication":{{"strategy":"unique_key","keep":"earliest","keys":["a"],"overwrite":false}},"#,
            r#""rest":"cmVzdA==","first":1,"last":3}}"#,
        ),
        id
    );
    let expected = [
        concat!(
            r#"{"ensign":1,"archive":"begin","version":1,"program":"ensign 0.0.0","server":"0.0.0","#,
            r#""created":"2026-11-21T09:30:00Z","topics":1,"selection":{"from":"start","skip_unreadable":false}}"#,
        ),
        &topic,
        r#"{"ensign":1,"archive":"checkpoint","topic":"a","next":1,"events":0,…"#,
        record,
        r#"{"ensign":1,"archive":"checkpoint","topic":"a","next":2,"events":1,…"#,
        r#"{"ensign":1,"archive":"gap","topic":"a","first":2,"last":3}"#,
        r#"{"ensign":1,"archive":"checkpoint","topic":"a","next":4,"events":1,…"#,
        r#"{"ensign":1,"archive":"topic_end","topic":"a","events":1,"skipped":2}"#,
        r#"{"ensign":1,"archive":"checkpoint","events":1,…"#,
        r#"{"ensign":1,"archive":"end","topics":1,"events":1,"skipped":2,…"#,
    ];
    assert_eq!(shown, expected);
    assert_eq!(read(&bytes).unwrap(), [record]);
    assert!(record::read(record.as_bytes()).is_ok());
}

/// What the last line says is what `sha256sum` says of the lines before it.
#[test]
fn the_checksum_is_that_of_the_lines() {
    use sha2::{Digest, Sha256};
    let text = decompressed(&sample(20, 500));
    let last = text[..text.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1;
    let digest = Sha256::digest(&text[..last]);
    let end: serde_json::Value = serde_json::from_slice(&text[last..]).unwrap();
    let said = end["sha256"].as_str().unwrap();
    assert_eq!(said.len(), 64);
    for (at, byte) in digest.iter().enumerate() {
        assert_eq!(u8::from_str_radix(&said[2 * at..2 * at + 2], 16), Ok(*byte));
    }
}

#[test]
fn it_does_not_matter_how_the_lines_are_compressed() {
    let bytes = sample(100, 700);
    let records = read(&bytes).unwrap();
    assert_eq!(records.len(), 200);
    let text = decompressed(&bytes);
    assert_eq!(read(&text).unwrap(), records);
    assert_eq!(read(&zstd::stream::encode_all(&text[..], 19).unwrap()).unwrap(), records);
}

#[test]
fn what_is_no_archive() {
    for other in [&b"hello\n"[..], b"{\"ensign\":1,\"topic\":\"a\"}\n", &[0; 100]] {
        assert!(matches!(read(other), Err(ReadError::NoArchive)), "{other:?}");
    }
    assert_eq!(refused(b""), "it is cut off behind byte 0: 0 lines are there, and the last of them is not its end");
    let text = String::from_utf8(decompressed(&sample(1, 10))).unwrap();
    let later = text.replacen("\"version\":1", "\"version\":2,\"more\":[]", 1);
    assert_eq!(refused(later.as_bytes()), "line 1: the archive has version 2, and this program reads version 1");
}

#[test]
fn wherever_it_is_cut_off_it_is_refused() {
    let bytes = sample(4, 600);
    for end in (0..bytes.len()).step_by(5) {
        let error = refused(&bytes[..end]);
        assert!(error.contains("it is cut off behind byte"), "{end}: {error}");
    }
    let text = decompressed(&bytes);
    for end in (0..text.len()).step_by(5) {
        let error = refused(&text[..end]);
        assert!(error.contains("it is cut off behind byte"), "{end}: {error}");
    }
}

#[test]
fn what_stands_behind_the_end_is_refused() {
    let bytes = sample(12, 600);
    let text = decompressed(&bytes);
    let at = format!("something stands behind its end, from byte {} on", bytes.len());
    assert_eq!(refused(&[&bytes[..], b"x"].concat()), at);
    assert_eq!(refused(&[&bytes[..], &bytes].concat()), at);
    assert!(refused(&[&text[..], b"\n"].concat()).starts_with("something stands behind its end"));
    let whole = zstd::stream::encode_all(&[&text[..], b"\n"].concat()[..], 3).unwrap();
    assert!(refused(&whole).starts_with("something stands behind its end"));
}

#[test]
fn whatever_byte_is_changed_is_found() {
    let bytes = sample(4, 600);
    let records = read(&bytes).unwrap();
    for at in (0..bytes.len()).step_by(3) {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (at % 8);
        // A few bits of a frame's header say nothing about what is in it.
        assert!(read(&changed).is_err() || decompressed(&changed) == decompressed(&bytes), "byte {at}");
    }
    let text = decompressed(&bytes);
    for at in (0..text.len()).step_by(7) {
        let mut changed = text.clone();
        changed[at] ^= 1 << (at % 8);
        assert!(read(&changed).is_err(), "byte {at} of the lines");
    }
    assert_eq!(read(&text).unwrap(), records);
}

#[test]
fn lines_that_are_lost_doubled_or_in_another_order() {
    let text = decompressed(&sample(6, 600));
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    for at in 0..lines.len() {
        let (before, behind) = lines.split_at(at);
        let check = |lines: Vec<&[u8]>| assert!(read(&lines.concat()).is_err(), "line {at}");
        check([before, &behind[1..]].concat());
        check([before, &behind[..1], behind].concat());
        if let [first, second, rest @ ..] = behind {
            check([before, &[second, first], rest].concat());
        }
    }
    let without_second = [&lines[..6], &lines[7..]].concat().concat();
    let error = refused(&without_second);
    assert_eq!(error, "line 7: the event with offset 3 where offset 2 of topic a was to come");
}

#[test]
fn a_server_that_leaves_something_out_is_found() {
    let mut writer = writer(&[topic("a", 1, 3)], 100);
    let check = |result: Result<(), WriteError>, text: &str| assert_eq!(result.unwrap_err().to_string(), text);
    check(
        writer.event(&event(2, Vec::new())),
        "the server sent the event with offset 2 where offset 1 of topic a was to come",
    );
    check(writer.end_topic(), "the server sent the end of a topic where offset 1 of topic a was to come");
    assert!(writer.finish().is_err());
}

/// Whatever an interrupted run left, going on behind what is whole of it makes the very same bytes.
#[test]
fn an_archive_that_is_gone_on_with_is_what_it_would_have_been() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let whole = sample(6, 600);
    let mut resumed = 0;
    for end in (0..=whole.len()).rev().step_by(11) {
        let torn = if end % 2 == 0 { &[0; 50][..] } else { &[] };
        std::fs::write(&path, [&whole[..end], torn].concat()).unwrap();
        let Some(found) = Resumption::read(crate::sys::files::FileReader::open(&path).unwrap()) else { continue };
        let kept = usize::try_from(found.bytes).unwrap();
        assert!(kept <= end);
        if found.end.is_some() {
            assert_eq!(kept, whole.len());
            continue;
        }
        resumed += 1;
        let records = read_whole(&whole[..kept]);
        assert_eq!(found.last, records.last().cloned().unwrap_or_default().into_bytes());
        let writer = ArchiveWriter::resume(whole[..kept].to_vec(), found.course, found.bytes).unwrap();
        let mut writer = writer.with_chunks_of(600);
        write(&mut writer);
        assert!(writer.finish().unwrap().0 == whole, "from byte {end} on");
    }
    assert!(resumed > whole.len() / 22, "{resumed}");
}

/// The records of as many chunks as are whole.
fn read_whole(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8(decompressed(bytes)).unwrap();
    text.lines().filter(|line| line.contains("\"offset\"")).map(str::to_owned).collect()
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        datas in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..40),
        first in 1..u64::from(u32::MAX),
        gap in prop::option::of(1..5_u64),
        chunk_bytes in 1..3_000_usize,
    ) {
        let count = datas.len() as u64;
        let gap = gap.unwrap_or(0);
        let mut writer = writer(&[topic("a", first, first + gap + count - 1)], chunk_bytes);
        if gap > 0 {
            writer.gap(Gap { topic: "a".to_owned(), first, last: first + gap - 1 }).unwrap();
        }
        for (data, offset) in datas.iter().zip(first + gap..) {
            writer.event(&event(offset, data.clone())).unwrap();
        }
        writer.end_topic().unwrap();
        let (bytes, end, _) = writer.finish().unwrap();
        prop_assert_eq!((end.events, end.skipped), (count, gap));
        let records = read(&bytes).unwrap();
        let read: Vec<_> = records.iter().map(|line| record::read(line.as_bytes()).unwrap().data.to_vec()).collect();
        prop_assert_eq!(read, datas);
    }
}
