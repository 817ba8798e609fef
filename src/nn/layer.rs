//! What a layer is: a function of its input and its parameters that knows its forward pass, its gradients and its
//! tangent. A layer owns no parameters, only ranges of an arena, and whatever its backward pass needs to remember.

use crate::Result;
use crate::device::{In, Out};
use crate::ops::Executor;

/// How a forward pass runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, one set for each of this many equal groups of images; running statistics follow.
    Train {
        /// Groups.
        groups: usize,
    },
    /// Running statistics.
    Eval,
}

/// What every pass of a layer is given beside its tensors.
pub struct Pass<'a, B: Executor> {
    /// Where it runs.
    pub backend: &'a B,
    /// The network's parameters, the whole arena.
    pub params: In<'a, B>,
    /// Images.
    pub n: usize,
}

impl<B: Executor> Clone for Pass<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Executor> Copy for Pass<'_, B> {}

impl<'a, B: Executor> Pass<'a, B> {
    /// The parameters of one tensor, or of neighbours.
    pub fn param(&self, range: &std::ops::Range<usize>) -> In<'a, B> {
        self.backend.slice(self.params, range.clone())
    }
}

/// A layer of a network on backend `B`.
///
/// x, y, dx, dy hold exactly `pass.n` images. Gradients of parameters accumulate, gradients of activations overwrite; where a
/// gradient is not wanted it is `None`, and nothing is computed for it.
pub trait Layer<B: Executor>: Send + Sync {
    /// One line for people: `conv2d 1→64 k4 s2 p1`.
    fn describe(&self) -> String;
    /// Elements of one image's input.
    fn x_len(&self) -> usize;
    /// Elements of one image's output.
    fn y_len(&self) -> usize;
    /// Multiplications and additions of one image's forward pass.
    fn flops(&self) -> u64;

    /// y = f(x). `stats` is the network's arena of running statistics.
    fn forward(&mut self, pass: Pass<'_, B>, mode: Mode, stats: Out<'_, B>, x: In<'_, B>, y: Out<'_, B>) -> Result<()>;

    /// The gradients of the last forward pass in [`Mode::Train`], whose x and y are given again. `d_params` is the whole
    /// arena of gradients.
    fn backward(
        &mut self,
        pass: Pass<'_, B>,
        x: In<'_, B>,
        y: In<'_, B>,
        dy: In<'_, B>,
        dx: Option<Out<'_, B>>,
        d_params: Option<Out<'_, B>>,
    ) -> Result<()>;

    /// vy = (∂f/∂x) vx at the last forward pass in [`Mode::Train`].
    fn tangent(&mut self, pass: Pass<'_, B>, x: In<'_, B>, y: In<'_, B>, vx: In<'_, B>, vy: Out<'_, B>) -> Result<()>;
}
