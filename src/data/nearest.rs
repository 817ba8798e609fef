//! The images of a data set that are nearest to given ones, pixel by pixel.

use super::images::Images;
use crate::device::parallel::{ParallelSliceMut, Parts};

/// An image of a data set, and how far it is from the one that it was looked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Its number in the data set, from 0.
    pub index: usize,
    /// Root of the mean squared difference of the pixels' values, 0 to 255.
    pub distance: f64,
    /// True if its mirror image (left and right exchanged) is what is so near.
    pub mirrored: bool,
}

/// The search for neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Search {
    /// The number of neighbours of each.
    pub count: usize,
    /// Look among the mirror images too.
    pub mirrored: bool,
}

/// Images that are compared with all queries before the next ones are read: they stay in a core's cache.
const BLOCK: usize = 32;
/// Queries that a thread takes at once.
const GROUP: usize = 8;
/// Elements whose squares fit into 32 bits.
const SUMMED: usize = 1 << 15;

/// For each query the nearest images of the set, the nearest one first. A query is `[height, width, channels]` as the set's images
/// are, and may be one of them: `except` then has its number, and it is not its own neighbour, nor is its mirror image.
///
/// The result does not depend on the number of threads.
pub fn nearest(images: &Images, queries: &[(&[u8], Option<usize>)], search: Search) -> Vec<Vec<Neighbour>> {
    let row = images.width * images.channels;
    let size = images.height * row;
    let mut found: Vec<Vec<Neighbour>> = vec![Vec::new(); queries.len()];
    if size == 0 {
        return found;
    }
    let turned: Vec<Vec<u8>> = queries.iter().map(|(query, _)| mirror(query, row, images.channels)).collect();
    found.par_chunks_mut(GROUP).enumerate().for_each(|(group, found)| {
        for (block, pixels) in images.pixels.chunks(BLOCK * size).enumerate() {
            for (place, best) in found.iter_mut().enumerate() {
                let (query, except) = queries[group * GROUP + place];
                for (within, image) in pixels.chunks_exact(size).enumerate() {
                    let index = block * BLOCK + within;
                    if except == Some(index) {
                        continue;
                    }
                    insert(best, search.count, index, squares(query, image), false);
                    if search.mirrored {
                        insert(best, search.count, index, squares(&turned[group * GROUP + place], image), true);
                    }
                }
            }
        }
        let distance = |squares: f64| (squares / size as f64).sqrt();
        found.iter_mut().flatten().for_each(|one| one.distance = distance(one.distance));
    });
    found
}

/// Puts an image among the nearest, if it is one of them and is not there already; of equal ones the first in the set comes first.
fn insert(best: &mut Vec<Neighbour>, count: usize, index: usize, squares: u64, mirrored: bool) {
    let distance = squares as f64;
    if count == 0 || (best.len() == count && best[count - 1].distance <= distance) {
        return;
    }
    if let Some(other) = best.iter().position(|one| one.index == index) {
        if best[other].distance <= distance {
            return;
        }
        best.remove(other);
    }
    let place = best.partition_point(|one| one.distance <= distance);
    best.insert(place, Neighbour { index, distance, mirrored });
    best.truncate(count);
}

/// The sum of the squared differences.
fn squares(a: &[u8], b: &[u8]) -> u64 {
    let part = |(a, b): (&[u8], &[u8])| {
        let square = |(&a, &b): (&u8, &u8)| {
            let difference = u32::from(a.abs_diff(b));
            difference * difference
        };
        u64::from(a.iter().zip(b).map(square).sum::<u32>())
    };
    a.chunks(SUMMED).zip(b.chunks(SUMMED)).map(part).sum()
}

fn mirror(image: &[u8], row: usize, channels: usize) -> Vec<u8> {
    image.chunks_exact(row).flat_map(|row| row.chunks_exact(channels).rev().flatten()).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images without a pattern in them.
    fn images(count: usize, height: usize, width: usize, channels: usize) -> Images {
        let pixels = (0..count * height * width * channels).map(|i| ((i * i * 31 + i * 7) % 253) as u8).collect();
        Images { count, height, width, channels, pixels, ..Images::default() }
    }

    /// By the definition, one image after the other, in f64.
    fn by_definition(images: &Images, query: &[u8], except: Option<usize>, mirrored: bool) -> Vec<(usize, f64)> {
        let (h, w, c) = (images.height, images.width, images.channels);
        let at = |image: &[u8], y: usize, x: usize, k: usize| f64::from(image[(y * w + x) * c + k]);
        let distance = |image: &[u8], turn: bool| {
            let mut sum = 0.0;
            for y in 0..h {
                for x in 0..w {
                    for k in 0..c {
                        let other = if turn { w - 1 - x } else { x };
                        sum += (at(query, y, x, k) - at(image, y, other, k)).powi(2);
                    }
                }
            }
            (sum / (h * w * c) as f64).sqrt()
        };
        let mut all: Vec<(usize, f64)> = images
            .pixels
            .chunks_exact(h * w * c)
            .map(
                |image| {
                    if mirrored { distance(image, false).min(distance(image, true)) } else { distance(image, false) }
                },
            )
            .enumerate()
            .filter(|(index, _)| Some(*index) != except)
            .collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        all
    }

    #[test]
    fn the_nearest_are_those_of_the_definition() {
        for (count, h, w, c) in [(1, 1, 1, 1), (100, 3, 5, 1), (65, 4, 3, 3), (33, 80, 150, 3)] {
            let images = images(count, h, w, c);
            let size = h * w * c;
            let strange: Vec<u8> = (0..size).map(|i| (i * 91 % 256) as u8).collect();
            let own = &images.pixels[(count - 1) * size..];
            for mirrored in [false, true] {
                let queries: Vec<(&[u8], Option<usize>)> = vec![(&strange, None), (own, Some(count - 1)), (own, None)];
                let found = nearest(&images, &queries, Search { count: 3, mirrored });
                for ((query, except), found) in queries.iter().zip(&found) {
                    let expected = by_definition(&images, query, *except, mirrored);
                    assert_eq!(found.len(), expected.len().min(3));
                    for (found, (_, distance)) in found.iter().zip(expected) {
                        assert!((found.distance - distance).abs() <= 1e-12 * distance, "{found:?} {distance}");
                    }
                }
                assert_eq!(found[2][0], Neighbour { index: count - 1, distance: 0.0, mirrored: false });
            }
        }
    }

    #[test]
    fn a_mirrored_copy_is_found_where_it_is_looked_for() {
        let images = images(40, 4, 5, 3);
        let copy = mirror(&images.pixels[7 * 60..8 * 60], 15, 3);
        let found = nearest(&images, &[(&copy, None)], Search { count: 1, mirrored: true });
        assert_eq!(found, [[Neighbour { index: 7, distance: 0.0, mirrored: true }]]);
        assert!(nearest(&images, &[(&copy, None)], Search { count: 1, mirrored: false })[0][0].distance > 10.0);
    }

    /// Black and white are as far apart as can be, and their squares do not fit into 32 bits.
    #[test]
    fn large_images_do_not_overflow() {
        let images =
            Images { count: 1, height: 300, width: 300, channels: 1, pixels: vec![0; 90_000], ..Images::default() };
        let found = nearest(&images, &[(&[255; 90_000], None)], Search { count: 2, mirrored: false });
        assert_eq!(found, [[Neighbour { index: 0, distance: 255.0, mirrored: false }]]);
        assert_eq!(nearest(&Images::default(), &[(&[], None)], Search { count: 2, mirrored: false }), [[]]);
    }
}
