//! Every file of a data directory, damaged in every way, under everything that is done with one: what is damaged is
//! repaired, refused by its name, or shown to be harmless; and no event is ever wrong or missing in silence.

use std::{
    collections::BTreeMap,
    error::Error,
    fmt::Write as _,
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
};

use ensign::{
    client::Event,
    model::{Offset, Position},
    sys::{Disk, Entropy},
};

use super::{
    golden::{EVENTS, content, lay_out},
    node::{Key, Node, data},
};

const ACTIVE: &str = "journal/00000000000000000008.seg";
const SEALED: &str = "journal/00000000000000000006.seg";
const COMPACTED: &str = "journal/compact-00000000000000000005.seg";

/// The files, and how many bytes at the end of each are damaged at most; all when nothing is said.
const FILES: [(&str, &str, Option<usize>); 8] = [
    ("active segment", ACTIVE, None),
    ("sealed segment", SEALED, None),
    ("its index", SEALED, Some(400)),
    ("compacted segment", COMPACTED, None),
    ("its index", COMPACTED, Some(400)),
    ("meta.redb", "meta.redb", None),
    ("LOCK", "LOCK", None),
    ("root.key", "root.key", None),
];

/// The events behind those of the golden directory, which a server took that was never stopped.
const MORE: u64 = 3;

/// How often a damage that has a place is done, in different ones.
const PLACES: u64 = 4;

const PAGE: usize = 4_096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    Truncate,
    Flip,
    Zero,
    Delete,
    Duplicate,
}

const HARMS: [Harm; 5] = [Harm::Truncate, Harm::Flip, Harm::Zero, Harm::Delete, Harm::Duplicate];

impl Harm {
    /// In how many places it is done. Of meta.redb most is what earlier commits left behind; the store's own tests go through
    /// it page by page. In the active segment it matters most where it is.
    fn places(self, file: &str, tail: Option<usize>) -> u64 {
        match (self, tail) {
            (Harm::Delete | Harm::Duplicate, None) => 1,
            (Harm::Delete | Harm::Duplicate, Some(_)) => 0,
            _ if file == "meta.redb" || file == ACTIVE => 3 * PLACES,
            _ => PLACES,
        }
    }

    /// Does it. Only what is not zero is damaged: the rest is room that nothing has been written to.
    fn apply(self, path: &Path, tail: Option<usize>, entropy: &Entropy) {
        let mut bytes = fs::read(path).unwrap();
        let start = tail.map_or(0, |tail| bytes.len().saturating_sub(tail));
        let used: Vec<usize> = (start..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        let at = used[usize::try_from(entropy.number() % used.len() as u64).unwrap()];
        match self {
            Harm::Truncate => bytes.truncate(at),
            Harm::Flip => bytes[at] ^= 1 << (entropy.number() % 8),
            Harm::Zero => {
                let page = at / PAGE * PAGE;
                let end = bytes.len().min(page + PAGE);
                bytes[page..end].fill(0);
            }
            Harm::Delete => return fs::remove_file(path).unwrap(),
            Harm::Duplicate => return fs::write(path.with_file_name(beside(path)), bytes).unwrap(),
        }
        fs::write(path, bytes).unwrap();
    }
}

/// A name under which a copy of a file may be taken for something.
fn beside(path: &Path) -> String {
    let name = path.file_name().unwrap().to_str().unwrap();
    match name.strip_suffix(".seg") {
        Some(stem) => format!("{}9.seg", &stem[..stem.len() - 1]),
        None => format!("{name}.new"),
    }
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Fine,
    Repaired,
    Refused,
    /// It could not be tried, because the server was not opened.
    Not,
}

/// Outcomes of verify, open, read, append and compact.
type Row = [Outcome; 5];

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The directory of a server that was killed: the golden one, with a few events behind those that the last stop knew.
async fn killed(dir: &Path) -> Key {
    let running = tempfile::tempdir().unwrap();
    lay_out(running.path());
    let mut key = None;
    let node = Node::start(&Disk::real(running.path()).unwrap(), &mut key).await.unwrap();
    let outcome = node.publish(EVENTS + 1..EVENTS + MORE + 1).await.unwrap();
    assert_eq!(outcome.progress.acked, MORE);
    copy(running.path(), dir);
    node.server.stop().await.unwrap();
    key
}

fn expected(number: u64) -> bytes::Bytes {
    if number <= EVENTS { content(number) } else { data(number) }
}

/// Events have to be those from a number on, without a gap; returns the number behind the last one.
fn check_events(events: &[Event], first: u64, place: &str) -> u64 {
    for (event, number) in events.iter().zip(first..) {
        assert!(event.offset.get() == number && event.data == expected(number), "{place}: offset {}", event.offset);
    }
    first + events.len() as u64
}

fn text(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        write!(text, ": {source}").unwrap();
        cause = source.source();
    }
    text
}

/// The root key can come from elsewhere, so that what is wrong with it is not always said with the name of the file.
fn is_about_the_root_key(file: &str, text: &str) -> bool {
    file == "root.key" && text.contains("root key")
}

/// Runs `ensign verify`.
fn verify(dir: &Path, file: &str, place: &str) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_ensign")).arg("verify").arg(dir).env_clear().output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) if said.contains("torn") && !said.contains("torn tail  none") => Outcome::Repaired,
        Some(0) => Outcome::Fine,
        Some(6) => {
            assert!(said.contains(file) || is_about_the_root_key(file, &said), "{place}: {said}");
            Outcome::Refused
        }
        other => panic!("{place}: verify ended with {other:?}: {said}"),
    }
}

/// Opens the directory and does everything with it.
async fn live_with(dir: &Path, file: &str, key: &mut Key, place: &str) -> [Outcome; 4] {
    let node = match Node::start(&Disk::real(dir).unwrap(), key).await {
        Ok(node) => node,
        Err(error) => {
            let text = text(&error);
            assert!(text.contains(file) || is_about_the_root_key(file, &text), "{place}: {text}");
            return [Outcome::Refused, Outcome::Not, Outcome::Not, Outcome::Not];
        }
    };
    let cut = node.server.recovered().cut.is_some();
    let (events, error) = node.read(Position::Start).await;
    let next = check_events(&events, 1, place);
    let read = match &error {
        Some(error) => {
            assert!(error.to_string().contains(file), "{place}: {error}");
            Outcome::Refused
        }
        None if next == EVENTS + MORE + 1 => Outcome::Fine,
        None => {
            assert!(cut, "{place}: events from {next} on are missing, and nobody says so");
            Outcome::Repaired
        }
    };

    // What is appended stands behind everything else, whatever cannot be read before it.
    let end = if cut { next } else { EVENTS + MORE + 1 };
    let published = node.publish(end..end + 3).await.unwrap();
    assert_eq!(published.progress.acked, 3, "{place}: {published:?}");
    let check_appended = async || {
        let (appended, error) = node.read(Position::Offset(Offset::new(end))).await;
        assert!(error.is_none(), "{place}: {error:?}");
        for (event, number) in appended.iter().zip(end..) {
            assert!(event.offset.get() == number && event.data == data(number), "{place}: appended {number}");
        }
        assert_eq!(appended.len(), 3, "{place}");
    };
    check_appended().await;

    let compacted = node.server.broker().compact().await;
    let (events, error_after) = node.read(Position::Start).await;
    assert_eq!(error.is_some(), error_after.is_some(), "{place}: {error:?}, and after compaction {error_after:?}");
    let behind = if error.is_some() { next } else { end };
    let before = events.len().min(usize::try_from(behind - 1).unwrap());
    assert_eq!(check_events(&events[..before], 1, place), behind, "{place}: compaction changed what can be read");
    check_appended().await;
    node.server.stop().await.unwrap();
    let opened = if cut { Outcome::Repaired } else { Outcome::Fine };
    [opened, read, Outcome::Fine, if compacted.is_ok() { Outcome::Fine } else { Outcome::Refused }]
}

/// Counts the panics of a server's threads, which no answer would show.
fn count_panics() -> &'static AtomicUsize {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let before = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let is_servers = std::thread::current().name().is_some_and(|name| name.starts_with("ensign-"));
        if is_servers {
            PANICS.fetch_add(1, Ordering::SeqCst);
        }
        before(panic);
    }));
    &PANICS
}

fn table(rows: &BTreeMap<(usize, usize), Vec<Row>>) -> String {
    let mut table = format!("{:18} {:10}", "file", "damage");
    for operation in ["verify", "open", "read", "append", "compact"] {
        write!(table, " {operation:>22}").unwrap();
    }
    for ((file, harm), rows) in rows {
        write!(table, "\n{:18} {:10}", FILES[*file].0, format!("{:?}", HARMS[*harm]).to_lowercase()).unwrap();
        for operation in 0..5 {
            let mut cell = String::new();
            for (outcome, name) in
                [(Outcome::Fine, "fine"), (Outcome::Repaired, "repaired"), (Outcome::Refused, "refused")]
            {
                let count = rows.iter().filter(|row| row[operation] == outcome).count();
                if count > 0 {
                    write!(cell, " {count} {name}").unwrap();
                }
            }
            write!(table, " {:>22}", if cell.is_empty() { "-" } else { cell.trim() }).unwrap();
        }
    }
    table
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_file_in_every_way() {
    let panics = count_panics();
    let root = tempfile::tempdir().unwrap();
    let good = root.path().join("good");
    let mut key = killed(&good).await;
    let mut rows: BTreeMap<(usize, usize), Vec<Row>> = BTreeMap::new();
    for (file_number, (_, file, tail)) in FILES.into_iter().enumerate() {
        for (harm_number, harm) in HARMS.into_iter().enumerate() {
            for number in 0..harm.places(file, tail) {
                let place = format!("{file}, {harm:?}, {number}, tail {tail:?}");
                let dir = root.path().join("bad");
                copy(&good, &dir);
                let seed = (file_number * 100 + harm_number * 10) as u64 + number;
                harm.apply(&dir.join(file), tail, &Entropy::seeded(seed));
                // A copy behind the last segment makes that one wrong: it is not sealed, and another one follows it.
                let named = if harm == Harm::Duplicate && file == SEALED { ACTIVE } else { file };
                let verified = verify(&dir, named, &place);
                let [open, read, append, compact] = live_with(&dir, named, &mut key, &place).await;
                let all = [verified, open, read, append, compact];
                let is_found = all.contains(&Outcome::Refused) || all.contains(&Outcome::Repaired);
                assert!(is_found || read == Outcome::Fine, "{place}: {all:?}");
                assert!(verified != Outcome::Fine || open != Outcome::Refused, "{place}: {all:?}");
                rows.entry((file_number, harm_number)).or_default().push(all);
                fs::remove_dir_all(&dir).unwrap();
            }
        }
    }
    eprintln!("{}", table(&rows));
    assert_eq!(panics.load(Ordering::SeqCst), 0, "threads of servers panicked");
    let refused = rows.values().flatten().filter(|row| row.contains(&Outcome::Refused)).count();
    assert!(refused > 50, "{refused}");
}
