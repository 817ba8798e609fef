//! A new run that goes on from a checkpoint of another one, which stays as it is.

use std::fs;
use std::path::Path;

use super::checkpoint::{self, Checkpoint};
use super::folder::number_of;
use super::state::Origin;
use super::{RunFolder, atomic, measured, picture_step, stats};
use crate::error::{Error, Result};

/// The most bytes of a run's name that an [`Origin`] holds.
const LONGEST_NAME: usize = 200;

/// Name of a run that continues from `step` of the run called `name`: `00003-vgan-mnist-b128` gives
/// `vgan-mnist-b128-from000020`, before which its own number comes, and behind which `description`, if there is one.
pub fn fork_name(name: &str, step: u64, description: Option<&str>) -> String {
    let is_number = |part: &str| number_of(part).is_some();
    let plain = match name.split_once('-') {
        Some((number, rest)) if is_number(number) => rest,
        _ if is_number(name) => "run",
        _ => name,
    };
    // A fork of a fork need not tell its whole descent.
    let fork = plain.rsplit_once("-from").filter(|(_, step)| checkpoint::step_of(step).is_some());
    let plain = fork.map_or(plain, |(plain, _)| plain);
    let word = description.map(|word| format!("-{word}")).unwrap_or_default();
    let suffix = format!("-from{}{word}", checkpoint::folder_name(step));
    let kept: String = plain.chars().take(super::folder::MAX_DESCRIPTION.saturating_sub(suffix.len())).collect();
    kept + &suffix
}

/// Says in a checkpoint's state that another run begins with it; `name` is that of the run that wrote it.
pub fn set_origin(checkpoint: &mut Checkpoint, name: &str) {
    let plain = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    let mut run: String = name.chars().map(plain).collect();
    while run.len() > LONGEST_NAME {
        run.pop();
    }
    let run = if run.is_empty() { "-".to_string() } else { run };
    let state = &mut checkpoint.state;
    state.origin = Some(Origin { run, step: state.step, model_sha256: state.files.model.sha256.clone() });
}

/// Fills the new folder `to`, up to the checkpoint's step: the checkpoint itself and, of the run `from`, where it is
/// known, records and pictures.
///
/// # Errors
/// [`Error::BadData`] where the records of `from` are none; [`Error::Io`] where the system refuses.
pub fn fill(to: &RunFolder, from: Option<&RunFolder>, checkpoint: &Checkpoint) -> Result<()> {
    let step = checkpoint.state.step;
    if let Some(from) = from {
        atomic::write_file(&to.stats_path(), stats::text_up_to(&from.stats_path(), step)?.as_bytes())?;
        let metrics = measured::text_up_to(&from.metrics_path(), step)?;
        if !metrics.is_empty() {
            atomic::write_file(&to.metrics_path(), metrics.as_bytes())?;
        }
        copy_pictures(from.path(), to.path(), step)?;
    }
    checkpoint::save(&to.checkpoints_path(), checkpoint, 0).map(drop)
}

/// Copies the pictures of a run that are not of a later step.
fn copy_pictures(from: &Path, to: &Path, step: u64) -> Result<()> {
    for (name, path) in atomic::entries(from) {
        let is_wanted = match name.as_str() {
            "reals.png" | "fakes_init.png" => true,
            _ => picture_step(&name).is_some_and(|of| of <= step),
        };
        if is_wanted && path.is_file() {
            fs::copy(&path, to.join(&name)).map_err(|error| Error::io(&path, "copy", error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_where_a_run_went_on_from() {
        for (name, description, expected) in [
            ("00003-vgan-mnist-b128", None, "vgan-mnist-b128-from000020"),
            ("00003-vgan-mnist-b128", Some("slower"), "vgan-mnist-b128-from000020-slower"),
            ("00004-quick-b64-from000300", None, "quick-b64-from000020"),
            ("vgan", None, "vgan-from000020"),
            ("00007", None, "run-from000020"),
            ("a-from-b", None, "a-from-b-from000020"),
        ] {
            assert_eq!(fork_name(name, 20, description), expected);
        }
        let long = fork_name(&"x".repeat(300), 20, Some("y"));
        assert!(long.len() == 100 && long.ends_with("x-from000020-y"), "{long}");
    }
}
