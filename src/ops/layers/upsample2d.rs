//! Upsampling by two to the nearest pixel (PyTorch's `Upsample(scale_factor=2)`): x `[N, H, W, C]`, y `[N, 2H, 2W, C]`:
//!
//! `y[n, i, j, c] = x[n, ⌊i/2⌋, ⌊j/2⌋, c]`
//!
//! It is how the paper's generator doubles an image. It is linear in x, so the forward pass is also the tangent.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, Real, Storage, Stored, StoredOut};
use crate::ops::case::Case;
use crate::ops::models::BATCH;
use crate::ops::pass::{self, Pass, stored};

/// The sizes of an upsampling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upsample2d {
    /// Images.
    pub n: usize,
    /// Rows of the input; the output has twice as many.
    pub h: usize,
    /// Columns of the input; the output has twice as many.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl Upsample2d {
    /// Elements of x.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }
    /// Elements of y.
    pub fn y_len(&self) -> usize {
        4 * self.x_len()
    }

    /// The sizes in few words.
    fn describe(&self) -> String {
        format!("n{} {}x{}x{}", self.n, self.h, self.w, self.c)
    }
}

/// The upsampling's passes.
pub trait Upsample2dOp: Backend {
    /// y = each pixel of x, four times; overwrites. Also the tangent.
    fn upsample2d_forward(&self, d: &Upsample2d, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()>;

    /// dx = the sum of the four pixels of dy that a pixel became; overwrites.
    fn upsample2d_backward_input(&self, d: &Upsample2d, dy: Stored<'_, Self>, dx: StoredOut<'_, Self>) -> Result<()>;
}

impl<T: Real, S: Storage<T>> Upsample2dOp for Cpu<T, S> {
    fn upsample2d_forward(&self, d: &Upsample2d, x: &[S], y: &mut [S]) -> Result<()> {
        let row = d.w * d.c;
        // Two rows of y are one row of x: rows of all images run on.
        y[..d.y_len()].par_chunks_mut(4 * row).zip(x.par_chunks(row)).for_each(|(y, x)| {
            let (upper, lower) = y.split_at_mut(2 * row);
            for (y, x) in upper.chunks_exact_mut(2 * d.c).zip(x.chunks_exact(d.c)) {
                let (left, right) = y.split_at_mut(d.c);
                left.copy_from_slice(x);
                right.copy_from_slice(x);
            }
            lower.copy_from_slice(upper);
        });
        Ok(())
    }

    fn upsample2d_backward_input(&self, d: &Upsample2d, dy: &[S], dx: &mut [S]) -> Result<()> {
        let row = d.w * d.c;
        dx[..d.x_len()].par_chunks_mut(row).zip(dy.par_chunks(4 * row)).for_each(|(dx, dy)| {
            let (upper, lower) = dy.split_at(2 * row);
            let pairs = upper.chunks_exact(2 * d.c).zip(lower.chunks_exact(2 * d.c));
            for (dx, (upper, lower)) in dx.chunks_exact_mut(d.c).zip(pairs) {
                vectorised!({
                    for (c, dx) in dx.iter_mut().enumerate() {
                        let [left, right] = [upper[c].real() + upper[d.c + c].real(), lower[c].real()];
                        *dx = S::of_real(left + right + lower[d.c + c].real());
                    }
                });
            }
        });
        Ok(())
    }
}

impl AsArgument for Upsample2d {
    fn argument(&self) -> Argument {
        // The kernels count pixels in 32 bits, too.
        let _ = int(4 * self.n * self.h * self.w);
        Argument::new([self.n, self.h, self.w, self.c].map(int))
    }
}

impl<T: Real, S: Storage<T>> Upsample2dOp for Accelerator<T, S> {
    fn upsample2d_forward(&self, d: &Upsample2d, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()> {
        self.launch_runs(Kernel::Upsample2dForward, d.y_len(), &arguments![d, x, y])
    }

    fn upsample2d_backward_input(&self, d: &Upsample2d, dy: Stored<'_, Self>, dx: StoredOut<'_, Self>) -> Result<()> {
        self.launch_runs(Kernel::Upsample2dBackwardInput, d.x_len(), &arguments![d, dy, dx])
    }
}

dry_run! {
    Upsample2dOp:
    upsample2d_forward(_d: &Upsample2d, x, y) => x + y;
    upsample2d_backward_input(_d: &Upsample2d, dy, dx) => dy + dx;
}

/// One pixel, odd sides, one row, several images, one channel and many, more than a block of the kernel, and whole runs of channels.
pub(super) fn cases<B: Upsample2dOp>() -> Vec<Case<B>> {
    let sizes = [(1, 1, 1, 1), (2, 3, 2, 5), (3, 1, 5, 1), (1, 4, 1, 17), (1, 2, 17, 33), (2, 3, 2, 16)];
    sizes.map(|(n, h, w, c)| case(Upsample2d { n, h, w, c })).into()
}

fn case<B: Upsample2dOp>(d: Upsample2d) -> Case<B> {
    Case::new("upsample2d", d.describe())
        .input("x", d.x_len())
        .output("y", d.y_len())
        .forward(move |be: &B, [x], [y]| be.upsample2d_forward(&d, x.stored(), y.stored()))
        .backward(move |be: &B, [_], [_], [dy], [dx]| be.upsample2d_backward_input(&d, dy.stored(), dx.stored()))
        .tangent(move |be: &B, [_], [_], vx, vy| be.upsample2d_forward(&d, vx.stored(), vy.stored()))
}

/// The upsamplings of `vgan-cifar10-resnet`.
fn model_sizes() -> [Upsample2d; 3] {
    [(4, 128), (8, 64), (16, 32)].map(|(side, c)| Upsample2d { n: BATCH, h: side, w: side, c })
}

/// At the sizes of the models.
pub(super) fn passes<B: Upsample2dOp>() -> Vec<Pass<B>> {
    pass::of_each(model_sizes(), passes_of)
}

fn passes_of<B: Upsample2dOp>(d: Upsample2d) -> [Pass<B>; 2] {
    let (shape, x, y) = (d.describe(), d.x_len(), d.y_len());
    [
        Pass::of("upsample2d", &shape, "forward", [stored(x)], [stored(y)], move |be: &B, [x], [y], _| {
            be.upsample2d_forward(&d, x.stored(), y.stored())
        }),
        Pass::of("upsample2d", &shape, "backward_input", [stored(y)], [stored(x)], move |be: &B, [dy], [dx], _| {
            be.upsample2d_backward_input(&d, dy.stored(), dx.stored())
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_become_squares() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (d, mut y, mut dx) = (Upsample2d { n: 1, h: 2, w: 1, c: 2 }, [0.0; 16], [0.0; 4]);
        cpu.upsample2d_forward(&d, &[1.0, 2.0, 3.0, 4.0], &mut y).expect("a pass");
        assert_eq!(y, [1., 2., 1., 2., 1., 2., 1., 2., 3., 4., 3., 4., 3., 4., 3., 4.]);
        cpu.upsample2d_backward_input(&d, &y, &mut dx).expect("a pass");
        assert_eq!(dx, [4.0, 8.0, 12.0, 16.0]);
    }
}
