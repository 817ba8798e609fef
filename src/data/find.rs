//! Which kind of data set a path is.

use std::fs;
use std::path::{Path, PathBuf};

use super::cifar::{self, RECORD};
use super::picture::Codec;
use super::source::{self, Source, hex};
use crate::error::{Error, Result};

/// What a data source may be, for messages.
pub(crate) const ACCEPTED: &str = "`glyphs`, an IDX file (MNIST), a CIFAR-10 binary file or archive, or a folder of those or of \
                                   PNG and JPEG images";

/// A data set that was found, not yet read.
#[derive(Debug)]
pub(crate) enum Found {
    /// One IDX file of images.
    Idx(PathBuf),
    /// CIFAR-10 binary files, sorted.
    Cifar(Vec<PathBuf>),
    /// CIFAR-10's binary files in a tar archive.
    CifarArchive(PathBuf),
    /// A folder that may hold images, at any depth.
    Folder(PathBuf),
}

/// Finds out what `path` is.
///
/// A folder is known by the names in it. A file is known by its content where that is a picture or a tar
/// archive; then by a name that ends in `.tar`, `.tgz` or `.bin`; then as IDX, by its content or its name; at last as
/// CIFAR-10, by a label at its start and the length of whole records. `.gz` at the end of a name does not count.
pub(crate) fn find(path: &Path) -> Result<Found> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::bad_data(path, ACCEPTED, "no such file or folder")
                .with_hint("check the path, or download a data set with `vgan-cuda dataset fetch mnist`"));
        }
        Err(e) => return Err(Error::io(path, "read", e)),
    };
    if metadata.is_dir() { find_in_folder(path) } else { find_in_file(path) }
}

fn find_in_folder(folder: &Path) -> Result<Found> {
    let names = list_names(folder)?;
    if let Some(name) = idx_images(&names) {
        return Ok(Found::Idx(folder.join(name)));
    }
    let batches = cifar::batches(&names);
    if !batches.is_empty() {
        return Ok(Found::Cifar(batches.into_iter().map(|name| folder.join(name)).collect()));
    }
    let inside = folder.join(cifar::FOLDER);
    if inside.is_dir() {
        return find_in_folder(&inside);
    }
    if names.iter().any(|name| name == cifar::ARCHIVE) {
        return Ok(Found::CifarArchive(folder.join(cifar::ARCHIVE)));
    }
    Ok(Found::Folder(folder.to_path_buf()))
}

/// The names of the files in a folder, sorted, without those of the folders in it: one may have been unpacked under the
/// name of a file. Names that are no Unicode can't be one of ours and are left out.
pub(crate) fn list_names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|e| Error::io(folder, "list", e))? {
        let entry = entry.map_err(|e| Error::io(folder, "list", e))?;
        if !entry.path().is_dir() {
            names.extend(entry.file_name().into_string());
        }
    }
    names.sort();
    Ok(names)
}

/// The IDX file of images to take: a training set before any other, a plain file before its gzipped twin.
fn idx_images(names: &[String]) -> Option<&String> {
    let mut images = names.iter().filter(|name| is_idx_name(name) && name.contains("idx3"));
    images.clone().find(|name| name.starts_with("train")).or_else(|| images.next())
}

/// Whether a file's name is like those of MNIST: `train-images-idx3-ubyte`, `t10k-labels.idx1-ubyte.gz`.
pub(crate) fn is_idx_name(name: &str) -> bool {
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    (plain.contains("-idx") || plain.contains(".idx")) && plain.ends_with("-ubyte")
}

fn find_in_file(path: &Path) -> Result<Found> {
    let head = Source::open(path)?.read_up_to(512)?;
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let plain_name = name.strip_suffix(".gz").unwrap_or(&name);
    if head.is_empty() {
        return Err(Error::bad_data(path, ACCEPTED, "an empty file").with_hint("fetch it again"));
    }
    if Codec::of(&head).is_some() {
        return Err(Error::bad_data(path, ACCEPTED, "a single picture").with_hint("pass the folder that it is in"));
    }
    let is_tar = head.get(257..262) == Some(b"ustar");
    if is_tar || plain_name.ends_with(".tar") || plain_name.ends_with(".tgz") {
        return Ok(Found::CifarArchive(path.to_path_buf()));
    }
    // A CIFAR file may begin with the bytes of an IDX header (label 0, black, …), so its name comes first.
    if plain_name.ends_with(".bin") {
        return Ok(Found::Cifar(vec![path.to_path_buf()]));
    }
    let has_idx_magic = head.len() >= 4 && head[..2] == [0, 0] && (0x08..=0x0e).contains(&head[2]);
    if has_idx_magic || is_idx_name(plain_name) || plain_name.ends_with(".idx") {
        return Ok(Found::Idx(path.to_path_buf()));
    }
    if head[0] <= 9 && source::plain_length(path)?.is_multiple_of(RECORD as u64) {
        return Ok(Found::Cifar(vec![path.to_path_buf()]));
    }
    Err(unknown(path, &head))
}

fn unknown(path: &Path, head: &[u8]) -> Error {
    const KNOWN: [(&[u8], &str, &str); 6] = [
        (b"PK\x03\x04", "a zip archive", "unpack it and pass the folder"),
        (b"BZh", "a bzip2 file", "unpack it first"),
        (b"\xfd7zXZ\0", "an xz file", "unpack it first"),
        (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it first"),
        (b"\x93NUMPY", "a NumPy array", "save the images as PNG files in a folder"),
        (b"\x89HDF", "an HDF5 file", "save the images as PNG files in a folder"),
    ];
    for (magic, what, advice) in KNOWN {
        if head.starts_with(magic) {
            return Error::bad_data(path, ACCEPTED, what).with_hint(advice);
        }
    }
    let start = &head[..head.len().min(8)];
    Error::bad_data(path, ACCEPTED, format!("a file that starts with the bytes {} at offset 0", hex(start))).with_hint(
        "an IDX file starts with 00 00 08 03; a CIFAR-10 file is whole records of 3073 bytes and each starts with a label 0 to 9",
    )
}
