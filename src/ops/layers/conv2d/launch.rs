//! The convolution on the kernels of kernels/layers/conv2d.cu and conv2d_tensor.cu; those with few channels are in few.rs.

use super::few::Few;
use super::{Conv2d, Conv2dOp};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::product::{End, Product};
use crate::device::{Accelerator, Argument, Backend, In, Out, Real, Storage, Stored, StoredOut};
use crate::ops::layers::column_sums;
use crate::ops::layers::epilogue::Epilogue;

impl AsArgument for Conv2d {
    fn argument(&self) -> Argument {
        let Conv2d { n, h, w, c, k, r, s, stride, padding } = *self;
        // Kernels count pixels and the numbers of the filters in 32 bits, too.
        let _ = [n * h * w, n * self.oh() * self.ow(), k * r * s * c].map(int);
        Argument::new([n, h, w, c, k, r, s, stride, padding, self.oh(), self.ow()].map(int))
    }
}

/// dx = convᵀ(dy, w) + b, which is also the forward pass of the transposed convolution.
pub(in crate::ops::layers) fn backward_input<T: Real, S: Storage<T>>(
    be: &Accelerator<T, S>,
    d: &Conv2d,
    dy: Stored<'_, Accelerator<T, S>>,
    w: Stored<'_, Accelerator<T, S>>,
    b: Option<In<'_, Accelerator<T, S>>>,
    end: Epilogue<'_, Accelerator<T, S>>,
    mut dx: StoredOut<'_, Accelerator<T, S>>,
) -> Result<()> {
    if let Some(few) = Few::of(d) {
        few.backward_input(be, dy, w, b, be.reborrow(&mut dx))?;
        return end.apply(be, &dx);
    }
    const KERNELS: [Kernel; 2] = [Kernel::Conv2dBackwardInput, Kernel::Conv2dBackwardInputTensor];
    // The largest parity class decides; blocks beyond a smaller one's end return at once.
    let product = Product {
        narrow: KERNELS,
        wide: [Kernel::Conv2dBackwardInputWide, Kernel::Conv2dBackwardInputWideTensor],
        rows: d.n * d.h.div_ceil(d.stride) * d.w.div_ceil(d.stride),
        columns: d.c,
        depth: d.r.div_ceil(d.stride) * d.s.div_ceil(d.stride) * d.k,
        times: d.stride * d.stride,
    };
    be.launch_split(&product, (b, d.c), end.end(), dx, |part, b, End([negative, of, scale, base]), parts, dx| {
        arguments![d, part, dy, w, b, negative, of, scale, base, parts, dx]
    })
}

/// dw = dyᵀ · windows(x), or added to what is there: partial sums first, then their sum and, beside it, db = the column sums of `biased`. That is dy,
/// or of a transposed convolution, whose passes are these in reverse, x.
pub(in crate::ops::layers) fn backward_weight<T: Real, S: Storage<T>>(
    be: &Accelerator<T, S>,
    d: &Conv2d,
    [x, dy]: [Stored<'_, Accelerator<T, S>>; 2],
    biased: Stored<'_, Accelerator<T, S>>,
    (dw, db): (Out<'_, Accelerator<T, S>>, Option<Out<'_, Accelerator<T, S>>>),
    accumulate: bool,
) -> Result<()> {
    if let Some(few) = Few::of(d) {
        let partial = |partial: &Out<'_, Accelerator<T, S>>| few.weight_partial(be, x, dy, partial);
        return column_sums::launch_weight_gradient(be, few.parts(be), biased, (dw, db), accumulate, partial);
    }
    let product = weight_product(d);
    let split = be.split_of(&product);
    let partial = |partial: &Out<'_, Accelerator<T, S>>| {
        be.launch_product(&product, &split, &arguments![d, split.length, x, dy, partial])
    };
    column_sums::launch_weight_gradient(be, split.parts, biased, (dw, db), accumulate, partial)
}

/// dyᵀ · windows(x), whose depth is the output pixels.
fn weight_product(d: &Conv2d) -> Product {
    const KERNELS: [Kernel; 2] = [Kernel::Conv2dBackwardWeightPartial, Kernel::Conv2dBackwardWeightPartialTensor];
    let wide = [Kernel::Conv2dBackwardWeightPartialWide, Kernel::Conv2dBackwardWeightPartialWideTensor];
    Product { narrow: KERNELS, wide, rows: d.k, columns: d.r * d.s * d.c, depth: d.n * d.oh() * d.ow(), times: 1 }
}

impl<T: Real, S: Storage<T>> Conv2dOp for Accelerator<T, S> {
    fn conv2d_forward(
        &self,
        d: &Conv2d,
        x: Stored<'_, Self>,
        w: Stored<'_, Self>,
        b: Option<In<'_, Self>>,
        end: Epilogue<'_, Self>,
        mut y: StoredOut<'_, Self>,
    ) -> Result<()> {
        const KERNELS: [Kernel; 2] = [Kernel::Conv2dForward, Kernel::Conv2dForwardTensor];
        if let Some(few) = Few::of(d) {
            few.forward(self, x, w, b, self.reborrow(&mut y))?;
            return end.apply(self, &y);
        }
        let (pixels, taps) = (d.n * d.oh() * d.ow(), d.r * d.s * d.c);
        let wide = [Kernel::Conv2dForwardWide, Kernel::Conv2dForwardWideTensor];
        let product = Product { narrow: KERNELS, wide, rows: pixels, columns: d.k, depth: taps, times: 1 };
        self.launch_split(&product, (b, d.k), end.end(), y, |part, b, End([negative, of, scale, base]), parts, y| {
            arguments![d, part, x, w, b, negative, of, scale, base, parts, y]
        })
    }

    fn conv2d_backward_input(
        &self,
        d: &Conv2d,
        dy: Stored<'_, Self>,
        w: Stored<'_, Self>,
        end: Epilogue<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        backward_input(self, d, dy, w, None, end, dx)
    }

    fn conv2d_backward_weight(
        &self,
        d: &Conv2d,
        x: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dw: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
        accumulate: bool,
    ) -> Result<()> {
        backward_weight(self, d, [x, dy], dy, (dw, db), accumulate)
    }
}
