//! Products of operands that are rounded to bf16, with sums in f32, on the CPU.
//!
//! Both operands are rounded while they are packed into [`tiles`](super::tiles); [`blocks`](super::blocks) multiplies them. The
//! order of a sum depends on the shape alone.
//!
//! The instructions take numbers below 2⁻¹²⁶ for zeros (Intel SDM, VDPBF16PS and TDPBF16PS), and round to the nearest
//! number, ties to even, as [`Precision::round`](super::Precision::round) does.

use std::cell::RefCell;
use std::ops::Range;

use half::bf16;

use super::Storage;
use super::blocks::{Multiplier, Steps, Sums, Unit};
use super::cpu::vectorised;
use super::matrix::{Matrix, MatrixMut, Start, for_each_block};
use super::packable::Packable;
use super::tiles::{LINES, Packed, SIDE, STEPS, Side, Tile};

/// Depth, rows and columns that are packed at a time: the right operand's part stays in the second-level cache.
const DEPTH: usize = 2048;
const ROWS: usize = 128;
const COLUMNS: usize = 512;
/// Elements that a thread of [`product_by_all`] packs of its own operand at a time, and the fewest and most lines of it.
const OWN: usize = 1 << 17;
const OWN_LINES: Range<usize> = SIDE..256;

/// The steps of tiles that lie behind each other.
const BEHIND: [[usize; 2]; DEPTH / STEPS] = {
    let (mut steps, mut i) = ([[0; 2]; DEPTH / STEPS], 0);
    while i < steps.len() {
        steps[i] = [i * size_of::<Tile>() / 4; 2];
        i += 1;
    }
    steps
};

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
    assert_shapes(target, &lhs, &rhs);
    if lhs.cols == 0 && !accumulate {
        clear(target);
    }
    let unit = Multiplier::new(unit);
    PACKED.with_borrow_mut(|[left, right]| {
        for steps in parts(0..lhs.cols, DEPTH) {
            let accumulate = accumulate || steps.start > 0;
            let (lhs, rhs) = (lhs.columns(steps.start, steps.len()), rhs.rows(steps.start, steps.len()));
            for columns in parts(0..rhs.cols, COLUMNS) {
                pack(Side::Right, rhs.columns(columns.start, columns.len()).transposed(), right);
                for rows in parts(0..lhs.rows, ROWS) {
                    pack(Side::Left, lhs.rows(rows.start, rows.len()), left);
                    let operands = Operands { left, right, first: [0; 2], steps: steps.len().div_ceil(STEPS) };
                    let lines = (0..rows.len(), 0..columns.len());
                    operands.multiply(&unit, accumulate, lines, target, (rows.start, columns.start));
                }
            }
        }
    });
}

fn assert_shapes<L, R, Y>(target: &MatrixMut<'_, Y>, lhs: &Matrix<'_, L>, rhs: &Matrix<'_, R>) {
    assert!(lhs.rows == target.rows && rhs.cols == target.cols && lhs.cols == rhs.rows, "shapes disagree");
}

/// Packs the rows of a matrix as lines.
fn pack<E: Packable>(side: Side, lines: Matrix<'_, E>, packed: &mut Packed) {
    let Matrix { data, rows, cols, row_stride, .. } = lines;
    if along(&lines) {
        packed.fill_along(side, (rows, cols), |step| move |line| Some(&data[line * row_stride + step..]));
    } else {
        let stride = lines.col_stride;
        packed.fill_across(side, (rows, cols), |line| move |step| Some(&data[step * stride + line..]));
    }
}

/// The same on all threads of the current pool.
fn pack_by_all<E: Packable>(side: Side, lines: Matrix<'_, E>, packed: &mut Packed) {
    let Matrix { data, rows, cols, row_stride, .. } = lines;
    if along(&lines) {
        packed.fill_along_by_all(side, (rows, cols), |step| move |line| Some(&data[line * row_stride + step..]));
    } else {
        let stride = lines.col_stride;
        packed.fill_across_by_all(side, (rows, cols), |line| move |step| Some(&data[step * stride + line..]));
    }
}

/// True where the numbers of a line lie behind each other, false where those of a step do.
fn along<E>(lines: &Matrix<'_, E>) -> bool {
    assert!(lines.row_stride == 1 || lines.col_stride == 1, "neither rows nor columns are contiguous");
    lines.col_stride == 1
}

/// A target that a product writes its sums to.
pub(super) trait Target: Send + Sized {
    /// Lets `work` write sums in f32, whose target begins as `start` says and becomes what they are then. With [`Start::Zero`] it
    /// begins as anything.
    fn with_sums(part: &mut MatrixMut<'_, Self>, start: Start<'_, f32>, work: impl FnOnce(&mut MatrixMut<'_, f32>));
}

impl Target for f32 {
    fn with_sums(part: &mut MatrixMut<'_, f32>, start: Start<'_, f32>, work: impl FnOnce(&mut MatrixMut<'_, f32>)) {
        if let Start::Bias(bias) = start {
            (0..part.rows).for_each(|row| part.row(row).copy_from_slice(bias));
        }
        work(part);
    }
}

impl Target for bf16 {
    fn with_sums(part: &mut MatrixMut<'_, bf16>, start: Start<'_, f32>, work: impl FnOnce(&mut MatrixMut<'_, f32>)) {
        thread_local! {
            static SUMS: RefCell<Vec<f32>> = RefCell::default();
        }
        let (rows, cols) = (part.rows, part.cols);
        SUMS.with_borrow_mut(|sums| {
            if sums.len() < rows * cols {
                sums.resize(rows * cols, 0.0);
            }
            let mut sums = MatrixMut::dense(&mut sums[..rows * cols], rows, cols);
            for row in 0..rows {
                start.begin(sums.row(row), part.row(row));
            }
            work(&mut sums);
            vectorised!(for row in 0..rows {
                part.row(row).iter_mut().zip(sums.row(row)).for_each(|(y, sum)| *y = bf16::of_real(*sum));
            });
        });
    }
}

/// target = start + lhs · rhs on all threads of the current pool. The operand with fewer lines is packed once for all; of the other
/// each task packs its own lines.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub(super) fn product_by_all<L: Packable, R: Packable, Y: Target>(
    unit: Unit,
    target: MatrixMut<'_, Y>,
    start: Start<'_, f32>,
    lhs: Matrix<'_, L>,
    rhs: Matrix<'_, R>,
) {
    assert_shapes(&target, &lhs, &rhs);
    let (columns, by_rows) = (rhs.transposed(), lhs.rows > rhs.cols);
    // Columns whose numbers lie along the depth would have to be turned to stand right: instead the product is turned.
    let turned = !by_rows && along(&columns);
    match (by_rows, turned) {
        (true, _) => Shared { side: Side::Right, by_rows, turned, unit }.multiply(target, start, columns, lhs),
        (false, true) => Shared { side: Side::Right, by_rows, turned, unit }.multiply(target, start, lhs, columns),
        (false, false) => Shared { side: Side::Left, by_rows, turned, unit }.multiply(target, start, lhs, columns),
    }
}

/// A product one of whose operands is packed once for all threads.
struct Shared {
    /// The side that it stands on.
    side: Side,
    /// True where tasks share the target's rows among them, false where its columns.
    by_rows: bool,
    /// True where the rows of the product are the target's columns.
    turned: bool,
    unit: Unit,
}

impl Shared {
    fn multiply<S: Packable, O: Packable, Y: Target>(
        &self,
        target: MatrixMut<'_, Y>,
        start: Start<'_, f32>,
        shared: Matrix<'_, S>,
        own: Matrix<'_, O>,
    ) {
        thread_local! {
            static SHARED: RefCell<Packed> = RefCell::default();
        }
        let depth = own.cols;
        let lines = (OWN / depth.clamp(1, DEPTH)).clamp(OWN_LINES.start, OWN_LINES.end).next_multiple_of(SIDE);
        let (rows, columns) = if self.by_rows { (lines, target.cols) } else { (target.rows, lines) };
        SHARED.with_borrow_mut(|packed| {
            pack_by_all(self.side, shared, packed);
            let shared = &*packed;
            for_each_block(target, rows, columns, &|row, column, mut part| {
                let own = if self.by_rows { own.rows(row, part.rows) } else { own.rows(column, part.cols) };
                let start = match start {
                    Start::Bias(bias) => Start::Bias(&bias[column..column + part.cols]),
                    other => other,
                };
                let accumulate = !matches!(start, Start::Zero);
                Y::with_sums(&mut part, start, |sums| self.part(sums, accumulate, shared, own));
            });
        });
    }

    /// sums (+)= the part of the product that a task makes of its own lines.
    fn part<O: Packable>(&self, sums: &mut MatrixMut<'_, f32>, accumulate: bool, shared: &Packed, own: Matrix<'_, O>) {
        if own.cols == 0 && !accumulate {
            clear(sums);
        }
        for steps in parts(0..own.cols, DEPTH) {
            let accumulate = accumulate || steps.start > 0;
            let (first, count) = (steps.start / STEPS, steps.len().div_ceil(STEPS));
            with_own(|packed| {
                let (own_side, operands) = match self.side {
                    Side::Right => (Side::Left, [0, first]),
                    Side::Left => (Side::Right, [first, 0]),
                };
                pack(own_side, own.columns(steps.start, steps.len()), packed);
                let (unit, lines) = (Multiplier::new(self.unit), (0..sums.rows, 0..sums.cols));
                let operands = match own_side {
                    Side::Left => Operands { left: packed, right: shared, first: operands, steps: count },
                    Side::Right => Operands { left: shared, right: packed, first: operands, steps: count },
                };
                match self.turned {
                    true => operands.multiply_turned(&unit, accumulate, sums),
                    false => operands.multiply(&unit, accumulate, lines, sums, (0, 0)),
                }
            });
        }
    }
}

/// Lends a thread the memory of its own operand.
fn with_own<R>(work: impl FnOnce(&mut Packed) -> R) -> R {
    thread_local! {
        static OWN: RefCell<Packed> = RefCell::default();
    }
    OWN.with_borrow_mut(work)
}

fn clear(target: &mut MatrixMut<'_, f32>) {
    (0..target.rows).for_each(|row| target.row(row).fill(0.0));
}

/// target (+)= lhs · rhs on the calling thread, of operands that are packed.
///
/// # Panics
/// If the shapes disagree: a mistake of this program's.
pub fn product_of_packed(unit: Unit, target: &mut MatrixMut<'_, f32>, accumulate: bool, lhs: &Packed, rhs: &Packed) {
    let sizes = (lhs.lines(), rhs.lines(), lhs.depth());
    assert_eq!(sizes, (target.rows, target.cols, rhs.depth()), "shapes disagree");
    if lhs.depth() == 0 && !accumulate {
        clear(target);
    }
    let unit = Multiplier::new(unit);
    for steps in parts(0..lhs.depth().div_ceil(STEPS), DEPTH / STEPS) {
        let accumulate = accumulate || steps.start > 0;
        let operands = Operands { left: lhs, right: rhs, first: [steps.start; 2], steps: steps.len() };
        for columns in parts(0..rhs.lines(), COLUMNS) {
            for rows in parts(0..lhs.lines(), ROWS) {
                let at = (rows.start, columns.start);
                operands.multiply(&unit, accumulate, (rows, columns.clone()), target, at);
            }
        }
    }
}

/// Parts of a range, of at most `most`.
fn parts(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    range.clone().step_by(most).map(move |first| first..range.end.min(first + most))
}

/// Two packed operands, and the steps of a product along them: from `first` on in the left and in the right one.
#[derive(Clone, Copy)]
struct Operands<'a> {
    left: &'a Packed,
    right: &'a Packed,
    first: [usize; 2],
    steps: usize,
}

impl Operands<'_> {
    /// The part of the target that some lines of both make: those at `row` and `column` of the target first.
    fn multiply(
        &self,
        unit: &Multiplier,
        accumulate: bool,
        (rows, columns): (Range<usize>, Range<usize>),
        target: &mut MatrixMut<'_, f32>,
        (row, column): (usize, usize),
    ) {
        let steps = Steps::new(&BEHIND[..self.steps]);
        for right in columns.clone().step_by(SIDE) {
            for left in rows.clone().step_by(SIDE) {
                let operands = (self.left.two_blocks(left, self.first[0]), self.right.two_blocks(right, self.first[1]));
                let at = (row + left - rows.start, column + right - columns.start);
                unit.multiply(accumulate, operands, steps, target, at);
            }
        }
    }

    /// The whole product, turned: its rows are the target's columns.
    fn multiply_turned(&self, unit: &Multiplier, accumulate: bool, target: &mut MatrixMut<'_, f32>) {
        let steps = Steps::new(&BEHIND[..self.steps]);
        let (mut sums, mut tile) = (Sums::default(), Tile::default());
        for row in (0..target.rows).step_by(SIDE) {
            for column in (0..target.cols).step_by(SIDE) {
                let operands = (self.left.two_blocks(column, self.first[0]), self.right.two_blocks(row, self.first[1]));
                unit.sums(operands, steps, &mut sums);
                for (down, across) in [(0, 0), (0, LINES), (LINES, 0), (LINES, LINES)] {
                    let (row, column) = (row + down, column + across);
                    for (words, sums) in tile.0.iter_mut().zip(&sums.0[across..]) {
                        *words = bytemuck::cast(*sums[down..].first_chunk::<LINES>().expect("half a row"));
                    }
                    tile.turn();
                    let columns = LINES.min(target.cols.saturating_sub(column));
                    for (line, words) in (row..target.rows).zip(&tile.0).take_while(|_| columns > 0) {
                        let sums: &[f32; LINES] = bytemuck::cast_ref(words);
                        let target = &mut target.row(line)[column..][..columns];
                        if accumulate {
                            target.iter_mut().zip(sums).for_each(|(target, sum)| *target += sum);
                        } else {
                            target.copy_from_slice(&sums[..columns]);
                        }
                    }
                }
            }
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

    /// Holds a product of a matrix with rows of `cols + 3` elements against the definition: on one thread, on all, and of operands
    /// that were packed before.
    fn assert_product(unit: Unit, accumulate: bool, lhs: Matrix<'_, f32>, rhs: Matrix<'_, f32>) {
        let (rows, cols, depth) = (lhs.rows, rhs.cols, lhs.cols);
        let before = values(rows * (cols + 3), 3);
        let name = format!("{unit:?} {rows}×{cols}×{depth}, {accumulate}");
        let computed = |work: &dyn Fn(MatrixMut<'_, f32>)| {
            let mut y = before.clone();
            work(MatrixMut::new(&mut y, rows, cols, cols + 3));
            for (at, (&y, &before)) in y.iter().zip(&before).enumerate() {
                let (i, j) = (at / (cols + 3), at % (cols + 3));
                let before = f64::from(before);
                let (sum, size) = if j < cols { exact(&lhs, &rhs, i, j) } else { (0.0, 0.0) };
                let expected = if accumulate || j >= cols { before + sum } else { sum };
                // Each of the sums is rounded to f32 and none is larger than the sum of the terms' sizes (Higham 2002, 3.1).
                let tolerance = 2f64.powi(-24) * (2.0 + depth as f64) * (1.0 + size);
                assert!((f64::from(y) - expected).abs() <= tolerance, "{name}: [{i}, {j}] is {y}, not {expected}");
            }
            y
        };
        let y = computed(&|mut target| product(unit, &mut target, accumulate, lhs, rhs));
        let start = if accumulate { Start::Target } else { Start::Zero };
        computed(&|target| product_by_all(unit, target, start, lhs, rhs));
        let [mut left, mut right] = [Packed::default(), Packed::default()];
        pack(Side::Left, lhs, &mut left);
        pack(Side::Right, rhs.transposed(), &mut right);
        let same = computed(&|mut target| product_of_packed(unit, &mut target, accumulate, &left, &right));
        assert!(y == same, "{name}: packed before");
    }

    /// Sizes around tiles, blocks and parts; both operands along rows and along columns; gaps between rows.
    #[test]
    fn products_are_those_of_rounded_operands() {
        let sizes = [(1, 1, 1), (3, 5, 2), (16, 16, 32), (17, 31, 33), (33, 70, 15), (130, 20, 100), (20, 530, 70)];
        for unit in Unit::all() {
            for (m, n, k) in sizes.into_iter().chain([(40, 33, 2100), (300, 40, 70), (40, 600, 2060)]) {
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
