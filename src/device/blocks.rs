//! Blocks of 32 × 32 sums of products in bf16: what multiplies, and how it reads operands where they lie.
//!
//! A product walks [`Steps`]: in each it takes a tile of 16 rows of 16 words from both halves of both operands. A word is two
//! numbers in bf16, of neighbouring depths:
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
use super::packable::instructions;
use super::tiles::{LINES, Lines, SIDE, WORDS};

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
    pub(super) fn all() -> impl Iterator<Item = Unit> {
        let avx512 = instructions();
        #[cfg(target_arch = "x86_64")]
        let amx = avx512 && amx::usable();
        #[cfg(not(target_arch = "x86_64"))]
        let amx = false;
        amx.then_some(Unit::Amx).into_iter().chain(avx512.then_some(Unit::Avx512))
    }
}

/// Where the tiles of each step begin in the left and in the right operand's lines, in words.
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
        assert!(Unit::all().any(|own| own == unit), "{unit:?} on a processor without it");
        Multiplier {
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
        for (lines, furthest) in [(left, steps.furthest[0]), (right, steps.furthest[1])] {
            for Lines { words, stride } in lines {
                let needed = furthest + (LINES - 1) * stride + WORDS;
                assert!(steps.offsets.is_empty() || needed <= words.len(), "{needed} words needed, {}", words.len());
            }
        }
        assert!(left[0].stride == left[1].stride && right[0].stride == right[1].stride, "strides of halves");
        #[cfg(target_arch = "x86_64")]
        match &self.registers {
            // SAFETY: every step's tiles lie inside the lines, as was just asserted; the block is the caller's.
            Some(registers) => unsafe { registers.multiply(accumulate, left, right, steps.offsets, place, stride) },
            // SAFETY: the same; the processor has the instructions, as `new` asserted.
            None => unsafe { x86::multiply(accumulate, left, right, steps.offsets, place, stride) },
        }
        #[cfg(not(target_arch = "x86_64"))]
        unreachable!("no unit: {accumulate}, {place:?}, {stride}")
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use crate::device::tiles::{LINES, Lines, WORDS};

    /// 32 × 32 sums of products.
    ///
    /// # Safety
    /// Each step's tiles lie inside the lines; `place` has 32 rows of 32 numbers, `stride` apart.
    #[expect(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) unsafe fn multiply(
        accumulate: bool,
        left: [Lines<'_>; 2],
        right: [Lines<'_>; 2],
        steps: &[[usize; 2]],
        place: *mut f32,
        stride: usize,
    ) {
        const HALF: usize = LINES / 2;
        let columns = right.map(|lines| lines.words.as_ptr());
        for part in 0..4 {
            // SAFETY: eight lines of one of the halves; what the caller promises covers them.
            let (rows, place) = unsafe {
                let lines = left[part / 2];
                (lines.words.as_ptr().add(part % 2 * HALF * lines.stride), place.add(part * HALF * stride))
            };
            let mut sums = [[_mm512_setzero_ps(); 2]; HALF];
            if accumulate {
                for (line, sums) in sums.iter_mut().enumerate() {
                    // SAFETY: a row of the block is two vectors long.
                    *sums = unsafe {
                        let row = place.add(line * stride);
                        [_mm512_loadu_ps(row), _mm512_loadu_ps(row.add(LINES))]
                    };
                }
            }
            for [from, to] in steps {
                for pair in 0..WORDS {
                    // SAFETY: row `pair` of the step's tiles.
                    let columns = columns.map(|words| unsafe { load(words.add(to + pair * right[0].stride)) });
                    for (line, sums) in sums.iter_mut().enumerate() {
                        // SAFETY: word `pair` of row `line` of the step's tile.
                        let word = unsafe { *rows.add(from + line * left[0].stride + pair) };
                        let row = bf16(_mm512_set1_epi32(word.cast_signed()));
                        sums[0] = _mm512_dpbf16_ps(sums[0], row, columns[0]);
                        sums[1] = _mm512_dpbf16_ps(sums[1], row, columns[1]);
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

    /// # Safety
    /// There are 16 words.
    #[expect(unsafe_code)]
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    unsafe fn load(words: *const u32) -> __m512bh {
        // SAFETY: the caller says so.
        bf16(unsafe { _mm512_loadu_si512(words.cast()) })
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
