//! The engine against PyTorch: its fixtures, its operators, and `trace`, which compares with it live.

#[path = "../common/executors.rs"]
mod executors;

mod fixtures;
mod operators;
mod trace;
