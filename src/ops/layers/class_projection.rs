//! The class in the logit: the features φ `[N, C]` of each image meet the row of its class in E `[K, C]`:
//!
//! `y[n]` += ⟨`E[class[n]]`, `φ[n]`⟩
//!
//! Beside a linear layer's logit this is the projection discriminator (Miyato & Koyama 2018, Eq. 4). With a bias for each class, and
//! nothing else in y, it is a linear layer to K logits of which the class selects one, as in the paper's code
//! (`gan_training/models/resnet.py` of akanazawa/vgan, which builds on Mescheder et al. 2018). It is linear in φ, so the forward pass
//! without bias is also the tangent.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Out, Real, Storage, Stored, StoredOut};
use crate::ops::case::{self, Case};
use crate::ops::layers::class_concat::some_classes;
use crate::ops::models::BOTH;
use crate::ops::pass::{Pass, Work, filled};

/// Sizes of a projection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClassProjection {
    /// Images.
    pub n: usize,
    /// C, features of an image.
    pub c: usize,
    /// K, the classes.
    pub classes: usize,
}

/// The projection's passes. The classes are numbers below K.
pub trait ClassProjectionOp: Backend {
    /// y `[N]` from features x `[N, C]`, classes `[N]`, e `[K, C]` and, if there is one, the bias `[K]`; overwrites y, or adds to it
    /// with `adds`. Also the tangent, of x's tangent and without bias.
    #[expect(clippy::too_many_arguments, reason = "what goes in, and the way in which it comes out")]
    fn class_projection_forward(
        &self,
        d: &ClassProjection,
        x: Stored<'_, Self>,
        classes: In<'_, Self, u32>,
        e: In<'_, Self>,
        bias: Option<In<'_, Self>>,
        y: StoredOut<'_, Self>,
        adds: bool,
    ) -> Result<()>;

    /// dx `[N, C]` = dy `E[class]`; overwrites dx, or adds to it with `adds`.
    fn class_projection_backward_input(
        &self,
        d: &ClassProjection,
        classes: In<'_, Self, u32>,
        e: In<'_, Self>,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
        adds: bool,
    ) -> Result<()>;

    /// de `[K, C]` and, if it is wanted, db `[K]`, from x `[N, C]` and dy `[N]`; overwrites both, or adds to them with `accumulate`.
    /// Every row is written.
    #[expect(clippy::too_many_arguments, reason = "what goes in, and the way in which it comes out")]
    fn class_projection_backward_weight(
        &self,
        d: &ClassProjection,
        x: Stored<'_, Self>,
        classes: In<'_, Self, u32>,
        dy: Stored<'_, Self>,
        de: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
        accumulate: bool,
    ) -> Result<()>;
}

/// Columns of an embedding whose gradients are summed at once.
const BLOCK: usize = 64;

impl<T: Real, S: Storage<T>> ClassProjectionOp for Cpu<T, S> {
    fn class_projection_forward(
        &self,
        d: &ClassProjection,
        x: &[S],
        classes: &[u32],
        e: &[T],
        bias: Option<&[T]>,
        y: &mut [S],
        adds: bool,
    ) -> Result<()> {
        y.par_iter_mut().zip(x.par_chunks(d.c)).zip(classes).for_each(|((y, x), &class)| {
            let row = &e[class as usize * d.c..][..d.c];
            let sum: f64 = row.iter().zip(x).map(|(e, x)| e.to_f64() * x.real().to_f64()).sum();
            let value = T::of(bias.map_or(sum, |bias| sum + bias[class as usize].to_f64()));
            *y = S::of_real(if adds { y.real() + value } else { value });
        });
        Ok(())
    }

    fn class_projection_backward_input(
        &self,
        d: &ClassProjection,
        classes: &[u32],
        e: &[T],
        dy: &[S],
        dx: &mut [S],
        adds: bool,
    ) -> Result<()> {
        dx.par_chunks_mut(d.c).zip(classes).zip(dy).for_each(|((dx, &class), dy)| {
            let dy: T = dy.real();
            for (dx, &e) in dx.iter_mut().zip(&e[class as usize * d.c..]) {
                *dx = S::of_real(if adds { dx.real() + dy * e } else { dy * e });
            }
        });
        Ok(())
    }

    fn class_projection_backward_weight(
        &self,
        d: &ClassProjection,
        x: &[S],
        classes: &[u32],
        dy: &[S],
        de: &mut [T],
        db: Option<&mut [T]>,
        accumulate: bool,
    ) -> Result<()> {
        let of_class = |one: usize| (0..d.n).filter(move |&image| classes[image] as usize == one);
        let write = |target: &mut T, sum: f64| *target = if accumulate { *target + T::of(sum) } else { T::of(sum) };
        de.par_chunks_mut(d.c).enumerate().for_each(|(one, de)| {
            for (block, de) in de.chunks_mut(BLOCK).enumerate() {
                let mut sums = [0.0; BLOCK];
                for image in of_class(one) {
                    let factor = dy[image].real().to_f64();
                    let x = &x[image * d.c + block * BLOCK..][..de.len()];
                    sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += factor * x.real().to_f64());
                }
                de.iter_mut().zip(sums).for_each(|(de, sum)| write(de, sum));
            }
        });
        for (one, db) in db.into_iter().flatten().enumerate() {
            write(db, of_class(one).map(|image| dy[image].real().to_f64()).sum());
        }
        Ok(())
    }
}

/// The sizes as kernels/layers/class_projection.cu has them.
impl AsArgument for ClassProjection {
    fn argument(&self) -> Argument {
        Argument::new([self.n, self.c, self.classes].map(int))
    }
}

impl<T: Real, S: Storage<T>> ClassProjectionOp for Accelerator<T, S> {
    fn class_projection_forward(
        &self,
        d: &ClassProjection,
        x: Stored<'_, Self>,
        classes: In<'_, Self, u32>,
        e: In<'_, Self>,
        bias: Option<In<'_, Self>>,
        y: StoredOut<'_, Self>,
        adds: bool,
    ) -> Result<()> {
        let arguments = arguments![d, x, classes, e, bias, y, i32::from(adds)];
        self.launch_images(Kernel::ClassProjectionForward, d.n, &arguments)
    }

    fn class_projection_backward_input(
        &self,
        d: &ClassProjection,
        classes: In<'_, Self, u32>,
        e: In<'_, Self>,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
        adds: bool,
    ) -> Result<()> {
        let arguments = arguments![d, classes, e, dy, dx, i32::from(adds)];
        self.launch_elements(Kernel::ClassProjectionBackwardInput, d.n * d.c, &arguments)
    }

    fn class_projection_backward_weight(
        &self,
        d: &ClassProjection,
        x: Stored<'_, Self>,
        classes: In<'_, Self, u32>,
        dy: Stored<'_, Self>,
        de: Out<'_, Self>,
        db: Option<Out<'_, Self>>,
        accumulate: bool,
    ) -> Result<()> {
        let count = d.classes * (d.c + usize::from(db.is_some()));
        let arguments = arguments![d, x, classes, dy, de, db, i32::from(accumulate)];
        self.launch_elements(Kernel::ClassProjectionBackwardWeight, count, &arguments)
    }
}

dry_run! {
    ClassProjectionOp:
    class_projection_forward(_d: &ClassProjection, x, classes, _e, _bias: Option<crate::device::Window>, y, _adds: bool) =>
        2 * x + classes + y;
    class_projection_backward_input(_d: &ClassProjection, classes, _e, dy, dx, _adds: bool) => classes + dy + 2 * dx;
    class_projection_backward_weight(
        _d: &ClassProjection, x, classes, dy, de, _db: Option<crate::device::Window>, _accumulate: bool
    ) => x + classes + dy + de;
}

/// One image and many, more features than a block has threads, a class that no image has; alone with a bias, and added to a logit.
pub(super) fn cases<B: ClassProjectionOp>() -> Vec<Case<B>> {
    let sizes = [(1, 1, 1), (3, 5, 4), (17, 1, 3), (6, 33, 7), (2, 301, 2)];
    let each = sizes.into_iter().flat_map(|size| [(size, false), (size, true)]);
    each.map(|((n, c, classes), adds)| case(ClassProjection { n, c, classes }, adds)).collect()
}

fn case<B: ClassProjectionOp>(d: ClassProjection, adds: bool) -> Case<B> {
    let ClassProjection { n, c, classes } = d;
    // Both ways are taken: by sizes with an even number of images, and by the others.
    let accumulates = n % 2 == 0;
    let alone = if adds { "added" } else { "alone" };
    Case::new("class_projection", format!("n{n} c{c} k{classes} {alone}"))
        .input("x", n * c)
        .real_input("e", classes * c)
        .real_input("b", classes)
        .output("y", n)
        .forward(move |be: &B, [x, e, b], [y]| {
            let classes = some_classes(be, n, classes)?;
            let (classes, e) = (be.view(&classes), e.real());
            let mut y = y.stored();
            if adds {
                // What it is added to is of x too: twice the projection, but for the bias.
                be.class_projection_forward(&d, x.stored(), classes, e, None, be.reborrow(&mut y), false)?;
            }
            be.class_projection_forward(&d, x.stored(), classes, e, Some(b.real()), y, adds)
        })
        .backward(move |be: &B, [x, e, _], _, [dy], [dx, de, db]| {
            let classes = some_classes(be, n, classes)?;
            let (classes, x, e, dy) = (be.view(&classes), x.stored(), e.real(), dy.stored());
            let mut dx = dx.stored();
            let [mut de, db] = case::gradients(be, [de.real(), db.real()], accumulates)?;
            be.class_projection_backward_input(&d, classes, e, dy, be.reborrow(&mut dx), false)?;
            be.class_projection_backward_weight(&d, x, classes, dy, be.reborrow(&mut de), Some(db), accumulates)?;
            if !adds {
                return Ok(());
            }
            be.class_projection_backward_input(&d, classes, e, dy, dx, true)?;
            be.class_projection_backward_weight(&d, x, classes, dy, de, None, true)
        })
        .tangent(move |be: &B, [_, e, _], [_], vx, vy| {
            let classes = some_classes(be, n, classes)?;
            let (classes, vx, e) = (be.view(&classes), vx.stored(), e.real());
            let mut vy = vy.stored();
            be.class_projection_forward(&d, vx, classes, e, None, be.reborrow(&mut vy), false)?;
            if !adds {
                return Ok(());
            }
            be.class_projection_forward(&d, vx, classes, e, None, vy, true)
        })
}

/// Ten classes behind the 1024 features of `vgan-cifar10`, with memory of their own: the classes are neither stored nor real.
pub(super) fn passes<B: ClassProjectionOp>() -> [Pass<B>; 3] {
    const OP: &str = "class_projection";
    let d = ClassProjection { n: BOTH, c: 1024, classes: 10 };
    let shape = || format!("n{} c{} k{}", d.n, d.c, d.classes);
    let (x_len, e_len) = (d.n * d.c, d.classes * d.c);
    [
        Pass::new(OP, shape(), "forward", move |be: B| {
            let (x, e, classes) = (be.alloc(x_len)?, filled(&be, e_len)?, some_classes(&be, d.n, d.classes)?);
            let mut y = be.alloc(d.n)?;
            let work = move || {
                let (x, classes, e) = (be.view(&x), be.view(&classes), be.view(&e));
                be.class_projection_forward(&d, x, classes, e, None, be.view_mut(&mut y), true)
            };
            Ok(Box::new(work) as Work)
        }),
        Pass::new(OP, shape(), "backward_input", move |be: B| {
            let (e, dy, classes) = (filled(&be, e_len)?, be.alloc(d.n)?, some_classes(&be, d.n, d.classes)?);
            let mut dx = be.alloc(x_len)?;
            let work = move || {
                let (classes, e, dy) = (be.view(&classes), be.view(&e), be.view(&dy));
                be.class_projection_backward_input(&d, classes, e, dy, be.view_mut(&mut dx), true)
            };
            Ok(Box::new(work) as Work)
        }),
        Pass::new(OP, shape(), "backward_weight", move |be: B| {
            let (x, dy, classes) = (be.alloc(x_len)?, be.alloc(d.n)?, some_classes(&be, d.n, d.classes)?);
            let mut de = be.alloc(e_len)?;
            let work = move || {
                let (x, classes, dy) = (be.view(&x), be.view(&classes), be.view(&dy));
                be.class_projection_backward_weight(&d, x, classes, dy, be.view_mut(&mut de), None, false)
            };
            Ok(Box::new(work) as Work)
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: ClassProjection = ClassProjection { n: 3, c: 2, classes: 3 };
    const CLASSES: [u32; 3] = [2, 0, 2];
    const E: [f64; 6] = [1.0, 2.0, 50.0, 60.0, -1.0, 3.0];
    const X: [f64; 6] = [4.0, 5.0, 6.0, 7.0, 8.0, 9.0];

    #[test]
    fn known_logits() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let mut y = [100.0, 200.0, 300.0];
        cpu.class_projection_forward(&D, &X, &CLASSES, &E, None, &mut y, true).expect("a pass");
        assert_eq!(y, [111.0, 220.0, 319.0]);
        cpu.class_projection_forward(&D, &X, &CLASSES, &E, Some(&[0.5, 9.0, 0.25]), &mut y, false).expect("a pass");
        assert_eq!(y, [11.25, 20.5, 19.25]);
    }

    /// Each row is that of its images alone; the class of no image is written too.
    #[test]
    fn known_gradients() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (mut de, mut db, dy) = ([f64::NAN; 6], [f64::NAN; 3], [1.0, 10.0, 2.0]);
        cpu.class_projection_backward_weight(&D, &X, &CLASSES, &dy, &mut de, Some(&mut db), false).expect("a pass");
        assert_eq!((de, db), ([60.0, 70.0, 0.0, 0.0, 20.0, 23.0], [10.0, 0.0, 3.0]));
        let mut dx = [1.0; 6];
        cpu.class_projection_backward_input(&D, &CLASSES, &E, &dy, &mut dx, true).expect("a pass");
        assert_eq!(dx, [0.0, 4.0, 11.0, 21.0, -1.0, 7.0]);
    }
}
