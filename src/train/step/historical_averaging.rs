//! Historical averaging (Salimans et al. 2016, section 3.3): both players are pulled to the mean of their parameters so far.

use super::model::Model;
use crate::Result;
use crate::device::Network;
use crate::ops::Executor;

/// Adds the pull to a network's loss and gradients, where the settings ask for it. The image encoder has none: it is no
/// player of the game, and the source averages the players alone.
///
/// # Errors
/// Those of the device.
pub(super) fn add_gradients<B: Executor>(model: &mut Model<B>, network: Network) -> Result<()> {
    let weight = model.settings.objective.historical_averaging;
    let (backend, Some(memory), state) = model.split(network) else { return Ok(()) };
    let Some(mean) = &mut memory.historical_mean else { return Ok(()) };
    let params = backend.view(&memory.params);
    backend.historical_mean(network, params, backend.view(state), backend.view_mut(mean))?;
    let gradients = backend.view_mut(&mut memory.gradients);
    backend.historical_penalty(network, weight, params, backend.view(mean), gradients, backend.view_mut(state))
}
