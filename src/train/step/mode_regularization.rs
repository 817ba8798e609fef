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
//! stay as the generator's pass has left them. Where the nets are told classes, each reconstruction is of the class of its image.

use super::model::{BatchMemory, Model};
use super::{classes, discriminator_view};
use crate::Result;
use crate::device::{Buffer, Stored, StoredBuffer};
use crate::nn::{Mode, TrainedNetwork, Verdict, VerdictGradient};
use crate::ops::Executor;
use crate::ops::losses::energy::{Energy, Exponent};
use crate::train::batch::Batch;
use crate::train::objective;

/// The memory of the pass, for N images.
pub(crate) struct ModeRegularizer<B: Executor> {
    /// E(x) `[N, latent]`, and the gradient by it.
    latents: StoredBuffer<B>,
    d_latents: StoredBuffer<B>,
    /// G(E(x)) `[N, H, W, C]`.
    images: StoredBuffer<B>,
    /// d of each image.
    errors: StoredBuffer<B>,
    /// D's output for them; all empty where that has no part in the loss.
    verdict: ReconstructionVerdict<B>,
}

/// D's verdict on the reconstructions, and its gradient.
struct ReconstructionVerdict<B: Executor> {
    logits: StoredBuffer<B>,
    dlogits: StoredBuffer<B>,
    /// Written by the forward pass, and of no use here: neither G nor E pays for information.
    kl: Buffer<B>,
    /// 0 for each KL.
    dkl: Buffer<B>,
}

impl<B: Executor> ModeRegularizer<B> {
    /// `None` where the settings have neither term.
    pub(super) fn new(model: &Model<B>) -> Result<Option<Self>> {
        let Model { backend, settings, image, .. } = model;
        if !settings.objective.has_encoder() {
            return Ok(None);
        }
        let (n, latent) = (settings.micro_batch(), settings.generator.latent);
        let discriminated = if settings.objective.mode > 0.0 { n } else { 0 };
        Ok(Some(ModeRegularizer {
            latents: backend.alloc(n * latent)?,
            d_latents: backend.alloc(n * latent)?,
            images: backend.alloc(n * image.len())?,
            errors: backend.alloc(n)?,
            verdict: ReconstructionVerdict {
                logits: backend.alloc(discriminated)?,
                dlogits: backend.alloc(discriminated)?,
                kl: backend.alloc(discriminated)?,
                dkl: backend.alloc(discriminated)?,
            },
        }))
    }

    /// G(E(x)) of the N real images in the first half of the batch.
    pub(super) fn reconstructions(&self, backend: &B) -> Stored<'_, B> {
        backend.view(&self.images)
    }
}

/// Adds both terms to the generator's loss in the state, their gradients by G's parameters to those that are there, and
/// overwrites those of the image encoder.
///
/// # Errors
/// Those of the device.
pub(crate) fn add_gradients<B: Executor>(
    model: &mut Model<B>,
    own: &mut ModeRegularizer<B>,
    inputs: &Batch<B>,
) -> Result<()> {
    reconstruct(model, own)?;
    if model.settings.objective.mode > 0.0 {
        discriminate_reconstructions(model, own, inputs)?;
    } else {
        let Model { backend, batch, .. } = model;
        backend.zero(backend.view_mut(&mut batch.d_images.clean))?;
    }
    add_error_gradient(model, own)?;
    backward_through_generator_and_encoder(model, own)
}

/// E(x), then G(E(x)).
fn reconstruct<B: Executor>(model: &mut Model<B>, own: &mut ModeRegularizer<B>) -> Result<()> {
    let (n, len) = (model.settings.micro_batch(), model.image.len());
    let Model { backend, batch, generator, image_encoder, .. } = model;
    let Some(encoder) = image_encoder else { return Ok(()) };
    let real = backend.part(&batch.images.clean, 0..n * len);
    let (pass, stats) = encoder.memory.forward_pass(backend, n);
    encoder.layers.forward(pass, stats, real, backend.view_mut(&mut own.latents))?;
    let (pass, stats) = generator.memory.forward_pass(backend, n);
    let pass = pass.of(classes::of(backend, &batch.classes, 0..n));
    let (z, images) = (backend.view(&own.latents), backend.view_mut(&mut own.images));
    generator.layers.forward(pass, Mode::Train { groups: 1 }, stats, z, images)
}

/// D's verdict on the reconstructions, what it costs, and the gradient of that by their pixels, which overwrites the
/// gradient of the images. D is the one that the generator's pass has seen, spectral norm's weights and all.
fn discriminate_reconstructions<B: Executor>(
    model: &mut Model<B>,
    own: &mut ModeRegularizer<B>,
    inputs: &Batch<B>,
) -> Result<()> {
    let (n, image) = (model.settings.micro_batch(), model.image);
    let Model { backend, settings, batch, state, discriminator: TrainedNetwork { layers, memory }, .. } = model;
    let ModeRegularizer { images, verdict: ReconstructionVerdict { logits, dlogits, kl, dkl }, .. } = own;
    let BatchMemory { images: shown, d_images, .. } = batch;
    let (seen_by, x) = ((&*settings, image), backend.view(images));
    let x = discriminator_view::show_reconstructions(backend, seen_by, inputs, x, shown, backend.view(state))?;
    let (pass, stats) = memory.forward_pass(backend, n);
    let pass = pass.of(classes::of(backend, &batch.classes, 0..n));
    let verdict = Verdict { logits: backend.view_mut(logits), kl: backend.view_mut(kl) };
    let noise = inputs.reconstruction_noise(backend, settings, backend.view(state));
    layers.forward(pass, 1, stats, x, noise, verdict)?;
    let (costs, weight) = (objective::objective(settings), settings.objective.mode);
    let d_target = backend.view_mut(dlogits);
    backend.mode_loss(&costs, weight, backend.view(logits), d_target, backend.view_mut(state))?;
    // Drawn anew from the state just written, whose seed and step are as they were.
    let noise = inputs.reconstruction_noise(backend, settings, backend.view(state));
    let gradient =
        VerdictGradient { logits: backend.view(logits), dlogits: backend.view(dlogits), dkl: backend.view(dkl) };
    let d_images = Some(d_images.discriminated(backend));
    let pass = memory.pass(backend, n).of(classes::of(backend, &batch.classes, 0..n));
    layers.backward(pass, x, noise, gradient, d_images, None)?;
    discriminator_view::backward_to_reconstructions(model, inputs)
}

/// The reconstruction error, and its gradient by the pixels of the reconstructions, which is added to D's.
fn add_error_gradient<B: Executor>(model: &mut Model<B>, own: &mut ModeRegularizer<B>) -> Result<()> {
    let (n, d) = (model.settings.micro_batch(), objective::reconstruction(&model.settings, model.image.len()));
    let Model { backend, batch, state, .. } = model;
    let ModeRegularizer { images, errors, .. } = own;
    let real = backend.part(&batch.images.clean, 0..n * d.len);
    let energy = Energy { n, len: d.len, exponent: Exponent::Squared };
    backend.energy_forward(&energy, real, backend.view(images), backend.view_mut(errors))?;
    backend.reconstruction_loss(&d, backend.view(errors), backend.view_mut(state))?;
    let d_images = backend.view_mut(&mut batch.d_images.clean);
    backend.reconstruction_backward_input(&d, real, backend.view(images), d_images)
}

/// The way back through the generator and then through the image encoder.
fn backward_through_generator_and_encoder<B: Executor>(
    model: &mut Model<B>,
    own: &mut ModeRegularizer<B>,
) -> Result<()> {
    let (n, len) = (model.settings.micro_batch(), model.image.len());
    let Model { backend, batch, generator, image_encoder, .. } = model;
    let Some(encoder) = image_encoder else { return Ok(()) };
    let [z, images, d_images] = [&own.latents, &own.images, &batch.d_images.clean].map(|buffer| backend.view(buffer));
    let d_z = backend.view_mut(&mut own.d_latents);
    let (pass, gradients) = generator.memory.backward_pass(backend, n);
    let pass = pass.of(classes::of(backend, &batch.classes, 0..n));
    generator.layers.backward(pass, z, images, d_images, Some(d_z), gradients)?;
    let (pass, gradients) = encoder.memory.first_backward_pass(backend, n)?;
    let real = backend.part(&batch.images.clean, 0..n * len);
    encoder.layers.backward(pass, real, z, backend.view(&own.d_latents), gradients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;
    use crate::device::{Cpu, Metrics};
    use crate::nn::ImageShape;
    use crate::ops::inputs::gather::Gather;
    use crate::train::Trainer;
    use crate::train::step::probe::Probe;

    const IMAGE: ImageShape = ImageShape { h: 8, w: 8, c: 1 };

    fn trainer(reconstruction: f64, mode: f64) -> (Trainer<Cpu<f32>>, Batch<Cpu<f32>>) {
        let mut settings = preset("quick").unwrap();
        settings.train.batch = 4;
        settings.discriminator.spectral_norm = true;
        (settings.objective.reconstruction, settings.objective.mode) = (reconstruction, mode);
        let ImageShape { h, w, c } = IMAGE;
        let gather = Gather { n: 4, count: 9, h, w, c, low: 0.0, high: 1.0, flip: false };
        let images = (0..9 * IMAGE.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
        (
            Trainer::new(Cpu::new(Some(1)).unwrap(), settings, IMAGE).unwrap(),
            Batch::Drawn { gather, images, labels: None },
        )
    }

    #[test]
    fn memory_for_a_verdict_is_there_where_one_is_passed() {
        for (reconstruction, mode, n) in [(0.2, 0.0, 0), (0.2, 0.4, 4), (0.0, 0.4, 4)] {
            let model = trainer(reconstruction, mode).0.model;
            let ReconstructionVerdict { logits, dlogits, kl, dkl } =
                ModeRegularizer::new(&model).unwrap().expect("memory").verdict;
            assert_eq!([logits.len(), dlogits.len(), kl.len(), dkl.len()], [n; 4], "{reconstruction} {mode}");
        }
        assert!(ModeRegularizer::new(&trainer(0.0, 0.0).0.model).unwrap().is_none());
    }

    /// The other nets start as they do without an encoder, and none of its weights is drawn as theirs are.
    #[test]
    fn the_encoders_first_weights_are_drawn_behind_those_of_the_others() {
        let (with, without) = (trainer(0.2, 0.0).0.model, trainer(0.0, 0.0).0.model);
        assert!(without.image_encoder.is_none());
        let encoder = with.image_encoder.expect("an encoder").memory;
        for (ours, theirs) in [
            (&with.generator.memory, &without.generator.memory),
            (&with.discriminator.memory, &without.discriminator.memory),
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

    /// The values that the generator's half leaves in memory.
    struct Left {
        images: Vec<f32>,
        logits: Vec<f32>,
        metrics: Metrics,
    }

    impl Left {
        fn of(model: &Model<Cpu<f32>>) -> Result<Left> {
            let (images, logits) = (model.batch.images.clean.clone(), model.batch.logits.clone());
            Ok(Left { images, logits, metrics: model.read_state()?.metrics })
        }
    }

    /// Before mode regularisation, and after it.
    #[derive(Default)]
    struct Seen {
        before: Option<Left>,
        after: Option<Left>,
    }

    impl Probe<Cpu<f32>> for Seen {
        fn generator_loss(&mut self, model: &Model<Cpu<f32>>) -> Result<()> {
            self.before = Some(Left::of(model)?);
            Ok(())
        }
        fn reconstructions(&mut self, model: &Model<Cpu<f32>>, _: &[f32]) -> Result<()> {
            self.after = Some(Left::of(model)?);
            Ok(())
        }
    }

    /// The generator's own pass leaves its images and D's verdict on them; its gradients are added to, and the loss too.
    #[test]
    fn what_the_generators_pass_leaves_stays() {
        for (reconstruction, mode) in [(0.2, 0.4), (0.2, 0.0), (0.0, 0.4)] {
            let (mut trainer, inputs) = trainer(reconstruction, mode);
            trainer.step(&inputs).unwrap();
            let mut seen = Seen::default();
            trainer.probed_step(&inputs, &mut seen).unwrap();
            let (before, after) = (seen.before.expect("a loss"), seen.after.expect("reconstructions"));
            assert!(before.images == after.images && before.logits == after.logits);
            let (was, metrics) = (before.metrics, after.metrics);
            assert!(metrics.loss_g > was.loss_g && metrics.reconstruction > 0.0, "{metrics:?}");
            let expected = was.loss_g + reconstruction * metrics.reconstruction;
            assert_eq!((metrics.loss_g - expected).abs() < 1e-12, mode == 0.0, "λ₁ E d alone only without the other");
        }
    }

    /// Twice adds the same twice, but for rounding: running statistics have no part in it.
    #[test]
    fn gradients_are_added() {
        let (mut trainer, inputs) = trainer(0.2, 0.4);
        trainer.step(&inputs).unwrap();
        let Trainer { mut model, methods, .. } = trainer;
        let mut regularizer = methods.mode_regularizer.expect("mode regularisation");
        let mut after = |times: usize| {
            (0..times).for_each(|_| add_gradients(&mut model, &mut regularizer, &inputs).unwrap());
            model.generator.memory.gradients.clone()
        };
        let (before, once, twice) = (after(0), after(1), after(1));
        let largest = once.iter().fold(0.0f32, |most, g| most.max(g.abs()));
        assert!(before != once);
        for ((before, once), twice) in before.iter().zip(&once).zip(&twice) {
            assert!(((twice - once) - (once - before)).abs() <= 1e-4 * largest, "{before} {once} {twice}");
        }
    }
}
