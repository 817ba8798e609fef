//! Every reader of the program, as a function of the bytes of one file. Each says what must hold whatever the bytes are: what is read is
//! whole, what is refused is refused by an error with its exit code. `cargo test --test files` replays small inputs through the same
//! functions.

mod data;
pub(crate) mod runs;
mod settings;
mod weights;

use std::cell::OnceCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use vgan_cuda::{Error, Result};

/// A reader, and the memory that it may take for a file of n bytes: `constant` + `factor` × n.
pub(crate) struct Reader {
    /// The name of its fuzzer, and of the folder of its inputs.
    pub(crate) name: &'static str,
    /// Reads a file of these bytes; panics where something does not hold.
    pub(crate) read: fn(&[u8]),
    constant: usize,
    factor: usize,
}

impl Reader {
    /// The most memory that it may take for a file of so many bytes.
    pub(crate) fn most_memory(&self, length: usize) -> usize {
        self.constant + self.factor * length
    }
}

const fn reader(name: &'static str, read: fn(&[u8]), constant: usize, factor: usize) -> Reader {
    Reader { name, read, constant, factor }
}

/// Memory that no file decides: buffers, names, messages.
const FIXED: usize = 1 << 20;
/// What a zip archive may unpack to beside 16 times its length (`exchange::archive`), once unpacked and once decoded.
const UNPACKED: usize = 4 * (64 << 20);

/// All readers. Deflate makes at most 1032 bytes of one, and what grows as it arrives may hold twice that.
pub(crate) const ALL: &[Reader] = &[
    reader("idx", data::idx, FIXED, 8 * 1032),
    // A short input is made a whole record, which may be gzipped.
    reader("cifar", data::cifar, FIXED + 3073 * 8 * 1032, 8 * 1032),
    reader("archive", data::archive, FIXED, 8 * 1032),
    reader("png", data::png, FIXED, 1032 * 8 * 12),
    reader("jpeg", data::jpeg, FIXED, 64 * 8 * 12),
    reader("folder", data::folder, FIXED, 1024),
    reader("safetensors", weights::safetensors, FIXED, 64),
    reader("pytorch", weights::pytorch, UNPACKED, 128),
    reader("pickle", weights::pickle, 64 * FIXED, 4096),
    reader("npy", weights::npy, FIXED, 64),
    reader("npz", weights::npz, UNPACKED, 128),
    reader("inception", weights::inception, UNPACKED, 128),
    reader("config", settings::config, FIXED, 512),
    reader("overrides", settings::overrides, FIXED, 512),
    reader("state", runs::state, FIXED, 64),
    reader("records", runs::records, FIXED, 128),
    reader("events", runs::events, FIXED, 64),
    reader("ranks", runs::ranks, FIXED, 64),
    reader("request", runs::request, FIXED, 64),
];

/// A folder of this thread's, in memory where the system has such a place.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

thread_local! {
    static SCRATCH: OnceCell<Scratch> = const { OnceCell::new() };
}

/// A folder for the files of one reader; it stays, so that a file is written over the one before.
fn folder(reader: &str) -> PathBuf {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let make = || {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Scratch(root.join(format!("vgan-readers-{}-{count}", std::process::id())))
    };
    let folder = SCRATCH.with(|scratch| scratch.get_or_init(make).0.join(reader));
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// Writes a file into a reader's folder.
fn file(reader: &str, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder(reader).join(name);
    fs::write(&path, bytes).expect("a file");
    path
}

/// What was read, if it was; an error must be one of the user's data, on one line that a terminal shows as it is.
fn orderly<T>(result: Result<T>) -> Option<T> {
    orderly_as(result, 3)
}

/// [`orderly`] with another exit code.
fn orderly_as<T>(result: Result<T>, code: i32) -> Option<T> {
    let error: Error = match result {
        Ok(read) => return Some(read),
        Err(error) => error,
    };
    let message = error.to_string();
    assert_eq!(error.exit_code(), code, "{message}");
    assert!(!message.contains(char::is_control), "a control character in {message:?}");
    assert!(message.len() <= LONGEST_MESSAGE, "a message of {} bytes: {message:.200}…", message.len());
    None
}

/// No message is longer, in bytes: somebody is to read it.
const LONGEST_MESSAGE: usize = 4096;
