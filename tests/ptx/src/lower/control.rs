//! The ends of basic blocks, guards, barriers.

use super::Lowering;
use crate::exec::control::{Bar, Fence, Nanosleep, Nothing, ProxyFence, bar};
use crate::exec::path::Path;
use crate::exec::program::End;
use crate::text::ast::{Barrier, Guard, Instruction, Kernel, Op, Operand, Predicate, Scope};
use crate::text::flow::{Block, Flow};

/// Whether an instruction ends a basic block.
pub(super) fn ends_block(op: &Op) -> bool {
    matches!(op, Op::Bra { .. } | Op::BrxIdx { .. } | Op::Exit | Op::Trap)
}

/// Whether lanes may have to wait at an instruction, or carry it out together. Under a predicate that is a branch.
fn waits(op: &Op) -> bool {
    !matches!(
        op,
        Op::Mov { .. }
            | Op::Pack { .. }
            | Op::Unpack { .. }
            | Op::Unary { .. }
            | Op::Binary { .. }
            | Op::Ternary { .. }
            | Op::Extended { .. }
            | Op::Bfi { .. }
            | Op::Setp { .. }
            | Op::Set { .. }
            | Op::Selp { .. }
            | Op::Slct { .. }
            | Op::PredBinary { .. }
            | Op::PredMov { .. }
            | Op::PredNot { .. }
            | Op::Cvt { .. }
            | Op::Cvta { .. }
            | Op::Isspacep { .. }
            | Op::Ld { .. }
            | Op::St { .. }
            | Op::Prefetch
            | Op::Atom { .. }
            | Op::CpAsync { .. }
            | Op::Bra { .. }
            | Op::Exit
    )
}

/// The kernel with `@p bar.sync` and its like written as a branch around the instruction, and for each instruction the index of
/// the one that it comes from.
pub(super) fn without_guarded_waits(kernel: &Kernel) -> (Kernel, Vec<u32>) {
    let mut new_index = Vec::with_capacity(kernel.body.len() + 1);
    let (mut body, mut sites) = (Vec::with_capacity(kernel.body.len()), Vec::with_capacity(kernel.body.len()));
    for (site, instruction) in kernel.body.iter().enumerate() {
        new_index.push(body.len() as u32);
        match instruction.guard {
            Some(guard) if waits(&instruction.op) => {
                // The target is behind both.
                let around = Op::Bra { target: u32::MAX - site as u32, uniform: false };
                let guard = Guard { register: guard.register, negated: !guard.negated };
                body.push(Instruction { guard: Some(guard), op: around, ..instruction.clone() });
                body.push(Instruction { guard: None, ..instruction.clone() });
                sites.push(site as u32);
            }
            _ => body.push(instruction.clone()),
        }
        sites.push(site as u32);
    }
    new_index.push(body.len() as u32);
    let moved = |target: u32| match new_index.get(target as usize) {
        Some(&index) => index,
        None => new_index[(u32::MAX - target) as usize + 1],
    };
    for instruction in &mut body {
        match &mut instruction.op {
            Op::Bra { target, .. } => *target = moved(*target),
            Op::BrxIdx { targets, .. } => targets.iter_mut().for_each(|target| *target = moved(*target)),
            _ => {}
        }
    }
    (Kernel { body, ..kernel.clone() }, sites)
}

impl Lowering<'_> {
    /// The end of a basic block.
    pub(super) fn end(&mut self, flow: &Flow, block: &Block, last: u32) -> Result<End, String> {
        let instruction = &self.kernel.body[last as usize];
        let behind = flow.blocks.len() as u32;
        let at = |index: u32| flow.block_of.get(index as usize).copied().unwrap_or(behind);
        let next = at(last + 1);
        let rejoin = block.ipdom.map_or(Path::NOWHERE, |block| block as u32);
        Ok(match (&instruction.op, instruction.guard) {
            (Op::Bra { target, .. }, None) => End::Go(at(*target)),
            (Op::Bra { target, .. }, Some(guard)) => End::Branch {
                predicate: self.predicate_register(guard.register)?,
                negated: guard.negated,
                to: at(*target),
                other: next,
                rejoin,
            },
            (Op::BrxIdx { index, targets, .. }, None) => End::Table {
                index: self.source(*index, 32)?,
                targets: targets.iter().map(|&target| at(target)).collect(),
                rejoin,
            },
            (Op::Exit, None) => End::Exit,
            (Op::Exit, Some(guard)) => {
                End::ExitIf { predicate: self.predicate_register(guard.register)?, negated: guard.negated, other: next }
            }
            (Op::Trap, None) => End::Trap,
            (Op::BrxIdx { .. } | Op::Trap, Some(_)) => return Err("a guard that was not taken apart".into()),
            _ => End::Go(next),
        })
    }

    pub(super) fn waiting(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::FenceProxy { kind } if kind == "proxy.async.global" => self.emit(self.pair::<Nothing>(), 0, &[]),
            Op::FenceProxy { kind } if kind.starts_with("proxy.async") => {
                self.emit(self.pair::<ProxyFence>(), 0, &[]);
            }
            // One thread of the host runs a block; to others it releases nothing.
            Op::Fence { scope: Scope::Cta, .. } => self.emit(self.pair::<Nothing>(), 0, &[]),
            Op::Fence { .. } | Op::FenceProxy { .. } => self.emit(self.pair::<Fence>(), 0, &[]),
            Op::Nanosleep => self.emit(self.pair::<Nanosleep>(), 0, &[]),
            Op::Bar { kind, aligned, barrier, threads } => self.bar(*kind, *aligned, *barrier, *threads)?,
            Op::BarWarpSync { mask } => self.warp_sync(*mask)?,
            Op::Prefetch => self.emit(self.pair::<Nothing>(), 0, &[]),
            _ => return Err(format!("{op:?} is not known")),
        }
        Ok(())
    }

    fn bar(&mut self, kind: Barrier, aligned: bool, barrier: Operand, threads: Option<Operand>) -> Result<(), String> {
        let mut decoded = self.blank(self.pair::<Bar>());
        decoded.a = self.source(barrier, 32)?;
        if let Some(threads) = threads {
            decoded.b = self.source(threads, 32)?;
            decoded.bytes |= bar::COUNTED;
        }
        if aligned {
            decoded.bytes |= bar::ALIGNED;
        }
        let mut with = |lowering: &mut Self, bits: u32, predicate: Predicate| -> Result<(), String> {
            let (word, negated) = lowering.predicate(predicate)?;
            decoded.c = word;
            decoded.bytes |= bits | if negated { bar::NEGATED } else { 0 };
            Ok(())
        };
        match kind {
            Barrier::Sync => decoded.bytes |= bar::SYNC,
            Barrier::Arrive if threads.is_none() => return Err("bar.arrive without a count of threads".into()),
            Barrier::Arrive => decoded.bytes |= bar::ARRIVE,
            Barrier::RedPopc { d, p } => {
                with(self, bar::POPC, p)?;
                decoded.r[0] = self.register(d, 32)?;
            }
            Barrier::RedAnd { d, p } => {
                with(self, bar::AND, p)?;
                decoded.r[0] = self.predicate_register(d)?;
            }
            Barrier::RedOr { d, p } => {
                with(self, bar::OR, p)?;
                decoded.r[0] = self.predicate_register(d)?;
            }
        }
        self.push(decoded);
        Ok(())
    }
}
