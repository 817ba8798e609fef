//! Measuring a trained generator: its samples against the images of a data set, in numbers that can be compared between runs.
//!
//! | file | what it holds |
//! |---|---|
//! | [`metrics`] | the registry, and a file for each metric |
//! | [`evaluator`] | what a run is measured with: the data set's side, once, and samples again and again |
//! | [`classifier`] | the network that gives features and classes: how it is trained, how it is used |
//! | `store` | where it is kept |
//! | [`inception`] | Inception-v3 with weights that the user brings |
//! | [`resize`] | images in its size |
//! | [`observed`] | what it sees in a set of images, for FID and the Inception score |
//! | [`perceiving`] | both together, and what they are known by |
//! | `statistics` | files of the real images' moments |
//! | `split` | which labelled images it learns from, and which it is tested on |
//! | [`set`] | a set of images as the metrics see it |
//! | `draws` | random choices |
//! | `distances` | squared distances of features, in blocks |
//! | [`pyramid`] | Laplacian pyramids |
//! | [`moments`] | mean, covariance, the Fréchet distance |
//! | `spectrum` | eigenvalues of large matrices |
//!
//! Every number is a function of the images, the samples and the seed: the same bits on any number of threads. The room is given
//! pixels; it knows of no run and of no generator.

pub mod classifier;
mod distances;
mod draws;
pub mod evaluator;
pub mod inception;
pub mod metrics;
pub mod moments;
pub mod observed;
pub mod perceiving;
pub mod pyramid;
pub mod resize;
pub mod set;
mod spectrum;
mod split;
#[doc(hidden)]
pub mod statistics;
mod store;

pub use evaluator::{Evaluator, InceptionOptions, Options};
pub use metrics::{METRICS, Metric, Needs};
pub use set::Set;
