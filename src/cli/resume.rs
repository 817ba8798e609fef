//! `resume`: goes on with a run from its newest checkpoint, as if it had never stopped.

use std::path::PathBuf;

use clap::Args;

use super::arguments::{DeviceArgs, DeviceChoice};
use crate::error::{Error, Result};

/// Continue a run from its newest checkpoint, as if it had never stopped
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda resume runs/00000-quick-b64
  vgan-cuda resume runs/00000-quick-b64 --steps 3000")]
pub(super) struct ResumeArgs {
    /// The run's folder
    run: PathBuf,

    /// Train to this step, counted from the run's start [default: the run's own length]
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
pub(super) fn run(_options: ResumeOptions) -> Result<()> {
    // WIRE: config::read(run/config.toml, &Settings::default()), the newest valid checkpoint, the loop.
    Err(Error::Internal("not wired yet".into()))
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
