//! `eval`: measures the samples of a trained generator against a data set.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use super::arguments::{DeviceArgs, on_device};
use super::generate::open;
use super::load_options::load_options;
use super::output::{self, to_stderr};
use super::survey::named;
use super::text_table::{aligned, number};
use crate::choices::Choices;
use crate::config::{self, Resize, Settings};
use crate::data::{Images, load};
use crate::error::{Error, Result, readable_path};
use crate::eval::evaluator::{Identity, InceptionIdentity, LEAST_SAMPLES};
use crate::eval::metrics::{OF_CLASS, SHARE};
use crate::eval::{Evaluator, InceptionOptions, METRICS, Metric, Needs, Options, metrics};
use crate::run::checkpoint::{self, sha256};
use crate::run::{Measured, RunFolder};
use crate::train::load::{config_of, is_checkpoint};
use crate::train::snapshot::F32Executor;
use crate::train::{Evaluation, TrainedGenerator};
use crate::units::grouped;

/// Measure a run's samples: FCD, KID, precision and recall, density and coverage, classes, SWD, FID, IS
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  vgan-cuda eval latest
  vgan-cuda eval runs/00000-quick-b64 --metrics fcd,pr --samples 5000
  vgan-cuda eval runs/00000-quick-b64 --checkpoint 500
  vgan-cuda eval runs/00000-photos-b64 --metrics swd --json
  vgan-cuda eval latest --metrics fid,is --inception inception.safetensors --samples 50000

Samples are compared with the images that the run was trained on, or with those of --data. fcd,
kid, pr, dc and classes look at features of a small classifier, which is trained on the labelled
images once (on digits this takes about a minute) and kept in the cache folder of the user. fid and
is look at Inception-v3, whose weights you bring (--inception); without a GPU this takes hours.
Figures can be compared where classifier or weights, data, samples and seed are the same. Each
result is added to metrics.jsonl in the run's folder, and `compare` shows it. docs/metrics.md
explains the figures and says where the weights come from.")]
pub(super) struct EvalArgs {
    /// Folder of a run (its newest checkpoint is used) or of a checkpoint; `latest` is the run in runs/ that was trained
    /// last
    #[arg(value_name = "RUN|CHECKPOINT")]
    source: PathBuf,

    /// Metrics, with commas between them: fcd, kid, pr, dc, classes, class_fcd, swd, fid, is [default: all that the data set
    /// allows, fid and is with --inception alone]
    #[arg(long, value_name = "LIST")]
    metrics: Option<String>,

    /// Samples to draw
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(LEAST_SAMPLES as i64..=1_000_000))]
    samples: u32,

    /// Seed of the first sample: the samples are those that `generate` draws for SEED, SEED + 1, …
    #[arg(long, value_name = "SEED", default_value = "0")]
    seed: u64,

    /// The checkpoint of this step, instead of the newest one
    #[arg(long, value_name = "STEP")]
    checkpoint: Option<u64>,

    /// Images to compare with, such as a test split [default: those that the run was trained on]
    #[arg(long, value_name = "PATH|glyphs")]
    data: Option<String>,

    /// File of the classifier; it is trained and kept there if there is none yet [default: in the cache folder of the user]
    #[arg(long, value_name = "FILE")]
    classifier: Option<PathBuf>,

    /// Weights of Inception-v3 for fid and is: those of pytorch-fid and torch-fidelity, in a file of PyTorch or safetensors
    #[arg(long, value_name = "FILE")]
    inception: Option<PathBuf>,

    /// Method to resize images to Inception's 299×299
    #[arg(long, value_name = "WAY", default_value = "clean", value_parser = ways())]
    resize: Resize,

    /// Statistics of the real images for fid, mu and sigma, made by another program [default: those of the images that are
    /// compared with, made once and kept in the cache folder of the user]
    #[arg(long, value_name = "FILE.npz")]
    statistics: Option<PathBuf>,

    #[command(flatten)]
    device: DeviceArgs,

    /// Print one line of JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// The options of `eval`.
#[derive(Clone)]
pub(crate) struct EvalOptions {
    /// A run's folder or a checkpoint's.
    pub(crate) source: PathBuf,
    /// Metrics to measure; `None` is all that the data set allows.
    pub(crate) metrics: Option<Vec<&'static Metric>>,
    /// Samples.
    pub(crate) samples: usize,
    /// The seed of the first one.
    pub(crate) seed: u64,
    /// Other images than the run's.
    pub(crate) data: Option<String>,
    /// The classifier's file.
    pub(crate) classifier: Option<PathBuf>,
    /// Inception's weights and what belongs to them.
    pub(crate) inception: Option<InceptionOptions>,
    /// The device, and how it is opened.
    pub(crate) device: DeviceArgs,
    /// A line of JSON.
    pub(crate) json: bool,
}

/// The ways to Inception's size, each with its meaning.
fn ways() -> impl TypedValueParser<Value = Resize> {
    let words = Resize::CHOICES.iter().map(|choice| PossibleValue::new(choice.word).help(choice.meaning.trim()));
    PossibleValuesParser::new(words)
        .try_map(|word| Resize::ALL.iter().copied().find(|resize| resize.word() == word).ok_or("no way of that name"))
}

impl EvalArgs {
    pub(super) fn resolve(self) -> Result<EvalOptions> {
        let run = named(self.source, Path::new("runs"))?;
        let source = match self.checkpoint {
            Some(step) => checkpoint_of(&run, step)?,
            None => run,
        };
        if let (None, Some(statistics)) = (&self.inception, &self.statistics) {
            return Err(Error::Usage(format!(
                "--statistics {} is for fid, which needs the weights of Inception-v3: pass --inception FILE too",
                readable_path(statistics)
            )));
        }
        let (resize, statistics) = (self.resize, self.statistics);
        let inception = self.inception.map(|weights| InceptionOptions { weights, resize, statistics });
        Ok(EvalOptions {
            source,
            metrics: self.metrics.as_deref().map(metrics::parse).transpose()?,
            samples: self.samples as usize,
            seed: self.seed,
            data: self.data,
            classifier: self.classifier,
            inception,
            device: self.device,
            json: self.json,
        })
    }
}

/// The folder of the checkpoint of a step.
pub(super) fn checkpoint_of(run: &Path, step: u64) -> Result<PathBuf> {
    if is_checkpoint(run) {
        return Err(Error::Usage(format!("{} is a checkpoint already: omit its step", readable_path(run))));
    }
    let checkpoints = RunFolder::open(run)?.checkpoints_path();
    let path = checkpoints.join(checkpoint::folder_name(step));
    if path.is_dir() {
        return Ok(path);
    }
    let steps: Vec<String> = checkpoint::steps(&checkpoints).iter().map(ToString::to_string).collect();
    let error = Error::bad_data(&checkpoints, format!("a checkpoint of step {step}"), "none of that step");
    Err(error.with_hint(format!("there are those of step {}; `train --keep 0` keeps all", steps.join(", "))))
}

/// Measures, tells, and keeps the result.
pub(super) fn run(options: EvalOptions) -> Result<()> {
    output::warn_if_unoptimised();
    let opened = options.device.open()?;
    on_device!(opened, |backend| measure(backend, options))
}

/// The measurement that a run's settings ask for while it trains, on this device; `None` where they ask for nothing. It computes in f32,
/// whatever the run does, so that `eval` finds the same figures.
pub(super) fn evaluation(settings: &Settings, images: &Images, device: DeviceArgs) -> Result<Option<Evaluation>> {
    let Some(options) = Evaluation::options(settings)? else { return Ok(None) };
    let opened = device.open()?;
    let evaluator = on_device!(opened, |backend| Evaluator::new(&backend, images, &settings.data.source, options))?;
    Ok(Some(Evaluation::new(evaluator, images)))
}

fn measure<B: F32Executor>(backend: B, options: EvalOptions) -> Result<()> {
    let mut generator = open(backend.clone(), &options.source)?;
    let (source, images) = images(&generator, options.data.as_deref())?;
    let metrics = options.metrics.clone().unwrap_or_else(|| possible(&images, &options));
    let EvalOptions { samples, seed, classifier, inception, .. } = options.clone();
    let evaluator =
        Evaluator::new(&backend, &images, &source, Options { metrics, samples, seed, classifier, inception })?;
    let mut evaluation = Evaluation::new(evaluator, &images);
    let names = images.labels.as_ref().map_or(&[][..], |labels| &labels.names);
    if !generator.classes.is_empty() && generator.classes != names {
        to_stderr(
            "note: these images have other classes than the generator: samples are not held against the class asked for",
        );
        evaluation = evaluation.with_other_classes();
    }
    let (step, settings) = (generator.step, generator.settings.clone());
    let measured = evaluation.measure(step, &settings, |latents, classes| generator.draw_of(latents, classes))?;
    if let Some(run) = run_of(&generator.checkpoint) {
        measured.append_to(&run.metrics_path())?;
    }
    let (identity, inception) = (evaluation.evaluator().classifier(), evaluation.evaluator().inception());
    let classes = &generator.classes;
    let told =
        Told { checkpoint: &generator.checkpoint, classes, measured: &measured, images: &images, identity, inception };
    output::print(&if options.json { told.json()? } else { told.text() })
}

/// All metrics, without those that need classes or weights where there are none.
fn possible(images: &Images, options: &EvalOptions) -> Vec<&'static Metric> {
    let has_classes = images.labels.is_some() || options.classifier.is_some();
    let can = |needs| match needs {
        Needs::Pixels => true,
        Needs::Features => has_classes,
        Needs::Inception | Needs::Logits => options.inception.is_some(),
    };
    let found = METRICS.iter().copied().filter(|metric| can(metric.needs)).collect::<Vec<_>>();
    if !has_classes {
        let names: Vec<&str> = found.iter().map(|metric| metric.name).collect();
        to_stderr(&format!(
            "note: these images have no classes, so only {} is measured; fcd and others need pictures in a folder for each class, or \
             --classifier FILE",
            names.join(",")
        ));
    }
    found
}

/// The images to compare with, and where they are.
fn images<B: F32Executor>(generator: &TrainedGenerator<B>, data: Option<&str>) -> Result<(String, Images)> {
    let options = load_options(&generator.settings);
    let source = match data {
        Some(data) => data.to_string(),
        None => {
            let config = config_of(&generator.checkpoint).ok_or_else(|| {
                let error =
                    Error::bad_data(&generator.checkpoint, "config.toml of the run, which names its images", "none");
                error.with_hint("name the images with --data PATH")
            })?;
            config::read(config, &Settings::default())?.data.source
        }
    };
    let images = load(&source, &options).map_err(|error| match data {
        None if source != "glyphs" && !Path::new(&source).exists() => {
            Error::bad_data(&source, "the images that the run was trained on", "nothing there")
                .with_hint("name them with --data PATH")
        }
        _ => error,
    })?;
    if images.shape() != generator.image {
        let [expected, found] =
            [generator.image, images.shape()].map(|shape| format!("{}×{}×{}", shape.h, shape.w, shape.c));
        let error = Error::bad_data(&source, format!("images of {expected}, as the generator draws them"), found);
        return Err(error.with_hint("pass images of that size with --data PATH"));
    }
    if sha256(&images.pixels) != generator.data_sha256 {
        to_stderr("note: compared with other images than those that the run was trained on");
    }
    Ok((source, images))
}

/// The run that a checkpoint lies in.
fn run_of(checkpoint: &Path) -> Option<RunFolder> {
    let whole = checkpoint.canonicalize().ok()?;
    let inside = whole.parent().is_some_and(|folder| folder.ends_with("checkpoints"));
    RunFolder::open(whole.ancestors().nth(2).filter(|_| inside)?).ok()
}

/// The part of a measurement that is printed.
struct Told<'a> {
    checkpoint: &'a Path,
    /// The classes that the generator is told.
    classes: &'a [String],
    measured: &'a Measured,
    images: &'a Images,
    identity: Option<&'a Identity>,
    inception: Option<&'a InceptionIdentity>,
}

impl Told<'_> {
    fn text(&self) -> String {
        let Measured { step, setup, figures } = self.measured;
        let mut text = format!("checkpoint  {} (step {})\n", readable_path(self.checkpoint), grouped(*step));
        text +=
            &format!("samples     {} of seeds {} to {}\n", setup.samples, setup.seed, setup.seed + (setup.samples - 1));
        text += &format!("images      {}, data {}\n", self.images.description, setup.data);
        if !self.classes.is_empty() {
            text += &format!("classes     {}\n", self.shares());
        }
        if let Some(Identity { hash, accuracy, held_out, path }) = self.identity {
            let right =
                accuracy.map(|share| format!(", right on {:.2} % of {held_out} held-out images", 100.0 * share));
            let path = path.as_ref().map(|path| format!(", {}", readable_path(path)));
            text += &format!("classifier  {hash}{}{}\n", right.unwrap_or_default(), path.unwrap_or_default());
        }
        if let Some(InceptionIdentity { weights, resize, path, .. }) = self.inception {
            let statistics =
                path.as_ref().map(|path| format!(", statistics {}", readable_path(path))).unwrap_or_default();
            text += &format!("inception   {weights}, resize {}{statistics}\n", resize.word());
        }
        let mut rows = vec![["figure", "meaning", "value"].map(String::from).to_vec()];
        let all = METRICS.iter().flat_map(|metric| figures_of(metric, figures.keys()));
        let (shares, others): (Vec<_>, Vec<_>) = all.partition(|(_, name)| name.starts_with(SHARE));
        let (within, others): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, name)| name.starts_with(OF_CLASS));
        for (metric, name) in others {
            rows.push(vec![name.clone(), (metric.explain)(name).to_string(), number(figures[name])]);
        }
        text += &format!("\n{}", aligned(&rows, 2, None));
        if !shares.is_empty() {
            let share = |name: &str| format!("{} {:.1} %", &name[SHARE.len()..], 100.0 * figures[name]);
            let shares: Vec<String> = shares.into_iter().map(|(_, name)| share(name)).collect();
            text += &format!("\nshares of the samples by class: {}\n", shares.join(", "));
        }
        if !within.is_empty() {
            let distance = |name: &str| format!("{} {}", &name[OF_CLASS.len()..], number(figures[name]));
            let distances: Vec<String> = within.into_iter().map(|(_, name)| distance(name)).collect();
            text += &format!("\nFCD within each class: {}\n", distances.join(", "));
        }
        text
    }

    /// The shares of the classes that were asked for, and of those that the images have: the distances of whole sets see the difference.
    fn shares(&self) -> String {
        let asked = format!("samples of {} classes in turn, each as often as any other", self.classes.len());
        let Some(labels) = self.images.labels.as_ref().filter(|labels| labels.names == self.classes) else {
            return asked;
        };
        let counts = labels.counts();
        let share = |count: Option<&usize>| 100.0 * *count.unwrap_or(&0) as f64 / labels.classes.len().max(1) as f64;
        let (least, most) = (share(counts.iter().min()), share(counts.iter().max()));
        format!("{asked}; in the images from {least:.1} to {most:.1} % of a class")
    }

    fn json(&self) -> Result<String> {
        #[derive(Serialize)]
        struct Line<'a> {
            checkpoint: String,
            classifier_accuracy: Option<f64>,
            #[serde(flatten)]
            measured: &'a Measured,
        }
        output::json(&Line {
            checkpoint: self.checkpoint.to_string_lossy().into_owned(),
            classifier_accuracy: self.identity.and_then(|identity| identity.accuracy),
            measured: self.measured,
        })
    }
}

/// Those of all figures that are a metric's, its main ones first.
pub(super) fn figures_of<'a>(
    metric: &'static Metric,
    names: impl Iterator<Item = &'a String>,
) -> Vec<(&'static Metric, &'a String)> {
    let mut found: Vec<&String> = names.filter(|name| (metric.has)(name)).collect();
    let place = |name: &String| metric.panel.1.iter().position(|(main, _)| main == name).unwrap_or(usize::MAX);
    found.sort_by_key(|name| place(name));
    found.into_iter().map(|name| (metric, name)).collect()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Cli, Command};
    use super::*;

    fn options(words: &str) -> Result<EvalOptions> {
        let cli = Cli::try_parse_from(["vgan-cuda", "eval"].into_iter().chain(words.split(' ')));
        match cli.map_err(|error| Error::Usage(error.to_string()))?.command {
            Command::Eval(args) => args.resolve(),
            other => Err(Error::Usage(format!("{other:?}"))),
        }
    }

    #[test]
    fn options_are_complete() {
        let found = options("runs/1").unwrap();
        assert_eq!((found.source, found.samples, found.seed, found.json), ("runs/1".into(), 10_000, 0, false));
        assert!(found.metrics.is_none() && found.data.is_none() && found.classifier.is_none());
        let found = options("runs/1 --metrics kid,fcd --samples 99 --seed 7 --data d --classifier c --json").unwrap();
        assert_eq!(found.metrics.unwrap().iter().map(|metric| metric.name).collect::<Vec<_>>(), ["fcd", "kid"]);
        assert_eq!((found.samples, found.seed, found.data.as_deref()), (99, 7, Some("d")));
        let found = options("runs/1 --inception i --resize legacy-pytorch --statistics s.npz").unwrap();
        let expected =
            InceptionOptions { weights: "i".into(), resize: Resize::LegacyPytorch, statistics: Some("s.npz".into()) };
        assert_eq!(found.inception, Some(expected));
        assert_eq!(options("runs/1 --inception i").unwrap().inception.unwrap().resize, Resize::Clean);
        for wrong in ["runs/1 --statistics s.npz", "runs/1 --inception i --resize bicubic"] {
            assert_eq!(options(wrong).err().map(|error| error.exit_code()), Some(2), "{wrong}");
        }
        for wrong in ["runs/1 --metrics fidd", "runs/1 --samples 15", "runs/1 --samples 0", "runs/1 --seed -1"] {
            assert_eq!(options(wrong).err().map(|error| error.exit_code()), Some(2), "{wrong}");
        }
    }
}
