//! `wgmma.mma_async` (§9.7.16.5, "Asynchronous Warpgroup Level Matrix Instructions"): D = A B + D over four warps, with B and
//! perhaps A in shared memory.
//!
//! # Registers
//!
//! Warp w of the four has rows 16 w to 16 w + 15. Within these, A's registers are those of `mma` m16n8k16 (for 16 bits; m16n8k8 for tf32,
//! m16n8k32 for 8 bits), and the accumulator's are those of one `mma` for each eight columns, one after the other (§9.7.16.5.1.1).
//!
//! # Shared memory
//!
//! A descriptor (§9.7.16.5.1.2.2) gives a start address, two byte offsets and a swizzling mode. By the canonical layouts of
//! §9.7.16.5.1.2.1.3, with `s` the swizzle's span (16 without one), the element at `x` along m or n and at byte `y` along k (K-major),
//! or at byte `x` along m or n and at `y` along k (MN-major), lies, before swizzling, at
//!
//! ```text
//!  K-major, none        (x % 8) 16 + (x / 8) stride + (y / 16) leading + y % 16
//!  K-major, swizzled    (x % 8) s  + (x / 8) stride + y
//!  MN-major, none       x % 16 + (x / 16) stride  + (y % 8) 16 + (y / 8) leading
//!  MN-major, swizzled   x % s  + (x / s) leading  + (y % 8) s  + (y / 8) stride
//! ```
//!
//! K-major with a swizzle leaves the leading offset unused. Swizzling goes by the address, so that a start within a row of the atom
//! (the usual step along k) needs no base offset.
//!
//! # Accuracy
//!
//! As for [`mma`](super::mma): products in f32, sums in f32 in ascending k beginning with D, rounded to nearest even; an f16
//! accumulator is rounded once at each instruction's end. The ISA leaves order, rounding and subnormals open; sums of 8-bit floats
//! have been reported to keep fewer bits on Hopper than f32 has. tf32 inputs lose their lower 13 bits, as the ISA says.

use super::mma::{Accumulator, Element, Lanes, clamp_or_wrap, gather_a, gather_c, multiply, scatter_d};
use super::numbers::{from_bf16, from_e4m3, from_e5m2, from_f16, from_tf32};
use super::swizzle::{Swizzle, swizzle_from};
use crate::text::ast::{Shape, Type};

/// Reads bytes of shared memory, at an address of the block's own shared memory.
pub type ReadShared<'a> = dyn FnMut(u32, &mut [u8]) + 'a;

/// Why a `wgmma` can't be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WgmmaError {
    /// A form that the ISA has not.
    #[error("wgmma.m{}n{}k{} with D, A, B of types {types:?} is not known: {why}", shape.m, shape.n, shape.k)]
    Unknown {
        /// m, n, k.
        shape: Shape,
        /// Types of D, A and B.
        types: [Type; 3],
        /// The part of it that is not known.
        why: &'static str,
    },
    /// Bits of a descriptor that no field has.
    #[error(
        "the matrix descriptor {0:#018x} has bits set outside of its fields (bits 14, 15, 30, 31, 46 to 48 and 52 to 61 must be 0)"
    )]
    DescriptorBits(u64),
    /// A base offset without a swizzle.
    #[error("the matrix descriptor {0:#018x} has a base offset, which the mode without swizzling has not")]
    BaseOffset(u64),
}

/// A form of `wgmma`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    n: usize,
    k: usize,
    a: Element,
    b: Element,
    accumulator: Accumulator,
    negate_a: bool,
    negate_b: bool,
    trans_a: bool,
    trans_b: bool,
}

/// The immediate operands of `wgmma` and its `.satfinite`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Immediates {
    /// `imm-scale-a` is -1.
    pub negate_a: bool,
    /// `imm-scale-b` is -1.
    pub negate_b: bool,
    /// `imm-trans-a`: A is M-major.
    pub trans_a: bool,
    /// `imm-trans-b`: B is N-major.
    pub trans_b: bool,
    /// `.satfinite`, of integers.
    pub saturate: bool,
}

/// The place of A.
#[derive(Debug, Clone, Copy)]
pub enum A<'a> {
    /// In shared memory.
    Descriptor(u64),
    /// In four registers of each of the four warps.
    Registers([&'a [Lanes]; 4]),
}

/// A matrix descriptor, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Address of the first element, a multiple of 16.
    pub start: u32,
    /// Leading dimension byte offset.
    pub leading: u32,
    /// Stride dimension byte offset.
    pub stride: u32,
    /// The line of 128 bytes, of eight, that the swizzle's pattern begins with.
    pub base_offset: u32,
    /// Swizzling mode.
    pub swizzle: Swizzle,
}

impl Descriptor {
    /// Takes a descriptor apart.
    pub fn decode(bits: u64) -> Result<Descriptor, WgmmaError> {
        // Addresses and offsets are given without their lowest four bits, which are zero, in 14 bits each.
        let field = |shift: u32| (bits >> shift & 0x3FFF) as u32 * 16;
        let fields = 0x3FFF | 0x3FFF << 16 | 0x3FFF << 32 | 7 << 49 | 3 << 62;
        if bits & !fields != 0 {
            return Err(WgmmaError::DescriptorBits(bits));
        }
        let swizzle = [Swizzle::None, Swizzle::Bytes128, Swizzle::Bytes64, Swizzle::Bytes32][(bits >> 62) as usize];
        let base_offset = (bits >> 49 & 7) as u32;
        if base_offset != 0 && swizzle == Swizzle::None {
            return Err(WgmmaError::BaseOffset(bits));
        }
        Ok(Descriptor { start: field(0), leading: field(16), stride: field(32), base_offset, swizzle })
    }

    /// The address of the 16 bytes that begin at element `x` along m or n and byte `y` along k, or for `mn_major` at byte `x` and
    /// element `y`; the one in bytes is a multiple of 16.
    pub fn address(&self, mn_major: bool, x: u32, y: u32) -> u32 {
        let span = self.swizzle.span();
        let offset = match (mn_major, span) {
            (false, 0) => x % 8 * 16 + x / 8 * self.stride + y / 16 * self.leading,
            (false, _) => x % 8 * span + x / 8 * self.stride + y,
            (true, 0) => x / 16 * self.stride + y % 8 * 16 + y / 8 * self.leading,
            (true, _) => x % span + x / span * self.leading + y % 8 * span + y / 8 * self.stride,
        };
        swizzle_from(self.swizzle, self.start + offset, self.base_offset)
    }
}

impl Kind {
    /// The form for a shape, the types of D, A and B, and the immediate operands. `a_in_registers`: A has no descriptor.
    pub fn new(
        shape: Shape,
        d_ty: Type,
        a_ty: Type,
        b_ty: Type,
        a_in_registers: bool,
        immediates: Immediates,
    ) -> Result<Kind, WgmmaError> {
        let unknown = |why| WgmmaError::Unknown { shape, types: [d_ty, a_ty, b_ty], why };
        let Immediates { negate_a, negate_b, trans_a, trans_b, saturate } = immediates;
        let (a, b) = Element::of(a_ty)
            .zip(Element::of(b_ty))
            .ok_or_else(|| unknown("A and B must be f16, bf16, tf32, e4m3, e5m2, s8 or u8"))?;
        if a != b && !(a.is_fp8() && b.is_fp8()) && !(a.is_integer() && b.is_integer()) {
            return Err(unknown("A and B must be of one type, or both of 8 bits, floating-point or integer"));
        }
        let accumulator = match d_ty {
            Type::F32 if !a.is_integer() => Accumulator::F32,
            Type::F16 if a == Element::F16 || a.is_fp8() => Accumulator::F16,
            Type::S32 if a.is_integer() => Accumulator::S32 { saturate },
            _ => return Err(unknown("D must be f32, or f16 for f16, e4m3 and e5m2, or s32 for s8 and u8")),
        };
        let k = 8 * a.per_register();
        if shape.m != 64 || shape.k as usize != k {
            return Err(unknown("m must be 64, and a row of A must be 32 bytes: k 8, 16 or 32"));
        }
        if !(8..=256).contains(&shape.n) || !shape.n.is_multiple_of(8) {
            return Err(unknown("n must be a multiple of 8 from 8 to 256"));
        }
        if a.is_integer() && shape.n > 32 && !shape.n.is_multiple_of(16) || a.is_integer() && (negate_a || negate_b) {
            return Err(unknown("integers have n of 8, 16, 24, 32 and further multiples of 16, and no negation"));
        }
        if (trans_a || trans_b) && a.per_register() != 2 {
            return Err(unknown("only f16 and bf16 can be M- or N-major"));
        }
        if trans_a && a_in_registers || saturate && !a.is_integer() {
            return Err(unknown("A in registers can't be transposed, and only integers have .satfinite"));
        }
        Ok(Kind { n: shape.n as usize, k, a, b, accumulator, negate_a, negate_b, trans_a, trans_b })
    }

    /// Registers of D in each warp.
    pub fn d_registers(&self) -> usize {
        if self.accumulator == Accumulator::F16 { self.n / 4 } else { self.n / 2 }
    }

    /// Registers of A in each warp, where it is in registers.
    pub fn a_registers(&self) -> usize {
        4
    }
}

/// D = A B + D, or without `scale_d` D = A B. `d` are the registers of the four warps, the first one's first.
///
/// # Panics
/// When the numbers of registers are not those of the kind.
pub fn wgmma(
    kind: &Kind,
    d: [&mut [Lanes]; 4],
    a: A<'_>,
    b: u64,
    scale_d: bool,
    read: &mut ReadShared<'_>,
) -> Result<(), WgmmaError> {
    match kind.k {
        8 => run::<8>(kind, d, a, b, scale_d, read),
        16 => run::<16>(kind, d, a, b, scale_d, read),
        _ if kind.a.is_integer() => run_integers(kind, d, a, b, scale_d, read),
        _ => run::<32>(kind, d, a, b, scale_d, read),
    }
}

fn run<const K: usize>(
    kind: &Kind,
    d: [&mut [Lanes]; 4],
    a: A<'_>,
    b: u64,
    scale_d: bool,
    read: &mut ReadShared<'_>,
) -> Result<(), WgmmaError> {
    let a_rows = match a {
        A::Descriptor(bits) => {
            let mut rows = [[[0f32; K]; 16]; 4];
            let matrix = load(&Descriptor::decode(bits)?, kind.trans_a, 64, kind.a, read);
            each_float(kind.a, kind.trans_a, 64, &matrix, |x, k, value| rows[x / 16][x % 16][k] = value);
            rows
        }
        A::Registers(registers) => registers.map(|registers| {
            assert_eq!(registers.len(), kind.a_registers(), "registers of A for {kind:?}");
            let mut rows = [[0f32; K]; 16];
            gather_a(kind.a, registers, &mut rows);
            rows
        }),
    };
    let mut b_blocks = vec![[[0f32; 8]; K]; kind.n / 8];
    let matrix = load(&Descriptor::decode(b)?, kind.trans_b, kind.n, kind.b, read);
    // The sign of a product is that of both factors, so that it can be put on B alone.
    let sign = if kind.negate_a != kind.negate_b { -1.0 } else { 1.0 };
    each_float(kind.b, kind.trans_b, kind.n, &matrix, |x, k, value| b_blocks[x / 8][k][x % 8] = sign * value);

    let halves = kind.accumulator == Accumulator::F16;
    for (rows, d) in a_rows.iter().zip(d) {
        assert_eq!(d.len(), kind.d_registers(), "registers of D for {kind:?}");
        for (block, d) in b_blocks.iter().zip(d.chunks_exact_mut(if halves { 2 } else { 4 })) {
            let mut sums = [[0f32; 8]; 16];
            if scale_d {
                gather_c(halves, d, &mut sums);
            }
            multiply(rows, block, &mut sums);
            scatter_d(halves, &sums, d);
        }
    }
    Ok(())
}

/// s8 and u8: exact, with sums that wrap or are clamped.
fn run_integers(
    kind: &Kind,
    d: [&mut [Lanes]; 4],
    a: A<'_>,
    b: u64,
    scale_d: bool,
    read: &mut ReadShared<'_>,
) -> Result<(), WgmmaError> {
    let value = |element, byte: u8| if element == Element::S8 { i32::from(byte as i8) } else { i32::from(byte) };
    let mut a_rows = [[0i32; 32]; 64];
    match a {
        A::Descriptor(bits) => {
            let matrix = load(&Descriptor::decode(bits)?, false, 64, kind.a, read);
            for (i, &byte) in matrix.iter().enumerate() {
                a_rows[i / 32][i % 32] = value(kind.a, byte);
            }
        }
        A::Registers(registers) => {
            for (i, bits) in registers.iter().flat_map(|warp| warp.iter().flatten()).enumerate() {
                let (warp, register, lane) = (i / 128, i / 32 % 4, i % 32);
                for (e, byte) in bits.to_le_bytes().into_iter().enumerate() {
                    let row = 16 * warp + lane / 4 + 8 * (register % 2);
                    a_rows[row][4 * (lane % 4) + e + 16 * (register / 2)] = value(kind.a, byte);
                }
            }
        }
    }
    let b_rows = load(&Descriptor::decode(b)?, false, kind.n, kind.b, read);
    for (warp, d) in d.into_iter().enumerate() {
        assert_eq!(d.len(), kind.d_registers(), "registers of D for {kind:?}");
        for (i, lane) in (0..d.len() * 32).map(|i| (i / 32, i % 32)) {
            let (row, column) = (16 * warp + lane / 4 + 8 * (i % 4 / 2), 8 * (i / 4) + 2 * (lane % 4) + i % 2);
            let b_row = &b_rows[32 * column..32 * column + 32];
            let sum = a_rows[row].iter().zip(b_row).map(|(a, &b)| a * value(kind.b, b)).sum();
            let start = if scale_d { d[i][lane] as i32 } else { 0 };
            d[i][lane] = clamp_or_wrap(kind.accumulator, start, sum);
        }
    }
    Ok(())
}

/// The bytes of a matrix of `size` × 32 bytes along k: rows of k, or for `mn_major` rows of m or n.
fn load(descriptor: &Descriptor, mn_major: bool, size: usize, element: Element, read: &mut ReadShared<'_>) -> Vec<u8> {
    // An MN-major row is all of m or n, in 2 bytes an element; there are k rows.
    let (row_bytes, rows) = if mn_major { (2 * size, 8 * element.per_register()) } else { (32, size) };
    let mut bytes = vec![0; rows * row_bytes];
    for (i, chunk) in bytes.chunks_exact_mut(16).enumerate() {
        let (row, byte) = ((16 * i / row_bytes) as u32, (16 * i % row_bytes) as u32);
        let (x, y) = if mn_major { (byte, row) } else { (row, byte) };
        read(descriptor.address(mn_major, x, y), chunk);
    }
    bytes
}

/// Every element of what [`load`] gives, with its place along m or n and along k.
fn each_float(element: Element, mn_major: bool, size: usize, bytes: &[u8], mut place: impl FnMut(usize, usize, f32)) {
    let row = if mn_major { size } else { 8 * element.per_register() };
    let mut at = |i: usize, value| {
        let (row, within) = (i / row, i % row);
        if mn_major { place(within, row, value) } else { place(row, within, value) }
    };
    let halves = bytes.chunks_exact(2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]])).enumerate();
    let bytes_at = bytes.iter().copied().enumerate();
    match element {
        Element::Bf16 => halves.for_each(|(i, bits)| at(i, from_bf16(bits))),
        Element::F16 => halves.for_each(|(i, bits)| at(i, from_f16(bits))),
        Element::E4m3 => bytes_at.for_each(|(i, bits)| at(i, from_e4m3(bits))),
        Element::E5m2 => bytes_at.for_each(|(i, bits)| at(i, from_e5m2(bits))),
        Element::Tf32 => bytes.chunks_exact(4).enumerate().for_each(|(i, bytes)| {
            at(i, from_tf32(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])));
        }),
        Element::S8 | Element::U8 => unreachable!("integers have a product of their own"),
    }
}
