//! `cvt` (§9.7.9.22).

use super::ParseError;
use super::arithmetic::rounding;
use super::ast::{Modifiers, Op, Rounding, Type};
use super::parser::Parser;
use super::types::Width;
use Type::*;

const NUMBERS: &[Type] =
    &[U8, U16, U32, U64, S8, S16, S32, S64, F16, Bf16, F32, F64, F16x2, Bf16x2, Tf32, E4m3x2, E5m2x2];

/// The demand of a conversion on its rounding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    /// None may be written.
    Nothing,
    /// `.rn`, `.rz`, `.rm` or `.rp`.
    Float,
    /// `.rni`, `.rzi`, `.rmi` or `.rpi`.
    Integer,
    /// One to an integral value, or none.
    MayBeIntegral,
    /// `.rn` or `.rz`.
    NearestOrZero,
    /// `.rn`.
    Nearest,
    /// `.rna`, `.rn` or `.rz`.
    TensorFloat,
}

impl Needs {
    fn allows(self, rounding: Option<Rounding>) -> bool {
        use Rounding::*;
        match self {
            Needs::Nothing => rounding.is_none(),
            Needs::Float => matches!(rounding, Some(NearestEven | Zero | Down | Up)),
            Needs::Integer => matches!(rounding, Some(IntegerNearest | IntegerZero | IntegerDown | IntegerUp)),
            Needs::MayBeIntegral => rounding.is_none() || Needs::Integer.allows(rounding),
            Needs::NearestOrZero => matches!(rounding, Some(NearestEven | Zero)),
            Needs::Nearest => rounding == Some(NearestEven),
            Needs::TensorFloat => matches!(rounding, Some(NearestAway | NearestEven | Zero)),
        }
    }

    fn text(self) -> &'static str {
        match self {
            Needs::Nothing => "no rounding, for none takes place",
            Needs::Float => "one of the roundings .rn .rz .rm .rp",
            Needs::Integer => "one of the roundings .rni .rzi .rmi .rpi",
            Needs::MayBeIntegral => "no rounding or one of .rni .rzi .rmi .rpi",
            Needs::NearestOrZero => "one of the roundings .rn .rz",
            Needs::Nearest => "the rounding .rn",
            Needs::TensorFloat => "one of the roundings .rna .rn .rz",
        }
    }
}

fn is_float(ty: Type) -> bool {
    matches!(ty, F16 | Bf16 | F32 | F64)
}

/// Bits of a float's significand and exponent: a format holds another where neither is smaller.
fn precision(ty: Type) -> (u32, u32) {
    match ty {
        F16 => (11, 5),
        Bf16 => (8, 8),
        F32 => (24, 8),
        _ => (53, 11),
    }
}

/// The demand of the two types; `None`: there is no such conversion, with `two` of two sources.
fn needs(d: Type, a: Type, two: bool) -> Option<Needs> {
    if two {
        return match (d, a) {
            (F16x2 | Bf16x2, F32) => Some(Needs::NearestOrZero),
            (E4m3x2 | E5m2x2, F32) => Some(Needs::Nearest),
            _ => None,
        };
    }
    Some(match (d, a) {
        (Tf32, F32) => Needs::TensorFloat,
        (E4m3x2 | E5m2x2, F16x2) | (F16x2, E4m3x2 | E5m2x2) => Needs::Nearest,
        (Bf16, U8 | S8) | (U8 | S8, Bf16) => return None,
        (F16x2 | Bf16x2 | Tf32 | E4m3x2 | E5m2x2, _) | (_, F16x2 | Bf16x2 | Tf32 | E4m3x2 | E5m2x2) => return None,
        _ => match (is_float(d), is_float(a)) {
            (false, false) => Needs::Nothing,
            (false, true) => Needs::Integer,
            (true, false) => Needs::Float,
            (true, true) if d == a => Needs::MayBeIntegral,
            (true, true) => {
                let ((d_bits, d_range), (a_bits, a_range)) = (precision(d), precision(a));
                if d_bits >= a_bits && d_range >= a_range { Needs::Nothing } else { Needs::Float }
            }
        },
    })
}

/// Whether a conversion has `.sat`: scalar floats but for .bf16, and integers whose range does not hold the source's.
fn saturates(d: Type, a: Type) -> bool {
    let scalar = |ty| matches!(ty, U8 | U16 | U32 | U64 | S8 | S16 | S32 | S64 | F16 | F32 | F64);
    let signed = |ty| matches!(ty, S8 | S16 | S32 | S64);
    let holds = match (signed(d), signed(a)) {
        (true, false) => d.bytes() > a.bytes(),
        (false, true) => false,
        _ => d.bytes() >= a.bytes(),
    };
    scalar(d) && scalar(a) && (is_float(d) || is_float(a) || !holds)
}

impl Parser<'_> {
    /// `cvt{.rounding}{.ftz}{.sat}{.relu}{.satfinite}.d_ty.a_ty d, a{, b}`.
    pub(super) fn convert(&mut self) -> Result<Op, ParseError> {
        let mut modifiers = Modifiers::default();
        if let Some(found) = self.next_modifier().and_then(rounding) {
            modifiers.rounding = Some(found);
            self.understood += 1;
        }
        // Behind the rounding the ISA's grammars order these differently from one form to the other.
        let mut finite = false;
        while let Some(flag) = self.one_of(&[("ftz", 0), ("sat", 1), ("relu", 2), ("satfinite", 3)]) {
            let flag = match flag {
                0 => &mut modifiers.ftz,
                1 => &mut modifiers.saturate,
                2 => &mut modifiers.relu,
                _ => &mut finite,
            };
            if std::mem::replace(flag, true) {
                self.understood -= 1;
                return Err(self.bad_modifier("a modifier once"));
            }
        }
        let d_ty = self.ty(NUMBERS)?;
        let a_ty = self.ty(NUMBERS)?;
        self.done()?;
        let two = a_ty == F32 && matches!(d_ty, F16x2 | Bf16x2 | E4m3x2 | E5m2x2);
        self.check_conversion(d_ty, a_ty, two, modifiers, finite)?;
        let d = self.register_of(d_ty, Width::Wider)?;
        self.comma()?;
        // Special registers are read by conversions between integers alone.
        let a = if is_float(d_ty) || is_float(a_ty) || two {
            self.source_of(a_ty, Width::Wider)?
        } else {
            self.source_or_name(a_ty, Width::Wider)?
        };
        let b = if two {
            self.comma()?;
            Some(self.source_of(a_ty, Width::Wider)?)
        } else {
            None
        };
        Ok(Op::Cvt { d_ty, a_ty, modifiers, d, a, b })
    }

    fn check_conversion(&self, d: Type, a: Type, two: bool, m: Modifiers, finite: bool) -> Result<(), ParseError> {
        let Some(needs) = needs(d, a, two) else {
            return Err(self.refused("a conversion between these types that this machine knows"));
        };
        if !needs.allows(m.rounding) {
            return Err(self.refused(needs.text()));
        }
        let eight_bits = matches!(d, E4m3x2 | E5m2x2);
        if finite != eight_bits {
            return Err(self.refused("`.satfinite` with .e4m3x2 and .e5m2x2, and with them alone"));
        }
        if m.ftz && a != F32 && d != F32 {
            return Err(self.refused("`.ftz` with .f32 alone"));
        }
        let small = matches!(d, F16 | Bf16 | F16x2 | Bf16x2 | Tf32);
        let from_eight_bits = matches!(a, E4m3x2 | E5m2x2);
        let nearest_or_zero = Needs::NearestOrZero.allows(m.rounding);
        if m.relu && !(eight_bits || from_eight_bits || small && a == F32 && nearest_or_zero) {
            return Err(self.refused("`.relu` with conversions to smaller floats alone, and with .rn or .rz"));
        }
        if m.saturate && (m.relu || !saturates(d, a)) {
            return Err(self.refused("`.sat` where a result may be out of range, and with the types that have it"));
        }
        Ok(())
    }
}
