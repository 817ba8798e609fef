//! `interpolate`: walks through the latent space from seed to seed.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{DeviceArgs, Seeds, on_device};
use super::generate::open;
use super::output;
use super::survey::named;
use super::target::{ForceArgs, picture, require_new, target_parser};
use crate::error::{Error, Result, shown};
use crate::nn::ImageShape;
use crate::run::picture::write_grid;
use crate::train::TrainedGenerator;
use crate::train::sampler::{between, latent};
use crate::train::snapshot::F32Executor;

/// Walk through the latent space from seed to seed: one PNG with a row of pictures for each pair of seeds
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda interpolate runs/00000-quick-b64 --seeds 1,5,9
  vgan-cuda interpolate runs/00000-quick-b64 --seeds 0-8 --frames 12 --output walk.png

The path is a straight line for a uniform prior, and follows the sphere for a normal prior.")]
pub(super) struct InterpolateArgs {
    /// Folder of a run (its newest checkpoint is used) or of a checkpoint; `latest` is the run in runs/ that was trained
    /// last
    #[arg(value_name = "RUN|CHECKPOINT")]
    source: PathBuf,

    /// Seeds to visit, at least two
    #[arg(long, value_name = "SEEDS", default_value = "0-7")]
    seeds: Seeds,

    /// Pictures in a row, including both ends
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(2..=1000))]
    frames: u16,

    /// PNG file to write
    #[arg(long, value_name = "FILE", default_value = "interpolation.png", value_parser = target_parser())]
    output: PathBuf,

    #[command(flatten)]
    force: ForceArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// As many pictures as one walk may have.
const MOST_PICTURES: usize = 65_536;

/// The options of `interpolate`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct InterpolateOptions {
    /// A run's folder or a checkpoint's.
    pub(crate) source: PathBuf,
    /// The samples to visit, at least two.
    pub(crate) seeds: Vec<u64>,
    /// Pictures in a row, including both ends; at least two.
    pub(crate) frames: usize,
    /// PNG file to write.
    pub(crate) output: PathBuf,
    /// Overwrite an existing file.
    pub(crate) force: ForceArgs,
    /// The device, and how it is opened.
    pub(crate) device: DeviceArgs,
}

impl InterpolateArgs {
    pub(super) fn resolve(self) -> Result<InterpolateOptions> {
        if self.seeds.0.len() < 2 {
            return Err(Error::Usage("--seeds: expected two seeds or more, such as 1,5,9, found one".into()));
        }
        if (self.seeds.0.len() - 1) * usize::from(self.frames) > MOST_PICTURES {
            let (rows, frames) = (self.seeds.0.len() - 1, self.frames);
            return Err(Error::Usage(format!("{rows} rows of {frames} pictures: at most {MOST_PICTURES} at once")));
        }
        let output = picture("--output", self.output)?;
        Ok(InterpolateOptions {
            source: named(self.source, Path::new("runs"))?,
            seeds: self.seeds.0,
            frames: usize::from(self.frames),
            output,
            force: self.force,
            device: self.device,
        })
    }
}

/// Draws the walk.
pub(super) fn run(options: InterpolateOptions) -> Result<()> {
    require_new(std::slice::from_ref(&options.output), options.force, "--output")?;
    let opened = options.device.open()?;
    on_device!(opened, |backend| walk(open(backend, &options.source)?, options))
}

fn walk<B: F32Executor>(mut generator: TrainedGenerator<B>, options: InterpolateOptions) -> Result<()> {
    let InterpolateOptions { seeds, frames, output, .. } = options;
    let (settings, ImageShape { h, w, c }) = (&generator.settings, generator.image);
    let visited: Vec<Vec<f32>> = seeds.iter().map(|&seed| latent(settings, seed)).collect();
    let share = |frame: usize| frame as f64 / (frames - 1) as f64;
    let latents: Vec<f32> = visited
        .windows(2)
        .flat_map(|pair| (0..frames).map(move |frame| (pair, frame)))
        .flat_map(|(pair, frame)| between(settings.generator.prior, &pair[0], &pair[1], share(frame)))
        .collect();
    let (rows, pixels) = (seeds.len() - 1, generator.draw(&latents)?);
    write_grid(&output, &pixels, rows * frames, h, w, c, frames, 0)?;
    let rows = if rows == 1 { "1 row".into() } else { format!("{rows} rows") };
    let checkpoint = shown(&generator.checkpoint);
    output::print(&format!("{rows} of {frames} pictures of {checkpoint}: {}\n", shown(&output)))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;
    use crate::cli::arguments::DeviceChoice;

    fn options(words: &str) -> Result<InterpolateOptions> {
        match Cli::try_parse_from(["vgan-cuda", "interpolate"].into_iter().chain(words.split(' '))).map(|c| c.command) {
            Ok(Command::Interpolate(args)) => args.resolve(),
            other => Err(Error::Internal(format!("{other:?}"))),
        }
    }

    #[test]
    fn resolution() {
        let walk = options("runs/1 --seeds 1,5 --frames 3 --output a.PNG --device cpu --threads 2").unwrap();
        let (source, output) = ("runs/1".into(), "a.PNG".into());
        let device = DeviceArgs { threads: Some(2), ..DeviceChoice::Cpu.with_defaults() };
        let force = ForceArgs { force: false };
        let expected = InterpolateOptions { source, seeds: vec![1, 5], frames: 3, output, force, device };
        assert_eq!(walk, expected);
        for words in
            ["runs/1 --seeds 3", "runs/1 --seeds 0-700 --frames 100", "runs/1 --output a.gif", "runs/1 --output png"]
        {
            assert_eq!(options(words).unwrap_err().exit_code(), 2, "{words}");
        }
        assert!(options("runs/1 --frames 1").is_err());
    }
}
