//! Which figures a run has: what its curves, its lines and its comparisons show, and what they call it.

/// Which figures a run has beside its two losses. Those of one loss alone, k, M and the error of the reconstructions, stand
/// in its records or do not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Figures {
    /// I_c, where the run has a bottleneck, and so β and KL.
    pub target_kl: Option<f64>,
    /// Whether D's loss has a gradient penalty.
    pub has_penalty: bool,
    /// What the records' `d_real` and `d_fake` are.
    pub verdict: Verdict,
}

/// What D says of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The probability that it is real.
    Probability,
    /// A number, larger for what D takes for real.
    Output,
    /// An energy, lower for what D takes for real.
    Energy,
}
