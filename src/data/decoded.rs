//! A decoded picture: its shape, its pixels, and what was remarkable about its file.

use std::path::Path;

use super::exif;
use crate::error::{Error, Result};
use crate::image::ImageShape;

/// The most rows or columns that an image may have.
pub const MAX_SIDE: usize = 16_384;

/// The most pixels that one image may have, which bounds the memory of a decoder.
const MAX_PIXELS: u64 = 1 << 27;

/// A decoded image.
pub(crate) struct Picture {
    /// After the picture was turned as viewers show it.
    pub(crate) shape: ImageShape,
    /// `[height, width, channels]`.
    pub(crate) pixels: Vec<u8>,
    pub(crate) notes: Notes,
}

/// Remarks on a file that was read without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notes {
    /// EXIF's orientation, 1..=8; 1 is upright. The pixels are turned by it.
    pub(crate) orientation: u8,
    /// True if any pixel shows the background, by an alpha channel or a transparent colour.
    pub(crate) transparent: bool,
    /// The lowest and the highest value of a file of 16 bits a channel, alpha left out.
    pub(crate) sixteen_bit: Option<(u16, u16)>,
    /// An animation, of which only the image for viewers that show none is taken.
    pub(crate) animated: bool,
    /// Four inks (CMYK, YCCK), turned into red, green and blue without a profile.
    pub(crate) cmyk: bool,
    /// A colour profile is embedded; it is not applied.
    pub(crate) profile: bool,
}

impl Default for Notes {
    fn default() -> Self {
        Notes {
            orientation: exif::UPRIGHT,
            transparent: false,
            sixteen_bit: None,
            animated: false,
            cmyk: false,
            profile: false,
        }
    }
}

/// The formats that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    Png,
    Jpeg,
}

impl Codec {
    /// The format whose signature a file starts with.
    pub(crate) fn of(start: &[u8]) -> Option<Codec> {
        if start.starts_with(b"\x89PNG\r\n\x1a\n") {
            Some(Codec::Png)
        } else if start.starts_with(&[0xff, 0xd8, 0xff]) {
            Some(Codec::Jpeg)
        } else {
            None
        }
    }

    /// The most pixels that a file of so many bytes can hold, of `bits` each before they are compressed. Deflate makes at most 1032 bytes
    /// from one (zlib's manual); in a JPEG each block of 8×8 pixels takes at least one bit.
    fn most_pixels(self, length: u64, bits: u64) -> u64 {
        match self {
            Codec::Png => length.saturating_mul(1032 * 8) / bits.max(1),
            Codec::Jpeg => length.saturating_mul(64 * 8),
        }
    }
}

/// Guards against headers that promise more than a program should allocate, or than a file of `length` bytes can hold; `bits` are those of a
/// pixel before it is compressed.
pub(crate) fn guard(path: &Path, codec: Codec, length: u64, (height, width): (usize, usize), bits: u64) -> Result<()> {
    let found = || format!("{height}×{width}");
    if width == 0 || height == 0 {
        return Err(Error::bad_data(path, "at least one row and one column", found()));
    }
    if width > MAX_SIDE || height > MAX_SIDE {
        return Err(Error::bad_data(path, format!("at most {MAX_SIDE} rows and columns"), found()));
    }
    let pixels = width as u64 * height as u64;
    if pixels > MAX_PIXELS {
        return Err(Error::bad_data(path, format!("at most {MAX_PIXELS} pixels"), found()));
    }
    if pixels > codec.most_pixels(length, bits) {
        return Err(Error::bad_data(
            path,
            format!("the data of an image of {height}×{width}, as its header says"),
            format!("a file of {length} bytes, which can't hold that many pixels"),
        )
        .with_hint("the file was cut off, or its header is damaged"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_may_promise_so_much_and_no_more() {
        let of_bits =
            |codec, length, height, width, bits| guard(Path::new("a.png"), codec, length, (height, width), bits);
        let guarded = |codec, length, height, width| of_bits(codec, length, height, width, 1);
        let sides = |height, width| guarded(Codec::Png, u64::MAX, height, width);
        assert!(sides(MAX_SIDE, 1).is_ok() && sides(1, MAX_SIDE).is_ok());
        assert!(sides(MAX_SIDE + 1, 1).is_err() && sides(1, MAX_SIDE + 1).is_err() && sides(0, 1).is_err());
        let half = usize::try_from(MAX_PIXELS).expect("a size") / MAX_SIDE;
        assert!(sides(MAX_SIDE, half).is_ok() && sides(MAX_SIDE, half + 1).is_err(), "{MAX_PIXELS} pixels and no more");
        // A byte of a PNG holds 8 pixels and comes from a 1032nd of a byte at best; a block of a JPEG takes a bit.
        for (codec, most) in [(Codec::Png, 8256), (Codec::Jpeg, 512)] {
            assert!(guarded(codec, 2, most, 2).is_ok(), "{codec:?}");
            let message = guarded(codec, 2, most, 3).expect_err("too many pixels").to_string();
            assert!(message.contains("a file of 2 bytes, which can't hold that many pixels"), "{message}");
        }
        // Of 24 bits a pixel, a PNG holds a 24th as many.
        assert!(of_bits(Codec::Png, 3, 1032, 1, 24).is_ok() && of_bits(Codec::Png, 3, 1033, 1, 24).is_err());
    }
}
