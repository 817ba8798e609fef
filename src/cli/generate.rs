//! `generate`: draws samples from a trained generator.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{DeviceArgs, Seeds, on_device};
use super::latents::TruncationArgs;
use super::output;
use super::output::to_stderr;
use super::survey::named;
use super::target::{ForceArgs, picture, require_new, target_parser};
use crate::error::{Error, Result, shown};
use crate::nn::ImageShape;
use crate::run::picture::write_grid;
use crate::train::TrainedGenerator;
use crate::train::snapshot::F32Executor;

/// Draw samples from a trained generator: one PNG for each seed, or one grid
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda generate runs/00000-quick-b64
  vgan-cuda generate runs/00000-quick-b64 --seeds 0-31,40 --outdir samples
  vgan-cuda generate runs/00000-quick-b64/checkpoints/000500 --seeds 0-63 --grid --output grid.png
  vgan-cuda generate latest --grid --force
  vgan-cuda generate latest --truncation 0.7 --outdir clean

A seed always gives the same picture, whichever other seeds are drawn with it. Existing files are
not overwritten without --force.")]
pub(super) struct GenerateArgs {
    /// Folder of a run (its newest checkpoint is used) or of a checkpoint; `latest` is the run in runs/ that was trained
    /// last
    #[arg(value_name = "RUN|CHECKPOINT")]
    source: PathBuf,

    /// Seeds of the samples, such as 0-31,40
    #[arg(long, value_name = "SEEDS", default_value = "0-31")]
    seeds: Seeds,

    /// Put all samples into one grid
    #[arg(long)]
    grid: bool,

    /// Folder of the samples, without --grid
    #[arg(long, value_name = "DIR", default_value = "samples", conflicts_with = "grid", value_parser = target_parser())]
    outdir: PathBuf,

    /// PNG file of the grid, with --grid
    #[arg(long, value_name = "FILE", default_value = "samples.png", requires = "grid", value_parser = target_parser())]
    output: PathBuf,

    #[command(flatten)]
    truncation: TruncationArgs,

    #[command(flatten)]
    force: ForceArgs,

    #[command(flatten)]
    device: DeviceArgs,
}

/// The options of `generate`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GenerateOptions {
    /// A run's folder or a checkpoint's.
    pub(crate) source: PathBuf,
    /// One sample each.
    pub(crate) seeds: Vec<u64>,
    /// Destination of the samples.
    pub(crate) target: Target,
    /// How far the latents are pulled to the centre.
    pub(crate) truncation: TruncationArgs,
    /// Overwrite existing files.
    pub(crate) force: ForceArgs,
    /// The device, and how it is opened.
    pub(crate) device: DeviceArgs,
}

/// A destination of samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// A PNG each in this folder.
    Folder(PathBuf),
    /// One PNG of them all.
    Grid(PathBuf),
}

impl GenerateArgs {
    pub(super) fn resolve(self) -> Result<GenerateOptions> {
        let target =
            if self.grid { Target::Grid(picture("--output", self.output)?) } else { Target::Folder(self.outdir) };
        let source = named(self.source, Path::new("runs"))?;
        Ok(GenerateOptions {
            source,
            seeds: self.seeds.0,
            target,
            truncation: self.truncation,
            force: self.force,
            device: self.device,
        })
    }
}

/// The file of each seed's sample. All numbers of a call have as many digits, so that they sort as the seeds do.
fn files(folder: &Path, seeds: &[u64]) -> Vec<PathBuf> {
    let digits = seeds.iter().max().map_or(4, |most| most.to_string().len().max(4));
    seeds.iter().map(|seed| folder.join(format!("seed{seed:0digits$}.png"))).collect()
}

/// Draws the samples.
pub(super) fn run(options: GenerateOptions) -> Result<()> {
    match &options.target {
        Target::Grid(path) => require_new(std::slice::from_ref(path), options.force, "--output")?,
        Target::Folder(folder) => require_new(&files(folder, &options.seeds), options.force, "--outdir")?,
    }
    let opened = options.device.open()?;
    on_device!(opened, |backend| generate(open(backend, &options.source)?, options))
}

fn generate<B: F32Executor>(mut generator: TrainedGenerator<B>, options: GenerateOptions) -> Result<()> {
    let GenerateOptions { seeds, target, truncation, .. } = options;
    let ImageShape { h, w, c } = generator.image;
    let latents = truncation.latents(&generator.settings, &seeds)?.concat();
    let pixels = generator.draw(&latents)?;
    let place = match target {
        Target::Grid(path) => {
            write_grid(&path, &pixels, seeds.len(), h, w, c, columns(seeds.len()), 0)?;
            path
        }
        Target::Folder(folder) => {
            std::fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, "create the folder", error))?;
            for (file, image) in files(&folder, &seeds).iter().zip(pixels.chunks_exact(h * w * c)) {
                write_grid(file, image, 1, h, w, c, 1, 1)?;
            }
            folder
        }
    };
    let samples = if seeds.len() == 1 { "1 sample".into() } else { format!("{} samples", seeds.len()) };
    output::print(&format!("{samples} of {}: {}\n", shown(&generator.checkpoint), shown(&place)))
}

/// Loads a generator, and says what the user should know of it.
pub(super) fn open<B: F32Executor>(backend: B, source: &Path) -> Result<TrainedGenerator<B>> {
    let generator = TrainedGenerator::open(backend, source)?;
    generator.notes.iter().for_each(|note| to_stderr(note));
    Ok(generator)
}

/// Eight pictures a row, as in a run's snapshots, or as many as make a square.
fn columns(count: usize) -> usize {
    count.isqrt().max(8)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn options(words: &str) -> Option<GenerateOptions> {
        match Cli::try_parse_from(["vgan-cuda", "generate"].into_iter().chain(words.split(' '))).ok()?.command {
            Command::Generate(args) => args.resolve().ok(),
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
        assert_eq!(options("runs/1 --device cpu --threads 1").unwrap().device.threads, Some(1));
        assert_eq!(options("runs/1 --grid --outdir b"), None);
        assert_eq!(options("runs/1 --output a.png"), None);
        for wrong in ["--grid --output a.jpg", "--grid --output -", "--outdir -"] {
            assert_eq!(options(&format!("runs/1 {wrong}")), None, "{wrong}");
        }
        assert!(options("runs/1 --force").unwrap().force.force);
    }

    #[test]
    fn names_sort_as_the_seeds_do() {
        for seeds in [vec![0, 7, 9999], vec![9998, 9999, 10_000, 123_456], vec![3]] {
            let names = files(Path::new("a"), &seeds);
            assert!(names.is_sorted(), "{names:?}");
        }
        assert_eq!(files(Path::new("a"), &[3]), [PathBuf::from("a/seed0003.png")]);
        assert_eq!(files(Path::new("a"), &[10_000, 3])[1], PathBuf::from("a/seed00003.png"));
    }
}
