//! A page in HTML on one run or several, in one file: curves, samples, the nearest training images, settings, environment.
//!
//! The page is its data as JSON and a script that draws them, `charts.js` and `sections.js`. A policy in its head
//! (Content-Security-Policy) lets nothing else run and nothing be loaded from elsewhere; whatever a run calls itself
//! reaches the page as text.

mod page;
mod panels;
mod records;
mod snapshots;
mod uri;

pub use page::{Changed, Differing, MARK, Near, Nearest, NearestRow, Page, Reference, Run, policy};
pub use panels::{Declared, Level, Line, Panel, panels};
pub use records::{Records, Series};
pub use snapshots::{Room, Snapshot, chosen, embedded, listed};
pub use uri::data_uri;
