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

use std::ops::Neg;

use super::energy::Exponent;
use crate::choices::choices;
use crate::device::Argument;
use crate::device::launch::AsArgument;
pub use crate::figures::Output;

choices! {
    /// The losses of discriminator and generator; kernels/losses/objective.cuh numbers them in this order.
    pub enum Loss {
        /// The minimax game: G lowers E log(1 − D(G(z))), which saturates while D wins (Goodfellow et al. 2014, Eq. 1).
        Gan = "gan",
        /// The non-saturating game: G raises E log D(G(z)) (Goodfellow et al. 2014, section 3; the article).
        Ns = "ns",
        /// Least squares (Mao et al. 2017).
        Lsgan = "lsgan",
        /// Hinge (Lim & Ye 2017; Miyato et al. 2018).
        Hinge = "hinge",
        /// Wasserstein (Arjovsky et al. 2017); it wants D's weights clipped.
        Wgan = "wgan",
        /// D is an autoencoder; its output is the mean squared error of the reconstruction (Zhao et al. 2017).
        Ebgan = "ebgan",
        /// D is an autoencoder; its output is the mean absolute error of the reconstruction (Berthelot et al. 2017).
        Began = "began",
    }
}

/// The cost of one output, and its derivative.
type Cost = fn(&Objective, f64) -> Term;

impl Loss {
    /// The table above: D's cost of a real image, D's of a fake one, G's of a fake one.
    fn costs(self) -> [Cost; 3] {
        match self {
            Loss::Gan => [|d, l| bce(l, d.real_target), |_, l| bce(l, 0.0), |_, l| -bce(l, 0.0)],
            Loss::Ns => [|d, l| bce(l, d.real_target), |_, l| bce(l, 0.0), |_, l| bce(l, 1.0)],
            Loss::Lsgan => [|_, l| half_square(l - 1.0), |_, l| half_square(l), |_, l| half_square(l - 1.0)],
            Loss::Hinge => [|_, l| above_0(1.0 - l, -1.0), |_, l| above_0(1.0 + l, 1.0), |_, l| -linear(l)],
            Loss::Wgan => [|_, l| -linear(l), |_, l| linear(l), |_, l| -linear(l)],
            Loss::Ebgan => [|_, l| linear(l), |d, l| above_0(d.margin - l, -1.0), |_, l| linear(l)],
            Loss::Began => [|_, l| linear(l), |_, l| -linear(l), |_, l| linear(l)],
        }
    }

    /// The meaning of D's output.
    pub fn output(self) -> Output {
        match self {
            Loss::Gan | Loss::Ns => Output::LogOdds,
            Loss::Lsgan | Loss::Hinge | Loss::Wgan => Output::Score,
            Loss::Ebgan | Loss::Began => Output::Energy,
        }
    }

    /// The power of the difference in D's energy, where its output is one.
    pub fn exponent(self) -> Option<Exponent> {
        match self {
            Loss::Ebgan => Some(Exponent::Squared),
            Loss::Began => Some(Exponent::Absolute),
            _ => None,
        }
    }

    /// True if D's output is the log-odds of "real".
    pub fn is_log_odds(self) -> bool {
        self.output() == Output::LogOdds
    }

    /// True if D's output is the energy of an image.
    pub fn is_energy(self) -> bool {
        self.output() == Output::Energy
    }

    /// True if the cost of fake images is multiplied by k, which moves from step to step ([`super::loss`]).
    pub fn is_balanced(self) -> bool {
        self == Loss::Began
    }

    /// The words of all losses that `hold` is true of: "gan or ns".
    pub fn words_where(hold: impl Fn(Loss) -> bool) -> String {
        Loss::ALL.iter().filter(|&&loss| hold(loss)).map(|loss| loss.word()).collect::<Vec<_>>().join(" or ")
    }
}

/// Whose cost it is, and of which image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The discriminator's, of a real image.
    Real,
    /// The discriminator's, of a fake image.
    Fake,
    /// The generator's, of a fake image.
    Generator,
}

/// A loss and its constants.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Objective {
    /// The loss.
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

/// The cost of one output of the discriminator.
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
        self.loss.costs()[side as usize](self, logit)
    }

    /// The output as people read it: the probability of "real" where it is a log-odds, else as it is.
    pub fn output(&self, logit: f64) -> f64 {
        if self.loss.is_log_odds() { sigmoid(logit) } else { logit }
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

impl AsArgument for Objective {
    fn argument(&self) -> Argument {
        Argument::new(self.for_kernels())
    }
}

/// 1 / (1 + e^−x).
fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// BCE(ℓ, t) = max(ℓ, 0) − t ℓ + ln(1 + e^−|ℓ|), with derivative sigmoid(ℓ) − t.
fn bce(logit: f64, target: f64) -> Term {
    let value = (logit.max(0.0) - target * logit) + (-logit.abs()).exp().ln_1p();
    Term { value, derivative: sigmoid(logit) - target }
}

/// ½ r², for a rest r whose derivative is 1.
fn half_square(rest: f64) -> Term {
    Term { value: 0.5 * rest * rest, derivative: rest }
}

/// ℓ.
fn linear(logit: f64) -> Term {
    Term { value: logit, derivative: 1.0 }
}

/// max(0, r), for a rest r of this derivative; at the kink the derivative is 0.
fn above_0(rest: f64, derivative: f64) -> Term {
    if rest <= 0.0 { Term { value: 0.0, derivative: 0.0 } } else { Term { value: rest, derivative } }
}

impl Neg for Term {
    type Output = Term;

    fn neg(self) -> Term {
        Term { value: -self.value, derivative: -self.derivative }
    }
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
        for &loss in Loss::ALL {
            let expected = match loss {
                Loss::Gan => [small, large, -large],
                Loss::Ns => [small, large, small],
                Loss::Lsgan => [0.5, 2.0, 0.5],
                Loss::Hinge => [0.0, 3.0, -2.0],
                Loss::Wgan => [-2.0, 2.0, -2.0],
                Loss::Ebgan => [2.0, 3.0, 2.0],
                Loss::Began => [2.0, -2.0, 2.0],
            };
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
