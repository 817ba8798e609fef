//! The images as the discriminator sees them: augmented, and with instance noise on top, if the settings ask for either.
//!
//! The noise comes last, so that every pixel has it at the σ that the settings name. Below the augmentation it would be
//! stretched with the contrast, and missing where something is cut out: there D would tell real from fake as sharply as ever.
//!
//! The gradient by an image goes through the noise as it is, and back through the augmentation of the same draws.

use super::model::{ImageGradients, Images, Model};
use crate::Result;
use crate::config::Settings;
use crate::device::philox::DrawStep;
use crate::device::{In, StepState, Stored, StoredBuffer};
use crate::nn::ImageShape;
use crate::ops::Executor;
use crate::ops::inputs::augment::Augment;
use crate::ops::inputs::instance_noise::InstanceNoise;
use crate::train::batch::{Batch, Phase};
use crate::train::objective;

/// Writes the images of a phase as the discriminator sees them.
///
/// # Errors
/// Those of the device.
pub(super) fn show<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>, phase: Phase) -> Result<()> {
    let images = model.images_of(phase);
    let Model { backend, batch, state, settings, image, .. } = model;
    let changes = Changes::of_phase(backend, settings, *image, inputs, phase, images.n);
    let Images { clean, augmented, noised } = &mut batch.images;
    let x = backend.part(clean, images.range.clone());
    changes.make(backend, x, [augmented, noised], images.range, backend.view(state)).map(drop)
}

/// The reconstructions of mode regularisation as the discriminator sees them, in the place of the fakes of G's own pass, of which
/// nothing is read any more.
///
/// # Errors
/// Those of the device.
pub(super) fn show_reconstructions<'a, B: Executor>(
    backend: &B,
    (settings, image): (&Settings, ImageShape),
    inputs: &Batch<B>,
    x: Stored<'a, B>,
    images: &'a mut Images<B>,
    state: In<'_, B, StepState>,
) -> Result<Stored<'a, B>> {
    let changes = Changes::of_reconstructions(backend, settings, image, inputs);
    let Images { augmented, noised, .. } = images;
    let half = settings.micro_batch() * image.len();
    changes.make(backend, x, [augmented, noised], 2 * half..3 * half, state)
}

/// From the gradient by the generated images as the discriminator saw them to that by the images themselves.
///
/// # Errors
/// Those of the device.
pub(super) fn backward<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>, draws: DrawStep) -> Result<()> {
    let n = model.micro_batch();
    let Model { backend, batch, state, settings, image, .. } = model;
    Changes::of_phase(backend, settings, *image, inputs, Phase::Generator(draws), n).back(
        backend,
        &mut batch.d_images,
        backend.view(state),
    )
}

/// The same of the reconstructions.
///
/// # Errors
/// Those of the device.
pub(super) fn backward_to_reconstructions<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>) -> Result<()> {
    let Model { backend, batch, state, settings, image, .. } = model;
    Changes::of_reconstructions(backend, settings, *image, inputs).back(
        backend,
        &mut batch.d_images,
        backend.view(state),
    )
}

/// The changes of images before the discriminator sees them, each with its draws if they are given.
struct Changes<'a, B: Executor> {
    augment: Augment<'static>,
    u: Option<In<'a, B>>,
    noise: InstanceNoise<'static>,
    epsilon: Option<In<'a, B>>,
}

impl<'a, B: Executor> Changes<'a, B> {
    /// To the `n` images of a phase.
    fn of_phase(
        backend: &B,
        settings: &Settings,
        image: ImageShape,
        inputs: &'a Batch<B>,
        phase: Phase,
        n: usize,
    ) -> Self {
        Changes {
            augment: objective::augment(settings, phase, n, image),
            u: inputs.augmentation(backend, phase),
            noise: objective::instance_noise(settings, phase, n, image.len()),
            epsilon: inputs.instance_noise(backend, phase),
        }
    }

    /// To the reconstructions of mode regularisation.
    fn of_reconstructions(backend: &B, settings: &Settings, image: ImageShape, inputs: &'a Batch<B>) -> Self {
        let n = settings.micro_batch();
        Changes {
            augment: objective::reconstruction_augment(settings, n, image),
            u: inputs.reconstruction_augmentation(backend),
            noise: objective::reconstruction_noise(settings, n, image.len()),
            epsilon: inputs.reconstruction_instance_noise(backend),
        }
    }

    /// Makes them where there is memory for them, in this range of it; what comes out.
    fn make<'b>(
        &self,
        backend: &B,
        mut x: Stored<'b, B>,
        [augmented, noised]: [&'b mut Option<StoredBuffer<B>>; 2],
        range: std::ops::Range<usize>,
        state: In<'_, B, StepState>,
    ) -> Result<Stored<'b, B>> {
        if let Some(augmented) = augmented {
            let y = backend.part_mut(augmented, range.clone());
            backend.augment_forward(&self.augment, x, self.u, state, y)?;
            x = backend.part(augmented, range.clone());
        }
        if let Some(noised) = noised {
            let y = backend.part_mut(noised, range.clone());
            backend.instance_noise(&self.noise, x, self.epsilon, state, y)?;
            x = backend.part(noised, range);
        }
        Ok(x)
    }

    /// From the gradient by augmented images to that by the images, where there are any.
    fn back(&self, backend: &B, gradients: &mut ImageGradients<B>, state: In<'_, B, StepState>) -> Result<()> {
        let ImageGradients { clean, augmented: Some(augmented) } = gradients else { return Ok(()) };
        let (dy, dx) = (backend.view(augmented), backend.view_mut(clean));
        backend.augment_backward_input(&self.augment, dy, self.u, state, dx)
    }
}
