//! What convolution, transposed convolution and linear layer have in common: y = A(w) x + b, with A linear in w. The
//! layer of a network and the cases for tests are written once, against this.

use super::{Case, Executor, Tensor};
use crate::Result;
use crate::device::{Buffer, In, Out};

/// The sizes of an operation that is linear in x and has a weight and a bias.
pub trait Affine<B: Executor>: Copy + Send + Sync + 'static {
    /// The operation's one name.
    const OP: &'static str;

    /// The sizes in few words, without the number of images.
    fn describe(&self) -> String;
    /// Images.
    fn n(&self) -> usize;
    /// The same for `n` images.
    fn with_n(self, n: usize) -> Self;
    /// Elements of x.
    fn x_len(&self) -> usize;
    /// Elements of w.
    fn w_len(&self) -> usize;
    /// Elements of b: channels or features of y.
    fn b_len(&self) -> usize;
    /// Elements of y.
    fn y_len(&self) -> usize;
    /// Multiplications and additions of one pass, forward or backward.
    fn flops(&self) -> u64;

    /// y = A(w) x + b; without `b` also the tangent.
    fn forward(&self, be: &B, x: In<'_, B>, w: In<'_, B>, b: Option<In<'_, B>>, y: Out<'_, B>) -> Result<()>;
    /// dx = A(w)ᵀ dy; overwrites.
    fn backward_input(&self, be: &B, dy: In<'_, B>, w: In<'_, B>, dx: Out<'_, B>) -> Result<()>;
    /// dw and, if it is wanted, db; both accumulate.
    fn backward_weight(
        &self,
        be: &B,
        x: In<'_, B>,
        dy: In<'_, B>,
        dw: Out<'_, B>,
        db: Option<Out<'_, B>>,
    ) -> Result<()>;
}

/// One size as a case.
struct AffineCase<M>(M);

/// These sizes as cases.
pub fn cases<B: Executor, M: Affine<B>>(sizes: impl IntoIterator<Item = M>) -> Vec<Box<dyn Case<B>>> {
    sizes.into_iter().map(|d| Box::new(AffineCase(d)) as Box<dyn Case<B>>).collect()
}

impl<B: Executor, M: Affine<B>> Case<B> for AffineCase<M> {
    fn op(&self) -> &'static str {
        M::OP
    }
    fn name(&self) -> String {
        format!("n{} {}", self.0.n(), self.0.describe())
    }
    fn inputs(&self) -> Vec<Tensor> {
        let d = &self.0;
        vec![Tensor::new("x", d.x_len()), Tensor::new("w", d.w_len()), Tensor::new("b", d.b_len())]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("y", self.0.y_len())]
    }
    fn flops(&self) -> u64 {
        self.0.flops()
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let [x, w, b] = [0, 1, 2].map(|i| be.view(&inputs[i]));
        self.0.forward(be, x, w, Some(b), be.view_mut(&mut outputs[0]))
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
        self.0.backward_input(be, dy, be.view(&inputs[1]), be.view_mut(dx))?;
        self.0.backward_weight(be, be.view(&inputs[0]), dy, be.view_mut(dw), Some(be.view_mut(db)))
    }
    fn tangent(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        v_input: &Buffer<B>,
        v_outputs: &mut [Buffer<B>],
    ) -> Option<Result<()>> {
        let (v, w) = (be.view(v_input), be.view(&inputs[1]));
        Some(self.0.forward(be, v, w, None, be.view_mut(&mut v_outputs[0])))
    }
}
