//! SWD, the sliced Wasserstein distance of patches (Karras et al. 2018, section 5): on each level of Laplacian pyramids, 128 patches of
//! 7×7 of each image, normalised by channel, are projected to lines; on a line the Wasserstein distance of two sets is that of their
//! sorted values. The mean over 4 · 128 random lines, times 1,000, tells how alike structures of that size are. No network is needed.

use super::{Figure, Metric, Needs, figure};
use crate::device::Precision;
use crate::device::gemm::gemm;
use crate::device::matrix::{Matrix, MatrixMut};
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::eval::draws::{Purpose, below, normals, words};
use crate::eval::pyramid::{Level, levels};
use crate::eval::set::Set;

/// The most images of either set; Karras et al. take 16,384.
pub(super) const MOST_IMAGES: usize = 2048;
/// Patches of an image.
const PATCHES: usize = 128;
/// Rows and columns of a patch.
const SIDE: usize = 7;
/// Lines: 4 · 128.
const LINES: usize = 512;
/// Lines that are worked on at once.
const GROUP: usize = 32;
/// Images that a thread works on at once.
const IMAGES: usize = 16;

pub(super) const METRIC: Metric = Metric {
    name: "swd",
    meaning: "sliced Wasserstein distance of patches, by size of structure; needs no labels",
    needs: Needs::Pixels,
    panel: ("SWD (patches, ×1000)", &[("swd", "")]),
    measure,
    has: |figure| figure == "swd" || figure.starts_with("swd_"),
    explain: |figure| match figure {
        "swd" => "mean over the levels, lower is better",
        _ => "distance of patches on the level of this height, times 1000, lower is better",
    },
};

fn measure(real: &Set, fake: &Set, seed: u64) -> Vec<Figure> {
    let images = real.pictures().min(fake.pictures()).min(MOST_IMAGES);
    let of = |set: &Set| levels(set.image, &set.pixels[..images * set.image.len()]);
    let (real, fake) = (of(real), of(fake));
    let mut figures = Vec::new();
    for (number, (real, fake)) in real.iter().zip(&fake).enumerate() {
        let real = Patches::new(real, seed, Purpose::PatchesReal, number);
        let fake = Patches::new(fake, seed, Purpose::PatchesFake, number);
        let distance = 1000.0 * distance(&real, &fake, seed, number as u64);
        figures.push(figure(&format!("swd_{}", real.level.shape.h), distance));
    }
    let mean = figures.iter().map(|(_, distance)| distance).sum::<f64>() / figures.len() as f64;
    [figure("swd", mean)].into_iter().chain(figures).collect()
}

/// The mean over all lines of the mean distance between sorted projections.
fn distance(real: &Patches<'_>, fake: &Patches<'_>, seed: u64, level: u64) -> f64 {
    let mut sum = 0.0;
    for group in 0..LINES / GROUP {
        let lines = directions(seed, level * (LINES / GROUP) as u64 + group as u64, real.len());
        let (mut a, mut b) = (real.projected(&lines), fake.projected(&lines));
        let mut distances = [0.0f64; GROUP];
        let lines = a.par_chunks_mut(real.count()).zip(b.par_chunks_mut(fake.count()));
        distances.par_iter_mut().zip(lines).for_each(|(distance, (a, b))| {
            a.sort_unstable_by(f32::total_cmp);
            b.sort_unstable_by(f32::total_cmp);
            let sum: f64 = a.iter().zip(b).map(|(a, b)| f64::from((*a - *b).abs())).sum();
            *distance = sum / a.len() as f64;
        });
        sum += distances.iter().sum::<f64>();
    }
    sum / LINES as f64
}

/// Random directions of length 1, `[len, GROUP]`: one a column.
fn directions(seed: u64, index: u64, len: usize) -> Vec<f32> {
    let mut lines = normals(seed, Purpose::Directions, index, len * GROUP);
    for line in 0..GROUP {
        let squares: f64 = lines.iter().skip(line).step_by(GROUP).map(|&x| f64::from(x) * f64::from(x)).sum();
        #[expect(clippy::cast_possible_truncation)]
        let scale = (1.0 / squares.sqrt()) as f32;
        lines.iter_mut().skip(line).step_by(GROUP).for_each(|x| *x *= scale);
    }
    lines
}

/// The patches of a level of all images; they are cut out anew each time they are needed.
struct Patches<'a> {
    level: &'a Level,
    seed: u64,
    purpose: Purpose,
    number: u64,
    /// Mean, and 1 / standard deviation, of each channel over all patches.
    scales: Vec<(f32, f32)>,
}

impl<'a> Patches<'a> {
    fn new(level: &'a Level, seed: u64, purpose: Purpose, number: usize) -> Self {
        let mut patches =
            Patches { level, seed, purpose, number: number as u64, scales: vec![(0.0, 1.0); level.shape.c] };
        patches.scales = patches.measured();
        patches
    }

    /// Rows and columns of a patch: less where the image is smaller.
    fn sides(&self) -> [usize; 2] {
        [self.level.shape.h.min(SIDE), self.level.shape.w.min(SIDE)]
    }

    /// Numbers of a patch.
    fn len(&self) -> usize {
        self.sides().iter().product::<usize>() * self.level.shape.c
    }

    /// Number of patches.
    fn count(&self) -> usize {
        self.level.values.len() / self.level.shape.len() * PATCHES
    }

    /// Calls `with` for each row of each patch of an image.
    fn each_row(&self, image: usize, mut with: impl FnMut(&[f32])) {
        let shape = self.level.shape;
        let [rows, columns] = self.sides();
        let values = &self.level.values[image * shape.len()..][..shape.len()];
        for patch in 0..PATCHES {
            let drawn = words(self.seed, self.purpose, self.number << 32 | image as u64, patch as u32 / 2);
            let [down, across] = [drawn[patch % 2 * 2], drawn[patch % 2 * 2 + 1]];
            let (y, x) = (below(down, shape.h - rows + 1), below(across, shape.w - columns + 1));
            for row in y..y + rows {
                with(&values[(row * shape.w + x) * shape.c..][..columns * shape.c]);
            }
        }
    }

    /// Mean, and 1 / standard deviation, of each channel, summed up image by image.
    fn measured(&self) -> Vec<(f32, f32)> {
        let c = self.level.shape.c;
        let mut sums = vec![0.0f64; self.count() / PATCHES * 2 * c];
        sums.par_chunks_mut(2 * c).enumerate().for_each(|(image, sums)| {
            self.each_row(image, |row| {
                for (k, &value) in row.iter().enumerate() {
                    sums[k % c] += f64::from(value);
                    sums[c + k % c] += f64::from(value) * f64::from(value);
                }
            });
        });
        let n = (self.count() * self.len() / c) as f64;
        let total = |at: usize| sums.iter().skip(at).step_by(2 * c).sum::<f64>() / n;
        let scale = |k: usize| {
            let (mean, square) = (total(k), total(c + k));
            let deviation = (square - mean * mean).max(0.0).sqrt();
            #[expect(clippy::cast_possible_truncation)]
            let scale = (mean as f32, if deviation > 0.0 { (1.0 / deviation) as f32 } else { 0.0 });
            scale
        };
        (0..c).map(scale).collect()
    }

    /// The normalised patches on each line, `[GROUP, count]`.
    fn projected(&self, lines: &[f32]) -> Vec<f32> {
        let (len, c) = (self.len(), self.level.shape.c);
        let mut by_patch = vec![0.0; self.count() * GROUP];
        by_patch.par_chunks_mut(IMAGES * PATCHES * GROUP).enumerate().for_each(|(block, target)| {
            let count = target.len() / GROUP;
            let mut patches = Vec::with_capacity(count * len);
            for image in block * IMAGES..block * IMAGES + count / PATCHES {
                self.each_row(image, |row| {
                    let scaled = row.iter().enumerate().map(|(k, value)| {
                        let (mean, scale) = self.scales[k % c];
                        (value - mean) * scale
                    });
                    patches.extend(scaled);
                });
            }
            let (patches, lines) = (Matrix::dense(&patches, count, len), Matrix::dense(lines, len, GROUP));
            gemm(Precision::F32, MatrixMut::dense(target, count, GROUP), false, patches, lines);
        });
        let mut by_line = vec![0.0; by_patch.len()];
        by_line.par_chunks_mut(self.count()).enumerate().for_each(|(line, target)| {
            target.iter_mut().zip(by_patch.chunks_exact(GROUP)).for_each(|(to, from)| *to = from[line]);
        });
        by_line
    }
}
