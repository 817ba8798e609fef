//! The shape of an image, the same for data sets, networks, run folders and checkpoints.

use serde::{Deserialize, Serialize};

/// Height, width and channels of an image. A file has them as `height`, `width` and `channels`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageShape {
    /// Rows.
    #[serde(rename = "height")]
    pub h: usize,
    /// Columns.
    #[serde(rename = "width")]
    pub w: usize,
    /// Channels: 1 (grey) or 3 (red, green, blue).
    #[serde(rename = "channels")]
    pub c: usize,
}

impl ImageShape {
    /// Elements.
    pub fn len(&self) -> usize {
        self.h * self.w * self.c
    }

    /// Returns true if there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
