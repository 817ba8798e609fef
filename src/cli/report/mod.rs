//! `report`: a page in HTML on a run or several; its records for TensorBoard.

mod gather;
mod nearest;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

pub(super) use self::gather::{Pictures, gather, page};
use self::nearest::TrainingImages;
use super::compare::descended;
use super::output::{self, to_stderr};
use super::survey::named;
use super::target::{require_ours, target_parser};
use crate::error::{Error, Result, readable_path};
use crate::run::report::{MARK, Page, Room, Run};
use crate::run::{RunFolder, events, write_file};

/// Write one HTML file on a run: curves, samples over the steps, nearest training images, settings
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda report latest
  vgan-cuda report runs/00000-quick-b64 --output quick.html
  vgan-cuda report runs/00000-vgan runs/00001-gan --output both.html
  vgan-cuda report runs/* --tensorboard board

The file needs no other file and no network; any browser shows it. Several runs are laid over each
other: curves, a table, newest samples. A run that is still going, or of another version of the
program, is shown as far as it can be read. A folder of runs stands for all runs in it.")]
pub(super) struct ReportArgs {
    /// Folders of runs, or folders that contain runs; `latest` is the run in runs/ that was trained last
    #[arg(value_name = "RUN|latest", required = true)]
    runs: Vec<PathBuf>,

    /// HTML file to write [default: report.html, in the run's folder if there is one run]
    #[arg(long, value_name = "FILE", value_parser = target_parser())]
    output: Option<PathBuf>,

    /// Write events for TensorBoard in the place of the page, into a folder of this one for each run
    #[arg(long, value_name = "DIR", conflicts_with_all = ["output", "data", "no_nearest"], value_parser = target_parser())]
    tensorboard: Option<PathBuf>,

    /// Path of the training images, to find the nearest ones [default: the run's path]
    #[arg(long, value_name = "PATH|glyphs", conflicts_with = "no_nearest")]
    data: Option<String>,

    /// Do not read the data set, and leave out the nearest training images
    #[arg(long)]
    no_nearest: bool,
}

/// The options of `report`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReportOptions {
    /// The runs' folders, or folders of runs.
    pub(crate) runs: Vec<PathBuf>,
    /// HTML file to write; `None` is report.html in the folder of the only run, or here.
    pub(crate) output: Option<PathBuf>,
    /// The folder that gets events for TensorBoard, in the place of the page.
    pub(crate) tensorboard: Option<PathBuf>,
    /// The place where training images are looked for, if they are.
    pub(crate) images: TrainingImages,
}

impl ReportArgs {
    pub(super) fn resolve(self) -> Result<ReportOptions> {
        let ReportArgs { runs, output, tensorboard, data, no_nearest } = self;
        let name = |run: PathBuf| named(run, Path::new("runs"));
        let images = match (data, no_nearest) {
            (_, true) => TrainingImages::None,
            (Some(path), _) => TrainingImages::At(path),
            (None, _) => TrainingImages::OfTheRun,
        };
        let runs = runs.into_iter().map(name).collect::<Result<_>>()?;
        Ok(ReportOptions { runs, output, tensorboard, images })
    }
}

/// Room for the pictures of the only run.
const ROOM: Room = Room { pictures: 40, bytes: 12 << 20 };
/// Room for the pictures of all runs where there are several: the newest of each is shown in any case.
const ONE_OF_SEVERAL: Room = Room { pictures: 1, bytes: 0 };

/// Writes the page.
pub(super) fn run(options: ReportOptions) -> Result<()> {
    let ReportOptions { runs: paths, output, tensorboard, images } = options;
    let folders = folders(&paths)?;
    if let Some(to) = tensorboard {
        return export_events(&folders, &to);
    }
    let output = output.unwrap_or_else(|| match &folders[..] {
        [folder] => folder.path().join("report.html"),
        _ => "report.html".into(),
    });
    require_ours(&output, MARK)?;
    let page = match &folders[..] {
        [folder] => {
            let mut run = gather(folder, Pictures::Embedded(ROOM));
            match nearest::of(folder, &images) {
                Ok(found) => run.nearest = found,
                Err(error) => run.notes.push(format!("without the nearest training images: {error}")),
            }
            page(vec![run], &[])
        }
        several => {
            let mut runs: Vec<Run> =
                several.iter().map(|folder| gather(folder, Pictures::Embedded(ONE_OF_SEVERAL))).collect();
            tell_apart(&mut runs, several);
            page(runs, several)
        }
    };
    for run in &page.runs {
        run.notes.iter().for_each(|note| to_stderr(&format!("note: {}: {note}", run.name)));
    }
    write(&output, &page)?;
    output::print(&format!("report  {}\n", readable_path(&output)))
}

/// Writes the events of each run into a folder of its name.
fn export_events(folders: &[RunFolder], to: &Path) -> Result<()> {
    let mut runs: Vec<Run> = folders.iter().map(|folder| gather(folder, Pictures::Served)).collect();
    tell_apart(&mut runs, folders);
    let mut text = String::new();
    for (folder, run) in folders.iter().zip(runs) {
        // A path that tells runs apart becomes one name.
        let path = events::export(folder, &to.join(run.name.replace('/', "-")))?;
        text += &format!("events  {}\n", readable_path(&path));
    }
    output::print(&text)
}

fn write(output: &Path, page: &Page) -> Result<()> {
    if let Some(folder) = output.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|error| Error::io(folder, "create the folder", error))?;
    }
    write_file(output, page.html()?.as_bytes())
}

/// The folders of all runs, each once. What is no run is said to the user and left out.
///
/// # Errors
/// [`Error::BadData`] where no run is left; of a single path, why.
fn folders(paths: &[PathBuf]) -> Result<Vec<RunFolder>> {
    let (mut folders, mut seen, mut failures) = (Vec::new(), HashSet::new(), Vec::new());
    for path in &descended(paths) {
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.clone());
        if !seen.insert(canonical) {
            to_stderr(&format!("note: {} is named twice and counted once", readable_path(path)));
            continue;
        }
        match RunFolder::open(path) {
            Ok(folder) => folders.push(folder),
            Err(error) => failures.push(error),
        }
    }
    if folders.is_empty() && !failures.is_empty() {
        return Err(failures.remove(0));
    }
    failures.iter().for_each(|error| to_stderr(&format!("warning: left out: {error}")));
    Ok(folders)
}

/// Runs of the same name in different folders get their paths.
fn tell_apart(runs: &mut [Run], folders: &[RunFolder]) {
    let names: Vec<String> = runs.iter().map(|run| run.name.clone()).collect();
    for (run, folder) in runs.iter_mut().zip(folders) {
        if names.iter().filter(|name| **name == run.name).count() > 1 {
            run.name = readable_path(folder.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn options(words: &str) -> Option<ReportOptions> {
        match Cli::try_parse_from(["vgan-cuda", "report"].into_iter().chain(words.split(' '))).ok()?.command {
            Command::Report(args) => args.resolve().ok(),
            _ => None,
        }
    }

    #[test]
    fn resolution() {
        let plain = options("a b").unwrap();
        assert_eq!(
            (plain.runs, plain.output, plain.images),
            (vec!["a".into(), "b".into()], None, TrainingImages::OfTheRun)
        );
        let given = options("a --output c.html --data d").unwrap();
        assert_eq!((given.output, given.images), (Some("c.html".into()), TrainingImages::At("d".into())));
        assert_eq!(options("a --no-nearest").unwrap().images, TrainingImages::None);
        assert_eq!(options("a --tensorboard b").unwrap().tensorboard, Some("b".into()));
        for wrong in ["", "a --output -", "a --no-nearest --data d", "a --output c --tensorboard b", "nowhere/latest"] {
            assert_eq!(options(wrong), None, "{wrong}");
        }
    }
}
