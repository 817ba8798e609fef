//! Arithmetic lane by lane: what is too rare for a loop of its own. Values are bits in a u64.

use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::text::ast::{Binary, Compare, Modifiers, Ternary, Type, Unary};

mod conversion;
mod floats;
mod integers;

/// An operation of up to four sources.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Scalar {
    Unary {
        op: Unary,
        ty: Type,
        modifiers: Modifiers,
    },
    Binary {
        op: Binary,
        ty: Type,
        modifiers: Modifiers,
    },
    Ternary {
        op: Ternary,
        ty: Type,
        modifiers: Modifiers,
    },
    /// `add.cc` and its like.
    Extended {
        op: Binary,
        ty: Type,
        carry_in: bool,
        carry_out: bool,
        mad: bool,
    },
    Bfi {
        ty: Type,
    },
    Slct {
        c_ty: Type,
        ftz: bool,
    },
    Compare {
        compare: Compare,
        ty: Type,
        ftz: bool,
    },
    Cvt {
        d_ty: Type,
        a_ty: Type,
        modifiers: Modifiers,
        packs: bool,
    },
}

/// Sources of an operation, and the carry.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sources {
    pub(crate) a: u64,
    pub(crate) b: u64,
    pub(crate) c: u64,
    pub(crate) d: u64,
    pub(crate) carry: bool,
}

impl Scalar {
    /// The result and the carry; `None`: this machine does not know the operation.
    pub(crate) fn value(&self, s: Sources) -> Option<(u64, bool)> {
        let plain = |value: Option<u64>| value.map(|value| (value, s.carry));
        match *self {
            Scalar::Unary { op, ty, modifiers } if is_float(ty) => plain(floats::unary(op, ty, modifiers, s.a)),
            Scalar::Unary { op, ty, modifiers } => plain(integers::unary(op, ty, modifiers, s.a)),
            Scalar::Binary { op, ty, modifiers } if is_float(ty) => plain(floats::binary(op, ty, modifiers, s.a, s.b)),
            Scalar::Binary { op, ty, modifiers } => plain(integers::binary(op, ty, modifiers, s.a, s.b)),
            Scalar::Ternary { op, ty, modifiers } if is_float(ty) => {
                plain(floats::ternary(op, ty, modifiers, s.a, s.b, s.c))
            }
            Scalar::Ternary { op, ty, modifiers } => plain(integers::ternary(op, ty, modifiers, s.a, s.b, s.c)),
            Scalar::Extended { op, ty, carry_in, carry_out, mad } => {
                integers::extended(op, ty, carry_in, carry_out, mad, s)
            }
            Scalar::Bfi { ty } => plain(integers::bfi(ty, s)),
            Scalar::Slct { c_ty, ftz } => plain(floats::slct(c_ty, ftz, s)),
            Scalar::Compare { compare, ty, ftz } => plain(floats::compare(compare, ty, ftz, s.a, s.b).map(u64::from)),
            Scalar::Cvt { d_ty, a_ty, modifiers, packs: false } => {
                plain(conversion::convert(d_ty, a_ty, modifiers, s.a))
            }
            Scalar::Cvt { d_ty, a_ty, modifiers, packs: true } => {
                plain(conversion::pack(d_ty, a_ty, modifiers, s.a, s.b))
            }
        }
    }

    /// Whether this machine knows the operation.
    pub(crate) fn known(&self) -> bool {
        self.value(Sources::default()).is_some()
    }
}

/// Whether arithmetic of a type is that of floating-point numbers.
pub(crate) fn is_float(ty: Type) -> bool {
    use Type::*;
    matches!(ty, F16 | F16x2 | Bf16 | Bf16x2 | Tf32 | F32 | F64 | E4m3 | E5m2 | E4m3x2 | E5m2x2)
}

/// Bits of an integer type.
pub(crate) fn bits(ty: Type) -> u32 {
    8 * ty.bytes()
}

/// The low bits of a value.
pub(crate) fn truncate(value: u64, bits: u32) -> u64 {
    if bits == 64 { value } else { value & ((1 << bits) - 1) }
}

/// The low bits of a value, as a signed number.
pub(crate) fn signed(value: u64, bits: u32) -> i64 {
    ((value << (64 - bits)) as i64) >> (64 - bits)
}

/// The kinds of the operands of [`ScalarOp`], in `bytes`: two bits each for `a`, `b`, `c`, `r[1]` and, from bit 8 on, for `r[0]`.
pub(crate) mod held {
    pub(crate) const NONE: u32 = 0;
    pub(crate) const WORD: u32 = 1;
    pub(crate) const DOUBLE: u32 = 2;
    pub(crate) const PREDICATE: u32 = 3;
    /// There is a carry: the predicate at `r[2]`.
    pub(crate) const CARRY: u32 = 1 << 10;
}

/// `imm` is the operation's index in the program's list.
pub(crate) struct ScalarOp;

impl Handler for ScalarOp {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { scalar(i, w, b) }
    }
}

/// # Safety
/// The instruction is one that lowering made for [`ScalarOp`].
#[inline(never)]
unsafe fn scalar(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let operation = b.program.scalars[i.imm as usize];
    // SAFETY: lowering put slots there as `bytes` says.
    let read = |word: u32, held: u32, lane: usize| unsafe {
        match held & 3 {
            held::NONE => 0,
            held::WORD => u64::from(w.slot::<u32>(word).add(lane).read()),
            held::DOUBLE => w.slot::<u64>(word).add(lane).read(),
            _ => u64::from(w.predicate(word) >> lane & 1),
        }
    };
    let has_carry = i.bytes & held::CARRY != 0;
    // SAFETY: lowering put a predicate there.
    let old = if has_carry { unsafe { w.predicate(i.r[2]) } } else { 0 };
    let (mut results, mut carries) = ([0; LANES], 0);
    for lane in (0..LANES).filter(|lane| w.mask >> lane & 1 != 0) {
        let sources = Sources {
            a: read(i.a, i.bytes, lane),
            b: read(i.b, i.bytes >> 2, lane),
            c: read(i.c, i.bytes >> 4, lane),
            d: read(i.r[1], i.bytes >> 6, lane),
            carry: old >> lane & 1 != 0,
        };
        let (value, carry) = operation.value(sources).unwrap_or_default();
        results[lane] = value;
        carries |= u32::from(carry) << lane;
    }
    // SAFETY: as above.
    unsafe {
        match i.bytes >> 8 & 3 {
            held::WORD => {
                w.set_lanes::<u32, false>(i.r[0], &results.map(|value| value as u32));
            }
            held::DOUBLE => w.set_lanes::<u64, false>(i.r[0], &results),
            _ => {
                let holds = (0..LANES).fold(0, |holds, lane| holds | (results[lane] as u32 & 1) << lane);
                w.set_predicate(i.r[0], holds);
            }
        }
        if has_carry {
            w.set_predicate(i.r[2], carries);
        }
    }
    Flow::Go
}
