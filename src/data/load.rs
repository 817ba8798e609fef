//! Loading a data set, whatever its format.

use std::path::Path;

use super::images::{Extent, Images, LoadOptions};
use super::select::{Found, Selection};
use super::{cifar, convert, find, folder, glyphs, idx, tally};
use crate::error::{Error, Result};
use crate::image::ImageShape;

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
    Ok(Extent { count: glyphs::COUNT, shape: convert::target(drawn, options) })
}

/// Loads a data set: `glyphs` draws the embedded one, anything else is a path.
///
/// A path may be an IDX file or a folder that holds MNIST's files, a CIFAR-10 binary file, a folder of them or its archive, or a
/// folder of PNG and JPEG images at any depth, in the order of their paths. Folders are recognised by their file names, files by
/// their content, then by extension. IDX, CIFAR and tar files may be gzipped. A folder without pictures that contains one such folder
/// stands for that one, up to three folders deep.
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
        Found::Idx(path) => {
            let images = idx::load(&path)?;
            let labels = idx::labels_beside(&path, images.count);
            let labels = labels.unwrap_or_else(|problem| {
                report.remarks.push(problem);
                None
            });
            Images { labels, ..images }
        }
        Found::Cifar(paths) => cifar::load(&paths)?,
        Found::CifarArchive(path) => cifar::load_archive(&path, &mut report)?,
        Found::Pictures(root, files) => {
            let images = folder::load(&root, &files, options)?;
            report.seen = images.report.seen.clone();
            return Ok(Images { report, ..images });
        }
    };
    report.seen = tally::of_images(images.shape(), &images.pixels);
    convert::images(Images { report, ..images }, options)
}
