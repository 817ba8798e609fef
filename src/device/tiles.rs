//! Operands of a product, packed into tiles: rounded to bf16 on their way, or exactly.
//!
//! A tile has 16 lines, which are rows of the left operand or columns of the right one, and 32 steps along the depth of the
//! product, two of them in a 32-bit word. In f32 it has 16 steps, one in a word, and what is said of a pair holds for one step.
//!
//! ```text
//! left:  word 16·line + pair           16 lines of 16 pairs      a line broadcasts its pairs
//! right: word 16·pair + line           16 pairs of 16 lines      a vector is a pair of steps of 16 columns
//! ```
//!
//! What lies outside an operand is zero.

use super::huge_pages::huge_pages;
use super::packable::{Numbers, Packable, instructions};
use super::parallel::{ParallelSliceMut, Parts};

/// Words of a tile's row.
pub(super) const WORDS: usize = 16;
/// Lines of a tile.
pub(super) const LINES: usize = 16;
/// Steps of a tile along the depth, in bf16.
pub(super) const STEPS: usize = 32;
/// Lines of a block of sums: two tiles.
pub(super) const SIDE: usize = 2 * LINES;

/// 16 lines of an operand: row i of a step's tile begins at word `i * stride` from where the step begins.
#[derive(Debug, Clone, Copy)]
pub struct Lines<'a> {
    /// The words, from the first step's first row on.
    pub words: &'a [u32],
    /// Words from a row to the next.
    pub stride: usize,
}

/// 16 rows of 16 words.
#[derive(Debug, Default, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
pub(super) struct Tile(pub(super) [[u32; WORDS]; 16]);

impl Tile {
    /// Turns it: word 16·i + j becomes word 16·j + i.
    ///
    /// # Panics
    /// If the processor has no instructions for it: a mistake of this program's.
    pub(super) fn turn(&mut self) {
        assert!(instructions(), "turning by instructions that this processor has not");
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions, as was just asserted.
        #[expect(unsafe_code)]
        unsafe {
            x86::turn(self);
        }
    }
}

/// An operand of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Its lines are rows.
    Left,
    /// Its lines are columns.
    Right,
}

/// An operand in tiles: those of 16 lines behind each other, by their steps. Memory that was filled once is used again.
#[derive(Debug, Default)]
pub struct Packed {
    tiles: Vec<Tile>,
    lines: usize,
    depth: usize,
    numbers: Numbers,
}

impl Packed {
    /// Holds such numbers from now on; in bf16, unless this says otherwise.
    pub fn hold(&mut self, numbers: Numbers) -> &mut Self {
        self.numbers = numbers;
        self
    }
    /// Lines.
    pub(super) fn lines(&self) -> usize {
        self.lines
    }
    /// Steps.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// Two neighbouring blocks of 16 lines, of which the first begins with `line`, from their tile number `first` on. Tiles lie
    /// behind each other.
    pub fn two_blocks(&self, line: usize, first: usize) -> [Lines<'_>; 2] {
        let all = self.depth.div_ceil(self.numbers.depth());
        let (upper, lower) = self.tiles[line / LINES * all..][..2 * all].split_at(all);
        [upper, lower].map(|tiles| Lines { words: bytemuck::cast_slice(&tiles[first.min(all)..]), stride: WORDS })
    }

    /// Room for `lines` lines of `depth` steps, an even number of blocks: a block of sums takes two.
    fn resize(&mut self, lines: usize, depth: usize) -> &mut [Tile] {
        (self.lines, self.depth) = (lines, depth);
        let needed = lines.next_multiple_of(SIDE) / LINES * depth.div_ceil(self.numbers.depth());
        if self.tiles.len() < needed {
            self.tiles.reserve_exact(needed - self.tiles.len());
            huge_pages(&self.tiles);
            self.tiles.resize_with(needed, Tile::default);
        }
        &mut self.tiles[..needed]
    }

    /// Packs what lies along its steps: `runs(step)(line)` has the numbers of a line from a step on, a tile's depth or as many as
    /// there are; `None` stands for zeros. `step` is a multiple of a tile's depth.
    ///
    /// # Panics
    /// If a run is too short, or the processor has no instructions for bf16: mistakes of this program's.
    pub fn fill_along<'a, E: Packable, R: Fn(usize) -> Option<&'a [E]>>(
        &mut self,
        side: Side,
        (lines, depth): (usize, usize),
        runs: impl Fn(usize) -> R,
    ) {
        let (numbers, steps) = (self.numbers, self.numbers.depth());
        let all = depth.div_ceil(steps);
        let tiles = self.resize(lines, depth);
        for step in 0..all {
            let runs = runs(step * steps);
            for (block, tiles) in tiles.chunks_exact_mut(all).enumerate() {
                let size = (lines.saturating_sub(block * LINES), depth - step * steps);
                pack_along((numbers, side), size, |line| runs(block * LINES + line), &mut tiles[step]);
            }
        }
    }

    /// The same on all threads of the current pool.
    ///
    /// # Panics
    /// As [`Packed::fill_along`].
    pub fn fill_along_by_all<'a, E: Packable, R: Fn(usize) -> Option<&'a [E]>>(
        &mut self,
        side: Side,
        (lines, depth): (usize, usize),
        runs: impl Fn(usize) -> R + Sync,
    ) {
        let (numbers, steps) = (self.numbers, self.numbers.depth());
        let all = depth.div_ceil(steps).max(1);
        self.resize(lines, depth).par_chunks_exact_mut(all).enumerate().for_each(|(block, tiles)| {
            for (step, tile) in tiles.iter_mut().enumerate() {
                let (runs, size) = (runs(step * steps), (lines.saturating_sub(block * LINES), depth - step * steps));
                pack_along((numbers, side), size, |line| runs(block * LINES + line), tile);
            }
        });
    }

    /// Packs what lies across its steps: `runs(line)(step)` has the numbers of a step from a line on, 32 or as many as there are;
    /// `None` stands for zeros. `line` is a multiple of 32.
    ///
    /// # Panics
    /// As [`Packed::fill_along`].
    pub fn fill_across<'a, E: Packable, R: Fn(usize) -> Option<&'a [E]>>(
        &mut self,
        side: Side,
        (lines, depth): (usize, usize),
        runs: impl Fn(usize) -> R,
    ) {
        let numbers = self.numbers;
        let all = depth.div_ceil(numbers.depth()).max(1);
        for (block, tiles) in self.resize(lines, depth).chunks_exact_mut(2 * all).enumerate() {
            pack_blocks_across((numbers, side), (lines, depth), block * SIDE, runs(block * SIDE), tiles);
        }
    }

    /// The same on all threads of the current pool.
    ///
    /// # Panics
    /// As [`Packed::fill_along`].
    pub fn fill_across_by_all<'a, E: Packable, R: Fn(usize) -> Option<&'a [E]>>(
        &mut self,
        side: Side,
        (lines, depth): (usize, usize),
        runs: impl Fn(usize) -> R + Sync,
    ) {
        let numbers = self.numbers;
        let all = depth.div_ceil(numbers.depth()).max(1);
        self.resize(lines, depth).par_chunks_exact_mut(2 * all).enumerate().for_each(|(block, tiles)| {
            pack_blocks_across((numbers, side), (lines, depth), block * SIDE, runs(block * SIDE), tiles);
        });
    }
}

/// The tiles of two neighbouring blocks of lines, from the runs of their steps.
fn pack_blocks_across<'a, E: Packable>(
    (numbers, side): (Numbers, Side),
    (lines, depth): (usize, usize),
    line: usize,
    runs: impl Fn(usize) -> Option<&'a [E]>,
    tiles: &mut [Tile],
) {
    let (first, second) = tiles.split_at_mut(tiles.len() / 2);
    for (number, tiles) in first.iter_mut().zip(second).enumerate() {
        let step = number * numbers.depth();
        pack_across((numbers, side), (lines - line, depth - step), |own| runs(step + own), tiles);
    }
}

/// A tile from the runs of its lines; `rest` is how many lines and steps there are from its first on.
fn pack_along<'a, E: Packable>(
    what: (Numbers, Side),
    rest: (usize, usize),
    runs: impl Fn(usize) -> Option<&'a [E]>,
    tile: &mut Tile,
) {
    assert!(instructions(), "packing for instructions that this processor has not");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, as was just asserted.
    #[expect(unsafe_code)]
    unsafe {
        x86::pack_along(what, rest, runs, tile);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (what, rest, runs, tile);
}

/// Two tiles of neighbouring lines from the runs of their steps.
fn pack_across<'a, E: Packable>(
    what: (Numbers, Side),
    rest: (usize, usize),
    runs: impl Fn(usize) -> Option<&'a [E]>,
    tiles: (&mut Tile, &mut Tile),
) {
    assert!(instructions(), "packing for instructions that this processor has not");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, as was just asserted.
    #[expect(unsafe_code)]
    unsafe {
        x86::pack_across(what, rest, runs, tiles);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (what, rest, runs, tiles);
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;

    use super::{LINES, Side, Tile};
    use crate::device::packable::{Numbers, Packable};

    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(in crate::device) fn store(values: __m512i, words: &mut [u32; 16]) {
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

    /// 16 words, each of the same number of both halves: the lower one's in its lower half.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(in crate::device) fn paired(halves: __m512i) -> __m512i {
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
        _mm512_permutexvar_epi16(order, halves)
    }

    /// A tile of a line after the other.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[inline]
    pub(super) fn pack_along<'a, E: Packable>(
        (numbers, side): (Numbers, Side),
        (lines, depth): (usize, usize),
        runs: impl Fn(usize) -> Option<&'a [E]>,
        tile: &mut Tile,
    ) {
        for (line, words) in tile.0.iter_mut().enumerate() {
            let run = if line < lines { runs(line) } else { None };
            let values = match run {
                // SAFETY: this function has the features.
                #[expect(unsafe_code)]
                Some(run) => unsafe {
                    match numbers {
                        Numbers::Bf16 => E::line(run, depth),
                        Numbers::F32 => E::exact(run, depth),
                    }
                },
                None => _mm512_setzero_si512(),
            };
            store(values, words);
        }
        if side == Side::Right {
            turn(tile);
        }
    }

    /// Two tiles of neighbouring lines, from runs of their steps.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[inline]
    pub(super) fn pack_across<'a, E: Packable>(
        (numbers, side): (Numbers, Side),
        size: (usize, usize),
        runs: impl Fn(usize) -> Option<&'a [E]>,
        (first, second): (&mut Tile, &mut Tile),
    ) {
        match numbers {
            Numbers::Bf16 => pairs_across(size, runs, (first, second)),
            Numbers::F32 => steps_across(size, runs, (first, second)),
        }
        if side == Side::Left {
            turn(first);
            turn(second);
        }
    }

    /// A step after the other.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[inline]
    fn steps_across<'a, E: Packable>(
        (lines, depth): (usize, usize),
        runs: impl Fn(usize) -> Option<&'a [E]>,
        (first, second): (&mut Tile, &mut Tile),
    ) {
        for (step, (first, second)) in first.0.iter_mut().zip(&mut second.0).enumerate() {
            let run = if step < depth { runs(step) } else { None };
            // SAFETY: this function has the features.
            #[expect(unsafe_code)]
            let exact =
                |run: Option<&[E]>, count| unsafe { run.map_or(_mm512_setzero_si512(), |run| E::exact(run, count)) };
            store(exact(run, lines), first);
            let far = run.filter(|_| lines > LINES).map(|run| &run[LINES..]);
            store(exact(far, lines.saturating_sub(LINES)), second);
        }
    }

    /// A pair of steps after the other.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    #[inline]
    fn pairs_across<'a, E: Packable>(
        (lines, depth): (usize, usize),
        runs: impl Fn(usize) -> Option<&'a [E]>,
        (first, second): (&mut Tile, &mut Tile),
    ) {
        for (pair, (first, second)) in first.0.iter_mut().zip(&mut second.0).enumerate() {
            // Two steps of 16 lines, and of the next 16.
            let near = [2 * pair, 2 * pair + 1].map(|step| if step < depth { runs(step) } else { None });
            // SAFETY: this function has the features.
            #[expect(unsafe_code)]
            let near_words = unsafe { E::halves(near, lines) };
            store(paired(near_words), first);
            let far_words = if lines > LINES {
                let far = near.map(|run| run.map(|run| &run[LINES..]));
                // SAFETY: the same.
                #[expect(unsafe_code)]
                unsafe {
                    E::halves(far, lines - LINES)
                }
            } else {
                _mm512_setzero_si512()
            };
            store(paired(far_words), second);
        }
    }

    /// Turns a tile: word 16·i + j becomes word 16·j + i.
    #[target_feature(enable = "avx512f")]
    pub(super) fn turn(tile: &mut Tile) {
        let words = &mut tile.0;
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
}
