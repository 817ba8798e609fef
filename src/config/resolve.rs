//! All layers of the settings, put together in one place.

use std::path::PathBuf;

use super::file::read;
use super::overrides::{Override, apply};
use super::presets::preset;
use super::settings::Settings;
use super::validate::validate;
use crate::error::Result;

/// Where settings come from; each field goes over the ones before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources {
    /// The name of the preset.
    pub preset: String,
    /// A configuration file, which may name any part of the settings.
    pub config: Option<PathBuf>,
    /// Short flags and `--set`, in the order in which they count: the last one wins.
    pub overrides: Vec<Override>,
}

/// Puts the layers together and validates the outcome.
///
/// # Errors
/// [`Usage`](crate::Error::Usage) for a mistake on the command line, [`BadData`](crate::Error::BadData) for one in
/// the file, [`Io`](crate::Error::Io) for a file that can't be read.
pub fn resolve(sources: &Sources) -> Result<Settings> {
    let base = preset(&sources.preset)?;
    let with_file = match &sources.config {
        Some(path) => read(path, &base)?,
        None => base,
    };
    let settings = apply(&with_file, &sources.overrides)?;
    validate(&settings)?;
    Ok(settings)
}
