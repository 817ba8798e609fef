//! The copy of weights that products read where activations are stored in a shorter type: rounded to nearest. An optimiser writes it
//! with the weights themselves; this operation is for weights that came another way, from a file or as an average.

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Backend, Cpu, In, Real, Storage, StoredOut};
use crate::ops::Case;
use crate::ops::models::{CIFAR, MNIST};
use crate::ops::pass::{Pass, real, stored};

/// Rounding.
pub trait RoundWeightsOp: Backend {
    /// rounded = weights; both are of the same length.
    fn round_weights(&self, weights: In<'_, Self>, rounded: StoredOut<'_, Self>) -> Result<()>;
}

/// Stores reals on the calling thread.
#[inline(always)]
pub(super) fn store<T: Real, S: Storage<T>>(weights: &[T], rounded: &mut [S]) {
    rounded.iter_mut().zip(weights).for_each(|(rounded, &weight)| *rounded = S::of_real(weight));
}

/// Updates parts of weights, each beside its `chunk` elements of the copy, or an empty slice where there is no copy.
pub(super) fn with_copies<P: Parts, S: Send>(
    parts: P,
    rounded: Option<&mut [S]>,
    chunk: usize,
    update: impl Fn(P::Part, &mut [S]) + Sync,
) {
    match rounded {
        Some(rounded) => parts.zip(rounded.par_chunks_mut(chunk)).for_each(|(part, rounded)| update(part, rounded)),
        None => parts.for_each(|part| update(part, &mut [])),
    }
}

impl<T: Real, S: Storage<T>> RoundWeightsOp for Cpu<T, S> {
    fn round_weights(&self, weights: &[T], rounded: &mut [S]) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        rounded.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(rounded, weights)| {
            vectorised!(store(weights, rounded));
        });
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> RoundWeightsOp for Accelerator<T, S> {
    fn round_weights(&self, weights: In<'_, Self>, rounded: StoredOut<'_, Self>) -> Result<()> {
        self.launch_elements(Kernel::RoundWeights, weights.len(), &arguments![weights, rounded, weights.len() as u64])
    }
}

dry_run! {
    RoundWeightsOp:
    round_weights(weights, rounded) => weights + rounded;
}

/// Lengths below, at and above a vector.
pub fn cases<B: RoundWeightsOp>() -> Vec<Case<B>> {
    [1, 3, 17, 1000].map(case).into()
}

fn case<B: RoundWeightsOp>(len: usize) -> Case<B> {
    Case::new("round_weights", format!("len{len}"))
        .real_input("weights", len)
        .output("rounded", len)
        .forward(|be: &B, [weights], [rounded]| be.round_weights(weights.real(), rounded.stored()))
}

/// Of the generators of the models.
pub(super) fn passes<B: RoundWeightsOp>() -> [Pass<B>; 2] {
    [MNIST[0], CIFAR[0]].map(|len| {
        let shape = format!("len{len}");
        Pass::of("round_weights", shape, "round", [real(len)], [stored(len)], |be: &B, [weights], [rounded], _| {
            be.round_weights(weights.real(), rounded.stored())
        })
    })
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;

    /// Ties go to the even neighbour; what is not finite stays so. bf16 has 8 bits of a number, so steps of 1/128 from 1 on.
    #[test]
    fn weights_are_rounded_to_nearest() {
        let cpu = Cpu::<f32, bf16>::new(Some(1)).expect("threads");
        let step = 1.0f32 / 128.0;
        let weights =
            [1.0 + 0.4 * step, 1.0 + 0.5 * step, 1.0 + 1.5 * step, -1.0 - 0.6 * step, f32::INFINITY, f32::NAN];
        let mut rounded = [bf16::ZERO; 6];
        cpu.round_weights(&weights, &mut rounded).expect("a copy");
        let rounded = rounded.map(f32::from);
        assert_eq!(rounded[..5], [1.0, 1.0, 1.0 + 2.0 * step, -1.0 - step, f32::INFINITY]);
        assert!(rounded[5].is_nan());
    }
}
