//! Operands of a product that are packed once, rounded to bf16 or exactly, and read where they lie, by windows that overlap.

use super::huge_pages::huge_pages;
use super::packable::{Numbers, Packable, instructions};

/// A cache line of words.
#[derive(Debug, Default, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u32; 16]);

/// Runs of numbers behind each other. Memory that was filled once is used again.
#[derive(Debug, Default)]
pub struct Words {
    lines: Vec<Line>,
}

impl Words {
    /// The words.
    pub fn words(&self) -> &[u32] {
        bytemuck::cast_slice(&self.lines)
    }

    /// Packs `count` runs of `len` numbers, a multiple of 16 words: in bf16, numbers 2·i and 2·i + 1 of a run share a word. `None`
    /// stands for zeros.
    ///
    /// # Panics
    /// If a run is too short or `len` is no such multiple, or the processor has no instructions for bf16: mistakes of this
    /// program's.
    pub fn fill_runs<'a, E: Packable>(
        &mut self,
        numbers: Numbers,
        (count, len): (usize, usize),
        runs: impl Fn(usize) -> Option<&'a [E]>,
    ) {
        let in_line = numbers.depth();
        assert!(len.is_multiple_of(in_line), "runs of {len} numbers");
        let lines = self.resize(count * len / in_line);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the processor has the instructions, as `resize` asserted.
        #[expect(unsafe_code)]
        unsafe {
            x86::fill_runs(numbers, len / in_line, runs, lines);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (numbers, runs, lines);
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
    use crate::device::packable::{Numbers, Packable};
    use crate::device::tiles::x86::{paired, store};

    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(super) fn fill_runs<'a, E: Packable>(
        numbers: Numbers,
        per_run: usize,
        runs: impl Fn(usize) -> Option<&'a [E]>,
        lines: &mut [Line],
    ) {
        let in_line = numbers.depth();
        for (number, lines) in lines.chunks_exact_mut(per_run).enumerate() {
            match runs(number) {
                Some(run) => {
                    for (Line(words), run) in lines.iter_mut().zip(run[..in_line * per_run].chunks_exact(in_line)) {
                        // SAFETY: this function has the features.
                        #[expect(unsafe_code)]
                        let values = unsafe {
                            match numbers {
                                Numbers::Bf16 => E::line(run, in_line),
                                Numbers::F32 => E::exact(run, in_line),
                            }
                        };
                        store(values, words);
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
    fn words_hold_the_numbers_of_their_runs() {
        if !instructions() {
            return;
        }
        let values: Vec<f32> = (0..256u32).map(|i| (i as f32 - 100.3) * 1.001).collect();
        let run = |i: usize| (i % 3 != 1).then(|| &values[16 * i..][..64]);
        let value = |i: usize, at: usize| run(i).map_or(0.0, |run| run[at]);
        let mut words = Words::default();
        for count in [7, 4, 0] {
            words.fill_runs(Numbers::Bf16, (count, 64), run);
            assert_eq!(words.words().len(), count * 32);
            for (at, &word) in words.words().iter().enumerate() {
                let (i, at) = (at / 32, at % 32 * 2);
                assert_eq!(word, bits(value(i, at)) | bits(value(i, at + 1)) << 16, "run {i}, number {at}");
            }
            words.fill_runs(Numbers::F32, (count, 64), run);
            assert_eq!(words.words().len(), count * 64);
            for (at, &word) in words.words().iter().enumerate() {
                assert_eq!(word, value(at / 64, at % 64).to_bits(), "run {}, number {}", at / 64, at % 64);
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
