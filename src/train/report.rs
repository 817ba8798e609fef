//! The figures that a run reports, and their means from tick to tick.

use std::time::{Duration, Instant};

use bytemuck::Zeroable;

use crate::config::{Penalty, Settings};
use crate::device::Metrics;
use crate::run::{Figures, Record};

/// The figures that a run of these settings has.
pub fn figures(settings: &Settings) -> Figures {
    let Settings { bottleneck, objective, .. } = settings;
    Figures {
        target_kl: bottleneck.enabled.then_some(bottleneck.target_kl),
        has_penalty: objective.penalty != Penalty::None,
        output: objective.loss.output(),
    }
}

/// A figure in a record: always there, or in the runs that have it.
trait Reported {
    fn of(value: f64, has_it: bool) -> Self;
}
impl Reported for f64 {
    fn of(value: f64, _: bool) -> f64 {
        value
    }
}
impl Reported for Option<f64> {
    fn of(value: f64, has_it: bool) -> Option<f64> {
        has_it.then_some(value)
    }
}

/// The sums of the metrics since the last tick or, for the first tick of a start, since that start.
pub(super) struct Since {
    sums: Metrics,
    last: Metrics,
    steps: u32,
    start: Instant,
    elapsed: f64,
}

impl Since {
    pub(super) fn new(elapsed: f64) -> Self {
        Since { sums: Metrics::zeroed(), last: Metrics::zeroed(), steps: 0, start: Instant::now(), elapsed }
    }

    /// Seconds of training over all starts of the run, up to now.
    pub(super) fn seconds(&self) -> f64 {
        self.elapsed + self.start.elapsed().as_secs_f64()
    }

    /// Leaves the time of a snapshot out of the speed.
    pub(super) fn pause(&mut self, time: Duration) {
        self.start += time;
    }
}

/// A figure of the steps since the last tick.
macro_rules! over_a_tick {
    (mean, $since:ident, $name:ident) => {
        $since.sums.$name / f64::from($since.steps)
    };
    (last, $since:ident, $name:ident) => {
        $since.last.$name
    };
}

macro_rules! define_ticks {
    ($($(#[$meaning:meta])* $name:ident: $type:ty {
        json: $json:tt, tick: $tick:ident, runs: $runs:expr, $(shown: $shown:tt,)?
    })+) => {
        impl Since {
            pub(super) fn add(&mut self, metrics: &Metrics) {
                $(self.sums.$name += metrics.$name;)+
                self.last = *metrics;
                self.steps += 1;
            }

            /// The record of the steps so far. `images` are those of a step.
            pub(super) fn take(&mut self, step: u64, epoch_steps: u64, images: usize, settings: &Settings) -> Record {
                let seconds = self.start.elapsed().as_secs_f64();
                let has_it = |runs: fn(&Settings) -> bool| runs(settings);
                let record = Record {
                    step,
                    epoch: step as f64 / epoch_steps as f64,
                    $($name: Reported::of(over_a_tick!($tick, self, $name), has_it($runs)),)+
                    images_per_s: f64::from(self.steps) * images as f64 / seconds.max(1e-9),
                    elapsed_s: self.elapsed + seconds,
                };
                *self = Since::new(record.elapsed_s);
                record
            }
        }
    };
}
figures!(define_ticks);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_snapshot_is_no_time_of_training() {
        let mut since = Since::new(1000.0);
        since.pause(Duration::from_secs(100));
        assert!((1000.0..1050.0).contains(&since.seconds()), "{}", since.seconds());
    }

    #[test]
    fn the_speed_is_of_the_steps_since_the_last_record() {
        let settings = crate::config::preset("quick").expect("a preset");
        let mut since = Since::new(0.0);
        for steps in [3_u32, 2] {
            (0..steps).for_each(|_| since.add(&Metrics::zeroed()));
            let before = since.elapsed;
            let record = since.take(5, 10, 8, &settings);
            let images = record.images_per_s * (record.elapsed_s - before);
            assert!((images - f64::from(8 * steps)).abs() < 1e-3, "{images}");
        }
    }
}
