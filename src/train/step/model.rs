//! All that a step works on: the networks with their arenas, the batch, and the state.

use std::ops::Range;

use super::batch_memory::own_images;
pub use super::batch_memory::{BatchMemory, ImageGradients, Images};
use crate::config::{Settings, TrainSettings, validate_for_ranks};
use crate::device::philox::DrawStep;
use crate::device::{Buffer, Metrics, Network, StepState};
use crate::nn::{Discriminator, Division, Generator, ImageEncoder, ImageShape, NetworkMemory, Parts, TrainedNetwork};
use crate::ops::Executor;
use crate::train::batch::Phase;
use crate::train::objective;
use crate::{Error, Result};

/// Steps whose figures are kept, in a ring: the device writes them, the host reads them.
pub const HISTORY: u64 = 256;

/// The networks, the batch that they work on, and the state.
pub struct Model<B: Executor> {
    /// The backend that it runs on.
    pub backend: B,
    /// The run's settings.
    pub settings: Settings,
    /// The size of an image.
    pub image: ImageShape,
    /// The generator.
    pub generator: TrainedNetwork<Generator<B>, B>,
    /// The discriminator.
    pub discriminator: TrainedNetwork<Discriminator<B>, B>,
    /// The image encoder of mode regularisation, where the settings ask for it.
    pub image_encoder: Option<TrainedNetwork<ImageEncoder<B>, B>>,
    /// Moving averages of the generator's parameters and of its statistics, where the settings ask for one.
    pub average: Option<Average<B>>,
    /// A step's batch.
    pub batch: BatchMemory<B>,
    /// All that changes from step to step beside the arenas.
    pub state: Buffer<B, StepState>,
    /// The figures of the last [`HISTORY`] steps, that of step s at s mod [`HISTORY`]; pinned.
    pub history: Buffer<B, Metrics>,
}

/// The moving average that samples are drawn with.
pub struct Average<B: Executor> {
    /// Parameters.
    pub params: Buffer<B>,
    /// Running statistics.
    pub stats: Buffer<B>,
}

/// The images that the generator makes in one pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generated {
    /// Those of the discriminator's phase.
    Discriminator,
    /// Those of the generator's phase.
    Generator,
    /// Those of the discriminator's last phase, then those of the generator's, each with batch statistics of their own. The generator
    /// does not change between the two, and larger products are faster.
    Both,
}

impl Generated {
    /// The phases that they are of, in order, with the draws of this part of the batch.
    pub(super) fn phases(self, part: DrawStep) -> impl Iterator<Item = Phase> {
        let (of_d, of_g) = (Phase::Discriminator(part), Phase::Generator(part.once()));
        [(self != Generated::Generator).then_some(of_d), (self != Generated::Discriminator).then_some(of_g)]
            .into_iter()
            .flatten()
    }

    /// Those of a phase.
    pub(super) fn of(phase: Phase) -> Self {
        match phase {
            Phase::Discriminator(_) => Generated::Discriminator,
            Phase::Generator(_) => Generated::Generator,
        }
    }

    /// Their numbers among the 2N that are generated, of which the discriminator's come first. N real images lie before them.
    pub(super) fn numbers(self, n: usize) -> Range<usize> {
        match self {
            Generated::Discriminator => 0..n,
            Generated::Generator => n..2 * n,
            Generated::Both => 0..2 * n,
        }
    }
}

/// The images of the batch that pass the discriminator in one phase.
pub(super) struct PhaseImages {
    /// Their number.
    pub(super) n: usize,
    /// Groups of them that have batch statistics of their own.
    pub(super) groups: usize,
    /// Their elements in the batch.
    pub(super) range: Range<usize>,
    /// Their numbers in the batch.
    pub(super) numbers: Range<usize>,
}

impl<B: Executor> Model<B> {
    /// Builds the networks for images of this size and draws their first weights from the seed.
    ///
    /// # Errors
    /// If the widths do not fit the image, or memory is used up.
    pub(in crate::train) fn new(backend: B, settings: Settings, image: ImageShape) -> Result<Self> {
        validate_for_ranks(&settings, backend.ranks().world)?;
        let n = own_images(&settings, backend.ranks());
        let at_once = if settings.train.accumulate == 1 { 2 * n } else { n };
        let generator = Generator::new(&backend, &settings, image, at_once)?;
        let discriminator = Discriminator::new(&backend, &settings, image, 2 * n)?;
        Self::with_networks(backend, settings, image, generator, discriminator)
    }

    /// The same with networks that are built already, each with its tables.
    ///
    /// # Errors
    /// [`Error::Usage`] where they do not take and make what the settings and the images say; if memory is used up.
    pub(in crate::train) fn with_networks(
        backend: B,
        settings: Settings,
        image: ImageShape,
        generator: (Generator<B>, Parts),
        discriminator: (Discriminator<B>, Parts),
    ) -> Result<Self> {
        validate_for_ranks(&settings, backend.ranks().world)?;
        let (n, seed) = (own_images(&settings, backend.ranks()), settings.train.seed);
        require_fit(&settings, image, &generator.0, &discriminator.0)?;
        let averaged = settings.objective.historical_averaging > 0.0;
        let TrainSettings { sync_batch_norm: joins_norms, shard_optimizer: shards_moments, .. } = settings.train;
        let division = Division { joins_norms, shards_moments };
        let network = |parts: Parts, first_tensor, with_mean| {
            NetworkMemory::new(&backend, parts, settings.optimizer.kind, seed, first_tensor, with_mean, division)
        };
        let (layers, parts) = generator;
        let first_of_d = tensors(parts.params.entries().len());
        let generator = TrainedNetwork { layers, memory: network(parts, 0, averaged)? };
        let (layers, parts) = discriminator;
        // The encoder's weights are drawn behind those of the others, so that these are the same with and without one.
        let of_d = parts.params.entries().len().max(parts.stats.entries().len());
        let first_of_e = first_of_d.saturating_add(tensors(of_d));
        let discriminator = TrainedNetwork { layers, memory: network(parts, first_of_d, averaged)? };
        let image_encoder = if settings.objective.has_encoder() {
            let (layers, parts) = ImageEncoder::new(&backend, &settings, image, n)?;
            Some(TrainedNetwork { layers, memory: network(parts, first_of_e, false)? })
        } else {
            None
        };
        Ok(Model {
            average: Average::new(&backend, &settings, &generator.memory)?,
            generator,
            discriminator,
            image_encoder,
            batch: BatchMemory::new(&backend, &settings, image)?,
            state: backend.buffer_of(&[StepState::new(seed, settings.bottleneck.beta)])?,
            history: backend.alloc_pinned(HISTORY as usize)?,
            backend,
            settings,
            image,
        })
    }

    /// A network's arenas, if there is such a network.
    pub fn memory(&self, network: Network) -> Option<&NetworkMemory<B>> {
        match network {
            Network::Discriminator => Some(&self.discriminator.memory),
            Network::Generator => Some(&self.generator.memory),
            Network::Encoder => self.image_encoder.as_ref().map(|encoder| &encoder.memory),
        }
    }

    /// [`Model::memory`], to write.
    pub fn memory_mut(&mut self, network: Network) -> Option<&mut NetworkMemory<B>> {
        self.split(network).1
    }

    /// The backend, a network's arenas, if there is such a network, and the state.
    pub(in crate::train) fn split(
        &mut self,
        network: Network,
    ) -> (&B, Option<&mut NetworkMemory<B>>, &mut Buffer<B, StepState>) {
        let Model { backend, generator, discriminator, image_encoder, state, .. } = self;
        let memory = match network {
            Network::Discriminator => Some(&mut discriminator.memory),
            Network::Generator => Some(&mut generator.memory),
            Network::Encoder => image_encoder.as_mut().map(|encoder| &mut encoder.memory),
        };
        (backend, memory, state)
    }

    /// The state after the steps so far.
    ///
    /// # Errors
    /// Those of the device.
    pub fn read_state(&self) -> Result<StepState> {
        Ok(self.backend.read(self.backend.view(&self.state))?[0])
    }

    /// Prepares the discriminator's weights for its passes, where they are normalised.
    pub(crate) fn normalise_weights(&mut self) -> Result<()> {
        let Model { backend, discriminator: TrainedNetwork { layers, memory }, .. } = self;
        layers.normalise_weights(backend, backend.view(&memory.params), backend.view_mut(&mut memory.stats))
    }

    /// Turns what the discriminator's passes have left in its arena of gradients into gradients by the parameters
    /// themselves. Before, they are by the normalised weights, where weights are normalised.
    pub(crate) fn raw_gradients(&mut self) -> Result<()> {
        let Model { backend, discriminator: TrainedNetwork { layers, memory }, .. } = self;
        layers.raw_gradients(backend, backend.view(&memory.stats), backend.view_mut(&mut memory.gradients))
    }

    /// Images of each kind that pass the networks at once on this rank: N.
    pub fn micro_batch(&self) -> usize {
        own_images(&self.settings, self.backend.ranks())
    }

    /// The parts of the batch that pass the networks one after the other, each with its draws: the whole of it, unless gradients
    /// accumulate. A rank passes its own share of each, so that all ranks together pass what one would.
    pub(super) fn parts(&self, draws: DrawStep) -> impl Iterator<Item = DrawStep> + use<B> {
        let (part, first) = (self.settings.micro_batch(), self.backend.ranks().rank * self.micro_batch());
        (0..self.settings.train.accumulate)
            .map(move |index| draws.from_sample(u32::try_from(index * part + first).unwrap_or(u32::MAX)))
    }

    /// Whether the images of the discriminator's last phase and those of the generator's are made in one pass: where a phase is one pass,
    /// and the generator has memory for both.
    pub(in crate::train) fn generates_both(&self) -> bool {
        self.settings.train.accumulate == 1 && self.generator.layers.net().capacity() >= 2 * self.micro_batch()
    }

    /// Whether these are the draws of the first part of a batch.
    pub(super) fn is_first(&self, draws: DrawStep) -> bool {
        objective::part(&self.settings, draws).is_first()
    }

    /// The elements of a phase's latents in the batch.
    pub(crate) fn latents_of(&self, phase: Phase) -> Range<usize> {
        let (Range { start, end }, len) =
            (Generated::of(phase).numbers(self.micro_batch()), self.settings.generator.latent);
        start * len..end * len
    }

    /// The images that pass the discriminator in a phase: the first 2N in its own, the last N in the generator's.
    pub(super) fn images_of(&self, phase: Phase) -> PhaseImages {
        let (n, image) = (self.micro_batch(), self.image.len());
        match phase {
            Phase::Discriminator(_) => PhaseImages { n: 2 * n, groups: 2, range: 0..2 * n * image, numbers: 0..2 * n },
            Phase::Generator(_) => {
                PhaseImages { n, groups: 1, range: 2 * n * image..3 * n * image, numbers: 2 * n..3 * n }
            }
        }
    }
}

/// Refuses networks that do not take and make what the settings and the images say.
fn require_fit<B: Executor>(
    settings: &Settings,
    image: ImageShape,
    generator: &Generator<B>,
    discriminator: &Discriminator<B>,
) -> Result<()> {
    let net = generator.net();
    let (latent, ImageShape { h, w, c }) = (settings.generator.latent, image);
    if (net.x_len(), net.y_len()) != (latent, image.len()) {
        return Err(Error::Usage(format!(
            "the generator: expected one from {latent} values (generator.latent) to images of {h}×{w}×{c}, found one from {} \
             to {} values",
            net.x_len(),
            net.y_len()
        )));
    }
    if discriminator.x_len() != image.len() {
        return Err(Error::Usage(format!(
            "the discriminator: expected one of images of {h}×{w}×{c}, found one of {} values",
            discriminator.x_len()
        )));
    }
    let has_bottleneck = discriminator.bottleneck(1).is_some();
    if has_bottleneck != settings.bottleneck.enabled {
        return Err(Error::Usage(format!(
            "the discriminator: expected one {} bottleneck, as bottleneck.enabled says",
            if settings.bottleneck.enabled { "with a" } else { "without a" }
        )));
    }
    Ok(())
}

/// A number of tensors, as draws count them.
fn tensors(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl<B: Executor> Average<B> {
    /// Starts from the generator as it is; `None` where the settings ask for no average.
    fn new(backend: &B, settings: &Settings, generator: &NetworkMemory<B>) -> Result<Option<Self>> {
        if !settings.generator.is_averaged() {
            return Ok(None);
        }
        let copy = |source: &Buffer<B>| {
            let source = backend.view(source);
            let mut target = backend.alloc(backend.len(source))?;
            backend.copy(source, backend.view_mut(&mut target))?;
            Result::Ok(target)
        };
        Ok(Some(Average { params: copy(&generator.params)?, stats: copy(&generator.stats)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;
    use crate::device::Cpu;

    /// Samples before the first step are drawn with the average.
    #[test]
    fn the_average_begins_as_the_generator() {
        let mut settings = preset("quick").expect("a preset");
        settings.generator.ema = 0.99;
        let backend = Cpu::<f32>::new(Some(1)).expect("threads");
        let model = Model::new(backend, settings, ImageShape { h: 28, w: 28, c: 1 }).expect("a model");
        let average = model.average.expect("an average");
        assert!(average.params == model.generator.memory.params && average.stats == model.generator.memory.stats);
        assert!(average.params.iter().any(|&weight| weight != 0.0) && average.stats.iter().any(|&value| value != 0.0));
    }
}
