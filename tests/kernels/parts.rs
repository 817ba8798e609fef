//! A batch in parts: each part draws what the whole batch does, on the CPU and on the kernels.

use crate::executors::emulated;
use simt::Options;
use vgan_cuda::config::{AugmentPolicy, Prior};
use vgan_cuda::device::philox::{DrawStep, Stream};
use vgan_cuda::device::{Cpu, In, Out, StepState};
use vgan_cuda::ops::Executor;
use vgan_cuda::ops::inputs::augment::Augment;
use vgan_cuda::ops::inputs::classes::ClassDraw;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::ops::inputs::instance_noise::InstanceNoise;
use vgan_cuda::ops::inputs::prior::PriorDraw;
use vgan_cuda::ops::layers::bottleneck::{Bottleneck, Noise, Sigma};

/// Images of the batch, and numbers of an image.
const N: usize = 5;
const LEN: usize = 6;

/// A backend in f32.
trait Single: Executor<Real = f32, Storage = f32> {
    /// The output of an operation: `len` numbers.
    fn written(&self, len: usize, write: impl FnOnce(Out<'_, Self>)) -> Vec<f32> {
        let mut target = self.alloc(len).expect("memory");
        write(self.view_mut(&mut target));
        self.read(self.view(&target)).expect("a copy")
    }
}
impl<B: Executor<Real = f32, Storage = f32>> Single for B {}

/// Draws for some images of the batch, or for as many of each of two kinds.
type Draw<B> = fn(&B, usize, DrawStep, In<'_, B, StepState>) -> Vec<f32>;

fn images<B: Single>(be: &B, n: usize, draws: DrawStep, state: In<'_, B, StepState>) -> Vec<f32> {
    let d = Gather { n: N, count: 17, h: 2, w: 3, c: 1, low: 0.0, high: 1.0, flip: true };
    let pixels = be.buffer_of(&(0..102).collect::<Vec<u8>>()).expect("memory");
    be.written(n * LEN, |x| be.gather(&d, draws, be.view(&pixels), state, x).expect("images"))
}

fn latents<B: Single>(be: &B, n: usize, draws: DrawStep, state: In<'_, B, StepState>) -> Vec<f32> {
    let d = PriorDraw { latent: LEN, prior: Prior::Normal, stream: Stream::LatentGenerator, draws };
    be.written(n * LEN, |z| be.prior_sample(&d, state, z).expect("latents"))
}

/// z of μ = 0 and log σ² = 0.
fn epsilon<B: Single>(be: &B, n: usize, draws: DrawStep, state: In<'_, B, StepState>) -> Vec<f32> {
    let d = Bottleneck { n: 2 * n, positions: 1, c: LEN, sigma: Sigma::Logvar };
    let (mu_s, mut kl) = (be.alloc(4 * n * LEN).expect("memory"), be.alloc(2 * n).expect("memory"));
    let noise = Noise::Drawn { streams: &[Stream::NoiseReal, Stream::NoiseFake], draws, state };
    be.written(2 * n * LEN, |z| {
        be.bottleneck_forward(&d, be.view(&mu_s), noise, z, be.view_mut(&mut kl)).expect("a pass");
    })
}

fn instance_noise<B: Single>(be: &B, n: usize, draws: DrawStep, state: In<'_, B, StepState>) -> Vec<f32> {
    let streams = &[Stream::InstanceReal, Stream::InstanceFake];
    let d = InstanceNoise { n: 2 * n, image: LEN, sigma: 1.0, steps: 0, streams, draws };
    let x = be.alloc(2 * n * LEN).expect("memory");
    be.written(2 * n * LEN, |y| be.instance_noise(&d, be.view(&x), None, state, y).expect("noise"))
}

/// The brightness of black images.
fn augmentation<B: Single>(be: &B, n: usize, draws: DrawStep, state: In<'_, B, StepState>) -> Vec<f32> {
    let (policy, streams) =
        (AugmentPolicy { color: true, ..AugmentPolicy::default() }, &[Stream::AugmentReal, Stream::AugmentFake]);
    let d = Augment { n: 2 * n, h: 2, w: 3, c: 1, policy, half_range: 1.0, middle: 0.0, streams, draws };
    let x = be.alloc(2 * n * LEN).expect("memory");
    be.written(2 * n * LEN, |y| be.augment_forward(&d, be.view(&x), None, state, y).expect("images"))
}

/// Those of real images and those of images to generate, `LEN` times each.
fn classes<B: Single>(be: &B, n: usize, draws: DrawStep, state: In<'_, B, StepState>) -> Vec<f32> {
    let d = Gather { n: N, count: 17, h: 1, w: 1, c: 1, low: 0.0, high: 1.0, flip: false };
    let labels = be.buffer_of(&(0..17).collect::<Vec<u32>>()).expect("memory");
    let mut all = be.alloc::<u32>(2 * n).expect("memory");
    be.classes_gather(&d, draws, be.view(&labels), state, be.part_mut(&mut all, 0..n)).expect("classes");
    let d = ClassDraw { classes: 1000, stream: Stream::ClassGenerator, draws };
    be.classes_sample(&d, state, be.part_mut(&mut all, n..2 * n)).expect("classes");
    be.read(be.view(&all)).expect("a copy").into_iter().flat_map(|class| [class as f32; LEN]).collect()
}

#[test]
fn a_part_of_a_batch_draws_what_the_whole_does() {
    fn check<B: Single>(be: &B) {
        let held = be.buffer_of(&[StepState { step: 4, ..StepState::new(3, 0.0) }]).expect("memory");
        let all: [(&str, Draw<B>); 6] = [
            ("images", images),
            ("latents", latents),
            ("ε", epsilon),
            ("instance noise", instance_noise),
            ("augmentation", augmentation),
            ("classes", classes),
        ];
        for (what, draw) in all {
            let draws = DrawStep { per_step: 3, index: 1, ..DrawStep::ONCE };
            let drawn = |n: usize, first| draw(be, n, draws.from_sample(first), be.view(&held));
            let (whole, first, second) = (drawn(N, 0), drawn(2, 0), drawn(N - 2, 2));
            let of_parts = first.chunks_exact(2 * LEN).zip(second.chunks_exact((N - 2) * LEN));
            let of_parts: Vec<f32> = of_parts.flat_map(|(first, second)| [first, second].concat()).collect();
            assert_eq!(of_parts, whole, "{what} by {}", be.describe());
            assert!(drawn(N, 1) != whole, "{what} by {}", be.describe());
        }
    }
    check(&Cpu::<f32>::new(Some(2)).expect("threads"));
    check(&emulated::<f32>(Options::default()));
}
