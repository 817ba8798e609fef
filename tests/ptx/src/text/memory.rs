//! Moves, loads, stores and addresses (§9.7.9).

use super::ParseError;
use super::ast::{Compare, Op, Operand, Ordering, Register, Scope, Space, Special, Type};
use super::lexer::Token;
use super::parser::Parser;
use super::reader::Constant;
use super::types::Width;
use Type::*;

const MOVED: &[Type] = &[Pred, B16, B32, B64, B128, U16, U32, U64, S16, S32, S64, F32, F64];
const LOADED: &[Type] = &[B8, B16, B32, B64, B128, U8, U16, U32, U64, S8, S16, S32, S64, F32, F64];

const SPACES: [(&str, Space); 9] = [
    ("global", Space::Global),
    ("shared", Space::Shared),
    ("shared::cta", Space::Shared),
    ("shared::cluster", Space::SharedCluster),
    ("local", Space::Local),
    ("const", Space::Const),
    ("param", Space::Param),
    ("param::entry", Space::Param),
    ("generic", Space::Generic),
];
pub(super) const SCOPES: [(&str, Scope); 4] =
    [("cta", Scope::Cta), ("cluster", Scope::Cluster), ("gpu", Scope::Gpu), ("sys", Scope::Sys)];

/// Hints on the caches that hold a line and the time that they do: they change no value (§9.7.9.1, §9.7.9.2).
#[rustfmt::skip]
const CACHE_HINTS: [(&str, ()); 19] = [
    ("ca", ()), ("cg", ()), ("cs", ()), ("lu", ()), ("cv", ()), ("wb", ()), ("wt", ()),
    ("L1::evict_normal", ()), ("L1::evict_unchanged", ()), ("L1::evict_first", ()), ("L1::evict_last", ()),
    ("L1::no_allocate", ()), ("L2::evict_normal", ()), ("L2::evict_first", ()), ("L2::evict_last", ()),
    ("L2::64B", ()), ("L2::128B", ()), ("L2::256B", ()), ("level::eviction_priority", ()),
];

/// An operand between the braces of a `mov`, before their number decides its type.
enum Part<'a> {
    Sink,
    Name(&'a str),
    Constant(Constant),
}

impl<'a> Parser<'a> {
    pub(super) fn memory(&mut self) -> Result<Op, ParseError> {
        match self.opcode {
            "mov" => self.mov(),
            "ld" | "ldu" => self.load(),
            "st" => self.store(),
            "cvta" => self.convert_address(),
            "isspacep" => self.is_space(),
            "createpolicy" => self.create_policy(),
            "atom" | "red" => self.atomic(),
            "fence" => self.fence(),
            "membar" => self.memory_barrier(),
            "mapa" => self.map_address(),
            "getctarank" => self.cta_rank(),
            _ => self.prefetch(),
        }
    }

    fn mov(&mut self) -> Result<Op, ParseError> {
        let ty = self.ty(MOVED)?;
        self.done()?;
        if ty == Pred {
            return self.mov_predicate();
        }
        if self.reader.peek() == Token::Mark('{') {
            return self.unpack(ty);
        }
        let d = self.register(ty)?;
        self.comma()?;
        if self.reader.peek() == Token::Mark('{') {
            return self.pack(ty, d);
        }
        Ok(Op::Mov { ty, d, a: self.source_or_name(ty, Width::Exact)? })
    }

    /// `mov.pred`. The one special register that is a predicate becomes a comparison with 0.
    fn mov_predicate(&mut self) -> Result<Op, ParseError> {
        let d = self.predicate_register()?;
        self.comma()?;
        if self.reader.peek() == Token::Word("%is_explicit_cluster") {
            self.reader.take()?;
            let (a, b) = (Operand::Special(Special::IsExplicitCluster), Operand::Immediate(0));
            return Ok(Op::Setp { compare: Compare::Ne, ty: U32, ftz: false, p: d, q: None, a, b, join: None });
        }
        Ok(Op::PredMov { d, a: self.predicate()? })
    }

    fn parts(&mut self, ty: Type) -> Result<(Type, Vec<Part<'a>>), ParseError> {
        self.reader.expect('{')?;
        let mut parts = Vec::with_capacity(4);
        loop {
            parts.push(match self.reader.peek() {
                Token::Word("_") => {
                    self.reader.take()?;
                    Part::Sink
                }
                _ if self.reader.at_constant() => Part::Constant(self.reader.constant()?),
                _ => Part::Name(self.reader.word("a register")?),
            });
            if self.reader.accept('}')? {
                break;
            }
            self.reader.expect(',')?;
        }
        match (ty, parts.len()) {
            (B16, 2) | (B32, 4) => Ok((B8, parts)),
            (B32, 2) | (B64, 4) => Ok((B16, parts)),
            (B64, 2) | (B128, 4) => Ok((B32, parts)),
            (B128, 2) => Ok((B64, parts)),
            (_, count) => {
                let found = format!("{count} parts in `{}`", self.mnemonic());
                Err(self.reader.error(found, "2 or 4 parts of .b16, .b32, .b64 or .b128"))
            }
        }
    }

    /// `mov.b64 {a, b}, d`.
    fn unpack(&mut self, ty: Type) -> Result<Op, ParseError> {
        let (part, parts) = self.parts(ty)?;
        let registers = parts.into_iter().map(|name| match name {
            Part::Sink => Ok(None),
            Part::Name(name) => self.checked(name, part, Width::Exact).map(Some),
            Part::Constant(_) => Err(self.reader.error("a constant that is written to", "a register or `_`")),
        });
        let parts = registers.collect::<Result<Vec<_>, _>>()?;
        self.comma()?;
        Ok(Op::Unpack { ty, parts, a: self.source(ty)? })
    }

    /// `mov.b64 d, {a, b}`.
    fn pack(&mut self, ty: Type, d: Register) -> Result<Op, ParseError> {
        let (part, parts) = self.parts(ty)?;
        let operands = parts.into_iter().map(|name| match name {
            Part::Name(name) => self.checked(name, part, Width::Exact).map(Operand::Register),
            Part::Constant(constant) => self.constant_of(part, constant),
            Part::Sink => Err(self.reader.error("`_` that is read", "a register or a constant")),
        });
        let parts = operands.collect::<Result<Vec<_>, _>>()?;
        Ok(Op::Pack { ty, d, parts })
    }

    /// A state space, generic where none is written, of those that the instruction may have.
    pub(super) fn space(&mut self, allowed: &[Space]) -> Result<Space, ParseError> {
        let space = self.one_of(&SPACES).unwrap_or(Space::Generic);
        if allowed.contains(&space) {
            return Ok(space);
        }
        Err(self.refused(format!("one of the state spaces {allowed:?}")))
    }

    /// Hints, of which one comes with an operand, the cache policy: whether it does.
    fn cache_hints(&mut self) -> bool {
        let mut policy = false;
        loop {
            if self.modifier("L2::cache_hint") {
                policy = true;
            } else if self.one_of(&CACHE_HINTS).is_none() {
                return policy;
            }
        }
    }

    /// The operand of `.L2::cache_hint`, which is dropped.
    pub(super) fn cache_policy(&mut self, there: bool) -> Result<(), ParseError> {
        if there {
            self.comma()?;
            self.source(B64)?;
        }
        Ok(())
    }

    /// `.weak`, `.volatile`, or an order with its scope.
    fn ordering(&mut self, ordered: &[(&str, Ordering)]) -> Result<(Ordering, Scope), ParseError> {
        if self.modifier("weak") {
            return Ok((Ordering::Weak, Scope::Cta));
        }
        if self.modifier("volatile") {
            return Ok((Ordering::Volatile, Scope::Sys));
        }
        match self.one_of(ordered) {
            Some(ordering) => Ok((ordering, self.need(&SCOPES)?)),
            None => Ok((Ordering::Weak, Scope::Cta)),
        }
    }

    /// `.v2` and its like: how many elements; `None`: no vector.
    pub(super) fn elements(&mut self) -> Option<usize> {
        self.one_of(&[("v2", 2), ("v4", 4), ("v8", 8)])
    }

    /// A vector has at most 16 bytes, in global memory 32.
    fn check_elements(&self, elements: Option<usize>, ty: Type, space: Space) -> Result<(), ParseError> {
        let bytes = elements.unwrap_or(1) * ty.bytes() as usize;
        let most = if space == Space::Global && self.architecture() >= 100 { 32 } else { 16 };
        let wide = bytes <= 16 || matches!(ty.bytes(), 4 | 8);
        let eight = elements != Some(8) || ty.bytes() == 4;
        if bytes <= most && wide && eight && (elements.is_none() || ty != B128) {
            return Ok(());
        }
        Err(self.refused("a vector of at most 16 bytes, or of 32 in global memory for sm_100 and newer"))
    }

    fn load(&mut self) -> Result<Op, ParseError> {
        let (ordering, scope) = if self.opcode == "ld" {
            self.ordering(&[("relaxed", Ordering::Relaxed), ("acquire", Ordering::Acquire)])?
        } else {
            (Ordering::Weak, Scope::Cta)
        };
        let space = if self.opcode == "ld" {
            use Space::*;
            self.space(&[Generic, Global, Shared, SharedCluster, Local, Const, Param])?
        } else {
            self.space(&[Space::Generic, Space::Global])?
        };
        let mut policy = self.cache_hints();
        let non_coherent = space == Space::Global && ordering == Ordering::Weak && self.modifier("nc");
        policy |= self.cache_hints();
        let elements = self.elements();
        let ty = self.ty(LOADED)?;
        self.done()?;
        self.check_elements(elements, ty, space)?;
        let d = match elements {
            None => vec![Some(self.register_of(ty, Width::Wider)?)],
            Some(count) => {
                let d = self.vector(count, |parser| parser.register_or_sink(ty, Width::Wider))?;
                self.check_same_width(d.iter().flatten().copied())?;
                if d.iter().all(Option::is_none) {
                    return Err(self.refused("at least one register that is loaded into"));
                }
                d
            }
        };
        self.comma()?;
        let address = self.address(space)?;
        self.cache_policy(policy)?;
        Ok(Op::Ld { space, ty, ordering, scope, non_coherent, d, address })
    }

    /// The registers of a vector have one width.
    fn check_same_width(&self, registers: impl Iterator<Item = Register>) -> Result<(), ParseError> {
        let mut widths = registers.map(|register| self.kernel.registers[register.0 as usize].ty.bytes());
        let Some(first) = widths.next() else { return Ok(()) };
        if widths.all(|width| width == first) {
            return Ok(());
        }
        let found = format!("registers of several widths in `{}`", self.mnemonic());
        Err(self.reader.error(found, "a vector whose registers are equally wide"))
    }

    fn store(&mut self) -> Result<Op, ParseError> {
        let (ordering, scope) = self.ordering(&[("relaxed", Ordering::Relaxed), ("release", Ordering::Release)])?;
        use Space::*;
        let space = self.space(&[Generic, Global, Shared, SharedCluster, Local])?;
        let policy = self.cache_hints();
        let elements = self.elements();
        let ty = self.ty(LOADED)?;
        self.done()?;
        self.check_elements(elements, ty, space)?;
        let address = self.address(space)?;
        self.comma()?;
        let a = match elements {
            None => vec![self.source_of(ty, Width::Wider)?],
            Some(count) => {
                let a = self.vector(count, |parser| parser.source_of(ty, Width::Wider))?;
                self.check_same_width(a.iter().filter_map(|operand| match operand {
                    Operand::Register(register) => Some(*register),
                    _ => None,
                }))?;
                a
            }
        };
        self.cache_policy(policy)?;
        Ok(Op::St { space, ty, ordering, scope, a, address })
    }

    /// `cvta{.to}.space.u64`.
    fn convert_address(&mut self) -> Result<Op, ParseError> {
        let to = self.modifier("to");
        use Space::*;
        let space = self.space(&[Global, Shared, SharedCluster, Local, Const, Param])?;
        let ty = self.ty(&[U64])?;
        self.done()?;
        let d = self.register(ty)?;
        self.comma()?;
        let a = self.source_or_name(ty, Width::Exact)?;
        self.check_symbol(a, space)?;
        Ok(Op::Cvta { to, space, ty, d, a })
    }

    /// The variable of an operand lies in the instruction's space.
    fn check_symbol(&self, operand: Operand, space: Space) -> Result<(), ParseError> {
        let Operand::Symbol(symbol, _) = operand else { return Ok(()) };
        let declared = self.symbol_space(symbol);
        if declared == space || declared == Space::Shared && space == Space::SharedCluster {
            return Ok(());
        }
        let found = format!("a variable in {declared:?} memory in `{}`", self.mnemonic());
        Err(self.reader.error(found, format!("a variable in {space:?} memory")))
    }

    fn is_space(&mut self) -> Result<Op, ParseError> {
        use Space::*;
        let space = self.space(&[Global, Shared, SharedCluster, Local, Const, Param])?;
        self.done()?;
        let p = self.predicate_register()?;
        self.comma()?;
        Ok(Op::Isspacep { space, p, a: self.source(U64)? })
    }

    /// A cache policy is a value that nothing but cache hints reads: 0 stands for all of them.
    fn create_policy(&mut self) -> Result<Op, ParseError> {
        let fractional = self.need(&[("fractional", true), ("cvt", false)])?;
        if fractional {
            const PRIMARY: [&str; 4] = ["L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::evict_unchanged"];
            self.need(&PRIMARY.map(|name| (name, ())))?;
            self.one_of(&[("L2::evict_first", ()), ("L2::evict_unchanged", ())]);
        } else {
            self.need_all(&["L2"])?;
        }
        let ty = self.ty(&[B64])?;
        self.done()?;
        let d = self.register(ty)?;
        if !fractional {
            self.comma()?;
            self.source(B64)?;
        } else if self.another()? {
            self.source(F32)?;
        }
        Ok(Op::Mov { ty, d, a: Operand::Immediate(0) })
    }

    /// `prefetch`, `prefetchu`, `applypriority`, `discard`: operands are read and dropped.
    fn prefetch(&mut self) -> Result<Op, ParseError> {
        let space = self.one_of(&SPACES).unwrap_or(Space::Generic);
        const LEVELS: [&str; 6] =
            ["L1", "L2", "tensormap", "L2::evict_last", "L2::evict_normal", "L2::evict_unchanged"];
        self.need(&LEVELS.map(|name| (name, ())))?;
        self.done()?;
        self.address(space)?;
        if matches!(self.opcode, "applypriority" | "discard") {
            self.comma()?;
            self.number("a number of bytes")?;
        }
        Ok(Op::Prefetch)
    }

    /// `mapa{.shared::cluster}.type d, a, b`.
    fn map_address(&mut self) -> Result<Op, ParseError> {
        let space = self.space(&[Space::Generic, Space::SharedCluster])?;
        let ty = self.ty(&[U32, U64])?;
        self.done()?;
        let d = self.register(ty)?;
        self.comma()?;
        let a = self.source_or_name(ty, Width::Exact)?;
        self.check_symbol(a, space)?;
        self.comma()?;
        Ok(Op::Mapa { space, ty, d, a, b: self.source(U32)? })
    }

    /// `getctarank{.shared::cluster}.type d, a`.
    fn cta_rank(&mut self) -> Result<Op, ParseError> {
        let space = self.space(&[Space::Generic, Space::SharedCluster])?;
        let ty = self.ty(&[U32, U64])?;
        self.done()?;
        let d = self.register(U32)?;
        self.comma()?;
        let a = self.source_or_name(ty, Width::Exact)?;
        self.check_symbol(a, space)?;
        Ok(Op::GetCtaRank { space, ty, d, a })
    }
}
