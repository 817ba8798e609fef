//! Facts about registers that are known before a kernel runs: those that may be read before they are written, and misuse of `wgmma`'s
//! registers, which are written at a time that nobody knows.

use std::collections::{BTreeMap, BTreeSet};

use super::registers::{each_result, each_source};
use crate::text::ast::{Instruction, Kernel, Op, Register, WgmmaA};
use crate::text::flow::Flow;

/// Registers that some way through the kernel reads before anything has written them.
pub(super) fn perhaps_unwritten(kernel: &Kernel, flow: &Flow) -> BTreeSet<Register> {
    let count = kernel.registers.len();
    let words = count.div_ceil(64);
    // For each block the registers that are surely written at its beginning; all where nothing is known yet.
    let mut before = vec![vec![u64::MAX; words]; flow.blocks.len()];
    if let Some(first) = before.first_mut() {
        first.fill(0);
    }
    let step = |instruction: &Instruction, written: &mut [u64]| {
        if instruction.guard.is_none() {
            each_result(&instruction.op, &mut |register| written[register.0 as usize / 64] |= 1 << (register.0 % 64));
        }
    };
    let mut waiting: Vec<usize> = (0..flow.blocks.len()).rev().collect();
    while let Some(at) = waiting.pop() {
        let block = &flow.blocks[at];
        let mut written = before[at].clone();
        for index in block.first..block.end {
            step(&kernel.body[index as usize], &mut written);
        }
        for &next in &block.successors {
            let target = &mut before[next as usize];
            let mut changed = false;
            for (target, written) in target.iter_mut().zip(&written) {
                changed |= *target & !written != 0;
                *target &= written;
            }
            if changed {
                waiting.push(next as usize);
            }
        }
    }
    let mut found = BTreeSet::new();
    for (at, block) in flow.blocks.iter().enumerate() {
        let mut written = before[at].clone();
        for index in block.first..block.end {
            let instruction = &kernel.body[index as usize];
            each_source(instruction, &mut |register| {
                if written[register.0 as usize / 64] >> (register.0 % 64) & 1 == 0 {
                    found.insert(register);
                }
            });
            step(instruction, &mut written);
        }
    }
    found
}

/// Registers of `wgmma` at a place in the kernel.
#[derive(Debug, Clone, Default, PartialEq)]
struct Flight {
    /// Registers that a product may still read or write: whether it writes them, and how many groups were closed since.
    busy: BTreeMap<Register, (bool, u32)>,
    /// Registers that were written since the last `wgmma.fence`; all where it is `None`.
    changed: Option<BTreeSet<Register>>,
}

impl Flight {
    /// Joins the facts where two paths meet; true if they are more than before.
    fn join(&mut self, other: &Flight) -> bool {
        let before = self.clone();
        for (&register, &(writes, groups)) in &other.busy {
            let entry = self.busy.entry(register).or_insert((writes, groups));
            *entry = (entry.0 || writes, entry.1.min(groups));
        }
        match (&mut self.changed, &other.changed) {
            (Some(changed), Some(other)) => changed.extend(other),
            (changed, None) => *changed = None,
            (None, _) => {}
        }
        *self != before
    }

    /// Carries out an instruction; what is wrong with it.
    fn step(&mut self, instruction: &Instruction, names: &dyn Fn(Register) -> String) -> Option<String> {
        match &instruction.op {
            Op::WgmmaFence => {
                self.changed = Some(BTreeSet::new());
                None
            }
            Op::WgmmaCommit => {
                self.busy.values_mut().for_each(|(_, groups)| *groups = groups.saturating_add(1));
                None
            }
            Op::WgmmaWait { groups } => {
                self.busy.retain(|_, (_, closed)| *closed <= *groups);
                None
            }
            Op::Wgmma { d, a, .. } => {
                let sources: &[Register] = match a {
                    WgmmaA::Registers(registers) => registers,
                    WgmmaA::Descriptor(_) => &[],
                };
                let changed =
                    |register: &&Register| self.changed.as_ref().is_none_or(|changed| changed.contains(register));
                let unfenced = d.iter().chain(sources).find(changed).copied();
                let written =
                    sources.iter().find(|register| self.busy.get(register).is_some_and(|busy| busy.0)).copied();
                sources.iter().for_each(|&register| {
                    self.busy.insert(register, (false, 0));
                });
                d.iter().for_each(|&register| {
                    self.busy.insert(register, (true, 0));
                });
                match (unfenced, written) {
                    (Some(register), _) => {
                        Some(format!("wgmma uses {}, which was written since the last wgmma.fence", names(register)))
                    }
                    (_, Some(register)) => {
                        Some(format!("wgmma reads {} while another one may be writing it", names(register)))
                    }
                    _ => None,
                }
            }
            op => {
                let mut wrong = None;
                each_source(instruction, &mut |register| {
                    if self.busy.get(&register).is_some_and(|busy| busy.0) {
                        wrong.get_or_insert(format!("a read of {} while wgmma may be writing it", names(register)));
                    }
                });
                each_result(op, &mut |register| {
                    if self.busy.contains_key(&register) {
                        wrong.get_or_insert(format!("a write of {} while wgmma may be using it", names(register)));
                    }
                    if let Some(changed) = &mut self.changed {
                        changed.insert(register);
                    }
                });
                wrong
            }
        }
    }
}

/// Instructions that use registers of `wgmma` before it was waited for, or without a fence: by index, what is wrong.
pub(super) fn misused_products(kernel: &Kernel, flow: &Flow) -> BTreeMap<u32, String> {
    let mut found = BTreeMap::new();
    if !kernel.body.iter().any(|instruction| matches!(instruction.op, Op::Wgmma { .. })) {
        return found;
    }
    let names = |register: Register| kernel.registers[register.0 as usize].name.clone();
    let nothing = || Flight { busy: BTreeMap::new(), changed: Some(BTreeSet::new()) };
    let mut before: Vec<Option<Flight>> = vec![None; flow.blocks.len()];
    before[0] = Some(Flight::default());
    let mut waiting = vec![0];
    while let Some(at) = waiting.pop() {
        let Some(mut flight) = before[at].clone() else { continue };
        let block = &flow.blocks[at];
        for index in block.first..block.end {
            flight.step(&kernel.body[index as usize], &names);
        }
        for &next in &block.successors {
            let new = before[next as usize].is_none();
            let target = before[next as usize].get_or_insert_with(nothing);
            if target.join(&flight) || new {
                waiting.push(next as usize);
            }
        }
    }
    for (at, block) in flow.blocks.iter().enumerate() {
        let Some(mut flight) = before[at].clone() else { continue };
        for index in block.first..block.end {
            if let Some(wrong) = flight.step(&kernel.body[index as usize], &names) {
                found.insert(index, wrong);
            }
        }
    }
    found
}
