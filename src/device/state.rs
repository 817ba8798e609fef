//! Everything that changes from step to step, in one place in the device's memory, so that a step can be replayed
//! without the host: step number, β, update counts, and the figures that a step reports.

use bytemuck::{Pod, Zeroable};

/// The networks, as indices into the arrays of [`StepState`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network {
    /// The discriminator.
    Discriminator = 0,
    /// The generator.
    Generator = 1,
    /// The encoder of mode regularisation, images → z, where the settings have one. Its loss is the part of the generator's
    /// that it has a hand in.
    Encoder = 2,
}

impl Network {
    /// How many there are.
    pub const COUNT: usize = 3;
}

/// What one step reports; means over the batch.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct Metrics {
    /// The discriminator's whole loss: what real and fake images cost, β's term, the gradient penalty, and the pull of
    /// historical averaging. What images cost is in nats where the loss is one of log-odds (`gan`, `ns`).
    pub loss_d: f64,
    /// The generator's whole loss, likewise: what its images cost, or how far their features are from those of real ones,
    /// with the repelling term, the terms of mode regularisation, and the pull of historical averaging.
    pub loss_g: f64,
    /// β after its update.
    pub beta: f64,
    /// KL of real images, reduced as the settings say.
    pub kl_real: f64,
    /// KL of fake images, reduced likewise.
    pub kl_fake: f64,
    /// Mean D(x) of real images: after the sigmoid where D's output is a log-odds (`gan`, `ns`), else as it is; the mean
    /// energy where D is an autoencoder (`ebgan`, `began`).
    pub d_real: f64,
    /// Mean D(G(z)) in the discriminator's step, likewise.
    pub d_fake: f64,
    /// The gradient penalty; 0 in a step without one.
    pub penalty: f64,
    /// k after its step; 0 where the loss is not `began`.
    pub balance: f64,
    /// The measure of convergence of `began`, L(x) + |γ L(x) − L(G(z))| (Berthelot et al. 2017, section 3.4.1); 0 elsewhere.
    pub convergence: f64,
    /// E d(x, G(E(x))), the mean error of the reconstructions of the mode regulariser, unweighted; 0 where there is none.
    pub reconstruction: f64,
}

/// The training state beside weights, moments and running statistics.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
pub struct StepState {
    /// Steps completed.
    pub step: u64,
    /// The key of every random draw.
    pub seed: u64,
    /// Updates made to each [`Network`].
    pub updates: [u64; Network::COUNT],
    /// β, the constraint's weight in the next discriminator step.
    pub beta: f64,
    /// k, the weight of fake images in the next discriminator step of `began`.
    pub balance: f64,
    /// 0, or what was first found not finite: one of the `NON_FINITE_*` constants. While it is set no weight changes.
    pub non_finite: u64,
    /// The figures of the step under way.
    pub metrics: Metrics,
}

impl StepState {
    /// `non_finite`: the discriminator's loss.
    pub const NON_FINITE_LOSS_D: u64 = 1;
    /// `non_finite`: the generator's loss.
    pub const NON_FINITE_LOSS_G: u64 = 2;
    /// `non_finite`: a gradient of the discriminator.
    pub const NON_FINITE_GRADIENT_D: u64 = 3;
    /// `non_finite`: a gradient of the generator.
    pub const NON_FINITE_GRADIENT_G: u64 = 4;
    /// `non_finite`: a gradient of the encoder of mode regularisation.
    pub const NON_FINITE_GRADIENT_E: u64 = 5;

    /// The state before the first step.
    pub fn new(seed: u64, beta: f64) -> Self {
        StepState { seed, beta, ..StepState::zeroed() }
    }

    /// Notes `what`, one of the `NON_FINITE_*` constants, where a value is not finite, unless something was noted before.
    pub fn note_unless_finite(&mut self, value: f64, what: u64) {
        if !value.is_finite() && self.non_finite == 0 {
            self.non_finite = what;
        }
    }

    /// Adds a term to the generator's loss of the step under way; one that is not finite is noted.
    pub fn add_to_generator_loss(&mut self, value: f64) {
        self.metrics.loss_g += value;
        self.note_unless_finite(value, StepState::NON_FINITE_LOSS_G);
    }
}
