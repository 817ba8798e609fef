//! The class beside the features: x `[N, C]` and the embedding of each image's class, E `[K, W]`, divided by its length:
//!
//! `y[n]` = [`x[n]`, e / ‖e‖₂], e = `E[class[n]]`
//!
//! So the generator of the paper's code is told a class (`gan_training/models/resnet.py` of akanazawa/vgan, which builds on Mescheder
//! et al. 2018), and, before a hidden layer, the discriminator of Mirza & Osindero 2014. With u = e / ‖e‖ and du the sum of the last W
//! columns of dy over the images of a class,
//!
//! `∂L/∂e` = (du − u ⟨u, du⟩) / ‖e‖,
//!
//! and 0 for a class that no image has. y is linear in x; the embedding does not depend on it.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Buffer, Cpu, In, Out, Real, Storage, Stored, StoredOut};
use crate::ops::case::{self, Case};
use crate::ops::models::BATCH;
use crate::ops::pass::{Pass, Work, filled};

/// Sizes of a concatenation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassConcat {
    /// Images.
    pub n: usize,
    /// C, features of an image.
    pub c: usize,
    /// K, the classes.
    pub classes: usize,
    /// W, the width of the embedding.
    pub width: usize,
}

impl ClassConcat {
    /// Elements of one image's y.
    pub fn y_len(&self) -> usize {
        self.c + self.width
    }
}

/// The concatenation's passes. The classes are numbers below K.
pub trait ClassConcatOp: Backend {
    /// y `[N, C + W]` from x `[N, C]`, classes `[N]` and e `[K, W]`; overwrites y.
    fn class_concat_forward(
        &self,
        d: &ClassConcat,
        x: Stored<'_, Self>,
        classes: In<'_, Self, u32>,
        e: In<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dx `[N, C]` = the first C columns of dy `[N, C + W]`; overwrites dx.
    fn class_concat_backward_input(&self, d: &ClassConcat, dy: Stored<'_, Self>, dx: StoredOut<'_, Self>)
    -> Result<()>;

    /// de `[K, W]` from dy `[N, C + W]`; overwrites de, or adds to it with `accumulate`. Every row is written.
    fn class_concat_backward_weight(
        &self,
        d: &ClassConcat,
        classes: In<'_, Self, u32>,
        e: In<'_, Self>,
        dy: Stored<'_, Self>,
        de: Out<'_, Self>,
        accumulate: bool,
    ) -> Result<()>;

    /// vy = [vx, 0]; overwrites vy.
    fn class_concat_tangent(&self, d: &ClassConcat, vx: Stored<'_, Self>, vy: StoredOut<'_, Self>) -> Result<()>;
}

/// ‖e‖₂² in double precision.
fn squares<T: Real>(e: &[T]) -> f64 {
    e.iter().map(|value| value.to_f64() * value.to_f64()).sum()
}

/// Columns of an embedding whose gradients are summed at once.
const BLOCK: usize = 64;

impl<T: Real, S: Storage<T>> ClassConcatOp for Cpu<T, S> {
    fn class_concat_forward(&self, d: &ClassConcat, x: &[S], classes: &[u32], e: &[T], y: &mut [S]) -> Result<()> {
        y.par_chunks_mut(d.y_len()).zip(x.par_chunks(d.c)).zip(classes).for_each(|((y, x), &class)| {
            let (features, embedding) = y.split_at_mut(d.c);
            features.copy_from_slice(x);
            let row = &e[class as usize * d.width..][..d.width];
            // One division an image, as in the kernel.
            let factor = 1.0 / squares(row).sqrt();
            embedding.iter_mut().zip(row).for_each(|(y, e)| *y = S::of_real(T::of(e.to_f64() * factor)));
        });
        Ok(())
    }

    fn class_concat_backward_input(&self, d: &ClassConcat, dy: &[S], dx: &mut [S]) -> Result<()> {
        let images = dx.par_chunks_mut(d.c).zip(dy.par_chunks(d.y_len()));
        images.for_each(|(dx, dy)| dx.copy_from_slice(&dy[..d.c]));
        Ok(())
    }

    fn class_concat_backward_weight(
        &self,
        d: &ClassConcat,
        classes: &[u32],
        e: &[T],
        dy: &[S],
        de: &mut [T],
        accumulate: bool,
    ) -> Result<()> {
        de.par_chunks_mut(d.width).zip(e.par_chunks(d.width)).enumerate().for_each(|(one, (de, row))| {
            let of_class = || classes.iter().zip(dy.chunks(d.y_len())).filter(|&(&class, _)| class as usize == one);
            let comes = of_class().next().is_some();
            // Block by block, and twice: no memory for a row is taken in a step.
            let sums_of = |block: usize| {
                let mut sums = [0.0; BLOCK];
                for (_, dy) in of_class() {
                    sums.iter_mut().zip(&dy[d.c + block * BLOCK..]).for_each(|(sum, dy)| *sum += dy.real().to_f64());
                }
                sums
            };
            let squares = squares(row);
            let mut along = 0.0;
            for (block, row) in row.chunks(BLOCK).enumerate() {
                row.iter().zip(sums_of(block)).for_each(|(e, sum)| along += e.to_f64() * sum);
            }
            along /= squares;
            for (block, (de, row)) in de.chunks_mut(BLOCK).zip(row.chunks(BLOCK)).enumerate() {
                for ((de, e), sum) in de.iter_mut().zip(row).zip(sums_of(block)) {
                    let gradient = T::of(if comes { (sum - e.to_f64() * along) / squares.sqrt() } else { 0.0 });
                    *de = if accumulate { *de + gradient } else { gradient };
                }
            }
        });
        Ok(())
    }

    fn class_concat_tangent(&self, d: &ClassConcat, vx: &[S], vy: &mut [S]) -> Result<()> {
        vy.par_chunks_mut(d.y_len()).zip(vx.par_chunks(d.c)).for_each(|(vy, vx)| {
            let (features, embedding) = vy.split_at_mut(d.c);
            features.copy_from_slice(vx);
            embedding.fill(S::of_real(T::ZERO));
        });
        Ok(())
    }
}

/// The sizes as kernels/layers/class_concat.cu has them.
impl AsArgument for ClassConcat {
    fn argument(&self) -> Argument {
        Argument::new([self.n, self.c, self.classes, self.width].map(int))
    }
}

impl<T: Real, S: Storage<T>> ClassConcatOp for Accelerator<T, S> {
    fn class_concat_forward(
        &self,
        d: &ClassConcat,
        x: Stored<'_, Self>,
        classes: In<'_, Self, u32>,
        e: In<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_images(Kernel::ClassConcatForward, d.n, &arguments![d, x, classes, e, y])
    }

    fn class_concat_backward_input(
        &self,
        d: &ClassConcat,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::ClassConcatBackwardInput, d.n * d.c, &arguments![d, dy, dx])
    }

    fn class_concat_backward_weight(
        &self,
        d: &ClassConcat,
        classes: In<'_, Self, u32>,
        e: In<'_, Self>,
        dy: Stored<'_, Self>,
        de: Out<'_, Self>,
        accumulate: bool,
    ) -> Result<()> {
        let arguments = arguments![d, classes, e, dy, de, i32::from(accumulate)];
        self.launch_images(Kernel::ClassConcatBackwardWeight, d.classes, &arguments)
    }

    fn class_concat_tangent(&self, d: &ClassConcat, vx: Stored<'_, Self>, vy: StoredOut<'_, Self>) -> Result<()> {
        self.launch_elements(Kernel::ClassConcatTangent, d.n * d.y_len(), &arguments![d, vx, vy])
    }
}

dry_run! {
    ClassConcatOp:
    class_concat_forward(_d: &ClassConcat, x, classes, e, y) => x + classes + e + y;
    class_concat_backward_input(_d: &ClassConcat, _dy, dx) => 2 * dx;
    class_concat_backward_weight(_d: &ClassConcat, classes, e, dy, de, _accumulate: bool) => classes + e + dy + de;
    class_concat_tangent(_d: &ClassConcat, vx, vy) => vx + vy;
}

/// One image and many, widths of 1 and beyond a block's threads, a class that no image has; gradients that are overwritten and added.
pub(super) fn cases<B: ClassConcatOp>() -> Vec<Case<B>> {
    let sizes = [(1, 1, 2, 2), (3, 5, 4, 17), (17, 19, 3, 1), (6, 33, 7, 3), (2, 3, 2, 260), (5, 3, 300, 1)];
    sizes.map(|(n, c, classes, width)| case(ClassConcat { n, c, classes, width })).into()
}

/// A class for each image: neighbours differ, classes come again, and where there are more of them than images some never do.
pub(super) fn some_classes<B: Backend>(be: &B, n: usize, classes: usize) -> Result<Buffer<B, u32>> {
    let class = |i: usize| u32::try_from((5 * i + i / 3 + 1) % classes).unwrap_or_default();
    be.buffer_of(&(0..n).map(class).collect::<Vec<_>>())
}

fn case<B: ClassConcatOp>(d: ClassConcat) -> Case<B> {
    let ClassConcat { n, c, classes, width } = d;
    // Both ways are taken: by sizes with an even number of images, and by the others.
    let accumulates = n % 2 == 0;
    Case::new("class_concat", format!("n{n} c{c} k{classes} w{width}"))
        .input("x", n * c)
        .real_input("e", classes * width)
        .output("y", n * d.y_len())
        .forward(move |be: &B, [x, e], [y]| {
            let classes = some_classes(be, n, classes)?;
            be.class_concat_forward(&d, x.stored(), be.view(&classes), e.real(), y.stored())
        })
        .backward(move |be: &B, [_, e], _, [dy], [dx, de]| {
            let classes = some_classes(be, n, classes)?;
            be.class_concat_backward_input(&d, dy.stored(), dx.stored())?;
            let [de] = case::gradients(be, [de.real()], accumulates)?;
            be.class_concat_backward_weight(&d, be.view(&classes), e.real(), dy.stored(), de, accumulates)
        })
        .tangent(move |be: &B, [_, _], [_], vx, vy| be.class_concat_tangent(&d, vx.stored(), vy.stored()))
}

/// Ten classes before the first layer of the generator of `vgan-cifar10-resnet`, embedded as the paper's code does, with memory of
/// their own: the classes are neither stored nor real.
pub(super) fn passes<B: ClassConcatOp>() -> [Pass<B>; 4] {
    const OP: &str = "class_concat";
    let d = ClassConcat { n: BATCH, c: 256, classes: 10, width: 256 };
    let shape = || format!("n{} c{} k{} w{}", d.n, d.c, d.classes, d.width);
    let (x_len, y_len, e_len) = (d.n * d.c, d.n * d.y_len(), d.classes * d.width);
    [
        Pass::new(OP, shape(), "forward", move |be: B| {
            let (x, e, classes) = (be.alloc(x_len)?, filled(&be, e_len)?, some_classes(&be, d.n, d.classes)?);
            let mut y = be.alloc(y_len)?;
            let work =
                move || be.class_concat_forward(&d, be.view(&x), be.view(&classes), be.view(&e), be.view_mut(&mut y));
            Ok(Box::new(work) as Work)
        }),
        Pass::new(OP, shape(), "backward_input", move |be: B| {
            let (dy, mut dx) = (be.alloc(y_len)?, be.alloc(x_len)?);
            Ok(Box::new(move || be.class_concat_backward_input(&d, be.view(&dy), be.view_mut(&mut dx))) as Work)
        }),
        Pass::new(OP, shape(), "backward_weight", move |be: B| {
            let (e, dy, classes) = (filled(&be, e_len)?, be.alloc(y_len)?, some_classes(&be, d.n, d.classes)?);
            let mut de = be.alloc(e_len)?;
            let work = move || {
                let (classes, e, dy) = (be.view(&classes), be.view(&e), be.view(&dy));
                be.class_concat_backward_weight(&d, classes, e, dy, be.view_mut(&mut de), false)
            };
            Ok(Box::new(work) as Work)
        }),
        Pass::new(OP, shape(), "tangent", move |be: B| {
            let (vx, mut vy) = (be.alloc(x_len)?, be.alloc(y_len)?);
            Ok(Box::new(move || be.class_concat_tangent(&d, be.view(&vx), be.view_mut(&mut vy))) as Work)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: ClassConcat = ClassConcat { n: 3, c: 1, classes: 3, width: 2 };

    /// Rows of length 5 and 2; classes 2, 0, 2.
    #[test]
    fn known_embeddings() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (e, mut y) = ([3.0, -4.0, 1.0, 1.0, 0.0, 2.0], [f64::NAN; 9]);
        cpu.class_concat_forward(&D, &[7.0, 8.0, 9.0], &[2, 0, 2], &e, &mut y).expect("a pass");
        let expected = [7.0, 0.0, 1.0, 8.0, 0.6, -0.8, 9.0, 0.0, 1.0];
        assert!(y.iter().zip(expected).all(|(y, expected): (&f64, f64)| (y - expected).abs() < 1e-15), "{y:?}");
    }

    /// A row's gradient is that of its images alone and has nothing along the row; a class of no image has none.
    #[test]
    fn known_gradients() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (e, mut de) = ([3.0, -4.0, 1.0, 1.0, 0.0, 2.0], [f64::NAN; 6]);
        let dy = [100.0, 1.0, 5.0, 100.0, 1.0, 2.0, 100.0, 3.0, 6.0];
        cpu.class_concat_backward_weight(&D, &[2, 0, 2], &e, &dy, &mut de, false).expect("a pass");
        // du − u ⟨u, du⟩ = (1, 2) + (0.6, −0.8) for class 0, over 5; (4, 0) over 2 for class 2.
        let expected = [0.32, 0.24, 0.0, 0.0, 2.0, 0.0];
        assert!(de.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{de:?}");
        cpu.class_concat_backward_weight(&D, &[2, 0, 2], &e, &dy, &mut de, true).expect("a pass");
        assert!(de.iter().zip(expected).all(|(a, b)| (a - 2.0 * b).abs() < 1e-15), "{de:?}");
    }

    /// A row of zeros has no direction: that is not a number, and is not hidden.
    #[test]
    fn nan_is_never_hidden() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        let d = ClassConcat { n: 1, c: 1, classes: 1, width: 1 };
        for bad in [0.0, f32::NAN, f32::INFINITY] {
            let mut y = [0.0; 2];
            cpu.class_concat_forward(&d, &[1.0], &[0], &[bad], &mut y).expect("a pass");
            assert!(y[0] == 1.0 && y[1].is_nan(), "{bad}: {y:?}");
        }
    }
}
