//! The tensors of a case or a pass: memory that is either stored (images, activations, latents, logits and their gradients, as
//! [`Backend::Storage`]) or real (parameters, statistics, sums, losses, as [`Backend::Real`]), with windows on it.
//!
//! An operation's contract takes one kind or the other. A closure says which by `.stored()` or `.real()` on its window, and a
//! window of the other kind panics with the tensor's name: a mistake of the case's author.

use std::borrow::Cow;

use crate::Result;
use crate::device::{Backend, Buffer, In, Out, Real, Storage, Stored, StoredBuffer, StoredOut};

/// The values of a case's input before it runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fill {
    /// N(0, 1).
    Normal,
    /// U[low, high).
    Uniform(f64, f64),
    /// |x| ≥ 0.1, either sign: away from a kink at 0.
    AwayFromZero,
    /// ||x| − 1| ≥ 0.1, on either side of either one: away from kinks at ±1.
    AwayFromOne,
}

/// The number type of a tensor in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// As activations are stored.
    Stored,
    /// As what is computed with.
    Real,
}

/// One input or output of a case, or of a pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Its name in the operation's contract: x, w, b, mu, ….
    pub name: Cow<'static, str>,
    /// Elements.
    pub len: usize,
    /// Its values before the case runs (inputs only).
    pub fill: Fill,
    /// Its number type in memory, and that of its tangent.
    pub kind: Kind,
    /// The number type of its gradient.
    pub gradient: Kind,
}

impl Tensor {
    /// A stored tensor of `len` elements, filled with normal draws.
    pub fn stored(name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        Tensor { name: name.into(), len, fill: Fill::Normal, kind: Kind::Stored, gradient: Kind::Stored }
    }

    /// The same of reals.
    pub fn real(name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        Tensor { kind: Kind::Real, gradient: Kind::Real, ..Tensor::stored(name, len) }
    }

    /// A weight of a product: stored, with a gradient of reals.
    pub fn weight(name: impl Into<Cow<'static, str>>, len: usize) -> Self {
        Tensor { gradient: Kind::Real, ..Tensor::stored(name, len) }
    }

    /// Its gradient.
    #[must_use]
    pub fn of_gradient(&self) -> Self {
        Tensor { kind: self.gradient, ..self.clone() }
    }

    /// The same, filled otherwise.
    pub fn filled(self, fill: Fill) -> Self {
        Tensor { fill, ..self }
    }

    /// Memory of this tensor's kind that holds zeros.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn zeros<B: Backend>(&self, be: &B) -> Result<CaseBuffer<B>> {
        let memory = match self.kind {
            Kind::Stored => Either::Stored(be.alloc(self.len)?),
            Kind::Real => Either::Real(be.alloc(self.len)?),
        };
        Ok(CaseBuffer { name: self.name.clone(), memory })
    }

    /// Memory of this tensor's kind that holds these values, rounded to it.
    ///
    /// # Errors
    /// If memory is used up.
    pub fn buffer<B: Backend>(&self, be: &B, values: &[f64]) -> Result<CaseBuffer<B>> {
        self.buffer_from(be, || values.iter().map(|&value| B::Real::of(value)).collect())
    }

    /// The same of what `content` gives, which a backend that computes nothing does not ask for.
    pub(super) fn buffer_from<B: Backend>(
        &self,
        be: &B,
        content: impl FnOnce() -> Vec<B::Real>,
    ) -> Result<CaseBuffer<B>> {
        let memory = match self.kind {
            Kind::Stored => {
                Either::Stored(be.buffer_from(self.len, || content().into_iter().map(Storage::of_real).collect())?)
            }
            Kind::Real => Either::Real(be.buffer_from(self.len, content)?),
        };
        Ok(CaseBuffer { name: self.name.clone(), memory })
    }
}

/// Something of either kind.
#[derive(Clone, Copy)]
enum Either<S, R> {
    Stored(S),
    Real(R),
}

impl<S, R> Either<S, R> {
    #[track_caller]
    fn stored(self, name: &str) -> S {
        match self {
            Either::Stored(stored) => stored,
            Either::Real(_) => panic!("`{name}` is real, and is taken for a stored tensor"),
        }
    }

    #[track_caller]
    fn real(self, name: &str) -> R {
        match self {
            Either::Real(real) => real,
            Either::Stored(_) => panic!("`{name}` is stored, and is taken for a tensor of reals"),
        }
    }
}

/// A tensor that owns its memory.
pub struct CaseBuffer<B: Backend> {
    name: Cow<'static, str>,
    memory: Either<StoredBuffer<B>, Buffer<B>>,
}

impl<B: Backend> CaseBuffer<B> {
    /// Memory of the stored kind, as a tensor.
    pub fn of_stored(name: &'static str, buffer: StoredBuffer<B>) -> Self {
        CaseBuffer { name: name.into(), memory: Either::Stored(buffer) }
    }

    /// Memory of reals, as a tensor.
    pub fn of_real(name: &'static str, buffer: Buffer<B>) -> Self {
        CaseBuffer { name: name.into(), memory: Either::Real(buffer) }
    }

    /// A window to read.
    pub fn view(&self, be: &B) -> CaseIn<'_, B> {
        let window = match &self.memory {
            Either::Stored(buffer) => Either::Stored(be.view(buffer)),
            Either::Real(buffer) => Either::Real(be.view(buffer)),
        };
        CaseIn { name: &self.name, window }
    }

    /// A window to write.
    pub fn view_mut(&mut self, be: &B) -> CaseOut<'_, B> {
        let window = match &mut self.memory {
            Either::Stored(buffer) => Either::Stored(be.view_mut(buffer)),
            Either::Real(buffer) => Either::Real(be.view_mut(buffer)),
        };
        CaseOut { name: &self.name, window }
    }

    /// Its elements, on the host.
    ///
    /// # Errors
    /// If the device fails.
    pub fn values(&self, be: &B) -> Result<Vec<f64>> {
        Ok(self.view(be).read(be)?.into_iter().map(Real::to_f64).collect())
    }

    /// Changes its elements, on the host.
    pub(super) fn change(&mut self, be: &B, change: impl Fn(&mut [f64])) -> Result<()> {
        let mut values = self.values(be)?;
        change(&mut values);
        self.view_mut(be).write(be, &values.into_iter().map(B::Real::of).collect::<Vec<_>>())
    }
}

/// A window on a tensor, to read.
pub struct CaseIn<'a, B: Backend> {
    name: &'a str,
    window: Either<Stored<'a, B>, In<'a, B>>,
}

impl<B: Backend> Clone for CaseIn<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for CaseIn<'_, B> {}

impl<'a, B: Backend> CaseIn<'a, B> {
    /// The window on a stored tensor.
    ///
    /// # Panics
    /// If the tensor is real.
    #[track_caller]
    pub fn stored(self) -> Stored<'a, B> {
        self.window.stored(self.name)
    }

    /// The window on a tensor of reals.
    ///
    /// # Panics
    /// If the tensor is stored.
    #[track_caller]
    pub fn real(self) -> In<'a, B> {
        self.window.real(self.name)
    }

    /// Its elements as reals, on the host, of whichever kind it is.
    ///
    /// # Errors
    /// If the device fails.
    pub fn read(self, be: &B) -> Result<Vec<B::Real>> {
        match self.window {
            Either::Stored(window) => be.read_stored(window),
            Either::Real(window) => be.read(window),
        }
    }
}

/// A window on a tensor, to write.
pub struct CaseOut<'a, B: Backend> {
    name: &'a str,
    window: Either<StoredOut<'a, B>, Out<'a, B>>,
}

impl<'a, B: Backend> CaseOut<'a, B> {
    /// The window on a stored tensor.
    ///
    /// # Panics
    /// If the tensor is real.
    #[track_caller]
    pub fn stored(self) -> StoredOut<'a, B> {
        self.window.stored(self.name)
    }

    /// The window on a tensor of reals.
    ///
    /// # Panics
    /// If the tensor is stored.
    #[track_caller]
    pub fn real(self) -> Out<'a, B> {
        self.window.real(self.name)
    }

    /// Writes these elements, rounded to whichever kind it is.
    ///
    /// # Errors
    /// If the device fails.
    pub fn write(self, be: &B, values: &[B::Real]) -> Result<()> {
        match self.window {
            Either::Stored(window) => {
                let stored: Vec<_> = values.iter().map(|&value| Storage::of_real(value)).collect();
                be.upload(&stored, window)
            }
            Either::Real(window) => be.upload(values, window),
        }
    }
}

/// Windows on all of these tensors.
///
/// # Panics
/// If there are not as many as the closure takes: a mistake of this program's.
pub(super) fn windows<'a, B: Backend, const N: usize>(be: &B, buffers: &'a [CaseBuffer<B>]) -> [CaseIn<'a, B>; N] {
    assert_eq!(buffers.len(), N, "a closure takes another number of tensors than it was given");
    std::array::from_fn(|i| buffers[i].view(be))
}

/// The same, to write.
pub(super) fn windows_mut<'a, B: Backend, const N: usize>(
    be: &B,
    buffers: &'a mut [CaseBuffer<B>],
) -> [CaseOut<'a, B>; N] {
    assert_eq!(buffers.len(), N, "a closure takes another number of tensors than it was given");
    let mut buffers = buffers.iter_mut();
    std::array::from_fn(|_| buffers.next().expect("as many as were counted").view_mut(be))
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use half::bf16;

    use super::*;
    use crate::device::Cpu;

    #[test]
    fn tensors_hold_what_their_kind_can() {
        let cpu = Cpu::<f32, bf16>::new(Some(1)).expect("threads");
        let value = 1.0 + f64::from(f32::EPSILON);
        let held = |tensor: Tensor| tensor.buffer(&cpu, &[value]).expect("memory").values(&cpu).expect("a copy");
        assert_eq!((held(Tensor::real("w", 1)), held(Tensor::stored("x", 1))), (vec![value], vec![1.0]));
    }

    #[test]
    fn a_tensor_of_the_other_kind_is_refused_by_name() {
        let cpu = Cpu::<f32, bf16>::new(Some(1)).expect("threads");
        let [mut x, mut w] = [Tensor::stored("x", 1), Tensor::real("w", 1)].map(|t| t.zeros(&cpu).expect("memory"));
        let said = |wrong: &mut dyn FnMut()| {
            let panic = catch_unwind(AssertUnwindSafe(wrong)).expect_err("a panic");
            panic.downcast_ref::<String>().expect("a text").clone()
        };
        assert!(said(&mut || _ = x.view(&cpu).real()).starts_with("`x` is stored"));
        assert!(said(&mut || _ = w.view(&cpu).stored()).starts_with("`w` is real"));
        assert!(said(&mut || _ = x.view_mut(&cpu).real()).starts_with("`x` is stored"));
        assert!(said(&mut || _ = w.view_mut(&cpu).stored()).starts_with("`w` is real"));
    }
}
