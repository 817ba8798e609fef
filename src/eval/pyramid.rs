//! Laplacian pyramids (Burt & Adelson 1983), as Karras et al. 2018 make them: a level is what an image loses when it is halved, the
//! last one the halved image itself.

use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::image::ImageShape;

/// The shorter side of the last level is this or more: 16 for sides that are powers of two, 14 for MNIST's 28.
const SMALLEST: usize = 14;
/// The filter along one axis, over 16.
const FILTER: [f32; 5] = [1.0, 4.0, 6.0, 4.0, 1.0];

/// A level: values `[N, H, W, C]`.
#[derive(Debug, Clone)]
pub struct Level {
    /// The size of an image on this level.
    pub shape: ImageShape,
    /// The values of all images.
    pub values: Vec<f32>,
}

/// The levels of images `[N, H, W, C]`, the finest first. A side that is odd is not halved.
pub fn levels(shape: ImageShape, pixels: &[u8]) -> Vec<Level> {
    let mut current = Level { shape, values: pixels.iter().map(|&pixel| f32::from(pixel)).collect() };
    let mut levels = Vec::new();
    loop {
        let ImageShape { h, w, c } = current.shape;
        if h % 2 == 1 || w % 2 == 1 || h.min(w) / 2 < SMALLEST {
            levels.push(current);
            return levels;
        }
        let half = ImageShape { h: h / 2, w: w / 2, c };
        let images = current.values.len() / current.shape.len();
        let mut halved = vec![0.0; images * half.len()];
        let source = current.values.par_chunks(current.shape.len());
        halved.par_chunks_mut(half.len()).zip(source).for_each(|(halved, image)| halve(current.shape, image, halved));
        let shape = current.shape;
        let target = current.values.par_chunks_mut(shape.len());
        target.zip(halved.par_chunks(half.len())).for_each(|(image, halved)| subtract_doubled(shape, image, halved));
        levels.push(current);
        current = Level { shape: half, values: halved };
    }
}

/// The place at a border that is a mirror, on which the outermost pixel itself lies.
fn mirrored(at: isize, size: usize) -> usize {
    let last = size as isize - 1;
    let at = if at < 0 { -at } else { at };
    (if at > last { 2 * last - at } else { at }) as usize
}

/// Every second pixel of the filtered image.
fn halve(ImageShape { h, w, c }: ImageShape, image: &[f32], halved: &mut [f32]) {
    let columns = w / 2;
    let mut rows = vec![0.0; h * columns * c];
    for (y, j, k) in places(h, columns, c) {
        let tap = |(t, weight): (usize, &f32)| {
            weight / 16.0 * image[(y * w + mirrored(2 * j as isize + t as isize - 2, w)) * c + k]
        };
        rows[(y * columns + j) * c + k] = FILTER.iter().enumerate().map(tap).sum();
    }
    for (i, j, k) in places(h / 2, columns, c) {
        let tap = |(t, weight): (usize, &f32)| {
            weight / 16.0 * rows[(mirrored(2 * i as isize + t as isize - 2, h) * columns + j) * c + k]
        };
        halved[(i * columns + j) * c + k] = FILTER.iter().enumerate().map(tap).sum();
    }
}

/// Takes the halved image, brought back to the size of the image, from the image: zeros between its pixels, then the filter with a sum
/// of 2 along each axis.
fn subtract_doubled(ImageShape { h, w, c }: ImageShape, image: &mut [f32], halved: &[f32]) {
    let (rows, columns) = (h / 2, w / 2);
    // Of the five places under the filter those with a pixel, and not with a zero.
    let taps = |at: usize, size: usize| {
        FILTER.iter().enumerate().filter_map(move |(t, weight)| {
            let place = mirrored(at as isize + t as isize - 2, size);
            place.is_multiple_of(2).then_some((place / 2, weight / 8.0))
        })
    };
    let mut wide = vec![0.0; rows * w * c];
    for (i, x, k) in places(rows, w, c) {
        wide[(i * w + x) * c + k] = taps(x, w).map(|(j, weight)| weight * halved[(i * columns + j) * c + k]).sum();
    }
    for (y, x, k) in places(h, w, c) {
        let doubled: f32 = taps(y, h).map(|(i, weight)| weight * wide[(i * w + x) * c + k]).sum();
        image[(y * w + x) * c + k] -= doubled;
    }
}

fn places(h: usize, w: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..h).flat_map(move |y| (0..w).flat_map(move |x| (0..c).map(move |k| (y, x, k))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_down_to_fourteen() {
        let sides = |h: usize, w: usize| {
            let shape = ImageShape { h, w, c: 1 };
            levels(shape, &vec![9; 2 * h * w]).iter().map(|level| level.shape.h).collect::<Vec<_>>()
        };
        assert_eq!(sides(28, 28), [28, 14]);
        assert_eq!(sides(32, 32), [32, 16]);
        assert_eq!(sides(64, 128), [64, 32, 16]);
        assert_eq!((sides(30, 30), sides(33, 64), sides(8, 8)), (vec![30, 15], vec![33], vec![8]));
    }

    /// A flat image has nothing to lose, and a single point keeps its sum.
    #[test]
    fn a_flat_image_is_in_the_last_level_alone() {
        let flat = levels(ImageShape { h: 28, w: 32, c: 3 }, &[77; 28 * 32 * 3]);
        assert!(flat[0].values.iter().all(|value| value.abs() < 1e-4));
        assert!(flat[1].values.iter().all(|value| (value - 77.0).abs() < 1e-4));
    }
}
