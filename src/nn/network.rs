//! The arenas of one network: flat buffers that share one table.

use std::ops::Range;

use super::{Parts, Pass, Rounded};
use crate::Result;
use crate::config::OptimizerKind;
use crate::device::ranks::Shards;
use crate::device::{Buffer, Out, StepState};
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
    /// Ranks whose images batch normalisation takes together: 1, or all.
    pub norm_ranks: usize,
    /// The division of the moments, if each rank keeps those of its own share only.
    pub sharing: Option<Sharing<B>>,
}

/// The division of the work on a network among the ranks.
#[derive(Debug, Default, Clone, Copy)]
pub struct Division {
    /// Batch normalisation takes the images of all ranks together.
    pub joins_norms: bool,
    /// Each rank keeps the moments of its own share of the parameters alone.
    pub shards_moments: bool,
}

/// The moments of a network in shares.
pub struct Sharing<B: Executor> {
    /// The shares.
    pub shards: Shards,
    /// The state of each rank, where they agree on what their shares of the gradients are.
    pub states: Buffer<B, StepState>,
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
        division: Division,
    ) -> Result<Self> {
        let (params, stats) = (&parts.params, &parts.stats);
        let (len, place) = (params.len(), backend.ranks());
        let shards = (division.shards_moments && !place.is_alone()).then(|| Shards::of(place, len));
        let moments = shards.map_or(len, |shards| shards.kept());
        let sharing = |shards| Result::Ok(Sharing { shards, states: backend.alloc(place.world)? });
        let mut rounded = Rounded::new(backend, len)?;
        let initial = backend.buffer_from(len, || params.initial_values(seed, first_tensor))?;
        rounded.update(backend, &initial)?;
        Ok(NetworkMemory {
            params: initial,
            rounded,
            gradients: backend.alloc(len)?,
            first_moments: backend.alloc(if optimizer == OptimizerKind::Adam { moments } else { 0 })?,
            second_moments: backend.alloc(moments)?,
            stats: backend.buffer_from(stats.len(), || stats.initial_values(seed, first_tensor))?,
            historical_mean: with_mean.then(|| backend.alloc(len)).transpose()?,
            norm_ranks: if division.joins_norms { place.world } else { 1 },
            sharing: shards.map(sharing).transpose()?,
            parts,
        })
    }

    /// The parts of the arenas that this rank updates, and where the moments of each lie: all, or its own share and the rest that every
    /// rank has. One of the two may be empty.
    pub fn pieces(&self) -> [(Range<usize>, Range<usize>); 2] {
        let all = 0..self.parts.params.len();
        self.sharing.as_ref().map_or([(all.clone(), all), (0..0, 0..0)], |sharing| sharing.shards.pieces())
    }

    /// All of an arena of moments of which this rank keeps its own share alone; `None` where it has all of it. Every rank asks for the
    /// same.
    ///
    /// # Errors
    /// Those of the device and of the other ranks; if memory is used up.
    pub fn whole(&self, backend: &B, kept: &Buffer<B>) -> Result<Option<Buffer<B>>> {
        let Some(Sharing { shards, .. }) = &self.sharing else { return Ok(None) };
        let mut whole = backend.alloc(self.parts.params.len())?;
        for (to, from) in shards.pieces() {
            backend.copy(backend.part(kept, from), backend.part_mut(&mut whole, to))?;
        }
        backend.gather_blocks_from_ranks(backend.part_mut(&mut whole, shards.blocks()))?;
        Ok(Some(whole))
    }

    /// A pass over `n` images that moves no statistics and has no gradients of parameters.
    pub fn pass<'a>(&'a self, backend: &'a B, n: usize) -> Pass<'a, B> {
        pass_of(backend, (&self.params, &self.rounded), n, self.norm_ranks)
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
        (pass_of(backend, (&self.params, &self.rounded), n, self.norm_ranks), backend.view_mut(&mut self.stats))
    }

    /// A backward pass over `n` images, and the gradients that it adds to.
    pub fn backward_pass<'a>(&'a mut self, backend: &'a B, n: usize) -> (Pass<'a, B>, Out<'a, B>) {
        (pass_of(backend, (&self.params, &self.rounded), n, self.norm_ranks), backend.view_mut(&mut self.gradients))
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
fn pass_of<'a, B: Executor>(
    backend: &'a B,
    (params, rounded): (&'a Buffer<B>, &'a Rounded<B>),
    n: usize,
    ranks: usize,
) -> Pass<'a, B> {
    Pass {
        backend,
        params: backend.view(params),
        rounded: rounded.view(backend, params),
        n,
        before: 0,
        ranks,
        accumulates: true,
        classes: None,
    }
}
