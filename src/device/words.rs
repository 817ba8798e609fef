//! Operands of a product in bf16 that are rounded once and read where they lie, by windows that overlap.

use super::huge_pages::huge_pages;
use super::packable::{Packable, instructions};

/// A cache line of words.
#[derive(Debug, Default, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Runs of numbers in bf16, two in a word, behind each other. Memory that was filled once is used again.
#[derive(Debug, Default)]
pub struct Words {
    lines: Vec<Line>,
}

impl Words {
    /// The words.
    pub fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.lines)
    }

    /// Rounds `count` runs of `len` numbers, a multiple of 32: numbers 2·i and 2·i + 1 of a run share a word. `None` stands for
    /// zeros.
    ///
    /// # Panics
    /// If a run is too short or `len` is no such multiple, or the processor has no instructions for bf16: mistakes of this
    /// program's.
    pub fn fill_runs<'a, E: Packable>(&mut self, count: usize, len: usize, runs: impl Fn(usize) -> Option<&'a [E]>) {
        assert!(len.is_multiple_of(32), "runs of {len} numbers");
        let lines = self.resize(count * len / 32);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions, as `resize` asserted.
        #[expect(unsafe_code)]
        unsafe {
            x86::fill_runs(len / 32, runs, lines);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (runs, lines);
    }

    /// Rounds `count` pairs of runs of `len` numbers, a multiple of 16: numbers i of both runs share a word.
    ///
    /// # Panics
    /// As [`Words::fill_runs`].
    pub fn fill_pairs<'a, E: Packable>(
        &mut self,
        count: usize,
        len: usize,
        pairs: impl Fn(usize) -> [Option<&'a [E]>; 2],
    ) {
        assert!(len.is_multiple_of(16), "runs of {len} numbers");
        let lines = self.resize(count * len / 16);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions, as `resize` asserted.
        #[expect(unsafe_code)]
        unsafe {
            x86::fill_pairs(len / 16, pairs, lines);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (pairs, lines);
    }

    fn resize(&mut self, lines: usize) -> &mut [Line] {
        assert!(instructions(), "rounding by instructions that this processor has not");
        if self.lines.capacity() < lines {
            self.lines.reserve_exact(lines - self.lines.len());
            huge_pages(&self.lines);
        }
        self.lines.resize_with(lines, Line::default);
        &mut self.lines
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Line;
    use crate::device::packable::Packable;
    use crate::device::tiles::x86::{paired, store};

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn fill_runs<'a, E: Packable>(
        per_run: usize,
        runs: impl Fn(usize) -> Option<&'a [E]>,
        lines: &mut [Line],
    ) {
        for (number, lines) in lines.chunks_exact_mut(per_run).enumerate() {
            match runs(number) {
                Some(run) => {
                    for (Line(words), run) in lines.iter_mut().zip(run[..32 * per_run].chunks_exact(32)) {
                        // SAFETY: this function has the features.
                        #[expect(unsafe_code)]
                        store(unsafe { E::line(run, 32) }, words);
                    }
                }
                None => lines.fill(Line::default()),
            }
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn fill_pairs<'a, E: Packable>(
        per_run: usize,
        pairs: impl Fn(usize) -> [Option<&'a [E]>; 2],
        lines: &mut [Line],
    ) {
        for (number, lines) in lines.chunks_exact_mut(per_run).enumerate() {
            let both = pairs(number);
            if let [None, None] = both {
                lines.fill(Line::default());
                continue;
            }
            for (at, Line(words)) in lines.iter_mut().enumerate() {
                let parts = both.map(|run| run.map(|run| &run[16 * at..]));
                // SAFETY: this function has the features.
                #[expect(unsafe_code)]
                store(paired(unsafe { E::halves(parts, 16) }), words);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Precision;

    fn bits(value: f32) -> u32 {
        Precision::Bf16.round(value).to_bits() >> 16
    }

    /// Each word by its definition, for runs that are there and runs that are not; memory is used again.
    #[test]
    fn words_hold_the_rounded_numbers_of_their_runs() {
        if !instructions() {
            return;
        }
        let values: Vec<f32> = (0..256u32).map(|i| (i as f32 - 100.3) * 1.001).collect();
        let run = |i: usize| (i % 3 != 1).then(|| &values[16 * i..][..64]);
        let value = |i: usize, at: usize| run(i).map_or(0.0, |run| run[at]);
        let mut words = Words::default();
        for count in [7, 4, 0] {
            words.fill_runs(count, 64, run);
            assert_eq!(words.words().len(), count * 32);
            for (at, &word) in words.words().iter().enumerate() {
                let (i, at) = (at / 32, at % 32 * 2);
                assert_eq!(word, bits(value(i, at)) | bits(value(i, at + 1)) << 16, "run {i}, number {at}");
            }
            words.fill_pairs(count, 48, |i| [run(i), run(i + 1)]);
            assert_eq!(words.words().len(), count * 48);
            for (at, &word) in words.words().iter().enumerate() {
                let (i, at) = (at / 48, at % 48);
                assert_eq!(word, bits(value(i, at)) | bits(value(i + 1, at)) << 16, "pair {i}, number {at}");
            }
        }
    }
}
