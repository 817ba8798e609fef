//! A trainer's whole state as a checkpoint, and back.
//!
//! Tensors go by PyTorch's keys and in PyTorch's layouts, so that a checkpoint's files can be loaded there as they are:
//! `generator.…`, `discriminator.…` and, with mode regularisation, `encoder.…` hold weights and running statistics,
//! `average.…` the generator's moving average, and in `optim.safetensors` each weight has the moments of its optimiser:
//! `….exp_avg` and `….exp_avg_sq` of Adam, `….square_avg` of RMSprop; with historical averaging a `….historical_mean` too.

use std::collections::BTreeMap;
use std::path::Path;

use super::classes;
use super::step::model::Model;
use super::trainer::Trainer;
use crate::config::{OptimizerKind, Settings, recorded};
use crate::data::Images;
use crate::device::{Backend, Buffer, Network};
pub use crate::nn::tensors::{TensorSet, arena_tensors};
use crate::nn::{ImageShape, NetworkMemory, Parts};
use crate::ops::Executor;
use crate::run::state::Classes;
use crate::run::{
    Change, Checkpoint, DataPosition, Files, Origin, RngPosition, State, Tensor, Updates, checkpoint, state,
};
use crate::{Error, Result};

/// A trainer whose tensors a checkpoint can hold bit for bit.
pub trait F32Executor: Executor + Backend<Real = f32> {}
impl<B: Executor + Backend<Real = f32>> F32Executor for B {}

/// The identity of a data set: a run goes on with the images that it began with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataIdentity {
    count: u64,
    sha256: String,
    classes: Option<Classes>,
}

impl DataIdentity {
    /// Reads every pixel, and every label.
    pub fn of(images: &Images) -> Self {
        let classes = classes::identity(images);
        DataIdentity { count: images.count as u64, sha256: checkpoint::sha256(&images.pixels), classes }
    }

    /// `60000, sha256 ab…`, for messages.
    pub(super) fn in_words(&self) -> String {
        let classes = self.classes.as_ref();
        let classes = classes.map(|all| format!(", {} classes, sha256 {}", all.names.len(), all.sha256));
        let classes = classes.unwrap_or_default();
        format!("{}, sha256 {}{classes}", self.count, self.sha256)
    }

    /// Of images that are not there.
    #[cfg(test)]
    pub(super) fn for_tests(count: u64, sha256: &str) -> Self {
        DataIdentity { count, sha256: sha256.into(), classes: None }
    }

    /// The classes, where nets of these settings are told them.
    fn classes(&self, settings: &Settings) -> Option<&Classes> {
        self.classes.as_ref().filter(|_| settings.nets.is_conditional())
    }
}

/// The history of a run, carried from checkpoint to checkpoint.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lineage {
    /// The settings that were changed by a resume.
    pub changes: Vec<Change>,
    /// The other run's checkpoint that it began with.
    pub origin: Option<Origin>,
}

impl Lineage {
    /// That of a checkpoint.
    pub fn of(state: &State) -> Self {
        Lineage { changes: state.changes.clone(), origin: state.origin.clone() }
    }
}

/// The settings that the weights of a run depend on, as a checkpoint's state names them.
///
/// # Errors
/// Those of [`recorded`].
pub fn recorded_settings(settings: &Settings) -> Result<BTreeMap<String, serde_json::Value>> {
    let internal = |error| Error::Internal(format!("the settings as JSON: {error}"));
    let json = |(key, value)| Ok((key, serde_json::to_value(value).map_err(internal)?));
    recorded(settings)?.into_iter().map(json).collect()
}

/// Whether ranks share the moments of an optimiser, so that all of them are needed for a checkpoint.
pub fn shares_moments<B: F32Executor>(model: &Model<B>) -> bool {
    networks(model).any(|(_, memory)| memory.sharing.is_some())
}

/// Everything that a run needs to go on. Where several ranks share the moments, each of them calls this.
///
/// # Errors
/// Those of the device and of the other ranks.
pub fn checkpoint<B: F32Executor>(
    model: &Model<B>,
    preset: &str,
    data: &DataIdentity,
    lineage: &Lineage,
) -> Result<Checkpoint> {
    let Model { backend, settings, .. } = model;
    let mut optim = Vec::new();
    for (prefix, memory) in networks(model) {
        let parts = &memory.parts;
        for (moments, suffix) in moments(settings.optimizer.kind, memory) {
            let whole = memory.whole(backend, moments)?;
            optim.extend(arena_tensors(backend, &parts.params, whole.as_ref().unwrap_or(moments), prefix, suffix)?);
        }
        if let Some(mean) = &memory.historical_mean {
            optim.extend(arena_tensors(backend, &parts.params, mean, prefix, HISTORICAL_MEAN)?);
        }
    }
    let step_state = model.read_state()?;
    let [discriminator, generator, encoder] = step_state.updates;
    let images_per_step = images_per_step(settings);
    let samples_seen = step_state.step * images_per_step;
    // An epoch has whole steps only.
    let images_per_epoch = data.count / images_per_step * images_per_step;
    let state = State {
        format: state::FORMAT,
        version: env!("CARGO_PKG_VERSION").into(),
        preset: preset.into(),
        image: model.image,
        seed: step_state.seed,
        step: step_state.step,
        batch: settings.train.batch as u64,
        samples_seen,
        epoch: samples_seen as f64 / images_per_epoch as f64,
        beta: step_state.beta,
        balance: step_state.balance,
        updates: Updates { discriminator, generator, encoder },
        rng: RngPosition { step: step_state.step },
        data: DataPosition { position: samples_seen, count: data.count, sha256: data.sha256.clone() },
        classes: data.classes(settings).cloned(),
        settings: recorded_settings(settings)?,
        changes: lineage.changes.clone(),
        origin: lineage.origin.clone(),
        files: Files::default(),
    };
    let model = [weights(model)?, average_tensors(model)?].concat();
    Ok(Checkpoint { model, optim, state })
}

/// Weights and running statistics of every network.
pub(super) fn weights<B: Executor>(model: &Model<B>) -> Result<Vec<Tensor<B::Real>>> {
    let mut out = Vec::new();
    for (prefix, memory) in networks(model) {
        out.extend(arena_tensors(&model.backend, &memory.parts.params, &memory.params, prefix, "")?);
        out.extend(arena_tensors(&model.backend, &memory.parts.stats, &memory.stats, prefix, "")?);
    }
    Ok(out)
}

/// The generator's moving average, parameters and statistics; nothing where the settings ask for none.
pub(super) fn average_tensors<B: Executor>(model: &Model<B>) -> Result<Vec<Tensor<B::Real>>> {
    let Model { backend, generator, average, .. } = model;
    let (Some(average), parts) = (average, &generator.memory.parts) else { return Ok(Vec::new()) };
    let mut out = arena_tensors(backend, &parts.params, &average.params, AVERAGE, "")?;
    out.extend(arena_tensors(backend, &parts.stats, &average.stats, AVERAGE, "")?);
    Ok(out)
}

/// Fills weights and running statistics of every network from the tensors that [`weights`] names.
///
/// # Errors
/// Those of [`TensorSet::take`].
pub(super) fn fill_networks<B: Executor>(model: &mut Model<B>, tensors: &mut TensorSet<'_, B::Real>) -> Result<()> {
    for (network, prefix) in PREFIXES {
        let (backend, Some(memory), _) = model.split(network) else { continue };
        tensors.fill(backend, &memory.parts.params, &mut memory.params, prefix, "")?;
        memory.round(backend)?;
        tensors.fill(backend, &memory.parts.stats, &mut memory.stats, prefix, "")?;
    }
    Ok(())
}

/// The prefix of the tensors of the generator's moving average.
pub(super) const AVERAGE: &str = "average.";
/// The prefix of the tensors of mode regularisation's image encoder.
const ENCODER: &str = "encoder.";

/// The prefix of each network's tensors.
pub(super) const PREFIXES: [(Network, &str); Network::COUNT] =
    [(Network::Generator, "generator."), (Network::Discriminator, "discriminator."), (Network::Encoder, ENCODER)];

/// The prefix of each network's tensors, and its arenas.
pub(super) fn networks<B: Executor>(model: &Model<B>) -> impl Iterator<Item = (&'static str, &NetworkMemory<B>)> {
    PREFIXES.into_iter().filter_map(|(network, prefix)| Some((prefix, model.memory(network)?)))
}

/// Real images that a step shows to the discriminator: a batch for each of its updates.
fn images_per_step(settings: &Settings) -> u64 {
    settings.train.batch as u64 * u64::from(settings.objective.discriminator_steps)
}

/// The name of the mean of the parameters so far.
const HISTORICAL_MEAN: &str = ".historical_mean";

/// PyTorch's names for the moments that an optimiser has: of the first, if there are any, and of the second.
fn moment_names(kind: OptimizerKind) -> (Option<&'static str>, &'static str) {
    match kind {
        OptimizerKind::Adam => (Some(".exp_avg"), ".exp_avg_sq"),
        OptimizerKind::Rmsprop => (None, ".square_avg"),
    }
}

/// The arenas of moments that a network's optimiser has, each with its name.
fn moments<B: Executor>(kind: OptimizerKind, memory: &NetworkMemory<B>) -> Vec<(&Buffer<B>, &'static str)> {
    let (first, second) = moment_names(kind);
    first.map(|first| (&memory.first_moments, first)).into_iter().chain([(&memory.second_moments, second)]).collect()
}

/// Refuses a checkpoint of a run with other images, another batch, seed or number of discriminator steps: it would go on as a third run, which
/// nothing reproduces.
fn require_same_run<B: F32Executor>(model: &Model<B>, data: &DataIdentity, state: &State, path: &Path) -> Result<()> {
    let other =
        |expected, found, hint: &str| Err(Error::bad_data(path.join("state.json"), expected, found).with_hint(hint));
    let train = &model.settings.train;
    for (key, now, then) in [("batch", train.batch as u64, state.batch), ("seed", train.seed, state.seed)] {
        if now != then {
            let hint =
                format!("write {key} = {then} into [train] of config.toml again, or start a new run with `train`");
            return other(format!("{key} {now}, as config.toml says"), format!("{key} {then}"), &hint);
        }
    }
    if state.step > 0 && state.samples_seen != state.step.saturating_mul(images_per_step(&model.settings)) {
        let steps = |samples: u64| samples / (state.step * train.batch.max(1) as u64);
        let hint = format!(
            "write discriminator_steps = {} into [objective] of config.toml again, or start a new run with `train`",
            steps(state.samples_seen)
        );
        let now = model.settings.objective.discriminator_steps;
        let found = format!("{} images seen in {} steps", state.samples_seen, state.step);
        return other(format!("discriminator_steps {now}, as config.toml says"), found, &hint);
    }
    require_same_images(&model.settings, model.image, data, state, path)
}

/// Refuses images that are not those that the run was trained on. What they are is told by their number, their size and
/// their SHA-256, and not by the path that `settings` name. `path` is the checkpoint's.
///
/// # Errors
/// [`Error::BadData`] with both.
pub fn require_same_images(
    settings: &Settings,
    image: ImageShape,
    data: &DataIdentity,
    state: &State,
    path: &Path,
) -> Result<()> {
    let size = |s: ImageShape| format!("{}×{}×{}", s.h, s.w, s.c);
    let now = (size(image), data.count, &data.sha256);
    let then = (size(state.image), state.data.count, &state.data.sha256);
    if now == then {
        return require_same_classes(settings, data, state, path);
    }
    let images = |(size, count, sha256): (String, u64, &String)| format!("{count} images of {size}, sha256 {sha256}");
    let expected = format!("{}, as {} has now", images(now), settings.data.source);
    let hint =
        "the run began with other images: pass those with `resume RUN --data PATH`, or start a new run with `train`";
    Err(Error::bad_data(path.join("state.json"), expected, images(then)).with_hint(hint))
}

/// Refuses other classes of the same images than the nets were told.
fn require_same_classes(settings: &Settings, data: &DataIdentity, state: &State, path: &Path) -> Result<()> {
    let (now, then) = (data.classes(settings), state.classes.as_ref());
    if now == then {
        return Ok(());
    }
    let told = |classes: Option<&Classes>| match classes {
        None => "no classes".to_string(),
        Some(Classes { names, sha256 }) => format!("classes {}, sha256 {sha256}", names.join(", ")),
    };
    let expected = format!("{}, as {} has now", told(now), settings.data.source);
    let hint =
        "the run began with other classes of the same images: put the labels back, or start a new run with `train`";
    Err(Error::bad_data(path.join("state.json"), expected, told(then)).with_hint(hint))
}

/// Refuses a checkpoint without the encoder that the settings ask for, or with one that they don't.
fn require_same_encoder<B: F32Executor>(model: &Model<B>, tensors: &TensorSet<'_, f32>) -> Result<()> {
    let (wanted, found) = (model.image_encoder.is_some(), tensors.has_prefix(ENCODER));
    if wanted == found {
        return Ok(());
    }
    let said = |there| if there { "the encoder of mode regularisation" } else { "no encoder of mode regularisation" };
    let numbers = if found { "reconstruction and mode as they were" } else { "reconstruction = 0.0 and mode = 0.0" };
    let hint = &format!("write {numbers} into [objective] of config.toml again, or start a new run with `train`");
    let expected = format!("{}, as config.toml says", said(wanted));
    Err(Error::bad_data(tensors.path(), expected, said(found)).with_hint(hint))
}

/// Puts a checkpoint's state into a trainer that was built from the same settings, for the same images. `path` is for
/// the messages.
///
/// # Errors
/// [`Error::BadData`] where the checkpoint belongs to another model (a tensor is missing, unknown or of another shape),
/// to other images, to another batch or seed.
pub fn restore<B: F32Executor>(
    trainer: &mut Trainer<B>,
    data: &DataIdentity,
    checkpoint: Checkpoint,
    path: &Path,
) -> Result<()> {
    require_same_run(&trainer.model, data, &checkpoint.state, path)?;
    let files = [path.join("model.safetensors"), path.join("optim.safetensors")];
    let mut model = TensorSet::new(checkpoint.model, &files[0]);
    let mut optim = TensorSet::new(checkpoint.optim, &files[1]);
    let (first, second) = moment_names(trainer.model.settings.optimizer.kind);
    require_same_encoder(&trainer.model, &model)?;
    fill_networks(&mut trainer.model, &mut model)?;
    for (network, prefix) in PREFIXES {
        let (backend, Some(memory), _) = trainer.model.split(network) else { continue };
        let pieces = memory.sharing.as_ref().map(|sharing| sharing.shards.pieces());
        let NetworkMemory { parts, first_moments, second_moments, historical_mean, .. } = memory;
        let table = &parts.params;
        let mut fill = |moments: &mut Buffer<B>, suffix| {
            let Some(pieces) = &pieces else { return optim.fill(backend, table, moments, prefix, suffix) };
            let mut whole = backend.alloc(table.len())?;
            optim.fill(backend, table, &mut whole, prefix, suffix)?;
            let mut pieces = pieces.iter().cloned();
            pieces.try_for_each(|(from, to)| backend.copy(backend.part(&whole, from), backend.part_mut(moments, to)))
        };
        if let Some(first) = first {
            fill(first_moments, first)?;
        }
        fill(second_moments, second)?;
        if let Some(mean) = historical_mean {
            optim.fill(backend, table, mean, prefix, HISTORICAL_MEAN)?;
        }
    }
    let Model { backend, generator, average, .. } = &mut trainer.model;
    if let Some(average) = average {
        let Parts { params, stats } = &generator.memory.parts;
        model.fill(backend, params, &mut average.params, AVERAGE, "")?;
        model.fill(backend, stats, &mut average.stats, AVERAGE, "")?;
    }
    model.finish()?;
    optim.finish()?;
    let mut state = trainer.read_state()?;
    let saved = checkpoint.state;
    (state.step, state.seed) = (saved.step, saved.seed);
    (state.beta, state.balance) = (saved.beta, saved.balance);
    state.updates = [saved.updates.discriminator, saved.updates.generator, saved.updates.encoder];
    trainer.write_state(&state)
}
