//! `[objective]`: what the two nets play for. docs/methods.md maps each method to its formula and its settings.

use serde::{Deserialize, Serialize};

/// `[objective]`: the losses of both nets. β's term of the bottleneck is added to whichever the discriminator has.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ObjectiveSettings {
    /// The losses of discriminator and generator.
    pub loss: Loss,
    /// What D shall say of a real image (one-sided label smoothing, Salimans et al. 2016: 0.9); losses `gan` and `ns`
    /// alone have such a target.
    pub real_target: f64,
}

impl Default for ObjectiveSettings {
    fn default() -> Self {
        ObjectiveSettings { loss: Loss::Ns, real_target: 1.0 }
    }
}

/// The losses of discriminator and generator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Loss {
    /// The minimax game: G lowers E log(1 − D(G(z))), which saturates while D wins (Goodfellow et al. 2014, Eq. 1).
    Gan,
    /// The non-saturating game: G raises E log D(G(z)) (Goodfellow et al. 2014, section 3; the article).
    Ns,
    /// Least squares (Mao et al. 2017).
    Lsgan,
    /// Hinge (Lim & Ye 2017; Miyato et al. 2018).
    Hinge,
    /// Wasserstein (Arjovsky et al. 2017); it wants D's weights clipped.
    Wgan,
}

impl Loss {
    /// Whether D's output is the log-odds of "real", so that there is a probability to smooth and to report.
    pub fn is_log_odds(self) -> bool {
        matches!(self, Loss::Gan | Loss::Ns)
    }
}
