//! The losses of a step: value and gradient in one pass, with β's update (Peng et al. 2018, Eq. 8 and 9; the article's
//! notebook).
//!
//! loss_d = mean cost of real + mean cost of fake + β · C,  C = m [(KL_real − I_c) + (KL_fake − I_c)],
//! β ← max(0, β + α_β · C);  loss_g = mean cost of G's images.
//!
//! What one output of D costs is the objective's business ([`Objective::term`]); m is 1 where the settings sum real and
//! fake, ½ where they mix.
//!
//! Multipliers that a loss moves in the same way as β belong here too. `Began` multiplies what fake images cost D by k, and
//! k ← clip(k + λ_k (γ L(x) − L(G(z))), 0, 1), L(x) being the mean energy of the discriminator's real images and L(G(z)) that
//! of the generator's images in its own step (Berthelot et al. 2017, section 3.3). The measure of convergence is L(x) +
//! |γ L(x) − L(G(z))|.

use bytemuck::Zeroable;

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Launcher, Metrics, Out, Real, StepState};
use crate::ops::case::OldCase;
use crate::ops::losses::objective::{Loss, Objective, Side, Term};
use crate::ops::models::BATCH;
use crate::ops::pass::{Pass, Work, filled, state};
use crate::ops::{Executor, Fill, Tensor};

/// Sizes and constants of the discriminator's loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiscriminatorLoss {
    /// Images of each kind.
    pub n: usize,
    /// What an output costs.
    pub objective: Objective,
    /// What the sum of one image's KL is multiplied by: 1, 1 / dimensions or 1 / positions. 0 without a bottleneck.
    pub kl_scale: f64,
    /// m: 1 (sum) or ½ (mixture).
    pub kl_mix: f64,
    /// I_c.
    pub target_kl: f64,
    /// α_β.
    pub beta_step: f64,
}

/// The losses' passes.
pub trait LossOp: Backend {
    /// From logits `[2N]` (real, then fake) and kl `[2N]` (sums over dimensions, in nats): overwrites dlogits and dkl, both
    /// `[2N]`, and the state's metrics, and takes β's step. The loss and its gradients use β from before that step.
    ///
    /// With `kl_scale` 0 neither kl nor dkl nor β is touched. A loss that is not finite leaves β alone and is noted in
    /// the state's `non_finite`, unless something was noted before.
    fn discriminator_loss(
        &self,
        d: &DiscriminatorLoss,
        logits: In<'_, Self>,
        kl: In<'_, Self>,
        dlogits: Out<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;

    /// From the fake images' logits `[N]`: overwrites dlogits `[N]` and the metric; dkl is zeroed, since the generator
    /// does not pay for information. A loss that is not finite is noted as in the discriminator's.
    fn generator_loss(
        &self,
        objective: &Objective,
        logits: In<'_, Self>,
        dlogits: Out<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;

    /// Counts the step as done, unless something was not finite, and notes its figures: those of step s (from 0) go to
    /// place s mod L of `history`, L elements long.
    fn finish_step(&self, state: Out<'_, Self, StepState>, history: Out<'_, Self, Metrics>) -> Result<()>;
}

/// The mean cost of the outputs on a side, times `weight`, and the mean output; writes the gradient of the former.
fn mean_terms<T: Real>(objective: &Objective, side: Side, weight: f64, logits: &[T], dlogits: &mut [T]) -> (f64, f64) {
    let count = logits.len() as f64;
    let (mut loss, mut output) = (0.0, 0.0);
    for (dlogit, logit) in dlogits.iter_mut().zip(logits) {
        let Term { value, derivative } = objective.term(side, logit.to_f64());
        loss += value;
        output += objective.output(logit.to_f64());
        *dlogit = T::of(weight * derivative / count);
    }
    (weight * loss / count, output / count)
}

/// The step of k, and the measure of convergence, from the mean energies of the last real images and of the generator's.
fn step_balance(objective: &Objective, fake: f64, state: &mut StepState) {
    let surplus = objective.balance_ratio * state.metrics.d_real - fake;
    state.metrics.convergence = state.metrics.d_real + surplus.abs();
    if state.non_finite == 0 {
        state.balance = (state.balance + objective.balance_step * surplus).clamp(0.0, 1.0);
    }
    state.metrics.balance = state.balance;
}

impl<T: Real> LossOp for Cpu<T> {
    fn discriminator_loss(
        &self,
        d: &DiscriminatorLoss,
        logits: &[T],
        kl: &[T],
        dlogits: &mut [T],
        dkl: &mut [T],
        state: &mut [StepState],
    ) -> Result<()> {
        let state = &mut state[0];
        let (d_logits_real, d_logits_fake) = dlogits.split_at_mut(d.n);
        let weight = if d.objective.loss == Loss::Began { state.balance } else { 1.0 };
        let (loss_real, d_real) = mean_terms(&d.objective, Side::Real, 1.0, &logits[..d.n], d_logits_real);
        let (loss_fake, d_fake) = mean_terms(&d.objective, Side::Fake, weight, &logits[d.n..], d_logits_fake);
        let reduced = |kl: &[T]| kl.iter().map(|v| v.to_f64()).sum::<f64>() * d.kl_scale / d.n as f64;
        let (kl_real, kl_fake) = (reduced(&kl[..d.n]), reduced(&kl[d.n..]));
        let mut loss_d = loss_real + loss_fake;
        if d.kl_scale > 0.0 {
            let constraint = d.kl_mix * ((kl_real - d.target_kl) + (kl_fake - d.target_kl));
            loss_d += state.beta * constraint;
            dkl.fill(T::of(state.beta * d.kl_mix * d.kl_scale / d.n as f64));
            if loss_d.is_finite() && state.non_finite == 0 {
                state.beta = (state.beta + d.beta_step * constraint).max(0.0);
            }
        }
        state.note_unless_finite(loss_d, StepState::NON_FINITE_LOSS_D);
        let (beta, balance) = (state.beta, state.balance);
        state.metrics = Metrics { loss_d, beta, kl_real, kl_fake, d_real, d_fake, balance, ..Metrics::zeroed() };
        Ok(())
    }

    fn generator_loss(
        &self,
        objective: &Objective,
        logits: &[T],
        dlogits: &mut [T],
        dkl: &mut [T],
        state: &mut [StepState],
    ) -> Result<()> {
        let (loss_g, _) = mean_terms(objective, Side::Generator, 1.0, logits, dlogits);
        dkl.fill(T::ZERO);
        state[0].metrics.loss_g = loss_g;
        state[0].note_unless_finite(loss_g, StepState::NON_FINITE_LOSS_G);
        if objective.loss == Loss::Began {
            step_balance(objective, loss_g, &mut state[0]);
        }
        Ok(())
    }

    fn finish_step(&self, state: &mut [StepState], history: &mut [Metrics]) -> Result<()> {
        if state[0].non_finite == 0 {
            let place = state[0].step % history.len() as u64;
            history[place as usize] = state[0].metrics;
            state[0].step += 1;
        }
        Ok(())
    }
}

/// An objective as kernels/losses/objective.cuh has it.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
pub(super) struct KernelObjective {
    /// The real target, the margin, γ and λ_k.
    constants: [f64; 4],
    loss: i32,
    padding: i32,
}

impl KernelObjective {
    pub(super) fn of(objective: &Objective) -> Self {
        let Objective { loss, real_target, margin, balance_ratio, balance_step } = *objective;
        let constants = [real_target, margin, balance_ratio, balance_step];
        KernelObjective { constants, loss: loss as i32, padding: 0 }
    }
}

/// The constants as kernels/losses/loss.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelLoss {
    kl_scale: f64,
    kl_mix: f64,
    target_kl: f64,
    beta_step: f64,
    objective: KernelObjective,
    n: i32,
    padding: i32,
}

impl<L: Launcher, T: Real> LossOp for Accelerator<L, T> {
    fn discriminator_loss(
        &self,
        d: &DiscriminatorLoss,
        logits: In<'_, Self>,
        kl: In<'_, Self>,
        dlogits: Out<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let DiscriminatorLoss { n, objective, kl_scale, kl_mix, target_kl, beta_step } = *d;
        let objective = KernelObjective::of(&objective);
        let arguments = [
            Argument::new(KernelLoss { kl_scale, kl_mix, target_kl, beta_step, objective, n: int(n), padding: 0 }),
            logits.argument(),
            kl.argument(),
            dlogits.argument(),
            dkl.argument(),
            state.argument(),
        ];
        self.launch(Kernel::DiscriminatorLoss, [1, 1, 1], [size::LOSS_THREADS, 1, 1], &arguments)
    }

    fn generator_loss(
        &self,
        objective: &Objective,
        logits: In<'_, Self>,
        dlogits: Out<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let [n, kl_count] = [logits.len(), dkl.len()].map(|len| Argument::new(int(len)));
        let objective = Argument::new(KernelObjective::of(objective));
        let arguments =
            [objective, n, kl_count, logits.argument(), dlogits.argument(), dkl.argument(), state.argument()];
        self.launch(Kernel::GeneratorLoss, [1, 1, 1], [size::LOSS_THREADS, 1, 1], &arguments)
    }

    fn finish_step(&self, state: Out<'_, Self, StepState>, history: Out<'_, Self, Metrics>) -> Result<()> {
        let arguments = [state.argument(), history.argument(), Argument::new(history.len() as u64)];
        self.launch(Kernel::FinishStep, [1, 1, 1], [1, 1, 1], &arguments)
    }
}

enum LossCase {
    Discriminator(DiscriminatorLoss),
    Generator(usize, Objective),
}

/// Both losses of every objective, every reduction and mix; β is 0.7, k 0.6. Then β's step: up, down, and stopped at 0; and
/// that of k: in between, and stopped at either end.
pub fn cases<B: Executor>() -> Vec<Box<dyn OldCase<B>>> {
    let ns = Objective::new(Loss::Ns);
    let discriminator = |n, objective, kl_scale, kl_mix| {
        let constants = DiscriminatorLoss { n, objective, kl_scale, kl_mix, target_kl: 0.1, beta_step: 0.0 };
        LossCase::Discriminator(constants)
    };
    let mut losses = vec![
        discriminator(1, ns, 1.0, 1.0),
        discriminator(3, ns, 0.25, 0.5),
        discriminator(33, ns, 0.0, 1.0),
        discriminator(17, Objective { real_target: 0.9, ..ns }, 0.0, 1.0),
        LossCase::Generator(1, ns),
    ];
    for loss in Loss::ALL {
        let objective = Objective { loss, ..ns };
        losses.extend([discriminator(17, objective, 0.125, 1.0), LossCase::Generator(17, objective)]);
    }
    let beta = |n, target_kl, beta_step| {
        BetaCase(DiscriminatorLoss { n, objective: ns, kl_scale: 0.5, kl_mix: 0.5, target_kl, beta_step })
    };
    let steps = [beta(3, 0.1, 0.01), beta(17, 5.0, 0.01), beta(5, 100.0, 1.0)];
    let losses = losses.into_iter().map(|case| Box::new(case) as Box<dyn OldCase<B>>);
    let balance = |n, real| Box::new(BalanceCase { n, real }) as Box<dyn OldCase<B>>;
    let balances = [balance(1, 0.3), balance(17, 90.0), balance(300, -90.0)];
    losses.chain(steps.map(|case| Box::new(case) as Box<dyn OldCase<B>>)).chain(balances).collect()
}

/// Logits and KL of `n` images, or of the two halves of a discriminator's batch; away from the hinge's kinks at ±1.
fn case_inputs(n: usize) -> Vec<Tensor> {
    vec![Tensor::new("logits", n).filled(Fill::AwayFromOne), Tensor::new("kl", n).filled(Fill::Uniform(0.0, 4.0))]
}

impl LossCase {
    /// Runs the loss on a state of its own: (loss, dlogits, dkl).
    fn run<B: Executor>(&self, be: &B, inputs: &[Buffer<B>]) -> Result<(f64, Buffer<B>, Buffer<B>)> {
        let (logits, kl) = (be.view(&inputs[0]), be.view(&inputs[1]));
        let mut dlogits = be.alloc(be.len(logits))?;
        let mut dkl = be.alloc(be.len(kl))?;
        let mut state = be.buffer_of(&[StepState { balance: 0.6, ..StepState::new(0, 0.7) }])?;
        let (dl, dk, st) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl), be.view_mut(&mut state));
        match self {
            LossCase::Discriminator(d) => be.discriminator_loss(d, logits, kl, dl, dk, st)?,
            LossCase::Generator(_, objective) => be.generator_loss(objective, logits, dl, dk, st)?,
        }
        let metrics = be.read(be.view(&state))?[0].metrics;
        let loss = if matches!(self, LossCase::Generator(..)) { metrics.loss_g } else { metrics.loss_d };
        Ok((loss, dlogits, dkl))
    }
}

impl<B: Executor> OldCase<B> for LossCase {
    fn op(&self) -> &'static str {
        "loss"
    }
    fn name(&self) -> String {
        match self {
            LossCase::Discriminator(d) => {
                let Objective { loss, real_target, .. } = d.objective;
                format!("discriminator {loss:?} to {real_target} n{} kl_scale{} kl_mix{}", d.n, d.kl_scale, d.kl_mix)
            }
            LossCase::Generator(n, objective) => format!("generator {:?} n{n}", objective.loss),
        }
    }
    fn inputs(&self) -> Vec<Tensor> {
        case_inputs(match self {
            LossCase::Discriminator(d) => 2 * d.n,
            LossCase::Generator(n, _) => *n,
        })
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("loss", 1)]
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let (loss, _, _) = self.run(be, inputs)?;
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
        let (_, dlogits, dkl) = self.run(be, inputs)?;
        let scale = be.read(be.view(&d_outputs[0]))?[0];
        for (gradient, target) in [dlogits, dkl].iter().zip(d_inputs) {
            let scaled: Vec<B::Real> = be.read(be.view(gradient))?.into_iter().map(|g| g * scale).collect();
            be.upload(&scaled, be.view_mut(target))?;
        }
        Ok(())
    }
}

/// The discriminator's loss with a step of β. What comes out is the state after it, not a function to differentiate.
struct BetaCase(DiscriminatorLoss);

impl<B: Executor> OldCase<B> for BetaCase {
    fn op(&self) -> &'static str {
        "loss"
    }
    fn name(&self) -> String {
        let DiscriminatorLoss { n, target_kl, beta_step, .. } = self.0;
        format!("beta n{n} target_kl{target_kl} beta_step{beta_step}")
    }
    fn inputs(&self) -> Vec<Tensor> {
        case_inputs(2 * self.0.n)
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("beta", 1), Tensor::new("loss", 1), Tensor::new("dkl", 2 * self.0.n)]
    }
    fn differentiable(&self) -> bool {
        false
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let [beta, loss, dkl] = outputs else { unreachable!("three outputs") };
        let mut dlogits = be.alloc(2 * self.0.n)?;
        let mut state = be.buffer_of(&[StepState::new(0, 0.7)])?;
        let (dl, dk, st) = (be.view_mut(&mut dlogits), be.view_mut(dkl), be.view_mut(&mut state));
        be.discriminator_loss(&self.0, be.view(&inputs[0]), be.view(&inputs[1]), dl, dk, st)?;
        let state = be.read(be.view(&state))?[0];
        be.upload(&[B::Real::of(state.beta)], be.view_mut(beta))?;
        be.upload(&[B::Real::of(state.metrics.loss_d)], be.view_mut(loss))
    }
}

/// The generator's loss with a step of k from 0.6, after a discriminator's with this mean energy of real images.
struct BalanceCase {
    n: usize,
    real: f64,
}

impl BalanceCase {
    const OBJECTIVE: Objective =
        Objective { loss: Loss::Began, real_target: 1.0, margin: 1.0, balance_ratio: 0.4, balance_step: 0.02 };
}

impl<B: Executor> OldCase<B> for BalanceCase {
    fn op(&self) -> &'static str {
        "loss"
    }
    fn name(&self) -> String {
        format!("balance n{} real{}", self.n, self.real)
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("energies", self.n).filled(Fill::Uniform(0.0, 1.0))]
    }
    fn outputs(&self) -> Vec<Tensor> {
        ["balance", "convergence", "loss"].map(|name| Tensor::new(name, 1)).into()
    }
    fn differentiable(&self) -> bool {
        false
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let before = StepState { balance: 0.6, ..StepState::new(0, 0.7) };
        let metrics = Metrics { d_real: self.real, ..before.metrics };
        let mut state = be.buffer_of(&[StepState { metrics, ..before }])?;
        let (mut dlogits, mut dkl) = (be.alloc(self.n)?, be.alloc(self.n)?);
        let (dl, dk) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
        be.generator_loss(&Self::OBJECTIVE, be.view(&inputs[0]), dl, dk, be.view_mut(&mut state))?;
        let after = be.read(be.view(&state))?[0];
        for (value, output) in [after.balance, after.metrics.convergence, after.metrics.loss_g].iter().zip(outputs) {
            be.upload(&[B::Real::of(*value)], be.view_mut(output))?;
        }
        Ok(())
    }
}

/// At the sizes of the models.
pub(super) fn passes<B: Executor>() -> [Pass<B>; 2] {
    let n = BATCH;
    let objective = Objective::new(Loss::Ns);
    let d = DiscriminatorLoss { n, objective, kl_scale: 1.0 / 6272.0, kl_mix: 1.0, target_kl: 0.2, beta_step: 1e-6 };
    let discriminator = move |be: B| -> Result<Work> {
        let (logits, kl, mut state) = (filled(&be, 2 * n)?, filled(&be, 2 * n)?, state(&be)?);
        let (mut dlogits, mut dkl) = (be.alloc(2 * n)?, be.alloc(2 * n)?);
        Ok(Box::new(move || {
            let (dlogits, dkl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
            be.discriminator_loss(&d, be.view(&logits), be.view(&kl), dlogits, dkl, be.view_mut(&mut state))
        }))
    };
    let generator = move |be: B| -> Result<Work> {
        let (logits, mut state) = (filled(&be, n)?, state(&be)?);
        let (mut dlogits, mut dkl) = (be.alloc(n)?, be.alloc(n)?);
        Ok(Box::new(move || {
            let (dlogits, dkl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
            be.generator_loss(&objective, be.view(&logits), dlogits, dkl, be.view_mut(&mut state))
        }))
    };
    [
        Pass::new("loss", format!("n{n}"), "discriminator", discriminator),
        Pass::new("loss", format!("n{n}"), "generator", generator),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beta_follows_the_constraint_and_stops_at_zero() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        // KL 1 and 3 of one image each, so C = ½ (1 + 3) − I_c.
        for (target_kl, expected) in [(0.5, 0.7 + 0.1 * 1.5), (4.0, 0.7 - 0.1 * 2.0), (100.0, 0.0)] {
            let objective = Objective::new(Loss::Ns);
            let (kl_scale, kl_mix) = (1.0, 0.5);
            let case = BetaCase(DiscriminatorLoss { n: 1, objective, kl_scale, kl_mix, target_kl, beta_step: 0.1 });
            let case: &dyn OldCase<Cpu<f64>> = &case;
            let mut outputs = vec![vec![f64::NAN], vec![f64::NAN], vec![f64::NAN; 2]];
            case.forward(&cpu, &[vec![0.0; 2], vec![1.0, 3.0]], &mut outputs).expect("a loss");
            assert!((outputs[0][0] - expected).abs() < 1e-15, "{target_kl}: {outputs:?}");
            // The gradient is by the β before the step.
            assert_eq!(outputs[2], [0.35, 0.35]);
        }
    }

    /// L(G(z)) is 0.25, γ 0.4, λ_k 0.02, k 0.6 before.
    #[test]
    fn k_follows_the_energies_and_stays_between_0_and_1() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        for (real, balance, convergence) in
            [(0.5, 0.6 + 0.02 * (0.2 - 0.25), 0.5 + 0.05), (90.0, 1.0, 90.0 + 35.75), (-90.0, 0.0, -90.0 + 36.25)]
        {
            let case: &dyn OldCase<Cpu<f64>> = &BalanceCase { n: 2, real };
            let mut outputs = vec![vec![f64::NAN]; 3];
            case.forward(&cpu, &[vec![0.1, 0.4]], &mut outputs).expect("a loss");
            assert!((outputs[0][0] - balance).abs() < 1e-15, "{real}: {outputs:?}");
            assert!((outputs[1][0] - convergence).abs() < 1e-13, "{real}: {outputs:?}");
        }
    }

    #[test]
    fn k_is_the_weight_of_fake_images_and_stays_where_a_loss_is_not_finite() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let objective = Objective::new(Loss::Began);
        let d = DiscriminatorLoss { n: 1, objective, kl_scale: 0.0, kl_mix: 1.0, target_kl: 0.0, beta_step: 0.0 };
        let mut state = [StepState { balance: 0.6, ..StepState::new(0, 0.0) }];
        let mut dlogits = [0.0; 2];
        cpu.discriminator_loss(&d, &[0.5, 0.25], &[0.0; 2], &mut dlogits, &mut [0.0; 2], &mut state).expect("a loss");
        assert_eq!((dlogits, state[0].metrics.loss_d), ([1.0, -0.6], 0.5 - 0.6 * 0.25));
        assert_eq!((state[0].metrics.d_real, state[0].metrics.d_fake), (0.5, 0.25));
        cpu.generator_loss(&objective, &[f64::NAN], &mut [0.0], &mut [0.0], &mut state).expect("a loss");
        assert_eq!((state[0].balance, state[0].non_finite), (0.6, StepState::NON_FINITE_LOSS_G));
    }
}
