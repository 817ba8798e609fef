//! Every derivative against central differences, in f64.

use vgan_cuda::device::Cpu;
use vgan_cuda::ops::{self, gradient_check};

#[test]
fn every_case_of_every_operation() {
    let cpu = Cpu::<f64>::new(Some(2)).expect("threads");
    let mut failed = Vec::new();
    for case in ops::cases::<Cpu<f64>>() {
        for finding in gradient_check::check(&cpu, &*case).expect("the CPU computes") {
            eprintln!("{:20} {:45} {:12} {:.2e}", finding.op, finding.case, finding.of, finding.worst);
            if !finding.passes(1e-6) {
                failed.push(finding);
            }
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
