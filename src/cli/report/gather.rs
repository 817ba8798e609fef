//! A run's folder as a report shows it. What can't be read is left out and noted, and never an error: the page must show runs that are
//! going on, damaged ones, and those of other versions.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use super::super::survey::{self, Survey};
use crate::config::{self, Settings, differences, preset};
use crate::error::{Error, readable_path};
use crate::eval::METRICS;
use crate::run::env::utc;
use crate::run::report::{
    Changed, Declared, Differing, Page, Records, Room, Run, Snapshot, data_uri, embedded, listed, panels,
};
use crate::run::{RunFolder, measured};
use crate::train::report::figures;
use crate::units::plural;

/// The place of a page's pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Pictures {
    /// In the page, as many as there is room for.
    Embedded(Room),
    /// On the server of the page, all of them.
    Served,
}

/// Reads what the page shows of a run. Without the nearest images, for which the data set is needed.
pub(in crate::cli) fn gather(folder: &RunFolder, pictures: Pictures) -> Run {
    let Survey { preset, standing, step, steps, message, .. } = Survey::of(folder);
    let mut notes = Vec::new();
    let settings = config::read(folder.config_path(), &Settings::default());
    let settings = settings.map_err(|error| notes.push(format!("config.toml can't be read: {}", found(&error)))).ok();
    let mut records = Records::read(&folder.stats_path());
    let metrics: Vec<Declared<'_>> = METRICS.iter().map(|metric| metric.panel).collect();
    let drawn: Vec<&str> = metrics.iter().flat_map(|(_, lines)| lines.iter().map(|(name, _)| *name)).collect();
    match measured::read(&folder.metrics_path()) {
        Ok(measured) => records.add_measured(&measured, &drawn),
        Err(error) => notes.push(format!("metrics.jsonl can't be read: {}", found(&error))),
    }
    if records.bad_lines > 0 {
        notes.push(format!("{} of the records can't be read and are left out", plural(records.bad_lines, "line")));
    }
    let panels = panels(&records, settings.as_ref().map(figures).as_ref(), &metrics);
    let shown = |key: &str| panels.iter().any(|panel| panel.lines.iter().any(|line| line.key == key));
    let mut last = records.last();
    last.retain(|key, _| ["epoch", "elapsed_s"].contains(&key.as_str()) || shown(key));
    let thinned = records.thin();
    let (snapshots, reals) = match pictures {
        Pictures::Embedded(room) => {
            let (snapshots, bad) = embedded(folder, room);
            notes.extend(bad);
            let reals = fs::read(folder.reals_path()).ok().filter(|_| room.bytes > 0).map(|png| data_uri(&png));
            (snapshots, reals)
        }
        Pictures::Served => {
            let served = |step: u64| Snapshot { step, src: format!("samples/{step}.png") };
            let reals = folder.reals_path().is_file().then(|| "reals.png".to_string());
            (listed(folder).into_iter().map(|(step, _)| served(step)).collect(), reals)
        }
    };
    let changed = settings.as_ref().zip(preset.as_deref()).and_then(|(settings, name)| changed(settings, name));
    Run {
        name: name(folder),
        preset,
        state: survey::word(standing).into(),
        step,
        steps,
        message,
        notes,
        panels,
        series: records.series,
        thinned,
        last,
        snapshot_count: listed(folder).len(),
        snapshots,
        reals,
        nearest: None,
        settings: changed,
        starts: starts(folder),
    }
}

/// The page of these runs; `folders` are theirs where there are several.
pub(in crate::cli) fn page(runs: Vec<Run>, folders: &[RunFolder]) -> Page {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    Page { version: env!("CARGO_PKG_VERSION"), made: utc(seconds), live: false, differences: differing(folders), runs }
}

/// The folder's own name, as the disk has it.
fn name(folder: &RunFolder) -> String {
    let whole = fs::canonicalize(folder.path()).unwrap_or_else(|_| folder.path().to_path_buf());
    readable_path(whole.file_name().unwrap_or(whole.as_os_str()))
}

/// The fault of a file, without its name.
fn found(error: &Error) -> String {
    match error {
        Error::BadData { expected, found, .. } => format!("expected {expected}, found {found}"),
        other => other.to_string(),
    }
}

/// The settings that are not as in the preset; `None` where this version has no such preset.
fn changed(settings: &Settings, name: &str) -> Option<Vec<Changed>> {
    let preset = preset(name).ok()?;
    let changed = differences(&[settings, &preset]).ok()?;
    let changed = changed.into_iter().filter_map(|one| match &one.values[..] {
        [value, preset] => Some(Changed { key: one.key.clone(), value: value.to_string(), preset: preset.to_string() }),
        _ => None,
    });
    Some(changed.collect())
}

/// The settings in which the runs differ; a run whose settings can't be read has none.
fn differing(folders: &[RunFolder]) -> Vec<Differing> {
    let settings: Vec<Option<Settings>> =
        folders.iter().map(|folder| config::read(folder.config_path(), &Settings::default()).ok()).collect();
    let readable: Vec<&Settings> = settings.iter().flatten().collect();
    let rows = differences(&readable).unwrap_or_default().into_iter().map(|one| {
        let mut values = one.values.iter();
        let values =
            settings.iter().map(|run| run.as_ref().and_then(|_| values.next()).map(ToString::to_string)).collect();
        Differing { key: one.key, values }
    });
    rows.collect()
}

/// The entries of env.json.
fn starts(folder: &RunFolder) -> Vec<serde_json::Map<String, serde_json::Value>> {
    let bytes = fs::read(folder.env_path()).unwrap_or_default();
    serde_json::from_slice(&bytes).unwrap_or_default()
}
