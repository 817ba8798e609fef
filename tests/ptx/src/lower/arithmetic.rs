//! Arithmetic, moves, comparisons and predicates.

use super::Lowering;
use super::operands::held_of;
use crate::exec::Pair;
use crate::exec::scalar::{Scalar, held};
use crate::exec::{compare as cmp, float as fl, integer as int, moves};
use crate::text::ast::{
    Binary, BoolOp, Compare, Modifiers, Op, Operand, Predicate, Register, Rounding, Ternary, Type, Unary,
};

/// Whether floating-point arithmetic is of the common form; `.approx` and `.full` are computed exactly.
fn plain(modifiers: &Modifiers) -> bool {
    let nearest =
        matches!(modifiers.rounding, None | Some(Rounding::NearestEven | Rounding::Approximate | Rounding::Full));
    nearest && *modifiers == Modifiers { rounding: modifiers.rounding, ..Modifiers::default() }
}

fn exactly_rounded(modifiers: &Modifiers) -> bool {
    plain(modifiers) && modifiers.rounding != Some(Rounding::Approximate)
}

/// Bits of a type's values.
fn bits(ty: Type) -> u32 {
    8 * ty.bytes()
}

impl Lowering<'_> {
    pub(super) fn arithmetic(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Mov { ty, d, a } => self.mov(*ty, *d, *a),
            Op::Pack { ty, d, parts } => self.pack(*ty, *d, parts),
            Op::Unpack { ty, parts, a } => self.unpack(*ty, parts, *a),
            Op::Unary { op, ty, modifiers, d, a } => {
                let result = match op {
                    Unary::Popc | Unary::Clz | Unary::Bfind | Unary::BfindShiftAmount => 32,
                    Unary::CNot => bits(*ty),
                    _ => bits(*ty),
                };
                let fast = self.unary(*op, *ty, modifiers);
                let scalar = Scalar::Unary { op: *op, ty: *ty, modifiers: *modifiers };
                self.compute(fast, scalar, (*d, result), &[(*a, bits(*ty))])
            }
            Op::Binary { op, ty, modifiers, d, a, b } => {
                let result = if *op == Binary::MulWide { 2 * bits(*ty) } else { bits(*ty) };
                let second = if matches!(op, Binary::Shl | Binary::Shr) { 32 } else { bits(*ty) };
                let fast = self.binary(*op, *ty, modifiers);
                let scalar = Scalar::Binary { op: *op, ty: *ty, modifiers: *modifiers };
                self.compute(fast, scalar, (*d, result), &[(*a, bits(*ty)), (*b, second)])
            }
            Op::Ternary { op, ty, modifiers, d, a, b, c } => {
                let width = bits(*ty);
                let (result, second, third) = match op {
                    Ternary::MadWide => (2 * width, width, 2 * width),
                    Ternary::Bfe => (width, 32, 32),
                    _ => (width, width, width),
                };
                let fast = self.ternary(*op, *ty, modifiers);
                let scalar = Scalar::Ternary { op: *op, ty: *ty, modifiers: *modifiers };
                self.compute(fast, scalar, (*d, result), &[(*a, width), (*b, second), (*c, third)])
            }
            Op::Extended { op, ty, carry_in, carry_out, d, a, b, c } => {
                let scalar =
                    Scalar::Extended { op: *op, ty: *ty, carry_in: *carry_in, carry_out: *carry_out, mad: c.is_some() };
                if !scalar.known() {
                    return Err(format!("{op:?} of {ty:?} with a carry is not known"));
                }
                let carry = match self.carry {
                    Some(carry) => carry,
                    None => *self.carry.insert(0),
                };
                let width = bits(*ty);
                let mut sources =
                    vec![(self.source(*a, width)?, held_of(width)), (self.source(*b, width)?, held_of(width))];
                if let Some(c) = c {
                    sources.push((self.source(*c, width)?, held_of(width)));
                }
                let d = self.register(*d, width)?;
                self.emit_scalar(scalar, (d, held_of(width)), &sources, Some(carry));
                Ok(())
            }
            Op::Bfi { ty, d, a, b, position, length } => {
                let width = bits(*ty);
                let sources = [(*a, width), (*b, width), (*position, 32), (*length, 32)];
                self.compute(None, Scalar::Bfi { ty: *ty }, (*d, width), &sources)
            }
            Op::Slct { ty, c_ty, ftz, d, a, b, c } => {
                let width = bits(*ty);
                let scalar = Scalar::Slct { c_ty: *c_ty, ftz: *ftz };
                self.compute(None, scalar, (*d, width), &[(*a, width), (*b, width), (*c, 32)])
            }
            _ => Err(format!("{op:?} is not known")),
        }
    }

    /// An operation with a handler of its own, or lane by lane.
    fn compute(
        &mut self,
        fast: Option<Pair>,
        scalar: Scalar,
        (d, result): (Register, u32),
        sources: &[(Operand, u32)],
    ) -> Result<(), String> {
        let mut words = Vec::with_capacity(sources.len());
        for &(operand, bits) in sources {
            words.push((self.source(operand, bits)?, held_of(bits)));
        }
        let d = self.register(d, result)?;
        match fast {
            Some(run) => {
                let words: Vec<u32> = words.iter().map(|&(word, _)| word).collect();
                self.emit(run, d, &words);
            }
            None if scalar.known() => self.emit_scalar(scalar, (d, held_of(result)), &words, None),
            None => return Err(format!("{scalar:?} is not known")),
        }
        Ok(())
    }

    fn mov(&mut self, ty: Type, d: Register, a: Operand) -> Result<(), String> {
        let width = bits(ty);
        if self.invariant[d.0 as usize] {
            return Ok(());
        }
        let (a, d) = (self.source(a, width)?, self.register(d, width)?);
        let run = match width {
            64 => self.pair::<moves::Move64>(),
            128 => self.pair::<moves::Move128>(),
            _ => self.pair::<moves::Move32>(),
        };
        self.emit(run, d, &[a]);
        Ok(())
    }

    fn pack(&mut self, ty: Type, d: Register, parts: &[Operand]) -> Result<(), String> {
        let part = bits(ty) / parts.len().max(1) as u32;
        let mut words = Vec::new();
        for &operand in parts {
            words.push(self.source(operand, part)?);
        }
        let d = self.register(d, bits(ty))?;
        match (bits(ty), &words[..]) {
            (64, &[low, high]) => self.emit(self.pair::<moves::Pack32>(), d, &[low, high]),
            (32, &[low, high]) => self.emit(self.pair::<moves::Pack16>(), d, &[low, high]),
            (64, &[a, b, c, e]) => {
                let (low, high) = (self.temporary(), self.temporary());
                self.emit(self.pair::<moves::Pack16>(), low, &[a, b]);
                self.emit(self.pair::<moves::Pack16>(), high, &[c, e]);
                self.emit(self.pair::<moves::Pack32>(), d, &[low, high]);
            }
            (128, &[low, high]) => {
                // A part may be in the register that the other one goes to.
                let copy = self.slot(crate::exec::program::SlotKind::Double);
                self.emit(self.pair::<moves::Move64>(), copy, &[high]);
                self.emit(self.pair::<moves::Move64>(), d, &[low]);
                self.emit(self.pair::<moves::Move64>(), d + 64, &[copy]);
            }
            _ => return Err(format!("mov of {} parts into {} bits is not known", words.len(), bits(ty))),
        }
        Ok(())
    }

    pub(super) fn temporary(&mut self) -> u32 {
        self.slot(crate::exec::program::SlotKind::Word)
    }

    fn unpack(&mut self, ty: Type, parts: &[Option<Register>], a: Operand) -> Result<(), String> {
        let part = bits(ty) / parts.len().max(1) as u32;
        let mut a = self.source(a, bits(ty))?;
        let mut words = Vec::new();
        for part_register in parts {
            words.push(match part_register {
                Some(register) => Some(self.register(*register, part)?),
                None => None,
            });
        }
        if bits(ty) == 32 {
            // The low half may be written over the source.
            let copy = self.temporary();
            self.emit(self.pair::<moves::Move32>(), copy, &[a]);
            a = copy;
        }
        let give = |lowering: &mut Self, d: Option<u32>, run: Pair, a: u32| {
            if let Some(d) = d {
                lowering.emit(run, d, &[a]);
            }
        };
        let (low32, high32) = (self.pair::<moves::Low32>(), self.pair::<moves::High32>());
        let (low16, high16) = (self.pair::<moves::Low16>(), self.pair::<moves::High16>());
        match (bits(ty), &words[..]) {
            (64, &[low, high]) => {
                give(self, low, low32, a);
                give(self, high, high32, a);
            }
            (32, &[low, high]) => {
                give(self, low, low16, a);
                give(self, high, high16, a);
            }
            (64, &[p, q, r, s]) => {
                let (low, high) = (self.temporary(), self.temporary());
                self.emit(low32, low, &[a]);
                self.emit(high32, high, &[a]);
                give(self, p, low16, low);
                give(self, q, high16, low);
                give(self, r, low16, high);
                give(self, s, high16, high);
            }
            (128, &[low, high]) => {
                let run = self.pair::<moves::Move64>();
                give(self, low, run, a);
                give(self, high, run, a + 64);
            }
            _ => return Err(format!("mov of {} bits into {} parts is not known", bits(ty), words.len())),
        }
        Ok(())
    }

    fn unary(&self, op: Unary, ty: Type, modifiers: &Modifiers) -> Option<Pair> {
        use Type::*;
        Some(match (op, ty) {
            (Unary::Neg, S32 | U32 | B32) => self.pair::<int::Neg32>(),
            (Unary::Neg, S64 | U64 | B64) => self.pair::<int::Neg64>(),
            (Unary::Abs, S32) => self.pair::<int::Abs32>(),
            (Unary::Abs, S64) => self.pair::<int::Abs64>(),
            (Unary::Not, B32 | U32 | S32) => self.pair::<int::Not32>(),
            (Unary::Not, B64 | U64 | S64) => self.pair::<int::Not64>(),
            (Unary::Popc, B32) => self.pair::<int::Popc32>(),
            (Unary::Popc, B64) => self.pair::<int::Popc64>(),
            (Unary::Clz, B32) => self.pair::<int::Clz32>(),
            (Unary::Clz, B64) => self.pair::<int::Clz64>(),
            (Unary::Brev, B32) => self.pair::<int::Brev32>(),
            (Unary::Brev, B64) => self.pair::<int::Brev64>(),
            (Unary::Neg, F32) if plain(modifiers) => self.pair::<fl::NegF32>(),
            (Unary::Neg, F64) if plain(modifiers) => self.pair::<fl::NegF64>(),
            (Unary::Abs, F32) if plain(modifiers) => self.pair::<fl::AbsF32>(),
            (Unary::Abs, F64) if plain(modifiers) => self.pair::<fl::AbsF64>(),
            (Unary::Sqrt, F32) if plain(modifiers) => self.pair::<fl::SqrtF32>(),
            (Unary::Sqrt, F64) if exactly_rounded(modifiers) => self.pair::<fl::SqrtF64>(),
            (Unary::Rcp, F32) if plain(modifiers) => self.pair::<fl::RcpF32>(),
            (Unary::Rcp, F64) if exactly_rounded(modifiers) => self.pair::<fl::RcpF64>(),
            _ => return None,
        })
    }

    fn binary(&self, op: Binary, ty: Type, modifiers: &Modifiers) -> Option<Pair> {
        use Type::*;
        if matches!(ty, F32 | F64) && !plain(modifiers) || modifiers.saturate {
            return None;
        }
        Some(match (op, ty) {
            (Binary::Add, S32 | U32 | B32) => self.pair::<int::Add32>(),
            (Binary::Sub, S32 | U32 | B32) => self.pair::<int::Sub32>(),
            (Binary::MulLo, S32 | U32) => self.pair::<int::MulLo32>(),
            (Binary::MulHi, S32) => self.pair::<int::MulHiS32>(),
            (Binary::MulHi, U32) => self.pair::<int::MulHiU32>(),
            (Binary::MulWide, S32) => self.pair::<int::MulWideS32>(),
            (Binary::MulWide, U32) => self.pair::<int::MulWideU32>(),
            (Binary::MulWide, S16) => self.pair::<int::MulWideS16>(),
            (Binary::MulWide, U16) => self.pair::<int::MulWideU16>(),
            (Binary::Div, S32) => self.pair::<int::DivS32>(),
            (Binary::Div, U32) => self.pair::<int::DivU32>(),
            (Binary::Rem, S32) => self.pair::<int::RemS32>(),
            (Binary::Rem, U32) => self.pair::<int::RemU32>(),
            (Binary::Min, S32) => self.pair::<int::MinS32>(),
            (Binary::Min, U32) => self.pair::<int::MinU32>(),
            (Binary::Max, S32) => self.pair::<int::MaxS32>(),
            (Binary::Max, U32) => self.pair::<int::MaxU32>(),
            (Binary::And, B32) => self.pair::<int::And32>(),
            (Binary::Or, B32) => self.pair::<int::Or32>(),
            (Binary::Xor, B32) => self.pair::<int::Xor32>(),
            (Binary::Shl, B32) => self.pair::<int::Shl32>(),
            (Binary::Shr, U32 | B32) => self.pair::<int::ShrU32>(),
            (Binary::Shr, S32) => self.pair::<int::ShrS32>(),
            (Binary::Add, S64 | U64 | B64) => self.pair::<int::Add64>(),
            (Binary::Sub, S64 | U64 | B64) => self.pair::<int::Sub64>(),
            (Binary::MulLo, S64 | U64) => self.pair::<int::MulLo64>(),
            (Binary::MulHi, S64) => self.pair::<int::MulHiS64>(),
            (Binary::MulHi, U64) => self.pair::<int::MulHiU64>(),
            (Binary::Div, S64) => self.pair::<int::DivS64>(),
            (Binary::Div, U64) => self.pair::<int::DivU64>(),
            (Binary::Rem, S64) => self.pair::<int::RemS64>(),
            (Binary::Rem, U64) => self.pair::<int::RemU64>(),
            (Binary::Min, S64) => self.pair::<int::MinS64>(),
            (Binary::Min, U64) => self.pair::<int::MinU64>(),
            (Binary::Max, S64) => self.pair::<int::MaxS64>(),
            (Binary::Max, U64) => self.pair::<int::MaxU64>(),
            (Binary::And, B64) => self.pair::<int::And64>(),
            (Binary::Or, B64) => self.pair::<int::Or64>(),
            (Binary::Xor, B64) => self.pair::<int::Xor64>(),
            (Binary::Shl, B64) => self.pair::<int::Shl64>(),
            (Binary::Shr, U64 | B64) => self.pair::<int::ShrU64>(),
            (Binary::Shr, S64) => self.pair::<int::ShrS64>(),
            (Binary::Add, F32) => self.pair::<fl::AddF32>(),
            (Binary::Sub, F32) => self.pair::<fl::SubF32>(),
            (Binary::Mul, F32) => self.pair::<fl::MulF32>(),
            (Binary::Div, F32) => self.pair::<fl::DivF32>(),
            (Binary::Min, F32) => self.pair::<fl::MinF32>(),
            (Binary::Max, F32) => self.pair::<fl::MaxF32>(),
            (Binary::CopySign, F32) => self.pair::<fl::CopySignF32>(),
            (Binary::Add, F64) => self.pair::<fl::AddF64>(),
            (Binary::Sub, F64) => self.pair::<fl::SubF64>(),
            (Binary::Mul, F64) => self.pair::<fl::MulF64>(),
            (Binary::Div, F64) => self.pair::<fl::DivF64>(),
            (Binary::Min, F64) => self.pair::<fl::MinF64>(),
            (Binary::Max, F64) => self.pair::<fl::MaxF64>(),
            (Binary::CopySign, F64) => self.pair::<fl::CopySignF64>(),
            _ => return None,
        })
    }

    fn ternary(&self, op: Ternary, ty: Type, modifiers: &Modifiers) -> Option<Pair> {
        use Type::*;
        if !plain(modifiers) {
            return None;
        }
        Some(match (op, ty) {
            (Ternary::Fma, F32) => self.pair::<fl::FmaF32>(),
            (Ternary::Fma, F64) => self.pair::<fl::FmaF64>(),
            (Ternary::MadLo, S32 | U32) => self.pair::<int::MadLo32>(),
            (Ternary::MadLo, S64 | U64) => self.pair::<int::MadLo64>(),
            (Ternary::MadHi, S32) => self.pair::<int::MadHiS32>(),
            (Ternary::MadHi, U32) => self.pair::<int::MadHiU32>(),
            (Ternary::MadWide, S32) => self.pair::<int::MadWideS32>(),
            (Ternary::MadWide, U32) => self.pair::<int::MadWideU32>(),
            (Ternary::Sad, U32) => self.pair::<int::SadU32>(),
            (Ternary::Sad, S32) => self.pair::<int::SadS32>(),
            (Ternary::ShfLeftClamp, _) => self.pair::<int::ShfLeftClamp>(),
            (Ternary::ShfLeftWrap, _) => self.pair::<int::ShfLeftWrap>(),
            (Ternary::ShfRightClamp, _) => self.pair::<int::ShfRightClamp>(),
            (Ternary::ShfRightWrap, _) => self.pair::<int::ShfRightWrap>(),
            _ => return None,
        })
    }

    pub(super) fn predicates(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Setp { compare, ty, ftz, p, q, a, b, join } => {
                let p = self.predicate_register(*p)?;
                let q = match q {
                    Some(q) => Some(self.predicate_register(*q)?),
                    None => None,
                };
                self.setp(*compare, *ty, *ftz, p, q, (*a, *b), *join)
            }
            Op::Set { compare, d_ty, ty, ftz, d, a, b, join } => {
                let holds = self.temporary();
                self.setp(*compare, *ty, *ftz, holds, None, (*a, *b), *join)?;
                let one = match d_ty {
                    Type::F32 => u64::from(1f32.to_bits()),
                    Type::U32 | Type::S32 => 0xFFFF_FFFF,
                    _ => return Err(format!("set with a result of type {d_ty:?} is not known")),
                };
                let (yes, no) = (self.source(Operand::Immediate(one), 32)?, self.source(Operand::Immediate(0), 32)?);
                let d = self.register(*d, 32)?;
                self.emit(self.pair::<cmp::Selp<u32>>(), d, &[yes, no, holds]);
                Ok(())
            }
            Op::Selp { ty, d, a, b, p } => {
                let width = bits(*ty);
                let run = match width {
                    16 | 32 => self.pair::<cmp::Selp<u32>>(),
                    64 => self.pair::<cmp::Selp<u64>>(),
                    _ => return Err(format!("selp of {ty:?} is not known")),
                };
                let (a, b) = (self.source(*a, width)?, self.source(*b, width)?);
                let (c, negated) = self.predicate(*p)?;
                let d = self.register(*d, width)?;
                let mut decoded = self.blank(run);
                (decoded.r[0], decoded.a, decoded.b, decoded.c, decoded.imm) = (d, a, b, c, u64::from(negated));
                self.push(decoded);
                Ok(())
            }
            Op::PredBinary { op, d, a, b } => {
                let d = self.predicate_register(*d)?;
                self.join(*op, d, *a, *b)
            }
            Op::PredMov { d, a } => self.pred_mov(*d, *a, false),
            Op::PredNot { d, a } => self.pred_mov(*d, *a, true),
            _ => Err(format!("{op:?} is not known")),
        }
    }

    fn pred_mov(&mut self, d: Register, a: Predicate, not: bool) -> Result<(), String> {
        let d = self.predicate_register(d)?;
        let (a, negated) = self.predicate(a)?;
        let mut decoded = self.blank(self.pair::<moves::PredMove>());
        (decoded.r[0], decoded.a, decoded.imm) = (d, a, u64::from(negated != not));
        self.push(decoded);
        Ok(())
    }

    fn join(&mut self, op: BoolOp, d: u32, a: Predicate, b: Predicate) -> Result<(), String> {
        let (a, b) = (self.predicate(a)?, self.predicate(b)?);
        self.join_words(op, d, a, b);
        Ok(())
    }

    fn join_words(&mut self, op: BoolOp, d: u32, a: (u32, bool), b: (u32, bool)) {
        let run = match op {
            BoolOp::And => self.pair::<cmp::PredAnd>(),
            BoolOp::Or => self.pair::<cmp::PredOr>(),
            BoolOp::Xor => self.pair::<cmp::PredXor>(),
        };
        let imm = u64::from(a.1) | u64::from(b.1) << 1;
        let decoded = self.blank(run);
        self.push(crate::exec::Decoded { r: [d, 0, 0, 0], a: a.0, b: b.0, imm, ..decoded });
    }

    /// §9.7.6.2: `p` is the comparison joined with a predicate, `q` the negated comparison joined with it.
    fn setp(
        &mut self,
        compare: Compare,
        ty: Type,
        ftz: bool,
        p: u32,
        q: Option<u32>,
        (a, b): (Operand, Operand),
        join: Option<(BoolOp, Predicate)>,
    ) -> Result<(), String> {
        let width = bits(ty);
        let (a, b) = (self.source(a, width)?, self.source(b, width)?);
        let simple = q.is_none() && join.is_none();
        let holds = if simple { p } else { self.temporary() };
        match self.comparison(compare, ty, ftz) {
            Some(run) => self.emit(run, holds, &[a, b]),
            None => {
                let scalar = Scalar::Compare { compare, ty, ftz };
                if !scalar.known() {
                    return Err(format!("setp.{compare:?} of {ty:?} is not known"));
                }
                self.emit_scalar(scalar, (holds, held::PREDICATE), &[(a, held_of(width)), (b, held_of(width))], None);
            }
        }
        if simple {
            return Ok(());
        }
        let (op, with) = match join {
            Some((op, predicate)) => {
                // The predicate may be the one that is written first.
                let (word, negated) = self.predicate(predicate)?;
                let copy = self.temporary();
                let mut decoded = self.blank(self.pair::<moves::PredMove>());
                (decoded.r[0], decoded.a, decoded.imm) = (copy, word, u64::from(negated));
                self.push(decoded);
                (op, (copy, false))
            }
            None => (BoolOp::And, self.predicate(Predicate::Constant(true))?),
        };
        self.join_words(op, p, (holds, false), with);
        if let Some(q) = q {
            self.join_words(op, q, (holds, true), with);
        }
        Ok(())
    }

    fn comparison(&self, compare: Compare, ty: Type, ftz: bool) -> Option<Pair> {
        use Type::*;
        use cmp::Setp;
        macro_rules! pick {
            ($($pattern:pat => $test:ident,)*) => {
                match compare { $($pattern => self.pair::<Setp<cmp::$test>>(),)* _ => return None }
            };
        }
        use Compare::{Eq, Equ, Ge, Geu, Gt, Gtu, Hi, Hs, Le, Leu, Lo, Ls, Lt, Ltu, Nan, Ne, Neu, Num};
        Some(match ty {
            _ if ftz => return None,
            S16 => pick! { Eq => Eq16, Ne => Ne16, Lt => LtS16, Le => LeS16, Gt => GtS16, Ge => GeS16, },
            U16 | B16 => pick! {
                Eq => Eq16, Ne => Ne16, Lt | Lo => LtU16, Le | Ls => LeU16, Gt | Hi => GtU16, Ge | Hs => GeU16,
            },
            S32 => pick! { Eq => Eq32, Ne => Ne32, Lt => LtS32, Le => LeS32, Gt => GtS32, Ge => GeS32, },
            U32 | B32 => pick! {
                Eq => Eq32, Ne => Ne32, Lt | Lo => LtU32, Le | Ls => LeU32, Gt | Hi => GtU32, Ge | Hs => GeU32,
            },
            S64 => pick! { Eq => Eq64, Ne => Ne64, Lt => LtS64, Le => LeS64, Gt => GtS64, Ge => GeS64, },
            U64 | B64 => pick! {
                Eq => Eq64, Ne => Ne64, Lt | Lo => LtU64, Le | Ls => LeU64, Gt | Hi => GtU64, Ge | Hs => GeU64,
            },
            F32 => pick! {
                Eq => EqF32, Ne => NeF32, Lt => LtF32, Le => LeF32, Gt => GtF32, Ge => GeF32, Equ => EquF32,
                Neu => NeuF32, Ltu => LtuF32, Leu => LeuF32, Gtu => GtuF32, Geu => GeuF32, Num => NumF32, Nan => NanF32,
            },
            F64 => pick! {
                Eq => EqF64, Ne => NeF64, Lt => LtF64, Le => LeF64, Gt => GtF64, Ge => GeF64, Equ => EquF64,
                Neu => NeuF64, Ltu => LtuF64, Leu => LeuF64, Gtu => GtuF64, Geu => GeuF64, Num => NumF64, Nan => NanF64,
            },
            _ => return None,
        })
    }
}
