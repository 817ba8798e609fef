//! Signals that end a run: a closed terminal, a cluster's warning, a limit on the size of a file.

use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::whole_runs::{PROGRAM, Run, TestFolder, assert_same_checkpoint, exit_with, send, stderr, succeed, wait_for};

const ENDLESS: &str = "quick --steps 1000000 --tick 1 --snap 1000000 --threads 1";

/// Sends the signals, one after another, to a run that has begun to train, and returns how it ended.
fn ended_by(place: &TestFolder, outdir: &str, signals: &[&str]) -> (Output, Run) {
    // The tests themselves may run under `nohup`, and what that ignores stays ignored.
    let mut command = Command::new("env");
    command.arg("--default-signal=HUP,USR1,USR2,XFSZ").arg(PROGRAM).args(place.train(outdir, ENDLESS).get_args());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let stats = place.path(&format!("{outdir}/00000-quick-b8/stats.jsonl"));
    wait_for(&mut child, "record", || fs::read_to_string(&stats).is_ok_and(|text| text.lines().count() >= 3));
    signals.iter().for_each(|signal| send(&child, signal));
    let output = child.wait_with_output().expect("the child's end");
    (output, place.run(outdir))
}

#[test]
fn case_09_every_signal_that_ends_runs_saves_first() {
    let place = TestFolder::new();
    for (name, number) in [("HUP", 1), ("USR1", 10), ("USR2", 12), ("XFSZ", 25), ("INT", 2), ("TERM", 15)] {
        let (output, run) = ended_by(&place, name, &[name]);
        assert_eq!(output.status.code(), Some(128 + number), "{name}: {}", stderr(&output));
        let text = format!("interrupted by SIG{name}; saved: continue with `vgan-cuda resume");
        assert!(stderr(&output).contains(&text), "{name}: {}", stderr(&output));
        assert!(String::from_utf8_lossy(&run.bytes("log.txt")).contains(&format!("interrupted by SIG{name}")));
        let step = run.newest_step();
        assert_eq!(Some(step), run.records().last().map(|record| record.step), "{name}: what was trained is saved");
        succeed(run.resume(&format!("--steps {}", step + 2)));
        let straight = place.trained(&format!("{name}-straight"), &format!("quick --steps {} --threads 1", step + 2));
        assert_same_checkpoint(&run.checkpoint(step + 2), &straight.checkpoint(step + 2), name);
    }
}

/// A terminal that closes sends SIGHUP twice, from the kernel and from the shell; a cluster its warning, then SIGTERM.
#[test]
fn case_09_signals_that_come_in_pairs_save_all_the_same() {
    let place = TestFolder::new();
    for (outdir, signals) in [("closed", ["HUP", "HUP"]), ("cluster", ["USR1", "TERM"]), ("service", ["TERM", "HUP"])] {
        let (output, run) = ended_by(&place, outdir, &signals);
        assert!(stderr(&output).contains("saved: continue with"), "{outdir}: {output:?}");
        assert!(output.status.code().is_some_and(|code| code > 128), "{outdir}: {output:?}");
        assert_eq!(Some(run.newest_step()), run.records().last().map(|record| record.step), "{outdir}");
    }
}

/// The program by a shell that prepares something first; `words` are those of `train`.
fn by_shell(place: &TestFolder, prepare: &str, outdir: &str, words: &str) -> Command {
    let train = place.train(outdir, words);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("{prepare}; exec env --default-signal=XFSZ \"$@\""))
        .arg("sh")
        .arg(PROGRAM)
        .args(train.get_args());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

#[test]
fn case_09_a_signal_that_the_parent_ignores_stays_ignored() {
    let place = TestFolder::new();
    // As nohup(1) does it.
    let mut command = by_shell(&place, "trap '' HUP", "nohup", ENDLESS);
    let mut child = command.spawn().expect("a shell");
    let stats = place.path("nohup/00000-quick-b8/stats.jsonl");
    let records = || fs::read_to_string(&stats).map_or(0, |text| text.lines().count());
    wait_for(&mut child, "record", || records() >= 3);
    send(&child, "HUP");
    let then = records();
    wait_for(&mut child, "more records", || records() >= then + 20);
    send(&child, "TERM");
    let output = child.wait_with_output().expect("the child's end");
    assert_eq!(output.status.code(), Some(143), "{}", stderr(&output));
}

#[test]
fn case_09_a_limit_on_the_size_of_a_file_saves_and_names_the_file() {
    let place = TestFolder::new();
    let short = place.trained("short", "quick --steps 3 --tick 1 --threads 1");
    let largest_of = |folder| {
        let files = fs::read_dir(folder).expect("a folder").flatten();
        files.filter_map(|file| file.metadata().ok()).filter(|file| file.is_file()).map(|file| file.len()).max()
    };
    let folders = [short.path().to_path_buf(), short.file("checkpoints/000003")];
    let largest = folders.into_iter().filter_map(largest_of).max().expect("a file");
    // In blocks of 512 bytes, as POSIX has it and dash does it; bash takes twice as much.
    let prepare = format!("ulimit -f {}", largest / 512 + 8);
    let output = exit_with(by_shell(&place, &prepare, "limited", ENDLESS), 153);
    let text = stderr(&output);
    assert!(text.contains("stats.jsonl: can't append") && text.contains("interrupted by SIGXFSZ; saved"), "{text}");
    let run = place.run("limited");
    let step = run.newest_step();
    assert_eq!(Some(step), run.records().last().map(|record| record.step + 1), "all but the refused line is there");
    // Without the limit it goes on as if nothing had been.
    succeed(run.resume(&format!("--steps {}", step + 3)));
    assert_eq!(run.records().last().map(|record| record.step), Some(step + 3));
}

/// If a checkpoint itself meets the limit, nothing can be saved, and the error gives advice.
#[test]
fn case_09_a_limit_below_a_checkpoint_is_an_error_and_no_crash() {
    let place = TestFolder::new();
    let output = exit_with(by_shell(&place, "ulimit -f 4", "tiny", "quick --steps 3 --threads 1"), 1);
    let text = stderr(&output);
    assert!(text.contains("can't write") && text.contains("ulimit -f"), "{text}");
}

/// The real thing: a terminal that is closed under a run.
#[test]
fn case_09_a_closed_terminal_saves() {
    let place = TestFolder::new();
    let socket = place.path("tmux");
    let tmux = |words: &[&str]| Command::new("tmux").arg("-S").arg(&socket).args(words).output();
    if tmux(&["-V"]).is_err() {
        eprintln!("SKIPPED: no program `tmux` here");
        return;
    }
    let train = place.train("closed", ENDLESS);
    let mut words = vec!["-f", "/dev/null", "new-session", "-d", "-s", "run", PROGRAM];
    let arguments: Vec<String> = train.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    words.extend(arguments.iter().map(String::as_str));
    let started = tmux(&words).expect("tmux");
    assert!(started.status.success(), "{}", stderr(&started));
    let within_a_minute = |what: &str, is_there: &dyn Fn() -> bool| {
        let mut waits = 0..6000;
        while !is_there() {
            assert!(waits.next().is_some(), "no {what} within a minute");
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    let folder = place.path("closed/00000-quick-b8");
    let said = |file: &str, text: &str| fs::read_to_string(folder.join(file)).is_ok_and(|all| all.contains(text));
    within_a_minute("record", &|| said("stats.jsonl", "\"step\":3,"));
    let closed = tmux(&["kill-session", "-t", "run"]).expect("tmux");
    assert!(closed.status.success(), "{}", stderr(&closed));
    within_a_minute("word in the log", &|| said("log.txt", "interrupted by SIGHUP; saved"));
    let run = place.run("closed");
    assert_eq!(Some(run.newest_step()), run.records().last().map(|record| record.step));
}
