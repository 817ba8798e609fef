//! `mma.sync` (§9.7.15.5, "Matrix multiply-accumulate operation using mma instruction"): D = A B + C over a warp.
//!
//! # Where elements lie
//!
//! With `g = lane / 4` and `t = lane % 4` (the ISA's groupID and threadID_in_group), and `p` elements in a register (4 of 8 bits, 2 of
//! 16, 1 of 32 and, in a 64-bit register, 1 of 64), all shapes with n = 8 that are known here have one rule. Element `e` of register
//! `r` is
//!
//! ```text
//!  A, m × k     row g + 8 (r % 2)       column p t + e + 4 p (r / 2)
//!  B, k × n     row p t + e + 4 p r     column g
//!  C, D, m × n  row g + 8 (i / 2)       column 2 t + i % 2        for the i-th element, over all registers
//! ```
//!
//! That is what the formulas of §9.7.15.5.6 (m16n8k4), .7 (m16n8k8), .8 (m16n8k16, floating point), .9 (m16n8k16, 8 bits) and .10
//! (m16n8k32) say one by one. m8n8k4 for f64 (§9.7.15.5.2) is the same with the upper half of the rows alone.
//!
//! # Accuracy
//!
//! The ISA leaves the order of the sum, its rounding and the treatment of subnormal inputs open, and asks for products and sums "with
//! at least single precision" (f16 and f32 accumulators; f16 ones "at least half"). Hardware aligns several products to their greatest
//! exponent and truncates. Here each product is rounded to f32 (of two bf16, f16, tf32 or 8-bit numbers it is exact, short of
//! f32's overflow and underflow), and is added in f32, to nearest even, in ascending k, beginning with C; an f16 accumulator is
//! rounded once, at the end; NaN comes out as 0x7FFFFFFF. So the same inputs give the same bits on every machine, but these are not a
//! GPU's bits: tests of kernels need a tolerance, of about k units in the last place of the sum of magnitudes.
//!
//! f64 is fused multiply-add in ascending k, rounded as `.rn` says. Integers are exact; sums wrap, or are clamped with `.satfinite`.

use crate::tensor::numbers::{canonical, from_bf16, from_e4m3, from_e5m2, from_f16, from_tf32, pack, to_f16, unpack};
use crate::text::ast::{Shape, Type};

/// Registers of a warp: one value for each lane.
pub type Lanes = [u32; 32];

/// The elements of A or B.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Element {
    Tf32,
    Bf16,
    F16,
    E4m3,
    E5m2,
    S8,
    U8,
}

/// The elements of C and D.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Accumulator {
    /// One in each register.
    F32,
    /// Two in each register.
    F16,
    /// One in each register; `saturate`: `.satfinite`.
    S32 {
        /// Sums are clamped to the range of s32 and do not wrap.
        saturate: bool,
    },
}

/// A form of `mma` other than f64's, which is [`mma_f64`]: what lowering finds out once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kind {
    k: usize,
    a: Element,
    b: Element,
    accumulator: Accumulator,
}

/// A form of `mma` that is not known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "mma.m{}n{}k{} with D, A, B, C of types {types:?} is not known; known are m16n8k4 and k8 (tf32), k8 and k16 (bf16, f16), \
     k16 and k32 (s8, u8, e4m3, e5m2), with f32, f16 or s32 as the ISA pairs them, and m8n8k4 and m16n8k4, k8, k16 for f64",
    shape.m, shape.n, shape.k
)]
pub struct UnknownMma {
    /// m, n, k.
    pub shape: Shape,
    /// Types of D, A, B and C.
    pub types: [Type; 4],
}

impl Element {
    /// The element that a type names, where it is one of `mma`'s.
    pub fn of(ty: Type) -> Option<Element> {
        Some(match ty {
            Type::Tf32 => Element::Tf32,
            Type::Bf16 => Element::Bf16,
            Type::F16 => Element::F16,
            Type::E4m3 => Element::E4m3,
            Type::E5m2 => Element::E5m2,
            Type::S8 => Element::S8,
            Type::U8 => Element::U8,
            _ => return None,
        })
    }

    /// The number of elements that a 32-bit register holds.
    pub fn per_register(self) -> usize {
        match self {
            Element::Tf32 => 1,
            Element::Bf16 | Element::F16 => 2,
            Element::E4m3 | Element::E5m2 | Element::S8 | Element::U8 => 4,
        }
    }

    pub(super) fn is_integer(self) -> bool {
        matches!(self, Element::S8 | Element::U8)
    }

    pub(super) fn is_fp8(self) -> bool {
        matches!(self, Element::E4m3 | Element::E5m2)
    }
}

impl Kind {
    /// The form for a shape and the types of D, A, B and C; `saturate`: with `.satfinite`, which integers alone have.
    pub fn new(
        shape: Shape,
        d_ty: Type,
        a_ty: Type,
        b_ty: Type,
        c_ty: Type,
        saturate: bool,
    ) -> Result<Kind, UnknownMma> {
        let unknown = || UnknownMma { shape, types: [d_ty, a_ty, b_ty, c_ty] };
        let (a, b) = Element::of(a_ty).zip(Element::of(b_ty)).ok_or_else(unknown)?;
        let pair = a == b || a.is_integer() && b.is_integer() || a.is_fp8() && b.is_fp8();
        let k = [4, 8].map(|fours| fours * a.per_register() as u32);
        let accumulator = match d_ty {
            Type::F32 if !a.is_integer() => Accumulator::F32,
            Type::F16 if a == Element::F16 || a.is_fp8() => Accumulator::F16,
            Type::S32 if a.is_integer() => Accumulator::S32 { saturate },
            _ => return Err(unknown()),
        };
        let saturates = matches!(accumulator, Accumulator::S32 { .. });
        if !pair || shape.m != 16 || shape.n != 8 || !k.contains(&shape.k) || c_ty != d_ty || saturate && !saturates {
            return Err(unknown());
        }
        Ok(Kind { k: shape.k as usize, a, b, accumulator })
    }

    /// Registers of A.
    pub fn a_registers(&self) -> usize {
        self.k / self.a.per_register() / 2
    }

    /// Registers of B.
    pub fn b_registers(&self) -> usize {
        self.k / self.b.per_register() / 4
    }

    /// Registers of C, and of D.
    pub fn d_registers(&self) -> usize {
        if self.accumulator == Accumulator::F16 { 2 } else { 4 }
    }
}

/// D = A B + C.
///
/// # Panics
/// When the numbers of registers are not those of the kind.
pub fn mma(kind: &Kind, a: &[Lanes], b: &[Lanes], c: &[Lanes], d: &mut [Lanes]) {
    let counts = [a.len(), b.len(), c.len(), d.len()];
    let expected = [kind.a_registers(), kind.b_registers(), kind.d_registers(), kind.d_registers()];
    assert_eq!(counts, expected, "registers of A, B, C and D for {kind:?}");
    match (kind.accumulator, kind.k) {
        (Accumulator::S32 { .. }, 16) => integers::<16>(kind, a, b, c, d),
        (Accumulator::S32 { .. }, _) => integers::<32>(kind, a, b, c, d),
        (_, 4) => floats::<4>(kind, a, b, c, d),
        (_, 8) => floats::<8>(kind, a, b, c, d),
        (_, 16) => floats::<16>(kind, a, b, c, d),
        _ => floats::<32>(kind, a, b, c, d),
    }
}

fn floats<const K: usize>(kind: &Kind, a: &[Lanes], b: &[Lanes], c: &[Lanes], d: &mut [Lanes]) {
    let mut rows = [[0f32; K]; 16];
    let mut columns = [[0f32; 8]; K];
    gather_a(kind.a, a, &mut rows);
    gather_b(kind.b, b, &mut columns);
    let mut sums = [[0f32; 8]; 16];
    gather_c(kind.accumulator == Accumulator::F16, c, &mut sums);
    multiply(&rows, &columns, &mut sums);
    scatter_d(kind.accumulator == Accumulator::F16, &sums, d);
}

/// `sums += a b`, in ascending k; the same bits whichever instructions the host has, since a product and a sum round one by one.
pub(super) fn multiply<const K: usize>(a: &[[f32; K]; 16], b: &[[f32; 8]; K], sums: &mut [[f32; 8]; 16]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        #[target_feature(enable = "avx2")]
        fn with_avx2<const K: usize>(a: &[[f32; K]; 16], b: &[[f32; 8]; K], sums: &mut [[f32; 8]; 16]) {
            multiply_rows(a, b, sums);
        }
        // SAFETY: the processor has AVX2, and that is all that the function asks for.
        return unsafe { with_avx2(a, b, sums) };
    }
    multiply_rows(a, b, sums);
}

/// Four rows at once, for independent sums; rows of eight are what the compiler turns into vectors.
#[inline(always)]
fn multiply_rows<const K: usize>(a: &[[f32; K]; 16], b: &[[f32; 8]; K], sums: &mut [[f32; 8]; 16]) {
    for (rows, sums) in a.as_chunks::<4>().0.iter().zip(sums.as_chunks_mut::<4>().0) {
        let mut four = *sums;
        for (k, b) in b.iter().enumerate() {
            for (sum, row) in four.iter_mut().zip(rows) {
                for (sum, b) in sum.iter_mut().zip(b) {
                    *sum += row[k] * b;
                }
            }
        }
        *sums = four;
    }
}

/// The 16 rows of A from its registers.
pub(super) fn gather_a<const K: usize>(element: Element, a: &[Lanes], rows: &mut [[f32; K]; 16]) {
    for (r, register) in a.iter().enumerate() {
        decode(element, register, |group, values| {
            rows[group + 8 * (r % 2)][values.len() * (r / 2)..][..values.len()].copy_from_slice(values);
        });
    }
}

fn gather_b<const K: usize>(element: Element, b: &[Lanes], rows: &mut [[f32; 8]; K]) {
    for (r, register) in b.iter().enumerate() {
        decode(element, register, |group, values| {
            for (row, value) in rows[values.len() * r..].iter_mut().zip(values) {
                row[group] = *value;
            }
        });
    }
}

/// The elements of each group of four lanes, which are neighbours along k, with the group's number.
#[inline(always)]
fn decode(element: Element, register: &Lanes, place: impl FnMut(usize, &[f32])) {
    match element {
        Element::Tf32 => groups(register, |bits| [from_tf32(bits)], place),
        Element::Bf16 => groups(register, |bits| [bits as u16, (bits >> 16) as u16].map(from_bf16), place),
        Element::F16 => groups(register, |bits| [bits as u16, (bits >> 16) as u16].map(from_f16), place),
        Element::E4m3 => groups(register, |bits| bits.to_le_bytes().map(from_e4m3), place),
        Element::E5m2 => groups(register, |bits| bits.to_le_bytes().map(from_e5m2), place),
        Element::S8 | Element::U8 => unreachable!("integers have a product of their own"),
    }
}

#[inline(always)]
fn groups<const P: usize>(register: &Lanes, elements: impl Fn(u32) -> [f32; P], mut place: impl FnMut(usize, &[f32])) {
    for (group, lanes) in register.as_chunks::<4>().0.iter().enumerate() {
        place(group, lanes.map(&elements).as_flattened());
    }
}

/// The accumulator from its registers: four of f32, or two of two f16 each.
pub(super) fn gather_c(halves: bool, c: &[Lanes], sums: &mut [[f32; 8]; 16]) {
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for half in 0..2 {
            let pair = if halves {
                let (low, high) = unpack(c[half][lane]);
                [from_f16(low), from_f16(high)]
            } else {
                [c[2 * half][lane], c[2 * half + 1][lane]].map(f32::from_bits)
            };
            sums[g + 8 * half][2 * t..2 * t + 2].copy_from_slice(&pair);
        }
    }
}

/// The accumulator into its registers.
pub(super) fn scatter_d(halves: bool, sums: &[[f32; 8]; 16], d: &mut [Lanes]) {
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for half in 0..2 {
            let [low, high] = [sums[g + 8 * half][2 * t], sums[g + 8 * half][2 * t + 1]];
            if halves {
                d[half][lane] = pack(to_f16(low), to_f16(high));
            } else {
                d[2 * half][lane] = canonical(low);
                d[2 * half + 1][lane] = canonical(high);
            }
        }
    }
}

fn integers<const K: usize>(kind: &Kind, a: &[Lanes], b: &[Lanes], c: &[Lanes], d: &mut [Lanes]) {
    let mut rows = [[0i32; K]; 16];
    let mut columns = [[0i32; 8]; K];
    for (r, register) in a.iter().enumerate() {
        integer_bytes(kind.a, register, |lane, e, value| {
            rows[lane / 4 + 8 * (r % 2)][4 * (lane % 4) + e + 16 * (r / 2)] = value;
        });
    }
    for (r, register) in b.iter().enumerate() {
        integer_bytes(kind.b, register, |lane, e, value| columns[4 * (lane % 4) + e + 16 * r][lane / 4] = value);
    }
    for lane in 0..32 {
        for i in 0..4 {
            let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            // 32 products of at most 2^16 can't leave an i32, so that only the last sum can.
            let sum = (0..K).map(|k| rows[row][k] * columns[k][column]).sum::<i32>();
            let start = c[i][lane] as i32;
            d[i][lane] = clamp_or_wrap(kind.accumulator, start, sum);
        }
    }
}

/// The bits of `start + sum` in an s32 accumulator.
pub(super) fn clamp_or_wrap(accumulator: Accumulator, start: i32, sum: i32) -> u32 {
    let saturate = accumulator == Accumulator::S32 { saturate: true };
    (if saturate { start.saturating_add(sum) } else { start.wrapping_add(sum) }) as u32
}

fn integer_bytes(element: Element, register: &Lanes, mut place: impl FnMut(usize, usize, i32)) {
    for (lane, &bits) in register.iter().enumerate() {
        for (e, byte) in bits.to_le_bytes().into_iter().enumerate() {
            place(lane, e, if element == Element::S8 { i32::from(byte as i8) } else { i32::from(byte) });
        }
    }
}

/// Whether f64 has this shape.
pub fn is_f64_shape(shape: Shape) -> bool {
    matches!((shape.m, shape.n, shape.k), (8, 8, 4) | (16, 8, 4 | 8 | 16))
}

/// D = A B + C of f64: m8n8k4 with 1, 1 and 2 registers of A, B and C; m16n8k4, k8 and k16 with k / 2, k / 4 and 4.
///
/// # Panics
/// When the numbers of registers are of no such shape.
pub fn mma_f64(a: &[[u64; 32]], b: &[[u64; 32]], c: &[[u64; 32]], d: &mut [[u64; 32]]) {
    let counts = (a.len(), b.len(), c.len(), d.len());
    assert!(
        matches!(counts, (1, 1, 2, 2) | (2, 1, 4, 4) | (4, 2, 4, 4) | (8, 4, 4, 4)),
        "registers of f64: {counts:?}"
    );
    let k = 4 * b.len();
    // With one register of A there are eight rows, and register r holds columns t + 4 r; else two registers share the columns.
    let halves = c.len() / 2;
    let mut rows = [[0f64; 16]; 16];
    let mut columns = [[0f64; 8]; 16];
    for lane in 0..32 {
        let (g, t) = (lane / 4, lane % 4);
        for (r, register) in a.iter().enumerate() {
            rows[g + 8 * (r % halves)][t + 4 * (r / halves)] = f64::from_bits(register[lane]);
        }
        for (r, register) in b.iter().enumerate() {
            columns[t + 4 * r][g] = f64::from_bits(register[lane]);
        }
    }
    for lane in 0..32 {
        for (i, (c, d)) in c.iter().zip(&mut *d).enumerate() {
            let (row, column) = (lane / 4 + 8 * (i / 2), 2 * (lane % 4) + i % 2);
            let products = (0..k).map(|k| (rows[row][k], columns[k][column]));
            d[lane] = products.fold(f64::from_bits(c[lane]), |sum, (a, b)| a.mul_add(b, sum)).to_bits();
        }
    }
}
