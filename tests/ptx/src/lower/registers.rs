//! The registers that an instruction reads and writes.

use crate::text::ast::{Address, Barrier, Completion, Instruction, Mbarrier, Op, Operand, Predicate, Register, WgmmaA};

/// Calls a function with each register that an instruction writes.
pub(super) fn each_result(op: &Op, f: &mut dyn FnMut(Register)) {
    let mut some = |registers: &[Option<Register>]| registers.iter().flatten().for_each(|&register| f(register));
    match op {
        Op::Mov { d, .. } | Op::Pack { d, .. } | Op::Unary { d, .. } | Op::Binary { d, .. } | Op::Ternary { d, .. } => {
            f(*d)
        }
        Op::Extended { d, .. } | Op::Bfi { d, .. } | Op::Set { d, .. } | Op::Selp { d, .. } | Op::Slct { d, .. } => {
            f(*d)
        }
        Op::PredBinary { d, .. } | Op::PredMov { d, .. } | Op::PredNot { d, .. } | Op::Cvt { d, .. } => f(*d),
        Op::Cvta { d, .. } | Op::Vote { d, .. } | Op::Activemask { d } | Op::Redux { d, .. } => f(*d),
        Op::Mapa { d, .. } | Op::GetCtaRank { d, .. } | Op::Mbarrier(Mbarrier::PendingCount { d, .. }) => f(*d),
        Op::Isspacep { p, .. } | Op::Mbarrier(Mbarrier::Wait { p, .. }) => f(*p),
        Op::Unpack { parts, .. } => some(parts),
        Op::Ld { d, .. } => some(d),
        Op::Atom { d, .. } => some(d.as_deref().unwrap_or_default()),
        Op::Setp { p, q, .. } => some(&[Some(*p), *q]),
        Op::Shfl { d, p, .. } | Op::Match { d, p, .. } => some(&[Some(*d), *p]),
        Op::Elect { d, p, .. } => some(&[*d, Some(*p)]),
        Op::Mbarrier(Mbarrier::Arrive { d, .. }) => some(&[*d]),
        Op::Ldmatrix { d, .. } | Op::Mma { d, .. } | Op::Wgmma { d, .. } => d.iter().for_each(|&register| f(register)),
        Op::Bar { kind: Barrier::RedPopc { d, .. } | Barrier::RedAnd { d, .. } | Barrier::RedOr { d, .. }, .. } => {
            f(*d)
        }
        _ => {}
    }
}

/// Collects what an instruction reads.
struct Reads<'a>(&'a mut dyn FnMut(Register));

impl Reads<'_> {
    fn operand(&mut self, operand: &Operand) {
        if let Operand::Register(register) = operand {
            (self.0)(*register);
        }
    }

    fn operands<'a>(&mut self, operands: impl IntoIterator<Item = &'a Operand>) {
        operands.into_iter().for_each(|operand| self.operand(operand));
    }

    fn predicate(&mut self, predicate: &Predicate) {
        if let Predicate::Register(guard) = predicate {
            (self.0)(guard.register);
        }
    }

    fn addresses(&mut self, addresses: &[&Address]) {
        addresses.iter().for_each(|address| self.operand(&address.base));
    }

    fn completion(&mut self, completion: &Completion) {
        if let Completion::Mbarrier(address) = completion {
            self.operand(&address.base);
        }
    }
}

/// Calls a function with each register that an instruction reads, its guard's too. The accumulators of `wgmma` are not among them.
pub(super) fn each_source(instruction: &Instruction, f: &mut dyn FnMut(Register)) {
    if let Some(guard) = instruction.guard {
        f(guard.register);
    }
    let mut reads = Reads(f);
    match &instruction.op {
        Op::Mov { a, .. } | Op::Unpack { a, .. } | Op::Unary { a, .. } | Op::Cvta { a, .. } => reads.operand(a),
        Op::Isspacep { a, .. } | Op::GetCtaRank { a, .. } => reads.operand(a),
        Op::Pack { parts, .. } => reads.operands(parts),
        Op::Binary { a, b, .. } | Op::Mapa { a, b, .. } => reads.operands([a, b]),
        Op::Ternary { a, b, c, .. } | Op::Slct { a, b, c, .. } => reads.operands([a, b, c]),
        Op::Extended { a, b, c, .. } => reads.operands([a, b].into_iter().chain(c)),
        Op::Bfi { a, b, position, length, .. } => reads.operands([a, b, position, length]),
        Op::Setp { a, b, join, .. } | Op::Set { a, b, join, .. } => {
            reads.operands([a, b]);
            join.iter().for_each(|(_, predicate)| reads.predicate(predicate));
        }
        Op::Selp { a, b, p, .. } => {
            reads.operands([a, b]);
            reads.predicate(p);
        }
        Op::PredBinary { a, b, .. } => [a, b].into_iter().for_each(|predicate| reads.predicate(predicate)),
        Op::PredMov { a, .. } | Op::PredNot { a, .. } => reads.predicate(a),
        Op::Cvt { a, b, .. } => reads.operands([a].into_iter().chain(b)),
        Op::Ld { address, .. } | Op::CpAsyncMbarrierArrive { address, .. } | Op::Ldmatrix { address, .. } => {
            reads.addresses(&[address]);
        }
        Op::St { a, address, .. } | Op::Stmatrix { a, address, .. } => {
            reads.operands(a);
            reads.addresses(&[address]);
        }
        Op::Atom { address, b, c, .. } => {
            reads.operands(b.iter().chain(c));
            reads.addresses(&[address]);
        }
        Op::Bar { kind, barrier, threads, .. } => {
            reads.operands([barrier].into_iter().chain(threads));
            match kind {
                Barrier::RedPopc { p, .. } | Barrier::RedAnd { p, .. } | Barrier::RedOr { p, .. } => reads.predicate(p),
                Barrier::Sync | Barrier::Arrive => {}
            }
        }
        Op::BarWarpSync { mask } | Op::Elect { mask, .. } => reads.operand(mask),
        Op::Shfl { a, b, c, mask, .. } => reads.operands([a, b, c, mask]),
        Op::Vote { a, mask, .. } => {
            reads.predicate(a);
            reads.operand(mask);
        }
        Op::Match { a, mask, .. } | Op::Redux { a, mask, .. } => reads.operands([a, mask]),
        Op::CpAsync { dst, src, source_bytes, ignore, .. } => {
            reads.addresses(&[dst, src]);
            reads.operands(source_bytes);
            ignore.iter().for_each(|predicate| reads.predicate(predicate));
        }
        Op::Mma { a, b, c, .. } => reads.operands(a.iter().chain(b).chain(c)),
        Op::Mbarrier(operation) => mbarrier(operation, &mut reads),
        Op::CpAsyncBulk { dst, src, bytes, completion, multicast, .. } => {
            reads.addresses(&[dst, src]);
            reads.operands([bytes].into_iter().chain(multicast));
            reads.completion(completion);
        }
        Op::CpAsyncBulkTensor { shared, map, coordinates, im2col, completion, multicast, .. } => {
            reads.addresses(&[shared, map]);
            reads.operands(coordinates.iter().chain(im2col.iter().flatten()).chain(multicast));
            reads.completion(completion);
        }
        Op::Wgmma { a, b, scale_d, .. } => {
            reads.operand(b);
            reads.predicate(scale_d);
            match a {
                WgmmaA::Descriptor(a) => reads.operand(a),
                WgmmaA::Registers(registers) => registers.iter().for_each(|&register| (reads.0)(register)),
            }
        }
        Op::BrxIdx { index, .. } => reads.operand(index),
        Op::Activemask { .. } | Op::Prefetch | Op::Fence { .. } | Op::FenceProxy { .. } | Op::BarrierCluster { .. } => {
        }
        Op::CpAsyncCommit | Op::CpAsyncWait { .. } | Op::CpAsyncBulkCommit | Op::CpAsyncBulkWait { .. } => {}
        Op::WgmmaFence | Op::WgmmaCommit | Op::WgmmaWait { .. } | Op::SetMaxNReg { .. } | Op::GridDepControl { .. } => {
        }
        Op::Bra { .. } | Op::Exit | Op::Trap | Op::Nanosleep => {}
    }
}

fn mbarrier(operation: &Mbarrier, reads: &mut Reads<'_>) {
    match operation {
        Mbarrier::Init { address, count } => {
            reads.addresses(&[address]);
            reads.operand(count);
        }
        Mbarrier::Inval { address } => reads.addresses(&[address]),
        Mbarrier::ExpectTx { address, bytes } | Mbarrier::CompleteTx { address, bytes } => {
            reads.addresses(&[address]);
            reads.operand(bytes);
        }
        Mbarrier::Arrive { address, count, expect_tx, .. } => {
            reads.addresses(&[address]);
            reads.operands(count.iter().chain(expect_tx));
        }
        Mbarrier::Wait { address, state, hint, .. } => {
            reads.addresses(&[address]);
            reads.operands([state].into_iter().chain(hint));
        }
        Mbarrier::PendingCount { state, .. } => reads.operand(state),
    }
}
