//! Named tensors from a file: safetensors of any type, an archive of `torch.save`, or NumPy's `.npz`.

use std::collections::BTreeSet;
use std::path::Path;

use super::element::Element;
pub use super::found::LeftOut;
use super::found::{Found, add};
use super::{archive, npy, pytorch, read_file};
use crate::error::{Error, Result};
use crate::run::tensors::{self, first_not_finite};
use crate::run::{Tensor, checkpoint};

/// The tensors of a file, as f32, and what else it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights {
    /// The format, for people.
    pub format: &'static str,
    /// The tensors of numbers with a fraction, in order of their names.
    pub tensors: Vec<Tensor>,
    /// Everything that is no weight, in the file's order: whole numbers such as `num_batches_tracked`, settings, text.
    pub left_out: Vec<LeftOut>,
    /// The SHA-256 of the file, as 64 hexadecimal digits in lower case.
    pub sha256: String,
}

impl Weights {
    /// Reads a file, whose content decides which format it has.
    ///
    /// # Errors
    /// [`Error::Io`] where it can't be read; else those of [`Weights::decode`].
    pub fn read(path: &Path) -> Result<Weights> {
        Weights::decode(path, &read_file(path)?)
    }

    /// Reads the bytes of a file; `path` is for the messages. Names are those of the file; a dict in a dict gives
    /// `outer.inner`. f16 and bf16 become f32 exactly, f64 is rounded.
    ///
    /// # Errors
    /// [`Error::BadData`] where the file is none of the formats, its content is not what it should be, a value is not finite
    /// (or too large for f32), or there is no tensor in it.
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Weights> {
        let found = if archive::is_zip(bytes) {
            let archive = archive::Archive::open(path, bytes)?;
            if archive.names().any(pytorch::is_pickle) { pytorch::read(archive)? } else { npy::read_npz(archive)? }
        } else if let Some(error) = pytorch::refusal(path, bytes) {
            return Err(error);
        } else {
            safetensors(path, bytes)?
        };
        Weights::checked(path, found, checkpoint::sha256(bytes))
    }

    fn checked(path: &Path, found: Found, sha256: String) -> Result<Weights> {
        let Found { format, mut tensors, left_out } = found;
        let mut seen = BTreeSet::new();
        let names = tensors.iter().map(|tensor| &tensor.name).chain(left_out.iter().map(|other| &other.name));
        for name in names {
            if name.is_empty() || name.len() > 500 || name.chars().any(char::is_control) {
                let found: String = name.chars().take(60).flat_map(char::escape_default).collect();
                return Err(Error::bad_data(path, "names of 1 to 500 bytes of plain text", format!("`{found}`")));
            }
            if !seen.insert(name) {
                return Err(Error::bad_data(path, "one value for each name", format!("the name `{name}` twice")));
            }
        }
        for tensor in &tensors {
            if let Some((index, value)) = first_not_finite(tensor) {
                let expected = format!("finite values, as f32, in tensor `{}`", tensor.name);
                return Err(Error::bad_data(path, expected, format!("{value} at index {index}")));
            }
        }
        if tensors.is_empty() {
            let found = match &left_out[..] {
                [] => "nothing".to_string(),
                [first, ..] => format!("`{}`, {}, and no weights", first.name, first.what),
            };
            return Err(Error::bad_data(path, "tensors of weights", found));
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(Weights { format, tensors, left_out, sha256 })
    }
}

fn safetensors(path: &Path, bytes: &[u8]) -> Result<Found> {
    let mut found = Found { format: "safetensors", tensors: Vec::new(), left_out: Vec::new() };
    for raw in tensors::decode_raw(path, bytes)? {
        match Element::of_safetensors(&raw.dtype) {
            Some(element) => add(&mut found, raw.name, element, raw.shape, raw.bytes),
            None => found.left_out.push(LeftOut { name: raw.name, what: raw.dtype.to_lowercase() }),
        }
    }
    Ok(found)
}
