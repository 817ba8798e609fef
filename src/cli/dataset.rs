//! `dataset`: checks image files before a run, and downloads the data sets that the presets were made for.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::error::{Error, Result};

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

        /// Resize every image of a folder to N×N [default: no]
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
        resize: Option<u16>,

        /// Convert every image of a folder to grey (1) or colour (3) [default: as they are]
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
            DatasetCommand::Fetch { name, outdir } => DatasetOptions::Fetch { name, outdir },
        }
    }
}

/// Checks or downloads.
pub(super) fn run(_options: DatasetOptions) -> Result<()> {
    // WIRE: data's check (one line a bad file, then the count; exit 3 if there is one) and, with the feature
    // `download`, its fetch; without the feature, a Usage error that names it.
    Err(Error::Internal("not wired yet".into()))
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
        let fetch = |name, outdir: &str| Some(DatasetOptions::Fetch { name, outdir: outdir.into() });
        assert_eq!(options("fetch fashion-mnist"), fetch(DatasetName::FashionMnist, "data"));
        assert_eq!(options("fetch cifar10 --outdir b"), fetch(DatasetName::Cifar10, "b"));
        assert_eq!(options("fetch mnist"), fetch(DatasetName::Mnist, "data"));
        for words in ["fetch imagenet", "check", "check a --channels 2", "check a --resize 0"] {
            assert_eq!(options(words), None, "{words}");
        }
    }
}
