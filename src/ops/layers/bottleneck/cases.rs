//! The bottleneck's cases, and its passes for benchmarks.

use super::{Bottleneck, BottleneckOp, Noise, Sigma};
use crate::Result;
use crate::device::philox::{DrawStep, Stream};
use crate::device::{Buffer, Real, StepState};
use crate::ops::case::OldCase;
use crate::ops::case::fill;
use crate::ops::models::{BOTH, CODES};
use crate::ops::pass::Pass;
use crate::ops::{Executor, Fill, Tensor};

#[derive(Clone, Copy)]
enum CaseNoise {
    Mean,
    Given,
    Sampled,
}

/// z and kl as functions of μ and log σ², or log σ.
#[derive(Clone, Copy)]
struct BottleneckCase {
    d: Bottleneck,
    noise: CaseNoise,
}

/// The tangent of z as a function of the same, the direction held fixed; its gradient is the curvature.
struct CurvatureCase(BottleneckCase);

/// Odd sizes, more dimensions than one block of noise; ε drawn, given and 0. Where it is 0 z is linear, and has no
/// curvature. The encoder's second output is log σ² and log σ.
pub(crate) fn cases<B: Executor>() -> Vec<Box<dyn OldCase<B>>> {
    let size = |n, positions, c, noise| {
        [Sigma::Logvar, Sigma::Logstd].map(|sigma| BottleneckCase { d: Bottleneck { n, positions, c, sigma }, noise })
    };
    [
        size(2, 1, 1, CaseNoise::Sampled),
        size(2, 3, 5, CaseNoise::Sampled),
        size(4, 17, 33, CaseNoise::Sampled),
        size(3, 1, 17, CaseNoise::Given),
        size(2, 9, 33, CaseNoise::Given),
        size(2, 1, 17, CaseNoise::Mean),
        size(2, 9, 3, CaseNoise::Mean),
    ]
    .into_iter()
    .flatten()
    .flat_map(|case| {
        let curved = !matches!(case.noise, CaseNoise::Mean);
        let curvature = curved.then(|| Box::new(CurvatureCase(case)) as Box<dyn OldCase<B>>);
        [Some(Box::new(case) as Box<dyn OldCase<B>>), curvature].into_iter().flatten()
    })
    .collect()
}

impl BottleneckCase {
    fn describe(&self) -> String {
        let Bottleneck { n, positions, c, sigma } = self.d;
        let noise = match self.noise {
            CaseNoise::Mean => "mean",
            CaseNoise::Given => "given",
            CaseNoise::Sampled => "sampled",
        };
        format!("n{n} positions{positions} c{c} {sigma:?} {noise}")
    }

    fn mu_s(&self) -> Tensor {
        Tensor::new("mu_s", 2 * self.d.n * self.d.dims()).filled(Fill::Uniform(-2.0, 2.0))
    }

    fn with_noise<B: Executor>(&self, be: &B, work: impl FnOnce(Noise<'_, B>) -> Result<()>) -> Result<()> {
        match self.noise {
            CaseNoise::Mean => work(Noise::Mean),
            CaseNoise::Given => {
                let epsilon = fill(&Tensor::new("epsilon", self.d.n * self.d.dims()), 2000);
                let epsilon: Vec<B::Real> = epsilon.into_iter().map(|e| B::Real::of_f32(e as f32)).collect();
                work(Noise::Given(be.view(&be.buffer_of(&epsilon)?)))
            }
            CaseNoise::Sampled => {
                let state = be.buffer_of(&[StepState { step: 3, ..StepState::new(11, 0.0) }])?;
                let (streams, draws) = (&[Stream::NoiseReal, Stream::NoiseFake], DrawStep { per_step: 2, index: 1 });
                work(Noise::Drawn { streams, draws, state: be.view(&state) })
            }
        }
    }
}

impl<B: Executor> OldCase<B> for BottleneckCase {
    fn op(&self) -> &'static str {
        "bottleneck"
    }
    fn name(&self) -> String {
        self.describe()
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.mu_s()]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("z", self.d.n * self.d.dims()), Tensor::new("kl", self.d.n)]
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let [z, kl] = outputs else { unreachable!("two outputs") };
        self.with_noise(be, |noise| {
            be.bottleneck_forward(&self.d, be.view(&inputs[0]), noise, be.view_mut(z), be.view_mut(kl))
        })
    }
    fn backward(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let (dz, dkl) = (be.view(&d_outputs[0]), be.view(&d_outputs[1]));
        self.with_noise(be, |noise| {
            let target = be.view_mut(&mut d_inputs[0]);
            be.bottleneck_backward_input(&self.d, be.view(&inputs[0]), noise, dz, dkl, target)
        })
    }
    fn has_tangent(&self) -> bool {
        true
    }
    fn tangent(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        v_input: &Buffer<B>,
        v_outputs: &mut [Buffer<B>],
    ) -> Option<Result<()>> {
        Some(self.with_noise(be, |noise| {
            let v_z = be.view_mut(&mut v_outputs[0]);
            be.bottleneck_tangent(&self.d, be.view(&inputs[0]), noise, be.view(v_input), v_z)
        }))
    }
}

impl CurvatureCase {
    fn direction<B: Executor>(&self, be: &B) -> Result<Buffer<B>> {
        let v = fill(&Tensor::new("v", 2 * self.0.d.n * self.0.d.dims()), 2001);
        be.buffer_of(&v.into_iter().map(B::Real::of).collect::<Vec<_>>())
    }
}

impl<B: Executor> OldCase<B> for CurvatureCase {
    fn op(&self) -> &'static str {
        "bottleneck"
    }
    fn name(&self) -> String {
        format!("{} curvature", self.0.describe())
    }
    fn inputs(&self) -> Vec<Tensor> {
        vec![self.0.mu_s()]
    }
    fn outputs(&self) -> Vec<Tensor> {
        vec![Tensor::new("v_z", self.0.d.n * self.0.d.dims())]
    }
    fn forward(&self, be: &B, inputs: &[Buffer<B>], outputs: &mut [Buffer<B>]) -> Result<()> {
        let v = self.direction(be)?;
        self.0.with_noise(be, |noise| {
            let v_z = be.view_mut(&mut outputs[0]);
            be.bottleneck_tangent(&self.0.d, be.view(&inputs[0]), noise, be.view(&v), v_z)
        })
    }
    fn backward(
        &self,
        be: &B,
        inputs: &[Buffer<B>],
        _outputs: &[Buffer<B>],
        d_outputs: &[Buffer<B>],
        d_inputs: &mut [Buffer<B>],
    ) -> Result<()> {
        let v = self.direction(be)?;
        self.0.with_noise(be, |noise| {
            let (v, dz, target) = (be.view(&v), be.view(&d_outputs[0]), be.view_mut(&mut d_inputs[0]));
            be.bottleneck_curvature(&self.0.d, be.view(&inputs[0]), noise, v, dz, target)
        })
    }
}

/// The bottlenecks of the models.
fn model_sizes() -> [Bottleneck; 3] {
    let size = |(positions, c), sigma| Bottleneck { n: BOTH, positions, c, sigma };
    [size(CODES[0], Sigma::Logvar), size(CODES[1], Sigma::Logvar), size((4 * 4, 256), Sigma::Logstd)]
}

/// At the sizes of the models.
pub(crate) fn passes<B: BottleneckOp>() -> Vec<Pass<B>> {
    model_sizes().into_iter().flat_map(passes_of).collect()
}

fn passes_of<B: BottleneckOp>(d: Bottleneck) -> [Pass<B>; 2] {
    const STREAMS: [Stream; 2] = [Stream::NoiseReal, Stream::NoiseFake];
    let (shape, len) = (format!("n{} positions{} c{}", d.n, d.positions, d.c), d.n * d.dims());
    [
        Pass::of("bottleneck", &shape, "forward", [2 * len], [len, d.n], move |be: &B, [mu_s], [z, kl], state| {
            let noise = Noise::Drawn { streams: &STREAMS, draws: DrawStep::ONCE, state: be.freeze(state) };
            be.bottleneck_forward(&d, mu_s, noise, z, kl)
        }),
        Pass::of(
            "bottleneck",
            &shape,
            "backward_input",
            [2 * len, len, d.n],
            [2 * len],
            move |be: &B, [mu_s, dz, dkl], [d_mu_s], state| {
                let noise = Noise::Drawn { streams: &STREAMS, draws: DrawStep::ONCE, state: be.freeze(state) };
                be.bottleneck_backward_input(&d, mu_s, noise, dz, dkl, d_mu_s)
            },
        ),
    ]
}
