//! The variational bottleneck (Peng et al. 2018, Eq. 8): reparameterisation (Kingma & Welling 2014) and KL in one pass.
//!
//! The encoder's output holds μ and s side by side: `[N, positions, 2, C]`, μ first. s is log σ² in the article, log σ in the
//! paper's official code, and σ = e^{r s} with the rate r = ½ or 1 ([`Sigma`]). Then, for every dimension,
//!
//! z = μ + σ · ε, ε ~ N(0, 1);  KL(N(μ, σ²) ‖ N(0, 1)) = ½ (μ² + σ² − 2 r s − 1)
//!
//! with z `[N, positions, C]` and `kl` `[N]`, the sum over an image's dimensions, in nats. ε comes from Philox and is
//! drawn again in the backward pass, never stored.

mod cpu;

use crate::Result;
use crate::choices::choices;
use crate::device::accelerator::int;
use crate::device::kernels::{Kernel, size};
use crate::device::launch::{AsArgument, arguments};
use crate::device::philox::{DrawStep, Stream};
use crate::device::{Accelerator, Argument, Backend, In, Out, Real, StepState, Storage, Stored, StoredOut};
use crate::ops::case::{self, Case, Fill};
use crate::ops::models::{BOTH, CODES};
use crate::ops::pass::{self, Pass, real, stored};

choices! {
    /// Meaning of the encoder's second output. The family of distributions is the same. With `logstd`, equal weights start
    /// log σ twice as wide, and equal gradients move it twice as fast.
    pub enum Sigma {
        /// log σ², so σ = e^(logvar/2) (the article). Older runs without this setting use it.
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

/// Sizes of a bottleneck, and the form in which its encoder gives σ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bottleneck {
    /// Images.
    pub n: usize,
    /// Positions of the encoder's last image.
    pub positions: usize,
    /// Channels of z at each position.
    pub c: usize,
    /// The meaning of the encoder's second output.
    pub sigma: Sigma,
}

impl Bottleneck {
    /// Dimensions of one image's z.
    pub fn dims(&self) -> usize {
        self.positions * self.c
    }
}

/// The source of ε.
pub enum Noise<'a, B: Backend> {
    /// ε = 0: z is the mean.
    Mean,
    /// Given, in the layout of z.
    Given(In<'a, B>),
    /// Drawn for the step in `state`. The images come in equal groups, one a stream; within each they are numbered on from
    /// the first sample of `draws`.
    Drawn {
        /// The streams of the groups.
        streams: &'a [Stream],
        /// The number of the draw within the step.
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
        mu_s: Stored<'_, Self>,
        noise: Noise<'_, Self>,
        z: StoredOut<'_, Self>,
        kl: Out<'_, Self>,
    ) -> Result<()>;

    /// dμ = dz + dkl · μ and ds = r (dz · σ · ε + dkl · (σ² − 1)); overwrites. dz is `[N, positions, C]`, dkl
    /// `[N]`; the noise is that of the forward pass.
    fn bottleneck_backward_input(
        &self,
        d: &Bottleneck,
        mu_s: Stored<'_, Self>,
        noise: Noise<'_, Self>,
        dz: Stored<'_, Self>,
        dkl: In<'_, Self>,
        d_mu_s: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// v_z = v_μ + r σ ε · v_s, the tangent of z alone (kl has none here); overwrites.
    fn bottleneck_tangent(
        &self,
        d: &Bottleneck,
        mu_s: Stored<'_, Self>,
        noise: Noise<'_, Self>,
        v_mu_s: Stored<'_, Self>,
        v_z: StoredOut<'_, Self>,
    ) -> Result<()>;

    /// ds += r² σ ε · v_s · dz, which is the derivative of ⟨v_z, dz⟩, v_z the tangent of z; μ's part of `d_mu_s` is left
    /// alone. A gradient penalty needs it.
    fn bottleneck_curvature(
        &self,
        d: &Bottleneck,
        mu_s: Stored<'_, Self>,
        noise: Noise<'_, Self>,
        v_mu_s: Stored<'_, Self>,
        dz: Stored<'_, Self>,
        d_mu_s: StoredOut<'_, Self>,
    ) -> Result<()>;
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

/// The dimensions that a thread of the kernels does, those of one draw.
const QUAD: usize = 4;

/// The sizes, the given noise and the state, as the kernels' parameters.
fn noise_arguments<T: Real, S: Storage<T>>(d: &Bottleneck, noise: Noise<'_, Accelerator<T, S>>) -> [Argument; 3] {
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

impl<T: Real, S: Storage<T>> BottleneckOp for Accelerator<T, S> {
    fn bottleneck_forward(
        &self,
        d: &Bottleneck,
        mu_s: Stored<'_, Self>,
        noise: Noise<'_, Self>,
        z: StoredOut<'_, Self>,
        kl: Out<'_, Self>,
    ) -> Result<()> {
        let [sizes, given, state] = noise_arguments(d, noise);
        let parts = d.dims().div_ceil(QUAD).div_ceil(size::KL_QUADS as usize);
        self.with_counted_workspace(d.n * parts, d.n, |partial: Out<'_, Self, f64>, counters| {
            let arguments = arguments![sizes, mu_s, given, state, z, partial, counters, kl];
            let grid = [d.n, parts, 1].map(|count| int(count).unsigned_abs());
            self.launch(Kernel::BottleneckForward, grid, [size::KL_THREADS, 1, 1], &arguments)
        })
    }

    fn bottleneck_backward_input(
        &self,
        d: &Bottleneck,
        mu_s: Stored<'_, Self>,
        noise: Noise<'_, Self>,
        dz: Stored<'_, Self>,
        dkl: In<'_, Self>,
        d_mu_s: StoredOut<'_, Self>,
    ) -> Result<()> {
        let [sizes, given, state] = noise_arguments(d, noise);
        let arguments = arguments![sizes, mu_s, given, state, dz, dkl, d_mu_s];
        self.launch_elements(Kernel::BottleneckBackwardInput, d.n * d.dims().div_ceil(QUAD), &arguments)
    }

    fn bottleneck_tangent(
        &self,
        d: &Bottleneck,
        mu_s: Stored<'_, Self>,
        noise: Noise<'_, Self>,
        v_mu_s: Stored<'_, Self>,
        v_z: StoredOut<'_, Self>,
    ) -> Result<()> {
        let [sizes, given, state] = noise_arguments(d, noise);
        let arguments = arguments![sizes, mu_s, given, state, v_mu_s, v_z];
        self.launch_elements(Kernel::BottleneckTangent, d.n * d.dims().div_ceil(QUAD), &arguments)
    }

    fn bottleneck_curvature(
        &self,
        d: &Bottleneck,
        mu_s: Stored<'_, Self>,
        noise: Noise<'_, Self>,
        v_mu_s: Stored<'_, Self>,
        dz: Stored<'_, Self>,
        d_mu_s: StoredOut<'_, Self>,
    ) -> Result<()> {
        let [sizes, given, state] = noise_arguments(d, noise);
        let arguments = arguments![sizes, mu_s, given, state, v_mu_s, dz, d_mu_s];
        self.launch_elements(Kernel::BottleneckCurvature, d.n * d.dims().div_ceil(QUAD), &arguments)
    }
}

dry_run! {
    BottleneckOp:
    bottleneck_forward(_d: &Bottleneck, mu_s, _noise: Noise<'_, Self>, z, kl) => mu_s + z + kl;
    bottleneck_backward_input(_d: &Bottleneck, mu_s, _noise: Noise<'_, Self>, dz, dkl, d_mu_s) =>
        mu_s + dz + dkl + d_mu_s;
    bottleneck_tangent(_d: &Bottleneck, mu_s, _noise: Noise<'_, Self>, v_mu_s, v_z) => mu_s + v_mu_s + v_z;
    // Of what lies beside μ only s's half is touched.
    bottleneck_curvature(_d: &Bottleneck, mu_s, _noise: Noise<'_, Self>, v_mu_s, dz, d_mu_s) =>
        (mu_s + v_mu_s) / 2 + dz + d_mu_s;
}

/// The noise of a case: [`Noise`] without its numbers, which are made when the case runs.
#[derive(Debug, Clone, Copy, PartialEq)]
enum CaseNoise {
    Mean,
    Given,
    Sampled,
}

impl CaseNoise {
    /// Calls `work` with it, for `len` dimensions of all images.
    fn with<B: Backend>(self, be: &B, len: usize, work: impl FnOnce(Noise<'_, B>) -> Result<()>) -> Result<()> {
        match self {
            CaseNoise::Mean => work(Noise::Mean),
            CaseNoise::Given => work(Noise::Given(be.view(&case::drawn(be, len, Fill::Normal, 2000)?))),
            CaseNoise::Sampled => {
                let state = be.buffer_of(&[StepState { step: 3, ..StepState::new(11, 0.0) }])?;
                let (streams, draws) = (&STREAMS, DrawStep { per_step: 2, index: 1, first_sample: 5 });
                work(Noise::Drawn { streams, draws, state: be.view(&state) })
            }
        }
    }
}

/// The streams of real and fake images.
const STREAMS: [Stream; 2] = [Stream::NoiseReal, Stream::NoiseFake];

/// Odd sizes, more dimensions than one block of noise; ε drawn, given and 0. With ε = 0 z is linear, and has no
/// curvature. The encoder's second output is log σ² and log σ.
pub(super) fn cases<B: BottleneckOp>() -> Vec<Case<B>> {
    let sizes = [
        (2, 1, 1, CaseNoise::Sampled),
        (2, 3, 5, CaseNoise::Sampled),
        (4, 17, 33, CaseNoise::Sampled),
        (3, 1, 17, CaseNoise::Given),
        (2, 9, 33, CaseNoise::Given),
        (2, 1, 17, CaseNoise::Mean),
        (2, 9, 3, CaseNoise::Mean),
        // Channels in fours, which the kernels read at once.
        (2, 3, 8, CaseNoise::Sampled),
        (3, 2, 4, CaseNoise::Given),
    ];
    let mut cases = Vec::new();
    for (n, positions, c, noise) in sizes {
        for sigma in [Sigma::Logvar, Sigma::Logstd] {
            let d = Bottleneck { n, positions, c, sigma };
            cases.push(case(d, noise));
            cases.extend((noise != CaseNoise::Mean).then(|| curvature_case(d, noise)));
        }
    }
    cases
}

fn described(d: &Bottleneck, noise: CaseNoise) -> String {
    let Bottleneck { n, positions, c, sigma } = d;
    format!("n{n} positions{positions} c{c} {sigma:?} {}", format!("{noise:?}").to_lowercase())
}

/// z and kl as functions of μ and s.
fn case<B: BottleneckOp>(d: Bottleneck, noise: CaseNoise) -> Case<B> {
    let len = d.n * d.dims();
    Case::new("bottleneck", described(&d, noise))
        .filled_input("mu_s", 2 * len, Fill::Uniform(-2.0, 2.0))
        .output("z", len)
        .real_output("kl", d.n)
        .forward(move |be: &B, [mu_s], [z, kl]| {
            noise.with(be, len, |noise| be.bottleneck_forward(&d, mu_s.stored(), noise, z.stored(), kl.real()))
        })
        .backward(move |be: &B, [mu_s], [_, _], [dz, dkl], [d_mu_s]| {
            let (mu_s, dz, dkl, d_mu_s) = (mu_s.stored(), dz.stored(), dkl.real(), d_mu_s.stored());
            noise.with(be, len, |noise| be.bottleneck_backward_input(&d, mu_s, noise, dz, dkl, d_mu_s))
        })
        .tangent(move |be: &B, [mu_s], [_, _], v_mu_s, v_z| {
            let (mu_s, v_mu_s, v_z) = (mu_s.stored(), v_mu_s.stored(), v_z.stored());
            noise.with(be, len, |noise| be.bottleneck_tangent(&d, mu_s, noise, v_mu_s, v_z))
        })
}

/// The tangent of z as a function of the same, the direction held fixed; its gradient is the curvature.
fn curvature_case<B: BottleneckOp>(d: Bottleneck, noise: CaseNoise) -> Case<B> {
    let len = d.n * d.dims();
    let direction = move |be: &B| case::drawn_stored(be, 2 * len, Fill::Normal, 2001);
    Case::new("bottleneck", format!("{} curvature", described(&d, noise)))
        .filled_input("mu_s", 2 * len, Fill::Uniform(-2.0, 2.0))
        .output("v_z", len)
        .forward(move |be: &B, [mu_s], [v_z]| {
            let (v, mu_s, v_z) = (direction(be)?, mu_s.stored(), v_z.stored());
            noise.with(be, len, |noise| be.bottleneck_tangent(&d, mu_s, noise, be.view(&v), v_z))
        })
        .backward(move |be: &B, [mu_s], [_], [dz], [d_mu_s]| {
            let (v, mu_s, dz, d_mu_s) = (direction(be)?, mu_s.stored(), dz.stored(), d_mu_s.stored());
            noise.with(be, len, |noise| be.bottleneck_curvature(&d, mu_s, noise, be.view(&v), dz, d_mu_s))
        })
}

/// The bottlenecks of the models.
fn model_sizes() -> [Bottleneck; 3] {
    let size = |(positions, c), sigma| Bottleneck { n: BOTH, positions, c, sigma };
    [size(CODES[0], Sigma::Logvar), size(CODES[1], Sigma::Logvar), size((4 * 4, 256), Sigma::Logstd)]
}

/// At the sizes of the models.
pub(super) fn passes<B: BottleneckOp>() -> Vec<Pass<B>> {
    pass::of_each(model_sizes(), passes_of)
}

fn passes_of<B: BottleneckOp>(d: Bottleneck) -> [Pass<B>; 2] {
    let shape = format!("n{} positions{} c{}", d.n, d.positions, d.c);
    let (z, mu_s, kl) = (|| stored(d.n * d.dims()), || stored(2 * d.n * d.dims()), || real(d.n));
    [
        Pass::of("bottleneck", &shape, "forward", [mu_s()], [z(), kl()], move |be: &B, [mu_s], [z, kl], state| {
            let noise = Noise::Drawn { streams: &STREAMS, draws: DrawStep::ONCE, state: be.freeze(state) };
            be.bottleneck_forward(&d, mu_s.stored(), noise, z.stored(), kl.real())
        }),
        Pass::of(
            "bottleneck",
            &shape,
            "backward_input",
            [mu_s(), z(), kl()],
            [mu_s()],
            move |be: &B, [mu_s, dz, dkl], [d_mu_s], state| {
                let noise = Noise::Drawn { streams: &STREAMS, draws: DrawStep::ONCE, state: be.freeze(state) };
                be.bottleneck_backward_input(&d, mu_s.stored(), noise, dz.stored(), dkl.real(), d_mu_s.stored())
            },
        ),
    ]
}
