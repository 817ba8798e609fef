//! A network's parameters as the inputs of a case.

use crate::Result;
use crate::device::{Buffer, Network, Real, StoredBuffer};
use crate::nn::table::{Init, Table};
use crate::nn::{Entry, NetworkMemory};
use crate::ops::case::{drawn, fill};
use crate::ops::{CaseBuffer, Executor, Fill, Tensor};
use crate::train::step::model::Model;

/// Numbers of the draws that are no inputs of the case, far from those of its inputs.
pub(super) const FIXED: u32 = 5000;

/// A parameter's input and its filling: weights such that activations are of order one, everything else around its start.
pub(super) fn parameter(entry: &Entry) -> Tensor {
    let fill = match entry.init {
        Init::Normal(_) | Init::Uniform { .. } if entry.shape.len() > 1 => {
            let inputs = entry.len() / entry.shape[0];
            let bound = (3.0 / inputs as f64).sqrt();
            Fill::Uniform(-bound, bound)
        }
        Init::Constant(value) => Fill::Uniform(value - 0.4, value + 0.4),
        Init::Normal(_) | Init::Uniform { .. } => Fill::Uniform(-0.4, 0.4),
    };
    Tensor::real(entry.name.clone(), entry.len()).filled(fill)
}

/// A buffer with the draws for a tensor of reals of this number.
pub(super) fn draw<B: Executor>(backend: &B, tensor: &Tensor, number: u32) -> Result<Buffer<B>> {
    drawn(backend, tensor.len, tensor.fill, number)
}

/// The same for a stored tensor.
pub(super) fn draw_stored<B: Executor>(backend: &B, tensor: &Tensor, number: u32) -> Result<StoredBuffer<B>> {
    backend.stored_of(&fill(tensor, number).into_iter().map(B::Real::of).collect::<Vec<_>>())
}

/// Gives a model's 3N images classes, where its nets are told them: neighbours differ, and so do a real image and the generated one
/// beside it.
pub(super) fn set_classes<B: Executor>(model: &mut Model<B>) -> Result<()> {
    let (count, classes) = (3 * model.settings.train.batch, model.settings.nets.classes);
    if model.batch.classes.is_some() {
        let class = |image: usize| u32::try_from((2 * image + image / 3 + 1) % classes).unwrap_or_default();
        model.batch.classes = Some(model.backend.buffer_of(&(0..count).map(class).collect::<Vec<_>>())?);
    }
    Ok(())
}

/// Gives a network the parameters that a case which begins its draws at `first` starts from.
pub(super) fn draw_parameters<B: Executor>(model: &mut Model<B>, network: Network, first: u32) -> Result<()> {
    let Some(memory) = model.memory(network) else { return Ok(()) };
    let entries = (first..).zip(memory.parts.params.entries());
    let values = entries.map(|(number, entry)| {
        let tensor = parameter(entry);
        tensor.buffer(&model.backend, &fill(&tensor, number))
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    set_parameters(model, network, &values)
}

/// Gives a network these parameters, in the order of its table.
pub(super) fn set_parameters<B: Executor>(
    model: &mut Model<B>,
    network: Network,
    values: &[CaseBuffer<B>],
) -> Result<()> {
    let backend = model.backend.clone();
    let Some(memory) = model.memory_mut(network) else { return Ok(()) };
    let NetworkMemory { parts, params, .. } = &mut *memory;
    for (values, entry) in values.iter().zip(parts.params.entries()) {
        backend.copy(values.view(&backend).real(), backend.part_mut(params, entry.range()))?;
    }
    memory.round(&backend)
}

/// Holds the vectors of spectral normalisation, where there is one, where some power iterations bring them for the weights so
/// far: its gradient takes them for constants, so they may not follow a weight that is moved.
pub(super) fn hold_spectral_norm<B: Executor>(model: &mut Model<B>) -> Result<()> {
    if model.settings.discriminator.spectral_norm {
        (0..3).try_for_each(|_| model.normalise_weights())?;
        model.discriminator.layers.hold_spectral_norm();
    }
    Ok(())
}

/// The backward pass of a case whose output is one number: `d_inputs` = `d_output` times the gradients of the parameters of
/// `table`, which lie in `arena`, and then those of the inputs beside them.
pub(super) fn write_gradients<B: Executor>(
    backend: &B,
    table: &Table,
    arena: &Buffer<B>,
    beside: Option<&StoredBuffer<B>>,
    d_output: &CaseBuffer<B>,
    d_inputs: &mut [CaseBuffer<B>],
) -> Result<()> {
    let scale = backend.read(d_output.view(backend).real())?[0];
    let parameters = table.entries().iter().map(|entry| backend.read(backend.part(arena, entry.range())));
    let sources = parameters.chain(beside.map(|gradient| backend.read_stored(backend.view(gradient))));
    for (source, target) in sources.zip(d_inputs) {
        let scaled: Vec<B::Real> = source?.into_iter().map(|g| g * scale).collect();
        target.view_mut(backend).write(backend, &scaled)?;
    }
    Ok(())
}

/// Writes a case's one number.
pub(super) fn write_loss<B: Executor>(backend: &B, loss: f64, outputs: &mut [CaseBuffer<B>]) -> Result<()> {
    backend.upload(&[B::Real::of(loss)], outputs[0].view_mut(backend).real())
}
