//! Archives of CIFAR-10: tar, gzipped or not.

use tempfile::tempdir;

use super::cifar::cifar_100;
use super::*;
use crate::data_samples::{cifar, gz, tar, write};

const BATCH: &str = "cifar-10-batches-bin/data_batch_1.bin";

/// A header with these fields in the place of its own, and a checksum that fits.
fn header(edit: impl Fn(&mut [u8; 512])) -> [u8; 512] {
    let mut header = tar::Header::new_ustar();
    header.set_path(BATCH).unwrap();
    header.set_size(3073);
    header.set_mode(0o644);
    let mut bytes = *header.as_bytes();
    edit(&mut bytes);
    bytes[148..156].fill(b' ');
    let sum: u32 = bytes.iter().map(|&byte| u32::from(byte)).sum();
    bytes[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    bytes
}

/// An archive of one batch with a header that was changed.
fn edited(edit: impl Fn(&mut [u8; 512])) -> Vec<u8> {
    let content = plus(cifar(&[1]), &[0; 511]);
    [&header(edit)[..], &content, &[0; 1024]].concat()
}

/// An archive that begins with an entry of this type and content, before a good batch.
fn before(kind: u8, name: &str, content: &[u8]) -> Vec<u8> {
    let first = header(|header| {
        header[..100].fill(0);
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[156] = kind;
    });
    let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
    [&first[..], content, &padding, &edited(|_| ())].concat()
}

pub(crate) fn all() -> Vec<Case> {
    let batch = |name: &str, bytes: &[u8]| tar(&[(&format!("cifar-10-batches-bin/{name}"), bytes)]);
    let valid = || batch("data_batch_1.bin", &cifar(&[1, 2]));
    let packed = || gz(&valid());
    let end = packed().len();
    let of_kind = |kind: u8| edited(|header| header[156] = kind);
    let size = |text: &[u8]| edited(|header| header[124..124 + text.len()].copy_from_slice(text));
    let pax = |records: &str| before(b'x', "PaxHeaders/x", records.as_bytes());
    let mut all = cases(vec![
        ("empty", vec![], "an empty file"),
        ("no entries", vec![0; 1024], "an archive with cifar-10-batches-bin/data_batch_1.bin"),
        ("other files", tar(&[("a/readme.txt", b"hi"), ("b", b"")]), "other things, the first of 2 is a/readme.txt"),
        ("the Python version", batch("data_batch_1", &cifar(&[1])), "only the binary version"),
        ("CIFAR-100", tar(&[("cifar-100-binary/train.bin", &cifar_100(&[1, 2]))]), "cifar-100-binary/train.bin"),
        ("an empty batch", batch("data_batch_1.bin", &[]), "records of 3073 bytes in data_batch_1.bin"),
        ("a cut batch", batch("data_batch_1.bin", &cifar(&[1])[..3000]), "3073 bytes in data_batch_1.bin"),
        ("a wrong label", batch("data_batch_1.bin", &cifar(&[1, 12])), "offset 3073 (record 1) in data_batch_1.bin"),
        ("CIFAR-100 by name", batch("data_batch_1.bin", &cifar_100(&[1, 2])), "this looks like CIFAR-100"),
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
        ("a batch twice", tar(&[(BATCH, &cifar(&[1])[..]), (BATCH, &cifar(&[2]))]), "data_batch_1.bin twice"),
        (
            "a batch in two folders",
            tar(&[("a/data_batch_1.bin", &cifar(&[1])[..]), ("b/data_batch_1.bin", &cifar(&[2]))]),
            "data_batch_1.bin twice",
        ),
        ("a hard link", of_kind(b'1'), "other things"),
        ("a symbolic link", of_kind(b'2'), "other things"),
        ("a character device", of_kind(b'3'), "other things"),
        ("a block device", of_kind(b'4'), "other things"),
        ("a folder of that name", of_kind(b'5'), "found nothing"),
        ("a pipe", of_kind(b'6'), "other things"),
        ("an unknown type", of_kind(b'Z'), "other things"),
        ("a volume's name", of_kind(b'V'), "other things"),
        ("a size of letters", size(b"abcdefghijk"), "a damaged one"),
        ("a size with an 8", size(b"00000006008"), "a damaged one"),
        ("a negative size", size(b"-0000006001"), "a damaged one"),
        ("a size of 2^63", size(&[0x80, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0]), "9223372036854775808 bytes of"),
        ("a size below 0 in binary", size(&[0xff; 12]), "tar archive"),
        ("a size of 8 GiB", size(b"77777777777"), "8589934591 bytes of cifar-10-batches-bin/data_batch_1.bin"),
        ("a size of 1 TiB in binary", size(&[0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0]), "1099511627776 bytes of"),
        ("no size", size(&[0; 12]), "tar archive"),
        ("one byte less", size(b"00000006000"), "a damaged one"),
        ("one byte more", size(b"00000006002"), "3073 bytes in data_batch_1.bin"),
        ("a size that takes the end along", size(b"00000010002"), "bytes in data_batch_1.bin"),
        ("no name", edited(|header| header[..100].fill(0)), "other things"),
        ("a name that is no text", edited(|header| header[25..28].fill(0xff)), "other things"),
        (
            "a name with an escape",
            edited(|header| header[25..30].copy_from_slice(b"\x1b[2Jx")),
            "other things, the first of 1 is cifar-10-batches-bin/data?[2Jx",
        ),
        ("no checksum", over(valid(), 148, b"        "), "a damaged one"),
        ("a checksum of letters", over(valid(), 148, b"checksum"), "a damaged one"),
        ("a mode that was changed", with(valid(), 100, b'7'), "a damaged one"),
        ("a pax record without a length", pax("path=x\n"), "a damaged one"),
        ("a pax record that is too long", pax("99 path=x\n"), "a damaged one"),
        ("a pax record of length 0", pax("0 path=x\n"), "a damaged one"),
        ("a pax record without =", pax("8 path\n"), "a damaged one"),
        ("a pax record without its end", pax("9 path=xy"), "a damaged one"),
        ("a pax record of 2^64", pax("18446744073709551616 path=x\n"), "a damaged one"),
        ("a pax size of letters", pax("11 size=ab\n"), "a damaged one"),
        ("a pax size below 0", pax("11 size=-1\n"), "a damaged one"),
        ("a pax size of 2^64 - 1", pax("29 size=18446744073709551615\n"), "a damaged one"),
        ("a pax size that is too small", pax("12 size=100\n"), "a damaged one"),
        ("a pax name elsewhere", pax("12 path=a/b\n"), "other things, the first of 1 is a/b"),
        ("a long name for nothing", cut(before(b'L', "././@LongLink", b"x/data_batch_1.bin"), 1024), "a damaged one"),
        (
            "two long names",
            {
                let long = before(b'L', "././@LongLink", b"x/data_batch_1.bin");
                [&long[..1024], &long].concat()
            },
            "a damaged one",
        ),
        ("a sparse file without its map", of_kind(b'S'), "tar archive"),
        ("an archive in an archive", tar(&[("data_batch_1.bin", &valid())]), "bytes in data_batch_1.bin"),
        ("a picture as a batch", tar(&[(BATCH, b"\x89PNG\r\n\x1a\n".as_slice())]), "3073 bytes in data_batch_1.bin"),
        ("gzip and garbage", plus(packed(), b"garbage, long enough for a header"), "junk"),
        ("gzip in gzip", gz(&packed()), "a damaged one"),
    ]);
    // At the border of each block of 512 bytes, and within the last.
    for length in [100, 511, 513, 1024, 3584, 6145, 6657] {
        all.push((format!("cut at {length}"), cut(valid(), length), "tar").into());
    }
    table("tar", all)
}

#[test]
fn malformed_archives_are_refused() {
    let mut complaints = Vec::new();
    for case in all() {
        let folder = tempdir().unwrap();
        let path = write(folder.path(), "x.tar.gz", &case.bytes);
        complaints.extend(complaint(&path, &path, &case));
    }
    assert_none(complaints);
}
