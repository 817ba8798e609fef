//! `list`: the runs of a folder, how far each is and how it stands.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;

use super::output::{self, to_stderr};
use super::survey::{self, Survey, runs_in};
use super::text_table::aligned;
use crate::error::{Error, Result, readable_path};
use crate::run::Record;
use crate::run::env::utc;
use crate::run::progress::duration;
use crate::units::{bytes, grouped};

/// List the runs of a folder: step, state, last losses, size on disk
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda list
  vgan-cuda list runs/paper-cifar10
  vgan-cuda list --json

States: running (a process trains it), done, stopped (`resume` continues it), diverged, failed,
empty (without a checkpoint). Runs in subfolders, such as those of an experiment, are listed too.")]
pub(super) struct ListArgs {
    /// Folder of the runs
    #[arg(value_name = "DIR", default_value = "runs")]
    folder: PathBuf,

    /// Print one JSON object for each run instead of the table
    #[arg(long)]
    json: bool,
}

/// The options of `list`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ListOptions {
    /// Folder of the runs, or that of one.
    pub(crate) folder: PathBuf,
    /// JSON lines instead of a table.
    pub(crate) json: bool,
}

impl ListArgs {
    pub(super) fn resolve(self) -> ListOptions {
        ListOptions { folder: self.folder, json: self.json }
    }
}

/// Prints the list.
pub(super) fn run(options: ListOptions) -> Result<()> {
    let ListOptions { folder, json } = options;
    if !folder.is_dir() {
        let found = if folder.exists() { "a file" } else { "no such folder" };
        let error = Error::bad_data(&folder, "a folder with runs in it", found);
        return Err(error.with_hint("`vgan-cuda train` makes runs/; pass the --outdir that it was given"));
    }
    let runs: Vec<Survey> = runs_in(&folder).iter().map(Survey::of).collect();
    if runs.is_empty() {
        to_stderr(&format!("note: no runs in {}", readable_path(&folder)));
        return Ok(());
    }
    output::print(&if json { lines(&runs)? } else { table(&runs, &folder, SystemTime::now()) })
}

fn table(runs: &[Survey], folder: &Path, now: SystemTime) -> String {
    let mut rows =
        vec![["run", "preset", "state", "step", "loss D", "loss G", "saved", "size"].map(String::from).to_vec()];
    rows.extend(runs.iter().map(|run| row(run, folder, now).to_vec()));
    aligned(&rows, 3, output::terminal_columns())
}

fn row(run: &Survey, folder: &Path, now: SystemTime) -> [String; 8] {
    let name = run.path.strip_prefix(folder).ok().filter(|name| !name.as_os_str().is_empty()).unwrap_or(&run.path);
    let of = run.steps.map(|steps| format!("/{}", grouped(steps))).unwrap_or_default();
    let loss =
        |value: fn(&Record) -> f64| run.last.as_ref().map_or_else(|| "-".into(), |last| format!("{:.4}", value(last)));
    let age = run.saved.map(|saved| match now.duration_since(saved) {
        Ok(age) => format!("{} ago", duration(age)),
        // The clock of another machine.
        Err(_) => "now".into(),
    });
    [
        readable_path(name),
        readable_path(run.preset.as_deref().unwrap_or("-")),
        survey::word(run.standing).to_string(),
        format!("{}{of}", grouped(run.step)),
        loss(|last| last.loss_d),
        loss(|last| last.loss_g),
        age.unwrap_or_else(|| "-".into()),
        bytes(run.bytes),
    ]
}

/// A JSON object a run, one a line. What is not known is `null`.
fn lines(runs: &[Survey]) -> Result<String> {
    #[derive(Serialize)]
    struct Line<'a> {
        run: String,
        preset: Option<&'a str>,
        state: &'static str,
        step: u64,
        steps: Option<u64>,
        loss_d: Option<f64>,
        loss_g: Option<f64>,
        elapsed_s: Option<f64>,
        /// In UTC.
        saved: Option<String>,
        bytes: u64,
        message: Option<&'a str>,
    }
    let mut text = String::new();
    for run in runs {
        let saved = run.saved.and_then(|saved| saved.duration_since(UNIX_EPOCH).ok());
        let line = Line {
            run: run.path.to_string_lossy().into_owned(),
            preset: run.preset.as_deref(),
            state: survey::word(run.standing),
            step: run.step,
            steps: run.steps,
            loss_d: run.last.map(|last| last.loss_d),
            loss_g: run.last.map(|last| last.loss_g),
            elapsed_s: run.last.map(|last| last.elapsed_s),
            saved: saved.map(|saved| utc(saved.as_secs())),
            bytes: run.bytes,
            message: run.message.as_deref(),
        };
        text += &output::json(&line)?;
    }
    Ok(text)
}
