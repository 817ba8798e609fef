//! The embedded data set: 28×28 handwriting-like digits, drawn at start from the pen strokes of
//! `strokes.rs`.
//!
//! Every number comes from the seed and the image's number through integer arithmetic and the operations that IEEE 754
//! defines to the last bit (+ − × ÷ √), so that a seed gives the same bytes on every platform and any number of threads.

use rayon::prelude::*;

use super::images::Images;
use super::labels::Labels;
use super::strokes::{DIGITS, Digit, Stroke};

/// Number of images that [`load`](super::load) draws, as many as MNIST's training set has.
pub const COUNT: usize = 60_000;

/// Rows and columns of an image, in pixels.
pub const SIDE: usize = 28;

/// Straight pieces that a spline is cut into between two of its points.
const PIECES: usize = 4;

/// Draws `count` digits: white on black, centred in a box of about 20 pixels, as MNIST's are.
///
/// Image `i` shows digit `i % 10` and depends on `seed` and `i` alone.
pub fn draw(count: usize, seed: u64) -> Images {
    let mut pixels = vec![0u8; count * SIDE * SIDE];
    pixels.par_chunks_exact_mut(SIDE * SIDE).enumerate().for_each_init(Pen::default, |pen, (number, image)| {
        pen.draw(number, seed, image);
    });
    Images {
        count,
        height: SIDE,
        width: SIDE,
        channels: 1,
        pixels,
        labels: Some(Labels::of_digits(count)),
        description: format!("{count} glyphs (embedded digits, seed {seed})"),
        ..Images::default()
    }
}

/// A stream of random numbers for one image: SplitMix64 (Steele, Lea & Flood 2014) started at a mix of seed and number.
struct Random(u64);

impl Random {
    fn new(seed: u64, number: usize) -> Self {
        let mut start = Random(seed);
        let mixed_seed = start.next();
        Random(mixed_seed ^ (number as u64).wrapping_mul(0xD1B5_4A32_D192_ED03))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Uniform in [−1, 1), in steps of 2⁻²³, so that the conversion is exact.
    fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// Triangular in (−1, 1): small values are more frequent, as in handwriting.
    fn triangular(&mut self) -> f32 {
        (self.uniform() + self.uniform()) / 2.0
    }

    /// A whole number below `bound`, which must be small beside 2³².
    fn below(&mut self, bound: usize) -> usize {
        (((self.next() >> 32) * bound as u64) >> 32) as usize
    }
}

/// Work memory for drawing one image; kept between images to save allocations.
#[derive(Default)]
struct Pen {
    /// Control points of the stroke at hand, jittered.
    control: Vec<[f32; 2]>,
    /// Ends of straight pieces, in the glyph's box and later in pixels.
    pieces: Vec<([f32; 2], [f32; 2])>,
    /// Squared distance of each pixel's centre to the nearest piece.
    distance: Vec<f32>,
}

impl Pen {
    fn draw(&mut self, number: usize, seed: u64, image: &mut [u8]) {
        let mut random = Random::new(seed, number);
        let ways = DIGITS[number % DIGITS.len()];
        let digit = &ways[random.below(ways.len())];
        self.flatten(digit, &mut random);
        self.place(digit.aspect, &mut random);
        let half_width = 1.35 + 0.35 * random.triangular();
        let blur = 1.25 + 0.25 * random.uniform();
        self.ink(half_width, blur, image);
    }

    /// Fills `pieces` with the digit's strokes, each control point moved a little.
    fn flatten(&mut self, digit: &Digit, random: &mut Random) {
        const WOBBLE: f32 = 0.035;
        self.pieces.clear();
        for stroke in digit.strokes {
            let (Stroke::Line(points) | Stroke::Curve(points) | Stroke::Loop(points)) = stroke;
            self.control.clear();
            for &[x, y] in *points {
                self.control.push([x + WOBBLE * random.triangular() / digit.aspect, y + WOBBLE * random.triangular()]);
            }
            match stroke {
                Stroke::Line(_) => self.pieces.extend(self.control.windows(2).map(|pair| (pair[0], pair[1]))),
                Stroke::Curve(_) => self.spline(false),
                Stroke::Loop(_) => self.spline(true),
            }
        }
    }

    /// Appends the Catmull–Rom spline through `control` as straight pieces.
    fn spline(&mut self, closed: bool) {
        let length = self.control.len() as isize;
        let point = |index: isize| {
            let index = if closed { index.rem_euclid(length) } else { index.clamp(0, length - 1) };
            self.control[index as usize]
        };
        let spans = if closed { length } else { length - 1 };
        for span in 0..spans {
            let around = [point(span - 1), point(span), point(span + 1), point(span + 2)];
            let mut from = around[1];
            for piece in 1..=PIECES {
                let to = catmull_rom(&around, piece as f32 / PIECES as f32);
                self.pieces.push((from, to));
                from = to;
            }
        }
    }

    /// Applies a random shear, rotation and scale, and centres the result in the image with a small random shift.
    fn place(&mut self, aspect: f32, random: &mut Random) {
        let height = 18.0 + 1.6 * random.triangular();
        let width = height * aspect * (1.0 + 0.16 * random.triangular());
        let shear = 0.12 + 0.28 * random.triangular();
        // tan(θ/2) gives sine and cosine without a trigonometric function.
        let half_tangent = 0.09 * random.triangular();
        let norm = 1.0 + half_tangent * half_tangent;
        let (sine, cosine) = (2.0 * half_tangent / norm, (1.0 - half_tangent * half_tangent) / norm);
        let move_point = |[x, y]: [f32; 2]| {
            let (x, y) = ((x - 0.5) * width, (y - 0.5) * height);
            let x = x - shear * y;
            [cosine * x - sine * y, sine * x + cosine * y]
        };
        let (mut low, mut high) = ([f32::MAX; 2], [f32::MIN; 2]);
        for (from, to) in &mut self.pieces {
            for end in [from, to] {
                *end = move_point(*end);
                for axis in 0..2 {
                    low[axis] = low[axis].min(end[axis]);
                    high[axis] = high[axis].max(end[axis]);
                }
            }
        }
        let shift = [0, 1].map(|axis| SIDE as f32 / 2.0 - (low[axis] + high[axis]) / 2.0 + 0.9 * random.triangular());
        for (from, to) in &mut self.pieces {
            for axis in 0..2 {
                from[axis] += shift[axis];
                to[axis] += shift[axis];
            }
        }
    }

    /// Inks every pixel by its distance to the nearest piece: full within the stroke, fading over `blur` pixels.
    fn ink(&mut self, half_width: f32, blur: f32, image: &mut [u8]) {
        let reach = half_width + blur / 2.0;
        self.distance.clear();
        self.distance.resize(SIDE * SIDE, reach * reach);
        for &(from, to) in &self.pieces {
            measure(&mut self.distance, from, to, reach);
        }
        for (pixel, &squared) in image.iter_mut().zip(&self.distance) {
            let share = ((reach - squared.sqrt()) / blur).clamp(0.0, 1.0);
            let smooth = share * share * (3.0 - 2.0 * share);
            *pixel = (255.0 * smooth + 0.5) as u8;
        }
    }
}

/// Lowers `distance` by one piece, in the box of pixels that it can reach.
fn measure(distance: &mut [f32], from: [f32; 2], to: [f32; 2], reach: f32) {
    let along = [to[0] - from[0], to[1] - from[1]];
    let length = along[0] * along[0] + along[1] * along[1];
    let inverse = if length > 0.0 { 1.0 / length } else { 0.0 };
    let [columns, rows] = [0, 1].map(|axis| {
        let first = (from[axis].min(to[axis]) - reach).clamp(0.0, SIDE as f32) as usize;
        let last = (from[axis].max(to[axis]) + reach).clamp(0.0, SIDE as f32) as usize;
        first..(last + 1).min(SIDE)
    });
    for row in rows {
        let y = row as f32 + 0.5 - from[1];
        let line = &mut distance[row * SIDE..][columns.clone()];
        for (column, nearest) in line.iter_mut().enumerate() {
            let x = (columns.start + column) as f32 + 0.5 - from[0];
            let position = ((x * along[0] + y * along[1]) * inverse).clamp(0.0, 1.0);
            let (dx, dy) = (x - position * along[0], y - position * along[1]);
            *nearest = nearest.min(dx * dx + dy * dy);
        }
    }
}

/// The uniform Catmull–Rom spline between the middle two of four points (Catmull & Rom 1974), at `t` in [0, 1].
fn catmull_rom(points: &[[f32; 2]; 4], t: f32) -> [f32; 2] {
    [0, 1].map(|axis| {
        let [a, b, c, d] = points.map(|point| point[axis]);
        let linear = c - a;
        let square = 2.0 * a - 5.0 * b + 4.0 * c - d;
        let cube = 3.0 * (b - c) + d - a;
        b + 0.5 * t * (linear + t * (square + t * cube))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_piece_without_a_length_is_a_point() {
        let mut distance = [1000.0; SIDE * SIDE];
        measure(&mut distance, [3.5, 4.5], [3.5, 4.5], 2.0);
        let at = |row: usize, column: usize| distance[row * SIDE + column];
        assert_eq!([at(4, 3), at(4, 4), at(5, 4), at(4, 5)], [0.0, 1.0, 2.0, 4.0]);
        assert_eq!(at(20, 20), 1000.0, "out of reach");
    }
}
