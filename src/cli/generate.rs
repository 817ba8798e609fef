//! `generate`: draws samples from a trained generator.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{DeviceArgs, DeviceChoice, Seeds};
use crate::error::{Error, Result};

/// Draw samples from a trained generator: one PNG a seed, or a grid of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda generate runs/00000-quick-b64
  vgan-cuda generate runs/00000-quick-b64 --seeds 0-31,40 --outdir samples
  vgan-cuda generate runs/00000-quick-b64/checkpoints/000500 --seeds 0-63 --grid --output grid.png

The same seed gives the same picture, in any company.")]
pub(super) struct GenerateArgs {
    /// A run's folder, which stands for its newest checkpoint, or the folder of a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    source: PathBuf,

    /// The seeds of the samples
    #[arg(long, value_name = "SEEDS", default_value = "0-31")]
    seeds: Seeds,

    /// Put all samples into one picture
    #[arg(long)]
    grid: bool,

    /// The folder for the samples, without --grid
    #[arg(long, value_name = "DIR", default_value = "samples", conflicts_with = "grid")]
    outdir: PathBuf,

    /// The file of the grid, with --grid
    #[arg(long, value_name = "FILE", default_value = "samples.png", requires = "grid")]
    output: PathBuf,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What to draw, and where to put it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GenerateOptions {
    /// A run's folder or a checkpoint's.
    pub(crate) source: PathBuf,
    /// One sample each.
    pub(crate) seeds: Vec<u64>,
    /// Where the samples go.
    pub(crate) target: Target,
    /// Where to compute.
    pub(crate) device: DeviceChoice,
    /// CPU threads; `None` takes all cores.
    pub(crate) threads: Option<usize>,
}

/// Where samples go.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// A PNG each in this folder.
    Folder(PathBuf),
    /// One PNG of them all.
    Grid(PathBuf),
}

impl GenerateArgs {
    pub(super) fn resolve(self) -> GenerateOptions {
        let target = if self.grid { Target::Grid(self.output) } else { Target::Folder(self.outdir) };
        let DeviceArgs { device, threads } = self.device;
        GenerateOptions { source: self.source, seeds: self.seeds.0, target, device, threads }
    }
}

/// Draws the samples.
pub(super) fn run(_options: GenerateOptions) -> Result<()> {
    // WIRE: load the generator (EMA where the run has one), draw a latent a seed, write the pictures.
    Err(Error::Internal("not wired yet".into()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn options(words: &str) -> Option<GenerateOptions> {
        match Cli::try_parse_from(["vgan-cuda", "generate"].into_iter().chain(words.split(' '))).ok()?.command {
            Command::Generate(args) => Some(args.resolve()),
            _ => None,
        }
    }

    #[test]
    fn targets() {
        let folder = options("runs/1").unwrap();
        assert_eq!((folder.target, folder.seeds.len()), (Target::Folder("samples".into()), 32));
        assert_eq!(options("runs/1 --grid").unwrap().target, Target::Grid("samples.png".into()));
        let grid = options("runs/1 --grid --output a.png --seeds 5,1").unwrap();
        assert_eq!((grid.source, grid.target, grid.seeds), ("runs/1".into(), Target::Grid("a.png".into()), vec![5, 1]));
        assert_eq!(options("runs/1 --outdir b --device cpu").unwrap().target, Target::Folder("b".into()));
        assert_eq!(options("runs/1 --device cpu --threads 1").unwrap().threads, Some(1));
        assert_eq!(options("runs/1 --grid --outdir b"), None);
        assert_eq!(options("runs/1 --output a.png"), None);
    }
}
