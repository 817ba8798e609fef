//! The convolution on the kernels of kernels/layers/conv2d.cu and conv2d_tensor.cu; those with few channels are in few.rs.

use super::few::Few;
use super::{Conv2d, Conv2dOp};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::{Accelerator, Argument, In, Out, Real};
use crate::ops::layers::column_sums;

impl AsArgument for Conv2d {
    fn argument(&self) -> Argument {
        let Conv2d { n, h, w, c, k, r, s, stride, padding } = *self;
        Argument::new([n, h, w, c, k, r, s, stride, padding, self.oh(), self.ow()].map(int))
    }
}

/// dx = convᵀ(dy, w) + b, which is also the forward pass of the transposed convolution.
pub(in crate::ops::layers) fn backward_input<T: Real>(
    be: &Accelerator<T>,
    d: &Conv2d,
    dy: In<'_, Accelerator<T>>,
    w: In<'_, Accelerator<T>>,
    b: Option<In<'_, Accelerator<T>>>,
    dx: Out<'_, Accelerator<T>>,
) -> Result<()> {
    if let Some(few) = Few::of(d) {
        return few.backward_input(be, dy, w, b, dx);
    }
    const KERNELS: [Kernel; 3] =
        [Kernel::Conv2dBackwardInput, Kernel::Conv2dBackwardInputTf32, Kernel::Conv2dBackwardInputBf16];
    // The largest parity class decides; blocks beyond a smaller one's end return at once.
    let pixels = d.n * d.h.div_ceil(d.stride) * d.w.div_ceil(d.stride);
    be.launch_product(KERNELS, [pixels, d.c, d.stride * d.stride], &arguments![d, dy, w, b, dx])
}

/// dw += dyᵀ · windows(x): partial sums first, then their sum and, beside it, db += the column sums of `biased`. That is dy,
/// or of a transposed convolution, whose passes are these in reverse, x.
pub(in crate::ops::layers) fn backward_weight<T: Real>(
    be: &Accelerator<T>,
    d: &Conv2d,
    [x, dy]: [In<'_, Accelerator<T>>; 2],
    biased: In<'_, Accelerator<T>>,
    dw: Out<'_, Accelerator<T>>,
    db: Option<Out<'_, Accelerator<T>>>,
) -> Result<()> {
    if let Some(few) = Few::of(d) {
        let partial = |partial: &Out<'_, Accelerator<T>>| few.weight_partial(be, x, dy, partial);
        return column_sums::launch_weight_gradient(be, few.parts(), biased, dw, db, partial);
    }
    let parts = (d.n * d.oh() * d.ow()).div_ceil(size::SPLIT_K as usize);
    let partial = |partial: &Out<'_, Accelerator<T>>| launch_weight_partial(be, d, parts, x, dy, partial);
    column_sums::launch_weight_gradient(be, parts, biased, dw, db, partial)
}

/// partial `[parts, K, R, S, C]` = the sums over [`size::SPLIT_K`] output pixels each.
fn launch_weight_partial<T: Real>(
    be: &Accelerator<T>,
    d: &Conv2d,
    parts: usize,
    x: In<'_, Accelerator<T>>,
    dy: In<'_, Accelerator<T>>,
    partial: &Out<'_, Accelerator<T>>,
) -> Result<()> {
    const KERNELS: [Kernel; 3] = [
        Kernel::Conv2dBackwardWeightPartial,
        Kernel::Conv2dBackwardWeightPartialTf32,
        Kernel::Conv2dBackwardWeightPartialBf16,
    ];
    be.launch_product(KERNELS, [d.k, d.r * d.s * d.c, parts], &arguments![d, x, dy, partial])
}

impl<T: Real> Conv2dOp for Accelerator<T> {
    fn conv2d_forward(
        &self,
        d: &Conv2d,
        x: In<'_, Self>,
        w: In<'_, Self>,
        b: Option<In<'_, Self>>,
        y: Out<'_, Self>,
    ) -> Result<()> {
        const KERNELS: [Kernel; 3] = [Kernel::Conv2dForward, Kernel::Conv2dForwardTf32, Kernel::Conv2dForwardBf16];
        if let Some(few) = Few::of(d) {
            return few.forward(self, x, w, b, y);
        }
        self.launch_product(KERNELS, [d.n * d.oh() * d.ow(), d.k, 1], &arguments![d, x, w, b, y])
    }

    fn conv2d_backward_input(&self, d: &Conv2d, dy: In<'_, Self>, w: In<'_, Self>, dx: Out<'_, Self>) -> Result<()> {
        backward_input(self, d, dy, w, None, dx)
    }

    fn conv2d_backward_weight(
        &self,
        d: &Conv2d,
        x: In<'_, Self>,
        dy: In<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
    ) -> Result<()> {
        backward_weight(self, d, [x, dy], dy, dw, db)
    }
}
