//! Gradient accumulation: a batch in parts moves the networks as the batch in one piece does, where nothing looks at the whole batch.

use crate::narrow_models::narrow;
use vgan_cuda::config::{Override, apply, validate};
use vgan_cuda::device::{Backend, Cpu, Metrics, Network};
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;

const COUNT: usize = 40;
const STEPS: u64 = 4;

/// Parameters of both networks, β, and the figures of each step, after some steps of a narrow model with these settings.
fn trained(model: &str, words: &str, parts: usize) -> (Vec<f64>, Vec<Metrics>) {
    let (settings, image) = narrow(model);
    let words = format!("train.batch=8 train.accumulate={parts} {words}");
    let overrides: Vec<Override> =
        words.split_whitespace().map(|word| Override::parse(word).expect("a setting")).collect();
    let settings = apply(&settings, &overrides).expect("settings");
    validate(&settings).expect("settings that go together");
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    let (n, [h, w, c]) = (settings.train.batch, [image.h, image.w, image.c]);
    let gather = Gather { n, count: COUNT, h, w, c, low: -1.0, high: 1.0, flip: true };
    let pixels = (0..COUNT * image.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
    let classes = u32::try_from(settings.nets.classes).expect("few classes");
    let labels = settings.nets.is_conditional().then(|| (0..COUNT as u32).map(|i| i % classes).collect());
    let batch = Batch::Drawn { gather, images: pixels, labels };
    let mut trainer = Trainer::new(cpu.clone(), settings, image).expect("a trainer");
    (0..STEPS).for_each(|_| cpu.run(|| trainer.step(&batch)).expect("a step"));
    let of = |network| {
        let memory = trainer.model.memory(network).expect("a network");
        cpu.read(cpu.view(&memory.params)).expect("a copy")
    };
    let beta = trainer.read_state().expect("the state").beta;
    let params = [of(Network::Discriminator), of(Network::Generator), vec![beta]].concat();
    (params, trainer.read_history(0, STEPS).expect("figures"))
}

/// The largest difference, of the parameters and of the figures.
fn apart(one: &(Vec<f64>, Vec<Metrics>), other: &(Vec<f64>, Vec<Metrics>)) -> [f64; 2] {
    let largest = |pairs: &mut dyn Iterator<Item = (f64, f64)>| pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(one.0.iter().all(|value| value.is_finite()));
    let params = largest(&mut one.0.iter().copied().zip(other.0.iter().copied()));
    let figures = |metrics: &[Metrics]| bytemuck::cast_slice::<Metrics, f64>(metrics).to_vec();
    [params, largest(&mut figures(&one.1).into_iter().zip(figures(&other.1)))]
}

/// Without batch normalisation in either network. Sums in another order differ in the last bits, no more: a rounding of f64 is 1e-16, and
/// RMSprop divides by the root of small numbers.
#[test]
fn parts_move_the_networks_as_the_whole_does() {
    for words in [
        "penalty=wgan-gp penalty_every=2 discriminator_steps=2",
        "penalty=r1 instance_noise=0.1 augment=color,translation,cutout spectral_norm=true",
        "penalty=r2 historical_averaging=0.01 bottleneck.generator_z=mean optimizer.kind=adam",
        "nets.conditional=projection nets.classes=3 penalty=wgan-gp ema=0.9",
        "nets.conditional=selection nets.classes=3 bottleneck.enabled=false loss=hinge",
    ] {
        let whole = trained("residual", words, 1);
        for parts in [2, 4] {
            let [params, figures] = apart(&whole, &trained("residual", words, parts));
            assert!(params <= 1e-10 && figures <= 1e-10, "{words}, {parts} parts: {params:e}, {figures:e}");
        }
    }
}

/// The generator's batch normalisation makes other images of parts, but not ones of other energies: k moves about as far in a step, and
/// not once for each of four parts.
#[test]
fn multipliers_move_once_a_step() {
    let words = "discriminator.norm=none optimizer.generator_lr=1e-12 discriminator_lr=1e-12";
    let [whole, parts] = [1, 4].map(|parts| trained("began", words, parts).1[0]);
    assert!(whole.balance > 0.0 && (parts.balance / whole.balance - 1.0).abs() < 0.5, "{whole:?} {parts:?}");
}

/// With batch normalisation each part is normalised by itself, as the setting says.
#[test]
fn batch_normalisation_sees_the_part() {
    let [params, _] = apart(&trained("mnist", "", 1), &trained("mnist", "", 2));
    assert!(params > 1e-6, "{params:e}");
}
