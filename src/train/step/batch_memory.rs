//! The memory of a step's batch: images, latents, and what the discriminator and the losses say of them.

use crate::Result;
use crate::config::{Penalty, Settings};
use crate::device::{Buffer, RankOf, Stored, StoredBuffer, StoredOut};
use crate::nn::ImageShape;
use crate::ops::Executor;

/// A step's images and latents, and what the discriminator and the losses say of them: of 2N images in its own phase, real, then
/// generated, and of N in the generator's.
pub struct BatchMemory<B: Executor> {
    /// The images of the batch.
    pub images: Images<B>,
    /// The loss's gradient by N of them.
    pub d_images: ImageGradients<B>,
    /// z `[2N, latent]`: of the discriminator's phase, then of the generator's.
    pub latents: StoredBuffer<B>,
    /// The class of each of the 3N images, where the nets are told classes.
    pub classes: Option<Buffer<B, u32>>,
    /// The logits of 2N images.
    pub logits: StoredBuffer<B>,
    /// The loss's gradient by them.
    pub dlogits: StoredBuffer<B>,
    /// The KL divergence of the code of each of 2N images.
    pub kl: Buffer<B>,
    /// The loss's gradient by it.
    pub dkl: Buffer<B>,
    /// Images of the generator's last pass that lie before those of its own phase: N where it made both at once.
    pub(super) generated_before: usize,
    /// The same of all ranks' images, where there are several.
    pub(super) gathered: Option<Gathered<B>>,
}

/// 3N images: real, then generated in the discriminator's phase, then generated in the generator's.
pub struct Images<B: Executor> {
    /// As they were read and generated.
    pub clean: StoredBuffer<B>,
    /// The same augmented, where the settings ask for it.
    pub augmented: Option<StoredBuffer<B>>,
    /// Either with instance noise, where the settings ask for it.
    pub noised: Option<StoredBuffer<B>>,
}

impl<B: Executor> Images<B> {
    /// The images as the discriminator sees them: augmented and with instance noise, where there is any.
    pub fn discriminated(&self, backend: &B) -> Stored<'_, B> {
        backend.view(self.noised.as_ref().or(self.augmented.as_ref()).unwrap_or(&self.clean))
    }
}

/// The loss's gradient by N images.
pub struct ImageGradients<B: Executor> {
    /// By the images as they were generated.
    pub clean: StoredBuffer<B>,
    /// By the same augmented, where the settings ask for it.
    pub augmented: Option<StoredBuffer<B>>,
}

impl<B: Executor> ImageGradients<B> {
    /// The buffer for the discriminator's gradient with respect to the images as it sees them. Noise on them does not change it.
    pub(super) fn discriminated(&mut self, backend: &B) -> StoredOut<'_, B> {
        backend.view_mut(self.augmented.as_mut().unwrap_or(&mut self.clean))
    }
}

/// Logits and KL of all ranks' images of a part of the batch, with the loss's gradients by them, as [`BatchMemory`] has those of a
/// rank's own; and the norms of a penalty.
pub struct Gathered<B: Executor> {
    pub(super) logits: StoredBuffer<B>,
    pub(super) dlogits: StoredBuffer<B>,
    /// Whether there is a KL: without a bottleneck neither it nor its gradient is read.
    pub(super) has_kl: bool,
    pub(super) kl: Buffer<B>,
    pub(super) dkl: Buffer<B>,
    /// Empty without a penalty.
    pub(super) norms: Buffer<B>,
}

impl<B: Executor> Gathered<B> {
    /// `None` where one rank trains.
    ///
    /// # Errors
    /// If memory is used up.
    pub(super) fn new(backend: &B, settings: &Settings) -> Result<Option<Self>> {
        if backend.ranks().is_alone() {
            return Ok(None);
        }
        let n = settings.micro_batch();
        let norms = if settings.objective.penalty == Penalty::None { 0 } else { n };
        Ok(Some(Gathered {
            logits: backend.alloc(2 * n)?,
            dlogits: backend.alloc(2 * n)?,
            kl: backend.alloc(2 * n)?,
            dkl: backend.alloc(2 * n)?,
            has_kl: settings.bottleneck.enabled,
            norms: backend.alloc(norms)?,
        }))
    }
}

/// Images of each kind of a part of the batch that are a rank's own.
pub(super) fn own_images(settings: &Settings, ranks: RankOf) -> usize {
    settings.micro_batch() / ranks.world
}

impl<B: Executor> BatchMemory<B> {
    pub(super) fn new(backend: &B, settings: &Settings, image: ImageShape) -> Result<Self> {
        let (n, len) = (own_images(settings, backend.ranks()), image.len());
        let (noise, augments) = (settings.objective.instance_noise > 0.0, !settings.objective.augment.is_none());
        let images = |wanted: bool, count: usize| wanted.then(|| backend.alloc(count * len)).transpose();
        Ok(BatchMemory {
            images: Images {
                clean: backend.alloc(3 * n * len)?,
                augmented: images(augments, 3 * n)?,
                noised: images(noise, 3 * n)?,
            },
            d_images: ImageGradients { clean: backend.alloc(n * len)?, augmented: images(augments, n)? },
            latents: backend.alloc(2 * n * settings.generator.latent)?,
            classes: settings.nets.is_conditional().then(|| backend.alloc(3 * n)).transpose()?,
            logits: backend.alloc(2 * n)?,
            dlogits: backend.alloc(2 * n)?,
            kl: backend.alloc(2 * n)?,
            dkl: backend.alloc(2 * n)?,
            generated_before: 0,
            gathered: Gathered::new(backend, settings)?,
        })
    }
}
