//! Checkpoints: `checkpoints/000200/{model.safetensors, optim.safetensors, state.json}`.
//!
//! A checkpoint is written into a temporary folder beside its target, brought to the disk file by file, and renamed
//! into place; only then are older ones removed. So a crash at any moment, and a full disk, leave a checkpoint that
//! loads. Where a step's folder is written again (a resumed run reaches the same step), the old one is renamed aside
//! first; a crash between the two renames leaves it under its name aside, where [`newest_valid`] finds it and the next
//! [`save`] puts it back.
//!
//! The same checkpoint gives the same bytes in all three files.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::atomic::{self, Temporary};
use super::state::{self, FileEntry, Files, MODEL, OPTIM, State};
use super::tensors::{self, Tensor};
use crate::error::{Error, Result};
use crate::units::bytes;

/// Prefix of the name of a folder that was renamed aside: `.old-<step>-<process>-<count>`.
const ASIDE: &str = ".old-";

const STATE: &str = "state.json";

/// Everything that a run needs to go on as if it had never stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The nets, their running statistics, and the EMA. Loaded in order of the names.
    pub model: Vec<Tensor>,
    /// The moments of the optimisers. Loaded in order of the names.
    pub optim: Vec<Tensor>,
    /// All that is not a tensor.
    pub state: State,
}

/// Saves a checkpoint as `checkpoints/<step>`, then removes all but the `keep` newest (0 keeps all), and returns the
/// folder. Checkpoints of later steps, which only a run that went back can meet, are neither counted nor removed.
///
/// # Errors
/// [`Error::Diverged`] for a value that is not finite, and [`Error::Io`] where the disk is full or refuses: the
/// checkpoints that were there are then as before. [`Error::Internal`] where names, shapes or the state make no sense.
pub fn save(checkpoints: &Path, checkpoint: &Checkpoint, keep: usize) -> Result<PathBuf> {
    let contents = contents(checkpoint)?;
    fs::create_dir_all(checkpoints).map_err(|e| Error::io(checkpoints, "create the folder", e))?;
    recover(checkpoints);

    let step = checkpoint.state.step;
    let target = checkpoints.join(folder_name(step));
    let temporary = Temporary::folder(&target)?;
    let needed = contents.iter().map(|(_, bytes)| bytes.len() as u64).sum();
    for (name, bytes) in &contents {
        atomic::write_synced(&temporary.path().join(name), bytes)
            .map_err(|e| Error::io(target.join(name), "write", atomic::with_needed_bytes(e, needed)))?;
    }
    atomic::sync_folder(temporary.path())?;
    put_in_place(temporary, &target)?;

    atomic::write_file(&checkpoints.join("latest"), format!("{}\n", folder_name(step)).as_bytes())?;
    remove_older(checkpoints, step, keep)?;
    Ok(target)
}

/// Loads one checkpoint and verifies it: the state's fields, the files' lengths and sha256, the tensors' headers and
/// values.
///
/// # Errors
/// [`Error::BadData`] with what was expected and what was found; [`Error::Io`] where the system refuses to read.
pub fn load(folder: &Path) -> Result<Checkpoint> {
    let (model, state) = load_model(folder)?;
    let optim = load_tensors(&folder.join(OPTIM), &state.files.optim)?;
    Ok(Checkpoint { model, optim, state })
}

/// Loads and verifies what drawing needs: the model and the state, not the moments of the optimisers.
///
/// # Errors
/// Those of [`load`].
pub fn load_model(folder: &Path) -> Result<(Vec<Tensor>, State)> {
    let path = folder.join(STATE);
    let state = State::from_json(&path, &read_file(&path, state::MAX_BYTES)?)?;
    if let Some(step) = folder.file_name().and_then(|name| step_of(name.to_str()?))
        && step != state.step
    {
        let expected = format!("step {step}, as the folder's name says");
        return Err(Error::bad_data(&path, expected, format!("step {}", state.step)));
    }
    let model = load_tensors(&folder.join(MODEL), &state.files.model)?;
    Ok((model, state))
}

/// Finds and loads the newest checkpoint that is whole. Returns its folder, the checkpoint, and a line for each newer
/// one that was passed over and why. The file `latest` is for people and scripts: it is not consulted.
///
/// # Errors
/// [`Error::BadData`] where none is valid; it says why of each.
pub fn newest_valid(checkpoints: &Path) -> Result<(PathBuf, Checkpoint, Vec<String>)> {
    newest(checkpoints, load)
}

/// The same for drawing, with [`load_model`]: a checkpoint without its moments is whole enough.
///
/// # Errors
/// Those of [`newest_valid`].
pub fn newest_model(checkpoints: &Path) -> Result<(PathBuf, (Vec<Tensor>, State), Vec<String>)> {
    newest(checkpoints, load_model)
}

fn newest<T>(checkpoints: &Path, load: impl Fn(&Path) -> Result<T>) -> Result<(PathBuf, T, Vec<String>)> {
    let mut candidates = candidates(checkpoints);
    loop {
        let mut passed_over = Vec::new();
        for (_, folder) in &candidates {
            match load(folder) {
                Ok(loaded) => return Ok((folder.clone(), loaded, passed_over)),
                Err(error) => passed_over.push(format!("passed over: {error}")),
            }
        }
        // A live run may have replaced, since they were listed, all the checkpoints that there were.
        let listed_now = self::candidates(checkpoints);
        if listed_now == candidates {
            return Err(none_valid(checkpoints, &passed_over));
        }
        candidates = listed_now;
    }
}

/// The steps of the checkpoints that are there, whole or not, in order.
pub fn steps(checkpoints: &Path) -> Vec<u64> {
    let mut steps: Vec<u64> = candidates(checkpoints).into_iter().map(|(step, _)| step).collect();
    steps.sort_unstable();
    steps.dedup();
    steps
}

/// Reads the state of the newest checkpoint whose `state.json` is whole, without its tensors; its folder, too.
///
/// # Errors
/// [`Error::BadData`] where there is none.
pub fn newest_state(checkpoints: &Path) -> Result<(PathBuf, State)> {
    let mut passed_over = Vec::new();
    for (_, folder) in candidates(checkpoints) {
        let path = folder.join(STATE);
        match read_file(&path, state::MAX_BYTES).and_then(|bytes| State::from_json(&path, &bytes)) {
            Ok(state) => return Ok((folder, state)),
            Err(error) => passed_over.push(error.to_string()),
        }
    }
    Err(none_valid(checkpoints, &passed_over))
}

fn none_valid(checkpoints: &Path, passed_over: &[String]) -> Error {
    let found = match passed_over {
        [] if !checkpoints.is_dir() => "no such folder".to_owned(),
        [] => "none".to_owned(),
        reasons => format!("{} that are not: {}", reasons.len(), reasons.join("; ")),
    };
    let error = Error::bad_data(checkpoints, "a checkpoint that is whole", found);
    error.with_hint("restore one from a copy, or start a new run with `train`")
}

/// The three files in the order in which they are written; the state last, since it vouches for the others.
fn contents(checkpoint: &Checkpoint) -> Result<[(&'static str, Vec<u8>); 3]> {
    for tensor in checkpoint.model.iter().chain(&checkpoint.optim) {
        if let Some((_, value)) = tensors::first_not_finite(tensor) {
            return Err(Error::Diverged {
                step: checkpoint.state.step,
                tensor: tensor.name.clone(),
                value: value.into(),
                advice: "no checkpoint was written; those before it are untouched".into(),
            });
        }
    }
    let model = tensors::encode(&checkpoint.model)?;
    let optim = tensors::encode(&checkpoint.optim)?;
    let files = Files { model: entry(&model), optim: entry(&optim) };
    let state = State { files, ..checkpoint.state.clone() }.to_json()?;
    Ok([(MODEL, model), (OPTIM, optim), (STATE, state.into_bytes())])
}

fn put_in_place(temporary: Temporary, target: &Path) -> Result<()> {
    if !target.exists() {
        temporary.rename_to(target)?;
        return atomic::sync_parent(target);
    }
    let aside = atomic::sibling(target, ASIDE);
    let rename = |from: &Path, to: &Path| fs::rename(from, to).map_err(|e| Error::io(from, "rename the folder", e));
    rename(target, &aside)?;
    if let Err(error) = temporary.rename_to(target) {
        rename(&aside, target)?;
        return Err(error);
    }
    atomic::sync_parent(target)?;
    atomic::remove_folder(&aside)
}

/// Puts back what a crash left aside without a successor, and removes what it left otherwise.
fn recover(checkpoints: &Path) {
    for (name, path) in atomic::entries(checkpoints) {
        let Some(target) = atomic::target_of(&name, ASIDE).filter(|target| step_of(target).is_some()) else { continue };
        let target = checkpoints.join(target);
        // What fails here is tried again by the next save, and does no harm until then.
        let _ = if target.exists() {
            atomic::remove_folder(&path)
        } else {
            fs::rename(&path, &target).map_err(|e| Error::io(path, "rename the folder", e))
        };
    }
    atomic::sweep(checkpoints);
}

fn remove_older(checkpoints: &Path, step: u64, keep: usize) -> Result<()> {
    if keep == 0 {
        return Ok(());
    }
    let steps = candidates(checkpoints).into_iter().filter(|&(other, _)| other <= step);
    for (_, folder) in steps.skip(keep) {
        atomic::remove_folder(&folder)?;
    }
    atomic::sync_folder(checkpoints)
}

/// All folders that should hold a checkpoint, newest first; those aside come after those in place.
fn candidates(checkpoints: &Path) -> Vec<(u64, PathBuf)> {
    let mut found: Vec<(u64, bool, PathBuf)> = Vec::new();
    for (name, path) in atomic::entries(checkpoints) {
        let aside = atomic::target_of(&name, ASIDE);
        if let Some(step) = step_of(aside.unwrap_or(&name)) {
            found.push((step, aside.is_none(), path));
        }
    }
    found.sort_by(|a, b| b.cmp(a));
    found.into_iter().map(|(step, _, path)| (step, path)).collect()
}

/// The name of the folder of a step's checkpoint.
pub fn folder_name(step: u64) -> String {
    format!("{step:06}")
}

/// The step that a folder's name says; `None` for any name that [`folder_name`] doesn't make.
pub(super) fn step_of(name: &str) -> Option<u64> {
    let step = name.parse().ok()?;
    (folder_name(step) == name).then_some(step)
}

fn entry(bytes: &[u8]) -> FileEntry {
    FileEntry { bytes: bytes.len() as u64, sha256: sha256(bytes) }
}

/// The SHA-256 of `bytes`, as 64 hexadecimal digits in lower case.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn load_tensors(path: &Path, expected: &FileEntry) -> Result<Vec<Tensor>> {
    let bytes = read_file(path, expected.bytes)?;
    if bytes.len() as u64 != expected.bytes {
        let found = format!("{} bytes", bytes.len());
        return Err(Error::bad_data(path, format!("{} bytes, as state.json says", expected.bytes), found));
    }
    let found = sha256(&bytes);
    if found != expected.sha256 {
        return Err(Error::bad_data(path, format!("sha256 {}, as state.json says", expected.sha256), found));
    }
    tensors::decode(path, &bytes)
}

fn read_file(path: &Path, most: u64) -> Result<Vec<u8>> {
    let metadata = match fs::metadata(path) {
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(Error::bad_data(path, "a file of a checkpoint", "no such file"));
        }
        other => other.map_err(|e| Error::io(path, "read", e))?,
    };
    if !metadata.is_file() {
        return Err(Error::bad_data(path, "a file of a checkpoint", "something that is not a file"));
    }
    if metadata.len() > most {
        return Err(Error::bad_data(path, format!("at most {}", bytes(most)), bytes(metadata.len())));
    }
    fs::read(path).map_err(|e| Error::io(path, "read", e))
}
