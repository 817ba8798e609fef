//! Files and folders that appear whole or not at all: made under a temporary name beside the target, brought to the
//! disk with fsync, and renamed into place.
//!
//! A temporary belongs to whoever holds the lock (`flock`) on it. The system drops that lock when the process dies,
//! however it dies, so [`sweep`] can tell what a killed process left from what a live one still writes; process
//! numbers could not, since they come again, in containers most of all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Prefix of the names of temporaries: `.tmp-<target>-<process>-<count>`.
const PREFIX: &str = ".tmp-";

/// Number of attempts for a name that another process removes or takes at the same moment.
const ATTEMPTS: usize = 100;

/// Writes `bytes` to the file `path`; a crash at any moment leaves the old file or the new one.
///
/// # Errors
/// [`Error::Io`] where the system refuses; the old file is then untouched.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut temporary = Temporary::file(path)?;
    let written = temporary.handle.write_all(bytes).and_then(|()| temporary.handle.sync_all());
    written.map_err(|e| Error::io(path, "write", with_needed_bytes(e, bytes.len() as u64)))?;
    temporary.rename_to(path)?;
    sync_parent(path)
}

/// A file or a folder under a temporary name, locked; removed when dropped before [`Temporary::rename_to`].
pub(crate) struct Temporary {
    path: PathBuf,
    /// The open file, or the open folder; it carries the lock.
    handle: File,
    in_place: bool,
}

impl Temporary {
    /// A new folder beside `target`.
    pub(crate) fn folder(target: &Path) -> Result<Self> {
        Self::claim(target, "create the folder", |path| {
            fs::create_dir(path)?;
            File::open(path)
        })
    }

    /// A new, empty file beside `target`. Its mode is the usual 0644, where `tempfile` would give 0600.
    pub(crate) fn file(target: &Path) -> Result<Self> {
        Self::claim(target, "create the file", |path| OpenOptions::new().write(true).create_new(true).open(path))
    }

    fn claim(target: &Path, action: &'static str, create: impl Fn(&Path) -> io::Result<File>) -> Result<Self> {
        let mut last_error = io::Error::from(io::ErrorKind::AlreadyExists);
        for _ in 0..ATTEMPTS {
            let path = sibling(target, PREFIX);
            match create(&path) {
                // A sweep may come between the creation and the lock; then the name is tried anew.
                Ok(handle) if lock_or_unsupported(&handle) && is_at(&handle, &path) => {
                    return Ok(Temporary { path, handle, in_place: false });
                }
                Ok(_) => {}
                // NotFound: swept before it could be opened, or the parent is missing.
                Err(e) if matches!(e.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotFound) => last_error = e,
                Err(e) => return Err(Error::io(target, action, e)),
            }
        }
        Err(Error::io(target, action, last_error))
    }

    /// Its current path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Renames it to `target`; what is inside must have been synced before.
    pub(crate) fn rename_to(mut self, target: &Path) -> Result<()> {
        fs::rename(&self.path, target).map_err(|e| Error::io(target, "rename the new version into place", e))?;
        self.in_place = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.in_place {
            remove(&self.path);
        }
    }
}

/// Writes a new file and brings it to the disk. For files inside a [`Temporary::folder`].
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Brings the names inside `folder` to the disk.
pub(crate) fn sync_folder(folder: &Path) -> Result<()> {
    match File::open(folder).and_then(|f| f.sync_all()) {
        // Some file systems can't sync a folder, and need not.
        Err(e) if !matches!(e.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => {
            Err(Error::io(folder, "sync the folder", e))
        }
        _ => Ok(()),
    }
}

/// Brings the name of `path` to the disk.
pub(crate) fn sync_parent(path: &Path) -> Result<()> {
    sync_folder(parent_of(path))
}

/// Removes a folder such that no half-removed one is ever seen under its name.
pub(crate) fn remove_folder(folder: &Path) -> Result<()> {
    let trash = sibling(folder, PREFIX);
    fs::rename(folder, &trash).map_err(|e| Error::io(folder, "remove the folder", e))?;
    remove(&trash);
    Ok(())
}

/// Removes the temporaries in `folder` that no live process holds. What can't be removed stays for the next time.
pub(crate) fn sweep(folder: &Path) {
    for (name, path) in entries(folder) {
        if target_of(&name, PREFIX).is_some() {
            // The lock is held while it is removed, so that nobody takes it for one that has just been made.
            if let Some(_lock) = lock_abandoned(&path) {
                remove(&path);
            }
        }
    }
}

/// Opens and locks what a dead process left; `None` where a live one holds it, or where that can't be known.
pub(crate) fn lock_abandoned(path: &Path) -> Option<File> {
    let handle = File::open(path).ok()?;
    handle.try_lock().is_ok().then_some(handle)
}

/// Takes the lock on `handle`; also true where the file system has no locks, since then nobody can hold one.
pub(crate) fn lock_or_unsupported(handle: &File) -> bool {
    !matches!(handle.try_lock(), Err(fs::TryLockError::WouldBlock))
}

/// A new name beside `target`: `<prefix><target's name>-<process>-<count>`.
pub(crate) fn sibling(target: &Path, prefix: &str) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    parent_of(target).join(format!("{prefix}{name}-{}-{count}", std::process::id()))
}

/// The target's name in a name that [`sibling`] made with this prefix.
pub(crate) fn target_of<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let is_number = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    let (rest, count) = name.strip_prefix(prefix)?.rsplit_once('-')?;
    let (target, process) = rest.rsplit_once('-')?;
    (is_number(count) && is_number(process) && !target.is_empty()).then_some(target)
}

/// The names and paths in `folder`, in order of name; none where it can't be read.
pub(crate) fn entries(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(listing) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<_> =
        listing.flatten().filter_map(|e| Some((e.file_name().into_string().ok()?, e.path()))).collect();
    found.sort();
    found
}

/// Names the bytes that were wanted where the disk, the quota or the file-size limit is at its end.
pub(crate) fn with_needed_bytes(error: io::Error, needed: u64) -> io::Error {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error.kind() {
        kind @ (StorageFull | QuotaExceeded | FileTooLarge) => {
            let advice = if kind == FileTooLarge { "raise the limit (`ulimit -f`)" } else { "free some space" };
            let advice = format!("what was there before is untouched; {advice}");
            io::Error::new(kind, format!("{error}; {needed} bytes are needed; {advice}"))
        }
        _ => error,
    }
}

/// The folder that holds `path`; `.` for a bare name.
fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn is_at(handle: &File, path: &Path) -> bool {
    match (handle.metadata(), fs::symlink_metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

fn remove(path: &Path) {
    // What can't be removed now is removed by a later sweep; nothing depends on it.
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        entries(folder).into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_file_is_replaced_whole_with_the_usual_mode() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("latest");
        write_file(&path, b"one").unwrap();
        write_file(&path, b"two").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(names(folder.path()), ["latest"]);
        let plain = folder.path().join("plain");
        fs::write(&plain, b"").unwrap();
        assert_eq!(path.metadata().unwrap().mode(), plain.metadata().unwrap().mode());
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        fs::create_dir_all(target.join("inside")).unwrap();
        assert!(write_file(&target, b"new").is_err());
        assert!(target.join("inside").is_dir());
        assert_eq!(names(folder.path()), ["taken"]);
    }

    #[test]
    fn the_sweep_takes_only_abandoned_temporaries_of_our_own_naming() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in [".tmp-000200-17-0", ".tmp-x-y-1-2", ".tmp-notes", ".tmp-a-b-c", "000100", ".tmp--1-2"] {
            fs::create_dir(at(name)).unwrap();
            fs::write(at(name).join("inside"), b"x").unwrap();
        }
        fs::write(at(".tmp-latest-17-1"), b"x").unwrap();
        let live = Temporary::folder(&at("000300")).unwrap();
        sweep(folder.path());
        let kept = live.path().file_name().unwrap().to_str().unwrap().to_owned();
        let mut expected = vec![".tmp--1-2", kept.as_str(), ".tmp-a-b-c", ".tmp-notes", "000100"];
        expected.sort_unstable();
        assert_eq!(names(folder.path()), expected);
        drop(live);
        assert!(!names(folder.path()).contains(&kept));
    }

    #[test]
    fn sweeping_and_writing_at_once_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = folder.path().join(format!("file{writer}"));
                scope.spawn(move || {
                    for round in 0..100_u32 {
                        write_file(&path, &round.to_le_bytes()).unwrap();
                        assert_eq!(fs::read(&path).unwrap(), round.to_le_bytes());
                    }
                });
            }
            scope.spawn(|| (0..400).for_each(|_| sweep(folder.path())));
        });
        assert_eq!(names(folder.path()), ["file0", "file1", "file2", "file3"]);
    }
}
