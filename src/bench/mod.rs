//! Benchmarks: the passes of [`crate::ops::passes`], timed against what the device does at best; and, without a GPU, a training
//! step taken apart.

pub mod measure;
#[cfg(feature = "plan")]
pub mod plan;
pub mod tune;
