//! Opening a file, unzipping it where it is gzipped, and reading no more of it than is there.

use std::io::{self, BufRead, BufReader, ErrorKind, Read};
use std::path::{Path, PathBuf};

use super::gzip::{Junk, Members};
use super::regular;
use crate::error::{Error, Result};

/// A file that is read from start to end, as its plain content.
pub(crate) struct Source {
    path: PathBuf,
    reader: Box<dyn Read>,
    gzipped: bool,
}

impl Source {
    /// Opens a regular file; whether it is gzipped is seen from its first two bytes.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let (file, _) = regular::open(path)?;
        let mut buffered = BufReader::with_capacity(1 << 16, file);
        let start = buffered.fill_buf().map_err(|e| Error::io(path, "read", e))?;
        let gzipped = start.starts_with(&[0x1f, 0x8b]);
        let reader: Box<dyn Read> = if gzipped { Box::new(Members::new(buffered)) } else { Box::new(buffered) };
        Ok(Source { path: path.to_path_buf(), reader, gzipped })
    }

    /// Reads at most `limit` bytes; fewer come only where the file ends.
    ///
    /// The buffer grows with what arrives, so a `limit` from a lying header costs no memory.
    pub(crate) fn read_up_to(&mut self, limit: u64) -> Result<Vec<u8>> {
        read_up_to(&mut self.reader, limit).map_err(|e| self.error(e))
    }

    /// The error for what reading this source ran into.
    pub(crate) fn error(&self, error: io::Error) -> Error {
        read_error(&self.path, self.gzipped, error)
    }

    /// The plain content as a stream, for the tar reader.
    pub(crate) fn stream(&mut self) -> &mut dyn Read {
        &mut self.reader
    }
}

/// The error for what reading the file at `path` ran into.
pub(crate) fn read_error(path: &Path, gzipped: bool, error: io::Error) -> Error {
    if let Some(Junk { offset }) = Junk::of(&error) {
        let expected = format!("the end of the file after the gzip stream, at offset {offset}");
        return Error::bad_data(path, expected, "junk: neither another gzip stream nor zeros for padding")
            .with_hint(format!("the stream before it is complete: keep only the first {offset} bytes of the file"));
    }
    let broken = matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::InvalidInput | ErrorKind::UnexpectedEof);
    if gzipped && broken {
        let found = match error.kind() {
            ErrorKind::UnexpectedEof => "a stream that ends too early".to_string(),
            _ => format!("a damaged one ({})", printable(&error)),
        };
        return Error::bad_data(path, "a whole gzip stream", found)
            .with_hint("the file was cut off or damaged in transfer: download it again");
    }
    Error::io(path, "read", error)
}

/// Reads at most `limit` bytes from any reader, in steps, so that running out of memory is an error. A step is as long as what is there
/// already, so that a short file takes little memory.
pub(crate) fn read_up_to(reader: &mut dyn Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < limit {
        let step = (bytes.len() as u64).clamp(1 << 14, 1 << 22).min(limit - bytes.len() as u64);
        bytes.try_reserve(step as usize).map_err(|_| io::Error::from(ErrorKind::OutOfMemory))?;
        if reader.take(step).read_to_end(&mut bytes)? == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// The length of a file's plain content: of a gzipped one, what its last four bytes say (modulo 2³²), which is good
/// enough for a guess at the format and for nothing else.
pub(crate) fn plain_length(path: &Path) -> Result<u64> {
    use std::io::{Seek, SeekFrom};
    let (mut file, length) = regular::open(path)?;
    let mut read = || -> io::Result<u64> {
        let mut start = [0u8; 2];
        if length < 18 || file.read_exact(&mut start).is_err() || start != [0x1f, 0x8b] {
            return Ok(length);
        }
        let mut trailer = [0u8; 4];
        file.seek(SeekFrom::End(-4))?;
        file.read_exact(&mut trailer)?;
        Ok(u64::from(u32::from_le_bytes(trailer)))
    };
    read().map_err(|e| Error::io(path, "read", e))
}

/// `ab cd ef`: bytes for a message.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(" ")
}

/// Cleans text from a decoder or a file for a terminal: no control characters, not too long.
pub(crate) fn printable(text: impl std::fmt::Display) -> String {
    const LONGEST: usize = 120;
    let text = text.to_string();
    let clean = |c: char| if c.is_control() || c == char::REPLACEMENT_CHARACTER { '?' } else { c };
    let mut short: String = text.trim().chars().map(clean).take(LONGEST).collect();
    if text.chars().count() > LONGEST {
        short.push('…');
    }
    short
}
