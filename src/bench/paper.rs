//! The sizes of the paper's model (`vgan-cifar10-resnet`), for benchmarks: as in article.rs, the generator on a batch of
//! 64, the discriminator on the 128 real and fake images that it sees together.

use super::article::{BATCH, BOTH};
use crate::ops::layers::activation::Activation;
use crate::ops::layers::avg_pool2d::AvgPool2d;
use crate::ops::layers::bottleneck::{Bottleneck, Sigma};
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::linear::Linear;
use crate::ops::layers::upsample2d::Upsample2d;

/// Side and widths `(images, side, from, to)` of the generator's residual blocks, then of the discriminator's.
const BLOCKS: [(usize, usize, usize, usize); 8] = [
    (BATCH, 4, 256, 128),
    (BATCH, 8, 128, 64),
    (BATCH, 16, 64, 32),
    (BATCH, 32, 32, 32),
    (BOTH, 32, 32, 32),
    (BOTH, 16, 32, 64),
    (BOTH, 8, 64, 128),
    (BOTH, 4, 128, 256),
];

/// Every convolution, of which a block has two, and a third where its width changes; a shape that comes again is left
/// out.
pub(super) fn convolutions() -> Vec<Conv2d> {
    let size = |n, side, c, k, r| Conv2d { n, h: side, w: side, c, k, r, s: r, stride: 1, padding: r / 2 };
    let mut sizes = vec![size(BOTH, 32, 3, 32, 3), size(BATCH, 32, 32, 3, 3), size(BOTH, 4, 256, 2 * 256, 1)];
    for (n, side, from, to) in BLOCKS {
        let hidden = from.min(to);
        sizes.extend([size(n, side, from, hidden, 3), size(n, side, hidden, to, 3)]);
        sizes.extend((from != to).then(|| size(n, side, from, to, 1)));
    }
    let mut different: Vec<Conv2d> = Vec::new();
    sizes.into_iter().for_each(|d| {
        if !different.contains(&d) {
            different.push(d);
        }
    });
    different
}

pub(super) fn linear() -> [Linear; 2] {
    [Linear { n: BATCH, c: 256, k: 4 * 4 * 256 }, Linear { n: BOTH, c: 4 * 4 * 256, k: 1 }]
}

pub(super) fn avg_pools() -> [AvgPool2d; 3] {
    [(32, 32), (16, 64), (8, 128)].map(|(side, c)| AvgPool2d { n: BOTH, h: side, w: side, c })
}

pub(super) fn upsamples() -> [Upsample2d; 3] {
    [(4, 128), (8, 64), (16, 32)].map(|(side, c)| Upsample2d { n: BATCH, h: side, w: side, c })
}

/// Elements of the sums that end a block: the largest and the smallest of either net.
pub(super) fn sums() -> [usize; 3] {
    [BATCH * 4 * 4 * 128, BATCH * 32 * 32 * 32, BOTH * 32 * 32 * 32]
}

/// In front of the largest convolutions.
pub(super) fn activations() -> [(Activation, usize); 1] {
    [(Activation::LeakyRelu(0.2), BOTH * 32 * 32 * 32)]
}

pub(super) fn bottlenecks() -> [Bottleneck; 1] {
    [Bottleneck { n: BOTH, positions: 4 * 4, c: 256, sigma: Sigma::Logstd }]
}
