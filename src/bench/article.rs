//! The sizes of the article's two models, for benchmarks: the generator on a batch of 64, the discriminator on the 128
//! real and fake images that it sees together.

use super::paper;
use crate::device::Network;
use crate::ops::Executor;
use crate::ops::case::Case;
use crate::ops::inputs::gather::Gather;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::affine;
use crate::ops::layers::batch_norm::BatchNorm;
use crate::ops::layers::bottleneck::{Bottleneck, Sigma};
use crate::ops::layers::conv_transpose2d::ConvTranspose2d;
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::linear::Linear;

/// Images of a generator's batch.
pub(crate) const BATCH: usize = 64;
/// Real and fake images of a discriminator's batch.
pub(crate) const BOTH: usize = 2 * BATCH;

/// Every convolution, transposed convolution and linear layer of `vgan-mnist`, `vgan-cifar10` and
/// `vgan-cifar10-resnet`; a shape that comes again is left out.
pub fn article_cases<B: Executor>() -> Vec<Case<B>> {
    affine::cases(convolutions())
        .into_iter()
        .chain(affine::cases(transposed()))
        .chain(affine::cases(linear()))
        .chain(affine::cases(paper::convolutions()))
        .chain(affine::cases(paper::linear()))
        .collect()
}

pub(crate) fn convolutions() -> Vec<Conv2d> {
    let halved = |side, c, k| Conv2d { n: BOTH, h: side, w: side, c, k, r: 4, s: 4, stride: 2, padding: 1 };
    // μ and log σ² are one convolution of twice the width.
    let bottleneck = |side, c| Conv2d { n: BOTH, h: side, w: side, c, k: 2 * c, r: 1, s: 1, stride: 1, padding: 0 };
    let mnist = [halved(28, 1, 64), halved(14, 64, 128), bottleneck(7, 128)];
    let cifar = [halved(32, 3, 64), halved(16, 64, 128), halved(8, 128, 256), halved(4, 256, 512), bottleneck(2, 512)];
    mnist.into_iter().chain(cifar).collect()
}

pub(crate) fn transposed() -> Vec<ConvTranspose2d> {
    let doubled = |side, c, k| ConvTranspose2d { n: BATCH, h: side, w: side, c, k, r: 4, s: 4, stride: 2, padding: 1 };
    let mnist = [doubled(7, 128, 64), doubled(14, 64, 1)];
    let picture = ConvTranspose2d { r: 3, s: 3, stride: 1, ..doubled(32, 64, 3) };
    let cifar = [doubled(4, 512, 256), doubled(8, 256, 128), doubled(16, 128, 64), picture];
    mnist.into_iter().chain(cifar).collect()
}

pub(crate) fn linear() -> Vec<Linear> {
    let size = |n, c, k| Linear { n, c, k };
    let mnist = [size(BATCH, 62, 1024), size(BATCH, 1024, 7 * 7 * 128), size(BOTH, 7 * 7 * 128, 1024)];
    let cifar = [size(BATCH, 100, 4 * 4 * 512), size(BOTH, 2 * 2 * 512, 1024)];
    mnist.into_iter().chain(cifar).chain([size(BOTH, 1024, 1)]).collect()
}

/// Rows and channels behind each layer: the generator's normalise one group and clip at 0, the discriminator's two.
pub(crate) fn batch_norms() -> Vec<BatchNorm> {
    let size = |rows, c, groups, activation| BatchNorm { rows, c, groups, epsilon: 1e-5, momentum: 0.1, activation };
    let generator = |side: usize, c| size(BATCH * side * side, c, 1, Activation::Relu);
    let discriminator = |side: usize, c| size(BOTH * side * side, c, 2, Activation::LeakyRelu(0.2));
    vec![
        generator(1, 1024),
        generator(1, 7 * 7 * 128),
        generator(14, 64),
        discriminator(14, 64),
        discriminator(7, 128),
        generator(1, 4 * 4 * 512),
        generator(8, 256),
        generator(16, 128),
        generator(32, 64),
        discriminator(16, 64),
        discriminator(8, 128),
        discriminator(4, 256),
        discriminator(2, 512),
        discriminator(1, 1024),
    ]
}

/// What stands alone: the generators' outputs, and a discriminator's first layer where it is not normalised
/// (`gan-mnist`).
pub(crate) fn activations() -> [(Activation, usize); 3] {
    [
        (Activation::Sigmoid, BATCH * 28 * 28),
        (Activation::Tanh, BATCH * 32 * 32 * 3),
        (Activation::LeakyRelu(0.2), BOTH * 14 * 14 * 64),
    ]
}

pub(crate) fn bottlenecks() -> [Bottleneck; 2] {
    [(7 * 7, 128), (2 * 2, 512)].map(|(positions, c)| Bottleneck { n: BOTH, positions, c, sigma: Sigma::Logvar })
}

/// Parameters of each net.
pub(crate) fn networks() -> [(Network, usize); 4] {
    let (generator, discriminator) = (Network::Generator, Network::Discriminator);
    [(generator, MNIST[0]), (discriminator, MNIST[1]), (generator, CIFAR[0]), (discriminator, CIFAR[1])]
}

/// Parameters of the generator and the discriminator of `vgan-mnist`.
pub const MNIST: [usize; 2] = [6_640_193, 6_592_321];
/// The same of `vgan-cifar10`.
pub const CIFAR: [usize; 2] = [3_599_363, 5_385_025];
/// The same of the paper's model, `vgan-cifar10-resnet`.
pub const PAPER: [usize; 2] = [1_696_099, 779_361];

pub(crate) fn gathers() -> [Gather; 2] {
    let size = |count, side, c, low, flip| Gather { n: BATCH, count, h: side, w: side, c, low, high: 1.0, flip };
    [size(60_000, 28, 1, 0.0, false), size(50_000, 32, 3, -1.0, true)]
}

/// Images and length of z.
pub(crate) fn priors() -> [(usize, usize); 2] {
    [(BATCH, 62), (BATCH, 100)]
}
