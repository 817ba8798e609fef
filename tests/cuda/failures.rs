//! What goes wrong on a device: memory that is used up, a launch that fails. The run ends with exit code 4 and says why, and its
//! last checkpoint is whole.

use std::process::Output;

use crate::standin;
use crate::whole_runs::{PROGRAM, Place, TINY, assert_same_checkpoint, stderr, succeed};

/// Trains with a fault.
fn train(place: &Place, outdir: &str, fault: &str, steps: u32) -> Output {
    let mut command = standin::command(PROGRAM);
    command.args(["train", "quick"]).args(TINY.split_whitespace()).args(["--device", "cuda", "--snap", "2"]);
    // Faults are counted from the first launch and allocation of the training on.
    command.arg("--no-selfcheck");
    command.args(["--steps", &steps.to_string()]);
    command.arg("--outdir").arg(place.path(outdir)).arg("--data").arg(place.path("images-idx3-ubyte"));
    command.env("CUDA_STANDIN_FAIL", fault).output().expect("the program starts")
}

/// Fails the test unless the run ended as one does whose device failed.
fn assert_failed(output: &Output, fault: &str) -> String {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(4), "{fault}\n{text}");
    assert!(text.contains("error: ") && !text.contains("panicked"), "{fault}\n{text}");
    text
}

/// The n-th allocation of a start and of its steps finds no memory, for every n.
#[test]
fn no_allocation_may_fail_without_a_word() {
    if !standin::has_kernels() {
        return;
    }
    for kind in ["alloc", "malloc-host"] {
        let count = std::thread::scope(|scope| {
            let every_second = [1, 2].map(|first| scope.spawn(move || failures_from(kind, first)));
            every_second.map(|counted| counted.join().expect("no panic")).into_iter().sum::<usize>()
        });
        assert!(count > if kind == "alloc" { 20 } else { 0 }, "{count} allocations failed of those of two nets");
    }
}

/// Lets every second allocation from this one on find no memory, each in a run of its own, until a run needs no further one. How
/// many failed.
fn failures_from(kind: &str, first: usize) -> usize {
    let place = Place::new();
    for (failed, n) in (first..).step_by(2).enumerate() {
        let fault = format!("{kind}:{n}");
        let output = train(&place, &format!("{kind}-{n}"), &fault, 3);
        if output.status.code() == Some(0) {
            return failed;
        }
        let text = assert_failed(&output, &fault);
        assert!(text.contains("OUT_OF_MEMORY"), "{fault}\n{text}");
    }
    unreachable!("there is no end to the numbers")
}

/// A launch fails in the middle of a run: the last checkpoint is whole, and a resume ends where a run without the fault does.
#[test]
fn a_launch_that_fails_leaves_the_last_checkpoint() {
    if !standin::has_kernels() {
        return;
    }
    let place = Place::new();
    let straight = train(&place, "straight", "", 8);
    assert_eq!(straight.status.code(), Some(0), "{}", stderr(&straight));
    let mut stopped_at = Vec::new();
    for n in [150, 300, 450] {
        let fault = format!("launch:{n}");
        let output = train(&place, &fault, &fault, 8);
        assert_failed(&output, &fault);
        let run = place.run(&fault);
        stopped_at.push(run.newest_step());
        let mut resume = standin::command(PROGRAM);
        resume.arg("resume").arg(run.path());
        succeed(resume);
        assert_same_checkpoint(&run.checkpoint(8), &place.run("straight").checkpoint(8), &fault);
    }
    assert!(stopped_at.iter().any(|&step| step > 0 && step < 8), "{stopped_at:?}: no launch failed in the middle");
}
