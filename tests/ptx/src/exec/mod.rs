//! Runs decoded instructions: the 32 lanes of a warp side by side, the warps of a block in turns, the blocks on all cores.

// A lane is an index into several registers at once, and a piece into several fields.
#![allow(clippy::needless_range_loop)]

pub(crate) mod anywhere;
pub(crate) mod atomic;
pub(crate) mod block;
pub(crate) mod bulk;
pub(crate) mod checks;
pub(crate) mod cluster;
pub(crate) mod collective;
pub(crate) mod compare;
pub(crate) mod control;
pub(crate) mod convert;
pub(crate) mod copies;
pub(crate) mod counts;
pub(crate) mod float;
pub(crate) mod integer;
pub(crate) mod lanes;
pub(crate) mod launch;
pub(crate) mod level;
pub(crate) mod matrix;
pub(crate) mod mbarrier;
pub(crate) mod memory;
pub(crate) mod moves;
pub(crate) mod path;
pub(crate) mod program;
pub(crate) mod scalar;
mod turn;
pub(crate) mod warp;
pub(crate) mod wgmma;

pub(crate) use block::Block;
pub(crate) use level::{Handler, Level, Pair};
pub(crate) use program::Program;
pub(crate) use warp::Warp;

/// The number of lanes of a warp.
pub(crate) const LANES: usize = 32;
/// All lanes.
pub(crate) const FULL: u32 = u32::MAX;

/// The next action of a warp after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Flow {
    /// Goes on with the next.
    Go,
    /// Its path waits; when it goes on, then behind this instruction.
    Park,
    /// Its path waits; when it goes on, then with this instruction anew.
    Retry,
    /// The turn ends; the path goes on behind this instruction.
    Yield,
    /// The turn ends; the path goes on with this instruction anew.
    Again,
    /// The launch ends: [`Block::fault`] says why.
    Fault,
}

/// An instruction as it is run: its functions, and where its operands lie in the warp's registers (in words).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decoded {
    /// The functions for a full and for a partial mask.
    pub(crate) run: Pair,
    /// Results of loads and the like, `r[0]` of all others; the values that are stored.
    pub(crate) r: [u32; 4],
    /// Sources. Of loads and stores `a` is the address.
    pub(crate) a: u32,
    /// Second source.
    pub(crate) b: u32,
    /// Third source.
    pub(crate) c: u32,
    /// Index of the instruction in the kernel's text.
    pub(crate) site: u32,
    /// An offset of an address, or an index into one of the program's lists.
    pub(crate) imm: u64,
    /// The number of registers of `r` that are used.
    pub(crate) n: u32,
    /// Bytes of an element of a memory access, or what else the instruction has.
    pub(crate) bytes: u32,
}
