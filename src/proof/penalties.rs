//! The gradient penalties as cases: R alone by every parameter of D, for narrow models with and without the bottleneck,
//! with its z sampled and at the mean, of either family of nets, and with spectral normalisation.
//!
//! They run through the step's own pass, so a check of them is one of the points, of the noise, and of all that goes up
//! and down through encoder, bottleneck and head. R of a leaky ReLU net jumps where an activation crosses its kink;
//! none of the fixed draws lies so near to one that a difference crosses it.

use super::models;
use super::parameters::{
    FIXED, draw, draw_parameters, draw_stored, hold_spectral_norm, parameter, set_classes, set_parameters,
    write_gradients, write_loss,
};
use crate::config::{ObjectiveSettings, Settings};
use crate::device::Network;
use crate::device::philox::DrawStep;
use crate::nn::ImageShape;
use crate::ops::{Case, CaseBuffer, Executor, Fill, Tensor};
use crate::train::batch::{Batch, Given, GivenPenalty};
use crate::train::step::model::Model;
use crate::train::step::penalty;
use crate::train::trainer::Trainer;
use crate::{Error, Result};

/// The penalties of each narrow model.
///
/// # Errors
/// If memory is used up.
pub fn cases<B: Executor>(backend: &B) -> Result<Vec<Case<B>>> {
    let mut cases = Vec::new();
    for models::Model { name: model, settings, image, penalties, .. } in models::of_gradients()? {
        let Some(image) = image else { continue };
        for penalty in penalties {
            let objective = ObjectiveSettings { penalty, ..settings.objective.clone() };
            let settings = Settings { objective, ..settings.clone() };
            cases.push(case(backend, format!("{penalty:?}, {model}"), settings, image)?);
        }
    }
    Ok(cases)
}

/// One penalty of one model.
fn case<B: Executor>(backend: &B, name: String, settings: Settings, image: ImageShape) -> Result<Case<B>> {
    let discriminator = Trainer::new(backend.clone(), settings.clone(), image)?.model.discriminator;
    let table = discriminator.memory.parts.params;
    let mut case = Case::new("gradient_penalty", name);
    for tensor in table.entries().iter().map(parameter) {
        case = case.input_of(tensor);
    }
    let dims = discriminator.layers.bottleneck(1).map_or(0, |d| d.dims());
    let penalty = ModelPenalty { settings, image, dims };
    let same = penalty.clone();
    Ok(case
        .real_output("penalty", 1)
        .forward_of_many(move |be, inputs, outputs| {
            write_loss(be, penalty.run(be, inputs)?.read_state()?.metrics.penalty, outputs)
        })
        .backward_of_many(move |be, inputs, d_outputs, d_inputs| {
            let model = same.run(be, inputs)?;
            write_gradients(be, &table, &model.discriminator.memory.gradients, None, &d_outputs[0], d_inputs)
        }))
}

/// The penalty of a model whose discriminator has a bottleneck of so many dimensions of z.
#[derive(Clone)]
struct ModelPenalty {
    settings: Settings,
    image: ImageShape,
    dims: usize,
}

impl ModelPenalty {
    /// A model with these parameters after its penalty's pass, whose loss and gradients are the penalty's alone.
    fn run<B: Executor>(&self, backend: &B, inputs: &[CaseBuffer<B>]) -> Result<Model<B>> {
        let Trainer { mut model, mut methods, .. } = Trainer::new(backend.clone(), self.settings.clone(), self.image)?;
        if self.settings.discriminator.spectral_norm {
            // Its vectors belong to the inputs as they are before any is moved.
            draw_parameters(&mut model, Network::Discriminator, 0)?;
            hold_spectral_norm(&mut model)?;
        }
        set_parameters(&mut model, Network::Discriminator, inputs)?;
        model.normalise_weights()?;
        set_classes(&mut model)?;
        let n = self.settings.train.batch;
        let drawn = |number, len| draw(backend, &Tensor::real("fixed", len), FIXED + number);
        let uniform = |number, len| {
            let tensor = Tensor::stored("fixed", len).filled(Fill::Uniform(0.0, 1.0));
            draw_stored(backend, &tensor, FIXED + number)
        };
        model.batch.images.clean = uniform(0, 2 * n * self.image.len())?;
        let given = Batch::Given(Given {
            noise_d: drawn(1, 2 * n * self.dims)?,
            penalty: GivenPenalty {
                positions: uniform(2, n)?,
                directions: uniform(3, n * self.image.len())?,
                noise: drawn(4, n * self.dims)?,
            },
            ..Given::none(backend)?
        });
        let memory = methods.penalty.as_mut().ok_or_else(|| Error::Internal("a model without a penalty".into()))?;
        penalty::add_gradients(&mut model, memory, &given, DrawStep::ONCE)?;
        model.raw_gradients()?;
        Ok(model)
    }
}
