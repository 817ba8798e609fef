//! The discriminator = encoder → bottleneck → head (paper Fig. 2): convolutions, or residual blocks and poolings
//! (resnet.rs), that halve the image, two 1×1 convolutions for μ and log σ² (or log σ), z drawn from them, linear layers to one logit. Where
//! the loss is one of energies the head is a decoder, and the whole an autoencoder (autoencoder.rs): its energies take
//! the place of the logits everywhere.

use super::autoencoder::{self, Autoencoder};
use super::discriminator_layers::Builder;
use super::layer::{Layer, Mode, Pass};
use super::sequential::Sequential;
use super::spectral_norm::{SpectralNorm, layers_pass};
use super::table::Flattened;
use super::{ImageShape, Parts, resnet};
use crate::config::{Family, Settings};
use crate::device::{In, Out, StepState, Stored, StoredBuffer, StoredOut};
use crate::ops::Executor;
use crate::ops::layers::bottleneck::{Bottleneck, Noise};
use crate::{Error, Result};

/// Images `[N, H, W, C]` → logits `[N]`, and the KL divergence of each image's code.
pub struct Discriminator<B: Executor> {
    encoder: Sequential<B>,
    bottleneck: Option<Bottleneck>,
    /// Layout of z, or of the features where there is no bottleneck.
    code: Flattened,
    head: Sequential<B>,
    /// Additional state of an autoencoder; its decoder is the head.
    autoencoder: Option<Autoencoder<B>>,
    /// The encoder's output: μ and log σ² (or log σ) side by side, or the features themselves.
    features: StoredBuffer<B>,
    d_features: StoredBuffer<B>,
    /// z, or nothing where there is no bottleneck.
    z: StoredBuffer<B>,
    d_z: StoredBuffer<B>,
    spectral_norm: Option<SpectralNorm<B>>,
    /// Additional state for a gradient penalty; none before [`Discriminator::allocate_tangents`].
    tangents: Option<Tangents<B>>,
}

/// Tangents between the three parts, and what comes down from those that curve.
struct Tangents<B: Executor> {
    features: StoredBuffer<B>,
    z: StoredBuffer<B>,
    logits: StoredBuffer<B>,
    /// The penalty's gradient by the features, by way of what follows them.
    d_features: StoredBuffer<B>,
    /// The same by z; empty unless the head curves.
    d_z: StoredBuffer<B>,
}

/// The parts of a discriminator of one's own.
pub struct DiscriminatorParts<B: Executor> {
    /// From images `[N, H, W, C]` to μ and log σ² side by side, `[N, positions, 2, C]`, or to features without a bottleneck.
    pub encoder: Vec<Box<dyn Layer<B>>>,
    /// The bottleneck; without it the discriminator is that of a plain GAN.
    pub bottleneck: Option<Bottleneck>,
    /// The shape of z, or of the features without a bottleneck.
    pub code: Flattened,
    /// From there to a logit `[N]`.
    pub head: Vec<Box<dyn Layer<B>>>,
    /// Divide every weight by its largest singular value.
    pub spectral_norm: bool,
}

/// Outputs of a forward pass, one number an image.
pub struct Verdict<'a, B: Executor> {
    /// D's logits.
    pub logits: StoredOut<'a, B>,
    /// KL, summed over the dimensions of z; left alone where there is no bottleneck.
    pub kl: Out<'a, B>,
}

/// Inputs of a backward pass.
pub struct VerdictGradient<'a, B: Executor> {
    /// The logits of the forward pass.
    pub logits: Stored<'a, B>,
    /// The loss's gradient by them.
    pub dlogits: Stored<'a, B>,
    /// The loss's gradient by each image's KL.
    pub dkl: In<'a, B>,
}

impl<B: Executor> Discriminator<B> {
    /// Builds the layers and their tables, with memory for up to `capacity` images.
    ///
    /// # Errors
    /// If the image can't be halved as often as the widths ask, or memory is used up.
    pub fn new(backend: &B, settings: &Settings, image: ImageShape, capacity: usize) -> Result<(Self, Parts)> {
        let mut builder = Builder { backend, settings, parts: Parts::default() };
        let residual = settings.nets.family == Family::Resnet;
        let (mut encoder, last) = if residual {
            resnet::encoder(backend, settings, image, capacity, &mut builder.parts.params)?
        } else {
            builder.encoder(image)?
        };
        let mut code = last;
        let bottleneck = settings.bottleneck.enabled.then(|| {
            let (layer, d) = builder.bottleneck(last);
            code.c = d.c;
            encoder.push(Box::new(layer));
            d
        });
        let autoencoder = Autoencoder::new(backend, settings, image, code, capacity)?;
        let head = if autoencoder.is_some() {
            autoencoder::decoder(backend, settings, image, last, code, &mut builder.parts)?
        } else if residual {
            resnet::head(settings, code, &mut builder.parts.params)?
        } else {
            builder.head(code, capacity)?
        };
        let parts = builder.parts;
        let own =
            DiscriminatorParts { encoder, bottleneck, code, head, spectral_norm: settings.discriminator.spectral_norm };
        let (discriminator, parts) = Self::from_parts(backend, own, parts, capacity)?;
        Ok((Discriminator { autoencoder, ..discriminator }, parts))
    }

    /// A discriminator of one's own, with memory for up to `capacity` images (2N in a training step). `parts` has the tables of all
    /// tensors; with spectral normalisation they get its vectors.
    ///
    /// # Errors
    /// [`Error::Usage`] where encoder, bottleneck, code and head do not fit together; if memory is used up.
    pub fn from_parts(
        backend: &B,
        own: DiscriminatorParts<B>,
        mut parts: Parts,
        capacity: usize,
    ) -> Result<(Self, Parts)> {
        let DiscriminatorParts { encoder, bottleneck, code, head, spectral_norm: normalised } = own;
        let spectral_norm = normalised.then(|| SpectralNorm::new(backend, &mut parts)).transpose()?;
        let (encoder, head) = (Sequential::new(backend, encoder, capacity)?, Sequential::new(backend, head, capacity)?);
        let made = bottleneck.map_or(code.len(), |d| 2 * d.dims());
        let dims = bottleneck.map_or(code.len(), |d| d.dims());
        if encoder.y_len() != made || head.x_len() != dims || code.len() != dims {
            return Err(Error::Usage(format!(
                "a discriminator: expected an encoder to {made} values an image and a head from {dims}, found {} and {}",
                encoder.y_len(),
                head.x_len()
            )));
        }
        let memory = |len: usize| backend.alloc(capacity * len);
        let (features, d_features) = (memory(encoder.y_len())?, memory(encoder.y_len())?);
        let dims = bottleneck.map_or(0, |d| d.dims());
        let (z, d_z) = (memory(dims)?, memory(dims)?);
        let discriminator = Discriminator {
            encoder,
            bottleneck,
            code,
            head,
            autoencoder: None,
            features,
            d_features,
            z,
            d_z,
            tangents: None,
            spectral_norm,
        };
        Ok((discriminator, parts))
    }

    /// Elements of one image.
    pub fn x_len(&self) -> usize {
        self.encoder.x_len()
    }

    /// Rows, columns and channels of z, or of the features where there is no bottleneck.
    pub fn code(&self) -> Flattened {
        self.code
    }

    /// The bottleneck's sizes for `n` images, if there is one.
    pub fn bottleneck(&self, n: usize) -> Option<Bottleneck> {
        self.bottleneck.map(|d| Bottleneck { n, ..d })
    }

    /// μ and log σ² of the last forward pass over `n` images, `[n, positions, 2, C]`; without a bottleneck the
    /// encoder's output, `[n, positions, C]`.
    pub fn features<'a>(&'a self, backend: &B, n: usize) -> Stored<'a, B> {
        backend.part(&self.features, 0..n * self.encoder.y_len())
    }

    /// The loss's gradient by [`Discriminator::features`], to write before [`Discriminator::encoder_backward`].
    pub fn d_features<'a>(&'a mut self, backend: &B, n: usize) -> StoredOut<'a, B> {
        let len = n * self.encoder.y_len();
        backend.part_mut(&mut self.d_features, 0..len)
    }

    /// z of the last forward pass over `n` images, `[n, positions, C]`; empty without a bottleneck.
    pub fn z<'a>(&'a self, backend: &B, n: usize) -> Stored<'a, B> {
        backend.part(&self.z, 0..n * self.bottleneck.map_or(0, |d| d.dims()))
    }

    /// Spectral normalisation, where the settings ask for it: prepares the weights that the passes from now on are computed
    /// with, from the arena `params`, after a power iteration on the vectors in `stats`. Nothing is done without.
    pub fn normalise_weights(&mut self, backend: &B, params: In<'_, B>, stats: Out<'_, B>) -> Result<()> {
        self.spectral_norm.as_mut().map_or(Ok(()), |spectral_norm| spectral_norm.normalise(backend, params, stats))
    }

    /// Turns gradients by the weights that [`Discriminator::normalise_weights`] prepared into those by the arena that it was
    /// given, in place. Once for the sum of all passes; nothing is done without spectral normalisation.
    pub fn raw_gradients(&self, backend: &B, stats: In<'_, B>, gradients: Out<'_, B>) -> Result<()> {
        self.spectral_norm.as_ref().map_or(Ok(()), |spectral_norm| spectral_norm.to_raw(backend, stats, gradients))
    }

    /// Spectral normalisation makes no power iterations from now on: its vectors are constants, as its gradient takes them.
    pub(crate) fn hold_spectral_norm(&mut self) {
        if let Some(spectral_norm) = &mut self.spectral_norm {
            spectral_norm.hold();
        }
    }

    /// logits = D(images) in training mode. `images` is `[n, H, W, C]`, in 1 or 2 equal groups with batch statistics of
    /// their own; `stats` is the network's arena of running statistics, which follow.
    pub fn forward(
        &mut self,
        pass: Pass<'_, B>,
        groups: usize,
        mut stats: Out<'_, B>,
        images: Stored<'_, B>,
        noise: Noise<'_, B>,
        verdict: Verdict<'_, B>,
    ) -> Result<()> {
        self.encode(pass, groups, pass.backend.reborrow(&mut stats), images)?;
        let pass = layers_pass(&self.spectral_norm, pass);
        let (backend, n, mode) = (pass.backend, pass.n, Mode::Train { groups });
        let features = backend.part(&self.features, 0..n * self.encoder.y_len());
        let code = match self.bottleneck(n) {
            None => features,
            Some(d) => {
                let z = backend.part_mut(&mut self.z, 0..n * d.dims());
                backend.bottleneck_forward(&d, features, noise, z, verdict.kl)?;
                backend.part(&self.z, 0..n * d.dims())
            }
        };
        match &mut self.autoencoder {
            None => self.head.forward(pass, mode, stats, code, verdict.logits),
            Some(energy) => energy.forward(&mut self.head, pass, mode, stats, images, code, verdict.logits),
        }
    }

    /// The first part of [`Discriminator::forward`], for what asks for [`Discriminator::features`] alone.
    ///
    /// # Errors
    /// Those of the device.
    pub fn encode(&mut self, pass: Pass<'_, B>, groups: usize, stats: Out<'_, B>, images: Stored<'_, B>) -> Result<()> {
        let pass = layers_pass(&self.spectral_norm, pass);
        let (backend, len) = (pass.backend, pass.n * self.encoder.y_len());
        let features = backend.part_mut(&mut self.features, 0..len);
        self.encoder.forward(pass, Mode::Train { groups }, stats, images, features)
    }

    /// Adds the repelling term of the last forward pass's codes (z, or the features without a bottleneck) to the
    /// generator's loss in the state, where the settings have it; the next backward pass then includes its gradient.
    ///
    /// # Errors
    /// Those of the device.
    pub fn repelling_loss(&mut self, pass: Pass<'_, B>, state: Out<'_, B, StepState>) -> Result<()> {
        let Discriminator { autoencoder: Some(energy), bottleneck, features, z, code, .. } = self else {
            return Ok(());
        };
        let codes = pass.backend.view(if bottleneck.is_some() { z } else { features });
        energy.repelling_loss(pass, pass.backend.slice(codes, 0..pass.n * code.len()), state)
    }

    /// The gradients of the last forward pass; the same images and noise are given again. `d_images` `[n, H, W, C]` is
    /// overwritten, the arena `d_params` accumulates, and for what is `None` nothing is computed.
    pub fn backward(
        &mut self,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        noise: Noise<'_, B>,
        gradient: VerdictGradient<'_, B>,
        mut d_images: Option<StoredOut<'_, B>>,
        mut d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let (given, pass) = (pass, layers_pass(&self.spectral_norm, pass));
        let (backend, n) = (pass.backend, pass.n);
        let dkl = gradient.dkl;
        let features = backend.part(&self.features, 0..n * self.encoder.y_len());
        let d_features = backend.part_mut(&mut self.d_features, 0..n * self.encoder.y_len());
        let weights = d_params.as_mut().map(|d_params| backend.reborrow(d_params));
        match self.bottleneck.map(|d| Bottleneck { n, ..d }) {
            None => {
                let Discriminator { head, autoencoder, .. } = self;
                head_backward(head, autoencoder, pass, images, features, &gradient, d_features, weights)?;
            }
            Some(d) => {
                let z = backend.part(&self.z, 0..n * d.dims());
                let d_z = backend.part_mut(&mut self.d_z, 0..n * d.dims());
                let Discriminator { head, autoencoder, .. } = self;
                head_backward(head, autoencoder, pass, images, z, &gradient, d_z, weights)?;
                let d_z = backend.part(&self.d_z, 0..n * d.dims());
                backend.bottleneck_backward_input(&d, features, noise, d_z, dkl, d_features)?;
            }
        }
        let lent = d_images.as_mut().map(|d_images| backend.reborrow(d_images));
        self.encoder_backward(given, images, lent, d_params)?;
        match (&self.autoencoder, d_images) {
            (Some(energy), Some(d_images)) => energy.backward_images(given, images, gradient.dlogits, d_images),
            _ => Ok(()),
        }
    }

    /// The last part of [`Discriminator::backward`], from [`Discriminator::d_features`] on; it follows
    /// [`Discriminator::encode`] too.
    ///
    /// # Errors
    /// Those of the device.
    pub fn encoder_backward(
        &mut self,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        d_images: Option<StoredOut<'_, B>>,
        d_params: Option<Out<'_, B>>,
    ) -> Result<()> {
        let pass = layers_pass(&self.spectral_norm, pass);
        let (backend, len) = (pass.backend, pass.n * self.encoder.y_len());
        let [features, d_features] = [&self.features, &self.d_features].map(|buffer| backend.part(buffer, 0..len));
        self.encoder.backward(pass, images, features, d_features, d_images, d_params)
    }

    /// Allocates what [`Discriminator::penalise`] works in, for up to `capacity` images.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn allocate_tangents(&mut self, backend: &B, capacity: usize) -> Result<()> {
        self.encoder.allocate_tangents(backend, capacity)?;
        self.head.allocate_tangents(backend, capacity)?;
        let features = capacity * self.encoder.y_len();
        let z = capacity * self.bottleneck.map_or(0, |d| d.dims());
        self.tangents = Some(Tangents {
            features: backend.alloc(features)?,
            z: backend.alloc(z)?,
            logits: backend.alloc(capacity)?,
            d_features: backend.alloc(features)?,
            d_z: backend.alloc(if self.head.curves() { z } else { 0 })?,
        });
        Ok(())
    }

    /// The gradient by the parameters of a function R of ∂ℓ/∂x, the gradients of the logits by the images: `d_params`, the
    /// whole arena, accumulates ([`super::layer`] has the scheme). `v_images` is ∂R/∂(∂ℓ/∂x), `[n, H, W, C]`.
    ///
    /// It follows a forward pass over these images with this noise, and a [`Discriminator::backward`] to the images with
    /// `dlogits` 1 and `dkl` 0, which are given again with the logits.
    ///
    /// # Errors
    /// If a layer mixes the images of a batch, or without [`Discriminator::allocate_tangents`].
    pub fn penalise(
        &mut self,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        noise: Noise<'_, B>,
        gradient: VerdictGradient<'_, B>,
        v_images: Stored<'_, B>,
        mut d_params: Out<'_, B>,
    ) -> Result<()> {
        if self.tangents.is_none() {
            return Err(Error::Internal("a gradient penalty without memory for its tangents".into()));
        }
        self.tangents_up(pass, images, noise, &gradient, v_images, pass.backend.reborrow(&mut d_params))?;
        self.curvature_down(pass, images, noise, &gradient, v_images, d_params)
    }

    /// The tangents of all layers, and with them the part of the gradient that each parameter has directly.
    fn tangents_up(
        &mut self,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        noise: Noise<'_, B>,
        gradient: &VerdictGradient<'_, B>,
        v_images: Stored<'_, B>,
        mut d_params: Out<'_, B>,
    ) -> Result<()> {
        let (backend, n, bottleneck) = (pass.backend, pass.n, self.bottleneck(pass.n));
        let Discriminator { encoder, head, features, d_features, z, tangents, spectral_norm, .. } = self;
        let pass = layers_pass(spectral_norm, pass);
        let Some(tangents) = tangents else { return Ok(()) };
        let len = n * encoder.y_len();
        let features = backend.part(features, 0..len);
        let v_features = backend.part_mut(&mut tangents.features, 0..len);
        encoder.tangent(pass, images, features, v_images, v_features)?;
        let d_features = backend.part(d_features, 0..len);
        encoder.tangent_weight(pass, v_images, d_features, backend.reborrow(&mut d_params))?;
        let v_features = backend.part(&tangents.features, 0..len);
        let v_logits = backend.part_mut(&mut tangents.logits, 0..n);
        let Some(d) = bottleneck else {
            head.tangent(pass, features, gradient.logits, v_features, v_logits)?;
            return head.tangent_weight(pass, v_features, gradient.dlogits, d_params);
        };
        let len = n * d.dims();
        let v_z = backend.part_mut(&mut tangents.z, 0..len);
        backend.bottleneck_tangent(&d, features, noise, v_features, v_z)?;
        let v_z = backend.part(&tangents.z, 0..len);
        let z = backend.part(z, 0..len);
        head.tangent(pass, z, gradient.logits, v_z, v_logits)?;
        head.tangent_weight(pass, v_z, gradient.dlogits, d_params)
    }

    /// The part of the gradient by way of the layers' inputs: from wherever something curves, down to the images.
    fn curvature_down(
        &mut self,
        pass: Pass<'_, B>,
        images: Stored<'_, B>,
        noise: Noise<'_, B>,
        gradient: &VerdictGradient<'_, B>,
        v_images: Stored<'_, B>,
        mut d_params: Out<'_, B>,
    ) -> Result<()> {
        let backend = pass.backend;
        let comes_down = self.curvature_of_code(pass, noise, gradient, backend.reborrow(&mut d_params))?;
        let Discriminator { encoder, features, d_features, tangents, spectral_norm, .. } = self;
        let pass = layers_pass(spectral_norm, pass);
        let Some(tangents) = tangents else { return Ok(()) };
        let len = pass.n * encoder.y_len();
        let [features, d_features, below] =
            [&*features, &*d_features, &tangents.d_features].map(|buffer| backend.part(buffer, 0..len));
        let above = comes_down.then_some(below);
        encoder.curvature(pass, images, features, v_images, d_features, above, None, d_params)
    }

    /// The curvature's gradient at the features, from head and bottleneck; returns `false` where neither curves.
    fn curvature_of_code(
        &mut self,
        pass: Pass<'_, B>,
        noise: Noise<'_, B>,
        gradient: &VerdictGradient<'_, B>,
        d_params: Out<'_, B>,
    ) -> Result<bool> {
        let (backend, n, bottleneck) = (pass.backend, pass.n, self.bottleneck(pass.n));
        let Discriminator { encoder, head, features, z, d_z, tangents, spectral_norm, .. } = self;
        let pass = layers_pass(spectral_norm, pass);
        let Some(Tangents { features: v_features, z: v_z, d_features: below, d_z: below_head, .. }) = tangents else {
            return Ok(false);
        };
        let VerdictGradient { logits, dlogits, dkl } = *gradient;
        let (len, curves) = (n * encoder.y_len(), head.curves());
        let [features, v_features] = [&*features, &*v_features].map(|b| backend.part(b, 0..len));
        let mut below = backend.part_mut(below, 0..len);
        let Some(d) = bottleneck else {
            head.curvature(pass, features, logits, v_features, dlogits, None, Some(below), d_params)?;
            return Ok(curves);
        };
        let sampled = !matches!(noise, Noise::Mean);
        let len = n * d.dims();
        let [z, v_z, d_z] = [&*z, &*v_z, &*d_z].map(|buffer| backend.part(buffer, 0..len));
        if curves {
            let lower = backend.part_mut(below_head, 0..len);
            head.curvature(pass, z, logits, v_z, dlogits, None, Some(lower), d_params)?;
            let lower = backend.part(below_head, 0..len);
            backend.bottleneck_backward_input(&d, features, noise, lower, dkl, backend.reborrow(&mut below))?;
        } else if sampled {
            backend.zero(backend.reborrow(&mut below))?;
        }
        // At the mean z is linear in the features.
        if sampled {
            backend.bottleneck_curvature(&d, features, noise, v_features, d_z, below)?;
        }
        Ok(curves || sampled)
    }
}

/// From the verdict's gradient back to the codes, `d_codes` overwritten, and to the head's parameters.
#[expect(clippy::too_many_arguments, reason = "two parts of the net, a pass, and what goes in and out")]
fn head_backward<B: Executor>(
    head: &mut Sequential<B>,
    autoencoder: &mut Option<Autoencoder<B>>,
    pass: Pass<'_, B>,
    images: Stored<'_, B>,
    codes: Stored<'_, B>,
    gradient: &VerdictGradient<'_, B>,
    d_codes: StoredOut<'_, B>,
    d_params: Option<Out<'_, B>>,
) -> Result<()> {
    let VerdictGradient { logits, dlogits, .. } = *gradient;
    match autoencoder {
        None => head.backward(pass, codes, logits, dlogits, Some(d_codes), d_params),
        Some(energy) => energy.backward(head, pass, images, codes, dlogits, d_codes, d_params),
    }
}
