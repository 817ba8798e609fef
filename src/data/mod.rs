//! Data sets, read once into resident 8-bit images.
//!
//! | file | what it reads |
//! |---|---|
//! | [`glyphs`] | nothing: draws the embedded digits |
//! | `idx` | MNIST's format, plain or gzipped |
//! | `cifar` | CIFAR-10's binary format: files, folders, the archive |
//! | `folder`, `picture` | folders of PNG and JPEG |
//! | `png_picture`, `jpeg`, `jpeg_markers`, `exif` | decoding one picture, and how it stands |
//! | `format`, `regular` | naming what is no such picture; opening no pipes |
//! | `find`, `select`, `split`, `own` | which of these a path is, and which of its files are trained on |
//! | `foreign` | data sets in formats that are not read, by name |
//! | `source`, `gzip` | opening and unzipping a file |
//! | `convert` | number of channels, resizing |
//! | `report`, `tally` | what was left out or changed, and what the images look like |
//! | `check` | every bad file of a data set |
//! | `downloads` | what can be downloaded |
//! | `fetch` | downloads it (feature `download`) |

mod check;
mod cifar;
mod convert;
mod downloads;
mod exif;
#[cfg(feature = "download")]
mod fetch;
mod find;
mod folder;
mod foreign;
mod format;
pub mod glyphs;
mod gzip;
mod idx;
mod jpeg;
mod jpeg_markers;
mod own;
pub(crate) mod picture;
mod png_picture;
mod regular;
mod report;
mod select;
mod source;
mod split;
mod strokes;
mod tally;

use crate::image::ImageShape;
use std::path::Path;

pub use check::{BadFile, CheckReport, check};
pub use downloads::{DATASETS, Dataset, RemoteFile, dataset};
#[cfg(feature = "download")]
pub use fetch::{fetch, fetch_files};
pub use picture::MAX_SIDE;
pub use report::{LeftOut, Reason, Report};
pub use tally::Seen;

use crate::error::{Error, Result};
use crate::shell;
use find::{Found, Selection};

/// A whole data set in memory.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Images {
    /// Number of images.
    pub count: usize,
    /// Rows of each.
    pub height: usize,
    /// Columns of each.
    pub width: usize,
    /// 1 (grey) or 3 (red, green, blue).
    pub channels: usize,
    /// `[count, height, width, channels]`, 0 is black.
    pub pixels: Vec<u8>,
    /// One line for people: where they come from.
    pub description: String,
    /// Files left out, changes and warnings. Empty for `glyphs`.
    pub report: Report,
}

/// Number and size of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Number of images.
    pub count: usize,
    /// Rows of each.
    pub height: usize,
    /// Columns of each.
    pub width: usize,
    /// Channels of each.
    pub channels: usize,
}

impl Extent {
    /// Bytes of all pixels.
    pub fn bytes(&self) -> u64 {
        let sizes = [self.count, self.height, self.width, self.channels];
        sizes.into_iter().fold(1, |product, size| product.saturating_mul(size as u64))
    }
}

impl Images {
    /// Their number and size.
    pub fn extent(&self) -> Extent {
        let Images { count, height, width, channels, .. } = *self;
        Extent { count, height, width, channels }
    }
}

/// The extent of what [`load`] would load; `glyphs` need not be drawn for it, anything else is loaded.
///
/// # Errors
/// Those of [`load`].
pub fn extent(source: &str, options: &LoadOptions) -> Result<Extent> {
    if source != "glyphs" {
        return load(source, options).map(|images| images.extent());
    }
    options.validate()?;
    let drawn = ImageShape { h: glyphs::SIDE, w: glyphs::SIDE, c: 1 };
    let ImageShape { h: height, w: width, c: channels } = convert::target(drawn, options);
    Ok(Extent { count: glyphs::COUNT, height, width, channels })
}

/// Conversion of images to one shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Crop each image to its central square and resize that to this many pixels a side; 0 keeps the size.
    pub resize: usize,
    /// Convert each image to 1 (grey) or 3 (red, green, blue) channels; 0 keeps them.
    pub channels: usize,
    /// Background of transparent pictures: red, green, blue. Black by default; a grey picture takes its luma.
    pub background: [u8; 3],
    /// The seed of `glyphs`; other sources don't use it.
    pub seed: u64,
}

impl LoadOptions {
    fn validate(&self) -> Result<()> {
        if self.resize > MAX_SIDE {
            return Err(Error::Usage(format!("resize is {}, and the most is {MAX_SIDE}", self.resize)));
        }
        if !matches!(self.channels, 0 | 1 | 3) {
            return Err(Error::Usage(format!(
                "channels is {}: pass 1 (grey), 3 (red, green, blue) or 0 (keep them as they are)",
                self.channels
            )));
        }
        Ok(())
    }
}

/// The most bytes of pixels that a data set may have.
const MAX_BYTES: u64 = 64 << 30;

/// Loads a data set: `glyphs` draws the embedded one, anything else is a path.
///
/// A path may be an IDX file or a folder that holds MNIST's files, a CIFAR-10 binary file, a folder of them or its archive, or a
/// folder of PNG and JPEG images at any depth, in the order of their paths. What a folder is, is seen from the names in it; what a
/// file is, from its content, or from its name where the content leaves a doubt. IDX, CIFAR and tar files may be gzipped. A folder
/// without pictures that has one such folder in it stands for that one, up to three folders deep.
///
/// Of several splits the training split is taken: the word `train` in the name of a file or folder goes before names without such a
/// word, and these before `val`, `valid`, `test` and `t10k`. Where pictures lie in `train/` and `test/`, that holds for these folders; a
/// class called `test` among others is no split. Pictures that this program made are left out, and so is all in the folder of a run,
/// so that a run's output may lie in the folder of its images. [`Images::report`] counts what is left out.
///
/// # Errors
/// [`Error::BadData`] names the file, what was expected, what was found and what to do; [`Error::Usage`] where
/// `options` ask for something that does not exist.
pub fn load(source: &str, options: &LoadOptions) -> Result<Images> {
    options.validate()?;
    if source == "glyphs" {
        return convert::images(glyphs::draw(glyphs::COUNT, options.seed), options);
    }
    if source.is_empty() {
        return Err(Error::Usage(format!("the data source is empty: pass {}", find::ACCEPTED)));
    }
    let Selection { found, mut report, .. } = find::find(Path::new(source))?;
    let images = match found {
        Found::Idx(path) => idx::load(&path)?,
        Found::Cifar(paths) => cifar::load(&paths)?,
        Found::CifarArchive(path) => cifar::load_archive(&path, &mut report)?,
        Found::Pictures(root, files) => {
            let images = folder::load(&root, &files, options)?;
            report.seen = images.report.seen.clone();
            return Ok(Images { report, ..images });
        }
    };
    report.seen = tally::of_images(&images);
    convert::images(Images { report, ..images }, options)
}

/// Adds to the error for the first bad file how many more there are, and what lists them; `source` is the data set, and `at_least` says
/// so where not every file was read.
fn and_more(mut error: Error, source: &Path, more: usize, at_least: &str) -> Error {
    if more == 0 {
        return error;
    }
    let path = shell::path(source);
    let more = format!("… and {at_least}{more} more: `vgan-cuda dataset check {path}` lists all");
    match &mut error {
        Error::BadData { hint, .. } if hint.is_empty() => *hint = more,
        Error::BadData { hint, .. } => *hint = format!("{hint}; {more}"),
        Error::Io { source, .. } => *source = std::io::Error::new(source.kind(), format!("{source}; {more}")),
        _ => {}
    }
    error
}

/// A zeroed buffer for `count` images of `shape` = height, width, channels; `path` is where they come from.
fn allocate(path: &Path, count: usize, shape: [usize; 3]) -> Result<Vec<u8>> {
    let [height, width, channels] = shape;
    let too_large = |found: String| {
        Error::bad_data(path, format!("a data set of at most {MAX_BYTES} bytes of pixels"), found)
            .with_hint("split it, or make the images smaller with --resize N")
    };
    let describe = || format!("{count} images of {height}×{width}×{channels}");
    let bytes = [count, height, width, channels].iter().try_fold(1u64, |product, &n| product.checked_mul(n as u64));
    let bytes = bytes.filter(|&bytes| bytes <= MAX_BYTES).and_then(|bytes| usize::try_from(bytes).ok());
    let bytes = bytes.ok_or_else(|| too_large(describe()))?;
    let mut pixels = Vec::new();
    pixels
        .try_reserve_exact(bytes)
        .map_err(|_| too_large(format!("{}, which do not fit into this machine's memory", describe())))?;
    pixels.resize(bytes, 0);
    Ok(pixels)
}

/// `1 file`, `2 files`.
fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}
