//! Historical averaging (Salimans et al. 2016, section 3.3): a loss gains λ ‖θ − θ̄‖², θ̄ the mean of the parameters that
//! the network has had so far.
//!
//! θ̄ is the mean over the parameters θ₁ … θ_t before each update, that before the update at hand included:
//! θ̄_t = θ̄_{t−1} + (θ_t − θ̄_{t−1}) / t. The gradient 2 λ (θ − θ̄) takes θ̄ as a constant; at the first update it is 0.

use rayon::prelude::*;

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Launcher, Network, Out, Real, StepState};
use crate::ops::case::OldCase;
use crate::ops::case::fill;
use crate::ops::{Executor, Tensor};

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

impl<T: Real> HistoricalAveragingOp for Cpu<T> {
    fn historical_mean(&self, network: Network, weights: &[T], state: &[StepState], mean: &mut [T]) -> Result<()> {
        const CHUNK: usize = 1 << 16;
        if state[0].non_finite != 0 {
            return Ok(());
        }
        let share = T::of(1.0 / (state[0].updates[network as usize] + 1) as f64);
        mean.par_chunks_mut(CHUNK).zip(weights.par_chunks(CHUNK)).for_each(|(mean, weights)| {
            vectorised(|| mean.iter_mut().zip(weights).for_each(|(m, &w)| *m += (w - *m) * share));
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

impl<L: Launcher, T: Real> HistoricalAveragingOp for Accelerator<L, T> {
    fn historical_mean(
        &self,
        network: Network,
        weights: In<'_, Self>,
        state: In<'_, Self, StepState>,
        mean: Out<'_, Self>,
    ) -> Result<()> {
        let (network, count) = (Argument::new(network as i32), Argument::new(mean.len() as u64));
        let arguments = [network, weights.argument(), state.argument(), mean.argument(), count];
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
            let [twice, count] = [Argument::new(T::of(2.0 * weight)), Argument::new(weights.len() as u64)];
            let arenas = [weights.argument(), mean.argument(), gradients.argument(), squares.argument()];
            let arguments = [twice, arenas[0], arenas[1], arenas[2], arenas[3], count];
            self.launch_elements(Kernel::HistoricalPenalty, weights.len(), &arguments)?;
            let network = Argument::new(network as i32);
            let arguments =
                [network, Argument::new(weight), squares.argument(), Argument::new(blocks), state.argument()];
            self.launch(Kernel::NoteHistoricalPenalty, [1, 1, 1], [1, 1, 1], &arguments)
        })
    }
}

struct MeanCase {
    len: usize,
    network: Network,
    /// Something was noted as not finite before: the mean must stay.
    stopped: bool,
}

struct PenaltyCase {
    len: usize,
    network: Network,
}

/// Lengths below, at and above a vector and a part; the mean at the sixth update of the discriminator and the first of
/// the generator, and one that is not to happen; the penalty of either network.
pub fn cases<B: Executor>() -> Vec<Box<dyn OldCase<B>>> {
    let mean = |len, network, stopped| Box::new(MeanCase { len, network, stopped }) as Box<dyn OldCase<B>>;
    let penalty = |len, network| Box::new(PenaltyCase { len, network }) as Box<dyn OldCase<B>>;
    vec![
        mean(1, Network::Discriminator, false),
        mean(33, Network::Generator, false),
        mean(1000, Network::Discriminator, false),
        mean(17, Network::Discriminator, true),
        penalty(1, Network::Generator),
        penalty(17, Network::Discriminator),
        penalty(600, Network::Generator),
    ]
}

impl<B: Executor> OldCase<B> for MeanCase {
    fn op(&self) -> &'static str {
        "historical_averaging"
    }
    fn name(&self) -> String {
        let MeanCase { len, network, stopped } = self;
        format!("mean len{len} {network:?}{}", if *stopped { " stopped" } else { "" })
    }
    fn inputs(&self) -> Vec<Tensor> {
        ["weights", "mean"].map(|name| Tensor::new(name, self.len)).into()
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("mean", self.len)]
    }
    fn differentiable(&self) -> bool {
        false
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let non_finite = if self.stopped { StepState::NON_FINITE_LOSS_D } else { 0 };
        let state = be.buffer_of(&[StepState { updates: [5, 0, 0], non_finite, ..StepState::new(0, 0.0) }])?;
        be.copy(be.view(&inputs[1]), be.view_mut(&mut outputs[0]))?;
        be.historical_mean(self.network, be.view(&inputs[0]), be.view(&state), be.view_mut(&mut outputs[0]))
    }
}

impl PenaltyCase {
    /// λ ‖θ − θ̄‖² and its gradient, for θ̄ a fixed draw.
    fn run<B: Executor>(&self, be: &B, weights: &Buffer<B>) -> Result<(f64, Buffer<B>)> {
        // A number far from those of the case's inputs.
        let mean = fill(&Tensor::new("mean", self.len), 500).into_iter().map(B::Real::of).collect::<Vec<_>>();
        let mean = be.buffer_of(&mean)?;
        let mut gradients = be.alloc(self.len)?;
        let mut state = be.buffer_of(&[StepState::new(0, 0.0)])?;
        let (gradients_out, state_out) = (be.view_mut(&mut gradients), be.view_mut(&mut state));
        be.historical_penalty(self.network, 0.3, be.view(weights), be.view(&mean), gradients_out, state_out)?;
        let metrics = be.read(be.view(&state))?[0].metrics;
        let loss = if self.network == Network::Discriminator { metrics.loss_d } else { metrics.loss_g };
        Ok((loss, gradients))
    }
}

impl<B: Executor> OldCase<B> for PenaltyCase {
    fn op(&self) -> &'static str {
        "historical_averaging"
    }
    fn name(&self) -> String {
        format!("penalty len{} {:?}", self.len, self.network)
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("weights", self.len)]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("loss", 1)]
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let (loss, _) = self.run(be, &inputs[0])?;
        be.upload(&[B::Real::of(loss)], be.view_mut(&mut outputs[0]))
    }
    fn backward(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let (_, gradients) = self.run(be, &inputs[0])?;
        let scale = be.read(be.view(&d_outputs[0]))?[0];
        let scaled: Vec<B::Real> = be.read(be.view(&gradients))?.into_iter().map(|g| g * scale).collect();
        be.upload(&scaled, be.view_mut(&mut d_inputs[0]))
    }
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
