//! Presets, overrides and validation: from words to [`Settings`].

mod settings;

pub use settings::*;
