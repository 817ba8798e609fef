//! Conversions in their common forms (§9.7.9.22); the rest is in `scalar`.

use super::lanes::{binary, unary};
use crate::tensor::numbers;

/// If a source is f64 or the result has 64 bits, NaN gives the smallest integer, or half of the range of an unsigned one;
/// otherwise 0.
#[inline(always)]
fn or_nan<T>(nan: bool, other: T, value: T) -> T {
    if nan { other } else { value }
}

unary! {
    F32ToS32(f32) -> i32: |a| a as i32;
    F32ToU32(f32) -> u32: |a| a as u32;
    F32ToS64(f32) -> i64: |a| or_nan(a.is_nan(), i64::MIN, a as i64);
    F32ToU64(f32) -> u64: |a| or_nan(a.is_nan(), 1 << 63, a as u64);
    F64ToS32(f64) -> i32: |a| or_nan(a.is_nan(), i32::MIN, a as i32);
    F64ToU32(f64) -> u32: |a| or_nan(a.is_nan(), 1 << 31, a as u32);
    F64ToS64(f64) -> i64: |a| or_nan(a.is_nan(), i64::MIN, a as i64);
    F64ToU64(f64) -> u64: |a| or_nan(a.is_nan(), 1 << 63, a as u64);
    S32ToF32(i32) -> f32: |a| a as f32;
    U32ToF32(u32) -> f32: |a| a as f32;
    S64ToF32(i64) -> f32: |a| a as f32;
    U64ToF32(u64) -> f32: |a| a as f32;
    S32ToF64(i32) -> f64: f64::from;
    U32ToF64(u32) -> f64: f64::from;
    U16ToF64(u16) -> f64: f64::from;
    S64ToF64(i64) -> f64: |a| a as f64;
    U64ToF64(u64) -> f64: |a| a as f64;
    F32ToF64(f32) -> f64: f64::from;
    F64ToF32(f64) -> f32: |a| a as f32;
    RoundEvenF32(f32) -> f32: f32::round_ties_even;
    RoundEvenF64(f64) -> f64: f64::round_ties_even;
    FloorF32(f32) -> f32: f32::floor;
    FloorF64(f64) -> f64: f64::floor;
    // §9.7.9.22, cvt.rna.tf32.f32: 10 bits of mantissa, halves away from zero.
    Tf32(f32) -> u32: numbers::to_tf32_rna;
    Bf16ToF32(u32) -> u32: |a| a << 16;
    F16ToF32(u16) -> f32: numbers::from_f16;
    F32ToBf16(f32) -> u16: numbers::to_bf16;
}

binary! {
    // The first source becomes the upper half.
    PackBf16(f32, f32) -> u32: |a, b| numbers::pack(numbers::to_bf16(b), numbers::to_bf16(a));
}
