//! Asynchronous copies and the barriers that tell of their end (§9.7.9.25 to §9.7.9.27, §9.7.14.15).

use super::ParseError;
use super::ast::{Address, BulkDirection, Completion, Mbarrier, Op, Operand, Space, Type};
use super::lexer::Token;
use super::parser::Parser;
use super::types::Width;
use Type::*;

const SHARED: [(&str, Space); 2] = [("shared", Space::Shared), ("shared::cta", Space::Shared)];
const SHARED_OR_CLUSTER: [(&str, Space); 3] =
    [("shared", Space::Shared), ("shared::cta", Space::Shared), ("shared::cluster", Space::SharedCluster)];

impl Parser<'_> {
    pub(super) fn asynchronous(&mut self) -> Result<Op, ParseError> {
        if self.opcode == "mbarrier" {
            return self.mbarrier().map(Op::Mbarrier);
        }
        self.need_all(&["async"])?;
        if self.modifier("bulk") {
            return self.bulk();
        }
        if self.modifier("commit_group") {
            return self.done().map(|()| Op::CpAsyncCommit);
        }
        if self.modifier("wait_all") {
            return self.done().map(|()| Op::CpAsyncWait { groups: None });
        }
        if self.modifier("wait_group") {
            self.done()?;
            return Ok(Op::CpAsyncWait { groups: Some(self.number("a number of groups")?) });
        }
        if self.modifier("mbarrier") {
            self.need_all(&["arrive"])?;
            let no_increment = self.modifier("noinc");
            self.shared()?;
            self.need_all(&["b64"])?;
            self.done()?;
            return Ok(Op::CpAsyncMbarrierArrive { address: self.address(Space::Shared)?, no_increment });
        }
        self.copy()
    }

    /// `.shared` or `.shared::cta`, which may be left out in the ISA for a generic address.
    pub(super) fn shared(&mut self) -> Result<(), ParseError> {
        if self.one_of(&SHARED).is_some() {
            return Ok(());
        }
        Err(self.bad_modifier("`.shared` or `.shared::cta`: with generic addresses this machine does not know it"))
    }

    /// `cp.async.{ca,cg}.shared.global [dst], [src], bytes{, source_bytes or predicate}{, policy}`.
    fn copy(&mut self) -> Result<Op, ParseError> {
        let around_l1 = self.need(&[("ca", false), ("cg", true)])?;
        self.shared()?;
        self.need_all(&["global"])?;
        let policy = self.modifier("L2::cache_hint");
        self.one_of(&[("L2::64B", ()), ("L2::128B", ()), ("L2::256B", ())]);
        self.done()?;
        let dst = self.address(Space::Shared)?;
        self.comma()?;
        let src = self.address(Space::Global)?;
        self.comma()?;
        let bytes = self.number("4, 8 or 16 bytes")?;
        if !matches!(bytes, 4 | 8 | 16) || around_l1 && bytes != 16 {
            let expected = if around_l1 { "16 bytes" } else { "4, 8 or 16 bytes" };
            return Err(self.reader.error(format!("{bytes} bytes in `{}`", self.mnemonic()), expected));
        }
        let (mut source_bytes, mut ignore) = (None, None);
        if self.another()? {
            if self.at_predicate() {
                ignore = Some(self.predicate()?);
            } else if policy && self.at_policy() {
                self.source(B64)?;
                return Ok(Op::CpAsync { dst, src, bytes, source_bytes, ignore });
            } else {
                source_bytes = Some(self.source(B32)?);
            }
            self.cache_policy(policy)?;
        } else if policy {
            return Err(self.reader.unexpected("the operand of `.L2::cache_hint`"));
        }
        Ok(Op::CpAsync { dst, src, bytes, source_bytes, ignore })
    }

    /// Whether a register of 64 bits comes next.
    fn at_policy(&self) -> bool {
        match self.reader.peek() {
            Token::Word(name) => self
                .find_register(name)
                .is_some_and(|register| self.kernel.registers[register.0 as usize].ty.bytes() == 8),
            _ => false,
        }
    }

    fn bulk(&mut self) -> Result<Op, ParseError> {
        if self.modifier("commit_group") {
            return self.done().map(|()| Op::CpAsyncBulkCommit);
        }
        if self.modifier("wait_group") {
            let read = self.modifier("read");
            self.done()?;
            return Ok(Op::CpAsyncBulkWait { groups: self.number("a number of groups")?, read });
        }
        if self.modifier("prefetch") {
            return self.bulk_prefetch();
        }
        if self.modifier("tensor") {
            return self.bulk_tensor();
        }
        let direction = self.direction()?;
        self.completion_kind(direction)?;
        let multicast = direction == BulkDirection::GlobalToShared && self.modifier("multicast::cluster");
        let policy = direction != BulkDirection::SharedToCluster && self.modifier("L2::cache_hint");
        self.done()?;
        let (to, from) = match direction {
            BulkDirection::GlobalToShared => (Space::SharedCluster, Space::Global),
            BulkDirection::SharedToGlobal => (Space::Global, Space::Shared),
            BulkDirection::SharedToCluster => (Space::SharedCluster, Space::Shared),
        };
        let dst = self.address(to)?;
        self.comma()?;
        let src = self.address(from)?;
        let bytes = self.next_source(U32)?;
        let completion = self.completion(direction)?;
        let multicast = self.multicast(multicast)?;
        self.cache_policy(policy)?;
        Ok(Op::CpAsyncBulk { direction, dst, src, bytes, completion, multicast })
    }

    /// `.dst.src`.
    fn direction(&mut self) -> Result<BulkDirection, ParseError> {
        let to = self.need(&[("shared::cluster", 0), ("shared::cta", 1), ("global", 2)])?;
        match (to, self.need(&[("global", 0), ("shared::cta", 1)])?) {
            (0 | 1, 0) => Ok(BulkDirection::GlobalToShared),
            (2, 1) => Ok(BulkDirection::SharedToGlobal),
            (0, 1) => Ok(BulkDirection::SharedToCluster),
            _ => Err(self.refused("a copy between global and shared memory, or into the cluster's")),
        }
    }

    fn completion_kind(&mut self, direction: BulkDirection) -> Result<(), ParseError> {
        self.need_all(&[match direction {
            BulkDirection::SharedToGlobal => "bulk_group",
            _ => "mbarrier::complete_tx::bytes",
        }])
    }

    /// The mbarrier's operand where there is one.
    fn completion(&mut self, direction: BulkDirection) -> Result<Completion, ParseError> {
        if direction == BulkDirection::SharedToGlobal {
            return Ok(Completion::BulkGroup);
        }
        self.comma()?;
        Ok(Completion::Mbarrier(self.address(Space::SharedCluster)?))
    }

    fn multicast(&mut self, there: bool) -> Result<Option<Operand>, ParseError> {
        if !there {
            return Ok(None);
        }
        self.comma()?;
        self.source(B16).map(Some)
    }

    /// `cp.async.bulk.prefetch{.tensor}`: operands are read and dropped.
    fn bulk_prefetch(&mut self) -> Result<Op, ParseError> {
        if self.modifier("tensor") {
            let dimensions = self.dimensions()?;
            self.need_all(&["L2", "global"])?;
            self.modifier("tile");
            let policy = self.modifier("L2::cache_hint");
            self.done()?;
            self.tensor_address(dimensions)?;
            self.cache_policy(policy)?;
            return Ok(Op::Prefetch);
        }
        self.need_all(&["L2", "global"])?;
        let policy = self.modifier("L2::cache_hint");
        self.done()?;
        self.address(Space::Global)?;
        self.comma()?;
        self.source(U32)?;
        self.cache_policy(policy)?;
        Ok(Op::Prefetch)
    }

    fn dimensions(&mut self) -> Result<usize, ParseError> {
        self.need(&[("1d", 1), ("2d", 2), ("3d", 3), ("4d", 4), ("5d", 5)])
    }

    /// `[map, {c0, c1}]`.
    fn tensor_address(&mut self, dimensions: usize) -> Result<(Address, Vec<Operand>), ParseError> {
        self.reader.expect('[')?;
        let map = self.address_inside(Space::Generic)?;
        self.comma()?;
        let coordinates = self.vector(dimensions, |parser| parser.source(S32))?;
        self.reader.expect(']')?;
        Ok((map, coordinates))
    }

    /// `cp.async.bulk.tensor.2d.dst.src{.tile,.im2col}.completion{.multicast::cluster}{.L2::cache_hint}`.
    fn bulk_tensor(&mut self) -> Result<Op, ParseError> {
        let dimensions = self.dimensions()?;
        let direction = self.direction()?;
        if direction == BulkDirection::SharedToCluster {
            return Err(self.refused("global memory on one side"));
        }
        let loads = direction == BulkDirection::GlobalToShared;
        let im2col = !self.modifier("tile") && loads && self.modifier("im2col");
        if im2col && dimensions < 3 {
            return Err(self.refused("3 to 5 dimensions with `.im2col`"));
        }
        self.completion_kind(direction)?;
        let multicast = loads && self.modifier("multicast::cluster");
        let policy = self.modifier("L2::cache_hint");
        self.done()?;
        let (shared, (map, coordinates)) = if loads {
            let shared = self.address(Space::SharedCluster)?;
            self.comma()?;
            (shared, self.tensor_address(dimensions)?)
        } else {
            let tensor = self.tensor_address(dimensions)?;
            self.comma()?;
            (self.address(Space::Shared)?, tensor)
        };
        let completion = self.completion(direction)?;
        let im2col = if im2col {
            self.comma()?;
            Some(self.vector(dimensions - 2, |parser| parser.source(U16))?)
        } else {
            None
        };
        let multicast = self.multicast(multicast)?;
        self.cache_policy(policy)?;
        Ok(Op::CpAsyncBulkTensor { direction, shared, map, coordinates, im2col, completion, multicast })
    }

    fn mbarrier(&mut self) -> Result<Mbarrier, ParseError> {
        const OPERATIONS: [&str; 9] = [
            "init",
            "inval",
            "expect_tx",
            "complete_tx",
            "arrive",
            "arrive_drop",
            "test_wait",
            "try_wait",
            "pending_count",
        ];
        match self.need(&OPERATIONS.map(|name| (name, name)))? {
            "init" => {
                let address = self.mbarrier_address()?;
                self.comma()?;
                Ok(Mbarrier::Init { address, count: self.source(U32)? })
            }
            "inval" => Ok(Mbarrier::Inval { address: self.mbarrier_address()? }),
            "expect_tx" => {
                self.order(&["relaxed"])?;
                let (address, bytes) = self.transaction()?;
                Ok(Mbarrier::ExpectTx { address, bytes })
            }
            "complete_tx" => {
                self.order(&["relaxed"])?;
                let (address, bytes) = self.transaction()?;
                Ok(Mbarrier::CompleteTx { address, bytes })
            }
            "arrive" => self.arrive(false),
            "arrive_drop" => self.arrive(true),
            "test_wait" => self.wait(false),
            "try_wait" => self.wait(true),
            _ => {
                self.need_all(&["b64"])?;
                self.done()?;
                let d = self.register(U32)?;
                self.comma()?;
                Ok(Mbarrier::PendingCount { d, state: self.source(B64)? })
            }
        }
    }

    /// `.shared.b64 [address]`.
    fn mbarrier_address(&mut self) -> Result<Address, ParseError> {
        self.shared()?;
        self.need_all(&["b64"])?;
        self.done()?;
        self.address(Space::Shared)
    }

    /// `.sem.scope`, both or neither. What an mbarrier orders does not depend on it here: it is always the stronger.
    fn order(&mut self, orders: &[&str]) -> Result<(), ParseError> {
        let Some(next) = self.next_modifier() else { return Ok(()) };
        if orders.contains(&next) {
            self.understood += 1;
            self.need(&[("cta", ()), ("cluster", ())])?;
        }
        Ok(())
    }

    /// `.space.b64 [address], bytes`.
    fn transaction(&mut self) -> Result<(Address, Operand), ParseError> {
        let space = self.need(&SHARED_OR_CLUSTER)?;
        self.need_all(&["b64"])?;
        self.done()?;
        let address = self.address(space)?;
        self.comma()?;
        Ok((address, self.source(U32)?))
    }

    /// `mbarrier.arrive{_drop}{.expect_tx,.noComplete}{.sem.scope}.space.b64 state, [address]{, count}`.
    fn arrive(&mut self, drop: bool) -> Result<Mbarrier, ParseError> {
        let expects = self.modifier("expect_tx");
        let no_complete = !expects && self.modifier("noComplete");
        self.order(&["release", "relaxed"])?;
        let Some(space) = self.one_of(&SHARED_OR_CLUSTER) else {
            return Err(self.bad_modifier("`.shared`: with generic addresses this machine does not know it"));
        };
        self.need_all(&["b64"])?;
        self.done()?;
        let d = self.register_or_sink(B64, Width::Exact)?;
        if space == Space::SharedCluster && (d.is_some() || no_complete) {
            return Err(self.refused("`_` as the state: `.shared::cluster` gives none"));
        }
        self.comma()?;
        let address = self.address(space)?;
        let (mut count, mut expect_tx) = (None, None);
        if expects {
            self.comma()?;
            expect_tx = Some(self.source(U32)?);
        } else if no_complete {
            self.comma()?;
            count = Some(self.source(U32)?);
        } else if self.another()? {
            count = Some(self.source(U32)?);
        }
        Ok(Mbarrier::Arrive { d, address, count, expect_tx, drop, no_complete, space })
    }

    /// `mbarrier.{test_wait,try_wait}{.parity}{.sem.scope}.shared.b64 p, [address], state{, hint}`.
    fn wait(&mut self, try_wait: bool) -> Result<Mbarrier, ParseError> {
        let parity = self.modifier("parity");
        self.order(&["acquire", "relaxed"])?;
        self.shared()?;
        self.need_all(&["b64"])?;
        self.done()?;
        let p = self.predicate_register()?;
        self.comma()?;
        let address = self.address(Space::Shared)?;
        let state = self.next_source(if parity { U32 } else { B64 })?;
        let hint = if try_wait && self.another()? { Some(self.source(U32)?) } else { None };
        Ok(Mbarrier::Wait { p, address, state, parity, try_wait, hint })
    }
}
