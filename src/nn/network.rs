//! The arenas of one network: flat buffers that share one table.

use super::{Parts, Pass, Rounded};
use crate::Result;
use crate::config::OptimizerKind;
use crate::device::{Buffer, Out};
use crate::ops::Executor;

/// Layers, and the arenas that they work on.
pub struct TrainedNetwork<L, B: Executor> {
    /// The layers.
    pub layers: L,
    /// The arenas.
    pub memory: NetworkMemory<B>,
}

/// Parameters, gradients, the optimiser's moments and running statistics of one network.
pub struct NetworkMemory<B: Executor> {
    /// The table of tensors and their ranges.
    pub parts: Parts,
    /// Parameters.
    pub params: Buffer<B>,
    /// The same as products read them.
    pub rounded: Rounded<B>,
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
    /// Allocates the arenas and draws the first weights. `first_tensor` keeps the draws of the networks apart; `with_mean` asks
    /// for the mean of the parameters so far.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn new(
        backend: &B,
        parts: Parts,
        optimizer: OptimizerKind,
        seed: u64,
        first_tensor: u32,
        with_mean: bool,
    ) -> Result<Self> {
        let (params, stats) = (&parts.params, &parts.stats);
        let len = params.len();
        let mut rounded = Rounded::new(backend, len)?;
        let initial = backend.buffer_from(len, || params.initial_values(seed, first_tensor))?;
        rounded.update(backend, &initial)?;
        Ok(NetworkMemory {
            params: initial,
            rounded,
            gradients: backend.alloc(len)?,
            first_moments: backend.alloc(if optimizer == OptimizerKind::Adam { len } else { 0 })?,
            second_moments: backend.alloc(len)?,
            stats: backend.buffer_from(stats.len(), || stats.initial_values(seed, first_tensor))?,
            historical_mean: with_mean.then(|| backend.alloc(len)).transpose()?,
            parts,
        })
    }

    /// A pass over `n` images that moves no statistics and has no gradients of parameters.
    pub fn pass<'a>(&'a self, backend: &'a B, n: usize) -> Pass<'a, B> {
        pass_of(backend, &self.params, &self.rounded, n)
    }

    /// Brings the copy that products read up to date with parameters that did not come from an optimiser.
    ///
    /// # Errors
    /// Those of the device.
    pub fn round(&mut self, backend: &B) -> Result<()> {
        self.rounded.update(backend, &self.params)
    }

    /// A forward pass over `n` images, and the running statistics that it moves.
    pub fn forward_pass<'a>(&'a mut self, backend: &'a B, n: usize) -> (Pass<'a, B>, Out<'a, B>) {
        (pass_of(backend, &self.params, &self.rounded, n), backend.view_mut(&mut self.stats))
    }

    /// A backward pass over `n` images, and the gradients that it adds to.
    pub fn backward_pass<'a>(&'a mut self, backend: &'a B, n: usize) -> (Pass<'a, B>, Out<'a, B>) {
        (pass_of(backend, &self.params, &self.rounded, n), backend.view_mut(&mut self.gradients))
    }

    /// The first backward pass of a step, which overwrites the gradients: of every parameter that has one. The others' stay zero, as
    /// they were made; where historical averaging adds to all of them, zeros are written first.
    ///
    /// # Errors
    /// Those of the device.
    pub fn first_backward_pass<'a>(&'a mut self, backend: &'a B, n: usize) -> Result<(Pass<'a, B>, Out<'a, B>)> {
        let accumulates = self.historical_mean.is_some();
        if accumulates {
            backend.zero(backend.view_mut(&mut self.gradients))?;
        }
        let (pass, gradients) = self.backward_pass(backend, n);
        Ok((Pass { accumulates, ..pass }, gradients))
    }

    /// [`NetworkMemory::first_backward_pass`] or, for the later parts of a batch, [`NetworkMemory::backward_pass`].
    ///
    /// # Errors
    /// Those of the device.
    pub fn backward_pass_of<'a>(
        &'a mut self,
        backend: &'a B,
        n: usize,
        is_first: bool,
    ) -> Result<(Pass<'a, B>, Out<'a, B>)> {
        if is_first { self.first_backward_pass(backend, n) } else { Ok(self.backward_pass(backend, n)) }
    }
}

/// A pass with these parameters, whose gradients are added.
fn pass_of<'a, B: Executor>(backend: &'a B, params: &'a Buffer<B>, rounded: &'a Rounded<B>, n: usize) -> Pass<'a, B> {
    Pass {
        backend,
        params: backend.view(params),
        rounded: rounded.view(backend, params),
        n,
        accumulates: true,
        classes: None,
    }
}
