//! Discriminators that are autoencoders, in training: that both nets learn, and that k moves as it should.

use vgan_cuda::config::{Loss, Settings};
use vgan_cuda::data::glyphs;
use vgan_cuda::device::{Backend, Cpu, Metrics};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;

const N: usize = 16;
const STEPS: usize = 200;
/// Signs of learning are means over as many steps, the first and the last.
const WINDOW: usize = 25;

/// Narrow nets for the glyphs.
fn narrow(loss: Loss, bottleneck: bool, lr: f64) -> Settings {
    let mut settings = Settings::default();
    settings.train.batch = N;
    settings.generator.latent = 16;
    settings.generator.hidden = vec![32];
    settings.generator.channels = vec![12, 8];
    settings.discriminator.channels = vec![6, 12];
    settings.discriminator.hidden = vec![32];
    settings.bottleneck.enabled = bottleneck;
    settings.bottleneck.logvar_bias = -5.0;
    settings.optimizer.init_std = 0.05;
    (settings.optimizer.discriminator_lr, settings.optimizer.generator_lr) = (lr, lr);
    settings.objective.loss = loss;
    settings
}

/// The figures of every step.
fn train(settings: &Settings) -> Vec<Metrics> {
    let cpu = Cpu::<f32>::new(Some(1)).expect("a thread");
    let images = glyphs::draw(500, 0);
    let (h, w, c) = (images.height, images.width, images.channels);
    let gather = Gather { n: N, count: images.count, h, w, c, low: 0.0, high: 1.0, flip: false };
    let batch = Batch::Drawn { gather, images: images.pixels, labels: None };
    let mut trainer = Trainer::new(cpu.clone(), settings.clone(), ImageShape { h, w, c }).expect("a trainer");
    cpu.run(|| (0..STEPS).try_for_each(|_| trainer.step(&batch))).unwrap_or_else(|error| panic!("{error}"));
    let state = trainer.read_state().expect("the state");
    assert_eq!((state.step, state.non_finite), (STEPS as u64, 0));
    trainer.read_history(0, STEPS as u64).expect("figures")
}

fn mean(metrics: &[Metrics], figure: fn(&Metrics) -> f64) -> f64 {
    metrics.iter().map(figure).sum::<f64>() / metrics.len() as f64
}

/// D reconstructs real images better and better, and fake ones, whose energy it raises towards the margin, worse.
fn energies_part(settings: &Settings) -> bool {
    let metrics = train(settings);
    let (first, last) = (&metrics[..WINDOW], &metrics[STEPS - WINDOW..]);
    let [real_first, real_last] = [first, last].map(|metrics| mean(metrics, |m| m.d_real));
    let fake_last = mean(last, |m| m.d_fake);
    eprintln!("energy of real images {real_first:.4} at first, {real_last:.4} at last; of fake ones {fake_last:.4}");
    real_last < 0.6 * real_first && real_last < 0.75 * fake_last
}

#[test]
fn energies_of_real_and_fake_images_part_with_ebgan() {
    for (bottleneck, repelling) in [(false, 0.1), (true, 0.0)] {
        let with = |lr| {
            let mut settings = narrow(Loss::Ebgan, bottleneck, lr);
            settings.objective.repelling = repelling;
            settings
        };
        assert!(energies_part(&with(1e-3)), "bottleneck {bottleneck}, repelling {repelling}");
        assert!(!energies_part(&with(0.0)), "without a learning rate");
    }
}

/// The measure of convergence falls.
fn converges(settings: &Settings) -> bool {
    let metrics = train(settings);
    let [first, last] =
        [&metrics[..WINDOW], &metrics[STEPS - WINDOW..]].map(|metrics| mean(metrics, |m| m.convergence));
    let balances: Vec<f64> = metrics.iter().map(|m| m.balance).collect();
    eprintln!("M {first:.4} at first, {last:.4} at last; k {:.4} at last", balances[STEPS - 1]);
    assert!(balances.iter().all(|k| (0.0..=1.0).contains(k)) && balances[0] != balances[STEPS - 1], "{balances:?}");
    last < 0.7 * first
}

#[test]
fn the_measure_of_convergence_falls_with_began() {
    for bottleneck in [false, true] {
        assert!(converges(&narrow(Loss::Began, bottleneck, 1e-3)), "bottleneck {bottleneck}");
        assert!(!converges(&narrow(Loss::Began, bottleneck, 0.0)), "without a learning rate");
    }
}

/// Every step moves k by λ_k (γ L(x) − L(G(z))), from 0.
#[test]
fn k_moves_with_the_reported_energies() {
    let mut settings = narrow(Loss::Began, true, 1e-3);
    (settings.objective.balance_ratio, settings.objective.balance_step) = (0.7, 0.05);
    let (mut balance, mut moved) = (0.0, 0);
    for metrics in train(&settings) {
        let surplus = 0.7 * metrics.d_real - metrics.loss_g;
        let next = f64::clamp(balance + 0.05 * surplus, 0.0, 1.0);
        assert_eq!(metrics.balance, next);
        assert_eq!(metrics.convergence, metrics.d_real + surplus.abs());
        moved += usize::from(next != balance);
        balance = next;
    }
    assert!(moved > STEPS / 2, "k moved in {moved} steps");
}

/// A discriminator with a logit reports neither.
#[test]
fn other_losses_have_no_balance() {
    let metrics = train(&narrow(Loss::Lsgan, true, 1e-3));
    assert!(metrics.iter().all(|metrics| metrics.balance == 0.0 && metrics.convergence == 0.0));
}
