//! Images on a grid on which every tap of a convolution is a step of a fixed length, so that a product reads its windows where they
//! lie.
//!
//! An axis of the grid has a `period`: as many places as an axis of the output, and zeros for what lies outside the image. The
//! zeros behind one line are those in front of the next one, where both are needed: a step over the end of a line, or of an image,
//! meets zeros. With a stride σ the input is split into σ² planes, those of its pixels that have the same remainders, and each
//! plane lies on such a grid:
//!
//! ```text
//! 3×3, stride 1, padding 1, 4 columns:   period 5    0 x x x x | 0 x x x x | 0 …
//! 4×4, stride 2, padding 1, 4 columns:   period 3    0 x x | 0 x x | 0 …       plane 0: columns 1, 3
//!                                                    x x 0 | x x 0 | x …       plane 1: columns 0, 2
//! ```
//!
//! The places between lines are computed with the others, and left out of the result.

use super::Conv2d;

/// Indices along an axis: place p of plane q is number `step · p + q − before`, if there is one.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    step: usize,
    before: isize,
    count: usize,
}

impl Numbers {
    fn at(&self, place: usize, plane: usize) -> Option<usize> {
        let number = (self.step * place + plane) as isize - self.before;
        usize::try_from(number).ok().filter(|&number| number < self.count)
    }
}

/// One axis of a grid.
#[derive(Debug, Clone, Copy)]
struct Axis {
    period: usize,
    /// Planes of what is read, and planes of what is written.
    planes: [usize; 2],
    read: Numbers,
    written: Numbers,
    /// The way to the tap at the far end, in places: the last for a window, the first for its gradient.
    far: usize,
}

impl Axis {
    /// The period for `places` that read up to `far` places on.
    fn new(places: usize, far: usize, planes: [usize; 2], read: Numbers, written: Numbers) -> Axis {
        let all = places + far;
        let zeros = |plane: usize| {
            let present = |place: &usize| read.at(*place, plane).is_some();
            match ((0..all).find(present), (0..all).rev().find(present)) {
                (Some(first), Some(last)) => first.min(all - 1 - last),
                _ => all,
            }
        };
        let shared = (0..planes[0]).map(zeros).min().unwrap_or(0).min(far);
        Axis { period: all - shared, planes, read, written, far }
    }

    /// Of a convolution of `len` elements to `out`.
    fn forward(d: &Conv2d, taps: usize, len: usize, out: usize) -> Axis {
        let read = Numbers { step: d.stride, before: d.padding as isize, count: len };
        let written = Numbers { step: 1, before: 0, count: out };
        Axis::new(out, taps.div_ceil(d.stride) - 1, [d.stride.min(taps), 1], read, written)
    }

    /// Of its input gradient: from `out` elements to `len`.
    fn backward_input(d: &Conv2d, taps: usize, len: usize, out: usize) -> Axis {
        let far = taps.div_ceil(d.stride) - 1;
        // Places before `first` belong to elements before the first in every plane.
        let first = (d.padding + 1).saturating_sub(d.stride).div_ceil(d.stride);
        let last = (len - 1 + d.padding) / d.stride;
        let read = Numbers { step: 1, before: far as isize - first as isize, count: out };
        let before = d.padding as isize - (d.stride * first) as isize;
        let written = Numbers { step: d.stride, before, count: len };
        Axis::new(last + 1 - first, far, [1, d.stride], read, written)
    }
}

/// A grid for a convolution or for its input gradient.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    rows: Axis,
    cols: Axis,
}

impl Grid {
    /// Windows of x, and a place for each pixel of y.
    pub(super) fn forward(d: &Conv2d) -> Grid {
        Grid { rows: Axis::forward(d, d.r, d.h, d.oh()), cols: Axis::forward(d, d.s, d.w, d.ow()) }
    }

    /// Windows of dy, and a place for each pixel of a plane of dx.
    pub(super) fn backward_input(d: &Conv2d) -> Grid {
        Grid { rows: Axis::backward_input(d, d.r, d.h, d.oh()), cols: Axis::backward_input(d, d.s, d.w, d.ow()) }
    }

    /// Places of an image.
    pub(super) fn places(&self) -> usize {
        self.rows.period * self.cols.period
    }

    /// Planes of what is read.
    pub(super) fn planes(&self) -> usize {
        self.rows.planes[0] * self.cols.planes[0]
    }

    /// Places from a place to the furthest that its taps reach.
    pub(super) fn reach(&self) -> usize {
        self.rows.far * self.cols.period + self.cols.far
    }

    /// The pixels that are read, plane by plane at each place, of images one after another; their first pixels are 0.
    pub(super) fn read(&self, images: usize) -> impl Iterator<Item = Option<u32>> {
        let Grid { rows, cols } = *self;
        self.pixels(images, [rows.read, cols.read], [rows.planes[0], cols.planes[0]])
    }

    /// The pixels that are written at each place, plane by plane.
    pub(super) fn written(&self, images: usize) -> impl Iterator<Item = Option<u32>> {
        let Grid { rows, cols } = *self;
        self.pixels(images, [rows.written, cols.written], [rows.planes[1], cols.planes[1]])
    }

    fn pixels(
        &self,
        images: usize,
        [rows, cols]: [Numbers; 2],
        planes: [usize; 2],
    ) -> impl Iterator<Item = Option<u32>> {
        let (periods, places) = ([self.rows.period, self.cols.period], self.places());
        (0..images * places).flat_map(move |place| {
            let (image, row, column) = (place / places, place / periods[1] % periods[0], place % periods[1]);
            (0..planes[0] * planes[1]).map(move |plane| {
                let (row, column) = (rows.at(row, plane / planes[1])?, cols.at(column, plane % planes[1])?);
                u32::try_from((image * rows.count + row) * cols.count + column).ok()
            })
        })
    }

    /// A tap of a window: the way to it in places, and its plane.
    pub(super) fn tap(&self, d: &Conv2d, r: usize, s: usize) -> (usize, usize) {
        let way = r / d.stride * self.cols.period + s / d.stride;
        (way, r % d.stride * self.cols.planes[0] + s % d.stride)
    }

    /// The taps that lead to a plane of dx, with the ways to the pixels of dy that they come from.
    pub(super) fn taps_to(&self, d: &Conv2d, plane: usize) -> impl Iterator<Item = (usize, usize, usize)> + Clone {
        let (d, [rows, cols], period) = (*d, [self.rows.far, self.cols.far], self.cols.period);
        (plane / d.stride..d.r).step_by(d.stride).flat_map(move |r| {
            let row = rows - r / d.stride;
            (plane % d.stride..d.s).step_by(d.stride).map(move |s| (r, s, row * period + cols - s / d.stride))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::case_sizes;
    use super::*;

    /// The pixel that a place in a plane holds; behind the end there is none.
    fn at(table: &[Option<u32>], planes: usize, place: usize, plane: usize) -> Option<u32> {
        table.get(place * planes + plane).copied().flatten()
    }

    /// Every tap of every output pixel is found where the grid says, by the definition of the convolution.
    #[test]
    fn windows_are_those_of_the_definition() {
        const IMAGES: usize = 2;
        for d in case_sizes() {
            let grid = Grid::forward(&d);
            let read: Vec<_> = grid.read(IMAGES).collect();
            let mut seen = 0;
            for (place, pixel) in grid.written(IMAGES).enumerate() {
                let Some(pixel) = pixel.map(|pixel| pixel as usize) else { continue };
                let (image, i, j) = (pixel / (d.oh() * d.ow()), pixel / d.ow() % d.oh(), pixel % d.ow());
                seen += 1;
                for (r, s) in (0..d.r).flat_map(|r| (0..d.s).map(move |s| (r, s))) {
                    let (h, w) =
                        ((i * d.stride + r).wrapping_sub(d.padding), (j * d.stride + s).wrapping_sub(d.padding));
                    let expected = (h < d.h && w < d.w).then(|| ((image * d.h + h) * d.w + w) as u32);
                    let (way, plane) = grid.tap(&d, r, s);
                    assert!(way <= grid.reach());
                    assert_eq!(at(&read, grid.planes(), place + way, plane), expected, "{d:?}, {i} {j}, tap {r} {s}");
                }
            }
            assert_eq!(seen, IMAGES * d.oh() * d.ow(), "{d:?}");
        }
    }

    /// Every pixel of dx is written once, and its taps lead to the pixels of dy whose windows see it.
    #[test]
    fn taps_lead_back_to_the_windows() {
        const IMAGES: usize = 2;
        for d in case_sizes() {
            let grid = Grid::backward_input(&d);
            let read: Vec<_> = grid.read(IMAGES).collect();
            let mut seen = vec![0; IMAGES * d.h * d.w];
            for (at_plane, pixel) in grid.written(IMAGES).enumerate() {
                let Some(pixel) = pixel.map(|pixel| pixel as usize) else { continue };
                let (place, plane) = (at_plane / (d.stride * d.stride), at_plane % (d.stride * d.stride));
                let (image, h, w) = (pixel / (d.h * d.w), pixel / d.w % d.h, pixel % d.w);
                seen[pixel] += 1;
                let mut found = vec![None; d.r * d.s];
                for (r, s, way) in grid.taps_to(&d, plane) {
                    assert!(way <= grid.reach());
                    found[r * d.s + s] = at(&read, 1, place + way, 0);
                }
                for (r, s) in (0..d.r).flat_map(|r| (0..d.s).map(move |s| (r, s))) {
                    let axis = |at: usize, tap: usize, out: usize| {
                        let way = (at + d.padding).checked_sub(tap).filter(|way| way % d.stride == 0)?;
                        Some(way / d.stride).filter(|&at| at < out)
                    };
                    let expected = axis(h, r, d.oh()).zip(axis(w, s, d.ow()));
                    let expected = expected.map(|(i, j)| ((image * d.oh() + i) * d.ow() + j) as u32);
                    assert_eq!(found[r * d.s + s], expected, "{d:?}, pixel {h} {w}, tap {r} {s}");
                }
            }
            assert!(seen.iter().all(|&times| times == 1), "{d:?}: {seen:?}");
        }
    }

    /// The zeros between lines are shared, where both sides need some.
    #[test]
    fn lines_share_their_zeros() {
        let square = |side, r, stride, padding| {
            let d = Conv2d { n: 1, h: side, w: side, c: 1, k: 1, r, s: r, stride, padding };
            [Grid::forward(&d), Grid::backward_input(&d)].map(|grid| (grid.cols.period, grid.rows.period))
        };
        assert_eq!(square(4, 3, 1, 1), [(5, 5); 2]);
        assert_eq!(square(14, 4, 2, 1), [(8, 8); 2]);
        assert_eq!(square(7, 1, 1, 0), [(7, 7); 2]);
    }
}
