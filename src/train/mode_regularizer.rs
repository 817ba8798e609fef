//! Mode regularisation (Che et al. 2017, "Mode Regularized Generative Adversarial Networks", sections 3.1 and 3.2: the
//! Regularized-GAN of MRGAN). An encoder E is trained beside the two nets, and the generator's loss gains
//!
//! E [λ₁ d(x, G(E(x))) + λ₂ cost(D(G(E(x))))]  over real images x,
//!
//! which E minimises too. Where G has forgotten a kind of image, E leads it back: there is an image to be near to, and D's
//! verdict on what is near to it. d is the mean of the squared error over an image's pixels and channels; the paper leaves
//! the metric open, and where its d were the sum, λ₁ would be as many times smaller. cost is what G pays for an image by
//! the loss at hand; −log D(G(E(x))), as in the paper, with loss `ns`.
//!
//! It is a pass of its own within the generator's phase, after that on G(z): its gradients are added to those of the
//! generator, which then takes one step. Its images are the real ones of the step's last discriminator phase, and it has
//! batch statistics of its own in all three nets. What it works in is its own, so that G's fakes and D's verdict on them
//! stay as the generator's pass has left them.

use super::batch::Batch;
use super::objective::{self, reconstruction};
use super::trainer::Trainer;
use crate::Result;
use crate::config::Settings;
use crate::device::{Buffer, In};
use crate::nn::{ImageEncoder, ImageShape, Mode, Parts, Pass, Verdict, VerdictGradient};
use crate::ops::Executor;
use crate::ops::losses::energy::{Energy, Exponent};

/// The encoder's layers, and what the pass works in, for N images.
pub(super) struct ModeRegularizer<B: Executor> {
    encoder: ImageEncoder<B>,
    /// E(x) `[N, latent]`, and the gradient by it.
    latents: Buffer<B>,
    d_latents: Buffer<B>,
    /// G(E(x)) `[N, H, W, C]`.
    images: Buffer<B>,
    /// d of each image.
    errors: Buffer<B>,
    /// What D says of them; all empty where that has no part in the loss.
    verdict: ReconstructionVerdict<B>,
}

/// D's verdict on the reconstructions, and its gradient.
struct ReconstructionVerdict<B: Executor> {
    logits: Buffer<B>,
    dlogits: Buffer<B>,
    /// Written by the forward pass, and of no use here: neither G nor E pays for information.
    kl: Buffer<B>,
    /// 0 for each KL.
    dkl: Buffer<B>,
}

impl<B: Executor> ModeRegularizer<B> {
    /// With the tables of the encoder's arenas; `None` where the settings have neither term.
    pub(super) fn new(backend: &B, settings: &Settings, image: ImageShape) -> Result<Option<(Self, Parts)>> {
        let (n, latent) = (settings.train.batch, settings.generator.latent);
        if !settings.objective.has_encoder() {
            return Ok(None);
        }
        let (encoder, parts) = ImageEncoder::new(backend, settings, image, n)?;
        let judged = if settings.objective.mode > 0.0 { n } else { 0 };
        let regularizer = ModeRegularizer {
            encoder,
            latents: backend.alloc(n * latent)?,
            d_latents: backend.alloc(n * latent)?,
            images: backend.alloc(n * image.len())?,
            errors: backend.alloc(n)?,
            verdict: ReconstructionVerdict {
                logits: backend.alloc(judged)?,
                dlogits: backend.alloc(judged)?,
                kl: backend.alloc(judged)?,
                dkl: backend.alloc(judged)?,
            },
        };
        Ok(Some((regularizer, parts)))
    }
}

impl<B: Executor> Trainer<B> {
    /// Adds both terms to the generator's loss in the state, their gradients by G's parameters to those that
    /// [`Trainer::generator_gradients`] has left, and overwrites those of the encoder. Nothing where the settings have
    /// neither term.
    ///
    /// # Errors
    /// Those of the device.
    pub(crate) fn mode_gradients(&mut self, batch: &Batch<B>) -> Result<()> {
        if self.mode_regularizer.is_none() {
            return Ok(());
        }
        self.reconstruct()?;
        self.judge_reconstructions(batch)?;
        self.reconstruction_gradient()?;
        self.blame_generator_and_encoder()
    }

    /// G(E(x)) of the N real images in the first half of the batch.
    pub fn reconstructions(&self) -> Option<In<'_, B>> {
        self.mode_regularizer.as_ref().map(|own| self.backend.view(&own.images))
    }

    /// E(x), then G(E(x)).
    fn reconstruct(&mut self) -> Result<()> {
        let (n, len) = (self.settings.train.batch, self.image.len());
        let Trainer { backend, work, generator, generator_memory, mode_regularizer, encoder_memory, .. } = self;
        let (Some(own), Some(memory)) = (mode_regularizer, encoder_memory) else { return Ok(()) };
        let real = backend.slice(backend.view(&work.images), 0..n * len);
        let pass = Pass { backend, params: backend.view(&memory.params), n };
        let latents = backend.view_mut(&mut own.latents);
        own.encoder.forward(pass, backend.view_mut(&mut memory.stats), real, latents)?;
        let pass = Pass { backend, params: backend.view(&generator_memory.params), n };
        let (z, images) = (backend.view(&own.latents), backend.view_mut(&mut own.images));
        let stats = backend.view_mut(&mut generator_memory.stats);
        generator.forward(pass, Mode::Train { groups: 1 }, stats, z, images)
    }

    /// D's verdict on the reconstructions, what it costs, and the gradient of that by their pixels, which overwrites the
    /// gradient of the images. D is the one that the generator's pass has seen, spectral norm's weights and all.
    fn judge_reconstructions(&mut self, batch: &Batch<B>) -> Result<()> {
        let (n, len, weight) = (self.settings.train.batch, self.image.len(), self.settings.objective.mode);
        let Trainer { backend, settings, work, state, discriminator, discriminator_memory, mode_regularizer, .. } =
            self;
        let Some(ModeRegularizer { images, verdict, .. }) = mode_regularizer else { return Ok(()) };
        if weight == 0.0 {
            return backend.zero(backend.view_mut(&mut work.d_images));
        }
        let mut shown = backend.view(images);
        if let Some(noised) = &mut work.noised {
            let d = objective::reconstruction_noise(settings, n, len);
            // Where the noisy fakes lay, of which nothing is read any more.
            let half = n * len..2 * n * len;
            let target = backend.slice_mut(backend.view_mut(noised), half.clone());
            let given = batch.reconstruction_instance_noise(backend);
            backend.instance_noise(&d, shown, given, backend.view(state), target)?;
            shown = backend.slice(backend.view(noised), half);
        }
        let pass = Pass { backend, params: backend.view(&discriminator_memory.params), n };
        let ReconstructionVerdict { logits, dlogits, kl, dkl } = verdict;
        let target = Verdict { logits: backend.view_mut(logits), kl: backend.view_mut(kl) };
        let noise = batch.reconstruction_noise(backend, settings, backend.view(state));
        discriminator.forward(pass, 1, backend.view_mut(&mut discriminator_memory.stats), shown, noise, target)?;
        let (costs, d_target) = (objective::objective(settings), backend.view_mut(dlogits));
        backend.mode_loss(&costs, weight, backend.view(logits), d_target, backend.view_mut(state))?;
        // Drawn anew from the state just written, whose seed and step are as they were.
        let noise = batch.reconstruction_noise(backend, settings, backend.view(state));
        let gradient =
            VerdictGradient { logits: backend.view(logits), dlogits: backend.view(dlogits), dkl: backend.view(dkl) };
        discriminator.backward(pass, shown, noise, gradient, Some(backend.view_mut(&mut work.d_images)), None)
    }

    /// How far the reconstructions are off, and the gradient of that by their pixels, which is added to D's.
    fn reconstruction_gradient(&mut self) -> Result<()> {
        let (n, d) = (self.settings.train.batch, reconstruction(&self.settings, self.image.len()));
        let Trainer { backend, work, state, mode_regularizer, .. } = self;
        let Some(ModeRegularizer { images, errors, .. }) = mode_regularizer else { return Ok(()) };
        let real = backend.slice(backend.view(&work.images), 0..n * d.len);
        let energy = Energy { n, len: d.len, exponent: Exponent::Squared };
        backend.energy_forward(&energy, real, backend.view(images), backend.view_mut(errors))?;
        backend.reconstruction_loss(&d, backend.view(errors), backend.view_mut(state))?;
        backend.reconstruction_backward_input(&d, real, backend.view(images), backend.view_mut(&mut work.d_images))
    }

    /// The way back through the generator and then through the encoder.
    fn blame_generator_and_encoder(&mut self) -> Result<()> {
        let (n, len) = (self.settings.train.batch, self.image.len());
        let Trainer { backend, work, generator, generator_memory, mode_regularizer, encoder_memory, .. } = self;
        let (Some(own), Some(memory)) = (mode_regularizer, encoder_memory) else { return Ok(()) };
        let pass = Pass { backend, params: backend.view(&generator_memory.params), n };
        let (z, images, d_images) =
            (backend.view(&own.latents), backend.view(&own.images), backend.view(&work.d_images));
        let d_z = backend.view_mut(&mut own.d_latents);
        let gradients = backend.view_mut(&mut generator_memory.gradients);
        generator.backward(pass, z, images, d_images, Some(d_z), gradients)?;
        backend.zero(backend.view_mut(&mut memory.gradients))?;
        let pass = Pass { backend, params: backend.view(&memory.params), n };
        let real = backend.slice(backend.view(&work.images), 0..n * len);
        let d_z = backend.view(&own.d_latents);
        own.encoder.backward(pass, real, z, d_z, backend.view_mut(&mut memory.gradients))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;
    use crate::device::Cpu;
    use crate::ops::inputs::gather::Gather;

    const IMAGE: ImageShape = ImageShape { h: 8, w: 8, c: 1 };

    fn trainer(reconstruction: f64, mode: f64) -> (Trainer<Cpu<f32>>, Batch<Cpu<f32>>) {
        let mut settings = preset("quick").unwrap();
        settings.train.batch = 4;
        settings.discriminator.spectral_norm = true;
        (settings.objective.reconstruction, settings.objective.mode) = (reconstruction, mode);
        let ImageShape { h, w, c } = IMAGE;
        let gather = Gather { n: 4, count: 9, h, w, c, low: 0.0, high: 1.0, flip: false };
        let images = (0..9 * IMAGE.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
        (Trainer::new(Cpu::new(Some(1)).unwrap(), settings, IMAGE).unwrap(), Batch::Drawn { gather, images })
    }

    /// The other nets start as they do without an encoder, and none of its weights is drawn as theirs are.
    #[test]
    fn the_encoders_first_weights_are_drawn_behind_those_of_the_others() {
        let ((with, _), (without, _)) = (trainer(0.2, 0.0), trainer(0.0, 0.0));
        let encoder = with.encoder_memory.as_ref().expect("an encoder");
        assert!(without.encoder_memory.is_none() && without.reconstructions().is_none());
        for (ours, theirs) in [
            (&with.generator_memory, &without.generator_memory),
            (&with.discriminator_memory, &without.discriminator_memory),
        ] {
            assert!(ours.params == theirs.params && ours.stats == theirs.stats);
            let drawn =
                ours.params.iter().chain(&ours.stats).map(|w| w.to_bits()).filter(|&w| f32::from_bits(w) != 0.0);
            let drawn: std::collections::BTreeSet<u32> = drawn.filter(|&w| f32::from_bits(w) != 1.0).collect();
            let entry = &encoder.parts.params.entries()[0];
            let same = encoder.params[entry.range()].iter().filter(|w| drawn.contains(&w.to_bits())).count();
            assert!(same * 10 < entry.len(), "{same} of {} weights are those of another net", entry.len());
        }
    }

    /// The generator's pass leaves its fakes and D's verdict on them; its gradients are added to, and the loss too.
    #[test]
    fn what_the_generators_pass_leaves_stays() {
        for (reconstruction, mode) in [(0.2, 0.4), (0.2, 0.0), (0.0, 0.4)] {
            let (mut trainer, batch) = trainer(reconstruction, mode);
            trainer.step(&batch).unwrap();
            trainer.generator_gradients(&batch, None).unwrap();
            let before = (trainer.images().to_vec(), trainer.logits().to_vec(), trainer.read_state().unwrap().metrics);
            let alone = trainer.generator_memory.gradients.clone();
            trainer.mode_gradients(&batch).unwrap();
            assert!(trainer.images() == before.0 && trainer.logits() == before.1);
            let (was, metrics) = (before.2, trainer.read_state().unwrap().metrics);
            assert!(metrics.loss_g > was.loss_g && metrics.reconstruction > 0.0, "{metrics:?}");
            let expected = was.loss_g + reconstruction * metrics.reconstruction;
            assert_eq!((metrics.loss_g - expected).abs() < 1e-12, mode == 0.0, "λ₁ E d alone only without the other");
            let both = trainer.generator_memory.gradients.clone();
            // Once more adds the same once more, but for rounding: running statistics have no part in it.
            trainer.mode_gradients(&batch).unwrap();
            let gradients = alone.iter().zip(&both).zip(&trainer.generator_memory.gradients);
            let largest = both.iter().fold(0.0f32, |most, g| most.max(g.abs()));
            for ((alone, both), twice) in gradients {
                assert!(((twice - both) - (both - alone)).abs() <= 1e-4 * largest, "{alone} {both} {twice}");
            }
        }
    }
}
