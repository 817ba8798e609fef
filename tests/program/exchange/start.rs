//! Runs that begin with the weights of others.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use vgan_cuda::run::{Tensor, tensors};

use crate::whole_runs::{Run, TestFolder, assert_same_checkpoint, exit_with, program, stderr, stdout, succeed};

fn model(run: &Run, step: u64) -> BTreeMap<String, Tensor> {
    let tensors = tensors::read(&run.file(&format!("checkpoints/{step:06}/model.safetensors"))).expect("tensors");
    tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect()
}

fn with_init(mut command: Command, source: &Path, words: &str) -> Command {
    command.arg("--init").arg(source).args(words.split_whitespace());
    command
}

/// The tensors of `a` whose names begin with this prefix, without it.
fn part(of: &BTreeMap<String, Tensor>, prefix: &str) -> Vec<(String, Vec<f32>)> {
    let own =
        of.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?.to_string(), tensor.values.clone())));
    let own: Vec<_> = own.collect();
    assert!(own.len() > 3, "{prefix}");
    own
}

#[test]
fn a_run_begins_with_the_weights_of_another() {
    let place = TestFolder::new();
    let source = place.trained("source", "quick --steps 4 --seed 1 --set generator.ema=0.9");
    let plain = place.trained("plain", "quick --steps 1 --snap 1 --keep 0 --seed 2 --set generator.ema=0.9");
    let start = || place.train("start", "quick --steps 2 --snap 1 --keep 0 --seed 2 --set generator.ema=0.9");
    let output = succeed(with_init(start(), source.path(), ""));
    let run = place.run("start");
    assert_eq!(model(&run, 0), model(&source, 4), "all networks, their statistics and the average");
    let said = stderr(&output);
    assert!(said.contains("tensors taken: ") && said.contains(" of generator"), "{said}");
    assert!(!said.contains("not in use") && !said.contains("begins as the generator"), "{said}");
    assert!(String::from_utf8_lossy(&run.bytes("log.txt")).contains("tensors taken"));
    let record: serde_json::Value = serde_json::from_slice(&run.bytes("init.json")).expect("JSON");
    let taken = record["taken"].as_object().expect("an object");
    assert_eq!(taken.len(), model(&source, 4).len());
    assert_eq!(taken["generator.fc.0.weight"], "generator.fc.0.weight");
    assert_eq!(record["sha256"].as_str().map(str::len), Some(64));
    // The moments begin anew, as in every run.
    let moments = tensors::read(&run.file("checkpoints/000000/optim.safetensors")).expect("tensors");
    assert!(moments.iter().all(|tensor| tensor.values.iter().all(|&value| value == 0.0)));

    // Parts alone: the rest is drawn from the seed.
    let words = "quick --steps 1 --snap 1 --keep 0 --seed 2 --set generator.ema=0.9";
    let output = succeed(with_init(
        place.train("part", words),
        source.path(),
        "--init-parts generator=average,discriminator.conv",
    ));
    let run = place.run("part");
    let (found, given, fresh) = (model(&run, 0), model(&source, 4), model(&plain, 0));
    assert_eq!(part(&found, "generator."), part(&given, "average."));
    assert_eq!(part(&found, "average."), part(&given, "average."), "the average begins as the generator does");
    assert_eq!(part(&found, "discriminator.conv."), part(&given, "discriminator.conv."));
    assert_eq!(part(&found, "discriminator.fc."), part(&fresh, "discriminator.fc."));
    assert_ne!(part(&found, "discriminator.conv."), part(&fresh, "discriminator.conv."));
    assert!(stderr(&output).contains("begins as the generator does") && stderr(&output).contains("not in use"));
}

/// A resume needs the source no more, and ends with the bytes of a run that was never stopped. Neither does a run by config.toml alone
/// differ.
#[test]
fn such_a_run_resumes_to_the_bit_and_is_reproduced_by_its_configuration() {
    let place = TestFolder::new();
    let source = place.trained("source", "quick --steps 3 --seed 1");
    let words = "quick --steps 4 --snap 2 --keep 0 --seed 2";
    succeed(with_init(place.train("whole", words), source.path(), "--init-parts generator"));
    let whole = place.run("whole");
    let words = "quick --steps 2 --snap 2 --keep 0 --seed 2";
    succeed(with_init(place.train("stopped", words), source.path(), "--init-parts generator"));
    let stopped = place.run("stopped");

    let again = place.path("again");
    let mut command = program("train --config");
    command.arg(whole.file("config.toml")).arg("--outdir").arg(&again);
    succeed(command);
    assert_same_checkpoint(&place.run("again").checkpoint(4), &whole.checkpoint(4), "by config.toml");

    fs::rename(source.path(), place.path("gone")).expect("moving");
    succeed(stopped.resume("--steps 4"));
    assert_same_checkpoint(&stopped.checkpoint(4), &whole.checkpoint(4), "resumed without the source");
}

#[test]
fn weights_that_do_not_fit_are_listed_and_nothing_is_left() {
    let place = TestFolder::new();
    let source = place.trained("source", "quick --steps 1");
    let words = "quick --steps 1 --set generator.hidden=24 --set discriminator.hidden=16,8";
    let message = stderr(&exit_with(with_init(place.train("other", words), source.path(), ""), 3));
    let lines: Vec<&str> =
        message.lines().filter(|line| line.starts_with("  ") && line.contains("expected shape")).collect();
    // The first linear layer, its normalisation, and the next layer's inputs; one more layer in the discriminator.
    for line in [
        "  generator.fc.0.weight: expected shape [24, 6], found shape [16, 6]",
        "  generator.fc.1.running_var: expected shape [24], found shape [16]",
        "  generator.fc.3.weight: expected shape [32, 24], found shape [32, 16]",
        "  discriminator.fc.6.weight: expected shape [1, 8], found none",
    ] {
        assert!(lines.contains(&line), "{line} in {message}");
    }
    assert!(message.contains(&format!("found {} that are missing or have other shapes", lines.len())), "{message}");
    assert!(!place.path("other").exists(), "no folder of a run that never began");
    for (init, words, code, fragment) in [
        (source.path(), "--init-parts generator.deconv,encoder", 2, "this model has no tensor `encoder`"),
        (source.path(), "--init-parts average", 2, "its networks are discriminator, generator"),
        (source.path(), "--init-parts generator=average", 3, "(in the file `average.fc.0.weight`): expected shape"),
        (&place.path("none"), "", 3, "none: can't read"),
        (&place.path("images-idx3-ubyte"), "", 3, "images-idx3-ubyte: expected"),
        (&place.path(""), "", 3, "the folder of a run"),
    ] {
        let message = stderr(&exit_with(with_init(place.train("other", "quick --steps 1"), init, words), code));
        assert!(message.contains(fragment), "{message}");
    }
    assert!(!place.path("other").exists());
}

/// From a run to NumPy or to PyTorch's names, through `import`, and back into a run.
#[test]
fn weights_go_out_and_come_back() {
    let place = TestFolder::new();
    let source = place.trained("source", "quick --steps 2");
    let at = |name: &str| place.path(name);
    let export = |words: &str, output: &str| {
        let mut command = program("export");
        command.arg(source.path()).args(words.split_whitespace()).arg("--output").arg(at(output));
        command
    };
    let output = succeed(export("", "g.safetensors"));
    assert!(stdout(&output).starts_with("generator of ") && stdout(&output).contains("000002"), "{}", stdout(&output));
    let exported = tensors::read(&at("g.safetensors")).expect("tensors");
    let given = model(&source, 2);
    let values =
        |tensors: &[Tensor]| tensors.iter().map(|one| (one.name.clone(), one.values.clone())).collect::<Vec<_>>();
    assert_eq!(values(&exported), part(&given, "generator."));
    succeed(export("--part discriminator", "d.npz"));

    // The names of one network, or with a prefix.
    let words = "quick --steps 1 --snap 1 --keep 0 --seed 7";
    succeed(with_init(place.train("bare", words), &at("g.safetensors"), "--init-parts generator"));
    assert_eq!(part(&model(&place.run("bare"), 0), "generator."), part(&given, "generator."));
    let mut import = program("import --prefix discriminator. --output");
    import.arg(at("d.safetensors")).arg(at("d.npz"));
    let output = succeed(import);
    assert!(
        stdout(&output).contains("(NumPy)") && stdout(&output).contains("discriminator.conv.0.weight [4, 1, 4, 4]")
    );
    succeed(with_init(place.train("named", words), &at("d.safetensors"), "--init-parts discriminator"));
    assert_eq!(part(&model(&place.run("named"), 0), "discriminator."), part(&given, "discriminator."));
    let message = stderr(&exit_with(with_init(place.train("whole", words), &at("g.safetensors"), ""), 3));
    assert!(message.contains("say which: --init-parts generator"), "{message}");

    for (words, output, code, fragment) in [
        ("", "g.safetensors", 2, "is there already"),
        ("--part average", "a.safetensors", 3, "found only discriminator, generator"),
        ("--part discriminator --format onnx", "d.onnx", 2, "exports generators alone"),
        ("", "g.bin", 2, "ends in .safetensors"),
    ] {
        let message = stderr(&exit_with(export(words, output), code));
        assert!(message.contains(fragment), "{message}");
    }
}

/// `import` says what it took and what it left out, and refuses by name what it does not read.
#[test]
fn files_of_pytorchs_are_imported() {
    let place = TestFolder::new();
    let fixture = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/pickles").join(name);
    let import = |file: &str, words: &str| {
        let mut command = program("import");
        command
            .arg(fixture(file))
            .args(words.split_whitespace())
            .arg("--output")
            .arg(place.path("x.safetensors"))
            .arg("--force");
        command
    };
    let said = stdout(&succeed(import("nested.pt", "--strip generator. --prefix g.")));
    assert!(
        said.starts_with("2 of ") && said.contains("  g.weight [2, 2]") && said.contains("left out: step (a number)"),
        "{said}"
    );
    let read = tensors::read(&place.path("x.safetensors")).expect("tensors");
    assert_eq!(read.iter().map(|tensor| &tensor.name[..]).collect::<Vec<_>>(), ["g.bias", "g.weight"]);
    for (file, words, fragment) in [
        ("namespace.pt", "", "`argparse.Namespace`"),
        ("legacy.pt", "", "write it again with a newer PyTorch"),
        ("nested.pt", "--strip nothing.", "names that begin with `nothing.`"),
    ] {
        let message = stderr(&exit_with(import(file, words), 3));
        assert!(message.contains(fragment), "{message}");
    }
}
