//! The bytes that a run will write, held against the room on the disk.

use std::path::Path;

use super::grid::{self, GRID_COLUMNS};
use super::plan::Plan;
use crate::config::Settings;
use crate::data::Extent;
use crate::run::picture::fitting_scale;
use crate::train::predict::Memory;

/// Bytes of a line of `stats.jsonl`, about; those of runs with every figure in it have some more.
const RECORD: u64 = 400;

/// Bytes that a run's folder holds at the most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// One checkpoint.
    pub checkpoint: u64,
    /// The most that there are at once: those that are kept, and the one that is written before the oldest is removed.
    pub checkpoints: u64,
    /// One picture, were it not to be compressed at all.
    pub picture: u64,
    /// Pictures of the whole run.
    pub pictures: u64,
    /// `stats.jsonl`, about.
    pub records: u64,
}

impl Disk {
    /// Counts what the run will write.
    pub fn of(settings: &Settings, images: &Extent, memory: &Memory, plan: &Plan) -> Disk {
        let snapshots = plan.total.div_ceil(plan.snap.max(1));
        let kept = if settings.train.keep == 0 { snapshots } else { snapshots.min(settings.train.keep as u64) };
        // Events for TensorBoard hold the pictures and the records once more.
        let copies = if settings.train.tensorboard { 2 } else { 1 };
        let scale = fitting_scale(GRID_COLUMNS, images.shape.w) as u64;
        let cell = [images.shape.h, images.shape.w, images.shape.c].map(|size| size as u64);
        let cell = cell.into_iter().fold(scale * scale, u64::saturating_mul);
        Disk {
            // Its tensors and its files are of one size.
            checkpoint: memory.checkpoint / 2,
            checkpoints: kept + 1,
            picture: cell.saturating_mul(grid::images(settings) as u64),
            // One of real images, and one before the first step.
            pictures: snapshots.saturating_add(2).saturating_mul(copies),
            records: plan.total.div_ceil(settings.train.tick.max(1)).saturating_mul(RECORD * copies),
        }
    }

    /// All of it.
    pub fn total(&self) -> u64 {
        let checkpoints = self.checkpoint.saturating_mul(self.checkpoints);
        let pictures = self.picture.saturating_mul(self.pictures);
        checkpoints.saturating_add(pictures).saturating_add(self.records)
    }
}

/// Bytes that this user may still write where `path` is, or will be; `None` where the system does not say.
pub fn free(path: &Path) -> Option<u64> {
    let path = std::path::absolute(path).ok()?;
    let there = path.ancestors().find(|path| path.exists())?;
    let found = rustix::fs::statvfs(there).ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::preset;
    use crate::image::ImageShape;
    use crate::train::predict::predict;

    #[test]
    fn the_disk_of_a_run_is_counted() {
        let mut settings = preset("quick").unwrap();
        let images = Extent { count: 6400, shape: ImageShape { h: 28, w: 28, c: 1 } };
        let memory = predict(&settings, &images).unwrap().memory;
        let disk = |settings: &Settings| Disk::of(settings, &images, &memory, &Plan::new(settings, 6400).unwrap());
        // 1,500 steps, a snapshot every 500, two kept; 64 images of 28×28 at scale 3.
        let quick = disk(&settings);
        assert_eq!((quick.checkpoints, quick.pictures, quick.picture), (3, 5, 64 * 28 * 28 * 9));
        assert_eq!(quick.total(), 3 * quick.checkpoint + 5 * quick.picture + 75 * RECORD);
        settings.train.keep = 0;
        assert_eq!(disk(&settings).checkpoints, 4);
        (settings.train.snap, settings.train.steps, settings.train.epochs) = (0, 0, 7);
        assert_eq!((disk(&settings).checkpoints, disk(&settings).pictures), (8, 9));
        let plain = disk(&settings);
        settings.train.tensorboard = true;
        let twice = disk(&settings);
        assert_eq!((twice.pictures, twice.records), (2 * plain.pictures, 2 * plain.records));
        let here = free(Path::new(".")).unwrap();
        assert!(here > 0 && free(Path::new("not/yet/there")).is_some());
    }
}
