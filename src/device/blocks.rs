//! Blocks of 32 × 32 sums of products in bf16 or f32: what multiplies, and how it reads operands where they lie.
//!
//! A product walks [`Steps`]: in each it takes a tile of 16 rows of 16 words from both halves of both operands. A word is two
//! numbers in bf16, of neighbouring depths, or one in f32:
//!
//! ```text
//! left:  row = line, word = pair        16 lines of 16 pairs      a line broadcasts its pairs
//! right: row = pair, word = line        16 pairs of 16 lines      a vector is a pair of depths of 16 columns
//! ```
//!
//! Rows of a tile lie a fixed stride apart, and a table says where each step's tile begins. So operands that are packed into tiles
//! are read like images whose windows overlap.

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::matrix::MatrixMut;
use super::packable::{Numbers, instructions};
use super::tiles::{LINES, Lines, SIDE, WORDS};

/// The part of the processor that multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Intel's tile registers.
    Amx,
    /// AVX-512 with bf16.
    Avx512,
    /// AVX-512 in f32.
    Avx512F32,
}

impl Unit {
    /// The best for bf16 that this processor has; `None` where it has neither, and f32 does the work.
    pub fn best() -> Option<Unit> {
        Unit::all().next()
    }

    /// The unit that multiplies in f32; `None` where the processor has no unit for that, and crate `gemm` does the work. Asks for the same
    /// instructions as bf16, by which operands are packed.
    pub fn exact() -> Option<Unit> {
        instructions().then_some(Unit::Avx512F32)
    }

    /// The numbers that it multiplies.
    pub fn numbers(self) -> Numbers {
        match self {
            Unit::Amx | Unit::Avx512 => Numbers::Bf16,
            Unit::Avx512F32 => Numbers::F32,
        }
    }

    /// True where lines and rows may begin anywhere ([`Multiplier::sums_of_lines`], [`Multiplier::multiply_rows`]); tile registers
    /// read them a fixed stride apart.
    pub fn reads_anywhere(self) -> bool {
        self != Unit::Amx
    }

    /// All for bf16 that this processor has, the best first.
    pub(super) fn all() -> impl Iterator<Item = Unit> {
        let avx512 = instructions();
        #[cfg(target_arch = "x86_64")]
        let amx = avx512 && amx::usable();
        #[cfg(not(target_arch = "x86_64"))]
        let amx = false;
        amx.then_some(Unit::Amx).into_iter().chain(avx512.then_some(Unit::Avx512))
    }
}

/// The places where the tiles of each step begin in the left and in the right operand's lines, in words.
#[derive(Debug, Clone, Copy)]
pub struct Steps<'a> {
    offsets: &'a [[usize; 2]],
    furthest: [usize; 2],
}

impl<'a> Steps<'a> {
    /// The steps of a table.
    pub fn new(offsets: &'a [[usize; 2]]) -> Self {
        let furthest = [0, 1].map(|side| offsets.iter().map(|step| step[side]).max().unwrap_or(0));
        Steps { offsets, furthest }
    }
}

/// A unit, ready to multiply on the thread that made it.
#[derive(Debug)]
pub struct Multiplier {
    unit: Unit,
    #[cfg(target_arch = "x86_64")]
    registers: Option<amx::Registers>,
}

/// A block of sums, which begins a cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Sums(pub [[f32; SIDE]; SIDE]);

impl Default for Sums {
    fn default() -> Self {
        Sums([[0.0; SIDE]; SIDE])
    }
}

impl Multiplier {
    /// Takes the unit.
    ///
    /// # Panics
    /// If this processor has not got it: a mistake of this program's.
    pub fn new(unit: Unit) -> Multiplier {
        let has = Unit::all().chain(Unit::exact()).any(|own| own == unit);
        assert!(has, "{unit:?} on a processor without it");
        Multiplier {
            unit,
            #[cfg(target_arch = "x86_64")]
            registers: (unit == Unit::Amx).then(amx::Registers::configure),
        }
    }

    /// target[row .., column ..] (+)= left · right, a block of at most 32 × 32 sums; what reaches beyond the target is left out.
    ///
    /// # Panics
    /// If lines are shorter than their steps, or the block begins outside the target: mistakes of this program's.
    pub fn multiply(
        &self,
        accumulate: bool,
        (left, right): ([Lines<'_>; 2], [Lines<'_>; 2]),
        steps: Steps<'_>,
        target: &mut MatrixMut<'_, f32>,
        (row, column): (usize, usize),
    ) {
        let (rows, columns) = (SIDE.min(target.rows - row), SIDE.min(target.cols - column));
        if (rows, columns) == (SIDE, SIDE) {
            assert!(row + SIDE <= target.rows && column + SIDE <= target.cols);
            let place = &mut target.row(row)[column..];
            let (place, stride) = (place.as_mut_ptr(), target.row_stride);
            // SAFETY: the block lies inside the target, whose rows stand a stride apart and which nobody else may write.
            #[expect(unsafe_code)]
            return unsafe { self.multiply_at(accumulate, left, right, steps, place, stride) };
        }
        let mut sums = Sums::default();
        self.sums((left, right), steps, &mut sums);
        for (line, sums) in sums.0.iter().enumerate().take(rows) {
            let target = &mut target.row(row + line)[column..][..columns];
            if accumulate {
                target.iter_mut().zip(sums).for_each(|(target, sum)| *target += sum);
            } else {
                target.copy_from_slice(&sums[..columns]);
            }
        }
    }

    /// sums = left · right.
    ///
    /// # Panics
    /// If lines are shorter than their steps: a mistake of this program's.
    pub fn sums(&self, (left, right): ([Lines<'_>; 2], [Lines<'_>; 2]), steps: Steps<'_>, sums: &mut Sums) {
        // SAFETY: the sums are 32 rows of 32 numbers.
        #[expect(unsafe_code)]
        unsafe {
            self.multiply_at(false, left, right, steps, sums.0.as_mut_ptr().cast(), SIDE);
        }
    }

    /// sums = left · right. Line i of the left operand begins at word `lines[i]`.
    ///
    /// # Panics
    /// If lines are shorter than their steps, or the unit does not read anywhere: mistakes of this program's.
    pub fn sums_of_lines(
        &self,
        (words, lines): (&[u32], &[u32; SIDE]),
        right: [Lines<'_>; 2],
        steps: Steps<'_>,
        sums: &mut Sums,
    ) {
        assert!(self.unit.reads_anywhere());
        let last = lines.iter().max().map_or(0, |&line| line as usize);
        assert!(last + steps.furthest[0] + WORDS <= words.len(), "a line ends behind the {} words", words.len());
        assert_tiles(right, steps, 1);
        // SAFETY: every step lies inside the lines and the tiles, as was just asserted; the processor has the instructions, as `new`
        // asserted; the sums are 32 rows of 32 numbers.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code)]
        unsafe {
            let (left, place) = ((words.as_ptr(), lines), sums.0.as_mut_ptr().cast());
            match self.unit.numbers() {
                Numbers::Bf16 => x86::multiply_lines::<false>(left, right, steps.offsets, place, SIDE),
                Numbers::F32 => x86::multiply_lines::<true>(left, right, steps.offsets, place, SIDE),
            }
        }
    }

    /// target[row .., column ..] (+)= left · right, a block of 32 × 32 sums.
    /// Row j of the right operand, which is its numbers of depth j or of the j-th pair of depths, begins at word `rows[j]`.
    ///
    /// # Panics
    /// If rows or lines are too short, or too few, the block lies outside the target, or the unit does not read anywhere: mistakes
    /// of this program's.
    pub fn multiply_rows(
        &self,
        accumulate: bool,
        left: [Lines<'_>; 2],
        (words, rows): (&[u32], &[u32]),
        steps: Steps<'_>,
        target: &mut MatrixMut<'_, f32>,
        (row, column): (usize, usize),
    ) {
        assert!(self.unit.reads_anywhere());
        let last = rows.iter().max().map_or(0, |&row| row as usize);
        assert!(last + SIDE <= words.len(), "a row ends behind the {} words", words.len());
        assert!(steps.offsets.is_empty() || steps.furthest[1] + WORDS <= rows.len(), "{} rows", rows.len());
        assert_tiles(left, steps, 0);
        // Sums come and go a few steps at a time: here, where no two of their rows fall on one line of the cache.
        let mut sums = Sums::default();
        for (line, sums) in sums.0.iter_mut().enumerate().filter(|_| accumulate) {
            sums.copy_from_slice(&target.row(row + line)[column..column + SIDE]);
        }
        // SAFETY: every step lies inside the lines and the rows, as was just asserted; the processor has the instructions, as `new`
        // asserted; the sums are 32 rows of 32 numbers.
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code)]
        unsafe {
            let (right, place) = ((words.as_ptr(), rows), sums.0.as_mut_ptr().cast());
            match self.unit.numbers() {
                Numbers::Bf16 => x86::multiply_rows::<false>(accumulate, left, right, steps.offsets, place, SIDE),
                Numbers::F32 => x86::multiply_rows::<true>(accumulate, left, right, steps.offsets, place, SIDE),
            }
        }
        for (line, sums) in sums.0.iter().enumerate() {
            target.row(row + line)[column..column + SIDE].copy_from_slice(sums);
        }
    }

    /// # Safety
    /// The 32 rows of 32 numbers at `place`, `stride` apart, are this caller's to write; they are read where it accumulates.
    #[expect(unsafe_code)]
    unsafe fn multiply_at(
        &self,
        accumulate: bool,
        left: [Lines<'_>; 2],
        right: [Lines<'_>; 2],
        steps: Steps<'_>,
        place: *mut f32,
        stride: usize,
    ) {
        assert_tiles(left, steps, 0);
        assert_tiles(right, steps, 1);
        assert!(left[0].stride == left[1].stride && right[0].stride == right[1].stride, "strides of halves");
        assert_ne!(self.unit, Unit::Avx512F32, "tiles of bf16");
        let offsets = steps.offsets;
        // SAFETY: every step's tiles lie inside the lines, as was just asserted; the block is the caller's; the processor has the
        // instructions, as `new` asserted.
        #[cfg(target_arch = "x86_64")]
        unsafe {
            match &self.registers {
                Some(registers) => registers.multiply(accumulate, left, right, offsets, place, stride),
                None => x86::multiply_pairs(accumulate, left, right, offsets, place, stride),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("no unit: {:?}, {accumulate}, {offsets:?}, {place:?}, {stride}", self.unit)
    }
}

/// Each step's tiles of one side lie inside the lines.
fn assert_tiles(halves: [Lines<'_>; 2], steps: Steps<'_>, side: usize) {
    for Lines { words, stride } in halves {
        let needed = steps.furthest[side] + (LINES - 1) * stride + WORDS;
        assert!(steps.offsets.is_empty() || needed <= words.len(), "{needed} words needed, {}", words.len());
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use crate::device::tiles::{LINES, Lines, SIDE, WORDS};

    /// Steps whose tiles stay in the first-level cache: 8 KB of either operand.
    const CACHED: usize = 4;

    /// 32 × 32 sums of products, a few steps at a time for all lines: without, each eight lines would read all columns from
    /// the second-level cache. The order of a sum is that of its steps in any case.
    ///
    /// # Safety
    /// As [`multiply`].
    #[expect(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    unsafe fn multiply_in_parts<const F32: bool>(
        accumulate: bool,
        left: impl Fn(usize) -> *const u32,
        right: impl Fn(usize, usize) -> [*const u32; 2],
        steps: &[[usize; 2]],
        place: *mut f32,
        stride: usize,
    ) {
        let (first, rest) = steps.split_at(CACHED.min(steps.len()));
        // SAFETY: the caller's promise, for some of the steps.
        unsafe {
            multiply::<F32>(accumulate, &left, &right, first, place, stride);
            for steps in rest.chunks(CACHED) {
                multiply::<F32>(true, &left, &right, steps, place, stride);
            }
        }
    }

    /// The rows of 16 lines each of both halves.
    #[inline(always)]
    fn lines(halves: [Lines<'_>; 2]) -> impl Fn(usize) -> *const u32 {
        #[inline(always)]
        move |line| halves[line / LINES].words.as_ptr().wrapping_add(line % LINES * halves[line / LINES].stride)
    }

    /// The rows of both halves' tiles, from where a step's tiles begin.
    #[inline(always)]
    fn rows(halves: [Lines<'_>; 2]) -> impl Fn(usize, usize) -> [*const u32; 2] {
        #[inline(always)]
        move |to, row| {
            let [upper, lower] = halves;
            let row = |half: Lines<'_>| half.words.as_ptr().wrapping_add(to + row * half.stride);
            [row(upper), row(lower)]
        }
    }

    /// 32 × 32 sums of products, of words that are one number in f32, or else two in bf16. Line i of the left operand begins at
    /// `left(i)`, and the words of row j of a step whose tiles begin at `to` at `right(to, j)`, in two halves.
    ///
    /// # Safety
    /// Each step's tiles can be read there; `place` has 32 rows of 32 numbers, `stride` apart.
    #[expect(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    unsafe fn multiply<const F32: bool>(
        accumulate: bool,
        left: impl Fn(usize) -> *const u32,
        right: impl Fn(usize, usize) -> [*const u32; 2],
        steps: &[[usize; 2]],
        place: *mut f32,
        stride: usize,
    ) {
        const PART: usize = LINES / 2;
        for part in 0..4 {
            let rows: [*const u32; PART] = std::array::from_fn(|line| left(part * PART + line));
            // SAFETY: eight rows of the block.
            let place = unsafe { place.add(part * PART * stride) };
            let mut sums = [[_mm512_setzero_ps(); 2]; PART];
            if accumulate {
                for (line, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: a row of the block is two vectors long.
                    *sums = unsafe {
                        let row = place.add(line * stride);
                        [_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(LINES))]
                    };
                }
            }
            for &[from, to] in steps {
                for word in 0..WORDS {
                    let [upper, lower] = right(to, word);
                    // Not by `map`: what is no function of this module's has not its features, and its closures are not inlined everywhere.
                    // SAFETY: a row of the step's tiles.
                    let columns = unsafe { [_mm512_loadu_si512(upper.cast()), _mm512_loadu_si512(lower.cast())] };
                    for (row, sums) in rows.iter().zip(&mut sums) {
                        // SAFETY: a word of the line in the step's tile; this function has the features.
                        unsafe {
                            let row = _mm512_set1_epi32((*row.add(from + word)).cast_signed());
                            if F32 {
                                let row = _mm512_castsi512_ps(row);
                                sums[0] = _mm512_fmadd_ps(row, _mm512_castsi512_ps(columns[0]), sums[0]);
                                sums[1] = _mm512_fmadd_ps(row, _mm512_castsi512_ps(columns[1]), sums[1]);
                            } else {
                                sums[0] = _mm512_dpbf16_ps(sums[0], bf16(row), bf16(columns[0]));
                                sums[1] = _mm512_dpbf16_ps(sums[1], bf16(row), bf16(columns[1]));
                            }
                        }
                    }
                }
            }
            for (line, sums) in sums.iter().enumerate() {
                // SAFETY: a row of the block is two vectors long.
                unsafe {
                    let row = place.add(line * stride);
                    _mm512_storeu_ps(row, sums[0]);
                    _mm512_storeu_ps(row.add(LINES), sums[1]);
                }
            }
        }
    }

    /// 32 × 32 sums of products in bf16, of tiles in halves.
    ///
    /// # Safety
    /// As [`multiply`].
    #[expect(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn multiply_pairs(
        accumulate: bool,
        left: [Lines<'_>; 2],
        right: [Lines<'_>; 2],
        steps: &[[usize; 2]],
        place: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { multiply::<false>(accumulate, lines(left), rows(right), steps, place, stride) }
    }

    /// The same of lines that begin anywhere.
    ///
    /// # Safety
    /// As [`multiply`].
    #[expect(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn multiply_lines<const F32: bool>(
        left: (*const u32, &[u32; SIDE]),
        right: [Lines<'_>; 2],
        steps: &[[usize; 2]],
        place: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            multiply_in_parts::<F32>(
                false,
                #[inline(always)]
                |line: usize| left.0.wrapping_add(left.1[line] as usize),
                rows(right),
                steps,
                place,
                stride,
            );
        }
    }

    /// The same of rows of the right operand that begin anywhere.
    ///
    /// # Safety
    /// As [`multiply`]; there is a row for each word of the steps.
    #[expect(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn multiply_rows<const F32: bool>(
        accumulate: bool,
        left: [Lines<'_>; 2],
        (words, starts): (*const u32, &[u32]),
        steps: &[[usize; 2]],
        place: *mut f32,
        stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            multiply_in_parts::<F32>(
                accumulate,
                lines(left),
                #[inline(always)]
                |to: usize, row: usize| {
                    let first = words.wrapping_add(*starts.get_unchecked(to + row) as usize);
                    [first, first.wrapping_add(LINES)]
                },
                steps,
                place,
                stride,
            );
        }
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    fn bf16(words: __m512i) -> __m512bh {
        // SAFETY: both types are 64 bytes without padding.
        #[expect(unsafe_code)]
        unsafe {
            transmute::<__m512i, __m512bh>(words)
        }
    }
}
