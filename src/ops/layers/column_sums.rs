//! Sums of columns on the kernels of kernels/layers/column_sums.cu: the gradient of a bias, that of a weight with one output, and
//! the end of a convolution's weight gradient. On the CPU they are in src/device/gemm.rs.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::arguments;
use crate::device::{ALIGNMENT, Accelerator, Backend, Out, Real, Storage, Stored};

const BLOCK: [u32; 3] = [size::COLUMN_THREADS_X * size::COLUMN_THREADS_Y, 1, 1];

/// Blocks for each multiprocessor of an H200 that rows are shared out to. A block of few rows waits for memory once; more blocks
/// hide that, and each leaves a part more to be joined.
const WAVES: usize = 2;

/// Rows that a block sums of the columns that `blocks` blocks share: few, so that a GPU is full.
pub(super) fn part_rows(rows: usize, blocks: usize) -> usize {
    let wanted = (WAVES * size::MULTIPROCESSORS as usize).div_ceil(blocks.max(1));
    let within = size::COLUMN_ROWS_LEAST as usize..=size::COLUMN_ROWS as usize;
    rows.div_ceil(wanted).next_multiple_of(2 * size::COLUMN_THREADS_Y as usize).clamp(*within.start(), *within.end())
}

/// Blocks of columns, and parts of their rows.
struct Parts {
    blocks: usize,
    /// Rows are taken in pairs.
    pairs: usize,
    parts: usize,
}

impl Parts {
    fn of([rows, columns]: [usize; 2]) -> Self {
        let blocks = columns.div_ceil(size::COLUMN_THREADS_X as usize);
        let pairs = part_rows(rows, blocks) / 2;
        Parts { blocks, pairs, parts: rows.div_ceil(2).div_ceil(pairs) }
    }
}

/// target = the column sums of `source` `[rows, columns]`, or they are added to it: the gradient of a bias.
pub(super) fn launch<T: Real, S: Storage<T>>(
    be: &Accelerator<T, S>,
    columns: usize,
    source: Stored<'_, Accelerator<T, S>>,
    target: Out<'_, Accelerator<T, S>>,
    accumulate: bool,
) -> Result<()> {
    launch_summed(be, [source.len() / columns, columns], source, None, [Some(target), None], accumulate)
}

/// The same of rows that are multiplied by `scales` `[rows]` before, and the sum of the scales, where it is wanted: the gradient
/// of a weight with one output, and that of its bias.
pub(super) fn launch_scaled<T: Real, S: Storage<T>>(
    be: &Accelerator<T, S>,
    shape: [usize; 2],
    source: Stored<'_, Accelerator<T, S>>,
    scales: Stored<'_, Accelerator<T, S>>,
    (target, target_of_scales): (Out<'_, Accelerator<T, S>>, Option<Out<'_, Accelerator<T, S>>>),
    accumulate: bool,
) -> Result<()> {
    launch_summed(be, shape, source, Some(scales), [Some(target), target_of_scales], accumulate)
}

fn launch_summed<T: Real, S: Storage<T>>(
    be: &Accelerator<T, S>,
    [rows, columns]: [usize; 2],
    source: Stored<'_, Accelerator<T, S>>,
    scales: Option<Stored<'_, Accelerator<T, S>>>,
    [target, target_of_scales]: [Option<Out<'_, Accelerator<T, S>>>; 2],
    accumulate: bool,
) -> Result<()> {
    let all = columns + usize::from(target_of_scales.is_some());
    let Parts { blocks, pairs, parts } = Parts::of([rows, all]);
    be.with_counted_workspace(parts * all, blocks, |partial: Out<'_, Accelerator<T, S>, f64>, counters| {
        let add = i32::from(accumulate);
        let grid = [blocks, parts, 1].map(|count| int(count).unsigned_abs());
        let arguments =
            arguments![rows, columns, pairs, source, scales, partial, counters, target, target_of_scales, add];
        be.launch(Kernel::ColumnSums, grid, BLOCK, &arguments)
    })
}

/// dw = the sum of its `parts` parts that `write` leaves in the window that it is given, and db = the column sums of `dy`, which has
/// as many columns as db; or both are added to what is there.
pub(super) fn launch_weight_gradient<T: Real, S: Storage<T>>(
    be: &Accelerator<T, S>,
    parts: usize,
    dy: Stored<'_, Accelerator<T, S>>,
    (dw, db): (Out<'_, Accelerator<T, S>>, Option<Out<'_, Accelerator<T, S>>>),
    accumulate: bool,
    write: impl FnOnce(&Out<'_, Accelerator<T, S>>) -> Result<()>,
) -> Result<()> {
    let columns = db.as_ref().map_or(0, |db| db.len());
    let rows = dy.len().checked_div(columns).unwrap_or(0);
    let (Parts { blocks, pairs, parts: row_parts }, dw_len) = (Parts::of([rows, columns]), dw.len());
    // The sums in f64 first, and behind them the parts of dw, which products may write in vectors.
    let reals = (row_parts * columns * size_of::<f64>()).next_multiple_of(ALIGNMENT as usize) / size_of::<T>();
    be.with_counted_workspace(reals + parts * dw_len, blocks, |memory: Out<'_, Accelerator<T, S>>, counters| {
        let (sums, dw_parts) = be.split_mut(memory, reals);
        write(&dw_parts)?;
        let adding = be.element_blocks(dw_len);
        let arguments = arguments![
            parts,
            dw_len as u64,
            dw_parts,
            dw,
            adding,
            blocks,
            rows,
            columns,
            pairs,
            dy,
            sums,
            counters,
            db,
            i32::from(accumulate)
        ];
        let all = adding + int(blocks * row_parts).unsigned_abs();
        be.launch(Kernel::WeightGradientAdd, [all, 1, 1], BLOCK, &arguments)
    })
}
