//! Runs the PTX that a CUDA program embeds on the CPU: warp by warp, with checks of every memory access, and with counters.
//!
//! A fatbin's PTX is parsed into typed instructions ([`text`]), lowered once per kernel, and run by all cores: blocks are handed
//! out from one queue, a block's warps run in turns, and the 32 lanes of a warp are a vector with a mask.
//!
//! It interprets the documented text that a project's own kernels compile to, in order to test them. It translates nothing for
//! another device, and what it counts or predicts is never a GPU's time.

#![deny(unsafe_op_in_unsafe_fn)]

mod exec;
pub mod fatbin;
pub mod gpus;
mod lower;
pub mod machine;
pub mod memory;
pub mod tensor;
pub mod text;
