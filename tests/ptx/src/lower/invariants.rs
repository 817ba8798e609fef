//! Registers that hold one value through the whole kernel: they are its slot, and no instruction fills them.

use super::Lowering;
use super::operands::kind_of_bits;
use super::registers::each_result;
use crate::exec::program::ConstantValue;
use crate::text::ast::{Op, Operand, Register, Space, Special};

impl Lowering<'_> {
    /// Finds registers that one unguarded `mov`, `ld.param` or `cvta` gives a value that never changes.
    pub(super) fn find_invariants(&mut self) {
        let mut writes = vec![0u32; self.kernel.registers.len()];
        for instruction in &self.kernel.body {
            each_result(&instruction.op, &mut |register| writes[register.0 as usize] += 1);
        }
        let kernel = self.kernel;
        loop {
            let mut changed = false;
            for instruction in kernel.body.iter().filter(|instruction| instruction.guard.is_none()) {
                for (register, value) in self.values_given(&instruction.op) {
                    let at = register.0 as usize;
                    if writes[at] == 1 && !self.invariant[at] {
                        self.registers[at].0 = value;
                        self.invariant[at] = true;
                        changed = true;
                    }
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// The registers that an instruction sets to values that never change, with the slots of those.
    fn values_given(&mut self, op: &Op) -> Vec<(Register, u32)> {
        match op {
            Op::Mov { ty, d, a } if self.never_changes(*a) => self.given(*d, *a, 8 * ty.bytes()),
            Op::Cvta { space: Space::Global | Space::Const, ty, d, a, .. } if self.never_changes(*a) => {
                self.given(*d, *a, 8 * ty.bytes())
            }
            Op::Ld { space: Space::Param, ty, d, address, .. } => {
                let Ok(Some(start)) = self.parameter_at(*ty, d.len(), address) else { return Vec::new() };
                let mut values = Vec::new();
                for (at, register) in d.iter().enumerate() {
                    let Some(register) = register else { continue };
                    let found = self.bits_of(*register);
                    if found >= 8 * ty.bytes() && matches!(found, 16 | 32 | 64) {
                        let value = ConstantValue::Parameter {
                            offset: start + at as u32 * ty.bytes(),
                            bytes: ty.bytes(),
                            signed: super::memory::is_signed(*ty),
                        };
                        values.push((*register, self.constant(kind_of_bits(found), value)));
                    }
                }
                values
            }
            _ => Vec::new(),
        }
    }

    fn given(&mut self, d: Register, a: Operand, bits: u32) -> Vec<(Register, u32)> {
        if self.bits_of(d) != bits || bits == 128 {
            return Vec::new();
        }
        self.source(a, bits).map(|value| vec![(d, value)]).unwrap_or_default()
    }

    fn never_changes(&self, operand: Operand) -> bool {
        match operand {
            Operand::Register(register) => self.invariant[register.0 as usize],
            Operand::Special(special) => !matches!(special, Special::Clock | Special::Clock64 | Special::GlobalTimer),
            Operand::Immediate(_) | Operand::Symbol(..) => true,
        }
    }

    /// The bits of a slot that is a constant of the text.
    pub(super) fn constant_bits(&self, word: u32) -> Option<u64> {
        let found = self.program.constants.iter().find(|constant| constant.word == word)?;
        match found.value {
            ConstantValue::Bits(bits) => Some(bits),
            _ => None,
        }
    }
}
