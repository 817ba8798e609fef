//! The narrow models of tests/models/steps.toml, for tests of whole training steps.

// Each test takes what it needs of this, and none is a library.
#![allow(dead_code, unreachable_pub)]

use vgan_cuda::config::Settings;
use vgan_cuda::nn::ImageShape;
use vgan_cuda::proof::models;

/// Settings of a model and the size of its images.
pub type Narrow = (Settings, ImageShape);

/// Every model, by name.
pub fn narrow_models() -> Vec<(String, Narrow)> {
    let models = models::read(include_str!("../models/steps.toml")).unwrap_or_else(|error| panic!("{error}"));
    let models = models.into_iter().map(|model| (model.name, (model.settings, model.image.expect("an image's size"))));
    models.collect()
}

/// The model of this name.
pub fn narrow(name: &str) -> Narrow {
    let found = narrow_models().into_iter().find(|(found, _)| found == name);
    found.unwrap_or_else(|| panic!("tests/models/steps.toml has no `{name}`")).1
}
