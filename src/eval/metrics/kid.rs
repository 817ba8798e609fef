//! KID, the kernel distance (Bińkowski et al. 2018): the unbiased estimate of the squared maximum mean discrepancy with the kernel
//! (⟨x, y⟩/d + 1)³, over subsets of both sets, in the classifier's features.

use super::{Figure, Metric, Needs, figure};
use crate::device::Precision;
use crate::device::gemm::gemm_parallel;
use crate::device::matrix::{Matrix, MatrixMut, Start};
use crate::eval::draws::{Purpose, choice};
use crate::eval::set::Set;

/// Subsets, and the most images of one.
const SUBSETS: u64 = 100;
const SUBSET: usize = 1000;

pub(super) const METRIC: Metric = Metric {
    name: "kid",
    meaning: "kernel distance (MMD²) of samples and real images in the classifier's features, without bias",
    needs: Needs::Features,
    panel: ("KID (kernel distance in the classifier's features)", &[("kid", "")]),
    measure,
    has: |figure| matches!(figure, "kid" | "kid_se"),
    explain: |figure| match figure {
        "kid_se" => "standard error of kid over its subsets",
        _ => "kernel distance in the classifier's features, lower is better, 0 for equal sets",
    },
};

fn measure(real: &Set, fake: &Set, seed: u64) -> Vec<Figure> {
    let size = SUBSET.min(real.len()).min(fake.len());
    let subset = |set: &Set, purpose, index| set.chosen(&choice(seed, purpose, index, set.len(), size));
    let estimate = |index| {
        let (x, y) = (subset(real, Purpose::KidReal, index), subset(fake, Purpose::KidFake, index));
        mmd(&x, &y, size, real.dims)
    };
    let estimates: Vec<f64> = (0..SUBSETS).map(estimate).collect();
    let n = estimates.len() as f64;
    let mean = estimates.iter().sum::<f64>() / n;
    let variance = estimates.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / (n - 1.0);
    vec![figure("kid", mean), figure("kid_se", (variance / n).sqrt())]
}

/// The unbiased estimate from two sets of `n` points, `[n, dims]` each: an image is not compared with itself.
fn mmd(x: &[f64], y: &[f64], n: usize, dims: usize) -> f64 {
    let (x, y) = (Matrix::dense(x, n, dims), Matrix::dense(y, n, dims));
    let within = |kernel: &[f64]| {
        let diagonal: f64 = (0..n).map(|i| kernel[i * n + i]).sum();
        (kernel.iter().sum::<f64>() - diagonal) / (n as f64 * (n as f64 - 1.0))
    };
    let between = kernel(x, y).iter().sum::<f64>() / (n as f64 * n as f64);
    within(&kernel(x, x)) + within(&kernel(y, y)) - 2.0 * between
}

/// (⟨x, y⟩/d + 1)³ of all pairs.
fn kernel(x: Matrix<'_, f64>, y: Matrix<'_, f64>) -> Vec<f64> {
    let mut products = vec![0.0; x.rows * y.rows];
    let target = MatrixMut::dense(&mut products, x.rows, y.rows);
    gemm_parallel::<f64, f64, f64, f64>(Precision::F32, target, Start::Zero, x, y.transposed());
    for value in &mut products {
        let base = *value / x.cols as f64 + 1.0;
        *value = base * base * base;
    }
    products
}
