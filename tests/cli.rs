//! The program as its users meet it: help, exit codes, messages, and pipes.

use std::process::{Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vgan-cuda");

/// Runs the program on arguments that hold no spaces.
fn run(words: &str) -> Output {
    assert_cmd::Command::new(PROGRAM).args(words.split_whitespace()).output().expect("the program starts")
}

fn stdout(words: &str) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(0), "{words}: {output:?}");
    assert!(output.stderr.is_empty(), "{words}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The error's text, after checking that the exit code is `code` and that standard output is empty.
fn failure(words: &str, code: i32) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(code), "{words}: {output:?}");
    assert!(output.stdout.is_empty(), "{words}: {output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text}\n\nlacks: {part}");
    }
}

#[test]
fn each_command_has_help_with_its_defaults() {
    let commands = "train resume generate interpolate trace gradcheck dataset doctor completions";
    let top = stdout("--help");
    assert_contains(&top, &commands.split(' ').collect::<Vec<_>>());
    assert_contains(&top, &["Exit codes: 0 done", "Examples:"]);
    let expected: &[(&str, &[&str])] = &[
        ("train --help", &["quick", "vgan-mnist", "gan-mnist", "vgan-cifar10", "[default: quick]", "[default: runs]"]),
        ("train -h", &["--data <PATH|glyphs>", "--set <KEY=VALUE>", "--dry-run", "[default: auto]", "Examples:"]),
        ("resume --help", &["<RUN>", "--steps <N>", "Examples:"]),
        ("generate --help", &["<RUN|CHECKPOINT>", "[default: 0-31]", "[default: samples]", "[default: samples.png]"]),
        ("interpolate --help", &["--frames <N>", "[default: 10]", "[default: interpolation.png]", "[default: 0-7]"]),
        ("trace --help", &["--input <IN>", "--output <OUT>", "--example <PATH>", "PyTorch"]),
        ("gradcheck --help", &["--json", "--filter <TEXT>", "[default: cpu]"]),
        ("dataset --help", &["check", "fetch"]),
        ("dataset check --help", &["--resize <N>", "--channels <N>"]),
        ("dataset fetch --help", &["mnist", "fashion-mnist", "cifar10", "[default: data]"]),
        ("doctor --help", &["processor"]),
        ("completions --help", &["bash", "fish", "zsh"]),
    ];
    for (words, parts) in expected {
        let help = stdout(words);
        assert_contains(&help, parts);
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
    }
    assert_contains(&stdout("--version"), &["vgan-cuda 0."]);
}

#[test]
fn a_dry_run_prints_a_file_that_gives_the_same_settings() {
    let first = stdout("train vgan-cifar10 --data glyphs --batch 32 --set target_kl=0.25 --dry-run");
    assert_contains(&first, &["vgan-cuda train vgan-cifar10", "batch = 32", "target_kl = 0.25", "range = \"-1..1\""]);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &first).expect("writing");
    let again = stdout(&format!("train vgan-cifar10 --config {} --dry-run", file.path().display()));
    assert_eq!(first, again);
}

#[test]
fn mistakes_on_the_command_line_exit_with_2() {
    let cases: &[(&str, &[&str])] = &[
        ("", &["Usage:"]),
        ("trian", &["unrecognized subcommand", "'train'"]),
        ("train vgan-mnst", &["invalid value", "'vgan-mnist'"]),
        ("train --bacth 3", &["unexpected argument", "--batch"]),
        ("train --set train.bacth=3", &["error: --set train.bacth=3", "the nearest is `train.batch`"]),
        ("train --set channels=3", &["several sections", "`generator.channels`"]),
        ("train --set train.batch=many", &["expected a whole number", "found the text `many`"]),
        ("train --set train.batch", &["expected section.key=value"]),
        ("train --batch 1", &["`train.batch` must be from 2 (batch normalisation"]),
        ("train --steps 3 --epochs 2", &["cannot be used with"]),
        ("train --device gpu", &["expected auto, cpu, cuda or cuda:N"]),
        ("train --threads 0", &["from 1 to 1024"]),
        ("train --channels 2", &["possible values: 1, 3"]),
        ("train --desc a/b", &["letters, digits"]),
        ("train vgan-mnist", &["--data PATH", "dataset fetch mnist", "--data glyphs"]),
        ("resume", &["<RUN>"]),
        ("generate r --seeds 3-1", &["runs backwards"]),
        ("generate r --grid --outdir d", &["cannot be used with"]),
        ("generate r --output f.png", &["--grid"]),
        ("interpolate r --seeds 1", &["two seeds or more"]),
        ("interpolate r --output a.gif", &["ends in .png"]),
        ("trace", &["--input <IN>"]),
        ("trace --input a", &["--output <OUT>"]),
        ("trace --example a --input b --output c", &["cannot be used with"]),
        ("gradcheck --device tpu", &["expected auto, cpu"]),
        ("dataset fetch imagenet", &["possible values: mnist, fashion-mnist, cifar10"]),
        ("completions tcsh", &["possible values"]),
    ];
    for (words, parts) in cases {
        assert_contains(&failure(words, 2), parts);
    }
}

#[test]
fn mistakes_in_a_file_exit_with_3() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "[train]\nbacth = 3\n").expect("writing");
    let path = file.path().display().to_string();
    let message = failure(&format!("train --dry-run --config {path}"), 3);
    assert_contains(&message, &[&format!("error: {path}: "), "line 2, column 1", "the nearest is `train.batch`"]);
    let message = failure("train --dry-run --config /nowhere/at/all.toml", 3);
    assert_contains(&message, &["error: /nowhere/at/all.toml: can't read the configuration"]);
    assert_eq!(message.lines().count(), 1, "the cause is told once: {message}");
}

#[test]
fn completions_know_commands_and_presets() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        assert_contains(&stdout(&format!("completions {shell}")), &["vgan-cuda", "interpolate", "dry-run"]);
    }
    assert_contains(&stdout("completions bash"), &["vgan-cifar10"]);
}

#[test]
fn the_doctor_reports() {
    let report = stdout("doctor");
    assert_contains(&report, &["vgan-cuda", "system", "processor", "memory", std::env::consts::ARCH]);
}

/// The reading end of the pipe is closed before the program starts, so its first write fails.
#[test]
fn a_broken_pipe_ends_quietly() {
    for words in ["train --dry-run", "doctor", "completions zsh", "--help", "train --help", "--version"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = std::process::Command::new(PROGRAM);
        command.args(words.split(' ')).stdout(writer).stderr(Stdio::piped());
        let output = command.spawn().and_then(|child| child.wait_with_output()).expect("the program runs");
        assert!(output.stderr.is_empty() && output.status.code() == Some(0), "{words}: {output:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_an_error() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let mut command = std::process::Command::new(PROGRAM);
    let output = command.arg("doctor").stdout(full).stderr(Stdio::piped()).output().expect("the program runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_contains(&String::from_utf8_lossy(&output.stderr), &["error: standard output: can't write"]);
}

#[test]
fn a_closed_standard_error_does_not_panic() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = std::process::Command::new(PROGRAM);
    let status = command.args(["train", "--batch", "1"]).stderr(writer).status().expect("the program runs");
    assert_eq!(status.code(), Some(2));
}
