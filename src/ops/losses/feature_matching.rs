//! Feature matching: the generator's images shall have, in the mean over a batch, the features of real ones (Salimans et al.
//! 2016, section 3.1).
//!
//! L_G = w · ‖E_x f(x) − E_z f(G(z))‖²₂, f being some features of the discriminator. By the features of N generated images,
//!
//! ∂L_G/∂f(G(zᵢ)) = 2 w / N · (E_z f(G(z)) − E_x f(x)),
//!
//! the same for every i. Real images are constants. Of features that lie in parts, `[N, positions, parts, C]`, the first is
//! matched and the others are not: of the bottleneck's μ and log σ², μ.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::{AsArgument, arguments};
use crate::device::parallel::{ParallelSliceMut, Parts};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Out, Real, StepState, Storage, Stored, StoredOut};
use crate::ops::case::drawn_stored;
use crate::ops::models::{BATCH, CODES};
use crate::ops::pass::{self, Pass, real, stored};
use crate::ops::{Case, CaseBuffer, Fill};

/// Sizes of a batch of features, and what the loss is multiplied by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FeatureMatching {
    /// Images.
    pub n: usize,
    /// Rows times columns of the features.
    pub positions: usize,
    /// Parts at each position, of which the first is matched.
    pub parts: usize,
    /// Channels of a part.
    pub c: usize,
    /// w.
    pub weight: f64,
}

impl FeatureMatching {
    /// Features that are matched.
    pub fn matched(&self) -> usize {
        self.positions * self.c
    }

    /// Elements of one image's features.
    fn len(&self) -> usize {
        self.positions * self.parts * self.c
    }
}

/// Feature matching's passes.
pub trait FeatureMatchingOp: Backend {
    /// The mean `[positions, C]` of the features that are matched, over a batch `[N, positions, parts, C]`; overwrites mean.
    fn feature_matching_mean(&self, d: &FeatureMatching, features: Stored<'_, Self>, mean: Out<'_, Self>)
    -> Result<()>;

    /// From the means of real and of generated images, both `[positions, C]`: overwrites the generator's loss in the state's
    /// metrics. One that is not finite is noted there, unless something was noted before.
    fn feature_matching_loss(
        &self,
        d: &FeatureMatching,
        real_mean: In<'_, Self>,
        fake_mean: In<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()>;

    /// The loss's gradient `[N, positions, parts, C]` by the features of the generated images, 0 where they are not matched;
    /// overwrites `d_features`.
    fn feature_matching_backward_input(
        &self,
        d: &FeatureMatching,
        real_mean: In<'_, Self>,
        fake_mean: In<'_, Self>,
        d_features: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// Means that one task computes.
const BLOCK: usize = 256;

impl<T: Real, S: Storage<T>> FeatureMatchingOp for Cpu<T, S> {
    fn feature_matching_mean(&self, d: &FeatureMatching, features: &[S], mean: &mut [T]) -> Result<()> {
        mean.par_chunks_mut(BLOCK).enumerate().for_each(|(block, mean)| {
            for (at, mean) in (block * BLOCK..).zip(mean) {
                let first = at / d.c * d.parts * d.c + at % d.c;
                let sum: f64 = (0..d.n).map(|i| features[i * d.len() + first].real().to_f64()).sum();
                *mean = T::of(sum / d.n as f64);
            }
        });
        Ok(())
    }

    fn feature_matching_loss(
        &self,
        d: &FeatureMatching,
        real_mean: &[T],
        fake_mean: &[T],
        state: &mut [StepState],
    ) -> Result<()> {
        let rests = real_mean.iter().zip(fake_mean).map(|(real, fake)| fake.to_f64() - real.to_f64());
        let loss = d.weight * rests.map(|rest| rest * rest).sum::<f64>();
        state[0].metrics.loss_g = loss;
        state[0].note_unless_finite(loss, StepState::NON_FINITE_LOSS_G);
        Ok(())
    }

    fn feature_matching_backward_input(
        &self,
        d: &FeatureMatching,
        real_mean: &[T],
        fake_mean: &[T],
        d_features: &mut [S],
    ) -> Result<()> {
        let slope = 2.0 * d.weight / d.n as f64;
        d_features.par_chunks_mut(d.len()).for_each(|image| {
            let means = real_mean.chunks(d.c).zip(fake_mean.chunks(d.c));
            for (position, (real, fake)) in image.chunks_mut(d.parts * d.c).zip(means) {
                let (matched, others) = position.split_at_mut(d.c);
                for (target, (real, fake)) in matched.iter_mut().zip(real.iter().zip(fake)) {
                    *target = S::of_real(T::of(slope * (fake.to_f64() - real.to_f64())));
                }
                others.fill(S::of_real(T::ZERO));
            }
        });
        Ok(())
    }
}

/// The sizes as kernels/losses/feature_matching.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelFeatureMatching {
    weight: f64,
    n: i32,
    positions: i32,
    parts: i32,
    c: i32,
}

impl AsArgument for FeatureMatching {
    fn argument(&self) -> Argument {
        let FeatureMatching { n, positions, parts, c, weight } = *self;
        let [n, positions, parts, c] = [n, positions, parts, c].map(int);
        Argument::new(KernelFeatureMatching { weight, n, positions, parts, c })
    }
}

impl<T: Real, S: Storage<T>> FeatureMatchingOp for Accelerator<T, S> {
    fn feature_matching_mean(
        &self,
        d: &FeatureMatching,
        features: Stored<'_, Self>,
        mean: Out<'_, Self>,
    ) -> Result<()> {
        self.launch_elements(Kernel::FeatureMatchingMean, d.matched(), &arguments![d, features, mean])
    }

    fn feature_matching_loss(
        &self,
        d: &FeatureMatching,
        real_mean: In<'_, Self>,
        fake_mean: In<'_, Self>,
        state: Out<'_, Self, StepState>,
    ) -> Result<()> {
        self.launch_sum(Kernel::FeatureMatchingLoss, &arguments![d, real_mean, fake_mean, state])
    }

    fn feature_matching_backward_input(
        &self,
        d: &FeatureMatching,
        real_mean: In<'_, Self>,
        fake_mean: In<'_, Self>,
        d_features: StoredOut<'_, Self>,
    ) -> Result<()> {
        let arguments = arguments![d, real_mean, fake_mean, d_features];
        self.launch_elements(Kernel::FeatureMatchingBackwardInput, d.n * d.len(), &arguments)
    }
}

dry_run! {
    FeatureMatchingOp:
    feature_matching_mean(d: &FeatureMatching, features, mean) => features / d.parts + mean;
    feature_matching_loss(_d: &FeatureMatching, real, fake, _state) => real + fake;
    feature_matching_backward_input(_d: &FeatureMatching, real, fake, d_features) => real + fake + d_features;
}

/// One image and more, one part and two, features below and above a block of threads.
pub fn cases<B: FeatureMatchingOp>() -> Vec<Case<B>> {
    [(1, 1, 1, 1, 1.0), (3, 1, 2, 17, 1.0), (5, 6, 2, 3, 0.3), (2, 7, 1, 41, 2.5), (17, 3, 1, 5, 1.0)]
        .map(|(n, positions, parts, c, weight)| case(FeatureMatching { n, positions, parts, c, weight }))
        .into()
}

/// The loss as a function of the features of the generated images; those of the real ones are constants.
fn case<B: FeatureMatchingOp>(d: FeatureMatching) -> Case<B> {
    let FeatureMatching { n, positions, parts, c, weight } = d;
    let case = Case::new("feature_matching", format!("n{n} positions{positions} parts{parts} c{c} weight{weight}"))
        .input("features", n * d.len())
        .real_output("loss", 1);
    super::with_gradient(case, move |be: &B, [fakes]| {
        // A number far from those of the case's inputs.
        let reals = drawn_stored(be, n * d.len(), Fill::Uniform(-1.0, 1.0), 500)?;
        let (mut real_mean, mut fake_mean) = (be.alloc(d.matched())?, be.alloc(d.matched())?);
        let (mut d_features, mut state) = (be.alloc(n * d.len())?, be.buffer_of(&[StepState::new(0, 0.0)])?);
        be.feature_matching_mean(&d, be.view(&reals), be.view_mut(&mut real_mean))?;
        be.feature_matching_mean(&d, fakes.stored(), be.view_mut(&mut fake_mean))?;
        let (real, fake) = (be.view(&real_mean), be.view(&fake_mean));
        be.feature_matching_loss(&d, real, fake, be.view_mut(&mut state))?;
        be.feature_matching_backward_input(&d, real, fake, be.view_mut(&mut d_features))?;
        Ok(([be.read(be.view(&state))?[0].metrics.loss_g], [CaseBuffer::of_stored("d_features", d_features)]))
    })
}

/// On the features of the article's two models, μ and log σ² side by side.
pub(super) fn passes<B: FeatureMatchingOp>() -> Vec<Pass<B>> {
    let size = |(positions, c)| FeatureMatching { n: BATCH, positions, parts: 2, c, weight: 1.0 };
    pass::of_each(CODES, |code| passes_of(size(code)))
}

fn passes_of<B: FeatureMatchingOp>(d: FeatureMatching) -> [Pass<B>; 3] {
    let (op, shape) = ("feature_matching", format!("n{} positions{} parts{} c{}", d.n, d.positions, d.parts, d.c));
    let (features, mean) = (|| stored(d.n * d.len()), || real(d.matched()));
    [
        Pass::of(op, shape.clone(), "mean", [features()], [mean()], move |be: &B, [features], [mean], _| {
            be.feature_matching_mean(&d, features.stored(), mean.real())
        }),
        Pass::of(op, shape.clone(), "loss", [mean(), mean()], [], move |be: &B, [real, fake], [], state| {
            be.feature_matching_loss(&d, real.real(), fake.real(), state)
        }),
        Pass::of(
            op,
            shape,
            "backward_input",
            [mean(), mean()],
            [features()],
            move |be: &B, [real, fake], [d_features], _| {
                be.feature_matching_backward_input(&d, real.real(), fake.real(), d_features.stored())
            },
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two images of two positions with two parts of one feature: means of the first parts 2 and 5, of the real ones 1 and 3.
    #[test]
    fn known_means() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("a thread");
        let d = FeatureMatching { n: 2, positions: 2, parts: 2, c: 1, weight: 3.0 };
        let (mut mean, mut d_features) = ([f64::NAN; 2], [f64::NAN; 8]);
        cpu.feature_matching_mean(&d, &[1.0, 70.0, 4.0, 80.0, 3.0, -9.0, 6.0, 0.5], &mut mean).expect("means");
        assert_eq!(mean, [2.0, 5.0]);
        let mut state = [StepState::new(0, 0.0)];
        cpu.feature_matching_loss(&d, &[1.0, 3.0], &mean, &mut state).expect("a loss");
        assert_eq!((state[0].metrics.loss_g, state[0].non_finite), (3.0 * (1.0 + 4.0), 0));
        cpu.feature_matching_backward_input(&d, &[1.0, 3.0], &mean, &mut d_features).expect("a gradient");
        assert_eq!(d_features, [3.0, 0.0, 6.0, 0.0, 3.0, 0.0, 6.0, 0.0]);
    }

    #[test]
    fn what_is_not_finite_is_noted() {
        let cpu = Cpu::<f32>::new(Some(1)).expect("a thread");
        let d = FeatureMatching { n: 1, positions: 1, parts: 1, c: 2, weight: 1.0 };
        for (real, fake) in
            [([f32::NAN, 0.0], [0.0; 2]), ([0.0; 2], [1.0, f32::INFINITY]), ([f32::INFINITY; 2], [0.0; 2])]
        {
            let mut state = [StepState::new(0, 0.0)];
            cpu.feature_matching_loss(&d, &real, &fake, &mut state).expect("a loss");
            assert_eq!(state[0].non_finite, StepState::NON_FINITE_LOSS_G);
        }
    }
}
