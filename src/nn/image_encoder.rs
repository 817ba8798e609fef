//! The encoder of mode regularisation (Che et al. 2017, section 3.1): images → z, a network of its own beside generator and
//! discriminator, not to be taken for the discriminator's encoder. Its layers are those of the latter, of the same widths,
//! normalisation and leak, and then one linear layer to a z, without activation.

use super::discriminator_layers::Builder;
use super::init::initialisation;
use super::layer::{Layer, Mode, Pass};
use super::layers::AffineLayer;
use super::sequential::Sequential;
use super::table::Flattened;
use super::{ImageShape, Parts, resnet};
use crate::Result;
use crate::config::{Family, Settings};
use crate::device::{Out, Stored, StoredOut};
use crate::ops::Executor;

/// Images `[N, H, W, C]` → z `[N, latent]`.
pub struct ImageEncoder<B: Executor> {
    net: Sequential<B>,
}

impl<B: Executor> ImageEncoder<B> {
    /// Builds the layers and their tables, with memory for up to `capacity` images.
    ///
    /// # Errors
    /// If the image can't be halved as often as the discriminator's widths ask, or memory is used up.
    pub fn new(backend: &B, settings: &Settings, image: ImageShape, capacity: usize) -> Result<(Self, Parts)> {
        let mut builder = Builder { backend, settings, parts: Parts::default() };
        let (mut layers, last) = if settings.nets.family == Family::Resnet {
            let params = &mut builder.parts.params;
            let (mut layers, last) = resnet::encoder(backend, settings, image, capacity, params)?;
            // A residual net ends in a sum: its head begins with an activation, and so does what follows here.
            layers.push(Box::new(resnet::leaky_relu(settings, last)));
            (layers, last)
        } else {
            builder.encoder(image)?
        };
        let (params, latent) = (&mut builder.parts.params, Flattened::vector(settings.generator.latent));
        let linear = AffineLayer::linear(params, "fc", last, latent, initialisation(settings));
        layers.push(Box::new(linear) as Box<dyn Layer<B>>);
        Ok((ImageEncoder { net: Sequential::new(backend, layers, capacity)? }, builder.parts))
    }

    /// z = E(images) in training mode: overwrites `z` `[n, latent]` from images `[n, H, W, C]`; the running statistics in
    /// `stats` follow.
    pub fn forward(
        &mut self,
        pass: Pass<'_, B>,
        stats: Out<'_, B>,
        images: Stored<'_, B>,
        z: StoredOut<'_, B>,
    ) -> Result<()> {
        self.net.forward(pass, Mode::Train { groups: 1 }, stats, images, z)
    }

    /// The gradients of all parameters by that of z, accumulated in the arena `d_params`; the same images and z are given
    /// again.
    pub fn backward(
        &mut self,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        z: Stored<'_, B>,
        d_z: Stored<'_, B>,
        d_params: Out<'_, B>,
    ) -> Result<()> {
        self.net.backward(pass, images, z, d_z, None, Some(d_params))
    }
}
