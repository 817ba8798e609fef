//! Mean and covariance of features, gathered a block of images at a time, and the Fréchet distance of two Gaussians.

use super::spectrum::{eigenvalues, root};
use crate::device::Precision;
use crate::device::gemm::gemm_parallel;
use crate::device::matrix::{Matrix, MatrixMut, Start};

/// Images whose features are centred at once.
pub(super) const BLOCK: usize = 1024;

/// Mean `[d]` and covariance `[d, d]` of a sample: the covariance over N − 1, as NumPy's `cov` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: Vec<f64>,
    /// The covariance, row by row; it is symmetric.
    pub covariance: Vec<f64>,
}

/// The moments of images that come one block after another: what it keeps does not grow with their number.
#[derive(Debug, Clone, PartialEq)]
pub struct Running {
    count: usize,
    mean: Vec<f64>,
    /// The sum of (x − mean)(x − mean)ᵀ.
    scatter: Vec<f64>,
}

impl Running {
    /// None yet, of `d` numbers each.
    pub fn new(d: usize) -> Running {
        Running { count: 0, mean: vec![0.0; d], scatter: vec![0.0; d * d] }
    }

    /// Adds features `[n, d]`. A block is centred at its own mean and joined to what was there (Chan, Golub & LeVeque 1983, Eq. 2.1): the
    /// distance of the two means is one more row of the product. The bits depend on how the features are split into calls.
    pub fn add(&mut self, features: &[f64]) {
        let d = self.mean.len();
        for block in features.chunks(BLOCK * d) {
            let (before, own) = (self.count as f64, (block.len() / d) as f64);
            let mut mean = vec![0.0; d];
            block.chunks_exact(d).for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
            mean.iter_mut().for_each(|sum| *sum /= own);
            let mut rows = Vec::with_capacity(block.len() + d);
            rows.extend(block.iter().enumerate().map(|(at, x)| x - mean[at % d]));
            let weight = (before * own / (before + own)).sqrt();
            rows.extend(mean.iter().zip(&self.mean).map(|(own, all)| weight * (own - all)));
            self.mean.iter_mut().zip(&mean).for_each(|(all, mean)| *all += (mean - *all) * (own / (before + own)));
            self.count += block.len() / d;
            let target = MatrixMut::dense(&mut self.scatter, d, d);
            let rows = Matrix::dense(&rows, rows.len() / d, d);
            gemm_parallel::<f64, f64, f64, f64>(Precision::F32, target, Start::Target, rows.transposed(), rows);
        }
    }

    /// Those of the images that came, of which there are two or more.
    pub fn moments(&self) -> Moments {
        let n = self.count as f64 - 1.0;
        Moments { mean: self.mean.clone(), covariance: self.scatter.iter().map(|sum| sum / n).collect() }
    }
}

impl Moments {
    /// The squared Fréchet distance of the Gaussians with these moments (Dowson & Landau 1982; Heusel et al. 2017, Eq. 6):
    /// `|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)`. With a root Σ₁ = L Lᵀ the eigenvalues of Σ₁ Σ₂ that are not 0 are those of Lᵀ Σ₂ L, which is
    /// symmetric; the trace of the root is the sum of their roots. NaN where a number is not finite.
    pub fn distance(&self, other: &Moments) -> f64 {
        let d = self.mean.len();
        let all = [&self.mean, &self.covariance, &other.mean, &other.covariance];
        if !all.into_iter().flatten().all(|value| value.is_finite()) {
            return f64::NAN;
        }
        let means: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b) * (a - b)).sum();
        let trace = |matrix: &[f64]| (0..d).map(|i| matrix[i * d + i]).sum::<f64>();
        let (root, rank) = root(&self.covariance, d);
        let root = Matrix::new(&root, d, rank, d);
        let half = product(Matrix::dense(&other.covariance, d, d), root);
        let mut whole = product(root.transposed(), Matrix::dense(&half, d, rank));
        let values = eigenvalues(&mut whole, rank);
        let roots: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
        // Rounding may leave equal sets a little below 0.
        (means + trace(&self.covariance) + trace(&other.covariance) - 2.0 * roots).max(0.0)
    }
}

/// left · right.
fn product(left: Matrix<'_, f64>, right: Matrix<'_, f64>) -> Vec<f64> {
    let mut target = vec![0.0; left.rows * right.cols];
    let into = MatrixMut::dense(&mut target, left.rows, right.cols);
    gemm_parallel::<f64, f64, f64, f64>(Precision::F32, into, Start::Zero, left, right);
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagonal(values: &[f64]) -> Vec<f64> {
        let d = values.len();
        (0..d * d).map(|at| if at / d == at % d { values[at / d] } else { 0.0 }).collect()
    }

    /// A ← Gᵀ A G with the rotation by 0.6 and 0.8 of axes p and q of three, and so of a mean.
    fn turned(m: &Moments, p: usize, q: usize) -> Moments {
        let turn = |vector: &mut [f64], step: usize| {
            let (x, y) = (vector[p * step], vector[q * step]);
            (vector[p * step], vector[q * step]) = (0.6 * x - 0.8 * y, 0.8 * x + 0.6 * y);
        };
        let Moments { mut mean, mut covariance } = m.clone();
        turn(&mut mean, 1);
        covariance.chunks_exact_mut(3).for_each(|row| turn(row, 1));
        (0..3).for_each(|column| turn(&mut covariance[column..], 3));
        Moments { mean, covariance }
    }

    /// Gaussians whose covariances commute: |μ₁ − μ₂|² + Σ (σ₁ − σ₂)².
    #[test]
    fn the_distance_of_known_gaussians() {
        let a = Moments { mean: vec![1.0, 0.0, -2.0], covariance: diagonal(&[4.0, 1.0, 0.0]) };
        let b = Moments { mean: vec![0.0, 2.0, -2.0], covariance: diagonal(&[1.0, 9.0, 0.25]) };
        assert!((a.distance(&b) - (5.0 + 1.0 + 4.0 + 0.25)).abs() < 1e-12, "{}", a.distance(&b));
        assert!((b.distance(&a) - 10.25).abs() < 1e-12 && a.distance(&a) < 1e-12);
        // The same in another basis, where nothing is diagonal.
        let turn = |m: &Moments| turned(&turned(m, 0, 1), 1, 2);
        assert!((turn(&a).distance(&turn(&b)) - 10.25).abs() < 1e-12, "{}", turn(&a).distance(&turn(&b)));
        // Nothing but rounding is left of equal sets, and no number of what is none.
        let bad = Moments { mean: vec![f64::NAN; 3], ..a.clone() };
        assert!(a.distance(&bad).is_nan() && bad.distance(&a).is_nan());
        let flat = Moments { mean: vec![0.0; 3], covariance: vec![0.0; 9] };
        assert_eq!(flat.distance(&flat), 0.0);
    }

    /// In one block and in several, of which the last is short, far away from 0.
    #[test]
    fn running_moments_are_those_of_the_definition() {
        let (n, d) = (2500, 3);
        let x: Vec<f64> =
            (0..n * d).map(|at| 1e4 + ((at * 7919 + at * at % 13) % 101) as f64 * (1 + at % d) as f64).collect();
        let mean: Vec<f64> = (0..d).map(|k| x.iter().skip(k).step_by(d).sum::<f64>() / n as f64).collect();
        let covariance = |p: usize, q: usize| {
            x.chunks_exact(d).map(|row| (row[p] - mean[p]) * (row[q] - mean[q])).sum::<f64>() / (n - 1) as f64
        };
        let covariance: Vec<f64> = (0..d * d).map(|at| covariance(at / d, at % d)).collect();
        for split in [1, 7, 1024, n] {
            let mut running = Running::new(d);
            x.chunks(split * d).for_each(|part| running.add(part));
            let found = running.moments();
            let close = |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-8);
            assert!(close(&found.mean, &mean) && close(&found.covariance, &covariance), "{split}: {found:?}");
        }
    }
}
