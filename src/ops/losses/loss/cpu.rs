//! The losses on the CPU: twins of kernels/losses/loss.cu.

use bytemuck::Zeroable;

use super::{DiscriminatorLoss, LossOp, Part};
use crate::Result;
use crate::device::{Cpu, Metrics, Real, StepState, Storage};
use crate::ops::losses::objective::{Objective, Side, Term};

/// The mean cost of a part's outputs on a side, times `weight`, and the mean output, each times the part's share; writes the gradient of
/// the former.
fn mean_terms<T: Real, S: Storage<T>>(
    objective: &Objective,
    side: Side,
    weight: f64,
    share: f64,
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
        *dlogit = S::of_real(T::of(share * weight * derivative / count));
    }
    (share * weight * loss / count, share * output / count)
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
        let share = d.part.share();
        let (loss_real, d_real) = mean_terms(&d.objective, Side::Real, 1.0, share, &logits[..d.n], d_logits_real);
        let (loss_fake, d_fake) = mean_terms(&d.objective, Side::Fake, weight, share, &logits[d.n..], d_logits_fake);
        let before = if d.part.index == 0 { Metrics::zeroed() } else { state.metrics };
        let reduced = |kl: &[T]| share * kl.iter().map(|v| v.to_f64()).sum::<f64>() * d.kl_scale / d.n as f64;
        let (kl_real, kl_fake) = (before.kl_real + reduced(&kl[..d.n]), before.kl_fake + reduced(&kl[d.n..]));
        let mut loss_d = before.loss_d + (loss_real + loss_fake);
        if d.kl_scale > 0.0 {
            dkl.fill(T::of(share * state.beta * d.kl_mix * d.kl_scale / d.n as f64));
        }
        if d.kl_scale > 0.0 && d.part.is_last() {
            let constraint = d.kl_mix * ((kl_real - d.target_kl) + (kl_fake - d.target_kl));
            loss_d += state.beta * constraint;
            if loss_d.is_finite() && state.non_finite == 0 {
                state.beta = (state.beta + d.beta_step * constraint).max(0.0);
            }
        }
        state.note_unless_finite(loss_d, StepState::NON_FINITE_LOSS_D);
        let (beta, balance) = (state.beta, state.balance);
        let (d_real, d_fake) = (before.d_real + d_real, before.d_fake + d_fake);
        state.metrics = Metrics { loss_d, beta, kl_real, kl_fake, d_real, d_fake, balance, ..before };
        Ok(())
    }

    fn generator_loss(
        &self,
        objective: &Objective,
        part: Part,
        logits: &[S],
        dlogits: &mut [S],
        dkl: &mut [T],
        state: &mut [StepState],
    ) -> Result<()> {
        let (loss_g, _) = mean_terms(objective, Side::Generator, 1.0, part.share(), logits, dlogits);
        dkl.fill(T::ZERO);
        let loss_g = if part.index == 0 { loss_g } else { state[0].metrics.loss_g + loss_g };
        state[0].metrics.loss_g = loss_g;
        state[0].note_unless_finite(loss_g, StepState::NON_FINITE_LOSS_G);
        if objective.loss.is_balanced() && part.is_last() {
            step_balance(objective, loss_g, &mut state[0]);
        }
        Ok(())
    }
}
