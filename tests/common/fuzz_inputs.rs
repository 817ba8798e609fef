//! What the fuzzers kept, and the readers that get it.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

#[path = "../fuzz/src/readers/mod.rs"]
#[allow(dead_code, reason = "each test binary uses its own part")]
mod readers;

#[allow(unused_imports, reason = "each test binary uses its own part")]
pub(crate) use readers::{ALL, Reader, runs};

/// The inputs of a reader's fuzzer; none where nothing is kept.
pub(crate) fn kept(reader: &Reader) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/inputs");
    let Ok(packed) = File::open(folder.join(format!("{}.tar.gz", reader.name))) else { return Vec::new() };
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed));
    let mut files = Vec::new();
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let mut bytes = Vec::new();
        if entry.header().entry_type().is_file() {
            entry.read_to_end(&mut bytes).expect("a whole entry");
            files.push(bytes);
        }
    }
    files
}
