//! `vgan-cuda` trains GANs with a Variational Discriminator Bottleneck (VGAN, Peng et al. 2018) on hand-written
//! kernels, with manual backward passes and no autodiff.
//!
//! Data flows one way, down this table, and a lower room never imports an upper one. The exceptions are plain values that
//! flow down: [`train`] and [`nn`] read the settings of [`config`], and [`train`] the images of [`data`].
//!
//! | room | what it holds |
//! |---|---|
//! | [`cli`] | one file a subcommand |
//! | [`config`] | presets, overrides, validation |
//! | [`data`] | data sets → resident uint8 images |
//! | [`bench`] | every operation at the sizes of the models, timed against what the device does at best |
//! | [`proof`] | derivatives against central differences, of operations and of whole losses |
//! | [`train`] | one step (D phase, β update, G phase) and the loop around it |
//! | [`run`] | the run folder: checkpoints, metrics, pictures, plots; only [`cli`] and [`train`] know it |
//! | [`nn`] | parameter arena, layers, generator, discriminator = encoder → bottleneck → head, the encoder of images |
//! | [`ops`] | one file an operation, in rooms by subject: sizes, contract, CPU code, launches, cases |
//! | [`device`] | memory and launch: the CPU, the GPU, dry runs; Philox; the only home of `unsafe` |
//! | `figures` | the figures that a step reports, each declared once |
//! | `shell` | how a hint to paste is quoted |
//! | `units` | sizes, counts and times as a person reads them |
//! | [`error`] | the one error type, which every room returns, and its exit codes |

#[macro_use]
mod figures;

pub mod bench;
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod nn;
pub mod ops;
pub mod proof;
pub mod run;
mod shell;
pub mod train;
mod units;

pub use error::{Error, Result};
