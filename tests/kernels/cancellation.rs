//! Sums that are zero by construction come out as zero: an optimiser divides what rounding leaves by its own size, and makes a
//! whole step of it each time.

use crate::executors::{emulated, emulated_as, emulated_in_tf32};
use crate::narrow_models::narrow;
use half::bf16;
use simt::Options;
use vgan_cuda::config::{Norm, Penalty, Settings};
use vgan_cuda::device::{Buffer, Cpu, Real, StepState};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::Executor;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::ops::layers::linear::Linear;
use vgan_cuda::ops::losses::loss::{DiscriminatorLoss, Part};
use vgan_cuda::ops::losses::objective::{Loss, Objective};
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;

/// Batches up to beyond a block of rows, and some about the parts that longer sums are made of.
fn batches() -> impl Iterator<Item = usize> {
    (2..=130).chain([255, 256, 257, 300, 511, 512, 513, 700])
}

/// Logits of either kind of image, away from the hinge's kinks at ±1.
fn logits(n: usize) -> Vec<f64> {
    (0..2 * n).map(|i| ((i * i * 7 + i * 31) % 101) as f64 / 60.0 - 0.83).collect()
}

/// The rest that a loss leaves of the gradient of D's last bias, and of the weight of a feature that is 1.7 for every image.
fn left_over<B: Executor>(backend: &B, loss: Loss, n: usize) -> [f64; 2] {
    backend.run(|| {
        let real = |values: Vec<f64>| values.into_iter().map(B::Real::of).collect::<Vec<_>>();
        let stored = |values| backend.stored_of(&real(values)).expect("memory");
        let zeros = |len| backend.alloc::<B::Real>(len).expect("memory");
        let (logits, kl) = (stored(logits(n)), zeros(2 * n));
        let (mut dlogits, mut dkl) = (stored(vec![0.0; 2 * n]), zeros(2 * n));
        let mut state = backend.buffer_of(&[StepState::new(0, 0.0)]).expect("memory");
        let objective = Objective::new(loss);
        let d = DiscriminatorLoss {
            n,
            part: Part::WHOLE,
            objective,
            kl_scale: 0.0,
            kl_mix: 1.0,
            target_kl: 0.0,
            beta_step: 0.0,
        };
        let (dl, dk, st) = (backend.view_mut(&mut dlogits), backend.view_mut(&mut dkl), backend.view_mut(&mut state));
        backend.discriminator_loss(&d, backend.view(&logits), backend.view(&kl), dl, dk, st).expect("a loss");
        // The second feature is the same for all images, the others are not.
        let features = (0..2 * n).flat_map(|i| [(i as f64).sin(), 1.7, (i as f64).cos()]).collect();
        let (features, [mut dw, mut db]) = (stored(features), [zeros(3), zeros(1)]);
        let (dw_view, db_view) = (backend.view_mut(&mut dw), backend.view_mut(&mut db));
        let linear = Linear { n: 2 * n, c: 3, k: 1 };
        backend
            .linear_backward_weight(
                &linear,
                backend.view(&features),
                backend.view(&dlogits),
                dw_view,
                Some(db_view),
                true,
            )
            .expect("gradients");
        [read(backend, &db)[0].to_f64(), read(backend, &dw)[1].to_f64()]
    })
}

fn nothing_is_left<B: Executor>(name: &str, backend: &B) {
    let mut failed = Vec::new();
    for loss in [Loss::Wgan, Loss::Hinge] {
        for n in batches() {
            let [bias, weight] = left_over(backend, loss, n);
            if bias != 0.0 || weight != 0.0 {
                failed.push(format!("{loss:?}, batch {n}: bias {bias:e}, weight {weight:e}"));
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{name}: {} sums, the first of them {:#?}",
        failed.len(),
        &failed[..failed.len().min(5)]
    );
}

#[test]
fn what_cancels_leaves_nothing_on_the_cpu() {
    for threads in [1, 2, 3] {
        nothing_is_left("f32", &Cpu::<f32>::new(Some(threads)).expect("threads"));
        nothing_is_left("f64", &Cpu::<f64>::new(Some(threads)).expect("threads"));
        nothing_is_left("bf16", &Cpu::<f32, bf16>::new(Some(threads)).expect("threads"));
    }
}

#[test]
fn what_cancels_leaves_nothing_in_the_kernels() {
    let unchecked = || Options { detection: false, ..Options::default() };
    nothing_is_left("f32", &emulated::<f32>(unchecked()));
    nothing_is_left("f64", &emulated::<f64>(unchecked()));
    nothing_is_left("tf32", &emulated_in_tf32(unchecked()));
    nothing_is_left("bf16", &emulated_as::<f32, bf16>(unchecked()));
}

/// The Wasserstein loss as a critic is trained by it, with a few updates of D a step.
fn critic(change: impl FnOnce(&mut Settings), residual: bool) -> (Settings, ImageShape) {
    let (mut settings, image) = narrow(if residual { "residual" } else { "mnist" });
    settings.bottleneck.enabled = false;
    settings.discriminator.norm = Norm::None;
    settings.objective.loss = Loss::Wgan;
    settings.objective.discriminator_steps = 2;
    change(&mut settings);
    (settings, image)
}

/// Images of the data set.
const COUNT: usize = 300;

fn read<B: Executor>(backend: &B, buffer: &Buffer<B>) -> Vec<B::Real> {
    backend.read(backend.view(buffer)).expect("a copy")
}

/// Trains for a few steps. Every parameter of D that is named has no gradient, in the last update at least, and stays where it
/// started: Adam and RMSprop make a step of whatever is left.
fn stays<B: Executor>(backend: &B, (mut settings, image): (Settings, ImageShape), n: usize, names: &[&str]) {
    settings.train.batch = n;
    let ImageShape { h, w, c } = image;
    let pixels: Vec<u8> = (0..COUNT * image.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
    let gather = Gather { n, count: COUNT, h, w, c, low: 0.0, high: 1.0, flip: false };
    let batch = Batch::Drawn { gather, images: backend.buffer_of(&pixels).expect("memory"), labels: None };
    let what = format!("{:?}, {:?}, batch {n}", settings.nets.family, settings.objective);
    let mut trainer = Trainer::new(backend.clone(), settings, image).expect("a trainer");
    let started = read(backend, &trainer.model.discriminator.memory.params);
    for _ in 0..3 {
        backend.run(|| trainer.step(&batch)).expect("a step");
    }
    let memory = &trainer.model.discriminator.memory;
    let (ended, gradients) = (read(backend, &memory.params), read(backend, &memory.gradients));
    assert_ne!(started, ended, "{what}: nothing was trained");
    for name in names {
        let found = memory.parts.params.entries().iter().find(|entry| entry.name == *name);
        let range = found.unwrap_or_else(|| panic!("{what}: no {name}")).range();
        for at in range {
            assert_eq!(gradients[at].to_f64(), 0.0, "{what}: the gradient of {name}");
            assert_eq!(ended[at].to_f64(), started[at].to_f64(), "{what}: {name}");
        }
    }
}

/// The kinds of critics, and what has no gradient in each.
fn critics() -> Vec<((Settings, ImageShape), Vec<&'static str>)> {
    vec![
        (critic(|s| s.objective.penalty = Penalty::WganGp, false), vec!["fc.2.bias"]),
        (critic(|s| s.objective.penalty = Penalty::R1, true), vec!["fc.bias"]),
        (critic(|s| s.discriminator.spectral_norm = true, false), vec!["fc.2.bias"]),
        (critic(|s| s.discriminator.norm = Norm::Batch, false), vec!["fc.3.bias"]),
        // The hinge's linear range: with small weights no logit comes near 1.
        (critic(|s| s.objective.loss = Loss::Hinge, false), vec!["fc.2.bias"]),
        (
            critic(|s| (s.discriminator.minibatch_kernels, s.discriminator.hidden) = (2, vec![7]), false),
            vec!["fc.2.bias"],
        ),
        (critic(with_a_bottleneck, false), vec!["fc.2.bias"]),
        // From z to the logit all is linear, so the mean's bias cancels as the last one does.
        (critic(linear_behind_the_bottleneck, false), vec!["fc.0.bias", "conv_mean.bias"]),
    ]
}

fn with_a_bottleneck(settings: &mut Settings) {
    settings.bottleneck.enabled = true;
    settings.objective.penalty = Penalty::WganGp;
}

fn linear_behind_the_bottleneck(settings: &mut Settings) {
    settings.bottleneck.enabled = true;
    (settings.bottleneck.beta, settings.bottleneck.beta_step) = (0.0, 0.0);
    settings.discriminator.hidden = Vec::new();
}

#[test]
fn a_critics_last_bias_stays_where_it_started() {
    let cpu = Cpu::<f32>::new(Some(2)).expect("threads");
    for (model, names) in critics() {
        for n in [3, 7, 20, 25] {
            stays(&cpu, model.clone(), n, &names);
        }
    }
}

#[test]
fn a_critics_last_bias_stays_where_it_started_in_the_kernels() {
    let kernels = emulated::<f32>(Options { detection: false, ..Options::default() });
    for (model, names) in critics() {
        stays(&kernels, model, 7, &names);
    }
    // A small critic at the batch that showed it first.
    stays(&kernels, critic(|settings| settings.discriminator.hidden = vec![2], false), 100, &["fc.2.bias"]);
}
