//! Damage to meta.redb: found when the store is opened and by verify, and named; or it lies where nothing is.

use bytes::Bytes;

use super::tests::{SEGMENT_BYTES, filled, verify};
use crate::{
    model::Offset,
    store::{
        Extent, Record, Store,
        local::{LocalOptions, LocalStore, OpenError},
        suite::topic,
    },
    sys::{Clock, Entropy, Loss, SimulatedDisk},
};

const PAGE_BYTES: u64 = 4_096;
const HEADER_BYTES: u64 = 320;

fn try_open(disk: &SimulatedDisk) -> Result<(Store, LocalStore), OpenError> {
    let options = LocalOptions { segment_bytes: SEGMENT_BYTES, ..LocalOptions::default() };
    LocalStore::open(&disk.disk(), &Clock::real(), &Entropy::seeded(1), options).map(|(store, local, _)| (store, local))
}

/// Records, what is known of each topic, and how many blocks can be read.
type Content = (Vec<(Bytes, Record)>, Vec<Extent>, usize);

async fn content(store: &Store) -> Content {
    let records = store.records.scan("", None, 1_000).await.unwrap();
    let (mut extents, mut blocks) = (Vec::new(), 0);
    for number in 1..4 {
        extents.push(store.blocks.extent(topic(number)).await.unwrap());
        blocks += store.blocks.read(topic(number), Offset::FIRST, usize::MAX).await.unwrap().len();
    }
    (records, extents, blocks)
}

/// What a whole store has.
async fn expected(disk: &SimulatedDisk) -> Content {
    let (store, _local) = try_open(&disk.crash(Loss::Nothing)).unwrap();
    content(&store).await
}

fn bytes(disk: &SimulatedDisk) -> Vec<u8> {
    let file = disk.disk().open("meta.redb").unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

/// Opens a damaged store. Returns where it is said to be damaged; `None` when everything is as in the whole one.
async fn opened(bad: &SimulatedDisk, whole: &Content, place: &str) -> Option<u64> {
    let found = verify(bad);
    match try_open(bad) {
        Err(OpenError::Damaged { position, .. }) => {
            let first = found.damage.first();
            let named = first.is_some_and(|damage| damage.file == "meta.redb" && damage.position == Some(position));
            assert!(named, "{place}: {position}, {found:?}");
            Some(position)
        }
        Err(error) => panic!("{place}: {error:?}"),
        Ok((store, _local)) => {
            assert_eq!(found.damage, [], "{place}");
            assert_eq!(content(&store).await, *whole, "{place}");
            None
        }
    }
}

/// A bit of each byte of the header, and all bits of those that are not covered by a checksum.
#[tokio::test]
async fn every_byte_of_the_header() {
    for is_closed in [true, false] {
        let disk = filled(is_closed).await;
        let whole = expected(&disk).await;
        let before = bytes(&disk);
        let mut refused = 0;
        for at in 0..HEADER_BYTES {
            let bits = if at == 9 || (12..32).contains(&at) { 0..8 } else { at % 8..at % 8 + 1 };
            for bit in bits {
                let bad = disk.crash(Loss::Nothing);
                bad.damage("meta.redb", at, &[before[usize::try_from(at).unwrap()] ^ (1 << bit)]);
                let place = format!("byte {at}, bit {bit}, closed: {is_closed}");
                refused += u32::from(opened(&bad, &whole, &place).await.is_some());
            }
        }
        assert!(refused > 100, "{refused}");
    }
}

/// Two bytes of each page that has anything, and the whole page.
#[tokio::test]
async fn every_page() {
    for is_closed in [true, false] {
        let disk = filled(is_closed).await;
        let whole = expected(&disk).await;
        let before = bytes(&disk);
        let (mut refused, mut harmless) = (0, 0);
        for (number, page) in (0..).zip(before.chunks(usize::try_from(PAGE_BYTES).unwrap())).skip(1) {
            let start = number * PAGE_BYTES;
            let used: Vec<u64> = (start..).zip(page).filter(|(_, byte)| **byte != 0).map(|(at, _)| at).collect();
            let Some(first) = used.first() else { continue };
            let middle = used[used.len() / 2];
            let flipped = |at: u64| vec![before[usize::try_from(at).unwrap()] ^ 0x08];
            for (at, damage) in [(*first, flipped(*first)), (middle, flipped(middle)), (start, vec![0; page.len()])] {
                let bad = disk.crash(Loss::Nothing);
                bad.damage("meta.redb", at, &damage);
                let place = format!("byte {at}, {} changed, closed: {is_closed}", damage.len());
                match opened(&bad, &whole, &place).await {
                    Some(position) => {
                        assert_eq!(position, start, "{place}");
                        refused += 1;
                    }
                    None => harmless += 1,
                }
            }
        }
        // What earlier commits left behind counts for nothing.
        assert!(refused > 20 && harmless > 0, "{refused} refused, {harmless} harmless");
    }
}

#[tokio::test]
async fn a_database_that_is_too_short_or_too_long() {
    for is_closed in [true, false] {
        let disk = filled(is_closed).await;
        let whole = expected(&disk).await;
        let len = bytes(&disk).len() as u64;
        for new in
            [0, 1, HEADER_BYTES - 1, HEADER_BYTES, PAGE_BYTES, 3 * PAGE_BYTES, len / 2, len - 1, len + 1, 2 * len]
        {
            let bad = disk.crash(Loss::Nothing);
            bad.disk().open("meta.redb").unwrap().set_len(new).unwrap();
            let position = opened(&bad, &whole, &format!("{new} of {len} bytes, closed: {is_closed}")).await;
            assert!(position.is_some() || new > 3 * PAGE_BYTES, "{new} of {len} bytes");
        }
    }
}
