//! `dataset`: checks image files before a run, and downloads the data sets that the presets were made for.

#[cfg(feature = "download")]
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
#[cfg(feature = "download")]
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output;
#[cfg(feature = "download")]
use super::output::to_stderr;
use crate::data::{self, LoadOptions};
use crate::error::{Error, Result};
use crate::shell;
use crate::units::bytes;

/// Check images before a run, or download a data set
#[derive(Debug, Args)]
pub(super) struct DatasetArgs {
    #[command(subcommand)]
    command: DatasetCommand,
}

#[derive(Debug, Subcommand)]
enum DatasetCommand {
    /// Read all images as `train` would, and list every bad file
    #[command(after_help = "Example: vgan-cuda dataset check photos --resize 32 --channels 3")]
    Check {
        /// An IDX file, a CIFAR-10 binary, a folder of PNG or JPEG, an archive, or `glyphs`
        path: String,

        /// Cut every image to its central square and resize that to N×N [default: no]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        resize: Option<u16>,

        /// Convert every image to grey (1) or colour (3) [default: as they are]
        #[arg(long, value_name = "N", value_parser = clap::builder::PossibleValuesParser::new(["1", "3"]))]
        channels: Option<String>,
    },

    /// Download a data set and check its SHA-256
    #[command(after_help = "Example: vgan-cuda dataset fetch mnist")]
    Fetch {
        /// Which data set
        name: DatasetName,

        /// The folder that gets a folder of the data set's name
        #[arg(long, value_name = "DIR", default_value = "data")]
        outdir: PathBuf,

        /// Download from the folder at this address instead of the built-in ones; may be given often
        #[arg(long = "mirror", value_name = "URL")]
        mirrors: Vec<String>,
    },
}

/// A data set that can be downloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DatasetName {
    /// Handwritten digits: 60,000 images of 28×28, grey
    Mnist,
    /// Clothes: 60,000 images of 28×28, grey
    FashionMnist,
    /// Ten kinds of things: 50,000 images of 32×32, colour
    Cifar10,
}

/// What to do with which data set.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum DatasetOptions {
    /// Read all images and list every bad file.
    Check {
        /// As `data.source`.
        path: String,
        /// As `data.resize`: 0 keeps the size.
        resize: usize,
        /// As `data.channels`: 0 keeps the channels.
        channels: usize,
    },
    /// Download.
    Fetch {
        /// Which data set.
        name: DatasetName,
        /// The folder that gets a folder of the data set's name.
        outdir: PathBuf,
        /// Addresses to download from, the first choice first; empty for the built-in ones.
        mirrors: Vec<String>,
    },
}

impl DatasetArgs {
    pub(super) fn resolve(self) -> DatasetOptions {
        match self.command {
            DatasetCommand::Check { path, resize, channels } => DatasetOptions::Check {
                path,
                resize: resize.map_or(0, usize::from),
                channels: channels.and_then(|channels| channels.parse().ok()).unwrap_or(0),
            },
            DatasetCommand::Fetch { name, outdir, mirrors } => DatasetOptions::Fetch { name, outdir, mirrors },
        }
    }
}

/// Checks or downloads.
pub(super) fn run(options: DatasetOptions) -> Result<()> {
    match options {
        DatasetOptions::Check { path, resize, channels } => {
            let options = LoadOptions { resize, channels, ..LoadOptions::default() };
            if path == "glyphs" {
                return output::print(&format!("{}\n", data::load(&path, &options)?.description));
            }
            check(Path::new(&path), &options)
        }
        DatasetOptions::Fetch { name, outdir, mirrors } => fetch(name, &outdir, &mirrors),
    }
}

/// Prints what the data set holds and each bad file.
///
/// # Errors
/// [`Error::BadData`] if `train` would not take it.
fn check(path: &Path, options: &LoadOptions) -> Result<()> {
    let report = data::check(path, options)?;
    output::print(&report.to_string())?;
    if report.is_clean() {
        return Ok(());
    }
    let (found, hint) = match (report.bad.len(), report.obstacles.first()) {
        (0, None) => ("none".to_string(), ""),
        (0, Some(_)) => ("images that differ".to_string(), "see the lines above"),
        (1, _) => ("1 bad file".to_string(), "repair it, or move it away"),
        (bad, _) => (format!("{bad} bad files"), "repair them, or move them away"),
    };
    Err(Error::bad_data(path, "images that `train` can take", found).with_hint(hint))
}

/// Downloads into the folder of the data set's name.
#[cfg(feature = "download")]
fn fetch(name: DatasetName, outdir: &Path, mirrors: &[String]) -> Result<()> {
    let (name, preset) = name.name_and_preset();
    let target = outdir.join(name);
    let mut meter = Meter::new();
    let fetched = data::fetch(name, &target, (!mirrors.is_empty()).then_some(mirrors), &mut |done, total| {
        meter.show(done, total.unwrap_or(done));
    });
    meter.finish();
    let target = fetched?;
    let (path, word) = (target.display(), shell::path(&target));
    output::print(&format!("{path} is complete; train on it with: vgan-cuda train {preset} --data {word}\n"))
}

/// Says how to get a program that can.
#[cfg(not(feature = "download"))]
fn fetch(name: DatasetName, _outdir: &Path, _mirrors: &[String]) -> Result<()> {
    let (name, _) = name.name_and_preset();
    Err(Error::Usage(format!(
        "this program was built without downloads: build it with `cargo build --release --features download`, or \
         get {name} by other means and pass --data PATH"
    )))
}

impl DatasetName {
    /// The name among the data sets, and the preset that was made for it.
    fn name_and_preset(self) -> (&'static str, &'static str) {
        match self {
            DatasetName::Mnist => ("mnist", "vgan-mnist"),
            DatasetName::FashionMnist => ("fashion-mnist", "vgan-mnist"),
            DatasetName::Cifar10 => ("cifar10", "vgan-cifar10"),
        }
    }
}

/// Shows on standard error how far a download is: a bar on a terminal, otherwise a plain line each tenth.
#[cfg(feature = "download")]
struct Meter {
    bar: Option<ProgressBar>,
    next_tenth: u64,
}

#[cfg(feature = "download")]
impl Meter {
    fn new() -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            // The template is fixed and valid; were it not, the library's own style would do.
            let template = "{wide_bar:.cyan/blue} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Meter { bar, next_tenth: 0 }
    }

    fn show(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
        } else if done.saturating_mul(10) >= self.next_tenth.saturating_mul(total) {
            to_stderr(&format!("{} of {}", bytes(done), bytes(total)));
            self.next_tenth = done.saturating_mul(10) / total.max(1) + 1;
        }
    }

    fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
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
        let check = |resize, channels| Some(DatasetOptions::Check { path: "a".into(), resize, channels });
        assert_eq!(options("check a"), check(0, 0));
        assert_eq!(options("check a --resize 32 --channels 3"), check(32, 3));
        let fetch = |name, outdir: &str| Some(DatasetOptions::Fetch { name, outdir: outdir.into(), mirrors: vec![] });
        assert_eq!(options("fetch fashion-mnist"), fetch(DatasetName::FashionMnist, "data"));
        assert_eq!(options("fetch cifar10 --outdir b"), fetch(DatasetName::Cifar10, "b"));
        assert_eq!(options("fetch mnist"), fetch(DatasetName::Mnist, "data"));
        for words in ["fetch imagenet", "check", "check a --channels 2", "check a --resize 0"] {
            assert_eq!(options(words), None, "{words}");
        }
    }
}
