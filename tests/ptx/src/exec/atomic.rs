//! Atomics (§9.7.13.6, §9.7.13.7): by the host's own, since blocks run at the same time. Lanes go one after the other, by number.

use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

use super::anywhere::{any, pointers};
use super::{Block, Decoded, Flow, Handler, LANES, Warp};
use crate::text::ast::{Atomic, Type};

/// The operation of an atomic. Of [`Decoded`]: `a` is the address, `b` and `c` the values, `r[0]` the old value if `n` is 1, `imm` the
/// offset; the low byte of `bytes` is the index into [`super::Program::atomics`], the rest is as [`any`] says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct AtomicOp {
    pub(crate) op: Atomic,
    pub(crate) ty: Type,
}

impl AtomicOp {
    /// The value in memory afterwards; `None`: this machine does not know the operation.
    pub(crate) fn apply(self, old: u64, b: u64, c: u64) -> Option<u64> {
        use Type::*;
        let AtomicOp { op, ty } = self;
        let bits = 8 * ty.bytes();
        let low = |value: u64| super::scalar::truncate(value, bits);
        let signed = |value: u64| super::scalar::signed(value, bits);
        Some(match (op, ty) {
            (Atomic::Exch, B16 | B32 | B64 | U32 | U64 | S32 | S64 | F32 | F64) => low(b),
            (Atomic::Cas, B16 | B32 | B64 | U32 | U64 | S32 | S64) => {
                if low(old) == low(b) {
                    low(c)
                } else {
                    old
                }
            }
            (Atomic::And, B32 | B64) => old & b,
            (Atomic::Or, B32 | B64) => old | b,
            (Atomic::Xor, B32 | B64) => old ^ b,
            (Atomic::Add, U32 | S32 | U64 | S64) => low(old.wrapping_add(b)),
            (Atomic::Add, F32) => {
                // §9.7.13.6: on global memory subnormals of f32 are kept or not as the GPU likes; they are kept here.
                u64::from((f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits())
            }
            (Atomic::Add, F64) => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
            (Atomic::Add, F16 | Bf16 | F16x2 | Bf16x2) => {
                let modifiers = crate::text::ast::Modifiers::default();
                let scalar = super::scalar::Scalar::Binary { op: crate::text::ast::Binary::Add, ty, modifiers };
                scalar.value(super::scalar::Sources { a: old, b, ..Default::default() })?.0
            }
            (Atomic::Inc, U32) => {
                if low(old) >= low(b) {
                    0
                } else {
                    old + 1
                }
            }
            (Atomic::Dec, U32) => {
                if low(old) == 0 || low(old) > low(b) {
                    low(b)
                } else {
                    old - 1
                }
            }
            (Atomic::Min, U32 | U64) => low(old).min(low(b)),
            (Atomic::Max, U32 | U64) => low(old).max(low(b)),
            (Atomic::Min, S32 | S64) => low(signed(old).min(signed(b)) as u64),
            (Atomic::Max, S32 | S64) => low(signed(old).max(signed(b)) as u64),
            _ => return None,
        })
    }
}

/// `atom` and `red`.
pub(crate) struct Atom;

impl Handler for Atom {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: the caller's promise.
        unsafe { atom(i, w, b) }
    }
}

/// # Safety
/// The instruction is one that lowering made for [`Atom`].
unsafe fn atom(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
    let operation = b.program.atomics[(i.bytes & 0xFF) as usize];
    let size = u64::from(operation.ty.bytes());
    let wide = i.bytes & any::WIDE != 0;
    // SAFETY: lowering put slots there of the operation's width, and the pointers hold that many bytes, aligned.
    unsafe {
        let Some(pointers) = pointers(i, w, b, size, size) else { return Flow::Fault };
        let read = |word: u32, lane: usize| {
            if wide { w.slot::<u64>(word).add(lane).read() } else { u64::from(w.slot::<u32>(word).add(lane).read()) }
        };
        let mut old = [0u64; LANES];
        for lane in (0..LANES).filter(|lane| w.mask >> lane & 1 != 0) {
            let (x, y) = (read(i.b, lane), read(i.c, lane));
            let change = |old: u64| operation.apply(old, x, y);
            old[lane] = update(pointers[lane], size, change);
        }
        if i.n == 1 && wide {
            w.set_lanes::<u64, false>(i.r[0], &old);
        } else if i.n == 1 {
            w.set_lanes::<u32, false>(i.r[0], &old.map(|value| value as u32));
        }
    }
    b.events += 1;
    Flow::Go
}

/// Changes a value in memory, and gives the old one.
///
/// # Safety
/// So many bytes lie there, aligned; nothing but atomics and the kernel's own accesses touch them.
unsafe fn update(at: *mut u8, size: u64, change: impl Fn(u64) -> Option<u64>) -> u64 {
    const SUCCESS: Ordering = Ordering::AcqRel;
    // SAFETY: the caller says so.
    unsafe {
        let old = match size {
            2 => AtomicU16::from_ptr(at.cast())
                .fetch_update(SUCCESS, Ordering::Acquire, |old| change(u64::from(old)).map(|new| new as u16))
                .map(u64::from)
                .map_err(u64::from),
            4 => AtomicU32::from_ptr(at.cast())
                .fetch_update(SUCCESS, Ordering::Acquire, |old| change(u64::from(old)).map(|new| new as u32))
                .map(u64::from)
                .map_err(u64::from),
            _ => AtomicU64::from_ptr(at.cast()).fetch_update(SUCCESS, Ordering::Acquire, change),
        };
        old.unwrap_or_else(|old| old)
    }
}
