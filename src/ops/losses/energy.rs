//! The energy of an image under an autoencoder: how far its reconstruction is off, one number an image. It stands where
//! the logit stands in other discriminators.
//!
//! `e[n]` = mean over an image's pixels and channels of |y − x|^p, x the image and y its reconstruction; p = 2 is the squared
//! error of EBGAN (Zhao et al. 2017), p = 1 the absolute error of BEGAN (Berthelot et al. 2017, Eq. 1). The derivative of
//! |y − x| where both are equal is 0.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, Real, Storage, Stored, StoredOut};
use crate::ops::models::{BOTH, image_lens};
use crate::ops::pass::{self, Pass, stored};
use crate::ops::{Case, Fill};

/// p, the power of the difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exponent {
    /// The absolute error.
    Absolute = 1,
    /// The squared error.
    Squared = 2,
}

/// Sizes of an energy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Energy {
    /// Images.
    pub n: usize,
    /// Elements of one image: H · W · C.
    pub len: usize,
    /// The power of the difference.
    pub exponent: Exponent,
}

/// The energy's passes.
pub trait EnergyOp: Backend {
    /// e `[N]` from images x and reconstructions y, both `[N, H, W, C]`; overwrites e.
    fn energy_forward(
        &self,
        d: &Energy,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        e: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dy = p |y − x|^(p−1) sign(y − x) de / (H W C), by the reconstructions; overwrites dy. de is `[N]`.
    fn energy_backward_input(
        &self,
        d: &Energy,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        de: Stored<'_, Self>,
        dy: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// dx −= the same: the images' own part of the gradient. It adds to dx, since what went through the network that made
    /// y has come down there before.
    fn energy_backward_image(
        &self,
        d: &Energy,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        de: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// The derivative of |rest|^p, for p ≥ 1; what is not a number stays so.
#[inline(always)]
fn slope<T: Real>(exponent: Exponent, rest: T) -> T {
    match exponent {
        Exponent::Squared => T::of(2.0) * rest,
        Exponent::Absolute if rest > T::ZERO => T::ONE,
        Exponent::Absolute if rest < T::ZERO => -T::ONE,
        // 0 and NaN.
        Exponent::Absolute => rest,
    }
}

/// Calls `write(element of the target, the energy's derivative by the reconstruction's element)` for every element.
fn each_derivative<T: Real, S: Storage<T>>(
    d: &Energy,
    (x, y, de): (&[S], &[S], &[S]),
    target: &mut [S],
    write: impl Fn(&mut S, T) + Sync,
) {
    let images = target.par_chunks_mut(d.len).zip(x.par_chunks(d.len)).zip(y.par_chunks(d.len));
    images.zip(de).for_each(|(((target, x), y), de)| {
        let scale = de.real() / T::of(d.len as f64);
        vectorised!({
            let pairs = target.iter_mut().zip(x.iter().zip(y));
            pairs.for_each(|(target, (x, y))| write(target, slope(d.exponent, y.real() - x.real()) * scale));
        });
    });
}

impl<T: Real, S: Storage<T>> EnergyOp for Cpu<T, S> {
    fn energy_forward(&self, d: &Energy, x: &[S], y: &[S], e: &mut [S]) -> Result<()> {
        e.par_iter_mut().zip(x.par_chunks(d.len).zip(y.par_chunks(d.len))).for_each(|(e, (x, y))| {
            let rests = x.iter().zip(y).map(|(x, y)| (y.real() - x.real()).to_f64());
            let sum: f64 = match d.exponent {
                Exponent::Absolute => rests.map(f64::abs).sum(),
                Exponent::Squared => rests.map(|rest| rest * rest).sum(),
            };
            *e = S::of_real(T::of(sum / d.len as f64));
        });
        Ok(())
    }

    fn energy_backward_input(&self, d: &Energy, x: &[S], y: &[S], de: &[S], dy: &mut [S]) -> Result<()> {
        each_derivative(d, (x, y, de), dy, |dy, derivative| *dy = S::of_real(derivative));
        Ok(())
    }

    fn energy_backward_image(&self, d: &Energy, x: &[S], y: &[S], de: &[S], dx: &mut [S]) -> Result<()> {
        each_derivative(d, (x, y, de), dx, |dx, derivative| *dx = S::of_real(dx.real() - derivative));
        Ok(())
    }
}

/// The sizes as kernels/losses/energy.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelEnergy {
    n: i32,
    len: i32,
    exponent: i32,
}

impl AsArgument for Energy {
    fn argument(&self) -> Argument {
        Argument::new(KernelEnergy { n: int(self.n), len: int(self.len), exponent: self.exponent as i32 })
    }
}

impl<T: Real, S: Storage<T>> EnergyOp for Accelerator<T, S> {
    fn energy_forward(
        &self,
        d: &Energy,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        e: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_images(Kernel::EnergyForward, d.n, &arguments![d, x, y, e])
    }

    fn energy_backward_input(
        &self,
        d: &Energy,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        de: Stored<'_, Self>,
        dy: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::EnergyBackwardInput, d.n * d.len, &arguments![d, x, y, de, dy])
    }

    fn energy_backward_image(
        &self,
        d: &Energy,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        de: Stored<'_, Self>,
        dx: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::EnergyBackwardImage, d.n * d.len, &arguments![d, x, y, de, dx])
    }
}

dry_run! {
    EnergyOp:
    energy_forward(_d: &Energy, x, y, e) => x + y + e;
    energy_backward_input(_d: &Energy, x, y, de, dy) => x + y + de + dy;
    energy_backward_image(_d: &Energy, x, y, de, dx) => x + y + de + 2 * dx;
}

/// Both powers, at odd sizes and at more elements than a block has threads. No difference of the inputs lies so near to
/// 0 that the step of a gradient check crosses the kink of the absolute error.
pub fn cases<B: EnergyOp>() -> Vec<Case<B>> {
    let sizes = [(2, 1), (3, 17), (1, 33), (2, 3 * 7 * 13)];
    let powers = [Exponent::Absolute, Exponent::Squared];
    powers.into_iter().flat_map(|exponent| sizes.map(|(n, len)| case(Energy { n, len, exponent }))).collect()
}

fn case<B: EnergyOp>(d: Energy) -> Case<B> {
    let Energy { n, len, exponent } = d;
    Case::new("energy", format!("n{n} len{len} {exponent:?}"))
        .filled_input("x", n * len, Fill::Uniform(-1.0, 1.0))
        .filled_input("y", n * len, Fill::Uniform(-1.0, 1.0))
        .output("e", n)
        .forward(move |be: &B, [x, y], [e]| be.energy_forward(&d, x.stored(), y.stored(), e.stored()))
        .backward(move |be: &B, [x, y], _, [de], [dx, dy]| {
            let (x, y, de) = (x.stored(), y.stored(), de.stored());
            be.energy_backward_image(&d, x, y, de, dx.stored())?;
            be.energy_backward_input(&d, x, y, de, dy.stored())
        })
}

/// At the sizes of the models.
pub(super) fn passes<B: EnergyOp>() -> Vec<Pass<B>> {
    pass::of_each(image_lens(), |len| passes_of(Energy { n: BOTH, len, exponent: Exponent::Squared }))
}

fn passes_of<B: EnergyOp>(d: Energy) -> [Pass<B>; 3] {
    let shape = format!("n{} len{}", d.n, d.len);
    let (x, e) = (|| stored(d.n * d.len), || stored(d.n));
    [
        Pass::of("energy", shape.clone(), "forward", [x(), x()], [e()], move |be: &B, [x, y], [e], _| {
            be.energy_forward(&d, x.stored(), y.stored(), e.stored())
        }),
        Pass::of(
            "energy",
            shape.clone(),
            "backward_input",
            [x(), x(), e()],
            [x()],
            move |be: &B, [x, y, de], [dy], _| {
                be.energy_backward_input(&d, x.stored(), y.stored(), de.stored(), dy.stored())
            },
        ),
        Pass::of("energy", shape, "backward_image", [x(), x(), e()], [x()], move |be: &B, [x, y, de], [dx], _| {
            be.energy_backward_image(&d, x.stored(), y.stored(), de.stored(), dx.stored())
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_energies() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (x, y) = ([1.0, 2.0, 0.0, 5.0], [1.5, 0.0, 0.0, 5.0]);
        for (exponent, energies, gradient) in [
            (Exponent::Absolute, [1.25, 0.0], [0.5, -0.5, 0.0, 0.0]),
            (Exponent::Squared, [2.125, 0.0], [0.5, -2.0, 0.0, 0.0]),
        ] {
            let d = Energy { n: 2, len: 2, exponent };
            let (mut e, mut dy, mut dx) = ([f64::NAN; 2], [f64::NAN; 4], [10.0; 4]);
            cpu.energy_forward(&d, &x, &y, &mut e).expect("energies");
            assert_eq!(e, energies, "{exponent:?}");
            cpu.energy_backward_input(&d, &x, &y, &[1.0, 1.0], &mut dy).expect("a gradient");
            assert_eq!(dy, gradient, "{exponent:?}");
            cpu.energy_backward_image(&d, &x, &y, &[1.0, 1.0], &mut dx).expect("a gradient");
            assert_eq!(dx, gradient.map(|dy| 10.0 - dy), "what was there stays, {exponent:?}");
        }
    }

    #[test]
    fn nan_is_never_hidden() {
        assert!([Exponent::Absolute, Exponent::Squared].iter().all(|&p| slope(p, f32::NAN).is_nan()));
    }
}
