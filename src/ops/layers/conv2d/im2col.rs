//! Rows of a convolution as rows of a matrix, packed a block at a time into a thread's scratch.

use std::ops::Range;

use super::Conv2d;
use crate::device::{Real, Storage};

/// Elements of a packed block: it stays in the caches, and packing the filters again for each does not weigh.
pub(super) const BLOCK: usize = 1 << 18;
/// Rows of a block: enough that packing the other operand does not weigh, few enough to share among threads.
const BLOCK_ROWS: Range<usize> = 64..1024;
/// Output pixels of a block whose rows have `width` elements.
pub(super) fn block_rows(width: usize) -> usize {
    (BLOCK / width.max(1)).clamp(BLOCK_ROWS.start, BLOCK_ROWS.end)
}

/// Copies the windows of output rows `first .. first + panel.len() / width` into `panel`, one a row: for filter rows
/// `r_range` and every s, the C channels that the tap sees, zeros outside the image. `width = r_range.len() · S · C`.
pub(super) fn pack<T: Real, S: Storage<T>>(d: &Conv2d, x: &[S], first: usize, r_range: Range<usize>, panel: &mut [T]) {
    let run = d.s * d.c;
    let width = r_range.len() * run;
    let (oh, ow) = (d.oh(), d.ow());
    for (row, target) in (first..).zip(panel.chunks_exact_mut(width)) {
        let (image, i, j) = (row / (oh * ow), row / ow % oh, row % ow);
        let left = (j * d.stride) as isize - d.padding as isize;
        for (r, target) in r_range.clone().zip(target.chunks_exact_mut(run)) {
            let h = (i * d.stride + r) as isize - d.padding as isize;
            if h < 0 || h >= d.h as isize {
                target.fill(T::ZERO);
                continue;
            }
            let line = &x[(image * d.h + h as usize) * d.w * d.c..][..d.w * d.c];
            copy_clipped(line, left * d.c as isize, target);
        }
    }
}

/// Copies what is stored into reals.
pub(super) fn to_reals<T: Real, S: Storage<T>>(source: &[S], target: &mut [T]) {
    match S::as_reals(source) {
        Some(source) => target.copy_from_slice(source),
        None => target.iter_mut().zip(source).for_each(|(target, value)| *target = value.real()),
    }
}

/// target = line[from .. from + target.len()], zeros where that lies outside.
fn copy_clipped<T: Real, S: Storage<T>>(line: &[S], from: isize, target: &mut [T]) {
    let before = usize::try_from(-from).unwrap_or(0).min(target.len());
    let start = usize::try_from(from).unwrap_or(0).min(line.len());
    let copied = (line.len() - start).min(target.len() - before);
    target[..before].fill(T::ZERO);
    to_reals(&line[start..start + copied], &mut target[before..before + copied]);
    target[before + copied..].fill(T::ZERO);
}

/// The taps along one axis that reach output positions of one parity: for input position h ≡ `phase` (mod stride), tap
/// r contributes dy[(h + padding − r) / stride] iff r ≡ h + padding (mod stride).
///
/// Returns the first such r; the others follow `stride` apart below `taps`.
pub(super) fn first_tap(phase: usize, padding: usize, stride: usize) -> usize {
    (phase + padding) % stride
}

/// One parity class of the input gradient of a convolution.
#[derive(Debug, Clone, Copy)]
pub(super) struct Parity {
    /// h ≡ ph, w ≡ pw (mod stride).
    pub(super) ph: usize,
    pub(super) pw: usize,
    /// First taps of that class.
    pub(super) r0: usize,
    pub(super) s0: usize,
    /// The number of taps along each axis.
    pub(super) r_taps: usize,
    pub(super) s_taps: usize,
    /// Rows and columns of the input in this class.
    pub(super) rows: usize,
    pub(super) cols: usize,
    /// The first of the class's packed filters, counted in filters of K·C elements.
    pub(super) filter: usize,
}

/// The parity classes of a convolution's input, row by row.
pub(super) fn parities(d: &Conv2d) -> impl Iterator<Item = Parity> + Clone {
    let (d, mut filter) = (*d, 0);
    (0..d.stride * d.stride).map(move |class| {
        let (ph, pw) = (class / d.stride, class % d.stride);
        let (r0, s0) = (first_tap(ph, d.padding, d.stride), first_tap(pw, d.padding, d.stride));
        let taps = |first: usize, all: usize| all.saturating_sub(first).div_ceil(d.stride);
        let (r_taps, s_taps) = (taps(r0, d.r), taps(s0, d.s));
        let count = |phase: usize, all: usize| all.saturating_sub(phase).div_ceil(d.stride);
        let parity = Parity { ph, pw, r0, s0, r_taps, s_taps, rows: count(ph, d.h), cols: count(pw, d.w), filter };
        filter += r_taps * s_taps;
        parity
    })
}

/// Packs w (KRSC) for one parity: [taps, K, C], taps in the order r, s.
pub(super) fn pack_filter<T: Real, S: Storage<T>>(d: &Conv2d, parity: &Parity, w: &[S], target: &mut [T]) {
    for (tap, target) in target.chunks_exact_mut(d.k * d.c).enumerate() {
        let r = parity.r0 + tap / parity.s_taps * d.stride;
        let s = parity.s0 + tap % parity.s_taps * d.stride;
        for (k, target) in target.chunks_exact_mut(d.c).enumerate() {
            to_reals(&w[((k * d.r + r) * d.s + s) * d.c..][..d.c], target);
        }
    }
}

/// Packs, for each pixel of one parity of one image, the K-vectors of dy that its taps see: `[rows · cols, taps · K]`.
pub(super) fn pack_parity<T: Real, S: Storage<T>>(d: &Conv2d, parity: &Parity, dy: &[S], panel: &mut [T]) {
    let (oh, ow) = (d.oh() as isize, d.ow() as isize);
    let taps = parity.r_taps * parity.s_taps;
    for (pixel, target) in panel.chunks_exact_mut(taps * d.k).enumerate() {
        // The class's pixels stand `stride` apart, so its taps' outputs are a whole number of steps away.
        let h = (parity.ph + pixel / parity.cols * d.stride + d.padding - parity.r0) / d.stride;
        let w = (parity.pw + pixel % parity.cols * d.stride + d.padding - parity.s0) / d.stride;
        for (tap, target) in target.chunks_exact_mut(d.k).enumerate() {
            let i = h as isize - (tap / parity.s_taps) as isize;
            let j = w as isize - (tap % parity.s_taps) as isize;
            if (0..oh).contains(&i) && (0..ow).contains(&j) {
                to_reals(&dy[(i * ow + j) as usize * d.k..][..d.k], target);
            } else {
                target.fill(T::ZERO);
            }
        }
    }
}

/// Puts the sums of one parity class where its pixels are, and adds the bias.
pub(super) fn scatter<T: Real, S: Storage<T>>(
    d: &Conv2d,
    parity: &Parity,
    products: &[T],
    b: Option<&[T]>,
    dx: &mut [S],
) {
    let pixels = parity.rows * parity.cols;
    for (pixel, product) in products.chunks_exact(d.c).enumerate() {
        let (image, pixel) = (pixel / pixels, pixel % pixels);
        let h = parity.ph + pixel / parity.cols * d.stride;
        let w = parity.pw + pixel % parity.cols * d.stride;
        let target = &mut dx[((image * d.h + h) * d.w + w) * d.c..][..d.c];
        match b {
            None => target.iter_mut().zip(product).for_each(|(t, &p)| *t = S::of_real(p)),
            Some(b) => target.iter_mut().zip(product).zip(b).for_each(|((t, &p), &b)| *t = S::of_real(p + b)),
        }
    }
}
