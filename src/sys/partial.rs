//! A file that is written over a longer time, maybe by several processes one after the other, beside the place where it is to
//! stand when it is whole.
//!
//! Until then it is called `NAME.partial`, and one process has it at a time. It gets its name when everything is on stable
//! storage, so whoever finds a file under the name finds all of it. What it holds is for its owner alone.
#![expect(clippy::disallowed_types, reason = "this is one of the places that touch the machine's files")]

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use super::files::{FileError, FileReader};

#[derive(Debug)]
pub struct PartialFile {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl PartialFile {
    /// Opens what is there of the file already, or makes an empty one.
    ///
    /// # Errors
    ///
    /// When another process writes it, when there is something under the name that is no file, or when it can't be opened.
    pub fn open(target: &Path) -> Result<PartialFile, FileError> {
        // A symbolic link stays, and what it leads to is replaced.
        let target = fs::canonicalize(target).unwrap_or_else(|_| target.to_owned());
        if fs::metadata(&target).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(FileError::at("write", &target)(io::Error::other("it is not a regular file")));
        }
        let mut name = target.clone().into_os_string();
        name.push(".partial");
        let path = PathBuf::from(name);
        let failed = || FileError::at("open", &path);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let file = options.open(&path).map_err(failed())?;
        match file.try_lock() {
            // Whoever had it may have given it its name before it could be locked.
            Ok(()) if !is_at(&file, &path) => Err(failed()(io::Error::other("another process has just finished it"))),
            Ok(()) => Ok(PartialFile { file, path, target }),
            Err(TryLockError::WouldBlock) => Err(failed()(io::Error::other("another process writes it"))),
            Err(TryLockError::Error(error)) => Err(failed()(error)),
        }
    }

    /// Where it is for now.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads it from its start.
    pub fn reader(&self) -> Result<FileReader, FileError> {
        FileReader::open(&self.path)
    }

    /// Cuts off everything behind this many bytes. What is written next follows them.
    pub fn cut(&mut self, bytes: u64) -> Result<(), FileError> {
        let cut = self.file.set_len(bytes).and_then(|()| self.file.seek(SeekFrom::Start(bytes)));
        cut.map(drop).map_err(FileError::at("cut", &self.path))
    }

    /// Removes what nothing was written to.
    pub fn abandon(self) -> Result<(), FileError> {
        let is_empty = self.file.metadata().is_ok_and(|metadata| metadata.len() == 0);
        if is_empty { fs::remove_file(&self.path).map_err(FileError::at("remove", &self.path)) } else { Ok(()) }
    }

    /// Makes everything durable, and gives the file its name. What was there under it is replaced.
    pub fn finish(self) -> Result<(), FileError> {
        let parent = match self.target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        self.file
            .sync_all()
            .and_then(|()| fs::rename(&self.path, &self.target))
            .and_then(|()| File::open(parent)?.sync_all())
            .map_err(FileError::at("write", &self.target))
    }
}

/// Whether what is open is what stands under the path.
fn is_at(file: &File, path: &Path) -> bool {
    let place = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), fs::metadata(path)), (Ok(open), Ok(named)) if place(&open) == place(&named))
}

impl Write for PartialFile {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.file.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Read as _,
        os::unix::fs::{PermissionsExt as _, symlink},
    };

    use super::*;

    #[test]
    fn it_has_its_name_when_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("file");
        let mut file = PartialFile::open(&target).unwrap();
        file.write_all(b"abcdef").unwrap();
        let error = PartialFile::open(&target).unwrap_err();
        assert_eq!(error.source.to_string(), "another process writes it");
        drop(file);

        let mut file = PartialFile::open(&target).unwrap();
        let mut text = String::new();
        file.reader().unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "abcdef");
        file.cut(3).unwrap();
        file.write_all(b"xyz").unwrap();
        assert!(!target.exists());
        file.finish().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"abcxyz");
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_there_is_replaced_and_a_link_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::write(&target, "old").unwrap();
        symlink(&target, &link).unwrap();
        let mut file = PartialFile::open(&link).unwrap();
        file.write_all(b"new").unwrap();
        PartialFile::open(&dir.path().join("other")).unwrap().abandon().unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3);
        file.finish().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&target).unwrap(), b"new");
    }

    #[test]
    fn what_is_no_file_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        assert!(PartialFile::open(dir.path()).is_err());
        assert!(PartialFile::open(&dir.path().join("no/such/dir")).unwrap_err().is_not_found());
        let error = PartialFile::open(Path::new("/dev/null")).unwrap_err();
        assert_eq!(error.source.to_string(), "it is not a regular file");
    }
}
