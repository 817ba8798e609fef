//! Instance noise (Sønderby et al. 2017, section 3.1; Arjovsky & Bottou 2017, section 3): N(0, σ²) on every pixel that the
//! discriminator sees, real and fake, with σ that falls linearly to 0 or stays.
//!
//! y = x + σ(s) · ε, ε ~ N(0, 1) from Philox, σ(s) = σ₀ (1 − s / S) for step s below S and 0 from there on; S = 0 keeps σ₀.
//! The gradient by x is that by y.

use crate::Result;
use crate::device::accelerator::int;
use crate::device::kernels::Kernel;
use crate::device::launch::arguments;
use crate::device::normal::fill_normals;
use crate::device::parallel::{ParallelSlice, ParallelSliceMut, Parts};
use crate::device::philox::{DrawStep, Stream};
use crate::device::{Accelerator, Argument, Backend, Cpu, In, Real, StepState, Storage, Stored, StoredOut, Window};
use crate::ops::Case;
use crate::ops::models::{BOTH, image_lens};
use crate::ops::pass::{Pass, stored};

/// Sizes of a batch and of its noise.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InstanceNoise<'a> {
    /// Images.
    pub n: usize,
    /// Elements of an image.
    pub image: usize,
    /// σ₀, in the units of the pixels.
    pub sigma: f64,
    /// S, in steps.
    pub steps: u64,
    /// The images come in equal groups, one a stream (two at most); within each they are numbered on from the first sample of
    /// `draws`.
    pub streams: &'a [Stream],
    /// The number of the draw in its step.
    pub draws: DrawStep,
}

impl InstanceNoise<'_> {
    /// σ of a step.
    fn sigma_at(&self, step: u64) -> f64 {
        if self.steps == 0 {
            self.sigma
        } else if step < self.steps {
            self.sigma * (1.0 - step as f64 / self.steps as f64)
        } else {
            0.0
        }
    }
}

/// Adding the noise.
pub trait InstanceNoiseOp: Backend {
    /// y `[N, image]` = x + σ ε for the step in `state`, ε `[N, image]` being `given` or, without, drawn by the seed in `state`;
    /// overwrites y.
    fn instance_noise(
        &self,
        d: &InstanceNoise<'_>,
        x: Stored<'_, Self>,
        given: Option<In<'_, Self>>,
        state: In<'_, Self, StepState>,
        y: StoredOut<'_, Self>,
    ) -> Result<()>;
}

/// Elements for which noise is drawn at once.
const BLOCK: usize = 256;

impl<T: Real, S: Storage<T>> InstanceNoiseOp for Cpu<T, S> {
    fn instance_noise(
        &self,
        d: &InstanceNoise<'_>,
        x: &[S],
        given: Option<&[T]>,
        state: &[StepState],
        y: &mut [S],
    ) -> Result<()> {
        let StepState { seed, step, .. } = state[0];
        let sigma = T::of(d.sigma_at(step));
        if sigma == T::ZERO {
            y.copy_from_slice(x);
            return Ok(());
        }
        if let Some(given) = given {
            y.iter_mut().zip(x).zip(given).for_each(|((y, x), &epsilon)| *y = S::of_real(x.real() + sigma * epsilon));
            return Ok(());
        }
        let group = d.n / d.streams.len();
        y.par_chunks_mut(d.image).zip(x.par_chunks(d.image)).enumerate().for_each(|(image, (y, x))| {
            let (stream, sample) = (d.streams[image / group], d.draws.sample(image % group));
            for (block, (y, x)) in y.chunks_mut(BLOCK).zip(x.chunks(BLOCK)).enumerate() {
                let mut drawn = [0.0f32; BLOCK];
                fill_normals(seed, stream, d.draws.of(step), sample, block * BLOCK, &mut drawn[..x.len()]);
                for ((y, x), drawn) in y.iter_mut().zip(x).zip(drawn) {
                    *y = S::of_real(x.real() + sigma * T::of_f32(drawn));
                }
            }
        });
        Ok(())
    }
}

/// The sizes as kernels/inputs/instance_noise.cu has them.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::NoUninit)]
struct KernelInstanceNoise {
    steps: u64,
    sigma: f64,
    sizes: [i32; 2],
    streams: [u32; 2],
    draws: DrawStep,
    padding: u32,
}

impl<T: Real, S: Storage<T>> InstanceNoiseOp for Accelerator<T, S> {
    fn instance_noise(
        &self,
        d: &InstanceNoise<'_>,
        x: Stored<'_, Self>,
        given: Option<In<'_, Self>>,
        state: In<'_, Self, StepState>,
        y: StoredOut<'_, Self>,
    ) -> Result<()> {
        assert!(d.streams.len() <= 2, "the kernel knows two groups at most");
        let stream = |group: usize| d.streams.get(group).map_or(0, |&stream| stream as u32);
        let sizes = KernelInstanceNoise {
            steps: d.steps,
            sigma: d.sigma,
            sizes: [int(d.image), int(d.n / d.streams.len())],
            streams: [stream(0), stream(1)],
            draws: d.draws,
            padding: 0,
        };
        let arguments = arguments![Argument::new(sizes), x, given, state, y, y.len() as u64];
        self.launch_elements(Kernel::InstanceNoise, y.len(), &arguments)
    }
}

dry_run! {
    InstanceNoiseOp:
    instance_noise(_d: &InstanceNoise<'_>, x, given: Option<Window>, _state, y) => x + given.unwrap_or_default() + y;
}

/// One group and two, images longer than a block and no multiple of four, σ constant, falling and fallen; ε drawn and given.
pub fn cases<B: InstanceNoiseOp>() -> Vec<Case<B>> {
    const REAL_AND_FAKE: &[Stream] = &[Stream::InstanceReal, Stream::InstanceFake];
    const GENERATOR: &[Stream] = &[Stream::InstanceGenerator];
    vec![
        drawn_case(1, 1, 0, GENERATOR),
        drawn_case(3, 17, 0, GENERATOR),
        drawn_case(4, 300, 0, REAL_AND_FAKE),
        drawn_case(6, 33, 10, REAL_AND_FAKE),
        drawn_case(2, 259, 5, GENERATOR),
        given_case(4, 17, 10, REAL_AND_FAKE),
        given_case(2, 259, 5, REAL_AND_FAKE),
    ]
}

/// Drawn noise gives the same bits on every device: the images are a fixed pattern and no input.
fn drawn_case<B: InstanceNoiseOp>(n: usize, image: usize, steps: u64, streams: &'static [Stream]) -> Case<B> {
    Case::new("instance_noise", format!("n{n} image{image} steps{steps} groups{}", streams.len()))
        .output("y", n * image)
        .forward(move |be: &B, [], [y]| add_to_pattern(be, (n, image, steps, streams), None, y.stored()))
}

fn given_case<B: InstanceNoiseOp>(n: usize, image: usize, steps: u64, streams: &'static [Stream]) -> Case<B> {
    Case::new("instance_noise", format!("n{n} image{image} steps{steps} groups{} given", streams.len()))
        .real_input("epsilon", n * image)
        .output("y", n * image)
        .forward(move |be: &B, [epsilon], [y]| {
            add_to_pattern(be, (n, image, steps, streams), Some(epsilon.real()), y.stored())
        })
}

fn add_to_pattern<B: InstanceNoiseOp>(
    be: &B,
    (n, image, steps, streams): (usize, usize, u64, &[Stream]),
    given: Option<In<'_, B>>,
    y: StoredOut<'_, B>,
) -> Result<()> {
    let pattern: Vec<B::Real> = (0..n * image).map(|i| B::Real::of((i * 31 % 256) as f64 / 256.0)).collect();
    let (x, state) = (be.stored_of(&pattern)?, be.buffer_of(&[StepState { step: 5, ..StepState::new(9, 0.0) }])?);
    // A power of two, halved where σ falls: one rounding an element, as in every other case that draws.
    let d = InstanceNoise {
        n,
        image,
        sigma: 0.25,
        steps,
        streams,
        draws: DrawStep { per_step: 3, index: 1, first_sample: 2 },
    };
    be.instance_noise(&d, be.view(&x), given, be.view(&state), y)
}

/// On the real and fake images of a batch.
pub(super) fn passes<B: InstanceNoiseOp>() -> [Pass<B>; 2] {
    image_lens().map(|image| {
        let streams = &[Stream::InstanceReal, Stream::InstanceFake];
        let d = InstanceNoise { n: BOTH, image, sigma: 0.1, steps: 0, streams, draws: DrawStep::ONCE };
        let (shape, len) = (format!("n{BOTH} image{image}"), BOTH * image);
        Pass::of("instance_noise", shape, "forward", [stored(len)], [stored(len)], move |be: &B, [x], [y], state| {
            be.instance_noise(&d, x.stored(), None, be.freeze(state), y.stored())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noised(step: u64, steps: u64, draws: DrawStep) -> Vec<f64> {
        let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
        let streams = &[Stream::InstanceReal, Stream::InstanceFake];
        let d = InstanceNoise { n: 4, image: 5000, sigma: 0.5, steps, streams, draws };
        let mut y = vec![0.0; 20_000];
        let state = [StepState { step, ..StepState::new(3, 0.0) }];
        cpu.instance_noise(&d, &[0.25; 20_000], None, &state, &mut y).expect("noise");
        y.into_iter().map(|y| y - 0.25).collect()
    }

    #[test]
    fn the_deviation_falls_to_nothing() {
        for (step, steps, expected) in [(0, 0, 0.5), (99, 0, 0.5), (0, 100, 0.5), (75, 100, 0.125), (100, 100, 0.0)] {
            let noise = noised(step, steps, DrawStep::ONCE);
            let deviation = (noise.iter().map(|e| e * e).sum::<f64>() / noise.len() as f64).sqrt();
            // The deviation of 20,000 draws is off by 1/√40,000 = 0.5 %, once; four times that is one in ten thousand.
            assert!((deviation - expected).abs() <= 0.02 * expected, "step {step} of {steps}: {deviation}");
            let mean = noise.iter().sum::<f64>() / noise.len() as f64;
            assert!(mean.abs() <= 0.03 * expected, "step {step} of {steps}: mean {mean}");
        }
    }

    #[test]
    fn given_noise_falls_as_drawn_noise_does() {
        let cpu = Cpu::<f64>::new(Some(1)).expect("a thread");
        let d = InstanceNoise {
            n: 1,
            image: 2,
            sigma: 0.5,
            steps: 4,
            streams: &[Stream::InstanceReal],
            draws: DrawStep::ONCE,
        };
        for (step, expected) in [(0, [1.5, 1.0]), (3, [1.125, 1.75]), (4, [1.0, 2.0])] {
            let (mut y, state) = ([f64::NAN; 2], [StepState { step, ..StepState::new(0, 0.0) }]);
            cpu.instance_noise(&d, &[1.0, 2.0], Some(&[1.0, -2.0]), &state, &mut y).expect("noise");
            assert_eq!(y, expected, "step {step}");
        }
    }

    #[test]
    fn every_image_group_step_and_turn_has_noise_of_its_own() {
        let first = noised(2, 0, DrawStep { per_step: 2, ..DrawStep::ONCE });
        for (one, other) in [(0, 1), (0, 2), (2, 3)] {
            assert_ne!(first[one * 5000..][..5000], first[other * 5000..][..5000], "images {one} and {other}");
        }
        assert_ne!(first, noised(2, 0, DrawStep { per_step: 2, index: 1, ..DrawStep::ONCE }));
        assert_eq!(first, noised(4, 0, DrawStep::ONCE));
    }
}
