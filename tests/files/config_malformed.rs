//! Configuration files that are not what they should be: each gives an error with path, place, what was expected and
//! what was found, and exit code 3; none panics.

use proptest::prelude::*;
use vgan_cuda::config::{preset, read};
use vgan_cuda::{Error, Result};

/// Reads `bytes` as a configuration file over the default preset.
fn read_bytes(bytes: &[u8]) -> Result<vgan_cuda::config::Settings> {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), bytes).expect("writing the temporary file");
    read(file.path(), &preset("quick")?)
}

/// The file; the place of the mistake (empty: it has none); words of the message.
const MALFORMED: &[(&[u8], &str, &[&str])] = &[
    // Not TOML.
    (b"[train\nbatch = 3", "line 1,", &["expected TOML", "`[train`"]),
    (b"[train]\nbatch 3", "line 2,", &["expected TOML", "`batch 3`"]),
    (b"[train]\nbatch =", "line 2,", &["`batch =`"]),
    (b"[train]\nbatch = 3 4", "line 2,", &["`batch = 3 4`"]),
    (b"[train]\nbatch = 64\nbatch = 64", "line 3, column 1", &["duplicate key"]),
    (b"[train]\n[train]", "line 2,", &["duplicate key"]),
    (b"[train]]\nbatch = 64", "line 1,", &["`[train]]`"]),
    (b"[data]\nsource = \"glyphs", "line 2,", &["`source = \\\"glyphs`"]),
    (b"[data]\nsource = 'gly\nphs'", "line 2,", &["expected TOML"]),
    (b"[data]\nsource = \"\\q\"", "line 2,", &["expected TOML"]),
    (b"[generator]\nchannels = [32, 16", "line 2,", &["expected TOML"]),
    (b"[generator]\nchannels = [32 16]", "line 2,", &["expected TOML"]),
    (b"[train]\nbatch = 0x", "line 2,", &["expected TOML"]),
    (b"[train]\nseed = 99999999999999999999", "line 2,", &["expected TOML"]),
    (b"[train]\nbatch = 064", "line 2,", &["expected TOML"]),
    (b"[optimizer]\nbeta1 = .5", "line 2,", &["expected TOML"]),
    (b"[data]\nflip = True", "line 2,", &["expected TOML"]),
    (b"train: {batch: 3}", "line 1,", &["expected TOML"]),
    (b"{\"train\": {\"batch\": 3}}", "line 1,", &["expected TOML"]),
    (b"\x00\x00\x08\x03", "line 1, column 1", &["expected TOML"]),
    (b"[train]\n# \xff\nbatch = 3", "", &["expected UTF-8", "0xff at offset 10"]),
    (b"\x89PNG\r\n\x1a\n", "", &["expected UTF-8", "0x89 at offset 0"]),
    // Unknown names.
    (b"[trian]\nbatch = 3", "line 1, column 2", &["found `trian`", "the nearest is [train]"]),
    (b"[train]\nbacth = 3", "line 2, column 1", &["found `train.bacth`", "the nearest is `train.batch`"]),
    (b"[train]\nbeta_step = 3", "line 2, column 1", &["the nearest is `bottleneck.beta_step`"]),
    (b"batch = 3", "line 1, column 1", &["one of the sections", "put `batch` under [train]"]),
    (b"[train.more]\nbatch = 3", "line 1,", &["found `train.more`"]),
    (b"\"\" = 3", "line 1, column 1", &["found ``"]),
    // Values of the wrong kind.
    (b"train = 3", "line 1, column 1", &["`train` to be a section"]),
    (b"[[train]]\nbatch = 3", "line 1,", &["`train` to be a section"]),
    (b"[train]\nbatch = \"64\"", "line 2, column 9", &["`train.batch` to be a whole number", "the text `64`"]),
    (b"[train]\nbatch = 64.0", "line 2, column 9", &["a whole number, 0 or more", "the number 64"]),
    (b"[train]\nbatch = -64", "line 2, column 9", &["0 or more", "the whole number -64"]),
    (b"[train]\nseed = 2020-01-01", "line 2, column 8", &["the date 2020-01-01"]),
    (b"[data]\nflip = 1", "line 2, column 8", &["true or false", "the whole number 1"]),
    (b"[data]\nsource = 3", "line 2, column 10", &["`data.source` to be text"]),
    (b"[data]\nrange = \"0..255\"", "line 2, column 9", &["`0..1` or `-1..1`", "the text `0..255`"]),
    (b"[generator]\nprior = \"gauss\"", "line 2, column 9", &["`uniform` or `normal`", "`gauss`"]),
    (b"[generator]\nchannels = 32", "line 2, column 12", &["a list of whole numbers", "the whole number 32"]),
    (b"[generator]\nchannels = [32, 1.5]", "line 2, column 12", &["a list of whole numbers", "the number 1.5"]),
    (b"[generator]\nchannels = [[32]]", "line 2, column 12", &["a list of whole numbers", "found a list"]),
    (b"[bottleneck]\nbeta = \"big\"", "line 2, column 8", &["`bottleneck.beta` to be a number", "`big`"]),
    (b"[bottleneck]\nbeta = { a = 1 }", "line 2, column 8", &["a number", "found a table"]),
    // Values out of range.
    (b"[train]\nbatch = 1", "line 2, column 9", &["from 2 (batch normalisation", "found 1"]),
    (b"[optimizer]\nbeta1 = 1.0", "line 2, column 9", &["at least 0 and below 1"]),
    (b"[optimizer]\ngenerator_lr = nan", "line 2, column 16", &["a finite number above 0", "found NaN"]),
    (b"[discriminator]\nchannels = []", "line 2, column 12", &["a list of 1 to 16 widths", "found []"]),
    (b"[generator]\nhidden = [0]", "line 2, column 10", &["widths from 1 to 65536", "found [0]"]),
    (b"[train]\nepochs = 0", "line 2, column 10", &["at least 1 where train.steps is 0"]),
];

#[test]
fn each_malformed_file_is_refused_with_its_place() {
    const { assert!(MALFORMED.len() >= 30) };
    let mut failures = Vec::new();
    for (bytes, place, words) in MALFORMED {
        let shown = String::from_utf8_lossy(bytes);
        let error = read_bytes(bytes).expect_err(&shown);
        let message = error.to_string();
        assert!(matches!(error, Error::BadData { .. }) && error.exit_code() == 3, "{shown}\n{message}");
        assert!(message.contains(std::env::temp_dir().to_str().expect("a UTF-8 folder")), "no path: {message}");
        for word in words.iter().chain([place]) {
            if !message.contains(word) {
                failures.push(format!("{shown}\ngave: {message}\nwhich lacks: {word}\n"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn what_is_no_file_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let base = preset("quick").expect("a preset");
    let error = read(folder.path(), &base).expect_err("a folder");
    assert!(error.exit_code() == 3 && error.to_string().contains("found a folder"), "{error}");
    let error = read(folder.path().join("absent.toml"), &base).expect_err("no file");
    assert!(error.exit_code() == 3 && error.to_string().contains("absent.toml"), "{error}");
    let huge = folder.path().join("huge.toml");
    std::fs::write(&huge, vec![b'\n'; (1 << 20) + 1]).expect("writing");
    let error = read(&huge, &base).expect_err("too large");
    assert!(error.exit_code() == 3 && error.to_string().contains("1,048,577 bytes"), "{error}");
}

#[test]
fn deep_nesting_is_refused() {
    let deep = format!("[train]\nbatch = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(read_bytes(deep.as_bytes()).expect_err("too deep").exit_code(), 3);
    let dotted = format!("[{}]", vec!["a"; 50_000].join("."));
    assert_eq!(read_bytes(dotted.as_bytes()).expect_err("too deep").exit_code(), 3);
}

/// A valid file, to be damaged.
const VALID: &str = "[data]\nsource = \"glyphs\"\nrange = \"0..1\"\n[generator]\nchannels = [32, 16]\nema = 0.5\n\
                     [train]\nbatch = 64\nseed = 7\n";

/// Settings, or an error of the user's data; nothing else.
fn is_orderly(bytes: &[u8]) -> bool {
    read_bytes(bytes).map_or_else(|error| error.exit_code() == 3, |_| true)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(is_orderly(&bytes));
    }

    #[test]
    fn a_damaged_file_never_panics(at in 0..VALID.len(), length in 0usize..20, new in prop::collection::vec(any::<u8>(), 0..5)) {
        let mut bytes = VALID.as_bytes().to_vec();
        bytes.splice(at..(at + length).min(bytes.len()), new);
        prop_assert!(is_orderly(&bytes));
    }
}
