//! A net that makes images: linear layers to a small image, then transposed convolutions that double it. The generator is
//! one, and so is the half of an autoencoder that turns a code back into an image.

use super::init::{initialisation, last_activation};
use super::layer::Layer;
use super::layers::{ActivationLayer, AffineLayer, BatchNormLayer};
use super::table::Flattened;
use super::{ImageShape, Parts};
use crate::Result;
use crate::config::{OutputLayer, Settings};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::conv_transpose2d::ConvTranspose2d;

/// Collects the layers of such a net. PyTorch's indices count every layer, activations too.
pub(super) struct DecoderBuilder<'a, B: Executor> {
    pub(super) backend: &'a B,
    pub(super) settings: &'a Settings,
    pub(super) parts: &'a mut Parts,
    pub(super) layers: Vec<Box<dyn Layer<B>>>,
    /// Activation after each layer but the last.
    pub(super) activation: Activation,
    /// True if batch normalisation goes before it.
    pub(super) normalised: bool,
}

impl<B: Executor> DecoderBuilder<'_, B> {
    /// Linear layer, normalisation and activation for each of `widths`, of which each may be an image flattened.
    pub(super) fn linear_layers(
        &mut self,
        mut inputs: Flattened,
        widths: impl Iterator<Item = Flattened>,
    ) -> Result<()> {
        let (init, mut index) = (initialisation(self.settings), 0);
        for outputs in widths {
            let name = format!("fc.{index}");
            let linear = AffineLayer::linear(&mut self.parts.params, &name, inputs, outputs, init);
            self.layers.push(Box::new(linear.before_norm(self.normalised)));
            index = self.activate("fc", index + 1, 1, outputs)?;
            inputs = outputs;
        }
        Ok(())
    }

    /// Transposed convolution k4 s2 p1, normalisation and activation for each of `widths`; then the one to the picture, and
    /// the activation that maps it into the interval of the pixels.
    pub(super) fn convolutions(
        &mut self,
        first: Flattened,
        widths: impl Iterator<Item = usize>,
        image: ImageShape,
        output: OutputLayer,
    ) -> Result<()> {
        let (init, mut index) = (initialisation(self.settings), 0);
        let Flattened { h, w, c } = first;
        let mut d = ConvTranspose2d { n: 0, h, w, c, k: 0, r: 4, s: 4, stride: 2, padding: 1 };
        for width in widths {
            d.k = width;
            let name = format!("deconv.{index}");
            let convolution = AffineLayer::conv_transpose2d(&mut self.parts.params, &name, d, init);
            self.layers.push(Box::new(convolution.before_norm(self.normalised)));
            (d.h, d.w, d.c) = (d.oh(), d.ow(), d.k);
            index = self.activate("deconv", index + 1, d.h * d.w, Flattened::vector(width))?;
        }
        d.k = image.c;
        if output == OutputLayer::Stride1 {
            (d.r, d.s, d.stride, d.padding) = (3, 3, 1, 1);
        }
        let name = format!("deconv.{index}");
        self.layers.push(Box::new(AffineLayer::conv_transpose2d(&mut self.parts.params, &name, d, init)));
        self.layers.push(Box::new(ActivationLayer { f: last_activation(self.settings), len: image.len() }));
        Ok(())
    }

    /// Normalisation, if there is any, and activation, of `positions` rows of features each; returns the index of what
    /// follows.
    fn activate(&mut self, part: &str, index: usize, positions: usize, features: Flattened) -> Result<usize> {
        let f = self.activation;
        if !self.normalised {
            self.layers.push(Box::new(ActivationLayer { f, len: positions * features.len() }));
            return Ok(index + 1);
        }
        let Parts { params, stats } = &mut *self.parts;
        let name = format!("{part}.{index}");
        let norm = BatchNormLayer::new(self.backend, params, stats, &name, positions, features, f)?;
        self.layers.push(Box::new(norm));
        Ok(index + 2)
    }
}
