//! The inputs of a step: images, latents and the bottleneck's noise, drawn or given.

use crate::config::{BottleneckZ, GeneratorSettings, Penalty, Settings};
use crate::device::philox::{DrawStep, Stream};
use crate::device::{Buffer, In, Out, StepState, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::ops::inputs::classes::ClassDraw;
use crate::ops::inputs::gather::Gather;
use crate::ops::inputs::prior::{Prior, PriorDraw};
use crate::ops::layers::bottleneck::Noise;
use crate::{Error, Result};

/// The source of a step's inputs.
pub enum Batch<B: Executor> {
    /// A data set in the device's memory; latents and noise are drawn from Philox.
    Drawn {
        /// The way in which images are picked.
        gather: Gather,
        /// `[count, H, W, C]`.
        images: Buffer<B, u8>,
        /// The class of each image, `[count]`, where the nets are told classes.
        labels: Option<Buffer<B, u32>>,
    },
    /// Everything given, to hold the engine against another framework.
    Given(Given<B>),
}

/// Inputs of one step in our layouts, the same for each of its discriminator phases: NHWC images, z as `[N, positions, C]`.
pub struct Given<B: Executor> {
    /// Real images, normalised, `[N, H, W, C]`.
    pub images: StoredBuffer<B>,
    /// Classes; empty where the nets are told none.
    pub classes: GivenClasses<B>,
    /// z of the discriminator's step, `[N, latent]`.
    pub latents_d: StoredBuffer<B>,
    /// z of the generator's step, `[N, latent]`.
    pub latents_g: StoredBuffer<B>,
    /// ε of the discriminator's step, `[2N, dims]`: real, then fake. Empty without a bottleneck.
    pub noise_d: Buffer<B>,
    /// ε of the generator's step, `[N, dims]`. Empty without a bottleneck.
    pub noise_g: Buffer<B>,
    /// ε of the reconstructions of mode regularisation, `[N, dims]`. Empty without a bottleneck, and without that.
    pub noise_reconstruction: Buffer<B>,
    /// ε of instance noise; empty where it has none, or is to draw it.
    pub instance: GivenInstanceNoise<B>,
    /// u of augmentation; empty where it has none, or is to draw it.
    pub augmentation: GivenAugmentation<B>,
    /// The draws of a gradient penalty; empty where it has none.
    pub penalty: GivenPenalty<B>,
}

impl<B: Executor> Given<B> {
    /// Nothing at all: a base to name what a step needs on.
    ///
    /// # Errors
    /// Those of the device.
    pub fn none(backend: &B) -> Result<Self> {
        let (none, empty) = (|| backend.alloc(0), || backend.alloc(0));
        Ok(Given {
            images: empty()?,
            classes: GivenClasses::none(backend)?,
            latents_d: empty()?,
            latents_g: empty()?,
            noise_d: none()?,
            noise_g: none()?,
            noise_reconstruction: none()?,
            instance: GivenInstanceNoise { discriminator: none()?, generator: none()?, reconstruction: none()? },
            augmentation: GivenAugmentation { discriminator: none()?, generator: none()?, reconstruction: none()? },
            penalty: GivenPenalty { positions: empty()?, directions: empty()?, noise: none()? },
        })
    }
}

/// The classes of a step's images, `[N]` each.
pub struct GivenClasses<B: Executor> {
    /// Of the real images.
    pub real: Buffer<B, u32>,
    /// Of the images that are generated in the discriminator's step.
    pub discriminator: Buffer<B, u32>,
    /// Of those of the generator's step.
    pub generator: Buffer<B, u32>,
}

impl<B: Executor> GivenClasses<B> {
    /// None.
    ///
    /// # Errors
    /// Those of the device.
    pub fn none(backend: &B) -> Result<Self> {
        let none = || backend.alloc(0);
        Ok(GivenClasses { real: none()?, discriminator: none()?, generator: none()? })
    }
}

/// ε of instance noise, by which σ is multiplied.
pub struct GivenInstanceNoise<B: Executor> {
    /// On the images of the discriminator's phase, `[2N, H, W, C]`: real, then fake.
    pub discriminator: Buffer<B>,
    /// On those of the generator's phase, `[N, H, W, C]`.
    pub generator: Buffer<B>,
    /// On the reconstructions of mode regularisation, `[N, H, W, C]`.
    pub reconstruction: Buffer<B>,
}

/// u of augmentation, [`DRAWS`](crate::ops::inputs::augment::DRAWS) numbers in [0, 1) for each image.
pub struct GivenAugmentation<B: Executor> {
    /// Of the images of the discriminator's phase, `[2N, 7]`: real, then fake.
    pub discriminator: Buffer<B>,
    /// Of those of the generator's phase, `[N, 7]`.
    pub generator: Buffer<B>,
    /// Of the reconstructions of mode regularisation, `[N, 7]`.
    pub reconstruction: Buffer<B>,
}

/// The draws of a gradient penalty that is not taken at images of the batch.
pub struct GivenPenalty<B: Executor> {
    /// u, how far along its line each point lies, `[N]`.
    pub positions: StoredBuffer<B>,
    /// w of DRAGAN, `[N, H, W, C]`.
    pub directions: StoredBuffer<B>,
    /// ε at the points, `[N, dims]`. Empty without a bottleneck.
    pub noise: Buffer<B>,
}

/// The two halves of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The discriminator's: real and fake images. A step may have several, each with draws of its own.
    Discriminator(DrawStep),
    /// The generator's: fake images.
    Generator(DrawStep),
}

impl Phase {
    /// The draws of its step that are the phase's.
    pub fn draws(self) -> DrawStep {
        match self {
            Phase::Discriminator(draws) | Phase::Generator(draws) => draws,
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
        target: StoredOut<'_, B>,
    ) -> Result<()> {
        match self {
            Batch::Drawn { gather, images, .. } => backend.gather(gather, draws, backend.view(images), state, target),
            Batch::Given(given) => backend.copy(backend.view(&given.images), target),
        }
    }

    /// Writes the classes of the real images of a discriminator's phase, `[N]`.
    ///
    /// # Errors
    /// Those of the device; if the images have none.
    pub fn real_classes(
        &self,
        backend: &B,
        draws: DrawStep,
        state: In<'_, B, StepState>,
        target: Out<'_, B, u32>,
    ) -> Result<()> {
        match self {
            Batch::Drawn { gather, labels: Some(labels), .. } => {
                backend.classes_gather(gather, draws, backend.view(labels), state, target)
            }
            Batch::Drawn { .. } => Err(Error::Internal("conditional nets, and images without classes".into())),
            Batch::Given(given) => backend.copy(backend.view(&given.classes.real), target),
        }
    }

    /// Writes the classes of the images that a phase generates, `[N]`: each as likely as any other.
    ///
    /// # Errors
    /// Those of the device.
    pub fn classes(
        &self,
        backend: &B,
        settings: &Settings,
        phase: Phase,
        state: In<'_, B, StepState>,
        target: Out<'_, B, u32>,
    ) -> Result<()> {
        let generator = matches!(phase, Phase::Generator(_));
        match self {
            Batch::Given(given) => {
                let GivenClasses { discriminator: of_d, generator: of_g, .. } = &given.classes;
                backend.copy(backend.view(if generator { of_g } else { of_d }), target)
            }
            Batch::Drawn { .. } => {
                let stream = if generator { Stream::ClassGenerator } else { Stream::ClassDiscriminator };
                let d = ClassDraw { classes: settings.nets.classes, stream, draws: phase.draws() };
                backend.classes_sample(&d, state, target)
            }
        }
    }

    /// Writes the latents of a phase.
    pub fn latents(
        &self,
        backend: &B,
        settings: &Settings,
        phase: Phase,
        state: In<'_, B, StepState>,
        target: StoredOut<'_, B>,
    ) -> Result<()> {
        match self {
            Batch::Given(given) => {
                let latents = if matches!(phase, Phase::Generator(_)) { &given.latents_g } else { &given.latents_d };
                backend.copy(backend.view(latents), target)
            }
            Batch::Drawn { .. } => {
                let stream = if matches!(phase, Phase::Generator(_)) {
                    Stream::LatentGenerator
                } else {
                    Stream::LatentDiscriminator
                };
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
            (_, Phase::Generator(_)) if settings.bottleneck.generator_z == BottleneckZ::Mean => Noise::Mean,
            (Batch::Given(given), Phase::Discriminator(_)) => Noise::Given(backend.view(&given.noise_d)),
            (Batch::Given(given), Phase::Generator(_)) => Noise::Given(backend.view(&given.noise_g)),
            (Batch::Drawn { .. }, Phase::Discriminator(draws)) => {
                Noise::Drawn { streams: &[Stream::NoiseReal, Stream::NoiseFake], draws, state }
            }
            (Batch::Drawn { .. }, Phase::Generator(draws)) => {
                Noise::Drawn { streams: &[Stream::NoiseGenerator], draws, state }
            }
        }
    }

    /// ε of the instance noise of a phase, where it is given.
    pub fn instance_noise<'a>(&'a self, backend: &B, phase: Phase) -> Option<In<'a, B>> {
        let Batch::Given(given) = self else { return None };
        let noise = match phase {
            Phase::Discriminator(_) => &given.instance.discriminator,
            Phase::Generator(_) => &given.instance.generator,
        };
        given_draws(backend, noise)
    }

    /// ε of the instance noise on the reconstructions of mode regularisation, where it is given.
    pub fn reconstruction_instance_noise<'a>(&'a self, backend: &B) -> Option<In<'a, B>> {
        let Batch::Given(given) = self else { return None };
        given_draws(backend, &given.instance.reconstruction)
    }

    /// u of the augmentation of a phase, where it is given.
    pub fn augmentation<'a>(&'a self, backend: &B, phase: Phase) -> Option<In<'a, B>> {
        let Batch::Given(given) = self else { return None };
        let u = match phase {
            Phase::Discriminator(_) => &given.augmentation.discriminator,
            Phase::Generator(_) => &given.augmentation.generator,
        };
        given_draws(backend, u)
    }

    /// u of the augmentation of the reconstructions of mode regularisation, where it is given.
    pub fn reconstruction_augmentation<'a>(&'a self, backend: &B) -> Option<In<'a, B>> {
        let Batch::Given(given) = self else { return None };
        given_draws(backend, &given.augmentation.reconstruction)
    }

    /// The bottleneck's noise where mode regularisation shows its reconstructions to D: sampled or not as in the
    /// generator's phase, and a draw of its own.
    pub fn reconstruction_noise<'a>(
        &'a self,
        backend: &B,
        settings: &Settings,
        state: In<'a, B, StepState>,
    ) -> Noise<'a, B> {
        match self {
            _ if settings.bottleneck.generator_z == BottleneckZ::Mean => Noise::Mean,
            Batch::Given(given) => Noise::Given(backend.view(&given.noise_reconstruction)),
            Batch::Drawn { .. } => {
                Noise::Drawn { streams: &[Stream::NoiseReconstruction], draws: DrawStep::ONCE, state }
            }
        }
    }

    /// Writes u `[N]`, how far along its line each point of a gradient penalty lies: U[0, 1).
    pub fn penalty_positions(
        &self,
        backend: &B,
        draws: DrawStep,
        state: In<'_, B, StepState>,
        target: StoredOut<'_, B>,
    ) -> Result<()> {
        match self {
            Batch::Given(given) => backend.copy(backend.view(&given.penalty.positions), target),
            Batch::Drawn { .. } => backend.prior_sample(&uniform(1, Stream::PenaltyPosition, draws), state, target),
        }
    }

    /// Writes DRAGAN's draws for each element of N images of `len`: U[0, 1).
    pub fn penalty_directions(
        &self,
        backend: &B,
        len: usize,
        draws: DrawStep,
        state: In<'_, B, StepState>,
        target: StoredOut<'_, B>,
    ) -> Result<()> {
        match self {
            Batch::Given(given) => backend.copy(backend.view(&given.penalty.directions), target),
            Batch::Drawn { .. } => backend.prior_sample(&uniform(len, Stream::PenaltyDirection, draws), state, target),
        }
    }

    /// The bottleneck's noise where a gradient penalty is taken: on images of the batch that of the discriminator's
    /// phase, elsewhere its own.
    pub fn penalty_noise<'a>(
        &'a self,
        backend: &B,
        settings: &Settings,
        draws: DrawStep,
        state: In<'a, B, StepState>,
    ) -> Noise<'a, B> {
        let penalty = settings.objective.penalty;
        match (self, penalty) {
            _ if settings.objective.penalty_z == BottleneckZ::Mean => Noise::Mean,
            (Batch::Given(given), _) => {
                let noise = backend.view(&given.noise_d);
                let half = backend.len(noise) / 2;
                Noise::Given(match penalty {
                    Penalty::None | Penalty::R1 => backend.slice(noise, 0..half),
                    Penalty::R2 => backend.slice(noise, half..2 * half),
                    Penalty::WganGp | Penalty::Dragan => backend.view(&given.penalty.noise),
                })
            }
            (Batch::Drawn { .. }, Penalty::None | Penalty::R1) => {
                Noise::Drawn { streams: &[Stream::NoiseReal], draws, state }
            }
            (Batch::Drawn { .. }, Penalty::R2) => Noise::Drawn { streams: &[Stream::NoiseFake], draws, state },
            (Batch::Drawn { .. }, Penalty::WganGp | Penalty::Dragan) => {
                Noise::Drawn { streams: &[Stream::NoisePenalty], draws, state }
            }
        }
    }
}

/// Draws that are given; `None` where the buffer is empty.
fn given_draws<'a, B: Executor>(backend: &B, noise: &'a Buffer<B>) -> Option<In<'a, B>> {
    let noise = backend.view(noise);
    (backend.len(noise) > 0).then_some(noise)
}

/// Draws from U[0, 1), `len` for each image.
fn uniform(len: usize, stream: Stream, draws: DrawStep) -> PriorDraw {
    PriorDraw { latent: len, prior: Prior::Uniform, stream, draws }
}

/// The prior that the settings ask for.
pub fn prior(settings: &Settings, stream: Stream, draws: DrawStep) -> PriorDraw {
    let GeneratorSettings { latent, prior, .. } = settings.generator;
    PriorDraw { latent, prior, stream, draws }
}
