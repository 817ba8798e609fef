//! A line of text under a picture.

use super::super::font;
use crate::image::ImageShape;

/// Letters of a caption are drawn so large.
const CAPTION_SCALE: usize = 2;
/// Rows of a caption, with its margins.
pub(super) const CAPTION: usize = font::HEIGHT * CAPTION_SCALE + 10;

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
