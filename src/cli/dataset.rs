//! `dataset`: checks and exports image files before a run, and downloads the data sets that the presets were made for.

use std::path::{Path, PathBuf};
use std::str::FromStr;
#[cfg(feature = "download")]
use std::time::{Duration, Instant};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};

#[cfg(feature = "download")]
use super::output::to_stderr;
use super::{dataset_export, output};
use crate::config::Background;
use crate::data::{self, DATASETS, Dataset, LoadOptions};
#[cfg(feature = "download")]
use crate::error::readable_path;
use crate::error::{Error, Result};
#[cfg(feature = "download")]
use crate::run::{
    bar::{Bar, bar_text},
    messages::{Verbosity, verbosity},
    progress::duration,
};
#[cfg(feature = "download")]
use crate::{shell, units::bytes};

/// Check, export or download a data set
#[derive(Debug, Args)]
pub(super) struct DatasetArgs {
    #[command(subcommand)]
    command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
enum DatasetCommand {
    /// Read all images as `train` would, and list every bad file
    #[command(after_help = CHECK_HELP)]
    Check {
        #[command(flatten)]
        images: ImagesArgs,

        /// Print one JSON object instead of text
        #[arg(long)]
        json: bool,
    },

    /// Write the images as PNG, as training sees them: converted, resized, in a folder for each class
    #[command(after_help = "Example: vgan-cuda dataset export data/mnist --outdir mnist-png --limit 1000")]
    Export {
        #[command(flatten)]
        images: ImagesArgs,

        /// Folder to make
        #[arg(long, value_name = "DIR", value_parser = super::target::target_parser())]
        outdir: PathBuf,

        /// Write the first N images only [default: all]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
    },

    /// Download a data set and check its SHA-256
    #[command(after_help = "Example: vgan-cuda dataset fetch mnist")]
    Fetch {
        /// The data set
        #[arg(value_parser = dataset_parser())]
        name: &'static Dataset,

        /// Folder in which the data set's folder is created
        #[arg(long, value_name = "DIR", default_value = "data", value_parser = super::target::target_parser())]
        outdir: PathBuf,

        /// Download from this address instead of the built-in ones; can be repeated
        #[arg(long = "mirror", value_name = "URL")]
        mirrors: Vec<String>,
    },
}

/// A data set, and how its images are converted.
#[derive(Debug, Args)]
struct ImagesArgs {
    /// An IDX file, a CIFAR-10 binary, a folder of PNG or JPEG, an archive, or `glyphs`
    path: String,

    /// Crop every image to its central square and resize it to N×N [default: no]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    resize: Option<u16>,

    /// Convert every image to grey (1) or colour (3) [default: as they are]
    #[arg(long, value_name = "N", value_parser = clap::builder::PossibleValuesParser::new(["1", "3"]))]
    channels: Option<String>,

    /// Background of transparent images: black, white, grey or #rrggbb
    #[arg(long, value_name = "COLOUR", default_value = "black", value_parser = Background::from_str)]
    background: Background,
}

impl ImagesArgs {
    fn resolve(self) -> ImagesOptions {
        ImagesOptions {
            path: self.path,
            resize: self.resize.map_or(0, usize::from),
            channels: self.channels.and_then(|channels| channels.parse().ok()).unwrap_or(0),
            background: self.background,
        }
    }
}

const CHECK_HELP: &str = "\
Examples:
  vgan-cuda dataset check photos --resize 32 --channels 3
  vgan-cuda dataset check data/mnist --json

The counts cover the files that `train` reads. The exit code is 3 if a file is bad or if the images
differ in size or channels, else 0.

--json prints one object:
  path, format       the data set and its format
  folder             the folder inside it that holds the images, or null
  train_ready        true if `train` with the same options accepts it
  clean              true if no file is bad, not even among those left out
  files, images      numbers that `train` reads
  sizes              [{height, width, images}]
  channels           [{channels, images}]
  left_out           for each of other_split, own_output (pictures by vgan-cuda), twin (a copy),
                     labels, other_kind and hidden: {files, images, example}
  warnings           sentences on suspicious properties
  notes              numbers of images: transparent (laid on background), rotated (by EXIF),
                     sixteen_bit, sixteen_bit_narrow (less than 1/16 of the range), animated, cmyk,
                     profile, constant (of one colour), duplicates (copies of others);
                     most_common and most_common_share, the value of most pixels;
                     only_split (null, test or validation), own_pictures, remarks
  bad                [{path, reason, needed}]; needed is true if `train` reads the file
  obstacles          sentences on mixed sizes or channels";

/// Takes the name of a data set that can be downloaded.
fn dataset_parser() -> impl TypedValueParser<Value = &'static Dataset> {
    let names = DATASETS.iter().map(|dataset| PossibleValue::new(dataset.name).help(dataset.meaning));
    PossibleValuesParser::new(names).try_map(|name| data::dataset(&name).ok_or("no data set of that name"))
}

/// A data set, and how its images are converted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ImagesOptions {
    /// As `data.source`.
    path: String,
    /// As `data.resize`: 0 keeps the size.
    resize: usize,
    /// As `data.channels`: 0 keeps the channels.
    channels: usize,
    /// As `data.background`.
    background: Background,
}

impl ImagesOptions {
    fn load_options(&self) -> LoadOptions {
        let ImagesOptions { resize, channels, background, .. } = *self;
        LoadOptions { resize, channels, background: background.rgb, ..LoadOptions::default() }
    }
}

/// The options of `dataset`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DatasetOptions {
    /// Read all images and list every bad file.
    Check {
        /// The data set.
        images: ImagesOptions,
        /// Print JSON.
        json: bool,
    },
    /// Write the images as PNG.
    Export {
        /// The data set.
        images: ImagesOptions,
        /// Folder to make.
        outdir: PathBuf,
        /// The most images to write.
        limit: Option<usize>,
    },
    /// Download.
    Fetch {
        /// The data set.
        name: &'static Dataset,
        /// Folder in which the data set's folder is created.
        outdir: PathBuf,
        /// Addresses to download from, the first choice first; empty for the built-in ones.
        mirrors: Vec<String>,
    },
}

impl DatasetArgs {
    pub(super) fn resolve(self) -> DatasetOptions {
        match self.command {
            DatasetCommand::Check { images, json } => DatasetOptions::Check { images: images.resolve(), json },
            DatasetCommand::Export { images, outdir, limit } => {
                let limit = limit.map(|limit| limit as usize);
                DatasetOptions::Export { images: images.resolve(), outdir, limit }
            }
            DatasetCommand::Fetch { name, outdir, mirrors } => DatasetOptions::Fetch { name, outdir, mirrors },
        }
    }
}

/// Checks or downloads.
pub(super) fn run(options: DatasetOptions) -> Result<()> {
    match options {
        DatasetOptions::Check { images, json } => check(Path::new(&images.path), &images.load_options(), json),
        DatasetOptions::Export { images, outdir, limit } => {
            dataset_export::export(&images.path, &images.load_options(), limit, &outdir)
        }
        DatasetOptions::Fetch { name, outdir, mirrors } => fetch(name, &outdir, &mirrors),
    }
}

/// Prints what the data set holds and each bad file.
///
/// # Errors
/// [`Error::BadData`] if a file is bad or `train` would not take it.
fn check(path: &Path, options: &LoadOptions, json: bool) -> Result<()> {
    let report = data::check(path, options)?;
    output::print(&if json { format!("{}\n", report.to_json(path)) } else { report.to_string() })?;
    if report.is_clean() {
        return Ok(());
    }
    let expected = if report.is_ready() { "a data set without bad files" } else { "images that `train` can take" };
    let (found, hint) = match (report.bad.len(), report.obstacles.first()) {
        (0, None) => ("none".to_string(), ""),
        (0, Some(_)) => ("images that differ".to_string(), "see the lines above"),
        (1, _) => ("1 bad file".to_string(), "repair it, or move it away"),
        (bad, _) => (format!("{bad} bad files"), "repair them, or move them away"),
    };
    Err(Error::bad_data(path, expected, found).with_hint(hint))
}

/// Downloads into the folder of the data set's name.
#[cfg(feature = "download")]
fn fetch(dataset: &Dataset, outdir: &Path, mirrors: &[String]) -> Result<()> {
    let Dataset { name, preset, .. } = *dataset;
    let target = outdir.join(name);
    let mut meter = Meter::new();
    let fetched = data::fetch(name, &target, (!mirrors.is_empty()).then_some(mirrors), &mut |done, total| {
        meter.show(done, total.unwrap_or(done));
    });
    meter.finish();
    let target = fetched?;
    let (path, word) = (readable_path(&target), shell::path(&target));
    output::print(&format!("{path} is complete; train on it with: vgan-cuda train {preset} --data {word}\n"))
}

/// Says how to get a program that can.
#[cfg(not(feature = "download"))]
fn fetch(dataset: &Dataset, _outdir: &Path, _mirrors: &[String]) -> Result<()> {
    let name = dataset.name;
    Err(Error::Usage(format!(
        "this program was built without downloads: build it with `cargo build --release --features download`, or \
         get {name} by other means and pass --data PATH"
    )))
}

/// Shows on standard error how far a download is: a bar on a terminal, otherwise a plain line each tenth; nothing where the
/// user wants quiet.
#[cfg(feature = "download")]
struct Meter {
    bar: Option<Bar>,
    start: Instant,
    next_tenth: u64,
}

#[cfg(feature = "download")]
impl Meter {
    fn new() -> Self {
        let bar = if verbosity() > Verbosity::Quiet { Bar::new() } else { None };
        Meter { bar, start: Instant::now(), next_tenth: 0 }
    }

    fn show(&mut self, done: u64, total: u64) {
        let what = format!("{} of {}", bytes(done), bytes(total));
        if let Some(bar) = &self.bar {
            let seconds = self.start.elapsed().as_secs_f64().max(1e-3);
            let left = total.saturating_sub(done) as f64 * seconds / done.max(1) as f64;
            let left = Duration::try_from_secs_f64(left).ok().map(|time| format!("ETA {}", duration(time)));
            let speed = format!("{}/s", bytes((done as f64 / seconds) as u64));
            bar.show(|columns| bar_text(done, total, &what, Some(speed), left, columns));
        } else if done.saturating_mul(10) >= self.next_tenth.saturating_mul(total) {
            to_stderr(&what);
            self.next_tenth = done.saturating_mul(10) / total.max(1) + 1;
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn options(words: &str) -> Option<DatasetOptions> {
        match Cli::try_parse_from(["vgan-cuda", "dataset"].into_iter().chain(words.split(' '))).ok()?.command {
            Command::Dataset(args) => Some(args.resolve()),
            _ => None,
        }
    }

    #[test]
    fn resolution() {
        let check = |resize, channels| {
            let background = Background::default();
            let images = ImagesOptions { path: "a".into(), resize, channels, background };
            Some(DatasetOptions::Check { images, json: false })
        };
        assert_eq!(options("check a"), check(0, 0));
        assert_eq!(options("check a --resize 32 --channels 3"), check(32, 3));
        let white = Background { rgb: [255; 3] };
        let images = || ImagesOptions { path: "a".into(), resize: 0, channels: 0, background: white };
        let expected = DatasetOptions::Check { images: images(), json: true };
        assert_eq!(options("check a --json --background white"), Some(expected));
        let expected = DatasetOptions::Export { images: images(), outdir: "b".into(), limit: Some(9) };
        assert_eq!(options("export a --background white --outdir b --limit 9"), Some(expected));
        let fetch = |name, outdir: &str| Some(DatasetOptions::Fetch { name, outdir: outdir.into(), mirrors: vec![] });
        for dataset in DATASETS {
            assert!(crate::config::preset(dataset.preset).is_ok(), "{}: no preset {}", dataset.name, dataset.preset);
            assert_eq!(options(&format!("fetch {}", dataset.name)), fetch(dataset, "data"));
            assert_eq!(options(&format!("fetch {} --outdir b", dataset.name)), fetch(dataset, "b"));
        }
        for words in [
            "fetch imagenet",
            "check",
            "export a",
            "export a --outdir b --limit 0",
            "check a --channels 2",
            "check a --resize 0",
            "check a --background sea",
        ] {
            assert_eq!(options(words), None, "{words}");
        }
    }
}
