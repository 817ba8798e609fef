//! Batch normalisation on the kernels of kernels/layers/batch_norm.cu.

use super::{BatchNorm, BatchNormOp};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::{Accelerator, Argument, Backend, In, Out, Real, Storage, Stored, StoredOut};
use crate::ops::layers::column_sums::part_rows;

/// The sizes as kernels/layers/batch_norm.cu has them; rows are those of a group.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelBatchNorm {
    groups: i32,
    rows: i32,
    c: i32,
    part_rows: i32,
    ranks: i32,
    padding: i32,
    epsilon: f64,
    momentum: f64,
}

impl AsArgument for BatchNorm {
    fn argument(&self) -> Argument {
        let sizes = [self.groups, self.group_rows(), self.c, self.part_rows(), self.ranks];
        let ([groups, rows, c, part_rows, ranks], padding) = (sizes.map(int), 0);
        let BatchNorm { epsilon, momentum, .. } = *self;
        Argument::new(KernelBatchNorm { groups, rows, c, part_rows, ranks, padding, epsilon, momentum })
    }
}

const BLOCK: [u32; 3] = [size::COLUMN_THREADS_X, size::COLUMN_THREADS_Y, 1];

impl BatchNorm {
    fn group_rows(&self) -> usize {
        self.rows / self.groups
    }
    /// Rows of a group that a block sums.
    fn part_rows(&self) -> usize {
        match self.group_rows() {
            rows if rows <= size::WHOLE_PASS_ROWS as usize => rows,
            rows => part_rows(rows, self.column_blocks() * self.groups),
        }
    }
    /// Parts that a group's rows are summed in.
    fn parts(&self) -> usize {
        self.group_rows().div_ceil(self.part_rows())
    }
    /// Whether a block does a whole pass for its columns: there is one part, and nothing to be told by other ranks in between.
    fn is_one_launch(&self) -> bool {
        self.parts() == 1 && self.ranks == 1
    }
    /// Blocks of columns.
    fn column_blocks(&self) -> usize {
        self.c.div_ceil(size::COLUMN_THREADS_X as usize)
    }
    /// Blocks of a launch that sums parts.
    fn grid(&self) -> [u32; 3] {
        [self.column_blocks(), self.parts(), self.groups].map(|value| int(value).unsigned_abs())
    }
}

/// The buffers that a backward pass reads.
#[derive(Clone, Copy)]
struct Read<'a, T: Real, S: Storage<T>> {
    x: Stored<'a, Accelerator<T, S>>,
    y: Stored<'a, Accelerator<T, S>>,
    dy: Stored<'a, Accelerator<T, S>>,
    gamma: In<'a, Accelerator<T, S>>,
    saved: In<'a, Accelerator<T, S>>,
}

impl<T: Real, S: Storage<T>> Accelerator<T, S> {
    /// The sums, and what is wanted of dx and of dγ and dβ; with `tangent` the tangent pass, for which dy is vx and dx vy.
    fn launch_backward(
        &self,
        d: &BatchNorm,
        tangent: bool,
        read: Read<'_, T, S>,
        mut sums: Out<'_, Self>,
        dx: Option<&StoredOut<'_, Self>>,
        weight: Option<&[Out<'_, Self>; 2]>,
        accumulate: bool,
    ) -> Result<()> {
        let add = i32::from(accumulate);
        let (f, tangent, Read { x, y, dy, gamma, saved }) = (d.activation.argument::<T>(), i32::from(tangent), read);
        let [dgamma, dbeta] = [weight.map(|weight| &weight[0]), weight.map(|weight| &weight[1])];
        if d.is_one_launch() {
            let [columns, ..] = d.grid();
            let arguments = arguments![d, f, tangent, x, y, dy, gamma, saved, sums, dx, dgamma, dbeta, add];
            return self.launch(Kernel::BatchNormBackward, [columns, 1, 1], BLOCK, &arguments);
        }
        let partial_len = d.parts() * d.saved_len();
        self.with_counted_workspace(partial_len, d.column_blocks(), |partial: Out<'_, Self, f64>, counters| {
            let arguments = arguments![d, f, tangent, x, y, dy, saved, partial, counters, sums, dgamma, dbeta, add];
            self.launch(Kernel::BatchNormBackwardSums, d.grid(), BLOCK, &arguments)
        })?;
        let Some(dx) = dx else { return Ok(()) };
        if d.ranks > 1 {
            self.sum_over_ranks(self.reborrow(&mut sums))?;
        }
        let arguments = arguments![d, f, tangent, x, y, dy, gamma, saved, sums, dx];
        self.launch_runs_of_groups(Kernel::BatchNormBackwardInput, d.group_rows() * d.c, d.groups, &arguments)
    }
}

impl<T: Real, S: Storage<T>> BatchNormOp for Accelerator<T, S> {
    fn batch_norm_forward(
        &self,
        d: &BatchNorm,
        x: Stored<'_, Self>,
        gamma: In<'_, Self>,
        beta: In<'_, Self>,
        mut running: Out<'_, Self>,
        mut saved: Out<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        let f = d.activation.argument::<T>();
        if d.is_one_launch() {
            let [columns, ..] = d.grid();
            let arguments = arguments![d, f, x, gamma, beta, running, saved, y];
            return self.launch(Kernel::BatchNormForward, [columns, 1, 1], BLOCK, &arguments);
        }
        let partial_len = d.parts() * d.saved_len();
        self.with_counted_workspace(partial_len, d.column_blocks(), |partial: Out<'_, Self, f64>, counters| {
            // Where other ranks have rows too, the running statistics wait for theirs.
            let own = BatchNorm { momentum: if d.ranks > 1 { 0.0 } else { d.momentum }, ..*d };
            let arguments = arguments![own, x, partial, counters, running, saved];
            self.launch(Kernel::BatchNormStatistics, d.grid(), BLOCK, &arguments)
        })?;
        if d.ranks > 1 {
            self.with_workspace(d.ranks * d.saved_len(), |mut gathered: Out<'_, Self>| {
                let own = self.freeze(self.reborrow(&mut saved));
                self.gather_from_ranks(own, self.reborrow(&mut gathered))?;
                self.batch_norm_join(d, self.freeze(gathered), self.reborrow(&mut running), self.reborrow(&mut saved))
            })?;
        }
        let arguments = arguments![d, f, x, gamma, beta, saved, y];
        self.launch_runs_of_groups(Kernel::BatchNormNormalise, d.group_rows() * d.c, d.groups, &arguments)
    }

    fn batch_norm_join(
        &self,
        d: &BatchNorm,
        gathered: In<'_, Self>,
        running: Out<'_, Self>,
        saved: Out<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::BatchNormJoin, d.c, &arguments![d, gathered, running, saved])
    }

    fn batch_norm_eval(
        &self,
        d: &BatchNorm,
        x: Stored<'_, Self>,
        gamma: In<'_, Self>,
        beta: In<'_, Self>,
        running: In<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![d, d.activation.argument::<T>(), x, gamma, beta, running, y];
        self.launch_runs(Kernel::BatchNormEval, d.len(), &arguments)
    }

    fn batch_norm_backward(
        &self,
        d: &BatchNorm,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        gamma: In<'_, Self>,
        saved: In<'_, Self>,
        sums: Out<'_, Self>,
        dx: Option<StoredOut<'_, Self>>,
        weight: Option<[Out<'_, Self>; 2]>,
        accumulate: bool,
    ) -> Result<()> {
        self.launch_backward(d, false, Read { x, y, dy, gamma, saved }, sums, dx.as_ref(), weight.as_ref(), accumulate)
    }

    fn batch_norm_tangent(
        &self,
        d: &BatchNorm,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        vx: Stored<'_, Self>,
        gamma: In<'_, Self>,
        saved: In<'_, Self>,
        sums: Out<'_, Self>,
        vy: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_backward(d, true, Read { x, y, dy: vx, gamma, saved }, sums, Some(&vy), None, true)
    }
}
