//! From settings to the constants of the losses.

use super::batch::Phase;
use crate::config::{KlMix, KlReduction, ObjectiveSettings, PixelRange, Settings};
use crate::device::philox::{DrawStep, Stream};
use crate::nn::ImageShape;
use crate::ops::inputs::augment::Augment;
use crate::ops::inputs::instance_noise::InstanceNoise;
use crate::ops::layers::bottleneck::Bottleneck;
use crate::ops::losses::loss::{DiscriminatorLoss, Part};
use crate::ops::losses::objective::Objective;
use crate::ops::losses::reconstruction::Reconstruction;

/// The objective that the settings ask for.
pub fn objective(settings: &Settings) -> Objective {
    let ObjectiveSettings { loss, real_target, margin, balance_ratio, balance_step, .. } = settings.objective;
    Objective { loss, real_target, margin, balance_ratio, balance_step }
}

/// The part of a batch that is drawn by `draws`, or of which a rank's own share is.
pub fn part(settings: &Settings, draws: DrawStep) -> Part {
    let index = draws.first_sample as usize / settings.micro_batch();
    Part { index, count: settings.train.accumulate }
}

/// The constants of the discriminator's loss of a part of a batch, where its bottleneck has these sizes.
pub fn discriminator_loss(settings: &Settings, part: Part, bottleneck: Option<Bottleneck>) -> DiscriminatorLoss {
    let constraint = &settings.bottleneck;
    let kl_scale = bottleneck.map_or(0.0, |d| match constraint.kl_reduction {
        KlReduction::Mean => 1.0 / d.dims() as f64,
        KlReduction::Sum => 1.0,
        KlReduction::Channels => 1.0 / d.positions as f64,
    });
    let kl_mix = match constraint.kl_mix {
        KlMix::Sum => 1.0,
        KlMix::Mean => 0.5,
    };
    DiscriminatorLoss {
        n: settings.micro_batch(),
        part,
        objective: objective(settings),
        kl_scale,
        kl_mix,
        target_kl: constraint.target_kl,
        beta_step: constraint.beta_step,
    }
}

/// The augmentation of the `n` images that a phase shows to the discriminator.
pub fn augment(settings: &Settings, phase: Phase, n: usize, image: ImageShape) -> Augment<'static> {
    let streams: &[Stream] = match phase {
        Phase::Discriminator(_) => &[Stream::AugmentReal, Stream::AugmentFake],
        Phase::Generator(_) => &[Stream::AugmentGenerator],
    };
    Augment { streams, draws: phase.draws(), ..reconstruction_augment(settings, n, image) }
}

/// The augmentation of the `n` reconstructions that mode regularisation shows to the discriminator.
pub fn reconstruction_augment(settings: &Settings, n: usize, image: ImageShape) -> Augment<'static> {
    let ImageShape { h, w, c } = image;
    let (half_range, middle) = match settings.data.range {
        PixelRange::ZeroToOne => (0.5, 0.5),
        PixelRange::MinusOneToOne => (1.0, 0.0),
    };
    let (policy, streams) = (settings.objective.augment, &[Stream::AugmentReconstruction]);
    Augment { n, h, w, c, policy, half_range, middle, streams, draws: DrawStep::ONCE }
}

/// The noise on the `n` images of `image` elements that a phase shows to the discriminator.
pub fn instance_noise(settings: &Settings, phase: Phase, n: usize, image: usize) -> InstanceNoise<'static> {
    let streams: &[Stream] = match phase {
        Phase::Discriminator(_) => &[Stream::InstanceReal, Stream::InstanceFake],
        Phase::Generator(_) => &[Stream::InstanceGenerator],
    };
    InstanceNoise { streams, draws: phase.draws(), ..reconstruction_noise(settings, n, image) }
}

/// The noise on the `n` reconstructions of `image` elements that mode regularisation shows to the discriminator.
pub fn reconstruction_noise(settings: &Settings, n: usize, image: usize) -> InstanceNoise<'static> {
    let objective = &settings.objective;
    let (sigma, steps) = (objective.instance_noise, objective.instance_noise_steps);
    InstanceNoise { n, image, sigma, steps, streams: &[Stream::InstanceReconstruction], draws: DrawStep::ONCE }
}

/// The constants of mode regularisation, for images of `len` elements.
pub fn reconstruction(settings: &Settings, len: usize) -> Reconstruction {
    Reconstruction { n: settings.micro_batch(), len, weight: settings.objective.reconstruction }
}
