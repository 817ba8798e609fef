//! Arithmetic, logic and shifts (§9.7.1 to §9.7.8): one table says what each instruction has with each type.

use super::ParseError;
use super::ast::{Binary, Modifiers, Op, Operand, Rounding, Ternary, Type, Unary};
use super::parser::Parser;
use super::types::{named_type, type_name};
use Type::*;

/// The kind of an instruction, by the number of its sources.
#[derive(Debug, Clone, Copy)]
enum Kind {
    One(Unary),
    Two(Binary),
    Three(Ternary),
}
use Kind::{One, Three, Two};

/// An instruction with some types.
#[derive(Debug, Clone, Copy)]
struct Row {
    kind: Kind,
    /// Modifiers directly behind the opcode that belong to its name: `lo` of `mul.lo`.
    mode: &'static [&'static str],
    types: &'static [Type],
    /// Roundings that may be written.
    roundings: &'static [&'static str],
    /// Whether one of them must be.
    rounded: bool,
    /// Other modifiers that may be written.
    flags: u8,
    /// Those that must be.
    required: u8,
}

const FTZ: u8 = 1;
const SAT: u8 = 2;
const RELU: u8 = 4;
const NAN: u8 = 8;
const XORSIGN: u8 = 16;
const ABS: u8 = 32;
/// `.xorsign.abs` of `min` and `max`.
const XORSIGN_ABS: u8 = XORSIGN | ABS;
const FLAGS: [(&str, u8); 6] =
    [("ftz", FTZ), ("sat", SAT), ("relu", RELU), ("NaN", NAN), ("xorsign", XORSIGN), ("abs", ABS)];

const RN: &[&str] = &["rn"];
const IEEE: &[&str] = &["rn", "rz", "rm", "rp"];
const APPROX: &[&str] = &["approx"];
const APPROX_IEEE: &[&str] = &["approx", "rn", "rz", "rm", "rp"];
const FULL_IEEE: &[&str] = &["approx", "full", "rn", "rz", "rm", "rp"];

const INTEGERS: &[Type] = &[U16, U32, U64, S16, S32, S64];
const INTEGERS_BUT_S32: &[Type] = &[U16, U32, U64, S16, S64];
const NARROW: &[Type] = &[U16, U32, S16, S32];
const SIGNED: &[Type] = &[S16, S32, S64];
const WORDS: &[Type] = &[U32, U64, S32, S64];
const BITS: &[Type] = &[B16, B32, B64];
const SHIFTED: &[Type] = &[B16, B32, B64, U16, U32, U64, S16, S32, S64];
const HALVES: &[Type] = &[F16, F16x2];
const BRAINS: &[Type] = &[Bf16, Bf16x2];

const fn row(kind: Kind, types: &'static [Type]) -> Row {
    Row { kind, mode: &[], types, roundings: &[], rounded: false, flags: 0, required: 0 }
}

impl Row {
    const fn mode(self, mode: &'static [&'static str]) -> Row {
        Row { mode, ..self }
    }

    const fn flags(self, flags: u8) -> Row {
        Row { flags, ..self }
    }

    /// Modifiers that must be written.
    const fn needs(self, flags: u8) -> Row {
        Row { flags, required: flags, ..self }
    }

    const fn may_round(self, roundings: &'static [&'static str]) -> Row {
        Row { roundings, ..self }
    }

    const fn rounds(self, roundings: &'static [&'static str]) -> Row {
        Row { roundings, rounded: true, ..self }
    }
}

/// Addition, subtraction and multiplication of floats.
const fn floats(op: Binary) -> [Row; 4] {
    [
        row(Two(op), &[F32]).may_round(IEEE).flags(FTZ | SAT),
        row(Two(op), &[F64]).may_round(IEEE),
        row(Two(op), HALVES).may_round(RN).flags(FTZ | SAT),
        row(Two(op), BRAINS).may_round(RN),
    ]
}

/// `add` and `sub`.
const fn sums(op: Binary) -> [Row; 6] {
    let [single, double, half, brain] = floats(op);
    [row(Two(op), INTEGERS_BUT_S32), row(Two(op), &[S32]).flags(SAT), single, double, half, brain]
}

/// `min` and `max`.
const fn extremes(op: Binary) -> [Row; 6] {
    [
        row(Two(op), INTEGERS_BUT_S32),
        row(Two(op), &[S32]).flags(RELU),
        row(Two(op), &[F32]).flags(FTZ | NAN | XORSIGN_ABS),
        row(Two(op), &[F64]),
        row(Two(op), HALVES).flags(FTZ | NAN | XORSIGN_ABS),
        row(Two(op), BRAINS).flags(NAN | XORSIGN_ABS),
    ]
}

/// `neg` and `abs`.
const fn signs(op: Unary) -> [Row; 5] {
    [
        row(One(op), SIGNED),
        row(One(op), &[F32]).flags(FTZ),
        row(One(op), &[F64]),
        row(One(op), HALVES).flags(FTZ),
        row(One(op), BRAINS),
    ]
}

static ADD: [Row; 6] = sums(Binary::Add);
static SUB: [Row; 6] = sums(Binary::Sub);
static MIN: [Row; 6] = extremes(Binary::Min);
static MAX: [Row; 6] = extremes(Binary::Max);
static NEG: [Row; 5] = signs(Unary::Neg);
static ABSOLUTE: [Row; 5] = signs(Unary::Abs);
static MUL: [Row; 7] = {
    let [single, double, half, brain] = floats(Binary::Mul);
    [
        row(Two(Binary::MulLo), INTEGERS).mode(&["lo"]),
        row(Two(Binary::MulHi), INTEGERS).mode(&["hi"]),
        row(Two(Binary::MulWide), NARROW).mode(&["wide"]),
        single,
        double,
        half,
        brain,
    ]
};
static MAD: [Row; 6] = [
    row(Three(Ternary::MadLo), INTEGERS).mode(&["lo"]),
    row(Three(Ternary::MadHi), INTEGERS_BUT_S32).mode(&["hi"]),
    row(Three(Ternary::MadHi), &[S32]).mode(&["hi"]).flags(SAT),
    row(Three(Ternary::MadWide), NARROW).mode(&["wide"]),
    row(Three(Ternary::Fma), &[F32]).rounds(IEEE).flags(FTZ | SAT),
    row(Three(Ternary::Fma), &[F64]).rounds(IEEE),
];
static FMA: [Row; 4] = [
    row(Three(Ternary::Fma), &[F32]).rounds(IEEE).flags(FTZ | SAT),
    row(Three(Ternary::Fma), &[F64]).rounds(IEEE),
    row(Three(Ternary::Fma), HALVES).rounds(RN).flags(FTZ | SAT | RELU),
    row(Three(Ternary::Fma), BRAINS).rounds(RN).flags(RELU),
];
static DIV: [Row; 3] = [
    row(Two(Binary::Div), INTEGERS),
    row(Two(Binary::Div), &[F32]).rounds(FULL_IEEE).flags(FTZ),
    row(Two(Binary::Div), &[F64]).rounds(IEEE),
];
static SQRT: [Row; 2] =
    [row(One(Unary::Sqrt), &[F32]).rounds(APPROX_IEEE).flags(FTZ), row(One(Unary::Sqrt), &[F64]).rounds(IEEE)];
static RCP: [Row; 3] = [
    row(One(Unary::Rcp), &[F32]).rounds(APPROX_IEEE).flags(FTZ),
    row(One(Unary::Rcp), &[F64]).mode(&["approx"]).needs(FTZ),
    row(One(Unary::Rcp), &[F64]).rounds(IEEE),
];
static RSQRT: [Row; 1] = [row(One(Unary::Rsqrt), &[F32, F64]).rounds(APPROX).flags(FTZ)];
static EX2: [Row; 3] = [
    row(One(Unary::Ex2), &[F32]).rounds(APPROX).flags(FTZ),
    row(One(Unary::Ex2), HALVES).rounds(APPROX),
    row(One(Unary::Ex2), BRAINS).rounds(APPROX).needs(FTZ),
];
static LG2: [Row; 1] = [row(One(Unary::Lg2), &[F32]).rounds(APPROX).flags(FTZ)];
static SIN: [Row; 1] = [row(One(Unary::Sin), &[F32]).rounds(APPROX).flags(FTZ)];
static COS: [Row; 1] = [row(One(Unary::Cos), &[F32]).rounds(APPROX).flags(FTZ)];
static TANH: [Row; 1] = [row(One(Unary::Tanh), &[F32, F16, F16x2, Bf16, Bf16x2]).rounds(APPROX)];
static SHF: [Row; 4] = [
    row(Three(Ternary::ShfLeftClamp), &[B32]).mode(&["l", "clamp"]),
    row(Three(Ternary::ShfLeftWrap), &[B32]).mode(&["l", "wrap"]),
    row(Three(Ternary::ShfRightClamp), &[B32]).mode(&["r", "clamp"]),
    row(Three(Ternary::ShfRightWrap), &[B32]).mode(&["r", "wrap"]),
];
static BFIND: [Row; 2] = [row(One(Unary::BfindShiftAmount), WORDS).mode(&["shiftamt"]), row(One(Unary::Bfind), WORDS)];
static REM: [Row; 1] = [row(Two(Binary::Rem), INTEGERS)];
static AND: [Row; 1] = [row(Two(Binary::And), BITS)];
static OR: [Row; 1] = [row(Two(Binary::Or), BITS)];
static XOR: [Row; 1] = [row(Two(Binary::Xor), BITS)];
static SHL: [Row; 1] = [row(Two(Binary::Shl), BITS)];
static SHR: [Row; 1] = [row(Two(Binary::Shr), SHIFTED)];
static MUL24: [Row; 1] = [row(Two(Binary::Mul24Lo), &[U32, S32]).mode(&["lo"])];
static COPYSIGN: [Row; 1] = [row(Two(Binary::CopySign), &[F32, F64])];
static NOT: [Row; 1] = [row(One(Unary::Not), BITS)];
static CNOT: [Row; 1] = [row(One(Unary::CNot), BITS)];
static POPC: [Row; 1] = [row(One(Unary::Popc), &[B32, B64])];
static CLZ: [Row; 1] = [row(One(Unary::Clz), &[B32, B64])];
static BREV: [Row; 1] = [row(One(Unary::Brev), &[B32, B64])];
static SAD: [Row; 1] = [row(Three(Ternary::Sad), INTEGERS)];
static BFE: [Row; 1] = [row(Three(Ternary::Bfe), WORDS)];
static PRMT: [Row; 1] = [row(Three(Ternary::Prmt), &[B32])];
static LOP3: [Row; 1] = [row(Three(Ternary::Lop3(0)), &[B32])];

/// All that is known of an opcode.
fn rows(opcode: &str) -> Option<&'static [Row]> {
    Some(match opcode {
        "add" => &ADD,
        "sub" => &SUB,
        "mul" => &MUL,
        "mad" => &MAD,
        "fma" => &FMA,
        "div" => &DIV,
        "rem" => &REM,
        "min" => &MIN,
        "max" => &MAX,
        "neg" => &NEG,
        "abs" => &ABSOLUTE,
        "and" => &AND,
        "or" => &OR,
        "xor" => &XOR,
        "not" => &NOT,
        "cnot" => &CNOT,
        "shl" => &SHL,
        "shr" => &SHR,
        "shf" => &SHF,
        "mul24" => &MUL24,
        "sad" => &SAD,
        "popc" => &POPC,
        "clz" => &CLZ,
        "brev" => &BREV,
        "bfind" => &BFIND,
        "bfe" => &BFE,
        "prmt" => &PRMT,
        "lop3" => &LOP3,
        "copysign" => &COPYSIGN,
        "sqrt" => &SQRT,
        "rcp" => &RCP,
        "rsqrt" => &RSQRT,
        "ex2" => &EX2,
        "lg2" => &LG2,
        "sin" => &SIN,
        "cos" => &COS,
        "tanh" => &TANH,
        _ => return None,
    })
}

/// A rounding by its modifier.
pub(super) fn rounding(name: &str) -> Option<Rounding> {
    Some(match name {
        "rn" => Rounding::NearestEven,
        "rna" => Rounding::NearestAway,
        "rz" => Rounding::Zero,
        "rm" => Rounding::Down,
        "rp" => Rounding::Up,
        "rni" => Rounding::IntegerNearest,
        "rzi" => Rounding::IntegerZero,
        "rmi" => Rounding::IntegerDown,
        "rpi" => Rounding::IntegerUp,
        "approx" => Rounding::Approximate,
        "full" => Rounding::Full,
        _ => return None,
    })
}

/// The type of twice the width.
fn wide(ty: Type) -> Type {
    match ty {
        U16 => U32,
        S16 => S32,
        U32 => U64,
        S32 => S64,
        other => other,
    }
}

impl Parser<'_> {
    /// An instruction of the table, one with a carry, or `bfi`.
    pub(super) fn arithmetic(&mut self) -> Result<Op, ParseError> {
        let carries = matches!(self.opcode, "add" | "sub" | "mad") && self.modifiers.contains(&"cc");
        if carries || matches!(self.opcode, "addc" | "subc" | "madc") {
            return self.extended();
        }
        if self.opcode == "bfi" {
            return self.bit_field_insert();
        }
        let Some(rows) = rows(self.opcode) else {
            return Err(self.refused("an instruction that this machine knows"));
        };
        let (row, ty) = self.choose(rows)?;
        let modifiers = self.flags(row)?;
        match row.kind {
            One(op) => self.one(op, ty, modifiers),
            Two(op) => self.two(op, ty, modifiers),
            Three(op) => self.three(op, ty, modifiers),
        }
    }

    /// The row with this mode and type, which is the last modifier.
    fn choose(&mut self, rows: &'static [Row]) -> Result<(&'static Row, Type), ParseError> {
        let ty = self.modifiers.last().and_then(|name| named_type(name));
        let in_mode = |row: &&Row| self.modifiers.starts_with(row.mode);
        if let Some(row) = rows.iter().filter(in_mode).find(|row| ty.is_some_and(|ty| row.types.contains(&ty))) {
            self.understood = row.mode.len();
            return Ok((row, ty.unwrap_or(Pred)));
        }
        let types: Vec<String> =
            rows.iter().filter(in_mode).flat_map(|row| row.types).map(|&ty| type_name(ty)).collect();
        if types.is_empty() {
            let modes: Vec<String> = rows.iter().map(|row| format!(".{}", row.mode.join("."))).collect();
            return Err(self.refused(format!("one of {} behind `{}`", modes.join(" "), self.opcode)));
        }
        Err(self.refused(format!("one of the types {}", types.join(" "))))
    }

    /// The modifiers between mode and type, which a row must allow.
    fn flags(&mut self, row: &Row) -> Result<Modifiers, ParseError> {
        // `rcp.approx.ftz.f64`: the rounding is the mode.
        let mut modifiers =
            Modifiers { rounding: row.mode.first().and_then(|mode| rounding(mode)), ..Modifiers::default() };
        let mut seen = 0;
        while self.understood + 1 < self.modifiers.len() {
            let name = self.modifiers[self.understood];
            if row.roundings.contains(&name) && modifiers.rounding.is_none() {
                modifiers.rounding = rounding(name);
            } else if let Some(&(_, flag)) =
                FLAGS.iter().find(|&&(known, flag)| known == name && row.flags & flag & !seen != 0)
            {
                seen |= flag;
            } else {
                return Err(self.bad_modifier("modifiers that this instruction has with this type"));
            }
            self.understood += 1;
        }
        if row.rounded && modifiers.rounding.is_none() {
            return Err(self.refused(format!("one of the roundings .{}", row.roundings.join(" ."))));
        }
        if seen & row.required != row.required {
            return Err(self.refused("`.ftz`, which this instruction must have with this type"));
        }
        if matches!(seen & XORSIGN_ABS, XORSIGN | ABS) {
            return Err(self.refused("`.xorsign.abs` together"));
        }
        self.understood += 1;
        modifiers.ftz = seen & FTZ != 0;
        modifiers.saturate = seen & SAT != 0;
        modifiers.relu = seen & RELU != 0;
        modifiers.nan = seen & NAN != 0;
        modifiers.xorsign_abs = seen & XORSIGN_ABS != 0;
        if modifiers.saturate && modifiers.relu {
            return Err(self.refused("`.sat` or `.relu`, not both"));
        }
        Ok(modifiers)
    }

    fn one(&mut self, op: Unary, ty: Type, modifiers: Modifiers) -> Result<Op, ParseError> {
        let counts = matches!(op, Unary::Popc | Unary::Clz | Unary::Bfind | Unary::BfindShiftAmount);
        let d = self.register(if counts { U32 } else { ty })?;
        self.comma()?;
        Ok(Op::Unary { op, ty, modifiers, d, a: self.source(ty)? })
    }

    fn two(&mut self, op: Binary, ty: Type, modifiers: Modifiers) -> Result<Op, ParseError> {
        let d = self.register(if op == Binary::MulWide { wide(ty) } else { ty })?;
        let a = self.next_source(ty)?;
        let b = self.next_source(if matches!(op, Binary::Shl | Binary::Shr) { U32 } else { ty })?;
        Ok(Op::Binary { op, ty, modifiers, d, a, b })
    }

    fn three(&mut self, op: Ternary, ty: Type, modifiers: Modifiers) -> Result<Op, ParseError> {
        use Ternary::*;
        let (d_ty, b_ty, c_ty) = match op {
            MadWide => (wide(ty), ty, wide(ty)),
            Sad => (ty, ty, ty),
            Bfe => (ty, U32, U32),
            ShfLeftClamp | ShfLeftWrap | ShfRightClamp | ShfRightWrap => (ty, ty, U32),
            _ => (ty, ty, ty),
        };
        let d = self.register(d_ty)?;
        let a = self.next_source(ty)?;
        let b = self.next_source(b_ty)?;
        let c = self.next_source(c_ty)?;
        let op = if matches!(op, Lop3(_)) { Lop3(self.table()?) } else { op };
        Ok(Op::Ternary { op, ty, modifiers, d, a, b, c })
    }

    /// The table of `lop3`.
    fn table(&mut self) -> Result<u8, ParseError> {
        self.comma()?;
        let table = self.number("a table of 8 bits")?;
        u8::try_from(table).map_err(|_| self.reader.error(format!("{table}"), "a table of 8 bits"))
    }

    /// `add.cc`, `addc`, `mad.lo.cc`, … (§9.7.2).
    fn extended(&mut self) -> Result<Op, ParseError> {
        let carry_in = self.opcode.ends_with('c');
        let op = match self.opcode {
            "add" | "addc" => Binary::Add,
            "sub" | "subc" => Binary::Sub,
            _ => self.need(&[("lo", Binary::MulLo), ("hi", Binary::MulHi)])?,
        };
        let carry_out = self.modifier("cc");
        let ty = self.ty(WORDS)?;
        self.done()?;
        let d = self.register(ty)?;
        let a = self.next_source(ty)?;
        let b = self.next_source(ty)?;
        let c: Option<Operand> = match op {
            Binary::MulLo | Binary::MulHi => Some(self.next_source(ty)?),
            _ => None,
        };
        Ok(Op::Extended { op, ty, carry_in, carry_out, d, a, b, c })
    }

    fn bit_field_insert(&mut self) -> Result<Op, ParseError> {
        let ty = self.ty(&[B32, B64])?;
        self.done()?;
        let d = self.register(ty)?;
        let a = self.next_source(ty)?;
        let b = self.next_source(ty)?;
        let position = self.next_source(U32)?;
        let length = self.next_source(U32)?;
        Ok(Op::Bfi { ty, d, a, b, position, length })
    }
}
