//! The precision in which the kernels of linear layers and convolutions multiply.

/// To what the operands of a product are rounded on their way into it. Memory holds f32 and sums are taken in f32 whatever
/// is chosen. A convolution of at most [`DIRECT_CHANNELS`](super::kernels::size::DIRECT_CHANNELS) channels, and a transposed
/// one to as few, has kernels of its own (kernels/layers/conv2d_direct.cu) that round nothing; nor does the gradient of a linear
/// layer's weight with one output, which is a sum over rows in f64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Precision {
    /// Not at all: 24 bits of significand, on the GPU's ordinary units.
    #[default]
    F32,
    /// To tf32, 11 bits of significand and f32's range, ties away from zero: on tensor cores.
    Tf32,
    /// To bf16, 8 bits of significand and f32's range, ties to even: on tensor cores.
    Bf16,
}

impl Precision {
    /// All of them.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Tf32, Precision::Bf16];

    /// Its name, in settings and for people.
    pub fn name(self) -> &'static str {
        match self {
            Precision::F32 => "f32",
            Precision::Tf32 => "tf32",
            Precision::Bf16 => "bf16",
        }
    }

    /// The value that a product's operand is taken for.
    ///
    /// Twins: `to_tf32` of kernels/lib/ptx.cuh and `__floats2bfloat162_rn`, infinite and NaN operands aside.
    pub fn round(self, value: f32) -> f32 {
        let bits = value.to_bits();
        match self {
            _ if !value.is_finite() => value,
            Precision::F32 => value,
            // Half of the last place that stays.
            Precision::Tf32 => f32::from_bits((bits + 0x1000) & 0xffff_e000),
            // Half of it, less one where that place is even: a tie then goes to the even neighbour.
            Precision::Bf16 => f32::from_bits((bits + 0x7fff + (bits >> 16 & 1)) & 0xffff_0000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Around 1 a place of tf32 is 2⁻¹⁰ and one of bf16 2⁻⁷.
    #[test]
    fn rounding_of_known_numbers() {
        let place = |exponent: i32| 2f32.powi(exponent);
        for (precision, exponent) in [(Precision::Tf32, -10), (Precision::Bf16, -7)] {
            let (whole, half, tiny) = (place(exponent), place(exponent - 1), place(-23));
            assert_eq!(precision.round(1.0 + half - tiny), 1.0);
            assert_eq!(precision.round(1.0 + half + tiny), 1.0 + whole);
            assert_eq!(precision.round(-1.0 - whole - half - tiny), -1.0 - 2.0 * whole);
            assert_eq!(precision.round(2.0 - tiny), 2.0, "the carry reaches the exponent");
            assert_eq!((precision.round(0.0), precision.round(f32::INFINITY)), (0.0, f32::INFINITY));
            assert!(precision.round(f32::NAN).is_nan());
        }
        // Ties: away from zero, to even.
        assert_eq!(Precision::Tf32.round(1.0 + place(-11)), 1.0 + place(-10));
        assert_eq!(Precision::Tf32.round(-1.0 - place(-11)), -1.0 - place(-10));
        assert_eq!(Precision::Bf16.round(1.0 + place(-8)), 1.0);
        assert_eq!(Precision::Bf16.round(1.0 + 3.0 * place(-8)), 1.0 + place(-6));
        assert_eq!(Precision::F32.round(1.0 + place(-23)), 1.0 + place(-23));
    }
}
