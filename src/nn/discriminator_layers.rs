//! The layers of a discriminator of the DCGAN family: its encoder, its head, and the convolution before the bottleneck, which
//! residual nets have too.

use super::class_layers::{self, ClassConcatLayer};
use super::init::initialisation;
use super::layer::Layer;
use super::layers::{ActivationLayer, AffineLayer, BatchNormLayer};
use super::minibatch::MinibatchLayer;
use super::table::{Flattened, Initialisation};
use super::{ImageShape, Parts};
use crate::config::{Norm, Settings};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::bottleneck::Bottleneck;
use crate::ops::layers::conv2d::Conv2d;
use crate::{Error, Result};

/// Builds the layers and notes their tensors in the tables of `parts`.
pub(super) struct Builder<'a, B: Executor> {
    pub(super) backend: &'a B,
    pub(super) settings: &'a Settings,
    pub(super) parts: Parts,
}

impl<B: Executor> Builder<'_, B> {
    fn init(&self) -> Initialisation {
        initialisation(self.settings)
    }

    fn leak(&self) -> Activation {
        Activation::LeakyRelu(self.settings.discriminator.leak)
    }

    /// Convolution k4 s2 p1, batch normalisation if the settings have it, leaky ReLU for each width. PyTorch's indices
    /// count every layer.
    pub(super) fn encoder(&mut self, image: ImageShape) -> Result<(Vec<Box<dyn Layer<B>>>, Flattened)> {
        let settings = &self.settings.discriminator;
        let (init, leak) = (self.init(), self.leak());
        let Parts { params, stats } = &mut self.parts;
        let mut layers: Vec<Box<dyn Layer<B>>> = Vec::new();
        let (mut index, mut last) = (0, Flattened { h: image.h, w: image.w, c: image.c });
        for (i, &k) in settings.channels.iter().enumerate() {
            if last.h < 2 || last.w < 2 {
                return Err(Error::Usage(format!(
                    "discriminator.channels = {:?} halves an image {} times, but {}×{} can only be halved {i} times: \
                     pass --resize, or shorten discriminator.channels",
                    settings.channels,
                    settings.channels.len(),
                    image.h,
                    image.w
                )));
            }
            let d = Conv2d { n: 0, h: last.h, w: last.w, c: last.c, k, r: 4, s: 4, stride: 2, padding: 1 };
            let normalised = settings.norm == Norm::Batch && (i > 0 || settings.norm_first);
            let convolution = AffineLayer::conv2d(params, &format!("conv.{index}"), d, init);
            layers.push(Box::new(convolution.before_norm(normalised)));
            last = Flattened { h: d.oh(), w: d.ow(), c: k };
            if normalised {
                let (name, positions, features) =
                    (format!("conv.{}", index + 1), last.h * last.w, Flattened::vector(k));
                let norm = BatchNormLayer::new(self.backend, params, stats, &name, positions, features, leak)?;
                layers.push(Box::new(norm));
                index += 3;
            } else {
                layers.push(Box::new(ActivationLayer { f: leak, len: last.len() }));
                index += 2;
            }
        }
        if layers.is_empty() {
            return Err(Error::Usage(
                "discriminator.channels is empty: expected at least one width, such as [64, 128]".into(),
            ));
        }
        Ok((layers, last))
    }

    /// The convolution to μ and log σ² (or log σ), and the bottleneck behind it.
    pub(super) fn bottleneck(&mut self, last: Flattened) -> (AffineLayer<Conv2d>, Bottleneck) {
        let settings = &self.settings.bottleneck;
        let c = if settings.channels == 0 { last.c } else { settings.channels };
        let init = self.init();
        let layer = AffineLayer::bottleneck(&mut self.parts.params, last, c, init, settings.logvar_bias);
        (layer, Bottleneck { n: 0, positions: last.h * last.w, c, sigma: settings.sigma })
    }

    /// With `concatenation` the class's embedding beside the code, which then lies position by position; linear, batch normalisation if
    /// the settings have it, leaky ReLU for each hidden width; minibatch discrimination if the settings have it, for up to `capacity`
    /// images; then the logit.
    pub(super) fn head(&mut self, code: Flattened, capacity: usize) -> Result<Vec<Box<dyn Layer<B>>>> {
        let (init, leak) = (self.init(), self.leak());
        let Parts { params, stats } = &mut self.parts;
        let mut layers: Vec<Box<dyn Layer<B>>> = Vec::new();
        let (mut index, mut inputs) = (0, code);
        if let Some(layer) = ClassConcatLayer::of_head(self.settings, code.len(), params)? {
            inputs = Flattened::vector(layer.outputs());
            layers.push(Box::new(layer));
        }
        for &width in &self.settings.discriminator.hidden {
            let outputs = Flattened::vector(width);
            let normalised = self.settings.discriminator.norm == Norm::Batch;
            let linear = AffineLayer::linear(params, &format!("fc.{index}"), inputs, outputs, init);
            layers.push(Box::new(linear.before_norm(normalised)));
            if normalised {
                let name = format!("fc.{}", index + 1);
                layers.push(Box::new(BatchNormLayer::new(self.backend, params, stats, &name, 1, outputs, leak)?));
                index += 3;
            } else {
                layers.push(Box::new(ActivationLayer { f: leak, len: width }));
                index += 2;
            }
            inputs = outputs;
        }
        let settings = &self.settings.discriminator;
        if settings.minibatch_kernels > 0 {
            let layer = MinibatchLayer::new(self.backend, params, settings, inputs, init, capacity)?;
            inputs = Flattened::vector(inputs.len() + settings.minibatch_kernels);
            layers.push(Box::new(layer));
        }
        layers.push(class_layers::logit(self.settings, &format!("fc.{index}"), inputs, params)?);
        Ok(layers)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Discriminator, ImageShape};
    use crate::config::preset;
    use crate::device::DryRun;

    #[test]
    fn an_image_of_one_row_or_one_column_is_not_halved() {
        let mut settings = preset("quick").expect("a preset");
        settings.discriminator.channels = vec![4, 8];
        let built = |h, w| Discriminator::<DryRun>::new(&DryRun::default(), &settings, ImageShape { h, w, c: 1 }, 2);
        assert!(built(4, 4).is_ok() && built(4, 6).is_ok());
        for (h, w, times) in [(1, 8, 0), (8, 1, 0), (2, 8, 1), (8, 2, 1)] {
            let message = built(h, w).err().expect("refused").to_string();
            assert!(message.contains(&format!("but {h}×{w} can only be halved {times} times")), "{message}");
        }
    }
}
