//! The kernels under the emulator and the CPU path, against each other and against central differences.

#[path = "../common/executors.rs"]
mod executors;
#[path = "../common/narrow_models.rs"]
mod narrow_models;

mod cancellation;
mod gradients;
mod limits;
mod non_finite;
mod parity;
mod philox;
mod steps;
mod tensor_cores;
mod tile_access;
