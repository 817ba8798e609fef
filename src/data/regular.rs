//! Opening regular files alone: reading from a pipe or a device may wait for ever.

use std::fs::{self, File, FileType};
use std::path::Path;

use crate::error::{Error, Result};

/// Opens a regular file, or a link to one, and tells its length in bytes.
///
/// The file is looked at before it is opened, because opening a named pipe already waits for a writer.
///
/// # Errors
/// [`Error::BadData`] for anything else that has a name in a folder; [`Error::Io`] where the system refuses.
pub(crate) fn open(path: &Path) -> Result<(File, u64)> {
    require(path)?;
    let file = File::open(path).map_err(|e| Error::io(path, "open", e))?;
    let length = file.metadata().map_err(|e| Error::io(path, "read", e))?.len();
    Ok((file, length))
}

/// Refuses what is no regular file, without opening it.
///
/// # Errors
/// Those of [`open`].
pub(crate) fn require(path: &Path) -> Result<()> {
    let kind = fs::metadata(path).map_err(|e| Error::io(path, "open", e))?.file_type();
    if kind.is_file() {
        return Ok(());
    }
    Err(Error::bad_data(path, "a regular file", describe(kind)).with_hint("move it out of the data set"))
}

#[cfg(unix)]
fn describe(kind: FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt;
    if kind.is_dir() {
        "a folder"
    } else if kind.is_fifo() {
        "a named pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

#[cfg(not(unix))]
fn describe(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { "a device or a pipe" }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_named_and_never_opened() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, socket) = (folder.path().join("file"), folder.path().join("socket"));
        fs::write(&file, "abc").expect("a file");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        assert_eq!(open(&file).expect("a regular file").1, 3);
        for (path, what) in [(folder.path(), "a folder"), (&socket, "a socket"), (Path::new("/dev/null"), "a device")] {
            for error in [require(path).err(), open(path).err()] {
                let message = error.expect("an error").to_string();
                assert!(message.contains(&format!("expected a regular file, found {what}")), "{message}");
            }
        }
        assert!(matches!(require(&folder.path().join("none")), Err(Error::Io { .. })));
    }
}
