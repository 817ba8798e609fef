//! Narrow models for tests of whole training steps, one for each way in which a step differs from another; each is its
//! settings and the size of its images.

// Each test takes what it needs of this, and none is a library.
#![allow(dead_code, unreachable_pub)]

use vgan_cuda::config::{
    KlMix, KlReduction, Loss, Norm, ObjectiveSettings, OutputLayer, Penalty, PixelRange, Prior, Settings,
};
use vgan_cuda::nn::ImageShape;

/// A model, as [`MODELS`] lists it.
pub type Model = fn() -> (Settings, ImageShape);

/// Every model of this file.
pub const MODELS: [Model; 9] = [
    narrow_mnist,
    narrow_colour,
    narrow_resnet,
    narrow_penalised,
    narrow_began,
    narrow_critic,
    narrow_minibatch,
    narrow_matching,
    narrow_mode_regularized,
];

/// `vgan-mnist` with few channels, on pictures of 12×12; β moves enough to be seen.
pub fn narrow_mnist() -> (Settings, ImageShape) {
    let mut settings = Settings::default();
    settings.train.batch = 6;
    settings.generator.latent = 5;
    settings.generator.hidden = vec![17];
    settings.generator.channels = vec![9, 5];
    settings.generator.ema = 0.9;
    settings.discriminator.channels = vec![5, 9];
    settings.discriminator.hidden = vec![17];
    settings.bottleneck.beta = 0.05;
    settings.bottleneck.beta_step = 0.01;
    (settings, ImageShape { h: 12, w: 12, c: 1 })
}

/// The other choices: colour, flips, tanh, normal latents, the paper's KL.
pub fn narrow_colour() -> (Settings, ImageShape) {
    let (mut settings, _) = narrow_mnist();
    settings.data.range = PixelRange::MinusOneToOne;
    settings.data.flip = true;
    settings.generator.prior = Prior::Normal;
    settings.generator.channels = vec![8, 6, 5];
    settings.generator.output = OutputLayer::Stride1;
    settings.generator.ema = 0.0;
    settings.bottleneck.kl_reduction = KlReduction::Sum;
    settings.bottleneck.kl_mix = KlMix::Mean;
    settings.bottleneck.beta_step = 1e-4;
    (settings, ImageShape { h: 8, w: 8, c: 3 })
}

/// `vgan-cifar10-resnet` with few channels, on pictures of 8×8; β moves enough to be seen.
pub fn narrow_resnet() -> (Settings, ImageShape) {
    let mut settings = vgan_cuda::config::preset("vgan-cifar10-resnet").expect("a preset");
    settings.train.batch = 4;
    settings.generator.latent = 5;
    settings.generator.ema = 0.9;
    (settings.generator.width, settings.generator.max_width) = (5, 7);
    (settings.discriminator.width, settings.discriminator.max_width) = (5, 7);
    settings.bottleneck.beta_step = 1e-3;
    (settings, ImageShape { h: 8, w: 8, c: 3 })
}

/// A discriminator without batch normalisation whose every second step has DRAGAN's penalty, at points of its own.
pub fn narrow_penalised() -> (Settings, ImageShape) {
    let (mut settings, image) = narrow_mnist();
    settings.discriminator.norm = Norm::None;
    settings.objective.penalty = Penalty::Dragan;
    settings.objective.penalty_every = 2;
    (settings, image)
}

/// A discriminator that is an autoencoder; k moves enough to be seen.
pub fn narrow_began() -> (Settings, ImageShape) {
    let (mut settings, image) = narrow_mnist();
    settings.objective.loss = Loss::Began;
    settings.objective.balance_step = 0.1;
    (settings, image)
}

/// A clipped critic that moves twice a step, with instance noise that falls to nothing, and historical averaging. Its loss is
/// not Wasserstein's, by which D's last bias has no gradient and nothing would be seen of it. Adam's
/// epsilon is far above rounding: what wanders is pulled back, by a gradient that would be divided by its own size.
pub fn narrow_critic() -> (Settings, ImageShape) {
    let (mut settings, image) = narrow_mnist();
    settings.objective = ObjectiveSettings {
        loss: Loss::Lsgan,
        clip: 0.2,
        discriminator_steps: 2,
        instance_noise: 0.3,
        instance_noise_steps: 15,
        historical_averaging: 0.05,
        ..ObjectiveSettings::default()
    };
    settings.optimizer.epsilon = 1e-3;
    (settings, image)
}

/// A critic that compares the images of a batch.
pub fn narrow_minibatch() -> (Settings, ImageShape) {
    let (mut settings, image) = narrow_critic();
    (settings.discriminator.minibatch_kernels, settings.discriminator.minibatch_dims) = (3, 5);
    (settings, image)
}

/// The critic against a generator that matches its features.
pub fn narrow_matching() -> (Settings, ImageShape) {
    let (mut settings, image) = narrow_critic();
    settings.objective.feature_matching = 0.5;
    (settings, image)
}

/// Mode regularisation, with instance noise and spectral norm: an encoder and its updates, a second pass of G and of D. Adam's
/// epsilon is far above rounding, as it is above.
pub fn narrow_mode_regularized() -> (Settings, ImageShape) {
    let (mut settings, image) = narrow_mnist();
    settings.objective =
        ObjectiveSettings { reconstruction: 0.7, mode: 0.4, instance_noise: 0.3, ..ObjectiveSettings::default() };
    settings.discriminator.spectral_norm = true;
    settings.optimizer.epsilon = 1e-3;
    (settings, image)
}
