//! Failures of a device: memory that is used up, a launch that fails, a device that is lost. The run ends with exit code 4 and
//! says why, and its last checkpoint is whole.

use std::process::{Command, Output};

use vgan_cuda::run::checkpoint;

use crate::standin;
use crate::whole_runs::{PROGRAM, Run, TINY, TestFolder, assert_same_checkpoint, stderr, succeed};

/// The command that trains with a fault, and does or does not check its kernels before.
fn training(place: &TestFolder, outdir: &str, fault: &str, steps: u32, self_check: bool) -> Command {
    let mut command = standin::command(PROGRAM);
    command.args(["train", "quick"]).args(TINY.split_whitespace()).args(["--device", "cuda", "--snap", "2"]);
    if !self_check {
        command.arg("--no-selfcheck");
    }
    command.args(["--steps", &steps.to_string()]);
    command.arg("--outdir").arg(place.path(outdir)).arg("--data").arg(place.path("images-idx3-ubyte"));
    command.env("CUDA_STANDIN_FAIL", fault);
    command
}

/// Trains with a fault, which is counted from the first launch and allocation of the training on.
fn train(place: &TestFolder, outdir: &str, fault: &str, steps: u32) -> Output {
    training(place, outdir, fault, steps, false).output().expect("the program starts")
}

/// Fails the test unless the run ended as one does whose device failed.
fn assert_failed(output: &Output, fault: &str) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(4), "{fault}\n{text}");
    assert!(text.contains("error: ") && !text.contains("panicked"), "{fault}\n{text}");
    text
}

/// The step of the newest checkpoint in a folder of runs, which must load without passing over another one; `None` where the start
/// came to none.
fn newest_step(place: &TestFolder, outdir: &str) -> Option<u64> {
    let runs = std::fs::read_dir(place.path(outdir)).into_iter().flatten().flatten();
    let runs: Vec<Run> = runs.map(|run| Run::at(&run.path())).collect();
    assert!(runs.len() <= 1, "{outdir} has {} runs", runs.len());
    let saved = |run: &&Run| !checkpoint::steps(&run.file("checkpoints")).is_empty();
    runs.iter().find(saved).map(Run::newest_step)
}

/// Runs `count` calls on as many threads as there are cores, two at least, and gives back what they gave, in order.
fn at_once<T: Send>(faults: &[String], run: impl Fn(&str) -> T + Sync) -> Vec<T> {
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((at, fault)) = {
            let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            faults.get(at).map(|fault| (at, fault))
        } {
            done.push((at, run(fault)));
        }
        done
    };
    let mut done: Vec<(usize, T)> = std::thread::scope(|scope| {
        let threads = [(); 2].map(|()| scope.spawn(work));
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// The n-th allocation of a start and of its steps finds no memory, for every n; a checkpoint that was written before is whole.
#[test]
fn no_allocation_may_fail_without_a_word() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let count = allocations(training(&place, "counted", "", 3, false));
    assert!(count > 40, "{count} allocations of two nets");
    let mut faults: Vec<String> = (1..=count).map(|n| format!("alloc:{n}")).collect();
    faults.push("malloc-host:1".into());
    let saved = at_once(&faults, |fault| {
        let text = assert_failed(&train(&place, fault, fault, 3), fault);
        assert!(text.contains("OUT_OF_MEMORY"), "{fault}\n{text}");
        newest_step(&place, fault)
    });
    assert_eq!(saved[0], None);
    // Behind the last allocation, none fails.
    assert_eq!(train(&place, "past", &format!("alloc:{},malloc-host:2", count + 1), 3).status.code(), Some(0));
    // The check of the kernels allocates too, and before.
    let plain = count;
    let count = allocations(training(&place, "counted with the check", "", 1, true));
    assert!(count > plain + 50, "{count} allocations with the check of the kernels, {plain} without");
    let faults: Vec<String> = (1..=count).step_by(23).map(|n| format!("alloc:{n}")).collect();
    at_once(&faults, |fault| {
        let outdir = format!("checked {fault}");
        let output = training(&place, &outdir, fault, 1, true).output().expect("the program starts");
        assert_failed(&output, fault);
        newest_step(&place, &outdir)
    });
}

/// The allocations of a run without a fault.
fn allocations(mut command: Command) -> usize {
    let trace = tempfile::NamedTempFile::new().expect("a file");
    command.env_remove("CUDA_STANDIN_FAIL").env("CUDA_STANDIN_TRACE", trace.path());
    succeed(command);
    let trace = std::fs::read_to_string(trace.path()).expect("a trace");
    trace.lines().filter(|line| line.starts_with("cuMemAlloc")).count()
}

/// Allocations of a resume fail: the checkpoint that it came from stays as it is.
#[test]
fn a_resume_that_finds_no_memory_leaves_the_checkpoint() {
    if !standin::has_kernels() {
        return;
    }
    // A run in each of two folders, since a run is locked while it is resumed.
    let places = [(); 2].map(|()| TestFolder::new());
    std::thread::scope(|scope| {
        for (which, place) in places.iter().enumerate() {
            scope.spawn(move || resumes_fail(place, which));
        }
    });
}

/// Every twelfth allocation from number `1 + 5 * which` on, until a resume comes to its end.
fn resumes_fail(place: &TestFolder, which: usize) {
    let begun = train(place, "run", "", 2);
    assert_eq!(begun.status.code(), Some(0), "{}", stderr(&begun));
    let run = place.run("run");
    let before = run.checkpoint(2);
    let mut failed = 0;
    for n in (1 + 5 * which..).step_by(12) {
        let fault = format!("alloc:{n}");
        let mut resume = standin::command(PROGRAM);
        resume
            .arg("resume")
            .arg(run.path())
            .args(["--steps", "3", "--device", "cuda"])
            .env("CUDA_STANDIN_FAIL", &fault);
        let output = resume.output().expect("the program starts");
        if output.status.code() == Some(0) {
            break;
        }
        assert_failed(&output, &fault);
        assert_same_checkpoint(&run.checkpoint(2), &before, &fault);
        assert!(run.newest_step() >= 2, "{fault}");
        failed += 1;
    }
    assert!(failed > 4, "{failed} allocations failed of those of a resume");
    assert_eq!(run.newest_step(), 3);
}

/// Every other place where a device may fail: while kernels are loaded, a step is made ready, bytes are copied or waited for, and when
/// the device is lost; early, in the middle, late.
#[test]
fn a_device_that_fails_anywhere_leaves_the_last_checkpoint() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let points: [(&str, &[u32]); 5] = [
        ("load", &[1, 40]),
        ("instantiate", &[1]),
        ("copy", &[1, 60, 120]),
        ("sync", &[1, 15, 30, 45]),
        ("device-lost", &[1, 100, 250, 400]),
    ];
    let faults: Vec<String> =
        points.iter().flat_map(|(point, numbers)| numbers.iter().map(move |n| format!("{point}:{n}"))).collect();
    let saved = at_once(&faults, |fault| {
        assert_failed(&train(&place, fault, fault, 8), fault);
        newest_step(&place, fault)
    });
    assert!(
        saved.iter().any(|step| step.is_none()) && saved.iter().any(|step| step.is_some_and(|step| step >= 2)),
        "{saved:?}"
    );
}

/// A launch fails in the middle of a run: the last checkpoint is whole, and a resume ends where a run without the fault does.
#[test]
fn a_launch_that_fails_leaves_the_last_checkpoint() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let straight = train(&place, "straight", "", 8);
    assert_eq!(straight.status.code(), Some(0), "{}", stderr(&straight));
    let faults = [150, 300, 450].map(|n| format!("launch:{n}"));
    let stopped_at = at_once(&faults, |fault| {
        assert_failed(&train(&place, fault, fault, 8), fault);
        let run = place.run(fault);
        let stopped_at = run.newest_step();
        let mut resume = standin::command(PROGRAM);
        resume.arg("resume").arg(run.path());
        succeed(resume);
        assert_same_checkpoint(&run.checkpoint(8), &place.run("straight").checkpoint(8), fault);
        stopped_at
    });
    assert!(stopped_at.iter().any(|&step| step > 0 && step < 8), "{stopped_at:?}: no launch failed in the middle");
}
