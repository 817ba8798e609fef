//! Exponential moving average of weights: average ← decay · average + (1 − decay) · weights.

use rayon::prelude::*;

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Launcher, Out, Real};
use crate::ops::case::OldCase;
use crate::ops::models::{CIFAR, MNIST};
use crate::ops::pass::Pass;
use crate::ops::{Executor, Tensor};

/// The average's update.
pub trait EmaOp: Backend {
    /// Updates `average` in place; both are of the same length, and `decay` is in `[0, 1)`.
    fn ema_update(&self, decay: f64, weights: In<'_, Self>, average: Out<'_, Self>) -> Result<()>;
}

impl<T: Real> EmaOp for Cpu<T> {
    fn ema_update(&self, decay: f64, weights: &[T], average: &mut [T]) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        let (keep, take) = (T::of(decay), T::of(1.0 - decay));
        average.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(average, weights)| {
            vectorised(|| average.iter_mut().zip(weights).for_each(|(a, &w)| *a = keep * *a + take * w));
        });
        Ok(())
    }
}

impl<L: Launcher, T: Real> EmaOp for Accelerator<L, T> {
    fn ema_update(&self, decay: f64, weights: In<'_, Self>, average: Out<'_, Self>) -> Result<()> {
        let [decay, rest] = [decay, 1.0 - decay].map(|value| Argument::new(T::of(value)));
        let count = Argument::new(average.len() as u64);
        let arguments = [decay, rest, weights.argument(), average.argument(), count];
        self.launch_elements(Kernel::EmaUpdate, average.len(), &arguments)
    }
}

struct EmaCase(usize);

/// Lengths below, at and above a vector.
pub fn cases<B: Executor>() -> Vec<Box<dyn OldCase<B>>> {
    [1, 3, 17, 33].into_iter().map(|len| Box::new(EmaCase(len)) as Box<dyn OldCase<B>>).collect()
}

impl<B: Executor> OldCase<B> for EmaCase {
    fn op(&self) -> &'static str {
        "ema"
    }
    fn name(&self) -> String {
        format!("len{}", self.0)
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("weights", self.0), Tensor::new("average", self.0)]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("average", self.0)]
    }
    fn differentiable(&self) -> bool {
        false
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        be.copy(be.view(&inputs[1]), be.view_mut(&mut outputs[0]))?;
        be.ema_update(0.9, be.view(&inputs[0]), be.view_mut(&mut outputs[0]))
    }
}

/// Of the generators of the models.
pub(super) fn passes<B: EmaOp>() -> [Pass<B>; 2] {
    [MNIST[0], CIFAR[0]].map(|len| {
        Pass::of("ema", format!("len{len}"), "update", [len], [len], |be: &B, [weights], [average], _| {
            be.ema_update(0.999, weights, average)
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
