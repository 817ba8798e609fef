//! The run for TensorBoard: `events.out.tfevents.*` in its folder, with the figures as scalars, the grids as images, and the settings
//! as text.
//!
//! The events follow from the other files of the run alone: their time is that of the run's start, with the training time so far,
//! so that no gap between two starts shows. Each start begins a file of its own. It first takes the events of steps that come
//! again out of the older files and tells a TensorBoard that has read them to forget them (an event with a session log).

mod frame;
mod message;

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use self::message::{Content, Event};
use super::env::seconds_of;
use super::measured::{self, Measured};
use super::report::listed;
use super::{Record, RunFolder, atomic, stats};
use crate::error::{Error, Result};

/// The begin of the files' names, by which TensorBoard finds them, and the end of those that are ours.
const BEGIN: &str = "events.out.tfevents.";
const END: &str = ".vgan-cuda";
/// The prefix of the tags of measurements.
const MEASURED: &str = "metrics/";

/// An open event file; events go to its end.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    file: File,
    /// The time of the run's first start, in seconds since 1970.
    start: f64,
    /// Training time up to the newest record, in seconds.
    elapsed: f64,
    /// The step of the newest samples.
    samples: Option<u64>,
}

impl EventLog {
    /// Begins the events of a start of the run that goes on after `step`. Those of later steps leave the older files; what these
    /// lack up to `step` is taken from the records and pictures in the folder.
    ///
    /// # Errors
    /// [`Error::Io`] where the system refuses; [`Error::BadData`] where the records can't be read.
    pub fn begin(folder: &RunFolder, step: u64) -> Result<EventLog> {
        let start = start_of(folder);
        let files = files(folder.path());
        let mut kept = Kept::default();
        for path in &files {
            kept.join(trim(path, step)?);
        }
        let last = files.iter().filter_map(|path| number_of(path)).max();
        let path = folder.path().join(name(start, last.map_or(0, |last| last + 1)));
        let (events, elapsed) = history(folder, start, step, kept)?;
        let is_grid = |event: &&Event| matches!(event.content, Content::Image { tag: "samples", .. });
        let samples = events.iter().filter(is_grid).map(|event| event.step).max().max(kept.samples);
        let mut bytes = frame::framed(&Event::version(start).encoded());
        if last.is_some() {
            bytes.extend(frame::framed(&Event::restart(start + elapsed, step + 1).encoded()));
        }
        bytes.extend(events.iter().flat_map(|event| frame::framed(&event.encoded())));
        atomic::write_file(&path, &bytes)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, "open", e))?;
        Ok(EventLog { path, file, start, elapsed, samples })
    }

    /// Appends the figures of a record.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk is full or refuses.
    pub fn record(&mut self, record: &Record) -> Result<()> {
        let value = serde_json::to_value(record).map_err(|e| Error::Internal(format!("an event: {e}")))?;
        if record.elapsed_s.is_finite() {
            self.elapsed = record.elapsed_s;
        }
        let event = Event { time: self.start + self.elapsed, step: record.step, content: scalars(&value) };
        self.append(&event)
    }

    /// Appends the grid of samples that was drawn after `step`. One that is drawn again, since its file was gone, is not appended again.
    ///
    /// # Errors
    /// [`Error::Io`] where the picture can't be read, or the disk is full or refuses.
    pub fn samples(&mut self, step: u64, picture: &Path) -> Result<()> {
        if self.samples.is_some_and(|newest| step <= newest) {
            return Ok(());
        }
        self.samples = Some(step);
        let png = fs::read(picture).map_err(|e| Error::io(picture, "read", e))?;
        let content = Content::image("samples", png);
        content.map_or(Ok(()), |content| self.append(&Event { time: self.start + self.elapsed, step, content }))
    }

    /// Appends what samples were measured to be, as `metrics/fcd` and so on.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk is full or refuses.
    pub fn measured(&mut self, measured: &Measured) -> Result<()> {
        let content = measurement(measured);
        self.append(&Event { time: self.start + self.elapsed, step: measured.step, content })
    }

    /// One call of the system an event: a kill cuts none in two.
    fn append(&mut self, event: &Event) -> Result<()> {
        self.file.write_all(&frame::framed(&event.encoded())).map_err(|e| Error::io(&self.path, "append", e))
    }
}

/// Writes the events of a run's folder, as it is now, into the folder `to`, and returns the file. An earlier one of the same run is
/// written over.
///
/// # Errors
/// As [`EventLog::begin`].
pub fn export(folder: &RunFolder, to: &Path) -> Result<PathBuf> {
    let start = start_of(folder);
    let (events, _) = history(folder, start, u64::MAX, Kept::default())?;
    let mut bytes = frame::framed(&Event::version(start).encoded());
    bytes.extend(events.iter().flat_map(|event| frame::framed(&event.encoded())));
    fs::create_dir_all(to).map_err(|e| Error::io(to, "create the folder", e))?;
    let path = to.join(name(start, 0));
    atomic::write_file(&path, &bytes)?;
    Ok(path)
}

/// The events that the files hold already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Kept {
    /// The settings, and the pictures that belong to no step.
    first: bool,
    /// The newest step of scalars, of samples, and of measurements.
    record: Option<u64>,
    samples: Option<u64>,
    measured: Option<u64>,
}

impl Kept {
    fn join(&mut self, other: Kept) {
        self.first |= other.first;
        self.record = self.record.max(other.record);
        self.samples = self.samples.max(other.samples);
        self.measured = self.measured.max(other.measured);
    }
}

/// The events up to `step` that are not kept already, in the order of their steps, and the training time at their end.
fn history(folder: &RunFolder, start: f64, step: u64, kept: Kept) -> Result<(Vec<Event>, f64)> {
    let mut events = Vec::new();
    if !kept.first {
        // A run without one is shown without one.
        let config = fs::read_to_string(folder.config_path()).unwrap_or_default();
        events.push(Event { time: start, step: 0, content: Content::text("settings", &config) });
        if let Some(content) = fs::read(folder.reals_path()).ok().and_then(|png| Content::image("reals", png)) {
            events.push(Event { time: start, step: 0, content });
        }
    }
    let mut times = vec![(0, start)];
    for line in stats::text_up_to(&folder.stats_path(), step)?.lines() {
        let Ok(value) = serde_json::from_str::<Value>(line) else { continue };
        let Some(of) = value.get("step").and_then(Value::as_u64) else { continue };
        let time = value.get("elapsed_s").and_then(Value::as_f64).map_or(start, |elapsed| start + elapsed);
        times.push((of, time));
        if kept.record.is_none_or(|kept| of > kept) {
            events.push(Event { time, step: of, content: scalars(&value) });
        }
    }
    let time_of = |of: u64| times.iter().rev().find(|(step, _)| *step <= of).map_or(start, |(_, time)| *time);
    for one in measured::comparable(&measured::read(&folder.metrics_path())?) {
        if one.step <= step && kept.measured.is_none_or(|kept| one.step > kept) {
            events.push(Event { time: time_of(one.step), step: one.step, content: measurement(&one) });
        }
    }
    for (of, path) in listed(folder).into_iter().filter(|(of, _)| *of <= step) {
        if kept.samples.is_none_or(|kept| of > kept)
            && let Some(content) = fs::read(&path).ok().and_then(|png| Content::image("samples", png))
        {
            events.push(Event { time: time_of(of), step: of, content });
        }
    }
    events.sort_by_key(|event| event.step);
    Ok((events, times.last().map_or(0.0, |(_, time)| time - start)))
}

/// All numbers of a record but its step.
fn scalars(record: &Value) -> Content {
    let empty = Map::new();
    let figures = record.as_object().unwrap_or(&empty).iter().filter(|(key, _)| *key != "step");
    Content::Scalars(figures.filter_map(|(key, value)| Some((key.clone(), value.as_f64()?))).collect())
}

/// The figures of a measurement.
fn measurement(measured: &Measured) -> Content {
    let figures = measured.figures.iter().filter(|(_, value)| value.is_finite());
    Content::Scalars(figures.map(|(name, value)| (format!("{MEASURED}{name}"), *value)).collect())
}

/// Takes the events of later steps, and what a crash cut short, out of a file; what is left in it. A file with nothing left goes.
fn trim(path: &Path, step: u64) -> Result<Kept> {
    let bytes = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    let (mut kept, mut left, mut events) = (Kept::default(), Vec::new(), 0);
    for content in frame::contents(&bytes) {
        let Some(seen) = message::seen(content).filter(|seen| seen.step <= step) else { continue };
        left.extend(frame::framed(content));
        events += usize::from(!seen.tags.is_empty());
        for tag in &seen.tags {
            match tag.as_str() {
                "samples" => kept.samples = kept.samples.max(Some(seen.step)),
                "reals" | "settings" => kept.first = true,
                tag if tag.starts_with(MEASURED) => kept.measured = kept.measured.max(Some(seen.step)),
                _ => kept.record = kept.record.max(Some(seen.step)),
            }
        }
    }
    if events == 0 {
        fs::remove_file(path).map_err(|e| Error::io(path, "remove", e))?;
    } else if left != bytes {
        atomic::write_file(path, &left)?;
    }
    Ok(kept)
}

/// The time of the run's first start; 0 if env.json does not have it.
fn start_of(folder: &RunFolder) -> f64 {
    let starts = fs::read(folder.env_path()).unwrap_or_default();
    let starts: Vec<Value> = serde_json::from_slice(&starts).unwrap_or_default();
    let first = starts.first().and_then(|start| start.get("start_time")?.as_str().and_then(seconds_of));
    first.unwrap_or_default() as f64
}

/// The name of a run's file: TensorBoard reads the files of a folder in the order of their names.
fn name(start: f64, number: u32) -> String {
    format!("{BEGIN}{start:010.0}.{number:04}{END}")
}

/// Our files in a folder, in order.
fn files(folder: &Path) -> Vec<PathBuf> {
    atomic::entries(folder).into_iter().map(|(_, path)| path).filter(|path| number_of(path).is_some()).collect()
}

fn number_of(path: &Path) -> Option<u32> {
    let (start, number) = path.file_name()?.to_str()?.strip_prefix(BEGIN)?.strip_suffix(END)?.split_once('.')?;
    start.parse::<u64>().ok()?;
    number.parse().ok()
}

#[cfg(test)]
mod tests;
