//! The figures of a run as a report shows them: every number of its records, whatever it is called.
//!
//! `stats.jsonl` is read here as plain JSON and not as [`Record`](crate::run::Record)s: a report must show the runs of other versions,
//! and figures that this one does not know.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::run::figures::OF_THE_LAST_STEP;
use crate::run::measured::{self, Measured};

/// The most points of a series in a page.
pub(super) const MOST_POINTS: usize = 2000;

/// Records at the end that final figures are means over.
const LAST: usize = 10;

/// Returns true for figures that say how far a run has come: of them the last record's is the final one, and they have no curves.
pub(super) fn is_of_the_last(name: &str) -> bool {
    OF_THE_LAST_STEP.contains(&name) || ["epoch", "elapsed_s"].contains(&name)
}

/// A figure over the steps.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Series {
    /// The steps, in order.
    pub x: Vec<u64>,
    /// The values; `None` where one was not finite.
    pub y: Vec<Option<f64>>,
}

/// All figures of a run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Records {
    /// By name; a number within an object is called `object.number`.
    pub series: BTreeMap<String, Series>,
    /// Lines that are no record, and not the torn last one.
    pub bad_lines: usize,
    /// The figures that samples were measured to have: of them, too, the last is the final one.
    pub(super) measured: BTreeSet<String>,
}

impl Records {
    /// Reads the records in this file, which may be missing. A line is an object with a whole number `step`; later records of a
    /// step take the place of earlier ones.
    pub fn read(path: &Path) -> Records {
        let mut all: BTreeMap<String, BTreeMap<u64, Option<f64>>> = BTreeMap::new();
        let mut bad_lines = 0;
        let bytes = fs::read(path).unwrap_or_default();
        for line in String::from_utf8_lossy(&bytes).split_inclusive('\n') {
            let record = serde_json::from_str::<Map<String, Value>>(line).ok();
            match record.and_then(|record| Some((record.get("step")?.as_u64()?, record))) {
                Some((step, record)) => add(&mut all, "", &record, step),
                // The last line of a run that goes on, or that a crash cut short.
                None if !line.ends_with('\n') => {}
                None => bad_lines += 1,
            }
        }
        // What is null throughout is no figure.
        all.retain(|_, points| points.values().any(Option::is_some));
        let series = |(name, points): (String, BTreeMap<u64, Option<f64>>)| {
            let (x, y) = points.into_iter().unzip();
            (name, Series { x, y })
        };
        Records { series: all.into_iter().map(series).collect(), bad_lines, ..Records::default() }
    }

    /// Adds what samples were measured to be, as far as it is of these names and of one setup.
    pub fn add_measured(&mut self, all: &[Measured], names: &[&str]) {
        for one in measured::comparable(all) {
            for (name, &value) in one.figures.iter().filter(|(name, _)| names.contains(&name.as_str())) {
                self.measured.insert(name.clone());
                let series = self.series.entry(name.clone()).or_default();
                series.x.push(one.step);
                series.y.push(Some(value).filter(|value| value.is_finite()));
            }
        }
    }

    /// The figures at the run's end: means over the last ten records, or the last one's where a mean would say nothing.
    pub fn last(&self) -> BTreeMap<String, f64> {
        let figure = |(name, series): (&String, &Series)| {
            let count = if is_of_the_last(name) || self.measured.contains(name) { 1 } else { LAST };
            let values: Vec<f64> = series.y[series.y.len().saturating_sub(count)..].iter().copied().flatten().collect();
            let mean = values.iter().map(|value| value / values.len() as f64).sum::<f64>();
            (!values.is_empty() && mean.is_finite()).then(|| (name.clone(), mean))
        };
        self.series.iter().filter_map(figure).collect()
    }

    /// Leaves at most 2,000 points of each series; whether any had more.
    pub fn thin(&mut self) -> bool {
        let mut thinned = false;
        for series in self.series.values_mut().filter(|series| series.x.len() > MOST_POINTS) {
            *series = series.thinned();
            thinned = true;
        }
        thinned
    }
}

fn add(all: &mut BTreeMap<String, BTreeMap<u64, Option<f64>>>, prefix: &str, record: &Map<String, Value>, step: u64) {
    for (key, value) in record {
        let name = || format!("{prefix}{key}");
        match value {
            Value::Number(_) if prefix.is_empty() && key == "step" => {}
            Value::Number(number) => {
                all.entry(name()).or_default().insert(step, number.as_f64().filter(|value| value.is_finite()));
            }
            // A number that was not finite.
            Value::Null => {
                all.entry(name()).or_default().insert(step, None);
            }
            Value::Object(inner) if prefix.is_empty() => add(all, &format!("{key}."), inner, step),
            _ => {}
        }
    }
}

impl Series {
    /// The first and the last point, and of each stretch between the lowest and the highest, so that no peak is lost. A stretch
    /// with a value that was not finite keeps one of these.
    fn thinned(&self) -> Series {
        let stretch = (self.x.len() * 3).div_ceil(MOST_POINTS - 2).max(2);
        let mut kept = Series::default();
        let mut keep = |index: usize| {
            if kept.x.last() != Some(&self.x[index]) {
                kept.x.push(self.x[index]);
                kept.y.push(self.y[index]);
            }
        };
        keep(0);
        for start in (0..self.x.len()).step_by(stretch) {
            let indices = start..(start + stretch).min(self.x.len());
            let of = |index: &usize| self.y[*index].unwrap_or_default();
            let finite = indices.clone().filter(|&index| self.y[index].is_some());
            let low = finite.clone().min_by(|a, b| of(a).total_cmp(&of(b)));
            let high = finite.max_by(|a, b| of(a).total_cmp(&of(b)));
            let gap = indices.clone().find(|&index| self.y[index].is_none());
            let mut picked: Vec<usize> = [low, high, gap].into_iter().flatten().collect();
            picked.sort_unstable();
            picked.into_iter().for_each(&mut keep);
        }
        keep(self.x.len() - 1);
        kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::Setup;

    fn read(text: &str) -> Records {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        Records::read(file.path())
    }

    #[test]
    fn every_number_is_a_figure_whatever_its_name() {
        let text = "{\"step\":2,\"loss_d\":0.30000000000000004,\"fid\":12,\"note\":\"x\",\"kid\":{\"mean\":1.5,\"step\":7}}\n\
                    {\"step\":4,\"loss_d\":null,\"kid\":{\"mean\":null}}\n{\"step\":4,\"loss_d\":1.0}\n{\"step\":5,\"lo";
        let records = read(text);
        assert_eq!(records.bad_lines, 0);
        assert_eq!(records.series.keys().collect::<Vec<_>>(), ["fid", "kid.mean", "kid.step", "loss_d"]);
        assert_eq!(records.series["loss_d"], Series { x: vec![2, 4], y: vec![Some(0.1 + 0.2), Some(1.0)] });
        assert_eq!(records.series["kid.mean"], Series { x: vec![2, 4], y: vec![Some(1.5), None] });
        assert_eq!(read("nonsense\n[1]\n{\"step\":-1}\n{\"step\":1,\"a\":null}\n").bad_lines, 3);
        assert_eq!(Records::read(Path::new("/nowhere")), Records::default());
        assert!(read("").series.is_empty() && read("{\"step\":1,\"a\":null}\n").series.is_empty());
    }

    #[test]
    fn measurements_of_the_last_setup_are_added() {
        let setup = |samples| Setup { samples, seed: 0, reals: 9, data: "d".into(), classifier: None, inception: None };
        let one = |step, samples, swd| Measured {
            step,
            setup: setup(samples),
            figures: BTreeMap::from([("swd".into(), swd), ("swd_28".into(), 1.0)]),
        };
        let mut records = read("{\"step\":1,\"loss_d\":1}\n");
        records.add_measured(&[one(10, 5, 9.0), one(20, 7, 3.0), one(40, 7, 2.0)], &["swd"]);
        assert_eq!(records.series["swd"], Series { x: vec![20, 40], y: vec![Some(3.0), Some(2.0)] });
        assert_eq!(records.last(), BTreeMap::from([("loss_d".into(), 1.0), ("swd".into(), 2.0)]));
    }

    #[test]
    fn the_end_is_a_mean_or_the_last() {
        let line = |i: u64| {
            format!("{{\"step\":{i},\"loss_d\":{i},\"beta\":{i},\"gone\":{}}}\n", if i > 5 { "null" } else { "1" })
        };
        let records = read(&(1..=20).map(line).collect::<String>());
        assert_eq!(records.last(), BTreeMap::from([("loss_d".into(), 15.5), ("beta".into(), 20.0)]));
    }

    #[test]
    fn a_long_curve_keeps_its_peaks_its_ends_and_its_gaps() {
        let x: Vec<u64> = (1..=100_000).collect();
        let mut y: Vec<Option<f64>> = x.iter().map(|&step| Some((step % 7) as f64)).collect();
        (y[0], y[77_777], y[50_001], y[33_333], y[99_999]) = (Some(3.5), Some(1e6), Some(-1e6), None, Some(2.5));
        let mut records = Records { series: BTreeMap::from([("a".into(), Series { x, y })]), ..Records::default() };
        assert!(records.thin());
        let series = &records.series["a"];
        assert!(series.x.len() <= MOST_POINTS && series.x.len() > MOST_POINTS / 3, "{}", series.x.len());
        assert!(series.x.is_sorted_by(|a, b| a < b));
        let at = |step: u64| series.y[series.x.iter().position(|&x| x == step).expect("kept")];
        assert_eq!([1, 77_778, 50_002, 33_334, 100_000].map(at), [Some(3.5), Some(1e6), Some(-1e6), None, Some(2.5)]);
        let before = records.clone();
        assert!(!records.thin() && records == before, "short ones stay whole");
    }
}
