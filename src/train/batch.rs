//! What a step is fed with: images, latents and the bottleneck's noise, drawn or given.

use crate::Result;
use crate::config::{GeneratorZ, Prior as PriorSetting, Settings};
use crate::device::philox::{DrawStep, Stream};
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

/// Inputs of one step in our layouts, the same for each of its discriminator phases: NHWC images, z as `[N, positions, C]`.
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
    /// The discriminator's: real and fake images. A step may have several, each with draws of its own.
    Discriminator(DrawStep),
    /// The generator's: fake images.
    Generator,
}

impl Phase {
    /// Which draws of its step are the phase's.
    pub fn draws(self) -> DrawStep {
        match self {
            Phase::Discriminator(draws) => draws,
            Phase::Generator => DrawStep::ONCE,
        }
    }
}

impl<B: Executor> Batch<B> {
    /// Writes the real images of a discriminator's phase.
    pub fn real_images(
        &self,
        backend: &B,
        draws: DrawStep,
        state: In<'_, B, StepState>,
        target: Out<'_, B>,
    ) -> Result<()> {
        match self {
            Batch::Drawn { gather, images } => backend.gather(gather, draws, backend.view(images), state, target),
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
                let latents = if phase == Phase::Generator { &given.latents_g } else { &given.latents_d };
                backend.copy(backend.view(latents), target)
            }
            Batch::Drawn { .. } => {
                let stream =
                    if phase == Phase::Generator { Stream::LatentGenerator } else { Stream::LatentDiscriminator };
                backend.prior_sample(&prior(settings, stream, phase.draws()), state, target)
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
            (Batch::Given(given), Phase::Discriminator(_)) => Noise::Given(backend.view(&given.noise_d)),
            (Batch::Given(given), Phase::Generator) => Noise::Given(backend.view(&given.noise_g)),
            (Batch::Drawn { .. }, Phase::Discriminator(draws)) => {
                Noise::Drawn { streams: &[Stream::NoiseReal, Stream::NoiseFake], draws, state }
            }
            (Batch::Drawn { .. }, Phase::Generator) => {
                Noise::Drawn { streams: &[Stream::NoiseGenerator], draws: DrawStep::ONCE, state }
            }
        }
    }
}

/// The prior that the settings ask for.
pub fn prior(settings: &Settings, stream: Stream, draws: DrawStep) -> Prior {
    let distribution = match settings.generator.prior {
        PriorSetting::Uniform => Distribution::Uniform,
        PriorSetting::Normal => Distribution::Normal,
    };
    Prior { latent: settings.generator.latent, distribution, stream, first_sample: 0, draws }
}
