//! The generator's step where it matches features: instead of the discriminator's verdict on its images it is told how far
//! their mean features are from those of the real images (`src/ops/losses/feature_matching.rs` has the formula).
//!
//! Two passes of the discriminator's encoder alone, in training mode and through the weights just updated, each over N images
//! with batch statistics of its own: over the real images of the last discriminator phase, as it saw them, of which only the
//! mean features are kept; then over the fakes, to which the way back leads. Nothing flows to the real images.

use super::batch::{Batch, Phase};
use super::trainer::{Trainer, shown};
use crate::Result;
use crate::config::Settings;
use crate::device::Buffer;
use crate::nn::Pass;
use crate::nn::table::Flattened;
use crate::ops::Executor;
use crate::ops::losses::feature_matching::FeatureMatching;

/// The mean features of both kinds of images.
pub(super) struct FeatureMeans<B: Executor> {
    d: FeatureMatching,
    /// `[positions, C]`.
    real: Buffer<B>,
    fake: Buffer<B>,
}

impl<B: Executor> FeatureMeans<B> {
    /// `code` is how z lies, or the encoder's output where there is no bottleneck. `None` where the settings match no features.
    ///
    /// # Errors
    /// If memory is used up.
    pub(super) fn new(backend: &B, settings: &Settings, code: Flattened) -> Result<Option<Self>> {
        let weight = settings.objective.feature_matching;
        if weight == 0.0 {
            return Ok(None);
        }
        // μ, which is matched, and log σ², which is not.
        let parts = if settings.bottleneck.enabled { 2 } else { 1 };
        let d = FeatureMatching { n: settings.train.batch, positions: code.h * code.w, parts, c: code.c, weight };
        Ok(Some(FeatureMeans { d, real: backend.alloc(d.matched())?, fake: backend.alloc(d.matched())? }))
    }
}

impl<B: Executor> Trainer<B> {
    /// The generator's loss by the features of its images, and its gradient by the images, for the fakes that were just
    /// generated. It is for settings that match features.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn match_features(&mut self, batch: &Batch<B>) -> Result<()> {
        self.add_instance_noise(batch, Phase::Generator)?;
        self.normalise_weights()?;
        let Trainer { backend, discriminator, discriminator_memory: memory, work, state, feature_means, .. } = self;
        let Some(FeatureMeans { d, real, fake }) = feature_means else { return Ok(()) };
        let pass = Pass { backend, params: backend.view(&memory.params), n: d.n };
        let images = shown(backend, &work.images, &work.noised);
        let half = backend.len(images) / 2;
        let (reals, fakes) = (backend.slice(images, 0..half), backend.slice(images, half..2 * half));
        for (images, mean) in [(reals, &mut *real), (fakes, &mut *fake)] {
            discriminator.encode(pass, 1, backend.view_mut(&mut memory.stats), images)?;
            backend.feature_matching_mean(d, discriminator.features(backend, d.n), backend.view_mut(mean))?;
        }
        let (real, fake) = (backend.view(real), backend.view(fake));
        backend.feature_matching_loss(d, real, fake, backend.view_mut(state))?;
        backend.feature_matching_backward_input(d, real, fake, discriminator.d_features(backend, d.n))?;
        discriminator.encoder_backward(pass, fakes, Some(backend.view_mut(&mut work.d_images)), None)
    }
}
