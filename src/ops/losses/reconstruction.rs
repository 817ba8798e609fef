//! The two terms of mode regularisation in the generator's loss (Che et al. 2017, sections 3.1 and 3.2), for reconstructions
//! y = G(E(x)) of real images x: λ₁ E d(x, y) + λ₂ E cost(D(y)).
//!
//! d of an image is the mean of (y − x)² over its pixels and channels, which [`EnergyOp::energy_forward`] computes with
//! [`Exponent::Squared`]: an energy of EBGAN is the same function. ∂(λ₁ E d)/∂y = 2 λ₁ (y − x) / (N H W C). cost is what the
//! generator pays for one of D's outputs, [`Objective::term`]; only its mean and its gradient are taken here, and the
//! multipliers that a loss moves from step to step stay where they are.
//!
//! [`EnergyOp::energy_forward`]: crate::ops::losses::energy::EnergyOp::energy_forward
//! [`Exponent::Squared`]: crate::ops::losses::energy::Exponent::Squared

use rayon::prelude::*;

use crate::Result;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::{Kernel, size};
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Launcher, Metrics, Out, Real, StepState};
use crate::ops::case::OldCase;
use crate::ops::case::fill;
use crate::ops::losses::energy::{Energy, Exponent};
use crate::ops::losses::loss::KernelObjective;
use crate::ops::losses::objective::{Loss, Objective, Side};
use crate::ops::models::{BATCH, image_lens};
use crate::ops::pass::{Pass, Work, filled, state};
use crate::ops::{Executor, Tensor};

/// Sizes of a batch of reconstructions, and what their mean error is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reconstruction {
    /// Images.
    pub n: usize,
    /// Elements of one image: H · W · C.
    pub len: usize,
    /// λ₁.
    pub weight: f64,
}

impl Reconstruction {
    /// What stands before y − x in the gradient.
    fn slope(&self) -> f64 {
        2.0 * self.weight / (self.n as f64 * self.len as f64)
    }
}

/// The passes of both terms.
pub trait ReconstructionOp: Backend {
    /// From the errors d `[N]`: writes their mean into the state's metrics, unweighted, and adds λ₁ times it to the
    /// generator's loss there. One that is not finite is noted, unless something was noted before.
    fn reconstruction_loss(
        &self,
        d: &Reconstruction,
        errors: In<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;

    /// dy += 2 λ₁ (y − x) / (N H W C), x the images and y their reconstructions, all `[N, H, W, C]`. It adds, since D's
    /// verdict on y has come down there before.
    fn reconstruction_backward_input(
        &self,
        d: &Reconstruction,
        x: In<'_, Self>,
        y: In<'_, Self>,
        dy: Out<'_, Self>,
    ) -> Result<()>;

    /// From D's outputs `[N]` for the reconstructions: adds `weight` (λ₂) times their mean cost to the generator's loss in
    /// the state's metrics, and overwrites dlogits `[N]` with the gradient. Not finite is noted as above; β and k stay.
    fn mode_loss(
        &self,
        objective: &Objective,
        weight: f64,
        logits: In<'_, Self>,
        dlogits: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 14;

impl<T: Real> ReconstructionOp for Cpu<T> {
    fn reconstruction_loss(&self, d: &Reconstruction, errors: &[T], state: &mut [StepState]) -> Result<()> {
        let mean = errors.iter().map(|error| error.to_f64()).sum::<f64>() / d.n as f64;
        state[0].metrics.reconstruction = mean;
        state[0].add_to_generator_loss(d.weight * mean);
        Ok(())
    }

    fn reconstruction_backward_input(&self, d: &Reconstruction, x: &[T], y: &[T], dy: &mut [T]) -> Result<()> {
        let slope = T::of(d.slope());
        dy.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK).zip(y.par_chunks(CHUNK))).for_each(|(dy, (x, y))| {
            vectorised(|| dy.iter_mut().zip(x.iter().zip(y)).for_each(|(dy, (&x, &y))| *dy += slope * (y - x)));
        });
        Ok(())
    }

    fn mode_loss(
        &self,
        objective: &Objective,
        weight: f64,
        logits: &[T],
        dlogits: &mut [T],
        state: &mut [StepState],
    ) -> Result<()> {
        let (n, mut cost) = (logits.len() as f64, 0.0);
        for (dlogit, logit) in dlogits.iter_mut().zip(logits) {
            let term = objective.term(Side::Generator, logit.to_f64());
            cost += term.value;
            *dlogit = T::of(weight * term.derivative / n);
        }
        state[0].add_to_generator_loss(weight * cost / n);
        Ok(())
    }
}

/// The sizes as kernels/losses/reconstruction.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelReconstruction {
    weight: f64,
    slope: f64,
    n: i32,
    len: i32,
}

impl Reconstruction {
    fn argument(&self) -> Argument {
        let Reconstruction { n, len, weight } = *self;
        Argument::new(KernelReconstruction { weight, slope: self.slope(), n: int(n), len: int(len) })
    }
}

impl<L: Launcher, T: Real> ReconstructionOp for Accelerator<L, T> {
    fn reconstruction_loss(
        &self,
        d: &Reconstruction,
        errors: In<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let arguments = [d.argument(), errors.argument(), state.argument()];
        self.launch(Kernel::ReconstructionLoss, [1, 1, 1], [size::LOSS_THREADS, 1, 1], &arguments)
    }

    fn reconstruction_backward_input(
        &self,
        d: &Reconstruction,
        x: In<'_, Self>,
        y: In<'_, Self>,
        dy: Out<'_, Self>,
    ) -> Result<()> {
        let arguments = [d.argument(), x.argument(), y.argument(), dy.argument()];
        self.launch_elements(Kernel::ReconstructionBackwardInput, d.n * d.len, &arguments)
    }

    fn mode_loss(
        &self,
        objective: &Objective,
        weight: f64,
        logits: In<'_, Self>,
        dlogits: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let (objective, n) = (Argument::new(KernelObjective::of(objective)), Argument::new(int(logits.len())));
        let arguments = [objective, Argument::new(weight), n, logits.argument(), dlogits.argument(), state.argument()];
        self.launch(Kernel::ModeLoss, [1, 1, 1], [size::LOSS_THREADS, 1, 1], &arguments)
    }
}

/// λ₁ E d and E d, by the reconstructions.
struct ErrorCase(Reconstruction);

/// λ₂ E cost of so many outputs.
struct ModeCase(usize, Objective);

/// Odd sizes, more elements than a block has threads, more images than it has, and a weight of 0, with which the mean is
/// reported all the same; what an output costs, by every loss.
pub fn cases<B: Executor>() -> Vec<Box<dyn OldCase<B>>> {
    let error = |(n, len, weight)| Box::new(ErrorCase(Reconstruction { n, len, weight })) as Box<dyn OldCase<B>>;
    let mode = |n, loss| Box::new(ModeCase(n, Objective::new(loss))) as Box<dyn OldCase<B>>;
    let errors = [(1, 1, 0.2), (3, 17, 0.2), (2, 3 * 7 * 13, 1.5), (261, 3, 0.2), (3, 5, 0.0)];
    let modes = Loss::ALL.map(|loss| mode(17, loss));
    errors.into_iter().map(error).chain(modes).chain([mode(1, Loss::Ns), mode(261, Loss::Ns)]).collect()
}

/// A state in which the generator's loss is something already, and so are β and k.
fn loss_before<B: Backend>(be: &B) -> Result<Buffer<B, StepState>> {
    let before = StepState { balance: 0.6, ..StepState::new(0, 0.7) };
    be.buffer_of(&[StepState { metrics: Metrics { loss_g: 0.25, ..before.metrics }, ..before }])
}

impl ErrorCase {
    /// x, a fixed draw of a number far from those of the case's inputs: nothing is differentiated by it.
    fn images<B: Backend>(&self, be: &B) -> Result<Buffer<B>> {
        let x = fill(&Tensor::new("x", self.0.n * self.0.len), 500);
        be.buffer_of(&x.into_iter().map(B::Real::of).collect::<Vec<_>>())
    }
}

impl<B: Executor> OldCase<B> for ErrorCase {
    fn op(&self) -> &'static str {
        "reconstruction"
    }
    fn name(&self) -> String {
        let Reconstruction { n, len, weight } = self.0;
        format!("n{n} len{len} weight{weight}")
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("y", self.0.n * self.0.len)]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("loss", 1), Tensor::new("reconstruction", 1)]
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let (n, len) = (self.0.n, self.0.len);
        let (x, mut errors, mut state) = (self.images(be)?, be.alloc(n)?, loss_before(be)?);
        let energy = Energy { n, len, exponent: Exponent::Squared };
        be.energy_forward(&energy, be.view(&x), be.view(&inputs[0]), be.view_mut(&mut errors))?;
        be.reconstruction_loss(&self.0, be.view(&errors), be.view_mut(&mut state))?;
        let metrics = be.read(be.view(&state))?[0].metrics;
        be.upload(&[B::Real::of(metrics.loss_g)], be.view_mut(&mut outputs[0]))?;
        be.upload(&[B::Real::of(metrics.reconstruction)], be.view_mut(&mut outputs[1]))
    }
    fn backward(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let [d_loss, d_mean] = [0, 1].map(|output| be.read(be.view(&d_outputs[output])));
        // The loss is λ₁ times the mean, so both derivatives are one with another weight.
        let weight = self.0.weight * d_loss?[0].to_f64() + d_mean?[0].to_f64();
        let d = Reconstruction { weight, ..self.0 };
        let x = self.images(be)?;
        be.reconstruction_backward_input(&d, be.view(&x), be.view(&inputs[0]), be.view_mut(&mut d_inputs[0]))
    }
}

impl ModeCase {
    /// The state after the term, and its gradient.
    fn run<B: Executor>(&self, be: &B, logits: &Buffer<B>) -> Result<(StepState, Vec<B::Real>)> {
        let (mut dlogits, mut state) = (be.alloc(self.0)?, loss_before(be)?);
        be.mode_loss(&self.1, 0.4, be.view(logits), be.view_mut(&mut dlogits), be.view_mut(&mut state))?;
        Ok((be.read(be.view(&state))?[0], be.read(be.view(&dlogits))?))
    }
}

impl<B: Executor> OldCase<B> for ModeCase {
    fn op(&self) -> &'static str {
        "reconstruction"
    }
    fn name(&self) -> String {
        format!("mode n{} {:?}", self.0, self.1.loss)
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("logits", self.0)]
    }
    /// The loss, and what the term must leave alone.
    fn outputs(&self) -> Vec<Tensor> {
        ["loss", "beta", "balance"].map(|name| Tensor::new(name, 1)).into()
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let (state, _) = self.run(be, &inputs[0])?;
        for (value, output) in [state.metrics.loss_g, state.beta, state.balance].into_iter().zip(outputs) {
            be.upload(&[B::Real::of(value)], be.view_mut(output))?;
        }
        Ok(())
    }
    fn backward(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let (_, dlogits) = self.run(be, &inputs[0])?;
        let scale = be.read(be.view(&d_outputs[0]))?[0];
        let scaled: Vec<B::Real> = dlogits.into_iter().map(|d| d * scale).collect();
        be.upload(&scaled, be.view_mut(&mut d_inputs[0]))
    }
}

/// At the sizes of the models.
pub(super) fn passes<B: Executor>() -> Vec<Pass<B>> {
    image_lens().into_iter().flat_map(|len| passes_of(BATCH, len)).collect()
}

fn passes_of<B: Executor>(n: usize, len: usize) -> [Pass<B>; 3] {
    let (d, shape) = (Reconstruction { n, len, weight: 0.2 }, format!("n{n} len{len}"));
    // The mean of so few errors is nothing to time alone.
    let forward = move |be: B| -> Result<Work> {
        let (x, y, mut errors, mut state) = (filled(&be, n * len)?, filled(&be, n * len)?, be.alloc(n)?, state(&be)?);
        let energy = Energy { n, len, exponent: Exponent::Squared };
        Ok(Box::new(move || {
            be.energy_forward(&energy, be.view(&x), be.view(&y), be.view_mut(&mut errors))?;
            be.reconstruction_loss(&d, be.view(&errors), be.view_mut(&mut state))
        }))
    };
    let backward_input = move |be: B| -> Result<Work> {
        let (x, y, mut dy) = (filled(&be, n * len)?, filled(&be, n * len)?, be.alloc(n * len)?);
        Ok(Box::new(move || be.reconstruction_backward_input(&d, be.view(&x), be.view(&y), be.view_mut(&mut dy))))
    };
    let mode = move |be: B| -> Result<Work> {
        let (logits, mut dlogits, mut state) = (filled(&be, n)?, be.alloc(n)?, state(&be)?);
        let objective = Objective::new(Loss::Ns);
        Ok(Box::new(move || {
            let (dlogits, state) = (be.view_mut(&mut dlogits), be.view_mut(&mut state));
            be.mode_loss(&objective, 0.4, be.view(&logits), dlogits, state)
        }))
    };
    [
        Pass::new("reconstruction", shape.clone(), "forward", forward),
        Pass::new("reconstruction", shape.clone(), "backward_input", backward_input),
        Pass::new("reconstruction", shape, "mode", mode),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_terms_by_hand() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let mut state = loss_before(&cpu).expect("a state");
        let d = Reconstruction { n: 2, len: 2, weight: 0.5 };
        cpu.reconstruction_loss(&d, &[2.0, 4.0], &mut state).expect("a loss");
        assert_eq!((state[0].metrics.reconstruction, state[0].metrics.loss_g), (3.0, 0.25 + 1.5));
        // Added to what is there: 2 · 0.5 / 4 of the difference.
        let mut dy = [10.0; 4];
        cpu.reconstruction_backward_input(&d, &[1.0, 0.0, 0.0, 2.0], &[1.0, 4.0, -4.0, 0.0], &mut dy)
            .expect("a gradient");
        assert_eq!(dy, [10.0, 11.0, 9.0, 9.5]);
        let mut dlogits = [f64::NAN; 2];
        let objective = Objective { balance_step: 0.1, ..Objective::new(Loss::Began) };
        cpu.mode_loss(&objective, 0.5, &[1.0, 3.0], &mut dlogits, &mut state).expect("a loss");
        assert_eq!((state[0].metrics.loss_g, dlogits), (1.75 + 1.0, [0.25, 0.25]));
        assert_eq!((state[0].beta, state[0].balance, state[0].metrics.convergence), (0.7, 0.6, 0.0), "BEGAN's k stays");
    }

    #[test]
    fn what_is_not_finite_is_noted() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (objective, d) = (Objective::new(Loss::Ns), Reconstruction { n: 1, len: 1, weight: 0.0 });
        for (bad, expected) in
            [(1.0, 0), (f64::NAN, StepState::NON_FINITE_LOSS_G), (f64::INFINITY, StepState::NON_FINITE_LOSS_G)]
        {
            let mut state = loss_before(&cpu).expect("a state");
            cpu.reconstruction_loss(&d, &[bad], &mut state).expect("a loss");
            assert_eq!(state[0].non_finite, expected, "an error of {bad}");
            let mut state = loss_before(&cpu).expect("a state");
            cpu.mode_loss(&objective, 0.4, &[-bad], &mut [0.0], &mut state).expect("a loss");
            assert_eq!(state[0].non_finite, expected, "an output of {bad}");
        }
    }
}
