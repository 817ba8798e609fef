//! Historical averaging (Salimans et al. 2016, section 3.3): a loss gains λ ‖θ − θ̄‖², θ̄ the mean of the parameters that
//! the network has had so far.
//!
//! θ̄ is the mean over the parameters θ₁ … θ_t before each update, that before the update at hand included:
//! θ̄_t = θ̄_{t−1} + (θ_t − θ̄_{t−1}) / t. The gradient 2 λ (θ − θ̄) takes θ̄ as a constant; at the first update it is 0.

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Backend, Cpu, In, Network, Out, Real, StepState, Storage};
use crate::ops::case::drawn;
use crate::ops::models;
use crate::ops::pass::{self, Pass, real};
use crate::ops::{Case, CaseBuffer, Fill};

/// The mean and the pull towards it, over a whole network's arena.
pub trait HistoricalAveragingOp: Backend {
    /// θ̄ of the update that follows: changes `mean` in place, of the same length as `weights`. The state has counted t − 1
    /// updates of `network`. Nothing happens while the state's `non_finite` is set.
    fn historical_mean(
        &self,
        network: Network,
        weights: In<'_, Self>,
        state: In<'_, Self, StepState>,
        mean: Out<'_, Self>,
    ) -> Result<()>;

    /// Adds 2 λ (θ − θ̄) to `gradients`, and λ ‖θ − θ̄‖² to the network's loss in the state's metrics; λ is `weight`.
    fn historical_penalty(
        &self,
        network: Network,
        weight: f64,
        weights: In<'_, Self>,
        mean: In<'_, Self>,
        gradients: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;
}

/// Parts of an arena whose squares are summed apart, then in order.
const PARTS: usize = 256;

impl<T: Real, S: Storage<T>> HistoricalAveragingOp for Cpu<T, S> {
    fn historical_mean(&self, network: Network, weights: &[T], state: &[StepState], mean: &mut [T]) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        if state[0].non_finite != 0 {
            return Ok(());
        }
        let share = T::of(1.0 / (state[0].updates[network as usize] + 1) as f64);
        mean.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(mean, weights)| {
            vectorised!(mean.iter_mut().zip(weights).for_each(|(m, &w)| *m += (w - *m) * share));
        });
        Ok(())
    }

    fn historical_penalty(
        &self,
        network: Network,
        weight: f64,
        weights: &[T],
        mean: &[T],
        gradients: &mut [T],
        state: &mut [StepState],
    ) -> Result<()> {
        let part = weights.len().div_ceil(PARTS).max(1);
        let twice = T::of(2.0 * weight);
        let mut squares = [0.0; PARTS];
        let arenas = gradients.par_chunks_mut(part).zip(weights.par_chunks(part)).zip(mean.par_chunks(part));
        squares.par_iter_mut().zip(arenas).for_each(|(square, ((gradients, weights), mean))| {
            for ((gradient, &w), &m) in gradients.iter_mut().zip(weights).zip(mean) {
                let way = w - m;
                *gradient += twice * way;
                *square += way.to_f64() * way.to_f64();
            }
        });
        let metrics = &mut state[0].metrics;
        let loss = match network {
            Network::Discriminator => &mut metrics.loss_d,
            Network::Generator | Network::Encoder => &mut metrics.loss_g,
        };
        *loss += weight * squares.iter().sum::<f64>();
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> HistoricalAveragingOp for Accelerator<T, S> {
    fn historical_mean(
        &self,
        network: Network,
        weights: In<'_, Self>,
        state: In<'_, Self, StepState>,
        mean: Out<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![network as i32, weights, state, mean, mean.len() as u64];
        self.launch_elements(Kernel::HistoricalMean, mean.len(), &arguments)
    }

    fn historical_penalty(
        &self,
        network: Network,
        weight: f64,
        weights: In<'_, Self>,
        mean: In<'_, Self>,
        gradients: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let blocks = self.element_blocks(weights.len());
        self.with_workspace(blocks as usize, |squares: Out<'_, Self, f64>| {
            let arguments = arguments![T::of(2.0 * weight), weights, mean, gradients, squares, weights.len() as u64];
            self.launch_elements(Kernel::HistoricalPenalty, weights.len(), &arguments)?;
            let arguments = arguments![network as i32, weight, squares, blocks, state];
            self.launch(Kernel::NoteHistoricalPenalty, [1, 1, 1], [1, 1, 1], &arguments)
        })
    }
}

dry_run! {
    HistoricalAveragingOp:
    historical_mean(_network: Network, weights, _state, mean) => weights + 2 * mean;
    historical_penalty(_network: Network, _weight: f64, weights, mean, gradients, _state) => weights + mean + 2 * gradients;
}

/// Lengths below, at and above a vector and a part; the mean at the sixth update of the discriminator and the first of
/// the generator, and one that is not to happen; the penalty of either network.
pub fn cases<B: HistoricalAveragingOp>() -> Vec<Case<B>> {
    vec![
        mean_case(1, Network::Discriminator, false),
        mean_case(33, Network::Generator, false),
        mean_case(1000, Network::Discriminator, false),
        mean_case(17, Network::Discriminator, true),
        penalty_case(1, Network::Generator),
        penalty_case(17, Network::Discriminator),
        penalty_case(600, Network::Generator),
    ]
}

/// `stopped`: something was noted as not finite before, and the mean must stay.
fn mean_case<B: HistoricalAveragingOp>(len: usize, network: Network, stopped: bool) -> Case<B> {
    let name = format!("mean len{len} {network:?}{}", if stopped { " stopped" } else { "" });
    let case = Case::new("historical_averaging", name).real_input("weights", len).real_input("mean", len);
    case.real_output("mean", len).forward(move |be: &B, [weights, mean], [moved]| {
        let mut moved = moved.real();
        let non_finite = if stopped { StepState::NON_FINITE_LOSS_D } else { 0 };
        let state = be.buffer_of(&[StepState { updates: [5, 0, 0], non_finite, ..StepState::new(0, 0.0) }])?;
        be.copy(mean.real(), be.reborrow(&mut moved))?;
        be.historical_mean(network, weights.real(), be.view(&state), moved)
    })
}

/// λ ‖θ − θ̄‖² for θ̄ a fixed draw.
fn penalty_case<B: HistoricalAveragingOp>(len: usize, network: Network) -> Case<B> {
    let case = Case::new("historical_averaging", format!("penalty len{len} {network:?}"))
        .real_input("weights", len)
        .real_output("loss", 1);
    super::with_gradient(case, move |be: &B, [weights]| {
        // A number far from those of the case's inputs.
        let mean = drawn(be, len, Fill::Normal, 500)?;
        let (mut gradients, mut state) = (be.alloc(len)?, be.buffer_of(&[StepState::new(0, 0.0)])?);
        let (moved, noted) = (be.view_mut(&mut gradients), be.view_mut(&mut state));
        be.historical_penalty(network, 0.3, weights.real(), be.view(&mean), moved, noted)?;
        let metrics = be.read(be.view(&state))?[0].metrics;
        let loss = if network == Network::Discriminator { metrics.loss_d } else { metrics.loss_g };
        Ok(([loss], [CaseBuffer::of_real("gradients", gradients)]))
    })
}

/// At the sizes of the models.
pub(super) fn passes<B: HistoricalAveragingOp>() -> Vec<Pass<B>> {
    pass::of_each(models::networks(), |(network, len)| passes_of(network, len))
}

fn passes_of<B: HistoricalAveragingOp>(network: Network, len: usize) -> [Pass<B>; 2] {
    let (op, shape) = ("historical_averaging", format!("len{len} {network:?}"));
    [
        Pass::of(op, shape.clone(), "mean", [real(len)], [real(len)], move |be: &B, [weights], [mean], state| {
            be.historical_mean(network, weights.real(), be.freeze(state), mean.real())
        }),
        Pass::of(
            op,
            shape,
            "penalty",
            [len; 2].map(real),
            [real(len)],
            move |be: &B, [weights, mean], [gradients], state| {
                be.historical_penalty(network, 0.1, weights.real(), mean.real(), gradients.real(), state)
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_of_three_steps_by_hand() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let mut state = [StepState::new(0, 0.0)];
        let mut mean = [7.0];
        for (update, (weight, expected)) in [(4.0, 4.0), (2.0, 3.0), (6.0, 4.0)].into_iter().enumerate() {
            state[0].updates = [9, update as u64, 9];
            cpu.historical_mean(Network::Generator, &[weight], &state, &mut mean).expect("a mean");
            assert!((mean[0] - expected).abs() < 1e-15, "update {update}: {mean:?}");
        }
        let mut gradients = [1.0];
        state[0].metrics.loss_g = 0.5;
        cpu.historical_penalty(Network::Generator, 0.25, &[6.0], &mean, &mut gradients, &mut state).expect("a pull");
        assert!((gradients[0] - 2.0).abs() < 1e-14 && (state[0].metrics.loss_g - 1.5).abs() < 1e-14);
    }
}
