//! Training: one step, and the loop around it.

pub mod batch;
pub mod trainer;

pub use trainer::Trainer;
