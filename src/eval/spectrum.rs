//! Eigenvalues of large symmetric matrices, and a root of a covariance: what the Fréchet distance in 2,048 features needs. Rows are split
//! over threads, and each sum is made by one of them, so that the bits do not depend on their number.

use crate::device::cpu::vectorised;
use crate::device::parallel::{ParallelSliceMut, Parts};

/// Rows of a task.
const ROWS: usize = 64;
/// Sums that run beside each other, in vectors.
const LANES: usize = 16;
/// Steps of the QR algorithm for an eigenvalue; it needs about two.
const MOST_STEPS: usize = 60;

/// ⟨a, b⟩.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let ((a, left), (b, right)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        sums.iter_mut().zip(a).zip(b).for_each(|((sum, a), b)| *sum += a * b);
    }
    sums.iter().sum::<f64>() + left.iter().zip(right).map(|(a, b)| a * b).sum::<f64>()
}

/// A root L `[d, rank]` of a positive semidefinite matrix `[d, d]`, L Lᵀ = A, and the rank, by Cholesky's method with the largest
/// remaining pivot first (Higham, *Accuracy and Stability of Numerical Algorithms*, section 10.3). Rows of L are d apart. It ends
/// where what remains is rounding.
pub(super) fn root(matrix: &[f64], d: usize) -> (Vec<f64>, usize) {
    let mut root = vec![0.0; d * d];
    let mut remaining: Vec<f64> = (0..d).map(|i| matrix[i * d + i]).collect();
    let largest = remaining.iter().copied().fold(0.0, f64::max);
    let least = largest * d as f64 * f64::EPSILON;
    for k in 0..d {
        let best = (0..d).fold(0, |best, i| if remaining[i] > remaining[best] { i } else { best });
        let pivot = remaining[best];
        if pivot <= least {
            return (root, k);
        }
        let pivot = pivot.sqrt();
        let own = root[best * d..][..k].to_vec();
        let of_pivot = &matrix[best * d..][..d];
        let rows = root.par_chunks_mut(ROWS * d).zip(remaining.par_chunks_mut(ROWS)).enumerate();
        rows.for_each(|(task, (rows, remaining))| {
            vectorised!(for (i, (row, remaining)) in rows.chunks_exact_mut(d).zip(remaining.iter_mut()).enumerate() {
                let i = task * ROWS + i;
                if i == best {
                    row[k] = pivot;
                    // It is used up, and no pivot again.
                    *remaining = f64::NEG_INFINITY;
                } else if *remaining > f64::NEG_INFINITY {
                    let value = (of_pivot[i] - dot(&row[..k], &own)) / pivot;
                    row[k] = value;
                    *remaining -= value * value;
                }
            });
        });
    }
    (root, d)
}

/// The eigenvalues of a symmetric matrix `[d, d]`, in no order. Its content is lost.
pub(super) fn eigenvalues(matrix: &mut [f64], d: usize) -> Vec<f64> {
    let (mut diagonal, mut beside) = tridiagonal(matrix, d);
    qr(&mut diagonal, &mut beside);
    diagonal
}

/// The diagonal `[d]` and the elements beside it `[d − 1]` of a tridiagonal matrix with the same eigenvalues, by Householder's reflections
/// (Golub & Van Loan, *Matrix Computations*, section 8.3.1). The update by one reflection, A − v wᵀ − w vᵀ, and the product with the
/// next one's vector are made in one walk over the rows that remain.
fn tridiagonal(matrix: &mut [f64], d: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut diagonal, mut beside) = (Vec::with_capacity(d), Vec::with_capacity(d));
    // Of the reflection before, from the current row on; no reflection is zeros.
    let (mut v, mut w) = (vec![0.0; d], vec![0.0; d]);
    for k in 0..d {
        let row = &mut matrix[k * d + k..][..d - k];
        for (j, a) in row.iter_mut().enumerate() {
            *a -= v[0] * w[j] + w[0] * v[j];
        }
        diagonal.push(row[0]);
        let Some(&first) = row.get(1) else { break };
        let (next, scale, below) = reflection(&row[1..], first);
        beside.push(below);
        let (before_v, before_w) = (&v[1..], &w[1..]);
        let mut products = vec![0.0; next.len()];
        let rows = matrix[(k + 1) * d..].par_chunks_mut(ROWS * d).zip(products.par_chunks_mut(ROWS)).enumerate();
        rows.for_each(|(task, (rows, products))| {
            vectorised!(for (i, (row, product)) in rows.chunks_exact_mut(d).zip(products.iter_mut()).enumerate() {
                let (own_v, own_w) = (before_v[task * ROWS + i], before_w[task * ROWS + i]);
                let row = &mut row[k + 1..];
                for ((a, v), w) in row.iter_mut().zip(before_v).zip(before_w) {
                    *a -= own_v * w + own_w * v;
                }
                *product = dot(row, &next);
            });
        });
        // With p = scale · A v: w = p − ½ scale ⟨p, v⟩ v.
        let half = 0.5 * scale * scale * dot(&products, &next);
        w = products.iter().zip(&next).map(|(product, v)| scale * product - half * v).collect();
        v = next;
    }
    (diagonal, beside)
}

/// The vector v and the number β of the reflection 1 − β v vᵀ that leaves of `x`, whose first element is `first`, only its first element,
/// and what that becomes. v is zeros where there is nothing to do.
fn reflection(x: &[f64], first: f64) -> (Vec<f64>, f64, f64) {
    let rest = dot(&x[1..], &x[1..]);
    if rest == 0.0 {
        return (vec![0.0; x.len()], 0.0, first);
    }
    let norm = (first * first + rest).sqrt();
    let becomes = if first > 0.0 { -norm } else { norm };
    let mut v = x.to_vec();
    v[0] = first - becomes;
    (v, 2.0 / (rest + (first - becomes) * (first - becomes)), becomes)
}

/// The eigenvalues of a tridiagonal matrix, in the place of its diagonal, by the implicit QR algorithm with Wilkinson's shift (Golub & Van
/// Loan, section 8.3.3).
fn qr(d: &mut [f64], e: &mut [f64]) {
    let norm = d.iter().chain(e.iter()).fold(0.0f64, |norm, x| norm.max(x.abs()));
    let is_small = |d: &[f64], e: &[f64], k: usize| {
        e[k].abs() <= f64::EPSILON * (d[k].abs() + d[k + 1].abs() + f64::EPSILON * norm)
    };
    let (mut last, mut steps) = (d.len().saturating_sub(1), MOST_STEPS * d.len());
    while last > 0 && steps > 0 {
        if is_small(d, e, last - 1) {
            last -= 1;
            continue;
        }
        let first = (0..last - 1).rev().find(|&k| is_small(d, e, k)).map_or(0, |k| k + 1);
        let half = 0.5 * (d[last - 1] - d[last]);
        let below = e[last - 1];
        let shift = d[last] - below * below / (half + half.hypot(below).copysign(half));
        let (mut x, mut z) = (d[first] - shift, e[first]);
        for k in first..last {
            let length = x.hypot(z);
            let (c, s) = if length > 0.0 { (x / length, z / length) } else { (1.0, 0.0) };
            if k > first {
                e[k - 1] = length;
            }
            let (a, b, below) = (d[k], e[k], d[k + 1]);
            (d[k], d[k + 1]) =
                (c * c * a + 2.0 * c * s * b + s * s * below, s * s * a - 2.0 * c * s * b + c * c * below);
            e[k] = c * s * (below - a) + (c * c - s * s) * b;
            if k + 1 < last {
                (x, z) = (e[k], s * e[k + 1]);
                e[k + 1] *= c;
            }
        }
        steps -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The second difference of d points: its eigenvalues are 4 sin²(kπ / (2d + 2)).
    fn difference(d: usize) -> Vec<f64> {
        let element = |i: usize, j: usize| match i.abs_diff(j) {
            0 => 2.0,
            1 => -1.0,
            _ => 0.0,
        };
        (0..d * d).map(|at| element(at / d, at % d)).collect()
    }

    fn sorted(mut values: Vec<f64>) -> Vec<f64> {
        values.sort_by(f64::total_cmp);
        values
    }

    /// H A H with the reflection H of a vector without zeros: no element stays, and the eigenvalues do.
    fn mixed(matrix: &[f64], d: usize) -> Vec<f64> {
        let u: Vec<f64> = (0..d).map(|i| 1.0 + (i * 7 % 5) as f64).collect();
        let scale = 2.0 / dot(&u, &u);
        let reflected = |rows: &[f64]| -> Vec<f64> {
            let each = rows.chunks_exact(d).flat_map(|row| {
                let along = scale * dot(row, &u);
                row.iter().zip(&u).map(move |(a, u)| a - along * u).collect::<Vec<_>>()
            });
            let all: Vec<f64> = each.collect();
            (0..d * d).map(|at| all[at % d * d + at / d]).collect()
        };
        reflected(&reflected(matrix))
    }

    #[test]
    fn eigenvalues_are_known_ones() {
        for d in [1, 2, 3, 17, 150] {
            let angle = |k: usize| k as f64 * std::f64::consts::PI / (2 * d + 2) as f64;
            let expected: Vec<f64> = (1..=d).map(|k| 4.0 * angle(k).sin().powi(2)).collect();
            for mut matrix in [difference(d), mixed(&difference(d), d)] {
                let found = sorted(eigenvalues(&mut matrix, d));
                let worst = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-13 * (d as f64).max(10.0), "{d}: {worst}");
            }
        }
        // Equal ones, zeros, and none beside the diagonal.
        let mut values =
            mixed(&(0..49).map(|at| if at % 8 == 0 && at < 24 { 5.0 } else { 0.0 }).collect::<Vec<_>>(), 7);
        let found = sorted(eigenvalues(&mut values, 7));
        assert!(found[..4].iter().all(|x| x.abs() < 1e-14) && found[4..].iter().all(|x| (x - 5.0).abs() < 1e-13));
        assert_eq!(sorted(eigenvalues(&mut [3.0, 0.0, 0.0, 1.0], 2)), [1.0, 3.0]);
    }

    /// L Lᵀ is the matrix, of full rank and of less.
    #[test]
    fn a_root_times_itself_is_the_matrix() {
        let d = 90;
        let full = mixed(&difference(d), d);
        let flat: Vec<f64> =
            (0..d * d).map(|at| if at % (d + 1) == 0 && at / d % 3 == 0 { 2.0 } else { 0.0 }).collect();
        for (matrix, rank) in [(full, d), (mixed(&flat, d), d / 3), (vec![0.0; d * d], 0)] {
            let (root, found) = root(&matrix, d);
            assert_eq!(found, rank);
            for (i, j) in (0..d).flat_map(|i| (0..d).map(move |j| (i, j))) {
                let value = dot(&root[i * d..][..rank], &root[j * d..][..rank]);
                assert!((value - matrix[i * d + j]).abs() < 1e-12, "{i}, {j}");
            }
        }
    }
}
