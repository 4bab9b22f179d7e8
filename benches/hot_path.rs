//! The parts of an event's way through the server, each by itself, on real events.
//!
//! `cargo bench --bench hot_path`

use std::{cell::RefCell, path::Path};

use bytes::Bytes;
use divan::{
    Bencher, black_box,
    counter::{BytesCount, ItemsCount},
};
use ensign::{
    api::{
        self, Envelope, FrameReader, PublisherMessage,
        ensign::{Event, EventWrapper, PublisherRequest, publisher_request::Embed},
    },
    engine::{Batch, Engine, RootKey, Topic, TypeCount},
    model::{Offset, Position, ProjectId, Rlid, Secret, Time, TopicId, Ulid},
    store::{
        Store, Transaction,
        local::{LocalOptions, LocalStore},
    },
    sys::{Clock, Disk, Entropy, files},
};
use prost::Message as _;
use tokio::runtime::Runtime;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const TOPIC: TopicId = TopicId(Ulid::from_bytes([2; 16]));
const PROJECT: ProjectId = ProjectId(Ulid::from_bytes([1; 16]));

/// Real events: flights have about 90 bytes, earthquakes 670.
const FILES: [&str; 2] = ["flights", "earthquakes"];

/// The size of a chunk as it comes off the wire, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// As much as a block takes.
const BLOCK_BYTES: usize = 256 * 1024;

fn main() {
    divan::main();
}

/// The encoded `Event`s of a file, over and over, until so many bytes are reached.
fn events(file: &str, bytes_max: usize) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/{file}.jsonl"));
    let lines = files::read_file(&path, 1 << 30).expect("the data is in the repository");
    let lines: Vec<&[u8]> = lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let (mut events, mut bytes) = (Vec::new(), 0);
    for line in lines.iter().cycle() {
        let event = Event { data: Bytes::copy_from_slice(line), mimetype: 50, ..Event::default() }.encode_to_vec();
        bytes += event.len();
        if bytes > bytes_max {
            break;
        }
        events.push(event);
    }
    events
}

fn wrapper(event: &[u8], number: usize) -> EventWrapper {
    EventWrapper {
        topic_id: Bytes::copy_from_slice(TOPIC.as_bytes()),
        event: Bytes::copy_from_slice(event),
        local_id: Bytes::copy_from_slice(&(number as u128).to_be_bytes()),
        ..EventWrapper::default()
    }
}

/// Publish requests as they come off the wire.
fn chunk(events: &[Vec<u8>]) -> Bytes {
    let mut chunk = Vec::new();
    for (number, event) in events.iter().enumerate() {
        api::write_message(&mut chunk, &PublisherRequest { embed: Some(Embed::Event(wrapper(event, number))) });
    }
    chunk.into()
}

/// Records as they are stored, each behind its length.
fn records(events: &[Vec<u8>]) -> Vec<u8> {
    let mut records = Vec::new();
    receive(chunk(events), &mut records);
    records
}

/// Cuts a chunk into messages, looks at each, and writes its record. Gives how many there were.
fn receive(chunk: Bytes, records: &mut Vec<u8>) -> u32 {
    let mut reader = FrameReader::default();
    reader.feed(chunk);
    let mut count = 0;
    while let Some(frame) = reader.next_frame().expect("the frames are whole") {
        let message = api::parse_publisher_request(frame.body).expect("it is a request");
        let PublisherMessage::Event(event) = message else { panic!("not an event") };
        black_box(api::inspect_event(event.event()).expect("it is an event"));
        event.write_record(records);
        count += 1;
    }
    count
}

/// From the wire's bytes to records.
#[divan::bench(args = FILES)]
fn decode_wrappers(bencher: Bencher<'_, '_>, file: &str) {
    let events = events(file, CHUNK_BYTES);
    let chunk = chunk(&events);
    let mut out = Vec::with_capacity(2 * CHUNK_BYTES);
    bencher.counter(ItemsCount::new(events.len())).counter(BytesCount::new(chunk.len())).bench_local(|| {
        out.clear();
        receive(black_box(chunk.clone()), &mut out)
    });
}

#[divan::bench]
fn write_acks(bencher: Bencher<'_, '_>) {
    let ids: Vec<[u8; 16]> = (0..1_000_u128).map(u128::to_be_bytes).collect();
    let mut out = Vec::with_capacity(64 * 1024);
    let committed = Time::from_nanos(1_700_000_000_123_456_789);
    bencher.counter(ItemsCount::new(ids.len())).bench_local(|| {
        out.clear();
        api::write_acks(&mut out, ids.iter().map(|id| &id[..]), black_box(committed));
        out.len()
    });
}

/// From records to the wire's bytes.
#[divan::bench(args = FILES)]
fn write_deliveries(bencher: Bencher<'_, '_>, file: &str) {
    let events = events(file, CHUNK_BYTES);
    let records: Vec<Vec<u8>> = events
        .iter()
        .map(|event| EventWrapper { event: Bytes::copy_from_slice(event), ..EventWrapper::default() }.encode_to_vec())
        .collect();
    let publisher = api::encode_publisher("01J0000000000000000000000", "127.0.0.1:50000", "client", "bench/1");
    let mut out = Vec::with_capacity(2 * CHUNK_BYTES);
    bencher.counter(ItemsCount::new(records.len())).bench_local(|| {
        out.clear();
        for (number, record) in records.iter().enumerate() {
            let envelope = Envelope {
                id: Rlid::from_parts(1_700_000_000_000, 7).plus(number as u64),
                topic: TOPIC,
                offset: Offset::FIRST.plus(number as u64),
                epoch: 1,
                committed: Time::from_nanos(1_700_000_000_123_456_789),
                publisher: &publisher,
            };
            api::write_subscribe_reply(&mut out, black_box(record), &envelope);
        }
        out.len()
    });
}

/// An engine over a store, with one topic.
struct Node {
    runtime: Runtime,
    engine: Engine,
    topic: Topic,
    /// Keeps the store's threads.
    _local: Option<LocalStore>,
}

impl Node {
    /// Over plain collections: what is left is the engine's own work.
    fn in_collections() -> Node {
        Node::over(&Store::memory(), None)
    }

    /// Over the real store, on a disk that costs nothing.
    fn in_memory(segment_bytes: u64) -> Node {
        let (clock, entropy) = (Clock::real(), Entropy::real());
        let opened = LocalStore::open(
            &Disk::memory(),
            &clock,
            &entropy,
            LocalOptions { segment_bytes, ..LocalOptions::default() },
        );
        let (store, local, _) = opened.expect("a new store can be opened");
        Node::over(&store, Some(local))
    }

    fn over(store: &Store, local: Option<LocalStore>) -> Node {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let root = RootKey::new(&Secret::new([7; 32])).expect("a key of the right length");
        let (engine, topic) = runtime.block_on(async {
            let engine =
                Engine::open(store.clone(), root, Clock::real(), Entropy::real()).await.expect("an empty store opens");
            store.records.commit(engine.prepare_create(TOPIC, Transaction::new())).await.expect("it is new");
            let topic = engine.topic(TOPIC, PROJECT).await.expect("it was made");
            (engine, topic)
        });
        Node { runtime, engine, topic, _local: local }
    }

    /// Appends a batch, and waits until it is committed.
    fn append(&self, records: &[u8], count: usize) {
        let batch = Batch {
            records: records.to_vec(),
            count: u32::try_from(count).expect("a batch is small"),
            publisher: Bytes::from_static(b"publisher"),
            types: vec![TypeCount {
                schema: Bytes::new(),
                mimetype: 50,
                events: count as u64,
                data_bytes: records.len() as u64,
            }],
        };
        self.runtime.block_on(async {
            let permit = self.engine.admit(records.len()).await;
            let reply = self.topic.append(batch, permit).await;
            reply.await.expect("the engine is open").expect("there is room");
        });
    }
}

/// Building a block, compressing and sealing it.
#[divan::bench(args = FILES)]
fn seal_block(bencher: Bencher<'_, '_>, file: &str) {
    commit(bencher, file, &Node::in_collections());
}

/// The same, and its way through the journal's thread.
#[divan::bench(args = FILES)]
fn commit_block(bencher: Bencher<'_, '_>, file: &str) {
    commit(bencher, file, &Node::in_memory(64 * 1024 * 1024));
}

fn commit(bencher: Bencher<'_, '_>, file: &str, node: &Node) {
    let events = events(file, BLOCK_BYTES);
    let records = records(&events);
    bencher
        .counter(ItemsCount::new(events.len()))
        .counter(BytesCount::new(records.len()))
        .bench_local(|| node.append(&records, events.len()));
}

/// Reading a topic that is larger than the cache: look-up, decryption, decompression, a walk over the records.
#[divan::bench(args = FILES, sample_count = 10)]
fn read_blocks(bencher: Bencher<'_, '_>, file: &str) {
    const BLOCKS: usize = 256;
    let events = events(file, BLOCK_BYTES);
    let records = records(&events);
    let node = Node::in_memory(64 * 1024 * 1024);
    for _ in 0..BLOCKS {
        node.append(&records, events.len());
    }
    bencher
        .counter(ItemsCount::new(BLOCKS * events.len()))
        .counter(BytesCount::new(BLOCKS * records.len()))
        .bench_local(|| {
            node.runtime.block_on(async {
                let mut reader = node.topic.reader(Offset::FIRST);
                let mut bytes = 0;
                while let Some(slice) = reader.read().await.expect("it is all there") {
                    bytes += slice.events().map(|event| event.record.len()).sum::<usize>();
                }
                bytes
            })
        });
}

/// Finding the event that was committed at some time, in sealed segments.
#[divan::bench]
fn seek_time(bencher: Bencher<'_, '_>) {
    let node = Node::in_memory(32 * 1024 * 1024);
    let events = events("flights", 1024);
    let records = records(&events);
    for _ in 0..20_000 {
        node.append(&records, events.len());
    }
    let times = RefCell::new(Vec::new());
    node.runtime.block_on(async {
        let mut reader = node.topic.reader(Offset::FIRST);
        while let Some(slice) = reader.read().await.expect("it is all there") {
            times.borrow_mut().extend(slice.events().map(|event| event.committed()));
        }
    });
    let times = times.into_inner();
    let mut turn = 0;
    bencher.bench_local(|| {
        turn = (turn + 7_919) % times.len();
        node.runtime.block_on(node.topic.seek(Position::Time(times[turn]))).expect("it is there")
    });
}
