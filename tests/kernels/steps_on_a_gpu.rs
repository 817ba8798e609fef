//! Whole training steps on a GPU, or on the stand-in for one, beside the CPU's, in each of the four types.

use std::sync::{Mutex, MutexGuard, PoisonError};

use half::bf16;
use vgan_cuda::config::preset;
use vgan_cuda::device::{Accelerator, Cpu, Launcher, StepState, cuda};
use vgan_cuda::nn::ImageShape;
use vgan_cuda::ops::Executor;

use crate::narrow_models::{Narrow, narrow_models};
use crate::steps::{FEW, Trained, agree_on, assert_near, different_steps, figures, train, train_for};

/// The largest error of figures in a type that rounds the operands of products: in the first step, and later.
///
/// Both devices round the same numbers in the same places; what differs is the order of f32 sums, and on a GPU's tensor cores how a
/// product is cut off (`GPU_TOLERANCE` in tensor_cores.rs, in each of some six layers). A number next to a border between two of bf16 or
/// tf32 falls to either side of it, and each step amplifies that. On the stand-in a first step is off by 4e-5 at most and a later one by
/// 1.8e-3 (docs/results/standin.md).
struct Rounded {
    first: f64,
    later: f64,
}

const TF32: Rounded = Rounded { first: 2e-4, later: 5e-3 };
const BF16: Rounded = Rounded { first: 1e-3, later: 1e-2 };

/// A step is recorded by the thread that asks for it, and a thread that records may take up another test's work while it waits: one
/// test at a time.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first GPU; `None`, and said why, where there is none to compute on.
fn gpu() -> Option<impl Launcher + Clone> {
    cuda::open(0).inspect_err(|error| eprintln!("SKIPPED: {error}")).ok()
}

/// The figures that a step computes of its own images; β and k follow from them, and a penalty is a part of the loss.
const COMPARED: [&str; 7] = ["loss_d", "loss_g", "kl_real", "kl_fake", "beta", "d_real", "d_fake"];

fn agree_rounded(name: &str, gpu: &Trained, cpu: &Trained, allowed: &Rounded) {
    assert_eq!(gpu.states.len(), cpu.states.len());
    let mut worst = [0.0f64; 2];
    for (step, (ours, theirs)) in gpu.states.iter().zip(&cpu.states).enumerate() {
        let counts = |state: &StepState| (state.step, state.updates, state.non_finite);
        assert_eq!(counts(ours), counts(theirs), "{name}");
        let tolerance = if step == 0 { allowed.first } else { allowed.later };
        for ((what, ours), (_, theirs)) in figures(&ours.metrics).into_iter().zip(figures(&theirs.metrics)) {
            if COMPARED.contains(&what) {
                let off = (ours - theirs).abs() / theirs.abs().max(1.0);
                worst[usize::from(step > 0)] = worst[usize::from(step > 0)].max(off);
                assert_near(&format!("{name}: {what} of step {}", step + 1), ours, theirs, tolerance);
            }
        }
    }
    eprintln!("{name}: off by {:.1e} in the first step, {:.1e} later", worst[0], worst[1]);
}

fn every_model(check: impl Fn(&str, &Narrow)) {
    narrow_models().iter().for_each(|(name, model)| check(name, model));
}

#[test]
fn a_gpu_takes_twenty_steps_of_every_model_as_the_cpu_in_f32() {
    let _turn = turn();
    let Some(gpu) = gpu().map(Accelerator::<f32>::new) else { return };
    every_model(|name, model| agree_on(&gpu, name, model));
}

#[test]
fn a_gpu_takes_twenty_steps_of_every_model_as_the_cpu_in_f64() {
    let _turn = turn();
    let Some(gpu) = gpu().map(Accelerator::<f64>::new) else { return };
    every_model(|name, model| agree_on(&gpu, name, model));
}

#[test]
fn a_gpu_takes_steps_of_every_model_as_the_cpu_in_tf32() {
    let _turn = turn();
    let Some(gpu) = gpu().map(Accelerator::<f32>::in_tf32) else { return };
    let cpu = Cpu::<f32>::in_tf32(Some(2)).expect("threads");
    every_model(|name, model| agree_rounded(name, &train_for(FEW, &gpu, model), &train_for(FEW, &cpu, model), &TF32));
}

#[test]
fn a_gpu_takes_steps_of_every_model_as_the_cpu_in_bf16() {
    let _turn = turn();
    let Some(gpu) = gpu().map(Accelerator::<f32, bf16>::new) else { return };
    let cpu = Cpu::<f32, bf16>::new(Some(2)).expect("threads");
    every_model(|name, model| agree_rounded(name, &train_for(FEW, &gpu, model), &train_for(FEW, &cpu, model), &BF16));
}

/// Each kind of step of every model.
fn every_kind_of_step(gpu: &impl Executor) {
    every_model(|name, model| {
        let steps = different_steps(model);
        let trained = train_for(steps, gpu, model);
        let last = trained.states.last().expect("a step");
        assert_eq!((last.step, last.non_finite), (steps as u64, 0), "{name}");
    });
}

/// on_the_standin.rs runs this with every access checked.
#[test]
fn a_gpu_takes_every_kind_of_step_in_f32() {
    let _turn = turn();
    let Some(gpu) = gpu().map(Accelerator::<f32>::new) else { return };
    every_kind_of_step(&gpu);
}

/// As in f32.
#[test]
fn a_gpu_takes_every_kind_of_step_in_bf16() {
    let _turn = turn();
    let Some(gpu) = gpu().map(Accelerator::<f32, bf16>::new) else { return };
    every_kind_of_step(&gpu);
}

/// Preset `quick` at its width and batch, on images of 28×28.
fn quick() -> Narrow {
    (preset("quick").expect("a preset"), ImageShape { h: 28, w: 28, c: 1 })
}

/// `steps` steps of `quick` in f32, f64, tf32 and bf16.
fn quick_is_the_cpus(steps: usize, gpu: &(impl Launcher + Clone)) {
    fn both<A: Executor, B: Executor>(steps: usize, gpu: &A, cpu: &B) -> [Trained; 2] {
        [train_for(steps, gpu, &quick()), train_for(steps, cpu, &quick())]
    }
    let threads = Some(2);
    let [ours, theirs] =
        both(steps, &Accelerator::<f32>::new(gpu.clone()), &Cpu::<f32>::new(threads).expect("threads"));
    // Adam divides what is rounding alone by its own size and moves by the learning rate, here five times that of the narrow models.
    // In f64 that is below its epsilon.
    agree_rounded("quick in f32", &ours, &theirs, &Rounded { first: 1e-5, later: 5e-3 });
    let [ours, theirs] =
        both(steps, &Accelerator::<f64>::new(gpu.clone()), &Cpu::<f64>::new(threads).expect("threads"));
    agree_rounded("quick in f64", &ours, &theirs, &Rounded { first: 1e-10, later: 1e-9 });
    let [ours, theirs] =
        both(steps, &Accelerator::<f32>::in_tf32(gpu.clone()), &Cpu::<f32>::in_tf32(threads).expect("threads"));
    agree_rounded("quick in tf32", &ours, &theirs, &TF32);
    let [ours, theirs] =
        both(steps, &Accelerator::<f32, bf16>::new(gpu.clone()), &Cpu::<f32, bf16>::new(threads).expect("threads"));
    agree_rounded("quick in bf16", &ours, &theirs, &BF16);
}

/// Steps that are too long for the suite. docs/results/standin.md has the command and the result.
#[test]
#[ignore = "takes minutes on the stand-in"]
fn twenty_steps_of_quick_and_of_every_model_in_every_type() {
    let _turn = turn();
    let Some(gpu) = gpu() else { return };
    quick_is_the_cpus(20, &gpu);
    let (tf32, bf16) = (Accelerator::<f32>::in_tf32(gpu.clone()), Accelerator::<f32, bf16>::new(gpu));
    let cpu = Cpu::<f32>::in_tf32(Some(2)).expect("threads");
    every_model(|name, model| agree_rounded(name, &train(&tf32, model), &train(&cpu, model), &TF32));
    let cpu = Cpu::<f32, bf16>::new(Some(2)).expect("threads");
    every_model(|name, model| agree_rounded(name, &train(&bf16, model), &train(&cpu, model), &BF16));
}
