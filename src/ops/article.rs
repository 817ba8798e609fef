//! The layer shapes of the article's two models as cases, for benchmarks: the generator on a batch of 64, the
//! discriminator on the 128 real and fake images that it sees together.

use super::affine;
use super::conv_transpose2d::ConvTranspose2d;
use super::conv2d::Conv2d;
use super::linear::Linear;
use super::{Case, Executor};

/// Images of a generator's batch.
const BATCH: usize = 64;
/// Real and fake images of a discriminator's batch.
const BOTH: usize = 2 * BATCH;

/// Every convolution, transposed convolution and linear layer of `vgan-mnist` and `vgan-cifar10`; a shape that both
/// have comes once.
pub fn article_cases<B: Executor>() -> Vec<Box<dyn Case<B>>> {
    affine::cases(convolutions())
        .into_iter()
        .chain(affine::cases(transposed()))
        .chain(affine::cases(linear()))
        .collect()
}

fn convolutions() -> Vec<Conv2d> {
    let halved = |side, c, k| Conv2d { n: BOTH, h: side, w: side, c, k, r: 4, s: 4, stride: 2, padding: 1 };
    // μ and log σ² are one convolution of twice the width.
    let bottleneck = |side, c| Conv2d { n: BOTH, h: side, w: side, c, k: 2 * c, r: 1, s: 1, stride: 1, padding: 0 };
    let mnist = [halved(28, 1, 64), halved(14, 64, 128), bottleneck(7, 128)];
    let cifar = [halved(32, 3, 64), halved(16, 64, 128), halved(8, 128, 256), halved(4, 256, 512), bottleneck(2, 512)];
    mnist.into_iter().chain(cifar).collect()
}

fn transposed() -> Vec<ConvTranspose2d> {
    let doubled = |side, c, k| ConvTranspose2d { n: BATCH, h: side, w: side, c, k, r: 4, s: 4, stride: 2, padding: 1 };
    let mnist = [doubled(7, 128, 64), doubled(14, 64, 1)];
    let picture = ConvTranspose2d { r: 3, s: 3, stride: 1, ..doubled(32, 64, 3) };
    let cifar = [doubled(4, 512, 256), doubled(8, 256, 128), doubled(16, 128, 64), picture];
    mnist.into_iter().chain(cifar).collect()
}

fn linear() -> Vec<Linear> {
    let size = |n, c, k| Linear { n, c, k };
    let mnist = [size(BATCH, 62, 1024), size(BATCH, 1024, 7 * 7 * 128), size(BOTH, 7 * 7 * 128, 1024)];
    let cifar = [size(BATCH, 100, 4 * 4 * 512), size(BOTH, 2 * 2 * 512, 1024)];
    mnist.into_iter().chain(cifar).chain([size(BOTH, 1024, 1)]).collect()
}
