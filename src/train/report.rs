//! What a run reports: which figures it has, and their means from tick to tick.

use std::time::{Duration, Instant};

use crate::config::{ObjectiveSettings, Penalty, Settings};
use crate::device::Metrics;
use crate::ops::losses::objective::Output;
use crate::run::{Figures, Record, Verdict};

/// Which figures a run of these settings has.
pub fn figures(settings: &Settings) -> Figures {
    let Settings { bottleneck, objective, .. } = settings;
    let verdict = match objective.loss.output() {
        Output::LogOdds => Verdict::Probability,
        Output::Score => Verdict::Output,
        Output::Energy(_) => Verdict::Energy,
    };
    Figures {
        target_kl: bottleneck.enabled.then_some(bottleneck.target_kl),
        has_penalty: objective.penalty != Penalty::None,
        verdict,
    }
}

/// Means of the metrics since the last tick or, for the first tick of a start, since that start.
pub(super) struct Since {
    sums: [f64; 9],
    steps: u32,
    start: Instant,
    elapsed: f64,
    beta: f64,
    balance: f64,
}

impl Since {
    pub(super) fn new(elapsed: f64) -> Self {
        Since { sums: [0.0; 9], steps: 0, start: Instant::now(), elapsed, beta: 0.0, balance: 0.0 }
    }

    pub(super) fn add(&mut self, metrics: &Metrics) {
        let Metrics { loss_d, loss_g, kl_real, kl_fake, d_real, d_fake, penalty, .. } = *metrics;
        let Metrics { beta, balance, convergence, reconstruction, .. } = *metrics;
        let values = [loss_d, loss_g, kl_real, kl_fake, d_real, d_fake, penalty, convergence, reconstruction];
        self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        self.steps += 1;
        (self.beta, self.balance) = (beta, balance);
    }

    /// Seconds of training over all starts of the run, up to now.
    pub(super) fn seconds(&self) -> f64 {
        self.elapsed + self.start.elapsed().as_secs_f64()
    }

    /// Leaves the time of a snapshot out of the speed.
    pub(super) fn pause(&mut self, time: Duration) {
        self.start += time;
    }

    /// The record of the steps so far; some figures are those of some objectives alone.
    pub(super) fn take(&mut self, step: u64, epoch_steps: u64, images: usize, objective: &ObjectiveSettings) -> Record {
        let balanced = objective.loss.is_balanced();
        let seconds = self.start.elapsed().as_secs_f64();
        let [loss_d, loss_g, kl_real, kl_fake, d_real, d_fake, penalty, convergence, reconstruction] =
            self.sums.map(|sum| sum / f64::from(self.steps));
        let record = Record {
            step,
            epoch: step as f64 / epoch_steps as f64,
            loss_d,
            loss_g,
            beta: self.beta,
            kl_real,
            kl_fake,
            d_real,
            d_fake,
            penalty,
            balance: balanced.then_some(self.balance),
            convergence: balanced.then_some(convergence),
            reconstruction: objective.has_encoder().then_some(reconstruction),
            images_per_s: f64::from(self.steps) * images as f64 / seconds.max(1e-9),
            elapsed_s: self.elapsed + seconds,
        };
        *self = Since::new(record.elapsed_s);
        record
    }
}
