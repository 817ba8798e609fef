//! The convolution on a CPU with a unit for products: images are packed once onto a [`Grid`], rounded to bf16 or as they are in f32,
//! and the product reads every tap of their windows there. The products are those of `cpu.rs`, which serves every other case.

use bytemuck::{cast_slice, cast_slice_mut};

use super::Conv2d;
use super::grid::Grid;
use super::memory::{Operation, Task, with_operation, with_task};
use crate::device::blocks::{Multiplier, Steps, Sums, Unit};
use crate::device::cpu::vectorised;
use crate::device::matrix::MatrixMut;
use crate::device::packable::{Numbers, Packable};
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::tiles::{Lines, Packed, Side};
use crate::device::{Cpu, Precision, Real, Storage};
use crate::ops::layers::epilogue::Epilogue;

/// Lines, and columns, of a block of sums.
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
/// Outputs of a window up to which f32 is multiplied here. Where more of them share a window, a copy of it costs little, and crate
/// `gemm` has larger blocks of sums.
const OUTPUTS: usize = 128;
/// Elements of filters that are so many that fewer tasks should read them.
const MANY: usize = 1 << 19;

/// The unit that multiplies, where it serves this convolution with runs of `channels` channels to `outputs` for each window: what is stored as bf16 in bf16, and
/// f32 that is not to be rounded; `None` where `cpu.rs` does.
pub(super) fn unit<T: Real, S: Storage<T>>(
    precision: Precision,
    d: &Conv2d,
    channels: usize,
    outputs: usize,
) -> Option<Unit> {
    let serves = !d.is_direct() && channels.is_multiple_of(SIDE);
    match (S::NAME, precision) {
        ("bf16", Precision::Bf16) => Unit::best(),
        ("f32", Precision::F32) => Unit::exact().filter(|_| outputs <= OUTPUTS),
        _ => None,
    }
    .filter(|_| serves)
}

/// Words of a task's images: as many numbers in f32 as in bf16.
fn task_words(numbers: Numbers) -> usize {
    2 * TASK_WORDS / numbers.in_word()
}

/// Images that a task takes at a time, of which each needs `words`.
fn images_at_a_time(d: &Conv2d, numbers: Numbers, words: usize) -> usize {
    let parts = if d.w_len() > MANY { PARTS / 2 } else { PARTS };
    (task_words(numbers) / words).clamp(1, d.n.div_ceil(parts))
}

/// Both halves of a block of lines that lie `stride` words apart, from word `at` on.
fn halves(words: &[u32], at: usize, stride: usize) -> [Lines<'_>; 2] {
    [0, HALF * stride].map(|half| Lines { words: &words[at + half..], stride })
}

/// `channels` numbers of a pixel.
fn run<E>(data: &[E], pixel: Option<u32>, channels: usize) -> Option<&[E]> {
    pixel.map(|pixel| &data[pixel as usize * channels..][..channels])
}

fn refill<T>(target: &mut Vec<T>, items: impl Iterator<Item = T>) {
    target.clear();
    target.extend(items);
}

/// y = conv(x, w) + b, of what is stored as `S`, which is `E`.
pub(super) fn forward<E: Packable, T: Real, S: Storage<T>>(
    unit: Unit,
    d: &Conv2d,
    [x, w]: [&[S]; 2],
    b: Option<&[f32]>,
    end: Epilogue<'_, Cpu<T, S>>,
    y: &mut [S],
) {
    let [x, w]: [&[E]; 2] = [x, w].map(cast_slice);
    let (grid, width, numbers) = (Grid::forward(d), d.r * d.s * d.c, unit.numbers());
    let stride = grid.planes() * d.c / numbers.in_word();
    let images = images_at_a_time(d, numbers, grid.places() * stride);
    with_operation(|Operation { filters, read, written, steps, .. }| {
        filters.resize_with(filters.len().max(1), Packed::default);
        filters[0]
            .hold(numbers)
            .fill_along_by_all(Side::Right, (d.k, width), |step| move |k| Some(&w[k * width + step..]));
        refill(read, grid.read(images));
        refill(written, grid.written(images));
        let taps = (0..width).step_by(numbers.depth()).enumerate().map(|(step, element)| {
            let (way, plane) = grid.tap(d, element / d.c / d.s, element / d.c % d.s);
            [way * stride + (plane * d.c + element % d.c) / numbers.in_word(), step * TILE]
        });
        refill(steps, taps);
        let on = Products { unit, grid, read, channels: d.c, stride };
        let (filters, written, steps) = (&filters[0], &written[..], Steps::new(steps));
        y[..d.y_len()].par_chunks_mut(images * d.oh() * d.ow() * d.k).enumerate().for_each(|(group, y)| {
            let count = y.len() / (d.oh() * d.ow() * d.k);
            on.with_images(&x[group * images * d.h * d.w * d.c..], count, |on| {
                on.plane::<E>(filters, steps, |place| written[place], (b, d.k), cast_slice_mut(y));
            });
            end.apply(group * images * d.oh() * d.ow() * d.k, y);
        });
    });
}

/// dx = convᵀ(dy, w) + b, likewise.
pub(super) fn backward_input<E: Packable, T: Real, S: Storage<T>>(
    unit: Unit,
    d: &Conv2d,
    [dy, w]: [&[S]; 2],
    b: Option<&[f32]>,
    end: Epilogue<'_, Cpu<T, S>>,
    dx: &mut [S],
) {
    let [dy, w]: [&[E]; 2] = [dy, w].map(cast_slice);
    let (grid, planes, depth) = (Grid::backward_input(d), d.stride * d.stride, unit.numbers().depth());
    let stride = d.k / unit.numbers().in_word();
    let images = images_at_a_time(d, unit.numbers(), grid.places() * stride);
    with_operation(|Operation { filters, read, written, steps, .. }| {
        filters.resize_with(filters.len().max(planes), Packed::default);
        for (plane, filters) in filters[..planes].iter_mut().enumerate() {
            pack_filters(d, &grid, plane, w, filters.hold(unit.numbers()));
        }
        refill(read, grid.read(images));
        refill(written, grid.written(images));
        let of_plane = |plane| {
            let tap = move |(_, _, way)| (0..d.k / depth).map(move |part| way * stride + part * HALF);
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
                    let (own, others) = rest.split_at(grid.taps_to(d, plane).count() * d.k / depth);
                    let target = cast_slice_mut(dx);
                    on.plane::<E>(filters, Steps::new(own), |place| written[place * planes + plane], (b, d.c), target);
                    rest = others;
                }
            });
            end.apply(group * images * d.h * d.w * d.c, dx);
        });
    });
}

/// The filters of one plane: a column for each channel of x, along the taps and the K outputs.
fn pack_filters<E: Packable>(d: &Conv2d, grid: &Grid, plane: usize, w: &[E], filters: &mut Packed) {
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

/// The same of images that a task has packed.
struct OfImages<'a> {
    unit: Multiplier,
    anywhere: bool,
    words: &'a [u32],
    stride: usize,
    places: usize,
}

impl Products<'_> {
    /// Packs `count` images onto the grid.
    fn with_images<E: Packable>(&self, data: &[E], count: usize, work: impl FnOnce(&OfImages<'_>)) {
        let (planes, places) = (self.grid.planes(), count * self.grid.places());
        // A block reads whole lines, and their taps.
        let all = places.next_multiple_of(SIDE) + self.grid.reach();
        with_task(|Task { words: [words, _], .. }| {
            words.fill_runs(self.unit.numbers(), (all * planes, self.channels), |i| {
                run(data, self.read[..places * planes].get(i).copied().flatten(), self.channels)
            });
            let (unit, anywhere) = (Multiplier::new(self.unit), self.unit.reads_anywhere());
            work(&OfImages { unit, anywhere, words: words.words(), stride: self.stride, places });
        });
    }
}

impl OfImages<'_> {
    /// target[pixel, ..] = sums + b for the pixel that is `written` at each place; it has `channels` numbers.
    fn plane<E: Packable>(
        &self,
        filters: &Packed,
        steps: Steps<'_>,
        written: impl Fn(usize) -> Option<u32>,
        (b, channels): (Option<&[f32]>, usize),
        target: &mut [E],
    ) {
        for column in (0..channels).step_by(SIDE) {
            let width = SIDE.min(channels - column);
            let mut bias = [0.0; SIDE];
            if let Some(b) = b {
                bias[..width].copy_from_slice(&b[column..column + width]);
            }
            let right = filters.two_blocks(column, 0);
            let store = |pixel: u32, sums: &[f32; SIDE]| {
                let at = pixel as usize * channels + column;
                E::store_row(sums, &bias, &mut target[at..at + width]);
            };
            match self.anywhere {
                false => self.blocks(right, steps, &written, store),
                true => self.lines(right, steps, &written, store),
            }
        }
    }

    /// The sums of 32 places at a time, of which those that are written are stored.
    fn blocks(
        &self,
        right: [Lines<'_>; 2],
        steps: Steps<'_>,
        written: impl Fn(usize) -> Option<u32>,
        mut store: impl FnMut(u32, &[f32; SIDE]),
    ) {
        let mut sums = Sums::default();
        for first in (0..self.places).step_by(SIDE) {
            let left = halves(self.words, first * self.stride, self.stride);
            self.unit.sums((left, right), steps, &mut sums);
            for (place, sums) in (first..self.places).zip(&sums.0) {
                if let Some(pixel) = written(place) {
                    store(pixel, sums);
                }
            }
        }
    }

    /// The sums of 32 places at a time that are written: lines may begin anywhere.
    fn lines(
        &self,
        right: [Lines<'_>; 2],
        steps: Steps<'_>,
        written: impl Fn(usize) -> Option<u32>,
        mut store: impl FnMut(u32, &[f32; SIDE]),
    ) {
        let mut sums = Sums::default();
        let mut own = (0..self.places).filter_map(|place| Some((place, written(place)?)));
        loop {
            let (mut starts, mut pixels, mut count) = ([0; SIDE], [0; SIDE], 0);
            for (place, pixel) in own.by_ref().take(SIDE) {
                (starts[count], pixels[count]) = ((place * self.stride) as u32, pixel);
                count += 1;
            }
            if count == 0 {
                return;
            }
            // What is missing of the last 32 is the first of them again.
            let first = starts[0];
            starts[count..].fill(first);
            self.unit.sums_of_lines((self.words, &starts), right, steps, &mut sums);
            pixels[..count].iter().zip(&sums.0).for_each(|(&pixel, sums)| store(pixel, sums));
        }
    }
}

/// dw = dyᵀ · windows(x), or added to what is there: a task owns a part of the batch and some channels. The parts are added in their order.
pub(super) fn backward_weight<E: Packable>(
    unit: Unit,
    d: &Conv2d,
    x: &[E],
    dy: &[E],
    dw: &mut [f32],
    accumulate: bool,
) {
    let (grid, numbers) = (Grid::forward(d), unit.numbers());
    let (taps, k) = (d.r * d.s, d.k.next_multiple_of(SIDE));
    let parts = (PARTIAL / (k * taps * d.c)).clamp(1, PARTS).min(d.n);
    // Where the weights are so large that there are few parts, each has several tasks.
    let wanted = (PARTS / 2).div_ceil(parts);
    let blocks = (1..=wanted).rev().find(|blocks| (d.c / SIDE).is_multiple_of(*blocks)).unwrap_or(1);
    let (channels, of_part) = (d.c / blocks, d.n.div_ceil(parts));
    let words = grid.places() * (grid.planes() * channels + d.k / numbers.in_word());
    // Sums are read and written once for each group of images, of which half is read for each filter.
    let images = (2 * task_words(numbers) / words).max(PLACES.div_ceil(grid.places())).clamp(1, of_part);
    let len = k * taps * channels;
    with_operation(|Operation { read, written, steps, partial, .. }| {
        refill(read, grid.read(images));
        refill(written, grid.written(images));
        // 16 pairs of places a step, or 16 places.
        let all = (images * grid.places()).div_ceil(numbers.depth());
        let rows = if unit.reads_anywhere() { 1 } else { grid.planes() * channels };
        refill(steps, (0..all).map(|step| [step * TILE, step * HALF * rows]));
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
    fn sum<E: Packable>(&self, x: &[E], dy: &[E], range: std::ops::Range<usize>, sums: &mut MatrixMut<'_, f32>) {
        if range.is_empty() {
            (0..sums.rows).for_each(|row| sums.row(row).fill(0.0));
        }
        let d = self.d;
        for first in range.clone().step_by(self.images) {
            let count = self.images.min(range.end - first);
            let x = &x[first * d.h * d.w * d.c..][..count * d.h * d.w * d.c];
            let dy = &dy[first * d.oh() * d.ow() * d.k..][..count * d.oh() * d.ow() * d.k];
            with_task(|task| {
                match self.unit.reads_anywhere() {
                    false => self.pack(x, dy, count * self.grid.places(), task),
                    true => self.pack_rows(x, dy, count * self.grid.places(), task),
                }
                self.add(count * self.grid.places(), task, first > range.start, sums);
            });
        }
    }

    /// Rounds both operands: dy turned, and x in pairs of places, the first of which is even in one copy and odd in the other, so
    /// that every way to a tap begins with a pair. Places that are not written are zeros of dy.
    fn pack<E: Packable>(&self, x: &[E], dy: &[E], places: usize, Task { words, packed, .. }: &mut Task) {
        let (d, planes) = (self.d, self.grid.planes());
        packed.hold(Numbers::Bf16).fill_across(Side::Left, (d.k, places), |k| {
            move |place| run(dy, self.written[place], d.k).map(|pixel| &pixel[k..])
        });
        for (odd, words) in words.iter_mut().enumerate().take(self.copies()) {
            words.fill_pairs(self.filled(places).div_ceil(2) * planes, self.channels, |i| {
                let first = (i / planes * 2 + odd) * planes + i % planes;
                [first, first + planes].map(|i| self.pixel(x, places, i))
            });
        }
    }

    /// Packs both operands for rows that begin anywhere: dy turned, pixel by pixel, and x place by place. The rows are the places of
    /// those pixels; in bf16 pairs of neighbours, where a pixel without one stands beside zeros, and x is packed as for `pack`, the odd
    /// copy behind the even one.
    fn pack_rows<E: Packable>(&self, x: &[E], dy: &[E], places: usize, task: &mut Task) {
        let (d, planes, numbers) = (self.d, self.grid.planes(), self.unit.numbers());
        let Task { words: [words, _], packed, pixels, rows } = task;
        let (all, stride) = (self.filled(places).div_ceil(numbers.in_word()), planes * self.channels);
        let pairs = numbers.in_word() == 2;
        pixels.clear();
        rows.iter_mut().for_each(Vec::clear);
        let mut place = 0;
        while place < places {
            let Some(pixel) = self.written[place] else {
                place += 1;
                continue;
            };
            pixels.push(Some(pixel));
            if pairs {
                pixels.push(self.written[..places].get(place + 1).copied().flatten());
            }
            // From here, and from the place behind: ways to taps may be odd.
            for (odd, rows) in rows.iter_mut().enumerate().take(numbers.in_word()) {
                let first = place + odd;
                rows.push(((first % numbers.in_word() * all + first / numbers.in_word()) * stride) as u32);
            }
            place += numbers.in_word();
        }
        // What is missing of the last step meets zeros of dy.
        for rows in rows {
            rows.resize(rows.len().next_multiple_of(HALF), rows.last().copied().unwrap_or_default());
        }
        let pixels = &*pixels;
        packed.hold(numbers).fill_across(Side::Left, (d.k, pixels.len()), |k| {
            move |i| run(dy, pixels[i], d.k).map(|pixel| &pixel[k..])
        });
        if !pairs {
            return words.fill_runs(numbers, (all * planes, self.channels), |i| self.pixel(x, places, i));
        }
        words.fill_pairs(self.copies() * all * planes, self.channels, |i| {
            let (odd, i) = (i / (all * planes), i % (all * planes));
            let first = (i / planes * 2 + odd) * planes + i % planes;
            [first, first + planes].map(|i| self.pixel(x, places, i))
        });
    }

    /// Copies of x in pairs: where no step leads to another place, pairs are even, and there is no odd copy.
    fn copies(&self) -> usize {
        1 + self.grid.reach().min(1)
    }

    /// Places of x that are packed: whole blocks of those that are summed, and what their taps reach.
    fn filled(&self, places: usize) -> usize {
        places.next_multiple_of(SIDE) + self.grid.reach()
    }

    /// The own channels of x at a place of a plane.
    fn pixel<'x, E>(&self, x: &'x [E], places: usize, i: usize) -> Option<&'x [E]> {
        let pixel = self.read[..places * self.grid.planes()].get(i).copied().flatten();
        run(x, pixel, self.d.c).map(|pixel| &pixel[self.channel..][..self.channels])
    }

    /// sums (+)= the product of what is packed.
    fn add(&self, places: usize, task: &Task, accumulate: bool, sums: &mut MatrixMut<'_, f32>) {
        let (d, unit, numbers) = (self.d, Multiplier::new(self.unit), self.unit.numbers());
        let stride = self.grid.planes() * self.channels;
        let anywhere = self.unit.reads_anywhere();
        let depth = if anywhere { task.pixels.len() } else { places };
        let steps = Steps::new(&self.steps[..depth.div_ceil(numbers.depth())]);
        for (tap, (r, s)) in (0..d.r).flat_map(|r| (0..d.s).map(move |s| (r, s))).enumerate() {
            let (way, plane) = self.grid.tap(d, r, s);
            let odd = way % numbers.in_word();
            let words = task.words[if anywhere { 0 } else { odd }].words();
            for channel in (0..self.channels).step_by(SIDE) {
                let at = way / numbers.in_word() * stride + plane * self.channels + channel;
                for k in (0..d.k).step_by(SIDE) {
                    let place = (k, tap * self.channels + channel);
                    let left = task.packed.two_blocks(k, 0);
                    if anywhere {
                        let right = (&words[at..], &task.rows[odd][..]);
                        unit.multiply_rows(accumulate, left, right, steps, sums, place);
                    } else {
                        let right = [at, at + HALF].map(|at| Lines { words: &words[at..], stride });
                        unit.multiply(accumulate, (left, right), steps, sums, place);
                    }
                }
            }
        }
    }
}
