//! The whole losses as cases: loss_d by every parameter of D and by its images, loss_g by every parameter of G and by
//! its latents, for narrow models.
//!
//! They run through the [`Trainer`] itself, so a check of them is a check of everything in between: layers in the right
//! order, ranges of the arena, the two groups of a batch, the KL's weight. The inputs of a case are fixed draws. None of
//! them puts an activation so near to the kink of a ReLU that a difference crosses it: the error would be plain to see.

use super::batch::{Batch, Given, GivenInstanceNoise, GivenPenalty};
use super::penalty_case;
use super::trainer::Trainer;
use crate::Result;
use crate::config::{
    BottleneckSettings, DataSettings, DiscriminatorSettings, Family, GeneratorSettings, GeneratorZ, KlMix, KlReduction,
    Loss, NetsSettings, Norm, ObjectiveSettings, OptimizerSettings, OutputLayer, PixelRange, Settings, TrainSettings,
};
use crate::device::philox::DrawStep;
use crate::device::{Buffer, Network, Real, StepState};
use crate::nn::table::{Init, Table};
use crate::nn::{Entry, ImageShape};
use crate::ops::{Case, Executor, Fill, Tensor, gradient_check};

/// Both losses of every narrow model, and every gradient penalty.
///
/// # Errors
/// Where memory is used up.
pub fn cases<B: Executor>(backend: &B) -> Result<Vec<Box<dyn Case<B>>>> {
    let mut cases: Vec<Box<dyn Case<B>>> = Vec::new();
    for (name, settings, image) in models() {
        let trainer = Trainer::new(backend.clone(), settings.clone(), image)?;
        let tables =
            [&trainer.discriminator_memory, &trainer.generator_memory].map(|memory| memory.parts.params.clone());
        let dims = trainer.discriminator.bottleneck(1).map_or(0, |d| d.dims());
        for network in losses_of(&settings) {
            let (settings, tables) = (settings.clone(), tables.clone());
            cases.push(Box::new(WholeLoss { name, settings, image, tables, dims, network: *network }));
        }
    }
    cases.extend(penalty_case::cases(backend)?);
    Ok(cases)
}

/// The losses to check of a model: both nets', but for G's alone where it matches features, since D's is then that of another
/// model.
fn losses_of(settings: &Settings) -> &'static [Network] {
    if settings.objective.feature_matching > 0.0 {
        &[Network::Generator]
    } else {
        &[Network::Discriminator, Network::Generator]
    }
}

/// Name, settings and image of each model: the article's, the paper's objective, the plain GAN, one without hidden layers,
/// the paper's nets, the article's with every other loss, and with instance noise.
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
    models
}

/// The narrowest of the article's model with every other loss, with instance noise, and with spectral norm: the layers are checked above.
fn objectives(article: &Settings) -> Vec<(&'static str, Settings, ImageShape)> {
    let narrowest = Settings {
        generator: GeneratorSettings { hidden: vec![], channels: vec![2, 2], ..article.generator.clone() },
        discriminator: DiscriminatorSettings { channels: vec![2, 2], hidden: vec![3], ..article.discriminator.clone() },
        ..article.clone()
    };
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
/// normalisation and repelling term. Every energy is below the margin, and k is not 0 (see [`WholeLoss::trainer`]).
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

struct WholeLoss {
    name: &'static str,
    settings: Settings,
    image: ImageShape,
    /// Of the discriminator and of the generator, as [`Network`] counts.
    tables: [Table; 2],
    /// Elements of one image's z.
    dims: usize,
    /// Whose loss it is.
    network: Network,
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
        let buffer = |values: Vec<f64>| backend.buffer_of(&values.into_iter().map(B::Real::of).collect::<Vec<_>>());
        // In G's case D is fixed; in D's case it starts from the inputs as they are before any is moved. G has no part there.
        let first = if self.network == Network::Generator { FIXED } else { 0 };
        for (number, entry) in (first..).zip(self.tables[0].entries()) {
            let drawn = buffer(gradient_check::fill(&parameter(entry), number))?;
            let params = backend.view_mut(&mut trainer.discriminator_memory.params);
            backend.copy(backend.view(&drawn), backend.slice_mut(params, entry.range()))?;
        }
        self.hold_spectral_norm(&mut trainer)?;
        for (input, entry) in inputs.iter().zip(self.tables[self.network as usize].entries()) {
            let memory = match self.network {
                Network::Discriminator => &mut trainer.discriminator_memory,
                Network::Generator => &mut trainer.generator_memory,
            };
            let params = backend.view_mut(&mut memory.params);
            backend.copy(backend.view(input), backend.slice_mut(params, entry.range()))?;
        }
        let shown = backend.view(&inputs[inputs.len() - 1]);
        let latents_g = match self.network {
            Network::Discriminator => {
                backend.copy(shown, trainer.images_mut())?;
                backend.alloc(0)?
            }
            Network::Generator => {
                // Feature matching alone looks at real images in G's step.
                let len = self.batch() * self.image.len();
                let reals = Tensor::new("images", len).filled(Fill::Uniform(0.0, 1.0));
                let reals = buffer(gradient_check::fill(&reals, FIXED + 1002))?;
                backend.copy(backend.view(&reals), backend.slice_mut(trainer.images_mut(), 0..len))?;
                buffer(backend.read(shown)?.into_iter().map(Real::to_f64).collect())?
            }
        };
        let noise = |images: usize, number| {
            buffer(gradient_check::fill(&Tensor::new("noise", images * self.dims), FIXED + number))
        };
        let batch = Batch::Given(Given {
            images: backend.alloc(0)?,
            latents_d: backend.alloc(0)?,
            latents_g,
            noise_d: noise(2 * self.batch(), 1000)?,
            noise_g: noise(self.batch(), 1001)?,
            instance: GivenInstanceNoise::none(backend)?,
            penalty: GivenPenalty::none(backend)?,
        });
        Ok((trainer, batch))
    }

    /// Holds the vectors of spectral normalisation where some power iterations bring them for the weights so far: its
    /// gradient takes them for constants, so they may not follow a weight that is moved.
    fn hold_spectral_norm<B: Executor>(&self, trainer: &mut Trainer<B>) -> Result<()> {
        if self.settings.discriminator.spectral_norm {
            (0..3).try_for_each(|_| trainer.normalise_weights())?;
            trainer.discriminator.hold_spectral_norm();
        }
        Ok(())
    }

    /// The trainer after its pass; the gradient of the last input goes to `d_shown`.
    fn run<B: Executor>(&self, backend: &B, inputs: &[Buffer<B>], d_shown: &mut Buffer<B>) -> Result<Trainer<B>> {
        let (mut trainer, batch) = self.trainer(backend, inputs)?;
        let d_shown = Some(backend.view_mut(d_shown));
        match self.network {
            Network::Discriminator => {
                trainer.image_gradients(&batch, DrawStep::ONCE, d_shown)?;
                trainer.raw_gradients()?;
            }
            Network::Generator => trainer.generator_gradients(&batch, d_shown)?,
        }
        Ok(trainer)
    }

    /// The input beside the parameters.
    fn shown(&self) -> Tensor {
        let (low, high) = match self.settings.data.range {
            PixelRange::ZeroToOne => (0.0, 1.0),
            PixelRange::MinusOneToOne => (-1.0, 1.0),
        };
        match self.network {
            Network::Discriminator => {
                Tensor::new("images", 2 * self.batch() * self.image.len()).filled(Fill::Uniform(low, high))
            }
            Network::Generator => Tensor::new("latents", self.batch() * self.settings.generator.latent),
        }
    }
}

impl<B: Executor> Case<B> for WholeLoss {
    fn op(&self) -> &'static str {
        match self.network {
            Network::Discriminator => "loss_d",
            Network::Generator => "loss_g",
        }
    }
    fn name(&self) -> String {
        self.name.into()
    }
    fn inputs(&self) -> Vec<Tensor> {
        let parameters = self.tables[self.network as usize].entries().iter().map(parameter);
        parameters.chain([self.shown()]).collect()
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("loss", 1)]
    }
    fn forward(&self, backend: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let trainer = self.run(backend, inputs, &mut backend.alloc(self.shown().len)?)?;
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
        let mut d_shown = backend.alloc(self.shown().len)?;
        let trainer = self.run(backend, inputs, &mut d_shown)?;
        let memory = match self.network {
            Network::Discriminator => &trainer.discriminator_memory,
            Network::Generator => &trainer.generator_memory,
        };
        let gradients = backend.view(&memory.gradients);
        let parameters = self.tables[self.network as usize].entries().iter();
        let sources = parameters.map(|entry| backend.slice(gradients, entry.range())).chain([backend.view(&d_shown)]);
        let scale = backend.read(backend.view(&d_outputs[0]))?[0];
        for (source, target) in sources.zip(d_inputs) {
            let scaled: Vec<B::Real> = backend.read(source)?.into_iter().map(|g| g * scale).collect();
            backend.upload(&scaled, backend.view_mut(target))?;
        }
        Ok(())
    }
}
