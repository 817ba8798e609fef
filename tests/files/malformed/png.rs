//! PNG pictures.

use super::*;
use crate::data_samples::{chunk, flat_grey, ihdr, raw_png, zlib};

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

pub(crate) fn all() -> Vec<Case> {
    let valid = || png_with_data(&grey_data());
    let (header, data, finish) =
        (|| chunk(b"IHDR", &ihdr(2, 2, 8, 0)), || chunk(b"IDAT", &grey_data()), || chunk(b"IEND", &[]));
    let palette_header = || chunk(b"IHDR", &ihdr(2, 2, 8, 3));
    let cut_data = |length: usize| png_with_data(&cut(grey_data(), length));
    let mut wrong_adler = grey_data();
    *wrong_adler.last_mut().unwrap() ^= 1;
    let end = valid().len();
    let mut all = cases(vec![
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
        ("a bomb of a header", png_with_header(&ihdr(16_384, 2_048, 16, 6)), "which can't hold that many pixels"),
        ("a lying header of 16 bits", png_with_header(&ihdr(300, 300, 16, 6)), "which can't hold that many pixels"),
        ("an interlaced picture with too little", png_with_header(&with(ihdr(9, 9, 8, 0), 12, 1)), "a whole PNG"),
        ("the end first", raw_png(&[finish(), header(), data()]), "a damaged one"),
        ("a chunk without a checksum", cut(valid(), end - 4), "a file that ends too early"),
        ("a chunk with a length of 2^32 - 1", over(valid(), 33, &[0xff; 4]), "a whole PNG"),
        ("the header's length too long", over(valid(), 8, &[0, 0, 0, 14]), "a whole PNG"),
        ("a chunk's name in digits", over(valid(), 37, b"1234"), "a damaged one"),
        ("a chunk's name in lower case", over(valid(), 37, b"idat"), "a damaged one"),
        (
            "a palette of 257 colours",
            raw_png(&[palette_header(), chunk(b"PLTE", &[0; 771]), data(), finish()]),
            "a whole PNG",
        ),
        (
            "a palette of 4 bytes",
            raw_png(&[palette_header(), chunk(b"PLTE", &[0; 4]), data(), finish()]),
            "a whole PNG",
        ),
        (
            "the palette after the data",
            raw_png(&[palette_header(), data(), chunk(b"PLTE", &[0; 12]), finish()]),
            "a damaged one",
        ),
        ("zlib of another method", png_with_data(&with(grey_data(), 0, 0x79)), "a damaged one"),
        ("zlib with a dictionary", png_with_data(&over(grey_data(), 0, &[0x78, 0x20])), "a damaged one"),
        ("zlib's check of its header", png_with_data(&with(grey_data(), 1, 0)), "a damaged one"),
        ("a block of type 3", png_with_data(&with(grey_data(), 2, 7)), "a damaged one"),
        ("gzip for zlib", png_with_data(&crate::data_samples::gz(&[0, 1, 2, 0, 3, 4])), "a damaged one"),
        ("filter 5", png_with_data(&zlib(&[5, 1, 2, 0, 3, 4])), "a damaged one"),
        ("filter 255", png_with_data(&zlib(&[0, 1, 2, 255, 3, 4])), "a damaged one"),
        ("a byte of a row short", png_with_data(&zlib(&[0, 1, 2, 0, 3])), "a whole PNG"),
        ("a file of Windows' newlines", over(valid(), 4, b"\n\x1a\n\x00"), "at offset 0"),
        ("the signature twice", plus(b"\x89PNG\r\n\x1a\n".to_vec(), &valid()), "a whole PNG"),
        ("a JPEG's name of a PNG", b"\x89JPG\r\n\x1a\n".to_vec(), "at offset 0"),
        ("a PNG of several pictures (MNG)", b"\x8aMNG\r\n\x1a\n".to_vec(), "an MNG or JNG image"),
    ]);
    // Depths that a colour type does not have (PNG, third edition, table 11.1).
    for (colour, depths) in [(2, &[2, 4][..]), (3, &[0, 32]), (4, &[1, 2, 4]), (6, &[1, 4])] {
        for &depth in depths {
            let name = format!("colour type {colour} of {depth} bits");
            all.push((name, png_with_header(&ihdr(2, 2, depth, colour)), "a damaged one").into());
        }
    }
    for colour in [1, 7, 255] {
        let file = png_with_header(&ihdr(2, 2, 8, colour));
        all.push((format!("colour type {colour}"), file, "a damaged one").into());
    }
    table("PNG", all)
}

#[test]
fn malformed_png_files_are_refused() {
    refuses_pictures("image.png", all(), &flat_grey(2, 2, 9));
}
