//! Integers of any width (§9.7.1, §9.7.2, §9.7.8).

use super::{Sources, bits, signed, truncate};
use crate::text::ast::{Binary, Modifiers, Ternary, Type, Unary};

/// Whether a type is signed.
pub(crate) fn is_signed(ty: Type) -> bool {
    matches!(ty, Type::S8 | Type::S16 | Type::S32 | Type::S64)
}

/// The value of an integer, wide enough for any type.
fn wide(value: u64, ty: Type) -> i128 {
    if is_signed(ty) { i128::from(signed(value, bits(ty))) } else { i128::from(truncate(value, bits(ty))) }
}

fn narrow(value: i128, ty: Type) -> u64 {
    truncate(value as u64, bits(ty))
}

/// Into the range of a type.
fn saturate(value: i128, ty: Type) -> u64 {
    let bits = bits(ty);
    let (low, high) =
        if is_signed(ty) { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
    narrow(value.clamp(low, high), ty)
}

pub(super) fn unary(op: Unary, ty: Type, _: Modifiers, a: u64) -> Option<u64> {
    let (width, value) = (bits(ty), truncate(a, bits(ty)));
    Some(match op {
        Unary::Neg => narrow(-wide(a, ty), ty),
        Unary::Abs => narrow(wide(a, ty).abs(), ty),
        Unary::Not => truncate(!a, width),
        Unary::CNot => u64::from(value == 0),
        Unary::Popc => u64::from(value.count_ones()),
        Unary::Clz => u64::from(value.leading_zeros() - (64 - width)),
        Unary::Brev => value.reverse_bits() >> (64 - width),
        // §9.7.1.18: the highest bit that differs from the sign; none: all ones.
        Unary::Bfind | Unary::BfindShiftAmount => {
            let found = truncate(if is_signed(ty) && signed(a, width) < 0 { !a } else { a }, width);
            match found.checked_ilog2() {
                None => 0xFFFF_FFFF,
                Some(at) if op == Unary::Bfind => u64::from(at),
                Some(at) => u64::from(width - 1 - at),
            }
        }
        _ => return None,
    })
}

pub(super) fn binary(op: Binary, ty: Type, modifiers: Modifiers, a: u64, b: u64) -> Option<u64> {
    let (x, y, width) = (wide(a, ty), wide(b, ty), bits(ty));
    let fit = |value| if modifiers.saturate { saturate(value, ty) } else { narrow(value, ty) };
    // The amount of a shift is 32 bits wide whatever the type.
    let amount = (b as u32).min(width);
    Some(match op {
        Binary::Add => fit(x + y),
        Binary::Sub => fit(x - y),
        Binary::MulLo => narrow(x.wrapping_mul(y), ty),
        Binary::MulHi => truncate(multiply_high(a, b, ty), width),
        Binary::MulWide => truncate((x * y) as u64, 2 * width),
        Binary::Mul24Lo => narrow(low24(a, ty) * low24(b, ty), ty),
        Binary::Div if y == 0 => truncate(u64::MAX, width),
        Binary::Div => narrow(x / y, ty),
        Binary::Rem if y == 0 => narrow(x, ty),
        Binary::Rem => narrow(x % y, ty),
        Binary::Min => narrow(x.min(y), ty),
        Binary::Max => narrow(x.max(y), ty),
        Binary::And => truncate(a & b, width),
        Binary::Or => truncate(a | b, width),
        Binary::Xor => truncate(a ^ b, width),
        Binary::Shl => truncate(truncate(a, width).checked_shl(amount).unwrap_or(0), width),
        Binary::Shr if is_signed(ty) => truncate((signed(a, width) >> amount.min(63)) as u64, width),
        Binary::Shr => truncate(a, width).checked_shr(amount).unwrap_or(0),
        Binary::Mul | Binary::CopySign => return None,
    })
}

fn low24(value: u64, ty: Type) -> i128 {
    if is_signed(ty) { i128::from(signed(value, 24)) } else { i128::from(value & 0xFF_FFFF) }
}

fn multiply_high(a: u64, b: u64, ty: Type) -> u64 {
    if is_signed(ty) {
        ((wide(a, ty) * wide(b, ty)) >> bits(ty)) as u64
    } else {
        ((u128::from(truncate(a, bits(ty))) * u128::from(truncate(b, bits(ty)))) >> bits(ty)) as u64
    }
}

pub(super) fn ternary(op: Ternary, ty: Type, modifiers: Modifiers, a: u64, b: u64, c: u64) -> Option<u64> {
    let (x, y, width) = (wide(a, ty), wide(b, ty), bits(ty));
    Some(match op {
        Ternary::MadLo => truncate(narrow(x.wrapping_mul(y), ty).wrapping_add(c), width),
        Ternary::MadHi if modifiers.saturate => {
            saturate(i128::from(signed(multiply_high(a, b, ty), width)) + wide(c, ty), ty)
        }
        Ternary::MadHi => truncate(multiply_high(a, b, ty).wrapping_add(c), width),
        Ternary::MadWide => truncate(((x * y) as u64).wrapping_add(c), 2 * width),
        Ternary::Sad => truncate(c.wrapping_add((x - y).unsigned_abs() as u64), width),
        Ternary::Bfe => bfe(ty, a, b, c),
        Ternary::Prmt => prmt(a, b, c),
        Ternary::Lop3(table) => lop3(table, a, b, c),
        // The funnel shifts have handlers of their own; three-input extremes are sm_100's.
        _ => return None,
    })
}

/// §9.7.1.21: bits beyond the value are its sign.
fn bfe(ty: Type, a: u64, position: u64, length: u64) -> u64 {
    let (width, position, length) = (bits(ty), (position & 0xFF) as u32, (length & 0xFF) as u32);
    let value = truncate(a, width);
    let sign_at = (position + length).saturating_sub(1).min(width - 1);
    let negative = is_signed(ty) && length > 0 && value >> sign_at & 1 != 0;
    (0..width).fold(0, |result, at| {
        let inside = at < length && position + at < width;
        let bit = if inside { value >> (position + at) & 1 != 0 } else { negative };
        result | u64::from(bit) << at
    })
}

/// §9.7.1.22
pub(super) fn bfi(ty: Type, s: Sources) -> Option<u64> {
    let (width, position, length) = (bits(ty), (s.c & 0xFF) as u32, (s.d & 0xFF) as u32);
    let taken = (0..width).filter(|&at| at >= position && at < position + length);
    Some(taken.fold(truncate(s.b, width), |result, at| result & !(1 << at) | (s.a >> (at - position) & 1) << at))
}

/// §9.7.9.7, default mode: each nibble picks one of eight bytes, its upper bit replicates the byte's sign.
fn prmt(a: u64, b: u64, selectors: u64) -> u64 {
    let bytes = (truncate(b, 32) << 32 | truncate(a, 32)).to_le_bytes();
    (0..4).fold(0, |result, at| {
        let selector = selectors >> (4 * at) & 0xF;
        let byte = bytes[(selector & 7) as usize];
        let byte = if selector & 8 == 0 { byte } else { (byte >> 7).wrapping_neg() };
        result | u64::from(byte) << (8 * at)
    })
}

/// §9.7.8.6: the table's bit at index abc.
fn lop3(table: u8, a: u64, b: u64, c: u64) -> u64 {
    (0..32).fold(0, |result, at| {
        let index = (a >> at & 1) << 2 | (b >> at & 1) << 1 | c >> at & 1;
        result | u64::from(table >> index & 1) << at
    })
}

/// §9.7.2: additions with a carry; of a subtraction, the carry is the borrow.
pub(super) fn extended(
    op: Binary,
    ty: Type,
    carry_in: bool,
    carry_out: bool,
    mad: bool,
    s: Sources,
) -> Option<(u64, bool)> {
    let width = bits(ty);
    let carry = u128::from(carry_in && s.carry);
    let low = |value| u128::from(truncate(value, width));
    let product = || match op {
        Binary::MulLo => Some(low((wide(s.a, ty).wrapping_mul(wide(s.b, ty))) as u64)),
        Binary::MulHi => Some(low(multiply_high(s.a, s.b, ty))),
        _ => None,
    };
    let (value, out) = match op {
        _ if mad => {
            let sum = product()? + low(s.c) + carry;
            (sum, sum >> width != 0)
        }
        Binary::Add => {
            let sum = low(s.a) + low(s.b) + carry;
            (sum, sum >> width != 0)
        }
        Binary::Sub => {
            let subtrahend = low(s.b) + carry;
            (low(s.a).wrapping_sub(subtrahend), low(s.a) < subtrahend)
        }
        _ => return None,
    };
    Some((truncate(value as u64, width), if carry_out { out } else { s.carry }))
}
