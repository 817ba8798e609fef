//! Folders of PNG and JPEG images, at any depth.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use fast_image_resize::Resizer;
use rayon::prelude::*;

use super::picture::{self, Shape};
use super::{Images, LoadOptions, allocate, convert, plural};
use crate::error::{Error, Result};

/// What a folder holds.
pub(crate) struct Listing {
    /// Files that are, or that by their names claim to be, images; sorted by path.
    pub(crate) pictures: Vec<PathBuf>,
    /// Files that are neither, such as a README or a table of labels; sorted by path.
    pub(crate) others: Vec<PathBuf>,
}

/// Ends of names that claim to be an image. Those that are not PNG or JPEG are listed too: leaving them out without a
/// word would train on less than the user thinks.
const EXTENSIONS: [&str; 12] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "gif", "bmp", "webp", "tif", "tiff", "avif", "heic"];

/// Lists a folder and those in it. Names that start with a dot are left out; links are followed, each folder once.
pub(crate) fn list(root: &Path) -> Result<Listing> {
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    let mut pending = vec![root.to_path_buf()];
    while let Some(folder) = pending.pop() {
        let real = fs::canonicalize(&folder).map_err(|e| Error::io(&folder, "open", e))?;
        if !seen.insert(real) {
            continue;
        }
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|e| Error::io(&folder, "list", e))? {
            let entry = entry.map_err(|e| Error::io(&folder, "list", e))?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                entries.push(entry.path());
            }
        }
        entries.sort();
        let (folders, plain): (Vec<PathBuf>, Vec<PathBuf>) = entries.into_iter().partition(|path| path.is_dir());
        files.extend(plain);
        // The first folder is popped first, so that of two links to one folder always the same one counts.
        pending.extend(folders.into_iter().rev());
    }
    files.sort();
    let claims = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)) || picture::looks_like_picture(path)
    };
    let (pictures, others) = files.into_iter().partition(claims);
    Ok(Listing { pictures, others })
}

/// The error for a folder without images.
pub(crate) fn nothing_found(root: &Path, others: &[PathBuf]) -> Error {
    let found = match others.first() {
        None => "no files".to_string(),
        Some(first) => format!("{} of other kinds, like {}", plural(others.len(), "file"), name_in(root, first)),
    };
    Error::bad_data(root, "PNG or JPEG images, or the files of MNIST or CIFAR-10, in this folder", found)
}

/// Loads all images of a folder, in the order of their paths.
///
/// Headers are read first, so that what does not fit together is told before the work, and memory is taken once.
///
/// # Errors
/// [`Error::BadData`] for the first bad file, and where sizes or channels differ and `options` do not unify them.
pub(crate) fn load(root: &Path, options: &LoadOptions) -> Result<Images> {
    let Listing { pictures, others } = list(root)?;
    if pictures.is_empty() {
        return Err(nothing_found(root, &others));
    }
    let shapes: Vec<Result<Shape>> = pictures.par_iter().map(|path| picture::read_shape(path)).collect();
    let shapes = shapes.into_iter().collect::<Result<Vec<Shape>>>()?;
    let survey = Survey::of(root, pictures.iter().zip(shapes.iter().copied()));
    let to = survey.common(root, options)?;
    let mut pixels = allocate(root, pictures.len(), [to.height, to.width, to.channels])?;
    let results: Vec<Result<()>> = pixels
        .par_chunks_exact_mut(to.height * to.width * to.channels)
        .zip(&pictures)
        .zip(&shapes)
        .map_init(Resizer::new, |resizer, ((new, path), &shape)| {
            let picture = picture::decode(path, options)?;
            if picture.shape != shape {
                return Err(Error::bad_data(
                    path,
                    "a file that nobody writes to",
                    "one that changed while it was read",
                ));
            }
            convert::fit(resizer, shape, &picture.pixels, to, new)
        })
        .collect();
    results.into_iter().collect::<Result<()>>()?;
    let description = format!(
        "{} images of {}×{}×{} from {} (PNG, JPEG)",
        pictures.len(),
        to.height,
        to.width,
        to.channels,
        root.display()
    );
    Ok(Images { count: pictures.len(), height: to.height, width: to.width, channels: to.channels, pixels, description })
}

/// Which sizes and channels the images of a folder have, how many of each, and one file as an example.
pub(crate) struct Survey {
    /// Key: height, width.
    pub(crate) sizes: BTreeMap<(usize, usize), (usize, String)>,
    /// Key: 1 or 3.
    pub(crate) channels: BTreeMap<usize, (usize, String)>,
}

impl Survey {
    pub(crate) fn of<'a>(root: &Path, shapes: impl Iterator<Item = (&'a PathBuf, Shape)>) -> Self {
        let mut survey = Survey { sizes: BTreeMap::new(), channels: BTreeMap::new() };
        for (path, shape) in shapes {
            let example = || (0, name_in(root, path));
            survey.sizes.entry((shape.height, shape.width)).or_insert_with(example).0 += 1;
            survey.channels.entry(shape.channels).or_insert_with(example).0 += 1;
        }
        survey
    }

    /// The one shape that all images have after `options`; an error where there is none.
    pub(crate) fn common(&self, root: &Path, options: &LoadOptions) -> Result<Shape> {
        let mixed = |what: &str, found: Vec<String>, hint: &str| {
            let kinds = found.len();
            let mut found = found.into_iter().take(8).collect::<Vec<_>>().join(", ");
            if kinds > 8 {
                found += &format!(" and {} more", kinds - 8);
            }
            Err(Error::bad_data(root, format!("images of one {what}"), format!("{kinds}: {found}")).with_hint(hint))
        };
        let entry = |shown: String, (count, example): &(usize, String)| {
            format!("{shown} ({}, like {example})", plural(*count, "file"))
        };
        if options.resize == 0 && self.sizes.len() > 1 {
            let found = self.sizes.iter().map(|((height, width), rest)| entry(format!("{height}×{width}"), rest));
            return mixed("size", found.collect(), "pass --resize N to make all images N×N");
        }
        if options.channels == 0 && self.channels.len() > 1 {
            let found = self.channels.iter().map(|(channels, rest)| entry(plural(*channels, "channel"), rest));
            let hint = "pass --channels 3 to make all images colour, or --channels 1 to make all grey";
            return mixed("number of channels", found.collect(), hint);
        }
        let (Some((&(height, width), _)), Some((&channels, _))) =
            (self.sizes.first_key_value(), self.channels.first_key_value())
        else {
            return Err(nothing_found(root, &[]));
        };
        Ok(convert::target(Shape { height, width, channels }, options))
    }
}

/// A file's path below `root`, for messages.
fn name_in(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
