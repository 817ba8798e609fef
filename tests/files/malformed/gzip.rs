//! Gzipped files (RFC 1952), of IDX images: each field of the header and the trailer, the blocks of deflate (RFC 1951), and what stands
//! behind a stream.

use tempfile::tempdir;

use super::*;
use crate::data_samples::{gz, idx, write};

/// A stream with these flags and what they announce, around a good deflate stream and trailer.
fn flagged(flags: u8, fields: &[u8]) -> Vec<u8> {
    let whole = gz(&plain());
    [&with(whole.clone(), 3, flags)[..10], fields, &whole[10..]].concat()
}

fn plain() -> Vec<u8> {
    idx(&[2, 30, 40], &noise(2400))
}

/// A stream whose compressed part is this, and whose trailer is that of `content`.
fn deflated(blocks: &[u8], content: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(content);
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    [&head[..], blocks, &crc.sum().to_le_bytes(), &(content.len() as u32).to_le_bytes()].concat()
}

/// One stored block, as the last.
fn stored(length: u16, complement: u16, content: &[u8]) -> Vec<u8> {
    [&[1][..], &length.to_le_bytes(), &complement.to_le_bytes(), content].concat()
}

/// Bits, the first of each byte the lowest.
fn bits(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    digits.chunks(8).map(|byte| byte.iter().enumerate().fold(0, |value, (at, bit)| value | bit << at)).collect()
}

/// A thousand times what it takes.
fn bomb() -> Vec<u8> {
    gz(&plus(idx(&[2, 3, 4], &[0; 24]), &vec![0; 16 << 20]))
}

pub(crate) fn all() -> Vec<Case> {
    let whole = || gz(&plain());
    let end = whole().len();
    let image = idx(&[1, 1, 1], &[7]);
    let (early, damaged) = ("a stream that ends too early", "a damaged one");
    let length = image.len() as u16;
    assert!(deflated(&stored(length, !length, &image), &image).len() > 20);
    let mut all = cases(vec![
        ("the first byte of the magic", with(whole(), 0, 0x1e), "IDX magic"),
        ("the second byte of the magic", with(whole(), 1, 0x8a), "IDX magic"),
        ("old compress", with(whole(), 1, 0x9d), "IDX magic"),
        ("a stored file's method", with(whole(), 2, 0), damaged),
        ("method 7", with(whole(), 2, 7), damaged),
        ("method 9", with(whole(), 2, 9), damaged),
        ("method 255", with(whole(), 2, 255), damaged),
        ("a reserved flag", with(whole(), 3, 0x20), damaged),
        ("another reserved flag", with(whole(), 3, 0x40), damaged),
        ("the last reserved flag", with(whole(), 3, 0x80), damaged),
        ("an extra field beyond the end", flagged(4, &[0xff, 0xff, 1, 2]), early),
        ("an extra field that takes the data", flagged(4, &2000_u16.to_le_bytes()), "gzip"),
        ("half a length of an extra field", cut(flagged(4, &[9]), 11), early),
        ("a name without its end", cut(flagged(8, b"name"), 14), early),
        ("a comment without its end", cut(flagged(16, b"comment"), 17), early),
        ("an endless name", flagged(8, &vec![b'n'; 70_000]), "gzip"),
        ("an endless comment", flagged(16, &vec![b'c'; 70_000]), "gzip"),
        ("a wrong checksum of the header", flagged(2, &[0, 0]), damaged),
        ("half a checksum of the header", cut(flagged(2, &[0]), 11), early),
        ("all flags and nothing else", cut(with(whole(), 3, 0x1f), 10), early),
        ("no blocks", deflated(&[], &[]), damaged),
        ("a block of type 3", deflated(&[7], &image), damaged),
        ("no last block", deflated(&[0, 1, 0, 0xfe, 0xff, 7], &[7]), "gzip"),
        ("a stored block's complement", deflated(&stored(length, length, &image), &image), damaged),
        ("a stored block beyond the end", deflated(&stored(9999, !9999, &image), &image), early),
        ("a stored block without its length", deflated(&[1], &image)[..12].to_vec(), early),
        ("an unknown literal", deflated(&bits("1 10 11000110 0000000"), &[]), damaged),
        ("an unknown distance", deflated(&bits("1 10 0000001 11110 0000000"), &[]), damaged),
        ("a distance before the start", deflated(&bits("1 10 0000001 00000 0000000"), &[]), damaged),
        ("too many lengths", deflated(&bits("1 01 11111 00000 0000 000000000000"), &[]), damaged),
        ("too many distances", deflated(&bits("1 01 00000 11111 0000 000000000000"), &[]), damaged),
        ("an empty code of lengths", deflated(&bits("1 01 00000 00000 0000 000 000 000 000 0000"), &[]), damaged),
        ("an overfull code of lengths", deflated(&bits("1 01 00000 00000 0000 100 100 100 100 0000"), &[]), damaged),
        ("a repeat of nothing", deflated(&bits("1 01 00000 00000 0000 100 000 000 100 00000000"), &[]), early),
        ("a trailer of zeros", over(whole(), end - 8, &[0; 8]), damaged),
        ("a length below the content's", over(whole(), end - 4, &2415_u32.to_le_bytes()), damaged),
        ("a length above the content's", over(whole(), end - 4, &2417_u32.to_le_bytes()), damaged),
        ("a length of 2^32 - 1", over(whole(), end - 4, &[0xff; 4]), damaged),
        (
            "the trailer of another file",
            [&whole()[..end - 8], &gz(b"other")[gz(b"other").len() - 8..]].concat(),
            damaged,
        ),
        (
            "the trailer reversed",
            {
                let trailer: Vec<u8> = whole()[end - 8..].iter().rev().copied().collect();
                over(whole(), end - 8, &trailer)
            },
            damaged,
        ),
        ("junk of one byte", plus(whole(), b"x"), "junk"),
        ("junk after padding", plus(plus(whole(), &[0; 512]), b"x"), "junk"),
        ("half a magic behind", plus(whole(), &[0x1f]), early),
        ("a magic behind", plus(whole(), &[0x1f, 0x8b]), early),
        ("another magic behind", plus(whole(), &[0x1f, 0x00]), early),
        ("a second stream that is cut", plus(whole(), &gz(b"more")[..12]), "the end of the file"),
        (
            "a second stream with a wrong checksum",
            {
                let two = [cut(gz(&plain()[..1000]), 9999), gz(&plain()[1000..])].concat();
                let place = two.len() - 7;
                with(two.clone(), place, two[place] ^ 1)
            },
            damaged,
        ),
        ("a second stream too many", plus(whole(), &gz(&[0])), "found more bytes"),
        ("a stream of nothing", gz(&[]), "an empty file"),
        ("streams of nothing", plus(gz(&[]), &gz(&[])), "an empty file"),
        ("a bomb", bomb(), "found more bytes"),
        (
            "a bomb of images",
            gz(&plus(cut(idx(&[60_000, 1024, 1024], &[]), 16), &vec![0; 1 << 20])),
            "found 1048576 bytes",
        ),
        ("zlib in its place", crate::data_samples::zlib(&plain()), "IDX magic"),
        ("its text in base64", b"H4sIAAAAAAAA/w==".to_vec(), "IDX magic"),
    ]);
    for place in 0..4 {
        let at = end - 8 + place;
        let changed = with(whole(), at, whole()[at] ^ 0x10);
        all.push((format!("byte {place} of the checksum"), changed, damaged).into());
    }
    for length in [2, 3, 4, 8, 9, 10, 11, end / 2, end - 9, end - 7, end - 4, end - 1] {
        all.push((format!("cut at {length}"), cut(whole(), length), early).into());
    }
    table("gzip", all)
}

#[test]
fn malformed_gzip_files_are_refused() {
    let mut complaints = Vec::new();
    for case in all() {
        let folder = tempdir().unwrap();
        let path = write(folder.path(), "images-idx3-ubyte.gz", &case.bytes);
        complaints.extend(complaint(&path, &path, &case));
    }
    assert_none(complaints);
}
