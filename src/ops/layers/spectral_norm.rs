//! Spectral normalisation of one weight matrix (Miyato et al. 2018, Algorithm 1): Ŵ = W / σ with σ = uᵀ W v, where u and v
//! follow the first singular vectors of W by one power iteration a pass, as `torch.nn.utils.spectral_norm` has it.
//!
//! v ← Wᵀ u / max(‖Wᵀ u‖, ε);  u ← W v / max(‖W v‖, ε);  dW = (dŴ − ⟨dŴ, Ŵ⟩ u vᵀ) / σ
//!
//! The gradient holds u and v fixed, which is exact where they are singular vectors. A filter KRSC is the matrix
//! `[K, R·S·C]`; PyTorch's `[K, C·R·S]` has its columns in another order and the same σ.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Out, Real, Storage};
use crate::ops::case::{self, Case, Fill};
use crate::ops::pass::{self, Pass, Work, filled, real};
use crate::ops::tensor::CaseIn;

/// ε of both norms, PyTorch's.
const EPSILON: f64 = 1e-12;

/// The sizes of a weight as a matrix `[K, C]`, and what a forward pass does to u and v.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpectralNorm {
    /// Rows: features out.
    pub k: usize,
    /// Columns: R·S·C of a filter, features in of a linear layer.
    pub c: usize,
    /// True: the pass makes a power iteration. False: it takes u and v as they are.
    pub iterates: bool,
}

/// The passes of spectral normalisation.
pub trait SpectralNormOp: Backend {
    /// ŵ = w / σ; overwrites `w_hat` `[K, C]` and `sigma` `[1]`. Changes u `[K]` and v `[C]` first, where
    /// [`SpectralNorm::iterates`] says so. A weight of zeros has σ = 0, and its ŵ is not finite.
    fn spectral_norm_forward(
        &self,
        d: &SpectralNorm,
        w: In<'_, Self>,
        u: Out<'_, Self>,
        v: Out<'_, Self>,
        sigma: Out<'_, Self>,
        w_hat: Out<'_, Self>,
    ) -> Result<()>;

    /// Turns `dw` `[K, C]` from the gradient by ŵ into that by w, in place; u, v and σ are those of the forward pass that
    /// made ŵ.
    fn spectral_norm_backward(
        &self,
        d: &SpectralNorm,
        w_hat: In<'_, Self>,
        u: In<'_, Self>,
        v: In<'_, Self>,
        sigma: In<'_, Self>,
        dw: Out<'_, Self>,
    ) -> Result<()>;
}

/// Columns whose sums one task keeps at hand.
const COLUMNS: usize = 256;
/// Parts in which an inner product over a whole weight is summed.
const PARTS: usize = 64;

/// aᵀ b in f64: eight sums side by side, then one after another.
fn dot<T: Real>(a: &[T], b: &[T]) -> f64 {
    vectorised!({
        let mut lanes = [0.0f64; 8];
        for (a, b) in a.chunks(8).zip(b.chunks(8)) {
            lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a.to_f64() * b.to_f64());
        }
        lanes.iter().sum()
    })
}

/// v = wᵀ u.
fn transposed_product<T: Real>(w: &[T], u: &[T], v: &mut [T]) {
    let c = v.len();
    v.par_chunks_mut(COLUMNS).enumerate().for_each(|(chunk, v)| {
        let (from, mut sums) = (chunk * COLUMNS, [0.0f64; COLUMNS]);
        vectorised!({
            for (row, u) in w.chunks_exact(c).zip(u) {
                let u = u.to_f64();
                sums.iter_mut().zip(&row[from..from + v.len()]).for_each(|(sum, w)| *sum += u * w.to_f64());
            }
        });
        v.iter_mut().zip(sums).for_each(|(v, sum)| *v = T::of(sum));
    });
}

/// Divides by max(‖x‖, ε); returns ‖x‖.
fn normalise<T: Real>(x: &mut [T]) -> f64 {
    let norm = dot(x, x).sqrt();
    x.iter_mut().for_each(|x| *x = T::of(x.to_f64() / norm.max(EPSILON)));
    norm
}

impl<T: Real, S: Storage<T>> SpectralNormOp for Cpu<T, S> {
    fn spectral_norm_forward(
        &self,
        d: &SpectralNorm,
        w: &[T],
        u: &mut [T],
        v: &mut [T],
        sigma: &mut [T],
        w_hat: &mut [T],
    ) -> Result<()> {
        let found = if d.iterates {
            transposed_product(w, u, v);
            normalise(v);
            let v = &*v;
            w.par_chunks_exact(d.c).zip(&mut *u).for_each(|(row, u)| *u = T::of(dot(row, v)));
            // uᵀ (W v) of a u that is W v itself, divided by its norm.
            let norm = normalise(u);
            norm * norm / norm.max(EPSILON)
        } else {
            w.chunks_exact(d.c).zip(&*u).map(|(row, u)| u.to_f64() * dot(row, v)).sum()
        };
        let found = T::of(found);
        sigma[0] = found;
        w_hat.par_chunks_mut(d.c).zip(w.par_chunks(d.c)).for_each(|(w_hat, w)| {
            w_hat.iter_mut().zip(w).for_each(|(w_hat, &w)| *w_hat = w / found);
        });
        Ok(())
    }

    fn spectral_norm_backward(
        &self,
        d: &SpectralNorm,
        w_hat: &[T],
        u: &[T],
        v: &[T],
        sigma: &[T],
        dw: &mut [T],
    ) -> Result<()> {
        let mut parts = [0.0f64; PARTS];
        let len = dw.len().div_ceil(PARTS);
        let pairs = dw.par_chunks(len).zip(w_hat.par_chunks(len));
        parts.par_iter_mut().zip(pairs).for_each(|(part, (dw, w_hat))| *part = dot(dw, w_hat));
        let (inner, sigma) = (T::of(parts.iter().sum()), sigma[0]);
        dw.par_chunks_mut(d.c).zip(u).for_each(|(row, &u)| {
            row.iter_mut().zip(v).for_each(|(dw, &v)| *dw = (*dw - inner * u * v) / sigma);
        });
        Ok(())
    }
}

impl SpectralNorm {
    /// Rows of W are summed by this many blocks one below the other.
    fn parts(&self) -> usize {
        self.k.div_ceil(size::COLUMN_ROWS as usize)
    }
}

impl AsArgument for SpectralNorm {
    fn argument(&self) -> Argument {
        Argument::new([self.k, self.c].map(int))
    }
}

/// One block for each of these.
fn row_blocks(count: usize) -> [u32; 3] {
    [int(count).unsigned_abs(), 1, 1]
}

const THREADS: [u32; 3] = [size::SPECTRAL_THREADS, 1, 1];

impl<T: Real, S: Storage<T>> SpectralNormOp for Accelerator<T, S> {
    fn spectral_norm_forward(
        &self,
        d: &SpectralNorm,
        w: In<'_, Self>,
        u: Out<'_, Self>,
        v: Out<'_, Self>,
        sigma: Out<'_, Self>,
        w_hat: Out<'_, Self>,
    ) -> Result<()> {
        self.with_workspace(d.k.max(d.parts() * d.c), |sums: Out<'_, Self, f64>| {
            if d.iterates {
                let columns = int(d.c).unsigned_abs().div_ceil(size::COLUMN_THREADS_X);
                let grid = [columns, int(d.parts()).unsigned_abs(), 1];
                let block = [size::COLUMN_THREADS_X, size::COLUMN_THREADS_Y, 1];
                self.launch(Kernel::SpectralNormColumns, grid, block, &arguments![d, w, u, sums])?;
                let arguments = arguments![d.c, d.parts(), sums, v];
                self.launch(Kernel::SpectralNormUnit, row_blocks(1), THREADS, &arguments)?;
            }
            self.launch(Kernel::SpectralNormRows, row_blocks(d.k), THREADS, &arguments![d, w, v, sums])?;
            if d.iterates {
                self.launch(Kernel::SpectralNormUnit, row_blocks(1), THREADS, &arguments![d.k, 1, sums, u])?;
            }
            self.launch(Kernel::SpectralNormSigma, row_blocks(1), THREADS, &arguments![d.k, u, sums, sigma])
        })?;
        let count = w_hat.len();
        self.launch_elements(Kernel::SpectralNormDivide, count, &arguments![w, sigma, w_hat, count as u64])
    }

    fn spectral_norm_backward(
        &self,
        d: &SpectralNorm,
        w_hat: In<'_, Self>,
        u: In<'_, Self>,
        v: In<'_, Self>,
        sigma: In<'_, Self>,
        dw: Out<'_, Self>,
    ) -> Result<()> {
        let count = dw.len();
        let blocks = self.element_blocks(count);
        self.with_workspace(blocks as usize, |inner: Out<'_, Self, f64>| {
            self.launch_elements(Kernel::SpectralNormInner, count, &arguments![w_hat, dw, inner, count as u64])?;
            self.launch(Kernel::SpectralNormTotal, row_blocks(1), THREADS, &arguments![blocks, inner])?;
            self.launch_elements(Kernel::SpectralNormBackward, count, &arguments![d, u, v, sigma, inner, dw])
        })
    }
}

dry_run! {
    SpectralNormOp:
    // w is read twice for the power iteration, and once to be divided.
    spectral_norm_forward(_d: &SpectralNorm, w, u, v, _sigma, w_hat) => 3 * w + 2 * (u + v) + w_hat;
    spectral_norm_backward(_d: &SpectralNorm, w_hat, u, v, _sigma, dw) => w_hat + u + v + 3 * dw;
}

/// One row and many, one column and many, more rows than a block sums.
pub(super) fn cases<B: SpectralNormOp>() -> Vec<Case<B>> {
    let iterating = [(1, 1), (1, 33), (33, 1), (3, 17), (17, 300), (520, 3)].map(|(k, c)| iterating_case(k, c));
    let held = [(3, 17), (17, 3), (1, 5)].map(|(k, c)| held_case(k, c));
    iterating.into_iter().chain(held).collect()
}

/// With a power iteration: all that a forward pass leaves. It is no function to differentiate, since u and v are held fixed.
fn iterating_case<B: SpectralNormOp>(k: usize, c: usize) -> Case<B> {
    let d = SpectralNorm { k, c, iterates: true };
    Case::new("spectral_norm", format!("k{k} c{c} with a power iteration"))
        .real_input("w", k * c)
        .real_input("u", k)
        .real_output("w_hat", k * c)
        .real_output("u", k)
        .real_output("v", c)
        .real_output("sigma", 1)
        .forward(move |be: &B, [w, before], [w_hat, u, v, sigma]| {
            let mut u = u.real();
            be.copy(before.real(), be.reborrow(&mut u))?;
            be.spectral_norm_forward(&d, w.real(), u, v.real(), sigma.real(), w_hat.real())
        })
}

/// Without one: ŵ as a function of w alone, for positive w, u and v, so that σ stays far from 0.
fn held_case<B: SpectralNormOp>(k: usize, c: usize) -> Case<B> {
    let d = SpectralNorm { k, c, iterates: false };
    // Returns u, v and σ.
    let forward = move |be: &B, w: In<'_, B>, w_hat: Out<'_, B>| -> Result<[Buffer<B>; 3]> {
        let positive = |len, number| case::drawn(be, len, Fill::Uniform(0.2, 1.0), number);
        let mut held = [positive(k, 3000)?, positive(c, 3001)?, be.alloc(1)?];
        let [u, v, sigma] = held.each_mut().map(|buffer| be.view_mut(buffer));
        be.spectral_norm_forward(&d, w, u, v, sigma, w_hat)?;
        Ok(held)
    };
    Case::new("spectral_norm", format!("k{k} c{c}"))
        .filled_real_input("w", k * c, Fill::Uniform(0.5, 1.5))
        .real_output("w_hat", k * c)
        .forward(move |be: &B, [w], [w_hat]| forward(be, w.real(), w_hat.real()).map(drop))
        .backward(move |be: &B, [w], [w_hat], [d_w_hat], [dw]| {
            let (held, mut dw) = (forward(be, w.real(), be.view_mut(&mut be.alloc(k * c)?))?, dw.real());
            be.copy(d_w_hat.real(), be.reborrow(&mut dw))?;
            let [u, v, sigma] = held.each_ref().map(|buffer| be.view(buffer));
            be.spectral_norm_backward(&d, w_hat.real(), u, v, sigma, dw)
        })
}

/// The largest weights of the discriminator of `vgan-mnist`: its second convolution's and its first linear layer's.
pub(super) fn passes<B: SpectralNormOp>() -> Vec<Pass<B>> {
    pass::of_each([(128, 4 * 4 * 64), (1024, 7 * 7 * 128)], |(k, c)| passes_of(k, c))
}

fn passes_of<B: SpectralNormOp>(k: usize, c: usize) -> [Pass<B>; 2] {
    let (shape, d) = (format!("k{k} c{c}"), SpectralNorm { k, c, iterates: true });
    // It changes u and v, which must not begin as zeros.
    let forward = move |be: B| -> Result<Work> {
        let (w, mut u, mut v) = (filled(&be, k * c)?, filled(&be, k)?, filled(&be, c)?);
        let (mut sigma, mut w_hat) = (be.alloc(1)?, be.alloc(k * c)?);
        Ok(Box::new(move || {
            let [u, v, sigma, w_hat] = [&mut u, &mut v, &mut sigma, &mut w_hat].map(|buffer| be.view_mut(buffer));
            be.spectral_norm_forward(&d, be.view(&w), u, v, sigma, w_hat)
        }))
    };
    [
        Pass::new("spectral_norm", &shape, "forward", forward),
        Pass::of(
            "spectral_norm",
            &shape,
            "backward",
            [k * c, k, c, 1].map(real),
            [real(k * c)],
            move |be: &B, sources, [dw], _| {
                let [w_hat, u, v, sigma] = sources.map(CaseIn::real);
                be.spectral_norm_backward(&d, w_hat, u, v, sigma, dw.real())
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Passes over w `[K, C]` from u = 1, …, 1; (σ, u, v, ŵ).
    fn passes(w: &[f64], k: usize, c: usize, count: usize) -> (f64, Vec<f64>, Vec<f64>, Vec<f64>) {
        let cpu = Cpu::<f64>::new(Some(1)).expect("a thread");
        let d = SpectralNorm { k, c, iterates: true };
        let (mut u, mut v, mut sigma, mut w_hat) = (vec![1.0; k], vec![0.0; c], [0.0], vec![0.0; k * c]);
        for _ in 0..count {
            cpu.spectral_norm_forward(&d, w, &mut u, &mut v, &mut sigma, &mut w_hat).expect("a pass");
        }
        (sigma[0], u, v, w_hat)
    }

    /// The reflection I − 2 a aᵀ / aᵀa, an orthogonal matrix.
    fn reflection(a: &[f64]) -> Vec<Vec<f64>> {
        let square: f64 = a.iter().map(|a| a * a).sum();
        let entry = |i: usize, j: usize| f64::from(u8::from(i == j)) - 2.0 * a[i] * a[j] / square;
        (0..a.len()).map(|i| (0..a.len()).map(|j| entry(i, j)).collect()).collect()
    }

    /// W = P diag(3, 2, 0.5) Qᵀ with orthogonal P and Q: its singular values and vectors are those.
    #[test]
    fn sigma_is_the_largest_singular_value_of_a_known_decomposition() {
        let (p, q) = (reflection(&[1.0, 2.0, -1.0]), reflection(&[0.5, -1.0, 2.0, 1.0]));
        let values = [3.0, 2.0, 0.5];
        let entry = |i: usize, j: usize| (0..3).map(|m| p[i][m] * values[m] * q[j][m]).sum::<f64>();
        let w: Vec<f64> = (0..3).flat_map(|i| (0..4).map(move |j| (i, j))).map(|(i, j)| entry(i, j)).collect();
        // Each pass lowers the share of the second vector by (2/3)².
        let (sigma, u, v, w_hat) = passes(&w, 3, 4, 60);
        assert!((sigma - 3.0).abs() < 1e-12, "{sigma}");
        let sign = (u[0] / p[0][0]).signum();
        for (found, expected) in u.iter().chain(&v).zip((0..3).map(|i| p[i][0]).chain((0..4).map(|j| q[j][0]))) {
            assert!((found - sign * expected).abs() < 1e-12, "{u:?} {v:?}");
        }
        assert!((w_hat[5] - w[5] / 3.0).abs() < 1e-12);
    }

    /// W = [[3, 0], [4, 5]], u = (1, 1): Wᵀu = (7, 5), W v = (21, 53) / √74, σ its norm √3250 / √74.
    #[test]
    fn one_iteration_by_hand() {
        let (sigma, u, v, _) = passes(&[3.0, 0.0, 4.0, 5.0], 2, 2, 1);
        let expected =
            [(3250.0f64 / 74.0).sqrt(), 21.0 / 3250.0f64.sqrt(), 53.0 / 3250.0f64.sqrt(), 7.0 / 74.0f64.sqrt()];
        for (found, expected) in [sigma, u[0], u[1], v[0]].iter().zip(expected) {
            assert!((found - expected).abs() < 1e-14, "{found}, not {expected}");
        }
    }

    #[test]
    fn zeros_are_not_divided_into_finite_numbers_and_leave_no_nan_in_the_vectors() {
        let (sigma, u, v, w_hat) = passes(&[0.0; 6], 2, 3, 2);
        assert_eq!((sigma, u, v), (0.0, vec![0.0; 2], vec![0.0; 3]));
        assert!(w_hat.iter().all(|w| w.is_nan()));
    }
}
