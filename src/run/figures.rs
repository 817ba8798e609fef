//! Figures that a run has: those that its curves, its lines and its comparisons show, with their names.

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
