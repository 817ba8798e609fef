//! The losses of a step: value and gradient in one pass, with β's update (Peng et al. 2018, Eq. 8 and 9; the article's
//! notebook).
//!
//! loss_d = mean cost of real + mean cost of fake + β · C,  C = m [(KL_real − I_c) + (KL_fake − I_c)],
//! β ← max(0, β + α_β · C);  loss_g = mean cost of G's images.
//!
//! The objective says what one output of D costs ([`Objective::term`]); m is 1 where the settings sum real and
//! fake, ½ where they mix.
//!
//! Multipliers that a loss moves in the same way as β belong here too. `Began` multiplies what fake images cost D by k, and
//! k ← clip(k + λ_k (γ L(x) − L(G(z))), 0, 1), L(x) being the mean energy of the discriminator's real images and L(G(z)) that
//! of the generator's images in its own step (Berthelot et al. 2017, section 3.3). The measure of convergence is L(x) +
//! |γ L(x) − L(G(z))|.

use bytemuck::Zeroable;

use super::objective::{KernelObjective, Loss, Objective, Side, Term};
use super::{put, with_gradient};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::{
    Accelerator, Argument, Backend, Buffer, Cpu, In, Metrics, Out, Real, StepState, Storage, Stored, StoredBuffer,
    StoredOut,
};
use crate::ops::models::BATCH;
use crate::ops::pass::{Pass, real, stored};
use crate::ops::{Case, CaseBuffer, Fill};

/// Sizes and constants of the discriminator's loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiscriminatorLoss {
    /// Images of each kind.
    pub n: usize,
    /// The cost of an output.
    pub objective: Objective,
    /// The factor of the sum of one image's KL: 1, 1 / dimensions or 1 / positions. 0 without a bottleneck.
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
        logits: Stored<'_, Self>,
        kl: In<'_, Self>,
        dlogits: StoredOut<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;

    /// From the fake images' logits `[N]`: overwrites dlogits `[N]` and the metric; dkl is zeroed, since the generator
    /// does not pay for information. A loss that is not finite is noted as in the discriminator's.
    fn generator_loss(
        &self,
        objective: &Objective,
        logits: Stored<'_, Self>,
        dlogits: StoredOut<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;
}

/// The mean cost of the outputs on a side, times `weight`, and the mean output; writes the gradient of the former.
fn mean_terms<T: Real, S: Storage<T>>(
    objective: &Objective,
    side: Side,
    weight: f64,
    logits: &[S],
    dlogits: &mut [S],
) -> (f64, f64) {
    let count = logits.len() as f64;
    let (mut loss, mut output) = (0.0, 0.0);
    for (dlogit, logit) in dlogits.iter_mut().zip(logits) {
        let logit = logit.real().to_f64();
        let Term { value, derivative } = objective.term(side, logit);
        loss += value;
        output += objective.output(logit);
        *dlogit = S::of_real(T::of(weight * derivative / count));
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

impl<T: Real, S: Storage<T>> LossOp for Cpu<T, S> {
    fn discriminator_loss(
        &self,
        d: &DiscriminatorLoss,
        logits: &[S],
        kl: &[T],
        dlogits: &mut [S],
        dkl: &mut [T],
        state: &mut [StepState],
    ) -> Result<()> {
        let state = &mut state[0];
        let (d_logits_real, d_logits_fake) = dlogits.split_at_mut(d.n);
        let weight = if d.objective.loss.is_balanced() { state.balance } else { 1.0 };
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
        logits: &[S],
        dlogits: &mut [S],
        dkl: &mut [T],
        state: &mut [StepState],
    ) -> Result<()> {
        let (loss_g, _) = mean_terms(objective, Side::Generator, 1.0, logits, dlogits);
        dkl.fill(T::ZERO);
        state[0].metrics.loss_g = loss_g;
        state[0].note_unless_finite(loss_g, StepState::NON_FINITE_LOSS_G);
        if objective.loss.is_balanced() {
            step_balance(objective, loss_g, &mut state[0]);
        }
        Ok(())
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

impl<T: Real, S: Storage<T>> LossOp for Accelerator<T, S> {
    fn discriminator_loss(
        &self,
        d: &DiscriminatorLoss,
        logits: Stored<'_, Self>,
        kl: In<'_, Self>,
        dlogits: StoredOut<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let DiscriminatorLoss { n, objective, kl_scale, kl_mix, target_kl, beta_step } = *d;
        let objective = objective.for_kernels();
        let d = KernelLoss { kl_scale, kl_mix, target_kl, beta_step, objective, n: int(n), padding: 0 };
        let arguments = arguments![Argument::new(d), logits, kl, dlogits, dkl, state];
        self.launch_sum(Kernel::DiscriminatorLoss, &arguments)
    }

    fn generator_loss(
        &self,
        objective: &Objective,
        logits: Stored<'_, Self>,
        dlogits: StoredOut<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let arguments = arguments![objective, logits.len(), dkl.len(), logits, dlogits, dkl, state];
        self.launch_sum(Kernel::GeneratorLoss, &arguments)
    }
}

dry_run! {
    LossOp:
    discriminator_loss(_d: &DiscriminatorLoss, logits, kl, dlogits, dkl, _state) => logits + kl + dlogits + dkl;
    generator_loss(_objective: &Objective, logits, dlogits, dkl, _state) => logits + dlogits + dkl;
}

/// Both losses of every objective, every reduction and mix; β is 0.7, k 0.6. Then β's step: up, down, and stopped at 0; and
/// that of k: in between, and stopped at either end.
pub fn cases<B: LossOp>() -> Vec<Case<B>> {
    let ns = Objective::new(Loss::Ns);
    let discriminator = |n, objective, kl_scale, kl_mix| {
        discriminator_case(DiscriminatorLoss { n, objective, kl_scale, kl_mix, target_kl: 0.1, beta_step: 0.0 })
    };
    let mut cases = vec![
        discriminator(1, ns, 1.0, 1.0),
        discriminator(3, ns, 0.25, 0.5),
        discriminator(33, ns, 0.0, 1.0),
        discriminator(17, Objective { real_target: 0.9, ..ns }, 0.0, 1.0),
        generator_case(1, ns),
    ];
    for &loss in Loss::ALL {
        let objective = Objective { loss, ..ns };
        cases.extend([discriminator(17, objective, 0.125, 1.0), generator_case(17, objective)]);
    }
    cases.extend([(3, 0.1, 0.01), (17, 5.0, 0.01), (5, 100.0, 1.0)].map(|(n, target_kl, beta_step)| {
        beta_case(DiscriminatorLoss { n, objective: ns, kl_scale: 0.5, kl_mix: 0.5, target_kl, beta_step })
    }));
    cases.extend([(1, 0.3), (17, 90.0), (300, -90.0)].map(|(n, real)| balance_case(n, real)));
    cases
}

/// A case of `n` logits and as many KL: those of a batch, or of both halves of a discriminator's.
fn case<B: LossOp>(name: String, n: usize) -> Case<B> {
    // Away from the hinge's kinks at ±1.
    let logits = Case::new("loss", name).filled_input("logits", n, Fill::AwayFromOne);
    logits.filled_real_input("kl", n, Fill::Uniform(0.0, 4.0))
}

/// The gradients of such a case.
fn gradients<B: LossOp>(dlogits: StoredBuffer<B>, dkl: Buffer<B>) -> [CaseBuffer<B>; 2] {
    [CaseBuffer::of_stored("dlogits", dlogits), CaseBuffer::of_real("dkl", dkl)]
}

/// A state before a case's loss.
fn before<B: LossOp>(be: &B) -> Result<Buffer<B, StepState>> {
    be.buffer_of(&[StepState { balance: 0.6, ..StepState::new(0, 0.7) }])
}

fn discriminator_case<B: LossOp>(d: DiscriminatorLoss) -> Case<B> {
    let DiscriminatorLoss { n, objective: Objective { loss, real_target, .. }, kl_scale, kl_mix, .. } = d;
    let name = format!("discriminator {loss:?} to {real_target} n{n} kl_scale{kl_scale} kl_mix{kl_mix}");
    with_gradient(case(name, 2 * n).real_output("loss", 1), move |be: &B, [logits, kl]| {
        let (mut dlogits, mut dkl, mut state) = (be.alloc(2 * n)?, be.alloc(2 * n)?, before(be)?);
        let (d_logits, d_kl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
        be.discriminator_loss(&d, logits.stored(), kl.real(), d_logits, d_kl, be.view_mut(&mut state))?;
        Ok(([be.read(be.view(&state))?[0].metrics.loss_d], gradients(dlogits, dkl)))
    })
}

fn generator_case<B: LossOp>(n: usize, objective: Objective) -> Case<B> {
    let case = case(format!("generator {:?} n{n}", objective.loss), n).real_output("loss", 1);
    with_gradient(case, move |be: &B, [logits, _]| {
        let (mut dlogits, mut dkl, mut state) = (be.alloc(n)?, be.alloc(n)?, before(be)?);
        let (d_logits, d_kl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
        be.generator_loss(&objective, logits.stored(), d_logits, d_kl, be.view_mut(&mut state))?;
        Ok(([be.read(be.view(&state))?[0].metrics.loss_g], gradients(dlogits, dkl)))
    })
}

/// The discriminator's loss with a step of β. Its outputs are the state after it, not a function to differentiate.
fn beta_case<B: LossOp>(d: DiscriminatorLoss) -> Case<B> {
    let DiscriminatorLoss { n, target_kl, beta_step, .. } = d;
    case(format!("beta n{n} target_kl{target_kl} beta_step{beta_step}"), 2 * n)
        .real_output("beta", 1)
        .real_output("loss", 1)
        .real_output("dkl", 2 * n)
        .forward(move |be: &B, [logits, kl], [beta, loss, dkl]| {
            let (mut dlogits, mut state) = (be.alloc(2 * n)?, be.buffer_of(&[StepState::new(0, 0.7)])?);
            let (d_logits, noted) = (be.view_mut(&mut dlogits), be.view_mut(&mut state));
            be.discriminator_loss(&d, logits.stored(), kl.real(), d_logits, dkl.real(), noted)?;
            let state = be.read(be.view(&state))?[0];
            put(be, [state.beta, state.metrics.loss_d], [beta, loss])
        })
}

/// The generator's loss with a step of k from 0.6, after a discriminator's whose real images had the mean energy `real`.
fn balance_case<B: LossOp>(n: usize, real: f64) -> Case<B> {
    Case::new("loss", format!("balance n{n} real{real}"))
        .filled_input("energies", n, Fill::Uniform(0.0, 1.0))
        .real_output("balance", 1)
        .real_output("convergence", 1)
        .real_output("loss", 1)
        .forward(move |be: &B, [energies], outputs| {
            let objective = Objective { balance_ratio: 0.4, balance_step: 0.02, ..Objective::new(Loss::Began) };
            let before = StepState { balance: 0.6, ..StepState::new(0, 0.7) };
            let metrics = Metrics { d_real: real, ..before.metrics };
            let mut state = be.buffer_of(&[StepState { metrics, ..before }])?;
            let (mut dlogits, mut dkl) = (be.alloc(n)?, be.alloc(n)?);
            let (d_logits, d_kl) = (be.view_mut(&mut dlogits), be.view_mut(&mut dkl));
            be.generator_loss(&objective, energies.stored(), d_logits, d_kl, be.view_mut(&mut state))?;
            let StepState { balance, metrics, .. } = be.read(be.view(&state))?[0];
            put(be, [balance, metrics.convergence, metrics.loss_g], outputs)
        })
}

/// At the sizes of the models.
pub(super) fn passes<B: LossOp>() -> [Pass<B>; 2] {
    let (n, objective, shape) = (BATCH, Objective::new(Loss::Ns), format!("n{BATCH}"));
    let d = DiscriminatorLoss { n, objective, kl_scale: 1.0 / 6272.0, kl_mix: 1.0, target_kl: 0.2, beta_step: 1e-6 };
    let both = || [stored(2 * n), real(2 * n)];
    [
        Pass::of(
            "loss",
            shape.clone(),
            "discriminator",
            both(),
            both(),
            move |be: &B, [logits, kl], [dl, dkl], state| {
                be.discriminator_loss(&d, logits.stored(), kl.real(), dl.stored(), dkl.real(), state)
            },
        ),
        Pass::of(
            "loss",
            shape,
            "generator",
            [stored(n)],
            [stored(n), real(n)],
            move |be: &B, [logits], [dlogits, dkl], state| {
                be.generator_loss(&objective, logits.stored(), dlogits.stored(), dkl.real(), state)
            },
        ),
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
            let case = beta_case(DiscriminatorLoss { n: 1, objective, kl_scale, kl_mix, target_kl, beta_step: 0.1 });
            let outputs = case.outputs_of(&cpu, &[vec![0.0; 2], vec![1.0, 3.0]]).expect("a loss");
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
            let outputs = balance_case(2, real).outputs_of(&cpu, &[vec![0.1, 0.4]]).expect("a loss");
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
