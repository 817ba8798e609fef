//! The sum that ends a residual block: y = a + scale · b, element by element, tensors of any shape and of equal length.
//!
//! It is linear in both, so the forward pass is also the tangent. The gradient of a is dy itself; that of b is made here.

use rayon::prelude::*;

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Launcher, Out, Real};
use crate::ops::case::OldCase;
use crate::ops::models::{BATCH, BOTH};
use crate::ops::pass::Pass;
use crate::ops::{Executor, Tensor};

/// The sum's passes.
pub trait ScaledAddOp: Backend {
    /// y = a + scale · b; overwrites. Also the tangent, of both tangents.
    fn scaled_add_forward(&self, scale: f64, a: In<'_, Self>, b: In<'_, Self>, y: Out<'_, Self>) -> Result<()>;

    /// db = scale · dy; overwrites. (da = dy.)
    fn scaled_add_backward_input(&self, scale: f64, dy: In<'_, Self>, db: Out<'_, Self>) -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 14;

impl<T: Real> ScaledAddOp for Cpu<T> {
    fn scaled_add_forward(&self, scale: f64, a: &[T], b: &[T], y: &mut [T]) -> Result<()> {
        let scale = T::of(scale);
        y.par_chunks_mut(CHUNK).zip(a.par_chunks(CHUNK)).zip(b.par_chunks(CHUNK)).for_each(|((y, a), b)| {
            vectorised(|| y.iter_mut().zip(a).zip(b).for_each(|((y, &a), &b)| *y = a + scale * b));
        });
        Ok(())
    }

    fn scaled_add_backward_input(&self, scale: f64, dy: &[T], db: &mut [T]) -> Result<()> {
        let scale = T::of(scale);
        db.par_chunks_mut(CHUNK).zip(dy.par_chunks(CHUNK)).for_each(|(db, dy)| {
            vectorised(|| db.iter_mut().zip(dy).for_each(|(db, &dy)| *db = scale * dy));
        });
        Ok(())
    }
}

impl<L: Launcher, T: Real> ScaledAddOp for Accelerator<L, T> {
    fn scaled_add_forward(&self, scale: f64, a: In<'_, Self>, b: In<'_, Self>, y: Out<'_, Self>) -> Result<()> {
        let count = Argument::new(y.len() as u64);
        let arguments = [Argument::new(T::of(scale)), a.argument(), b.argument(), y.argument(), count];
        self.launch_elements(Kernel::ScaledAddForward, y.len(), &arguments)
    }

    fn scaled_add_backward_input(&self, scale: f64, dy: In<'_, Self>, db: Out<'_, Self>) -> Result<()> {
        let count = Argument::new(db.len() as u64);
        let arguments = [Argument::new(T::of(scale)), dy.argument(), db.argument(), count];
        self.launch_elements(Kernel::ScaledAddBackwardInput, db.len(), &arguments)
    }
}

struct ScaledAddCase {
    scale: f64,
    len: usize,
}

/// Lengths below, at and above a vector; the residual block's scale, a plain sum, and one that subtracts.
pub fn cases<B: Executor>() -> Vec<Box<dyn OldCase<B>>> {
    [(0.1, 1), (0.1, 33), (1.0, 17), (-2.5, 3), (0.1, 1000)]
        .into_iter()
        .map(|(scale, len)| Box::new(ScaledAddCase { scale, len }) as Box<dyn OldCase<B>>)
        .collect()
}

impl<B: Executor> OldCase<B> for ScaledAddCase {
    fn op(&self) -> &'static str {
        "scaled_add"
    }
    fn name(&self) -> String {
        format!("scale{} len{}", self.scale, self.len)
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("a", self.len), Tensor::new("b", self.len)]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("y", self.len)]
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        be.scaled_add_forward(self.scale, be.view(&inputs[0]), be.view(&inputs[1]), be.view_mut(&mut outputs[0]))
    }
    fn backward(
        &self,
        be: &B,
        _inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let (dy, [da, db]) = (be.view(&d_outputs[0]), d_inputs) else { unreachable!("two inputs") };
        be.copy(dy, be.view_mut(da))?;
        be.scaled_add_backward_input(self.scale, dy, be.view_mut(db))
    }
    fn has_tangent(&self) -> bool {
        true
    }
    fn tangent(
        &self,
        be: &B,
        _inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        v_input: &Buffer<B>,
        v_outputs: &mut [Buffer<B>],
    ) -> Option<Result<()>> {
        // b is held fixed, so its tangent is zero.
        let tangent = be.alloc(self.len).and_then(|fixed| {
            be.scaled_add_forward(self.scale, be.view(v_input), be.view(&fixed), be.view_mut(&mut v_outputs[0]))
        });
        Some(tangent)
    }
}

/// Elements of the sums that end the residual blocks of `vgan-cifar10-resnet`: the generator's smallest and largest, and the
/// discriminator's largest.
fn model_sizes() -> [usize; 3] {
    [BATCH * 4 * 4 * 128, BATCH * 32 * 32 * 32, BOTH * 32 * 32 * 32]
}

/// At the sizes of the models.
pub(super) fn passes<B: ScaledAddOp>() -> Vec<Pass<B>> {
    model_sizes().into_iter().flat_map(passes_of).collect()
}

fn passes_of<B: ScaledAddOp>(len: usize) -> [Pass<B>; 2] {
    let shape = format!("len{len}");
    [
        Pass::of("scaled_add", &shape, "forward", [len, len], [len], move |be: &B, [a, b], [y], _| {
            be.scaled_add_forward(0.1, a, b, y)
        }),
        Pass::of("scaled_add", &shape, "backward_input", [len], [len], move |be: &B, [dy], [db], _| {
            be.scaled_add_backward_input(0.1, dy, db)
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
