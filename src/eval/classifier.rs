//! The classifier: how it is trained on the images of a data set, and what it says of images.
//!
//! It is made once for a data set, and then only used. Its training has no settings: images, labels and this recipe alone decide its
//! weights, so that all runs on the same data are measured with the same one.

use super::draws::{Purpose, below, choice, words};
use super::split::Split;
use crate::config::OptimizerKind;
use crate::data::Labels;
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Backend, Buffer, Network, StepState, Storage, StoredBuffer};
use crate::image::ImageShape;
use crate::nn::classifier::FEATURES;
use crate::nn::tensors::{TensorSet, arena_tensors};
use crate::nn::{Classifier, Division, Mode, NetworkMemory, TrainedNetwork};
use crate::ops::Executor;
use crate::ops::losses::cross_entropy::CrossEntropy;
use crate::ops::optimizers::adam::Adam;
use crate::ops::optimizers::schedule::Schedule;
use crate::run::Tensor;
use crate::run::messages::detail;
use crate::{Error, Result};

/// The number of this recipe: another one makes other weights. It is part of the name under which they are kept.
pub(super) const RECIPE: u32 = 1;
/// The seed of the weights at the start, of the order of the images, and of their shifts.
const SEED: u64 = 0;
/// Adam's learning rate at the start; it falls to 0 in a straight line.
const RATE: f64 = 2e-3;
/// Passes over grey images, and over colour images, which take longer to learn.
const PASSES: [usize; 2] = [3, 10];
/// The least and the most steps.
const STEPS: (usize, usize) = (200, 8000);
/// The shift of an image is at most this part of its shorter side.
const SHIFT: usize = 14;
/// The prefix of its tensors in a file.
const PREFIX: &str = "classifier.";

/// A backend that can train it.
pub trait Trains: Executor + Backend<Real = f32> {}
impl<B: Executor + Backend<Real = f32>> Trains for B {}

/// The classifier's output for images.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Features `[N, FEATURES]`.
    pub features: Vec<f32>,
    /// The likeliest class of each, `[N]`.
    pub classes: Vec<u16>,
}

/// Labelled images to learn from: pixels `[N, H, W, C]` and the class of each.
#[derive(Clone, Copy)]
pub struct Lesson<'a> {
    /// The size of an image.
    pub image: ImageShape,
    /// The pixels.
    pub pixels: &'a [u8],
    /// The classes.
    pub labels: &'a Labels,
}

/// A classifier on a device.
pub struct TrainedClassifier<B: Trains> {
    backend: B,
    network: TrainedNetwork<Classifier<B>, B>,
    image: ImageShape,
    classes: usize,
    /// Images of a batch: every pass has as many, since the order of a product's sums may depend on its size.
    batch: usize,
    images: StoredBuffer<B>,
    logits: StoredBuffer<B>,
}

impl<B: Trains> TrainedClassifier<B> {
    /// A classifier as it is before training.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn new(backend: &B, image: ImageShape, classes: usize) -> Result<Self> {
        let batch = ((1 << 17) / (image.h * image.w).max(1)).clamp(16, 128);
        let (layers, parts) = Classifier::new(backend, image, classes, batch)?;
        let memory = NetworkMemory::new(backend, parts, OptimizerKind::Adam, SEED, 0, false, Division::default())?;
        Ok(TrainedClassifier {
            network: TrainedNetwork { layers, memory },
            image,
            classes,
            batch,
            images: backend.alloc(batch * image.len())?,
            logits: backend.alloc(batch * classes)?,
            backend: backend.clone(),
        })
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Weights and statistics, as a file has them.
    ///
    /// # Errors
    /// Those of the device.
    pub fn tensors(&self) -> Result<Vec<Tensor>> {
        let NetworkMemory { parts, params, stats, .. } = &self.network.memory;
        let mut all = arena_tensors(&self.backend, &parts.params, params, PREFIX, "")?;
        all.extend(arena_tensors(&self.backend, &parts.stats, stats, PREFIX, "")?);
        Ok(all)
    }

    /// Takes weights and statistics from a file.
    ///
    /// # Errors
    /// [`Error::BadData`] where one is missing or of another shape.
    pub fn fill(&mut self, tensors: &mut TensorSet<'_, f32>) -> Result<()> {
        let TrainedClassifier { backend, network: TrainedNetwork { memory, .. }, .. } = self;
        tensors.fill(backend, &memory.parts.params, &mut memory.params, PREFIX, "")?;
        tensors.fill(backend, &memory.parts.stats, &mut memory.stats, PREFIX, "")?;
        memory.round(backend)
    }

    /// Trains on the labelled images that are not held out. Returns the share of those held out that it then puts into their class,
    /// `None` where no class has enough images to hold one out, and their number.
    ///
    /// # Errors
    /// Those of the device.
    pub fn train(&mut self, lesson: Lesson<'_>) -> Result<(Option<f64>, usize)> {
        let split = Split::of(lesson.labels);
        let passes = PASSES[usize::from(self.image.c > 1)];
        let steps = (passes * split.training.len() / self.batch).clamp(STEPS.0, STEPS.1);
        let backend = self.backend.clone();
        let mut memory = Training {
            state: backend.buffer_of(&[StepState::new(SEED, 0.0)])?,
            labels: backend.alloc(self.batch)?,
            losses: backend.alloc(self.batch)?,
            d_losses: backend.buffer_of(&vec![1.0 / self.batch as f32; self.batch])?,
            d_logits: backend.alloc(self.batch * self.classes)?,
        };
        let mut order = Vec::new();
        let mut pass = 0;
        for step in 0..steps {
            // Images that are left over after whole batches go before those of the next pass.
            while order.len() < self.batch {
                let drawn = choice(SEED, Purpose::Batches, pass, split.training.len(), split.training.len());
                order.extend(drawn.iter().map(|&number| split.training[number as usize]));
                pass += 1;
            }
            let chosen: Vec<u32> = order.drain(..self.batch).collect();
            let rate = RATE * (1.0 - step as f64 / steps as f64);
            self.upload(lesson, &chosen, Some(step as u64))?;
            let loss = self.learn(&mut memory, lesson.labels, &chosen, rate)?;
            if (step + 1) % (steps / 10).max(1) == 0 {
                detail(&format!("classifier: step {} of {steps}, cross-entropy {loss:.4}", step + 1));
            }
        }
        Ok((self.accuracy(lesson, &split.held_out)?, split.held_out.len()))
    }

    /// The share of these images that it puts into their class.
    fn accuracy(&mut self, lesson: Lesson<'_>, images: &[u32]) -> Result<Option<f64>> {
        let mut right = 0;
        for part in images.chunks(self.batch) {
            self.upload(lesson, part, None)?;
            let seen = self.classify(part.len())?;
            let labels = part.iter().map(|&image| lesson.labels.classes[image as usize]);
            right += seen.classes.iter().zip(labels).filter(|(class, label)| **class == *label).count();
        }
        Ok((!images.is_empty()).then(|| right as f64 / images.len() as f64))
    }

    /// Its output for images, pixels `[N, H, W, C]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn look_at(&mut self, pixels: &[u8]) -> Result<Seen> {
        let mut all = Seen::default();
        let len = self.image.len();
        for part in pixels.chunks(self.batch * len) {
            self.write(part.len() / len, |i, target| target.extend(part[i * len..][..len].iter().map(|&p| scaled(p))))?;
            let Seen { features, classes } = self.classify(part.len() / len)?;
            all.features.extend(features);
            all.classes.extend(classes);
        }
        Ok(all)
    }

    /// Puts chosen images into the batch: as they are, or shifted and mirrored as is drawn for the step.
    fn upload(&mut self, lesson: Lesson<'_>, chosen: &[u32], step: Option<u64>) -> Result<()> {
        let (shape, len) = (self.image, self.image.len());
        self.write(chosen.len(), |i, target| {
            let image = &lesson.pixels[chosen[i] as usize * len..][..len];
            let change = step.map_or(Change::default(), |step| Change::drawn(shape, step, i));
            change.of(shape, image, target);
        })
    }

    /// Writes the first `count` images of the batch.
    fn write(&mut self, count: usize, image: impl Fn(usize, &mut Vec<f32>) + Sync) -> Result<()> {
        let len = self.image.len();
        let mut values = vec![B::Storage::of_real(0.0); count * len];
        values.par_chunks_mut(len).enumerate().for_each(|(i, target)| {
            let mut numbers = Vec::with_capacity(len);
            image(i, &mut numbers);
            target.iter_mut().zip(numbers).for_each(|(to, from)| *to = Storage::of_real(from));
        });
        self.backend.upload(&values, self.backend.part_mut(&mut self.images, 0..count * len))
    }

    /// Features and classes of the first `count` images of the batch.
    fn classify(&mut self, count: usize) -> Result<Seen> {
        let Self { backend, network: TrainedNetwork { layers, memory }, images, logits, batch, classes, .. } = self;
        let (pass, stats) = memory.forward_pass(backend, *batch);
        layers.forward(pass, Mode::Eval, stats, backend.view(images), backend.view_mut(logits))?;
        let features = backend.read_stored(layers.features(backend, count))?;
        let logits = backend.read_stored(backend.part(logits, 0..count * *classes))?;
        let class = |logits: &[f32]| {
            let best =
                logits.iter().enumerate().fold(0, |best, (k, logit)| if *logit > logits[best] { k } else { best });
            u16::try_from(best).unwrap_or(u16::MAX)
        };
        debug_assert_eq!(features.len(), count * FEATURES);
        Ok(Seen { features, classes: logits.chunks_exact(*classes).map(class).collect() })
    }

    /// One step on the batch; the mean loss before it.
    fn learn(&mut self, training: &mut Training<B>, labels: &Labels, chosen: &[u32], rate: f64) -> Result<f64> {
        let Self { backend, network: TrainedNetwork { layers, memory }, images, logits, batch, classes, .. } = self;
        let Training { state, labels: uploaded, losses, d_losses, d_logits } = training;
        let of_batch: Vec<u32> = chosen.iter().map(|&image| u32::from(labels.classes[image as usize])).collect();
        backend.upload(&of_batch, backend.view_mut(uploaded))?;
        let images = backend.view(images);
        let (pass, stats) = memory.forward_pass(backend, *batch);
        layers.forward(pass, Mode::Train { groups: 1 }, stats, images, backend.view_mut(logits))?;
        let d = CrossEntropy { n: *batch, classes: *classes };
        let (logits, targets) = (backend.view(logits), backend.view(uploaded));
        backend.cross_entropy_forward(&d, logits, targets, backend.view_mut(losses))?;
        let d_losses = backend.view(d_losses);
        backend.cross_entropy_backward_input(&d, logits, targets, d_losses, backend.view_mut(d_logits))?;
        let (pass, gradients) = memory.first_backward_pass(backend, *batch)?;
        layers.backward(pass, images, logits, backend.view(d_logits), gradients)?;
        let (network, schedule) = (Network::Discriminator, Schedule::CONSTANT);
        let adam = Adam { network, lr: rate, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, schedule };
        let gradients = backend.view(&memory.gradients);
        backend.check_gradients(adam.network, gradients, backend.view_mut(state))?;
        let (weights, first) = (backend.view_mut(&mut memory.params), backend.view_mut(&mut memory.first_moments));
        let (second, rounded) = (backend.view_mut(&mut memory.second_moments), memory.rounded.to_write(backend));
        backend.adam_update(&adam, gradients, weights, first, second, rounded, backend.view(state))?;
        let losses = backend.read(backend.view(losses))?;
        let mean = losses.iter().map(|&loss| f64::from(loss)).sum::<f64>() / losses.len() as f64;
        if mean.is_finite() {
            return Ok(mean);
        }
        Err(Error::Internal(format!("the classifier's cross-entropy is {mean}")))
    }
}

/// Memory that only training needs.
struct Training<B: Trains> {
    state: Buffer<B, StepState>,
    labels: Buffer<B, u32>,
    losses: Buffer<B>,
    d_losses: Buffer<B>,
    d_logits: StoredBuffer<B>,
}

/// A pixel as the classifier reads it, in [−1, 1].
fn scaled(pixel: u8) -> f32 {
    f32::from(pixel) / 127.5 - 1.0
}

/// The change of an image for a step of training.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Change {
    down: isize,
    right: isize,
    mirrored: bool,
}

impl Change {
    /// A shift in both directions; colour images, which are of things and not of letters, are also mirrored, half of them.
    fn drawn(shape: ImageShape, step: u64, image: usize) -> Change {
        let drawn = words(SEED, Purpose::Augmentation, step, u32::try_from(image).unwrap_or(u32::MAX));
        let most = shape.h.min(shape.w) / SHIFT;
        let shift = |word: u32| below(word, 2 * most + 1) as isize - most as isize;
        Change { down: shift(drawn[0]), right: shift(drawn[1]), mirrored: shape.c > 1 && drawn[2] >> 31 == 1 }
    }

    /// Appends the changed image; what a shift leaves open is filled by the nearest pixel.
    fn of(self, ImageShape { h, w, c }: ImageShape, image: &[u8], target: &mut Vec<f32>) {
        let inside = |at: isize, size: usize| at.clamp(0, size as isize - 1) as usize;
        for y in 0..h {
            let row = &image[inside(y as isize - self.down, h) * w * c..][..w * c];
            for x in 0..w {
                let x = inside(x as isize - self.right, w);
                let x = if self.mirrored { w - 1 - x } else { x };
                target.extend(row[x * c..][..c].iter().map(|&pixel| scaled(pixel)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_shifted_and_mirrored() {
        let shape = ImageShape { h: 2, w: 3, c: 1 };
        let image = [0, 51, 102, 153, 204, 255];
        let changed = |down, right, mirrored| {
            let mut target = Vec::new();
            Change { down, right, mirrored }.of(shape, &image, &mut target);
            target.iter().map(|value| ((value + 1.0) * 2.5).round() as u8).collect::<Vec<_>>()
        };
        assert_eq!(changed(0, 0, false), [0, 1, 2, 3, 4, 5]);
        assert_eq!(changed(1, 0, false), [0, 1, 2, 0, 1, 2]);
        assert_eq!(changed(-1, 1, false), [3, 3, 4, 3, 3, 4]);
        assert_eq!(changed(0, 0, true), [2, 1, 0, 5, 4, 3]);
        let large = ImageShape { h: 28, w: 28, c: 3 };
        let all: Vec<Change> = (0..400).map(|image| Change::drawn(large, 3, image)).collect();
        for side in [-2, 2] {
            assert!(all.iter().any(|change| change.down == side) && all.iter().any(|change| change.right == side));
        }
        assert!(all.iter().all(|change| change.down.abs() <= 2 && change.right.abs() <= 2));
        assert!((150..250).contains(&all.iter().filter(|change| change.mirrored).count()));
    }
}
