//! Data sets, read once into resident 8-bit images.
//!
//! | file | what it reads |
//! |---|---|
//! | [`glyphs`] | nothing: draws the embedded digits |
//! | `idx` | MNIST's format, plain or gzipped |
//! | `cifar` | CIFAR-10's binary format: files, folders, the archive |
//! | `folder`, `picture` | folders of PNG and JPEG |
//! | `find`, `source`, `gzip` | which of these a path is; opening and unzipping it |
//! | `convert` | number of channels, resizing |
//! | `check` | every bad file of a data set |
//! | `fetch` | downloads (feature `download`) |

mod check;
mod cifar;
mod convert;
mod exif;
#[cfg(feature = "download")]
mod fetch;
mod find;
mod folder;
pub mod glyphs;
mod gzip;
mod idx;
pub(crate) mod picture;
mod regular;
mod source;
mod strokes;

use std::path::Path;

pub use check::{BadFile, CheckReport, check};
#[cfg(feature = "download")]
pub use fetch::{DATASETS, Dataset, RemoteFile, fetch, fetch_files};
pub use picture::MAX_SIDE;

use crate::error::{Error, Result};
use find::Found;

/// A whole data set in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// How many images.
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
}

/// How many images there are, and their size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// How many images.
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
    /// How many they are, and their size.
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
    let drawn = picture::Shape { height: glyphs::SIDE, width: glyphs::SIDE, channels: 1 };
    let picture::Shape { height, width, channels } = convert::target(drawn, options);
    Ok(Extent { count: glyphs::COUNT, height, width, channels })
}

/// How images are brought into one shape.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadOptions {
    /// Crop each image to its central square and resize that to this many pixels a side; 0 keeps the size.
    pub resize: usize,
    /// Convert each image to 1 (grey) or 3 (red, green, blue) channels; 0 keeps them.
    pub channels: usize,
    /// What transparent pictures are laid on: red, green, blue. Black by default; a grey picture takes its luma.
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
/// A path may be an IDX file or a folder that holds MNIST's files (the training images are taken before the test
/// images), a CIFAR-10 binary file, a folder of them or its archive, or a folder of PNG and JPEG images at any depth,
/// in the order of their paths. What a folder is, is seen from the names in it; what a file is, from its content,
/// or from its name where the content leaves a doubt. IDX, CIFAR and tar files may be gzipped.
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
    match find::find(Path::new(source))? {
        Found::Idx(path) => convert::images(idx::load(&path)?, options),
        Found::Cifar(paths) => convert::images(cifar::load(&paths)?, options),
        Found::CifarArchive(path) => convert::images(cifar::load_archive(&path)?, options),
        Found::Folder(path) => folder::load(&path, options),
    }
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
