//! Figures that a run has: those that its curves, its lines and its comparisons show, with their names.

use super::stats::Record;

/// Figures that a run has beside its two losses. Those of one loss alone, k, M and the error of the reconstructions, stand
/// in its records or do not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// I_c, where the run has a bottleneck, and so β and KL.
    pub target_kl: Option<f64>,
    /// True if D's loss has a gradient penalty.
    pub has_penalty: bool,
    /// Meaning of the records' `d_real` and `d_fake`.
    pub verdict: Verdict,
}

/// Meaning of D's output for an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The probability that it is real.
    Probability,
    /// A number, larger for what D takes for real.
    Output,
    /// An energy, lower for what D takes for real.
    Energy,
}

/// A figure that is shown by itself: with a panel of its own, and a part of the line of a tick.
pub(super) struct Single {
    /// Its name in a record.
    name: &'static str,
    /// What the line of a tick calls it.
    pub(super) line: Option<&'static str>,
    /// Its title among the curves of a run.
    pub(super) curve: Option<&'static str>,
    /// Its title in a comparison of runs.
    pub(super) comparison: Option<&'static str>,
    value: fn(&Record) -> Option<f64>,
}

impl Single {
    /// Its value in a record of a run with these figures; `None` where the run has no such figure.
    pub(super) fn value(&self, record: &Record, figures: &Figures) -> Option<f64> {
        let has = match self.name {
            "beta" => figures.target_kl.is_some(),
            "penalty" => figures.has_penalty,
            // A record of a run without it does not have it either.
            _ => true,
        };
        has.then(|| (self.value)(record)).flatten()
    }
}

macro_rules! define_singles {
    ($($(#[$meaning:meta])* $name:ident: $type:ty {
        json: $json:tt, tick: $tick:ident, runs: $runs:expr, $(shown: ($line:expr, $curve:expr, $comparison:expr $(,)?),)?
    })+) => {
        /// Those of src/figures.rs that are shown, in their order.
        pub(super) const SINGLES: &[Single] = &[$($(Single {
            name: stringify!($name),
            line: $line,
            curve: $curve,
            comparison: $comparison,
            value: |record| Option::from(record.$name),
        },)?)+];
    };
}
figures!(define_singles);
