//! Whole runs on the stand-in: beside the CPU's, resumed on the other device, killed and resumed.

use std::process::Command;
use std::time::Duration;

use crate::standin;
use crate::whole_runs::{PROGRAM, Run, TINY, TestFolder, assert_same_checkpoint, succeed, wait_for};

/// A run of the tiny model on the stand-in; `words` begin with the preset.
fn train(place: &TestFolder, outdir: &str, words: &str) -> Command {
    train_wide(place, outdir, &format!("{words} {TINY}"))
}

/// The same with the preset's widths. The check of the kernels before the first step is left out; failures.rs has starts with it.
fn train_wide(place: &TestFolder, outdir: &str, words: &str) -> Command {
    let mut command = standin::command(PROGRAM);
    command.arg("train").args(words.split_whitespace()).args(["--device", "cuda", "--no-selfcheck"]);
    command.arg("--outdir").arg(place.path(outdir));
    if !words.contains("--data") {
        command.arg("--data").arg(place.path("images-idx3-ubyte"));
    }
    command
}

fn resume(run: &Run, words: &str) -> Command {
    let mut command = standin::command(PROGRAM);
    command.arg("resume").arg(run.path()).args(words.split_whitespace());
    command
}

/// The figures of every record are within the tolerance of those of another run.
fn assert_near(ours: &Run, theirs: &Run, tolerance: f64) {
    let (ours, theirs) = (ours.numbers(), theirs.numbers());
    assert_eq!(ours.len(), theirs.len());
    assert!(!ours.is_empty());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        for (what, a, b) in [
            ("loss_d", ours.loss_d, theirs.loss_d),
            ("loss_g", ours.loss_g, theirs.loss_g),
            ("kl_real", ours.kl_real, theirs.kl_real),
            ("beta", ours.beta, theirs.beta),
        ] {
            assert!((a - b).abs() <= tolerance * b.abs().max(1.0), "{what} of step {}: {a} and {b}", ours.step);
        }
    }
}

/// The losses are the CPU's but for the rounding of f32, and the bytes are the same whether the queue is emptied early or late, and
/// in whatever order blocks, warps and copies are taken.
#[test]
fn a_run_is_the_cpus_and_the_same_in_every_order() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let words = "quick --steps 20 --tick 1 --snap 20";
    let cpu = place.trained("cpu", words);
    succeed(train(&place, "lazy", words));
    let lazy = place.run("lazy");
    assert_near(&lazy, &cpu, 1e-4);
    let mut eager = train(&place, "eager", words);
    eager.envs([
        ("CUDA_STANDIN_ORDER", "eager"),
        ("CUDA_STANDIN_SCHEDULE", "shuffled:3"),
        ("CUDA_STANDIN_ASYNC", "earliest"),
    ]);
    succeed(eager);
    assert_same_checkpoint(&place.run("eager").checkpoint(20), &lazy.checkpoint(20), "another order");
    for dtype in ["tf32", "bf16"] {
        succeed(train(&place, dtype, &format!("{words} --dtype {dtype}")));
        let (rounded, on_cpu) =
            (place.run(dtype), place.trained(&format!("cpu-{dtype}"), &format!("{words} --dtype {dtype}")));
        assert_near(&rounded, &on_cpu, 1e-3);
        assert_ne!(rounded.checkpoint(20)[0], lazy.checkpoint(20)[0], "{dtype} rounds nothing");
    }
}

/// Preset `quick` as it is, on the embedded digits: the step that is computed, the one that is recorded, and its replay. Each kind of
/// model and of step is compared in tests/kernels/steps_on_a_gpu.rs, 20 steps long and in four types.
#[test]
fn the_first_steps_of_quick_are_the_cpus() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let words = "quick --data glyphs --steps 3 --tick 1 --snap 3";
    succeed(place.train_wide("cpu", words));
    succeed(train_wide(&place, "cuda", words));
    assert_near(&place.run("cuda"), &place.run("cpu"), 1e-4);
}

#[test]
fn a_run_goes_on_on_the_other_device() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let straight = place.trained("straight", "quick --steps 12 --tick 1 --snap 6");
    succeed(train(&place, "from-gpu", "quick --steps 6 --tick 1 --snap 6"));
    let run = place.run("from-gpu");
    succeed(run.resume("--device cpu --steps 12"));
    assert_near(&run, &straight, 1e-4);
    let run = place.trained("from-cpu", "quick --steps 6 --tick 1 --snap 6");
    succeed(resume(&run, "--device cuda --steps 12"));
    assert_near(&run, &straight, 1e-4);
}

/// Killed in the middle, and resumed to the bytes of a run that was not.
#[test]
fn a_killed_run_goes_on_to_the_same_bytes() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    succeed(train(&place, "straight", "quick --steps 30 --snap 2"));
    let mut child = train(&place, "killed", "quick --steps 30 --snap 2").spawn().expect("the program starts");
    wait_for(&mut child, "checkpoint", || {
        let Ok(runs) = std::fs::read_dir(place.path("killed")) else { return false };
        runs.flatten().any(|run| run.path().join("checkpoints/000004/state.json").is_file())
    });
    std::thread::sleep(Duration::from_millis(30));
    child.kill().expect("a kill");
    assert_eq!(child.wait().expect("the child's end").code(), None, "the run ended before the kill");
    let run = place.run("killed");
    assert!(run.newest_step() >= 4);
    succeed(resume(&run, "--steps 30"));
    assert_same_checkpoint(&run.checkpoint(30), &place.run("straight").checkpoint(30), "after a kill");
}
