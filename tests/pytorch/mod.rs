//! The engine against PyTorch: its fixtures, its operators, and `trace`, which compares with it live.
//!
//! Part of the binary `kernels`, so that the engine is compiled for the emulator once.

mod autocast;
mod fixtures;
mod operators;
mod trace;
