//! Every setting of a run, with its meaning and its default. The defaults are those of preset `vgan-mnist`,
//! but for `data.source`: `glyphs` here, empty there.

use serde::{Deserialize, Serialize};

use super::objective::ObjectiveSettings;

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

/// `[data]`: the data set. The size of the images is no setting: the images have it, after `resize` and `channels`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSettings {
    /// `glyphs` (embedded), or the path of an IDX file, a CIFAR-10 binary, a folder or an archive; empty in a preset
    /// whose images the user must name.
    pub source: String,
    /// Crop each image to its central square and resize that to this many pixels a side; 0 keeps the size.
    pub resize: usize,
    /// Convert each image to 1 (grey) or 3 (red, green, blue) channels; 0 keeps them.
    pub channels: usize,
    /// Mirror each image left-right with probability ½, drawn anew at every step.
    pub flip: bool,
    /// The interval that pixels 0..=255 are mapped to; it also decides the generator's last activation.
    pub range: PixelRange,
}

impl Default for DataSettings {
    fn default() -> Self {
        DataSettings { source: "glyphs".into(), resize: 0, channels: 0, flip: false, range: PixelRange::ZeroToOne }
    }
}

/// The interval that pixels are mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum PixelRange {
    /// [0, 1], and the generator ends in a sigmoid.
    #[serde(rename = "0..1")]
    ZeroToOne,
    /// [−1, 1], and the generator ends in a tanh.
    #[serde(rename = "-1..1")]
    MinusOneToOne,
}

/// `[nets]`: what both nets have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetsSettings {
    /// The family that generator and discriminator are of; it decides which of their widths have a meaning.
    pub family: Family,
}

impl Default for NetsSettings {
    fn default() -> Self {
        NetsSettings { family: Family::Dcgan }
    }
}

/// A family of nets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// Convolutions k4 s2 with batch normalisation (Radford et al. 2016; the article). As many layers as the lists
    /// `channels` and `hidden` of each net name; `width` and `max_width` are 0.
    Dcgan,
    /// Residual blocks without normalisation (the paper). As many doublings and halvings as the image needs from about
    /// 4×4, of widths by `width` and `max_width` of each net; `channels` and `hidden` are empty.
    Resnet,
}

/// `[generator]`: linear layers, then transposed convolutions or residual blocks that double the image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GeneratorSettings {
    /// Length of the latent vector z.
    pub latent: usize,
    /// The distribution of z.
    pub prior: Prior,
    /// Widths of the linear layers before the one that makes the first image; may be empty.
    pub hidden: Vec<usize>,
    /// Channels of the images inside the net, smallest image first; each ConvT k4 s2 p1 doubles the image.
    pub channels: Vec<usize>,
    /// Channels at the picture's resolution in a residual net, twice as many at each lower one; 0 in a DCGAN.
    pub width: usize,
    /// The most channels of a residual net; 0 in a DCGAN.
    pub max_width: usize,
    /// The last layer, to the picture: `stride2` doubles once more, `stride1` keeps the size, as in every residual net.
    pub output: OutputLayer,
    /// Decay of the exponential moving average of the weights that samples are drawn with; 0 turns it off.
    pub ema: f64,
}

impl Default for GeneratorSettings {
    fn default() -> Self {
        GeneratorSettings {
            latent: 62,
            prior: Prior::Uniform,
            hidden: vec![1024],
            channels: vec![128, 64],
            width: 0,
            max_width: 0,
            output: OutputLayer::Stride2,
            ema: 0.0,
        }
    }
}

/// The distribution of the latent vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Prior {
    /// U[0, 1) in each dimension, as the article has it.
    Uniform,
    /// N(0, 1) in each dimension, as the paper has it.
    Normal,
}

/// The generator's last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputLayer {
    /// ConvT k4 s2 p1: doubles the image.
    Stride2,
    /// ConvT k3 s1 p1, in a residual net Conv k3 s1 p1: keeps its size.
    Stride1,
}

/// `[discriminator]`: convolutions k4 s2 p1, or residual blocks and poolings, that halve the image; the bottleneck; then
/// linear layers to one logit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorSettings {
    /// Channels after each convolution, largest image first.
    pub channels: Vec<usize>,
    /// Channels at the image's resolution in a residual net, twice as many at each lower one; 0 in a DCGAN.
    pub width: usize,
    /// The most channels of a residual net; 0 in a DCGAN.
    pub max_width: usize,
    /// What normalises between the layers of a DCGAN; a residual net has no normalisation at all. A gradient penalty wants
    /// `none`.
    pub norm: Norm,
    /// Where `norm` is `batch`: whether it also follows the first convolution (the article's HEAD has it, its `gan.ipynb` not).
    pub norm_first: bool,
    /// Widths of the linear layers between the bottleneck and the logit; may be empty.
    pub hidden: Vec<usize>,
    /// Slope of the leaky ReLU for negative inputs.
    pub leak: f64,
    /// Whether every weight is divided by its largest singular value (spectral normalisation, Miyato et al. 2018).
    pub spectral_norm: bool,
    /// B, kernels of the minibatch discrimination before the last linear layer (Salimans et al. 2016; 100 in the authors'
    /// code); 0 has none. It wants a hidden layer.
    pub minibatch_kernels: usize,
    /// C, dimensions of each of these kernels.
    pub minibatch_dims: usize,
}

impl Default for DiscriminatorSettings {
    fn default() -> Self {
        DiscriminatorSettings {
            channels: vec![64, 128],
            width: 0,
            max_width: 0,
            norm: Norm::Batch,
            norm_first: true,
            hidden: vec![1024],
            leak: 0.2,
            spectral_norm: false,
            minibatch_kernels: 0,
            minibatch_dims: 5,
        }
    }
}

/// What normalises between the discriminator's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Norm {
    /// Batch normalisation, real and fake images each with statistics of their own.
    Batch,
    /// Nothing.
    None,
}

/// `[bottleneck]`: the Variational Discriminator Bottleneck (paper Eq. 8 and 9).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BottleneckSettings {
    /// Without it the discriminator is that of a plain GAN.
    pub enabled: bool,
    /// Channels of z at each position; 0 takes the encoder's last width.
    pub channels: usize,
    /// How the KL divergence of one image is reduced over the dimensions of z.
    pub kl_reduction: KlReduction,
    /// How the KL of real and of fake images enter the constraint.
    pub kl_mix: KlMix,
    /// Which z the generator's step sends through the head.
    pub generator_z: GeneratorZ,
    /// What the encoder's second output `conv_logvar`, a tensor of that name either way, is: log σ² or log σ.
    pub sigma: Sigma,
    /// Where the bias of `conv_logvar` starts, in the units of `sigma` (0 in the article). −3 is σ ≈ 0.22 with `logvar`, which
    /// removes the plateau at the start; with `logstd` the same σ is −1.5.
    pub logvar_bias: f64,
    /// β₀, the constraint's weight at the start.
    pub beta: f64,
    /// α_β, the step of β's dual ascent.
    pub beta_step: f64,
    /// I_c, the information that the bottleneck may pass, in nats, in the units of `kl_reduction`.
    pub target_kl: f64,
}

impl Default for BottleneckSettings {
    fn default() -> Self {
        BottleneckSettings {
            enabled: true,
            channels: 0,
            kl_reduction: KlReduction::Mean,
            kl_mix: KlMix::Sum,
            generator_z: GeneratorZ::Sampled,
            sigma: Sigma::Logvar,
            logvar_bias: 0.0,
            beta: 0.0,
            beta_step: 1e-5,
            target_kl: 0.1,
        }
    }
}

/// How the KL of one image is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlReduction {
    /// Mean over all dimensions (the article).
    Mean,
    /// Sum over all dimensions (the paper).
    Sum,
    /// Sum over channels, mean over positions (the paper's official code).
    Channels,
}

/// How the constraint mixes the KL of real and fake images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KlMix {
    /// (KL_real − I_c) + (KL_fake − I_c) (the article).
    Sum,
    /// ½(KL_real + KL_fake) − I_c (the paper).
    Mean,
}

/// Which z the generator's step sends through the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GeneratorZ {
    /// A sample μ + σ·ε (the article and the official code).
    Sampled,
    /// The mean μ (paper Eq. 11).
    Mean,
}

/// What the encoder's second output is. The family of distributions is the same; but weights and gradients of one size start
/// log σ twice as wide with `logstd`, and move it twice as fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sigma {
    /// log σ², so σ = e^(logvar/2) (the article). What runs had before this was a setting.
    Logvar,
    /// log σ, so σ = e^logstd (the paper's official code, `reparametrize` of `gan_training/models/resnet.py`).
    Logstd,
}

/// `[optimizer]`: one of a kind for each net, and where the weights start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerSettings {
    /// The rule of the update.
    pub kind: OptimizerKind,
    /// Learning rate of the discriminator.
    pub discriminator_lr: f64,
    /// Learning rate of the generator.
    pub generator_lr: f64,
    /// Adam's decay of the first moment.
    pub beta1: f64,
    /// Adam's decay of the second moment.
    pub beta2: f64,
    /// RMSprop's decay of the second moment, α.
    pub decay: f64,
    /// ε of both optimisers, added to the root of the second moment, not under it; for Adam that of the corrected moment.
    pub epsilon: f64,
    /// Standard deviation of the normal weights at the start, where biases are 0. With 0 both start as PyTorch's do:
    /// U(−1/√fan_in, 1/√fan_in).
    pub init_std: f64,
}

impl Default for OptimizerSettings {
    fn default() -> Self {
        OptimizerSettings {
            kind: OptimizerKind::Adam,
            discriminator_lr: 2e-4,
            generator_lr: 2e-4,
            beta1: 0.5,
            beta2: 0.999,
            decay: 0.99,
            epsilon: 1e-8,
            init_std: 0.02,
        }
    }
}

/// The rule of an update.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerKind {
    /// Kingma & Ba 2015, with bias correction.
    Adam,
    /// Tieleman & Hinton 2012, as PyTorch has it, without momentum.
    Rmsprop,
}

/// `[train]`: length, batch, seed and the rhythm of reports.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainSettings {
    /// Images of each kind (real, fake) in a step; at least 2, for batch normalisation.
    pub batch: usize,
    /// Length in epochs; used where `steps` is 0. A layer of settings (a file, the command line) that gives this and
    /// not `steps` sets `steps` to 0.
    pub epochs: usize,
    /// Length in steps; 0 counts in epochs.
    pub steps: u64,
    /// Most minutes of training, over all starts of the run, the time of snapshots left out: whichever comes first, these
    /// or the steps, ends the run. 0 sets no limit.
    pub minutes: f64,
    /// The key of every random draw; at most 2⁶³ − 1, the largest number of a TOML file.
    pub seed: u64,
    /// Steps between two lines of `stats.jsonl`.
    pub tick: u64,
    /// Steps between two snapshots (checkpoint, grid, curves); 0 takes one an epoch.
    pub snap: u64,
    /// How many checkpoints are kept; 0 keeps all.
    pub keep: usize,
    /// To what the products of linear layers and convolutions round their operands; all but f32 needs a GPU.
    pub dtype: Dtype,
}

impl Default for TrainSettings {
    fn default() -> Self {
        TrainSettings {
            batch: 128,
            epochs: 25,
            steps: 0,
            minutes: 0.0,
            seed: 0,
            tick: 20,
            snap: 0,
            keep: 2,
            dtype: Dtype::F32,
        }
    }
}

/// To what the products of linear layers and convolutions round their operands. Weights, activations, gradients and the
/// optimiser's moments are f32 whatever is chosen, and so are the sums of a product and the operands of convolutions from or
/// to at most 4 channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dtype {
    /// Not at all.
    F32,
    /// To tf32, 11 bits of significand, on a GPU's tensor cores.
    Tf32,
    /// To bf16, 8 bits of significand, on a GPU's tensor cores.
    Bf16,
}
