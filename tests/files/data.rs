//! Data sets of every format, against known pixels.

use std::path::Path;

use crate::data_samples::*;
use png::{BitDepth, ColorType};
use sha2::{Digest, Sha256};
use tempfile::tempdir;
use vgan_cuda::data::{CheckReport, Images, LoadOptions, Reason, check, glyphs, load};

fn load_with(path: &Path, resize: usize, channels: usize) -> vgan_cuda::Result<Images> {
    load(path.to_str().unwrap(), &LoadOptions { resize, channels, ..LoadOptions::default() })
}

fn load_plain(path: &Path) -> Images {
    load_with(path, 0, 0).unwrap()
}

/// How many files of other kinds are left out.
fn others(report: &CheckReport) -> usize {
    report.report.left_out_files(Reason::OtherKind)
}

fn shape(images: &Images) -> [usize; 4] {
    assert_eq!(images.pixels.len(), images.count * images.height * images.width * images.channels);
    [images.count, images.height, images.width, images.channels]
}

#[test]
fn idx_is_read_plain_and_gzipped_at_odd_sizes() {
    let folder = tempdir().unwrap();
    for [count, height, width] in [[1, 1, 1], [3, 1, 17], [2, 33, 3], [5, 28, 28]] {
        let payload: Vec<u8> = (0..count * height * width).map(|i| (i * 7 + 1) as u8).collect();
        let file = idx(&[count as u32, height as u32, width as u32], &payload);
        for (name, bytes) in [("a-idx3-ubyte", file.clone()), ("b-idx3-ubyte.gz", gz(&file)), ("unnamed", file)] {
            let images = load_plain(&write(folder.path(), name, &bytes));
            assert_eq!(shape(&images), [count, height, width, 1]);
            assert_eq!(images.pixels, payload);
        }
    }
}

#[test]
fn a_folder_of_mnist_gives_the_training_images() {
    let folder = tempdir().unwrap();
    write(folder.path(), "t10k-images-idx3-ubyte.gz", &gz(&idx(&[1, 2, 2], &[9; 4])));
    write(folder.path(), "t10k-labels-idx1-ubyte", &idx(&[1], &[7]));
    assert_eq!(load_plain(folder.path()).pixels, [9; 4]);
    write(folder.path(), "train-labels-idx1-ubyte", &idx(&[1], &[5]));
    write(folder.path(), "train-images-idx3-ubyte.gz", &gz(&idx(&[1, 2, 2], &[4; 4])));
    assert_eq!(load_plain(folder.path()).pixels, [4; 4]);
}

#[test]
fn a_folder_with_the_name_of_a_file_is_not_taken_for_it() {
    let folder = tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("mnist/train-images-idx3-ubyte")).unwrap();
    write(folder.path(), "mnist/train-images.idx3-ubyte", &idx(&[1, 2, 2], &[4; 4]));
    assert_eq!(load_plain(&folder.path().join("mnist")).pixels, [4; 4]);
    std::fs::create_dir_all(folder.path().join("cifar/data_batch_1.bin")).unwrap();
    write(folder.path(), "cifar/data_batch_1.bin.gz", &gz(&cifar(&[6])));
    assert!(load_plain(&folder.path().join("cifar")).pixels == cifar_pixels(&[6]));
    for name in ["mnist", "cifar"] {
        let report = check(&folder.path().join(name), &LoadOptions::default()).unwrap();
        assert_eq!((report.files, others(&report), report.is_clean()), (1, 0, true), "{report}");
    }
    std::fs::create_dir_all(folder.path().join("pictures/cifar-10-binary.tar.gz")).unwrap();
    write(folder.path(), "pictures/a.png", &flat_grey(1, 1, 7));
    assert_eq!(load_plain(&folder.path().join("pictures")).pixels, [7]);
}

/// `[count, 32, 32, 3]`, from the definition of the samples and not from the reader.
fn cifar_pixels(labels: &[u8]) -> Vec<u8> {
    let mut pixels = Vec::new();
    for &label in labels {
        for y in 0..32 {
            for x in 0..32 {
                for channel in 0..3 {
                    pixels.push(cifar_value(label, channel, y, x));
                }
            }
        }
    }
    pixels
}

#[test]
fn cifar_files_become_interleaved_rgb() {
    let folder = tempdir().unwrap();
    let bytes = cifar(&[3, 0, 9]);
    for (name, bytes) in
        [("x.bin", bytes.clone()), ("x.bin.gz", gz(&bytes)), ("unnamed", bytes.clone()), ("unnamed.gz", gz(&bytes))]
    {
        let images = load_plain(&write(folder.path(), name, &bytes));
        assert_eq!(shape(&images), [3, 32, 32, 3]);
        assert!(images.pixels == cifar_pixels(&[3, 0, 9]), "{name}: wrong pixels");
    }
}

#[test]
fn a_cifar_file_that_starts_like_an_idx_header_is_still_cifar() {
    let folder = tempdir().unwrap();
    let mut bytes = cifar(&[0]);
    bytes[..4].copy_from_slice(&[0, 0, 8, 3]);
    assert_eq!(shape(&load_plain(&write(folder.path(), "x.bin", &bytes))), [1, 32, 32, 3]);
}

#[test]
fn a_folder_of_cifar_gives_the_training_batches_in_order() {
    let folder = tempdir().unwrap();
    let inner = "cifar-10-batches-bin";
    write(folder.path(), &format!("{inner}/test_batch.bin"), &cifar(&[1]));
    write(folder.path(), &format!("{inner}/batches.meta.txt"), b"airplane\n");
    assert!(load_plain(folder.path()).pixels == cifar_pixels(&[1]), "the test batch alone");
    write(folder.path(), &format!("{inner}/data_batch_2.bin"), &cifar(&[2, 7]));
    write(folder.path(), &format!("{inner}/data_batch_1.bin.gz"), &gz(&cifar(&[8])));
    for path in [folder.path().to_path_buf(), folder.path().join(inner)] {
        assert!(load_plain(&path).pixels == cifar_pixels(&[8, 2, 7]));
    }
    // The plain twin of a gzipped batch is taken once, not both.
    write(folder.path(), &format!("{inner}/data_batch_2.bin.gz"), &gz(&cifar(&[2, 7])));
    assert_eq!(load_plain(folder.path()).count, 3);
}

#[test]
fn the_cifar_archive_is_read_plain_and_gzipped() {
    let folder = tempdir().unwrap();
    let archive = tar(&[
        ("cifar-10-batches-bin/data_batch_2.bin", &cifar(&[6])),
        ("cifar-10-batches-bin/batches.meta.txt", b"airplane\n"),
        ("cifar-10-batches-bin/test_batch.bin", &cifar(&[1])),
        ("cifar-10-batches-bin/data_batch_1.bin", &cifar(&[4, 5])),
    ]);
    write(folder.path(), "cifar-10-binary.tar.gz", &gz(&archive));
    write(folder.path(), "other/plain.tar", &archive);
    write(folder.path(), "other/unnamed", &gz(&archive));
    for name in ["", "cifar-10-binary.tar.gz", "other/plain.tar", "other/unnamed"] {
        let images = load_plain(&folder.path().join(name));
        assert!(images.pixels == cifar_pixels(&[4, 5, 6]), "{name:?}: wrong pixels");
    }
}

/// One PNG of each kind, 2 rows by 2 columns, and the pixels that it stands for.
fn png_kinds() -> Vec<(&'static str, Vec<u8>, usize, Vec<u8>)> {
    let make = |color, depth, data: &[u8]| png(2, 2, color, depth, data);
    vec![
        ("grey", make(ColorType::Grayscale, BitDepth::Eight, &[0, 80, 160, 255]), 1, vec![0, 80, 160, 255]),
        (
            "grey, 1 bit",
            make(ColorType::Grayscale, BitDepth::One, &[0b0100_0000, 0b1000_0000]),
            1,
            vec![0, 255, 255, 0],
        ),
        (
            "grey, 16 bits",
            // 4848, 32769, 65168 and 510 of 65535: neither byte alone is the pixel, nor are both the other way around.
            make(ColorType::Grayscale, BitDepth::Sixteen, &[0x12, 0xF0, 0x80, 0x01, 0xFE, 0x90, 0x01, 0xFE]),
            1,
            vec![19, 128, 254, 2],
        ),
        (
            "grey and alpha",
            make(ColorType::GrayscaleAlpha, BitDepth::Eight, &[200, 255, 200, 0, 200, 128, 0, 255]),
            1,
            vec![200, 0, 100, 0],
        ),
        (
            "palette",
            make(ColorType::Indexed, BitDepth::Two, &[0b0001_0000, 0b1011_0000]),
            3,
            vec![10, 20, 30, 200, 150, 100, 1, 2, 3, 255, 255, 255],
        ),
        (
            "colour",
            make(ColorType::Rgb, BitDepth::Eight, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]),
            3,
            vec![1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],
        ),
        (
            "colour and alpha",
            make(ColorType::Rgba, BitDepth::Eight, &[10, 20, 30, 255, 10, 20, 30, 0, 100, 50, 250, 51, 255, 0, 1, 255]),
            3,
            vec![10, 20, 30, 0, 0, 0, 20, 10, 50, 255, 0, 1],
        ),
    ]
}

#[test]
fn every_kind_of_png_is_decoded() {
    for (kind, bytes, channels, pixels) in png_kinds() {
        let folder = tempdir().unwrap();
        write(folder.path(), "image.png", &bytes);
        let images = load_plain(folder.path());
        assert_eq!(shape(&images), [1, 2, 2, channels], "{kind}");
        assert_eq!(images.pixels, pixels, "{kind}");
    }
}

/// JPEG loses a little, and decoders may round differently.
fn assert_near(found: &[u8], expected: &[u8], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let worst = found.iter().zip(expected).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst <= 3, "{what}: off by {worst}");
}

#[test]
fn every_kind_of_jpeg_is_decoded() {
    let grey: Vec<u8> = (0..64).map(|i| (20 + 20 * (i % 8) + 10 * (i / 8)) as u8).collect();
    let halves = [[200, 40, 30].repeat(8), [20, 60, 220].repeat(8)].concat().repeat(8);
    let kinds: [(&str, &[u8], [usize; 3], Vec<u8>); 5] = [
        ("grey", &jpeg::GREY, [8, 8, 1], grey),
        ("colour", &jpeg::COLOUR, [8, 16, 3], halves.clone()),
        ("progressive", &jpeg::PROGRESSIVE, [8, 16, 3], halves),
        ("CMYK", &jpeg::CMYK, [8, 8, 3], [100, 150, 200].repeat(64)),
        ("subsampled", &jpeg::SUBSAMPLED, [9, 17, 3], [90, 170, 60].repeat(9 * 17)),
    ];
    for (kind, bytes, [height, width, channels], pixels) in kinds {
        let folder = tempdir().unwrap();
        write(folder.path(), "image.jpg", bytes);
        let images = load_plain(folder.path());
        assert_eq!(shape(&images), [1, height, width, channels], "{kind}");
        assert_near(&images.pixels, &pixels, kind);
    }
}

#[test]
fn folders_are_read_at_any_depth_in_the_order_of_paths() {
    let folder = tempdir().unwrap();
    let names = ["b/z.png", "a/2.PNG", "c.png", "a/10.png", "b/deep/er/no_extension", "b/deep.png"];
    for (value, name) in names.iter().enumerate() {
        write(folder.path(), name, &flat_grey(1, 1, value as u8));
    }
    write(folder.path(), ".hidden/x.png", b"not an image");
    write(folder.path(), "a/.DS_Store", b"whatever");
    write(folder.path(), "labels.csv", b"a,b\n");
    // a/10, a/2, b/deep/er/no_extension, b/deep.png, b/z, c
    assert_eq!(load_plain(folder.path()).pixels, [3, 1, 4, 5, 0, 2]);
}

#[cfg(unix)]
#[test]
fn links_that_form_a_loop_are_followed_once() {
    let folder = tempdir().unwrap();
    write(folder.path(), "a/x.png", &flat_grey(1, 1, 7));
    std::os::unix::fs::symlink(folder.path(), folder.path().join("a/up")).unwrap();
    std::os::unix::fs::symlink("nowhere", folder.path().join("broken")).unwrap();
    assert_eq!(load_plain(folder.path()).pixels, [7]);
}

#[test]
fn mixed_sizes_and_channels_need_options() {
    let folder = tempdir().unwrap();
    write(folder.path(), "a.png", &flat_grey(4, 4, 90));
    write(folder.path(), "b.png", &flat_png(6, 5, [10, 200, 30]));
    write(folder.path(), "c.jpg", &jpeg::SUBSAMPLED);
    let error = load_with(folder.path(), 0, 3).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    for part in ["3: 4×4 (1 file, like a.png)", "5×6 (1 file, like b.png)", "9×17 (1 file, like c.jpg)", "--resize N"]
    {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
    let error = load_with(folder.path(), 4, 0).unwrap_err();
    for part in ["1 channel (1 file, like a.png)", "3 channels (2 files, like b.png)", "--channels 3"] {
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
    }
    let colour = load_with(folder.path(), 3, 3).unwrap();
    assert_eq!(shape(&colour), [3, 3, 3, 3]);
    let expected = [[90, 90, 90].repeat(9), [10, 200, 30].repeat(9), [90, 170, 60].repeat(9)].concat();
    assert_near(&colour.pixels, &expected, "one colour stays that colour at any size");
    let grey = load_with(folder.path(), 17, 1).unwrap();
    assert_eq!(shape(&grey), [3, 17, 17, 1]);
    // 0.299·10 + 0.587·200 + 0.114·30 = 123.81; 0.299·90 + 0.587·170 + 0.114·60 = 133.54
    assert_near(&grey.pixels, &[[90; 289], [124; 289], [134; 289]].concat(), "luma");
}

#[test]
fn resizing_keeps_the_centre_and_averages() {
    let folder = tempdir().unwrap();
    let stripes: Vec<u8> = (0..4).flat_map(|_| [[0; 4], [100; 4], [255; 4]].concat()).collect();
    write(folder.path(), "wide/a.png", &png(12, 4, ColorType::Grayscale, BitDepth::Eight, &stripes));
    assert_eq!(load_with(&folder.path().join("wide"), 2, 0).unwrap().pixels, [100; 4]);
    let columns: Vec<u8> = [0, 100, 255].iter().flat_map(|&value| [value; 16]).collect();
    write(folder.path(), "tall/a.png", &png(4, 12, ColorType::Grayscale, BitDepth::Eight, &columns));
    assert_eq!(load_with(&folder.path().join("tall"), 2, 0).unwrap().pixels, [100; 4]);
    let fine: Vec<u8> = (0..64 * 64).map(|i| if (i / 64 + i % 64) % 2 == 0 { 255 } else { 0 }).collect();
    write(folder.path(), "fine/a.png", &png(64, 64, ColorType::Grayscale, BitDepth::Eight, &fine));
    assert_near(&load_with(&folder.path().join("fine"), 8, 0).unwrap().pixels, &[128; 64], "a fine chessboard is grey");
}

#[test]
fn idx_and_cifar_take_the_options_too() {
    let folder = tempdir().unwrap();
    let path = write(folder.path(), "x-idx3-ubyte", &idx(&[2, 6, 4], &[[30; 24], [70; 24]].concat()));
    let images = load_with(&path, 5, 3).unwrap();
    assert_eq!(shape(&images), [2, 5, 5, 3]);
    assert_eq!(images.pixels, [[30; 75], [70; 75]].concat());
    let path = write(folder.path(), "x.bin", &cifar(&[2]));
    let [red, green, blue] = [0, 1, 2].map(|channel| f64::from(cifar_value(2, channel, 31, 30)));
    let luma = (0.299 * red + 0.587 * green + 0.114 * blue).round() as u8;
    assert_eq!(load_with(&path, 0, 1).unwrap().pixels[31 * 32 + 30], luma);
}

#[test]
fn what_does_not_exist_is_told() {
    let folder = tempdir().unwrap();
    write(folder.path(), "one.png", &flat_grey(1, 1, 0));
    write(folder.path(), "text/README.md", b"hello");
    std::fs::create_dir(folder.path().join("empty")).unwrap();
    let cases = [
        ("missing", 3, "dataset fetch mnist"),
        ("one.png", 3, "pass the folder that it is in"),
        ("empty", 3, "found no files"),
        ("text", 3, "1 file of other kinds, like README.md"),
    ];
    for (name, code, part) in cases {
        let path = folder.path().join(name);
        let error = load_with(&path, 0, 0).unwrap_err();
        assert_eq!(error.exit_code(), code, "{error}");
        assert!(error.to_string().starts_with(path.to_str().unwrap()), "no path in {error}");
        assert!(error.to_string().contains(part), "{part:?} is not in {error}");
        if name != "one.png" {
            assert_eq!(check(&path, &LoadOptions::default()).unwrap_err().exit_code(), code);
        }
    }
    let options = [
        LoadOptions { channels: 2, ..LoadOptions::default() },
        LoadOptions { resize: 1 << 20, ..LoadOptions::default() },
    ];
    for options in options {
        assert_eq!(load("glyphs", &options).unwrap_err().exit_code(), 2);
    }
    assert_eq!(load("", &LoadOptions::default()).unwrap_err().exit_code(), 2);
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn glyphs_depend_on_the_seed_and_the_number_alone() {
    let images = glyphs::draw(300, 5);
    assert_eq!(shape(&images), [300, 28, 28, 1]);
    assert_eq!(glyphs::draw(20, 5).pixels, images.pixels[..20 * 784]);
    assert_ne!(glyphs::draw(300, 6).pixels, images.pixels);
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert!(pool.install(|| glyphs::draw(300, 5)) == images, "{threads} threads");
    }
    let distinct: std::collections::HashSet<&[u8]> = images.pixels.chunks(784).collect();
    assert_eq!(distinct.len(), 300);
    // Pinned, so that a platform or a compiler that rounds differently, and a careless change, are seen.
    assert_eq!(digest(&images.pixels), "fc46804262407c2c453c45ea612ea78be0fe55c272980732174b357c4e812006");
}

#[test]
fn glyphs_are_60000_and_in_the_middle() {
    let images = load("glyphs", &LoadOptions::default()).unwrap();
    assert_eq!(shape(&images), [60_000, 28, 28, 1]);
    for image in images.pixels.chunks(784) {
        assert!(image.iter().any(|&pixel| pixel >= 250), "a stroke is white somewhere, not {:?}", image.iter().max());
        let border = (0..28).flat_map(|i| [image[i], image[27 * 28 + i], image[i * 28], image[i * 28 + 27]]);
        assert_eq!(border.max(), Some(0), "the border is black");
    }
    // MNIST's mean is 33.3.
    let mean = images.pixels.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / images.pixels.len() as f64;
    assert!((25.0..45.0).contains(&mean), "mean {mean}");
}

#[test]
fn glyphs_can_be_told_apart() {
    // Ten mean images from one seed recognise the digits of another, which chance would do to 10 %.
    let train = glyphs::draw(2_000, 1);
    let mut means = vec![[0.0f32; 784]; 10];
    for (number, image) in train.pixels.chunks(784).enumerate() {
        means[number % 10].iter_mut().zip(image).for_each(|(mean, &pixel)| *mean += f32::from(pixel) / 200.0);
    }
    let test = glyphs::draw(500, 2);
    let distance = |image: &[u8], mean: &[f32; 784]| -> f32 {
        image.iter().zip(mean).map(|(&pixel, &mean)| (f32::from(pixel) - mean).powi(2)).sum()
    };
    let right = test.pixels.chunks(784).enumerate().filter(|(number, image)| {
        let nearest = (0..10).min_by(|&a, &b| distance(image, &means[a]).total_cmp(&distance(image, &means[b])));
        nearest == Some(number % 10)
    });
    let right = right.count();
    assert!(right > 425, "only {right} of 500 digits recognised");
}

#[test]
fn real_data_has_the_known_pixels() {
    // Counted with NumPy from the same files.
    let sum = |pixels: &[u8]| pixels.iter().map(|&pixel| u64::from(pixel)).sum::<u64>();
    if let Some(path) = real_data("mnist") {
        let images = load_plain(&path);
        assert_eq!(shape(&images), [60_000, 28, 28, 1]);
        assert_eq!(sum(&images.pixels), 1_567_298_545);
        assert_eq!([sum(&images.pixels[..784]), sum(&images.pixels[59_999 * 784..])], [27_525, 20_920]);
        assert_eq!(images.pixels[5 * 28 + 12..5 * 28 + 16], [3, 18, 18, 18]);
        let report = check(&path, &LoadOptions::default()).unwrap();
        assert_eq!((report.files, report.images, report.is_clean()), (1, 60_000, true), "{report}");
        let other = &report.report.left_out[&Reason::OtherSplit];
        assert_eq!((other.files, other.images, report.report.left_out_files(Reason::Labels)), (1, 10_000, 2));
    }
    if let Some(path) = real_data("fashion-mnist/t10k-images-idx3-ubyte.gz") {
        let images = load_plain(&path);
        assert_eq!(shape(&images), [10_000, 28, 28, 1]);
        assert_eq!((sum(&images.pixels[..784]), sum(&images.pixels)), (33_456, 573_469_082));
    }
    if let Some(path) = real_data("cifar10/data_batch_1.bin.gz") {
        let images = load_plain(&path);
        assert_eq!(shape(&images), [10_000, 32, 32, 3]);
        assert_eq!(images.pixels[..3], [59, 62, 63]);
        assert_eq!(images.pixels[3069..3072], [123, 92, 72]);
        let channel = |c: usize| images.pixels.iter().skip(c).step_by(3).map(|&pixel| u64::from(pixel)).sum::<u64>();
        assert_eq!([channel(0), channel(1), channel(2)], [1_288_517_123, 1_262_189_222, 1_167_674_233]);
    }
}

#[test]
fn check_lists_every_bad_file_of_a_folder() {
    let folder = tempdir().unwrap();
    write(folder.path(), "good/a.png", &flat_grey(3, 2, 1));
    write(folder.path(), "good/b.jpg", &jpeg::COLOUR);
    write(folder.path(), "bad/cut.png", &flat_grey(3, 2, 1)[..50]);
    write(folder.path(), "bad/text.jpg", b"hello");
    write(folder.path(), "bad/empty.png", b"");
    write(folder.path(), "bad/picture.webp", b"RIFF\x00\x00\x00\x00WEBPVP8 ");
    write(folder.path(), "notes.txt", b"hello");
    let report = check(folder.path(), &LoadOptions::default()).unwrap();
    assert_eq!((report.files, report.images, others(&report)), (6, 2, 1));
    let bad: Vec<String> =
        report.bad.iter().map(|bad| bad.path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(bad, ["cut.png", "empty.png", "picture.webp", "text.jpg"]);
    let reasons: Vec<&str> = report.bad.iter().map(|bad| bad.reason.as_str()).collect();
    for (reason, part) in reasons.iter().zip(["", "an empty file", "a WebP image", "68 65 6c 6c 6f"]) {
        assert!(reason.contains(part), "{part:?} is not in {reason}");
    }
    assert_eq!(report.sizes.into_iter().collect::<Vec<_>>(), [((2, 3), 1), ((8, 16), 1)]);
    assert_eq!(report.channels.into_iter().collect::<Vec<_>>(), [(1, 1), (3, 1)]);
    assert_eq!(report.obstacles.len(), 2, "sizes and channels are mixed: {:?}", report.obstacles);
    let unified = check(folder.path(), &LoadOptions { resize: 8, channels: 1, ..LoadOptions::default() }).unwrap();
    assert!(unified.obstacles.is_empty() && !unified.is_clean());
}

#[test]
fn check_reads_the_files_that_load_leaves_out() {
    let folder = tempdir().unwrap();
    write(folder.path(), "mnist/train-images-idx3-ubyte", &idx(&[2, 1, 1], &[1, 2]));
    write(folder.path(), "mnist/train-labels-idx1-ubyte", &idx(&[2], &[1]));
    write(folder.path(), "mnist/t10k-images-idx3-ubyte", &idx(&[2, 1, 1], &[1, 2, 3]));
    let report = check(&folder.path().join("mnist"), &LoadOptions::default()).unwrap();
    assert_eq!((report.files, report.images, report.bad.len()), (1, 2, 2), "{report}");
    assert_eq!((report.is_ready(), report.is_clean()), (true, false), "train reads neither of the bad ones");
    write(folder.path(), "cifar/data_batch_1.bin", &cifar(&[1]));
    write(folder.path(), "cifar/data_batch_2.bin", &cifar(&[10]));
    write(folder.path(), "cifar/test_batch.bin", &cifar(&[1])[1..]);
    let report = check(&folder.path().join("cifar"), &LoadOptions::default()).unwrap();
    assert_eq!((report.files, report.images, report.bad.len()), (2, 1, 2), "{report}");
    assert_eq!(report.bad.iter().map(|bad| bad.needed).collect::<Vec<_>>(), [true, false]);
    let one = check(&folder.path().join("cifar/data_batch_1.bin"), &LoadOptions::default()).unwrap();
    assert_eq!((one.files, one.images, one.is_clean()), (1, 1, true));
}

#[test]
fn check_lists_every_bad_file_of_an_archive() {
    let folder = tempdir().unwrap();
    let archive = gz(&tar(&[
        ("cifar-10-batches-bin/test_batch.bin", &cifar(&[1])[1..]),
        ("cifar-10-batches-bin/data_batch_3.bin", &cifar(&[3, 4])),
        ("cifar-10-batches-bin/data_batch_2.bin", &cifar(&[1, 12])),
        ("cifar-10-batches-bin/readme.html", b"hello"),
        ("cifar-10-batches-bin/data_batch_1.bin", b""),
    ]));
    let path = write(folder.path(), "x.tar.gz", &archive);
    let report = check(&path, &LoadOptions::default()).unwrap();
    assert_eq!((report.files, report.images, others(&report), report.bad.len()), (3, 2, 1, 3), "{report}");
    for (bad, part) in report.bad.iter().zip([
        "records of 3073 bytes in data_batch_1.bin",
        "offset 3073 (record 1) in data_batch_2.bin",
        "a multiple of 3073 bytes in test_batch.bin",
    ]) {
        assert!(bad.path == path && bad.reason.contains(part), "{part:?} is not in {}", bad.reason);
    }
    // What can't be unpacked is one bad file.
    let path = write(folder.path(), "cut.tar.gz", &archive[..archive.len() / 2]);
    let report = check(&path, &LoadOptions::default()).unwrap();
    assert_eq!((report.files, report.images, report.bad.len(), report.is_clean()), (1, 0, 1, false), "{report}");
}
