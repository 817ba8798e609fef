//! The end of a convolution: what is done to each of its numbers v before it is stored, so that no pass of its own reads and writes it
//! again:
//!
//! `y = f(v)`, `y = f′(of) · v` or `y = v`, and then `base + scale · y` if there is a base.
//!
//! f is piecewise linear. v and every number between are rounded to what is stored, so that the bits are those of a convolution,
//! an activation and a scaled addition one after the other (`activation.rs`, `scaled_add.rs`).

use super::activation::{Activation, Function, PiecewiseLinear};
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::product::End;
use crate::device::{Accelerator, Backend, Cpu, DryRun, Real, Storage, Stored, StoredOut, Window};
use crate::{Error, Result};

/// The end of a convolution: operations on its numbers before they are stored.
pub struct Epilogue<'a, B: Backend> {
    /// f, of the numbers themselves.
    pub activation: Option<Activation>,
    /// f, and its values at the places of the numbers, which are multiplied by f′ there.
    pub slope: Option<(Activation, Stored<'a, B>)>,
    /// scale, and what is added to as many times the numbers.
    pub base: Option<(f64, Stored<'a, B>)>,
}

impl<B: Backend> Clone for Epilogue<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Epilogue<'_, B> {}

impl<'a, B: Backend> Epilogue<'a, B> {
    /// v as it is.
    pub fn none() -> Self {
        Epilogue { activation: None, slope: None, base: None }
    }

    /// f(v).
    pub fn activation(f: Activation) -> Self {
        Epilogue { activation: Some(f), ..Self::none() }
    }

    /// f′(y) · v, with y = f(x): from the gradient by f's values to that by x.
    pub fn slope(f: Activation, y: Stored<'a, B>) -> Self {
        Epilogue { slope: Some((f, y)), ..Self::none() }
    }

    /// base + scale · what comes before.
    #[must_use]
    pub fn added(self, scale: f64, base: Stored<'a, B>) -> Self {
        Epilogue { base: Some((scale, base)), ..self }
    }

    /// f, of the numbers or of what they are multiplied by.
    fn function<T: Real>(&self) -> Result<PiecewiseLinear<T>> {
        let f = self.activation.or(self.slope.map(|(f, _)| f)).unwrap_or(Activation::Identity);
        f.piecewise_linear().ok_or_else(|| Error::Internal(format!("{f:?} at the end of a convolution")))
    }
}

/// The same on the CPU.
#[derive(Clone, Copy)]
pub(super) struct Ending<'a, T, S> {
    f: Option<PiecewiseLinear<T>>,
    slope: Option<(PiecewiseLinear<T>, &'a [S])>,
    base: Option<(T, &'a [S])>,
}

impl<'a, T: Real, S: Storage<T>> Ending<'a, T, S> {
    /// # Errors
    /// If the function is none that a convolution ends with.
    pub(super) fn of(epilogue: &Epilogue<'a, Cpu<T, S>>) -> Result<Self> {
        let f = epilogue.function()?;
        Ok(Ending {
            f: epilogue.activation.map(|_| f),
            slope: epilogue.slope.map(|(_, y)| (f, y)),
            base: epilogue.base.map(|(scale, base)| (T::of(scale), base)),
        })
    }

    /// v as it is.
    pub(super) fn none() -> Self {
        Ending { f: None, slope: None, base: None }
    }

    /// Ends the numbers from `first` on, which have just been stored.
    pub(super) fn apply(&self, first: usize, y: &mut [S]) {
        if let Some(f) = self.f {
            vectorised!(y.iter_mut().for_each(|y| *y = S::of_real(f.value(y.real()))));
        }
        if let Some((f, of)) = self.slope {
            let of = &of[first..first + y.len()];
            vectorised!(y.iter_mut().zip(of).for_each(|(y, of)| *y = S::of_real(f.slope(of.real()) * y.real())));
        }
        if let Some((scale, base)) = self.base {
            let base = &base[first..first + y.len()];
            vectorised!(y.iter_mut().zip(base).for_each(|(y, a)| *y = S::of_real(a.real() + scale * y.real())));
        }
    }
}

impl<T: Real, S: Storage<T>> Epilogue<'_, Accelerator<T, S>> {
    /// The arguments of the kernels that end with it.
    ///
    /// # Errors
    /// If the function is none that a convolution ends with.
    pub(super) fn end(&self) -> Result<End> {
        let (of, base) = (self.slope.map(|(_, of)| of), self.base.map(|(_, base)| base));
        let scale = self.base.map_or(T::ONE, |(scale, _)| T::of(scale));
        Ok(End(arguments![self.function::<T>()?.negative(), of, scale, base]))
    }

    /// Ends numbers that a kernel without an end of its own has stored.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn apply(&self, be: &Accelerator<T, S>, y: &StoredOut<'_, Accelerator<T, S>>) -> Result<()> {
        if self.activation.is_none() && self.slope.is_none() && self.base.is_none() {
            return Ok(());
        }
        let End([negative, of, scale, base]) = self.end()?;
        let arguments = arguments![y.len() as u64, negative, of, scale, base, y];
        be.launch_elements(Kernel::Epilogue, y.len(), &arguments)
    }
}

impl<T: Real, S: Storage<T>> Epilogue<'_, DryRun<T, S>> {
    /// Its windows, and that of the output.
    pub(super) fn moves(&self, y: Window) -> Window {
        let read = [self.slope.map(|(_, of)| of), self.base.map(|(_, base)| base)];
        read.into_iter().flatten().fold(y, |moved, read| moved + read)
    }
}
