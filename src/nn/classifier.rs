//! A small classifier of images, in whose features samples are compared with a data set. It is no part of a GAN: its widths follow from
//! the image alone, so that every run on the same images can be measured with the same one.
//!
//! Convolution 3×3; then a convolution k4 s2 p1 for each halving of the image, down to 4 to 7 pixels; a linear layer to the features;
//! each with batch normalisation and a leaky ReLU. Then a linear layer to a logit for each class.

use super::layer::{Layer, Mode, Pass};
use super::layers::{AffineLayer, BatchNormLayer};
use super::sequential::Sequential;
use super::table::{Flattened, Initialisation};
use super::{ImageShape, Parts, init};
use crate::Result;
use crate::device::{Out, Stored, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::layers::conv2d::Conv2d;

/// Numbers of an image's features.
pub const FEATURES: usize = 128;
/// Channels of the first convolution for grey and for colour images; each halving of the image doubles them, up to [`WIDEST`].
const GREY: usize = 16;
const COLOUR: usize = 32;
const WIDEST: usize = 256;
/// The shorter side of an image that is not halved any more is below this.
const SMALL: usize = 8;

/// Images `[N, H, W, C]` → features `[N, FEATURES]` → logits `[N, classes]`.
pub struct Classifier<B: Executor> {
    body: Sequential<B>,
    head: Sequential<B>,
    features: StoredBuffer<B>,
    d_features: StoredBuffer<B>,
}

impl<B: Executor> Classifier<B> {
    /// Builds the layers and their tables, with memory for up to `capacity` images.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn new(backend: &B, image: ImageShape, classes: usize, capacity: usize) -> Result<(Self, Parts)> {
        let mut builder = Builder { backend, parts: Parts::default(), layers: Vec::new() };
        let mut k = if image.c == 1 { GREY } else { COLOUR };
        let mut last = Flattened { h: image.h, w: image.w, c: image.c };
        last = builder.convolution("stem", init::same(last, k, 3))?;
        for stage in 0.. {
            if last.h.min(last.w) < SMALL {
                break;
            }
            k = (2 * k).min(WIDEST);
            let d = Conv2d { n: 0, h: last.h, w: last.w, c: last.c, k, r: 4, s: 4, stride: 2, padding: 1 };
            last = builder.convolution(&format!("stage.{stage}"), d)?;
        }
        let features = Flattened::vector(FEATURES);
        let linear = AffineLayer::linear(&mut builder.parts.params, "features", last, features, Initialisation::FanIn);
        builder.layers.push(Box::new(linear.before_norm(true)));
        builder.norm("features.norm", features)?;
        let Builder { mut parts, layers, .. } = builder;
        let logits = Flattened::vector(classes);
        let head = AffineLayer::linear(&mut parts.params, "logits", features, logits, Initialisation::FanIn);
        let head: Vec<Box<dyn Layer<B>>> = vec![Box::new(head)];
        let classifier = Classifier {
            body: Sequential::new(backend, layers, capacity)?,
            head: Sequential::new(backend, head, capacity)?,
            features: backend.alloc(capacity * FEATURES)?,
            d_features: backend.alloc(capacity * FEATURES)?,
        };
        Ok((classifier, parts))
    }

    /// Overwrites `logits` `[n, classes]` from images `[n, H, W, C]`. In training mode the running statistics in `stats` follow.
    ///
    /// # Errors
    /// Those of the device.
    pub fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        mut stats: Out<'_, B>,
        images: Stored<'_, B>,
        logits: StoredOut<'_, B>,
    ) -> Result<()> {
        let (backend, used) = (pass.backend, 0..pass.n * FEATURES);
        let features = backend.part_mut(&mut self.features, used.clone());
        self.body.forward(pass, mode, backend.reborrow(&mut stats), images, features)?;
        self.head.forward(pass, mode, stats, backend.part(&self.features, used), logits)
    }

    /// The features `[n, FEATURES]` of the last forward pass.
    pub fn features<'a>(&'a self, backend: &B, n: usize) -> Stored<'a, B> {
        backend.part(&self.features, 0..n * FEATURES)
    }

    /// The gradients of all parameters by that of the logits, in the arena `d_params`, after a forward pass in training mode; the same
    /// images and logits are given again.
    ///
    /// # Errors
    /// Those of the device.
    pub fn backward(
        &mut self,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        logits: Stored<'_, B>,
        d_logits: Stored<'_, B>,
        mut d_params: Out<'_, B>,
    ) -> Result<()> {
        let (backend, used) = (pass.backend, 0..pass.n * FEATURES);
        let features = backend.part(&self.features, used.clone());
        let d_features = backend.part_mut(&mut self.d_features, used.clone());
        let of_head = Some(backend.reborrow(&mut d_params));
        self.head.backward(pass, features, logits, d_logits, Some(d_features), of_head)?;
        let d_features = backend.part(&self.d_features, used);
        self.body.backward(pass, images, features, d_features, None, Some(d_params))
    }
}

/// The layers up to the features.
struct Builder<'a, B: Executor> {
    backend: &'a B,
    parts: Parts,
    layers: Vec<Box<dyn Layer<B>>>,
}

impl<B: Executor> Builder<'_, B> {
    /// A convolution with its normalisation; the shape of its output.
    fn convolution(&mut self, name: &str, d: Conv2d) -> Result<Flattened> {
        let layer = AffineLayer::conv2d(&mut self.parts.params, name, d, Initialisation::FanIn);
        self.layers.push(Box::new(layer.before_norm(true)));
        let out = Flattened { h: d.oh(), w: d.ow(), c: d.k };
        self.norm(&format!("{name}.norm"), out)?;
        Ok(out)
    }

    /// Batch normalisation and the activation.
    fn norm(&mut self, name: &str, of: Flattened) -> Result<()> {
        let Parts { params, stats } = &mut self.parts;
        let (positions, features, leak) = (of.h * of.w, Flattened::vector(of.c), Activation::LeakyRelu(0.2));
        let layer = BatchNormLayer::new(self.backend, params, stats, name, positions, features, leak)?;
        self.layers.push(Box::new(layer));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::DryRun;

    #[test]
    fn the_widths_follow_from_the_image() {
        let net = |h, w, c| {
            let image = ImageShape { h, w, c };
            let (net, parts) = Classifier::<DryRun>::new(&DryRun::default(), image, 10, 2).unwrap();
            let weights = parts.params.entries().iter().filter(|entry| entry.shape.len() == 4);
            (weights.map(|entry| entry.shape[0]).collect::<Vec<_>>(), net.body.x_len(), net.head.y_len())
        };
        assert_eq!(net(28, 28, 1), (vec![16, 32, 64], 28 * 28, 10));
        assert_eq!(net(32, 32, 3), (vec![32, 64, 128, 256], 32 * 32 * 3, 10));
        assert_eq!(net(256, 256, 3).0, [32, 64, 128, 256, 256, 256, 256]);
        // A side that can't be halved stays.
        assert_eq!((net(1, 1, 1).0, net(5, 40, 3).0), (vec![16], vec![32]));
        assert_eq!(net(9, 17, 3).0, [32, 64]);
    }

    /// Filters of 3×3 and then of 4×4, each with its normalisation and a leak of 0.2.
    #[test]
    fn the_layers_are_those_of_its_description() {
        let image = ImageShape { h: 28, w: 28, c: 1 };
        let (_, parts) = Classifier::<DryRun>::new(&DryRun::default(), image, 10, 2).unwrap();
        let filters = parts.params.entries().iter().filter(|entry| entry.shape.len() == 4);
        assert_eq!(filters.map(|entry| &entry.shape[1..]).collect::<Vec<_>>(), [[1, 3, 3], [16, 4, 4], [32, 4, 4]]);
        let (backend, parts) = (DryRun::default(), Parts::default());
        let mut builder = Builder::<DryRun> { backend: &backend, parts, layers: Vec::new() };
        builder.norm("norm", Flattened { h: 2, w: 2, c: 3 }).unwrap();
        assert_eq!(builder.layers[0].describe(), "batch_norm 3 + LeakyRelu(0.2)");
    }
}
