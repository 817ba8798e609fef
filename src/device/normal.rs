//! Normal draws from Philox bits by Box–Muller, in f32 arithmetic that every device does alike: only +, −, ×, ÷ and √,
//! none of them fused, no library function, no branch. So the CPU and the kernels can agree to the bit.

use super::philox::{self, Stream};

/// Four independent N(0, 1) draws from four 32-bit draws. |x| ≤ √(48 ln 2) ≈ 5.77.
#[inline(always)]
pub fn normals4(bits: [u32; 4]) -> [f32; 4] {
    let (a, b) = box_muller(bits[0], bits[1]);
    let (c, d) = box_muller(bits[2], bits[3]);
    [a, b, c, d]
}

/// Fills `target` with the N(0, 1) draws of one sample's elements `first_element ..` in `stream` at `step`.
/// `first_element` is a multiple of four, since draws come in fours; element i gets the same draw however the elements
/// are split over calls.
#[inline(always)]
pub fn fill_normals(seed: u64, stream: Stream, step: u64, sample: u32, first_element: usize, target: &mut [f32]) {
    debug_assert!(first_element.is_multiple_of(4));
    const LANES: usize = 16;
    let mut block = u32::try_from(first_element / 4).unwrap_or(u32::MAX);
    for chunk in target.chunks_mut(4 * LANES) {
        let mut drawn = [[0.0f32; 4]; LANES];
        for (lane, drawn) in (0u32..).zip(drawn.iter_mut()) {
            *drawn = normals4(philox::draw(seed, stream, step, sample, block.wrapping_add(lane)));
        }
        chunk.copy_from_slice(&drawn.as_flattened()[..chunk.len()]);
        block = block.wrapping_add(LANES as u32);
    }
}

/// (r cos 2πt, r sin 2πt) with r = √(−2 ln u), u ∈ (0, 1], t ∈ [0, 1), both multiples of 2⁻²⁴.
#[inline(always)]
#[expect(clippy::cast_precision_loss)]
fn box_muller(radius_bits: u32, angle_bits: u32) -> (f32, f32) {
    let u = ((radius_bits >> 8) + 1) as f32 * (1.0 / 16_777_216.0);
    let radius = (-2.0 * ln(u)).sqrt();
    let (sin, cos) = sin_cos_turns(angle_bits >> 8);
    (radius * cos, radius * sin)
}

/// ln u for u ∈ (0, 1], normal: exponent · ln 2 + 2 artanh((m − 1)/(m + 1)) with m ∈ [√½, √2).
#[inline(always)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_wrap)]
fn ln(u: f32) -> f32 {
    // Subtracting the bits of √½ moves the exponent's border there.
    let shifted = u.to_bits().wrapping_sub(0x3F35_04F3);
    let exponent = (shifted as i32) >> 23;
    let m = f32::from_bits((shifted & 0x007F_FFFF).wrapping_add(0x3F35_04F3));
    let s = (m - 1.0) / (m + 1.0);
    let q = s * s;
    // The series of artanh; q ≤ 0.0295, so the first term left out is below 2⁻²⁸ of the sum.
    let series = q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * (1.0 / 9.0))));
    let fraction = 2.0 * (s + s * series);
    exponent as f32 * std::f32::consts::LN_2 + fraction
}

/// sin and cos of 2π · turns / 2²⁴: the quadrant is taken off exactly, then Taylor series on [−π/4, π/4].
#[inline(always)]
#[expect(clippy::cast_precision_loss, clippy::cast_possible_wrap)]
fn sin_cos_turns(turns: u32) -> (f32, f32) {
    // Nearest multiple of a quarter turn (2²²), and the signed rest.
    let quadrant = (turns + (1 << 21)) >> 22;
    let rest = turns as i32 - ((quadrant << 22) as i32);
    let angle = rest as f32 * (std::f32::consts::FRAC_PI_2 / 4_194_304.0);
    let q = angle * angle;
    let sin = angle * (1.0 - q * (1.0 / 6.0 - q * (1.0 / 120.0 - q * (1.0 / 5040.0 - q * (1.0 / 362_880.0)))));
    let cos = 1.0 - q * (0.5 - q * (1.0 / 24.0 - q * (1.0 / 720.0 - q * (1.0 / 40_320.0 - q * (1.0 / 3_628_800.0)))));
    let (sin, cos) = if quadrant & 1 == 0 { (sin, cos) } else { (cos, -sin) };
    if quadrant & 2 == 0 { (sin, cos) } else { (-sin, -cos) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithm_and_angles_agree_with_double_precision() {
        let mut worst = (0.0f64, 0.0f64);
        for i in (0..1u32 << 24).step_by(97) {
            let u = (i + 1) as f32 / 16_777_216.0;
            let exact = f64::from(u).ln();
            worst.0 = worst.0.max((f64::from(ln(u)) - exact).abs() / exact.abs().max(1e-3));
            let angle = f64::from(i) / 16_777_216.0 * std::f64::consts::TAU;
            let (sin, cos) = sin_cos_turns(i);
            worst.1 = worst.1.max((f64::from(sin) - angle.sin()).abs()).max((f64::from(cos) - angle.cos()).abs());
        }
        assert!(worst.0 < 4e-7, "ln: {worst:?}");
        assert!(worst.1 < 2e-7, "sin, cos: {worst:?}");
    }
}
