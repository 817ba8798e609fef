//! Spectral normalisation of all weights of a network (Miyato et al. 2018), on the level of its arena: the layers are given
//! a second arena, in which each weight is divided by its largest singular value, and know nothing of it.
//!
//! Names are those of `torch.nn.utils.spectral_norm`: a weight becomes `….weight_orig`, and its vectors u and v are
//! `….weight_u` and `….weight_v` among the running statistics, so that a checkpoint holds them and PyTorch finds them.
//!
//! PyTorch makes a power iteration at each call of a network in training. So do we, but what PyTorch's users do in two calls,
//! real and fake images, is one pass here: there is one iteration in the discriminator's half of a step and one in the
//! generator's.

use std::ops::Range;

use super::layer::Pass;
use super::{Init, Parts, Rounded};
use crate::Result;
use crate::device::{Buffer, In, Out};
use crate::ops::Executor;
use crate::ops::layers::spectral_norm::SpectralNorm as Sizes;

/// The arena of normalised weights, and where each of them lies.
pub(super) struct SpectralNorm<B: Executor> {
    weights: Vec<Weight>,
    /// All parameters as the layers are given them: weights divided by their σ, everything else as it is.
    params: Buffer<B>,
    /// The same as products read them.
    rounded: Rounded<B>,
    /// σ of each weight.
    sigmas: Buffer<B>,
    /// True if [`SpectralNorm::normalise`] makes a power iteration.
    iterates: bool,
}

/// One weight. Two that one product computes, as those of μ and log σ², are two here too, each with a σ of its own.
struct Weight {
    sizes: Sizes,
    /// In the arena of parameters.
    range: Range<usize>,
    /// u, then v, in the arena of running statistics.
    vectors: Range<usize>,
}

impl<B: Executor> SpectralNorm<B> {
    /// Takes every tensor of more than one axis for a weight, renames it, and adds its u and v to the statistics; both
    /// start with normal draws, whose length does not matter.
    ///
    /// # Errors
    /// If memory is used up.
    pub(super) fn new(backend: &B, parts: &mut Parts) -> Result<Self> {
        let Parts { params, stats } = parts;
        let mut weights = Vec::new();
        for entry in params.entries_mut().iter_mut().filter(|entry| entry.shape.len() > 1) {
            let [rows, columns] = entry.sides();
            let u = stats.add_vector(format!("{}_u", entry.name), rows, Init::Normal(1.0));
            let v = stats.add_vector(format!("{}_v", entry.name), columns, Init::Normal(1.0));
            entry.name.push_str("_orig");
            let sizes = Sizes { k: rows.len(), c: columns.len(), iterates: true };
            weights.push(Weight { sizes, range: entry.range(), vectors: u.start..v.end });
        }
        let rounded = Rounded::new(backend, params.len())?;
        let (params, sigmas) = (backend.alloc(params.len())?, backend.alloc(weights.len())?);
        Ok(SpectralNorm { weights, params, rounded, sigmas, iterates: true })
    }

    /// From now on u and v stay as they are.
    pub(super) fn hold(&mut self) {
        self.iterates = false;
    }

    /// Writes the normalised arena from the raw one, after a power iteration that changes u and v in `stats`.
    pub(super) fn normalise(&mut self, backend: &B, params: In<'_, B>, mut stats: Out<'_, B>) -> Result<()> {
        backend.copy(params, backend.view_mut(&mut self.params))?;
        for (i, Weight { sizes, range, vectors }) in self.weights.iter().enumerate() {
            let stats = backend.reborrow(&mut stats);
            let (u, v) = backend.split_mut(backend.slice_mut(stats, vectors.clone()), sizes.k);
            let sigma = backend.part_mut(&mut self.sigmas, i..i + 1);
            let w_hat = backend.part_mut(&mut self.params, range.clone());
            let sizes = Sizes { iterates: self.iterates, ..*sizes };
            backend.spectral_norm_forward(&sizes, backend.slice(params, range.clone()), u, v, sigma, w_hat)?;
        }
        self.rounded.update(backend, &self.params)
    }

    /// Turns an arena of gradients by the normalised parameters into one by the raw ones, in place.
    pub(super) fn to_raw(&self, backend: &B, stats: In<'_, B>, mut gradients: Out<'_, B>) -> Result<()> {
        for (i, Weight { sizes, range, vectors }) in self.weights.iter().enumerate() {
            let u = backend.slice(stats, vectors.start..vectors.start + sizes.k);
            let v = backend.slice(stats, vectors.start + sizes.k..vectors.end);
            let sigma = backend.part(&self.sigmas, i..i + 1);
            let w_hat = backend.part(&self.params, range.clone());
            let dw = backend.slice_mut(backend.reborrow(&mut gradients), range.clone());
            backend.spectral_norm_backward(sizes, w_hat, u, v, sigma, dw)?;
        }
        Ok(())
    }
}

/// A pass as the layers are given it: with the normalised parameters, where there are some.
pub(super) fn layers_pass<'long: 'short, 'short, B: Executor>(
    spectral_norm: &'short Option<SpectralNorm<B>>,
    pass: Pass<'long, B>,
) -> Pass<'short, B> {
    let Pass { backend, params, rounded, n, before, ranks, accumulates, classes } = pass;
    let (params, rounded) = match spectral_norm {
        Some(SpectralNorm { params, rounded, .. }) => (backend.view(params), rounded.view(backend, params)),
        None => (backend.slice(params, 0..backend.len(params)), backend.slice(rounded, 0..backend.len(rounded))),
    };
    let classes = classes.map(|classes| backend.slice(classes, 0..backend.len(classes)));
    Pass { backend, params, rounded, n, before, ranks, accumulates, classes }
}
