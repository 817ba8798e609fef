//! The operations, one a file, in rooms by subject. `kernels/` has the same rooms: an operation's kernels have the path of
//! its Rust file, with another ending.
//!
//! Names: `<op>_forward`, `<op>_backward_input`, `<op>_backward_weight`, `<op>_tangent`. Gradients of activations
//! overwrite; those of parameters overwrite or are added, as `accumulate` says. Activations are NHWC, filters KRSC, everything contiguous.
//!
//! A file has, in this order: the formula with its source; sizes; the contract (one small trait); the CPU's code; the
//! kernels' launches; what a dry run counts (`dry_run!`); `cases` for tests; `passes` for benchmarks, at the sizes of the
//! models; tests. Long code for the CPU or for launches stands in a folder of the operation's name. A new operation joins
//! `operations!` in the `mod.rs` of its room: tests, gradient checks and benchmarks find it there.

/// The operations of a room: `module: Contract`. The modules are declared beside it, a second line for each: rustfmt would not see a
/// file whose `mod` a macro makes. Makes one trait of all contracts, and the lists that tests and benchmarks
/// walk: `cases` and `passes` of each module.
macro_rules! operations {
    ($room:ident: $($op:ident: $contract:ident,)+) => {
        /// A backend that has every operation of this room.
        pub trait $room: crate::device::Backend $(+ $op::$contract)+ {}
        impl<B: crate::device::Backend $(+ $op::$contract)+> $room for B {}

        /// The cases of this room's operations.
        pub(super) fn cases<B: $room>() -> Vec<crate::ops::case::Case<B>> {
            let mut cases = Vec::new();
            $(cases.extend($op::cases());)+
            cases
        }

        /// The passes of this room's operations, at the sizes of the models.
        pub(super) fn passes<B: $room>() -> Vec<crate::ops::pass::Pass<B>> {
            let mut passes = Vec::new();
            $(passes.extend($op::passes());)+
            passes
        }
    };
}

/// An operation's contract on [`DryRun`](crate::device::DryRun): for each pass the reals that it reads and writes, from the
/// lengths of its windows; behind `multiplying` the sizes of a product, behind `borrowing` the reals that the CPU borrows for
/// whole tensors. An argument without a type is a window.
///
/// ```text
/// dry_run! {
///     EmaOp:
///     ema_update(_d: &Decay, weights, average, _state) => weights + 2 * average;
/// }
/// ```
macro_rules! dry_run {
    (
        $contract:ident:
        $($pass:ident($($argument:ident $(: $type:ty)?),*) =>
            $moved:expr $(, multiplying $sizes:expr)? $(, borrowing $borrowed:expr)? $(, telling $kind:ident of $told:expr)?;)+
    ) => {
        impl<T: crate::device::Real, S: crate::device::Storage<T>> $contract for crate::device::DryRun<T, S> {
            $(fn $pass(&self, $($argument: dry_run!(@type $($type)?)),*) -> crate::Result<()> {
                $(self.multiplies(&$sizes);)?
                $(self.borrows($borrowed);)?
                $(self.tells(crate::device::ranks::Kind::$kind, $told);)?
                self.moves($moved);
                Ok(())
            })+
        }
    };
    (@type) => { crate::device::Window };
    (@type $type:ty) => { $type };
}

pub mod case;
pub mod inputs;
pub mod layers;
pub mod losses;
pub mod models;
pub mod optimizers;
pub mod pass;
pub mod roofline;
pub mod self_check;
pub mod tensor;

use crate::device::Backend;

pub use case::{Case, Fill};
use pass::Pass;
pub use tensor::{CaseBuffer, CaseIn, CaseOut, Kind, Tensor};

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

/// Every pass of every operation of a training step of `vgan-mnist`, `vgan-cifar10` and `vgan-cifar10-resnet`: what
/// benchmarks time.
pub fn passes<B: Executor>() -> Vec<Pass<B>> {
    [layers::passes(), losses::passes(), optimizers::passes(), inputs::passes(), roofline::passes()]
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::device::{Cpu, DryRun};
    use crate::ops::pass::{Counts, counted};

    #[test]
    fn every_operation_has_passes_and_their_names_are_unique() {
        let passes = passes::<DryRun>();
        let ops: BTreeSet<&str> = passes.iter().map(|pass| pass.op).collect();
        let mut expected: BTreeSet<&str> = cases::<DryRun>().iter().map(|case| case.op()).collect();
        for untimed in ["agree", "ceiling", "finite_gradients", "finish_step", "place2d", "pool2d"] {
            expected.remove(untimed);
        }
        assert_eq!(ops, expected);
        let names: BTreeSet<_> = passes.iter().map(|pass| (pass.op, &pass.shape, pass.pass)).collect();
        assert_eq!(names.len(), passes.len());
    }

    #[test]
    fn counts_are_of_the_pass_alone() {
        let count = |op: &str, shape: &str, name: &str| {
            let passes = passes::<DryRun>();
            let found = passes.iter().find(|pass| pass.op == op && pass.shape.contains(shape) && pass.pass == name);
            counted(found.expect("a pass")).expect("counts")
        };
        let bytes = 4 * (64 * 62 + 62 * 1024 + 64 * 1024);
        assert_eq!(count("linear", "c62 k1024", "forward"), Counts { flops: 2 * 64 * 62 * 1024, bytes });
        let elements = 64 * 14 * 14 * 64;
        assert_eq!(count("batch_norm", "rows12544 c64", "forward"), Counts { flops: 0, bytes: 4 * 4 * elements });
    }

    /// Of each operation's passes of one name the smallest runs.
    #[test]
    fn every_pass_runs() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        let mut smallest: BTreeMap<(&str, &str), (u64, Pass<Cpu<f32>>)> = BTreeMap::new();
        for (pass, twin) in passes::<Cpu<f32>>().into_iter().zip(passes::<DryRun>()) {
            let (key, bytes) = ((pass.op, pass.pass), counted(&twin).expect("counts").bytes);
            if smallest.get(&key).is_none_or(|(least, _)| bytes < *least) {
                smallest.insert(key, (bytes, pass));
            }
        }
        assert!(smallest.len() > 40, "{} passes", smallest.len());
        for ((op, name), (_, pass)) in smallest {
            let mut work = pass.prepare(&cpu).expect("memory");
            work().unwrap_or_else(|error| panic!("{op} {name}: {error}"));
        }
    }

    /// Passes can be run often: what they compute stays finite.
    #[test]
    fn passes_run() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        for pass in passes::<Cpu<f32>>() {
            if ["loss", "prior", "bottleneck"].contains(&pass.op) {
                let mut work = pass.prepare(&cpu).expect("memory");
                (0..3).for_each(|_| work().expect("a pass"));
            }
        }
    }
}
