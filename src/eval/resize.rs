//! Images as Inception-v3 takes them: 299×299, three channels, numbers from about −1 to 1. FID depends on how they get there
//! (Parmar, Zhang & Zhu 2022, "On aliased resizing and surprising subtleties in GAN evaluation"), so each way is that of a program whose figures
//! are known.
//!
//! All of them are a weighted sum along each row and then one along each column. In PIL's filter, that of `clean`, weights cover a
//! wider area where an image becomes smaller; in the others they don't, and it aliases.

use crate::config::Resize;
use crate::image::ImageShape;

/// The weights along one axis: for each place of the result the first place that it is made of, and the weights from there on.
type Axis = Vec<(usize, Vec<f64>)>;

/// Brings images of one shape to a square.
#[derive(Debug, Clone)]
pub struct Resizer {
    resize: Resize,
    image: ImageShape,
    rows: Axis,
    columns: Axis,
}

impl Resizer {
    /// From images of this shape, grey or in colour, to `side`×`side`.
    pub fn new(resize: Resize, image: ImageShape, side: usize) -> Resizer {
        let axis = |size| match resize {
            Resize::Clean => bicubic(size, side),
            Resize::LegacyPytorch => bilinear(size, side, 0.5),
            Resize::LegacyTensorflow => bilinear(size, side, 0.0),
        };
        Resizer { resize, image, rows: axis(image.h), columns: axis(image.w) }
    }

    /// Appends the image `[side, side, 3]` that is made of pixels `[H, W, C]`; grey ones come three times.
    pub fn append(&self, pixels: &[u8], target: &mut Vec<f32>) {
        let ImageShape { w, c, .. } = self.image;
        // Between the two sums numbers are f32, as in PIL.
        let mut narrowed = Vec::with_capacity(self.image.h * self.columns.len() * c);
        for row in pixels.chunks_exact(w * c) {
            for (first, weights) in &self.columns {
                for channel in 0..c {
                    let pixels = row[first * c + channel..].iter().step_by(c);
                    narrowed.push(single(weights.iter().zip(pixels).map(|(w, &p)| w * f64::from(p)).sum::<f64>()));
                }
            }
        }
        let width = self.columns.len() * c;
        let mut sums = vec![0.0; width];
        for (first, weights) in &self.rows {
            sums.fill(0.0);
            for (weight, row) in weights.iter().zip(narrowed[first * width..].chunks_exact(width)) {
                sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += weight * f64::from(value));
            }
            target
                .extend(sums.iter().flat_map(|&sum| std::iter::repeat_n(self.scaled(sum), if c == 1 { 3 } else { 1 })));
        }
    }

    /// A number from 0 to 255 as the net takes it: each program has its own map. The bicubic filter may go beyond both ends.
    fn scaled(&self, value: f64) -> f32 {
        let value = single(value);
        match self.resize {
            Resize::Clean => (value.clamp(0.0, 255.0) - 128.0) / 128.0,
            Resize::LegacyTensorflow => (value - 128.0) / 128.0,
            Resize::LegacyPytorch => 2.0 * (value / 255.0) - 1.0,
        }
    }
}

#[expect(clippy::cast_possible_truncation)]
fn single(value: f64) -> f32 {
    value as f32
}

/// PIL's `BICUBIC`: Keys' filter with a = −½ around the middle of each pixel, wider by the factor by which the image becomes smaller.
fn bicubic(from: usize, to: usize) -> Axis {
    const A: f64 = -0.5;
    let keys = |x: f64| match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    };
    let scale = from as f64 / to as f64;
    let wider = scale.max(1.0);
    let weights = |place: usize| {
        let middle = (place as f64 + 0.5) * scale;
        let first = whole(middle - 2.0 * wider + 0.5, from);
        let weights =
            (first..whole(middle + 2.0 * wider + 0.5, from)).map(|at| keys((at as f64 - middle + 0.5) / wider));
        let weights: Vec<f64> = weights.collect();
        let sum: f64 = weights.iter().sum();
        (first, weights.into_iter().map(|weight| weight / sum).collect())
    };
    (0..to).map(weights).collect()
}

/// Between two neighbours, whose places are those of the pixels' `middle`: ½ is PyTorch's `align_corners=False`, 0 TensorFlow 1's.
fn bilinear(from: usize, to: usize, middle: f64) -> Axis {
    let scale = from as f64 / to as f64;
    let weights = |place: usize| {
        let at = ((place as f64 + middle) * scale - middle).max(0.0);
        let first = whole(at, from - 1);
        let part = at - first as f64;
        // Beyond the last pixel there is none.
        (first, if first + 1 < from { vec![1.0 - part, part] } else { vec![1.0] })
    };
    (0..to).map(weights).collect()
}

/// The whole part of a number, from 0 to `most`.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is clamped")]
fn whole(value: f64, most: usize) -> usize {
    (value.max(0.0) as usize).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An image of the size that is asked for stays as it is; a plain one stays plain at any size.
    #[test]
    fn what_there_is_nothing_to_do_to_stays() {
        let image = ImageShape { h: 5, w: 5, c: 3 };
        let pixels: Vec<u8> = (0..75).map(|at| (at * 37 % 256) as u8).collect();
        for &resize in Resize::ALL {
            let (mut same, mut plain) = (Vec::new(), Vec::new());
            Resizer::new(resize, image, 5).append(&pixels, &mut same);
            let expected: Vec<f32> = match resize {
                Resize::LegacyPytorch => pixels.iter().map(|&p| 2.0 * (f32::from(p) / 255.0) - 1.0).collect(),
                _ => pixels.iter().map(|&p| (f32::from(p) - 128.0) / 128.0).collect(),
            };
            assert_eq!(same, expected, "{resize:?}");
            let grey = ImageShape { h: 40, w: 3, c: 1 };
            Resizer::new(resize, grey, 11).append(&[192; 120], &mut plain);
            assert!(plain.len() == 3 * 121 && plain.iter().all(|value| (value - plain[0]).abs() < 1e-6), "{resize:?}");
        }
    }
}
