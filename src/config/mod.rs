//! Presets, overrides and validation: from words to [`Settings`].
//!
//! Settings are put together in layers, each over the one before: a [`preset`], a configuration file, the short
//! flags and `--set` ([`Override`]). [`resolve`] does it all and checks the outcome with [`validate`].

mod at_resume;
mod background;
mod checker;
mod conditional;
mod declare;
mod differences;
mod experiment;
mod family;
mod file;
mod foreign;
mod nearest;
mod objective;
mod objective_rules;
mod overrides;
mod presets;
pub mod resnet;
mod resolve;
mod schema;
mod settings;
mod validate;

pub use at_resume::{AtResume, SETTINGS, SettingChange, at_resume, changes, recorded, with_recorded, with_start_of};
pub use background::Background;
pub use declare::{Choice, Range, Section, Setting};
pub use differences::{Difference, SettingValue, differences};
pub use experiment::{ExperimentRun, read_experiment};
pub use file::{read, read_named, to_toml};
pub use nearest::{nearest, nearest_hint};
pub use objective::{AugmentPolicy, BottleneckZ, Loss, ObjectiveSettings, Penalty};
pub use overrides::{Override, apply};
pub use presets::{PRESETS, image_shape, preset};
pub use resolve::{DEFAULT_PRESET, Sources, resolve};
pub use schema::known_keys;
pub use settings::*;
pub use validate::{validate, validate_for_images, validate_for_ranks};
