//! Configuration files: each error says the place, too.

use vgan_cuda::config::{Settings, preset, read};

use super::*;

/// Reads `bytes` as a configuration file over the default preset.
pub(crate) fn read_bytes(bytes: &[u8]) -> Result<Settings> {
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
    (b"[optimizer]\nbeta1 = -0.5", "line 2, column 9", &["at least 0 and below 1", "found -0.5"]),
    (b"[optimizer]\ngenerator_lr = 0", "line 2, column 16", &["a finite number above 0", "found 0"]),
    (b"[optimizer]\ngenerator_lr = inf", "line 2, column 16", &["a finite number above 0", "found inf"]),
    (b"[generator]\nchannels = [32, 65537]", "line 2, column 12", &["from 1 to 65536"]),
    (b"[data]\nchannels = 2", "line 2, column 12", &["found 2"]),
    (b"[data]\nbackground = \"#12345\"", "line 2, column 14", &["#12345"]),
    // More that is no TOML.
    (b"[train]\nbatch = 1_", "line 2,", &["expected TOML"]),
    (b"[train]\nbatch = +-3", "line 2,", &["expected TOML"]),
    (b"[train]\nbatch = 64 # \x07", "line 2,", &["expected TOML", "\\u{7}"]),
    (b"[data]\nsource = \"\x1b[2J\"", "line 2,", &["expected TOML", "\\u{1b}[2J"]),
    (b"[data]\nsource = \"\\ud800\"", "line 2,", &["expected TOML"]),
    (b"[data]\nsource = \"\"\"\nglyphs", "line 3,", &["expected TOML"]),
    (b"[data]\nsource = glyphs", "line 2,", &["expected TOML"]),
    (b"[optimizer]\nbeta1 = 1e", "line 2,", &["expected TOML"]),
    (b"[optimizer]\nbeta1 = 0.5.5", "line 2,", &["expected TOML"]),
    (b"[train]\nbatch.x = 3\nbatch = 4", "line 3,", &["duplicate key"]),
    (b"train.batch = 3\n[train]\nbatch = 4", "line 2,", &["duplicate key"]),
    (b"optimizer = { beta1 = 0.5, beta1 = 0.6 }", "line 1,", &["duplicate key"]),
    (b"optimizer = { beta1 = 0.5\n", "line 1,", &["expected TOML"]),
    (b"preset = 3", "line 1, column 10", &["`preset` to be the name of a preset", "found 3"]),
    (b"preset = \"\"", "line 1, column 10", &["`preset` to be the name of a preset"]),
    (b"preset = \"a\\u001b[2J\"", "line 1, column 10", &["`preset` to be the name of a preset"]),
    (b"\xef\xbb\xbf\xef\xbb\xbf[train]\nbatch = 3", "line 1,", &["expected TOML"]),
    (b"[\"tr\\u0061in\"]\nbatch = 1", "line 2, column 9", &["found 1"]),
];

pub(crate) fn all() -> Vec<Case> {
    table(
        "TOML",
        MALFORMED
            .iter()
            .map(|(bytes, place, _)| (String::from_utf8_lossy(bytes).into_owned(), bytes.to_vec(), *place).into())
            .collect(),
    )
}

#[test]
fn malformed_files_are_refused_with_their_place() {
    let mut complaints = Vec::new();
    for (case, (_, _, words)) in all().iter().zip(MALFORMED) {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), &case.bytes).expect("writing the temporary file");
        for word in words.iter().copied().chain([case.says.as_str()]) {
            let case = Case { name: case.name.clone(), bytes: Vec::new(), says: word.into() };
            complaints.extend(fault_of(read(file.path(), &preset("quick").unwrap()), file.path(), &case));
        }
    }
    assert_none(complaints);
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
