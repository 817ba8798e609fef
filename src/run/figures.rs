//! Figures that a run has: those that its curves, its lines and its comparisons show, with their names.

use super::stats::Record;
pub use crate::figures::Output;

/// Figures that a run has beside its two losses. Those of one loss alone, k, M and the error of the reconstructions, stand
/// in its records or do not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// I_c, where the run has a bottleneck, and so β and KL.
    pub target_kl: Option<f64>,
    /// True if D's loss has a gradient penalty.
    pub has_penalty: bool,
    /// Meaning of D's output: the records' `d_real` and `d_fake` are probabilities, outputs or energies.
    pub output: Output,
}

/// A figure that is shown by itself: with a panel of its own, and a part of the line of a tick.
pub(super) struct Single {
    /// Its name in a record.
    pub(super) name: &'static str,
    /// True for the runs that show it.
    shown: fn(&Figures) -> bool,
    /// Its name in the line of a tick.
    pub(super) line: Option<&'static str>,
    /// Its title among the curves of a run.
    pub(super) curve: Option<&'static str>,
    /// Its title in a comparison of runs.
    pub(super) comparison: Option<&'static str>,
    value: fn(&Record) -> Option<f64>,
}

impl Single {
    /// Returns true if a run with these figures shows it.
    pub(super) fn is_shown(&self, figures: &Figures) -> bool {
        (self.shown)(figures)
    }

    /// Its value in a record of a run with these figures; `None` where the run has no such figure.
    pub(super) fn value(&self, record: &Record, figures: &Figures) -> Option<f64> {
        // A record of a run without it does not have it either.
        (self.shown)(figures).then(|| (self.value)(record)).flatten()
    }
}

macro_rules! define_singles {
    ($($(#[$meaning:meta])* $name:ident: $type:ty {
        json: $json:tt, tick: $tick:ident, runs: $runs:expr, $(shown: ($shown:expr, $line:expr, $curve:expr, $comparison:expr $(,)?),)?
    })+) => {
        /// Those of src/figures.rs that are shown, in their order.
        pub(super) const SINGLES: &[Single] = &[$($(Single {
            name: stringify!($name),
            shown: $shown,
            line: $line,
            curve: $curve,
            comparison: $comparison,
            value: |record| Option::from(record.$name),
        },)?)+];

        /// The figures of which a record has the last step's, not a mean.
        pub(super) const OF_THE_LAST_STEP: &[&str] = &[$(of_the_last_step!($tick $name)),+];
    };
}

/// The name of a figure of the last step; one that is a mean has none here.
macro_rules! of_the_last_step {
    (last $name:ident) => {
        stringify!($name)
    };
    (mean $name:ident) => {
        ""
    };
}
figures!(define_singles);
