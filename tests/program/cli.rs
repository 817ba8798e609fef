//! The program as its users meet it: help, exit codes, messages, and pipes.

use std::path::Path;
use std::process::{Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_vgan-cuda");

/// Runs the program on arguments that hold no spaces.
pub(crate) fn run(words: &str) -> Output {
    assert_cmd::Command::new(PROGRAM).args(words.split_whitespace()).output().expect("the program starts")
}

pub(crate) fn stdout(words: &str) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(0), "{words}: {output:?}");
    assert!(output.stderr.is_empty(), "{words}: {output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The error's text, after checking that the exit code is `code` and that standard output is empty.
pub(crate) fn failure(words: &str, code: i32) -> String {
    let output = run(words);
    assert_eq!(output.status.code(), Some(code), "{words}: {output:?}");
    assert!(output.stdout.is_empty(), "{words}: {output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

pub(crate) fn assert_contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{text}\n\nlacks: {part}");
    }
}

#[test]
fn each_command_has_help_with_its_defaults() {
    let commands = "train resume generate interpolate animate eval export import list compare report experiment trace gradcheck bench \
                    dataset settings doctor completions";
    let top = stdout("--help");
    assert_contains(&top, &commands.split(' ').collect::<Vec<_>>());
    assert_contains(&top, &["Exit codes: 0 done", "Examples:"]);
    let expected: &[(&str, &[&str])] = &[
        ("train --help", &["quick", "vgan-mnist", "gan-mnist", "vgan-cifar10", "or quick]", "[default: runs]"]),
        ("train -h", &["--data <PATH|glyphs>", "--set <KEY=VALUE>", "--dry-run", "[default: auto]", "Examples:"]),
        (
            "resume --help",
            &["<RUN|CHECKPOINT|latest>", "--steps <N>", "--minutes <M>", "--data <PATH|glyphs>", "Examples:"],
        ),
        ("list --help", &["[default: runs]", "--json", "diverged", "Examples:"]),
        (
            "generate --help",
            &["<RUN|CHECKPOINT>", "[default: 0-31]", "[default: samples]", "samples.png", "--latents <PATH>"],
        ),
        ("export --help", &["<RUN|CHECKPOINT>", "--format <FORMAT>", "- onnx:", "- discriminator:", "Examples:"]),
        (
            "import --help",
            &["<PATH>", "--strip <PREFIX>", "--prefix <PREFIX>", "Nothing in the file is executed", "Examples:"],
        ),
        ("interpolate --help", &["--frames <N>", "[default: 10", "interpolation.png]", "[default: 0-7]"]),
        (
            "compare --help",
            &["<RUN>...", "[default: compare]", "--smooth <N>", "--json", "Examples:", "last 10 records"],
        ),
        ("report --help", &["<RUN|latest>...", "--no-nearest", "--tensorboard <DIR>", "Examples:", "no network"]),
        ("animate --help", &["<RUN|latest>", "[default: training.gif]", "[default: 5]", "[default: 100]", "Examples:"]),
        ("experiment --help", &["<FILE>", "--outdir <DIR>", "--minutes <M>", "--dry-run", "Examples:", "interrupted"]),
        ("trace --help", &["--input <IN>", "--output <OUT>", "--example <PATH>", "PyTorch"]),
        ("gradcheck --help", &["--json", "--filter <TEXT>", "--only <KIND>", "[default: cpu]"]),
        ("bench --help", &["--json", "--filter <TEXT>", "[default: f32]", "[default: 200]", "Examples:"]),
        ("dataset --help", &["check", "export", "fetch"]),
        ("dataset check --help", &["--resize <N>", "--channels <N>"]),
        ("dataset export --help", &["--outdir <DIR>", "--limit <N>", "--resize <N>"]),
        ("dataset fetch --help", &["Possible values:", "- cifar10:", "[default: data]", "--mirror <URL>"]),
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
    let first =
        stdout("train vgan-cifar10 --data glyphs --resize 32 --channels 3 --batch 32 --set target_kl=0.25 --dry-run");
    assert_contains(&first, &["preset = \"vgan-cifar10\"", "batch = 32", "target_kl = 0.25", "range = \"-1..1\""]);
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), &first).expect("writing");
    let again = stdout(&format!("train --config {} --dry-run", file.path().display()));
    // The comments hold what was measured: the free memory and the speed.
    let settings = |text: &str| -> Vec<String> {
        text.lines().filter(|line| !line.starts_with("# ")).map(str::to_string).collect()
    };
    assert_eq!(settings(&first), settings(&again));
    assert!(settings(&first).len() > 40, "{first}");
}

#[test]
fn a_dry_run_tells_what_the_run_needs() {
    let text = stdout("train vgan-mnist --data glyphs --dry-run --threads 1");
    let parts = [
        "60,000 images of 28×28, grey",
        "fc.0.weight            [1024, 62]                     63,488",
        "6,640,193",
        "6,592,321",
        "weights, gradients, moments, statistics",
        "11,700 steps, an epoch has 468",
        "43.3 GFLOP a step",
        "in all on this CPU, 1 thread, f32",
    ];
    assert_contains(&text, &parts);
    assert!(!text.contains("too large") && !text.contains("encoder"), "{text}");
    let text = stdout("train vgan-mnist --data glyphs --dry-run --threads 1 --set mode=0.4");
    assert_contains(&text, &["# encoder  ", "fc.weight              [62, 6272]                    388,864"]);
    let text = stdout("train quick --set discriminator.channels=65536,65536 --dry-run --threads 1");
    assert_contains(&text, &["too large for this machine with any batch"]);
    assert_contains(&failure("train vgan-cifar10 --data glyphs --dry-run", 2), &["--resize 24 or --resize 32"]);
    assert_contains(&failure("train quick --data /nowhere/at/all --dry-run", 3), &["/nowhere/at/all"]);
    assert_contains(&stdout("train quick --dry-run --device cuda:7"), &["no estimate: device cuda:7"]);
}

/// Refused before anything is allocated, and before a run's folder is made.
#[cfg(target_os = "linux")]
#[test]
fn what_does_not_fit_into_memory_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let runs = folder.path().join("runs");
    let words = format!("train --set discriminator.channels=65536,65536 --outdir {}", runs.display());
    assert_contains(&failure(&words, 4), &["of memory, and ", "are free", "narrow the model"]);
    assert!(!runs.exists());
}

/// `[height, width]` of a PNG.
fn png_size(path: &Path) -> [u32; 2] {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("whole");
    assert_eq!(info.color_type, png::ColorType::Grayscale);
    [info.height, info.width]
}

/// The commands in the order in which a user meets them, on a net of four channels.
#[test]
fn a_run_is_trained_sampled_walked_and_resumed() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    let tiny = "--set generator.hidden=16 --set generator.channels=4,4 --set discriminator.hidden=16 \
                --set discriminator.channels=4,4 --set generator.ema=0.9 --batch 8 --threads 1 \
                --set generator_lr=5e-3 --set discriminator_lr=5e-3";
    let runs = at("runs");
    let trained = run(&format!("train {tiny} --steps 30 --snap 15 --outdir {} --desc tiny", runs.display()));
    assert_eq!(trained.status.code(), Some(0), "{trained:?}");
    let run_folder = runs.join("00000-quick-b8-tiny");
    let path = run_folder.display();
    assert_contains(&String::from_utf8_lossy(&trained.stdout), &[&format!("vgan-cuda generate {path}")]);

    let samples = at("samples");
    let seeds = format!("--seeds 0-8,12345 --outdir {}", samples.display());
    assert_contains(&stdout(&format!("generate {path} {seeds}")), &["10 samples", "000030", "samples"]);
    assert_eq!(std::fs::read_dir(&samples).expect("a folder").count(), 10);
    assert_eq!(png_size(&samples.join("seed00000.png")), [28, 28]);
    let in_company = std::fs::read(samples.join("seed12345.png")).expect("a picture");
    assert_ne!(in_company, std::fs::read(samples.join("seed00000.png")).expect("another"));

    // Alone, from the checkpoint's own folder, with other threads: the same picture. An older checkpoint: another.
    let alone = at("alone");
    for (step, same) in [(30, true), (15, false)] {
        let words = format!(
            "generate {path}/checkpoints/{step:06} --seeds 12345 --threads 2 --force --outdir {}",
            alone.display()
        );
        assert_contains(&stdout(&words), &["1 sample of"]);
        assert_eq!(std::fs::read(alone.join("seed12345.png")).expect("a picture") == in_company, same, "step {step}");
    }

    let grid = at("grid.png");
    stdout(&format!("generate {path} --seeds 0-19 --grid --output {}", grid.display()));
    assert_eq!(png_size(&grid), [3 * 28 * 3 + 2 * 2, 8 * 28 * 3 + 7 * 2]);
    // The grid of a snapshot, drawn by the run itself, is that of the seeds from 0.
    stdout(&format!("generate {path} --seeds 0-63 --grid --force --output {}", grid.display()));
    let snapshot = std::fs::read(run_folder.join("fakes000030.png")).expect("a snapshot");
    assert!(std::fs::read(&grid).expect("a grid") == snapshot);
    let output = with_closed_pipe(&format!("generate {path} --seeds 7 --outdir {}", at("piped").display()));
    assert!(output.stderr.is_empty() && output.status.code() == Some(0), "{output:?}");
    assert!(at("piped/seed0007.png").is_file());
    let walk = at("walk.png");
    let words = format!("interpolate {path} --seeds 3,1,4 --frames 10 --output {}", walk.display());
    assert_contains(&stdout(&words), &["2 rows of 10 pictures"]);
    assert_eq!(png_size(&walk), [2 * 28 * 3 + 2, 10 * 28 * 3 + 9 * 2]);

    let resumed = run(&format!("resume {path} --steps 35 --threads 1"));
    assert_eq!(resumed.status.code(), Some(0), "{resumed:?}");
    assert!(run_folder.join("checkpoints/000035/state.json").is_file());
    a_broken_checkpoint_is_passed_over(&run_folder, &at("after"));
}

/// The newest checkpoint is cut short: the run's folder still stands for the one before it, and says so; asked for by
/// name, the broken one is an error.
fn a_broken_checkpoint_is_passed_over(run_folder: &Path, outdir: &Path) {
    let model = run_folder.join("checkpoints/000035/model.safetensors");
    std::fs::write(&model, b"cut").expect("writing");
    let words = format!("generate {} --seeds 1 --outdir {}", run_folder.display(), outdir.display());
    let output = run(&words);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_contains(&String::from_utf8_lossy(&output.stdout), &["000030"]);
    assert_contains(&String::from_utf8_lossy(&output.stderr), &["passed over", "000035"]);
    let words = words.replace(" --seeds", "/checkpoints/000035 --force --seeds");
    assert_contains(&failure(&words, 3), &["model.safetensors", "as state.json says"]);

    // A data set of another size than the run's.
    let state = run_folder.join("checkpoints/000030/state.json");
    let text = std::fs::read_to_string(&state).expect("a state");
    std::fs::write(&state, text.replace("\"height\": 28", "\"height\": 32")).expect("writing");
    let message = failure(&format!("resume {} --steps 40", run_folder.display()), 3);
    assert_contains(&message, &["60000 images of 28×28×1, ", "found 60000 images of 32×28×1, ", "passed over"]);
    std::fs::write(&state, text).expect("writing");

    // Another model's settings: the checkpoint names those of its weights itself.
    let config = run_folder.join("config.toml");
    let text = std::fs::read_to_string(&config).expect("a configuration");
    std::fs::write(&config, text.replace("latent = 62", "latent = 63")).expect("writing");
    let words = format!("generate {}/checkpoints/000030 --outdir {}", run_folder.display(), outdir.display());
    let output = run(&format!("{words} --force"));
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let note = "generator.latent = 63; drawn with 62, which the checkpoint was trained with";
    assert_contains(&String::from_utf8_lossy(&output.stderr), &[note]);
}

/// Whatever GPUs the machine has: the CPU is asked for.
#[test]
fn the_cpu_trains_in_every_dtype() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (dtype, words) in [("f32", ""), ("bf16", "--dtype bf16"), ("tf32", "--set train.dtype=tf32")] {
        let runs = folder.path().join(dtype);
        let train = format!("train --device cpu --threads 1 --outdir {} --batch 4 {words}", runs.display());
        let text = stdout(&format!("{train} --dry-run"));
        assert_contains(&text, &[&format!("dtype = \"{dtype}\""), "an estimate"]);
        let done = run(&format!("{train} --steps 1"));
        assert_eq!(done.status.code(), Some(0), "{done:?}");
        assert_contains(&String::from_utf8_lossy(&done.stderr), &[&format!("(CPU, 1 thread, {dtype})")]);
    }
    assert_contains(&failure("train --set train.dtype=f16", 2), &["`f32`, `tf32`, `bf16`"]);
    assert_contains(&failure("trace --example x --set train.dtype=bf16", 2), &["train.dtype=f32"]);
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
        ("train vgan-cifar10", &["--data PATH", "dataset fetch cifar10"]),
        ("train --epochs 9223372036854775807", &["9223372036854775807 epochs of ", "too many: pass at most "]),
        ("resume", &["<RUN|CHECKPOINT|latest>"]),
        ("generate r --seeds 3-1", &["runs backwards"]),
        ("generate r --grid --outdir d", &["cannot be used with"]),
        ("generate r --output f.png", &["--grid"]),
        ("interpolate r --seeds 1", &["two seeds or more"]),
        ("interpolate r --output a.jpg", &["ends in .png, .gif, .apng or .mp4"]),
        ("compare", &["<RUN>..."]),
        ("experiment", &["<FILE>"]),
        ("train --minutes 0", &["a number above 0"]),
        ("compare r --smooth 0", &["1..=1000"]),
        ("interpolate r --seeds 0-999 --frames 1000", &["at most 65536"]),
        ("trace", &["--input <IN>"]),
        ("trace --input a", &["--output <OUT>"]),
        ("trace --example a --input b --output c", &["cannot be used with"]),
        ("gradcheck --device tpu", &["expected auto, cpu"]),
        (
            "bench --filter nothing-is-called-so",
            &["matches no pass", "activation, adam, augment, avg_pool2d, batch_norm", "linear, loss"],
        ),
        ("bench --dtype f8", &["possible values: f32, f64, tf32, bf16"]),
        ("bench --budget 0", &["1..=60000"]),
        ("bench --plan quick --batch 0", &["1..=65536"]),
        ("bench --plan quick --device cpu", &["cannot be used with"]),
        ("bench --batch 8", &["--plan"]),
        ("dataset fetch imagenet", &["possible values: mnist, "]),
        ("completions tcsh", &["possible values"]),
    ];
    for (words, parts) in cases {
        assert_contains(&failure(words, 2), parts);
    }
}

#[cfg(feature = "plan")]
#[test]
fn mistakes_in_a_plan_exit_with_2() {
    for (words, parts) in [
        ("bench --plan vgan-mnis", &["no preset `vgan-mnis`", "vgan-mnist"][..]),
        ("bench --plan quick --gpu h20", &["no GPU `h20`", "h200", "rtx4090"]),
        ("bench --plan quick --gpu v100", &["no GPU `v100`"]),
        ("bench --plan quick --gpu a100 --world 8", &["h100 and h200", "a100"]),
        ("bench --plan quick --batch 12 --world 8", &["at least 2 images for each rank", "found 12", "--batch 512"]),
        ("bench --plan quick --dtype f64", &["no f64"]),
    ] {
        assert_contains(&failure(words, 2), parts);
    }
}

#[cfg(not(feature = "plan"))]
#[test]
fn a_build_without_plans_says_how_to_have_them() {
    assert_contains(&failure("bench --plan quick", 2), &["--features plan"]);
}

#[test]
fn mistakes_in_a_file_exit_with_3() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    std::fs::write(file.path(), "[train]\nbacth = 3\n").expect("writing");
    let path = file.path().display().to_string();
    let message = failure(&format!("train --dry-run --config {path}"), 3);
    assert_contains(&message, &[&format!("error: {path}: "), "line 2, column 1", "the nearest is `train.batch`"]);
    let message = failure("generate /nowhere/at/all", 3);
    assert_contains(&message, &["error: /nowhere/at/all: expected the folder of a run", "no such folder"]);
    let message = failure("train --dry-run --config /nowhere/at/all.toml", 3);
    assert_contains(&message, &["error: /nowhere/at/all.toml: can't read the configuration"]);
    assert_eq!(message.lines().count(), 1, "the cause is told once: {message}");
}

#[test]
fn completions_know_commands_and_presets() {
    for shell in ["elvish", "powershell"] {
        assert_contains(&stdout(&format!("completions {shell}")), &["vgan-cuda", "interpolate", "dry-run"]);
    }
    // What the scripts of the others say is asked of the shells themselves, in tests/program/cases/completion.rs.
    for shell in ["bash", "fish", "zsh"] {
        assert_contains(&stdout(&format!("completions {shell}")), &["vgan-cuda", "complete --"]);
    }
}

#[test]
fn the_doctor_reports() {
    let report = stdout("doctor");
    assert_contains(
        &report,
        &["vgan-cuda", "system", "processor", "memory", "kernels", "driver", "device", std::env::consts::ARCH],
    );
    assert_contains(&report, &["--device auto takes: CPU"]);
}

/// Toolkits come with a driver library that has no functions in it.
#[cfg(target_os = "linux")]
#[test]
fn the_doctor_survives_a_driver_without_functions() {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["libcuda.so", "libcuda.so.1"] {
        let path = folder.path().join(name);
        let compiled =
            std::process::Command::new("cc").args(["-shared", "-x", "c", "/dev/null", "-o"]).arg(path).status();
        if !compiled.is_ok_and(|status| status.success()) {
            eprintln!("SKIPPED: there is no C compiler to make a driver library with");
            return;
        }
    }
    let mut command = assert_cmd::Command::new(PROGRAM);
    let output = command.arg("doctor").env("LD_LIBRARY_PATH", folder.path()).output().expect("the program starts");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_contains(&String::from_utf8_lossy(&output.stdout), &["driver     a CUDA driver library without"]);
    let note = String::from_utf8_lossy(&output.stderr);
    assert!(note.starts_with("note: computing on the CPU: ") && note.lines().count() == 1, "{note}");
}

/// Runs the program with the reading end of its standard output closed, so its first write fails.
fn with_closed_pipe(words: &str) -> Output {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = std::process::Command::new(PROGRAM);
    command.args(words.split(' ')).stdout(writer).stderr(Stdio::piped());
    command.spawn().and_then(|child| child.wait_with_output()).expect("the program runs")
}

#[test]
fn a_broken_pipe_ends_quietly() {
    for words in ["train --dry-run", "doctor", "completions zsh", "--help", "train --help", "--version"] {
        let output = with_closed_pipe(words);
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

/// Every pass with this in its size, as short as can be: what is printed, not how fast it was. That every operation has passes,
/// and that each runs, is tested in src/ops/mod.rs.
#[test]
fn the_benchmark_prints_a_row_for_each_pass() {
    for filter in ["k1024", "latent"] {
        let table = stdout(&format!("bench --device cpu --budget 1 --filter {filter}"));
        assert_contains(&table, &["device   CPU", "copy ", "fma ", "µs", "GB/s", "TFLOP/s"]);
        let rows: Vec<&str> = table.lines().skip_while(|line| !line.starts_with("op ")).skip(1).collect();
        let passes = vgan_cuda::ops::passes::<vgan_cuda::device::DryRun>();
        let expected = passes.iter().filter(|pass| pass.shape.contains(filter));
        let expected: Vec<(&str, &str)> = expected.map(|pass| (pass.op, pass.pass)).collect();
        assert_eq!(rows.len(), expected.len(), "{table}");
        for (row, (op, pass)) in rows.iter().zip(expected) {
            assert!(row.starts_with(&format!("{op} ")) && row.contains(&format!(" {pass} ")), "{row}");
            let microseconds = row.split_whitespace().rev().nth(4).and_then(|cell| cell.parse::<f64>().ok());
            assert!(microseconds.is_some_and(|time| time > 0.0), "{row}");
            assert!(row.ends_with("%  copy") || row.ends_with("%  fma"), "{row}");
        }
    }
}

#[test]
fn the_benchmark_prints_json() {
    let text = stdout("bench --device cpu --budget 1 --json --dtype f64 --filter latent");
    let lines: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names =
        |name: &str| lines.iter().map(|line| line[name].as_str().unwrap_or("-").to_string()).collect::<Vec<_>>();
    assert_eq!(names("op"), ["ceiling", "prior", "prior"]);
    assert_eq!(names("dtype"), ["-", "f64", "f64"]);
    assert_eq!(names("size"), ["-", "n64 latent62", "n64 latent100"]);
    for line in &lines[1..] {
        let number = |name: &str| line[name].as_f64().expect("a number");
        let bytes = number("gigabytes_per_second") * number("microseconds") * 1e3;
        let latent: f64 = if line["size"] == "n64 latent62" { 62.0 } else { 100.0 };
        assert!((bytes - 64.0 * 8.0 * latent).abs() < 1.0, "{line}: {bytes} bytes");
        let copied =
            number("gigabytes_per_second") / lines[0]["copy_gigabytes_per_second"].as_f64().expect("a ceiling");
        assert!((number("fraction_of_ceiling") - copied).abs() < 1e-9 && line["ceiling"] == "copy", "{line}");
    }
}
