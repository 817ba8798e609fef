//! `resume`: goes on with a run from its newest checkpoint, as if it had never stopped.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{DeviceArgs, DeviceChoice, on_device};
use super::outcome;
use super::output::to_stderr;
use super::train::{load_images, parse_minutes, require_memory, say};
use crate::config::{self, Settings, TrainSettings, to_toml};
use crate::error::Result;
use crate::run::env::Environment;
use crate::run::{Checkpoint, RunFolder, RunLock, checkpoint, write_file};
use crate::train::session::Plan;
use crate::train::snapshot::F32Executor;
use crate::train::{Interrupt, Session};

/// Continue a run from its newest checkpoint, as if it had never stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda resume runs/00000-quick-b64
  vgan-cuda resume runs/00000-quick-b64 --steps 3000
  vgan-cuda resume runs/00000-quick-b64 --minutes 20")]
pub(super) struct ResumeArgs {
    /// The run's folder
    run: PathBuf,

    /// Train to this step, counted from the run's start; it becomes the run's length [default: the run's length]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    steps: Option<u64>,

    /// Train to so many minutes, counted from the run's start; they become the run's limit [default: the run's limit]
    #[arg(long, value_name = "M", value_parser = parse_minutes)]
    minutes: Option<f64>,

    #[command(flatten)]
    device: DeviceArgs,

    /// End with a line of JSON on standard output: the run's folder, steps, seconds, losses, checkpoint
    #[arg(long)]
    json: bool,
}

/// What to continue.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResumeOptions {
    /// The run's folder.
    pub(crate) run: PathBuf,
    /// The step to train to, counted from the run's start; `None` takes the run's own length.
    pub(crate) steps: Option<u64>,
    /// The minutes to train to, counted from the run's start; `None` takes the run's own limit.
    pub(crate) minutes: Option<f64>,
    /// Where to compute.
    pub(crate) device: DeviceChoice,
    /// CPU threads; `None` takes all cores.
    pub(crate) threads: Option<usize>,
    /// Whether the last line of standard output is JSON.
    pub(crate) json: bool,
}

impl ResumeArgs {
    pub(super) fn resolve(self) -> ResumeOptions {
        let DeviceArgs { device, threads } = self.device;
        ResumeOptions { run: self.run, steps: self.steps, minutes: self.minutes, device, threads, json: self.json }
    }
}

/// Continues the run.
pub(super) fn run(options: ResumeOptions) -> Result<()> {
    let ResumeOptions { run, steps, minutes, device, threads, json } = options;
    let length = |train: &mut TrainSettings| {
        train.steps = steps.unwrap_or(train.steps);
        train.minutes = minutes.unwrap_or(train.minutes);
    };
    outcome::tell(&resume(RunFolder::open(&run)?, length, device, threads, Interrupt::listen)?, json)
}

/// Takes a run on from its newest checkpoint to its end, and returns its folder. `length` may give it another length,
/// which goes into its configuration where that makes it longer; `listen` listens for signals from then on.
pub(super) fn resume(
    folder: RunFolder,
    length: impl FnOnce(&mut TrainSettings),
    device: DeviceChoice,
    threads: Option<usize>,
    listen: impl FnOnce() -> Result<Interrupt>,
) -> Result<RunFolder> {
    let lock = folder.lock()?;
    let mut settings = config::read(folder.config_path(), &Settings::default())?;
    let (path, checkpoint, passed_over) = checkpoint::newest_valid(&folder.checkpoints_path())?;
    passed_over.iter().try_for_each(|reason| say(&folder, reason))?;
    // So that a run stopped on the way to its new length goes on to that one.
    let before = settings.clone();
    length(&mut settings.train);
    let changed = if settings == before { None } else { Some(to_toml(&settings, &checkpoint.state.preset)?) };
    let opened = device.open_in(threads, settings.train.dtype)?;
    let threads = opened.threads();
    on_device!(opened, |backend| go_on(backend, threads, settings, folder, lock, (path, checkpoint), changed, listen))
}

/// Takes the run on from its checkpoint; `changed` is the new config.toml of one that gets another length.
fn go_on<B: F32Executor>(
    backend: B,
    threads: usize,
    settings: Settings,
    folder: RunFolder,
    lock: RunLock,
    (path, checkpoint): (PathBuf, Checkpoint),
    changed: Option<String>,
    listen: impl FnOnce() -> Result<Interrupt>,
) -> Result<RunFolder> {
    let step = checkpoint.state.step;
    let images = load_images(&settings)?;
    require_memory(&backend, &settings, &images)?;
    // Nothing depends on this file: damaged, it is no reason not to go on.
    if let Err(error) = Environment::now(&backend.describe(), threads).add_to(&folder.env_path()) {
        to_stderr(&format!("warning: {error}"));
    }
    let interrupt = listen()?;
    say(&folder, &format!("{} from step {step} ({})", folder.path().display(), backend.describe()))?;
    let nothing_left = nothing_left(&settings, step, Plan::new(&settings, images.count)?.total);
    let mut session = Session::resume(backend, settings, &images, folder, lock, (path, checkpoint))?;
    if step >= session.plan().total {
        say(session.folder(), &nothing_left)?;
    } else if let Some(config) = changed {
        write_file(&session.folder().config_path(), config.as_bytes())?;
    }
    session.train(&interrupt)?;
    Ok(session.folder().clone())
}

/// What to say of a run that is at its end at `step`, where `total` were planned.
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

    #[test]
    fn options() {
        let cli =
            Cli::try_parse_from("vgan-cuda resume runs/1 --steps 9 --minutes 1.5 --device cpu --threads 2".split(' '))
                .unwrap();
        let Command::Resume(args) = cli.command else { panic!("{cli:?}") };
        let (run, device) = (PathBuf::from("runs/1"), DeviceChoice::Cpu);
        let expected = ResumeOptions { run, steps: Some(9), minutes: Some(1.5), device, threads: Some(2), json: false };
        assert_eq!(args.resolve(), expected);
    }
}
