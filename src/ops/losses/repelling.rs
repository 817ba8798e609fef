//! The repelling regulariser, or pulling-away term, of EBGAN: codes of different images shall point in different directions,
//! so that the generator does not draw one image again and again (Zhao et al. 2017, Eq. 4).
//!
//! PT = 1 / (N (N − 1)) Σ_{i ≠ j} cos²(sᵢ, sⱼ), over a batch of codes s `[N, dims]`. With uᵢ = sᵢ / |sᵢ|,
//!
//! ∂PT/∂sᵢ = 4 / (N (N − 1) |sᵢ|) · Σ_{j ≠ i} cosᵢⱼ (uⱼ − cosᵢⱼ uᵢ).
//!
//! A code that is zero has no direction: its cosines and its gradient are 0.

use super::{loss_before, with_gradient};
use crate::Result;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Out, Real, StepState, Storage, Stored, StoredOut};
use crate::ops::models::{BATCH, CODES};
use crate::ops::pass::{self, Pass, real, stored};
use crate::ops::{Case, CaseBuffer};

/// Sizes of a batch of codes, and what the term is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Repelling {
    /// Images, two at least.
    pub n: usize,
    /// Elements of one image's code.
    pub dims: usize,
    /// λ_PT.
    pub weight: f64,
}

impl Repelling {
    /// Ordered pairs of different images.
    fn pairs(&self) -> f64 {
        self.n as f64 * (self.n as f64 - 1.0)
    }

    /// The factor of the sum in λ ∂PT/∂s, without |sᵢ|.
    fn slope(&self) -> f64 {
        4.0 * self.weight / self.pairs()
    }
}

/// The term's passes.
pub trait RepellingOp: Backend {
    /// From codes `[N, dims]` their cosines `[N, N]`, overwritten; on the diagonal stands |sᵢ|.
    fn repelling_forward(&self, d: &Repelling, codes: Stored<'_, Self>, cosines: Out<'_, Self>) -> Result<()>;

    /// Adds λ PT to the generator's loss in the state's metrics. One that is not finite is noted there, unless something
    /// was noted before.
    fn repelling_loss(&self, d: &Repelling, cosines: In<'_, Self>, state: Out<'_, Self, StepState>) -> Result<()>;

    /// `d_codes` += λ ∂PT/∂s, `[N, dims]`. It adds, since what followed the codes in the network has come down there
    /// before.
    fn repelling_backward_input(
        &self,
        d: &Repelling,
        codes: Stored<'_, Self>,
        cosines: In<'_, Self>,
        d_codes: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// Dimensions whose sums are kept at once.
const BLOCK: usize = 256;

/// ⟨a, b⟩ in eight interleaved parts, so that it runs in vectors and always in the same order.
#[inline(always)]
fn dot<T: Real, S: Storage<T>>(a: &[S], b: &[S]) -> f64 {
    let product = |(a, b): (&S, &S)| a.real().to_f64() * b.real().to_f64();
    let mut lanes = [0.0; 8];
    let (a, b) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a.remainder().iter().zip(b.remainder()).map(product).sum();
    for (a, b) in a.zip(b) {
        lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, pair)| *lane += product(pair));
    }
    lanes.into_iter().sum::<f64>() + rest
}

/// value / divisor, or 0 where the divisor is 0.
#[inline(always)]
fn over(value: f64, divisor: f64) -> f64 {
    if divisor == 0.0 { 0.0 } else { value / divisor }
}

impl<T: Real, S: Storage<T>> RepellingOp for Cpu<T, S> {
    fn repelling_forward(&self, d: &Repelling, codes: &[S], cosines: &mut [T]) -> Result<()> {
        let code = |i: usize| &codes[i * d.dims..(i + 1) * d.dims];
        cosines.par_chunks_mut(d.n).enumerate().for_each(|(i, row)| {
            vectorised!({
                let norm = dot(code(i), code(i)).sqrt();
                for (j, cosine) in row.iter_mut().enumerate() {
                    let (product, other) = (dot(code(i), code(j)), dot(code(j), code(j)).sqrt());
                    *cosine = T::of(if i == j { norm } else { over(product, norm * other) });
                }
            });
        });
        Ok(())
    }

    fn repelling_loss(&self, d: &Repelling, cosines: &[T], state: &mut [StepState]) -> Result<()> {
        let different = cosines.iter().enumerate().filter(|(at, _)| at / d.n != at % d.n);
        let sum: f64 = different.map(|(_, cosine)| cosine.to_f64() * cosine.to_f64()).sum();
        state[0].add_to_generator_loss(d.weight * sum / d.pairs());
        Ok(())
    }

    fn repelling_backward_input(&self, d: &Repelling, codes: &[S], cosines: &[T], d_codes: &mut [S]) -> Result<()> {
        let slope = T::of(d.slope());
        let code = |i: usize| &codes[i * d.dims..(i + 1) * d.dims];
        let norm = |i: usize| cosines[i * d.n + i];
        d_codes.par_chunks_mut(d.dims).enumerate().for_each(|(i, target)| {
            if norm(i) == T::ZERO {
                return;
            }
            vectorised!({
                let others = || (0..d.n).filter(|&j| j != i && norm(j) != T::ZERO).map(|j| (j, cosines[i * d.n + j]));
                let own = others().map(|(_, cosine)| cosine * cosine).sum::<T>() / norm(i);
                let before = slope / norm(i);
                for (block, target) in target.chunks_mut(BLOCK).enumerate() {
                    let within = block * BLOCK..block * BLOCK + target.len();
                    let mut pull = [T::ZERO; BLOCK];
                    for (j, cosine) in others() {
                        let share = cosine / norm(j);
                        pull.iter_mut().zip(&code(j)[within.clone()]).for_each(|(pull, s)| *pull += share * s.real());
                    }
                    for (target, (&pull, s)) in target.iter_mut().zip(pull.iter().zip(&code(i)[within])) {
                        *target = S::of_real(target.real() + before * (pull - own * s.real()));
                    }
                }
            });
        });
        Ok(())
    }
}

/// The sizes as kernels/losses/repelling.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelRepelling {
    weight: f64,
    slope: f64,
    n: i32,
    dims: i32,
}

impl AsArgument for Repelling {
    fn argument(&self) -> Argument {
        let Repelling { n, dims, weight } = *self;
        Argument::new(KernelRepelling { weight, slope: self.slope(), n: int(n), dims: int(dims) })
    }
}

impl<T: Real, S: Storage<T>> RepellingOp for Accelerator<T, S> {
    fn repelling_forward(&self, d: &Repelling, codes: Stored<'_, Self>, cosines: Out<'_, Self>) -> Result<()> {
        self.launch_images(Kernel::RepellingForward, d.n, &arguments![d, codes, cosines])
    }

    fn repelling_loss(&self, d: &Repelling, cosines: In<'_, Self>, state: Out<'_, Self, StepState>) -> Result<()> {
        self.launch_sum(Kernel::RepellingLoss, &arguments![d, cosines, state])
    }

    fn repelling_backward_input(
        &self,
        d: &Repelling,
        codes: Stored<'_, Self>,
        cosines: In<'_, Self>,
        d_codes: StoredOut<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![d, codes, cosines, d_codes];
        self.launch_elements(Kernel::RepellingBackwardInput, d.n * d.dims, &arguments)
    }
}

dry_run! {
    RepellingOp:
    // Each code is read beside every other one.
    repelling_forward(d: &Repelling, codes, cosines) => d.n * codes + cosines;
    repelling_loss(_d: &Repelling, cosines, _state) => cosines;
    repelling_backward_input(d: &Repelling, codes, cosines, d_codes) => d.n * codes + cosines + 2 * d_codes;
}

/// Two images and more, codes below and above a vector and a block of threads. Codes of one element all point the same way
/// or the opposite: there would be nothing to differentiate.
pub fn cases<B: RepellingOp>() -> Vec<Case<B>> {
    [(2, 2, 1.0), (3, 3, 0.1), (5, 17, 1.0), (3, 261, 0.5), (17, 7, 0.1)]
        .map(|(n, dims, weight)| case(Repelling { n, dims, weight }))
        .into()
}

fn case<B: RepellingOp>(d: Repelling) -> Case<B> {
    let Repelling { n, dims, weight } = d;
    let case = Case::new("repelling", format!("n{n} dims{dims} weight{weight}"))
        .input("codes", n * dims)
        .real_output("loss", 1);
    with_gradient(case, move |be: &B, [codes]| {
        let codes = codes.stored();
        let (mut cosines, mut d_codes, mut state) = (be.alloc(n * n)?, be.alloc(n * dims)?, loss_before(be)?);
        be.repelling_forward(&d, codes, be.view_mut(&mut cosines))?;
        be.repelling_loss(&d, be.view(&cosines), be.view_mut(&mut state))?;
        be.repelling_backward_input(&d, codes, be.view(&cosines), be.view_mut(&mut d_codes))?;
        Ok(([be.read(be.view(&state))?[0].metrics.loss_g], [CaseBuffer::of_stored("d_codes", d_codes)]))
    })
}

/// At the sizes of the models.
pub(super) fn passes<B: RepellingOp>() -> Vec<Pass<B>> {
    let size = |(positions, c)| Repelling { n: BATCH, dims: positions * c, weight: 0.1 };
    pass::of_each(CODES, |code| passes_of(size(code)))
}

fn passes_of<B: RepellingOp>(d: Repelling) -> [Pass<B>; 3] {
    let (op, shape) = ("repelling", format!("n{} dims{}", d.n, d.dims));
    let (codes, cosines) = (|| stored(d.n * d.dims), || real(d.n * d.n));
    [
        Pass::of(op, shape.clone(), "forward", [codes()], [cosines()], move |be: &B, [codes], [cosines], _| {
            be.repelling_forward(&d, codes.stored(), cosines.real())
        }),
        Pass::of(op, shape.clone(), "loss", [cosines()], [], move |be: &B, [cosines], [], state| {
            be.repelling_loss(&d, cosines.real(), state)
        }),
        Pass::of(
            op,
            shape,
            "backward_input",
            [codes(), cosines()],
            [codes()],
            move |be: &B, [s, cosines], [d_codes], _| {
                be.repelling_backward_input(&d, s.stored(), cosines.real(), d_codes.stored())
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// λ PT and its gradient.
    fn term(codes: &[f64], d: Repelling) -> (StepState, Vec<f64>) {
        let cpu = Cpu::<f64>::new(Some(1)).expect("threads");
        let (mut cosines, mut d_codes) = (vec![f64::NAN; d.n * d.n], vec![0.0; codes.len()]);
        let mut state = [StepState::new(0, 0.0)];
        cpu.repelling_forward(&d, codes, &mut cosines).expect("cosines");
        cpu.repelling_loss(&d, &cosines, &mut state).expect("a loss");
        cpu.repelling_backward_input(&d, codes, &cosines, &mut d_codes).expect("a gradient");
        (state[0], d_codes)
    }

    #[test]
    fn known_angles() {
        let d = Repelling { n: 2, dims: 2, weight: 1.0 };
        let value = |codes: &[f64]| term(codes, d).0.metrics.loss_g;
        let root = 3f64.sqrt();
        for (codes, expected) in [
            ([3.0, 0.0, 0.0, 2.0], 0.0),
            ([1.0, 2.0, 2.0, 4.0], 1.0),
            ([1.0, 2.0, -1.0, -2.0], 1.0),
            ([5.0, 0.0, 1.0, root], 0.25),
        ] {
            assert!((value(&codes) - expected).abs() < 1e-15, "{codes:?}");
        }
        // Three images, of which two are the same: 2 of 6 ordered pairs.
        let three = Repelling { n: 3, dims: 2, weight: 0.3 };
        assert!((term(&[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], three).0.metrics.loss_g - 0.1).abs() < 1e-15);
    }

    #[test]
    fn a_code_of_zero_repels_nothing() {
        let d = Repelling { n: 3, dims: 2, weight: 1.0 };
        let (state, gradient) = term(&[0.0, 0.0, 1.0, 1.0, 2.0, 0.0], d);
        assert!((state.metrics.loss_g - 0.5 * 2.0 / 6.0).abs() < 1e-15);
        assert!(gradient.iter().all(|d| d.is_finite()) && gradient[..2] == [0.0, 0.0] && gradient[2] != 0.0);
    }

    #[test]
    fn what_is_not_finite_is_noted() {
        let d = Repelling { n: 2, dims: 1, weight: 1.0 };
        assert_eq!(term(&[f64::NAN, 1.0], d).0.non_finite, StepState::NON_FINITE_LOSS_G);
        assert_eq!(term(&[2.0, 1.0], d).0.non_finite, 0);
    }
}
