//! Activations and their gradients in bf16, reals in f32: every case, on the CPU and on the kernels, against the CPU in f64.
//!
//! Both begin with the same numbers: whatever goes in is rounded to bf16 before, and derivatives are taken at the outputs that the
//! executor stored. What a tensor may then be off by is counted in roundings:
//!
//! - each element that is stored is rounded once, by half a place at its own size: bf16 has 8 bits of significand;
//! - sums in f32 are off by the 1e-5 of the tensor's largest value that tests/common/executors.rs explains;
//! - what a case stores on the way is rounded on the way: [`EXTRA`] lists these cases and no others.

use std::sync::Arc;

use half::bf16;
use simt::{CopyMode, Options, Order};
use vgan_cuda::device::kernels::size;
use vgan_cuda::device::product::TileSize;
use vgan_cuda::device::ranks::ThreadRanks;
use vgan_cuda::device::{Accelerator, Backend, Cpu, Precision, cuda};
use vgan_cuda::ops::layers::affine;
use vgan_cuda::ops::layers::conv2d::Conv2d;
use vgan_cuda::ops::{self, Case, Executor, Kind};

use crate::executors::{Results, emulated_as, filling, on_tensor_cores, results, results_at, results_from, say_digest};
use crate::limits::unchecked;
use crate::narrow_models::narrow;
use crate::rounding::tiled;
use crate::steps::train_for;
use crate::tensor_cores::{GPU_TOLERANCE, products};

/// Half a place at 1, and so the most that a number is off by, relative to itself, once it is stored.
const HALF_PLACE: f64 = 1.0 / 256.0;
/// The error of sums in f32, as a part of a tensor's largest value.
const SUMS: f64 = 1e-5;

/// Further errors of a tensor of a case, in units of [`HALF_PLACE`].
#[derive(Debug, Clone, Copy)]
enum More {
    /// So often the element itself was rounded before.
    Itself(f64),
    /// So much of the tensor's largest value: what was rounded on the way goes into many elements.
    Largest(f64),
    /// So much of the product of the case's fixed direction and, if it is a gradient, of its cotangent, element by element.
    Direction(f64),
}

/// Cases that store something on the way: the operation, what is in the case's name, the tensor (as its name begins), what it adds.
const EXTRA: [(&str, &str, &str, More); 17] = [
    // The gradient by the logits, the features, … is stored; the case multiplies it by its cotangent and stores it again.
    ("loss", "", "d logits", More::Itself(1.0)),
    ("feature_matching", "", "d features", More::Itself(1.0)),
    ("penalty", "", "d g", More::Itself(1.0)),
    ("repelling", "", "d codes", More::Itself(1.0)),
    ("reconstruction", "mode", "d logits", More::Itself(1.0)),
    // The mean of errors, none of which is negative, of which each was stored.
    ("reconstruction", "len", "loss", More::Largest(1.0)),
    ("reconstruction", "len", "reconstruction", More::Largest(1.0)),
    // y is stored and f′ or f″ taken from it. Of the sigmoid |y ∂f′/∂y| = |y (1 − 2y)| ≤ 1 and |y ∂f″/∂y| = |y (1 − 6y + 6y²)| ≤ 1;
    // of the tanh |y ∂f′/∂y| = 2y² ≤ 2 and |y ∂f″/∂y| = |y (6y² − 2)| ≤ 4.
    ("activation", "Sigmoid curvature", "vy", More::Direction(1.0)),
    ("activation", "Sigmoid curvature", "d x", More::Direction(1.0)),
    ("activation", "Tanh curvature", "vy", More::Direction(2.0)),
    ("activation", "Tanh curvature", "d x", More::Direction(4.0)),
    // The forward pass stores y = tanh(…), and the backward pass takes f′ = 1 − y² from it, off by 2 at most (above); in dx its
    // means are taken away as well, which are far smaller. dγ and dβ are sums over hundreds of rows, whose roundings have either
    // sign.
    ("batch_norm", "long rows520", "dx", More::Largest(2.0)),
    ("batch_norm", "long rows520", "dgamma", More::Largest(1.0)),
    ("batch_norm", "long rows520", "dbeta", More::Largest(1.0)),
    // A convolution's number is stored, f of it or f′ times it too, and the base may take most of that away.
    ("conv2d", "ended forward", "y", More::Largest(1.0)),
    ("conv2d", "ended backward input", "dx", More::Largest(2.0)),
    // What the class's part is added to is stored, and the bias may take most of the sum away.
    ("class_projection", "added", "y", More::Largest(1.0)),
];

/// Half a place of bf16 at the size of `value`.
fn half_place(value: f64) -> f64 {
    if value == 0.0 { 0.0 } else { 2f64.powi(value.abs().log2().floor() as i32) * HALF_PLACE }
}

/// The largest distance of a tensor's elements from the exact ones. `sums` is the error of sums.
fn allowed<B: Backend>(case: &Case<B>, name: &str, exact: &[f64], sums: f64) -> Vec<f64> {
    let kind = kind_of(case, name);
    let largest = exact.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
    // What only draws or picks makes no sums.
    let sums = largest * if case.inputs().is_empty() { 2f64.powi(-24) } else { sums };
    let listed = |&&(op, within, tensor, _): &&(&str, &str, &str, More)| {
        op == case.op() && case.name().contains(within) && name == tensor
    };
    let more = EXTRA.iter().find(listed).map(|found| found.3);
    let extra = |at: usize| match more {
        None => 0.0,
        Some(More::Itself(times)) => times * exact[at].abs(),
        Some(More::Largest(times)) => times * largest,
        Some(More::Direction(times)) => times * direction(case, name, at),
    };
    let one = |(at, value): (usize, &f64)| {
        let before = sums + HALF_PLACE * extra(at);
        before + if kind == Kind::Stored { half_place(value.abs() + before) } else { 0.0 }
    };
    exact.iter().enumerate().map(one).collect()
}

/// The number type of the tensor of this name in memory.
fn kind_of<B: Backend>(case: &Case<B>, name: &str) -> Kind {
    match name.strip_prefix("d ") {
        _ if name == "tangent" => case.outputs()[0].kind,
        Some(input) => case.inputs().iter().find(|t| t.name == input).expect("an input").gradient,
        None => case.outputs().iter().find(|t| t.name == name).expect("an output").kind,
    }
}

/// The direction that a curvature's case holds fixed, times the cotangent where `name` is a gradient.
fn direction<B: Backend>(case: &Case<B>, name: &str, at: usize) -> f64 {
    let fixed = filling(&case.inputs()[0], 2000, Precision::Bf16)[at].abs();
    let cotangent = filling(&case.outputs()[0], 1000, Precision::Bf16)[at].abs();
    if name.starts_with("d ") { fixed * cotangent } else { fixed }
}

/// A line for each tensor of a case that is farther from the exact one than its roundings allow.
fn off<B: Backend<Real = f32>>(backend: &B, case: &Case<B>, exact: &Case<Cpu<f64>>, sums: f64) -> Vec<String> {
    off_of(case, &results_from(backend, case, Precision::Bf16), exact, sums)
}

/// The same of results that are there already.
fn off_of<B: Backend<Real = f32>>(case: &Case<B>, ours: &Results, exact: &Case<Cpu<f64>>, sums: f64) -> Vec<String> {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    let exact = results_at(&cpu, exact, Precision::Bf16, Some(&ours[..case.outputs().len()]));
    let mut off = Vec::new();
    for ((name, ours), (_, exact)) in ours.iter().zip(&exact) {
        let allowed = allowed(case, name, exact, sums);
        // A NaN is worse than any number.
        let errors = ours.iter().zip(exact).zip(&allowed).map(|((a, b), allowed)| {
            let error = (a - b).abs() / allowed;
            if error.is_nan() && a != b { f64::INFINITY } else { error }
        });
        let (at, worst) = errors.enumerate().fold((0, 0.0), |m, e| if e.1 > m.1 { e } else { m });
        if worst > 1.0 {
            let (a, b) = (ours[at], exact[at]);
            off.push(format!("{} {}: {name}[{at}] is {a}, exactly {b}: {worst:.2} times", case.op(), case.name()));
        }
    }
    off
}

/// The same of many cases.
fn all_off<B: Backend<Real = f32>>(
    backend: &B,
    cases: Vec<Case<B>>,
    exact: Vec<Case<Cpu<f64>>>,
    sums: f64,
) -> Vec<String> {
    assert_eq!(cases.len(), exact.len());
    cases.iter().zip(&exact).flat_map(|(case, exact)| off(backend, case, exact, sums)).collect()
}

fn cpu(threads: usize) -> Cpu<f32, bf16> {
    Cpu::new(Some(threads)).expect("threads")
}

fn kernels(options: Options) -> Accelerator<f32, bf16> {
    emulated_as(options)
}

#[test]
fn the_cpu_is_off_by_its_roundings_alone() {
    let failed = all_off(&cpu(2), ops::cases(), ops::cases(), SUMS);
    assert!(failed.is_empty(), "{failed:#?}");
    let failed = all_off(&cpu(2), products(), products(), SUMS);
    assert!(failed.is_empty(), "{failed:#?}");
    let failed = all_off(&cpu(2), tiled(), tiled(), SUMS);
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_kernels_are_off_by_their_roundings_alone_and_nothing_is_found_in_them() {
    let failed = all_off(&kernels(Options::default()), ops::cases(), ops::cases(), SUMS);
    assert!(failed.is_empty(), "{failed:#?}");
}

/// A convolution of few channels with more tiles of pixels than blocks, and more filters than lie in shared memory at once.
#[test]
fn blocks_of_several_tiles_are_off_by_their_roundings_alone() {
    fn cases<B: Executor>() -> Vec<Case<B>> {
        let n = size::FEW_TENSOR_BLOCKS as usize + 3;
        affine::cases([Conv2d { n, h: 2, w: 2, c: 1, k: 136, r: 4, s: 4, stride: 2, padding: 1 }])
    }
    let failed = all_off(&kernels(Options::default()), cases(), cases(), SUMS);
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn tiles_of_either_size_are_off_by_their_roundings_alone() {
    for size in TileSize::ALL {
        let emulated = kernels(Options::default()).with_tiles(size);
        let failed = all_off(&emulated, products(), products(), SUMS);
        assert!(failed.is_empty(), "{size:?}: {failed:#?}");
    }
}

/// One place of bf16 too much is no rounding.
#[test]
fn a_place_too_much_is_found_in_every_stored_gradient() {
    let (cpu, mut planted) = (cpu(2), 0);
    for (case, exact) in ops::cases::<Cpu<f32, bf16>>().into_iter().zip(ops::cases()) {
        let stored = case.inputs().first().is_some_and(|input| input.kind == Kind::Stored);
        // Where a gradient is rounded more than once, one place more can be a rounding.
        let listed = EXTRA.iter().any(|extra| extra.0 == case.op() && extra.2.starts_with("d "));
        let gradient = case.differentiable() && results(&cpu, &case)[case.outputs().len()].1.iter().any(|&d| d != 0.0);
        if !stored || listed || !gradient {
            continue;
        }
        let one_place = |values: &mut [f64]| values.iter_mut().for_each(|value| *value += 2.0 * half_place(*value));
        let failed = off(&cpu, &case.spoilt(one_place, |_| ()), &exact, SUMS);
        assert_eq!(failed.len(), 1, "{} {}: {failed:?}", exact.op(), exact.name());
        planted += 1;
    }
    assert!(planted > 80, "{planted} cases with a gradient that is stored");
}

/// A line that names no tensor of any case would be of no use.
#[test]
fn every_line_of_the_table_names_a_tensor() {
    let cases = ops::cases::<Cpu<f32, bf16>>();
    for (op, within, tensor, _) in EXTRA {
        let named = |case: &&Case<_>| case.op() == op && case.name().contains(within);
        let has = |case: &Case<_>| match tensor.strip_prefix("d ") {
            Some(input) => case.differentiable() && case.inputs().iter().any(|t| t.name == input),
            None => case.outputs().iter().any(|t| t.name == tensor),
        };
        assert!(cases.iter().filter(named).any(has), "{op} {within}: no {tensor}");
    }
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let cases = || ops::cases().into_iter().chain(products());
    let one = cpu(1);
    let expected: Vec<_> = cases().map(|case| results(&one, &case)).collect();
    for threads in [2, 3, 8] {
        let cpu = cpu(threads);
        for (case, expected) in cases().zip(&expected) {
            assert_eq!(&results(&cpu, &case), expected, "{} {} at {threads} threads", case.op(), case.name());
        }
    }
}

/// Ranks that share the moments are told of the weights that others have updated, and round those too: `train_for` holds the copies that
/// products read against the weights.
#[test]
fn ranks_round_what_other_ranks_have_updated() {
    let weights = [false, true].map(|shares| {
        let mut model = narrow("residual");
        (model.0.train.shard_optimizer, model.0.train.batch) = (shares, 8);
        let work = |rank: ThreadRanks| train_for(3, &cpu(1).with_ranks(Arc::new(rank)), &model).arenas;
        let ranks: Vec<_> = std::thread::scope(|scope| {
            let ranks = ThreadRanks::world(2).into_iter().map(|rank| scope.spawn(|| work(rank)));
            let ranks: Vec<_> = ranks.collect();
            ranks.into_iter().map(|rank| rank.join().expect("a rank")).collect()
        });
        let weights = ranks.into_iter().map(|mut arenas| {
            arenas.retain(|(name, _)| name.starts_with("weights"));
            arenas
        });
        weights.collect::<Vec<_>>()
    });
    assert_eq!(weights[0][0].len(), 2, "both networks");
    assert!(weights.iter().flatten().all(|rank| *rank == weights[0][0]));
}

#[test]
fn the_order_of_threads_changes_no_bit() {
    let run = |threads, blocks, copies| {
        let emulated = kernels(Options { threads, blocks, copies, ..unchecked() });
        let wide = emulated.clone().with_tiles(TileSize::Wide);
        let cases = ops::cases().iter().map(|case| results(&emulated, case)).collect::<Vec<_>>();
        (cases, products().iter().map(|case| results(&wide, case)).collect::<Vec<_>>())
    };
    let expected = run(Order::Ascending, Order::Ascending, CopyMode::Late);
    assert!(run(Order::Descending, Order::Descending, CopyMode::Early) == expected, "descending");
    assert!(run(Order::Random(1), Order::Random(2), CopyMode::Late) == expected, "random");
}

#[test]
fn what_is_drawn_is_the_same_in_every_bit() {
    let (cpu, kernels, mut compared) = (cpu(2), kernels(Options::default()), 0);
    for (on_cpu, on_kernels) in ops::cases().iter().zip(&ops::cases()) {
        if on_cpu.inputs().is_empty() {
            assert_eq!(results(&kernels, on_kernels), results(&cpu, on_cpu), "{} {}", on_cpu.op(), on_cpu.name());
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared} cases that draw");
}

/// The first GPU; `None`, and said why, where there is none to compute on.
fn gpu() -> Option<Accelerator<f32, bf16>> {
    cuda::open(0).map(Accelerator::new).inspect_err(|error| eprintln!("SKIPPED: {error}")).ok()
}

#[test]
fn a_gpu_is_off_by_its_roundings_alone() {
    let Some(gpu) = gpu() else { return };
    let check = |gpu: &Accelerator<f32, bf16>, of: &str, cases: Vec<Case<_>>, exact: Vec<Case<_>>| {
        let ours: Vec<_> = cases.iter().map(|case| results_from(gpu, case, Precision::Bf16)).collect();
        say_digest(of, &ours);
        let pairs = cases.iter().zip(&ours).zip(&exact);
        let failed: Vec<_> = pairs.flat_map(|((case, ours), exact)| off_of(case, ours, exact, GPU_TOLERANCE)).collect();
        assert!(failed.is_empty(), "{of}: {failed:#?}");
    };
    check(&gpu, "cases in bf16", ops::cases(), ops::cases());
    for size in TileSize::ALL {
        check(&gpu.clone().with_tiles(size), &format!("products in bf16, {size:?}"), products(), products());
    }
    // The kernels that take the place of those on tensor cores, where the check before a start found these wrong.
    check(&gpu.without(on_tensor_cores()), "products in bf16, plain", products(), products());
}

#[test]
fn a_gpu_computes_the_same_bits_again() {
    let Some(gpu) = gpu() else { return };
    let run = || ops::cases().iter().chain(&products()).map(|case| results(&gpu, case)).collect::<Vec<_>>();
    assert!(run() == run());
}
