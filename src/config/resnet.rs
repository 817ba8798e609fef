//! The shape of the residual nets, which follows from the image: as many doublings and halvings as lie between the image
//! and about 4×4, and a width for each resolution (facts of the paper's code, `gan_training/models/resnet.py`).

use crate::error::{Error, Result};

/// The shorter side at the lowest resolution is at least this, and below twice this where the image is as large.
const SMALLEST: usize = 4;

/// Number of times that images of `height` × `width` are halved: ⌊log₂(shorter side / 4)⌋, 0 for smaller images. 32 → 3,
/// 64 → 4, 128 → 5.
pub fn halvings(height: usize, width: usize) -> usize {
    (height.min(width) / SMALLEST).checked_ilog2().unwrap_or(0) as usize
}

/// Channels at each resolution, the image's first: `width` · 2ⁱ after i halvings, `max_width` at most.
pub fn widths(width: usize, max_width: usize, halvings: usize) -> Vec<usize> {
    (0..=halvings).map(|i| width.saturating_mul(1 << i.min(62)).min(max_width)).collect()
}

/// Checks that residual nets make and take images of this size: every halving must be exact, since a doubling is.
///
/// # Errors
/// [`Error::Usage`] that says which sizes would fit.
pub fn check(height: usize, width: usize) -> Result<()> {
    if fits(height, width) {
        return Ok(());
    }
    let halvings = halvings(height, width);
    let square = |side: &usize| fits(*side, *side);
    let low = (1..=height.min(width)).rev().find(square);
    let high = (height.max(width)..).find(square);
    let sizes: Vec<String> = low.into_iter().chain(high).map(|side| format!("--resize {side}")).collect();
    Err(Error::Usage(format!(
        "the residual nets halve these images {halvings} times, to about 4×4, so height and width must be multiples of {}, \
         and these are {height}×{width}: pass {}",
        1 << halvings,
        sizes.join(" or ")
    )))
}

fn fits(height: usize, width: usize) -> bool {
    let multiple = 1 << halvings(height, width);
    height > 0 && width > 0 && height.is_multiple_of(multiple) && width.is_multiple_of(multiple)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_follow_from_the_image() {
        for (height, width, expected) in
            [(32, 32, 3), (64, 64, 4), (128, 128, 5), (28, 28, 2), (48, 96, 3), (4, 4, 0), (7, 30, 0), (1, 1, 0)]
        {
            assert_eq!(halvings(height, width), expected, "{height}×{width}");
        }
        assert_eq!(widths(32, 256, 3), [32, 64, 128, 256]);
        assert_eq!(widths(64, 1024, 5), [64, 128, 256, 512, 1024, 1024]);
        assert_eq!(widths(5, 5, 0), [5]);
        assert_eq!(widths(usize::MAX, 7, 100).len(), 101);
    }

    /// Each proposal of the message, taken at its word, fits.
    #[test]
    fn a_size_that_does_not_fit_says_what_would() {
        for (height, width) in [(32, 32), (64, 64), (128, 128), (28, 28), (48, 96), (1, 5), (16, 24)] {
            check(height, width).unwrap();
        }
        for (height, width) in [(30, 30), (33, 64), (100, 37), (0, 0), (9, 8)] {
            let message = check(height, width).unwrap_err().to_string();
            assert!(message.contains(&format!("{height}×{width}")), "{message}");
            let sizes = message.split("--resize ").skip(1).map(|rest| rest.split(' ').next().unwrap());
            let sizes: Vec<usize> = sizes.map(|size| size.parse().unwrap()).collect();
            assert!(!sizes.is_empty() && sizes.iter().all(|&side| fits(side, side)), "{message}");
        }
    }
}
