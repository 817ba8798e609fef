//! The end of a step: it is counted as done, and its figures are kept until the host asks for them.

use crate::Result;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::{Accelerator, Backend, Cpu, Metrics, Out, Real, StepState, Storage, Window};
use crate::ops::Case;
use crate::ops::pass::Pass;

/// Ending a step.
pub trait FinishStepOp: Backend {
    /// Counts the step as done, unless something was not finite, and notes its figures: those of step s (from 0) go to
    /// place s mod L of `history`, L elements long.
    fn finish_step(&self, state: Out<'_, Self, StepState>, history: Out<'_, Self, Metrics>) -> Result<()>;
}

impl<T: Real, S: Storage<T>> FinishStepOp for Cpu<T, S> {
    fn finish_step(&self, state: &mut [StepState], history: &mut [Metrics]) -> Result<()> {
        if state[0].non_finite == 0 {
            let place = state[0].step % history.len() as u64;
            history[place as usize] = state[0].metrics;
            state[0].step += 1;
        }
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> FinishStepOp for Accelerator<T, S> {
    fn finish_step(&self, state: Out<'_, Self, StepState>, history: Out<'_, Self, Metrics>) -> Result<()> {
        let arguments = arguments![state, history, history.len() as u64];
        self.launch(Kernel::FinishStep, [1, 1, 1], [1, 1, 1], &arguments)
    }
}

dry_run! {
    FinishStepOp:
    finish_step(_state, _history) => Window::default();
}

/// A ring that is not yet full, one that begins anew, one of a single place; and a step that is not to count.
pub fn cases<B: FinishStepOp>() -> Vec<Case<B>> {
    [(3, 1, false), (3, 5, false), (1, 7, false), (3, 4, true)]
        .map(|(places, step, stopped)| case(places, step, stopped))
        .into()
}

/// `stopped`: something was noted as not finite before.
fn case<B: FinishStepOp>(places: usize, step: u64, stopped: bool) -> Case<B> {
    const FIGURES: usize = size_of::<Metrics>() / size_of::<f64>();
    Case::new("finish_step", format!("step{step} of {places}{}", if stopped { " stopped" } else { "" }))
        .real_output("step", 1)
        .real_output("history", places * FIGURES)
        .forward(move |be: &B, [], [counted, noted]| {
            let figures: [f64; FIGURES] = std::array::from_fn(|i| i as f64 + 0.5);
            let non_finite = if stopped { StepState::NON_FINITE_GRADIENT_G } else { 0 };
            let before = StepState { step, non_finite, metrics: bytemuck::cast(figures), ..StepState::new(0, 0.0) };
            let (mut state, mut history) = (be.buffer_of(&[before])?, be.alloc::<Metrics>(places)?);
            be.finish_step(be.view_mut(&mut state), be.view_mut(&mut history))?;
            be.upload(&[B::Real::of(be.read(be.view(&state))?[0].step as f64)], counted.real())?;
            let history = be.read(be.view(&history))?;
            let history: Vec<_> = bytemuck::cast_slice(&history).iter().map(|&figure| B::Real::of(figure)).collect();
            be.upload(&history, noted.real())
        })
}

/// None: a single thread moves a few numbers.
pub(super) fn passes<B: FinishStepOp>() -> [Pass<B>; 0] {
    []
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_go_round_and_a_stopped_step_leaves_none() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (mut state, mut history) = ([StepState::new(0, 0.0)], [StepState::new(0, 0.0).metrics; 2]);
        for loss_d in [1.0, 2.0, 3.0] {
            state[0].metrics.loss_d = loss_d;
            cpu.finish_step(&mut state, &mut history).expect("an end");
        }
        state[0].metrics.loss_d = 4.0;
        state[0].non_finite = StepState::NON_FINITE_LOSS_D;
        cpu.finish_step(&mut state, &mut history).expect("an end");
        assert_eq!((state[0].step, history.map(|metrics| metrics.loss_d)), (3, [3.0, 2.0]));
    }
}
