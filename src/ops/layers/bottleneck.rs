//! The variational bottleneck (Peng et al. 2018, Eq. 8): reparameterisation (Kingma & Welling 2014) and KL in one pass.
//!
//! The encoder's output holds μ and s side by side: `[N, positions, 2, C]`, μ first. s is log σ² in the article, log σ in the
//! paper's official code, and σ = e^{r s} with the rate r = ½ or 1 ([`Sigma`]). Then, for every dimension,
//!
//! z = μ + σ · ε, ε ~ N(0, 1);  KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 2 r s − 1)
//!
//! with z `[N, positions, C]` and `kl` `[N]`, the sum over an image's dimensions, in nats. ε comes from Philox and is
//! drawn again in the backward pass, never stored.

mod cases;
pub(crate) use cases::{cases, passes};

use std::ops::Range;

use rayon::prelude::*;

use crate::Result;
use crate::choices::choices;
use crate::device::accelerator::int;
use crate::device::cpu::vectorised;
use crate::device::kernels::{Kernel, size};
use crate::device::normal::fill_normals;
use crate::device::philox::{DrawStep, Stream};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Launcher, Out, Real, StepState};

choices! {
    /// What the encoder's second output s is. The family of distributions is the same; but weights and gradients of one size
    /// start log σ twice as wide with `logstd`, and move it twice as fast.
    pub enum Sigma {
        /// log σ², so σ = e^(logvar/2) (the article). What runs had before this was a setting.
        Logvar = "logvar",
        /// log σ, so σ = e^logstd (the paper's official code, `reparametrize` of `gan_training/models/resnet.py`).
        Logstd = "logstd",
    }
}

impl Sigma {
    /// r of σ = e^{r s}.
    pub fn rate(self) -> f64 {
        match self {
            Sigma::Logvar => 0.5,
            Sigma::Logstd => 1.0,
        }
    }
}

/// Sizes of a bottleneck, and how its encoder says σ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bottleneck {
    /// Images.
    pub n: usize,
    /// Positions of the encoder's last image.
    pub positions: usize,
    /// Channels of z at each position.
    pub c: usize,
    /// What the encoder's second output is.
    pub sigma: Sigma,
}

impl Bottleneck {
    /// Dimensions of one image's z.
    pub fn dims(&self) -> usize {
        self.positions * self.c
    }
}

/// Where ε comes from.
pub enum Noise<'a, B: Backend> {
    /// ε = 0: z is the mean.
    Mean,
    /// Given, in the layout of z.
    Given(In<'a, B>),
    /// Drawn for the step in `state`. The images come in equal groups, one a stream; within its group an image is
    /// numbered from 0.
    Drawn {
        /// The streams of the groups.
        streams: &'a [Stream],
        /// Which draw of the step.
        draws: DrawStep,
        /// Seed and step.
        state: In<'a, B, StepState>,
    },
}

impl<B: Backend> Clone for Noise<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<B: Backend> Copy for Noise<'_, B> {}

/// The bottleneck's passes; `mu_s` is the encoder's output `[N, positions, 2, C]`.
pub trait BottleneckOp: Backend {
    /// z = μ + σ·ε `[N, positions, C]` and kl `[N]`; overwrites both.
    fn bottleneck_forward(
        &self,
        d: &Bottleneck,
        mu_s: In<'_, Self>,
        noise: Noise<'_, Self>,
        z: Out<'_, Self>,
        kl: Out<'_, Self>,
    ) -> Result<()>;

    /// dμ = dz + dkl · μ and ds = r (dz · σ · ε + dkl · (σ² − 1)); overwrites. dz is `[N, positions, C]`, dkl
    /// `[N]`; the noise is that of the forward pass.
    fn bottleneck_backward_input(
        &self,
        d: &Bottleneck,
        mu_s: In<'_, Self>,
        noise: Noise<'_, Self>,
        dz: In<'_, Self>,
        dkl: In<'_, Self>,
        d_mu_s: Out<'_, Self>,
    ) -> Result<()>;

    /// v_z = v_μ + r σ ε · v_s, the tangent of z alone (kl has none here); overwrites.
    fn bottleneck_tangent(
        &self,
        d: &Bottleneck,
        mu_s: In<'_, Self>,
        noise: Noise<'_, Self>,
        v_mu_s: In<'_, Self>,
        v_z: Out<'_, Self>,
    ) -> Result<()>;

    /// ds += r² σ ε · v_s · dz, which is the derivative of ⟨v_z, dz⟩, v_z the tangent of z; μ's part of `d_mu_s` is left
    /// alone. A gradient penalty needs it.
    fn bottleneck_curvature(
        &self,
        d: &Bottleneck,
        mu_s: In<'_, Self>,
        noise: Noise<'_, Self>,
        v_mu_s: In<'_, Self>,
        dz: In<'_, Self>,
        d_mu_s: Out<'_, Self>,
    ) -> Result<()>;
}

/// Elements for which noise is drawn at once.
const BLOCK: usize = 256;

/// The sum of a block in eight interleaved parts, so that it runs in vectors and always in the same order.
#[inline(always)]
fn lane_sum<T: Real>(terms: &[T; BLOCK]) -> T {
    let mut lanes = [T::ZERO; 8];
    for eight in terms.chunks_exact(8) {
        lanes.iter_mut().zip(eight).for_each(|(lane, &term)| *lane += term);
    }
    lanes.into_iter().sum()
}

/// Calls `work(dimensions, where their μ stands in [positions, 2, C], ε)` block by block over one image's dimensions;
/// their s stand C further on.
#[inline(always)]
fn each_block<T: Real>(
    d: &Bottleneck,
    noise: Noise<'_, Cpu<T>>,
    image: usize,
    mut work: impl FnMut(Range<usize>, usize, &[T]),
) {
    for position in 0..d.positions {
        for from in (0..d.c).step_by(BLOCK) {
            let len = BLOCK.min(d.c - from);
            let first = position * d.c + from;
            let mu_at = first + position * d.c;
            match noise {
                Noise::Mean => work(first..first + len, mu_at, &[T::ZERO; BLOCK][..len]),
                Noise::Given(given) => work(first..first + len, mu_at, &given[image * d.dims() + first..][..len]),
                Noise::Drawn { streams, draws, state } => {
                    let group = d.n / streams.len();
                    let sample = u32::try_from(image % group).unwrap_or(u32::MAX);
                    // Draws come in fours; a block need not begin at a multiple of four.
                    let before = first % 4;
                    let mut drawn = [0.0f32; BLOCK + 4];
                    let drawn = &mut drawn[..before + len];
                    let (seed, step) = (state[0].seed, draws.of(state[0].step));
                    fill_normals(seed, streams[image / group], step, sample, first - before, drawn);
                    let mut widened = [T::ZERO; BLOCK];
                    widened.iter_mut().zip(&drawn[before..]).for_each(|(w, &d)| *w = T::of_f32(d));
                    work(first..first + len, mu_at, &widened[..len]);
                }
            }
        }
    }
}

impl<T: Real> BottleneckOp for Cpu<T> {
    fn bottleneck_forward(
        &self,
        d: &Bottleneck,
        mu_s: &[T],
        noise: Noise<'_, Self>,
        z: &mut [T],
        kl: &mut [T],
    ) -> Result<()> {
        let (rate, log_variance) = (T::of(d.sigma.rate()), T::of(2.0 * d.sigma.rate()));
        let images = z.par_chunks_mut(d.dims()).zip(mu_s.par_chunks(2 * d.dims()));
        images.zip(kl).enumerate().for_each(|(image, ((z, mu_s), kl))| {
            let mut total = 0.0;
            vectorised(|| {
                each_block(d, noise, image, |range, at, epsilon| {
                    let n = epsilon.len();
                    let (mu, s, z) = (&mu_s[at..at + n], &mu_s[at + d.c..][..n], &mut z[range]);
                    let mut sigma = [T::ZERO; BLOCK];
                    sigma.iter_mut().zip(s).for_each(|(sigma, &s)| *sigma = (rate * s).exp());
                    let mut terms = [T::ZERO; BLOCK];
                    for j in 0..n {
                        z[j] = mu[j] + sigma[j] * epsilon[j];
                        terms[j] = mu[j] * mu[j] + sigma[j] * sigma[j] - log_variance * s[j] - T::ONE;
                    }
                    total += 0.5 * lane_sum(&terms).to_f64();
                });
            });
            *kl = T::of(total);
        });
        Ok(())
    }

    fn bottleneck_backward_input(
        &self,
        d: &Bottleneck,
        mu_s: &[T],
        noise: Noise<'_, Self>,
        dz: &[T],
        dkl: &[T],
        d_mu_s: &mut [T],
    ) -> Result<()> {
        let rate = T::of(d.sigma.rate());
        let images = d_mu_s.par_chunks_mut(2 * d.dims()).zip(mu_s.par_chunks(2 * d.dims()));
        images.zip(dz.par_chunks(d.dims())).zip(dkl).enumerate().for_each(|(image, (((target, mu_s), dz), &dkl))| {
            vectorised(|| {
                each_block(d, noise, image, |range, at, epsilon| {
                    let n = epsilon.len();
                    let (mu, s, dz) = (&mu_s[at..at + n], &mu_s[at + d.c..][..n], &dz[range]);
                    let (d_mu, d_s) = target[at..].split_at_mut(d.c);
                    let (d_mu, d_s) = (&mut d_mu[..n], &mut d_s[..n]);
                    let mut sigma = [T::ZERO; BLOCK];
                    sigma.iter_mut().zip(s).for_each(|(sigma, &s)| *sigma = (rate * s).exp());
                    for j in 0..n {
                        d_mu[j] = dz[j] + dkl * mu[j];
                        d_s[j] = rate * (dz[j] * sigma[j] * epsilon[j] + dkl * (sigma[j] * sigma[j] - T::ONE));
                    }
                });
            });
        });
        Ok(())
    }

    fn bottleneck_tangent(
        &self,
        d: &Bottleneck,
        mu_s: &[T],
        noise: Noise<'_, Self>,
        v_mu_s: &[T],
        v_z: &mut [T],
    ) -> Result<()> {
        let rate = T::of(d.sigma.rate());
        let images = v_z.par_chunks_mut(d.dims()).zip(mu_s.par_chunks(2 * d.dims()));
        images.zip(v_mu_s.par_chunks(2 * d.dims())).enumerate().for_each(|(image, ((v_z, mu_s), v))| {
            each_block(d, noise, image, |range, at, epsilon| {
                for (j, (v_z, &epsilon)) in v_z[range].iter_mut().zip(epsilon).enumerate() {
                    let (mu, s) = (at + j, at + j + d.c);
                    *v_z = v[mu] + rate * (rate * mu_s[s]).exp() * epsilon * v[s];
                }
            });
        });
        Ok(())
    }

    fn bottleneck_curvature(
        &self,
        d: &Bottleneck,
        mu_s: &[T],
        noise: Noise<'_, Self>,
        v_mu_s: &[T],
        dz: &[T],
        d_mu_s: &mut [T],
    ) -> Result<()> {
        let rate = T::of(d.sigma.rate());
        let square = rate * rate;
        let images = d_mu_s.par_chunks_mut(2 * d.dims()).zip(mu_s.par_chunks(2 * d.dims()));
        let directions = v_mu_s.par_chunks(2 * d.dims()).zip(dz.par_chunks(d.dims()));
        images.zip(directions).enumerate().for_each(|(image, ((target, mu_s), (v, dz)))| {
            each_block(d, noise, image, |range, at, epsilon| {
                for (j, (&dz, &epsilon)) in dz[range].iter().zip(epsilon).enumerate() {
                    let s = at + j + d.c;
                    target[s] += square * (rate * mu_s[s]).exp() * epsilon * v[s] * dz;
                }
            });
        });
        Ok(())
    }
}

/// The sizes and the kind of noise as kernels/layers/bottleneck.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelBottleneck {
    sizes: [i32; 3],
    noise: i32,
    group: i32,
    streams: [u32; 2],
    draws: DrawStep,
    logstd: i32,
}

/// The sizes, the given noise and the state, as the kernels' parameters.
fn noise_arguments<L: Launcher, T: Real>(d: &Bottleneck, noise: Noise<'_, Accelerator<L, T>>) -> [Argument; 3] {
    let none = Argument::new(0u64);
    let (kind, streams, draws, given, state): (i32, &[Stream], DrawStep, Argument, Argument) = match noise {
        Noise::Mean => (0, &[], DrawStep::ONCE, none, none),
        Noise::Given(given) => (1, &[], DrawStep::ONCE, given.argument(), none),
        Noise::Drawn { streams, draws, state } => (2, streams, draws, none, state.argument()),
    };
    let stream = |group: usize| streams.get(group).map_or(0, |&stream| stream as u32);
    assert!(streams.len() <= 2, "the kernels know two groups at most");
    let group = int(d.n / streams.len().max(1));
    let sizes = [d.n, d.positions, d.c].map(int);
    let (streams, logstd) = ([stream(0), stream(1)], i32::from(d.sigma == Sigma::Logstd));
    let sizes = KernelBottleneck { sizes, noise: kind, group, streams, draws, logstd };
    [Argument::new(sizes), given, state]
}

impl<L: Launcher, T: Real> BottleneckOp for Accelerator<L, T> {
    fn bottleneck_forward(
        &self,
        d: &Bottleneck,
        mu_s: In<'_, Self>,
        noise: Noise<'_, Self>,
        z: Out<'_, Self>,
        kl: Out<'_, Self>,
    ) -> Result<()> {
        let [sizes, given, state] = noise_arguments(d, noise);
        let arguments = [sizes, mu_s.argument(), given, state, z.argument(), kl.argument()];
        let blocks = u32::try_from(d.n).unwrap_or(u32::MAX);
        self.launch(Kernel::BottleneckForward, [blocks, 1, 1], [size::KL_THREADS, 1, 1], &arguments)
    }

    fn bottleneck_backward_input(
        &self,
        d: &Bottleneck,
        mu_s: In<'_, Self>,
        noise: Noise<'_, Self>,
        dz: In<'_, Self>,
        dkl: In<'_, Self>,
        d_mu_s: Out<'_, Self>,
    ) -> Result<()> {
        let [sizes, given, state] = noise_arguments(d, noise);
        let [dz, dkl, target] = [dz.argument(), dkl.argument(), d_mu_s.argument()];
        let arguments = [sizes, mu_s.argument(), given, state, dz, dkl, target];
        self.launch_elements(Kernel::BottleneckBackwardInput, d.n * d.dims(), &arguments)
    }

    fn bottleneck_tangent(
        &self,
        d: &Bottleneck,
        mu_s: In<'_, Self>,
        noise: Noise<'_, Self>,
        v_mu_s: In<'_, Self>,
        v_z: Out<'_, Self>,
    ) -> Result<()> {
        let [sizes, given, state] = noise_arguments(d, noise);
        let arguments = [sizes, mu_s.argument(), given, state, v_mu_s.argument(), v_z.argument()];
        self.launch_elements(Kernel::BottleneckTangent, d.n * d.dims(), &arguments)
    }

    fn bottleneck_curvature(
        &self,
        d: &Bottleneck,
        mu_s: In<'_, Self>,
        noise: Noise<'_, Self>,
        v_mu_s: In<'_, Self>,
        dz: In<'_, Self>,
        d_mu_s: Out<'_, Self>,
    ) -> Result<()> {
        let [sizes, given, state] = noise_arguments(d, noise);
        let [v, dz, target] = [v_mu_s.argument(), dz.argument(), d_mu_s.argument()];
        let arguments = [sizes, mu_s.argument(), given, state, v, dz, target];
        self.launch_elements(Kernel::BottleneckCurvature, d.n * d.dims(), &arguments)
    }
}
