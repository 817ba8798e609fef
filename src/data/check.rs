//! `dataset check`: reads every file of a data set to its end and lists all that are bad.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::{Value, json};

use super::cifar::{self, Archive, RECORD};
use super::find;
use super::folder::{self, Survey};
use super::images::LoadOptions;
use super::load::load;
use super::report::{Reason, Report};
use super::select::{Found, Selection};
use super::tally::{self, Seen};
use super::{glyphs, idx, picture};
use crate::error::{Error, Result, readable_path};
use crate::image::ImageShape;
use crate::units::plural;

/// A file that can't be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadFile {
    /// The file.
    pub path: PathBuf,
    /// The expected and the found content, with the path.
    pub reason: String,
    /// True if `train` reads it; a bad file of labels or of the test split does not stop `train`.
    pub needed: bool,
}

/// The content of a data set, and its faults.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    /// The format, for people: `IDX`, `CIFAR-10`, `PNG and JPEG`.
    pub format: &'static str,
    /// Files that `train` reads, good and bad, those in an archive too.
    pub files: usize,
    /// Images in the good ones of them: as many as `train` takes where all are good.
    pub images: usize,
    /// Number of images of each (height, width).
    pub sizes: BTreeMap<(usize, usize), usize>,
    /// Number of images of each number of channels.
    pub channels: BTreeMap<usize, usize>,
    /// Every bad file, sorted by path; of an archive each bad file in it, by name.
    pub bad: Vec<BadFile>,
    /// Other reasons why the good files can't be loaded together, with advice: mixed sizes or channels.
    pub obstacles: Vec<String>,
    /// Files left out, changes and warnings.
    pub report: Report,
}

impl CheckReport {
    /// Returns true if no file is bad, not even among those left out.
    pub fn is_clean(&self) -> bool {
        self.bad.is_empty() && self.is_ready()
    }

    /// Returns true if [`load`] with the same options accepts the data set.
    pub fn is_ready(&self) -> bool {
        self.bad.iter().all(|bad| !bad.needed) && self.obstacles.is_empty() && self.images > 0
    }

    fn new(format: &'static str, report: Report) -> Self {
        CheckReport { format, report, ..CheckReport::default() }
    }

    fn add(&mut self, images: usize, shape: ImageShape) {
        self.images += images;
        *self.sizes.entry((shape.h, shape.w)).or_default() += images;
        *self.channels.entry(shape.c).or_default() += images;
    }

    fn add_bad(&mut self, path: &Path, error: &Error, needed: bool) {
        self.bad.push(BadFile { path: path.to_path_buf(), reason: error.to_string(), needed });
    }

    /// Adds what is bad among files that are not trained on.
    fn add_beside(&mut self, paths: &[PathBuf], read: impl Fn(&Path) -> Result<()> + Sync) {
        let results: Vec<Result<()>> = paths.par_iter().map(|path| read(path)).collect();
        for (path, result) in paths.iter().zip(results) {
            if let Err(error) = result {
                self.add_bad(path, &error, false);
            }
        }
        self.bad.sort_by(|a, b| a.path.cmp(&b.path));
    }

    /// The report as one JSON object; `path` is what was checked. `vgan-cuda dataset check --help` has the keys.
    ///
    /// A path that is no Unicode has its other bytes written as `\xff`; any other is there as it is.
    pub fn to_json(&self, path: &Path) -> Value {
        let Report { folder, only_split, own_pictures, left_out, seen, remarks } = &self.report;
        let text = |path: &Path| path.to_str().map_or_else(|| readable_path(path), str::to_string);
        let sizes = self
            .sizes
            .iter()
            .map(|(&(height, width), images)| json!({"height": height, "width": width, "images": images}));
        let channels = self.channels.iter().map(|(channels, images)| json!({"channels": channels, "images": images}));
        let left_out = Reason::ALL.map(|reason| {
            let left_out = left_out.get(&reason).cloned().unwrap_or_default();
            let example = (left_out.files > 0).then_some(left_out.example);
            let value = json!({"files": left_out.files, "images": left_out.images, "example": example});
            (reason.key().to_string(), value)
        });
        let Seen { background: [red, green, blue], .. } = *seen;
        json!({
            "path": text(path),
            "format": self.format,
            "folder": folder.as_deref().map(text),
            "train_ready": self.is_ready(),
            "clean": self.is_clean(),
            "files": self.files,
            "images": self.images,
            "sizes": sizes.collect::<Vec<_>>(),
            "channels": channels.collect::<Vec<_>>(),
            "left_out": left_out.into_iter().collect::<serde_json::Map<_, _>>(),
            "warnings": self.report.warnings(),
            "notes": {
                "only_split": only_split,
                "own_pictures": own_pictures,
                "transparent": seen.transparent,
                "background": format!("#{red:02x}{green:02x}{blue:02x}"),
                "rotated": seen.rotated,
                "sixteen_bit": seen.sixteen_bit,
                "sixteen_bit_narrow": seen.narrow_sixteen_bit,
                "animated": seen.animated,
                "cmyk": seen.cmyk,
                "profile": seen.profile,
                "constant": seen.constant,
                "duplicates": seen.duplicates,
                "most_common": seen.most_common,
                "most_common_share": seen.most_common_share,
                "remarks": remarks,
            },
            "bad": self.bad.iter().map(|bad| json!({"path": text(&bad.path), "reason": bad.reason, "needed": bad.needed})).collect::<Vec<_>>(),
            "obstacles": self.obstacles,
        })
    }
}

/// One line a fact, then one line a bad file.
impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = self.bad.iter().filter(|bad| bad.needed).count();
        writeln!(f, "format    {}", self.format)?;
        if let Some(folder) = &self.report.folder {
            writeln!(f, "folder    {}", readable_path(folder))?;
        }
        writeln!(f, "files     {} ({needed} bad)", self.files)?;
        writeln!(f, "images    {}", self.images)?;
        for ((height, width), count) in &self.sizes {
            writeln!(f, "size      {height}×{width}: {}", plural(*count, "image"))?;
        }
        for (channels, count) in &self.channels {
            writeln!(f, "channels  {channels}: {}", plural(*count, "image"))?;
        }
        for left_out in Reason::ALL.into_iter().filter_map(|reason| self.report.left_out_text(reason)) {
            writeln!(f, "left out  {left_out}")?;
        }
        for note in self.report.notes() {
            writeln!(f, "note      {note}")?;
        }
        for warning in self.report.warnings() {
            writeln!(f, "warning   {warning}")?;
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

/// Reads every file of the data set `source` and reports all bad ones. It counts the files that [`load`] reads; those of other splits
/// and of labels are read only to find out whether they are whole.
///
/// # Errors
/// Only where there is nothing to report on: the path is missing, can't be listed, or holds no data set, or several.
pub fn check(path: &Path, options: &LoadOptions) -> Result<CheckReport> {
    options.validate()?;
    if path == Path::new("glyphs") {
        let images = load("glyphs", options)?;
        let mut report = CheckReport::new("glyphs", images.report);
        report.add(images.count, ImageShape { h: glyphs::SIDE, w: glyphs::SIDE, c: 1 });
        return Ok(report);
    }
    let Selection { found, beside, report } = find::find(path)?;
    Ok(match found {
        Found::Idx(file) => check_idx(&file, &beside, report),
        Found::Cifar(files) => check_cifar(&files, &beside, report),
        Found::CifarArchive(file) => check_archive(&file, report),
        Found::Pictures(root, files) => check_pictures(&root, &files, &beside, options, report),
    })
}

fn check_idx(file: &Path, beside: &[PathBuf], report: Report) -> CheckReport {
    let mut report = CheckReport { files: 1, ..CheckReport::new("IDX", report) };
    match idx::load(file) {
        Ok(images) => {
            report.add(images.count, ImageShape { h: images.height, w: images.width, c: 1 });
            report.report.seen = tally::of_images(images.shape(), &images.pixels);
        }
        Err(error) => report.add_bad(file, &error, true),
    }
    report.add_beside(beside, |path| {
        let is_labels = path.file_name().is_some_and(|name| name.to_string_lossy().to_lowercase().contains("idx1"));
        if is_labels { idx::labels(path).map(drop) } else { idx::load(path).map(drop) }
    });
    report
}

const CIFAR_SHAPE: ImageShape = ImageShape { h: 32, w: 32, c: 3 };

fn check_cifar(files: &[PathBuf], beside: &[PathBuf], report: Report) -> CheckReport {
    let mut report = CheckReport { files: files.len(), ..CheckReport::new("CIFAR-10", report) };
    let mut good = Vec::new();
    for file in files {
        match cifar::read(file) {
            Ok(bytes) => {
                report.add(bytes.len() / RECORD, CIFAR_SHAPE);
                good.push(bytes);
            }
            Err(error) => report.add_bad(file, &error, true),
        }
    }
    report.report.seen = look_at(&good);
    report.add_beside(beside, |path| cifar::read(path).map(drop));
    report
}

fn check_archive(file: &Path, mut left_out: Report) -> CheckReport {
    let opened = cifar::open_archive(file, &mut left_out);
    let mut report = CheckReport::new("CIFAR-10 archive", left_out);
    let Archive { taken, left } = match opened {
        Ok(archive) => archive,
        Err(error) => {
            // What can't be unpacked counts as one bad file.
            report.files = 1;
            report.add_bad(file, &error, true);
            return report;
        }
    };
    report.files = taken.len();
    let mut good = Vec::new();
    for member in taken {
        match cifar::check_member(file, &member) {
            Ok(images) => {
                report.add(images, CIFAR_SHAPE);
                good.push(member.1);
            }
            Err(error) => report.add_bad(file, &error, true),
        }
    }
    for error in left.iter().filter_map(|member| cifar::check_member(file, member).err()) {
        report.add_bad(file, &error, false);
    }
    report.report.seen = look_at(&good);
    report
}

/// Findings from whole records; none if they do not fit into memory.
fn look_at(records: &[Vec<u8>]) -> Seen {
    cifar::to_images(Path::new(""), records, "")
        .map(|images| tally::of_images(images.shape(), &images.pixels))
        .unwrap_or_default()
}

fn check_pictures(
    root: &Path,
    files: &[PathBuf],
    beside: &[PathBuf],
    options: &LoadOptions,
    report: Report,
) -> CheckReport {
    let (shapes, seen) = folder::survey_all(files, options);
    let mut report = CheckReport { files: files.len(), ..CheckReport::new("PNG and JPEG", report) };
    report.report.seen = seen;
    let mut good = Vec::new();
    for (path, shape) in files.iter().zip(shapes) {
        match shape {
            Ok(shape) => {
                report.add(1, shape);
                good.push((path, shape));
            }
            Err(error) => report.add_bad(path, &error, true),
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
    report.add_beside(beside, |path| picture::decode(path, options).map(drop));
    report
}
