//! RMSprop (Tieleman & Hinton 2012, lecture 6.5) as PyTorch has it without momentum, over a whole network's arena at once:
//!
//! v ← α v + (1 − α) g²;  w ← w − lr · g / (√v + ε)
//!
//! v starts at 0 and is not centred; ε is added to its root, not under it.
//!
//! [`check_gradients`](super::finite_gradients::FiniteGradientsOp::check_gradients) comes first, as for Adam. There is no
//! bias correction, so nothing here depends on the number of updates.

use super::round_weights::{RoundWeightsOp, store, with_copies};
use super::schedule::{self, KernelSchedule, Schedule};
use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Out, Real, StepState, Storage, StoredOut, Window};
use crate::ops::models;
use crate::ops::pass::{Pass, real};
use crate::ops::{Case, CaseIn, CaseOut, Fill};

/// RMSprop's constants for one network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rmsprop {
    /// Learning rate.
    pub lr: f64,
    /// α, the decay of the second moment.
    pub decay: f64,
    /// ε, added to the root of the second moment.
    pub epsilon: f64,
    /// The schedule of the learning rate.
    pub schedule: Schedule,
}

/// The optimiser's update.
pub trait RmspropOp: Backend {
    /// One update of weights and second moments in place, all three of the network's arena's length; nothing happens
    /// while the state's `non_finite` is set. `rounded`, where there is one, is the copy of the weights that products read, and
    /// follows them.
    fn rmsprop_update(
        &self,
        d: &Rmsprop,
        gradients: In<'_, Self>,
        weights: Out<'_, Self>,
        second_moments: Out<'_, Self>,
        rounded: Option<StoredOut<'_, Self>>,
        state: In<'_, Self, StepState>,
    ) -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 16;

impl<T: Real, S: Storage<T>> RmspropOp for Cpu<T, S> {
    fn rmsprop_update(
        &self,
        d: &Rmsprop,
        gradients: &[T],
        weights: &mut [T],
        second_moments: &mut [T],
        rounded: Option<&mut [S]>,
        state: &[StepState],
    ) -> Result<()> {
        if state[0].non_finite != 0 {
            return Ok(());
        }
        let lr = T::of(d.lr * d.schedule.at(state[0].step));
        let (decay, rest, epsilon) = (T::of(d.decay), T::of(1.0 - d.decay), T::of(d.epsilon));
        let moments = second_moments.par_chunks_mut(CHUNK);
        let parts = weights.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK)).zip(moments);
        let update = |((w, g), v): ((&mut [T], &[T]), &mut [T]), rounded: &mut [S]| {
            vectorised!({
                for ((w, &g), v) in w.iter_mut().zip(g).zip(v.iter_mut()) {
                    *v = decay * *v + rest * g * g;
                    *w -= lr * g / ((*v).sqrt() + epsilon);
                }
                store(w, rounded);
            });
        };
        with_copies(parts, rounded, CHUNK, update);
        Ok(())
    }
}

/// RMSprop's constants as kernels/optimizers/rmsprop.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelRmsprop {
    lr: f64,
    decay: f64,
    epsilon: f64,
    schedule: KernelSchedule,
}

impl<T: Real, S: Storage<T>> RmspropOp for Accelerator<T, S> {
    fn rmsprop_update(
        &self,
        d: &Rmsprop,
        gradients: In<'_, Self>,
        weights: Out<'_, Self>,
        second_moments: Out<'_, Self>,
        rounded: Option<StoredOut<'_, Self>>,
        state: In<'_, Self, StepState>,
    ) -> Result<()> {
        let Rmsprop { lr, decay, epsilon, schedule } = *d;
        let d = Argument::new(KernelRmsprop { lr, decay, epsilon, schedule: schedule.for_kernels() });
        let arguments = arguments![d, gradients, weights, second_moments, rounded, state, weights.len() as u64];
        self.launch_runs(Kernel::RmspropUpdate, weights.len(), &arguments)
    }
}

dry_run! {
    RmspropOp:
    rmsprop_update(_d: &Rmsprop, gradients, w, v, rounded: Option<Window>, _state) =>
        gradients + 2 * (w + v) + rounded.unwrap_or_default();
}

/// Lengths below, at and above a vector, an update that is not to happen, and rates that are not as they were set.
pub fn cases<B: RmspropOp + RoundWeightsOp>() -> Vec<Case<B>> {
    let mut cases: Vec<_> = [1, 3, 17, 33, 1100].into_iter().map(|len| case(len, false)).collect();
    cases.push(case(33, true));
    cases.extend(schedule::CASES.into_iter().map(|(name, schedule, step)| case_at(17, name, false, schedule, step)));
    cases
}

/// `stopped`: something was noted as not finite before, and the update must move nothing.
fn case<B: RmspropOp + RoundWeightsOp>(len: usize, stopped: bool) -> Case<B> {
    case_at(len, if stopped { "stopped" } else { "" }, stopped, Schedule::CONSTANT, 0)
}

/// At a step of a schedule.
fn case_at<B: RmspropOp + RoundWeightsOp>(
    len: usize,
    name: &str,
    stopped: bool,
    schedule: Schedule,
    step: u64,
) -> Case<B> {
    Case::new("rmsprop", format!("len{len} {name}").trim_end())
        .real_input("gradients", len)
        .real_input("weights", len)
        .filled_real_input("second_moments", len, Fill::Uniform(0.0, 1.0))
        .real_output("weights", len)
        .real_output("second_moments", len)
        .output("rounded", len)
        .forward(move |be: &B, inputs, [new_w, new_v, rounded]| {
            let ([gradients, w, v], [mut new_w, mut new_v]) =
                (inputs.map(CaseIn::real), [new_w, new_v].map(CaseOut::real));
            let mut rounded = rounded.stored();
            be.round_weights(w, be.reborrow(&mut rounded))?;
            let non_finite = if stopped { StepState::NON_FINITE_LOSS_D } else { 0 };
            let state = be.buffer_of(&[StepState { step, non_finite, ..StepState::new(0, 0.0) }])?;
            be.copy(w, be.reborrow(&mut new_w))?;
            be.copy(v, be.reborrow(&mut new_v))?;
            // So large that it shows whether it is added to the root or under it.
            let d = Rmsprop { lr: 0.01, decay: 0.99, epsilon: 0.05, schedule };
            be.rmsprop_update(&d, gradients, new_w, new_v, Some(rounded), be.view(&state))
        })
}

/// At the sizes of the models.
pub(super) fn passes<B: RmspropOp>() -> [Pass<B>; 2] {
    models::PAPER.map(|len| {
        let d = Rmsprop { lr: 1e-4, decay: 0.99, epsilon: 1e-8, schedule: Schedule::CONSTANT };
        Pass::of(
            "rmsprop",
            format!("len{len}"),
            "update",
            [real(len)],
            [len; 2].map(real),
            move |be: &B, [g], [w, v], state| {
                be.rmsprop_update(&d, g.real(), w.real(), v.real(), None, be.freeze(state))
            },
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::case::fill;

    #[test]
    fn two_steps_by_hand() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let d = Rmsprop { lr: 0.1, decay: 0.75, epsilon: 0.5, schedule: Schedule::CONSTANT };
        let (mut w, mut v, state) = ([1.0], [0.0], [StepState::new(0, 0.0)]);
        // v = ¼ · 16 = 4, so the weight moves by 0.1 · 4 / (2 + 0.5).
        cpu.rmsprop_update(&d, &[4.0], &mut w, &mut v, None, &state).expect("update");
        assert!((w[0] - 0.84f64).abs() < 1e-12 && v == [4.0]);
        // v = ¾ · 4 + ¼ · 4 = 4.
        cpu.rmsprop_update(&d, &[-2.0], &mut w, &mut v, None, &state).expect("update");
        assert!((w[0] - 0.92f64).abs() < 1e-12 && v == [4.0]);
    }

    #[test]
    fn a_stopped_update_moves_nothing() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let case = case(33, true);
        let inputs: Vec<Vec<f64>> = (0..).zip(case.inputs()).map(|(number, tensor)| fill(tensor, number)).collect();
        let outputs = case.outputs_of(&cpu, &inputs).expect("an update");
        assert_eq!(outputs[..2], inputs[1..]);
        assert_eq!(outputs[2], inputs[1]);
    }
}
