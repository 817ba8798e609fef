//! `trace`: one training step on given weights, images and noise, with everything that it computes written out.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{SettingsArgs, preset_parser};
use crate::config::{Settings, Sources, resolve};
use crate::error::{Error, Result};

/// Run one training step on given weights, images and noise, and write every value that it computes
///
/// Both files are safetensors under PyTorch's key names and layouts, so that any framework can check this engine.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda trace --preset vgan-mnist --example in.safetensors
  vgan-cuda trace --preset vgan-mnist --input in.safetensors --output out.safetensors")]
pub(super) struct TraceArgs {
    /// The settings to start from
    #[arg(long, default_value = "quick", value_parser = preset_parser())]
    preset: String,

    #[command(flatten)]
    settings: SettingsArgs,

    /// The weights, images, latents and bottleneck noise to compute with
    #[arg(long, value_name = "IN", requires = "output", required_unless_present = "example")]
    input: Option<PathBuf>,

    /// The file for activations, losses, gradients and updated weights
    #[arg(long, value_name = "OUT", requires = "input")]
    output: Option<PathBuf>,

    /// Write a valid IN file here, and stop
    #[arg(long, value_name = "PATH", conflicts_with_all = ["input", "output"])]
    example: Option<PathBuf>,
}

/// What to trace.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TraceOptions {
    /// All settings; those of `[data]` but the range don't matter.
    pub(crate) settings: Settings,
    /// The preset that they started from.
    pub(crate) preset: String,
    /// What to do.
    pub(crate) task: TraceTask,
}

/// What `trace` is to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum TraceTask {
    /// Write an IN file of random values.
    Example(PathBuf),
    /// One step.
    Step {
        /// What to compute with.
        input: PathBuf,
        /// What was computed.
        output: PathBuf,
    },
}

impl TraceArgs {
    pub(super) fn resolve(self) -> Result<TraceOptions> {
        let overrides = self.settings.overrides()?;
        let sources = Sources { preset: self.preset, config: self.settings.config, overrides };
        let settings = resolve(&sources)?;
        let task = match (self.example, self.input, self.output) {
            (Some(path), _, _) => TraceTask::Example(path),
            (None, Some(input), Some(output)) => TraceTask::Step { input, output },
            _ => return Err(Error::Usage("trace needs --input and --output, or --example".into())),
        };
        Ok(TraceOptions { settings, preset: sources.preset, task })
    }
}

/// Runs the step, or writes the example.
pub(super) fn run(_options: TraceOptions) -> Result<()> {
    // WIRE: config::image_size(preset) gives the example's images; a step takes its size from IN's images.
    Err(Error::Internal("not wired yet".into()))
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
