//! Settings that change between a run and its resume, on the command line and in config.toml.

use std::fs;

use serde_json::Value;

use crate::whole_runs::{EPOCH, Run, TestFolder, assert_same_checkpoint, exit_with, program, stderr, stdout, succeed};

fn text(run: &Run, name: &str) -> String {
    String::from_utf8(run.bytes(name)).expect("UTF-8")
}

/// Edits a line of config.toml, as a user would.
fn edit(run: &Run, from: &str, to: &str) {
    let config = text(run, "config.toml");
    assert_eq!(config.matches(from).count(), 1, "{from} in {config}");
    fs::write(run.file("config.toml"), config.replace(from, to)).expect("writing");
}

fn state(run: &Run, step: u64) -> Value {
    serde_json::from_slice(&run.checkpoint(step)[2]).expect("JSON")
}

/// A setting that takes effect is reported, kept in log.txt and in state.json, and has the effect of a run with `--set`.
#[test]
fn case_07_a_setting_that_takes_effect_is_noted() {
    let place = TestFolder::new();
    let [edited, set] = ["edited", "set"].map(|outdir| place.trained(outdir, "quick --steps 4"));
    edit(&edited, "generator_lr = 0.001", "generator_lr = 0.002");
    edit(&edited, "flip = false", "flip = true");
    let config = text(&edited, "config.toml");
    let lines =
        ["step 4: data.flip false → true, from here on", "step 4: optimizer.generator_lr 0.001 → 0.002, from here on"];
    let said = stderr(&succeed(edited.resume("--steps 6")));
    succeed(set.resume("--steps 6 --set generator_lr=0.002 --set data.flip=true"));
    assert!(lines.iter().all(|line| said.contains(line)), "{said}");
    for run in [&edited, &set] {
        let log = text(run, "log.txt");
        assert!(lines.iter().all(|line| log.contains(line)), "{log}");
        let changes = &state(run, 6)["changes"];
        let expected = serde_json::json!([
            {"step": 4, "key": "data.flip", "from": false, "to": true},
            {"step": 4, "key": "optimizer.generator_lr", "from": 0.001, "to": 0.002},
        ]);
        assert_eq!(*changes, expected);
        assert_eq!(state(run, 6)["settings"]["optimizer.generator_lr"], 0.002);
        assert_eq!(text(run, "config.toml"), config.replace("steps = 4", "steps = 6"), "with `--set`, too");
    }
    assert_same_checkpoint(&edited.checkpoint(6), &set.checkpoint(6), "edited or set");
    let plain = place.trained("plain", "quick --steps 6");
    assert_ne!(plain.checkpoint(6)[0], set.checkpoint(6)[0], "it took effect");
    // The next resume has nothing to say of it, and what was noted stays.
    let said = stderr(&succeed(set.resume("--steps 7 --set generator_lr=0.002")));
    assert!(!said.contains("generator_lr"), "{said}");
    assert_eq!(state(&set, 7)["changes"], state(&set, 6)["changes"]);
    // Nothing is noted where nothing is trained.
    let said = stderr(&succeed(set.resume("--set generator_lr=0.5")));
    assert!(said.contains("nothing left to do at step 7") && !said.contains("0.5"), "{said}");
    assert!(!text(&set, "config.toml").contains("generator_lr = 0.5"));
}

/// A setting that changes the meaning of the weights is refused: in the file with exit code 3, on the command line with 2.
#[test]
fn case_07_what_changes_the_meaning_of_the_weights_is_refused() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 3");
    let (config, log) = (text(&run, "config.toml"), text(&run, "log.txt"));
    for (key, [from, to]) in [
        ("objective.loss", ["loss = \"ns\"", "loss = \"hinge\""]),
        ("generator.prior", ["prior = \"uniform\"", "prior = \"normal\""]),
        ("data.range", ["range = \"0..1\"", "range = \"-1..1\""]),
        ("discriminator.leak", ["leak = 0.2", "leak = 0.1"]),
        ("bottleneck.kl_reduction", ["kl_reduction = \"mean\"", "kl_reduction = \"sum\""]),
        ("optimizer.kind", ["kind = \"adam\"", "kind = \"rmsprop\""]),
        ("generator.latent", ["latent = 6", "latent = 7"]),
        ("generator.ema", ["ema = 0.0", "ema = 0.5"]),
        ("objective.discriminator_steps", ["discriminator_steps = 1", "discriminator_steps = 2"]),
        ("train.batch", ["batch = 8", "batch = 4"]),
    ] {
        edit(&run, from, to);
        let message = stderr(&exit_with(run.resume("--steps 5"), 3));
        let value = |line: &str| line.split_once(" = ").expect("a value").1.replace('"', "");
        for part in [
            &format!("config.toml: expected {key} = {}, as the run", value(from)),
            &format!("found {key} = {}", value(to)),
        ] {
            assert!(message.contains(part), "{message}\nlacks {part}");
        }
        fs::write(run.file("config.toml"), &config).expect("writing");
        let message = stderr(&exit_with(run.resume(&format!("--steps 5 --set {key}={}", value(to))), 2));
        let part = format!("`{key}` is {} in this run and can't become {}", value(from), value(to));
        assert!(message.contains(&part), "{message}\nlacks {part}");
    }
    // What is typed counts, also where the file asks for a third value.
    edit(&run, "leak = 0.2", "leak = 0.1");
    let message = stderr(&exit_with(run.resume("--steps 5 --set discriminator.leak=0.3"), 2));
    assert!(message.contains("`discriminator.leak` is 0.2 in this run and can't become 0.3"), "{message}");
    fs::write(run.file("config.toml"), &config).expect("writing");
    // Several at once are told at once.
    edit(&run, "leak = 0.2", "leak = 0.1");
    edit(&run, "range = \"0..1\"", "range = \"-1..1\"");
    let message = stderr(&exit_with(run.resume("--steps 5"), 3));
    assert!(message.contains("expected data.range = 0..1, discriminator.leak = 0.2, as the run"), "{message}");
    fs::write(run.file("config.toml"), &config).expect("writing");
    assert_eq!(text(&run, "log.txt"), log, "nothing was begun");
    assert_eq!(run.newest_step(), 3);
}

/// A setting of the start has no effect any more: this is reported, and the checkpoint keeps the settings that the weights really came
/// from. So does a configuration that is written anew.
#[test]
fn case_07_what_has_no_effect_is_said() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 3 --set beta=0.25 --set beta_step=0");
    edit(&run, "beta = 0.25", "beta = 0.75");
    edit(&run, "steps = 3", "steps = 4");
    for (words, step) in [("", 3), ("--steps 5", 4)] {
        assert!(text(&run, "config.toml").contains("beta = 0.75"));
        let said = stderr(&succeed(run.resume(words)));
        let line =
            format!("step {step}: bottleneck.beta 0.25 → 0.75 has no effect, for that is the initial value of beta");
        assert!(said.contains(&line) && said.contains("it is 0.25 now"), "{said}");
        assert!(text(&run, "log.txt").contains(&line));
    }
    assert!(text(&run, "config.toml").contains("beta = 0.25"));
    assert_eq!(state(&run, 5)["settings"]["bottleneck.beta"], 0.25);
    let straight = place.trained("straight", "quick --steps 5 --set beta=0.25 --set beta_step=0");
    assert_same_checkpoint(&run.checkpoint(5), &straight.checkpoint(5), "without effect");
    let said = stderr(&succeed(run.resume("--steps 6 --set bottleneck.beta=0.75")));
    assert!(said.contains("0.25 → 0.75 has no effect"), "{said}");
    assert!(text(&run, "config.toml").contains("beta = 0.25"));
}

/// The run's length and rhythm change freely, and the checkpoints stay the bytes of a run that had them from the start.
#[test]
fn case_18_length_and_rhythm_change_and_no_byte_with_them() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 4");
    let words = "--epochs 2 --set tick=1 --set train.snap=3 --set keep=0";
    let said = stderr(&succeed(run.resume(words)));
    assert!(said.contains("step 4: train.steps 4 → 0") && said.contains("step 4: train.tick 20 → 1"), "{said}");
    assert_eq!(run.newest_step(), 2 * EPOCH);
    let straight = place.trained("straight", "quick --epochs 2");
    assert_same_checkpoint(&run.checkpoint(10), &straight.checkpoint(10), "longer");
    let config = text(&run, "config.toml");
    assert!(["epochs = 2", "steps = 0", "tick = 1", "snap = 3"].iter().all(|line| config.contains(line)), "{config}");
    assert!(stderr(&exit_with(run.resume("--steps 9 --epochs 2"), 2)).contains("cannot be used with"));
    assert!(stderr(&exit_with(run.resume("--set train.tikc=2"), 2)).contains("`train.tick`"));
    assert!(stderr(&exit_with(run.resume("--set train.tick=0"), 2)).contains("train.tick"));
}

/// The hint of a run that diverged is a command; pasted into a shell, it does what it says.
#[test]
fn case_18_the_hint_after_a_nan_works_when_pasted() {
    let place = TestFolder::new();
    // The one step that is left diverges no more with a tenth of nothing.
    let words = "quick --steps 40 --snap 1 --set optimizer.generator_lr=1e30";
    let output = exit_with(place.train("my runs", words), 5);
    let message = stderr(&output);
    let run = place.run("my runs");
    let hint = message.rsplit_once("`vgan-cuda ").and_then(|(_, rest)| rest.split_once('`')).expect("a command").0;
    let other = hint.replace("generator_lr=1.0e29", "generator_lr=1.0e-4");
    assert_ne!(other, hint, "the rate is in the hint: {hint}");
    // The weights of step 1 were moved by 1e30; those before it were not.
    fs::remove_dir_all(run.file("checkpoints/000001")).expect("removing");
    let shell = |command: &str| {
        let mut shell = std::process::Command::new("sh");
        shell.arg("-c").arg(format!("{} {command}", crate::whole_runs::PROGRAM));
        shell
    };
    assert!(stderr(&exit_with(shell(hint), 5)).contains("is not finite"));
    fs::remove_dir_all(run.file("checkpoints/000001")).expect("removing");
    succeed(shell(&format!("{other} --set train.steps=5")));
    assert_eq!(run.newest_step(), 5);
    assert_eq!(state(&run, 5)["changes"][1]["key"], "optimizer.generator_lr");
}

/// Checkpoints of earlier versions say nothing of their settings: they go on as before, and so do the refusals of then.
#[test]
fn case_07_a_checkpoint_of_format_1_goes_on() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 3 --set discriminator_steps=2");
    to_format_1(&run, 3);
    edit(&run, "preset = \"quick\"\n", "");
    edit(&run, "discriminator_steps = 2", "discriminator_steps = 4");
    let message = stderr(&exit_with(run.resume("--steps 5"), 3));
    for part in ["discriminator_steps 4, as config.toml says", "48 images seen in 3 steps", "discriminator_steps = 2"] {
        assert!(message.contains(part), "{message}");
    }
    edit(&run, "discriminator_steps = 4", "discriminator_steps = 2");
    let said = stderr(&succeed(run.resume("--steps 5")));
    assert!(said.contains("does not say which settings it was trained with"), "{said}");
    let straight = place.trained("straight", "quick --steps 5 --set discriminator_steps=2");
    assert_same_checkpoint(&run.checkpoint(5), &straight.checkpoint(5), "from format 1");
}

/// Takes out of a checkpoint's state what an earlier version did not write.
pub(crate) fn to_format_1(run: &Run, step: u64) {
    let path = run.file(&format!("checkpoints/{step:06}/state.json"));
    let mut state: Value = serde_json::from_slice(&fs::read(&path).expect("a state")).expect("JSON");
    let fields = state.as_object_mut().expect("an object");
    assert!(fields.remove("settings").is_some());
    fields.insert("format".into(), 1.into());
    fs::write(path, serde_json::to_string_pretty(&state).expect("JSON")).expect("writing");
}

/// The preset is data: a configuration that is used again gives a run of its own preset, by name, state and table.
#[test]
fn case_23_a_configuration_names_its_preset() {
    let place = TestFolder::new();
    let run = place.trained("first", "gan-mnist --steps 2");
    let config = run.file("config.toml");
    assert!(text(&run, "config.toml").contains("\npreset = \"gan-mnist\"\n"));
    let train = |words: &str| {
        let mut command = program(&format!("train {words} --outdir"));
        command.arg(place.path("again")).arg("--config").arg(&config);
        command
    };
    succeed(train(""));
    let again = place.run("again");
    assert!(again.path().ends_with("00000-gan-mnist-b8"), "{}", again.path().display());
    assert_same_checkpoint(&again.checkpoint(2), &run.checkpoint(2), "again");
    assert_eq!(state(&again, 2)["preset"], "gan-mnist");
    let mut compare = program("compare");
    compare.arg(again.path()).arg("--output").arg(place.path("out"));
    assert!(stdout(&succeed(compare)).contains("00000-gan-mnist-b8  gan-mnist"));
    assert!(stdout(&succeed(train("gan-mnist --dry-run"))).contains("preset = \"gan-mnist\""));
    let message = stderr(&exit_with(train("quick"), 2));
    assert!(message.contains("the preset is quick on the command line and `gan-mnist` in "), "{message}");
    // One that was renamed since: all settings are there, and so they are enough, for `resume` and for `train`.
    edit(&run, "preset = \"gan-mnist\"", "preset = \"gan-old\"");
    edit(&run, "steps = 2", "steps = 3");
    succeed(run.resume(""));
    assert!(stdout(&succeed(train("--dry-run"))).contains("preset = \"gan-old\""));
    fs::write(&config, "preset = \"gan-old\"\n[train]\nbatch = 4\n").expect("writing");
    let message = stderr(&exit_with(train(""), 3));
    assert!(message.contains("(line 1, column 10)") && message.contains("there is no preset `gan-old`"), "{message}");
}
