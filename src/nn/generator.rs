//! The generator: linear layers to a small image, then transposed convolutions that double it (facts of the article's
//! notebook; the widths are DCGAN's, Radford et al. 2016), or residual blocks and upsamplings (resnet.rs; the paper's).

use super::class_layers::class_beside;
use super::decoder::DecoderBuilder;
use super::layer::{Layer, Mode, Pass};
use super::sequential::Sequential;
use super::table::Flattened;
use super::{ImageShape, Parts, resnet};
use crate::config::{Family, GeneratorSettings, OutputLayer, Settings};
use crate::device::{Out, Stored, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::{Error, Result};

/// z `[N, latent]` → images `[N, H, W, C]`.
pub struct Generator<B: Executor> {
    net: Sequential<B>,
}

impl<B: Executor> Generator<B> {
    /// Builds the layers and their tables, with memory for up to `capacity` images.
    ///
    /// # Errors
    /// If the image can't be reached by doubling, or memory is used up.
    pub fn new(backend: &B, settings: &Settings, image: ImageShape, capacity: usize) -> Result<(Self, Parts)> {
        if settings.nets.family == Family::Resnet {
            let (layers, params) = resnet::generator(backend, settings, image, capacity)?;
            let net = Sequential::new(backend, layers, capacity)?;
            return Ok((Generator { net }, Parts { params, ..Parts::default() }));
        }
        let GeneratorSettings { latent, hidden, channels, output, .. } = &settings.generator;
        let first = first_image(settings, image)?;
        let (mut parts, activation) = (Parts::default(), Activation::Relu);
        let (layers, inputs) = class_beside(settings, *latent, &mut parts.params)?;
        let mut builder = DecoderBuilder { backend, settings, parts: &mut parts, layers, activation, normalised: true };
        let widths = hidden.iter().map(|&width| Flattened::vector(width)).chain([first]);
        builder.linear_layers(inputs, widths)?;
        builder.convolutions(first, channels.iter().skip(1).copied(), image, *output)?;
        let net = Sequential::new(backend, builder.layers, capacity)?;
        Ok((Generator { net }, parts))
    }

    /// A generator of one's own: layers from z `[N, latent]` to images `[N, H, W, C]`, with memory for up to `capacity` images.
    /// [`Stack`](super::Stack) makes them.
    ///
    /// # Errors
    /// Those of [`Sequential::new`].
    pub fn from_layers(backend: &B, layers: Vec<Box<dyn Layer<B>>>, capacity: usize) -> Result<Self> {
        Ok(Generator { net: Sequential::new(backend, layers, capacity)? })
    }

    /// The chain of layers.
    pub fn net(&self) -> &Sequential<B> {
        &self.net
    }

    /// images = G(z), or G(z, y) where the pass has classes y and the nets are told them: overwrites images `[n, H, W, C]` from z
    /// `[n, latent]`, in the range that the settings name. In training mode the running statistics in `stats` follow; in evaluation they are only read.
    pub fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        stats: Out<'_, B>,
        z: Stored<'_, B>,
        images: StoredOut<'_, B>,
    ) -> Result<()> {
        self.net.forward(pass, mode, stats, z, images)
    }

    /// The gradients of all parameters, accumulated; and that of z, if it is wanted.
    pub fn backward(
        &mut self,
        pass: Pass<'_, B>,
        z: Stored<'_, B>,
        images: Stored<'_, B>,
        d_images: Stored<'_, B>,
        d_z: Option<StoredOut<'_, B>>,
        d_params: Out<'_, B>,
    ) -> Result<()> {
        self.net.backward(pass, z, images, d_images, d_z, Some(d_params))
    }
}

/// The image that the linear layers make.
fn first_image(settings: &Settings, image: ImageShape) -> Result<Flattened> {
    let widths = &settings.generator.channels;
    let Some(&c) = widths.first() else {
        return Err(Error::Usage("generator.channels is empty: expected at least one width, such as [128, 64]".into()));
    };
    let doublings = widths.len() - usize::from(settings.generator.output == OutputLayer::Stride1);
    let factor = 1 << doublings;
    if !image.h.is_multiple_of(factor) || !image.w.is_multiple_of(factor) {
        return Err(Error::Usage(format!(
            "generator.channels = {widths:?} doubles an image {doublings} times, so images must have sides divisible by \
             {factor}; these are {}×{}: pass --resize, or change generator.channels",
            image.h, image.w
        )));
    }
    Ok(Flattened { h: image.h / factor, w: image.w / factor, c })
}
