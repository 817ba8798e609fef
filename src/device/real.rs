//! The elements of memory, and the two of them that the engine computes with: f32 to train, f64 to check gradients.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use super::launch::AsArgument;

/// An element of a device's memory: plain old data.
pub trait Element: bytemuck::Pod + Send + Sync {}
impl<E: bytemuck::Pod + Send + Sync> Element for E {}

/// The type in which activations and their gradients lie in memory, for reals of type `T`: `T` itself, or one that is shorter.
/// What is read is computed with in `T`, and rounded to nearest when it is written.
pub trait Storage<T>: Element {
    /// `f32`, `f64` or `bf16`: the form of the kernels that read and write it.
    const NAME: &'static str;

    /// Rounds to nearest, ties to even.
    fn of(value: T) -> Self;
    /// The same value as a real.
    fn real(self) -> T;
}

impl<T: Real> Storage<T> for T {
    const NAME: &'static str = <T as Real>::NAME;

    #[inline(always)]
    fn of(value: T) -> T {
        value
    }
    #[inline(always)]
    fn real(self) -> T {
        self
    }
}

/// A real number as the operations need it.
pub trait Real:
    Element
    + AsArgument
    + Default
    + PartialOrd
    + std::fmt::Debug
    + std::fmt::Display
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + Sum
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// `f32` or `f64`.
    const NAME: &'static str;

    /// Rounds to nearest.
    fn of(value: f64) -> Self;
    /// The same value in double precision.
    fn to_f64(self) -> f64;
    /// A normal or uniform draw, made in f32 on every device, widened.
    fn of_f32(value: f32) -> Self;
    /// e^self.
    fn exp(self) -> Self;
    /// √self.
    fn sqrt(self) -> Self;
    /// self · factor + addend, rounded once.
    fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// tanh(self).
    fn tanh(self) -> Self;
    /// Neither infinite nor NaN.
    fn is_finite(self) -> bool;
}

macro_rules! real {
    ($type:ident, $exp:path) => {
        impl Real for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NAME: &'static str = stringify!($type);

            #[inline(always)]
            #[allow(clippy::cast_possible_truncation)]
            fn of(value: f64) -> Self {
                value as $type
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            #[inline(always)]
            fn of_f32(value: f32) -> Self {
                $type::from(value)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $exp(self)
            }
            #[inline(always)]
            fn mul_add(self, factor: Self, addend: Self) -> Self {
                $type::mul_add(self, factor, addend)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $type::sqrt(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $type::tanh(self)
            }
            #[inline(always)]
            fn is_finite(self) -> bool {
                $type::is_finite(self)
            }
        }
    };
}

// In f32 the one exponential that all devices share; f64 is there for accuracy.
real!(f32, super::exponential::exp);
real!(f64, f64::exp);
