//! The figures that a training step reports, each declared once. `figures!(then)` hands all of them to the macro `then`, and
//! from them follow [`Metrics`](crate::device::Metrics), which an operation writes; [`Record`](crate::run::Record), their
//! means over a tick, and with it `stats.jsonl`; the kernels' `struct Metrics`, which build.rs writes; and, for those with a title, panels of `curves.svg` and of a comparison and
//! parts of the line that is shown of a tick.
//!
//! A new one is an entry here and the operation that computes it, on the CPU and in its kernel.

/// The meaning of D's output, and so of the figures `d_real` and `d_fake`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// The log-odds of "real": there is a probability to smooth, and it is the probability that is reported.
    LogOdds,
    /// A number that is larger for what looks real.
    Score,
    /// The energy of an image under an autoencoder, lower for what looks real; D then has a decoder in the place of its head.
    Energy,
}

/// Hands the figures to a macro. An entry has
///
/// - its meaning, for people;
/// - its type in a record: `f64`, or `Option<f64>` where only some runs have it;
/// - `json`, how serde writes it: a number that may be missing, or `null` where it is not finite;
/// - `tick`: `mean` over the steps since the last record, or the `last` step's;
/// - `runs`: which runs have it, by their settings;
/// - `shown`, if it has a panel of its own: which runs show it, what the line of a tick calls it, its title in `curves.svg`, and
///   its title in a comparison, `None` where there is none. A figure that only some runs have is not shown elsewhere in any case.
macro_rules! figures {
    ($then:ident) => {
        $then! {
            /// The discriminator's whole loss: what real and fake images cost, β's term, the gradient penalty, and the pull of
            /// historical averaging. What images cost is in nats where the loss is one of log-odds (`gan`, `ns`).
            loss_d: f64 { json: (with = "finite_or_null"), tick: mean, runs: |_| true, }
            /// The generator's whole loss, likewise: what its images cost, or how far their features are from those of real
            /// ones, with the repelling term, the terms of mode regularisation, and the pull of historical averaging.
            loss_g: f64 { json: (with = "finite_or_null"), tick: mean, runs: |_| true, }
            /// β, the weight of the bottleneck's constraint, after its update.
            beta: f64 {
                json: (with = "finite_or_null"), tick: last, runs: |_| true,
                shown: (|run| run.target_kl.is_some(), Some("beta"), None, None),
            }
            /// KL of the bottleneck on real images, in nats, reduced as the settings say.
            kl_real: f64 { json: (with = "finite_or_null"), tick: mean, runs: |_| true, }
            /// KL of the bottleneck on fake images, likewise.
            kl_fake: f64 { json: (with = "finite_or_null"), tick: mean, runs: |_| true, }
            /// Mean D(x) of real images: after the sigmoid where D's output is a log-odds (`gan`, `ns`), else as it is; the
            /// mean energy where D is an autoencoder (`ebgan`, `began`).
            d_real: f64 { json: (with = "finite_or_null"), tick: mean, runs: |_| true, }
            /// Mean D(G(z)) in the discriminator's step, likewise.
            d_fake: f64 { json: (with = "finite_or_null"), tick: mean, runs: |_| true, }
            /// The gradient penalty, part of the discriminator's loss; 0 in a step without one. One that is taken every k
            /// steps, k times as heavy, is so in the mean over the steps without it too.
            penalty: f64 {
                json: (with = "finite_or_null", default), tick: mean, runs: |_| true,
                shown: (
                    |run| run.has_penalty,
                    Some("penalty"), Some("Gradient penalty (part of D's loss)"), Some("Gradient penalty")
                ),
            }
            /// k, the weight of fake images in the loss of `began`, after its step; in its runs alone.
            balance: Option<f64> {
                json: (default, skip_serializing_if = "Option::is_none"), tick: last,
                runs: |settings| settings.objective.loss.is_balanced(),
                shown: (|_| true, Some("k"), Some("k (weight of fake images in D's loss, BEGAN)"), None),
            }
            /// The measure of convergence of `began`, L(x) + |γ L(x) − L(G(z))| (Berthelot et al. 2017, section 3.4.1); in its
            /// runs alone.
            convergence: Option<f64> {
                json: (default, skip_serializing_if = "Option::is_none"), tick: mean,
                runs: |settings| settings.objective.loss.is_balanced(),
                shown: (
                    |_| true,
                    Some("M"), Some("M (measure of convergence, BEGAN)"), Some("Measure of convergence (BEGAN)")
                ),
            }
            /// E d(x, G(E(x))), the mean error of the reconstructions of mode regularisation, unweighted; in runs with it
            /// alone.
            reconstruction: Option<f64> {
                json: (default, skip_serializing_if = "Option::is_none"), tick: mean,
                runs: |settings| settings.objective.has_encoder(),
                shown: (
                    |_| true,
                    Some("rec"), Some("Error of the reconstructions (MRGAN)"), Some("Error of the reconstructions (MRGAN)")
                ),
            }
        }
    };
}
