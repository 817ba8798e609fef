//! The common parts of the networks before a layer is built: the start of weights, the generator's last activation, and the
//! convolution that keeps an image's size.

use super::table::{Flattened, Initialisation};
use crate::config::{PixelRange, Settings};
use crate::ops::layers::activation::Activation;
use crate::ops::layers::conv2d::Conv2d;

/// The start of the weights of all networks.
pub(super) fn initialisation(settings: &Settings) -> Initialisation {
    match settings.optimizer.init_std {
        0.0 => Initialisation::FanIn,
        std => Initialisation::Normal(std),
    }
}

/// The activation that maps the last layer's output into the interval of the pixels.
pub(super) fn last_activation(settings: &Settings) -> Activation {
    match settings.data.range {
        PixelRange::ZeroToOne => Activation::Sigmoid,
        PixelRange::MinusOneToOne => Activation::Tanh,
    }
}

/// A convolution of `k` filters of r×r that keeps the size of the image.
pub(super) fn same(image: Flattened, k: usize, r: usize) -> Conv2d {
    Conv2d { n: 0, h: image.h, w: image.w, c: image.c, k, r, s: r, stride: 1, padding: r / 2 }
}
