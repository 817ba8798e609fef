//! The one error type of the library, and the exit code that each error leads to.

use std::path::{Path, PathBuf};

use crate::units;

/// Result of every fallible function of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// Everything that can go wrong, grouped by what the user can do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The command line or the configuration asks for something that is not to be had.
    #[error("{0}")]
    Usage(String),

    /// A file of the user's is not what it should be.
    #[error("{}: expected {expected}, found {found}{}", readable_path(path), hint_suffix(hint))]
    BadData {
        /// The file.
        path: PathBuf,
        /// The expected content (with the offset, if there is one).
        expected: String,
        /// The content found.
        found: String,
        /// Advice; may be empty.
        hint: String,
    },

    /// The device can't do what was asked of it.
    #[error("{0}")]
    Device(String),

    /// The model and its activations do not fit into the device's memory.
    #[error("this model needs {}; {}", what_is_missing(*needed, *free), what_fits(*largest_batch))]
    OutOfMemory {
        /// Bytes that the run would need.
        needed: u64,
        /// Bytes that are free now.
        free: u64,
        /// The largest batch that would fit (0 if none does).
        largest_batch: usize,
    },

    /// A loss, a gradient or a weight is no longer a finite number.
    #[error("step {step}: {tensor} is not finite ({value}); {advice}")]
    Diverged {
        /// The step that was being computed, counted from 1.
        step: u64,
        /// The name of the tensor, or of the loss.
        tensor: String,
        /// The offending value.
        value: f64,
        /// The last good checkpoint, and a next step to try.
        advice: String,
    },

    /// A signal arrived that ends runs (`train::interrupt`); the run was saved first.
    #[error("interrupted by {name}; saved: continue with `{resume}`")]
    Interrupted {
        /// The signal's number, such as 15.
        signal: i32,
        /// The signal's name.
        name: &'static str,
        /// The command that continues the run.
        resume: String,
    },

    /// Another process of those that train one model together has ended, does not answer, or does something else.
    #[error("{0}")]
    Ranks(String),

    /// All processes that train one model together end for what one of them has met.
    #[error("rank {rank}: {message}")]
    Elsewhere {
        /// The process that has met it.
        rank: usize,
        /// Its exit code, which is that of all.
        code: i32,
        /// Its message.
        message: String,
    },

    /// The operating system refused to read or write.
    #[error("{}: can't {action}: {source}", readable_path(path))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The attempt, as a verb phrase: "read", "create the folder", ….
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },

    /// A check that the user asked for found something wrong.
    #[error("{0}")]
    Failed(String),

    /// Something that should hold inside this program does not.
    #[error("internal error: {0}; please report this")]
    Internal(String),
}

impl Error {
    /// The process's exit code: 1 failed, 2 usage, 3 bad data, 4 device or memory, 5 diverged, 128 + n interrupted by
    /// signal n.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::Usage(_) => 2,
            Error::BadData { .. } => 3,
            Error::Device(_) | Error::OutOfMemory { .. } => 4,
            Error::Diverged { .. } => 5,
            Error::Interrupted { signal, .. } => 128 + signal,
            Error::Elsewhere { code, .. } => *code,
            // A file that is not there is the user's data; any other refusal is the system's.
            Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => 3,
            Error::Io { .. } | Error::Failed(_) | Error::Ranks(_) | Error::Internal(_) => 1,
        }
    }

    /// A [`Error::BadData`] without a hint. What a terminal would obey is written out, for the texts may hold words of the file's, and of
    /// a text without an end the beginning is kept.
    pub fn bad_data(path: impl AsRef<Path>, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Error::BadData {
            path: path.as_ref().to_path_buf(),
            expected: readable(expected.into()),
            found: readable(found.into()),
            hint: String::new(),
        }
    }

    /// Wraps what the system said of `path`; `action` is a verb phrase: "read", "create the folder".
    pub fn io(path: impl AsRef<Path>, action: &'static str, source: std::io::Error) -> Self {
        Error::Io { path: path.as_ref().to_path_buf(), action, source }
    }

    /// Adds what to do about it to a [`Error::BadData`]; other errors stay as they are.
    pub fn with_hint(mut self, text: impl Into<String>) -> Self {
        if let Error::BadData { hint, .. } = &mut self {
            // A hint may be a list, a line each.
            let lines: Vec<String> = text.into().split('\n').map(|line| readable(line.into())).collect();
            *hint = lines.join("\n");
        }
        self
    }
}

/// A path for a message, on one line: what a terminal would obey or a reader could not see is written out, and so are bytes that are
/// no Unicode.
///
/// A name may hold any byte but `/` and 0. A line break would begin a line of its own, an escape sequence could clear the screen,
/// and a mark of direction could show the name backwards (Boucher & Anderson 2021).
pub fn readable_path(path: impl AsRef<Path>) -> String {
    let mut text = String::new();
    for chunk in path.as_ref().as_os_str().as_encoded_bytes().utf8_chunks() {
        push_plain(&mut text, chunk.valid());
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// Adds characters, those written out that can't be printed as they are.
fn push_plain(text: &mut String, more: &str) {
    for c in more.chars() {
        if is_plain(c) { text.push(c) } else { text.extend(c.escape_default()) }
    }
}

/// The most bytes of a part of a message: somebody is to read it.
const LONGEST_PART: usize = 1000;

/// A part of a message, on one line and not too long.
fn readable(part: String) -> String {
    if part.len() <= LONGEST_PART && part.chars().all(is_plain) {
        return part;
    }
    let most = part.len().min(LONGEST_PART);
    let end = (0..=most).rev().find(|&at| part.is_char_boundary(at)).unwrap_or(0);
    let mut text = String::new();
    push_plain(&mut text, &part[..end]);
    if end < part.len() {
        text.push('…');
    }
    text
}

/// Returns true if a character can be printed as it is: no control character, no mark of direction, no line break, nothing invisible but the
/// joiners that scripts and emoji need.
fn is_plain(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

fn what_is_missing(needed: u64, free: u64) -> String {
    let [needed, free] = units::bytes_apart(needed, free);
    format!("{needed} of memory, and {free} are free")
}

fn what_fits(largest_batch: usize) -> String {
    match largest_batch {
        0 => "it does not fit with any batch: narrow the model".into(),
        batch => format!(
            "the largest batch that fits is {batch}: pass --batch {batch}, let its gradients accumulate in parts (--set \
             train.accumulate=2) or narrow the model"
        ),
    }
}

fn hint_suffix(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!(": {hint}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stay_on_their_line_and_leave_the_terminal_alone() {
        for (name, expected) in [
            ("photos/été 雪 👩\u{200d}🔬.png", "photos/été 雪 👩\u{200d}🔬.png"),
            ("a\nbad       fake.png", "a\\nbad       fake.png"),
            ("b\u{1b}[2Jx.png", "b\\u{1b}[2Jx.png"),
            ("\t\r\u{7f}\u{85}\u{9b}", "\\t\\r\\u{7f}\\u{85}\\u{9b}"),
            ("cod\u{202e}gnp.exe", "cod\\u{202e}gnp.exe"),
            ("\u{2066}\u{200b}\u{2028}\u{feff}", "\\u{2066}\\u{200b}\\u{2028}\\u{feff}"),
        ] {
            assert_eq!(readable_path(name), expected);
            let errors = [
                Error::bad_data(name, "one", "another"),
                Error::io(name, "read", std::io::Error::from(std::io::ErrorKind::NotFound)),
            ];
            for error in errors {
                assert!(error.to_string().starts_with(&format!("{expected}: ")), "{error}");
            }
        }
    }

    #[test]
    fn what_a_file_says_stays_on_its_line_and_short() {
        let error = Error::bad_data("a", "b\u{1b}[2J", "c\nd".to_string() + &"é".repeat(2000)).with_hint("e\u{202e}");
        let message = error.to_string();
        assert!(message.starts_with("a: expected b\\u{1b}[2J, found c\\nd"), "{message}");
        assert!(message.ends_with("é…: e\\u{202e}"), "{message}");
        assert!(message.len() < 1100, "{message}");
        assert_eq!(Error::bad_data("a", "été", "雪").to_string(), "a: expected été, found 雪");
    }

    #[cfg(unix)]
    #[test]
    fn bytes_that_are_no_unicode_are_written_out() {
        use std::os::unix::ffi::OsStrExt;
        let name = std::ffi::OsStr::from_bytes(b"caf\xe9/\xff\xfe.png");
        assert_eq!(readable_path(name), "caf\\xe9/\\xff\\xfe.png");
    }
}
