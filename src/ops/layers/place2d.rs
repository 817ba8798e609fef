//! Images as a part of larger ones: x `[N, H, W, C]` at row `top` and column `left` of y `[N, OH, OW, OC]`, in its channels `first` to
//! `first + C`, with zeros around it in these channels:
//!
//! `y[n, i, j, first + c] = x[n, i − top, j − left, c]`, 0 where that is outside of x
//!
//! It is padding (PyTorch's `ZeroPad2d`) where y has no other channels, and a part of a concatenation (`torch.cat(…, dim=1)`) where
//! rows and columns are the same: each of the parts is placed on its own. It is linear in x, so the forward pass is also the tangent.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, Real, Storage, Stored, StoredOut};
use crate::ops::case::Case;
use crate::ops::pass::Pass;

/// The sizes, and where x lies in y.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place2d {
    /// Images.
    pub n: usize,
    /// Rows of x.
    pub h: usize,
    /// Columns of x.
    pub w: usize,
    /// Channels of x.
    pub c: usize,
    /// The row of y where x begins; x ends within y.
    pub top: usize,
    /// The column of y where x begins; x ends within y.
    pub left: usize,
    /// The channel of y where x begins; x ends within y.
    pub first: usize,
    /// Rows of y.
    pub oh: usize,
    /// Columns of y.
    pub ow: usize,
    /// Channels of y.
    pub oc: usize,
}

impl Place2d {
    /// Elements of x.
    pub fn x_len(&self) -> usize {
        self.n * self.h * self.w * self.c
    }
    /// Elements of y.
    pub fn y_len(&self) -> usize {
        self.n * self.oh * self.ow * self.oc
    }

    /// The sizes in few words.
    fn describe(&self) -> String {
        let Place2d { n, h, w, c, top, left, first, oh, ow, oc } = self;
        format!("n{n} {h}x{w}x{c} at {top},{left},{first} of {oh}x{ow}x{oc}")
    }
}

/// The passes.
pub trait Place2dOp: Backend {
    /// y's channels from `first` on = x with zeros around it; the others stay as they are. Also the tangent.
    fn place2d_forward(&self, d: &Place2d, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()>;

    /// dx = dy where x was placed; overwrites.
    fn place2d_backward_input(&self, d: &Place2d, dy: Stored<'_, Self>, dx: StoredOut<'_, Self>) -> Result<()>;
}

impl<T: Real, S: Storage<T>> Place2dOp for Cpu<T, S> {
    fn place2d_forward(&self, d: &Place2d, x: &[S], y: &mut [S]) -> Result<()> {
        let row = d.w * d.c;
        y[..d.y_len()].par_chunks_mut(d.ow * d.oc).enumerate().for_each(|(line, y)| {
            let (n, i) = (line / d.oh, line % d.oh);
            let x = i.checked_sub(d.top).filter(|i| *i < d.h).map(|i| &x[(n * d.h + i) * row..][..row]);
            for (j, y) in y.chunks_exact_mut(d.oc).enumerate() {
                let target = &mut y[d.first..d.first + d.c];
                match x.zip(j.checked_sub(d.left).filter(|j| *j < d.w)) {
                    Some((x, j)) => target.copy_from_slice(&x[j * d.c..][..d.c]),
                    None => target.fill(S::of_real(T::ZERO)),
                }
            }
        });
        Ok(())
    }

    fn place2d_backward_input(&self, d: &Place2d, dy: &[S], dx: &mut [S]) -> Result<()> {
        dx[..d.x_len()].par_chunks_mut(d.w * d.c).enumerate().for_each(|(line, dx)| {
            let (n, h) = (line / d.h, line % d.h);
            let dy = &dy[((n * d.oh + d.top + h) * d.ow + d.left) * d.oc..];
            for (dx, dy) in dx.chunks_exact_mut(d.c).zip(dy.chunks_exact(d.oc)) {
                dx.copy_from_slice(&dy[d.first..d.first + d.c]);
            }
        });
        Ok(())
    }
}

impl AsArgument for Place2d {
    fn argument(&self) -> Argument {
        let Place2d { n, h, w, c, top, left, first, oh, ow, oc } = *self;
        Argument::new([n, h, w, c, top, left, first, oh, ow, oc].map(int))
    }
}

impl<T: Real, S: Storage<T>> Place2dOp for Accelerator<T, S> {
    fn place2d_forward(&self, d: &Place2d, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()> {
        self.launch_rows(Kernel::Place2dForward, d.n * d.oh, &arguments![d, x, y])
    }

    fn place2d_backward_input(&self, d: &Place2d, dy: Stored<'_, Self>, dx: StoredOut<'_, Self>) -> Result<()> {
        self.launch_rows(Kernel::Place2dBackwardInput, d.n * d.h, &arguments![d, dy, dx])
    }
}

dry_run! {
    Place2dOp:
    // Of y its own channels alone.
    place2d_forward(_d: &Place2d, x, _y) => 2 * x;
    place2d_backward_input(_d: &Place2d, _dy, dx) => 2 * dx;
}

/// The whole of y; padding on all sides, of unequal widths; the first, an inner and the last channels; rows longer than a block.
pub(super) fn cases<B: Place2dOp>() -> Vec<Case<B>> {
    let sizes = [
        ([1, 1, 1, 1], [0, 0, 0], [1, 1, 1]),
        ([2, 3, 2, 5], [1, 2, 0], [5, 5, 5]),
        ([1, 2, 4, 3], [0, 3, 0], [2, 10, 3]),
        ([2, 3, 3, 2], [0, 0, 0], [3, 3, 7]),
        ([3, 2, 5, 4], [0, 0, 3], [2, 5, 9]),
        ([1, 2, 3, 17], [1, 0, 2], [3, 4, 19]),
        ([1, 2, 17, 33], [0, 1, 1], [2, 18, 34]),
    ];
    let of = |([n, h, w, c], [top, left, first], [oh, ow, oc]): ([usize; 4], [usize; 3], [usize; 3])| {
        case(Place2d { n, h, w, c, top, left, first, oh, ow, oc })
    };
    sizes.map(of).into()
}

fn case<B: Place2dOp>(d: Place2d) -> Case<B> {
    Case::new("place2d", d.describe())
        .input("x", d.x_len())
        .output("y", d.y_len())
        .forward(move |be: &B, [x], [y]| be.place2d_forward(&d, x.stored(), y.stored()))
        .backward(move |be: &B, [_], [_], [dy], [dx]| be.place2d_backward_input(&d, dy.stored(), dx.stored()))
        .tangent(move |be: &B, [_], [_], vx, vy| be.place2d_forward(&d, vx.stored(), vy.stored()))
}

/// No training step has it.
pub(super) fn passes<B: Place2dOp>() -> Vec<Pass<B>> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_around_is_zero_in_its_own_channels_alone() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let d = Place2d { n: 1, h: 1, w: 2, c: 1, top: 1, left: 0, first: 1, oh: 2, ow: 3, oc: 3 };
        let mut y = vec![9.0; d.y_len()];
        cpu.place2d_forward(&d, &[5.0, 7.0], &mut y).expect("a pass");
        let pixel = |own| [9.0, own, 9.0];
        assert_eq!(y, [[0.0; 3], [5.0, 7.0, 0.0]].concat().into_iter().flat_map(pixel).collect::<Vec<_>>());
    }
}
