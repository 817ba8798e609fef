//! All layers of the settings, put together in one place.

use std::path::PathBuf;

use super::file::over_preset;
use super::overrides::{Override, apply};
use super::presets::preset;
use super::settings::Settings;
use super::validate::validate;
use crate::error::Result;

/// Sources of settings; each field overrides the ones before it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sources {
    /// The preset that the user asked for; `None` takes the one that the file names, or `quick`.
    pub preset: Option<String>,
    /// A configuration file, which may name any part of the settings.
    pub config: Option<PathBuf>,
    /// Short flags and `--set`, in the order in which they count: the last one wins.
    pub overrides: Vec<Override>,
}

/// The preset of those who name none.
pub const DEFAULT_PRESET: &str = "quick";

/// Puts the layers together and validates the outcome; also the name of the preset that they began with.
///
/// # Errors
/// [`Usage`](crate::Error::Usage) for a mistake on the command line, [`BadData`](crate::Error::BadData) for one in
/// the file, [`Io`](crate::Error::Io) for a file that can't be read.
pub fn resolve(sources: &Sources) -> Result<(Settings, String)> {
    let chosen = sources.preset.as_deref();
    let (with_file, name) = match &sources.config {
        Some(path) => over_preset(path, chosen, DEFAULT_PRESET)?,
        None => {
            let name = chosen.unwrap_or(DEFAULT_PRESET);
            (preset(name)?, name.to_string())
        }
    };
    let settings = apply(&with_file, &sources.overrides)?;
    validate(&settings)?;
    Ok((settings, name))
}
