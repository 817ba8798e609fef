//! Gradient penalties: the points at which D's gradient by the image is taken, and what that gradient costs.
//!
//! With g_i = ∂ℓ_i/∂x̂_i, the gradient of an image's logit by all of its elements, and weight w,
//!
//! R = (w / 2N) Σ ‖g_i‖² (R1 and R2: Mescheder et al. 2018, Eq. 9 and 10, w = γ), v_i = ∂R/∂g_i = (w / N) g_i;
//! R = (w / N) Σ (‖g_i‖ − 1)² (WGAN-GP: Gulrajani et al. 2017, Eq. 3; DRAGAN: Kodali et al. 2017; w = λ),
//! v_i = (2w / N) (‖g_i‖ − 1) g_i / ‖g_i‖, taken as 0 where g_i is 0.
//!
//! v starts the tangent pass that gives R's gradient by D's parameters ([`crate::nn::layer`]). The points of WGAN-GP lie
//! between real and generated images, x̂ = x + u (G(z) − x); those of DRAGAN around real ones, x̂ = x + u · ½ std(X) · w,
//! as its authors' code has it: std(X) is the population's, over all elements of the batch and divided by their number
//! (numpy's `minibatch.std()` there; PyTorch's `std()` would divide by one less), w is drawn from
//! U[0, 1) for each element, and u in both from U[0, 1) for each image.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::{
    Accelerator, Argument, Backend, Buffer, Cpu, In, Out, Real, StepState, Storage, Stored, StoredBuffer, StoredOut,
};
use crate::ops::models::{BATCH, image_lens};
use crate::ops::pass::{Pass, real, stored};
use crate::ops::{Case, CaseBuffer, CaseIn, Fill};

/// Sizes and weight of a gradient penalty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradientPenalty {
    /// Images, of all ranks.
    pub n: usize,
    /// Elements of an image.
    pub len: usize,
    /// The value to which the norm of a gradient is drawn.
    pub center: Center,
    /// γ or λ; k times that where only every kth step has a penalty.
    pub weight: f64,
}

/// The value to which the norm of a gradient is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Center {
    /// 0: half the squared norm counts.
    Zero,
    /// 1: the squared distance from it counts.
    One,
}

impl GradientPenalty {
    /// The factor that makes v of a gradient of this norm.
    fn scale(&self, norm: f64) -> f64 {
        let scale = self.weight / self.n as f64;
        match self.center {
            Center::Zero => scale,
            Center::One if norm > 0.0 => 2.0 * scale * (norm - 1.0) / norm,
            Center::One => 0.0,
        }
    }

    /// The cost of a gradient of this norm, without the weight.
    fn cost(&self, norm: f64) -> f64 {
        match self.center {
            Center::Zero => 0.5 * norm * norm,
            Center::One => (norm - 1.0) * (norm - 1.0),
        }
    }
}

/// The passes of gradient penalties. Everything is `[N, len]` but for what is said to be otherwise.
pub trait PenaltyOp: Backend {
    /// target = x + u (toward − x), u `[N]`; overwrites.
    fn penalty_interpolate(
        &self,
        x: Stored<'_, Self>,
        toward: Stored<'_, Self>,
        u: Stored<'_, Self>,
        target: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// Mean and variance (divided by `len`) of each image's elements, `[N, 2]`; overwrites.
    fn penalty_moments(&self, x: Stored<'_, Self>, moments: Out<'_, Self>) -> Result<()>;

    /// target = x + u · ½ std(x) · w, u `[N]`, with std(x) over the whole batch, from the moments `[N, 2]` of its images;
    /// overwrites.
    fn penalty_perturb(
        &self,
        x: Stored<'_, Self>,
        moments: In<'_, Self>,
        w: Stored<'_, Self>,
        u: Stored<'_, Self>,
        target: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// From the gradients g, of all N images or of some of them: overwrites v = ∂R/∂g and norms, ‖g_i‖, one for each image in g.
    fn gradient_penalty_norms(
        &self,
        d: &GradientPenalty,
        g: Stored<'_, Self>,
        v: StoredOut<'_, Self>,
        norms: Out<'_, Self>,
    ) -> Result<()>;

    /// From the norms of all images, `[N]`: adds R to the penalty of the state's metrics and to their `loss_d`. A loss that is not
    /// finite then is noted in `non_finite`, unless something was before.
    fn gradient_penalty_value(
        &self,
        d: &GradientPenalty,
        norms: In<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;
}

/// Σ term(element), in f64 and in order.
fn sum<T: Real, S: Storage<T>>(elements: &[S], term: impl Fn(f64) -> f64) -> f64 {
    elements.iter().map(|element| term(element.real().to_f64())).sum()
}

impl<T: Real, S: Storage<T>> PenaltyOp for Cpu<T, S> {
    fn penalty_interpolate(&self, x: &[S], toward: &[S], u: &[S], target: &mut [S]) -> Result<()> {
        let len = x.len() / u.len();
        let images = target.par_chunks_mut(len).zip(x.par_chunks(len)).zip(toward.par_chunks(len));
        images.zip(u).for_each(|(((target, x), toward), u)| {
            let between = |x: T, toward: T| S::of_real(x + u.real() * (toward - x));
            let pairs = target.iter_mut().zip(x).zip(toward);
            pairs.for_each(|((target, x), toward)| *target = between(x.real(), toward.real()));
        });
        Ok(())
    }

    fn penalty_moments(&self, x: &[S], moments: &mut [T]) -> Result<()> {
        let len = 2 * x.len() / moments.len();
        moments.par_chunks_mut(2).zip(x.par_chunks(len)).for_each(|(moments, x)| {
            let sum = |term: &dyn Fn(f64) -> f64| sum(x, term);
            let mean = sum(&|x| x) / len as f64;
            moments[0] = T::of(mean);
            moments[1] = T::of(sum(&|x| (x - mean) * (x - mean)) / len as f64);
        });
        Ok(())
    }

    fn penalty_perturb(&self, x: &[S], moments: &[T], w: &[S], u: &[S], target: &mut [S]) -> Result<()> {
        let (n, len) = (u.len() as f64, x.len() / u.len());
        let pairs = moments.chunks_exact(2).map(|pair| (pair[0].to_f64(), pair[1].to_f64()));
        let mean = pairs.clone().map(|(mean, _)| mean).sum::<f64>() / n;
        let spread = pairs.map(|(own, variance)| variance + (own - mean) * (own - mean)).sum::<f64>() / n;
        let half_std = T::of(0.5 * spread.sqrt());
        let images = target.par_chunks_mut(len).zip(x.par_chunks(len)).zip(w.par_chunks(len));
        images.zip(u).for_each(|(((target, x), w), u)| {
            let reach = u.real() * half_std;
            target
                .iter_mut()
                .zip(x)
                .zip(w)
                .for_each(|((target, x), w)| *target = S::of_real(x.real() + reach * w.real()));
        });
        Ok(())
    }

    fn gradient_penalty_norms(&self, d: &GradientPenalty, g: &[S], v: &mut [S], norms: &mut [T]) -> Result<()> {
        let images = v.par_chunks_mut(d.len).zip(g.par_chunks(d.len)).zip(norms.par_iter_mut());
        images.for_each(|((v, g), slot)| {
            let norm = sum(g, |g| g * g).sqrt();
            let scale = T::of(d.scale(norm));
            v.iter_mut().zip(g).for_each(|(v, g)| *v = S::of_real(scale * g.real()));
            *slot = T::of(norm);
        });
        Ok(())
    }

    fn gradient_penalty_value(&self, d: &GradientPenalty, norms: &[T], state: &mut [StepState]) -> Result<()> {
        let penalty = d.weight * sum(norms, |norm| d.cost(norm)) / d.n as f64;
        let state = &mut state[0];
        state.metrics.penalty += penalty;
        state.metrics.loss_d += penalty;
        state.note_unless_finite(state.metrics.loss_d, StepState::NON_FINITE_LOSS_D);
        Ok(())
    }
}

/// The sizes and the weight as kernels/losses/penalty.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelPenalty {
    weight: f64,
    sizes: [i32; 2],
    to_one: i32,
    padding: i32,
}

impl AsArgument for GradientPenalty {
    fn argument(&self) -> Argument {
        let to_one = i32::from(self.center == Center::One);
        let sizes = [self.n, self.len].map(int);
        Argument::new(KernelPenalty { weight: self.weight, sizes, to_one, padding: 0 })
    }
}

impl<T: Real, S: Storage<T>> PenaltyOp for Accelerator<T, S> {
    fn penalty_interpolate(
        &self,
        x: Stored<'_, Self>,
        toward: Stored<'_, Self>,
        u: Stored<'_, Self>,
        target: StoredOut<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![x.len() / u.len(), x, toward, u, target];
        self.launch_images(Kernel::PenaltyInterpolate, u.len(), &arguments)
    }

    fn penalty_moments(&self, x: Stored<'_, Self>, moments: Out<'_, Self>) -> Result<()> {
        let n = moments.len() / 2;
        self.launch_images(Kernel::PenaltyMoments, n, &arguments![x.len() / n, x, moments])
    }

    fn penalty_perturb(
        &self,
        x: Stored<'_, Self>,
        moments: In<'_, Self>,
        w: Stored<'_, Self>,
        u: Stored<'_, Self>,
        target: StoredOut<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![u.len(), x.len() / u.len(), x, moments, w, u, target];
        self.launch_images(Kernel::PenaltyPerturb, u.len(), &arguments)
    }

    fn gradient_penalty_norms(
        &self,
        d: &GradientPenalty,
        g: Stored<'_, Self>,
        v: StoredOut<'_, Self>,
        norms: Out<'_, Self>,
    ) -> Result<()> {
        self.launch_images(Kernel::GradientPenaltyNorms, norms.len(), &arguments![d, g, v, norms])
    }

    fn gradient_penalty_value(
        &self,
        d: &GradientPenalty,
        norms: In<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        self.launch_sum(Kernel::GradientPenaltyValue, &arguments![d, norms, state])
    }
}

dry_run! {
    PenaltyOp:
    penalty_interpolate(x, toward, u, target) => x + toward + u + target;
    // Once for the mean, once for the variance.
    penalty_moments(x, moments) => 2 * x + moments;
    penalty_perturb(x, moments, w, u, target) => x + moments + w + u + target;
    // Once for the norms, once to scale.
    gradient_penalty_norms(_d: &GradientPenalty, g, v, norms) => 2 * g + v + norms;
    gradient_penalty_value(_d: &GradientPenalty, norms, _state) => norms;
}

/// One image and one element, odd sizes, more images and more elements than a block has threads; both centers.
pub fn cases<B: PenaltyOp>() -> Vec<Case<B>> {
    let mut cases = Vec::new();
    for (n, len) in [(1, 1), (3, 17), (5, 300), (300, 3)] {
        let penalty = |center| case(GradientPenalty { n, len, center, weight: 0.7 * n as f64 });
        cases.extend([Center::Zero, Center::One].map(penalty));
        cases.extend([false, true].map(|around| points_case(n, len, around)));
    }
    cases
}

/// R as a function of the gradients.
fn case<B: PenaltyOp>(d: GradientPenalty) -> Case<B> {
    let GradientPenalty { n, len, center, .. } = d;
    let case = Case::new("penalty", format!("n{n} len{len} {center:?}")).input("g", n * len).real_output("penalty", 1);
    super::with_gradient(case, move |be: &B, [g]| {
        let (state, v, _) = penalised(be, &d, g.stored())?;
        Ok(([state.metrics.penalty], [CaseBuffer::of_stored("v", v)]))
    })
}

/// R, v and the norms, on a state whose `loss_d` is R alone.
fn penalised<B: PenaltyOp>(
    be: &B,
    d: &GradientPenalty,
    g: Stored<'_, B>,
) -> Result<(StepState, StoredBuffer<B>, Buffer<B>)> {
    let (mut v, mut norms) = (be.alloc(d.n * d.len)?, be.alloc(d.n)?);
    let mut state = be.buffer_of(&[StepState::new(0, 0.0)])?;
    be.gradient_penalty_norms(d, g, be.view_mut(&mut v), be.view_mut(&mut norms))?;
    be.gradient_penalty_value(d, be.view(&norms), be.view_mut(&mut state))?;
    Ok((be.read(be.view(&state))?[0], v, norms))
}

/// The points at which gradients are taken: between two batches, or around one.
fn points_case<B: PenaltyOp>(n: usize, len: usize, around: bool) -> Case<B> {
    Case::new("penalty", format!("n{n} len{len} points {}", if around { "around" } else { "between" }))
        .input("x", n * len)
        .filled_input("toward or w", n * len, Fill::Uniform(0.0, 1.0))
        .filled_input("u", n, Fill::Uniform(0.0, 1.0))
        .output("points", n * len)
        .real_output("moments", 2 * n)
        .forward(move |be: &B, inputs, [points, moments]| {
            let ([x, other, u], points, mut moments) = (inputs.map(CaseIn::stored), points.stored(), moments.real());
            be.penalty_moments(x, be.reborrow(&mut moments))?;
            if around {
                be.penalty_perturb(x, be.freeze(moments), other, u, points)
            } else {
                be.penalty_interpolate(x, other, u, points)
            }
        })
}

/// At the sizes of the models.
pub(super) fn passes<B: PenaltyOp>() -> [Pass<B>; 2] {
    image_lens().map(|len| {
        let d = GradientPenalty { n: BATCH, len, center: Center::One, weight: 10.0 };
        let (shape, elements) = (format!("n{BATCH} len{len}"), BATCH * len);
        let outputs = [stored(elements), real(BATCH)];
        Pass::of("penalty", shape, "value", [stored(elements)], outputs, move |be: &B, [g], [v, norms], state| {
            let mut norms = norms.real();
            be.gradient_penalty_norms(&d, g.stored(), v.stored(), be.reborrow(&mut norms))?;
            be.gradient_penalty_value(&d, be.freeze(norms), state)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu() -> Cpu<f64> {
        Cpu::new(Some(1)).expect("a thread")
    }

    /// Two images by hand: norms 5 and 0.
    #[test]
    fn values_by_hand_and_no_gradient_is_no_nan() {
        let g = [3.0, -4.0, 0.0, 0.0];
        for (center, penalty, v) in [
            (Center::Zero, 10.0 / 2.0 * 12.5, [15.0, -20.0, 0.0, 0.0]),
            (Center::One, 10.0 / 2.0 * 17.0, [24.0, -32.0, 0.0, 0.0]),
        ] {
            let d = GradientPenalty { n: 2, len: 2, center, weight: 10.0 };
            let (state, found, norms) = penalised(&cpu(), &d, &g).expect("a penalty");
            assert_eq!((state.metrics.penalty, state.metrics.loss_d), (penalty, penalty), "{center:?}");
            assert_eq!(norms, [5.0, 0.0]);
            assert!(found.iter().zip(v).all(|(a, b)| (a - b).abs() < 1e-12), "{center:?}: {found:?}");
        }
    }

    #[test]
    fn what_is_not_finite_is_noted() {
        let d = GradientPenalty { n: 1, len: 2, center: Center::One, weight: 1.0 };
        let (state, ..) = penalised(&cpu(), &d, &[1.0, f64::NAN]).expect("a penalty");
        assert_eq!(state.non_finite, StepState::NON_FINITE_LOSS_D);
    }

    /// The batch 0, 2 | 4, 6 has mean 3 and variance 5, over all its elements.
    #[test]
    fn points_by_hand() {
        let (cpu, x, mut target) = (cpu(), vec![0.0, 2.0, 4.0, 6.0], vec![0.0; 4]);
        cpu.penalty_interpolate(&x, &[1.0, 1.0, 8.0, 0.0], &[0.5, 0.25], &mut target).expect("points");
        assert_eq!(target, [0.5, 1.5, 5.0, 4.5]);
        let mut moments = vec![0.0; 4];
        cpu.penalty_moments(&x, &mut moments).expect("moments");
        assert_eq!(moments, [1.0, 1.0, 5.0, 1.0]);
        cpu.penalty_perturb(&x, &moments, &[1.0, 0.0, 0.5, 1.0], &[0.5, 1.0], &mut target).expect("points");
        let half_std = 0.5 * 5.0f64.sqrt();
        let expected = [0.5 * half_std, 2.0, 4.0 + 0.5 * half_std, 6.0 + half_std];
        assert!(target.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-15), "{target:?}");
    }
}
