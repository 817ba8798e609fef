//! Floating-point arithmetic in its common forms (§9.7.3): round to nearest even, subnormals kept. The rest is in `scalar`.
//!
//! NaN results have the bits that the host gives them; the ISA leaves a NaN's payload open. What is `.approx` in the ISA is the
//! exact result rounded here: within its stated error, but not a GPU's bits.

use super::lanes::{binary, ternary, unary};

/// The NaN that arithmetic of f32 gives.
pub(crate) const NAN32: u32 = 0x7FFF_FFFF;
/// The NaN that arithmetic of f64 gives; the ISA names none.
pub(crate) const NAN64: u64 = 0x7FF8_0000_0000_0000;

macro_rules! extremes {
    ($min:ident, $max:ident, $ty:ty, $nan:expr) => {
        /// The smaller one; the other where one is NaN; -0 is below +0.
        #[inline(always)]
        pub(crate) fn $min(a: $ty, b: $ty) -> $ty {
            let smaller = if a < b { a } else { b };
            let zeros = if a == b { <$ty>::from_bits(a.to_bits() | b.to_bits()) } else { smaller };
            let one = if b.is_nan() { a } else { zeros };
            let other = if a.is_nan() { b } else { one };
            if a.is_nan() & b.is_nan() { <$ty>::from_bits($nan) } else { other }
        }

        /// The larger one; the other where one is NaN; -0 is below +0.
        #[inline(always)]
        pub(crate) fn $max(a: $ty, b: $ty) -> $ty {
            let larger = if a > b { a } else { b };
            let zeros = if a == b { <$ty>::from_bits(a.to_bits() & b.to_bits()) } else { larger };
            let one = if b.is_nan() { a } else { zeros };
            let other = if a.is_nan() { b } else { one };
            if a.is_nan() & b.is_nan() { <$ty>::from_bits($nan) } else { other }
        }
    };
}

extremes!(min_f32, max_f32, f32, NAN32);
extremes!(min_f64, max_f64, f64, NAN64);

binary! {
    AddF32(f32, f32) -> f32: |a, b| a + b;
    SubF32(f32, f32) -> f32: |a, b| a - b;
    MulF32(f32, f32) -> f32: |a, b| a * b;
    DivF32(f32, f32) -> f32: |a, b| a / b;
    MinF32(f32, f32) -> f32: min_f32;
    MaxF32(f32, f32) -> f32: max_f32;
    // §9.7.3.6: the sign of the first, the magnitude of the second.
    CopySignF32(f32, f32) -> f32: |a, b| b.copysign(a);
    AddF64(f64, f64) -> f64: |a, b| a + b;
    SubF64(f64, f64) -> f64: |a, b| a - b;
    MulF64(f64, f64) -> f64: |a, b| a * b;
    DivF64(f64, f64) -> f64: |a, b| a / b;
    MinF64(f64, f64) -> f64: min_f64;
    MaxF64(f64, f64) -> f64: max_f64;
    CopySignF64(f64, f64) -> f64: |a, b| b.copysign(a);
}

unary! {
    NegF32(u32) -> u32: |a| a ^ 1 << 31;
    NegF64(u64) -> u64: |a| a ^ 1 << 63;
    AbsF32(u32) -> u32: |a| a & u32::MAX >> 1;
    AbsF64(u64) -> u64: |a| a & u64::MAX >> 1;
    SqrtF32(f32) -> f32: f32::sqrt;
    SqrtF64(f64) -> f64: f64::sqrt;
    RcpF32(f32) -> f32: |a| 1.0 / a;
    RcpF64(f64) -> f64: |a| 1.0 / a;
}

ternary! {
    FmaF32(f32, f32, f32) -> f32: f32::mul_add;
    FmaF64(f64, f64, f64) -> f64: f64::mul_add;
}
