//! The whole losses as cases: loss_d by every parameter of D and by its images, loss_g by every parameter of G and by
//! its latents, and by every parameter of the encoder of mode regularisation where there is one, for narrow models.
//!
//! They run through the functions that a step is made of, so a check of them is a check of everything in between:
//! layers in the right order, ranges of the arena, the two groups of a batch, the KL's weight. The inputs of a case are
//! fixed draws. None of them puts an activation so near to the kink of a ReLU that a difference crosses it: the error
//! would be plain to see.

use super::parameters::{
    FIXED, draw, draw_parameters, hold_spectral_norm, parameter, set_parameters, write_gradients, write_loss,
};
use crate::Result;
use crate::config::{
    BottleneckSettings, DataSettings, DiscriminatorSettings, Family, GeneratorSettings, GeneratorZ, KlMix, KlReduction,
    Loss, NetsSettings, Norm, ObjectiveSettings, OptimizerSettings, OutputLayer, PixelRange, Settings, Sigma,
    TrainSettings,
};
use crate::device::philox::DrawStep;
use crate::device::{Buffer, Network, StepState};
use crate::nn::ImageShape;
use crate::ops::{Case, Executor, Fill, Tensor};
use crate::train::batch::{Batch, Given};
use crate::train::step::model::Model;
use crate::train::step::{discriminator_gradients, generate, generator_gradients, mode_regularization};
use crate::train::trainer::Trainer;

/// Both losses of every narrow model.
///
/// # Errors
/// If memory is used up.
pub fn cases<B: Executor>(backend: &B) -> Result<Vec<Case<B>>> {
    let mut cases = Vec::new();
    for (name, settings, image) in models() {
        for &network in losses_of(&settings) {
            cases.push(case(backend, name, settings.clone(), image, network)?);
        }
    }
    Ok(cases)
}

/// The loss of one network of one model.
fn case<B: Executor>(
    backend: &B,
    name: &'static str,
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
    for Tensor { name, len, fill } in table.entries().iter().map(parameter).chain(loss.input_beside()) {
        case = case.filled_input(name, len, fill);
    }
    let same = loss.clone();
    Ok(case
        .output("loss", 1)
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

/// Name, settings and image of each model: the article's, the paper's objective, the plain GAN, one without hidden layers,
/// the paper's nets, the article's with every other loss, with instance noise, and with mode regularisation.
fn models() -> Vec<(&'static str, Settings, ImageShape)> {
    let article = Settings {
        generator: GeneratorSettings {
            latent: 3,
            hidden: vec![5],
            channels: vec![4, 3],
            ..GeneratorSettings::default()
        },
        discriminator: DiscriminatorSettings {
            channels: vec![3, 4],
            hidden: vec![5],
            ..DiscriminatorSettings::default()
        },
        bottleneck: BottleneckSettings { beta: 0.3, ..BottleneckSettings::default() },
        train: TrainSettings { batch: 5, ..TrainSettings::default() },
        ..Settings::default()
    };
    let paper = Settings {
        data: DataSettings { range: PixelRange::MinusOneToOne, ..DataSettings::default() },
        generator: GeneratorSettings { output: OutputLayer::Stride1, ..article.generator.clone() },
        bottleneck: BottleneckSettings {
            channels: 2,
            kl_reduction: KlReduction::Sum,
            kl_mix: KlMix::Mean,
            generator_z: GeneratorZ::Mean,
            beta: 0.1,
            ..BottleneckSettings::default()
        },
        ..article.clone()
    };
    let plain = Settings {
        discriminator: DiscriminatorSettings { norm_first: false, ..article.discriminator.clone() },
        bottleneck: BottleneckSettings { enabled: false, ..BottleneckSettings::default() },
        ..article.clone()
    };
    let shallow = Settings {
        generator: GeneratorSettings { hidden: vec![], ..article.generator.clone() },
        discriminator: DiscriminatorSettings { hidden: vec![], leak: 0.1, ..article.discriminator.clone() },
        bottleneck: BottleneckSettings {
            kl_reduction: KlReduction::Channels,
            logvar_bias: -1.0,
            ..article.bottleneck.clone()
        },
        ..article.clone()
    };
    let residual = Settings {
        data: paper.data.clone(),
        nets: NetsSettings { family: Family::Resnet },
        generator: GeneratorSettings {
            latent: 3,
            hidden: vec![],
            channels: vec![],
            width: 2,
            max_width: 3,
            output: OutputLayer::Stride1,
            ..GeneratorSettings::default()
        },
        discriminator: DiscriminatorSettings {
            hidden: vec![],
            channels: vec![],
            width: 2,
            max_width: 3,
            norm_first: false,
            ..DiscriminatorSettings::default()
        },
        bottleneck: BottleneckSettings {
            channels: 2,
            kl_reduction: KlReduction::Channels,
            kl_mix: KlMix::Mean,
            sigma: Sigma::Logstd,
            beta: 0.1,
            ..BottleneckSettings::default()
        },
        optimizer: OptimizerSettings { init_std: 0.0, ..OptimizerSettings::default() },
        train: TrainSettings { batch: 2, ..TrainSettings::default() },
        ..Settings::default()
    };
    let mut models = vec![
        ("vgan, KL mean, sampled z", article.clone(), ImageShape { h: 8, w: 4, c: 1 }),
        ("vgan, KL summed and mixed, mean z", paper, ImageShape { h: 4, w: 6, c: 3 }),
        ("gan", plain, ImageShape { h: 4, w: 8, c: 1 }),
        ("vgan without hidden layers", shallow, ImageShape { h: 4, w: 4, c: 2 }),
        ("vgan of residual blocks", residual, ImageShape { h: 8, w: 10, c: 1 }),
    ];
    models.extend(objectives(&article));
    models.extend(autoencoders(&article));
    models.extend(mode_regularized(&article));
    models
}

/// The narrowest of the article's model, for what has no layers of its own: these are checked in wider ones.
fn narrowest(article: &Settings) -> Settings {
    Settings {
        generator: GeneratorSettings { hidden: vec![], channels: vec![2, 2], ..article.generator.clone() },
        discriminator: DiscriminatorSettings { channels: vec![2, 2], hidden: vec![3], ..article.discriminator.clone() },
        ..article.clone()
    }
}

/// Both terms of mode regularisation, without a bottleneck, and with one whose z is sampled and with instance noise.
fn mode_regularized(article: &Settings) -> [(&'static str, Settings, ImageShape); 2] {
    let (mut plain, mut sampled) = (narrowest(article), narrowest(article));
    plain.objective = ObjectiveSettings { reconstruction: 1.5, mode: 0.7, ..ObjectiveSettings::default() };
    plain.bottleneck.enabled = false;
    sampled.objective = ObjectiveSettings { loss: Loss::Lsgan, instance_noise: 0.3, ..plain.objective.clone() };
    let small = ImageShape { h: 4, w: 4, c: 1 };
    [("gan, mode-regularised", plain, small), ("vgan, mode-regularised", sampled, small)]
}

/// The narrowest model with every other loss, with instance noise, and with spectral norm.
fn objectives(article: &Settings) -> Vec<(&'static str, Settings, ImageShape)> {
    let narrowest = narrowest(article);
    let mut normalised = narrowest.clone();
    normalised.discriminator.spectral_norm = true;
    let small = ImageShape { h: 4, w: 4, c: 1 };
    let smoothed = |loss, real_target| ObjectiveSettings { loss, real_target, ..ObjectiveSettings::default() };
    let mut models: Vec<_> = [
        ("vgan, minimax", smoothed(Loss::Gan, 0.9)),
        ("vgan, least squares", smoothed(Loss::Lsgan, 1.0)),
        ("vgan, hinge", smoothed(Loss::Hinge, 1.0)),
        ("vgan, Wasserstein", smoothed(Loss::Wgan, 1.0)),
        ("vgan, instance noise", ObjectiveSettings { instance_noise: 0.3, ..ObjectiveSettings::default() }),
    ]
    .map(|(name, objective)| (name, Settings { objective, ..narrowest.clone() }, small))
    .into();
    models.push(("vgan, spectral norm", normalised.clone(), small));
    models.push(("vgan, minibatch discrimination", minibatch(&narrowest), small));
    models.extend(feature_matching(&narrowest, &normalised).map(|(name, settings)| (name, settings, small)));
    models
}

/// Minibatch discrimination of two kernels.
fn minibatch(narrowest: &Settings) -> Settings {
    let mut settings = narrowest.clone();
    (settings.discriminator.minibatch_kernels, settings.discriminator.minibatch_dims) = (2, 2);
    settings
}

/// A generator that matches features: μ, and, where weights are normalised, the encoder's output. D's head has no part in it.
fn feature_matching(narrowest: &Settings, normalised: &Settings) -> [(&'static str, Settings); 2] {
    let matching = |settings: &Settings, weight| {
        let mut settings = settings.clone();
        settings.discriminator.hidden = vec![];
        settings.objective.feature_matching = weight;
        settings
    };
    let mut plain = matching(normalised, 0.3);
    plain.bottleneck.enabled = false;
    [("vgan, feature matching", matching(narrowest, 1.0)), ("gan, spectral norm, feature matching", plain)]
}

/// Discriminators that are autoencoders: both powers of the error, with and without bottleneck, hidden layers, batch
/// normalisation and repelling term. Every energy is below the margin, and k is not 0 (see [`ModelLoss::trainer`]).
fn autoencoders(article: &Settings) -> [(&'static str, Settings, ImageShape); 4] {
    let of = |loss, repelling| ObjectiveSettings { loss, repelling, ..ObjectiveSettings::default() };
    let plain = Settings {
        bottleneck: BottleneckSettings { enabled: false, ..BottleneckSettings::default() },
        ..article.clone()
    };
    // A code narrower than the encoder's last image, and no linear layer to widen it again.
    let shallow = Settings {
        data: DataSettings { range: PixelRange::MinusOneToOne, ..DataSettings::default() },
        discriminator: DiscriminatorSettings { hidden: vec![], norm: Norm::None, ..article.discriminator.clone() },
        bottleneck: BottleneckSettings { channels: 2, ..article.bottleneck.clone() },
        ..article.clone()
    };
    [
        (
            "ebgan, repelling",
            Settings { objective: of(Loss::Ebgan, 0.7), ..plain.clone() },
            ImageShape { h: 4, w: 8, c: 1 },
        ),
        (
            "ebgan with bottleneck, repelling",
            Settings { objective: ObjectiveSettings { margin: 9.0, ..of(Loss::Ebgan, 0.7) }, ..shallow },
            ImageShape { h: 4, w: 4, c: 2 },
        ),
        ("began", Settings { objective: of(Loss::Began, 0.0), ..plain }, ImageShape { h: 8, w: 4, c: 1 }),
        (
            "began with bottleneck",
            Settings { objective: of(Loss::Began, 0.0), ..article.clone() },
            ImageShape { h: 4, w: 4, c: 1 },
        ),
    ]
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
    fn trainer<B: Executor>(&self, backend: &B, inputs: &[Buffer<B>]) -> Result<(Trainer<B>, Batch<B>)> {
        let mut trainer = Trainer::new(backend.clone(), self.settings.clone(), self.image)?;
        if self.settings.objective.loss == Loss::Began {
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
        let (images, latents) = (&mut model.batch.images.clean, &mut model.batch.latents);
        let beside = || backend.view(&inputs[inputs.len() - 1]);
        match self.network {
            Network::Discriminator => backend.copy(beside(), backend.view_mut(images))?,
            Network::Generator => backend.copy(beside(), backend.view_mut(latents))?,
            Network::Encoder => *latents = draw(backend, &self.latents(), FIXED + 1003)?,
        }
        // The image encoder looks at real images in G's half of a step, and so does feature matching.
        if self.network != Network::Discriminator {
            let real = draw(backend, &self.images(self.batch()), FIXED + 1002)?;
            backend.copy(backend.view(&real), backend.part_mut(images, 0..self.batch() * self.image.len()))?;
        }
        let noise = |images: usize, number| draw(backend, &Tensor::new("noise", images * self.dims), FIXED + number);
        let given = Batch::Given(Given {
            noise_d: noise(2 * self.batch(), 1000)?,
            noise_g: noise(self.batch(), 1001)?,
            noise_reconstruction: noise(self.batch(), 1004)?,
            ..Given::none(backend)?
        });
        Ok((trainer, given))
    }

    /// The model after its passes, and the gradient of the input beside the parameters.
    fn run<B: Executor>(&self, backend: &B, inputs: &[Buffer<B>]) -> Result<(Model<B>, Option<Buffer<B>>)> {
        let (Trainer { mut model, mut methods, .. }, given) = self.trainer(backend, inputs)?;
        let mut gradient = self.input_beside().map(|beside| backend.alloc(beside.len)).transpose()?;
        let target = gradient.as_mut().map(|gradient| backend.view_mut(gradient));
        match self.network {
            Network::Discriminator => {
                discriminator_gradients(&mut model, &given, DrawStep::ONCE, target)?;
                model.raw_gradients()?;
            }
            Network::Generator | Network::Encoder => {
                generate(&mut model)?;
                generator_gradients(&mut model, &mut methods, &given, target)?;
                if let Some(regularizer) = &mut methods.mode_regularizer {
                    mode_regularization::add_gradients(&mut model, regularizer, &given)?;
                }
            }
        }
        Ok((model, gradient))
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
    fn input_beside(&self) -> Option<Tensor> {
        match self.network {
            Network::Discriminator => Some(self.images(2 * self.batch())),
            Network::Generator => Some(self.latents()),
            Network::Encoder => None,
        }
    }
}
