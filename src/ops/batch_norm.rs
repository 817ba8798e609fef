//! Batch normalisation (Ioffe & Szegedy 2015) with the activation that follows it, in one pass:
//! x `[rows, C]`, y = f(γ · x̂ + β), x̂ = (x − μ) · σ⁻¹, σ² = mean (x − μ)² + ε, per channel and per group of rows.
//!
//! Groups let real and fake images pass as one batch of 2N with statistics of their own. Evaluation uses the running
//! statistics instead, which follow the batches group by group: r ← (1 − m) r + m · batch, the variance unbiased.

use rayon::prelude::*;

use super::activation::Activation;
use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::matrix::{MatrixMut, for_each_block};
use crate::device::{Backend, Cpu, In, Out, Real};

/// Sizes and mode of a batch normalisation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BatchNorm {
    /// Rows: images times positions.
    pub rows: usize,
    /// Channels.
    pub c: usize,
    /// Groups of consecutive rows with statistics of their own; divides `rows`.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// m, the weight of the new batch in the running statistics.
    pub momentum: f64,
    /// f.
    pub activation: Activation,
}

/// The passes of batch normalisation.
///
/// `saved` is `[groups, 2, C]`: μ and σ⁻¹. `sums` is `[groups, 2, C]`: Σ g and Σ g · x̂ with g = dy · f′. `running` is
/// `[2, C]`: mean and variance.
pub trait BatchNormOp: Backend {
    /// Normalises by the batch; writes y and `saved`, updates `running`.
    fn batch_norm_forward(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        gamma: In<'_, Self>,
        beta: In<'_, Self>,
        running: Out<'_, Self>,
        saved: Out<'_, Self>,
        y: Out<'_, Self>,
    ) -> Result<()>;

    /// Normalises by the running statistics.
    fn batch_norm_eval(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        gamma: In<'_, Self>,
        beta: In<'_, Self>,
        running: In<'_, Self>,
        y: Out<'_, Self>,
    ) -> Result<()>;

    /// The sums that both gradients need; overwrites `sums`.
    fn batch_norm_backward_sums(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        y: In<'_, Self>,
        dy: In<'_, Self>,
        saved: In<'_, Self>,
        sums: Out<'_, Self>,
    ) -> Result<()>;

    /// dx = γ σ⁻¹ (g − mean g − x̂ · mean(g x̂)); overwrites.
    fn batch_norm_backward_input(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        y: In<'_, Self>,
        dy: In<'_, Self>,
        gamma: In<'_, Self>,
        saved: In<'_, Self>,
        sums: In<'_, Self>,
        dx: Out<'_, Self>,
    ) -> Result<()>;

    /// dγ += Σ g x̂, dβ += Σ g; accumulates.
    fn batch_norm_backward_weight(
        &self,
        d: &BatchNorm,
        sums: In<'_, Self>,
        dgamma: Out<'_, Self>,
        dbeta: Out<'_, Self>,
    ) -> Result<()>;

    /// vy = f′ · γ σ⁻¹ (vx − mean vx − x̂ · mean(vx x̂)), the forward pass linearised at x; overwrites `sums` and `vy`.
    fn batch_norm_tangent(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        y: In<'_, Self>,
        vx: In<'_, Self>,
        gamma: In<'_, Self>,
        saved: In<'_, Self>,
        sums: Out<'_, Self>,
        vy: Out<'_, Self>,
    ) -> Result<()>;
}

/// Channels of one task where columns are summed: a cache line of f32.
const COLUMNS: usize = 16;
/// Rows that are summed in `T` before they join the sum in f64.
const PARTIAL_ROWS: usize = 128;
/// Elements of one task where rows are walked.
const CHUNK: usize = 1 << 15;

impl<T: Real> BatchNormOp for Cpu<T> {
    fn batch_norm_forward(
        &self,
        d: &BatchNorm,
        x: &[T],
        gamma: &[T],
        beta: &[T],
        running: &mut [T],
        saved: &mut [T],
        y: &mut [T],
    ) -> Result<()> {
        let group_rows = d.rows / d.groups;
        let count = group_rows as f64;
        for_each_block(MatrixMut::dense(saved, 2 * d.groups, d.c), 2 * d.groups, COLUMNS, &|_, first, mut part| {
            for group in 0..d.groups {
                let x = &x[group * group_rows * d.c..][..group_rows * d.c];
                let mean = column_sums(x, d.c, first, part.cols, |x, _| x, &[T::ZERO; COLUMNS]).map(|s| T::of(s / count));
                let squares = column_sums(x, d.c, first, part.cols, |x, mean| (x - mean) * (x - mean), &mean);
                let cols = part.cols;
                part.row(2 * group).copy_from_slice(&mean[..cols]);
                for (inverse, sum) in part.row(2 * group + 1).iter_mut().zip(squares) {
                    *inverse = T::of(1.0 / (sum / count + d.epsilon).sqrt());
                }
            }
        });
        update_running(d, saved, running);
        let saved = &*saved;
        y.par_chunks_mut(row_chunk(d)).zip(x.par_chunks(row_chunk(d))).enumerate().for_each(|(chunk, (y, x))| {
            each_group(d, chunk, y.len(), |group, rows| {
                let [mean, inverse] = halves(&saved[group * 2 * d.c..], d.c);
                vectorised(|| normalise(d, &x[rows.clone()], mean, inverse, gamma, beta, &mut y[rows.clone()]));
            });
        });
        Ok(())
    }

    fn batch_norm_eval(
        &self,
        d: &BatchNorm,
        x: &[T],
        gamma: &[T],
        beta: &[T],
        running: &[T],
        y: &mut [T],
    ) -> Result<()> {
        let [mean, variance] = halves(running, d.c);
        self.with_shared(d.c, |inverse| {
            for (inverse, variance) in inverse.iter_mut().zip(variance) {
                *inverse = T::of(1.0 / (variance.to_f64() + d.epsilon).sqrt());
            }
            let inverse = &*inverse;
            y.par_chunks_mut(row_chunk(d)).zip(x.par_chunks(row_chunk(d))).for_each(|(y, x)| {
                vectorised(|| normalise(d, x, mean, inverse, gamma, beta, y));
            });
        });
        Ok(())
    }

    fn batch_norm_backward_sums(
        &self,
        d: &BatchNorm,
        x: &[T],
        y: &[T],
        dy: &[T],
        saved: &[T],
        sums: &mut [T],
    ) -> Result<()> {
        let f = d.activation;
        gradient_sums(d, x, y, dy, saved, sums, |y, dy| f.slope(y) * dy);
        Ok(())
    }

    fn batch_norm_backward_input(
        &self,
        d: &BatchNorm,
        x: &[T],
        y: &[T],
        dy: &[T],
        gamma: &[T],
        saved: &[T],
        sums: &[T],
        dx: &mut [T],
    ) -> Result<()> {
        let f = d.activation;
        project(d, x, y, dy, gamma, saved, sums, dx, |y, dy| f.slope(y) * dy, |_, dx| dx);
        Ok(())
    }

    fn batch_norm_backward_weight(&self, d: &BatchNorm, sums: &[T], dgamma: &mut [T], dbeta: &mut [T]) -> Result<()> {
        for group in sums.chunks_exact(2 * d.c) {
            let [dbeta_group, dgamma_group] = halves(group, d.c);
            dbeta.iter_mut().zip(dbeta_group).for_each(|(t, &v)| *t += v);
            dgamma.iter_mut().zip(dgamma_group).for_each(|(t, &v)| *t += v);
        }
        Ok(())
    }

    fn batch_norm_tangent(
        &self,
        d: &BatchNorm,
        x: &[T],
        y: &[T],
        vx: &[T],
        gamma: &[T],
        saved: &[T],
        sums: &mut [T],
        vy: &mut [T],
    ) -> Result<()> {
        let f = d.activation;
        gradient_sums(d, x, y, vx, saved, sums, |_, v| v);
        project(d, x, y, vx, gamma, saved, sums, vy, |_, v| v, |y, v| f.slope(y) * v);
        Ok(())
    }
}

fn halves<T>(pair: &[T], c: usize) -> [&[T]; 2] {
    [&pair[..c], &pair[c..2 * c]]
}

/// Whole rows, about [`CHUNK`] elements, in elements.
fn row_chunk(d: &BatchNorm) -> usize {
    (CHUNK / d.c).max(1) * d.c
}

/// Calls `work(group, element range within the chunk)` for the parts of a chunk that belong to different groups.
fn each_group(d: &BatchNorm, chunk: usize, len: usize, mut work: impl FnMut(usize, std::ops::Range<usize>)) {
    let start = chunk * row_chunk(d);
    let group_len = d.rows / d.groups * d.c;
    let mut from = 0;
    while from < len {
        let group = (start + from) / group_len;
        let to = ((group + 1) * group_len - start).min(len);
        work(group, from..to);
        from = to;
    }
}

/// Σ over rows of f(x[row, first + j], shift[j]) for j < cols.
fn column_sums<T: Real>(
    x: &[T],
    c: usize,
    first: usize,
    cols: usize,
    f: impl Fn(T, T) -> T + Copy,
    shift: &[T; COLUMNS],
) -> [f64; COLUMNS] {
    vectorised(|| {
        let mut sums = [0.0; COLUMNS];
        for rows in x.chunks(PARTIAL_ROWS * c) {
            let mut partial = [T::ZERO; COLUMNS];
            for row in rows.chunks_exact(c) {
                let row = &row[first..first + cols];
                for ((sum, &x), &shift) in partial.iter_mut().zip(row).zip(shift) {
                    *sum += f(x, shift);
                }
            }
            sums.iter_mut().zip(partial).for_each(|(sum, partial)| *sum += partial.to_f64());
        }
        sums
    })
}

fn update_running<T: Real>(d: &BatchNorm, saved: &[T], running: &mut [T]) {
    let count = (d.rows / d.groups) as f64;
    let unbias = count / (count - 1.0).max(1.0);
    let (running_mean, running_variance) = running.split_at_mut(d.c);
    let follow = |r: &mut T, batch: f64| *r = T::of((1.0 - d.momentum) * r.to_f64() + d.momentum * batch);
    for group in saved.chunks_exact(2 * d.c) {
        let [mean, inverse] = halves(group, d.c);
        running_mean.iter_mut().zip(mean).for_each(|(r, mean)| follow(r, mean.to_f64()));
        for (r, inverse) in running_variance.iter_mut().zip(inverse) {
            let variance = (1.0 / (inverse.to_f64() * inverse.to_f64()) - d.epsilon).max(0.0);
            follow(r, variance * unbias);
        }
    }
}

#[inline(always)]
fn normalise<T: Real>(d: &BatchNorm, x: &[T], mean: &[T], inverse: &[T], gamma: &[T], beta: &[T], y: &mut [T]) {
    let f = d.activation;
    for (y, x) in y.chunks_exact_mut(d.c).zip(x.chunks_exact(d.c)) {
        let per_channel = mean.iter().zip(inverse).zip(gamma.iter().zip(beta));
        for ((y, &x), ((&mean, &inverse), (&gamma, &beta))) in y.iter_mut().zip(x).zip(per_channel) {
            *y = f.value((x - mean) * inverse * gamma + beta);
        }
    }
}

/// sums = (Σ g, Σ g · x̂) with g = f(y, dy), per group and channel.
fn gradient_sums<T: Real>(
    d: &BatchNorm,
    x: &[T],
    y: &[T],
    dy: &[T],
    saved: &[T],
    sums: &mut [T],
    f: impl Fn(T, T) -> T + Copy + Sync,
) {
    let group_rows = d.rows / d.groups;
    for_each_block(MatrixMut::dense(sums, 2 * d.groups, d.c), 2 * d.groups, COLUMNS, &|_, first, mut part| {
        for group in 0..d.groups {
            let [mean, inverse] = halves(&saved[group * 2 * d.c..], d.c).map(|s| &s[first..first + part.cols]);
            let mut totals = [[0.0; COLUMNS]; 2];
            vectorised(|| {
                for start in (0..group_rows).step_by(PARTIAL_ROWS) {
                    let mut partial = [[T::ZERO; COLUMNS]; 2];
                    for row in start..(start + PARTIAL_ROWS).min(group_rows) {
                        let at = (group * group_rows + row) * d.c + first;
                        let (x, y, dy) = (&x[at..], &y[at..], &dy[at..]);
                        for j in 0..mean.len() {
                            let g = f(y[j], dy[j]);
                            partial[0][j] += g;
                            partial[1][j] += g * ((x[j] - mean[j]) * inverse[j]);
                        }
                    }
                    for (total, partial) in totals.as_flattened_mut().iter_mut().zip(partial.as_flattened()) {
                        *total += partial.to_f64();
                    }
                }
            });
            for (half, totals) in totals.iter().enumerate() {
                part.row(2 * group + half).iter_mut().zip(totals).for_each(|(t, &total)| *t = T::of(total));
            }
        }
    });
}

/// dx = after(y, γ σ⁻¹ (g − mean g − x̂ · mean(g x̂))) with g = before(y, dy).
fn project<T: Real>(
    d: &BatchNorm,
    x: &[T],
    y: &[T],
    dy: &[T],
    gamma: &[T],
    saved: &[T],
    sums: &[T],
    dx: &mut [T],
    before: impl Fn(T, T) -> T + Copy + Sync,
    after: impl Fn(T, T) -> T + Copy + Sync,
) {
    let scale = T::of(d.groups as f64 / d.rows as f64);
    dx.par_chunks_mut(row_chunk(d)).enumerate().for_each(|(chunk, dx)| {
        let start = chunk * row_chunk(d);
        each_group(d, chunk, dx.len(), |group, elements| {
            let [mean, inverse] = halves(&saved[group * 2 * d.c..], d.c);
            let [sum, sum_hat] = halves(&sums[group * 2 * d.c..], d.c);
            let dx = &mut dx[elements.clone()];
            let whole = start + elements.start..start + elements.end;
            let rows = x[whole.clone()].chunks_exact(d.c).zip(y[whole.clone()].chunks_exact(d.c));
            vectorised(|| {
                for ((dx, (x, y)), dy) in dx.chunks_exact_mut(d.c).zip(rows).zip(dy[whole].chunks_exact(d.c)) {
                    for j in 0..d.c {
                        let x_hat = (x[j] - mean[j]) * inverse[j];
                        let centred = before(y[j], dy[j]) - sum[j] * scale - x_hat * (sum_hat[j] * scale);
                        dx[j] = after(y[j], gamma[j] * inverse[j] * centred);
                    }
                }
            });
        });
    });
}

/// Odd sizes, one and two groups, every activation that follows a normalisation; backward and tangent passes.
pub fn cases<B: super::Executor>() -> Vec<Box<dyn super::Case<B>>> {
    super::batch_norm_case::cases()
}
