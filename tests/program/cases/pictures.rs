//! Pixels: JPEG, orientation, transparency, 16 bits, files that are no pictures.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::whole_runs::{exit_with, program, stderr, stdout, succeed};

/// Two updates of nets that take images of 32×32.
const TINY: &str = "--steps 1 --batch 2 --threads 1 --set generator.channels=4,4 --set generator.hidden=8 \
                    --set generator.latent=4 --set discriminator.channels=4,4 --set discriminator.hidden=8";

fn check(folder: &Path, code: i32) -> (String, String) {
    let mut command = program("dataset check");
    command.arg(folder);
    let output = exit_with(command, code);
    (stdout(&output), stderr(&output))
}

/// The first image of `train`: the corner of reals.png, [side][side][channels].
fn trained_on(folder: &Path, side: usize, words: &str) -> Vec<Vec<Vec<u8>>> {
    let outdir = tempfile::tempdir().expect("a temporary folder");
    let mut command = program(&format!("train {TINY} {words}"));
    succeed({
        command.arg("--data").arg(folder).arg("--outdir").arg(outdir.path());
        command
    });
    let run = fs::read_dir(outdir.path()).expect("runs").next().expect("a run").expect("a run").path();
    let file = std::io::BufReader::new(fs::File::open(run.join("reals.png")).expect("reals.png"));
    let mut reader = png::Decoder::new(file).read_info().expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    let samples = info.color_type.samples();
    // Two images beside each other, enlarged, with a narrow gap between them.
    let scale = info.width as usize / (2 * side);
    let row = |y: usize| {
        let from = y * scale * info.line_size;
        pixels[from..].chunks(scale * samples).take(side).map(|pixel| pixel[..samples].to_vec()).collect()
    };
    (0..side).map(row).collect()
}

/// A folder with `bytes` twice, as a batch needs.
fn folder_of(name: &str, bytes: &[u8]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for letter in ["a", "b"] {
        fs::write(folder.path().join(format!("{letter}-{name}")), bytes).expect("writing");
    }
    folder
}

/// RGB or RGBA, or with 16 bits grey.
fn png_of(
    side: u32,
    color: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
    chunks: &[([u8; 4], Vec<u8>)],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(color);
    encoder.set_depth(depth);
    let mut writer = encoder.write_header().expect("a header");
    for (name, content) in chunks {
        writer.write_chunk(png::chunk::ChunkType(*name), content).expect("a chunk");
    }
    writer.write_image_data(data).expect("pixels");
    writer.finish().expect("an end");
    bytes
}

/// The files of tests/fixtures/jpeg_matrix.safetensors, (name, file, pixels, [height, width, channels]).
fn valid_jpegs() -> Vec<(String, Vec<u8>, Vec<u8>, [usize; 3])> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/jpeg_matrix.safetensors");
    let bytes = fs::read(path).expect("the fixture");
    let matrix = SafeTensors::deserialize(&bytes).expect("safetensors");
    let names: Vec<String> =
        matrix.names().iter().filter_map(|name| name.strip_suffix(".pixels")).map(String::from).collect();
    let load = |name: String| {
        let pixels = matrix.tensor(&format!("{name}.pixels")).expect("pixels");
        let file = matrix.tensor(&format!("{name}.jpg")).expect("a file").data().to_vec();
        let shape = pixels.shape().try_into().expect("three dimensions");
        (name, file, pixels.data().to_vec(), shape)
    };
    names.into_iter().map(load).collect()
}

/// The library's own way to them: every file of the matrix in one folder of its own.
#[test]
fn case_01_every_kind_of_jpeg_has_libjpegs_pixels() {
    let mut apart = 0;
    for (name, file, pixels, [height, width, channels]) in valid_jpegs() {
        let folder = folder_of("x.jpg", &file);
        let options = vgan_cuda::data::LoadOptions::default();
        let images = vgan_cuda::data::load(folder.path().to_str().expect("a path"), &options)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!([images.height, images.width, images.channels], [height, width, channels], "{name}");
        assert!(images.pixels == pixels.repeat(2), "{name}: wrong pixels");
        apart += usize::from(name.contains("/apart/") || name.contains("/backwards/"));
    }
    assert!(apart > 10, "{apart} files with a scan for each component");
}

/// The file of the report: 4:4:4, one scan a component, as `cjpeg -scans` makes it. Its corner is (10, 40, 70).
#[test]
fn case_01_training_sees_the_right_pixels() {
    let found =
        valid_jpegs().into_iter().find(|(name, _, _, shape)| name.contains("baseline/backwards") && shape[2] == 3);
    let (name, file, pixels, [height, width, _]) = found.expect("such a file");
    let folder = folder_of("x.jpg", &file);
    assert!(check(folder.path(), 0).0.contains(&format!("size      {height}×{width}: 2 images")), "{name}");
    // Grown to 16×16 pixels the mean colour of the square in the middle stays what it was.
    let side = height.min(width);
    let (top, left) = ((height - side) / 2, (width - side) / 2);
    let seen = trained_on(folder.path(), 16, "--resize 16");
    for channel in 0..3 {
        let of = |y: usize, x: usize| f64::from(pixels[((top + y) * width + left + x) * 3 + channel]);
        let expected = (0..side * side).map(|i| of(i / side, i % side)).sum::<f64>() / (side * side) as f64;
        let found = seen.iter().flatten().map(|pixel| f64::from(pixel[channel])).sum::<f64>() / 256.0;
        // Cut-off overshoots of the filter and the rounding to 8 bits move it a little.
        assert!((found - expected).abs() < 6.0, "{name}: channel {channel} is {found}, expected {expected}");
    }
}

#[test]
fn case_02_bytes_after_the_end_do_not_matter() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (_, photo, _, _) = valid_jpegs().into_iter().find(|(name, ..)| name == "plain/no-jfif").expect("a photo");
    let picture = png_of(10, png::ColorType::Rgb, png::BitDepth::Eight, &[9; 300], &[]);
    let video = [b"\0\0\0\x18ftypmp42".as_slice(), &[0; 50], b"\xff\xda", &[0; 50], b"\xff\xd9\xff\xda"].concat();
    for (number, tail) in
        [video.as_slice(), b"", b"\xff\xda", b"\0", &[0xff; 300], b"IEND", &photo, &picture].into_iter().enumerate()
    {
        fs::write(folder.path().join(format!("{number}.jpg")), [&photo, tail].concat()).expect("writing");
        fs::write(folder.path().join(format!("{number}.png")), [&picture, tail].concat()).expect("writing");
    }
    let mut command = program("dataset check --resize 8 --channels 3");
    command.arg(folder.path());
    let output = succeed(command);
    assert!(stdout(&output).contains("files     16 (0 bad"), "{}", stdout(&output));
}

/// A JPEG that ends early is still refused, whatever stands in it: a preview with an end mark of its own, or a comment.
#[test]
fn case_02_a_cut_file_is_still_refused() {
    for (name, file, ..) in valid_jpegs() {
        if !["plain/preview", "plain/comment", "apart/preview", "progressive/preview"].contains(&name.as_str()) {
            continue;
        }
        let end = file.windows(2).rposition(|pair| pair == [0xff, 0xd9]).expect("an end");
        for length in [end, end - 40, end / 2, 60] {
            let folder = folder_of("x.jpg", &file[..length]);
            let (report, message) = check(folder.path(), 3);
            assert!(
                report.contains("ends too early") && report.contains("cut off"),
                "{name} cut at {length}: {report}{message}"
            );
        }
    }
}

/// A TIFF block that says `orientation`, in either byte order.
fn exif(orientation: u16, little: bool) -> Vec<u8> {
    let two = |value: u16| if little { value.to_le_bytes() } else { value.to_be_bytes() }.to_vec();
    let four = |value: u32| if little { value.to_le_bytes() } else { value.to_be_bytes() }.to_vec();
    let start = if little { b"II".to_vec() } else { b"MM".to_vec() };
    // A width before it, as an entry to pass over.
    let entries =
        [[two(0x0100), two(4), four(1), four(8)], [two(0x0112), two(3), four(1), [two(orientation), two(0)].concat()]];
    [start, two(42), four(8), two(2), entries.concat().concat(), four(0)].concat()
}

/// The picture of EXIF's specification: the letter F, 3 rows by 2 columns, as it is seen; and as each orientation stores it.
const SEEN: [&str; 3] = ["12", "34", "56"];
const STORED: [&[&str]; 8] = [
    &["12", "34", "56"],
    &["21", "43", "65"],
    &["65", "43", "21"],
    &["56", "34", "12"],
    &["135", "246"],
    &["246", "135"],
    &["642", "531"],
    &["531", "642"],
];

#[test]
fn case_03_photos_stand_as_viewers_show_them() {
    for (number, stored) in (1u16..).zip(STORED) {
        for little in [false, true] {
            let (height, width) = (stored.len() as u32, stored[0].len() as u32);
            let data: Vec<u8> = stored.concat().bytes().map(|digit| (digit - b'0') * 40).collect();
            let mut bytes = Vec::new();
            let mut encoder = png::Encoder::new(&mut bytes, width, height);
            encoder.set_color(png::ColorType::Grayscale);
            let mut writer = encoder.write_header().expect("a header");
            let block = exif(number, little);
            // Before the pixels or behind them: both are allowed.
            if little {
                writer.write_chunk(png::chunk::ChunkType(*b"eXIf"), &block).expect("a chunk");
            }
            writer.write_image_data(&data).expect("pixels");
            if !little {
                writer.write_chunk(png::chunk::ChunkType(*b"eXIf"), &block).expect("a chunk");
            }
            writer.finish().expect("an end");
            let folder = folder_of("x.png", &bytes);
            let path = folder.path().to_str().expect("a path");
            let images = vgan_cuda::data::load(path, &Default::default()).expect("images");
            let expected: Vec<u8> = SEEN.concat().bytes().map(|digit| (digit - b'0') * 40).collect();
            assert_eq!((images.height, images.width), (3, 2), "orientation {number}, little-endian {little}");
            assert_eq!(images.pixels, expected.repeat(2), "orientation {number}, little-endian {little}");
        }
    }
}

/// A JPEG with orientation 6 is stored lying on its left side: its upper edge is seen at the right.
#[test]
fn case_03_a_jpeg_is_turned_in_training() {
    let find = |file: &str| valid_jpegs().into_iter().find(|(name, ..)| name == file).expect("such a file");
    let (_, plain, pixels, [height, width, _]) = find("plain/no-jfif");
    let turn = |block: Vec<u8>| {
        let content = [b"Exif\0\0".as_slice(), &block].concat();
        let length = (content.len() as u16 + 2).to_be_bytes();
        [&plain[..2], &[0xff, 0xe1], &length, &content, &plain[2..]].concat()
    };
    for little in [false, true] {
        let folder = folder_of("x.jpg", &turn(exif(6, little)));
        let images =
            vgan_cuda::data::load(folder.path().to_str().expect("a path"), &Default::default()).expect("images");
        assert_eq!((images.height, images.width), (width, height));
        for (y, x) in [(0, 0), (3, 2), (width - 1, height - 1)] {
            let stored = ((height - 1 - x) * width + y) * 3;
            let seen = (y * height + x) * 3;
            assert_eq!(images.pixels[seen..seen + 3], pixels[stored..stored + 3], "({y}, {x})");
        }
        assert!(check(folder.path(), 0).0.contains(&format!("size      {width}×{height}: 2 images")));
    }
    // What can't be read changes nothing.
    for block in
        [vec![], b"II*\0".to_vec(), exif(0, true), exif(9, false), exif(6, true)[..20].to_vec(), vec![0xff; 90]]
    {
        let folder = folder_of("x.jpg", &turn(block));
        let images =
            vgan_cuda::data::load(folder.path().to_str().expect("a path"), &Default::default()).expect("images");
        assert_eq!((images.height, images.width), (height, width));
    }
}

#[test]
fn case_04_transparency_is_laid_over_the_background() {
    // A black disc: the drawing is in the alpha channel alone.
    let inside = |i: i32| (i / 16 - 8).pow(2) + (i % 16 - 8).pow(2) < 30;
    let data: Vec<u8> = (0..256).flat_map(|i| [0, 0, 0, if inside(i) { 255 } else { 0 }]).collect();
    let icons = folder_of("icon.png", &png_of(16, png::ColorType::Rgba, png::BitDepth::Eight, &data, &[]));
    for (words, ground) in [
        ("", [0, 0, 0]),
        ("--set data.background=white", [255, 255, 255]),
        ("--set data.background=#204060", [0x20, 0x40, 0x60]),
    ] {
        let seen = trained_on(icons.path(), 16, words);
        assert_eq!((seen[0][0].as_slice(), seen[8][8].as_slice()), (ground.as_slice(), [0; 3].as_slice()), "{words}");
    }
    // A colour that stands for transparency (tRNS), here white.
    let data: Vec<u8> = (0..256).flat_map(|i| if inside(i) { [9, 80, 200] } else { [255; 3] }).collect();
    let key = [(*b"tRNS", vec![0, 255, 0, 255, 0, 255])];
    let icons = folder_of("icon.png", &png_of(16, png::ColorType::Rgb, png::BitDepth::Eight, &data, &key));
    let seen = trained_on(icons.path(), 16, "--set data.background=grey");
    assert_eq!((seen[0][0].as_slice(), seen[8][8].as_slice()), ([128; 3].as_slice(), [9, 80, 200].as_slice()));
    let mut command = program(&format!("train {TINY} --set data.background=purple"));
    command.arg("--data").arg(icons.path());
    let message = stderr(&exit_with(command, 2));
    assert!(
        message.contains("`data.background` expected `black`, `white`, `grey`") && message.contains("purple"),
        "{message}"
    );
}

#[test]
fn case_04_sixteen_bits_are_rounded() {
    // 0x00ff is nearest to 1, and 0xff00 to 254: with the low byte cut off they would be 0 and 255.
    let values = [0u16, 0x00ff, 0x0180, 0xff00];
    let data: Vec<u8> = (0..256).flat_map(|i| values[i % 4].to_be_bytes()).collect();
    let folder = folder_of("x.png", &png_of(16, png::ColorType::Grayscale, png::BitDepth::Sixteen, &data, &[]));
    let images = vgan_cuda::data::load(folder.path().to_str().expect("a path"), &Default::default()).expect("images");
    assert_eq!(images.pixels[..4], [0, 1, 1, 254]);
}

/// A path to something that is no file, which must be refused and not waited for.
fn refused_at_once(folder: &Path, path: &Path, kind: &str) {
    for what in [folder, path] {
        for words in ["dataset check", &format!("train {TINY} --data")] {
            let mut command = program(words);
            let mut child = command.arg(what).spawn().expect("the program starts");
            let start = std::time::Instant::now();
            while child.try_wait().expect("a child").is_none() {
                if start.elapsed().as_secs() > 30 {
                    child.kill().expect("killing");
                    panic!("{words} {} waits", what.display());
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let output = child.wait_with_output().expect("its output");
            let text = stdout(&output) + &stderr(&output);
            let expected = format!("{}: expected a regular file, found {kind}", path.display());
            assert_eq!(output.status.code(), Some(3), "{words} {}: {text}", what.display());
            assert!(text.contains(&expected), "{words} {}: {text}", what.display());
        }
    }
}

#[cfg(unix)]
#[test]
fn case_08_pipes_sockets_and_devices_are_refused_at_once() {
    let picture = png_of(16, png::ColorType::Rgb, png::BitDepth::Eight, &[9; 768], &[]);
    let make = |name: &str, create: &dyn Fn(&Path)| -> (tempfile::TempDir, PathBuf) {
        let folder = folder_of("x.png", &picture);
        let path = folder.path().join(name);
        create(&path);
        (folder, path)
    };
    let (folder, path) = make("pipe.png", &|path| {
        let made = std::process::Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    });
    refused_at_once(folder.path(), &path, "a named pipe");
    let (folder, path) =
        make("socket.jpg", &|path| drop(std::os::unix::net::UnixListener::bind(path).expect("a socket")));
    refused_at_once(folder.path(), &path, "a socket");
    let (folder, path) = make("zero.png", &|path| std::os::unix::fs::symlink("/dev/zero", path).expect("a link"));
    refused_at_once(folder.path(), &path, "a device");
    // A link to a picture is a picture; a pipe that claims to be none is left out as other files are.
    let (folder, _) = make("link.png", &|path| std::os::unix::fs::symlink("a-x.png", path).expect("a link"));
    assert!(
        std::process::Command::new("mkfifo").arg(folder.path().join("control")).status().expect("mkfifo").success()
    );
    let report = check(folder.path(), 0).0;
    assert!(report.contains("files     3 (0 bad") && report.contains("left out  1 file (control)"), "{report}");
}

#[test]
fn case_19_other_formats_are_named_whatever_the_extension() {
    let tail = [0u8; 40];
    let kinds: [(&[u8], &str, &str); 22] = [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "a HEIC image", "convert the file to PNG"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heix", "a HEIC image", "convert"),
        (b"\0\0\0\x1cftypavif\0\0\0\0avifmif1", "an AVIF image", "convert"),
        (b"\0\0\0\x0cJXL \r\n\x87\n\0\0\0\x14ftypjxl ", "a JPEG XL image", "convert"),
        (b"\xff\x0a\xfa\x1f", "a JPEG XL image", "convert"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image", "convert"),
        (b"\xff\x4f\xff\x51", "a JPEG 2000 image", "convert"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "a WebP image", "convert"),
        (b"GIF89a\x01\0", "a GIF", "convert"),
        (b"BM\x46\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", "a BMP image", "convert"),
        (b"II*\0\x08\0\0\0", "a TIFF image", "convert"),
        (b"MM\0*\0\0\0\x08", "a TIFF image", "convert"),
        (b"8BPS\0\x01", "a Photoshop file", "convert"),
        (b"<?xml version=\"1.0\"?>\n<svg xmlns=\"", "an SVG drawing", "convert"),
        (b"\n<!DOCTYPE html>\n<html><title>403", "a web page (HTML)", "fetch the file again"),
        (b"<?xml version=\"1.0\"?><Error><Code>AccessDenied", "an XML text", "fetch the file again"),
        (b"{\"error\": \"rate limit\"}", "a JSON text", "fetch the file again"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS", "git lfs pull"),
        (b"PK\x03\x04\x14\0", "a zip archive", "unpack"),
        (b"%PDF-1.7", "a PDF", "convert"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0isom", "a video (MP4 or MOV)", "frames"),
        (b"", "a file of zeros", "fetch the file again"),
    ];
    let picture = png_of(16, png::ColorType::Rgb, png::BitDepth::Eight, &[9; 768], &[]);
    for extension in ["jpg", "PNG", "heic"] {
        let folder = folder_of("good.png", &picture);
        for (number, (start, ..)) in kinds.iter().enumerate() {
            fs::write(folder.path().join(format!("{number}.{extension}")), [*start, &tail].concat()).expect("writing");
        }
        let report = check(folder.path(), 3).0;
        for (number, (_, name, advice)) in kinds.iter().enumerate() {
            let at = format!("/{number}.{extension}: ");
            let line = report.lines().find(|line| line.contains(&at)).unwrap_or_else(|| panic!("{at}{report}"));
            assert!(line.contains("found ") && line.contains(name) && line.contains(advice), "{line}");
        }
    }
    // Pictures count as meant without an extension too; an archive beside them is left out.
    let folder = folder_of("good.png", &picture);
    fs::write(folder.path().join("IMG_1"), kinds[0].0).expect("writing");
    fs::write(folder.path().join("all"), [kinds[18].0, &tail].concat()).expect("writing");
    let report = check(folder.path(), 3).0;
    assert!(report.contains("files     3 (1 bad") && report.contains("left out  1 file (all)"), "{report}");
    assert!(report.contains("a HEIC image"), "{report}");
}
