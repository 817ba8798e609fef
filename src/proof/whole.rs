//! The whole losses as cases: loss_d by every parameter of D and by its images, loss_g by every parameter of G and by
//! its latents, and by every parameter of the encoder of mode regularisation where there is one, for narrow models.
//!
//! They run through the [`Trainer`] itself, so a check of them is a check of everything in between: layers in the right
//! order, ranges of the arena, the two groups of a batch, the KL's weight. The inputs of a case are fixed draws. None of
//! them puts an activation so near to the kink of a ReLU that a difference crosses it: the error would be plain to see.

use super::{models, penalty_case};
use crate::Result;
use crate::config::{Loss, PixelRange, Settings};
use crate::device::philox::DrawStep;
use crate::device::{Buffer, Network, Real, StepState};
use crate::nn::table::{Init, Table};
use crate::nn::{Entry, ImageShape, NetworkMemory};
use crate::ops::case::{Case, OldCase};
use crate::ops::{Executor, Fill, Tensor, case};
use crate::train::batch::{Batch, Given, GivenInstanceNoise, GivenPenalty};
use crate::train::trainer::Trainer;

/// Both losses of every narrow model, and every gradient penalty.
///
/// # Errors
/// Where memory is used up.
pub fn cases<B: Executor>(backend: &B) -> Result<Vec<Case<B>>> {
    let mut cases: Vec<Box<dyn OldCase<B>>> = Vec::new();
    for (name, settings, image) in models()? {
        let trainer = Trainer::new(backend.clone(), settings.clone(), image)?;
        let encoder = trainer.encoder_memory.as_ref();
        let nets = [Some(&trainer.discriminator_memory), Some(&trainer.generator_memory), encoder];
        let tables = nets.map(|memory| memory.map(|memory| memory.parts.params.clone()).unwrap_or_default());
        let dims = trainer.discriminator.bottleneck(1).map_or(0, |d| d.dims());
        for network in losses_of(&settings) {
            let (settings, tables) = (settings.clone(), tables.clone());
            cases.push(Box::new(WholeLoss { name: name.clone(), settings, image, tables, dims, network: *network }));
        }
    }
    cases.extend(penalty_case::cases(backend)?);
    Ok(cases.into_iter().map(Case::from).collect())
}

/// As [`Network`] counts.
const NETWORKS: [Network; Network::COUNT] = [Network::Discriminator, Network::Generator, Network::Encoder];

/// The losses to check of a model: both nets', but where D's is that of another model, which has been checked: not where G
/// matches features, nor where there is an encoder, whose loss is checked instead.
fn losses_of(settings: &Settings) -> &'static [Network] {
    if settings.objective.feature_matching > 0.0 {
        &[Network::Generator]
    } else if settings.objective.has_encoder() {
        &[Network::Generator, Network::Encoder]
    } else {
        &[Network::Discriminator, Network::Generator]
    }
}

/// Name, settings and image of each model.
fn models() -> Result<Vec<(String, Settings, ImageShape)>> {
    let models = models::of_gradients()?.into_iter().filter(|model| model.penalties.is_empty());
    Ok(models.filter_map(|model| Some((model.name, model.settings, model.image?))).collect())
}

struct WholeLoss {
    name: String,
    settings: Settings,
    image: ImageShape,
    /// Of the parameters of each network, as [`Network`] counts; empty where there is no encoder.
    tables: [Table; Network::COUNT],
    /// Elements of one image's z.
    dims: usize,
    /// Whose loss it is; the encoder's is the generator's.
    network: Network,
}

/// A network's arenas, if there is such a network.
fn arenas<B: Executor>(trainer: &mut Trainer<B>, network: Network) -> Option<&mut NetworkMemory<B>> {
    match network {
        Network::Discriminator => Some(&mut trainer.discriminator_memory),
        Network::Generator => Some(&mut trainer.generator_memory),
        Network::Encoder => trainer.encoder_memory.as_mut(),
    }
}

/// How a parameter is filled: weights such that activations are of order one, everything else around its start.
pub(super) fn parameter(entry: &Entry) -> Tensor {
    let fill = match entry.init {
        Init::Normal(_) | Init::Uniform { .. } if entry.shape.len() > 1 => {
            let inputs = entry.len() / entry.shape[0];
            let bound = (3.0 / inputs as f64).sqrt();
            Fill::Uniform(-bound, bound)
        }
        Init::Constant(value) => Fill::Uniform(value - 0.4, value + 0.4),
        Init::Normal(_) | Init::Uniform { .. } => Fill::Uniform(-0.4, 0.4),
    };
    Tensor::new(entry.name.clone(), entry.len()).filled(fill)
}

/// Holds the vectors of spectral normalisation, where there is one, where some power iterations bring them for the weights so
/// far: its gradient takes them for constants, so they may not follow a weight that is moved.
pub(super) fn hold_spectral_norm<B: Executor>(trainer: &mut Trainer<B>) -> Result<()> {
    if trainer.settings.discriminator.spectral_norm {
        (0..3).try_for_each(|_| trainer.normalise_weights())?;
        trainer.discriminator.hold_spectral_norm();
    }
    Ok(())
}

/// Numbers of the draws that are no inputs of the case, far from those of its inputs.
pub(super) const FIXED: u32 = 5000;

impl WholeLoss {
    fn batch(&self) -> usize {
        self.settings.train.batch
    }

    /// A trainer with the case's parameters, and what it is fed with.
    fn trainer<B: Executor>(&self, backend: &B, inputs: &[Buffer<B>]) -> Result<(Trainer<B>, Batch<B>)> {
        let mut trainer = Trainer::new(backend.clone(), self.settings.clone(), self.image)?;
        if self.settings.objective.loss == Loss::Began {
            // k starts at 0, where fake images would have no part in D's loss.
            trainer.write_state(&StepState { balance: 0.6, ..trainer.read_state()? })?;
        }
        let draw = |tensor: &Tensor, number| {
            let values = case::fill(tensor, number);
            backend.buffer_of(&values.into_iter().map(B::Real::of).collect::<Vec<_>>())
        };
        let set = |trainer: &mut Trainer<B>, network, entry: &Entry, values: &Buffer<B>| {
            let Some(arenas) = arenas(trainer, network) else { return Ok(()) };
            let params = backend.view_mut(&mut arenas.params);
            backend.copy(backend.view(values), backend.slice_mut(params, entry.range()))
        };
        // The other networks are fixed; that of the case starts from the inputs as they are before any is moved.
        for (network, table) in NETWORKS.into_iter().zip(&self.tables) {
            let first = if network == self.network { 0 } else { FIXED + 2000 * network as u32 };
            for (number, entry) in (first..).zip(table.entries()) {
                set(&mut trainer, network, entry, &draw(&parameter(entry), number)?)?;
            }
        }
        hold_spectral_norm(&mut trainer)?;
        for (input, entry) in inputs.iter().zip(self.tables[self.network as usize].entries()) {
            set(&mut trainer, self.network, entry, input)?;
        }
        // An encoder looks at real images in G's step, and so does feature matching.
        if self.network != Network::Discriminator {
            let real = draw(&self.images(self.batch()), FIXED + 1002)?;
            let target = backend.slice_mut(trainer.images_mut(), 0..self.batch() * self.image.len());
            backend.copy(backend.view(&real), target)?;
        }
        let latents_g = match self.network {
            Network::Discriminator => {
                backend.copy(backend.view(&inputs[inputs.len() - 1]), trainer.images_mut())?;
                backend.alloc(0)?
            }
            Network::Generator => backend.buffer_of(&backend.read(backend.view(&inputs[inputs.len() - 1]))?)?,
            Network::Encoder => draw(&self.latents(), FIXED + 1003)?,
        };
        let noise = |images: usize, number| draw(&Tensor::new("noise", images * self.dims), FIXED + number);
        let batch = Batch::Given(Given {
            images: backend.alloc(0)?,
            latents_d: backend.alloc(0)?,
            latents_g,
            noise_d: noise(2 * self.batch(), 1000)?,
            noise_g: noise(self.batch(), 1001)?,
            noise_reconstruction: noise(self.batch(), 1004)?,
            instance: GivenInstanceNoise::none(backend)?,
            penalty: GivenPenalty::none(backend)?,
        });
        Ok((trainer, batch))
    }

    /// The trainer after its pass; the gradient of the last input goes to `d_shown`.
    fn run<B: Executor>(
        &self,
        backend: &B,
        inputs: &[Buffer<B>],
        d_shown: Option<&mut Buffer<B>>,
    ) -> Result<Trainer<B>> {
        let (mut trainer, batch) = self.trainer(backend, inputs)?;
        let d_shown = d_shown.map(|d_shown| backend.view_mut(d_shown));
        match self.network {
            Network::Discriminator => {
                trainer.image_gradients(&batch, DrawStep::ONCE, d_shown)?;
                trainer.raw_gradients()?;
            }
            Network::Generator | Network::Encoder => {
                trainer.generator_gradients(&batch, d_shown)?;
                trainer.mode_gradients(&batch)?;
            }
        }
        Ok(trainer)
    }

    /// So many images.
    fn images(&self, count: usize) -> Tensor {
        let (low, high) = match self.settings.data.range {
            PixelRange::ZeroToOne => (0.0, 1.0),
            PixelRange::MinusOneToOne => (-1.0, 1.0),
        };
        Tensor::new("images", count * self.image.len()).filled(Fill::Uniform(low, high))
    }

    /// The z of G's images.
    fn latents(&self) -> Tensor {
        Tensor::new("latents", self.batch() * self.settings.generator.latent)
    }

    /// The input beside the parameters. The real images that the encoder sees are data, and nothing is differentiated by them.
    fn shown(&self) -> Option<Tensor> {
        match self.network {
            Network::Discriminator => Some(self.images(2 * self.batch())),
            Network::Generator => Some(self.latents()),
            Network::Encoder => None,
        }
    }
}

impl<B: Executor> OldCase<B> for WholeLoss {
    fn op(&self) -> &'static str {
        match self.network {
            Network::Discriminator => "loss_d",
            Network::Generator => "loss_g",
            Network::Encoder => "loss_e",
        }
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn inputs(&self) -> Vec<Tensor> {
        let parameters = self.tables[self.network as usize].entries().iter().map(parameter);
        parameters.chain(self.shown()).collect()
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("loss", 1)]
    }
    fn forward(&self, backend: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let mut d_shown = self.shown().map(|shown| backend.alloc(shown.len)).transpose()?;
        let trainer = self.run(backend, inputs, d_shown.as_mut())?;
        let metrics = trainer.read_state()?.metrics;
        let loss = if self.network == Network::Discriminator { metrics.loss_d } else { metrics.loss_g };
        backend.upload(&[B::Real::of(loss)], backend.view_mut(&mut outputs[0]))
    }
    fn backward(
        &self,
        backend: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let mut d_shown = self.shown().map(|shown| backend.alloc(shown.len)).transpose()?;
        let mut trainer = self.run(backend, inputs, d_shown.as_mut())?;
        let Some(arenas) = arenas(&mut trainer, self.network) else { return Ok(()) };
        let gradients = backend.view(&arenas.gradients);
        let parameters = self.tables[self.network as usize].entries().iter();
        let shown = d_shown.as_ref().map(|d_shown| backend.view(d_shown));
        let sources = parameters.map(|entry| backend.slice(gradients, entry.range())).chain(shown);
        let scale = backend.read(backend.view(&d_outputs[0]))?[0];
        for (source, target) in sources.zip(d_inputs) {
            let scaled: Vec<B::Real> = backend.read(source)?.into_iter().map(|g| g * scale).collect();
            backend.upload(&scaled, backend.view_mut(target))?;
        }
        Ok(())
    }
}
