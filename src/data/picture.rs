//! Decoding one PNG or JPEG file to 8 bits and 1 or 3 channels.

use crate::image::ImageShape;
use std::fs;
use std::io::{BufReader, Read};
use std::path::Path;

use super::decoded::{Codec, Picture};
use super::images::LoadOptions;
use super::{format, jpeg, png_picture, regular};
use crate::error::{Error, Result};

/// Reads the shape from a file's header, without decoding the image; it is the one after turning.
///
/// # Errors
/// [`Error::BadData`] where the header is damaged, or asks for more pixels than the file can hold.
pub(crate) fn read_shape(path: &Path) -> Result<ImageShape> {
    const START: u64 = 1 << 16;
    let (file, length) = regular::open(path)?;
    let mut bytes = Vec::new();
    (&file).take(START).read_to_end(&mut bytes).map_err(|e| Error::io(path, "read", e))?;
    let shape = |bytes: &[u8]| match required(path, bytes)? {
        Codec::Png => png_picture::shape(path, length, bytes, &mut BufReader::new(&file)),
        Codec::Jpeg => jpeg::shape(path, length, bytes),
    };
    if length > START && shape(&bytes).is_err() {
        // A JPEG may have a preview picture and more before its header.
        bytes = read_all(path)?;
    }
    shape(&bytes)
}

fn read_all(path: &Path) -> Result<Vec<u8>> {
    regular::require(path)?;
    fs::read(path).map_err(|e| Error::io(path, "read", e))
}

/// Reads and decodes a file. Palettes are resolved, 16 bits become 8, alpha is laid over `options.background`, and the
/// picture is turned as its EXIF block says. Colour profiles are not applied.
///
/// # Errors
/// [`Error::BadData`] for anything that is not a whole, valid PNG or JPEG image of a sensible size.
pub(crate) fn decode(path: &Path, options: &LoadOptions) -> Result<Picture> {
    let bytes = read_all(path)?;
    match required(path, &bytes)? {
        Codec::Png => png_picture::decode(path, &bytes, options.background),
        Codec::Jpeg => jpeg::decode(path, &bytes),
    }
}

/// Returns true if a file starts like a picture, including formats that are not read; false also if it can't be opened.
pub(crate) fn looks_like_picture(path: &Path) -> bool {
    let mut start = Vec::new();
    regular::open(path).is_ok_and(|(file, _)| file.take(format::START as u64).read_to_end(&mut start).is_ok())
        && format::is_picture(&start)
}

fn required(path: &Path, start: &[u8]) -> Result<Codec> {
    Codec::of(start).ok_or_else(|| format::not_read(path, start))
}

#[cfg(test)]
mod tests {
    use super::super::decoded::Notes;
    use super::*;

    fn decoded(bytes: &[u8], background: [u8; 3]) -> Picture {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        fs::write(file.path(), bytes).expect("writing");
        let picture = decode(file.path(), &LoadOptions { background, ..LoadOptions::default() }).expect("a picture");
        assert_eq!(read_shape(file.path()).expect("a shape"), picture.shape);
        picture
    }

    /// 2×1 pixels, with `chunks` before them.
    fn encoded(color: png::ColorType, depth: png::BitDepth, data: &[u8], chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(color);
        encoder.set_depth(depth);
        if color == png::ColorType::Indexed {
            encoder.set_palette(vec![10, 20, 30, 200, 150, 100]);
        }
        let mut writer = encoder.write_header().expect("a header");
        for (name, content) in chunks {
            writer.write_chunk(png::chunk::ChunkType(**name), content).expect("a chunk");
        }
        writer.write_image_data(data).expect("pixels");
        writer.finish().expect("an end");
        bytes
    }

    /// A camera's file may have previews and maker's notes of more than 64 KiB before the header.
    #[test]
    fn a_header_may_come_late() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let notes = [&[0xff, 0xe2, 0xff, 0xff][..], &[7; 0xfffd]].concat();
        let frame = [0xff, 0xc0, 0, 11, 8, 0, 20, 0, 30, 1, 1, 0x11, 0];
        let scan = [0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0];
        let whole = [&[0xff, 0xd8][..], &notes, &notes, &frame, &scan].concat();
        fs::write(file.path(), &whole).expect("writing");
        assert_eq!(read_shape(file.path()).expect("a shape"), ImageShape { h: 20, w: 30, c: 1 });
        // Without a header in all of it, the file is damaged.
        fs::write(file.path(), &whole[..2 + 2 * notes.len()]).expect("writing");
        assert!(matches!(read_shape(file.path()), Err(Error::BadData { .. })));
    }

    #[test]
    fn notes_say_what_was_found() {
        use png::BitDepth::{Eight, Sixteen};
        use png::ColorType::{Grayscale, GrayscaleAlpha, Indexed, Rgb, Rgba};
        let plain = Notes::default();
        let transparent = Notes { transparent: true, ..plain };
        let orientation: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x08\0\0\0\0\0\0";
        for (bytes, notes, pixels) in [
            (encoded(Rgb, Eight, &[1, 2, 3, 4, 5, 6], &[]), plain, vec![1, 2, 3, 4, 5, 6]),
            // An alpha channel that lets nothing through is no transparency.
            (encoded(Rgba, Eight, &[1, 2, 3, 255, 4, 5, 6, 255], &[]), plain, vec![1, 2, 3, 4, 5, 6]),
            (encoded(Rgba, Eight, &[1, 2, 3, 255, 4, 5, 6, 0], &[]), transparent, vec![1, 2, 3, 255, 0, 0]),
            (encoded(GrayscaleAlpha, Eight, &[9, 255, 9, 0], &[]), transparent, vec![9, 76]),
            (encoded(Grayscale, Eight, &[9, 7], &[(b"tRNS", &[0, 7])]), transparent, vec![9, 76]),
            (encoded(Indexed, Eight, &[0, 1], &[(b"tRNS", &[0])]), transparent, vec![255, 0, 0, 200, 150, 100]),
            (
                encoded(Grayscale, Sixteen, &[15, 255, 0, 3], &[]),
                Notes { sixteen_bit: Some((3, 4095)), ..plain },
                vec![16, 0],
            ),
            (
                encoded(Grayscale, Sixteen, &[15, 255, 0, 3], &[(b"tRNS", &[0, 3])]),
                Notes { sixteen_bit: Some((3, 4095)), ..transparent },
                vec![16, 76],
            ),
            (
                encoded(Rgb, Eight, &[1, 2, 3, 4, 5, 6], &[(b"eXIf", orientation)]),
                Notes { orientation: 8, ..plain },
                vec![4, 5, 6, 1, 2, 3],
            ),
        ] {
            let found = decoded(&bytes, [255, 0, 0]);
            assert_eq!((found.notes, found.pixels), (notes, pixels));
        }
    }

    #[test]
    fn an_animation_gives_its_first_image() {
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, 2, 1);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_animated(2, 0).expect("an animation");
        let mut writer = encoder.write_header().expect("a header");
        writer.write_image_data(&[7, 8]).expect("a frame");
        writer.write_image_data(&[1, 2]).expect("a frame");
        writer.finish().expect("an end");
        let found = decoded(&bytes, [0; 3]);
        assert_eq!((found.pixels, found.notes), (vec![7, 8], Notes { animated: true, ..Notes::default() }));
    }
}
