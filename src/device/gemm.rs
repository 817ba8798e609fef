//! Matrix products on the CPU: crate `gemm` in f32 and f64, [`bf16`] on each thread, the split over threads fixed
//! by the shape alone, so that the bits do not depend on the number of threads.

use std::cell::RefCell;

use super::bf16;
use super::blocks::Unit;
use super::cpu::vectorised;
use super::matrix::{Matrix, MatrixMut, Start};
use super::parallel::{ParallelSliceMut, Parts};
use super::{Precision, Real, Storage};

/// target (+)= lhs · rhs on the calling thread, of operands that are rounded to `precision`.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub fn gemm<T: Real>(
    precision: Precision,
    mut target: MatrixMut<'_, T>,
    accumulate: bool,
    lhs: Matrix<'_, T>,
    rhs: Matrix<'_, T>,
) {
    multiply(precision, &mut target, accumulate, lhs, rhs);
}

/// target += lhs · rhs on the calling thread, into a target that is used again.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub fn add_product<T: Real>(
    precision: Precision,
    target: &mut MatrixMut<'_, T>,
    lhs: Matrix<'_, T>,
    rhs: Matrix<'_, T>,
) {
    multiply(precision, target, true, lhs, rhs);
}

/// target = start + lhs · rhs, split over the current thread pool by blocks of the target's longer side. Sums are reals, whatever the
/// target holds, and rounded once.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub fn gemm_parallel<T: Real, L: Storage<T>, R: Storage<T>, Y: Storage<T>>(
    precision: Precision,
    mut target: MatrixMut<'_, Y>,
    start: Start<'_, T>,
    lhs: Matrix<'_, L>,
    rhs: Matrix<'_, R>,
) {
    let large = target.rows * target.cols * lhs.cols >= 2 * SMALLEST_PART;
    if let Some(unit) = Unit::best().filter(|_| precision == Precision::Bf16 && large) {
        let start = match start {
            Start::Zero => Start::Zero,
            Start::Target => Start::Target,
            Start::Bias(bias) => Start::Bias(bytemuck::cast_slice(bias)),
        };
        if let (Some(target), Some(lhs), Some(rhs)) =
            (target.cast::<half::bf16>(), lhs.cast::<half::bf16>(), rhs.cast::<half::bf16>())
        {
            return bf16::product_by_all(unit, target, start, lhs, rhs);
        }
        if let (Some(target), Some(lhs), Some(rhs)) =
            (target.cast::<f32>(), lhs.cast::<half::bf16>(), rhs.cast::<half::bf16>())
        {
            return bf16::product_by_all(unit, target, start, lhs, rhs);
        }
    }
    let reals = (target.cast::<T>(), lhs.cast::<T>(), rhs.cast::<T>());
    if let (Some(mut target), Some(lhs), Some(rhs)) = reals {
        if let Start::Bias(bias) = start {
            (0..target.rows).for_each(|row| target.row(row).copy_from_slice(bias));
        }
        return split(precision, target, !matches!(start, Start::Zero), lhs, rhs);
    }
    with_reals(precision, &mut target, start, lhs, rhs);
}

/// The product of copies as reals, whose result is rounded back: where no unit multiplies what is stored, or it is small.
fn with_reals<T: Real, L: Storage<T>, R: Storage<T>, Y: Storage<T>>(
    precision: Precision,
    target: &mut MatrixMut<'_, Y>,
    start: Start<'_, T>,
    lhs: Matrix<'_, L>,
    rhs: Matrix<'_, R>,
) {
    let (left, right) = (reals(lhs), reals(rhs));
    let mut sums = vec![T::ZERO; target.rows * target.cols];
    for (row, sums) in sums.chunks_exact_mut(target.cols.max(1)).enumerate() {
        start.begin(sums, target.row(row));
    }
    let (lhs, rhs) = (lhs.like(&left), rhs.like(&right));
    split(precision, MatrixMut::dense(&mut sums, target.rows, target.cols), true, lhs, rhs);
    for (row, sums) in sums.chunks_exact(target.cols.max(1)).enumerate() {
        target.row(row).iter_mut().zip(sums).for_each(|(y, &sum)| *y = Y::of_real(sum));
    }
}

/// The elements of a matrix as reals, line by line of those that lie in memory.
fn reals<T: Real, S: Storage<T>>(source: Matrix<'_, S>) -> Vec<T> {
    let source = if source.col_stride == 1 { source } else { source.transposed() };
    let line = |row: usize| source.data[row * source.row_stride..][..source.cols].iter().map(|value| value.real());
    (0..source.rows).flat_map(line).collect()
}

/// Multiply-adds below which a second thread does not pay.
const SMALLEST_PART: usize = 1 << 18;
/// Rows or columns below which the packing of the other operand would weigh too much.
const NARROWEST_PART: usize = 256;

fn split<T: Real>(
    precision: Precision,
    target: MatrixMut<'_, T>,
    accumulate: bool,
    lhs: Matrix<'_, T>,
    rhs: Matrix<'_, T>,
) {
    let (rows, cols) = (target.rows, target.cols);
    let longest = rows.max(cols);
    if longest < 2 * NARROWEST_PART || rows * cols * lhs.cols < 2 * SMALLEST_PART {
        return gemm(precision, target, accumulate, lhs, rhs);
    }
    // Halving gives the same parts on any number of threads.
    if cols >= rows {
        let at = (cols / 2).next_multiple_of(16);
        let (left, right) = target.split_columns(at);
        rayon::join(
            || split(precision, left, accumulate, lhs, rhs.columns(0, at)),
            || split(precision, right, accumulate, lhs, rhs.columns(at, cols - at)),
        );
    } else {
        let at = (rows / 2).next_multiple_of(16);
        let (top, bottom) = target.split_rows(at);
        rayon::join(
            || split(precision, top, accumulate, lhs.rows(0, at), rhs),
            || split(precision, bottom, accumulate, lhs.rows(at, rows - at), rhs),
        );
    }
}

/// `target[j] = Σ_i source[i, j]`, or added to what is there; source `[rows, cols]`, target `[cols]`: the gradient of a bias. Runs
/// on the current thread pool, whole columns to a thread, so the bits do not depend on the number of threads.
///
/// A sum that is zero by construction must come out as zero: an optimiser that divides by the gradient's own size makes a
/// whole step of what rounding leaves, the same way each time. Such a sum is one of a batch of real images and then as many
/// fakes, whose rows cancel one by one (the Wasserstein loss) or as a whole (the hinge's linear range). So row i is first
/// added to row i + rows / 2, and everything in f64, in which a sum of f32 of one size is exact.
pub fn add_column_sums<T: Real, S: Storage<T>>(source: &[S], cols: usize, target: &mut [T], accumulate: bool) {
    if !accumulate {
        target.fill(T::ZERO);
    }
    if cols <= COLUMNS / 2 {
        add_narrow_column_sums(source, cols, target);
    } else {
        add_scaled_rows(source, cols, |_| 1.0, target);
    }
}

/// `target[j] = Σ_i scales[i] · source[i, j]`, or added, in the same order and as exactly: the gradient of a weight with one output.
/// A feature that is the same for all images then has no gradient where its bias has none.
pub fn add_scaled_column_sums<T: Real, S: Storage<T>>(
    source: &[S],
    cols: usize,
    scales: &[S],
    target: &mut [T],
    accumulate: bool,
) {
    if !accumulate {
        target.fill(T::ZERO);
    }
    add_scaled_rows(source, cols, |row| scales[row].real().to_f64(), target);
}

/// Columns of one task where columns are summed.
const COLUMNS: usize = 32;

fn add_scaled_rows<T: Real, S: Storage<T>>(
    source: &[S],
    cols: usize,
    scale: impl Fn(usize) -> f64 + Copy + Sync,
    target: &mut [T],
) {
    target.par_chunks_mut(COLUMNS).enumerate().for_each(|(block, target)| {
        let (mut sums, width) = ([0.0f64; COLUMNS], target.len());
        let from = &source[block * COLUMNS..];
        // The whole block on its own, for loops of a known length.
        vectorised!(match width {
            COLUMNS => sum_pairs(from, source.len() / cols, cols, COLUMNS, scale, &mut sums),
            _ => sum_pairs(from, source.len() / cols, cols, width, scale, &mut sums),
        });
        target.iter_mut().zip(sums).for_each(|(target, sum)| *target += T::of(sum));
    });
}

/// Adds `width` columns of rows that lie `cols` apart.
#[inline(always)]
fn sum_pairs<T: Real, S: Storage<T>>(
    from: &[S],
    rows: usize,
    cols: usize,
    width: usize,
    scale: impl Fn(usize) -> f64,
    sums: &mut [f64; COLUMNS],
) {
    let (pairs, sums) = (rows.div_ceil(2), &mut sums[..width]);
    for row in 0..rows - pairs {
        let part = |row: usize| &from[row * cols..][..width];
        let (near_scale, far_scale) = (scale(row), scale(row + pairs));
        for ((sum, near), far) in sums.iter_mut().zip(part(row)).zip(part(row + pairs)) {
            *sum += near_scale * near.real().to_f64() + far_scale * far.real().to_f64();
        }
    }
    if rows % 2 == 1 {
        let (last, scale) = (&from[(pairs - 1) * cols..][..width], scale(pairs - 1));
        sums.iter_mut().zip(last).for_each(|(sum, value)| *sum += scale * value.real().to_f64());
    }
}

/// The same for rows so short that several are taken side by side, each pair of them still added first.
fn add_narrow_column_sums<T: Real, S: Storage<T>>(source: &[S], cols: usize, target: &mut [T]) {
    let width = COLUMNS / cols * cols;
    let (near, far) = source.split_at((source.len() / cols).div_ceil(2) * cols);
    let steps = far.len() / width;
    let mut lanes = [0.0f64; COLUMNS];
    vectorised!(match width {
        COLUMNS => sum_steps::<T, S>(near, far, COLUMNS, &mut lanes),
        _ => sum_steps::<T, S>(near, far, width, &mut lanes),
    });
    let (near, far) = (&near[steps * width..], &far[steps * width..]);
    for (i, near) in near.iter().enumerate() {
        lanes[i % width] += near.real().to_f64() + far.get(i).map_or(0.0, |far| far.real().to_f64());
    }
    for (column, target) in target.iter_mut().enumerate() {
        *target += T::of(lanes[column..width].iter().step_by(cols).sum());
    }
}

#[inline(always)]
fn sum_steps<T: Real, S: Storage<T>>(near: &[S], far: &[S], width: usize, lanes: &mut [f64; COLUMNS]) {
    let lanes = &mut lanes[..width];
    for (near, far) in near.chunks_exact(width).zip(far.chunks_exact(width)) {
        for ((lane, near), far) in lanes.iter_mut().zip(near).zip(far) {
            *lane += near.real().to_f64() + far.real().to_f64();
        }
    }
}

fn multiply<T: Real>(
    precision: Precision,
    target: &mut MatrixMut<'_, T>,
    accumulate: bool,
    lhs: Matrix<'_, T>,
    rhs: Matrix<'_, T>,
) {
    if precision == Precision::F32 {
        return with_crate(target, accumulate, lhs, rhs);
    }
    let (Some(mut target), Some(lhs), Some(rhs)) = (target.cast::<f32>(), lhs.cast::<f32>(), rhs.cast::<f32>()) else {
        unreachable!("a CPU that rounds operands computes in f32")
    };
    match Unit::best() {
        Some(unit) if precision == Precision::Bf16 => bf16::product(unit, &mut target, accumulate, lhs, rhs),
        _ => with_rounded_copies(precision, &mut target, accumulate, lhs, rhs),
    }
}

/// The product in f32 of copies that are rounded: where the processor has no instructions for the precision.
fn with_rounded_copies(
    precision: Precision,
    target: &mut MatrixMut<'_, f32>,
    accumulate: bool,
    lhs: Matrix<'_, f32>,
    rhs: Matrix<'_, f32>,
) {
    thread_local! {
        static COPIES: RefCell<[Vec<f32>; 2]> = RefCell::default();
    }
    COPIES.with_borrow_mut(|[left, right]| {
        let (lhs, rhs) = (rounded(precision, lhs, left), rounded(precision, rhs, right));
        with_crate(target, accumulate, lhs, rhs);
    });
}

/// A rounded copy, with its elements in the order of the original's.
fn rounded<'a>(precision: Precision, source: Matrix<'_, f32>, copy: &'a mut Vec<f32>) -> Matrix<'a, f32> {
    if source.col_stride != 1 {
        return rounded(precision, source.transposed(), copy).transposed();
    }
    let Matrix { data, rows, cols, row_stride, .. } = source;
    if copy.len() < rows * cols {
        copy.resize(rows * cols, 0.0);
    }
    let copy = &mut copy[..rows * cols];
    vectorised!({
        for (row, copy) in copy.chunks_exact_mut(cols.max(1)).enumerate() {
            let source = &data[row * row_stride..][..cols];
            copy.iter_mut().zip(source).for_each(|(copy, &value)| *copy = precision.round(value));
        }
    });
    Matrix::dense(copy, rows, cols)
}

fn with_crate<T: Real>(target: &mut MatrixMut<'_, T>, accumulate: bool, lhs: Matrix<'_, T>, rhs: Matrix<'_, T>) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Widths on both sides of every split, odd and even numbers of rows, against sums of small whole numbers, which are exact.
    #[test]
    fn column_sums_are_those_of_the_definition() {
        for cols in [1, 2, 3, 5, 11, 16, 17, 31, 32, 33, 64, 70] {
            for rows in [1, 2, 3, 7, 20, 65, 130, 257] {
                let source: Vec<f32> = (0..rows * cols).map(|i| ((i * i * 7 + i * 31) % 97) as f32 - 40.0).collect();
                let scales: Vec<f32> = (0..rows).map(|i| (i % 5) as f32 - 1.0).collect();
                let expected = |scale: &dyn Fn(usize) -> f32| -> Vec<f32> {
                    (0..cols).map(|j| 3.0 + (0..rows).map(|i| scale(i) * source[i * cols + j]).sum::<f32>()).collect()
                };
                let mut sums = vec![3.0; cols];
                add_column_sums(&source, cols, &mut sums, true);
                assert_eq!(sums, expected(&|_| 1.0), "{rows} rows of {cols}");
                let mut scaled = vec![3.0; cols];
                add_scaled_column_sums(&source, cols, &scales, &mut scaled, true);
                assert_eq!(scaled, expected(&|i| scales[i]), "{rows} scaled rows of {cols}");
            }
        }
    }
}
