//! Floating-point numbers of all types, roundings and modifiers (§9.7.3, §9.7.4).
//!
//! Types of up to 32 bits are computed in f64, rounded to odd: where the result is not exact, its last bit is set. Rounding that once
//! more, to any of the narrower types and in any direction, gives what rounding the exact result would have.

use super::{Sources, bits, integers, signed};
use crate::exec::float::{NAN64, max_f64, min_f64};
use crate::tensor::numbers::{self, Format, Round};
use crate::text::ast::{Binary, Compare, Modifiers, Rounding, Ternary, Type, Unary};

/// The format of a scalar type of up to 32 bits.
pub(super) fn format(ty: Type) -> Option<Format> {
    Some(match ty {
        Type::F16 => numbers::F16,
        Type::Bf16 => numbers::BF16,
        Type::F32 => numbers::F32,
        Type::Tf32 => numbers::TF32,
        Type::E4m3 => numbers::E4M3,
        Type::E5m2 => numbers::E5M2,
        _ => return None,
    })
}

/// The type of the halves of a packed type.
fn half(ty: Type) -> Option<Type> {
    match ty {
        Type::F16x2 => Some(Type::F16),
        Type::Bf16x2 => Some(Type::Bf16),
        _ => None,
    }
}

/// Rounding of arithmetic; what is `.approx` or `.full` is exact here.
pub(super) fn rounding(modifiers: Modifiers) -> Option<Round> {
    Some(match modifiers.rounding {
        None | Some(Rounding::NearestEven | Rounding::Approximate | Rounding::Full) => Round::NearestEven,
        Some(Rounding::NearestAway) => Round::NearestAway,
        Some(Rounding::Zero) => Round::Zero,
        Some(Rounding::Down) => Round::Down,
        Some(Rounding::Up) => Round::Up,
        Some(_) => return None,
    })
}

/// A value of a type, exactly; with `ftz` without subnormals.
pub(super) fn decode(ty: Type, ftz: bool, value: u64) -> Option<f64> {
    let result = match ty {
        Type::F64 => return Some(f64::from_bits(value)),
        Type::F32 => f64::from(f32::from_bits(value as u32)),
        _ => f64::from(format(ty)?.decode(value as u32)),
    };
    let smallest = if ty == Type::F16 { 2f64.powi(-14) } else { f64::from(f32::MIN_POSITIVE) };
    Some(if ftz && result.abs() < smallest { 0f64.copysign(result) } else { result })
}

/// The bits of a value that was rounded to odd, as the modifiers want it.
pub(super) fn encode(ty: Type, modifiers: Modifiers, value: f64) -> Option<u64> {
    let mut value = value;
    if modifiers.saturate {
        value = if value > 0.0 { value.min(1.0) } else { 0.0 };
    }
    if modifiers.relu {
        value = numbers::relu(value);
    }
    if ty == Type::F64 {
        return Some(if value.is_nan() { NAN64 } else { value.to_bits() });
    }
    // Overflow of e4m3 and e5m2 gives the greatest value, as the ISA demands it of every conversion to them.
    let finite = matches!(ty, Type::E4m3 | Type::E5m2);
    let result = format(ty)?.encode(value, rounding(modifiers)?, finite);
    let subnormal = match ty {
        Type::F32 => result & 0x7F80_0000 == 0,
        Type::F16 => result & 0x7C00 == 0,
        _ => false,
    };
    let sign = if ty == Type::F16 { 0x8000 } else { 0x8000_0000 };
    Some(u64::from(if modifiers.ftz && subnormal { result & sign } else { result }))
}

/// A result that was rounded to nearest, and the sign of what is missing: rounded to odd.
fn odd(value: f64, missing: f64) -> f64 {
    if !value.is_finite() || value == 0.0 || missing == 0.0 || missing.is_nan() || value.to_bits() & 1 == 1 {
        return value;
    }
    let away = (missing > 0.0) == (value > 0.0);
    f64::from_bits(if away { value.to_bits() + 1 } else { value.to_bits() - 1 })
}

/// The sum and what its rounding left out, exactly (Knuth's TwoSum).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    (sum, (a - (sum - from_b)) + (b - from_b))
}

fn sum(a: f64, b: f64, round: Round) -> f64 {
    let (value, missing) = two_sum(a, b);
    // An exact 0 out of two signs is -0 where results are rounded down.
    if value == 0.0 && round == Round::Down && a.is_sign_negative() != b.is_sign_negative() {
        return -0.0;
    }
    odd(value, missing)
}

fn quotient(a: f64, b: f64) -> f64 {
    let value = a / b;
    odd(value, (-value).mul_add(b, a) * b.signum())
}

fn root(a: f64) -> f64 {
    let value = a.sqrt();
    odd(value, (-value).mul_add(value, a))
}

fn halves(ty: Type, f: impl Fn(Type, u32) -> Option<u64>) -> Option<Option<u64>> {
    let half = half(ty)?;
    Some(f(half, 0).and_then(|low| Some(f(half, 16)? << 16 | low & 0xFFFF)))
}

pub(super) fn unary(op: Unary, ty: Type, modifiers: Modifiers, a: u64) -> Option<u64> {
    if let Some(result) = halves(ty, |ty, shift| unary(op, ty, modifiers, a >> shift & 0xFFFF)) {
        return result;
    }
    if ty == Type::F64 {
        return unary_f64(op, modifiers, a);
    }
    let x = decode(ty, modifiers.ftz, a)?;
    let sign = 1 << (bits(ty) - 1);
    if x.is_nan() && matches!(op, Unary::Neg | Unary::Abs) {
        return Some(if op == Unary::Neg { a ^ sign } else { a & !sign });
    }
    let value = match op {
        Unary::Neg => -x,
        Unary::Abs => x.abs(),
        Unary::Sqrt => root(x),
        Unary::Rcp => quotient(1.0, x),
        Unary::Rsqrt => 1.0 / x.sqrt(),
        Unary::Ex2 => x.exp2(),
        Unary::Lg2 => x.log2(),
        Unary::Sin => x.sin(),
        Unary::Cos => x.cos(),
        Unary::Tanh => x.tanh(),
        _ => return None,
    };
    encode(ty, modifiers, value)
}

fn unary_f64(op: Unary, modifiers: Modifiers, a: u64) -> Option<u64> {
    let x = f64::from_bits(a);
    let approximate = modifiers.rounding == Some(Rounding::Approximate);
    let nearest = rounding(modifiers)? == Round::NearestEven;
    Some(match op {
        Unary::Neg => a ^ 1 << 63,
        Unary::Abs => a & !(1 << 63),
        // §9.7.3.14 and .18: the upper halves of source and result alone count; subnormals are zeros.
        Unary::Rcp | Unary::Rsqrt if approximate => {
            let upper = flush_f64(f64::from_bits(a & !0xFFFF_FFFF));
            let result = if op == Unary::Rcp { 1.0 / upper } else { 1.0 / upper.sqrt() };
            let result = if result.is_nan() { f64::from_bits(0x7FFF_FFFF << 32) } else { result };
            flush_f64(result).to_bits() & !0xFFFF_FFFF
        }
        Unary::Rcp if nearest => (1.0 / x).to_bits(),
        Unary::Sqrt if nearest => x.sqrt().to_bits(),
        _ => return None,
    })
}

fn flush_f64(value: f64) -> f64 {
    if value.is_subnormal() { 0f64.copysign(value) } else { value }
}

pub(super) fn binary(op: Binary, ty: Type, modifiers: Modifiers, a: u64, b: u64) -> Option<u64> {
    if let Some(result) = halves(ty, |ty, shift| binary(op, ty, modifiers, a >> shift & 0xFFFF, b >> shift & 0xFFFF)) {
        return result;
    }
    if op == Binary::CopySign {
        let sign = 1 << (bits(ty) - 1);
        return Some(a & sign | b & !sign);
    }
    let round = rounding(modifiers)?;
    let (x, y) = (decode(ty, modifiers.ftz, a)?, decode(ty, modifiers.ftz, b)?);
    let value = match op {
        Binary::Add | Binary::Sub => {
            let y = if op == Binary::Sub { -y } else { y };
            if ty == Type::F64 { sum_f64(x, y, round)? } else { sum(x, y, round) }
        }
        // The product of two values of 24 bits is exact.
        Binary::Mul if ty == Type::F64 && round != Round::NearestEven => return None,
        Binary::Mul => x * y,
        Binary::Div if ty == Type::F64 && round != Round::NearestEven => return None,
        Binary::Div if ty == Type::F64 => x / y,
        Binary::Div => quotient(x, y),
        Binary::Min | Binary::Max => return extreme(op, ty, modifiers, x, y),
        _ => return None,
    };
    encode(ty, modifiers, value)
}

/// A sum of f64 in any direction.
fn sum_f64(a: f64, b: f64, round: Round) -> Option<f64> {
    let (value, missing) = two_sum(a, b);
    let below = |value: f64| f64::from_bits(if value > 0.0 { value.to_bits() - 1 } else { value.to_bits() + 1 });
    let above = |value: f64| -below(-value);
    if value.is_infinite() && a.is_finite() && b.is_finite() && round != Round::NearestEven {
        // Where a sum overflows, the other direction ends at the greatest value.
        let greatest = f64::MAX.copysign(value);
        let outward = round == if value > 0.0 { Round::Up } else { Round::Down };
        return Some(if outward { value } else { greatest });
    }
    Some(match round {
        Round::NearestEven => value,
        Round::NearestAway => return None,
        Round::Down if value == 0.0 && a.is_sign_negative() != b.is_sign_negative() => -0.0,
        Round::Down if missing < 0.0 => below(value),
        Round::Up if missing > 0.0 => above(value),
        Round::Zero if value > 0.0 && missing < 0.0 => below(value),
        Round::Zero if value < 0.0 && missing > 0.0 => above(value),
        _ => value,
    })
}

fn extreme(op: Binary, ty: Type, modifiers: Modifiers, x: f64, y: f64) -> Option<u64> {
    let negative = x.is_sign_negative() != y.is_sign_negative();
    let (x, y) = if modifiers.xorsign_abs { (x.abs(), y.abs()) } else { (x, y) };
    let value = match op {
        _ if modifiers.nan && (x.is_nan() || y.is_nan()) => f64::NAN,
        Binary::Min => min_f64(x, y),
        _ => max_f64(x, y),
    };
    let value = if modifiers.xorsign_abs && negative && !value.is_nan() { -value } else { value };
    encode(ty, Modifiers { rounding: None, ..modifiers }, value)
}

pub(super) fn ternary(op: Ternary, ty: Type, modifiers: Modifiers, a: u64, b: u64, c: u64) -> Option<u64> {
    let part = |value: u64, shift: u32| value >> shift & 0xFFFF;
    let apart = |ty, shift| ternary(op, ty, modifiers, part(a, shift), part(b, shift), part(c, shift));
    if let Some(result) = halves(ty, apart) {
        return result;
    }
    if op != Ternary::Fma {
        return None;
    }
    let round = rounding(modifiers)?;
    let (x, y) = (decode(ty, modifiers.ftz, a)?, decode(ty, modifiers.ftz, b)?);
    let z = decode(ty, modifiers.ftz, c)?;
    let value = match ty {
        Type::F64 if round == Round::NearestEven => x.mul_add(y, z),
        Type::F64 => return None,
        _ => sum(x * y, z, round),
    };
    encode(ty, modifiers, value)
}

/// §9.7.5.4: the first where the third is at least 0.
pub(super) fn slct(c_ty: Type, ftz: bool, s: Sources) -> Option<u64> {
    let first = match c_ty {
        Type::S32 => signed(s.c, 32) >= 0,
        Type::F32 => decode(Type::F32, ftz, s.c)? >= 0.0,
        _ => return None,
    };
    Some(if first { s.a } else { s.b })
}

/// A comparison of any type.
pub(super) fn compare(compare: Compare, ty: Type, ftz: bool, a: u64, b: u64) -> Option<bool> {
    if super::is_float(ty) {
        return Some(compare_floats(compare, decode(ty, ftz, a)?, decode(ty, ftz, b)?));
    }
    let width = bits(ty);
    let key = |value: u64| match integers::is_signed(ty) {
        true => i128::from(signed(value, width)),
        false => i128::from(super::truncate(value, width)),
    };
    let (x, y) = (key(a), key(b));
    Some(match compare {
        Compare::Eq => x == y,
        Compare::Ne => x != y,
        Compare::Lt | Compare::Lo => x < y,
        Compare::Le | Compare::Ls => x <= y,
        Compare::Gt | Compare::Hi => x > y,
        Compare::Ge | Compare::Hs => x >= y,
        _ => return None,
    })
}

/// §9.7.6: comparisons of floating-point numbers; those with a u hold where one is NaN.
fn compare_floats(compare: Compare, x: f64, y: f64) -> bool {
    let nan = x.is_nan() || y.is_nan();
    match compare {
        Compare::Eq => x == y,
        Compare::Ne => !nan && x != y,
        Compare::Lt | Compare::Lo => x < y,
        Compare::Le | Compare::Ls => x <= y,
        Compare::Gt | Compare::Hi => x > y,
        Compare::Ge | Compare::Hs => x >= y,
        Compare::Equ => nan || x == y,
        Compare::Neu => nan || x != y,
        Compare::Ltu => nan || x < y,
        Compare::Leu => nan || x <= y,
        Compare::Gtu => nan || x > y,
        Compare::Geu => nan || x >= y,
        Compare::Num => !nan,
        Compare::Nan => nan,
    }
}
