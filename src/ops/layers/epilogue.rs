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
    activation: Option<PiecewiseLinear<B::Real>>,
    /// f, and its values at the places of the numbers, which are multiplied by f′ there.
    slope: Option<(PiecewiseLinear<B::Real>, Stored<'a, B>)>,
    /// scale, and what is added to as many times the numbers.
    base: Option<(B::Real, Stored<'a, B>)>,
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
    ///
    /// # Errors
    /// [`Error::Internal`] where f bends other than at 0.
    pub fn activation(f: Activation) -> Result<Self> {
        Ok(Epilogue { activation: Some(linear(f)?), ..Self::none() })
    }

    /// f′(y) · v, with y = f(x): from the gradient by f's values to that by x.
    ///
    /// # Errors
    /// As above.
    pub fn slope(f: Activation, y: Stored<'a, B>) -> Result<Self> {
        Ok(Epilogue { slope: Some((linear(f)?, y)), ..Self::none() })
    }

    /// base + scale · what comes before.
    #[must_use]
    pub fn added(self, scale: f64, base: Stored<'a, B>) -> Self {
        Epilogue { base: Some((B::Real::of(scale), base)), ..self }
    }
}

fn linear<T: Real>(f: Activation) -> Result<PiecewiseLinear<T>> {
    f.piecewise_linear().ok_or_else(|| Error::Internal(format!("{f:?} at the end of a convolution")))
}

impl<T: Real, S: Storage<T>> Epilogue<'_, Cpu<T, S>> {
    /// Ends the numbers from `first` on, which have just been stored.
    pub(super) fn apply(&self, first: usize, y: &mut [S]) {
        if let Some(f) = self.activation {
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
    pub(super) fn end(&self) -> End {
        let negative = self.activation.or(self.slope.map(|(f, _)| f)).map_or(T::ONE, PiecewiseLinear::negative);
        let scale = self.base.map_or(T::ONE, |(scale, _)| scale);
        End(arguments![negative, self.slope.map(|(_, of)| of), scale, self.base.map(|(_, base)| base)])
    }

    /// Ends numbers that a kernel without an end of its own has stored.
    ///
    /// # Errors
    /// Those of the device.
    pub(super) fn apply(&self, be: &Accelerator<T, S>, y: &StoredOut<'_, Accelerator<T, S>>) -> Result<()> {
        if self.activation.is_none() && self.slope.is_none() && self.base.is_none() {
            return Ok(());
        }
        let End([negative, of, scale, base]) = self.end();
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
