//! The message and the record of a lost rank: by the process that finds it first, a rank or the one that started them.

use std::path::Path;

use crate::run::{LogFile, Outcome, RunFolder, Status, checkpoint};
use crate::shell;

/// The message about a loss in the run `run`, if there is one yet: what happened, the last checkpoint, and how to go on.
pub(super) fn message(what: &str, run: Option<&Path>) -> String {
    let newest = run.and_then(|run| {
        let folder = RunFolder::open(run).ok()?;
        let (_, state) = checkpoint::newest_state(&folder.checkpoints_path()).ok()?;
        Some((state.step, run))
    });
    match newest {
        Some((step, run)) => format!(
            "{what}; the last checkpoint is of step {step}: continue with `vgan-cuda resume {}`",
            shell::path(run)
        ),
        None => format!("{what}, before there was a checkpoint"),
    }
}

/// Keeps it with the run: in its log and as its state. Nothing depends on that, so a disk that refuses is no reason for another message.
pub(super) fn keep(message: &str, run: &Path) {
    let Ok(folder) = RunFolder::open(run) else { return };
    let _ = LogFile::open(&folder.log_path()).and_then(|mut log| log.line(&format!("error: {message}")));
    let path = folder.status_path();
    let step = checkpoint::newest_state(&folder.checkpoints_path()).map_or(0, |(_, state)| state.step);
    let status = Status::read(&path);
    let steps = status.map_or(step, |status| status.steps);
    let _ = Status { outcome: Outcome::Failed, step, steps, message: Some(message.into()) }.write(&path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loss_before_the_first_checkpoint_says_so() {
        let text = message("rank 1 died", None);
        assert_eq!(text, "rank 1 died, before there was a checkpoint");
        let outdir = tempfile::tempdir().unwrap();
        assert_eq!(message("rank 1 died", Some(outdir.path())), text);
        keep("nothing", outdir.path());
        assert_eq!(std::fs::read_dir(outdir.path()).unwrap().count(), 0);
    }
}
