//! The convolution on the kernels of kernels/layers/conv2d.cu, conv2d_tensor.cu and, with few channels, conv2d_direct.cu,
//! whose kernels round no operands.

use super::{Conv2d, Conv2dOp};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::product::Product;
use crate::device::{Accelerator, Argument, In, Out, Real};
use crate::ops::layers::linear::launch_column_sums;

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
    if d.is_direct() {
        let blocks = int(d.n * d.h * d.w).unsigned_abs().div_ceil(size::DIRECT_WARPS);
        let arguments = arguments![d, dy, w, b, dx];
        return be.launch(Kernel::Conv2dDirectBackwardInput, [blocks, 1, 1], WARPS, &arguments);
    }
    const KERNELS: [Kernel; 3] =
        [Kernel::Conv2dBackwardInput, Kernel::Conv2dBackwardInputTf32, Kernel::Conv2dBackwardInputBf16];
    // The largest parity class decides; blocks beyond a smaller one's end return at once.
    let product = Product {
        narrow: KERNELS,
        wide: [
            Kernel::Conv2dBackwardInputWide,
            Kernel::Conv2dBackwardInputWideTf32,
            Kernel::Conv2dBackwardInputWideBf16,
        ],
        rows: d.n * d.h.div_ceil(d.stride) * d.w.div_ceil(d.stride),
        columns: d.c,
        depth: d.r.div_ceil(d.stride) * d.s.div_ceil(d.stride) * d.k,
        times: d.stride * d.stride,
    };
    be.launch_split(&product, (b, d.c), dx, |part, b, dx| arguments![d, part, dy, w, b, dx])
}

/// dw += dyᵀ · windows(x): partial sums first, then their sum.
pub(in crate::ops::layers) fn backward_weight<T: Real>(
    be: &Accelerator<T>,
    d: &Conv2d,
    x: In<'_, Accelerator<T>>,
    dy: In<'_, Accelerator<T>>,
    dw: Out<'_, Accelerator<T>>,
) -> Result<()> {
    let pixels = d.n * d.oh() * d.ow();
    let (product, direct) = (weight_product(d), d.is_direct().then(|| direct_part(pixels)));
    let split = be.split_of(&product);
    let (parts, length) = direct.map_or((split.parts, split.length), |length| (pixels.div_ceil(length), length));
    be.with_workspace(parts * d.w_len(), |partial: Out<'_, Accelerator<T>>| {
        if direct.is_some() {
            launch_direct_weight_partial(be, d, length, x, dy, &partial)?;
        } else {
            be.launch_product(&product, &split, &arguments![d, length, x, dy, partial])?;
        }
        let arguments = arguments![parts, d.w_len() as u64, partial, dw];
        be.launch_elements(Kernel::Conv2dBackwardWeightAdd, d.w_len(), &arguments)
    })
}

/// dyᵀ · windows(x), whose depth is the output pixels.
fn weight_product(d: &Conv2d) -> Product {
    const KERNELS: [Kernel; 3] = [
        Kernel::Conv2dBackwardWeightPartial,
        Kernel::Conv2dBackwardWeightPartialTf32,
        Kernel::Conv2dBackwardWeightPartialBf16,
    ];
    let wide = [
        Kernel::Conv2dBackwardWeightPartialWide,
        Kernel::Conv2dBackwardWeightPartialWideTf32,
        Kernel::Conv2dBackwardWeightPartialWideBf16,
    ];
    Product { narrow: KERNELS, wide, rows: d.k, columns: d.r * d.s * d.c, depth: d.n * d.oh() * d.ow(), times: 1 }
}

/// partial `[parts, K, R, S, C]` = parts of it for few channels, over `part_pixels` output pixels each.
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
        if d.is_direct() {
            let arguments = arguments![d, x, w, b, y];
            let [filters, pixels] = [d.k, d.n * d.oh() * d.ow()].map(|len| int(len).unsigned_abs());
            let groups = pixels.div_ceil(size::DIRECT_WARPS * size::DIRECT_PIXELS);
            return self.launch(
                Kernel::Conv2dDirectForward,
                [groups, filters.div_ceil(size::WARP), 1],
                WARPS,
                &arguments,
            );
        }
        let (pixels, taps) = (d.n * d.oh() * d.ow(), d.r * d.s * d.c);
        let wide = [Kernel::Conv2dForwardWide, Kernel::Conv2dForwardWideTf32, Kernel::Conv2dForwardWideBf16];
        let product = Product { narrow: KERNELS, wide, rows: pixels, columns: d.k, depth: taps, times: 1 };
        self.launch_split(&product, (b, d.k), y, |part, b, y| arguments![d, part, x, w, b, y])
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
