//! Data sets.

use std::fs;
use std::path::Path;

use vgan_cuda::data::{Images, LoadOptions, load};

use super::{file, folder as scratch, orderly};

/// Loads a data set; the images are whole.
fn loaded(source: &Path, options: &LoadOptions) -> Option<Images> {
    let images = orderly(load(source.to_str().expect("a path in UTF-8"), options))?;
    assert_eq!(images.pixels.len(), images.count * images.height * images.width * images.channels);
    if let Some(labels) = &images.labels {
        assert_eq!(labels.classes.len(), images.count);
        assert!(labels.classes.iter().all(|&class| usize::from(class) < labels.names.len()));
    }
    Some(images)
}

fn small() -> LoadOptions {
    LoadOptions { resize: 3, channels: 3, ..LoadOptions::default() }
}

/// The bytes as a file of images, and as a file of labels beside two good images.
pub(crate) fn idx(bytes: &[u8]) {
    loaded(&file("idx", "x-idx3", bytes), &LoadOptions::default());
    let images =
        file("idx", "images-idx3-ubyte", &[&[0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 1][..], &[7, 9]].concat());
    file("idx", "labels-idx1-ubyte", bytes);
    let images = loaded(&images, &LoadOptions::default()).expect("the images are good");
    assert_eq!(images.labels.is_none(), !images.report.remarks.is_empty(), "a remark where labels are not read");
}

/// The bytes as a file of records. An input is long where it has records, so a short one is taken for the beginning of one.
pub(crate) fn cifar(bytes: &[u8]) {
    loaded(&file("cifar", "data_batch_1.bin", bytes), &LoadOptions::default());
    if bytes.len() < 3073 {
        let mut record = bytes.to_vec();
        record.resize(3073, 0);
        loaded(&file("cifar", "data_batch_2.bin", &record), &LoadOptions::default());
    }
}

/// A tar archive, gzipped or not.
pub(crate) fn archive(bytes: &[u8]) {
    loaded(&file("archive", "x.tar.gz", bytes), &LoadOptions::default());
}

fn picture(name: &str, bytes: &[u8]) {
    let path = file(name, &format!("x.{name}"), bytes);
    loaded(path.parent().expect("its folder"), &LoadOptions { channels: 0, resize: 0, ..LoadOptions::default() });
}

pub(crate) fn png(bytes: &[u8]) {
    picture("png", bytes);
}

pub(crate) fn jpeg(bytes: &[u8]) {
    picture("jpeg", bytes);
}

/// A folder: each line of the bytes is the name of a file or, with `/`, of one in another folder; what is in the file follows from the
/// last letter of the line.
pub(crate) fn folder(bytes: &[u8]) {
    let root = scratch("folder");
    fs::remove_dir_all(&root).expect("the folder of the last input");
    fs::create_dir_all(&root).expect("a folder");
    let grey: &[u8] = include_bytes!("grey.png");
    for line in bytes.split(|&byte| byte == b'\n').take(12) {
        let Some((content, name)) = line.split_last() else { continue };
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let parts: Vec<&str> = name.split('/').filter(|part| !matches!(*part, "" | "." | "..")).collect();
        if parts.is_empty() || name.contains('\0') || parts.iter().any(|part| part.len() > 100) || parts.len() > 5 {
            continue;
        }
        let path = root.join(parts.join("/"));
        let content: &[u8] = match content % 5 {
            0 => grey,
            1 => &[0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 7],
            2 => &[0, 0, 8, 1, 0, 0, 0, 1, 3],
            3 => &[3; 3073],
            _ => b"text",
        };
        // A name may stand for a file already and then for a folder.
        if fs::create_dir_all(path.parent().expect("a folder")).is_ok() {
            let _ = fs::write(&path, content);
        }
    }
    loaded(&root, &small());
}
