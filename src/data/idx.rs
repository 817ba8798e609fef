//! The IDX format of MNIST: magic `00 00 type dimensions`, each dimension as a big-endian u32, then the elements.
//! Source: the description on MNIST's page (LeCun, Cortes & Burges).

use std::path::{Path, PathBuf};

use super::decoded::MAX_SIDE;
use super::images::{Images, MAX_BYTES};
use super::labels::Labels;
use super::source::{Source, hex};
use crate::error::{Error, Result, readable_path};

/// Reads an IDX file of unsigned bytes with 3 dimensions: images, rows, columns.
///
/// # Errors
/// [`Error::BadData`] with the offset of the first field that is wrong, or the number of bytes that are missing or
/// too many.
pub(crate) fn load(path: &Path) -> Result<Images> {
    let mut source = Source::open(path)?;
    let [count, height, width] = read_header::<3>(path, &mut source)?;
    for (offset, name, value) in [(8, "rows", height), (12, "columns", width)] {
        if value > MAX_SIDE as u64 {
            return Err(Error::bad_data(
                path,
                format!("at most {MAX_SIDE} {name} at offset {offset}"),
                value.to_string(),
            ));
        }
    }
    let what = format!("{count} images of {height}×{width}");
    let pixels = read_elements(path, &mut source, &[count, height, width], &what)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Images {
        count: count as usize,
        height: height as usize,
        width: width as usize,
        channels: 1,
        pixels,
        description: format!("{what} from {} (IDX)", readable_path(name.as_ref())),
        ..Images::default()
    })
}

/// Number of images in a file, by its header.
pub(crate) fn count(path: &Path) -> Result<usize> {
    read_header::<3>(path, &mut Source::open(path)?).map(|[count, ..]| count as usize)
}

/// Reads an IDX file of labels: unsigned bytes with 1 dimension.
pub(crate) fn labels(path: &Path) -> Result<Vec<u8>> {
    let mut source = Source::open(path)?;
    let [count] = read_header::<1>(path, &mut source)?;
    read_elements(path, &mut source, &[count], &format!("{count} labels"))
}

/// The labels of an IDX file of `count` images: those of the file of labels beside it, whose name is that of the images with `labels` for
/// `images` and `idx1` for `idx3`. `None` where there is no such file.
///
/// # Errors
/// What is wrong with that file, for people: the images can be used without it.
pub(crate) fn labels_beside(images: &Path, count: usize) -> std::result::Result<Option<Labels>, String> {
    let Some(path) = file_of_labels(images) else { return Ok(None) };
    let without = |problem: String| format!("read without labels: {problem}");
    let classes = labels(&path).map_err(|error| without(error.to_string()))?;
    if classes.len() != count {
        return Err(without(format!("{} has {} labels for {count} images", readable_path(&path), classes.len())));
    }
    Ok(Some(Labels::numbered(classes)))
}

/// The file of labels beside a file of images: plain or gzipped, spelled with a hyphen or a dot.
fn file_of_labels(images: &Path) -> Option<PathBuf> {
    let name = images.file_name()?.to_str()?;
    let plain = name.strip_suffix(".gz").unwrap_or(name);
    if !plain.contains("images") || !plain.contains("idx3") {
        return None;
    }
    let labels = plain.replace("images", "labels").replace("idx3", "idx1");
    let spelled = [labels.clone(), labels.replace("-idx1", ".idx1"), labels.replace(".idx1", "-idx1")];
    let zipped = spelled.iter().map(|name| format!("{name}.gz"));
    let mut all = spelled.iter().cloned().chain(zipped).map(|name| images.with_file_name(name));
    all.find(|path| path.is_file())
}

/// Reads magic and dimensions; no dimension is 0.
fn read_header<const DIMENSIONS: usize>(path: &Path, source: &mut Source) -> Result<[u64; DIMENSIONS]> {
    let length = 4 + 4 * DIMENSIONS;
    let header = source.read_up_to(length as u64)?;
    check_magic(path, &header, DIMENSIONS)?;
    if header.len() < length {
        return Err(Error::bad_data(
            path,
            format!("an IDX header of {length} bytes"),
            format!("a file that ends after {}", header.len()),
        )
        .with_hint("the file was cut off: download it again"));
    }
    let mut sizes = [0; DIMENSIONS];
    for (index, size) in sizes.iter_mut().enumerate() {
        let offset = 4 + 4 * index;
        let field = &header[offset..offset + 4];
        *size = field.iter().fold(0, |value, &byte| value << 8 | u64::from(byte));
        if *size == 0 {
            let name = ["count", "rows", "columns"][index];
            return Err(Error::bad_data(path, format!("at least 1 as {name} at offset {offset}"), "0"));
        }
    }
    Ok(sizes)
}

fn check_magic(path: &Path, header: &[u8], dimensions: usize) -> Result<()> {
    let magic = [0, 0, 8, dimensions as u8];
    let Some(found) = header.get(..4) else {
        let found = if header.is_empty() { "an empty file".into() } else { format!("only {} bytes", header.len()) };
        return Err(Error::bad_data(path, format!("the IDX magic {} at offset 0", hex(&magic)), found)
            .with_hint("the file was cut off: download it again"));
    };
    if found[..2] != [0, 0] {
        return Err(Error::bad_data(
            path,
            format!("the bytes 00 00 (IDX magic {}) at offset 0", hex(&magic)),
            hex(&found[..2]),
        ));
    }
    if found[2] != 8 {
        let name = match found[2] {
            0x09 => " (signed bytes)",
            0x0b => " (16-bit integers)",
            0x0c => " (32-bit integers)",
            0x0d => " (32-bit floats)",
            0x0e => " (64-bit floats)",
            _ => " (no IDX type)",
        };
        return Err(Error::bad_data(
            path,
            "element type 08 (unsigned bytes) at offset 2",
            format!("{:02x}{name}", found[2]),
        ));
    }
    if usize::from(found[3]) != dimensions {
        let error =
            Error::bad_data(path, format!("{dimensions} as number of dimensions at offset 3"), found[3].to_string());
        return Err(match found[3] {
            1 => error.with_hint("this is a file of labels: pass the file of images, like train-images-idx3-ubyte.gz"),
            _ => error.with_hint("images have 3 dimensions (count, rows, columns), labels 1"),
        });
    }
    Ok(())
}

/// Reads the elements after a header with these `sizes`, and makes sure that the file ends there.
fn read_elements(path: &Path, source: &mut Source, sizes: &[u64], what: &str) -> Result<Vec<u8>> {
    let header = 4 + 4 * sizes.len() as u64;
    let total = sizes.iter().try_fold(1u64, |product, &size| product.checked_mul(size));
    let Some(total) = total.filter(|&total| total <= MAX_BYTES) else {
        return Err(Error::bad_data(path, format!("sizes for at most {MAX_BYTES} bytes at offset 4"), what));
    };
    let elements = source.read_up_to(total)?;
    if (elements.len() as u64) < total {
        return Err(Error::bad_data(
            path,
            format!("{total} bytes after the header ({what})"),
            format!("{} bytes, the file ends at offset {}", elements.len(), header + elements.len() as u64),
        )
        .with_hint("the file was cut off: download it again"));
    }
    if !source.read_up_to(1)?.is_empty() {
        return Err(Error::bad_data(
            path,
            format!("the end of the file at offset {} ({what})", header + total),
            "more bytes",
        )
        .with_hint("the header's sizes do not fit the file"));
    }
    Ok(elements)
}

/// Returns true for names like those of MNIST: `train-images-idx3-ubyte`, `t10k-labels.idx1-ubyte.gz`.
pub(crate) fn is_idx_name(name: &str) -> bool {
    let lower = name.to_lowercase();
    let plain = lower.strip_suffix(".gz").unwrap_or(&lower);
    !name.starts_with('.') && (plain.contains("-idx") || plain.contains(".idx")) && plain.ends_with("-ubyte")
}

/// Returns true if that name says that the file holds images.
pub(crate) fn is_idx_images(name: &str) -> bool {
    is_idx_name(name) && name.to_lowercase().contains("idx3")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Anything else beside a file of images is no file of its labels, whatever its name is.
    #[test]
    fn labels_are_beside_files_that_are_named_as_images() {
        let folder = tempfile::tempdir().expect("a folder");
        let beside = |images: &str, labels: &str| {
            let path = folder.path().join(labels);
            std::fs::write(&path, "").expect("a file");
            let found = file_of_labels(&folder.path().join(images));
            std::fs::remove_file(&path).expect("the file");
            found == Some(path)
        };
        assert!(beside("train-images-idx3-ubyte", "train-labels-idx1-ubyte"));
        assert!(beside("train-images-idx3-ubyte.gz", "train-labels.idx1-ubyte"));
        assert!(beside("train-images.idx3-ubyte", "train-labels-idx1-ubyte.gz"));
        assert!(!beside("train-images", "train-labels") && !beside("digits-idx3-ubyte", "digits-idx1-ubyte"));
        assert!(!beside("train-images-idx3-ubyte", "test-labels-idx1-ubyte"));
    }
}
