//! The classes of images, from wherever a data set has them.

use std::path::Path;

use crate::data_samples::*;
use png::{BitDepth, ColorType};
use tempfile::tempdir;
use vgan_cuda::data::{Images, LoadOptions, glyphs, load};

fn load_with(path: &Path, resize: usize, channels: usize) -> vgan_cuda::Result<Images> {
    load(path.to_str().unwrap(), &LoadOptions { resize, channels, ..LoadOptions::default() })
}

fn classes(path: &Path) -> Option<(String, Vec<u16>)> {
    load_with(path, 0, 0).unwrap().labels.map(|labels| (labels.names.join(" "), labels.classes))
}

/// And images without classes are read as before.
#[test]
fn classes_come_with_the_images() {
    let folder = tempdir().unwrap();
    let images = write(folder.path(), "mnist/train-images-idx3-ubyte.gz", &gz(&idx(&[3, 2, 2], &[4; 12])));
    let mnist = folder.path().join("mnist");
    assert_eq!(classes(&mnist), None);
    write(&mnist, "train-labels.idx1-ubyte", &idx(&[3], &[2, 0, 2]));
    write(&mnist, "t10k-labels-idx1-ubyte", &idx(&[3], &[1, 1, 1]));
    let expected = Some(("0 1 2".to_string(), vec![2, 0, 2]));
    assert_eq!((classes(&mnist), classes(&images)), (expected.clone(), expected));
    // What is wrong with labels is no reason not to read the images, and is told.
    for (labels, part) in [(idx(&[2], &[0, 1]), "2 labels for 3 images"), (b"no idx".to_vec(), "the bytes 00 00")] {
        write(&mnist, "train-labels.idx1-ubyte", &labels);
        let images = load_with(&mnist, 0, 0).unwrap();
        let line = images.report.line().unwrap();
        assert!(images.labels.is_none() && line.contains("read without labels") && line.contains(part), "{line}");
    }

    let batch = write(folder.path(), "data_batch_1.bin", &cifar(&[7, 0, 9]));
    let (names, found) = classes(&batch).unwrap();
    assert_eq!((names.split(' ').nth(7), found), (Some("horse"), vec![7, 0, 9]));

    let picture = |value: u8| png(2, 2, ColorType::Grayscale, BitDepth::Eight, &[value, 1, 2, 3]);
    for (name, value) in [("photos/train/dog/1.png", 9), ("photos/train/cat/7.png", 8), ("photos/train/dog/2.png", 7)] {
        write(folder.path(), name, &picture(value));
    }
    let photos = load_with(&folder.path().join("photos"), 4, 3).unwrap();
    let labels = photos.labels.unwrap();
    assert_eq!(
        (labels.names.join(" "), &labels.classes[..]),
        ("cat dog".into(), &[0, 1, 1][..]),
        "in the order of paths"
    );
    write(folder.path(), "photos/train/3.png", &picture(6));
    assert_eq!(classes(&folder.path().join("photos")), None, "a picture beside the classes");
    let digits = load("glyphs", &LoadOptions::default()).unwrap().labels.unwrap();
    assert_eq!((digits.names.len(), digits.classes[13], digits.classes.len()), (10, 3, glyphs::COUNT));
}
