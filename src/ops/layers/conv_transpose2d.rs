//! Transposed 2-d convolution: x `[N, H, W, C]`, w `[C, R, S, K]`, b `[K]`, y `[N, OH, OW, K]` with
//! OH = (H − 1)·stride − 2·padding + R.
//!
//! It is the convolution of y's size to x's size run backwards: its forward pass is that convolution's input gradient,
//! its input gradient that convolution's forward pass, and its weight gradient the same with x and dy exchanged. w lies
//! as that convolution's filters do, with C in the place of K.

use super::conv2d::{Conv2d, Conv2dOp, case_sizes, cpu, launch};
use crate::Result;
use crate::device::gemm::add_column_sums;
use crate::device::{Accelerator, Backend, Cpu, In, Out, Real, Storage, Stored, StoredOut, Window};
use crate::ops::case::Case;
use crate::ops::layers::affine::{self, Affine};
use crate::ops::layers::epilogue::Epilogue;
use crate::ops::models::BATCH;
use crate::ops::pass::Pass;

/// The sizes of a transposed convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConvTranspose2d {
    /// Images.
    pub n: usize,
    /// Rows of the input.
    pub h: usize,
    /// Columns of the input.
    pub w: usize,
    /// Channels of the input.
    pub c: usize,
    /// Channels of the output.
    pub k: usize,
    /// Rows of a filter.
    pub r: usize,
    /// Columns of a filter.
    pub s: usize,
    /// Pixels of the output between two of the input.
    pub stride: usize,
    /// Rows and columns cut off around the output.
    pub padding: usize,
}

impl ConvTranspose2d {
    /// Rows of the output.
    pub fn oh(&self) -> usize {
        (self.h - 1) * self.stride + self.r - 2 * self.padding
    }
    /// Columns of the output.
    pub fn ow(&self) -> usize {
        (self.w - 1) * self.stride + self.s - 2 * self.padding
    }
    /// The convolution that this one reverses: its x is our y, its filters are ours.
    pub fn reversed(&self) -> Conv2d {
        let ConvTranspose2d { n, c, k, r, s, stride, padding, .. } = *self;
        Conv2d { n, h: self.oh(), w: self.ow(), c: k, k: c, r, s, stride, padding }
    }
}

/// The transposed convolution's passes.
pub trait ConvTranspose2dOp: Backend {
    /// y = convᵀ(x, w) + b. Without `b` it is also the tangent: the map is linear in x.
    fn conv_transpose2d_forward(
        &self,
        d: &ConvTranspose2d,
        x: Stored<'_, Self>,
        w: Stored<'_, Self>,
        b: Option<In<'_, Self>>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dx = conv(dy, w); overwrites.
    fn conv_transpose2d_backward_input(
        &self,
        d: &ConvTranspose2d,
        dy: Stored<'_, Self>,
        w: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dw += xᵀ · windows(dy), db += Σ dy; accumulates.
    fn conv_transpose2d_backward_weight(
        &self,
        d: &ConvTranspose2d,
        x: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
        accumulate: bool,
    ) -> Result<()>;
}

impl<T: Real, S: Storage<T>> ConvTranspose2dOp for Cpu<T, S> {
    fn conv_transpose2d_forward(
        &self,
        d: &ConvTranspose2d,
        x: &[S],
        w: &[S],
        b: Option<&[T]>,
        y: &mut [S],
    ) -> Result<()> {
        cpu::backward_input(self, &d.reversed(), x, w, b, Epilogue::none(), y);
        Ok(())
    }

    fn conv_transpose2d_backward_input(&self, d: &ConvTranspose2d, dy: &[S], w: &[S], dx: &mut [S]) -> Result<()> {
        self.conv2d_forward(&d.reversed(), dy, w, None, Epilogue::none(), dx)
    }

    fn conv_transpose2d_backward_weight(
        &self,
        d: &ConvTranspose2d,
        x: &[S],
        dy: &[S],
        dw: &mut [T],
        db: Option<&mut [T]>,
        accumulate: bool,
    ) -> Result<()> {
        cpu::backward_weight(self, &d.reversed(), dy, x, dw, accumulate);
        if let Some(db) = db {
            add_column_sums(dy, d.k, db, accumulate);
        }
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> ConvTranspose2dOp for Accelerator<T, S> {
    fn conv_transpose2d_forward(
        &self,
        d: &ConvTranspose2d,
        x: Stored<'_, Self>,
        w: Stored<'_, Self>,
        b: Option<In<'_, Self>>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        launch::backward_input(self, &d.reversed(), x, w, b, Epilogue::none(), y)
    }

    fn conv_transpose2d_backward_input(
        &self,
        d: &ConvTranspose2d,
        dy: Stored<'_, Self>,
        w: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.conv2d_forward(&d.reversed(), dy, w, None, Epilogue::none(), dx)
    }

    fn conv_transpose2d_backward_weight(
        &self,
        d: &ConvTranspose2d,
        x: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
        accumulate: bool,
    ) -> Result<()> {
        launch::backward_weight(self, &d.reversed(), [dy, x], dy, (dw, db), accumulate)
    }
}

dry_run! {
    ConvTranspose2dOp:
    conv_transpose2d_forward(d: &ConvTranspose2d, x, w, _b: Option<Window>, y) =>
        x + w + y, multiplying d.reversed().product(), borrowing w;
    conv_transpose2d_backward_input(d: &ConvTranspose2d, dy, w, dx) =>
        dy + w + dx, multiplying d.reversed().product();
    conv_transpose2d_backward_weight(d: &ConvTranspose2d, x, dy, dw, _db: Option<Window>, accumulate: bool) =>
        x + dy + usize::from(accumulate) * dw + dw, multiplying d.reversed().product();
}

impl<B: ConvTranspose2dOp> Affine<B> for ConvTranspose2d {
    const OP: &'static str = "conv_transpose2d";

    fn describe(&self) -> String {
        let ConvTranspose2d { h, w, c, k, r, s, stride, padding, .. } = self;
        format!("{h}x{w}x{c} k{k} {r}x{s} stride{stride} pad{padding}")
    }
    fn n(&self) -> usize {
        self.n
    }
    fn with_n(self, n: usize) -> Self {
        ConvTranspose2d { n, ..self }
    }
    fn x_len(&self) -> usize {
        self.reversed().y_len()
    }
    fn w_len(&self) -> usize {
        self.reversed().w_len()
    }
    fn b_len(&self) -> usize {
        self.k
    }
    fn y_len(&self) -> usize {
        self.reversed().x_len()
    }
    fn flops(&self) -> u64 {
        self.reversed().flops()
    }
    fn forward(
        &self,
        be: &B,
        x: Stored<'_, B>,
        w: Stored<'_, B>,
        b: Option<In<'_, B>>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        be.conv_transpose2d_forward(self, x, w, b, y)
    }
    fn backward_input(&self, be: &B, dy: Stored<'_, B>, w: Stored<'_, B>, dx: StoredOut<'_, B>) -> Result<()> {
        be.conv_transpose2d_backward_input(self, dy, w, dx)
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
        be.conv_transpose2d_backward_weight(self, x, dy, dw, db, accumulate)
    }
}

/// The sizes of the plain convolution's cases, reversed.
pub(super) fn cases<B: ConvTranspose2dOp>() -> Vec<Case<B>> {
    affine::cases(case_sizes().into_iter().map(|d| {
        let Conv2d { n, c, k, r, s, stride, padding, .. } = d;
        ConvTranspose2d { n, h: d.oh(), w: d.ow(), c: k, k: c, r, s, stride, padding }
    }))
}

/// The transposed convolutions of the models.
pub(super) fn model_sizes() -> Vec<ConvTranspose2d> {
    let doubled = |side, c, k| ConvTranspose2d { n: BATCH, h: side, w: side, c, k, r: 4, s: 4, stride: 2, padding: 1 };
    let mnist = [doubled(7, 128, 64), doubled(14, 64, 1)];
    let picture = ConvTranspose2d { r: 3, s: 3, stride: 1, ..doubled(32, 64, 3) };
    let cifar = [doubled(4, 512, 256), doubled(8, 256, 128), doubled(16, 128, 64), picture];
    [&mnist[..], &cifar].concat()
}

/// At the sizes of the models.
pub(super) fn passes<B: ConvTranspose2dOp>() -> Vec<Pass<B>> {
    affine::passes(model_sizes())
}
