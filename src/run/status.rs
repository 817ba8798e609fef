//! `status.json`: how a run stands. Written when a start begins to train and when it ends; `list` and `compare` show it.
//! Nothing that a run needs to go on is in it.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::atomic;
use crate::error::{Error, Result};

/// State of a run after its last start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// In one word.
    pub outcome: Outcome,
    /// Steps done when this was written.
    pub step: u64,
    /// Steps of the whole run.
    pub steps: u64,
    /// The message at the end, if it was an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// State of a run, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It trains, or its process died without a word.
    Running,
    /// It is at the end of its length.
    Done,
    /// A signal stopped it; it was saved.
    Stopped,
    /// Something was not finite any more.
    Diverged,
    /// Something else went wrong: the disk, the device.
    Failed,
}

impl Outcome {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Outcome::Running => "running",
            Outcome::Done => "done",
            Outcome::Stopped => "stopped",
            Outcome::Diverged => "diverged",
            Outcome::Failed => "failed",
        }
    }

    /// That of a run that this error ended.
    pub fn of(error: &Error) -> Self {
        match error {
            Error::Interrupted { .. } => Outcome::Stopped,
            Error::Diverged { .. } => Outcome::Diverged,
            _ => Outcome::Failed,
        }
    }
}

impl Status {
    /// Writes it to the file `path`.
    ///
    /// # Errors
    /// [`Error::Io`] where the system refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::Internal(format!("status.json: {e}")))?;
        atomic::write_file(path, (text + "\n").as_bytes())
    }

    /// Reads it back. `None` where there is none, as in runs of earlier versions, or where it is damaged: what is known
    /// of the run then comes from its checkpoints.
    pub fn read(path: &Path) -> Option<Status> {
        serde_json::from_slice(&fs::read(path).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("status.json");
        assert_eq!(Status::read(&path), None);
        let status = Status { outcome: Outcome::Diverged, step: 7, steps: 12, message: Some("loss_d".into()) };
        status.write(&path).unwrap();
        assert_eq!(Status::read(&path), Some(status.clone()));
        Status { outcome: Outcome::Done, message: None, ..status }.write(&path).unwrap();
        assert!(!fs::read_to_string(&path).unwrap().contains("message"));
        fs::write(&path, "{").unwrap();
        assert_eq!(Status::read(&path), None);
    }

    #[test]
    fn an_error_has_its_outcome() {
        let interrupted = Error::Interrupted { signal: 2, name: "SIGINT", resume: String::new() };
        assert_eq!(Outcome::of(&interrupted), Outcome::Stopped);
        assert_eq!(Outcome::of(&Error::Failed(String::new())), Outcome::Failed);
    }
}
