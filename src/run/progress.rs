//! What the user sees of a run that trains: a bar on a terminal, one plain line a tick otherwise. Both go to stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::stats::Record;

/// Shows how far the run is.
#[derive(Debug)]
pub struct Progress {
    total_steps: u64,
    first_step: u64,
    start: Instant,
    /// How long this start may train; `None` is without limit.
    time: Option<Duration>,
    /// `None` where stderr is no terminal.
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Starts to measure now, at `first_step` of `total_steps`, which `time` may cut short. There is a bar if stderr is a
    /// terminal.
    pub fn new(first_step: u64, total_steps: u64, time: Option<Duration>) -> Progress {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total_steps), ProgressDrawTarget::stderr());
            // The template is fixed and valid; were it not, the library's own style would do.
            let style = ProgressStyle::with_template("{wide_bar:.cyan/blue} {percent}%\n{msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_position(first_step);
            bar
        });
        Progress { total_steps, first_step, start: Instant::now(), time, bar }
    }

    /// Moves the bar; cheap enough for every step.
    pub fn step(&self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(step);
        }
    }

    /// Shows a record, and returns the line for `log.txt`.
    pub fn tick(&self, record: &Record) -> String {
        let text = line(record, self.total_steps, self.remaining(record.step, self.start.elapsed()));
        match &self.bar {
            Some(bar) => {
                bar.set_position(record.step);
                bar.set_message(text.clone());
            }
            None => to_stderr(&text),
        }
        text
    }

    /// Says something, above the bar where there is one.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| to_stderr(text)),
            None => to_stderr(text),
        }
    }

    /// Removes the bar and leaves the last line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            let last = bar.message();
            bar.finish_and_clear();
            if !last.is_empty() {
                to_stderr(&last);
            }
        }
    }

    /// How long the rest will take at the mean speed since the start, or how much time is left, if that is less; `None`
    /// before the first step.
    fn remaining(&self, step: u64, elapsed: Duration) -> Option<Duration> {
        let done = step.checked_sub(self.first_step).filter(|&done| done > 0)?;
        let left = self.total_steps.saturating_sub(step);
        let for_steps = Duration::try_from_secs_f64(elapsed.as_secs_f64() * left as f64 / done as f64).ok();
        let left = self.time.map(|time| time.saturating_sub(elapsed));
        for_steps.into_iter().chain(left).min()
    }
}

/// A reader that has gone (`2>&1 | head`) is no reason to stop the training.
fn to_stderr(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// `step 200/11700  epoch 0.43  D 1.3865  G 0.6933  beta 0.0012  kl 0.12/0.11  312 images/s  ETA 1h02m`; with loss `began`
/// also `k 0.0012  M 0.15` before the speed, with mode regularisation `rec 0.0521`.
fn line(record: &Record, total_steps: u64, remaining: Option<Duration>) -> String {
    let Record { step, epoch, loss_d, loss_g, beta, kl_real, kl_fake, images_per_s, .. } = record;
    let beta = short(*beta);
    let (kl_real, kl_fake) = (short(*kl_real), short(*kl_fake));
    let speed = format!("{images_per_s:.*} images/s", usize::from(*images_per_s < 10.0));
    let balanced = match (record.balance, record.convergence) {
        (Some(balance), Some(convergence)) => format!("k {}  M {}  ", short(balance), short(convergence)),
        _ => String::new(),
    };
    let reconstructed = record.reconstruction.map_or_else(String::new, |error| format!("rec {}  ", short(error)));
    let eta = remaining.map_or_else(String::new, |time| format!("  ETA {}", duration(time)));
    format!(
        "step {step}/{total_steps}  epoch {epoch:.2}  D {loss_d:.4}  G {loss_g:.4}  beta {beta}  \
         kl {kl_real}/{kl_fake}  {balanced}{reconstructed}{speed}{eta}"
    )
}

/// A number of any size in few characters: two significant digits for small ones.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".into(),
        size if size < 1e-3 => format!("{value:.1e}"),
        size if size < 0.1 => format!("{value:.4}"),
        size if size < 1e4 => format!("{value:.2}"),
        _ => format!("{value:.2e}"),
    }
}

/// The two largest units: `1h02m`, `3m07s`, `12s`, `2d05h`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{:02}s", seconds % 60),
        3600..86_400 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::stats::tests::record;

    #[test]
    fn the_line_is_the_documented_one() {
        let record =
            Record { epoch: 0.4273, loss_g: 0.69329, beta: 0.0012, kl_real: 0.12, kl_fake: 0.114, ..record(200) };
        assert_eq!(
            line(&record, 11_700, Some(Duration::from_secs(3720))),
            "step 200/11700  epoch 0.43  D 1.3863  G 0.6933  beta 0.0012  kl 0.12/0.11  312 images/s  ETA 1h02m"
        );
        let first = Record { beta: 0.0, kl_real: 123_456.0, kl_fake: f64::NAN, images_per_s: 3.06, ..record };
        assert_eq!(
            line(&first, 200, None),
            "step 200/200  epoch 0.43  D 1.3863  G 0.6933  beta 0  kl 1.23e5/NaN  3.1 images/s"
        );
        let balanced = Record { balance: Some(0.0012), convergence: Some(0.154), ..record };
        assert!(line(&balanced, 11_700, None).ends_with("kl 0.12/0.11  k 0.0012  M 0.15  312 images/s"));
        let reconstructed = Record { reconstruction: Some(0.05213), ..record };
        assert!(line(&reconstructed, 11_700, None).ends_with("kl 0.12/0.11  rec 0.0521  312 images/s"));
    }

    #[test]
    fn small_numbers_keep_their_digits() {
        let shown: Vec<String> = [-0.0, 4.2e-6, 0.0123, 0.5, 99.0, 12_345.0].into_iter().map(short).collect();
        assert_eq!(shown, ["0", "4.2e-6", "0.0123", "0.50", "99.00", "1.23e4"]);
    }

    #[test]
    fn durations_have_two_units() {
        let shown: Vec<String> =
            [0, 59, 60, 187, 3599, 3600, 86_399, 86_400, 190_800].map(|s| duration(Duration::from_secs(s))).into();
        assert_eq!(shown, ["0s", "59s", "1m00s", "3m07s", "59m59s", "1h00m", "23h59m", "1d00h", "2d05h"]);
    }

    #[test]
    fn the_remaining_time_counts_from_where_this_start_began() {
        let progress = Progress { total_steps: 1000, first_step: 400, start: Instant::now(), time: None, bar: None };
        assert_eq!(progress.remaining(400, Duration::from_secs(5)), None);
        assert_eq!(progress.remaining(500, Duration::from_secs(10)), Some(Duration::from_secs(50)));
        assert_eq!(progress.remaining(1000, Duration::from_secs(60)), Some(Duration::ZERO));
        assert_eq!(progress.remaining(1001, Duration::from_secs(60)), Some(Duration::ZERO));
        let progress = Progress { time: Some(Duration::from_secs(40)), ..progress };
        assert_eq!(progress.remaining(500, Duration::from_secs(10)), Some(Duration::from_secs(30)));
        assert_eq!(progress.remaining(900, Duration::from_secs(10)), Some(Duration::from_secs(2)));
    }
}
