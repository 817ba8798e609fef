//! The program on two devices of the stand-in for a driver, which train one model together by the stand-in for NCCL. What they compute is
//! compared in tests/kernels/two_gpus.rs.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::standin;
use crate::whole_runs::{PROGRAM, Run, TINY, TestFolder, exit_with, stderr, stdout, succeed};

/// Training of the tiny model with what is said of its devices.
fn train(place: &TestFolder, outdir: &str, words: &str) -> Command {
    let mut command = standin::command_of_ranks(PROGRAM, &meeting(place));
    command.args(["train", "quick"]).args(TINY.split_whitespace()).args(words.split_whitespace());
    command.args(["--no-selfcheck", "--outdir"]).arg(place.path(outdir));
    command.arg("--data").arg(place.path("images-idx3-ubyte"));
    command
}

/// The folder in which the ranks of a test meet.
fn meeting(place: &TestFolder) -> PathBuf {
    let folder = place.path("meeting");
    std::fs::create_dir_all(&folder).expect("a folder");
    folder
}

/// The two ranks of a start by something else than this program, such as torchrun; each with the variables of its own.
fn two_ranks(start: impl Fn() -> Command, own: impl Fn(usize) -> Vec<(&'static str, &'static str)>) -> [Output; 2] {
    let ranks = ["0", "1"].map(|rank| {
        let mut command = start();
        command.envs([("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "here")]);
        command.env("MASTER_PORT", "1").envs(own(usize::from(rank == "1")));
        command.spawn().expect("the program starts")
    });
    ranks.map(|rank| rank.wait_with_output().expect("its end"))
}

fn lines<'a>(trace: &'a str, part: &str) -> Vec<&'a str> {
    trace.lines().filter(|line| line.contains(part)).collect()
}

/// Figures beside those of one device, and each sum and gathering in the graph of a step: asked for in the first step and the recorded
/// one, and done in all of them. The run goes on on one device.
#[test]
fn two_devices_train_as_one() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let words = "--steps 8 --tick 1 --snap 4";
    succeed(train(&place, "one", &format!("{words} --device cuda")));
    let mut two = train(&place, "two", &format!("{words} --devices 0-1"));
    let trace = place.path("trace");
    two.env("NCCL_STANDIN_TRACE", &trace).env("CUDA_STANDIN_SCHEDULE", "shuffled:2");
    succeed(two);
    let trace = std::fs::read_to_string(trace).expect("a trace");
    let (asked, done) = (lines(&trace, "ncclAllReduce(").len(), lines(&trace, "AllReduce(Sum)").len());
    assert!(asked > 0 && done == 4 * asked, "{asked} sums were asked for in two steps, and {done} done in eight");
    assert_eq!(lines(&trace, "rank 0 carried out").len(), lines(&trace, "rank 1 carried out").len());
    let left = std::fs::read_dir(meeting(&place)).expect("a folder").count();
    assert_eq!(left, 0, "a communicator was not destroyed");
    let (one, two) = (place.run("one"), place.run("two"));
    assert_near(&two, &one);
    let mut resume = standin::command(PROGRAM);
    resume.arg("resume").arg(two.path()).args(["--steps", "10", "--device", "cuda"]);
    succeed(resume);
    assert_eq!(two.newest_step(), 10);
}

/// The figures of every record.
fn assert_near(ours: &Run, theirs: &Run) {
    let (ours, theirs) = (ours.numbers(), theirs.numbers());
    assert!(!ours.is_empty() && ours.len() == theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for (what, a, b) in [
            ("loss_d", ours.loss_d, theirs.loss_d),
            ("loss_g", ours.loss_g, theirs.loss_g),
            ("beta", ours.beta, theirs.beta),
        ] {
            assert!((a - b).abs() <= 1e-4 * b.abs().max(1.0), "{what} of step {}: {a} and {b}", ours.step);
        }
    }
}

/// One of them ends in the middle: by the sign of life that is missing where NCCL does not notice, as between GPUs of one machine; by NCCL's
/// word or that, whichever is first, where it does. The checkpoint is whole.
#[test]
fn a_rank_that_dies_ends_the_other() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let by_sign = "error: rank 1 (cuda:1 on ";
    for (notices, by_nccl) in
        [("yes", "error: rank 0 of 2 has lost the others: remote process exited"), ("no", by_sign)]
    {
        let start = || {
            let mut command = train(&place, notices, "--steps 40 --snap 2 --device cuda");
            command.env("NCCL_STANDIN_FAIL", "die:150@1").env("NCCL_STANDIN_NOTICES", notices);
            command
        };
        let [first, second] = two_ranks(start, |_| Vec::new());
        let text = stderr(&first);
        assert_eq!(first.status.code(), Some(1), "{text}");
        assert!(text.contains(by_nccl) || text.contains(by_sign), "{text}");
        assert!(stderr(&second).contains("this process ends here"), "{}", stderr(&second));
        let run = Run::at(&runs_of(&place.path(notices))[0]);
        assert!((2..40).contains(&run.newest_step()), "{}", run.newest_step());
    }
}

/// An error of one rank alone, in NCCL: the other learns that it has left.
#[test]
fn a_failure_of_nccl_ends_both() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let start = || {
        let mut command = train(&place, "runs", "--steps 40 --device cuda");
        command.env("NCCL_STANDIN_FAIL", "carry-out:40@1");
        command
    };
    for output in two_ranks(start, |_| Vec::new()) {
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(text.contains("error: rank ") && !text.contains("panicked"), "{text}");
    }
}

/// Obstacles to training with several GPUs, before the run has a folder: no NCCL, one that is too old, no memory for it, one GPU for two
/// ranks. Exit code 4 says that it is the device; 1, that one rank has lost the others.
#[test]
fn what_keeps_gpus_apart_is_said() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let refused = |codes: &[i32], change: &dyn Fn(&mut Command), part: &str| {
        let mut command = train(&place, "runs", "--steps 2 --devices 0-1");
        change(&mut command);
        let output = command.output().expect("the program starts");
        let text = stderr(&output);
        assert!(output.status.code().is_some_and(|code| codes.contains(&code)), "{:?}\n{text}", output.status);
        assert!(text.contains(part), "{text}\n\nlacks: {part}");
        assert!(runs_of(&place.path("runs")).is_empty(), "a refused run has left a folder");
    };
    let without = |command: &mut Command| {
        command.env("LD_LIBRARY_PATH", standin::folder());
    };
    refused(&[4], &without, "need NCCL, but NCCL is not found (libnccl.so.2: ");
    let set = |name: &'static str, value: &'static str| {
        move |command: &mut Command| {
            command.env(name, value);
        }
    };
    refused(
        &[4],
        &set("NCCL_STANDIN_VERSION", "2.7.8"),
        "the NCCL that is found is 2.7.8: install NCCL 2.18.0 or later",
    );
    // The rank that fails later may have been ended for the other by then, which is 1.
    refused(&[1, 4], &set("NCCL_STANDIN_MEMORY", "1000000000000"), "'out of memory'");
    refused(
        &[1],
        &set("NCCL_STANDIN_FAIL", "join:1=2@1"),
        "rank 1 of 2 can't join the others by NCCL: unhandled system error",
    );
    let same = two_ranks(
        || train(&place, "runs", "--steps 2 --device cuda"),
        |_| vec![("CUDA_VISIBLE_DEVICES", "1"), ("LOCAL_RANK", "0")],
    );
    let refused = |output: &&Output| {
        let text = stderr(output);
        let said = text.contains("Duplicate GPU detected : rank ") && text.contains("each rank needs a GPU of its own");
        said && output.status.code() == Some(4)
    };
    assert!(same.iter().any(|output| refused(&output)), "{} {}", stderr(&same[0]), stderr(&same[1]));
}

/// Folders of runs, which have names that do not begin with a dot.
fn runs_of(outdir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(outdir).into_iter().flatten().flatten();
    entries.filter(|entry| !entry.file_name().to_string_lossy().starts_with('.')).map(|entry| entry.path()).collect()
}

#[test]
fn doctor_says_which_nccl_is_found() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let doctor = |command: Command, json: bool| {
        let mut command = command;
        command.arg("doctor").args(json.then_some("--json"));
        stdout(&exit_with(command, 0))
    };
    let with = || standin::command_of_ranks(PROGRAM, &meeting(&place));
    assert!(doctor(with(), false).contains("\nNCCL       2.28.3\n"));
    let json: serde_json::Value = serde_json::from_str(&doctor(with(), true)).expect("JSON");
    assert_eq!(json["nccl"], "2.28.3");
    let mut old = with();
    old.env("NCCL_STANDIN_VERSION", "2.8.4");
    assert!(doctor(old, false).contains("2.8.4, too old to be used: 2.18.0 or later is needed"));
    assert!(doctor(standin::command(PROGRAM), false).contains("no NCCL found"));
}
