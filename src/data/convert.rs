//! Bringing images to a number of channels and a size.

use std::path::Path;

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
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
    Ok(Images { count: images.count, height: to.height, width: to.width, channels: to.channels, pixels, description })
}

/// Converts one image: channels first, then, where the size differs, the centre cut to the new proportions and resized
/// with a Lanczos filter (which averages over the area when it makes images smaller).
pub(crate) fn fit(resizer: &mut Resizer, from: Shape, old: &[u8], to: Shape, new: &mut [u8]) -> Result<()> {
    let converted;
    let old = match (from.channels, to.channels) {
        (1, 3) => {
            converted = old.iter().flat_map(|&grey| [grey; 3]).collect::<Vec<u8>>();
            &converted
        }
        (3, 1) => {
            converted = old.chunks_exact(3).map(luma).collect::<Vec<u8>>();
            &converted
        }
        _ => old,
    };
    if (from.height, from.width) == (to.height, to.width) {
        new.copy_from_slice(old);
        return Ok(());
    }
    let pixel = if to.channels == 1 { PixelType::U8 } else { PixelType::U8x3 };
    let failed = |error: &dyn std::fmt::Display| Error::Internal(format!("resizing {from:?} to {to:?}: {error}"));
    let source = ImageRef::new(from.width as u32, from.height as u32, old, pixel).map_err(|e| failed(&e))?;
    let mut target = Image::from_slice_u8(to.width as u32, to.height as u32, new, pixel).map_err(|e| failed(&e))?;
    let options = ResizeOptions::new()
        .resize_alg(ResizeAlg::Convolution(FilterType::Lanczos3))
        .fit_into_destination(Some((0.5, 0.5)));
    resizer.resize(&source, &mut target, &options).map_err(|e| failed(&e))
}

/// Luma of ITU-R BT.601: 0.299 R + 0.587 G + 0.114 B, rounded.
fn luma(pixel: &[u8]) -> u8 {
    let [red, green, blue] = [pixel[0], pixel[1], pixel[2]].map(u32::from);
    ((299 * red + 587 * green + 114 * blue + 500) / 1000) as u8
}
