//! The runs of a folder, and what is known of each without its tensors: for `list`, `compare`, and the name `latest`.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::config::{self, Settings};
use crate::error::{Error, Result};
use crate::run::{Outcome, Record, RunFolder, Status, checkpoint, stats};
use crate::train::plan::Plan;

/// The word for the run that was trained last.
pub(super) const LATEST: &str = "latest";

/// Depth to which runs are looked for in a folder: an experiment's runs lie in its own folder.
const DEPTH: usize = 2;

/// The state of a run in one word; `None` where there is no checkpoint in it.
pub(super) fn word(standing: Option<Outcome>) -> &'static str {
    standing.map_or("empty", Outcome::word)
}

/// Facts about a run.
#[derive(Debug, Clone)]
pub(super) struct Survey {
    pub(super) path: PathBuf,
    pub(super) preset: Option<String>,
    /// Its state as it is now, which may differ from what was written last; `None` where there is no checkpoint in it.
    pub(super) standing: Option<Outcome>,
    /// Steps done: those of the newest checkpoint, or what the run said last where that is more.
    pub(super) step: u64,
    /// Steps of the whole run, where they are known.
    pub(super) steps: Option<u64>,
    /// The message at its end, if that was an error.
    pub(super) message: Option<String>,
    pub(super) last: Option<Record>,
    /// The time at which the newest checkpoint was written.
    pub(super) saved: Option<SystemTime>,
    /// All that lies in the folder, as the disk counts it.
    pub(super) bytes: u64,
}

impl Survey {
    /// Looks at a run. What can't be read is left out, and never an error: a list of runs must show the broken ones too.
    pub(super) fn of(folder: &RunFolder) -> Survey {
        let config = config::read_named(folder.config_path(), &Settings::default()).ok();
        let newest = checkpoint::newest_state(&folder.checkpoints_path()).ok();
        let status = Status::read(&folder.status_path());
        let records = stats::read(&folder.stats_path()).unwrap_or_default();
        let saved = newest.as_ref().and_then(|(path, _)| written(&path.join("state.json")));
        let state = newest.map(|(_, state)| state);
        let planned = config.as_ref().zip(state.as_ref()).and_then(|((settings, _), state)| {
            Some(Plan::new(settings, usize::try_from(state.data.count).ok()?).ok()?.total)
        });
        let step = state.as_ref().map(|state| state.step);
        let elapsed = records.last().map_or(0.0, |record| record.elapsed_s);
        let out_of_time = config
            .as_ref()
            .is_some_and(|(settings, _)| settings.train.minutes > 0.0 && elapsed >= settings.train.minutes * 60.0);
        let at_end = out_of_time || step.zip(planned).is_some_and(|(step, planned)| step >= planned);
        let preset = state.map(|state| state.preset).or_else(|| config.and_then(|(_, preset)| preset));
        Survey {
            path: folder.path().to_path_buf(),
            preset,
            standing: standing(status.as_ref(), step, at_end, || folder.is_locked()),
            step: step.unwrap_or(0).max(status.as_ref().map_or(0, |status| status.step)),
            // One that ran out of time has fewer.
            steps: planned.or_else(|| status.as_ref().map(|status| status.steps)),
            message: status.and_then(|status| status.message),
            last: records.last().copied(),
            saved,
            bytes: bytes_of(folder.path(), 0),
        }
    }
}

fn standing(status: Option<&Status>, step: Option<u64>, at_end: bool, is_locked: impl Fn() -> bool) -> Option<Outcome> {
    match (status.map(|status| status.outcome), step) {
        // The lock is looked at only where somebody may hold it.
        (Some(Outcome::Running) | None, _) if is_locked() => Some(Outcome::Running),
        (Some(Outcome::Diverged), _) => Some(Outcome::Diverged),
        (Some(Outcome::Failed), _) => Some(Outcome::Failed),
        (_, None) => None,
        _ if at_end => Some(Outcome::Done),
        // Since lengthened by hand, or killed.
        _ => Some(Outcome::Stopped),
    }
}

/// The runs in a folder: itself, if it is one, or those in it and in the folders in it, in the order of their paths.
pub(super) fn runs_in(folder: &Path) -> Vec<RunFolder> {
    let mut found = Vec::new();
    collect(folder, DEPTH, &mut found);
    found
}

fn collect(path: &Path, depth: usize, found: &mut Vec<RunFolder>) {
    if let Ok(run) = RunFolder::open(path) {
        found.push(run);
        return;
    }
    if depth == 0 {
        return;
    }
    let Ok(entries) = fs::read_dir(path) else { return };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders.iter().for_each(|folder| collect(folder, depth - 1, found));
}

/// Resolves `latest`, or a path that ends in it, to the run in `outdir`, or in the folder before the word, that has
/// the newest checkpoint. Any other path, and one that is there, stands for itself.
///
/// # Errors
/// [`Error::BadData`] where there is no such run.
pub(super) fn named(path: PathBuf, outdir: &Path) -> Result<PathBuf> {
    if path.file_name().is_none_or(|name| name != LATEST) || path.symlink_metadata().is_ok() {
        return Ok(path);
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => outdir,
    };
    let saved = |run: RunFolder| {
        let (checkpoint, _) = checkpoint::newest_state(&run.checkpoints_path()).ok()?;
        Some((written(&checkpoint.join("state.json"))?, run.path().to_path_buf()))
    };
    let newest = runs_in(folder).into_iter().filter_map(saved).max();
    newest.map(|(_, run)| run).ok_or_else(|| {
        let error = Error::bad_data(folder, "a run with a checkpoint, for `latest`", "none");
        error.with_hint("pass the folder that `train` made, such as runs/00000-quick-b64")
    })
}

fn written(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

/// Bytes on the disk of all that lies in a folder; links are not followed.
fn bytes_of(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let bytes = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && depth < 8 => bytes_of(&entry.path(), depth + 1),
        // Blocks are of 512 bytes, whatever the file system's are.
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(bytes).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_stands_as_it_was_left() {
        let status = |outcome| Status { outcome, step: 3, steps: 9, message: None };
        for (outcome, step, at_end, locked, expected) in [
            (Some(Outcome::Running), Some(3), false, true, Some(Outcome::Running)),
            (Some(Outcome::Running), None, false, true, Some(Outcome::Running)),
            (Some(Outcome::Running), Some(3), false, false, Some(Outcome::Stopped)),
            (Some(Outcome::Stopped), Some(3), false, false, Some(Outcome::Stopped)),
            (Some(Outcome::Done), Some(9), true, false, Some(Outcome::Done)),
            (Some(Outcome::Diverged), Some(3), false, false, Some(Outcome::Diverged)),
            (Some(Outcome::Failed), None, false, false, Some(Outcome::Failed)),
            (None, None, false, false, None),
            // Runs of earlier versions have no status.
            (None, Some(9), true, false, Some(Outcome::Done)),
            (None, Some(3), false, false, Some(Outcome::Stopped)),
            (None, Some(3), false, true, Some(Outcome::Running)),
        ] {
            assert_eq!(
                standing(outcome.map(status).as_ref(), step, at_end, || locked),
                expected,
                "{outcome:?} {step:?}"
            );
        }
        standing(Some(&status(Outcome::Done)), Some(9), true, || panic!("nobody can hold the lock"));
    }

    #[test]
    fn a_folder_that_is_called_latest_is_meant() {
        let folder = tempfile::tempdir().unwrap();
        let at = folder.path().join(LATEST);
        let error = named(at.clone(), Path::new("runs")).unwrap_err();
        assert!(error.exit_code() == 3 && error.to_string().contains("a run with a checkpoint"), "{error}");
        fs::create_dir(&at).unwrap();
        assert_eq!(named(at.clone(), Path::new("runs")).unwrap(), at);
        assert_eq!(named("any/other".into(), Path::new("runs")).unwrap(), Path::new("any/other"));
    }
}
