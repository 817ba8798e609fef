//! One training step, in the article's order: the discriminator on real and fake images, β, the generator on fresh z.
//!
//! Real and fake images pass the discriminator as one batch of 2N with statistics of their own, fakes are generated
//! straight into the second half of that batch, and the generator's step computes no weight gradient of D. Where the
//! settings say so, the discriminator moves several times in a step, each time on images, latents and noise of its own, and
//! the generator's step has a second pass, on reconstructions of real images (mode_regularizer.rs).

use super::batch::{Batch, Phase};
use super::feature_matching::FeatureMeans;
use super::memory::{self, Average, BatchMemory};
use super::mode_regularizer::ModeRegularizer;
use super::objective;
use super::penalty::PenaltyWorkspace;
use crate::Result;
use crate::config::{OptimizerKind, OptimizerSettings, Settings};
use crate::device::philox::DrawStep;
use crate::device::{Buffer, In, Metrics, Network, Out, StepState};
use crate::nn::{Discriminator, Generator, ImageShape, Mode, NetworkMemory, Pass, Verdict, VerdictGradient};
use crate::ops::Executor;
use crate::ops::optimizers::adam::Adam;
use crate::ops::optimizers::rmsprop::Rmsprop;

/// The networks, their optimisers and everything that a step touches.
pub struct Trainer<B: Executor> {
    /// Where it runs.
    pub backend: B,
    /// The run's settings.
    pub settings: Settings,
    /// The size of an image.
    pub image: ImageShape,
    /// The generator's layers.
    pub generator: Generator<B>,
    /// The discriminator's layers.
    pub discriminator: Discriminator<B>,
    /// The generator's arenas.
    pub generator_memory: NetworkMemory<B>,
    /// The discriminator's arenas.
    pub discriminator_memory: NetworkMemory<B>,
    /// The arenas of the encoder of mode regularisation, where the settings ask for it.
    pub encoder_memory: Option<NetworkMemory<B>>,
    /// Moving averages of the generator's parameters and of its statistics, where the settings ask for one.
    pub average: Option<Average<B>>,
    /// All that changes from step to step beside the arenas.
    pub state: Buffer<B, StepState>,
    /// The figures of the last [`HISTORY`] steps, that of step s at s mod [`HISTORY`]; pinned.
    history: Buffer<B, Metrics>,
    /// Steps begun, as the host counts them: it decides which of two sequences of work a step is, where not every step has
    /// a gradient penalty. What else changes from step to step the device alone knows.
    pub(super) steps_begun: u64,
    /// The step without a penalty, and with one.
    repeated: [B::Repeated; 2],
    pub(super) work: BatchMemory<B>,
    pub(super) penalty: Option<PenaltyWorkspace<B>>,
    pub(super) feature_means: Option<FeatureMeans<B>>,
    pub(super) mode_regularizer: Option<ModeRegularizer<B>>,
}

/// Steps whose figures are kept, in a ring: the device writes them, the host reads them.
pub const HISTORY: u64 = 256;

impl<B: Executor> Trainer<B> {
    /// Builds the networks for images of this size and draws their first weights from the seed.
    ///
    /// # Errors
    /// If the widths do not fit the image. [`Error::OutOfMemory`](crate::Error::OutOfMemory) where a device's own memory
    /// is too small, before anything is allocated.
    pub fn new(backend: B, settings: Settings, image: ImageShape) -> Result<Self> {
        let (arenas, activations) = memory::build(&backend, &settings, image)?;
        let history = backend.alloc_pinned(HISTORY as usize)?;
        Ok(Trainer {
            generator: activations.generator,
            discriminator: activations.discriminator,
            generator_memory: arenas.generator,
            discriminator_memory: arenas.discriminator,
            encoder_memory: arenas.encoder,
            average: arenas.average,
            state: activations.state,
            history,
            steps_begun: 0,
            repeated: Default::default(),
            work: activations.batch,
            penalty: activations.penalty,
            feature_means: activations.feature_means,
            mode_regularizer: activations.mode_regularizer,
            backend,
            settings,
            image,
        })
    }

    /// One whole step; always on the same `batch`, whose images differ from step to step by the state alone.
    pub fn step(&mut self, batch: &Batch<B>) -> Result<()> {
        let (backend, which) = (self.backend.clone(), usize::from(self.penalty_is_due()));
        let mut repeated = std::mem::take(&mut self.repeated[which]);
        let done = backend.repeat(&mut repeated, || {
            let per_step = self.settings.objective.discriminator_steps;
            for index in 0..per_step {
                self.discriminator_phase(batch, DrawStep { per_step, index })?;
            }
            self.generator_phase(batch)?;
            self.finish()
        });
        self.repeated[which] = repeated;
        self.steps_begun += 1;
        done
    }

    /// One update of the discriminator: its loss, β, its weights.
    pub(crate) fn discriminator_phase(&mut self, batch: &Batch<B>, draws: DrawStep) -> Result<()> {
        self.discriminator_gradients(batch, draws)?;
        self.finish_discriminator_phase(batch, draws)
    }

    /// What follows [`Trainer::discriminator_gradients`]: the gradient penalty, where the step has one, and the update.
    pub(crate) fn finish_discriminator_phase(&mut self, batch: &Batch<B>, draws: DrawStep) -> Result<()> {
        if self.penalty_is_due() {
            self.penalty_gradients(batch, draws)?;
        }
        self.raw_gradients()?;
        self.update(Network::Discriminator)
    }

    /// The generator's half of a step, through the discriminator just updated.
    pub(crate) fn generator_phase(&mut self, batch: &Batch<B>) -> Result<()> {
        self.generator_gradients(batch, None)?;
        self.finish_generator_phase(batch)
    }

    /// What follows [`Trainer::generator_gradients`]: mode regularisation, where the settings have it, and the updates.
    pub(crate) fn finish_generator_phase(&mut self, batch: &Batch<B>) -> Result<()> {
        self.mode_gradients(batch)?;
        self.update(Network::Generator)?;
        self.update(Network::Encoder)
    }

    /// What ends a step: the moving average, and the count of steps.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.update_average()?;
        let backend = &self.backend;
        backend.finish_step(backend.view_mut(&mut self.state), backend.view_mut(&mut self.history))
    }

    /// The state after the steps so far.
    pub fn read_state(&self) -> Result<StepState> {
        Ok(self.backend.read(self.backend.view(&self.state))?[0])
    }

    /// Puts a state in the place of the one there is: training goes on after its step.
    ///
    /// # Errors
    /// Those of the device.
    pub fn write_state(&mut self, state: &StepState) -> Result<()> {
        self.steps_begun = state.step;
        self.backend.upload(&[*state], self.backend.view_mut(&mut self.state))
    }

    /// The figures of the steps `from .. to`, of which the last [`HISTORY`] are kept.
    pub fn read_history(&self, from: u64, to: u64) -> Result<Vec<Metrics>> {
        let history = self.backend.read_pinned(&self.history)?;
        Ok((from.max(to.saturating_sub(HISTORY))..to).map(|step| history[(step % HISTORY) as usize]).collect())
    }

    /// The discriminator's loss, β's update, and the gradients of the discriminator's parameters.
    pub fn discriminator_gradients(&mut self, batch: &Batch<B>, draws: DrawStep) -> Result<()> {
        let n = self.settings.train.batch;
        self.generate(batch, Phase::Discriminator(draws))?;
        {
            let backend = &self.backend;
            let images = backend.view_mut(&mut self.work.images);
            batch.real_images(
                backend,
                draws,
                backend.view(&self.state),
                backend.slice_mut(images, 0..n * self.image.len()),
            )?;
        }
        self.image_gradients(batch, draws, None)
    }

    /// [`Trainer::discriminator_gradients`] for the 2N images that lie in [`Trainer::images`], whatever they are; and
    /// the gradient of these images, if it is wanted.
    pub(crate) fn image_gradients(
        &mut self,
        batch: &Batch<B>,
        draws: DrawStep,
        d_images: Option<Out<'_, B>>,
    ) -> Result<()> {
        let phase = Phase::Discriminator(draws);
        self.judge(batch, phase)?;
        let n = self.settings.train.batch;
        let loss = objective::discriminator_loss(&self.settings, self.discriminator.bottleneck(n));
        let Trainer { backend, work, state, .. } = self;
        let (dlogits, dkl) = (backend.view_mut(&mut work.dlogits), backend.view_mut(&mut work.dkl));
        let (logits, kl) = (backend.view(&work.logits), backend.view(&work.kl));
        backend.discriminator_loss(&loss, logits, kl, dlogits, dkl, backend.view_mut(state))?;
        backend.zero(backend.view_mut(&mut self.discriminator_memory.gradients))?;
        self.blame(batch, phase, d_images)
    }

    /// The generator's loss and the gradients of the generator's parameters; and that of its latents, if it is wanted.
    pub fn generator_gradients(&mut self, batch: &Batch<B>, d_latents: Option<Out<'_, B>>) -> Result<()> {
        let n = self.settings.train.batch;
        self.generate(batch, Phase::Generator)?;
        if self.feature_means.is_some() {
            self.match_features(batch)?;
        } else {
            self.adversarial_gradients(batch)?;
        }
        let Trainer { backend, work, generator_memory: memory, .. } = self;
        backend.zero(backend.view_mut(&mut memory.gradients))?;
        let pass = Pass { backend, params: backend.view(&memory.params), n };
        let images = self.image.len() * n..self.image.len() * 2 * n;
        let images = backend.slice(backend.view(&work.images), images);
        let (z, d_images) = (backend.view(&work.latents), backend.view(&work.d_images));
        self.generator.backward(pass, z, images, d_images, d_latents, backend.view_mut(&mut memory.gradients))
    }

    /// The generator's loss by the discriminator's verdict on the fakes, and its gradient by them.
    fn adversarial_gradients(&mut self, batch: &Batch<B>) -> Result<()> {
        let n = self.settings.train.batch;
        self.judge(batch, Phase::Generator)?;
        let Trainer { backend, work, state, .. } = self;
        let dlogits = backend.slice_mut(backend.view_mut(&mut work.dlogits), 0..n);
        let dkl = backend.slice_mut(backend.view_mut(&mut work.dkl), 0..n);
        let logits = backend.slice(backend.view(&work.logits), 0..n);
        backend.generator_loss(&objective::objective(&self.settings), logits, dlogits, dkl, backend.view_mut(state))?;
        self.repel()?;
        self.blame(batch, Phase::Generator, None)
    }

    /// Fake images from a phase's latents, into the second half of the batch.
    fn generate(&mut self, batch: &Batch<B>, phase: Phase) -> Result<()> {
        let (n, image) = (self.settings.train.batch, self.image.len());
        let Trainer { backend, work, generator_memory: memory, state, .. } = self;
        let latents = backend.view_mut(&mut work.latents);
        batch.latents(backend, &self.settings, phase, backend.view(state), latents)?;
        let pass = Pass { backend, params: backend.view(&memory.params), n };
        let fakes = backend.slice_mut(backend.view_mut(&mut work.images), n * image..2 * n * image);
        let stats = backend.view_mut(&mut memory.stats);
        self.generator.forward(pass, Mode::Train { groups: 1 }, stats, backend.view(&work.latents), fakes)
    }

    /// The discriminator's verdict on real and fake images (its own phase) or on the fake ones.
    fn judge(&mut self, batch: &Batch<B>, phase: Phase) -> Result<()> {
        self.add_instance_noise(batch, phase)?;
        let part = self.part(phase);
        self.normalise_weights()?;
        let Trainer { backend, work, discriminator_memory: memory, state, .. } = self;
        let pass = Pass { backend, params: backend.view(&memory.params), n: part.n };
        let images = backend.slice(shown(backend, &work.images, &work.noised), part.images);
        let noise = batch.noise(backend, &self.settings, phase, backend.view(state));
        let verdict = Verdict {
            logits: backend.slice_mut(backend.view_mut(&mut work.logits), 0..part.n),
            kl: backend.slice_mut(backend.view_mut(&mut work.kl), 0..part.n),
        };
        self.discriminator.forward(pass, part.groups, backend.view_mut(&mut memory.stats), images, noise, verdict)
    }

    /// Prepares the discriminator's weights for its passes, where they are normalised.
    pub(crate) fn normalise_weights(&mut self) -> Result<()> {
        let Trainer { backend, discriminator, discriminator_memory: memory, .. } = self;
        discriminator.normalise_weights(backend, backend.view(&memory.params), backend.view_mut(&mut memory.stats))
    }

    /// What the discriminator's passes have left in its arena of gradients, by the parameters themselves: they are by the
    /// normalised weights before, where weights are normalised.
    pub(crate) fn raw_gradients(&mut self) -> Result<()> {
        let Trainer { backend, discriminator, discriminator_memory: memory, .. } = self;
        discriminator.raw_gradients(backend, backend.view(&memory.stats), backend.view_mut(&mut memory.gradients))
    }

    /// The way back through the discriminator: to its parameters (and to `d_images`, if wanted) in its own phase, to the
    /// images in the generator's.
    fn blame(&mut self, batch: &Batch<B>, phase: Phase, mut d_images: Option<Out<'_, B>>) -> Result<()> {
        let part = self.part(phase);
        let Trainer { backend, work, discriminator_memory: memory, state, .. } = self;
        let pass = Pass { backend, params: backend.view(&memory.params), n: part.n };
        let images = backend.slice(shown(backend, &work.images, &work.noised), part.images);
        let noise = batch.noise(backend, &self.settings, phase, backend.view(state));
        let gradient = VerdictGradient {
            logits: backend.slice(backend.view(&work.logits), 0..part.n),
            dlogits: backend.slice(backend.view(&work.dlogits), 0..part.n),
            dkl: backend.slice(backend.view(&work.dkl), 0..part.n),
        };
        let (d_images, d_params) = match phase {
            Phase::Discriminator(_) => {
                (d_images.as_mut().map(|d| backend.reborrow(d)), Some(backend.view_mut(&mut memory.gradients)))
            }
            Phase::Generator => (Some(backend.view_mut(&mut work.d_images)), None),
        };
        self.discriminator.backward(pass, images, noise, gradient, d_images, d_params)
    }

    /// Instance noise on the images of a phase, where the settings ask for it.
    pub(super) fn add_instance_noise(&mut self, batch: &Batch<B>, phase: Phase) -> Result<()> {
        let part = self.part(phase);
        let Trainer { backend, work, state, settings, image, .. } = self;
        let Some(noised) = &mut work.noised else { return Ok(()) };
        let d = objective::instance_noise(settings, phase, part.n, image.len());
        let images = backend.slice(backend.view(&work.images), part.images.clone());
        let noised = backend.slice_mut(backend.view_mut(noised), part.images);
        backend.instance_noise(&d, images, batch.instance_noise(backend, phase), backend.view(state), noised)
    }

    /// The repelling term of the generator's loss, where the settings have it.
    fn repel(&mut self) -> Result<()> {
        let Trainer { backend, discriminator, discriminator_memory: memory, state, settings, .. } = self;
        let pass = Pass { backend, params: backend.view(&memory.params), n: settings.train.batch };
        discriminator.repelling_loss(pass, backend.view_mut(state))
    }

    fn part(&self, phase: Phase) -> Part {
        let (n, image) = (self.settings.train.batch, self.image.len());
        match phase {
            Phase::Discriminator(_) => Part { n: 2 * n, groups: 2, images: 0..2 * n * image },
            Phase::Generator => Part { n, groups: 1, images: n * image..2 * n * image },
        }
    }

    /// Checks a network's gradients and takes the optimiser's step with them; the discriminator's weights are then clipped,
    /// if that is asked for. The encoder moves at the generator's rate; nothing is done where there is none.
    fn update(&mut self, network: Network) -> Result<()> {
        self.pull_to_historical_mean(network)?;
        let optimizer = &self.settings.optimizer;
        let (memory, lr) = match network {
            Network::Discriminator => (&mut self.discriminator_memory, optimizer.discriminator_lr),
            Network::Generator => (&mut self.generator_memory, optimizer.generator_lr),
            Network::Encoder => match &mut self.encoder_memory {
                Some(memory) => (memory, optimizer.generator_lr),
                None => return Ok(()),
            },
        };
        let OptimizerSettings { beta1, beta2, decay, epsilon, .. } = *optimizer;
        let (backend, gradients) = (&self.backend, self.backend.view(&memory.gradients));
        backend.check_gradients(network, gradients, backend.view_mut(&mut self.state))?;
        let state = backend.view(&self.state);
        let (weights, second) = (backend.view_mut(&mut memory.params), backend.view_mut(&mut memory.second_moments));
        match optimizer.kind {
            OptimizerKind::Adam => {
                let d = Adam { network, lr, beta1, beta2, epsilon };
                let first = backend.view_mut(&mut memory.first_moments);
                backend.adam_update(&d, gradients, weights, first, second, state)?;
            }
            OptimizerKind::Rmsprop => {
                backend.rmsprop_update(&Rmsprop { lr, decay, epsilon }, gradients, weights, second, state)?;
            }
        }
        let clip = self.settings.objective.clip;
        if network == Network::Discriminator && clip > 0.0 {
            backend.clip_weights(clip, backend.view(&self.state), backend.view_mut(&mut memory.params))?;
        }
        Ok(())
    }

    /// The part of historical averaging in a network's loss and gradients, where the settings ask for it.
    fn pull_to_historical_mean(&mut self, network: Network) -> Result<()> {
        let memory = match network {
            Network::Discriminator => &mut self.discriminator_memory,
            Network::Generator => &mut self.generator_memory,
            // It is no player of the game: the source averages the players alone.
            Network::Encoder => return Ok(()),
        };
        let Some(mean) = &mut memory.historical_mean else { return Ok(()) };
        let (backend, weight) = (&self.backend, self.settings.objective.historical_averaging);
        let params = backend.view(&memory.params);
        backend.historical_mean(network, params, backend.view(&self.state), backend.view_mut(mean))?;
        let (gradients, state) = (backend.view_mut(&mut memory.gradients), backend.view_mut(&mut self.state));
        backend.historical_penalty(network, weight, params, backend.view(mean), gradients, state)
    }

    fn update_average(&mut self) -> Result<()> {
        let Some(average) = &mut self.average else { return Ok(()) };
        let (backend, memory, decay) = (&self.backend, &self.generator_memory, self.settings.generator.ema);
        backend.ema_update(decay, backend.view(&memory.params), backend.view_mut(&mut average.params))?;
        backend.ema_update(decay, backend.view(&memory.stats), backend.view_mut(&mut average.stats))
    }

    /// The 2N images of the last discriminator step, or, after a generator step, its N fakes in the second half.
    pub fn images(&self) -> In<'_, B> {
        self.backend.view(&self.work.images)
    }

    /// [`Trainer::images`], to write.
    pub(crate) fn images_mut(&mut self) -> Out<'_, B> {
        self.backend.view_mut(&mut self.work.images)
    }

    /// The logits of the last forward pass of D; N or 2N of them are meaningful.
    pub fn logits(&self) -> In<'_, B> {
        self.backend.view(&self.work.logits)
    }
}

/// What the discriminator sees of the images: with instance noise, where there is any.
pub(super) fn shown<'a, B: Executor>(backend: &B, images: &'a Buffer<B>, noised: &'a Option<Buffer<B>>) -> In<'a, B> {
    backend.view(noised.as_ref().unwrap_or(images))
}

/// Which images a phase shows to the discriminator.
struct Part {
    n: usize,
    groups: usize,
    images: std::ops::Range<usize>,
}
