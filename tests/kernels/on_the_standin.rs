//! The tests that use a GPU, on the stand-in for one: this binary runs itself, where it finds tests/driver in place of a
//! driver and runs the embedded PTX. The script for machines with a GPU runs in the same way.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

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

/// tests/gpu.sh in its short form, so that the first machine with a GPU finds a script that has run.
#[test]
fn the_script_for_a_machine_with_a_gpu_runs_to_its_end() {
    if !standin::has_kernels() {
        return;
    }
    let place = tempfile::tempdir().expect("a folder");
    let [binaries, data, out] = ["bin", "data", "out"].map(|name| place.path().join(name));
    for folder in [&binaries, &data] {
        fs::create_dir(folder).expect("a folder");
    }
    symlink(env!("CARGO_BIN_EXE_vgan-cuda"), binaries.join("vgan-cuda")).expect("a link");
    symlink(std::env::current_exe().expect("the test's own path"), binaries.join("test-kernels")).expect("a link");
    // 24 images of 8×8 of no content.
    let mut images = vec![0, 0, 8, 3, 0, 0, 0, 24, 0, 0, 0, 8, 0, 0, 0, 8];
    images.extend((0..24 * 8 * 8).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 13) as u8));
    fs::write(data.join("train-images-idx3-ubyte"), images).expect("a file");

    let mut script = standin::command("bash");
    script.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gpu.sh")).arg(&binaries).arg(&data);
    let output = script.env("SHORT", "1").env("OUT", &out).output().expect("bash");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // Nothing but compute-sanitizer is missing, which does not know the stand-in.
    let table = fs::read_to_string(out.join("gpu.md")).unwrap_or_else(|error| panic!("{error}\n{said}"));
    let results = table.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| check"));
    for line in results.clone() {
        let done = line.contains("| passed |") || line.contains("compute-sanitizer is not on the path");
        assert!(done, "{line}\n{table}\n{said}");
    }
    assert!(results.count() >= 15, "{table}\n{said}");
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}\n{said}", output.status);
}
