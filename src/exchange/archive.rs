//! Zip archives: read from memory with bounds, and written.

use std::io::{Cursor, Read, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, ZipArchive, ZipWriter};

use crate::error::{Error, Result};

/// The first bytes of a zip archive: of its first file, or of the end of an empty one.
pub(crate) fn is_zip(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")
}

/// The most files that an archive may have.
const MOST_FILES: usize = 1 << 16;

/// The files that the end of an archive says it lists (APPNOTE 4.3.16): the reader of archives has the last of those of one name. `None` where
/// the number is in a larger record, which an archive of many or long files has.
fn listed(bytes: &[u8]) -> Option<usize> {
    const END: usize = 22;
    let number = |at: usize| bytes.get(at..at + 2).map(|two| usize::from(u16::from_le_bytes([two[0], two[1]])));
    let is_end = |at: &usize| {
        bytes[*at..].starts_with(b"PK\x05\x06")
            && number(at + 20).is_some_and(|comment| at + END + comment == bytes.len())
    };
    let end = (0..=bytes.len().checked_sub(END)?).rev().take(1 << 16).find(is_end)?;
    number(end + 10).filter(|&listed| listed != usize::from(u16::MAX))
}

/// An archive in memory.
pub(crate) struct Archive<'a> {
    path: PathBuf,
    zip: ZipArchive<Cursor<&'a [u8]>>,
    /// The names of its files.
    names: Vec<String>,
    /// Bytes that may still be unpacked.
    budget: u64,
}

impl<'a> Archive<'a> {
    /// `path` is for the messages.
    ///
    /// # Errors
    /// [`Error::BadData`] where its directory is damaged, or lists too many files.
    pub(crate) fn open(path: &Path, bytes: &'a [u8]) -> Result<Self> {
        let zip = ZipArchive::new(Cursor::new(bytes))
            .map_err(|error| Error::bad_data(path, "a zip archive that is whole", error.to_string()))?;
        if let Some(listed) = listed(bytes).filter(|&listed| listed != zip.len()) {
            let found = format!("{listed} files of {} names", zip.len());
            return Err(Error::bad_data(path, "an archive with each file once", found));
        }
        if zip.len() > MOST_FILES {
            let expected = format!("an archive of at most {MOST_FILES} files");
            return Err(Error::bad_data(path, expected, zip.len().to_string()));
        }
        // Weights hardly compress: what unpacks to much more is an attack, or nothing that is read here.
        let budget = (bytes.len() as u64).saturating_mul(16).saturating_add(64 << 20);
        let names = zip.file_names().map(|name| name.map(std::borrow::Cow::into_owned));
        let names = names.collect::<std::result::Result<_, _>>();
        let names = names.map_err(|error| Error::bad_data(path, "names of files in UTF-8", error.to_string()))?;
        Ok(Archive { path: path.to_path_buf(), zip, names, budget })
    }

    /// The file itself, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The names of its files.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str)
    }

    /// Unpacks a file of at most `most` bytes.
    ///
    /// # Errors
    /// [`Error::BadData`] where there is no such file, it is longer, encrypted or damaged, or all together unpack to more than 16 times
    /// the archive's length and 64 MiB.
    pub(crate) fn read(&mut self, name: &str, most: u64) -> Result<Vec<u8>> {
        let most_here = most.min(self.budget);
        let path = &self.path;
        let wrong = |found: String| Error::bad_data(path, format!("the file `{}` in it", plain(name)), found);
        let mut file = self.zip.by_name(name).map_err(|error| wrong(error.to_string()))?;
        let mut bytes = Vec::new();
        let read = file.by_ref().take(most_here.saturating_add(1)).read_to_end(&mut bytes);
        read.map_err(|error| wrong(error.to_string()))?;
        if bytes.len() as u64 > most_here {
            let expected = format!("the file `{}` in it to have at most {most_here} bytes", plain(name));
            return Err(Error::bad_data(path, expected, "more"));
        }
        drop(file);
        self.budget -= bytes.len() as u64;
        Ok(bytes)
    }
}

/// A name for messages.
fn plain(name: &str) -> String {
    name.chars().take(100).flat_map(char::escape_default).collect()
}

/// Packs files, each `(name, content)`, without compression: PNG and numbers do not get smaller. The same files give the same bytes.
///
/// # Errors
/// [`Error::Internal`] where a name comes twice.
pub fn pack(files: impl Iterator<Item = Result<(String, Vec<u8>)>>) -> Result<Vec<u8>> {
    let internal = |error: zip::result::ZipError| Error::Internal(format!("a zip archive: {error}"));
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for file in files {
        let (name, content) = file?;
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .last_modified_time(DateTime::default())
            .large_file(content.len() >= 1 << 31);
        zip.start_file(name, options).map_err(internal)?;
        zip.write_all(&content).map_err(|error| internal(error.into()))?;
    }
    Ok(zip.finish().map_err(internal)?.into_inner())
}
