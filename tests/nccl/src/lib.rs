//! A stand-in for NCCL: the collectives of `libnccl.so.2`, for ranks that are processes or threads of one machine, on the stand-in for
//! the CUDA driver (`tests/driver`).
//!
//! A test puts this library into a folder under the name `libnccl.so.2`, beside the driver's, and that folder into `LD_LIBRARY_PATH` of
//! the program under test. README.md says what can be asked for by variables of the environment, and what this is not.

#![deny(unsafe_op_in_unsafe_fn)]

mod api;
mod arithmetic;
mod code;
mod collective;
mod communicator;
mod driver;
mod group;
mod meeting;
mod settings;
