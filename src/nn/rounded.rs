//! The copy of an arena of parameters that products read: in the type in which activations are stored. Where that is the type of
//! the parameters, they are read themselves, and there is no copy.

use crate::Result;
use crate::device::{Buffer, Storage, Stored, StoredBuffer, StoredOut};
use crate::ops::Executor;

/// A copy of parameters, if there is one. Whoever changes the parameters brings it up to date: an optimiser writes it beside them, all
/// others call [`Rounded::update`].
pub struct Rounded<B: Executor>(Option<StoredBuffer<B>>);

impl<B: Executor> Rounded<B> {
    /// Allocates what `len` parameters need; the copy's content is zeros.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn new(backend: &B, len: usize) -> Result<Self> {
        let is_needed = B::Storage::of_reals(&[]).is_none();
        Ok(Rounded(is_needed.then(|| backend.alloc(len)).transpose()?))
    }

    /// Brings the copy up to date.
    ///
    /// # Errors
    /// Those of the device.
    pub fn update(&mut self, backend: &B, params: &Buffer<B>) -> Result<()> {
        let Rounded(Some(rounded)) = self else { return Ok(()) };
        backend.round_weights(backend.view(params), backend.view_mut(rounded))
    }

    /// The parameters as products read them.
    ///
    /// # Panics
    /// If the backend stores activations as reals and does not say so: a mistake of this program's.
    pub fn view<'a>(&'a self, backend: &B, params: &'a Buffer<B>) -> Stored<'a, B> {
        match self {
            Rounded(Some(rounded)) => backend.view(rounded),
            Rounded(None) => {
                backend.as_stored(backend.view(params)).expect("parameters that are stored as activations are")
            }
        }
    }

    /// The copy, for an optimiser to write.
    pub fn to_write(&mut self, backend: &B) -> Option<StoredOut<'_, B>> {
        self.0.as_mut().map(|rounded| backend.view_mut(rounded))
    }
}
