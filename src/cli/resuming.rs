//! A run that goes on from a checkpoint, in its own folder or in a new one, by a process alone or by several ranks together.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::arguments::{DeviceArgs, on_device};
use super::details;
use super::eval::evaluation;
use super::output::to_stderr;
use super::ranks::join::Ranks;
use super::train::locate;
use super::training::{detail, in_the_same_folder, load_images, require_memory, say};
use crate::config::{Settings, read_named, to_toml, validate, validate_for_ranks};
use crate::data::Images;
use crate::device::Precision;
use crate::error::{Error, Result, readable_path};
use crate::run::env::Environment;
use crate::run::{Checkpoint, RunFolder, RunLock, State, checkpoint, fork, write_file};
use crate::shell;
use crate::train::classes::with_classes;
use crate::train::load::config_of;
use crate::train::plan::Plan;
use crate::train::predict::Memory;
use crate::train::revision::{Asked, Revision, revise};
use crate::train::snapshot::{DataIdentity, F32Executor, require_same_images};
use crate::train::{Agreement, Evaluation, Interrupt, Session};

/// A checkpoint to go on from, and where to.
pub(super) struct Found {
    /// Its folder.
    path: PathBuf,
    checkpoint: Checkpoint,
    /// The configuration that belongs to it.
    config: PathBuf,
    place: Destination,
}

/// The place where a run continues.
enum Destination {
    /// In its own folder, which is locked by the leader of its ranks; with a line for each newer checkpoint that is broken.
    Here(RunFolder, Option<RunLock>, Vec<String>),
    /// In a new folder of this name in `outdir`; `run` is the old one, where the checkpoint still lies in it.
    New { run: Option<RunFolder>, outdir: PathBuf, name: String, origin: String },
}

impl Found {
    /// The newest checkpoint of a run, whose folder is taken for this process where it is to write.
    pub(super) fn run(folder: RunFolder, writes: bool) -> Result<Found> {
        let lock = writes.then(|| folder.lock()).transpose()?;
        let (path, checkpoint, passed_over) = checkpoint::newest_valid(&folder.checkpoints_path())?;
        let config = folder.config_path();
        Ok(Found { path, checkpoint, config, place: Destination::Here(folder, lock, passed_over) })
    }

    /// A chosen checkpoint, to go on from in a new run.
    pub(super) fn checkpoint(path: &Path, outdir: Option<PathBuf>, description: Option<String>) -> Result<Found> {
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
        let place = Destination::New { run, outdir, name, origin };
        Ok(Found { path: path.to_path_buf(), checkpoint, config, place })
    }
}

/// Takes a run on to its end, by this process alone, and returns its folder. `change` may give it other settings, which go into its
/// configuration; `begin` listens for signals from then on.
pub(super) fn resume(
    found: Found,
    change: impl FnOnce(&Settings) -> Result<Settings>,
    device: DeviceArgs,
    begin: impl FnOnce(&RunFolder) -> Result<Interrupt>,
) -> Result<RunFolder> {
    let next = Next::of(&found, change)?;
    let opened = device.open_in(next.revision.settings.train.dtype)?;
    let threads = opened.threads();
    on_device!(opened, |backend| go_on((backend, device, threads), &Ranks::alone(), found, next, begin))
}

/// The settings to go on with.
pub(super) struct Next {
    /// Those of config.toml as they were.
    on_file: Settings,
    revision: Revision,
    /// New text for config.toml, if it changes.
    config: Option<Settings>,
}

impl Next {
    /// Those of the run, changed by `change`.
    ///
    /// # Errors
    /// A change that the weights do not allow.
    pub(super) fn of(found: &Found, change: impl FnOnce(&Settings) -> Result<Settings>) -> Result<Next> {
        if let Destination::Here(folder, Some(_), passed_over) = &found.place {
            passed_over.iter().try_for_each(|reason| say(folder, &format!("warning: {reason}")))?;
        }
        let state = &found.checkpoint.state;
        let (on_file, _) = read_named(&found.config, &Settings::default())?;
        let mut settings = change(&on_file)?;
        if settings.data.source != on_file.data.source {
            settings.data.source = locate(&settings, &state.preset)?;
        }
        validate(&settings)?;
        let asked = Asked { config: &found.config, on_file: &on_file, settings: &settings };
        let revision = revise(state, &found.path, asked)?;
        // Rewritten only where the command line asks for something: a file that somebody edited stays as it is.
        let config = if settings == on_file { None } else { Some(revision.settings.clone()) };
        Ok(Next { on_file, revision, config })
    }

    /// The precision that products are rounded to.
    pub(super) fn precision(&self) -> Precision {
        self.revision.settings.train.dtype
    }
}

/// Everything that a run needs to continue.
struct Ready {
    images: Images,
    settings: Settings,
    reading: Duration,
    memory: Memory,
    /// The leader's.
    evaluation: Option<Evaluation>,
    /// The steps of the whole run.
    total: u64,
}

impl Ready {
    fn of<B: F32Executor>(
        (backend, device): (&B, DeviceArgs),
        ranks: &Ranks,
        found: &Found,
        next: &Next,
    ) -> Result<Ready> {
        let start = Instant::now();
        let images = images(&next.revision.settings, &found.checkpoint.state, &found.place)?;
        let settings = with_classes(&next.revision.settings, &images)?;
        validate_for_ranks(&settings, backend.ranks().world)?;
        let reading = start.elapsed();
        let memory = require_memory(backend, &settings, &images)?;
        let evaluation = if ranks.is_leader() { evaluation(&settings, &images, device)? } else { None };
        let total = Plan::new(&settings, images.count)?.total;
        Ok(Ready { images, settings, reading, memory, evaluation, total })
    }
}

/// Takes the run on from its checkpoint. Of several ranks the leader has its folder, and all train.
pub(super) fn go_on<B: F32Executor>(
    (backend, device, threads): (B, DeviceArgs, usize),
    ranks: &Ranks,
    found: Found,
    next: Next,
    begin: impl FnOnce(&RunFolder) -> Result<Interrupt>,
) -> Result<RunFolder> {
    let mut agreement = Agreement::new(&backend)?.with_pulse(ranks.pulse());
    let ready = agreement.all(Ready::of((&backend, device), ranks, &found, &next))?;
    let Found { path, mut checkpoint, place, .. } = found;
    let Next { on_file, revision, config } = next;
    let (is_new, step) = (matches!(place, Destination::New { .. }), checkpoint.state.step);
    let (mut begin, mut lock) = (Some(begin), None);
    let environment = Environment::now(&ranks.describe(&backend), threads);
    let opened = if ranks.is_leader() {
        let opened = take_folder(place, (&path, &mut checkpoint), &ready, &revision);
        opened.and_then(|(folder, held)| {
            lock = held;
            let interrupt = begin.take().map_or_else(|| Ok(Interrupt::default()), |begin| begin(&folder))?;
            say_start(&folder, (step, &checkpoint.state.preset), &ready, &environment)?;
            Ok(Some((folder, interrupt)))
        })
    } else {
        if let Destination::New { origin, .. } = &place {
            fork::set_origin(&mut checkpoint, origin);
        }
        Ok(None)
    };
    let opened = agreement.all(opened)?;
    let (folder, interrupt) = in_the_same_folder(&mut agreement, opened, begin)?;
    ranks.train_in(&folder)?;
    let nothing_left = nothing_left(&ready.settings, step, ready.total);
    revision.note_in(&mut checkpoint.state);
    let preset = checkpoint.state.preset.clone();
    let new_folder = (is_new && ranks.is_leader()).then(|| folder.clone());
    let session = Session::resume(backend, ready.settings, &ready.images, folder, lock, (path, checkpoint));
    let session = session.inspect_err(|_| new_folder.iter().for_each(discard))?;
    let mut session = session.with_evaluation(ready.evaluation).with_pulse(ranks.pulse());
    let noted = if ranks.is_leader() {
        let is_at_end = step >= session.plan().total;
        note_changes(session.folder(), (is_at_end, is_new), (&on_file, config), &revision, &preset)
            .and_then(|()| if is_at_end { say(session.folder(), &nothing_left) } else { Ok(()) })
    } else {
        Ok(())
    };
    agreement.all(noted)?;
    session.train(&interrupt)?;
    Ok(session.folder().clone())
}

/// The folder in which the run goes on: its own, or a new one.
fn take_folder(
    place: Destination,
    (path, checkpoint): (&Path, &mut Checkpoint),
    ready: &Ready,
    revision: &Revision,
) -> Result<(RunFolder, Option<RunLock>)> {
    match place {
        Destination::Here(folder, lock, _) => Ok((folder, lock)),
        Destination::New { run, outdir, name, origin } => {
            let Ready { images, settings, .. } = ready;
            let identity = DataIdentity::of(images);
            require_same_images(settings, images.shape(), &identity, &checkpoint.state, path)?;
            fork::set_origin(checkpoint, &origin);
            let (folder, lock) = begin_anew(&outdir, &name, run.as_ref(), checkpoint, settings)?;
            say_origin(&folder, path, &checkpoint.state, &origin, revision)?;
            Ok((folder, Some(lock)))
        }
    }
}

/// Writes and says what stands at the beginning of a start.
fn say_start(folder: &RunFolder, (step, preset): (u64, &str), ready: &Ready, environment: &Environment) -> Result<()> {
    // Nothing depends on this file: damaged, it is no reason not to go on.
    if let Err(error) = environment.add_to(&folder.env_path()) {
        to_stderr(&format!("warning: {error}"));
    }
    say(folder, &format!("{} from step {step} ({})", readable_path(folder.path()), environment.device))?;
    let Ready { images, settings, reading, memory, .. } = ready;
    let details = details::of_start(environment, settings, preset, images, *reading, memory)?;
    details.iter().try_for_each(|text| detail(folder, text))
}

/// Says which settings have changed, and writes them down.
fn note_changes(
    folder: &RunFolder,
    (is_at_end, is_new): (bool, bool),
    (on_file, config): (&Settings, Option<Settings>),
    revision: &Revision,
    preset: &str,
) -> Result<()> {
    let config = if is_at_end && !is_new {
        // Only where the images are is true of a run that does not go on.
        let mut settings = on_file.clone();
        settings.data.source.clone_from(&revision.settings.data.source);
        Some(settings).filter(|settings| settings != on_file)
    } else {
        revision.lines.iter().try_for_each(|line| say(folder, line))?;
        config.filter(|_| !is_new)
    };
    match config {
        Some(settings) => write_file(&folder.config_path(), to_toml(&settings, preset)?.as_bytes()),
        None => Ok(()),
    }
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
    say(folder, &format!("a new run, from step {step} of {origin} ({}, model sha256 {sha256})", readable_path(path)))?;
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
fn images(settings: &Settings, state: &State, place: &Destination) -> Result<Images> {
    let source = &settings.data.source;
    if source == "glyphs" || Path::new(source).exists() {
        return load_images(settings);
    }
    let run = match place {
        Destination::Here(folder, ..) => shell::path(folder.path()),
        Destination::New { .. } => "RUN".into(),
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
