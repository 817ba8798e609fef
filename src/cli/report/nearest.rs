//! Samples of a run beside the training images that are nearest to them: has the generator learnt images by heart?

use crate::cli::load_options::load_options;
use crate::config::{self, Settings};
use crate::data::decoded::Picture;
use crate::data::picture::decode;
use crate::data::{Images, LoadOptions, Neighbour, Search, load, nearest};
use crate::error::{Error, Result, readable_path};
use crate::image::ImageShape;
use crate::run::picture::{cells, png};
use crate::run::report::{Near, Nearest, NearestRow, Reference, data_uri, listed};
use crate::run::{RunFolder, checkpoint};
use crate::train::grid::GRID_COLUMNS;
use crate::train::snapshot::{DataIdentity, require_same_images};

/// A place to look for the training images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TrainingImages {
    /// At the path in the run's settings.
    OfTheRun,
    /// Here.
    At(String),
    /// They are not to be read.
    None,
}

/// Samples that are shown.
const SAMPLES: usize = 16;
/// Training images beside each.
const NEIGHBOURS: usize = 3;
/// Training images whose own nearest neighbours are the measure of what is near.
const REFERENCE: usize = 64;

/// Looks for the training images that are nearest to the newest samples. `None` where it is not wanted, or where there are no
/// samples yet.
///
/// # Errors
/// Where the run's settings, its data set or its pictures can't be read, or the images are not those of its training.
pub(super) fn of(folder: &RunFolder, images: &TrainingImages) -> Result<Option<Nearest>> {
    if *images == TrainingImages::None {
        return Ok(None);
    }
    let settings = config::read(folder.config_path(), &Settings::default())?;
    let Some((step, samples, shape)) = samples(folder)? else { return Ok(None) };
    let source = match images {
        TrainingImages::At(path) => path.as_str(),
        _ => &settings.data.source,
    };
    let images = load(source, &load_options(&settings))?;
    require_images_of(folder, &settings, &images)?;
    if images.shape() != shape {
        let found = images.shape();
        return Err(Error::bad_data(
            source,
            format!("images of {}×{}×{}", shape.h, shape.w, shape.c),
            format!("{}×{}×{}", found.h, found.w, found.c),
        ));
    }
    Ok(Some(search(&images, &samples, settings.data.flip, step)))
}

/// The samples of the newest grid: its step, their pixels, the shape of each.
fn samples(folder: &RunFolder) -> Result<Option<(u64, Vec<u8>, ImageShape)>> {
    let Some((step, path)) =
        listed(folder).into_iter().rev().find(|(_, path)| decode(path, &LoadOptions::default()).is_ok())
    else {
        return Ok(None);
    };
    let Picture { shape: grid, pixels, .. } = decode(&path, &LoadOptions::default())?;
    let image = checkpoint::newest_state(&folder.checkpoints_path()).map(|(_, state)| state.image);
    let image = image.map_err(|_| {
        Error::bad_data(folder.checkpoints_path(), "a checkpoint, which says of which size the images are", "none")
    })?;
    let cells = cells(grid, &pixels, image, GRID_COLUMNS).ok_or_else(|| {
        let expected = format!("a grid of images of {}×{}×{}", image.h, image.w, image.c);
        Error::bad_data(&path, expected, format!("a picture of {}×{}×{}", grid.h, grid.w, grid.c))
    })?;
    let most = SAMPLES * image.len();
    Ok(Some((step, cells[..cells.len().min(most)].to_vec(), image)))
}

/// Refuses images that are not those that the run was trained on.
fn require_images_of(folder: &RunFolder, settings: &Settings, images: &Images) -> Result<()> {
    let (path, state) = checkpoint::newest_state(&folder.checkpoints_path())?;
    require_same_images(settings, images.shape(), &DataIdentity::of(images), &state, &path).map_err(|_| {
        let name = readable_path(&settings.data.source);
        Error::Usage(format!("the images at {name} are not those that the run was trained on: pass --data PATH"))
    })
}

fn search(images: &Images, samples: &[u8], mirrored: bool, step: u64) -> Nearest {
    let size = images.shape().len();
    let image = |index: usize| &images.pixels[index * size..][..size];
    let queries: Vec<(&[u8], Option<usize>)> = samples.chunks_exact(size).map(|sample| (sample, None)).collect();
    let count = REFERENCE.min(images.count);
    let others: Vec<(&[u8], Option<usize>)> = (0..count)
        .map(|i| (i as u128 * images.count as u128 / count as u128) as usize)
        .map(|index| (image(index), Some(index)))
        .collect();
    let found = nearest(images, &queries, Search { count: NEIGHBOURS, mirrored });
    let reference = nearest(images, &others, Search { count: 1, mirrored });
    let first = |found: &[Vec<Neighbour>]| -> Vec<f64> {
        found.iter().filter_map(|found| found.first()).map(|one| one.distance).collect()
    };
    let reference = sorted(first(&reference));
    let picture = |pixels: &[u8]| png(images.shape(), pixels).map(|png| data_uri(&png)).unwrap_or_default();
    let near =
        |one: &Neighbour| Near { src: picture(image(one.index)), distance: one.distance, mirrored: one.mirrored };
    let rows = queries
        .iter()
        .zip(&found)
        .map(|((sample, _), found)| NearestRow { sample: picture(sample), nearest: found.iter().map(near).collect() });
    Nearest {
        step,
        images: images.count,
        mirrored,
        rows: rows.collect(),
        sample_median: median(&sorted(first(&found))).unwrap_or_default(),
        reference: median(&reference).map(|median| Reference { median, least: reference[0] }),
        reference_count: reference.len(),
    }
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

/// The middle one, or the mean of the two in the middle.
fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some((lower + upper) / 2.0)
}
