//! Registers as lanes side by side, and the loops over them.
//!
//! A register of up to 32 bits is a slot of 32 words, one of 64 bits of 32 double words, a predicate is one word with a bit for
//! each lane. Slots either coincide or lie apart, so a loop may read and write them in pieces, one after the other. Loops go in
//! pieces of 16 lanes, which the compiler turns into vectors without a test for overlap.

use super::{Decoded, LANES, Warp};

/// Lanes of a piece.
pub(crate) const PIECE: usize = 16;

/// The content of a lane of a slot.
pub(crate) trait Cell: Copy + Default + 'static {
    /// This where the lowest bit of `on` is set, `old` where not.
    fn blend(self, old: Self, on: u32) -> Self;
}

impl Cell for u32 {
    #[inline(always)]
    fn blend(self, old: u32, on: u32) -> u32 {
        let keep = (on & 1).wrapping_neg();
        self & keep | old & !keep
    }
}

impl Cell for u64 {
    #[inline(always)]
    fn blend(self, old: u64, on: u32) -> u64 {
        let keep = u64::from(on & 1).wrapping_neg();
        self & keep | old & !keep
    }
}

/// A value as an instruction sees it. Of a slot that is wider, the low bits count.
pub(crate) trait Value: Copy {
    /// The cell that holds it.
    type Cell: Cell;
    /// From a register.
    fn of(cell: Self::Cell) -> Self;
    /// Into a register.
    fn cell(self) -> Self::Cell;
}

macro_rules! values {
    ($($ty:ty: $cell:ty, $of:expr, $cell_of:expr;)*) => {$(
        impl Value for $ty {
            type Cell = $cell;
            #[inline(always)]
            fn of(cell: $cell) -> $ty {
                let of: fn($cell) -> $ty = $of;
                of(cell)
            }
            #[inline(always)]
            fn cell(self) -> $cell {
                let cell: fn($ty) -> $cell = $cell_of;
                cell(self)
            }
        }
    )*};
}

values! {
    u8: u32, |x| x as u8, u32::from;
    i8: u32, |x| x as i8, |x| i32::from(x) as u32;
    u16: u32, |x| x as u16, u32::from;
    i16: u32, |x| x as i16, |x| i32::from(x) as u32;
    u32: u32, |x| x, |x| x;
    i32: u32, |x| x as i32, |x| x as u32;
    u64: u64, |x| x, |x| x;
    i64: u64, |x| x as i64, |x| x as u64;
    f32: u32, f32::from_bits, f32::to_bits;
    f64: u64, f64::from_bits, f64::to_bits;
}

impl Warp {
    /// Lane 0 of the slot at a word.
    #[inline(always)]
    pub(crate) fn slot<C: Cell>(&self, word: u32) -> *mut C {
        debug_assert!((word as usize) < self.words());
        self.base().wrapping_add(word as usize).cast()
    }

    /// All lanes of a slot.
    ///
    /// # Safety
    /// A slot for such values lies at the word.
    #[inline(always)]
    pub(crate) unsafe fn lanes<C: Cell>(&self, word: u32) -> [C; LANES] {
        // SAFETY: the caller says that the slot is there.
        unsafe { self.slot::<C>(word).cast::<[C; LANES]>().read() }
    }

    /// Writes the active lanes of a slot.
    ///
    /// # Safety
    /// A slot for such values lies at the word.
    #[inline(always)]
    pub(crate) unsafe fn set_lanes<C: Cell, const WHOLE: bool>(&mut self, word: u32, values: &[C; LANES]) {
        let slot = self.slot::<C>(word).cast::<[C; PIECE]>();
        for k in 0..LANES / PIECE {
            // SAFETY: the caller says that the slot is there.
            let mut piece = unsafe { slot.add(k).read() };
            for j in 0..PIECE {
                let value = values[k * PIECE + j];
                piece[j] = if WHOLE { value } else { value.blend(piece[j], self.mask >> (k * PIECE + j)) };
            }
            // SAFETY: as above.
            unsafe { slot.add(k).write(piece) };
        }
    }

    /// A predicate: a bit for each lane.
    ///
    /// # Safety
    /// A predicate lies at the word.
    #[inline(always)]
    pub(crate) unsafe fn predicate(&self, word: u32) -> u32 {
        // SAFETY: the caller says that it is there.
        unsafe { *self.slot::<u32>(word) }
    }

    /// Sets the active lanes of a predicate.
    ///
    /// # Safety
    /// A predicate lies at the word.
    #[inline(always)]
    pub(crate) unsafe fn set_predicate(&mut self, word: u32, value: u32) {
        let slot = self.slot::<u32>(word);
        // SAFETY: the caller says that it is there.
        unsafe { *slot = value & self.mask | *slot & !self.mask };
    }
}

/// `d = f(a)` in every active lane.
///
/// # Safety
/// Slots of the right width lie at the instruction's operands.
#[inline(always)]
pub(crate) unsafe fn map1<A: Value, R: Value, const WHOLE: bool>(w: &mut Warp, i: &Decoded, f: impl Fn(A) -> R) {
    let (a, d) = (w.pieces::<A>(i.a), w.pieces::<R>(i.r[0]));
    for k in 0..LANES / PIECE {
        // SAFETY: the caller says that the slots are there; they hold two pieces.
        let (x, mut r) = unsafe { (a.add(k).read(), d.add(k).read()) };
        for j in 0..PIECE {
            let value = f(A::of(x[j])).cell();
            r[j] = if WHOLE { value } else { value.blend(r[j], w.mask >> (k * PIECE + j)) };
        }
        // SAFETY: as above.
        unsafe { d.add(k).write(r) };
    }
}

/// `d = f(a, b)` in every active lane.
///
/// # Safety
/// Slots of the right width lie at the instruction's operands.
#[inline(always)]
pub(crate) unsafe fn map2<A: Value, B: Value, R: Value, const WHOLE: bool>(
    w: &mut Warp,
    i: &Decoded,
    f: impl Fn(A, B) -> R,
) {
    let (a, b, d) = (w.pieces::<A>(i.a), w.pieces::<B>(i.b), w.pieces::<R>(i.r[0]));
    for k in 0..LANES / PIECE {
        // SAFETY: the caller says that the slots are there; they hold two pieces.
        let (x, y, mut r) = unsafe { (a.add(k).read(), b.add(k).read(), d.add(k).read()) };
        for j in 0..PIECE {
            let value = f(A::of(x[j]), B::of(y[j])).cell();
            r[j] = if WHOLE { value } else { value.blend(r[j], w.mask >> (k * PIECE + j)) };
        }
        // SAFETY: as above.
        unsafe { d.add(k).write(r) };
    }
}

/// `d = f(a, b, c)` in every active lane.
///
/// # Safety
/// Slots of the right width lie at the instruction's operands.
#[inline(always)]
pub(crate) unsafe fn map3<A: Value, B: Value, C: Value, R: Value, const WHOLE: bool>(
    w: &mut Warp,
    i: &Decoded,
    f: impl Fn(A, B, C) -> R,
) {
    let (a, b, c, d) = (w.pieces::<A>(i.a), w.pieces::<B>(i.b), w.pieces::<C>(i.c), w.pieces::<R>(i.r[0]));
    for k in 0..LANES / PIECE {
        // SAFETY: the caller says that the slots are there; they hold two pieces.
        let (x, y, z, mut r) = unsafe { (a.add(k).read(), b.add(k).read(), c.add(k).read(), d.add(k).read()) };
        for j in 0..PIECE {
            let value = f(A::of(x[j]), B::of(y[j]), C::of(z[j])).cell();
            r[j] = if WHOLE { value } else { value.blend(r[j], w.mask >> (k * PIECE + j)) };
        }
        // SAFETY: as above.
        unsafe { d.add(k).write(r) };
    }
}

/// `d = a` in the lanes of `p`, `b` in others.
///
/// # Safety
/// Slots of the right width lie at the instruction's operands.
#[inline(always)]
pub(crate) unsafe fn select<C: Cell, const WHOLE: bool>(w: &mut Warp, i: &Decoded, p: u32) {
    let slot = |word| w.slot::<C>(word).cast::<[C; PIECE]>();
    let (a, b, d) = (slot(i.a), slot(i.b), slot(i.r[0]));
    for k in 0..LANES / PIECE {
        // SAFETY: the caller says that the slots are there; they hold two pieces.
        let (x, y, mut r) = unsafe { (a.add(k).read(), b.add(k).read(), d.add(k).read()) };
        for j in 0..PIECE {
            let value = x[j].blend(y[j], p >> (k * PIECE + j));
            r[j] = if WHOLE { value } else { value.blend(r[j], w.mask >> (k * PIECE + j)) };
        }
        // SAFETY: as above.
        unsafe { d.add(k).write(r) };
    }
}

/// The lanes where `f(a, b)` holds, inactive ones included.
///
/// # Safety
/// Slots of the right width lie at the instruction's sources.
#[inline(always)]
pub(crate) unsafe fn test2<A: Value>(w: &Warp, i: &Decoded, f: impl Fn(A, A) -> bool) -> u32 {
    let (a, b) = (w.pieces::<A>(i.a), w.pieces::<A>(i.b));
    let mut result = 0;
    for k in 0..LANES / PIECE {
        // SAFETY: the caller says that the slots are there; they hold two pieces.
        let (x, y) = unsafe { (a.add(k).read(), b.add(k).read()) };
        let mut holds = [0; PIECE];
        for j in 0..PIECE {
            holds[j] = u8::from(f(A::of(x[j]), A::of(y[j]))).wrapping_neg();
        }
        result |= sign_bits(holds) << (k * PIECE);
    }
    result
}

/// The lanes for which something holds, active or not.
#[inline(always)]
pub(crate) fn lanes_that(f: impl Fn(usize) -> bool) -> u32 {
    let mut result = 0;
    for k in 0..LANES / PIECE {
        let mut holds = [0; PIECE];
        for j in 0..PIECE {
            holds[j] = u8::from(f(k * PIECE + j)).wrapping_neg();
        }
        result |= sign_bits(holds) << (k * PIECE);
    }
    result
}

/// The highest bit of each byte, the first as the lowest.
#[inline(always)]
fn sign_bits(bytes: [u8; PIECE]) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_loadu_si128, _mm_movemask_epi8};
        // SAFETY: every x86-64 processor has SSE2; 16 bytes are there.
        unsafe { _mm_movemask_epi8(_mm_loadu_si128(bytes.as_ptr().cast())) as u32 }
    }
    #[cfg(not(target_arch = "x86_64"))]
    bytes.iter().enumerate().fold(0, |bits, (at, &byte)| bits | u32::from(byte >> 7) << at)
}

impl Warp {
    #[inline(always)]
    fn pieces<A: Value>(&self, word: u32) -> *mut [A::Cell; PIECE] {
        self.base().wrapping_add(word as usize).cast()
    }
}

/// Handlers of two sources.
macro_rules! binary {
    ($($name:ident($a:ty, $b:ty) -> $r:ty: $f:expr;)*) => {$(
        pub(crate) struct $name;
        impl $crate::exec::Handler for $name {
            #[inline(always)]
            unsafe fn run<const WHOLE: bool>(
                i: &$crate::exec::Decoded,
                w: &mut $crate::exec::Warp,
                _: &mut $crate::exec::Block<'_>,
            ) -> $crate::exec::Flow {
                // SAFETY: lowering gave this handler slots of these types.
                unsafe { $crate::exec::lanes::map2::<$a, $b, $r, WHOLE>(w, i, $f) };
                $crate::exec::Flow::Go
            }
        }
    )*};
}

/// Handlers of one source.
macro_rules! unary {
    ($($name:ident($a:ty) -> $r:ty: $f:expr;)*) => {$(
        pub(crate) struct $name;
        impl $crate::exec::Handler for $name {
            #[inline(always)]
            unsafe fn run<const WHOLE: bool>(
                i: &$crate::exec::Decoded,
                w: &mut $crate::exec::Warp,
                _: &mut $crate::exec::Block<'_>,
            ) -> $crate::exec::Flow {
                // SAFETY: lowering gave this handler slots of these types.
                unsafe { $crate::exec::lanes::map1::<$a, $r, WHOLE>(w, i, $f) };
                $crate::exec::Flow::Go
            }
        }
    )*};
}

/// Handlers of three sources.
macro_rules! ternary {
    ($($name:ident($a:ty, $b:ty, $c:ty) -> $r:ty: $f:expr;)*) => {$(
        pub(crate) struct $name;
        impl $crate::exec::Handler for $name {
            #[inline(always)]
            unsafe fn run<const WHOLE: bool>(
                i: &$crate::exec::Decoded,
                w: &mut $crate::exec::Warp,
                _: &mut $crate::exec::Block<'_>,
            ) -> $crate::exec::Flow {
                // SAFETY: lowering gave this handler slots of these types.
                unsafe { $crate::exec::lanes::map3::<$a, $b, $c, $r, WHOLE>(w, i, $f) };
                $crate::exec::Flow::Go
            }
        }
    )*};
}

pub(crate) use {binary, ternary, unary};
