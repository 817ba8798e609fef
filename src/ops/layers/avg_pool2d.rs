//! Average pooling with a window of 3×3, stride 2 and a border of one zero that counts (PyTorch's
//! `AvgPool2d(3, stride=2, padding=1)`): x `[N, H, W, C]`, y `[N, OH, OW, C]`, OH = ⌈H/2⌉, OW = ⌈W/2⌉:
//!
//! `y[n, i, j, c] = 1/9 · Σ_{r, s} x[n, 2i + r − 1, 2j + s − 1, c]`
//!
//! It is how the paper's discriminator halves an image. It is linear in x, so the forward pass is also the tangent.

use std::ops::Range;

use crate::Result;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, Real, Storage, Stored, StoredOut};
use crate::ops::case::Case;
use crate::ops::models::BOTH;
use crate::ops::pass::{self, Pass, stored};

/// Pixels of a window, those of the border included: what a sum is divided by.
const PIXELS: f64 = 9.0;

/// The sizes of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AvgPool2d {
    /// Images.
    pub n: usize,
    /// Rows of the input.
    pub h: usize,
    /// Columns of the input.
    pub w: usize,
    /// Channels.
    pub c: usize,
}

impl AvgPool2d {
    /// Rows of the output.
    pub fn oh(&self) -> usize {
        self.h.div_ceil(2)
    }
    /// Columns of the output.
    pub fn ow(&self) -> usize {
        self.w.div_ceil(2)
    }
    /// Elements of x.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }
    /// Elements of y.
    pub fn y_len(&self) -> usize {
        self.n * self.oh() * self.ow() * self.c
    }

    /// The sizes in few words.
    fn describe(&self) -> String {
        format!("n{} {}x{}x{}", self.n, self.h, self.w, self.c)
    }
}

/// The pooling's passes.
pub trait AvgPool2dOp: Backend {
    /// y = pool(x); overwrites. Also the tangent.
    fn avg_pool2d_forward(&self, d: &AvgPool2d, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()>;

    /// dx = poolᵀ(dy): each pixel takes a ninth of every window that it is in; overwrites.
    fn avg_pool2d_backward_input(&self, d: &AvgPool2d, dy: Stored<'_, Self>, dx: StoredOut<'_, Self>) -> Result<()>;
}

/// The places of the input along one axis of `size` that are in window `i`.
fn window(i: usize, size: usize) -> Range<usize> {
    (2 * i).saturating_sub(1)..(2 * i + 2).min(size)
}

/// The windows, of `windows` along one axis, that place `h` of the input is in: one for an even place, two for an odd
/// one unless the image ends there.
fn windows(h: usize, windows: usize) -> Range<usize> {
    h / 2..(h.div_ceil(2) + 1).min(windows)
}

impl<T: Real, S: Storage<T>> AvgPool2dOp for Cpu<T, S> {
    fn avg_pool2d_forward(&self, d: &AvgPool2d, x: &[S], y: &mut [S]) -> Result<()> {
        let (image, row) = (d.h * d.w * d.c, d.w * d.c);
        y[..d.y_len()].par_chunks_mut(d.ow() * d.c).enumerate().for_each(|(line, y)| {
            let (n, i) = (line / d.oh(), line % d.oh());
            let x = &x[n * image..][..image];
            for (j, y) in y.chunks_exact_mut(d.c).enumerate() {
                let pixels = window(i, d.h).flat_map(|h| window(j, d.w).map(move |w| h * row + w * d.c));
                average(y, pixels.map(|at| &x[at..][..d.c]));
            }
        });
        Ok(())
    }

    fn avg_pool2d_backward_input(&self, d: &AvgPool2d, dy: &[S], dx: &mut [S]) -> Result<()> {
        let (image, row) = (d.oh() * d.ow() * d.c, d.ow() * d.c);
        dx[..d.x_len()].par_chunks_mut(d.w * d.c).enumerate().for_each(|(line, dx)| {
            let (n, h) = (line / d.h, line % d.h);
            let dy = &dy[n * image..][..image];
            for (w, dx) in dx.chunks_exact_mut(d.c).enumerate() {
                let pixels = windows(h, d.oh()).flat_map(|i| windows(w, d.ow()).map(move |j| i * row + j * d.c));
                average(dx, pixels.map(|at| &dy[at..][..d.c]));
            }
        });
        Ok(())
    }
}

/// Channels that are summed at once.
const CHANNELS: usize = 64;

/// target = a ninth of the sum of `pixels`, channel by channel, in their order.
fn average<'a, T: Real, S: Storage<T>>(target: &mut [S], pixels: impl Iterator<Item = &'a [S]> + Clone) {
    for (block, target) in target.chunks_mut(CHANNELS).enumerate() {
        let mut sums = [T::ZERO; CHANNELS];
        for pixel in pixels.clone() {
            let pixel = &pixel[block * CHANNELS..][..target.len()];
            vectorised!(sums.iter_mut().zip(pixel).for_each(|(sum, p)| *sum += p.real()));
        }
        target.iter_mut().zip(sums).for_each(|(t, sum)| *t = S::of_real(sum / T::of(PIXELS)));
    }
}

impl AsArgument for AvgPool2d {
    fn argument(&self) -> Argument {
        // The kernels count pixels in 32 bits, too.
        let _ = int(self.n * self.h * self.w);
        Argument::new([self.n, self.h, self.w, self.c, self.oh(), self.ow()].map(int))
    }
}

impl<T: Real, S: Storage<T>> AvgPool2dOp for Accelerator<T, S> {
    fn avg_pool2d_forward(&self, d: &AvgPool2d, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()> {
        self.launch_runs(Kernel::AvgPool2dForward, d.y_len(), &arguments![d, x, y])
    }

    fn avg_pool2d_backward_input(&self, d: &AvgPool2d, dy: Stored<'_, Self>, dx: StoredOut<'_, Self>) -> Result<()> {
        self.launch_runs(Kernel::AvgPool2dBackwardInput, d.x_len(), &arguments![d, dy, dx])
    }
}

dry_run! {
    AvgPool2dOp:
    avg_pool2d_forward(_d: &AvgPool2d, x, y) => x + y;
    avg_pool2d_backward_input(_d: &AvgPool2d, dy, dx) => dy + dx;
}

/// One pixel, odd and even sides, one row, several images, one channel and many.
pub(super) fn cases<B: AvgPool2dOp>() -> Vec<Case<B>> {
    let sizes = [(1, 1, 1, 1), (2, 2, 2, 3), (1, 3, 3, 1), (2, 4, 6, 5), (3, 5, 4, 2), (1, 1, 7, 3), (2, 7, 1, 17)];
    // The last are more than a block of the kernel, and whole runs of channels.
    sizes
        .into_iter()
        .chain([(1, 3, 40, 33), (2, 5, 4, 16)])
        .map(|(n, h, w, c)| case(AvgPool2d { n, h, w, c }))
        .collect()
}

fn case<B: AvgPool2dOp>(d: AvgPool2d) -> Case<B> {
    Case::new("avg_pool2d", d.describe())
        .input("x", d.x_len())
        .output("y", d.y_len())
        .forward(move |be: &B, [x], [y]| be.avg_pool2d_forward(&d, x.stored(), y.stored()))
        .backward(move |be: &B, [_], [_], [dy], [dx]| be.avg_pool2d_backward_input(&d, dy.stored(), dx.stored()))
        .tangent(move |be: &B, [_], [_], vx, vy| be.avg_pool2d_forward(&d, vx.stored(), vy.stored()))
}

/// The poolings of `vgan-cifar10-resnet`.
fn model_sizes() -> [AvgPool2d; 3] {
    [(32, 32), (16, 64), (8, 128)].map(|(side, c)| AvgPool2d { n: BOTH, h: side, w: side, c })
}

/// At the sizes of the models.
pub(super) fn passes<B: AvgPool2dOp>() -> Vec<Pass<B>> {
    pass::of_each(model_sizes(), passes_of)
}

fn passes_of<B: AvgPool2dOp>(d: AvgPool2d) -> [Pass<B>; 2] {
    let (shape, x, y) = (d.describe(), d.x_len(), d.y_len());
    [
        Pass::of("avg_pool2d", &shape, "forward", [stored(x)], [stored(y)], move |be: &B, [x], [y], _| {
            be.avg_pool2d_forward(&d, x.stored(), y.stored())
        }),
        Pass::of("avg_pool2d", &shape, "backward_input", [stored(y)], [stored(x)], move |be: &B, [dy], [dx], _| {
            be.avg_pool2d_backward_input(&d, dy.stored(), dx.stored())
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every pixel that both sides of the definition name: window i holds place h where h is 2i − 1, 2i or 2i + 1.
    #[test]
    fn windows_are_those_of_the_definition() {
        for size in 1..9usize {
            let count = size.div_ceil(2);
            for (i, h) in (0..count).flat_map(|i| (0..size).map(move |h| (i, h))) {
                let inside = (2 * i).abs_diff(h) <= 1;
                assert_eq!((window(i, size).contains(&h), windows(h, count).contains(&i)), (inside, inside), "{i} {h}");
            }
        }
    }

    #[test]
    fn the_border_counts() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let d = AvgPool2d { n: 1, h: 3, w: 3, c: 1 };
        let (x, mut y) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0], [0.0; 4]);
        cpu.avg_pool2d_forward(&d, &x, &mut y).expect("a pass");
        assert_eq!(y, [12.0, 16.0, 24.0, 28.0].map(|sum| sum / 9.0));
    }
}
