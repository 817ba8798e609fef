//! Batch normalisation on the kernels of kernels/layers/batch_norm.cu.

use super::{BatchNorm, BatchNormOp};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::{Accelerator, Argument, In, Out, Real};

/// The sizes as kernels/layers/batch_norm.cu has them; rows are those of a group.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelBatchNorm {
    groups: i32,
    rows: i32,
    c: i32,
    padding: i32,
    epsilon: f64,
    momentum: f64,
}

impl AsArgument for BatchNorm {
    fn argument(&self) -> Argument {
        let [groups, rows, c] = [self.groups, self.rows / self.groups, self.c].map(int);
        let BatchNorm { epsilon, momentum, .. } = *self;
        Argument::new(KernelBatchNorm { groups, rows, c, padding: 0, epsilon, momentum })
    }
}

impl BatchNorm {
    /// Parts that a group's rows are summed in.
    fn parts(&self) -> usize {
        (self.rows / self.groups).div_ceil(size::COLUMN_ROWS as usize)
    }
}

impl<T: Real> Accelerator<T> {
    /// Two sums a column and group, part by part, into `partial` `[groups, parts, 2, C]`.
    fn launch_columns(&self, kernel: Kernel, d: &BatchNorm, arguments: &[Argument]) -> Result<()> {
        let [c, parts, groups] = [d.c, d.parts(), d.groups].map(|value| int(value).unsigned_abs());
        let block = [size::COLUMN_THREADS_X, size::COLUMN_THREADS_Y, 1];
        self.launch(kernel, [c.div_ceil(size::COLUMN_THREADS_X), parts, groups], block, arguments)
    }

    /// The sums of g and g · x̂; `plain` takes dy itself for g.
    fn launch_gradient_sums(
        &self,
        d: &BatchNorm,
        plain: bool,
        [x, y, dy, saved]: [In<'_, Self>; 4],
        sums: &Out<'_, Self>,
    ) -> Result<()> {
        self.with_workspace(d.parts() * d.saved_len(), |partial: Out<'_, Self, f64>| {
            let arguments = arguments![d, d.activation.argument::<T>(), i32::from(plain), x, y, dy, saved, partial];
            self.launch_columns(Kernel::BatchNormBackwardPartial, d, &arguments)?;
            let arguments = arguments![d, d.parts(), partial, sums];
            self.launch_elements(Kernel::BatchNormBackwardSums, d.saved_len(), &arguments)
        })
    }
}

impl<T: Real> BatchNormOp for Accelerator<T> {
    fn batch_norm_forward(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        gamma: In<'_, Self>,
        beta: In<'_, Self>,
        running: Out<'_, Self>,
        saved: Out<'_, Self>,
        y: Out<'_, Self>,
    ) -> Result<()> {
        self.with_workspace(d.parts() * d.saved_len(), |partial: Out<'_, Self, f64>| {
            self.launch_columns(Kernel::BatchNormMoments, d, &arguments![d, x, partial])?;
            let arguments = arguments![d, d.parts(), x, partial, running, saved];
            self.launch_elements(Kernel::BatchNormStatistics, d.c, &arguments)
        })?;
        let arguments = arguments![d, d.activation.argument::<T>(), x, gamma, beta, saved, y];
        self.launch_elements(Kernel::BatchNormNormalise, d.len(), &arguments)
    }

    fn batch_norm_eval(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        gamma: In<'_, Self>,
        beta: In<'_, Self>,
        running: In<'_, Self>,
        y: Out<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![d, d.activation.argument::<T>(), x, gamma, beta, running, y];
        self.launch_elements(Kernel::BatchNormEval, d.len(), &arguments)
    }

    fn batch_norm_backward_sums(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        y: In<'_, Self>,
        dy: In<'_, Self>,
        saved: In<'_, Self>,
        sums: Out<'_, Self>,
    ) -> Result<()> {
        self.launch_gradient_sums(d, false, [x, y, dy, saved], &sums)
    }

    fn batch_norm_backward_input(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        y: In<'_, Self>,
        dy: In<'_, Self>,
        gamma: In<'_, Self>,
        saved: In<'_, Self>,
        sums: In<'_, Self>,
        dx: Out<'_, Self>,
    ) -> Result<()> {
        let (f, tangent) = (d.activation.argument::<T>(), 0);
        let arguments = arguments![d, f, tangent, x, y, dy, gamma, saved, sums, dx];
        self.launch_elements(Kernel::BatchNormBackwardInput, d.len(), &arguments)
    }

    fn batch_norm_backward_weight(
        &self,
        d: &BatchNorm,
        sums: In<'_, Self>,
        dgamma: Out<'_, Self>,
        dbeta: Out<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::BatchNormBackwardWeight, d.c, &arguments![d, sums, dgamma, dbeta])
    }

    fn batch_norm_tangent(
        &self,
        d: &BatchNorm,
        x: In<'_, Self>,
        y: In<'_, Self>,
        vx: In<'_, Self>,
        gamma: In<'_, Self>,
        saved: In<'_, Self>,
        sums: Out<'_, Self>,
        vy: Out<'_, Self>,
    ) -> Result<()> {
        self.launch_gradient_sums(d, true, [x, y, vx, saved], &sums)?;
        let (f, tangent) = (d.activation.argument::<T>(), 1);
        let arguments = arguments![d, f, tangent, x, y, vx, gamma, saved, sums, vy];
        self.launch_elements(Kernel::BatchNormBackwardInput, d.len(), &arguments)
    }
}
