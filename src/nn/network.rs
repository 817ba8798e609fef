//! The arenas of one network: flat buffers that share one table.

use super::Parts;
use crate::Result;
use crate::config::OptimizerKind;
use crate::device::Buffer;
use crate::ops::Executor;

/// Parameters, gradients, the optimiser's moments and running statistics of one network.
pub struct NetworkMemory<B: Executor> {
    /// The table of tensors and their ranges.
    pub parts: Parts,
    /// Parameters.
    pub params: Buffer<B>,
    /// Their gradients.
    pub gradients: Buffer<B>,
    /// Adam's first moments; empty for RMSprop, which has none.
    pub first_moments: Buffer<B>,
    /// The second moments of either optimiser.
    pub second_moments: Buffer<B>,
    /// Running statistics.
    pub stats: Buffer<B>,
    /// The mean of the parameters so far, where historical averaging asks for it.
    pub historical_mean: Option<Buffer<B>>,
}

impl<B: Executor> NetworkMemory<B> {
    /// Allocates the arenas, but for that of the mean so far, and draws the first weights. `first_tensor` keeps the draws of
    /// the networks apart.
    pub fn new(backend: &B, parts: Parts, optimizer: OptimizerKind, seed: u64, first_tensor: u32) -> Result<Self> {
        let (params, stats) = (&parts.params, &parts.stats);
        let len = params.len();
        Ok(NetworkMemory {
            params: backend.buffer_from(len, || params.initial_values(seed, first_tensor))?,
            gradients: backend.alloc(len)?,
            first_moments: backend.alloc(if optimizer == OptimizerKind::Adam { len } else { 0 })?,
            second_moments: backend.alloc(len)?,
            stats: backend.buffer_from(stats.len(), || stats.initial_values(seed, first_tensor))?,
            historical_mean: None,
            parts,
        })
    }
}
