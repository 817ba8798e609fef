//! A stand-in for the CUDA driver: the functions of `libcuda.so.1`, on a machine for PTX.
//!
//! A test puts this library into a folder under the name `libcuda.so.1`, and that folder into `LD_LIBRARY_PATH` of the program
//! under test. README.md says what can be asked for by variables of the environment, and what this is not.

#![deny(unsafe_op_in_unsafe_fn)]

mod abi;
mod beside;
mod capture;
pub mod code;
mod context;
mod copy;
mod device;
mod event;
pub mod faults;
mod graph;
mod handle;
mod image;
mod launch;
mod library;
mod memory;
mod module;
mod occupancy;
mod pool;
mod queue;
mod settings;
mod state;
mod stream;
mod tensor_map;
mod trace;
mod transfer;
mod unsupported;

pub use ptx_machine::gpus;

/// Every exported function.
fn symbols() -> impl Iterator<Item = &'static abi::Symbol> {
    let files: [&'static [abi::Symbol]; 12] = [
        beside::SYMBOLS,
        context::SYMBOLS,
        device::SYMBOLS,
        event::SYMBOLS,
        graph::SYMBOLS,
        launch::SYMBOLS,
        library::SYMBOLS,
        memory::SYMBOLS,
        module::SYMBOLS,
        occupancy::SYMBOLS,
        pool::SYMBOLS,
        stream::SYMBOLS,
    ];
    files.into_iter().chain([tensor_map::SYMBOLS, transfer::SYMBOLS, unsupported::SYMBOLS]).flatten()
}
