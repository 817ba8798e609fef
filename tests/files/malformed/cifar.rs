//! CIFAR-10's binary files.

use tempfile::tempdir;

use super::*;
use crate::data_samples::{cifar, flat_grey, gz, idx, jpeg, write};

const RECORD: usize = 3073;

/// CIFAR-100's records: two label bytes.
pub(crate) fn cifar_100(labels: &[u8]) -> Vec<u8> {
    cifar(labels).chunks(RECORD).flat_map(|record| [&[0], record].concat()).collect()
}

pub(crate) fn all() -> Vec<Case> {
    let one = || cifar(&[3]);
    let three = || cifar(&[3, 4, 5]);
    let packed = || gz(&[&[3], noise(3072).as_slice()].concat());
    let end = packed().len();
    let mut all = cases(vec![
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
        ("CIFAR-100", cifar_100(&[1, 2]), "this looks like CIFAR-100"),
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
        ("CIFAR-100, one record", cifar_100(&[9]), "this looks like CIFAR-100"),
        ("a web page", b"<!DOCTYPE html><html><body>404</body></html>".to_vec(), "bytes, found 44 bytes"),
        ("the Python version", b"\x80\x02}q\x01(U\x0bbatch_labelq\x02".to_vec(), "found 21 bytes"),
        ("the MATLAB version", b"MATLAB 5.0 MAT-file, Platform: GLNXA64".to_vec(), "found 38 bytes"),
        ("an array of NumPy", b"\x93NUMPY\x01\x00v\x00{'descr': '|u1'}".to_vec(), "found 26 bytes"),
        ("a zip archive", b"PK\x03\x04\x14\x00\x00\x00\x08\x00".to_vec(), "found 10 bytes"),
        (
            "newlines converted",
            three().into_iter().flat_map(|byte| if byte == b'\n' { vec![b'\r', b'\n'] } else { vec![byte] }).collect(),
            "after the last whole record",
        ),
        (
            "a checksum after each record",
            three().chunks(RECORD).flat_map(|record| [record, &[0; 4]].concat()).collect(),
            "12 after the last whole record",
        ),
        (
            "labels at the end",
            three().chunks(RECORD).flat_map(|record| [&record[1..], &record[..1]].concat()).collect(),
            "at offset 0 (record 0), found 93",
        ),
        ("text labels", with(three(), 3073, b'4'), "at offset 3073 (record 1), found 52"),
        ("labels from 1 to 10", cifar(&[1, 10]), "at offset 3073 (record 1), found 10"),
        (
            "a pixel between two records",
            [&cifar(&[1])[..], &[77], &cifar(&[2])[..3072]].concat(),
            "(record 1), found 77",
        ),
    ]);
    // Cuts at each plane of the second record, and a byte before and after the records' border.
    for length in [1024, 2049, 3072, 3074, 4098, 5122, 6145, 6147] {
        all.push((format!("cut at {length}"), cut(three(), length), format!("found {length} bytes")).into());
    }
    // The values next to the last good label, and those that another type of label would have, in each record.
    for (record, label) in [(1, 10), (2, 16), (1, 100), (2, 127), (0, 128), (1, 254), (2, 255)] {
        let offset = record * RECORD;
        let says = format!("at offset {offset} (record {record}), found {label}");
        all.push((format!("label {label} in record {record}"), with(three(), offset, label), says).into());
    }
    for (name, length) in [("header", 10), ("first block", 60), ("checksum", end - 5), ("last byte", end - 1)] {
        all.push((format!("gzip cut in its {name}"), cut(packed(), length), "a stream that ends too early").into());
    }
    table("CIFAR-10", all)
}

#[test]
fn malformed_cifar_files_are_refused() {
    let mut complaints = Vec::new();
    for case in all() {
        let folder = tempdir().unwrap();
        let path = write(folder.path(), "data_batch_1.bin", &case.bytes);
        complaints.extend(complaint(&path, &path, &case));
        if !case.says.contains("picture") {
            write(folder.path(), "data_batch_0.bin", &cifar(&[3]));
            complaints.extend(complaint(folder.path(), &path, &case));
        }
    }
    assert_none(complaints);
}
