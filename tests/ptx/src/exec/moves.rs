//! Moves between registers, packing and unpacking.

use super::lanes::{binary, unary};
use super::{Block, Decoded, Flow, Handler, Warp};

unary! {
    Move32(u32) -> u32: |a| a;
    Move64(u64) -> u64: |a| a;
    // The low and the high part of a register.
    Low32(u64) -> u32: |a| a as u32;
    High32(u64) -> u32: |a| (a >> 32) as u32;
    Low16(u32) -> u32: |a| a & 0xFFFF;
    High16(u32) -> u32: |a| a >> 16;
    // Widening as a sign or as zeros say.
    WidenU32(u32) -> u64: u64::from;
    WidenS32(i32) -> i64: i64::from;
    WidenU16(u16) -> u64: u64::from;
    WidenS16(i16) -> i64: i64::from;
    WidenU8(u8) -> u64: u64::from;
    WidenS8(i8) -> i64: i64::from;
    ExtendU16(u16) -> u32: u32::from;
    ExtendS16(i16) -> i32: i32::from;
    ExtendU8(u8) -> u32: u32::from;
    ExtendS8(i8) -> i32: i32::from;
}

binary! {
    // The first part is the lowest.
    Pack32(u32, u32) -> u64: |low, high| u64::from(high) << 32 | u64::from(low);
    Pack16(u32, u32) -> u32: |low, high| high << 16 | low & 0xFFFF;
}

/// `mov.b128` and the like: two slots of 64 bits.
pub(crate) struct Move128;

impl Handler for Move128 {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, b: &mut Block<'_>) -> Flow {
        // SAFETY: lowering gave this handler registers of 128 bits: two slots of 64 bits, one behind the other.
        unsafe {
            Move64::run::<WHOLE>(i, w, b);
            let high = Decoded { r: [i.r[0] + 64, 0, 0, 0], a: i.a + 64, ..*i };
            Move64::run::<WHOLE>(&high, w, b)
        }
    }
}

/// A predicate out of another one: bit 0 of `imm` negates it.
pub(crate) struct PredMove;

impl Handler for PredMove {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        // SAFETY: lowering gave this handler predicates.
        unsafe {
            let a = w.predicate(i.a) ^ (i.imm as u32 & 1).wrapping_neg();
            w.set_predicate(i.r[0], a);
        }
        Flow::Go
    }
}
