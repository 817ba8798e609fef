//! Runs whose nets are told the class of an image: what is kept of the classes, what a resume does, and what samples are of.

use std::fs;
use std::path::Path;

use crate::whole_runs::{Run, TestFolder, assert_same_checkpoint, exit_with, program, stderr, stdout, succeed};
use vgan_cuda::data::{LoadOptions, load};
use vgan_cuda::device::Cpu;
use vgan_cuda::train::TrainedGenerator;

const PROJECTION: &str =
    "quick --tick 4 --snap 6 --set conditional=projection --set class_embedding=4 --set discriminator_steps=2";
/// Images of the tiny data set.
const COUNT: u8 = 44;

/// Gives the images of the tiny data set labels: each below 3, and the first one `first`.
fn label(place: &TestFolder, first: u8) {
    let classes = (0..COUNT).map(|image| if image == 0 { first } else { image / 2 % 3 });
    let bytes: Vec<u8> = [0, 0, 8, 1, 0, 0, 0, COUNT].into_iter().chain(classes).collect();
    fs::write(place.path("labels-idx1-ubyte"), bytes).expect("writing");
}

fn labelled() -> TestFolder {
    let place = TestFolder::new();
    label(&place, 0);
    place
}

/// The pixels `[N, 8, 8, 1]` of these samples.
fn drawn(place: &TestFolder, run: &Run, words: &str) -> Vec<u8> {
    let output = place.path("x.npy");
    let mut command = program(&format!("generate --force --device cpu {words} --output"));
    command.arg(&output).arg(run.path());
    succeed(command);
    fs::read(output).expect("samples")[128..].to_vec()
}

/// The classes follow the images and the draws through every cut, on any number of threads.
#[test]
fn a_resume_gives_the_same_bytes() {
    let place = labelled();
    let words = format!("{PROJECTION} --set generator.ema=0.9");
    let straight = place.trained("straight", &format!("{words} --steps 9 --threads 1"));
    let pieces = place.trained("pieces", &format!("{words} --steps 4 --threads 3"));
    succeed(pieces.resume("--steps 7 --threads 2"));
    succeed(pieces.resume("--steps 9 --threads 1"));
    assert_same_checkpoint(&pieces.checkpoint(9), &straight.checkpoint(9), "cut");
    assert!(pieces.bytes("fakes000009.png") == straight.bytes("fakes000009.png"));
    let state = straight.newest().state;
    assert_eq!(state.classes.expect("classes").names, ["0", "1", "2"]);
    assert_eq!(state.settings["nets.classes"], 3);
    let config = fs::read_to_string(straight.file("config.toml")).expect("config.toml");
    assert!(config.contains("\nclasses = 3\n"), "{config}");
}

#[test]
fn other_labels_or_none_are_refused() {
    let place = labelled();
    let run = place.trained("run", &format!("{PROJECTION} --steps 3"));
    label(&place, 1);
    let message = stderr(&exit_with(run.resume("--steps 5"), 3));
    assert!(
        message.contains("expected classes 0, 1, 2, sha256 ") && message.contains("put the labels back"),
        "{message}"
    );
    label(&place, 3);
    let message = stderr(&exit_with(run.resume("--steps 5"), 3));
    assert!(
        message.contains("images of 3 classes, as nets.classes says") && message.contains("found 4 classes"),
        "{message}"
    );
    fs::remove_file(place.path("labels-idx1-ubyte")).expect("removing");
    let message = stderr(&exit_with(run.resume("--steps 5"), 3));
    assert!(message.contains("images with classes, which nets.conditional = projection needs"), "{message}");
    let message = stderr(&exit_with(place.train("none", &format!("{PROJECTION} --steps 3")), 3));
    assert!(message.contains("a folder of its own") && !place.path("none").exists(), "{message}");
    label(&place, 0);
    succeed(run.resume("--steps 5"));
    let dry = stdout(&succeed(place.train("none", &format!("{PROJECTION} --steps 3 --dry-run"))));
    assert!(dry.contains("\nclasses = 3\n") && dry.contains("class_embedding.weight "), "{dry}");
}

/// A seed has the class that its number gives it, a class by name or number is that of all samples, and a snapshot's grid has a row for
/// each class with the same latents in each.
#[test]
fn samples_are_of_the_class_that_is_asked_for() {
    let place = labelled();
    let run = place.trained("run", "quick --steps 8 --set conditional=concatenation --set generator_lr=0.01");
    let in_turn = drawn(&place, &run, "--seeds 0-7");
    let rows: Vec<Vec<u8>> = (0..3).map(|class| drawn(&place, &run, &format!("--seeds 0-7 --class {class}"))).collect();
    assert!(rows[0] != rows[1] && rows[1] != rows[2] && rows[0] != rows[2], "the class makes a difference");
    for (seed, image) in in_turn.chunks_exact(64).enumerate() {
        assert!(image == &rows[seed % 3][seed * 64..][..64], "seed {seed}");
    }
    let grid = grid_of(&run.file("fakes000008.png"));
    for (class, row) in rows.iter().enumerate() {
        for (column, image) in row.chunks_exact(64).enumerate() {
            assert!(grid(class, column) == image, "row {class}, column {column}");
        }
    }
    let mut generator =
        TrainedGenerator::open(Cpu::<f32>::new(Some(1)).expect("threads"), run.path()).expect("a generator");
    let latents: Vec<f32> = (0..4 * 6).map(|i| (i % 7) as f32 / 7.0).collect();
    let by_library = generator.draw(&latents).expect("pictures");
    assert!(by_library == generator.draw_of(&latents, &[0, 1, 2, 0]).expect("pictures"), "in turn, from the first");
    let refused = |words: &str, run: &Run| {
        let mut command = program(&format!("{words} --device cpu"));
        command.arg(run.path()).current_dir(place.path(""));
        stderr(&exit_with(command, 2))
    };
    let message = refused("generate --class dog --outdir none", &run);
    assert!(message.contains("its number from 0 to 2, found `dog`: its classes are 0, 1, 2"), "{message}");
    let plain = place.trained("plain", "quick --steps 2");
    assert!(plain.newest().state.classes.is_none(), "labels that are there and not used");
    let message = refused("interpolate --class 0 --seeds 1,2 --output none.png", &plain);
    assert!(message.contains("was trained without classes"), "{message}");
    assert!(!place.path("none").exists() && !place.path("none.png").exists());
}

/// The images of a grid of 8×8 pixels each by row and column, from its picture: eight a row, each pixel in squares, a gap between images.
fn grid_of(picture: &Path) -> impl Fn(usize, usize) -> Vec<u8> + use<> {
    let folder = tempfile::tempdir().expect("a folder");
    fs::copy(picture, folder.path().join("grid.png")).expect("a copy");
    let loaded = load(folder.path().to_str().expect("a path"), &LoadOptions::default()).expect("a picture");
    let (width, pixels) = (loaded.width, loaded.pixels);
    // 8 images of 8 pixels and a gap of 2 between them: width = 64 scale + 14.
    let scale = (width - 14) / 64;
    move |row, column| {
        let (top, left) = (row * (8 * scale + 2), column * (8 * scale + 2));
        let pixel = |place: usize| pixels[(top + place / 8 * scale) * width + left + place % 8 * scale];
        (0..64).map(pixel).collect()
    }
}
