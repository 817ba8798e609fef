//! Operations of the threads of a warp, a block or a cluster together (§9.7.9.6, §9.7.14, §9.7.20).

use super::ParseError;
use super::ast::{Barrier, Op, Operand, Reduction, Register, Shuffle, Type, Vote};
use super::lexer::Token;
use super::parser::Parser;
use super::types::Width;
use Type::*;

impl Parser<'_> {
    pub(super) fn warp(&mut self) -> Result<Op, ParseError> {
        match self.opcode {
            "bar" | "barrier" => self.barrier(),
            "shfl" => self.shuffle(),
            "vote" => self.vote(),
            "match" => self.match_values(),
            "redux" => self.reduce(),
            "elect" => self.elect(),
            "activemask" => {
                self.ty(&[B32])?;
                self.done()?;
                Ok(Op::Activemask { d: self.register(B32)? })
            }
            "setmaxnreg" => self.set_registers(),
            _ => {
                let wait = self.need(&[("launch_dependents", false), ("wait", true)])?;
                self.done()?;
                Ok(Op::GridDepControl { wait })
            }
        }
    }

    /// `bar` is `barrier` with `.aligned`.
    fn barrier(&mut self) -> Result<Op, ParseError> {
        let bar = self.opcode == "bar";
        if bar && self.modifier("warp") {
            self.need_all(&["sync"])?;
            self.done()?;
            return Ok(Op::BarWarpSync { mask: self.source(B32)? });
        }
        if !bar && self.modifier("cluster") {
            return self.cluster_barrier();
        }
        self.modifier("cta");
        match self.need(&[("sync", 0), ("arrive", 1), ("red", 2)])? {
            2 => self.barrier_reduction(bar),
            kind => {
                let aligned = bar || self.modifier("aligned");
                self.done()?;
                let barrier = self.barrier_number()?;
                let threads = if self.another()? { Some(self.thread_count()?) } else { None };
                if kind == 1 && threads.is_none() {
                    return Err(self.refused("the number of threads behind the barrier"));
                }
                let kind = if kind == 0 { Barrier::Sync } else { Barrier::Arrive };
                Ok(Op::Bar { kind, aligned, barrier, threads })
            }
        }
    }

    fn barrier_number(&mut self) -> Result<Operand, ParseError> {
        match self.source(B32)? {
            Operand::Immediate(number) if number > 15 => {
                Err(self.reader.error(format!("barrier {number}"), "one of the barriers 0 to 15"))
            }
            barrier => Ok(barrier),
        }
    }

    fn thread_count(&mut self) -> Result<Operand, ParseError> {
        match self.source(B32)? {
            Operand::Immediate(count) if count == 0 || count % 32 != 0 => {
                Err(self.reader.error(format!("{count} threads at a barrier"), "a multiple of 32"))
            }
            count => Ok(count),
        }
    }

    /// `bar.red.popc.u32 d, barrier{, threads}, {!}p` and `bar.red.{and,or}.pred`.
    fn barrier_reduction(&mut self, bar: bool) -> Result<Op, ParseError> {
        let op = self.need(&[("popc", 0), ("and", 1), ("or", 2)])?;
        let aligned = bar || self.modifier("aligned");
        let ty = self.ty(if op == 0 { &[U32] } else { &[Pred] })?;
        self.done()?;
        let d = self.register(ty)?;
        self.comma()?;
        let barrier = self.barrier_number()?;
        self.comma()?;
        let mut threads = None;
        if !self.at_predicate() {
            threads = Some(self.thread_count()?);
            self.comma()?;
        }
        let p = self.predicate()?;
        let kind = match op {
            0 => Barrier::RedPopc { d, p },
            1 => Barrier::RedAnd { d, p },
            _ => Barrier::RedOr { d, p },
        };
        Ok(Op::Bar { kind, aligned, barrier, threads })
    }

    /// Whether a predicate comes next.
    pub(super) fn at_predicate(&self) -> bool {
        match self.reader.peek() {
            Token::Mark('!') => true,
            Token::Word(name) => {
                self.find_register(name).is_some_and(|register| self.kernel.registers[register.0 as usize].ty == Pred)
            }
            _ => false,
        }
    }

    fn cluster_barrier(&mut self) -> Result<Op, ParseError> {
        let arrive = self.need(&[("arrive", true), ("wait", false)])?;
        let relaxed = arrive && self.modifier("relaxed");
        if !relaxed {
            self.modifier(if arrive { "release" } else { "acquire" });
        }
        let aligned = self.modifier("aligned");
        self.done()?;
        Ok(Op::BarrierCluster { arrive, relaxed, aligned })
    }

    /// A result, with a predicate behind `|`.
    fn result_and_predicate(&mut self, ty: Type) -> Result<(Register, Option<Register>), ParseError> {
        let d = self.register(ty)?;
        let p = if self.reader.accept('|')? { self.register_or_sink(Pred, Width::Exact)? } else { None };
        Ok((d, p))
    }

    /// `shfl.sync.mode.b32 d{|p}, a, b, c, mask`.
    fn shuffle(&mut self) -> Result<Op, ParseError> {
        self.need_all(&["sync"])?;
        let mode =
            self.need(&[("up", Shuffle::Up), ("down", Shuffle::Down), ("bfly", Shuffle::Bfly), ("idx", Shuffle::Idx)])?;
        let ty = self.ty(&[B32])?;
        self.done()?;
        let (d, p) = self.result_and_predicate(ty)?;
        let a = self.next_source(ty)?;
        let b = self.next_source(B32)?;
        let c = self.next_source(B32)?;
        self.comma()?;
        Ok(Op::Shfl { mode, d, p, a, b, c, mask: self.source(B32)? })
    }

    /// `vote.sync.mode.pred d, {!}a, mask` and `vote.sync.ballot.b32`.
    fn vote(&mut self) -> Result<Op, ParseError> {
        self.need_all(&["sync"])?;
        let mode =
            self.need(&[("all", Vote::All), ("any", Vote::Any), ("uni", Vote::Uni), ("ballot", Vote::Ballot)])?;
        let ty = self.ty(if mode == Vote::Ballot { &[B32] } else { &[Pred] })?;
        self.done()?;
        let d = self.register(ty)?;
        self.comma()?;
        let a = self.predicate()?;
        self.comma()?;
        Ok(Op::Vote { mode, d, a, mask: self.source(B32)? })
    }

    /// `match.any.sync.type d, a, mask` and `match.all.sync.type d{|p}, a, mask`: `d` is a mask of 32 bits.
    fn match_values(&mut self) -> Result<Op, ParseError> {
        let all = self.need(&[("any", false), ("all", true)])?;
        self.need_all(&["sync"])?;
        let ty = self.ty(&[B32, B64])?;
        self.done()?;
        let (d, p) = if all && self.reader.peek() == Token::Word("_") {
            self.reader.take()?;
            self.reader.expect('|')?;
            (self.unnamed(B32)?, Some(self.predicate_register()?))
        } else if all {
            self.result_and_predicate(B32)?
        } else {
            (self.register(B32)?, None)
        };
        let a = self.next_source(ty)?;
        self.comma()?;
        Ok(Op::Match { all, ty, d, p, a, mask: self.source(B32)? })
    }

    /// `redux.sync.op.type d, a, mask`.
    fn reduce(&mut self) -> Result<Op, ParseError> {
        self.need_all(&["sync"])?;
        let op = self.need(&[
            ("add", Reduction::Add),
            ("min", Reduction::Min),
            ("max", Reduction::Max),
            ("and", Reduction::And),
            ("or", Reduction::Or),
            ("xor", Reduction::Xor),
        ])?;
        let bits = matches!(op, Reduction::And | Reduction::Or | Reduction::Xor);
        let ty = self.ty(if bits { &[B32] } else { &[U32, S32] })?;
        self.done()?;
        let d = self.register(ty)?;
        let a = self.next_source(ty)?;
        self.comma()?;
        Ok(Op::Redux { op, ty, d, a, mask: self.source(B32)? })
    }

    /// `elect.sync d|p, mask`.
    fn elect(&mut self) -> Result<Op, ParseError> {
        self.need_all(&["sync"])?;
        self.done()?;
        let d = self.register_or_sink(B32, Width::Exact)?;
        self.reader.expect('|')?;
        let p = self.predicate_register()?;
        self.comma()?;
        Ok(Op::Elect { d, p, mask: self.source(B32)? })
    }

    /// `setmaxnreg.{inc,dec}.sync.aligned.u32 n`: a multiple of 8 from 24 to 256.
    fn set_registers(&mut self) -> Result<Op, ParseError> {
        let increase = self.need(&[("inc", true), ("dec", false)])?;
        self.need_all(&["sync", "aligned", "u32"])?;
        self.done()?;
        let registers = self.number("a number of registers")?;
        if !(24..=256).contains(&registers) || registers % 8 != 0 {
            return Err(self.reader.error(format!("{registers} registers"), "a multiple of 8 from 24 to 256"));
        }
        Ok(Op::SetMaxNReg { increase, registers })
    }
}
