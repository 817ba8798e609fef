//! Measuring the samples of a run: of one that trains, at chosen steps, and of one that has trained.

use std::ops::Range;
use std::path::PathBuf;

use super::sampler::{classes_in_turn, latent};
use crate::Result;
use crate::config::Settings;
use crate::data::Images;
use crate::eval::evaluator::{Drawn, InceptionIdentity};
use crate::eval::{Evaluator, InceptionOptions, METRICS, Options, metrics};
use crate::run::checkpoint::sha256;
use crate::run::curves::Extra;
use crate::run::{Measured, Setup, measured};

/// The evaluator of a run's samples, and the record of its measurements.
pub struct Evaluation {
    evaluator: Evaluator,
    data: String,
    /// Whether the classes that a generator is told are those of the images.
    same_classes: bool,
}

impl Evaluation {
    /// Of samples against these images; `evaluator` was made of them.
    pub fn new(evaluator: Evaluator, images: &Images) -> Evaluation {
        Evaluation { evaluator, data: sha256(&images.pixels)[..12].to_string(), same_classes: true }
    }

    /// Says that a generator is told other classes than the images have: samples are not held against the class that was asked for.
    #[must_use]
    pub fn with_other_classes(self) -> Evaluation {
        Evaluation { same_classes: false, ..self }
    }

    /// The measurement that a run's settings ask for while it trains; `None` if they ask for none.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) for a metric that there is not, or whose weights are not named.
    pub fn options(settings: &Settings) -> Result<Option<Options>> {
        let eval = &settings.eval;
        if eval.metrics.is_empty() {
            return Ok(None);
        }
        let file = |name: &str| (!name.is_empty()).then(|| PathBuf::from(name));
        let metrics = metrics::parse(&eval.metrics)?;
        let inception = file(&eval.inception).map(|weights| InceptionOptions {
            weights,
            resize: eval.inception_resize,
            statistics: file(&eval.inception_statistics),
        });
        let classifier = file(&eval.classifier);
        let options = Options { metrics, samples: eval.samples, seed: eval.seed, classifier, inception };
        options.require_weights()?;
        Ok(Some(options))
    }

    /// The evaluator that it measures with.
    pub fn evaluator(&self) -> &Evaluator {
        &self.evaluator
    }

    /// Measures the samples of a generator after `step` steps: `draw` makes pixels of latents and of classes, which come in turn and are
    /// empty where the generator is told none.
    ///
    /// # Errors
    /// Those of the device.
    pub fn measure(
        &mut self,
        step: u64,
        settings: &Settings,
        mut draw: impl FnMut(&[f32], &[u32]) -> Result<Vec<u8>>,
    ) -> Result<Measured> {
        let same_classes = self.same_classes;
        let figures = self.evaluator.evaluate(|seeds: Range<u64>| {
            let classes = classes_in_turn(settings, seeds.clone());
            let latents: Vec<f32> = seeds.flat_map(|seed| latent(settings, seed)).collect();
            let pixels = draw(&latents, &classes)?;
            Ok(Drawn { pixels, classes: if same_classes { classes } else { Vec::new() } })
        })?;
        let setup = Setup {
            samples: self.evaluator.options().samples as u64,
            seed: self.evaluator.options().seed,
            reals: self.evaluator.reals() as u64,
            data: self.data.clone(),
            classifier: self.evaluator.classifier().map(|identity| identity.hash.clone()),
            inception: self.evaluator.inception().map(InceptionIdentity::word),
        };
        Ok(Measured { step, setup, figures: figures.into_iter().collect() })
    }
}

/// The panels of what was measured, one a metric.
pub fn panels(all: &[Measured]) -> Vec<Extra> {
    let comparable = measured::comparable(all);
    let points = |name: &str| {
        let point = |one: &Measured| Some((one.step, *one.figures.get(name)?));
        comparable.iter().filter_map(point).collect::<Vec<_>>()
    };
    let panel = |metric: &&crate::eval::Metric| {
        let (title, lines) = metric.panel;
        Extra { title, lines: lines.iter().map(|(name, label)| (*label, points(name))).collect() }
    };
    METRICS.iter().map(panel).collect()
}

/// The figures of a measurement that are shown of it in a line, as `fcd 12.3`.
pub fn line(measured: &Measured) -> String {
    let lines = METRICS.iter().flat_map(|metric| metric.panel.1);
    let shown = lines.filter_map(|(name, _)| Some(format!("{name} {:.4}", measured.figures.get(*name)?)));
    shown.collect::<Vec<_>>().join("  ")
}
