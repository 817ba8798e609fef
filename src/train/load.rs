//! A trained generator from a run's folder or from a checkpoint's, without its data set.

use std::path::{Path, PathBuf};

use super::sampler::Sampler;
use super::snapshot::{F32Executor, TensorSet};
use crate::config::{self, Settings};
use crate::device::Buffer;
use crate::nn::ImageShape;
use crate::run::{Checkpoint, RunFolder, checkpoint};
use crate::{Error, Result};

/// A generator that draws pictures, with the settings it was trained by.
pub struct TrainedGenerator<B: F32Executor> {
    /// The run's settings.
    pub settings: Settings,
    /// The size of its pictures.
    pub image: ImageShape,
    /// The checkpoint's folder.
    pub checkpoint: PathBuf,
    /// A line for each newer checkpoint that is broken, and why.
    pub passed_over: Vec<String>,
    backend: B,
    sampler: Sampler<B>,
    params: Buffer<B>,
    stats: Buffer<B>,
}

impl<B: F32Executor> TrainedGenerator<B> {
    /// Loads the moving average where the run keeps one, or else the weights, from `source`: a run's folder, which
    /// stands for its newest checkpoint that is whole, or the folder of a checkpoint.
    ///
    /// # Errors
    /// [`Error::BadData`] where `source` is neither, or a file in it is not what it should be.
    pub fn open(backend: B, source: &Path) -> Result<Self> {
        let Found { folder, path, checkpoint, passed_over } = Found::find(source)?;
        let settings = config::read(folder.config_path(), &Settings::default())?;
        let size = checkpoint.state.image;
        config::validate_for_images(&settings, size.height, size.width, size.channels)?;
        let image = ImageShape { h: size.height, w: size.width, c: size.channels };
        let sampler = Sampler::new(&backend, &settings, image)?;
        let parts = sampler.parts();
        let (mut params, mut stats) = (backend.alloc(parts.params.len())?, backend.alloc(parts.stats.len())?);
        let file = path.join("model.safetensors");
        let mut tensors = TensorSet::new(checkpoint.model, &file);
        let prefix = if settings.generator.ema > 0.0 { "average." } else { "generator." };
        tensors.fill(&backend, &parts.params, &mut params, prefix, "")?;
        tensors.fill(&backend, &parts.stats, &mut stats, prefix, "")?;
        Ok(TrainedGenerator { settings, image, checkpoint: path, passed_over, backend, sampler, params, stats })
    }

    /// Pictures `[count, H, W, C]`, 0 is black, from latents `[count, latent]`.
    ///
    /// # Errors
    /// Those of the device.
    pub fn draw(&mut self, latents: &[f32]) -> Result<Vec<u8>> {
        let TrainedGenerator { backend, sampler, params, stats, .. } = self;
        backend.run(|| sampler.draw(backend, params, stats, latents))
    }
}

struct Found {
    folder: RunFolder,
    path: PathBuf,
    checkpoint: Checkpoint,
    passed_over: Vec<String>,
}

impl Found {
    fn find(source: &Path) -> Result<Found> {
        if !source.join("state.json").is_file() {
            let folder = RunFolder::open(source)?;
            let (path, checkpoint, passed_over) = checkpoint::newest_valid(&folder.checkpoints_path())?;
            return Ok(Found { folder, path, checkpoint, passed_over });
        }
        // RUN/checkpoints/000200
        let path = source.canonicalize().map_err(|error| Error::io(source, "find", error))?;
        let run = path.parent().and_then(Path::parent).ok_or_else(|| {
            Error::bad_data(source, "a checkpoint inside a run's folder", "one that lies in no folder")
        })?;
        let folder = RunFolder::open(run)?;
        let checkpoint = checkpoint::load(&path)?;
        Ok(Found { folder, path, checkpoint, passed_over: Vec::new() })
    }
}
