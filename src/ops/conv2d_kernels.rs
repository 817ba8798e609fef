//! Both convolutions on the kernels of kernels/conv2d.cu, conv2d_tensor.cu and, with few channels, conv2d_direct.cu. The
//! transposed one is the same three kernels: its forward pass is
//! the plain one's input gradient.

use super::conv_transpose2d::{ConvTranspose2d, ConvTranspose2dOp};
use super::conv2d::{Conv2d, Conv2dOp};
use super::linear::launch_column_sums;
use crate::Result;
use crate::device::accelerator::{int, optional};
use crate::device::kernels::{Kernel, size};
use crate::device::{Accelerator, Argument, In, Launcher, Out, Real};

const WARPS: [u32; 3] = [size::WARP, size::DIRECT_WARPS, 1];

impl Conv2d {
    fn argument(&self) -> Argument {
        let Conv2d { n, h, w, c, k, r, s, stride, padding } = *self;
        Argument::new([n, h, w, c, k, r, s, stride, padding, self.oh(), self.ow()].map(int))
    }
}

fn backward_input<L: Launcher, T: Real>(
    be: &Accelerator<L, T>,
    d: &Conv2d,
    dy: In<'_, Accelerator<L, T>>,
    w: In<'_, Accelerator<L, T>>,
    b: Option<In<'_, Accelerator<L, T>>>,
    dx: Out<'_, Accelerator<L, T>>,
) -> Result<()> {
    if d.c <= size::DIRECT_CHANNELS as usize {
        let blocks = int(d.n * d.h * d.w).unsigned_abs().div_ceil(size::DIRECT_WARPS);
        let arguments = [d.argument(), dy.argument(), w.argument(), optional(b), dx.argument()];
        return be.launch(Kernel::Conv2dDirectBackwardInput, [blocks, 1, 1], WARPS, &arguments);
    }
    const KERNELS: [Kernel; 3] =
        [Kernel::Conv2dBackwardInput, Kernel::Conv2dBackwardInputTf32, Kernel::Conv2dBackwardInputBf16];
    // The largest parity class decides; blocks beyond a smaller one's end return at once.
    let pixels = d.n * d.h.div_ceil(d.stride) * d.w.div_ceil(d.stride);
    let arguments = [d.argument(), dy.argument(), w.argument(), optional(b), dx.argument()];
    be.launch_product(KERNELS, [pixels, d.c, d.stride * d.stride], &arguments)
}

fn backward_weight<L: Launcher, T: Real>(
    be: &Accelerator<L, T>,
    d: &Conv2d,
    x: In<'_, Accelerator<L, T>>,
    dy: In<'_, Accelerator<L, T>>,
    dw: Out<'_, Accelerator<L, T>>,
) -> Result<()> {
    const KERNELS: [Kernel; 3] = [
        Kernel::Conv2dBackwardWeightPartial,
        Kernel::Conv2dBackwardWeightPartialTf32,
        Kernel::Conv2dBackwardWeightPartialBf16,
    ];
    let parts = (d.n * d.oh() * d.ow()).div_ceil(size::SPLIT_K as usize);
    be.with_workspace(parts * d.w_len(), |partial: Out<'_, Accelerator<L, T>>| {
        let arguments = [d.argument(), x.argument(), dy.argument(), partial.argument()];
        be.launch_product(KERNELS, [d.k, d.r * d.s * d.c, parts], &arguments)?;
        let count = Argument::new(d.w_len() as u64);
        let arguments = [Argument::new(int(parts)), count, partial.argument(), dw.argument()];
        be.launch_elements(Kernel::Conv2dBackwardWeightAdd, d.w_len(), &arguments)
    })
}

impl<L: Launcher, T: Real> Conv2dOp for Accelerator<L, T> {
    fn conv2d_forward(
        &self,
        d: &Conv2d,
        x: In<'_, Self>,
        w: In<'_, Self>,
        b: Option<In<'_, Self>>,
        y: Out<'_, Self>,
    ) -> Result<()> {
        const KERNELS: [Kernel; 3] = [Kernel::Conv2dForward, Kernel::Conv2dForwardTf32, Kernel::Conv2dForwardBf16];
        let arguments = [d.argument(), x.argument(), w.argument(), optional(b), y.argument()];
        if d.c <= size::DIRECT_CHANNELS as usize {
            let [filters, pixels] = [d.k, d.n * d.oh() * d.ow()].map(|len| int(len).unsigned_abs());
            let groups = pixels.div_ceil(size::DIRECT_WARPS * size::DIRECT_PIXELS);
            return self.launch(
                Kernel::Conv2dDirectForward,
                [groups, filters.div_ceil(size::WARP), 1],
                WARPS,
                &arguments,
            );
        }
        self.launch_product(KERNELS, [d.n * d.oh() * d.ow(), d.k, 1], &arguments)
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
        backward_weight(self, d, x, dy, dw)?;
        db.map_or(Ok(()), |db| launch_column_sums(self, d.k, dy, db))
    }
}

impl<L: Launcher, T: Real> ConvTranspose2dOp for Accelerator<L, T> {
    fn conv_transpose2d_forward(
        &self,
        d: &ConvTranspose2d,
        x: In<'_, Self>,
        w: In<'_, Self>,
        b: Option<In<'_, Self>>,
        y: Out<'_, Self>,
    ) -> Result<()> {
        backward_input(self, &d.reversed(), x, w, b, y)
    }

    fn conv_transpose2d_backward_input(
        &self,
        d: &ConvTranspose2d,
        dy: In<'_, Self>,
        w: In<'_, Self>,
        dx: Out<'_, Self>,
    ) -> Result<()> {
        self.conv2d_forward(&d.reversed(), dy, w, None, dx)
    }

    fn conv_transpose2d_backward_weight(
        &self,
        d: &ConvTranspose2d,
        x: In<'_, Self>,
        dy: In<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
    ) -> Result<()> {
        backward_weight(self, &d.reversed(), dy, x, dw)?;
        db.map_or(Ok(()), |db| launch_column_sums(self, d.k, dy, db))
    }
}
