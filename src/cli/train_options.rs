//! The options of `train`, for the training itself and for its dry run.

use std::path::PathBuf;

use super::arguments::DeviceArgs;
use super::ranks::flags::RankArgs;
use super::serve::ServeArgs;
use crate::config::Settings;

/// The options of `train`, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TrainOptions {
    /// All settings; `data.source` is `glyphs` or an absolute path.
    pub(crate) settings: Settings,
    /// The preset that they started from.
    pub(crate) preset: String,
    /// Folder in which the run's folder is created.
    pub(crate) outdir: PathBuf,
    /// The user's word for the name of the run's folder.
    pub(crate) description: Option<String>,
    /// The device, and how it is opened.
    pub(crate) device: DeviceArgs,
    /// The ranks, where there are several.
    pub(crate) ranks: RankArgs,
    /// The address of the live page, if the run is served.
    pub(crate) serve: ServeArgs,
    /// Only print what would be done.
    pub(crate) dry_run: bool,
    /// End standard output with a line of JSON.
    pub(crate) json: bool,
}
