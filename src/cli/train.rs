//! `train`: trains a model and leaves a run folder.

use std::path::PathBuf;

use clap::Args;
use clap::builder::RangedU64ValueParser;

use super::arguments::{DeviceArgs, SettingsArgs, on_device, preset_parser};
use super::load_options::load_options;
use super::ranks::flags::{RankArgs, Role};
use super::ranks::join::{self, Joined};
use super::ranks::launcher::{self, Launch, launch};
use super::serve::{ServeArgs, serve};
use super::survey::named;
use super::target::target_parser;
use super::train_options::TrainOptions;
use super::training::train;
use super::{dry_run, outcome, output};
use crate::config::{Override, Settings, Sources, image_shape, resolve, validate_for_images, validate_for_ranks};
use crate::data::{Extent, extent};
use crate::error::{Error, Result, readable_path};
use crate::run::RunFolder;
use crate::train::{Evaluation, Interrupt};

/// Train a model; each run gets its own folder, which `resume` and `generate` take
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TrainArgs {
    /// Preset to start from [default: the one that --config names, or quick]
    #[arg(value_parser = preset_parser())]
    preset: Option<String>,

    /// Images: an IDX file, a CIFAR-10 binary, a folder of PNG or JPEG, an archive, or `glyphs` [default: the preset's]
    #[arg(long, value_name = "PATH|glyphs")]
    data: Option<String>,

    /// Folder in which the run's folder is created
    #[arg(long, value_name = "DIR", default_value = "runs", value_parser = target_parser())]
    outdir: PathBuf,

    /// Word at the end of the run folder's name, after preset and batch
    #[arg(long, value_name = "WORD", value_parser = parse_description)]
    desc: Option<String>,

    /// Length in steps [default: the preset's]
    #[arg(long, value_name = "N", value_parser = whole_number(1), conflicts_with = "epochs")]
    steps: Option<u64>,

    /// Length in epochs [default: the preset's]
    #[arg(long, value_name = "N", value_parser = whole_number(1))]
    epochs: Option<u64>,

    /// Stop after M minutes of training (saving not counted) or at the step limit, whichever comes first [default: the
    /// preset's]
    #[arg(long, value_name = "M", value_parser = parse_minutes)]
    minutes: Option<f64>,

    /// Batch size: this many real and this many generated images a step [default: the preset's]
    #[arg(long, value_name = "N", value_parser = whole_number(0))]
    batch: Option<u64>,

    /// Random seed of training; `glyphs` has its own seed, --set data.seed=N [default: 0]
    #[arg(long, value_name = "N", value_parser = whole_number(0))]
    seed: Option<u64>,

    #[command(flatten)]
    device: DeviceArgs,

    #[command(flatten)]
    ranks: RankArgs,

    /// Steps between two progress lines [default: the preset's]
    #[arg(long, value_name = "STEPS", value_parser = whole_number(1))]
    tick: Option<u64>,

    /// Steps between two snapshots (checkpoint, pictures, curves); 0 means once an epoch [default: the preset's]
    #[arg(long, value_name = "STEPS", value_parser = whole_number(0))]
    snap: Option<u64>,

    /// Checkpoints to keep; 0 keeps all [default: the preset's]
    #[arg(long, value_name = "N", value_parser = whole_number(0))]
    keep: Option<u64>,

    /// Write events for TensorBoard into the run's folder
    #[arg(long)]
    tensorboard: bool,

    /// Number type: f32, tf32 (products) or bf16 (products, and activations in memory) [default: the preset's]
    #[arg(long, value_name = "TYPE", value_parser = ["f32", "tf32", "bf16"])]
    dtype: Option<String>,

    /// Crop every image to its central square and resize it to N×N [default: no]
    #[arg(long, value_name = "N", value_parser = whole_number(0))]
    resize: Option<u64>,

    /// Convert every image to grey (1) or colour (3) [default: as they are]
    #[arg(long, value_name = "N", value_parser = ["1", "3"])]
    channels: Option<String>,

    /// Begin with the weights of a run (its newest checkpoint) or of a file, and not with random ones: safetensors, PyTorch's
    /// .pt, or .npz; names and shapes must be those of the model
    #[arg(long, value_name = "RUN|PATH")]
    init: Option<PathBuf>,

    /// Parts that begin with the weights of --init, such as `generator`, `discriminator.conv`, or `generator=average` for
    /// the other run's moving average; repeated or separated by commas [default: all networks]
    #[arg(long, value_name = "PART", requires = "init", value_delimiter = ',')]
    init_parts: Vec<String>,

    /// Metrics to measure while training, with commas between them: fcd, kid, pr, dc, classes, class_fcd, swd; and fid, is (with
    /// --set eval.inception=FILE) [default: none]
    #[arg(long, value_name = "LIST")]
    metrics: Option<String>,

    /// Steps between two measurements of --metrics; 0 means at each snapshot [default: 0]
    #[arg(long, value_name = "STEPS", value_parser = whole_number(0))]
    eval_every: Option<u64>,

    #[command(flatten)]
    settings: SettingsArgs,

    #[command(flatten)]
    serve: ServeArgs,

    /// Print the settings and the run's needs (memory, disk, time), without training
    #[arg(long)]
    dry_run: bool,

    /// Print one line of JSON at the end: the run's folder, steps, seconds, losses, checkpoint
    #[arg(long, conflicts_with = "dry_run")]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  vgan-cuda train
  vgan-cuda train vgan-mnist --data data/mnist --epochs 25 --desc first
  vgan-cuda train vgan-mnist --data data/mnist --serve --tensorboard
  vgan-cuda train --metrics fcd,pr --eval-every 500
  vgan-cuda train --data photos --resize 32 --channels 3 --set data.flip=true
  vgan-cuda train --set bottleneck.beta_step=1e-4 --set generator.channels=64,32 --dry-run
  vgan-cuda train --config runs/00000-quick-b64/config.toml
  vgan-cuda train vgan-mnist --data digits --init runs/00003-vgan-mnist-b128 --init-parts generator
  vgan-cuda train vgan-cifar10 --data data/cifar10 --batch 512 --devices 0-3 --restart 3
  mpirun -np 2 vgan-cuda train --device cpu

--set and the file of --config can change every setting that --dry-run prints.";

impl TrainArgs {
    /// Preset, then file, then flags, then `--set`, then validation.
    pub(super) fn resolve(self) -> Result<TrainOptions> {
        let mut overrides = self.flags();
        if let Some(init) = &self.init {
            let source = named(init.clone(), &self.outdir)?;
            let source = source.to_str().ok_or_else(|| {
                Error::Usage(format!(
                    "--init: expected a path in UTF-8, which config.toml can hold, found `{}`",
                    readable_path(init)
                ))
            })?;
            overrides.push(Override::flag("--init", "train.init", source));
            overrides.push(Override::flag("--init-parts", "train.init_parts", self.init_parts.join(",")));
        }
        overrides.extend(self.settings.overrides()?);
        let sources = Sources { preset: self.preset, config: self.settings.config, overrides };
        let (mut settings, preset) = resolve(&sources)?;
        settings.data.source = locate(&settings, &preset)?;
        settings.train.init = absolute(&settings.train.init)?;
        Evaluation::options(&settings)?;
        Ok(TrainOptions {
            settings,
            preset,
            outdir: self.outdir,
            description: self.desc,
            device: self.device,
            ranks: self.ranks,
            serve: self.serve,
            dry_run: self.dry_run,
            json: self.json,
        })
    }

    /// The short flags as the settings that they stand for.
    fn flags(&self) -> Vec<Override> {
        let numbers = [
            ("--steps", "train.steps", self.steps),
            ("--epochs", "train.epochs", self.epochs),
            ("--batch", "train.batch", self.batch),
            ("--seed", "train.seed", self.seed),
            ("--tick", "train.tick", self.tick),
            ("--snap", "train.snap", self.snap),
            ("--keep", "train.keep", self.keep),
            ("--resize", "data.resize", self.resize),
            ("--eval-every", "eval.every", self.eval_every),
        ];
        let words = [
            ("--data", "data.source", &self.data),
            ("--channels", "data.channels", &self.channels),
            ("--dtype", "train.dtype", &self.dtype),
            ("--metrics", "eval.metrics", &self.metrics),
        ];
        let tensorboard = self.tensorboard.then(|| Override::flag("--tensorboard", "train.tensorboard", true));
        let minutes = self.minutes.map(|minutes| Override::flag("--minutes", "train.minutes", minutes));
        let numbers = numbers.into_iter().filter_map(|(flag, key, value)| Some(Override::flag(flag, key, value?)));
        let words = words.into_iter().filter_map(|(flag, key, value)| Some(Override::flag(flag, key, value.as_ref()?)));
        numbers.chain(minutes).chain(tensorboard).chain(words).collect()
    }
}

/// The path of the images, made absolute, so that the run can be resumed from another folder.
pub(super) fn locate(settings: &Settings, preset: &str) -> Result<String> {
    let source = &settings.data.source[..];
    if source.is_empty() {
        let colour = image_shape(preset).is_some_and(|image| image.c == 3);
        let name = if colour { "cifar10" } else { "mnist" };
        let glyphs = if glyphs_fit(settings) { ", or pass --data glyphs for the embedded digits" } else { "" };
        return Err(Error::Usage(format!(
            "preset `{preset}` needs images: pass --data PATH (an IDX file, a CIFAR-10 binary, a folder of PNG or \
             JPEG, or an archive), or download some with `vgan-cuda dataset fetch {name}` and pass --data \
             data/{name}{glyphs}"
        )));
    }
    if source == "glyphs" { Ok(source.to_string()) } else { absolute(source) }
}

/// A path made absolute; nothing stays nothing.
pub(super) fn absolute(source: &str) -> Result<String> {
    if source.is_empty() {
        return Ok(String::new());
    }
    let path = std::path::absolute(source).map_err(|error| Error::io(source, "find", error))?;
    // A path that TOML can't hold stays as the user wrote it.
    Ok(path.into_os_string().into_string().unwrap_or_else(|_| source.to_string()))
}

/// Returns true if these nets can be trained on the embedded digits, resized and converted as the settings say.
fn glyphs_fit(settings: &Settings) -> bool {
    let options = load_options(settings);
    let fits = |size: Extent| validate_for_images(settings, size.shape);
    extent("glyphs", &options).and_then(fits).is_ok()
}

/// A whole number from `least` to the largest that a configuration file can hold.
fn whole_number(least: u64) -> RangedU64ValueParser {
    RangedU64ValueParser::new().range(least..=i64::MAX as u64)
}

/// Minutes of training, above 0.
pub(super) fn parse_minutes(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(minutes) if minutes > 0.0 && f64::is_finite(minutes) => Ok(minutes),
        _ => Err("expected a number above 0, such as 10 or 0.5".into()),
    }
}

/// A description becomes part of a folder's name.
pub(super) fn parse_description(text: &str) -> std::result::Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if text.is_empty() || text.len() > 64 || !text.chars().all(plain) {
        return Err("expected at most 64 letters, digits, `-`, `_` or `.`".into());
    }
    Ok(text.to_string())
}

/// Trains, or prints what would be trained.
pub(super) fn run(options: TrainOptions) -> Result<()> {
    if options.dry_run {
        return output::print(&dry_run::text(&options)?);
    }
    let TrainOptions { settings, preset, outdir, description, device, ranks, serve: address, json, .. } = options;
    let role = ranks.role(device)?;
    validate_for_ranks(&settings, role.world())?;
    if let Role::Starts(devices) = role {
        let flags = launcher::flags(device, &ranks, &address, json);
        return launch(&Launch { devices, restart: ranks.restart, outdir, flags });
    }
    let bound = if role.is_leader() { address.bind() } else { Ok(None) };
    let prepared = bound.map(|bound| (bound, settings));
    let (joined, (bound, settings)) =
        join::open(role, ranks.patience(), &outdir, prepared, |(_, settings)| settings.train.dtype)?;
    if joined.ranks.is_leader() {
        output::warn_if_unoptimised();
    }
    let word = description.map(|word| format!("-{word}")).unwrap_or_default();
    let name = format!("{preset}-b{}{word}", settings.train.batch);
    let folder = || RunFolder::create(&outdir, &name);
    // Answers as long as the run goes on.
    let mut server = None;
    let begin = |folder: &RunFolder| {
        server = bound.map(|bound| serve(bound, folder)).transpose()?;
        Interrupt::listen()
    };
    let Joined { opened, device, ranks } = joined;
    let threads = opened.threads();
    let trained =
        on_device!(opened, |backend| train((backend, device, threads), &ranks, settings, &preset, folder, begin));
    drop(server);
    ranks.finish(trained, |folder| outcome::tell(folder, json))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;
    use crate::cli::arguments::DeviceChoice;
    use crate::device::Precision;
    use crate::run::serve::Address;

    fn options(words: &str) -> Result<TrainOptions> {
        let words = words.split_whitespace();
        match Cli::try_parse_from(["vgan-cuda", "train"].into_iter().chain(words)).map(|cli| cli.command) {
            Ok(Command::Train(args)) => args.resolve(),
            other => Err(Error::Usage(format!("{other:?}"))),
        }
    }

    #[test]
    fn without_arguments_it_is_quick_on_glyphs() {
        let options = options("").unwrap();
        assert_eq!(options.settings, crate::config::preset("quick").unwrap());
        assert_eq!((options.preset.as_str(), options.settings.data.source.as_str()), ("quick", "glyphs"));
        assert_eq!((options.outdir, options.description), (PathBuf::from("runs"), None));
        assert_eq!((options.device, options.dry_run), (DeviceChoice::Auto.with_defaults(), false));
    }

    #[test]
    fn every_flag_reaches_its_setting() {
        let options = options(
            "vgan-mnist --data glyphs --outdir out --desc a-b_1.0 --steps 7 --minutes 2.5 --batch 9 --seed 11 --device cuda:2 \
             --threads 3 --tick 5 --snap 6 --keep 4 --dtype bf16 --resize 32 --channels 3 --metrics kid,fcd --eval-every 8 --set target_kl=0.2 \
             --tensorboard --serve --dry-run",
        )
        .unwrap();
        let (train, data) = (&options.settings.train, &options.settings.data);
        assert_eq!((train.steps, train.minutes, train.batch, train.seed), (7, 2.5, 9, 11));
        assert_eq!((train.tick, train.snap, train.keep, train.dtype), (5, 6, 4, Precision::Bf16));
        assert_eq!((data.source.as_str(), data.resize, data.channels), ("glyphs", 32, 3));
        assert_eq!((train.tensorboard, options.serve.serve), (true, Address::DEFAULT.parse().ok()));
        assert_eq!(options.settings.bottleneck.target_kl, 0.2);
        assert_eq!((options.settings.eval.metrics.as_str(), options.settings.eval.every), ("kid,fcd", 8));
        assert_eq!((options.outdir, options.description.as_deref()), (PathBuf::from("out"), Some("a-b_1.0")));
        assert_eq!(
            (options.device.device, options.device.threads, options.dry_run),
            (DeviceChoice::Cuda(2), Some(3), true)
        );
    }

    #[test]
    fn later_layers_win() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[train]\nbatch = 10\nseed = 10\ntick = 10\n").unwrap();
        let config = file.path().display();
        let options = options(&format!("--config {config} --batch 20 --seed 20 --set train.seed=30")).unwrap();
        let train = options.settings.train;
        assert_eq!((train.tick, train.batch, train.seed, train.snap), (10, 20, 30, 500));
    }

    #[test]
    fn epochs_replace_the_presets_steps() {
        let train = options("--epochs 2").unwrap().settings.train;
        assert_eq!((train.epochs, train.steps), (2, 0));
    }

    #[test]
    fn a_path_becomes_absolute_and_a_folder_named_glyphs_can_be_meant() {
        let here = std::env::current_dir().unwrap();
        for (word, path) in [("images", here.join("images")), ("./glyphs", here.join("glyphs"))] {
            let source = options(&format!("--data {word}")).unwrap().settings.data.source;
            assert_eq!(PathBuf::from(source), path);
        }
    }

    #[test]
    fn without_data_the_error_tells_the_ways_that_work() {
        for (words, fetch, glyphs) in [
            ("vgan-mnist", "dataset fetch mnist", true),
            ("vgan-cifar10", "dataset fetch cifar10", false),
            ("vgan-cifar10 --resize 32", "dataset fetch cifar10", true),
        ] {
            let error = options(words).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            for part in ["--data PATH", fetch] {
                assert!(error.to_string().contains(part), "{error}");
            }
            assert_eq!(error.to_string().contains("--data glyphs"), glyphs, "{words}: {error}");
        }
    }

    #[test]
    fn refused() {
        for words in [
            "--steps 3 --epochs 2",
            "--steps 0",
            "--minutes 0",
            "--minutes nan",
            "--batch 1",
            "--batch x",
            "--seed 18446744073709551615",
            "--channels 2",
            "--threads 0",
            "--device gpu",
            "--desc a/b",
            "--metrics fid",
            "--metrics fcd --set eval.samples=3",
            "--set train.batch=0",
            "--set nothing",
            "vgan-mnst",
        ] {
            assert!(matches!(options(words), Err(Error::Usage(_))), "{words}");
        }
    }
}
