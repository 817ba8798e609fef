//! Convolutions from few channels, and with stride 1 those to few, on the kernels of kernels/layers/conv2d/few.cu and, for shapes
//! that are not there, direct.cu. Their operands are taken as they are stored. Where that is bf16, the shapes of few.cu have kernels on
//! tensor cores, in few_tensor_bf16.cu.

use super::Conv2d;
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::{Accelerator, Argument, Backend, In, Out, Precision, Real, Storage, Stored, StoredOut};

const WARPS: [u32; 3] = [size::WARP, size::DIRECT_WARPS, 1];

/// The places of the elements of w, as in kernels/layers/filters.cuh: the distances of neighbours along K, R, S and C, and the
/// place of the first.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, bytemuck::NoUninit)]
struct Filters {
    k: i32,
    r: i32,
    s: i32,
    c: i32,
    first: i32,
}

impl AsArgument for Filters {
    fn argument(&self) -> Argument {
        Argument::new(*self)
    }
}

/// A convolution from few channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Few {
    d: Conv2d,
    filters: Filters,
    /// It is one to few channels in truth, seen from the other side: its forward pass is the input gradient of `d`, its input
    /// gradient the forward pass, and its weight gradient that with x and dy exchanged.
    turned: bool,
}

impl Few {
    /// The convolution as the kernels see it; `None` where neither side has few channels.
    pub(super) fn of(d: &Conv2d) -> Option<Few> {
        let Conv2d { c, k, r, s, padding, .. } = *d;
        if !d.is_direct() {
            None
        } else if d.is_from_few() {
            let filters = Filters { k: int(r * s * c), r: int(s * c), s: int(c), c: 1, first: 0 };
            Some(Few { d: *d, filters, turned: false })
        } else {
            // y[i] = Σ x[i + r − padding] w[r] is Σ x[j] w[R − 1 − r′] over r′ = i + (R − 1 − padding) − j.
            let first = int((r - 1) * s * c + (s - 1) * c);
            let filters = Filters { k: 1, r: -int(s * c), s: -int(c), c: int(r * s * c), first };
            let d = Conv2d { h: d.oh(), w: d.ow(), c: k, k: c, padding: r - 1 - padding, ..*d };
            Some(Few { d, filters, turned: true })
        }
    }

    /// y = conv(x, w) + b.
    pub(super) fn forward<T: Real, S: Storage<T>>(
        &self,
        be: &Accelerator<T, S>,
        x: Stored<'_, Accelerator<T, S>>,
        w: Stored<'_, Accelerator<T, S>>,
        b: Option<In<'_, Accelerator<T, S>>>,
        y: StoredOut<'_, Accelerator<T, S>>,
    ) -> Result<()> {
        if self.turned { self.launch_backward_input(be, x, w, b, y) } else { self.launch_forward(be, x, w, b, y) }
    }

    /// dx = convᵀ(dy, w) + b.
    pub(super) fn backward_input<T: Real, S: Storage<T>>(
        &self,
        be: &Accelerator<T, S>,
        dy: Stored<'_, Accelerator<T, S>>,
        w: Stored<'_, Accelerator<T, S>>,
        b: Option<In<'_, Accelerator<T, S>>>,
        dx: StoredOut<'_, Accelerator<T, S>>,
    ) -> Result<()> {
        if self.turned { self.launch_forward(be, dy, w, b, dx) } else { self.launch_backward_input(be, dy, w, b, dx) }
    }

    /// Parts that the weight gradient is summed in.
    pub(super) fn parts<T: Real, S: Storage<T>>(&self, be: &Accelerator<T, S>) -> usize {
        match self.on_tensor_cores(be, |shape| shape.backward_weight_tensor) {
            Some(_) => forward_tiles(&self.d).div_ceil(part_tiles(&self.d)),
            None => self.pixels().div_ceil(part(self.pixels())),
        }
    }

    /// `partial` `[parts, K, R, S, C]` = the sums of dyᵀ · windows(x) over the output pixels of a part each.
    pub(super) fn weight_partial<T: Real, S: Storage<T>>(
        &self,
        be: &Accelerator<T, S>,
        x: Stored<'_, Accelerator<T, S>>,
        dy: Stored<'_, Accelerator<T, S>>,
        partial: &Out<'_, Accelerator<T, S>>,
    ) -> Result<()> {
        let Few { d, filters, turned } = *self;
        let (x, dy) = if turned { (dy, x) } else { (x, dy) };
        let [taps, k, parts] = [d.r * d.s * d.c, d.k, self.parts(be)].map(|count| int(count).unsigned_abs());
        if let Some(kernel) = self.on_tensor_cores(be, |shape| shape.backward_weight_tensor) {
            let grid = [parts, k.div_ceil(size::FEW_TENSOR_FILTERS), 1];
            let arguments = arguments![d, filters, part_tiles(&d), x, dy, partial];
            return be.launch(kernel, grid, TENSOR_BLOCK, &arguments);
        }
        // Blocks that read the same pixels of dy for other taps run side by side.
        let grid = [taps.div_ceil(size::DIRECT_TAPS), k.div_ceil(size::DIRECT_TAPS * size::DIRECT_FILTERS), parts];
        let block = [size::DIRECT_TAPS, size::DIRECT_ROWS, 1];
        let arguments = arguments![d, filters, part(self.pixels()), x, dy, partial];
        be.launch(Kernel::Conv2dDirectBackwardWeightPartial, grid, block, &arguments)
    }

    fn pixels(&self) -> usize {
        self.d.n * self.d.oh() * self.d.ow()
    }

    /// The kernels of this shape, if it is one of those in use.
    fn shape(&self) -> Option<&'static Shape> {
        let Conv2d { c, r, s, stride, padding, .. } = self.d;
        SHAPES.iter().find(|shape| (c, r, s, stride, padding) == (shape.c, shape.side, shape.side, shape.stride, 1))
    }

    /// The kernel of this shape on tensor cores, if there is one for what is stored, and it is right.
    fn on_tensor_cores<T: Real, S: Storage<T>>(
        &self,
        be: &Accelerator<T, S>,
        kernel: impl Fn(&Shape) -> Kernel,
    ) -> Option<Kernel> {
        let kernel = self.shape().map(kernel)?;
        (be.precision() == Precision::Bf16 && be.trusts(kernel)).then_some(kernel)
    }

    fn launch_forward<T: Real, S: Storage<T>>(
        &self,
        be: &Accelerator<T, S>,
        x: Stored<'_, Accelerator<T, S>>,
        w: Stored<'_, Accelerator<T, S>>,
        b: Option<In<'_, Accelerator<T, S>>>,
        y: StoredOut<'_, Accelerator<T, S>>,
    ) -> Result<()> {
        let Few { d, filters, .. } = *self;
        let (arguments, groups) = (arguments![d, filters, x, w, b, y], |width| int(d.k).unsigned_abs().div_ceil(width));
        if let Some(kernel) = self.on_tensor_cores(be, |shape| shape.forward_tensor) {
            let grid = [tensor_blocks(forward_tiles(&d)), groups(size::FEW_TENSOR_GROUP), 1];
            return be.launch(kernel, grid, TENSOR_BLOCK, &arguments);
        }
        let (kernel, blocks) = match self.shape() {
            Some(shape) => (shape.forward, forward_tiles(&d)),
            None => {
                let pixels = (size::DIRECT_WARPS * size::DIRECT_PIXELS) as usize;
                (Kernel::Conv2dDirectForward, self.pixels().div_ceil(pixels))
            }
        };
        be.launch(kernel, [int(blocks).unsigned_abs(), groups(size::WARP), 1], WARPS, &arguments)
    }

    fn launch_backward_input<T: Real, S: Storage<T>>(
        &self,
        be: &Accelerator<T, S>,
        dy: Stored<'_, Accelerator<T, S>>,
        w: Stored<'_, Accelerator<T, S>>,
        b: Option<In<'_, Accelerator<T, S>>>,
        dx: StoredOut<'_, Accelerator<T, S>>,
    ) -> Result<()> {
        let Few { d, filters, .. } = *self;
        let arguments = arguments![d, filters, dy, w, b, dx];
        let tiles = |rows: u32, columns: u32| d.n * d.h.div_ceil(rows as usize) * d.w.div_ceil(columns as usize);
        let stride = int(d.stride).unsigned_abs();
        if let Some(kernel) = self.on_tensor_cores(be, |shape| shape.backward_input_tensor) {
            let side = size::FEW_TENSOR_OWN * stride;
            return be.launch(kernel, [tensor_blocks(tiles(side, side)), 1, 1], TENSOR_BLOCK, &arguments);
        }
        let Some(shape) = self.shape() else {
            let blocks = int(d.n * d.h * d.w).unsigned_abs().div_ceil(size::DIRECT_WARPS);
            return be.launch(Kernel::Conv2dDirectBackwardInput, [blocks, 1, 1], WARPS, &arguments);
        };
        // A thread has two rows of pixels, and with stride 2 two columns.
        let blocks = tiles(2 * size::FEW_THREADS_Y, stride * size::FEW_THREADS_X);
        let block = [size::FEW_THREADS_X, size::FEW_THREADS_Y, 1];
        be.launch(shape.backward_input, [int(blocks).unsigned_abs(), 1, 1], block, &arguments)
    }
}

/// The threads of kernels on tensor cores: lanes and warps.
const TENSOR_BLOCK: [u32; 3] = [size::WARP, size::DIRECT_WARPS, 1];

/// The kernels of a shape in use, with a padding of 1.
struct Shape {
    c: usize,
    side: usize,
    stride: usize,
    forward: Kernel,
    backward_input: Kernel,
    forward_tensor: Kernel,
    backward_input_tensor: Kernel,
    backward_weight_tensor: Kernel,
}

const SHAPES: [Shape; 3] = [
    Shape {
        c: 1,
        side: 4,
        stride: 2,
        forward: Kernel::Conv2dFewForwardC14x4,
        backward_input: Kernel::Conv2dFewBackwardInputC14x4,
        forward_tensor: Kernel::Conv2dFewForwardC14x4Tensor,
        backward_input_tensor: Kernel::Conv2dFewBackwardInputC14x4Tensor,
        backward_weight_tensor: Kernel::Conv2dFewBackwardWeightPartialC14x4Tensor,
    },
    Shape {
        c: 3,
        side: 4,
        stride: 2,
        forward: Kernel::Conv2dFewForwardC34x4,
        backward_input: Kernel::Conv2dFewBackwardInputC34x4,
        forward_tensor: Kernel::Conv2dFewForwardC34x4Tensor,
        backward_input_tensor: Kernel::Conv2dFewBackwardInputC34x4Tensor,
        backward_weight_tensor: Kernel::Conv2dFewBackwardWeightPartialC34x4Tensor,
    },
    Shape {
        c: 3,
        side: 3,
        stride: 1,
        forward: Kernel::Conv2dFewForwardC33x3,
        backward_input: Kernel::Conv2dFewBackwardInputC33x3,
        forward_tensor: Kernel::Conv2dFewForwardC33x3Tensor,
        backward_input_tensor: Kernel::Conv2dFewBackwardInputC33x3Tensor,
        backward_weight_tensor: Kernel::Conv2dFewBackwardWeightPartialC33x3Tensor,
    },
];

/// Blocks that stride over tiles of pixels on tensor cores.
fn tensor_blocks(tiles: usize) -> u32 {
    int(tiles).unsigned_abs().min(size::FEW_TENSOR_BLOCKS)
}

/// Tiles of output pixels of a part of the weight gradient on tensor cores. The shape alone decides.
fn part_tiles(d: &Conv2d) -> usize {
    forward_tiles(d).div_ceil(size::FEW_TENSOR_PARTS as usize)
}

/// Tiles of output pixels, of all images, of the forward kernels of fixed shapes.
fn forward_tiles(d: &Conv2d) -> usize {
    d.n * d.oh().div_ceil(size::FEW_ROWS as usize) * d.ow().div_ceil(size::FEW_COLUMNS as usize)
}

/// Output pixels of a part of the weight gradient, a whole number of steps: [`size::DIRECT_PART`], or as many as keep the parts
/// to [`size::DIRECT_PARTS`]. The shape alone decides, so the bits of the sum do too.
fn part(pixels: usize) -> usize {
    let enough = pixels.div_ceil(size::DIRECT_PARTS as usize).next_multiple_of(size::DIRECT_STEP as usize);
    enough.max(size::DIRECT_PART as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_weight_gradient_are_whole_steps_and_not_too_many() {
        for pixels in [1, 127, 128, 129, 150, 16_383, 16_384, 16_385, 16_385 + 4096, 65_536, 1 << 24] {
            let part = part(pixels);
            assert_eq!(part % size::DIRECT_STEP as usize, 0, "{pixels} pixels");
            assert!(pixels.div_ceil(part) <= size::DIRECT_PARTS as usize, "{pixels} pixels");
        }
        assert_eq!([1, 16_384, 16_385, 65_536].map(part), [128, 128, 160, 512]);
    }

    #[test]
    fn parts_on_tensor_cores_are_not_too_many_and_none_is_empty() {
        for n in [1, 131, 132, 133, 1000] {
            let d = Conv2d { n, h: 8, w: 8, c: 1, k: 8, r: 4, s: 4, stride: 2, padding: 1 };
            let (tiles, part) = (forward_tiles(&d), part_tiles(&d));
            let parts = tiles.div_ceil(part);
            assert_eq!(tiles, n);
            assert!(parts <= size::FEW_TENSOR_PARTS as usize && (parts - 1) * part < tiles, "{n} tiles");
        }
    }

    #[test]
    fn a_convolution_to_few_channels_is_turned_and_one_from_few_is_not() {
        let from = Conv2d { n: 2, h: 8, w: 6, c: 3, k: 32, r: 3, s: 3, stride: 1, padding: 1 };
        let seen = Few::of(&from).expect("few channels");
        assert_eq!((seen.d, seen.turned), (from, false));
        let to = Conv2d { c: 32, k: 3, ..from };
        let seen = Few::of(&to).expect("few channels");
        assert_eq!((seen.d, seen.turned), (from, true));
        // w[k = 2, r = 0, s = 1, c = 5] of the true one.
        let Filters { k, r, s, c, first } = seen.filters;
        assert_eq!(first + 5 * k + 2 * r + s + 2 * c, ((2 * 3) * 3 + 1) * 32 + 5);
        // With a stride the taps that reach a pixel are not all of them: no such view.
        assert_eq!(Few::of(&Conv2d { stride: 2, ..to }), None);
        assert_eq!(Few::of(&Conv2d { k: 5, ..to }), None);
    }
}
