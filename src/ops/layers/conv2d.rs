//! 2-d convolution (cross-correlation, as in every framework): x `[N, H, W, C]`, w `[K, R, S, C]`, b `[K]`,
//! y `[N, OH, OW, K]`:
//!
//! `y[n, i, j, k] = b[k] + Σ_{r, s, c} x[n, i·stride + r − padding, j·stride + s − padding, c] · w[k, r, s, c]`
//!
//! `cpu.rs` has the CPU's code, `windows.rs` what it does by a unit for products, on the grid of `grid.rs`, `launch.rs` the launches of the kernels,
//! `few.rs` those with few channels, `ended.rs` the cases with an end (`../epilogue.rs`).

pub(super) mod cpu;
mod direct;
mod ended;
mod few;
mod grid;
mod im2col;
pub(super) mod launch;
mod memory;
mod windows;

use std::collections::HashSet;

use crate::Result;
use crate::device::kernels::size;
use crate::device::{Backend, In, Out, Stored, StoredOut, Window};
use crate::ops::case::Case;
use crate::ops::layers::affine::{self, Affine};
use crate::ops::layers::epilogue::Epilogue;
use crate::ops::models::{BATCH, BLOCKS, BOTH};
use crate::ops::pass::Pass;

/// The sizes of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Conv2d {
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
    /// Step of the window.
    pub stride: usize,
    /// Zeros around the image; smaller than the filter.
    pub padding: usize,
}

impl Conv2d {
    /// True where x has few channels, or y has few and the stride is 1: kernels of their own serve it (few.rs), and operands are
    /// taken as they are stored, on any device.
    pub(in crate::ops::layers) fn is_direct(&self) -> bool {
        self.is_from_few() || (self.k <= size::DIRECT_CHANNELS as usize && self.stride == 1 && self.r == self.s)
    }
    /// True where x has few channels.
    fn is_from_few(&self) -> bool {
        self.c <= size::DIRECT_CHANNELS as usize
    }
    /// Rows of the output.
    pub fn oh(&self) -> usize {
        (self.h + 2 * self.padding - self.r) / self.stride + 1
    }
    /// Columns of the output.
    pub fn ow(&self) -> usize {
        (self.w + 2 * self.padding - self.s) / self.stride + 1
    }
    /// Elements of x.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }
    /// Elements of w.
    pub fn w_len(&self) -> usize {
        self.k * self.r * self.s * self.c
    }
    /// Elements of y.
    pub fn y_len(&self) -> usize {
        self.n * self.oh() * self.ow() * self.k
    }
    /// Multiplications and additions of one pass, forward or backward.
    pub fn flops(&self) -> u64 {
        2 * (self.y_len() * self.r * self.s * self.c) as u64
    }
    /// The sizes of the matrix product that each pass comes to.
    pub(super) fn product(&self) -> [usize; 7] {
        [self.n, self.oh(), self.ow(), self.k, self.r, self.s, self.c]
    }
}

/// The convolution's passes.
pub trait Conv2dOp: Backend {
    /// y = conv(x, w) + b, ended by `end`. Without `b` and end it is also the tangent: the map is linear in x.
    fn conv2d_forward(
        &self,
        d: &Conv2d,
        x: Stored<'_, Self>,
        w: Stored<'_, Self>,
        b: Option<In<'_, Self>>,
        end: Epilogue<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dx = convᵀ(dy, w), ended by `end`; overwrites.
    fn conv2d_backward_input(
        &self,
        d: &Conv2d,
        dy: Stored<'_, Self>,
        w: Stored<'_, Self>,
        end: Epilogue<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dw += dyᵀ · windows(x), db += Σ dy; accumulates.
    fn conv2d_backward_weight(
        &self,
        d: &Conv2d,
        x: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
        accumulate: bool,
    ) -> Result<()>;
}

dry_run! {
    Conv2dOp:
    conv2d_forward(d: &Conv2d, x, w, _b: Option<Window>, end: Epilogue<'_, Self>, y) => x + w + end.moves(y), multiplying d.product();
    // The filters are laid out anew for it.
    conv2d_backward_input(d: &Conv2d, dy, w, end: Epilogue<'_, Self>, dx) => dy + w + end.moves(dx), multiplying d.product(), borrowing w;
    conv2d_backward_weight(d: &Conv2d, x, dy, dw, _db: Option<Window>, accumulate: bool) => x + dy + usize::from(accumulate) * dw + dw, multiplying d.product();
}

impl<B: Conv2dOp> Affine<B> for Conv2d {
    const OP: &'static str = "conv2d";

    fn describe(&self) -> String {
        let Conv2d { h, w, c, k, r, s, stride, padding, .. } = self;
        format!("{h}x{w}x{c} k{k} {r}x{s} stride{stride} pad{padding}")
    }
    fn n(&self) -> usize {
        self.n
    }
    fn with_n(self, n: usize) -> Self {
        Conv2d { n, ..self }
    }
    fn x_len(&self) -> usize {
        Conv2d::x_len(self)
    }
    fn w_len(&self) -> usize {
        Conv2d::w_len(self)
    }
    fn b_len(&self) -> usize {
        self.k
    }
    fn y_len(&self) -> usize {
        Conv2d::y_len(self)
    }
    fn flops(&self) -> u64 {
        Conv2d::flops(self)
    }
    fn forward(
        &self,
        be: &B,
        x: Stored<'_, B>,
        w: Stored<'_, B>,
        b: Option<In<'_, B>>,
        y: StoredOut<'_, B>,
    ) -> Result<()> {
        be.conv2d_forward(self, x, w, b, Epilogue::none(), y)
    }
    fn backward_input(&self, be: &B, dy: Stored<'_, B>, w: Stored<'_, B>, dx: StoredOut<'_, B>) -> Result<()> {
        be.conv2d_backward_input(self, dy, w, Epilogue::none(), dx)
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
        be.conv2d_backward_weight(self, x, dy, dw, db, accumulate)
    }
}

/// Odd sizes, every stride and padding in use, one image and several, few and many channels.
pub(super) fn cases<B: Conv2dOp>() -> Vec<Case<B>> {
    let mut cases = affine::cases(case_sizes());
    cases.extend(ended::cases());
    cases
}

/// The sizes that both convolutions are tried at, as those of the plain one.
pub(super) fn case_sizes() -> Vec<Conv2d> {
    let size = |n, h, w, c, k, r, stride, padding| Conv2d { n, h, w, c, k, r, s: r, stride, padding };
    vec![
        size(1, 1, 1, 1, 1, 1, 1, 0),
        size(2, 4, 4, 1, 3, 4, 2, 1),
        size(3, 8, 6, 3, 5, 4, 2, 1),
        size(2, 6, 6, 17, 3, 4, 2, 1),
        size(1, 3, 3, 33, 17, 1, 1, 0),
        size(2, 5, 7, 3, 4, 3, 1, 1),
        size(2, 7, 5, 6, 3, 3, 2, 1),
        size(1, 7, 7, 5, 2, 5, 1, 2),
        size(1, 7, 7, 5, 6, 5, 1, 2),
        size(1, 5, 5, 2, 3, 2, 3, 0),
        size(1, 5, 4, 7, 2, 1, 2, 0),
        // Smaller than the stride: some parities have no pixel.
        size(1, 1, 1, 5, 3, 1, 2, 0),
        size(2, 1, 4, 5, 3, 1, 3, 0),
        Conv2d { n: 1, h: 5, w: 6, c: 5, k: 3, r: 3, s: 2, stride: 2, padding: 1 },
        Conv2d { n: 2, h: 6, w: 5, c: 3, k: 2, r: 2, s: 3, stride: 2, padding: 1 },
        Conv2d { n: 2, h: 2, w: 9, c: 5, k: 6, r: 1, s: 7, stride: 1, padding: 0 },
        Conv2d { n: 1, h: 8, w: 3, c: 6, k: 5, r: 7, s: 1, stride: 1, padding: 0 },
        // Several tasks and several blocks of filters of the direct weight gradient.
        size(9, 5, 4, 1, 33, 4, 2, 1),
        size(5, 6, 5, 3, 17, 3, 1, 1),
        // On the kernels: three parts of it, the last not a whole step; two groups of taps and of filters.
        size(2, 13, 11, 1, 3, 3, 1, 1),
        size(1, 3, 3, 2, 67, 3, 2, 1),
    ]
}

/// The convolutions of the models; a size that comes again is left out. A residual block has two, and a third where its
/// width changes.
pub(super) fn model_sizes() -> Vec<Conv2d> {
    let halved = |side, c, k| Conv2d { n: BOTH, h: side, w: side, c, k, r: 4, s: 4, stride: 2, padding: 1 };
    let same = |n, side, c, k, r| Conv2d { n, h: side, w: side, c, k, r, s: r, stride: 1, padding: r / 2 };
    // μ and log σ² are one convolution of twice the width.
    let bottleneck = |side, c| same(BOTH, side, c, 2 * c, 1);
    let mut sizes = vec![halved(28, 1, 64), halved(14, 64, 128), bottleneck(7, 128)];
    sizes.extend([halved(32, 3, 64), halved(16, 64, 128), halved(8, 128, 256), halved(4, 256, 512)]);
    sizes.extend([bottleneck(2, 512), bottleneck(4, 256), same(BOTH, 32, 3, 32, 3), same(BATCH, 32, 32, 3, 3)]);
    for (n, side, from, to) in BLOCKS {
        let hidden = from.min(to);
        sizes.extend([same(n, side, from, hidden, 3), same(n, side, hidden, to, 3)]);
        sizes.extend((from != to).then(|| same(n, side, from, to, 1)));
    }
    let mut seen = HashSet::new();
    sizes.retain(|d| seen.insert(*d));
    sizes
}

/// At the sizes of the models.
pub(super) fn passes<B: Conv2dOp>() -> Vec<Pass<B>> {
    affine::passes(model_sizes())
}
