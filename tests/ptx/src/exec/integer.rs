//! Integer arithmetic (§9.7.1) and logic (§9.7.8).

use super::lanes::{binary, map1, map2, ternary, unary};
use super::{Block, Decoded, Flow, Handler, LANES, Warp};

/// The quotient of 32-bit integers by way of f64, which vectors have: the distance of a quotient that is no integer to the next
/// one is at least 1/|b|, and the rounding's error at most 2^-21/|b|, so that cutting off is right. By zero: all ones; the ISA says
/// that the result is unspecified.
#[inline(always)]
fn div_s32(a: i32, b: i32) -> i32 {
    // By -1 the quotient may be 2^31.
    let special = (b == 0) | (b == -1);
    let quotient = f64::from(a) / f64::from(if special { 1 } else { b });
    // SAFETY: the quotient is no NaN, and lies between those of -2^31 and 2^31 - 1 by 1.
    let quotient = unsafe { quotient.to_int_unchecked::<i32>() };
    let by_special = if b == 0 { -1 } else { a.wrapping_neg() };
    if special { by_special } else { quotient }
}

#[inline(always)]
fn div_u32(a: u32, b: u32) -> u32 {
    let quotient = f64::from(a) / f64::from(if b == 0 { 1 } else { b });
    // SAFETY: the quotient is no NaN, at least 0 and at most `a`.
    let quotient = unsafe { quotient.to_int_unchecked::<u32>() };
    if b == 0 { u32::MAX } else { quotient }
}

#[inline(always)]
fn div_s64(a: i64, b: i64) -> i64 {
    if b == 0 { -1 } else { a.wrapping_div(b) }
}

#[inline(always)]
fn div_u64(a: u64, b: u64) -> u64 {
    a.checked_div(b).unwrap_or(u64::MAX)
}

#[inline(always)]
fn sad(a: u32, b: u32, c: u32) -> u32 {
    c.wrapping_add(a.abs_diff(b))
}

binary! {
    Add32(u32, u32) -> u32: |a, b| a.wrapping_add(b);
    Sub32(u32, u32) -> u32: |a, b| a.wrapping_sub(b);
    MulLo32(u32, u32) -> u32: |a, b| a.wrapping_mul(b);
    MulHiS32(i32, i32) -> i32: |a, b| ((i64::from(a) * i64::from(b)) >> 32) as i32;
    MulHiU32(u32, u32) -> u32: |a, b| ((u64::from(a) * u64::from(b)) >> 32) as u32;
    MulWideS32(i32, i32) -> i64: |a, b| i64::from(a) * i64::from(b);
    MulWideU32(u32, u32) -> u64: |a, b| u64::from(a) * u64::from(b);
    MulWideS16(i16, i16) -> i32: |a, b| i32::from(a) * i32::from(b);
    MulWideU16(u16, u16) -> u32: |a, b| u32::from(a) * u32::from(b);
    MinS32(i32, i32) -> i32: |a, b| a.min(b);
    MinU32(u32, u32) -> u32: |a, b| a.min(b);
    MaxS32(i32, i32) -> i32: |a, b| a.max(b);
    MaxU32(u32, u32) -> u32: |a, b| a.max(b);
    And32(u32, u32) -> u32: |a, b| a & b;
    Or32(u32, u32) -> u32: |a, b| a | b;
    Xor32(u32, u32) -> u32: |a, b| a ^ b;
    Shl32(u32, u32) -> u32: |a, b| if b < 32 { a << (b & 31) } else { 0 };
    ShrU32(u32, u32) -> u32: |a, b| if b < 32 { a >> (b & 31) } else { 0 };
    ShrS32(i32, u32) -> i32: |a, b| a >> b.min(31);

    Add64(u64, u64) -> u64: |a, b| a.wrapping_add(b);
    Sub64(u64, u64) -> u64: |a, b| a.wrapping_sub(b);
    MulLo64(u64, u64) -> u64: |a, b| a.wrapping_mul(b);
    MulHiS64(i64, i64) -> i64: |a, b| ((i128::from(a) * i128::from(b)) >> 64) as i64;
    MulHiU64(u64, u64) -> u64: |a, b| ((u128::from(a) * u128::from(b)) >> 64) as u64;
    DivS64(i64, i64) -> i64: div_s64;
    DivU64(u64, u64) -> u64: div_u64;
    RemS64(i64, i64) -> i64: |a, b| a.wrapping_sub(div_s64(a, b).wrapping_mul(b));
    RemU64(u64, u64) -> u64: |a, b| a.wrapping_sub(div_u64(a, b).wrapping_mul(b));
    MinS64(i64, i64) -> i64: |a, b| a.min(b);
    MinU64(u64, u64) -> u64: |a, b| a.min(b);
    MaxS64(i64, i64) -> i64: |a, b| a.max(b);
    MaxU64(u64, u64) -> u64: |a, b| a.max(b);
    And64(u64, u64) -> u64: |a, b| a & b;
    Or64(u64, u64) -> u64: |a, b| a | b;
    Xor64(u64, u64) -> u64: |a, b| a ^ b;
    Shl64(u64, u32) -> u64: |a, b| if b < 64 { a << (b & 63) } else { 0 };
    ShrU64(u64, u32) -> u64: |a, b| if b < 64 { a >> (b & 63) } else { 0 };
    ShrS64(i64, u32) -> i64: |a, b| a >> b.min(63);
}

unary! {
    Neg32(u32) -> u32: |a| a.wrapping_neg();
    Neg64(u64) -> u64: |a| a.wrapping_neg();
    Abs32(i32) -> i32: |a| a.wrapping_abs();
    Abs64(i64) -> i64: |a| a.wrapping_abs();
    Not32(u32) -> u32: |a| !a;
    Not64(u64) -> u64: |a| !a;
    Popc32(u32) -> u32: |a| a.count_ones();
    Popc64(u64) -> u32: |a| a.count_ones();
    Clz32(u32) -> u32: |a| a.leading_zeros();
    Clz64(u64) -> u32: |a| a.leading_zeros();
    Brev32(u32) -> u32: |a| a.reverse_bits();
    Brev64(u64) -> u64: |a| a.reverse_bits();
}

ternary! {
    MadLo32(u32, u32, u32) -> u32: |a, b, c| a.wrapping_mul(b).wrapping_add(c);
    MadHiS32(i32, i32, i32) -> i32: |a, b, c| (((i64::from(a) * i64::from(b)) >> 32) as i32).wrapping_add(c);
    MadHiU32(u32, u32, u32) -> u32: |a, b, c| (((u64::from(a) * u64::from(b)) >> 32) as u32).wrapping_add(c);
    MadWideS32(i32, i32, i64) -> i64: |a, b, c| (i64::from(a) * i64::from(b)).wrapping_add(c);
    MadWideU32(u32, u32, u64) -> u64: |a, b, c| (u64::from(a) * u64::from(b)).wrapping_add(c);
    MadLo64(u64, u64, u64) -> u64: |a, b, c| a.wrapping_mul(b).wrapping_add(c);
    SadU32(u32, u32, u32) -> u32: sad;
    SadS32(i32, i32, u32) -> u32: |a, b, c| c.wrapping_add(a.abs_diff(b));
    ShfLeftClamp(u32, u32, u32) -> u32: |low, high, n| shift_left(low, high, n.min(32));
    ShfLeftWrap(u32, u32, u32) -> u32: |low, high, n| shift_left(low, high, n & 31);
    ShfRightClamp(u32, u32, u32) -> u32: |low, high, n| shift_right(low, high, n.min(32));
    ShfRightWrap(u32, u32, u32) -> u32: |low, high, n| shift_right(low, high, n & 31);
}

#[inline(always)]
fn joined(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// The upper word of both, shifted to the left by up to 32.
#[inline(always)]
fn shift_left(low: u32, high: u32, n: u32) -> u32 {
    (joined(low, high) << n >> 32) as u32
}

/// The lower word of both, shifted to the right by up to 32.
#[inline(always)]
fn shift_right(low: u32, high: u32, n: u32) -> u32 {
    (joined(low, high) >> n) as u32
}

/// The quotient by a divisor that all lanes share, given its reciprocal: the product may fall short of a whole quotient, which the
/// remainder tells. It exceeds none: its error, at most 2^-21/|b|, is less than the distance of a fraction from the next integer.
#[inline(always)]
fn div_s32_by(a: i32, b: i32, reciprocal: f64) -> i32 {
    // SAFETY: the divisor is neither 0 nor -1: the product is no NaN, and lies in the range of i32.
    let quotient = unsafe { (f64::from(a) * reciprocal).to_int_unchecked::<i32>() };
    let rest = a.wrapping_sub(quotient.wrapping_mul(b));
    let short = rest.unsigned_abs() >= b.unsigned_abs();
    quotient.wrapping_add(if short { (a ^ b) >> 31 | 1 } else { 0 })
}

/// As [`div_s32_by`].
#[inline(always)]
fn div_u32_by(a: u32, b: u32, reciprocal: f64) -> u32 {
    // SAFETY: the divisor is not 0: the product is no NaN, and lies in the range of u32.
    let quotient = unsafe { (f64::from(a) * reciprocal).to_int_unchecked::<u32>() };
    let rest = a.wrapping_sub(quotient.wrapping_mul(b));
    quotient.wrapping_add(u32::from(rest >= b))
}

/// Divisions; most divisors are the same in all lanes.
macro_rules! divisions {
    ($($name:ident($ty:ty, $limit:expr): $by:ident, $each:ident, $result:expr;)*) => {$(
        pub(crate) struct $name;
        impl Handler for $name {
            #[inline(always)]
            unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
                let result: fn($ty, $ty, $ty) -> $ty = $result;
                // SAFETY: lowering gave this handler slots of 32 bits.
                unsafe {
                    let divisors = w.slot::<u32>(i.b);
                    let first = divisors.read();
                    let mut differ = 0;
                    for lane in 0..LANES {
                        differ |= divisors.add(lane).read() ^ first;
                    }
                    let divisor = first as $ty;
                    let limit: fn($ty) -> bool = $limit;
                    if differ == 0 && limit(divisor) {
                        let reciprocal = 1.0 / f64::from(divisor);
                        map1::<$ty, $ty, WHOLE>(w, i, |a| result(a, divisor, $by(a, divisor, reciprocal)));
                    } else {
                        map2::<$ty, $ty, $ty, WHOLE>(w, i, |a, b| result(a, b, $each(a, b)));
                    }
                }
                Flow::Go
            }
        }
    )*};
}

divisions! {
    DivS32(i32, |b| b != 0 && b != -1): div_s32_by, div_s32, |_, _, quotient| quotient;
    RemS32(i32, |b| b != 0 && b != -1): div_s32_by, div_s32, |a, b, quotient| a.wrapping_sub(quotient.wrapping_mul(b));
    DivU32(u32, |b| b != 0): div_u32_by, div_u32, |_, _, quotient| quotient;
    RemU32(u32, |b| b != 0): div_u32_by, div_u32, |a, b, quotient| a.wrapping_sub(quotient.wrapping_mul(b));
}
