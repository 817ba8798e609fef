//! The gradient penalty's part of the discriminator's step: a pass of its own over N images, after the backward pass of
//! the loss and before the update, whose gradients are added to those of the loss.
//!
//! Forward over the points, backward to them with 1 for every logit: g. The penalty's value and v = ∂R/∂g. Then up again
//! with tangents and down again from whatever curves ([`crate::nn::Discriminator::penalise`]). The points are constants:
//! nothing flows to the generator.

use std::ops::Range;

use super::model::Model;
use super::{classes, ranks};
use crate::Result;
use crate::config::{Penalty, Settings};
use crate::device::philox::DrawStep;
use crate::device::{Buffer, In, Real, StepState, Storage, Stored, StoredBuffer};
use crate::nn::{ImageShape, TrainedNetwork, Verdict, VerdictGradient};
use crate::ops::Executor;
use crate::ops::losses::penalty::{Center, GradientPenalty};
use crate::train::batch::{Batch, Phase};
use crate::train::objective;

/// The memory of a penalty beside the batch, for N images.
pub(crate) struct PenaltyMemory<B: Executor> {
    points: Points<B>,
    /// ∂R/∂g.
    v: StoredBuffer<B>,
    /// ‖g‖ of each image.
    norms: Buffer<B>,
    logits: StoredBuffer<B>,
    /// Written by the forward pass, and of no use here.
    kl: Buffer<B>,
    /// 1 for each logit, and 0 for each KL.
    ones: StoredBuffer<B>,
    zeros: Buffer<B>,
}

/// The points at which gradients are taken, if not at images of the batch.
struct Points<B: Executor> {
    penalty: Penalty,
    /// x̂; this and all else is empty where the batch's own images will do.
    images: StoredBuffer<B>,
    /// The position of each on its line.
    positions: StoredBuffer<B>,
    /// DRAGAN's draws for each element, and the moments of each real image.
    directions: StoredBuffer<B>,
    moments: Buffer<B>,
}

impl<B: Executor> PenaltyMemory<B> {
    /// `None` where the settings ask for no penalty.
    pub(super) fn new(model: &mut Model<B>) -> Result<Option<Self>> {
        let (n, len, penalty) = (model.micro_batch(), model.image.len(), model.settings.objective.penalty);
        if penalty == Penalty::None {
            return Ok(None);
        }
        let Model { backend, discriminator, .. } = model;
        discriminator.layers.allocate_tangents(backend, n)?;
        Ok(Some(PenaltyMemory {
            points: Points::new(backend, penalty, n, len)?,
            v: backend.alloc(n * len)?,
            norms: backend.alloc(n)?,
            logits: backend.alloc(n)?,
            kl: backend.alloc(n)?,
            ones: backend.buffer_from(n, || vec![Storage::of_real(B::Real::ONE); n])?,
            zeros: backend.alloc(n)?,
        }))
    }

    /// ‖g‖ of each of the N points of the last penalty.
    pub(super) fn norms(&self, backend: &B) -> In<'_, B> {
        backend.view(&self.norms)
    }
}

impl<B: Executor> Points<B> {
    fn new(backend: &B, penalty: Penalty, n: usize, len: usize) -> Result<Self> {
        let elsewhere = if matches!(penalty, Penalty::WganGp | Penalty::Dragan) { n } else { 0 };
        let around = if penalty == Penalty::Dragan { n } else { 0 };
        Ok(Points {
            penalty,
            images: backend.alloc(elsewhere * len)?,
            positions: backend.alloc(elsewhere)?,
            directions: backend.alloc(around * len)?,
            moments: backend.alloc(2 * around)?,
        })
    }

    /// The numbers, in the batch of 2N, of the images whose classes the points have: those of the images themselves, and elsewhere those
    /// of the real ones, as the conditional codes of WGAN-GP have it.
    fn numbers(&self, n: usize) -> Range<usize> {
        if self.penalty == Penalty::R2 { n..2 * n } else { 0..n }
    }

    /// The images whose gradients are penalised, from the batch of 2N: its real ones, its generated ones, or x̂.
    fn draw<'a>(
        &'a mut self,
        backend: &B,
        inputs: &Batch<B>,
        draws: DrawStep,
        images: Stored<'a, B>,
        state: In<'_, B, StepState>,
    ) -> Result<Stored<'a, B>> {
        let half = backend.len(images) / 2;
        let (real, generated) = (backend.slice(images, 0..half), backend.slice(images, half..2 * half));
        match self.penalty {
            Penalty::None | Penalty::R1 => return Ok(real),
            Penalty::R2 => return Ok(generated),
            Penalty::WganGp | Penalty::Dragan => {}
        }
        inputs.penalty_positions(backend, draws, state, backend.view_mut(&mut self.positions))?;
        let (u, target) = (backend.view(&self.positions), backend.view_mut(&mut self.images));
        if self.penalty == Penalty::WganGp {
            backend.penalty_interpolate(real, generated, u, target)?;
        } else {
            let len = half / backend.len(u);
            inputs.penalty_directions(backend, len, draws, state, backend.view_mut(&mut self.directions))?;
            backend.penalty_moments(real, backend.view_mut(&mut self.moments))?;
            let (moments, directions) = (backend.view(&self.moments), backend.view(&self.directions));
            backend.penalty_perturb(real, moments, directions, u, target)?;
        }
        Ok(backend.view(&self.images))
    }
}

/// Adds the penalty to the discriminator's loss, and its gradients to those of the discriminator's parameters, for the 2N
/// images of the batch.
///
/// # Errors
/// Those of the device, and of [`Discriminator::penalise`](crate::nn::Discriminator::penalise).
pub(crate) fn add_gradients<B: Executor>(
    model: &mut Model<B>,
    memory: &mut PenaltyMemory<B>,
    inputs: &Batch<B>,
    draws: DrawStep,
) -> Result<()> {
    let both = model.images_of(Phase::Discriminator(draws)).range;
    let (n, d) = (model.micro_batch(), gradient_penalty(&model.settings, draws, model.image));
    let Model { backend, settings, discriminator, batch, state, .. } = model;
    let TrainedNetwork { layers, memory: arenas } = discriminator;
    let PenaltyMemory { points, v, norms, logits, kl, ones, zeros } = memory;
    let numbers = points.numbers(n);
    let x = points.draw(
        backend,
        inputs,
        draws,
        backend.slice(batch.images.discriminated(backend), both),
        backend.view(state),
    )?;

    let (pass, stats) = arenas.forward_pass(backend, n);
    let pass = pass.of(classes::of(backend, &batch.classes, numbers.clone()));
    let noise = inputs.penalty_noise(backend, settings, draws, backend.view(state));
    let verdict = Verdict { logits: backend.view_mut(logits), kl: backend.view_mut(kl) };
    layers.forward(pass, 1, stats, x, noise, verdict)?;

    let (pass, gradients) = arenas.backward_pass(backend, n);
    let pass = pass.of(classes::of(backend, &batch.classes, numbers));
    let seed =
        || VerdictGradient { logits: backend.view(logits), dlogits: backend.view(ones), dkl: backend.view(zeros) };
    layers.backward(pass, x, noise, seed(), Some(backend.view_mut(&mut batch.d_images.clean)), None)?;
    let g = backend.view(&batch.d_images.clean);
    backend.gradient_penalty_norms(&d, g, backend.view_mut(v), backend.view_mut(norms))?;
    let norms = ranks::whole_norms(backend, &mut batch.gathered, backend.view(norms))?;
    backend.gradient_penalty_value(&d, norms, backend.view_mut(state))?;

    // Drawn anew from the state just written, whose seed and step are as they were.
    let noise = inputs.penalty_noise(backend, settings, draws, backend.view(state));
    layers.penalise(pass, x, noise, seed(), backend.view(v), gradients)
}

/// The constants of the penalty of a part of a batch; one that does not come in every step weighs as many times more.
fn gradient_penalty(settings: &Settings, draws: DrawStep, image: ImageShape) -> GradientPenalty {
    let center = match settings.objective.penalty {
        Penalty::None | Penalty::R1 | Penalty::R2 => Center::Zero,
        Penalty::WganGp | Penalty::Dragan => Center::One,
    };
    let share = objective::part(settings, draws).share();
    let weight = share * settings.objective.penalty_weight * settings.objective.penalty_every as f64;
    GradientPenalty { n: settings.micro_batch(), len: image.len(), center, weight }
}
