//! Folders of all kinds: data sets of other programs, and folders with output of our own in them.

use std::fs;
use std::path::Path;
use std::process::Command;

use vgan_cuda::data::{Reason, Report};

use crate::cases::sets::{TINY, agreed, folder, images, picture, train};
use crate::data_samples::{cifar, gz, idx, jpeg, tar, write};
use crate::whole_runs::{PROGRAM, exit_with, idx as noise, program, stderr, stdout, succeed};

/// Twelve pictures, in two folders and loose.
fn photos() -> tempfile::TempDir {
    let names: Vec<String> = (0..12u8).map(|i| format!("{}{i}.png", ["", "a/", "b/c/"][usize::from(i % 3)])).collect();
    folder(&names.iter().zip(0..12u8).map(|(name, i)| (name.as_str(), picture(20 * i))).collect::<Vec<_>>())
}

/// Runs the program inside `folder`.
fn run_in(folder: &Path, words: &str) -> String {
    let mut command = Command::new(PROGRAM);
    command.args(words.split_whitespace()).current_dir(folder);
    let output = succeed(command);
    stderr(&output) + &stdout(&output)
}

fn sha256(run: &Path) -> String {
    let state = fs::read(run.join("checkpoints/000001/state.json")).expect("a state");
    let state: serde_json::Value = serde_json::from_slice(&state).expect("JSON");
    state["data"]["sha256"].to_string()
}

fn own(report: &Report) -> usize {
    report.left_out_files(Reason::OwnOutput)
}

#[test]
fn case_05_what_we_write_into_the_data_does_not_become_data() {
    let photos = photos();
    let path = photos.path();
    let before = images(path);
    let train = format!("train --data . {TINY}");
    let text = run_in(path, &train);
    assert!(text.contains("quick on 12 images of 8×8×1") && !text.contains("made by vgan-cuda"), "{text}");
    let run = "runs/00000-quick-b2";
    run_in(path, &format!("resume {run} --steps 2 --threads 1"));
    // More output: beside the pictures, in a folder of theirs, through a link, and of every command that draws.
    run_in(path, &format!("generate {run} --seeds 0-2 --outdir ."));
    run_in(path, &format!("generate {run} --seeds 0-8 --grid --output a/grid.png"));
    run_in(path, &format!("interpolate {run} --seeds 0,1 --output b/walk.png"));
    run_in(path, &format!("{train} --outdir ."));
    run_in(path, &format!("{train} --outdir a --desc inside"));
    let elsewhere = tempfile::tempdir().expect("a folder");
    run_in(path, &format!("{train} --outdir {}", elsewhere.path().display()));
    #[cfg(unix)]
    std::os::unix::fs::symlink(elsewhere.path(), path.join("link")).expect("a link");
    run_in(path, &format!("compare {run} 00000-quick-b2 --output b"));
    fs::write(path.join("two.toml"), format!("preset = \"quick\"\n[[run]]\nname = \"one\"\n{}", experiment_settings()))
        .expect("writing");
    run_in(path, "experiment two.toml --data . --outdir c --threads 1");
    // A run whose checkpoints were removed to save space has pictures that are known by themselves.
    fs::remove_dir_all(path.join("a/00000-quick-b2-inside/checkpoints")).expect("removing");

    let text = run_in(path, &train);
    assert!(text.contains("quick on 12 images of 8×8×1"), "{text}");
    let line = text.lines().find(|line| line.contains("made by vgan-cuda")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.starts_with("note: left out: "), "{line}");
    assert!(sha256(&path.join(run)) == sha256(&path.join("runs/00001-quick-b2")), "the same images as the first run");
    assert!(images(path).pixels == before.pixels);
    run_in(path, &format!("resume {run} --steps 3 --threads 1"));
    let report = agreed(path);
    // Grids and samples of six runs and of generate, interpolate and compare.
    assert!(own(&report.report) > 20, "{report}");
    for picture in ["seed0000.png", "a/grid.png", "b/walk.png", "b/samples.png"] {
        assert!(path.join(picture).is_file(), "{picture}");
    }
}

fn experiment_settings() -> String {
    let settings = TINY.split(" --").filter_map(|word| word.trim_start_matches("--").strip_prefix("set "));
    let lists = |value: &str| if value.contains(',') { format!("[{value}]") } else { value.into() };
    let line = |setting: &str| {
        let (key, value) = setting.split_once('=').expect("a setting");
        let is_list = ["channels", "hidden"].iter().any(|end| key.ends_with(end));
        let value = if is_list && !value.contains(',') { format!("[{value}]") } else { lists(value) };
        format!("settings.{} = {value}\n", key.trim())
    };
    settings.map(line).collect::<String>() + "settings.train.batch = 2\nsettings.train.steps = 1\n"
}

#[test]
fn case_05_pictures_of_ours_alone_are_data_and_runs_are_not() {
    let photos = photos();
    run_in(photos.path(), &format!("train --data . {TINY} --outdir runs"));
    let run = photos.path().join("runs/00000-quick-b2");
    run_in(photos.path(), "generate runs/00000-quick-b2 --seeds 0-4 --outdir samples");
    // Whoever names a folder of samples means them.
    let report = agreed(&photos.path().join("samples"));
    assert_eq!((report.images, report.report.own_pictures), (5, true));
    for (path, part) in
        [(&run, "the folder of a run of vgan-cuda"), (&photos.path().join("runs"), "pictures of runs of vgan-cuda")]
    {
        let message = stderr(&exit_with(train(path, photos.path()), 3));
        assert!(message.contains(part), "{message}");
    }
    // Folders of other programs that look a little alike.
    for name in ["project/config.toml", "project/checkpoints/1/weights.bin"] {
        write(photos.path(), name, b"[model]\n");
    }
    write(photos.path(), "project/new.png", &picture(255));
    assert_eq!(agreed(photos.path()).images, 13);
}

/// The refused files, the format that the message names, and its advice.
#[test]
fn case_13_formats_that_are_not_read_are_named_with_what_to_pass() {
    let save = "save its images as PNG files in a folder, and pass that folder";
    let unpack = "unpack it, and pass the folder that it makes";
    let fetch = "get it with `vgan-cuda dataset fetch cifar10`";
    let hundred: Vec<u8> = cifar(&[1, 2]).chunks(3073).flat_map(|record| [&[0], record].concat()).collect();
    let pickle = || b"\x80\x02}q\x00(".to_vec();
    let zip = || b"PK\x03\x04\x14\x00\x00\x00".to_vec();
    let cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("cifar-10-batches-py/data_batch_1", pickle(), "CIFAR-10's version for Python", fetch),
        (
            "cifar-10-python.tar.gz",
            gz(&tar(&[("cifar-10-batches-py/data_batch_1", &pickle())])),
            "CIFAR-10's version for Python",
            fetch,
        ),
        ("cifar-100-python/train", pickle(), "CIFAR-100", "save the images as PNG"),
        ("cifar-100-binary/train.bin", hundred.clone(), "CIFAR-100", "save the images as PNG"),
        (
            "cifar-100-binary.tar.gz",
            gz(&tar(&[("cifar-100-binary/train.bin", &hundred)])),
            "CIFAR-100",
            "save the images as PNG",
        ),
        ("stl10_binary/unlabeled_X.bin", vec![7; 5000], "STL-10", save),
        ("svhn/train_32x32.mat", b"MATLAB 5.0 MAT-file, Platform".to_vec(), "SVHN's version for MATLAB", save),
        ("mnist.npz", zip(), "a NumPy array", save),
        ("x.npy", b"\x93NUMPY\x01\x00".to_vec(), "a NumPy array", save),
        ("x.mat", b"MATLAB 5.0 MAT-file".to_vec(), "a MATLAB file", save),
        ("x.h5", b"\x89HDF\r\n\x1a\n".to_vec(), "an HDF5 file", save),
        ("x.parquet", b"PAR1\x15\x04".to_vec(), "a Parquet table", save),
        ("x.tfrecord", vec![0x97, 2, 0, 0, 0, 0, 0, 0], "a TFRecord file", save),
        ("train_lmdb/data.mdb", [vec![0; 16], vec![0xde, 0xc0, 0xef, 0xbe]].concat(), "an LMDB database", save),
        ("MNIST/processed/training.pt", zip(), "a file of PyTorch", save),
        ("mnist.pkl.gz", gz(&pickle()), "a Python pickle", save),
        ("photos.zip", zip(), "a zip archive", unpack),
        ("photos.7z", b"7z\xbc\xaf\x27\x1c\x00\x04".to_vec(), "a 7z archive", unpack),
        ("photos.tar", tar(&[("photos/a.png", &picture(1)), ("photos/b.jpg", &jpeg::GREY)]), "2 pictures", unpack),
        ("mnist.tar.gz", gz(&tar(&[("MNIST/raw/train-images-idx3-ubyte", &noise(2, 8))])), "IDX files", unpack),
        ("files.txt", b"a.png\nb.png\n".to_vec(), "a text file", "make a folder of links to them"),
        ("train.csv", b"label,pixel0\n1,0\n".to_vec(), "a table of text", save),
        ("one.png", picture(1), "a single picture", "pass the folder that it is in"),
        ("one.jpg.gz", gz(&jpeg::GREY), "a single picture", "pass the folder that it is in"),
        ("one.heic", b"\0\0\0\x1cftypheic".to_vec(), "a single picture", "pass the folder that it is in"),
    ];
    for (name, bytes, what, advice) in cases {
        let folder = folder(&[(name, bytes)]);
        let file = folder.path().join(name);
        let place = file.parent().expect("a folder").to_path_buf();
        let mut paths = vec![file.clone()];
        if !name.starts_with("one.") && what != "2 pictures" && what != "IDX files" && what != "a text file" {
            // The folder that it lies in, and the one above.
            paths.extend([place, folder.path().to_path_buf()]);
        }
        for path in paths {
            let mut command = program("dataset check");
            command.arg(&path);
            // Of what can't be unpacked the report says it; of all else the error.
            let output = exit_with(command, 3);
            let text = stdout(&output) + &stderr(&output);
            assert!(
                text.contains(what) && text.contains(advice),
                "{}: no {what:?} or {advice:?} in {text}",
                path.display()
            );
        }
    }
}

#[test]
fn case_13_a_parent_folder_with_one_known_layout_is_entered() {
    let mnist = |root: &str| {
        [("train-images-idx3-ubyte.gz", gz(&noise(5, 8))), ("t10k-images-idx3-ubyte.gz", gz(&noise(2, 8)))]
            .map(|(name, bytes)| (format!("{root}{name}"), bytes))
    };
    for root in ["", "MNIST/raw/", "data/MNIST/raw/"] {
        let files = mnist(root);
        let folder = folder(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>());
        write(folder.path(), "README.md", b"hello");
        let report = agreed(folder.path());
        assert_eq!((report.images, report.report.left_out[&Reason::OtherSplit].images), (5, 2), "{root:?}: {report}");
        let entered = report.report.folder.as_deref().and_then(Path::to_str).unwrap_or_default();
        assert_eq!(entered, root.trim_end_matches('/'));
        let message = stderr(&succeed(train(folder.path(), &folder.path().join("runs"))));
        assert!(message.contains("quick on 5 images of 8×8 from train-images-idx3-ubyte.gz"), "{message}");
        // Output beside it changes nothing.
        assert_eq!(agreed(folder.path()).images, 5);
    }
    // As far down as anybody puts them, and no further.
    let files = mnist("a/b/c/d/");
    let folder_4 = folder(&files.iter().map(|(name, bytes)| (name.as_str(), bytes.clone())).collect::<Vec<_>>());
    exit_with(train(folder_4.path(), folder_4.path()), 3);
    // The labels in a folder of their own are no second data set; neither are files that macOS leaves.
    let labelled = folder(&[
        ("images/train-images-idx3-ubyte", noise(5, 8)),
        ("images/._train-images-idx3-ubyte", vec![0, 5, 22, 7]),
        ("labels/train-labels-idx1-ubyte", idx(&[5], &[1; 5])),
    ]);
    assert_eq!(agreed(labelled.path()).images, 5);
}
