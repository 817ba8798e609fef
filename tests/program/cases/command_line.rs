//! Hints, settings, and what commands print.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::whole_runs::{PROGRAM, TestFolder, exit_with, program, stderr, stdout, succeed};

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text}\n\nlacks: {part}");
    }
}

/// The error of a command whose words hold no spaces.
fn error(words: &str, code: i32) -> String {
    stderr(&exit_with(program(words), code))
}

/// Runs the hint in a shell, in `folder`, with the program first in the search path.
fn paste(shell: &str, hint: &str, folder: &Path) {
    let programs = Path::new(PROGRAM).parent().expect("a folder").display();
    let line = format!("PATH={programs}:$PATH; {hint}");
    let Ok(output) = Command::new(shell).args(["-c", &line]).current_dir(folder).output() else {
        eprintln!("SKIPPED: there is no {shell}");
        return;
    };
    assert!(output.status.success(), "{shell}: {hint}: {}", stderr(&output));
}

/// A name with all that a shell might take for something else, and one that looks like a flag.
#[test]
fn case_10_the_hint_of_a_finished_run_can_be_pasted() {
    for outdir in ["my runs", "it's $HOME; `x` \"y\" *", "-runs", "grün\u{1b}[31m\n"] {
        let place = TestFolder::new();
        let root = place.path("");
        fs::create_dir(root.join("work")).expect("a folder");
        // As a user types it, relative to where they are.
        let mut train = place.train("unused", "quick --steps 1");
        train.current_dir(root.join("work")).arg(format!("--outdir={outdir}"));
        let words: Vec<_> = train.get_args().map(ToOwned::to_owned).collect();
        let unused = words.iter().position(|word| word == "--outdir").expect("an outdir");
        let mut train = Command::new(PROGRAM);
        train.current_dir(root.join("work")).args(&words[..unused]).args(&words[unused + 2..]);
        let text = stdout(&succeed(train));
        let hint = text.trim_end().split_once("draw samples with: ").expect("a hint").1;
        assert_eq!(text.lines().count(), 1, "on one line: {text:?}");
        for shell in ["sh", "bash", "zsh"] {
            paste(shell, &format!("{hint} --output {shell}.png"), &root.join("work"));
        }
    }
}

#[test]
fn case_10_the_hint_of_an_interrupted_run_can_be_pasted() {
    let place = TestFolder::new();
    let mut child = place.train("my runs", "quick --steps 100000000 --tick 1").spawn().expect("the program starts");
    let records = place.path("my runs/00000-quick-b8/stats.jsonl");
    crate::whole_runs::wait_for(&mut child, "records", || fs::metadata(&records).is_ok_and(|file| file.len() > 0));
    crate::whole_runs::send(&child, "TERM");
    let text = stderr(&child.wait_with_output().expect("an end"));
    let hint = text.split('`').find(|part| part.starts_with("vgan-cuda resume ")).expect("a hint");
    assert!(hint.contains("my runs/00000-quick-b8'"), "{hint}");
    paste("sh", &format!("{hint} --steps 1"), &place.path(""));
}

#[test]
fn case_27_a_hint_names_what_is_near_and_nothing_else() {
    for (word, parts) in [
        ("gen_lr=1", &["the nearest is `optimizer.generator_lr`"][..]),
        ("learning_rate=1", &["`optimizer.discriminator_lr` and `optimizer.generator_lr`"]),
        ("train.batch_size=1", &["the nearest is `train.batch`"]),
        ("bottleneck=1", &["it is a section", "vgan-cuda settings bottleneck"]),
    ] {
        assert_contains(&error(&format!("train --set {word}"), 2), parts);
    }
    for word in ["optimizer.momentum=1", "momentum=3", "logging.wandb=true", "x=1"] {
        let text = error(&format!("train --set {word}"), 2);
        assert!(text.contains("there is no setting") && !text.contains("nearest"), "{text}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let config = folder.path().join("a.toml");
    for (text, parts, absent) in [
        ("[optim]\nbeta1 = 0.5", &["the nearest is [optimizer]"][..], "put `"),
        ("[logging]\nwandb = true", &["one of the sections"], "nearest"),
        ("[optimizer]\nlr = 1", &["`optimizer.discriminator_lr` and `optimizer.generator_lr`"], "beta"),
        ("[optimizer]\nmomentum = 1", &["a known setting"], "nearest"),
        ("batch_size = 3", &["put `batch` under [train]"], "nearest"),
        ("epsilom = 3", &["put `epsilon` under [optimizer]"], "nearest"),
        ("workers = 3", &["one of the sections"], "put `"),
    ] {
        fs::write(&config, text).expect("a file");
        let text = error(&format!("train --dry-run --config {}", config.display()), 3);
        assert_contains(&text, parts);
        assert!(!text.contains(absent), "{text}");
    }
    assert_contains(&error("settings dragn", 2), &["the nearest is `DRAGAN`"]);
}

#[test]
fn case_27_mistyped_commands_flags_and_presets() {
    assert_contains(&error("trian", 2), &["'train'"]);
    assert_contains(&error("train --sed 3", 2), &["--seed"]);
    assert_contains(&error("train vgan-mnits", 2), &["vgan-mnist", "vgan-cifar10-resnet"]);
    for word in ["stylegan", "imagenet"] {
        let text = error(&format!("train {word}"), 2);
        assert!(text.contains("quick") && !text.contains("similar"), "{text}");
    }
    assert_contains(&error("dataset fetch imagenet", 2), &["mnist", "cifar10"]);
}

#[test]
fn case_28_a_file_of_another_kind_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("my file");
    let refused = |command: &str, text: &str| {
        fs::write(&path, text).expect("a file");
        let mut given = program(command);
        given.arg(&path).arg("--dry-run");
        stderr(&exit_with(given, 3))
    };
    let experiment = fs::read_to_string("experiments/paper-cifar10.toml").expect("an experiment");
    let text = refused("train --config", &experiment);
    assert_contains(&text, &["found an experiment", &format!("vgan-cuda experiment '{}'", path.display())]);
    let settings = stdout(&succeed(program("train --dry-run --threads 1")));
    let text = refused("experiment", &settings);
    assert_contains(&text, &["the settings of one run", &format!("vgan-cuda train --config '{}'", path.display())]);
    let manifest = fs::read_to_string("Cargo.toml").expect("a manifest");
    for command in ["train --config", "experiment"] {
        assert_contains(&refused(command, &manifest), &["a Cargo.toml"]);
        assert_contains(&refused(command, "{\"train\": {\"batch\": 64}}"), &["found JSON", "TOML"]);
        assert_contains(&refused(command, "train:\n  batch: 64\n"), &["found YAML", "TOML"]);
    }
}

#[test]
fn every_setting_is_described_where_it_is_defined() {
    let text = stdout(&succeed(program("settings")));
    let lines = stdout(&succeed(program("settings --json")));
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let keys = vgan_cuda::config::known_keys();
    assert_eq!(lines.len(), keys.len());
    for key in &keys {
        assert!(text.contains(&format!("\n  {key} = ")), "{key}");
        let line = lines.iter().find(|line| line["key"] == key.as_str()).unwrap_or_else(|| panic!("{key}"));
        assert!(line["meaning"].as_str().is_some_and(|meaning| meaning.len() > 10), "{line}");
        let bounded = line["range"].is_string() || line["choices"].as_array().is_some_and(|words| !words.is_empty());
        let free = ["text", "true or false"].iter().any(|kind| line["kind"] == *kind);
        assert!(!line["default"].is_null() && (bounded || free), "{line}");
    }
    // The range that is printed is the one that is checked.
    let text = stdout(&succeed(program("settings penalty_every")));
    assert_contains(
        &text,
        &["from 1 to 65536", "of R1, R2, WGAN-GP", "Karras et al. 2020", "--set objective.penalty_every="],
    );
    assert_contains(
        &error("train --set penalty_every=65537", 2),
        &["`objective.penalty_every` must be from 1 to 65536"],
    );
    let text = stdout(&succeed(program("settings wgan-gp")));
    assert_contains(&text, &["objective.penalty =", "objective.penalty_weight =", "objective.discriminator_steps ="]);
    assert!(!text.contains("objective.clip"), "{text}");
    assert_contains(&stdout(&succeed(program("settings loss"))), &["hinge", "Miyato et al. 2018", "began"]);
    assert_contains(&stdout(&succeed(program("settings train.batch"))), &["64 in preset quick"]);
    assert_contains(&stdout(&succeed(program("train --dry-run --threads 1"))), &["# `vgan-cuda settings` explains"]);
}

#[test]
fn a_script_gets_the_outcome_as_json() {
    let place = TestFolder::new();
    let output = succeed(place.train("my runs", "quick --steps 7 --snap 3 --tick 2 --json"));
    let run = place.path("my runs/00000-quick-b8");
    let outcome = |text: &str| -> Value { serde_json::from_str(text.lines().last().expect("a line")).expect("JSON") };
    let found = outcome(&stdout(&output));
    assert_eq!(found["run"], run.to_str().expect("UTF-8"));
    assert_eq!((&found["state"], &found["step"]), (&Value::from("done"), &Value::from(7)));
    assert_eq!(found["checkpoint"], run.join("checkpoints/000007").to_str().expect("UTF-8"));
    assert!(found["seconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{found}");
    assert!(found["last"]["loss_d"].is_f64() && found["last"]["loss_g"].is_f64(), "{found}");
    paste("sh", found["sample"].as_str().expect("a command"), &place.path(""));
    let mut resume = program("resume --steps 9 --json");
    resume.arg(&run);
    assert_eq!(outcome(&stdout(&succeed(resume)))["step"], 9);
    // A mistake is told as ever: on standard error, with its exit code.
    let output = exit_with(program("train --json --batch 1"), 2);
    assert!(output.stdout.is_empty() && stderr(&output).starts_with("error: "), "{output:?}");
    let report: Value = serde_json::from_str(&stdout(&succeed(program("doctor --json")))).expect("JSON");
    assert!(report["processor"].is_string() && report["gpus"].is_array(), "{report}");
}

#[test]
fn sizes_are_for_people() {
    let text = error("train --set discriminator.channels=65536,65536", 4);
    assert_contains(&text, &["iB of memory, and "]);
    assert!(!text.contains("bytes"), "{text}");
    let text = stdout(&succeed(program("train --dry-run --threads 1")));
    assert_contains(&text, &["# disk, at most", "3 checkpoints at once", "free where the run would be"]);
    let text = stdout(&succeed(program("train --dry-run --threads 1 --steps 1000000000 --snap 1 --keep 0")));
    assert_contains(&text, &["are free on its disk", "--keep N"]);
}

#[test]
fn a_filter_that_matches_nothing_names_each_operation_once() {
    let text = error("gradcheck --filter nosuch", 2);
    let names = text.split("operations are ").nth(1).expect("a list").trim_end();
    let names: Vec<&str> = names.split(", ").collect();
    let mut once = names.clone();
    once.sort_unstable();
    once.dedup();
    assert!(names.len() > 10 && once.len() == names.len(), "{text}");
}
