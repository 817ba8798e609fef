//! Linear layer: x `[N, C]`, w `[K, C]`, b `[K]`, y `[N, K]`: y = x · wᵀ + b.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::gemm::{add_column_sums, add_scaled_column_sums, gemm_parallel};
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::matrix::{Matrix, MatrixMut, Start};
use crate::device::product::{End, Product};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Out, Real, Storage, Stored, StoredOut, Window};
use crate::ops::case::Case;
use crate::ops::layers::affine::{self, Affine};
use crate::ops::layers::column_sums;
use crate::ops::models::{BATCH, BOTH};
use crate::ops::pass::Pass;

/// The sizes of a linear layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// Rows: images.
    pub n: usize,
    /// Features in.
    pub c: usize,
    /// Features out.
    pub k: usize,
}

/// The linear layer's passes.
pub trait LinearOp: Backend {
    /// y = x · wᵀ + b. Without `b` it is also the tangent: the map is linear in x.
    fn linear_forward(
        &self,
        d: &Linear,
        x: Stored<'_, Self>,
        w: Stored<'_, Self>,
        b: Option<In<'_, Self>>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dx = dy · w; overwrites.
    fn linear_backward_input(
        &self,
        d: &Linear,
        dy: Stored<'_, Self>,
        w: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dw += dyᵀ · x, db += Σ dy where they accumulate; they overwrite otherwise. db, and dw of a single output, are summed so that what cancels between the
    /// first half of the rows and the second leaves nothing ([`add_column_sums`]); such a dw rounds no operand in any
    /// [`Precision`](crate::device::Precision).
    fn linear_backward_weight(
        &self,
        d: &Linear,
        x: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<T: Real, S: Storage<T>> LinearOp for Cpu<T, S> {
    fn linear_forward(&self, d: &Linear, x: &[S], w: &[S], b: Option<&[T]>, y: &mut [S]) -> Result<()> {
        let (x, w) = (Matrix::dense(x, d.n, d.c), Matrix::dense(w, d.k, d.c).transposed());
        gemm_parallel(self.precision(), MatrixMut::dense(y, d.n, d.k), b.map_or(Start::Zero, Start::Bias), x, w);
        Ok(())
    }

    fn linear_backward_input(&self, d: &Linear, dy: &[S], w: &[S], dx: &mut [S]) -> Result<()> {
        let (dy, w) = (Matrix::dense(dy, d.n, d.k), Matrix::dense(w, d.k, d.c));
        gemm_parallel(self.precision(), MatrixMut::dense(dx, d.n, d.c), Start::Zero, dy, w);
        Ok(())
    }

    fn linear_backward_weight(
        &self,
        d: &Linear,
        x: &[S],
        dy: &[S],
        dw: &mut [T],
        db: Option<&mut [T]>,
        accumulate: bool,
    ) -> Result<()> {
        if d.k == 1 {
            add_scaled_column_sums(&x[..d.n * d.c], d.c, dy, dw, accumulate);
        } else {
            let start = if accumulate { Start::Target } else { Start::Zero };
            let (dy_t, x) = (Matrix::dense(dy, d.n, d.k).transposed(), Matrix::dense(x, d.n, d.c));
            gemm_parallel(self.precision(), MatrixMut::dense(dw, d.k, d.c), start, dy_t, x);
        }
        if let Some(db) = db {
            add_column_sums(dy, d.k, db, accumulate);
        }
        Ok(())
    }
}

impl AsArgument for Linear {
    fn argument(&self) -> Argument {
        Argument::new([self.n, self.c, self.k].map(int))
    }
}

impl<T: Real, S: Storage<T>> LinearOp for Accelerator<T, S> {
    fn linear_forward(
        &self,
        d: &Linear,
        x: Stored<'_, Self>,
        w: Stored<'_, Self>,
        b: Option<In<'_, Self>>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        const KERNELS: [Kernel; 2] = [Kernel::LinearForward, Kernel::LinearForwardTensor];
        const SINGLE: [Kernel; 2] = [Kernel::LinearForwardSingle, Kernel::LinearForwardTensorSingle];
        if d.k == 1 {
            return self.launch_product_rows(SINGLE, d.n, &arguments![d, x, w, b, y]);
        }
        let wide = [Kernel::LinearForwardWide, Kernel::LinearForwardWideTensor];
        let product = Product { narrow: KERNELS, wide, rows: d.n, columns: d.k, depth: d.c, times: 1 };
        self.launch_split(&product, (b, d.k), End::none::<T>(), y, |part, b, _, parts, y| {
            arguments![d, part, x, w, b, parts, y]
        })
    }

    fn linear_backward_input(
        &self,
        d: &Linear,
        dy: Stored<'_, Self>,
        w: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        const KERNELS: [Kernel; 2] = [Kernel::LinearBackwardInput, Kernel::LinearBackwardInputTensor];
        let wide = [Kernel::LinearBackwardInputWide, Kernel::LinearBackwardInputWideTensor];
        let product = Product { narrow: KERNELS, wide, rows: d.n, columns: d.c, depth: d.k, times: 1 };
        self.launch_split(&product, (None, d.c), End::none::<T>(), dx, |part, _, _, parts, dx| {
            arguments![d, part, dy, w, parts, dx]
        })
    }

    fn linear_backward_weight(
        &self,
        d: &Linear,
        x: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
        accumulate: bool,
    ) -> Result<()> {
        const KERNELS: [Kernel; 2] = [Kernel::LinearBackwardWeight, Kernel::LinearBackwardWeightTensor];
        if d.k == 1 {
            return column_sums::launch_scaled(self, [d.n, d.c], x, dy, (dw, db), accumulate);
        }
        let wide = [Kernel::LinearBackwardWeightWide, Kernel::LinearBackwardWeightWideTensor];
        let product = Product { narrow: KERNELS, wide, rows: d.k, columns: d.c, depth: d.n, times: 1 };
        self.launch_whole(&product, &arguments![d, x, dy, dw, i32::from(accumulate)])?;
        db.map_or(Ok(()), |db| column_sums::launch(self, d.k, dy, db, accumulate))
    }
}

impl<B: LinearOp> Affine<B> for Linear {
    const OP: &'static str = "linear";

    fn describe(&self) -> String {
        format!("c{} k{}", self.c, self.k)
    }
    fn n(&self) -> usize {
        self.n
    }
    fn with_n(self, n: usize) -> Self {
        Linear { n, ..self }
    }
    fn x_len(&self) -> usize {
        self.n * self.c
    }
    fn w_len(&self) -> usize {
        self.k * self.c
    }
    fn b_len(&self) -> usize {
        self.k
    }
    fn y_len(&self) -> usize {
        self.n * self.k
    }
    fn flops(&self) -> u64 {
        2 * (self.n * self.c * self.k) as u64
    }
    fn forward(
        &self,
        be: &B,
        x: Stored<'_, B>,
        w: Stored<'_, B>,
        b: Option<In<'_, B>>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        be.linear_forward(self, x, w, b, y)
    }
    fn backward_input(&self, be: &B, dy: Stored<'_, B>, w: Stored<'_, B>, dx: StoredOut<'_, B>) -> Result<()> {
        be.linear_backward_input(self, dy, w, dx)
    }
    fn backward_weight(
        &self,
        be: &B,
        x: Stored<'_, B>,
        dy: Stored<'_, B>,
        dw: Out<'_, B>,
        db: Option<Out<'_, B>>,
        accumulate: bool,
    ) -> Result<()> {
        be.linear_backward_weight(self, x, dy, dw, db, accumulate)
    }
}

dry_run! {
    LinearOp:
    linear_forward(d: &Linear, x, w, _b: Option<Window>, y) => x + w + y, multiplying [d.n, d.c, d.k];
    linear_backward_input(d: &Linear, dy, w, dx) => dy + w + dx, multiplying [d.n, d.c, d.k];
    linear_backward_weight(d: &Linear, x, dy, dw, _db: Option<Window>, accumulate: bool) => x + dy + usize::from(accumulate) * dw + dw, multiplying [d.n, d.c, d.k];
}

/// One row and many, one feature and many.
pub(super) fn cases<B: LinearOp>() -> Vec<Case<B>> {
    let sizes = [(1, 1, 1), (3, 17, 5), (17, 3, 33), (2, 33, 1), (5, 8, 16)];
    affine::cases(sizes.map(|(n, c, k)| Linear { n, c, k }))
}

/// The linear layers of the models.
pub(super) fn model_sizes() -> Vec<Linear> {
    let size = |n, c, k| Linear { n, c, k };
    let mnist = [size(BATCH, 62, 1024), size(BATCH, 1024, 7 * 7 * 128), size(BOTH, 7 * 7 * 128, 1024)];
    let cifar = [size(BATCH, 100, 4 * 4 * 512), size(BOTH, 2 * 2 * 512, 1024), size(BOTH, 1024, 1)];
    let paper = [size(BATCH, 256, 4 * 4 * 256), size(BOTH, 4 * 4 * 256, 1)];
    [&mnist[..], &cifar, &paper].concat()
}

/// At the sizes of the models.
pub(super) fn passes<B: LinearOp>() -> Vec<Pass<B>> {
    affine::passes(model_sizes())
}
