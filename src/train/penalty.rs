//! The gradient penalty's part of the discriminator's step: a pass of its own over N images, after the backward pass of
//! the loss and before the update, whose gradients are added to those of the loss.
//!
//! Forward over the points, backward to them with 1 for every logit: g. The penalty's value and v = ∂R/∂g. Then up again
//! with tangents and down again from whatever curves ([`crate::nn::Discriminator::penalise`]). The points are constants:
//! nothing flows to the generator.

use super::batch::Batch;
use super::trainer::{Trainer, shown};
use crate::Result;
use crate::config::{Penalty, Settings};
use crate::device::philox::DrawStep;
use crate::device::{Buffer, In, Real, StepState};
use crate::nn::{ImageShape, Pass, Verdict, VerdictGradient};
use crate::ops::Executor;
use crate::ops::losses::penalty::{Center, GradientPenalty};

/// What a penalty works in beside the step's own memory, for N images.
pub(super) struct PenaltyWorkspace<B: Executor> {
    points: Points<B>,
    /// ∂R/∂g.
    v: Buffer<B>,
    /// ‖g‖ of each image.
    norms: Buffer<B>,
    logits: Buffer<B>,
    /// Written by the forward pass, and of no use here.
    kl: Buffer<B>,
    /// 1 for each logit, and 0 for each KL.
    ones: Buffer<B>,
    zeros: Buffer<B>,
}

/// Where gradients are taken, if not at images of the batch.
struct Points<B: Executor> {
    penalty: Penalty,
    /// x̂; this and all else is empty where the batch's own images will do.
    images: Buffer<B>,
    /// How far along its line each lies.
    positions: Buffer<B>,
    /// DRAGAN's draws for each element, and the moments of each real image.
    directions: Buffer<B>,
    moments: Buffer<B>,
}

impl<B: Executor> PenaltyWorkspace<B> {
    /// `None` where the settings ask for no penalty.
    pub(super) fn new(backend: &B, settings: &Settings, image: ImageShape) -> Result<Option<Self>> {
        let (n, penalty) = (settings.train.batch, settings.objective.penalty);
        if penalty == Penalty::None {
            return Ok(None);
        }
        Ok(Some(PenaltyWorkspace {
            points: Points::new(backend, penalty, n, image.len())?,
            v: backend.alloc(n * image.len())?,
            norms: backend.alloc(n)?,
            logits: backend.alloc(n)?,
            kl: backend.alloc(n)?,
            ones: backend.buffer_from(n, || vec![B::Real::ONE; n])?,
            zeros: backend.alloc(n)?,
        }))
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

    /// The images whose gradients are penalised, from the batch of 2N: its real ones, its generated ones, or x̂.
    fn place<'a>(
        &'a mut self,
        backend: &B,
        batch: &Batch<B>,
        draws: DrawStep,
        images: In<'a, B>,
        state: In<'_, B, StepState>,
    ) -> Result<In<'a, B>> {
        let half = backend.len(images) / 2;
        let (real, generated) = (backend.slice(images, 0..half), backend.slice(images, half..2 * half));
        match self.penalty {
            Penalty::None | Penalty::R1 => return Ok(real),
            Penalty::R2 => return Ok(generated),
            Penalty::WganGp | Penalty::Dragan => {}
        }
        batch.penalty_positions(backend, draws, state, backend.view_mut(&mut self.positions))?;
        let (u, target) = (backend.view(&self.positions), backend.view_mut(&mut self.images));
        if self.penalty == Penalty::WganGp {
            backend.penalty_interpolate(real, generated, u, target)?;
        } else {
            let len = half / backend.len(u);
            batch.penalty_directions(backend, len, draws, state, backend.view_mut(&mut self.directions))?;
            backend.penalty_moments(real, backend.view_mut(&mut self.moments))?;
            let (moments, directions) = (backend.view(&self.moments), backend.view(&self.directions));
            backend.penalty_perturb(real, moments, directions, u, target)?;
        }
        Ok(backend.view(&self.images))
    }
}

impl<B: Executor> Trainer<B> {
    /// Whether the step under way has a penalty: every [`penalty_every`](crate::config::ObjectiveSettings)th does, from
    /// the first on.
    pub(crate) fn penalty_is_due(&self) -> bool {
        self.penalty.is_some() && self.steps_begun.is_multiple_of(self.settings.objective.penalty_every)
    }

    /// Adds the penalty to the step's loss, and its gradients to those of the discriminator's parameters, for the 2N
    /// images that lie in [`Trainer::images`]. Nothing where the settings ask for no penalty.
    ///
    /// # Errors
    /// Those of the device, and of [`Discriminator::penalise`](crate::nn::Discriminator::penalise).
    pub(crate) fn penalty_gradients(&mut self, batch: &Batch<B>, draws: DrawStep) -> Result<()> {
        let (n, d) = (self.settings.train.batch, self.gradient_penalty());
        let Trainer { backend, settings, discriminator, discriminator_memory: memory, work, state, penalty, .. } = self;
        let Some(PenaltyWorkspace { points, v, norms, logits, kl, ones, zeros }) = penalty else { return Ok(()) };
        let images =
            points.place(backend, batch, draws, shown(backend, &work.images, &work.noised), backend.view(state))?;
        let pass = Pass { backend, params: backend.view(&memory.params), n };
        let verdict = Verdict { logits: backend.view_mut(logits), kl: backend.view_mut(kl) };
        let noise = batch.penalty_noise(backend, settings, draws, backend.view(state));
        discriminator.forward(pass, 1, backend.view_mut(&mut memory.stats), images, noise, verdict)?;
        let seed =
            || VerdictGradient { logits: backend.view(logits), dlogits: backend.view(ones), dkl: backend.view(zeros) };
        let g = backend.view_mut(&mut work.d_images);
        discriminator.backward(pass, images, noise, seed(), Some(g), None)?;
        let g = backend.view(&work.d_images);
        backend.gradient_penalty(&d, g, backend.view_mut(v), backend.view_mut(norms), backend.view_mut(state))?;
        // Drawn anew from the state just written, whose seed and step are as they were.
        let noise = batch.penalty_noise(backend, settings, draws, backend.view(state));
        let gradients = backend.view_mut(&mut memory.gradients);
        discriminator.penalise(pass, images, noise, seed(), backend.view(v), gradients)
    }

    fn gradient_penalty(&self) -> GradientPenalty {
        let objective = &self.settings.objective;
        let center = match objective.penalty {
            Penalty::None | Penalty::R1 | Penalty::R2 => Center::Zero,
            Penalty::WganGp | Penalty::Dragan => Center::One,
        };
        let weight = objective.penalty_weight * objective.penalty_every as f64;
        GradientPenalty { n: self.settings.train.batch, len: self.image.len(), center, weight }
    }

    /// ‖∂ℓ/∂x‖ of each of the N images of the last penalty; `None` where there is none.
    pub fn gradient_norms(&self) -> Option<In<'_, B>> {
        self.penalty.as_ref().map(|own| self.backend.view(&own.norms))
    }
}
