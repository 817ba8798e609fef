//! Every setting of a run, declared once: its meaning, its default, its range, and the methods that it belongs to where it
//! belongs to some. The defaults are those of preset `vgan-mnist`, but for `data.source`: `glyphs` here, empty there.

use serde::{Deserialize, Serialize};

use super::background::Background;
use super::declare::{Range, choices, sections, settings};
use super::objective::ObjectiveSettings;
pub use crate::device::Precision;
pub use crate::ops::inputs::prior::Prior;
pub use crate::ops::layers::bottleneck::Sigma;

/// The widest layer and the longest list of layers that are accepted: far above any sensible net, and low enough
/// that the count of its parameters can't overflow.
pub(super) const WIDEST: usize = 1 << 16;
pub(super) const MOST_LAYERS: usize = 16;
/// The largest whole number that a configuration file can hold.
pub(super) const LARGEST: u64 = i64::MAX as u64;

const UP_TO_WIDEST: Range = Range::whole(0, WIDEST as u64);
const ONE_TO_WIDEST: Range = Range::whole(1, WIDEST as u64);
const WIDTHS: Range = Range::Widths { longest: MOST_LAYERS, widest: WIDEST };
const COUNT: Range = Range::whole(0, LARGEST);
const FROM_2: Range = Range::Whole { least: 2, most: WIDEST as u64, because: "batch normalisation needs two images" };
/// e^logvar and its square must stay far from the ends of f32.
const LOGVAR: Range = Range::Real { low: -20.0, above: false, high: 20.0, below: false };

sections! {
    /// All settings of a run: what `config.toml` holds and what `--set section.key=value` reaches.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
    #[serde(deny_unknown_fields, default)]
    pub struct Settings {
        /// Where the images come from and how they are shown to the nets.
        pub data: DataSettings,
        /// Which family of nets both are of.
        pub nets: NetsSettings,
        /// The generator.
        pub generator: GeneratorSettings,
        /// The discriminator around the bottleneck.
        pub discriminator: DiscriminatorSettings,
        /// The variational bottleneck and its constraint.
        pub bottleneck: BottleneckSettings,
        /// What the nets play for.
        pub objective: ObjectiveSettings,
        /// The optimisers of all nets.
        pub optimizer: OptimizerSettings,
        /// Length, batch, seed and the rhythm of reports.
        pub train: TrainSettings,
    }
}

settings! {
    /// `[data]`: the data set. The size of the images is no setting: the images have it, after `resize` and `channels`.
    pub struct DataSettings: "data" {
        /// `glyphs` (embedded), or the path of an IDX file, a CIFAR-10 binary, a folder or an archive; empty in a preset
        /// whose images the user must name.
        pub source: String = "glyphs".into();
        /// Crop each image to its central square and resize that to this many pixels a side; 0 keeps the size.
        pub resize: usize = 0 => UP_TO_WIDEST;
        /// Convert each image to 1 (grey) or 3 (red, green, blue) channels; 0 keeps them.
        pub channels: usize = 0 => Range::Few(&[(0, "as they are"), (1, "grey"), (3, "colour")]);
        /// What transparent pictures are laid on: `black`, `white`, `grey` or `#rrggbb`; a grey picture takes the colour's
        /// luma.
        pub background: Background = Background::default();
        /// The seed of the embedded digits, apart from `train.seed`, so that runs of several seeds are trained on the same
        /// images; other sources don't use it.
        pub seed: u64 = 0 => COUNT;
        /// Mirror each image left-right with probability ½, drawn anew at every step.
        pub flip: bool = false;
        /// The interval that pixels 0..=255 are mapped to; it also decides the generator's last activation.
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
        /// The family that generator and discriminator are of; it decides which of their widths have a meaning.
        pub family: Family = Family::Dcgan;
    }
}

choices! {
    /// A family of nets.
    pub enum Family {
        /// Convolutions k4 s2 with batch normalisation (Radford et al. 2016; the article). As many layers as the lists
        /// `channels` and `hidden` of each net name; `width` and `max_width` are 0.
        Dcgan = "dcgan",
        /// Residual blocks without normalisation (the paper). As many doublings and halvings as the image needs from about
        /// 4×4, of widths by `width` and `max_width` of each net; `channels` and `hidden` are empty.
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
        /// Channels at the picture's resolution in a residual net, twice as many at each lower one; 0 in a DCGAN.
        pub width: usize = 0 => UP_TO_WIDEST, of ["residual nets"];
        /// The most channels of a residual net; 0 in a DCGAN.
        pub max_width: usize = 0 => UP_TO_WIDEST, of ["residual nets"];
        /// The last layer, to the picture: `stride2` doubles once more, `stride1` keeps the size, as in every residual net.
        pub output: OutputLayer = OutputLayer::Stride2;
        /// Decay of the exponential moving average of the weights that samples are drawn with; 0 turns it off.
        pub ema: f64 = 0.0 => Range::DECAY;
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
        /// Channels at the image's resolution in a residual net, twice as many at each lower one; 0 in a DCGAN.
        pub width: usize = 0 => UP_TO_WIDEST, of ["residual nets"];
        /// The most channels of a residual net; 0 in a DCGAN.
        pub max_width: usize = 0 => UP_TO_WIDEST, of ["residual nets"];
        /// What normalises between the layers of a DCGAN; a residual net has no normalisation at all. A gradient penalty
        /// wants `none`.
        pub norm: Norm = Norm::Batch, of ["DCGAN"];
        /// Where `norm` is `batch`: whether it also follows the first convolution (the article's HEAD has it, its
        /// `gan.ipynb` not).
        pub norm_first: bool = true, of ["DCGAN"];
        /// Widths of the linear layers between the bottleneck and the logit; may be empty.
        pub hidden: Vec<usize> = vec![1024] => WIDTHS, of ["DCGAN"];
        /// Slope of the leaky ReLU for negative inputs.
        pub leak: f64 = 0.2 => Range::DECAY;
        /// Whether every weight is divided by its largest singular value (spectral normalisation, Miyato et al. 2018).
        pub spectral_norm: bool = false, of ["spectral normalisation", "SN-GAN"];
        /// B, kernels of the minibatch discrimination before the last linear layer (Salimans et al. 2016; 100 in the
        /// authors' code); 0 has none. It wants a hidden layer.
        pub minibatch_kernels: usize = 0 => UP_TO_WIDEST, of ["minibatch discrimination"];
        /// C, dimensions of each of these kernels.
        pub minibatch_dims: usize = 5 => ONE_TO_WIDEST, of ["minibatch discrimination"];
    }
}

choices! {
    /// What normalises between the discriminator's layers.
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
        /// Without it the discriminator is that of a plain GAN.
        pub enabled: bool = true, of ["VGAN"];
        /// Channels of z at each position; 0 takes the encoder's last width.
        pub channels: usize = 0 => UP_TO_WIDEST, of ["VGAN"];
        /// How the KL divergence of one image is reduced over the dimensions of z.
        pub kl_reduction: KlReduction = KlReduction::Mean, of ["VGAN"];
        /// How the KL of real and of fake images enter the constraint.
        pub kl_mix: KlMix = KlMix::Sum, of ["VGAN"];
        /// Which z the generator's step sends through the head.
        pub generator_z: GeneratorZ = GeneratorZ::Sampled, of ["VGAN"];
        /// What the encoder's second output `conv_logvar`, a tensor of that name either way, is: log σ² or log σ.
        pub sigma: Sigma = Sigma::Logvar, of ["VGAN"];
        /// Where the bias of `conv_logvar` starts, in the units of `sigma` (0 in the article). −3 is σ ≈ 0.22 with `logvar`, which
        /// removes the plateau at the start; with `logstd` the same σ is −1.5.
        pub logvar_bias: f64 = 0.0 => LOGVAR, of ["VGAN"];
        /// β₀, the constraint's weight at the start.
        pub beta: f64 = 0.0 => Range::FROM_0, of ["VGAN"];
        /// α_β, the step of β's dual ascent.
        pub beta_step: f64 = 1e-5 => Range::FROM_0, of ["VGAN"];
        /// I_c, the information that the bottleneck may pass, in nats, in the units of `kl_reduction`.
        pub target_kl: f64 = 0.1 => Range::FROM_0, of ["VGAN"];
    }
}

choices! {
    /// How the KL of one image is reduced.
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
    /// How the constraint mixes the KL of real and fake images.
    pub enum KlMix {
        /// (KL_real − I_c) + (KL_fake − I_c) (the article).
        Sum = "sum",
        /// ½(KL_real + KL_fake) − I_c (the paper).
        Mean = "mean",
    }
}

choices! {
    /// Which z the generator's step sends through the head.
    pub enum GeneratorZ {
        /// A sample μ + σ·ε (the article and the official code).
        Sampled = "sampled",
        /// The mean μ (paper Eq. 11).
        Mean = "mean",
    }
}

settings! {
    /// `[optimizer]`: one of a kind for each net, and where the weights start.
    pub struct OptimizerSettings: "optimizer" {
        /// The rule of the update.
        pub kind: OptimizerKind = OptimizerKind::Adam;
        /// Learning rate of the discriminator.
        pub discriminator_lr: f64 = 2e-4 => Range::ABOVE_0;
        /// Learning rate of the generator.
        pub generator_lr: f64 = 2e-4 => Range::ABOVE_0;
        /// Adam's decay of the first moment.
        pub beta1: f64 = 0.5 => Range::DECAY, of ["Adam"];
        /// Adam's decay of the second moment.
        pub beta2: f64 = 0.999 => Range::DECAY, of ["Adam"];
        /// RMSprop's decay of the second moment, α.
        pub decay: f64 = 0.99 => Range::DECAY, of ["RMSprop"];
        /// ε of both optimisers, added to the root of the second moment, not under it; for Adam that of the corrected moment.
        pub epsilon: f64 = 1e-8 => Range::ABOVE_0;
        /// Standard deviation of the normal weights at the start, where biases are 0. With 0 both start as PyTorch's do:
        /// U(−1/√fan_in, 1/√fan_in).
        pub init_std: f64 = 0.02 => Range::FROM_0;
    }
}

choices! {
    /// The rule of an update.
    pub enum OptimizerKind {
        /// Kingma & Ba 2015, with bias correction.
        Adam = "adam",
        /// Tieleman & Hinton 2012, as PyTorch has it, without momentum.
        Rmsprop = "rmsprop",
    }
}

settings! {
    /// `[train]`: length, batch, seed and the rhythm of reports.
    pub struct TrainSettings: "train" {
        /// Images of each kind (real, fake) in a step; at least 2, for batch normalisation.
        pub batch: usize = 128 => FROM_2;
        /// Length in epochs; used where `steps` is 0. A layer of settings (a file, the command line) that gives this and
        /// not `steps` sets `steps` to 0.
        pub epochs: usize = 25 => COUNT;
        /// Length in steps; 0 counts in epochs.
        pub steps: u64 = 0 => COUNT;
        /// Most minutes of training, over all starts of the run, the time of snapshots left out: whichever comes first,
        /// these or the steps, ends the run. 0 sets no limit.
        pub minutes: f64 = 0.0 => Range::FROM_0;
        /// The key of every random draw of training (`data.seed` is that of the embedded digits); at most 2⁶³ − 1, the
        /// largest number of a TOML file.
        pub seed: u64 = 0 => COUNT;
        /// Steps between two lines of `stats.jsonl`.
        pub tick: u64 = 20 => Range::whole(1, LARGEST);
        /// Steps between two snapshots (checkpoint, grid, curves); 0 takes one an epoch.
        pub snap: u64 = 0 => COUNT;
        /// How many checkpoints are kept; 0 keeps all.
        pub keep: usize = 2 => COUNT;
        /// To what the products of linear layers and convolutions round their operands; all but f32 needs a GPU.
        pub dtype: Precision = Precision::F32;
    }
}
