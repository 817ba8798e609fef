//! Data sets: which files are taken, what is left out, and what is said of it.

use std::path::Path;
use std::process::Command;

use crate::data_samples::{cifar, flat_grey, gz, idx, png, tar, write};
use serde_json::Value;
use tempfile::{TempDir, tempdir};
use vgan_cuda::data::{CheckReport, Images, LoadOptions, Reason, check, load};

use crate::whole_runs::{PROGRAM, TestFolder, exit_with, idx as noise, program, stderr, stdout, succeed};

/// Nets for images of 8×8, and two images a step.
pub(crate) const TINY: &str = "--batch 2 --steps 1 --threads 1 --set generator.channels=8,4 --set generator.hidden=16 \
                               --set generator.latent=6 --set discriminator.channels=4,8 --set discriminator.hidden=16";

pub(crate) fn images(path: &Path) -> Images {
    load(path.to_str().expect("a plain path"), &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"))
}

/// The report of `check`, after a comparison with the images that `train` reads: they must agree on everything.
pub(crate) fn agreed(path: &Path) -> CheckReport {
    let images = images(path);
    let report = check(path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{error}"));
    assert!(report.is_ready(), "{report}");
    assert_eq!(report.images, images.count, "{}: check counts what train reads\n{report}", path.display());
    assert_eq!(report.report, images.report, "{}", path.display());
    report
}

/// The command that trains a step on the data at `path`.
pub(crate) fn train(path: &Path, outdir: &Path) -> Command {
    let mut command = program(&format!("train {TINY}"));
    command.arg("--data").arg(path).arg("--outdir").arg(outdir);
    command
}

fn check_program(path: &Path, words: &str) -> Command {
    let mut command = program(&format!("dataset check {words}"));
    command.arg(path);
    command
}

fn json(path: &Path, words: &str, code: i32) -> Value {
    let output = exit_with(check_program(path, &format!("--json {words}")), code);
    serde_json::from_str(&stdout(&output)).unwrap_or_else(|error| panic!("{error}: {}", stdout(&output)))
}

/// An 8×8 picture in which no two pixels of a row are the same.
pub(crate) fn picture(value: u8) -> Vec<u8> {
    let pixels: Vec<u8> = (0..64u8).map(|i| value.wrapping_add(i)).collect();
    png(8, 8, png::ColorType::Grayscale, png::BitDepth::Eight, &pixels)
}

/// A folder with these files.
pub(crate) fn folder(files: &[(&str, Vec<u8>)]) -> TempDir {
    let folder = tempdir().expect("a folder");
    files.iter().for_each(|(name, bytes)| drop(write(folder.path(), name, bytes)));
    folder
}

/// `count` images of 2×2 that show `value`.
fn idx_of(count: u32, value: u8) -> Vec<u8> {
    idx(&[count, 2, 2], &vec![value; 4 * count as usize])
}

/// Training images have the value 7; 3 of them are taken and 2 are left out, whatever they are called.
#[test]
fn case_06_the_training_split_is_taken_in_every_layout() {
    let picture = |value| flat_grey(2, 2, value);
    let (train, test) = (idx_of(3, 7), idx_of(2, 9));
    let pictures = |train: &[&'static str], test: &[&'static str]| {
        let names = train.iter().map(|name| (*name, 7)).chain(test.iter().map(|name| (*name, 9)));
        names.map(|(name, value)| (name, picture(value))).collect::<Vec<_>>()
    };
    let layouts: Vec<Vec<(&str, Vec<u8>)>> = vec![
        vec![("train-images-idx3-ubyte", train.clone()), ("t10k-images-idx3-ubyte", test.clone())],
        vec![("qmnist-train-images-idx3-ubyte.gz", gz(&train)), ("qmnist-test-images-idx3-ubyte.gz", gz(&test))],
        vec![
            ("EMNIST-Digits-Train-Images-IDX3-ubyte", train.clone()),
            ("EMNIST-Digits-Test-Images-IDX3-ubyte", test.clone()),
        ],
        vec![("a-val-images-idx3-ubyte", test.clone()), ("z_training.idx3-ubyte", train.clone())],
        vec![("images-idx3-ubyte", train.clone()), ("a-valid-idx3-ubyte", test.clone())],
        vec![("k49-train-idx3-ubyte", train.clone()), ("contest-idx3-ubyte", test.clone())],
        // One of each pair of twins.
        vec![
            ("train-images-idx3-ubyte", train.clone()),
            ("train-images-idx3-ubyte.gz", gz(&train)),
            ("train-images.idx3-ubyte", train.clone()),
            ("t10k-images-idx3-ubyte", test.clone()),
        ],
        vec![("MNIST/raw/train-images-idx3-ubyte", train.clone()), ("MNIST/raw/t10k-images-idx3-ubyte", test.clone())],
        vec![("a/train-idx3-ubyte", train.clone()), ("b/test-idx3-ubyte", test.clone())],
        pictures(&["train/a.png", "train/b/c.png", "train/d.png"], &["test/a.png", "test/b.png"]),
        pictures(&["Training/a.png", "Training/b.png", "Training/c.png"], &["val/a.png", "test/b.png"]),
        pictures(&["cats/train/a.png", "cats/train/b.png", "dogs/train/c.png"], &["cats/test/d.png", "dogs/val/e.png"]),
        pictures(
            &["set/train_1/a.png", "set/train_1/b.png", "set/train_1/c.png"],
            &["set/test_1/a.png", "set/test_1/b.png"],
        ),
        // Loose pictures are no part of a split, and go before a test split.
        pictures(&["a.png", "b.png", "c.png"], &["test/a.png", "test/b.png"]),
        // Classes that happen to have such names.
        pictures(&["test/a.png", "cat/b.png", "dog/train/c.png"], &[]),
    ];
    let last = layouts.len() - 1;
    for (number, layout) in layouts.iter().enumerate() {
        let folder = folder(layout);
        let names: Vec<&str> = layout.iter().map(|(name, _)| *name).collect();
        assert_eq!(images(folder.path()).pixels, [7; 12], "{names:?}");
        let report = agreed(folder.path()).report;
        let left = report.left_out.get(&Reason::OtherSplit);
        assert!(left.is_none_or(|left| names.iter().any(|name| name.ends_with(&left.example))), "{left:?}");
        let left = left.map_or(0, |left| left.images);
        assert_eq!((left, report.only_split), (if number == last { 0 } else { 2 }, None), "{names:?}");
    }
}

#[test]
fn case_06_cifar_counts_what_train_reads() {
    let batch = |labels: &[u8]| cifar(labels);
    let files =
        [("data_batch_1.bin", batch(&[1, 2])), ("data_batch_2.bin", batch(&[3])), ("test_batch.bin", batch(&[4]))];
    let packed: Vec<(&str, &[u8])> = files.iter().map(|(name, bytes)| (*name, bytes.as_slice())).collect();
    let inside = files.clone().map(|(name, bytes)| (format!("cifar10/cifar-10-batches-bin/{name}"), bytes));
    let inside: Vec<(&str, Vec<u8>)> = inside.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    let upper = files.clone().map(|(name, bytes)| (name.to_uppercase(), bytes));
    let upper: Vec<(&str, Vec<u8>)> = upper.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect();
    for files in [files.to_vec(), inside, upper, vec![("cifar-10-binary.tar.gz", gz(&tar(&packed)))]] {
        let folder = folder(&files);
        let report = agreed(folder.path());
        let left = &report.report.left_out[&Reason::OtherSplit];
        assert_eq!((report.files, report.images, left.files, left.images), (2, 3, 1, 1), "{report}");
    }
}

/// A test split alone is taken, with a loud line: for all formats alike.
#[test]
fn case_06_a_test_split_alone_is_taken_with_a_loud_line() {
    let layouts: [Vec<(&str, Vec<u8>)>; 5] = [
        vec![("t10k-images-idx3-ubyte", noise(4, 8)), ("t10k-labels-idx1-ubyte", idx(&[4], &[1; 4]))],
        vec![("test_batch.bin", cifar(&[1, 2]))],
        vec![("cifar-10-binary.tar.gz", gz(&tar(&[("test_batch.bin", &cifar(&[1, 2]))])))],
        vec![("test/cat/a.png", picture(1)), ("test/dog/b.png", picture(99))],
        vec![("set/val/a.png", picture(1)), ("set/val/b.png", picture(99))],
    ];
    for layout in layouts {
        let folder = folder(&layout);
        let report = agreed(folder.path()).report;
        assert!(report.only_split.is_some(), "{layout:?}");
        let output = succeed(train(folder.path(), &folder.path().join("runs")));
        let line = "warning: the images are those of the ";
        assert_eq!(stderr(&output).matches(line).count(), 1, "{}", stderr(&output));
        assert!(stdout(&succeed(check_program(folder.path(), ""))).contains("warning   the images are those of the "));
    }
}

#[test]
fn case_06_where_only_the_user_can_choose_all_candidates_are_listed() {
    let emnist: Vec<String> = ["balanced", "byclass", "bymerge", "digits", "letters", "mnist"]
        .iter()
        .flat_map(|part| ["train", "test"].map(|split| format!("emnist-{part}-{split}-images-idx3-ubyte.gz")))
        .collect();
    let emnist: Vec<(&str, Vec<u8>)> = emnist.iter().map(|name| (name.as_str(), gz(&noise(4, 8)))).collect();
    let pictures = |names: &[&'static str]| names.iter().map(|name| (*name, picture(1))).collect::<Vec<_>>();
    let cases: Vec<(Vec<(&str, Vec<u8>)>, Vec<&str>, &str)> = vec![
        (
            emnist,
            vec!["6: emnist-balanced-train", "emnist-letters-train"],
            "emnist-balanced-train-images-idx3-ubyte.gz",
        ),
        (
            vec![("a-idx3-ubyte", noise(2, 8)), ("b-idx3-ubyte", noise(2, 8))],
            vec!["2: a-idx3-ubyte, b-idx3-ubyte"],
            "a-idx3-ubyte",
        ),
        (
            pictures(&["trainA/1.png", "trainA/3.png", "trainB/2.png", "testA/3.png"]),
            vec!["2: trainA (2 images), trainB (1 image)"],
            "trainA",
        ),
        (pictures(&["test/1.png", "test/3.png", "val/2.png"]), vec!["2: test (2 images), val (1 image)"], "test"),
        (
            vec![
                ("MNIST/raw/train-images-idx3-ubyte", noise(2, 8)),
                ("KMNIST/raw/train-images-idx3-ubyte", noise(2, 8)),
            ],
            vec!["2: KMNIST/raw (IDX), MNIST/raw (IDX)"],
            "KMNIST/raw",
        ),
        (
            vec![("mnist/train-images-idx3-ubyte", noise(2, 8)), ("photos/a.png", picture(1))],
            vec!["2: mnist (IDX), 1 picture (like photos/a.png)"],
            "mnist",
        ),
        (
            vec![
                ("cifar-10-batches-py/data_batch_1", b"\x80\x02".to_vec()),
                ("MNIST/raw/train-images-idx3-ubyte", noise(2, 8)),
            ],
            vec!["MNIST/raw (IDX), cifar-10-batches-py (CIFAR-10's version for Python, which is not read)"],
            "MNIST/raw",
        ),
        (
            vec![("train-images-idx3-ubyte", noise(2, 8)), ("data_batch_1.bin", cifar(&[1]))],
            vec!["train-images-idx3-ubyte (IDX) and data_batch_1.bin (CIFAR-10)"],
            "train-images-idx3-ubyte",
        ),
    ];
    for (layout, parts, example) in cases {
        let folder = folder(&layout);
        let hint = format!("pass the one that you mean, such as --data {}", folder.path().join(example).display());
        let hint =
            hint.replace("the one that", if parts[0].contains(" and ") { "the file that" } else { "the one that" });
        for command in [check_program(folder.path(), ""), train(folder.path(), folder.path())] {
            let message = stderr(&exit_with(command, 3));
            for part in parts.iter().chain([&hint.as_str()]) {
                assert!(message.contains(part), "{part:?} is not in {message}");
            }
        }
        // The hint leads somewhere that works.
        succeed(train(&folder.path().join(example), &folder.path().join("runs")));
    }
}

#[test]
fn case_04_transparency_and_data_of_one_value_are_said_in_one_line() {
    let transparent = |i: u8| {
        let pixels: Vec<u8> = (0..64u8).flat_map(|p| [0, 0, 0, if p % 8 < i { 255 } else { 0 }]).collect();
        png(8, 8, png::ColorType::Rgba, png::BitDepth::Eight, &pixels)
    };
    let folder = folder(&[
        ("1.png", transparent(1)),
        ("2.png", transparent(2)),
        ("3.png", transparent(3)),
        ("README", vec![65]),
    ]);
    let line = "warning: all 3 images are the same; 100 % of all pixels are black; 3 of 3 images with transparency, laid on black \
                (--set data.background=white for another); 3 of 3 images of one colour; 2 of 3 images exact copies of others; left \
                out: 1 file (README) of other kinds\n";
    let run = folder.path().join("runs");
    let message = stderr(&succeed(train(folder.path(), &run)));
    assert!(message.contains(line), "{message}");
    let log = std::fs::read_to_string(run.join("00000-quick-b2/log.txt")).expect("a log");
    assert!(log.contains(line.trim_end()), "{log}");
    std::fs::remove_dir_all(&run).expect("removing");
    // On white they are three different icons.
    let on_white = LoadOptions { background: [255; 3], ..LoadOptions::default() };
    let seen = check(folder.path(), &on_white).expect("a report").report.seen;
    assert_eq!((seen.transparent, seen.duplicates, seen.constant, seen.background), (3, 0, 0, [255; 3]));
    assert!(seen.most_common_share < 0.9);
    let found = json(folder.path(), "--background white", 0);
    assert_eq!((&found["notes"]["background"], &found["warnings"]), (&"#ffffff".into(), &serde_json::json!([])));
    // The other formats are looked at too.
    let flat: [(&str, Vec<u8>); 2] = [("x-idx3-ubyte", idx(&[4, 8, 8], &[9; 256])), ("x.bin", vec![0; 2 * 3073])];
    for (name, bytes) in flat {
        let path = write(folder.path(), name, &bytes);
        assert_eq!(agreed(&path).report.seen.most_common_share, 1.0);
        let message = stderr(&succeed(train(&path, &run)));
        assert!(message.contains("warning: all ") && message.contains("100 % of all pixels are "), "{message}");
    }
}

#[test]
fn case_04_small_ranges_of_16_bits_are_counted() {
    let deep = |high: u16| {
        let pixels: Vec<u8> = (0..64u16).flat_map(|p| (p * (high / 63)).to_be_bytes()).collect();
        png(8, 8, png::ColorType::Grayscale, png::BitDepth::Sixteen, &pixels)
    };
    let folder = folder(&[
        ("12bits.png", deep(4032)),
        ("10bits.png", deep(945)),
        ("16bits.png", deep(65_520)),
        ("8.png", picture(3)),
    ]);
    let seen = agreed(folder.path()).report.seen;
    assert_eq!((seen.sixteen_bit, seen.narrow_sixteen_bit, seen.narrow_range), (3, 2, Some((0, 4032))));
    let text = stdout(&succeed(check_program(folder.path(), "")));
    assert!(
        text.contains("note      2 of 4 images with 16 bits but less than 1/16 of their range (values from 0 to 4032"),
        "{text}"
    );
    assert!(text.contains("note      1 of 4 images with 16 bits, reduced to 8"), "{text}");
}

/// Memory that the system refuses ends in a message, not in a crash.
#[test]
fn case_20_images_that_do_not_fit_into_memory_are_a_message() {
    let outer = folder(&[]);
    let path = outer.path().join("photos");
    (0..12).for_each(|number| drop(write(&path, &format!("{number}.png"), &flat_grey(2, 2, number))));
    // 3.2 GB of pixels, where 3 GB of addresses are allowed.
    let mut command = Command::new("bash");
    command.args(["-c", r#"ulimit -v 3000000; exec "$0" train --resize 16384 --device cpu --data "$1" --outdir "$2""#]);
    command.arg(PROGRAM).arg(&path).arg(outer.path().join("runs"));
    let message = stderr(&exit_with(command, 3));
    let part = "found 12 images of 16384×16384×1, which do not fit into this machine's memory";
    assert!(message.contains(part), "{message}");
    assert!(!outer.path().join("runs").exists());
}

#[test]
fn case_20_train_says_how_many_bad_files_there_are_and_what_lists_them() {
    let good = picture(5);
    let cut = |bytes: &[u8]| bytes[..bytes.len() - 20].to_vec();
    let files = [
        ("a.png", cut(&good)),
        ("b.png", good.clone()),
        ("c.jpg", b"hello".to_vec()),
        ("d.png", cut(&good)),
        ("e.png", vec![]),
    ];
    // With a bad header among them, and with good headers alone.
    for (files, more) in [(&files[..], 3), (&[files[0].clone(), files[1].clone(), files[3].clone()][..], 1)] {
        let outer = folder(&[]);
        let path = outer.path().join("my photos");
        files.iter().for_each(|(name, bytes)| drop(write(&path, name, bytes)));
        let message = stderr(&exit_with(train(&path, &outer.path().join("runs")), 3));
        let command = format!("vgan-cuda dataset check '{}'", path.display());
        assert!(message.contains(&format!("… and {more} more: `{command}` lists all")), "{message}");
        let words = format!(r#""$0" {}"#, command.trim_start_matches("vgan-cuda "));
        let output = Command::new("bash").args(["-c", &words, PROGRAM]).output().expect("bash");
        assert_eq!(
            (output.status.code(), stdout(&output).matches("bad       ").count()),
            (Some(3), more + 1),
            "{output:?}"
        );
        let found = json(&path, "", 3);
        assert_eq!(found["bad"].as_array().map(Vec::len), Some(more + 1), "{found}");
    }
    let batches =
        folder(&[("data_batch_1.bin", vec![1]), ("data_batch_2.bin", cifar(&[1])), ("data_batch_3.bin", vec![])]);
    let message = stderr(&exit_with(train(batches.path(), batches.path()), 3));
    assert!(
        message.contains("data_batch_1.bin: expected") && message.contains("… and 1 more: `vgan-cuda dataset check /"),
        "{message}"
    );
}

#[test]
fn case_20_check_prints_one_json_object() {
    let folder = folder(&[
        ("train-images-idx3-ubyte", noise(4, 8)),
        ("t10k-images-idx3-ubyte.gz", gz(&noise(3, 8))),
        ("train-labels-idx1-ubyte", idx(&[4], &[1; 4])),
        ("t10k-labels-idx1-ubyte", idx(&[9], &[1; 3])),
        ("README.txt", b"hello".to_vec()),
        (".DS_Store", vec![0]),
    ]);
    let found = json(folder.path(), "", 3);
    assert_eq!(found["path"].as_str(), folder.path().to_str());
    for (key, value) in
        [("format", "\"IDX\""), ("files", "1"), ("images", "4"), ("train_ready", "true"), ("clean", "false")]
    {
        assert_eq!(found[key].to_string(), value, "{key}");
    }
    assert_eq!(found["sizes"].to_string(), r#"[{"height":8,"images":4,"width":8}]"#);
    assert_eq!(found["channels"].to_string(), r#"[{"channels":1,"images":4}]"#);
    for (key, files, images) in [
        ("other_split", 1, 3),
        ("labels", 2, 0),
        ("other_kind", 1, 0),
        ("hidden", 1, 0),
        ("twin", 0, 0),
        ("own_output", 0, 0),
    ] {
        let left = &found["left_out"][key];
        assert_eq!((&left["files"], &left["images"]), (&files.into(), &images.into()), "{key}");
    }
    assert_eq!(found["bad"][0]["needed"], false);
    // The help names every key.
    let help = stdout(&succeed(program("dataset check --help")));
    let keys = [&found, &found["notes"], &found["left_out"], &found["bad"][0], &found["left_out"]["hidden"]];
    for key in keys.iter().flat_map(|value| value.as_object().expect("an object").keys()) {
        assert!(
            help.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == key),
            "{key} is not in {help}"
        );
    }
    assert_eq!(json(Path::new("glyphs"), "", 0)["images"], 60_000);
}

#[test]
fn case_11_names_are_made_visible() {
    let folder = folder(&[
        ("a\nbad       fake.png", vec![]),
        ("b\u{1b}[2Jx.png", vec![]),
        ("c\u{202e}gnp.png", vec![]),
        ("é.png", picture(1)),
    ]);
    let output = exit_with(check_program(folder.path(), ""), 3);
    let text = stdout(&output);
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text:?}");
    assert_eq!(text.matches("\nbad       ").count(), 3, "{text}");
    for part in ["a\\nbad       fake.png: expected", "b\\u{1b}[2Jx.png: expected", "c\\u{202e}gnp.png: expected"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let message = stderr(&exit_with(train(folder.path(), folder.path()), 3));
    assert!(message.contains("a\\nbad") && !message.contains("a\nbad"), "{message}");
    // JSON has its own way of writing them, and gives the name back as it is.
    let found = json(folder.path(), "", 3);
    let names: Vec<&str> =
        found["bad"].as_array().expect("a list").iter().filter_map(|bad| bad["path"].as_str()).collect();
    assert!(names[0].ends_with("/a\nbad       fake.png") && names[1].ends_with("/b\u{1b}[2Jx.png"), "{names:?}");
}

#[test]
fn case_14_padding_behind_gzip_is_read_and_junk_is_called_junk() {
    let plain = noise(4, 8);
    let (packed, padding) = (gz(&plain), vec![0; 512]);
    let halves = [gz(&plain[..100]), gz(&plain[100..])].concat();
    for bytes in [[&packed[..], &padding].concat(), [&halves[..], &padding].concat(), halves.clone()] {
        let folder = folder(&[("t-idx3-ubyte.gz", bytes)]);
        assert_eq!(agreed(folder.path()).images, 4);
    }
    let junk = [&packed[..], &padding, b"<html>"].concat();
    let offset = packed.len() + padding.len();
    let folder = folder(&[
        ("t.gz", junk),
        ("x.tar.gz", [&gz(&tar(&[("data_batch_1.bin", &cifar(&[1]))]))[..], b"junk"].concat()),
    ]);
    let refused = |name: &str| {
        let output = exit_with(check_program(&folder.path().join(name), ""), 3);
        stdout(&output) + &stderr(&output)
    };
    let part = format!("expected the end of the file after the gzip stream, at offset {offset}, found junk");
    let text = refused("t.gz");
    assert!(text.contains(&part) && !text.contains("fetch it again"), "{text}");
    assert!(refused("x.tar.gz").contains("found junk"), "{}", refused("x.tar.gz"));
}

#[test]
fn case_22_reals_are_spread_over_the_data_set() {
    // 640 images; image i is flat and shows i / 4.
    let pixels: Vec<u8> = (0..640u32).flat_map(|i| [(i / 4) as u8; 64]).collect();
    let place = TestFolder::new();
    let path = place.path("x-idx3-ubyte");
    std::fs::write(&path, idx(&[640, 8, 8], &pixels)).expect("writing");
    succeed(train(&path, &place.path("runs")));
    let file = std::fs::File::open(place.path("runs/00000-quick-b2/reals.png")).expect("a grid");
    let mut reader = png::Decoder::new(std::io::BufReader::new(file)).read_info().expect("a PNG");
    let mut grid = vec![0; reader.output_buffer_size().expect("a size")];
    let width = reader.next_frame(&mut grid).expect("pixels").width as usize;
    // Eight cells a row, with two pixels between them.
    let cell = (width - 7 * 2) / 8 + 2;
    let shown: Vec<u8> = (0..64).map(|i| grid[i / 8 * cell * width + i % 8 * cell]).collect();
    let expected: Vec<u8> = (0..64u32).map(|i| (i * 10 / 4) as u8).collect();
    assert_eq!(shown, expected);
}

#[test]
fn case_29_the_seed_leaves_the_data_set_alone() {
    let place = TestFolder::new();
    let started = |outdir: &str, words: &str| {
        succeed(place.train(outdir, &format!("quick --data glyphs --steps 1 --threads 1 {words}")));
        let run = place.run(outdir);
        let state: Value = serde_json::from_slice(&run.bytes("checkpoints/000001/state.json")).expect("a state");
        (run, state["data"]["sha256"].clone())
    };
    let (_, first) = started("a", "");
    let (run, second) = started("b", "--seed 5");
    assert_eq!(first, second, "--seed");
    let (_, third) = started("c", "--set data.seed=5");
    assert_ne!(first, third, "data.seed");
    let (_, bare) = started("d", "--set seed=5");
    assert_eq!(run.checkpoint(1)[0], place.run("d").checkpoint(1)[0], "a bare seed is the run's");
    assert_eq!(bare, first);

    // A run of a version that had one seed for both: its images are those of data.seed = 5.
    let older = |run: &crate::whole_runs::Run| {
        let config = run.file("config.toml");
        let text = std::fs::read_to_string(&config).expect("a configuration");
        let data = text.find("[data]").expect("a section");
        let line = data + text[data..].find("seed = 5\n").expect("the data's seed");
        std::fs::write(&config, format!("{}{}", &text[..line], &text[line + 9..])).expect("writing");
    };
    let (run, images) = started("old", "--seed 5 --set data.seed=5");
    older(&run);
    succeed(run.resume("--steps 2"));
    let config = run.file("config.toml");
    // `train --config` with a file of that version makes the same run.
    let mut command = program("train --steps 1 --threads 1");
    command.arg("--config").arg(config).arg("--outdir").arg(place.path("again"));
    succeed(command);
    let state = place.run("again").bytes("checkpoints/000001/state.json");
    let state: Value = serde_json::from_slice(&state).expect("a state");
    assert_eq!((&state["data"]["sha256"], &state["seed"]), (&images, &5.into()));
}
