//! CIFAR-10's binary version: records of a label byte and three planes (red, green, blue) of 32×32 bytes.
//! Source: the description on the CIFAR-10 page (Krizhevsky 2009).

use std::path::{Path, PathBuf};

use super::gzip::Junk;
use super::source::{self, Source, printable, read_up_to};
use super::{Images, MAX_BYTES, allocate, plural};
use crate::error::{Error, Result};

/// Bytes of a record: label, then the planes.
pub(crate) const RECORD: usize = 1 + 3 * PLANE;
/// The folder inside the official archive.
pub(crate) const FOLDER: &str = "cifar-10-batches-bin";
/// The official archive.
pub(crate) const ARCHIVE: &str = "cifar-10-binary.tar.gz";

const SIDE: usize = 32;
const PLANE: usize = SIDE * SIDE;
/// The highest label.
const LAST_LABEL: u8 = 9;

/// The training batches among the names of a folder; the test batch where there are none. A plain file goes before
/// its gzipped twin.
pub(crate) fn batches(names: &[String]) -> Vec<String> {
    let with_prefix = |prefix: &str| -> Vec<String> {
        let twin_is_there = |name: &str| name.strip_suffix(".gz").is_some_and(|plain| names.iter().any(|n| n == plain));
        let mut found: Vec<String> = names
            .iter()
            .filter(|name| name.starts_with(prefix) && (name.ends_with(".bin") || name.ends_with(".bin.gz")))
            .filter(|name| !twin_is_there(name))
            .cloned()
            .collect();
        found.sort();
        found
    };
    let training = with_prefix("data_batch");
    if training.is_empty() { with_prefix("test_batch") } else { training }
}

/// Reads binary files, plain or gzipped, one after the other.
///
/// # Errors
/// [`Error::BadData`] for a file that is empty, does not hold whole records or has a label above 9.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Images> {
    let mut contents = Vec::with_capacity(paths.len());
    for path in paths {
        contents.push(read(path)?);
    }
    let first = paths.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
    let from = match paths {
        [only] => only.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        _ => plural(paths.len(), "file"),
    };
    to_images(first, &contents, &from)
}

/// Reads and checks one file.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let bytes = Source::open(path)?.read_up_to(MAX_BYTES)?;
    check_records(path, "", &bytes)?;
    Ok(bytes)
}

/// Reads the training batches of the official archive (or, where it has none, the test batch).
///
/// # Errors
/// [`Error::BadData`] for a damaged archive, for one without CIFAR-10's files, and as [`load`] does.
pub(crate) fn load_archive(path: &Path) -> Result<Images> {
    let (files, _) = unpack(path)?;
    let names: Vec<String> = files.iter().map(|(name, _)| name.clone()).collect();
    let wanted = batches(&names);
    let mut contents: Vec<(String, Vec<u8>)> = files.into_iter().filter(|(name, _)| wanted.contains(name)).collect();
    contents.sort();
    for (name, bytes) in &contents {
        check_records(path, name, bytes)?;
    }
    let contents: Vec<Vec<u8>> = contents.into_iter().map(|(_, bytes)| bytes).collect();
    to_images(path, &contents, &path.file_name().unwrap_or_default().to_string_lossy())
}

/// Checks each CIFAR-10 file of an archive, training and test batches, in the order of their names: how many images it
/// holds. With the number of other files in the archive.
///
/// # Errors
/// [`Error::BadData`] for a damaged archive and for one without CIFAR-10's files.
pub(crate) fn check_archive(path: &Path) -> Result<(Vec<Result<usize>>, usize)> {
    let (mut files, others) = unpack(path)?;
    files.sort();
    let check = |(name, bytes): &(String, Vec<u8>)| check_records(path, name, bytes).map(|()| bytes.len() / RECORD);
    Ok((files.iter().map(check).collect(), others))
}

/// The CIFAR-10 files of an archive, name without folders and content, and how many other files it holds.
fn unpack(path: &Path) -> Result<(Vec<(String, Vec<u8>)>, usize)> {
    let broken = |error: std::io::Error| {
        if Junk::of(&error).is_some() {
            return source::read_error(path, true, error);
        }
        Error::bad_data(path, "a whole tar archive", format!("a damaged one ({})", printable(error)))
            .with_hint("the file was cut off or damaged on its way here: fetch it again")
    };
    let mut source = Source::open(path)?;
    let mut archive = tar::Archive::new(source.stream());
    let (mut files, mut others) = (Vec::new(), Vec::new());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let inner = entry.path().map_err(broken)?.into_owned();
        let name = printable(inner.file_name().unwrap_or_default().to_string_lossy());
        let size = entry.size();
        if batches(std::slice::from_ref(&name)).is_empty() || !entry.header().entry_type().is_file() {
            others.push(printable(inner.display()));
            continue;
        }
        let bytes = read_up_to(&mut entry, size.min(MAX_BYTES)).map_err(broken)?;
        if bytes.len() as u64 != size {
            return Err(Error::bad_data(
                path,
                format!("{size} bytes of {}", printable(inner.display())),
                format!("{}, then the archive ends", bytes.len()),
            ));
        }
        files.push((name, bytes));
    }
    // The tar reader stops at the end mark; only the rest of the gzip stream tells whether the checksum is right.
    std::io::copy(source.stream(), &mut std::io::sink()).map_err(broken)?;
    if files.is_empty() {
        let found = match others.first() {
            Some(first) => format!("other things, the first of {} is {first}", others.len()),
            None => "nothing".to_string(),
        };
        return Err(Error::bad_data(path, format!("an archive with {FOLDER}/data_batch_1.bin and so on"), found)
            .with_hint(format!("only the binary version of CIFAR-10 is read: {ARCHIVE}")));
    }
    Ok((files, others.len()))
}

/// Makes sure that `bytes` are whole records; `entry` is the name inside an archive, or empty.
fn check_records(path: &Path, entry: &str, bytes: &[u8]) -> Result<()> {
    let inside = if entry.is_empty() { String::new() } else { format!(" in {entry}") };
    if bytes.is_empty() {
        return Err(Error::bad_data(path, format!("records of {RECORD} bytes{inside}"), "an empty file"));
    }
    let rest = bytes.len() % RECORD;
    if rest != 0 {
        let hint = if bytes.len().is_multiple_of(RECORD + 1) {
            "this looks like CIFAR-100, which has two label bytes a record: only CIFAR-10 is read"
        } else {
            "the file was cut off, or is no CIFAR-10 binary file"
        };
        return Err(Error::bad_data(
            path,
            format!("a multiple of {RECORD} bytes{inside}"),
            format!("{} bytes, {rest} after the last whole record", bytes.len()),
        )
        .with_hint(hint));
    }
    for (number, record) in bytes.chunks_exact(RECORD).enumerate() {
        if record[0] > LAST_LABEL {
            let offset = number * RECORD;
            return Err(Error::bad_data(
                path,
                format!("a label from 0 to {LAST_LABEL} at offset {offset} (record {number}){inside}"),
                record[0].to_string(),
            )
            .with_hint("the file is damaged, or is no CIFAR-10 binary file"));
        }
    }
    Ok(())
}

/// Planes to `[count, 32, 32, 3]`; the records were checked.
fn to_images(path: &Path, contents: &[Vec<u8>], from: &str) -> Result<Images> {
    let count: usize = contents.iter().map(|bytes| bytes.len() / RECORD).sum();
    let mut pixels = allocate(path, count, [SIDE, SIDE, 3])?;
    let records = contents.iter().flat_map(|bytes| bytes.chunks_exact(RECORD));
    for (image, record) in pixels.chunks_exact_mut(3 * PLANE).zip(records) {
        let (red, rest) = record[1..].split_at(PLANE);
        let (green, blue) = rest.split_at(PLANE);
        for (index, pixel) in image.chunks_exact_mut(3).enumerate() {
            pixel.copy_from_slice(&[red[index], green[index], blue[index]]);
        }
    }
    Ok(Images {
        count,
        height: SIDE,
        width: SIDE,
        channels: 3,
        pixels,
        description: format!("{count} images of 32×32×3 from {from} (CIFAR-10)"),
    })
}
