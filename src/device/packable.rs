//! Numbers that are packed for products: in bf16, as they are where they are bf16 in memory, or rounded from f32; or exactly, in f32.
//! And how sums are stored.

use super::Element;

/// Numbers of the longest run that is packed, or rounded, at once.
const RUN: usize = 32;

/// The content of the words of an operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbers {
    /// Two numbers in bf16, of neighbouring depths.
    #[default]
    Bf16,
    /// One number in f32.
    F32,
}

impl Numbers {
    /// Numbers in a word.
    pub fn in_word(self) -> usize {
        match self {
            Numbers::Bf16 => 2,
            Numbers::F32 => 1,
        }
    }

    /// Depth of a tile, whose rows are 16 words.
    pub fn depth(self) -> usize {
        16 * self.in_word()
    }
}

/// Numbers that are packed: rounded to bf16, or exactly.
pub trait Packable: Element {
    /// target = sums + bias, stored: as many as the target has, 32 at most.
    ///
    /// # Panics
    /// If the processor has no instructions for bf16: a mistake of this program's.
    fn store_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [Self]);

    /// The first `count` numbers of a run, 16 at most, in f32; zeros behind them.
    ///
    /// # Safety
    /// As [`Packable::line`].
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code)]
    unsafe fn exact(run: &[Self], count: usize) -> std::arch::x86_64::__m512i;

    /// The first `count` numbers of a run, 32 at most, in bf16; zeros behind them.
    ///
    /// # Safety
    /// The processor has those instructions that `instructions` of this module asks for, and the caller is compiled for them.
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code)]
    unsafe fn line(run: &[Self], count: usize) -> std::arch::x86_64::__m512i;

    /// The first `count` numbers of two runs, 16 at most, in bf16: the first run's in the lower half, zeros behind them and for
    /// a run that is missing.
    ///
    /// # Safety
    /// As [`Packable::line`].
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code)]
    unsafe fn halves(runs: [Option<&[Self]>; 2], count: usize) -> std::arch::x86_64::__m512i;
}

#[cfg(not(target_arch = "x86_64"))]
impl Packable for f32 {
    fn store_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [f32]) {
        exact_row(sums, bias, target);
    }
}
#[cfg(not(target_arch = "x86_64"))]
impl Packable for half::bf16 {
    fn store_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [half::bf16]) {
        round_row(sums, bias, target);
    }
}

fn round_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [half::bf16]) {
    assert!(instructions(), "rounding by instructions that this processor has not");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, as was just asserted.
    #[expect(unsafe_code)]
    unsafe {
        x86::round_row(sums, bias, target);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (sums, bias, target);
}

fn exact_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [f32]) {
    assert!(instructions(), "vectors that this processor has not");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, as was just asserted.
    #[expect(unsafe_code)]
    unsafe {
        x86::exact_row(sums, bias, target);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (sums, bias, target);
}

/// True where the processor rounds to bf16 and multiplies it: AVX-512 with bf16.
pub(super) fn instructions() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512bf16");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(target_arch = "x86_64")]
pub(super) mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use half::bf16;

    use super::{Packable, RUN};

    /// The bits of the first `count` lanes.
    fn first(count: usize) -> u16 {
        if count >= 16 { u16::MAX } else { (1 << count) - 1 }
    }

    /// The first `count` numbers of a slice, zeros behind them.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(in crate::device) fn load(from: &[f32], count: usize) -> __m512 {
        assert!(count.min(16) <= from.len());
        // SAFETY: the lanes that are read are inside the slice.
        #[expect(unsafe_code)]
        unsafe {
            _mm512_maskz_loadu_ps(first(count), from.as_ptr())
        }
    }

    /// The first `count` numbers of a run, zeros behind them and for a run that is missing.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load_or_zeros(run: Option<&[f32]>, count: usize) -> __m512 {
        match run {
            Some(run) => load(run, count),
            None => _mm512_setzero_ps(),
        }
    }

    /// 32 numbers rounded to bf16: the first vector's in the lower half.
    #[target_feature(enable = "avx512f,avx512bf16")]
    #[inline]
    pub(in crate::device) fn rounded(low: __m512, high: __m512) -> __m512i {
        // SAFETY: both types are 64 bytes without padding.
        #[expect(unsafe_code)]
        unsafe {
            transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low))
        }
    }

    impl Packable for f32 {
        fn store_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [f32]) {
            super::exact_row(sums, bias, target);
        }
        #[inline(always)]
        #[expect(unsafe_code)]
        unsafe fn exact(run: &[f32], count: usize) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe { _mm512_castps_si512(load(run, count)) }
        }
        #[inline(always)]
        #[expect(unsafe_code)]
        unsafe fn line(run: &[f32], count: usize) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe {
                let upper = if count > 16 { load(&run[16..], count - 16) } else { _mm512_setzero_ps() };
                rounded(load(run, count), upper)
            }
        }
        #[inline(always)]
        #[expect(unsafe_code)]
        unsafe fn halves(runs: [Option<&[f32]>; 2], count: usize) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe {
                // Not by `map`: its closure is not compiled for these vectors, so that each run would be loaded by a call.
                rounded(load_or_zeros(runs[0], count), load_or_zeros(runs[1], count))
            }
        }
    }

    impl Packable for bf16 {
        fn store_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [bf16]) {
            super::round_row(sums, bias, target);
        }
        #[inline(always)]
        #[expect(unsafe_code)]
        unsafe fn exact(run: &[bf16], count: usize) -> __m512i {
            // The upper half of a word.
            // SAFETY: the caller's promise.
            unsafe { _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(sixteen(Some(run), count))) }
        }
        #[inline(always)]
        #[expect(unsafe_code)]
        unsafe fn line(run: &[bf16], count: usize) -> __m512i {
            assert!(count.min(32) <= run.len());
            // SAFETY: what is read is inside the slice; the features are the caller's promise.
            unsafe {
                if count >= 32 {
                    return _mm512_loadu_si512(run.as_ptr().cast());
                }
                _mm512_maskz_loadu_epi16((1 << count) - 1, run.as_ptr().cast())
            }
        }
        #[inline(always)]
        #[expect(unsafe_code)]
        unsafe fn halves(runs: [Option<&[bf16]>; 2], count: usize) -> __m512i {
            // SAFETY: the caller's promise.
            unsafe {
                let (lower, upper) = (sixteen(runs[0], count), sixteen(runs[1], count));
                _mm512_inserti64x4::<1>(_mm512_castsi256_si512(lower), upper)
            }
        }
    }

    /// The first `count` numbers of a run, 16 at most; zeros behind them and for a run that is missing. Whole runs are half a vector:
    /// a whole one would lie across two cache lines.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn sixteen(run: Option<&[bf16]>, count: usize) -> __m256i {
        let Some(run) = run else { return _mm256_setzero_si256() };
        assert!(count.min(16) <= run.len());
        // SAFETY: what is read is inside the slice.
        #[expect(unsafe_code)]
        unsafe {
            if count >= 16 {
                return _mm256_loadu_si256(run.as_ptr().cast());
            }
            _mm512_castsi512_si256(_mm512_maskz_loadu_epi16((1 << count) - 1, run.as_ptr().cast()))
        }
    }

    /// target = sums + bias: as many as the target has, 32 at most.
    #[target_feature(enable = "avx512f")]
    pub(in crate::device) fn exact_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [f32]) {
        for (at, target) in target.chunks_mut(16).enumerate().take(2) {
            let sum = _mm512_add_ps(load(&sums[16 * at..], 16), load(&bias[16 * at..], 16));
            // SAFETY: the lanes that are written are inside the slice.
            #[expect(unsafe_code)]
            unsafe {
                _mm512_mask_storeu_ps(target.as_mut_ptr(), first(target.len()), sum);
            }
        }
    }

    /// target = sums + bias, rounded: as many as the target has, 32 at most.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub(in crate::device) fn round_row(sums: &[f32; RUN], bias: &[f32; RUN], target: &mut [bf16]) {
        let lanes = if target.len() >= 32 { u32::MAX } else { (1 << target.len()) - 1 };
        let sum = |at: usize| _mm512_add_ps(load(&sums[at..], 16), load(&bias[at..], 16));
        // SAFETY: the lanes that are written are inside the slice.
        #[expect(unsafe_code)]
        unsafe {
            _mm512_mask_storeu_epi16(target.as_mut_ptr().cast(), lanes, rounded(sum(0), sum(16)));
        }
    }
}
