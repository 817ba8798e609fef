//! Exponential moving average of weights: average ← decay · average + (1 − decay) · weights.

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Backend, Cpu, In, Out, Real, Storage};
use crate::ops::Case;
use crate::ops::models::{CIFAR, MNIST};
use crate::ops::pass::{Pass, real};

/// The average's update.
pub trait EmaOp: Backend {
    /// Updates `average` in place; both are of the same length, and `decay` is in `[0, 1)`.
    fn ema_update(&self, decay: f64, weights: In<'_, Self>, average: Out<'_, Self>) -> Result<()>;
}

impl<T: Real, S: Storage<T>> EmaOp for Cpu<T, S> {
    fn ema_update(&self, decay: f64, weights: &[T], average: &mut [T]) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        let (keep, take) = (T::of(decay), T::of(1.0 - decay));
        average.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(average, weights)| {
            vectorised!(average.iter_mut().zip(weights).for_each(|(a, &w)| *a = keep * *a + take * w));
        });
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> EmaOp for Accelerator<T, S> {
    fn ema_update(&self, decay: f64, weights: In<'_, Self>, average: Out<'_, Self>) -> Result<()> {
        let arguments = arguments![T::of(decay), T::of(1.0 - decay), weights, average, average.len() as u64];
        self.launch_elements(Kernel::EmaUpdate, average.len(), &arguments)
    }
}

dry_run! {
    EmaOp:
    ema_update(_decay: f64, weights, average) => weights + 2 * average;
}

/// Lengths below, at and above a vector.
pub fn cases<B: EmaOp>() -> Vec<Case<B>> {
    [1, 3, 17, 33].map(case).into()
}

fn case<B: EmaOp>(len: usize) -> Case<B> {
    Case::new("ema", format!("len{len}"))
        .real_input("weights", len)
        .real_input("average", len)
        .real_output("average", len)
        .forward(|be: &B, [weights, average], [moved]| {
            let mut moved = moved.real();
            be.copy(average.real(), be.reborrow(&mut moved))?;
            be.ema_update(0.9, weights.real(), moved)
        })
}

/// Of the generators of the models.
pub(super) fn passes<B: EmaOp>() -> [Pass<B>; 2] {
    [MNIST[0], CIFAR[0]].map(|len| {
        Pass::of("ema", format!("len{len}"), "update", [real(len)], [real(len)], |be: &B, [weights], [average], _| {
            be.ema_update(0.999, weights.real(), average.real())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let mut average = vec![1.0, -1.0];
        cpu.ema_update(0.75, &[5.0, 3.0], &mut average).expect("update");
        assert_eq!(average, [2.0, 0.0]);
    }
}
