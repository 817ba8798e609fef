//! The reconstruction term of mode regularisation in the generator's loss (Che et al. 2017, section 3.1): λ₁ E d(x, y), for
//! reconstructions y = G(E(x)) of real images x. The other term, what they cost the generator under D, is [`super::mode_loss`].
//!
//! d of an image is the mean of (y − x)² over its pixels and channels, which [`EnergyOp::energy_forward`] computes with
//! [`Exponent::Squared`]: an energy of EBGAN is the same function. ∂(λ₁ E d)/∂y = 2 λ₁ (y − x) / (N H W C).

use super::energy::{Energy, EnergyOp, Exponent};
use super::{loss_before, put};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, Out, Real, StepState, Storage, Stored, StoredOut};
use crate::ops::case::drawn_stored;
use crate::ops::models::{BATCH, image_lens};
use crate::ops::pass::{self, Pass, stored};
use crate::ops::{Case, Fill};

/// Sizes of a batch of reconstructions, and what their mean error is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reconstruction {
    /// Images.
    pub n: usize,
    /// Elements of one image: H · W · C.
    pub len: usize,
    /// λ₁.
    pub weight: f64,
}

impl Reconstruction {
    /// The errors d as an energy.
    fn energy(&self) -> Energy {
        Energy { n: self.n, len: self.len, exponent: Exponent::Squared }
    }

    /// The factor of y − x in the gradient.
    fn slope(&self) -> f64 {
        2.0 * self.weight / (self.n as f64 * self.len as f64)
    }
}

/// The term's passes.
pub trait ReconstructionOp: Backend {
    /// From the errors d `[N]`: writes their mean into the state's metrics, unweighted, and adds λ₁ times it to the
    /// generator's loss there. One that is not finite is noted, unless something was noted before.
    fn reconstruction_loss(
        &self,
        d: &Reconstruction,
        errors: Stored<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;

    /// dy += 2 λ₁ (y − x) / (N H W C), x the images and y their reconstructions, all `[N, H, W, C]`. It adds, since D's
    /// verdict on y has come down there before.
    fn reconstruction_backward_input(
        &self,
        d: &Reconstruction,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        dy: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// Elements to a task.
const CHUNK: usize = 1 << 14;

impl<T: Real, S: Storage<T>> ReconstructionOp for Cpu<T, S> {
    fn reconstruction_loss(&self, d: &Reconstruction, errors: &[S], state: &mut [StepState]) -> Result<()> {
        let mean = errors.iter().map(|error| error.real().to_f64()).sum::<f64>() / d.n as f64;
        state[0].metrics.reconstruction = mean;
        state[0].add_to_generator_loss(d.weight * mean);
        Ok(())
    }

    fn reconstruction_backward_input(&self, d: &Reconstruction, x: &[S], y: &[S], dy: &mut [S]) -> Result<()> {
        let slope = T::of(d.slope());
        dy.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK).zip(y.par_chunks(CHUNK))).for_each(|(dy, (x, y))| {
            vectorised!({
                let rests = x.iter().zip(y).map(|(x, y)| y.real() - x.real());
                dy.iter_mut().zip(rests).for_each(|(dy, rest)| *dy = S::of_real(dy.real() + slope * rest));
            });
        });
        Ok(())
    }
}

/// The sizes as kernels/losses/reconstruction.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelReconstruction {
    weight: f64,
    slope: f64,
    n: i32,
    len: i32,
}

impl AsArgument for Reconstruction {
    fn argument(&self) -> Argument {
        let Reconstruction { n, len, weight } = *self;
        Argument::new(KernelReconstruction { weight, slope: self.slope(), n: int(n), len: int(len) })
    }
}

impl<T: Real, S: Storage<T>> ReconstructionOp for Accelerator<T, S> {
    fn reconstruction_loss(
        &self,
        d: &Reconstruction,
        errors: Stored<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        self.launch_sum(Kernel::ReconstructionLoss, &arguments![d, errors, state])
    }

    fn reconstruction_backward_input(
        &self,
        d: &Reconstruction,
        x: Stored<'_, Self>,
        y: Stored<'_, Self>,
        dy: StoredOut<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::ReconstructionBackwardInput, d.n * d.len, &arguments![d, x, y, dy])
    }
}

dry_run! {
    ReconstructionOp:
    reconstruction_loss(_d: &Reconstruction, errors, _state) => errors;
    reconstruction_backward_input(_d: &Reconstruction, x, y, dy) => x + y + 2 * dy;
}

/// Odd sizes, more elements than a block has threads, more images than it has, and a weight of 0, with which the mean is
/// reported all the same.
pub fn cases<B: ReconstructionOp + EnergyOp>() -> Vec<Case<B>> {
    [(1, 1, 0.2), (3, 17, 0.2), (2, 3 * 7 * 13, 1.5), (261, 3, 0.2), (3, 5, 0.0)]
        .map(|(n, len, weight)| case(Reconstruction { n, len, weight }))
        .into()
}

/// λ₁ E d and E d, by the reconstructions; the images are a fixed draw.
fn case<B: ReconstructionOp + EnergyOp>(d: Reconstruction) -> Case<B> {
    let Reconstruction { n, len, weight } = d;
    // A number far from those of the case's inputs.
    let images = move |be: &B| drawn_stored(be, n * len, Fill::Normal, 500);
    Case::new("reconstruction", format!("n{n} len{len} weight{weight}"))
        .input("y", n * len)
        .real_output("loss", 1)
        .real_output("reconstruction", 1)
        .forward(move |be: &B, [y], outputs| {
            let (x, mut errors, mut state) = (images(be)?, be.alloc(n)?, loss_before(be)?);
            be.energy_forward(&d.energy(), be.view(&x), y.stored(), be.view_mut(&mut errors))?;
            be.reconstruction_loss(&d, be.view(&errors), be.view_mut(&mut state))?;
            let metrics = be.read(be.view(&state))?[0].metrics;
            put(be, [metrics.loss_g, metrics.reconstruction], outputs)
        })
        .backward(move |be: &B, [y], _, [d_loss, d_mean], [dy]| {
            let [d_loss, d_mean] = [be.read(d_loss.real())?[0].to_f64(), be.read(d_mean.real())?[0].to_f64()];
            // The loss is λ₁ times the mean, so both derivatives are one with another weight.
            let d = Reconstruction { weight: weight * d_loss + d_mean, ..d };
            be.reconstruction_backward_input(&d, be.view(&images(be)?), y.stored(), dy.stored())
        })
}

/// At the sizes of the models.
pub(super) fn passes<B: ReconstructionOp + EnergyOp>() -> Vec<Pass<B>> {
    pass::of_each(image_lens(), |len| passes_of(Reconstruction { n: BATCH, len, weight: 0.2 }))
}

fn passes_of<B: ReconstructionOp + EnergyOp>(d: Reconstruction) -> [Pass<B>; 2] {
    let (op, shape, images) = ("reconstruction", format!("n{} len{}", d.n, d.len), || stored(d.n * d.len));
    [
        // The mean of so few errors is nothing to time alone.
        Pass::of(
            op,
            shape.clone(),
            "forward",
            [images(), images()],
            [stored(d.n)],
            move |be: &B, [x, y], [e], state| {
                let mut errors = e.stored();
                be.energy_forward(&d.energy(), x.stored(), y.stored(), be.reborrow(&mut errors))?;
                be.reconstruction_loss(&d, be.freeze(errors), state)
            },
        ),
        Pass::of(op, shape, "backward_input", [images(), images()], [images()], move |be: &B, [x, y], [dy], _| {
            be.reconstruction_backward_input(&d, x.stored(), y.stored(), dy.stored())
        }),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value_and_gradient_by_hand() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let mut state = loss_before(&cpu).expect("a state");
        let d = Reconstruction { n: 2, len: 2, weight: 0.5 };
        cpu.reconstruction_loss(&d, &[2.0, 4.0], &mut state).expect("a loss");
        assert_eq!((state[0].metrics.reconstruction, state[0].metrics.loss_g), (3.0, 0.25 + 1.5));
        // Added to what is there: 2 · 0.5 / 4 of the difference.
        let mut dy = [10.0; 4];
        cpu.reconstruction_backward_input(&d, &[1.0, 0.0, 0.0, 2.0], &[1.0, 4.0, -4.0, 0.0], &mut dy)
            .expect("a gradient");
        assert_eq!(dy, [10.0, 11.0, 9.0, 9.5]);
    }

    #[test]
    fn what_is_not_finite_is_noted() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let d = Reconstruction { n: 1, len: 1, weight: 0.0 };
        for (bad, expected) in
            [(1.0, 0), (f64::NAN, StepState::NON_FINITE_LOSS_G), (f64::INFINITY, StepState::NON_FINITE_LOSS_G)]
        {
            let mut state = loss_before(&cpu).expect("a state");
            cpu.reconstruction_loss(&d, &[bad], &mut state).expect("a loss");
            assert_eq!(state[0].non_finite, expected, "an error of {bad}");
        }
    }
}
