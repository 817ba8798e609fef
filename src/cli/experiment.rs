//! `experiment`: trains the runs of a file one after another, and compares them.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{DeviceArgs, on_device};
use super::compare::{self, CompareOptions, matrix};
use super::dry_run::image_extent;
use super::output::{self, to_stderr};
use super::ranks;
use super::ranks::join::Ranks;
use super::resuming::{Found, resume};
use super::target::target_parser;
use super::text_table::aligned;
use super::train::{absolute, locate, parse_minutes};
use super::training::{load_images, train};
use crate::config::{
    self, DataSettings, Difference, ExperimentRun, Override, Settings, differences, preset, read_experiment,
    validate_for_images,
};
use crate::data::Extent;
use crate::error::{Error, Result, readable_path};
use crate::nn::ImageShape;
use crate::run::{RunFolder, State, checkpoint, stats};
use crate::shell;
use crate::train::Interrupt;
use crate::train::plan::Plan;
use crate::train::snapshot::{DataIdentity, require_same_images};
use crate::units::grouped;

/// Train all runs of an experiment file, one after another, and compare them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda experiment experiments/paper-cifar10.toml --dry-run
  vgan-cuda experiment experiments/paper-cifar10.toml --data data/cifar10 --minutes 10
  vgan-cuda experiment mine.toml --outdir runs/mine-2 --set train.seed=2

After an interruption, run the same command again: it skips finished runs, continues the interrupted
one, and trains the rest. A larger --steps or --minutes makes all runs longer. If one run diverges,
the others are still trained.")]
pub(super) struct ExperimentArgs {
    /// TOML file with a [[run]] section for each run
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Folder for the runs and the comparison [default: runs/ and the file's name]
    #[arg(long, value_name = "DIR", value_parser = target_parser())]
    outdir: Option<PathBuf>,

    /// Images of every run, as `train` takes them [default: the file's]
    #[arg(long, value_name = "PATH|glyphs")]
    data: Option<String>,

    /// Length of every run in steps [default: the file's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    steps: Option<u64>,

    /// Training time of every run in minutes at most, saving not counted [default: the file's]
    #[arg(long, value_name = "M", value_parser = parse_minutes)]
    minutes: Option<f64>,

    /// Change any setting in every run, as section.key=value; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print the runs, their progress and their settings, without training
    #[arg(long)]
    dry_run: bool,
}

/// The options of `experiment`, complete and checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ExperimentOptions {
    /// The experiment's file, for messages.
    pub(crate) file: PathBuf,
    /// The runs, in order; each `data.source` is `glyphs` or an absolute path.
    pub(crate) runs: Vec<ExperimentRun>,
    /// The folder that gets the runs' folders.
    pub(crate) outdir: PathBuf,
    /// The device, and how it is opened.
    pub(crate) device: DeviceArgs,
    /// Only print what would be done.
    pub(crate) dry_run: bool,
}

impl ExperimentArgs {
    /// Preset, then what the file's runs share, then the run's own, then flags, then `--set`, then validation.
    pub(super) fn resolve(self) -> Result<ExperimentOptions> {
        let mut overrides = Vec::new();
        overrides.extend(self.data.as_ref().map(|data| Override::flag("--data", "data.source", data)));
        overrides.extend(self.steps.map(|steps| Override::flag("--steps", "train.steps", steps)));
        overrides.extend(self.minutes.map(|minutes| Override::flag("--minutes", "train.minutes", minutes)));
        for text in &self.set {
            overrides.push(Override::parse(text)?);
        }
        let mut runs = read_experiment(&self.file, &overrides)?;
        for run in &mut runs {
            run.settings.data.source = locate(&run.settings, &run.preset)?;
            run.settings.train.init = absolute(&run.settings.train.init)?;
        }
        let name = self.file.file_stem().unwrap_or(self.file.as_os_str());
        let outdir = self.outdir.unwrap_or_else(|| Path::new("runs").join(name));
        Ok(ExperimentOptions { file: self.file, runs, outdir, device: self.device, dry_run: self.dry_run })
    }
}

/// Progress of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// There is no folder.
    New,
    /// It was stopped, or is to become longer.
    Stopped(u64),
    /// It is at its end.
    Done(u64),
}

/// Trains what is left of all runs, and compares them.
pub(super) fn run(options: ExperimentOptions) -> Result<()> {
    if let Some(started) = ranks::environment::started(&ranks::environment::variable)? {
        return Err(Error::Usage(format!(
            "`experiment` trains its runs in one process, and this is rank {} of {}: start it once, or train each run with `train`",
            started.rank, started.world
        )));
    }
    // All of it is checked before the first run begins: nobody waits an hour for a mistake in the last one.
    let lengths = lengths(&options.runs)?;
    let mut moved = Moved::default();
    let progress = |(run, length): (&ExperimentRun, &Length)| progress(run, length.images, &options, &mut moved);
    let progress = options.runs.iter().zip(&lengths).map(progress).collect::<Result<Vec<_>>>()?;
    if options.dry_run {
        return output::print(&plan(&options, &lengths, &progress)?);
    }
    let interrupt = Interrupt::listen()?;
    let mut diverged = None;
    for (index, (run, done)) in options.runs.iter().zip(progress).enumerate() {
        if let Some((signal, name)) = interrupt.arrived() {
            return Err(Error::Interrupted { signal, name, resume: same_command() });
        }
        to_stderr(&format!("{} of {}: {}, {}", index + 1, options.runs.len(), run.name, describe(done)));
        match one(run, done, &options, &interrupt) {
            Err(Error::Interrupted { signal, name, .. }) => {
                return Err(Error::Interrupted { signal, name, resume: same_command() });
            }
            Err(error @ Error::Diverged { .. }) => {
                to_stderr(&format!("warning: run `{}` stops here: {error}", run.name));
                diverged = diverged.or(Some(error));
            }
            other => other?,
        }
    }
    let runs = options.runs.iter().map(|run| options.outdir.join(&run.name)).collect();
    let output = options.outdir.join("compare");
    compare::run(CompareOptions { runs, output, smooth: 1, json: false })?;
    diverged.map_or(Ok(()), Err)
}

/// Trains what is left of one run.
fn one(run: &ExperimentRun, done: Progress, options: &ExperimentOptions, interrupt: &Interrupt) -> Result<()> {
    let ExperimentOptions { outdir, device, .. } = options;
    let begin = |_: &RunFolder| Ok(interrupt.clone());
    match done {
        Progress::Done(_) => {}
        Progress::Stopped(_) => {
            let found = Found::run(RunFolder::open(&outdir.join(&run.name))?, true)?;
            resume(found, |settings| Ok(with_length_and_place_of(run, settings)), *device, begin)?;
        }
        Progress::New => {
            let opened = device.open_in(run.settings.train.dtype)?;
            let threads = opened.threads();
            let folder = || RunFolder::create_named(outdir, &run.name);
            let settings = run.settings.clone();
            let alone = Ranks::alone();
            on_device!(opened, |backend| train(
                (backend, *device, threads),
                &alone,
                settings,
                &run.preset,
                folder,
                begin
            ))?;
        }
    }
    Ok(())
}

/// The size of a run's data set, and what follows from it.
struct Length {
    images: usize,
    steps: u64,
}

/// Holds the settings of all runs against their images, which are read once where runs share them.
fn lengths(runs: &[ExperimentRun]) -> Result<Vec<Length>> {
    let mut known: Vec<(&DataSettings, Extent)> = Vec::new();
    let mut lengths = Vec::new();
    for ExperimentRun { name, settings, .. } in runs {
        let key = |data: &DataSettings| (data.source.clone(), data.resize, data.channels);
        let images = match known.iter().find(|(data, _)| key(data) == key(&settings.data)) {
            Some((_, images)) => *images,
            None => image_extent(settings)?,
        };
        known.push((&settings.data, images));
        let of_run = |error| match error {
            Error::Usage(text) => Error::Usage(format!("run `{name}`: {text}")),
            other => other,
        };
        validate_for_images(settings, images.shape).map_err(of_run)?;
        let steps = Plan::new(settings, images.count).map_err(of_run)?.total;
        lengths.push(Length { images: images.count, steps });
    }
    Ok(lengths)
}

/// Looks into the run's folder, if it is there.
///
/// # Errors
/// [`Error::BadData`] where the folder is no run, or one of other settings.
fn progress(run: &ExperimentRun, images: usize, options: &ExperimentOptions, moved: &mut Moved) -> Result<Progress> {
    let path = options.outdir.join(&run.name);
    if !path.exists() {
        return Ok(Progress::New);
    }
    let hint = "move the folder away to train the run anew, or pass another --outdir";
    let folder = RunFolder::open(&path).map_err(|error| error.with_hint(hint))?;
    let found = config::read(folder.config_path(), &Settings::default())?;
    if let Some(Difference { key, values }) =
        differences(&[&with_length_and_place_of(run, &found), &run.settings])?.first()
    {
        let expected = format!("a run with {key} = {}, as {} has it now", values[1], readable_path(&options.file));
        return Err(Error::bad_data(path, expected, format!("one with {}", values[0])).with_hint(hint));
    }
    let newest = checkpoint::newest_valid(&folder.checkpoints_path()).map_err(|error| error.with_hint(hint))?;
    let step = newest.1.state.step;
    if found.data.source != run.settings.data.source {
        moved.require_same(&run.settings, &newest.1.state, &newest.0).map_err(|error| error.with_hint(hint))?;
    }
    // Records after the checkpoint are of steps that are done again.
    let records = stats::read(&folder.stats_path())?;
    let elapsed = records.iter().rfind(|record| record.step <= step).map_or(0.0, |record| record.elapsed_s);
    let done = Plan::is_done(&run.settings, images, step, elapsed)?;
    Ok(if done { Progress::Done(step) } else { Progress::Stopped(step) })
}

/// Images that lie elsewhere than when the runs began, each set read once.
#[derive(Default)]
struct Moved(Vec<(DataSettings, ImageShape, DataIdentity)>);

impl Moved {
    /// Refuses other images than those of the checkpoint in the folder `path`.
    fn require_same(&mut self, settings: &Settings, state: &State, path: &Path) -> Result<()> {
        let place = match self.0.iter().position(|(data, ..)| *data == settings.data) {
            Some(place) => place,
            None => {
                let images = load_images(settings)?;
                self.0.push((settings.data.clone(), images.shape(), DataIdentity::of(&images)));
                self.0.len() - 1
            }
        };
        let (_, image, identity) = &self.0[place];
        require_same_images(settings, *image, identity, state, path)
    }
}

/// The settings of a run's folder with the length that the experiment asks for, and its images where it says they are: these
/// alone may change. The number of classes is that of the images where the experiment names none.
fn with_length_and_place_of(run: &ExperimentRun, found: &Settings) -> Settings {
    let mut settings = found.clone();
    let wanted = &run.settings.train;
    (settings.train.steps, settings.train.epochs) = (wanted.steps, wanted.epochs);
    settings.train.minutes = wanted.minutes;
    settings.data.source.clone_from(&run.settings.data.source);
    if run.settings.nets.classes == 0 {
        // The run has taken it from its images.
        settings.nets.classes = 0;
    }
    settings
}

fn describe(progress: Progress) -> String {
    match progress {
        Progress::New => "new".into(),
        Progress::Stopped(step) => format!("goes on from step {}", grouped(step)),
        Progress::Done(step) => format!("done at step {}", grouped(step)),
    }
}

/// The runs, and every setting in which one of them differs from another or from its preset.
fn plan(options: &ExperimentOptions, lengths: &[Length], progress: &[Progress]) -> Result<String> {
    let runs = &options.runs;
    let mut rows = vec![["#", "run", "preset", "state", "length"].map(String::from).to_vec()];
    for (index, ((run, length), done)) in runs.iter().zip(lengths).zip(progress).enumerate() {
        let minutes = run.settings.train.minutes;
        let limit = if minutes > 0.0 { format!(", at most {minutes} minutes") } else { String::new() };
        let length = format!("{} steps{limit}", grouped(length.steps));
        rows.push(vec![(index + 1).to_string(), run.name.clone(), run.preset.clone(), describe(*done), length]);
    }
    let presets = runs.iter().map(|run| preset(&run.preset)).collect::<Result<Vec<_>>>()?;
    let settings: Vec<&Settings> = presets.iter().chain(runs.iter().map(|run| &run.settings)).collect();
    let mut changed = differences(&settings)?;
    changed.iter_mut().for_each(|one| drop(one.values.drain(..runs.len())));
    let table = aligned(&rows, rows[0].len(), output::terminal_columns());
    let heading = format!("{} into {}", readable_path(&options.file), readable_path(&options.outdir));
    Ok(format!(
        "{heading}\n\n{table}{}",
        matrix("settings not all as in the presets", &changed, runs.len(), output::terminal_columns())
    ))
}

/// The command that goes on with an interrupted experiment: this one.
fn same_command() -> String {
    let words = std::env::args_os().skip(1).map(shell::word);
    ["vgan-cuda".to_string()].into_iter().chain(words).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;
    use crate::cli::arguments::DeviceChoice;

    fn options(file: &Path, words: &str) -> Result<ExperimentOptions> {
        let words = ["vgan-cuda", "experiment"].into_iter().chain(words.split_whitespace());
        let words = words.map(Into::into).chain([file.as_os_str().to_owned()]);
        match Cli::try_parse_from(words).map(|cli| cli.command) {
            Ok(Command::Experiment(args)) => args.resolve(),
            other => Err(Error::Usage(format!("{other:?}"))),
        }
    }

    #[test]
    fn flags_go_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("two.toml");
        std::fs::write(&file, "preset = \"vgan-mnist\"\nsettings.train.minutes = 5\n[[run]]\nname = \"a\"\n").unwrap();
        assert!(options(&file, "").unwrap_err().to_string().contains("--data PATH"));
        let words = "--data glyphs --minutes 0.5 --steps 7 --set batch=9 --device cpu --threads 2 --dry-run";
        let found = options(&file, words).unwrap();
        let (train, data) = (&found.runs[0].settings.train, &found.runs[0].settings.data);
        assert_eq!((train.steps, train.minutes, train.batch, data.source.as_str()), (7, 0.5, 9, "glyphs"));
        assert_eq!((found.outdir, found.dry_run), (PathBuf::from("runs/two"), true));
        assert_eq!((found.device.device, found.device.threads), (DeviceChoice::Cpu, Some(2)));
        let found = options(&file, "--data glyphs --outdir elsewhere").unwrap();
        assert_eq!((found.runs[0].settings.train.minutes, found.outdir), (5.0, PathBuf::from("elsewhere")));
        for wrong in ["--minutes 0", "--steps 0", "--set x", "--data glyphs --set nothing=3"] {
            assert_eq!(options(&file, wrong).unwrap_err().exit_code(), 2, "{wrong}");
        }
    }
}
