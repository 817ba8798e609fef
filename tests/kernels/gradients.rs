//! Every derivative against central differences on the CPU, in f64, and the kernels' derivatives against the CPU's; and the
//! check against planted faults.

use std::collections::BTreeMap;

use crate::executors::{Results, emulated, results, say_digest};
use simt::Options;
use vgan_cuda::device::{Accelerator, Backend, Cpu, cuda};
use vgan_cuda::ops::{self, Case};
use vgan_cuda::proof;
use vgan_cuda::proof::gradient_check::{self, Finding, TOLERANCE};

/// Checks all cases; each is small.
fn check_all<B: Backend>(backend: &B, cases: &[Case<B>]) {
    let mut failed = Vec::new();
    for case in cases {
        for finding in backend.run(|| gradient_check::check(backend, case)).unwrap_or_else(|error| panic!("{error}")) {
            eprintln!("{:20} {:45} {:25} {:.2e}", finding.op, finding.case, finding.of, finding.worst);
            if !finding.passes(TOLERANCE) {
                failed.push(finding);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// On one thread: tests run side by side.
fn cpu() -> Cpu<f64> {
    Cpu::new(Some(1)).expect("a thread")
}

type Kernels = Accelerator<f64>;

/// The kernels compiled with REAL=double: the very same lines as in f32.
fn kernels() -> Kernels {
    emulated(Options { detection: false, ..Options::default() })
}

/// The kernels' outputs, gradients and tangents in f64 against those of the CPU, a line for each tensor that is off: the same
/// sums in another order, so 1e-10 of a tensor's largest value or, where a gradient is zero but for rounding (a bias in front
/// of a batch normalisation), of a thousandth of the case's largest.
///
/// The CPU's derivatives are held against differences below, so the kernels' are too, at one pass a case.
fn unlike(cpu: &Cpu<f64>, case: &Case<Cpu<f64>>, kernels: &Kernels, same: &Case<Kernels>) -> Vec<String> {
    unlike_of(cpu, case, &results(kernels, same))
}

/// The same of results that are there already.
fn unlike_of(cpu: &Cpu<f64>, case: &Case<Cpu<f64>>, ours: &Results) -> Vec<String> {
    let exact = results(cpu, case);
    let largest = |values: &[f64]| values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let case_largest = exact.iter().map(|(_, values)| largest(values)).fold(0.0, f64::max);
    assert_eq!(exact.len(), ours.len(), "tensors of {} {}", case.op(), case.name());
    let mut off = Vec::new();
    for ((name, exact), (ours_name, ours)) in exact.iter().zip(ours) {
        assert_eq!((name, exact.len()), (ours_name, ours.len()));
        let allowed = 1e-10 * largest(exact).max(1e-3 * case_largest);
        let worst = exact.iter().zip(ours).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        if worst > allowed || ours.iter().any(|value| !value.is_finite()) {
            off.push(format!("{} {}: {name} is off by {worst:.2e}, allowed are {allowed:.2e}", case.op(), case.name()));
        }
    }
    off
}

#[test]
fn every_derivative_of_every_case_is_the_same_on_the_kernels() {
    let (cpu, kernels) = (cpu(), kernels());
    let (on_cpu, on_kernels) = (ops::cases(), ops::cases());
    let off: Vec<_> =
        on_cpu.iter().zip(&on_kernels).flat_map(|(case, same)| unlike(&cpu, case, &kernels, same)).collect();
    assert!(off.is_empty(), "{off:#?}");
}

#[test]
fn every_gradient_of_every_whole_loss_is_the_same_on_the_kernels() {
    let (cpu, kernels) = (cpu(), kernels());
    let on_cpu = proof::cases(&cpu).expect("narrow models");
    let on_kernels = proof::cases(&kernels).expect("the same");
    let off: Vec<_> =
        on_cpu.iter().zip(&on_kernels).flat_map(|(case, same)| unlike(&cpu, case, &kernels, same)).collect();
    assert!(off.is_empty(), "{off:#?}");
}

/// The kernels in f64 on the first GPU, where there is one.
#[test]
fn a_gpu_gives_every_derivative_of_every_case_in_f64() {
    let Some(gpu) = cuda::open(0).inspect_err(|error| eprintln!("SKIPPED: {error}")).ok() else { return };
    let (cpu, gpu, cases) = (cpu(), Kernels::new(gpu), ops::cases());
    let ours: Vec<_> = cases.iter().map(|case| results(&gpu, case)).collect();
    say_digest("cases in f64", &ours);
    let off: Vec<_> = ops::cases().iter().zip(&ours).flat_map(|(case, ours)| unlike_of(&cpu, case, ours)).collect();
    assert!(off.is_empty(), "{off:#?}");
}

/// Differences of the kernels themselves take two passes for each element, and the emulator is slow: they are taken of the
/// smallest case of each operation.
#[test]
fn the_smallest_case_of_each_operation_on_the_kernels() {
    let kernels = kernels();
    let mut smallest: BTreeMap<&str, Case<Kernels>> = BTreeMap::new();
    let elements = |case: &Case<Kernels>| case.inputs().iter().map(|tensor| tensor.len).sum::<usize>();
    for case in ops::cases().into_iter().filter(|case: &Case<Kernels>| case.differentiable()) {
        if smallest.get(case.op()).is_none_or(|found| elements(&case) < elements(found)) {
            smallest.insert(case.op(), case);
        }
    }
    let cases: Vec<_> = smallest.into_values().collect();
    assert!(cases.len() > 15, "{} operations have derivatives", cases.len());
    check_all(&kernels, &cases);
}

#[test]
fn every_case_of_every_operation() {
    check_all(&cpu(), &ops::cases());
}

#[test]
fn the_whole_losses_by_every_parameter_and_input() {
    let cpu = cpu();
    let cases = proof::cases(&cpu).expect("narrow models");
    check_all(&cpu, &cases);
    // Both losses of twenty models, and each checks more than its last input; G's of two that match features, and of two with
    // an encoder, by whose parameters too; four penalties of four models, two of residual blocks without bottleneck, one
    // under spectral norm, and one of each of two ways to tell D the class.
    assert_eq!(cases.len(), 40 + 2 + 4 + 16 + 2 + 1 + 2);
    for case in &cases {
        if case.op() == "gradient_penalty" {
            continue;
        }
        let names: Vec<String> = case.inputs().iter().map(|tensor| tensor.name.to_string()).collect();
        let (nets, last) = match case.op() {
            "loss_d" => (["conv.0.weight", "resnet.2.conv_s.weight"], "images"),
            "loss_g" => (["deconv.0.weight", "resnet.0.conv_s.weight"], "latents"),
            _ => (["conv.0.weight", "conv.3.weight"], "fc.bias"),
        };
        assert!(
            names.iter().any(|name| nets.iter().any(|net| name.starts_with(net)))
                && names.last().is_some_and(|name| name == last),
            "{names:?}"
        );
    }
}

fn nothing(_: &mut [f64]) {}

fn wrong_sign(values: &mut [f64]) {
    values.iter_mut().for_each(|value| *value = -*value);
}

/// Neither the easiest catch nor an element that is as good as zero: of those above 1 % of the largest, the median.
fn one_element_slightly(values: &mut [f64]) {
    let largest = values.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    let mut order: Vec<usize> = (0..values.len()).filter(|&i| values[i].abs() > 0.01 * largest).collect();
    order.sort_by(|&a, &b| values[a].abs().total_cmp(&values[b].abs()));
    values[order[order.len() / 2]] *= 1.0 + 1e-4;
}

fn not_a_number(values: &mut [f64]) {
    values[values.len() - 1] = f64::NAN;
}

/// All differentiable cases of operations, and both losses of one model, which stand for the whole losses.
fn cases_to_spoil(cpu: &Cpu<f64>) -> Vec<Case<Cpu<f64>>> {
    let mut cases = ops::cases();
    cases.retain(|case| case.differentiable());
    cases.extend(proof::cases(cpu).expect("narrow models").into_iter().filter(|case| case.name() == "gan"));
    cases
}

/// The findings that fail, for each case with the faults planted. A fault moves no difference: they are taken once for all faults.
fn failures(
    cpu: &Cpu<f64>,
    differences: &[Vec<Vec<f64>>],
    backward: fn(&mut [f64]),
    tangent: fn(&mut [f64]),
) -> Vec<(String, Vec<Finding>)> {
    let check = |(case, differences): (Case<Cpu<f64>>, &Vec<Vec<f64>>)| {
        let planted = case.spoilt(backward, tangent);
        let findings = cpu.run(|| gradient_check::compare(cpu, &planted, differences)).expect("the CPU computes");
        let failed = findings.into_iter().filter(|finding| !finding.passes(TOLERANCE)).collect();
        (format!("{} {}", planted.op(), planted.name()), failed)
    };
    cases_to_spoil(cpu).into_iter().zip(differences).map(check).collect()
}

#[test]
fn planted_faults_are_caught() {
    let cpu = cpu();
    let of_case =
        |case: &Case<Cpu<f64>>| cpu.run(|| gradient_check::differences(&cpu, case)).expect("the CPU computes");
    let differences: Vec<_> = cases_to_spoil(&cpu).iter().map(of_case).collect();
    for (fault, plant) in
        [("sign", wrong_sign as fn(&mut [f64])), ("1e-4 in one element", one_element_slightly), ("NaN", not_a_number)]
    {
        for (case, failed) in failures(&cpu, &differences, plant, nothing) {
            assert_eq!(failed.len(), 1, "{fault} in {case}: {failed:?}");
            assert!(failed[0].of.starts_with("d "), "{fault} in {case}: {failed:?}");
        }
    }
    let caught = failures(&cpu, &differences, nothing, wrong_sign);
    let with_tangent = caught.iter().filter(|(_, failed)| failed.iter().any(|finding| finding.of == "tangent")).count();
    assert!(with_tangent > 30, "{with_tangent} of {} cases have a tangent", caught.len());
}
