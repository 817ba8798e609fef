//! What a step is fed with: images, latents and the bottleneck's noise, drawn or given.

use crate::Result;
use crate::config::{GeneratorZ, Prior as PriorSetting, Settings};
use crate::device::philox::Stream;
use crate::device::{Buffer, In, Out, StepState};
use crate::ops::Executor;
use crate::ops::bottleneck::Noise;
use crate::ops::gather::Gather;
use crate::ops::prior::{Distribution, Prior};

/// Where a step's inputs come from.
pub enum Batch<B: Executor> {
    /// A data set in the device's memory; latents and noise are drawn from Philox.
    Drawn {
        /// How images are picked.
        gather: Gather,
        /// `[count, H, W, C]`.
        images: Buffer<B, u8>,
    },
    /// Everything given, to hold the engine against another framework.
    Given(Given<B>),
}

/// Inputs of one step in our layouts: NHWC images, z as `[N, positions, C]`.
pub struct Given<B: Executor> {
    /// Real images, normalised, `[N, H, W, C]`.
    pub images: Buffer<B>,
    /// z of the discriminator's step, `[N, latent]`.
    pub latents_d: Buffer<B>,
    /// z of the generator's step, `[N, latent]`.
    pub latents_g: Buffer<B>,
    /// ε of the discriminator's step, `[2N, dims]`: real, then fake. Empty without a bottleneck.
    pub noise_d: Buffer<B>,
    /// ε of the generator's step, `[N, dims]`. Empty without a bottleneck.
    pub noise_g: Buffer<B>,
}

/// The two halves of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The discriminator's: real and fake images.
    Discriminator,
    /// The generator's: fake images.
    Generator,
}

impl<B: Executor> Batch<B> {
    /// Writes the real images.
    pub fn real_images(&self, backend: &B, state: In<'_, B, StepState>, target: Out<'_, B>) -> Result<()> {
        match self {
            Batch::Drawn { gather, images } => backend.gather(gather, backend.view(images), state, target),
            Batch::Given(given) => backend.copy(backend.view(&given.images), target),
        }
    }

    /// Writes the latents of a phase.
    pub fn latents(
        &self,
        backend: &B,
        settings: &Settings,
        phase: Phase,
        state: In<'_, B, StepState>,
        target: Out<'_, B>,
    ) -> Result<()> {
        match self {
            Batch::Given(given) => {
                let latents = if phase == Phase::Discriminator { &given.latents_d } else { &given.latents_g };
                backend.copy(backend.view(latents), target)
            }
            Batch::Drawn { .. } => {
                let stream =
                    if phase == Phase::Discriminator { Stream::LatentDiscriminator } else { Stream::LatentGenerator };
                backend.prior_sample(&prior(settings, stream, 0), state, target)
            }
        }
    }

    /// The bottleneck's noise of a phase.
    pub fn noise<'a>(
        &'a self,
        backend: &B,
        settings: &Settings,
        phase: Phase,
        state: In<'a, B, StepState>,
    ) -> Noise<'a, B> {
        match (self, phase) {
            (_, Phase::Generator) if settings.bottleneck.generator_z == GeneratorZ::Mean => Noise::Mean,
            (Batch::Given(given), Phase::Discriminator) => Noise::Given(backend.view(&given.noise_d)),
            (Batch::Given(given), Phase::Generator) => Noise::Given(backend.view(&given.noise_g)),
            (Batch::Drawn { .. }, Phase::Discriminator) => {
                Noise::Drawn { streams: &[Stream::NoiseReal, Stream::NoiseFake], state }
            }
            (Batch::Drawn { .. }, Phase::Generator) => Noise::Drawn { streams: &[Stream::NoiseGenerator], state },
        }
    }
}

/// The prior that the settings ask for.
pub fn prior(settings: &Settings, stream: Stream, first_sample: u32) -> Prior {
    let distribution = match settings.generator.prior {
        PriorSetting::Uniform => Distribution::Uniform,
        PriorSetting::Normal => Distribution::Normal,
    };
    Prior { latent: settings.generator.latent, distribution, stream, first_sample }
}
