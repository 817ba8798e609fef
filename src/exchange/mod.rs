//! Files of other programs: weights that come from PyTorch, and what goes out to it, to NumPy and to ONNX's runtimes.
//!
//! | file | what it holds |
//! |---|---|
//! | [`weights`] | named tensors from a file of any format that is read, as f32 |
//! | `pytorch` | the archives of `torch.save` |
//! | `pickle` | the pickle in such an archive, read by a machine that executes nothing |
//! | [`npy`] | NumPy's `.npy` and `.npz` |
//! | [`onnx`] | a generator as an ONNX model |
//! | [`archive`] | zip archives, read with bounds and written |
//! | `found` | what a reader found, before it is checked |
//! | `element` | the types of a tensor's elements, under each format's names |
//!
//! Every reader takes bytes of strangers: it executes nothing, its memory is bounded by the file's length, and what it
//! refuses is named ([`Error::BadData`]).

pub mod archive;
pub(crate) mod element;
mod found;
pub mod npy;
pub mod onnx;
mod pickle;
mod pytorch;
pub mod weights;

pub use weights::Weights;

use std::path::Path;

use crate::error::{Error, Result};

/// The bytes of a file.
///
/// # Errors
/// [`Error::BadData`] where it is a folder or something else that is no file; [`Error::Io`] where it can't be read.
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    let metadata = path.metadata().map_err(|error| Error::io(path, "read", error))?;
    if !metadata.is_file() {
        let found = if metadata.is_dir() { "a folder" } else { "something that is not a file" };
        return Err(Error::bad_data(path, "a file", found));
    }
    std::fs::read(path).map_err(|error| Error::io(path, "read", error))
}
