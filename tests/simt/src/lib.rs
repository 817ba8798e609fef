//! Runs CUDA kernels on the CPU, thread by thread, and reports what is wrong with them.
//!
//! The very .cu files that nvcc compiles are compiled by g++ against `include/simt.h` ([`Program`]), loaded, and run by
//! an [`Emulator`], which has memory and launches like a GPU. With detection on, every access is checked: races, bytes
//! that nobody wrote, bounds, alignment, barriers that not all threads reach, copies that nobody waited for. What is
//! found comes back as a [`Report`].
//!
//! ```no_run
//! use simt::{Emulator, Options, Program, Sources};
//!
//! let sources = Sources { files: vec!["kernels/scale.cu".into()], ..Sources::default() };
//! let program = Program::compile(&sources)?;
//! let emulator = Emulator::new(&program, Options::default())?;
//! let x = emulator.alloc(4 * 1000)?;
//! emulator.name(x, "x");
//! emulator.upload(&[0; 4000], x)?;
//! emulator.launch("scale", [4, 1, 1], [256, 1, 1], 0, &[&x.to_ne_bytes(), &1000i32.to_ne_bytes()])?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod emulator;
mod library;
mod lines;
mod memory;
mod program;
mod report;

pub use emulator::{CopyMode, Emulator, Options, Order};
pub use program::{Program, Sources};
pub use report::{Address, Finding, Kind, Place, Report, Role, Site};
