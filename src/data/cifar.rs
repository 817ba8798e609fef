//! CIFAR-10's binary version: records of a label byte and three planes (red, green, blue) of 32×32 bytes.
//! Source: the description on the CIFAR-10 page (Krizhevsky 2009).

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::foreign;
use super::gzip::Junk;
use super::images::{Images, MAX_BYTES, allocate, and_more};
use super::labels::Labels;
use super::report::{Reason, Report};
use super::source::{self, Source, printable, read_up_to};
use crate::error::{Error, Result, readable_path};
use crate::units::plural;

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

/// Returns true for the name of a batch file: `data_batch_1.bin`, `test_batch.bin.gz`.
pub(crate) fn is_batch(name: &str) -> bool {
    let lower = name.to_lowercase();
    let plain = lower.strip_suffix(".gz").unwrap_or(&lower);
    plain.ends_with(".bin") && (plain.starts_with("data_batch") || plain.starts_with("test_batch"))
}

/// Returns true if a batch belongs to the training split.
pub(crate) fn is_training(name: &str) -> bool {
    name.to_lowercase().starts_with("data_batch")
}

/// Reads binary files, plain or gzipped, one after the other.
///
/// # Errors
/// [`Error::BadData`] for a file that is empty, does not hold whole records or has a label above 9.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Images> {
    let first = paths.first().map(PathBuf::as_path).unwrap_or(Path::new(""));
    let (mut contents, mut bad) = (Vec::with_capacity(paths.len()), Vec::new());
    for path in paths {
        match read(path) {
            Ok(bytes) => contents.push(bytes),
            Err(error) => bad.push(error),
        }
    }
    let more = bad.len().saturating_sub(1);
    if let Some(error) = bad.into_iter().next() {
        return Err(and_more(error, first.parent().unwrap_or(first), more, ""));
    }
    let from = match paths {
        [only] => readable_path(only.file_name().unwrap_or_default()),
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

/// Number of records in a file. It is unzipped to its end for that, since nothing at its start says it.
pub(crate) fn count(path: &Path) -> Result<usize> {
    let mut source = Source::open(path)?;
    let bytes = io::copy(source.stream(), &mut io::sink()).map_err(|e| source.error(e))?;
    Ok(bytes as usize / RECORD)
}

/// A file of an archive: its name without folders, and its content.
type Member = (String, Vec<u8>);

/// Reads the training batches of the official archive (or, where it has none, the test batch), and notes in `report` what else it holds.
///
/// # Errors
/// [`Error::BadData`] for a damaged archive, for one without CIFAR-10's files, and as [`load`] does.
pub(crate) fn load_archive(path: &Path, report: &mut Report) -> Result<Images> {
    let Archive { taken, .. } = open_archive(path, report)?;
    let bad: Vec<Error> = taken.iter().filter_map(|(name, bytes)| check_records(path, name, bytes).err()).collect();
    let more = bad.len().saturating_sub(1);
    if let Some(first) = bad.into_iter().next() {
        return Err(and_more(first, path, more, ""));
    }
    let contents: Vec<Vec<u8>> = taken.into_iter().map(|(_, bytes)| bytes).collect();
    to_images(path, &contents, &readable_path(path.file_name().unwrap_or_default()))
}

/// The batches of an archive, sorted by name.
pub(crate) struct Archive {
    /// Those to train on.
    pub(crate) taken: Vec<Member>,
    /// Those of the other split.
    pub(crate) left: Vec<Member>,
}

/// Unpacks an archive, and notes in `report` what is not trained on.
///
/// # Errors
/// [`Error::BadData`] for a damaged archive and for one without CIFAR-10's files.
pub(crate) fn open_archive(path: &Path, report: &mut Report) -> Result<Archive> {
    let (mut files, others) = unpack(path)?;
    files.sort();
    let (training, test): (Vec<Member>, Vec<Member>) = files.into_iter().partition(|(name, _)| is_training(name));
    let (taken, left) = if training.is_empty() { (test, Vec::new()) } else { (training, test) };
    if !taken.first().is_some_and(|(name, _)| is_training(name)) {
        report.only_split = Some("test");
    }
    for (name, bytes) in &left {
        report.leave_out_named(Reason::OtherSplit, 1, bytes.len() / RECORD, || name.clone());
    }
    report.leave_out_named(Reason::OtherKind, others.len(), 0, || others[0].clone());
    Ok(Archive { taken, left })
}

/// Checks one member: how many images it holds.
pub(crate) fn check_member(path: &Path, (name, bytes): &Member) -> Result<usize> {
    check_records(path, name, bytes).map(|()| bytes.len() / RECORD)
}

/// The CIFAR-10 files of an archive, and the paths of the other files in it.
fn unpack(path: &Path) -> Result<(Vec<Member>, Vec<String>)> {
    let broken = |error: io::Error| {
        if Junk::of(&error).is_some() {
            return source::read_error(path, true, error);
        }
        Error::bad_data(path, "a whole tar archive", format!("a damaged one ({})", printable(error)))
            .with_hint("the file was cut off or damaged in transfer: download it again")
    };
    let mut source = Source::open(path)?;
    let mut archive = tar::Archive::new(source.stream());
    let (mut files, mut others): (Vec<Member>, Vec<String>) = (Vec::new(), Vec::new());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        require_extensions(&mut entry).map_err(broken)?;
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let inner = entry.path().map_err(broken)?.into_owned();
        let name = printable(inner.file_name().unwrap_or_default().to_string_lossy());
        let size = entry.size();
        if !is_batch(&name) || !entry.header().entry_type().is_file() {
            others.push(printable(inner.display()));
            continue;
        }
        if files.iter().any(|(known, _)| *known == name) {
            let found = format!("{name} twice");
            return Err(Error::bad_data(path, "an archive with each batch once", found));
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
    io::copy(source.stream(), &mut io::sink()).map_err(broken)?;
    if files.is_empty() {
        let expected = format!("an archive with {FOLDER}/data_batch_1.bin and so on");
        if let Some((what, advice)) = foreign::archive(&others) {
            return Err(Error::bad_data(path, expected, format!("one with {what}, the first file {}", others[0]))
                .with_hint(advice));
        }
        let found = match others.first() {
            Some(first) => format!("other things, the first of {} is {first}", others.len()),
            None => "nothing".to_string(),
        };
        return Err(Error::bad_data(path, expected, found)
            .with_hint(format!("only the binary version of CIFAR-10 is read: {ARCHIVE}")));
    }
    Ok((files, others))
}

/// Refuses records of a POSIX header that are none: the reader of archives passes over them, and over the size or name that they would have
/// said.
fn require_extensions<R: Read>(entry: &mut tar::Entry<'_, R>) -> io::Result<()> {
    for record in entry.pax_extensions()?.into_iter().flatten() {
        let record = record?;
        let is_number = record.value().is_ok_and(|value| value.parse::<u64>().is_ok());
        if record.key_bytes() == b"size" && !is_number {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a size that is no number"));
        }
    }
    Ok(())
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
            "this looks like CIFAR-100, which has two label bytes a record: of the two CIFAR-10 alone is read (save the images \
             as PNG files in a folder, and pass that)"
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
pub(crate) fn to_images(path: &Path, contents: &[Vec<u8>], from: &str) -> Result<Images> {
    let count: usize = contents.iter().map(|bytes| bytes.len() / RECORD).sum();
    let mut pixels = allocate(path, count, [SIDE, SIDE, 3])?;
    let records = || contents.iter().flat_map(|bytes| bytes.chunks_exact(RECORD));
    for (image, record) in pixels.chunks_exact_mut(3 * PLANE).zip(records()) {
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
        labels: Some(Labels::of_cifar(records().map(|record| record[0]))),
        description: format!("{count} images of 32×32×3 from {from} (CIFAR-10)"),
        ..Images::default()
    })
}
