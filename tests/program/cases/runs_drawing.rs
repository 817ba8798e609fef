//! Drawing from checkpoints, wherever they lie, and where the pictures go.

use std::fs;
use std::path::Path;

use super::runs::copy_folder;
use super::runs_changes::to_format_1;
use crate::whole_runs::{Run, TestFolder, exit_with, program, stderr, stdout, succeed};

/// The command that draws the sample of seed 3 into a folder of this name.
fn draw(place: &TestFolder, source: &Path, name: &str) -> std::process::Command {
    let mut command = program("generate --seeds 3 --outdir");
    command.arg(place.path(name)).arg(source);
    command
}

fn sample(place: &TestFolder, name: &str) -> Vec<u8> {
    fs::read(place.path(name).join("seed0003.png")).expect("a sample")
}

fn two_checkpoints(place: &TestFolder) -> Run {
    place.trained("run", "quick --steps 8 --snap 4 --keep 0 --set generator_lr=0.01")
}

#[test]
fn case_12_a_copied_checkpoint_draws_alone() {
    let place = TestFolder::new();
    let run = two_checkpoints(&place);
    succeed(draw(&place, &run.file("checkpoints/000004"), "original"));
    let original = sample(&place, "original");
    succeed(draw(&place, run.path(), "newest"));
    assert_ne!(sample(&place, "newest"), original);
    let copy = place.path("copies/alone");
    copy_folder(&run.file("checkpoints/000004"), &copy);
    let output = succeed(draw(&place, &copy, "alone"));
    assert!(stdout(&output).contains(&format!("1 sample of {}", copy.display())), "{}", stdout(&output));
    assert!(sample(&place, "alone") == original);
    // From within, by a relative path.
    let mut command = draw(&place, Path::new("."), "within");
    command.current_dir(&copy);
    succeed(command);
    assert!(sample(&place, "within") == original);
    fs::remove_file(copy.join("optim.safetensors")).expect("removing");
    succeed(draw(&place, &copy, "without"));
    assert!(sample(&place, "without") == original);

    // One of an earlier version needs config.toml: in the folder, or beside it.
    to_format_1(&run, 4);
    fs::copy(run.file("checkpoints/000004/state.json"), copy.join("state.json")).expect("a copy");
    let message = stderr(&exit_with(draw(&place, &copy, "no"), 3));
    assert!(message.contains(&format!("error: {}: expected config.toml in the", copy.display())), "{message}");
    for (config, name) in [(copy.join("config.toml"), "inside"), (place.path("copies/config.toml"), "beside")] {
        fs::copy(run.file("config.toml"), &config).expect("a copy");
        succeed(draw(&place, &copy, name));
        fs::remove_file(config).expect("removing");
        assert!(sample(&place, name) == original, "{name}");
    }
    succeed(draw(&place, &run.file("checkpoints/000004"), "around"));
    assert!(sample(&place, "around") == original);
}

/// The checkpoint that was named is drawn from, or none.
#[test]
fn case_12_without_its_moments_a_checkpoint_draws_and_no_older_one_does() {
    let place = TestFolder::new();
    let run = two_checkpoints(&place);
    succeed(draw(&place, run.path(), "before"));
    fs::remove_file(run.file("checkpoints/000008/optim.safetensors")).expect("removing");
    for (name, source) in [("run", run.path().to_path_buf()), ("step", run.file("checkpoints/000008"))] {
        let output = succeed(draw(&place, &source, name));
        assert!(stdout(&output).contains("000008") && stderr(&output).is_empty(), "{output:?}");
        assert!(sample(&place, name) == sample(&place, "before"), "{name}");
    }
    // To go on, moments are needed: the older checkpoint has them, and that is said.
    assert!(stderr(&succeed(run.resume("--steps 5"))).contains("passed over"));
    let model = run.file("checkpoints/000008/model.safetensors");
    fs::write(&model, b"cut").expect("writing");
    let message = stderr(&exit_with(draw(&place, &run.file("checkpoints/000008"), "named"), 3));
    assert!(message.starts_with(&format!("error: {}: expected ", model.display())), "{message}");
    let output = succeed(draw(&place, run.path(), "older"));
    assert!(stdout(&output).contains("000005") && stderr(&output).contains("passed over"), "{output:?}");
    fs::remove_file(run.file("checkpoints/000008/state.json")).expect("removing");
    let message = stderr(&exit_with(draw(&place, &run.file("checkpoints/000008"), "stateless"), 3));
    assert!(message.contains("checkpoints/000008/state.json: expected a file of a checkpoint"), "{message}");
}

/// A checkpoint draws with the settings of its weights, whatever config.toml says since.
#[test]
fn case_12_an_edited_configuration_does_not_bend_the_pictures() {
    let place = TestFolder::new();
    let run = two_checkpoints(&place);
    succeed(draw(&place, run.path(), "before"));
    let config = fs::read_to_string(run.file("config.toml")).expect("a configuration");
    for (name, edited) in [
        ("range", config.replace("range = \"0..1\"", "range = \"-1..1\"")),
        ("prior", config.replace("prior = \"uniform\"", "prior = \"normal\"")),
    ] {
        assert_ne!(edited, config);
        fs::write(run.file("config.toml"), edited).expect("writing");
        let output = succeed(draw(&place, run.path(), name));
        assert!(
            stderr(&output).contains(&format!(".{name} = ")) && stderr(&output).contains("drawn with"),
            "{output:?}"
        );
        assert!(sample(&place, name) == sample(&place, "before"), "{name}");
    }
}

/// The output is a PNG in a file: nothing is written by another name or into standard output.
#[test]
fn case_15_the_name_of_a_picture_ends_in_png() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 1");
    for words in ["generate --grid --output g.jpg", "generate --grid --output g", "interpolate --output w.jpeg"] {
        let mut command = program(words);
        command.arg(run.path()).current_dir(place.path("run"));
        assert!(stderr(&exit_with(command, 2)).contains("expected a name that ends in .png"), "{words}");
    }
    for words in [
        "generate --grid --output -",
        "generate --outdir -",
        "interpolate --output -",
        "compare --output -",
        "train --outdir -",
        "experiment --outdir -",
        "resume --outdir -",
        "trace --example -",
        "trace --input x --output -",
        "dataset fetch mnist --outdir -",
    ] {
        let mut command = program(words);
        if !words.contains("trace") && !words.contains("dataset") && !words.contains("train") {
            command.arg(run.path());
        }
        command.current_dir(place.path("run"));
        let message = stderr(&exit_with(command, 2));
        assert!(
            message.contains("output to standard output is not supported") && message.contains("./-"),
            "{words}: {message}"
        );
    }
    assert_eq!(fs::read_dir(place.path("run")).expect("a folder").count(), 1, "the run alone");
}

#[test]
fn case_21_what_is_there_is_not_written_over() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 1");
    let command = |words: &str| {
        let mut command = program(words);
        command.arg(run.path()).current_dir(place.path("run"));
        command
    };
    let file = |name: &str| fs::read(place.path("run").join(name)).expect("a file");
    for (first, second, file_name, parts) in [
        (
            "generate --seeds 2-9",
            "generate --seeds 5,20-22",
            "samples/seed0005.png",
            ["samples/seed0005.png is there", "--outdir"],
        ),
        (
            "generate --seeds 0-9 --outdir b",
            "generate --seeds 0-9 --outdir b",
            "b/seed0000.png",
            ["b/seed0000.png and 9 more files", "--outdir"],
        ),
        ("generate --grid", "generate --grid --seeds 5", "samples.png", ["samples.png is there", "--output"]),
        ("interpolate", "interpolate --seeds 5,7", "interpolation.png", ["interpolation.png is there", "--output"]),
    ] {
        succeed(command(first));
        fs::write(place.path("run").join(file_name), "mine").expect("writing");
        let message = stderr(&exit_with(command(second), 2));
        assert!(parts.iter().all(|part| message.contains(part)) && message.contains("--force"), "{message}");
        assert!(file(file_name) == b"mine");
        succeed(command(&format!("{second} --force")));
        assert!(file(file_name).starts_with(b"\x89PNG"), "{file_name}");
    }
    assert!(!place.path("run/samples/seed0020.png").exists() || file("samples/seed0020.png").starts_with(b"\x89PNG"));
    // Others beside them are no obstacle.
    succeed(command("generate --seeds 100-101"));
    for name in ["in.safetensors", "out.safetensors"] {
        fs::write(place.path("run").join(name), "mine").expect("writing");
    }
    let mut trace = program("trace --example in.safetensors");
    trace.current_dir(place.path("run"));
    assert!(stderr(&exit_with(trace, 2)).contains("in.safetensors is there already"));
    let mut trace = program("trace --input in.safetensors --output out.safetensors");
    trace.current_dir(place.path("run"));
    assert!(stderr(&exit_with(trace, 2)).contains("out.safetensors is there already"));
}

#[test]
fn names_of_samples_sort_from_10000_on() {
    let place = TestFolder::new();
    let run = place.trained("run", "quick --steps 1");
    let mut command = program("generate --seeds 9998-10001 --outdir");
    command.arg(place.path("many")).arg(run.path());
    succeed(command);
    let mut names: Vec<String> = fs::read_dir(place.path("many"))
        .expect("a folder")
        .flatten()
        .map(|e| e.file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    assert_eq!(names, ["seed09998.png", "seed09999.png", "seed10000.png", "seed10001.png"]);
}
