//! `--restart`: a process that watches over the one that trains, and starts it anew.

use std::fs;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::whole_runs::{
    PROGRAM, Run, TestFolder, assert_same_checkpoint, exit_with, send, stderr, stdout, succeed, wait_for,
};

const STEPS: u64 = 400;
const WORDS: &str = "quick --steps 400 --tick 1 --snap 2";

/// The process that trains the run in this folder, by the run's lock.
fn trainer(outdir: &Path) -> Option<u32> {
    let run =
        fs::read_dir(outdir).ok()?.flatten().map(|entry| entry.path()).find(|path| path.join(".lock").exists())?;
    fs::read_to_string(run.join(".lock")).ok()?.trim().strip_prefix("pid ")?.parse().ok()
}

fn lives(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().expect("kill").success());
}

/// Waits until the run has trained some steps in this start, and kills the process that trains; not the one that watches.
fn kill_once(child: &mut Child, outdir: &Path, before: Option<u32>) -> u32 {
    wait_for(child, "another process that trains", || {
        trainer(outdir).is_some_and(|pid| before != Some(pid) && lives(pid))
    });
    let pid = trainer(outdir).expect("a process");
    assert_ne!(pid, child.id());
    let lines = || {
        let run = fs::read_dir(outdir).into_iter().flatten().flatten().map(|entry| entry.path().join("stats.jsonl"));
        run.filter_map(|path| fs::read_to_string(path).ok()).map(|text| text.lines().count()).max().unwrap_or(0)
    };
    let wanted = lines() + 6;
    wait_for(child, "some steps", || lines() >= wanted);
    kill(pid);
    pid
}

#[test]
fn a_run_that_is_killed_starts_over_and_ends_with_the_same_bytes() {
    let place = TestFolder::new();
    let straight = place.trained("straight", WORDS);
    let mut command = place.train("killed", &format!("{WORDS} --restart 2 --device cpu"));
    let mut child = command.spawn().expect("the program starts");
    let outdir = place.path("killed");
    let first = kill_once(&mut child, &outdir, None);
    kill_once(&mut child, &outdir, Some(first));
    let output = child.wait_with_output().expect("the child's end");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "warning: the process that trained was ended by signal 9 (SIGKILL)",
        "the last checkpoint is of step",
        "starting over from the last checkpoint (1 more",
        "starting over from the last checkpoint (0 more",
    ] {
        assert!(text.contains(part), "{text}\nlacks {part}");
    }
    assert!(stdout(&output).starts_with("done; "), "{output:?}");
    let run = the_run(&outdir);
    assert_same_checkpoint(&run.checkpoint(STEPS), &straight.checkpoint(STEPS), "after two kills");
    assert_eq!(fs::read_dir(&outdir).expect("runs").count(), 1, "nothing is left beside the run");
}

fn the_run(outdir: &Path) -> Run {
    let runs = fs::read_dir(outdir).expect("runs").flatten().map(|entry| entry.path());
    Run::at(&runs.into_iter().find(|path| path.join("config.toml").exists()).expect("a run"))
}

#[test]
fn without_another_start_the_message_tells_how_to_go_on() {
    let place = TestFolder::new();
    let mut child = place.train("run", &format!("{WORDS} --restart 1 --device cpu")).spawn().expect("a start");
    let outdir = place.path("run");
    let first = kill_once(&mut child, &outdir, None);
    kill_once(&mut child, &outdir, Some(first));
    let output = child.wait_with_output().expect("the child's end");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let run = the_run(&outdir);
    let newest = run.newest_step();
    let expected = format!(
        "error: the process that trained was ended by signal 9 (SIGKILL); the last checkpoint is of step {newest}: continue with `vgan-cuda resume {}`",
        run.path().display()
    );
    assert!(stderr(&output).contains(&expected), "{}\nlacks {expected}", stderr(&output));
    assert!(String::from_utf8_lossy(&run.bytes("log.txt")).contains(&expected));
    assert!(String::from_utf8_lossy(&run.bytes("status.json")).contains("\"failed\""));
}

/// An error that would happen again is not tried again, and is reported once.
#[test]
fn signals_and_mistakes_are_no_reason_to_start_over() {
    let place = TestFolder::new();
    let mut child = place.train("run", &format!("{WORDS} --restart 3 --device cpu")).spawn().expect("a start");
    let outdir = place.path("run");
    wait_for(&mut child, "a process that trains", || trainer(&outdir).is_some());
    let stats = || the_run(&outdir).file("stats.jsonl");
    wait_for(&mut child, "a record", || trainer(&outdir).is_some() && stats().exists());
    send(&child, "TERM");
    let output = child.wait_with_output().expect("the child's end");
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(143), "{text}");
    assert_eq!(text.matches("error: interrupted by SIGTERM; saved").count(), 1, "{text}");
    assert!(!text.contains("starting over"), "{text}");

    let missing = place.train("none", &format!("{WORDS} --restart 3 --data {}", place.path("nothing").display()));
    let text = stderr(&exit_with(missing, 3));
    assert_eq!(text.matches("error: ").count(), 1, "{text}");
    assert!(!text.contains("starting over"), "{text}");
    succeed(the_run(&outdir).resume("--steps 401 --restart 1"));
}

/// Ranks without the process that watches over them would train on unseen.
#[test]
fn a_process_that_watches_takes_the_others_with_it() {
    let place = TestFolder::new();
    let mut child =
        place.train("run", &format!("{} --restart 3", WORDS.replace("400", "100000"))).spawn().expect("a start");
    let outdir = place.path("run");
    wait_for(&mut child, "a process that trains", || trainer(&outdir).is_some_and(lives));
    let pid = trainer(&outdir).expect("a process");
    child.kill().expect("a kill");
    child.wait().expect("the child's end");
    let start = Instant::now();
    while the_run(&outdir).is_locked() {
        assert!(start.elapsed() < Duration::from_secs(5), "process {pid} trains on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Half of a start is refused before anything is done, whatever the command line.
#[test]
fn ranks_that_can_not_be_are_refused() {
    for (variables, words, parts) in [
        (&[("RANK", "1")][..], "train", &["started by torchrun", "RANK=1, no WORLD_SIZE"][..]),
        (
            &[("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")],
            "train --devices 0-1",
            &["rank 1 of 2 already, started by torchrun"],
        ),
        (
            &[("RANK", "1"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "1")],
            "train --restart 1",
            &["--restart needs a process that outlives the ranks"],
        ),
    ] {
        let mut command = Command::new(PROGRAM);
        command.args(words.split(' ')).envs(variables.iter().copied());
        let text = stderr(&exit_with(command, 2));
        assert!(parts.iter().all(|part| text.contains(part)), "{text}");
    }
}
