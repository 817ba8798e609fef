//! Selects the files of a folder to train on: the training split, one of each pair of twins, and nothing that this program made.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::folder::{self, Listing};
use super::idx::{is_idx_images, is_idx_name};
use super::report::{Reason, Report, below};
use super::split::{Split, choose};
use super::{cifar, idx, own};
use crate::error::{Error, Result, readable_path};
use crate::shell;
use crate::units::plural;

/// A data set that was found, not yet read.
#[derive(Debug)]
pub(crate) enum Found {
    /// One IDX file of images.
    Idx(PathBuf),
    /// CIFAR-10 binary files, sorted.
    Cifar(Vec<PathBuf>),
    /// CIFAR-10's binary files in a tar archive.
    CifarArchive(PathBuf),
    /// Files that are or claim to be PNG or JPEG, sorted, and the folder that they were found in.
    Pictures(PathBuf, Vec<PathBuf>),
}

/// The files to train on, and what is known of all others.
#[derive(Debug)]
pub(crate) struct Selection {
    pub(crate) found: Found,
    /// Files that belong to the data set and are not trained on: other splits, labels. `dataset check` reads them too.
    pub(crate) beside: Vec<PathBuf>,
    pub(crate) report: Report,
}

impl Selection {
    pub(crate) fn of(found: Found) -> Self {
        Selection { found, beside: Vec::new(), report: Report::default() }
    }
}

/// The names of the files in a folder, sorted, without those of the folders in it: one may have been unpacked under the
/// name of a file.
pub(crate) struct Names {
    /// Names that can be one of ours.
    pub(crate) files: Vec<String>,
    /// Names that begin with a dot.
    hidden: Vec<PathBuf>,
    /// Names that are no Unicode.
    strange: Vec<PathBuf>,
}

impl Names {
    pub(crate) fn of(folder: &Path) -> Result<Names> {
        let mut names = Names { files: Vec::new(), hidden: Vec::new(), strange: Vec::new() };
        for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))? {
            let path = entry.map_err(|e| Error::io(folder, "list", e))?.path();
            let name = path.file_name().unwrap_or_default();
            if name.as_encoded_bytes().starts_with(b".") {
                names.hidden.push(path);
            } else if !path.is_dir() {
                match name.to_str() {
                    Some(name) => names.files.push(name.to_string()),
                    None => names.strange.push(path),
                }
            }
        }
        names.files.sort();
        names.hidden.sort();
        names.strange.sort();
        Ok(names)
    }

    /// Counts all files but those in `known` as left out: labels, and what is neither.
    pub(crate) fn leave_out_others(&self, folder: &Path, known: &[&String], report: &mut Report) {
        for name in self.files.iter().filter(|name| !known.contains(name)) {
            let labels = name.to_lowercase().contains("labels") || (is_idx_name(name) && !is_idx_images(name));
            let reason = if labels { Reason::Labels } else { Reason::OtherKind };
            report.leave_out(reason, folder, &folder.join(name), 0);
        }
        self.strange.iter().for_each(|path| report.leave_out(Reason::OtherKind, folder, path, 0));
        self.hidden.iter().for_each(|path| report.leave_out(Reason::Hidden, folder, path, 0));
    }
}

/// The files of MNIST's or CIFAR-10's format in a folder, where the names in it say that it holds such.
pub(crate) fn by_names(folder: &Path, names: &Names) -> Result<Option<Selection>> {
    let of = |belongs: fn(&str) -> bool| -> Vec<&String> { names.files.iter().filter(|name| belongs(name)).collect() };
    let (images, batches) = (of(is_idx_images), of(cifar::is_batch));
    match (images.is_empty(), batches.is_empty()) {
        (true, true) => Ok(None),
        (false, true) => idx_files(folder, names, &images).map(Some),
        (true, false) => cifar_files(folder, names, &batches).map(Some),
        (false, false) => {
            let found = format!("{} (IDX) and {} (CIFAR-10)", readable_path(images[0]), readable_path(batches[0]));
            let hint = format!("pass the file that you mean, such as --data {}", shell::path(folder.join(images[0])));
            Err(Error::bad_data(folder, "one data set in this folder", found).with_hint(hint))
        }
    }
}

/// One of each group of names for the same file: gzipped or not, spelled either way, or links to one another. The first is a plain one.
fn without_twins<'a>(folder: &Path, names: &[&'a String], report: &mut Report) -> Vec<&'a String> {
    let normal = |name: &str| {
        let lower = name.to_lowercase();
        lower.strip_suffix(".gz").unwrap_or(&lower).replace('.', "-")
    };
    let mut sorted = names.to_vec();
    sorted.sort_by_key(|name| (name.to_lowercase().ends_with(".gz"), *name));
    let (mut spelled, mut files, mut kept) = (HashSet::new(), HashSet::new(), Vec::new());
    for name in sorted {
        let path = folder.join(name);
        let is_new = fs::canonicalize(&path).map_or(true, |real| files.insert(real));
        // Both are asked: each remembers.
        if spelled.insert(normal(name)) & is_new {
            kept.push(name);
        } else {
            report.leave_out(Reason::Twin, folder, &path, 0);
        }
    }
    kept.sort();
    kept
}

fn idx_files(folder: &Path, names: &Names, images: &[&String]) -> Result<Selection> {
    let mut report = Report::default();
    let kept = without_twins(folder, images, &mut report);
    let splits: Vec<Split> = kept.iter().map(|name| Split::of(name)).collect();
    let chosen = choose(&splits).map_err(|candidates| {
        ambiguous(folder, "file of images to train on", candidates.iter().map(|&i| (folder.join(kept[i]), None)))
    })?;
    let mut selection = Selection::of(Found::Idx(folder.join(kept[chosen])));
    only_split(splits[chosen], &mut report);
    for (_, name) in kept.iter().enumerate().filter(|(index, _)| *index != chosen) {
        let path = folder.join(name);
        report.leave_out(Reason::OtherSplit, folder, &path, idx::count(&path).unwrap_or(0));
        selection.beside.push(path);
    }
    names.leave_out_others(folder, images, &mut report);
    let labels = names.files.iter().filter(|name| is_idx_name(name) && name.to_lowercase().contains("idx1"));
    selection.beside.extend(labels.map(|name| folder.join(name)));
    selection.beside.sort();
    Ok(Selection { report, ..selection })
}

fn cifar_files(folder: &Path, names: &Names, batches: &[&String]) -> Result<Selection> {
    let mut report = Report::default();
    let kept = without_twins(folder, batches, &mut report);
    let (training, test): (Vec<&String>, Vec<&String>) = kept.iter().partition(|name| cifar::is_training(name));
    let (taken, left) = if training.is_empty() { (test, Vec::new()) } else { (training, test) };
    only_split(if cifar::is_training(taken[0]) { Split::Training } else { Split::Test }, &mut report);
    let paths = |names: Vec<&String>| names.into_iter().map(|name| folder.join(name)).collect::<Vec<PathBuf>>();
    let (taken, beside) = (paths(taken), paths(left));
    for path in &beside {
        report.leave_out(Reason::OtherSplit, folder, path, cifar::count(path).unwrap_or(0));
    }
    names.leave_out_others(folder, batches, &mut report);
    Ok(Selection { found: Found::Cifar(taken), beside, report })
}

fn only_split(split: Split, report: &mut Report) {
    if matches!(split, Split::Test | Split::Validation) {
        report.only_split = Some(split.name());
    }
}

/// The error where only the user can choose; each candidate with the number of its images where that is known.
fn ambiguous(folder: &Path, what: &str, candidates: impl Iterator<Item = (PathBuf, Option<usize>)>) -> Error {
    let candidates: Vec<(PathBuf, Option<usize>)> = candidates.collect();
    let describe = |(path, images): &(PathBuf, Option<usize>)| {
        let images = images.map_or_else(String::new, |images| format!(" ({})", plural(images, "image")));
        below(folder, path) + &images
    };
    let found: Vec<String> = candidates.iter().map(describe).collect();
    let example = candidates.first().map_or(folder, |(path, _)| path);
    Error::bad_data(folder, format!("one {what}"), format!("{}: {}", found.len(), found.join(", ")))
        .with_hint(format!("pass the one that you mean, such as --data {}", shell::path(example)))
}

/// The pictures of a folder to train on.
pub(crate) fn pictures(root: &Path, listing: Listing) -> Result<Selection> {
    let Listing { pictures, own, of_runs, others, hidden } = listing;
    if own::is_run(root) {
        return Err(Error::bad_data(root, "a folder of images", "the folder of a run of vgan-cuda").with_hint(
            "pass the folder of the images that it was trained on, or a folder of samples by `vgan-cuda generate`",
        ));
    }
    let mut report = Report { own_pictures: pictures.is_empty() && !own.is_empty(), ..Report::default() };
    let (pictures, own) = if pictures.is_empty() { (own, pictures) } else { (pictures, own) };
    if pictures.is_empty() && !of_runs.is_empty() {
        let found = format!(
            "only {} of runs of vgan-cuda, like {}",
            plural(of_runs.len(), "picture"),
            below(root, &of_runs[0])
        );
        return Err(Error::bad_data(root, "PNG or JPEG images in this folder", found)
            .with_hint("pass the folder of the images"));
    }
    if pictures.is_empty() {
        return Err(folder::nothing_found(root, &others));
    }
    let mut chosen = Chosen::default();
    chosen.add(root, root, pictures, true)?;
    chosen.taken.sort();
    chosen.left.sort();
    report.only_split = chosen.only;
    report.remarks.extend(chosen.remark);
    for (reason, files) in [
        (Reason::OtherSplit, &chosen.left),
        (Reason::OwnOutput, &[own, of_runs].concat()),
        (Reason::OtherKind, &others),
        (Reason::Hidden, &hidden),
    ] {
        let images = if reason == Reason::OtherSplit { files.len() } else { 0 };
        report.leave_out_named(reason, files.len(), images, || below(root, &files[0]));
    }
    Ok(Selection { found: Found::Pictures(root.to_path_buf(), chosen.taken), beside: chosen.left, report })
}

/// Pictures by the splits that the folders above them name.
#[derive(Default)]
struct Chosen {
    taken: Vec<PathBuf>,
    left: Vec<PathBuf>,
    only: Option<&'static str>,
    remark: Option<String>,
}

impl Chosen {
    /// Adds the pictures below `base`. Where every folder there has the name of a split, one of them is taken: at the `top` of the data
    /// set always, further in (a folder for each class, with `train` and `test` in it) only where a training split is beside another.
    /// One class that happens to be called `test` among others is no split.
    fn add(&mut self, root: &Path, base: &Path, pictures: Vec<PathBuf>, top: bool) -> Result<()> {
        let (mut loose, mut folders): (Vec<PathBuf>, BTreeMap<OsString, Vec<PathBuf>>) = Default::default();
        for path in pictures {
            let mut below = path.strip_prefix(base).unwrap_or(&path).components();
            match (below.next(), below.next()) {
                (Some(first), Some(_)) => folders.entry(first.as_os_str().to_owned()).or_default().push(path),
                _ => loose.push(path),
            }
        }
        let splits: Vec<Split> = folders.keys().map(|name| Split::of(&name.to_string_lossy())).collect();
        let is_split = |split: &Split| *split != Split::Unnamed;
        let both = splits.contains(&Split::Training)
            && splits.iter().any(|split| matches!(split, Split::Test | Split::Validation));
        if !folders.is_empty() && splits.iter().all(is_split) && (top || both) {
            return self.choose(root, base, loose, folders, splits, top);
        }
        let descend = top && loose.is_empty() && folders.len() == 1;
        if top && both {
            let named = folders.keys().zip(&splits).filter(|(_, split)| is_split(split));
            let names: Vec<String> = named.map(|(name, _)| readable_path(name)).collect();
            self.remark = Some(format!(
                "the folders {} look like splits; all are read, since there are others beside them: pass one of them to read that alone",
                names.join(", ")
            ));
        }
        self.taken.extend(loose);
        for (name, pictures) in folders {
            self.add(root, &base.join(name), pictures, descend)?;
        }
        Ok(())
    }

    fn choose(
        &mut self,
        root: &Path,
        base: &Path,
        loose: Vec<PathBuf>,
        folders: BTreeMap<OsString, Vec<PathBuf>>,
        mut splits: Vec<Split>,
        top: bool,
    ) -> Result<()> {
        let mut groups: Vec<(PathBuf, Vec<PathBuf>)> =
            folders.into_iter().map(|(name, pictures)| (base.join(name), pictures)).collect();
        let folders = groups.len();
        if !loose.is_empty() {
            groups.push((base.to_path_buf(), loose));
            splits.push(Split::Unnamed);
        }
        let chosen = choose(&splits).map_err(|candidates| {
            let counted = candidates.iter().map(|&index| (groups[index].0.clone(), Some(groups[index].1.len())));
            ambiguous(root, "folder of images to train on", counted)
        })?;
        if top && matches!(splits[chosen], Split::Test | Split::Validation) {
            self.only = Some(splits[chosen].name());
        }
        for (index, (path, pictures)) in groups.into_iter().enumerate() {
            if index != chosen {
                self.left.extend(pictures);
            } else if index < folders {
                self.add(root, &path, pictures, false)?;
            } else {
                self.taken.extend(pictures);
            }
        }
        Ok(())
    }
}
