//! Mean and covariance of features, the eigenvalues of a symmetric matrix, and the Fréchet distance of two Gaussians.

use super::set::Set;
use crate::device::Precision;
use crate::device::gemm::gemm_parallel;
use crate::device::matrix::{Matrix, MatrixMut, Start};

/// Images whose features are centred at once.
const BLOCK: usize = 4096;
/// Sweeps of Jacobi's method; it needs about ten.
const MOST_SWEEPS: usize = 60;

/// Mean `[d]` and covariance `[d, d]` of a sample: the covariance over N − 1, as NumPy's `cov` has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// The mean.
    pub mean: Vec<f64>,
    /// The covariance, row by row; it is symmetric.
    pub covariance: Vec<f64>,
}

impl Moments {
    /// Those of the features of chosen images, of which there are two or more.
    pub fn of(set: &Set, images: &[u32]) -> Moments {
        let d = set.dims;
        let mut mean = vec![0.0; d];
        for block in images.chunks(BLOCK) {
            let features = set.chosen(block);
            features.chunks_exact(d).for_each(|row| mean.iter_mut().zip(row).for_each(|(sum, x)| *sum += x));
        }
        mean.iter_mut().for_each(|sum| *sum /= images.len() as f64);
        let mut covariance = vec![0.0; d * d];
        for block in images.chunks(BLOCK) {
            let mut rows = set.chosen(block);
            rows.chunks_exact_mut(d).for_each(|row| row.iter_mut().zip(&mean).for_each(|(x, mean)| *x -= mean));
            let (target, rows) = (MatrixMut::dense(&mut covariance, d, d), Matrix::dense(&rows, block.len(), d));
            gemm_parallel::<f64, f64, f64, f64>(Precision::F32, target, Start::Target, rows.transposed(), rows);
        }
        covariance.iter_mut().for_each(|sum| *sum /= images.len() as f64 - 1.0);
        Moments { mean, covariance }
    }

    /// The squared Fréchet distance of the Gaussians with these moments (Dowson & Landau 1982; Heusel et al. 2017, Eq. 6):
    /// `|μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)`. The trace of the root is that of `(Σ₁^½ Σ₂ Σ₁^½)^½`, the sum of the roots of that
    /// matrix's eigenvalues, which are real and not negative, as those of a product need not come out.
    pub fn distance(&self, other: &Moments) -> f64 {
        let d = self.mean.len();
        let means: f64 = self.mean.iter().zip(&other.mean).map(|(a, b)| (a - b) * (a - b)).sum();
        let trace = |matrix: &[f64]| (0..d).map(|i| matrix[i * d + i]).sum::<f64>();
        let root = square_root(&self.covariance, d);
        let middle = product(&product(&root, &other.covariance, d), &root, d);
        let (values, _) = eigen(&middle, d);
        let roots: f64 = values.iter().map(|value| value.max(0.0).sqrt()).sum();
        // Rounding may leave equal sets a little below 0.
        (means + trace(&self.covariance) + trace(&other.covariance) - 2.0 * roots).max(0.0)
    }
}

/// left · right, both `[d, d]`.
fn product(left: &[f64], right: &[f64], d: usize) -> Vec<f64> {
    let mut target = vec![0.0; d * d];
    let (left, right) = (Matrix::dense(left, d, d), Matrix::dense(right, d, d));
    gemm_parallel::<f64, f64, f64, f64>(Precision::F32, MatrixMut::dense(&mut target, d, d), Start::Zero, left, right);
    target
}

/// The symmetric root of a positive semidefinite matrix; eigenvalues that rounding left below 0 count as 0.
fn square_root(matrix: &[f64], d: usize) -> Vec<f64> {
    let (values, vectors) = eigen(matrix, d);
    let mut scaled = vectors.clone();
    for row in scaled.chunks_exact_mut(d) {
        row.iter_mut().zip(&values).for_each(|(v, value)| *v *= value.max(0.0).sqrt());
    }
    let mut target = vec![0.0; d * d];
    let (scaled, vectors) = (Matrix::dense(&scaled, d, d), Matrix::dense(&vectors, d, d));
    let into = MatrixMut::dense(&mut target, d, d);
    gemm_parallel::<f64, f64, f64, f64>(Precision::F32, into, Start::Zero, scaled, vectors.transposed());
    target
}

/// Eigenvalues `[d]` and eigenvectors `[d, d]`, one a column, of a symmetric matrix, by Jacobi's method: each rotation makes one pair
/// of elements off the diagonal zero, sweep after sweep over all pairs in order (Golub & Van Loan, *Matrix Computations*, section
/// 8.5). The eigenvalues are in no order. What is not finite stays so.
pub fn eigen(matrix: &[f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let mut a = matrix.to_vec();
    // Eigenvectors as rows, so that a rotation works on memory that lies together.
    let mut v = vec![0.0; d * d];
    (0..d).for_each(|i| v[i * d + i] = 1.0);
    let norm: f64 = a.iter().map(|x| x * x).sum();
    for _ in 0..MOST_SWEEPS {
        let off: f64 = (0..d).flat_map(|p| (0..p).map(move |q| (p, q))).map(|(p, q)| a[p * d + q] * a[p * d + q]).sum();
        if off <= norm * 1e-32 {
            break;
        }
        for (p, q) in (0..d).flat_map(|p| (p + 1..d).map(move |q| (p, q))) {
            rotate(&mut a, &mut v, d, p, q);
        }
    }
    let values = (0..d).map(|i| a[i * d + i]).collect();
    let vectors = (0..d * d).map(|at| v[at % d * d + at / d]).collect();
    (values, vectors)
}

/// A ← Jᵀ A J with the rotation J that makes A's element (p, q) zero, p < q; V ← Jᵀ V.
fn rotate(a: &mut [f64], v: &mut [f64], d: usize, p: usize, q: usize) {
    let (app, aqq, apq) = (a[p * d + p], a[q * d + q], a[p * d + q]);
    if apq == 0.0 {
        return;
    }
    let theta = (aqq - app) / (2.0 * apq);
    let t = theta.signum() / (theta.abs() + (theta * theta + 1.0).sqrt());
    let c = 1.0 / (t * t + 1.0).sqrt();
    let s = t * c;
    rotate_rows(a, d, p, q, c, s);
    for row in a.chunks_exact_mut(d) {
        let (x, y) = (row[p], row[q]);
        (row[p], row[q]) = (c * x - s * y, s * x + c * y);
    }
    // Zero by construction, but for rounding.
    (a[p * d + q], a[q * d + p]) = (0.0, 0.0);
    rotate_rows(v, d, p, q, c, s);
}

fn rotate_rows(matrix: &mut [f64], d: usize, p: usize, q: usize, c: f64, s: f64) {
    let (upper, lower) = matrix.split_at_mut(q * d);
    for (x, y) in upper[p * d..][..d].iter_mut().zip(&mut lower[..d]) {
        (*x, *y) = (c * *x - s * *y, s * *x + c * *y);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagonal(values: &[f64]) -> Vec<f64> {
        let d = values.len();
        (0..d * d).map(|at| if at / d == at % d { values[at / d] } else { 0.0 }).collect()
    }

    /// Gaussians whose covariances commute: |μ₁ − μ₂|² + Σ (σ₁ − σ₂)².
    #[test]
    fn the_distance_of_known_gaussians() {
        let a = Moments { mean: vec![1.0, 0.0, -2.0], covariance: diagonal(&[4.0, 1.0, 0.0]) };
        let b = Moments { mean: vec![0.0, 2.0, -2.0], covariance: diagonal(&[1.0, 9.0, 0.25]) };
        assert!((a.distance(&b) - (5.0 + 1.0 + 4.0 + 0.25)).abs() < 1e-12, "{}", a.distance(&b));
        assert!(a.distance(&a) < 1e-12);
        // The same in another basis, where nothing is diagonal: rotated by 0.6 and 0.8 in two planes.
        let turn = |m: &Moments| {
            let (mut covariance, mut vectors, mut mean) = (m.covariance.clone(), diagonal(&[1.0; 3]), m.mean.clone());
            for (p, q) in [(0, 1), (1, 2)] {
                rotate_rows(&mut vectors, 3, p, q, 0.6, 0.8);
            }
            covariance = product(&product(&vectors, &covariance, 3), &transposed(&vectors), 3);
            mean = (0..3).map(|i| (0..3).map(|j| vectors[3 * i + j] * mean[j]).sum()).collect();
            Moments { mean, covariance }
        };
        assert!((turn(&a).distance(&turn(&b)) - 10.25).abs() < 1e-12, "{}", turn(&a).distance(&turn(&b)));
    }

    fn transposed(matrix: &[f64]) -> Vec<f64> {
        (0..9).map(|at| matrix[at % 3 * 3 + at / 3]).collect()
    }

    #[test]
    fn eigenvalues_and_vectors_make_the_matrix_again() {
        for d in [1, 2, 7, 40] {
            let mut matrix = vec![0.0; d * d];
            for (p, q) in (0..d).flat_map(|p| (0..=p).map(move |q| (p, q))) {
                let value = ((p * 7 + q * 13) % 11) as f64 - 5.0;
                (matrix[p * d + q], matrix[q * d + p]) = (value, value);
            }
            let (values, vectors) = eigen(&matrix, d);
            for (p, q) in (0..d).flat_map(|p| (0..d).map(move |q| (p, q))) {
                let sum: f64 = (0..d).map(|k| vectors[p * d + k] * values[k] * vectors[q * d + k]).sum();
                assert!((sum - matrix[p * d + q]).abs() < 1e-11, "{d}: {p}, {q}");
            }
        }
    }
}
