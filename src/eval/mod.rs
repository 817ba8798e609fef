//! Measuring a trained generator: its samples against the images of a data set, in numbers that can be compared between runs.
//!
//! | file | what it holds |
//! |---|---|
//! | [`metrics`] | the registry, and a file for each metric |
//! | [`evaluator`] | what a run is measured with: the data set's side, once, and samples again and again |
//! | [`classifier`] | the network that gives features and classes: how it is trained, how it is used |
//! | `store` | where it is kept |
//! | `split` | which labelled images it learns from, and which it is tested on |
//! | [`set`] | a set of images as the metrics see it |
//! | `draws` | random choices |
//! | `distances` | squared distances of features, in blocks |
//! | [`pyramid`] | Laplacian pyramids |
//! | [`moments`] | mean, covariance, eigenvalues |
//!
//! Every number is a function of the images, the samples and the seed: the same bits on any number of threads. The room is given
//! pixels; it knows of no run and of no generator.

pub mod classifier;
mod distances;
mod draws;
pub mod evaluator;
pub mod metrics;
pub mod moments;
pub mod pyramid;
pub mod set;
mod split;
mod store;

pub use evaluator::{Evaluator, Options};
pub use metrics::{METRICS, Metric, Needs};
pub use set::Set;
