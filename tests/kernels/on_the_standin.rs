//! The tests that use a GPU, on the stand-in for one: this binary runs itself, where it finds tests/driver in place of a
//! driver and runs the embedded PTX.

use crate::standin;

/// Runs the tests with this in their name, and returns what they wrote.
fn pass(filter: &str, settings: &[(&str, &str)]) -> String {
    let mut command = standin::command(std::env::current_exe().expect("the test's own path"));
    command.args([filter, "--nocapture", "--test-threads", "1"]).envs(settings.iter().copied());
    let output = command.output().expect("this binary runs");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{settings:?}\n{text}");
    assert!(!text.contains("SKIPPED"), "{settings:?}\n{text}");
    assert!(!text.contains(" 0 passed"), "{filter} is in the name of no test\n{text}");
    text
}

#[test]
fn every_test_of_a_gpu_passes() {
    if standin::has_kernels() {
        pass("::a_gpu_", &[]);
    }
}

/// Each access of the cases is checked, in another order of blocks, warps, copies and calls.
#[test]
fn nothing_is_found_in_the_embedded_kernels() {
    if standin::has_kernels() {
        let settings = [
            ("CUDA_STANDIN_CHECKS", "all"),
            ("CUDA_STANDIN_SCHEDULE", "shuffled:7"),
            ("CUDA_STANDIN_ASYNC", "earliest"),
            ("CUDA_STANDIN_ORDER", "eager"),
        ];
        pass("parity::a_gpu_agrees", &settings);
        pass("tensor_cores::a_gpu_gives", &settings);
    }
}
