//! Comparisons (§9.7.6), selections, and logic of predicates.

use super::lanes::{Value, test2};
use super::{Block, Decoded, Flow, Handler, Warp};

/// A comparison of two values.
pub(crate) trait Test {
    type Of: Value;
    fn holds(a: Self::Of, b: Self::Of) -> bool;
}

macro_rules! tests {
    ($($name:ident($ty:ty): $f:expr;)*) => {$(
        pub(crate) struct $name;
        #[allow(clippy::neg_cmp_op_on_partial_ord)]
        impl Test for $name {
            type Of = $ty;
            #[inline(always)]
            fn holds(a: $ty, b: $ty) -> bool {
                let f: fn($ty, $ty) -> bool = $f;
                f(a, b)
            }
        }
    )*};
}

tests! {
    Eq32(u32): |a, b| a == b;
    Ne32(u32): |a, b| a != b;
    LtS32(i32): |a, b| a < b;
    LeS32(i32): |a, b| a <= b;
    GtS32(i32): |a, b| a > b;
    GeS32(i32): |a, b| a >= b;
    LtU32(u32): |a, b| a < b;
    LeU32(u32): |a, b| a <= b;
    GtU32(u32): |a, b| a > b;
    GeU32(u32): |a, b| a >= b;
    Eq64(u64): |a, b| a == b;
    Ne64(u64): |a, b| a != b;
    LtS64(i64): |a, b| a < b;
    LeS64(i64): |a, b| a <= b;
    GtS64(i64): |a, b| a > b;
    GeS64(i64): |a, b| a >= b;
    LtU64(u64): |a, b| a < b;
    LeU64(u64): |a, b| a <= b;
    GtU64(u64): |a, b| a > b;
    GeU64(u64): |a, b| a >= b;
    Eq16(u16): |a, b| a == b;
    Ne16(u16): |a, b| a != b;
    LtS16(i16): |a, b| a < b;
    LeS16(i16): |a, b| a <= b;
    GtS16(i16): |a, b| a > b;
    GeS16(i16): |a, b| a >= b;
    LtU16(u16): |a, b| a < b;
    LeU16(u16): |a, b| a <= b;
    GtU16(u16): |a, b| a > b;
    GeU16(u16): |a, b| a >= b;
}

macro_rules! float_tests {
    ($ty:ty: $eq:ident $ne:ident $lt:ident $le:ident $gt:ident $ge:ident
     $equ:ident $neu:ident $ltu:ident $leu:ident $gtu:ident $geu:ident $num:ident $nan:ident) => {
        tests! {
            // Ordered: false where one is NaN.
            $eq($ty): |a, b| a == b;
            $ne($ty): |a, b| (a < b) | (a > b);
            $lt($ty): |a, b| a < b;
            $le($ty): |a, b| a <= b;
            $gt($ty): |a, b| a > b;
            $ge($ty): |a, b| a >= b;
            // Unordered: true where one is NaN, which the negation of an ordered one is.
            $equ($ty): |a, b| !((a < b) | (a > b));
            $neu($ty): |a, b| a != b;
            $ltu($ty): |a, b| !(a >= b);
            $leu($ty): |a, b| !(a > b);
            $gtu($ty): |a, b| !(a <= b);
            $geu($ty): |a, b| !(a < b);
            $num($ty): |a, b| !a.is_nan() & !b.is_nan();
            $nan($ty): |a, b| a.is_nan() | b.is_nan();
        }
    };
}

float_tests!(f32: EqF32 NeF32 LtF32 LeF32 GtF32 GeF32 EquF32 NeuF32 LtuF32 LeuF32 GtuF32 GeuF32 NumF32 NanF32);
float_tests!(f64: EqF64 NeF64 LtF64 LeF64 GtF64 GeF64 EquF64 NeuF64 LtuF64 LeuF64 GtuF64 GeuF64 NumF64 NanF64);

/// `setp` with one result.
pub(crate) struct Setp<T>(std::marker::PhantomData<T>);

impl<T: Test> Handler for Setp<T> {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        // SAFETY: lowering gave this handler two slots of the type and a predicate.
        unsafe {
            let holds = test2::<T::Of>(w, i, T::holds);
            if WHOLE { *w.slot::<u32>(i.r[0]) = holds } else { w.set_predicate(i.r[0], holds) }
        }
        Flow::Go
    }
}

/// `selp`: `c` is the predicate; bit 0 of `imm` says that it is negated.
pub(crate) struct Selp<V>(std::marker::PhantomData<V>);

impl<V: Value> Handler for Selp<V> {
    #[inline(always)]
    unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
        // SAFETY: lowering gave this handler slots of the type and a predicate.
        unsafe {
            let p = w.predicate(i.c) ^ (i.imm as u32 & 1).wrapping_neg();
            super::lanes::select::<V::Cell, WHOLE>(w, i, p);
        }
        Flow::Go
    }
}

/// Logic of predicates: bits 0 and 1 of `imm` negate `a` and `b`.
pub(crate) struct PredAnd;
pub(crate) struct PredOr;
pub(crate) struct PredXor;

macro_rules! predicates {
    ($($name:ident: $f:expr;)*) => {$(
        impl Handler for $name {
            #[inline(always)]
            unsafe fn run<const WHOLE: bool>(i: &Decoded, w: &mut Warp, _: &mut Block<'_>) -> Flow {
                // SAFETY: lowering gave this handler predicates.
                unsafe {
                    let a = w.predicate(i.a) ^ (i.imm as u32 & 1).wrapping_neg();
                    let b = w.predicate(i.b) ^ (i.imm as u32 >> 1 & 1).wrapping_neg();
                    let f: fn(u32, u32) -> u32 = $f;
                    w.set_predicate(i.r[0], f(a, b));
                }
                Flow::Go
            }
        }
    )*};
}

predicates! {
    PredAnd: |a, b| a & b;
    PredOr: |a, b| a | b;
    PredXor: |a, b| a ^ b;
}
