//! Finds the kind of data set at a path, and the files to read. `train` and `dataset check` both ask here, so that they can't
//! disagree.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::cifar::{self, RECORD};
use super::decoded::Codec;
use super::folder::{self, Listing};
use super::idx::{self, is_idx_images, is_idx_name};
use super::report::{Reason, below};
use super::select::{self, Found, Names, Selection};
use super::source::{self, Source, hex};
use super::split::Split;
use super::{foreign, format};
use crate::error::{Error, Result};
use crate::shell;

/// Kinds of data sources, for messages.
pub(crate) const ACCEPTED: &str = "`glyphs`, an IDX file (MNIST), a CIFAR-10 binary file or archive, or a folder of those or of \
                                   PNG and JPEG images";

/// Depth of folders to which the files of MNIST or CIFAR-10 are looked for.
const DEPTH: usize = 3;

/// Finds out what `path` is.
///
/// A folder is known by the names in it; where they say nothing and there are no pictures in it, the one folder in it whose names say
/// something is entered. A file is known by its content where that is a picture or a tar archive; then by a name that ends in `.tar`,
/// `.tgz` or `.bin`; then as IDX, by its content or its name; at last as CIFAR-10, by a label at its start and the length of whole
/// records. `.gz` at the end of a name does not count.
pub(crate) fn find(path: &Path) -> Result<Selection> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::bad_data(path, ACCEPTED, "no such file or folder")
                .with_hint("check the path, or download a data set with `vgan-cuda dataset fetch mnist`"));
        }
        Err(e) => return Err(Error::io(path, "read", e)),
    };
    if metadata.is_dir() { find_in_folder(path) } else { find_in_file(path).map(Selection::of) }
}

fn find_in_folder(folder: &Path) -> Result<Selection> {
    let names = Names::of(folder)?;
    if let Some(selection) = select::by_names(folder, &names)? {
        return Ok(selection);
    }
    let inside = folder.join(cifar::FOLDER);
    if inside.is_dir() {
        return enter(folder, &inside);
    }
    if names.files.iter().any(|name| name == cifar::ARCHIVE) {
        let mut selection = Selection::of(Found::CifarArchive(folder.join(cifar::ARCHIVE)));
        names.leave_out_others(folder, &[], &mut selection.report);
        return Ok(selection);
    }
    let listing = folder::list(folder)?;
    let Layouts { readable, foreign } = Layouts::among(folder, &listing);
    match &readable[..] {
        [] => select::pictures(folder, listing),
        [only] if foreign.is_empty() && listing.pictures.is_empty() => enter(folder, &only.path),
        _ => match training_folder(&readable) {
            Some(chosen) if foreign.is_empty() && listing.pictures.is_empty() => {
                let mut selection = enter(folder, &chosen.path)?;
                for other in readable.iter().filter(|other| other.path != chosen.path) {
                    for file in other.idx_images() {
                        let images = idx::count(file).unwrap_or(0);
                        selection.report.leave_out(Reason::OtherSplit, folder, file, images);
                        selection.beside.push(file.clone());
                    }
                }
                Ok(selection)
            }
            _ => Err(several(folder, &listing, &readable, &foreign)),
        },
    }
}

/// Goes on in a folder inside `folder`, and remembers that.
fn enter(folder: &Path, inside: &Path) -> Result<Selection> {
    let mut selection = find_in_folder(inside)?;
    let deeper = selection.report.folder.take().unwrap_or_default();
    let below = inside.strip_prefix(folder).unwrap_or(inside);
    selection.report.folder = Some(if deeper.as_os_str().is_empty() { below.into() } else { below.join(deeper) });
    Ok(selection)
}

/// A folder inside the given one that has the layout of a data set.
struct Layout {
    path: PathBuf,
    /// The files in it.
    files: Vec<PathBuf>,
}

impl Layout {
    fn idx_images(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.iter().filter(|file| is_idx_images(&name_of(file)))
    }

    /// The best split of its IDX files; none for other files.
    fn split(&self) -> Option<Split> {
        self.idx_images().map(|file| Split::of(&name_of(file))).min()
    }
}

struct Layouts {
    readable: Vec<Layout>,
    /// Recognises a known data set in a format that is not read.
    foreign: Vec<(PathBuf, &'static str)>,
}

impl Layouts {
    fn among(root: &Path, listing: &Listing) -> Layouts {
        let mut folders: BTreeMap<&Path, Vec<PathBuf>> = BTreeMap::new();
        for file in &listing.others {
            let Some(folder) = file.parent() else { continue };
            if folder.strip_prefix(root).is_ok_and(|below| below.components().count() <= DEPTH) {
                folders.entry(folder).or_default().push(file.clone());
            }
        }
        let mut layouts = Layouts { readable: Vec::new(), foreign: Vec::new() };
        for (folder, files) in folders {
            // What lies in the folder of a data set belongs to it.
            if layouts.readable.iter().any(|layout| folder.starts_with(&layout.path)) {
                continue;
            }
            let is_read = |file: &PathBuf| {
                let name = name_of(file);
                is_idx_images(&name) || cifar::is_batch(&name) || name == cifar::ARCHIVE
            };
            if files.iter().any(is_read) {
                layouts.readable.push(Layout { path: folder.to_path_buf(), files });
            } else if let Some(what) = foreign::folder(&files) {
                layouts.foreign.push((folder.to_path_buf(), what));
            }
        }
        layouts
    }
}

/// Of folders with IDX files of one split each, the only one that is not for tests.
fn training_folder(layouts: &[Layout]) -> Option<&Layout> {
    let splits: Vec<Split> = layouts.iter().filter_map(Layout::split).collect();
    let is_other = |split: &Split| matches!(split, Split::Validation | Split::Test);
    let others = splits.iter().filter(|split| is_other(split)).count();
    if splits.len() != layouts.len() || others + 1 != layouts.len() {
        return None;
    }
    layouts.iter().zip(&splits).find(|(_, split)| !is_other(split)).map(|(layout, _)| layout)
}

/// The error for a folder with several data sets.
fn several(root: &Path, listing: &Listing, readable: &[Layout], foreign: &[(PathBuf, &'static str)]) -> Error {
    let mut found: Vec<String> = Vec::new();
    for layout in readable {
        let kind = if layout.idx_images().next().is_some() { "IDX" } else { "CIFAR-10" };
        found.push(format!("{} ({kind})", below(root, &layout.path)));
    }
    found.extend(foreign.iter().map(|(path, what)| match below(root, path) {
        here if here.is_empty() => format!("{what}, which is not read"),
        below => format!("{below} ({what}, which is not read)"),
    }));
    if let Some(first) = listing.pictures.first() {
        found.push(format!(
            "{} (like {})",
            crate::units::plural(listing.pictures.len(), "picture"),
            below(root, first)
        ));
    }
    let example = readable.first().map_or(root, |layout| &layout.path);
    Error::bad_data(root, "one data set in this folder", format!("{}: {}", found.len(), found.join(", ")))
        .with_hint(format!("pass the one that you mean, such as --data {}", shell::path(example)))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn find_in_file(path: &Path) -> Result<Found> {
    let head = Source::open(path)?.read_up_to(512)?;
    let name = name_of(path).to_lowercase();
    let plain_name = name.strip_suffix(".gz").unwrap_or(&name);
    if head.is_empty() {
        return Err(Error::bad_data(path, ACCEPTED, "an empty file").with_hint("fetch it again"));
    }
    if Codec::of(&head).is_some() || format::claims(path) {
        return Err(a_picture(path));
    }
    let is_tar = head.get(257..262) == Some(b"ustar");
    if is_tar || plain_name.ends_with(".tar") || plain_name.ends_with(".tgz") {
        return Ok(Found::CifarArchive(path.to_path_buf()));
    }
    // A CIFAR file may begin with the bytes of an IDX header (label 0, black, …), so its name comes first.
    if plain_name.ends_with(".bin") {
        if let Some((what, advice)) = foreign::by_name(path) {
            return Err(Error::bad_data(path, ACCEPTED, what).with_hint(advice));
        }
        return Ok(Found::Cifar(vec![path.to_path_buf()]));
    }
    let has_idx_magic = head.len() >= 4 && head[..2] == [0, 0] && (0x08..=0x0e).contains(&head[2]);
    if has_idx_magic || is_idx_name(plain_name) || plain_name.ends_with(".idx") {
        return Ok(Found::Idx(path.to_path_buf()));
    }
    if head[0] <= 9 && source::plain_length(path)?.is_multiple_of(RECORD as u64) {
        return Ok(Found::Cifar(vec![path.to_path_buf()]));
    }
    if format::is_picture(&head) {
        return Err(a_picture(path));
    }
    if let Some((what, advice)) = foreign::by_content(path, &head) {
        return Err(Error::bad_data(path, ACCEPTED, what).with_hint(advice));
    }
    let start = &head[..head.len().min(8)];
    let found = format!("a file that starts with the bytes {} at offset 0", hex(start));
    Err(Error::bad_data(path, ACCEPTED, found).with_hint(
        "an IDX file starts with 00 00 08 03; a CIFAR-10 file is whole records of 3073 bytes and each starts with a label 0 to 9",
    ))
}

fn a_picture(path: &Path) -> Error {
    Error::bad_data(path, ACCEPTED, "a single picture").with_hint("pass the folder that it is in")
}
