//! The other term of mode regularisation in the generator's loss (Che et al. 2017, section 3.2): λ₂ E cost(D(y)), what its
//! reconstructions y = G(E(x)) of real images cost it under D, beside how far they are off ([`super::reconstruction`]).
//!
//! cost is what the generator pays for one of D's outputs, [`Objective::term`]; only its mean and its gradient are taken here,
//! and the multipliers that a loss moves from step to step stay where they are.

use super::loss_before;
use super::objective::{Loss, Objective, Side};
use crate::Result;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::{Accelerator, Backend, Cpu, Out, Real, StepState, Storage, Stored, StoredOut};
use crate::ops::models::{BATCH, image_lens};
use crate::ops::pass::{Pass, stored};
use crate::ops::{Case, CaseBuffer};

/// The term and its gradient.
pub trait ModeLossOp: Backend {
    /// From D's outputs `[N]` for the reconstructions: adds `weight` (λ₂) times their mean cost to the generator's loss in
    /// the state's metrics, and overwrites dlogits `[N]` with the gradient. A loss that is not finite is noted, unless
    /// something was noted before; β and k stay.
    fn mode_loss(
        &self,
        objective: &Objective,
        weight: f64,
        logits: Stored<'_, Self>,
        dlogits: StoredOut<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;
}

impl<T: Real, S: Storage<T>> ModeLossOp for Cpu<T, S> {
    fn mode_loss(
        &self,
        objective: &Objective,
        weight: f64,
        logits: &[S],
        dlogits: &mut [S],
        state: &mut [StepState],
    ) -> Result<()> {
        let (n, mut cost) = (logits.len() as f64, 0.0);
        for (dlogit, logit) in dlogits.iter_mut().zip(logits) {
            let term = objective.term(Side::Generator, logit.real().to_f64());
            cost += term.value;
            *dlogit = S::of_real(T::of(weight * term.derivative / n));
        }
        state[0].add_to_generator_loss(weight * cost / n);
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> ModeLossOp for Accelerator<T, S> {
    fn mode_loss(
        &self,
        objective: &Objective,
        weight: f64,
        logits: Stored<'_, Self>,
        dlogits: StoredOut<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        self.launch_sum(Kernel::ModeLoss, &arguments![objective, weight, logits.len(), logits, dlogits, state])
    }
}

dry_run! {
    ModeLossOp:
    mode_loss(_objective: &Objective, _weight: f64, logits, dlogits, _state) => logits + dlogits;
}

/// The cost of an output by every loss; one output, and more than a block has threads.
pub fn cases<B: ModeLossOp>() -> Vec<Case<B>> {
    Loss::ALL.iter().map(|&loss| case(17, loss)).chain([1, 261].map(|n| case(n, Loss::Ns))).collect()
}

/// The loss, and what the term must leave alone. Gradient checks list it with the other term of mode regularisation.
fn case<B: ModeLossOp>(n: usize, loss: Loss) -> Case<B> {
    let case = Case::new("reconstruction", format!("mode n{n} {loss:?}")).input("logits", n);
    let case = case.real_output("loss", 1).real_output("beta", 1).real_output("balance", 1);
    super::with_gradient(case, move |be: &B, [logits]| {
        let (mut dlogits, mut state) = (be.alloc(n)?, loss_before(be)?);
        be.mode_loss(&Objective::new(loss), 0.4, logits.stored(), be.view_mut(&mut dlogits), be.view_mut(&mut state))?;
        let state = be.read(be.view(&state))?[0];
        Ok(([state.metrics.loss_g, state.beta, state.balance], [CaseBuffer::of_stored("dlogits", dlogits)]))
    })
}

/// On the reconstructions of the models' images. Benchmarks list it with the other term of mode regularisation.
pub(super) fn passes<B: ModeLossOp>() -> [Pass<B>; 2] {
    let objective = Objective::new(Loss::Ns);
    image_lens().map(|len| {
        let (op, shape) = ("reconstruction", format!("n{BATCH} len{len}"));
        Pass::of(op, shape, "mode", [stored(BATCH)], [stored(BATCH)], move |be: &B, [logits], [dlogits], state| {
            be.mode_loss(&objective, 0.4, logits.stored(), dlogits.stored(), state)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_cost_by_hand() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (mut state, mut dlogits) = (loss_before(&cpu).expect("a state"), [f64::NAN; 2]);
        let objective = Objective { balance_step: 0.1, ..Objective::new(Loss::Began) };
        cpu.mode_loss(&objective, 0.5, &[1.0, 3.0], &mut dlogits, &mut state).expect("a loss");
        assert_eq!((state[0].metrics.loss_g, dlogits), (0.25 + 1.0, [0.25, 0.25]));
        assert_eq!((state[0].beta, state[0].balance, state[0].metrics.convergence), (0.7, 0.6, 0.0), "BEGAN's k stays");
    }

    #[test]
    fn what_is_not_finite_is_noted() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        for (bad, expected) in
            [(1.0, 0), (f64::NAN, StepState::NON_FINITE_LOSS_G), (f64::INFINITY, StepState::NON_FINITE_LOSS_G)]
        {
            let mut state = loss_before(&cpu).expect("a state");
            cpu.mode_loss(&Objective::new(Loss::Ns), 0.4, &[-bad], &mut [0.0], &mut state).expect("a loss");
            assert_eq!(state[0].non_finite, expected, "an output of {bad}");
        }
    }
}
