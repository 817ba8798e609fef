//! Activations: y = f(x), element by element, tensors of any shape and of equal length. Every derivative here is a
//! function of y, so x need not be kept. At the kink of a ReLU the derivative is that of the negative side, as in PyTorch.

use std::iter;

use crate::Result;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, Real, Storage, Stored, StoredBuffer, StoredOut, Window};
use crate::ops::case::{self, Case, Fill};
use crate::ops::models::{BATCH, BOTH, image_lens};
use crate::ops::pass::{self, Pass, stored};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// x.
    Identity,
    /// max(x, 0).
    Relu,
    /// x where positive, slope · x elsewhere; 0 ≤ slope < 1.
    LeakyRelu(f64),
    /// 1 / (1 + e^−x).
    Sigmoid,
    /// tanh x.
    Tanh,
}

/// A function that a loop is compiled for, so that it runs in vectors.
pub(super) trait Function<T>: Copy + Send + Sync {
    /// f(x).
    fn value(self, x: T) -> T;
    /// f′(x) where f(x) = y.
    fn slope(self, y: T) -> T;
    /// f″(x) where f(x) = y; at the kink of one that bends there, 0.
    fn curvature(self, y: T) -> T;
}

/// x where positive, `negative` · x elsewhere.
#[derive(Clone, Copy)]
pub(super) struct PiecewiseLinear<T> {
    negative: T,
}

impl<T: Real> PiecewiseLinear<T> {
    /// The slope of the negative side.
    pub(super) fn negative(self) -> T {
        self.negative
    }
}

impl<T: Real> Function<T> for PiecewiseLinear<T> {
    #[inline(always)]
    fn value(self, x: T) -> T {
        if x > T::ZERO { x } else { x * self.negative }
    }
    #[inline(always)]
    fn slope(self, y: T) -> T {
        if y > T::ZERO { T::ONE } else { self.negative }
    }
    #[inline(always)]
    fn curvature(self, _: T) -> T {
        T::ZERO
    }
}

impl<T: Real> Function<T> for Activation {
    #[inline(always)]
    fn value(self, x: T) -> T {
        match self {
            Activation::Sigmoid => T::ONE / (T::ONE + (-x).exp()),
            Activation::Tanh => x.tanh(),
            _ => self.piecewise_linear().map_or(x, |f| f.value(x)),
        }
    }
    #[inline(always)]
    fn slope(self, y: T) -> T {
        match self {
            Activation::Sigmoid => y * (T::ONE - y),
            Activation::Tanh => T::ONE - y * y,
            _ => self.piecewise_linear().map_or(T::ONE, |f| f.slope(y)),
        }
    }
    #[inline(always)]
    fn curvature(self, y: T) -> T {
        let one_minus_2y = T::ONE - (y + y);
        match self {
            Activation::Sigmoid => y * (T::ONE - y) * one_minus_2y,
            Activation::Tanh => -(y + y) * (T::ONE - y * y),
            _ => T::ZERO,
        }
    }
}

impl Activation {
    /// True if its slope changes anywhere but by a jump.
    pub fn curves(self) -> bool {
        self.piecewise_linear::<f64>().is_none()
    }

    /// The function as one that bends at 0 and nowhere else, if it is one.
    pub(super) fn piecewise_linear<T: Real>(self) -> Option<PiecewiseLinear<T>> {
        let negative = match self {
            Activation::Identity => 1.0,
            Activation::Relu => 0.0,
            Activation::LeakyRelu(slope) => slope,
            Activation::Sigmoid | Activation::Tanh => return None,
        };
        Some(PiecewiseLinear { negative: T::of(negative) })
    }
}

/// The activation's passes.
pub trait ActivationOp: Backend {
    /// y = f(x).
    fn activation_forward(&self, f: Activation, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()>;

    /// dx = f′(x) · dy, with f′ taken from y = f(x); overwrites. Since f is applied element by element, it is also the
    /// tangent, of dy.
    fn activation_backward_input(
        &self,
        f: Activation,
        y: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dx += f″(x) · vx · dy, with f″ taken from y = f(x): the derivative by x of ⟨f′(x) vx, dy⟩, which a gradient penalty
    /// needs; accumulates. Sigmoid: f″ = y (1 − y)(1 − 2y); tanh: f″ = −2y (1 − y²); 0 for what is piecewise linear.
    fn activation_curvature(
        &self,
        f: Activation,
        y: Stored<'_, Self>,
        vx: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 14;

impl<T: Real, S: Storage<T>> ActivationOp for Cpu<T, S> {
    fn activation_forward(&self, f: Activation, x: &[S], y: &mut [S]) -> Result<()> {
        match f.piecewise_linear() {
            Some(f) => forward(f, x, y),
            None => forward(f, x, y),
        }
        Ok(())
    }

    fn activation_backward_input(&self, f: Activation, y: &[S], dy: &[S], dx: &mut [S]) -> Result<()> {
        match f.piecewise_linear() {
            Some(f) => backward(f, y, dy, dx),
            None => backward(f, y, dy, dx),
        }
        Ok(())
    }

    fn activation_curvature(&self, f: Activation, y: &[S], vx: &[S], dy: &[S], dx: &mut [S]) -> Result<()> {
        if f.curves() {
            curvature(f, y, vx, dy, dx);
        }
        Ok(())
    }
}

fn forward<T: Real, S: Storage<T>>(f: impl Function<T>, x: &[S], y: &mut [S]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        vectorised!(y.iter_mut().zip(x).for_each(|(y, &x)| *y = S::of_real(f.value(x.real()))));
    });
}

fn backward<T: Real, S: Storage<T>>(f: impl Function<T>, y: &[S], dy: &[S], dx: &mut [S]) {
    dx.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)).for_each(|((dx, y), dy)| {
        vectorised!({
            dx.iter_mut().zip(y).zip(dy).for_each(|((dx, y), dy)| *dx = S::of_real(f.slope(y.real()) * dy.real()));
        });
    });
}

fn curvature<T: Real, S: Storage<T>>(f: impl Function<T>, y: &[S], vx: &[S], dy: &[S], dx: &mut [S]) {
    let parts = dx.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK));
    parts.zip(vx.par_chunks(CHUNK)).zip(dy.par_chunks(CHUNK)).for_each(|(((dx, y), vx), dy)| {
        vectorised!({
            let terms = y.iter().zip(vx).zip(dy).map(|((y, vx), dy)| f.curvature(y.real()) * vx.real() * dy.real());
            dx.iter_mut().zip(terms).for_each(|(dx, term)| *dx = S::of_real(dx.real() + term));
        });
    });
}

impl Activation {
    /// As the kernels' parameter: the kind, then the slope of the negative side, aligned as C aligns it.
    pub(super) fn argument<T: Real>(self) -> Argument {
        let (kind, negative) = match self.piecewise_linear::<T>() {
            Some(f) => (0i32, f.negative),
            None if self == Activation::Sigmoid => (1, T::ZERO),
            None => (2, T::ZERO),
        };
        Argument::pair(kind, negative)
    }
}

impl<T: Real, S: Storage<T>> ActivationOp for Accelerator<T, S> {
    fn activation_forward(&self, f: Activation, x: Stored<'_, Self>, y: StoredOut<'_, Self>) -> Result<()> {
        let arguments = arguments![f.argument::<T>(), x, y, y.len() as u64];
        self.launch_runs(Kernel::ActivationForward, y.len(), &arguments)
    }

    fn activation_backward_input(
        &self,
        f: Activation,
        y: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![f.argument::<T>(), y, dy, dx, dx.len() as u64];
        self.launch_runs(Kernel::ActivationBackwardInput, dx.len(), &arguments)
    }

    fn activation_curvature(
        &self,
        f: Activation,
        y: Stored<'_, Self>,
        vx: Stored<'_, Self>,
        dy: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        if !f.curves() {
            return Ok(());
        }
        let arguments = arguments![f.argument::<T>(), y, vx, dy, dx, dx.len() as u64];
        self.launch_runs(Kernel::ActivationCurvature, dx.len(), &arguments)
    }
}

dry_run! {
    ActivationOp:
    activation_forward(_f: Activation, x, y) => x + y;
    activation_backward_input(_f: Activation, y, dy, dx) => y + dy + dx;
    activation_curvature(f: Activation, y, vx, dy, dx) => if f.curves() { y + vx + dy + 2 * dx } else { Window::default() };
}

/// Each function at odd lengths, away from the kinks; and the tangents of those that curve.
pub(super) fn cases<B: ActivationOp>() -> Vec<Case<B>> {
    let leaky = Activation::LeakyRelu(0.2);
    let functions = [Activation::Identity, Activation::Relu, leaky, Activation::Sigmoid, Activation::Tanh];
    let sizes = functions.into_iter().flat_map(|f| [1, 3, 17, 33].map(|len| (f, len)));
    // More than a block of the kernels.
    let sizes = sizes.chain([(Activation::Tanh, 1100)]);
    sizes.flat_map(|(f, len)| iter::once(case(f, len)).chain(f.curves().then(|| curvature_case(f, len)))).collect()
}

fn case<B: ActivationOp>(f: Activation, len: usize) -> Case<B> {
    Case::new("activation", format!("{f:?} len{len}"))
        .filled_input("x", len, Fill::AwayFromZero)
        .output("y", len)
        .forward(move |be: &B, [x], [y]| be.activation_forward(f, x.stored(), y.stored()))
        .backward(move |be: &B, [_], [y], [dy], [dx]| {
            be.activation_backward_input(f, y.stored(), dy.stored(), dx.stored())
        })
        .tangent(move |be: &B, [_], [y], vx, vy| be.activation_backward_input(f, y.stored(), vx.stored(), vy.stored()))
}

/// The tangent of a function that curves as a function of x, the direction held fixed; its gradient is the curvature.
fn curvature_case<B: ActivationOp>(f: Activation, len: usize) -> Case<B> {
    let output = move |be: &B, x: Stored<'_, B>| -> Result<StoredBuffer<B>> {
        let mut y = be.alloc(len)?;
        be.activation_forward(f, x, be.view_mut(&mut y))?;
        Ok(y)
    };
    let direction = move |be: &B| case::drawn_stored(be, len, Fill::Normal, 2000);
    Case::new("activation", format!("{f:?} curvature len{len}"))
        .input("x", len)
        .output("vy", len)
        .forward(move |be: &B, [x], [vy]| {
            let (y, vx) = (output(be, x.stored())?, direction(be)?);
            be.activation_backward_input(f, be.view(&y), be.view(&vx), vy.stored())
        })
        .backward(move |be: &B, [x], [_], [dy], [dx]| {
            let (y, vx) = (output(be, x.stored())?, direction(be)?);
            be.activation_curvature(f, be.view(&y), be.view(&vx), dy.stored(), dx.stored())
        })
}

/// The generators' outputs, and the discriminator's first layer where it is not normalised: `gan-mnist`'s, and the largest
/// of `vgan-cifar10-resnet`.
fn model_sizes() -> [(Activation, usize); 4] {
    let [mnist, cifar] = image_lens();
    [
        (Activation::Sigmoid, BATCH * mnist),
        (Activation::Tanh, BATCH * cifar),
        (Activation::LeakyRelu(0.2), BOTH * 14 * 14 * 64),
        (Activation::LeakyRelu(0.2), BOTH * 32 * 32 * 32),
    ]
}

/// At the sizes of the models.
pub(super) fn passes<B: ActivationOp>() -> Vec<Pass<B>> {
    pass::of_each(model_sizes(), |(f, len)| passes_of(f, len))
}

fn passes_of<B: ActivationOp>(f: Activation, len: usize) -> [Pass<B>; 2] {
    let shape = format!("{f:?} len{len}");
    [
        Pass::of("activation", &shape, "forward", [stored(len)], [stored(len)], move |be: &B, [x], [y], _| {
            be.activation_forward(f, x.stored(), y.stored())
        }),
        Pass::of(
            "activation",
            &shape,
            "backward_input",
            [stored(len), stored(len)],
            [stored(len)],
            move |be: &B, [y, dy], [dx], _| be.activation_backward_input(f, y.stored(), dy.stored(), dx.stored()),
        ),
    ]
}
