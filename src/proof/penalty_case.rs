//! The gradient penalties as cases: R alone by every parameter of D, for narrow models with and without the bottleneck,
//! with its z sampled and at the mean, of either family of nets, and with spectral normalisation.
//!
//! They run through the [`Trainer`], so a check of them is one of the points, of the noise, and of all that goes up and down
//! through encoder, bottleneck and head. R of a leaky ReLU net jumps where an activation crosses its kink; none of the
//! fixed draws lies so near to one that a difference crosses it.

use super::models;
use super::whole::{FIXED, hold_spectral_norm, parameter};
use crate::Result;
use crate::config::{ObjectiveSettings, Settings};
use crate::device::philox::DrawStep;
use crate::device::{Buffer, Real};
use crate::nn::ImageShape;
use crate::nn::table::Table;
use crate::ops::case::OldCase;
use crate::ops::case::fill;
use crate::ops::{Executor, Fill, Tensor};
use crate::train::batch::{Batch, Given, GivenInstanceNoise, GivenPenalty};
use crate::train::trainer::Trainer;

/// The penalties of each narrow model.
///
/// # Errors
/// Where memory is used up.
pub fn cases<B: Executor>(backend: &B) -> Result<Vec<Box<dyn OldCase<B>>>> {
    let mut cases: Vec<Box<dyn OldCase<B>>> = Vec::new();
    for models::Model { name: model, settings, image, penalties, .. } in models::of_gradients()? {
        let Some(image) = image else { continue };
        for penalty in penalties {
            let objective = ObjectiveSettings { penalty, ..settings.objective.clone() };
            let settings = Settings { objective, ..settings.clone() };
            let trainer = Trainer::new(backend.clone(), settings.clone(), image)?;
            let table = trainer.discriminator_memory.parts.params.clone();
            let dims = trainer.discriminator.bottleneck(1).map_or(0, |d| d.dims());
            let name = format!("{penalty:?}, {model}");
            cases.push(Box::new(WholePenalty { name, settings, image, table, dims }));
        }
    }
    Ok(cases)
}

struct WholePenalty {
    name: String,
    settings: Settings,
    image: ImageShape,
    /// The discriminator's.
    table: Table,
    /// Elements of one image's z.
    dims: usize,
}

impl WholePenalty {
    /// A trainer with these parameters after its penalty's pass, whose loss and gradients are the penalty's alone.
    fn run<B: Executor>(&self, backend: &B, inputs: &[Buffer<B>]) -> Result<Trainer<B>> {
        let mut trainer = Trainer::new(backend.clone(), self.settings.clone(), self.image)?;
        let draw = |tensor: &Tensor, number| {
            let values = fill(tensor, number).into_iter().map(B::Real::of);
            backend.buffer_of(&values.collect::<Vec<_>>())
        };
        if self.settings.discriminator.spectral_norm {
            // Its vectors belong to the inputs as they are before any is moved.
            let first = (0..).zip(self.table.entries()).map(|(number, entry)| draw(&parameter(entry), number));
            self.set(&mut trainer, &first.collect::<Result<Vec<_>>>()?)?;
            hold_spectral_norm(&mut trainer)?;
        }
        self.set(&mut trainer, inputs)?;
        trainer.normalise_weights()?;
        let n = self.settings.train.batch;
        let drawn = |number, len, filled| draw(&Tensor::new("fixed", len).filled(filled), FIXED + number);
        let uniform = Fill::Uniform(0.0, 1.0);
        let images = drawn(0, 2 * n * self.image.len(), uniform)?;
        backend.copy(backend.view(&images), trainer.images_mut())?;
        let batch = Batch::Given(Given {
            images: backend.alloc(0)?,
            latents_d: backend.alloc(0)?,
            latents_g: backend.alloc(0)?,
            noise_d: drawn(1, 2 * n * self.dims, Fill::Normal)?,
            noise_g: backend.alloc(0)?,
            noise_reconstruction: backend.alloc(0)?,
            instance: GivenInstanceNoise::none(backend)?,
            penalty: GivenPenalty {
                positions: drawn(2, n, uniform)?,
                directions: drawn(3, n * self.image.len(), uniform)?,
                noise: drawn(4, n * self.dims, Fill::Normal)?,
            },
        });
        trainer.penalty_gradients(&batch, DrawStep::ONCE)?;
        trainer.raw_gradients()?;
        Ok(trainer)
    }

    /// Gives D these parameters.
    fn set<B: Executor>(&self, trainer: &mut Trainer<B>, values: &[Buffer<B>]) -> Result<()> {
        let backend = trainer.backend.clone();
        for (values, entry) in values.iter().zip(self.table.entries()) {
            let params = backend.view_mut(&mut trainer.discriminator_memory.params);
            backend.copy(backend.view(values), backend.slice_mut(params, entry.range()))?;
        }
        Ok(())
    }
}

impl<B: Executor> OldCase<B> for WholePenalty {
    fn op(&self) -> &'static str {
        "gradient_penalty"
    }
    fn name(&self) -> String {
        self.name.clone()
    }
    fn inputs(&self) -> Vec<Tensor> {
        self.table.entries().iter().map(parameter).collect()
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("penalty", 1)]
    }
    fn forward(&self, backend: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let metrics = self.run(backend, inputs)?.read_state()?.metrics;
        backend.upload(&[B::Real::of(metrics.penalty)], backend.view_mut(&mut outputs[0]))
    }
    fn backward(
        &self,
        backend: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let trainer = self.run(backend, inputs)?;
        let gradients = backend.view(&trainer.discriminator_memory.gradients);
        let scale = backend.read(backend.view(&d_outputs[0]))?[0];
        for (entry, target) in self.table.entries().iter().zip(d_inputs) {
            let values = backend.read(backend.slice(gradients, entry.range()))?;
            let scaled: Vec<B::Real> = values.into_iter().map(|g| g * scale).collect();
            backend.upload(&scaled, backend.view_mut(target))?;
        }
        Ok(())
    }
}
