//! NumPy's `.npy`, one array, and `.npz`, a zip archive of them (NEP 1; `numpy.lib.format`).
//!
//! A file begins with `\x93NUMPY`, the version, the header's length, and a dict such as
//! `{'descr': '<f4', 'fortran_order': False, 'shape': (64, 62), }`; the elements follow.

use std::path::Path;

use super::archive::{self, Archive};
use super::element::Element;
use super::found::{Found, add};
use super::read_file;
use crate::device::Real;
use crate::error::{Error, Result};
use crate::nn::table::permute;
use crate::run::{Tensor, checkpoint, write_file};

const MAGIC: &[u8] = b"\x93NUMPY";

/// Elements that a header describes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Header {
    element: Element,
    fortran_order: bool,
    shape: Vec<usize>,
    /// The first element's position in the file, in bytes.
    start: usize,
}

/// An array of numbers with a fraction, as f32: f16 exactly, f64 rounded.
///
/// # Errors
/// [`Error::Io`] where the file can't be read; those of [`decode`].
pub fn read(path: &Path) -> Result<Tensor> {
    decode(path, &read_file(path)?)
}

/// [`read`] of the bytes of a file; `path` is for the messages. Values that are NaN or infinite are returned as they are.
///
/// # Errors
/// [`Error::BadData`] where it is no `.npy` of f16, f32 or f64.
pub fn decode(path: &Path, bytes: &[u8]) -> Result<Tensor> {
    let (header, data) = split(path, bytes)?;
    let data = in_c_order(&header, data);
    let values = header.element.to_f32(&data).ok_or_else(|| {
        Error::bad_data(path, "an array of f32 or f64", format!("one of {}", header.element.name()))
            .with_hint("in NumPy: numpy.save(\"x.npy\", x.astype(\"float32\"))")
    })?;
    Ok(Tensor { name: String::new(), shape: header.shape, values })
}

/// The arrays of an `.npz` that are numbers with a fraction, in double precision, and the SHA-256 of the file. Values that are NaN or
/// infinite are returned as they are.
///
/// # Errors
/// [`Error::Io`] where the file can't be read; [`Error::BadData`] where it is no archive of arrays.
pub fn read_npz_f64(path: &Path) -> Result<(Vec<Tensor<f64>>, String)> {
    let bytes = read_file(path)?;
    if !archive::is_zip(&bytes) {
        return Err(Error::bad_data(path, "an .npz, a zip archive of arrays", "another file"));
    }
    let mut tensors = Vec::new();
    each_array(Archive::open(path, &bytes)?, |name, header, data| {
        let values = header.element.to_f64(&data);
        tensors.extend(values.map(|values| Tensor { name, shape: header.shape, values }));
    })?;
    Ok((tensors, checkpoint::sha256(&bytes)))
}

/// All arrays of an `.npz`.
pub(super) fn read_npz(archive: Archive<'_>) -> Result<Found> {
    let mut found = Found { format: "NumPy", tensors: Vec::new(), left_out: Vec::new() };
    each_array(archive, |name, header, data| add(&mut found, name, header.element, header.shape, &data))?;
    Ok(found)
}

/// Goes through the arrays of an `.npz`: the name of each, which is that of its file without `.npy`, its header, and its elements.
fn each_array(mut archive: Archive<'_>, mut with: impl FnMut(String, Header, Vec<u8>)) -> Result<()> {
    let mut names: Vec<String> = archive.names().map(str::to_string).collect();
    names.sort();
    let path = archive.path().to_path_buf();
    for file in names {
        let Some(name) = file.strip_suffix(".npy") else {
            let other: String = file.chars().take(100).flat_map(char::escape_default).collect();
            let expected = "an archive of torch.save (with data.pkl), or of NumPy (of .npy files alone)";
            return Err(Error::bad_data(&path, expected, format!("a zip archive with `{other}`")));
        };
        let bytes = archive.read(&file, u64::MAX)?;
        let (header, data) = split(&path, &bytes)?;
        let data = in_c_order(&header, data);
        with(name.to_string(), header, data);
    }
    Ok(())
}

/// Writes pixels `[n, h, w, c]` as an array of u8.
///
/// # Errors
/// [`Error::Io`] where the file can't be written.
pub fn write_pixels(path: &Path, shape: &[usize], pixels: &[u8]) -> Result<()> {
    write_file(path, &[&header_text("|u1", shape)[..], pixels].concat())
}

/// Writes tensors as an `.npz`, each an array of its type under its name: `numpy.load(path)["fc.0.weight"]`.
///
/// # Errors
/// [`Error::Io`] where the file can't be written.
pub fn write_npz<T: Real>(path: &Path, tensors: &[Tensor<T>]) -> Result<()> {
    let file = |tensor: &Tensor<T>| {
        let header = header_text(if size_of::<T>() == 8 { "<f8" } else { "<f4" }, &tensor.shape);
        Ok((format!("{}.npy", tensor.name), [&header[..], bytemuck::cast_slice(&tensor.values)].concat()))
    };
    write_file(path, &archive::pack(tensors.iter().map(file))?)
}

/// The beginning of a file, up to the elements, which lie at a multiple of 64 bytes.
fn header_text(descr: &str, shape: &[usize]) -> Vec<u8> {
    let sizes: String = shape.iter().map(|size| format!("{size}, ")).collect();
    // A tuple of one has its comma; one of several need not.
    let sizes = if shape.len() == 1 { sizes.trim_end() } else { sizes.trim_end().trim_end_matches(',') };
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let before = MAGIC.len() + 4;
    let padding = 63 - (before + text.len()) % 64;
    text.extend(std::iter::repeat_n(' ', padding));
    text.push('\n');
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX).to_le_bytes();
    [MAGIC, &[1, 0], &len, text.as_bytes()].concat()
}

/// The header, and the elements, exactly as many as it says.
fn split<'a>(path: &Path, bytes: &'a [u8]) -> Result<(Header, &'a [u8])> {
    let header = header(path, bytes)?;
    let data = &bytes[header.start..];
    let count = header.shape.iter().try_fold(header.element.bytes(), |count, &len| count.checked_mul(len));
    if count != Some(data.len()) {
        let expected =
            format!("the elements of an array of shape {:?} and type {}", header.shape, header.element.name());
        return Err(Error::bad_data(path, expected, format!("{} bytes", data.len())));
    }
    Ok((header, data))
}

fn header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let wrong = |expected: &str, found: String| Err(Error::bad_data(path, expected, found));
    let Some(rest) = bytes.strip_prefix(MAGIC) else {
        return wrong("a .npy file, which begins with \\x93NUMPY", format!("{} other bytes", bytes.len()));
    };
    let (text, before) = match rest {
        [1, _, a, b, rest @ ..] => (rest.get(..usize::from(u16::from_le_bytes([*a, *b]))), 10),
        [2 | 3, _, a, b, c, d, rest @ ..] => {
            let len = usize::try_from(u32::from_le_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
            (rest.get(..len), 12)
        }
        other => return wrong("version 1, 2 or 3 of .npy", format!("{:?}", other.first())),
    };
    let Some(text) = text.filter(|text| text.len() <= 1 << 16).and_then(|text| std::str::from_utf8(text).ok()) else {
        return wrong("a header in the file", "its end, or no text".into());
    };
    let shown: String = text.trim_end().chars().take(200).flat_map(char::escape_default).collect();
    let Some((descr, fortran_order, shape)) = parse(text) else {
        return wrong("{'descr': '<f4', 'fortran_order': False, 'shape': (N, …)}", shown);
    };
    // Older files call a native byte order `=`, and one byte has none.
    let descr = descr.replace('=', "<");
    match Element::of_numpy(&descr) {
        Some(element) => Ok(Header { element, fortran_order, shape, start: before + text.len() }),
        None => {
            wrong("numbers of a type such as '<f4' or '<f8' (little-endian)", format!("'{}'", descr.escape_default()))
        }
    }
}

/// `descr`, `fortran_order` and `shape` of the dict, which has these three entries and no other.
fn parse(text: &str) -> Option<(String, bool, Vec<usize>)> {
    let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    while !rest.is_empty() {
        let (key, value) = quoted(rest)?;
        let value = value.trim_start().strip_prefix(':')?.trim_start();
        let after = match key {
            "descr" if descr.is_none() => {
                let (word, after) = quoted(value)?;
                descr = Some(word.to_string());
                after
            }
            "fortran_order" if fortran_order.is_none() => {
                let truth = value.starts_with("True");
                fortran_order = Some(truth);
                value.strip_prefix(if truth { "True" } else { "False" })?
            }
            "shape" if shape.is_none() => {
                let (sizes, after) = value.strip_prefix('(')?.split_once(')')?;
                let sizes = sizes.trim().trim_end_matches(',');
                let sizes = sizes.split(',').map(str::trim).filter(|_| !sizes.is_empty());
                // Python 2 wrote long numbers as `64L`.
                let sizes =
                    sizes.map(|size| size.trim_end_matches('L').parse().ok()).collect::<Option<Vec<usize>>>()?;
                shape = Some(sizes).filter(|sizes| sizes.len() <= 32);
                after
            }
            _ => return None,
        };
        rest = after.trim_start();
        rest = rest.strip_prefix(',').or_else(|| rest.is_empty().then_some(rest))?.trim_start();
    }
    Some((descr?, fortran_order?, shape?))
}

/// A word between quotation marks, and what follows it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let mark = text.chars().next().filter(|mark| matches!(mark, '\'' | '"'))?;
    text[1..].split_once(mark)
}

/// The elements with the last dimension fastest.
fn in_c_order(header: &Header, data: &[u8]) -> Vec<u8> {
    let Header { element, fortran_order, shape, .. } = header;
    // Where nothing is there, sizes may be any, and their product in another order more than a number can be.
    if !fortran_order || shape.len() < 2 || data.is_empty() {
        return data.to_vec();
    }
    let elements: Vec<usize> = (0..data.len() / element.bytes()).collect();
    let axes: Vec<usize> = shape.iter().rev().copied().collect();
    let order: Vec<usize> = (0..shape.len()).rev().collect();
    let positions = permute(&elements, &axes, &order);
    positions.iter().flat_map(|&at| &data[at * element.bytes()..][..element.bytes()]).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.save` of `numpy.arange(6, dtype="<f4").reshape(2, 3)`, in C and in Fortran order (NumPy 2.3).
    #[test]
    fn an_array_of_numpys() {
        let header = |order: &str| {
            let text = format!("{{'descr': '<f4', 'fortran_order': {order}, 'shape': (2, 3), }}");
            [MAGIC, &[1, 0, 118, 0], format!("{text:<117}\n").as_bytes()].concat()
        };
        let values = |values: [f32; 6]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let c = [header("False"), values([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])].concat();
        let fortran = [header("True"), values([0.0, 3.0, 1.0, 4.0, 2.0, 5.0])].concat();
        for bytes in [c.clone(), fortran] {
            let array = decode(Path::new("x.npy"), &bytes).unwrap();
            assert_eq!((array.shape, array.values), (vec![2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0]));
        }
        assert_eq!(header_text("<f4", &[2, 3]), header("False"));
        assert_eq!(&c[..128], header("False"));
    }

    #[test]
    fn headers_of_every_rank() {
        for (shape, text) in [(&[][..], "()"), (&[7], "(7,)"), (&[7, 1], "(7, 1)")] {
            let header = header_text("<f8", shape);
            assert!(header.len().is_multiple_of(64));
            let text = format!("'shape': {text}, }}");
            assert!(String::from_utf8_lossy(&header[10..]).contains(&text), "{text}");
            let parsed = parse(std::str::from_utf8(&header[10..]).unwrap());
            assert_eq!(parsed, Some(("<f8".into(), false, shape.to_vec())));
        }
    }
}
