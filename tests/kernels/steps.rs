//! Whole training steps through the kernels, thread by thread under the emulator, against the CPU path.

use std::path::Path;

use crate::executors::{Allocation, emulated, emulated_as, emulated_in_tf32, emulator};
use crate::narrow_models::{Narrow, narrow, narrow_models};
use half::bf16;
use simt::{Options, Order};
use vgan_cuda::config::{PixelRange, Settings, TrainSettings};
use vgan_cuda::data::{Extent, Images};
use vgan_cuda::device::kernels::BINARIES;
use vgan_cuda::device::{ALIGNMENT, Accelerator, Cpu, DryRun, Metrics, Precision, Real, StepState, Storage};
use vgan_cuda::nn::{ImageShape, NetworkMemory, Parts};
use vgan_cuda::ops::Executor;
use vgan_cuda::ops::inputs::gather::Gather;
use vgan_cuda::run::{RunFolder, checkpoint};
use vgan_cuda::train::batch::Batch;
use vgan_cuda::train::predict::predict;
use vgan_cuda::train::sampler::Sampler;
use vgan_cuda::train::snapshot::F32Executor;
use vgan_cuda::train::step::model::HISTORY;
use vgan_cuda::train::{Interrupt, Session, Trainer};

const STEPS: usize = 20;
/// The first step, the recorded one and its replays, in both phases of a penalty every second step: all that steps differ in where
/// orders, buffers or precisions are compared.
pub(crate) const FEW: usize = 6;

/// As many steps of a model as differ in what is launched: one that is computed, one that is recorded, and its replay.
pub(crate) fn different_steps((settings, _): &Narrow) -> usize {
    if settings.objective.penalty_every > 1 { FEW } else { 3 }
}

const COUNT: usize = 50;

/// Batches that are drawn from a small data set.
fn batch<B: Executor>(backend: &B, settings: &Settings, image: ImageShape) -> Batch<B> {
    // An epoch has one batch at least.
    let count = COUNT.max(settings.train.batch);
    let pixels: Vec<u8> = (0..count * image.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
    let low = if settings.data.range == PixelRange::MinusOneToOne { -1.0 } else { 0.0 };
    let ImageShape { h, w, c } = image;
    let gather = Gather { n: settings.train.batch, count, h, w, c, low, high: 1.0, flip: settings.data.flip };
    let of_image = |i: usize| (i * 7 % settings.nets.classes.max(1)) as u32;
    let labels = || backend.buffer_of(&(0..count).map(of_image).collect::<Vec<_>>()).expect("memory");
    let labels = settings.nets.is_conditional().then(labels);
    Batch::Drawn { gather, images: backend.buffer_of(&pixels).expect("memory"), labels }
}

/// The state after one more step.
fn step<B: Executor>(trainer: &mut Trainer<B>, batch: &Batch<B>) -> StepState {
    let backend = trainer.model.backend.clone();
    backend.run(|| trainer.step(batch)).unwrap_or_else(|error| panic!("{error}"));
    trainer.read_state().expect("the state")
}

/// The state after each step and, at the end, weights, moments and statistics of both nets and the average.
#[derive(Debug, PartialEq)]
pub(crate) struct Trained {
    pub(crate) states: Vec<StepState>,
    pub(crate) arenas: Vec<(&'static str, Vec<f64>)>,
}

pub(crate) fn train<B: Executor>(backend: &B, model: &Narrow) -> Trained {
    train_for(STEPS, backend, model)
}

pub(crate) fn train_for<B: Executor>(steps: usize, backend: &B, (settings, image): &Narrow) -> Trained {
    let batch = batch(backend, settings, *image);
    let mut trainer = Trainer::new(backend.clone(), settings.clone(), *image).expect("a trainer");
    let states: Vec<StepState> = (0..steps).map(|_| step(&mut trainer, &batch)).collect();
    let history = trainer.read_history(0, steps as u64).expect("the figures of all steps");
    let reported: Vec<Metrics> = states.iter().map(|state| state.metrics).collect();
    assert_eq!(history, reported, "the figures that were kept are those of each step");
    let read = |name, buffer| {
        let values = backend.read(backend.view(buffer)).expect("a copy");
        (name, values.iter().map(|value: &B::Real| value.to_f64()).collect::<Vec<_>>())
    };
    let model = &trainer.model;
    let (g, d) = (&model.generator.memory, &model.discriminator.memory);
    let mut arenas = vec![
        read("weights of D", &d.params),
        read("weights of G", &g.params),
        read("statistics of D", &d.stats),
        read("statistics of G", &g.stats),
        read("first moments of D", &d.first_moments),
        read("second moments of G", &g.second_moments),
    ];
    arenas.extend(model.image_encoder.as_ref().map(|encoder| read("weights of E", &encoder.memory.params)));
    arenas.extend(model.average.as_ref().map(|average| read("average", &average.params)));
    arenas.extend(d.historical_mean.as_ref().map(|mean| read("mean so far of D", mean)));
    let nets = [Some(g), Some(d), model.image_encoder.as_ref().map(|encoder| &encoder.memory)];
    for memory in nets.into_iter().flatten() {
        assert_copy_is_rounded(backend, memory);
    }
    // RMSprop has no first moments, and nets without normalisation have no statistics.
    arenas.retain(|(_, values)| !values.is_empty());
    Trained { states, arenas }
}

/// That products read the weights as they are, rounded as activations are stored.
fn assert_copy_is_rounded<B: Executor>(backend: &B, memory: &NetworkMemory<B>) {
    let weights = backend.read(backend.view(&memory.params)).expect("a copy");
    let rounded = backend.read(memory.rounded.view(backend, &memory.params)).expect("a copy");
    let expected: Vec<B::Storage> = weights.into_iter().map(Storage::of_real).collect();
    let bytes = |values: &[B::Storage]| bytemuck::cast_slice::<_, u8>(values).to_vec();
    assert!(bytes(&rounded) == bytes(&expected), "products read other weights than those that were trained");
}

pub(crate) fn assert_near(what: &str, ours: f64, theirs: f64, tolerance: f64) {
    let near = (ours - theirs).abs() <= tolerance * theirs.abs().max(1.0);
    assert!(near, "{what}: {ours} on the kernels, {theirs} on the CPU");
}

/// The largest difference between two runs in f32, element by element of an arena.
///
/// The gradient of a bias right before a batch norm is zero but for rounding. Adam divides that noise by its own size, so
/// the bias wanders by up to the learning rate a step, and the running mean behind it follows; nothing else depends on
/// it. (In f64 the noise is far below Adam's epsilon, and there is no such allowance.)
fn tolerances(arena: &str, parts: &Parts, settings: &Settings) -> Vec<f64> {
    let updates = STEPS as f64 * f64::from(settings.objective.discriminator_steps);
    let wander = 2.0 * settings.optimizer.discriminator_lr * updates;
    if arena.starts_with("statistics") {
        return vec![wander; parts.stats.len()];
    }
    let mut tolerances = vec![1e-4; parts.params.len()];
    for pair in parts.params.entries().windows(2) {
        let bias = pair[0].name.ends_with("bias") && pair[1].name.ends_with("weight") && pair[1].shape.len() == 1;
        // The bottleneck's mean goes into the head's first batch norm through a linear layer alone.
        if bias || pair[0].name == "conv_mean.bias" {
            tolerances[pair[0].range()].fill(wander);
        }
    }
    tolerances
}

/// The figures of a step, by name.
pub(crate) fn figures(metrics: &Metrics) -> [(&'static str, f64); 11] {
    [
        ("loss_d", metrics.loss_d),
        ("loss_g", metrics.loss_g),
        ("kl_real", metrics.kl_real),
        ("kl_fake", metrics.kl_fake),
        ("beta", metrics.beta),
        ("d_real", metrics.d_real),
        ("d_fake", metrics.d_fake),
        ("balance", metrics.balance),
        ("convergence", metrics.convergence),
        ("penalty", metrics.penalty),
        ("reconstruction", metrics.reconstruction),
    ]
}

fn agree<T: Real>(name: &str, model: &Narrow) {
    agree_on(&emulated::<T>(unchecked()), name, model);
}

/// Twenty steps on the kernels of a device, and on the CPU, in f32 or f64.
pub(crate) fn agree_on<T: Real>(device: &Accelerator<T>, name: &str, model: &Narrow) {
    let cpu = train(&Cpu::<T>::new(Some(2)).expect("threads"), model);
    let kernels = train(device, model);
    let strict = if T::NAME == "f64" { 1e-9 } else { 1e-4 };
    for (step, (ours, theirs)) in kernels.states.iter().zip(&cpu.states).enumerate() {
        assert_eq!((ours.step, ours.updates, ours.non_finite), (theirs.step, theirs.updates, 0));
        for ((what, ours), (_, theirs)) in figures(&ours.metrics).into_iter().zip(figures(&theirs.metrics)) {
            assert_near(&format!("{name}: {what} of step {}", step + 1), ours, theirs, strict);
        }
    }
    assert_eq!(cpu.states.last().map(|state| state.step), Some(STEPS as u64));
    assert_ne!(cpu.states[0].beta, cpu.states[STEPS - 1].beta, "{name}: β stands still: nothing is checked of it");
    let (settings, shape) = model.clone();
    let images = Extent { count: COUNT, shape };
    let prediction = predict(&settings, &images).expect("a prediction");
    for ((what, ours), (_, theirs)) in kernels.arenas.iter().zip(&cpu.arenas) {
        let parts = match what.chars().last() {
            Some('D') => &prediction.discriminator,
            Some('E') => prediction.encoder.as_ref().expect("an encoder"),
            _ => &prediction.generator,
        };
        let tolerances = tolerances(what, parts, &settings);
        assert_eq!((ours.len(), theirs.len()), (tolerances.len(), tolerances.len()), "{name}: {what}");
        for (at, ((&ours, &theirs), tolerance)) in ours.iter().zip(theirs).zip(tolerances).enumerate() {
            let tolerance = if T::NAME == "f64" { strict } else { tolerance };
            assert_near(&format!("{name}: {what}[{at}]"), ours, theirs, tolerance);
        }
    }
}

#[test]
fn twenty_steps_agree_with_the_cpu_in_f32() {
    emulated_models().iter().for_each(|(name, model)| agree::<f32>(name, model));
}

#[test]
fn twenty_steps_agree_with_the_cpu_in_f64() {
    emulated_models().iter().for_each(|(name, model)| agree::<f64>(name, model));
}

/// A run that goes on between two penalties records the step without one first.
#[test]
fn a_lazy_penalty_goes_on_from_any_step() {
    fn metrics<B: Executor>(backend: &B) -> Vec<Metrics> {
        let (settings, image) = narrow("lazy penalty");
        let mut trainer = Trainer::new(backend.clone(), settings.clone(), image).expect("a trainer");
        let state = StepState { step: 7, ..trainer.read_state().expect("the state") };
        trainer.write_state(&state).expect("a state");
        let batch = batch(backend, &settings, image);
        (0..8).map(|_| step(&mut trainer, &batch).metrics).collect()
    }
    let (ours, theirs) = (metrics(&emulated::<f64>(unchecked())), metrics(&Cpu::<f64>::new(Some(2)).expect("threads")));
    for (step, (ours, theirs)) in ours.iter().zip(&theirs).enumerate() {
        assert_eq!(theirs.penalty > 0.0, step % 2 == 1, "step {step} after the seventh");
        assert_near("penalty", ours.penalty, theirs.penalty, 1e-9);
        assert_near("loss_d", ours.loss_d, theirs.loss_d, 1e-9);
        assert_near("loss_g", ours.loss_g, theirs.loss_g, 1e-9);
    }
}

/// The models whose whole steps the emulator takes. Where there are compiled kernels, the machine for PTX takes those of all models, with
/// and without checks, five times as fast (steps_on_a_gpu.rs, by on_the_standin.rs); two are left here.
fn emulated_models() -> Vec<(String, Narrow)> {
    if !BINARIES.is_empty() {
        ["mnist", "residual"].map(|name| (name.to_string(), narrow(name))).into()
    } else {
        narrow_models()
    }
}

/// Steps with every access checked: of each kind of step, which the lazy penalty has two of, the first, the recorded one and
/// its replay.
#[test]
fn nothing_is_found_in_a_whole_step_in_f32() {
    for (_, model) in emulated_models() {
        train_for(different_steps(&model), &emulated::<f32>(Options::default()), &model);
    }
}

/// As in f32. A test of its own, for it is among the longest: the two run side by side.
#[test]
fn nothing_is_found_in_a_whole_step_in_bf16() {
    for (_, model) in emulated_models() {
        train_for(different_steps(&model), &emulated_as::<f32, bf16>(Options::default()), &model);
    }
}

#[test]
fn two_runs_agree_in_every_bit_whatever_the_order() {
    for model in ["mnist", "critic"].map(narrow) {
        let run = |threads, blocks| {
            let options = Options { threads, blocks, detection: false, ..Options::default() };
            train_for(FEW, &emulated::<f32>(options), &model)
        };
        let expected = run(Order::Ascending, Order::Ascending);
        assert_eq!(run(Order::Ascending, Order::Ascending), expected);
        assert_eq!(run(Order::Random(3), Order::Descending), expected);
    }
}

/// The figures that products with rounded operands change in the first step.
const FIRST: [&str; 5] = ["loss_d", "loss_g", "kl_real", "kl_fake", "penalty"];

/// Whole steps on tensor cores: the first has the losses of f32 but for the operands' rounding, 2⁻¹² in tf32, and in bf16, 2⁻⁹, of
/// all activations too, once a layer over some ten of them; later ones stay finite.
///
/// The kernels and the CPU round the same numbers in the same places. In tf32 what differs is the order of f32 sums. Where
/// activations are stored as bf16, a sum that lies at the middle of two of its numbers goes to one of them here and to the other
/// there: as much as a rounding, but of few elements.
fn near_f32_on_tensor_cores(steps: usize, model: &Narrow) {
    let plain = train_for(steps, &emulated::<f32>(unchecked()), model);
    let in_tf32 = [
        train_for(steps, &emulated_in_tf32(unchecked()), model),
        train_for(steps, &Cpu::<f32>::in_tf32(Some(2)).expect("threads"), model),
    ];
    let in_bf16 = [
        train_for(steps, &emulated_as::<f32, bf16>(unchecked()), model),
        train_for(steps, &Cpu::<f32, bf16>::new(Some(2)).expect("threads"), model),
    ];
    for (precision, [rounded, cpu], tolerance, between) in
        [(Precision::Tf32, in_tf32, 4e-3, 1e-5), (Precision::Bf16, in_bf16, 1e-2, 1e-4)]
    {
        assert!(rounded.states.iter().all(|state| state.non_finite == 0), "{precision:?}");
        let [ours, theirs, cpu] = [&rounded, &plain, &cpu].map(|trained| figures(&trained.states[0].metrics));
        for (((what, ours), (_, theirs)), (_, cpu)) in ours.into_iter().zip(theirs).zip(cpu) {
            eprintln!("{what:8} in {precision:?}: {ours:9.5}, on the CPU off by {:.1e}", (ours - cpu).abs());
            assert_near(&format!("{what} in {precision:?}"), ours, cpu, between);
            if !FIRST.contains(&what) {
                continue;
            }
            let off = (ours - theirs).abs() / theirs.abs().max(1.0);
            eprintln!("{what:8} in {precision:?}: {ours:9.5}, in f32 {theirs:9.5}, off by {off:.1e}");
            let rounded = off > 0.0 || theirs == 0.0;
            assert!(rounded && off <= tolerance, "{what} in {precision:?}: {ours}, in f32 {theirs}");
        }
    }
}

#[test]
fn steps_on_tensor_cores_are_near_those_in_f32() {
    near_f32_on_tensor_cores(FEW, &narrow("mnist"));
}

#[test]
fn steps_of_a_residual_net_on_tensor_cores_are_near_those_in_f32() {
    near_f32_on_tensor_cores(4, &narrow("residual"));
}

/// The first of its steps has a penalty: of a gradient that came down through the layers that were gone up, from weights
/// that make its norm of order one. With the usual ones it is next to nothing, and the penalty the same whatever it is.
#[test]
fn steps_with_a_penalty_on_tensor_cores_are_near_those_in_f32() {
    let (mut settings, image) = narrow("lazy penalty");
    settings.optimizer.init_std = 0.2;
    near_f32_on_tensor_cores(FEW, &(settings, image));
}

/// The prediction equals the allocations: the model's buffers, and the pinned ring of figures. The steps add a workspace, in
/// the first of them, and nothing else.
fn model_is_allocated_as_predicted<T: Real, S: Storage<T>>((settings, image): &Narrow) {
    let image = *image;
    let plan = DryRun::<T, S>::default();
    Trainer::new(plan.clone(), settings.clone(), image).expect("a count");
    let emulator = emulator(S::NAME, unchecked());
    let backend = Accelerator::<T, S>::new(emulator.clone());
    let mut trainer = Trainer::new(backend.clone(), settings.clone(), image).expect("a trainer");
    let ring = HISTORY * size_of::<Metrics>() as u64;
    assert_eq!(taken(&emulator.allocations()), (plan.allocated_on_device(), vec![ring]));
    eprintln!("{} allocations for a model in {}", emulator.allocations().len(), S::NAME);

    let batch = batch(&backend, settings, image);
    step(&mut trainer, &batch);
    let warm = emulator.allocations();
    // Recorded and replayed.
    (0..3).for_each(|_| assert_eq!(step(&mut trainer, &batch).non_finite, 0));
    assert_eq!(emulator.allocations(), warm);
}

/// Bytes of the device's own memory, each allocation in whole multiples of the alignment, and what is pinned.
fn taken(allocations: &[Allocation]) -> (u64, Vec<u64>) {
    let (mut own, mut pinned) = (0, Vec::new());
    for allocation in allocations {
        match *allocation {
            Allocation::Device(bytes) => own += bytes.next_multiple_of(ALIGNMENT),
            Allocation::Pinned(bytes) => pinned.push(bytes),
        }
    }
    (own, pinned)
}

#[test]
fn a_model_is_allocated_as_predicted() {
    for model in ["mnist", "colour", "residual", "critic", "mode regularisation"].map(narrow) {
        model_is_allocated_as_predicted::<f32, f32>(&model);
        model_is_allocated_as_predicted::<f32, bf16>(&model);
        model_is_allocated_as_predicted::<f64, f64>(&model);
        let (settings, image) = model;
        let images = Extent { count: COUNT, shape: image };
        let memory = predict(&settings, &images).expect("a prediction").memory;
        let allocated = |build: fn(&Accelerator<f32>, Settings, ImageShape)| {
            let emulator = emulator("f32", unchecked());
            build(&Accelerator::new(emulator.clone()), settings.clone(), image);
            taken(&emulator.allocations()).0
        };
        let trainer = allocated(|backend, settings, image| {
            Trainer::new(backend.clone(), settings, image).expect("a trainer");
        });
        let sampler = allocated(|backend, settings, image| {
            Sampler::new(backend, &settings, image).expect("a sampler");
        });
        assert_eq!((memory.model_on_device, memory.sampler_on_device), (trainer, sampler));
    }
}

/// A larger model on the same device needs a larger workspace; the steps of the smaller one were recorded in theirs.
#[test]
fn a_recorded_step_keeps_its_workspace() {
    let ((settings, image), emulator) = (narrow("mnist"), emulator("f32", unchecked()));
    let backend = Accelerator::<f32>::new(emulator.clone());
    let small = batch(&backend, &settings, image);
    let mut trainer = Trainer::new(backend.clone(), settings.clone(), image).expect("a trainer");
    (0..3).for_each(|_| assert_eq!(step(&mut trainer, &small).non_finite, 0));
    let mut wide = settings;
    wide.discriminator.channels = vec![10, 18];
    let large = batch(&backend, &wide, image);
    let mut other = Trainer::new(backend.clone(), wide, image).expect("a trainer");
    let built = emulator.allocations().len();
    step(&mut other, &large);
    assert!(emulator.allocations().len() > built, "the workspace has grown");
    assert_eq!(step(&mut trainer, &small), train(&emulated::<f32>(unchecked()), &narrow("mnist")).states[3]);
}

/// A checkpoint holds the same on either device, and either goes on from it.
#[test]
fn a_run_goes_on_on_the_other_device() {
    let (mut settings, image) = narrow("mnist");
    settings.train.steps = 12;
    settings.train.snap = 6;
    settings.train.tick = 4;
    let pixels = (0..COUNT * image.len()).map(|i| (i * i * 7 + i * 31) as u8).collect();
    let images =
        Images { count: COUNT, height: image.h, width: image.w, channels: image.c, pixels, ..Images::default() };
    let place = tempfile::tempdir().expect("a folder");
    let (cpu, kernels) = (Cpu::<f32>::new(Some(2)).expect("threads"), emulated::<f32>(unchecked()));
    let begin = |name| {
        let folder = RunFolder::create(place.path(), name).expect("a run's folder");
        std::fs::write(folder.config_path(), "").expect("writing");
        folder
    };
    let newest = |folder: &RunFolder| checkpoint::newest_valid(&folder.checkpoints_path()).expect("a checkpoint");
    let [there, back] = ["there", "back"].map(begin);
    let paths = [there.path().to_path_buf(), back.path().to_path_buf()];
    let half = Settings { train: TrainSettings { steps: 6, ..settings.train.clone() }, ..settings.clone() };
    // Six steps on one device, six on the other, in both orders.
    run_session(Session::start(cpu.clone(), half.clone(), "vgan-mnist", &images, there));
    run_session(Session::start(kernels.clone(), half, "vgan-mnist", &images, back));
    let resumed = |path: &Path| {
        let folder = RunFolder::open(path).expect("a run's folder");
        let (lock, found) = (folder.lock().expect("nobody trains"), newest(&folder));
        assert_eq!(found.1.state.step, 6);
        (folder, lock, (found.0, found.1))
    };
    let (folder, lock, found) = resumed(&paths[0]);
    run_session(Session::resume(kernels, settings.clone(), &images, folder, lock, found));
    let (folder, lock, found) = resumed(&paths[1]);
    run_session(Session::resume(cpu, settings, &images, folder, lock, found));
    let [there, back] = paths.map(|path| newest(&RunFolder::open(&path).expect("a run's folder")).1);
    assert_eq!((there.state.step, back.state.step), (12, 12));
    assert_near("beta", there.state.beta, back.state.beta, 1e-4);
    for (ours, theirs) in there.model.iter().zip(&back.model) {
        assert_eq!(ours.name, theirs.name);
        // Biases before a batch norm, and the means behind them, wander: see `tolerances`.
        let wanders = ours.name.ends_with("bias") || ours.name.ends_with("running_mean");
        let tolerance = if wanders { 2.0 * 2e-4 * 12.0 } else { 1e-4 };
        for (&a, &b) in ours.values.iter().zip(&theirs.values) {
            assert_near(&ours.name, a.into(), b.into(), tolerance);
        }
    }
}

fn unchecked() -> Options {
    Options { detection: false, ..Options::default() }
}

fn run_session<B: F32Executor>(session: vgan_cuda::Result<Session<B>>) {
    let interrupt = Interrupt::listen().expect("signals");
    session.and_then(|mut session| session.train(&interrupt)).unwrap_or_else(|error| panic!("{error}"));
}
