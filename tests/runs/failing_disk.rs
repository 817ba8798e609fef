//! A disk that fails at the n-th thing that is written to it, for every n: the run ends with a message and exit code 1, every checkpoint
//! that is there loads, and `resume` ends with the bytes of a run whose disk never failed.
//!
//! `VGAN_DISK_FAULTS=all cargo test --release --test runs failing_disk` fails at each; without it the test takes a few of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::whole_runs::{Run, TestFolder, assert_same_checkpoint, exit_with, stderr, succeed};

/// The steps of a whole run, with snapshots at 2, 4 and 6.
const LENGTH: u64 = 6;
const WORDS: &str = "quick --tick 1 --snap 2 --tensorboard";

/// How a disk fails.
#[derive(Clone, Copy)]
struct Fault {
    name: &'static str,
    /// What the message says of it.
    said: &'static str,
    error: i32,
    /// Whether all that is written later fails too.
    stays: bool,
}

const FAULTS: [Fault; 2] = [
    Fault { name: "a full disk", said: "No space left on device", error: 28, stays: true },
    Fault { name: "one that fails once", said: "Input/output error", error: 5, stays: false },
];

/// The library that makes a disk fail, compiled into the folder.
fn library(place: &TestFolder) -> PathBuf {
    let (source, library) =
        (Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/failing_disk.c"), place.path("failing_disk.so"));
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(&library).arg(&source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler").success());
    library
}

/// A program whose disk, the folder `disk`, fails at the `at`-th thing that is written.
fn failing(mut command: Command, library: &Path, disk: &Path, fault: Fault, at: usize) -> Command {
    command.env("LD_PRELOAD", library).env("DISK_FOLDER", disk).env("DISK_FAIL_AT", at.to_string());
    command.env("DISK_ERROR", fault.error.to_string()).env("DISK_STAYS", u8::from(fault.stays).to_string());
    command
}

/// All that a program writes below the folder `disk`, in its order.
fn written(mut command: Command, library: &Path, disk: &Path, trace: &Path) -> Vec<String> {
    command.env("LD_PRELOAD", library).env("DISK_FOLDER", disk).env("DISK_TRACE", trace);
    succeed(command);
    let mut file = "";
    let trace = fs::read_to_string(trace).expect("a trace");
    let mut all = Vec::new();
    for line in trace.lines() {
        let (function, path) = line.split_once(' ').expect("a function and a path");
        // A folder is brought to the disk for the file that was renamed in it.
        if function == "rename" {
            file = path;
        }
        all.push(if function == "fsync" { format!("{line} ({file})") } else { line.to_string() });
    }
    all
}

/// Which of `count` to fail at: all of them where that is asked for, else `few`, spread over them; each test begins at another place.
fn places(count: usize, few: usize, first: usize) -> Vec<usize> {
    match std::env::var("VGAN_DISK_FAULTS").as_deref() {
        Ok("all") => (1..=count).collect(),
        _ => (0..few).map(|place| 1 + (first + place * count / few) % count).collect(),
    }
}

/// The run must have said what failed, and ended with 1 unless the file is one that nothing depends on. `status.json` is such a
/// file, of which nothing is said.
fn assert_said(output: &Output, fault: Fault, what: &str) {
    let text = stderr(output);
    assert!(!text.contains("panicked"), "{what}\n{text}");
    let begin = match output.status.code() {
        Some(1) => "error: ",
        Some(0) if what.contains("status.json") => return,
        Some(0) if what.contains("env.json") => "warning: ",
        code => panic!("{what}: {code:?}\n{text}"),
    };
    let says = |line: &str| line.starts_with(begin) && line.contains(fault.said);
    assert!(text.lines().any(says), "{what}\n{text}");
}

/// The run, if there is one in the folder: `train` may have failed before.
fn run_in(outdir: &Path) -> Option<Run> {
    let folder = fs::read_dir(outdir).ok()?.flatten().next()?;
    Some(Run::at(&folder.path()))
}

/// Whether a checkpoint stands under its final name.
fn has_checkpoint(run: &Run) -> bool {
    let Ok(entries) = fs::read_dir(run.file("checkpoints")) else { return false };
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().parse::<u64>().is_ok())
}

/// With a disk that works again, the run ends as `straight` did.
fn assert_goes_on(run: &Run, straight: &Run, what: &str) {
    let newest = run.newest_step();
    let trained = run.records().last().map_or(0, |record| record.step);
    assert!(trained <= newest + 2, "{what}: trained to {trained}, and only {newest} was kept");
    succeed(run.resume(&format!("--steps {LENGTH}")));
    assert_same_checkpoint(&run.checkpoint(LENGTH), &straight.checkpoint(LENGTH), what);
    assert_eq!(run.numbers(), straight.numbers(), "{what}");
    assert!(!run.is_saving(), "{what}: what was half written is cleared away");
}

#[test]
fn a_start_on_a_disk_that_fails() {
    let place = TestFolder::new();
    let library = library(&place);
    let words = format!("{WORDS} --steps {LENGTH}");
    let disk = place.path("straight");
    let all = written(place.train("straight", &words), &library, &disk, &place.path("trace"));
    let straight = place.run("straight");
    assert!(all.len() > 150, "{all:?}");
    for (kind, fault) in FAULTS.into_iter().enumerate() {
        for at in places(all.len(), 8, 5 * kind) {
            let what = format!("{}, at {at} of {}: {}", fault.name, all.len(), all[at - 1]);
            let outdir = format!("{kind}-{at}");
            let disk = place.path(&outdir);
            let output = failing(place.train(&outdir, &words), &library, &disk, fault, at).output().expect("a program");
            assert_said(&output, fault, &what);
            match run_in(&disk) {
                Some(run) if has_checkpoint(&run) => assert_goes_on(&run, &straight, &what),
                Some(run) => assert!(stderr(&exit_with(run.resume(""), 3)).contains("checkpoint"), "{what}"),
                None => {}
            }
            let _ = fs::remove_dir_all(&disk);
        }
        eprintln!("{}: {} of {} places", fault.name, places(all.len(), 8, 0).len(), all.len());
    }
}

#[test]
fn a_resume_on_a_disk_that_fails() {
    let place = TestFolder::new();
    let library = library(&place);
    let straight = place.trained("straight", &format!("{WORDS} --steps {LENGTH}"));
    let begin = |outdir: &str| place.trained(outdir, &format!("{WORDS} --steps 3"));
    let whole = begin("whole");
    let on = format!("--steps {LENGTH}");
    let all = written(whole.resume(&on), &library, &place.path("whole"), &place.path("trace"));
    assert!(all.len() > 80, "{all:?}");
    for (kind, fault) in FAULTS.into_iter().enumerate() {
        for at in places(all.len(), 4, 3 * kind) {
            let what = format!("{}, at {at} of {}: {}", fault.name, all.len(), all[at - 1]);
            let outdir = format!("{kind}-{at}");
            let run = begin(&outdir);
            let disk = place.path(&outdir);
            let output = failing(run.resume(&on), &library, &disk, fault, at).output().expect("a program");
            assert_said(&output, fault, &what);
            assert!(run.newest_step() >= 3, "{what}");
            assert_goes_on(&run, &straight, &what);
            let _ = fs::remove_dir_all(&disk);
        }
        eprintln!("{}: {} of {} places", fault.name, places(all.len(), 4, 0).len(), all.len());
    }
}
