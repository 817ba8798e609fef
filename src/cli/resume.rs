//! `resume`: goes on with a run from its newest checkpoint, as if it had never stopped.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{DeviceArgs, DeviceChoice, on_device};
use super::output::to_stderr;
use super::train::{load_images, require_memory, say, say_how_to_sample};
use crate::config::{self, Settings, to_toml};
use crate::error::Result;
use crate::run::env::Environment;
use crate::run::{Checkpoint, RunFolder, RunLock, checkpoint, write_file};
use crate::train::snapshot::F32Executor;
use crate::train::{Interrupt, Session};

/// Continue a run from its newest checkpoint, as if it had never stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda resume runs/00000-quick-b64
  vgan-cuda resume runs/00000-quick-b64 --steps 3000")]
pub(super) struct ResumeArgs {
    /// The run's folder
    run: PathBuf,

    /// Train to this step, counted from the run's start; it becomes the run's length [default: the run's length]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=i64::MAX as u64))]
    steps: Option<u64>,

    #[command(flatten)]
    device: DeviceArgs,
}

/// What to continue.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResumeOptions {
    /// The run's folder.
    pub(crate) run: PathBuf,
    /// The step to train to, counted from the run's start; `None` takes the run's own length.
    pub(crate) steps: Option<u64>,
    /// Where to compute.
    pub(crate) device: DeviceChoice,
    /// CPU threads; `None` takes all cores.
    pub(crate) threads: Option<usize>,
}

impl ResumeArgs {
    pub(super) fn resolve(self) -> ResumeOptions {
        let DeviceArgs { device, threads } = self.device;
        ResumeOptions { run: self.run, steps: self.steps, device, threads }
    }
}

/// Continues the run.
pub(super) fn run(options: ResumeOptions) -> Result<()> {
    let folder = RunFolder::open(&options.run)?;
    let lock = folder.lock()?;
    let mut settings = config::read(folder.config_path(), &Settings::default())?;
    let (path, checkpoint, passed_over) = checkpoint::newest_valid(&folder.checkpoints_path())?;
    passed_over.iter().try_for_each(|reason| say(&folder, reason))?;
    let step = checkpoint.state.step;
    // So that a run stopped on the way to its new length goes on to that one.
    let mut longer = None;
    if let Some(steps) = options.steps {
        let is_new = steps != std::mem::replace(&mut settings.train.steps, steps);
        if is_new && steps > step {
            longer = Some(to_toml(&settings, &checkpoint.state.preset)?);
        }
    }
    let opened = options.device.open_in(options.threads, settings.train.dtype)?;
    let threads = opened.threads();
    on_device!(opened, |backend| go_on(backend, threads, settings, folder, lock, (path, checkpoint), longer))
}

/// Takes the run on from its checkpoint; `longer` is the new config.toml of one that is to become longer.
fn go_on<B: F32Executor>(
    backend: B,
    threads: usize,
    settings: Settings,
    folder: RunFolder,
    lock: RunLock,
    (path, checkpoint): (PathBuf, Checkpoint),
    longer: Option<String>,
) -> Result<()> {
    let step = checkpoint.state.step;
    let images = load_images(&settings)?;
    require_memory(&backend, &settings, &images)?;
    // Nothing depends on this file: damaged, it is no reason not to go on.
    if let Err(error) = Environment::now(&backend.describe(), threads).add_to(&folder.env_path()) {
        to_stderr(&format!("warning: {error}"));
    }
    let interrupt = Interrupt::listen()?;
    say(&folder, &format!("{} from step {step} ({})", folder.path().display(), backend.describe()))?;
    let mut session = Session::resume(backend, settings, &images, folder, lock, (path, checkpoint))?;
    if let Some(config) = longer {
        write_file(&session.folder().config_path(), config.as_bytes())?;
    }
    if step >= session.plan().total {
        let text = format!("nothing left to do at step {step}; pass --steps N with a larger N to train further");
        say(session.folder(), &text)?;
    }
    session.train(&interrupt)?;
    say_how_to_sample(session.folder())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    #[test]
    fn options() {
        let cli = Cli::try_parse_from("vgan-cuda resume runs/1 --steps 9 --device cpu --threads 2".split(' ')).unwrap();
        let Command::Resume(args) = cli.command else { panic!("{cli:?}") };
        let (run, device) = (PathBuf::from("runs/1"), DeviceChoice::Cpu);
        assert_eq!(args.resolve(), ResumeOptions { run, steps: Some(9), device, threads: Some(2) });
    }
}
