//! Operands as slots.

use super::Lowering;
use crate::exec::control;
use crate::exec::moves;
use crate::exec::program::{ConstantValue, SlotKind};
use crate::exec::scalar::held;
use crate::text::ast::{Address, Op, Operand, Predicate, Register, Space, Special, Symbol, Type};

/// The kind of slot that holds a register of a type.
pub(super) fn kind_of(ty: Type) -> SlotKind {
    match ty.bytes() {
        0 => SlotKind::Predicate,
        1..=4 => SlotKind::Word,
        8 => SlotKind::Double,
        _ => SlotKind::Quad,
    }
}

/// The kind of slot that holds a value of so many bits.
pub(super) fn kind_of_bits(bits: u32) -> SlotKind {
    match bits {
        0..=32 => SlotKind::Word,
        64 => SlotKind::Double,
        _ => SlotKind::Quad,
    }
}

/// The name of a slot for so many bits in arithmetic lane by lane.
pub(super) fn held_of(bits: u32) -> u32 {
    if bits == 64 { held::DOUBLE } else { held::WORD }
}

impl Lowering<'_> {
    fn name(&self, register: Register) -> &str {
        self.kernel.registers.get(register.0 as usize).map_or("?", |declared| &declared.name)
    }

    /// Bits of a register; 0 of a predicate.
    pub(super) fn bits_of(&self, register: Register) -> u32 {
        self.kernel.registers.get(register.0 as usize).map_or(0, |declared| 8 * declared.ty.bytes())
    }

    /// The slot of a register that must have this width.
    pub(super) fn register(&self, register: Register, bits: u32) -> Result<u32, String> {
        let found = self.bits_of(register);
        if found != bits {
            let name = self.name(register);
            return Err(format!("register {name} has {found} bits where the instruction takes {bits}"));
        }
        Ok(self.registers[register.0 as usize].0)
    }

    /// A predicate register.
    pub(super) fn predicate_register(&self, register: Register) -> Result<u32, String> {
        match self.registers.get(register.0 as usize) {
            Some(&(word, SlotKind::Predicate)) => Ok(word),
            _ => Err(format!("register {} is no predicate", self.name(register))),
        }
    }

    /// A predicate as a source, and whether it is negated.
    pub(super) fn predicate(&mut self, predicate: Predicate) -> Result<(u32, bool), String> {
        match predicate {
            Predicate::Register(guard) => Ok((self.predicate_register(guard.register)?, guard.negated)),
            Predicate::Constant(value) => {
                Ok((self.constant(SlotKind::Predicate, ConstantValue::Bits(u64::from(value))), false))
            }
        }
    }

    /// The slot of a source of this width.
    pub(super) fn source(&mut self, operand: Operand, bits: u32) -> Result<u32, String> {
        match operand {
            Operand::Register(register) => self.register(register, bits),
            _ => self.constant_source(operand, bits),
        }
    }

    /// The slot of a source whose register may be wider than what the instruction reads: the low bits count.
    pub(super) fn loose_source(&mut self, operand: Operand, bits: u32) -> Result<u32, String> {
        let Operand::Register(register) = operand else { return self.constant_source(operand, bits) };
        let found = self.bits_of(register);
        if found < bits {
            let name = self.name(register);
            return Err(format!("register {name} has {found} bits where the instruction reads {bits}"));
        }
        let word = self.registers[register.0 as usize].0;
        if kind_of_bits(found) == kind_of_bits(bits) {
            return Ok(word);
        }
        if found == 128 {
            return Err(format!("register {} has 128 bits where the instruction reads {bits}", self.name(register)));
        }
        let low = self.slot(SlotKind::Word);
        self.emit(self.pair::<moves::Low32>(), low, &[word]);
        Ok(low)
    }

    fn constant_source(&mut self, operand: Operand, bits: u32) -> Result<u32, String> {
        let kind = kind_of_bits(bits);
        let value = match operand {
            Operand::Immediate(value) => {
                ConstantValue::Bits(if bits >= 64 { value } else { value & ((1 << bits) - 1) })
            }
            Operand::Special(special) => return self.special(special, bits),
            Operand::Symbol(symbol, offset) => ConstantValue::Bits(self.symbol(symbol)?.1.wrapping_add(offset as u64)),
            Operand::Register(_) => return Err("a register where a constant was expected".into()),
        };
        Ok(self.constant(kind, value))
    }

    fn special(&mut self, special: Special, bits: u32) -> Result<u32, String> {
        let width = match special {
            Special::Clock64 | Special::GlobalTimer | Special::GridId => 64,
            _ => 32,
        };
        // Older PTX reads %tid into registers of 16 bits; what nvcc writes reads 32.
        if bits != width && !(special == Special::GridId && bits == 32) {
            return Err(format!("special register {special:?} read with {bits} bits"));
        }
        if matches!(special, Special::Clock | Special::Clock64 | Special::GlobalTimer) {
            let slot = self.slot(kind_of_bits(bits));
            let run = if bits == 64 { self.pair::<control::Ticks64>() } else { self.pair::<control::Ticks32>() };
            self.emit(run, slot, &[]);
            return Ok(slot);
        }
        Ok(self.constant(kind_of_bits(bits), ConstantValue::Special(special)))
    }

    /// The space and address of a variable.
    pub(super) fn symbol(&self, symbol: Symbol) -> Result<(Space, u64), String> {
        let unknown = || format!("{symbol:?} is no variable");
        Ok(match symbol {
            Symbol::Module(at) => {
                let variable = self.setting.variables.get(at as usize).ok_or_else(unknown)?;
                let address = match self.layout.module_shared.get(&at) {
                    Some(&offset) => u64::from(offset),
                    None => *self.setting.addresses.get(at as usize).ok_or_else(unknown)?,
                };
                (variable.space, address)
            }
            Symbol::Kernel(at) => {
                let variable = self.kernel.variables.get(at as usize).ok_or_else(unknown)?;
                (variable.space, u64::from(self.layout.kernel[at as usize]))
            }
            Symbol::Parameter(at) => {
                let (offset, _) = self.layout.parameters.get(at as usize).ok_or_else(unknown)?;
                (Space::Param, u64::from(*offset))
            }
        })
    }

    /// The slot of an address, its bits, and what is added to it.
    pub(super) fn address(&mut self, address: &Address) -> Result<(u32, u32, u64), String> {
        match address.base {
            Operand::Register(register) => {
                let bits = self.bits_of(register);
                if bits != 32 && bits != 64 {
                    return Err(format!("register {} of {bits} bits as an address", self.name(register)));
                }
                Ok((self.register(register, bits)?, bits, address.offset as u64))
            }
            base => Ok((self.constant_source(base, 64)?, 64, address.offset as u64)),
        }
    }

    /// The result of an instruction that writes `bits` into a register that may be wider: where to write, and the register with
    /// its bits if the value has to be widened afterwards.
    pub(super) fn loose_result(&mut self, register: Register, bits: u32) -> Result<(u32, Option<(u32, u32)>), String> {
        let found = self.bits_of(register);
        if found < bits || found == 0 || found > 64 {
            let name = self.name(register);
            return Err(format!("register {name} has {found} bits where the instruction writes {bits}"));
        }
        let word = self.registers[register.0 as usize].0;
        if found == bits {
            return Ok((word, None));
        }
        Ok((self.slot(kind_of_bits(bits)), Some((word, found))))
    }

    /// Widens a value of a type into a register.
    pub(super) fn widen(&mut self, ty: Type, from: u32, to: (u32, u32)) -> Result<(), String> {
        use Type::*;
        let run = match (ty, to.1) {
            (S32, 64) => self.pair::<moves::WidenS32>(),
            (U32 | B32 | F32 | F16x2 | Bf16x2, 64) => self.pair::<moves::WidenU32>(),
            (S16, 64) => self.pair::<moves::WidenS16>(),
            (U16 | B16 | F16 | Bf16, 64) => self.pair::<moves::WidenU16>(),
            (S8, 64) => self.pair::<moves::WidenS8>(),
            (U8 | B8, 64) => self.pair::<moves::WidenU8>(),
            (S16, _) => self.pair::<moves::ExtendS16>(),
            (U16 | B16 | F16 | Bf16, _) => self.pair::<moves::ExtendU16>(),
            (S8, _) => self.pair::<moves::ExtendS8>(),
            (U8 | B8, _) => self.pair::<moves::ExtendU8>(),
            _ => return Err(format!("a value of type {ty:?} in a register of {} bits", to.1)),
        };
        self.emit(run, to.0, &[from]);
        Ok(())
    }
}

/// Calls a function with each operand that may name a variable.
pub(super) fn each_operand(op: &Op, f: &mut dyn FnMut(&Operand)) {
    let mut each = |operands: &[&Operand]| operands.iter().for_each(|operand| f(operand));
    match op {
        Op::Mov { a, .. } | Op::Unpack { a, .. } | Op::Unary { a, .. } | Op::Cvt { a, .. } => each(&[a]),
        Op::Cvta { a, .. } | Op::Isspacep { a, .. } | Op::GetCtaRank { a, .. } => each(&[a]),
        Op::Pack { parts, .. } => parts.iter().for_each(|part| each(&[part])),
        Op::Binary { a, b, .. } | Op::Selp { a, b, .. } | Op::Setp { a, b, .. } | Op::Set { a, b, .. } => each(&[a, b]),
        Op::Mapa { a, b, .. } => each(&[a, b]),
        Op::Ternary { a, b, c, .. } | Op::Slct { a, b, c, .. } => each(&[a, b, c]),
        Op::Extended { a, b, .. } => each(&[a, b]),
        Op::Ld { address, .. } | Op::CpAsyncMbarrierArrive { address, .. } | Op::Ldmatrix { address, .. } => {
            each(&[&address.base]);
        }
        Op::St { address, a, .. } => {
            each(&[&address.base]);
            a.iter().for_each(|value| each(&[value]));
        }
        Op::Stmatrix { address, .. } => each(&[&address.base]),
        Op::Atom { address, b, .. } => {
            each(&[&address.base]);
            b.iter().for_each(|value| each(&[value]));
        }
        Op::CpAsync { dst, src, .. } | Op::CpAsyncBulk { dst, src, .. } => each(&[&dst.base, &src.base]),
        Op::CpAsyncBulkTensor { shared, map, .. } => each(&[&shared.base, &map.base]),
        Op::Mbarrier(mbarrier) => mbarrier_address(mbarrier).into_iter().for_each(|address| each(&[&address.base])),
        _ => {}
    }
    if let Op::CpAsyncBulk { completion, .. } | Op::CpAsyncBulkTensor { completion, .. } = op
        && let crate::text::ast::Completion::Mbarrier(address) = completion
    {
        f(&address.base);
    }
}

/// The address of an mbarrier that an instruction names.
pub(super) fn mbarrier_address(mbarrier: &crate::text::ast::Mbarrier) -> Option<&Address> {
    use crate::text::ast::Mbarrier::*;
    match mbarrier {
        Init { address, .. } | Inval { address } | ExpectTx { address, .. } | CompleteTx { address, .. } => {
            Some(address)
        }
        Arrive { address, .. } | Wait { address, .. } => Some(address),
        PendingCount { .. } => None,
    }
}
