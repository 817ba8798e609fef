//! Decoding one PNG or JPEG file to 8 bits and 1 or 3 channels.

use std::fs::{self, File};
use std::io::{Cursor, Read};
use std::path::Path;

use zune_jpeg::JpegDecoder;
use zune_jpeg::errors::DecodeErrors;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::source::{hex, printable};
use super::{LoadOptions, convert, exif, regular};
use crate::error::{Error, Result};

/// The most rows or columns that an image may have.
pub const MAX_SIDE: usize = 16_384;

/// The most pixels that one image may have, which bounds the memory of a decoder.
const MAX_PIXELS: u64 = 1 << 27;

/// Rows, columns and channels of an image file, as [`decode`] would give them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// 1 or 3.
    pub(crate) channels: usize,
}

/// A decoded image.
pub(crate) struct Picture {
    /// After the picture was turned as viewers show it.
    pub(crate) shape: Shape,
    /// `[height, width, channels]`.
    pub(crate) pixels: Vec<u8>,
    pub(crate) notes: Notes,
}

/// What a person would want to know of a file that was read without an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Notes {
    /// EXIF's orientation, 1..=8; 1 is upright. The pixels are turned by it.
    pub(crate) orientation: u8,
    /// Whether any pixel lets the background through, by an alpha channel or a transparent colour.
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

    /// The most pixels that a byte of a file can stand for. Deflate makes at most 1032 bytes from one (zlib's manual),
    /// and a PNG byte holds at most 8 pixels; in a JPEG each block of 8×8 pixels takes at least one bit.
    fn most_pixels_per_byte(self) -> u64 {
        match self {
            Codec::Png => 1032 * 8,
            Codec::Jpeg => 64 * 8,
        }
    }
}

/// Reads the shape from a file's header, without decoding the image.
///
/// # Errors
/// [`Error::BadData`] where the header is damaged, or asks for more pixels than the file can hold.
pub(crate) fn read_shape(path: &Path) -> Result<Shape> {
    const START: u64 = 1 << 16;
    let (file, length) = regular::open(path)?;
    let mut bytes = Vec::new();
    file.take(START).read_to_end(&mut bytes).map_err(|e| Error::io(path, "read", e))?;
    let shape = |bytes: &[u8]| match required(path, bytes)? {
        Codec::Png => png_shape(path, length, &mut png_decoder(bytes)),
        Codec::Jpeg => jpeg_shape(path, length, bytes),
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

/// Reads and decodes a file. Palettes are resolved, 16 bits become 8, alpha is laid over `options.background`.
///
/// # Errors
/// [`Error::BadData`] for anything that is not a whole, valid PNG or JPEG image of a sensible size.
pub(crate) fn decode(path: &Path, options: &LoadOptions) -> Result<Picture> {
    let bytes = read_all(path)?;
    match required(path, &bytes)? {
        Codec::Png => decode_png(path, &bytes, options.background),
        Codec::Jpeg => decode_jpeg(path, &bytes),
    }
}

/// Whether a file starts like a PNG or a JPEG; false too where it can't be read.
pub(crate) fn looks_like_picture(path: &Path) -> bool {
    let mut start = Vec::new();
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
        && File::open(path).and_then(|file| file.take(8).read_to_end(&mut start)).is_ok()
        && Codec::of(&start).is_some()
}

fn required(path: &Path, start: &[u8]) -> Result<Codec> {
    Codec::of(start).ok_or_else(|| {
        let found = match start {
            [] => "an empty file".to_string(),
            [b'G', b'I', b'F', b'8', ..] => "a GIF".to_string(),
            [b'B', b'M', ..] => "a BMP image".to_string(),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => "a WebP image".to_string(),
            [b'I', b'I', 42, 0, ..] | [b'M', b'M', 0, 42, ..] => "a TIFF image".to_string(),
            _ => format!("the bytes {} at offset 0", hex(&start[..start.len().min(8)])),
        };
        Error::bad_data(path, "a PNG or JPEG image", found).with_hint("convert the file, or move it out of the folder")
    })
}

/// Guards against headers that promise more than a program should allocate, or than the file can hold.
fn guard(path: &Path, codec: Codec, length: u64, width: usize, height: usize) -> Result<()> {
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
    if pixels > codec.most_pixels_per_byte().saturating_mul(length) {
        return Err(Error::bad_data(
            path,
            format!("the data of an image of {height}×{width}, as its header says"),
            format!("a file of {length} bytes, which can't hold that many pixels"),
        )
        .with_hint("the file was cut off, or its header is damaged"));
    }
    Ok(())
}

fn bad_png(path: &Path, error: png::DecodingError) -> Error {
    let found = match &error {
        png::DecodingError::IoError(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => {
            "a file that ends too early".to_string()
        }
        _ => format!("a damaged one ({})", printable(&error)),
    };
    Error::bad_data(path, "a whole PNG image", found)
}

fn png_decoder(bytes: &[u8]) -> png::Decoder<Cursor<&[u8]>> {
    let mut options = png::DecodeOptions::default();
    options.set_ignore_adler32(false);
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut decoder = png::Decoder::new_with_options(Cursor::new(bytes), options);
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    decoder
}

fn png_shape(path: &Path, length: u64, decoder: &mut png::Decoder<Cursor<&[u8]>>) -> Result<Shape> {
    let info = decoder.read_header_info().map_err(|e| bad_png(path, e))?;
    let (height, width) = (info.height as usize, info.width as usize);
    let channels = match info.color_type {
        png::ColorType::Grayscale | png::ColorType::GrayscaleAlpha => 1,
        png::ColorType::Rgb | png::ColorType::Rgba | png::ColorType::Indexed => 3,
    };
    guard(path, Codec::Png, length, width, height)?;
    Ok(Shape { height, width, channels })
}

fn decode_png(path: &Path, bytes: &[u8], background: [u8; 3]) -> Result<Picture> {
    let mut decoder = png_decoder(bytes);
    let shape = png_shape(path, bytes.len() as u64, &mut decoder)?;
    let mut reader = decoder.read_info().map_err(|e| bad_png(path, e))?;
    let mut notes = Notes {
        animated: reader.info().is_animated(),
        profile: reader.info().icc_profile.is_some(),
        ..Notes::default()
    };
    let size = reader.output_buffer_size().ok_or_else(|| bad_png(path, png::DecodingError::LimitsExceeded))?;
    let mut pixels = vec![0; size];
    let output = reader.next_frame(&mut pixels).map_err(|e| bad_png(path, e))?;
    reader.finish().map_err(|e| bad_png(path, e))?;
    pixels.truncate(output.buffer_size());
    let has_alpha = matches!(output.color_type, png::ColorType::GrayscaleAlpha | png::ColorType::Rgba);
    if has_alpha {
        notes.transparent = pixels.chunks_exact(shape.channels + 1).any(|pixel| pixel[shape.channels] < u8::MAX);
        pixels = over(&pixels, shape.channels, background);
    }
    if pixels.len() != shape.height * shape.width * shape.channels {
        return Err(Error::Internal(format!(
            "{}: PNG decoder gave {} bytes for {shape:?}",
            path.display(),
            pixels.len()
        )));
    }
    Ok(Picture { shape, pixels, notes })
}

/// Lays pixels with a last alpha channel over a colour: (value · alpha + colour · (255 − alpha)) / 255, rounded.
fn over(pixels: &[u8], channels: usize, background: [u8; 3]) -> Vec<u8> {
    let ground = if channels == 1 { [convert::luma(&background); 3] } else { background };
    let mut flat = Vec::with_capacity(pixels.len() / (channels + 1) * channels);
    for pixel in pixels.chunks_exact(channels + 1) {
        let alpha = u32::from(pixel[channels]);
        let mixed = |(&value, ground): (&u8, u8)| {
            ((u32::from(value) * alpha + u32::from(ground) * (255 - alpha) + 127) / 255) as u8
        };
        flat.extend(pixel[..channels].iter().zip(ground).map(mixed));
    }
    flat
}

fn bad_jpeg(path: &Path, error: DecodeErrors) -> Error {
    let found = match error {
        DecodeErrors::ExhaustedData | DecodeErrors::IoErrors(_) => "a file that ends too early".to_string(),
        error => format!("a damaged one ({})", printable(format!("{error:?}").trim_matches('"'))),
    };
    Error::bad_data(path, "a whole JPEG image", found)
}

fn jpeg_shape(path: &Path, length: u64, bytes: &[u8]) -> Result<Shape> {
    let mut decoder = JpegDecoder::new_with_options(Cursor::new(bytes), jpeg_options());
    decoder.decode_headers().map_err(|e| bad_jpeg(path, e))?;
    let (Some((width, height)), Some(colors)) = (decoder.dimensions(), decoder.input_colorspace()) else {
        return Err(bad_jpeg(path, DecodeErrors::FormatStatic("no frame header")));
    };
    guard(path, Codec::Jpeg, length, width, height)?;
    let channels = if colors == ColorSpace::Luma { 1 } else { 3 };
    Ok(Shape { height, width, channels })
}

fn jpeg_options() -> DecoderOptions {
    DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX)
}

fn decode_jpeg(path: &Path, bytes: &[u8]) -> Result<Picture> {
    let shape = jpeg_shape(path, bytes.len() as u64, bytes)?;
    // The decoder fills what is missing at the end of a cut file with grey, so the end mark is looked for here.
    let last = |marker: u8| bytes.windows(2).rposition(|pair| pair == [0xff, marker]);
    if last(0xd9) <= last(0xda) {
        return Err(Error::bad_data(path, "an end mark (ff d9) after the image's data", "a file that ends too early")
            .with_hint("the file was cut off"));
    }
    let colors = if shape.channels == 1 { ColorSpace::Luma } else { ColorSpace::RGB };
    let options = jpeg_options().jpeg_set_out_colorspace(colors);
    let pixels = JpegDecoder::new_with_options(Cursor::new(bytes), options).decode().map_err(|e| bad_jpeg(path, e))?;
    if pixels.len() != shape.height * shape.width * shape.channels {
        let reason = format!("{} bytes decoded for {shape:?}", pixels.len());
        return Err(bad_jpeg(path, DecodeErrors::Format(reason)));
    }
    Ok(Picture { shape, pixels, notes: Notes::default() })
}
