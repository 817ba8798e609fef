//! The length of a run, and the intervals of its pictures, checkpoints and measurements.

use crate::config::Settings;
use crate::{Error, Result};

/// Lengths of a run, in steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Plan {
    /// Steps of an epoch, each of them a batch of images for every update of the discriminator; whole steps only.
    pub epoch: u64,
    /// Steps of the run.
    pub total: u64,
    /// Steps between snapshots.
    pub snap: u64,
    /// Steps between measurements of samples, where there are any.
    pub eval: u64,
}

impl Plan {
    /// From the settings and the number of images.
    ///
    /// # Errors
    /// [`Error::Usage`] where the data set is smaller than a batch, or the steps can't be counted.
    pub fn new(settings: &Settings, images: usize) -> Result<Self> {
        let train = &settings.train;
        let updates = settings.objective.discriminator_steps.max(1) as usize;
        let epoch = (images / (train.batch.max(1) * updates)) as u64;
        if epoch == 0 {
            let batches = if updates == 1 { String::new() } else { format!(", {updates} times a step,") };
            let advice = if images < 2 * updates { "--set discriminator_steps=1, or --batch" } else { "--batch" };
            return Err(Error::Usage(format!(
                "a batch of {} images{batches} needs a data set of at least that many, and this one has {images}: \
                 pass {advice} {} or fewer",
                train.batch,
                if images < 2 * updates { images } else { images / updates }
            )));
        }
        let total = if train.steps > 0 { Some(train.steps) } else { (train.epochs as u64).checked_mul(epoch) };
        let total = total.ok_or_else(|| {
            let most = u64::MAX / epoch;
            Error::Usage(format!("{} epochs of {epoch} steps are too many: pass at most {most}", train.epochs))
        })?;
        let snap = if train.snap > 0 { train.snap } else { epoch };
        Ok(Plan { epoch, total, snap, eval: if settings.eval.every > 0 { settings.eval.every } else { snap } })
    }

    /// Says whether a run of these settings is at its end: at the step that they name, or out of time.
    ///
    /// # Errors
    /// Those of [`Plan::new`].
    pub fn is_done(settings: &Settings, images: usize, step: u64, elapsed_s: f64) -> Result<bool> {
        Ok(step >= Plan::new(settings, images)?.total || elapsed_s >= most_seconds(settings))
    }

    /// The same, but at its end after this many steps.
    #[must_use]
    pub(super) fn ending_at(self, step: u64) -> Plan {
        Plan { total: self.total.min(step), ..self }
    }

    /// Whether a record is made after this many steps.
    pub(super) fn has_tick(&self, step: u64, tick: u64) -> bool {
        step.is_multiple_of(tick.max(1)) || step == self.total
    }

    /// Whether samples are measured after this many steps, if they are measured at all.
    pub(super) fn has_evaluation(&self, step: u64) -> bool {
        step.is_multiple_of(self.eval) || step == self.total
    }

    /// Whether pictures and a checkpoint are made after this many steps.
    pub(super) fn has_snapshot(&self, step: u64) -> bool {
        step.is_multiple_of(self.snap) || step == self.total
    }
}

/// The seconds after which a run of these settings ends, whatever its steps.
pub(super) fn most_seconds(settings: &Settings) -> f64 {
    if settings.train.minutes > 0.0 { settings.train.minutes * 60.0 } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_are_not_set_follow_from_the_others() {
        let plan = |snap, every, steps| {
            let mut settings = crate::config::preset("quick").expect("a preset");
            (settings.train.batch, settings.train.epochs) = (10, 3);
            (settings.train.snap, settings.eval.every, settings.train.steps) = (snap, every, steps);
            let Plan { epoch, total, snap, eval } = Plan::new(&settings, 45).expect("a plan");
            [epoch, total, snap, eval]
        };
        assert_eq!(plan(0, 0, 0), [4, 12, 4, 4]);
        assert_eq!(plan(1, 0, 1), [4, 1, 1, 1]);
        assert_eq!(plan(7, 1, 50), [4, 50, 7, 1]);
    }
}
