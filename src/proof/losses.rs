//! The whole losses as cases: loss_d by every parameter of D and by its images, loss_g by every parameter of G and by
//! its latents, and by every parameter of the encoder of mode regularisation where there is one, for narrow models.
//!
//! They run through the functions that a step is made of, so a check of them is a check of everything in between:
//! layers in the right order, ranges of the arena, the two groups of a batch, the KL's weight. A whole step can't be checked: in its
//! second half D has been updated with fakes of G, so that G's loss depends on G's parameters through D's update too, and a step has no
//! gradient by images and latents, which are inputs here. The inputs of a case are
//! fixed draws. None of them puts an activation so near to the kink of a ReLU that a difference crosses it: the error
//! would be plain to see.

use super::models;
use super::parameters::{
    FIXED, draw, draw_parameters, draw_stored, hold_spectral_norm, parameter, set_classes, set_parameters,
    write_gradients, write_loss,
};
use crate::Result;
use crate::config::{PixelRange, Settings};
use crate::device::philox::DrawStep;
use crate::device::{Network, StepState, StoredBuffer};
use crate::nn::ImageShape;
use crate::ops::{Case, CaseBuffer, Executor, Fill, Tensor};
use crate::train::batch::{Batch, Given, Phase};
use crate::train::objective;
use crate::train::step::model::{Generated, Model};
use crate::train::step::{discriminator_gradients, generate, generator_gradients, mode_regularization};
use crate::train::trainer::Trainer;

/// Both losses of every narrow model.
///
/// # Errors
/// If memory is used up.
pub fn cases<B: Executor>(backend: &B) -> Result<Vec<Case<B>>> {
    let mut cases = Vec::new();
    for (name, settings, image) in models()? {
        for &network in losses_of(&settings) {
            cases.push(case(backend, &name, settings.clone(), image, network)?);
        }
    }
    Ok(cases)
}

/// The loss of one network of one model.
fn case<B: Executor>(
    backend: &B,
    name: &str,
    settings: Settings,
    image: ImageShape,
    network: Network,
) -> Result<Case<B>> {
    let model = Trainer::new(backend.clone(), settings.clone(), image)?.model;
    let dims = model.discriminator.layers.bottleneck(1).map_or(0, |d| d.dims());
    let table = model.memory(network).map(|memory| memory.parts.params.clone()).unwrap_or_default();
    let loss = ModelLoss { settings, image, dims, network };
    let op = match network {
        Network::Discriminator => "loss_d",
        Network::Generator => "loss_g",
        Network::Encoder => "loss_e",
    };
    let mut case = Case::new(op, name);
    for tensor in table.entries().iter().map(parameter).chain(loss.input_beside()) {
        case = case.input_of(tensor);
    }
    let same = loss.clone();
    Ok(case
        .real_output("loss", 1)
        .forward_of_many(move |be: &B, inputs, outputs| {
            let metrics = loss.run(be, inputs)?.0.read_state()?.metrics;
            let discriminator = network == Network::Discriminator;
            write_loss(be, if discriminator { metrics.loss_d } else { metrics.loss_g }, outputs)
        })
        .backward_of_many(move |be: &B, inputs, d_outputs, d_inputs| {
            let (model, beside) = same.run(be, inputs)?;
            let Some(memory) = model.memory(network) else { return Ok(()) };
            write_gradients(be, &table, &memory.gradients, beside.as_ref(), &d_outputs[0], d_inputs)
        }))
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

/// A loss of a model whose discriminator has a bottleneck of so many dimensions of z.
#[derive(Clone)]
struct ModelLoss {
    settings: Settings,
    image: ImageShape,
    dims: usize,
    /// Whose loss it is; the encoder's is the generator's.
    network: Network,
}

impl ModelLoss {
    fn batch(&self) -> usize {
        self.settings.train.batch
    }

    /// A trainer with the case's parameters and images or latents, and the noise that it is fed with.
    fn trainer<B: Executor>(&self, backend: &B, inputs: &[CaseBuffer<B>]) -> Result<(Trainer<B>, Batch<B>)> {
        let mut trainer = Trainer::new(backend.clone(), self.settings.clone(), self.image)?;
        if self.settings.objective.loss.is_balanced() {
            // k starts at 0, where fake images would have no part in D's loss.
            trainer.write_state(&StepState { balance: 0.6, ..trainer.read_state()? })?;
        }
        let model = &mut trainer.model;
        // The other networks are fixed; that of the case starts from the inputs as they are before any is moved.
        for network in NETWORKS {
            let first = if network == self.network { 0 } else { FIXED + 2000 * network as u32 };
            draw_parameters(model, network, first)?;
        }
        hold_spectral_norm(model)?;
        set_parameters(model, self.network, inputs)?;
        set_classes(model)?;
        let of_generator = model.latents_of(Phase::Generator(DrawStep::ONCE));
        let images = &mut model.batch.images.clean;
        let latents = &mut model.batch.latents;
        let beside = || inputs[inputs.len() - 1].view(backend).stored();
        match self.network {
            Network::Discriminator => {
                backend.copy(beside(), backend.part_mut(images, 0..2 * self.batch() * self.image.len()))?;
            }
            Network::Generator => backend.copy(beside(), backend.part_mut(latents, of_generator))?,
            Network::Encoder => {
                let drawn = draw_stored(backend, &self.latents(), FIXED + 1003)?;
                backend.copy(backend.view(&drawn), backend.part_mut(latents, of_generator))?;
            }
        }
        // The image encoder looks at real images in G's half of a step, and so does feature matching.
        if self.network != Network::Discriminator {
            let real = draw_stored(backend, &self.images(self.batch()), FIXED + 1002)?;
            backend.copy(backend.view(&real), backend.part_mut(images, 0..self.batch() * self.image.len()))?;
        }
        let noise = |images: usize, number| draw(backend, &Tensor::real("noise", images * self.dims), FIXED + number);
        let given = Batch::Given(Given {
            noise_d: noise(2 * self.batch(), 1000)?,
            noise_g: noise(self.batch(), 1001)?,
            noise_reconstruction: noise(self.batch(), 1004)?,
            ..Given::none(backend)?
        });
        Ok((trainer, given))
    }

    /// The model after its passes, and the gradient of the input beside the parameters.
    fn run<B: Executor>(&self, backend: &B, inputs: &[CaseBuffer<B>]) -> Result<(Model<B>, Option<StoredBuffer<B>>)> {
        let (Trainer { mut model, mut methods, .. }, given) = self.trainer(backend, inputs)?;
        let mut gradient = self.input_beside().map(|beside| backend.alloc(beside.len)).transpose()?;
        let target = gradient.as_mut().map(|gradient| backend.view_mut(gradient));
        match self.network {
            Network::Discriminator => {
                discriminator_gradients(&mut model, &given, DrawStep::ONCE, target)?;
                model.raw_gradients()?;
                gradient = gradient.map(|shown| self.through_augmentation(&model, &shown)).transpose()?;
            }
            Network::Generator | Network::Encoder => {
                generate(&mut model, Generated::Generator)?;
                generator_gradients(&mut model, &mut methods, &given, DrawStep::ONCE, target)?;
                if let Some(regularizer) = &mut methods.mode_regularizer {
                    mode_regularization::add_gradients(&mut model, regularizer, &given)?;
                }
            }
        }
        Ok((model, gradient))
    }

    /// From the gradient by D's images as it sees them to that by the images, whose draws are those of the state.
    fn through_augmentation<B: Executor>(&self, model: &Model<B>, shown: &StoredBuffer<B>) -> Result<StoredBuffer<B>> {
        let (backend, phase) = (&model.backend, Phase::Discriminator(DrawStep::ONCE));
        let d = objective::augment(&self.settings, phase, 2 * self.batch(), self.image);
        let (shown, mut images) = (backend.view(shown), backend.alloc(2 * self.batch() * self.image.len())?);
        backend.augment_backward_input(&d, shown, None, backend.view(&model.state), backend.view_mut(&mut images))?;
        Ok(images)
    }

    /// So many images.
    fn images(&self, count: usize) -> Tensor {
        let (low, high) = match self.settings.data.range {
            PixelRange::ZeroToOne => (0.0, 1.0),
            PixelRange::MinusOneToOne => (-1.0, 1.0),
        };
        Tensor::stored("images", count * self.image.len()).filled(Fill::Uniform(low, high))
    }

    /// The z of G's images.
    fn latents(&self) -> Tensor {
        Tensor::stored("latents", self.batch() * self.settings.generator.latent)
    }

    /// The input beside the parameters. The real images that the encoder sees are data, and nothing is differentiated by them.
    fn input_beside(&self) -> Option<Tensor> {
        match self.network {
            Network::Discriminator => Some(self.images(2 * self.batch())),
            Network::Generator => Some(self.latents()),
            Network::Encoder => None,
        }
    }
}
