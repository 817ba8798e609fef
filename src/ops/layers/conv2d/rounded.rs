//! The convolution in bf16 on a CPU that multiplies it: images are rounded once onto a [`Grid`], and the product reads every tap of
//! their windows there. The products are those of `cpu.rs`, which serves every other case.

use std::cell::RefCell;

use half::bf16;

use super::Conv2d;
use super::grid::Grid;
use crate::device::blocks::{Multiplier, Steps, Sums, Unit};
use crate::device::cpu::vectorised;
use crate::device::matrix::MatrixMut;
use crate::device::packable::round_row;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::tiles::{Lines, Packed, Side};
use crate::device::words::Words;
use crate::device::{Precision, Real, Storage};

/// Lines, and columns, of a block of sums; depth of a step.
const SIDE: usize = 32;
/// Lines of half a block.
const HALF: usize = SIDE / 2;
/// Words of a step's tile where tiles lie behind each other.
const TILE: usize = 256;
/// Words of a task's images: they stay in the second-level cache with a part of the filters.
const TASK_WORDS: usize = 1 << 17;
/// Parts at least of a batch: so many threads have work.
const PARTS: usize = 8;
/// Elements at most of the parts of a weight gradient, unless one part has more.
const PARTIAL: usize = 1 << 21;
/// Places at least that a weight gradient sums at a time.
const PLACES: usize = 512;
/// Elements of filters that are so many that fewer tasks should read them.
const MANY: usize = 1 << 19;

/// The unit that multiplies, where it serves this convolution with runs of `channels` channels, images and gradients being bf16 in
/// memory; `None` where `cpu.rs` does.
pub(super) fn serves<T: Real, S: Storage<T>>(d: &Conv2d, channels: usize) -> Option<Unit> {
    let stored = S::PRECISION == Precision::Bf16;
    (stored && !d.is_direct() && channels.is_multiple_of(SIDE)).then(Unit::best).flatten()
}

/// Tables and filters of the operation under way, which its tasks share.
#[derive(Default)]
struct Operation {
    filters: Vec<Packed>,
    read: Vec<Option<u32>>,
    written: Vec<Option<u32>>,
    steps: Vec<[usize; 2]>,
    partial: Vec<f32>,
}

/// A thread's own memory: its images on the grid, and what else it packs.
#[derive(Default)]
struct Task {
    words: [Words; 2],
    packed: Packed,
}

/// Lends the thread that runs an operation its memory.
fn with_operation<R>(work: impl FnOnce(&mut Operation) -> R) -> R {
    thread_local! {
        static OPERATION: RefCell<Operation> = RefCell::default();
    }
    OPERATION.with_borrow_mut(work)
}

fn with_task<R>(work: impl FnOnce(&mut Task) -> R) -> R {
    thread_local! {
        static TASK: RefCell<Task> = RefCell::default();
    }
    TASK.with_borrow_mut(work)
}

/// Images that a task takes at a time, of which each needs `words`.
fn images_at_a_time(d: &Conv2d, words: usize) -> usize {
    let parts = if d.w_len() > MANY { PARTS / 2 } else { PARTS };
    (TASK_WORDS / words).clamp(1, d.n.div_ceil(parts))
}

/// Both halves of a block of lines that lie `stride` words apart, from word `at` on.
fn halves(words: &[u32], at: usize, stride: usize) -> [Lines<'_>; 2] {
    [0, HALF * stride].map(|half| Lines { words: &words[at + half..], stride })
}

/// `channels` numbers of a pixel.
fn run(data: &[bf16], pixel: Option<u32>, channels: usize) -> Option<&[bf16]> {
    pixel.map(|pixel| &data[pixel as usize * channels..][..channels])
}

fn refill<T>(target: &mut Vec<T>, items: impl Iterator<Item = T>) {
    target.clear();
    target.extend(items);
}

/// y = conv(x, w) + b.
pub(super) fn forward(unit: Unit, d: &Conv2d, x: &[bf16], w: &[f32], b: Option<&[f32]>, y: &mut [bf16]) {
    let (grid, width) = (Grid::forward(d), d.r * d.s * d.c);
    let stride = grid.planes() * d.c / 2;
    let images = images_at_a_time(d, grid.places() * stride);
    with_operation(|Operation { filters, read, written, steps, .. }| {
        filters.resize_with(filters.len().max(1), Packed::default);
        filters[0].fill_along_by_all(Side::Right, (d.k, width), |step| move |k| Some(&w[k * width + step..]));
        refill(read, grid.read(images));
        refill(written, grid.written(images));
        let taps = (0..width).step_by(SIDE).enumerate().map(|(step, element)| {
            let (way, plane) = grid.tap(d, element / d.c / d.s, element / d.c % d.s);
            [way * stride + (plane * d.c + element % d.c) / 2, step * TILE]
        });
        refill(steps, taps);
        let on = Products { unit, grid, read, channels: d.c, stride };
        let (filters, written, steps) = (&filters[0], &written[..], Steps::new(steps));
        y[..d.y_len()].par_chunks_mut(images * d.oh() * d.ow() * d.k).enumerate().for_each(|(group, y)| {
            let count = y.len() / (d.oh() * d.ow() * d.k);
            on.with_images(&x[group * images * d.h * d.w * d.c..], count, |on| {
                on.plane(filters, steps, |place| written[place], (b, d.k), y);
            });
        });
    });
}

/// dx = convᵀ(dy, w) + b.
pub(super) fn backward_input(unit: Unit, d: &Conv2d, dy: &[bf16], w: &[f32], b: Option<&[f32]>, dx: &mut [bf16]) {
    let (grid, planes, stride) = (Grid::backward_input(d), d.stride * d.stride, d.k / 2);
    let images = images_at_a_time(d, grid.places() * stride);
    with_operation(|Operation { filters, read, written, steps, .. }| {
        filters.resize_with(filters.len().max(planes), Packed::default);
        for (plane, filters) in filters[..planes].iter_mut().enumerate() {
            pack_filters(d, &grid, plane, w, filters);
        }
        refill(read, grid.read(images));
        refill(written, grid.written(images));
        let of_plane = |plane| {
            let tap = move |(_, _, way)| (0..d.k / SIDE).map(move |part| way * stride + part * SIDE / 2);
            grid.taps_to(d, plane).flat_map(tap).enumerate().map(|(step, from)| [from, step * TILE])
        };
        refill(steps, (0..planes).flat_map(of_plane));
        let on = Products { unit, grid, read, channels: d.k, stride };
        let (filters, written, steps) = (&filters[..planes], &written[..], &steps[..]);
        dx[..d.x_len()].par_chunks_mut(images * d.h * d.w * d.c).enumerate().for_each(|(group, dx)| {
            let count = dx.len() / (d.h * d.w * d.c);
            on.with_images(&dy[group * images * d.oh() * d.ow() * d.k..], count, |on| {
                let mut rest = steps;
                for (plane, filters) in filters.iter().enumerate() {
                    let (own, others) = rest.split_at(grid.taps_to(d, plane).count() * d.k / SIDE);
                    on.plane(filters, Steps::new(own), |place| written[place * planes + plane], (b, d.c), dx);
                    rest = others;
                }
            });
        });
    });
}

/// The filters of one plane: a column for each channel of x, along the taps and the K outputs.
fn pack_filters(d: &Conv2d, grid: &Grid, plane: usize, w: &[f32], filters: &mut Packed) {
    let depth = grid.taps_to(d, plane).count() * d.k;
    let s_taps = d.s.saturating_sub(plane % d.stride).div_ceil(d.stride);
    filters.fill_across_by_all(Side::Right, (d.c, depth), |channel| {
        move |step| {
            let (tap, k) = (step / d.k, step % d.k);
            let r = plane / d.stride + tap / s_taps * d.stride;
            let s = plane % d.stride + tap % s_taps * d.stride;
            Some(&w[((k * d.r + r) * d.s + s) * d.c + channel..])
        }
    });
}

/// Products of windows that lie on a grid, and of filters.
#[derive(Clone, Copy)]
struct Products<'a> {
    unit: Unit,
    grid: Grid,
    /// The pixels that are read at each place.
    read: &'a [Option<u32>],
    channels: usize,
    /// Words from a place to the next.
    stride: usize,
}

/// The same of images that a task has rounded.
struct OfImages<'a> {
    unit: Multiplier,
    words: &'a [u32],
    stride: usize,
    places: usize,
}

impl Products<'_> {
    /// Rounds `count` images onto the grid.
    fn with_images(&self, data: &[bf16], count: usize, work: impl FnOnce(&OfImages<'_>)) {
        let (planes, places) = (self.grid.planes(), count * self.grid.places());
        // A block reads whole lines, and their taps.
        let all = places.next_multiple_of(SIDE) + self.grid.reach();
        with_task(|Task { words: [words, _], .. }| {
            words.fill_runs(all * planes, self.channels, |i| {
                run(data, self.read[..places * planes].get(i).copied().flatten(), self.channels)
            });
            let (unit, words) = (Multiplier::new(self.unit), words.words());
            work(&OfImages { unit, words, stride: self.stride, places });
        });
    }
}

impl OfImages<'_> {
    /// target[pixel, ..] = sums + b for the pixel that is `written` at each place; it has `channels` numbers.
    fn plane(
        &self,
        filters: &Packed,
        steps: Steps<'_>,
        written: impl Fn(usize) -> Option<u32>,
        (b, channels): (Option<&[f32]>, usize),
        target: &mut [bf16],
    ) {
        let mut sums = Sums::default();
        for column in (0..channels).step_by(SIDE) {
            let width = SIDE.min(channels - column);
            let mut bias = [0.0; SIDE];
            if let Some(b) = b {
                bias[..width].copy_from_slice(&b[column..column + width]);
            }
            for first in (0..self.places).step_by(SIDE) {
                let operands = (halves(self.words, first * self.stride, self.stride), filters.two_blocks(column, 0));
                self.unit.sums(operands, steps, &mut sums);
                for (place, sums) in (first..self.places).zip(&sums.0) {
                    let Some(pixel) = written(place) else { continue };
                    let at = pixel as usize * channels + column;
                    round_row(sums, &bias, &mut target[at..at + width]);
                }
            }
        }
    }
}

/// dw = dyᵀ · windows(x), or added to what is there: a task owns a part of the batch and some channels. The parts are added in their order.
pub(super) fn backward_weight(unit: Unit, d: &Conv2d, x: &[bf16], dy: &[bf16], dw: &mut [f32], accumulate: bool) {
    let grid = Grid::forward(d);
    let (taps, k) = (d.r * d.s, d.k.next_multiple_of(SIDE));
    let parts = (PARTIAL / (k * taps * d.c)).clamp(1, PARTS).min(d.n);
    // Where the weights are so large that there are few parts, each has several tasks.
    let wanted = (PARTS / 2).div_ceil(parts);
    let blocks = (1..=wanted).rev().find(|blocks| (d.c / SIDE).is_multiple_of(*blocks)).unwrap_or(1);
    let (channels, of_part) = (d.c / blocks, d.n.div_ceil(parts));
    let words = grid.places() * (grid.planes() * channels + d.k / 2);
    // Sums are read and written once for each group of images, of which half is read for each filter.
    let images = (2 * TASK_WORDS / words).max(PLACES.div_ceil(grid.places())).clamp(1, of_part);
    let len = k * taps * channels;
    with_operation(|Operation { read, written, steps, partial, .. }| {
        refill(read, grid.read(images));
        refill(written, grid.written(images));
        // 16 pairs of places a step.
        let all = (images * grid.places()).div_ceil(SIDE);
        refill(steps, (0..all).map(|step| [step * TILE, step * HALF * grid.planes() * channels]));
        if partial.len() < parts * blocks * len {
            partial.resize(parts * blocks * len, 0.0);
        }
        let partial = &mut partial[..parts * blocks * len];
        partial.par_chunks_mut(len).enumerate().for_each(|(task, sums)| {
            let (part, channel) = (task / blocks, task % blocks * channels);
            let range = (part * of_part).min(d.n)..(part * of_part + of_part).min(d.n);
            let on = Gradients { unit, grid, d, read, written, steps, images, channel, channels };
            on.sum(x, dy, range, &mut MatrixMut::dense(sums, k, taps * channels));
        });
        let partial = &*partial;
        dw[..d.w_len()].par_chunks_mut(taps * d.c).enumerate().for_each(|(k, dw)| {
            if !accumulate {
                dw.fill(0.0);
            }
            vectorised!(for (at, dw) in dw.chunks_exact_mut(channels).enumerate() {
                let (tap, block) = (at / blocks, at % blocks);
                for task in partial.chunks_exact(len).skip(block).step_by(blocks) {
                    let sums = &task[(k * taps + tap) * channels..][..channels];
                    dw.iter_mut().zip(sums).for_each(|(target, sum)| *target += sum);
                }
            });
        });
    });
}

/// Sums of a weight gradient over some of the images, for some of the channels.
struct Gradients<'a> {
    unit: Unit,
    grid: Grid,
    d: &'a Conv2d,
    read: &'a [Option<u32>],
    written: &'a [Option<u32>],
    steps: &'a [[usize; 2]],
    /// Images at a time.
    images: usize,
    /// The first channel, and how many.
    channel: usize,
    channels: usize,
}

impl Gradients<'_> {
    /// sums = the gradient over a range of images, which may be empty.
    fn sum(&self, x: &[bf16], dy: &[bf16], range: std::ops::Range<usize>, sums: &mut MatrixMut<'_, f32>) {
        if range.is_empty() {
            (0..sums.rows).for_each(|row| sums.row(row).fill(0.0));
        }
        let d = self.d;
        for first in range.clone().step_by(self.images) {
            let count = self.images.min(range.end - first);
            let x = &x[first * d.h * d.w * d.c..][..count * d.h * d.w * d.c];
            let dy = &dy[first * d.oh() * d.ow() * d.k..][..count * d.oh() * d.ow() * d.k];
            with_task(|task| {
                self.pack(x, dy, count * self.grid.places(), task);
                self.add(count * self.grid.places(), task, first > range.start, sums);
            });
        }
    }

    /// Rounds both operands: dy turned, and x in pairs of places, the first of which is even in one copy and odd in the other, so
    /// that every way to a tap begins with a pair. Places that are not written are zeros of dy.
    fn pack(&self, x: &[bf16], dy: &[bf16], places: usize, Task { words, packed }: &mut Task) {
        let (d, planes) = (self.d, self.grid.planes());
        packed.fill_across(Side::Left, (d.k, places), |k| {
            move |place| run(dy, self.written[place], d.k).map(|pixel| &pixel[k..])
        });
        let all = places.next_multiple_of(SIDE) + self.grid.reach();
        let read = &self.read[..places * planes];
        // Without steps of an odd length there is no odd copy.
        for (odd, words) in words.iter_mut().enumerate().take(1 + self.grid.reach().min(1)) {
            words.fill_pairs(all.div_ceil(2) * planes, self.channels, |i| {
                let first = (i / planes * 2 + odd) * planes + i % planes;
                let pixel = |i: usize| run(x, read.get(i).copied().flatten(), d.c);
                [first, first + planes].map(|i| pixel(i).map(|pixel| &pixel[self.channel..][..self.channels]))
            });
        }
    }

    /// sums (+)= the product of what is packed.
    fn add(&self, places: usize, task: &Task, accumulate: bool, sums: &mut MatrixMut<'_, f32>) {
        let (d, unit) = (self.d, Multiplier::new(self.unit));
        let stride = self.grid.planes() * self.channels;
        let steps = Steps::new(&self.steps[..places.div_ceil(SIDE)]);
        for (tap, (r, s)) in (0..d.r).flat_map(|r| (0..d.s).map(move |s| (r, s))).enumerate() {
            let (way, plane) = self.grid.tap(d, r, s);
            let words = task.words[way % 2].words();
            for channel in (0..self.channels).step_by(SIDE) {
                let at = way / 2 * stride + plane * self.channels + channel;
                let right = [at, at + HALF].map(|at| Lines { words: &words[at..], stride });
                for k in (0..d.k).step_by(SIDE) {
                    let operands = (task.packed.two_blocks(k, 0), right);
                    unit.multiply(accumulate, operands, steps, sums, (k, tap * self.channels + channel));
                }
            }
        }
    }
}
