//! Every case on every executor against the CPU in f64: one body serves them all.

use crate::executors::{differences, differences_of, emulated, results, say_digest};
use crate::limits::unchecked;
use simt::{CopyMode, Options, Order};
use vgan_cuda::device::{Accelerator, Cpu, cuda};
use vgan_cuda::ops;

/// The results of the CPU in f64.
fn exact() -> Vec<Vec<(String, Vec<f64>)>> {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    ops::cases().iter().map(|case| results(&cpu, case)).collect()
}

#[test]
fn single_precision_agrees_with_double() {
    let failed = differences(&Cpu::<f32>::new(Some(2)).expect("threads"), ops::cases(), &exact());
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_kernels_agree_with_the_cpu_and_nothing_is_found_in_them() {
    let failed = differences(&emulated::<f32>(Options::default()), ops::cases(), &exact());
    assert!(failed.is_empty(), "{failed:#?}");
}

/// The first GPU; `None`, and said why, where there is none to compute on.
fn gpu() -> Option<Accelerator<f32>> {
    cuda::open(0).map(Accelerator::new).inspect_err(|error| eprintln!("SKIPPED: {error}")).ok()
}

#[test]
fn a_gpu_agrees_with_the_cpu() {
    let Some(gpu) = gpu() else { return };
    let cases = ops::cases();
    let ours: Vec<_> = cases.iter().map(|case| results(&gpu, case)).collect();
    say_digest("cases in f32", &ours);
    let failed = differences_of(1e-5, &cases, &ours, &exact());
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn a_gpu_computes_the_same_bits_again() {
    let Some(gpu) = gpu() else { return };
    let run = || ops::cases().iter().map(|case| results(&gpu, case)).collect::<Vec<_>>();
    assert_eq!(run(), run());
}

/// Draws and picks: Philox, the permutation of the data, normals by arithmetic that every device does alike.
#[test]
fn what_is_drawn_is_the_same_in_every_bit() {
    let (cpu, kernels) = (Cpu::<f32>::new(Some(2)).expect("threads"), emulated::<f32>(Options::default()));
    let mut compared = 0;
    for (on_cpu, on_kernels) in ops::cases().iter().zip(&ops::cases()) {
        if on_cpu.inputs().is_empty() {
            assert_eq!(results(&kernels, on_kernels), results(&cpu, on_cpu), "{} {}", on_cpu.op(), on_cpu.name());
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared} cases that draw");
}

#[test]
fn the_order_of_threads_changes_no_bit() {
    let run = |threads, blocks, copies| {
        let emulated = emulated::<f32>(Options { threads, blocks, copies, ..unchecked() });
        ops::cases().iter().map(|case| results(&emulated, case)).collect::<Vec<_>>()
    };
    let expected = run(Order::Ascending, Order::Ascending, CopyMode::Late);
    assert_eq!(run(Order::Descending, Order::Descending, CopyMode::Early), expected);
    assert_eq!(run(Order::Random(1), Order::Random(2), CopyMode::Late), expected);
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let expected: Vec<_> = {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        ops::cases().iter().map(|case| results(&cpu, case)).collect()
    };
    for threads in [2, 3, 8] {
        let cpu = Cpu::<f32>::new(Some(threads)).expect("threads");
        for (case, expected) in ops::cases().iter().zip(&expected) {
            assert_eq!(&results(&cpu, case), expected, "{} {} at {threads} threads", case.op(), case.name());
        }
    }
}

#[test]
fn cases_have_names_of_their_own() {
    let mut names: Vec<_> = ops::cases::<Cpu<f32>>().iter().map(|c| format!("{} {}", c.op(), c.name())).collect();
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count);
    assert!(count > 60, "{count} cases");
}
