//! Maximum or average of square windows (PyTorch's `MaxPool2d`, and `AvgPool2d` with `count_include_pad=False`): x `[N, H, W, C]`,
//! y `[N, OH, OW, C]`, OH = ⌊(H + 2 · padding − side) / stride⌋ + 1:
//!
//! `y[n, i, j, c] = max or mean over r, s < side of x[n, i·stride + r − padding, j·stride + s − padding, c]`
//!
//! Only pixels of the image count: the mean is that of those of a window that lie inside. Where several are the largest, the gradient
//! goes to the first of them, and NaN is the largest of all, as in PyTorch. It serves nets that are evaluated and not trained, so
//! there is no tangent. The pooling of the paper's nets, whose border counts, is `avg_pool2d`.

use std::ops::Range;

use crate::Result;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, Real, Storage, Stored, StoredOut};
use crate::ops::case::Case;
use crate::ops::pass::Pass;

/// The value that is taken from a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Its largest pixel.
    Max,
    /// The mean of its pixels that lie inside the image.
    Average,
}

/// The sizes of a pooling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool2d {
    /// Images.
    pub n: usize,
    /// Rows of the input.
    pub h: usize,
    /// Columns of the input.
    pub w: usize,
    /// Channels.
    pub c: usize,
    /// Rows and columns of a window.
    pub side: usize,
    /// Step of the window.
    pub stride: usize,
    /// The distance that windows reach over the border; less than a window, so that each holds a pixel.
    pub padding: usize,
    /// The value that is taken from a window.
    pub pooling: Pooling,
}

impl Pool2d {
    /// Rows of the output.
    pub fn oh(&self) -> usize {
        (self.h + 2 * self.padding - self.side) / self.stride + 1
    }
    /// Columns of the output.
    pub fn ow(&self) -> usize {
        (self.w + 2 * self.padding - self.side) / self.stride + 1
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
        let Pool2d { n, h, w, c, side, stride, padding, pooling } = self;
        format!("{pooling:?} n{n} {h}x{w}x{c} {side}x{side} stride{stride} pad{padding}")
    }

    /// The places of the input along one axis of `size` that are in window `i`.
    fn window(&self, i: usize, size: usize) -> Range<usize> {
        let first = i * self.stride;
        first.saturating_sub(self.padding)..(first + self.side - self.padding).min(size)
    }

    /// The windows, of `windows` along one axis, that place `h` of the input is in.
    fn windows(&self, h: usize, windows: usize) -> Range<usize> {
        let last = h + self.padding;
        (last + 1).saturating_sub(self.side).div_ceil(self.stride)..(last / self.stride + 1).min(windows)
    }

    /// The pixels of window (i, j) that lie inside an image, row by row: the first element of each.
    fn pixels(&self, i: usize, j: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (row, c, columns) = (self.w * self.c, self.c, self.window(j, self.w));
        self.window(i, self.h).flat_map(move |h| columns.clone().map(move |w| h * row + w * c))
    }

    /// Their number.
    fn count(&self, i: usize, j: usize) -> usize {
        self.window(i, self.h).len() * self.window(j, self.w).len()
    }
}

/// The pooling's passes.
pub trait Pool2dOp: Backend {
    /// y = pool(x); overwrites.
    fn pool2d_forward(&self, d: &Pool2d, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()>;

    /// dx = poolᵀ(dy) at x: each pixel takes its part of every window that it is in; overwrites.
    fn pool2d_backward_input(
        &self,
        d: &Pool2d,
        x: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// Whether a value takes the place of the largest so far.
#[inline(always)]
#[expect(clippy::eq_op, reason = "true of NaN alone")]
fn is_larger<T: Real>(value: T, largest: T) -> bool {
    value > largest || value != value
}

/// Channels that are worked on at once.
const CHANNELS: usize = 64;

impl<T: Real, S: Storage<T>> Pool2dOp for Cpu<T, S> {
    fn pool2d_forward(&self, d: &Pool2d, x: &[S], y: &mut [S]) -> Result<()> {
        let image = d.h * d.w * d.c;
        y[..d.y_len()].par_chunks_mut(d.ow() * d.c).enumerate().for_each(|(line, y)| {
            let (x, i) = (&x[line / d.oh() * image..][..image], line % d.oh());
            for (j, y) in y.chunks_exact_mut(d.c).enumerate() {
                let (pixels, count) = (d.pixels(i, j), T::of(d.count(i, j) as f64));
                for (block, y) in y.chunks_mut(CHANNELS).enumerate() {
                    let mut found = [T::ZERO; CHANNELS];
                    let mut pixels = pixels.clone().map(|at| &x[at + block * CHANNELS..][..y.len()]);
                    if d.pooling == Pooling::Max {
                        let first = pixels.next().into_iter().flatten();
                        found.iter_mut().zip(first).for_each(|(found, p)| *found = p.real());
                        for pixel in pixels {
                            vectorised!(found.iter_mut().zip(pixel).for_each(|(found, p)| {
                                *found = if is_larger(p.real(), *found) { p.real() } else { *found };
                            }));
                        }
                        y.iter_mut().zip(found).for_each(|(y, found)| *y = S::of_real(found));
                    } else {
                        for pixel in pixels {
                            vectorised!(found.iter_mut().zip(pixel).for_each(|(sum, p)| *sum += p.real()));
                        }
                        y.iter_mut().zip(found).for_each(|(y, sum)| *y = S::of_real(sum / count));
                    }
                }
            }
        });
        Ok(())
    }

    fn pool2d_backward_input(&self, d: &Pool2d, x: &[S], dy: &[S], dx: &mut [S]) -> Result<()> {
        let (of_x, of_y) = (d.h * d.w * d.c, d.oh() * d.ow() * d.c);
        dx[..d.x_len()].par_chunks_mut(d.w * d.c).enumerate().for_each(|(line, dx)| {
            let (n, h) = (line / d.h, line % d.h);
            let (x, dy) = (&x[n * of_x..][..of_x], &dy[n * of_y..][..of_y]);
            for (at, dx) in dx.iter_mut().enumerate() {
                let (w, c) = (at / d.c, at % d.c);
                let mut sum = T::ZERO;
                for (i, j) in d.windows(h, d.oh()).flat_map(|i| d.windows(w, d.ow()).map(move |j| (i, j))) {
                    let dy = dy[(i * d.ow() + j) * d.c + c].real();
                    if d.pooling == Pooling::Average {
                        sum += dy / T::of(d.count(i, j) as f64);
                    } else if largest(d, x, [i, j, c]) == h * d.w * d.c + at {
                        sum += dy;
                    }
                }
                *dx = S::of_real(sum);
            }
        });
        Ok(())
    }
}

/// The place of the first of the largest pixels of window (i, j) in channel c.
fn largest<T: Real, S: Storage<T>>(d: &Pool2d, x: &[S], [i, j, c]: [usize; 3]) -> usize {
    let mut places = d.pixels(i, j).map(|at| at + c);
    let first = places.next().unwrap_or_default();
    places.fold(first, |best, at| if is_larger(x[at].real(), x[best].real()) { at } else { best })
}

impl AsArgument for Pool2d {
    fn argument(&self) -> Argument {
        let Pool2d { n, h, w, c, side, stride, padding, pooling } = *self;
        let average = usize::from(pooling == Pooling::Average);
        Argument::new([n, h, w, c, side, stride, padding, average, self.oh(), self.ow()].map(int))
    }
}

impl<T: Real, S: Storage<T>> Pool2dOp for Accelerator<T, S> {
    fn pool2d_forward(&self, d: &Pool2d, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()> {
        self.launch_rows(Kernel::Pool2dForward, d.n * d.oh(), &arguments![d, x, y])
    }

    fn pool2d_backward_input(
        &self,
        d: &Pool2d,
        x: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_rows(Kernel::Pool2dBackwardInput, d.n * d.h, &arguments![d, x, dy, dx])
    }
}

dry_run! {
    Pool2dOp:
    pool2d_forward(_d: &Pool2d, x, y) => x + y;
    pool2d_backward_input(_d: &Pool2d, x, dy, dx) => x + dy + dx;
}

/// One pixel, odd and even sides, windows that overlap, that leave pixels out, that reach over the border and that are the image.
pub(super) fn cases<B: Pool2dOp>() -> Vec<Case<B>> {
    let sizes = [
        (1, 1, 1, 1, 3, 1, 1),
        (2, 5, 6, 3, 3, 2, 0),
        (1, 4, 7, 2, 3, 1, 1),
        (1, 5, 4, 5, 2, 3, 1),
        (2, 3, 3, 17, 3, 1, 0),
        // Rows that are longer than a block of the kernel.
        (1, 3, 17, 33, 3, 2, 0),
    ];
    let of = |pooling| {
        sizes.map(|(n, h, w, c, side, stride, padding)| case(Pool2d { n, h, w, c, side, stride, padding, pooling }))
    };
    of(Pooling::Max).into_iter().chain(of(Pooling::Average)).collect()
}

fn case<B: Pool2dOp>(d: Pool2d) -> Case<B> {
    Case::new("pool2d", d.describe())
        .input("x", d.x_len())
        .output("y", d.y_len())
        .forward(move |be: &B, [x], [y]| be.pool2d_forward(&d, x.stored(), y.stored()))
        .backward(move |be: &B, [x], [_], [dy], [dx]| {
            be.pool2d_backward_input(&d, x.stored(), dy.stored(), dx.stored())
        })
}

/// No training step has it.
pub(super) fn passes<B: Pool2dOp>() -> Vec<Pass<B>> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pooled(d: Pool2d, x: &[f64], dy: &[f64]) -> (Vec<f64>, Vec<f64>) {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (mut y, mut dx) = (vec![0.0; d.y_len()], vec![0.0; d.x_len()]);
        cpu.pool2d_forward(&d, x, &mut y).expect("a pass");
        cpu.pool2d_backward_input(&d, x, dy, &mut dx).expect("a pass");
        (y, dx)
    }

    /// Known answers: the border does not count, equal pixels give the first the gradient, NaN is passed on.
    #[test]
    fn borders_ties_and_what_is_no_number() {
        let average = Pool2d { n: 1, h: 3, w: 3, c: 1, side: 3, stride: 1, padding: 1, pooling: Pooling::Average };
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0];
        let (y, dx) = pooled(average, &x, &[12.0, 0.0, 0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(y, [3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0]);
        assert_eq!(dx, [4.0, 4.0, 1.0, 4.0, 4.0, 1.0, 1.0, 1.0, 1.0]);
        let max = Pool2d { pooling: Pooling::Max, ..average };
        let (y, dx) = pooled(max, &[-1.0, -2.0, -2.0, -3.0, -4.0, -2.0, -5.0, -6.0, -7.0], &[1.0; 9]);
        assert_eq!(y, [-1.0, -1.0, -2.0, -1.0, -1.0, -2.0, -3.0, -2.0, -2.0]);
        assert_eq!(dx, [4.0, 2.0, 0.0, 1.0, 0.0, 2.0, 0.0, 0.0, 0.0]);
        let (y, dx) = pooled(max, &[0.0, 0.0, 0.0, 0.0, f64::NAN, 9.0, 0.0, 0.0, 0.0], &[1.0; 9]);
        assert!(y.iter().all(|y| y.is_nan()) && dx[4] == 9.0, "{y:?} {dx:?}");
    }

    /// Every pixel that both sides of the definition name: window i holds place h where i·stride − padding ≤ h < that + side.
    #[test]
    fn windows_are_those_of_the_definition() {
        for (side, stride, padding) in [(3, 1, 1), (3, 2, 0), (2, 3, 1), (5, 2, 2), (1, 1, 0), (4, 4, 0)] {
            for size in side..side + 7 {
                let d = Pool2d { n: 1, h: size, w: size, c: 1, side, stride, padding, pooling: Pooling::Max };
                for (i, h) in (0..d.oh()).flat_map(|i| (0..size).map(move |h| (i, h))) {
                    let inside = (i * stride..i * stride + side).contains(&(h + padding));
                    let found = (d.window(i, size).contains(&h), d.windows(h, d.oh()).contains(&i));
                    assert_eq!(found, (inside, inside), "{d:?}: {i} {h}");
                }
            }
        }
    }
}
