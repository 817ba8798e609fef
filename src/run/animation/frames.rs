//! The frames of a moving picture, before they have a format.

use crate::error::{Error, Result};
use crate::image::ImageShape;

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
    /// The time that the last frame is shown, in frames.
    pub hold: u16,
}

impl Animation {
    /// Refuses sizes that make no frames: at most 65,535 pixels a side, as GIF has them.
    pub(super) fn require_whole(&self) -> Result<()> {
        let ImageShape { h, w, c } = self.shape;
        let is_side =
            |side: usize| side.checked_mul(self.scale).is_some_and(|side| (1..=usize::from(u16::MAX)).contains(&side));
        let is_whole = is_side(h)
            && is_side(w)
            && matches!(c, 1 | 3)
            && !self.pixels.is_empty()
            && self.pixels.len().is_multiple_of(self.shape.len());
        if is_whole && (1..=50).contains(&self.fps) {
            return Ok(());
        }
        let (bytes, scale, fps) = (self.pixels.len(), self.scale, self.fps);
        Err(Error::Internal(format!("{bytes} bytes make no frames of {h}×{w}×{c} at scale {scale}, {fps} a second")))
    }

    /// Number of frames.
    pub fn count(&self) -> usize {
        self.pixels.len() / self.shape.len().max(1)
    }

    /// The shape of a frame as it is shown.
    pub(super) fn shown(&self) -> ImageShape {
        ImageShape { h: self.shape.h * self.scale, w: self.shape.w * self.scale, c: self.shape.c }
    }

    /// The frames, not magnified.
    pub(super) fn frames(&self) -> impl Iterator<Item = &[u8]> {
        self.pixels.chunks_exact(self.shape.len())
    }

    /// For how many frames' time each is shown.
    pub(super) fn lengths(&self) -> impl Iterator<Item = u16> {
        let last = self.count() - 1;
        (0..=last).map(move |frame| if frame == last { self.hold.max(1) } else { 1 })
    }

    /// A frame of `channels` bytes a pixel, magnified.
    pub(super) fn magnified(&self, frame: &[u8], channels: usize) -> Vec<u8> {
        let mut out = Vec::with_capacity(frame.len() * self.scale * self.scale);
        for row in frame.chunks_exact(self.shape.w * channels) {
            let line: Vec<u8> = row.chunks_exact(channels).flat_map(|pixel| pixel.repeat(self.scale)).collect();
            (0..self.scale).for_each(|_| out.extend_from_slice(&line));
        }
        out
    }
}
