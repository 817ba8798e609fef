//! The arenas of one network: flat buffers that share one table.

use super::Parts;
use crate::Result;
use crate::device::Buffer;
use crate::ops::Executor;

/// Parameters, gradients, Adam's moments and running statistics of one network.
pub struct NetworkMemory<B: Executor> {
    /// Which tensor lies where.
    pub parts: Parts,
    /// Parameters.
    pub params: Buffer<B>,
    /// Their gradients.
    pub gradients: Buffer<B>,
    /// Adam's first moments.
    pub first_moments: Buffer<B>,
    /// Adam's second moments.
    pub second_moments: Buffer<B>,
    /// Running statistics.
    pub stats: Buffer<B>,
    /// The mean of the parameters so far, where historical averaging asks for it.
    pub historical_mean: Option<Buffer<B>>,
}

impl<B: Executor> NetworkMemory<B> {
    /// Allocates the arenas, but for that of the mean so far, and draws the first weights. `first_tensor` keeps the draws of
    /// two networks apart.
    pub fn new(backend: &B, parts: Parts, seed: u64, first_tensor: u32) -> Result<Self> {
        let (params, stats) = (&parts.params, &parts.stats);
        let len = params.len();
        Ok(NetworkMemory {
            params: backend.buffer_from(len, || params.initial_values(seed, first_tensor))?,
            gradients: backend.alloc(len)?,
            first_moments: backend.alloc(len)?,
            second_moments: backend.alloc(len)?,
            stats: backend.buffer_from(stats.len(), || stats.initial_values(seed, first_tensor))?,
            historical_mean: None,
            parts,
        })
    }
}
