//! Pictures that move, as GIF, APNG or MP4.

mod gif;
mod video;

use std::path::Path;

use super::picture::SOFTWARE;
use super::{atomic, font};
use crate::error::{Error, Result};
use crate::image::ImageShape;
pub use video::require_ffmpeg;

/// The most frames of a moving picture.
pub const MOST_FRAMES: usize = 10_000;

/// A kind of file that holds a moving picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// 256 colours in all frames together; grey pictures as they are.
    Gif,
    /// A PNG with several frames; every pixel as it is.
    Apng,
    /// Made by ffmpeg, where that is installed.
    Mp4,
}

impl Format {
    /// The endings of names that have a format.
    pub const ENDINGS: &str = ".gif, .apng or .mp4";

    /// The format that a file's name asks for, if it is one of these.
    pub fn of(path: &Path) -> Option<Format> {
        let ending = path.extension()?.to_str()?.to_ascii_lowercase();
        match ending.as_str() {
            "gif" => Some(Format::Gif),
            "apng" => Some(Format::Apng),
            "mp4" => Some(Format::Mp4),
            _ => None,
        }
    }
}

/// A moving picture, which is shown again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Animation {
    /// The shape of a frame.
    pub shape: ImageShape,
    /// `[frames, height, width, channels]`, at least one frame.
    pub pixels: Vec<u8>,
    /// Each pixel is shown as so many in both directions.
    pub scale: usize,
    /// Frames a second, 1 to 50.
    pub fps: u16,
    /// How many frames' time the last frame is shown.
    pub hold: u16,
}

impl Animation {
    /// Writes the file, which appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Io`] where it can't be written; [`Error::Usage`] and [`Error::Failed`] where ffmpeg is missing or fails;
    /// [`Error::Internal`] where the sizes make no picture.
    pub fn write(&self, path: &Path, format: Format) -> Result<()> {
        let ImageShape { h, w, c } = self.shape;
        let side = |side: usize| side.checked_mul(self.scale).filter(|side| (1..=usize::from(u16::MAX)).contains(side));
        let is_whole =
            !self.shape.is_empty() && !self.pixels.is_empty() && self.pixels.len().is_multiple_of(self.shape.len());
        if side(h).is_none() || side(w).is_none() || !matches!(c, 1 | 3) || !is_whole || !(1..=50).contains(&self.fps) {
            let bytes = self.pixels.len();
            return Err(Error::Internal(format!(
                "{bytes} bytes make no frames of {h}×{w}×{c} at scale {}",
                self.scale
            )));
        }
        match format {
            Format::Gif => atomic::write_file(path, &gif::encode(self)?),
            Format::Apng => atomic::write_file(path, &self.apng()?),
            Format::Mp4 => video::write(self, path),
        }
    }

    /// Number of frames.
    pub fn count(&self) -> usize {
        self.pixels.len() / self.shape.len()
    }

    /// The shape of a frame as it is shown.
    fn shown(&self) -> ImageShape {
        ImageShape { h: self.shape.h * self.scale, w: self.shape.w * self.scale, c: self.shape.c }
    }

    /// The frames, not magnified.
    fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.shape.len())
    }

    /// For how many frames' time each is shown.
    fn lengths(&self) -> impl Iterator<Item = u16> {
        let last = self.count() - 1;
        (0..=last).map(move |frame| if frame == last { self.hold.max(1) } else { 1 })
    }

    /// A frame of `channels` bytes a pixel, magnified.
    fn magnified(&self, frame: &[u8], channels: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(frame.len() * self.scale * self.scale);
        for row in frame.chunks_exact(self.shape.w * channels) {
            let line: Vec<u8> = row.chunks_exact(channels).flat_map(|pixel| pixel.repeat(self.scale)).collect();
            (0..self.scale).for_each(|_| out.extend_from_slice(&line));
        }
        out
    }

    /// All frames in a PNG (APNG 1.0); viewers that show no animations show the first.
    fn apng(&self) -> Result<Vec<u8>> {
        let internal = |e: png::EncodingError| Error::Internal(format!("APNG: {e}"));
        let ImageShape { h, w, c } = self.shown();
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, w as u32, h as u32);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_color(if c == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
        encoder.add_text_chunk("Software".into(), SOFTWARE.into()).map_err(internal)?;
        encoder.set_animated(self.count() as u32, 0).map_err(internal)?;
        let mut writer = encoder.write_header().map_err(internal)?;
        for (frame, length) in self.frames().zip(self.lengths()) {
            writer.set_frame_delay(length, self.fps).map_err(internal)?;
            writer.write_image_data(&self.magnified(frame, c)).map_err(internal)?;
        }
        writer.finish().map_err(internal)?;
        Ok(bytes)
    }
}

/// Letters of a caption are drawn so large.
const CAPTION_SCALE: usize = 2;
/// Rows of a caption, with its margins.
const CAPTION: usize = font::HEIGHT * CAPTION_SCALE + 10;

/// A picture with a line of text under it, black on white.
pub fn captioned(shape: ImageShape, pixels: &[u8], text: &str) -> (ImageShape, Vec<u8>) {
    let ImageShape { h, w, c } = shape;
    let mut out = pixels.to_vec();
    out.resize((h + CAPTION) * w * c, 250);
    for [y, x] in font::ink(text) {
        for (dy, dx) in (0..CAPTION_SCALE * CAPTION_SCALE).map(|i| (i / CAPTION_SCALE, i % CAPTION_SCALE)) {
            let (row, column) = (h + 6 + y * CAPTION_SCALE + dy, 6 + x * CAPTION_SCALE + dx);
            if column < w {
                out[(row * w + column) * c..][..c].fill(30);
            }
        }
    }
    (ImageShape { h: h + CAPTION, ..shape }, out)
}

#[cfg(test)]
mod tests;
