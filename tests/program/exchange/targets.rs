//! Where an exported ONNX model can't be written, or should not be: each way that a path can be no new file. What was there before stays,
//! and nothing is left beside it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::whole_runs::{PROGRAM, Run, TestFolder, exit_with, program, stderr, stdout, succeed};

const OLD: &[u8] = b"what was there";

struct Targets {
    place: TestFolder,
    run: Run,
}

impl Targets {
    fn export(&self, words: &str, output: impl AsRef<OsStr>) -> Command {
        let mut command = program(&format!("export {words} --output"));
        command.arg(output).arg(self.run.path());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    fn refused(&self, words: &str, output: impl AsRef<OsStr>, code: i32, says: &str) {
        let output = output.as_ref();
        let message = stderr(&exit_with(self.export(words, output), code));
        assert!(message.contains(says), "{words} {output:?}: no {says:?} in {message}");
        let is_one_line = message.trim_end().lines().count() == 1 || message.contains("try '--help'");
        assert!(is_one_line && message.len() < 6000, "{message}");
    }

    /// Nothing half-written is left in the folder.
    fn assert_clean(&self) {
        let names = fs::read_dir(self.path("")).expect("the folder").flatten().map(|entry| entry.file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with(".tmp-")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn is_model(path: &Path) -> bool {
    // An ONNX model begins with its version, field 1 as a varint.
    path.symlink_metadata().expect("it is there").is_file() && fs::read(path).expect("a file").starts_with(&[0x08, 7])
}

#[test]
fn targets_of_a_model_that_are_no_new_file() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 1");
    let t = Targets { place, run };
    names(&t);
    what_is_there(&t);
    folders_above(&t);
    no_room(&t);
    t.assert_clean();
}

/// Names that are none of a model.
fn names(t: &Targets) {
    let onnx = "--format onnx";
    t.refused(onnx, "-", 2, "standard output is not supported");
    t.refused(onnx, "", 2, "a value is required");
    t.refused(onnx, t.path("g.bin"), 2, "ends in .onnx");
    t.refused(onnx, t.path("g.npz"), 2, "ends in .onnx");
    t.refused(onnx, t.path("g"), 2, "ends in .onnx");
    t.refused(onnx, t.path(".onnx"), 2, "ends in .onnx");
    t.refused(onnx, t.path("g.onnx.tmp"), 2, "ends in .onnx");
    t.refused("--format safetensors", t.path("g.onnx"), 2, "ends in .safetensors");
    t.refused("--format npz", t.path("g.onnx"), 2, "ends in .npz");
    t.refused("--part discriminator", t.path("d.onnx"), 2, "exports generators alone");
    t.refused("--part encoder", t.path("e.onnx"), 2, "exports generators alone");
    t.refused("--part average", t.path("a.onnx"), 3, "found only discriminator, generator");
    t.refused("", t.path(&format!("{}.onnx", "n".repeat(300))), 1, "File name too long");
    t.refused("", t.path(&format!("{}g.onnx", "n/".repeat(2500))), 1, "File name too long");
    // Names that a terminal would obey, or that are no text, are written, and shown as they can be.
    for (name, says) in
        [(&b"a\nb.onnx"[..], "a\\nb.onnx"), (b"c\x1b[2J.onnx", "c\\u{1b}[2J.onnx"), (b"d\xff.onnx", "d\\xff.onnx")]
    {
        let path = t.path("").join(OsStr::from_bytes(name));
        let said = stdout(&succeed(t.export("", &path)));
        assert!(said.contains(says) && is_model(&path), "{said}");
    }
}

/// Something is there already: it stays, unless `--force` is given; then a file takes the place of a file, of a link or of a pipe, and never
/// of a folder, and nothing is written through a link.
fn what_is_there(t: &Targets) {
    let taken = "is there already: pass --force";
    let link = |name: &str, to: &str| symlink(to, t.path(name)).expect("a link");
    fs::write(t.path("file.onnx"), OLD).expect("writing");
    fs::write(t.path("other"), OLD).expect("writing");
    fs::create_dir(t.path("empty.onnx")).expect("a folder");
    fs::create_dir_all(t.path("full.onnx/inside")).expect("a folder");
    link("to-nothing.onnx", "nowhere");
    link("to-file.onnx", "other");
    link("to-folder.onnx", "full.onnx");
    link("to-itself.onnx", "to-itself.onnx");
    assert!(Command::new("mkfifo").arg(t.path("pipe.onnx")).status().expect("mkfifo").success());
    let files =
        ["file", "to-nothing", "to-file", "to-folder", "to-itself", "pipe"].map(|name| t.path(&format!("{name}.onnx")));
    let folders = ["empty.onnx", "full.onnx"].map(|name| t.path(name));
    for path in files.iter().chain(&folders) {
        t.refused("", path, 2, taken);
    }
    assert_eq!(fs::read(t.path("file.onnx")).expect("a file"), OLD);
    for path in &folders {
        t.refused("--force", path, 1, "rename the new version into place");
        assert!(path.is_dir());
    }
    assert!(t.path("full.onnx/inside").is_dir());
    for path in &files {
        succeed(t.export("--force", path));
        assert!(is_model(path), "{path:?}");
    }
    assert!(fs::read(t.path("other")).expect("a file") == OLD && !t.path("nowhere").exists());
    // A name that asks for a folder.
    t.refused("", t.path("new.onnx/"), 1, "can't ");
    assert!(!t.path("new.onnx").exists());
}

/// The folder that it is to be in.
fn folders_above(t: &Targets) {
    symlink("nowhere", t.path("dangling")).expect("a link");
    symlink("round", t.path("round")).expect("a link");
    t.refused("", t.path("missing/g.onnx"), 3, "No such file or directory");
    t.refused("", t.path("dangling/g.onnx"), 3, "No such file or directory");
    t.refused("", t.path("other/g.onnx"), 1, "Not a directory");
    t.refused("", t.path("round/g.onnx"), 1, "oo many ");
    t.refused("", "/dev/full/g.onnx", 1, "Not a directory");
    // Nobody may write there, and on most systems not even root.
    for folder in ["/proc", "/sys"] {
        let output = t.export("", format!("{folder}/g.onnx")).output().expect("the program starts");
        let message = stderr(&output);
        assert!(matches!(output.status.code(), Some(1 | 3)) && message.contains("can't create the file"), "{message}");
    }
}

/// A limit on the size of files stands in for a full disk: both make the write fail midway.
fn no_room(t: &Targets) {
    let limited = |words: &str, output: &Path| {
        let mut command = Command::new("sh");
        command
            .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh", PROGRAM])
            .args(t.export(words, output).get_args());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        stderr(&exit_with(command, 1))
    };
    let path = t.path("no-room.onnx");
    let message = limited("", &path);
    assert!(message.contains("can't write") && message.contains("ulimit -f") && !path.exists(), "{message}");
    fs::write(&path, OLD).expect("writing");
    limited("--force", &path);
    assert_eq!(fs::read(&path).expect("what was there"), OLD);
    // Nobody reads what is said: the model is written all the same.
    let mut closed = Command::new("sh");
    closed.args(["-c", "exec \"$@\" >/dev/full", "sh", PROGRAM]).args(t.export("", t.path("unheard.onnx")).get_args());
    exit_with(closed, 1);
    assert!(is_model(&t.path("unheard.onnx")));
}
