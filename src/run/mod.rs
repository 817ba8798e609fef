//! The run folder: everything that a run leaves on disk, and how it is read back.
//!
//! ```text
//! runs/00003-vgan-mnist-b128/
//!   config.toml  env.json  init.json  log.txt  stats.jsonl  metrics.jsonl  status.json
//!   reals.png  fakes_init.png  fakes000200.png  curves.svg  events.out.tfevents.…
//!   checkpoints/000200/{model,optim}.safetensors state.json   checkpoints/latest
//! ```
//!
//! This room knows nothing of nets or of training: it keeps named tensors, a state, and records of numbers.

pub mod animation;
mod atomic;
mod axis;
pub mod bar;
pub mod checkpoint;
pub mod comparison;
pub mod contact_sheet;
pub mod curves;
pub mod env;
pub mod events;
pub mod figures;
pub mod folder;
mod font;
pub mod fork;
pub mod log;
pub mod measured;
pub mod messages;
pub mod picture;
mod plot;
pub mod progress;
pub mod ranks;
pub mod report;
pub mod serve;
pub mod state;
pub mod stats;
pub mod status;
pub mod tensors;

pub use crate::image::ImageShape;
pub(crate) use atomic::Temporary;
pub use atomic::write_file;
pub use checkpoint::Checkpoint;
pub use events::EventLog;
pub use figures::{Figures, Output};
pub use folder::{RunFolder, RunLock, picture_step};
pub use log::LogFile;
pub use measured::{Measured, Setup};
pub use progress::Progress;
pub use state::{Change, DataPosition, FileEntry, Files, Origin, RngPosition, State, Updates};
pub use stats::{Record, StatsLog};
pub use status::{Outcome, Status};
pub use tensors::Tensor;
