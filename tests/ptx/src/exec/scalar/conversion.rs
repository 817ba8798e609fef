//! `cvt` of all types (§9.7.9.22).

use super::floats::{decode, encode, format, rounding};
use super::integers::is_signed;
use super::{bits, is_float, signed, truncate};
use crate::tensor::numbers::Round;
use crate::text::ast::{Modifiers, Rounding, Type};

/// One value into another type.
pub(super) fn convert(d_ty: Type, a_ty: Type, modifiers: Modifiers, a: u64) -> Option<u64> {
    match (is_float(a_ty), is_float(d_ty)) {
        (false, false) => Some(integer_to_integer(d_ty, a_ty, modifiers, a)),
        (false, true) => integer_to_float(d_ty, a_ty, modifiers, a),
        (true, false) => float_to_integer(d_ty, a_ty, modifiers, a),
        (true, true) => float_to_float(d_ty, a_ty, modifiers, a),
    }
}

fn integer_to_integer(d_ty: Type, a_ty: Type, modifiers: Modifiers, a: u64) -> u64 {
    let width = bits(a_ty);
    let value = if is_signed(a_ty) { i128::from(signed(a, width)) } else { i128::from(truncate(a, width)) };
    let to = bits(d_ty);
    let value = match (modifiers.saturate, is_signed(d_ty)) {
        (false, _) => value,
        (true, true) => value.clamp(-(1i128 << (to - 1)), (1i128 << (to - 1)) - 1),
        (true, false) => value.clamp(0, (1i128 << to) - 1),
    };
    truncate(value as u64, to)
}

fn integer_to_float(d_ty: Type, a_ty: Type, modifiers: Modifiers, a: u64) -> Option<u64> {
    let width = bits(a_ty);
    let (negative, magnitude) = if is_signed(a_ty) {
        let value = signed(a, width);
        (value < 0, value.unsigned_abs())
    } else {
        (false, truncate(a, width))
    };
    if modifiers.saturate {
        return encode(d_ty, modifiers, if negative || magnitude == 0 { 0.0 } else { 1.0 });
    }
    let round = rounding(modifiers)?;
    match format(d_ty) {
        Some(format) => Some(u64::from(format.encode_integer(negative, magnitude, round, false))),
        None if d_ty == Type::F64 => {
            let exact = magnitude.leading_zeros() + magnitude.trailing_zeros() >= 11;
            let value = magnitude as f64;
            (exact || round == Round::NearestEven).then(|| if negative { -value } else { value }.to_bits())
        }
        None => None,
    }
}

/// Rounds to an integer.
fn rounded(value: f64, rounding: Option<Rounding>) -> Option<f64> {
    Some(match rounding? {
        Rounding::IntegerNearest => value.round_ties_even(),
        Rounding::IntegerZero => value.trunc(),
        Rounding::IntegerDown => value.floor(),
        Rounding::IntegerUp => value.ceil(),
        _ => return None,
    })
}

fn float_to_integer(d_ty: Type, a_ty: Type, modifiers: Modifiers, a: u64) -> Option<u64> {
    let value = rounded(decode(a_ty, modifiers.ftz, a)?, modifiers.rounding)?;
    let width = bits(d_ty);
    if value.is_nan() {
        // 0, but for f64 as the source and for results of 64 bits.
        let other = a_ty == Type::F64 || width == 64;
        return Some(if other { 1 << (width - 1) } else { 0 });
    }
    // Results are clamped to the type's range even without .sat; so does Rust's conversion to i128 and back.
    let value = value as i128;
    let (low, high) =
        if is_signed(d_ty) { (-(1i128 << (width - 1)), (1i128 << (width - 1)) - 1) } else { (0, (1i128 << width) - 1) };
    Some(truncate(value.clamp(low, high) as u64, width))
}

fn float_to_float(d_ty: Type, a_ty: Type, modifiers: Modifiers, a: u64) -> Option<u64> {
    let value = decode(a_ty, modifiers.ftz, a)?;
    match modifiers.rounding {
        Some(Rounding::IntegerNearest | Rounding::IntegerZero | Rounding::IntegerDown | Rounding::IntegerUp) => {
            let value = rounded(value, modifiers.rounding)?;
            encode(d_ty, Modifiers { rounding: None, ..modifiers }, value)
        }
        _ => encode(d_ty, modifiers, value),
    }
}

/// Two values into one register: the first becomes the upper half.
pub(super) fn pack(d_ty: Type, a_ty: Type, modifiers: Modifiers, a: u64, b: u64) -> Option<u64> {
    let (half, width) = match d_ty {
        Type::F16x2 => (Type::F16, 16),
        Type::Bf16x2 => (Type::Bf16, 16),
        Type::E4m3x2 => (Type::E4m3, 8),
        Type::E5m2x2 => (Type::E5m2, 8),
        _ => return None,
    };
    if a_ty != Type::F32 {
        return None;
    }
    let upper = float_to_float(half, a_ty, modifiers, a)?;
    let lower = float_to_float(half, a_ty, modifiers, b)?;
    Some(upper << width | lower)
}
