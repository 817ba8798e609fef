//! A stack of layers for nets of one's own: each is put on the one before it, whose shape it takes, and its tensors get PyTorch's names
//! and layouts.

use super::Parts;
use super::layer::Layer;
use super::layers::{ActivationLayer, AffineLayer, BatchNormLayer};
use super::resampling::{AvgPoolLayer, UpsampleLayer};
use super::table::{Flattened, Initialisation};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::avg_pool2d::AvgPool2d;
use crate::ops::layers::bottleneck::{Bottleneck, Sigma};
use crate::ops::layers::conv_transpose2d::ConvTranspose2d;
use crate::ops::layers::conv2d::Conv2d;
use crate::ops::layers::upsample2d::Upsample2d;
use crate::{Error, Result};

/// Layers in the making, and the tables of their tensors.
///
/// A generator is one stack; a discriminator is an encoder, a bottleneck or none, and a head, whose tensors share the tables: the
/// encoder's stack becomes the head's with [`Stack::split`].
pub struct Stack<'a, B: Executor> {
    backend: &'a B,
    parts: Parts,
    layers: Vec<Box<dyn Layer<B>>>,
    shape: Flattened,
    init: Initialisation,
}

/// Layers that are complete, with the tables of their tensors.
pub type Layers<B> = (Vec<Box<dyn Layer<B>>>, Parts);

/// Width, window, stride and padding of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Channels of the output.
    pub k: usize,
    /// Rows and columns of a filter.
    pub size: usize,
    /// Distance of neighbouring windows; of a transposed convolution its inverse.
    pub stride: usize,
    /// Zeros around the image; of a transposed convolution rows and columns cut off.
    pub padding: usize,
}

impl<'a, B: Executor> Stack<'a, B> {
    /// An empty stack whose input has this shape: [`Flattened::vector`] of a latent, or an image. Weights start as `init` says.
    pub fn new(backend: &'a B, input: Flattened, init: Initialisation) -> Self {
        Stack { backend, parts: Parts::default(), layers: Vec::new(), shape: input, init }
    }

    /// The shape of what the last layer makes.
    pub fn shape(&self) -> Flattened {
        self.shape
    }

    /// Linear layer `{name}.weight` `[outputs, inputs]`, `{name}.bias`, to a vector or to an image.
    #[must_use]
    pub fn linear(mut self, name: &str, outputs: Flattened) -> Self {
        let layer = AffineLayer::linear(&mut self.parts.params, name, self.shape, outputs, self.init);
        self.push(layer, outputs)
    }

    /// Convolution `{name}.weight` `[k, c, size, size]`, `{name}.bias`; images `(h + 2·padding − size) / stride + 1` high.
    ///
    /// # Errors
    /// [`Error::Usage`] where the window does not fit the image.
    pub fn conv2d(mut self, name: &str, window: Window) -> Result<Self> {
        let (Flattened { h, w, c }, Window { k, size, stride, padding }) = (self.shape, window);
        if stride == 0 || size == 0 || k == 0 || h.min(w) + 2 * padding < size {
            return Err(self.misfit(name, window));
        }
        let d = Conv2d { n: 0, h, w, c, k, r: size, s: size, stride, padding };
        let layer = AffineLayer::conv2d(&mut self.parts.params, name, d, self.init);
        Ok(self.push(layer, Flattened { h: d.oh(), w: d.ow(), c: k }))
    }

    /// Transposed convolution `{name}.weight` `[c, k, size, size]`, `{name}.bias`; images `stride·(h − 1) + size − 2·padding` high.
    ///
    /// # Errors
    /// [`Error::Usage`] where nothing of the image is left.
    pub fn conv_transpose2d(mut self, name: &str, window: Window) -> Result<Self> {
        let (Flattened { h, w, c }, Window { k, size, stride, padding }) = (self.shape, window);
        let whole = h.min(w).saturating_sub(1) * stride + size;
        if stride == 0 || size == 0 || k == 0 || whole <= 2 * padding || padding >= size {
            return Err(self.misfit(name, window));
        }
        let d = ConvTranspose2d { n: 0, h, w, c, k, r: size, s: size, stride, padding };
        let layer = AffineLayer::conv_transpose2d(&mut self.parts.params, name, d, self.init);
        Ok(self.push(layer, Flattened { h: d.oh(), w: d.ow(), c: k }))
    }

    /// Batch normalisation of the channels of an image, or of the features of a vector, and the activation behind it: `{name}.weight`,
    /// `.bias`, `.running_mean`, `.running_var`, as many as channels.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn batch_norm(mut self, name: &str, activation: Activation) -> Result<Self> {
        let (shape, Parts { params, stats }) = (self.shape, &mut self.parts);
        let (positions, features) = (shape.h * shape.w, Flattened::vector(shape.c));
        let layer = BatchNormLayer::new(self.backend, params, stats, name, positions, features, activation)?;
        if let Some(before) = self.layers.last_mut() {
            before.norm_follows(shape.c);
        }
        Ok(self.push(layer, shape))
    }

    /// A function of each element.
    #[must_use]
    pub fn activation(self, f: Activation) -> Self {
        let shape = self.shape;
        self.push(ActivationLayer { f, len: shape.len() }, shape)
    }

    /// Doubles an image, each pixel four times.
    #[must_use]
    pub fn upsample2d(self) -> Self {
        let Flattened { h, w, c } = self.shape;
        self.push(UpsampleLayer(Upsample2d { n: 0, h, w, c }), Flattened { h: 2 * h, w: 2 * w, c })
    }

    /// Halves an image by means of 3×3 pixels, stride 2, padding 1.
    #[must_use]
    pub fn avg_pool2d(self) -> Self {
        let Flattened { h, w, c } = self.shape;
        let d = AvgPool2d { n: 0, h, w, c };
        self.push(AvgPoolLayer(d), Flattened { h: d.oh(), w: d.ow(), c })
    }

    /// A layer of one's own, whose output has the shape `output`; `layer` makes it from the tables, to which it adds its tensors.
    #[must_use]
    pub fn layer(mut self, layer: impl FnOnce(&mut Parts) -> Box<dyn Layer<B>>, output: Flattened) -> Self {
        let layer = layer(&mut self.parts);
        self.layers.push(layer);
        self.shape = output;
        self
    }

    /// The bottleneck's two convolutions 1×1, `conv_mean` and `conv_logvar`, of `channels` each, side by side in one layer; and the
    /// bottleneck behind them. What follows, in the stack that [`Stack::split`] returns, has the shape of z.
    pub fn bottleneck(mut self, channels: usize, sigma: Sigma) -> (Self, Bottleneck) {
        let last = self.shape;
        let layer = AffineLayer::bottleneck(&mut self.parts.params, last, channels, self.init, 0.0);
        self.layers.push(Box::new(layer));
        self.shape = Flattened { c: channels, ..last };
        (self, Bottleneck { n: 0, positions: last.h * last.w, c: channels, sigma })
    }

    /// The layers so far, and a stack for those that follow, with the same tables.
    pub fn split(mut self) -> (Vec<Box<dyn Layer<B>>>, Self) {
        let layers = std::mem::take(&mut self.layers);
        (layers, self)
    }

    /// The layers, and the tables of all their tensors.
    pub fn finish(self) -> Layers<B> {
        (self.layers, self.parts)
    }

    fn push(mut self, layer: impl Layer<B> + 'static, shape: Flattened) -> Self {
        self.layers.push(Box::new(layer));
        self.shape = shape;
        self
    }

    fn misfit(&self, name: &str, Window { size, stride, padding, .. }: Window) -> Error {
        let Flattened { h, w, .. } = self.shape;
        Error::Usage(format!(
            "layer {name}: expected an image that windows of {size}×{size}, stride {stride}, padding {padding} fit, found {h}×{w}"
        ))
    }
}
