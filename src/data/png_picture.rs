//! Decoding a PNG file.

use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;

use super::decoded::{Codec, Notes, Picture, guard};
use super::source::printable;
use super::{convert, exif};
use crate::error::{Error, Result};
use crate::image::ImageShape;

fn bad(path: &Path, error: png::DecodingError) -> Error {
    let found = match &error {
        png::DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "a file that ends too early".to_string()
        }
        _ => format!("a damaged one ({})", printable(&error)),
    };
    Error::bad_data(path, "a whole PNG image", found)
}

/// Palettes and bits are expanded, transparent colours become alpha; 16 bits stay, to be rounded here.
fn decoder(bytes: &[u8]) -> png::Decoder<Cursor<&[u8]>> {
    let mut options = png::DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_ignore_text_chunk(true);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_transformations(png::Transformations::EXPAND);
    decoder
}

/// The shape after turning, from the beginning of a file of `length` bytes; `whole` reads the file from its start.
pub(crate) fn shape(path: &Path, length: u64, bytes: &[u8], whole: &mut (impl Read + Seek)) -> Result<ImageShape> {
    let stored = stored_shape(path, length, &mut decoder(bytes))?;
    Ok(exif::turned(stored, orientation(whole)))
}

fn stored_shape(path: &Path, length: u64, decoder: &mut png::Decoder<Cursor<&[u8]>>) -> Result<ImageShape> {
    let info = decoder.read_header_info().map_err(|e| bad(path, e))?;
    let (height, width) = (info.height as usize, info.width as usize);
    let channels = match info.color_type {
        png::ColorType::Grayscale | png::ColorType::GrayscaleAlpha => 1,
        png::ColorType::Rgb | png::ColorType::Rgba | png::ColorType::Indexed => 3,
    };
    let bits = info.color_type.samples() * info.bit_depth as usize;
    guard(path, Codec::Png, length, (height, width), bits as u64)?;
    Ok(ImageShape { h: height, w: width, c: channels })
}

/// The orientation in an `eXIf` chunk, wherever it stands (PNG, third edition, 11.3.4.5); upright where there is none that can
/// be read.
fn orientation(file: &mut (impl Read + Seek)) -> u8 {
    /// Blocks hold a preview at most; a segment of a JPEG, where they come from, has less than 64 KiB.
    const LARGEST: u32 = 1 << 16;
    let mut look = || -> std::io::Result<u8> {
        file.seek(SeekFrom::Start(8))?;
        loop {
            let mut head = [0; 8];
            file.read_exact(&mut head)?;
            let [a, b, c, d, name @ ..] = head;
            let length = u32::from_be_bytes([a, b, c, d]);
            if &name == b"IEND" {
                return Ok(exif::UPRIGHT);
            }
            if &name == b"eXIf" && length <= LARGEST {
                let mut content = vec![0; length as usize + 4];
                file.read_exact(&mut content)?;
                let (content, checksum) = content.split_at(length as usize);
                let mut crc = flate2::Crc::new();
                crc.update(&name);
                crc.update(content);
                if crc.sum().to_be_bytes() == checksum {
                    return Ok(exif::orientation(content));
                }
            } else {
                file.seek(SeekFrom::Current(i64::from(length) + 4))?;
            }
        }
    };
    // What is wrong with the chunks is told by who decodes the pixels.
    look().unwrap_or(exif::UPRIGHT)
}

/// Decodes a whole file, lays it over `background` and turns it as viewers show it.
pub(crate) fn decode(path: &Path, bytes: &[u8], background: [u8; 3]) -> Result<Picture> {
    let mut decoder = decoder(bytes);
    let shape = stored_shape(path, bytes.len() as u64, &mut decoder)?;
    let mut reader = decoder.read_info().map_err(|e| bad(path, e))?;
    require_palette(path, reader.info())?;
    let mut notes = Notes {
        orientation: orientation(&mut Cursor::new(bytes)),
        animated: reader.info().is_animated(),
        profile: reader.info().icc_profile.is_some(),
        ..Notes::default()
    };
    let size = reader.output_buffer_size().ok_or_else(|| bad(path, png::DecodingError::LimitsExceeded))?;
    let mut samples = vec![0; size];
    let output = reader.next_frame(&mut samples).map_err(|e| bad(path, e))?;
    reader.finish().map_err(|e| bad(path, e))?;
    samples.truncate(output.buffer_size());
    let has_alpha = matches!(output.color_type, png::ColorType::GrayscaleAlpha | png::ColorType::Rgba);
    let layout = Layout { colors: shape.c, has_alpha, ground: ground(shape.c, background) };
    let pixels = if output.bit_depth == png::BitDepth::Sixteen {
        let samples: Vec<u16> = samples.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
        notes.sixteen_bit = layout.range(&samples);
        layout.flatten(&samples, u16::MAX, &mut notes)
    } else {
        layout.flatten(&samples, u8::MAX, &mut notes)
    };
    if pixels.len() != shape.h * shape.w * shape.c {
        let reason = format!("{}: PNG decoder gave {} bytes for {shape:?}", path.display(), pixels.len());
        return Err(Error::Internal(reason));
    }
    let pixels = exif::turn(shape, pixels, notes.orientation);
    Ok(Picture { shape: exif::turned(shape, notes.orientation), pixels, notes })
}

/// Refuses a palette that is none (PNG, third edition, 11.2.2): the decoder would read past its end.
fn require_palette(path: &Path, info: &png::Info<'_>) -> Result<()> {
    let length = info.palette.as_ref().map_or(0, |palette| palette.len());
    if length.is_multiple_of(3) && length <= 3 * 256 {
        return Ok(());
    }
    let expected = "a whole PNG image, with a palette of 1 to 256 colours of 3 bytes";
    Err(Error::bad_data(path, expected, format!("a palette of {length} bytes")))
}

/// The background that shows through: the colour's luma for a grey picture.
fn ground(channels: usize, background: [u8; 3]) -> [u8; 3] {
    if channels == 1 { [convert::luma(&background); 3] } else { background }
}

/// Layout of a pixel's samples.
struct Layout {
    /// 1 or 3.
    colors: usize,
    /// True if alpha follows them.
    has_alpha: bool,
    ground: [u8; 3],
}

impl Layout {
    fn samples(&self) -> usize {
        self.colors + usize::from(self.has_alpha)
    }

    /// The lowest and the highest value of all colours.
    fn range(&self, samples: &[u16]) -> Option<(u16, u16)> {
        let colors = || samples.chunks_exact(self.samples()).flat_map(|pixel| &pixel[..self.colors]);
        Some((*colors().min()?, *colors().max()?))
    }

    /// Lays the pixels over the ground and brings them to 8 bits, in one rounding:
    /// (value · alpha + ground · (most − alpha)) / most² · 255, all of them out of 0..=`most`. Without alpha that is the rounded
    /// value · 255 / most, as PNG's specification has it (13.12).
    fn flatten<T: Copy + Into<u64>>(&self, samples: &[T], most: T, notes: &mut Notes) -> Vec<u8> {
        let most: u64 = most.into();
        let mut flat = Vec::with_capacity(samples.len() / self.samples() * self.colors);
        for pixel in samples.chunks_exact(self.samples()) {
            let alpha = if self.has_alpha { pixel[self.colors].into() } else { most };
            notes.transparent |= alpha < most;
            for (&value, ground) in pixel[..self.colors].iter().zip(self.ground) {
                // Of 8 bits `most` is 255, of 16 bits 257 · 255, so the ground's values become whole ones of that scale.
                let ground = u64::from(ground) * (most / 255);
                let mixed = value.into() * alpha + ground * (most - alpha);
                let scale = most * (most / 255);
                flat.push(((mixed + scale / 2) / scale) as u8);
            }
        }
        flat
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flatten<T: Copy + Into<u64>>(
        samples: &[T],
        most: T,
        colors: usize,
        has_alpha: bool,
        ground: [u8; 3],
    ) -> Vec<u8> {
        Layout { colors, has_alpha, ground }.flatten(samples, most, &mut Notes::default())
    }

    /// Against the definition in floating point, over all pairs of a value and an alpha.
    #[test]
    fn eight_bits_are_laid_over_the_ground() {
        for ground in [0, 1, 128, 200, 255] {
            let samples: Vec<u8> =
                (0..=255).flat_map(|value| (0..=255).flat_map(move |alpha| [value, alpha])).collect();
            let flat = flatten(&samples, u8::MAX, 1, true, [ground; 3]);
            for (pixel, found) in samples.chunks_exact(2).zip(flat) {
                let alpha = f64::from(pixel[1]) / 255.0;
                let expected = f64::from(pixel[0]) * alpha + f64::from(ground) * (1.0 - alpha);
                assert_eq!(found, (expected + 1e-9).round() as u8, "{pixel:?} over {ground}");
            }
        }
    }

    #[test]
    fn sixteen_bits_are_rounded_once() {
        let all: Vec<u16> = (0..=u16::MAX).collect();
        for (value, found) in all.iter().zip(flatten(&all, u16::MAX, 1, false, [9; 3])) {
            assert_eq!(found, (f64::from(*value) / 257.0).round() as u8, "{value}");
        }
        // Rounded to 8 bits first, 0.4 of 255 would be laid over white as 153.
        let samples: Vec<u16> = all.iter().flat_map(|&alpha| [40_000, 30_000, 128, alpha]).collect();
        let flat = flatten(&samples, u16::MAX, 3, true, [255, 0, 77]);
        for (pixel, found) in samples.chunks_exact(4).zip(flat.chunks_exact(3)) {
            let alpha = f64::from(pixel[3]) / 65_535.0;
            for (i, ground) in [255.0, 0.0, 77.0].into_iter().enumerate() {
                let expected = f64::from(pixel[i]) / 257.0 * alpha + ground * (1.0 - alpha);
                assert!((f64::from(found[i]) - expected).abs() <= 0.5 + 1e-9, "{pixel:?}: {found:?}");
            }
        }
    }

    #[test]
    fn grey_takes_the_luma_of_the_ground() {
        assert_eq!(ground(1, [255, 0, 0]), [76; 3]);
        assert_eq!(ground(3, [255, 0, 0]), [255, 0, 0]);
    }
}
