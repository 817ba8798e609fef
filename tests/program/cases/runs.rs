//! Runs that move, change, go back in time, and are listed.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::whole_runs::{
    Run, TestFolder, assert_same_checkpoint, exit_with, program, send, stderr, stdout, succeed, wait_for,
};

fn text(run: &Run, name: &str) -> String {
    String::from_utf8(run.bytes(name)).expect("UTF-8")
}

/// The run in the folder `path`, which the program named itself.
fn run_at(place: &TestFolder, outdir: &str, end: &str) -> Run {
    let folders = fs::read_dir(place.path(outdir)).expect("the folder of runs").flatten();
    let found: Vec<PathBuf> =
        folders.map(|entry| entry.path()).filter(|path| path.to_string_lossy().ends_with(end)).collect();
    let [path] = &found[..] else { panic!("{end}: {found:?}") };
    Run::at(path)
}

/// All files of a folder with their bytes, to see that nothing was touched.
fn all_bytes(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).expect("a folder").flatten().map(|entry| entry.path()) {
            if path.is_dir() { folders.push(path) } else { files.push((path.clone(), fs::read(path).expect("a file"))) }
        }
    }
    files.sort();
    files
}

/// Going back in time: what the old run did from there is done again, bit for bit, in a new run that says where it came from.
#[test]
fn case_17_a_chosen_checkpoint_goes_on_in_a_new_run() {
    let place = TestFolder::new();
    let run = place.trained("runs", "quick --steps 12 --snap 4 --tick 2 --keep 0 --set generator.ema=0.9");
    let before = all_bytes(run.path());
    let mut back = program("resume");
    back.arg(run.file("checkpoints/000004"));
    let output = succeed(back);
    let new = run_at(&place, "runs", "00001-quick-b8-from000004");
    assert!(stdout(&output).contains("00001-quick-b8-from000004 --seeds"), "{}", stdout(&output));
    assert!(all_bytes(run.path()) == before, "the old run is as it was");
    for step in [8, 12] {
        let [models, optims] = [0, 1].map(|file| [&run, &new].map(|run| run.checkpoint(step)[file].clone()));
        assert!(models[0] == models[1] && optims[0] == optims[1], "step {step}");
    }
    assert_eq!(new.numbers(), run.numbers(), "the records are whole");
    for name in ["reals.png", "fakes_init.png", "fakes000004.png", "fakes000012.png"] {
        assert!(run.bytes(name) == new.bytes(name), "{name}");
    }
    let state: Value = serde_json::from_slice(&new.checkpoint(12)[2]).expect("JSON");
    assert_eq!(state["origin"]["run"], "00000-quick-b8");
    assert_eq!(state["origin"]["step"], 4);
    assert_eq!(state["origin"]["model_sha256"], run_state(&run, 4)["files"]["model.safetensors"]["sha256"]);
    assert!(
        text(&new, "log.txt").starts_with("a new run, from step 4 of 00000-quick-b8 ("),
        "{}",
        text(&new, "log.txt")
    );

    // With another setting and a word, into another folder, by the step's number; and back from there once more.
    let words = format!("--from 8 --set generator_lr=1e-5 --desc slower --outdir {}", place.path("others").display());
    succeed(run.resume(&words));
    let slower = run_at(&place, "others", "00000-quick-b8-from000008-slower");
    assert_ne!(slower.checkpoint(12)[0], run.checkpoint(12)[0]);
    assert_eq!(slower.newest().state.changes[0].step, 8);
    succeed(new.resume("--from 8"));
    run_at(&place, "runs", "00002-quick-b8-from000008");

    let message = stderr(&exit_with(run.resume("--from 5"), 3));
    for part in ["a checkpoint of step 5", "those of step 0, 4, 8, 12", "--keep 0"] {
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(fs::read_dir(place.path("runs")).expect("runs").count(), 3);
}

fn run_state(run: &Run, step: u64) -> Value {
    serde_json::from_slice(&run.checkpoint(step)[2]).expect("JSON")
}

/// Obstacles to a new run are found before there is a folder for it.
#[test]
fn case_17_a_new_run_that_can_not_be_leaves_no_folder() {
    let place = TestFolder::new();
    let run = place.trained("runs", "quick --steps 4 --snap 2 --keep 0");
    let data = place.path("images-idx3-ubyte");
    for (words, code) in [
        ("--from 2 --set generator.latent=7", 2),
        ("--from 2 --set train.batch=0", 2),
        ("--from 2 --data /nowhere/at/all", 3),
        ("--from 2 --data glyphs", 3),
        ("--desc word", 2),
    ] {
        exit_with(run.resume(words), code);
    }
    fs::rename(&data, place.path("moved")).expect("renaming");
    exit_with(run.resume("--from 2"), 3);
    fs::write(run.file("checkpoints/000002/optim.safetensors"), b"cut").expect("writing");
    let message = stderr(&exit_with(run.resume("--from 2"), 3));
    assert!(message.contains("checkpoints/000002/optim.safetensors"), "{message}");
    assert_eq!(fs::read_dir(place.path("runs")).expect("runs").count(), 1);
}

/// A checkpoint that was copied away, with its configuration in it, goes on where it lies, in a run of its own.
#[test]
fn case_17_a_copied_checkpoint_goes_on() {
    let place = TestFolder::new();
    let run = place.trained("runs", "quick --steps 4 --snap 2 --keep 0");
    let copy = place.path("my copy");
    copy_folder(&run.file("checkpoints/000002"), &copy);
    fs::copy(run.file("config.toml"), copy.join("config.toml")).expect("a copy");
    let mut command = program("resume");
    command.arg(&copy).arg("--outdir").arg(place.path("new"));
    succeed(command);
    let new = run_at(&place, "new", "00000-my-copy-from000002");
    assert!(new.checkpoint(4)[0] == run.checkpoint(4)[0]);
    assert_eq!(new.newest().state.origin.expect("an origin").run, "my copy");
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
    }
}

#[test]
fn case_16_images_that_have_moved() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 3");
    let moved = place.path("elsewhere");
    fs::rename(place.path("images-idx3-ubyte"), &moved).expect("renaming");
    let message = stderr(&exit_with(run.resume("--steps 5"), 3));
    for part in
        ["the run's 44 images, sha256 ", "nothing there", &format!("resume {} --data PATH", run.path().display())]
    {
        assert!(message.contains(part), "{message}");
    }
    // Other images, by the same number and size: both are named, and the configuration stays.
    let mut other = fs::read(&moved).expect("images");
    other[99] ^= 1;
    fs::write(place.path("other"), other).expect("writing");
    let config = text(&run, "config.toml");
    let message = stderr(&exit_with(run.resume(&format!("--steps 5 --data {}", place.path("other").display())), 3));
    let [now, then] = message.split_once(", found ").map(|(a, b)| [a, b]).expect("both");
    assert!(now.contains("44 images of 8×8×1, sha256 ") && now.contains("/other has now"), "{message}");
    assert!(then.contains("44 images of 8×8×1, sha256 ") && then.contains("--data PATH"), "{message}");
    assert_eq!(text(&run, "config.toml"), config);

    succeed(run.resume(&format!("--steps 5 --data {}", moved.display())));
    assert!(text(&run, "config.toml").contains(&format!("source = \"{}\"", moved.display())));
    assert!(text(&run, "log.txt").contains("step 3: data.source "), "{}", text(&run, "log.txt"));
    // It is the run's own from now on, and as if nothing had moved.
    succeed(run.resume("--steps 7"));
    let straight = place.trained("straight", &format!("quick --steps 7 --data {}", moved.display()));
    assert_same_checkpoint(&run.checkpoint(7), &straight.checkpoint(7), "moved");
    // Also of a run that is at its end.
    fs::rename(&moved, place.path("again")).expect("renaming");
    succeed(run.resume(&format!("--data {}", place.path("again").display())));
    assert!(text(&run, "config.toml").contains("/again\""), "{}", text(&run, "config.toml"));
}

#[test]
fn case_16_an_experiment_whose_images_have_moved() {
    let place = TestFolder::new();
    let file = place.path("two.toml");
    let nets = "settings.generator = { channels = [8, 4], hidden = [16], latent = 6 }\n\
                settings.discriminator = { channels = [4, 8], hidden = [16] }\nsettings.train = { batch = 8 }\n";
    fs::write(&file, format!("preset = \"quick\"\n{nets}[[run]]\nname = \"a\"\n[[run]]\nname = \"b\"\n"))
        .expect("writing");
    let experiment = |data: &str, steps: u64| {
        let mut command = program(&format!("experiment --steps {steps}"));
        command.arg(&file).arg("--outdir").arg(place.path("all")).arg("--data").arg(place.path(data));
        command
    };
    succeed(experiment("images-idx3-ubyte", 4));
    fs::rename(place.path("images-idx3-ubyte"), place.path("moved")).expect("renaming");
    let output = succeed(experiment("moved", 4));
    assert_eq!(stderr(&output).matches("done at step 4").count(), 2, "{}", stderr(&output));
    succeed(experiment("moved", 6));
    let config = fs::read_to_string(place.path("all/b/config.toml")).expect("a configuration");
    assert!(config.contains("/moved\"") && config.contains("steps = 6"), "{config}");
    let mut other = fs::read(place.path("moved")).expect("images");
    other[99] ^= 1;
    fs::write(place.path("other"), other).expect("writing");
    // A run that is done is held against them, too.
    let message = stderr(&exit_with(experiment("other", 6), 3));
    assert!(message.contains("/other has now, found 44 images of"), "{message}");
}

#[test]
fn case_30_a_word_is_appended_to_the_name() {
    let place = TestFolder::new();
    place.trained("runs", "gan-mnist --steps 1 --desc my_word");
    run_at(&place, "runs", "/00000-gan-mnist-b8-my_word");
}

/// `list` tells how each run stands; `latest` is the one that was trained last.
#[test]
fn runs_are_listed_and_the_latest_has_a_name() {
    let place = TestFolder::new();
    place.trained("runs", "quick --steps 3 --desc done");
    exit_with(place.train("runs", "quick --steps 9 --set generator_lr=1e30 --desc wild"), 5);
    let mut child = place.train("runs", "quick --steps 100000000 --snap 10 --desc long").spawn().expect("it starts");
    let checkpoint = place.path("runs/00002-quick-b8-long/checkpoints/000010");
    wait_for(&mut child, "a snapshot", || checkpoint.join("state.json").exists());
    let lines = || -> Vec<Value> {
        let mut command = program("list --json");
        command.arg(place.path("runs"));
        stdout(&succeed(command)).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    };
    let states = |lines: &[Value]| {
        lines.iter().map(|line| line["state"].as_str().expect("text").to_string()).collect::<Vec<_>>()
    };
    assert_eq!(states(&lines()), ["done", "diverged", "running"]);
    send(&child, "TERM");
    child.wait().expect("it ends");
    let found = lines();
    assert_eq!(states(&found), ["done", "diverged", "stopped"]);
    assert_eq!((&found[0]["step"], &found[0]["steps"], &found[0]["preset"]), (&3.into(), &3.into(), &"quick".into()));
    assert!(found[1]["message"].as_str().is_some_and(|text| text.contains("loss_d is not finite")), "{}", found[1]);
    assert!(found[0]["bytes"].as_u64().is_some_and(|bytes| bytes > 10_000) && found[0]["saved"].is_string());

    // A killed one has said nothing; one of an earlier version has no status at all; a folder may hold no checkpoint.
    let mut child = place.train("runs/experiment", "quick --steps 100000000 --snap 10").spawn().expect("it starts");
    let run = place.path("runs/experiment/00000-quick-b8");
    wait_for(&mut child, "a snapshot", || run.join("checkpoints/000010/state.json").exists());
    send(&child, "KILL");
    child.wait().expect("it ends");
    fs::remove_file(place.path("runs/00000-quick-b8-done/status.json")).expect("removing");
    fs::create_dir_all(place.path("runs/empty/checkpoints")).expect("a folder");
    fs::write(place.path("runs/empty/config.toml"), "").expect("writing");
    assert_eq!(states(&lines()), ["done", "diverged", "stopped", "empty", "stopped"]);
    let mut command = program("list");
    command.arg(place.path("runs"));
    let table = stdout(&succeed(command));
    assert!(table.starts_with("run ") && table.contains("experiment/00000-quick-b8  quick   stopped"), "{table}");
    assert!(table.contains("  3/3  "), "{table}");
    let mut command = program("list");
    command.arg(place.path("nothing"));
    assert!(stderr(&exit_with(command, 3)).contains("no such folder"));

    // The one that was killed was saved last; `latest` before the others in a folder of that name is that folder.
    let mut command = program("generate latest --seeds 0");
    command.current_dir(place.path(""));
    assert!(stdout(&succeed(command)).contains("runs/experiment/00000-quick-b8/checkpoints/"));
    let mut command = program("resume --steps 1");
    command.arg(place.path("runs/experiment/latest"));
    assert!(stderr(&succeed(command)).contains("experiment/00000-quick-b8 from step"));
    let mut command = program("resume latest --steps 1 --outdir");
    command.arg(place.path("runs/00000-quick-b8-done"));
    assert!(stderr(&succeed(command)).contains("nothing left to do at step 3"));
    let mut command = program("generate latest --seeds 0");
    command.current_dir(place.path("runs"));
    assert!(stderr(&exit_with(command, 3)).contains("a run with a checkpoint, for `latest`"));
}

#[test]
fn compare_descends_and_says_how_a_run_ended() {
    let place = TestFolder::new();
    place.trained("runs/experiment", "quick --steps 3 --desc done");
    exit_with(place.train("runs/experiment", "quick --steps 9 --set generator_lr=1e30 --desc wild"), 5);
    for folder in ["runs/experiment", "runs"] {
        let mut command = program("compare");
        command.arg(place.path(folder)).arg("--output").arg(place.path("out"));
        let text = stdout(&succeed(command));
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("00000-") || line.contains("00001-")).collect();
        assert!(rows[0].contains("00000-quick-b8-done") && rows[0].ends_with("  done"), "{text}");
        assert!(rows[1].contains("00001-quick-b8-wild") && rows[1].ends_with("  diverged at 1"), "{text}");
        assert!(text.contains("#2: step 2: loss_d is not finite (NaN); the last good"), "{text}");
    }
    let mut command = program("compare --json");
    command.arg(place.path("runs")).arg("--output").arg(place.path("out"));
    let lines: Vec<Value> =
        stdout(&succeed(command)).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!([&lines[0]["state"], &lines[1]["state"]], ["done", "diverged"]);
}
