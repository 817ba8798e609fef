//! The objectives: what one output ℓ of the discriminator costs it, or the generator, and the derivative by ℓ.
//!
//! | loss | D, real image | D, fake image | G, fake image | source |
//! |---|---|---|---|---|
//! | `Gan` | BCE(ℓ, t) | BCE(ℓ, 0) | −BCE(ℓ, 0) | Goodfellow et al. 2014, Eq. 1 |
//! | `Ns` | BCE(ℓ, t) | BCE(ℓ, 0) | BCE(ℓ, 1) | Goodfellow et al. 2014, section 3 |
//! | `Lsgan` | ½ (ℓ − 1)² | ½ ℓ² | ½ (ℓ − 1)² | Mao et al. 2017, Eq. 9 |
//! | `Hinge` | max(0, 1 − ℓ) | max(0, 1 + ℓ) | −ℓ | Lim & Ye 2017; Miyato et al. 2018, Eq. 16 and 17 |
//! | `Wgan` | −ℓ | ℓ | −ℓ | Arjovsky et al. 2017, Algorithm 1 |
//! | `Ebgan` | ℓ | max(0, m − ℓ) | ℓ | Zhao et al. 2017, Eq. 1 and 2 |
//! | `Began` | ℓ | −ℓ, times k | ℓ | Berthelot et al. 2017, section 3.3 |
//!
//! The last two are of energies: ℓ is how far an autoencoder's reconstruction is off. k is no constant; the loss multiplies
//! by it ([`super::loss`]).
//!
//! Each is averaged over its images, and D's two means are added. BCE(ℓ, t) is the cross entropy of sigmoid(ℓ) against
//! the target t, in nats: −t ln sigmoid(ℓ) − (1 − t) ln sigmoid(−ℓ). The table stands once more in kernels/losses/objective.cuh.

/// The losses of discriminator and generator; kernels/losses/objective.cuh has the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Loss {
    /// The minimax game, in which the generator's loss saturates.
    Gan = 0,
    /// The non-saturating game.
    Ns = 1,
    /// Least squares.
    Lsgan = 2,
    /// Hinge.
    Hinge = 3,
    /// Wasserstein.
    Wgan = 4,
    /// Energies, those of fake images up to a margin.
    Ebgan = 5,
    /// Energies in equilibrium.
    Began = 6,
}

impl Loss {
    /// All of them.
    pub const ALL: &[Loss] = &[Loss::Gan, Loss::Ns, Loss::Lsgan, Loss::Hinge, Loss::Wgan, Loss::Ebgan, Loss::Began];
}

/// Whose cost it is, and of which image; kernels/losses/objective.cuh has the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub enum Side {
    /// The discriminator's, of a real image.
    Real = 0,
    /// The discriminator's, of a fake image.
    Fake = 1,
    /// The generator's, of a fake image.
    Generator = 2,
}

/// A loss and its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// Which loss.
    pub loss: Loss,
    /// t: what D shall say of a real image; 1 without label smoothing. `Gan` and `Ns` alone have it.
    pub real_target: f64,
    /// m of `Ebgan`.
    pub margin: f64,
    /// γ of `Began`: the energy of fake images that it strives for, in energies of real ones.
    pub balance_ratio: f64,
    /// λ_k of `Began`.
    pub balance_step: f64,
}

/// What one output of the discriminator costs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Term {
    /// The cost.
    pub value: f64,
    /// Its derivative by the output.
    pub derivative: f64,
}

impl Objective {
    /// A loss with the constants of its source.
    pub fn new(loss: Loss) -> Self {
        Objective { loss, real_target: 1.0, margin: 1.0, balance_ratio: 0.5, balance_step: 0.001 }
    }

    /// The cost of the output `logit` and its derivative. Where the logit is not a number, the cost is none either.
    pub fn term(&self, side: Side, logit: f64) -> Term {
        match (self.loss, side) {
            (Loss::Gan | Loss::Ns, Side::Real) => cross_entropy(logit, self.real_target),
            (Loss::Gan | Loss::Ns, Side::Fake) => cross_entropy(logit, 0.0),
            (Loss::Gan, Side::Generator) => {
                let Term { value, derivative } = cross_entropy(logit, 0.0);
                Term { value: -value, derivative: -derivative }
            }
            (Loss::Ns, Side::Generator) => cross_entropy(logit, 1.0),
            (Loss::Lsgan, Side::Fake) => half_square(logit, 0.0),
            (Loss::Lsgan, Side::Real | Side::Generator) => half_square(logit, 1.0),
            (Loss::Hinge, Side::Real) => hinge(logit, -1.0),
            (Loss::Hinge, Side::Fake) => hinge(logit, 1.0),
            (Loss::Wgan, Side::Fake) | (Loss::Ebgan | Loss::Began, Side::Real | Side::Generator) => {
                Term { value: logit, derivative: 1.0 }
            }
            (Loss::Wgan, Side::Real) | (Loss::Wgan | Loss::Hinge, Side::Generator) | (Loss::Began, Side::Fake) => {
                Term { value: -logit, derivative: -1.0 }
            }
            (Loss::Ebgan, Side::Fake) => slack(self.margin - logit, -1.0),
        }
    }

    /// The output as people read it: the probability of "real" where it is a log-odds, else as it is.
    pub fn output(&self, logit: f64) -> f64 {
        if matches!(self.loss, Loss::Gan | Loss::Ns) { sigmoid(logit) } else { logit }
    }
}

/// An objective as kernels/losses/objective.cuh has it.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
pub(super) struct KernelObjective {
    real_target: f64,
    margin: f64,
    balance_ratio: f64,
    balance_step: f64,
    loss: i32,
    padding: i32,
}

impl Objective {
    /// As kernels take it.
    pub(super) fn for_kernels(&self) -> KernelObjective {
        let Objective { loss, real_target, margin, balance_ratio, balance_step } = *self;
        KernelObjective { real_target, margin, balance_ratio, balance_step, loss: loss as i32, padding: 0 }
    }
}

/// 1 / (1 + e^−x).
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// BCE(ℓ, t) = max(ℓ, 0) − t ℓ + ln(1 + e^−|ℓ|), with derivative sigmoid(ℓ) − t.
fn cross_entropy(logit: f64, target: f64) -> Term {
    let value = (logit.max(0.0) - target * logit) + (-logit.abs()).exp().ln_1p();
    Term { value, derivative: sigmoid(logit) - target }
}

/// ½ (ℓ − t)².
fn half_square(logit: f64, target: f64) -> Term {
    let rest = logit - target;
    Term { value: 0.5 * rest * rest, derivative: rest }
}

/// max(0, 1 + s ℓ) for a sign s; at the kink the derivative is 0.
fn hinge(logit: f64, sign: f64) -> Term {
    slack(1.0 + sign * logit, sign)
}

/// max(0, rest), where `derivative` is that of the rest.
fn slack(rest: f64, derivative: f64) -> Term {
    if rest <= 0.0 { Term { value: 0.0, derivative: 0.0 } } else { Term { value: rest, derivative } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objective(loss: Loss) -> Objective {
        Objective { margin: 5.0, ..Objective::new(loss) }
    }

    /// Costs at ℓ = 2 from the table above, with ln(1 + e^−2) = 0.126928… and ln(1 + e^2) = 2.126928….
    #[test]
    fn terms_of_a_known_output() {
        let (small, large) = (0.126_928_011_042_972_5, 2.126_928_011_042_972_5);
        for (loss, expected) in [
            (Loss::Gan, [small, large, -large]),
            (Loss::Ns, [small, large, small]),
            (Loss::Lsgan, [0.5, 2.0, 0.5]),
            (Loss::Hinge, [0.0, 3.0, -2.0]),
            (Loss::Wgan, [-2.0, 2.0, -2.0]),
            (Loss::Ebgan, [2.0, 3.0, 2.0]),
            (Loss::Began, [2.0, -2.0, 2.0]),
        ] {
            for (side, expected) in [Side::Real, Side::Fake, Side::Generator].into_iter().zip(expected) {
                let value = objective(loss).term(side, 2.0).value;
                assert!((value - expected).abs() < 1e-15, "{loss:?} {side:?}: {value}, not {expected}");
            }
        }
    }

    #[test]
    fn a_smoothed_target_is_met_where_the_output_says_it() {
        let smoothed = Objective { real_target: 0.9, ..objective(Loss::Ns) };
        let logit = (0.9f64 / 0.1).ln();
        assert!(smoothed.term(Side::Real, logit).derivative.abs() < 1e-15);
        let entropy = -(0.9 * 0.9f64.ln() + 0.1 * 0.1f64.ln());
        assert!((smoothed.term(Side::Real, logit).value - entropy).abs() < 1e-15);
        assert_eq!(smoothed.term(Side::Fake, logit), objective(Loss::Ns).term(Side::Fake, logit));
    }

    #[test]
    fn beyond_the_margin_a_fake_image_costs_nothing() {
        let expected = Term { value: 0.0, derivative: 0.0 };
        assert_eq!(objective(Loss::Ebgan).term(Side::Fake, 5.0), expected);
        assert_eq!(objective(Loss::Ebgan).term(Side::Fake, 4.5), Term { value: 0.5, derivative: -1.0 });
    }

    #[test]
    fn large_outputs_overflow_nothing_and_nan_is_never_hidden() {
        for &loss in Loss::ALL {
            for side in [Side::Real, Side::Fake, Side::Generator] {
                for logit in [-800.0, 800.0] {
                    let Term { value, derivative } = objective(loss).term(side, logit);
                    assert!(value.is_finite() && derivative.is_finite(), "{loss:?} {side:?} {logit}");
                }
                assert!(objective(loss).term(side, f64::NAN).value.is_nan(), "{loss:?} {side:?}");
            }
        }
    }
}
