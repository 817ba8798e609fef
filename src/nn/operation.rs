//! The operations of layers in evaluation mode, in the terms of other programs: for export. Parameters are ranges of the network's arenas,
//! whose tables have their names and PyTorch's layouts.

use std::ops::Range;

use crate::ops::layers::activation::Activation;
use crate::ops::layers::conv_transpose2d::ConvTranspose2d;
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::linear::Linear;
use crate::ops::layers::upsample2d::Upsample2d;

/// A step of a network in evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Operation {
    /// y = x · wᵀ + b.
    Linear(Linear, Parameters),
    /// Convolution.
    Conv2d(Conv2d, Parameters),
    /// Transposed convolution.
    ConvTranspose2d(ConvTranspose2d, Parameters),
    /// Batch normalisation by running statistics.
    BatchNorm {
        /// γ, in the arena of parameters.
        gamma: Range<usize>,
        /// β, in the arena of parameters.
        beta: Range<usize>,
        /// Running mean, in the arena of statistics.
        mean: Range<usize>,
        /// Running variance, in the arena of statistics.
        variance: Range<usize>,
        /// The number that is added to the variance.
        epsilon: f64,
    },
    /// A function of each element.
    Activation(Activation),
    /// y = [x, e / ‖e‖], e being the row of the embedding that is the image's class.
    ClassConcat {
        /// The embedding, in the arena of parameters.
        weight: Range<usize>,
    },
    /// Upsampling to the nearest pixel.
    Upsample2d(Upsample2d),
    /// y = shortcut(x) + scale · branch(x); an empty shortcut is x itself.
    Residual {
        /// The branch.
        branch: Vec<Operation>,
        /// The shortcut.
        shortcut: Vec<Operation>,
        /// The branch's factor.
        scale: f64,
    },
}

/// A weight, and the bias that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parameters {
    /// In the arena of parameters.
    pub weight: Range<usize>,
    /// In the arena of parameters, if there is one.
    pub bias: Option<Range<usize>>,
}

/// The maps that an affine layer may have.
pub trait Described {
    /// As a step of a network.
    fn operation(self, parameters: Parameters) -> Operation;
}

impl Described for Linear {
    fn operation(self, parameters: Parameters) -> Operation {
        Operation::Linear(self, parameters)
    }
}

impl Described for Conv2d {
    fn operation(self, parameters: Parameters) -> Operation {
        Operation::Conv2d(self, parameters)
    }
}

impl Described for ConvTranspose2d {
    fn operation(self, parameters: Parameters) -> Operation {
        Operation::ConvTranspose2d(self, parameters)
    }
}
