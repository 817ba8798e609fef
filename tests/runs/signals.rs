//! SIGINT and SIGTERM: the first saves within a step, the second quits at once.

use std::process::{Child, Output};
use std::time::{Duration, Instant};

use crate::whole_runs::{PROGRAM, Run, TestFolder, assert_same_checkpoint, program, send, stderr, succeed, wait_for};

/// Waits for the child's end; returns its output and how long that took.
fn end_of(child: Child) -> (Output, Duration) {
    let start = Instant::now();
    let output = child.wait_with_output().expect("the child's end");
    (output, start.elapsed())
}

/// The command that the message tells: `… continue with `vgan-cuda resume PATH``.
fn told_command(output: &Output) -> String {
    let text = stderr(output);
    let command = text.split('`').nth(1).unwrap_or_else(|| panic!("no command in {text}")).to_string();
    command.strip_prefix("vgan-cuda ").unwrap_or_else(|| panic!("{command}")).to_string()
}

#[test]
fn the_first_signal_saves_and_tells_how_to_go_on() {
    const STEPS: u64 = 40;
    let place = TestFolder::new();
    // No snapshot but at the end: what is resumed from was saved by the signal.
    let words = format!("quick --steps {STEPS} --tick 1 --snap 1000000 --batch 40");
    // Wide enough that the signal finds it at work.
    let wide = "--set generator.channels=64,48 --set discriminator.channels=48,64 --threads 2";
    succeed(place.train_wide("straight", &format!("{words} {wide}")));
    let straight = place.run("straight");
    for (signal, code) in [("INT", 130), ("TERM", 143)] {
        let mut command = place.train_wide(signal, &format!("{words} {wide}"));
        let mut pictures = None;
        for round in 0..2 {
            let mut child = command.spawn().expect("the program starts");
            let stats = place.path(&format!("{signal}/00000-quick-b40/stats.jsonl"));
            let lines = || std::fs::read_to_string(&stats).map_or(0, |text| text.lines().count());
            let wanted = 3 + round * 12;
            wait_for(&mut child, "record", || lines() >= wanted);
            send(&child, signal);
            let (output, _) = end_of(child);
            assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
            let run = place.run(signal);
            let trained = run.records().last().expect("a record").step;
            assert_eq!(run.newest_step(), trained, "what was trained is what was saved");
            assert!(trained < STEPS, "the signal came too late to show anything");
            assert!(
                stderr(&output).contains(&format!("interrupted by SIG{signal}; saved: continue")),
                "{}",
                stderr(&output)
            );
            assert!(String::from_utf8_lossy(&run.bytes("log.txt")).contains(&format!("interrupted by SIG{signal}")));
            // No picture is due at such a step, neither now nor at the resume.
            let picture = run.file(&format!("fakes{trained:06}.png"));
            if let Some(earlier) = pictures.replace(picture) {
                assert!(!earlier.exists(), "{}", earlier.display());
            }
            command = program(&told_command(&output));
            assert_eq!(command.get_program(), PROGRAM);
        }
        succeed(command);
        let run = place.run(signal);
        assert!(pictures.is_some_and(|last| !last.exists()), "a picture of no snapshot");
        assert_same_checkpoint(&run.checkpoint(STEPS), &straight.checkpoint(STEPS), signal);
        assert_eq!(run.numbers(), straight.numbers());
    }
}

/// A run whose step takes many seconds, within its first step.
fn in_a_long_step(place: &TestFolder, outdir: &str) -> (Child, Run) {
    std::fs::write(place.path("digits"), crate::whole_runs::idx(1000, 28)).expect("writing");
    let words = format!("vgan-mnist --batch 1000 --threads 1 --steps 5 --data {}", place.path("digits").display());
    let mut child = place.train_wide(outdir, &words).spawn().expect("the program starts");
    let first = place.path(&format!("{outdir}/00000-vgan-mnist-b1000/checkpoints/latest"));
    wait_for(&mut child, "first checkpoint", || first.is_file());
    std::thread::sleep(Duration::from_millis(100));
    (child, place.run(outdir))
}

#[test]
fn a_second_signal_does_not_wait_for_a_long_step() {
    let place = TestFolder::new();
    for (outdir, signals, code) in [("int", ["INT", "INT"], 130), ("term", ["INT", "TERM"], 143)] {
        let (mut child, run) = in_a_long_step(&place, outdir);
        send(&child, signals[0]);
        std::thread::sleep(Duration::from_millis(300));
        assert!(child.try_wait().expect("a child").is_none(), "the first signal waits for the step's end");
        send(&child, signals[1]);
        let (output, time) = end_of(child);
        assert_eq!(output.status.code(), Some(code), "{}", stderr(&output));
        // Giving back the memory takes a moment; the step takes many seconds.
        assert!(time < Duration::from_secs(3), "{time:?}");
        assert!(run.records().is_empty() && run.newest_step() == 0, "the step was still under way");
    }
}

#[test]
fn a_second_signal_during_a_save_quits_and_harms_nothing() {
    let place = TestFolder::new();
    let words = "quick --steps 100000 --tick 1 --snap 1 --keep 2 --batch 8";
    let mut child = place.train_wide("run", words).spawn().expect("the program starts");
    let first = place.path("run/00000-quick-b8/checkpoints/000003");
    wait_for(&mut child, "some checkpoints", || first.is_dir());
    let run = place.run("run");
    wait_for(&mut child, "save", || run.is_saving());
    send(&child, "INT");
    send(&child, "INT");
    let (output, time) = end_of(child);
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(time < Duration::from_secs(3), "{time:?}");
    let newest = run.newest_step();
    assert!(newest >= 3);
    // Whoever goes on finds nothing in the way.
    succeed(run.resume(&format!("--steps {}", newest + 1)));
    assert_eq!(run.newest_step(), newest + 1);
}

/// The work is done: the signal has nothing left to interrupt.
#[test]
fn a_signal_during_the_last_snapshot_does_not_interrupt() {
    let place = TestFolder::new();
    let words = "quick --steps 1 --snap 1000000 --batch 8 --set discriminator.hidden=2048";
    let mut child = place.train_wide("run", words).spawn().expect("the program starts");
    let picture = place.path("run/00000-quick-b8/fakes000001.png");
    wait_for(&mut child, "last picture", || picture.is_file());
    send(&child, "INT");
    let (output, _) = end_of(child);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(crate::whole_runs::stdout(&output).starts_with("done; "), "{output:?}");
    assert_eq!(place.run("run").newest_step(), 1);
}
