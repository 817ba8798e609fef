//! Products of operands that are rounded to bf16, with sums in f32, on the CPU.
//!
//! Both operands are rounded while they are packed into tiles. A tile has 16 lines, which are rows of the left operand or
//! columns of the right one, and 32 steps along the depth of the product, two of them in a 32-bit word:
//!
//! ```text
//! left:  word 16·line + pair           16 lines of 16 pairs      a line broadcasts its pairs
//! right: word 16·pair + line           16 pairs of 16 lines      a vector is a pair of steps of 16 columns
//! ```
//!
//! A block of 32 × 32 sums takes two tiles of each operand at a time. [`amx`](super::amx) multiplies whole tiles;
//! `vdpbf16ps` multiplies a vector. The order of a sum depends on the shape alone.
//!
//! The instructions take numbers below 2⁻¹²⁶ for zeros (Intel SDM, VDPBF16PS and TDPBF16PS), and round to the nearest
//! number, ties to even, as [`Precision::round`](super::Precision::round) does.

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::matrix::{Matrix, MatrixMut};

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Intel's tile registers.
    Amx,
    /// AVX-512 with bf16.
    Avx512,
}

impl Unit {
    /// The best that this processor has; `None` where it has neither, and f32 does the work.
    pub(super) fn best() -> Option<Unit> {
        Unit::all().into_iter().next()
    }

    /// All that this processor has, the best first.
    pub(super) fn all() -> Vec<Unit> {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512bf16");
            let amx = (avx512 && amx::usable()).then_some(Unit::Amx);
            amx.into_iter().chain(avx512.then_some(Unit::Avx512)).collect()
        }
        #[cfg(not(target_arch = "x86_64"))]
        Vec::new()
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
    assert!(Unit::all().contains(&unit), "{unit:?} on a processor without it");
    assert!(lhs.rows == target.rows && rhs.cols == target.cols && lhs.cols == rhs.rows, "shapes disagree");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, as was just asserted.
    #[expect(unsafe_code)]
    unsafe {
        x86::product(unit, target, accumulate, lhs, rhs);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::cell::RefCell;
    use std::mem::transmute;

    use super::super::amx::{self, Tile};
    use super::super::matrix::{Matrix, MatrixMut};
    use super::Unit;

    /// Lines of a tile.
    const LINES: usize = 16;
    /// Steps along the depth of a tile.
    const STEPS: usize = 32;
    /// Side of a block of sums: two tiles.
    const SIDE: usize = 2 * LINES;
    /// Depth, rows and columns that are packed at a time: the right operand's part stays in the second-level cache.
    const DEPTH: usize = 2048;
    const ROWS: usize = 128;
    const COLUMNS: usize = 512;

    /// The packed parts of both operands. What they hold is of use to one product alone.
    #[derive(Default)]
    struct Packed {
        lhs: Vec<Tile>,
        rhs: Vec<Tile>,
    }

    thread_local! {
        static PACKED: RefCell<Packed> = RefCell::default();
    }

    /// An operand by its lines: `lines` of `depth` steps each.
    #[derive(Clone, Copy)]
    struct Lines<'a> {
        data: &'a [f32],
        line_stride: usize,
        step_stride: usize,
        lines: usize,
        depth: usize,
    }

    impl<'a> Lines<'a> {
        fn rows_of(matrix: Matrix<'a, f32>) -> Self {
            let Matrix { data, rows, cols, row_stride, col_stride } = matrix;
            assert!(row_stride == 1 || col_stride == 1, "neither rows nor columns are contiguous");
            Lines { data, line_stride: row_stride, step_stride: col_stride, lines: rows, depth: cols }
        }

        /// A part of lines and steps; it must be there.
        fn part(self, (line, lines): (usize, usize), (step, depth): (usize, usize)) -> Self {
            assert!(line + lines <= self.lines && step + depth <= self.depth);
            let start = line * self.line_stride + step * self.step_stride;
            Lines { data: &self.data[start.min(self.data.len())..], lines, depth, ..self }
        }
    }

    /// The bits of the first `count` lanes.
    fn first(count: usize) -> u16 {
        if count >= 16 { u16::MAX } else { (1 << count) - 1 }
    }

    /// The first `count` numbers of a slice, zeros behind them.
    #[target_feature(enable = "avx512f")]
    fn load(from: &[f32], count: usize) -> __m512 {
        assert!(count.min(16) <= from.len());
        // SAFETY: the lanes that are read are inside the slice.
        #[expect(unsafe_code)]
        unsafe {
            _mm512_maskz_loadu_ps(first(count), from.as_ptr())
        }
    }

    /// 32 numbers rounded to bf16: the first vector's in the lower half.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn rounded(low: __m512, high: __m512) -> __m512i {
        // SAFETY: both types are 64 bytes without padding.
        #[expect(unsafe_code)]
        unsafe {
            transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    #[target_feature(enable = "avx512f")]
    fn store(values: __m512i, words: &mut [u32; 16]) {
        // SAFETY: the target is 64 bytes long.
        #[expect(unsafe_code)]
        unsafe {
            _mm512_storeu_si512(words.as_mut_ptr().cast(), values);
        }
    }

    #[target_feature(enable = "avx512f")]
    fn load_words(words: &[u32; 16]) -> __m512i {
        // SAFETY: the source is 64 bytes long.
        #[expect(unsafe_code)]
        unsafe {
            _mm512_loadu_si512(words.as_ptr().cast())
        }
    }

    /// A tile of a line after the other, where the steps of a line lie side by side.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_along(lines: Lines<'_>, tile: &mut Tile) {
        for (line, words) in tile.rows().iter_mut().enumerate() {
            let values = if line < lines.lines {
                let from = &lines.data[line * lines.line_stride..];
                let upper = lines.depth.saturating_sub(16);
                let high = if upper > 0 { load(&from[16..], upper) } else { _mm512_setzero_ps() };
                rounded(load(from, lines.depth), high)
            } else {
                _mm512_setzero_si512()
            };
            store(values, words);
        }
    }

    /// A tile of a pair of steps after the other, where the lines of a step lie side by side.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack_across(lines: Lines<'_>, tile: &mut Tile) {
        const ORDER: [u16; 32] = {
            let (mut order, mut i) = ([0; 32], 0);
            while i < 32 {
                order[i] = (i / 2 + i % 2 * 16) as u16;
                i += 1;
            }
            order
        };
        // SAFETY: the source is 64 bytes long.
        #[expect(unsafe_code)]
        let order = unsafe { _mm512_loadu_si512(ORDER.as_ptr().cast()) };
        for (pair, words) in tile.rows().iter_mut().enumerate() {
            let mut steps = [_mm512_setzero_ps(); 2];
            for (step, values) in (2 * pair..lines.depth).zip(&mut steps) {
                *values = load(&lines.data[step * lines.step_stride..], lines.lines);
            }
            store(_mm512_permutexvar_epi16(order, rounded(steps[0], steps[1])), words);
        }
    }

    /// Turns a tile: word 16·i + j becomes word 16·j + i.
    #[target_feature(enable = "avx512f")]
    fn turn(tile: &mut Tile) {
        let words = tile.rows();
        let mut r = [_mm512_setzero_si512(); 16];
        let mut s = r;
        for i in 0..16 {
            r[i] = load_words(&words[i]);
        }
        // Words of two rows, then pairs of words of four, then quarters of eight, then quarters of all.
        for i in 0..8 {
            s[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
            s[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
        }
        for i in 0..4 {
            r[4 * i] = _mm512_unpacklo_epi64(s[4 * i], s[4 * i + 2]);
            r[4 * i + 1] = _mm512_unpackhi_epi64(s[4 * i], s[4 * i + 2]);
            r[4 * i + 2] = _mm512_unpacklo_epi64(s[4 * i + 1], s[4 * i + 3]);
            r[4 * i + 3] = _mm512_unpackhi_epi64(s[4 * i + 1], s[4 * i + 3]);
        }
        for i in 0..4 {
            s[i] = _mm512_shuffle_i32x4::<0x88>(r[i], r[4 + i]);
            s[4 + i] = _mm512_shuffle_i32x4::<0xdd>(r[i], r[4 + i]);
            s[8 + i] = _mm512_shuffle_i32x4::<0x88>(r[8 + i], r[12 + i]);
            s[12 + i] = _mm512_shuffle_i32x4::<0xdd>(r[8 + i], r[12 + i]);
        }
        for i in 0..8 {
            r[i] = _mm512_shuffle_i32x4::<0x88>(s[i], s[8 + i]);
            r[8 + i] = _mm512_shuffle_i32x4::<0xdd>(s[i], s[8 + i]);
        }
        for i in 0..16 {
            store(r[i], &mut words[i]);
        }
    }

    /// The tiles of an operand, those of one block of 16 lines behind each other; right where `by_pairs`.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn pack(lines: Lines<'_>, by_pairs: bool, tiles: &mut Vec<Tile>) {
        let steps = lines.depth.div_ceil(STEPS);
        // An even number of blocks: a block of sums takes two.
        let needed = lines.lines.next_multiple_of(SIDE) / LINES * steps;
        if tiles.len() < needed {
            tiles.resize_with(needed, Tile::default);
        }
        let along = lines.step_stride == 1;
        for (i, tile) in tiles[..needed].iter_mut().enumerate() {
            let (line, step) = (i / steps * LINES, i % steps * STEPS);
            let count = LINES.min(lines.lines.saturating_sub(line));
            if count == 0 {
                *tile = Tile::default();
                continue;
            }
            let part = lines.part((line, count), (step, STEPS.min(lines.depth - step)));
            if along {
                pack_along(part, tile);
            } else {
                pack_across(part, tile);
            }
            if along == by_pairs {
                turn(tile);
            }
        }
    }

    /// 32 × 32 sums of products: tile t of each pair of lists belongs to the same steps.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn multiply(lhs: [&[Tile]; 2], rhs: [&[Tile]; 2], sums: &mut Sums) {
        const HALF: usize = LINES / 2;
        for (lhs, rows) in lhs.into_iter().zip(sums.0.as_chunks_mut::<LINES>().0) {
            for (half, rows) in rows.as_chunks_mut::<HALF>().0.iter_mut().enumerate() {
                let mut both = [[_mm512_setzero_ps(); 2]; HALF];
                for ((lhs, left), right) in lhs.iter().zip(rhs[0]).zip(rhs[1]) {
                    for pair in 0..STEPS / 2 {
                        let columns = [left, right].map(|tile| bf16(load_words(&tile.0[pair])));
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
    fn bf16(words: __m512i) -> __m512bh {
        // SAFETY: both types are 64 bytes without padding.
        #[expect(unsafe_code)]
        unsafe {
            transmute::<__m512i, __m512bh>(words)
        }
    }

    /// A block of sums, which begins a cache line.
    #[repr(C, align(64))]
    pub(in super::super) struct Sums(pub(in super::super) [[f32; SIDE]; SIDE]);

    /// target (+)= lhs · rhs.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn product(
        unit: Unit,
        target: &mut MatrixMut<'_, f32>,
        accumulate: bool,
        lhs: Matrix<'_, f32>,
        rhs: Matrix<'_, f32>,
    ) {
        let (lhs, rhs) = (Lines::rows_of(lhs), Lines::rows_of(rhs.transposed()));
        if lhs.depth == 0 && !accumulate {
            (0..target.rows).for_each(|row| target.row(row).fill(0.0));
        }
        PACKED.with_borrow_mut(|packed| {
            for (step, depth) in parts(lhs.depth, DEPTH) {
                let accumulate = accumulate || step > 0;
                for columns in parts(rhs.lines, COLUMNS) {
                    pack(rhs.part(columns, (step, depth)), true, &mut packed.rhs);
                    for rows in parts(lhs.lines, ROWS) {
                        pack(lhs.part(rows, (step, depth)), false, &mut packed.lhs);
                        blocks(unit, packed, depth.div_ceil(STEPS), rows, columns, accumulate, target);
                    }
                }
            }
        });
    }

    /// Begins and lengths of parts of at most `most`.
    fn parts(len: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
        (0..len).step_by(most).map(move |first| (first, most.min(len - first)))
    }

    /// The part of the target that what is packed makes.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    fn blocks(
        unit: Unit,
        packed: &Packed,
        steps: usize,
        (row, rows): (usize, usize),
        (column, columns): (usize, usize),
        accumulate: bool,
        target: &mut MatrixMut<'_, f32>,
    ) {
        let registers = (unit == Unit::Amx).then(amx::Registers::configure);
        let mut sums = Sums([[0.0; SIDE]; SIDE]);
        for (j, width) in parts(columns, SIDE) {
            for (i, height) in parts(rows, SIDE) {
                let lhs = two_lists(&packed.lhs, i / LINES, steps);
                let rhs = two_lists(&packed.rhs, j / LINES, steps);
                match &registers {
                    Some(registers) => registers.multiply(lhs, rhs, &mut sums.0),
                    None => multiply(lhs, rhs, &mut sums),
                }
                for (r, sums) in sums.0[..height].iter().enumerate() {
                    add_row(&sums[..width], accumulate, &mut target.row(row + i + r)[column + j..][..width]);
                }
            }
        }
    }

    /// The tiles of two neighbouring blocks of lines.
    fn two_lists(tiles: &[Tile], block: usize, steps: usize) -> [&[Tile]; 2] {
        let (first, second) = tiles[block * steps..][..2 * steps].split_at(steps);
        [first, second]
    }

    #[target_feature(enable = "avx512f")]
    fn add_row(sums: &[f32], accumulate: bool, target: &mut [f32]) {
        if accumulate {
            target.iter_mut().zip(sums).for_each(|(target, sum)| *target += sum);
        } else {
            target.copy_from_slice(sums);
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

    /// Sizes around tiles, blocks and parts; both operands along rows and along columns; gaps between rows.
    #[test]
    fn products_are_those_of_rounded_operands() {
        let sizes = [(1, 1, 1), (3, 5, 2), (16, 16, 32), (17, 31, 33), (33, 70, 15), (130, 20, 100), (20, 530, 70)];
        for unit in Unit::all() {
            for (m, n, k) in sizes.into_iter().chain([(40, 33, 2100)]) {
                for turned in 0..4 {
                    let (a, b, c) = (values(m * k, 1), values(k * n, 2), values(m * (n + 3), 3));
                    let lhs =
                        if turned & 1 == 0 { Matrix::dense(&a, m, k) } else { Matrix::dense(&a, k, m).transposed() };
                    let rhs =
                        if turned & 2 == 0 { Matrix::dense(&b, k, n) } else { Matrix::dense(&b, n, k).transposed() };
                    let at = |x: &Matrix<'_, f32>, i: usize, j: usize| {
                        f64::from(Precision::Bf16.round(x.data[i * x.row_stride + j * x.col_stride]))
                    };
                    for accumulate in [false, true] {
                        let mut y = c.clone();
                        let mut target = MatrixMut::new(&mut y, m, n, n + 3);
                        product(unit, &mut target, accumulate, lhs, rhs);
                        for (i, row) in y.chunks(n + 3).enumerate() {
                            for (j, &y) in row.iter().enumerate() {
                                let before = f64::from(c[i * (n + 3) + j]);
                                let sum: f64 =
                                    if j < n { (0..k).map(|p| at(&lhs, i, p) * at(&rhs, p, j)).sum() } else { 0.0 };
                                let expected = if accumulate || j >= n { before + sum } else { sum };
                                // Each of k sums is rounded to f32, one way as often as the other.
                                let size: f64 = 1.0 + products().map(f64::abs).sum::<f64>();
                                let tolerance = 2f64.powi(-24) * (2.0 + (k as f64).sqrt()) * size;
                                assert!(
                                    (f64::from(y) - expected).abs() <= tolerance,
                                    "{unit:?} {m}×{n}×{k}, turned {turned}, {accumulate}: [{i}, {j}] is {y}, not {expected}"
                                );
                            }
                        }
                    }
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
