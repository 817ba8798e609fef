//! `vgan-cuda` trains GANs with a Variational Discriminator Bottleneck (VGAN) on hand-written kernels, with manual backward passes
//! and no autodiff. "The paper" is X. B. Peng, A. Kanazawa, S. Toyer, P. Abbeel, S. Levine, [*Variational Discriminator Bottleneck:
//! Improving Imitation Learning, Inverse RL, and GANs by Constraining Information Flow*](https://arxiv.org/abs/1810.00821), ICLR
//! 2019; "the article" is the VGAN tutorial of the notebook `vgan-mnist.ipynb` of
//! [naruya/vgan-pytorch](https://github.com/naruya/vgan-pytorch/tree/master/notebooks).
//!
//! Most users want the program: `vgan-cuda train --help`. The library does the same from Rust. This example trains a tiny
//! model on the embedded digits for six steps and reads its losses:
//!
//! ```
//! use vgan_cuda::config::preset;
//! use vgan_cuda::data::glyphs;
//! use vgan_cuda::device::Cpu;
//! use vgan_cuda::run::{RunFolder, stats};
//! use vgan_cuda::train::{Interrupt, Session};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut settings = preset("quick")?;
//! settings.train.steps = 6;
//! settings.train.batch = 8;
//! settings.train.tick = 2;
//! settings.generator.hidden = vec![16];
//! settings.generator.channels = vec![8, 4];
//! settings.discriminator.channels = vec![4, 8];
//! settings.discriminator.hidden = vec![16];
//!
//! let images = glyphs::draw(100, 0);
//! let outdir = std::env::temp_dir().join(format!("vgan-cuda-example-{}", std::process::id()));
//! let folder = RunFolder::create(&outdir, "example")?;
//! let records = folder.stats_path();
//! let mut session = Session::start(Cpu::<f32>::new(None)?, settings, "quick", &images, folder)?;
//! session.train(&Interrupt::default())?;
//!
//! let last = stats::read(&records)?.pop().expect("a record every second step");
//! assert_eq!(last.step, 6);
//! assert!(last.loss_d.is_finite() && last.loss_g.is_finite());
//! # std::fs::remove_dir_all(&outdir)?;
//! # Ok(())
//! # }
//! ```
//!
//! # Rooms
//!
//! Data flows one way, down this table, and a lower room never imports an upper one. Two kinds of plain values flow down:
//! [`train`] and [`nn`] read the settings of [`config`], and [`train`] reads the images of [`data`].
//!
//! | room | content |
//! |---|---|
//! | `cli` | one file for each subcommand |
//! | [`config`] | settings, presets, overrides, validation |
//! | [`data`] | data sets → 8-bit images in memory |
//! | [`mod@bench`] | every operation at the sizes of the models, timed against the limits of the device |
//! | [`proof`] | derivatives against central differences, for operations and whole losses |
//! | [`train`] | one training step (discriminator, β, generator) and the loop around it |
//! | [`eval`] | metrics of samples against a data set, and the classifier that they need |
//! | [`exchange`] | files of other programs: weights of PyTorch, arrays of NumPy, graphs of ONNX |
//! | [`run`] | the run folder: checkpoints, records, pictures, plots; knows nothing of nets |
//! | [`nn`] | parameter arenas, layers, generator, discriminator (encoder → bottleneck → head), image encoder |
//! | [`ops`] | operations, in rooms by subject: sizes, contract, CPU code, launches, test cases |
//! | [`device`] | memory and launches on the CPU, a GPU, an emulator or a dry run; Philox; the only `unsafe` |
//! | `choices` | the words of settings that choose, declared beside what they choose |
//! | `figures` | the figures that a step reports, each declared once |
//! | `image` | the shape of an image, one type for all rooms |
//! | `shell` | quoting of commands in hints |
//! | `units` | sizes, counts and times for people |
//! | [`error`] | the one error type, returned by every room, and its exit codes |
//!
//! The kernels are in `kernels/`, in the same rooms as [`ops`]. `docs/formulas.md` maps each formula to its function.

#[macro_use]
mod figures;

pub mod bench;
mod choices;
#[doc(hidden)]
pub mod cli;
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod eval;
pub mod exchange;
mod image;
pub mod nn;
pub mod ops;
pub mod proof;
pub mod run;
mod shell;
pub mod train;
mod units;

pub use error::{Error, Result};

#[cfg(test)]
#[path = "../tests/common/needs.rs"]
mod needs;

#[cfg(test)]
#[test]
fn a_what_this_part_needs() {
    needs::say("unit tests", 10, &[]);
}
