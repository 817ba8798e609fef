//! A run as `compare` sees it.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::super::output::to_stderr;
use crate::config::{self, Settings};
use crate::data::LoadOptions;
use crate::data::picture::{Picture, decode};
use crate::error::{Error, Result};
use crate::run::{Record, RunFolder, checkpoint, stats};

/// One of the runs that are compared.
pub(super) struct Member {
    /// As the user wrote it.
    pub(super) path: PathBuf,
    /// The folder's name, or more of its path where two runs have the same one.
    pub(super) name: String,
    /// The preset that it started from; `None` where no checkpoint says it.
    pub(super) preset: Option<String>,
    pub(super) settings: Settings,
    /// May be none.
    pub(super) records: Vec<Record>,
    /// The newest grid of samples that can be read, and its step; 0 is the untrained generator.
    pub(super) picture: Option<(u64, Picture)>,
}

/// Reads all runs, each once. What can't be read is said to the user and left out.
///
/// # Errors
/// [`Error::BadData`] where no run is left; of a single one, why.
pub(super) fn members(paths: &[PathBuf]) -> Result<Vec<Member>> {
    let (mut members, mut seen, mut failures) = (Vec::new(), HashSet::new(), Vec::new());
    for path in paths {
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        if !seen.insert(canonical.clone()) {
            to_stderr(&format!("note: {} is named twice and counted once", path.display()));
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

fn member(path: &Path, canonical: &Path) -> Result<Member> {
    let folder = RunFolder::open(path)?;
    let settings = config::read(folder.config_path(), &Settings::default())?;
    let records = stats::read(&folder.stats_path()).unwrap_or_else(|error| {
        to_stderr(&format!("warning: without its records: {error}"));
        Vec::new()
    });
    let preset = checkpoint::newest_state(&folder.checkpoints_path()).ok().map(|state| state.preset);
    let name = canonical.file_name().unwrap_or(canonical.as_os_str()).to_string_lossy();
    let picture = picture(&folder);
    if picture.is_none() {
        to_stderr(&format!("warning: {}: no grid of samples (fakes*.png) that can be read", path.display()));
    }
    Ok(Member { path: path.to_path_buf(), name: printable(&name), preset, settings, records, picture })
}

/// The newest grid that can be read.
fn picture(folder: &RunFolder) -> Option<(u64, Picture)> {
    let entries = fs::read_dir(folder.path()).ok()?.flatten();
    let mut steps: Vec<u64> = entries.filter_map(|entry| step_of(entry.file_name().to_str()?)).collect();
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

/// The step of a snapshot's picture, `fakes000200.png`.
fn step_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("fakes")?.strip_suffix(".png")?;
    let step = digits.parse().ok()?;
    (format!("{step:06}") == digits).then_some(step)
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
    fn pictures_of_snapshots_are_known_by_their_names() {
        assert_eq!(step_of("fakes000200.png"), Some(200));
        assert_eq!(step_of("fakes1234567.png"), Some(1_234_567));
        for other in
            ["fakes_init.png", "fakes200.png", "fakes0000200.png", "reals.png", "fakes000200.png~", "fakes.png"]
        {
            assert_eq!(step_of(other), None, "{other}");
        }
    }

    #[test]
    fn names_do_not_reach_the_terminal_raw() {
        assert_eq!(printable("a\u{1b}[2Jb\nc ü"), "a\u{fffd}[2Jb\u{fffd}c ü");
    }
}
