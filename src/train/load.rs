//! A trained generator from a run's folder or from a checkpoint's, without its data set.

use std::path::{Path, PathBuf};

use super::revision::trained_with;
use super::sampler::{Sampler, classes_in_turn};
use super::snapshot::{F32Executor, TensorSet};
use crate::config::{self, Settings, changes};
use crate::device::Buffer;
use crate::error::readable_path;
use crate::nn::ImageShape;
use crate::run::{RunFolder, State, Tensor, checkpoint};
use crate::{Error, Result};

/// A generator that draws pictures, with the settings it was trained by.
pub struct TrainedGenerator<B: F32Executor> {
    /// The settings that it was trained by.
    pub settings: Settings,
    /// The size of its pictures.
    pub image: ImageShape,
    /// The checkpoint's folder.
    pub checkpoint: PathBuf,
    /// Steps of training.
    pub step: u64,
    /// The names of the classes that it is told, by their numbers; empty where it is told none.
    pub classes: Vec<String>,
    /// The SHA-256 of the pixels that it was trained on.
    pub data_sha256: String,
    /// Notes for the user: a line for each newer checkpoint that is broken, and why; settings of config.toml that
    /// are not those of the weights.
    pub notes: Vec<String>,
    backend: B,
    sampler: Sampler<B>,
    params: Buffer<B>,
    stats: Buffer<B>,
}

impl<B: F32Executor> TrainedGenerator<B> {
    /// Loads the moving average where the run keeps one, or else the weights, from `source`: a run's folder, which
    /// stands for its newest checkpoint whose model is whole, or the folder of a checkpoint, wherever it lies.
    ///
    /// The settings are those that the checkpoint itself names. Where it names none, as in format 1, they are read from
    /// config.toml: in the checkpoint's folder, beside it, or in the run's folder around it.
    ///
    /// # Errors
    /// [`Error::BadData`] where `source` is neither, or a file in it is not what it should be.
    pub fn open(backend: B, source: &Path) -> Result<Self> {
        let Found { path, model, state, settings, notes } = Found::find(source)?;
        let image = state.image;
        config::validate(&settings)?;
        config::validate_for_images(&settings, image)?;
        let sampler = Sampler::new(&backend, &settings, image)?;
        let parts = sampler.parts();
        let (mut params, mut stats) = (backend.alloc(parts.params.len())?, backend.alloc(parts.stats.len())?);
        let file = path.join("model.safetensors");
        let mut tensors = TensorSet::new(model, &file);
        let prefix = if settings.generator.is_averaged() { "average." } else { "generator." };
        tensors.fill(&backend, &parts.params, &mut params, prefix, "")?;
        tensors.fill(&backend, &parts.stats, &mut stats, prefix, "")?;
        let classes = state.classes.map_or(Vec::new(), |classes| classes.names);
        if classes.len() != settings.nets.classes {
            let expected = format!("the names of {} classes, as nets.classes says", settings.nets.classes);
            return Err(Error::bad_data(path.join("state.json"), expected, classes.len().to_string()));
        }
        let (step, data_sha256) = (state.step, state.data.sha256);
        Ok(TrainedGenerator {
            settings,
            image,
            checkpoint: path,
            step,
            classes,
            data_sha256,
            notes,
            backend,
            sampler,
            params,
            stats,
        })
    }

    /// Pictures `[count, H, W, C]`, 0 is black, from latents `[count, latent]`. A generator that is told a class draws the classes in
    /// turn.
    ///
    /// # Errors
    /// Those of the device.
    pub fn draw(&mut self, latents: &[f32]) -> Result<Vec<u8>> {
        let count = latents.len() / self.settings.generator.latent;
        let classes = classes_in_turn(&self.settings, 0..count as u64);
        self.draw_of(latents, &classes)
    }

    /// The same of these classes, `[count]`, each below the number of [`TrainedGenerator::classes`]; they are not looked at where the
    /// generator is told none.
    ///
    /// # Errors
    /// Those of the device; [`Error::Usage`] for a class that there is not.
    pub fn draw_of(&mut self, latents: &[f32], classes: &[u32]) -> Result<Vec<u8>> {
        let TrainedGenerator { backend, sampler, params, stats, classes: names, .. } = self;
        if let Some(wrong) = classes.iter().find(|&&class| !names.is_empty() && class as usize >= names.len()) {
            return Err(Error::Usage(format!("class {wrong}: this generator has classes 0 to {}", names.len() - 1)));
        }
        backend.run(|| sampler.draw(backend, params, stats, latents, classes))
    }
}

/// A checkpoint's model, with the settings that it was trained by.
pub struct Found {
    /// The checkpoint's folder.
    pub path: PathBuf,
    /// The tensors of all networks, in order of their names.
    pub model: Vec<Tensor>,
    /// The checkpoint's state.
    pub state: State,
    /// The settings.
    pub settings: Settings,
    /// Notes for the user, as [`TrainedGenerator::notes`].
    pub notes: Vec<String>,
}

impl Found {
    /// Reads the newest checkpoint of a run whose model is whole, or the checkpoint `source`.
    ///
    /// # Errors
    /// Those of [`TrainedGenerator::open`].
    pub fn find(source: &Path) -> Result<Found> {
        let (path, (model, state), mut notes) = if is_checkpoint(source) {
            (source.to_path_buf(), checkpoint::load_model(source)?, Vec::new())
        } else {
            let folder = RunFolder::open(source)?;
            let (path, model, passed_over) = checkpoint::newest_model(&folder.checkpoints_path())?;
            (path, model, passed_over.iter().map(|reason| format!("warning: {reason}")).collect())
        };
        let config = config_of(&path).map(|config| (config::read(&config, &Settings::default()), config));
        let settings = match (trained_with(&state, &path)?, config) {
            (Some(settings), Some((Ok(on_file), config))) => {
                let others = changes(&settings, &on_file)?.into_iter().filter(config::SettingChange::is_refused);
                notes.extend(others.map(|change| {
                    let (path, config::SettingChange { key, from, to, .. }) = (readable_path(&config), change);
                    format!("note: {path} has {key} = {to}; drawn with {from}, which the checkpoint was trained with")
                }));
                settings
            }
            // A configuration that is damaged is nothing that the checkpoint needs.
            (Some(settings), _) => settings,
            (None, Some((settings, _))) => settings?,
            (None, None) => {
                let error = Error::bad_data(
                    source,
                    "config.toml in the checkpoint's folder, beside it, or in its run's",
                    "none",
                );
                return Err(error.with_hint(
                    "copy the run's config.toml into the folder: this checkpoint is one of an earlier \
                                            version, which does not name its settings itself",
                ));
            }
        };
        Ok(Found { path, model, state, settings, notes })
    }
}

/// Says whether `path` is the folder of a checkpoint, whole or not, and not that of a run.
pub fn is_checkpoint(path: &Path) -> bool {
    path.join("state.json").exists() || (path.join("model.safetensors").exists() && !path.join("checkpoints").is_dir())
}

/// The configuration that belongs to the checkpoint in the folder `path`: in it, beside it, or in the run's folder around
/// it.
pub fn config_of(path: &Path) -> Option<PathBuf> {
    let inside = path.join("config.toml");
    if inside.is_file() {
        return Some(inside);
    }
    // `.` and a link have no parents of their own.
    let whole = path.canonicalize().ok()?;
    let beside = whole.parent()?;
    let run = beside.parent().filter(|_| beside.file_name().is_some_and(|name| name == "checkpoints"));
    [Some(beside), run].into_iter().flatten().map(|folder| folder.join("config.toml")).find(|config| config.is_file())
}
