//! From a run's settings to the reading of its images.

use crate::config::{DataSettings, Settings};
use crate::data::LoadOptions;

/// The settings' conversion of images to one shape.
pub(super) fn load_options(settings: &Settings) -> LoadOptions {
    let DataSettings { resize, channels, background, seed, .. } = settings.data;
    LoadOptions { resize, channels, background: background.rgb, seed }
}
