//! Ranks of `--devices` on the stand-ins for the driver and for NCCL: one run, signals, slow ranks, lost ranks.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::rank_kills::{SNAP, Starts, assert_lost, kills, rank, send_to};
use crate::standin;
use crate::whole_runs::{PROGRAM, Run, TINY, TestFolder, exit_with, send, stderr, stdout, succeed, wait_for};

/// A command of the program with two devices, and NCCL.
fn program(place: &TestFolder, words: &str) -> Command {
    let shared = place.path("nccl");
    std::fs::create_dir_all(&shared).expect("a folder");
    let mut command = standin::command_of_ranks(PROGRAM, &shared);
    command.args(words.split_whitespace()).arg("--no-selfcheck");
    command
}

/// A run of the tiny model; `words` begin with the preset.
fn train(place: &TestFolder, outdir: &str, words: &str) -> Command {
    let mut command = program(place, &format!("train {words} {TINY}"));
    command.arg("--outdir").arg(place.path(outdir)).arg("--data").arg(place.path("images-idx3-ubyte"));
    command
}

fn resume(place: &TestFolder, run: &Run, words: &str) -> Command {
    let mut command = program(place, &format!("resume {words}"));
    command.arg(run.path());
    command
}

#[test]
fn two_devices_train_one_run() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let words = "quick --steps 6 --tick 2 --snap 3";
    succeed(train(&place, "one", &format!("{words} --device cuda")));
    let output = succeed(train(&place, "two", &format!("{words} --devices 0-1")));
    let (one, two) = (place.run("one"), place.run("two"));
    for (one, two) in one.records().iter().zip(two.records()) {
        assert!((one.loss_d - two.loss_d).abs() < 1e-4, "step {}: {} and {}", one.step, one.loss_d, two.loss_d);
    }
    // The leader speaks, as a process alone does.
    let (text, alone) = (stderr(&output), stdout(&output));
    assert_eq!(text.matches("step 2/6").count(), 1, "{text}");
    assert!(alone.starts_with("done; ") && alone.lines().count() == 1, "{alone}");
    assert_eq!(two.records().len(), 3);
    // A resume on one device, and on two again.
    succeed(resume(&place, &two, "--device cuda --steps 8"));
    succeed(resume(&place, &two, "--devices 1,0 --steps 10"));
    assert_eq!(two.newest_step(), 10);
    assert_eq!(std::fs::read_dir(place.path("two")).expect("runs").count(), 1, "nothing is left beside the run");
}

#[test]
fn a_signal_to_the_start_saves_and_ends_all_ranks() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let mut child =
        train(&place, "run", "quick --steps 100000 --tick 2 --snap 2 --devices 0-1").spawn().expect("a start");
    rank(&mut child, &place.path("run"), 1);
    let stats = || {
        std::fs::read_dir(place.path("run"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|e| e.path().join("stats.jsonl").exists())
    };
    wait_for(&mut child, "a first step", stats);
    send(&child, "TERM");
    let output = child.wait_with_output().expect("the end");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(143), "{text}");
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    assert!(text.contains("interrupted by SIGTERM; saved: continue with"), "{text}");
}

/// The long form: `VGAN_RANK_KILLS=20 cargo test --release --test cuda killed`.
#[test]
fn ranks_that_are_killed_end_the_others_and_the_run_goes_on_to_the_same_bytes() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let kills = kills();
    let words = format!("quick --steps {} --tick 1 --snap {SNAP}", 8 * kills + 8);
    succeed(train(&place, "straight", &format!("{words} --devices 0-1")));
    let outdir = place.path("killed");
    Starts {
        outdir: &outdir,
        world: 2,
        begin: &|| train(&place, "killed", &format!("{words} --devices 0-1")),
        resume: &|run| resume(&place, &Run::at(run), "--devices 0-1"),
    }
    .killed(kills, &place.run("straight"));
}

/// Started over by itself, and without a word of the user's.
#[test]
fn a_rank_that_is_killed_is_started_anew() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let words = "quick --steps 12 --tick 1 --snap 2 --devices 0-1 --restart 1";
    let mut child = train(&place, "run", words).spawn().expect("a start");
    let outdir = place.path("run");
    let pid = rank(&mut child, &outdir, 1);
    wait_for(&mut child, "a checkpoint", || {
        std::fs::read_dir(&outdir).into_iter().flatten().flatten().any(|e| e.path().join("checkpoints/000002").exists())
    });
    send_to(pid, "KILL");
    let output = child.wait_with_output().expect("the end");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("warning: rank 1 of 2 (cuda:1) was ended by signal 9 (SIGKILL); the last checkpoint"),
        "{text}"
    );
    assert_eq!(place.run("run").newest_step(), 12);
}

/// Stopped for a second, a rank is slow; stopped for longer than `--rank-timeout`, it is lost.
#[test]
fn a_rank_that_is_stopped_is_slow_at_first_and_lost_in_the_end() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let words = "quick --steps 100000 --tick 1 --snap 1 --devices 0-1 --rank-timeout 2";
    let mut child = train(&place, "run", words).spawn().expect("a start");
    let outdir = place.path("run");
    let pid = rank(&mut child, &outdir, 1);
    wait_for(&mut child, "a checkpoint", || {
        std::fs::read_dir(&outdir).into_iter().flatten().flatten().any(|e| e.path().join("checkpoints/000001").exists())
    });
    send_to(pid, "STOP");
    std::thread::sleep(Duration::from_millis(900));
    send_to(pid, "CONT");
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().expect("a child").is_none(), "a slow rank ended the others");
    send_to(pid, "STOP");
    let stopped = Instant::now();
    let output = child.wait_with_output().expect("the end");
    assert_lost(&output, 1, stopped.elapsed());
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("has shown no sign of life for 2"), "{}", stderr(&output));
}

/// Two processes with the variables of torchrun, of which one was given another learning rate.
#[test]
fn ranks_that_differ_are_refused_on_all_sides() {
    if !standin::has_kernels() {
        return;
    }
    let place = TestFolder::new();
    let start = |rank: usize, rate: &str| {
        let words = format!("quick --steps 4 --device cuda --set optimizer.generator_lr={rate}");
        let mut command = train(&place, "run", &words);
        command.envs([("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost"), ("MASTER_PORT", "29500")]);
        command.envs([("RANK", rank.to_string()), ("LOCAL_RANK", rank.to_string())]);
        command
    };
    let other = start(1, "0.5").spawn().expect("a start");
    let text = stderr(&exit_with(start(0, "0.25"), 2));
    assert!(text.contains("optimizer.generator_lr: 0.25 at rank 0, 0.5 at rank 1"), "{text}");
    let other = other.wait_with_output().expect("the end");
    assert_eq!(other.status.code(), Some(2), "{}", stderr(&other));
}
