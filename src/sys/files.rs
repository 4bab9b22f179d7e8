//! Files outside of a data directory: configuration, secrets, what a user names on the command line.
#![expect(clippy::disallowed_types, reason = "this is one of the places that touch the machine's files")]

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
};

use super::Entropy;

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("could not {action} {path}")]
pub struct FileError {
    pub action: &'static str,
    pub path: PathDisplay,
    #[source]
    pub source: io::Error,
}

/// A path as messages show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathDisplay(PathBuf);

impl From<PathBuf> for PathDisplay {
    fn from(path: PathBuf) -> PathDisplay {
        PathDisplay(path)
    }
}

impl fmt::Display for PathDisplay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.display().fmt(f)
    }
}

impl FileError {
    pub fn is_not_found(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }

    pub(super) fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        let path = PathDisplay(path.to_owned());
        move |source| FileError { action, path, source }
    }
}

/// Who else but its owner may read or write a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Private,
    /// The permission bits, some of which are for the group or for everybody.
    Shared {
        mode: u32,
    },
}

/// Reads a file that must not be longer than `bytes_max`.
pub fn read_file(path: &Path, bytes_max: u64) -> Result<Vec<u8>, FileError> {
    let failed = || FileError::at("read", path);
    let file = File::open(path).map_err(failed())?;
    let mut bytes = Vec::new();
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).map_err(failed())?;
    if bytes.len() as u64 > bytes_max {
        let message = format!("it is longer than {bytes_max} bytes");
        return Err(failed()(io::Error::new(io::ErrorKind::FileTooLarge, message)));
    }
    Ok(bytes)
}

/// Replaces a file as a whole, readable and writable for its owner alone: after a crash there is the old content or the new one. A
/// symbolic link stays, and what it leads to is replaced.
pub fn write_private_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, 0o600)
}

/// As [`write_private_file`], but readable for everybody whom the process's mask lets.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    replace(path, bytes, 0o666)
}

fn replace(path: &Path, bytes: &[u8], mode: u32) -> Result<(), FileError> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{:016x}.tmp", Entropy::real().number()));
    let draft = parent.join(name);
    let written = write_draft(&draft, bytes, mode).and_then(|()| fs::rename(&draft, &target));
    if let Err(error) = written {
        // The draft may not even be there; the error that counts is the first one.
        fs::remove_file(&draft).ok();
        return Err(FileError::at("write", path)(error));
    }
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(FileError::at("write", path))
}

fn write_draft(draft: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(draft)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// A file that is written from its start, readable for everybody whom the process's mask lets. What was in it is gone.
pub fn create_file(path: &Path) -> Result<impl Write + Send + 'static + use<>, FileError> {
    File::create(path).map_err(FileError::at("write", path))
}

/// Makes a directory and those above it, for the owner alone. One that is there already stays as it is.
pub fn create_private_dir(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(FileError::at("create", path))
}

/// Removes a directory with everything in it.
pub fn remove_dir(path: &Path) -> Result<(), FileError> {
    fs::remove_dir_all(path).map_err(FileError::at("remove", path))
}

/// Removes a file; gives whether there was one.
pub fn remove_file(path: &Path) -> Result<bool, FileError> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(FileError::at("remove", path)(error)),
    }
}

/// A file to whose end a program that is started writes what it says. It is made when it is not there, for the owner alone.
pub fn log_file(path: &Path) -> Result<Stdio, FileError> {
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(path);
    opened.map(Stdio::from).map_err(FileError::at("open", path))
}

/// Whether there is anything at the path.
pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// Who may read or write a file.
pub fn access(path: &Path) -> Result<Access, FileError> {
    let mode = fs::metadata(path).map_err(FileError::at("look at", path))?.permissions().mode() & 0o777;
    Ok(if mode & !0o700 == 0 { Access::Private } else { Access::Shared { mode } })
}

/// A file being read from its start to its end.
#[derive(Debug)]
pub struct FileReader(File);

impl FileReader {
    pub fn open(path: &Path) -> Result<FileReader, FileError> {
        let failed = || FileError::at("open", path);
        let file = File::open(path).map_err(failed())?;
        if file.metadata().map_err(failed())?.is_dir() {
            return Err(failed()(io::ErrorKind::IsADirectory.into()));
        }
        Ok(FileReader(file))
    }

    /// How long the file is, in bytes; zero for what has no length, such as a pipe.
    pub fn len(&self) -> u64 {
        self.0.metadata().map(|metadata| metadata.len()).unwrap_or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.0.read(buffer)
    }
}

/// The right to change what lies beside a lock file, until it is dropped. The lock goes with the process, too.
#[derive(Debug)]
pub struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits until whoever has the lock gives it up.
    pub fn acquire(path: &Path) -> Result<FileLock, FileError> {
        let failed = || FileError::at("lock", path);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(path).map_err(failed())?;
        file.lock().map_err(failed())?;
        Ok(FileLock { _file: file })
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_private_file_is_replaced_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        fs::write(&path, "old").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(access(&path).unwrap(), Access::Shared { mode: 0o644 });
        write_private_file(&path, b"new").unwrap();
        assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"new".to_vec(), 0o600));
        assert_eq!(access(&path).unwrap(), Access::Private);
        assert_eq!(names(dir.path()), ["secret"]);
    }

    #[test]
    fn a_link_stays_and_its_target_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "old").unwrap();
        symlink(&target, &link).unwrap();
        write_private_file(&link, b"new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn a_failed_write_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("occupied");
        fs::create_dir(&path).unwrap();
        let error = write_private_file(&path, b"new").unwrap_err();
        assert!(error.to_string().starts_with("could not write "), "{error}");
        assert_eq!(names(dir.path()), ["occupied"]);
        assert!(write_private_file(&dir.path().join("no/such/dir"), b"").unwrap_err().is_not_found());
    }

    #[test]
    fn a_file_is_written_from_its_start() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("results");
        fs::write(&path, "longer than the new one").unwrap();
        create_file(&path).unwrap().write_all(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(create_file(dir.path()).is_err());
    }

    #[test]
    fn reading_has_a_limit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        assert!(read_file(&path, 3).unwrap_err().is_not_found());
        fs::write(&path, "abc").unwrap();
        assert_eq!(read_file(&path, 3).unwrap(), b"abc");
        assert_eq!(read_file(&path, 2).unwrap_err().source.kind(), io::ErrorKind::FileTooLarge);
        assert!(remove_file(&path).unwrap());
        assert!(!remove_file(&path).unwrap());
    }

    #[test]
    fn a_reader_reads_files_alone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(FileReader::open(dir.path()).is_err());
        let path = dir.path().join("file");
        fs::write(&path, "abc").unwrap();
        let mut reader = FileReader::open(&path).unwrap();
        assert_eq!(reader.len(), 3);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }

    #[test]
    fn new_directories_are_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b");
        create_private_dir(&path).unwrap();
        create_private_dir(&path).unwrap();
        assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o700, 0o700));
    }

    #[test]
    fn one_holds_a_lock_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = FileLock::acquire(&path).unwrap();
        let other = OpenOptions::new().write(true).open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(fs::TryLockError::WouldBlock)));
        drop(held);
        other.try_lock().unwrap();
    }
}
