//! Small files of every format, made by hand, for the tests of the data room.

// Each test binary uses its own part of these, and none is a library.
#![allow(dead_code, unreachable_pub)]

pub mod jpeg;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// An IDX file of unsigned bytes: magic, the sizes, then `payload`.
pub fn idx(sizes: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, sizes.len() as u8];
    for size in sizes {
        bytes.extend(size.to_be_bytes());
    }
    bytes.extend(payload);
    bytes
}

/// The value that [`cifar`] puts at a place of an image with this label.
pub fn cifar_value(label: u8, channel: usize, y: usize, x: usize) -> u8 {
    (usize::from(label) * 31 + channel * 67 + y * 5 + x * 3) as u8
}

/// CIFAR-10 records with these labels, planes in the order red, green, blue.
pub fn cifar(labels: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for &label in labels {
        bytes.push(label);
        for channel in 0..3 {
            for y in 0..32 {
                for x in 0..32 {
                    bytes.push(cifar_value(label, channel, y, x));
                }
            }
        }
    }
    bytes
}

pub fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A valid PNG from the `png` crate's encoder.
pub fn png(width: u32, height: u32, color: png::ColorType, depth: png::BitDepth, data: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if color == png::ColorType::Indexed {
        encoder.set_palette(vec![10, 20, 30, 200, 150, 100, 1, 2, 3, 255, 255, 255]);
    }
    encoder.write_header().unwrap().write_image_data(data).unwrap();
    bytes
}

/// An RGB PNG of one colour.
pub fn flat_png(width: u32, height: u32, rgb: [u8; 3]) -> Vec<u8> {
    png(width, height, png::ColorType::Rgb, png::BitDepth::Eight, &rgb.repeat((width * height) as usize))
}

/// A grey PNG of one value.
pub fn flat_grey(width: u32, height: u32, value: u8) -> Vec<u8> {
    let data = vec![value; (width * height) as usize];
    png(width, height, png::ColorType::Grayscale, png::BitDepth::Eight, &data)
}

/// One PNG chunk: length, name, content, checksum.
pub fn chunk(name: &[u8; 4], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(name);
    crc.update(content);
    let mut bytes = (content.len() as u32).to_be_bytes().to_vec();
    bytes.extend(name);
    bytes.extend(content);
    bytes.extend(crc.sum().to_be_bytes());
    bytes
}

/// The content of an IHDR chunk.
pub fn ihdr(width: u32, height: u32, depth: u8, color: u8) -> Vec<u8> {
    let mut bytes = width.to_be_bytes().to_vec();
    bytes.extend(height.to_be_bytes());
    bytes.extend([depth, color, 0, 0, 0]);
    bytes
}

/// A PNG of these chunks, right or wrong.
pub fn raw_png(chunks: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    bytes.extend(chunks.concat());
    bytes
}

/// Writes a file, with the folders above it.
pub fn write(folder: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// The folder of real data sets: `$VGAN_DATA`, or `../shared/data` beside the repository. None, with a loud line,
/// where `name` is not there.
pub fn real_data(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("VGAN_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data"), PathBuf::from);
    let path = root.join(name);
    if !path.exists() {
        eprintln!("SKIPPED: {} is not there (set VGAN_DATA to the folder of the real data sets)", path.display());
        return None;
    }
    Some(path)
}
