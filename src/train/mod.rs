//! Training: one step, and the loop around it.
//!
//! | file | what it holds |
//! |---|---|
//! | [`step`] | one step, top to bottom: the discriminator, β, the generator |
//! | [`trainer`] | the step again and again: recorded, counted, its state read and written |
//! | [`objective`] | from settings to the constants of the losses |
//! | [`batch`] | what a step is fed with: images, latents, noise, drawn or given |
//! | [`classes`] | the classes of a run's images |
//! | [`grid`] | the samples of a snapshot's grid |
//! | [`session`] | a run from start to end: steps, ticks, snapshots |
//! | [`books`] | what a run leaves on the disk while it goes on: records, pictures, measurements, checkpoints |
//! | [`agreement`] | what several ranks decide together |
//! | [`plan`] | how long a run is, and how often it makes pictures, checkpoints and measurements |
//! | [`report`] | which figures a run has, and their means from tick to tick |
//! | [`snapshot`] | a trainer's state as a checkpoint, and back |
//! | [`evaluation`] | measuring a run's samples |
//! | [`interrupt`] | the signals that save and end a run |
//! | [`sampler`] | pictures from a generator |
//! | [`init`] | weights of another run or file, to begin with |
//! | [`load`] | a trained generator from a run's folder or a checkpoint's |
//! | [`revision`] | the settings of a resume against those that the checkpoint was trained with |
//! | [`predict`] | what a run will need: parameters, memory, arithmetic; the refusal of one that does not fit |
//! | [`speed`] | the speed of a device, from which the duration of a run is estimated |
//! | [`disk`] | what it will write |
//! | [`trace`] | one step on given values, every value read out |

pub mod agreement;
pub mod batch;
pub mod books;
pub mod classes;
pub mod disk;
pub mod evaluation;
pub mod grid;
pub mod init;
pub mod interrupt;
pub mod load;
pub mod objective;
pub mod plan;
pub mod predict;
pub mod report;
pub mod revision;
pub mod sampler;
pub mod session;
pub mod snapshot;
pub mod speed;
pub mod step;
pub mod trace;
pub mod trainer;

pub use agreement::Agreement;
pub use evaluation::Evaluation;
pub use init::Init;
pub use interrupt::Interrupt;
pub use load::TrainedGenerator;
pub use session::Session;
pub use trainer::Trainer;
