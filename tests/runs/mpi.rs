//! Ranks on the CPU, started by mpirun: needs the feature `mpi`, and OpenMPI.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::needs;
use crate::rank_kills::{SNAP, Starts, assert_lost, kills, rank, ranks, send_to};
use crate::whole_runs::{PROGRAM, Run, TINY, TestFolder, exit_with, send, stderr, stdout, succeed, wait_for};

/// Whether ranks can be started here.
fn has_mpi() -> bool {
    if !cfg!(feature = "mpi") {
        eprintln!("SKIPPED: built without --features mpi");
    } else if !needs::program("mpirun").is_found() {
        eprintln!("SKIPPED: no mpirun");
    } else {
        return true;
    }
    false
}

/// The program on so many ranks.
fn mpirun(world: usize, words: &str) -> Command {
    let mut command = Command::new("mpirun");
    command.args(["-np", &world.to_string(), "--oversubscribe", "--bind-to", "none", PROGRAM]);
    command.args(words.split_whitespace()).args(["--device", "cpu", "--threads", "1"]);
    // As root, mpirun asks whether that is meant.
    command.envs([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    command.stdin(std::process::Stdio::null());
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    command
}

fn train(place: &TestFolder, outdir: &str, world: usize, words: &str) -> Command {
    let tiny = if words.contains("--batch") { TINY.replace("--batch 8", "") } else { TINY.into() };
    let mut command = mpirun(world, &format!("train {words} {tiny}"));
    command.arg("--outdir").arg(place.path(outdir)).arg("--data").arg(place.path("images-idx3-ubyte"));
    command
}

fn resume(run: &Path, world: usize, words: &str) -> Command {
    let mut command = mpirun(world, &format!("resume {words}"));
    command.arg(run);
    command
}

fn has_checkpoint(outdir: &Path, step: &str) -> bool {
    let runs = std::fs::read_dir(outdir).into_iter().flatten().flatten();
    runs.into_iter().any(|run| run.path().join("checkpoints").join(step).exists())
}

/// Four ranks go on on two, on one and on four again, near the figures of one that trained alone.
#[test]
fn a_run_goes_on_on_other_numbers_of_ranks() {
    if !has_mpi() {
        return;
    }
    let place = TestFolder::new();
    let words = "quick --tick 1 --snap 3";
    succeed(place.train("alone", &format!("{words} --steps 12 {}", "--device cpu")));
    let output = succeed(train(&place, "run", 4, &format!("{words} --steps 3")));
    assert_eq!(stderr(&output).matches("step 1/3").count(), 1, "the leader alone speaks: {}", stderr(&output));
    assert_eq!(stdout(&output).lines().count(), 1, "{}", stdout(&output));
    let run = place.run("run");
    succeed(resume(run.path(), 2, "--steps 6"));
    succeed(run.resume("--steps 9 --device cpu"));
    succeed(resume(run.path(), 4, "--steps 12"));
    let (ours, alone) = (run.records(), place.run("alone").records());
    assert_eq!(ours.iter().map(|record| record.step).collect::<Vec<_>>(), (1..=12).collect::<Vec<_>>());
    for (ours, alone) in ours.iter().zip(&alone) {
        let far = (ours.loss_d - alone.loss_d).abs().max((ours.loss_g - alone.loss_g).abs());
        assert!(far < 1e-4, "step {}: {} and {}", ours.step, ours.loss_d, alone.loss_d);
    }
    assert_eq!(std::fs::read_dir(place.path("run")).expect("runs").count(), 1, "nothing is left beside the run");
    // A batch of 8 is not that of three ranks.
    let text = stderr(&exit_with(resume(run.path(), 3, "--steps 15"), 2));
    assert!(text.contains("train.batch"), "{text}");
}

/// The long form: `VGAN_RANK_KILLS=20 cargo test --release --features mpi --test runs mpi`.
#[test]
fn ranks_that_are_killed_end_the_others_and_the_run_goes_on_to_the_same_bytes() {
    if !has_mpi() {
        return;
    }
    let place = TestFolder::new();
    let kills = kills();
    let words = format!("quick --steps {} --tick 1 --snap {SNAP}", 60 * kills + 40);
    succeed(train(&place, "straight", 2, &words));
    let outdir = place.path("killed");
    Starts {
        outdir: &outdir,
        world: 2,
        begin: &|| train(&place, "killed", 2, &words),
        resume: &|run| resume(run, 2, ""),
    }
    .killed(kills, &place.run("straight"));
}

/// A signal to one rank alone saves and ends both; a rank that is stopped for a second is slow, and lost after `--rank-timeout`.
#[test]
fn signals_to_one_rank() {
    if !has_mpi() {
        return;
    }
    let place = TestFolder::new();
    let words = "quick --steps 1000000 --tick 1 --snap 1000000 --rank-timeout 2";
    let mut child = train(&place, "run", 2, words).spawn().expect("mpirun starts");
    let outdir = place.path("run");
    wait_for(&mut child, "a checkpoint", || has_checkpoint(&outdir, "000000"));
    let pid = rank(&mut child, &outdir, 1);
    send_to(pid, "USR1");
    let output = child.wait_with_output().expect("the end");
    assert_eq!(output.status.code(), Some(138), "{}", stderr(&output));
    assert!(stderr(&output).contains("error: interrupted by SIGUSR1; saved: continue with"), "{}", stderr(&output));
    let run = the_run(&outdir);
    assert_eq!(run.newest_step(), run.records().last().expect("a record").step);

    let mut child = resume(run.path(), 2, "--rank-timeout 2").spawn().expect("mpirun starts");
    wait_for(&mut child, "both ranks", || ranks(&outdir).len() == 2);
    let before = run.records().len();
    wait_for(&mut child, "steps", || {
        run.bytes("stats.jsonl").iter().filter(|byte| **byte == b'\n').count() > before + 3
    });
    let pid = rank(&mut child, &outdir, 1);
    send_to(pid, "STOP");
    std::thread::sleep(Duration::from_millis(900));
    send_to(pid, "CONT");
    std::thread::sleep(Duration::from_millis(300));
    assert!(child.try_wait().expect("a child").is_none(), "a slow rank ended the others");
    send_to(pid, "STOP");
    let stopped = Instant::now();
    let output = child.wait_with_output().expect("the end");
    assert_lost(&output, 1, stopped.elapsed());
    assert!(stderr(&output).contains("has shown no sign of life for 2"), "{}", stderr(&output));
}

fn the_run(outdir: &Path) -> Run {
    let runs = std::fs::read_dir(outdir).expect("runs").flatten().map(|entry| entry.path());
    Run::at(&runs.into_iter().find(|path| path.join("config.toml").exists()).expect("a run"))
}

/// mpirun hands SIGUSR1 on.
#[test]
fn a_signal_to_mpirun_saves() {
    if !has_mpi() {
        return;
    }
    let place = TestFolder::new();
    let words = "quick --steps 1000000 --tick 1 --snap 1000000 --batch 9";
    let mut child = train(&place, "run", 3, words).spawn().expect("mpirun starts");
    let outdir = place.path("run");
    wait_for(&mut child, "a checkpoint", || has_checkpoint(&outdir, "000000"));
    wait_for(&mut child, "all ranks", || ranks(&outdir).len() == 3);
    send(&child, "USR1");
    let output = child.wait_with_output().expect("the end");
    assert_eq!(output.status.code(), Some(138), "{}", stderr(&output));
}
