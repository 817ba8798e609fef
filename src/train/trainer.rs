//! A trainer: the networks, their optimisers, and the step that is done again and again.

use super::batch::Batch;
use super::step::model::{HISTORY, Model};
use super::step::probe::{NoProbe, Probe};
use super::step::{Methods, step};
use crate::Result;
use crate::config::Settings;
use crate::device::{Metrics, StepState, Stored};
use crate::nn::{Discriminator, Generator, ImageShape, Parts};
use crate::ops::Executor;

/// The networks, their optimisers and everything that a step touches.
pub struct Trainer<B: Executor> {
    /// The networks, the batch and the state.
    pub model: Model<B>,
    pub(crate) methods: Methods<B>,
    /// Steps begun, as the host counts them: it decides which of two sequences of work a step is, where not every step has
    /// a gradient penalty. What else changes from step to step the device alone knows.
    steps_begun: u64,
    /// The step without a penalty, and with one.
    repeated: [B::Repeated; 2],
}

impl<B: Executor> Trainer<B> {
    /// Builds the networks for images of this size and draws their first weights from the seed.
    ///
    /// # Errors
    /// If the widths do not fit the image, or memory is used up: [`require_memory`](super::predict::require_memory) tells
    /// beforehand.
    pub fn new(backend: B, settings: Settings, image: ImageShape) -> Result<Self> {
        let mut model = Model::new(backend, settings, image)?;
        let methods = Methods::new(&mut model)?;
        Ok(Trainer { model, methods, steps_begun: 0, repeated: Default::default() })
    }

    /// The same with networks of one's own, each with its tables: a generator with memory for a batch, a discriminator with memory for
    /// two. A generator with memory for two makes the images of both phases in one pass, unless gradients accumulate. Everything else is as the settings say: losses, optimisers, the bottleneck's constraint, methods.
    ///
    /// # Errors
    /// [`Error::Usage`](crate::Error::Usage) where they do not take and make what the settings and the images say; if memory is used up.
    pub fn with_networks(
        backend: B,
        settings: Settings,
        image: ImageShape,
        generator: (Generator<B>, Parts),
        discriminator: (Discriminator<B>, Parts),
    ) -> Result<Self> {
        let mut model = Model::with_networks(backend, settings, image, generator, discriminator)?;
        let methods = Methods::new(&mut model)?;
        Ok(Trainer { model, methods, steps_begun: 0, repeated: Default::default() })
    }

    /// One whole step; always on the same `inputs`, whose images differ from step to step by the state alone.
    ///
    /// # Errors
    /// Those of the device.
    pub fn step(&mut self, inputs: &Batch<B>) -> Result<()> {
        let has_penalty = self.begin_step();
        let Trainer { model, methods, repeated, .. } = self;
        let backend = model.backend.clone();
        backend
            .repeat(&mut repeated[usize::from(has_penalty)], || step(model, methods, inputs, has_penalty, &mut NoProbe))
    }

    /// [`Trainer::step`] with a probe that is told its values. It is never a recorded one.
    ///
    /// # Errors
    /// Those of the device and of the probe.
    pub fn probed_step(&mut self, inputs: &Batch<B>, probe: &mut impl Probe<B>) -> Result<()> {
        let has_penalty = self.begin_step();
        step(&mut self.model, &mut self.methods, inputs, has_penalty, probe)
    }

    /// Counts a step that begins, and says whether it has a gradient penalty: every
    /// [`penalty_every`](crate::config::ObjectiveSettings)th does, from the first on.
    fn begin_step(&mut self) -> bool {
        let every = self.model.settings.objective.penalty_every;
        let has_penalty = self.methods.penalty.is_some() && self.steps_begun.is_multiple_of(every);
        self.steps_begun += 1;
        has_penalty
    }

    /// The state after the steps so far.
    ///
    /// # Errors
    /// Those of the device.
    pub fn read_state(&self) -> Result<StepState> {
        self.model.read_state()
    }

    /// Puts a state in the place of the one there is: training goes on after its step.
    ///
    /// # Errors
    /// Those of the device.
    pub fn write_state(&mut self, state: &StepState) -> Result<()> {
        self.steps_begun = state.step;
        let Model { backend, state: target, .. } = &mut self.model;
        backend.upload(&[*state], backend.view_mut(target))
    }

    /// The figures of the steps `from .. to`, of which the last [`HISTORY`] are kept.
    ///
    /// # Errors
    /// Those of the device.
    pub fn read_history(&self, from: u64, to: u64) -> Result<Vec<Metrics>> {
        let history = self.model.backend.read_pinned(&self.model.history)?;
        Ok((from.max(to.saturating_sub(HISTORY))..to).map(|step| history[(step % HISTORY) as usize]).collect())
    }

    /// The 2N images of the last update of the discriminator, real, then generated, and the N that the generator was trained on then.
    pub fn images(&self) -> Stored<'_, B> {
        self.model.backend.view(&self.model.batch.images.clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Family, preset};
    use crate::device::Cpu;
    use crate::ops::inputs::gather::Gather;

    /// Parameters and statistics after three steps with a generator that has memory for so many images.
    fn trained(settings: &Settings, image: ImageShape, capacity: usize) -> Vec<f64> {
        let (cpu, n) = (Cpu::<f64>::new(Some(2)).expect("threads"), settings.train.batch);
        let generator = Generator::new(&cpu, settings, image, capacity).expect("a generator");
        let discriminator = Discriminator::new(&cpu, settings, image, 2 * n).expect("a discriminator");
        let mut trainer =
            Trainer::with_networks(cpu, settings.clone(), image, generator, discriminator).expect("a trainer");
        assert_eq!(trainer.model.generates_both(), capacity == 2 * n);
        let ImageShape { h, w, c } = image;
        let gather = Gather { n, count: 9, h, w, c, low: 0.0, high: 1.0, flip: false };
        let images = (0..9 * image.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
        let inputs = Batch::Drawn { gather, images, labels: None };
        (0..3).for_each(|_| trainer.step(&inputs).expect("a step"));
        let Model { generator, discriminator, .. } = trainer.model;
        let (of_g, of_d) = (generator.memory, discriminator.memory);
        [of_g.params, of_g.stats, of_d.params, of_d.stats].concat()
    }

    /// The generator does not change between the two phases, and each has batch statistics of its own.
    #[test]
    fn images_of_both_phases_in_one_pass_are_those_of_two() {
        let image = ImageShape { h: 8, w: 8, c: 1 };
        for (family, updates) in [(Family::Dcgan, 1), (Family::Dcgan, 2), (Family::Resnet, 1)] {
            let mut settings =
                preset(if family == Family::Dcgan { "quick" } else { "vgan-cifar10-resnet" }).expect("a preset");
            (settings.train.batch, settings.objective.discriminator_steps) = (4, updates);
            if family == Family::Resnet {
                (settings.generator.width, settings.generator.max_width) = (6, 12);
                (settings.discriminator.width, settings.discriminator.max_width) = (6, 12);
            }
            let [one, two] = [8, 4].map(|capacity| trained(&settings, image, capacity));
            // Products of more rows may add up in another order.
            let off = one.iter().zip(&two).map(|(one, two)| (one - two).abs()).fold(0.0, f64::max);
            assert!(off < 1e-9, "{family:?}, {updates} updates of the discriminator: off by {off}");
        }
    }
}
