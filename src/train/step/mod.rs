//! One training step, in the article's order: the discriminator on real and generated images, β, the generator on fresh z.
//!
//! `step` reads from top to bottom. The loss and the gradients of either network stand right below it, and below them, in
//! the order of the step, what the three are made of. What belongs to one method alone is a file of its own:
//!
//! | file | what it holds |
//! |---|---|
//! | [`batch_memory`] | the memory of the batch |
//! | [`model`] | the networks, the batch and the state: what a step works on |
//! | [`probe`] | what `trace`, tests and proofs are told of a step |
//! | `classes` | the classes of the images, where the nets are told them |
//! | `ranks` | what the ranks tell each other, where several train together |
//! | `discriminator_view` | what the discriminator sees of images: augmented, with instance noise |
//! | `penalty` | the gradient penalty, of the discriminator's loss |
//! | `feature_matching` | the generator's loss where it matches features |
//! | `mode_regularization` | reconstructions of real images, of the generator's loss |
//! | `historical_averaging` | the pull to the mean of the parameters so far, of both losses |
//! | `update` | optimisers, clipped weights, the moving average |
//!
//! Real and generated images pass the discriminator as one batch of 2N with statistics of their own, and the generator's
//! half of the step computes no weight gradient of D. The images of that half are made in one pass with those of the
//! discriminator's last update: the generator is the same in both.

pub mod batch_memory;
mod classes;
mod discriminator_view;
pub(crate) mod feature_matching;
mod historical_averaging;
pub(crate) mod mode_regularization;
pub mod model;
pub(crate) mod penalty;
pub mod probe;
mod ranks;
mod update;

use std::ops::Range;

use self::feature_matching::FeatureMeans;
use self::mode_regularization::ModeRegularizer;
use self::model::{Generated, Model};
use self::penalty::PenaltyMemory;
use self::probe::Probe;
use self::ranks::{Verdicts, WholeVerdict};
use self::update::{update, update_average};
use super::batch::{Batch, Phase};
use super::objective;
use crate::Result;
use crate::device::philox::DrawStep;
use crate::device::{Network, StoredOut};
use crate::nn::{Mode, TrainedNetwork, Verdict, VerdictGradient};
use crate::ops::Executor;

/// The memory of the methods beside the two losses; `None` where the settings don't ask for one.
pub(crate) struct Methods<B: Executor> {
    pub(crate) penalty: Option<PenaltyMemory<B>>,
    pub(crate) feature_means: Option<FeatureMeans<B>>,
    pub(crate) mode_regularizer: Option<ModeRegularizer<B>>,
}

impl<B: Executor> Methods<B> {
    /// Allocates what the settings ask for.
    ///
    /// # Errors
    /// If memory is used up.
    pub(super) fn new(model: &mut Model<B>) -> Result<Self> {
        Ok(Methods {
            penalty: PenaltyMemory::new(model)?,
            feature_means: FeatureMeans::new(model)?,
            mode_regularizer: ModeRegularizer::new(model)?,
        })
    }
}

/// One training step: `discriminator_steps` updates of the discriminator, each on images, latents and noise of its own, then
/// one update of the generator. `has_penalty` says whether this step has a gradient penalty, where the settings ask for one.
///
/// # Errors
/// Those of the device and of the probe.
pub(super) fn step<B: Executor>(
    model: &mut Model<B>,
    methods: &mut Methods<B>,
    inputs: &Batch<B>,
    has_penalty: bool,
    probe: &mut impl Probe<B>,
) -> Result<()> {
    let generates_both = model.generates_both();
    for draws in DrawStep::all(model.settings.objective.discriminator_steps) {
        for part in model.parts(draws) {
            draw_real_images(model, inputs, part)?;
            let both = generates_both && draws.is_last();
            draw_and_generate(model, inputs, if both { Generated::Both } else { Generated::Discriminator }, part)?;
            discriminator_gradients(model, inputs, part, None)?;
            probe.discriminator_loss(model)?;
            if let Some(memory) = methods.penalty.as_mut().filter(|_| has_penalty) {
                penalty::add_gradients(model, memory, inputs, part)?;
                probe.gradient_norms(model, memory.norms(&model.backend))?;
            }
        }
        model.raw_gradients()?;
        ranks::sum_gradients(model, Network::Discriminator)?;
        historical_averaging::add_gradients(model, Network::Discriminator)?;
        probe.discriminator_gradients(model)?;
        update(model, Network::Discriminator)?;
    }

    for part in model.parts(DrawStep::ONCE) {
        if !generates_both {
            draw_and_generate(model, inputs, Generated::Generator, part)?;
        }
        generator_gradients(model, methods, inputs, part, None)?;
        probe.generator_loss(model)?;
    }
    if let Some(regularizer) = &mut methods.mode_regularizer {
        mode_regularization::add_gradients(model, regularizer, inputs)?;
        probe.reconstructions(model, regularizer.reconstructions(&model.backend))?;
    }
    ranks::sum_gradients(model, Network::Generator)?;
    historical_averaging::add_gradients(model, Network::Generator)?;
    probe.generator_gradients(model)?;
    update(model, Network::Generator)?;
    update(model, Network::Encoder)?;
    update_average(model)?;
    count_step(model)
}

/// The discriminator's loss on the 2N images of a part of the batch, whatever they are, β's update with the last part, and the gradients
/// of the discriminator's parameters, added up over the parts; and that of the images as it sees them, if it is wanted.
///
/// # Errors
/// Those of the device.
pub(crate) fn discriminator_gradients<B: Executor>(
    model: &mut Model<B>,
    inputs: &Batch<B>,
    draws: DrawStep,
    d_images: Option<StoredOut<'_, B>>,
) -> Result<()> {
    let phase = Phase::Discriminator(draws);
    discriminate(model, inputs, phase)?;
    discriminator_loss(model, draws)?;
    backward_through_discriminator(model, inputs, phase, d_images)
}

/// The generator's loss on the N generated images of a part of the batch, and the gradients of the generator's parameters, added up over
/// the parts; and that of its latents, if it is wanted.
///
/// # Errors
/// Those of the device.
pub(crate) fn generator_gradients<B: Executor>(
    model: &mut Model<B>,
    methods: &mut Methods<B>,
    inputs: &Batch<B>,
    draws: DrawStep,
    d_latents: Option<StoredOut<'_, B>>,
) -> Result<()> {
    let phase = Phase::Generator(draws);
    if let Some(means) = &mut methods.feature_means {
        feature_matching::match_features(model, means, inputs)?;
    } else {
        discriminate(model, inputs, phase)?;
        generator_loss(model, draws)?;
        backward_through_discriminator(model, inputs, phase, None)?;
    }
    discriminator_view::backward(model, inputs, draws)?;
    backward_through_generator(model, draws, d_latents)
}

/// Real images, into the first half of the batch, with their classes.
fn draw_real_images<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>, draws: DrawStep) -> Result<()> {
    let real = 0..model.micro_batch() * model.image.len();
    let Model { backend, batch, state, .. } = model;
    inputs.real_images(backend, draws, backend.view(state), backend.part_mut(&mut batch.images.clean, real))?;
    classes::draw_real(model, inputs, draws)
}

/// z with its classes, and the images G(z).
fn draw_and_generate<B: Executor>(
    model: &mut Model<B>,
    inputs: &Batch<B>,
    generated: Generated,
    part: DrawStep,
) -> Result<()> {
    generated.phases(part).try_for_each(|phase| draw_latents(model, inputs, phase))?;
    generate(model, generated)
}

/// z of a phase, and the classes that are generated with it.
fn draw_latents<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>, phase: Phase) -> Result<()> {
    let latents = model.latents_of(phase);
    let Model { backend, settings, batch, state, .. } = model;
    inputs.latents(backend, settings, phase, backend.view(state), backend.part_mut(&mut batch.latents, latents))?;
    classes::draw_generated(model, inputs, phase)
}

/// G(z), from the latents of one phase or both.
///
/// # Errors
/// Those of the device.
pub(crate) fn generate<B: Executor>(model: &mut Model<B>, generated: Generated) -> Result<()> {
    let (n, latent, image) = (model.micro_batch(), model.settings.generator.latent, model.image.len());
    let Range { start, end } = generated.numbers(n);
    let groups = (end - start) / n;
    let Model { backend, batch, generator: TrainedNetwork { layers, memory }, .. } = model;
    batch.generated_before = if generated == Generated::Both { n } else { 0 };
    let (pass, stats) = memory.forward_pass(backend, end - start);
    // The real images lie before all that are generated.
    let pass = pass.of(classes::of(backend, &batch.classes, n + start..n + end));
    let z = backend.part(&batch.latents, start * latent..end * latent);
    let images = backend.part_mut(&mut batch.images.clean, (n + start) * image..(n + end) * image);
    layers.forward(pass, Mode::Train { groups }, stats, z, images)
}

/// Logits and KL of the images of a phase: D(x) of 2N in the discriminator's, of N in the generator's.
fn discriminate<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>, phase: Phase) -> Result<()> {
    discriminator_view::show(model, inputs, phase)?;
    if model.is_first(phase.draws()) {
        model.normalise_weights()?;
    }
    let images = model.images_of(phase);
    let Model { backend, settings, batch, state, discriminator: TrainedNetwork { layers, memory }, .. } = model;
    let (pass, stats) = memory.forward_pass(backend, images.n);
    let verdict = Verdict {
        logits: backend.part_mut(&mut batch.logits, 0..images.n),
        kl: backend.part_mut(&mut batch.kl, 0..images.n),
    };
    let noise = inputs.noise(backend, settings, phase, backend.view(state));
    let x = backend.slice(batch.images.discriminated(backend), images.range);
    let pass = pass.of(classes::of(backend, &batch.classes, images.numbers));
    layers.forward(pass, images.groups, stats, x, noise, verdict)
}

/// The discriminator's loss and its gradients by logits and KL; β moves with the mean KL, by dual gradient ascent.
fn discriminator_loss<B: Executor>(model: &mut Model<B>, draws: DrawStep) -> Result<()> {
    let bottleneck = model.discriminator.layers.bottleneck(model.micro_batch());
    let loss = objective::discriminator_loss(&model.settings, objective::part(&model.settings, draws), bottleneck);
    let Model { backend, batch, state, .. } = model;
    batch.gather(backend, Verdicts::OfBoth)?;
    let WholeVerdict { logits, kl, dlogits, dkl } = batch.whole(backend, Verdicts::OfBoth);
    backend.discriminator_loss(&loss, logits, kl, dlogits, dkl, backend.view_mut(state))?;
    batch.take_gradients(backend, Verdicts::OfBoth)
}

/// The generator's loss by the discriminator's logits, with the repelling term where the settings have it.
fn generator_loss<B: Executor>(model: &mut Model<B>, draws: DrawStep) -> Result<()> {
    let n = model.micro_batch();
    let (loss, part) = (objective::objective(&model.settings), objective::part(&model.settings, draws));
    let Model { backend, batch, state, discriminator: TrainedNetwork { layers, memory }, .. } = model;
    batch.gather(backend, Verdicts::OfGenerated)?;
    let WholeVerdict { logits, dlogits, dkl, .. } = batch.whole(backend, Verdicts::OfGenerated);
    backend.generator_loss(&loss, part, logits, dlogits, dkl, backend.view_mut(state))?;
    batch.take_gradients(backend, Verdicts::OfGenerated)?;
    layers.repelling_loss(memory.pass(backend, n), backend.view_mut(state))
}

/// The way back through the discriminator: to its parameters (and to `d_images`, if wanted) in its own phase, to the
/// generated images in the generator's; to images as it sees them, in either.
fn backward_through_discriminator<B: Executor>(
    model: &mut Model<B>,
    inputs: &Batch<B>,
    phase: Phase,
    d_images: Option<StoredOut<'_, B>>,
) -> Result<()> {
    let (images, is_first) = (model.images_of(phase), model.is_first(phase.draws()));
    let Model { backend, settings, batch, state, discriminator: TrainedNetwork { layers, memory }, .. } = model;
    let verdict = VerdictGradient {
        logits: backend.part(&batch.logits, 0..images.n),
        dlogits: backend.part(&batch.dlogits, 0..images.n),
        dkl: backend.part(&batch.dkl, 0..images.n),
    };
    let noise = inputs.noise(backend, settings, phase, backend.view(state));
    let x = backend.slice(batch.images.discriminated(backend), images.range);
    let classes = classes::of(backend, &batch.classes, images.numbers);
    match phase {
        Phase::Discriminator(_) => {
            let (pass, gradients) = memory.backward_pass_of(backend, images.n, is_first)?;
            layers.backward(pass.of(classes), x, noise, verdict, d_images, Some(gradients))
        }
        Phase::Generator(_) => {
            let d_images = Some(batch.d_images.discriminated(backend));
            layers.backward(memory.pass(backend, images.n).of(classes), x, noise, verdict, d_images, None)
        }
    }
}

/// From the gradient of the generated images back to the generator's parameters, and to `d_latents`, if it is wanted.
fn backward_through_generator<B: Executor>(
    model: &mut Model<B>,
    draws: DrawStep,
    d_latents: Option<StoredOut<'_, B>>,
) -> Result<()> {
    let phase = Phase::Generator(draws);
    let (generated, latents, is_first) = (model.images_of(phase), model.latents_of(phase), model.is_first(draws));
    let Model { backend, batch, generator: TrainedNetwork { layers, memory }, .. } = model;
    let (pass, gradients) = memory.backward_pass_of(backend, generated.n, is_first)?;
    let pass = pass.of(classes::of(backend, &batch.classes, generated.numbers)).behind(batch.generated_before);
    let images = backend.part(&batch.images.clean, generated.range);
    layers.backward(
        pass,
        backend.part(&batch.latents, latents),
        images,
        backend.view(&batch.d_images.clean),
        d_latents,
        gradients,
    )
}

/// Counts the step, and keeps its figures.
fn count_step<B: Executor>(model: &mut Model<B>) -> Result<()> {
    let Model { backend, state, history, .. } = model;
    backend.finish_step(backend.view_mut(state), backend.view_mut(history))
}
