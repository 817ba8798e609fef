//! Data sets, read once into resident 8-bit images.

/// A whole data set in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// How many images.
    pub count: usize,
    /// Rows of each.
    pub height: usize,
    /// Columns of each.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[count, height, width, channels]`, 0 is black.
    pub pixels: Vec<u8>,
    /// One line for people: where they come from.
    pub description: String,
}
