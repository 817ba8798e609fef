//! The output for the user while a run trains: a line a tick and, on a terminal, a bar beneath them. Both go to stderr.

use std::time::{Duration, Instant};

use super::bar::{Bar, GAP, bar_text};
use super::figures::{Figures, Output, SINGLES};
use super::messages::{self, Verbosity, is_said, verbosity};
use super::stats::Record;

/// Shows how far the run is.
#[derive(Debug)]
pub struct Progress {
    clock: Clock,
    figures: Figures,
    /// Images a second of the last tick.
    speed: std::cell::Cell<Option<f64>>,
    /// `None` where stderr is no terminal, or nothing is to be shown.
    bar: Option<Bar>,
}

impl Progress {
    /// Starts to measure now, at `first_step` of `total_steps`, which `time` may cut short. There is a bar if stderr is a
    /// terminal and the user does not want quiet.
    pub fn new(first_step: u64, total_steps: u64, time: Option<Duration>, figures: Figures) -> Progress {
        let bar = if verbosity() > Verbosity::Quiet { Bar::new() } else { None };
        let clock = Clock { total_steps, first_step, start: Instant::now(), time };
        Progress { clock, figures, speed: std::cell::Cell::default(), bar }
    }

    /// The same, of which nobody sees a bar.
    #[must_use]
    pub fn without_a_bar(self) -> Progress {
        self.finish();
        Progress { bar: None, ..self }
    }

    /// Moves the bar; cheap enough for every step.
    pub fn step(&self, step: u64) {
        if let Some(bar) = &self.bar {
            bar.show(|columns| self.bar_text(step, columns));
        }
    }

    /// Shows a record, and returns the line for `log.txt`.
    pub fn tick(&self, record: &Record) -> String {
        self.speed.set(Some(record.images_per_s));
        let parts = parts(record, &self.figures, self.clock.total_steps, self.clock.remaining(record.step));
        let whole = parts.join(GAP);
        match &self.bar {
            Some(bar) => {
                bar.above(&fitting(&parts, bar.columns()));
                bar.show_now(|columns| self.bar_text(record.step, columns));
            }
            None => messages::say(&whole),
        }
        whole
    }

    /// Says a detail, above the bar where there is one.
    pub fn detail(&self, text: &str) {
        match &self.bar {
            Some(bar) if verbosity() == Verbosity::Verbose => bar.above(text),
            Some(_) => {}
            None => messages::detail(text),
        }
    }

    /// Says something, above the bar where there is one.
    pub fn say(&self, text: &str) {
        match &self.bar {
            Some(bar) if is_said(text, verbosity()) => bar.above(text),
            Some(_) => {}
            None => messages::say(text),
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.clear();
        }
    }

    fn bar_text(&self, step: u64, columns: usize) -> String {
        let total = self.clock.total_steps;
        let eta = self.clock.remaining(step).map(|time| format!("ETA {}", duration(time)));
        bar_text(step, total, &format!("step {step}/{total}"), self.speed.get().map(speed), eta, columns)
    }
}

/// From when on, how far, and how long.
#[derive(Debug)]
struct Clock {
    total_steps: u64,
    first_step: u64,
    start: Instant,
    /// The time that this start may train; `None` is without limit.
    time: Option<Duration>,
}

impl Clock {
    fn remaining(&self, step: u64) -> Option<Duration> {
        self.remaining_after(step, self.start.elapsed())
    }

    /// The time that the rest takes at the mean speed since the start, or the time that is left, if that is less; `None`
    /// before the first step.
    fn remaining_after(&self, step: u64, elapsed: Duration) -> Option<Duration> {
        let done = step.checked_sub(self.first_step).filter(|&done| done > 0)?;
        let left = self.total_steps.saturating_sub(step);
        let for_steps = Duration::try_from_secs_f64(elapsed.as_secs_f64() * left as f64 / done as f64).ok();
        let left = self.time.map(|time| time.saturating_sub(elapsed));
        for_steps.into_iter().chain(left).min()
    }
}

/// The parts of a tick's line, the most important first: a narrow terminal shows those that fit. Of two numbers the first is
/// that of real images, the second that of fake ones. What a run has not is not shown: a part for the bottleneck (`kl`,
/// `beta`), for a gradient penalty, for `began` (`k`, `M`) and for mode regularisation (`rec`).
///
/// `step 200/11700  ETA 1h02m  D 1.386  G 0.693  kl 0.12/0.11  D(x) 0.53/0.47  beta 0.0012  312 images/s  epoch 0.43`
fn parts(record: &Record, figures: &Figures, total_steps: u64, remaining: Option<Duration>) -> Vec<String> {
    let Record { step, epoch, loss_d, loss_g, d_real, d_fake, .. } = *record;
    let mut parts = vec![format!("step {step}/{total_steps}")];
    parts.extend(remaining.map(|time| format!("ETA {}", duration(time))));
    parts.extend([format!("D {}", loss(loss_d)), format!("G {}", loss(loss_g))]);
    if figures.target_kl.is_some() {
        parts.push(format!("kl {}/{}", short(record.kl_real), short(record.kl_fake)));
    }
    let name = if figures.output == Output::Energy { "e(x)" } else { "D(x)" };
    parts.push(format!("{name} {}/{}", short(d_real), short(d_fake)));
    parts.extend(SINGLES.iter().filter_map(|figure| {
        let value = figure.value(record, figures)?;
        Some(format!("{} {}", figure.line?, short(value)))
    }));
    parts.extend([speed(record.images_per_s), format!("epoch {epoch:.2}")]);
    parts
}

/// As many of the parts as a line of so many columns holds, at least the first.
fn fitting(parts: &[String], columns: usize) -> String {
    let mut line = parts[0].clone();
    for part in &parts[1..] {
        // The last column stays free: some terminals begin the next line after a letter in it.
        if line.len() + GAP.len() + part.len() >= columns {
            break;
        }
        line = line + GAP + part;
    }
    line
}

fn speed(images_per_s: f64) -> String {
    format!("{images_per_s:.*} images/s", usize::from(images_per_s < 10.0))
}

/// A loss in four significant digits, or fewer.
fn loss(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && size < 1e-3 => short(value),
        size if size < 10.0 => format!("{value:.3}"),
        _ => short(value),
    }
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

    const PLAIN: Figures = Figures { target_kl: None, has_penalty: false, output: Output::LogOdds };
    const NARROW: Figures = Figures { target_kl: Some(0.1), ..PLAIN };

    fn line(record: &Record, figures: Figures) -> String {
        parts(record, &figures, 11_700, None).join(GAP)
    }

    #[test]
    fn the_line_is_the_documented_one() {
        let figures =
            Record { epoch: 0.4273, loss_g: 0.69329, beta: 0.0012, kl_real: 0.12, kl_fake: 0.114, ..record(200) };
        let record = Record { d_real: 0.53, d_fake: 0.4711, ..figures };
        assert_eq!(
            parts(&record, &NARROW, 11_700, Some(Duration::from_secs(3720))).join(GAP),
            "step 200/11700  ETA 1h02m  D 1.386  G 0.693  kl 0.12/0.11  D(x) 0.53/0.47  beta 0.0012  312 images/s  epoch 0.43"
        );
        let first = Record { beta: 0.0, kl_real: 123_456.0, kl_fake: f64::NAN, images_per_s: 3.06, ..record };
        assert_eq!(
            line(&first, NARROW),
            "step 200/11700  D 1.386  G 0.693  kl 1.23e5/NaN  D(x) 0.53/0.47  beta 0  3.1 images/s  epoch 0.43"
        );
    }

    /// Neither a bottleneck nor anything else that a run has not.
    #[test]
    fn a_line_has_the_figures_of_its_run_and_no_others() {
        let rest = "312 images/s  epoch 0.43";
        let start = "step 200/11700  D 1.386  G 0.300";
        let plain = Record { epoch: 0.4273, ..record(200) };
        assert_eq!(line(&plain, PLAIN), format!("{start}  D(x) 0.50/0.50  {rest}"));
        let critic = Record { loss_d: -12.3456, d_real: -0.25, d_fake: 20_000.0, ..plain };
        let wasserstein = Figures { has_penalty: true, output: Output::Score, ..PLAIN };
        assert_eq!(
            line(&critic, wasserstein),
            format!("step 200/11700  D -12.35  G 0.300  D(x) -0.25/2.00e4  penalty 0.75  {rest}")
        );
        let balanced = Record { balance: Some(0.0012), convergence: Some(0.154), ..plain };
        let energies = Figures { output: Output::Energy, ..PLAIN };
        assert_eq!(line(&balanced, energies), format!("{start}  e(x) 0.50/0.50  k 0.0012  M 0.15  {rest}"));
        let encoded = Record { reconstruction: Some(0.05213), ..plain };
        assert_eq!(line(&encoded, PLAIN), format!("{start}  D(x) 0.50/0.50  rec 0.0521  {rest}"));
    }

    #[test]
    fn a_narrow_terminal_has_the_most_important_parts() {
        let parts = parts(&record(200), &NARROW, 11_700, Some(Duration::from_secs(3720)));
        let whole = parts.join(GAP);
        for columns in 0..150 {
            let line = fitting(&parts, columns);
            assert!(whole.starts_with(&line) && (line.len() < columns || line == parts[0]), "{columns}: {line}");
        }
        assert!(fitting(&parts, 60).ends_with("kl 0.12/0.33"));
        assert!(fitting(&parts, 80).contains("D(x)"));
        assert_eq!(fitting(&parts, 140), whole);
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
        let clock = Clock { total_steps: 1000, first_step: 400, start: Instant::now(), time: None };
        let remaining = |clock: &Clock, step, seconds| clock.remaining_after(step, Duration::from_secs(seconds));
        assert_eq!(remaining(&clock, 400, 5), None);
        assert_eq!(remaining(&clock, 500, 10), Some(Duration::from_secs(50)));
        assert_eq!(remaining(&clock, 1000, 60), Some(Duration::ZERO));
        assert_eq!(remaining(&clock, 1001, 60), Some(Duration::ZERO));
        let clock = Clock { time: Some(Duration::from_secs(40)), ..clock };
        assert_eq!(remaining(&clock, 500, 10), Some(Duration::from_secs(30)));
        assert_eq!(remaining(&clock, 900, 10), Some(Duration::from_secs(2)));
    }
}
