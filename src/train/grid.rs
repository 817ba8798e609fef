//! The samples of a snapshot's grid, the same at every step: of seeds 0, 1, …; where the generator is told a class, a row for each
//! class, with the same latents in every row.

use super::sampler::latent;
use crate::config::Settings;

/// Images in the grid of a snapshot, where there are no classes.
pub(super) const GRID: usize = 64;
/// Images in a row of it.
pub const GRID_COLUMNS: usize = 8;
/// Classes that are shown at most; of more, as many, evenly spread.
const MOST_ROWS: usize = 16;

/// Images in the grid of a snapshot of these settings.
pub(super) fn images(settings: &Settings) -> usize {
    if settings.nets.is_conditional() { GRID_COLUMNS * settings.nets.classes.min(MOST_ROWS) } else { GRID }
}

/// The latents of the grid's images, and their classes; these are empty where there are none.
pub(super) struct Grid {
    pub(super) latents: Vec<f32>,
    pub(super) classes: Vec<u32>,
    pub(super) count: usize,
}

impl Grid {
    /// That of a run by these settings.
    pub(super) fn new(settings: &Settings) -> Grid {
        let (count, classes) = (images(settings), settings.nets.classes);
        let of_seed = |place: usize| latent(settings, if classes > 0 { place % GRID_COLUMNS } else { place } as u64);
        let latents = (0..count).flat_map(of_seed).collect();
        let rows = classes.min(MOST_ROWS);
        let class = |place: usize| u32::try_from(place / GRID_COLUMNS * classes / rows).unwrap_or_default();
        let classes = if classes > 0 { (0..count).map(class).collect() } else { Vec::new() };
        Grid { latents, classes, count }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Conditional, preset};

    #[test]
    fn a_row_is_a_class_and_a_column_a_latent() {
        let mut settings = preset("quick").unwrap();
        let plain = Grid::new(&settings);
        let z = settings.generator.latent;
        assert_eq!((plain.count, plain.classes.len()), (GRID, 0));
        assert!(plain.latents == (0..64).flat_map(|seed| latent(&settings, seed)).collect::<Vec<_>>());
        settings.nets.conditional = Conditional::Projection;
        for (classes, rows) in [(1, vec![0]), (3, vec![0, 1, 2]), (40, (0..16).map(|row| row * 40 / 16).collect())] {
            settings.nets.classes = classes;
            let grid = Grid::new(&settings);
            assert_eq!(grid.count, 8 * rows.len());
            let expected: Vec<u32> = rows.iter().flat_map(|&class| [class; 8]).collect();
            assert_eq!(grid.classes, expected);
            assert!(grid.latents.chunks(8 * z).all(|row| *row == plain.latents[..8 * z]), "{classes}");
        }
    }
}
