//! Pictures from a trained generator: batch normalisation by running statistics, the moving average where there is one.

use super::snapshot::F32Executor;
use crate::Result;
use crate::config::{PixelRange, Prior, Settings};
use crate::device::Buffer;
use crate::device::normal::fill_normals;
use crate::device::philox::{Stream, draw, uniform};
use crate::nn::{Generator, ImageShape, Mode, Pass};
use crate::ops::Executor;

/// A generator with memory of its own, so that sampling leaves the training step's memory alone.
pub struct Sampler<B: Executor> {
    generator: Generator<B>,
    image: ImageShape,
    range: PixelRange,
    latents: Buffer<B>,
    images: Buffer<B>,
}

/// Images that are drawn at once.
const BATCH: usize = 64;

impl<B: F32Executor> Sampler<B> {
    /// Builds the generator's layers again.
    pub fn new(backend: &B, settings: &Settings, image: ImageShape) -> Result<Self> {
        let (generator, _) = Generator::new(backend, settings, image, BATCH)?;
        let latents = backend.alloc(BATCH * settings.generator.latent)?;
        let images = backend.alloc(BATCH * image.len())?;
        Ok(Sampler { generator, image, range: settings.data.range, latents, images })
    }

    /// Pictures `[count, H, W, C]`, 0 is black, from latents `[count, latent]`.
    pub fn draw(&mut self, backend: &B, params: &Buffer<B>, stats: &mut Buffer<B>, latents: &[f32]) -> Result<Vec<u8>> {
        let (latent, len) = (self.generator.net().x_len(), self.image.len());
        let mut pixels = Vec::with_capacity(latents.len() / latent * len);
        for z in latents.chunks(BATCH * latent) {
            let n = z.len() / latent;
            backend.upload(z, backend.slice_mut(backend.view_mut(&mut self.latents), 0..z.len()))?;
            let pass = Pass { backend, params: backend.view(params), n };
            let images = backend.slice_mut(backend.view_mut(&mut self.images), 0..n * len);
            let z = backend.slice(backend.view(&self.latents), 0..z.len());
            self.generator.forward(pass, Mode::Eval, backend.view_mut(stats), z, images)?;
            let values = backend.read(backend.slice(backend.view(&self.images), 0..n * len))?;
            pixels.extend(values.into_iter().map(|value| pixel(self.range, value)));
        }
        Ok(pixels)
    }
}

/// A generator's output as a pixel, rounded to nearest.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn pixel(range: PixelRange, value: f32) -> u8 {
    let unit = match range {
        PixelRange::ZeroToOne => value,
        PixelRange::MinusOneToOne => 0.5 * value + 0.5,
    };
    (unit * 255.0).round().clamp(0.0, 255.0) as u8
}

/// The latent vector that a user's seed stands for: the same in every run with this prior and length.
pub fn latent(settings: &Settings, seed: u64) -> Vec<f32> {
    let mut z = vec![0.0; settings.generator.latent];
    match settings.generator.prior {
        Prior::Normal => fill_normals(seed, Stream::LatentSample, 0, 0, 0, &mut z),
        Prior::Uniform => {
            for (block, four) in (0..).zip(z.chunks_mut(4)) {
                four.copy_from_slice(&draw(seed, Stream::LatentSample, 0, 0, block).map(uniform)[..four.len()]);
            }
        }
    }
    z
}
