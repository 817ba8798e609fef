//! Narrow floating-point formats: bf16, f16, tf32, e4m3 and e5m2 (§5.2.3), to f32 and back.
//!
//! Every value of these formats is an f32, so decoding is exact. Encoding rounds once, from a value that is given exactly, be it an
//! f32, an f64 or an integer: a conversion by way of f32 would round twice.

/// The rounding of a value between two neighbours of a format (§9.7.9.22, `cvt`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Round {
    /// `.rn`: to the nearest; of two equally near ones to the even one.
    NearestEven,
    /// `.rna`: to the nearest; of two equally near ones to the one with the greater magnitude.
    NearestAway,
    /// `.rz`: towards zero.
    Zero,
    /// `.rm`: towards minus infinity.
    Down,
    /// `.rp`: towards plus infinity.
    Up,
}

/// A binary floating-point format in at most 32 bits: sign, exponent, mantissa, from the highest bit to the lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Format {
    exponent_bits: u32,
    mantissa_bits: u32,
    /// The bits of the greatest finite value.
    greatest: u32,
    /// The bits of infinity; `None` for e4m3, which has none.
    infinity: Option<u32>,
    /// The bits that a NaN becomes, without its sign.
    nan: u32,
    /// Unused bits below the mantissa: 13 for tf32.
    shift: u32,
}

/// `.bf16`: f32 without the lower half of its bits. NaN becomes the canonical 0x7FFF.
pub const BF16: Format =
    Format { exponent_bits: 8, mantissa_bits: 7, greatest: 0x7F7F, infinity: Some(0x7F80), nan: 0x7FFF, shift: 0 };
/// `.f16`: IEEE 754 binary16. NaN becomes the canonical 0x7FFF.
pub const F16: Format =
    Format { exponent_bits: 5, mantissa_bits: 10, greatest: 0x7BFF, infinity: Some(0x7C00), nan: 0x7FFF, shift: 0 };
/// `.tf32`: f32's exponent and f16's mantissa, in the upper 19 bits of a `.b32` register. The lower 13 bits are written as 0, but
/// for NaN, which becomes f32's canonical 0x7FFFFFFF.
pub const TF32: Format =
    Format { exponent_bits: 8, mantissa_bits: 10, greatest: 0x3FBFF, infinity: Some(0x3FC00), nan: 0x3FFFF, shift: 13 };
/// `.e4m3`: no infinities; its only NaN is 0x7F with either sign, its greatest value 448.
pub const E4M3: Format =
    Format { exponent_bits: 4, mantissa_bits: 3, greatest: 0x7E, infinity: None, nan: 0x7F, shift: 0 };
/// `.e5m2`: the upper byte of an f16; its greatest value is 57344.
pub const E5M2: Format =
    Format { exponent_bits: 5, mantissa_bits: 2, greatest: 0x7B, infinity: Some(0x7C), nan: 0x7F, shift: 0 };
/// `.f32` itself, for conversions from f64 and integers. NaN becomes the canonical 0x7FFFFFFF.
pub const F32: Format = Format {
    exponent_bits: 8,
    mantissa_bits: 23,
    greatest: 0x7F7F_FFFF,
    infinity: Some(0x7F80_0000),
    nan: 0x7FFF_FFFF,
    shift: 0,
};

impl Format {
    /// The bits of a value in this format, rounded once.
    ///
    /// `satfinite`: what is greater than the greatest finite value, infinity too, becomes that value with its sign. PTX demands it
    /// of every conversion to e4m3 and e5m2; without it, what overflows e4m3 becomes NaN here, since it has no infinity.
    pub fn encode(self, value: f64, rounding: Round, satfinite: bool) -> u32 {
        let negative = value.is_sign_negative();
        if value.is_nan() {
            return self.not_a_number();
        }
        if value.is_infinite() {
            return self.overflow(negative, if satfinite { Overflow::Greatest } else { Overflow::Infinity });
        }
        let bits = value.to_bits();
        let exponent = (bits >> 52 & 0x7FF) as i32;
        let fraction = bits & ((1 << 52) - 1);
        // A subnormal f64 has no hidden bit, and the exponent of the smallest normal one.
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << 52 };
        self.round(negative, mantissa, exponent.max(1) - 1075, rounding, satfinite)
    }

    /// The bits of an integer in this format, rounded once: `magnitude`, with its sign beside it.
    pub fn encode_integer(self, negative: bool, magnitude: u64, rounding: Round, satfinite: bool) -> u32 {
        self.round(negative && magnitude != 0, magnitude, 0, rounding, satfinite)
    }

    /// The value of bits of this format. Bits above and below the format's own are ignored.
    pub fn decode(self, bits: u32) -> f32 {
        let bits = bits >> self.shift;
        let magnitude = bits & self.magnitude_mask();
        let sign = if bits >> (self.exponent_bits + self.mantissa_bits) & 1 == 1 { -1.0 } else { 1.0 };
        if Some(magnitude) == self.infinity {
            return sign * f32::INFINITY;
        }
        if magnitude > self.greatest {
            return f32::NAN;
        }
        let fraction = magnitude & ((1 << self.mantissa_bits) - 1);
        let exponent = magnitude >> self.mantissa_bits;
        let mantissa = if exponent == 0 { fraction } else { fraction | 1 << self.mantissa_bits };
        // Both factors are exact, and so is the product: each of these formats' values is an f32.
        let scale = 2f64.powi(exponent.max(1) as i32 - 1 + self.lowest_exponent());
        (f64::from(mantissa) * scale) as f32 * sign
    }

    /// `mantissa * 2^exponent`, rounded to this format.
    fn round(self, negative: bool, mantissa: u64, exponent: i32, rounding: Round, satfinite: bool) -> u32 {
        if mantissa == 0 {
            return self.with_sign(negative, 0);
        }
        let lowest = self.lowest_exponent();
        let top = 63 - mantissa.leading_zeros() as i32;
        // The weight of the last bit that is kept: that of the value's own binade, but no less than that of subnormals.
        let quantum = (exponent + top - self.mantissa_bits as i32).max(lowest);
        let (kept, rest) = split(mantissa, quantum - exponent);
        let up = match rounding {
            Round::NearestEven => rest > Rest::Half || rest == Rest::Half && kept & 1 == 1,
            Round::NearestAway => rest >= Rest::Half,
            Round::Zero => false,
            Round::Down => negative && rest != Rest::None,
            Round::Up => !negative && rest != Rest::None,
        };
        // A normal mantissa has the bit above `mantissa_bits` set, which adds the 1 that a normal number's exponent begins with. A
        // carry out of the mantissa does the same, so neither needs a case of its own.
        let magnitude = (((quantum - lowest) as u64) << self.mantissa_bits) + kept + u64::from(up);
        if magnitude <= u64::from(self.greatest) {
            return self.with_sign(negative, magnitude as u32);
        }
        let toward_infinity = match rounding {
            Round::NearestEven | Round::NearestAway => true,
            Round::Zero => false,
            Round::Down => negative,
            Round::Up => !negative,
        };
        self.overflow(negative, if satfinite || !toward_infinity { Overflow::Greatest } else { Overflow::Infinity })
    }

    fn overflow(self, negative: bool, to: Overflow) -> u32 {
        match (to, self.infinity) {
            (Overflow::Greatest, _) => self.with_sign(negative, self.greatest),
            (Overflow::Infinity, Some(infinity)) => self.with_sign(negative, infinity),
            (Overflow::Infinity, None) => self.not_a_number(),
        }
    }

    fn not_a_number(self) -> u32 {
        // The canonical NaN has all bits below the sign set, those below tf32's mantissa too.
        self.nan << self.shift | ((1 << self.shift) - 1)
    }

    fn with_sign(self, negative: bool, magnitude: u32) -> u32 {
        (u32::from(negative) << (self.exponent_bits + self.mantissa_bits) | magnitude) << self.shift
    }

    fn magnitude_mask(self) -> u32 {
        (1 << (self.exponent_bits + self.mantissa_bits)) - 1
    }

    /// The exponent of the lowest bit of a subnormal number.
    fn lowest_exponent(self) -> i32 {
        2 - (1 << (self.exponent_bits - 1)) - self.mantissa_bits as i32
    }
}

enum Overflow {
    Greatest,
    Infinity,
}

/// The rest below the last bit that is kept, measured by that bit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rest {
    None,
    BelowHalf,
    Half,
    AboveHalf,
}

/// A mantissa without its lowest `drop` bits, and what they were; a negative `drop` appends zeros.
fn split(mantissa: u64, drop: i32) -> (u64, Rest) {
    if drop <= 0 {
        return (mantissa << -drop, Rest::None);
    }
    if drop > 64 {
        return (0, Rest::BelowHalf);
    }
    let wide = u128::from(mantissa);
    let rest = wide & ((1 << drop) - 1);
    let rest = match rest.cmp(&(1 << (drop - 1))) {
        _ if rest == 0 => Rest::None,
        std::cmp::Ordering::Less => Rest::BelowHalf,
        std::cmp::Ordering::Equal => Rest::Half,
        std::cmp::Ordering::Greater => Rest::AboveHalf,
    };
    ((wide >> drop) as u64, rest)
}

/// `.relu` (§9.7.9.22): a negative value becomes +0; NaN stays NaN.
pub fn relu(value: f64) -> f64 {
    if value <= 0.0 { 0.0 } else { value }
}

/// bf16 to f32.
#[inline]
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

/// f16 to f32, without a branch so that a loop over it becomes vector instructions.
#[inline]
pub fn from_f16(bits: u16) -> f32 {
    // The exponent and mantissa at f32's places, with an exponent that is 112 too small; the product puts that right, for
    // subnormals too. Infinity and NaN come out as 2^16 and more, and get the rest of their exponent's bits.
    let magnitude = u32::from(bits & 0x7FFF) << 13;
    let value = f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23);
    let exponent = if magnitude >= 0x7C00 << 13 { 0xFF << 23 } else { 0 };
    f32::from_bits(value.to_bits() | exponent | u32::from(bits & 0x8000) << 16)
}

/// tf32 to f32: the lower 13 bits are not looked at, as §9.7.16.5.2 says of wgmma.
#[inline]
pub fn from_tf32(bits: u32) -> f32 {
    f32::from_bits(bits & !0x1FFF)
}

/// e5m2 to f32.
#[inline]
pub fn from_e5m2(bits: u8) -> f32 {
    from_f16(u16::from(bits) << 8)
}

/// e4m3 to f32.
#[inline]
pub fn from_e4m3(bits: u8) -> f32 {
    // As for f16: e4m3's exponents begin 120 below f32's. There is no infinity, and one NaN.
    let magnitude = u32::from(bits & 0x7F);
    let value = f32::from_bits(magnitude << 20) * f32::from_bits((127 + 120) << 23);
    let value = if magnitude == 0x7F { f32::NAN } else { value };
    f32::from_bits(value.to_bits() | u32::from(bits & 0x80) << 24)
}

/// f32 to bf16, to nearest even.
#[inline]
pub fn to_bf16(value: f32) -> u16 {
    let bits = value.to_bits();
    // Half of the last kept bit, less one where that bit is 0: a tie then carries where the bit is 1 alone.
    let rounded = (bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16) as u16;
    if value.is_nan() { 0x7FFF } else { rounded }
}

/// f32 to f16, to nearest even.
#[inline]
pub fn to_f16(value: f32) -> u16 {
    F16.encode(f64::from(value), Round::NearestEven, false) as u16
}

/// f32 to tf32 by `cvt.rna.tf32.f32`: to nearest, ties away from zero.
#[inline]
pub fn to_tf32_rna(value: f32) -> u32 {
    // The magnitude grows by half of the last kept bit; what overflows becomes infinity. Infinity has no bits there to carry from.
    let bits = value.to_bits();
    if value.is_nan() { 0x7FFF_FFFF } else { bits.wrapping_add(0x1000) & !0x1FFF }
}

/// Two halves in a register: the first is the lower one.
#[inline]
pub fn pack(low: u16, high: u16) -> u32 {
    u32::from(low) | u32::from(high) << 16
}

/// The two halves of a register: the lower one is the first.
#[inline]
pub fn unpack(bits: u32) -> (u16, u16) {
    (bits as u16, (bits >> 16) as u16)
}

/// The NaN that single-precision results write here, whatever its bits: the ISA's canonical NaN (§9.7.3).
#[inline]
pub fn canonical(value: f32) -> u32 {
    if value.is_nan() { 0x7FFF_FFFF } else { value.to_bits() }
}
