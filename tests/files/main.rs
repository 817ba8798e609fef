//! Files that come in and go out: data sets, settings, checkpoints, downloads; well-formed and malformed.

#[path = "../common/data_samples/mod.rs"]
mod data_samples;

mod checkpoint;
mod checkpoint_malformed;
mod config_malformed;
mod config_round_trip;
mod data;
mod data_malformed;
#[cfg(feature = "download")]
mod fetch;
mod restored;
