//! `generate`: draws samples from a trained generator.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{DeviceArgs, MOST_SAMPLES, Seeds, on_device};
use super::latents::{ClassArgs, TruncationArgs};
use super::output;
use super::output::to_stderr;
use super::survey::named;
use super::target::{ForceArgs, file_of, picture, require_new, target_parser};
use crate::config::Settings;
use crate::error::{Error, Result, readable_path};
use crate::exchange::archive::pack;
use crate::exchange::npy;
use crate::nn::ImageShape;
use crate::run::picture::{encode_grid, write_grid};
use crate::run::tensors::first_not_finite;
use crate::run::write_file;
use crate::train::TrainedGenerator;
use crate::train::snapshot::F32Executor;

/// Draw samples from a trained generator: a PNG for each, one grid, a NumPy array, or a zip archive
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda generate runs/00000-quick-b64
  vgan-cuda generate runs/00000-quick-b64 --seeds 0-31,40 --outdir samples
  vgan-cuda generate runs/00000-quick-b64/checkpoints/000500 --seeds 0-63 --grid --output grid.png
  vgan-cuda generate latest --grid --force
  vgan-cuda generate latest --truncation 0.7 --outdir clean
  vgan-cuda generate latest --class dog --grid --output dogs.png
  vgan-cuda generate latest --seeds 0-9999 --output samples.npy
  vgan-cuda generate latest --latents z.npy --zip samples.zip

A seed always gives the same picture, whichever other seeds are drawn with it. A .npy file holds the
samples as u8 [N, H, W, C], 0 is black. Existing files are not overwritten without --force.")]
pub(super) struct GenerateArgs {
    /// Folder of a run (its newest checkpoint is used) or of a checkpoint; `latest` is the run in runs/ that was trained
    /// last
    #[arg(value_name = "RUN|CHECKPOINT")]
    source: PathBuf,

    /// Seeds of the samples, such as 0-31,40
    #[arg(long, value_name = "SEEDS", default_value = "0-31")]
    seeds: Seeds,

    /// Latents instead of seeds: a .npy file [N, z] of f32 or f64, a sample for each row
    #[arg(long, value_name = "PATH", conflicts_with_all = ["seeds", "truncation"])]
    latents: Option<PathBuf>,

    /// Put all samples into one grid
    #[arg(long)]
    grid: bool,

    /// Folder of the samples, without --grid
    #[arg(long, value_name = "DIR", default_value = "samples", conflicts_with_all = ["grid", "output", "zip"],
        value_parser = target_parser())]
    outdir: PathBuf,

    /// File of all samples: a .npy array, or with --grid a .png [default: samples.png with --grid]
    #[arg(long, value_name = "FILE", value_parser = target_parser())]
    output: Option<PathBuf>,

    /// Zip archive of the samples, a PNG each
    #[arg(long, value_name = "FILE", conflicts_with_all = ["grid", "output"], value_parser = target_parser())]
    zip: Option<PathBuf>,

    #[command(flatten)]
    truncation: TruncationArgs,

    #[command(flatten)]
    class: ClassArgs,

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
    /// The samples to draw.
    pub(crate) samples: Samples,
    /// Destination of the samples.
    pub(crate) target: Target,
    /// The factor that pulls the latents to the centre.
    pub(crate) truncation: TruncationArgs,
    /// The class of the samples.
    pub(crate) class: ClassArgs,
    /// Overwrite existing files.
    pub(crate) force: ForceArgs,
    /// The device, and how it is opened.
    pub(crate) device: DeviceArgs,
}

/// The samples to draw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Samples {
    /// The latents that these seeds stand for, one sample each.
    Seeds(Vec<u64>),
    /// The rows of this .npy file.
    File(PathBuf),
}

/// A destination of samples.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Target {
    /// A PNG each in this folder.
    Folder(PathBuf),
    /// One PNG of them all.
    Grid(PathBuf),
    /// One array of them all.
    Array(PathBuf),
    /// A PNG each in this zip archive.
    Zip(PathBuf),
}

impl GenerateArgs {
    pub(super) fn resolve(self) -> Result<GenerateOptions> {
        let target = match (self.grid, self.output, self.zip) {
            (true, output, _) => Target::Grid(picture("--output", output.unwrap_or_else(|| "samples.png".into()))?),
            (false, Some(output), _) => Target::Array(file_of("--output", "npy", output).map_err(|error| {
                Error::Usage(format!("{error} (pass --grid for one PNG of all samples, or --outdir for a PNG each)"))
            })?),
            (false, None, Some(zip)) => Target::Zip(file_of("--zip", "zip", zip)?),
            (false, None, None) => Target::Folder(self.outdir),
        };
        let source = named(self.source, Path::new("runs"))?;
        let samples = self.latents.map_or(Samples::Seeds(self.seeds.0), Samples::File);
        Ok(GenerateOptions {
            source,
            samples,
            target,
            truncation: self.truncation,
            class: self.class,
            force: self.force,
            device: self.device,
        })
    }
}

/// Latents from a file `[rows, len]`, or the seeds that they are drawn from.
enum Latents {
    Seeds(Vec<u64>),
    Rows { path: PathBuf, shape: Vec<usize>, values: Vec<f32> },
}

impl Latents {
    /// Reads the file, if there is one.
    fn read(samples: Samples) -> Result<Latents> {
        let path = match samples {
            Samples::Seeds(seeds) => return Ok(Latents::Seeds(seeds)),
            Samples::File(path) => path,
        };
        let array = npy::read(&path)?;
        if let Some((index, value)) = first_not_finite(&array) {
            return Err(Error::bad_data(path, "finite latents", format!("{value} at index {index}")));
        }
        if array.shape.len() != 2 || !(1..=MOST_SAMPLES).contains(&array.shape[0]) {
            let expected = format!("latents [N, z] with N from 1 to {MOST_SAMPLES}");
            return Err(Error::bad_data(path, expected, format!("shape {:?}", array.shape)));
        }
        Ok(Latents::Rows { path, shape: array.shape, values: array.values })
    }

    /// Their number.
    fn count(&self) -> usize {
        match self {
            Latents::Seeds(seeds) => seeds.len(),
            Latents::Rows { shape, .. } => shape[0],
        }
    }

    /// The seeds by which classes come in turn: those of the latents, or the numbers of the rows.
    fn seeds(&self) -> Vec<u64> {
        match self {
            Latents::Seeds(seeds) => seeds.clone(),
            Latents::Rows { shape, .. } => (0..shape[0] as u64).collect(),
        }
    }

    /// The names of the samples' files: the seed, or the row. All numbers of a call have as many digits, so that they sort as the seeds do.
    fn names(&self) -> Vec<String> {
        match self {
            Latents::Seeds(seeds) => numbered("seed", seeds.iter().copied()),
            Latents::Rows { shape, .. } => numbered("sample", 0..shape[0] as u64),
        }
    }

    /// The values for this generator, `[N, z]`.
    fn values(self, settings: &Settings, truncation: TruncationArgs) -> Result<Vec<f32>> {
        let len = settings.generator.latent;
        match self {
            Latents::Seeds(seeds) => Ok(truncation.latents(settings, &seeds)?.concat()),
            Latents::Rows { shape, values, .. } if shape[1] == len => Ok(values),
            Latents::Rows { path, shape, .. } => {
                let expected = format!("latents [N, {len}], as this generator takes them");
                Err(Error::bad_data(path, expected, format!("shape {shape:?}")))
            }
        }
    }
}

/// Names such as `seed0003.png`.
fn numbered(word: &str, numbers: impl Iterator<Item = u64> + Clone) -> Vec<String> {
    let digits = numbers.clone().max().map_or(4, |most| most.to_string().len().max(4));
    numbers.map(|number| format!("{word}{number:0digits$}.png")).collect()
}

/// Draws the samples.
pub(super) fn run(options: GenerateOptions) -> Result<()> {
    let latents = Latents::read(options.samples)?;
    match &options.target {
        Target::Grid(path) | Target::Array(path) => {
            require_new(std::slice::from_ref(path), options.force, "--output")?;
        }
        Target::Zip(path) => require_new(std::slice::from_ref(path), options.force, "--zip")?,
        Target::Folder(folder) => {
            let files: Vec<PathBuf> = latents.names().iter().map(|name| folder.join(name)).collect();
            require_new(&files, options.force, "--outdir")?;
        }
    }
    let opened = options.device.open()?;
    let GenerateOptions { source, target, truncation, class, .. } = options;
    on_device!(opened, |backend| generate(open(backend, &source)?, latents, truncation, &class, &target))
}

fn generate<B: F32Executor>(
    mut generator: TrainedGenerator<B>,
    latents: Latents,
    truncation: TruncationArgs,
    class: &ClassArgs,
    target: &Target,
) -> Result<()> {
    let (count, names) = (latents.count(), latents.names());
    let classes = class.classes(&generator.settings, &generator.classes, latents.seeds())?;
    let pixels = generator.draw_of(&latents.values(&generator.settings, truncation)?, &classes)?;
    let place = write(target, &names, &pixels, generator.image)?;
    let samples = if count == 1 { "1 sample".into() } else { format!("{count} samples") };
    output::print(&format!("{samples} of {}: {}\n", readable_path(&generator.checkpoint), readable_path(place)))
}

/// Writes the samples `[N, H, W, C]`, each under its name where each has a file, and returns where they are.
fn write<'a>(target: &'a Target, names: &[String], pixels: &[u8], image: ImageShape) -> Result<&'a Path> {
    let ImageShape { h, w, c } = image;
    let images = || names.iter().zip(pixels.chunks_exact(h * w * c));
    match target {
        Target::Grid(path) => {
            write_grid(path, pixels, names.len(), h, w, c, columns(names.len()), 0)?;
            Ok(path)
        }
        Target::Array(path) => {
            npy::write_pixels(path, &[names.len(), h, w, c], pixels)?;
            Ok(path)
        }
        Target::Zip(path) => {
            let png = |(name, image): (&String, &[u8])| Ok((name.clone(), encode_grid(image, 1, h, w, c, 1, 1)?));
            write_file(path, &pack(images().map(png))?)?;
            Ok(path)
        }
        Target::Folder(folder) => {
            std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, "create the folder", error))?;
            images().try_for_each(|(name, image)| write_grid(&folder.join(name), image, 1, h, w, c, 1, 1))?;
            Ok(folder)
        }
    }
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
        assert_eq!(
            (folder.target, folder.samples),
            (Target::Folder("samples".into()), Samples::Seeds((0..32).collect()))
        );
        assert_eq!(options("runs/1 --grid").unwrap().target, Target::Grid("samples.png".into()));
        let grid = options("runs/1 --grid --output a.png --seeds 5,1").unwrap();
        assert_eq!((grid.source, grid.samples), ("runs/1".into(), Samples::Seeds(vec![5, 1])));
        assert_eq!(grid.target, Target::Grid("a.png".into()));
        assert_eq!(options("runs/1 --outdir b --device cpu").unwrap().target, Target::Folder("b".into()));
        assert_eq!(options("runs/1 --device cpu --threads 1").unwrap().device.threads, Some(1));
        assert_eq!(options("runs/1 --grid --outdir b"), None);
        assert_eq!(options("runs/1 --output a.png"), None);
        assert_eq!(options("runs/1 --output a.NPY").unwrap().target, Target::Array("a.NPY".into()));
        let zip = options("runs/1 --latents z.npy --zip a.zip").unwrap();
        assert_eq!((zip.target, zip.samples), (Target::Zip("a.zip".into()), Samples::File("z.npy".into())));
        for wrong in ["--zip a.npy", "--zip a.zip --grid", "--output a.npy --zip a.zip", "--output a.npy --outdir b"] {
            assert_eq!(options(&format!("runs/1 {wrong}")), None, "{wrong}");
        }
        assert_eq!(options("runs/1 --latents z.npy --seeds 1"), None);
        for wrong in ["--grid --output a.jpg", "--grid --output -", "--outdir -"] {
            assert_eq!(options(&format!("runs/1 {wrong}")), None, "{wrong}");
        }
        assert!(options("runs/1 --force").unwrap().force.force);
    }

    #[test]
    fn names_sort_as_the_seeds_do() {
        for seeds in [vec![0, 7, 9999], vec![9998, 9999, 10_000, 123_456], vec![3]] {
            let names = numbered("seed", seeds.into_iter());
            assert!(names.is_sorted(), "{names:?}");
        }
        assert_eq!(numbered("seed", [3].into_iter()), ["seed0003.png"]);
        assert_eq!(numbered("sample", [10_000, 3].into_iter())[1], "sample00003.png");
    }
}
