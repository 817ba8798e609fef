//! Linear layer: x `[N, C]`, w `[K, C]`, b `[K]`, y `[N, K]`: y = x · wᵀ + b.

use crate::Result;
use crate::device::gemm::{add_column_sums, gemm_parallel};
use crate::device::matrix::{Matrix, MatrixMut};
use crate::device::{Backend, Buffer, Cpu, In, Out, Real};
use crate::ops::{Case, Executor, Tensor};

/// The sizes of a linear layer.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::Pod, bytemuck::Zeroable)]
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
        x: In<'_, Self>,
        w: In<'_, Self>,
        b: Option<In<'_, Self>>,
        y: Out<'_, Self>,
    ) -> Result<()>;

    /// dx = dy · w; overwrites.
    fn linear_backward_input(&self, d: &Linear, dy: In<'_, Self>, w: In<'_, Self>, dx: Out<'_, Self>) -> Result<()>;

    /// dw += dyᵀ · x, db += Σ dy; accumulates.
    fn linear_backward_weight(
        &self,
        d: &Linear,
        x: In<'_, Self>,
        dy: In<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
    ) -> Result<()>;
}

impl<T: Real> LinearOp for Cpu<T> {
    fn linear_forward(&self, d: &Linear, x: &[T], w: &[T], b: Option<&[T]>, y: &mut [T]) -> Result<()> {
        if let Some(b) = b {
            y.chunks_exact_mut(d.k).for_each(|row| row.copy_from_slice(b));
        }
        let (x, w) = (Matrix::dense(x, d.n, d.c), Matrix::dense(w, d.k, d.c).transposed());
        gemm_parallel(MatrixMut::dense(y, d.n, d.k), b.is_some(), x, w);
        Ok(())
    }

    fn linear_backward_input(&self, d: &Linear, dy: &[T], w: &[T], dx: &mut [T]) -> Result<()> {
        let (dy, w) = (Matrix::dense(dy, d.n, d.k), Matrix::dense(w, d.k, d.c));
        gemm_parallel(MatrixMut::dense(dx, d.n, d.c), false, dy, w);
        Ok(())
    }

    fn linear_backward_weight(&self, d: &Linear, x: &[T], dy: &[T], dw: &mut [T], db: Option<&mut [T]>) -> Result<()> {
        let (dy_t, x) = (Matrix::dense(dy, d.n, d.k).transposed(), Matrix::dense(x, d.n, d.c));
        gemm_parallel(MatrixMut::dense(dw, d.k, d.c), true, dy_t, x);
        if let Some(db) = db {
            add_column_sums(dy, d.k, db);
        }
        Ok(())
    }
}

struct LinearCase(Linear);

/// One row and many, one feature and many.
pub fn cases<B: Executor>() -> Vec<Box<dyn Case<B>>> {
    [(1, 1, 1), (3, 17, 5), (17, 3, 33), (2, 33, 1), (5, 8, 16)]
        .into_iter()
        .map(|(n, c, k)| Box::new(LinearCase(Linear { n, c, k })) as Box<dyn Case<B>>)
        .collect()
}

impl<B: Executor> Case<B> for LinearCase {
    fn op(&self) -> &'static str {
        "linear"
    }
    fn name(&self) -> String {
        format!("n{} c{} k{}", self.0.n, self.0.c, self.0.k)
    }
    fn inputs(&self) -> Vec<Tensor> {
        let Linear { n, c, k } = self.0;
        vec![Tensor::new("x", n * c), Tensor::new("w", k * c), Tensor::new("b", k)]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("y", self.0.n * self.0.k)]
    }
    fn flops(&self) -> u64 {
        2 * (self.0.n * self.0.c * self.0.k) as u64
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let [x, w, b] = [0, 1, 2].map(|i| be.view(&inputs[i]));
        be.linear_forward(&self.0, x, w, Some(b), be.view_mut(&mut outputs[0]))
    }
    fn backward(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let dy = be.view(&d_outputs[0]);
        let [dx, dw, db] = d_inputs else { unreachable!("three inputs") };
        be.linear_backward_input(&self.0, dy, be.view(&inputs[1]), be.view_mut(dx))?;
        be.linear_backward_weight(&self.0, be.view(&inputs[0]), dy, be.view_mut(dw), Some(be.view_mut(db)))
    }
    fn tangent(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        v_input: &Buffer<B>,
        v_outputs: &mut [Buffer<B>],
    ) -> Option<Result<()>> {
        Some(be.linear_forward(&self.0, be.view(v_input), be.view(&inputs[1]), None, be.view_mut(&mut v_outputs[0])))
    }
}
