//! The losses of a step: value and gradient in one pass, with β's update (Peng et al. 2018, Eq. 8 and 9; the article's
//! notebook).
//!
//! loss_d = mean cost of real + mean cost of fake + β · C,  C = m [(KL_real − I_c) + (KL_fake − I_c)],
//! β ← max(0, β + α_β · C);  loss_g = mean cost of G's images.
//!
//! The objective says what one output of D costs ([`Objective::term`]); m is 1 where the settings sum real and
//! fake, ½ where they mix.
//!
//! A batch whose gradients accumulate comes in equal parts, one call each. What a part costs then counts 1 / parts: gradients are those
//! of the whole batch's mean, figures add up over the parts, and β moves at the last one, by the whole batch's KL.
//!
//! Multipliers that a loss moves in the same way as β belong here too. `Began` multiplies what fake images cost D by k, and
//! k ← clip(k + λ_k (γ L(x) − L(G(z))), 0, 1), L(x) being the mean energy of the discriminator's real images and L(G(z)) that
//! of the generator's images in its own step (Berthelot et al. 2017, section 3.3). The measure of convergence is L(x) +
//! |γ L(x) − L(G(z))|.

mod cpu;

use super::objective::{KernelObjective, Loss, Objective};
use super::{put, with_gradient};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::{
    Accelerator, Argument, Backend, Buffer, In, Metrics, Out, Real, StepState, Storage, Stored, StoredBuffer, StoredOut,
};
use crate::ops::models::BATCH;
use crate::ops::pass::{Pass, real, stored};
use crate::ops::{Case, CaseBuffer, Fill};

/// One of the equal parts of a batch whose gradients accumulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 0.
    pub index: usize,
    /// The parts of the batch.
    pub count: usize,
}

impl Part {
    /// A batch in one piece.
    pub const WHOLE: Part = Part { index: 0, count: 1 };

    /// The part of the batch's mean that is the part's own: 1 / parts.
    pub fn share(self) -> f64 {
        1.0 / self.count as f64
    }

    fn for_kernels(self) -> [i32; 2] {
        [self.index, self.count].map(int)
    }

    /// Returns true if no other part comes before it.
    pub fn is_first(self) -> bool {
        self.index == 0
    }

    /// Returns true if no other part comes after it.
    pub fn is_last(self) -> bool {
        self.index + 1 == self.count
    }
}

/// Sizes and constants of the discriminator's loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DiscriminatorLoss {
    /// Images of each kind, in this part.
    pub n: usize,
    /// The part of the batch.
    pub part: Part,
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
    /// The first part of a batch begins the metrics anew, and the later ones add to them; β moves with the last.
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

    /// From the fake images' logits `[N]`, of a part of the batch: overwrites dlogits `[N]` and, with the first part, the metric; dkl is zeroed, since the generator
    /// does not pay for information. A loss that is not finite is noted as in the discriminator's.
    fn generator_loss(
        &self,
        objective: &Objective,
        part: Part,
        logits: Stored<'_, Self>,
        dlogits: StoredOut<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;
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
    part: [i32; 2],
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
        let DiscriminatorLoss { n, part, objective, kl_scale, kl_mix, target_kl, beta_step } = *d;
        let objective = objective.for_kernels();
        let part = part.for_kernels();
        let d = KernelLoss { kl_scale, kl_mix, target_kl, beta_step, objective, n: int(n), part, padding: 0 };
        let arguments = arguments![Argument::new(d), logits, kl, dlogits, dkl, state];
        self.launch_sum(Kernel::DiscriminatorLoss, &arguments)
    }

    fn generator_loss(
        &self,
        objective: &Objective,
        part: Part,
        logits: Stored<'_, Self>,
        dlogits: StoredOut<'_, Self>,
        dkl: Out<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let part = Argument::new(part.for_kernels());
        let arguments = arguments![objective, part, logits.len(), dkl.len(), logits, dlogits, dkl, state];
        self.launch_sum(Kernel::GeneratorLoss, &arguments)
    }
}

dry_run! {
    LossOp:
    discriminator_loss(_d: &DiscriminatorLoss, logits, kl, dlogits, dkl, _state) => logits + kl + dlogits + dkl;
    generator_loss(_objective: &Objective, _part: Part, logits, dlogits, dkl, _state) => logits + dlogits + dkl;
}

/// Both losses of every objective, every reduction and mix; β is 0.7, k 0.6. Then β's step: up, down, and stopped at 0; and
/// that of k: in between, and stopped at either end.
pub fn cases<B: LossOp>() -> Vec<Case<B>> {
    let ns = Objective::new(Loss::Ns);
    let discriminator = |n, objective, kl_scale, kl_mix| {
        discriminator_case(DiscriminatorLoss {
            n,
            part: Part::WHOLE,
            objective,
            kl_scale,
            kl_mix,
            target_kl: 0.1,
            beta_step: 0.0,
        })
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
        beta_case(DiscriminatorLoss {
            n,
            part: Part::WHOLE,
            objective: ns,
            kl_scale: 0.5,
            kl_mix: 0.5,
            target_kl,
            beta_step,
        })
    }));
    cases.extend([(1, 0.3), (17, 90.0), (300, -90.0)].map(|(n, real)| balance_case(n, real)));
    cases.extend([0, 1, 2].map(part_case));
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
        be.generator_loss(&objective, Part::WHOLE, logits.stored(), d_logits, d_kl, be.view_mut(&mut state))?;
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
            be.generator_loss(&objective, Part::WHOLE, energies.stored(), d_logits, d_kl, be.view_mut(&mut state))?;
            let StepState { balance, metrics, .. } = be.read(be.view(&state))?[0];
            put(be, [balance, metrics.convergence, metrics.loss_g], outputs)
        })
}

/// Both losses of one of three parts of a batch, on figures of the parts before it: what they make of figures, β and k.
fn part_case<B: LossOp>(index: usize) -> Case<B> {
    let (n, part) = (5, Part { index, count: 3 });
    let case = case(format!("part {index} of 3"), 2 * n);
    let outputs = ["beta", "balance", "loss_d", "kl_fake", "d_real", "loss_g"];
    let case = outputs.into_iter().fold(case, |case, name| case.real_output(name, 1));
    case.output("dlogits", 2 * n).output("dlogits_g", n).real_output("dkl", 2 * n).forward(
        move |be: &B, [logits, kl], [beta, balance, loss_d, kl_fake, d_real, loss_g, dlogits, dlogits_g, dkl]| {
            let objective = Objective { balance_ratio: 0.4, balance_step: 0.02, ..Objective::new(Loss::Began) };
            let (kl_scale, kl_mix, target_kl, beta_step) = (0.25, 0.5, 0.1, 0.01);
            let d = DiscriminatorLoss { n, part, objective, kl_scale, kl_mix, target_kl, beta_step };
            let before = StepState { balance: 0.6, ..StepState::new(0, 0.7) };
            let metrics =
                Metrics { loss_d: 0.5, kl_real: 0.25, kl_fake: 0.75, d_real: 2.0, loss_g: 1.5, ..before.metrics };
            let mut state = be.buffer_of(&[StepState { metrics, ..before }])?;
            let mut none = be.alloc(n)?;
            be.discriminator_loss(
                &d,
                logits.stored(),
                kl.real(),
                dlogits.stored(),
                dkl.real(),
                be.view_mut(&mut state),
            )?;
            let fakes = be.slice(logits.stored(), n..2 * n);
            let (dkl, state_g) = (be.view_mut(&mut none), be.view_mut(&mut state));
            be.generator_loss(&objective, part, fakes, dlogits_g.stored(), dkl, state_g)?;
            let StepState { beta: b, balance: k, metrics: m, .. } = be.read(be.view(&state))?[0];
            put(be, [b, k, m.loss_d, m.kl_fake, m.d_real, m.loss_g], [beta, balance, loss_d, kl_fake, d_real, loss_g])
        },
    )
}

/// At the sizes of the models.
pub(super) fn passes<B: LossOp>() -> [Pass<B>; 2] {
    let (n, objective, shape) = (BATCH, Objective::new(Loss::Ns), format!("n{BATCH}"));
    let d = DiscriminatorLoss {
        n,
        part: Part::WHOLE,
        objective,
        kl_scale: 1.0 / 6272.0,
        kl_mix: 1.0,
        target_kl: 0.2,
        beta_step: 1e-6,
    };
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
                be.generator_loss(&objective, Part::WHOLE, logits.stored(), dlogits.stored(), dkl.real(), state)
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Cpu;

    #[test]
    fn beta_follows_the_constraint_and_stops_at_zero() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        // KL 1 and 3 of one image each, so C = ½ (1 + 3) − I_c.
        for (target_kl, expected) in [(0.5, 0.7 + 0.1 * 1.5), (4.0, 0.7 - 0.1 * 2.0), (100.0, 0.0)] {
            let objective = Objective::new(Loss::Ns);
            let (kl_scale, kl_mix) = (1.0, 0.5);
            let case = beta_case(DiscriminatorLoss {
                n: 1,
                part: Part::WHOLE,
                objective,
                kl_scale,
                kl_mix,
                target_kl,
                beta_step: 0.1,
            });
            let outputs = case.outputs_of(&cpu, &[vec![0.0; 2], vec![1.0, 3.0]]).expect("a loss");
            assert!((outputs[0][0] - expected).abs() < 1e-15, "{target_kl}: {outputs:?}");
            // The gradient is by the β before the step.
            assert_eq!(outputs[2], [0.35, 0.35]);
        }
    }

    /// Two parts of two images against one of four: the same figures, gradients, β and k.
    #[test]
    fn parts_add_up_to_the_whole() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let objective = Objective { balance_ratio: 0.4, balance_step: 0.02, ..Objective::new(Loss::Began) };
        let run = |count: usize| {
            let n = 4 / count;
            let (logits, kl) =
                ([0.3, 1.5, 0.25, 2.0, 0.75, 0.5, 1.0, 0.125], [1.0, 3.0, 0.5, 0.0, 2.0, 1.5, 0.25, 4.0]);
            let mut state = [StepState { balance: 0.6, ..StepState::new(0, 0.7) }];
            let (mut all, mut of_g) = (Vec::new(), Vec::new());
            for index in 0..count {
                let part = Part { index, count };
                let of = |values: &[f64]| [&values[index * n..][..n], &values[4 + index * n..][..n]].concat();
                let (kl_scale, kl_mix, target_kl, beta_step) = (0.25, 1.0, 0.1, 0.01);
                let d = DiscriminatorLoss { n, part, objective, kl_scale, kl_mix, target_kl, beta_step };
                let (mut dlogits, mut dkl) = (vec![0.0; 2 * n], vec![0.0; 2 * n]);
                cpu.discriminator_loss(&d, &of(&logits), &of(&kl), &mut dlogits, &mut dkl, &mut state).expect("a loss");
                all.extend(dlogits[..n].iter().chain(&dkl).copied());
            }
            for index in 0..count {
                let (part, logits) = (Part { index, count }, &logits[4 + index * n..][..n]);
                let mut dlogits = vec![0.0; n];
                cpu.generator_loss(&objective, part, logits, &mut dlogits, &mut vec![0.0; n], &mut state)
                    .expect("a loss");
                of_g.extend(dlogits);
            }
            let [StepState { beta, balance, metrics, .. }] = state;
            all.sort_by(f64::total_cmp);
            [
                all,
                of_g,
                vec![beta, balance],
                bytemuck::bytes_of(&metrics)
                    .chunks_exact(8)
                    .map(|bytes| f64::from_ne_bytes(bytes.try_into().expect("eight")))
                    .collect(),
            ]
            .concat()
        };
        let (whole, parts) = (run(1), run(2));
        assert!(whole.iter().zip(&parts).all(|(a, b)| (a - b).abs() < 1e-14), "{whole:?} {parts:?}");
        assert!(whole.iter().all(|value| value.is_finite()) && whole.len() == parts.len());
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
        let d = DiscriminatorLoss {
            n: 1,
            part: Part::WHOLE,
            objective,
            kl_scale: 0.0,
            kl_mix: 1.0,
            target_kl: 0.0,
            beta_step: 0.0,
        };
        let mut state = [StepState { balance: 0.6, ..StepState::new(0, 0.0) }];
        let mut dlogits = [0.0; 2];
        cpu.discriminator_loss(&d, &[0.5, 0.25], &[0.0; 2], &mut dlogits, &mut [0.0; 2], &mut state).expect("a loss");
        assert_eq!((dlogits, state[0].metrics.loss_d), ([1.0, -0.6], 0.5 - 0.6 * 0.25));
        assert_eq!((state[0].metrics.d_real, state[0].metrics.d_fake), (0.5, 0.25));
        cpu.generator_loss(&objective, Part::WHOLE, &[f64::NAN], &mut [0.0], &mut [0.0], &mut state).expect("a loss");
        assert_eq!((state[0].balance, state[0].non_finite), (0.6, StepState::NON_FINITE_LOSS_G));
    }
}
