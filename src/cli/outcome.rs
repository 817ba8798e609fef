//! The last line of `train` and `resume` on standard output: a sentence, or with `--json` an object.

use serde::Serialize;

use super::output;
use crate::error::{Error, Result};
use crate::run::{LogFile, Record, RunFolder, checkpoint, stats};
use crate::shell;

/// Facts about a finished run, for scripts. Paths are absolute.
#[derive(Debug, Serialize)]
struct Outcome {
    /// The run's folder.
    run: String,
    /// Always `done`: every other end of a run is an error with an exit code.
    state: &'static str,
    /// Steps done.
    step: u64,
    /// Seconds of training over all starts (saving not counted).
    seconds: Option<f64>,
    /// The newest checkpoint.
    checkpoint: String,
    /// The last record of `stats.jsonl`.
    last: Option<Record>,
    /// The command that draws samples.
    sample: String,
}

/// Says that the run in `folder` is done and how to sample from it; as a line of JSON where `json` asks for that.
pub(super) fn tell(folder: &RunFolder, json: bool) -> Result<()> {
    let sample = |path: &str| format!("vgan-cuda generate {path} --seeds 0-63 --grid");
    let line = format!("done; draw samples with: {}", sample(&shell::path(folder.path())));
    LogFile::open(&folder.log_path())?.line(&line)?;
    if !json {
        return output::print(&(line + "\n"));
    }
    let absolute = std::path::absolute(folder.path()).map_err(|error| Error::io(folder.path(), "find", error))?;
    let (checkpoint, state) = checkpoint::newest_state(&RunFolder::open(&absolute)?.checkpoints_path())?;
    let last = stats::read(&folder.stats_path())?.pop();
    output::print(&output::json(&Outcome {
        run: absolute.to_string_lossy().into_owned(),
        state: "done",
        step: state.step,
        seconds: last.map(|record| record.elapsed_s).filter(|seconds| seconds.is_finite()),
        checkpoint: checkpoint.to_string_lossy().into_owned(),
        last,
        sample: sample(&shell::path(&absolute)),
    })?)
}
