//! The output about a run.

use std::ptr::null_mut;

use crate::child::run_and_read;
use crate::cuda::{alloc, begin, call, fill, free_stream, pinned, wait};

const HERE: &str = module_path!();

#[test]
fn each_call_is_a_line() {
    let test = format!("{HERE}::each_call_is_a_line");
    let written = run_and_read(&test, &[("GPU", "l4")], "TRACE", || {
        begin();
        let stream = free_stream();
        fill(alloc(64), 7, 64, stream);
        wait(stream);
        assert_eq!(call!(cuMemFree_v2(1)), 1);
    });
    let Some([_, trace]) = written else { return };
    let names: Vec<&str> = trace.lines().filter_map(|line| Some(line.split_once('(')?.0)).collect();
    assert_eq!(
        names,
        [
            "cuInit",
            "cuDevicePrimaryCtxRetain",
            "cuCtxSetCurrent",
            "cuStreamCreate",
            "cuMemAlloc_v2",
            "cuMemsetD8Async",
            "cuStreamSynchronize",
            "cuMemFree_v2"
        ]
    );
    assert!(trace.contains("cuInit(0) -> CUDA_SUCCESS (0)\n"), "{trace}");
    assert!(trace.ends_with("cuMemFree_v2(1) -> CUDA_ERROR_INVALID_VALUE (1)\n"), "{trace}");
}

#[test]
fn what_was_not_freed_is_reported_when_its_context_ends() {
    let test = format!("{HERE}::what_was_not_freed_is_reported_when_its_context_ends");
    let written = run_and_read(&test, &[], "REPORT", || {
        begin();
        let (freed, _kept) = (alloc(100), alloc(200));
        pinned(300, 0);
        assert_eq!(call!(cuMemFree_v2(freed)), 0);
        assert_eq!(call!(cuDevicePrimaryCtxRelease_v2(0)), 0);
    });
    let Some([_, report]) = written else { return };
    let lines: Vec<&str> = report.lines().collect();
    assert_eq!(lines.len(), 2, "{report}");
    assert!(report.contains("leak: 200 bytes of device memory") && report.contains("allocation 2"), "{report}");
    assert!(report.contains("leak: 300 bytes of page-locked memory") && report.contains("allocation 3"), "{report}");
}

#[test]
fn what_is_left_is_reported_when_the_process_ends() {
    let test = format!("{HERE}::what_is_left_is_reported_when_the_process_ends");
    let written = run_and_read(&test, &[], "REPORT", || {
        begin();
        fill(alloc(100), 1, 100, null_mut());
    });
    let Some([_, report]) = written else { return };
    assert!(report.contains("leak: 100 bytes of device memory"), "{report}");
    assert!(report.contains("1 pieces of work were never waited for"), "{report}");
}

#[test]
fn a_fault_that_was_asked_for_is_named() {
    let test = format!("{HERE}::a_fault_that_was_asked_for_is_named");
    let written = run_and_read(&test, &[("FAIL", "alloc:1")], "REPORT", || {
        begin();
        let mut address = 0;
        assert_eq!(call!(cuMemAlloc_v2(&mut address, 8)), 2);
    });
    let Some([stderr, report]) = written else { return };
    for text in [stderr, report] {
        assert!(text.contains("CUDA_ERROR_OUT_OF_MEMORY (2) at Alloc, as CUDA_STANDIN_FAIL asks"), "{text}");
    }
}
