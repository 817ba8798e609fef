//! One training step on given weights, images and noise, with everything that it computes read out, in PyTorch's layouts.
//! A step of several updates of the discriminator makes each of them on the same tensors.
//!
//! It is how the engine is held against another framework. The names and shapes of what goes in and comes out are in
//! tests/oracle/README.md, "The exchange format". The file's own type, f32 or f64, is what the step computes in.

use std::collections::BTreeMap;
use std::path::Path;

use super::batch::{Batch, Given, GivenAugmentation, GivenClasses, GivenInstanceNoise, GivenPenalty, prior};
use super::snapshot::{TensorSet, arena_tensors, average_tensors, fill_networks, weights};
use super::step::model::Model;
use super::step::probe::Probe;
use super::trainer::Trainer;
use crate::config::{BottleneckZ, Penalty, PixelRange, Settings, validate_for_images};
use crate::device::normal::fill_normals;
use crate::device::philox::{self, DrawStep, Stream};
use crate::device::{Accelerator, Backend, Cpu, Real, StepState, Stored, cuda};
use crate::nn::table::permute;
use crate::nn::{ImageShape, NetworkMemory};
use crate::ops::Executor;
use crate::ops::inputs::augment::DRAWS;
use crate::ops::inputs::classes::{ClassDraw, ClassesOp};
use crate::ops::inputs::prior::PriorOp;
use crate::run::{Tensor, tensors};
use crate::{Error, Result};

/// Runs one step from the file `input` to the file `output`, on the CPU or on the GPU of that number. The batch is as
/// large as IN's `images`.
///
/// # Errors
/// [`Error::BadData`] where a tensor is missing, unknown, misshapen or not finite; [`Error::Usage`] where the settings
/// don't fit the images; [`Error::Diverged`] where the step meets what is not a finite number.
pub fn trace_file(settings: &Settings, input: &Path, output: &Path, gpu: Option<usize>) -> Result<()> {
    let bytes = std::fs::read(input).map_err(|error| Error::io(input, "read", error))?;
    let Some(double) = tensors::holds_f64(input, &bytes, "images")? else {
        return Err(Error::bad_data(input, "a tensor `images`", "none of that name").with_hint(HINT));
    };
    let computed = if double { trace_bytes::<f64> } else { trace_bytes::<f32> };
    computed(settings, input, &bytes, output, gpu)
}

const HINT: &str = "`vgan-cuda trace --example PATH` writes a valid file";

fn trace_bytes<T: Real>(
    settings: &Settings,
    input: &Path,
    bytes: &[u8],
    output: &Path,
    gpu: Option<usize>,
) -> Result<()> {
    let tensors = TensorSet::new(tensors::decode_as::<T>(input, bytes)?, input);
    let out = match gpu {
        Some(number) => trace(Accelerator::<T>::new(cuda::open(number)?), settings, tensors)?,
        None => {
            let cpu = Cpu::<T>::new(None)?;
            cpu.clone().run(|| trace(cpu, settings, tensors))?
        }
    };
    tensors::write(output, &out)
}

/// One step on the tensors of IN; the tensors of OUT.
///
/// # Errors
/// Those of [`trace_file`].
pub fn trace<B: Executor>(
    backend: B,
    settings: &Settings,
    mut input: TensorSet<'_, B::Real>,
) -> Result<Vec<Tensor<B::Real>>> {
    let mut tracer = Tracer::new(backend, settings, &mut input)?;
    let mut out = tracer.step(&mut input)?;
    input.finish()?;
    out.extend(tracer.weights()?);
    Ok(out)
}

/// A trainer that is fed with given tensors, step by step.
pub struct Tracer<B: Executor> {
    trainer: Trainer<B>,
}

impl<B: Executor> Tracer<B> {
    /// Takes weights, running statistics and `beta` out of `input`, and the size of the batch from its `images`. A moving
    /// average starts from these weights.
    ///
    /// # Errors
    /// Those of [`trace_file`].
    pub fn new(backend: B, settings: &Settings, input: &mut TensorSet<'_, B::Real>) -> Result<Self> {
        let (n, image) = image_size(input)?;
        let mut settings = settings.clone();
        // What is given is one part.
        (settings.train.batch, settings.train.accumulate) = (n, 1);
        validate_for_images(&settings, image)?;
        let mut trainer = Trainer::new(backend, settings, image)?;
        fill_networks(&mut trainer.model, input)?;
        let Model { backend, generator, average, .. } = &mut trainer.model;
        if let Some(average) = average {
            backend.copy(backend.view(&generator.memory.params), backend.view_mut(&mut average.params))?;
            backend.copy(backend.view(&generator.memory.stats), backend.view_mut(&mut average.stats))?;
        }
        let mut state = StepState { beta: input.take("beta", &[1])?[0].to_f64(), ..trainer.read_state()? };
        if trainer.model.settings.objective.loss.is_balanced() {
            state.balance = input.take("balance", &[1])?[0].to_f64();
        }
        trainer.write_state(&state)?;
        Ok(Tracer { trainer })
    }

    /// One step on the images, latents and noise of `input`: all of OUT but the updated weights. Of several updates of the
    /// discriminator it gives what the last one computes.
    ///
    /// # Errors
    /// Those of [`trace_file`].
    pub fn step(&mut self, input: &mut TensorSet<'_, B::Real>) -> Result<Vec<Tensor<B::Real>>> {
        let inputs = self.inputs(input)?;
        let mut seen = Seen::default();
        self.trainer.probed_step(&inputs, &mut seen)?;
        let model = &self.trainer.model;
        let Model { backend, generator, discriminator, image_encoder, settings, .. } = model;
        let state = model.read_state()?;
        check_finite(&state)?;
        let mut out = seen.discriminator;
        out.extend(gradients(backend, &discriminator.memory, "grad.discriminator.")?);
        out.extend(seen.generator);
        out.extend(gradients(backend, &generator.memory, "grad.generator.")?);
        out.extend(seen.reconstructions);
        if let Some(encoder) = image_encoder {
            out.extend(gradients(backend, &encoder.memory, "grad.encoder.")?);
        }
        let metrics = state.metrics;
        let scalar = |name: &str, value| self::tensor(name, &[1], vec![B::Real::of(value)]);
        out.extend([scalar("loss_d", metrics.loss_d), scalar("loss_g", metrics.loss_g)]);
        if settings.objective.penalty != Penalty::None {
            out.push(scalar("penalty", metrics.penalty));
        }
        if self.trainer.model.settings.objective.loss.is_balanced() {
            out.extend([scalar("balance", state.balance), scalar("convergence", metrics.convergence)]);
        }
        if image_encoder.is_some() {
            out.push(scalar("reconstruction", metrics.reconstruction));
        }
        if settings.bottleneck.enabled {
            let kl = [scalar("kl_real", metrics.kl_real), scalar("kl_fake", metrics.kl_fake)];
            out.extend(kl.into_iter().chain([scalar("beta", state.beta)]));
        }
        Ok(out)
    }

    /// Weights and running statistics as they stand: `generator.<key>`, `discriminator.<key>`, and `average.<key>` of the
    /// generator's moving average where the settings ask for one.
    ///
    /// # Errors
    /// Those of the device.
    pub fn weights(&self) -> Result<Vec<Tensor<B::Real>>> {
        Ok([weights(&self.trainer.model)?, average_tensors(&self.trainer.model)?].concat())
    }

    /// The inputs of a step in our layouts.
    fn inputs(&self, input: &mut TensorSet<'_, B::Real>) -> Result<Batch<B>> {
        let backend = &self.trainer.model.backend;
        let mut given = BTreeMap::new();
        for wanted in step_inputs(&self.trainer.model) {
            let values = input.take(wanted.name, &wanted.shape)?;
            if let Draw::Classes = wanted.draw {
                require_classes(&values, self.trainer.model.settings.nets.classes, wanted.name, input.path())?;
            }
            let channels_last = wanted.shape.len() == 4;
            let values = if channels_last { permute(&values, &wanted.shape, &[0, 2, 3, 1]) } else { values };
            given.insert(wanted.name, values);
        }
        // Empty where the settings want none.
        let mut values =
            |names: &[&'static str]| names.iter().filter_map(|name| given.remove(name)).collect::<Vec<_>>().concat();
        Ok(Batch::Given(Given {
            images: backend.stored_of(&values(&["images"]))?,
            classes: GivenClasses {
                real: backend.buffer_of(&numbers(&values(&["classes_real"])))?,
                discriminator: backend.buffer_of(&numbers(&values(&["classes_d"])))?,
                generator: backend.buffer_of(&numbers(&values(&["classes_g"])))?,
            },
            latents_d: backend.stored_of(&values(&["latents_d"]))?,
            latents_g: backend.stored_of(&values(&["latents_g"]))?,
            noise_d: backend.buffer_of(&values(&["noise_real", "noise_fake"]))?,
            noise_g: backend.buffer_of(&values(&["noise_g"]))?,
            noise_reconstruction: backend.buffer_of(&values(&["noise_reconstruction"]))?,
            instance: GivenInstanceNoise {
                discriminator: backend.buffer_of(&values(&["instance_real", "instance_fake"]))?,
                generator: backend.buffer_of(&values(&["instance_g"]))?,
                reconstruction: backend.buffer_of(&values(&["instance_reconstruction"]))?,
            },
            augmentation: GivenAugmentation {
                discriminator: backend.buffer_of(&values(&["augment_real", "augment_fake"]))?,
                generator: backend.buffer_of(&values(&["augment_g"]))?,
                reconstruction: backend.buffer_of(&values(&["augment_reconstruction"]))?,
            },
            penalty: GivenPenalty {
                positions: backend.stored_of(&values(&["penalty_positions"]))?,
                directions: backend.stored_of(&values(&["penalty_directions"]))?,
                noise: backend.buffer_of(&values(&["noise_penalty"]))?,
            },
        }))
    }
}

/// The values of a step that are overwritten before it ends.
struct Seen<T> {
    /// The images of the last update of the discriminator, and what it says of them.
    discriminator: Vec<Tensor<T>>,
    /// Those of the generator.
    generator: Vec<Tensor<T>>,
    reconstructions: Vec<Tensor<T>>,
}

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Seen { discriminator: Vec::new(), generator: Vec::new(), reconstructions: Vec::new() }
    }
}

impl<B: Executor> Probe<B> for Seen<B::Real> {
    fn discriminator_loss(&mut self, model: &Model<B>) -> Result<()> {
        self.discriminator = vec![generated(model, "fakes_d", 1)?];
        self.discriminator.extend(verdicts(model, &["real", "fake"])?);
        Ok(())
    }

    fn generator_loss(&mut self, model: &Model<B>) -> Result<()> {
        self.generator = vec![generated(model, "fakes_g", 2)?];
        // Where features are matched, the discriminator's pass ended with them.
        let matched = model.settings.objective.feature_matching > 0.0;
        self.generator.extend(if matched { features(model, &["g"])? } else { verdicts(model, &["g"])? });
        Ok(())
    }

    fn reconstructions(&mut self, model: &Model<B>, images: Stored<'_, B>) -> Result<()> {
        self.reconstructions = vec![self::images(model, "reconstructions", images)?];
        Ok(())
    }
}

/// c, h, w of z; `None` without a bottleneck.
fn code<B: Executor>(model: &Model<B>) -> Option<[usize; 3]> {
    let code = model.discriminator.layers.code();
    model.settings.bottleneck.enabled.then_some([code.c, code.h, code.w])
}

/// The generator's images: N of the batch, behind one or two times as many.
fn generated<B: Executor>(model: &Model<B>, name: &str, kind: usize) -> Result<Tensor<B::Real>> {
    let len = model.settings.train.batch * model.image.len();
    images(model, name, model.backend.part(&model.batch.images.clean, kind * len..(kind + 1) * len))
}

/// N images.
fn images<B: Executor>(model: &Model<B>, name: &str, images: Stored<'_, B>) -> Result<Tensor<B::Real>> {
    let Model { backend, image: ImageShape { h, w, c }, settings, .. } = model;
    let (n, h, w, c) = (settings.train.batch, *h, *w, *c);
    Ok(tensor(name, &[n, c, h, w], permute(&backend.read_stored(images)?, &[n, h, w, c], &[0, 3, 1, 2])))
}

/// Logits and code of each group of N images that the discriminator saw last.
fn verdicts<B: Executor>(model: &Model<B>, groups: &[&str]) -> Result<Vec<Tensor<B::Real>>> {
    let Model { backend, discriminator, settings, .. } = model;
    let n = settings.train.batch;
    let total = n * groups.len();
    let logits = backend.read_stored(backend.part(&model.batch.logits, 0..total))?;
    let mut out = grouped("logits", groups, &[n], &logits);
    out.extend(features(model, groups)?);
    let Some([c, h, w]) = code(model) else { return Ok(out) };
    let z = permute(&backend.read_stored(discriminator.layers.z(backend, total))?, &[total, h * w, c], &[0, 2, 1]);
    out.extend(grouped("z", groups, &[n, c, h, w], &z));
    Ok(out)
}

/// μ and log σ² of each group of N images that the discriminator's encoder saw last; nothing without a bottleneck.
fn features<B: Executor>(model: &Model<B>, groups: &[&str]) -> Result<Vec<Tensor<B::Real>>> {
    let Some([c, h, w]) = code(model) else { return Ok(Vec::new()) };
    let Model { backend, discriminator, settings, .. } = model;
    let n = settings.train.batch;
    let total = n * groups.len();
    // They lie side by side at each position.
    let features = backend.read_stored(discriminator.layers.features(backend, total))?;
    let both = permute(&features, &[total, h * w, 2, c], &[2, 0, 3, 1]);
    let (mu, logvar) = both.split_at(both.len() / 2);
    let shape = [n, c, h, w];
    Ok([grouped("mu", groups, &shape, mu), grouped("logvar", groups, &shape, logvar)].concat())
}

/// `values` of all groups, one after the other, as a tensor for each: `<name>_<group>`.
fn grouped<T: Copy>(name: &str, groups: &[&str], shape: &[usize], values: &[T]) -> Vec<Tensor<T>> {
    let parts = values.chunks_exact(values.len() / groups.len());
    groups.iter().zip(parts).map(|(group, part)| tensor(&format!("{name}_{group}"), shape, part.into())).collect()
}

/// A tensor of IN that a step of training would draw.
struct StepInput {
    name: &'static str,
    /// PyTorch's.
    shape: Vec<usize>,
    stream: Stream,
    draw: Draw,
}

/// The distribution that a tensor of IN is drawn from.
enum Draw {
    /// The range of the pixels, uniformly: there is no data set.
    Pixels,
    /// The prior of z.
    Prior,
    /// N(0, 1).
    Normal,
    /// U[0, 1).
    Uniform,
    /// The numbers of classes, evenly.
    Classes,
}

/// Refuses what is no number of a class.
fn require_classes<T: Real>(values: &[T], classes: usize, name: &str, path: &Path) -> Result<()> {
    let is_class = |value: f64| value.fract() == 0.0 && (0.0..classes as f64).contains(&value);
    let Some(wrong) = values.iter().map(|value| value.to_f64()).find(|&value| !is_class(value)) else { return Ok(()) };
    Err(Error::bad_data(path, format!("`{name}` to hold whole numbers from 0 to {}", classes - 1), wrong.to_string()))
}

/// Classes as the step has them.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole numbers that were checked")]
fn numbers<T: Real>(values: &[T]) -> Vec<u32> {
    values.iter().map(|value| value.to_f64() as u32).collect()
}

/// The inputs that a step takes with these settings.
fn step_inputs<B: Executor>(model: &Model<B>) -> Vec<StepInput> {
    let Model { settings, image, .. } = model;
    let Settings { objective, train, generator, .. } = settings;
    let (n, sampled_g) = (train.batch, settings.bottleneck.generator_z == BottleneckZ::Sampled);
    let (images, latents) = (vec![n, image.c, image.h, image.w], vec![n, generator.latent]);
    let mut all = Vec::new();
    let mut add = |wanted: bool, name, shape: &[usize], stream, draw| {
        all.extend(wanted.then(|| StepInput { name, shape: shape.into(), stream, draw }));
    };
    // The stream of mirrored images: no data set is read here, so nothing else draws from it.
    add(true, "images", &images, Stream::Flip, Draw::Pixels);
    add(true, "latents_d", &latents, Stream::LatentDiscriminator, Draw::Prior);
    add(true, "latents_g", &latents, Stream::LatentGenerator, Draw::Prior);
    let told = settings.nets.is_conditional();
    // The stream of the data's order: nothing else draws from it here either.
    add(told, "classes_real", &[n], Stream::Permutation, Draw::Classes);
    add(told, "classes_d", &[n], Stream::ClassDiscriminator, Draw::Classes);
    add(told, "classes_g", &[n], Stream::ClassGenerator, Draw::Classes);
    // R1 and R2 are taken at images that D has seen, with the noise that it saw them with.
    let elsewhere = matches!(objective.penalty, Penalty::WganGp | Penalty::Dragan);
    if let Some([c, h, w]) = code(model) {
        let code = [n, c, h, w];
        let matches_features = objective.feature_matching > 0.0;
        add(true, "noise_real", &code, Stream::NoiseReal, Draw::Normal);
        add(true, "noise_fake", &code, Stream::NoiseFake, Draw::Normal);
        add(sampled_g && !matches_features, "noise_g", &code, Stream::NoiseGenerator, Draw::Normal);
        let reconstructed = sampled_g && objective.mode > 0.0;
        add(reconstructed, "noise_reconstruction", &code, Stream::NoiseReconstruction, Draw::Normal);
        let sampled = elsewhere && objective.penalty_z == BottleneckZ::Sampled;
        add(sampled, "noise_penalty", &code, Stream::NoisePenalty, Draw::Normal);
    }
    let noise = objective.instance_noise > 0.0;
    add(noise, "instance_real", &images, Stream::InstanceReal, Draw::Normal);
    add(noise, "instance_fake", &images, Stream::InstanceFake, Draw::Normal);
    add(noise, "instance_g", &images, Stream::InstanceGenerator, Draw::Normal);
    let reconstructed = noise && objective.mode > 0.0;
    add(reconstructed, "instance_reconstruction", &images, Stream::InstanceReconstruction, Draw::Normal);
    let (augments, draws) = (!objective.augment.is_none(), [n, DRAWS]);
    add(augments, "augment_real", &draws, Stream::AugmentReal, Draw::Uniform);
    add(augments, "augment_fake", &draws, Stream::AugmentFake, Draw::Uniform);
    add(augments, "augment_g", &draws, Stream::AugmentGenerator, Draw::Uniform);
    let reconstructed = augments && objective.mode > 0.0;
    add(reconstructed, "augment_reconstruction", &draws, Stream::AugmentReconstruction, Draw::Uniform);
    add(elsewhere, "penalty_positions", &[n], Stream::PenaltyPosition, Draw::Uniform);
    let directions = objective.penalty == Penalty::Dragan;
    add(directions, "penalty_directions", &images, Stream::PenaltyDirection, Draw::Uniform);
    all
}

fn tensor<T>(name: &str, shape: &[usize], values: Vec<T>) -> Tensor<T> {
    Tensor { name: name.into(), shape: shape.into(), values }
}

fn gradients<B: Executor>(backend: &B, memory: &NetworkMemory<B>, prefix: &str) -> Result<Vec<Tensor<B::Real>>> {
    arena_tensors(backend, &memory.parts.params, &memory.gradients, prefix, "")
}

/// N and the image size, from the shape of `images`.
fn image_size<T: Real>(input: &TensorSet<'_, T>) -> Result<(usize, ImageShape)> {
    let expected = "a tensor `images` of shape [N, C, H, W] with N at least 2 and no empty side";
    match input.shape("images") {
        Some(&[n, c, h, w]) if n >= 2 && c * h * w > 0 => Ok((n, ImageShape { h, w, c })),
        Some(shape) => Err(Error::bad_data(input.path(), expected, format!("shape {shape:?}"))),
        None => Err(Error::bad_data(input.path(), expected, "none of that name").with_hint(HINT)),
    }
}

fn check_finite(state: &StepState) -> Result<()> {
    let (tensor, value) = match state.non_finite {
        0 => return Ok(()),
        StepState::NON_FINITE_LOSS_D => ("loss_d", state.metrics.loss_d),
        StepState::NON_FINITE_LOSS_G => ("loss_g", state.metrics.loss_g),
        StepState::NON_FINITE_GRADIENT_D => ("a gradient of the discriminator", f64::NAN),
        StepState::NON_FINITE_GRADIENT_E => ("a gradient of the encoder", f64::NAN),
        _ => ("a gradient of the generator", f64::NAN),
    };
    let advice = "the given values overflow; nothing was written".into();
    Err(Error::Diverged { step: state.step + 1, tensor: tensor.into(), value, advice })
}

/// A valid IN for images of this size: the engine's own first weights, and random images, latents and noise, all from
/// the seed of the settings.
///
/// # Errors
/// [`Error::Usage`] where the settings don't fit the images.
pub fn example(settings: &Settings, image: ImageShape) -> Result<Vec<Tensor>> {
    validate_for_images(settings, image)?;
    let model = Trainer::new(Cpu::<f32>::new(None)?, settings.clone(), image)?.model;
    let mut out = weights(&model)?;
    out.push(tensor("beta", &[1], vec![f32::of(settings.bottleneck.beta)]));
    if settings.objective.loss.is_balanced() {
        out.push(tensor("balance", &[1], vec![0.0]));
    }
    for input in step_inputs(&model) {
        out.push(tensor(input.name, &input.shape, drawn(&model, &input)?));
    }
    Ok(out)
}

/// The values that the seed of the settings draws for a tensor.
fn drawn(model: &Model<Cpu<f32>>, input: &StepInput) -> Result<Vec<f32>> {
    let Model { backend, settings, state, .. } = model;
    let (seed, stream, len) = (settings.train.seed, input.stream, input.shape.iter().product());
    let uniforms = || (0..).flat_map(|block| philox::draw(seed, stream, 0, 0, block)).take(len).map(philox::uniform);
    let mut values = vec![0.0; len];
    match input.draw {
        Draw::Uniform => values = uniforms().collect(),
        Draw::Pixels => {
            let (low, high) = match settings.data.range {
                PixelRange::ZeroToOne => (0.0, 1.0),
                PixelRange::MinusOneToOne => (-1.0, 1.0),
            };
            values = uniforms().map(|u| low + (high - low) * u).collect();
        }
        Draw::Normal => fill_normals(seed, stream, 0, 0, 0, &mut values),
        Draw::Classes => {
            let (d, mut drawn) =
                (ClassDraw { classes: settings.nets.classes, stream, draws: DrawStep::ONCE }, vec![0; len]);
            backend.classes_sample(&d, state, &mut drawn)?;
            values = drawn.into_iter().map(|class| f32::of(f64::from(class))).collect();
        }
        Draw::Prior => backend.prior_sample(&prior(settings, stream, DrawStep::ONCE), state, &mut values)?,
    }
    Ok(values)
}
