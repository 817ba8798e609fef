//! The random draws of a step. Every purpose has a stream of its own, and what is drawn for one image, one update, one step
//! or one seed is drawn for no other. Nothing else in the tests says so: the fixtures of PyTorch give the draws.
//!
//! A step on a data set must do what a step does that is given, for each purpose, the numbers of its stream. They are drawn
//! here, by the definition, with no help from what chooses the streams.

use std::collections::BTreeMap;

use crate::executors::emulated;
use simt::Options;
use vgan_cuda::config::{AugmentPolicy, BottleneckZ, Conditional, Norm, Penalty, Prior, Settings};
use vgan_cuda::device::normal::fill_normals;
use vgan_cuda::device::philox::{DrawStep, Stream, draw, uniform};
use vgan_cuda::device::{Buffer, Cpu, Out, StepState};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::Executor;
use vgan_cuda::ops::inputs::augment::{Augment, DRAWS};
use vgan_cuda::ops::inputs::gather::{Gather, permuted};
use vgan_cuda::ops::layers::bottleneck::{Bottleneck, Noise, Sigma};
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::{Batch, Given, GivenAugmentation, GivenClasses, GivenInstanceNoise, GivenPenalty, Phase};
use vgan_cuda::train::objective::{augment, instance_noise, reconstruction_augment, reconstruction_noise};

const IMAGE: ImageShape = ImageShape { h: 4, w: 4, c: 1 };
/// Images of a batch, and of the set.
const N: usize = 6;
const COUNT: usize = 50;
const LATENT: usize = 5;
const CLASSES: usize = 7;

/// Everything that draws: classes, augmentation, instance noise, mirrored images, mode regularisation with D's verdict, a penalty. Nothing learns,
/// so that the last of several updates of D does not depend on those before it.
fn settings(penalty: Penalty, updates: u32, seed: u64) -> Settings {
    let mut settings = Settings::default();
    (settings.train.batch, settings.train.seed, settings.data.flip) = (N, seed, true);
    (settings.nets.conditional, settings.nets.classes) = (Conditional::Projection, CLASSES);
    (settings.generator.latent, settings.generator.prior) = (LATENT, Prior::Normal);
    (settings.generator.hidden, settings.generator.channels) = (vec![9], vec![5, 4]);
    (settings.discriminator.channels, settings.discriminator.hidden) = (vec![4, 5], vec![9]);
    settings.discriminator.norm = Norm::None;
    (settings.bottleneck.beta, settings.bottleneck.beta_step) = (0.5, 0.0);
    (settings.objective.penalty, settings.objective.discriminator_steps) = (penalty, updates);
    (settings.objective.instance_noise, settings.objective.instance_noise_steps) = (0.3, 0);
    settings.objective.augment = AugmentPolicy::ALL;
    (settings.objective.reconstruction, settings.objective.mode) = (0.2, 0.4);
    (settings.optimizer.discriminator_lr, settings.optimizer.generator_lr) = (0.0, 0.0);
    settings
}

/// The draws of a step, or of one of several of its kind: `number` counts them over all steps.
#[derive(Clone, Copy)]
struct Draws {
    seed: u64,
    number: u64,
}

impl Draws {
    /// N(0, 1), `len` for each image.
    fn normals(self, stream: Stream, len: usize) -> Vec<f32> {
        let mut values = vec![0.0; N * len];
        for (image, values) in (0u32..).zip(values.chunks_exact_mut(len)) {
            fill_normals(self.seed, stream, self.number, image, 0, values);
        }
        values
    }

    /// U[0, 1), likewise.
    fn uniforms(self, stream: Stream, len: usize) -> Vec<f32> {
        let one = |image: usize, element: usize| {
            uniform(draw(self.seed, stream, self.number, image as u32, element as u32 / 4)[element % 4])
        };
        (0..N).flat_map(|image| (0..len).map(move |element| one(image, element))).collect()
    }

    /// A class for each image, each as likely as any other.
    fn classes(self, stream: Stream) -> Vec<u32> {
        let bits = |image| u64::from(draw(self.seed, stream, self.number, image, 0)[0]);
        (0..N as u32).map(|image| (bits(image) * CLASSES as u64 / (1 << 32)) as u32).collect()
    }

    /// The place in the set of an image of the batch of this number, `updates` batches a step.
    fn place(self, updates: u32, image: usize) -> usize {
        let epoch = (COUNT / (N * updates as usize) * N * updates as usize) as u64;
        let sample = self.number * N as u64 + image as u64;
        permuted(self.seed, sample / epoch, sample % epoch, COUNT as u64) as usize
    }

    /// The images of that batch, each mirrored or not by a draw of its own.
    fn images(self, updates: u32, pixels: &[u8]) -> Vec<f32> {
        let one = |image: usize| {
            let place = self.place(updates, image);
            let mirrored = draw(self.seed, Stream::Flip, self.number, image as u32, 0)[0] & 1 == 1;
            pixels[place * IMAGE.len()..][..IMAGE.len()].chunks_exact(IMAGE.w).flat_map(move |row| {
                let row: Vec<f32> = row.iter().map(|&byte| f32::from(byte) / 255.0).collect();
                if mirrored { row.into_iter().rev().collect() } else { row }
            })
        };
        (0..N).flat_map(one).collect()
    }
}

fn pixels() -> Vec<u8> {
    (0..COUNT * IMAGE.len()).map(|i| (i * i * 7 + i * 31) as u8).collect()
}

/// The class of each image of the set.
fn labels() -> Vec<u32> {
    (0..COUNT).map(|i| ((i * 5 + i / 7) % CLASSES) as u32).collect()
}

fn drawn<B: Executor>(be: &B) -> Batch<B> {
    let ImageShape { h, w, c } = IMAGE;
    let gather = Gather { n: N, count: COUNT, h, w, c, low: 0.0, high: 1.0, flip: true };
    let (images, labels) = (be.buffer_of(&pixels()).expect("memory"), be.buffer_of(&labels()).expect("memory"));
    Batch::Drawn { gather, images, labels: Some(labels) }
}

/// The expected draws of the last update of D, and of the generator's, in this step.
fn expected(settings: &Settings, step: u64, dims: usize) -> Batch<Cpu<f32>> {
    let (seed, updates) = (settings.train.seed, settings.objective.discriminator_steps);
    let last = Draws { seed, number: step * u64::from(updates) + u64::from(updates - 1) };
    let once = Draws { seed, number: step };
    let pair = |real, fake, len| [last.normals(real, len), last.normals(fake, len)].concat();
    Batch::Given(Given {
        images: last.images(updates, &pixels()),
        classes: GivenClasses {
            real: (0..N).map(|image| labels()[last.place(updates, image)]).collect(),
            discriminator: last.classes(Stream::ClassDiscriminator),
            generator: once.classes(Stream::ClassGenerator),
        },
        latents_d: last.normals(Stream::LatentDiscriminator, LATENT),
        latents_g: once.normals(Stream::LatentGenerator, LATENT),
        noise_d: pair(Stream::NoiseReal, Stream::NoiseFake, dims),
        noise_g: once.normals(Stream::NoiseGenerator, dims),
        noise_reconstruction: once.normals(Stream::NoiseReconstruction, dims),
        instance: GivenInstanceNoise {
            discriminator: pair(Stream::InstanceReal, Stream::InstanceFake, IMAGE.len()),
            generator: once.normals(Stream::InstanceGenerator, IMAGE.len()),
            reconstruction: once.normals(Stream::InstanceReconstruction, IMAGE.len()),
        },
        augmentation: GivenAugmentation {
            discriminator: [Stream::AugmentReal, Stream::AugmentFake].map(|of| last.uniforms(of, DRAWS)).concat(),
            generator: once.uniforms(Stream::AugmentGenerator, DRAWS),
            reconstruction: once.uniforms(Stream::AugmentReconstruction, DRAWS),
        },
        penalty: GivenPenalty {
            positions: last.uniforms(Stream::PenaltyPosition, 1),
            directions: last.uniforms(Stream::PenaltyDirection, IMAGE.len()),
            noise: last.normals(Stream::NoisePenalty, dims),
        },
    })
}

/// The outcome of a step: figures, and the gradients of all three nets, as bits.
fn outcome(settings: &Settings, step: u64, batch: impl FnOnce(usize) -> Batch<Cpu<f32>>) -> (StepState, Vec<Vec<u32>>) {
    let mut trainer = Trainer::new(Cpu::new(Some(1)).expect("threads"), settings.clone(), IMAGE).expect("a trainer");
    let state = StepState { step, ..trainer.read_state().expect("the state") };
    trainer.write_state(&state).expect("the state");
    let dims = trainer.model.discriminator.layers.bottleneck(N).expect("a bottleneck").dims();
    trainer.step(&batch(dims)).expect("a step");
    let encoder = &trainer.model.image_encoder.as_ref().expect("an encoder").memory;
    let memories = [&trainer.model.discriminator.memory, &trainer.model.generator.memory, encoder];
    let gradients = memories.map(|memory| memory.gradients.iter().map(|value| value.to_bits()).collect());
    let state = trainer.read_state().expect("the state");
    assert_eq!((state.non_finite, state.step), (0, step + 1));
    (state, gradients.into())
}

/// In every bit, for each kind of penalty, one update of D and several, two steps and two seeds.
#[test]
fn a_step_takes_the_draws_of_its_own_streams() {
    let penalties = [Penalty::None, Penalty::R1, Penalty::R2, Penalty::WganGp, Penalty::Dragan];
    for (penalty, updates, step, seed) in
        penalties.into_iter().flat_map(|penalty| [(penalty, 1, 0, 3), (penalty, 2, 5, 3), (penalty, 3, 4, 9)])
    {
        let settings = settings(penalty, updates, seed);
        let cpu = Cpu::new(Some(1)).expect("threads");
        let ours = outcome(&settings, step, |_| drawn(&cpu));
        let theirs = outcome(&settings, step, |dims| expected(&settings, step, dims));
        let what = format!("{penalty:?}, {updates} updates, step {step}, seed {seed}");
        assert_eq!(ours.0, theirs.0, "{what}: the state and its figures");
        for (net, (ours, theirs)) in ["D", "G", "E"].iter().zip(ours.1.iter().zip(&theirs.1)) {
            assert!(ours == theirs, "{what}: the gradients of {net}");
            assert!(ours.iter().any(|&bits| bits != 0), "{what}: no gradients of {net}");
        }
    }
}

/// One draw of a step: its purpose, from which distribution, numbers for each image, and the values `[N, len]`.
struct Drawn {
    purpose: String,
    stream: Stream,
    normal: bool,
    len: usize,
    number: u64,
    seed: u64,
    values: Vec<f32>,
}

const DIMS: usize = 6;

/// Every draw of a step with two updates of D.
fn all_draws<B: Executor<Real = f32, Storage = f32>>(be: &B, seed: u64, step: u64) -> Vec<Drawn> {
    let (settings, batch) = (settings(Penalty::Dragan, 2, seed), drawn(be));
    let held = be.buffer_of(&[StepState { step, ..StepState::new(seed, 0.0) }]).expect("memory");
    let state = || be.view(&held);
    let filled = |len: usize, write: &dyn Fn(Out<'_, B>)| {
        let mut target = be.alloc::<f32>(len).expect("memory");
        write(be.view_mut(&mut target));
        be.read(be.view(&target)).expect("a copy")
    };
    // μ = 0 and log σ² = 0: z is ε.
    let epsilon = |n: usize, noise: Noise<'_, B>| {
        let d = Bottleneck { n, positions: 1, c: DIMS, sigma: Sigma::Logvar };
        let (mu_s, mut kl) = (be.alloc(2 * n * DIMS).expect("memory"), be.alloc(n).expect("memory"));
        let mut z = be.alloc(n * DIMS).expect("memory");
        let (target, kl) = (be.view_mut(&mut z), be.view_mut(&mut kl));
        be.bottleneck_forward(&d, be.view(&mu_s), noise, target, kl).expect("a pass");
        be.read(be.view(&z)).expect("a copy")
    };
    let mut all = Vec::new();
    let mut add = |purpose: &str, stream, normal, draws: DrawStep, values: Vec<f32>| {
        let (len, number) = (values.len() / N, draws.of(step));
        all.push(Drawn { purpose: purpose.into(), stream, normal, len, number, seed, values });
    };
    let noised = |phase: Option<Phase>, n: usize| {
        let d = match phase {
            Some(phase) => instance_noise(&settings, phase, n, IMAGE.len()),
            None => reconstruction_noise(&settings, n, IMAGE.len()),
        };
        let (d, zeros) = (vgan_cuda::ops::inputs::instance_noise::InstanceNoise { sigma: 1.0, ..d }, n * IMAGE.len());
        let images: Buffer<B> = be.alloc(zeros).expect("memory");
        filled(zeros, &|target| be.instance_noise(&d, be.view(&images), None, state(), target).expect("noise"))
    };
    // The brightness of black images is the first number of u, and tells of the others.
    let augmented = |phase: Option<Phase>, n: usize| {
        let d = match phase {
            Some(phase) => augment(&settings, phase, n, IMAGE),
            None => reconstruction_augment(&settings, n, IMAGE),
        };
        let policy = AugmentPolicy { color: true, ..AugmentPolicy::default() };
        let (d, zeros) = (Augment { policy, half_range: 1.0, middle: 0.0, ..d }, n * IMAGE.len());
        let images: Buffer<B> = be.alloc(zeros).expect("memory");
        let write = |y: Out<'_, B>| be.augment_forward(&d, be.view(&images), None, state(), y).expect("a pass");
        let firsts = filled(zeros, &write).into_iter().step_by(IMAGE.len());
        firsts.map(|brightness| brightness + 0.5).collect::<Vec<f32>>()
    };
    for index in 0..2 {
        let draws = DrawStep { per_step: 2, index, ..DrawStep::ONCE };
        let phase = Phase::Discriminator(draws);
        let latents = filled(N * LATENT, &|z| batch.latents(be, &settings, phase, state(), z).expect("latents"));
        add("z of D", Stream::LatentDiscriminator, true, draws, latents);
        let noise = epsilon(2 * N, batch.noise(be, &settings, phase, state()));
        add("ε of real images", Stream::NoiseReal, true, draws, noise[..N * DIMS].to_vec());
        add("ε of fake images", Stream::NoiseFake, true, draws, noise[N * DIMS..].to_vec());
        let noise = noised(Some(phase), 2 * N);
        add("noise on real images", Stream::InstanceReal, true, draws, noise[..N * IMAGE.len()].to_vec());
        add("noise on fake images", Stream::InstanceFake, true, draws, noise[N * IMAGE.len()..].to_vec());
        let u = augmented(Some(phase), 2 * N);
        add("u of real images", Stream::AugmentReal, false, draws, u[..N].to_vec());
        add("u of fake images", Stream::AugmentFake, false, draws, u[N..].to_vec());
        let noise = epsilon(N, batch.penalty_noise(be, &settings, draws, state()));
        add("ε of the penalty", Stream::NoisePenalty, true, draws, noise);
        let positions = filled(N, &|u| batch.penalty_positions(be, draws, state(), u).expect("positions"));
        add("u of the penalty", Stream::PenaltyPosition, false, draws, positions);
        let len = IMAGE.len();
        let directions =
            filled(N * len, &|w| batch.penalty_directions(be, len, draws, state(), w).expect("directions"));
        add("w of the penalty", Stream::PenaltyDirection, false, draws, directions);
    }
    let once = DrawStep::ONCE;
    let latents = filled(N * LATENT, &|z| {
        batch.latents(be, &settings, Phase::Generator(DrawStep::ONCE), state(), z).expect("latents")
    });
    add("z of G", Stream::LatentGenerator, true, once, latents);
    let noise = epsilon(N, batch.noise(be, &settings, Phase::Generator(DrawStep::ONCE), state()));
    add("ε of G's images", Stream::NoiseGenerator, true, once, noise);
    let noise = epsilon(N, batch.reconstruction_noise(be, &settings, state()));
    add("ε of reconstructions", Stream::NoiseReconstruction, true, once, noise);
    add(
        "noise on G's images",
        Stream::InstanceGenerator,
        true,
        once,
        noised(Some(Phase::Generator(DrawStep::ONCE)), N),
    );
    add("u of G's images", Stream::AugmentGenerator, false, once, augmented(Some(Phase::Generator(DrawStep::ONCE)), N));
    add("u of reconstructions", Stream::AugmentReconstruction, false, once, augmented(None, N));
    add("noise on reconstructions", Stream::InstanceReconstruction, true, once, noised(None, N));
    all
}

/// On the CPU and on the kernels: every draw is the one of its stream, and none begins as another does, be it of another
/// image, update, step or seed.
#[test]
fn no_two_draws_of_two_steps_are_alike() {
    fn check<B: Executor<Real = f32, Storage = f32>>(be: &B) {
        let mut seen: BTreeMap<(bool, u32), String> = BTreeMap::new();
        let steps = [(3, 0), (3, 1), (3, 7), (4, 0), (4, 7)];
        for Drawn { purpose, stream, normal, len, number, seed, values } in
            steps.into_iter().flat_map(|(seed, step)| all_draws(be, seed, step))
        {
            let what = format!("{purpose} {number} of seed {seed} by {}", be.describe());
            let draws = Draws { seed, number };
            let own = if normal { draws.normals(stream, len) } else { draws.uniforms(stream, len) };
            assert_eq!(values, own, "{what}");
            // Of 24 bits, which differ between all of the first numbers of some hundred images of these seeds.
            for (image, row) in values.chunks_exact(len).enumerate() {
                let other = seen.insert((normal, row[0].to_bits()), format!("image {image} of {what}"));
                assert_eq!(other, None, "image {image} of {what} begins as this");
            }
        }
        assert_eq!(seen.len(), steps.len() * N * 27, "images that something was drawn for");
    }
    check(&Cpu::<f32>::new(Some(2)).expect("threads"));
    check(&emulated::<f32>(Options { detection: false, ..Options::default() }));
}

/// A penalty at images of the batch sees them as D's loss did; a mean is no draw.
#[test]
fn what_is_seen_twice_is_drawn_alike() {
    let be = Cpu::<f32>::new(Some(1)).expect("threads");
    let (batch, held) = (drawn(&be), vec![StepState::new(3, 0.0)]);
    let draws = DrawStep { per_step: 2, index: 1, ..DrawStep::ONCE };
    for (penalty, stream) in [(Penalty::R1, Stream::NoiseReal), (Penalty::R2, Stream::NoiseFake)] {
        let settings = settings(penalty, 2, 3);
        let Noise::Drawn { streams, draws: found, .. } = batch.penalty_noise(&be, &settings, draws, &held) else {
            panic!("{penalty:?}: noise that is not drawn");
        };
        assert_eq!((streams, found), (&[stream][..], draws), "{penalty:?}");
    }
    let mut settings = settings(Penalty::Dragan, 2, 3);
    (settings.objective.penalty_z, settings.bottleneck.generator_z) = (BottleneckZ::Mean, BottleneckZ::Mean);
    assert!(matches!(batch.penalty_noise(&be, &settings, draws, &held), Noise::Mean));
    assert!(matches!(batch.noise(&be, &settings, Phase::Generator(DrawStep::ONCE), &held), Noise::Mean));
    assert!(matches!(batch.reconstruction_noise(&be, &settings, &held), Noise::Mean));
    assert!(matches!(batch.noise(&be, &settings, Phase::Discriminator(draws), &held), Noise::Drawn { .. }));
}

/// Φ(x), to 1e-7 (Abramowitz & Stegun 1964, 7.1.26).
fn normal_cdf(x: f64) -> f64 {
    let z = x.abs() / std::f64::consts::SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let series = [1.061_405_429, -1.453_152_027, 1.421_413_741, -0.284_496_736, 0.254_829_592];
    let erf = 1.0 - series.iter().fold(0.0, |sum, a| (sum + a) * t) * (-z * z).exp();
    0.5 * (1.0 + erf.copysign(x))
}

/// Of every purpose, over many steps, by Kolmogorov and Smirnov: one of a thousand good draws would be farther off than
/// 1.95 / √n, and these are always the same.
#[test]
fn every_draw_has_its_distribution() {
    let be = Cpu::<f32>::new(Some(2)).expect("threads");
    let mut pooled: BTreeMap<String, (bool, Vec<f64>)> = BTreeMap::new();
    for step in 0..40 {
        for Drawn { purpose, normal, values, .. } in all_draws(&be, 11, step) {
            let pool = pooled.entry(purpose).or_insert((normal, Vec::new()));
            pool.1.extend(values.into_iter().map(f64::from));
        }
    }
    assert_eq!(pooled.len(), 17);
    for (purpose, (normal, mut values)) in pooled {
        values.sort_by(f64::total_cmp);
        let count = values.len() as f64;
        let below = |x| if normal { normal_cdf(x) } else { x };
        let distances = (0..).zip(&values).map(|(i, &x)| (below(x) - f64::from(i) / count).abs());
        let farthest = distances.fold(0.0, f64::max);
        assert!(farthest < 1.95 / count.sqrt(), "{purpose}: {farthest} of {count} draws");
    }
}

/// Each image of a batch has a flip of its own, of its step's and its seed's; half are mirrored. And a data set is gone
/// through in another order in another epoch and by another seed.
#[test]
fn flips_and_picks_differ_by_image_step_and_seed() {
    fn check<B: Executor<Real = f32, Storage = f32>>(be: &B) {
        // Bytes 2 i and 2 i + 1 side by side: which image it is, and whether it was mirrored.
        let pixels: Vec<u8> = (0..120).collect();
        let gather = Gather { n: 10, count: 60, h: 1, w: 2, c: 1, low: 0.0, high: 255.0, flip: true };
        let images = be.buffer_of(&pixels).expect("memory");
        let batch = |seed, step, draws| -> Vec<(usize, bool)> {
            let state = be.buffer_of(&[StepState { step, ..StepState::new(seed, 0.0) }]).expect("memory");
            let mut x = be.alloc(20).expect("memory");
            let (from, state) = (be.view(&images), be.view(&state));
            be.gather(&gather, draws, from, state, be.view_mut(&mut x)).expect("a batch");
            let x: Vec<f32> = be.read(be.view(&x)).expect("a copy");
            x.chunks_exact(2).map(|pair| (pair[0].min(pair[1]) as usize / 2, pair[0] > pair[1])).collect()
        };
        let of = |seed: u64| -> Vec<Vec<(usize, bool)>> {
            (0..12)
                .flat_map(|step| {
                    [0, 1].map(|index| batch(seed, step, DrawStep { per_step: 2, index, ..DrawStep::ONCE }))
                })
                .collect()
        };
        let (ours, theirs) = (of(5), of(6));
        let flips = |batch: &[(usize, bool)]| batch.iter().map(|image| image.1).collect::<Vec<bool>>();
        for (number, batch) in (0u64..).zip(&ours) {
            let drawn = |image: u32| draw(5, Stream::Flip, number, image, 0)[0] & 1 == 1;
            assert_eq!(flips(batch), (0..10).map(drawn).collect::<Vec<_>>(), "batch {number} by {}", be.describe());
        }
        // 120 ± 5.5 of 240; one batch in 512 would be all alike.
        let mirrored = ours.iter().flat_map(|batch| flips(batch)).filter(|&mirrored| mirrored).count();
        assert!((98..143).contains(&mirrored), "{mirrored} of 240 mirrored");
        let patterns: std::collections::BTreeSet<_> = ours.iter().chain(&theirs).map(|batch| flips(batch)).collect();
        assert!(patterns.len() > 40, "{} patterns of flips in 48 batches", patterns.len());
        // Three steps of two batches are an epoch.
        let orders = |all: &[Vec<(usize, bool)>]| -> Vec<Vec<usize>> {
            all.chunks(6).map(|epoch| epoch.concat().iter().map(|image| image.0).collect()).collect()
        };
        let orders = [orders(&ours), orders(&theirs)].concat();
        for (i, order) in orders.iter().enumerate() {
            let mut sorted = order.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..60), "an epoch has each image once");
            assert!(!orders[..i].contains(order), "an order that was there before");
        }
    }
    check(&Cpu::<f32>::new(Some(2)).expect("threads"));
    check(&emulated::<f32>(Options { detection: false, ..Options::default() }));
}
