//! Instance noise: the discriminator sees images with noise on them, which fades over the run.

use super::model::Model;
use crate::Result;
use crate::ops::Executor;
use crate::train::batch::{Batch, Phase};
use crate::train::objective;

/// Writes the images of a phase with noise on them, where the settings ask for it.
///
/// # Errors
/// Those of the device.
pub(super) fn add<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>, phase: Phase) -> Result<()> {
    let images = model.images_of(phase);
    let Model { backend, batch, state, settings, image, .. } = model;
    let Some(noised) = &mut batch.images.noised else { return Ok(()) };
    let d = objective::instance_noise(settings, phase, images.n, image.len());
    let clean = backend.part(&batch.images.clean, images.range.clone());
    let noised = backend.part_mut(noised, images.range);
    backend.instance_noise(&d, clean, inputs.instance_noise(backend, phase), backend.view(state), noised)
}
