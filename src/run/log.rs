//! `log.txt`: what was said to the user, kept with the run.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// An open `log.txt`; lines go to its end.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
}

impl LogFile {
    /// Opens the log, or makes it. A last line that a crash cut short is ended first.
    ///
    /// # Errors
    /// [`Error::Io`] where the system refuses.
    pub fn open(path: &Path) -> Result<LogFile> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path);
        let file = file.map_err(|e| Error::io(path, "open", e))?;
        let mut log = LogFile { path: path.to_path_buf(), file };
        if log.is_torn().map_err(|e| Error::io(path, "read", e))? {
            log.write(b"\n")?;
        }
        Ok(log)
    }

    /// Appends one line; `text` comes without its end of line.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk is full or refuses.
    pub fn line(&mut self, text: &str) -> Result<()> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// One call of the system a line, so that a kill cuts no line in two.
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, "append", e))
    }

    fn is_torn(&mut self) -> std::io::Result<bool> {
        if self.file.metadata()?.len() == 0 {
            return Ok(false);
        }
        let mut last = [0];
        self.file.seek(SeekFrom::End(-1))?;
        self.file.read_exact(&mut last)?;
        Ok(last != *b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_appended_and_a_torn_one_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.txt");
        LogFile::open(&path).unwrap().line("start").unwrap();
        LogFile::open(&path).unwrap().line("again").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "start\nagain\n");
        std::fs::write(&path, "start\nag").unwrap();
        LogFile::open(&path).unwrap().line("third").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "start\nag\nthird\n");
    }
}
