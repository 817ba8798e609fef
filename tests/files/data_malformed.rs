//! Malformed files of every format: an error with path, what was expected and what was found, exit code 3, no panic.

use std::path::Path;

use crate::data_samples::*;
use proptest::prelude::*;
use tempfile::tempdir;
use vgan_cuda::data::{LoadOptions, check, load};
use vgan_cuda::error::Error;

/// Name of the file, its content, and what the message must say.
type Case = (&'static str, Vec<u8>, &'static str);

/// Loads `source`, which must fail with a message that names `culprit` and says `fragment`; returns what is wrong with
/// the message, so that a test shows all its bad cases at once.
fn complaint(source: &Path, culprit: &Path, name: &str, fragment: &str) -> Option<String> {
    let error = match load(source.to_str().unwrap(), &LoadOptions { resize: 4, channels: 1, ..LoadOptions::default() })
    {
        Err(error) => error,
        Ok(images) => return Some(format!("{name}: was taken as {}", images.description)),
    };
    let message = error.to_string();
    let good = matches!(error, Error::BadData { .. })
        && error.exit_code() == 3
        && message.starts_with(culprit.to_str().unwrap())
        && message.contains("expected ")
        && message.contains(", found ")
        && message.contains(fragment)
        && !message.contains(char::is_control);
    if !good {
        return Some(format!("{name}: no {fragment:?}, path, expected or found in: {message:?}"));
    }
    match check(source, &LoadOptions::default()) {
        // It is a file that `train` reads.
        Ok(report) if report.bad.len() == 1 && report.bad[0].path == culprit && !report.is_ready() => {
            (!report.bad[0].needed).then(|| format!("{name}: a file that isn't needed, says the check"))
        }
        Ok(report) => Some(format!("{name}: the check says {report}")),
        Err(error) if error.exit_code() == 3 => None,
        Err(error) => Some(format!("{name}: the check fails: {error}")),
    }
}

fn assert_none(complaints: Vec<String>) {
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

fn with(mut bytes: Vec<u8>, offset: usize, value: u8) -> Vec<u8> {
    bytes[offset] = value;
    bytes
}

fn cut(mut bytes: Vec<u8>, length: usize) -> Vec<u8> {
    bytes.truncate(length);
    bytes
}

fn plus(mut bytes: Vec<u8>, more: &[u8]) -> Vec<u8> {
    bytes.extend(more);
    bytes
}

/// Bytes that gzip can't shorten, so that a cut or a flipped bit hits data.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 1u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::iter::repeat_with(next).take(length).collect()
}

#[test]
fn malformed_idx_files_are_refused() {
    let valid = || idx(&[2, 3, 4], &[7; 24]);
    let packed = || gz(&idx(&[2, 30, 40], &noise(2400)));
    let end = packed().len();
    let cases: Vec<Case> = vec![
        ("empty", vec![], "an empty file"),
        ("one byte", vec![0], "only 1 bytes"),
        ("three bytes", vec![0, 0, 8], "only 3 bytes"),
        ("magic alone", cut(valid(), 4), "header of 16 bytes, found a file that ends after 4"),
        ("cut after the count", cut(valid(), 8), "ends after 8"),
        ("cut in the last size", cut(valid(), 15), "ends after 15"),
        ("first byte", with(valid(), 0, 1), "the bytes 00 00 (IDX magic 00 00 08 03) at offset 0, found 01 00"),
        ("second byte", with(valid(), 1, 0xff), "found 00 ff"),
        ("magic reversed", plus(vec![3, 8, 0, 0], &valid()[4..]), "found 03 08"),
        ("type 00", with(valid(), 2, 0), "at offset 2, found 00 (no IDX type)"),
        ("signed bytes", with(valid(), 2, 9), "found 09 (signed bytes)"),
        ("type 0a", with(valid(), 2, 10), "found 0a (no IDX type)"),
        ("16-bit", with(valid(), 2, 11), "found 0b (16-bit integers)"),
        ("32-bit", with(valid(), 2, 12), "found 0c (32-bit integers)"),
        ("floats", with(valid(), 2, 13), "found 0d (32-bit floats)"),
        ("doubles", with(valid(), 2, 14), "found 0e (64-bit floats)"),
        ("type ff", with(valid(), 2, 255), "found ff (no IDX type)"),
        ("0 dimensions", with(valid(), 3, 0), "3 as number of dimensions at offset 3, found 0"),
        ("labels", idx(&[5], &[1, 2, 3, 4, 5]), "this is a file of labels"),
        ("labels, gzipped", gz(&idx(&[5], &[1, 2, 3, 4, 5])), "this is a file of labels"),
        ("2 dimensions", idx(&[3, 4], &[0; 12]), "offset 3, found 2"),
        ("4 dimensions", idx(&[1, 3, 4, 1], &[0; 12]), "offset 3, found 4"),
        ("255 dimensions", with(valid(), 3, 255), "found 255"),
        ("no images", idx(&[0, 3, 4], &[]), "at least 1 as count at offset 4, found 0"),
        ("no rows", idx(&[2, 0, 4], &[]), "at least 1 as rows at offset 8, found 0"),
        ("no columns", idx(&[2, 3, 0], &[]), "at least 1 as columns at offset 12, found 0"),
        ("too many rows", idx(&[1, 16_385, 1], &[0; 16_385]), "at most 16384 rows at offset 8, found 16385"),
        ("too many columns", idx(&[1, 1, u32::MAX], &[0]), "at most 16384 columns at offset 12, found 4294967295"),
        ("sizes reversed", plus(cut(valid(), 4), &[2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]), "at offset 8, found 50331648"),
        ("more than any memory", idx(&[u32::MAX, 16_384, 16_384], &[0; 9]), "sizes for at most 68719476736 bytes"),
        ("no pixels", idx(&[2, 3, 4], &[]), "24 bytes after the header (2 images of 3×4), found 0 bytes"),
        ("one pixel short", idx(&[2, 3, 4], &[0; 23]), "found 23 bytes, the file ends at offset 39"),
        ("one image short", idx(&[2, 3, 4], &[0; 12]), "found 12 bytes"),
        ("a lying count", idx(&[60_000_000, 28, 28], &[0; 784]), "47040000000 bytes after the header"),
        ("one byte too many", idx(&[2, 3, 4], &[0; 25]), "the end of the file at offset 40"),
        ("twice in one file", plus(valid(), &valid()), "found more bytes"),
        ("newlines converted", idx(&[2, 3, 4], b"\r\n34567890123456789012345"), "the end of the file at offset 40"),
        ("text", b"hello, this is no data set".to_vec(), "found 68 65"),
        ("gzip magic alone", vec![0x1f, 0x8b], "a stream that ends too early"),
        ("gzip header alone", cut(packed(), 10), "a stream that ends too early"),
        ("gzip cut in half", cut(packed(), end / 2), "a stream that ends too early"),
        ("gzip without its end", cut(packed(), end - 8), "a stream that ends too early"),
        ("gzip with a wrong checksum", with(packed(), end - 6, packed()[end - 6] ^ 1), "a damaged one"),
        ("gzip with a wrong length", with(packed(), end - 2, 9), "a damaged one"),
        ("gzip with a flipped bit", with(packed(), end / 2, packed()[end / 2] ^ 4), "gzip"),
        ("gzip with an unknown method", with(packed(), 2, 9), "a damaged one"),
        ("gzip and garbage", plus(packed(), b"garbage, long enough for a header"), "junk"),
        ("gzip of nothing", gz(&[]), "an empty file"),
        ("gzip of a cut file", gz(&cut(valid(), 20)), "found 4 bytes"),
        ("gzip of a long file", gz(&plus(valid(), &[0])), "found more bytes"),
        ("gzip in gzip", gz(&packed()), "found 1f 8b"),
    ];
    assert!(cases.len() >= 30);
    let mut complaints = Vec::new();
    for (name, bytes, fragment) in cases {
        let folder = tempdir().unwrap();
        let path = write(folder.path(), "images-idx3-ubyte", &bytes);
        complaints.extend(complaint(&path, &path, name, fragment));
        complaints.extend(complaint(folder.path(), &path, name, fragment));
    }
    assert_none(complaints);
}

/// CIFAR-100's records: two label bytes.
fn cifar_100() -> Vec<u8> {
    cifar(&[1, 2]).chunks(3073).flat_map(|record| [&[0], record].concat()).collect()
}

#[test]
fn malformed_cifar_files_are_refused() {
    let one = || cifar(&[3]);
    let three = || cifar(&[3, 4, 5]);
    let packed = || gz(&[&[3], noise(3072).as_slice()].concat());
    let end = packed().len();
    let cases: Vec<Case> = vec![
        ("empty", vec![], "an empty file"),
        ("one byte", vec![3], "a multiple of 3073 bytes, found 1 bytes, 1 after the last whole record"),
        ("no label", one()[1..].to_vec(), "found 3072 bytes"),
        ("one byte too many", plus(one(), &[0]), "1 after the last whole record"),
        ("one byte short", cut(three(), 3 * 3073 - 1), "3072 after the last whole record"),
        ("cut in the middle", cut(three(), 5000), "1927 after the last whole record"),
        ("a grey plane alone", cut(one(), 1025), "found 1025 bytes"),
        ("first label", with(one(), 0, 10), "a label from 0 to 9 at offset 0 (record 0), found 10"),
        ("largest label", with(one(), 0, 255), "found 255"),
        ("middle label", with(three(), 3073, 11), "at offset 3073 (record 1), found 11"),
        ("last label", with(three(), 6146, 10), "at offset 6146 (record 2), found 10"),
        ("shifted by a byte", plus(three()[1..].to_vec(), &[0]), "at offset 0 (record 0), found 93"),
        ("labels after the pixels", plus(one()[1..].to_vec(), &[3]), "found 93"),
        ("CIFAR-100", cifar_100(), "this looks like CIFAR-100"),
        ("32-bit labels", plus(vec![3, 0, 0], &one()), "3 after the last whole record"),
        ("a header before", plus(b"CIFAR".to_vec(), &one()), "5 after the last whole record"),
        ("text", b"hello".to_vec(), "found 5 bytes"),
        ("an IDX file", idx(&[2, 3, 4], &[0; 24]), "found 40 bytes"),
        ("a picture", flat_grey(2, 2, 0), "a single picture"),
        ("a whole JPEG", jpeg::GREY.to_vec(), "a single picture"),
        ("gzip magic alone", vec![0x1f, 0x8b], "a stream that ends too early"),
        ("gzip cut in half", cut(packed(), end / 2), "a stream that ends too early"),
        ("gzip without its end", cut(packed(), end - 8), "a stream that ends too early"),
        ("gzip with a wrong checksum", with(packed(), end - 6, packed()[end - 6] ^ 1), "a damaged one"),
        ("gzip with a wrong length", with(packed(), end - 2, 9), "a damaged one"),
        ("gzip with an unknown method", with(packed(), 2, 9), "a damaged one"),
        ("gzip and garbage", plus(packed(), b"garbage, long enough for a header"), "junk"),
        ("gzip of nothing", gz(&[]), "an empty file"),
        ("gzip of a cut file", gz(&cut(three(), 4000)), "927 after the last whole record"),
        ("gzip of a wrong label", gz(&with(three(), 3073, 99)), "at offset 3073 (record 1), found 99"),
        ("gzip in gzip", gz(&packed()), "after the last whole record"),
        ("zeros, not whole records", vec![0; 4096], "1023 after the last whole record"),
    ];
    assert!(cases.len() >= 30);
    let mut complaints = Vec::new();
    for (name, bytes, fragment) in cases {
        let folder = tempdir().unwrap();
        let path = write(folder.path(), "data_batch_1.bin", &bytes);
        complaints.extend(complaint(&path, &path, name, fragment));
        if !fragment.contains("picture") {
            write(folder.path(), "data_batch_0.bin", &one());
            complaints.extend(complaint(folder.path(), &path, name, fragment));
        }
    }
    assert_none(complaints);
}

#[test]
fn malformed_cifar_archives_are_refused() {
    let batch = |name: &str, bytes: &[u8]| tar(&[(&format!("cifar-10-batches-bin/{name}"), bytes)]);
    let valid = || batch("data_batch_1.bin", &cifar(&[1, 2]));
    let packed = || gz(&valid());
    let end = packed().len();
    let cases: Vec<Case> = vec![
        ("empty", vec![], "an empty file"),
        ("no entries", vec![0; 1024], "an archive with cifar-10-batches-bin/data_batch_1.bin"),
        ("other files", tar(&[("a/readme.txt", b"hi"), ("b", b"")]), "other things, the first of 2 is a/readme.txt"),
        ("the Python version", batch("data_batch_1", &cifar(&[1])), "only the binary version"),
        ("CIFAR-100", tar(&[("cifar-100-binary/train.bin", &cifar_100())]), "cifar-100-binary/train.bin"),
        ("an empty batch", batch("data_batch_1.bin", &[]), "records of 3073 bytes in data_batch_1.bin"),
        ("a cut batch", batch("data_batch_1.bin", &cifar(&[1])[..3000]), "3073 bytes in data_batch_1.bin"),
        ("a wrong label", batch("data_batch_1.bin", &cifar(&[1, 12])), "offset 3073 (record 1) in data_batch_1.bin"),
        ("CIFAR-100 by name", batch("data_batch_1.bin", &cifar_100()), "this looks like CIFAR-100"),
        (
            "cut in an entry",
            cut(valid(), 3000),
            "expected 6146 bytes of cifar-10-batches-bin/data_batch_1.bin, found 2488",
        ),
        ("cut in a header", cut(valid(), 300), "tar archive"),
        ("a damaged header", with(valid(), 3, b'X'), "a damaged one"),
        ("a damaged size", with(valid(), 126, b'z'), "a damaged one"),
        ("a lying size", with(valid(), 124, b'7'), "a damaged one"),
        ("text", b"hello, this is no archive".to_vec(), "tar archive"),
        ("noise", noise(5000), "a damaged one"),
        ("gzip cut in half", cut(packed(), end / 2), "damaged"),
        ("gzip without its end", cut(packed(), end - 8), "damaged"),
        ("gzip with a wrong checksum", with(packed(), end - 6, packed()[end - 6] ^ 1), "damaged"),
        ("gzip with a wrong length", with(packed(), end - 2, 9), "damaged"),
    ];
    let mut complaints = Vec::new();
    for (name, bytes, fragment) in cases {
        let folder = tempdir().unwrap();
        let path = write(folder.path(), "x.tar.gz", &bytes);
        complaints.extend(complaint(&path, &path, name, fragment));
    }
    assert_none(complaints);
}

/// The content of the IDAT chunk of a 2×2 grey picture.
fn grey_data() -> Vec<u8> {
    zlib(&[0, 1, 2, 0, 3, 4])
}

fn png_with_header(header: &[u8]) -> Vec<u8> {
    raw_png(&[chunk(b"IHDR", header), chunk(b"IDAT", &grey_data()), chunk(b"IEND", &[])])
}

fn png_with_data(data: &[u8]) -> Vec<u8> {
    raw_png(&[chunk(b"IHDR", &ihdr(2, 2, 8, 0)), chunk(b"IDAT", data), chunk(b"IEND", &[])])
}

#[test]
fn malformed_png_files_are_refused() {
    let valid = || png_with_data(&grey_data());
    let (header, data, finish) =
        (|| chunk(b"IHDR", &ihdr(2, 2, 8, 0)), || chunk(b"IDAT", &grey_data()), || chunk(b"IEND", &[]));
    let palette_header = || chunk(b"IHDR", &ihdr(2, 2, 8, 3));
    let cut_data = |length: usize| png_with_data(&cut(grey_data(), length));
    let mut wrong_adler = grey_data();
    *wrong_adler.last_mut().unwrap() ^= 1;
    let end = valid().len();
    let cases: Vec<Case> = vec![
        ("empty", vec![], "an empty file"),
        ("one byte", vec![0x89], "the bytes 89 at offset 0"),
        ("signature alone", cut(valid(), 8), "a file that ends too early"),
        ("signature with newlines converted", with(valid(), 4, b'\n'), "89 50 4e 47 0a 0a 1a 0a at offset 0"),
        ("cut in the header", cut(valid(), 20), "a file that ends too early"),
        ("cut after the header", cut(valid(), 33), "a file that ends too early"),
        ("cut in the data", cut(valid(), 45), "a file that ends too early"),
        ("cut before the end", cut(valid(), end - 12), "a file that ends too early"),
        ("cut in the end", cut(valid(), end - 6), "a file that ends too early"),
        ("header's checksum", with(valid(), 30, valid()[30] ^ 1), "CRC"),
        ("data's checksum", with(valid(), end - 14, valid()[end - 14] ^ 1), "CRC"),
        ("a flipped bit in the data", with(valid(), 45, valid()[45] ^ 1), "a damaged one"),
        ("the end's checksum", with(valid(), end - 1, valid()[end - 1] ^ 1), "CRC"),
        (
            "an unknown chunk after the data",
            raw_png(&[header(), data(), chunk(b"ABCD", &[1]), finish()]),
            "a damaged one",
        ),
        ("data first", raw_png(&[data(), header(), finish()]), "a damaged one"),
        ("no data", raw_png(&[header(), finish()]), "a damaged one"),
        ("no header", raw_png(&[finish()]), "a damaged one"),
        ("two headers", raw_png(&[header(), header(), data(), finish()]), "a damaged one"),
        ("no columns", png_with_header(&ihdr(0, 2, 8, 0)), "Invalid image dimensions"),
        ("no rows", png_with_header(&ihdr(2, 0, 8, 0)), "Invalid image dimensions"),
        ("too many columns", png_with_header(&ihdr(16_385, 2, 8, 0)), "at most 16384 rows and columns, found 2×16385"),
        ("too many rows", png_with_header(&ihdr(2, 1 << 30, 8, 0)), "found 1073741824×2"),
        ("too many pixels", png_with_header(&ihdr(16_384, 16_384, 1, 0)), "at most 134217728 pixels"),
        ("a lying header", png_with_header(&ihdr(8000, 8000, 8, 2)), "which can't hold that many pixels"),
        ("a header of the wrong length", png_with_header(&ihdr(2, 2, 8, 0)[..12]), "a damaged one"),
        ("depth 3", png_with_header(&ihdr(2, 2, 3, 0)), "a damaged one"),
        ("depth 0", png_with_header(&ihdr(2, 2, 0, 0)), "a damaged one"),
        ("colour type 5", png_with_header(&ihdr(2, 2, 8, 5)), "a damaged one"),
        ("colour of 1 bit", png_with_header(&ihdr(2, 2, 1, 2)), "a damaged one"),
        ("palette of 16 bits", png_with_header(&ihdr(2, 2, 16, 3)), "a damaged one"),
        ("compression 1", png_with_header(&with(ihdr(2, 2, 8, 0), 10, 1)), "a damaged one"),
        ("filter method 1", png_with_header(&with(ihdr(2, 2, 8, 0), 11, 1)), "a damaged one"),
        ("interlace 7", png_with_header(&with(ihdr(2, 2, 8, 0), 12, 7)), "a damaged one"),
        ("no palette", raw_png(&[palette_header(), data(), finish()]), "a damaged one"),
        ("data that is not packed", png_with_data(&[0, 1, 2, 0, 3, 4]), "a damaged one"),
        ("no data in the data", png_with_data(&[]), "a whole PNG"),
        ("packed data cut", cut_data(5), "a whole PNG"),
        ("packed data's checksum", png_with_data(&wrong_adler), "a damaged one"),
        ("a row short", png_with_data(&zlib(&[0, 1, 2])), "a whole PNG"),
        ("unknown filter", png_with_data(&zlib(&[0, 1, 2, 9, 3, 4])), "a damaged one"),
        ("a chunk longer than the file", with(valid(), 33, 0x7f), "a whole PNG"),
        (
            "an unknown chunk that matters",
            raw_png(&[header(), chunk(b"ABCD", &[1]), data(), finish()]),
            "a damaged one",
        ),
        ("text", b"hello".to_vec(), "the bytes 68 65 6c 6c 6f at offset 0"),
        ("a web page", b"<!DOCTYPE html><html>".to_vec(), "a web page (HTML): the download went wrong"),
        ("a GIF", b"GIF89a\x01\x00\x01\x00".to_vec(), "a GIF"),
        ("a BMP", b"BM\x46\x00\x00\x00".to_vec(), "a BMP image"),
        ("a WebP", b"RIFF\x24\x00\x00\x00WEBPVP8 ".to_vec(), "a WebP image"),
        ("a TIFF", b"II*\x00\x08\x00\x00\x00".to_vec(), "a TIFF image"),
    ];
    assert!(cases.len() >= 30);
    refuse_pictures("image.png", cases);
}

/// `bytes` with `content` in place of what follows `marker` and the segment's length.
fn with_segment(bytes: &[u8], marker: u8, edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let start = position(bytes, marker);
    let length = usize::from(bytes[start + 2]) << 8 | usize::from(bytes[start + 3]);
    let mut content = bytes[start + 4..start + 2 + length].to_vec();
    edit(&mut content);
    let mut segment = vec![0xff, marker];
    segment.extend((content.len() as u16 + 2).to_be_bytes());
    segment.extend(content);
    [&bytes[..start], &segment, &bytes[start + 2 + length..]].concat()
}

fn without_segment(bytes: &[u8], marker: u8) -> Vec<u8> {
    let start = position(bytes, marker);
    let length = usize::from(bytes[start + 2]) << 8 | usize::from(bytes[start + 3]);
    [&bytes[..start], &bytes[start + 2 + length..]].concat()
}

fn position(bytes: &[u8], marker: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap()
}

#[test]
fn malformed_jpeg_files_are_refused() {
    let (sof, dht, dqt, sos) = (0xc0, 0xc4, 0xdb, 0xda);
    let grey = || jpeg::GREY.to_vec();
    let colour = || jpeg::COLOUR.to_vec();
    let scan = position(&grey(), sos);
    let size = |height: u16, width: u16| {
        with_segment(&grey(), sof, |frame| {
            frame[1..3].copy_from_slice(&height.to_be_bytes());
            frame[3..5].copy_from_slice(&width.to_be_bytes());
        })
    };
    let frame = |edit: fn(&mut Vec<u8>)| with_segment(&grey(), sof, edit);
    let cases: Vec<Case> = vec![
        ("empty", vec![], "an empty file"),
        ("start mark alone", cut(grey(), 2), "the bytes ff d8 at offset 0"),
        ("start of a marker", cut(grey(), 3), "that ends too early"),
        ("cut in the first segment", cut(grey(), 12), "that ends too early"),
        ("cut in the quantisation table", cut(grey(), 60), "that ends too early"),
        ("cut before the frame", cut(grey(), position(&grey(), sof)), "that ends too early"),
        ("cut in the frame", cut(grey(), position(&grey(), sof) + 6), "that ends too early"),
        ("cut before the Huffman tables", cut(grey(), position(&grey(), dht)), "a whole JPEG"),
        ("cut before the scan", cut(grey(), scan), "a whole JPEG"),
        ("cut in the scan's header", cut(grey(), scan + 5), "that ends too early"),
        ("cut before the data", cut(grey(), scan + 10), "that ends too early"),
        ("cut in the data", cut(grey(), grey().len() - 6), "that ends too early"),
        ("no end mark", cut(grey(), grey().len() - 2), "an end mark (ff d9) after the image's data"),
        ("half an end mark", cut(grey(), grey().len() - 1), "an end mark (ff d9)"),
        ("colour cut in half", cut(colour(), colour().len() / 2), "a whole JPEG"),
        ("colour without its end", cut(colour(), colour().len() - 6), "that ends too early"),
        ("progressive cut in half", cut(jpeg::PROGRESSIVE.to_vec(), 260), "that ends too early"),
        ("progressive without its last scan", cut(jpeg::PROGRESSIVE.to_vec(), 480), "that ends too early"),
        ("no rows", size(0, 8), "at least one row"),
        ("no columns", size(8, 0), "at least one row and one column"),
        ("65535×65535", size(65_535, 65_535), "at most 16384 rows and columns"),
        ("too many rows", size(16_385, 8), "found 16385×8"),
        ("too many pixels", size(16_384, 16_384), "at most 134217728 pixels"),
        ("a lying header", size(2000, 2000), "which can't hold that many pixels"),
        ("more rows than data", size(200, 200), "a damaged one"),
        ("12 bits", frame(|frame| frame[0] = 12), "one of 12 bits a sample"),
        ("0 bits", frame(|frame| frame[0] = 0), "one of 0 bits a sample"),
        ("no components", frame(|frame| frame[5] = 0), "one of 0 components"),
        ("5 components", frame(|frame| frame[5] = 5), "a damaged one"),
        ("3 components promised, 1 described", frame(|frame| frame[5] = 3), "a damaged one"),
        ("sampling 0", frame(|frame| frame[7] = 0), "a damaged one"),
        ("sampling 15", frame(|frame| frame[7] = 0xff), "a damaged one"),
        ("quantisation table 9", frame(|frame| frame[8] = 9), "a damaged one"),
        ("a short frame", frame(|frame| frame.truncate(4)), "a damaged one"),
        ("lossless", with(grey(), position(&grey(), sof) + 1, 0xc3), "a lossless one"),
        ("arithmetic coding", with(grey(), position(&grey(), sof) + 1, 0xc9), "one with arithmetic coding"),
        ("no frame", without_segment(&grey(), sof), "a damaged one"),
        ("no quantisation table", without_segment(&grey(), dqt), "a damaged one"),
        ("no Huffman tables", without_segment(&without_segment(&grey(), dht), dht), "a damaged one"),
        ("one Huffman table", without_segment(&grey(), dht), "a damaged one"),
        ("an overfull Huffman table", with_segment(&grey(), dht, |table| table[1..17].fill(255)), "a damaged one"),
        ("a short Huffman table", with_segment(&grey(), dht, |table| table.truncate(9)), "a damaged one"),
        ("Huffman table 9", with_segment(&grey(), dht, |table| table[0] = 9), "a damaged one"),
        ("scan of component 7", with_segment(&grey(), sos, |scan| scan[1] = 7), "a damaged one"),
        ("scan of no component", with_segment(&grey(), sos, |scan| scan[0] = 0), "a damaged one"),
        (
            "a scan of one component of three",
            with_segment(&colour(), sos, |scan| {
                scan[0] = 1;
                scan.drain(3..7);
            }),
            "a component without data",
        ),
        ("a start mark and garbage", plus(vec![0xff, 0xd8, 0xff], &noise(200)), "that ends too early"),
        ("text", b"hello".to_vec(), "the bytes 68 65 6c 6c 6f at offset 0"),
    ];
    assert!(cases.len() >= 30);
    refuse_pictures("image.jpg", cases);
}

fn refuse_pictures(file: &str, cases: Vec<Case>) {
    let mut complaints = Vec::new();
    for (name, bytes, fragment) in cases {
        let folder = tempdir().unwrap();
        write(folder.path(), "a good one.png", &flat_grey(2, 2, 9));
        let path = write(folder.path(), file, &bytes);
        complaints.extend(complaint(folder.path(), &path, name, fragment));
    }
    assert_none(complaints);
}

/// Valid files of each format with the names that they go by.
fn valid_files() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("x-idx3-ubyte", idx(&[2, 5, 3], &noise(30))),
        ("x-idx3-ubyte.gz", gz(&idx(&[2, 5, 3], &noise(30)))),
        ("x.bin", cifar(&[0, 9])),
        ("x.bin.gz", gz(&cifar(&[0, 9]))),
        ("x.tar", tar(&[("data_batch_1.bin", &cifar(&[0]))])),
        ("x.tar.gz", gz(&tar(&[("data_batch_1.bin", &cifar(&[0]))]))),
        ("in/grey.png", flat_grey(5, 3, 200)),
        ("in/palette.png", png(3, 2, png::ColorType::Indexed, png::BitDepth::Two, &[0b0001_1000, 0b1110_0100])),
        ("in/alpha.png", png(1, 3, png::ColorType::Rgba, png::BitDepth::Sixteen, &noise(24))),
        ("in/grey.jpg", jpeg::GREY.to_vec()),
        ("in/colour.jpg", jpeg::COLOUR.to_vec()),
        ("in/progressive.jpg", jpeg::PROGRESSIVE.to_vec()),
        ("in/cmyk.jpg", jpeg::CMYK.to_vec()),
        ("in/subsampled.jpg", jpeg::SUBSAMPLED.to_vec()),
    ]
}

/// Loads a file (or, of pictures, its folder): it must come out whole or be refused in the proper way.
fn assert_no_surprise(name: &str, bytes: &[u8]) {
    let folder = tempdir().unwrap();
    let path = write(folder.path(), name, bytes);
    let source = if name.starts_with("in/") { folder.path().join("in") } else { path };
    let options = LoadOptions { resize: 3, channels: 3, ..LoadOptions::default() };
    match load(source.to_str().unwrap(), &options) {
        Ok(images) => assert_eq!(images.pixels.len(), images.count * 27),
        Err(error) => {
            assert_eq!(error.exit_code(), 3, "{error}");
            assert!(error.to_string().starts_with(source.to_str().unwrap()), "{error}");
        }
    }
    let _ = check(&source, &options);
}

proptest! {
    #[test]
    fn random_bytes_never_surprise(
        which in 0usize..14,
        keep in 0usize..40,
        random in proptest::collection::vec(any::<u8>(), 0..400),
    ) {
        let (name, valid) = valid_files().swap_remove(which);
        let start = &valid[..keep.min(valid.len())];
        assert_no_surprise(name, &[start, &random].concat());
    }

    #[test]
    fn damaged_files_never_surprise(
        which in 0usize..14,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let (name, mut bytes) = valid_files().swap_remove(which);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        if let Some(length) = length {
            bytes.truncate(length.index(bytes.len()));
        }
        assert_no_surprise(name, &bytes);
    }
}
