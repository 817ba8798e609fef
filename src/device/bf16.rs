//! Products of operands that are rounded to bf16, with sums in f32, on the CPU.
//!
//! Both operands are rounded while they are packed into [`tiles`](super::tiles). A block of 32 × 32 sums takes two tiles of each
//! operand at a time. AMX (`amx.rs`) multiplies whole tiles; `vdpbf16ps` multiplies a vector. The order of a sum depends on
//! the shape alone.
//!
//! The instructions take numbers below 2⁻¹²⁶ for zeros (Intel SDM, VDPBF16PS and TDPBF16PS), and round to the nearest
//! number, ties to even, as [`Precision::round`](super::Precision::round) does.

use std::cell::RefCell;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::matrix::{Matrix, MatrixMut};
use super::tiles::{Packed, SIDE, STEPS, Side, instructions};

/// Depth, rows and columns that are packed at a time: the right operand's part stays in the second-level cache.
const DEPTH: usize = 2048;
const ROWS: usize = 128;
const COLUMNS: usize = 512;

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Intel's tile registers.
    Amx,
    /// AVX-512 with bf16.
    Avx512,
}

impl Unit {
    /// The best that this processor has; `None` where it has neither, and f32 does the work.
    pub fn best() -> Option<Unit> {
        Unit::all().next()
    }

    /// All that this processor has, the best first.
    fn all() -> impl Iterator<Item = Unit> {
        let avx512 = instructions();
        #[cfg(target_arch = "x86_64")]
        let amx = avx512 && amx::usable();
        #[cfg(not(target_arch = "x86_64"))]
        let amx = false;
        amx.then_some(Unit::Amx).into_iter().chain(avx512.then_some(Unit::Avx512))
    }
}

/// target (+)= lhs · rhs on the calling thread, by a unit that this processor has.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub(super) fn product(
    unit: Unit,
    target: &mut MatrixMut<'_, f32>,
    accumulate: bool,
    lhs: Matrix<'_, f32>,
    rhs: Matrix<'_, f32>,
) {
    thread_local! {
        static PACKED: RefCell<[Packed; 2]> = RefCell::default();
    }
    assert!(lhs.rows == target.rows && rhs.cols == target.cols && lhs.cols == rhs.rows, "shapes disagree");
    if lhs.cols == 0 && !accumulate {
        (0..target.rows).for_each(|row| target.row(row).fill(0.0));
    }
    PACKED.with_borrow_mut(|[left, right]| {
        for steps in parts(0..lhs.cols, DEPTH) {
            let accumulate = accumulate || steps.start > 0;
            let (lhs, rhs) = (lhs.columns(steps.start, steps.len()), rhs.rows(steps.start, steps.len()));
            for columns in parts(0..rhs.cols, COLUMNS) {
                pack(Side::Right, rhs.columns(columns.start, columns.len()).transposed(), right);
                for rows in parts(0..lhs.rows, ROWS) {
                    pack(Side::Left, lhs.rows(rows.start, rows.len()), left);
                    let all = 0..steps.len().div_ceil(STEPS);
                    let sizes = (0..rows.len(), 0..columns.len());
                    add_part(unit, accumulate, (left, right), all, sizes, (rows.start, columns.start), target);
                }
            }
        }
    });
}

/// Packs the rows of a matrix as lines.
fn pack(side: Side, lines: Matrix<'_, f32>, packed: &mut Packed) {
    let Matrix { data, rows, cols, row_stride, col_stride } = lines;
    assert!(row_stride == 1 || col_stride == 1, "neither rows nor columns are contiguous");
    if col_stride == 1 {
        packed.fill_along(side, (rows, cols), |step| move |line| Some(&data[line * row_stride + step..]));
    } else {
        packed.fill_across(side, (rows, cols), |line| move |step| Some(&data[step * col_stride + line..]));
    }
}

/// target (+)= lhs · rhs on the calling thread, of operands that are packed.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub fn product_of_packed(unit: Unit, target: &mut MatrixMut<'_, f32>, accumulate: bool, lhs: &Packed, rhs: &Packed) {
    let sizes = (lhs.lines(), rhs.lines(), lhs.depth());
    assert_eq!(sizes, (target.rows, target.cols, rhs.depth()), "shapes disagree");
    if lhs.depth() == 0 && !accumulate {
        (0..target.rows).for_each(|row| target.row(row).fill(0.0));
    }
    for steps in parts(0..lhs.depth().div_ceil(STEPS), DEPTH / STEPS) {
        let accumulate = accumulate || steps.start > 0;
        for columns in parts(0..rhs.lines(), COLUMNS) {
            for rows in parts(0..lhs.lines(), ROWS) {
                add_part(unit, accumulate, (lhs, rhs), steps.clone(), (rows, columns.clone()), (0, 0), target);
            }
        }
    }
}

/// Parts of a range, of at most `most`.
fn parts(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(most).map(move |first| first..range.end.min(first + most))
}

/// The part of the target that some lines of both operands make in some steps; `row` and `column` of the target belong to their
/// first lines.
fn add_part(
    unit: Unit,
    accumulate: bool,
    (lhs, rhs): (&Packed, &Packed),
    steps: Range<usize>,
    (rows, columns): (Range<usize>, Range<usize>),
    (row, column): (usize, usize),
    target: &mut MatrixMut<'_, f32>,
) {
    assert!(Unit::all().any(|own| own == unit), "{unit:?} on a processor without it");
    #[cfg(target_arch = "x86_64")]
    let registers = (unit == Unit::Amx).then(amx::Registers::configure);
    let mut sums = Sums([[0.0; SIDE]; SIDE]);
    for columns in parts(columns, SIDE) {
        for rows in parts(rows.clone(), SIDE) {
            let lhs = lhs.two_blocks(rows.start, steps.clone());
            let rhs = rhs.two_blocks(columns.start, steps.clone());
            #[cfg(target_arch = "x86_64")]
            match &registers {
                Some(registers) => registers.multiply(lhs, rhs, &mut sums.0),
                // SAFETY: the processor has the instructions, as was asserted above.
                #[expect(unsafe_code)]
                None => unsafe { x86::multiply(lhs, rhs, &mut sums.0) },
            }
            #[cfg(not(target_arch = "x86_64"))]
            let _ = (lhs, rhs, &mut sums);
            for (line, sums) in rows.clone().zip(&sums.0) {
                let (target, sums) =
                    (&mut target.row(row + line)[column + columns.start..][..columns.len()], &sums[..columns.len()]);
                if accumulate {
                    target.iter_mut().zip(sums).for_each(|(target, sum)| *target += sum);
                } else {
                    target.copy_from_slice(sums);
                }
            }
        }
    }
}

/// A block of sums, which begins a cache line.
#[repr(C, align(64))]
struct Sums([[f32; SIDE]; SIDE]);

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use crate::device::tiles::{LINES, SIDE, STEPS, Tile};

    /// 32 × 32 sums of products: tile t of each pair of lists belongs to the same steps.
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn multiply(lhs: [&[Tile]; 2], rhs: [&[Tile]; 2], sums: &mut [[f32; SIDE]; SIDE]) {
        const HALF: usize = LINES / 2;
        for (lhs, rows) in lhs.into_iter().zip(sums.as_chunks_mut::<LINES>().0) {
            for (half, rows) in rows.as_chunks_mut::<HALF>().0.iter_mut().enumerate() {
                let mut both = [[_mm512_setzero_ps(); 2]; HALF];
                for ((lhs, left), right) in lhs.iter().zip(rhs[0]).zip(rhs[1]) {
                    for pair in 0..STEPS / 2 {
                        let columns = [left, right].map(|tile| load(&tile.0[pair]));
                        for (line, sums) in both.iter_mut().enumerate() {
                            let row = bf16(_mm512_set1_epi32(lhs.0[half * HALF + line][pair].cast_signed()));
                            sums[0] = _mm512_dpbf16_ps(sums[0], row, columns[0]);
                            sums[1] = _mm512_dpbf16_ps(sums[1], row, columns[1]);
                        }
                    }
                }
                for (row, sums) in rows.iter_mut().zip(both) {
                    // SAFETY: a row of the block is two vectors long.
                    #[expect(unsafe_code)]
                    unsafe {
                        _mm512_storeu_ps(row.as_mut_ptr(), sums[0]);
                        _mm512_storeu_ps(row[LINES..].as_mut_ptr(), sums[1]);
                    }
                }
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn load(words: &[u32; 16]) -> __m512bh {
        // SAFETY: the source is 64 bytes long.
        #[expect(unsafe_code)]
        bf16(unsafe { _mm512_loadu_si512(words.as_ptr().cast()) })
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    fn bf16(words: __m512i) -> __m512bh {
        // SAFETY: both types are 64 bytes without padding.
        #[expect(unsafe_code)]
        unsafe {
            transmute::<__m512i, __m512bh>(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Precision;
    use super::*;

    fn values(len: usize, seed: u32) -> Vec<f32> {
        let scattered =
            |i: usize| (i as u32).wrapping_mul(0x9E37_79B1).wrapping_add(seed.wrapping_mul(0x85EB_CA6B)) >> 8;
        (0..len).map(|i| scattered(i) as f32 / 8_388_608.0 - 1.0).collect()
    }

    /// An element of the product of rounded operands, and the sum of its terms' sizes.
    fn exact(lhs: &Matrix<'_, f32>, rhs: &Matrix<'_, f32>, i: usize, j: usize) -> (f64, f64) {
        let at = |x: &Matrix<'_, f32>, i: usize, j: usize| {
            f64::from(Precision::Bf16.round(x.data[i * x.row_stride + j * x.col_stride]))
        };
        let terms = (0..lhs.cols).map(|step| at(lhs, i, step) * at(rhs, step, j));
        terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()))
    }

    /// Holds a product of a matrix with rows of `cols + 3` elements against the definition, and against that of packed operands.
    fn assert_product(unit: Unit, accumulate: bool, lhs: Matrix<'_, f32>, rhs: Matrix<'_, f32>) {
        let (rows, cols, depth) = (lhs.rows, rhs.cols, lhs.cols);
        let before = values(rows * (cols + 3), 3);
        let (mut y, mut same) = (before.clone(), before.clone());
        product(unit, &mut MatrixMut::new(&mut y, rows, cols, cols + 3), accumulate, lhs, rhs);
        for (at, (&y, &before)) in y.iter().zip(&before).enumerate() {
            let (i, j) = (at / (cols + 3), at % (cols + 3));
            let before = f64::from(before);
            let (sum, size) = if j < cols { exact(&lhs, &rhs, i, j) } else { (0.0, 0.0) };
            let expected = if accumulate || j >= cols { before + sum } else { sum };
            // Each of the sums is rounded to f32 and none is larger than the sum of the terms' sizes (Higham 2002, 3.1).
            let tolerance = 2f64.powi(-24) * (2.0 + depth as f64) * (1.0 + size);
            let name = format!("{unit:?} {rows}×{cols}×{depth}, {accumulate}");
            assert!((f64::from(y) - expected).abs() <= tolerance, "{name}: [{i}, {j}] is {y}, not {expected}");
        }
        let [mut left, mut right] = [Packed::default(), Packed::default()];
        pack(Side::Left, lhs, &mut left);
        pack(Side::Right, rhs.transposed(), &mut right);
        product_of_packed(unit, &mut MatrixMut::new(&mut same, rows, cols, cols + 3), accumulate, &left, &right);
        assert!(y == same, "{unit:?} {rows}×{cols}×{depth}: packed before");
    }

    /// Sizes around tiles, blocks and parts; both operands along rows and along columns; gaps between rows.
    #[test]
    fn products_are_those_of_rounded_operands() {
        let sizes = [(1, 1, 1), (3, 5, 2), (16, 16, 32), (17, 31, 33), (33, 70, 15), (130, 20, 100), (20, 530, 70)];
        for unit in Unit::all() {
            for (m, n, k) in sizes.into_iter().chain([(40, 33, 2100)]) {
                let (a, b) = (values(m * k, 1), values(k * n, 2));
                let [lhs, rhs] = [Matrix::dense(&a, m, k), Matrix::dense(&b, k, n)];
                let [lhs_turned, rhs_turned] =
                    [Matrix::dense(&a, k, m), Matrix::dense(&b, n, k)].map(Matrix::transposed);
                for accumulate in [false, true] {
                    assert_product(unit, accumulate, lhs, rhs);
                    assert_product(unit, accumulate, lhs_turned, rhs);
                    assert_product(unit, accumulate, lhs, rhs_turned);
                    assert_product(unit, accumulate, lhs_turned, rhs_turned);
                }
            }
        }
    }

    /// One operand's infinite or missing number reaches all that it is part of, and nothing else.
    #[test]
    fn what_is_not_finite_stays_so() {
        for unit in Unit::all() {
            for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
                let (mut a, b) = (values(40 * 50, 1), vec![1.0; 50 * 20]);
                a[7 * 50 + 49] = bad;
                let mut y = vec![0.0; 40 * 20];
                product(
                    unit,
                    &mut MatrixMut::dense(&mut y, 40, 20),
                    false,
                    Matrix::dense(&a, 40, 50),
                    Matrix::dense(&b, 50, 20),
                );
                for (i, y) in y.iter().enumerate() {
                    let same = if bad.is_nan() { y.is_nan() } else { *y == bad };
                    assert_eq!(i / 20 == 7, same, "{unit:?}, {bad}: element {i} is {y}");
                    assert_eq!(i / 20 == 7, !y.is_finite());
                }
            }
        }
    }

    #[test]
    fn an_empty_product_is_zero() {
        for unit in Unit::all() {
            let mut y = vec![3.0; 6];
            product(
                unit,
                &mut MatrixMut::dense(&mut y, 2, 3),
                true,
                Matrix::dense(&[], 2, 0),
                Matrix::dense(&[], 0, 3),
            );
            assert_eq!(y, [3.0; 6]);
            product(
                unit,
                &mut MatrixMut::dense(&mut y, 2, 3),
                false,
                Matrix::dense(&[], 2, 0),
                Matrix::dense(&[], 0, 3),
            );
            assert_eq!(y, [0.0; 6]);
        }
    }
}
