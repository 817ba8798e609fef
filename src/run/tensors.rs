//! Named tensors in safetensors files (f32 in checkpoints), written in one canonical order and read with every check
//! there is.
//!
//! Writing is left to crate `safetensors`. Reading is stricter than it: the crate takes duplicate names and NaN, and
//! its errors don't always name the tensor.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use safetensors::{Dtype, SafeTensors, View};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

use super::atomic;
use crate::device::Real;
use crate::error::{Error, Result};

/// Safetensors stores little-endian numbers, and [`Tensor`]'s memory is written as it is.
#[cfg(target_endian = "big")]
compile_error!("run::tensors needs a little-endian machine");

/// The length prefix of a safetensors file, in bytes.
const PREFIX: usize = 8;

/// A named tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor<T = f32> {
    /// The name, as PyTorch's `state_dict` would have it.
    pub name: String,
    /// The length of each dimension; empty for a scalar.
    pub shape: Vec<usize>,
    /// The values, row-major; as many as the product of `shape`.
    pub values: Vec<T>,
}

impl<T: Real> View for &Tensor<T> {
    fn dtype(&self) -> Dtype {
        if size_of::<T>() == size_of::<f64>() { Dtype::F64 } else { Dtype::F32 }
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(bytemuck::cast_slice(&self.values))
    }

    fn data_len(&self) -> usize {
        self.values.len() * size_of::<T>()
    }
}

/// The bytes of a safetensors file with these tensors, in order of their names: the same tensors, the same bytes.
///
/// # Errors
/// [`Error::Internal`] where two tensors share a name, or a shape and its values disagree.
pub fn encode<T: Real>(tensors: &[Tensor<T>]) -> Result<Vec<u8>> {
    let mut seen = BTreeMap::new();
    for tensor in tensors {
        let Tensor { name, shape, values } = tensor;
        if element_count(shape.iter().map(|&d| d as u64)) != Some(values.len() as u64) {
            return Err(Error::Internal(format!("tensor {name} of shape {shape:?} has {} values", values.len())));
        }
        if name.is_empty() || name == "__metadata__" || seen.insert(name, ()).is_some() {
            return Err(Error::Internal(format!("the tensor name {name:?} is empty, reserved, or used twice")));
        }
    }
    safetensors::serialize(tensors.iter().map(|t| (&t.name, t)), None)
        .map_err(|e| Error::Internal(format!("safetensors: {e}")))
}

/// Reads the bytes of a safetensors file; `path` is for the messages. The tensors come in order of their names.
///
/// # Errors
/// [`Error::BadData`] where the header, a name, a dtype, a shape, an offset or the length is wrong, or a value is not
/// finite.
pub fn decode(path: &Path, bytes: &[u8]) -> Result<Vec<Tensor>> {
    decode_as(path, bytes)
}

/// [`decode`] for tensors of either type.
///
/// # Errors
/// Those of [`decode`]; a tensor of another type than `T` is one.
pub fn decode_as<T: Real>(path: &Path, bytes: &[u8]) -> Result<Vec<Tensor<T>>> {
    let header = read_header(path, bytes)?;
    for (name, info) in &header.tensors {
        check_info::<T>(path, name, info)?;
    }
    let layout = layout(path, bytes, &header)?;
    let mut tensors = Vec::with_capacity(header.tensors.len());
    for (name, info) in header.tensors {
        let view =
            layout.tensor(&name).map_err(|e| Error::bad_data(path, format!("the tensor `{name}`"), e.to_string()))?;
        let values = view.data().chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect();
        let shape = info.shape.iter().map(|&d| d as usize).collect();
        let tensor = Tensor { name, shape, values };
        if let Some((index, value)) = first_not_finite(&tensor) {
            let expected = format!("finite values in tensor `{}`", tensor.name);
            return Err(Error::bad_data(path, expected, format!("{value} at index {index}")));
        }
        tensors.push(tensor);
    }
    Ok(tensors)
}

/// A tensor of any type, as its file has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Raw<'a> {
    /// The name.
    pub name: String,
    /// The type, as safetensors calls it: `F16`.
    pub dtype: String,
    /// The length of each dimension.
    pub shape: Vec<usize>,
    /// The elements, little-endian and row-major.
    pub bytes: &'a [u8],
}

/// [`decode`] for tensors of any type, whose values are not looked at.
///
/// # Errors
/// [`Error::BadData`] where the header, a name, a shape, an offset or the length is wrong.
pub fn decode_raw<'a>(path: &Path, bytes: &'a [u8]) -> Result<Vec<Raw<'a>>> {
    let header = read_header(path, bytes)?;
    let layout = layout(path, bytes, &header)?;
    let raw = |(name, info): (String, Info)| {
        let view = layout.tensor(&name);
        let view = view.map_err(|e| Error::bad_data(path, format!("the tensor `{name}`"), e.to_string()))?;
        Ok(Raw { shape: view.shape().to_vec(), bytes: view.data(), name, dtype: info.dtype })
    };
    header.tensors.into_iter().map(raw).collect()
}

/// The layout as a whole: no overlap, no hole, nothing after the end.
fn layout<'a>(path: &Path, bytes: &'a [u8], header: &Header) -> Result<SafeTensors<'a>> {
    SafeTensors::deserialize(bytes).map_err(|e| {
        let end = header.tensors.values().map(|t| t.data_offsets.1).max().unwrap_or(0);
        let length = bytes.len() - header.data_start;
        Error::bad_data(
            path,
            format!("tensors that lie one after the other and end with the file, at {end} of its data"),
            format!("{e}; {length} bytes of data"),
        )
    })
}

/// Returns true if the tensor `name` holds f64, by the header alone; `None` if there is no such tensor.
///
/// # Errors
/// [`Error::BadData`] where the header is not one.
pub fn holds_f64(path: &Path, bytes: &[u8], name: &str) -> Result<Option<bool>> {
    Ok(read_header(path, bytes)?.tensors.get(name).map(|info| info.dtype == "F64"))
}

/// Reads a safetensors file; see [`decode`].
///
/// # Errors
/// [`Error::Io`] where it can't be read; [`Error::BadData`] where it is not what it should be.
pub fn read(path: &Path) -> Result<Vec<Tensor>> {
    decode(path, &std::fs::read(path).map_err(|e| Error::io(path, "read", e))?)
}

/// Writes a safetensors file, whole or not at all; see [`encode`].
///
/// # Errors
/// [`Error::Io`] where it can't be written; [`Error::Internal`] as [`encode`] has it.
pub fn write<T: Real>(path: &Path, tensors: &[Tensor<T>]) -> Result<()> {
    atomic::write_file(path, &encode(tensors)?)
}

/// The first value that is NaN or infinite, with its index.
pub(crate) fn first_not_finite<T: Real>(tensor: &Tensor<T>) -> Option<(usize, T)> {
    tensor.values.iter().copied().enumerate().find(|(_, value)| !value.is_finite())
}

/// The header: what the file says of its tensors.
struct Header {
    tensors: BTreeMap<String, Info>,
    /// Start of the values, in bytes from the file's start.
    data_start: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Info {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

fn read_header(path: &Path, bytes: &[u8]) -> Result<Header> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        let expected = "a safetensors file, which begins with 8 bytes of header length";
        return Err(Error::bad_data(path, expected, format!("{} bytes in all", bytes.len())));
    };
    let length = u64::from_le_bytes(*prefix);
    let header = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
        let expected = format!("a header length of at most {} at offset 0", rest.len());
        Error::bad_data(path, expected, length.to_string())
    })?;
    let text = std::str::from_utf8(header).map_err(|e| {
        let offset = PREFIX + e.valid_up_to();
        Error::bad_data(path, "a header in UTF-8", format!("another byte at offset {offset}"))
    })?;
    let Names(tensors) = serde_json::from_str(text)
        .map_err(|e| Error::bad_data(path, "a safetensors header: a JSON object of tensors", e.to_string()))?;
    Ok(Header { tensors, data_start: PREFIX + header.len() })
}

fn check_info<T: Real>(path: &Path, name: &str, info: &Info) -> Result<()> {
    let Info { dtype, shape, data_offsets: (begin, end) } = info;
    let expected = T::NAME.to_uppercase();
    if *dtype != expected {
        return Err(Error::bad_data(path, format!("dtype {expected} for tensor `{name}`"), dtype));
    }
    let needed = element_count(shape.iter().copied()).and_then(|count| count.checked_mul(size_of::<T>() as u64));
    let given = end.checked_sub(*begin);
    if needed.is_none() || needed != given {
        let needed = needed.map_or("more bytes than there are".into(), |n| format!("{n} bytes"));
        let expected = format!("{needed} for tensor `{name}` of shape {shape:?}");
        return Err(Error::bad_data(path, expected, format!("data_offsets [{begin}, {end}]")));
    }
    Ok(())
}

fn element_count(mut shape: impl Iterator<Item = u64>) -> Option<u64> {
    shape.try_fold(1_u64, u64::checked_mul)
}

/// The header's object, with an error where a name comes twice (JSON parsers usually take the last one).
struct Names(BTreeMap<String, Info>);

impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Names, A::Error> {
                let mut tensors = BTreeMap::new();
                let mut has_metadata = false;
                while let Some(name) = map.next_key::<String>()? {
                    let is_new = if name == "__metadata__" {
                        map.next_value::<BTreeMap<String, String>>()?;
                        !std::mem::replace(&mut has_metadata, true)
                    } else {
                        tensors.insert(name.clone(), map.next_value::<Info>()?).is_none()
                    };
                    if !is_new {
                        return Err(de::Error::custom(format!("the name `{name}` twice")));
                    }
                }
                Ok(Names(tensors))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
