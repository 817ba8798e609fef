//! Precision of a run: of products in linear layers and convolutions, and of activations in memory.
//!
//! A convolution of at most [`DIRECT_CHANNELS`](super::kernels::size::DIRECT_CHANNELS) channels, a transposed one to as few, and
//! with stride 1 one to as few, has kernels of its own (kernels/layers/conv2d/few.cu and direct.cu) that round nothing in tf32; nor
//! does the gradient of a linear layer's weight with one output, which is a sum over rows in f64. tf32 and bf16 have f32's range;
//! ties are rounded away from zero in tf32, to even in bf16.

use crate::choices::choices;

choices! {
    /// Precision of a run. Weights, their gradients, sums, statistics, losses and the optimiser's moments are always f32.
    pub enum Precision {
        /// f32, without rounding.
        F32 = "f32",
        /// Operands of products are rounded to tf32 (11 bits of significand), but for convolutions with at most 4 input or output
        /// channels: on a GPU by its tensor cores, on the CPU no faster than f32.
        Tf32 = "tf32",
        /// Activations and their gradients are bf16 in memory (8 bits of significand), and weights are rounded to it in products: on
        /// a GPU by its tensor cores, on the CPU by AMX or AVX-512 where it has them.
        Bf16 = "bf16",
    }
}

impl Precision {
    /// Rounds a product's operand.
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
