//! The generator's step where it matches features: instead of the discriminator's verdict on its images it is told how far
//! their mean features are from those of the real images (`src/ops/losses/feature_matching.rs` has the formula).
//!
//! Two passes of the discriminator's encoder alone, in training mode and through the weights just updated, each over N images
//! with batch statistics of its own: over the real images of the last discriminator phase, as it saw them, of which only the
//! mean features are kept; then over the fakes, to which the way back leads. Nothing flows to the real images.

use super::discriminator_view;
use super::model::Model;
use crate::Result;
use crate::device::Buffer;
use crate::device::philox::DrawStep;
use crate::nn::TrainedNetwork;
use crate::ops::Executor;
use crate::ops::losses::feature_matching::FeatureMatching;
use crate::train::batch::{Batch, Phase};

/// The mean features of both kinds of images.
pub(crate) struct FeatureMeans<B: Executor> {
    d: FeatureMatching,
    /// `[positions, C]`.
    real: Buffer<B>,
    fake: Buffer<B>,
}

impl<B: Executor> FeatureMeans<B> {
    /// `None` where the settings match no features.
    ///
    /// # Errors
    /// If memory is used up.
    pub(super) fn new(model: &Model<B>) -> Result<Option<Self>> {
        let Model { backend, settings, .. } = model;
        let weight = settings.objective.feature_matching;
        if weight == 0.0 {
            return Ok(None);
        }
        // μ, which is matched, and log σ², which is not.
        let parts = if settings.bottleneck.enabled { 2 } else { 1 };
        let code = model.discriminator.layers.code();
        let d = FeatureMatching { n: settings.micro_batch(), positions: code.h * code.w, parts, c: code.c, weight };
        Ok(Some(FeatureMeans { d, real: backend.alloc(d.matched())?, fake: backend.alloc(d.matched())? }))
    }
}

/// The generator's loss by the features of its images, and its gradient by the images as the discriminator sees them, for the N images that were just
/// generated.
///
/// # Errors
/// Those of the device.
pub(super) fn match_features<B: Executor>(
    model: &mut Model<B>,
    means: &mut FeatureMeans<B>,
    inputs: &Batch<B>,
) -> Result<()> {
    discriminator_view::show(model, inputs, Phase::Generator(DrawStep::ONCE))?;
    model.normalise_weights()?;
    let fakes = model.images_of(Phase::Generator(DrawStep::ONCE)).range;
    let Model { backend, batch, state, discriminator: TrainedNetwork { layers, memory }, .. } = model;
    let FeatureMeans { d, real, fake } = means;
    let images = batch.images.discriminated(backend);
    let (reals, fakes) = (backend.slice(images, 0..fakes.len()), backend.slice(images, fakes));
    for (images, mean) in [(reals, &mut *real), (fakes, &mut *fake)] {
        let (pass, stats) = memory.forward_pass(backend, d.n);
        layers.encode(pass, 1, stats, images)?;
        backend.feature_matching_mean(d, layers.features(backend, d.n), backend.view_mut(mean))?;
    }
    let (real, fake) = (backend.view(real), backend.view(fake));
    backend.feature_matching_loss(d, real, fake, backend.view_mut(state))?;
    backend.feature_matching_backward_input(d, real, fake, layers.d_features(backend, d.n))?;
    let d_images = batch.d_images.discriminated(backend);
    layers.encoder_backward(memory.pass(backend, d.n), fakes, Some(d_images), None)
}
