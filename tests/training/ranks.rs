//! Several ranks train as one does: threads of this process, each with a share of every batch.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::narrow_models::narrow;
use vgan_cuda::config::{Override, Settings, apply, validate, validate_for_ranks};
use vgan_cuda::device::ranks::ThreadRanks;
use vgan_cuda::device::{Backend, Cpu, Metrics, Network, Real};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;

const COUNT: usize = 48;
const STEPS: u64 = 3;
const NETWORKS: [Network; 3] = [Network::Discriminator, Network::Generator, Network::Encoder];

/// What a rank has after some steps: every number that the next step depends on, and the figures of each step.
#[derive(Debug, Clone, PartialEq)]
struct Trained {
    values: Vec<f64>,
    figures: Vec<f64>,
}

/// A narrow model with a batch of 12 and these settings over its own.
fn model(name: &str, words: &str) -> (Settings, ImageShape) {
    let (settings, image) = narrow(name);
    let words = format!("train.batch=12 {words}");
    let overrides: Vec<Override> =
        words.split_whitespace().map(|word| Override::parse(word).expect("a setting")).collect();
    let settings = apply(&settings, &overrides).expect("settings");
    validate(&settings).expect("settings that go together");
    (settings, image)
}

/// Some steps of one rank.
fn train<T: Real>(cpu: &Cpu<T>, (settings, image): &(Settings, ImageShape)) -> Trained {
    let (n, [h, w, c]) = (settings.train.batch, [image.h, image.w, image.c]);
    let gather = Gather { n, count: COUNT, h, w, c, low: -1.0, high: 1.0, flip: true };
    let pixels = (0..COUNT * image.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
    let classes = u32::try_from(settings.nets.classes).expect("few classes");
    let labels = settings.nets.is_conditional().then(|| (0..COUNT as u32).map(|i| i % classes).collect());
    let batch = Batch::Drawn { gather, images: pixels, labels };
    let mut trainer = Trainer::new(cpu.clone(), settings.clone(), *image).expect("a trainer");
    (0..STEPS).for_each(|_| cpu.run(|| trainer.step(&batch)).expect("a step"));
    let (model, state) = (&trainer.model, trainer.read_state().expect("the state"));
    let mut values = vec![state.beta, state.balance, state.non_finite as f64];
    let mut keep = |arena: &Vec<T>| values.extend(arena.iter().map(|value| value.to_f64()));
    for memory in NETWORKS.iter().filter_map(|&network| model.memory(network)) {
        keep(&memory.params);
        keep(&memory.stats);
        keep(&memory.second_moments);
    }
    model.average.iter().for_each(|average| [&average.params, &average.stats].into_iter().for_each(&mut keep));
    let history = trainer.read_history(0, STEPS).expect("figures");
    Trained { values, figures: bytemuck::cast_slice::<Metrics, f64>(&history).to_vec() }
}

/// What each of several ranks has, in rank order; every one with so many threads.
fn of_ranks<T: Real>(world: usize, threads: usize, model: &(Settings, ImageShape)) -> Vec<Trained> {
    thread::scope(|scope| {
        let start = |rank: ThreadRanks| {
            let cpu = Cpu::<T>::new(Some(threads)).expect("threads").with_ranks(Arc::new(rank));
            scope.spawn(move || train(&cpu, model))
        };
        let ranks: Vec<_> = ThreadRanks::patient(world, Duration::from_secs(20)).into_iter().map(start).collect();
        ranks.into_iter().map(|rank| rank.join().expect("a rank")).collect()
    })
}

/// The largest difference, relative to numbers above 1.
fn apart(one: &Trained, other: &Trained) -> f64 {
    assert_eq!((one.values.len(), one.figures.len()), (other.values.len(), other.figures.len()));
    let pairs = one.values.iter().zip(&other.values).chain(one.figures.iter().zip(&other.figures));
    assert!(pairs.clone().all(|(a, b)| a.is_finite() && b.is_finite()));
    pairs.map(|(a, b)| (a - b).abs() / a.abs().max(1.0)).fold(0.0, f64::max)
}

/// The models that several ranks train, with what is set beside: every kind of network, loss and method that is not refused. Adam's
/// epsilon is far above rounding: what has no gradient but rounding would be moved by whole steps.
const MODELS: [(&str, &str); 10] = [
    ("mnist", "optimizer.epsilon=1e-3"),
    ("colour", "optimizer.epsilon=1e-3"),
    ("residual", "train.accumulate=2 penalty=wgan-gp penalty_every=2 discriminator_steps=2 optimizer.epsilon=1e-3"),
    (
        "residual",
        "penalty=r1 instance_noise=0.1 augment=color,translation,cutout spectral_norm=true optimizer.epsilon=1e-3",
    ),
    (
        "residual",
        "penalty=r2 historical_averaging=0.01 bottleneck.generator_z=mean optimizer.kind=adam optimizer.epsilon=1e-3",
    ),
    ("residual", "nets.conditional=projection nets.classes=3 penalty=wgan-gp optimizer.epsilon=1e-3"),
    (
        "residual",
        "nets.conditional=selection nets.classes=3 bottleneck.enabled=false loss=hinge optimizer.epsilon=1e-3",
    ),
    ("began", "optimizer.epsilon=1e-3"),
    ("critic", "train.accumulate=3"),
    ("mnist", "nets.conditional=concatenation nets.classes=3 optimizer.epsilon=1e-3 discriminator.spectral_norm=true"),
];

#[test]
fn several_ranks_train_as_one() {
    for (name, words) in MODELS {
        let model = model(name, words);
        let one = train(&Cpu::<f64>::new(Some(1)).expect("threads"), &model);
        for world in [1, 2, 3, 4] {
            if validate_for_ranks(&model.0, world).is_err() {
                continue;
            }
            let ranks = of_ranks::<f64>(world, 1, &model);
            let first = &ranks[0];
            let found = apart(&one, first);
            eprintln!("{name} {words} {world}: {found:e}");
            assert!(ranks.iter().all(|rank| rank == first), "{name} {words}: ranks of {world} differ");
            let allowed = if world == 1 { 0.0 } else { 1e-12 };
            assert!(found <= allowed, "{name} {words}, {world} ranks: {found:e}");
        }
    }
}
