//! Training: one step, and the loop around it.

pub mod batch;
pub mod interrupt;
pub mod load;
pub mod predict;
pub mod sampler;
pub mod session;
pub mod snapshot;
pub mod trace;
pub mod trainer;
pub mod whole;

pub use interrupt::Interrupt;
pub use load::TrainedGenerator;
pub use session::Session;
pub use trainer::Trainer;
