//! Adam (Kingma & Ba 2015, with bias correction), over a whole network's arena at once.
//!
//! m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  w ← w − lr / (1 − β₁ᵗ) · m / (√v / √(1 − β₂ᵗ) + ε)
//!
//! t is the number of updates of that network, kept in the step state; lr is that of the step, see [`schedule`].

use super::finite_gradients::FiniteGradientsOp;
use super::round_weights::{RoundWeightsOp, store, with_copies};
use super::schedule::{self, KernelSchedule, Schedule, power};
use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{
    Accelerator, Argument, Backend, Cpu, In, Network, Out, Real, StepState, Storage, StoredOut, Window,
};
use crate::ops::models;
use crate::ops::pass::{self, Pass, real};
use crate::ops::{Case, CaseIn, CaseOut, Fill};

/// Adam's constants for one network.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adam {
    /// The network whose updates count.
    pub network: Network,
    /// Learning rate.
    pub lr: f64,
    /// β₁.
    pub beta1: f64,
    /// β₂.
    pub beta2: f64,
    /// ε, added to the root of the corrected second moment.
    pub epsilon: f64,
    /// The schedule of the learning rate.
    pub schedule: Schedule,
}

/// The optimiser's update.
pub trait AdamOp: Backend {
    /// One update of weights and moments in place, all five of the network's arena's length; nothing happens while
    /// `non_finite` is set. `rounded`, where there is one, is the copy of the weights that products read, and follows them. Comes after
    /// [`FiniteGradientsOp::check_gradients`], which has counted this update.
    fn adam_update(
        &self,
        d: &Adam,
        gradients: In<'_, Self>,
        weights: Out<'_, Self>,
        first_moments: Out<'_, Self>,
        second_moments: Out<'_, Self>,
        rounded: Option<StoredOut<'_, Self>>,
        state: In<'_, Self, StepState>,
    ) -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 16;

impl<T: Real, S: Storage<T>> AdamOp for Cpu<T, S> {
    fn adam_update(
        &self,
        d: &Adam,
        gradients: &[T],
        weights: &mut [T],
        first_moments: &mut [T],
        second_moments: &mut [T],
        rounded: Option<&mut [S]>,
        state: &[StepState],
    ) -> Result<()> {
        if state[0].non_finite != 0 {
            return Ok(());
        }
        let t = state[0].updates[d.network as usize];
        let rate = T::of(d.lr * d.schedule.at(state[0].step) / (1.0 - power(d.beta1, t)));
        let root = T::of(1.0 / (1.0 - power(d.beta2, t)).sqrt());
        let (beta1, beta2, epsilon) = (T::of(d.beta1), T::of(d.beta2), T::of(d.epsilon));
        let (rest1, rest2) = (T::of(1.0 - d.beta1), T::of(1.0 - d.beta2));
        let moments = first_moments.par_chunks_mut(CHUNK).zip(second_moments.par_chunks_mut(CHUNK));
        let parts = weights.par_chunks_mut(CHUNK).zip(gradients.par_chunks(CHUNK)).zip(moments);
        let update = |((w, g), (m, v)): ((&mut [T], &[T]), (&mut [T], &mut [T])), rounded: &mut [S]| {
            vectorised!({
                for (((w, &g), m), v) in w.iter_mut().zip(g).zip(m.iter_mut()).zip(v.iter_mut()) {
                    *m = beta1 * *m + rest1 * g;
                    *v = beta2 * *v + rest2 * g * g;
                    *w -= rate * *m / ((*v).sqrt() * root + epsilon);
                }
                store(w, rounded);
            });
        };
        with_copies(parts, rounded, CHUNK, update);
        Ok(())
    }
}

/// Adam's constants as kernels/optimizers/adam.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelAdam {
    lr: f64,
    beta1: f64,
    beta2: f64,
    epsilon: f64,
    schedule: KernelSchedule,
}

impl<T: Real, S: Storage<T>> AdamOp for Accelerator<T, S> {
    fn adam_update(
        &self,
        d: &Adam,
        gradients: In<'_, Self>,
        weights: Out<'_, Self>,
        first_moments: Out<'_, Self>,
        second_moments: Out<'_, Self>,
        rounded: Option<StoredOut<'_, Self>>,
        state: In<'_, Self, StepState>,
    ) -> Result<()> {
        let Adam { network, lr, beta1, beta2, epsilon, schedule } = *d;
        let d = Argument::new(KernelAdam { lr, beta1, beta2, epsilon, schedule: schedule.for_kernels() });
        let len = weights.len() as u64;
        let arguments =
            arguments![d, network as i32, gradients, weights, first_moments, second_moments, rounded, state, len];
        self.launch_runs(Kernel::AdamUpdate, weights.len(), &arguments)
    }
}

dry_run! {
    AdamOp:
    adam_update(_d: &Adam, gradients, w, m, v, rounded: Option<Window>, _state) =>
        gradients + 2 * (w + m + v) + rounded.unwrap_or_default();
}

/// Lengths below, at and above a vector; the third update of the generator, the sixth of the discriminator, the fifth of
/// the encoder, one that is not to happen, and rates that are not as they were set.
pub fn cases<B: AdamOp + FiniteGradientsOp + RoundWeightsOp>() -> Vec<Case<B>> {
    let scheduled = |(name, schedule, step)| case_at(17, Network::Generator, name, false, schedule, step);
    let mut cases = vec![
        case(1, Network::Generator, false),
        case(3, Network::Generator, false),
        case(17, Network::Generator, false),
        case(33, Network::Generator, false),
        case(1100, Network::Generator, false),
        case(33, Network::Discriminator, false),
        case(33, Network::Generator, true),
        case(17, Network::Discriminator, true),
        case(5, Network::Encoder, false),
    ];
    cases.extend(schedule::CASES.into_iter().map(scheduled));
    cases
}

/// `stopped`: something was noted as not finite before, and the update must move nothing and count nothing.
fn case<B: AdamOp + FiniteGradientsOp + RoundWeightsOp>(len: usize, network: Network, stopped: bool) -> Case<B> {
    case_at(len, network, if stopped { "stopped" } else { "" }, stopped, Schedule::CONSTANT, 0)
}

/// At a step of a schedule.
fn case_at<B: AdamOp + FiniteGradientsOp + RoundWeightsOp>(
    len: usize,
    network: Network,
    name: &str,
    stopped: bool,
    schedule: Schedule,
    step: u64,
) -> Case<B> {
    Case::new("adam", format!("len{len} {network:?} {name}").trim_end())
        .real_input("gradients", len)
        .real_input("weights", len)
        .real_input("first_moments", len)
        .filled_real_input("second_moments", len, Fill::Uniform(0.0, 1.0))
        .real_output("weights", len)
        .real_output("first_moments", len)
        .real_output("second_moments", len)
        .real_output("updates", Network::COUNT)
        .output("rounded", len)
        .forward(move |be: &B, inputs, [new_w, new_m, new_v, updates, rounded]| {
            let [gradients, w, m, v] = inputs.map(CaseIn::real);
            let [mut new_w, mut new_m, mut new_v, updates] = [new_w, new_m, new_v, updates].map(CaseOut::real);
            let mut rounded = rounded.stored();
            be.round_weights(w, be.reborrow(&mut rounded))?;
            let non_finite = if stopped { StepState::NON_FINITE_LOSS_D } else { 0 };
            let mut state =
                be.buffer_of(&[StepState { step, updates: [5, 2, 4], non_finite, ..StepState::new(0, 0.0) }])?;
            be.check_gradients(network, gradients, be.view_mut(&mut state))?;
            let counted = be.read(be.view(&state))?[0].updates.map(|count| B::Real::of(count as f64));
            be.upload(&counted, updates)?;
            be.copy(w, be.reborrow(&mut new_w))?;
            be.copy(m, be.reborrow(&mut new_m))?;
            be.copy(v, be.reborrow(&mut new_v))?;
            // An epsilon so large that it shows where it is added.
            let d = Adam { network, lr: 0.01, beta1: 0.5, beta2: 0.999, epsilon: 0.05, schedule };
            be.adam_update(&d, gradients, new_w, new_m, new_v, Some(rounded), be.view(&state))
        })
}

/// The check of the gradients and the update, at the sizes of the models.
pub(super) fn passes<B: AdamOp + FiniteGradientsOp>() -> Vec<Pass<B>> {
    pass::of_each(models::networks(), |(network, len)| passes_of(network, len))
}

fn passes_of<B: AdamOp + FiniteGradientsOp>(network: Network, len: usize) -> [Pass<B>; 2] {
    let shape = format!("len{len} {network:?}");
    let d = Adam { network, lr: 2e-4, beta1: 0.5, beta2: 0.999, epsilon: 1e-8, schedule: Schedule::CONSTANT };
    [
        Pass::of("adam", shape.clone(), "check", [real(len)], [], move |be: &B, [gradients], [], state| {
            be.check_gradients(network, gradients.real(), state)
        }),
        Pass::of("adam", shape, "update", [real(len)], [len; 3].map(real), move |be: &B, [g], arenas, state| {
            let [w, m, v] = arenas.map(CaseOut::real);
            be.adam_update(&d, g.real(), w, m, v, None, be.freeze(state))
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::case::fill;

    #[test]
    fn two_steps_by_hand() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let d = Adam {
            network: Network::Generator,
            lr: 0.1,
            beta1: 0.5,
            beta2: 0.75,
            epsilon: 1.0,
            schedule: Schedule::CONSTANT,
        };
        let (mut w, mut m, mut v) = ([1.0], [0.0], [0.0]);
        let mut state = [StepState::new(0, 0.0)];
        // Step 1: m̂ = g and v̂ = g², so the weight moves by lr · g / (|g| + ε): 0.1 · 4 / 5.
        cpu.check_gradients(Network::Generator, &[4.0], &mut state).expect("check");
        cpu.adam_update(&d, &[4.0], &mut w, &mut m, &mut v, None, &state).expect("update");
        assert!((w[0] - 0.92f64).abs() < 1e-12);
        // Step 2 with g = −2: m = 0.5·2 − 0.5·2 = 0, so the weight stays.
        cpu.check_gradients(Network::Generator, &[-2.0], &mut state).expect("check");
        cpu.adam_update(&d, &[-2.0], &mut w, &mut m, &mut v, None, &state).expect("update");
        assert!((w[0] - 0.92f64).abs() < 1e-12);
        assert_eq!((m[0], v[0]), (0.0, 0.75 * 4.0 + 0.25 * 4.0));
        assert_eq!(state[0].updates, [0, 2, 0]);
    }

    #[test]
    fn a_stopped_update_moves_nothing() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        for (len, network) in [(33, Network::Generator), (17, Network::Discriminator)] {
            let case = case(len, network, true);
            let inputs: Vec<Vec<f64>> = (0..).zip(case.inputs()).map(|(number, tensor)| fill(tensor, number)).collect();
            let outputs = case.outputs_of(&cpu, &inputs).expect("an update");
            assert_eq!(outputs[..3], inputs[1..]);
            assert_eq!(outputs[3], [5.0, 2.0, 4.0]);
            assert_eq!(outputs[4], inputs[1]);
        }
    }
}
