//! What fuzzers feed with arbitrary bytes: an archive, as it is read.

use super::{reader::ArchiveReader, reader::Part};
use crate::cli::record;

/// An archive is read to its end, or refused. What it gives out until then are records and no others, in bounded memory; the
/// same lines give the same when they are not compressed.
pub fn fuzz_archive(data: &[u8]) {
    let mut reader = ArchiveReader::new(data);
    let mut lines = Vec::new();
    let mut events = 0;
    while let Ok(Some(chunk)) = reader.next_chunk() {
        for part in &chunk.parts {
            match part {
                Part::Event(event) => {
                    events += 1;
                    assert!(chunk.record(event).starts_with(record::MARK));
                }
                Part::TopicEnd(topic) => assert!(topic.events <= events),
                Part::End(end) => assert_eq!(end.events, events),
            }
        }
        assert!(chunk.whole.is_none_or(|bytes| bytes <= data.len() as u64));
        assert_eq!(reader.course().events(), events);
        lines.extend_from_slice(chunk.lines());
        if let Some(Part::End(_)) = chunk.parts.last() {
            assert!(reader.next_chunk().is_ok_and(|chunk| chunk.is_none()), "the end is the end");
            let mut again = ArchiveReader::new(&lines[..]);
            while let Some(chunk) = again.next_chunk().expect("lines that were read once are right") {
                assert!(chunk.whole.is_none(), "there are no frames");
            }
            assert_eq!(again.course().checkpoint(), reader.course().checkpoint());
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::tests::sample, *};
    use crate::model::fuzzing::run_bounded;

    #[test]
    fn archives() {
        let whole = sample(3, 200);
        let lines = zstd::stream::decode_all(&whole[..]).unwrap();
        run_bounded("an archive", &[&whole, &lines], fuzz_archive);
    }
}
