//! The table of `compare`.

use std::time::Duration;

use serde::Serialize;

use super::super::output;
use super::super::survey::word;
use super::super::text_table::aligned;
use super::member::{Member, printable};
use crate::config::{Difference, Settings, differences};
use crate::error::{Error, Result};
use crate::run::progress::{duration, short};
use crate::run::{Measured, Outcome, Record};

/// Records at the end of a run that its final figures are means over.
const LAST: usize = 10;

/// Columns of settings beside each other; more runs get a further block.
const RUNS_A_BLOCK: usize = 8;

/// Letters of a setting's value that are shown.
const MOST_LETTERS: usize = 24;

/// Figures at a run's end. Losses, KL, the outputs of D and the speed are means over the last [`LAST`] records, or as many as
/// there are; the rest is the last record's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Final {
    steps: u64,
    loss_d: f64,
    loss_g: f64,
    /// `None` without a bottleneck, as the next two.
    kl_real: Option<f64>,
    kl_fake: Option<f64>,
    beta: Option<f64>,
    d_real: f64,
    d_fake: f64,
    images_per_s: f64,
    elapsed_s: f64,
}

impl Final {
    fn of(records: &[Record], settings: &Settings) -> Option<Final> {
        let last = records.last()?;
        let records = &records[records.len().saturating_sub(LAST)..];
        let mean = |value: fn(&Record) -> f64| records.iter().map(value).sum::<f64>() / records.len() as f64;
        let of_bottleneck = |value| settings.bottleneck.enabled.then_some(value);
        Some(Final {
            steps: last.step,
            loss_d: mean(|r| r.loss_d),
            loss_g: mean(|r| r.loss_g),
            kl_real: of_bottleneck(mean(|r| r.kl_real)),
            kl_fake: of_bottleneck(mean(|r| r.kl_fake)),
            beta: of_bottleneck(last.beta),
            d_real: mean(|r| r.d_real),
            d_fake: mean(|r| r.d_fake),
            images_per_s: mean(|r| r.images_per_s),
            elapsed_s: last.elapsed_s,
        })
    }

    /// As the columns after the run's preset.
    fn cells(&self) -> [String; 10] {
        let loss = |value: f64| if value.abs() < 1e4 { format!("{value:.4}") } else { format!("{value:.2e}") };
        let of_bottleneck = |value: Option<f64>| value.map_or_else(|| "-".into(), short);
        let time = Duration::try_from_secs_f64(self.elapsed_s).map_or_else(|_| "-".into(), duration);
        [
            self.steps.to_string(),
            loss(self.loss_d),
            loss(self.loss_g),
            of_bottleneck(self.kl_real),
            of_bottleneck(self.kl_fake),
            of_bottleneck(self.beta),
            format!("{:.3}", self.d_real),
            format!("{:.3}", self.d_fake),
            format!("{:.*}", usize::from(self.images_per_s < 10.0), self.images_per_s),
            time,
        ]
    }
}

const COLUMNS: [&str; 14] = [
    "#", "run", "preset", "steps", "loss D", "loss G", "KL real", "KL fake", "beta", "D real", "D fake", "images/s",
    "time", "state",
];

/// The table of the runs, and beneath it that of the settings in which they differ.
pub(super) fn text(members: &[Member]) -> Result<String> {
    let row = |(index, member): (usize, &Member)| {
        let preset = member.preset.as_deref().unwrap_or("-");
        let first = [(index + 1).to_string(), member.name.clone(), printable(preset)];
        let nothing = || [(); 10].map(|()| "-".to_string());
        let last = Final::of(&member.records, &member.settings).map_or_else(nothing, |last| last.cells());
        first.into_iter().chain(last).chain([state(member)]).collect()
    };
    let mut rows: Vec<Vec<String>> = vec![COLUMNS.map(String::from).to_vec()];
    rows.extend(members.iter().enumerate().map(row));
    let mut text = aligned(&rows, 3, output::terminal_columns());
    text += &format!("losses, KL, D and images/s are means over the last {LAST} records; the rest is the last one's\n");
    text += &ends(members);
    let settings: Vec<&Settings> = members.iter().map(|member| &member.settings).collect();
    text += &matrix("settings that differ", &differences(&settings)?, members.len(), output::terminal_columns());
    text.push('\n');
    Ok(text)
}

/// The state of a run, with its step where that is not the end.
fn state(member: &Member) -> String {
    match member.standing {
        None | Some(Outcome::Done) => word(member.standing).to_string(),
        standing => format!("{} at {}", word(standing), member.step),
    }
}

/// A line for each run that something ended other than its length, with what was said then.
fn ends(members: &[Member]) -> String {
    let end = |(index, member): (usize, &Member)| match (member.standing, &member.message) {
        (Some(Outcome::Diverged | Outcome::Failed), Some(message)) => {
            Some(format!("#{}: {}\n", index + 1, printable(message)))
        }
        _ => None,
    };
    members.iter().enumerate().filter_map(end).collect()
}

/// A row for each of these settings under `heading`, a column for each of the runs.
pub(in crate::cli) fn matrix(heading: &str, differences: &[Difference], runs: usize, columns: Option<usize>) -> String {
    let mut text = String::new();
    if differences.is_empty() {
        return text;
    }
    for first in (0..runs).step_by(RUNS_A_BLOCK) {
        let block = first..runs.min(first + RUNS_A_BLOCK);
        let heading = [heading.to_string()].into_iter().chain(block.clone().map(|run| format!("#{}", run + 1)));
        let mut rows: Vec<Vec<String>> = vec![heading.collect()];
        for Difference { key, values } in differences {
            let values = values[block.clone()].iter().map(|value| cut(&printable(&value.to_string())));
            rows.push([key.clone()].into_iter().chain(values).collect());
        }
        text += &format!("\n{}", aligned(&rows, 1, columns));
    }
    text
}

/// The end of a long value: paths differ there.
fn cut(text: &str) -> String {
    match text.chars().count() {
        length if length > MOST_LETTERS => {
            format!("…{}", text.chars().skip(length - MOST_LETTERS + 1).collect::<String>())
        }
        _ => text.to_string(),
    }
}

/// A JSON object a run, one a line. What a run has not is `null`.
pub(super) fn json(members: &[Member]) -> Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        number: usize,
        run: String,
        name: &'a str,
        preset: Option<&'a str>,
        state: &'static str,
        message: Option<&'a str>,
        steps: Option<u64>,
        loss_d: Option<f64>,
        loss_g: Option<f64>,
        kl_real: Option<f64>,
        kl_fake: Option<f64>,
        beta: Option<f64>,
        d_real: Option<f64>,
        d_fake: Option<f64>,
        images_per_s: Option<f64>,
        elapsed_s: Option<f64>,
        samples_step: Option<u64>,
        metrics: Option<&'a Measured>,
        /// The settings in which the runs differ.
        settings: serde_json::Map<String, serde_json::Value>,
    }
    let internal = |error| Error::Internal(format!("JSON: {error}"));
    let settings: Vec<&Settings> = members.iter().map(|member| &member.settings).collect();
    let differences = differences(&settings)?;
    let mut text = String::new();
    for (index, member) in members.iter().enumerate() {
        let mut settings = serde_json::Map::new();
        for Difference { key, values } in &differences {
            settings.insert(key.clone(), serde_json::to_value(&values[index]).map_err(internal)?);
        }
        let last = Final::of(&member.records, &member.settings);
        let line = Line {
            number: index + 1,
            run: member.path.to_string_lossy().into_owned(),
            name: &member.name,
            preset: member.preset.as_deref(),
            state: word(member.standing),
            message: member.message.as_deref(),
            steps: last.map(|f| f.steps),
            loss_d: last.map(|f| f.loss_d),
            loss_g: last.map(|f| f.loss_g),
            kl_real: last.and_then(|f| f.kl_real),
            kl_fake: last.and_then(|f| f.kl_fake),
            beta: last.and_then(|f| f.beta),
            d_real: last.map(|f| f.d_real),
            d_fake: last.map(|f| f.d_fake),
            images_per_s: last.map(|f| f.images_per_s),
            elapsed_s: last.map(|f| f.elapsed_s),
            samples_step: member.picture.as_ref().map(|(step, _)| *step),
            metrics: member.measured.as_ref(),
            settings,
        };
        text += &output::json(&line)?;
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::stats::tests::record;

    #[test]
    fn the_last_ten_records_count() {
        let settings = Settings::default();
        let mut records: Vec<Record> =
            (1..=12).map(|i| Record { loss_d: i as f64, beta: i as f64, ..record(i) }).collect();
        let last = Final::of(&records, &settings).unwrap();
        assert_eq!((last.steps, last.loss_d, last.beta), (12, 7.5, Some(12.0)));
        records.truncate(3);
        assert_eq!(Final::of(&records, &settings).unwrap().loss_d, 2.0);
        assert_eq!(Final::of(&[], &settings), None);
        let plain = crate::config::preset("gan-mnist").unwrap();
        let last = Final::of(&records, &plain).unwrap();
        assert_eq!((last.kl_real, last.kl_fake, last.beta), (None, None, None));
        assert_eq!(last.cells()[3..6], ["-", "-", "-"]);
    }

    #[test]
    fn many_runs_get_several_blocks() {
        let mut runs = vec![Settings::default(); 19];
        runs[18].train.batch = 7;
        runs[17].data.source = format!("/very/long/{}/end", "x".repeat(99));
        let text = matrix("settings that differ", &differences(&runs.iter().collect::<Vec<_>>()).unwrap(), 19, None);
        assert_eq!(text.matches("settings that differ").count(), 3);
        assert!(text.lines().all(|line| line.chars().count() < 250) && text.contains("#19"), "{text}");
        assert!(text.contains("xx/end") && text.contains('…'));
        assert_eq!(matrix("", &[], 2, None), "");
    }
}
