//! Agreement of the ranks on a network's gradients, when each checks a share of its own: a gradient that one rank finds not finite counts
//! for all, and no rank's weights change.

use crate::Result;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::{Accelerator, Backend, Cpu, In, Network, Out, Real, StepState, Storage};
use crate::ops::Case;
use crate::ops::pass::Pass;

/// The agreement.
pub trait AgreeOp: Backend {
    /// `states` are those of all ranks, in rank order, after each has checked its share of a network's gradients. `non_finite` becomes
    /// the first that a rank has noted, and the network's updates those of a rank that has counted none for it.
    fn agree_on_gradients(
        &self,
        network: Network,
        states: In<'_, Self, StepState>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;
}

impl<T: Real, S: Storage<T>> AgreeOp for Cpu<T, S> {
    fn agree_on_gradients(&self, network: Network, states: &[StepState], state: &mut [StepState]) -> Result<()> {
        let StepState { non_finite, updates, .. } = &mut state[0];
        *non_finite = states.iter().map(|other| other.non_finite).find(|&noted| noted != 0).unwrap_or(0);
        let counted = states.iter().map(|other| other.updates[network as usize]).min();
        updates[network as usize] = counted.unwrap_or(updates[network as usize]);
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> AgreeOp for Accelerator<T, S> {
    fn agree_on_gradients(
        &self,
        network: Network,
        states: In<'_, Self, StepState>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        let arguments = arguments![network as i32, states, states.len(), state];
        self.launch(Kernel::AgreeOnGradients, [1, 1, 1], [1, 1, 1], &arguments)
    }
}

dry_run! {
    AgreeOp:
    agree_on_gradients(_network: Network, states, _state) => states;
}

/// One rank and several; nothing noted, something by one in the middle, and by all; and a network whose update was counted by some.
pub fn cases<B: AgreeOp>() -> Vec<Case<B>> {
    let (loss, gradient) = (StepState::NON_FINITE_LOSS_D, StepState::NON_FINITE_GRADIENT_G);
    [vec![0], vec![0, 0, 0], vec![0, gradient, 0, 0], vec![loss, loss]].into_iter().map(case).collect()
}

/// `noted`: by each rank. One that has noted something has counted no update.
fn case<B: AgreeOp>(noted: Vec<u64>) -> Case<B> {
    Case::new("agree", format!("{noted:?}"))
        .real_output("updates", Network::COUNT)
        .real_output("non_finite", 1)
        .forward(move |be: &B, [], [updates, non_finite]| {
            let state = |&non_finite: &u64| {
                let counted = 2 + u64::from(non_finite == 0);
                StepState { non_finite, updates: [5, counted, 7], ..StepState::new(0, 0.0) }
            };
            let states: Vec<StepState> = noted.iter().map(state).collect();
            let (states, mut own) = (be.buffer_of(&states)?, be.buffer_of(&states[states.len() - 1..])?);
            be.agree_on_gradients(Network::Generator, be.view(&states), be.view_mut(&mut own))?;
            let after = be.read(be.view(&own))?[0];
            be.upload(&after.updates.map(|count| B::Real::of(count as f64)), updates.real())?;
            be.upload(&[B::Real::of(after.non_finite as f64)], non_finite.real())
        })
}

/// None: a few numbers, in steps of several ranks alone.
pub(super) fn passes<B: AgreeOp>() -> [Pass<B>; 0] {
    []
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_rank_has_found_is_so_for_all() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("a thread");
        let state = |non_finite, counted| StepState { non_finite, updates: [0, counted, 0], ..StepState::new(0, 0.0) };
        let states = [state(0, 3), state(StepState::NON_FINITE_GRADIENT_G, 2), state(0, 3)];
        for own in states {
            let mut own = [own];
            cpu.agree_on_gradients(Network::Generator, &states, &mut own).expect("an agreement");
            assert_eq!((own[0].non_finite, own[0].updates), (StepState::NON_FINITE_GRADIENT_G, [0, 2, 0]));
        }
    }
}
