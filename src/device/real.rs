//! The elements of memory, and the two of them that the engine computes with: f32 to train, f64 to check gradients.

use std::iter::Sum;
use std::ops::{Add, AddAssign, Div, Mul, MulAssign, Neg, Sub, SubAssign};

use half::bf16;

use super::Precision;
use super::launch::AsArgument;

/// An element of a device's memory: plain old data.
pub trait Element: bytemuck::Pod + Send + Sync {}
impl<E: bytemuck::Pod + Send + Sync> Element for E {}

/// The type in which activations and their gradients lie in memory, for reals of type `T`: `T` itself, or one that is shorter.
/// What is read is computed with in `T`, and rounded to nearest when it is written.
pub trait Storage<T>: Element {
    /// `f32`, `f64` or `bf16`: the form of the kernels that read and write it.
    const NAME: &'static str;
    /// The precision of products whose operands are so stored, unless another is chosen.
    const PRECISION: Precision;

    /// Rounds to nearest, ties to even.
    fn of_real(value: T) -> Self;
    /// The same value as a real.
    fn real(self) -> T;
    /// The same memory, where it holds reals.
    fn as_reals(stored: &[Self]) -> Option<&[T]>;
    /// The same memory, where reals are stored as they are.
    fn of_reals(reals: &[T]) -> Option<&[Self]>;
    /// The same memory, to write, where it holds reals.
    fn as_reals_mut(stored: &mut [Self]) -> Option<&mut [T]>;
}

impl<T: Real> Storage<T> for T {
    const NAME: &'static str = <T as Real>::NAME;
    const PRECISION: Precision = Precision::F32;

    #[inline(always)]
    fn of_real(value: T) -> T {
        value
    }
    #[inline(always)]
    fn real(self) -> T {
        self
    }
    fn as_reals(stored: &[T]) -> Option<&[T]> {
        Some(stored)
    }
    fn of_reals(reals: &[T]) -> Option<&[T]> {
        Some(reals)
    }
    fn as_reals_mut(stored: &mut [T]) -> Option<&mut [T]> {
        Some(stored)
    }
}

/// Brain floating point: the upper half of an f32. The crate's own conversion from f32 looks at the processor for each number;
/// this one is four integer operations, which a compiler turns into vectors. A NaN stays a NaN.
impl Storage<f32> for bf16 {
    const NAME: &'static str = "bf16";
    const PRECISION: Precision = Precision::Bf16;

    #[inline(always)]
    #[allow(clippy::cast_possible_truncation)]
    fn of_real(value: f32) -> bf16 {
        let bits = value.to_bits();
        // Half of the last place that stays, less one where that place is even: a tie then goes to the even neighbour.
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        let nan = bits >> 16 | 0x40;
        bf16::from_bits(if value.is_nan() { nan } else { rounded } as u16)
    }
    #[inline(always)]
    fn real(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    fn as_reals(_: &[bf16]) -> Option<&[f32]> {
        None
    }
    fn of_reals(_: &[f32]) -> Option<&[bf16]> {
        None
    }
    fn as_reals_mut(_: &mut [bf16]) -> Option<&mut [f32]> {
        None
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
