//! Messages to the user while the program works: on standard error, at the chosen verbosity.

use std::io::Write;
use std::sync::atomic::{AtomicU8, Ordering};

/// Verbosity. It changes nothing else: results go to standard output, and `log.txt` has every line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verbosity {
    /// Warnings and errors alone.
    Quiet = 0,
    /// Progress and notes too.
    Normal = 1,
    /// Details too.
    Verbose = 2,
}

/// One program has one standard error: what was asked for on its command line holds everywhere.
static VERBOSITY: AtomicU8 = AtomicU8::new(Verbosity::Normal as u8);

/// Says so much from now on; at the start it is [`Verbosity::Normal`].
pub fn set_verbosity(verbosity: Verbosity) {
    VERBOSITY.store(verbosity as u8, Ordering::Relaxed);
}

/// The current verbosity.
pub fn verbosity() -> Verbosity {
    match VERBOSITY.load(Ordering::Relaxed) {
        0 => Verbosity::Quiet,
        1 => Verbosity::Normal,
        _ => Verbosity::Verbose,
    }
}

/// Beginnings of texts that report harm.
const WARNING: &str = "warning: ";

/// Says something, unless the user wants quiet; a text that begins with `warning: ` in any case.
pub fn say(text: &str) {
    if is_said(text, verbosity()) {
        write(text);
    }
}

/// Says something that most users need not know.
pub fn detail(text: &str) {
    if verbosity() == Verbosity::Verbose {
        write(text);
    }
}

/// Returns true if `text`, which is no detail, is shown at this verbosity.
pub(super) fn is_said(text: &str, verbosity: Verbosity) -> bool {
    verbosity > Verbosity::Quiet || text.starts_with(WARNING)
}

/// A reader that has gone (`2>&1 | head`) is no reason to stop.
pub(super) fn write(text: &str) {
    // One call of the system a line, so that lines of several programs do not mix.
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quiet_leaves_warnings() {
        for (text, when_quiet) in [("note: a", false), ("a warning: b", false), ("warning: a", true), ("", false)] {
            let said = [Verbosity::Quiet, Verbosity::Normal, Verbosity::Verbose].map(|level| is_said(text, level));
            assert_eq!(said, [when_quiet, true, true], "{text}");
        }
    }
}
