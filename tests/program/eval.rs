//! `eval` and `train --metrics` on real runs: the same figures from both, at any point of a run, and none of them changes training.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::whole_runs::{Run, TestFolder, assert_same_checkpoint, exit_with, program, stderr, stdout, succeed};

const CLASSES: u8 = 3;
/// Images of the labelled set: five epochs of steps more than the tiny one.
const COUNT: u32 = 120;

/// A place with a labelled data set, `labelled/`: a bright row for each class, on noise.
fn place() -> TestFolder {
    let place = TestFolder::new();
    let folder = place.path("labelled");
    fs::create_dir(&folder).expect("a folder");
    let mut images = vec![0, 0, 8, 3];
    [COUNT, 8, 8].iter().for_each(|size| images.extend(size.to_be_bytes()));
    let mut labels = vec![0, 0, 8, 1];
    labels.extend(COUNT.to_be_bytes());
    for i in 0..COUNT {
        let class = (i * i % 7 % u32::from(CLASSES)) as u8;
        labels.push(class);
        for at in 0..64u32 {
            let noise = ((i * 64 + at).wrapping_mul(2_654_435_761) >> 26) as u8;
            images.push(if at / 8 == 2 * u32::from(class) { 255 - noise } else { noise });
        }
    }
    fs::write(folder.join("train-images-idx3-ubyte"), images).expect("writing");
    fs::write(folder.join("train-labels-idx1-ubyte"), labels).expect("writing");
    place
}

/// With a cache of its own.
fn cached(place: &TestFolder, mut command: Command) -> Command {
    command.env("XDG_CACHE_HOME", place.path("cache"));
    command
}

fn train(place: &TestFolder, outdir: &str, words: &str) -> Command {
    let data = place.path("labelled");
    let command = place.train(outdir, &format!("quick --data {} --snap 4 --keep 0 {words}", data.display()));
    cached(place, command)
}

fn eval(place: &TestFolder, run: &Path, words: &str) -> Command {
    let mut command = program("eval");
    command.arg(run).args(words.split_whitespace()).args(["--samples", "50"]);
    cached(place, command)
}

fn object(output: &Output) -> BTreeMap<String, Value> {
    serde_json::from_str(&stdout(output)).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

fn metrics(run: &Run) -> String {
    String::from_utf8(run.bytes("metrics.jsonl")).expect("text")
}

/// The figures of `train --metrics` are those of `eval`, training has the same weights with and without them, and a resumed run has the
/// same lines.
#[test]
fn figures_of_a_run_are_the_same_whoever_measures_them() {
    let place = place();
    // Samples come from the moving average.
    let words = "--set eval.samples=50 --set generator.ema=0.9";
    let measured = "--metrics classes,dc,fcd,kid,pr,swd --eval-every 3";
    succeed(train(&place, "plain", &format!("{words} --steps 10")));
    succeed(train(&place, "measured", &format!("{words} {measured} --steps 10 --threads 1")));
    let (plain, run) = (place.run("plain"), place.run("measured"));
    let lines = metrics(&run);
    let steps: Vec<u64> =
        lines.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["step"].as_u64().unwrap()).collect();
    assert_eq!(steps, [3, 6, 9, 10]);
    for step in [4, 8, 10] {
        let ([model, optim, state], [a, b, c]) = (plain.checkpoint(step), run.checkpoint(step));
        assert_same_checkpoint(&[model, optim, state], &[a, b, c], "with metrics");
    }
    let curves = String::from_utf8(run.bytes("curves.svg")).unwrap();
    for title in ["FCD", "KID", "Precision and recall", "Density and coverage", "Classes", "SWD"] {
        assert!(curves.contains(title), "{title}");
    }

    // On another number of threads, from the checkpoint: the line is there already, and comes no second time.
    let found = object(&succeed(eval(&place, run.path(), "--json --threads 2")));
    assert_eq!(metrics(&run), lines);
    let last: BTreeMap<String, Value> = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert!(last.iter().all(|(name, value)| found[name] == *value), "{last:?} {found:?}");
    assert!(
        ["fcd", "fcd_floor", "kid", "kid_se", "precision", "recall", "density", "coverage", "modes", "swd"]
            .iter()
            .all(|name| last[*name].is_number())
    );
    assert_eq!(found["classifier_accuracy"], 1.0, "the classes are easy to tell apart");

    // An earlier step is added, and the table says what it is.
    let text = stdout(&succeed(eval(&place, run.path(), "--checkpoint 4 --metrics fcd,classes")));
    for part in [
        "000004 (step 4)",
        "50 of seeds 0 to 49",
        "right on 100.00 %",
        "fcd_floor",
        "shares of the samples by class: 0 ",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
    assert!(metrics(&run).lines().count() == 5 && metrics(&run).starts_with(&lines));

    // Stopped on the way and resumed: the same lines, but for those that somebody else added.
    succeed(train(&place, "resumed", &format!("{words} {measured} --steps 7")));
    let resumed = place.run("resumed");
    succeed(cached(&place, resumed.resume("--steps 10")));
    let of_step = |text: &str, step: u64| {
        text.lines().find(|line| line.starts_with(&format!("{{\"step\":{step},"))).map(String::from)
    };
    for step in [3, 6, 9, 10] {
        assert!(of_step(&metrics(&resumed), step).is_some());
        assert_eq!(of_step(&metrics(&resumed), step), of_step(&lines, step), "step {step}");
    }

    let mut compare = program("compare");
    compare.arg(run.path()).arg(resumed.path()).arg(plain.path()).arg("--output").arg(place.path("out"));
    let text = stdout(&succeed(compare));
    let rows: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("metrics")).take(3).collect();
    assert!(rows[0].contains("fcd") && rows[1].starts_with("#1 ") && rows[2].starts_with("#2 "), "{text}");
}

/// A checkpoint that a kill left behind a measurement: the lines behind it go, and come again.
#[test]
fn a_resume_removes_measurements_of_later_steps() {
    let place = place();
    succeed(train(&place, "runs", "--steps 8 --metrics swd --eval-every 2 --set eval.samples=16"));
    let run = place.run("runs");
    let lines = metrics(&run);
    fs::remove_dir_all(run.file("checkpoints/000008")).unwrap();
    succeed(run.resume(""));
    assert_eq!(metrics(&run), lines);
    assert_eq!(lines.lines().count(), 4);
}

/// While a run trains and afterwards: what the classifier sees, against what the generator was told.
#[test]
fn samples_are_held_against_the_class_that_was_asked_for() {
    let place = place();
    let words = "--set conditional=concatenation --metrics classes --eval-every 2 --set eval.samples=30";
    succeed(train(&place, "runs", &format!("--steps 2 {words}")));
    let run = place.run("runs");
    let lines = metrics(&run);
    let line: BTreeMap<String, Value> = serde_json::from_str(lines.lines().last().expect("a line")).expect("JSON");
    let found = object(&succeed(eval(&place, run.path(), "--metrics classes --json")));
    for figures in [line, found] {
        let share = figures.get("class_accuracy").and_then(Value::as_f64);
        assert!(share.is_some_and(|share| (0.0..=1.0).contains(&share)), "{figures:?}");
    }
}

#[test]
fn images_without_classes_have_swd_alone() {
    let place = TestFolder::new();
    let run = place.trained("runs", "quick --steps 3");
    let output = succeed(eval(&place, run.path(), ""));
    assert!(stderr(&output).contains("no classes, so only swd"), "{}", stderr(&output));
    assert!(stdout(&output).contains("swd") && !stdout(&output).contains("fcd"), "{}", stdout(&output));
    let text = stderr(&exit_with(eval(&place, run.path(), "--metrics fcd"), 3));
    assert!(text.contains("images with classes") && text.contains("--metrics swd needs none"), "{text}");
    assert!(!place.path("cache").exists());
    // The same before training begins, and no folder is left.
    exit_with(cached(&place, place.train("other", "quick --steps 3 --metrics pr")), 3);
    assert!(!place.path("other").exists());
}

/// Kept in a file, taken from it, and refused where it is damaged or of other images.
#[test]
fn a_classifier_is_kept_and_handed_over() {
    let place = place();
    succeed(train(&place, "runs", "--steps 2"));
    let run = place.run("runs");
    let (file, copy) = (place.path("classifier.safetensors"), place.path("again.safetensors"));
    let with = |file: &Path, words: &str| {
        let mut command = eval(&place, run.path(), &format!("--metrics fcd --json {words}"));
        command.arg("--classifier").arg(file);
        command
    };
    let first = succeed(with(&file, "--threads 1"));
    assert!(stderr(&first).contains("training the classifier"), "{}", stderr(&first));
    let second = succeed(with(&file, ""));
    assert!(!stderr(&second).contains("training"), "{}", stderr(&second));
    assert_eq!(object(&first), object(&second));
    succeed(with(&copy, "--threads 3"));
    assert!(fs::read(&file).unwrap() == fs::read(&copy).unwrap(), "the same bits on any number of threads");
    assert!(!place.path("cache").exists(), "a file that is named is the only one");

    // Images without classes can be measured with one that was handed over.
    let unlabelled = place.path("images-idx3-ubyte");
    succeed(with(&file, &format!("--data {}", unlabelled.display())));
    let large = place.path("large-idx3-ubyte");
    fs::write(&large, crate::whole_runs::idx(20, 12)).unwrap();
    let text = stderr(&exit_with(with(&file, &format!("--data {}", large.display())), 3));
    assert!(text.contains("images of 8×8×1, as the generator draws them"), "{text}");
    fs::copy(run.file("checkpoints/000002/model.safetensors"), &file).unwrap();
    assert!(stderr(&exit_with(with(&file, ""), 3)).contains("another safetensors file"));
    fs::write(&file, b"nothing").unwrap();
    exit_with(with(&file, ""), 3);

    // A damaged one in the cache is trained again.
    succeed(eval(&place, run.path(), "--metrics fcd"));
    let kept = fs::read_dir(place.path("cache/vgan-cuda/classifiers")).unwrap().next().unwrap().unwrap().path();
    assert!(fs::read(&kept).unwrap() == fs::read(&copy).unwrap());
    fs::write(&kept, b"nothing").unwrap();
    let output = succeed(eval(&place, run.path(), "--metrics fcd"));
    assert!(stderr(&output).contains("warning: the classifier is trained again"), "{}", stderr(&output));
    assert!(fs::read(&kept).unwrap() == fs::read(&copy).unwrap());
}

#[test]
fn what_is_not_there_is_told() {
    let place = place();
    succeed(train(&place, "runs", "--steps 2"));
    let run = place.run("runs");
    for (words, code, part) in [
        ("--metrics fdi", 2, "`fdi`"),
        ("--metrics fid", 2, "--inception FILE"),
        ("--checkpoint 7", 3, "a checkpoint of step 7"),
        ("--data nowhere", 3, "nowhere"),
        ("--seed 18446744073709551600 --metrics swd", 2, "leaves no room"),
    ] {
        let text = stderr(&exit_with(eval(&place, run.path(), words), code));
        assert!(text.contains(part), "{words}: {text}");
    }
    fs::rename(place.path("labelled"), place.path("moved")).unwrap();
    let text = stderr(&exit_with(eval(&place, run.path(), ""), 3));
    assert!(text.contains("name them with --data PATH"), "{text}");
    let moved = place.path("moved");
    let output = succeed(eval(&place, run.path(), &format!("--metrics swd --data {}", moved.display())));
    assert!(!stderr(&output).contains("other images"), "{}", stderr(&output));
    fs::remove_file(moved.join("train-labels-idx1-ubyte")).unwrap();
    let output = succeed(eval(&place, run.path(), &format!("--data {}", moved.display())));
    assert!(stderr(&output).contains("no classes"), "{}", stderr(&output));
    let output = succeed(eval(&place, run.path(), &format!("--data {}", place.path("images-idx3-ubyte").display())));
    assert!(stderr(&output).contains("compared with other images"), "{}", stderr(&output));
}

/// FID needs weights that are not there by themselves, of the right net, and statistics of as many features.
#[test]
fn fid_says_what_it_needs() {
    let place = place();
    let run = place.trained("runs", "quick --steps 2");
    let text = stderr(&exit_with(eval(&place, run.path(), "--metrics fid,swd"), 2));
    assert!(
        text.contains("fid can't be measured without the weights of Inception-v3") && text.contains("--inception FILE"),
        "{text}"
    );
    exit_with(cached(&place, place.train("other", "quick --steps 3 --metrics is")), 2);
    assert!(!place.path("other").exists());
    let model = run.file("checkpoints/000002/model.safetensors");
    let with = |words: &str| {
        let mut command = eval(&place, run.path(), words);
        command.arg("--inception").arg(&model);
        command
    };
    let text = stderr(&exit_with(with("--metrics fid"), 3));
    for part in ["`Conv2d_1a_3x3.conv.weight` of shape [32, 3, 3, 3]", "none of that name", "pytorch-fid"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let statistics = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/statistics.npz");
    let mut command = with("--metrics fid");
    command.arg("--statistics").arg(&statistics);
    let text = stderr(&exit_with(command, 3));
    assert!(text.contains("`mu` of shape [2048]") && text.contains("shape [3]"), "{text}");
    let mut command = with("--metrics swd");
    command.arg("--statistics").arg(place.path("nothing.npz"));
    // What no metric asks for is not read.
    succeed(command);
}
