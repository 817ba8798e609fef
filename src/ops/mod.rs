//! The operations, one a file, in rooms by subject. `kernels/` has the same rooms: an operation's kernels have the path of
//! its Rust file, with another ending.
//!
//! Names: `<op>_forward`, `<op>_backward_input`, `<op>_backward_weight`, `<op>_tangent`. Gradients of activations
//! overwrite, gradients of parameters accumulate. Activations are NHWC, filters KRSC, everything contiguous.
//!
//! A file has, in this order: the formula with its source; sizes; the contract (one small trait); the CPU's code; the
//! kernels' launches; what a dry run counts; cases for tests; passes for benchmarks; tests. A new operation joins
//! `operations!` in the `mod.rs` of its room: tests, gradient checks and benchmarks find it there.

/// The operations of a room: `module: Contract`. Makes one trait of all contracts, and the lists that tests and benchmarks
/// walk.
macro_rules! operations {
    ($room:ident: $($op:ident: $contract:ident,)+) => {
        /// A backend that has every operation of this room.
        pub trait $room: crate::device::Backend $(+ $op::$contract)+ {}
        impl<B: crate::device::Backend $(+ $op::$contract)+> $room for B {}

        /// The cases of this room's operations.
        pub(super) fn cases<B: crate::ops::Executor>() -> Vec<crate::ops::case::Case<B>> {
            let mut cases = Vec::new();
            $(cases.extend($op::cases().into_iter().map(crate::ops::case::Case::from));)+
            cases
        }
    };
}

pub mod case;
mod dry_run;
pub mod inputs;
pub mod layers;
pub mod losses;
pub mod optimizers;
pub mod pass;
pub mod roofline;

use crate::device::Backend;

pub use case::{Case, Fill, Tensor};

/// A backend that has every operation: what networks and training are written against.
pub trait Executor:
    Backend + layers::Layers + losses::Losses + optimizers::Optimizers + inputs::Inputs + roofline::Roofline
{
}
impl<B> Executor for B where
    B: Backend + layers::Layers + losses::Losses + optimizers::Optimizers + inputs::Inputs + roofline::Roofline
{
}

/// Every case of every operation.
pub fn cases<B: Executor>() -> Vec<Case<B>> {
    [layers::cases(), losses::cases(), optimizers::cases(), inputs::cases(), roofline::cases()]
        .into_iter()
        .flatten()
        .collect()
}
