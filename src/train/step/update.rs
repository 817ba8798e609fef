//! The updates that end a half of a step: optimisers, clipped weights, the generator's moving average.

use super::model::{Average, Model};
use crate::Result;
use crate::config::{OptimizerKind, OptimizerSettings};
use crate::device::Network;
use crate::nn::Sharing;
use crate::ops::Executor;
use crate::ops::optimizers::adam::Adam;
use crate::ops::optimizers::rmsprop::Rmsprop;

/// Checks a network's gradients and takes the optimiser's step with them; the discriminator's weights are then clipped, if
/// that is asked for. Where the ranks share the moments, each updates its share, and all are told of the others'. The image encoder moves at the generator's rate; nothing is done where there is none.
///
/// # Errors
/// Those of the device.
pub(super) fn update<B: Executor>(model: &mut Model<B>, network: Network) -> Result<()> {
    let clip = model.settings.objective.clip;
    let OptimizerSettings { kind, beta1, beta2, decay, epsilon, .. } = model.settings.optimizer;
    let schedule = model.settings.optimizer.rates();
    let lr = match network {
        Network::Discriminator => model.settings.optimizer.discriminator_lr,
        Network::Generator | Network::Encoder => model.settings.optimizer.generator_lr,
    };
    let (backend, Some(memory), state) = model.split(network) else { return Ok(()) };
    backend.check_gradients(network, backend.view(&memory.gradients), backend.view_mut(state))?;
    if let Some(Sharing { states, .. }) = &mut memory.sharing {
        backend.gather_from_ranks(backend.view(state), backend.view_mut(states))?;
        backend.agree_on_gradients(network, backend.view(states), backend.view_mut(state))?;
    }
    let state = backend.view(state);
    for (arena, moments) in memory.pieces() {
        if arena.is_empty() {
            continue;
        }
        let gradients = backend.part(&memory.gradients, arena.clone());
        let weights = backend.part_mut(&mut memory.params, arena.clone());
        let second = backend.part_mut(&mut memory.second_moments, moments.clone());
        let rounded = memory.rounded.to_write(backend).map(|rounded| backend.slice_mut(rounded, arena));
        match kind {
            OptimizerKind::Adam => {
                let d = Adam { network, lr, beta1, beta2, epsilon, schedule };
                let first = backend.part_mut(&mut memory.first_moments, moments);
                backend.adam_update(&d, gradients, weights, first, second, rounded, state)?;
            }
            OptimizerKind::Rmsprop => {
                let d = Rmsprop { lr, decay, epsilon, schedule };
                backend.rmsprop_update(&d, gradients, weights, second, rounded, state)?;
            }
        }
    }
    if let Some(Sharing { shards, .. }) = &memory.sharing {
        backend.gather_blocks_from_ranks(backend.part_mut(&mut memory.params, shards.blocks()))?;
        memory.round(backend)?;
    }
    if network == Network::Discriminator && clip > 0.0 {
        backend.clip_weights(clip, state, backend.view_mut(&mut memory.params))?;
        memory.round(backend)?;
    }
    Ok(())
}

/// Moves the average of the generator's parameters and statistics, where the settings ask for one.
///
/// # Errors
/// Those of the device.
pub(super) fn update_average<B: Executor>(model: &mut Model<B>) -> Result<()> {
    let Model { backend, settings, generator, average, state, .. } = model;
    let Some(Average { params, stats }) = average else { return Ok(()) };
    let (memory, decay, state) = (&generator.memory, settings.average_decay(), backend.view(state));
    backend.ema_update(&decay, backend.view(&memory.params), backend.view_mut(params), state)?;
    backend.ema_update(&decay, backend.view(&memory.stats), backend.view_mut(stats), state)
}
