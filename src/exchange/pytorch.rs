//! The archives of `torch.save`: a zip archive with `<name>/data.pkl`, a pickle that names storages, and one file
//! `<name>/data/<key>` for each of them (PyTorch 1.6 and later).

use std::collections::BTreeMap;
use std::path::Path;

use super::archive::Archive;
use super::found::{Found, LeftOut, add};
use super::pickle::{self, Id, Node, StorageRef, TensorRef, Values};
use crate::error::{Error, Result};

/// Advice for a file that holds more than weights.
const ADVICE: &str = "in PyTorch, write the weights alone: torch.save(model.state_dict(), \"weights.pt\")";

/// The deepest dict in a dict.
const DEEPEST: usize = 32;

/// The most names that a file may have.
const MOST_NAMES: usize = 1 << 17;

/// The most bytes that all of them may have together.
const MOST_LETTERS: usize = 16 << 20;

/// The pickle of an archive, by its name.
pub(super) fn is_pickle(name: &str) -> bool {
    name.ends_with("/data.pkl") || name == "data.pkl"
}

/// The reason to refuse the bytes of a file that is no zip archive, if it is one of PyTorch's all the same.
pub(super) fn refusal(path: &Path, bytes: &[u8]) -> Option<Error> {
    // The pickled number 0x1950a86a20f9469cfc6c, with which files of PyTorch before 1.6 begin.
    const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19";
    let expected = "safetensors, an archive of torch.save or a .npz";
    if bytes.starts_with(LEGACY) {
        let error = Error::bad_data(path, expected, "a file of PyTorch before 1.6, or of the old serialisation");
        return Some(
            error.with_hint("write it again with a newer PyTorch: torch.save(torch.load(\"old.pt\"), \"new.pt\")"),
        );
    }
    let is_bare = bytes.first() == Some(&0x80) && bytes.get(1).is_some_and(|protocol| (1..=5).contains(protocol));
    is_bare.then(|| Error::bad_data(path, expected, "a pickle on its own").with_hint(ADVICE))
}

/// Reads an archive of `torch.save`.
///
/// # Errors
/// [`Error::BadData`] where the pickle holds anything that is not read here, by name, or a tensor does not lie in its storage.
pub(super) fn read(mut archive: Archive<'_>) -> Result<Found> {
    let mut pickles = archive.names().filter(|name| is_pickle(name)).map(str::to_string).collect::<Vec<_>>();
    pickles.sort();
    let [pickle] = &pickles[..] else {
        let found = format!("{} of them", pickles.len());
        return Err(Error::bad_data(archive.path(), "one file data.pkl in the archive", found));
    };
    let root = pickle.strip_suffix("data.pkl").unwrap_or_default().to_string();
    if archive.names().any(|name| name == format!("{root}constants.pkl")) {
        let found = "a TorchScript archive, of torch.jit.save";
        return Err(Error::bad_data(archive.path(), "an archive of torch.save", found).with_hint(ADVICE));
    }
    let byte_order = format!("{root}byteorder");
    if archive.names().any(|name| name == byte_order) {
        let order = archive.read(&byte_order, 16)?;
        if order != b"little" {
            let found = String::from_utf8_lossy(&order).escape_default().to_string();
            return Err(Error::bad_data(archive.path(), "a file of little-endian numbers", format!("`{found}`")));
        }
    }
    let bytes = archive.read(pickle, pickle::MOST_BYTES)?;
    let (values, top) = pickle::read(&bytes).map_err(|fault| {
        let expected = format!("{} at offset {} of {pickle}", fault.expected, fault.offset);
        Error::bad_data(archive.path(), expected, fault.found).with_hint(ADVICE)
    })?;
    let mut reader = Reader {
        values,
        archive,
        root,
        storages: BTreeMap::new(),
        stored: 0,
        taken: 0,
        found: empty(),
        names: 0,
        letters: 0,
    };
    match reader.values.get(top) {
        Node::Dict(_) => reader.dict(top, "", 0)?,
        other => {
            let error = Error::bad_data(reader.archive.path(), "a dict of tensors", other.kind());
            return Err(error.with_hint(ADVICE));
        }
    }
    Ok(reader.found)
}

fn empty() -> Found {
    Found { format: "PyTorch", tensors: Vec::new(), left_out: Vec::new() }
}

struct Reader<'a> {
    values: Values,
    archive: Archive<'a>,
    /// The prefix of the names of files.
    root: String,
    /// The storages that were read, by key.
    storages: BTreeMap<String, Vec<u8>>,
    /// Bytes in them, and bytes that tensors took out of them.
    stored: u64,
    taken: u64,
    found: Found,
    /// Names so far, and their bytes.
    names: usize,
    letters: usize,
}

impl Reader<'_> {
    fn wrong(&self, expected: impl Into<String>, found: impl Into<String>) -> Error {
        Error::bad_data(self.archive.path(), expected, found)
    }

    /// Takes the tensors of a dict, and of the dicts in it, whose names are put before theirs.
    fn dict(&mut self, id: Id, prefix: &str, depth: usize) -> Result<()> {
        let Node::Dict(items) = self.values.get(id) else { return Ok(()) };
        for (key, value) in items.clone() {
            let key = match self.values.get(key) {
                Node::Text(text) if text.len() <= 500 => text.clone(),
                Node::Whole(number) => number.to_string(),
                other => return Err(self.wrong("dicts whose keys are words or numbers", other.kind())),
            };
            let name = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
            // Dicts within dicts share the beginnings of names: a small pickle could stand for long names without number.
            self.names += 1;
            self.letters += name.len();
            if self.names > MOST_NAMES || self.letters > MOST_LETTERS {
                return Err(self.wrong(format!("at most {MOST_NAMES} names of {MOST_LETTERS} bytes in all"), "more"));
            }
            match self.values.get(value).clone() {
                Node::Tensor(tensor) => self.tensor(name, &tensor)?,
                Node::Dict(_) if depth < DEEPEST && name.len() <= 500 => self.dict(value, &name, depth + 1)?,
                Node::Dict(_) => {
                    return Err(self.wrong(format!("dicts in dicts, at most {DEEPEST} deep"), "deeper ones"));
                }
                other => self.found.left_out.push(LeftOut { name, what: other.kind().into() }),
            }
        }
        Ok(())
    }

    fn tensor(&mut self, name: String, tensor: &TensorRef) -> Result<()> {
        let element = tensor.storage.element;
        let size = element.bytes() as u64;
        let count = tensor.shape.iter().try_fold(1_u64, |count, &len| count.checked_mul(len));
        let storage_len = tensor.storage.len;
        let last = last_of(tensor);
        let inside = last.is_some_and(|last| last < storage_len) || count == Some(0);
        // A view that repeats elements (stride 0) could stand for any number of them.
        let Some(count) = count.filter(|&count| inside && count <= storage_len) else {
            let expected = format!("tensor `{}` inside its storage of {storage_len} elements", plain(&name));
            let TensorRef { offset, shape, strides, .. } = tensor;
            return Err(self.wrong(expected, format!("shape {shape:?}, strides {strides:?}, offset {offset}")));
        };
        self.storage(&tensor.storage)?;
        self.taken = self.taken.saturating_add(count * size);
        if self.taken > self.stored.saturating_mul(8) {
            return Err(self.wrong("tensors that share storages a few times", "the same storage again and again"));
        }
        let bytes = self.storages.get(&tensor.storage.key).map_or(&[][..], |bytes| bytes);
        let shape: Vec<usize> = tensor.shape.iter().map(|&len| len as usize).collect();
        let gathered = gathered(tensor, element.bytes(), bytes);
        add(&mut self.found, name, element, shape, &gathered);
        Ok(())
    }

    /// Reads a storage, unless it was read before.
    fn storage(&mut self, storage: &StorageRef) -> Result<()> {
        let expected = storage.len.checked_mul(storage.element.bytes() as u64);
        let name = format!("{}data/{}", self.root, storage.key);
        let known = self.storages.get(&storage.key).map(|bytes| bytes.len() as u64);
        let found = match known {
            Some(len) => len,
            None => {
                let bytes = self.archive.read(&name, expected.unwrap_or(u64::MAX))?;
                let len = bytes.len() as u64;
                self.stored += len;
                self.storages.insert(storage.key.clone(), bytes);
                len
            }
        };
        if Some(found) != expected {
            let expected = format!("{} elements of {} in {}", storage.len, storage.element.name(), plain(&name));
            return Err(self.wrong(expected, format!("{found} bytes")));
        }
        Ok(())
    }
}

/// The position of the last element in its storage.
fn last_of(tensor: &TensorRef) -> Option<u64> {
    let steps = tensor.shape.iter().zip(&tensor.strides);
    steps
        .map(|(&len, &stride)| len.saturating_sub(1).checked_mul(stride))
        .try_fold(tensor.offset, |at, step| at.checked_add(step?))
}

/// The tensor's elements in their order, row-major, from the bytes of its storage, in which all of them lie.
fn gathered(tensor: &TensorRef, size: usize, bytes: &[u8]) -> Vec<u8> {
    let TensorRef { offset, shape, strides, .. } = tensor;
    let count = shape.iter().product::<u64>() as usize;
    if count == 0 {
        return Vec::new();
    }
    let mut contiguous = 1;
    let is_contiguous = shape.iter().zip(strides).rev().all(|(&len, &stride)| {
        let fits = len == 1 || stride == contiguous;
        contiguous *= len;
        fits
    });
    let first = *offset as usize * size;
    if is_contiguous {
        return bytes[first..first + count * size].to_vec();
    }
    let mut out = Vec::with_capacity(count * size);
    let mut index = vec![0_u64; shape.len()];
    for _ in 0..count {
        let at = index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<u64>() as usize * size + first;
        out.extend_from_slice(&bytes[at..at + size]);
        for (i, &len) in index.iter_mut().zip(shape).rev() {
            *i += 1;
            if *i < len {
                break;
            }
            *i = 0;
        }
    }
    out
}

/// A name for messages.
fn plain(name: &str) -> String {
    name.chars().take(100).flat_map(char::escape_default).collect()
}
