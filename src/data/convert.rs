//! Bringing images to a number of channels and a size.

use std::borrow::Cow;
use std::path::Path;

use fast_image_resize::images::TypedImage;
use fast_image_resize::pixels::U8;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use rayon::prelude::*;

use super::images::{Images, LoadOptions, allocate};
use crate::error::{Error, Result};
use crate::image::ImageShape;

/// The shape that an image of `shape` has after `options`.
pub(crate) fn target(shape: ImageShape, options: &LoadOptions) -> ImageShape {
    let keep_or = |kept, asked| if asked == 0 { kept } else { asked };
    ImageShape {
        h: keep_or(shape.h, options.resize),
        w: keep_or(shape.w, options.resize),
        c: keep_or(shape.c, options.channels),
    }
}

/// Brings a whole data set, in which all images have one shape, to what `options` ask for.
pub(crate) fn images(images: Images, options: &LoadOptions) -> Result<Images> {
    let from = images.shape();
    let to = target(from, options);
    if from == to {
        return Ok(images);
    }
    let mut pixels = allocate(Path::new(&images.description), images.count, [to.h, to.w, to.c])?;
    let old = images.pixels.par_chunks_exact(from.h * from.w * from.c);
    pixels
        .par_chunks_exact_mut(to.h * to.w * to.c)
        .zip(old)
        .try_for_each_init(Resizer::new, |resizer, (new, old)| fit(resizer, from, old, to, new))?;
    let description = format!("{}, converted to {}×{}×{}", images.description, to.h, to.w, to.c);
    Ok(Images { count: images.count, height: to.h, width: to.w, channels: to.c, pixels, description, ..images })
}

/// Converts one image: channels first, then, where the size differs, its central square is cut out and resized with a
/// Lanczos filter (which averages over the area when it makes images smaller).
pub(crate) fn fit(resizer: &mut Resizer, from: ImageShape, old: &[u8], to: ImageShape, new: &mut [u8]) -> Result<()> {
    let old: Cow<'_, [u8]> = match (from.c, to.c) {
        (1, 3) => old.iter().flat_map(|&grey| [grey; 3]).collect(),
        (3, 1) => old.chunks_exact(3).map(luma).collect(),
        _ => old.into(),
    };
    if (from.h, from.w) == (to.h, to.w) {
        new.copy_from_slice(&old);
        return Ok(());
    }
    // Cut before resizing, or the filter would reach for pixels outside the square.
    let side = from.h.min(from.w);
    let (top, left) = ((from.h - side) / 2, (from.w - side) / 2);
    let mut small = vec![U8::new(0); to.h * to.w];
    for channel in 0..to.c {
        let rows = old.chunks_exact(from.w * to.c).skip(top).take(side);
        let plane: Vec<U8> = rows
            .flat_map(|row| row.iter().skip(left * to.c + channel).step_by(to.c).take(side))
            .map(|&value| U8::new(value))
            .collect();
        resize_plane(resizer, plane, side, &mut small, to)?;
        for (value, small) in new.iter_mut().skip(channel).step_by(to.c).zip(&small) {
            *value = small.0;
        }
    }
    Ok(())
}

/// Resizes one channel. Planes of a single type, from an image of the type that the resizer keeps its own rows in, keep it, which is
/// generic over pixels and images, from being compiled a dozen times: that takes minutes.
fn resize_plane(resizer: &mut Resizer, plane: Vec<U8>, side: usize, small: &mut [U8], to: ImageShape) -> Result<()> {
    let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("resizing {side}×{side} to {to:?}: {error}"));
    let source = TypedImage::from_pixels(side as u32, side as u32, plane).map_err(|e| failed(&e))?;
    let mut target = TypedImage::from_pixels_slice(to.w as u32, to.h as u32, small).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3));
    resizer.resize_typed(&source, &mut target, &options).map_err(|e| failed(&e))
}

/// Luma of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, rounded.
pub(crate) fn luma(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
}
