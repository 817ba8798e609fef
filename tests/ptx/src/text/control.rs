//! Comparisons, selections, predicates and branches (§9.7.6, §9.7.7, §9.7.12).

use super::ParseError;
use super::ast::{BoolOp, Compare, Op, Operand, Predicate, Register, Type};
use super::body::Pending;
use super::parser::Parser;
use Type::*;

const COMPARED: &[Type] = &[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64, F16, F16x2, Bf16, Bf16x2];
const SELECTED: &[Type] = &[B16, B32, B64, U16, U32, U64, S16, S32, S64, F32, F64];
const SET: &[Type] = &[U32, S32, F32, U16, S16, F16, F16x2, Bf16, Bf16x2];

#[rustfmt::skip]
const COMPARISONS: [(&str, Compare); 18] = [
    ("eq", Compare::Eq), ("ne", Compare::Ne), ("lt", Compare::Lt), ("le", Compare::Le), ("gt", Compare::Gt),
    ("ge", Compare::Ge), ("lo", Compare::Lo), ("ls", Compare::Ls), ("hi", Compare::Hi), ("hs", Compare::Hs),
    ("equ", Compare::Equ), ("neu", Compare::Neu), ("ltu", Compare::Ltu), ("leu", Compare::Leu),
    ("gtu", Compare::Gtu), ("geu", Compare::Geu), ("num", Compare::Num), ("nan", Compare::Nan),
];
const BOOL_OPS: [(&str, BoolOp); 3] = [("and", BoolOp::And), ("or", BoolOp::Or), ("xor", BoolOp::Xor)];

/// Whether a type has a comparison (§9.3).
fn comparable(compare: Compare, ty: Type) -> bool {
    use Compare::*;
    match ty {
        B16 | B32 | B64 => matches!(compare, Eq | Ne),
        S16 | S32 | S64 => matches!(compare, Eq | Ne | Lt | Le | Gt | Ge),
        U16 | U32 | U64 => matches!(compare, Eq | Ne | Lt | Le | Gt | Ge | Lo | Ls | Hi | Hs),
        _ => !matches!(compare, Lo | Ls | Hi | Hs),
    }
}

/// Whether `set` gives a result of one type for operands of another.
fn settable(d: Type, ty: Type) -> bool {
    match ty {
        F16 => matches!(d, F16 | U16 | S16 | U32 | S32),
        Bf16 => matches!(d, Bf16 | U16 | S16 | U32 | S32),
        F16x2 => matches!(d, F16x2 | U32 | S32),
        Bf16x2 => matches!(d, Bf16x2 | U32 | S32),
        _ => matches!(d, U32 | S32 | F32),
    }
}

impl Parser<'_> {
    pub(super) fn control(&mut self) -> Result<Op, ParseError> {
        match self.opcode {
            "setp" => self.set_predicate(),
            "set" => self.set(),
            "selp" => self.select(),
            "slct" => self.select_by_sign(),
            "bra" => self.branch(),
            "brx" => self.indexed_branch(),
            "nanosleep" => {
                self.ty(&[U32])?;
                self.done()?;
                self.source(U32)?;
                Ok(Op::Nanosleep)
            }
            "trap" => self.done().map(|()| Op::Trap),
            // `.uni` says that all threads of the warp leave together: a promise that changes nothing here.
            _ => {
                if self.opcode == "ret" {
                    self.modifier("uni");
                }
                self.done().map(|()| Op::Exit)
            }
        }
    }

    /// Comparison, `.and` and its like, `.ftz`.
    fn comparison(&mut self) -> Result<(Compare, Option<BoolOp>, bool), ParseError> {
        let compare = self.need(&COMPARISONS)?;
        let bool_op = self.one_of(&BOOL_OPS);
        Ok((compare, bool_op, self.modifier("ftz")))
    }

    /// Checks the demands of the comparison and `.ftz` on the type.
    fn check_comparison(&self, compare: Compare, ftz: bool, ty: Type) -> Result<(), ParseError> {
        if !comparable(compare, ty) {
            return Err(self.refused("a comparison that this type has"));
        }
        if ftz && !matches!(ty, F32 | F16 | F16x2) {
            return Err(self.refused("`.ftz` with .f32, .f16 or .f16x2 alone"));
        }
        Ok(())
    }

    fn joined(&mut self, bool_op: Option<BoolOp>) -> Result<Option<(BoolOp, Predicate)>, ParseError> {
        let Some(op) = bool_op else { return Ok(None) };
        self.comma()?;
        Ok(Some((op, self.predicate()?)))
    }

    fn set_predicate(&mut self) -> Result<Op, ParseError> {
        let (compare, bool_op, ftz) = self.comparison()?;
        let ty = self.ty(COMPARED)?;
        self.done()?;
        self.check_comparison(compare, ftz, ty)?;
        let (p, q) = self.predicate_pair()?;
        let a = self.next_source(ty)?;
        let b = self.next_source(ty)?;
        let join = self.joined(bool_op)?;
        Ok(Op::Setp { compare, ty, ftz, p, q, a, b, join })
    }

    /// `%p`, `%p|%q`, `_|%q`, `%p|_`.
    fn predicate_pair(&mut self) -> Result<(Register, Option<Register>), ParseError> {
        let first = self.register_or_sink(Pred, super::types::Width::Exact)?;
        let second =
            if self.reader.accept('|')? { self.register_or_sink(Pred, super::types::Width::Exact)? } else { None };
        let first = match first {
            Some(register) => register,
            None => self.unnamed(Pred)?,
        };
        Ok((first, second))
    }

    fn set(&mut self) -> Result<Op, ParseError> {
        let (compare, bool_op, ftz) = self.comparison()?;
        let d_ty = self.ty(SET)?;
        let ty = self.ty(COMPARED)?;
        self.done()?;
        self.check_comparison(compare, ftz, ty)?;
        if !settable(d_ty, ty) {
            return Err(self.refused("a type of the result that `set` has with this type of the operands"));
        }
        let d = self.register(d_ty)?;
        let a = self.next_source(ty)?;
        let b = self.next_source(ty)?;
        let join = self.joined(bool_op)?;
        Ok(Op::Set { compare, d_ty, ty, ftz, d, a, b, join })
    }

    fn select(&mut self) -> Result<Op, ParseError> {
        let ty = self.ty(SELECTED)?;
        self.done()?;
        let d = self.register(ty)?;
        let a = self.next_source(ty)?;
        let b = self.next_source(ty)?;
        self.comma()?;
        Ok(Op::Selp { ty, d, a, b, p: self.predicate()? })
    }

    fn select_by_sign(&mut self) -> Result<Op, ParseError> {
        let ftz = self.modifier("ftz");
        let ty = self.ty(SELECTED)?;
        let c_ty = self.ty(if ftz { &[F32] } else { &[S32, F32] })?;
        self.done()?;
        let d = self.register(ty)?;
        let a = self.next_source(ty)?;
        let b = self.next_source(ty)?;
        self.comma()?;
        Ok(Op::Slct { ty, c_ty, ftz, d, a, b, c: self.source(c_ty)? })
    }

    /// `and.pred` and its like, `not.pred`.
    pub(super) fn predicates(&mut self) -> Result<Op, ParseError> {
        self.ty(&[Pred])?;
        self.done()?;
        let d = self.predicate_register()?;
        self.comma()?;
        let a = self.predicate()?;
        let op = match self.opcode {
            "not" => return Ok(Op::PredNot { d, a }),
            "and" => BoolOp::And,
            "or" => BoolOp::Or,
            _ => BoolOp::Xor,
        };
        self.comma()?;
        Ok(Op::PredBinary { op, d, a, b: self.predicate()? })
    }

    fn branch(&mut self) -> Result<Op, ParseError> {
        let uniform = self.modifier("uni");
        self.done()?;
        let label = self.reader.word("a label")?;
        let (line, instruction) = (self.reader.line, self.kernel.body.len());
        self.scope().pending.push(Pending { label, line, instruction, slot: 0 });
        Ok(Op::Bra { target: u32::MAX, uniform })
    }

    /// `brx.idx index, list`.
    fn indexed_branch(&mut self) -> Result<Op, ParseError> {
        self.need_all(&["idx"])?;
        let uniform = self.modifier("uni");
        self.done()?;
        let index: Operand = self.source(U32)?;
        self.comma()?;
        let name = self.reader.word("the label of `.branchtargets`")?;
        let Some(labels) = self.scopes.iter().rev().find_map(|scope| scope.lists.get(name)).cloned() else {
            return Err(self.reader.error(format!("`{name}`"), "the label of a `.branchtargets` that stands before"));
        };
        let (line, instruction) = (self.reader.line, self.kernel.body.len());
        let targets = vec![u32::MAX; labels.len()];
        let pending = labels.into_iter().enumerate().map(|(slot, label)| Pending { label, line, instruction, slot });
        self.scope().pending.extend(pending);
        Ok(Op::BrxIdx { index, targets, uniform })
    }
}
