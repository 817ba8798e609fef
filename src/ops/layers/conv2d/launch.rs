//! The convolution on the kernels of kernels/layers/conv2d.cu, conv2d_tensor.cu and, with few channels, conv2d_direct.cu,
//! whose kernels round no operands.

use super::{Conv2d, Conv2dOp};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::{Accelerator, Argument, In, Out, Real};
use crate::ops::layers::column_sums;

const WARPS: [u32; 3] = [size::WARP, size::DIRECT_WARPS, 1];

impl AsArgument for Conv2d {
    fn argument(&self) -> Argument {
        let Conv2d { n, h, w, c, k, r, s, stride, padding } = *self;
        Argument::new([n, h, w, c, k, r, s, stride, padding, self.oh(), self.ow()].map(int))
    }
}

/// Output pixels of a part of the direct weight gradient, a whole number of steps: [`size::DIRECT_PART`], or as many as
/// keep the parts to [`size::DIRECT_PARTS`]. The shape alone decides, so the bits of the sum do too.
fn direct_part(pixels: usize) -> usize {
    let enough = pixels.div_ceil(size::DIRECT_PARTS as usize).next_multiple_of(size::DIRECT_STEP as usize);
    enough.max(size::DIRECT_PART as usize)
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
    let arguments = arguments![d, dy, w, b, dx];
    if d.is_direct() {
        let blocks = int(d.n * d.h * d.w).unsigned_abs().div_ceil(size::DIRECT_WARPS);
        return be.launch(Kernel::Conv2dDirectBackwardInput, [blocks, 1, 1], WARPS, &arguments);
    }
    const KERNELS: [Kernel; 3] =
        [Kernel::Conv2dBackwardInput, Kernel::Conv2dBackwardInputTf32, Kernel::Conv2dBackwardInputBf16];
    // The largest parity class decides; blocks beyond a smaller one's end return at once.
    let pixels = d.n * d.h.div_ceil(d.stride) * d.w.div_ceil(d.stride);
    be.launch_product(KERNELS, [pixels, d.c, d.stride * d.stride], &arguments)
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
    let pixels = d.n * d.oh() * d.ow();
    let direct = d.is_direct();
    let part_pixels = if direct { direct_part(pixels) } else { size::SPLIT_K as usize };
    let parts = pixels.div_ceil(part_pixels);
    column_sums::launch_weight_gradient(be, parts, biased, dw, db, |partial| {
        if direct {
            launch_direct_weight_partial(be, d, part_pixels, x, dy, partial)
        } else {
            launch_weight_partial(be, d, parts, x, dy, partial)
        }
    })
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

/// The same for few channels, over `part_pixels` output pixels each.
fn launch_direct_weight_partial<T: Real>(
    be: &Accelerator<T>,
    d: &Conv2d,
    part_pixels: usize,
    x: In<'_, Accelerator<T>>,
    dy: In<'_, Accelerator<T>>,
    partial: &Out<'_, Accelerator<T>>,
) -> Result<()> {
    let pixels = d.n * d.oh() * d.ow();
    let [taps, filters, parts] =
        [d.r * d.s * d.c, d.k, pixels.div_ceil(part_pixels)].map(|count| int(count).unsigned_abs());
    // Blocks that read the same pixels of dy for other taps run side by side.
    let grid = [taps.div_ceil(size::DIRECT_TAPS), filters.div_ceil(size::DIRECT_TAPS * size::DIRECT_FILTERS), parts];
    let block = [size::DIRECT_TAPS, size::DIRECT_ROWS, 1];
    be.launch(Kernel::Conv2dDirectBackwardWeightPartial, grid, block, &arguments![d, part_pixels, x, dy, partial])
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
        let arguments = arguments![d, x, w, b, y];
        if d.is_direct() {
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
        backward_weight(self, d, [x, dy], dy, dw, db)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_direct_weight_gradient_are_whole_steps_and_not_too_many() {
        for pixels in [1, 127, 128, 129, 150, 16_383, 16_384, 16_385, 16_385 + 4096, 65_536, 1 << 24] {
            let part = direct_part(pixels);
            assert_eq!(part % size::DIRECT_STEP as usize, 0, "{pixels} pixels");
            assert!(pixels.div_ceil(part) <= size::DIRECT_PARTS as usize, "{pixels} pixels");
        }
        assert_eq!([1, 16_384, 16_385, 65_536].map(direct_part), [128, 128, 160, 512]);
    }
}
