//! The emulator: compiling, memory, launches, findings.

mod basic;
mod bugs;
mod intrinsics;
mod mutants;
mod programs;
mod random;
