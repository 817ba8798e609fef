//! Minibatch discrimination: beside its own features the discriminator is told how near an image is to the others of its
//! batch, so that a generator which draws one image again and again is found out (Salimans et al. 2016, section 3.2).
//!
//! An image's features x `[A]` are mapped to M = T x, seen as B kernels of C dimensions; the map is a linear layer without
//! bias (`linear.rs`). Over the images j of the group of image i, itself included,
//!
//! `c_b(i, j)` = exp(−‖`M[i, b]` − `M[j, b]`‖₁),  `o_b(i)` = Σ_j `c_b(i, j)`,  `y[i]` = [`x[i]`, `o(i)`].
//!
//! Groups are real and fake images: neither is compared with the other. The term j = i is 1 and has no gradient, and
//!
//! `∂L/∂M[i, b, k]` = −Σ_j (`∂L/∂o_b(i)` + `∂L/∂o_b(j)`) `c_b(i, j)` sign(`M[i, b, k]` − `M[j, b, k]`),
//!
//! since each pair stands in the sums of both images. The derivative of |·| at 0 is 0.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, Real, Storage, Stored, StoredOut};
use crate::ops::case::Case;
use crate::ops::models::BOTH;
use crate::ops::pass::{Pass, stored};

/// Sizes of a minibatch layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MinibatchDiscrimination {
    /// Images, in all groups.
    pub n: usize,
    /// Equal groups, one behind the other, within which images are compared.
    pub groups: usize,
    /// A, features of an image.
    pub c: usize,
    /// B, kernels.
    pub kernels: usize,
    /// C, dimensions of a kernel.
    pub dims: usize,
}

impl MinibatchDiscrimination {
    /// Elements of one image's m.
    pub fn m_len(&self) -> usize {
        self.kernels * self.dims
    }

    /// Elements of one image's y.
    pub fn y_len(&self) -> usize {
        self.c + self.kernels
    }

    /// The images that image i is compared with.
    fn group(&self, i: usize) -> std::ops::Range<usize> {
        let rows = self.n / self.groups;
        let first = i / rows * rows;
        first..first + rows
    }
}

/// Minibatch discrimination's passes, the linear map aside.
pub trait MinibatchDiscriminationOp: Backend {
    /// y `[N, A + B]` from features x `[N, A]` and m `[N, B, C]`; overwrites y.
    fn minibatch_discrimination_forward(
        &self,
        d: &MinibatchDiscrimination,
        x: Stored<'_, Self>,
        m: Stored<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dm `[N, B, C]` from the last B columns of dy `[N, A + B]`; overwrites dm.
    fn minibatch_discrimination_backward_input(
        &self,
        d: &MinibatchDiscrimination,
        m: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dm: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dx `[N, A]` += the first A columns of dy `[N, A + B]`. It adds, since what goes by way of m has come down there
    /// before.
    fn minibatch_discrimination_backward_features(
        &self,
        d: &MinibatchDiscrimination,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// exp(−‖a − b‖₁).
#[inline(always)]
fn closeness<T: Real, S: Storage<T>>(a: &[S], b: &[S]) -> T {
    let distance = a.iter().zip(b).fold(T::ZERO, |sum, (a, b)| {
        let rest = a.real() - b.real();
        sum + if rest < T::ZERO { -rest } else { rest }
    });
    (-distance).exp()
}

/// −1, 0 or 1; what is not a number stays so.
#[inline(always)]
fn sign<T: Real>(value: T) -> T {
    if value > T::ZERO {
        T::ONE
    } else if value < T::ZERO {
        -T::ONE
    } else {
        value
    }
}

impl<T: Real, S: Storage<T>> MinibatchDiscriminationOp for Cpu<T, S> {
    fn minibatch_discrimination_forward(
        &self,
        d: &MinibatchDiscrimination,
        x: &[S],
        m: &[S],
        y: &mut [S],
    ) -> Result<()> {
        y.par_chunks_mut(d.y_len()).zip(x.par_chunks(d.c)).enumerate().for_each(|(i, (y, x))| {
            let (features, sums) = y.split_at_mut(d.c);
            features.copy_from_slice(x);
            for (b, sum) in sums.iter_mut().enumerate() {
                let kernel = |i: usize| &m[i * d.m_len() + b * d.dims..][..d.dims];
                let closeness = |j: usize| -> T { closeness(kernel(i), kernel(j)) };
                *sum = S::of_real(T::of(d.group(i).map(|j| closeness(j).to_f64()).sum()));
            }
        });
        Ok(())
    }

    fn minibatch_discrimination_backward_input(
        &self,
        d: &MinibatchDiscrimination,
        m: &[S],
        dy: &[S],
        dm: &mut [S],
    ) -> Result<()> {
        dm.par_chunks_mut(d.m_len()).enumerate().for_each(|(i, dm)| {
            for (b, dm) in dm.chunks_mut(d.dims).enumerate() {
                let kernel = |i: usize| &m[i * d.m_len() + b * d.dims..][..d.dims];
                let d_sum = |i: usize| dy[i * d.y_len() + d.c + b].real();
                self.with_local(d.dims, |sums| {
                    sums.fill(T::ZERO);
                    for j in d.group(i) {
                        let pull: T = (d_sum(i) + d_sum(j)) * closeness(kernel(i), kernel(j));
                        let pairs = kernel(i).iter().zip(kernel(j));
                        let signs = pairs.map(|(ours, other)| sign(ours.real() - other.real()));
                        sums.iter_mut().zip(signs).for_each(|(sum, sign)| *sum -= pull * sign);
                    }
                    dm.iter_mut().zip(&*sums).for_each(|(dm, &sum)| *dm = S::of_real(sum));
                });
            }
        });
        Ok(())
    }

    fn minibatch_discrimination_backward_features(
        &self,
        d: &MinibatchDiscrimination,
        dy: &[S],
        dx: &mut [S],
    ) -> Result<()> {
        for (dx, dy) in dx.chunks_mut(d.c).zip(dy.chunks(d.y_len())) {
            dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = S::of_real(dx.real() + dy.real()));
        }
        Ok(())
    }
}

/// The sizes as kernels/layers/minibatch_discrimination.cu has them.
impl AsArgument for MinibatchDiscrimination {
    fn argument(&self) -> Argument {
        let MinibatchDiscrimination { n, groups, c, kernels, dims } = *self;
        Argument::new([groups, n / groups, c, kernels, dims].map(int))
    }
}

impl<T: Real, S: Storage<T>> MinibatchDiscriminationOp for Accelerator<T, S> {
    fn minibatch_discrimination_forward(
        &self,
        d: &MinibatchDiscrimination,
        x: Stored<'_, Self>,
        m: Stored<'_, Self>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::MinibatchDiscriminationForward, d.n * d.y_len(), &arguments![d, x, m, y])
    }

    fn minibatch_discrimination_backward_input(
        &self,
        d: &MinibatchDiscrimination,
        m: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dm: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::MinibatchDiscriminationBackwardInput, d.n * d.m_len(), &arguments![d, m, dy, dm])
    }

    fn minibatch_discrimination_backward_features(
        &self,
        d: &MinibatchDiscrimination,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::MinibatchDiscriminationBackwardFeatures, d.n * d.c, &arguments![d, dy, dx])
    }
}

dry_run! {
    MinibatchDiscriminationOp:
    // Each image is read beside every other one of its group.
    minibatch_discrimination_forward(d: &MinibatchDiscrimination, x, m, y) => x + d.n / d.groups * m + y;
    minibatch_discrimination_backward_input(d: &MinibatchDiscrimination, m, dy, dm) =>
        d.n / d.groups * m + dy + dm;
    minibatch_discrimination_backward_features(_d: &MinibatchDiscrimination, dy, dx) => dy + 2 * dx;
}

/// One image and many, one group and two, one kernel and one dimension and more.
pub(super) fn cases<B: MinibatchDiscriminationOp>() -> Vec<Case<B>> {
    let sizes =
        [(1, 1, 1, 1, 1), (2, 1, 3, 1, 2), (6, 2, 5, 3, 5), (10, 2, 1, 17, 1), (17, 1, 9, 2, 3), (4, 2, 33, 7, 4)];
    sizes.map(|(n, groups, c, kernels, dims)| case(MinibatchDiscrimination { n, groups, c, kernels, dims })).into()
}

/// y as a function of x and m, as if m did not come from x.
fn case<B: MinibatchDiscriminationOp>(d: MinibatchDiscrimination) -> Case<B> {
    let MinibatchDiscrimination { n, groups, c, kernels, dims } = d;
    Case::new("minibatch_discrimination", format!("n{n} groups{groups} c{c} kernels{kernels} dims{dims}"))
        .input("x", n * c)
        .input("m", n * d.m_len())
        .output("y", n * d.y_len())
        .forward(move |be: &B, [x, m], [y]| be.minibatch_discrimination_forward(&d, x.stored(), m.stored(), y.stored()))
        .backward(move |be: &B, [_, m], [_], [dy], [dx, dm]| {
            be.minibatch_discrimination_backward_input(&d, m.stored(), dy.stored(), dm.stored())?;
            be.minibatch_discrimination_backward_features(&d, dy.stored(), dx.stored())
        })
}

/// The head of `vgan-mnist` with the authors' 100 kernels of 5 dimensions behind its 1024 features.
pub(super) fn passes<B: MinibatchDiscriminationOp>() -> [Pass<B>; 3] {
    const OP: &str = "minibatch_discrimination";
    let d = MinibatchDiscrimination { n: BOTH, groups: 2, c: 1024, kernels: 100, dims: 5 };
    let (x, m, y) = (|| stored(d.n * d.c), || stored(d.n * d.m_len()), || stored(d.n * d.y_len()));
    let shape = format!("n{} c{} kernels{} dims{}", d.n, d.c, d.kernels, d.dims);
    [
        Pass::of(OP, &shape, "forward", [x(), m()], [y()], move |be: &B, [x, m], [y], _| {
            be.minibatch_discrimination_forward(&d, x.stored(), m.stored(), y.stored())
        }),
        Pass::of(OP, &shape, "backward_input", [m(), y()], [m()], move |be: &B, [m, dy], [dm], _| {
            be.minibatch_discrimination_backward_input(&d, m.stored(), dy.stored(), dm.stored())
        }),
        Pass::of(OP, &shape, "backward_features", [y()], [x()], move |be: &B, [dy], [dx], _| {
            be.minibatch_discrimination_backward_features(&d, dy.stored(), dx.stored())
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outputs(d: &MinibatchDiscrimination, x: &[f64], m: &[f64]) -> Vec<f64> {
        let cpu = Cpu::<f64>::new(Some(1)).expect("a thread");
        let mut y = vec![f64::NAN; d.n * d.y_len()];
        cpu.minibatch_discrimination_forward(d, x, m, &mut y).expect("a pass");
        y
    }

    /// One kernel of two dimensions: images 1 and 2 are 3 apart, and 3 and 4 of the other group the same.
    #[test]
    fn known_distances() {
        let d = MinibatchDiscrimination { n: 4, groups: 2, c: 1, kernels: 1, dims: 2 };
        let m = [0.0, 1.0, 2.0, 0.0, 5.0, 5.0, 5.0, 5.0];
        let apart = 1.0 + (-3.0f64).exp();
        assert_eq!(outputs(&d, &[7.0, 8.0, 9.0, 6.0], &m), [7.0, apart, 8.0, apart, 9.0, 2.0, 6.0, 2.0]);
    }

    /// A change to an image of one group leaves the other group as it was.
    #[test]
    fn groups_do_not_mix() {
        let d = MinibatchDiscrimination { n: 6, groups: 2, c: 1, kernels: 2, dims: 1 };
        let (x, mut m) = ([0.0; 6], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2]);
        let before = outputs(&d, &x, &m);
        m[0] = 3.0;
        let after = outputs(&d, &x, &m);
        assert!((0..3).all(|i| after[3 * i + 1] != before[3 * i + 1]), "of its own group all see it");
        assert_eq!(after[9..], before[9..]);
    }

    #[test]
    fn nan_is_never_hidden() {
        let d = MinibatchDiscrimination { n: 2, groups: 1, c: 1, kernels: 1, dims: 1 };
        for bad in [f64::NAN, f64::INFINITY] {
            assert!(outputs(&d, &[0.0; 2], &[bad, 0.0])[1].is_nan(), "{bad}");
        }
    }
}
