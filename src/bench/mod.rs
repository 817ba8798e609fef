//! Benchmarks: the passes of [`crate::ops::passes`], timed against what the device does at best.

pub mod measure;
