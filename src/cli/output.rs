//! Standard output and error, without the panic of `println!` where the reader has gone away.

use std::io::{ErrorKind, Write};
use std::path::Path;

use crate::error::{Error, Result};
use crate::run::messages;

const STANDARD_OUTPUT: &str = "standard output";

/// Writes `text` to standard output as it is, and flushes.
///
/// # Errors
/// [`Error::Io`]; [`reader_is_gone`] tells the one that is to end the program quietly.
pub(super) fn print(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
    written.map_err(|source| Error::io(STANDARD_OUTPUT, "write", source))
}

/// Says something to a person, unless `--quiet` is given; what begins with `warning: ` in any case. Nobody listening is no
/// reason to stop.
pub(super) fn to_stderr(text: &str) {
    messages::say(text);
}

/// Says why this process ends, at any verbosity.
pub(super) fn error(text: &str) {
    // Nobody listening is no reason for another error.
    let _ = std::io::stderr().write_all(format!("error: {text}\n").as_bytes());
}

/// The columns of the terminal that standard output goes to; `None` where it goes elsewhere.
pub(super) fn terminal_columns() -> Option<usize> {
    let terminal = console::Term::stdout();
    let (_, columns) = terminal.is_term().then(|| terminal.size_checked())??;
    (columns > 0).then(|| usize::from(columns))
}

/// Warns, once, if this is a debug build.
pub(super) fn warn_if_unoptimised() {
    if let Some(note) = unoptimised() {
        to_stderr(&format!("warning: {note}"));
    }
}

/// Returns a warning if this is a debug build. A library is built with its user's profile, so this
/// reaches those who call it from a program of their own, too.
pub(super) fn unoptimised() -> Option<&'static str> {
    cfg!(debug_assertions).then_some("debug build, at half the speed or less: build with cargo build --release")
}

/// Returns true if `error` says that nobody reads standard output any more.
pub(super) fn reader_is_gone(error: &Error) -> bool {
    matches!(error, Error::Io { path, source, .. }
        if path == Path::new(STANDARD_OUTPUT) && source.kind() == ErrorKind::BrokenPipe)
}

/// `value` as JSON on one line, with its line break.
///
/// # Errors
/// [`Error::Internal`] for what JSON can't hold.
pub(super) fn json(value: &impl serde::Serialize) -> Result<String> {
    let text = serde_json::to_string(value).map_err(|error| Error::Internal(format!("JSON: {error}")))?;
    Ok(text + "\n")
}
