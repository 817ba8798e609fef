//! The machine: from fatbins to findings. One program, which links once and whose tests share all cores.

mod asynchronous;
mod bugs;
mod common;
mod control;
mod counters;
mod faults;
mod front;
mod instructions;
mod memory;
mod proxies;
mod random;
mod tensor;
mod twins;
mod warp;
