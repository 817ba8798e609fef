//! A run as `compare` sees it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::output::to_stderr;
use super::super::survey::{Survey, runs_in};
use crate::config::{self, Settings};
use crate::data::LoadOptions;
use crate::data::decoded::Picture;
use crate::data::picture::decode;
use crate::error::{Error, Result, readable_path};
use crate::run::{Measured, Outcome, Record, RunFolder, measured, picture_step, stats};

/// One of the runs that are compared.
pub(super) struct Member {
    /// As the user wrote it.
    pub(super) path: PathBuf,
    /// The folder's name, or more of its path where two runs have the same one.
    pub(super) name: String,
    /// The preset that it started from; `None` where neither checkpoint nor configuration says it.
    pub(super) preset: Option<String>,
    /// Its state.
    pub(super) standing: Option<Outcome>,
    /// Steps done.
    pub(super) step: u64,
    /// The message at its end, if that was an error.
    pub(super) message: Option<String>,
    pub(super) settings: Settings,
    /// May be none.
    pub(super) records: Vec<Record>,
    /// The last measurement of its samples, if there is one.
    pub(super) measured: Option<Measured>,
    /// The newest grid of samples that can be read, and its step; 0 is the untrained generator.
    pub(super) picture: Option<(u64, Picture)>,
}

/// Reads all runs, each once. What can't be read is said to the user and left out.
///
/// # Errors
/// [`Error::BadData`] where no run is left; of a single one, why.
pub(super) fn members(paths: &[PathBuf]) -> Result<Vec<Member>> {
    let (mut members, mut seen, mut failures) = (Vec::new(), HashSet::new(), Vec::new());
    for path in &descended(paths) {
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        if !seen.insert(canonical.clone()) {
            to_stderr(&format!("note: {} is named twice and counted once", readable_path(path)));
            continue;
        }
        match member(path, &canonical) {
            Ok(member) => members.push(member),
            Err(error) => failures.push(error),
        }
    }
    if members.is_empty() && failures.len() == 1 {
        return Err(failures.remove(0));
    }
    failures.iter().for_each(|error| to_stderr(&format!("warning: left out: {error}")));
    if members.is_empty() {
        let first = paths.first().cloned().unwrap_or_default();
        let error = Error::bad_data(first, "the folder of a run, here or in what follows it", "none");
        return Err(error.with_hint("pass folders that `train` made, such as runs/0*"));
    }
    tell_apart(&mut members);
    Ok(members)
}

/// The paths, with the runs in a folder in the place of the folder.
pub(in crate::cli) fn descended(paths: &[PathBuf]) -> Vec<PathBuf> {
    let runs = |path: &PathBuf| match runs_in(path) {
        // Left for the error that says what it is.
        runs if runs.is_empty() => vec![path.clone()],
        runs => runs.iter().map(|run| run.path().to_path_buf()).collect(),
    };
    paths.iter().flat_map(runs).collect()
}

fn member(path: &Path, canonical: &Path) -> Result<Member> {
    let folder = RunFolder::open(path)?;
    let settings = config::read(folder.config_path(), &Settings::default())?;
    let records = stats::read(&folder.stats_path()).unwrap_or_else(|error| {
        to_stderr(&format!("warning: without its records: {error}"));
        Vec::new()
    });
    let measured = measured::read(&folder.metrics_path()).unwrap_or_else(|error| {
        to_stderr(&format!("warning: without its metrics: {error}"));
        Vec::new()
    });
    let measured = measured::comparable(&measured).pop();
    let Survey { preset, standing, step, message, .. } = Survey::of(&folder);
    let name = canonical.file_name().unwrap_or(canonical.as_os_str()).to_string_lossy();
    let picture = picture(&folder);
    if picture.is_none() {
        to_stderr(&format!("warning: {}: no grid of samples (fakes*.png) that can be read", readable_path(path)));
    }
    let name = printable(&name);
    let path = path.to_path_buf();
    Ok(Member { path, name, preset, standing, step, message, settings, records, measured, picture })
}

/// The newest grid that can be read.
fn picture(folder: &RunFolder) -> Option<(u64, Picture)> {
    let entries = fs::read_dir(folder.path()).ok()?.flatten();
    let mut steps: Vec<u64> = entries.filter_map(|entry| picture_step(entry.file_name().to_str()?)).collect();
    steps.sort_unstable();
    let snapshots = steps.into_iter().rev().map(|step| (step, folder.snapshot_picture_path(step)));
    snapshots.chain([(0, folder.fakes_init_path())]).find_map(|(step, path)| {
        match decode(&path, &LoadOptions::default()) {
            Ok(picture) => Some((step, picture)),
            Err(error) => {
                if path.exists() {
                    to_stderr(&format!("warning: passed over: {error}"));
                }
                None
            }
        }
    })
}

/// Runs of the same name in different folders get as much of their paths as the user wrote.
fn tell_apart(members: &mut [Member]) {
    let names: Vec<String> = members.iter().map(|member| member.name.clone()).collect();
    for member in members {
        if names.iter().filter(|name| **name == member.name).count() > 1 {
            member.name = printable(&member.path.to_string_lossy());
        }
    }
}

/// Without what would move a terminal's cursor or break an XML file.
pub(super) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_reach_the_terminal_raw() {
        assert_eq!(printable("a\u{1b}[2Jb\nc ü"), "a\u{fffd}[2Jb\u{fffd}c ü");
    }
}
