//! Loads, stores, atomics.

use super::Lowering;
use super::operands::{kind_of, kind_of_bits};
use crate::exec::anywhere::{AnyLoad, AnyStore, any};
use crate::exec::checks::access::CheckAccess;
use crate::exec::control::{Fence, Nothing};
use crate::exec::counts::CountAccess;
use crate::exec::memory::{Byte, Double, Fast, Global, Half, Load, Local, LocalWide, Shared, Store, Word};
use crate::exec::moves;
use crate::exec::program::{ConstantValue, SlotKind};
use crate::exec::{Decoded, Pair};
use crate::machine::Checks;
use crate::text::ast::{Address, Op, Operand, Ordering, Register, Space, Type};

/// Elements and registers of an access that has a handler of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Byte,
    Half,
    Word,
    Double,
}

pub(super) fn is_signed(ty: Type) -> bool {
    matches!(ty, Type::S8 | Type::S16 | Type::S32 | Type::S64)
}

impl Lowering<'_> {
    pub(super) fn memory(&mut self, op: &Op) -> Result<(), String> {
        match op {
            Op::Ld { space: Space::Param, ty, d, address, .. }
                if matches!(address.base, Operand::Symbol(..) | Operand::Immediate(_)) =>
            {
                self.parameter(*ty, d, address)
            }
            Op::Ld { space, ty, ordering, d, address, .. } => {
                self.load(*space, *ty, d, address, strong(*ordering))?;
                if matches!(ordering, Ordering::Acquire | Ordering::SeqCst) {
                    self.emit(self.pair::<Fence>(), 0, &[]);
                }
                Ok(())
            }
            Op::St { space, ty, ordering, a, address, .. } => {
                if matches!(ordering, Ordering::Release | Ordering::SeqCst) {
                    self.emit(self.pair::<Fence>(), 0, &[]);
                }
                self.store(*space, *ty, a, address, any::WRITES | strong(*ordering))
            }
            Op::Prefetch => {
                self.emit(self.pair::<Nothing>(), 0, &[]);
                Ok(())
            }
            Op::Atom { .. } => self.atom(op),
            _ => Err(format!("{op:?} is not known")),
        }
    }

    /// `ld.param` of a constant address: a slot that is filled before the block begins.
    fn parameter(&mut self, ty: Type, d: &[Option<Register>], address: &Address) -> Result<(), String> {
        let bytes = ty.bytes();
        let start = self.parameter_at(ty, d.len(), address)?.ok_or("ld.param of an address that is not constant")?;
        for (at, register) in d.iter().enumerate() {
            let Some(register) = register else { continue };
            let found = self.bits_of(*register);
            if found < 8 * bytes || found > 64 {
                return Err(format!("ld.param of {ty:?} into a register of {found} bits"));
            }
            let kind = kind_of_bits(found);
            if self.invariant[register.0 as usize] {
                continue;
            }
            let offset = start + at as u32 * bytes;
            let value = ConstantValue::Parameter { offset, bytes, signed: is_signed(ty) };
            let a = self.constant(kind, value);
            let d = self.register(*register, found)?;
            let run = if found == 64 { self.pair::<moves::Move64>() } else { self.pair::<moves::Move32>() };
            self.emit(run, d, &[a]);
        }
        Ok(())
    }

    /// The offset in the parameter block that `ld.param` reads at; `None` where its address is not constant.
    pub(super) fn parameter_at(&self, ty: Type, count: usize, address: &Address) -> Result<Option<u32>, String> {
        let start = match address.base {
            Operand::Symbol(symbol, offset) => {
                let (space, start) = self.symbol(symbol)?;
                if space != Space::Param {
                    return Err(format!("ld.param of {symbol:?}, which is in {space:?}"));
                }
                start.wrapping_add(offset as u64)
            }
            Operand::Immediate(value) => value,
            Operand::Register(_) | Operand::Special(_) => return Ok(None),
        };
        let start = start.wrapping_add(address.offset as u64);
        let total = self.layout.parameters.last().map_or(0, |&(offset, bytes)| offset + bytes);
        let bytes = ty.bytes();
        let end = start.checked_add(u64::from(bytes) * count as u64);
        if bytes == 0 || bytes > 8 || end.is_none_or(|end| end > u64::from(total)) {
            return Err(format!("ld.param of {count} times {ty:?} at byte {start} of {total}"));
        }
        Ok(Some(start as u32))
    }

    /// The slot of an address in a space: shared addresses that are constant have 32 bits.
    pub(super) fn address_in(&mut self, space: Space, address: &Address) -> Result<(u32, u32, u64), String> {
        if let (Space::Shared | Space::SharedCluster | Space::Local, Operand::Symbol(..) | Operand::Immediate(_)) =
            (space, address.base)
        {
            return Ok((self.source(address.base, 32)?, 32, address.offset as u64));
        }
        let (word, bits, offset) = self.address(address)?;
        if bits == 32 && matches!(space, Space::Global | Space::Const | Space::Generic) {
            return Err(format!("a register of 32 bits as an address in {space:?} memory"));
        }
        Ok((word, bits, offset))
    }

    /// The slots of the registers of a load or store, and their bits, which must be all the same.
    fn values(&mut self, ty: Type, registers: &[Option<Register>]) -> Result<(Vec<Option<u32>>, u32), String> {
        let mut bits = 0;
        let mut words = Vec::new();
        for register in registers {
            let Some(register) = register else {
                words.push(None);
                continue;
            };
            let found = self.bits_of(*register);
            if found < 8 * ty.bytes() || bits != 0 && bits != found {
                return Err(format!("a register of {found} bits for {ty:?}, beside one of {bits}"));
            }
            bits = found;
            words.push(Some(self.register(*register, found)?));
        }
        Ok((words, if bits == 0 { 8 * ty.bytes() } else { bits }))
    }

    fn load(
        &mut self,
        space: Space,
        ty: Type,
        d: &[Option<Register>],
        address: &Address,
        flags: u32,
    ) -> Result<(), String> {
        let (a, address_bits, offset) = self.address_in(space, address)?;
        let (words, bits) = self.values(ty, d)?;
        if words.is_empty() || words.len() > 4 || ty == Type::Pred {
            return Err(format!("ld of {} times {ty:?} is not known", words.len()));
        }
        let mut decoded = self.blank(self.pair::<AnyLoad>());
        for (at, word) in words.iter().enumerate() {
            decoded.r[at] = match word {
                Some(word) => *word,
                None => self.slot(kind_of_bits(bits)),
            };
        }
        (decoded.a, decoded.imm, decoded.n) = (a, offset, words.len() as u32);
        decoded.bytes = any_bits(space, ty, bits, address_bits);
        let sign_matters = is_signed(ty) && 8 * ty.bytes() < bits;
        if let Some(shape) = shape(ty, bits).filter(|_| !sign_matters) {
            let fast = match (space, address_bits) {
                (Space::Global | Space::Const, 64) => self.fast_load::<Global>(shape, words.len()),
                (Space::Shared, 32) => self.fast_load::<Shared>(shape, words.len()),
                (Space::Local, 32) => self.fast_load::<Local>(shape, words.len()),
                (Space::Local, 64) => self.fast_load::<LocalWide>(shape, words.len()),
                _ => None,
            };
            decoded.run = fast.unwrap_or(decoded.run);
        }
        self.access(decoded, flags);
        Ok(())
    }

    fn store(&mut self, space: Space, ty: Type, a: &[Operand], address: &Address, flags: u32) -> Result<(), String> {
        let (at, address_bits, offset) = self.address_in(space, address)?;
        let registers: Vec<Option<Register>> = a
            .iter()
            .map(|operand| match operand {
                Operand::Register(register) => Some(*register),
                _ => None,
            })
            .collect();
        let (words, bits) = self.values(ty, &registers)?;
        if words.is_empty() || words.len() > 4 || ty == Type::Pred || space == Space::Param {
            return Err(format!("st of {} times {ty:?} to {space:?} is not known", words.len()));
        }
        let mut decoded = self.blank(self.pair::<AnyStore>());
        for (at, word) in words.iter().enumerate() {
            decoded.r[at] = match word {
                Some(word) => *word,
                None => self.source(a[at], bits)?,
            };
        }
        (decoded.a, decoded.imm, decoded.n) = (at, offset, words.len() as u32);
        decoded.bytes = any_bits(space, ty, bits, address_bits);
        if let Some(shape) = shape(ty, bits) {
            let fast = match (space, address_bits) {
                (Space::Global, 64) => self.fast_store::<Global>(shape, words.len()),
                (Space::Shared, 32) => self.fast_store::<Shared>(shape, words.len()),
                (Space::Local, 32) => self.fast_store::<Local>(shape, words.len()),
                (Space::Local, 64) => self.fast_store::<LocalWide>(shape, words.len()),
                _ => None,
            };
            decoded.run = fast.unwrap_or(decoded.run);
        }
        self.access(decoded, flags);
        Ok(())
    }

    /// An access, behind what checks and counts it.
    pub(super) fn access(&mut self, decoded: Decoded, flags: u32) {
        if self.setting.checks != Checks::NONE {
            let run = self.pair::<CheckAccess>();
            self.push(Decoded { run, bytes: decoded.bytes | flags, ..decoded });
        }
        if self.setting.counts {
            let run = self.pair::<CountAccess>();
            self.push(Decoded { run, bytes: decoded.bytes | flags, ..decoded });
        }
        self.push(decoded);
    }

    fn fast_load<S: Fast + 'static>(&self, shape: Shape, n: usize) -> Option<Pair> {
        Some(match (shape, n) {
            (Shape::Byte, 1) => self.pair::<Load<S, Byte, 1>>(),
            (Shape::Half, 1) => self.pair::<Load<S, Half, 1>>(),
            (Shape::Word, 1) => self.pair::<Load<S, Word, 1>>(),
            (Shape::Word, 2) => self.pair::<Load<S, Word, 2>>(),
            (Shape::Word, 4) => self.pair::<Load<S, Word, 4>>(),
            (Shape::Double, 1) => self.pair::<Load<S, Double, 1>>(),
            (Shape::Double, 2) => self.pair::<Load<S, Double, 2>>(),
            _ => return None,
        })
    }

    fn fast_store<S: Fast + 'static>(&self, shape: Shape, n: usize) -> Option<Pair> {
        Some(match (shape, n) {
            (Shape::Byte, 1) => self.pair::<Store<S, Byte, 1>>(),
            (Shape::Half, 1) => self.pair::<Store<S, Half, 1>>(),
            (Shape::Word, 1) => self.pair::<Store<S, Word, 1>>(),
            (Shape::Word, 2) => self.pair::<Store<S, Word, 2>>(),
            (Shape::Word, 4) => self.pair::<Store<S, Word, 4>>(),
            (Shape::Double, 1) => self.pair::<Store<S, Double, 1>>(),
            (Shape::Double, 2) => self.pair::<Store<S, Double, 2>>(),
            _ => return None,
        })
    }
}

fn shape(ty: Type, bits: u32) -> Option<Shape> {
    match (ty.bytes(), kind_of_bits(bits)) {
        (1, SlotKind::Word) => Some(Shape::Byte),
        (2, SlotKind::Word) => Some(Shape::Half),
        (4, SlotKind::Word) => Some(Shape::Word),
        (8, SlotKind::Double) => Some(Shape::Double),
        _ => None,
    }
}

/// The facts about an access that [`AnyLoad`] and [`AnyStore`] need.
pub(super) fn any_bits(space: Space, ty: Type, bits: u32, address_bits: u32) -> u32 {
    let wide = match kind_of_bits(bits) {
        SlotKind::Double => any::WIDE,
        SlotKind::Quad => any::QUAD,
        SlotKind::Word | SlotKind::Predicate => 0,
    };
    let signed = if is_signed(ty) { any::SIGNED } else { 0 };
    let address = if address_bits == 64 { any::ADDRESS64 } else { 0 };
    debug_assert!(kind_of(ty) != SlotKind::Predicate);
    ty.bytes() | wide | signed | address | any::space_bits(space)
}

/// Accesses that are not weak do not race with each other.
fn strong(ordering: Ordering) -> u32 {
    if ordering == Ordering::Weak { 0 } else { any::STRONG }
}

/// log2 of the smallest access of shared and of global memory in a kernel: pieces of which every access is whole ones.
pub(super) fn granules(kernel: &crate::text::ast::Kernel) -> (u32, u32) {
    let (mut shared, mut global) = (16, 16);
    for instruction in &kernel.body {
        let (space, bytes) = match &instruction.op {
            Op::Ld { space, ty, .. } | Op::St { space, ty, .. } | Op::Atom { space, ty, .. } => (*space, ty.bytes()),
            Op::CpAsync { bytes, source_bytes, .. } => {
                // Counts of bytes to read that are no whole words are not checked.
                global = global.min(if source_bytes.is_some() { 4 } else { *bytes });
                (Space::Shared, *bytes)
            }
            _ => continue,
        };
        if matches!(space, Space::Shared | Space::SharedCluster | Space::Generic) {
            shared = shared.min(bytes);
        }
        if matches!(space, Space::Global | Space::Generic) {
            global = global.min(bytes);
        }
    }
    // Kernels with accesses of 4 bytes and more share one shadow of global memory.
    (shared.max(1).ilog2(), global.clamp(1, 4).ilog2())
}
