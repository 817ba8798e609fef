//! Matrix products on the CPU: crate `gemm` on each thread, the split over threads fixed by the shape alone, so that
//! the bits do not depend on the number of threads.

use rayon::prelude::*;

use super::Real;
use super::cpu::vectorised;
use super::matrix::{Matrix, MatrixMut};

/// target (+)= lhs · rhs on the calling thread.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub fn gemm<T: Real>(mut target: MatrixMut<'_, T>, accumulate: bool, lhs: Matrix<'_, T>, rhs: Matrix<'_, T>) {
    T::gemm(&mut target, accumulate, lhs, rhs);
}

/// target (+)= lhs · rhs, split over the current thread pool by blocks of the target's longer side.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub fn gemm_parallel<T: Real>(target: MatrixMut<'_, T>, accumulate: bool, lhs: Matrix<'_, T>, rhs: Matrix<'_, T>) {
    split(target, accumulate, lhs, rhs);
}

/// Multiply-adds below which a second thread does not pay.
const SMALLEST_PART: usize = 1 << 18;
/// Rows or columns below which the packing of the other operand would weigh too much.
const NARROWEST_PART: usize = 256;

fn split<T: Real>(target: MatrixMut<'_, T>, accumulate: bool, lhs: Matrix<'_, T>, rhs: Matrix<'_, T>) {
    let (rows, cols) = (target.rows, target.cols);
    let longest = rows.max(cols);
    if longest < 2 * NARROWEST_PART || rows * cols * lhs.cols < 2 * SMALLEST_PART {
        return gemm(target, accumulate, lhs, rhs);
    }
    // Halving gives the same parts on any number of threads.
    if cols >= rows {
        let at = (cols / 2).next_multiple_of(16);
        let (left, right) = target.split_columns(at);
        rayon::join(
            || split(left, accumulate, lhs, rhs.columns(0, at)),
            || split(right, accumulate, lhs, rhs.columns(at, cols - at)),
        );
    } else {
        let at = (rows / 2).next_multiple_of(16);
        let (top, bottom) = target.split_rows(at);
        rayon::join(
            || split(top, accumulate, lhs.rows(0, at), rhs),
            || split(bottom, accumulate, lhs.rows(at, rows - at), rhs),
        );
    }
}

/// `target[j] += Σ_i source[i, j]`, source `[rows, cols]`, target `[cols]`: the gradient of a bias. Runs on the current
/// thread pool, whole columns to a thread, so the bits do not depend on the number of threads.
///
/// A sum that is zero by construction must come out as zero: an optimiser that divides by the gradient's own size makes a
/// whole step of what rounding leaves, the same way each time. Such a sum is one of a batch of real images and then as many
/// fakes, whose rows cancel one by one (the Wasserstein loss) or as a whole (the hinge's linear range). So row i is first
/// added to row i + rows / 2, and everything in f64, in which a sum of f32 of one size is exact.
pub fn add_column_sums<T: Real>(source: &[T], cols: usize, target: &mut [T]) {
    add_scaled_rows(source, cols, |_| 1.0, target);
}

/// `target[j] += Σ_i scales[i] · source[i, j]`, in the same order and as exactly: the gradient of a weight with one output.
/// A feature that is the same for all images then has no gradient where its bias has none.
pub fn add_scaled_column_sums<T: Real>(source: &[T], cols: usize, scales: &[T], target: &mut [T]) {
    add_scaled_rows(source, cols, |row| scales[row].to_f64(), target);
}

fn add_scaled_rows<T: Real>(source: &[T], cols: usize, scale: impl Fn(usize) -> f64 + Copy + Sync, target: &mut [T]) {
    const COLUMNS: usize = 32;
    let rows = source.len() / cols;
    let pairs = rows.div_ceil(2);
    target.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, target)| {
        let part = |row: usize| &source[row * cols + block * COLUMNS..][..target.len()];
        let mut sums = [0.0f64; COLUMNS];
        vectorised(|| {
            for row in 0..rows - pairs {
                let (scale_near, scale_far) = (scale(row), scale(row + pairs));
                for ((sum, near), far) in sums.iter_mut().zip(part(row)).zip(part(row + pairs)) {
                    *sum += scale_near * near.to_f64() + scale_far * far.to_f64();
                }
            }
            if rows % 2 == 1 {
                let last = sums.iter_mut().zip(part(pairs - 1));
                last.for_each(|(sum, value)| *sum += scale(pairs - 1) * value.to_f64());
            }
        });
        target.iter_mut().zip(sums).for_each(|(target, sum)| *target += T::of(sum));
    });
}

pub(super) fn with_crate<T: Real>(
    target: &mut MatrixMut<'_, T>,
    accumulate: bool,
    lhs: Matrix<'_, T>,
    rhs: Matrix<'_, T>,
) {
    assert!(
        lhs.rows == target.rows && rhs.cols == target.cols && lhs.cols == rhs.rows,
        "shapes disagree: {}×{} from {}×{} times {}×{}",
        target.rows,
        target.cols,
        lhs.rows,
        lhs.cols,
        rhs.rows,
        rhs.cols
    );
    // SAFETY: the constructors of Matrix and MatrixMut checked that every element lies inside its slice; the target is
    // borrowed mutably, so it overlaps neither operand. Strides fit an isize because the slices exist.
    #[expect(unsafe_code)]
    #[expect(clippy::cast_possible_wrap)]
    unsafe {
        gemm::gemm(
            target.rows,
            target.cols,
            lhs.cols,
            target.pointer,
            1,
            target.row_stride as isize,
            accumulate,
            lhs.data.as_ptr(),
            lhs.col_stride as isize,
            lhs.row_stride as isize,
            rhs.data.as_ptr(),
            rhs.col_stride as isize,
            rhs.row_stride as isize,
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
