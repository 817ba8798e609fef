//! Whole runs on a disk that is full or forbidden, in folders that are not what they should be, and with readers that
//! go away: an error that says why, and the old checkpoint still loads.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::whole_runs::{
    PROGRAM, TestFolder, assert_same_checkpoint, exit_with, program, send, stderr, stdout, succeed, wait_for,
};

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text}\n\nlacks: {part}");
    }
}

/// A shell command, with the program as $0 and further arguments from $1.
fn shell(script: &str, arguments: &[&Path]) -> std::process::Output {
    let output = Command::new("bash").args(["-c", script, PROGRAM]).args(arguments).output().expect("a shell");
    assert!(!stderr(&output).contains("panicked"), "{}", stderr(&output));
    output
}

#[test]
fn readers_may_go_away() {
    let place = TestFolder::new();
    let words = format!("train quick --steps 30 --tick 1 {}", crate::whole_runs::TINY);
    let (data, outdir) = (place.path("images-idx3-ubyte"), place.path("runs"));
    let script = format!(r#""$0" {words} --data "$1" --outdir "$2" 2>&1 | head -3; echo "code ${{PIPESTATUS[0]}}""#);
    let output = shell(&script, &[&data, &outdir]);
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.ends_with("code 0\n"), "{text}");
    assert!(output.stderr.is_empty(), "{}", stderr(&output));
    assert_eq!(place.run("runs").newest_step(), 30, "training goes on without a reader");

    for words in ["train --dry-run", "gradcheck", "dataset check glyphs", "doctor"] {
        let output = shell(&format!(r#""$0" {words} | head -n 0; echo "code ${{PIPESTATUS[0]}}""#), &[]);
        assert!(output.stderr.is_empty(), "{words}: {}", stderr(&output));
        assert_eq!(stdout(&output), "code 0\n", "{words}");
    }
}

/// A limit on the size of files makes a write fail midway, as a full disk does.
#[test]
fn a_full_disk_stops_the_run_and_keeps_the_old_checkpoint() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 4 --snap 2 --set discriminator.hidden=128");
    let before = run.checkpoint(4);
    assert!(before[0].len() > 16 << 10, "the limit would not be met");
    // 16 blocks of 1024 bytes. The signal would kill the process before the write could fail.
    let output = shell(r#"trap '' XFSZ; ulimit -f 16; exec "$0" resume "$1" --steps 8"#, &[run.path()]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_contains(&stderr(&output), &["error: ", "can't write", "bytes are needed", "raise the limit"]);
    assert_same_checkpoint(&run.checkpoint(4), &before, "the old checkpoint");
    assert_eq!(run.newest_step(), 4);
    succeed(run.resume(""));
    let straight = place.trained("straight", "quick --steps 8 --set discriminator.hidden=128");
    assert_same_checkpoint(&run.checkpoint(8), &straight.checkpoint(8), "after the disk had room again");
    assert!(!run.is_saving(), "the half-written checkpoint is cleared away");
}

/// A file system of its own that fills up, where this user may mount one.
#[test]
fn a_file_system_that_fills_up_keeps_the_old_checkpoint() {
    let place = TestFolder::new();
    let small = place.path("small");
    fs::create_dir(&small).expect("a folder");
    let script = r#"mount -t tmpfs -o size=300k tmpfs "$1" 2>/dev/null || { echo SKIPPED; exit 0; }
        "$0" train quick --steps 500 --snap 1 --keep 0 --data "$2" --outdir "$1/runs" $3; code=$?
        rm -rf "$4"; cp -r "$1/runs" "$4"; umount "$1"; exit $code"#;
    let (data, copy) = (place.path("images-idx3-ubyte"), place.path("copy"));
    let output = shell(script, &[&small, &data, Path::new(crate::whole_runs::TINY), &copy]);
    if stdout(&output) == "SKIPPED\n" {
        eprintln!("SKIPPED: this user may not mount a file system");
        return;
    }
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = stderr(&output);
    assert_contains(text.lines().last().unwrap_or_default(), &["No space left on device"]);
    let run = place.run("copy");
    let newest = run.newest_step();
    assert!((1..500).contains(&newest), "{newest}");
    succeed(run.resume(&format!("--steps {}", newest + 2)));
    assert_eq!(run.newest_step(), newest + 2);
}

#[test]
fn folders_that_can_not_be_used() {
    let place = TestFolder::new();
    fs::write(place.path("file"), "text").expect("writing");
    let text = stderr(&exit_with(place.train("file", "quick --steps 1"), 1));
    assert_contains(&text, &["error: ", "/file: can't create the folder"]);
    assert_eq!(text.lines().count(), 1, "{text}");

    let closed = place.path("closed");
    fs::create_dir(&closed).expect("a folder");
    let mut permissions = fs::metadata(&closed).expect("a folder").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&closed, permissions).expect("permissions");
    if fs::write(closed.join("probe"), "").is_ok() {
        eprintln!("SKIPPED: this user may write into read-only folders");
    } else {
        let text = stderr(&exit_with(place.train("closed", "quick --steps 1"), 1));
        assert_contains(&text, &["error: ", "/closed/00000-quick-b8: can't create the folder", "denied"]);
    }

    let text = stderr(&exit_with(program("resume /nowhere/at/all"), 3));
    assert_contains(&text, &["error: /nowhere/at/all: expected the folder of a run", "found no such folder"]);
}

/// Damage that a user may do to a run's folder, and the answer of `resume`.
#[test]
fn folders_that_are_not_what_they_should_be() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 3 --keep 0");
    let config = String::from_utf8(run.bytes("config.toml")).expect("UTF-8");
    let resumed = |code: i32| stderr(&exit_with(run.resume("--steps 9"), code));
    // As a killed run leaves it: with a record of a step that no checkpoint has.
    let stats = String::from_utf8(run.bytes("stats.jsonl")).expect("UTF-8");
    let stats = format!("{stats}{}", stats.replace("\"step\":3,", "\"step\":4,"));
    fs::write(run.file("stats.jsonl"), &stats).expect("writing");
    let edited = |from: &str, to: &str| {
        assert!(config.contains(from), "{config}");
        fs::write(run.file("config.toml"), config.replace(from, to)).expect("writing");
    };

    fs::remove_file(run.file("config.toml")).expect("removing");
    assert_contains(&resumed(3), &["expected the folder of a run", "found a folder without config.toml"]);
    edited("channels = [8, 4]", "channels = [8, 5]");
    let message = resumed(3);
    assert_contains(&message, &["config.toml: expected generator.channels = [8, 4], as the run was trained with"]);
    assert_contains(&message, &["found generator.channels = [8, 5]: write it back", "checkpoints/000003)"]);
    edited("ema = 0.0", "ema = 0.5");
    assert_contains(&resumed(3), &["expected generator.ema = 0.0", "found generator.ema = 0.5", "holds that average"]);
    edited("enabled = true", "enabled = false");
    assert_contains(&resumed(3), &["expected bottleneck.enabled = true"]);
    edited("batch = 8", "batch = eight");
    assert_contains(&resumed(3), &["config.toml"]);
    edited("batch = 8", "batch = 4096");
    assert_contains(&resumed(3), &["expected train.batch = 8", "found train.batch = 4096"]);
    edited("batch = 8", "batch = 9");
    assert_contains(&resumed(3), &["expected train.batch = 8", "found train.batch = 9"]);
    edited("seed = 0", "seed = 1");
    assert_contains(&resumed(3), &["train.seed = 0, as the run was trained with", "train.seed = 1: write it back"]);
    fs::write(run.file("config.toml"), &config).expect("writing");

    // Another data set at the same place: more images, others of the same number, others of another size.
    let data = place.path("images-idx3-ubyte");
    let images = fs::read(&data).expect("reading");
    let mut changed = images.clone();
    changed[1000] ^= 1;
    for (other, found) in [(crate::whole_runs::idx(45, 8), "45 images of 8×8×1"), (changed, "44 images of 8×8×1")] {
        fs::write(&data, other).expect("writing");
        let message = resumed(3);
        assert_contains(&message, &[found, "images-idx3-ubyte has now, found 44 images of 8×8×1, sha256 "]);
        assert_contains(
            &message,
            &["the run began with other images: pass those with `resume RUN --data PATH`, or start a new run"],
        );
    }
    fs::write(&data, images).expect("writing");
    assert_eq!(run.bytes("stats.jsonl"), stats.as_bytes(), "a resume that fails takes no record away");

    // Another preset's checkpoint, newer than its own.
    let other = place.trained("other", "gan-mnist --steps 5");
    let (from, to) = (other.file("checkpoints/000005"), run.file("checkpoints/000005"));
    fs::create_dir(&to).expect("a folder");
    for entry in fs::read_dir(from).expect("a checkpoint").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("copying");
    }
    assert_contains(&resumed(3), &["expected bottleneck.enabled = false", "the checkpoint is ", "checkpoints/000005)"]);
    fs::remove_dir_all(&to).expect("removing");

    // A flipped bit in the newest one: the one before it is taken, and it says so.
    let path = run.file("checkpoints/000003/optim.safetensors");
    let mut bytes = fs::read(&path).expect("reading");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&path, bytes).expect("writing");
    let text = stderr(&succeed(run.resume("")));
    assert_contains(&text, &["passed over: ", "checkpoints/000003/optim.safetensors: ", "from step 0"]);
    assert_eq!(text.matches("passed over").count(), 1, "{text}");
    assert_eq!(run.newest_step(), 3);

    // The data set is gone, or smaller than a batch.
    fs::remove_file(place.path("images-idx3-ubyte")).expect("removing");
    assert_contains(&resumed(3), &["images-idx3-ubyte"]);
}

#[test]
fn a_run_has_one_process() {
    let place = TestFolder::new();
    let mut child = place.train("run", "quick --steps 1000000 --snap 1000000 --tick 1000").spawn().expect("a start");
    let stats = place.path("run/00000-quick-b8/stats.jsonl");
    wait_for(&mut child, "record", || fs::metadata(&stats).is_ok_and(|meta| meta.len() > 0));
    let run = place.run("run");
    let text = stderr(&exit_with(run.resume(""), 2));
    assert_contains(&text, &[&format!("another process (pid {}) is training in this folder", child.id())]);
    send(&child, "TERM");
    assert_eq!(child.wait_with_output().expect("the child's end").status.code(), Some(143));
    let reached = run.newest_step();
    succeed(run.resume(&format!("--steps {}", reached + 1)));
}

/// A picture that can't be written stops the run, but costs no step; the next start draws it.
#[test]
fn a_picture_that_can_not_be_written_costs_no_step() {
    let place = TestFolder::new();
    let words = "quick --snap 4 --tick 2 --set train.steps=8";
    let straight = place.trained("straight", words);
    let run = place.trained("run", &format!("{words} --set train.steps=2"));
    let picture = run.file("fakes000004.png");
    fs::create_dir_all(picture.join("in the way")).expect("a folder");
    let text = stderr(&exit_with(run.resume("--steps 8"), 1));
    assert_contains(text.lines().last().unwrap_or_default(), &["error: ", "fakes000004.png: can't "]);
    assert_eq!(run.newest_step(), 4);
    fs::remove_dir_all(&picture).expect("removing");
    succeed(run.resume(""));
    assert_eq!(run.bytes("fakes000004.png"), straight.bytes("fakes000004.png"));
    assert_same_checkpoint(&run.checkpoint(8), &straight.checkpoint(8), "after the picture");
}

/// Files that nothing depends on must not stop a resume, and half-written files of a killed start are removed.
#[test]
fn a_damaged_env_json_and_stale_temporaries() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 2");
    fs::write(run.file("env.json"), "{").expect("writing");
    for name in [".tmp-curves.svg-1-0", ".tmp-notes"] {
        fs::write(run.file(name), "").expect("writing");
    }
    let text = stderr(&succeed(run.resume("--steps 3")));
    assert_contains(&text, &["warning: ", "env.json: expected a JSON list", "move the file away"]);
    assert_eq!(run.bytes("env.json"), b"{");
    assert!(!run.file(".tmp-curves.svg-1-0").exists(), "a stale temporary is cleared away");
    assert!(run.file(".tmp-notes").exists(), "a file of another name is the user's");
}

#[test]
fn the_log_has_what_was_said() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 2 --keep 0");
    fs::write(run.file("checkpoints/000002/state.json"), "{").expect("writing");
    succeed(run.resume(""));
    succeed(run.resume(""));
    let log = String::from_utf8(run.bytes("log.txt")).expect("UTF-8");
    let starts = ["quick on ", "passed over: ", " from step 0 (", "nothing left to do at step 2; "];
    assert_contains(&log, &starts);
    assert_eq!(log.matches("done; draw samples with: vgan-cuda generate ").count(), 3, "{log}");
}
