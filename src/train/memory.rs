//! What a trainer holds in memory: arenas and activations. On a device with memory of its own each is one allocation, of
//! as many bytes as the same code counts on a dry run, and both are held against what is free before either is made.

use super::feature_matching::FeatureMeans;
use super::mode_regularizer::ModeRegularizer;
use super::penalty::PenaltyWorkspace;
use crate::config::Settings;
use crate::device::{Buffer, DryRun, Real, StepState};
use crate::nn::{Discriminator, Generator, ImageShape, NetworkMemory, Parts};
use crate::ops::Executor;
use crate::{Error, Result};

/// What outlives a step: parameters, gradients, moments, running statistics, averages.
pub(super) struct Arenas<B: Executor> {
    pub(super) generator: NetworkMemory<B>,
    pub(super) discriminator: NetworkMemory<B>,
    pub(super) encoder: Option<NetworkMemory<B>>,
    pub(super) average: Option<Average<B>>,
}

/// The moving average that samples are drawn with.
pub struct Average<B: Executor> {
    /// Parameters.
    pub params: Buffer<B>,
    /// Running statistics.
    pub stats: Buffer<B>,
}

impl<B: Executor> Arenas<B> {
    fn new(backend: &B, settings: &Settings, parts: NetworkParts) -> Result<Self> {
        let (seed, kind) = (settings.train.seed, settings.optimizer.kind);
        let NetworkParts { generator, discriminator, encoder } = parts;
        // The encoder's weights are drawn behind those of the others, so that these are the same with and without one.
        let first_of_d = count(generator.params.entries().len());
        let tensors_of_d = discriminator.params.entries().len().max(discriminator.stats.entries().len());
        let first_of_e = first_of_d.saturating_add(count(tensors_of_d));
        let mut generator = NetworkMemory::new(backend, generator, kind, seed, 0)?;
        let mut discriminator = NetworkMemory::new(backend, discriminator, kind, seed, first_of_d)?;
        let encoder = encoder.map(|parts| NetworkMemory::new(backend, parts, kind, seed, first_of_e)).transpose()?;
        if settings.objective.historical_averaging > 0.0 {
            for memory in [&mut generator, &mut discriminator] {
                memory.historical_mean = Some(backend.alloc(memory.parts.params.len())?);
            }
        }
        let average = if settings.generator.ema > 0.0 {
            let copy = |source: &Buffer<B>| {
                let source = backend.view(source);
                let mut target = backend.alloc(backend.len(source))?;
                backend.copy(source, backend.view_mut(&mut target))?;
                Result::Ok(target)
            };
            Some(Average { params: copy(&generator.params)?, stats: copy(&generator.stats)? })
        } else {
            None
        };
        Ok(Arenas { generator, discriminator, encoder, average })
    }
}

/// A number of tensors, as draws count them.
fn count(tensors: usize) -> u32 {
    u32::try_from(tensors).unwrap_or(u32::MAX)
}

/// The tables of the arenas that the layers need.
pub(super) struct NetworkParts {
    generator: Parts,
    discriminator: Parts,
    /// Where the settings ask for mode regularisation.
    encoder: Option<Parts>,
}

/// Everything else: what lies between the layers, with its gradients, the batches, and the state.
pub(super) struct Activations<B: Executor> {
    pub(super) generator: Generator<B>,
    pub(super) discriminator: Discriminator<B>,
    pub(super) batch: BatchMemory<B>,
    pub(super) penalty: Option<PenaltyWorkspace<B>>,
    pub(super) feature_means: Option<FeatureMeans<B>>,
    pub(super) mode_regularizer: Option<ModeRegularizer<B>>,
    pub(super) state: Buffer<B, StepState>,
}

/// A step's batches and what the losses say of them; 2N images: real, then fake.
pub(super) struct BatchMemory<B: Executor> {
    pub(super) images: Buffer<B>,
    /// The images with instance noise, where the settings ask for it: what the discriminator sees.
    pub(super) noised: Option<Buffer<B>>,
    pub(super) d_images: Buffer<B>,
    pub(super) latents: Buffer<B>,
    pub(super) logits: Buffer<B>,
    pub(super) dlogits: Buffer<B>,
    pub(super) kl: Buffer<B>,
    pub(super) dkl: Buffer<B>,
}

impl<B: Executor> Activations<B> {
    /// With the tables of the arenas that the layers need.
    fn new(backend: &B, settings: &Settings, image: ImageShape) -> Result<(Self, NetworkParts)> {
        let n = settings.train.batch;
        let (generator, generator_parts) = Generator::new(backend, settings, image, n)?;
        let (mut discriminator, discriminator_parts) = Discriminator::new(backend, settings, image, 2 * n)?;
        let noise = settings.objective.instance_noise > 0.0;
        let batch = BatchMemory {
            images: backend.alloc(2 * n * image.len())?,
            noised: noise.then(|| backend.alloc(2 * n * image.len())).transpose()?,
            d_images: backend.alloc(n * image.len())?,
            latents: backend.alloc(n * settings.generator.latent)?,
            logits: backend.alloc(2 * n)?,
            dlogits: backend.alloc(2 * n)?,
            kl: backend.alloc(2 * n)?,
            dkl: backend.alloc(2 * n)?,
        };
        let penalty = PenaltyWorkspace::new(backend, settings, image)?;
        if penalty.is_some() {
            discriminator.allocate_tangents(backend, n)?;
        }
        let feature_means = FeatureMeans::new(backend, settings, discriminator.code())?;
        let (mode_regularizer, encoder) = ModeRegularizer::new(backend, settings, image)?.unzip();
        let state = backend.buffer_of(&[StepState::new(settings.train.seed, settings.bottleneck.beta)])?;
        let parts = NetworkParts { generator: generator_parts, discriminator: discriminator_parts, encoder };
        let activations =
            Activations { generator, discriminator, batch, penalty, feature_means, mode_regularizer, state };
        Ok((activations, parts))
    }
}

/// Bytes of the two allocations that hold a model and its training on a device with memory of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelBytes {
    /// Parameters, gradients, moments, running statistics, averages.
    pub arenas: u64,
    /// Everything else.
    pub activations: u64,
}

impl ModelBytes {
    /// Counts what a trainer in type `T` takes.
    ///
    /// # Errors
    /// If the widths do not fit the image.
    pub fn of<T: Real>(settings: &Settings, image: ImageShape) -> Result<Self> {
        let plan = DryRun::<T>::default();
        let (_, parts) = Activations::new(&plan, settings, image)?;
        let activations = plan.carved();
        Arenas::new(&plan, settings, parts)?;
        Ok(ModelBytes { arenas: plan.carved() - activations, activations })
    }

    /// Both.
    pub fn total(&self) -> u64 {
        self.arenas.saturating_add(self.activations)
    }
}

/// Builds a model, if a device's own memory has room for it.
///
/// # Errors
/// [`Error::OutOfMemory`] where it has none, before anything is allocated; those of [`ModelBytes::of`] and of the device.
pub(super) fn build<B: Executor>(
    backend: &B,
    settings: &Settings,
    image: ImageShape,
) -> Result<(Arenas<B>, Activations<B>)> {
    let bytes = ModelBytes::of::<B::Real>(settings, image)?;
    if let Some(free) = backend.own_memory().filter(|&free| bytes.total() > free) {
        let needed = |tried: &Settings| Ok(ModelBytes::of::<B::Real>(tried, image)?.total());
        let largest_batch = largest_batch_within(settings, free, needed)?;
        return Err(Error::OutOfMemory { needed: bytes.total(), free, largest_batch });
    }
    let (activations, parts) =
        backend.together(bytes.activations, |backend| Activations::new(backend, settings, image))?;
    let arenas = backend.together(bytes.arenas, |backend| Arenas::new(backend, settings, parts))?;
    Ok((arenas, activations))
}

/// The largest batch below that of the settings with which no more than `free` bytes are `needed`; 0 if there is none.
pub(super) fn largest_batch_within(
    settings: &Settings,
    free: u64,
    needed: impl Fn(&Settings) -> Result<u64>,
) -> Result<usize> {
    // Batch normalisation needs two images.
    let (mut fits, mut too_large) = (1, settings.train.batch.max(2));
    while too_large - fits > 1 {
        let mut tried = settings.clone();
        tried.train.batch = fits.midpoint(too_large);
        if needed(&tried)? <= free {
            fits = tried.train.batch;
        } else {
            too_large = tried.train.batch;
        }
    }
    Ok(if fits < 2 { 0 } else { fits })
}
