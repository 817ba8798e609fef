//! Quoting for text that a user copies from a message and pastes into a shell: one rule for every hint of the program.
//!
//! The quoted word is the same in POSIX shells (sh, dash, bash, zsh) and in fish, and shows on one line what a terminal would
//! act on: control characters, invisible characters and bytes that are no UTF-8 stand as octal escapes.

use std::borrow::Cow;
use std::ffi::OsStr;
use std::path::Path;

/// A word as a shell reads it back. One that is plain stays as it is.
///
/// It may begin with `-`, so it fits behind `--flag=` and as the name of something; a path is quoted by [`path`].
pub(crate) fn word(word: impl AsRef<OsStr>) -> String {
    let word = word.as_ref();
    match word.to_str() {
        Some(text) if is_plain(text) => text.to_string(),
        Some(text) if text.chars().all(is_visible) => single_quoted(text),
        _ => printed(word.as_encoded_bytes()),
    }
}

/// A path as a shell reads it back. One that begins with `-` gets `./` before it, for a program takes it for a flag.
pub(crate) fn path(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    let is_flag = path.as_os_str().as_encoded_bytes().starts_with(b"-");
    word(if is_flag { Cow::Owned(Path::new(".").join(path)) } else { Cow::Borrowed(path) }.as_os_str())
}

/// Returns true if every shell reads it as a plain word: `~`, `=` and `%` have a meaning at its beginning, `,` and `^` in no shell
/// without braces or a setting.
fn is_plain(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    text.chars().all(plain) && !text.is_empty() && !text.starts_with(['=', '%', '@', '+', ':', ','])
}

/// Returns true if a terminal shows it as it is, on this line.
fn is_visible(c: char) -> bool {
    // Behind a letter, so that an accent that combines with it counts as shown.
    matches!(c, '\'' | '"' | '\\') || format!("e{c}").escape_debug().count() == 2
}

/// Between single quotes. fish alone knows `\'` and `\\` there, so both stand outside of them.
fn single_quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\u{0}").replace('\'', r"'\''").replace('\u{0}', r"'\\'"))
}

/// As the outcome of `printf`, which all shells have; `$'…'` is unknown to dash and fish. The line breaks at the end, which
/// `$(…)` drops, follow between quotes.
fn printed(bytes: &[u8]) -> String {
    let end = bytes.iter().rposition(|&byte| byte != b'\n').map_or(0, |last| last + 1);
    let mut format = String::new();
    for chunk in bytes[..end].utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '%' => format.push_str("%%"),
                '\'' | '\\' => format.push_str(&octal(&[c as u8])),
                // Else `printf` takes it for a flag of its own.
                '-' if format.is_empty() => format.push_str(&octal(b"-")),
                c if is_visible(c) => format.push(c),
                c => format.push_str(&octal(c.encode_utf8(&mut [0; 4]).as_bytes())),
            }
        }
        format.push_str(&octal(chunk.invalid()));
    }
    let breaks = "\n".repeat(bytes.len() - end);
    let breaks = if breaks.is_empty() { breaks } else { format!("'{breaks}'") };
    format!("\"$(printf '{format}')\"{breaks}")
}

fn octal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:03o}")).collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::process::Command;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_and_paths() {
        for (given, quoted) in [
            ("runs/00000-quick-b64", "runs/00000-quick-b64"),
            ("train.batch=1,2", "train.batch=1,2"),
            ("-0.5", "-0.5"),
            ("", "''"),
            ("my runs/1", "'my runs/1'"),
            ("~/x", "'~/x'"),
            ("=ls", "'=ls'"),
            ("$HOME", "'$HOME'"),
            ("it's", r"'it'\''s'"),
            (r"a\b", r"'a'\\'b'"),
            ("grün", "'grün'"),
            ("a\nb", r#""$(printf 'a\012b')""#),
            ("100%\u{1b}", r#""$(printf '100%%\033')""#),
        ] {
            assert_eq!(word(given), quoted, "{given:?}");
        }
        assert_eq!([path("-x"), path("a/-x"), path("- y")], ["./-x", "a/-x", "'./- y'"]);
        assert_eq!(path("./-x"), "./-x");
    }

    /// The words that a shell makes of `hint`, byte by byte; nothing if there is no such shell.
    fn read_by(shell: &str, hint: &str) -> Option<Vec<u8>> {
        let output = Command::new(shell).args(["-c", &format!("printf '%s|' {hint}")]).output().ok()?;
        assert!(output.status.success() && output.stderr.is_empty(), "{shell}: {hint}: {output:?}");
        Some(output.stdout)
    }

    fn assert_read_back(words: &[OsString]) {
        let hint = words.iter().map(word).collect::<Vec<_>>().join(" ");
        let expected: Vec<u8> = words.iter().flat_map(|word| [word.as_encoded_bytes(), b"|"].concat()).collect();
        for shell in ["sh", "bash", "zsh", "fish"] {
            match read_by(shell, &hint) {
                Some(found) => assert!(found == expected, "{shell}: {hint}\n{words:?}\n{}", found.escape_ascii()),
                None => eprintln!("SKIPPED: there is no {shell}"),
            }
        }
    }

    #[cfg(unix)]
    fn os(bytes: &[u8]) -> OsString {
        use std::os::unix::ffi::OsStringExt;
        OsString::from_vec(bytes.to_vec())
    }

    #[cfg(unix)]
    #[test]
    fn every_shell_reads_back_what_is_hard() {
        let words = [
            "", "-", "--", "-n", "a b", "!!", "*", "{a,b}", "#x", "a\\", "\\", "'", "\"", "$(x)", "`x`", "a;b", "^a^b",
        ];
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        assert_read_back(&words);
        let words: [&[u8]; 8] = [
            b"\x1b[31m",
            b"a\nb\n\n",
            b"\n",
            b"-\xff",
            b"%s\x01'\\",
            b"caf\xc3\xa9\x07",
            "\u{202e}x\u{a0}".as_bytes(),
            b"\t",
        ];
        assert_read_back(&words.map(os));
    }

    #[cfg(unix)]
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(8))]
        #[test]
        fn every_shell_reads_back_anything(words in prop::collection::vec(prop::collection::vec(1u8.., 0..12), 40)) {
            assert_read_back(&words.iter().map(|word| os(word)).collect::<Vec<_>>());
        }

        #[test]
        fn every_shell_reads_back_text(words in prop::collection::vec("[ -~éß漢\n\u{7f}\u{85}]{0,12}", 40)) {
            assert_read_back(&words.iter().map(OsString::from).collect::<Vec<_>>());
        }
    }
}
