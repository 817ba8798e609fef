//! `dataset check`: reads every file of a data set to its end and lists all that are bad.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::cifar::{self, RECORD};
use super::find::{self, Found};
use super::folder::{self, Listing, Survey};
use super::picture::{self, Shape};
use super::{LoadOptions, idx, plural};
use crate::error::{Error, Result};

/// A file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// What was expected and what was found, with the path.
    pub reason: String,
}

/// What a data set holds, and what is wrong with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The format, for people: `IDX`, `CIFAR-10`, `PNG and JPEG`.
    pub format: &'static str,
    /// Files that were read, good and bad, those in an archive too; files of other kinds are not among them.
    pub files: usize,
    /// Images in the good files, of training and test sets together.
    pub images: usize,
    /// How many images there are of each (height, width).
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// How many images there are of each number of channels.
    pub channels: BTreeMap<usize, usize>,
    /// Files in the folder or archive that are not part of the data set and are left out.
    pub others: usize,
    /// Every bad file, sorted by path; of an archive each bad file in it, by name.
    pub bad: Vec<BadFile>,
    /// What else keeps the good files from being loaded together, with the advice: mixed sizes or channels.
    pub obstacles: Vec<String>,
}

impl CheckReport {
    /// Whether [`load`](super::load) with the same options would take the data set.
    pub fn is_clean(&self) -> bool {
        self.bad.is_empty() && self.obstacles.is_empty() && self.images > 0
    }

    fn add(&mut self, images: usize, shape: Shape) {
        self.images += images;
        *self.sizes.entry((shape.height, shape.width)).or_default() += images;
        *self.channels.entry(shape.channels).or_default() += images;
    }

    fn add_cifar(&mut self, file: &Path, images: Result<usize>) {
        match images {
            Ok(images) => self.add(images, Shape { height: 32, width: 32, channels: 3 }),
            Err(error) => self.add_bad(file, &error),
        }
    }

    fn add_bad(&mut self, path: &Path, error: &Error) {
        self.bad.push(BadFile { path: path.to_path_buf(), reason: error.to_string() });
    }
}

/// One line a fact, then one line a bad file.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "format    {}", self.format)?;
        writeln!(f, "files     {} ({} bad, {} of other kinds left out)", self.files, self.bad.len(), self.others)?;
        writeln!(f, "images    {}", self.images)?;
        for ((height, width), count) in &self.sizes {
            writeln!(f, "size      {height}×{width}: {}", plural(*count, "image"))?;
        }
        for (channels, count) in &self.channels {
            writeln!(f, "channels  {channels}: {}", plural(*count, "image"))?;
        }
        for obstacle in &self.obstacles {
            writeln!(f, "mixed     {obstacle}")?;
        }
        for bad in &self.bad {
            writeln!(f, "bad       {}", bad.reason)?;
        }
        Ok(())
    }
}

/// Reads every file of the data set at `path` and reports all bad ones. Of a folder or archive of MNIST's or CIFAR-10's
/// files, the label and test files are read too.
///
/// # Errors
/// Only where there is nothing to report on: the path is missing, can't be listed, or holds no data set.
pub fn check(path: &Path, options: &LoadOptions) -> Result<CheckReport> {
    options.validate()?;
    match find::find(path)? {
        Found::Idx(file) => check_idx(path, file),
        Found::Cifar(files) => check_cifar(path, files),
        Found::CifarArchive(file) => Ok(check_archive(&file)),
        Found::Folder(root) => check_folder(&root, options),
    }
}

fn check_idx(path: &Path, file: PathBuf) -> Result<CheckReport> {
    let (files, others) = siblings(path, &file, find::is_idx_name)?;
    let mut report = CheckReport { format: "IDX", files: files.len(), others, ..CheckReport::default() };
    for file in &files {
        let is_labels = file.file_name().is_some_and(|name| name.to_string_lossy().contains("idx1"));
        let checked =
            if is_labels && path.is_dir() { idx::check_labels(file).map(|_| None) } else { idx::load(file).map(Some) };
        match checked {
            Ok(Some(images)) => {
                report.add(images.count, Shape { height: images.height, width: images.width, channels: 1 });
            }
            Ok(None) => {}
            Err(error) => report.add_bad(file, &error),
        }
    }
    Ok(report)
}

fn check_cifar(path: &Path, files: Vec<PathBuf>) -> Result<CheckReport> {
    let first = files.into_iter().next().unwrap_or_default();
    let (files, others) = siblings(path, &first, |name| {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        plain.ends_with(".bin") && (plain.starts_with("data_batch") || plain.starts_with("test_batch"))
    })?;
    let mut report = CheckReport { format: "CIFAR-10", files: files.len(), others, ..CheckReport::default() };
    for file in &files {
        report.add_cifar(file, cifar::read(file).map(|bytes| bytes.len() / RECORD));
    }
    Ok(report)
}

fn check_archive(file: &Path) -> CheckReport {
    // What can't be unpacked counts as one bad file.
    let (members, others) = cifar::check_archive(file).unwrap_or_else(|error| (vec![Err(error)], 0));
    let mut report = CheckReport { format: "CIFAR-10 archive", files: members.len(), others, ..CheckReport::default() };
    members.into_iter().for_each(|member| report.add_cifar(file, member));
    report
}

/// `file` alone where the user named it, or else every file beside it that `belongs`; and how many others there are.
fn siblings(path: &Path, file: &Path, belongs: impl Fn(&str) -> bool) -> Result<(Vec<PathBuf>, usize)> {
    let (true, Some(folder)) = (path.is_dir(), file.parent()) else {
        return Ok((vec![file.to_path_buf()], 0));
    };
    let (files, others): (Vec<String>, Vec<String>) =
        find::list_names(folder)?.into_iter().partition(|name| belongs(name));
    Ok((files.iter().map(|name| folder.join(name)).collect(), others.len()))
}

fn check_folder(root: &Path, options: &LoadOptions) -> Result<CheckReport> {
    let Listing { pictures, others } = folder::list(root)?;
    if pictures.is_empty() {
        return Err(folder::nothing_found(root, &others));
    }
    let shapes: Vec<Result<Shape>> =
        pictures.par_iter().map(|path| picture::decode(path, options).map(|picture| picture.shape)).collect();
    let mut report =
        CheckReport { format: "PNG and JPEG", files: pictures.len(), others: others.len(), ..CheckReport::default() };
    let mut good = Vec::new();
    for (path, shape) in pictures.iter().zip(shapes) {
        match shape {
            Ok(shape) => {
                report.add(1, shape);
                good.push((path, shape));
            }
            Err(error) => report.add_bad(path, &error),
        }
    }
    if !good.is_empty() {
        let survey = Survey::of(root, good.into_iter());
        // One error a pass: sizes first, then, as if those were unified, channels.
        let as_if_resized = LoadOptions { resize: options.resize.max(1), ..options.clone() };
        let passes =
            [survey.common(root, &LoadOptions { channels: 1, ..options.clone() }), survey.common(root, &as_if_resized)];
        report.obstacles.extend(passes.into_iter().filter_map(|pass| pass.err()).map(|error| error.to_string()));
    }
    Ok(report)
}
