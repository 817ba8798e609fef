//! The check before a network's update: its gradients must be finite. It comes first whatever rule the update follows.

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, Parts};
use crate::device::{Accelerator, Backend, Cpu, In, Network, Out, Real, StepState, Storage};
use crate::ops::Case;
use crate::ops::pass::Pass;

/// The check.
pub trait FiniteGradientsOp: Backend {
    /// Looks through all gradients of a network: if one is not finite it sets the state's `non_finite`, and if nothing
    /// was found so far it counts the update that is to follow.
    fn check_gradients(&self, network: Network, gradients: In<'_, Self>, state: Out<'_, Self, StepState>)
    -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 16;

impl<T: Real, S: Storage<T>> FiniteGradientsOp for Cpu<T, S> {
    fn check_gradients(&self, network: Network, gradients: &[T], state: &mut [StepState]) -> Result<()> {
        // x · 0 is 0 for finite x and NaN otherwise, and a NaN stays in a sum.
        let finite = gradients.par_chunks(CHUNK).all(|chunk| {
            vectorised!({
                // Groups of a fixed length, so that the sums stay in registers.
                let (groups, rest) = chunk.as_chunks::<64>();
                let mut lanes = [T::ZERO; 64];
                for group in groups {
                    lanes.iter_mut().zip(group).for_each(|(lane, &g)| *lane += g * T::ZERO);
                }
                lanes.iter_mut().zip(rest).for_each(|(lane, &g)| *lane += g * T::ZERO);
                lanes.iter().all(|&lane| lane == T::ZERO)
            })
        });
        let state = &mut state[0];
        if !finite && state.non_finite == 0 {
            state.non_finite = match network {
                Network::Discriminator => StepState::NON_FINITE_GRADIENT_D,
                Network::Generator => StepState::NON_FINITE_GRADIENT_G,
                Network::Encoder => StepState::NON_FINITE_GRADIENT_E,
            };
        }
        if state.non_finite == 0 {
            state.updates[network as usize] += 1;
        }
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> FiniteGradientsOp for Accelerator<T, S> {
    fn check_gradients(
        &self,
        network: Network,
        gradients: In<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let blocks = self.run_blocks(gradients.len());
        self.with_counted_workspace(blocks as usize, 1, |flags: Out<'_, Self, u32>, counter| {
            let arguments = arguments![network as i32, gradients, gradients.len() as u64, flags, counter, state];
            self.launch_runs(Kernel::CheckGradients, gradients.len(), &arguments)
        })
    }
}

dry_run! {
    FiniteGradientsOp:
    check_gradients(_network: Network, gradients, _state) => gradients;
}

/// Every network; lengths below and above a vector and a block; a number that is not finite in the first place, in the last
/// and in between; and one that comes after another was noted.
pub fn cases<B: FiniteGradientsOp>() -> Vec<Case<B>> {
    let noted = StepState::NON_FINITE_LOSS_D;
    vec![
        case(1, Network::Generator, None, 0),
        case(33, Network::Discriminator, None, 0),
        case(1100, Network::Encoder, None, 0),
        case(33, Network::Discriminator, Some((0, f64::NAN)), 0),
        case(1100, Network::Generator, Some((1050, f64::INFINITY)), 0),
        case(17, Network::Encoder, Some((16, f64::NEG_INFINITY)), 0),
        case(17, Network::Generator, Some((3, f64::NAN)), noted),
        case(17, Network::Generator, None, noted),
    ]
}

/// `bad`: a place and what stands there. `before`: what the state had noted.
fn case<B: FiniteGradientsOp>(len: usize, network: Network, bad: Option<(usize, f64)>, before: u64) -> Case<B> {
    let place = bad.map_or(String::new(), |(at, value)| format!(" {value} at {at}"));
    Case::new("finite_gradients", format!("len{len} {network:?}{place} after {before}"))
        .real_input("gradients", len)
        .real_output("updates", Network::COUNT)
        .real_output("non_finite", 1)
        .forward(move |be: &B, [gradients], [updates, non_finite]| {
            let mut spoilt = be.read(gradients.real())?;
            bad.into_iter().for_each(|(at, value)| spoilt[at] = B::Real::of(value));
            let (spoilt, state) = (be.buffer_of(&spoilt)?, StepState { non_finite: before, ..StepState::new(0, 0.0) });
            let mut state = be.buffer_of(&[StepState { updates: [5, 2, 4], ..state }])?;
            be.check_gradients(network, be.view(&spoilt), be.view_mut(&mut state))?;
            let after = be.read(be.view(&state))?[0];
            be.upload(&after.updates.map(|count| B::Real::of(count as f64)), updates.real())?;
            be.upload(&[B::Real::of(after.non_finite as f64)], non_finite.real())
        })
}

/// None: it is timed beside the update that it precedes, as the check of [`super::adam`].
pub(super) fn passes<B: FiniteGradientsOp>() -> [Pass<B>; 0] {
    []
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_gradient_stops_every_update() {
        let cpu = Cpu::<f32>::new(Some(2)).expect("threads");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 15, 16, CHUNK, 2 * CHUNK + 4] {
                let mut gradients = vec![1.0; 2 * CHUNK + 5];
                gradients[at] = bad;
                let mut state = [StepState::new(0, 0.0)];
                cpu.check_gradients(Network::Discriminator, &gradients, &mut state).expect("check");
                assert_eq!(state[0].non_finite, StepState::NON_FINITE_GRADIENT_D, "{bad} at {at}");
                assert_eq!(state[0].updates, [0, 0, 0]);
            }
        }
    }
}
