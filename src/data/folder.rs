//! Folders of PNG and JPEG images, at any depth: which files they hold, and reading them.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use fast_image_resize::Resizer;
use rayon::prelude::*;

use super::decoded::Picture;
use super::images::{Images, LoadOptions, allocate};
use super::labels::Labels;
use super::report::below;
use super::tally::{Seen, Tally};
use super::{convert, foreign, own};
use super::{format, picture};
use crate::error::{Error, Result};
use crate::image::ImageShape;
use crate::units::plural;

/// The content of a folder.
#[derive(Default)]
pub(crate) struct Listing {
    /// Files that are, or that by their names claim to be, images; sorted by path.
    pub(crate) pictures: Vec<PathBuf>,
    /// Pictures that this program made and that lie outside the folders of runs; sorted by path.
    pub(crate) own: Vec<PathBuf>,
    /// Pictures in the folders of runs; sorted by path.
    pub(crate) of_runs: Vec<PathBuf>,
    /// Files that are neither, such as a README or a table of labels; sorted by path.
    pub(crate) others: Vec<PathBuf>,
    /// Files and folders with a name that begins with a dot.
    pub(crate) hidden: Vec<PathBuf>,
}

/// Lists a folder and those in it. Names that start with a dot are left out; links are followed, each folder once. Folders of runs are
/// looked into only for what is left out.
pub(crate) fn list(root: &Path) -> Result<Listing> {
    let mut listing = Listing::default();
    let (mut files, mut in_runs) = (Vec::new(), Vec::new());
    let mut seen = HashSet::new();
    let mut pending = vec![(root.to_path_buf(), false)];
    while let Some((folder, inside_a_run)) = pending.pop() {
        let real = fs::canonicalize(&folder).map_err(|e| Error::io(&folder, "open", e))?;
        if !seen.insert(real) {
            continue;
        }
        let is_run = inside_a_run || (folder != root && own::is_run(&folder));
        let mut entries = Vec::new();
        for entry in fs::read_dir(&folder).map_err(|e| Error::io(&folder, "list", e))? {
            let entry = entry.map_err(|e| Error::io(&folder, "list", e))?;
            if !entry.file_name().as_encoded_bytes().starts_with(b".") {
                entries.push(entry.path());
            } else if !is_run {
                listing.hidden.push(entry.path());
            }
        }
        entries.sort();
        let (folders, plain): (Vec<PathBuf>, Vec<PathBuf>) = entries.into_iter().partition(|path| path.is_dir());
        if is_run { &mut in_runs } else { &mut files }.extend(plain);
        // The first folder is popped first, so that of two links to one folder always the same one counts.
        pending.extend(folders.into_iter().rev().map(|folder| (folder, is_run)));
    }
    files.sort();
    in_runs.sort();
    listing.hidden.sort();
    listing.of_runs = in_runs.into_iter().filter(|path| format::claims(path)).collect();
    sort_out(files, &mut listing);
    Ok(listing)
}

/// The kind of each file outside of runs. Files are inspected in parallel: there may be a million.
fn sort_out(files: Vec<PathBuf>, listing: &mut Listing) {
    let kinds: Vec<Kind> = files.par_iter().map(|path| Kind::of(path)).collect();
    for (path, kind) in files.into_iter().zip(kinds) {
        match kind {
            Kind::Picture => &mut listing.pictures,
            Kind::Own => &mut listing.own,
            Kind::Other => &mut listing.others,
        }
        .push(path);
    }
}

enum Kind {
    Picture,
    Own,
    Other,
}

impl Kind {
    fn of(path: &Path) -> Kind {
        let claims = format::claims(path);
        if !claims && !picture::looks_like_picture(path) {
            return Kind::Other;
        }
        // Ours are PNG by name too; a million JPEGs need not be opened for that.
        let is_png = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
        if (is_png || !claims) && own::is_picture(path) { Kind::Own } else { Kind::Picture }
    }
}

/// The error for a folder without images.
pub(crate) fn nothing_found(root: &Path, others: &[PathBuf]) -> Error {
    let expected = "PNG or JPEG images, or the files of MNIST or CIFAR-10, in this folder";
    if let Some((path, what, advice)) = foreign::among(others) {
        let found = format!("{what}, {}", below(root, path));
        return Error::bad_data(root, expected, found).with_hint(advice);
    }
    let found = match others.first() {
        None => "no files".to_string(),
        Some(first) => format!("{} of other kinds, like {}", plural(others.len(), "file"), below(root, first)),
    };
    Error::bad_data(root, expected, found)
}

/// Decodes pictures for [`check`](super::check), in parallel: the shape of each, in the order of `paths`, and what all look like.
pub(crate) fn survey_all(paths: &[PathBuf], options: &LoadOptions) -> (Vec<Result<ImageShape>>, Seen) {
    type Part = (Vec<(usize, Result<ImageShape>)>, Tally);
    let start = || (Vec::new(), Tally::new(options.background));
    let read = |(mut shapes, mut tally): Part, (index, path): (usize, &PathBuf)| {
        let shape = picture::decode(path, options).map(|picture| {
            tally.add(picture.shape, &picture.pixels, &picture.notes);
            picture.shape
        });
        shapes.push((index, shape));
        (shapes, tally)
    };
    let join = |(mut shapes, tally): Part, (more, other): Part| {
        shapes.extend(more);
        (shapes, tally.merge(other))
    };
    let (mut shapes, tally) = paths.par_iter().enumerate().fold(start, read).reduce(start, join);
    shapes.sort_by_key(|(index, _)| *index);
    (shapes.into_iter().map(|(_, shape)| shape).collect(), tally.finish())
}

/// Loads the images of a folder, in the order of their paths.
///
/// Headers are read first, so that what does not fit together is told before the work, and memory is taken once.
///
/// # Errors
/// [`Error::BadData`] for the first bad file, and where sizes or channels differ and `options` do not unify them.
pub(crate) fn load(root: &Path, pictures: &[PathBuf], options: &LoadOptions) -> Result<Images> {
    let shapes: Vec<Result<ImageShape>> = pictures.par_iter().map(|path| picture::read_shape(path)).collect();
    let (shapes, bad) = good_ones(shapes);
    if let Some(first) = bad {
        // Those with a good header may be bad further in; of a large data set nobody wants to wait for that.
        let (more, at_least) = if pictures.len() <= FEW {
            (picture_errors(pictures, options), "")
        } else {
            (pictures.len() - shapes.len(), "at least ")
        };
        return Err(super::images::and_more(first, root, more.saturating_sub(1), at_least));
    }
    let survey = Survey::of(root, pictures.iter().zip(shapes.iter().copied()));
    let to = survey.common(root, options)?;
    let mut pixels = allocate(root, pictures.len(), [to.h, to.w, to.c])?;
    let seen = decode_into(&mut pixels, root, pictures, &shapes, to, options)?;
    let count = pictures.len();
    let ImageShape { h: height, w: width, c: channels } = to;
    let description =
        format!("{count} images of {height}×{width}×{channels} from {} (PNG, JPEG)", crate::error::readable_path(root));
    let labels = Labels::of_folders(pictures);
    let mut images = Images { count, height, width, channels, pixels, labels, description, ..Images::default() };
    images.report.seen = seen;
    Ok(images)
}

/// As many pictures are decoded only to count the bad ones.
const FEW: usize = 2000;

fn picture_errors(pictures: &[PathBuf], options: &LoadOptions) -> usize {
    pictures.par_iter().filter(|path| picture::decode(path, options).is_err()).count()
}

/// The good results, and the first error.
fn good_ones<T>(results: Vec<Result<T>>) -> (Vec<T>, Option<Error>) {
    let (mut good, mut first) = (Vec::new(), None);
    for result in results {
        match result {
            Ok(one) => good.push(one),
            Err(error) => first = first.or(Some(error)),
        }
    }
    (good, first)
}

/// Decodes all pictures into `pixels`, each brought to the shape `to`.
fn decode_into(
    pixels: &mut [u8],
    root: &Path,
    pictures: &[PathBuf],
    shapes: &[ImageShape],
    to: ImageShape,
    options: &LoadOptions,
) -> Result<Seen> {
    let start = || (Resizer::new(), Tally::new(options.background), Vec::new());
    let (_, tally, mut errors) = pixels
        .par_chunks_exact_mut(to.h * to.w * to.c)
        .zip(pictures)
        .zip(shapes)
        .enumerate()
        .fold(start, |(mut resizer, mut tally, mut errors), (index, ((new, path), &shape))| {
            match decode_one(&mut resizer, path, shape, to, new, options) {
                Ok(picture) => tally.add(picture.shape, &picture.pixels, &picture.notes),
                Err(error) => errors.push((index, error)),
            }
            (resizer, tally, errors)
        })
        .reduce(start, |(resizer, tally, mut errors), (_, other, more)| {
            errors.extend(more);
            (resizer, tally.merge(other), errors)
        });
    errors.sort_by_key(|(index, _)| *index);
    let more = errors.len().saturating_sub(1);
    match errors.into_iter().next() {
        Some((_, first)) => Err(super::images::and_more(first, root, more, "")),
        None => Ok(tally.finish()),
    }
}

fn decode_one(
    resizer: &mut Resizer,
    path: &Path,
    shape: ImageShape,
    to: ImageShape,
    new: &mut [u8],
    options: &LoadOptions,
) -> Result<Picture> {
    let picture = picture::decode(path, options)?;
    if picture.shape != shape {
        let found = "one that changed while it was read";
        return Err(Error::bad_data(path, "a file that nobody writes to", found));
    }
    convert::fit(resizer, shape, &picture.pixels, to, new)?;
    Ok(picture)
}

/// Sizes and channels of the images of a folder, with their number, and one file as an example.
pub(crate) struct Survey {
    /// Key: height, width.
    pub(crate) sizes: BTreeMap<(usize, usize), (usize, String)>,
    /// Key: 1 or 3.
    pub(crate) channels: BTreeMap<usize, (usize, String)>,
}

impl Survey {
    pub(crate) fn of<'a>(root: &Path, shapes: impl Iterator<Item = (&'a PathBuf, ImageShape)>) -> Self {
        let mut survey = Survey { sizes: BTreeMap::new(), channels: BTreeMap::new() };
        for (path, shape) in shapes {
            let example = || (0, below(root, path));
            survey.sizes.entry((shape.h, shape.w)).or_insert_with(example).0 += 1;
            survey.channels.entry(shape.c).or_insert_with(example).0 += 1;
        }
        survey
    }

    /// The one shape that all images have after `options`; an error where there is none.
    pub(crate) fn common(&self, root: &Path, options: &LoadOptions) -> Result<ImageShape> {
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
        Ok(convert::target(ImageShape { h: height, w: width, c: channels }, options))
    }
}
