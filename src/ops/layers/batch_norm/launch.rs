//! Batch normalisation on the kernels of kernels/layers/batch_norm.cu.

use super::{BatchNorm, BatchNormOp};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::{Accelerator, Argument, In, Launcher, Out, Real};

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

impl BatchNorm {
    fn argument(&self) -> Argument {
        let [groups, rows, c] = [self.groups, self.rows / self.groups, self.c].map(int);
        let BatchNorm { epsilon, momentum, .. } = *self;
        Argument::new(KernelBatchNorm { groups, rows, c, padding: 0, epsilon, momentum })
    }

    /// Parts that a group's rows are summed in.
    fn parts(&self) -> usize {
        (self.rows / self.groups).div_ceil(size::COLUMN_ROWS as usize)
    }

    /// Elements of x.
    fn len(&self) -> usize {
        self.rows * self.c
    }
}

impl<L: Launcher, T: Real> Accelerator<L, T> {
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
        [x, y, dy, saved]: [Argument; 4],
        sums: Argument,
    ) -> Result<()> {
        self.with_workspace(2 * d.groups * d.parts() * d.c, |partial: Out<'_, Self, f64>| {
            let (f, plain) = (d.activation.argument::<T>(), Argument::new(i32::from(plain)));
            let arguments = [d.argument(), f, plain, x, y, dy, saved, partial.argument()];
            self.launch_columns(Kernel::BatchNormBackwardPartial, d, &arguments)?;
            let arguments = [d.argument(), Argument::new(int(d.parts())), partial.argument(), sums];
            self.launch_elements(Kernel::BatchNormBackwardSums, 2 * d.groups * d.c, &arguments)
        })
    }
}

impl<L: Launcher, T: Real> BatchNormOp for Accelerator<L, T> {
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
        self.with_workspace(2 * d.groups * d.parts() * d.c, |partial: Out<'_, Self, f64>| {
            let partial = partial.argument();
            self.launch_columns(Kernel::BatchNormMoments, d, &[d.argument(), x.argument(), partial])?;
            let parts = Argument::new(int(d.parts()));
            let arguments = [d.argument(), parts, x.argument(), partial, running.argument(), saved.argument()];
            self.launch_elements(Kernel::BatchNormStatistics, d.c, &arguments)
        })?;
        let f = d.activation.argument::<T>();
        let [x, gamma, beta] = [x, gamma, beta].map(|view| view.argument());
        let arguments = [d.argument(), f, x, gamma, beta, saved.argument(), y.argument()];
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
        let [x, gamma, beta, running] = [x, gamma, beta, running].map(|view| view.argument());
        let arguments = [d.argument(), d.activation.argument::<T>(), x, gamma, beta, running, y.argument()];
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
        self.launch_gradient_sums(d, false, [x, y, dy, saved].map(|view| view.argument()), sums.argument())
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
        let (f, plain) = (d.activation.argument::<T>(), Argument::new(0i32));
        let [x, y, dy, gamma, saved, sums] = [x, y, dy, gamma, saved, sums].map(|view| view.argument());
        let arguments = [d.argument(), f, plain, x, y, dy, gamma, saved, sums, dx.argument()];
        self.launch_elements(Kernel::BatchNormBackwardInput, d.len(), &arguments)
    }

    fn batch_norm_backward_weight(
        &self,
        d: &BatchNorm,
        sums: In<'_, Self>,
        dgamma: Out<'_, Self>,
        dbeta: Out<'_, Self>,
    ) -> Result<()> {
        let arguments = [d.argument(), sums.argument(), dgamma.argument(), dbeta.argument()];
        self.launch_elements(Kernel::BatchNormBackwardWeight, d.c, &arguments)
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
        let [x, y, vx, gamma, saved] = [x, y, vx, gamma, saved].map(|view| view.argument());
        self.launch_gradient_sums(d, true, [x, y, vx, saved], sums.argument())?;
        let (f, tangent) = (d.activation.argument::<T>(), Argument::new(1i32));
        let arguments = [d.argument(), f, tangent, x, y, vx, gamma, saved, sums.argument(), vy.argument()];
        self.launch_elements(Kernel::BatchNormBackwardInput, d.len(), &arguments)
    }
}
