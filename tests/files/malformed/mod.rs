//! Malformed files of every format, at least 60 each: an error with path, what was expected and what was found, exit code 3, no panic.
//!
//! A format's table is a function that returns its cases, so that the tests, the replay of the fuzzers' readers (`replay`) and the seeds of
//! the fuzzers (`tests/fuzz`) are of the same files.

mod archives;
mod cifar;
mod events;
mod gzip;
mod idx;
mod jpeg;
mod npy;
mod npz;
mod pickles;
mod png;
mod random;
mod replay;
mod safetensors;
mod settings;
mod state;

use std::collections::BTreeMap;
use std::path::Path;

use tempfile::tempdir;
use vgan_cuda::data::{LoadOptions, check, load};
use vgan_cuda::error::{Error, Result};

use crate::data_samples::write;

/// A malformed file, and what the message must say.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) says: String,
}

impl<N: Into<String>, S: Into<String>> From<(N, Vec<u8>, S)> for Case {
    fn from((name, bytes, says): (N, Vec<u8>, S)) -> Case {
        Case { name: name.into(), bytes, says: says.into() }
    }
}

/// The fewest malformed files of a format.
const FEWEST: usize = 60;

/// A whole table: enough cases, no file twice, no name twice.
fn table(format: &str, cases: Vec<Case>) -> Vec<Case> {
    let (mut names, mut files) = (BTreeMap::new(), BTreeMap::new());
    for Case { name, bytes, .. } in &cases {
        assert!(names.insert(name, ()).is_none(), "{format}: two cases are called {name:?}");
        if let Some(other) = files.insert(bytes, name) {
            panic!("{format}: {name:?} is the same file as {other:?}");
        }
    }
    eprintln!("{format}: {} malformed files", cases.len());
    assert!(cases.len() >= FEWEST, "{format}: {} cases", cases.len());
    cases
}

fn cases<N: Into<String>, S: Into<String>>(list: Vec<(N, Vec<u8>, S)>) -> Vec<Case> {
    list.into_iter().map(Case::from).collect()
}

/// What is wrong with how this was refused, so that a test shows all its bad cases at once: exit code 3, a message that begins with the
/// path, says what was expected and what was found, has `says` in it, stays on its line, and is short enough to be read.
fn fault_of<T>(result: Result<T>, culprit: &Path, case: &Case) -> Option<String> {
    let Case { name, says, .. } = case;
    let Err(error) = result else { return Some(format!("{name}: was taken")) };
    let message = error.to_string();
    let good = matches!(error, Error::BadData { .. })
        && error.exit_code() == 3
        && message.starts_with(culprit.to_str().unwrap())
        && message.contains("expected ")
        && message.contains(", found ")
        && message.contains(says)
        && !message.contains(char::is_control)
        && message.len() < 4096;
    (!good).then(|| format!("{name}: no {says:?}, path, expected or found in: {message:?}"))
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{} complaints\n{}", complaints.len(), complaints.join("\n"));
}

/// Holds a reader of bytes against a table.
fn refuses<T>(cases: Vec<Case>, path: &str, read: impl Fn(&Path, &[u8]) -> Result<T>) {
    let path = Path::new(path);
    assert_none(cases.iter().filter_map(|case| fault_of(read(path, &case.bytes), path, case)).collect());
}

/// Loads the data set `source`, in which `culprit` is bad, and asks `dataset check` for it.
fn complaint(source: &Path, culprit: &Path, case: &Case) -> Option<String> {
    let options = LoadOptions { resize: 4, channels: 1, ..LoadOptions::default() };
    let fault = fault_of(load(source.to_str().unwrap(), &options), culprit, case);
    if fault.is_some() {
        return fault;
    }
    let name = &case.name;
    match check(source, &LoadOptions::default()) {
        // It is a file that `train` reads.
        Ok(report) if report.bad.len() == 1 && report.bad[0].path == culprit && !report.is_ready() => {
            (!report.bad[0].needed).then(|| format!("{name}: a file that isn't needed, says the check"))
        }
        Ok(report) => Some(format!("{name}: the check says {report}")),
        Err(error) if error.exit_code() == 3 => None,
        Err(error) => Some(format!("{name}: the check fails: {error}")),
    }
}

/// Pictures, each beside a good one.
fn refuses_pictures(file: &str, cases: Vec<Case>, good: &[u8]) {
    let mut complaints = Vec::new();
    for case in &cases {
        let folder = tempdir().unwrap();
        write(folder.path(), "a good one.png", good);
        let path = write(folder.path(), file, &case.bytes);
        complaints.extend(complaint(folder.path(), &path, case));
    }
    assert_none(complaints);
}

fn with(mut bytes: Vec<u8>, offset: usize, value: u8) -> Vec<u8> {
    bytes[offset] = value;
    bytes
}

/// `bytes` with `part` over what is at `offset`.
fn over(mut bytes: Vec<u8>, offset: usize, part: &[u8]) -> Vec<u8> {
    bytes[offset..offset + part.len()].copy_from_slice(part);
    bytes
}

fn cut(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.truncate(length);
    bytes
}

fn plus(mut bytes: Vec<u8>, more: &[u8]) -> Vec<u8> {
    bytes.extend(more);
    bytes
}

/// Bytes that gzip can't shorten, so that a cut or a flipped bit hits data.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}
