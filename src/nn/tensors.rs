//! The tensors of an arena as files have them, by PyTorch's keys and in PyTorch's layouts, and back.

use std::collections::BTreeMap;
use std::path::Path;

use super::table::{Entry, Table};
use crate::device::{Buffer, Real};
use crate::ops::Executor;
use crate::run::Tensor;
use crate::{Error, Result};

/// The tensors of an arena under PyTorch's keys: `{prefix}{key}{suffix}`.
pub fn arena_tensors<B: Executor>(
    backend: &B,
    table: &Table,
    arena: &Buffer<B>,
    prefix: &str,
    suffix: &str,
) -> Result<Vec<Tensor<B::Real>>> {
    let values = backend.read(backend.view(arena))?;
    let tensor = |entry: &Entry| Tensor {
        name: format!("{prefix}{}{suffix}", entry.name),
        shape: entry.shape.clone(),
        values: entry.to_pytorch(&values[entry.range()]),
    };
    Ok(table.entries().iter().map(tensor).collect())
}

/// The tensors of a file, taken out one by one.
pub struct TensorSet<'a, T> {
    path: &'a Path,
    tensors: BTreeMap<String, Tensor<T>>,
}

impl<'a, T: Real> TensorSet<'a, T> {
    /// `path` is for the messages.
    pub fn new(tensors: Vec<Tensor<T>>, path: &'a Path) -> Self {
        TensorSet { path, tensors: tensors.into_iter().map(|tensor| (tensor.name.clone(), tensor)).collect() }
    }

    /// The shape of the tensor of this name, if there is one.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.tensors.get(name).map(|tensor| &tensor.shape[..])
    }

    /// Says whether a tensor's name begins so.
    pub fn has_prefix(&self, prefix: &str) -> bool {
        self.tensors.keys().any(|name| name.starts_with(prefix))
    }

    /// The file, for messages.
    pub fn path(&self) -> &'a Path {
        self.path
    }

    /// Takes the tensor of this name and shape.
    ///
    /// # Errors
    /// [`Error::BadData`] where it is missing or of another shape.
    pub fn take(&mut self, name: &str, shape: &[usize]) -> Result<Vec<T>> {
        let expected = || format!("a tensor `{name}` of shape {shape:?}");
        let tensor = self.tensors.remove(name).ok_or_else(|| {
            Error::bad_data(self.path, expected(), "none of that name")
                .with_hint("are these the settings it was made with?")
        })?;
        if tensor.shape != shape {
            let error = Error::bad_data(self.path, expected(), format!("shape {:?}", tensor.shape));
            return Err(error.with_hint("are these the settings it was made with?"));
        }
        Ok(tensor.values)
    }

    /// Fills an arena from tensors named as [`arena_tensors`] does.
    ///
    /// # Errors
    /// Those of [`TensorSet::take`].
    pub fn fill<B: Executor<Real = T>>(
        &mut self,
        backend: &B,
        table: &Table,
        arena: &mut Buffer<B>,
        prefix: &str,
        suffix: &str,
    ) -> Result<()> {
        let mut values = vec![T::ZERO; table.len()];
        for entry in table.entries() {
            let tensor = self.take(&format!("{prefix}{}{suffix}", entry.name), &entry.shape)?;
            values[entry.range()].copy_from_slice(&entry.from_pytorch(&tensor));
        }
        backend.upload(&values, backend.view_mut(arena))
    }

    /// Says which tensor nobody asked for.
    ///
    /// # Errors
    /// [`Error::BadData`] where one is left.
    pub fn finish(self) -> Result<()> {
        match self.tensors.keys().next() {
            None => Ok(()),
            Some(name) => {
                let error = Error::bad_data(self.path, "only tensors of this model", format!("a tensor `{name}`"));
                Err(error.with_hint("are these the settings it was made with?"))
            }
        }
    }
}
