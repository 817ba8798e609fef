//! The convolution in bf16 on a CPU that multiplies it: what a tap sees is rounded straight into tiles, so that no panel of f32 is
//! written between. The products are those of `cpu.rs`, which serves every other case.

use std::any::Any;
use std::cell::RefCell;

use rayon::prelude::*;

use super::Conv2d;
use super::im2col::{Parity, block_rows, parities, scatter};
use crate::device::bf16::{Unit, product_of_packed};
use crate::device::matrix::{MatrixMut, for_each_block};
use crate::device::tiles::{Packed, Side};
use crate::device::{Backend, Cpu, Precision, Real};

/// A CPU in f32 that rounds to bf16, and what multiplies there.
#[derive(Clone, Copy)]
pub(super) struct Rounded<'a> {
    cpu: &'a Cpu<f32>,
    unit: Unit,
}

/// Runs of this many channels are whole tiles along the depth.
const CHANNELS: usize = 32;

impl<'a> Rounded<'a> {
    /// The CPU, where it serves this convolution with runs of `channels` channels; `None` where `cpu.rs` does.
    pub(super) fn serves<T: Real>(cpu: &'a Cpu<T>, d: &Conv2d, channels: usize) -> Option<Rounded<'a>> {
        let suits = cpu.precision() == Precision::Bf16 && !d.is_direct() && channels.is_multiple_of(CHANNELS);
        let cpu = (cpu as &dyn Any).downcast_ref::<Cpu<f32>>()?;
        suits.then(Unit::best).flatten().map(|unit| Rounded { cpu, unit })
    }
}

/// Where a line of a packed operand finds its numbers: an image, and a place that a tap moves.
#[derive(Clone, Copy)]
struct Pixel {
    image: usize,
    i: isize,
    j: isize,
}

/// The images that lines read: rows and columns of `channels` numbers.
#[derive(Clone, Copy)]
struct Source<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    channels: usize,
}

impl<'a> Source<'a> {
    /// What the tap (`di`, `dj`) of a pixel sees from a channel on; `None` outside the image.
    #[inline(always)]
    fn run(&self, pixel: Pixel, (di, dj): (isize, isize), channel: usize) -> Option<&'a [f32]> {
        let Source { data, rows, cols, channels } = *self;
        // What is negative becomes too large.
        let (i, j) = ((pixel.i + di) as usize, (pixel.j + dj) as usize);
        (i < rows && j < cols).then(|| &data[((pixel.image * rows + i) * cols + j) * channels + channel..])
    }
}

/// A thread's left operand and the places of its lines.
#[derive(Default)]
struct Left {
    packed: Packed,
    other: Packed,
    pixels: Vec<Pixel>,
}

fn with_left<R>(work: impl FnOnce(&mut Left) -> R) -> R {
    thread_local! {
        static LEFT: RefCell<Left> = RefCell::default();
    }
    LEFT.with_borrow_mut(work)
}

/// The places of output pixels `first ..`, in x.
fn window_places(d: &Conv2d, first: usize, count: usize) -> impl Iterator<Item = Pixel> {
    let (d, pixels) = (*d, d.oh() * d.ow());
    (first..first + count).map(move |row| {
        let (image, i, j) = (row / pixels, row / d.ow() % d.oh(), row % d.ow());
        let place = |at: usize| (at * d.stride) as isize - d.padding as isize;
        Pixel { image, i: place(i), j: place(j) }
    })
}

/// The tap and the channel of an element of a filter, which are R·S·C.
fn tap(d: &Conv2d, element: usize) -> ((isize, isize), usize) {
    let tap = element / d.c;
    (((tap / d.s) as isize, (tap % d.s) as isize), element % d.c)
}

/// y = conv(x, w) + b.
pub(super) fn forward(on: Rounded<'_>, d: &Conv2d, x: &[f32], w: &[f32], b: Option<&[f32]>, y: &mut [f32]) {
    let width = d.r * d.s * d.c;
    let rows = block_rows(width);
    let source = Source { data: x, rows: d.h, cols: d.w, channels: d.c };
    on.cpu.with_packed(1, |packed| {
        let filters = &mut packed[0];
        filters.fill_along_by_all(Side::Right, (d.k, width), |step| move |k| Some(&w[k * width + step..]));
        let filters = &*filters;
        y[..d.y_len()].par_chunks_mut(rows * d.k).enumerate().for_each(|(block, y)| {
            let count = y.len() / d.k;
            if let Some(b) = b {
                y.chunks_exact_mut(d.k).for_each(|row| row.copy_from_slice(&b[..d.k]));
            }
            with_left(|Left { packed, pixels, .. }| {
                pixels.clear();
                pixels.extend(window_places(d, block * rows, count));
                let pixels = &pixels[..];
                packed.fill_along(Side::Left, (count, width), |step| {
                    let (tap, channel) = tap(d, step);
                    move |line: usize| source.run(pixels[line], tap, channel)
                });
                product_of_packed(on.unit, &mut MatrixMut::dense(y, count, d.k), b.is_some(), packed, filters);
            });
        });
    });
}

/// dx = convᵀ(dy, w) + b.
pub(super) fn backward_input(on: Rounded<'_>, d: &Conv2d, dy: &[f32], w: &[f32], b: Option<&[f32]>, dx: &mut [f32]) {
    on.cpu.with_packed(d.stride * d.stride, |packed| {
        for (parity, filters) in parities(d).zip(&mut *packed) {
            pack_filters(d, &parity, w, filters);
        }
        let packed = &*packed;
        let pixels = d.h.div_ceil(d.stride) * d.w.div_ceil(d.stride);
        let width = d.r.div_ceil(d.stride) * d.s.div_ceil(d.stride) * d.k;
        let images = (block_rows(width) / pixels).max(1);
        dx[..d.x_len()].par_chunks_mut(images * d.h * d.w * d.c).enumerate().for_each(|(group, dx)| {
            for (parity, filters) in parities(d).zip(packed) {
                backward_input_parity(on, d, &parity, (dy, group * images), filters, b, dx);
            }
        });
    });
}

/// The filters of one parity: a column for each channel of x, along the taps and the K outputs.
fn pack_filters(d: &Conv2d, parity: &Parity, w: &[f32], filters: &mut Packed) {
    let depth = parity.r_taps * parity.s_taps * d.k;
    filters.fill_across(Side::Right, (d.c, depth), |channel| {
        move |step| {
            let (tap, k) = (step / d.k, step % d.k);
            let r = parity.r0 + tap / parity.s_taps * d.stride;
            let s = parity.s0 + tap % parity.s_taps * d.stride;
            Some(&w[((k * d.r + r) * d.s + s) * d.c + channel..])
        }
    });
}

/// One parity class of a group of images, of which the first is number `first`: multiply, scatter.
fn backward_input_parity(
    on: Rounded<'_>,
    d: &Conv2d,
    parity: &Parity,
    (dy, first): (&[f32], usize),
    filters: &Packed,
    b: Option<&[f32]>,
    dx: &mut [f32],
) {
    let (taps, per_image) = (parity.r_taps * parity.s_taps, parity.rows * parity.cols);
    let count = dx.len() / (d.h * d.w * d.c) * per_image;
    if count == 0 {
        return;
    }
    let source = Source { data: dy, rows: d.oh(), cols: d.ow(), channels: d.k };
    // The class's pixels stand `stride` apart, so its taps' outputs are a whole number of steps away.
    let place = |at: usize, phase: usize, tap: usize| ((phase + at * d.stride + d.padding - tap) / d.stride) as isize;
    on.cpu.with_local(count * d.c, |products| {
        with_left(|Left { packed, pixels, .. }| {
            pixels.clear();
            pixels.extend((0..count).map(|pixel| {
                let (image, pixel) = (first + pixel / per_image, pixel % per_image);
                let i = place(pixel / parity.cols, parity.ph, parity.r0);
                Pixel { image, i, j: place(pixel % parity.cols, parity.pw, parity.s0) }
            }));
            let pixels = &pixels[..];
            packed.fill_along(Side::Left, (count, taps * d.k), |step| {
                let (tap, channel) = (step / d.k, step % d.k);
                let tap = (-((tap / parity.s_taps) as isize), -((tap % parity.s_taps) as isize));
                move |line: usize| source.run(pixels[line], tap, channel)
            });
            product_of_packed(on.unit, &mut MatrixMut::dense(products, count, d.c), false, packed, filters);
        });
        scatter(d, parity, products, b, dx);
    });
}

/// dw += dyᵀ · windows(x): a task owns a block of filters and some filter rows, and walks the pixels in order.
pub(super) fn backward_weight(on: Rounded<'_>, d: &Conv2d, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (total, width) = (d.n * d.oh() * d.ow(), d.r * d.s * d.c);
    let source = Source { data: x, rows: d.h, cols: d.w, channels: d.c };
    // Some four tasks, by taps where there are several: what a tap sees is packed once, the gradients for each task.
    let columns = width.div_ceil(4).next_multiple_of(d.c).min(width);
    let filters = if columns < width { d.k } else { d.k.div_ceil(4).next_multiple_of(16) };
    let target = MatrixMut::dense(&mut dw[..d.w_len()], d.k, width);
    for_each_block(target, filters, columns, &|k, column, mut part| {
        with_left(|Left { packed: gradients, other: windows, pixels }| {
            for first in (0..total).step_by(PIXELS) {
                let count = PIXELS.min(total - first);
                pixels.clear();
                pixels.extend(window_places(d, first, count));
                let pixels = &pixels[..];
                gradients.fill_across(Side::Left, (part.rows, count), |line| {
                    move |pixel| Some(&dy[(first + pixel) * d.k + k + line..])
                });
                windows.fill_across(Side::Right, (part.cols, count), |line| {
                    let (tap, channel) = tap(d, column + line);
                    move |pixel: usize| source.run(pixels[pixel], tap, channel)
                });
                product_of_packed(on.unit, &mut part, true, gradients, windows);
            }
        });
    });
}

/// Pixels that a task packs at a time.
const PIXELS: usize = 512;
