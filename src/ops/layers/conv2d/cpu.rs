//! The convolution on the CPU: im2col packed a block of rows at a time and multiplied while it is in the cache. The input
//! gradient runs one stride-1 product for each parity of the input's pixels, so nothing is multiplied by stuffed zeros; with
//! few channels C, where that product would be thin, it multiplies first and adds the windows back (col2im), and the weight
//! gradient does without a product (`direct.rs`).

use std::ops::Range;

use bytemuck::{cast_slice, cast_slice_mut};
use half::bf16;

use super::im2col::{self, Parity};
use super::{Conv2d, Conv2dOp, direct, windows};
use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::gemm::{add_column_sums, add_product, gemm};
use crate::device::matrix::{Matrix, MatrixMut, for_each_block};
use crate::device::packable::Numbers;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Backend, Cpu, Precision, Real, Storage};
use crate::ops::layers::epilogue::Epilogue;

impl<T: Real, S: Storage<T>> Conv2dOp for Cpu<T, S> {
    fn conv2d_forward(
        &self,
        d: &Conv2d,
        x: &[S],
        w: &[S],
        b: Option<&[T]>,
        end: Epilogue<'_, Self>,
        y: &mut [S],
    ) -> Result<()> {
        forward(self, d, x, w, b, end, y);
        Ok(())
    }

    fn conv2d_backward_input(
        &self,
        d: &Conv2d,
        dy: &[S],
        w: &[S],
        end: Epilogue<'_, Self>,
        dx: &mut [S],
    ) -> Result<()> {
        backward_input(self, d, dy, w, None, end, dx);
        Ok(())
    }

    fn conv2d_backward_weight(
        &self,
        d: &Conv2d,
        x: &[S],
        dy: &[S],
        dw: &mut [T],
        db: Option<&mut [T]>,
        accumulate: bool,
    ) -> Result<()> {
        backward_weight(self, d, x, dy, dw, accumulate);
        if let Some(db) = db {
            add_column_sums(dy, d.k, db, accumulate);
        }
        Ok(())
    }
}

/// Channels up to which the input gradient multiplies first and adds the windows back.
const COL2IM_CHANNELS: usize = 4;

/// To what operands are rounded: few channels are taken as they are stored, on any device.
fn precision<T: Real, S: Storage<T>>(cpu: &Cpu<T, S>, d: &Conv2d) -> Precision {
    if d.is_direct() { Precision::F32 } else { cpu.precision() }
}

fn is_pointwise(d: &Conv2d) -> bool {
    d.r == 1 && d.s == 1 && d.stride == 1 && d.padding == 0
}

fn forward<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &Conv2d,
    x: &[S],
    w: &[S],
    b: Option<&[T]>,
    end: Epilogue<'_, Cpu<T, S>>,
    y: &mut [S],
) {
    if let Some(unit) = windows::unit::<T, S>(cpu.precision(), d, d.c, d.k) {
        let b = b.map(cast_slice);
        return match unit.numbers() {
            Numbers::Bf16 => windows::forward::<bf16, T, S>(unit, d, [x, w], b, end, y),
            Numbers::F32 => windows::forward::<f32, T, S>(unit, d, [x, w], b, end, y),
        };
    }
    let width = d.r * d.s * d.c;
    let rows = im2col::block_rows(width);
    cpu.with_shared(d.w_len(), |filters| {
        // Turned once, so that the product of each block finds them as it wants them: [R·S·C, K].
        transpose(w, d.k, width, filters);
        let filters = Matrix::dense(filters, width, d.k);
        y[..d.y_len()].par_chunks_mut(rows * d.k).enumerate().for_each(|(block, y)| {
            let (first, rows) = (block * rows, y.len() / d.k);
            let product = |y: &mut [T], windows: &[T]| {
                if let Some(b) = b {
                    y.chunks_exact_mut(d.k).for_each(|row| row.copy_from_slice(&b[..d.k]));
                }
                let y = MatrixMut::dense(y, rows, d.k);
                gemm(precision(cpu, d), y, b.is_some(), Matrix::dense(windows, rows, width), filters);
            };
            // Where reals are stored, the product writes them where they belong, and reads single pixels where they lie.
            let own = if S::as_reals(y).is_some() { 0 } else { y.len() };
            if let (0, true, Some(x)) = (own, is_pointwise(d), S::as_reals(x)) {
                product(S::as_reals_mut(y).unwrap_or_default(), &x[first * d.c..]);
                return end.apply(first * d.k, y);
            }
            cpu.with_local(rows * width + own, |scratch| {
                let (panel, sums) = scratch.split_at_mut(rows * width);
                im2col::pack(d, x, first, 0..d.r, panel);
                match S::as_reals_mut(y) {
                    Some(y) => product(y, panel),
                    None => {
                        product(sums, panel);
                        round(sums, y);
                    }
                }
                end.apply(first * d.k, y);
            });
        });
    });
}

/// Stores reals.
fn round<T: Real, S: Storage<T>>(source: &[T], target: &mut [S]) {
    vectorised!(target.iter_mut().zip(source).for_each(|(target, &value)| *target = S::of_real(value)));
}

/// `[rows, columns]` → `[columns, rows]`, by tiles that stay in the cache.
fn transpose<T: Real, S: Storage<T>>(source: &[S], rows: usize, columns: usize, target: &mut [T]) {
    const TILE: usize = 16;
    target.par_chunks_mut(TILE * rows).enumerate().for_each(|(block, target)| {
        for first in (0..rows).step_by(TILE) {
            for (column, target) in (block * TILE..).zip(target.chunks_exact_mut(rows)) {
                for row in first..(first + TILE).min(rows) {
                    target[row] = source[row * columns + column].real();
                }
            }
        }
    });
}

/// dx = convᵀ(dy, w) + b: also the forward pass of the transposed convolution, which has a bias `b` of C elements.
pub(in crate::ops::layers) fn backward_input<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &Conv2d,
    dy: &[S],
    w: &[S],
    b: Option<&[T]>,
    end: Epilogue<'_, Cpu<T, S>>,
    dx: &mut [S],
) {
    if let Some(unit) = windows::unit::<T, S>(cpu.precision(), d, d.k, d.c) {
        let b = b.map(cast_slice);
        return match unit.numbers() {
            Numbers::Bf16 => windows::backward_input::<bf16, T, S>(unit, d, [dy, w], b, end, dx),
            Numbers::F32 => windows::backward_input::<f32, T, S>(unit, d, [dy, w], b, end, dx),
        };
    }
    if d.c <= COL2IM_CHANNELS {
        return backward_input_col2im(cpu, d, dy, w, b, end, dx);
    }
    cpu.with_shared(d.w_len(), |filters| {
        // Filters of different parities are disjoint sets of taps: together they are w, in another order.
        let mut rest = &mut filters[..];
        for parity in im2col::parities(d) {
            let (mine, others) = rest.split_at_mut(parity.r_taps * parity.s_taps * d.k * d.c);
            im2col::pack_filter(d, &parity, w, mine);
            rest = others;
        }
        let filters = &*filters;
        let image = d.h * d.w * d.c;
        let per_image =
            d.h.div_ceil(d.stride) * d.w.div_ceil(d.stride) * d.r.div_ceil(d.stride) * d.s.div_ceil(d.stride) * d.k;
        let images = (im2col::BLOCK / per_image.max(1)).clamp(1, 16);
        dx[..d.x_len()].par_chunks_mut(images * image).enumerate().for_each(|(group, dx)| {
            let dy = &dy[group * images * d.oh() * d.ow() * d.k..];
            for parity in im2col::parities(d) {
                backward_input_parity(cpu, d, &parity, dy, filters, b, dx);
            }
            end.apply(group * images * image, dx);
        });
    });
}

/// One parity class of a group of images: pack, multiply, scatter.
fn backward_input_parity<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &Conv2d,
    parity: &Parity,
    dy: &[S],
    filters: &[T],
    b: Option<&[T]>,
    dx: &mut [S],
) {
    let taps = parity.r_taps * parity.s_taps;
    let (pixels, width) = (parity.rows * parity.cols, taps * d.k);
    if pixels == 0 {
        // An image smaller than the stride has none of this parity.
        return;
    }
    let images = dx.len() / (d.h * d.w * d.c);
    let rows = images * pixels;
    cpu.with_local(rows * (width + d.c), |scratch| {
        let (panel, products) = scratch.split_at_mut(rows * width);
        if taps == 0 {
            products.fill(T::ZERO);
        } else {
            for (image, panel) in panel.chunks_exact_mut(pixels * width).enumerate() {
                im2col::pack_parity(d, parity, &dy[image * d.oh() * d.ow() * d.k..], panel);
            }
            let filters = Matrix::dense(&filters[parity.filter * d.k * d.c..], width, d.c);
            gemm(
                precision(cpu, d),
                MatrixMut::dense(products, rows, d.c),
                false,
                Matrix::dense(panel, rows, width),
                filters,
            );
        }
        im2col::scatter(d, parity, products, b, dx);
    });
}

/// dx for few channels: every output pixel's window at once, `[OH·OW, K] · [K, R·S·C]`, then added where it lies.
fn backward_input_col2im<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &Conv2d,
    dy: &[S],
    w: &[S],
    b: Option<&[T]>,
    end: Epilogue<'_, Cpu<T, S>>,
    dx: &mut [S],
) {
    let (width, pixels) = (d.r * d.s * d.c, d.oh() * d.ow());
    let images = (im2col::BLOCK / (pixels * width)).clamp(1, 16);
    with_reals(cpu, &w[..d.w_len()], |w| {
        let filters = Matrix::dense(w, d.k, width);
        dx[..d.x_len()].par_chunks_mut(images * d.h * d.w * d.c).enumerate().for_each(|(group, dx)| {
            let count = dx.len() / (d.h * d.w * d.c);
            let rows = count * pixels;
            let dy = &dy[group * images * pixels * d.k..][..rows * d.k];
            let product = |dy: &[T], windows: &mut [T], dx: &mut [T]| {
                match b {
                    None => dx.fill(T::ZERO),
                    Some(b) => dx.chunks_exact_mut(d.c).for_each(|pixel| pixel.copy_from_slice(&b[..d.c])),
                }
                let target = MatrixMut::dense(&mut *windows, rows, width);
                gemm(precision(cpu, d), target, false, Matrix::dense(dy, rows, d.k), filters);
                for (row, window) in windows.chunks_exact(width).enumerate() {
                    add_window(d, row, window, dx);
                }
            };
            let first = group * images * d.h * d.w * d.c;
            if let (Some(dy), Some(reals)) = (S::as_reals(dy), S::as_reals_mut(dx)) {
                cpu.with_local(rows * width, |windows| product(dy, windows, reals));
                return end.apply(first, dx);
            }
            cpu.with_local(rows * (width + d.k) + dx.len(), |scratch| {
                let (windows, scratch) = scratch.split_at_mut(rows * width);
                let (copy, sums) = scratch.split_at_mut(rows * d.k);
                im2col::to_reals(dy, copy);
                product(copy, windows, sums);
                round(sums, dx);
            });
            end.apply(first, dx);
        });
    });
}

/// Works on what is stored as reals: as it lies there, or on a copy.
fn with_reals<T: Real, S: Storage<T>>(cpu: &Cpu<T, S>, stored: &[S], work: impl FnOnce(&[T])) {
    match S::as_reals(stored) {
        Some(reals) => work(reals),
        None => cpu.with_shared(stored.len(), |reals| {
            im2col::to_reals(stored, reals);
            work(reals);
        }),
    }
}

/// Adds one output pixel's window (R·S·C) to the image that it was cut from.
fn add_window<T: Real>(d: &Conv2d, row: usize, window: &[T], dx: &mut [T]) {
    let (image, i, j) = (row / (d.oh() * d.ow()), row / d.ow() % d.oh(), row % d.ow());
    let left = (j * d.stride) as isize - d.padding as isize;
    // The columns s of the window that lie inside the image.
    let s_from = usize::try_from(-left).unwrap_or(0).min(d.s);
    let s_to = usize::try_from(d.w as isize - left).unwrap_or(0).clamp(s_from, d.s);
    for (r, line) in window.chunks_exact(d.s * d.c).enumerate() {
        let h = i * d.stride + r;
        if h < d.padding || h - d.padding >= d.h || s_from == s_to {
            continue;
        }
        let start = ((image * d.h + h - d.padding) * d.w + (left + s_from as isize) as usize) * d.c;
        let target = &mut dx[start..][..(s_to - s_from) * d.c];
        target.iter_mut().zip(&line[s_from * d.c..]).for_each(|(t, &v)| *t += v);
    }
}

/// dw = dyᵀ · im2col(x), or added to what is there: a task owns a block of filters and some filter rows, and walks the pixels in order.
pub(in crate::ops::layers) fn backward_weight<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &Conv2d,
    x: &[S],
    dy: &[S],
    dw: &mut [T],
    accumulate: bool,
) {
    if d.c <= direct::CHANNELS {
        return direct::backward_weight(cpu, d, x, dy, dw, accumulate);
    }
    if let Some(unit) = windows::unit::<T, S>(cpu.precision(), d, d.c, d.k) {
        let dw = cast_slice_mut(dw);
        return match unit.numbers() {
            Numbers::Bf16 => windows::backward_weight::<bf16>(unit, d, cast_slice(x), cast_slice(dy), dw, accumulate),
            Numbers::F32 => windows::backward_weight::<f32>(unit, d, cast_slice(x), cast_slice(dy), dw, accumulate),
        };
    }
    let run = d.s * d.c;
    // Filter rows make wide enough column groups, unless there are few channels.
    let r_group = if run < 64 { d.r } else { 1 };
    let groups = d.r.div_ceil(r_group);
    let k_block = d.k.div_ceil(4usize.div_ceil(groups)).next_multiple_of(16).min(d.k);
    let target = MatrixMut::dense(&mut dw[..d.w_len()], d.k, d.r * run);
    for_each_block(target, k_block, r_group * run, &|k, column, mut part| {
        let r = column / run;
        if !accumulate {
            (0..part.rows).for_each(|row| part.row(row).fill(T::ZERO));
        }
        backward_weight_part(cpu, d, x, dy, k, r..r + part.cols / run, part);
    });
}

fn backward_weight_part<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &Conv2d,
    x: &[S],
    dy: &[S],
    k: usize,
    taps: Range<usize>,
    mut part: MatrixMut<'_, T>,
) {
    let (width, filters) = (taps.len() * d.s * d.c, part.rows);
    let total = d.n * d.oh() * d.ow();
    let block = (im2col::BLOCK / width.max(1)).clamp(128, 2048);
    for first in (0..total).step_by(block) {
        let rows = block.min(total - first);
        let dy = &dy[first * d.k..][..rows * d.k];
        let mut product = |dy: Matrix<'_, T>, windows: &[T]| {
            add_product(precision(cpu, d), &mut part, dy.transposed(), Matrix::dense(windows, rows, width));
        };
        let Some(dy) = S::as_reals(dy).map(|dy| Matrix::dense(dy, rows, d.k).columns(k, filters)) else {
            cpu.with_local(rows * (width + filters), |scratch| {
                let (panel, copy) = scratch.split_at_mut(rows * width);
                im2col::pack(d, x, first, taps.clone(), panel);
                let lines = copy.chunks_exact_mut(filters).zip(dy.chunks_exact(d.k));
                lines.for_each(|(copy, dy)| im2col::to_reals(&dy[k..k + filters], copy));
                product(Matrix::dense(copy, rows, filters), panel);
            });
            continue;
        };
        if let Some(x) = S::as_reals(x).filter(|_| is_pointwise(d)) {
            product(dy, &x[first * d.c..]);
            continue;
        }
        cpu.with_local(rows * width, |panel| {
            im2col::pack(d, x, first, taps.clone(), panel);
            product(dy, panel);
        });
    }
}
