//! Benchmarks: every operation at the sizes of the models, timed against what the device does at best.

pub mod article;
mod autoencoder_passes;
pub mod measure;
mod paper;
pub mod passes;

pub use article::article_cases;
