//! Tensor cores, asynchronous copies and their barriers.

use super::Lowering;
use super::memory::any_bits;
use crate::exec::Decoded;
use crate::exec::anywhere::any;
use crate::exec::bulk::{BulkCommit, BulkCopy, BulkOp, BulkWait};
use crate::exec::cluster::{ClusterArrive, ClusterWait, GetRank, GetRankWide, Mapa, MapaWide};
use crate::exec::control::Nothing;
use crate::exec::copies::{Commit, CopyOp, CpAsync, WaitAll, WaitGroup};
use crate::exec::matrix::{Ldmatrix, Mma, Product, Stmatrix, TRANSPOSED};
use crate::exec::mbarrier::{MbarrierOp, PendingCount, RunMbarrier};
use crate::exec::moves;
use crate::exec::wgmma::{Wgmma, WgmmaCommit, WgmmaOp, WgmmaWait};
use crate::tensor::mma;
use crate::tensor::wgmma::{self, Immediates};
use crate::text::ast::{Address, BulkDirection, Completion, Mbarrier, Op, Operand, Predicate, Space, Type, WgmmaA};

impl Lowering<'_> {
    pub(super) fn asynchronous(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::CpAsync { dst, src, bytes, source_bytes, ignore } => {
                self.cp_async((dst, src), *bytes, *source_bytes, *ignore)
            }
            Op::CpAsyncCommit => {
                self.emit(self.pair::<Commit>(), 0, &[]);
                Ok(())
            }
            Op::CpAsyncWait { groups } => {
                let run = if groups.is_some() { self.pair::<WaitGroup>() } else { self.pair::<WaitAll>() };
                let mut decoded = self.blank(run);
                decoded.n = groups.unwrap_or_default();
                self.push(decoded);
                Ok(())
            }
            Op::Ldmatrix { trans, d, address } => {
                let mut decoded = self.blank(self.pair::<Ldmatrix>());
                for (at, &register) in d.iter().enumerate().take(4) {
                    decoded.r[at] = self.register(register, 32)?;
                }
                self.matrix(decoded, d.len(), *trans, address, 0)
            }
            Op::Stmatrix { trans, a, address } => {
                let mut decoded = self.blank(self.pair::<Stmatrix>());
                for (at, &operand) in a.iter().enumerate().take(4) {
                    decoded.r[at] = self.source(operand, 32)?;
                }
                self.matrix(decoded, a.len(), *trans, address, any::WRITES)
            }
            Op::Mma { .. } => self.mma(op),
            _ => self.hopper(op),
        }
    }

    fn matrix(
        &mut self,
        mut decoded: crate::exec::Decoded,
        count: usize,
        trans: bool,
        address: &Address,
        flags: u32,
    ) -> Result<(), String> {
        if !matches!(count, 1 | 2 | 4) {
            return Err(format!("{count} matrices of ldmatrix or stmatrix; there can be 1, 2 or 4"));
        }
        let (a, bits, offset) = self.address_in(Space::Shared, address)?;
        (decoded.a, decoded.imm, decoded.n) = (a, offset, count as u32);
        decoded.bytes = any_bits(Space::Shared, Type::B128, 32, bits) | if trans { TRANSPOSED } else { 0 };
        self.access(decoded, flags | any::ROWS);
        Ok(())
    }

    fn cp_async(
        &mut self,
        (dst, src): (&Address, &Address),
        bytes: u32,
        source_bytes: Option<Operand>,
        ignore: Option<Predicate>,
    ) -> Result<(), String> {
        let mut decoded = self.blank(self.pair::<CpAsync>());
        let (a, bits, target) = self.address_in(Space::Shared, dst)?;
        let (b, _, source) = self.address_in(Space::Global, src)?;
        (decoded.a, decoded.b) = (a, b);
        if let Some(count) = source_bytes {
            decoded.c = self.source(count, 32)?;
        }
        let ignore = match ignore {
            Some(predicate) => {
                let (word, negated) = self.predicate(predicate)?;
                decoded.r[1] = word;
                Some(negated)
            }
            None => None,
        };
        decoded.imm = self.program.copies.len() as u64;
        self.program.copies.push(CopyOp {
            bytes,
            wide: bits == 64,
            offsets: [target, source],
            partial: source_bytes.is_some(),
            ignore,
        });
        self.push(decoded);
        Ok(())
    }

    fn mma(&mut self, op: &Op) -> Result<(), String> {
        let Op::Mma { shape, d_ty, a_ty, b_ty, c_ty, d, a, b, c } = op else { return Err("no mma".into()) };
        let (kind, bits) = if *d_ty == Type::F64 && mma::is_f64_shape(*shape) {
            (None, 64)
        } else {
            let kind = mma::Kind::new(*shape, *d_ty, *a_ty, *b_ty, *c_ty, false).map_err(|error| error.to_string())?;
            (Some(kind), 32)
        };
        let counts = match &kind {
            Some(kind) => [kind.a_registers(), kind.b_registers(), kind.d_registers(), kind.d_registers()],
            None => {
                let (m, k) = (shape.m as usize, shape.k as usize);
                [m * k / 32, 8 * k / 32, m * 8 / 32, m * 8 / 32]
            }
        };
        if [a.len(), b.len(), c.len(), d.len()] != counts {
            return Err(format!("mma with {} {} {} {} registers, not {counts:?}", a.len(), b.len(), c.len(), d.len()));
        }
        let mut sources = |operands: &[Operand]| -> Result<Vec<u32>, String> {
            operands.iter().map(|&operand| self.source(operand, bits)).collect()
        };
        let (a, b, c) = (sources(a)?, sources(b)?, sources(c)?);
        let d = d.iter().map(|&register| self.register(register, bits)).collect::<Result<Vec<u32>, String>>()?;
        let mut decoded = self.blank(self.pair::<Mma>());
        decoded.imm = self.program.products.len() as u64;
        self.program.products.push(Product { kind, d, a, b, c });
        self.push(decoded);
        Ok(())
    }
}

/// Hopper's copies, barriers and products.
impl Lowering<'_> {
    pub(super) fn hopper(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Mbarrier(operation) => self.mbarrier(operation),
            Op::CpAsyncMbarrierArrive { address, no_increment } => {
                let operation = MbarrierOp::CopiesArrive { no_increment: *no_increment };
                self.mbarrier_operation(operation, address, Space::Shared, [None, None], 0)
            }
            Op::CpAsyncBulk { direction, dst, src, bytes, completion, multicast } => {
                let (shared, other) = match direction {
                    BulkDirection::SharedToGlobal => (src, dst),
                    BulkDirection::GlobalToShared | BulkDirection::SharedToCluster => (dst, src),
                };
                let far = match direction {
                    BulkDirection::SharedToCluster => Space::Shared,
                    _ => Space::Global,
                };
                let bytes = Some(self.source(*bytes, 32)?);
                let (shared, other) = (self.place(Space::SharedCluster, shared)?, self.place(far, other)?);
                let op = BulkOp {
                    direction: *direction,
                    shared,
                    other,
                    bytes,
                    coordinates: Vec::new(),
                    im2col: None,
                    mbarrier: self.completion(completion)?,
                    multicast: self.multicast(*multicast)?,
                };
                self.bulk(op);
                Ok(())
            }
            Op::CpAsyncBulkTensor { direction, shared, map, coordinates, im2col, completion, multicast } => {
                let (shared, other) = (self.place(Space::SharedCluster, shared)?, self.place(Space::Generic, map)?);
                let op = BulkOp {
                    direction: *direction,
                    shared,
                    other,
                    bytes: None,
                    coordinates: self.sources(coordinates, 32)?,
                    im2col: match im2col {
                        Some(offsets) => Some(self.offsets(offsets)?),
                        None => None,
                    },
                    mbarrier: self.completion(completion)?,
                    multicast: self.multicast(*multicast)?,
                };
                self.bulk(op);
                Ok(())
            }
            Op::CpAsyncBulkCommit => {
                self.emit(self.pair::<BulkCommit>(), 0, &[]);
                Ok(())
            }
            Op::CpAsyncBulkWait { groups, read } => {
                let decoded = self.blank(self.pair::<BulkWait>());
                self.push(Decoded { n: *groups, imm: u64::from(*read), ..decoded });
                Ok(())
            }
            Op::Wgmma { .. } => self.wgmma(op),
            Op::WgmmaFence => {
                self.emit(self.pair::<Nothing>(), 0, &[]);
                Ok(())
            }
            Op::WgmmaCommit => {
                self.emit(self.pair::<WgmmaCommit>(), 0, &[]);
                Ok(())
            }
            Op::WgmmaWait { groups } => {
                let decoded = self.blank(self.pair::<WgmmaWait>());
                self.push(Decoded { n: *groups, ..decoded });
                Ok(())
            }
            // Registers and launches that overlap are hardware's: nothing here depends on them.
            Op::SetMaxNReg { .. } | Op::GridDepControl { .. } => {
                self.emit(self.pair::<Nothing>(), 0, &[]);
                Ok(())
            }
            Op::BarrierCluster { arrive, .. } => {
                let run = if *arrive { self.pair::<ClusterArrive>() } else { self.pair::<ClusterWait>() };
                self.emit(run, 0, &[]);
                Ok(())
            }
            Op::Mapa { ty, d, a, b, .. } => {
                let bits = 8 * ty.bytes();
                let run = if bits == 64 { self.pair::<MapaWide>() } else { self.pair::<Mapa>() };
                let (a, b, d) = (self.source(*a, bits)?, self.source(*b, 32)?, self.register(*d, bits)?);
                self.emit(run, d, &[a, b]);
                Ok(())
            }
            Op::GetCtaRank { ty, d, a, .. } => {
                let bits = 8 * ty.bytes();
                let run = if bits == 64 { self.pair::<GetRankWide>() } else { self.pair::<GetRank>() };
                let (a, d) = (self.source(*a, bits)?, self.register(*d, 32)?);
                self.emit(run, d, &[a]);
                Ok(())
            }
            _ => Err(format!("{op:?} is not known")),
        }
    }

    /// The slot of an address, whether it has 64 bits, and its offset.
    fn place(&mut self, space: Space, address: &Address) -> Result<(u32, bool, u64), String> {
        let (word, bits, offset) = self.address_in(space, address)?;
        Ok((word, bits == 64, offset))
    }

    fn sources(&mut self, operands: &[Operand], bits: u32) -> Result<Vec<u32>, String> {
        operands.iter().map(|&operand| self.source(operand, bits)).collect()
    }

    /// Offsets of im2col have 16 bits: they are widened.
    fn offsets(&mut self, operands: &[Operand]) -> Result<Vec<u32>, String> {
        let mut words = Vec::new();
        for &operand in operands {
            let word = self.source(operand, 16)?;
            let wide = self.temporary();
            self.emit(self.pair::<moves::ExtendU16>(), wide, &[word]);
            words.push(wide);
        }
        Ok(words)
    }

    fn completion(&mut self, completion: &Completion) -> Result<Option<(u32, bool, u64)>, String> {
        match completion {
            Completion::Mbarrier(address) => Ok(Some(self.place(Space::SharedCluster, address)?)),
            Completion::BulkGroup => Ok(None),
        }
    }

    fn multicast(&mut self, mask: Option<Operand>) -> Result<Option<u32>, String> {
        Ok(match mask {
            Some(mask) => Some(self.offsets(&[mask])?[0]),
            None => None,
        })
    }

    fn bulk(&mut self, op: BulkOp) {
        let mut decoded = self.blank(self.pair::<BulkCopy>());
        decoded.imm = self.program.bulks.len() as u64;
        self.program.bulks.push(op);
        self.push(decoded);
    }

    fn mbarrier(&mut self, operation: &Mbarrier) -> Result<(), String> {
        let one = Operand::Immediate(1);
        match operation {
            Mbarrier::Init { address, count } => {
                self.mbarrier_operation(MbarrierOp::Init, address, Space::Shared, [Some(*count), None], 0)
            }
            Mbarrier::Inval { address } => {
                self.mbarrier_operation(MbarrierOp::Inval, address, Space::Shared, [None, None], 0)
            }
            Mbarrier::ExpectTx { address, bytes } => {
                self.mbarrier_operation(MbarrierOp::ExpectTx, address, Space::SharedCluster, [Some(*bytes), None], 0)
            }
            Mbarrier::CompleteTx { address, bytes } => {
                self.mbarrier_operation(MbarrierOp::CompleteTx, address, Space::SharedCluster, [Some(*bytes), None], 0)
            }
            Mbarrier::Arrive { d, address, count, expect_tx, drop, no_complete, .. } => {
                let operation = MbarrierOp::Arrive {
                    result: d.is_some(),
                    expect: expect_tx.is_some(),
                    drop: *drop,
                    no_complete: *no_complete,
                };
                let d = match d {
                    Some(d) => self.register(*d, 64)?,
                    None => 0,
                };
                let operands = [Some(count.unwrap_or(one)), *expect_tx];
                self.mbarrier_operation(operation, address, Space::SharedCluster, operands, d)
            }
            Mbarrier::Wait { p, address, state, parity, .. } => {
                let p = self.predicate_register(*p)?;
                let mut decoded = self.blank(self.pair::<RunMbarrier>());
                let (a, bits, offset) = self.address_in(Space::Shared, address)?;
                (decoded.a, decoded.imm, decoded.r[0]) = (a, offset, p);
                decoded.b = self.source(*state, if *parity { 32 } else { 64 })?;
                decoded.bytes = any_bits(Space::Shared, Type::B64, 64, bits);
                decoded.n = self.program.mbarriers.len() as u32;
                self.program.mbarriers.push(MbarrierOp::Wait { parity: *parity });
                self.push(decoded);
                Ok(())
            }
            Mbarrier::PendingCount { d, state } => {
                let (a, d) = (self.source(*state, 64)?, self.register(*d, 32)?);
                self.emit(self.pair::<PendingCount>(), d, &[a]);
                Ok(())
            }
        }
    }

    fn mbarrier_operation(
        &mut self,
        operation: MbarrierOp,
        address: &Address,
        space: Space,
        operands: [Option<Operand>; 2],
        d: u32,
    ) -> Result<(), String> {
        let mut decoded = self.blank(self.pair::<RunMbarrier>());
        let (a, bits, offset) = self.address_in(space, address)?;
        (decoded.a, decoded.imm, decoded.r[0]) = (a, offset, d);
        let zero = Operand::Immediate(0);
        decoded.b = self.source(operands[0].unwrap_or(zero), 32)?;
        decoded.c = self.source(operands[1].unwrap_or(zero), 32)?;
        decoded.bytes = any_bits(space, Type::B64, 64, bits);
        decoded.n = self.program.mbarriers.len() as u32;
        self.program.mbarriers.push(operation);
        self.push(decoded);
        Ok(())
    }

    fn wgmma(&mut self, op: &Op) -> Result<(), String> {
        let Op::Wgmma { shape, d_ty, a_ty, b_ty, d, a, b, scale_d, negate_a, negate_b, trans_a, trans_b } = op else {
            return Err("no wgmma".into());
        };
        let immediates = Immediates {
            negate_a: *negate_a,
            negate_b: *negate_b,
            trans_a: *trans_a,
            trans_b: *trans_b,
            saturate: false,
        };
        let in_registers = matches!(a, WgmmaA::Registers(_));
        let kind = wgmma::Kind::new(*shape, *d_ty, *a_ty, *b_ty, in_registers, immediates);
        let kind = kind.map_err(|error| error.to_string())?;
        if d.len() != kind.d_registers() {
            return Err(format!("wgmma with {} registers of D, not {}", d.len(), kind.d_registers()));
        }
        let d = d.iter().map(|&register| self.register(register, 32)).collect::<Result<Vec<u32>, String>>()?;
        let a = match a {
            WgmmaA::Descriptor(descriptor) => Ok(self.source(*descriptor, 64)?),
            WgmmaA::Registers(registers) => {
                if registers.len() != kind.a_registers() {
                    return Err(format!("wgmma with {} registers of A, not {}", registers.len(), kind.a_registers()));
                }
                let words = registers.iter().map(|&register| self.register(register, 32));
                Err(words.collect::<Result<Vec<u32>, String>>()?)
            }
        };
        let b = self.source(*b, 64)?;
        let scale_d = self.predicate(*scale_d)?;
        let mut decoded = self.blank(self.pair::<Wgmma>());
        decoded.imm = self.program.wgmmas.len() as u64;
        self.program.wgmmas.push(WgmmaOp { kind, d, a, b, scale_d });
        self.push(decoded);
        Ok(())
    }
}
