//! Every case on every executor against the CPU in f64: one body serves them all.
//!
//! Tolerance: f32 rounds each input once (2⁻²⁴) and each of up to a thousand sums again, in parts that are joined in
//! f64; that stays below 1e-5 of a tensor's largest value. What has no arithmetic in it (draws, picks) is bit-equal
//! once widened.

use vgan_cuda::device::{Backend, Cpu, Real};
use vgan_cuda::ops::gradient_check::fill;
use vgan_cuda::ops::{self, Case, Tensor};

/// Outputs and gradients of a case: (name, values).
fn results<B: Backend>(backend: &B, case: &dyn Case<B>) -> Vec<(String, Vec<f64>)> {
    backend.run(|| {
        let filled = |tensors: &[Tensor], first: u32| -> Vec<_> {
            let values = (first..).zip(tensors).map(|(number, tensor)| fill(tensor, number));
            // Both precisions start from what f32 can hold.
            let real = |values: Vec<f64>| values.into_iter().map(|v| B::Real::of_f32(v as f32)).collect::<Vec<_>>();
            values.map(|values| backend.buffer_of(&real(values)).expect("memory")).collect()
        };
        let zeros = |tensors: &[Tensor]| -> Vec<_> {
            tensors.iter().map(|tensor| backend.alloc(tensor.len).expect("memory")).collect()
        };
        let (inputs, outputs) = (case.inputs(), case.outputs());
        let (x, u) = (filled(&inputs, 0), filled(&outputs, 1000));
        let (mut y, mut dx) = (zeros(&outputs), zeros(&inputs));
        case.forward(backend, &x, &mut y).expect("a forward pass");
        if case.differentiable() {
            case.backward(backend, &x, &y, &u, &mut dx).expect("a backward pass");
        }
        let names = outputs.iter().map(|t| t.name.to_string()).chain(inputs.iter().map(|t| format!("d {}", t.name)));
        let read =
            |buffer| backend.read(backend.view(buffer)).expect("a copy").iter().map(|v: &B::Real| v.to_f64()).collect();
        names.zip(y.iter().chain(&dx).map(read)).collect()
    })
}

#[test]
fn single_precision_agrees_with_double() {
    let (single, double) = (Cpu::<f32>::new(Some(2)).expect("threads"), Cpu::<f64>::new(Some(2)).expect("threads"));
    let cases = ops::cases::<Cpu<f32>>().into_iter().zip(ops::cases::<Cpu<f64>>());
    let mut failed = Vec::new();
    for (case32, case64) in cases {
        let tolerance = if case64.inputs().is_empty() { 2f64.powi(-24) } else { 1e-5 };
        for ((name, ours), (_, exact)) in results(&single, &*case32).into_iter().zip(results(&double, &*case64)) {
            let scale = exact.iter().fold(1e-30f64, |m, v| m.max(v.abs()));
            let errors = ours.iter().zip(&exact).map(|(a, b)| (a - b).abs() / scale);
            let (at, worst) = errors.enumerate().fold((0, 0.0), |m, e| if e.1 > m.1 || e.1.is_nan() { e } else { m });
            if worst.is_nan() || worst > tolerance {
                let (a, b) = (ours[at], exact[at]);
                failed.push(format!(
                    "{} {}: {name}[{at}] is {a}, exactly {b}: {worst:.2e}",
                    case64.op(),
                    case64.name()
                ));
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let expected: Vec<_> = {
        let cpu = Cpu::<f32>::new(Some(1)).expect("threads");
        ops::cases().iter().map(|case| results(&cpu, &**case)).collect()
    };
    for threads in [2, 3, 8] {
        let cpu = Cpu::<f32>::new(Some(threads)).expect("threads");
        for (case, expected) in ops::cases().iter().zip(&expected) {
            assert_eq!(&results(&cpu, &**case), expected, "{} {} at {threads} threads", case.op(), case.name());
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
