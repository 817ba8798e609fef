//! A discriminator that is an autoencoder (Zhao et al. 2017; Berthelot et al. 2017): encoder and bottleneck are those of any
//! other, and a decoder takes the place of the head. It mirrors the encoder: linear layers of the same `hidden` widths and
//! back to the encoder's last image, if there are any, then a transposed convolution for each convolution. What it says
//! of an image is an energy, how far the reconstruction is off, where others have a logit.

use super::decoder::DecoderBuilder;
use super::layer::{Layer, Mode, Pass};
use super::sequential::Sequential;
use super::table::Flattened;
use super::{ImageShape, Parts};
use crate::config::{Norm, OutputLayer, Settings};
use crate::device::{Buffer, Out, StepState, Stored, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::activation::Activation;
use crate::ops::losses::energy::Energy;
use crate::ops::losses::repelling::Repelling;
use crate::{Error, Result};

/// State of an autoencoder beside encoder, bottleneck and decoder.
pub(super) struct Autoencoder<B: Executor> {
    /// Of one image.
    energy: Energy,
    /// Elements of one image's code.
    dims: usize,
    /// The decoder's images, and their gradient.
    reconstructions: StoredBuffer<B>,
    d_reconstructions: StoredBuffer<B>,
    /// Weight of the repelling term; 0 where the settings have none.
    repelling: f64,
    /// Of the codes of the last forward pass, if [`Autoencoder::repelling_loss`] has followed it.
    cosines: Buffer<B>,
    /// True if it has.
    repelled: bool,
}

/// The layers from a code to an image, where the encoder's last image is `last`; a bottleneck may have other channels.
///
/// # Errors
/// If doubling does not lead back to the image, or memory is used up.
pub(super) fn decoder<B: Executor>(
    backend: &B,
    settings: &Settings,
    image: ImageShape,
    last: Flattened,
    code: Flattened,
    parts: &mut Parts,
) -> Result<Vec<Box<dyn Layer<B>>>> {
    let discriminator = &settings.discriminator;
    let (widths, hidden) = (&discriminator.channels, &discriminator.hidden);
    if (last.h << widths.len(), last.w << widths.len()) != (image.h, image.w) {
        return Err(Error::Usage(format!(
            "discriminator.channels = {widths:?} halves an image {} times, and an autoencoder doubles it as often, which \
             does not lead back to {}×{}: pass --resize, or shorten discriminator.channels",
            widths.len(),
            image.h,
            image.w
        )));
    }
    let (activation, layers) = (Activation::LeakyRelu(discriminator.leak), Vec::new());
    let normalised = discriminator.norm == Norm::Batch;
    let mut builder = DecoderBuilder { backend, settings, parts, layers, activation, normalised };
    let mut first = code;
    if !hidden.is_empty() {
        builder.linear_layers(code, hidden.iter().map(|&width| Flattened::vector(width)).chain([last]))?;
        first = last;
    }
    // A convolution from c to k channels becomes one from k to c; the first one's c are those of the picture.
    let mirrored = widths.iter().rev().skip(1).copied();
    builder.convolutions(first, mirrored, image, OutputLayer::Stride2)?;
    Ok(builder.layers)
}

impl<B: Executor> Autoencoder<B> {
    /// Memory for up to `capacity` images, of which half at most are the generator's. `None` where D has a logit.
    ///
    /// # Errors
    /// If memory is used up.
    pub(super) fn new(
        backend: &B,
        settings: &Settings,
        image: ImageShape,
        code: Flattened,
        capacity: usize,
    ) -> Result<Option<Self>> {
        let Some(exponent) = settings.objective.loss.exponent() else { return Ok(None) };
        let repelling = settings.objective.repelling;
        let fakes = if repelling > 0.0 { capacity / 2 } else { 0 };
        Ok(Some(Autoencoder {
            energy: Energy { n: 0, len: image.len(), exponent },
            dims: code.len(),
            reconstructions: backend.alloc(capacity * image.len())?,
            d_reconstructions: backend.alloc(capacity * image.len())?,
            repelling,
            cosines: backend.alloc(fakes * fakes)?,
            repelled: false,
        }))
    }

    /// Energies `[n]` of images `[n, H, W, C]` whose codes are given.
    #[expect(clippy::too_many_arguments, reason = "a pass, the decoder's memory, and what goes in and out")]
    pub(super) fn forward(
        &mut self,
        decoder: &mut Sequential<B>,
        pass: Pass<'_, B>,
        mode: Mode,
        stats: Out<'_, B>,
        images: Stored<'_, B>,
        codes: Stored<'_, B>,
        energies: StoredOut<'_, B>,
    ) -> Result<()> {
        let (backend, d) = (pass.backend, Energy { n: pass.n, ..self.energy });
        let made = backend.part_mut(&mut self.reconstructions, 0..d.n * d.len);
        decoder.forward(pass, mode, stats, codes, made)?;
        let made = backend.part(&self.reconstructions, 0..d.n * d.len);
        self.repelled = false;
        backend.energy_forward(&d, images, made, energies)
    }

    /// The gradients of the last forward pass, whose images and codes are given again: overwrites `d_codes`, and
    /// accumulates `d_params` if they are wanted. The repelling term is included if its loss was asked for. What the images
    /// themselves have in the energy comes last, by [`Autoencoder::backward_images`].
    #[expect(clippy::too_many_arguments, reason = "a pass, the decoder's memory, and what goes in and out")]
    pub(super) fn backward(
        &mut self,
        decoder: &mut Sequential<B>,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        codes: Stored<'_, B>,
        d_energies: Stored<'_, B>,
        mut d_codes: StoredOut<'_, B>,
        d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let (backend, d) = (pass.backend, Energy { n: pass.n, ..self.energy });
        let made = backend.part(&self.reconstructions, 0..d.n * d.len);
        let d_made = backend.part_mut(&mut self.d_reconstructions, 0..d.n * d.len);
        backend.energy_backward_input(&d, images, made, d_energies, d_made)?;
        let d_made = backend.part(&self.d_reconstructions, 0..d.n * d.len);
        decoder.backward(pass, codes, made, d_made, Some(backend.reborrow(&mut d_codes)), d_params)?;
        if !self.repelled {
            return Ok(());
        }
        let d = self.repelling(d.n);
        let cosines = backend.part(&self.cosines, 0..d.n * d.n);
        backend.repelling_backward_input(&d, codes, cosines, d_codes)
    }

    /// Adds to `d_images`, which holds what came down through the encoder, what the images themselves have in the energy.
    pub(super) fn backward_images(
        &self,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        d_energies: Stored<'_, B>,
        d_images: StoredOut<'_, B>,
    ) -> Result<()> {
        let (backend, d) = (pass.backend, Energy { n: pass.n, ..self.energy });
        let made = backend.part(&self.reconstructions, 0..d.n * d.len);
        backend.energy_backward_image(&d, images, made, d_energies, d_images)
    }

    /// Adds the repelling term of these codes, those of the last forward pass, to the generator's loss in the state. Does
    /// nothing where the settings have none.
    pub(super) fn repelling_loss(
        &mut self,
        pass: Pass<'_, B>,
        codes: Stored<'_, B>,
        state: Out<'_, B, StepState>,
    ) -> Result<()> {
        if self.repelling == 0.0 {
            return Ok(());
        }
        let (backend, d) = (pass.backend, self.repelling(pass.n));
        let cosines = backend.part_mut(&mut self.cosines, 0..d.n * d.n);
        backend.repelling_forward(&d, codes, cosines)?;
        self.repelled = true;
        backend.repelling_loss(&d, backend.part(&self.cosines, 0..d.n * d.n), state)
    }

    fn repelling(&self, n: usize) -> Repelling {
        Repelling { n, dims: self.dims, weight: self.repelling }
    }
}
