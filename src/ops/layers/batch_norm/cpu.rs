//! Batch normalisation on the CPU: sums by columns in parts of fixed size, then walks over the rows.

use super::{BatchNorm, BatchNormOp};
use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::matrix::{MatrixMut, for_each_block};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Backend, Cpu, Real, Storage};
use crate::ops::layers::activation::Function;

/// Channels of one task where columns are summed.
const COLUMNS: usize = 256;
/// Rows of one task where columns are summed.
const ROWS: usize = 512;
/// Rows that are summed in `T` before they join the sum in f64. With 128 the gradients of a narrow net lost a decimal
/// place against PyTorch, whose sums are in f64 throughout; with 16 they do not.
const PARTIAL_ROWS: usize = 16;
/// Elements of one task where rows are walked.
const CHUNK: usize = 1 << 15;

impl<T: Real, S: Storage<T>> BatchNormOp for Cpu<T, S> {
    fn batch_norm_forward(
        &self,
        d: &BatchNorm,
        x: &[S],
        gamma: &[T],
        beta: &[T],
        running: &mut [T],
        saved: &mut [T],
        y: &mut [S],
    ) -> Result<()> {
        // Sums of x − shift: with the group's first row for a shift nothing large cancels in the variance.
        let group_rows = d.rows / d.groups;
        let shifts = |group: usize| &x[group * group_rows * d.c..][..d.c];
        let count = group_rows as f64;
        pair_sums(
            self,
            d,
            #[inline(always)]
            |group: usize, at: usize, column: usize, [sums, squares]: [&mut [T]; 2]| {
                let n = sums.len();
                let (x, shift, squares) = (&x[at..at + n], &shifts(group)[column..column + n], &mut squares[..n]);
                for j in 0..n {
                    let moved = x[j].real() - shift[j].real();
                    sums[j] += moved;
                    squares[j] += moved * moved;
                }
            },
            |group, column, [sum, square]| {
                let mean = sum / count;
                let variance = (square / count - mean * mean).max(0.0);
                saved[2 * group * d.c + column] = T::of(shifts(group)[column].real().to_f64() + mean);
                saved[(2 * group + 1) * d.c + column] = T::of(1.0 / (variance + d.epsilon).sqrt());
            },
        );
        if d.ranks > 1 {
            self.with_shared(d.ranks * saved.len(), |gathered| {
                self.gather_from_ranks(saved, gathered)?;
                self.batch_norm_join(d, gathered, running, saved)
            })?;
        } else {
            update_running(d, saved, running);
        }
        let saved = &*saved;
        y.par_chunks_mut(row_chunk(d)).zip(x.par_chunks(row_chunk(d))).enumerate().for_each(|(chunk, (y, x))| {
            each_group(d, chunk, y.len(), |group, rows| {
                let [mean, inverse] = halves(&saved[group * 2 * d.c..], d.c);
                normalise(d, &x[rows.clone()], mean, inverse, gamma, beta, &mut y[rows.clone()]);
            });
        });
        Ok(())
    }

    fn batch_norm_join(&self, d: &BatchNorm, gathered: &[T], running: &mut [T], saved: &mut [T]) -> Result<()> {
        join_ranks(d, gathered, saved);
        update_running(d, saved, running);
        Ok(())
    }

    fn batch_norm_eval(
        &self,
        d: &BatchNorm,
        x: &[S],
        gamma: &[T],
        beta: &[T],
        running: &[T],
        y: &mut [S],
    ) -> Result<()> {
        let [mean, variance] = halves(running, d.c);
        self.with_shared(d.c, |inverse| {
            for (inverse, variance) in inverse.iter_mut().zip(variance) {
                *inverse = T::of(1.0 / (variance.to_f64() + d.epsilon).sqrt());
            }
            let inverse = &*inverse;
            y.par_chunks_mut(row_chunk(d)).zip(x.par_chunks(row_chunk(d))).for_each(|(y, x)| {
                normalise(d, x, mean, inverse, gamma, beta, y);
            });
        });
        Ok(())
    }

    fn batch_norm_backward(
        &self,
        d: &BatchNorm,
        x: &[S],
        y: &[S],
        dy: &[S],
        gamma: &[T],
        saved: &[T],
        sums: &mut [T],
        dx: Option<&mut [S]>,
        weight: Option<[&mut [T]; 2]>,
        accumulate: bool,
    ) -> Result<()> {
        match d.activation.piecewise_linear() {
            Some(f) => gradient_sums(
                self,
                d,
                x,
                y,
                dy,
                saved,
                sums,
                #[inline(always)]
                |y, dy| f.slope(y) * dy,
            ),
            None => gradient_sums(
                self,
                d,
                x,
                y,
                dy,
                saved,
                sums,
                #[inline(always)]
                |y, dy| d.activation.slope(y) * dy,
            ),
        }
        if let Some([dgamma, dbeta]) = weight {
            if !accumulate {
                dgamma.fill(T::ZERO);
                dbeta.fill(T::ZERO);
            }
            add_weight(d, sums, dgamma, dbeta);
        }
        let Some(dx) = dx else { return Ok(()) };
        if d.ranks > 1 {
            self.sum_over_ranks(sums)?;
        }
        let sums = &*sums;
        match d.activation.piecewise_linear() {
            Some(f) => project(
                d,
                x,
                y,
                dy,
                gamma,
                saved,
                sums,
                dx,
                #[inline(always)]
                |y, dy| f.slope(y) * dy,
                #[inline(always)]
                |_, dx| dx,
            ),
            None => project(
                d,
                x,
                y,
                dy,
                gamma,
                saved,
                sums,
                dx,
                #[inline(always)]
                |y, dy| d.activation.slope(y) * dy,
                #[inline(always)]
                |_, dx| dx,
            ),
        }
        Ok(())
    }

    fn batch_norm_tangent(
        &self,
        d: &BatchNorm,
        x: &[S],
        y: &[S],
        vx: &[S],
        gamma: &[T],
        saved: &[T],
        sums: &mut [T],
        vy: &mut [S],
    ) -> Result<()> {
        let f = d.activation;
        gradient_sums(
            self,
            d,
            x,
            y,
            vx,
            saved,
            sums,
            #[inline(always)]
            |_, v| v,
        );
        if d.ranks > 1 {
            self.sum_over_ranks(sums)?;
        }
        project(
            d,
            x,
            y,
            vx,
            gamma,
            saved,
            sums,
            vy,
            #[inline(always)]
            |_, v| v,
            #[inline(always)]
            |y, v| f.slope(y) * v,
        );
        Ok(())
    }
}

/// dγ += Σ g x̂, dβ += Σ g, over all groups in order.
fn add_weight<T: Real>(d: &BatchNorm, sums: &[T], dgamma: &mut [T], dbeta: &mut [T]) {
    for group in sums.chunks_exact(2 * d.c) {
        let [dbeta_group, dgamma_group] = halves(group, d.c);
        dbeta.iter_mut().zip(dbeta_group).for_each(|(t, &v)| *t += v);
        dgamma.iter_mut().zip(dgamma_group).for_each(|(t, &v)| *t += v);
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

/// Two sums per group and column over the group's rows. `add(group, element, column, sums)` adds the row part that
/// starts at `element`, in column `column`; `finish(group, column, sums)` gets the result. Parts and order are fixed.
fn pair_sums<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &BatchNorm,
    add: impl Fn(usize, usize, usize, [&mut [T]; 2]) + Sync,
    mut finish: impl FnMut(usize, usize, [f64; 2]),
) {
    let group_rows = d.rows / d.groups;
    let parts = group_rows.div_ceil(ROWS);
    cpu.with_shared(2 * d.groups * parts * d.c, |partial| {
        let target = MatrixMut::dense(partial, 2 * d.groups * parts, d.c);
        for_each_block(target, 2, COLUMNS, &|row, column, mut target| {
            let (group, part) = (row / 2 / parts, row / 2 % parts);
            let rows = part * ROWS..((part + 1) * ROWS).min(group_rows);
            let mut totals = [[0.0f64; COLUMNS]; 2];
            vectorised!({
                for from in rows.clone().step_by(PARTIAL_ROWS) {
                    let mut sums = [[T::ZERO; COLUMNS]; 2];
                    let [first, second] = &mut sums;
                    for row in from..(from + PARTIAL_ROWS).min(rows.end) {
                        let at = (group * group_rows + row) * d.c + column;
                        add(group, at, column, [&mut first[..target.cols], &mut second[..target.cols]]);
                    }
                    for (totals, sums) in totals.iter_mut().zip(&sums) {
                        let used = totals[..target.cols].iter_mut().zip(&sums[..target.cols]);
                        used.for_each(|(total, sum)| *total += sum.to_f64());
                    }
                }
            });
            for (half, totals) in totals.iter().enumerate() {
                target.row(half).iter_mut().zip(totals).for_each(|(t, &total)| *t = T::of(total));
            }
        });
        for group in 0..d.groups {
            for column in 0..d.c {
                let sum = |half: usize| {
                    let part = |part: usize| partial[(2 * (group * parts + part) + half) * d.c + column].to_f64();
                    (0..parts).map(part).sum()
                };
                finish(group, column, [sum(0), sum(1)]);
            }
        }
    });
}

/// The statistics of all ranks' rows from those of each, `[ranks, groups, 2, C]`.
fn join_ranks<T: Real>(d: &BatchNorm, gathered: &[T], saved: &mut [T]) {
    let count = d.ranks as f64;
    for (at, joined) in saved.chunks_exact_mut(2 * d.c).enumerate() {
        let of_ranks = || gathered.chunks_exact(2 * d.c).skip(at).step_by(d.groups);
        let (means, inverses) = joined.split_at_mut(d.c);
        for (column, (mean, inverse)) in means.iter_mut().zip(inverses).enumerate() {
            let joined = of_ranks().map(|own| own[column].to_f64()).sum::<f64>() / count;
            let squares = of_ranks().map(|own| {
                let (off, inverse) = (own[column].to_f64() - joined, own[d.c + column].to_f64());
                1.0 / (inverse * inverse) + off * off
            });
            // Each rank's variance has its epsilon, and their mean has one.
            *inverse = T::of(1.0 / (squares.sum::<f64>() / count).sqrt());
            *mean = T::of(joined);
        }
    }
}

fn update_running<T: Real>(d: &BatchNorm, saved: &[T], running: &mut [T]) {
    let count = d.joined_rows() as f64;
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

fn normalise<T: Real, S: Storage<T>>(
    d: &BatchNorm,
    x: &[S],
    mean: &[T],
    inverse: &[T],
    gamma: &[T],
    beta: &[T],
    y: &mut [S],
) {
    match d.activation.piecewise_linear() {
        Some(f) => vectorised!(normalise_with(f, x, mean, inverse, gamma, beta, y)),
        None => vectorised!(normalise_with(d.activation, x, mean, inverse, gamma, beta, y)),
    }
}

#[inline(always)]
fn normalise_with<T: Real, S: Storage<T>>(
    f: impl Function<T>,
    x: &[S],
    mean: &[T],
    inverse: &[T],
    gamma: &[T],
    beta: &[T],
    y: &mut [S],
) {
    let n = mean.len();
    let (inverse, gamma, beta) = (&inverse[..n], &gamma[..n], &beta[..n]);
    for (y, x) in y.chunks_exact_mut(n).zip(x.chunks_exact(n)) {
        let (x, y) = (&x[..n], &mut y[..n]);
        for j in 0..n {
            y[j] = S::of_real(f.value((x[j].real() - mean[j]) * inverse[j] * gamma[j] + beta[j]));
        }
    }
}

/// sums = (Σ g, Σ g · x̂) with g = f(y, dy), per group and channel.
fn gradient_sums<T: Real, S: Storage<T>>(
    cpu: &Cpu<T, S>,
    d: &BatchNorm,
    x: &[S],
    y: &[S],
    dy: &[S],
    saved: &[T],
    sums: &mut [T],
    f: impl Fn(T, T) -> T + Copy + Sync,
) {
    pair_sums(
        cpu,
        d,
        #[inline(always)]
        |group: usize, at: usize, column: usize, [plain, hat]: [&mut [T]; 2]| {
            let n = plain.len();
            let [mean, inverse] = halves(&saved[group * 2 * d.c..], d.c).map(|s| &s[column..column + n]);
            let (x, y, dy, hat) = (&x[at..at + n], &y[at..at + n], &dy[at..at + n], &mut hat[..n]);
            for j in 0..n {
                let g = f(y[j].real(), dy[j].real());
                plain[j] += g;
                hat[j] += g * ((x[j].real() - mean[j]) * inverse[j]);
            }
        },
        |group, column, [plain, hat]| {
            sums[2 * group * d.c + column] = T::of(plain);
            sums[(2 * group + 1) * d.c + column] = T::of(hat);
        },
    );
}

/// dx = after(y, γ σ⁻¹ (g − mean g − x̂ · mean(g x̂))) with g = before(y, dy).
fn project<T: Real, S: Storage<T>>(
    d: &BatchNorm,
    x: &[S],
    y: &[S],
    dy: &[S],
    gamma: &[T],
    saved: &[T],
    sums: &[T],
    dx: &mut [S],
    before: impl Fn(T, T) -> T + Copy + Sync,
    after: impl Fn(T, T) -> T + Copy + Sync,
) {
    let scale = T::of(1.0 / d.joined_rows() as f64);
    dx.par_chunks_mut(row_chunk(d)).enumerate().for_each(|(chunk, dx)| {
        let start = chunk * row_chunk(d);
        each_group(d, chunk, dx.len(), |group, elements| {
            let whole = start + elements.start..start + elements.end;
            let [x, y, dy] = [x, y, dy].map(|tensor| &tensor[whole.clone()]);
            let [saved, sums] = [saved, sums].map(|pairs| halves(&pairs[group * 2 * d.c..], d.c));
            let dx = &mut dx[elements];
            vectorised!(project_rows([x, y, dy], &gamma[..d.c], saved, sums, scale, dx, before, after));
        });
    });
}

/// [`project`] for rows of one group.
#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "slices apart, so that the compiler sees that they are")]
fn project_rows<T: Real, S: Storage<T>>(
    [x, y, dy]: [&[S]; 3],
    gamma: &[T],
    [mean, inverse]: [&[T]; 2],
    [sum, sum_hat]: [&[T]; 2],
    scale: T,
    dx: &mut [S],
    before: impl Fn(T, T) -> T,
    after: impl Fn(T, T) -> T,
) {
    let n = gamma.len();
    let (mean, inverse, sum, sum_hat) = (&mean[..n], &inverse[..n], &sum[..n], &sum_hat[..n]);
    let rows = x.chunks_exact(n).zip(y.chunks_exact(n)).zip(dy.chunks_exact(n));
    for (dx, ((x, y), dy)) in dx.chunks_exact_mut(n).zip(rows) {
        let (dx, x, y, dy) = (&mut dx[..n], &x[..n], &y[..n], &dy[..n]);
        for j in 0..n {
            let (y, dy) = (y[j].real(), dy[j].real());
            let x_hat = (x[j].real() - mean[j]) * inverse[j];
            let centred = before(y, dy) - sum[j] * scale - x_hat * (sum_hat[j] * scale);
            dx[j] = S::of_real(after(y, gamma[j] * inverse[j] * centred));
        }
    }
}
