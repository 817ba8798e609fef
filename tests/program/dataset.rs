//! The commands of `dataset`: images are checked, written, and downloaded.

use vgan_cuda::data::{Images, LoadOptions, load};

use crate::cli::{assert_contains, failure, run, stdout};

#[test]
fn data_sets_are_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let picture = |name: &str, side: u32| {
        let file = std::fs::File::create(folder.path().join(name)).expect("a file");
        let mut encoder = png::Encoder::new(file, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&vec![7; (side * side) as usize]).expect("pixels");
    };
    picture("a.png", 8);
    picture("b.png", 8);
    let path = folder.path().display();
    assert_contains(&stdout(&format!("dataset check {path}")), &["images    2", "8×8: 2 images", "(0 bad"]);
    assert_contains(&stdout("dataset check glyphs"), &["60"]);

    picture("c.png", 12);
    let output = run(&format!("dataset check {path}"));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_contains(&String::from_utf8_lossy(&output.stdout), &["12×12: 1 image", "mixed"]);
    stdout(&format!("dataset check {path} --resize 8"));

    for name in ["bad1.png", "bad2.jpg"] {
        std::fs::write(folder.path().join(name), b"no picture").expect("writing");
    }
    let output = run(&format!("dataset check {path} --resize 8"));
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_contains(&String::from_utf8_lossy(&output.stdout), &["bad1.png: expected", "bad2.jpg: expected", "(2 bad"]);
    assert_contains(&String::from_utf8_lossy(&output.stderr), &["found 2 bad files"]);
    assert_contains(&failure("dataset check /nowhere/at/all", 3), &["/nowhere/at/all"]);
}

/// The written images are those that were read: the same pixels and classes, in the order of the classes, by a reader that takes it for
/// images of a user's own.
#[test]
fn a_data_set_is_written_as_training_sees_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let outdir = folder.path().join("new/seen");
    let words = format!("dataset export glyphs --resize 12 --channels 3 --limit 25 --outdir {}", outdir.display());
    assert_contains(&stdout(&words), &["25 images of 12×12×3 in folders of 10 classes", "seen"]);
    let as_read = |source: &str, resize, channels| {
        let options = LoadOptions { resize, channels, ..LoadOptions::default() };
        let Images { pixels, labels, .. } = load(source, &options).expect("images");
        let labels = labels.expect("classes");
        let images = pixels.chunks(12 * 12 * 3).map(<[u8]>::to_vec);
        let mut all: Vec<(String, Vec<u8>)> =
            labels.classes.iter().map(|&class| labels.names[usize::from(class)].clone()).zip(images).take(25).collect();
        all.sort();
        all
    };
    let written = as_read(outdir.to_str().expect("a path"), 0, 0);
    assert_eq!(written.len(), 25);
    assert!(written == as_read("glyphs", 12, 3), "other pixels or classes");
    assert!(outdir.join("4/00024.png").is_file());
    assert_contains(&failure(&words, 2), &["seen is there already: pass another --outdir"]);
    // Nothing half-written stays.
    assert_contains(
        &failure(&format!("dataset export /nowhere --outdir {}/b", folder.path().display()), 3),
        &["/nowhere"],
    );
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 1);
}

/// A port where nobody listens: the answer comes at once, names the address and says what to do.
#[cfg(feature = "download")]
#[test]
fn a_download_that_fails_says_why() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let folder = tempfile::tempdir().expect("a folder");
    let out = folder.path().display();
    let message = failure(&format!("dataset fetch mnist --mirror http://127.0.0.1:{port}/x --outdir {out}"), 1);
    assert_contains(&message, &["train-images-idx3-ubyte.gz", "can't download", &format!("127.0.0.1:{port}/x/")]);
}
