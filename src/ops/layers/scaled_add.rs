//! The sum that ends a residual block: y = a + scale · b, element by element, tensors of any shape and of equal length.
//!
//! It is linear in both, so the forward pass is also the tangent. The gradient of a is dy itself; that of b is made here.

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Backend, Cpu, Real, Storage, Stored, StoredOut};
use crate::ops::case::Case;
use crate::ops::models::{BATCH, BOTH};
use crate::ops::pass::{self, Pass, stored};

/// The sum's passes.
pub trait ScaledAddOp: Backend {
    /// y = a + scale · b; overwrites. Also the tangent, of both tangents.
    fn scaled_add_forward(
        &self,
        scale: f64,
        a: Stored<'_, Self>,
        b: Stored<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// db = scale · dy; overwrites. (da = dy.)
    fn scaled_add_backward_input(&self, scale: f64, dy: Stored<'_, Self>, db: StoredOut<'_, Self>) -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 14;

impl<T: Real, S: Storage<T>> ScaledAddOp for Cpu<T, S> {
    fn scaled_add_forward(&self, scale: f64, a: &[S], b: &[S], y: &mut [S]) -> Result<()> {
        let scale = T::of(scale);
        y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((y, a), b)| {
            vectorised!({
                y.iter_mut().zip(a).zip(b).for_each(|((y, a), b)| *y = S::of_real(a.real() + scale * b.real()));
            });
        });
        Ok(())
    }

    fn scaled_add_backward_input(&self, scale: f64, dy: &[S], db: &mut [S]) -> Result<()> {
        let scale = T::of(scale);
        db.par_chunks_mut(CHUNK).zip(dy.par_chunks(CHUNK)).for_each(|(db, dy)| {
            vectorised!(db.iter_mut().zip(dy).for_each(|(db, dy)| *db = S::of_real(scale * dy.real())));
        });
        Ok(())
    }
}

impl<T: Real, S: Storage<T>> ScaledAddOp for Accelerator<T, S> {
    fn scaled_add_forward(
        &self,
        scale: f64,
        a: Stored<'_, Self>,
        b: Stored<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![T::of(scale), a, b, y, y.len() as u64];
        self.launch_runs(Kernel::ScaledAddForward, y.len(), &arguments)
    }

    fn scaled_add_backward_input(&self, scale: f64, dy: Stored<'_, Self>, db: StoredOut<'_, Self>) -> Result<()> {
        let arguments = arguments![T::of(scale), dy, db, db.len() as u64];
        self.launch_runs(Kernel::ScaledAddBackwardInput, db.len(), &arguments)
    }
}

dry_run! {
    ScaledAddOp:
    scaled_add_forward(_scale: f64, a, b, y) => a + b + y;
    scaled_add_backward_input(_scale: f64, dy, db) => dy + db;
}

/// Lengths below, at and above a vector; the residual block's scale, a plain sum, and one that subtracts.
pub(super) fn cases<B: ScaledAddOp>() -> Vec<Case<B>> {
    [(0.1, 1), (0.1, 33), (1.0, 17), (-2.5, 3), (0.1, 1100)].map(|(scale, len)| case(scale, len)).into()
}

fn case<B: ScaledAddOp>(scale: f64, len: usize) -> Case<B> {
    Case::new("scaled_add", format!("scale{scale} len{len}"))
        .input("a", len)
        .input("b", len)
        .output("y", len)
        .forward(move |be: &B, [a, b], [y]| be.scaled_add_forward(scale, a.stored(), b.stored(), y.stored()))
        .backward(move |be: &B, [_, _], [_], [dy], [da, db]| {
            be.copy(dy.stored(), da.stored())?;
            be.scaled_add_backward_input(scale, dy.stored(), db.stored())
        })
        .tangent(move |be: &B, [_, _], [_], va, vy| {
            // b is held fixed, so its tangent is zero.
            let zeros = be.alloc(len)?;
            be.scaled_add_forward(scale, va.stored(), be.view(&zeros), vy.stored())
        })
}

/// Elements of the sums that end the residual blocks of `vgan-cifar10-resnet`: the generator's smallest and largest, and the
/// discriminator's largest.
fn model_sizes() -> [usize; 3] {
    [BATCH * 4 * 4 * 128, BATCH * 32 * 32 * 32, BOTH * 32 * 32 * 32]
}

/// At the sizes of the models.
pub(super) fn passes<B: ScaledAddOp>() -> Vec<Pass<B>> {
    pass::of_each(model_sizes(), passes_of)
}

fn passes_of<B: ScaledAddOp>(len: usize) -> [Pass<B>; 2] {
    let shape = format!("len{len}");
    [
        Pass::of(
            "scaled_add",
            &shape,
            "forward",
            [stored(len), stored(len)],
            [stored(len)],
            move |be: &B, [a, b], [y], _| be.scaled_add_forward(0.1, a.stored(), b.stored(), y.stored()),
        ),
        Pass::of("scaled_add", &shape, "backward_input", [stored(len)], [stored(len)], move |be: &B, [dy], [db], _| {
            be.scaled_add_backward_input(0.1, dy.stored(), db.stored())
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_a_part() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (mut y, mut db) = ([0.0; 2], [0.0; 2]);
        cpu.scaled_add_forward(0.5, &[1.0, 2.0], &[4.0, -2.0], &mut y).expect("a pass");
        cpu.scaled_add_backward_input(0.5, &[3.0, -1.0], &mut db).expect("a pass");
        assert_eq!((y, db), ([3.0, 1.0], [1.5, -0.5]));
    }
}
