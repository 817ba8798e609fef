//! Everything that a run is measured with: the images of a data set as the metrics see them, made once, and samples again and again.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::classifier::{Lesson, Seen, TrainedClassifier, Trains};
use super::metrics::{Figure, Metric, Needs};
use super::observed::Gathered;
use super::perceiving::{AT_ONCE, Pace, Perceiving, Setting};
pub use super::perceiving::{InceptionIdentity, InceptionOptions};
use super::set::Set;
use super::store;
pub use super::store::Identity;
use crate::data::Images;
use crate::error::{Error, Result};
use crate::image::ImageShape;
use crate::shell;

/// Real images that samples are compared with, at most; of a larger data set as many, evenly spread.
const MOST_REALS: usize = 50_000;
/// Images whose pixels the metrics look at.
const PICTURES: usize = super::metrics::PICTURES;
/// Samples that are drawn at once.
const DRAWN: usize = AT_ONCE;
/// Fewer samples than this tell nothing: a neighbourhood has up to five others.
pub const LEAST_SAMPLES: usize = 16;

/// The options of a measurement.
#[derive(Clone)]
pub struct Options {
    /// The metrics.
    pub metrics: Vec<&'static Metric>,
    /// Samples to draw.
    pub samples: usize,
    /// The seed: of the first sample, and of the metrics' own draws.
    pub seed: u64,
    /// The file of the classifier, instead of the cache.
    pub classifier: Option<PathBuf>,
    /// The weights of Inception-v3 and what belongs to them, for the metrics that need them.
    pub inception: Option<InceptionOptions>,
}

impl Options {
    /// Refuses metrics that need weights where none are named.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn require_weights(&self) -> Result<()> {
        let needy: Vec<&str> =
            self.metrics.iter().filter(|metric| metric.needs.weights()).map(|metric| metric.name).collect();
        if needy.is_empty() || self.inception.is_some() {
            return Ok(());
        }
        Err(Error::Usage(format!(
            "{} can't be measured without the weights of Inception-v3, which are not part of this program: name their file with \
             --inception FILE (in a run: --set eval.inception=FILE); docs/metrics.md says where they come from",
            needy.join(",")
        )))
    }
}

/// Something that sees features and classes in images: the classifier on its device.
trait Sees: Send {
    fn look_at(&mut self, pixels: &[u8]) -> Result<Seen>;
}
impl<B: Trains> Sees for TrainedClassifier<B> {
    fn look_at(&mut self, pixels: &[u8]) -> Result<Seen> {
        TrainedClassifier::look_at(self, pixels)
    }
}

/// Samples of a range of seeds.
pub struct Drawn {
    /// Their pixels, `[n, H, W, C]`.
    pub pixels: Vec<u8>,
    /// The class that each was asked to be of, by the numbers of the data set; empty where none was.
    pub classes: Vec<u32>,
}

/// Runs work in the backend's pool of threads.
type Pool = Box<dyn Fn(&mut (dyn FnMut() + Send)) + Send>;

/// The data set's side of every comparison.
pub struct Evaluator {
    options: Options,
    real: Set,
    /// Real images that were looked at.
    reals: usize,
    classifier: Option<(Box<dyn Sees>, Identity)>,
    inception: Option<Perceiving>,
    pool: Pool,
}

impl Evaluator {
    /// Looks at the images of a data set. Where a metric needs features, the classifier comes from its file or is trained;
    /// `source` is the data set, for messages.
    ///
    /// # Errors
    /// [`Error::BadData`] where a metric needs features and the data set has no classes, or the classifier's file is none;
    /// [`Error::Usage`] for too few samples or images.
    pub fn new<B: Trains>(backend: &B, images: &Images, source: &str, options: Options) -> Result<Self> {
        require_enough(images, source, &options)?;
        let shared = backend.clone();
        let pool: Pool = Box::new(move |work| shared.run(&mut *work));
        let shape = images.shape();
        let has = |needs| options.metrics.iter().any(|metric| metric.needs == needs);
        let mut real = Set::new(shape);
        let (mut classifier, mut inception) = (None, None);
        let reals = spread(images.count, MOST_REALS);
        if has(Needs::Features) {
            let (mut trained, identity) =
                backend.run(|| open(backend, images, source, options.classifier.as_deref()))?;
            let names = images.labels.as_ref().map_or(Vec::new(), |labels| labels.names.clone());
            backend.run(|| see(&mut trained, images, &reals, &mut real))?;
            let labels = images.labels.as_ref().map_or(&[][..], |labels| &labels.classes);
            real.asked = reals.iter().filter_map(|&at| labels.get(at).copied()).collect();
            real.names = if names.len() == trained.classes() { names } else { numbers(trained.classes()) };
            classifier = Some((Box::new(trained) as Box<dyn Sees>, identity));
        }
        if let Some(options) = options.inception.as_ref().filter(|_| has(Needs::Inception) || has(Needs::Logits)) {
            let reals = has(Needs::Inception).then_some(&reals[..]);
            let (net, observed) =
                backend.run(|| Perceiving::open(backend, images, reals, options, &Setting::usual()))?;
            (inception, real.inception) = (Some(net), observed);
        }
        if has(Needs::Pixels) {
            let pictures = spread(images.count, PICTURES.min(options.samples));
            real.pixels = pictures.iter().flat_map(|&at| image(images, at)).copied().collect();
        }
        Ok(Evaluator { options, real, reals: reals.len(), classifier, inception, pool })
    }

    /// The options of the measurement.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The classifier, where a metric needs one.
    pub fn classifier(&self) -> Option<&Identity> {
        self.classifier.as_ref().map(|(_, identity)| identity)
    }

    /// Inception, where a metric needs it.
    pub fn inception(&self) -> Option<&InceptionIdentity> {
        self.inception.as_ref().map(|inception| &inception.identity)
    }

    /// The number of real images that samples are compared with.
    pub fn reals(&self) -> usize {
        self.reals
    }

    /// The size of an image.
    pub fn image(&self) -> ImageShape {
        self.real.image
    }

    /// Measures samples: `draw` gives those of a range of seeds.
    ///
    /// # Errors
    /// Those of `draw` and of the device.
    pub fn evaluate(&mut self, mut draw: impl FnMut(Range<u64>) -> Result<Drawn>) -> Result<Vec<Figure>> {
        let Evaluator { options: Options { metrics, samples, seed, .. }, real, classifier, inception, pool, .. } = self;
        let mut gathered = inception.as_ref().map(|_| Gathered::new(*samples));
        let mut pace = Pace::new("samples", *samples);
        let mut fake = Set { names: real.names.clone(), ..Set::new(real.image) };
        let wanted = PICTURES.min(*samples) * real.image.len() * usize::from(!real.pixels.is_empty());
        for first in (0..*samples).step_by(DRAWN) {
            let last = (first + DRAWN).min(*samples);
            let Drawn { pixels, classes } = draw(*seed + first as u64..*seed + last as u64)?;
            fake.asked.extend(classes.into_iter().map(|class| u16::try_from(class).unwrap_or(u16::MAX)));
            let missing = wanted.saturating_sub(fake.pixels.len()).min(pixels.len());
            fake.pixels.extend_from_slice(&pixels[..missing]);
            if let Some((trained, _)) = classifier {
                let mut seen = Ok(Seen::default());
                pool(&mut || seen = trained.look_at(&pixels));
                let Seen { features, classes } = seen?;
                fake.features.extend(features);
                fake.classes.extend(classes);
            }
            if let Some((inception, gathered)) = inception.as_mut().zip(gathered.as_mut()) {
                let mut done = Ok(());
                pool(&mut || done = inception.look_at(&pixels, gathered));
                done?;
                pace.step(last - first);
            }
        }
        fake.inception = gathered.map(Gathered::finish);
        let mut figures = Vec::new();
        pool(&mut || metrics.iter().for_each(|metric| figures.extend((metric.measure)(real, &fake, *seed))));
        Ok(figures)
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Refuses what no number can be made of.
fn require_enough(images: &Images, source: &str, options: &Options) -> Result<()> {
    if options.samples < LEAST_SAMPLES {
        return Err(Error::Usage(format!(
            "{} samples are too few to compare: pass at least {LEAST_SAMPLES}",
            options.samples
        )));
    }
    if options.seed.checked_add(options.samples as u64).is_none() {
        return Err(Error::Usage(format!(
            "seed {} leaves no room for {} samples: pass a smaller one",
            options.seed, options.samples
        )));
    }
    options.require_weights()?;
    if images.count < LEAST_SAMPLES {
        let expected = format!("at least {LEAST_SAMPLES} images to compare samples with");
        return Err(Error::bad_data(source, expected, images.count.to_string()));
    }
    Ok(())
}

/// The classifier of these images.
fn open<B: Trains>(
    backend: &B,
    images: &Images,
    source: &str,
    file: Option<&Path>,
) -> Result<(TrainedClassifier<B>, Identity)> {
    let lesson = match &images.labels {
        Some(labels) => Ok(Lesson { image: images.shape(), pixels: &images.pixels, labels }),
        None => Err(without_classes(source)),
    };
    store::open(backend, images.shape(), lesson, file)
}

/// The error for metrics that need classes: it names the metrics that do not, and the way to provide classes.
fn without_classes(source: &str) -> Error {
    let names = |needs| {
        let of = super::METRICS.iter().filter(|metric| metric.needs == needs);
        of.map(|metric| metric.name).collect::<Vec<_>>().join(",")
    };
    let expected = format!("images with classes, which {} need", names(Needs::Features));
    Error::bad_data(source, expected, "images without").with_hint(format!(
        "--metrics {} needs none; for the others put the pictures of each class into a folder of its own below {}, or pass a \
         classifier of images of this size with --classifier FILE",
        names(Needs::Pixels),
        shell::path(source)
    ))
}

/// At most `most` of `count` images, evenly spread.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let taken = count.min(most);
    (0..taken).map(|i| (i as u128 * count as u128 / taken as u128) as usize).collect()
}

fn image(images: &Images, at: usize) -> &[u8] {
    let len = images.shape().len();
    &images.pixels[at * len..][..len]
}

/// Has the classifier look at chosen images.
fn see<B: Trains>(trained: &mut TrainedClassifier<B>, images: &Images, chosen: &[usize], set: &mut Set) -> Result<()> {
    for part in chosen.chunks(DRAWN) {
        let pixels: Vec<u8> = part.iter().flat_map(|&at| image(images, at)).copied().collect();
        let Seen { features, classes } = trained.look_at(&pixels)?;
        set.features.extend(features);
        set.classes.extend(classes);
    }
    Ok(())
}
