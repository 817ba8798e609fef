//! JPEG pictures.

use super::*;
use crate::data_samples::{flat_grey, jpeg};

/// `bytes` with `content` in place of what follows `marker` and the segment's length.
fn with_segment(bytes: &[u8], marker: u8, edit: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let (start, length) = segment(bytes, marker);
    let mut content = bytes[start + 4..start + 2 + length].to_vec();
    edit(&mut content);
    let mut segment = vec![0xff, marker];
    segment.extend((content.len() as u16 + 2).to_be_bytes());
    segment.extend(content);
    [&bytes[..start], &segment, &bytes[start + 2 + length..]].concat()
}

fn without_segment(bytes: &[u8], marker: u8) -> Vec<u8> {
    let (start, length) = segment(bytes, marker);
    [&bytes[..start], &bytes[start + 2 + length..]].concat()
}

/// Where a segment begins, and the length that it says.
fn segment(bytes: &[u8], marker: u8) -> (usize, usize) {
    let start = position(bytes, marker);
    (start, usize::from(bytes[start + 2]) << 8 | usize::from(bytes[start + 3]))
}

fn position(bytes: &[u8], marker: u8) -> usize {
    bytes.windows(2).position(|pair| pair == [0xff, marker]).unwrap()
}

pub(crate) fn all() -> Vec<Case> {
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
    let in_scan = |edit: fn(&mut Vec<u8>)| with_segment(&grey(), sos, edit);
    let length = |marker: u8, bytes: [u8; 2]| over(grey(), position(&grey(), marker) + 2, &bytes);
    let before = |marker: u8, more: &[u8]| {
        let place = position(&grey(), marker);
        [&grey()[..place], more, &grey()[place..]].concat()
    };
    let whole_frame = || {
        let (start, length) = segment(&grey(), sof);
        grey()[start..start + 2 + length].to_vec()
    };
    let mut all = cases(vec![
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
        ("two frames", before(sof, &whole_frame()), "two frame headers"),
        ("a second start mark", before(sof, &[0xff, 0xd8]), "a second start mark"),
        ("the end before the picture", before(sof, &[0xff, 0xd9]), "no picture in it"),
        ("nothing between start and end", vec![0xff, 0xd8, 0xff, 0xd9], "no picture in it"),
        ("a segment of length 0", length(dqt, [0, 0]), "a segment with a length below 2"),
        ("a segment of length 1", length(dqt, [0, 1]), "a segment with a length below 2"),
        ("a segment beyond the end", length(dqt, [0xff, 0xff]), "that ends too early"),
        ("a frame beyond the end", length(sof, [0xff, 0xff]), "that ends too early"),
        ("a scan's header beyond the end", length(sos, [0xff, 0xff]), "that ends too early"),
        ("2 components", frame(|frame| frame[5] = 2), "a damaged one"),
        ("255 components", frame(|frame| frame[5] = 255), "a damaged one"),
        ("16 bits", frame(|frame| frame[0] = 16), "one of 16 bits a sample"),
        ("sampling 5", frame(|frame| frame[7] = 0x55), "a damaged one"),
        ("a scan of 5 components", in_scan(|scan| scan[0] = 5), "a damaged one"),
        ("a scan of 255 components", in_scan(|scan| scan[0] = 255), "a damaged one"),
        ("a scan's tables that are not there", in_scan(|scan| scan[2] = 0x33), "a scan without its Huffman tables"),
        ("an empty scan's header", in_scan(Vec::clear), "a scan header that is too short"),
        ("a quantisation table of 3 bytes", with_segment(&grey(), dqt, |table| table.truncate(3)), "a damaged one"),
        ("quantisation table 15", with_segment(&grey(), dqt, |table| table[0] = 15), "a damaged one"),
        ("Huffman class 7", with_segment(&grey(), dht, |table| table[0] = 0x70), "an unknown Huffman table"),
        ("a Huffman table without codes", with_segment(&grey(), dht, |table| table[1..17].fill(0)), "a damaged one"),
        ("hierarchical", with(grey(), position(&grey(), sof) + 1, 0xc5), "a hierarchical one"),
        ("differential and arithmetic", with(grey(), position(&grey(), sof) + 1, 0xcd), "a hierarchical one"),
        ("lossless and arithmetic", with(grey(), position(&grey(), sof) + 1, 0xcb), "a lossless one"),
        ("JPEG-LS", with(grey(), position(&grey(), sof) + 1, 0xf7), "a lossless one"),
        ("JPEG 2000", b"\x00\x00\x00\x0cjP  \r\n\x87\n".to_vec(), "a JPEG 2000 image"),
        ("JPEG XL", b"\xff\x0a\x00\x00\x00\x00\x00\x00".to_vec(), "a JPEG XL image"),
        (
            "no data between the scan's header and the end",
            [&colour()[..position(&colour(), sos) + 14], &[0xff, 0xd9]].concat(),
            "a damaged one",
        ),
        (
            "progressive called baseline",
            with(jpeg::PROGRESSIVE.to_vec(), position(&jpeg::PROGRESSIVE, 0xc2) + 1, 0xc0),
            "a damaged one",
        ),
        ("baseline called progressive", with(colour(), position(&colour(), 0xc0) + 1, 0xc2), "a damaged one"),
    ]);
    // At each border of a segment of the colour picture that is not there already.
    for (name, marker) in [("quantisation table", dqt), ("frame", sof), ("Huffman table", dht), ("scan", sos)] {
        let place = position(&colour(), marker) + 2;
        all.push((format!("colour cut at the length of its {name}"), cut(colour(), place), "too early").into());
    }
    table("JPEG", all)
}

#[test]
fn malformed_jpeg_files_are_refused() {
    refuses_pictures("image.jpg", all(), &flat_grey(2, 2, 9));
}
