//! `resume`: goes on with a run from its newest checkpoint, as if it had never stopped, or from a chosen one in a new run.

use std::path::{Path, PathBuf};

use clap::Args;

use super::arguments::{DeviceArgs, on_device};
use super::eval::checkpoint_of;
use super::outcome;
use super::ranks::flags::{RankArgs, Role};
use super::ranks::join::{self, Joined};
use super::ranks::launcher::{self, Launch, launch};
use super::resuming::{Found, Next, go_on};
use super::serve::{ServeArgs, serve};
use super::survey::named;
use super::target::target_parser;
use super::train::{parse_description, parse_minutes};
use crate::config::{Override, Settings, apply};
use crate::error::{Error, Result, readable_path};
use crate::run::RunFolder;
use crate::train::Interrupt;
use crate::train::load::is_checkpoint;

/// Continue a run from its newest checkpoint, or go back to an older one in a new run
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda resume latest
  vgan-cuda resume runs/00000-quick-b64 --steps 3000
  vgan-cuda resume runs/00000-quick-b64 --set optimizer.generator_lr=1e-4
  vgan-cuda resume runs/00000-quick-b64 --data /elsewhere/images
  vgan-cuda resume latest --serve
  vgan-cuda resume latest --devices 0-1
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
    ranks: RankArgs,

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
    /// The ranks, where there are several.
    pub(crate) ranks: RankArgs,
    /// The address of the live page, if the run is served.
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
                readable_path(&source)
            )));
        }
        Ok(ResumeOptions {
            source,
            overrides,
            outdir: self.outdir,
            description: self.desc,
            device: self.device,
            ranks: self.ranks,
            serve: self.serve,
            json: self.json,
        })
    }
}

/// Continues the run.
pub(super) fn run(options: ResumeOptions) -> Result<()> {
    let ResumeOptions { source, overrides, outdir, description, device, ranks, serve: address, json } = options;
    let role = ranks.role(device)?;
    // Of a run's checkpoint the run's folder is further up.
    let beside = if is_checkpoint(&source) { source.ancestors().nth(2).unwrap_or(&source) } else { &source };
    let runs = outdir.clone().unwrap_or_else(|| launcher::parent_of(beside));
    if let Role::Starts(devices) = role {
        let flags = launcher::flags(device, &ranks, &address, json);
        return launch(&Launch { devices, restart: ranks.restart, outdir: runs, flags });
    }
    let is_leader = role.is_leader();
    let change = |settings: &Settings| apply(settings, &overrides);
    let prepared = || {
        let bound = if is_leader { address.bind()? } else { None };
        let found = if is_checkpoint(&source) {
            Found::checkpoint(&source, outdir, description)?
        } else {
            Found::run(RunFolder::open(&source)?, is_leader)?
        };
        let next = Next::of(&found, change)?;
        Ok((bound, found, next))
    };
    let (joined, (bound, found, next)) =
        join::open(role, ranks.patience(), &runs, prepared(), |(_, _, next)| next.precision())?;
    // Answers as long as the run goes on.
    let mut server = None;
    let begin = |folder: &RunFolder| {
        server = bound.map(|bound| serve(bound, folder)).transpose()?;
        Interrupt::listen()
    };
    let Joined { opened, device, ranks } = joined;
    let threads = opened.threads();
    let trained = on_device!(opened, |backend| go_on((backend, device, threads), &ranks, found, next, begin));
    drop(server);
    ranks.finish(trained, |folder| outcome::tell(folder, json))
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
        let ranks = RankArgs { devices: None, restart: 0, rank_timeout: 30 };
        let expected = ResumeOptions { source, overrides, outdir, description, device, ranks, serve, json: false };
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
