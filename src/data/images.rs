//! Images in memory, and the conversion that is asked for: what all readers share.

use std::path::Path;

use super::decoded::MAX_SIDE;
use super::labels::Labels;
use super::report::Report;
use crate::error::{Error, Result};
use crate::image::ImageShape;
use crate::shell;

/// A whole data set in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of each.
    pub height: usize,
    /// Columns of each.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[count, height, width, channels]`, 0 is black.
    pub pixels: Vec<u8>,
    /// The class of each, where the data set says it.
    pub labels: Option<Labels>,
    /// One line for people: where they come from.
    pub description: String,
    /// Files left out, changes and warnings. Empty for `glyphs`.
    pub report: Report,
}

/// Size of a data set: the number of its images beside the [`ImageShape`] of each. Memory, disk and the length of a run are
/// computed from it; pixels are not needed for that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Number of images.
    pub count: usize,
    /// The shape of each.
    pub shape: ImageShape,
}

impl Extent {
    /// Bytes of all pixels.
    pub fn bytes(&self) -> u64 {
        let ImageShape { h, w, c } = self.shape;
        [self.count, h, w, c].into_iter().fold(1, |product, size| product.saturating_mul(size as u64))
    }
}

impl Images {
    /// The shape of each.
    pub fn shape(&self) -> ImageShape {
        ImageShape { h: self.height, w: self.width, c: self.channels }
    }

    /// Their number and size.
    pub fn extent(&self) -> Extent {
        Extent { count: self.count, shape: self.shape() }
    }
}

/// Conversion of images to one shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Crop each image to its central square and resize that to this many pixels a side; 0 keeps the size.
    pub resize: usize,
    /// Convert each image to 1 (grey) or 3 (red, green, blue) channels; 0 keeps them.
    pub channels: usize,
    /// Background of transparent pictures: red, green, blue. Black by default; a grey picture takes its luma.
    pub background: [u8; 3],
    /// The seed of `glyphs`; other sources don't use it.
    pub seed: u64,
}

impl LoadOptions {
    pub(super) fn validate(&self) -> Result<()> {
        if self.resize > MAX_SIDE {
            return Err(Error::Usage(format!("resize is {}, and the most is {MAX_SIDE}", self.resize)));
        }
        if !matches!(self.channels, 0 | 1 | 3) {
            return Err(Error::Usage(format!(
                "channels is {}: pass 1 (grey), 3 (red, green, blue) or 0 (keep them as they are)",
                self.channels
            )));
        }
        Ok(())
    }
}

/// The most bytes of pixels that a data set may have.
pub(super) const MAX_BYTES: u64 = 64 << 30;

/// Adds to the error for the first bad file how many more there are, and what lists them; `source` is the data set, and `at_least` says
/// so where not every file was read.
pub(super) fn and_more(mut error: Error, source: &Path, more: usize, at_least: &str) -> Error {
    if more == 0 {
        return error;
    }
    let path = shell::path(source);
    let more = format!("… and {at_least}{more} more: `vgan-cuda dataset check {path}` lists all");
    match &mut error {
        Error::BadData { hint, .. } if hint.is_empty() => *hint = more,
        Error::BadData { hint, .. } => *hint = format!("{hint}; {more}"),
        Error::Io { source, .. } => *source = std::io::Error::new(source.kind(), format!("{source}; {more}")),
        _ => {}
    }
    error
}

/// A zeroed buffer for `count` images of `shape` = height, width, channels; `path` is where they come from.
pub(super) fn allocate(path: &Path, count: usize, shape: [usize; 3]) -> Result<Vec<u8>> {
    let [height, width, channels] = shape;
    let too_large = |found: String| {
        Error::bad_data(path, format!("a data set of at most {MAX_BYTES} bytes of pixels"), found)
            .with_hint("split it, or make the images smaller with --resize N")
    };
    let describe = || format!("{count} images of {height}×{width}×{channels}");
    let bytes = [count, height, width, channels].iter().try_fold(1u64, |product, &n| product.checked_mul(n as u64));
    let bytes = bytes.filter(|&bytes| bytes <= MAX_BYTES).and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.ok_or_else(|| too_large(describe()))?;
    let mut pixels = Vec::new();
    pixels
        .try_reserve_exact(bytes)
        .map_err(|_| too_large(format!("{}, which do not fit into this machine's memory", describe())))?;
    pixels.resize(bytes, 0);
    Ok(pixels)
}
