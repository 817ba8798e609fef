//! Atomic operations and fences (§9.7.13.4, §9.7.13.12, §9.7.13.13).

use super::ParseError;
use super::ast::{Atomic, Op, Ordering, Scope, Space, Type};
use super::memory::SCOPES;
use super::parser::Parser;
use super::types::{Width, type_name};
use Type::*;

const ATOMIC: &[Type] = &[B16, B32, B64, B128, U32, U64, S32, S64, F32, F64, F16, F16x2, Bf16, Bf16x2];

impl Parser<'_> {
    /// `atom{.sem}{.scope}{.space}.op.type d, [a], b{, c}`; `red` without `d` (§9.7.13.12, §9.7.13.13).
    pub(super) fn atomic(&mut self) -> Result<Op, ParseError> {
        let atom = self.opcode == "atom";
        let orderings: &[(&str, Ordering)] = if atom {
            &[
                ("relaxed", Ordering::Relaxed),
                ("acquire", Ordering::Acquire),
                ("release", Ordering::Release),
                ("acq_rel", Ordering::AcqRel),
            ]
        } else {
            &[("relaxed", Ordering::Relaxed), ("release", Ordering::Release)]
        };
        let ordering = self.one_of(orderings).unwrap_or(Ordering::Relaxed);
        let scope = self.one_of(&SCOPES).unwrap_or(Scope::Gpu);
        let space = self.space(&[Space::Generic, Space::Global, Space::Shared, Space::SharedCluster])?;
        let op = self.atomic_operation(atom)?;
        let half = op == Atomic::Add && self.modifier("noftz");
        let policy = self.modifier("L2::cache_hint");
        let elements = self.elements();
        let ty = self.ty(ATOMIC)?;
        self.done()?;
        self.check_atomic(op, ty, half, elements, space)?;
        let count = elements.unwrap_or(1);
        let d = if atom {
            let d = match elements {
                None => vec![self.register_or_sink(ty, Width::Exact)?],
                Some(_) => self.vector(count, |parser| parser.register_or_sink(ty, Width::Exact))?,
            };
            self.comma()?;
            Some(d)
        } else {
            None
        };
        let address = self.address(space)?;
        self.comma()?;
        let b = match elements {
            None => vec![self.source(ty)?],
            Some(_) => self.vector(count, |parser| parser.source(ty))?,
        };
        let c = if op == Atomic::Cas { Some(self.next_source(ty)?) } else { None };
        self.cache_policy(policy)?;
        Ok(Op::Atom { op, space, ty, ordering, scope, d, address, b, c })
    }

    fn atomic_operation(&mut self, atom: bool) -> Result<Atomic, ParseError> {
        const BOTH: [(&str, Atomic); 8] = [
            ("and", Atomic::And),
            ("or", Atomic::Or),
            ("xor", Atomic::Xor),
            ("add", Atomic::Add),
            ("inc", Atomic::Inc),
            ("dec", Atomic::Dec),
            ("min", Atomic::Min),
            ("max", Atomic::Max),
        ];
        match self.one_of(&[("exch", Atomic::Exch), ("cas", Atomic::Cas)]) {
            Some(op) if atom => Ok(op),
            Some(_) => Err(self.refused("`atom`, for `red` has no result")),
            None => self.need(&BOTH),
        }
    }

    fn check_atomic(
        &self,
        op: Atomic,
        ty: Type,
        half: bool,
        elements: Option<usize>,
        space: Space,
    ) -> Result<(), ParseError> {
        let halves = matches!(ty, F16 | F16x2 | Bf16 | Bf16x2);
        if halves != half {
            return Err(self.refused("`.noftz` with .f16, .f16x2, .bf16 and .bf16x2, and with them alone"));
        }
        if let Some(count) = elements {
            let bytes = count * ty.bytes() as usize;
            let vector = op == Atomic::Add && space == Space::Global && (halves || ty == F32) && bytes <= 16;
            return if vector {
                Ok(())
            } else {
                Err(self.refused("a vector of floats that is added to global memory"))
            };
        }
        let known = match op {
            Atomic::And | Atomic::Or | Atomic::Xor => matches!(ty, B32 | B64),
            Atomic::Exch => matches!(ty, B32 | B64 | B128),
            Atomic::Cas => matches!(ty, B16 | B32 | B64 | B128),
            Atomic::Add => matches!(ty, U32 | S32 | U64 | F32 | F64) || halves,
            Atomic::Inc | Atomic::Dec => ty == U32,
            Atomic::Min | Atomic::Max => matches!(ty, U32 | S32 | U64 | S64),
        };
        if known { Ok(()) } else { Err(self.refused(format!("a type that it has: not {}", type_name(ty)))) }
    }

    /// `fence{.sem}.scope`, `fence.proxy.…`, `fence.mbarrier_init.release.cluster` (§9.7.13.4).
    pub(super) fn fence(&mut self) -> Result<Op, ParseError> {
        if matches!(self.next_modifier(), Some("proxy" | "mbarrier_init")) {
            return self.fence_proxy();
        }
        let orderings = [
            ("sc", Ordering::SeqCst),
            ("acq_rel", Ordering::AcqRel),
            ("acquire", Ordering::Acquire),
            ("release", Ordering::Release),
        ];
        let ordering = self.one_of(&orderings).unwrap_or(Ordering::AcqRel);
        let scope = self.need(&SCOPES)?;
        self.done()?;
        Ok(Op::Fence { ordering, scope })
    }

    fn fence_proxy(&mut self) -> Result<Op, ParseError> {
        let kind = self.modifiers.join(".");
        let tensor_map = |order: &str| {
            let scope = kind.strip_prefix(&format!("proxy.tensormap::generic.{order}."));
            scope.is_some_and(|scope| SCOPES.iter().any(|(name, _)| *name == scope))
        };
        let acquires = tensor_map("acquire");
        const PLAIN: [&str; 6] = [
            "proxy.alias",
            "proxy.async",
            "proxy.async.global",
            "proxy.async.shared::cta",
            "proxy.async.shared::cluster",
            "mbarrier_init.release.cluster",
        ];
        if !(PLAIN.contains(&kind.as_str()) || acquires || tensor_map("release")) {
            return Err(self.refused("a fence that this machine knows"));
        }
        self.understood = self.modifiers.len();
        if acquires {
            self.address(Space::Generic)?;
            self.comma()?;
            self.number("a number of bytes")?;
        }
        Ok(Op::FenceProxy { kind })
    }

    /// `membar.level`: `fence.sc` of that scope.
    pub(super) fn memory_barrier(&mut self) -> Result<Op, ParseError> {
        let scope = self.need(&[("cta", Scope::Cta), ("gl", Scope::Gpu), ("sys", Scope::Sys)])?;
        self.done()?;
        Ok(Op::Fence { ordering: Ordering::SeqCst, scope })
    }
}
