//! e^x in f32 by arithmetic that every device does alike and that runs in vectors: +, −, × and the bits of the exponent,
//! none of them fused, no library function, no branch.

use std::f32::consts::LOG2_E;

/// ln 2 in two parts; the first has so few bits that its product with an exponent is exact.
const LN_2_HIGH: f32 = 355.0 / 512.0;
const LN_2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting it rounds to a whole number: its last bit is worth 1.
const ROUND: f32 = 12_582_912.0;

/// e^x, within 2 units in the last place; infinite above 88.72, and 0 below −87.33, where the result would be subnormal.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn exp(x: f32) -> f32 {
    // Where the result is finite and not 0, n lies in −126 ..= 128; elsewhere it must only stay an exponent.
    let n = ((x * LOG2_E + ROUND) - ROUND).clamp(-127.0, 129.0);
    // |r| ≤ ½ ln 2, so the first term of the series that is left out is below 2⁻²⁶.
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let series = 1.0
        + r * (1.0 / 2.0
            + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * (1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0))))));
    let fraction = 1.0 + r * series;
    // 2ⁿ in two factors, since n reaches 128.
    let half = (n * 0.5) as i32;
    let power = |exponent: i32| f32::from_bits(((exponent + 127) as u32) << 23);
    let value = fraction * power(half) * power(n as i32 - half);
    let value = if x > 88.722_84 { f32::INFINITY } else { value };
    if x < -87.336_55 { 0.0 } else { value }
}

#[cfg(test)]
mod tests {
    use super::exp;

    #[test]
    fn agrees_with_double_precision() {
        let mut worst = 0.0f64;
        for i in -873_000..887_000i32 {
            let x = i as f32 / 10_000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 1.5e-7, "{worst:e}");
    }

    #[test]
    fn special_values() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-0.0), 1.0);
        assert_eq!((exp(f32::INFINITY), exp(f32::NEG_INFINITY)), (f32::INFINITY, 0.0));
        assert_eq!((exp(89.0), exp(-88.0)), (f32::INFINITY, 0.0));
        assert!(exp(88.7).is_finite() && exp(-87.3) > 0.0);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!((exp(f32::MAX), exp(f32::MIN)), (f32::INFINITY, 0.0));
    }
}
