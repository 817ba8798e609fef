//! The generator: linear layers to a small image, then transposed convolutions that double it (facts of the article's
//! notebook; the widths are DCGAN's, Radford et al. 2016), or residual blocks and upsamplings (resnet.rs; the paper's).

use super::layer::{Layer, Mode, Pass};
use super::layers::{ActivationLayer, AffineLayer, BatchNormLayer};
use super::sequential::Sequential;
use super::table::{Flattened, Initialisation};
use super::{ImageShape, Parts, resnet};
use crate::config::{Family, OutputLayer, PixelRange, Settings};
use crate::device::{In, Out};
use crate::ops::Executor;
use crate::ops::activation::Activation;
use crate::ops::conv_transpose2d::ConvTranspose2d;
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
        let mut builder = Builder { backend, settings, parts: Parts::default(), layers: Vec::new() };
        let first = first_image(settings, image)?;
        builder.linear_layers(first)?;
        builder.convolutions(first, image)?;
        let Builder { layers, parts, .. } = builder;
        Ok((Generator { net: Sequential::new(backend, layers, capacity)? }, parts))
    }

    /// The chain of layers.
    pub fn net(&self) -> &Sequential<B> {
        &self.net
    }

    /// images = G(z): overwrites images `[n, H, W, C]` from z `[n, latent]`, in the range that the settings name. In
    /// training mode the running statistics in `stats` follow; in evaluation they are only read.
    pub fn forward(
        &mut self,
        pass: Pass<'_, B>,
        mode: Mode,
        stats: Out<'_, B>,
        z: In<'_, B>,
        images: Out<'_, B>,
    ) -> Result<()> {
        self.net.forward(pass, mode, stats, z, images)
    }

    /// The gradients of all parameters, accumulated; and that of z, if it is wanted.
    pub fn backward(
        &mut self,
        pass: Pass<'_, B>,
        z: In<'_, B>,
        images: In<'_, B>,
        d_images: In<'_, B>,
        d_z: Option<Out<'_, B>>,
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
            image.w, image.h
        )));
    }
    Ok(Flattened { h: image.h / factor, w: image.w / factor, c })
}

struct Builder<'a, B: Executor> {
    backend: &'a B,
    settings: &'a Settings,
    parts: Parts,
    layers: Vec<Box<dyn Layer<B>>>,
}

impl<B: Executor> Builder<'_, B> {
    fn init(&self) -> Initialisation {
        initialisation(self.settings)
    }

    /// Linear, batch normalisation, ReLU, for each hidden width and for the first image. PyTorch's indices count by 3.
    fn linear_layers(&mut self, first: Flattened) -> Result<()> {
        let settings = &self.settings.generator;
        let mut inputs = Flattened::vector(settings.latent);
        let outputs = settings.hidden.iter().map(|&width| Flattened::vector(width)).chain([first]);
        for (i, outputs) in outputs.enumerate() {
            let init = self.init();
            let Parts { params, stats } = &mut self.parts;
            let linear = AffineLayer::linear(params, &format!("fc.{}", 3 * i), inputs, outputs, init);
            let name = format!("fc.{}", 3 * i + 1);
            let norm = BatchNormLayer::new(self.backend, params, stats, &name, 1, outputs, Activation::Relu)?;
            self.layers.push(Box::new(linear));
            self.layers.push(Box::new(norm));
            inputs = outputs;
        }
        Ok(())
    }

    /// Transposed convolution, batch normalisation, ReLU for each further width; then the one to the picture.
    fn convolutions(&mut self, first: Flattened, image: ImageShape) -> Result<()> {
        let widths = self.settings.generator.channels.clone();
        let init = self.init();
        let Parts { params, stats } = &mut self.parts;
        let mut d =
            ConvTranspose2d { n: 0, h: first.h, w: first.w, c: first.c, k: 0, r: 4, s: 4, stride: 2, padding: 1 };
        for (i, &width) in widths.iter().enumerate().skip(1) {
            d.k = width;
            let name = format!("deconv.{}", 3 * (i - 1));
            self.layers.push(Box::new(AffineLayer::conv_transpose2d(params, &name, d, init)));
            (d.h, d.w, d.c) = (d.oh(), d.ow(), d.k);
            let name = format!("deconv.{}", 3 * (i - 1) + 1);
            let (positions, features) = (d.h * d.w, Flattened::vector(width));
            let norm = BatchNormLayer::new(self.backend, params, stats, &name, positions, features, Activation::Relu)?;
            self.layers.push(Box::new(norm));
        }
        d.k = image.c;
        if self.settings.generator.output == OutputLayer::Stride1 {
            (d.r, d.s, d.stride, d.padding) = (3, 3, 1, 1);
        }
        let name = format!("deconv.{}", 3 * (widths.len() - 1));
        self.layers.push(Box::new(AffineLayer::conv_transpose2d(params, &name, d, init)));
        self.layers.push(Box::new(ActivationLayer { f: last_activation(self.settings), len: image.len() }));
        Ok(())
    }
}

/// What maps the last layer's output into the interval of the pixels.
pub(super) fn last_activation(settings: &Settings) -> Activation {
    match settings.data.range {
        PixelRange::ZeroToOne => Activation::Sigmoid,
        PixelRange::MinusOneToOne => Activation::Tanh,
    }
}

/// How the weights of both nets start.
pub(super) fn initialisation(settings: &Settings) -> Initialisation {
    match settings.optimizer.init_std {
        0.0 => Initialisation::FanIn,
        std => Initialisation::Normal(std),
    }
}
