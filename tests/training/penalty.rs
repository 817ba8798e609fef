//! Gradient penalties in training: that they hold what they are to hold, and that a step knows whether it has one.

use vgan_cuda::Result;
use vgan_cuda::config::{Norm, Penalty, Settings};
use vgan_cuda::data::glyphs;
use vgan_cuda::device::{Backend, Cpu, Metrics, StepState};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::train::Trainer;
use vgan_cuda::train::batch::Batch;
use vgan_cuda::train::step::model::Model;
use vgan_cuda::train::step::probe::Probe;

const N: usize = 16;

/// Narrow nets for the glyphs, without batch normalisation in D.
fn narrow(penalty: Penalty, bottleneck: bool) -> Settings {
    let mut settings = Settings::default();
    settings.train.batch = N;
    settings.generator.hidden = vec![16];
    settings.generator.channels = vec![8, 4];
    settings.discriminator.channels = vec![4, 8];
    settings.discriminator.hidden = vec![16];
    settings.discriminator.norm = Norm::None;
    settings.bottleneck.enabled = bottleneck;
    settings.bottleneck.logvar_bias = -3.0;
    settings.optimizer.discriminator_lr = 1e-3;
    settings.optimizer.generator_lr = 1e-3;
    settings.optimizer.init_std = 0.05;
    settings.objective.penalty = penalty;
    settings
}

/// A trainer and the glyphs.
struct Run {
    cpu: Cpu<f32>,
    trainer: Trainer<Cpu<f32>>,
    batch: Batch<Cpu<f32>>,
    norms: Norms,
}

/// The norms of the gradients that were penalised last; empty where none were.
#[derive(Default)]
struct Norms(Vec<f32>);

impl Probe<Cpu<f32>> for Norms {
    fn gradient_norms(&mut self, _: &Model<Cpu<f32>>, norms: &[f32]) -> Result<()> {
        self.0 = norms.to_vec();
        Ok(())
    }
}

impl Run {
    fn new(settings: Settings) -> Run {
        let cpu = Cpu::new(Some(2)).expect("threads");
        let images = glyphs::draw(500, 0);
        let (h, w, c) = (images.height, images.width, images.channels);
        let gather = Gather { n: N, count: images.count, h, w, c, low: 0.0, high: 1.0, flip: false };
        let batch = Batch::Drawn { gather, images: images.pixels, labels: None };
        let trainer = Trainer::new(cpu.clone(), settings, ImageShape { h, w, c }).expect("a trainer");
        Run { cpu, trainer, batch, norms: Norms::default() }
    }

    fn step(&mut self) -> Metrics {
        let Run { cpu, trainer, batch, norms } = self;
        cpu.run(|| trainer.probed_step(batch, norms)).expect("a step");
        let state = trainer.read_state().expect("the state");
        assert_eq!(state.non_finite, 0, "at step {}", state.step);
        state.metrics
    }

    /// The mean norm of the gradients that were penalised last.
    fn mean_norm(&self) -> f64 {
        assert_eq!(self.norms.0.len(), N, "a penalty");
        self.norms.0.iter().map(|&norm| f64::from(norm)).sum::<f64>() / N as f64
    }
}

/// Two hundred steps: what is drawn to 1 comes near it and stays, with the bottleneck's noise and without. Not to 1 itself:
/// the loss and the penalty pull at it from two sides. How far off it would be otherwise the next test shows.
#[test]
fn two_hundred_steps_draw_the_norm_to_one() {
    for (penalty, bottleneck) in [(Penalty::WganGp, true), (Penalty::Dragan, false)] {
        let mut run = Run::new(narrow(penalty, bottleneck));
        run.step();
        let first = run.mean_norm();
        let mut last = 0.0;
        for step in 1..200 {
            run.step();
            if step >= 150 {
                last += run.mean_norm() / 50.0;
            }
        }
        eprintln!("{penalty:?}, bottleneck {bottleneck}: norm {first:.3} at first, {last:.3} at last");
        assert!((first - 1.0).abs() > 0.5, "{first} is near 1 before anything was learnt");
        assert!((last - 1.0).abs() < 0.4, "{penalty:?}, bottleneck {bottleneck}: {last}");
    }
}

/// The gradient on real images stays smaller with R1 than without, while D still tells the images apart.
#[test]
fn two_hundred_steps_of_r1_hold_the_gradient_down() {
    let after = |weight| {
        let mut settings = narrow(Penalty::R1, true);
        settings.objective.penalty_weight = weight;
        let mut run = Run::new(settings);
        let metrics = (0..200).map(|_| run.step()).last().expect("steps");
        (run.mean_norm(), metrics)
    };
    let ((held, metrics), (free, _)) = (after(10.0), after(1e-6));
    eprintln!("norm {held:.3} with R1, {free:.3} as good as without; {metrics:?}");
    assert!(held < 0.5 * free, "{held} with R1, {free} without");
    assert!(metrics.penalty > 0.0 && metrics.penalty < metrics.loss_d, "{metrics:?}");
    assert!(metrics.d_real > metrics.d_fake, "{metrics:?}");
}

/// Steps 0, 3, 6, … of a penalty of every third step have one, three times as heavy; and so they do after another start.
#[test]
fn a_lazy_penalty_comes_every_kth_step() {
    let lazy = |every| {
        let mut settings = narrow(Penalty::R1, true);
        settings.objective.penalty_every = every;
        Run::new(settings)
    };
    let mut run = lazy(3);
    let due: Vec<bool> = (0..7).map(|_| run.step().penalty > 0.0).collect();
    assert_eq!(due, [true, false, false, true, false, false, true]);
    let state = StepState { step: 11, ..run.trainer.read_state().expect("the state") };
    run.trainer.write_state(&state).expect("a state");
    let due: Vec<bool> = (0..5).map(|_| run.step().penalty > 0.0).collect();
    assert_eq!(due, [false, true, false, false, true]);
    let (every, third) = (lazy(1).step(), lazy(3).step());
    assert!((third.penalty / every.penalty - 3.0).abs() < 1e-6, "{third:?} {every:?}");
    let rest = |metrics: Metrics| metrics.loss_d - metrics.penalty;
    assert!((rest(third) - rest(every)).abs() < 1e-9, "loss_d holds the penalty: {third:?} {every:?}");
}

/// Who wants no penalty has no memory for one.
#[test]
fn no_penalty_allocates_nothing() {
    let allocated = |penalty| {
        let mut run = Run::new(narrow(penalty, true));
        let allocated = run.cpu.allocated();
        run.step();
        assert_eq!(run.norms.0.is_empty(), penalty == Penalty::None);
        allocated
    };
    let (none, r1, dragan) = (allocated(Penalty::None), allocated(Penalty::R1), allocated(Penalty::Dragan));
    assert!(none < r1 && r1 < dragan, "{none} {r1} {dragan}");
    let mut settings = narrow(Penalty::None, true);
    (settings.objective.penalty_weight, settings.objective.penalty_every) = (3.0, 7);
    let mut run = Run::new(settings);
    assert_eq!(run.cpu.allocated(), none);
    assert_eq!(run.step().penalty, 0.0);
}
