//! The classes of a step's images, where the nets are told them: those of the real images follow from the data set, those of the images
//! to generate are drawn. They lie as the images do, and every pass over images is given theirs.

use std::ops::Range;

use super::model::{Generated, Model};
use crate::Result;
use crate::device::philox::DrawStep;
use crate::device::{Buffer, In};
use crate::ops::Executor;
use crate::train::batch::{Batch, Phase};

/// Those of some of the images, for a pass over them; `None` where the nets are told none.
pub(super) fn of<'a, B: Executor>(
    backend: &B,
    classes: &'a Option<Buffer<B, u32>>,
    images: Range<usize>,
) -> Option<In<'a, B, u32>> {
    classes.as_ref().map(|classes| backend.part(classes, images))
}

/// Writes the classes of the real images.
///
/// # Errors
/// Those of the device; if the images have none.
pub(super) fn draw_real<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>, draws: DrawStep) -> Result<()> {
    let n = model.micro_batch();
    let Model { backend, batch, state, .. } = model;
    let Some(classes) = &mut batch.classes else { return Ok(()) };
    inputs.real_classes(backend, draws, backend.view(state), backend.part_mut(classes, 0..n))
}

/// Writes the classes of the images that a phase generates.
///
/// # Errors
/// Those of the device.
pub(super) fn draw_generated<B: Executor>(model: &mut Model<B>, inputs: &Batch<B>, phase: Phase) -> Result<()> {
    let n = model.micro_batch();
    let Range { start, end } = Generated::of(phase).numbers(n);
    let Model { backend, settings, batch, state, .. } = model;
    let Some(classes) = &mut batch.classes else { return Ok(()) };
    inputs.classes(backend, settings, phase, backend.view(state), backend.part_mut(classes, n + start..n + end))
}
