//! `resume`: goes on with a run from its newest checkpoint, as if it had never stopped, or from a chosen one in a new run.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use super::arguments::{DeviceArgs, on_device};
use super::details;
use super::eval::{checkpoint_of, evaluation};
use super::outcome;
use super::output::to_stderr;
use super::serve::{ServeArgs, serve};
use super::survey::named;
use super::target::target_parser;
use super::train::{detail, load_images, locate, parse_description, parse_minutes, require_memory, say};
use crate::config::{Override, Settings, apply, read_named, to_toml, validate};
use crate::data::Images;
use crate::error::{Error, Result, shown};
use crate::run::env::Environment;
use crate::run::{Checkpoint, RunFolder, RunLock, State, checkpoint, fork, write_file};
use crate::shell;
use crate::train::classes::with_classes;
use crate::train::load::{config_of, is_checkpoint};
use crate::train::plan::Plan;
use crate::train::revision::{Asked, Revision, revise};
use crate::train::snapshot::{DataIdentity, F32Executor, require_same_images};
use crate::train::{Interrupt, Session};

/// Continue a run from its newest checkpoint, or go back to an older one in a new run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda resume latest
  vgan-cuda resume runs/00000-quick-b64 --steps 3000
  vgan-cuda resume runs/00000-quick-b64 --set optimizer.generator_lr=1e-4
  vgan-cuda resume runs/00000-quick-b64 --data /elsewhere/images
  vgan-cuda resume latest --serve
  vgan-cuda resume runs/00000-quick-b64/checkpoints/000500 --set beta_step=1e-4 --desc slower

A run continues in its folder. A checkpoint, named by its folder or with --from, continues in a new
run beside the old one, which stays as it is. Changes by --set are recorded in log.txt and
state.json. Changes that would give the weights another meaning are rejected.")]
pub(super) struct ResumeArgs {
    /// Folder of the run or of a checkpoint; `latest` is the run that was trained last
    #[arg(value_name = "RUN|CHECKPOINT|latest")]
    run: PathBuf,

    /// Start a new run from the checkpoint of this step
    #[arg(long, value_name = "STEP")]
    from: Option<u64>,

    /// New length of the run in steps, counted from its start [default: the run's length]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64), conflicts_with = "epochs")]
    steps: Option<u64>,

    /// New length of the run in epochs, counted from its start [default: the run's length]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    epochs: Option<u64>,

    /// New limit of training time in minutes, counted from the run's start [default: the run's limit]
    #[arg(long, value_name = "M", value_parser = parse_minutes)]
    minutes: Option<f64>,

    /// New path of the run's images; they must have the same SHA-256 [default: the old path]
    #[arg(long, value_name = "PATH|glyphs")]
    data: Option<String>,

    /// Change a setting from here on, as section.key=value; can be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Folder for a new run, and the folder in which `latest` is searched [default: the run's own, or runs]
    #[arg(long, value_name = "DIR", value_parser = target_parser())]
    outdir: Option<PathBuf>,

    /// Word at the end of a new run folder's name
    #[arg(long, value_name = "WORD", value_parser = parse_description)]
    desc: Option<String>,

    #[command(flatten)]
    device: DeviceArgs,

    #[command(flatten)]
    serve: ServeArgs,

    /// Print one line of JSON at the end: the run's folder, steps, seconds, losses, checkpoint
    #[arg(long)]
    json: bool,
}

/// The options of `resume`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResumeOptions {
    /// The folder of a run or of a checkpoint.
    pub(crate) source: PathBuf,
    /// Length, images and settings, over those of the run.
    pub(crate) overrides: Vec<Override>,
    /// The folder that gets the folder of a new run; `None` is that of the old one.
    pub(crate) outdir: Option<PathBuf>,
    /// The user's word for the name of a new run's folder.
    pub(crate) description: Option<String>,
    /// The device, and how it is opened.
    pub(crate) device: DeviceArgs,
    /// Whether and where the run is served as a live page.
    pub(crate) serve: ServeArgs,
    /// End standard output with a line of JSON.
    pub(crate) json: bool,
}

impl ResumeArgs {
    pub(super) fn resolve(self) -> Result<ResumeOptions> {
        let mut overrides = Vec::new();
        overrides.extend(self.steps.map(|steps| Override::flag("--steps", "train.steps", steps)));
        overrides.extend(self.epochs.map(|epochs| Override::flag("--epochs", "train.epochs", epochs)));
        overrides.extend(self.minutes.map(|minutes| Override::flag("--minutes", "train.minutes", minutes)));
        overrides.extend(self.data.map(|data| Override::flag("--data", "data.source", data)));
        for text in &self.set {
            overrides.push(Override::parse(text)?);
        }
        let run = named(self.run, self.outdir.as_deref().unwrap_or(Path::new("runs")))?;
        let source = match self.from {
            Some(step) => checkpoint_of(&run, step)?,
            None => run,
        };
        if !is_checkpoint(&source) && self.desc.is_some() {
            return Err(Error::Usage(format!(
                "--desc names a new run, but {} continues in its own folder: omit --desc, or choose a checkpoint with --from STEP",
                shown(&source)
            )));
        }
        Ok(ResumeOptions {
            source,
            overrides,
            outdir: self.outdir,
            description: self.desc,
            device: self.device,
            serve: self.serve,
            json: self.json,
        })
    }
}

/// Continues the run.
pub(super) fn run(options: ResumeOptions) -> Result<()> {
    let ResumeOptions { source, overrides, outdir, description, device, serve: address, json } = options;
    let bound = address.bind()?;
    let change = |settings: &Settings| apply(settings, &overrides);
    let found = if is_checkpoint(&source) {
        Found::checkpoint(&source, outdir, description)?
    } else {
        Found::run(RunFolder::open(&source)?)?
    };
    // Answers as long as the run goes on.
    let mut server = None;
    let begin = |folder: &RunFolder| {
        server = bound.map(|bound| serve(bound, folder)).transpose()?;
        Interrupt::listen()
    };
    let folder = resume(found, change, device, begin)?;
    drop(server);
    outcome::tell(&folder, json)
}

/// A checkpoint to go on from, and where to.
pub(super) struct Found {
    /// Its folder.
    path: PathBuf,
    checkpoint: Checkpoint,
    /// The configuration that belongs to it.
    config: PathBuf,
    place: Place,
}

/// The place where a run continues.
enum Place {
    /// In its own folder, which is locked; with a line for each newer checkpoint that is broken.
    Here(RunFolder, RunLock, Vec<String>),
    /// In a new folder of this name in `outdir`; `run` is the old one, where the checkpoint still lies in it.
    New { run: Option<RunFolder>, outdir: PathBuf, name: String, origin: String },
}

impl Found {
    /// The newest checkpoint of a run.
    pub(super) fn run(folder: RunFolder) -> Result<Found> {
        let lock = folder.lock()?;
        let (path, checkpoint, passed_over) = checkpoint::newest_valid(&folder.checkpoints_path())?;
        let config = folder.config_path();
        Ok(Found { path, checkpoint, config, place: Place::Here(folder, lock, passed_over) })
    }

    /// A chosen checkpoint, to go on from in a new run.
    fn checkpoint(path: &Path, outdir: Option<PathBuf>, description: Option<String>) -> Result<Found> {
        let checkpoint = checkpoint::load(path)?;
        let config = config_of(path).ok_or_else(|| {
            let error =
                Error::bad_data(path, "config.toml in the checkpoint's folder, beside it, or in its run's", "none");
            error.with_hint("copy the run's config.toml into the folder")
        })?;
        let whole = path.canonicalize().map_err(|error| Error::io(path, "find", error))?;
        let around =
            whole.ancestors().nth(2).filter(|_| whole.parent().is_some_and(|folder| folder.ends_with("checkpoints")));
        let run = around.and_then(|around| RunFolder::open(around).ok());
        let origin = run.as_ref().map_or(whole.as_path(), RunFolder::path).file_name().unwrap_or_default();
        let origin = origin.to_string_lossy().into_owned();
        // As the user wrote it, where the path goes through the run's folder.
        let beside = path.ancestors().nth(3).filter(|_| run.is_some() && path.components().count() > 2);
        let beside = match beside {
            Some(folder) if folder.as_os_str().is_empty() => Some(PathBuf::from(".")),
            Some(folder) => Some(folder.to_path_buf()),
            None => run.as_ref().and_then(|run| run.path().parent()).map(Path::to_path_buf),
        };
        let outdir = outdir.or(beside).unwrap_or_else(|| "runs".into());
        let name = fork::fork_name(&origin, checkpoint.state.step, description.as_deref());
        let place = Place::New { run, outdir, name, origin };
        Ok(Found { path: path.to_path_buf(), checkpoint, config, place })
    }
}

/// Takes a run on to its end, and returns its folder. `change` may give it other settings, which go into its
/// configuration; `begin` listens for signals from then on.
pub(super) fn resume(
    found: Found,
    change: impl FnOnce(&Settings) -> Result<Settings>,
    device: DeviceArgs,
    begin: impl FnOnce(&RunFolder) -> Result<Interrupt>,
) -> Result<RunFolder> {
    if let Place::Here(folder, _, passed_over) = &found.place {
        passed_over.iter().try_for_each(|reason| say(folder, &format!("warning: {reason}")))?;
    }
    let state = &found.checkpoint.state;
    let (on_file, _) = read_named(&found.config, &Settings::default())?;
    let mut settings = change(&on_file)?;
    if settings.data.source != on_file.data.source {
        settings.data.source = locate(&settings, &state.preset)?;
    }
    validate(&settings)?;
    let revision = revise(state, &found.path, Asked { config: &found.config, on_file: &on_file, settings: &settings })?;
    // Rewritten only where the command line asks for something: a file that somebody edited stays as it is.
    let config = if settings == on_file { None } else { Some(revision.settings.clone()) };
    let opened = device.open_in(settings.train.dtype)?;
    let threads = opened.threads();
    let next = Next { on_file, revision, config };
    on_device!(opened, |backend| go_on((backend, device, threads), found, next, begin))
}

/// The settings to go on with.
struct Next {
    /// Those of config.toml as they were.
    on_file: Settings,
    revision: Revision,
    /// New text for config.toml, if it changes.
    config: Option<Settings>,
}

/// Takes the run on from its checkpoint.
fn go_on<B: F32Executor>(
    (backend, device, threads): (B, DeviceArgs, usize),
    found: Found,
    next: Next,
    begin: impl FnOnce(&RunFolder) -> Result<Interrupt>,
) -> Result<RunFolder> {
    let Found { path, mut checkpoint, place, .. } = found;
    let Next { on_file, revision, config } = next;
    let step = checkpoint.state.step;
    let start = Instant::now();
    let images = images(&revision.settings, &checkpoint.state, &place)?;
    let settings = with_classes(&revision.settings, &images)?;
    let reading = start.elapsed();
    let memory = require_memory(&backend, &settings, &images)?;
    let evaluation = evaluation(&settings, &images, device)?;
    let total = Plan::new(&settings, images.count)?.total;
    let is_new = matches!(place, Place::New { .. });
    let (folder, lock) = match place {
        Place::Here(folder, lock, _) => (folder, lock),
        Place::New { run, outdir, name, origin } => {
            let identity = DataIdentity::of(&images);
            require_same_images(&settings, images.shape(), &identity, &checkpoint.state, &path)?;
            fork::set_origin(&mut checkpoint, &origin);
            let (folder, lock) = begin_anew(&outdir, &name, run.as_ref(), &checkpoint, &settings)?;
            say_origin(&folder, &path, &checkpoint.state, &origin, &revision)?;
            (folder, lock)
        }
    };
    // Nothing depends on this file: damaged, it is no reason not to go on.
    let environment = Environment::now(&backend.describe(), threads);
    if let Err(error) = environment.add_to(&folder.env_path()) {
        to_stderr(&format!("warning: {error}"));
    }
    let interrupt = begin(&folder)?;
    say(&folder, &format!("{} from step {step} ({})", shown(folder.path()), backend.describe()))?;
    let details = details::of_start(&environment, &settings, &checkpoint.state.preset, &images, reading, &memory)?;
    details.iter().try_for_each(|text| detail(&folder, text))?;
    let nothing_left = nothing_left(&settings, step, total);
    revision.note_in(&mut checkpoint.state);
    let preset = checkpoint.state.preset.clone();
    let new_folder = is_new.then(|| folder.clone());
    let session = Session::resume(backend, settings, &images, folder, lock, (path, checkpoint));
    let mut session = session.inspect_err(|_| new_folder.iter().for_each(discard))?.with_evaluation(evaluation);
    let is_at_end = step >= session.plan().total;
    let config = if is_at_end && !is_new {
        // Only where the images are is true of a run that does not go on.
        let mut settings = on_file.clone();
        settings.data.source.clone_from(&revision.settings.data.source);
        Some(settings).filter(|settings| *settings != on_file)
    } else {
        revision.lines.iter().try_for_each(|line| say(session.folder(), line))?;
        config.filter(|_| !is_new)
    };
    if let Some(settings) = config {
        write_file(&session.folder().config_path(), to_toml(&settings, &preset)?.as_bytes())?;
    }
    if is_at_end {
        say(session.folder(), &nothing_left)?;
    }
    session.train(&interrupt)?;
    Ok(session.folder().clone())
}

/// Makes the folder of a new run that goes on from `checkpoint`, with what `run` had up to there.
fn begin_anew(
    outdir: &Path,
    name: &str,
    run: Option<&RunFolder>,
    checkpoint: &Checkpoint,
    settings: &Settings,
) -> Result<(RunFolder, RunLock)> {
    let folder = RunFolder::create(outdir, name)?;
    let lock = folder.lock()?;
    let config = to_toml(settings, &checkpoint.state.preset)?;
    let filled = write_file(&folder.config_path(), config.as_bytes());
    filled.and_then(|()| fork::fill(&folder, run, checkpoint)).inspect_err(|_| discard(&folder))?;
    Ok((folder, lock))
}

/// Says where a new run goes on from.
fn say_origin(folder: &RunFolder, path: &Path, state: &State, origin: &str, revision: &Revision) -> Result<()> {
    let (step, sha256) = (state.step, &state.files.model.sha256);
    say(folder, &format!("a new run, from step {step} of {origin} ({}, model sha256 {sha256})", shown(path)))?;
    if revision.changes.is_empty() {
        say(folder, "note: with the same settings the new run repeats the old one: change a setting with --set")?;
    }
    Ok(())
}

/// Removes the folder of a new run that did not come to its first step. What can't be removed stays.
fn discard(folder: &RunFolder) {
    let _ = std::fs::remove_dir_all(folder.path());
}

/// Reads the run's images.
///
/// # Errors
/// [`Error::BadData`] where nothing is at their path: it says what to do about images that have moved.
fn images(settings: &Settings, state: &State, place: &Place) -> Result<Images> {
    let source = &settings.data.source;
    if source == "glyphs" || Path::new(source).exists() {
        return load_images(settings);
    }
    let run = match place {
        Place::Here(folder, ..) => shell::path(folder.path()),
        Place::New { .. } => "RUN".into(),
    };
    let expected = format!("the run's {} images, sha256 {}", state.data.count, state.data.sha256);
    let hint = format!("where they are now, say with: vgan-cuda resume {run} --data PATH");
    Err(Error::bad_data(source, expected, "nothing there").with_hint(hint))
}

/// The message for a run that is at its end at `step`, where `total` were planned.
fn nothing_left(settings: &Settings, step: u64, total: u64) -> String {
    let (flag, minutes) = if step < total {
        ("--minutes M with a larger M", settings.train.minutes)
    } else {
        ("--steps N with a larger N", 0.0)
    };
    let time = if minutes > 0.0 { format!(", its {minutes} minutes are used up") } else { String::new() };
    format!("nothing left to do at step {step}{time}; pass {flag} to train further")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;
    use crate::cli::arguments::DeviceChoice;

    #[test]
    fn options() {
        let parse = |words: &str| {
            let cli = Cli::try_parse_from(format!("vgan-cuda resume {words}").split(' '))
                .map_err(|error| Error::Usage(error.to_string()))?;
            let Command::Resume(args) = cli.command else { panic!("{cli:?}") };
            args.resolve()
        };
        let found = parse("runs/1 --steps 9 --minutes 1.5 --data d --set batch=3 --device cpu --threads 2").unwrap();
        let flags =
            [("--steps", "train.steps", "9"), ("--minutes", "train.minutes", "1.5"), ("--data", "data.source", "d")];
        let mut overrides: Vec<Override> = flags.map(|(flag, key, value)| Override::flag(flag, key, value)).into();
        overrides.push(Override::parse("batch=3").unwrap());
        let source = PathBuf::from("runs/1");
        let device = DeviceArgs { threads: Some(2), ..DeviceChoice::Cpu.with_defaults() };
        let (outdir, description) = (None, None);
        let serve = ServeArgs { serve: None };
        let expected = ResumeOptions { source, overrides, outdir, description, device, serve, json: false };
        assert_eq!(found, expected);
        assert_eq!(parse("runs/1 --serve=80").unwrap().serve.serve, "127.0.0.1:80".parse().ok());
        for (words, part) in [
            ("runs/1 --steps 9 --epochs 2", "cannot be used with"),
            ("runs/1 --desc a", "--desc names a new run"),
            ("runs/1 --desc a/b", "letters, digits"),
            ("runs/1 --outdir -", "./-"),
            ("runs/1 --set batch", "expected section.key=value"),
        ] {
            let error = parse(words).unwrap_err();
            assert!(error.exit_code() == 2 && error.to_string().contains(part), "{words}: {error}");
        }
    }
}
