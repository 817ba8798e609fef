//! Types by their names, and which registers and constants fit an instruction's type (§4.5, §9.4).

use super::ast::Type;
use super::reader::Constant;

/// The registers that an operand may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Width {
    /// As wide as the instruction's type.
    Exact,
    /// As wide or wider: `ld`, `st` and `cvt` (§9.4.1). A source is cut off; a result is extended to the register, with its sign
    /// where the instruction's type is signed.
    Wider,
}

/// A type by its name without the dot.
pub(super) fn named_type(name: &str) -> Option<Type> {
    use Type::*;
    Some(match name {
        "pred" => Pred,
        "b8" => B8,
        "b16" => B16,
        "b32" => B32,
        "b64" => B64,
        "b128" => B128,
        "u8" => U8,
        "u16" => U16,
        "u32" => U32,
        "u64" => U64,
        "s8" => S8,
        "s16" => S16,
        "s32" => S32,
        "s64" => S64,
        "f16" => F16,
        "f16x2" => F16x2,
        "bf16" => Bf16,
        "bf16x2" => Bf16x2,
        "tf32" => Tf32,
        "f32" => F32,
        "f64" => F64,
        "e4m3" => E4m3,
        "e5m2" => E5m2,
        "e4m3x2" => E4m3x2,
        "e5m2x2" => E5m2x2,
        _ => return None,
    })
}

/// A type as the text has it.
pub(super) fn type_name(ty: Type) -> String {
    format!(".{}", format!("{ty:?}").to_ascii_lowercase())
}

/// The kinds of types between which §9.4 decides.
#[derive(PartialEq, Eq)]
pub(super) enum Class {
    /// `.pred`.
    Predicate,
    /// `.b8` to `.b128`.
    Bits,
    /// `.u8` to `.s64`.
    Integer,
    /// `.f16` to `.f64`.
    Float,
    /// Formats that registers cannot be declared with: an operand is a bit-size register of exactly their width.
    Packed,
}

/// The kind of a type.
pub(super) fn class(ty: Type) -> Class {
    use Type::*;
    match ty {
        Pred => Class::Predicate,
        B8 | B16 | B32 | B64 | B128 => Class::Bits,
        Bf16 | Bf16x2 | Tf32 | E4m3 | E5m2 | E4m3x2 | E5m2x2 => Class::Packed,
        U8 | U16 | U32 | U64 | S8 | S16 | S32 | S64 => Class::Integer,
        F16 | F16x2 | F32 | F64 => Class::Float,
    }
}

/// Whether a register of one type may be an operand of an instruction of another (§9.4, tables 25 to 27).
pub(super) fn fits(instruction: Type, register: Type, width: Width) -> bool {
    let wide_enough = match width {
        Width::Exact => register.bytes() == instruction.bytes(),
        Width::Wider => register.bytes() >= instruction.bytes(),
    };
    wide_enough
        && match (class(instruction), class(register)) {
            (Class::Predicate, other) | (other, Class::Predicate) => other == Class::Predicate,
            (Class::Packed, other) => other == Class::Bits && register.bytes() == instruction.bytes(),
            (Class::Bits, _) | (_, Class::Bits) | (Class::Integer, Class::Integer) => true,
            (Class::Float, Class::Float) => instruction == register,
            _ => false,
        }
}

/// A constant's bits as a value of a type, or none where the type does not take it (§4.5, §6.4.1).
///
/// Integers are cut off to the type's width. Floats change between single and double precision as the type says; for bits their
/// own width has to be the type's.
pub(super) fn immediate(ty: Type, constant: Constant) -> Option<u64> {
    let bits = match (constant, class(ty)) {
        (Constant::Integer(value), Class::Bits | Class::Integer) => value,
        (Constant::Single(bits), _) if matches!(ty, Type::F32 | Type::B32) => u64::from(bits),
        (Constant::Single(bits), _) if ty == Type::F64 => f64::from(f32::from_bits(bits)).to_bits(),
        (Constant::Double(bits), _) if matches!(ty, Type::F64 | Type::B64) => bits,
        (Constant::Double(bits), _) if ty == Type::F32 => u64::from((f64::from_bits(bits) as f32).to_bits()),
        _ => return None,
    };
    Some(if ty.bytes() < 8 { bits & ((1 << (8 * ty.bytes())) - 1) } else { bits })
}
