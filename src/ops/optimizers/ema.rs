//! Exponential moving average of weights: average ← decay · average + (1 − decay) · weights, with the decay of the step.

use super::schedule::Decay;
use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Out, Real, StepState, Storage};
use crate::ops::Case;
use crate::ops::models::{CIFAR, MNIST};
use crate::ops::pass::{Pass, real};

/// The average's update.
pub trait EmaOp: Backend {
    /// Updates `average` in place by the decay of the step under way; both are of the same length.
    fn ema_update(
        &self,
        d: &Decay,
        weights: In<'_, Self>,
        average: Out<'_, Self>,
        state: In<'_, Self, StepState>,
    ) -> Result<()>;
}

impl<T: Real, S: Storage<T>> EmaOp for Cpu<T, S> {
    fn ema_update(&self, d: &Decay, weights: &[T], average: &mut [T], state: &[StepState]) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        let decay = d.at(state[0].step);
        let (keep, take) = (T::of(decay), T::of(1.0 - decay));
        average.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(average, weights)| {
            vectorised!(average.iter_mut().zip(weights).for_each(|(a, &w)| *a = keep * *a + take * w));
        });
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> EmaOp for Accelerator<T, S> {
    fn ema_update(
        &self,
        d: &Decay,
        weights: In<'_, Self>,
        average: Out<'_, Self>,
        state: In<'_, Self, StepState>,
    ) -> Result<()> {
        let arguments = arguments![Argument::new(*d), weights, average, state, average.len() as u64];
        self.launch_runs(Kernel::EmaUpdate, average.len(), &arguments)
    }
}

dry_run! {
    EmaOp:
    ema_update(_d: &Decay, weights, average, _state) => weights + 2 * average;
}

/// Lengths below, at and above a vector; a half-life, and one that is still growing.
pub fn cases<B: EmaOp>() -> Vec<Case<B>> {
    let mut cases: Vec<_> = [1, 3, 17, 33].into_iter().map(|len| case(len, "", Decay::constant(0.9))).collect();
    let half_life = Decay { decay: 0.0, half_life: 100.0, rampup: 0.0, batch: 32.0 };
    cases.push(case(17, "half-life", half_life));
    cases.push(case(17, "ramp-up", Decay { rampup: 0.05, ..half_life }));
    cases
}

fn case<B: EmaOp>(len: usize, name: &str, d: Decay) -> Case<B> {
    Case::new("ema", format!("len{len} {name}").trim_end())
        .real_input("weights", len)
        .real_input("average", len)
        .real_output("average", len)
        .forward(move |be: &B, [weights, average], [moved]| {
            let mut moved = moved.real();
            be.copy(average.real(), be.reborrow(&mut moved))?;
            let state = be.buffer_of(&[StepState { step: 21, ..StepState::new(0, 0.0) }])?;
            be.ema_update(&d, weights.real(), moved, be.view(&state))
        })
}

/// Of the generators of the models.
pub(super) fn passes<B: EmaOp>() -> [Pass<B>; 2] {
    [MNIST[0], CIFAR[0]].map(|len| {
        Pass::of(
            "ema",
            format!("len{len}"),
            "update",
            [real(len)],
            [real(len)],
            |be: &B, [weights], [average], state| {
                be.ema_update(&Decay::constant(0.999), weights.real(), average.real(), be.freeze(state))
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn averages() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let mut average = vec![1.0, -1.0];
        cpu.ema_update(&Decay::constant(0.75), &[5.0, 3.0], &mut average, &[StepState::new(0, 0.0)]).expect("update");
        assert_eq!(average, [2.0, 0.0]);
    }
}
