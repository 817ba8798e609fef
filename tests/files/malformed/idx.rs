//! IDX files, and their labels.

use tempfile::tempdir;
use vgan_cuda::data::{LoadOptions, load};

use super::*;
use crate::data_samples::{gz, idx, write};

pub(crate) fn all() -> Vec<Case> {
    let valid = || idx(&[2, 3, 4], &[7; 24]);
    let packed = || gz(&idx(&[2, 30, 40], &noise(2400)));
    let end = packed().len();
    let mut all = cases(vec![
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
        ("a product beyond 64 bits", idx(&[u32::MAX, u32::MAX, u32::MAX], &[0; 9]), "at most 16384 rows at offset 8"),
        ("a count below 0", idx(&[u32::MAX - 1, 1, 1], &[0; 9]), "4294967294 bytes after the header"),
        (
            "sizes of another order",
            idx(&[28, 28, 60_000], &[0; 784]),
            "at most 16384 columns at offset 12, found 60000",
        ),
        ("little-endian with one dimension", plus(vec![1, 8, 0, 0], &[5, 0, 0, 0]), "found 01 08"),
        ("text with a mark of byte order", b"\xff\xfe\x08\x03 no data set".to_vec(), "found ff fe"),
        ("a magic in text", b"0x00000803 00000002".to_vec(), "found 30 78"),
        ("an offset before the magic", plus(vec![0], &valid()), "at offset 2, found 00 (no IDX type)"),
        ("two bytes before the magic", plus(vec![0, 0], &valid()), "at offset 2, found 00 (no IDX type)"),
        ("without its first byte", valid()[1..].to_vec(), "found 00 08"),
        ("zeros", vec![0; 40], "at offset 2, found 00 (no IDX type)"),
    ]);
    // Every other place within the header.
    for length in [5, 6, 7, 9, 10, 11, 12, 13, 14] {
        all.push((format!("cut at {length}"), cut(valid(), length), format!("ends after {length}")).into());
    }
    table("IDX", all)
}

#[test]
fn malformed_idx_files_are_refused() {
    let mut complaints = Vec::new();
    for case in all() {
        let folder = tempdir().unwrap();
        let path = write(folder.path(), "images-idx3-ubyte", &case.bytes);
        complaints.extend(complaint(&path, &path, &case));
        complaints.extend(complaint(folder.path(), &path, &case));
    }
    assert_none(complaints);
}

/// Labels are not needed: the images are read without them, and a remark says why.
pub(crate) fn labels() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let valid = || idx(&[2], &[1, 0]);
    vec![
        ("empty", vec![], "an empty file"),
        ("magic alone", cut(valid(), 4), "ends after 4"),
        ("cut in the count", cut(valid(), 7), "ends after 7"),
        ("no labels", cut(valid(), 8), "found 0 bytes"),
        ("one short", cut(valid(), 9), "found 1 bytes"),
        ("one too many", plus(valid(), &[0]), "found more bytes"),
        ("none", idx(&[0], &[]), "at least 1 as count"),
        ("three labels", idx(&[3], &[0, 1, 0]), "has 3 labels for 2 images"),
        ("a lying count", idx(&[u32::MAX], &[0, 1]), "4294967295 bytes after the header"),
        ("images", idx(&[2, 1, 1], &[0, 1]), "offset 3, found 3"),
        ("floats", with(valid(), 2, 13), "32-bit floats"),
        ("another magic", with(valid(), 0, 9), "found 09 00"),
        ("gzip cut", cut(gz(&valid()), 20), "ends too early"),
        ("text", b"1\n0\n".to_vec(), "found 31 0a"),
    ]
}

#[test]
fn malformed_labels_are_left_out_with_a_remark() {
    let folder = tempdir().unwrap();
    let images = write(folder.path(), "images-idx3-ubyte", &idx(&[2, 1, 1], &[7, 9]));
    for (name, bytes, says) in labels() {
        write(folder.path(), "labels-idx1-ubyte", &bytes);
        let images = load(images.to_str().unwrap(), &LoadOptions::default()).expect(name);
        let remarks = images.report.remarks.join("; ");
        assert!(images.count == 2 && images.labels.is_none(), "{name}");
        assert!(remarks.contains("read without labels") && remarks.contains(says), "{name}: {remarks}");
    }
}
