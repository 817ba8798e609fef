//! The report on a data set: files left out, changes and losses while reading, and warnings.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::tally::Seen;
use crate::error::readable_path;
use crate::units::plural;

/// The reason that files beside a data set are not trained on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Another split: the test images beside the training images.
    OtherSplit,
    /// Pictures that this program made: the grids of runs, samples, comparisons.
    OwnOutput,
    /// The same file once more, gzipped or under another name.
    Twin,
    /// Labels: they are read, and are no images.
    Labels,
    /// Neither images of a kind that is read nor labels.
    OtherKind,
    /// Files and folders whose names begin with a dot.
    Hidden,
}

impl Reason {
    /// The key in `dataset check --json`.
    pub(crate) fn key(self) -> &'static str {
        match self {
            Reason::OtherSplit => "other_split",
            Reason::OwnOutput => "own_output",
            Reason::Twin => "twin",
            Reason::Labels => "labels",
            Reason::OtherKind => "other_kind",
            Reason::Hidden => "hidden",
        }
    }

    /// All of them, in the order in which they are said.
    pub(crate) const ALL: [Reason; 6] =
        [Reason::OtherSplit, Reason::OwnOutput, Reason::Twin, Reason::Labels, Reason::OtherKind, Reason::Hidden];
}

/// Files that are left out for one reason.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Number of files; for hidden ones, also of folders, which are not searched.
    pub files: usize,
    /// Number of images in them, as far as that is known without reading them whole.
    pub images: usize,
    /// One of them, below the data set's folder, fit for a terminal.
    pub example: String,
}

/// Findings about a data set while it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The folder that was entered, below the one that was given.
    pub folder: Option<PathBuf>,
    /// `test` or `validation` where such a split is trained on, because no other is there.
    pub only_split: Option<&'static str>,
    /// True if all pictures were made by this program; they are used if there are no others.
    pub own_pictures: bool,
    /// Files that are not used for training.
    pub left_out: BTreeMap<Reason, LeftOut>,
    /// Properties of the pictures.
    pub seen: Seen,
    /// Further remarks on the files that were chosen.
    pub remarks: Vec<String>,
}

impl Report {
    pub(crate) fn leave_out(&mut self, reason: Reason, root: &Path, path: &Path, images: usize) {
        self.leave_out_named(reason, 1, images, || below(root, path));
    }

    /// Adds several files at once, of which `example` names one.
    pub(crate) fn leave_out_named(
        &mut self,
        reason: Reason,
        files: usize,
        images: usize,
        example: impl FnOnce() -> String,
    ) {
        if files == 0 {
            return;
        }
        let entry = self.left_out.entry(reason).or_default();
        if entry.files == 0 {
            entry.example = example();
        }
        entry.files += files;
        entry.images += images;
    }

    /// Number of files left out for this reason.
    pub fn left_out_files(&self, reason: Reason) -> usize {
        self.left_out.get(&reason).map_or(0, |left_out| left_out.files)
    }

    /// One line for a person, as `train` says it at its start; `None` where there is nothing to say. It begins with `warning:` where
    /// the data set is likely not what it was meant to be.
    pub fn line(&self) -> Option<String> {
        let warnings = self.warnings();
        let kind = if warnings.is_empty() { "note" } else { "warning" };
        // Labels and hidden files are no images that anybody could miss.
        let missed = |reason: &Reason| !matches!(reason, Reason::Labels | Reason::Hidden);
        let left_out: Vec<String> =
            Reason::ALL.into_iter().filter(missed).filter_map(|reason| self.left_out_text(reason)).collect();
        let mut parts: Vec<String> = warnings.into_iter().chain(self.notes()).collect();
        if !left_out.is_empty() {
            parts.push(format!("left out: {}", left_out.join(", ")));
        }
        if parts.is_empty() { None } else { Some(format!("{kind}: {}", parts.join("; "))) }
    }

    /// Warnings.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(split) = self.only_split {
            warnings.push(format!("the images are those of the {split} split: there is no training split here"));
        }
        warnings.extend(self.seen.warnings());
        warnings
    }

    /// Changes and losses, each with its count.
    pub(crate) fn notes(&self) -> Vec<String> {
        let mut notes = self.seen.notes();
        if self.own_pictures {
            notes.push("all pictures were made by vgan-cuda".into());
        }
        notes.extend(self.remarks.iter().cloned());
        notes
    }

    /// A sentence on the files left out for one reason; `None` if there are none.
    pub(crate) fn left_out_text(&self, reason: Reason) -> Option<String> {
        let LeftOut { files, images, example } = self.left_out.get(&reason)?;
        let like = if *files == 1 { example.clone() } else { format!("like {example}") };
        let counted = |noun: &str| format!("{} ({like})", plural(*files, noun));
        Some(match reason {
            Reason::OtherSplit if *images > 0 => {
                format!("{} of another split ({like})", plural(*images, "image"))
            }
            Reason::OtherSplit => format!("{} of another split ({like})", plural(*files, "file")),
            Reason::OwnOutput => format!("{} made by vgan-cuda ({like})", plural(*files, "picture")),
            Reason::Twin => format!("{}, copies of files that are read ({like})", plural(*files, "file")),
            Reason::Labels => format!("{} of labels ({like})", plural(*files, "file")),
            Reason::OtherKind => counted("file") + " of other kinds",
            Reason::Hidden => counted("hidden file"),
        })
    }
}

/// A file's path below `root`, for messages.
pub(crate) fn below(root: &Path, path: &Path) -> String {
    readable_path(path.strip_prefix(root).unwrap_or(path))
}
