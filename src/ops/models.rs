//! Numbers of the models at whose sizes operations are timed: the article's `vgan-mnist` and `vgan-cifar10` and the paper's
//! `vgan-cifar10-resnet`. Here stand those that several operations share; an operation's own sizes stand in its file, in
//! `model_sizes`.
//!
//! Operations know no nets, so these numbers are typed a second time. `tests/house/rules.rs` compares them with the presets.

use crate::device::Network;

/// Images of a generator's batch.
pub const BATCH: usize = 64;
/// Real and fake images, which the discriminator sees together.
pub const BOTH: usize = 2 * BATCH;

/// Parameters of the generator and the discriminator of `vgan-mnist`.
pub const MNIST: [usize; 2] = [6_640_193, 6_592_321];
/// The same of `vgan-cifar10`.
pub const CIFAR: [usize; 2] = [3_599_363, 5_385_025];
/// The same of `vgan-cifar10-resnet`.
pub const PAPER: [usize; 2] = [1_696_099, 779_361];

/// The networks of the article's models, and their parameters.
pub fn networks() -> [(Network, usize); 4] {
    let (generator, discriminator) = (Network::Generator, Network::Discriminator);
    [(generator, MNIST[0]), (discriminator, MNIST[1]), (generator, CIFAR[0]), (discriminator, CIFAR[1])]
}

/// Rows, columns and channels of an image of MNIST and of CIFAR-10.
pub const IMAGES: [[usize; 3]; 2] = [[28, 28, 1], [32, 32, 3]];

/// Elements of an image of MNIST and of CIFAR-10.
pub fn image_lens() -> [usize; 2] {
    IMAGES.map(|[h, w, c]| h * w * c)
}

/// Positions and channels of the code z of `vgan-mnist` and `vgan-cifar10`.
pub const CODES: [(usize, usize); 2] = [(7 * 7, 128), (2 * 2, 512)];

/// The residual blocks of `vgan-cifar10-resnet`, the generator's and then the discriminator's: images, side, channels in
/// and channels out.
pub const BLOCKS: [(usize, usize, usize, usize); 8] = [
    (BATCH, 4, 256, 128),
    (BATCH, 8, 128, 64),
    (BATCH, 16, 64, 32),
    (BATCH, 32, 32, 32),
    (BOTH, 32, 32, 32),
    (BOTH, 16, 32, 64),
    (BOTH, 8, 64, 128),
    (BOTH, 4, 128, 256),
];
