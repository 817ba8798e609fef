//! Squared Euclidean distances between features, a block of rows at a time: |x|² + |y|² − 2 ⟨x, y⟩ in double precision, with a product
//! for the last term. There is never more of the matrix in memory than a block for each thread.

use crate::device::Precision;
use crate::device::gemm::gemm;
use crate::device::matrix::{Matrix, MatrixMut};
use crate::device::parallel::{ParallelSliceMut, Parts};

/// Rows of a block.
const BLOCK: usize = 128;

/// Points `[N, dims]` with their squared norms.
pub(super) struct Points {
    values: Vec<f64>,
    norms: Vec<f64>,
    dims: usize,
}

impl Points {
    pub(super) fn new(values: Vec<f64>, dims: usize) -> Points {
        let norms = values.chunks_exact(dims).map(|row| row.iter().map(|x| x * x).sum()).collect();
        Points { values, norms, dims }
    }

    pub(super) fn len(&self) -> usize {
        self.norms.len()
    }

    /// For each of the points a number made from its squared distances to all of `others`; `of` gets the point's number and them.
    pub(super) fn each<T: Send + Default + Clone>(
        &self,
        others: &Points,
        of: impl Fn(usize, &mut [f64]) -> T + Sync,
    ) -> Vec<T> {
        let mut found = vec![T::default(); self.len()];
        found.par_chunks_mut(BLOCK).enumerate().for_each(|(block, found)| {
            let (first, rows) = (block * BLOCK, found.len());
            let mut distances = vec![0.0; rows * others.len()];
            let left = Matrix::dense(&self.values[first * self.dims..][..rows * self.dims], rows, self.dims);
            let right = Matrix::dense(&others.values, others.len(), self.dims).transposed();
            gemm(Precision::F32, MatrixMut::dense(&mut distances, rows, others.len()), false, left, right);
            for (i, (found, row)) in found.iter_mut().zip(distances.chunks_exact_mut(others.len().max(1))).enumerate() {
                let own = self.norms[first + i];
                row.iter_mut().zip(&others.norms).for_each(|(d, norm)| *d = (own + norm - 2.0 * *d).max(0.0));
                *found = of(first + i, row);
            }
        });
        found
    }

    /// The squared distance of each point to its k-th nearest neighbour, itself not counted; infinite where there are too few.
    pub(super) fn radii(&self, k: usize) -> Vec<f64> {
        self.each(self, |i, distances| {
            distances[i] = f64::INFINITY;
            if distances.len() <= k {
                return f64::INFINITY;
            }
            *distances.select_nth_unstable_by(k - 1, f64::total_cmp).1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On a line with points at 0, 1, 3, 6, 10, … every distance is known.
    #[test]
    fn neighbours_on_a_line() {
        let points = |n: usize| Points::new((0..n).flat_map(|i| [(i * (i + 1) / 2) as f64, 7.0]).collect(), 2);
        let line = points(300);
        let radii = line.radii(1);
        assert_eq!((radii[0], radii[1], radii[2], radii[299]), (1.0, 1.0, 4.0, 299.0 * 299.0));
        assert_eq!(line.radii(2)[3], 16.0);
        assert_eq!(points(2).radii(2), [f64::INFINITY; 2]);
        let nearest = line.each(&points(1), |_, distances| distances[0]);
        assert_eq!(nearest[4], 100.0);
    }
}
