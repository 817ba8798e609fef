//! The operations of the tensor cores and the copy engines, as functions of values: no state of a machine, no memory.
//!
//! Registers come as `[u32; 32]`, one element for each lane of a warp; a vector operand is a slice of them, in the order in which
//! the PTX lists its registers. Memory comes as bytes that the caller has read, or through a function that reads them.
//!
//! Sections have the numbers of the version in which `mma` is §9.7.15.5 and `wgmma` §9.7.16.5. Numbers move by one or two from version
//! to version, titles do not: search for the title.

// A lane is an index into several registers at once, and the formulas of the ISA speak of it.
#![allow(clippy::needless_range_loop)]

pub mod copies;
pub mod matrix;
pub mod mbarrier;
pub mod mma;
pub mod numbers;
pub mod swizzle;
pub mod tensor_map;
pub mod wgmma;
