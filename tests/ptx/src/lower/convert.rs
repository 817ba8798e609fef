//! Conversions of numbers and addresses.

use super::Lowering;
use super::operands::held_of;
use crate::exec::Pair;
use crate::exec::anywhere::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, any};
use crate::exec::convert as cv;
use crate::exec::moves;
use crate::exec::scalar::{Scalar, is_float};
use crate::exec::{anywhere, integer};
use crate::text::ast::{Modifiers, Op, Operand, Register, Rounding, Space, Type};

fn bits(ty: Type) -> u32 {
    8 * ty.bytes()
}

fn is_signed(ty: Type) -> bool {
    matches!(ty, Type::S8 | Type::S16 | Type::S32 | Type::S64)
}

impl Lowering<'_> {
    pub(super) fn conversion(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Cvt { d_ty, a_ty, modifiers, d, a, b } => self.cvt(*d_ty, *a_ty, modifiers, *d, (*a, *b)),
            Op::Cvta { to, space, ty, d, a } => self.cvta(*to, *space, *ty, *d, *a),
            Op::Isspacep { space, p, a } => {
                let a = self.source(*a, 64)?;
                let p = self.predicate_register(*p)?;
                let mut decoded = self.blank(self.pair::<anywhere::Isspacep>());
                (decoded.r[0], decoded.a, decoded.bytes) = (p, a, any::space_bits(*space));
                self.push(decoded);
                Ok(())
            }
            _ => Err(format!("{op:?} is not known")),
        }
    }

    fn cvt(
        &mut self,
        d_ty: Type,
        a_ty: Type,
        modifiers: &Modifiers,
        d: Register,
        (a, b): (Operand, Option<Operand>),
    ) -> Result<(), String> {
        let a = self.loose_source(a, bits(a_ty))?;
        let b = match b {
            Some(b) => Some(self.loose_source(b, bits(a_ty))?),
            None => None,
        };
        let (to, widened) = self.loose_result(d, bits(d_ty))?;
        let scalar = Scalar::Cvt { d_ty, a_ty, modifiers: *modifiers, packs: b.is_some() };
        match (self.fast_cvt(d_ty, a_ty, modifiers, b.is_some()), b) {
            (Some(run), Some(b)) => self.emit(run, to, &[a, b]),
            (Some(run), None) => self.emit(run, to, &[a]),
            (None, _) if !scalar.known() => {
                return Err(format!("cvt from {a_ty:?} to {d_ty:?} with {modifiers:?} is not known"));
            }
            (None, Some(b)) => {
                let sources = [(a, held_of(bits(a_ty))), (b, held_of(bits(a_ty)))];
                self.emit_scalar(scalar, (to, held_of(bits(d_ty))), &sources, None);
            }
            (None, None) => self.emit_scalar(scalar, (to, held_of(bits(d_ty))), &[(a, held_of(bits(a_ty)))], None),
        }
        match widened {
            Some(register) => self.widen(d_ty, to, register),
            None => Ok(()),
        }
    }

    fn fast_cvt(&self, d_ty: Type, a_ty: Type, modifiers: &Modifiers, packs: bool) -> Option<Pair> {
        use Type::*;
        let rounding = modifiers.rounding;
        if *modifiers != (Modifiers { rounding, ..Modifiers::default() }) {
            return None;
        }
        if packs {
            let nearest = rounding == Some(Rounding::NearestEven);
            return match (d_ty, a_ty) {
                (Bf16x2, F32) if nearest => Some(self.pair::<cv::PackBf16>()),
                _ => None,
            };
        }
        if !is_float(d_ty) && !is_float(a_ty) {
            return self.resize(d_ty, a_ty);
        }
        let nearest = matches!(rounding, None | Some(Rounding::NearestEven));
        Some(match (d_ty, a_ty, rounding) {
            (S32, F32, Some(Rounding::IntegerZero)) => self.pair::<cv::F32ToS32>(),
            (U32, F32, Some(Rounding::IntegerZero)) => self.pair::<cv::F32ToU32>(),
            (S64, F32, Some(Rounding::IntegerZero)) => self.pair::<cv::F32ToS64>(),
            (U64, F32, Some(Rounding::IntegerZero)) => self.pair::<cv::F32ToU64>(),
            (S32, F64, Some(Rounding::IntegerZero)) => self.pair::<cv::F64ToS32>(),
            (U32, F64, Some(Rounding::IntegerZero)) => self.pair::<cv::F64ToU32>(),
            (S64, F64, Some(Rounding::IntegerZero)) => self.pair::<cv::F64ToS64>(),
            (U64, F64, Some(Rounding::IntegerZero)) => self.pair::<cv::F64ToU64>(),
            (F32, F32, Some(Rounding::IntegerNearest)) => self.pair::<cv::RoundEvenF32>(),
            (F64, F64, Some(Rounding::IntegerNearest)) => self.pair::<cv::RoundEvenF64>(),
            (F32, F32, Some(Rounding::IntegerDown)) => self.pair::<cv::FloorF32>(),
            (F64, F64, Some(Rounding::IntegerDown)) => self.pair::<cv::FloorF64>(),
            (Tf32, F32, Some(Rounding::NearestAway)) => self.pair::<cv::Tf32>(),
            (F32, Bf16, None) => self.pair::<cv::Bf16ToF32>(),
            (F32, F16, None) => self.pair::<cv::F16ToF32>(),
            (Bf16, F32, Some(Rounding::NearestEven)) => self.pair::<cv::F32ToBf16>(),
            _ if !nearest => return None,
            (F32, S32, _) => self.pair::<cv::S32ToF32>(),
            (F32, U32, _) => self.pair::<cv::U32ToF32>(),
            (F32, S64, _) => self.pair::<cv::S64ToF32>(),
            (F32, U64, _) => self.pair::<cv::U64ToF32>(),
            (F64, S32, _) => self.pair::<cv::S32ToF64>(),
            (F64, U32, _) => self.pair::<cv::U32ToF64>(),
            (F64, U16, _) => self.pair::<cv::U16ToF64>(),
            (F64, S64, _) => self.pair::<cv::S64ToF64>(),
            (F64, U64, _) => self.pair::<cv::U64ToF64>(),
            (F64, F32, None) => self.pair::<cv::F32ToF64>(),
            (F32, F64, Some(Rounding::NearestEven)) => self.pair::<cv::F64ToF32>(),
            _ => return None,
        })
    }

    /// Integers into integers: what is wider takes the source's sign, what is narrower the low bits.
    fn resize(&self, d_ty: Type, a_ty: Type) -> Option<Pair> {
        let (to, from) = (bits(d_ty), bits(a_ty));
        Some(match (to, from, is_signed(a_ty)) {
            (64, 32, true) => self.pair::<moves::WidenS32>(),
            (64, 32, false) => self.pair::<moves::WidenU32>(),
            (64, 16, true) => self.pair::<moves::WidenS16>(),
            (64, 16, false) => self.pair::<moves::WidenU16>(),
            (64, 8, true) => self.pair::<moves::WidenS8>(),
            (64, 8, false) => self.pair::<moves::WidenU8>(),
            (64, 64, _) => self.pair::<moves::Move64>(),
            (_, 64, _) => self.pair::<moves::Low32>(),
            (32, 16, true) => self.pair::<moves::ExtendS16>(),
            (32, 16, false) => self.pair::<moves::ExtendU16>(),
            (32 | 16, 8, true) => self.pair::<moves::ExtendS8>(),
            (32 | 16, 8, false) => self.pair::<moves::ExtendU8>(),
            (32 | 16 | 8, 32 | 16 | 8, _) => self.pair::<moves::Move32>(),
            _ => return None,
        })
    }

    fn cvta(&mut self, to: bool, space: Space, ty: Type, d: Register, a: Operand) -> Result<(), String> {
        if bits(ty) != 64 {
            return Err(format!("cvta of {ty:?}: addresses have 64 bits here"));
        }
        let window = match space {
            Space::Global | Space::Const => 0,
            Space::Shared | Space::SharedCluster => SHARED_WINDOW,
            Space::Local => LOCAL_WINDOW,
            Space::Param => PARAM_WINDOW,
            Space::Generic => return Err("cvta without a space".into()),
        };
        if self.invariant[d.0 as usize] {
            return Ok(());
        }
        let (a, d) = (self.source(a, 64)?, self.register(d, 64)?);
        if window == 0 {
            self.emit(self.pair::<moves::Move64>(), d, &[a]);
            return Ok(());
        }
        let window = self.source(Operand::Immediate(window), 64)?;
        let run = if to { self.pair::<integer::Sub64>() } else { self.pair::<integer::Add64>() };
        self.emit(run, d, &[a, window]);
        Ok(())
    }
}
