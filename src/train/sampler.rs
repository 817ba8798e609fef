//! Pictures from a trained generator: batch normalisation by running statistics, the moving average where there is one.

use super::snapshot::F32Executor;
use crate::config::{PixelRange, Prior, Settings};
use crate::device::normal::fill_normals;
use crate::device::philox::{Stream, draw, uniform};
use crate::device::{Buffer, Storage, StoredBuffer};
use crate::nn::{Generator, ImageShape, Mode, Parts, Pass, Rounded};
use crate::ops::Executor;
use crate::{Error, Result};

/// A generator with memory of its own, so that sampling leaves the training step's memory alone.
pub struct Sampler<B: Executor> {
    generator: Generator<B>,
    parts: Parts,
    image: ImageShape,
    range: PixelRange,
    latents: StoredBuffer<B>,
    /// The classes, if the generator is conditional; as many as latents.
    classes: Option<Buffer<B, u32>>,
    images: StoredBuffer<B>,
    rounded: Rounded<B>,
}

/// Images that are drawn at once: a generator of one's own needs memory for as many.
pub const BATCH: usize = 64;

impl<B: F32Executor> Sampler<B> {
    /// Builds the generator's layers again.
    ///
    /// # Errors
    /// If the widths do not fit the image, or memory is used up.
    pub fn new(backend: &B, settings: &Settings, image: ImageShape) -> Result<Self> {
        let network = Generator::new(backend, settings, image, BATCH)?;
        let classes = settings.nets.is_conditional().then(|| backend.alloc(BATCH)).transpose()?;
        Ok(Sampler { classes, ..Self::with_generator(backend, settings.data.range, image, network)? })
    }

    /// The same with a generator of one's own, which has memory for [`BATCH`] images, and its tables.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn with_generator(
        backend: &B,
        range: PixelRange,
        image: ImageShape,
        (generator, parts): (Generator<B>, Parts),
    ) -> Result<Self> {
        let latents = backend.alloc(BATCH * generator.net().x_len())?;
        let images = backend.alloc(BATCH * image.len())?;
        let rounded = Rounded::new(backend, parts.params.len())?;
        Ok(Sampler { generator, parts, image, range, latents, classes: None, images, rounded })
    }

    /// The tables of the generator's arenas.
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Pictures `[count, H, W, C]`, 0 is black, from latents `[count, latent]`; and, where the generator is told a class, from classes
    /// `[count]`, which are not looked at otherwise.
    ///
    /// # Errors
    /// Those of the device; [`Error::Internal`] where classes are wanted and there are not as many.
    pub fn draw(
        &mut self,
        backend: &B,
        params: &Buffer<B>,
        stats: &mut Buffer<B>,
        latents: &[f32],
        classes: &[u32],
    ) -> Result<Vec<u8>> {
        let (latent, len) = (self.generator.net().x_len(), self.image.len());
        self.rounded.update(backend, params)?;
        let count = latents.len() / latent;
        if self.classes.is_some() && classes.len() != count {
            return Err(Error::Internal(format!("{count} latents, and classes for {} of them", classes.len())));
        }
        let mut pixels = Vec::with_capacity(count * len);
        for (batch, z) in latents.chunks(BATCH * latent).enumerate() {
            if let Some(target) = &mut self.classes {
                let own = &classes[batch * BATCH..][..z.len() / latent];
                backend.upload(own, backend.part_mut(target, 0..own.len()))?;
            }
            let stored: Vec<B::Storage> = z.iter().map(|&value| Storage::of_real(value)).collect();
            backend.upload(&stored, backend.part_mut(&mut self.latents, 0..z.len()))?;
            // Always whole batches: the order of a product's sums may depend on its size, and so would the pictures.
            let rounded = self.rounded.view(backend, params);
            let pass = Pass {
                backend,
                params: backend.view(params),
                rounded,
                n: BATCH,
                before: 0,
                ranks: 1,
                accumulates: true,
                classes: None,
            };
            let pass = pass.of(self.classes.as_ref().map(|classes| backend.view(classes)));
            let (z_all, images) = (backend.view(&self.latents), backend.view_mut(&mut self.images));
            self.generator.forward(pass, Mode::Eval, backend.view_mut(stats), z_all, images)?;
            let drawn = 0..z.len() / latent * len;
            let values = backend.read_stored(backend.part(&self.images, drawn))?;
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

/// A way between two latent vectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The straight line.
    Linear,
    /// The great circle, along which lengths change evenly ("slerp").
    Spherical,
}

impl Way {
    /// The usual way between samples of this prior: straight for a uniform one, whose samples fill a cube; along the great circle for
    /// a normal one, whose samples lie near a sphere (White 2016, "Sampling generative networks").
    pub fn of(prior: Prior) -> Way {
        match prior {
            Prior::Uniform => Way::Linear,
            Prior::Normal => Way::Spherical,
        }
    }
}

/// The latent vector at share `t` of the way from `from` to `to`.
pub fn between(way: Way, from: &[f32], to: &[f32], t: f64) -> Vec<f32> {
    let (a, b) = match way {
        Way::Linear => (1.0 - t, t),
        Way::Spherical => arc_shares(from, to, t),
    };
    #[expect(clippy::cast_possible_truncation)]
    let mixed = |(&x, &y): (&f32, &f32)| (a * f64::from(x) + b * f64::from(y)) as f32;
    from.iter().zip(to).map(mixed).collect()
}

/// The shares of both ends at `t` of the arc between them; those of the straight line where there is no one arc.
fn arc_shares(from: &[f32], to: &[f32], t: f64) -> (f64, f64) {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>();
    let lengths = (dot(from, from) * dot(to, to)).sqrt();
    let angle = if lengths > 0.0 { (dot(from, to) / lengths).clamp(-1.0, 1.0).acos() } else { 0.0 };
    if angle.sin() < 1e-6 {
        return (1.0 - t, t);
    }
    (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin())
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

/// The classes of the samples of these seeds, where none is asked for: in turn, so that each comes as often as any other and a seed
/// always gives the same picture. Empty where the generator is told none.
pub fn classes_in_turn(settings: &Settings, seeds: impl IntoIterator<Item = u64>) -> Vec<u32> {
    match settings.nets.classes as u64 {
        0 => Vec::new(),
        classes => seeds.into_iter().map(|seed| u32::try_from(seed % classes).unwrap_or_default()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_between_two_latents() {
        assert_eq!([Prior::Uniform, Prior::Normal].map(Way::of), [Way::Linear, Way::Spherical]);
        let (east, north) = ([2.0, 0.0], [0.0, 2.0]);
        assert_eq!(between(Way::Linear, &east, &north, 0.25), [1.5, 0.5]);
        // A third of a right angle: 30 degrees on the circle of radius 2.
        let found = between(Way::Spherical, &east, &north, 1.0 / 3.0);
        assert!((found[0] - 3f32.sqrt()).abs() < 1e-6 && (found[1] - 1.0).abs() < 1e-6, "{found:?}");
        for way in [Way::Linear, Way::Spherical] {
            assert_eq!(between(way, &east, &north, 0.0), east);
            assert!(between(way, &east, &north, 1.0).iter().zip(north).all(|(x, y)| (x - y).abs() < 1e-6));
            // Equal, opposite and absent directions have no arc of their own, and still no NaN.
            assert_eq!(between(way, &east, &east, 0.5), east);
            assert_eq!(between(way, &east, &[-2.0, 0.0], 0.5), [0.0, 0.0]);
            assert_eq!(between(way, &[0.0, 0.0], &east, 0.5), [1.0, 0.0]);
        }
    }

    /// Latents of a seed are the generator's first numbers: whoever changes them changes everybody's pictures.
    #[test]
    fn a_seed_stands_for_the_first_numbers_of_its_stream() {
        let mut settings = crate::config::preset("quick").expect("a preset");
        settings.generator.latent = 6;
        settings.generator.prior = Prior::Uniform;
        let words = |block| draw(7, Stream::LatentSample, 0, 0, block).map(uniform);
        assert_eq!(latent(&settings, 7), [&words(0)[..], &words(1)[..2]].concat());
        settings.generator.prior = Prior::Normal;
        let mut normals = [0.0; 6];
        fill_normals(7, Stream::LatentSample, 0, 0, 0, &mut normals);
        assert_eq!(latent(&settings, 7), normals);
    }

    #[test]
    fn pixels_are_rounded_and_kept_in_range() {
        let cases = [(-1.0, 0, 0), (0.0, 0, 128), (0.5, 128, 191), (1.0, 255, 255), (2.0, 255, 255), (f32::NAN, 0, 0)];
        for (value, unit, symmetric) in cases {
            assert_eq!(pixel(PixelRange::ZeroToOne, value), unit, "{value}");
            assert_eq!(pixel(PixelRange::MinusOneToOne, value), symmetric, "{value}");
        }
    }
}
