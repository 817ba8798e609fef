//! Weight clipping (Arjovsky et al. 2017, Algorithm 1): w ← min(c, max(−c, w)), after an update.
//!
//! It takes a whole network's arena: convolutions, linear layers, biases, and γ and β of batch normalisation, as the
//! code of the paper's authors does, which clamps every parameter of the critic.

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Accelerator, Backend, Cpu, In, Out, Real, StepState, Storage};
use crate::ops::Case;
use crate::ops::models::{CIFAR, MNIST};
use crate::ops::pass::{Pass, real};

/// Clipping.
pub trait ClipOp: Backend {
    /// Clips `weights` in place to ±`limit`; nothing happens while the state's `non_finite` is set. What is not a number
    /// stays so.
    fn clip_weights(&self, limit: f64, state: In<'_, Self, StepState>, weights: Out<'_, Self>) -> Result<()>;
}

impl<T: Real, S: Storage<T>> ClipOp for Cpu<T, S> {
    fn clip_weights(&self, limit: f64, state: &[StepState], weights: &mut [T]) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        if state[0].non_finite != 0 {
            return Ok(());
        }
        let (low, high) = (T::of(-limit), T::of(limit));
        let clipped = |w: T| {
            if w < low {
                low
            } else if w > high {
                high
            } else {
                w
            }
        };
        weights.par_chunks_mut(CHUNK).for_each(|weights| {
            vectorised!(weights.iter_mut().for_each(|w| *w = clipped(*w)));
        });
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> ClipOp for Accelerator<T, S> {
    fn clip_weights(&self, limit: f64, state: In<'_, Self, StepState>, weights: Out<'_, Self>) -> Result<()> {
        let arguments = arguments![T::of(limit), state, weights, weights.len() as u64];
        self.launch_elements(Kernel::ClipWeights, weights.len(), &arguments)
    }
}

dry_run! {
    ClipOp:
    clip_weights(_limit: f64, _state, weights) => 2 * weights;
}

/// Lengths below, at and above a vector; a clip that leaves some weights alone; and one that is not to happen.
pub fn cases<B: ClipOp>() -> Vec<Case<B>> {
    [(1, false), (3, false), (17, false), (1000, false), (33, true)].map(|(len, stopped)| case(len, stopped)).into()
}

/// `stopped`: something was noted as not finite before, and nothing may move.
fn case<B: ClipOp>(len: usize, stopped: bool) -> Case<B> {
    Case::new("clip", format!("len{len}{}", if stopped { " stopped" } else { "" }))
        .real_input("weights", len)
        .real_output("weights", len)
        .forward(move |be: &B, [weights], [clipped]| {
            let mut clipped = clipped.real();
            let non_finite = if stopped { StepState::NON_FINITE_GRADIENT_D } else { 0 };
            let state = be.buffer_of(&[StepState { non_finite, ..StepState::new(0, 0.0) }])?;
            be.copy(weights.real(), be.reborrow(&mut clipped))?;
            be.clip_weights(0.5, be.view(&state), clipped)
        })
}

/// Of the discriminators of the models.
pub(super) fn passes<B: ClipOp>() -> [Pass<B>; 2] {
    [MNIST[1], CIFAR[1]].map(|len| {
        Pass::of("clip", format!("len{len}"), "weights", [], [real(len)], |be: &B, [], [weights], state| {
            be.clip_weights(0.01, be.freeze(state), weights.real())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_stay_within_the_limit() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let before = [-2.0, -0.5, 0.25, 0.5, 0.75, f64::NAN];
        let mut weights = before;
        let mut state = [StepState::new(0, 0.0)];
        cpu.clip_weights(0.5, &state, &mut weights).expect("a clip");
        assert_eq!(weights[..5], [-0.5, -0.5, 0.25, 0.5, 0.5]);
        assert!(weights[5].is_nan());
        state[0].non_finite = StepState::NON_FINITE_LOSS_G;
        weights = before;
        cpu.clip_weights(0.5, &state, &mut weights).expect("no clip");
        assert_eq!(weights[..5], before[..5]);
    }
}
