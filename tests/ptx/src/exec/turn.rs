//! Elements of vectors in memory, lane by lane, into registers, where each element's lanes lie side by side.

use super::LANES;

/// Four words of each lane into four slots.
///
/// # Safety
/// The words can be read, and the slots written.
#[inline(always)]
pub(crate) unsafe fn turn_fours(place: impl Fn(usize) -> *const f32, slots: [*mut f32; 4]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE, and this one AVX-512 where it is asked for; the rest is the caller's promise.
    unsafe {
        if is_x86_feature_detected!("avx512f") {
            return turn_sixteens(place, slots);
        }
        use std::arch::x86_64::{
            _mm_loadu_ps, _mm_movehl_ps, _mm_movelh_ps, _mm_storeu_ps, _mm_unpackhi_ps, _mm_unpacklo_ps,
        };
        for four in (0..LANES).step_by(4) {
            let row = |j: usize| _mm_loadu_ps(place(four + j));
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
            _mm_storeu_ps(slots[0].add(four), _mm_movelh_ps(ab, cd));
            _mm_storeu_ps(slots[1].add(four), _mm_movehl_ps(cd, ab));
            _mm_storeu_ps(slots[2].add(four), _mm_movelh_ps(ab_high, cd_high));
            _mm_storeu_ps(slots[3].add(four), _mm_movehl_ps(cd_high, ab_high));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (place, slots);
        unreachable!("x86-64 alone");
    }
}

/// As [`turn_fours`], sixteen lanes at a time. Slots are written as whole vectors, as instructions read them: a read that finds its bytes
/// in several writes waits until these have left the processor.
///
/// # Safety
/// As of [`turn_fours`], and the processor has AVX-512.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn turn_sixteens(place: impl Fn(usize) -> *const f32, slots: [*mut f32; 4]) {
    use std::arch::x86_64::{
        __m512, _mm_loadu_ps, _mm512_castps128_ps512, _mm512_insertf32x4, _mm512_shuffle_ps, _mm512_storeu_ps,
        _mm512_unpackhi_ps, _mm512_unpacklo_ps,
    };
    for sixteen in (0..LANES).step_by(16) {
        // SAFETY: the caller's promise.
        unsafe {
            // Row j has lanes j, j + 4, j + 8 and j + 12: instructions turn each quarter of a vector on its own.
            let row = |j: usize| -> __m512 {
                let quarter = |k: usize| _mm_loadu_ps(place(sixteen + 4 * k + j));
                let row = _mm512_castps128_ps512(quarter(0));
                let row = _mm512_insertf32x4::<1>(row, quarter(1));
                let row = _mm512_insertf32x4::<2>(row, quarter(2));
                _mm512_insertf32x4::<3>(row, quarter(3))
            };
            let (a, b, c, d) = (row(0), row(1), row(2), row(3));
            let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
            _mm512_storeu_ps(slots[0].add(sixteen), _mm512_shuffle_ps::<0b01_00_01_00>(ab, cd));
            _mm512_storeu_ps(slots[1].add(sixteen), _mm512_shuffle_ps::<0b11_10_11_10>(ab, cd));
            _mm512_storeu_ps(slots[2].add(sixteen), _mm512_shuffle_ps::<0b01_00_01_00>(ab_high, cd_high));
            _mm512_storeu_ps(slots[3].add(sixteen), _mm512_shuffle_ps::<0b11_10_11_10>(ab_high, cd_high));
        }
    }
}

/// Two double words of each lane into two slots.
///
/// # Safety
/// The double words can be read, and the slots written.
#[inline(always)]
pub(crate) unsafe fn turn_twos(place: impl Fn(usize) -> *const f64, slots: [*mut f64; 2]) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has SSE2; the rest is the caller's promise.
    unsafe {
        use std::arch::x86_64::{_mm_loadu_pd, _mm_storeu_pd, _mm_unpackhi_pd, _mm_unpacklo_pd};
        for two in (0..LANES).step_by(2) {
            let (a, b) = (_mm_loadu_pd(place(two)), _mm_loadu_pd(place(two + 1)));
            _mm_storeu_pd(slots[0].add(two), _mm_unpacklo_pd(a, b));
            _mm_storeu_pd(slots[1].add(two), _mm_unpackhi_pd(a, b));
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (place, slots);
        unreachable!("x86-64 alone");
    }
}
