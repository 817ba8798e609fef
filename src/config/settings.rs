//! Every setting of a run, declared once: its meaning, its default, its range, and the methods that it belongs to where it
//! belongs to some. The defaults are those of preset `vgan-mnist`, but for `data.source`: `glyphs` here, empty there.

use serde::{Deserialize, Serialize};

use super::background::Background;
use super::declare::{LARGEST, Range, choices, sections, settings};
use super::objective::{BottleneckZ, ObjectiveSettings};
pub use crate::device::Precision;
pub use crate::ops::inputs::prior::Prior;
pub use crate::ops::layers::bottleneck::Sigma;
pub use crate::ops::optimizers::schedule::ScheduleKind;
use crate::ops::optimizers::schedule::{Decay, Schedule};

/// The widest layer and the longest list of layers that are accepted: far above any sensible net, and low enough
/// that the count of its parameters can't overflow.
pub(super) const WIDEST: usize = 1 << 16;
pub(super) const MOST_LAYERS: usize = 16;

const UP_TO_WIDEST: Range = Range::whole(0, WIDEST as u64);
const ONE_TO_WIDEST: Range = Range::whole(1, WIDEST as u64);
const WIDTHS: Range = Range::Widths { longest: MOST_LAYERS, widest: WIDEST };
/// As many as labels can count.
const CLASSES: Range = Range::whole(0, 65_535);
const CONDITIONAL: [&str; 1] = ["class-conditional GAN"];
const COUNT: Range = Range::whole(0, LARGEST);
const FROM_2: Range = Range::Whole { least: 2, most: WIDEST as u64, because: "batch normalisation needs two images" };
/// e^logvar and its square must stay far from the ends of f32.
const LOGVAR: Range = Range::Real { low: -20.0, above: false, high: 20.0, below: false };

sections! {
    /// All settings of a run, as in `config.toml`; `--set section.key=value` changes any of them.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    pub struct Settings {
        /// The data set, and its conversion for the nets.
        pub data: DataSettings,
        /// The family of both nets.
        pub nets: NetsSettings,
        /// The generator.
        pub generator: GeneratorSettings,
        /// The discriminator around the bottleneck.
        pub discriminator: DiscriminatorSettings,
        /// The variational bottleneck and its constraint.
        pub bottleneck: BottleneckSettings,
        /// The losses and everything added to them.
        pub objective: ObjectiveSettings,
        /// The optimisers of all nets.
        pub optimizer: OptimizerSettings,
        /// Length, batch, seed, and the intervals of reports.
        pub train: TrainSettings,
        /// Metrics that are measured while the run goes on.
        pub eval: EvalSettings,
    }
}

settings! {
    /// `[data]`: the data set. The image size is not a setting: it follows from the images, `resize` and `channels`.
    pub struct DataSettings: "data" {
        /// `glyphs` (embedded), or the path of an IDX file, a CIFAR-10 binary, a folder or an archive; empty in presets that
        /// need `--data`.
        pub source: String = "glyphs".into();
        /// Crop each image to its central square and resize that to this many pixels a side; 0 keeps the size.
        pub resize: usize = 0 => UP_TO_WIDEST;
        /// Convert each image to 1 (grey) or 3 (red, green, blue) channels; 0 keeps them.
        pub channels: usize = 0 => Range::Few(&[(0, "as they are"), (1, "grey"), (3, "colour")]);
        /// Background of transparent pictures: `black`, `white`, `grey` or `#rrggbb`; a grey picture takes the colour's
        /// luma.
        pub background: Background = Background::default();
        /// Seed of the embedded digits, separate from `train.seed`, so that runs with different seeds train on the same
        /// images; other sources do not use it.
        pub seed: u64 = 0 => COUNT;
        /// Mirror each image left-right with probability ½, drawn again at every step.
        pub flip: bool = false;
        /// Interval that pixels 0..=255 are mapped to; it also selects the generator's last activation.
        pub range: PixelRange = PixelRange::ZeroToOne;
    }
}

choices! {
    /// The interval that pixels are mapped to.
    pub enum PixelRange {
        /// [0, 1], and the generator ends in a sigmoid.
        ZeroToOne = "0..1",
        /// [−1, 1], and the generator ends in a tanh.
        MinusOneToOne = "-1..1",
    }
}

settings! {
    /// `[nets]`: what both nets have in common.
    pub struct NetsSettings: "nets" {
        /// Family of generator and discriminator; it decides which width settings are used.
        pub family: Family = Family::Dcgan;
        /// The way in which both nets get the class of an image. All but `none` need images with classes.
        pub conditional: Conditional = Conditional::None, of CONDITIONAL;
        /// Width of the class embedding beside z in the generator, and beside the code in D with `concatenation` (256 in the
        /// paper's code, beside a z of 256). Much wider than z, it makes all samples of a class alike.
        pub class_embedding: usize = 10 => ONE_TO_WIDEST, of CONDITIONAL;
        /// Number of classes; 0 takes that of the data set, which a run's config.toml then names.
        pub classes: usize = 0 => CLASSES, of CONDITIONAL;
    }
}

choices! {
    /// The way in which a class-conditional net is told the class. The generator gets an embedding of the class beside z in all of
    /// them, divided by its length (the paper's code).
    pub enum Conditional {
        /// Not at all.
        None = "none",
        /// D's logit gains the product of its last features with an embedding of the class (Miyato & Koyama 2018).
        Projection = "projection",
        /// D's last layer has a logit for each class, and the image's class selects one (Mescheder et al. 2018; the paper's
        /// code).
        Selection = "selection",
        /// D's hidden layers get an embedding of the class beside the code (Mirza & Osindero 2014).
        Concatenation = "concatenation",
    }
}

impl NetsSettings {
    /// Whether the nets are told the class of an image.
    pub fn is_conditional(&self) -> bool {
        self.conditional != Conditional::None
    }
}

choices! {
    /// A family of nets.
    pub enum Family {
        /// Convolutions k4 s2 with batch normalisation (Radford et al. 2016; the article). The lists
        /// `channels` and `hidden` of each net give its layers; `width` and `max_width` are 0.
        Dcgan = "dcgan",
        /// Residual blocks without normalisation (the paper). The image size gives the number of doublings and
        /// halvings, from about 4×4; `width` and `max_width` of each net give the widths; `channels` and `hidden` are empty.
        Resnet = "resnet",
    }
}

settings! {
    /// `[generator]`: linear layers, then transposed convolutions or residual blocks that double the image.
    pub struct GeneratorSettings: "generator" {
        /// Length of the latent vector z.
        pub latent: usize = 62 => ONE_TO_WIDEST;
        /// The distribution of z.
        pub prior: Prior = Prior::Uniform;
        /// Widths of the linear layers before the one that makes the first image; may be empty.
        pub hidden: Vec<usize> = vec![1024] => WIDTHS, of ["DCGAN"];
        /// Channels of the images inside the net, smallest image first; each ConvT k4 s2 p1 doubles the image.
        pub channels: Vec<usize> = vec![128, 64] => WIDTHS, of ["DCGAN"];
        /// Channels at full resolution in a residual net, twice as many at each lower resolution; 0 in a DCGAN.
        pub width: usize = 0 => UP_TO_WIDEST, of ["residual nets"];
        /// Maximum number of channels of a residual net; 0 in a DCGAN.
        pub max_width: usize = 0 => UP_TO_WIDEST, of ["residual nets"];
        /// The last layer, to the picture: `stride2` doubles once more, `stride1` keeps the size, as in every residual net.
        pub output: OutputLayer = OutputLayer::Stride2;
        /// Decay of the exponential moving average of the weights, from which samples are drawn; 0 turns it off.
        pub ema: f64 = 0.0 => Range::DECAY;
        /// Half-life of that average in images, instead of a decay (1000 times `ema_kimg` of StyleGAN2-ADA); 0 for none.
        pub ema_half_life: f64 = 0.0 => Range::FROM_0;
        /// Ramp-up of the half-life: at most this part of the images seen (0.05 in StyleGAN2-ADA); 0 for none.
        pub ema_rampup: f64 = 0.0 => Range::FROM_0;
    }
}

choices! {
    /// The generator's last layer.
    pub enum OutputLayer {
        /// ConvT k4 s2 p1: doubles the image.
        Stride2 = "stride2",
        /// ConvT k3 s1 p1, in a residual net Conv k3 s1 p1: keeps its size.
        Stride1 = "stride1",
    }
}

settings! {
    /// `[discriminator]`: convolutions k4 s2 p1, or residual blocks and poolings, that halve the image; the bottleneck;
    /// then linear layers to one logit.
    pub struct DiscriminatorSettings: "discriminator" {
        /// Channels after each convolution, largest image first.
        pub channels: Vec<usize> = vec![64, 128] => WIDTHS, of ["DCGAN"];
        /// Channels at full resolution in a residual net, twice as many at each lower resolution; 0 in a DCGAN.
        pub width: usize = 0 => UP_TO_WIDEST, of ["residual nets"];
        /// Maximum number of channels of a residual net; 0 in a DCGAN.
        pub max_width: usize = 0 => UP_TO_WIDEST, of ["residual nets"];
        /// Normalisation between the layers of a DCGAN; a residual net has none. A gradient penalty
        /// needs `none`.
        pub norm: Norm = Norm::Batch, of ["DCGAN"];
        /// With `norm = batch`, also normalise after the first convolution (the article's `vgan-mnist.ipynb` does, its
        /// `gan.ipynb` not).
        pub norm_first: bool = true, of ["DCGAN"];
        /// Widths of the linear layers between the bottleneck and the logit; may be empty.
        pub hidden: Vec<usize> = vec![1024] => WIDTHS, of ["DCGAN"];
        /// Slope of the leaky ReLU for negative inputs.
        pub leak: f64 = 0.2 => Range::DECAY;
        /// Divide every weight by its largest singular value (spectral normalisation, Miyato et al. 2018).
        pub spectral_norm: bool = false, of ["spectral normalisation", "SN-GAN"];
        /// B, number of kernels of minibatch discrimination before the last linear layer (Salimans et al. 2016; 100 in the
        /// authors' code); 0 turns it off. It needs a hidden layer.
        pub minibatch_kernels: usize = 0 => UP_TO_WIDEST, of ["minibatch discrimination"];
        /// C, dimensions of each of these kernels.
        pub minibatch_dims: usize = 5 => ONE_TO_WIDEST, of ["minibatch discrimination"];
    }
}

choices! {
    /// Normalisation between the discriminator's layers.
    pub enum Norm {
        /// Batch normalisation, real and fake images each with statistics of their own.
        Batch = "batch",
        /// Nothing.
        None = "none",
    }
}

settings! {
    /// `[bottleneck]`: the Variational Discriminator Bottleneck (paper Eq. 8 and 9).
    pub struct BottleneckSettings: "bottleneck" {
        /// Use the bottleneck; without it the discriminator is that of a plain GAN.
        pub enabled: bool = true, of ["VGAN"];
        /// Channels of z at each position; 0 takes the encoder's last width.
        pub channels: usize = 0 => UP_TO_WIDEST, of ["VGAN"];
        /// Reduction of one image's KL divergence over the dimensions of z.
        pub kl_reduction: KlReduction = KlReduction::Mean, of ["VGAN"];
        /// Combination of the KL of real and of fake images in the constraint.
        pub kl_mix: KlMix = KlMix::Sum, of ["VGAN"];
        /// The z that goes through the discriminator's head in the generator's step.
        pub generator_z: BottleneckZ = BottleneckZ::Sampled, of ["VGAN"];
        /// Meaning of the encoder's second output, log σ² or log σ. Its tensor is called `conv_logvar` in both cases.
        pub sigma: Sigma = Sigma::Logvar, of ["VGAN"];
        /// Initial bias of `conv_logvar`, in the units of `sigma` (0 in the article). −3 is σ ≈ 0.22 with `logvar`, which
        /// removes the plateau at the start; with `logstd` the same σ is −1.5.
        pub logvar_bias: f64 = 0.0 => LOGVAR, of ["VGAN"];
        /// β₀, the initial weight of the constraint.
        pub beta: f64 = 0.0 => Range::FROM_0, of ["VGAN"];
        /// α_β, the step size of the dual ascent on β.
        pub beta_step: f64 = 1e-5 => Range::FROM_0, of ["VGAN"];
        /// I_c, the upper bound on the information through the bottleneck, in nats, reduced as in `kl_reduction`.
        pub target_kl: f64 = 0.1 => Range::FROM_0, of ["VGAN"];
    }
}

choices! {
    /// Reduction of one image's KL.
    pub enum KlReduction {
        /// Mean over all dimensions (the article).
        Mean = "mean",
        /// Sum over all dimensions (the paper).
        Sum = "sum",
        /// Sum over channels, mean over positions (the paper's official code).
        Channels = "channels",
    }
}

choices! {
    /// Combination of the KL of real and fake images.
    pub enum KlMix {
        /// (KL_real − I_c) + (KL_fake − I_c) (the article).
        Sum = "sum",
        /// ½(KL_real + KL_fake) − I_c (the paper).
        Mean = "mean",
    }
}

settings! {
    /// `[optimizer]`: the optimiser of each net, and the initialisation of the weights.
    pub struct OptimizerSettings: "optimizer" {
        /// Update rule.
        pub kind: OptimizerKind = OptimizerKind::Adam;
        /// Learning rate of the discriminator.
        pub discriminator_lr: f64 = 2e-4 => Range::ABOVE_0;
        /// Learning rate of the generator.
        pub generator_lr: f64 = 2e-4 => Range::ABOVE_0;
        /// Warm-up: over the first so many steps both rates rise from near 0 in equal steps; 0 for none.
        pub warmup: u64 = 0 => COUNT;
        /// The way that both rates go after that.
        pub schedule: ScheduleKind = ScheduleKind::Constant;
        /// The last step before they fall.
        pub schedule_start: u64 = 0 => COUNT;
        /// The number of steps that they fall for, at least 1 where they do; then they stay.
        pub schedule_steps: u64 = 0 => COUNT;
        /// The part of the rates that is left in the end.
        pub schedule_floor: f64 = 0.0 => Range::DECAY;
        /// Adam's decay of the first moment.
        pub beta1: f64 = 0.5 => Range::DECAY, of ["Adam"];
        /// Adam's decay of the second moment.
        pub beta2: f64 = 0.999 => Range::DECAY, of ["Adam"];
        /// RMSprop's decay of the second moment, α.
        pub decay: f64 = 0.99 => Range::DECAY, of ["RMSprop"];
        /// ε of both optimisers, added after the square root of the second moment (for Adam, of the bias-corrected moment).
        pub epsilon: f64 = 1e-8 => Range::ABOVE_0;
        /// Standard deviation of the initial normal weights; biases start at 0. If 0, weights and biases start as in PyTorch:
        /// U(−1/√fan_in, 1/√fan_in).
        pub init_std: f64 = 0.02 => Range::FROM_0;
    }
}

impl OptimizerSettings {
    /// The schedule of both learning rates.
    pub fn rates(&self) -> Schedule {
        Schedule {
            warmup: self.warmup,
            kind: self.schedule,
            start: self.schedule_start,
            steps: self.schedule_steps,
            floor: self.schedule_floor,
        }
    }
}

impl GeneratorSettings {
    /// Whether a moving average of the weights is kept.
    pub fn is_averaged(&self) -> bool {
        self.ema > 0.0 || self.ema_half_life > 0.0
    }
}

impl Settings {
    /// The decay of the moving average of the generator's weights.
    #[expect(clippy::cast_precision_loss)]
    pub fn average_decay(&self) -> Decay {
        let GeneratorSettings { ema, ema_half_life, ema_rampup, .. } = self.generator;
        Decay { decay: ema, half_life: ema_half_life, rampup: ema_rampup, batch: self.train.batch as f64 }
    }

    /// Images of each kind that pass the networks at once, on all ranks together: the batch, or each of its equal parts where gradients
    /// accumulate.
    pub fn micro_batch(&self) -> usize {
        self.train.batch / self.train.accumulate.max(1)
    }
}

choices! {
    /// Update rules.
    pub enum OptimizerKind {
        /// Adam (Kingma & Ba 2015), with bias correction.
        Adam = "adam",
        /// RMSprop (Tieleman & Hinton 2012), as in PyTorch, without momentum.
        Rmsprop = "rmsprop",
    }
}

settings! {
    /// `[train]`: length, batch, seed, and the intervals of reports.
    pub struct TrainSettings: "train" {
        /// Batch size: this many real and this many generated images a step; at least 2, for batch normalisation.
        pub batch: usize = 128 => FROM_2;
        /// Parts of the batch that pass the networks one after the other, with their gradients added up before each update (gradient
        /// accumulation): about as many times less memory for activations. Batch normalisation takes each part's own statistics.
        pub accumulate: usize = 1 => Range::whole(1, LARGEST);
        /// With several ranks: batch normalisation takes the statistics of the images of all ranks (SyncBatchNorm), as one rank would;
        /// otherwise each rank takes those of its own images, which saves a message in each such layer and pass.
        pub sync_batch_norm: bool = true;
        /// With several ranks: each keeps the optimiser's moments of its own share of the parameters only, updates this share, and gets the
        /// others' (ZeRO stage 1). The numbers are the same either way.
        pub shard_optimizer: bool = false;
        /// Length in epochs, used if `steps` is 0. A file or a command line that gives `epochs` and not `steps` sets `steps`
        /// to 0.
        pub epochs: usize = 25 => COUNT;
        /// Length in steps; if 0, `epochs` gives the length.
        pub steps: u64 = 0 => COUNT;
        /// Training time in minutes, over all starts of the run, saving not counted. The run stops after this time or at its
        /// last step, whichever comes first. 0 sets no limit.
        pub minutes: f64 = 0.0 => Range::FROM_0;
        /// Random seed of training (`data.seed` is that of the embedded digits); at most 2⁶³ − 1, the largest number of a
        /// TOML file.
        pub seed: u64 = 0 => COUNT;
        /// Steps between two records of `stats.jsonl`.
        pub tick: u64 = 20 => Range::whole(1, LARGEST);
        /// Steps between two snapshots (checkpoint, grid, curves); 0 means one an epoch.
        pub snap: u64 = 0 => COUNT;
        /// Checkpoints to keep; 0 keeps all.
        pub keep: usize = 2 => COUNT;
        /// Write the figures, the grids of samples and the settings as events for TensorBoard too, into the run's folder.
        pub tensorboard: bool = false;
        /// f32; tf32, to which the operands of linear layers and convolutions are rounded; or bf16, in which activations and their
        /// gradients lie in memory too.
        pub dtype: Precision = Precision::F32;
        /// Weights to begin with: the folder of a run or checkpoint, or a file of weights (safetensors, PyTorch, `.npz`); empty
        /// draws them from the seed. A checkpoint holds them, so a resume does not need the source.
        pub init: String = String::new();
        /// Parts of the model that begin with those weights, separated by commas: `generator`, `discriminator.conv`, or
        /// `generator=average` to take the source's moving average; empty takes all networks.
        pub init_parts: String = String::new();
    }
}

choices! {
    /// The method to resize images to the 299×299 of Inception-v3, in the words of clean-fid: only figures of the same method are
    /// comparable.
    pub enum Resize {
        /// By PIL's bicubic filter, without aliasing and without rounding to 8 bits, as clean-fid does.
        Clean = "clean",
        /// By PyTorch's bilinear interpolation, as pytorch-fid does.
        LegacyPytorch = "legacy-pytorch",
        /// By TensorFlow 1's bilinear interpolation, as the first code for FID and torch-fidelity do.
        LegacyTensorflow = "legacy-tensorflow",
    }
}

settings! {
    /// `[eval]`: metrics of samples against the data set, measured while the run goes on. The weights do not depend on them.
    pub struct EvalSettings: "eval" {
        /// The metrics, with commas between them: `fcd`, `kid`, `pr`, `dc`, `classes`, `class_fcd`, `swd`, `fid`, `is`. Empty measures
        /// nothing.
        pub metrics: String = String::new();
        /// Steps between two measurements; 0 measures at each snapshot.
        pub every: u64 = 0 => COUNT;
        /// Samples that are drawn for a measurement.
        pub samples: usize = 10_000 => Range::whole(16, LARGEST);
        /// Seed of the first sample, and of the metrics' own draws.
        pub seed: u64 = 0 => COUNT;
        /// File of the classifier, which is trained and kept there if there is none yet; empty keeps it in the user's cache folder.
        pub classifier: String = String::new();
        /// File of the weights of Inception-v3 for `fid` and `is`: the FID port in PyTorch's names, as safetensors or PyTorch's file.
        pub inception: String = String::new();
        /// Method to resize images to the size of Inception-v3.
        pub inception_resize: Resize = Resize::Clean;
        /// File `.npz` with `mu` and `sigma` of the real images' Inception features; empty computes them from the run's images.
        pub inception_statistics: String = String::new();
    }
}
