//! Bringing images to a number of channels and a size.

use std::borrow::Cow;
use std::path::Path;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use rayon::prelude::*;

use super::picture::Shape;
use super::{Images, LoadOptions, allocate};
use crate::error::{Error, Result};

/// The shape that an image of `shape` has after `options`.
pub(crate) fn target(shape: Shape, options: &LoadOptions) -> Shape {
    let keep_or = |kept, asked| if asked == 0 { kept } else { asked };
    Shape {
        height: keep_or(shape.height, options.resize),
        width: keep_or(shape.width, options.resize),
        channels: keep_or(shape.channels, options.channels),
    }
}

/// Brings a whole data set, in which all images have one shape, to what `options` ask for.
pub(crate) fn images(images: Images, options: &LoadOptions) -> Result<Images> {
    let from = Shape { height: images.height, width: images.width, channels: images.channels };
    let to = target(from, options);
    if from == to {
        return Ok(images);
    }
    let mut pixels = allocate(Path::new(&images.description), images.count, [to.height, to.width, to.channels])?;
    let old = images.pixels.par_chunks_exact(from.height * from.width * from.channels);
    pixels
        .par_chunks_exact_mut(to.height * to.width * to.channels)
        .zip(old)
        .try_for_each_init(Resizer::new, |resizer, (new, old)| fit(resizer, from, old, to, new))?;
    let description = format!("{}, converted to {}×{}×{}", images.description, to.height, to.width, to.channels);
    Ok(Images {
        count: images.count,
        height: to.height,
        width: to.width,
        channels: to.channels,
        pixels,
        description,
        ..images
    })
}

/// Converts one image: channels first, then, where the size differs, its central square is cut out and resized with a
/// Lanczos filter (which averages over the area when it makes images smaller).
pub(crate) fn fit(resizer: &mut Resizer, from: Shape, old: &[u8], to: Shape, new: &mut [u8]) -> Result<()> {
    let old: Cow<'_, [u8]> = match (from.channels, to.channels) {
        (1, 3) => old.iter().flat_map(|&grey| [grey; 3]).collect(),
        (3, 1) => old.chunks_exact(3).map(luma).collect(),
        _ => old.into(),
    };
    if (from.height, from.width) == (to.height, to.width) {
        new.copy_from_slice(&old);
        return Ok(());
    }
    // Cut before resizing, or the filter would reach for pixels outside the square.
    let side = from.height.min(from.width);
    let (top, left) = ((from.height - side) / 2, (from.width - side) / 2);
    let mut small = vec![U8::new(0); to.height * to.width];
    for channel in 0..to.channels {
        let rows = old.chunks_exact(from.width * to.channels).skip(top).take(side);
        let plane: Vec<U8> = rows
            .flat_map(|row| row.iter().skip(left * to.channels + channel).step_by(to.channels).take(side))
            .map(|&value| U8::new(value))
            .collect();
        resize_plane(resizer, &plane, side, &mut small, to)?;
        for (value, small) in new.iter_mut().skip(channel).step_by(to.channels).zip(&small) {
            *value = small.0;
        }
    }
    Ok(())
}

/// Resizes one channel. Planes of a single type keep the resizer, which is generic over all of its pixel types, from
/// being compiled a dozen times: that takes minutes.
fn resize_plane(resizer: &mut Resizer, plane: &[U8], side: usize, small: &mut [U8], to: Shape) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("resizing {side}×{side} to {to:?}: {error}"));
    let source = TypedImageRef::new(side as u32, side as u32, plane).map_err(|e| failed(&e))?;
    let mut target = TypedImage::from_pixels_slice(to.width as u32, to.height as u32, small).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    resizer.resize_typed(&source, &mut target, &options).map_err(|e| failed(&e))
}

/// Luma of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, rounded.
pub(crate) fn luma(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
}
