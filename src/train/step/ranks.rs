//! The communication of the ranks in a step, if several train together: the discriminator's verdicts on their images, the norms of a
//! gradient penalty, and the sums of gradients.
//!
//! Verdicts are gathered, and not what a loss makes of them: two numbers an image. Then every rank computes the loss of all images, in
//! the order in which they would pass on one rank: all real, then all generated. So the figures, β, k and what is not finite come out
//! with the same bits on every rank, and each goes on with the gradients of its own images. Gradients of parameters are summed: the
//! loss is a mean over all images already.

use std::ops::Range;

use super::batch_memory::{BatchMemory, Gathered};
use super::model::Model;
use crate::Result;
use crate::device::{In, Network, Out, Stored, StoredOut};
use crate::nn::Sharing;
use crate::ops::Executor;

/// The images that the discriminator has judged in a phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdicts {
    /// Real ones and generated ones, in its own phase.
    OfBoth,
    /// Generated ones, in the generator's, which no KL belongs to.
    OfGenerated,
}

impl Verdicts {
    fn kinds(self) -> usize {
        match self {
            Verdicts::OfBoth => 2,
            Verdicts::OfGenerated => 1,
        }
    }
}

/// The inputs and outputs of a loss over the images of all ranks.
pub(super) struct WholeVerdict<'a, B: Executor> {
    pub(super) logits: Stored<'a, B>,
    pub(super) kl: In<'a, B>,
    pub(super) dlogits: StoredOut<'a, B>,
    /// In the generator's phase that of a rank's own images, which is zeroed.
    pub(super) dkl: Out<'a, B>,
}

impl<B: Executor> BatchMemory<B> {
    /// Gathers the verdicts on the images of all ranks, where there are several.
    ///
    /// # Errors
    /// Those of the device and of the other ranks, here and below.
    pub(super) fn gather(&mut self, backend: &B, verdicts: Verdicts) -> Result<()> {
        let (own, all) = (self.own(backend), self.all(backend));
        let Some(gathered) = &mut self.gathered else { return Ok(()) };
        for kind in 0..verdicts.kinds() {
            let (part, whole) = (block(kind, own), block(kind, all));
            let logits = backend.part_mut(&mut gathered.logits, whole.clone());
            backend.gather_from_ranks(backend.part(&self.logits, part.clone()), logits)?;
            if verdicts == Verdicts::OfBoth && gathered.has_kl {
                backend.gather_from_ranks(backend.part(&self.kl, part), backend.part_mut(&mut gathered.kl, whole))?;
            }
        }
        Ok(())
    }

    /// The verdicts on the images of all ranks, once they are gathered.
    pub(super) fn whole(&mut self, backend: &B, verdicts: Verdicts) -> WholeVerdict<'_, B> {
        let own = 0..verdicts.kinds() * self.own(backend);
        let all = 0..verdicts.kinds() * self.all(backend);
        match (&mut self.gathered, verdicts) {
            (Some(Gathered { logits, dlogits, kl, dkl, .. }), Verdicts::OfBoth) => WholeVerdict {
                logits: backend.view(logits),
                kl: backend.view(kl),
                dlogits: backend.view_mut(dlogits),
                dkl: backend.view_mut(dkl),
            },
            (Some(Gathered { logits, dlogits, .. }), Verdicts::OfGenerated) => WholeVerdict {
                logits: backend.part(logits, all.clone()),
                kl: backend.part(&self.kl, own.clone()),
                dlogits: backend.part_mut(dlogits, all),
                dkl: backend.part_mut(&mut self.dkl, own),
            },
            (None, _) => WholeVerdict {
                logits: backend.part(&self.logits, own.clone()),
                kl: backend.part(&self.kl, own.clone()),
                dlogits: backend.part_mut(&mut self.dlogits, own.clone()),
                dkl: backend.part_mut(&mut self.dkl, own),
            },
        }
    }

    /// Takes the gradients by the verdicts on a rank's own images out of those of all.
    pub(super) fn take_gradients(&mut self, backend: &B, verdicts: Verdicts) -> Result<()> {
        let Some(gathered) = &self.gathered else { return Ok(()) };
        let (own, all) = (self.own(backend), self.all(backend));
        for kind in 0..verdicts.kinds() {
            let (part, first) = (block(kind, own), kind * all + backend.ranks().rank * own);
            let mine = first..first + own;
            let dlogits = backend.part_mut(&mut self.dlogits, part.clone());
            backend.copy(backend.part(&gathered.dlogits, mine.clone()), dlogits)?;
            if verdicts == Verdicts::OfBoth && gathered.has_kl {
                backend.copy(backend.part(&gathered.dkl, mine), backend.part_mut(&mut self.dkl, part))?;
            }
        }
        Ok(())
    }

    /// A rank's own images of a kind.
    fn own(&self, backend: &B) -> usize {
        backend.len(backend.view(&self.logits)) / 2
    }

    /// All ranks' images of a kind.
    fn all(&self, backend: &B) -> usize {
        self.own(backend) * backend.ranks().world
    }
}

/// The norms of all ranks' gradients, from a rank's own.
///
/// # Errors
/// As above.
pub(super) fn whole_norms<'a, B: Executor>(
    backend: &B,
    gathered: &'a mut Option<Gathered<B>>,
    own: In<'a, B>,
) -> Result<In<'a, B>> {
    let Some(gathered) = gathered else { return Ok(own) };
    backend.gather_from_ranks(own, backend.view_mut(&mut gathered.norms))?;
    Ok(backend.view(&gathered.norms))
}

fn block(index: usize, len: usize) -> Range<usize> {
    index * len..(index + 1) * len
}

/// Adds up a network's gradients over the ranks, once the passes of a phase have left theirs: all of them, or those of the share that
/// this rank updates.
///
/// # Errors
/// Those of the device and of the other ranks.
pub(super) fn sum_gradients<B: Executor>(model: &mut Model<B>, network: Network) -> Result<()> {
    let (backend, Some(memory), _) = model.split(network) else { return Ok(()) };
    let gradients = backend.view_mut(&mut memory.gradients);
    let Some(Sharing { shards, .. }) = &memory.sharing else { return backend.sum_over_ranks(gradients) };
    let (blocks, rest) = backend.split_mut(gradients, shards.blocks().end);
    backend.sum_block_over_ranks(blocks)?;
    backend.sum_over_ranks(rest)
}
