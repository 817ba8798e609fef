//! `trace`: one training step on given weights, images and noise, with everything that it computes written out.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{DeviceChoice, SettingsArgs, preset_parser, require_f32};
use super::target::{ForceArgs, require_new, target_parser};
use crate::config::{Settings, Sources, image_shape, resolve};
use crate::error::{Error, Result};
use crate::run::tensors;
use crate::train::trace;

/// Run one training step on given weights, images and noise, and write every value that it computes
///
/// Both files are safetensors under PyTorch's key names and layouts, so that any framework can check this engine. The
/// step computes in the type of IN's tensors, f32 or f64, on as many images as IN's `images` holds.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda trace --preset vgan-mnist --example in.safetensors
  vgan-cuda trace --preset vgan-mnist --input in.safetensors --output out.safetensors", after_long_help = LONG_HELP)]
pub(super) struct TraceArgs {
    /// Preset to start from [default: the one that --config names, or quick]
    #[arg(long, value_parser = preset_parser())]
    preset: Option<String>,

    #[command(flatten)]
    settings: SettingsArgs,

    /// Input file: weights, images, latents and bottleneck noise
    #[arg(long, value_name = "IN", requires = "output", required_unless_present = "example")]
    input: Option<PathBuf>,

    /// Output file: activations, losses, gradients and updated weights
    #[arg(long, value_name = "OUT", requires = "input", value_parser = target_parser())]
    output: Option<PathBuf>,

    /// Device: auto, cpu, cuda or cuda:N; auto is the CPU
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceChoice,

    /// Write an example of a valid IN file to this path, and stop
    #[arg(long, value_name = "PATH", conflicts_with_all = ["input", "output"], value_parser = target_parser())]
    example: Option<PathBuf>,

    #[command(flatten)]
    force: ForceArgs,
}

const LONG_HELP: &str = "\
Examples:
  vgan-cuda trace --preset vgan-mnist --example in.safetensors
  vgan-cuda trace --preset vgan-mnist --input in.safetensors --output out.safetensors

IN (N images of C×H×W; z of c×h×w):
  generator.KEY, discriminator.KEY  weights, running_mean and running_var, as in a state_dict
  images                            [N, C, H, W], in the range that the generator ends in
  latents_d, latents_g              [N, latent], for the fakes of D's step and of G's step
  noise_real, noise_fake, noise_g   [N, c, h, w]; noise_g only if generator_z is sampled
  penalty_positions, noise_penalty  [N], [N, c, h, w]; only with the penalties wgan-gp and dragan,
                                    the latter only if penalty_z is sampled
  penalty_directions                [N, C, H, W]; only with dragan
  beta                              [1], β before the step

OUT:
  fakes_d, fakes_g                  [N, C, H, W]
  mu_X, logvar_X, z_X               [N, c, h, w]; X is real or fake in D's step, g in G's;
                                    logvar_X is log σ with bottleneck.sigma=logstd
  logits_X                          [N]
  loss_d, loss_g, kl_real, kl_fake  [1]
  beta                              [1], β after the step
  grad.NET.KEY                      gradients of loss_d by D's weights, of loss_g by G's
  NET.KEY                           weights and running statistics after the step
  average.KEY                       G's moving average of both, where one is kept

Without a bottleneck there is no noise, mu, logvar, z or kl, and no beta in OUT. Linear weights
are [out, in], convolutions OIHW, transposed ones IOHW, a flattened image lies as C, H, W.
With discriminator_steps=k, D is updated k times on the same tensors, and OUT is of the last.";

/// The options of `trace`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TraceOptions {
    /// All settings; those of `[data]` but the range don't matter.
    pub(crate) settings: Settings,
    /// The preset that they started from.
    pub(crate) preset: String,
    /// The task.
    pub(crate) task: TraceTask,
    /// The device to compute on.
    pub(crate) device: DeviceChoice,
}

/// A task of `trace`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TraceTask {
    /// Write an IN file of random values.
    Example(PathBuf),
    /// One step.
    Step {
        /// The input file.
        input: PathBuf,
        /// The output file.
        output: PathBuf,
    },
}

impl TraceArgs {
    pub(super) fn resolve(self) -> Result<TraceOptions> {
        let overrides = self.settings.overrides()?;
        let sources = Sources { preset: self.preset, config: self.settings.config, overrides };
        let (settings, preset) = resolve(&sources)?;
        require_f32("trace", settings.train.dtype)?;
        let task = match (self.example, self.input, self.output) {
            (Some(path), _, _) => TraceTask::Example(path),
            (None, Some(input), Some(output)) => TraceTask::Step { input, output },
            _ => return Err(Error::Usage("trace needs --input and --output, or --example".into())),
        };
        let (TraceTask::Example(written) | TraceTask::Step { output: written, .. }) = &task;
        require_new(std::slice::from_ref(written), self.force, "name")?;
        Ok(TraceOptions { settings, preset, task, device: self.device })
    }
}

/// Runs the step, or writes the example.
pub(super) fn run(options: TraceOptions) -> Result<()> {
    match options.task {
        TraceTask::Step { input, output } => {
            let gpu = if let DeviceChoice::Cuda(number) = options.device { Some(number) } else { None };
            trace::trace_file(&options.settings, &input, &output, gpu)
        }
        TraceTask::Example(path) => {
            let Some(image) = image_shape(&options.preset) else {
                let preset = &options.preset;
                return Err(Error::Usage(format!(
                    "an example needs an image size, and this version has no preset `{preset}` that gives it"
                )));
            };
            tensors::write(&path, &trace::example(&options.settings, image)?)
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn options(words: &str) -> Option<TraceOptions> {
        match Cli::try_parse_from(["vgan-cuda", "trace"].into_iter().chain(words.split(' '))).ok()?.command {
            Command::Trace(args) => args.resolve().ok(),
            _ => None,
        }
    }

    #[test]
    fn tasks() {
        let step = options("--preset vgan-mnist --set train.batch=4 --input a --output b").unwrap();
        assert_eq!((step.preset.as_str(), step.settings.train.batch), ("vgan-mnist", 4));
        assert_eq!(step.task, TraceTask::Step { input: "a".into(), output: "b".into() });
        assert_eq!(options("--example c").unwrap().task, TraceTask::Example("c".into()));
        for words in ["--input a", "--output b", "--example c --input a", "--preset quick", "--example c --set x=1"] {
            assert_eq!(options(words), None, "{words}");
        }
    }
}
