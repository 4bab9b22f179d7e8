//! The same expectations of every kind of directory, and what only the simulated one does.

use super::*;

/// What every kind of directory does alike.
fn check(disk: &Disk) {
    disk.create_dir("journal").unwrap();
    let file = disk.create("journal/1.seg").unwrap();
    file.allocate(100_000).unwrap();
    assert_eq!(file.len().unwrap(), 100_000);
    assert_eq!(file.data(5_000).unwrap(), [], "set aside is not written");
    file.write_all_at(&[b"abc", b"", b"defg"], 50_000).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir("journal").unwrap();
    let data = file.data(0).unwrap();
    assert!(data.iter().any(|range| range.contains(&50_000) && range.contains(&50_006)), "{data:?}");
    assert!(data.iter().all(|range| range.end <= 100_000 && !range.is_empty()), "{data:?}");
    assert_eq!(file.data(50_003).unwrap()[0].start, 50_003);

    let again = disk.open("journal/1.seg").unwrap();
    let mut buffer = [1; 9];
    again.read_exact_at(&mut buffer, 49_999).unwrap();
    assert_eq!(&buffer, b"\0abcdefg\0");
    assert_eq!(again.read_at(&mut buffer, 99_999).unwrap(), 1);
    assert_eq!(
        again.read_exact_at(&mut buffer, 99_999).map_err(|error| error.kind()),
        Err(io::ErrorKind::UnexpectedEof)
    );
    again.set_len(50_002).unwrap();
    again.set_len(50_005).unwrap();
    assert_eq!(again.read_at(&mut buffer, 50_000).unwrap(), 5);
    assert_eq!(&buffer[..5], b"ab\0\0\0");

    disk.rename("journal/1.seg", "journal/2.seg").unwrap();
    disk.create("meta").unwrap();
    assert_eq!(disk.list("journal").unwrap(), ["2.seg"]);
    assert_eq!(disk.open("journal/1.seg").map(drop).map_err(|error| error.kind()), Err(io::ErrorKind::NotFound));
    disk.remove("journal/2.seg").unwrap();
    assert_eq!(again.len().unwrap(), 50_005, "an open file outlives its name");
    assert!(disk.list("").unwrap().contains(&"meta".to_owned()));

    let held = disk.lock().unwrap();
    match disk.lock() {
        Err(LockError::Held { pid }) => assert_eq!(pid, Some(std::process::id())),
        other => panic!("{other:?}"),
    }
    drop(held);
    drop(disk.lock().unwrap());
}

#[test]
fn real() {
    let root = tempfile::tempdir().unwrap();
    check(&Disk::real(&root.path().join("a/b")).unwrap());
}

#[test]
fn only_the_owner_may_look() {
    use std::os::unix::fs::PermissionsExt;

    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("data");
    let disk = Disk::real(&dir).unwrap();
    disk.create("file").unwrap();
    let _lock = disk.lock().unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(&dir.join("file")), 0o600);
    assert_eq!(mode(&dir.join(LOCK_FILE)), 0o600);
}

#[test]
fn memory() {
    check(&Disk::memory());
}

#[test]
fn simulated() {
    check(&SimulatedDisk::new().disk());
}

fn content(disk: &SimulatedDisk, path: &str) -> Option<Vec<u8>> {
    let file = disk.disk().open(path).ok()?;
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_exact_at(&mut bytes, 0).unwrap();
    Some(bytes)
}

#[test]
fn only_what_was_synced_survives_for_sure() {
    let disk = SimulatedDisk::new();
    let file = disk.disk().create("f").unwrap();
    file.write_all_at(&[b"one"], 0).unwrap();
    file.sync_data().unwrap();
    assert_eq!(content(&disk.crash(Loss::Everything), "f"), None, "the entry was not synced");
    disk.disk().sync_dir("").unwrap();
    let after = disk.operations();
    file.write_all_at(&[b"two"], 0).unwrap();
    assert_eq!(content(&disk.crash(Loss::Everything), "f").unwrap(), b"one");
    assert_eq!(content(&disk.crash(Loss::Nothing), "f").unwrap(), b"two");
    assert_eq!(content(&disk.crash_after(after, Loss::Nothing), "f").unwrap(), b"one");
}

#[test]
fn a_crash_tears_writes_by_sectors() {
    let disk = SimulatedDisk::new();
    let file = disk.disk().create("f").unwrap();
    file.allocate(4096).unwrap();
    file.sync_data().unwrap();
    disk.disk().sync_dir("").unwrap();
    file.write_all_at(&[&[7; 3000]], 100).unwrap();
    let mut kinds = [0, 0, 0];
    for seed in 0..50 {
        let bytes = content(&disk.crash(Loss::Some(seed)), "f").unwrap();
        assert_eq!(bytes, content(&disk.crash(Loss::Some(seed)), "f").unwrap(), "seed {seed}");
        let sectors: Vec<bool> = bytes.chunks(512).map(|sector| sector.contains(&7)).collect();
        let written = &sectors[..7];
        assert!(!sectors[7]);
        for (sector, bytes) in bytes.chunks(512).enumerate().take(6).skip(1) {
            assert!(bytes.iter().all(|byte| *byte == bytes[0]), "sector {sector} is torn itself");
        }
        let kind = if written.iter().all(|there| *there) { 0 } else { 1 + usize::from(written.contains(&true)) };
        kinds[kind] += 1;
    }
    assert!(kinds.iter().all(|count| *count > 0), "all, none, some: {kinds:?}");
}

#[test]
fn a_sync_that_failed_is_not_cured_by_the_next() {
    let disk = SimulatedDisk::new();
    let file = disk.disk().create("f").unwrap();
    disk.disk().sync_dir("").unwrap();
    file.write_all_at(&[b"lost"], 0).unwrap();
    disk.fail(Fault { on: Operation::Sync, under: "f", after: 0, kind: FaultKind::Io });
    assert!(file.sync_data().is_err());
    assert!(disk.all_failed());
    file.sync_data().unwrap();
    assert_eq!(content(&disk.crash(Loss::Everything), "f").unwrap(), b"");
    assert_eq!(content(&disk.crash(Loss::Nothing), "f").unwrap(), b"lost");
}

#[test]
fn faults_come_where_and_when_they_are_asked_for() {
    let disk = SimulatedDisk::new();
    let (a, b) = (disk.disk().create("a").unwrap(), disk.disk().create("b").unwrap());
    disk.fail(Fault { on: Operation::Write, under: "a", after: 1, kind: FaultKind::NoSpace });
    b.write_all_at(&[b"x"], 0).unwrap();
    b.write_all_at(&[b"x"], 0).unwrap();
    a.write_all_at(&[b"x"], 0).unwrap();
    let error = a.write_all_at(&[b"xyz"], 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    a.write_all_at(&[b"uvw"], 1).unwrap();
    disk.fail(Fault { on: Operation::Write, under: "a", after: 0, kind: FaultKind::Short });
    a.write_all_at(&[b"12", b"34", b"5"], 4).unwrap();
    assert_eq!(content(&disk, "a").unwrap(), b"xuvw12345", "a short write is gone on with");
}
